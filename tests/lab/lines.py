"""Persistent SSH connections to lab hosts: a login for each command takes 0.2 s of a core."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from threading import Lock

_FOLDER = Path(tempfile.mkdtemp(prefix="stowage-"))
_LINES: dict[Path, subprocess.Popen[bytes]] = {}
_OPENING = Lock()


def along(root: Path, host: str, ssh: list[str]) -> list[str]:
    """The ssh command over the persistent connection to this host; a broken one is replaced."""
    path = _path(root, host)
    with _OPENING:
        if path not in _LINES or _LINES[path].poll() is not None:
            path.unlink(missing_ok=True)
            stay = ["-M", "-N", "-S", str(path), "-o", "ServerAliveInterval=5"]
            _LINES[path] = subprocess.Popen(
                [ssh[0], *stay, *ssh[1:]],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            while _LINES[path].poll() is None and not path.exists():
                time.sleep(0.01)
    return [ssh[0], "-S", str(path), *ssh[1:]]


def hang_up(root: Path, host: str) -> None:
    """Closes the connection before a host is switched off, as it would wait for an answer."""
    _end(_path(root, host))


def _path(root: Path, host: str) -> Path:
    return _FOLDER / f"{root.name}-{host}"


def _end(path: Path) -> None:
    with _OPENING:
        if line := _LINES.pop(path, None):
            line.kill()
            line.wait()


@atexit.register
def _end_all() -> None:
    for path in list(_LINES):
        _end(path)
    shutil.rmtree(_FOLDER, ignore_errors=True)
