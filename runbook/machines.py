"""New machines: their host key, and their host file, written from what is found on them."""

from __future__ import annotations

import json
import os
import re
import secrets as random
import shlex
import shutil
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from converge.cli import agreed
from converge.connection import ADDRESS, USER
from converge.errors import ERROR, REFUSED, Trouble, Troubles
from converge.groups import NAME, Inventory
from converge.known import HostKey
from converge.layers import plain
from converge.secret import resolve
from converge.ssh import Link, Target, connect, host_key, known_keys, known_name
from roles.base import SUPPORTED

# By-path is for disks without a serial number, as in many clouds. A partition is never a data drive.
_LOOK = """
. /etc/os-release; printf 'system=%s %s\\n' "$ID" "$VERSION_ID"
printf 'machine=%s\\n' "$(uname -m)"
printf 'root=%s\\n' "$(df -B1 --output=size / | tail -n 1 | tr -d ' ')"
printf 'address=%s\\n' "$(hostname -I | cut -d' ' -f1)"
for link in /dev/disk/by-id/* /dev/disk/by-path/*; do
  case $link in *-part[0-9]*|*/dm-*|*/lvm-*|*/md-*|*/wwn-*|*/nvme-eui*|*/nvme-nvme*) continue;; esac
  real=$(readlink -f "$link"); [ -b "$real" ] || continue
  printf 'disk=%s|%s|%s\\n' "$link" "$(lsblk -bdnPo NAME,TYPE,SIZE,SERIAL,MODEL,RM "$real")" \
    "$(lsblk -nro FSTYPE,LABEL,MOUNTPOINT,PTTYPE "$real" | tr -s '\\n ' ' ')"
done
"""
GIB = 1 << 30


def trust(target: Target, yes: bool) -> None:
    """Show the key that a host presents beside what is known of it and, if that is agreed to, pin it in inventory/known_hosts.

    A key that has changed is never pinned by a flag: a person has to say so.
    """
    kind, text, _ = host_key(target)
    shown, known = HostKey(kind, text), known_keys(target)
    print(f"{target.name} at {target.address} shows\n  {shown}")
    if line := known.revoked(shown, None):
        raise Trouble("its host key is revoked", target.name, line.place, "nothing was pinned", _NEW_KEY, REFUSED)
    if known.accepts(shown):
        print("which is known: nothing to do")
        return
    for one in known.keys:
        print(f"but known is\n  {one.key}  ({one.place})")
    if known.keys:
        print("The key has CHANGED. Somebody may stand between you and it: ask who keeps it whether it was installed anew.")
        if yes:
            hint = f"inv host.trust {target.name}, without --yes, and compare"
            raise Trouble("a changed key is not pinned by --yes", target.name, "", "nothing was pinned", hint, REFUSED)
    print(f"Compare it with what the machine itself says, on its console: ssh-keygen -lf /etc/ssh/ssh_host_{_file(kind)}_key.pub")
    agreed("Trust it? [y/N] ", yes)
    _pin(target.known_hosts, known_name(target), f"{kind} {text}")
    print(f"pinned in inventory/{target.known_hosts.name}")
    for one in known.keys:
        file = one.place.rpartition(":")[0]
        if file != str(target.known_hosts):
            print(f"the old one still stands in {file}; away with it: ssh-keygen -R '{known_name(target)}' -f {file}")


_NEW_KEY = "on its console: rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh"


def _file(kind: str) -> str:
    return "ed25519" if "ed25519" in kind else "ecdsa" if "ecdsa" in kind else "rsa"


def _pin(file: Path, name: str, key: str) -> None:
    lines = file.read_text().splitlines() if file.exists() else []
    kept = [line for line in lines if line.split(" ")[0] != name]
    _write(file, "\n".join([*kept, f"{name} {key}"]) + "\n")


def _write(file: Path, text: str) -> None:
    """Whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}")
    new.write_text(text)
    new.replace(file)


@dataclass(frozen=True)
class Disk:
    """A whole disk of a machine, by a name that lasts; `holds` is empty where nothing is seen on it."""

    link: str
    size: int
    what: str
    holds: str


@dataclass
class Found:
    """What a machine is."""

    system: str = ""
    machine: str = ""
    root: int = 0
    address: str = ""
    disks: list[Disk] = field(default_factory=list)

    @property
    def blank(self) -> list[Disk]:
        return [one for one in self.disks if not one.holds]


@dataclass(frozen=True)
class Newcomer:
    """A machine that is to become a host, as it was named on the command line."""

    name: str
    target: Target
    sudo_password: dict[str, str] = field(default_factory=dict)
    group: str = ""


def newcomer(
    root: Path, name: str, address: str, user: str = "", port: int = 0, key: str = "", sudo_password: str = "", group: str = ""
) -> Newcomer:
    """What was typed, checked: it becomes the name of a file, and part of a command."""
    for what, value, pattern in (("a host's name", name, NAME), ("an address", address, ADDRESS), ("a user", user, USER)):
        if value and not pattern.fullmatch(value):
            raise Trouble(f"{value!r} cannot be {what}", untouched=_NOTHING, hint="inv --help host.add")
    if key and not (root / Path(key).expanduser()).is_file():
        raise Trouble("the SSH key is missing", why=f"{key} is not a file", untouched=_NOTHING, hint=f"ls -l {key}")
    how, _, what = sudo_password.partition(":")
    if sudo_password and (how not in ("file", "env", "command") or not what):
        why = "a password itself would be seen by everybody on this machine"
        hint = f"--sudo-password file:inventory/secrets/{name}/sudo_password"
        raise Trouble("--sudo-password takes file:PATH, env:NAME or command:TEXT", why=why, untouched=_NOTHING, hint=hint)
    reference = {how: what} if sudo_password else {}
    target = Target(
        name,
        address,
        root / "inventory" / "known_hosts",
        port=port or None,
        user=user or None,
        key_file=str(root / Path(key).expanduser()) if key else None,
        become_password=resolve(reference, "--sudo-password", root) if reference else None,
    )
    return Newcomer(name, target, reference, group)


_NOTHING = "nothing was connected to or written"


def add(root: Path, new: Newcomer) -> None:
    """Read a new machine and write its host file and generated secrets, which load; nothing on the machine changes."""
    file = root / "inventory" / "host_vars" / f"{new.name}.yml"
    if file.exists() and "EXAMPLE_SERIAL" not in file.read_text():
        hint = f"edit it; or mv {file.relative_to(root)} aside; or choose another name"
        raise Trouble(f"{new.name} is already there", str(file.relative_to(root)), "", _NOTHING, hint, REFUSED)
    hosts_file, hosts = _named(root, new)
    found = read(new)
    texts = {hosts_file: hosts}
    texts[file] = host_file(new, found, roles_of(root, new.name, texts))
    _must_load(root, new.name, texts)
    secrets = _secrets(root, new.name)
    for path, text in texts.items():
        if not path.exists() or path.read_text() != text:
            _write(path, text)
            print(f"wrote {path.relative_to(root)}")
    print(f"wrote {' and '.join(str(one.relative_to(root)) for one in secrets)} (0600, ignored by git)")
    blank = ", ".join(f"{one.link.rpartition('/')[2]} ({_gib(one.size)})" for one in found.blank) or "none"
    print(f"{new.name} is {found.system}, {found.machine}; blank drives: {blank}")
    if found.system not in SUPPORTED:
        print(f"warning: {found.system} is not supported, a deploy will refuse it; supported are {', '.join(SUPPORTED)}")
    print(f"next: read {file.relative_to(root)}, then: inv check --host {new.name}")


def _named(root: Path, new: Newcomer) -> tuple[Path, str]:
    """inventory/hosts.yml, with the host under its group if it is under none yet."""
    file = root / "inventory" / "hosts.yml"
    troubles: list[Trouble] = []
    inventory = Inventory(root, troubles)
    if troubles:
        raise Troubles(troubles)
    text = file.read_text() if file.exists() else ""
    if new.name in inventory.groups:
        raise Trouble(f"a group is named {new.name}", untouched=_NOTHING, hint="choose another name for the host")
    if new.name in inventory.hosts:
        return file, text
    groups = [name for name in inventory.groups if name != "all" and not _is_lab(inventory, name)]
    group = new.group or (groups[0] if len(groups) == 1 else "")
    if group not in inventory.groups:
        what = f"there is no group {group}" if group else f"it is not said what {new.name} is to be"
        why = f"groups are {', '.join(groups)}"
        raise Trouble(what, "inventory/hosts.yml", why, _NOTHING, f"--group {groups[0] if groups else 'NAME'}")
    return file, with_host(text, group, new.name)


def _is_lab(inventory: Inventory, group: str) -> bool:
    return group == "lab" or group.startswith("lab_")


def with_host(text: str, group: str, name: str) -> str:
    """The text of hosts.yml with a host under a group, put in as a line of its own; comments and order stay."""
    lines = text.splitlines()
    for at, line in enumerate(lines):
        found = re.match(rf"( *){re.escape(group)}:\s*(#.*)?$", line)
        if not found:
            continue
        depth, here = len(found[1]), at + 1
        for below in range(at + 1, len(lines)):
            indent = len(lines[below]) - len(lines[below].lstrip())
            if lines[below].strip() and indent <= depth:
                break
            if re.match(r" *hosts:\s*(#.*)?$", lines[below]) and indent == depth + 2:
                return "\n".join([*lines[: below + 1], f"{' ' * (indent + 2)}{name}:", *lines[below + 1 :]]) + "\n"
        return "\n".join([*lines[:here], f"{' ' * (depth + 2)}hosts:", f"{' ' * (depth + 4)}{name}:", *lines[here:]]) + "\n"
    return text


def _link(new: Newcomer) -> Link:
    """A connection; the key of a machine that nobody has met is shown and asked about."""
    try:
        return connect(new.target)
    except Trouble as trouble:
        if trouble.code != REFUSED or trouble.where != new.name or known_keys(new.target).keys:
            raise
        if not sys.stdin.isatty():
            port = f" --port {new.target.port}" if new.target.port else ""
            trouble.hint = f"inv host.trust {new.name} --address {new.target.address}{port}"
            raise
    trust(new.target, yes=False)
    return connect(new.target)


def read(new: Newcomer) -> Found:
    """Look at a machine."""
    link = _link(new)
    try:
        status, out, err = link.send(_LOOK, iter(()))
    except Trouble as trouble:
        if trouble.code == ERROR and "wants a password" in trouble.what:
            trouble.hint = f"add --sudo-password file:inventory/secrets/{new.name}/sudo_password, and put it there (mode 0600)"
        trouble.untouched = trouble.untouched or "nothing was written"
        raise
    finally:
        link.close()
    if status:
        why = err.decode(errors="replace")[-300:]
        hint = f"ssh {new.target.address} cat /etc/os-release"
        raise Trouble("the machine could not be read", new.name, why, "nothing was written", hint)
    return parsed(out.decode(errors="replace"))


def parsed(text: str) -> Found:
    """What the machine told of itself: each disk once, by its best name."""
    found, disks = Found(), {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "disk":
            link, told, holds = value.split("|", 2)
            facts = dict(pair.split("=", 1) for pair in shlex.split(told))
            if facts.get("TYPE") in ("disk", "loop") and facts["SIZE"] != "0":
                disks.setdefault(facts["NAME"], Disk(link, int(facts["SIZE"]), _facts(facts), _holds(facts, holds)))
        elif key == "root":
            found.root = int(value or 0)
        elif key in ("system", "machine", "address"):
            setattr(found, key, value)
    found.disks = sorted(disks.values(), key=lambda one: one.link)
    return found


def _facts(facts: dict[str, str]) -> str:
    told = [facts["NAME"], _gib(int(facts["SIZE"])), facts.get("MODEL", ""), f"serial {facts['SERIAL']}" if facts.get("SERIAL") else ""]
    return ", ".join(one.strip() for one in told if one.strip())


def _holds(facts: dict[str, str], holds: str) -> str:
    return holds.strip() or ("it is removable" if facts.get("RM") == "1" else "")


def _gib(size: int) -> str:
    return f"{size / GIB:.0f} GiB" if size < 1024 * GIB else f"{size / 1024 / GIB:.1f} TiB"


def roles_of(root: Path, name: str, texts: dict[Path, str]) -> list[str]:
    """The roles that a host has by its groups."""
    with tempfile.TemporaryDirectory() as folder:
        there = _copy(root, Path(folder), texts)
        roles: list[str] = []
        for layer in Inventory(there, []).layers(name):
            if "roles" in layer.value and layer.value["roles"].value is not None:
                roles = list(plain(layer.value["roles"]))
        return roles


def _must_load(root: Path, name: str, texts: dict[Path, str]) -> None:
    """Refuse to write what would not load; show it, so that nothing that was found is lost."""
    from converge.inventory import load
    from roles.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        there = _copy(root, Path(folder), texts)
        try:
            load(there, name, Settings, resolve_secrets=False)
            return
        except Troubles as troubles:
            told = troubles.troubles
    file = next(path for path in texts if path.stem == name)
    print(texts[file])
    print(f"This is what was found. It is not written to {file.relative_to(root)}, for with the settings of its groups it does not fit:")
    told[-1].untouched = "nothing was written"
    raise Troubles([replace_code(one) for one in told])


def replace_code(trouble: Trouble) -> Trouble:
    return replace(trouble, code=REFUSED)


def _copy(root: Path, to: Path, texts: dict[Path, str]) -> Path:
    """The inventory as it would be; without secrets, which are not needed to see whether it fits."""
    shutil.copytree(root / "inventory", to / "inventory", ignore=shutil.ignore_patterns("secrets"))
    for path, text in texts.items():
        place = to / path.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return to


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


def host_file(new: Newcomer, found: Found, roles: list[str]) -> str:
    """The text of the host file, commented."""
    target = new.target
    lines = [
        f"# {new.name}, read from the machine by `inv host.add`: {found.system}, {found.machine}, root disk {_gib(found.root)}.",
        f"ansible_host: {_yaml(target.address)}",
        *([f"ansible_port: {target.port}"] if target.port else []),
        *([f"ansible_user: {_yaml(target.user)}"] if target.user else []),
        *([f"ansible_ssh_private_key_file: {_yaml(target.key_file)}"] if target.key_file else []),
        *([f"ansible_become_password: {_flow(new.sudo_password)}"] if new.sudo_password else []),
        "",
        *_drives(found),
        *(_docker(found.system) if "docker" in roles else []),
        *(_minio(new.name, found) if "minio" in roles else []),
    ]
    if "nginx" in roles:
        lines += ["", "nginx:", "  # Ports that Docker publishes are not held back by ufw: listen where only those are who may use it,"]
        lines += [f"  # such as {found.address or 'its address in a private network'}.", "  listen: 127.0.0.1"]
    return "\n".join(lines) + "\n"


def _drives(found: Found) -> list[str]:
    lines = ["# Blank drives, as found. What is listed here is formatted by a deploy, once, while it is blank."]
    lines += ["drives:" if found.blank else "drives: []  # no blank drive was found"]
    for number, one in enumerate(found.blank, 1):
        drive = {"device": one.link, "label": f"drive{number}", "path": f"/mnt/drive{number}"}
        lines += [f"  - {_flow(drive)}  # {one.what}"]
    return lines + [f"# not offered: {one.link} ({one.what}): {one.holds}" for one in found.disks if one.holds]


def _docker(system: str) -> list[str]:
    if system.startswith("ubuntu"):
        return ["", "docker:", "  packages: [docker.io, docker-compose-v2, iptables]"]
    if system == "debian 12":
        return [
            "",
            "docker:",
            "  # Debian 12 has no compose v2: Docker's own repository, with its key beside the inventory:",
            "  # curl -fsSL https://download.docker.com/linux/debian/gpg -o inventory/docker.asc",
            "  source: docker",
            "  repository: https://download.docker.com/linux/debian",
            "  suite: bookworm",
            "  repository_key: inventory/docker.asc",
        ]
    return []


def _minio(name: str, found: Found) -> list[str]:
    lines = ["", "minio:"]
    lines += [f"  {what}: {_flow({'file': f'inventory/secrets/{name}/{what}'})}" for what in ("root_user", "root_password")]
    smallest = min((one.size for one in found.blank), default=0)
    if smallest > 1.5 * found.root > 0:
        between = round((found.root + smallest) / 2 / GIB)
        lines += ["  # Above the root disk, below the drives: a filesystem up to this size is never taken for a drive."]
        lines += [f"  root_drive_threshold: {between}GiB"]
    return lines


def _yaml(value: object) -> str:
    """A value for YAML: as it is where that is plain text, quoted where not."""
    text = str(value)
    return text if re.fullmatch(r"[A-Za-z/][A-Za-z0-9_./-]*", text) else json.dumps(text)


def _flow(mapping: dict[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {_yaml(value)}" for key, value in mapping.items()) + "}"
