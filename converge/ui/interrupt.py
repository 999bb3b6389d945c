"""Ctrl-C, SIGTERM and SIGHUP: a command that only reads ends at once; one that changes something is notified, and ends in order."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from subprocess import Popen

NOTHING_DONE = "stopped: nothing was changed"
MAY_BE_HALF = "stopped. What had begun may be half done; the next inv deploy finishes it"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LONGEST_WAY_OUT = 10
"""Seconds that a command has to end in order."""
_children: list[Popen[Any]] = []
_ours = False


class Stopped(KeyboardInterrupt):
    """A signal asked for the end of a command that has something to put in order first."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.code = 128 + number


def take() -> None:
    """Have the three signals end this program at once, from its first moment on; one that is ignored stays so (nohup)."""
    global _ours
    _ours = True
    _handle(_at_once)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def child(process: Popen[Any]) -> None:
    """Remember a process that must not outlive this one."""
    _children.append(process)


def in_order() -> None:
    """From now on a signal is an exception: the command has something to put in order. A second one ends it at once."""
    if _ours:
        _handle(_raise)


@contextmanager
def handled_by(hear: Callable[[int], None]) -> Iterator[None]:
    """Within, `hear` gets the number of the first signal, which ends nothing; a second one ends the program at once."""
    pressed: list[int] = []

    def handler(number: int, frame: object) -> None:
        if pressed:
            leave(MAY_BE_HALF, number)
        pressed.append(number)
        hear(number)

    before = _handle(handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def leave(line: str, number: int) -> None:
    """End this program and what it started: one line, 128 and the signal. Nothing is waited for, so nothing can hang."""
    for caught in _SIGNALS:
        signal.signal(caught, signal.SIG_IGN)
    for process in _children:
        with suppress(OSError):
            if process.returncode is None:
                process.kill()
    say(line)
    os._exit(128 + number)


def say(line: str) -> None:
    """Write a line to standard error, past all buffers: the signal may have come while one was being written."""
    with suppress(OSError):
        os.write(2, f"{chr(10) if os.isatty(2) else ''}{line}\n".encode())


def _handle(handler: Any) -> dict[int, Any]:
    """Set a handler; what was there before. What is ignored stays ignored."""
    before: dict[int, Any] = {}
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, handler)
    return before


def _at_once(number: int, frame: object) -> None:
    leave(NOTHING_DONE, number)


def _raise(number: int, frame: object) -> None:
    """Python may hang on its way out when the signal came while a module was being loaded; a timer ends that."""
    _handle(lambda second, frame: leave(MAY_BE_HALF, second))
    signal.signal(signal.SIGALRM, lambda alarm, frame: leave(MAY_BE_HALF, number))
    signal.setitimer(signal.ITIMER_REAL, _LONGEST_WAY_OUT)
    raise Stopped(number)
