"""The host file of a new machine, commented."""

from __future__ import annotations

import json
import re
from collections.abc import Collection

import yaml

from converge.ssh.link import Target
from roles.docker import FITTING
from runbook.machine_facts import GIB, MachineFacts
from worker.size import human


def host_file(
    target: Target,
    sudo_password: dict[str, str],
    machine: MachineFacts,
    roles: list[str],
    secrets: Collection[str] = (),
) -> str:
    """The text: how the machine is reached, its blank drives, and what its roles need to know of it."""
    lines = [
        f"# {target.name}, read from the machine by `inv host.add`: {machine.system}, {machine.machine}, root disk {human(machine.root)}.",
        f"ansible_host: {_value(target.address)}",
        *([f"ansible_port: {target.port}"] if target.port else []),
        *([f"ansible_user: {_value(target.user)}"] if target.user else []),
        *([f"ansible_ssh_private_key_file: {_value(target.key_file)}"] if target.key_file else []),
        *([f"ansible_become_password: {_mapping(sudo_password)}"] if sudo_password else []),
        *_drives(machine),
        *(docker_of(machine.system) if "docker" in roles else []),
        *(_minio(target.name, machine, secrets) if "minio" in roles else []),
        *(_edge(machine.address) if "edge" in roles else []),
    ]
    return "\n".join(lines) + "\n"


def _drives(machine: MachineFacts) -> list[str]:
    head = ["", "# Blank drives, as found. What is listed here is formatted by a deploy, once, while it is blank."]
    drives = ["drives:" if machine.blank else "drives: []  # no blank drive was found"]
    for number, disk in enumerate(machine.blank, 1):
        drive = {"device": disk.link, "label": f"drive{number}", "path": f"/mnt/drive{number}"}
        drives.append(f"  - {_mapping(drive)}  # {disk.facts}")
    return (
        head
        + drives
        + [f"# not offered: {disk.link} ({disk.facts}): {disk.holds}" for disk in machine.disks if disk.holds]
    )


def docker_of(system: str) -> list[str]:
    """The `docker` section for a system on which the defaults, those of Debian 13, do not fit."""
    if system not in FITTING:
        return []
    comment = [
        "# Debian 12 has no compose v2, so Docker's own repository. Its key, on this machine:",
        "# curl -fsSL https://download.docker.com/linux/debian/gpg -o inventory/docker.asc",
    ]
    settings = [f"  {key}: {json.dumps(value)}" for key, value in FITTING[system].items()]
    return ["", *(comment if system == "debian 12" else []), "docker:", *settings]


def _minio(name: str, machine: MachineFacts, secrets: Collection[str]) -> list[str]:
    def reference(what: str) -> dict[str, str]:
        return {"file": f"inventory/secrets/{name}/{what}"}

    names = ("root_user", "root_password", *(["kms_key"] if "kms_key" in secrets else []))
    lines = ["", "minio:", *(f"  {what}: {_mapping(reference(what))}" for what in names)]
    if "metrics" in secrets:
        lines.append(f"  metrics: {{secret: {_mapping(reference('metrics'))}}}")
    smallest = min((disk.size for disk in machine.blank), default=0)
    if smallest > 1.5 * machine.root > 0:
        lines.append(
            "  # Above the root disk, below the drives: what is no larger than this is never taken for a drive."
        )
        lines.append(f"  root_drive_threshold: {round((machine.root + smallest) / 2 / GIB)}GiB")
    return lines


def _edge(address: str) -> list[str]:
    return [
        "",
        "edge:",
        "  # Ports that Docker publishes are not held back by ufw: listen on the address of the network that may use them,",
        f"  # such as {address or 'one of a private network'}.",
        "  listen: 127.0.0.1",
    ]


def _value(value: object) -> str:
    """A text for YAML: as it stands where that reads back as the same, quoted where not."""
    text = str(value)
    return text if re.fullmatch(r"[A-Za-z0-9_./@+-]+", text) and yaml.safe_load(text) == text else json.dumps(text)


def _mapping(values: dict[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {_value(value)}" for key, value in values.items()) + "}"
