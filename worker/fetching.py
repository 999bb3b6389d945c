"""Reads a set before anything is changed: its dumps, its roles, and the room that they need."""

from __future__ import annotations

import json
import os

from worker import sets, tar
from worker.contract import RESTORE_REFUSED
from worker.databases import ROLES
from worker.dumps import dump_of
from worker.finding import LOCAL
from worker.job import Job
from worker.postgres import Row

GROWTH = 1.3
"""The room that a database may need while it is loaded, as a multiple of its final size."""


def dump_bytes(manifest: sets.Manifest, names: list[str]) -> int:
    """The bytes of the dumps in the staging directory; 0 for a file that was sent."""
    if manifest.id == LOCAL:
        return 0
    return sum(part.plain_bytes for name in names for part in manifest.components["postgres"][dump_of(name)])


def loaded_bytes(manifest: sets.Manifest, names: list[str]) -> int:
    """The bytes that the databases may need while they are loaded; for a file that was sent, only its own size is known."""
    return int(sum(manifest.databases[name]["bytes"] for name in names) * GROWTH)


def fetch(job: Job, manifest: sets.Manifest, source: str, names: list[str]) -> None:
    """Reads every part and compares its hashes, before anything is changed."""
    if manifest.id == LOCAL:
        path = job.staging / "set-0"
        path.mkdir(mode=0o700)
        os.replace(job.request.local, path / "dump")
        job.hand_over(path, path / "dump")
        # It has no checksum: it can only be checked that it can be read to its end.
        job.tools(RESTORE_REFUSED).alone("check", "pg_restore", "-f", "/dev/null", str(path / "dump"))
        return
    for name in names:
        job.journal.say(f"fetching {name}")
        folder = job.staging / f"set-{names.index(name)}"
        folder.mkdir(mode=0o700)
        tar.unpack(
            job,
            sets.reader(job.targets[source], job.keys, manifest),
            manifest.components["postgres"][dump_of(name)],
            folder,
            "--no-same-owner",
        )
        (dump,) = folder.iterdir()
        job.hand_over(folder, dump, *dump.iterdir())


def read_the_rest(job: Job, manifest: sets.Manifest, source: str, names: list[str]) -> None:
    """Checks the other parts as well: a damaged set is refused, unless databases were named."""
    reader, taken = sets.reader(job.targets[source], job.keys, manifest), {dump_of(name) for name in names}
    # Folders and buckets are only read when they are restored, as they may be much larger.
    others = ("services", "buckets")
    for streams in (named for component, named in manifest.components.items() if component not in others):
        for parts in (parts for stream, parts in streams.items() if stream not in taken):
            for _ in reader.read(parts):
                pass


def roles(job: Job, manifest: sets.Manifest, source: str) -> list[Row]:
    """The roles of a set; none for a dump made by hand."""
    if manifest.id == LOCAL:
        return []
    reader = sets.reader(job.targets[source], job.keys, manifest)
    return list(json.loads(b"".join(reader.read(manifest.components["postgres"][ROLES]))))
