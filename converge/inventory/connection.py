"""Ansible's connection keys: how a host is reached."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converge.errors import Trouble, folded
from converge.inventory.layers import REFERENCE, Node, Value, hidden, plain
from converge.inventory.local_text import Unreadable, place
from converge.inventory.nodes import OWN_NAME
from converge.inventory.secret import Secret
from converge.inventory.validation import private
from converge.record import dataclass

if TYPE_CHECKING:
    from converge.ssh.link import Target

ADDRESS = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9_.:%-]{0,252}")
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]{0,63}")


def _text(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and bool(pattern.fullmatch(value))


def _path(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and value[0] != "-" and value.isprintable()


# Each key with what it takes.
KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "ansible_host": (_text(ADDRESS), "an address, a host name, or a name of ~/.ssh/config"),
    "ansible_port": (
        lambda value: type(value) is int and 0 < value < 65536,
        "a number from 1 to 65535, without quotes",
    ),
    "ansible_user": (_text(USER), "a user name"),
    "ansible_ssh_private_key_file": (_path, "the path of a file"),
    "ansible_become": (lambda value: isinstance(value, bool), "true or false"),
    "ansible_become_password": (
        lambda value: (
            isinstance(value, dict)
            and len(value) == 1
            and all(k in REFERENCE and v and isinstance(v, str) for k, v in value.items())
        ),
        "a reference: {env: NAME}, {file: PATH} or {command: TEXT}; a password never stands in the inventory",
    ),
}
# Keys that Ansible needs and Stowage does not: accepted where they say what Stowage does anyway.
SAME = {
    "ansible_connection": (("ssh", "smart", "paramiko", "ssh.paramiko"), "hosts are always reached by SSH"),
    "ansible_become_method": (("sudo", "ansible.builtin.sudo"), "root is always reached by sudo"),
    "ansible_become_user": (("root",), "what is done on a host is always done by root"),
    "ansible_shell_type": (("sh",), "the host's /bin/sh is always used"),
    "ansible_python_interpreter": ((), ""),
    "ansible_pipelining": ((), ""),
    "ansible_ssh_pipelining": ((), ""),
}
# Ansible's keys that are not read, each with the reason.
NOT_READ = {
    "ansible_become_pass": "write ansible_become_password",
    "ansible_sudo_pass": "write ansible_become_password",
    "ansible_ssh_host": "write ansible_host",
    "ansible_ssh_port": "write ansible_port",
    "ansible_ssh_user": "write ansible_user",
    "ansible_private_key_file": "write ansible_ssh_private_key_file",
    "ansible_password": "use a key, with ansible_ssh_private_key_file or an agent",
    "ansible_ssh_pass": "use a key, with ansible_ssh_private_key_file or an agent",
    "ansible_ssh_common_args": "write ProxyJump and the like into ~/.ssh/config, which is read; host keys are always checked",
    "ansible_host_key_checking": "remove it: host keys are always checked; inv host.trust NAME pins one",
    "ansible_ssh_host_key_checking": "remove it: host keys are always checked; inv host.trust NAME pins one",
    "ansible_become_exe": "remove it: sudo is found by its name",
    "ansible_become_flags": "remove it: what sudo asks of a user stands in sudoers",
    "ansible_shell_executable": "remove it: the host's /bin/sh is always used",
    "ansible_remote_tmp": "remove it: nothing is copied to the host to be run",
    "ansible_remote_port": "write ansible_port",
    "ansible_remote_user": "write ansible_user",
}


@dataclass(frozen=True)
class Connection:
    target: Target
    nodes: dict[str, Node]

    def origins(self) -> dict[str, Value]:
        return {
            key: Value(hidden(node) if isinstance(node.value, dict) else node.value, node.origin)
            for key, node in self.nodes.items()
        }


def connection(
    name: str, tree: Node, root: Path, whose: str, secrets: Any, troubles: list[Trouble], wake: str
) -> Connection | None:
    """How a host is reached, or None where its settings do not say; each mistake goes to `troubles`.

    `wake` is the command that switches it on and writes its address, where there is one.
    """
    before = len(troubles)
    nodes = {key: node for key, node in tree.value.items() if key.startswith("ansible_") and node.value is not None}
    if "ansible_host" in nodes and isinstance(nodes["ansible_host"].value, str):
        said_host = nodes["ansible_host"]
        nodes["ansible_host"] = Node(OWN_NAME.sub(name, said_host.value), said_host.origin)
    for key, node in nodes.items():
        troubles.extend(_wrong(key, node))
    if "ansible_host" not in nodes and wake:
        troubles.append(_is_down(name, root, wake))
    nodes.setdefault("ansible_host", Node(name, whose))
    if len(troubles) > before:
        return None
    from converge.ssh.link import Target

    values = {key: plain(node) for key, node in nodes.items()}
    try:
        target = Target(
            name=name,
            address=values["ansible_host"],
            known_hosts=root / "inventory" / "known_hosts",
            port=values.get("ansible_port"),
            user=values.get("ansible_user"),
            key_file=_key_file(nodes.get("ansible_ssh_private_key_file"), root, check=bool(secrets)),
            become=values.get("ansible_become", True),
            become_password=_password(nodes.get("ansible_become_password"), secrets),
            wake=wake,
        )
    except Trouble as trouble:
        troubles.append(trouble)
        return None
    return Connection(target, nodes)


def _wrong(key: str, node: Node) -> list[Trouble]:
    if key in SAME:
        values, holds = SAME[key]
        same = not values or (isinstance(node.value, str) and node.value.lower() in values)
        hint = f"remove {key}"
        shown = node.value if isinstance(node.value, (str, int)) else "not that"
        return [] if same else [Trouble(f"{key} is {shown}", where=node.origin, why=holds, hint=hint)]
    if key not in KEYS:
        near = difflib.get_close_matches(key, KEYS, 1, 0.7)
        hint = NOT_READ.get(key) or (f"write {near[0]}" if near else "write it into ~/.ssh/config, which is read")
        return [
            Trouble(
                f"{key}: not a connection key that is read",
                where=node.origin,
                why=folded(f"known are {', '.join(KEYS)}"),
                hint=hint,
            )
        ]
    fits, expected = KEYS[key]
    if fits(plain(node)):
        return []
    shown = "not what it takes" if private([key]) or not isinstance(node.value, (str, int)) else repr(node.value)
    return [
        Trouble(
            f"{key} is {shown}", where=node.origin, why=f"expected {expected}", hint=f"correct {key} in {node.origin}"
        )
    ]


def _is_down(name: str, root: Path, wake: str) -> Trouble:
    file = f"inventory/host_vars/{name}.yml"
    why = f"{file}, which says how to reach it, is not there"
    if (root / file).exists():
        why = f"{file} is there, and does not say how to reach it (ansible_host)"
    return Trouble("it is not up", where=name, why=why, hint=wake)


def _key_file(node: Node | None, root: Path, check: bool) -> str | None:
    if node is None:
        return None
    hint = "correct ansible_ssh_private_key_file, or remove it to use the agent"
    try:
        path = place(root, node.value)
    except Unreadable as reason:
        raise Trouble("the SSH key is missing", where=node.origin, why=f"{node.value}: {reason}", hint=hint) from None
    if check and not path.is_file():
        why = f"{path} is not there" if not path.exists() else f"{path} is not a file"
        raise Trouble("the SSH key is missing", where=node.origin, why=why, hint=hint)
    return str(path)


def _password(node: Node | None, secrets: Any) -> Secret | None:
    if node is None or secrets is None:
        return None
    try:
        return secrets(plain(node), "ansible_become_password")  # type: ignore[no-any-return]
    except Trouble as trouble:
        trouble.where = trouble.where or node.origin
        raise
