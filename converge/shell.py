"""Words for the shell: the one place where a value becomes part of a script."""

from __future__ import annotations

import shlex


def quote(word: object) -> str:
    """One word, whatever it holds; a NUL, which no argument can hold, is refused."""
    text = str(word)
    if "\0" in text:
        raise ValueError("a NUL byte cannot reach a shell")
    return shlex.quote(text)


def sh(template: str, *values: object) -> str:
    """Fill each `{}` of a template with a quoted value: `sh("rm -f -- {}", path)`."""
    return template.format(*(quote(value) for value in values))


def words(values: object) -> str:
    """Quoted words with blanks between, of any iterable."""
    return " ".join(quote(value) for value in values)  # type: ignore[attr-defined]
