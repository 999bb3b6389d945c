"""New machines: their host key, and their host file, written from what is found on them."""

from __future__ import annotations

import secrets as random
import sys
from pathlib import Path
from typing import Any

from converge.errors import REFUSED, Trouble
from converge.ssh import Target, connect

_LOOK = """
. /etc/os-release; printf 'system=%s %s\\n' "$ID" "$VERSION_ID"
printf 'machine=%s\\n' "$(uname -m)"
printf 'root=%s\\n' "$(df -BG --output=size / | tail -n 1 | tr -d ' G')"
printf 'address=%s\\n' "$(hostname -I | cut -d' ' -f1)"
for link in /dev/disk/by-id/*; do
  case $link in *-part[0-9]*|*/dm-*|*/lvm-*|*/md-*|*/wwn-*|*/nvme-eui*) continue;; esac
  real=$(readlink -f "$link"); [ -b "$real" ] || continue
  printf 'disk=%s|%s\\n' "$link" "$(lsblk -dnro NAME,SIZE,SERIAL "$real" | tr -s ' ')|$(lsblk -nro FSTYPE,MOUNTPOINT,PTTYPE "$real" | tr '\\n' ' ' | tr -s ' ')"
done
"""


def trust(target: Target, yes: bool) -> None:
    """Show the fingerprint of the key that a host presents and, if that is agreed to, pin it in inventory/known_hosts."""
    from converge.ssh import host_key

    kind, key, fingerprint = host_key(target)
    print(f"{target.name} at {target.address} presents {kind}\n  {fingerprint}")
    print(
        "Compare it with what the machine itself says (on its console: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub)."
    )
    if not yes and not (sys.stdin.isatty() and input("Trust it? [y/N] ").strip().lower() in ("y", "yes")):
        print("nothing was changed")
        return
    at = target.address if target.port in (None, 22) else f"[{target.address}]:{target.port}"
    file = target.known_hosts
    lines = [line for line in file.read_text().splitlines() if line.split(" ")[0] != at] if file.exists() else []
    file.write_text("\n".join([*lines, f"{at} {kind} {key}"]) + "\n")
    print(f"pinned in {file.name}")


def add(root: Path, name: str, address: str, user: str, port: int | None, key: str) -> None:
    """Read a new machine and write its host file and generated secrets; nothing on the machine changes."""
    from roles.settings import Settings  # noqa: F401  (the file that is written must load with it)

    file = root / "inventory" / "host_vars" / f"{name}.yml"
    if file.exists() and "EXAMPLE_SERIAL" not in file.read_text():
        raise Trouble(
            f"{name} is already there",
            where=str(file.relative_to(root)),
            untouched="nothing was changed",
            hint=f"edit it, or choose another name than {name}",
            code=REFUSED,
        )
    target = Target(
        name, address, root / "inventory" / "known_hosts", port=port, user=user or None, key_file=key or None
    )
    found = _read(target)
    if found["system"] not in ("debian 12", "debian 13", "ubuntu 24.04", "ubuntu 26.04"):
        print(f"warning: {found['system']} is not supported; a deploy will refuse it")
    secrets = _secrets(root, name)
    file.write_text(_host_file(name, target, found, secrets))
    print(
        f"wrote {file.relative_to(root)}: {found['system']}, {len(found['blank'])} blank drives\nwrote {', '.join(str(one.relative_to(root)) for one in secrets)} (0600, ignored by git)"
    )
    print(f"next: read the file; name {name} under a group of inventory/hosts.yml; inv check --host {name}")


def _read(target: Target) -> dict[str, Any]:
    link = connect(target)
    try:
        status, out, err = link.send(_LOOK, iter(()))
    finally:
        link.close()
    if status:
        raise Trouble("the machine could not be read", where=target.name, why=err.decode(errors="replace")[-300:])
    found: dict[str, Any] = {"blank": [], "other": []}
    for line in out.decode(errors="replace").splitlines():
        key, _, value = line.partition("=")
        if key != "disk":
            found[key] = value
            continue
        link_, facts, holds = value.split("|", 2)
        row = (link_, facts, holds.strip())
        found["blank" if not holds.strip() else "other"].append(row)
    return found


def _secrets(root: Path, name: str) -> list[Path]:
    folder = root / "inventory" / "secrets" / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    written = []
    for what, value in (("root_user", f"admin-{random.token_hex(4)}"), ("root_password", random.token_urlsafe(30))):
        file = folder / what
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(value + "\n")
        written.append(file)
    return written


def _host_file(name: str, target: Target, found: dict[str, Any], secrets: list[Path]) -> str:
    lines = [
        f"# {name}, read from the machine by `inv host.add`: {found['system']}, {found.get('machine')}, root disk {found.get('root')} GB.",
        f"ansible_host: {target.address}",
    ]
    lines += [f"ansible_port: {target.port}"] if target.port else []
    lines += [f"ansible_user: {target.user}"] if target.user else []
    lines += [f"ansible_ssh_private_key_file: {target.key_file}"] if target.key_file else []
    lines += [
        "",
        "# Blank drives, as found. What is listed here is formatted by a deploy, once, while it is blank.",
        "drives:" if found["blank"] else "drives: []  # no blank drive was found",
    ]
    for number, (link, facts, _) in enumerate(found["blank"], 1):
        lines += [f"  - {{device: {link}, label: drive{number}, path: /mnt/drive{number}}}  # {facts}"]
    lines += [f"# not offered, it holds something: {link} ({facts}) {holds}" for link, facts, holds in found["other"]]
    user, password = (f"inventory/secrets/{name}/{one.name}" for one in secrets)
    lines += [
        "",
        "minio:",
        f"  root_user: {{file: {user}}}",
        f"  root_password: {{file: {password}}}",
        "",
        "nginx:",
        "  listen: 127.0.0.1  # Docker's ports bypass ufw: the address of the network that may use them",
        "",
    ]
    return "\n".join(lines)
