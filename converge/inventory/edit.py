"""Edits of a settings file: a row more in a list, a key of a row. Comments, order and layout of all else stay.

The text is changed at the places that YAML's parser names, then read back: what does not come to exactly the settings
that were meant is refused (`ByHand`), with the lines to put in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from converge.inventory.written import ByHand, Step, Text, content_end, is_null, line_end, own_end, plain


def with_row(text: str, path: Sequence[Step], row: Any, as_json: bool = False) -> str:
    """The text with one more row at the end of the list at a path; the last key of the path may be missing or have no value."""

    def change(data: Any) -> None:
        holder = _at(data, path[:-1])
        held = holder.get(path[-1]) if isinstance(holder, dict) else holder[path[-1]]
        holder[path[-1]] = [*(held or []), row]

    return _checked(Text(text, as_json), change, lambda document: _with_row(document, path, row))


def with_key(text: str, path: Sequence[Step], value: Any, as_json: bool = False) -> str:
    """The text with this value at a path, replacing the present one; the mapping that holds it must exist."""

    def change(data: Any) -> None:
        _at(data, path[:-1])[path[-1]] = value

    return _checked(Text(text, as_json), change, lambda document: _with_key(document, path, value))


def without_row(text: str, path: Sequence[Step], as_json: bool = False) -> str:
    """The text without one row of a list, by its number."""

    def change(data: Any) -> None:
        rows = _at(data, path[:-1])
        del rows[int(path[-1])]
        if not rows:
            _at(data, path[:-2])[path[-2]] = rows

    return _checked(Text(text, as_json), change, lambda document: _without_row(document, path))


def _checked(before: Text, change: Callable[[Any], None], edit: Callable[[Text], str]) -> str:
    """The edited text, if it reads back as exactly the intended settings."""
    wanted = plain(before.root)
    wanted = {} if wanted is None else wanted
    try:
        change(wanted)
        after = edit(before)
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ByHand("what is to be changed is not there") from None
    if plain(Text(after).root) != wanted:
        raise ByHand("the change would reach more than it should")
    return after


def _with_row(document: Text, path: Sequence[Step], row: Any) -> str:
    holder, node = document.find(path[:-1]), document.find(path)
    if node is None or is_null(node):
        return _with_list(document, holder, node, str(path[-1]), row)
    if not isinstance(node, yaml.SequenceNode):
        raise ByHand(f"{path[-1]} is no list")
    if node.flow_style:
        if not node.value:
            at = node.start_mark.index + 1
            return document.with_(at, at, document.value(row))
        at = own_end(node.value[-1], node)
        return document.with_(at, at, f", {document.value(row)}")
    column = node.start_mark.column
    return document.after_line(content_end(node), document.row(row, column), column)


def _with_list(document: Text, holder: Any, null: Any, key: str, row: Any) -> str:
    """A list of one row, under a key that is not there yet or has no value."""
    if null is None:
        if holder is not None and holder.flow_style and isinstance(row, Mapping) and not document.json:
            return _with_new_key(document, holder, key, [row])
        return _with_new_key(document, holder, key, [row], [f"{key}:", *document.row(row, 2)])
    pair = next(pair for pair in holder.value if pair[1] is null)
    start, end = null.start_mark.index, null.end_mark.index
    if holder.flow_style or document.json:
        return document.with_(start, end, f"{'' if end > start else ' '}{document.value([row])}")
    bare = Text(document.with_(len(document.text[:start].rstrip(" ")), end, "") if end > start else document.text)
    column = pair[0].start_mark.column
    return bare.after_line(pair[0].end_mark.index, document.row(row, column + 2), 1 << 30)


def _with_key(document: Text, path: Sequence[Step], value: Any) -> str:
    holder, node = document.find(path[:-1]), document.find(path)
    if node is None:
        return _with_new_key(document, holder, str(path[-1]), value)
    start, end = node.start_mark.index, node.end_mark.index
    if isinstance(node, yaml.ScalarNode):
        if node.style in ("|", ">"):
            raise ByHand(f"{path[-1]} is a text of several lines")
        return document.with_(start, end, f"{'' if end > start else ' '}{document.value(value)}")
    if not node.flow_style:
        raise ByHand(f"{path[-1]} is more than one line")
    return document.with_(start, end, document.value(value))


def _with_new_key(document: Text, holder: Any, key: str, value: Any, lines: Sequence[str] = ()) -> str:
    if holder is None or is_null(holder):
        gap = document.newline if document.text.strip() else ""
        return document.after_line(
            len(document.text), [*([""] if gap else []), *(lines or [f"{key}: {document.value(value)}"])], -1
        )
    if not isinstance(holder, yaml.MappingNode):
        raise ByHand("it is no mapping")
    if holder.flow_style:
        pair = f"{json.dumps(key) if document.json else key}: {document.value(value)}"
        if not holder.value:
            at = holder.start_mark.index + 1
            return document.with_(at, at, pair)
        at = max(holder.value[-1][0].end_mark.index, own_end(holder.value[-1][1], holder))
        return document.with_(at, at, f", {pair}")
    column = holder.start_mark.column
    indent = " " * column
    new = [indent + line for line in lines or [f"{key}: {document.value(value)}"]]
    # A blank line separates a new section from the one before it; a key of a row gets none.
    return document.after_line(
        content_end(holder), ["", *new] if lines and not column else new, column if column else 0
    )


def _without_row(document: Text, path: Sequence[Step]) -> str:
    rows, number = document.find(path[:-1]), int(path[-1])
    node = rows.value[number]
    if rows.flow_style:
        remaining = [plain(each) for at, each in enumerate(rows.value) if at != number]
        return document.with_(rows.start_mark.index, rows.end_mark.index, document.value(remaining))
    start = document.text.rfind("\n", 0, node.start_mark.index) + 1
    end = line_end(document.text, max(content_end(node) - 1, node.start_mark.index))
    if len(rows.value) > 1:
        return document.with_(start, end, "")
    holder = document.find(path[:-2])
    key = next(key for key, value in holder.value if value is rows or value.start_mark.index == rows.start_mark.index)
    colon = document.text.index(":", key.end_mark.index)
    return document.text[: colon + 1] + " []" + document.text[colon + 1 : start] + document.text[end:]


def _at(data: Any, path: Sequence[Step]) -> Any:
    for step in path:
        data = data[step]
    return data
