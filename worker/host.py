"""What the worker does on the host itself, as root: it sees the folders of services read-only, and a restore has to write beside them.

Each program runs in a container of the worker's image that has entered the host's namespaces. It is named after the run, so
that whoever ends the run ends it.
"""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Sequence
from typing import Any

from worker.containers import LABEL
from worker.contract import RESTORE_FAILED
from worker.errors import Failed

ENTER = ("nsenter", "-t", "1", "-m", "-n", "-u", "-i", "--")
SWAP = 'set -e; mv -nT -- "$1" "$2"; mv -nT -- "$3" "$1"; sync -f "$1"'
"""What is live goes aside, and what came takes its name. A folder of another name than these is never written to."""
TAKE_BACK = '[ ! -e "$2" ] || { [ ! -e "$1" ] || mv -nT -- "$1" "$3"; mv -nT -- "$2" "$1"; sync -f "$1"; }'
"""The way back from wherever that was cut."""
_number = itertools.count(1)


def words(job: Any, *argv: str) -> list[str]:
    """The words that start a program on the host."""
    return [
        *("docker", "run", "--rm", "-i", "--name", f"stowage-backup-{job.run}-host-{next(_number)}"),
        *("--label", f"{LABEL}={job.run}", "--log-driver", "none", "--pull", "never", "--read-only"),
        *("--network", "host", "--pid", "host", "--privileged", "-e", "LC_ALL=C", job.config["image"]),
        *ENTER,
        *argv,
    ]


def said(job: Any, *argv: str) -> tuple[int, str, str]:
    """The status of a program on the host, its output and its complaint."""
    done = subprocess.run(words(job, *argv), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode, done.stdout.decode(errors="surrogateescape"), done.stderr.decode(errors="replace").strip()


def must(job: Any, what: str, *argv: str) -> str:
    """The output of a program on the host that has to work."""
    status, output, complaint = said(job, *argv)
    if status:
        raise Failed(RESTORE_FAILED, what, complaint[-500:] or f"status {status}")
    return output


def swap(job: Any, live: str, aside: str, incoming: str) -> None:
    """Two renames: what is live goes aside, what is incoming takes its place."""
    must(job, f"{live} cannot be renamed", "sh", "-c", SWAP, "sh", live, aside, incoming)


def take_back(job: Any, live: str, aside: str, incoming: str) -> None:
    """What a swap of these has done is undone, also half of it; nothing where it has done nothing."""
    must(job, f"{live} cannot be put back", "sh", "-c", TAKE_BACK, "sh", live, aside, incoming)


def there(job: Any, paths: Sequence[str]) -> set[str]:
    """Those of the paths that exist."""
    _, output, _ = said(job, "stat", "-c", "%n", "--", *paths)
    return set(output.splitlines())


def sizes(job: Any, paths: Sequence[str]) -> dict[str, int]:
    """The bytes that folders take, of those that exist."""
    if not paths:
        return {}
    _, output, _ = said(job, "du", "-sxB1", "--", *paths)
    rows = (line.partition("\t") for line in output.splitlines())
    return {path: int(size) for size, _, path in rows}


def remove(job: Any, path: str) -> None:
    must(job, f"{path} cannot be removed", "rm", "-rf", "--one-file-system", "--", path)
