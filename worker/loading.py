"""Loads a fetched dump into a new database: in parallel, and if that fails, section after section in the order of the dump.

A parallel load takes tables in any order, and every load runs with an empty search_path. Some databases need more: a
foreign key between tables of an extension needs one of them first, a CHECK may call a function that reads another table
without its schema. Indexes, keys and triggers come after all data, so a failed table can be tried again after the others.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from worker import containers, postgres, properties, sets
from worker.comparison import Difference
from worker.errors import Failed
from worker.job import Job
from worker.quoting import connection

SERVERS = ("No space left on device", "server closed the connection", "terminating connection")
"""Failures of the server, which are no fault of the dump."""
FUTILE = (*SERVERS, "ablespace")
"""Failures that another order would not avoid."""
SERVERS_TEMPLATES = ("template0", "template1")
MISSING = "does not exist"
EVERYBODYS_PATH = '"$user", public'
"""PostgreSQL's default search_path."""
_NO_PATH = "SELECT pg_catalog.set_config('search_path', '', false);\n"
_HEAD = 1 << 16
"""The search_path is within these first bytes of a dump in one file."""
_ENTRY = re.compile(r"pg_restore: from TOC entry (\d+); \d+ \d+ (.*)")
_TABLE = re.compile(r"^(\d+); \d+ \d+ (TABLE DATA .*)$", re.M)
_DATA = 'pg_restore: processing data for table "'
_ERROR = re.compile(r"pg_restore: error: (?:could not execute query: )?(?:ERROR:  )?(.*)")


class Failure(NamedTuple):
    """An entry of a dump that could not be restored."""

    entry: int
    what: str
    why: str


def failures(output: str, tables: Sequence[tuple[str, str]] = ()) -> list[Failure]:
    """The entries that `pg_restore` could not restore, each with its first error.

    For rows of a table it does not name the entry: the table is known from the lines about its progress.
    """
    by_entry: dict[int, Failure] = {}
    entry, what, at = 0, "a statement", iter(tables)
    for line in output.splitlines():
        if match := _ENTRY.fullmatch(line):
            if int(match[1]) != entry:
                entry, what = int(match[1]), match[2]
        elif line.startswith(_DATA):
            number, what = next(at, ("0", "a table"))
            entry = int(number)
        elif match := _ERROR.fullmatch(line):
            by_entry.setdefault(entry, Failure(entry, what, match[1]))
    return list(by_entry.values())


class Loaded(NamedTuple):
    """A loaded database, whose statistics PostgreSQL still gathers."""

    lost: list[Difference]
    """The entries that could not be restored."""
    gathered: Callable[[], None]
    """Waits for the statistics. Until then a session keeps the database from being renamed."""


def load(
    job: Job,
    session: postgres.Connection,
    manifest: sets.Manifest,
    name: str,
    scratch: str,
    number: int,
    tools: containers.Tools,
    *,
    tablespaces: bool = True,
) -> Loaded:
    """Loads a fetched dump into a new database, with the properties of the database."""
    job.journal.say(f"loading {name} as {scratch}")
    (dump,) = (job.staging / f"set-{number}").iterdir()
    like = {**manifest.databases[name], "name": name}
    # A copy of `postgres` or a template beside it is an ordinary database.
    like["template"] = like["template"] and name not in SERVERS_TEMPLATES
    begun = time.monotonic()
    lost = _Loading(job, session, like, scratch, dump, tools, tablespaces).run()
    job.journal.say(f"loaded {name} in {time.monotonic() - begun:.1f} s")
    try:
        _report(job, properties.dress(session, scratch, like))
    except psycopg.Error as error:
        raise Failed(tools.code, f"{name} cannot get the settings and rights that it had", str(error).strip()) from None
    called, jobs = f"analyze-{number}", str(job.postgres["jobs"])
    gathering = tools.start(called, "vacuumdb", "--analyze-only", "-q", "-j", jobs, "-d", connection(scratch))

    def gathered() -> None:
        try:
            tools.finish(called, gathering)
        except Failed as error:
            # No row depends on statistics; autovacuum gathers them later.
            job.journal.say(f"{name}: statistics could not be gathered: {error.why}")

    return Loaded(lost, gathered)


def _report(job: Job, lines: Sequence[str]) -> None:
    """Reports properties that could not be restored."""
    for line in lines:
        job.journal.say(line)


@dataclass(frozen=True)
class _Loading:
    """The load of one database."""

    job: Job
    session: postgres.Connection
    like: dict[str, Any]
    scratch: str
    dump: Path
    tools: containers.Tools
    tablespaces: bool

    @property
    def name(self) -> str:
        return str(self.like["name"])

    def run(self) -> list[Difference]:
        """Loads the dump; gives the entries that could not be loaded in any way."""
        self._create()
        status, output = self._restore("-j", str(self.job.postgres["jobs"]), "--exit-on-error")
        if not status:
            return []
        why = "\n".join(output.splitlines()[-8:])
        if any(text in why for text in FUTILE):
            raise Failed(self.tools.code, f"{self.name} could not be loaded", why)
        self.job.journal.say(
            f"{self.name}: the parallel load failed, loading again, table after table: {_first(output)}"
        )
        wider = MISSING in why and self._search()
        lost = self._in_order()
        if not wider and any(MISSING in failure.why for failure in lost) and self._search():
            lost = self._in_order()
        if not lost:
            self.job.journal.say(f"{self.name}: all of it could be loaded in this way")
        return [Difference(f"{failure.what} could not be made", failure.why) for failure in lost]

    def _create(self) -> None:
        try:
            _report(self.job, properties.create(self.session, self.scratch, self.like))
        except psycopg.Error as error:
            raise Failed(self.tools.code, f"{self.name} cannot be made anew", str(error).strip()) from None

    def _search(self) -> bool:
        """Changes the dump to load with the search_path of the database's own sessions."""
        path = _path_of(self.like)
        exchanged = _exchange_path(self.dump, path)
        if exchanged:
            self.job.journal.say(f"{self.name}: something is not found, loading with the search_path {path}")
        return exchanged

    def _in_order(self) -> list[Failure]:
        """Loads into an empty database in order; data that failed is tried again as long as some of it succeeds."""
        postgres.drop(self.session, self.scratch)
        self._create()
        lost, data = self._section("pre-data"), self._section("data")
        while data:
            again = self._section("data", only=data)
            if len(again) >= len(data):
                break
            data = again
        return [*lost, *data, *self._section("post-data")]

    def _section(self, section: str, only: Sequence[Failure] = ()) -> list[Failure]:
        """Restores a section; gives the entries that failed."""
        wanted = [f"--section={section}"]
        if only:
            file = self.job.staging / "again"
            file.write_text("".join(f"{failure.entry};\n" for failure in only))
            self.job.hand_over(file)
            wanted += ["-L", str(file)]
        listed = self.tools.call("listed", "pg_restore", "-l", *wanted, str(self.dump))
        status, output = self._restore("-v", *wanted)
        if not status:
            return []
        failed = failures(output, _TABLE.findall(listed))
        if not failed or "errors ignored on restore" not in output:
            raise Failed(self.tools.code, f"{self.name} could not be loaded", "\n".join(output.splitlines()[-8:]))
        return failed

    def _restore(self, *how: str) -> tuple[int, str]:
        options = [*how, *([] if self.tablespaces else ["--no-tablespaces"])]
        started = self.tools.start("load", "pg_restore", *options, "-d", connection(self.scratch), str(self.dump))
        return self.tools.result("load", started, postgres.codec(str(self.like.get("encoding", "UTF8"))))


def _first(output: str) -> str:
    return next((failure.why for failure in failures(output)), output.strip().rpartition("\n")[2])


def _path_of(like: dict[str, Any]) -> str:
    """The search_path of the database's own sessions."""
    own = [setting for row in like["settings"] if row["role"] is None for setting in row["settings"] or ()]
    return next((setting.partition("=")[2] for setting in own if setting.startswith("search_path=")), EVERYBODYS_PATH)


def _exchange_path(dump: Path, path: str) -> bool:
    """Replaces the empty search_path in a dump; False if that is not possible.

    A table of contents has the length before each string. In a dump of one file it is followed by offsets into the
    file, so the replacement must have the same length.
    """
    folder = dump.is_dir()
    before, after = _text(_NO_PATH), _text(f"SET search_path = {path};".ljust(len(_NO_PATH) - 1) + "\n")
    with (dump / "toc.dat" if folder else dump).open("r+b") as toc:
        head = toc.read() if folder else toc.read(_HEAD)
        if head.count(before) != 1 or (len(after) > len(before) and not folder):
            return False
        at = head.index(before)
        toc.seek(at)
        toc.write(after + head[at + len(before) :])
    return True


def _text(text: str) -> bytes:
    """A string of the format: a sign, its length in four bytes, the lowest first, and its bytes."""
    data = text.encode()
    return b"\0" + len(data).to_bytes(4, "little") + data
