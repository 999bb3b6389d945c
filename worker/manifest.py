"""The manifest of a set, and its name."""

from __future__ import annotations

import dataclasses
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from worker.buckets import called
from worker.contract import ID, USAGE
from worker.errors import Failed
from worker.keys import Keys
from worker.parts import Part
from worker.seals import DAMAGED, FOREIGN, REPLAYED, SCHEMA_UNKNOWN, canonical, seal, unfit, unseal

SCHEMA = 1
STACK = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
STAMP = "%Y%m%dT%H%M%SZ"


def new_id(now: datetime) -> str:
    """The name of a set: the time of its begin, and random digits for two of the same second."""
    return f"{now.astimezone(UTC):{STAMP}}-{secrets.token_hex(3)}"


def stamp_of(id: str) -> datetime:
    return datetime.strptime(id.partition("-")[0], STAMP).replace(tzinfo=UTC)


def shelf(stack: str) -> str:
    """The prefix of a stack's sets, with a slash at the end."""
    if not STACK.fullmatch(stack):
        raise Failed(USAGE, f"{stack!r} cannot be a stack", why="it has to be a word of a-z, 0-9 and -")
    return f"{stack}/sets/"


def folder(stack: str, id: str) -> str:
    """The prefix of a set, without a slash at the end."""
    if not ID.fullmatch(id):
        raise Failed(USAGE, f"{id!r} cannot be a set", why="a set is called like 20261121T090000Z-a1b2c3")
    return shelf(stack) + id


def word(name: str) -> str:
    """A name, such as that of a database, encoded for a key; different names have different words."""
    return quote(name, safe="") if name not in (".", "..") else name.replace(".", "%2E")


@dataclass(frozen=True)
class Manifest:
    """The description of a set; times are of the host's clock, in UTC."""

    id: str
    stack: str
    host: str
    created: datetime
    finished: datetime
    # Components of --only; none means all.
    only: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    server: Mapping[str, Any] = field(default_factory=dict)
    # Component, stream, its parts in order: {"postgres": {"pg/app.tar": [...]}}.
    components: Mapping[str, Mapping[str, tuple[Part, ...]]] = field(default_factory=dict)
    databases: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    config: tuple[Mapping[str, Any], ...] = ()
    # Databases that could not be saved, and why; and those that allow no connections.
    failed: Mapping[str, str] = field(default_factory=dict)
    closed: Mapping[str, str] = field(default_factory=dict)
    # Folders of services by SERVICE:PATH, with their counts; and those that could not be saved.
    folders: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    failed_folders: Mapping[str, str] = field(default_factory=dict)
    # Buckets by name, with their counts; and those that are not complete.
    buckets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    failed_buckets: Mapping[str, str] = field(default_factory=dict)
    # Properties of the server that a restore does not bring back, by their kind.
    omitted: Mapping[str, Sequence[str]] = field(default_factory=dict)
    previous: str = ""
    schema: int = SCHEMA

    @property
    def complete(self) -> bool:
        """Whether it has every component, completely."""
        return not self.only and not self.incomplete

    @property
    def incomplete(self) -> dict[str, str]:
        """Parts that could not be saved completely, and why."""
        buckets = {called(name): why for name, why in self.failed_buckets.items()}
        return {**self.failed, **self.failed_folders, **buckets}

    @property
    def left_out(self) -> dict[str, str]:
        """The databases, folders and buckets that it lacks, and why."""
        return {**self.incomplete, **self.closed}

    def lacks(self, component: str) -> bool:
        """Whether something of a component could not be saved."""
        failed = {"postgres": self.failed, "services": self.failed_folders, "buckets": self.failed_buckets}
        return bool(failed.get(component))

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(part for streams in self.components.values() for parts in streams.values() for part in parts)

    def canonical(self) -> bytes:
        """The canonical bytes of this manifest, which are signed."""
        record = {part.name: getattr(self, part.name) for part in dataclasses.fields(self)}
        return canonical({**record, "created": _time(self.created), "finished": _time(self.finished)})

    def signed(self, keys: Keys) -> bytes:
        return seal(keys, "manifest", json.loads(self.canonical()))

    @classmethod
    def parse(cls, data: bytes, keys: Keys, expect_id: str, expect_stack: str) -> Manifest:
        """The manifest of exactly this set; Unfit when it is forged, of another set or stack, or of a later Stowage."""
        record = unseal(keys, "manifest", data)
        if record.get("schema") != SCHEMA:
            why = f"schema {record.get('schema')}, this is {SCHEMA}"
            raise unfit("a newer Stowage wrote this manifest", why, SCHEMA_UNKNOWN)
        if record.get("stack") != expect_stack:
            raise unfit("this manifest is of another stack", f"{record.get('stack')}, not {expect_stack}", FOREIGN)
        if record.get("id") != expect_id:
            raise unfit("this manifest is of another set", f"{record.get('id')}, not {expect_id}", REPLAYED)
        try:
            return cls(**_typed(record))
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise unfit("this manifest cannot be read", str(error), DAMAGED) from None


def _typed(record: dict[str, Any]) -> dict[str, Any]:
    components = {
        component: {stream: tuple(Part(**part) for part in parts) for stream, parts in streams.items()}
        for component, streams in record["components"].items()
    }
    return {
        **record,
        "created": _moment(record["created"]),
        "finished": _moment(record["finished"]),
        "only": tuple(record["only"]),
        "config": tuple(record["config"]),
        "components": components,
    }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment
