"""One container for the tools of a run: a tool starts there in milliseconds, in a separate container in half a second.

Without `docker exec`: the container reads commands from the worker's pipe, and ends with it.
"""

from __future__ import annotations

import itertools
import shlex
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

# Reads the names of tools, starts each in the background, and prints its status. Debian's wrappers of PostgreSQL's programs,
# which come first in the official image's PATH, are Perl scripts that take longer than the programs.
LOOP = """cd "$1" && PATH=$2:$PATH && while IFS= read -r name; do
  (sh "./$name.run" >"./$name.log" 2>&1 </dev/null; echo "$? $name") &
done; wait"""
KILLED = 137
_number = itertools.count(1)


class Started:
    """A started tool; it has ended when its status is known."""

    def __init__(self) -> None:
        self._over, self._status = threading.Event(), 0

    def end(self, status: int) -> None:
        self._status = status
        self._over.set()

    def poll(self) -> int | None:
        return self._status if self._over.is_set() else None

    def wait(self) -> int:
        self._over.wait()
        return self._status


class Toolbox:
    """The container, started with its first tool, and again when it was removed.

    `programs` is the folder of its image that comes first in PATH.
    """

    def __init__(self, programs: str = "/usr/bin") -> None:
        self.programs = programs
        self._lock = threading.RLock()
        self._process: subprocess.Popen[str] | None = None
        self._waiting: dict[str, Started] = {}

    def start(self, name: str, argv: Sequence[str], run: Sequence[str], image: str, staging: Path) -> Started:
        """Starts a tool, whose output goes to `NAME.log`; `run` is the command that starts a container from an image."""
        (staging / f"{name}.run").write_text(f"exec {shlex.join(argv)}\n")
        (staging / f"{name}.run").chmod(0o644)
        with self._lock:
            self.open(run, image, staging)
            started = self._waiting[name] = Started()
            assert self._process and self._process.stdin
            # The container may have just ended; the listening thread reports that.
            with suppress(OSError):
                self._process.stdin.write(f"{name}\n")
                self._process.stdin.flush()
        return started

    def open(self, run: Sequence[str], image: str, staging: Path) -> None:
        """Starts the container, if there is none, so that the first tool need not wait for it."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._open(run, image, staging)

    def close(self) -> None:
        """Ends the container if no tool runs in it; the next tool opens another."""
        with self._lock:
            if self._process and self._process.stdin and not self._waiting:
                with suppress(OSError):
                    self._process.stdin.close()
                self._process = None

    def _open(self, run: Sequence[str], image: str, staging: Path) -> None:
        label = f"tools-{next(_number)}"
        command = [*run, "-i", "--entrypoint", "sh", image, "-c", LOOP, "sh", str(staging), self.programs]
        command = [f"{argument}{label}" if argument.startswith("stowage-backup-") else argument for argument in command]
        errors = (staging / f"{label}.log").open("w")
        with errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        log = staging / f"{label}.log"
        threading.Thread(target=self._listen, args=(self._process, log), daemon=True).start()

    def _listen(self, process: subprocess.Popen[str], log: Path) -> None:
        assert process.stdout
        for line in process.stdout:
            status, _, name = line.strip().partition(" ")
            with self._lock:
                started = self._waiting.pop(name, None)
            if started:
                started.end(int(status))
        process.wait()
        with self._lock:
            if self._process is not process:
                return
            waiting, self._waiting, self._process = self._waiting, {}, None
        for name, started in waiting.items():
            with suppress(OSError):
                (log.parent / f"{name}.log").open("a").write(log.read_text() or "its container was taken away\n")
            started.end(KILLED)
