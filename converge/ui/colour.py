"""Colours, where somebody looks."""

from __future__ import annotations

import os
from typing import TextIO


def coloured(stream: TextIO) -> bool:
    """Whether what is written there is read on a terminal by somebody who wants colours (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def paint(text: str, code: str, colour: bool) -> str:
    """Text in a colour, where there is any."""
    return f"\033[{code}m{text}\033[0m" if colour and text else text
