"""`--set key=value`: the last layer."""

from __future__ import annotations

import re
import typing
from typing import Any

from converge.errors import Trouble
from converge.inventory.annotations import annotation, bare, fields
from converge.inventory.document import read_text
from converge.inventory.layers import Node, merge

ORIGIN = "--set"
KEY = re.compile(r"[A-Za-z_][^=\s]*")
ITEM = re.compile(r"\[([^\]]*)\]")


def override(tree: Node, given: str, troubles: list[Trouble], model: Any = None) -> Node:
    """The tree with one setting replaced: `edge.listen=0.0.0.0`, `drives.0.label=x`, `drives[0].label=x`."""
    key, equals, text = given.partition("=")
    if not equals or not KEY.fullmatch(key):
        shown = key if KEY.fullmatch(key) else "the text"
        example = "for example edge.listen=0.0.0.0"
        troubles.append(Trouble(f"--set needs KEY=VALUE, {shown} is not", ORIGIN, example, hint="--set KEY=VALUE"))
        return tree
    problems: list[Trouble] = []
    value = read_text(text, f"{ORIGIN} {key}", problems, lines=False)
    troubles.extend(problems)
    try:
        return tree if problems else _put(tree, _steps(key), _of_set(value), (), model)
    except Trouble as trouble:
        troubles.append(trouble)
        return tree


def _steps(key: str) -> list[str]:
    steps = ITEM.sub(r".\1", key).split(".")
    if "" in steps:
        hint = f"--set {'.'.join(step for step in steps if step)}=..."
        raise Trouble(
            f"{key} has a part without a name", ORIGIN, "names stand between the dots and brackets", hint=hint
        )
    return steps


def _of_set(node: Node) -> Node:
    value = node.value
    if isinstance(value, dict):
        value = {key: _of_set(item) for key, item in value.items()}
    elif isinstance(value, list):
        value = [_of_set(item) for item in value]
    return Node(value, ORIGIN, node.written)


def _put(node: Node, steps: list[str], value: Node, above: tuple[str, ...], model: Any) -> Node:
    if not steps:
        return merge(node, value)
    if isinstance(node.value, list):
        return _put_in_list(node, steps, value, above, model)
    children = node.value if isinstance(node.value, dict) else {}
    step, *rest = steps
    joined = ".".join(steps)
    # A key that has dots itself, such as a kernel setting.
    if rest and (joined in children or _of_plain_values(annotation(model, above))):
        step, rest = joined, []
    under = children.get(step, Node({} if rest else None, ORIGIN))
    origin = node.origin if isinstance(node.value, dict) else ORIGIN
    return Node({**children, step: _put(under, rest, value, (*above, step), model)}, origin)


def _of_plain_values(kind: Any) -> bool:
    """Whether a mapping's values are texts: what is below it is then one key, dots and all."""
    return typing.get_origin(kind) is dict and bare(typing.get_args(kind)[-1]) is str and not fields(kind)


def _put_in_list(node: Node, steps: list[str], value: Node, above: tuple[str, ...], model: Any) -> Node:
    step, *rest = steps
    if not step.isdecimal() or int(step) >= len(node.value):
        last = max(len(node.value) - 1, 0)
        why = f"the list has {len(node.value)}, counted from 0" if node.value else "the list is empty"
        hint = f"--set {'.'.join([*above, str(last), *rest])}=..." if node.value else f"--set '{'.'.join(above)}=[...]'"
        raise Trouble(f"{'.'.join([*above, *steps])}: there is no item {step}", ORIGIN, why, hint=hint)
    items = list(node.value)
    items[int(step)] = _put(items[int(step)], rest, value, (*above, step), model)
    return Node(items, node.origin)
