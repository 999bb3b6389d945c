"""The text of a settings file with the places of its nodes, as YAML's parser tells them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import yaml

from converge.record import dataclass

Step = str | int
PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./@%+*-]*")
TAG = "tag:yaml.org,2002:"


class ByHand(Exception):
    """The file is written in a way that is better edited by hand."""


@dataclass(frozen=True)
class Text:
    """The text of a file with its nodes, and the way in which values are written in it."""

    text: str
    json: bool = False

    @cached_property
    def root(self) -> Any:
        try:
            return yaml.compose(self.text, yaml.SafeLoader)
        except yaml.YAMLError as error:
            raise ByHand(str(error).splitlines()[0]) from None

    @property
    def newline(self) -> str:
        return "\r\n" if "\r\n" in self.text else "\n"

    def find(self, path: Sequence[Step]) -> Any:
        """The node at a path, or None. One that stands elsewhere (an alias, `<<`) cannot be changed here."""
        node = self.root
        for step in path:
            node = _below(node, step)
            if node is None:
                return None
        return node

    def with_(self, start: int, end: int, new: str) -> str:
        return self.text[:start] + new + self.text[end:]

    def after_line(self, at: int, lines: Sequence[str], deeper_than: int) -> str:
        """The text with lines inserted after the line that holds a position, and after comments that belong to that line's block."""
        end = line_end(self.text, at)
        while end < len(self.text):
            line = self.text[end : line_end(self.text, end)]
            if not line.strip().startswith("#") or len(line) - len(line.lstrip()) <= deeper_than:
                break
            end += len(line)
        before = "" if self.text[:end].endswith("\n") or not end else self.newline
        return self.with_(end, end, before + "".join(line + self.newline for line in lines))

    def value(self, value: Any) -> str:
        """A value on one line."""
        if self.json:
            return json.dumps(value, ensure_ascii=False)
        if isinstance(value, Mapping):
            return "{" + ", ".join(f"{key}: {self.value(item)}" for key, item in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(self.value, value)) + "]"
        if isinstance(value, str) and PLAIN.fullmatch(value) and yaml.safe_load(value) == value:
            return value
        return json.dumps(value, ensure_ascii=False)

    def row(self, value: Any, column: int) -> list[str]:
        """A row of a block list, as its lines: a key a line, and a list of mappings a mapping a line."""
        indent = " " * column
        if not isinstance(value, Mapping):
            return [f"{indent}- {self.value(value)}"]
        lines: list[str] = []
        for key, item in value.items():
            head = f"{indent}{'  ' if lines else '- '}{key}:"
            if isinstance(item, list) and item and isinstance(item[0], Mapping):
                lines += [head, *(f"{indent}    - {self.value(each)}" for each in item)]
            else:
                lines.append(f"{head} {self.value(item)}")
        return lines


def _below(node: Any, step: Step) -> Any:
    if isinstance(step, int):
        if not isinstance(node, yaml.SequenceNode) or step >= len(node.value):
            return None
        child, behind = node.value[step], node.start_mark
    else:
        if not isinstance(node, yaml.MappingNode):
            return None
        pairs = [(key, value) for key, value in node.value if key.value == step and key.tag != f"{TAG}merge"]
        if not pairs:
            if any(key.tag == f"{TAG}merge" for key, _ in node.value):
                raise ByHand("a part of it is brought in by <<")
            return None
        child, behind = pairs[0][1], pairs[0][0].end_mark
    if child.start_mark.index < behind.index:
        raise ByHand("a part of it is an alias (*NAME)")
    return child


def own_end(node: Any, holder: Any) -> int:
    if node.start_mark.index < holder.start_mark.index:
        raise ByHand("a part of it is an alias (*NAME)")
    return int(node.end_mark.index)


def content_end(node: Any) -> int:
    """Where the content of a node ends; YAML's own end mark is after the comments and blank lines that follow."""
    if isinstance(node, yaml.ScalarNode):
        several = node.style in ("|", ">")  # the end mark of these is after blank lines as well
        mark = node.end_mark
        return len(str(mark.buffer)[: mark.pointer].rstrip()) if several else int(mark.index)
    if node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    key, value = last if isinstance(last, tuple) else (None, last)
    begun = key.end_mark.index if key else node.start_mark.index
    return max(begun, content_end(value)) if value.start_mark.index >= begun else _past_alias(node, begun)


def _past_alias(node: Any, begun: int) -> int:
    """An alias ends the node: it is written on the line of its key, and only the line matters."""
    if isinstance(node, yaml.SequenceNode):
        raise ByHand("a part of it is an alias (*NAME)")
    return begun


def line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def is_null(node: Any) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == f"{TAG}null"


def plain(node: Any) -> Any:
    """A node as values that can be compared; tags do not matter for that."""
    if node is None or is_null(node):
        return None
    if isinstance(node, yaml.MappingNode):
        merged = [value for key, value in node.value if key.tag.endswith(":merge")]
        own = {key.value: plain(value) for key, value in node.value if not key.tag.endswith(":merge")}
        return own | ({"<<": [plain(part) for part in merged]} if merged else {})
    if isinstance(node, yaml.SequenceNode):
        return [plain(item) for item in node.value]
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node) if node.tag.startswith(TAG) else node.value
    except yaml.YAMLError:
        return node.value
