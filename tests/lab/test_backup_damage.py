"""Damaged sets and dead targets: refused by name, or skipped. The tests depend on their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.lab.backup_host import (
    ODD,
    TARGETS,
    configured,
    look,
    newest,
    ran,
    sets,
    sql,
)
from tests.lab.backup_sets import BUCKET, Story
from tests.lab.shares import todays
from worker.manifest import word

REFUSED, NOWHERE, NOT_EVERYWHERE = 3, 20, 21
BROKEN = {
    "far": "[t.update(port=1) for t in d['targets'] if t['name'] == 'far']",
    "own": "[t.update(endpoints=['http://172.30.99.11:1']) for t in d['targets'] if t['name'] == 'own']",
    "disk": "[t.update(path='/not/there') for t in d['targets'] if t['name'] == 'disk']",
}


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at:][1:]


DAMAGE: dict[str, Callable[[bytes, bytes], bytes | None]] = {
    "first byte": lambda data, twin: flipped(data, 0),
    "middle byte": lambda data, twin: flipped(data, len(data) // 2),
    "last byte": lambda data, twin: flipped(data, len(data) - 1),
    "cut": lambda data, twin: data[:-1],
    "emptied": lambda data, twin: b"",
    "deleted": lambda data, twin: None,
    "another set's": lambda data, twin: twin,
}
DUMP = f"pg/{word(ODD)}.tar.00000"


def cases(story: Story) -> Iterator[tuple[str, str]]:
    """Every kind of damage to the manifest and to a dump, and to every other object one that no listing shows."""
    listed = story.s3.list_objects_v2(Bucket=BUCKET, Prefix=story.key(story.first, ""))["Contents"]
    stored = {entry["Key"].removeprefix(story.key(story.first, "")) for entry in listed}
    assert {"manifest.json", DUMP, "config/files.tar.00000", "pg/globals.sql.00000", "pg/roles.json.00000"} < stored
    # test_buckets.py damages the objects of buckets.
    for name in sorted(object_name for object_name in stored if not object_name.startswith(("verify-", "buckets/"))):
        for damage in DAMAGE if name in ("manifest.json", DUMP) else ("middle byte",):
            yield name, damage


def test_no_damaged_object_of_a_set_is_restored_from_or_passes_a_check(unharmed: Story) -> None:
    story, accepted = unharmed, []
    for name, damage in todays(list(cases(story)), 3):
        print(f"{name}: {damage}")
        key = story.key(story.first, name)
        with story.instead(key, DAMAGE[damage](story.get(key), story.get(story.key(story.second, name)))):
            # Only a restore of the service reads its files.
            whose = {"service": "keeper"} if name.startswith("services/") else {}
            restored = ran(story.there, do="restore", set=story.first, **whose, source="own")
            checked = ran(story.there, do="verify", set=story.first, source="own")
        if (restored["code"], checked["code"]) != (40, 30):
            accepted.append((name, damage, restored, checked))
    assert accepted == []
    assert ran(story.there, do="verify", set=story.first, source="own")["code"] == 0


def test_inv_refuses_a_damaged_set_by_name_and_takes_it_from_another_target(unharmed: Story) -> None:
    story, key = unharmed, unharmed.key(unharmed.first, DUMP)
    with story.instead(key, flipped(story.get(key), 99)):
        screen = story.there.inv("restore", story.first, "--yes", code=REFUSED)
        assert f"{key} is damaged" in screen
        assert "--from" in screen
        assert "nothing was touched" in screen
        assert "is damaged" in story.there.inv("backup.verify", story.first, code=30)
        options = ("--database", ODD, "--as", "beside")
        story.there.inv("restore", story.first, "--from", "far", "--yes", *options)
    sql(story.there, "DROP DATABASE beside")


@pytest.mark.parametrize("target", TARGETS)
def test_a_set_is_restored_from_each_target(unharmed: Story, target: str) -> None:
    options = ("--database", ODD, "--as", "beside", "--from", target, "--yes")
    assert f"read from {target}" in unharmed.there.inv("restore", unharmed.first, *options)
    count = """SELECT count(*), max(id) FROM "Käfer 'x'" """
    assert sql(unharmed.there, count, "beside") == sql(unharmed.there, count, ODD)
    sql(unharmed.there, "DROP DATABASE beside")


def test_one_dead_target_does_not_stop_the_others(unharmed: Story) -> None:
    with configured(unharmed.there, BROKEN["far"]):
        screen = unharmed.there.inv("backup", code=NOT_EVERYWHERE)
    assert "far" in screen
    assert "published on own, disk" in screen
    assert sets(unharmed.there)[newest(unharmed.there)] == {"own": "whole", "disk": "whole"}


def test_with_all_targets_dead_nothing_is_published(unharmed: Story) -> None:
    before = sets(unharmed.there)
    with configured(unharmed.there, "; ".join(BROKEN.values())):
        screen = unharmed.there.inv("backup", code=NOWHERE)
    assert all(f"{name}:" in screen for name in TARGETS)
    assert sets(unharmed.there) == before


def test_a_target_that_is_not_mounted_is_dead_and_its_folder_stays_empty(unharmed: Story) -> None:
    unharmed.there.on_host("mount --bind /mnt/backup /opt; umount /mnt/backup")
    try:
        screen = unharmed.there.inv("backup", code=NOT_EVERYWHERE)
        assert "is it mounted" in screen or "same filesystem" in screen
        assert unharmed.there.on_host("ls -A /mnt/backup") == ""
    finally:
        unharmed.there.on_host("mount --bind /opt /mnt/backup; umount /opt")


def test_latest_says_which_newer_set_it_passed_over(story: Story) -> None:
    there = story.there
    there.inv("backup")
    id = newest(there)
    broken = story.key(id, "manifest.json")
    with configured(there, "d['targets'] = [t for t in d['targets'] if t['name'] == 'own']"):
        with story.instead(broken, story.get(broken)[:-1]):
            plan = look(there, ask="plan", set="latest")
        assert plan["set"] != id
        assert any(line.startswith(f"{id} is newer, and ") for line in plan["warnings"]), plan["warnings"]
