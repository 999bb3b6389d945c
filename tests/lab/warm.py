"""Commands that need no start: a process that has loaded the program of a checkout forks for each.

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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PACKAGES = ("converge", "roles", "runbook", "lab")
LIBRARIES = ("invoke.main", "paramiko", "minio", "pydantic", "jinja2", "yaml", "docker")
LIMIT = 1800
"""Seconds after which a command is killed."""

_WARM: dict[Path, Warm | None] = {}


def run(root: Path, words: Sequence[str]) -> tuple[int, str, float] | None:
    """Exit code, output and seconds of CPU; None where this command is to be started as people start it."""
    if os.environ.get("STOWAGE_COLD"):
        return None
    if root not in _WARM:
        _WARM[root] = None
        return None
    warm = _WARM[root]
    if warm is None or warm.sources != _sources(root):
        warm = _WARM[root] = Warm(root)
    return warm.run(words)


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

    def run(self, words: Sequence[str]) -> tuple[int, str, float]:
        said, says = os.pipe()
        ended, ends = os.pipe()
        request = json.dumps({"words": words, "environment": dict(os.environ)}).encode()
        socket.send_fds(self._near, [request], [says, ends])
        os.close(says)
        os.close(ends)
        with open(said, encoding="utf-8", errors="replace") as screen, open(ended) as end:
            text = screen.read()
            code, seconds = json.load(end)
        return code, text, seconds


def _serve(control: socket.socket) -> None:
    waiting: dict[int, int] = {}
    ended, ends = os.pipe()
    os.set_blocking(ends, False)
    signal.set_wakeup_fd(ends)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([control, ended], [], [])
        if control in ready:
            request, descriptors, _, _ = socket.recv_fds(control, 1 << 20, 2)
            if not request:
                return
            pid = os.fork()
            if not pid:
                _be(json.loads(request), *descriptors)
            os.close(descriptors[0])
            waiting[pid] = descriptors[1]
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


def _be(request: dict[str, Any], output: int, end: int) -> None:
    """Becomes the command, as converge/entry.py would."""
    from converge import entry

    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.alarm(LIMIT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.close(end)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["inv", *request["words"]]
    try:
        entry.main()
    finally:
        os._exit(255)


def _load(root: Path) -> None:
    import site

    sys.path[0] = str(root)
    site.main()
    for name in LIBRARIES:
        importlib.import_module(name)
    for package in PACKAGES:
        for found in pkgutil.walk_packages([str(root / package)], f"{package}."):
            if found.name != "converge.entry":
                importlib.import_module(found.name)
    gc.freeze()


if __name__ == "__main__":
    _load(Path.cwd())
    with socket.socket(fileno=int(sys.argv[1])) as control:
        _serve(control)
