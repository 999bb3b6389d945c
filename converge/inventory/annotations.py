"""The types behind the settings: what a model has at a path, and which paths it has."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

Path = tuple[str | int, ...]
UNIONS = (typing.Union, types.UnionType)


def fields(kind: Any) -> dict[str, Any]:
    """The fields of a model; of anything else, none."""
    return getattr(kind, "model_fields", {})


def bare(kind: Any) -> Any:
    """The type itself: of `Annotated[X, ...]` and of `X | None`, X."""
    while typing.get_origin(kind) in (typing.Annotated, *UNIONS):
        kind = next(arg for arg in typing.get_args(kind) if arg is not type(None))
    return kind


def members(kind: Any) -> dict[str, Any]:
    """The types of a tagged union by their tags; of anything else, none."""
    while typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    alternatives = [arg for arg in typing.get_args(kind) if arg is not type(None)]
    if typing.get_origin(kind) not in UNIONS:
        return {}
    return (
        members(alternatives[0])
        if len(alternatives) == 1
        else {tag: member for member in alternatives for tag in _tags(member)}
    )


def _tags(member: Any) -> list[str]:
    """The tags of a type: in its annotation (`Tag`), or the one value that a field of the model takes (`kind`)."""
    remarks = typing.get_args(member)[1:] if typing.get_origin(member) is typing.Annotated else ()
    literals = [field.annotation for field in fields(bare(member)).values() if field.is_required()]
    values = [typing.get_args(literal) for literal in literals if typing.get_origin(literal) is typing.Literal]
    return [remark.tag for remark in remarks if hasattr(remark, "tag")] or [
        value[0] for value in values if len(value) == 1
    ]


def annotation(kind: Any, path: Sequence[str | int]) -> Any:
    """The type at a path of a model, without None and remarks around it. The path may have the tags of unions."""
    for step in path:
        kind = _below(kind, step)
    return bare(kind)


def without_tags(kind: Any, path: Sequence[str | int]) -> Path:
    """The path in the files: without the tags that pydantic puts in, which nobody wrote."""
    written: Path = ()
    for step in path:
        written = written if step in members(kind) else (*written, step)
        kind = _below(kind, step)
    return written


def _below(kind: Any, step: str | int) -> Any:
    if step in members(kind):
        return members(kind)[str(step)]
    if fields(bare(kind)):
        return getattr(fields(bare(kind)).get(str(step)), "annotation", None)
    return (typing.get_args(bare(kind)) or (None,))[-1]


def every_key(model: Any, above: Path = ()) -> Iterator[Path]:
    """The paths of all fields of a model, through lists, mappings and unions; a list's items count as item 0."""
    for name, field in fields(model).items():
        path, kind = (*above, name), field.annotation
        yield path
        if typing.get_origin(bare(kind)) is list:
            path, kind = (*path, 0), typing.get_args(bare(kind))[0]
        elif typing.get_origin(bare(kind)) is dict:
            path, kind = (*path, "NAME"), typing.get_args(bare(kind))[-1]
        for member in members(kind).values() or [kind]:
            yield from every_key(bare(member), path)
