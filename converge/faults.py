"""What is wrong with settings, in plain words: pydantic's errors with file, key, what was expected and the nearest key."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from converge.errors import Trouble
from converge.yamllayers import UNTOUCHED, Layer, Path_, dotted

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "model_attributes_type": "keys and values",
}


def faults(error: Any, model: Any, layer: Layer) -> Iterator[Trouble]:
    """One Trouble for each fault that pydantic found."""
    for one in error.errors(include_url=False):
        at: Path_ = tuple(part for part in one["loc"])
        yield _fault(one, at, model, layer)


def _fault(one: dict[str, Any], at: Path_, model: Any, layer: Layer) -> Trouble:
    key, where = dotted(at), _where(at, layer)
    kind = one["type"]
    if kind == "extra_forbidden":
        known = sorted(_known(model, at[:-1]))
        near = difflib.get_close_matches(str(at[-1]), known, 1)
        why = f"known here are {', '.join(known)}"
        return Trouble(f"unknown key {key}", where, why, UNTOUCHED, f"{near[0]}: ..." if near else "remove it, or see inventory/group_vars/all.yml")
    if kind == "missing":
        return Trouble(f"{key} is missing", where, "it has no default", UNTOUCHED, f"add {at[-1]}; see inventory/group_vars/all.yml")
    if kind == "stowage_secret":
        told = one["ctx"]
        return Trouble(told["what"], where, told["why"], UNTOUCHED, told["hint"])
    if kind == "value_error":
        shown = f" ({one['input']!r})" if isinstance(one["input"], str) and not _is_secret(at) else ""
        return Trouble(f"{key + ' ' if key else ''}cannot be used{shown}", where, str(one["ctx"]["error"]), UNTOUCHED, f"change {key or 'the settings'}")
    return _wrong_value(one, at, where)


def _wrong_value(one: dict[str, Any], at: Path_, where: str) -> Trouble:
    value, kind = one["input"], one["type"]
    expected = _EXPECTED.get(kind) or one["msg"][0].lower() + one["msg"][1:]
    shown = "something else" if _is_secret(at) else f"{value!r}"
    quoted = f'{at[-1]}: "{value}"' if kind == "string_type" and isinstance(value, bool | int | float) else f"change {dotted(at)}"
    why = f"expected {expected}" + (", and YAML reads this without quotes as something else" if kind == "string_type" else "")
    return Trouble(f"{dotted(at)} is {shown}", where, why, UNTOUCHED, quoted)


def _is_secret(at: Path_) -> bool:
    return any(word in str(part) for part in at for word in ("password", "secret", "root_user", "key"))


def _where(at: Path_, layer: Layer) -> str:
    """The place of a key, or of the nearest thing around it that stands somewhere."""
    while at and at not in layer.origins:
        at = at[:-1]
    return layer.origins.get(at, "")


def _known(model: Any, at: Path_) -> set[str]:
    """The keys that the model knows at a place."""
    for part in at:
        model = _inner(model.model_fields[part].annotation if isinstance(part, str) and part in getattr(model, "model_fields", {}) else model)
    return set(getattr(_inner(model), "model_fields", ()))


def _inner(annotation: Any) -> Any:
    """The model inside `X | None`, `list[X]`, `dict[str, X]` or `Annotated[X, ...]`."""
    while True:
        origin, args = get_origin(annotation), get_args(annotation)
        if origin is Annotated or origin is list:
            annotation = args[0]
        elif origin is dict:
            annotation = args[1]
        elif origin in (Union, types.UnionType):
            annotation = next(arg for arg in args if arg is not type(None))
        else:
            return annotation
