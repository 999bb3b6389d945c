"""The restore of one bucket: versions are put below the live ones, read back, and only then made current."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from worker.buckets import configured, flat, inserting, listing, quiet, settings
from worker.buckets.anew import Anew, to_put
from worker.buckets.beneath import Beneath
from worker.buckets.client import Client, path
from worker.buckets.contents import Contents
from worker.buckets.index import Row
from worker.buckets.listing import Version
from worker.buckets.made import Made
from worker.buckets.pools import Pools
from worker.buckets.survey import Survey
from worker.buckets.wanted import Wanted
from worker.job import Job
from worker.journal import Journal
from worker.records import Record

ENABLED, SUSPENDED = "Enabled", "Suspended"


class Move:
    """The steps of one bucket; each version is recorded before it is made."""

    def __init__(self, job: Job, record: Record, wanted: Wanted, survey: Survey, contents: Contents) -> None:
        self.wanted, self.survey, self.name = wanted, survey, wanted.to
        self._job, self._minio, self._record, self._contents = job, wanted.minio, record, contents
        self._made = record.made(self.name)
        number = 0 if not record.buckets else len(record.buckets)
        record.buckets[self.name] = {
            "made": not wanted.there,
            "held": quiet.acting(wanted.now),
            "kept": flat.kept_bucket(job.run, number),
        }
        self._beneath = Beneath(self._minio, self.name, contents, self._made, job.journal.say)
        self._anew = Anew(self._minio, self.name, contents, self._made) if job.request.new_ids else None
        self._was_there = wanted.there

    def insert(self, pools: Pools, ahead: bool) -> None:
        """Puts versions below the live ones, where they do not show. Without versions, reads contents `ahead` of a swap."""
        make_bucket(self.wanted)
        quiet.take_off(self._minio, self.name, self._record.buckets[self.name]["held"])
        live = self.wanted.live()
        if self.wanted.versioned and not self._anew:
            tasks = ((rows, partial(self._beneath.insert, rows, live.of(key))) for key, rows in self.wanted.groups())
            pools.all(tasks, self.survey.bytes)
        elif ahead:
            reads = ((rows, partial(self._read, rows, live.of(key))) for key, rows in self.wanted.groups())
            pools.all(reads, self.survey.bytes)

    def _read(self, rows: Sequence[Row], there: Sequence[Version]) -> int:
        row = flat.replaces(rows, there)
        chosen = to_put(rows, there) if self._anew and self.wanted.versioned else [row] if row else []
        return sum(
            len(piece)
            for chosen_row in chosen
            if not chosen_row.get("marker")
            for piece in self._contents.pieces(chosen_row)
        )

    def current(self, pools: Pools) -> None:
        """Makes the restored versions current."""
        live, exact = self.wanted.live(), self._job.request.exact
        if self.wanted.versioned and (anew := self._anew):
            puts = ((rows, partial(anew.put, rows, live.of(key))) for key, rows in self.wanted.groups())
            pools.all(puts, self.survey.bytes)
            for versions in born(self.wanted) if exact else ():
                anew.hide(versions)
            return
        if self.wanted.versioned:
            tops = (partial(self._beneath.make_current, rows, live.of(key)) for key, rows in self.wanted.groups())
            pools.each(tops, self.survey.keys)
            for versions in born(self.wanted) if exact else ():
                self._beneath.hide(versions)
            return
        kept = self._record.buckets[self.name]["kept"]
        do = partial(flat.replace, self._minio, self._contents, self._made, kept, self.name)
        pools.all(((rows, partial(do, rows, live.of(key))) for key, rows in self.wanted.groups()), self.survey.bytes)
        for versions in born(self.wanted) if exact else ():
            flat.remove(self._minio, self._made, kept, self.name, versions[0])

    def lock(self) -> None:
        """Sets retention and legal hold last, then restores the settings that were off."""
        lock(self._minio, self.name, self._made, self._job.journal)
        if not self._was_there and self.wanted.versioning == SUSPENDED:
            quiet.set_part(self._minio, self.name, "versioning", self.wanted.saved["versioning"])
        state, request = self._record.buckets[self.name], self._job.request
        if request.hold_lifecycle:
            state["waiting"] = {part: text for part, text in state["held"].items() if part == "lifecycle"}
            self._record.save()
        quiet.put_on(
            self._minio,
            self.name,
            {part: text for part, text in state["held"].items() if part not in state.get("waiting", ())},
        )

    def configure(self) -> list[str]:
        """Sets the parts of the configuration that the bucket lacks; gives those that MinIO refuses."""
        state = self._record.buckets[self.name]
        parts = configured.absent(self.wanted.saved, self.wanted.now)
        if self._job.request.hold_lifecycle and "lifecycle" in parts:
            state["waiting"] = {"lifecycle": parts.pop("lifecycle")}
        state["configured"] = parts
        self._record.save()
        return configured.put(self._minio, self.name, parts)


def make_bucket(wanted: Wanted) -> None:
    """Makes an absent bucket as in the set, with versions and locks."""
    if wanted.there:
        return
    locks = {"x-amz-bucket-object-lock-enabled": "true"} if settings.locks(wanted.saved) else {}
    wanted.minio.ask("PUT", path(wanted.to), headers=locks)
    if wanted.versioned and not locks:
        text = wanted.saved["versioning"].replace(f">{SUSPENDED}<", f">{ENABLED}<")
        quiet.set_part(wanted.minio, wanted.to, "versioning", text)


def born(wanted: Wanted) -> Iterator[list[listing.Version]]:
    """The versions of each key that exists now and is not in the set."""
    groups = wanted.groups()
    key, rows = next(groups, ("", []))
    for versions in listing.by_key(listing.versions(wanted.minio, wanted.to, wanted.start)):
        if wanted.job.request.key and versions[0].key != wanted.job.request.key:
            continue
        while rows and key.encode() < versions[0].key.encode():
            key, rows = next(groups, ("", []))
        gone = not rows or key != versions[0].key or bool(rows[0].get("marker"))
        if gone and not versions[0].marker:
            yield versions


def lock(minio: Client, bucket: str, made: Made, journal: Journal) -> None:
    """Sets retention and legal hold, last: after that a version can no longer be deleted."""
    total = sum("lock" in line for line in made.lines())
    for done, line in enumerate(line for line in made.lines() if "lock" in line):
        journal.progress(done, total, pieces="versions")
        journal.piece()
        inserting.lock(minio, bucket, line["key"], line["id"], line["lock"])
