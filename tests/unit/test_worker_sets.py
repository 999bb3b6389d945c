"""Manifests: only a complete one of this stack and this set is accepted; and how a set is published."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from worker import sets
from worker.contract import FAILED, USAGE
from worker.errors import Failed
from worker.keys import Keys
from worker.manifest import Manifest
from worker.sets import Part, Unfit, folder, new_id, publish
from worker.targets import PathTarget, checked

NOW = datetime(2026, 11, 21, 9, 0, 0, 123456, tzinfo=UTC)
ID = "20261121T090000Z-a1b2c3"
OTHER = "20261121T090000Z-d4e5f6"
PART = Part("pg/app.tar.00000", 5, 4, "a" * 64, "b" * 64)


def fresh_keys() -> Keys:
    return Keys(subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout)


@pytest.fixture(scope="module")
def keys() -> Keys:
    return fresh_keys()


@pytest.fixture
def target(tmp_path: Path) -> PathTarget:
    return PathTarget("here", str(tmp_path), device=lambda path: hash(path))


def manifest(**more: object) -> Manifest:
    fields = {"id": ID, "stack": "lab", "host": "prod", "created": NOW, "finished": NOW, **more}
    return Manifest(**fields)  # type: ignore[arg-type]


FULL = manifest(
    only=("postgres",),
    versions={"stowage": "1"},
    images={"worker": "sha256:1"},
    server={"version": 170002},
    components={"postgres": {"pg/app.tar": (PART, replace(PART, name="pg/app.tar.00001")), "pg/empty": ()}},
    databases={"größe": {"rows": {"public.a": 1}, "extensions": ["postgis"]}},
    config=({"path": "/etc/x", "mode": "0644", "uid": 0, "gid": 0, "sha256": "c" * 64},),
    previous="d" * 64,
)


def test_a_manifest_comes_back_as_it_was(keys: Keys) -> None:
    assert Manifest.parse(FULL.signed(keys), keys, ID, "lab") == FULL
    assert FULL.canonical() == Manifest.parse(FULL.signed(keys), keys, ID, "lab").canonical()
    assert [part.name for part in FULL.parts] == ["pg/app.tar.00000", "pg/app.tar.00001"]


def test_every_flipped_bit_of_a_manifest_is_refused(keys: Keys) -> None:
    data = manifest(components={"config": {"config/files": (PART,)}}).signed(keys)
    for at in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            with pytest.raises(Unfit):
                Manifest.parse(bytes(changed), keys, ID, "lab")


@pytest.mark.parametrize("change", [b"", b" ", b"\n", b"{}", b"\0"])
def test_a_manifest_with_anything_after_it_or_cut_is_refused(keys: Keys, change: bytes) -> None:
    data = FULL.signed(keys)
    with pytest.raises(Unfit):
        Manifest.parse(data + change if change else data[:-1], keys, ID, "lab")


@settings(max_examples=200, deadline=None)
@given(
    data=some.binary(max_size=200) | some.text().map(lambda text: json.dumps({"mac": text, "manifest": {}}).encode())
)
def test_no_junk_is_a_manifest(keys: Keys, data: bytes) -> None:
    with pytest.raises(Unfit):
        Manifest.parse(data, keys, ID, "lab")


def test_a_reordered_part_is_a_forgery(keys: Keys) -> None:
    signed = json.loads(FULL.signed(keys))
    signed["manifest"]["components"]["postgres"]["pg/app.tar"].reverse()
    data = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    with pytest.raises(Unfit) as caught:
        Manifest.parse(data, keys, ID, "lab")
    assert caught.value.reason == "forged"


@pytest.mark.parametrize(
    ("made", "id", "stack", "reason"),
    [
        (FULL, OTHER, "lab", "replayed"),
        (FULL, ID, "prod", "foreign"),
        (replace(FULL, schema=2), ID, "lab", "unknown schema"),
        (replace(FULL, components={"postgres": {"pg/x": ({"name": "x"},)}}), ID, "lab", "damaged"),
    ],
)
def test_what_is_signed_but_not_this_set_is_refused(
    keys: Keys, made: Manifest, id: str, stack: str, reason: str
) -> None:
    with pytest.raises(Unfit) as caught:
        Manifest.parse(made.signed(keys), keys, id, stack)
    assert caught.value.reason == reason


def test_a_manifest_of_another_identity_is_a_forgery(keys: Keys) -> None:
    with pytest.raises(Unfit) as caught:
        Manifest.parse(FULL.signed(fresh_keys()), keys, ID, "lab")
    assert caught.value.reason == "forged"


def test_one_kind_of_record_does_not_stand_for_another(keys: Keys) -> None:
    pin = json.loads(sets.seal(keys, "pin", {"id": ID}))
    verify = json.dumps({"mac": pin["mac"], "verify": pin["pin"]}, separators=(",", ":")).encode()
    with pytest.raises(Unfit):
        sets.unseal(keys, "verify", verify)


def test_an_id_is_a_time_and_no_two_are_the_same() -> None:
    some_ids = {new_id(NOW) for _ in range(50)}
    assert len(some_ids) == 50
    assert all(
        set_id.startswith("20261121T090000Z-") and sets.stamp_of(set_id) == NOW.replace(microsecond=0)
        for set_id in some_ids
    )
    assert new_id(NOW.astimezone()).startswith("20261121T090000Z-")


@pytest.mark.parametrize(
    ("stack", "id"), [("lab", "../x"), ("..", ID), ("Lab", ID), ("lab", ID + "/"), ("lab", ID + "\n")]
)
def test_what_is_no_set_has_no_folder(stack: str, id: str) -> None:
    with pytest.raises(Failed) as caught:
        folder(stack, id)
    assert caught.value.code == USAGE


@given(name=some.text(min_size=1, max_size=20), other=some.text(min_size=1, max_size=20))
def test_the_word_for_any_name_is_a_key_and_no_other_names(name: str, other: str) -> None:
    assert checked(f"pg/{sets.word(name)}")
    assert (sets.word(name) == sets.word(other)) == (name == other)


def test_publishing_twice_is_publishing_once_and_another_is_not_replaced(keys: Keys, target: PathTarget) -> None:
    publish(target, FULL.signed(keys))
    publish(target, FULL.signed(keys))
    with pytest.raises(Failed, match="was not touched") as caught:
        publish(target, replace(FULL, host="another").signed(keys))
    assert caught.value.code == FAILED
    assert target.get(f"lab/sets/{ID}/manifest.json") == FULL.signed(keys)


class Unlucky(PathTarget):
    """A target that loses the answer to a put, before or after carrying it out."""

    def __init__(self, path: str, *fates: str) -> None:
        super().__init__("unlucky", path, device=lambda path: hash(path))
        self.fates = list(fates)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        fate = self.fates.pop(0) if self.fates else ""
        if fate != "before":
            super().put(key, data, if_absent=if_absent)
        if fate:
            raise Failed(FAILED, "the line broke")


def test_a_lost_answer_is_found_out_by_looking(keys: Keys, tmp_path: Path) -> None:
    data = FULL.signed(keys)
    for number, fates in enumerate((["after"], ["before"], ["before", "after"])):
        (tmp_path / str(number)).mkdir()
        target = Unlucky(str(tmp_path / str(number)), *fates)
        publish(target, data)
        assert target.get(f"lab/sets/{ID}/manifest.json") == data
    with pytest.raises(Failed, match="the line broke"):
        publish(Unlucky(str(tmp_path), "before", "before", "before"), data)


def put_set(target: PathTarget, keys: Keys, made: Manifest, skip: str = "") -> None:
    for part in made.parts:
        if part.name != skip:
            target.put(f"{folder(made.stack, made.id)}/{part.name}", b"x" * part.bytes)
    publish(target, made.signed(keys))


def test_sets_are_listed_newest_first_and_bad_ones_told_apart(keys: Keys, target: PathTarget) -> None:
    complete = manifest(components={"config": {"config/x": (PART,)}})
    put_set(target, keys, complete)
    put_set(target, keys, replace(complete, id=OTHER, created=NOW - timedelta(days=1)), skip=PART.name)
    put_set(
        target, keys, replace(complete, id="20261122T090000Z-000001", created=NOW + timedelta(days=1), only=("config",))
    )
    target.put("lab/sets/20261122T090000Z-000002/pg/x.00000", b"alone")
    target.put("lab/sets/20261122T090000Z-000003/manifest.json", complete.signed(keys))
    target.put("lab/sets/20261122T090000Z-000004/manifest.json", complete.signed(fresh_keys()))
    target.put("lab/sets/README", b"not a set")
    target.put("lab-two/sets/20261122T090000Z-000005/manifest.json", complete.signed(keys))
    sets.add_verified(target, "lab", ID, keys, NOW, passed=True)
    sets.add_verified(target, "lab", ID, keys, NOW + timedelta(hours=1), passed=False)
    sets.add_pin(target, "lab", OTHER, keys, NOW)
    listed = {summary.id: summary for summary in sets.list_sets(target, "lab", keys)}
    assert {id[-6:]: summary.reason for id, summary in listed.items()} == {
        "000001": "",
        "000002": "unfinished",
        "000003": "replayed",
        "000004": "forged",
        "a1b2c3": "",
        "d4e5f6": "damaged",
    }
    assert PART.name in listed[OTHER].why and listed[OTHER].pinned
    assert listed[ID].doubtful and not listed[ID].verified, "the newest check failed"
    assert listed[ID].complete and not listed["20261122T090000Z-000001"].complete
    newest = sets.latest(listed.values())
    assert newest is not None and newest.id == ID
    assert list(listed)[-1] == OTHER
    assert sets.latest([]) is None


def test_a_verification_of_another_set_counts_for_nothing(keys: Keys, target: PathTarget) -> None:
    complete = manifest()
    put_set(target, keys, complete)
    sets.add_verified(target, "lab", OTHER, keys, NOW, passed=True)
    record = next(blob.key for blob in target.list(f"lab/sets/{OTHER}/"))
    target.put(record.replace(OTHER, ID), target.get(record))
    assert next(summary for summary in sets.list_sets(target, "lab", keys) if summary.id == ID).check is None


@pytest.mark.parametrize(
    ("records", "passed"),
    [
        ([(True, False)], True),
        ([(True, False), (False, False)], False),
        ([(False, False), (True, False)], True),
        ([(False, True), (True, False)], False),  # correct bytes may still fail to restore
        ([(False, True), (True, False), (True, True)], True),
        ([(True, True), (True, False)], True),
        ([(True, True), (False, False)], False),
    ],
)
def test_a_check_that_failed_counts_until_one_as_deep_has_passed(keys, target, records, passed) -> None:
    put_set(target, keys, manifest())
    for hour, (well, drill) in enumerate(records):
        at = NOW + timedelta(hours=hour)
        sets.add_verified(target, "lab", ID, keys, at, passed=well, drill=drill, why="" if well else "a row is missing")
    (summary,) = sets.list_sets(target, "lab", keys)
    assert (summary.verified, summary.doubtful) == (passed, not passed)
    assert summary.check and summary.check.why == ("" if passed else "a row is missing")


def test_a_manifest_that_cannot_be_fetched_is_unreadable_and_hides_no_other(
    keys: Keys, target: PathTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_set(target, keys, manifest())
    put_set(target, keys, manifest(id=OTHER))
    get = target.get

    def broken(key: str) -> bytes:
        if OTHER in key:
            raise Failed(FAILED, "input/output error")
        return get(key)

    monkeypatch.setattr(target, "get", broken)
    assert {summary.id: summary.reason for summary in sets.list_sets(target, "lab", keys)} == {
        ID: "",
        OTHER: "unreadable",
    }
