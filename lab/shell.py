"""Programs of the operator's own machine, run with their output as progress."""

from __future__ import annotations

import os
import subprocess
from collections import deque
from collections.abc import Mapping

from converge.errors import Trouble
from lab.progress import long_work


def run(what: str, *argv: str, takes: str = "", env: Mapping[str, str] | None = None, hint: str = "") -> str:
    """Run a program and give its output; the end of its output is the reason when it fails."""
    output: deque[str] = deque(maxlen=2000)
    with long_work(what, takes) as work:
        try:
            child = subprocess.Popen(
                argv,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise Trouble(f"{what} failed", why=f"{argv[0]}: {error.strerror}", hint=hint) from None
        assert child.stdout is not None
        for line in child.stdout:
            output.append(line)
            work.note(line)
        code = child.wait()
        if code:
            why = f"`{' '.join(argv)}` ended with {code}:\n{''.join(list(output)[-8:]).strip()}"
            raise Trouble(f"{what} failed", why=why, hint=hint)
    return "".join(output)


def apt_install(*packages: str) -> None:
    """Install what the lab itself needs on the operator's machine; only root on Debian can."""
    names = " ".join(packages)
    if os.geteuid() or not os.path.exists("/usr/bin/apt-get"):
        raise Trouble(f"the lab needs {names}", why="it is not on this machine", hint=f"sudo apt-get install {names}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run("package lists", "apt-get", "-q", "update", env=quiet)
    run(f"apt-get install {names}", "apt-get", "-qy", "install", *packages, takes="a minute", env=quiet)
