"""The plan of a restore of buckets, and what is refused; nothing is changed."""

from __future__ import annotations

import re
import shlex
from typing import Any

from worker import sets
from worker.buckets import COMPONENT, accounts, flat, listing, quiet, settings, steady
from worker.buckets.client import Client, Silent, connect
from worker.buckets.moving import born
from worker.buckets.nesting import Nesting, above
from worker.buckets.room import must_fit
from worker.buckets.survey import Survey, surveyed
from worker.buckets.wanted import Wanted
from worker.contract import RESTORE_REFUSED, VERIFY_FAILED
from worker.errors import Failed
from worker.finding import find, introduced
from worker.job import Job

NAME = re.compile(r"(?!.*(\.\.|\.-|-\.))(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""What S3 takes for the name of a bucket."""
IAM, CONFIGURATION = "iam", "bucket-config"


def chosen(job: Job, manifest: sets.Manifest) -> list[str]:
    """The buckets to restore: those that are named, or all, unless something else is requested."""
    asked = job.request
    if len(asked.buckets) > 1 and (asked.new_name or asked.prefix or asked.key):
        raise Failed(
            RESTORE_REFUSED,
            "--as, --prefix and --key are for one bucket",
            f"asked for are {', '.join(asked.buckets)}",
            f"--bucket {asked.buckets[0]}",
        )
    if asked.buckets and COMPONENT not in job.config:
        why = "the roles of this host in the inventory name no minio, so no bucket can be saved or restored here"
        raise Failed(RESTORE_REFUSED, "this stack has no MinIO", why, "--database NAME, or --service NAME")
    if asked.buckets and asked.new_name:
        _must_be_a_name(job, asked.new_name)
    if _of_a_part(job):
        return list(dict.fromkeys(asked.buckets))
    return list(manifest.buckets) if COMPONENT in job.config else []


def _must_be_a_name(job: Job, name: str) -> None:
    """Refuses what MinIO would refuse in the middle, and the buckets that no set has."""
    if not NAME.fullmatch(name):
        why = "it has 3 to 63 of a-z, 0-9, - and ., and begins and ends with a letter or digit"
        raise Failed(RESTORE_REFUSED, f"{name} cannot be the name of a bucket", why, "--as NAME")
    if name.startswith(flat.KEPT) or name in job.config[COMPONENT]["without"]:
        why = "sets lie there, or what restores have displaced: no backup has it"
        raise Failed(RESTORE_REFUSED, f"the bucket {name} is not for objects that come back", why, "--as NAME")


def without_minio(job: Job, manifest: sets.Manifest) -> list[str]:
    """What a restore of a whole set leaves out on a stack without MinIO."""
    if COMPONENT in job.config or _of_a_part(job) or not manifest.buckets:
        return []
    return [f"the buckets {', '.join(manifest.buckets)} stay away: this stack has no MinIO"]


def _of_a_part(job: Job) -> bool:
    """Whether a part of a set is requested, and not the whole set."""
    asked = job.request
    return bool(asked.buckets or asked.databases or asked.new_name or asked.local or asked.service)


class Surveyed:
    """What a restore would do to some buckets. A refused bucket refuses all if it was named; else only that bucket is left out."""

    def __init__(self, job: Job, manifest: sets.Manifest, source: str) -> None:
        self._job, names = job, chosen(job, manifest)
        self.surveys, self.refused = list[tuple[Wanted, Survey]](), dict[str, Failed]()
        self.accounts = list[str]()
        if not names and job.request.more:
            why = "it is for a restore with buckets, and the set has none"
            raise Failed(RESTORE_REFUSED, f"--with {','.join(job.request.more)} does not fit", why, "inv backup.list")
        if not names:
            return
        wanted = [Wanted(job, manifest, source, name) for name in names]
        self.minio = connect(job.config)
        try:
            self._survey(job, manifest, source, wanted)
        except Silent as error:
            raise error.coded(RESTORE_REFUSED) from None

    def _survey(self, job: Job, manifest: sets.Manifest, source: str, wanted: list[Wanted]) -> None:
        steady.wait(self.minio)
        for bucket in wanted:
            bucket.use(self.minio)
            try:
                self.surveys.append((bucket, _checked(bucket)))
            except Failed as error:
                if error.code == VERIFY_FAILED:  # its index is damaged: the bucket cannot be restored from this target
                    error = error.coded(RESTORE_REFUSED)
                if job.request.buckets or error.code != RESTORE_REFUSED:
                    raise error from None
                self.refused[bucket.to] = error
        must_fit(self.minio, self.surveys)
        self.accounts = who(job, manifest, source, self.minio)
        if job.request.at > f"{manifest.created:%Y-%m-%dT%H:%M:%S}.000Z":
            why = f"it was made at {manifest.created:%Y-%m-%d %H:%M:%S} UTC"
            raise Failed(
                RESTORE_REFUSED, f"the set does not know how buckets were at {job.request.at}", why, "inv backup.list"
            )

    def __bool__(self) -> bool:
        return bool(self.surveys or self.refused)

    def rows(self) -> list[dict[str, Any]]:
        """A row for each bucket, for the plan."""
        refused = [{"bucket": name, "refused": error.one_line()} for name, error in self.refused.items()]
        return [_row(self._job, wanted, survey) for wanted, survey in self.surveys] + refused

    def warnings(self) -> list[str]:
        several = len(self.surveys) > 1
        return [
            f"{wanted.to}: {line}" if several else line
            for wanted, survey in self.surveys
            for line in survey.warnings(wanted.now, self._job.request.hold_lifecycle)
        ]


def who(job: Job, manifest: sets.Manifest, source: str, minio: Client) -> list[str]:
    """The users, groups, policies and keys that would be restored, in words."""
    if IAM not in job.request.more:
        return []
    absent = accounts.names(
        accounts.absent(accounts.of_set(job, manifest, source), accounts.exported(minio), accounts.root(job))
    )
    return accounts.lines(absent) or ["none is absent"]


def plan(job: Job) -> dict[str, Any]:
    """The plan of a restore of objects alone; nothing is changed."""
    manifest, where, warnings = find(job)
    objects = Surveyed(job, manifest, where)
    return {
        **introduced(manifest, where),
        "databases": [],
        "objects": objects.rows(),
        "accounts": objects.accounts,
        "obstacles": [],
        "warnings": warnings + objects.warnings(),
        "dependents": [],
        "free": {},
    }


def _row(job: Job, wanted: Wanted, survey: Survey) -> dict[str, Any]:
    return {
        "bucket": wanted.to,
        "of": wanted.bucket,
        "there": wanted.there,
        "versioned": wanted.versioned,
        "off": sorted(quiet.acting(wanted.now).keys() - {"versioning"}),
        "suspended": "versioning" in quiet.acting(wanted.now),
        "kept": flat.KEPT + "NUMBER",
        "new_ids": job.request.new_ids,
        "exact": job.request.exact,
        **survey.as_row(),
    }


def _checked(wanted: Wanted) -> Survey:
    """What would be done to a bucket; raises Failed for what is refused."""
    what = f"the bucket {wanted.to}"
    if wanted.job.request.exact and wanted.prefixes and not wanted.start.startswith(tuple(wanted.prefixes)):
        why = f"it has only the keys that begin with {', '.join(wanted.prefixes)}: all others would be hidden"
        hint = f"--exact --prefix {shlex.quote(wanted.prefixes[0])}"
        raise Failed(RESTORE_REFUSED, f"{wanted.manifest.id} does not have all keys of {wanted.bucket}", why, hint)
    if wanted.job.request.at and not settings.versioning(wanted.saved):
        why = "it has no versions, and the set only what was there when it was made"
        raise Failed(RESTORE_REFUSED, f"how {wanted.bucket} was at another time is not known", why, "inv backup.list")
    live = wanted.live() if wanted.there else None
    nesting = Nesting()
    for key in above(wanted.start) if live else ():
        if listing.of_key(wanted.minio, wanted.to, key):
            nesting.add(key, brought=False)
    survey = surveyed(wanted.groups(), live, wanted.versioned, wanted.now.get("lifecycle", ""), nesting)
    if live and wanted.job.request.exact:
        survey.hides = sum(1 for _ in born(wanted))
    if (wanted.start or wanted.job.request.at) and not survey.keys:
        asked = " ".join(
            f"--{word} {text}" for word in ("key", "prefix", "at") if (text := getattr(wanted.job.request, word))
        )
        hint = f"inv backup.show {wanted.manifest.id} --bucket {wanted.bucket}"
        raise Failed(RESTORE_REFUSED, f"nothing in {wanted.bucket} matches {asked}", f"in {wanted.manifest.id}", hint)
    if survey.locked and wanted.there and not settings.locks(wanted.now):
        why = f"{survey.locked} versions have retention or a legal hold, which a bucket gets only when it is made"
        raise Failed(RESTORE_REFUSED, f"{what} was made without object lock", why, "--as NAME, which is made with it")
    return survey
