"""A target that is a folder of another filesystem: a second drive, or a network mount."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

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
    checked,
    checked_prefix,
    fits,
    full,
    with_patience,
)

# Transient errors of a network filesystem; EIO of a disk is permanent.
TRANSIENT = {errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT, errno.ESTALE}


def device_of(path: str) -> int:
    return os.stat(path).st_dev


class PathTarget:
    """Each object is a file, under its final name only when all of it is on the disk.

    It is only written if its filesystem is neither that of / nor that of a path in `not_on`: in a container a folder of
    the host's own disk looks like a mount, so `not_on` has paths on that disk.
    """

    def __init__(
        self, name: str, path: str, not_on: Sequence[str] = (), device: Callable[[str], int] = device_of
    ) -> None:
        self.name, self._root, self._not_on, self._device = name, Path(path), ("/", *not_on), device

    def __repr__(self) -> str:
        return f"PathTarget({self.name}, {self._root})"

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        fits(self.name, checked(key), len(data))
        self._must_be_elsewhere()
        with self._plainly(f"{key} cannot be written", len(data)):
            with_patience(lambda: self._write(self._root / key, data, if_absent), _transient_write)

    def get(self, key: str) -> bytes:
        file = self._root / checked(key)
        with self._plainly(f"{key} cannot be read"):
            fits(self.name, key, file.stat().st_size)
            return with_patience(file.read_bytes, _transient)

    def stat(self, key: str) -> int | None:
        self._must_be_there()
        with self._plainly(f"{key} cannot be looked at"):
            try:
                return (self._root / checked(key)).stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                return None

    def list(self, prefix: str) -> Iterator[Entry]:
        self._must_be_there()
        folder = checked_prefix(prefix).rpartition("/")[0]
        with self._plainly(f"{prefix or '/'} cannot be listed"):
            # Sets that were copied to the host's own disk can be read; an empty folder there is a missing mount.
            if not any(self._root.iterdir()):
                self._must_be_mounted()
            yield from self._walk(folder, prefix)

    def delete(self, key: str) -> None:
        # A sweep also deletes keys of unfinished files.
        checked(key.removesuffix(PARTIAL))
        self._must_be_there()
        file = self._root / key
        with self._plainly(f"{key} cannot be deleted"):
            file.unlink(missing_ok=True)
        with suppress(OSError):
            for above in file.parents:
                if above == self._root:
                    break
                above.rmdir()

    def probe(self) -> Probe:
        return base.probe(self)

    def silent(self) -> tuple[str, ...]:
        return ()

    def room(self) -> Room | None:
        try:
            free = shutil.disk_usage(self._root).free
        except OSError:
            return None
        return Room(free, str(self._root), f"more room on the filesystem of {self._root}: df -h {self._root}")

    def check_rules(self) -> None:
        self._must_be_elsewhere()

    def _must_be_there(self) -> None:
        # An empty mount point must not look like a target without sets.
        if not self._root.is_dir():
            raise Failed(REFUSED, f"{self.name}: {self._root} is not there", hint=f"mount it: findmnt {self._root}")

    def _must_be_mounted(self) -> None:
        try:
            self._must_be_elsewhere()
        except Failed as error:
            hint = f"mount it: findmnt {self._root}"
            raise Failed(REFUSED, f"{self.name}: {self._root} is empty, and not mounted", error.why, hint) from None

    def _must_be_elsewhere(self) -> None:
        self._must_be_there()
        for other in self._not_on:
            try:
                same = self._device(str(self._root)) == self._device(other)
            except OSError as error:
                why = f"{other}: {error.strerror}"
                raise Failed(REFUSED, f"{self.name}: it cannot be told which disk it is on", why=why) from None
            if same:
                why = f"{self._root} is on the same filesystem as {other}"
                hint = f"is it mounted? findmnt -T {self._root}"
                raise Failed(REFUSED, f"{self.name}: a backup there would die with what it saves", why=why, hint=hint)

    def _write(self, file: Path, data: bytes, if_absent: bool) -> None:
        _make_folders(file.parent, self._root)
        # A unique name: another writer of the same key uses another file.
        unfinished = file.with_name(f"{file.name}.{secrets.token_hex(4)}{PARTIAL}")
        try:
            with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            if if_absent:
                os.link(unfinished, file)
                unfinished.unlink()
            else:
                unfinished.rename(file)
        except BaseException:
            with suppress(OSError):
                unfinished.unlink()
            raise
        _sync(file.parent)

    def _walk(self, folder: str, prefix: str) -> Iterator[Entry]:
        try:
            entries = sorted(os.scandir(self._root / folder), key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            key = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                if f"{key}/".startswith(prefix) or prefix.startswith(f"{key}/"):
                    yield from self._walk(key, prefix)
            elif key.startswith(prefix) and entry.is_file(follow_symlinks=False):
                # Another run may have deleted it since.
                with suppress(FileNotFoundError):
                    seen = entry.stat(follow_symlinks=False)
                    yield Entry(key, seen.st_size, datetime.fromtimestamp(seen.st_mtime, UTC))

    @contextmanager
    def _plainly(self, what: str, size: int = 0) -> Iterator[None]:
        try:
            yield
        except FileExistsError:
            raise Exists(FAILED, f"{self.name}: {what}", why="it is there already") from None
        except FileNotFoundError:
            raise Missing(FAILED, f"{self.name}: {what}", why="there is no such object") from None
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise full(self.name, size, self.room()) from None
            if error.errno == errno.EDQUOT:
                raise full(self.name, size, None, f"a larger quota for {self._root}: quota -s, as root") from None
            raise Failed(FAILED, f"{self.name}: {what}", why=error.strerror or str(error)) from None


def _transient(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in TRANSIENT


def _transient_write(error: Exception) -> bool:
    # A sweep may remove an empty folder before its first file is written.
    return _transient(error) or isinstance(error, FileNotFoundError)


def _make_folders(folder: Path, root: Path) -> None:
    if folder == root or folder.is_dir():
        return
    _make_folders(folder.parent, root)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
