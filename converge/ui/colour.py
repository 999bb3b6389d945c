"""ANSI colours, only on a terminal."""

from __future__ import annotations

import os
from typing import TextIO


def coloured(stream: TextIO) -> bool:
    """Whether a stream is a terminal of somebody who wants colours (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def paint(text: str, code: str, colour: bool) -> str:
    """A text in a colour, when `colour` is set and the text is not empty."""
    return f"\033[{code}m{text}\033[0m" if colour and text else text
