"""Traces of a failed lab test, in one folder: the error, the plan, and the journal and logs of its hosts."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.lab.conftest import Clone

LONGEST = 120
"""Seconds for each command: a broken host may not answer."""
COMMANDS = {"plan": ("check", "--full"), "status": ("status",), "history": ("history",)}
MOST = 3
"""The most tests of one clone that leave traces: after a host has died, all later tests fail."""
_kept: Counter[Path] = Counter()
ON_HOST = {
    "journal": "journalctl -b --no-pager -n 2000",
    "units": "systemctl --failed --no-pager; systemctl list-units --no-pager 'stowage*' docker.service",
    "containers": "docker ps -a; for one in $(docker ps -aq); do echo \"== $(docker inspect -f '{{.Name}}' $one)\"; "
    "docker logs --tail 300 --timestamps $one 2>&1; done",
    "drives": "findmnt; df -h; cat /etc/fstab; lsblk",
}


def hosts(fixtures: dict[str, Any]) -> Iterator[Clone]:
    """The lab hosts among the fixtures of a test, also those in a mapping or an object of them."""
    for fixture in fixtures.values():
        if isinstance(fixture, Clone):
            yield fixture
        elif isinstance(fixture, dict):
            yield from (inner for inner in fixture.values() if isinstance(inner, Clone))
        elif isinstance(there := getattr(fixture, "there", None), Clone):
            yield there


def keep(test: str, why: str, fixtures: dict[str, Any], folder: Path) -> Path | None:
    """Writes the traces to a folder named after the test, and repairs its hosts; None without a host, or after enough tests."""
    into = folder / re.sub(r"\W+", "-", test).strip("-")[:120]
    clones = {(clone.root, clone.host): clone for clone in hosts(fixtures)}
    if not clones or all(_kept[root] >= MOST for root, _ in clones):
        return None
    _kept.update(root for root, _ in clones)
    into.mkdir(parents=True, exist_ok=True)
    (into / "why").write_text(why)
    for clone in clones.values():
        there = into / clone.host
        there.mkdir(parents=True, exist_ok=True)
        for name, arguments in COMMANDS.items():
            (there / name).write_text(
                _output([sys.executable, "-S", "converge/entry.py", *arguments, "--host", clone.host], clone.root)
            )
        for name, script in ON_HOST.items():
            (there / name).write_text(_on_host(clone, script))
        _put_right(clone)
    return into


def _put_right(clone: Clone) -> None:
    """One failure costs only its own test: drives that it left pulled go back, and a deploy mends the rest, if it can."""
    for drive in "1234":
        clone.inv("lab.put-back-drive", drive, "--host", clone.host, code=None)
    clone.inv("lab.up", "--host", clone.host, code=None)
    clone.inv("deploy", "--host", clone.host, "--yes", code=None)


def _on_host(clone: Clone, script: str) -> str:
    try:
        return _output([*clone.ssh(), script], clone.root)
    except OSError as error:  # a host that was never up has no settings
        return f"not to be had: {error}\n"


def _output(command: list[str], root: Path) -> str:
    try:
        return subprocess.run(
            command,
            cwd=root,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LONGEST,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired:
        return f"no answer within {LONGEST} s\n"
