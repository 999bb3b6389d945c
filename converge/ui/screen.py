"""The screen: lines of several hosts that do not run into each other; a word at least every ten seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from converge.engine.resource import Action
from converge.ui.colour import coloured, paint
from converge.ui.output import Unwritten
from converge.ui.render import COLOURS

if TYPE_CHECKING:
    from converge.engine.plan import Change
    from converge.engine.steps import Report

SILENCE = 10
WARNING = "warning: "
"""How a line of a change begins that a person is to see, though the change succeeds."""


class Screen:
    """Standard output for a person, or nothing when a machine reads it."""

    def __init__(self, hosts: Iterable[str], quiet: bool = False) -> None:
        self.colour = coloured(sys.stdout)
        self.quiet = quiet
        self.goes_on = False
        """Whether work is under way that must not stop when nobody reads the output."""
        self.lost: Unwritten | None = None
        names = list(hosts)
        self._width = max(map(len, names), default=0) if len(names) > 1 else 0
        self._writing = threading.Lock()
        self._begun: dict[str, tuple[Change, float]] = {}
        self._last_lines: dict[str, str] = {}
        self._last = time.monotonic()

    def lines(self, lines: Iterable[str]) -> None:
        """Print lines, whole."""
        if self.quiet or self.lost:
            return
        with self._writing:
            try:
                print("\n".join(lines), flush=True)
            except Unwritten as lost:
                self.lost = lost
                if not self.goes_on:
                    raise
            self._last = time.monotonic()

    def _lines_aside(self, lines: Iterable[str]) -> None:
        """Print lines from a thread of its own that nothing waits for."""
        with suppress(Unwritten):
            self.lines(lines)

    def reporter(self, host: str) -> Report:
        """What `apply` reports to, for one host."""
        prefix = f"{host:{self._width}}  " if self._width else "  "

        def report(event: str, change: Change, text: str) -> None:
            now = time.monotonic()
            if event == "begin":
                self._begun[host] = (change, now)
                self._last_lines.pop(host, None)  # those were of the change before
            elif event == "says":
                self._last_lines[host] = text
                if text.startswith(WARNING):
                    self.lines([f"{prefix}  {paint(text, COLOURS[Action.UPDATE], self.colour)}"])
                elif now - self._last > SILENCE / 2:
                    self.lines([f"{prefix}  {change.address}: {text[:150]}"])
            elif event in ("end", "failed"):
                _, since = self._begun.pop(host, (change, now))
                symbol = paint(change.action.value, COLOURS[change.action], self.colour)
                took = f"  {now - since:.1f} s" if now - since >= 1 else ""
                mark = paint("failed", "31;1", self.colour) if event == "failed" else "done"
                self.lines([f"{prefix}{symbol} {change.address}  {mark}{took}"])

        return report

    def watch_reading(self, still: Callable[[], Iterable[str]]) -> threading.Event:
        """Say every ten seconds what is `still` being read, until the event that is returned is set."""
        over, begun = threading.Event(), time.monotonic()

        def tick() -> None:
            while not over.wait(1):
                if time.monotonic() - self._last >= SILENCE:
                    self._lines_aside([f"{waiting}, {time.monotonic() - begun:.0f} s so far" for waiting in still()])
                    self._last = time.monotonic()

        self._last = begun
        threading.Thread(target=tick, daemon=True).start()
        return over

    def watch(self) -> threading.Event:
        """Say every ten seconds what is still being done, until the event that is returned is set."""
        over = threading.Event()

        def tick() -> None:
            while not over.wait(1):
                if time.monotonic() - self._last >= SILENCE:
                    still = [f"{host}: {change.address}" for host, (change, _) in list(self._begun.items())]
                    since = [f"{time.monotonic() - begun:.0f} s" for _, begun in list(self._begun.values())]
                    last_words = [self._last_lines.get(host, "")[:80] for host in list(self._begun)]
                    for what, how_long, last in zip(still, since, last_words, strict=False):
                        self._lines_aside([f"  still {what}, {how_long}{': ' + last if last else ''}"])
                    self._last = time.monotonic()

        threading.Thread(target=tick, daemon=True).start()
        return over
