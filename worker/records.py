"""Records of restores, on disk before each action, so that the next run can clean up after an interrupted one."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from worker.buckets.made import Made
from worker.comparison import Difference
from worker.job import STATE
from worker.postgres import Row

RECORDS = STATE / "restores"


@dataclass
class Record:
    """What a restore makes and renames, by name and oid; on disk before it happens."""

    run: str
    set: str
    at: str
    scratch: dict[str, str] = field(default_factory=dict)
    """Final name by scratch name."""
    live: dict[str, int] = field(default_factory=dict)
    """The oid of every database that is replaced."""
    kept: dict[str, str] = field(default_factory=dict)
    """Final name by the name under which the replaced database is kept."""
    stopped: list[str] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    differs: dict[str, list[Difference]] = field(default_factory=dict)
    """The differences from the set, by database."""
    left: list[str] = field(default_factory=list)
    """The scratch databases that could not be dropped."""
    accepted: list[str] = field(default_factory=list)
    """The accepted differences, in words."""
    service: str = ""
    folders: list[str] = field(default_factory=list)
    """The folders of a service that are replaced; such a restore has no databases."""
    buckets: dict[str, Row] = field(default_factory=dict)
    """The restored buckets: whether it was `made`, the former parts of its configuration that are off meanwhile (`held`), the
    bucket of displaced objects (`kept`), the parts that were restored (`configured`), and those that the cleanup restores
    (`waiting`)."""
    accounts: dict[str, list[str]] = field(default_factory=dict)
    """The users, groups, policies and keys of MinIO that the restore made, by kind."""
    phase: str = "begun"
    """begun, loaded, swapping, current, done, undoing, undone, cleaned, or failed; of a backup packing, and then there is none"""

    @property
    def path(self) -> Path:
        return RECORDS / f"{self.run}.json"

    def made(self, bucket: str) -> Made:
        """The list of versions that a restore makes in a bucket."""
        return Made(self.path.with_suffix(f".{bucket}.made"))

    @property
    def has_databases(self) -> bool:
        return bool(self.scratch or self.live or self.roles)

    def beside(self, folder: str, kind: str) -> str:
        """The path of a loaded (`r`), kept (`old`) or undone (`undone`) folder: beside the live one, on the same filesystem."""
        return f"{folder}.{kind}-{self.run[-6:]}"

    def save(self) -> None:
        RECORDS.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.path
        unfinished = path.with_suffix(".new")
        with unfinished.open("w") as file:
            json.dump(self.__dict__, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
        sync(RECORDS)

    @classmethod
    def all(cls) -> list[Record]:
        """All records, the oldest first by this host's clock: the names of runs have the operator's clock."""
        records = [cls(**json.loads(path.read_text())) for path in RECORDS.glob("*.json")]
        for record in records:
            record.differs = {name: [Difference(*row) for row in rows] for name, rows in record.differs.items()}
        return sorted(records, key=lambda record: (datetime.fromisoformat(record.at), record.run))


def sync(folder: Path) -> None:
    """Syncs a directory, so that a power cut does not lose a new name."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
