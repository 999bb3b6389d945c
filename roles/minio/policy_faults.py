"""Faults of a policy that MinIO would refuse, or accept and never return: found before any connection."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from roles.minio.policy_language import LISTS, Statement, many, plain, spelling
from roles.settings.faults import Fault

OPERATORS = {
    *(
        f"String{comparison}"
        for comparison in ("Equals", "NotEquals", "EqualsIgnoreCase", "NotEqualsIgnoreCase", "Like", "NotLike")
    ),
    *(
        f"{kind}{comparison}"
        for kind in ("Numeric", "Date")
        for comparison in ("Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals")
    ),
    *("NumericGreaterThanIfExists", "BinaryEquals", "IpAddress", "NotIpAddress", "Null", "Bool"),
}
FAMILIES = ("s3", "admin", "kms", "sts")
ACTION = re.compile(rf"({'|'.join(FAMILIES)}):[A-Za-z*?]+")
RESOURCE = re.compile(r"\*|arn:(aws:s3|minio:kms):::[^/].*", re.DOTALL)
KEYS = ("Sid", "Effect", *LISTS, "Condition")


def faults(statements: Sequence[Any], of_bucket: bool = False) -> Iterator[Fault]:
    """What MinIO would refuse, or accept with another meaning, each with its path."""
    for at, statement in enumerate(statements):
        for check in (_keys, _effect, _actions, _resources, _condition):
            yield from (((at, *path), text) for path, text in check(statement, of_bucket))


def _keys(statement: Statement, of_bucket: bool) -> Iterator[Fault]:
    known = (*KEYS, "Principal") if of_bucket else KEYS
    for key in statement:
        if key == "NotAction":
            yield (
                (key,),
                "MinIO takes a policy with NotAction, and from then on cannot read any policy: list the actions in Action",
            )
        elif key == "Principal" and not of_bucket:
            yield (key,), "it belongs to the policy of a bucket; this one is for the users that name it in policies"
        elif key not in known:
            near = next((name for name in known if name.lower() == str(key).lower()), "")
            yield (str(key),), f"write it {near}" if near else f"a statement has no such key; it has {', '.join(known)}"
    if of_bucket and not statement.get("Principal"):
        yield ("Principal",), 'say for whom it is: "*" is everybody'


def _effect(statement: Statement, _: bool) -> Iterator[Fault]:
    if statement.get("Effect") not in ("Allow", "Deny"):
        yield ("Effect",), "Allow or Deny"


def _texts(statement: Statement, key: str) -> list[str] | None:
    """The values of a key; None if there are none or not all are strings."""
    values = many(statement.get(key))
    return values if values and all(isinstance(value, str) and value for value in values) else None


def _actions(statement: Statement, of_bucket: bool) -> Iterator[Fault]:
    if "NotAction" in statement and "Action" not in statement:
        return
    actions = _texts(statement, "Action")
    if actions is None:
        yield ("Action",), "an action such as s3:GetObject, or a list of them"
        return
    for action in actions:
        if action != "*" and not ACTION.fullmatch(action):
            yield ("Action",), f"{action} is no action: it begins with {', '.join(f'{name}:' for name in FAMILIES)}"
    families = {action.partition(":")[0] for action in actions} & {*FAMILIES}
    if len(families) > 1:
        yield ("Action",), f"MinIO takes no {' and '.join(sorted(families))} in one statement: write one for each"
    elif of_bucket and families - {"s3"}:
        yield ("Action",), "the policy of a bucket has actions of s3 only"


def _resources(statement: Statement, _: bool) -> Iterator[Fault]:
    named = [key for key in ("Resource", "NotResource") if key in statement]
    if len(named) == 2:
        yield ("NotResource",), "a statement has Resource or NotResource, not both"
    for key in named:
        values = _texts(statement, key)
        if values is None:
            yield (key,), "a resource such as arn:aws:s3:::bucket/*, or a list of them"
            continue
        for value in values:
            if not RESOURCE.fullmatch(value):
                yield (key,), f'{value} is no resource: write arn:aws:s3:::BUCKET, arn:aws:s3:::BUCKET/* or "*"'
    about_s3 = any(action.startswith("s3:") for action in _texts(statement, "Action") or [])
    if about_s3 and not named:
        yield ("Resource",), "actions of s3 need a resource such as arn:aws:s3:::bucket/*"


def _condition(statement: Statement, _: bool) -> Iterator[Fault]:
    condition = statement.get("Condition")
    if condition is None:
        return
    if not isinstance(condition, dict) or not all(isinstance(keys, dict) for keys in condition.values()):
        yield ("Condition",), 'an operator, a key and its values, such as {StringLike: {"s3:prefix": "home/*"}}'
        return
    for operator, keys in condition.items():
        qualifier, name = str(operator).rpartition(":")[::2]
        if name not in OPERATORS or qualifier not in ("", "ForAnyValue", "ForAllValues"):
            yield ("Condition", str(operator)), "MinIO knows no such operator"
        for key, values in keys.items():
            if text := _values(str(operator), many(values)):
                yield ("Condition", str(operator), str(key)), text


TAKES = {
    "Bool": "true or false",
    "Null": "true or false",
    "Numeric": "a whole number",
    "Date": "a moment such as 2030-01-01T00:00:00Z",
    "IpAddress": "an address or a network such as 10.0.0.0/8",
    "NotIpAddress": "an address or a network such as 10.0.0.0/8",
}
"""The type that operators take, by the beginning of their name; all others take strings."""


def _values(operator: str, values: list[Any]) -> str:
    """What is wrong with the values of a condition, if anything is."""
    name = operator.rpartition(":")[2]
    takes = next((what for begins, what in TAKES.items() if name.startswith(begins)), "a text, or a list of texts")
    if not values or not all(isinstance(value, str | bool | int | datetime) for value in values):
        return takes
    if name in ("Bool", "Null") and len(values) > 1:
        return f"one value: {takes}"
    try:
        [spelling(operator)(plain(value)) for value in values]
    except ValueError:
        return takes
    return ""


def outside(bucket: str, statements: Sequence[Any]) -> Iterator[Fault]:
    """Resources of a bucket's own policy that lie outside of it, which MinIO refuses."""
    for at, statement in enumerate(statements):
        for key in ("Resource", "NotResource"):
            for resource in _texts(statement, key) or []:
                pattern = resource.removeprefix("arn:aws:s3:::").partition("/")[0]
                if not fnmatchcase(bucket, pattern.replace("[", "[[]")):
                    yield (
                        (at, key),
                        f"it is outside of the bucket: write arn:aws:s3:::{bucket} or arn:aws:s3:::{bucket}/*",
                    )
