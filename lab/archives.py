"""Programs that come as a zip: downloaded once, checked, and unpacked into the context of an image."""

from __future__ import annotations

import hashlib
import tarfile
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

from converge.errors import Trouble
from converge.record import dataclass
from lab import clone
from lab.progress import long_work

FOLDER = "archive"
"""Where it lies in the context."""
PIECE = 1 << 20
SILENCE = 60.0


@dataclass(frozen=True)
class Archive:
    """A zip at an address, with the only content that it may have, and where it is unpacked without its outermost folder."""

    url: str
    sha256: str
    into: str


def file(archive: Archive) -> Path:
    """The zip, kept outside the checkout by its checksum."""
    path = clone.cache("archives", f"{archive.sha256}.zip")
    if not path.exists():
        _fetch(archive, path)
    return path


def _fetch(archive: Archive, path: Path) -> None:
    unfinished, digest = path.with_suffix(".part"), hashlib.sha256()
    with long_work(f"fetching {archive.url}", "under a minute"):
        try:
            with urllib.request.urlopen(archive.url, timeout=SILENCE) as answer, unfinished.open("wb") as target:
                while piece := answer.read(PIECE):
                    digest.update(piece)
                    target.write(piece)
        except (OSError, ValueError) as error:
            raise Trouble(f"{archive.url} cannot be fetched", why=str(error), hint=f"curl -I {archive.url}") from None
    if digest.hexdigest() != archive.sha256:
        unfinished.unlink()
        raise Trouble(
            f"{archive.url} is not what the inventory names",
            why=f"its SHA-256 is {digest.hexdigest()}, and should be {archive.sha256}",
            untouched="nothing of it was used",
            hint="compare both with what its maker publishes, and correct images.NAME.lab.archive",
        )
    unfinished.rename(path)


def put_into(tar: tarfile.TarFile, archive: Archive) -> None:
    """Copy every file of the zip beneath FOLDER, with the modes that the zip gives."""
    with zipfile.ZipFile(file(archive)) as packed:
        for inside, info in _files(packed):
            entry = tarfile.TarInfo(f"{FOLDER}/{inside}")
            entry.size, entry.mode = info.file_size, (info.external_attr >> 16) & 0o755 or 0o644
            with packed.open(info) as source:
                tar.addfile(entry, source)


def _files(packed: zipfile.ZipFile) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    for info in packed.infolist():
        inside = info.filename.partition("/")[2]
        if inside and not info.is_dir() and ".." not in inside.split("/"):
            yield inside, info
