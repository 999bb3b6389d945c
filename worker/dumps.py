"""The dump of one database: made and counted from one snapshot, and verified while it is stored."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from worker import containers, locks, postgres, sets, snapshots, tar
from worker.contract import FAILED
from worker.errors import Failed
from worker.job import Job
from worker.postgres import Row
from worker.quoting import connection

# Reads the whole dump, lists its entries, and prints the positions of its sequences. All in one shell, because a program takes
# longer to start than a small database takes to be read.
CHECK = """pg_restore -v -f /dev/null "$1" || exit
if LC_ALL=C grep -aq '^pg_restore: executing SEQUENCE SET ' "$2"; then
  pg_restore -l "$1" | LC_ALL=C grep -a ' SEQUENCE SET ' | pg_restore -L /dev/stdin -f - "$1"
fi
"""
ENTRIES = ("pg_restore: creating ", "pg_restore: processing data ", "pg_restore: executing ")
ATTEMPTS = 3
# The error of a pg_dump worker that cannot get the lock of its leader.
NO_LOCK = "could not obtain lock on relation"
SMALL, AT_ONCE = 256 << 20, 4
"""Bytes of databases that are staged together, and how many databases are dumped at a time."""
MOMENTS = 20
"""How many snapshots are held at once: each needs a session, and a server allows a hundred by default."""


def groups(sizes: dict[str, int]) -> Iterator[list[str]]:
    """Groups small databases that fit into the staging room together; large ones are alone."""
    group, room = list[str](), SMALL
    for name, size in sizes.items():
        if size >= SMALL:
            yield [name]
            continue
        if size > room or len(group) == MOMENTS:
            yield group
            group, room = [], SMALL
        group.append(name)
        room -= size
    if group:
        yield group


@dataclass(eq=False)
class Dump:
    """One database: dumped and counted from one snapshot, then verified while it is stored."""

    job: Job
    tools: containers.Tools
    database: Row
    moment: snapshots.Snapshot
    contents: Row = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.database["name"])

    @property
    def folder(self) -> Path:
        return self.job.staging / f"dump-{self.moment.name}"

    @property
    def log(self) -> str:
        return self.moment.name.lower()

    def make(self) -> None:
        """Dumps and counts; again from a later snapshot if somebody requested an exclusive lock meanwhile.

        A table that was truncated before pg_dump read it is empty in the dump, although the snapshot has its rows.
        """
        for attempts_left in reversed(range(ATTEMPTS)):
            try:
                self._dump()
                trouble = ", ".join(self.moment.rewritten()[:3])
                trouble = f"{trouble} was emptied or written anew during its dump" if trouble else ""
            except Failed as error:
                if locks.TIMEOUT in error.why:
                    raise locks.locked(self.job.server, self.name) from None
                if NO_LOCK not in error.why:
                    raise
                trouble = "somebody wanted a table for himself during its dump"
            self.moment.close()
            if not trouble:
                return
            failure = f"{self.database['name']}: {trouble}"
            if not attempts_left:
                raise Failed(FAILED, failure, f"{ATTEMPTS} times", "a backup.schedule at which that does not run")
            self.job.journal.say(f"{failure}: dumped again")
            shutil.rmtree(self.folder, ignore_errors=True)
            time.sleep(1)
            self.moment = snapshots.snapshot(self.job.server, self.database["name"])

    def _dump(self) -> None:
        configuration = self.job.postgres
        compress = "zstd:1" if configuration["major"] >= 16 else "1"
        # Each job needs a session, which takes time to start.
        jobs = configuration["jobs"] if self.database["bytes"] >= SMALL else 1
        moving = ["--load-via-partition-root"] if self.moment.moving() else []
        dump = self.tools.start(
            f"dump-{self.log}",
            *("pg_dump", "-Fd", "-j", str(jobs), "-Z", compress, f"--lock-wait-timeout={postgres.PATIENCE}s"),
            *(
                *moving,
                f"--snapshot={self.moment.name}",
                "-f",
                str(self.folder),
                "-d",
                connection(self.database["name"]),
            ),
        )
        tell = locks.saying(self.job.server, self.name, self.job.journal.say)

        def dumping() -> bool:
            tell()
            return dump.poll() is None

        try:
            self.contents = self.moment.contents(dumping)
        except BaseException:
            with suppress(Failed):  # its error has the same cause
                self.tools.finish(f"dump-{self.log}", dump)
            raise
        self.tools.finish(f"dump-{self.log}", dump)

    def check(self, writer: sets.PartWriter) -> tuple[tuple[sets.Part, ...], Row]:
        """Stores the dump while all of it is read, which finds a truncated or damaged dump."""
        name, size = self.database["name"], sum(file.stat().st_size for file in self.folder.iterdir())
        log = str(self.job.staging / f"check-{self.log}.log")
        check = self.tools.start(f"check-{self.log}", "sh", "-c", CHECK, "sh", str(self.folder), log)
        parts = writer.write(dump_of(name), _shown(self.job, tar.pack(self.folder.parent, self.folder.name), size))
        contents = self.tools.finish(f"check-{self.log}", check, postgres.codec(self.database["encoding"]))
        entries = sum(line.startswith(ENTRIES) for line in contents.splitlines())
        self.contents["sequences"] = snapshots.places(contents)
        if not entries and self.contents["rows"]:
            raise Failed(
                FAILED, f"the dump of {name} is empty", f"the database has {len(self.contents['rows'])} tables"
            )
        shutil.rmtree(self.folder)
        row = {"contents": self.contents, "entries": entries, "dump_bytes": size}
        return tuple(parts), {**row, "snapshot": self.moment.name, "position": self.moment.position}


def dump_of(name: str) -> str:
    """The stream of a database: a directory dump in a tar archive."""
    return f"pg/{sets.word(name)}.tar"


def _shown(job: Job, chunks: Iterator[bytes], expected: int) -> Iterator[bytes]:
    done = 0
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        job.journal.progress(done, max(done, expected))
