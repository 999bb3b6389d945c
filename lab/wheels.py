"""Packages of PyPI as wheels, fetched by the operator's machine: an image that is built cannot fetch them everywhere."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from lab import clone, shell

PYTHON = "3.13"
"""Of Debian 13, on which images are built."""
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_LIBRARIES = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014", "linux")
"""What glibc of Debian 13 runs; the last is what says no more than that it is for Linux."""


def folder(packages: Sequence[str], architecture: str) -> Path:
    """A folder with the wheels of these packages and of all that they need; fetched once, then kept outside the checkout."""
    name = hashlib.sha256(" ".join((*packages, PYTHON, architecture)).encode()).hexdigest()[:16]
    path = clone.cache("wheels", name)
    if not path.exists():
        unfinished = path.with_suffix(".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        machine = _MACHINES.get(architecture, architecture)
        platforms = [word for library in _LIBRARIES for word in ("--platform", f"{library}_{machine}")]
        shell.run(
            f"fetching {' '.join(packages)}",
            *(sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "-d", str(unfinished)),
            *("--only-binary=:all:", "--implementation", "cp", "--python-version", PYTHON, *platforms, *packages),
            takes="1-2 minutes",
            hint="is https://pypi.org reachable? `pip config list` names another index",
        )
        unfinished.rename(path)
    return path
