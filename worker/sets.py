"""The sets of a stack on one target: their list, their state, and their publication."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from worker.contract import FAILED, ID, REFUSED
from worker.errors import Failed
from worker.keys import Keys
from worker.manifest import STAMP, Manifest, folder, new_id, shelf, stamp_of, word
from worker.parts import Part, PartReader, PartWriter
from worker.seals import DAMAGED, Unfit, seal, unseal
from worker.targets import Entry, Exists, Missing, Target

__all__ = [
    "UNFINISHED",
    "Check",
    "Manifest",
    "Part",
    "PartReader",
    "PartWriter",
    "Summary",
    "Unfit",
    "add_pin",
    "add_verified",
    "claim",
    "folder",
    "hash_of",
    "latest",
    "list_sets",
    "new_id",
    "preference",
    "publish",
    "reader",
    "seal",
    "sharing_drills",
    "shelf",
    "stamp_of",
    "unseal",
    "word",
]

MANIFEST, PIN, VERIFIED, WRITER = "manifest.json", "pin.json", "verify-", "writer.json"
# Besides the reasons of records: a set without a manifest, and one that the target cannot read.
UNFINISHED, UNREADABLE = "unfinished", "unreadable"
READERS = 8


@dataclass(frozen=True)
class Check:
    """The newest check of a set on this target."""

    at: datetime
    passed: bool
    drill: bool = False
    why: str = ""

    def as_row(self) -> dict[str, Any]:
        return {"at": self.at.isoformat(), "passed": self.passed, "drill": self.drill, "why": self.why}


@dataclass(frozen=True)
class Summary:
    """One set on a target. With a `reason` it cannot be restored, and `why` says more."""

    id: str
    entries: tuple[Entry, ...]
    manifest: Manifest | None = None
    reason: str = ""
    why: str = ""
    check: Check | None = None
    pinned: bool = False

    @property
    def valid(self) -> bool:
        return not self.reason

    @property
    def verified(self) -> bool:
        """Whether its newest check passed."""
        return self.check is not None and self.check.passed

    @property
    def doubtful(self) -> bool:
        """Whether its newest check failed: it is only used if there is no other set."""
        return self.check is not None and not self.check.passed

    @property
    def complete(self) -> bool:
        """Whether it is valid and has everything of the stack."""
        return self.valid and self.manifest is not None and self.manifest.complete

    def has(self, names: set[str]) -> bool:
        """Whether it is a set of everything that has these databases, folders or buckets; False without names."""
        manifest = self.manifest
        return (
            bool(names)
            and self.valid
            and manifest is not None
            and not manifest.only
            and names <= {*manifest.databases, *manifest.folders, *map(bucket_named, manifest.buckets)}
        )

    @property
    def created(self) -> datetime:
        return self.manifest.created if self.manifest else stamp_of(self.id)

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries)


def bucket_named(bucket: str) -> str:
    """The name of a bucket among names of databases and folders."""
    return f"bucket:{bucket}"


def publish(target: Target, data: bytes) -> None:
    """Publishes the set: writes the manifest and reads it back; Failed says what exists otherwise."""
    manifest = json.loads(data)["manifest"]
    key = f"{folder(manifest['stack'], manifest['id'])}/{MANIFEST}"
    trouble: Failed | None = None
    # A reply may be lost: what is stored counts, not the answer.
    for _ in range(3):
        try:
            target.put(key, data, if_absent=True)
        except Exists:
            pass
        except Failed as error:
            trouble = error
        try:
            there = target.get(key)
        except Missing:
            continue
        if there == data:
            return
        why = "another manifest has its name, and was not touched"
        raise Failed(FAILED, f"{target.name}: {key} is not what was published", why=why)
    raise trouble or Failed(FAILED, f"{target.name}: {key} was published and is not there")


def reader(target: Target, keys: Keys, manifest: Manifest) -> PartReader:
    """A reader of the streams of a set on one target."""
    return PartReader(target, keys, folder(manifest.stack, manifest.id))


def list_sets(target: Target, stack: str, keys: Keys) -> Iterator[Summary]:
    """Every set of the stack, newest first; Failed when the listing is not complete."""
    entries: dict[str, list[Entry]] = {}
    above = shelf(stack)
    for entry in target.list(above):
        id, slash, _ = entry.key[len(above) :].partition("/")
        if slash and ID.fullmatch(id):
            entries.setdefault(id, []).append(entry)
    with ThreadPoolExecutor(READERS, "manifest") as pool:
        summaries = list(pool.map(lambda id: _summary(target, stack, keys, id, tuple(entries[id])), entries))
    yield from sorted(summaries, key=lambda summary: (summary.created, summary.id), reverse=True)


def latest(summaries: Iterable[Summary], having: Iterable[str] = ()) -> Summary | None:
    """The newest complete set by the time in its manifest: the times of a target are not signed.

    A set that failed its newest check is only taken if there is no other. For named databases it is the newest set of
    everything that has them, even if it lacks others. If there is no complete set, an incomplete one is taken.
    """
    names, seen = set(having), list(summaries)
    complete = [summary for summary in seen if summary.complete or summary.has(names)]
    lacking = [summary for summary in seen if summary.valid and summary.manifest and not summary.manifest.only]
    return max(complete or lacking, key=preference, default=None)


def sharing_drills(by_target: Mapping[str, Sequence[Summary]]) -> dict[str, list[Summary]]:
    """The sets of each target; a drill that failed on one target counts on all.

    The content of a set is the same on all targets, and a drill reads only one of them.
    """
    newest = dict[str, Check]()
    for summary in (summary for summaries in by_target.values() for summary in summaries):
        if (
            summary.check
            and summary.check.drill
            and (summary.id not in newest or summary.check.at > newest[summary.id].at)
        ):
            newest[summary.id] = summary.check
    failed = {id: check for id, check in newest.items() if not check.passed}
    return {
        name: [
            replace(summary, check=failed[summary.id]) if summary.id in failed and not summary.doubtful else summary
            for summary in summaries
        ]
        for name, summaries in by_target.items()
    }


def preference(summary: Summary) -> tuple[bool, datetime, str]:
    """The key to choose a set: the greatest is preferred."""
    return not summary.doubtful, summary.created, summary.id


def add_verified(target: Target, stack: str, id: str, keys: Keys, at: datetime, passed: bool, **more: Any) -> None:
    """Records a check beside the set; the manifest itself is never edited."""
    record = {"stack": stack, "id": id, "at": at.astimezone(UTC).isoformat(), "passed": passed, **more}
    target.put(f"{folder(stack, id)}/{VERIFIED}{at.astimezone(UTC):{STAMP}}.json", seal(keys, "verify", record))


def add_pin(target: Target, stack: str, id: str, keys: Keys, at: datetime, why: str = "") -> None:
    """Keeps a set from retention as long as the pin exists."""
    record = {"stack": stack, "id": id, "at": at.astimezone(UTC).isoformat(), "why": why}
    target.put(f"{folder(stack, id)}/{PIN}", seal(keys, "pin", record))


def remove_pin(target: Target, stack: str, id: str) -> bool:
    """Leaves a set to retention again; False when there was no pin."""
    key = f"{folder(stack, id)}/{PIN}"
    if target.stat(key) is None:
        return False
    target.delete(key)
    return True


def claim(target: Target, stack: str, keys: Keys, host: str, take_over: bool) -> None:
    """Claims the stack for this host: two hosts with one name of a stack would remove each other's sets."""
    key = f"{shelf(stack)}{WRITER}"
    try:
        writer = unseal(keys, "writer", target.get(key)).get("host")
    except Missing:
        writer = None
    except Unfit as error:
        why = f"{target.name}: {error.what}, {error.why}"
        hint = "take the identity that they were made with, or another backup.stack"
        raise Failed(REFUSED, f"the sets of {stack} are of another identity", why, hint) from None
    if writer == host:
        return
    if writer and not take_over:
        why = f"{writer} writes the sets of {stack} on {target.name}, this is {host}"
        hint = "inv backup --take-over, if that host is gone; or another backup.stack"
        raise Failed(REFUSED, "another host has this stack", why, hint)
    target.put(key, seal(keys, "writer", {"host": host, "stack": stack}))


def hash_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _summary(target: Target, stack: str, keys: Keys, id: str, entries: tuple[Entry, ...]) -> Summary:
    where, sizes = folder(stack, id), {entry.key: entry.size for entry in entries}
    # A pin needs no valid signature: all that it can do is keep a set.
    pinned = f"{where}/{PIN}" in sizes
    if f"{where}/{MANIFEST}" not in sizes:
        return Summary(id, entries, None, UNFINISHED, "it has no manifest", pinned=pinned)
    manifest: Manifest | None = None
    try:
        manifest = Manifest.parse(target.get(f"{where}/{MANIFEST}"), keys, id, stack)
        lacking = [part.name for part in manifest.parts if sizes.get(f"{where}/{part.name}") != part.bytes]
        check = _check(target, stack, keys, id, entries)
    except Unfit as error:
        return Summary(id, entries, None, error.reason, f"{error.what}: {error.why}", pinned=pinned)
    except Missing:
        return Summary(id, entries, None, UNFINISHED, "its manifest was removed meanwhile", pinned=pinned)
    except Failed as error:
        return Summary(id, entries, manifest, UNREADABLE, str(error), pinned=pinned)
    if lacking:
        why = f"{len(lacking)} of {len(manifest.parts)} parts are missing or cut, the first is {lacking[0]}"
        return Summary(id, entries, manifest, DAMAGED, why, check, pinned)
    return Summary(id, entries, manifest, "", "", check, pinned)


def _check(target: Target, stack: str, keys: Keys, id: str, entries: Iterable[Entry]) -> Check | None:
    """The newest check of the set; a record without our signature is ignored.

    A failed drill before a passed check of the bytes still counts: correct bytes do not prove a restore.
    """
    start, newest = f"{folder(stack, id)}/{VERIFIED}", None
    for key in sorted((entry.key for entry in entries if entry.key.startswith(start)), reverse=True):
        try:
            record = unseal(keys, "verify", target.get(key))
        except (Unfit, Missing):
            continue
        if record.get("id") != id or record.get("stack") != stack:
            continue
        at = datetime.fromisoformat(str(record["at"]))
        check = Check(at, record.get("passed") is True, bool(record.get("drill")), str(record.get("why", "")))
        newest = newest or check
        if check.drill or not newest.passed:
            return newest if newest.drill or not newest.passed or check.passed else check
    return newest
