"""docs/restore-by-hand.md, run word for word: its blocks open a set that the worker's own code wrote."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from worker import listing, sets
from worker.buckets import index, packs
from worker.buckets.blobs import Blobs
from worker.keys import Keys
from worker.targets import PathTarget

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/restore-by-hand.md"
ID = "20261121T020000Z-a1b2c3"
SMALL = 1500
CONFIGURATION = {"etc/fstab": b"LABEL=drive1 /mnt/drive1\n", "etc/stowage/postgres/secrets/password": b"secret\n"}


def steps() -> dict[str, str]:
    """The blocks of the document by their heading, such as `1. Say where things are`."""
    blocks = {}
    for part in DOCUMENT.read_text().split("\n## ")[1:]:
        if block := re.search(r"^```sh\n(.*?)^```$", part, re.MULTILINE | re.DOTALL):
            blocks[part.partition("\n")[0]] = block[1]
    return blocks


def told_where(block: str, **places: Path | str) -> str:
    """The first block with other paths; each variable must be in it."""
    for name, place in places.items():
        block, count = re.subn(rf"(?m)^{name}=\S+", f"{name}={place}", block)
        assert count == 1, name
    return block


def new_identity() -> str:
    return subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout


def tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o600
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def dump(name: str) -> dict[str, bytes]:
    """Files like those of pg_dump -Fd, for more than ten parts."""
    return {
        f"dump-00000011-0000000{len(name)}-1/{file}": (name * 3000).encode() for file in ("toc.dat", "3001.dat.zst")
    }


def folder(place: Path) -> dict[str, bytes]:
    """The streams of a service's folder; one file changed while it was packed."""
    live, index = place / "app", place / "index"
    (live / "sub").mkdir(parents=True)
    (live / "a  b").write_text("once")
    (live / "sub/link").symlink_to("nowhere")
    rows, data = listing.Listing({}), b""
    for arguments in ((".",), ("--no-recursion", "./a  b")):
        data += subprocess.run(
            ["tar", "-C", str(live), *listing.OPTIONS, f"--index-file={index}", "-cf", "-", *arguments],
            capture_output=True,
            check=True,
        ).stdout
        rows = listing.Listing({**rows.rows, **listing.Listing.parse(index.read_text()).rows})
        (live / "a  b").write_text("twice")
        os.utime(live / "a  b", ns=(0, 1_700_000_000_123_456_780))  # tar fills up a time that ends in 0
    return {"services/app/%2Fapp.tar": data, "services/app/%2Fapp.list": rows.text()}


OBJECTS = {"a b/ü": b"small", "a b/empty": b"", "large": bytes(range(256)) * 5000}
OLD = b"what large was before"


def bucket(keys: Keys, writer: sets.PartWriter) -> dict[str, bytes]:
    """The streams of a bucket: small objects in a pack, a large one in parts, an older version and a delete marker."""
    contents = Blobs("prod", keys, writer)
    pack = packs.Pack(
        lambda number: "ab" * 32, lambda name, data, held: contents.put(packs.compressed(data), name) and None
    )
    rows: list[dict[str, object]] = [
        {"key": "a b", "id": "1", "latest": True, "unreadable": "SSE-C"},
        {"key": "dir/", "id": "1", "latest": True, "pack": "", "sha256": ""},
        {"key": "gone", "id": "1", "latest": True, "marker": True},
    ]
    for key, data in OBJECTS.items():
        sha256 = hashlib.sha256(data).hexdigest()
        if len(data) < 1000:
            where: dict[str, object] = {"pack": pack.add(sha256, data)}
        else:
            where = {"parts": [contents.put(data[:1_000_000]), contents.put(data[1_000_000:])]}
        rows.append({"key": key, "id": "2", "latest": True, "sha256": sha256, **where})
    rows.append(
        {
            "key": "large",
            "id": "1",
            "sha256": hashlib.sha256(OLD).hexdigest(),
            "pack": pack.add(hashlib.sha256(OLD).hexdigest(), OLD),
        }
    )
    pack.close()
    return {"buckets/odd.index": b"".join(index.packed(rows)), "buckets/odd.settings": b"{}"}


@dataclass
class Rescue:
    set: Path
    identity: Path
    work: Path

    def follow(self, *numbers: int, without: str = "", before: str = "") -> subprocess.CompletedProcess[str]:
        """Runs the document's blocks in a shell, up to the first failure: `without` some text of theirs, and the last after other commands."""
        first, *others = (
            block for name, block in steps().items() for number in numbers if name.startswith(f"{number}. ")
        )
        where = told_where(first, SET=self.set, IDENTITY=self.identity, WORK=self.work)
        return subprocess.run(
            ["sh", "-e"],
            input="".join([where, *others[:-1], before, *others[-1:]]).replace(without or "\0", ""),
            cwd="/",
            text=True,
            capture_output=True,
            check=False,
        )

    @property
    def manifest(self) -> Path:
        return self.set / "manifest.json"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of two databases on a target, in many small parts, and the identity file of age-keygen."""
    place = tmp_path_factory.mktemp("saved")
    identity, shelf = place / "identity", place / "shelf"
    identity.write_text(new_identity())
    shelf.mkdir()
    keys = Keys(identity.read_text())
    target = PathTarget("shelf", str(shelf), device=lambda path: int(path == str(shelf)))
    contents = {"rows": {"public.a b": 3}, "sequences": {'public."I d"': None}, "large_objects": 0, "extensions": {}}
    with sets.PartWriter([target], keys, sets.folder("prod", ID), plain_size=SMALL) as writer:
        streams = {f"pg/{sets.word(name)}.tar": tar(dump(name)) for name in ("geo", "Größe 1/2")}
        streams["pg/globals.sql"] = b"CREATE ROLE geo;\n"
        postgres = {name: tuple(writer.write(name, [data])) for name, data in streams.items()}
        services = {name: tuple(writer.write(name, [data])) for name, data in folder(place).items()}
        buckets = {name: tuple(writer.write(name, [data])) for name, data in bucket(keys, writer).items()}
        config = {"config/files.tar": tuple(writer.write("config/files.tar", [tar(CONFIGURATION)]))}
    now = datetime(2026, 11, 21, 2, tzinfo=UTC)
    manifest = sets.Manifest(
        ID,
        "prod",
        "prod",
        now,
        now,
        server={"version": "PostgreSQL 17.11"},
        components={"postgres": postgres, "config": config, "services": services, "buckets": buckets},
        databases={name: {"contents": contents} for name in ("geo", "Größe 1/2")},
    )
    sets.publish(target, manifest.signed(keys))
    return place


@pytest.fixture
def rescue(saved: Path, tmp_path: Path) -> Rescue:
    """A copy of the set, and a folder to open it in."""
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True, symlinks=True)
    shutil.move(tmp_path / "shelf/prod/blobs", tmp_path / "shelf" / sets.folder("prod", ID))
    return Rescue(tmp_path / "shelf" / sets.folder("prod", ID), tmp_path / "identity", tmp_path / "clear")


def test_the_document_has_a_block_for_every_step() -> None:
    assert [name[:2] for name in steps()] == ["1.", "2.", "3.", "4.", "5.", "6.", "7.", "8."]


def test_a_set_opens_and_every_byte_of_it_is_what_was_saved(rescue: Rescue) -> None:
    done = rescue.follow(1, 2, 3, 6, 7)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert f"{ID} of the stack prod, made on prod" in done.stdout
    for name in ("geo", "Größe 1/2"):
        for path, data in dump(name).items():
            assert (rescue.work / f"pg/{sets.word(name)}.dump" / Path(path).name).read_bytes() == data
        counts = (rescue.work / "counts" / sets.word(name)).read_text()
        assert counts == 'rows public.a b 3\nlast public."I d" \nlarge objects 0\n'
    assert (rescue.work / "pg/globals.sql").read_bytes() == b"CREATE ROLE geo;\n"
    for name, data in CONFIGURATION.items():
        assert (rescue.work / "configuration" / name).read_bytes() == data
    assert "services/app/%2Fapp: every file is that of the set" in done.stdout
    assert (rescue.work / "services/app/%2Fapp/a  b").read_bytes() == b"twice"
    assert len((rescue.work / "order").read_text().splitlines()) > 30
    assert rescue.work.stat().st_mode & 0o077 == 0


def test_the_objects_of_a_bucket_are_files_and_what_cannot_be_one_is_named(rescue: Rescue) -> None:
    done = rescue.follow(1, 2, 3, 8)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "left out 'a b': it could not be read when the set was made" in done.stdout
    assert "objects/odd: 3 objects, each is what was saved; 1 left out" in done.stdout
    for key, data in OBJECTS.items():
        assert (rescue.work / "objects/odd" / key).read_bytes() == data
    assert (rescue.work / "objects/odd/dir").is_dir() and not (rescue.work / "objects/odd/gone").exists()


def test_older_versions_of_objects_are_files_beside_the_newest(rescue: Rescue) -> None:
    done = rescue.follow(1, 2, 3, 8, without='not row.get("latest") or ')
    assert done.returncode == 0, done.stderr
    assert (rescue.work / "objects/odd/large.1").read_bytes() == OLD


def test_a_disk_that_is_full_ends_it_and_leaves_no_object_out(rescue: Rescue) -> None:
    done = rescue.follow(1, 2, 3, 8, before="ulimit -f 1000\n")
    assert done.returncode and "File too large" in done.stderr and "left out 'large'" not in done.stdout


def test_a_content_that_was_changed_ends_the_block(rescue: Rescue) -> None:
    (blob,) = (rescue.set / "blobs/ab").glob("abab*")
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    assert rescue.follow(1, 2, 3, 8).returncode != 0


def test_a_part_that_was_changed_is_named(rescue: Rescue) -> None:
    part = rescue.set / "pg/geo.tar.00003"
    data = bytearray(part.read_bytes())
    data[500] ^= 1
    part.write_bytes(data)
    done = rescue.follow(1, 2, 3)
    assert done.returncode != 0
    assert "pg/geo.tar.00003: FAILED" in done.stdout
    assert not (rescue.work / "pg").exists()


def test_a_part_that_is_missing_is_named(rescue: Rescue) -> None:
    (rescue.set / "pg/geo.tar.00011").unlink()
    done = rescue.follow(1, 2)
    assert done.returncode != 0
    assert "pg/geo.tar.00011" in done.stderr


def test_a_manifest_that_somebody_changed_is_not_believed(rescue: Rescue) -> None:
    manifest = rescue.manifest.read_text()
    rescue.manifest.write_text(manifest.replace('"public.a b":3', '"public.a b":4'))
    done = rescue.follow(1, 2)
    assert done.returncode != 0
    assert "not signed by this identity" in done.stderr


def test_a_set_of_another_identity_is_not_believed(rescue: Rescue) -> None:
    rescue.identity.write_text(new_identity())
    done = rescue.follow(1, 2)
    assert done.returncode != 0
    assert "not signed by this identity" in done.stderr


def test_nothing_is_opened_into_a_folder_that_is_there(rescue: Rescue) -> None:
    rescue.work.mkdir()
    assert rescue.follow(1, 2).returncode != 0
    assert list(rescue.work.iterdir()) == []


def test_a_signature_stands_in_front_of_what_it_signs(rescue: Rescue) -> None:
    data = rescue.manifest.read_bytes()
    assert list(json.loads(data)) == ["mac", "manifest"]
