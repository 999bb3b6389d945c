"""A target that is a folder behind SFTP: any Linux machine, any storage box."""

from __future__ import annotations

import posixpath
import queue
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

import paramiko

from worker.contract import FAILED, REFUSED
from worker.errors import Failed
from worker.targets import base
from worker.targets.base import (
    PARTIAL,
    Entry,
    Exists,
    Missing,
    Probe,
    Room,
    T,
    checked,
    checked_prefix,
    fits,
    full,
    with_patience,
)
from worker.targets.sftp_session import Session, broken, private_key, public_key

# The size of one SFTP read, and the bytes that are requested ahead.
PIECE, AHEAD = 1 << 15, 2 << 20


class Unexplained(Failed):
    """The server answered `Failure`, SFTP's only code for a full disk, a quota and much else."""


class SftpTarget:
    """Each object is a file, under its final name only when the server has all of it.

    A connection serves one request at a time, as Paramiko would mix up the answers; idle connections are kept.
    """

    def __init__(self, name: str, host: str, port: int, user: str, key: str, host_key: str, path: str) -> None:
        self.name, self._host, self._port, self._user, self._root = name, host, port, user, path.rstrip("/") or "/"
        self._key, self._host_key = private_key(name, key), public_key(name, host_key)
        self._idle: queue.LifoQueue[Session] = queue.LifoQueue()

    def __repr__(self) -> str:
        return f"SftpTarget({self.name}, {self._user}@{self._host}:{self._port}{self._root})"

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        fits(self.name, checked(key), len(data))
        try:
            self._ask(
                f"{key} cannot be written",
                lambda session: session.write(self._root, key, data, if_absent),
                _transient_write,
            )
        except Unexplained:
            if (room := self.room()) and room.free < len(data):
                raise full(self.name, len(data), room) from None
            raise

    def get(self, key: str) -> bytes:
        def read(session: Session) -> bytes:
            with session.sftp.open(self._at(checked(key)), "rb") as file:
                size = file.stat().st_size or 0
                fits(self.name, key, size)
                # Paramiko searches all open requests at each answer, which takes minutes for a whole part.
                data = b"".join(piece for ahead in _asked_for(size) for piece in file.readv(ahead))
            if len(data) != size:
                raise EOFError("the file ended early")
            return data

        return self._ask(f"{key} cannot be read", read)

    def stat(self, key: str) -> int | None:
        try:
            return self._ask(
                f"{key} cannot be looked at",
                lambda session: session.sftp.stat(self._at(key and checked(key))).st_size or 0,
            )
        except Missing:
            return None

    def list(self, prefix: str) -> Iterator[Entry]:
        folder = checked_prefix(prefix).rpartition("/")[0]
        return self._walk(folder, prefix)

    def delete(self, key: str) -> None:
        # A sweep also deletes keys of unfinished files.
        checked(key.removesuffix(PARTIAL))
        with suppress(Missing):
            self._ask(f"{key} cannot be deleted", lambda session: session.sftp.remove(self._at(key)))

        def tidy(session: Session) -> None:
            above = posixpath.dirname(key)
            # An error means that the folder is not empty, or that another run removed it.
            with suppress(OSError):
                while above:
                    session.sftp.rmdir(self._at(above))
                    above = posixpath.dirname(above)

        self._ask(f"{key} cannot be deleted", tidy)

    def probe(self) -> Probe:
        return base.probe(self)

    def silent(self) -> tuple[str, ...]:
        return ()

    def room(self) -> Room | None:
        try:
            free = self._ask("its room cannot be asked for", lambda session: session.sftp.free(self._root))
        except Failed:
            return None
        place = f"{self._root} on {self._host}"
        return None if free is None else Room(free, place, f"more room in {place}: df -h there")

    def check_rules(self) -> None:
        """A plain folder has no rules."""

    def _at(self, key: str) -> str:
        return posixpath.join(self._root, key) if key else self._root

    def _walk(self, folder: str, prefix: str) -> Iterator[Entry]:
        try:
            entries = self._ask(
                f"{folder or '/'} cannot be listed", lambda session: session.sftp.listdir_attr(self._at(folder))
            )
        except Missing:
            # A missing folder must not look like a target without sets: a share may not be mounted.
            if not folder or self.stat("") is None:
                raise Failed(REFUSED, f"{self.name}: there is no folder {self._root}", hint="make it") from None
            return
        for entry in sorted(entries, key=lambda entry: entry.filename):
            key = f"{folder}/{entry.filename}" if folder else entry.filename
            mode = entry.st_mode or 0
            if stat.S_ISDIR(mode):
                if f"{key}/".startswith(prefix) or prefix.startswith(f"{key}/"):
                    yield from self._walk(key, prefix)
            elif key.startswith(prefix) and stat.S_ISREG(mode):
                yield Entry(key, entry.st_size or 0, datetime.fromtimestamp(entry.st_mtime or 0, UTC))

    def _ask(
        self,
        what: str,
        act: Callable[[Session], T],
        transient: Callable[[Exception], bool] = broken,
    ) -> T:
        """The answer of the server; a broken connection is replaced by a new one."""

        def once() -> T:
            session = self._session()
            try:
                answer = act(session)
            except Exception as error:
                if broken(error) or not session.alive():
                    session.close()
                    # Paramiko has a dozen errors for a broken connection, one of them a bare OSError.
                    raise EOFError(str(error) or "the connection broke") from None
                self._idle.put(session)
                raise
            self._idle.put(session)
            return answer

        try:
            return with_patience(once, transient)
        except FileNotFoundError:
            raise Missing(FAILED, f"{self.name}: {what}", why="there is no such object") from None
        except FileExistsError:
            raise Exists(FAILED, f"{self.name}: {what}", why="it is there already") from None
        except (OSError, EOFError, paramiko.SSHException) as error:
            why = str(error) or type(error).__name__
            if why == "Failure":
                why = "the server says no more than Failure: is its disk full, or a quota?"
                raise Unexplained(FAILED, f"{self.name}: {what}", why=why) from None
            raise Failed(FAILED, f"{self.name}: {what}", why=why) from None

    def _session(self) -> Session:
        while True:
            try:
                session = self._idle.get_nowait()
            except queue.Empty:
                return Session(self.name, self._host, self._port, self._user, self._key, self._host_key)
            if session.alive():
                return session
            session.close()


def _transient_write(error: Exception) -> bool:
    # A sweep may remove an empty folder before its first file is written.
    return broken(error) or isinstance(error, FileNotFoundError)


def _asked_for(size: int) -> Iterator[list[tuple[int, int]]]:
    """Offsets and lengths for the reads of a file, in groups that are requested together."""
    for start in range(0, size, AHEAD):
        yield [(at, min(PIECE, size - at)) for at in range(start, min(start + AHEAD, size), PIECE)]
