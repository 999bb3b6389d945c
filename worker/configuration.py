"""The deployed configuration in a set: packed, compared with the host's, and laid beside it. Nothing of it is ever installed."""

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
"""Where the files of the last restored set lie until `restore.cleanup`, for root alone."""


def files(job: Job) -> list[Row]:
    """Every deployed file of this host with its mode, its owner and a digest; not the key to the sets."""
    found = []
    for top in (path for path in job.config["paths"] if os.path.exists(path)):
        folders = sorted(Path(top).rglob("*")) if Path(top).is_dir() else [Path(top)]
        for path in (one for one in folders if one.is_file() and not one.is_symlink()):
            if str(path) == job.config["identity_file"]:
                continue
            told = path.stat()
            found.append(
                {
                    "path": str(path),
                    "mode": f"{told.st_mode & 0o7777:04o}",
                    "uid": told.st_uid,
                    "gid": told.st_gid,
                    # With the stack's key: the manifest is not encrypted, and a plain hash of a password can be guessed at.
                    "digest": job.keys.name(hashlib.sha256(path.read_bytes()).hexdigest()),
                }
            )
    return found


def packed(job: Job, writer: sets.PartWriter) -> tuple[list[Row], dict[str, tuple[sets.Part, ...]]]:
    """What was deployed, with its secrets: the files as the manifest tells them, and their stream."""
    found = files(job)
    parts = writer.write(FILES, tar.pack(Path("/"), *(str(one["path"]).lstrip("/") for one in found)))
    return found, {FILES: tuple(parts)}


def differences(job: Job, manifest: sets.Manifest) -> list[Row]:
    """Where this host's files are not the set's: `what` is gone, new, content or rights, all as seen from the set."""
    was, now = ({one["path"]: one for one in some} for some in (manifest.config, files(job)))
    found = []
    for path in sorted({*was, *now}):
        before, after = was.get(path), now.get(path)
        if not before or not after:
            found.append({"path": path, "what": "gone" if before else "new"})
        elif before["digest"] != after["digest"]:
            found.append({"path": path, "what": "content"})
        elif _rights(before) != _rights(after):
            found.append({"path": path, "what": f"rights: {_rights(before)} in the set, {_rights(after)} here"})
    return found


def _rights(one: Mapping[str, Any]) -> str:
    return f"{one['mode']} {one['uid']}:{one['gid']}"


def texts(job: Job, manifest: sets.Manifest, source: str) -> list[Row]:
    """The differences with the lines that changed, of files that everybody may read: the others may hold secrets."""
    found = differences(job, manifest)
    if not any(one["what"] == "content" for one in found):
        return found
    open_to_all = {one["path"] for one in manifest.config if int(one["mode"], 8) & stat.S_IROTH}
    reader = sets.reader(job.targets[source], job.keys, manifest)
    data = b"".join(reader.read(manifest.components["config"][FILES]))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for one in (one for one in found if one["what"] == "content"):
            path = Path(one["path"])
            if one["path"] not in open_to_all or not path.stat().st_mode & stat.S_IROTH:
                continue
            member = archive.extractfile(one["path"].lstrip("/"))
            before = member.read().decode(errors="replace").splitlines() if member else []
            after = path.read_text(errors="replace").splitlines()
            one["lines"] = list(difflib.unified_diff(before, after, "the set", "here", lineterm="", n=1))
    return found


def lay_beside(job: Job, manifest: sets.Manifest, source: str) -> None:
    """The set's files, with their owners and modes, where nothing reads them but a person; says what differs here."""
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
    """What a restore laid beside and nobody has cleared away."""
    return [str(path) for path in BESIDE.glob("*")]


def clear() -> None:
    """Takes away what a restore laid beside."""
    shutil.rmtree(BESIDE, ignore_errors=True)
