"""Signed records on a target: signed with the stack's identity, because targets are not trusted."""

from __future__ import annotations

import dataclasses
import hmac
import json
from collections.abc import Mapping
from typing import Any

from worker.contract import VERIFY_FAILED
from worker.errors import Failed
from worker.keys import Keys

# Why a record is rejected.
FORGED, REPLAYED, FOREIGN, SCHEMA_UNKNOWN, DAMAGED = "forged", "replayed", "foreign", "unknown schema", "damaged"


class Unfit(Failed):
    """A manifest or a record that is rejected; `reason` is one word."""

    reason = DAMAGED

    def because(self, reason: str) -> Unfit:
        self.reason = reason
        return self


def seal(keys: Keys, kind: str, record: Mapping[str, Any]) -> bytes:
    """A record with its signature; one kind of record cannot stand for another."""
    return canonical({"mac": keys.mac(_signed_text(kind, record)), kind: record})


def unseal(keys: Keys, kind: str, data: bytes) -> dict[str, Any]:
    """The record, if its signature is valid and every byte is canonical."""
    try:
        outer = json.loads(data)
        record, mac = outer[kind], outer["mac"]
        same = isinstance(record, dict) and isinstance(mac, str) and canonical({"mac": mac, kind: record}) == data
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise unfit(f"this {kind} cannot be read", str(error)[:200], DAMAGED) from None
    if not same or not hmac.compare_digest(keys.mac(_signed_text(kind, record)).encode(), mac.encode()):
        why = "its signature is not by the stack's identity, or it was changed since"
        raise unfit(f"this {kind} is not ours", why, FORGED)
    return dict(record)


def unfit(what: str, why: str, reason: str) -> Unfit:
    return Unfit(VERIFY_FAILED, what, why).because(reason)


def _signed_text(kind: str, record: Mapping[str, Any]) -> bytes:
    return kind.encode() + b"\n" + canonical(record)


def canonical(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain)
    return text.encode()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot stand in a record")
