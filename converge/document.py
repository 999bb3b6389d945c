"""One YAML document as nodes with their lines; every slip in it is told in plain words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from converge.errors import Trouble
from converge.layers import Node

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SCALARS = yaml.constructor.SafeConstructor()
TAG = "tag:yaml.org,2002:"
MERGE = f"{TAG}merge"
DEEPEST = 40

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
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        troubles.append(Trouble("the file cannot be read", where=name, why=why, hint=f"look at {name}"))
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
    try:
        root = yaml.compose(text, LOADER)
    except yaml.MarkedYAMLError as error:
        troubles.append(_syntax(error, text, name, lines))
        return Node(None, name)
    except (yaml.YAMLError, UnicodeError):
        troubles.append(
            Trouble(
                "not readable as YAML", where=name, why="it holds a character that cannot be printed", hint="remove it"
            )
        )
        return Node(None, name)
    return _Reader(name, troubles, lines).node(root, 0) if root else Node(None, name)


def _syntax(error: yaml.MarkedYAMLError, text: str, name: str, lines: bool) -> Trouble:
    mark = error.problem_mark or error.context_mark
    where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark and lines else name
    problem = error.problem or "it cannot be read"
    line = text.splitlines()[mark.line] if mark and mark.line < len(text.splitlines()) else ""
    hint = next(
        (said for part, said in HINTS if part in f"{problem} {error.context}"), "look at the line and the one before it"
    )
    if "\t" in line[: len(line) - len(line.lstrip())]:
        hint = "indent with spaces: YAML takes no tabs"
    return Trouble(
        "not valid YAML", where=where, why=f"{error.context}: {problem}" if error.context else problem, hint=hint
    )


class _Reader:
    """Turns YAML's own nodes into ours."""

    def __init__(self, name: str, troubles: list[Trouble], lines: bool) -> None:
        self.name, self.troubles, self.lines = name, troubles, lines

    def where(self, node: Any) -> str:
        return f"{self.name}:{node.start_mark.line + 1}" if self.lines else self.name

    def refuse(self, node: Any, what: str, why: str, hint: str) -> None:
        self.troubles.append(Trouble(what, where=self.where(node), why=why, hint=hint))

    def node(self, node: Any, depth: int, key: Any = None) -> Node:
        origin = self.where(key or node)
        if depth > DEEPEST:
            self.refuse(
                node, "too deep", f"more than {DEEPEST} levels, or an alias that contains itself", "write it out"
            )
            return Node(None, origin)
        if isinstance(node, yaml.MappingNode) and node.tag == f"{TAG}map":
            return Node(self.mapping(node, depth), origin)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{TAG}seq":
            return Node([self.node(item, depth + 1) for item in node.value], origin)
        if isinstance(node, yaml.ScalarNode) and node.tag.removeprefix(TAG) in KINDS:
            return self.scalar(node, origin)
        if node.tag in ("!vault", "!unsafe"):
            self.refuse(
                node,
                f"{node.tag} is Ansible's",
                "secrets are references here",
                "{command: ansible-vault view FILE}, {file: PATH} or {env: NAME}",
            )
        else:
            self.refuse(
                node,
                f"the tag {node.tag.replace(TAG, '!!')} is not read",
                "settings are texts, numbers, true, false, lists and mappings",
                "remove it",
            )
        return Node(None, origin)

    def mapping(self, node: Any, depth: int) -> dict[str, Node]:
        found: dict[str, Node] = {}
        first: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag == MERGE:
                for one in reversed(value.value) if isinstance(value, yaml.SequenceNode) else [value]:
                    if isinstance(one, yaml.MappingNode) and depth <= DEEPEST:
                        found = {**self.mapping(one, depth + 1), **found}
                continue
            if not isinstance(key, yaml.ScalarNode) or key.tag not in (f"{TAG}str", f"{TAG}timestamp"):
                self.key_trap(key)
                continue
            if key.value in first:
                numbers = f"lines {first[key.value].start_mark.line + 1} and {key.start_mark.line + 1}"
                self.refuse(
                    key,
                    f"the key {key.value} stands twice",
                    f"{numbers} both have it" if self.lines else "",
                    "keep one",
                )
            first[key.value] = key
            found[key.value] = self.node(value, depth + 1, key)
        return found

    def key_trap(self, key: Any) -> None:
        if isinstance(key, yaml.ScalarNode):
            self.refuse(
                key,
                f"the key {key.value} is not text",
                f"YAML reads {key.value or 'nothing'} as {_kind(key)}",
                f'quote it: "{key.value}"',
            )
        else:
            self.refuse(
                key,
                "a key must be a text",
                "{ and [ at the start of a value begin a mapping or a list",
                'quote the value: "{...}"',
            )

    def scalar(self, node: Any, origin: str) -> Node:
        kind = node.tag.removeprefix(TAG)
        if kind in ("str", "timestamp", "value"):
            self.template_trap(node)
            return Node(node.value, origin)
        try:
            value = getattr(SCALARS, f"construct_yaml_{kind}")(node)
        except (ValueError, KeyError):
            self.refuse(node, f"not {KINDS[kind]}", f"the tag says {kind}", "remove the tag")
            return Node(None, origin)
        if kind in ("int", "float") and (":" in node.value or re.match(r"[-+]?0[0-9_]", node.value)):
            self.refuse(
                node,
                f"{node.value} is not what it looks like",
                f"YAML reads it as the number {value}",
                f'quote it: "{node.value}"',
            )
        return Node(value, origin, node.value)

    def template_trap(self, node: Any) -> None:
        if re.search(r"\{%|\{\{-?\s*[A-Za-z_]", node.value):
            self.refuse(
                node,
                "a template in the inventory",
                "settings are taken as they stand; nothing is filled in",
                "write the value itself",
            )


KINDS = {
    "str": "a text",
    "timestamp": "a text",
    "value": "a text",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
}


def _kind(node: Any) -> str:
    return KINDS.get(node.tag.removeprefix(TAG), "something else")
