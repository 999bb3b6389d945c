"""Collects the arguments of all programs, here and on a host, during an action: they must not contain a secret."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.lab.conftest import Clone

# Reads /proc itself: `ps` in a loop would take a core from the watched programs.
LOOKS = """
import glob, sys, threading, time
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), over.set()), daemon=True).start()
known = set()
print("watching", flush=True)
while not over.is_set():
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                words = file.read().replace(b"\\0", b" ")
        except OSError:
            continue
        if words not in known:
            known.add(words)
            print(ascii(words.decode(errors="replace")), flush=True)
    time.sleep(0.02)
"""


def arguments_here() -> Iterator[str]:
    """The command lines of this machine's programs."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")


@contextmanager
def on(clone: Clone) -> Iterator[list[str]]:
    """A list that is filled at the end with every command line seen on the host."""
    seen: list[str] = []
    script = "exec python3 -u -c '" + LOOKS.replace("'", "'\\''") + "'"
    looks = subprocess.Popen([*clone.ssh(), script], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert looks.stdin and looks.stdout and looks.stdout.readline() == "watching\n"
    yield seen
    looks.stdin.close()
    # communicate() would lose what readline() has read ahead.
    seen += map(ast.literal_eval, looks.stdout.read().splitlines())
    assert looks.wait(timeout=120) == 0
