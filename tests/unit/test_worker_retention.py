"""Retention: a set is only removed if an equally good one stays; in doubt nothing is removed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from worker import sets
from worker.contract import FAILED, RETENTION_FAILED
from worker.errors import Failed
from worker.keys import Keys
from worker.manifest import Manifest
from worker.retention import GRACE, carry_out, plan, sweep_canaries
from worker.sets import Check, Part, Summary, folder, list_sets, publish
from worker.targets import Entry, PathTarget

NOW = datetime(2026, 11, 21, 9, 0, 0, tzinfo=UTC)
DAYS = 30
ALL = ("postgres", "config")


def summary(
    age: float,
    only: tuple[str, ...] = (),
    *,
    reason: str = "",
    verified: bool | None = None,
    pinned: bool = False,
    failed: bool = False,
    number: int = 0,
) -> Summary:
    created = NOW - timedelta(days=age)
    id = f"{created:%Y%m%dT%H%M%SZ}-{number:06x}"
    made = Manifest(
        id,
        "lab",
        "h",
        created,
        created,
        only=only,
        components={component: {} for component in only or ALL},
        failed={"geo": "why"} if failed else {},
    )
    entries = (Entry(f"lab/sets/{id}/manifest.json", 1, created),)
    check = None if verified is None else Check(NOW, verified)
    return Summary(id, entries, None if reason else made, reason, "why", check, pinned)


def ages(some_sets: tuple[Summary, ...]) -> list[int]:
    return sorted(round((NOW - set_.created).days) for set_ in some_sets)


SUMMARIES = some.lists(
    some.builds(
        summary,
        some.integers(0, 90),
        some.sampled_from([(), (), ("postgres",), ("config",)]),
        reason=some.sampled_from(["", "", "", "", "forged", "damaged", "unfinished"]),
        verified=some.sampled_from([True, False, None, None]),
        pinned=some.sampled_from([False, False, False, True]),
    ),
    max_size=40,
).map(
    lambda made: [
        Summary(f"{set_.id[:-6]}{n:06x}", set_.entries, set_.manifest, set_.reason, set_.why, set_.check, set_.pinned)
        for n, set_ in enumerate(made)
    ]
)


@settings(max_examples=300, deadline=None)
@given(seen=SUMMARIES, days=some.integers(1, 60))
def test_what_stays_is_always_enough(seen: list[Summary], days: int) -> None:
    made = plan(seen, NOW, days, allow_many=True)
    assert not made.refused
    gone = {set_.id for set_ in made.remove}
    all_ids = [*gone, *made.keep, *(set_.id for set_ in made.sweep)]
    assert sorted(all_ids) == sorted(set_.id for set_ in seen)
    for set_ in made.remove:
        assert set_.valid and not set_.pinned and NOW - set_.created >= timedelta(days=days)
    groups = [[set_ for set_ in seen if set_.complete]]
    groups += [[set_ for set_ in seen if set_.manifest and component in set_.manifest.components] for component in ALL]
    for group in groups:
        stay = [set_ for set_ in group if set_.id not in gone]
        assert len(stay) >= min(len(group), 3) or len([set_ for set_ in group if not set_.doubtful]) < 3
        # A set that failed its check never justifies the removal of a good one.
        good = [set_ for set_ in group if not set_.doubtful]
        assert len([set_ for set_ in stay if not set_.doubtful]) >= min(len(good), 3)
        old = [set_ for set_ in good if NOW - set_.created >= timedelta(days=days)]
        assert not old or any(set_ in stay for set_ in old)
        newest_verified = max((set_.created for set_ in group if set_.verified), default=None)
        assert newest_verified is None or any(set_.verified and set_.created == newest_verified for set_ in stay)


@settings(max_examples=100, deadline=None)
@given(seen=SUMMARIES)
def test_what_is_done_twice_is_done_once(seen: list[Summary]) -> None:
    first = plan(seen, NOW, DAYS, allow_many=True)
    left = [set_ for set_ in seen if set_ not in first.remove and set_ not in first.sweep]
    second = plan(left, NOW, DAYS, allow_many=True)
    assert not second.remove and not second.sweep


def test_daily_sets_of_a_long_time_lose_one_a_day() -> None:
    made = plan([summary(age) for age in range(32)], NOW, DAYS)
    assert ages(made.remove) == [31]
    assert list(made.keep.values()).count("younger than 30 days") == 30
    assert "the newest that is 30 days old" in made.keep.values()


def test_an_old_set_stays_while_the_next_is_still_young() -> None:
    assert not plan([summary(35), summary(25), summary(20), summary(10)], NOW, DAYS).remove


def test_sets_that_only_have_one_component_make_no_complete_one_go() -> None:
    partial = [
        summary(age, (component,), number=number) for age in range(0, 60, 2) for number, component in enumerate(ALL)
    ]
    made = plan([*partial, summary(61), summary(70), summary(80), summary(90)], NOW, DAYS)
    assert ages(made.remove)[-1] == 90
    assert [set_ for set_ in made.remove if set_.complete] == [summary(90)]


def test_sets_that_lack_a_database_make_no_complete_one_go() -> None:
    lacking = [summary(age, failed=True) for age in range(0, 40)]
    made = plan([*lacking, summary(41), summary(42), summary(43)], NOW, DAYS)
    assert not [set_ for set_ in made.remove if set_.complete]
    assert not [set_ for set_ in made.remove if NOW - set_.created < timedelta(days=DAYS)]


def test_a_damaged_or_forged_set_neither_counts_nor_goes() -> None:
    bad = [summary(age, reason=reason, number=9) for age, reason in enumerate(["damaged", "forged", "replayed"] * 5)]
    made = plan([*bad, summary(40), summary(41), summary(42)], NOW, DAYS)
    assert not made.remove and not made.sweep
    assert "forged, retention leaves it alone" in made.keep.values()


def test_a_pinned_and_the_last_verified_set_stay() -> None:
    made = plan(
        [summary(age) for age in range(10)]
        + [summary(50, verified=True), summary(60, verified=True), summary(70, pinned=True), summary(31)],
        NOW,
        DAYS,
    )
    assert ages(made.remove) == [60]
    assert {"pinned", "the newest that passed a check"} < set(made.keep.values())


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        ([summary(age) for age in range(31, 60)], "26 of 29 sets would go, more than 50%"),
        ([*(summary(age) for age in range(40)), summary(-0.1)], "check the clock"),
        ([*(summary(age) for age in range(40)), summary(-0.1, reason="unfinished")], "check the clock"),
        ([*(summary(age) for age in range(40)), summary(50, reason="unreadable")], "could not be read"),
    ],
)
def test_in_doubt_nothing_goes(seen: list[Summary], why: str, tmp_path: Path) -> None:
    made = plan(seen, NOW, DAYS)
    assert why in made.refused and not made.remove and not made.sweep
    with pytest.raises(Failed, match="nothing was removed") as caught:
        carry_out(PathTarget("here", str(tmp_path)), "lab", made)
    assert caught.value.code == RETENTION_FAILED and why in caught.value.why


def test_only_leftovers_that_nobody_can_still_be_writing_are_swept() -> None:
    old, young = summary(3, reason="unfinished"), summary(1, reason="unfinished")
    busy = Summary(old.id[:-1] + "f", (Entry("lab/x", 1, NOW - timedelta(hours=1)),), None, "unfinished")
    pinned = summary(9, reason="unfinished", pinned=True)
    assert plan([old, young, busy, pinned], NOW, DAYS).sweep == (old,)


def test_a_leftover_whose_name_has_the_clock_of_a_laptop_that_was_ahead_holds_nothing_up() -> None:
    ahead = summary(-400, reason="unfinished")
    for age, swept in ((1, ()), (3, (ahead.id,))):
        left = replace(ahead, entries=(Entry("lab/x", 1, NOW - timedelta(days=age)),))
        made = plan([*(summary(age) for age in range(40)), left], NOW, DAYS)
        assert not made.refused and made.remove
        assert tuple(gone.id for gone in made.sweep) == swept


# Real sets on a real target.


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys(subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout)


class Watched(PathTarget):
    """A target that counts deletions, and may refuse them."""

    def __init__(self, path: Path) -> None:
        super().__init__("here", str(path), device=lambda path: hash(path))
        self.deleted: list[str] = []
        self.fails_after = 10**6

    def delete(self, key: str) -> None:
        if len(self.deleted) >= self.fails_after:
            raise Failed(FAILED, "here: access denied")
        self.deleted.append(key)
        super().delete(key)


@pytest.fixture
def target(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def put(target: PathTarget, keys: Keys, age: int, number: int = 0, stack: str = "lab") -> str:
    created = NOW - timedelta(days=age)
    id = f"{created:%Y%m%dT%H%M%SZ}-{number:06x}"
    parts = tuple(Part(f"pg/app.{n:05d}", 3, 3, "a" * 64, "a" * 64) for n in range(3))
    for part in parts:
        target.put(f"{folder(stack, id)}/{part.name}", b"abc")
    publish(target, Manifest(id, stack, "h", created, created, components={"postgres": {"pg/app": parts}}).signed(keys))
    return id


def names(target: PathTarget) -> Iterator[str]:
    return (entry.key for entry in target.list(""))


def test_a_set_goes_by_its_manifest_first_and_nothing_else_goes(target: Watched, keys: Keys) -> None:
    ids = [put(target, keys, age) for age in (1, 2, 3, 31, 32)]
    other = put(target, keys, 32, stack="lab-two")
    sets.add_verified(target, "lab", ids[0], keys, NOW, passed=True)
    before = set(names(target))
    done = carry_out(target, "lab", plan(list_sets(target, "lab", keys), NOW, DAYS))
    gone = before - set(names(target))
    assert target.deleted[0] == f"lab/sets/{ids[4]}/manifest.json"
    assert gone == set(target.deleted) and all(key.startswith(f"lab/sets/{ids[4]}/") for key in gone)
    assert (done.sets, done.objects) == (1, 4)
    assert any(other in key for key in names(target))


def test_what_a_broken_off_run_left_is_swept_by_a_later_one(target: Watched, keys: Keys) -> None:
    for age in (1, 2, 3, 31):
        put(target, keys, age)
    id = put(target, keys, 32)
    target.fails_after = 2
    with pytest.raises(Failed, match="access denied, after 2 objects") as caught:
        carry_out(target, "lab", plan(list_sets(target, "lab", keys), NOW, DAYS))
    assert caught.value.code == RETENTION_FAILED
    assert next(set_ for set_ in list_sets(target, "lab", keys) if set_.id == id).reason == "unfinished"
    target.fails_after = 10**6
    # The files have the real time, not the test's: move on until their grace is over.
    later = datetime.now(UTC) + GRACE + timedelta(minutes=1)
    done = carry_out(target, "lab", plan(list_sets(target, "lab", keys), later, 10**5))
    assert done.sets == 1 and not [key for key in names(target) if id in key]


def test_a_leftover_that_was_finished_since_is_not_swept(target: Watched, keys: Keys) -> None:
    id = put(target, keys, 5)
    manifest = target.get(f"lab/sets/{id}/manifest.json")
    target.delete(f"lab/sets/{id}/manifest.json")
    made = plan(list_sets(target, "lab", keys), datetime.now(UTC) + 2 * GRACE, DAYS)
    assert [set_.id for set_ in made.sweep] == [id]
    publish(target, manifest)
    assert carry_out(target, "lab", made).sets == 0
    assert next(list_sets(target, "lab", keys)).valid


def test_canaries_of_writers_that_may_not_delete_are_swept(target: Watched) -> None:
    target.put("canary-0123456789ab", b"x")
    assert sweep_canaries(target, datetime.now(UTC)) == 0
    assert sweep_canaries(target, datetime.now(UTC) + GRACE + timedelta(hours=1)) == 1
    assert list(names(target)) == []


def test_a_set_that_failed_its_drill_on_one_target_lets_no_good_one_go_on_another() -> None:
    def drilled(passed: bool, checked: Summary) -> Summary:
        return replace(checked, check=Check(NOW, passed, drill=True))

    there = [summary(age, number=1) for age in (31, 32, 33, 34, 60, 61, 62)]
    failed = [drilled(False, set_) for set_ in there[:4]]
    alone = plan(there, NOW, DAYS, allow_many=True)
    assert ages(alone.remove) == [34, 60, 61, 62]
    shared = sets.sharing_drills({"own": failed, "usb": there})
    assert ages(plan(shared["usb"], NOW, DAYS, allow_many=True).remove) == [31, 32, 33, 34]
    assert sets.sharing_drills({"own": [drilled(True, set_) for set_ in there], "usb": there})["usb"] == there
