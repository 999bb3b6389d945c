"""Files given to `inv restore`: each kind is recognised, with what to do instead."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import struct
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from converge.errors import ERROR, REFUSED, Trouble
from roles.backup import archive, given, restore, upload

ID = "20261121T020000Z-a1b2c3"
HOST = SimpleNamespace(name="prod", settings=SimpleNamespace(postgres=SimpleNamespace(major=17)))


def dump(server: str = "17.12 (Debian)", format: int = 1, version: int = 16) -> bytes:
    """The header of a dump, in pg_dump's format 1.15 or an older one."""

    def number(value: int) -> bytes:
        return struct.pack("<Bi", 0, value)

    def word(text: str) -> bytes:
        return number(len(text)) + text.encode()

    compression = b"\x01" if version >= 15 else number(-1 & 0x7FFFFFFF)
    head = b"PGDMP" + bytes([1, version, 0, 4, 8, format]) + compression
    return head + b"".join(map(number, (1, 2, 3, 4, 5, 126, 0))) + word("app") + word(server) + word("17.12") + b"rows"


def tar(*names: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 5000
            made.addfile(member, io.BytesIO(bytes(5000)))
    return out.getvalue()


SQL = b"--\n-- PostgreSQL database dump\n--\n\nSET statement_timeout = 0;\n"
ALL = b"--\n-- PostgreSQL database cluster dump\n--\n"
KINDS = {
    "empty": (b"", "is empty", "pg_dump -Fc"),
    "random": (bytes(range(128, 256)) * 40, "is no dump of PostgreSQL", "pg_dump -Fc"),
    "zeros": (bytes(9000), "nothing but zeros", "pg_dump -Fc"),
    "dump.gz": (gzip.compress(dump()), "is compressed with gzip, a dump is in it", "gunzip -k "),
    "sql.gz": (gzip.compress(SQL), "compressed with gzip; what is in it is plain SQL of pg_dump", "plain SQL"),
    "sql.bz2": (bz2.compress(SQL), "compressed with bzip2; what is in it is plain SQL of pg_dump", "plain SQL"),
    "sql.xz": (lzma.compress(ALL), "compressed with xz; what is in it is plain SQL of pg_dumpall", "plain SQL"),
    "old.gz": (gzip.compress(dump("18.1")), "what is in it is a dump of PostgreSQL 18", "PostgreSQL 18"),
    "cut.gz": (gzip.compress(os.urandom(9000))[:60], "begins like gzip, and cannot be unpacked", "pg_dump"),
    "empty.gz": (gzip.compress(b""), "there is nothing in it", "pg_dump -Fc"),
    "set.tar.gz": (gzip.compress(tar(f"{ID}/manifest.json")), "gzip, a tar archive is in it", "gunzip -k "),
    "sql.zst": (b"\x28\xb5\x2f\xfd" + SQL, "is compressed with zstd", "zstd -d "),
    "dump.zip": (b"PK\x03\x04" + SQL, "is a zip archive", "unzip "),
    "part.age": (b"age-encryption.org/v1\n-> X25519 abc\n", "is encrypted with age", "age -d -i IDENTITY "),
    "manifest.json": (
        b'{"mac":"x","manifest":{"components":{},"id":"' + ID.encode() + b'"}}',
        f"is the manifest of the set {ID}",
        f"inv restore --host prod {ID}",
    ),
    "app.sql": (SQL, "is plain SQL of pg_dump", "A dump that is plain SQL"),
    "all.sql": (ALL, "is plain SQL of pg_dumpall", "A dump that is plain SQL"),
    "mysql.sql": (b"-- MySQL dump 10.13  Distrib 8\n", "is a dump of MySQL", "pg_dump -Fc"),
    "maria.sql": (b"/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump 10", "is a dump of MariaDB", "pg_dump"),
    "lite.db": (b"SQLite format 3\0" + bytes(90), "is a database of SQLite", "pg_dump -Fc"),
    "some.sql": (b"CREATE TABLE a (b int);\n", "is plain SQL", "A dump that is plain SQL"),
    "notes.txt": ("größer\n".encode() * 900, "is text, and no dump", "pg_dump -Fc"),
    "error.xml": (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied', "as a server answers", "look into "),
    "windows.dump": (b"\xff\xfe" + "PGDMP\1".encode("utf-16-le"), "was changed by PowerShell", "pg_dump -Fc -f"),
    "toc.dat": (dump(format=3), "is the list of a dump in the directory format", "restore-by-hand"),
    "cut.dump": (dump()[:30], "begins like a dump and is cut off", "pg_dump -Fc"),
    "new.dump": (dump("18.1"), "is a dump of PostgreSQL 18", "image of PostgreSQL 18"),
    "tar.dump": (tar("toc.dat", "3421.dat"), "is a dump in the tar format", "pg_dump -Fc"),
    "folder.tar": (tar("app/toc.dat", "app/3421.dat.gz"), "with a dump in the directory format", "pg_dump -Fc"),
    "base.tar": (tar("PG_VERSION", "base/1/1"), "of a server's data directory", "pg_dump -Fc"),
    "other.tar": (tar("a/b", "c"), "is a tar archive that holds no set", "tar -xf "),
    "cut.tar": (
        tar(f"{ID}/pg/app.tar.00000", f"{ID}/pg/app.tar.00001")[:9000],
        "holds no whole set",
        f"inv backup.fetch --host prod {ID} FOLDER",
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_of_file_that_is_not_restored_is_named_and_told_what_to_do_instead(tmp_path: Path, name: str) -> None:
    data, what, instead = KINDS[name]
    file = tmp_path / name
    file.write_bytes(data)
    with pytest.raises(Trouble, match=re.escape(what)) as caught:
        given.kind(str(file), HOST)
    assert (caught.value.code, caught.value.where) == (REFUSED, "prod")
    assert instead in caught.value.hint
    assert "nothing was sent" in caught.value.untouched
    assert caught.value.what.startswith(str(file))


def test_no_two_kinds_have_the_same_words() -> None:
    assert len({what for _, what, _ in KINDS.values()}) == len(KINDS)


def test_what_can_be_restored_is_a_set_or_a_dump_also_of_an_older_server(tmp_path: Path) -> None:
    for name, data, kind in (
        ("a.dump", dump(), given.DUMP),
        ("old.dump", dump("13.4", version=14), given.DUMP),
        ("a.tar", tar(f"{ID}/pg/app.tar.00000", f"{ID}/manifest.json"), given.SET),
    ):
        (tmp_path / name).write_bytes(data)
        (tmp_path / f"link-{name}").symlink_to(tmp_path / name)
        assert given.kind(str(tmp_path / name), HOST) == kind
        assert given.kind(str(tmp_path / f"link-{name}"), HOST) == kind
    assert archive.head(dump("13.4", version=14)) == archive.Head(True, "app", "13.4", "17.12")


def test_what_is_no_file_at_all_is_named_and_never_waited_for(tmp_path: Path, monkeypatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "dump").mkdir()
    (tmp_path / "dump/toc.dat").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/PG_VERSION").touch()
    (tmp_path / ID).mkdir()
    (tmp_path / ID / "manifest.json").touch()
    for path, what in (
        (tmp_path / "pipe", "is a pipe"),
        (Path("/dev/zero"), "is a device"),
        (tmp_path / "nowhere", "is a link to "),
        (tmp_path, "is a set that was taken out of its archive"),
        (tmp_path / "dump", "is a dump in the directory format"),
        (tmp_path / "data", "is the data directory of a server"),
        (tmp_path / ID, "is a set that was taken out of its archive"),
    ):
        with pytest.raises(Trouble, match=what) as caught:
            given.kind(str(path), HOST)
        assert caught.value.hint


def test_a_file_that_may_not_be_read_is_no_missing_one(tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "secret.dump"
    file.write_bytes(dump())

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(Trouble, match="cannot be read") as caught:
        given.kind(str(file), HOST)
    assert (caught.value.why, caught.value.code) == ("Permission denied", ERROR)


def test_a_set_is_meant_by_its_name_whatever_lies_in_this_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("latest", ID):
        Path(name).write_bytes(b"")
        assert given.kind(name, HOST) == given.NONE


def test_what_is_neither_a_file_nor_a_set_is_told_as_both(tmp_path: Path, capsys) -> None:
    with pytest.raises(Trouble, match=r"there is no file app\.dump on this machine, and it names no set"):
        restore._named(HOST, "app.dump")
    assert restore._named(HOST, f"~/{ID}.tar") == ID
    assert "is no file of this machine; the set" in capsys.readouterr().out


def test_a_dump_without_the_name_of_a_database_is_told_what_it_says_of_itself(tmp_path: Path) -> None:
    file = tmp_path / "a b.dump"
    file.write_bytes(dump())
    with pytest.raises(Trouble, match="needs the name of its database") as caught:
        upload.dump_sent(HOST, file, [])
    assert "of the database app of PostgreSQL 17.12, as" in caught.value.why
    assert caught.value.hint == f"inv restore '{file}' --database app --host prod"


@pytest.mark.parametrize(("free", "refused"), [(b"9\n", True), (b"999999\n", False), (b"", False)])
def test_a_file_that_does_not_fit_is_refused_before_it_fills_the_host(
    tmp_path: Path, free: bytes, refused: bool
) -> None:
    file = tmp_path / "a.dump"
    file.write_bytes(dump())
    link = SimpleNamespace(send=lambda script, chunks: (0, free, b""))
    host = SimpleNamespace(name="prod", settings=SimpleNamespace(backup=SimpleNamespace(staging="/srv/staging")))
    if not refused:
        upload._must_have_room(host, link, file)
        return
    with pytest.raises(Trouble, match="there is no room for ") as caught:
        upload._must_have_room(host, link, file)
    assert "9 B are free in /srv/staging" in caught.value.why
    assert "inv restore.cleanup --host prod" in caught.value.hint
