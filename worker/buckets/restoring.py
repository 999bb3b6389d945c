"""Restores objects of one or many buckets from a set: put below the live versions, read back, and only then made current.

One failure costs one bucket; but once the databases of the same restore are swapped, it takes everything back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from worker import sets, swap
from worker.buckets import accounts, probing, takeback
from worker.buckets.client import Client
from worker.buckets.contents import Contents
from worker.buckets.moving import Move
from worker.buckets.planning import CONFIGURATION, IAM, Surveyed, without_minio
from worker.buckets.pools import Pools
from worker.buckets.survey import Survey
from worker.contract import OK, PARTLY_RESTORED, RESTORE_FAILED, RESTORE_REFUSED
from worker.errors import Failed
from worker.finding import find
from worker.job import Job
from worker.records import Record
from worker.size import human


class Objects:
    """The buckets of one restore: first the versions of all are put, then all become current."""

    def __init__(
        self, job: Job, manifest: sets.Manifest, source: str, record: Record, away: Sequence[str] = ()
    ) -> None:
        """Checks and refuses; changes nothing live. `away` is what the restore leaves out, reported at the end."""
        self._job, self._record = job, record
        self._set, self._failed, self._lacks = manifest.id, dict[str, Failed](), [*away, *without_minio(job, manifest)]
        self._accounts = accounts.of_set(job, manifest, source) if IAM in job.request.more else {}
        surveyed = Surveyed(job, manifest, source)
        self._failed |= surveyed.refused
        self._moves, self._only = list[Move](), False
        if not surveyed:
            return
        self._minio: Client = surveyed.minio
        if any(wanted.versioned for wanted, _ in surveyed.surveys) and not job.request.new_ids:
            probing.must_take_ids(surveyed.minio, job.run)
        try:
            contents = Contents(job.targets[source], job.keys, manifest)
        except Failed as error:
            raise error.coded(RESTORE_REFUSED) from None
        self._moves = [Move(job, record, wanted, survey, contents) for wanted, survey in surveyed.surveys]
        record.save()

    def __bool__(self) -> bool:
        return bool(self._moves or self._failed or self._lacks)

    def insert(self, ahead: bool = False) -> None:
        """The invisible part for every bucket; one that fails is taken back, and the others go on."""
        with self._job.journal.step("insert"), Pools(self._job) as pools:
            self._each(lambda move: move.insert(pools, ahead))

    def show(self, together: bool) -> None:
        """Makes every bucket current, then sets its locks. With `together`, for swapped databases, one failure fails all."""
        with self._job.journal.step("current"), Pools(self._job) as pools:
            self._each(lambda move: move.current(pools), together)
        with self._job.journal.step("lock"):
            self._each(Move.lock, together)
            for move in self._moves if CONFIGURATION in self._job.request.more else ():
                self._lacks += [f"{move.name}: {line}" for line in move.configure()]
        if self._accounts:
            with self._job.journal.step("accounts"):
                self._bring_accounts()

    def _bring_accounts(self) -> None:
        """Restores users, policies and keys; a failure here takes no object back."""
        say = self._job.journal.say
        try:
            absent = accounts.absent(self._accounts, accounts.exported(self._minio), accounts.root(self._job), say)
            self._record.accounts = accounts.names(absent)
            self._record.save()
            accounts.bring(self._minio, absent, self._job.journal.piece)
        except Failed as error:
            self._lacks.append(error.one_line())
            return
        for line in accounts.lines(self._record.accounts) or ["none was absent"]:
            say(f"who may use the buckets, brought back: {line}")

    def alone(self) -> int:
        """The whole restore, if it is of objects alone."""
        self._only = len(self._moves) == 1 and not self._failed
        try:
            self.insert()
            self.show(together=False)
        except BaseException as error:
            swap.taken_back(self._job, self._record, error, committed="")
            if isinstance(error, Failed):
                raise error.coded(RESTORE_FAILED) from None
            raise
        if not self._moves:
            self._record.phase = "failed"
            self._record.save()
            raise self._nothing()
        self._record.phase = "done"
        self._record.save()
        return self.ended()

    def ended(self) -> int:
        """Reports the restored buckets; raises an error for the others."""
        for move in self._moves:
            self._record.buckets[move.name]["held"] = {}
            self._job.journal.say(f"{move.name}: {_done(move.survey, move.wanted.versioned)}")
        self._record.save()
        if not self._failed and not self._lacks:
            return OK
        lacking = [f"the bucket {name}" for name in self._failed] + ["what stands below"] * bool(self._lacks)
        raise Failed(
            PARTLY_RESTORED,
            f"all came back but {', '.join(lacking)}",
            "\n".join([*(f"{name}: {error.one_line()}" for name, error in self._failed.items()), *self._lacks]),
            "\n".join([*self._ways(), "inv restore.undo, which takes back what was restored"]),
        )

    def _each(self, do: Callable[[Move], None], together: bool = False) -> None:
        """Runs a step for each bucket; one that fails is taken back, and left out from then on."""
        for move in list(self._moves):
            try:
                do(move)
            except Failed as error:
                if together or self._only:
                    raise
                if not takeback.of_bucket(self._job, self._minio, self._record, move.name):
                    del self._record.buckets[move.name]
                    self._record.save()
                self._moves.remove(move)
                self._failed[move.name] = error
                self._job.journal.say(f"the bucket {move.name} is left as it was: {error.one_line()}")

    def _nothing(self) -> Failed:
        what = f"none of the buckets came back: {', '.join(self._failed)}"
        why = "\n".join([*(f"{name}: {error.one_line()}" for name, error in self._failed.items()), *self._lacks])
        return Failed(RESTORE_FAILED, what, why, "\n".join(self._ways()))

    def _ways(self) -> Iterator[str]:
        """What to type for each bucket that was not restored."""
        for name, error in self._failed.items():
            yield f"inv restore {self._set} --bucket {name} {error.hint if error.hint.startswith('--') else '--from TARGET'}"


def _done(survey: Survey, versioned: bool) -> str:
    """What a restore did to a bucket. Where the set's versions are all there, it may still have made old ones current."""
    on_top = f"; {survey.current} keys have the version of the set on top" if versioned and survey.current else ""
    return f"{survey.insert} versions were put back, {human(survey.bytes)}, each read back{on_top}"


def run(job: Job) -> int:
    """Restores objects alone; after any failure the listing of versions is as it was before."""
    record = Record(job.run, job.request.set, datetime.now(UTC).isoformat(timespec="seconds"))
    with job.journal.step("preflight"):
        manifest, source, _ = find(job)
        record.set = manifest.id
        objects = Objects(job, manifest, source, record)
    return objects.alone()
