"""Buckets with versions: those of the set are put below the live ones, with their ids and dates; the newest is copied to the top."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from worker.buckets import inserting
from worker.buckets.client import Client
from worker.buckets.contents import Contents
from worker.buckets.index import Row
from worker.buckets.inserting import Incoming
from worker.buckets.listing import NULL, Version
from worker.buckets.live import same
from worker.buckets.made import Line, Made
from worker.contract import RESTORE_FAILED
from worker.errors import Failed


class Beneath:
    """Restores key by key; each version is written to the list of what was made before it is made."""

    def __init__(self, minio: Client, bucket: str, contents: Contents, made: Made, say: Callable[[str], None]) -> None:
        self._minio, self._bucket, self._contents, self._made, self._say = minio, bucket, contents, made, say
        self._renamed = dict[tuple[str, str], str]()
        """New ids of versions whose own id belonged to another object, by key and id."""

    def insert(self, rows: Sequence[Row], there: Sequence[Version]) -> int:
        """Puts the missing versions of a key, and reads them back; gives the bytes."""
        at, todo = inserting.dates(rows, there), list[tuple[Row, Incoming]]()
        for row in missing(rows, there):
            version = inserting.incoming(row, at[row["id"]])
            if any(version.id == row["id"] for version in there):
                if version.key.endswith("/"):
                    self._say(
                        f"{version.key}: another object is there, and stays: MinIO keeps no versions of such a key"
                    )
                    continue
                version = self._under_another_id(version)
            todo.append((row, version))
        self._made.add(*(_line(row, version) for row, version in todo))
        for row, version in reversed(todo):
            if version.marker:
                inserting.put_marker(self._minio, self._bucket, version)
                continue
            inserting.put(self._minio, self._bucket, version, self._contents.pieces(row))
            inserting.must_be(self._minio, self._bucket, version, row["sha256"])
        return sum(version.size for _, version in todo)

    def _under_another_id(self, version: Incoming) -> Incoming:
        """A new id, if another object has the id: possible only for the id `null`, from before the bucket had versions."""
        if version.id != NULL:
            raise Failed(
                RESTORE_FAILED,
                f"{self._bucket}/{version.key}: the version {version.id} is there, and is another object",
                "an id belongs to one version for ever; what is there was not touched",
                "--as NAME, a bucket beside it",
            )
        new = inserting.anew(version)
        self._renamed[version.key, version.id] = new.id
        self._say(f"{version.key}: another object without an id is there; that of the set gets the id {new.id}")
        return new

    def make_current(self, rows: Sequence[Row], there: Sequence[Version]) -> None:
        """Copies the newest version of the set to the top, unless it is there already."""
        row = rows[0]
        if "unreadable" in row or not row.get("latest") or is_current(row, there, self._id(row)):
            return
        new = str(uuid.uuid4())
        self._made.add({"key": row["key"], "id": new})
        if row.get("marker"):
            inserting.put_marker(self._minio, self._bucket, _marker(row["key"], new))
        else:
            inserting.copy(self._minio, self._bucket, row["key"], self._id(row), new)

    def hide(self, there: Sequence[Version]) -> None:
        """A delete marker on a key that the set does not have."""
        new = str(uuid.uuid4())
        self._made.add({"key": there[0].key, "id": new})
        inserting.put_marker(self._minio, self._bucket, _marker(there[0].key, new))

    def _id(self, row: Row) -> str:
        return self._renamed.get((row["key"], row["id"]), str(row["id"]))


def missing(rows: Sequence[Row], there: Sequence[Version]) -> list[Row]:
    """The rows of a key whose version is absent; unreadable objects are in no set."""
    ids = {version.id: version for version in there}
    return [row for row in rows if "unreadable" not in row and not (row["id"] in ids and same(row, ids[row["id"]]))]


def is_current(row: Row, there: Sequence[Version], id: str) -> bool:
    """Whether a key is current as in the set; all delete markers are equal."""
    if not there:
        return False
    # An object without an id may differ from the set's object without an id.
    return (there[0].id == id and same(row, there[0])) or (bool(row.get("marker")) and there[0].marker)


def _line(row: Row, version: Incoming) -> Line:
    """The line of a version. The id `null` may pass to another object, so the line has its ETag and date as well."""
    put = {"put": version.etag, "at": row["at"]} if version.id == NULL else {}
    return {"key": version.key, "id": version.id, **put, **({"lock": row["lock"]} if row.get("lock") else {})}


def _marker(key: str, id: str) -> Incoming:
    return Incoming(key, id, datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"), marker=True)
