"""Checks of sets: a check reads every byte, a drill also restores the set into a throwaway server."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg

from worker import containers, drill, finding, loading, sets
from worker.buckets import checking
from worker.contract import OK, VERIFY_FAILED
from worker.errors import Failed
from worker.job import Job

OTHERS = "inv backup.list, which shows on which target another set, or this one, has passed its check"
ANEW = "inv backup, which makes a set that is whole"


@dataclass
class _Checked:
    """One set: the targets on which every byte is right, and how long the read took."""

    manifest: sets.Manifest
    intact: dict[str, float] = field(default_factory=dict)


@dataclass
class _Findings:
    """The faults, a line each, and what to type."""

    wrong: list[str] = field(default_factory=list)
    ways: list[str] = field(default_factory=list)

    def add(self, what: str, *ways: str) -> None:
        self.wrong.append(what)
        self.ways += ways


def run(job: Job) -> int:
    """Checks a set on every target that has it, or on the requested one; records the result beside it.

    One drill counts for all targets on which every byte is right, as they have the same content.
    """
    findings = _Findings()
    checked = _read_all(job, [job.request.source] if job.request.source else list(job.targets), findings)
    job.request.set = ", ".join(checked) or job.request.set
    for checked_set in checked.values():
        # a set of the configuration alone needs no drill
        if (
            job.request.drill
            and (checked_set.manifest.databases or checked_set.manifest.folders or checked_set.manifest.buckets)
            and checked_set.intact
        ):
            _drill(job, checked_set, findings)
        else:
            for name, took in checked_set.intact.items():
                _record(job, checked_set.manifest, name, took, "every byte is right")
    containers.remove(job.run)
    if findings.wrong:
        ways = "\n".join(dict.fromkeys(findings.ways or [OTHERS]))
        # a target that does not answer is no fault of its sets
        failed = any(not check["passed"] for check in job.checks.values())
        what = "a set is not what it should be" if failed else "not everything could be checked"
        raise Failed(VERIFY_FAILED, what, "\n".join(findings.wrong), ways)
    return OK


def _read_all(job: Job, names: list[str], findings: _Findings) -> dict[str, _Checked]:
    """Reads every byte on every target; gives sets by id, as the latest may differ between targets."""
    checked: dict[str, _Checked] = {}
    absent: dict[str, Failed] = {}
    for name in names:
        job.request.source = name
        try:
            with job.journal.step("find"):
                try:
                    manifest = finding.find(job).manifest
                except finding.Absent as error:
                    absent[name] = error
                    continue
        except Failed as error:
            findings.add(f"{error.what}: {error.why}")
            continue
        if job.request.drill:
            drill.must_have_room(job, manifest)
        checked_set = checked.setdefault(manifest.id, _Checked(manifest))
        begun = time.monotonic()
        try:
            with job.journal.step("read"):
                _read(job, manifest, name)
            checked_set.intact[name] = time.monotonic() - begun
        except Failed as error:
            why = f"{error.what}: {error.why}"
            findings.add(f"{manifest.id} on {name}: {why.removeprefix(f'{name}: ')}", OTHERS, ANEW)
            _record(job, manifest, name, time.monotonic() - begun, "", why)
    if absent and not checked and not findings.wrong:
        first = next(iter(absent.values()))
        raise Failed(first.code, first.what, f"{', '.join(absent)}: {finding.ABSENT}", first.hint)
    for name, lacking in absent.items():
        # A named set may never have been on other targets; but every target should have some set.
        if job.request.set == "latest":
            findings.add(f"{name}: {lacking.what}", ANEW)
        else:
            job.journal.say(f"{name} does not have it")
    return checked


def _drill(job: Job, checked_set: _Checked, findings: _Findings) -> None:
    begun, why, manifest = time.monotonic(), "", checked_set.manifest
    try:
        with job.journal.step("drill"):
            drill.run(job, manifest, next(iter(checked_set.intact)))
    except (Failed, psycopg.Error) as error:
        failed = error if isinstance(error, Failed) else Failed(VERIFY_FAILED, "the set cannot be loaded", str(error))
        why = f"{failed.what}: {failed.why}"
        servers = isinstance(error, psycopg.OperationalError) or any(text in why for text in loading.SERVERS)
        if servers or failed.code != VERIFY_FAILED:  # no fault of the set
            for name, took in checked_set.intact.items():
                _record(job, manifest, name, took, "every byte is right")
            findings.add(f"the drill could not be made: {why}", failed.hint or "inv status")
            return
        # A new set of the same databases would fail as well: the remedies of a restore help.
        findings.add(f"{manifest.id}: {why}", *failed.hint.splitlines())
    took = round(time.monotonic() - begun, 1)
    for name in checked_set.intact:
        _record(job, manifest, name, took, "restored where nobody is hurt, and every count is right", why, drilled=True)


def _record(
    job: Job, manifest: sets.Manifest, name: str, took: float, what: str, why: str = "", drilled: bool = False
) -> None:
    """Records the result of a check beside the set, on one target."""
    more = {"drill": drilled, "seconds": round(took, 1), "why": why}
    job.checks[name] = {"set": manifest.id, "at": time.time(), "passed": not why, "drill": drilled, "why": why}
    with job.journal.step("record"):
        target = job.targets[name]
        sets.add_verified(target, manifest.stack, manifest.id, job.keys, datetime.now(UTC), not why, **more)
    if not why:
        job.journal.say(f"{manifest.id} on {name}: {what} ({took:.1f} s)")


def _read(job: Job, manifest: sets.Manifest, name: str) -> None:
    """Fetches, decrypts and compares every part, and every content of its buckets."""
    reader = sets.reader(job.targets[name], job.keys, manifest)
    total, done = sum(part.plain_bytes for part in manifest.parts), 0
    for streams in manifest.components.values():
        for parts in streams.values():
            for chunk in reader.read(parts):
                done += len(chunk)
                job.journal.progress(done, total)

    def on_read(size: int) -> None:
        nonlocal done
        done += size
        job.journal.progress(done, max(done, total))

    checking.read(job.targets[name], job.keys, manifest, on_read)
