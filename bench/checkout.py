"""Copies of this checkout with an inventory of their own, and the lab host as the peers need to know it."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import ROOT

sys.path.insert(0, str(ROOT))

LEFT_OUT = (".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "tests", "docs", "bench")


@contextmanager
def copy() -> Iterator[Path]:
    """A copy of the checkout, secrets included, that only its owner can read and that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="stowage-bench-") as folder:
        place = Path(folder, "stowage")
        shutil.copytree(ROOT, place, ignore=shutil.ignore_patterns(*LEFT_OUT))
        (place / ".venv").symlink_to(sys.prefix)  # of this run: a clone for a bench has none of its own
        yield place


@dataclass(frozen=True)
class Lab:
    """The lab host: how `ssh` reaches it."""

    port: int
    key: Path
    known_hosts: Path

    def ssh(self, *command: str) -> list[str]:
        return ["ssh", *self.options, "-p", str(self.port), "root@127.0.0.1", *command]

    @property
    def options(self) -> list[str]:
        """Options that ignore the user's own configuration and never ask."""
        options = ["-F", "none", "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={self.known_hosts}"]
        return [*options, "-o", "GlobalKnownHostsFile=none", "-i", str(self.key)]


def lab(root: Path = ROOT, name: str = "lab") -> Lab:
    target = host(root, name).target
    return Lab(target.port, Path(target.key_file), target.known_hosts)


def host(root: Path = ROOT, name: str = "lab") -> Any:
    """A host of the inventory with its settings."""
    from converge.errors import Trouble, Troubles
    from converge.inventory.hosts import load
    from roles.settings.model import Settings

    try:
        return load(root, name, Settings)[0]
    except (Trouble, Troubles) as trouble:
        sys.exit(f"{trouble}\n     try: ./inv lab.up && ./inv deploy --yes")


def hosts_of(place: Path, text: str, names: Iterable[str]) -> None:
    """Give a copy these hosts alone: a settings file of a host or a group that is not there is an error."""
    (place / "inventory" / "hosts.yml").write_text(text)
    for file in (place / "inventory" / "group_vars").glob("*.yml"):
        if file.stem != "all" and f"{file.stem}:" not in text:
            file.unlink()
    for file in (place / "inventory" / "host_vars").glob("*.yml"):
        if file.stem not in names:
            file.unlink()


def move(root: Path, port: int, name: str = "lab") -> None:
    """Let the lab host of a copy be reached by another port."""
    file, known = root / "inventory" / "host_vars" / f"{name}.yml", root / "inventory" / "known_hosts"
    before = lab(root, name).port
    file.write_text(re.sub(r"(?m)^ansible_port: .*$", f"ansible_port: {port}", file.read_text()))
    lines = known.read_text().splitlines()
    moved = [line.replace(f"]:{before} ", f"]:{port} ") for line in lines if f"]:{before} " in line]
    known.write_text("".join(f"{line}\n" for line in dict.fromkeys([*lines, *moved])))


def resources(root: Path, name: str = "lab") -> list[Any]:
    """All that the roles want of a host."""
    from converge.engine.resource import Chain
    from roles import named

    machine = host(root, name)
    wanted = (named(role).wants(machine) for role in machine.settings.roles)
    return [resource for role in wanted for link in role for resource in (link if isinstance(link, Chain) else [link])]


def by_kind(root: Path, name: str = "lab") -> dict[str, list[Any]]:
    """The resources by the name of their class."""
    kinds: dict[str, list[Any]] = {}
    for resource in resources(root, name):
        kinds.setdefault(type(resource).__name__, []).append(resource)
    return kinds
