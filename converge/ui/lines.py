"""Lines that fit a terminal: wrapped, never cut off, and what is to be pasted only between its commands."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Iterator

IN_A_PIPE = 100
LEAST = 60
"""Columns of a terminal that is narrower than any word of ours."""
# Where what is to be typed may go on in the next line and still be pasted.
_BETWEEN_COMMANDS = re.compile(r"(?<=;) |(?<=,) (?=or )|(?<=&&) |(?<=\|\|) ")


def width() -> int:
    """The columns of the terminal, at most so many in a pipe."""
    if not sys.stdout.isatty():
        return IN_A_PIPE
    return max(LEAST, shutil.get_terminal_size((IN_A_PIPE, 24)).columns)


def fitted(line: str, columns: int, more: int = 4) -> list[str]:
    """A line in pieces that fit; a word that is longer than a line, such as a path, stays whole."""
    if len(line) <= columns:
        return [line]
    indent = " " * (len(line) - len(line.lstrip(" ")))
    further = indent + " " * more
    text = textwrap.TextWrapper(
        columns,
        initial_indent=indent,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
        replace_whitespace=False,
    )
    return text.wrap(line[len(indent) :])


def say(text: str, more: int = 6) -> None:
    """Prints a text on lines that fit; what goes on in another line is indented."""
    for line in text.splitlines() or [""]:
        print("\n".join(fitted(line, width(), more)), flush=True)


def error(text: str) -> str:
    """The text of an error on lines that fit: what is to be typed is broken between its commands only."""
    lines, typed, columns = list[str](), False, width()
    for line in text.splitlines():
        typed = line.startswith("     ") and (typed or line.startswith("     try: "))
        # What has no flags is prose.
        lines += pasted(line, columns) if typed and " -" in line else fitted(line, columns, 2)
    return "\n".join(lines)


def pasted(line: str, columns: int) -> list[str]:
    """A line with commands, broken only between them."""
    if len(line) <= columns:
        return [line]
    indent = " " * (len(line) - len(line.lstrip(" ")) + 5)
    return list(_filled(_BETWEEN_COMMANDS.split(line), columns, indent))


def _filled(parts: list[str], columns: int, indent: str) -> Iterator[str]:
    current = parts[0]
    for part in parts[1:]:
        if len(current) + 1 + len(part) <= columns:
            current += " " + part
        else:
            yield current
            current = indent + part
    yield current
