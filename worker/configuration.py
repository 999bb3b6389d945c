"""The deployed configuration in a set: packed, compared with the host's, and unpacked beside it. It is never installed."""

from __future__ import annotations

import difflib
import hashlib
import io
import os
import shutil
import stat
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker import sets, tar
from worker.job import STATE, Job
from worker.postgres import Row

FILES = "config/files.tar"
BESIDE = STATE / "configuration"
"""The folder with the files of the last restored set until `restore.cleanup`, for root only."""


def files(job: Job) -> list[Row]:
    """Every deployed file of this host with its mode, owner and digest, without the key to the sets."""
    rows = []
    for top in (path for path in job.config["paths"] if os.path.exists(path)):
        folders = sorted(Path(top).rglob("*")) if Path(top).is_dir() else [Path(top)]
        for path in (candidate for candidate in folders if candidate.is_file() and not candidate.is_symlink()):
            if str(path) == job.config["identity_file"]:
                continue
            status = path.stat()
            rows.append(
                {
                    "path": str(path),
                    "mode": f"{status.st_mode & 0o7777:04o}",
                    "uid": status.st_uid,
                    "gid": status.st_gid,
                    # Keyed with the stack's key: the manifest is not encrypted, and a plain hash would allow guessing a password.
                    "digest": job.keys.name(hashlib.sha256(path.read_bytes()).hexdigest()),
                }
            )
    return rows


def packed(job: Job, writer: sets.PartWriter) -> tuple[list[Row], dict[str, tuple[sets.Part, ...]]]:
    """The deployed files, with their secrets: their rows in the manifest, and their stream."""
    rows = files(job)
    parts = writer.write(FILES, tar.pack(Path("/"), *(str(row["path"]).lstrip("/") for row in rows)))
    return rows, {FILES: tuple(parts)}


def differences(job: Job, manifest: sets.Manifest) -> list[Row]:
    """The differences of this host's files from the set: `what` is gone, new, content or rights, as seen from the set."""
    was, now = ({row["path"]: row for row in rows} for rows in (manifest.config, files(job)))
    differing = []
    for path in sorted({*was, *now}):
        before, after = was.get(path), now.get(path)
        if not before or not after:
            differing.append({"path": path, "what": "gone" if before else "new"})
        elif before["digest"] != after["digest"]:
            differing.append({"path": path, "what": "content"})
        elif _rights(before) != _rights(after):
            differing.append({"path": path, "what": f"rights: {_rights(before)} in the set, {_rights(after)} here"})
    return differing


def _rights(row: Mapping[str, Any]) -> str:
    return f"{row['mode']} {row['uid']}:{row['gid']}"


def texts(job: Job, manifest: sets.Manifest, source: str) -> list[Row]:
    """The differences, with the changed lines of files that everybody may read: others may hold secrets."""
    differing = differences(job, manifest)
    if not any(row["what"] == "content" for row in differing):
        return differing
    open_to_all = {row["path"] for row in manifest.config if int(row["mode"], 8) & stat.S_IROTH}
    reader = sets.reader(job.targets[source], job.keys, manifest)
    data = b"".join(reader.read(manifest.components["config"][FILES]))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for row in (row for row in differing if row["what"] == "content"):
            path = Path(row["path"])
            if row["path"] not in open_to_all or not path.stat().st_mode & stat.S_IROTH:
                continue
            member = archive.extractfile(row["path"].lstrip("/"))
            before = member.read().decode(errors="replace").splitlines() if member else []
            after = path.read_text(errors="replace").splitlines()
            row["lines"] = list(difflib.unified_diff(before, after, "the set", "here", lineterm="", n=1))
    return differing


def lay_beside(job: Job, manifest: sets.Manifest, source: str) -> None:
    """Unpacks the set's files, with owners and modes, into a folder for a person to read; reports the differences."""
    if FILES not in manifest.components.get("config", {}):
        return
    clear()
    place = BESIDE / manifest.id
    BESIDE.mkdir(mode=0o700)
    place.mkdir()
    reader = sets.reader(job.targets[source], job.keys, manifest)
    tar.unpack(job, reader, manifest.components["config"][FILES], place, "--numeric-owner", "-p")
    number = len(differences(job, manifest))
    job.journal.say(
        f"configuration: {len(manifest.config)} files lie in {place}, none was installed;"
        + (f" {number} differ here: inv backup.diff {manifest.id}" if number else " this host has the same")
    )


def beside() -> list[str]:
    """The folder with files of a restored set, if it exists."""
    return [str(path) for path in BESIDE.glob("*")]


def clear() -> None:
    """Removes the folder with files of a restored set."""
    shutil.rmtree(BESIDE, ignore_errors=True)
