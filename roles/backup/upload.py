"""Uploads from the operator's machine to a host: the archive of a set, or a dump made by hand."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converge.errors import REFUSED, Trouble
from converge.shell import quote
from converge.ssh.link import Link, connect
from converge.ui.waiting import waiting
from roles.backup import archive, given, runs
from roles.backup.configuration import settings_of
from worker.size import human

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

CHUNK = 1 << 20


def set_sent(host: Host[Settings], path: Path, stack: str) -> tuple[str, str]:
    """Sends a set that `inv backup.fetch` brought to the host, where it is a target for this one run; gives its place and id."""
    with tarfile.open(path, "r:") as tar:
        first = tar.next()
        assert first  # given.kind has read it
        id = first.name.removeprefix("./").partition("/")[0]
    there = f"{settings_of(host).staging}/{runs.new_id()}.set"
    place = quote(f"{there}/{stack}/sets")
    link = connect(host.target)
    try:
        _must_have_room(host, link, path)
        # The worker detects a damaged upload: the signed manifest has the hash of every part.
        status, out, err = _sent(
            host,
            link,
            path,
            f"umask 077; mkdir -p {place} && tar -C {place} --no-same-owner -xf - && cd {place} && "
            # The contents of objects are stored beside the sets on a target, but inside the archive.
            f"{{ [ ! -d {id}/blobs ] || mv {id}/blobs ..; }}",
        )
    finally:
        link.close()
    if status:
        taken_back(host, there)
        why = (err or out).decode(errors="replace")[-300:]
        raise Trouble(f"{path} did not arrive whole", host.name, why, "nothing was restored")
    return there, id


def dump_sent(host: Host[Settings], path: Path, databases: list[str]) -> str:
    """Sends a local file to the host, and gives its path there; both sides compute its SHA-256."""
    if len(databases) != 1:
        with path.open("rb") as file:
            head = archive.head(file.read(given.HEAD))
        assert head  # given.kind has read it
        raise Trouble(
            "a dump made by hand needs the name of its database",
            host.name,
            f"{path} is of the database {head.database} of PostgreSQL {head.server.partition(' ')[0]}, as it says",
            "nothing was sent",
            f"inv restore {quote(str(path))} --database {quote(head.database)} --host {host.name}",
            code=REFUSED,
        )
    digest = hashlib.sha256()
    folder = settings_of(host).staging
    there = f"{folder}/{runs.new_id()}.dump"
    link = connect(host.target)
    try:
        script = f"umask 077; cat >{quote(there)} && sha256sum <{quote(there)}"
        _must_have_room(host, link, path)
        status, out, err = _sent(host, link, path, script, digest)
        if status or out.decode().split()[:1] != [digest.hexdigest()]:
            link.send(f"rm -f {quote(there)}", iter(()))
            why = (err or out).decode(errors="replace")[-300:]
            raise Trouble(f"{path} did not arrive whole", host.name, why, "nothing was restored")
    finally:
        link.close()
    return there


def _sent(host: Host[Settings], link: Link, path: Path, script: str, digest: Any = None) -> tuple[int, bytes, bytes]:
    """Sends a file to a script on the host, hashed on the way."""
    done = 0

    def chunks() -> Iterator[bytes]:
        nonlocal done
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                if digest:
                    digest.update(chunk)
                done += len(chunk)
                yield chunk

    with waiting(lambda: f"{host.name}: {human(done)} of {human(path.stat().st_size)} sent"):
        return link.send(script, chunks())


def _must_have_room(host: Host[Settings], link: Any, path: Path) -> None:
    """Refuses a file that does not fit, before it fills the disk of the host."""
    staging, size = settings_of(host).staging, path.stat().st_size
    status, out, _ = link.send(f"df -B1 --output=avail {quote(staging)} | tail -n 1", iter(()))
    free = int(out) if not status and out.strip().isdigit() else size
    if free < size:
        raise Trouble(
            f"there is no room for {path}",
            host.name,
            f"it has {human(size)}, and {human(free)} are free in {staging}, the backup.staging of this host",
            "nothing was sent",
            f"inv restore.cleanup --host {host.name}, which drops what restores have kept;"
            " or a backup.staging on a larger filesystem",
            code=REFUSED,
        )


def taken_back(host: Host[Settings], there: str) -> None:
    """Removes an uploaded dump that is not restored: it is a database in clear."""
    if not there:
        return
    # The broken connection is the error to report; the next run removes uploads that are a day old.
    with suppress(Trouble):
        link = connect(host.target)
        link.send(f"rm -rf {quote(there)}", iter(()))
        link.close()
