"""The language of MinIO's policies: a normal form for all spellings of a statement."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

Statement = Mapping[str, Any]

VERSION = "2012-10-17"
LISTS = ("Action", "NotAction", "Resource", "NotResource")


def _allow(*actions: str, resource: str = "arn:aws:s3:::*") -> Statement:
    return {"Effect": "Allow", "Action": list(actions), **({"Resource": resource} if resource else {})}


BUILT_IN: Mapping[str, Sequence[Statement]] = {
    "readonly": [_allow("s3:GetBucketLocation", "s3:GetObject")],
    "readwrite": [_allow("s3:*")],
    "writeonly": [_allow("s3:PutObject")],
    "diagnostics": [
        _allow(
            "admin:BandwidthMonitor",
            "admin:ConsoleLog",
            "admin:OBDInfo",
            "admin:Profiling",
            "admin:Prometheus",
            "admin:ServerInfo",
            "admin:ServerTrace",
            "admin:TopLocksInfo",
        )
    ],
    "consoleAdmin": [_allow("admin:*", resource=""), _allow("kms:*", resource=""), _allow("s3:*")],
}
"""MinIO's own policies (minio/pkg, policy/constants.go). Another version of the server may word them differently."""


def document(statements: Sequence[Statement]) -> bytes:
    """A policy for MinIO, in the normal form: MinIO refuses some other spellings."""
    return json.dumps({"Version": VERSION, "Statement": normal(statements)}).encode()


def meaning(statements: Sequence[Statement]) -> str:
    """The meaning of statements as comparable text: a line of JSON for each."""
    return "\n".join(json.dumps(statement, sort_keys=True) for statement in normal(statements))


def normal(statements: Sequence[Statement]) -> list[dict[str, Any]]:
    """Statements in the normal form: sorted, without duplicates, each value a list of strings, without the Sid."""
    by_text = {json.dumps(statement, sort_keys=True): statement for statement in map(_statement, statements)}
    return [by_text[key] for key in sorted(by_text)]


def _statement(statement: Statement) -> dict[str, Any]:
    form: dict[str, Any] = {"Effect": str(statement.get("Effect", ""))}
    for key in LISTS:
        if statement.get(key):
            # MinIO returns "*" as "**".
            form[key] = sorted({"*" if value == "**" else str(value) for value in many(statement[key])})
    if statement.get("Principal"):
        whom = statement["Principal"]
        form["Principal"] = {
            "AWS": sorted(map(str, set(many(whom.get("AWS", [])) if isinstance(whom, dict) else many(whom))))
        }
    condition = {
        operator: {key: sorted({_value(operator, value) for value in many(values)}) for key, values in keys.items()}
        for operator, keys in (statement.get("Condition") or {}).items()
        if keys
    }
    return form | ({"Condition": condition} if condition else {})


def many(value: Any) -> list[Any]:
    """A list of values; a single value need not be a list."""
    return list(value) if isinstance(value, list | tuple | set) else [value]


def _truth(text: str) -> str:
    if text.lower() not in ("true", "false"):
        raise ValueError
    return text.lower()


def _moment(text: str) -> str:
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


SPELLINGS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("Bool", _truth),
    ("Null", _truth),
    ("Numeric", lambda text: str(int(text))),
    ("Date", _moment),
    # MinIO reads an address without a prefix length as /32, also one of IPv6.
    ("IpAddress", lambda text: str(ipaddress.ip_network(text, strict=False))),
    ("NotIpAddress", lambda text: str(ipaddress.ip_network(text, strict=False))),
)
"""The normal spelling of a condition's values, by the beginning of its operator. All others are strings."""


def spelling(operator: str) -> Callable[[str], str]:
    """The normal spelling of an operator's values; raises ValueError for a value that it does not accept."""
    name = operator.rpartition(":")[2]
    return next((spell for begins, spell in SPELLINGS if name.startswith(begins)), str)


def _value(operator: str, value: Any) -> str:
    text = plain(value)
    try:
        return spelling(operator)(text)
    except ValueError:
        return text


def plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def describe(statement: Statement) -> str:
    """A statement in the normal form, as a line for a person."""
    parts = [statement["Effect"]]
    if "Principal" in statement:
        whom = statement["Principal"]["AWS"]
        parts.append("everybody" if whom == ["*"] else ", ".join(whom))
    parts += [prefix + ", ".join(statement[key]) for key, prefix in _PREFIXES if key in statement]
    for operator, keys in statement.get("Condition", {}).items():
        parts += [f"if {operator} {key} {', '.join(values)}" for key, values in keys.items()]
    return " ".join(parts)


_PREFIXES = (
    ("Action", ""),
    ("NotAction", "all but "),
    ("Resource", "on "),
    ("NotResource", "on all but "),
)


def difference(before: str, after: str) -> list[str]:
    """The statements that only one of two meanings has, as lines for a person."""
    old, new = ([_line(line) for line in text.splitlines()] for text in (before, after))
    lines = [f"- {statement}" for statement in old if statement not in new] + [
        f"+ {statement}" for statement in new if statement not in old
    ]
    return [part for line in lines for part in _folded(line)]


def _line(line: str) -> str:
    try:
        return describe(json.loads(line))
    except (ValueError, KeyError, TypeError):
        return line


def _folded(line: str, width: int = 96) -> list[str]:
    import textwrap

    return textwrap.wrap(line, width, subsequent_indent=f"{line[0]}   ", break_long_words=False, break_on_hyphens=False)
