"""Restores folders of a service: unpacked beside the live ones, compared with their lists, and only then swapped.

It does not need PostgreSQL. The service is only stopped for the swap, then started and checked.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from worker import comparison, folder_swap, folders, host, listing, sets, swap
from worker.contract import OK, RESTORE_FAILED, RESTORE_REFUSED, SWAP_FAILED
from worker.errors import Failed
from worker.finding import find, introduced
from worker.job import Job
from worker.listing import Listing
from worker.packing import Folder
from worker.postgres import Row
from worker.records import Record
from worker.settling import end
from worker.size import human

AFTER = "inv logs --service {service}; inv restore.undo swaps back"


def chosen(job: Job, manifest: sets.Manifest) -> list[Folder]:
    """The folders of a service to restore, at their paths in the current configuration; refused if the set lacks one."""
    service, inside = job.request.service, job.request.inside
    here = [folder for folder in folders.of(job.config) if folder.service == service]
    if not here:
        known = sorted({folder.service for folder in folders.of(job.config)})
        near = difflib.get_close_matches(service, known, 1, 0)
        why = f"services with backup are {', '.join(known)}" if known else "no service of this host has backup"
        raise Failed(
            RESTORE_REFUSED,
            f"the inventory has no backup of a service {service}",
            why,
            f"--service {near[0]}" if near else "",
        )
    if inside and inside not in [folder.inside for folder in here]:
        why = f"its backup has {', '.join(folder.inside for folder in here)}"
        raise Failed(
            RESTORE_REFUSED, f"{service} has no folder {inside} in its backup", why, f"--folder {here[0].inside}"
        )
    wanted = [folder for folder in here if inside in ("", folder.inside)]
    if lacking := [folder for folder in wanted if folder.name not in manifest.folders]:
        has = ", ".join(manifest.folders) or "none"
        available = [folder.inside for folder in wanted if folder not in lacking]
        why = "\n".join(manifest.failed_folders.get(folder.name, f"it has {has}") for folder in lacking)
        raise Failed(
            RESTORE_REFUSED,
            f"the set does not have {', '.join(folder.name for folder in lacking)}",
            why,
            f"--folder {available[0]}, which it has" if available else "inv backup.list",
        )
    return wanted


def plan(job: Job) -> Row:
    """What a restore would do, for the person who is asked; nothing is changed."""
    manifest, where, warnings = find(job)
    wanted = chosen(job, manifest)
    sizes = host.sizes(job, [folder.here for folder in wanted])
    number = "NUMBER"
    return {
        **introduced(manifest, where),
        "databases": [],
        "folders": [
            {
                "name": folder.name,
                "here": folder.here,
                "files": manifest.folders[folder.name]["files"],
                "bytes": manifest.folders[folder.name]["bytes"],
                "replaces": sizes.get(folder.here),
                "kept": f"{folder.here}.old-{number}",
            }
            for folder in wanted
        ],
        "obstacles": [],
        "warnings": warnings,
        "dependents": [job.request.service],
        "free": {},
    }


def run(job: Job) -> int:
    """Restores; any failure before the swap leaves the live folders exactly as they were."""
    record = Record(job.run, job.request.set, datetime.now(UTC).isoformat(timespec="seconds"))
    with job.journal.step("preflight"):
        manifest, source, _ = find(job)
        record.set, wanted = manifest.id, chosen(job, manifest)
        record.service, record.folders = wanted[0].service, [folder.here for folder in wanted]
        _refuse(job, manifest, wanted)
        record.save()
    try:
        with job.journal.step("fetch"):
            lists = {folder.name: _listed(job, manifest, source, folder) for folder in wanted}
            for folder in wanted:
                _unpack(job, manifest, source, folder, record.beside(folder.here, "r"))
        with job.journal.step("compare"):
            for folder in wanted:
                _must_be_the_set(job, lists[folder.name], folder, record.beside(folder.here, "r"))
        record.phase = "loaded"
        record.save()
    except BaseException:
        swap.cleared(job, record)
        raise
    return _swapped(job, record, wanted)


def _refuse(job: Job, manifest: sets.Manifest, wanted: Sequence[Folder]) -> None:
    """Refuses, before anything is written, a folder that is absent, cannot be renamed, or has no room beside it."""
    needs: dict[str, int] = {}
    for folder in wanted:
        above = folder.here.rpartition("/")[0] or "/"
        status, _, _ = host.run(job, "test", "-d", folder.here, "-a", "!", "-L", folder.here)
        if status:
            raise Failed(
                RESTORE_REFUSED, f"{folder.here} is not there, or no folder", "", f"inv deploy --role {folder.service}"
            )
        if not host.run(job, "mountpoint", "-q", "--", folder.here)[0]:
            why = "a filesystem cannot be renamed, and what is restored has to lie beside it"
            hint = f"services.{folder.service}.data: a folder beneath {folder.here}"
            raise Failed(RESTORE_REFUSED, f"{folder.here} is a filesystem of its own", why, hint)
        device, free = host.must(
            job, f"{above} cannot be read", "df", "-B1", "--output=target,avail", "--", above
        ).split()[-2:]
        needs[device] = needs.get(device, 0) + manifest.folders[folder.name]["bytes"]
        if int(free) < needs[device]:
            why = f"{human(needs[device])} have to lie beside what is live, and {human(int(free))} are free on {device}"
            raise Failed(
                RESTORE_REFUSED,
                "there is no room for the restore",
                why,
                "inv restore.cleanup drops what earlier restores have kept",
            )


def _listed(job: Job, manifest: sets.Manifest, source: str, folder: Folder) -> Listing:
    try:
        return folders.listed(job, manifest, source, folder)
    except Failed as error:
        raise error.coded(RESTORE_REFUSED) from None


def _unpack(job: Job, manifest: sets.Manifest, source: str, folder: Folder, scratch: str) -> None:
    job.journal.say(f"fetching {folder.name} into {scratch}")
    host.must(job, f"{scratch} cannot be made", "mkdir", "-m", "0700", "--", scratch)
    try:
        folders.unpack(
            job, manifest, source, folder, Path(scratch), host.command_line(job, "tar"), "inv restore.cleanup"
        )
        host.must(job, f"{scratch} cannot be synced", "sync", "-f", "--", scratch)
    except Failed as error:
        raise error.coded(RESTORE_REFUSED) from None


def _must_be_the_set(job: Job, wanted: Listing, folder: Folder, scratch: str) -> None:
    actual = Listing.parse(host.must(job, f"{scratch} cannot be listed", *listing.only_listing(scratch)))
    if wrong := listing.differences(wanted, actual):
        hint = "df -h and dmesg on the host: what was unpacked is not what lies there; then the same again"
        raise Failed(RESTORE_FAILED, f"{folder.name} would not be what the set says", comparison.describe(wrong), hint)


def _swapped(job: Job, record: Record, wanted: Sequence[Folder]) -> int:
    """Stops the service, swaps the folders, starts it and waits for its answer; a fault after the swap does not undo it."""
    try:
        with job.journal.step("stop"):
            swap.stop(job, record, "swapping", [record.service])
        with job.journal.step("swap"):
            folder_swap.swap(job, record)
    except BaseException as error:
        swap.taken_back(job, record, error, committed="done")
        raise
    _answers(job, record, "the swap")
    for folder in wanted:
        job.journal.say(
            f"{folder.here} is what was restored; what it was is kept as {record.beside(folder.here, 'old')}"
        )
    return OK


def _answers(job: Job, record: Record, what: str) -> None:
    """Starts the service if it ran before, and checks it like a deploy."""
    service, ran, wrong = record.service, bool(record.stopped), list[str]()
    try:
        with job.journal.step("start"):
            wrong += end(job, record, "undone" if record.phase == "undoing" else "done")
        with job.journal.step("health"):
            waits = job.config[folders.COMPONENT].get(service, {}).get("waits", "") if ran and not wrong else ""
            status, output, complaint = host.run(job, "sh", "-c", waits) if waits else (0, "", "")
            wrong += [output + complaint] if status else []
    except BaseException as error:
        wrong.append(f"{service} may be stopped; the next run starts it: {swap.message(error)}")
    if wrong:
        hint = AFTER.replace("{service}", service)
        raise Failed(SWAP_FAILED, f"{what} is done, but something is wrong after it", "\n".join(wrong), hint)


def undo(job: Job, record: Record) -> int:
    """Undoes the last restore; the restored folders are kept as well."""
    rows = folder_swap.swaps(record, undoing=True)
    there = host.there(job, [row.incoming for row in rows])
    if gone := [row.incoming for row in rows if row.incoming not in there]:
        raise Failed(
            RESTORE_REFUSED, f"{gone[0]} is not there any more", "it was cleaned up or renamed", "inv backup.list"
        )
    try:
        with job.journal.step("undo"):
            swap.stop(job, record, "undoing", [record.service])
            folder_swap.swap(job, record, undoing=True)
    except BaseException as error:
        swap.taken_back(job, record, error, committed="undone")
        raise
    _answers(job, record, "the undo")
    for row in rows:
        job.journal.say(f"{row.live} is what it was; what the restore had brought is kept as {row.aside}")
    return OK
