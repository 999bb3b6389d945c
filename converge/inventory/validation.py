"""Settings checked against their model: all mistakes at once, in plain words, each with the place to mend it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from converge.errors import Trouble, folded
from converge.inventory.annotations import Path, annotation, every_key, fields, without_tags
from converge.inventory.layers import Node, descend, dotted
from converge.inventory.secret import Secret

if TYPE_CHECKING:
    from pydantic import BaseModel

Settings = TypeVar("Settings", bound="BaseModel")

# A value under such a key is never shown. Paths of key files are lost to the reader as well: better than one leak.
PRIVATE = re.compile(r"pass|secret|token|credential|private|root_user|(^|_)key($|_)|dsn|auth|licen[cs]e", re.IGNORECASE)

EXPECTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping (lines of `key: value`)",
    "model_type": "a mapping (lines of `key: value`)",
    "model_attributes_type": "a mapping (lines of `key: value`)",
    "union_tag_not_found": "a {discriminator} in it",
    "union_tag_invalid": "its {discriminator} to be one of {expected_tags}",
    "literal_error": "one of {expected}",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
}
MOST_TOLD = 30
CONTAINERS = ("list_type", "dict_type", "model_type", "model_attributes_type", "text_or_mapping")


class Problems(ValueError):
    """Several faults that a model found in itself, each with its path, and which one is to blame if it has no value."""

    def __init__(self, problems: Sequence[tuple[Path, str] | tuple[Path, str, Path]]) -> None:
        super().__init__("; ".join(problem[1] for problem in problems))
        self.problems = [(problem[0], problem[1]) for problem in problems]
        self.to_blame = {problem[:2]: problem[2] for problem in problems if len(problem) == 3}


def validate(
    model: type[Settings], value: Any, tree: Node, whose: str, context: dict[str, Any] | None = None
) -> Settings | list[Trouble]:
    """An instance of the model, or the list of what does not fit: `tree` says where each value stands.

    `context` is what is known of the host besides its settings: `ssh_port`.
    """
    from pydantic import ValidationError

    try:
        return model.model_validate(value, context=context)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        troubles = [trouble for fault in errors[:MOST_TOLD] for trouble in _troubles_of(fault, model, tree, whose)]
        if len(errors) > MOST_TOLD:
            more = f"there are {len(errors) - MOST_TOLD} more mistakes of this kind"
            troubles.append(
                Trouble(more, where=whose, why="they are told when these are mended", hint="begin with these")
            )
        return troubles


def _troubles_of(error: Any, model: Any, tree: Node, whose: str) -> Iterator[Trouble]:
    loc = tuple(step for step in error["loc"] if step != "[key]")
    path = without_tags(model, loc)
    inner = error.get("ctx", {}).get("error")
    if isinstance(inner, Problems):
        for inner_path, text in inner.problems:
            place = (*path, *inner.to_blame.get((inner_path, text), inner_path))
            empty = _stands(place, tree) and not list(descend(tree, place))[-1].value
            yield _fault(place if empty else (*path, *inner_path), tree, whose, text)
    elif error["type"] == "extra_forbidden":
        yield _unknown(path, model, loc, tree, whose)
    elif error["type"] == "missing":
        yield _missing(path, annotation(model, loc[:-1]), tree, whose)
    elif error["type"] == "value_error":
        unseen = error["loc"][-1:] == ("[key]",) or annotation(model, loc) is Secret
        yield _fault(path, tree, whose, str(error["ctx"]["error"]), unseen)
    else:
        yield _mistyped(error, path, tree, whose)


def _unknown(path: Path, model: Any, loc: Path, tree: Node, whose: str) -> Trouble:
    *above, key = path
    known = list(fields(annotation(model, loc[:-1])))
    near = difflib.get_close_matches(str(key), known, 1, 0.6)
    elsewhere = [dotted(place) for place in every_key(model) if place[-1] == key]
    what = f"{dotted(above)} has" if above else "the settings have"
    if near:
        hint = f"write {near[0]} instead of {key}"
    elif elsewhere:
        hint = f"set {elsewhere[0]}"
    else:
        hint = "inventory/group_vars/all.yml shows every key"
    return Trouble(
        f"{dotted(path)}: unknown key",
        where=_where(path, tree, whose),
        why=folded(f"{what} {', '.join(known)}"),
        hint=hint,
    )


def _missing(path: Path, section: Any, tree: Node, whose: str) -> Trouble:
    field = fields(section).get(str(path[-1]))
    description = getattr(field, "description", None)
    nodes = list(descend(tree, path))
    empty = len(nodes) == len(path) + 1
    what = f"{dotted(path)} has no value" if empty else f"{dotted(path)} is missing"
    return Trouble(
        what, where=_where(path, tree, whose), why=description or "it has no default", hint=f"add `{path[-1]}: ...`"
    )


def _fault(path: Path, tree: Node, whose: str, reason: str, unseen: bool = False) -> Trouble:
    node = list(descend(tree, path))[-1] if _stands(path, tree) else None
    if node and node.value is None:
        what, hint = (
            f"{dotted(path)} has no value, which counts as not set",
            f"give it one in {node.origin}, or remove it",
        )
        return Trouble(what, where=_where(path, tree, whose), why=reason, hint=hint)
    shown = (
        ""
        if unseen or node is None or isinstance(node.value, (dict, list)) or private(path)
        else f" is {_repr(node.value)}"
    )
    return Trouble(
        f"{dotted(path) or 'the settings'}{shown}",
        where=_where(path, tree, whose),
        why=reason,
        hint=_edit(path, tree, whose),
    )


def _stands(path: Path, tree: Node) -> bool:
    return len(list(descend(tree, path))) == len(path) + 1


def _mistyped(error: Any, path: Path, tree: Node, whose: str) -> Trouble:
    known = EXPECTED.get(error["type"])
    expected = known.format(**error.get("ctx", {})) if known else error["msg"]
    node = list(descend(tree, path))[-1]
    actual, hint = _actual(node.value), _edit(path, tree, whose)
    hidden = private(path) or error["type"] in CONTAINERS or isinstance(node.value, (dict, list))
    shown = actual.replace("the ", "a ") if hidden else f"{actual} {_repr(node.value)}"
    if error["type"] == "string_type" and node.written:
        hint = "quote it" if private(path) else _quoted(path, node)
        if not hidden and node.written != str(node.value):
            shown = f"{actual}: YAML reads {node.written} as {_repr(node.value)}"
    elif error["type"] == "list_type" and isinstance(node.value, str) and node.value and not private(path):
        hint = (
            f"--set '{dotted(path)}=[{node.value}]'"
            if node.origin == "--set"
            else f"write [{node.value}] in {node.origin}"
        )
    elif isinstance(node.value, str | int) and error["type"] in ("int_type", "bool_type"):
        hint = f"write {expected}, without quotes"
    return Trouble(f"{dotted(path)} is {shown}", where=_where(path, tree, whose), why=f"expected {expected}", hint=hint)


def _quoted(path: Path, node: Node) -> str:
    if node.origin == "--set":
        return f"--set '{'.'.join(map(str, path))}=\"{node.written}\"'"
    return f'quote it: "{node.written}"'


def _actual(value: Any) -> str:
    if isinstance(value, bool):
        return "a yes or no"
    kinds = {str: "the text", int: "the number", float: "the number", dict: "a mapping", list: "a list"}
    return kinds.get(type(value), "nothing")


def _repr(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _where(path: Path, tree: Node, whose: str) -> str:
    origin = list(descend(tree, path))[-1].origin
    return whose if origin == "default" else origin


def _edit(path: Path, tree: Node, whose: str) -> str:
    where = _where(path, tree, whose)
    return f"correct {dotted(path)} in {where}" if where != "--set" else f"--set {'.'.join(map(str, path))}=..."


def private(path: Sequence[str | int]) -> bool:
    """Whether a value at this path may be a secret."""
    return any(isinstance(step, str) and PRIVATE.search(step) for step in path)
