"""Words for the shell: the one place where a value becomes part of a script."""

from __future__ import annotations

import shlex
from collections.abc import Iterable


def quote(word: object) -> str:
    """One word, whatever it holds; a NUL, which no argument can hold, is refused."""
    text = str(word)
    if "\0" in text:
        raise ValueError("a NUL byte cannot reach a shell")
    return shlex.quote(text)


def sh(template: str, *values: object) -> str:
    """Fill each `{}` of a template with a quoted value: `sh("rm -f -- {}", path)`."""
    return template.format(*(quote(value) for value in values))


def quote_all(values: Iterable[object]) -> str:
    """Quoted words with blanks between."""
    return " ".join(quote(value) for value in values)


UNFINISHED = "/var/lib/stowage/unfinished"
"""Where a record is written before it takes its place. The next record, of the same deploy or of one after a cut, replaces it."""


def write_record(file: str, writing: str) -> str:
    """Shell that has the output of a command become this file of ours: whole or not at all, whenever the power goes.

    Only for the one who holds the host's lock: there is one place for what is unfinished, so that a cut leaves no more than that.
    """
    folder = file.rpartition("/")[0]
    return (
        f"rm -f {UNFINISHED}; {writing} >{UNFINISHED}; sync {UNFINISHED}\n"
        f"mv -fT -- {UNFINISHED} {quote(file)}; sync {quote(folder)}"
    )
