"""`--set key=value`: the last layer."""

from __future__ import annotations

import re

from converge.document import read_text
from converge.errors import Trouble
from converge.layers import Node, merge

ORIGIN = "--set"
KEY = re.compile(r"[A-Za-z_][^=\s]*")


def override(tree: Node, given: str, troubles: list[Trouble]) -> Node:
    """The tree with one setting replaced: `nginx.listen=0.0.0.0`, `drives.0.label=x`, `drives[0].label=x`."""
    key, equals, text = given.partition("=")
    if not equals or not KEY.fullmatch(key):
        shown = key if KEY.fullmatch(key) else "the text"
        troubles.append(
            Trouble(
                f"--set needs KEY=VALUE, {shown} is not",
                where=ORIGIN,
                why="for example nginx.listen=0.0.0.0",
                hint="--set KEY=VALUE",
            )
        )
        return tree
    steps = re.sub(r"\[(\d+)\]", r".\1", key).split(".")
    problems: list[Trouble] = []
    value = read_text(text, f"{ORIGIN} {key}", problems, lines=False)
    troubles.extend(problems)
    try:
        return tree if problems else _put(tree, steps, _of_set(value), key)
    except Trouble as trouble:
        troubles.append(trouble)
        return tree


def _of_set(node: Node) -> Node:
    value = node.value
    if isinstance(value, dict):
        value = {key: _of_set(one) for key, one in value.items()}
    elif isinstance(value, list):
        value = [_of_set(one) for one in value]
    return Node(value, ORIGIN, node.written)


def _put(node: Node, steps: list[str], value: Node, key: str) -> Node:
    if not steps:
        return merge(node, value)
    step, *rest = steps
    if isinstance(node.value, list):
        return _put_in_list(node, step, rest, value, key)
    below = node.value if isinstance(node.value, dict) else {}
    whole = ".".join(steps)
    if rest and whole in below:  # a key that has dots itself, such as a kernel setting
        step, rest = whole, []
    return Node(
        {**below, step: _put(below.get(step, Node({} if rest else None, ORIGIN)), rest, value, key)}, node.origin
    )


def _put_in_list(node: Node, step: str, rest: list[str], value: Node, key: str) -> Node:
    if not step.isdecimal() or int(step) >= len(node.value):
        what = f"the list has {len(node.value)}, counted from 0" if node.value else "the list is empty"
        raise Trouble(
            f"{key}: there is no item {step}", where=ORIGIN, why=what, hint=f"--set {key.partition('.')[0]}.0..."
        )
    items = list(node.value)
    items[int(step)] = _put(items[int(step)], rest, value, key)
    return Node(items, node.origin)
