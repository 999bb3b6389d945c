"""Packs a folder of a service into an archive while the service may write to it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker import sets, tar
from worker.contract import FAILED
from worker.errors import Failed
from worker.job import Job
from worker.listing import OPTIONS, Listing, raw

ROUNDS = 3
"""How often a file that changed during the read is read again."""
_CHANGED = (": file changed as we read it", ": File shrank by ")
_GONE, _IGNORED = ": File removed before we read it", " ignored"
FEW = 5


@dataclass(frozen=True)
class Folder:
    """A folder of a service: `inside` its container, and `here` on the host."""

    service: str
    inside: str
    here: str
    stop: bool = False

    @property
    def name(self) -> str:
        return f"{self.service}:{self.inside}"

    @property
    def archive(self) -> str:
        return f"services/{self.service}/{sets.word(self.inside)}.tar"

    @property
    def list(self) -> str:
        return f"services/{self.service}/{sets.word(self.inside)}.list"


class Packing:
    """Packs one folder. A file that changed during the read is read again, and is in the archive twice."""

    def __init__(self, job: Job, folder: Folder) -> None:
        self._job, self._folder = job, folder
        self._index = job.staging / "folder.list"
        self.listing, self.unsteady = Listing({}), list[str]()
        self._vanished, self._skipped = set[str](), set[str]()

    def chunks(self) -> Iterator[bytes]:
        yield from self._round(["."])
        for _ in range(ROUNDS - 1):
            self.unsteady = [name for name in self.listing.with_links(self.unsteady) if self._is_there(name)]
            if not self.unsteady:
                break
            yield from self._round(self.unsteady, "--no-recursion")
        for what, lost in (
            ("vanished while it was read", self._vanished),
            ("neither file nor folder, left out", self._skipped),
        ):
            if lost:
                missing = sorted(lost)
                more = f" and {len(missing) - FEW} more" if len(missing) > FEW else ""
                self._job.journal.say(f"{self._folder.name}: {', '.join(missing[:FEW])}{more}: {what}")

    def _is_there(self, name: str) -> bool:
        there = os.path.lexists(os.path.join(self._folder.here.encode(), raw(name)))
        if not there:
            self._vanished.add(name)
        return there

    def _round(self, names: Sequence[str], *more: str) -> Iterator[bytes]:
        complaints: list[str] = []
        options = (*OPTIONS, *more, f"--index-file={self._index}")
        done = 0
        for chunk in tar.pack(Path(self._folder.here), *map(raw, names), options=options, complaints=complaints):
            yield chunk
            done += len(chunk)
            self._job.journal.progress(done)
        listed = Listing.parse(self._index.read_text(errors="surrogateescape"))
        self.listing = Listing({**self.listing.rows, **listed.rows})
        self._sort(complaints)

    def _sort(self, complaints: Sequence[str]) -> None:
        """Sorts the complaints of tar: files that changed, that vanished, or that an archive cannot hold."""
        self.unsteady = []
        for line in complaints:
            text = line.removeprefix("tar: ")
            for phrase in _CHANGED:
                name, matched, _ = text.partition(phrase)
                if matched and not self.listing.is_folder(name) and name != ".":
                    # tar escapes a colon in a complaint with a backslash.
                    self.unsteady.append(name.replace("\\:", ":"))
            if text.endswith(_GONE):
                self._vanished.add(text.removesuffix(_GONE))
            elif text.endswith(_IGNORED):
                self._skipped.add(text.rpartition(": ")[0])

    def must_be_whole(self) -> None:
        if self.unsteady:
            raise Failed(
                FAILED,
                f"{', '.join(self.unsteady[:FEW])} changed each of {ROUNDS} times that it was read",
                f"{self._folder.service} writes to it all the time",
                f"services: {{{self._folder.service}: {{backup: {{folders: [...], stop: true}}}}}}, which stops it meanwhile",
            )
