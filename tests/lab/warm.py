"""Fast commands: a process that has loaded the program of a checkout forks for each.

To load it is most of what a short command costs. The first command of a checkout is started as people start it, and so are
all with STOWAGE_COLD, as in script/soak.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

PACKAGES = ("converge", "roles", "runbook", "lab")
LIBRARIES = ("invoke.main", "paramiko", "minio", "pydantic", "jinja2", "yaml", "docker")
LIMIT = 1800
"""Seconds after which a command is killed."""

_WARM: dict[Path, Warm | None] = {}


def run(root: Path, arguments: Sequence[str]) -> tuple[int, str, float] | None:
    """Exit code, output and seconds of CPU; None where this command is to be started as people start it."""
    warm = _warm(root)
    return warm.run(arguments) if warm else None


def start(root: Path, module: str, arguments: Sequence[str]) -> Started | None:
    """`python -m module arguments` that goes on meanwhile; None where it is to be started as people start it."""
    warm = _warm(root)
    return warm.start(module, arguments) if warm else None


def _warm(root: Path) -> Warm | None:
    if os.environ.get("STOWAGE_COLD"):
        return None
    if root not in _WARM:
        _WARM[root] = None
        return None
    warm = _WARM[root]
    if warm is None or warm.sources != _sources(root):
        warm = _WARM[root] = Warm(root)
    return warm


def _sources(root: Path) -> list[tuple[str, int]]:
    paths = [root / "tasks.py", *(path for name in PACKAGES for path in (root / name).rglob("*.py"))]
    return sorted((str(path), path.stat().st_mtime_ns) for path in paths)


class Warm:
    """The loaded program of one checkout; it ends with the process that made it."""

    def __init__(self, root: Path) -> None:
        self.sources = _sources(root)
        self._near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with far:
            argv = [sys.executable, "-S", __file__, str(far.fileno())]
            subprocess.Popen(argv, cwd=root, pass_fds=[far.fileno()], stdin=subprocess.DEVNULL)

    def run(self, arguments: Sequence[str]) -> tuple[int, str, float]:
        command = self.start("", arguments)
        text, _ = command.communicate()
        assert command.returncode is not None
        return command.returncode, text, command.seconds

    def start(self, module: str, arguments: Sequence[str]) -> Started:
        """`inv`, or another module that has a `main`."""
        heard, hears = os.pipe()
        output, says = os.pipe()
        ended, ends = os.pipe()
        request = json.dumps({"module": module, "arguments": arguments, "environment": dict(os.environ)}).encode()
        socket.send_fds(self._near, [request], [heard, says, ends])
        for theirs in (heard, says, ends):
            os.close(theirs)
        return Started(hears, output, ended)


class Started:
    """A running command, with the part of Popen's interface that the tests use."""

    def __init__(self, hears: int, output: int, ended: int) -> None:
        self.stdin: IO[str] = os.fdopen(hears, "w")
        self.stdout: IO[str] = os.fdopen(output, encoding="utf-8", errors="replace")
        self._end = os.fdopen(ended)
        self._pid = int(self._end.readline())
        self.returncode: int | None = None
        self.seconds = 0.0
        """Seconds of CPU, once it has ended."""

    def wait(self, timeout: float | None = None) -> int:
        """Waits; a command is killed after LIMIT."""
        if self.returncode is None:
            self.returncode, self.seconds = json.loads(self._end.readline())
            self._end.close()
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def communicate(self, text: str = "", timeout: float | None = None) -> tuple[str, None]:
        with suppress(BrokenPipeError):
            self.stdin.write(text)
            self.stdin.close()
        output = self.stdout.read()
        self.stdout.close()
        self.wait()
        return output, None


def _serve(control: socket.socket) -> None:
    waiting: dict[int, int] = {}
    ended, ends = os.pipe()
    os.set_blocking(ends, False)
    signal.set_wakeup_fd(ends)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([control, ended], [], [])
        if control in ready:
            request, descriptors, _, _ = socket.recv_fds(control, 1 << 20, 3)
            if not request:
                return
            pid = os.fork()
            if not pid:
                for other in waiting.values():
                    os.close(other)
                _be(json.loads(request), *descriptors)
            *streams, waiting[pid] = descriptors
            os.write(waiting[pid], b"%d\n" % pid)
            for stream in streams:
                os.close(stream)
        if ended in ready:
            os.read(ended, 512)
            _reap(waiting)


def _reap(waiting: dict[int, int]) -> None:
    while waiting:
        pid, status, used = os.wait4(-1, os.WNOHANG)
        if not pid:
            return
        with open(waiting.pop(pid), "w") as end:
            json.dump([os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime], end)


def _be(request: dict[str, Any], entry: int, output: int, end: int) -> None:
    """Becomes the command, as converge/entry.py would; or another module, as `python -m` would."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.alarm(LIMIT)
    os.dup2(entry, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for descriptor in (entry, output, end):
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["inv", *request["arguments"]]
    code = 255
    try:
        importlib.import_module(request["module"] or "converge.entry").main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(code)


def _load(root: Path) -> None:
    import site

    sys.path[0] = str(root)
    site.main()
    for name in LIBRARIES:
        importlib.import_module(name)
    for package in PACKAGES:
        for module in pkgutil.walk_packages([str(root / package)], f"{package}."):
            if module.name != "converge.entry":
                importlib.import_module(module.name)
    gc.freeze()


if __name__ == "__main__":
    _load(Path.cwd())
    with socket.socket(fileno=int(sys.argv[1])) as control:
        _serve(control)
