"""The backups of a stack on one target: which there are, which are whole, and how one comes to be."""

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
# Besides what a record says of itself: a set without a manifest, and one whose target does not give it.
UNFINISHED, UNREADABLE = "unfinished", "unreadable"
READERS = 8


@dataclass(frozen=True)
class Check:
    """What the newest check of a set found, on this target."""

    at: datetime
    passed: bool
    drill: bool = False
    why: str = ""

    def told(self) -> dict[str, Any]:
        return {"at": self.at.isoformat(), "passed": self.passed, "drill": self.drill, "why": self.why}


@dataclass(frozen=True)
class Summary:
    """One set as it lies on a target. With a `reason` it is none to restore from, and `why` says more."""

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
        """Whether its newest check failed: it counts for nothing where another set can be had."""
        return self.check is not None and not self.check.passed

    @property
    def complete(self) -> bool:
        """Valid, and of everything that the stack has."""
        return self.valid and self.manifest is not None and self.manifest.complete

    def has(self, names: set[str]) -> bool:
        """Whether it was to have everything, and has these databases, folders or buckets; none is named means no."""
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
    """A bucket where databases and folders are named beside it."""
    return f"bucket:{bucket}"


def publish(target: Target, data: bytes) -> None:
    """Makes the set exist: the manifest is there and read back, or it is not there, or Failed says what is."""
    manifest = json.loads(data)["manifest"]
    key = f"{folder(manifest['stack'], manifest['id'])}/{MANIFEST}"
    trouble: Failed | None = None
    # A reply may be lost: what counts is what is there, and not what was answered.
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
    """Reads the streams of a set from one target."""
    return PartReader(target, keys, folder(manifest.stack, manifest.id))


def list_sets(target: Target, stack: str, keys: Keys) -> Iterator[Summary]:
    """Every set beneath the stack's prefix, newest first; Failed when the listing could not be had whole."""
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
    """The newest complete set by the time that stands in its manifest: what a target says of times is not signed.

    One that failed its newest check is it only where there is no other. Of named databases it is the newest set that
    was to have all, and has these: a database that could not be saved is no reason to restore an older one. One that
    lacks databases is better than none.
    """
    names, seen = set(having), list(summaries)
    complete = [summary for summary in seen if summary.complete or summary.has(names)]
    lacking = [summary for summary in seen if summary.valid and summary.manifest and not summary.manifest.only]
    return max(complete or lacking, key=preference, default=None)


def sharing_drills(by_target: Mapping[str, Sequence[Summary]]) -> dict[str, list[Summary]]:
    """The sets of each target, where one whose newest drill failed on any target has failed it on all.

    What is in a set is the same wherever its bytes are right, and a drill is of one target when another is away.
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
    """Which of several sets to take: the greatest."""
    return not summary.doubtful, summary.created, summary.id


def add_verified(target: Target, stack: str, id: str, keys: Keys, at: datetime, passed: bool, **more: Any) -> None:
    """Records a check beside the set; the manifest itself is never edited."""
    record = {"stack": stack, "id": id, "at": at.astimezone(UTC).isoformat(), "passed": passed, **more}
    target.put(f"{folder(stack, id)}/{VERIFIED}{at.astimezone(UTC):{STAMP}}.json", seal(keys, "verify", record))


def add_pin(target: Target, stack: str, id: str, keys: Keys, at: datetime, why: str = "") -> None:
    """Keeps a set from retention for as long as the pin lies there."""
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
    """One host writes the sets of a stack: two that were deployed under one name would remove each other's."""
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
    # A pin is believed unsigned: all that it can do is keep a set.
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
    """The newest check of the set; a record that is not ours says nothing.

    Where that only read bytes and passed, a drill before it that failed still counts: bytes that are right may not restore.
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
