"""What the lab writes into the inventory of this clone, all of it ignored by git: address, keys, secrets."""

from __future__ import annotations

import json
import os
import re
import secrets
import string
import subprocess
from base64 import b64encode
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from converge.inventory.groups import Inventory
from converge.inventory.hosts import Host, own_files
from converge.inventory.layers import Node, plain
from converge.inventory.secret import Secret
from lab.clone import INVENTORY
from roles.backup.age import identity
from roles.minio.metrics_token import token
from runbook.host_file import docker_of

ALPHABET = string.ascii_letters + string.digits


def secret(name: str, what: str, value: str = "") -> str:
    """A secret of a host, generated once; its file is for the operator's eyes only."""
    path = _secret_file(name, what)
    if not path.exists():
        _write(path, (value or "".join(secrets.choice(ALPHABET) for _ in range(24))) + "\n", mode=0o600)
    return path.read_text().strip()


def secrets_of(name: str) -> None:
    """What the inventory's lab settings refer to."""
    secret(name, "root_user", "stowage-admin")
    secret(name, "root_password")
    secret(name, "sudo_password")
    for what in (
        "postgres_password",
        "postgres_mlflow",
        "postgres_geo",
        "backup_writer",
        "backup_pruner",
        "mlflow",
        "mlflow_server",
        "metrics",
    ):
        secret(name, what)
    secret(name, "backup_identity", identity())
    secret(name, "kms_key", f"{name}:{b64encode(secrets.token_bytes(32)).decode()}")


def own_secrets(host: Host[Any]) -> None:
    """Make the other secrets that the settings of a host read from files of its own."""
    for what in own_files(host):
        secret(host.name, what, _derived(host.name, what))


def _derived(name: str, what: str) -> str:
    """The value of a secret that follows from another one."""
    return token(Secret(secret(name, "metrics"))).reveal() if what == "metrics_token" else ""


def ssh_key(name: str) -> tuple[Path, str]:
    """The key that root and operator accept: its file and its public line; generated once."""
    path = _secret_file(name, "ssh_key")
    if not path.exists():
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"stowage lab {name}", "-f", str(path)]
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    return path, path.with_name("ssh_key.pub").read_text()


def write_host(name: str, system: str, ports: Mapping[int, int], key: Path, drives: list[str]) -> None:
    """The host_vars file: how to connect, which drives there are, and what the system needs to be told."""
    hosts = Inventory(INVENTORY.parent, [])
    layers = hosts.layers(name) if name in hosts.hosts else ()
    _write(_host_file(name), host_vars(name, system, ports, key, drives) + edge_of(layers, ports))


def edge_of(layers: Iterable[Node], ports: Mapping[int, int]) -> str:
    """Where the settings of the lab say how the edge is reached, with the port that is published on this machine."""
    edges = [plain(layer.value["edge"]) for layer in layers if "edge" in layer.value]
    url = next((edge["url"] for edge in reversed(edges) if isinstance(edge, dict) and edge.get("url")), "")
    own = re.fullmatch(r"(https?)://127\.0\.0\.1(:\d+)?", url)
    return f"\nedge:\n  url: {own[1]}://127.0.0.1:{ports[443 if own[1] == 'https' else 80]}\n" if own else ""


def host_vars(name: str, system: str, ports: Mapping[int, int], key: Path, drives: list[str]) -> str:
    others = ", ".join(f"{guest} on 127.0.0.1:{port}" for guest, port in ports.items() if guest not in (22, 9000, 9001))
    lines = [
        f"# Written by `inv lab.up` for this clone; `inv lab.down --host {name}` removes it.",
        f"# S3 http://127.0.0.1:{ports[9000]}  console http://127.0.0.1:{ports[9001]}  (https where TLS is on)",
        f"# also published: {others}",
        "ansible_host: 127.0.0.1",
        f"ansible_port: {ports[22]}",
        "ansible_user: root",
        f"ansible_ssh_private_key_file: {json.dumps(str(key))}",
        "drives:",
    ]
    for number, device in enumerate(drives, start=1):
        lines.append(f"  - {{device: /dev/{device}, label: drive{number}, path: /mnt/drive{number}}}")
    lines += docker_of(system.replace("-", " "))
    return "\n".join(lines) + "\n"


def trust(port: int, host_key: str) -> None:
    """Pin a host's key; other hosts' lines stay, older ones of this address go."""
    _rewrite_known_hosts(port, f"[127.0.0.1]:{port} {' '.join(host_key.split()[:2])}")


def forget(name: str, port: int | None) -> None:
    _host_file(name).unlink(missing_ok=True)
    if port is not None:
        _rewrite_known_hosts(port)


def _rewrite_known_hosts(port: int, *more: str) -> None:
    path = INVENTORY / "known_hosts"
    before = path.read_text().splitlines() if path.exists() else []
    after = merged(before, port, *more)
    if after != before:
        _write(path, "".join(f"{line}\n" for line in after))


def merged(lines: list[str], port: int, *more: str) -> list[str]:
    """known_hosts without the lines of one address, and with new ones."""
    return [line for line in lines if not line.startswith(f"[127.0.0.1]:{port} ")] + list(more)


def _host_file(name: str) -> Path:
    return INVENTORY / "host_vars" / f"{name}.yml"


def _secret_file(name: str, what: str) -> Path:
    folder = INVENTORY / "secrets" / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / what


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file whole or not at all: another command may be reading it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
    unfinished.rename(path)
