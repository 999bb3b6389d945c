"""The argument of `inv restore`: a set, a dump, or another file, which is refused with what to do instead."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import stat
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from converge.errors import ERROR, REFUSED, Trouble, for_host
from converge.shell import quote
from roles.backup import archive
from roles.postgres.role import settings_of
from worker.contract import ID

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

HEAD = 1 << 12
"""Bytes at the beginning of a file that show its kind."""
SET, DUMP, NONE = "set", "dump", ""
"""What can be restored: an archive with a set, a dump of one database, or the name of a set that is no local file."""
AGAIN = "pg_dump -Fc -f app.dump app"
BY_HAND = "docs/restore-by-hand.md, or a dump in the custom format: " + AGAIN
PLAIN = f"docs/runbook.md, A dump that is plain SQL; or once more: {AGAIN}"


class Kind(NamedTuple):
    """A kind of file that cannot be restored: what it is, why not, and what to type instead."""

    what: str
    why: str
    instead: str


BEGINS = {
    b"age-encryption.org/v1": Kind(
        "is encrypted with age",
        "a part of a set is restored with its set, by its id; another file has to be decrypted first",
        "inv backup.list; or age -d -i IDENTITY {path} >app.dump, then inv restore app.dump --database NAME",
    ),
    b"SQLite format 3\0": Kind("is a database of SQLite", "PostgreSQL does not read it", AGAIN),
    b"PK\x03\x04": Kind("is a zip archive", "what it holds has to be taken out first", "unzip {path}"),
    b"\x28\xb5\x2f\xfd": Kind("is compressed with zstd", "it has to be unpacked first", "zstd -d {path}"),
    b"\x04\x22\x4d\x18": Kind("is compressed with lz4", "it has to be unpacked first", "lz4 -d {path}"),
    b"7z\xbc\xaf\x27\x1c": Kind("is a 7z archive", "what it holds has to be taken out first", "7z x {path}"),
    b"\xff\xfeP\0G\0D\0M\0P\0": Kind(
        "was changed by PowerShell, whose > writes other bytes than it gets",
        "a dump that went through it is lost",
        AGAIN,
    ),
    b"\xff\xfe": Kind("is text in UTF-16", "PowerShell's > writes it; no dump has it", AGAIN),
}
BEGINS[b"-----BEGIN AGE ENCRYPTED FILE-----"] = BEGINS[b"age-encryption.org/v1"]
NO_END = "a file of plain SQL that was cut off looks like a whole one"
TEXTS = {
    "PostgreSQL database cluster dump": Kind(
        "is plain SQL of pg_dumpall, with all databases and roles",
        "it says DROP and CREATE of names that are live, and a file that was cut off looks like a whole one",
        f"for each database: {AGAIN}; or docs/runbook.md, A dump that is plain SQL",
    ),
    "PostgreSQL database dump": Kind("is plain SQL of pg_dump", NO_END, PLAIN),
    "-- MySQL dump": Kind("is a dump of MySQL", "PostgreSQL does not read it", AGAIN),
    "-- MariaDB dump": Kind("is a dump of MariaDB", "PostgreSQL does not read it", AGAIN),
    "/*M!": Kind("is a dump of MariaDB", "PostgreSQL does not read it", AGAIN),
    "PRAGMA foreign_keys": Kind("is a dump of SQLite", "PostgreSQL does not read it", AGAIN),
    "<?xml": Kind("is XML, as a server answers instead of a file", "the download of it failed", "look into {path}"),
    "<!doctype html": Kind("is a web page", "the download of it failed", "look into {path}"),
    "<html": Kind("is a web page", "the download of it failed", "look into {path}"),
}
NO_PARTS = "it is the list of the set's parts, not the parts"
STATEMENTS = ("create ", "insert ", "begin;", "set ", "copy ", "drop ", "alter ", "update ", "\\connect ", "select ")
OPENERS: dict[bytes, tuple[str, str, Callable[..., Any]]] = {
    b"\x1f\x8b": ("gzip", "gunzip -k {path}", gzip.open),
    b"BZh": ("bzip2", "bunzip2 -k {path}", bz2.open),
    b"\xfd7zXZ\0": ("xz", "unxz -k {path}", lzma.open),
}
"""Compressed files: their first bytes, the command to unpack them, and how to read them here."""
SPECIAL = (
    (stat.S_ISFIFO, "is a pipe", "a dump is read more than once, and a pipe gives it once"),
    (stat.S_ISCHR, "is a device", "it has no end"),
    (stat.S_ISBLK, "is a disk", "a dump is a file"),
    (stat.S_ISSOCK, "is a socket", "a dump is a file"),
)


def kind(text: str, host: Host[Settings]) -> str:
    """Whether an argument is a set's archive, a dump that can be restored, or no local file. All else is refused."""
    if text == "latest" or ID.fullmatch(text):
        return NONE  # even if this folder has a file of that name
    path = Path(text).expanduser()
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            gone = Kind(f"is a link to {path.readlink()}, which is not there", "", f"ls -l {quote(str(path.parent))}")
            raise _refused(path, gone, host, ERROR) from None
        return NONE
    except (OSError, ValueError) as error:
        raise _unreadable(path, error, host) from None
    for is_one, what, why in SPECIAL:
        if is_one(mode):
            raise _refused(path, Kind(what, why, f"write it into a file first: {AGAIN}"), host)
    try:
        verdict = _directory(path) if stat.S_ISDIR(mode) else _file(path, settings_of(host).major)
    except OSError as error:
        raise _unreadable(path, error, host) from None
    if isinstance(verdict, Kind):
        raise _refused(path, verdict, host)
    return verdict


def missing(text: str, host: Host[Settings]) -> Trouble:
    """The error for an argument that is neither a local file nor the name of a set."""
    return Trouble(
        f"there is no file {text} on this machine, and it names no set",
        why="a set is named by its id, such as 20261121T020000Z-a1b2c3, by the key of one of its objects, or latest",
        untouched="nothing was sent or changed",
        hint=f"inv backup.list --host {host.name}",
    )


def _unreadable(path: Path, error: Exception, host: Host[Settings]) -> Trouble:
    why = error.strerror if isinstance(error, OSError) else str(error)
    return _refused(path, Kind("cannot be read", f"{why}", "ls -l {path}"), host, ERROR)


def _refused(path: Path, refusal: Kind, host: Host[Settings], code: int = REFUSED) -> Trouble:
    hint = for_host(refusal.instead.replace("{path}", quote(str(path))), host.name)
    return Trouble(f"{path} {refusal.what}", host.name, refusal.why, "nothing was sent or changed", hint, code)


def _directory(path: Path) -> Kind:
    if (path / "toc.dat").is_file():
        way = f"pg_restore -d NAME {{path}}, into an empty database; or one file: {AGAIN}"
        return Kind("is a dump in the directory format", "a restore takes one file", way)
    if (path / "PG_VERSION").is_file():
        return Kind("is the data directory of a server", "a restore takes a dump of one database", BY_HAND)
    if (path / "manifest.json").is_file() or any(path.glob("*/manifest.json")):
        return Kind(
            "is a set that was taken out of its archive",
            "a restore takes the archive itself, which inv backup.fetch wrote",
            "tar -cf ID.tar ID in the folder that holds the folder ID, then inv restore ID.tar",
        )
    return Kind("is a directory", "a restore takes a file, latest, or the id of a set", "inv backup.list")


def _file(path: Path, major: int) -> Kind | str:
    with path.open("rb") as file:
        data = file.read(HEAD)
    if not data:
        return Kind("is empty", "the dump that should have written it has failed", AGAIN)
    if not data.strip(b"\0"):
        return Kind("begins with nothing but zeros", "it is no dump; a disk may have lost what was in it", AGAIN)
    if data.startswith(archive.MAGIC):
        return _dump(data, major)
    for begin, (name, unpack, opened) in OPENERS.items():
        if data.startswith(begin):
            return _compressed(path, major, name, unpack, opened)
    if data.startswith(b'{"mac":') and b'"manifest":' in data:
        return _manifest(path)
    if tarfile.is_tarfile(path):
        return _tar(path)
    return _other(data)


def _dump(data: bytes, major: int) -> Kind | str:
    head = archive.head(data)
    if head is None:
        return Kind("begins like a dump and is cut off, or not one", "its head cannot be read", AGAIN)
    if not head.custom:
        return Kind("is the list of a dump in the directory format, without its rows", "", BY_HAND)
    if head.major > major:
        why = f"the server is PostgreSQL {major}, and a dump does not go back to an older one"
        way = f"name an image of PostgreSQL {head.major}, then inv deploy"
        return Kind(f"is a dump of PostgreSQL {head.major}", why, way)
    return DUMP


def _compressed(path: Path, major: int, name: str, unpack: str, opened: Callable[..., Any]) -> Kind:
    """Looks into a compressed file, to say what to do once it is unpacked."""
    try:
        with opened(path) as file:
            data = file.read(HEAD)
    except (OSError, EOFError, lzma.LZMAError):
        return Kind(f"begins like {name}, and cannot be unpacked", "it is damaged or cut off", AGAIN)
    what = f"is compressed with {name}"
    if not data:
        return Kind(f"{what}, and there is nothing in it", "the dump that should have written it has failed", AGAIN)
    inner = _dump(data, major) if data.startswith(archive.MAGIC) else NONE
    if inner == DUMP:
        way = f"{unpack}, then inv restore {quote(str(path.with_suffix('')))} --database NAME"
        return Kind(f"{what}, a dump is in it", "it has to be unpacked first", way)
    if data[257:262] == b"ustar":
        return Kind(f"{what}, a tar archive is in it", "it has to be unpacked first", unpack)
    unpacked = inner if isinstance(inner, Kind) else _other(data)
    return Kind(f"{what}; what is in it {unpacked.what}", unpacked.why, unpacked.instead)


def _tar(path: Path) -> Kind | str:
    names: list[str] = []
    with suppress(tarfile.TarError, OSError), tarfile.open(path, "r:") as tar:
        for member in tar:  # as far as it can be read
            names.append(member.name.removeprefix("./"))
    tops = {name.partition("/")[0] for name in names}
    id = next(iter(tops)) if len(tops) == 1 else ""
    if ID.fullmatch(id):
        if f"{id}/manifest.json" in names:
            return SET
        why = f"it begins with {id}, and is cut off: the manifest comes last"
        return Kind("holds no whole set", why, f"inv backup.fetch {id} FOLDER")
    if not names:
        return Kind(
            "holds no whole set", "it is a tar archive that is cut off or damaged", "inv backup.fetch ID FOLDER"
        )
    if "toc.dat" in names:
        way = f"pg_restore -d NAME {{path}}, into an empty database; or {AGAIN}"
        return Kind("is a dump in the tar format", "a restore takes the custom format", way)
    if any(name.endswith("/toc.dat") for name in names):
        return Kind("is a tar archive with a dump in the directory format", "a restore takes one file", BY_HAND)
    if {"PG_VERSION", "base"} & tops:
        return Kind("is a tar archive of a server's data directory", "a restore takes a dump of one database", BY_HAND)
    examples = ", ".join(sorted(tops)[:3]) + (" and more" if len(tops) > 3 else "")
    return Kind(
        "is a tar archive that holds no set", f"in it are {examples}", "tar -xf {path}, then restore the dump in it"
    )


def _other(data: bytes) -> Kind:
    for begin, refusal in BEGINS.items():
        if data.startswith(begin):
            return refusal
    # The bytes that were read may end within a character.
    text = data.decode("utf-8-sig", "ignore").lower()
    if b"\0" in data or len(text.encode()) < len(data) - 8:
        return Kind("is no dump of PostgreSQL", "its first bytes are of no kind that is known here", AGAIN)
    for beginning, refusal in TEXTS.items():
        if beginning.lower() in text[:512]:
            return refusal
    if text.lstrip().startswith(STATEMENTS):
        return Kind("is plain SQL", NO_END, PLAIN)
    return Kind("is text, and no dump", "", AGAIN)


def _manifest(path: Path) -> Kind:
    """The refusal of a manifest alone, complete or cut off."""
    with suppress(ValueError, KeyError, TypeError):
        id = str(json.loads(path.read_bytes())["manifest"]["id"])
        return Kind(f"is the manifest of the set {id}", NO_PARTS, f"inv restore {id}")
    return Kind("is the manifest of a set, and is cut off", NO_PARTS, "inv backup.list")
