"""One YAML document as nodes with their lines; every mistake in it is reported in plain words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from converge.errors import Trouble
from converge.inventory.layers import Node
from converge.inventory.local_text import Unreadable, text_of
from converge.inventory.nodes import DEEPEST, MOST, Reader

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
LARGEST = 2 << 20
"""Bytes of one file. An inventory of a thousand hosts has a tenth of it."""
SAFE = 1000
"""Levels that YAML's composer surely takes."""
UNPRINTABLE = yaml.reader.Reader.NON_PRINTABLE

# What YAML's parser says, and what its author most likely meant.
HINTS = (
    (
        "mapping values are not allowed",
        "a colon inside a text needs quotes around the text; otherwise look at the indentation",
    ),
    ("cannot start any token", "put a text that begins with @, ` or % into quotes"),
    ("alphabetic or numeric character", "put a text that begins with * or & into quotes"),
    ("undefined alias", "put a text that begins with * into quotes"),
    ("could not find expected ':'", "a key needs a colon and a blank behind it"),
    ("did not find expected", "look at the indentation here and on the line before, and at open quotes and brackets"),
    ("quoted scalar", "close the quotes"),
    ("single document", "one document a file: remove the second ---"),
)


def read_file(path: Path, root: Path, troubles: list[Trouble]) -> Node:
    """The mapping in a file; an empty file is an empty mapping."""
    name = str(path.relative_to(root))
    try:
        text = text_of(path, LARGEST)
    except Unreadable as reason:
        hint = f"iconv -f UTF-16 -t UTF-8 {name}" if "UTF-16" in str(reason) else f"look at {name}"
        troubles.append(Trouble("the file cannot be read", where=name, why=str(reason), hint=hint))
        return Node({}, name)
    if text.startswith("$ANSIBLE_VAULT"):
        hint = f"ansible-vault decrypt {name}, and write each secret as {{command: ansible-vault view FILE}}"
        why = "settings are in clear here, so that each has its line; secrets are references"
        troubles.append(Trouble("the file is encrypted by ansible-vault", where=name, why=why, hint=hint))
        return Node({}, name)
    node = read_text(text, name, troubles)
    if node.value is None:
        return Node({}, name)
    if not isinstance(node.value, dict):
        troubles.append(
            Trouble(
                "the file is not a mapping",
                where=node.origin,
                why="expected lines such as `key: value`",
                hint=f"edit {name}",
            )
        )
        return Node({}, name)
    return node


def read_text(text: str, name: str, troubles: list[Trouble], *, lines: bool = True) -> Node:
    """One YAML document as nodes; what is wrong with it goes to `troubles`."""
    if unprintable := UNPRINTABLE.search(text):
        where = f"{name}:{text.count(chr(10), 0, unprintable.start()) + 1}" if lines else name
        why = f"it holds {unprintable[0]!r}, a character that cannot be printed"
        troubles.append(Trouble("not readable as YAML", where=where, why=why, hint="remove it"))
        return Node(None, name)
    try:
        if mark := _beyond(text):
            where = f"{name}:{mark.line + 1}" if lines else name
            why = f"more than {DEEPEST} levels, or more than {MOST} values"
            troubles.append(Trouble("too much for one file", where=where, why=why, hint="keep it flat and small"))
            return Node(None, name)
        root = yaml.compose(text, LOADER)
    except yaml.MarkedYAMLError as error:
        troubles.append(_syntax(error, text, name, lines))
        return Node(None, name)
    except (yaml.YAMLError, UnicodeError) as error:
        troubles.append(Trouble("not readable as YAML", where=name, why=str(error), hint=f"look at {name}"))
        return Node(None, name)
    return Reader(name, troubles, lines).node(root, 0) if root else Node(None, name)


def _beyond(text: str) -> Any:
    """Where a document is deeper or larger than it may be; composing it would end the process."""
    signs = sum(text.count(sign) for sign in ("[", "{", "- ", "? "))
    if signs < SAFE and " " * SAFE not in text:
        return None  # it has too few signs to be that deep
    depth = 0
    for count, event in enumerate(yaml.parse(text, LOADER)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST or count > 2 * MOST:
            return event.start_mark
    return None


def _syntax(error: yaml.MarkedYAMLError, text: str, name: str, lines: bool) -> Trouble:
    mark = error.problem_mark or error.context_mark
    where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark and lines else name
    problem = error.problem or "it cannot be read"
    line = text.splitlines()[mark.line] if mark and mark.line < len(text.splitlines()) else ""
    hint = next(
        (advice for part, advice in HINTS if part in f"{problem} {error.context}"),
        "look at the line and the one before it",
    )
    if "\t" in line[: len(line) - len(line.lstrip())]:
        hint = "indent with spaces: YAML takes no tabs"
    return Trouble(
        "not valid YAML", where=where, why=f"{error.context}: {problem}" if error.context else problem, hint=hint
    )
