"""Room for a restore and for a drill: the sum for each filesystem, checked before anything is fetched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from worker import drill, finding, restore, room
from worker.contract import REFUSED, RESTORE_REFUSED
from worker.errors import Failed
from worker.manifest import Manifest
from worker.parts import Part

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
DUMP = {"pg/geo.tar": (Part("pg/geo.tar.00000", 100, 90, "a" * 64, "b" * 64),)}
SET = Manifest(
    "20261121T090000Z-a1b2c3",
    "lab",
    "prod",
    NOW,
    NOW,
    components={"postgres": DUMP},
    databases={"geo": {"bytes": 1000, "template": False}},
)
DUMPS = next(iter(DUMP.values()))[0].plain_bytes


@pytest.fixture
def job(tmp_path: Path) -> Any:
    for name in ("staging", "data"):
        (tmp_path / name).mkdir()
    return SimpleNamespace(staging=tmp_path / "staging", postgres={"data": str(tmp_path / "data")})


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the free bytes of the filesystems of `staging` and of `data`; one number if it is the same one."""

    def set_free(staging: int, data: int | None = None) -> None:
        devices = {"staging": 1, "data": 1 if data is None else 2}
        left = {"staging": staging, "data": staging if data is None else data}
        fake = SimpleNamespace(stat=lambda path: SimpleNamespace(st_dev=devices[os.path.basename(path)]))
        monkeypatch.setattr(room, "os", fake)
        usage = SimpleNamespace(disk_usage=lambda path: SimpleNamespace(free=left[os.path.basename(path)]))
        monkeypatch.setattr(room, "shutil", usage)

    return set_free


def refused(act: Callable[[], None]) -> Failed | None:
    try:
        act()
    except Failed as error:
        return error
    return None


@pytest.mark.parametrize(
    ("free_bytes", "fits"),
    [
        ((DUMPS + 1300,), True),
        ((DUMPS + 1299,), False),
        ((DUMPS, 1300), True),
        ((DUMPS - 1, 9999), False),
        ((9999, 1299), False),
    ],
)
def test_dumps_and_databases_on_one_filesystem_are_added_up(job: Any, free: Any, free_bytes: Any, fits: bool) -> None:
    free(*free_bytes)
    refusal = refused(lambda: restore._must_have_room(job, SET, ["geo"]))
    assert (refusal is None) is fits
    if refusal:
        assert refusal.code == RESTORE_REFUSED and "are free there" in refusal.why


@pytest.mark.parametrize(("left", "fits"), [(1300, True), (1299, False)])
def test_a_dump_made_by_hand_needs_room_for_its_database(job: Any, free: Any, left: int, fits: bool) -> None:
    free(left)
    by_hand = Manifest(finding.LOCAL, "lab", "prod", NOW, NOW, databases={"geo": {"bytes": 1000, "template": False}})
    assert (refused(lambda: restore._must_have_room(job, by_hand, ["geo"])) is None) is fits


@pytest.mark.parametrize(("left", "fits"), [(DUMPS + 1300, True), (DUMPS + 1299, False)])
def test_a_drill_without_room_is_refused_and_says_nothing_of_the_set(
    job: Any, free: Any, left: int, fits: bool
) -> None:
    free(left, 0)
    refusal = refused(lambda: drill.must_have_room(job, SET))
    assert (refusal is None) is fits
    if refusal:
        assert refusal.code == REFUSED


def test_the_real_disk_is_asked(tmp_path: Path) -> None:
    less = shutil.disk_usage(tmp_path).free // 4
    room.must_be_there([room.Need(tmp_path, less, "some")], Failed(REFUSED, "no"))
    with pytest.raises(Failed, match="others need"):
        room.must_be_there(
            [room.Need(tmp_path, less, "some"), room.Need(tmp_path, less * 4, "others")], Failed(REFUSED, "no")
        )
