"""New machines: read, and written into the inventory."""

from __future__ import annotations

import re
import secrets as random
import shutil
import sys
import tempfile
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import field, replace
from pathlib import Path

from converge.errors import REFUSED, Trouble, Troubles
from converge.inventory.connection import ADDRESS, USER
from converge.inventory.groups import NAME, Inventory
from converge.inventory.layers import plain
from converge.inventory.secret import Secret, resolve
from converge.record import dataclass
from converge.ssh.link import Link, Target, connect, known_keys
from converge.ssh.root import SudoPassword
from roles.backup.age import identity
from roles.base import SUPPORTED
from roles.minio.metrics_token import token
from runbook.host_file import host_file
from runbook.machine_facts import MachineFacts, capacity, read
from runbook.trust import trust

NOTHING = "nothing was connected to or written"
SECRETS = {
    "kms_key": lambda name: f"{name}:{b64encode(random.token_bytes(32)).decode()}",
    "metrics": lambda name: random.token_urlsafe(30),
}
"""Secrets that a host gets of its own where its groups have a key of that name under minio."""
OF_A_FORM = {
    "root_user": lambda name: f"admin-{random.token_hex(4)}",
    "kms_key": SECRETS["kms_key"],
    "backup_identity": lambda name: identity(),
}
"""Secrets that are no passwords: what makes them, by the name of their file."""
TOKEN = "metrics_token"
"""The token with which Prometheus reads MinIO's metrics; it follows from the secret `metrics`."""


@dataclass(frozen=True)
class Newcomer:
    """A machine that is to become a host, as it was named on the command line."""

    name: str
    target: Target
    group: str = ""
    key: str = ""
    """The key file as it was typed: a path relative to the checkout also works for colleagues."""
    sudo_password: dict[str, str] = field(default_factory=dict)


def newcomer(
    root: Path, name: str, address: str, user: str = "", port: int = 0, key: str = "", group: str = "", sudo: str = ""
) -> Newcomer:
    """A newcomer from what was typed, which is checked: it becomes the name of a file and a part of commands."""
    for what, value, pattern in (
        ("a host's name", name, NAME),
        ("an address", address, ADDRESS),
        ("a user", user, USER),
    ):
        if value and not pattern.fullmatch(value):
            raise Trouble(f"{value!r} cannot be {what}", untouched=NOTHING, hint="inv --help host.add")
    key_file = root / Path(key).expanduser() if key else None
    if key_file and not key_file.is_file():
        raise Trouble("the SSH key is missing", why=f"{key_file} is not a file", untouched=NOTHING, hint=f"ls -l {key}")
    how, _, what = sudo.partition(":")
    if sudo and (how not in ("file", "env", "command") or not what):
        why = "a password itself could be read by everybody on this machine"
        hint = f"--sudo-password file:inventory/secrets/{name}/sudo_password"
        raise Trouble("--sudo-password takes file:PATH, env:NAME or command:TEXT", "", why, NOTHING, hint)
    password = resolve({how: what}, "--sudo-password", root) if sudo else None
    target = Target(
        name,
        address,
        root / "inventory" / "known_hosts",
        port=port or None,
        user=user or None,
        key_file=str(key_file) if key_file else None,
        become_password=password,
    )
    return Newcomer(name, target, group, key, {how: what} if sudo else {})


def add(root: Path, new: Newcomer) -> None:
    """Read a new machine and write its host file, which loads, and its secrets; nothing on the machine changes."""
    file, hosts_file = root / "inventory/host_vars" / f"{new.name}.yml", root / "inventory/hosts.yml"
    if file.exists() and "EXAMPLE_SERIAL" not in file.read_text():
        where, hint = str(file.relative_to(root)), f"edit it, or choose another name than {new.name}"
        raise Trouble(f"{new.name} is already there", where, "", NOTHING, hint, REFUSED)
    hosts = _with_newcomer(root, hosts_file.read_text() if hosts_file.exists() else "", new)
    machine = _read_machine(new)
    texts, secret_files = _files_to_write(root, new, machine, hosts)
    written = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    for path in written:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts[path])
    secrets = _secrets(root, new.name, secret_files)
    if "kms_key" in secret_files:
        print(
            "warning: keep a copy of kms_key elsewhere, on paper as well: without it nothing that MinIO encrypts can be read"
        )
    print(f"{new.name} is {machine.system}, {machine.machine}; blank drives: {_drive_names(machine)}")
    print(f"wrote {', '.join(str(file.relative_to(root)) for file in written)}")
    print(f"wrote {', '.join(str(secret.relative_to(root)) for secret in secrets)} (0600, ignored by git)")
    if machine.system not in SUPPORTED:
        print(f"warning: a deploy will refuse {machine.system}; supported are {', '.join(SUPPORTED)}")
    print(f"next: read {file.relative_to(root)}, then: inv check --host {new.name}")


def _drive_names(machine: MachineFacts) -> str:
    return ", ".join(f"{disk.link.rpartition('/')[2]} ({capacity(disk.size)})" for disk in machine.blank) or "none"


def _read_machine(new: Newcomer) -> MachineFacts:
    link: Link | None = None
    try:
        link = _link(new)
        return read(link)
    except Trouble as trouble:
        if isinstance(trouble, SudoPassword):
            given = "correct what --sudo-password names"
            trouble.hint = (
                given if new.sudo_password else "the same with --sudo-password file:PATH, or with --user root"
            )
        trouble.untouched = trouble.untouched or "nothing was written"
        raise
    finally:
        if link:
            link.close()


def _link(new: Newcomer) -> Link:
    """A connection. The key of an unknown machine is shown, and a person is asked about it."""
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


def _with_newcomer(root: Path, text: str, new: Newcomer) -> str:
    """hosts.yml with the host under its group, where it is under none yet."""
    troubles: list[Trouble] = []
    inventory = Inventory(root, troubles)
    if troubles:
        raise Troubles(troubles)
    if new.name in inventory.groups:
        raise Trouble(f"a group is named {new.name}", untouched=NOTHING, hint="choose another name for the host")
    if new.name in inventory.hosts:
        return text
    groups = [name for name in inventory.groups if name != "all" and not _is_lab(root, name)]
    group = new.group or (groups[0] if len(groups) == 1 else "")
    if group not in inventory.groups:
        what = f"there is no group {group}" if group else f"nothing says what {new.name} is to be"
        hint = f"--group {groups[0] if groups else 'NAME'}"
        raise Trouble(what, "inventory/hosts.yml", f"groups are {', '.join(groups)}", NOTHING, hint)
    return with_host(text, group, new.name)


def _is_lab(root: Path, group: str) -> bool:
    file = root / "inventory/group_vars" / f"{group}.yml"
    return file.exists() and bool(re.search(r"^lab: *true", file.read_text(), re.MULTILINE))


def with_host(text: str, group: str, name: str) -> str:
    """The text of hosts.yml with a line for a host under a group; comments and order stay."""
    lines = text.splitlines()
    at = next((n for n, line in enumerate(lines) if re.match(rf" *{re.escape(group)}:\s*(#.*)?$", line)), None)
    if at is None:
        raise _by_hand(group, name)
    depth = _depth(lines[at])
    inside = [n for n in range(at + 1, len(lines)) if lines[n].strip() and lines[n].strip()[0] != "#"]
    indent = _depth(lines[inside[0]]) if inside and _depth(lines[inside[0]]) > depth else depth + 2
    for n in inside:
        if _depth(lines[n]) <= depth:
            break
        if _depth(lines[n]) == indent and re.match(r" *hosts:\s*(#.*)?$", lines[n]):
            return "\n".join([*lines[: n + 1], f"{' ' * (indent + 2)}{name}:", *lines[n + 1 :]]) + "\n"
    new = [f"{' ' * indent}hosts:", f"{' ' * (indent + 2)}{name}:"]
    return "\n".join([*lines[: at + 1], *new, *lines[at + 1 :]]) + "\n"


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def _by_hand(group: str, name: str) -> Trouble:
    lines = f"{group}:\n  hosts:\n    {name}:"
    why = "it is written in a way that is better edited by hand; these lines belong there:"
    return Trouble(
        "the host could not be put in",
        "inventory/hosts.yml",
        f"{why}\n{lines}",
        NOTHING,
        "put them in, then the same command again",
    )


def _files_to_write(root: Path, new: Newcomer, machine: MachineFacts, hosts: str) -> tuple[dict[Path, str], list[str]]:
    """The files to write, tried in a copy of the inventory, and the files of secrets that the host has for itself.

    What does not load is shown instead, so that it is not lost.
    """
    from converge.inventory.hosts import load, own_files
    from roles.settings.model import Settings

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(root / "inventory", copy / "inventory", ignore=shutil.ignore_patterns("secrets"))
        (copy / "inventory/hosts.yml").write_text(hosts)
        inventory = Inventory(copy, [])
        if new.name not in inventory.hosts:
            raise _by_hand(new.group or "GROUP", new.name)
        target = replace(new.target, key_file=new.key or None)
        text = host_file(
            target, new.sudo_password, machine, _roles(inventory, new.name), _secrets_wanted(inventory, new.name)
        )
        (copy / "inventory/host_vars").mkdir(exist_ok=True)
        (copy / "inventory/host_vars" / f"{new.name}.yml").write_text(text)
        try:
            (host,) = load(copy, new.name, Settings, resolve_secrets=False)
        except Troubles as troubles:
            print(f"{text}\nThis was found, but does not fit to what the groups of {new.name} say:", flush=True)
            for trouble in troubles.troubles:
                trouble.untouched, trouble.code = "", REFUSED
            troubles.troubles[-1].untouched = "nothing was written"
            raise
    texts = {root / "inventory/hosts.yml": hosts, root / "inventory/host_vars" / f"{new.name}.yml": text}
    return texts, [name for name in own_files(host) if name != "sudo_password"]


def _roles(inventory: Inventory, name: str) -> list[str]:
    """The roles that a host has from its groups."""
    roles: list[str] = []
    for layer in inventory.layers(name):
        if "roles" in layer.value and layer.value["roles"].value is not None:
            roles = list(plain(layer.value["roles"]))
    return roles


def _secrets_wanted(inventory: Inventory, name: str) -> list[str]:
    """The SECRETS that its groups have under `minio`: the host gets its own."""
    minios = [layer.value["minio"].value for layer in inventory.layers(name) if "minio" in layer.value]
    return [what for what in SECRETS if any(what in minio for minio in minios if isinstance(minio, dict))]


def _secrets(root: Path, name: str, wanted: Sequence[str]) -> list[Path]:
    """Make each secret that is not there yet, readable by the operator only."""
    folder = root / "inventory/secrets" / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # A secret that follows from another comes last.
    for what in sorted(wanted, key=TOKEN.__eq__):
        if not (folder / what).exists():
            (folder / what).touch(mode=0o600)
            (folder / what).write_text(_value(folder, name, what) + "\n")
    return [folder / what for what in wanted]


def _value(folder: Path, name: str, what: str) -> str:
    if what == TOKEN and (folder / "metrics").exists():
        return token(Secret((folder / "metrics").read_text().strip())).reveal()
    return OF_A_FORM[what](name) if what in OF_A_FORM else random.token_urlsafe(30)
