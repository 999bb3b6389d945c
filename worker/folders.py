"""Saves folders of services into a set, each with a list of its files. One failure costs one folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from worker import containers, sets, tar
from worker.contract import FAILED, INCOMPLETE
from worker.databases import Streams, shrunk
from worker.errors import Failed
from worker.job import Job
from worker.listing import UNPACK, Listing
from worker.packing import Folder, Packing
from worker.postgres import Row
from worker.records import Record
from worker.settling import PACKED, end

COMPONENT = "services"


@dataclass
class Folders:
    """The result for each folder."""

    saved: dict[str, Row] = field(default_factory=dict)
    failed: dict[str, Failed] = field(default_factory=dict)
    silent: dict[str, Failed] = field(default_factory=dict)
    """Services that were stopped for the copy and do not start."""


def not_started(silent: Mapping[str, Failed]) -> Failed:
    """The error for a complete set, if a service that was stopped for it is down now."""
    why = "\n".join(error.what for error in silent.values())
    hint = "\n".join(error.hint for error in silent.values())
    return Failed(INCOMPLETE, f"the set is whole, and {', '.join(silent)} does not run since it was copied", why, hint)


def of(config: dict[str, Any]) -> list[Folder]:
    """The folders that a set must hold, from the configuration of the services."""
    return [
        Folder(service, inside, here, page["stop"])
        for service, page in config.get(COMPONENT, {}).items()
        for inside, here in page["folders"].items()
    ]


def save(job: Job, writer: sets.PartWriter, streams: Streams, previous: sets.Manifest | None) -> Folders:
    """Saves the folders of each service; a service with `stop` is stopped while they are read."""
    outcome = Folders()
    for service, page in job.config[COMPONENT].items():
        folders = [folder for folder in of(job.config) if folder.service == service]
        try:
            with standing_still(job, service, outcome) if page["stop"] else nullcontext():
                for folder in folders:
                    with by_itself(folder.name, writer, outcome):
                        outcome.saved[folder.name] = _saved(job, folder, writer, streams)
        except Failed as error:
            if not writer.alive:
                raise
            outcome.failed |= {folder.name: error for folder in folders if folder.name not in outcome.saved}
    _must_not_shrink(job, outcome, previous)
    for name, failure in outcome.failed.items():
        if row := outcome.saved.pop(name, None):
            for stream in (row["archive"], row["list"]):
                streams.pop(stream, None)
        job.journal.say(f"{name} could not be saved: {failure.what}: {failure.why}")
    return outcome


def _must_not_shrink(job: Job, outcome: Folders, previous: sets.Manifest | None) -> None:
    before = previous.folders if previous else {}
    for name in dict.fromkeys([*outcome.saved, *before]):
        now, last = outcome.saved.get(name, {}).get("bytes", 0), before.get(name, {}).get("bytes", 0)
        if name not in outcome.failed and (failure := shrunk(job, now, last, previous, "the folder")):
            outcome.failed[name] = failure


@contextmanager
def standing_still(job: Job, service: str, outcome: Folders) -> Iterator[None]:
    """Stops a running service, and starts it again in any case; the stop is recorded on disk before."""
    if not containers.running(service):
        yield
        return
    record = Record(
        job.run, job.run, datetime.now(UTC).isoformat(timespec="seconds"), stopped=[service], phase="packing"
    )
    record.save()
    try:
        job.journal.say(f"{service} is stopped while its folders are copied")
        containers.stop([service])
        yield
    finally:
        if lines := end(job, record, PACKED):
            outcome.silent[service] = Failed(
                FAILED, lines[0], "", f"docker start {service} on the host; inv logs --service {service}"
            )


@contextmanager
def by_itself(name: str, writer: sets.PartWriter, outcome: Folders) -> Iterator[None]:
    """Records the failure of one folder and goes on, unless no target is left."""
    try:
        yield
    except (Failed, OSError) as error:
        if not writer.alive:
            raise
        outcome.failed[name] = (
            error if isinstance(error, Failed) else Failed(FAILED, "it could not be packed", str(error))
        )


def _saved(job: Job, folder: Folder, writer: sets.PartWriter, streams: Streams) -> Row:
    """Packs and stores a folder; gives its row in the manifest. Names of files are only in its encrypted list."""
    if not os.path.isdir(folder.here):
        hint = f"inv deploy --role {folder.service}, which makes it, or mounts what it lies on"
        raise Failed(FAILED, f"{folder.here} is not there", "a service that has written nothing has an empty one", hint)
    packing = Packing(job, folder)
    job.journal.say(f"copying {folder.name}")
    parts = writer.write(folder.archive, packing.chunks())
    packing.must_be_whole()
    streams[folder.archive] = tuple(parts)
    streams[folder.list] = tuple(writer.write(folder.list, [packing.listing.text()]))
    row = {
        "service": folder.service,
        "inside": folder.inside,
        "here": folder.here,
        "archive": folder.archive,
        "list": folder.list,
    }
    return {**row, "files": packing.listing.files, "bytes": packing.listing.bytes, "stopped": folder.stop}


def listed(job: Job, manifest: sets.Manifest, source: str, folder: Folder) -> Listing:
    """The list of a folder when the set was made."""
    reader = sets.reader(job.targets[source], job.keys, manifest)
    data = b"".join(reader.read(manifest.components[COMPONENT][folder.list]))
    return Listing.parse(data.decode(errors="surrogateescape"))


def unpack(
    job: Job,
    manifest: sets.Manifest,
    source: str,
    folder: Folder,
    place: Path,
    by: Sequence[str] = ("tar",),
    hint: str = tar.STAGING,
) -> None:
    """Unpacks a folder of a set, with owners, modes, links and holes, into an empty one."""
    reader = sets.reader(job.targets[source], job.keys, manifest)
    tar.unpack(job, reader, manifest.components[COMPONENT][folder.archive], place, *UNPACK, by=by, hint=hint)
