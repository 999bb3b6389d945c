"""Settings as nodes with the place where each is written, and how one layer covers another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from converge.record import dataclass

REFERENCE = ("env", "file", "command")
REDACTED = "[redacted]"


@dataclass(frozen=True)
class Value:
    """A value and where it came from: `inventory/group_vars/all.yml:12`, `--set` or `default`."""

    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands; `written` is its text in the file where YAML makes something else of it."""

    value: Any
    origin: str
    written: str = ""


def merge(lower: Node, upper: Node) -> Node:
    """Mappings merge by key, anything else replaces; so does a reference to a secret, which is one thing."""
    if not (isinstance(lower.value, dict) and isinstance(upper.value, dict)) or _is_reference(upper):
        return upper
    both = dict(lower.value)
    for key, node in upper.value.items():
        both[key] = merge(both[key], node) if key in both else node
    return Node(both, upper.origin)


def _is_reference(node: Node) -> bool:
    return len(node.value) == 1 and all(
        key in REFERENCE and isinstance(child.value, str) for key, child in node.value.items()
    )


def plain(node: Node) -> Any:
    """The value without its origins. A key without a value counts as not set."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items() if child.value is not None}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def lift(value: Any, origin: str) -> Node:
    """A plain value as nodes of one origin."""
    if isinstance(value, dict):
        return Node({key: lift(item, origin) for key, item in value.items()}, origin)
    if isinstance(value, list):
        return Node([lift(item, origin) for item in value], origin)
    return Node(value, origin)


def descend(node: Node, path: Sequence[str | int]) -> Iterator[Node]:
    """The nodes along a path, as far as it leads; the node itself first."""
    yield node
    for step in path:
        children = dict(enumerate(node.value)) if isinstance(node.value, list) else node.value
        if not isinstance(children, dict) or step not in children:
            return
        node = children[step]
        yield node


def dotted(path: Sequence[str | int]) -> str:
    """A path as people write it: `drives[2].label`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def hidden(node: Node | None) -> str:
    """A secret's place in a listing: its reference, never its value."""
    if node is None or not isinstance(node.value, dict):
        return REDACTED
    return f"{REDACTED} ({', '.join(f'{how}: {what.value}' for how, what in node.value.items())})"
