"""The environment of the peers: outside the checkout, made once for each list of pins."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from measure import ROOT

PINS = ROOT / "requirements-bench.txt"


def peers() -> Path:
    """The folder with the programs of pyinfra and Ansible."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "stowage", "bench")
    place = home / hashlib.sha256(PINS.read_bytes()).hexdigest()[:12]
    if not (place / "whole").exists():
        print("installing pyinfra, Ansible and Mitogen, a minute", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        pip = [place / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", PINS]
        subprocess.run(pip, check=True)
        (place / "whole").touch()
    return place / "bin"


def mitogen(programs: Path) -> Path:
    """The folder with Mitogen's strategy for Ansible."""
    (place,) = programs.parent.glob("lib/python3*/site-packages/ansible_mitogen/plugins/strategy")
    return place
