"""Programs of the worker on the host, as root: it mounts the folders of services read-only, but a restore must write beside them.

Each program runs in a container of the worker's image that enters the host's namespaces. It is named after the run, and
ends with it.
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
"""The swap: the live folder is renamed, and the restored one takes its name. No other folder is changed."""
TAKE_BACK = '[ ! -e "$2" ] || { [ ! -e "$1" ] || mv -nT -- "$1" "$3"; mv -nT -- "$2" "$1"; sync -f "$1"; }'
"""Takes a swap back, complete or interrupted."""
_number = itertools.count(1)


def command_line(job: Any, *argv: str) -> list[str]:
    """The command line that starts a program on the host."""
    return [
        *("docker", "run", "--rm", "-i", "--name", f"stowage-backup-{job.run}-host-{next(_number)}"),
        *("--label", f"{LABEL}={job.run}", "--log-driver", "none", "--pull", "never", "--read-only"),
        *("--network", "host", "--pid", "host", "--privileged", "-e", "LC_ALL=C"),
        # Else the init of the image warns that it is not the first process.
        *("-e", "TINI_SUBREAPER=1", job.config["image"]),
        *ENTER,
        *argv,
    ]


def run(job: Any, *argv: str) -> tuple[int, str, str]:
    """The status, output and errors of a program on the host."""
    done = subprocess.run(command_line(job, *argv), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode, done.stdout.decode(errors="surrogateescape"), done.stderr.decode(errors="replace").strip()


def must(job: Any, what: str, *argv: str) -> str:
    """The output of a program on the host; raises Failed when it fails."""
    status, output, complaint = run(job, *argv)
    if status:
        raise Failed(RESTORE_FAILED, what, complaint[-500:] or f"status {status}")
    return output


def swap(job: Any, live: str, aside: str, incoming: str) -> None:
    """Swaps with two renames: `live` becomes `aside`, and `incoming` becomes `live`."""
    must(job, f"{live} cannot be renamed", "sh", "-c", SWAP, "sh", live, aside, incoming)


def take_back(job: Any, live: str, aside: str, incoming: str) -> None:
    """Takes back what a swap has done, complete, half or nothing."""
    must(job, f"{live} cannot be put back", "sh", "-c", TAKE_BACK, "sh", live, aside, incoming)


def there(job: Any, paths: Sequence[str]) -> set[str]:
    """The paths that exist."""
    _, output, _ = run(job, "stat", "-c", "%n", "--", *paths)
    return set(output.splitlines())


def sizes(job: Any, paths: Sequence[str]) -> dict[str, int]:
    """The bytes of the folders that exist."""
    if not paths:
        return {}
    _, output, _ = run(job, "du", "-sxB1", "--", *paths)
    rows = (line.partition("\t") for line in output.splitlines())
    return {path: int(size) for size, _, path in rows}


def remove(job: Any, path: str) -> None:
    must(job, f"{path} cannot be removed", "rm", "-rf", "--one-file-system", "--", path)
