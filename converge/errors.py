"""Errors: every one that a user can meet is a Trouble, which says everything about it once."""

from __future__ import annotations

import re

from converge.record import dataclass

# Commands that take no --host, or whose host is one of the lab.
_OF_A_HOST = re.compile(r"\binv (?!(?:lab|host)\.)([a-z]+(?:\.[a-z-]+)?)")
ERROR, PENDING, REFUSED, UNREACHABLE, LOCKED = 1, 2, 3, 4, 5
UNTOUCHED = "nothing was connected to or changed"


@dataclass
class Trouble(Exception):
    """One clear error: what, where, why, what was left untouched, and what to type next.

    `code` is the exit code of the command: 1 error, 3 refused or unknown, 4 unreachable, 5 locked.
    """

    what: str
    where: str = ""
    why: str = ""
    untouched: str = ""
    hint: str = ""
    code: int = ERROR

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        rest = [self.why, self.untouched, f"try: {self.hint}" if self.hint else ""]
        return "\n".join([head, *(f"     {line}" for part in rest if part for line in part.splitlines())])


class Troubles(Exception):
    """Several errors at once, so that one wrong key or dead host never hides the others."""

    def __init__(self, troubles: list[Trouble]) -> None:
        super().__init__("\n".join(str(trouble) for trouble in troubles))
        self.troubles = troubles

    @property
    def code(self) -> int:
        return max(trouble.code for trouble in self.troubles)


def for_host(hint: str, host: str) -> str:
    """A hint with `--host` in its commands, so that they can be pasted: the code that wrote it may not know the host."""
    return hint if "--host" in hint else _OF_A_HOST.sub(rf"inv \1 --host {host}", hint)


def folded(text: str) -> str:
    """A long reason, such as a list of names, in lines that fit a terminal."""
    import textwrap  # loaded only for an error

    return textwrap.fill(text, 92, break_long_words=False, break_on_hyphens=False)
