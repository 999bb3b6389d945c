"""The set that a restore takes, and its warnings about sets that it skips."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from worker import finding, look, plan, sets
from worker.contract import RESTORE_REFUSED, Request
from worker.errors import Failed
from worker.job import Job
from worker.journal import Journal
from worker.keys import Keys
from worker.manifest import Manifest
from worker.parts import Part
from worker.targets import PathTarget

PART = Part("pg/app.tar.00000", 5, 4, "a" * 64, "b" * 64)
OLD, NEW = "20261120T020000Z-a1b2c3", "20261121T020000Z-a1b2c3"


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys(subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout)


@pytest.fixture
def job(tmp_path: Path, keys: Keys) -> Job:
    new = Job("run1", {"stack": "lab"}, Request(set="latest"), Journal(tmp_path / "journal.jsonl", ()))
    for name in ("own", "far"):
        (tmp_path / name).mkdir()
    targets = {name: PathTarget(name, str(tmp_path / name), device=hash) for name in ("own", "far", "gone")}
    new.__dict__ |= {
        "targets": {name: targets[name] for name in ("own", "far")},
        "keys": keys,
        "gone": targets["gone"],
    }
    return new


def made(job: Job, id: str, *targets: str, damaged: str = "", **more: Any) -> None:
    """A set on some targets; on a damaged one its part is missing."""
    at = datetime.strptime(id[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    manifest = Manifest(id, "lab", "prod", at, at, components={"postgres": {"pg/app.tar": (PART,)}}, **more)
    for name in targets:
        sets.publish(job.targets[name], manifest.signed(job.keys))
        if name not in damaged.split():
            job.targets[name].put(f"{sets.folder('lab', id)}/{PART.name}", b"x" * PART.bytes)


def test_a_list_says_what_is_in_a_set_although_the_first_target_has_it_in_part(job: Job) -> None:
    buckets = {"a": {"bytes": 5}, "b": {"bytes": 2}}
    made(job, NEW, "far", failed={"geo": "it is locked"}, buckets=buckets)
    job.targets["own"].put(f"{sets.folder('lab', NEW)}/{PART.name}", b"x")
    (row,) = look._list(job)["sets"]
    assert (row["failed"], row["buckets"], row["objects"]) == (["geo"], ["a", "b"], 7)
    assert row["targets"] == {"own": "unfinished", "far": "whole"}


def test_sets_of_another_identity_are_not_said_to_be_absent(job: Job) -> None:
    made(job, OLD, "own")
    made(job, NEW, "own", only=("postgres",))
    job.__dict__["keys"] = Keys(subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout)
    with pytest.raises(Failed, match="no set of the stack lab is to be had") as caught:
        finding.find(job)
    assert "own: none of 2 sets can be restored from; the newest is forged, " in caught.value.why
    assert "far: it is not there" in caught.value.why
    assert not isinstance(caught.value, finding.Absent)


def test_a_stack_with_sets_of_one_component_alone_is_told_so(job: Job) -> None:
    made(job, NEW, "own", "far", only=("postgres",))
    with pytest.raises(Failed) as caught:
        finding.find(job)
    assert caught.value.why == "own, far: no set of the whole stack is there"


def test_a_server_that_is_away_costs_a_comparison_only_what_it_has(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    made(job, NEW, "own")

    def away(*_: object) -> None:
        raise Failed(20, "MinIO does not answer", "nobody")

    monkeypatch.setattr(look, "_databases", lambda *_: {"geo": ["it is gone"]})
    monkeypatch.setattr(look, "_folders", lambda *_: {})
    monkeypatch.setattr(look.browsing, "differences", away)
    answer = look._diff(job)
    assert (answer["databases"], answer["buckets"]) == ({"geo": ["it is gone"]}, {})
    assert answer["unread"] == {"buckets": "MinIO does not answer: nobody"}


def test_the_latest_of_whole_targets_is_taken_without_a_word(job: Job) -> None:
    made(job, OLD, "own", "far")
    made(job, NEW, "own", "far")
    assert (finding.find(job).manifest.id, finding.find(job).warnings) == (NEW, [])


def test_a_newer_set_that_is_damaged_is_said_when_an_older_one_is_taken(job: Job) -> None:
    made(job, OLD, "own", "far")
    made(job, NEW, "own", "far", damaged="own far")
    choice = finding.find(job)
    assert choice.manifest.id == OLD
    (line,) = choice.warnings
    assert line.startswith(f"{NEW} is newer, and damaged on own, far, 1 of 1 parts are missing or cut")


def test_a_target_that_could_not_be_asked_is_said(job: Job) -> None:
    made(job, OLD, "own")
    job.targets["gone"] = job.__dict__["gone"]
    choice = finding.find(job)
    assert choice.source == "own"
    (line,) = choice.warnings
    assert line.startswith("gone could not be asked: ")


def test_a_set_that_is_whole_elsewhere_is_taken_from_there_and_the_damage_is_said(job: Job) -> None:
    made(job, NEW, "own", "far", damaged="own")
    for wanted in ("latest", NEW):
        job.request.set = wanted
        choice = finding.find(job)
        assert (choice.manifest.id, choice.source) == (NEW, "far")
        assert [line.startswith(f"{NEW} is this set, and damaged on own") for line in choice.warnings] == [True]


def test_a_set_that_lacks_a_database_is_the_latest_of_those_that_it_has_only(job: Job) -> None:
    row = {"template": False, "contents": {"rows": {}}}
    made(job, OLD, "own", databases={"geo": row, "mlflow": row})
    made(job, NEW, "own", databases={"mlflow": row}, failed={"geo": "it could not be dumped: locked"})
    assert finding.find(job).manifest.id == OLD
    job.request.databases = ["mlflow"]
    assert finding.find(job).manifest.id == NEW
    job.request.databases = ["geo"]
    assert finding.find(job).manifest.id == OLD


def test_what_a_set_does_not_bring_back_is_said_in_the_plan(job: Job) -> None:
    rows = {"geo": {"template": False}, "mine": {"template": True}, "template1": {"template": True}}
    made(job, NEW, "own", databases=rows, failed={"rl": "its role is gone"}, closed={"old": "it lets nobody in"})
    left_out = plan.left_out(finding.find(job).manifest, ["geo"], objects=False)
    assert left_out == [
        "the set does not have rl: its role is gone",
        "the set does not have old: it lets nobody in",
        "mine is a template, and comes back only by name: --database mine",
    ]


@pytest.mark.parametrize("name", ["postgres", "template0", "template1"])
@pytest.mark.parametrize("renamed", [False, True])
def test_what_belongs_to_the_server_is_never_replaced(job: Job, name: str, renamed: bool) -> None:
    rows = {database: {"template": False} for database in ("geo", "postgres", "template0", "template1")}
    made(job, NEW, "own", databases=rows)
    job.request = (
        replace(job.request, databases=["geo"], new_name=name) if renamed else replace(job.request, databases=[name])
    )
    with pytest.raises(Failed, match=f"{name} belongs to the server") as caught:
        plan.chosen(job, finding.find(job).manifest)
    assert caught.value.code == RESTORE_REFUSED
    job.request.new_name = "beside"
    assert plan.chosen(job, finding.find(job).manifest)


def failed(job: Job, id: str, *targets: str, **more: Any) -> None:
    for name in targets:
        now = datetime.now(UTC)
        sets.add_verified(
            job.targets[name], "lab", id, job.keys, now, passed=False, why="a row is missing\nof two", **more
        )


def test_a_set_whose_drill_failed_on_one_target_is_the_latest_on_none(job: Job) -> None:
    made(job, OLD, "own", "far")
    made(job, NEW, "own", "far")
    failed(job, NEW, "own", drill=True)
    choice = finding.find(job)
    assert choice.manifest.id == OLD
    assert choice.warnings == [f"{NEW} is newer, and failed its check on own, far, a row is missing"]


def test_a_set_whose_bytes_are_wrong_on_one_target_is_the_latest_of_another(job: Job) -> None:
    made(job, OLD, "own", "far")
    made(job, NEW, "own", "far")
    failed(job, NEW, "own")
    choice = finding.find(job)
    assert (choice.manifest.id, choice.source) == (NEW, "far")
    assert choice.warnings == [f"{NEW} is this set, and failed its check on own, a row is missing"]


def test_a_drill_that_passed_since_counts_more_than_one_that_failed_elsewhere(job: Job) -> None:
    made(job, NEW, "own", "far")
    failed(job, NEW, "own", drill=True)
    sets.add_verified(job.targets["far"], "lab", NEW, job.keys, datetime.now(UTC), passed=True, drill=True)
    assert finding.find(job).source == "far"
    assert not sets.sharing_drills({"far": list(sets.list_sets(job.targets["far"], "lab", job.keys))})["far"][
        0
    ].doubtful


def test_a_set_that_failed_its_check_is_never_the_latest_while_another_is_whole(job: Job) -> None:
    made(job, OLD, "own", "far")
    made(job, NEW, "own", "far")
    failed(job, NEW, "own", "far")
    assert (finding.find(job).manifest.id, finding.find(job).source) == (OLD, "own")
    job.request.set = NEW
    choice = finding.find(job)
    assert choice.manifest.id == NEW
    assert "failed its check on own" in choice.warnings[0] and "a row is missing" in choice.warnings[0]


def test_a_set_that_failed_its_check_on_one_target_is_taken_from_the_other(job: Job) -> None:
    made(job, NEW, "own", "far")
    failed(job, NEW, "own")
    for wanted in ("latest", NEW):
        job.request.set = wanted
        assert (finding.find(job).manifest.id, finding.find(job).source) == (NEW, "far")


def test_older_damage_and_damaged_sets_of_a_part_are_no_warning(job: Job) -> None:
    made(job, OLD, "own", damaged="own")
    made(job, NEW, "own")
    made(job, "20261122T020000Z-a1b2c3", "own", damaged="own", only=("config",))
    assert (finding.find(job).manifest.id, finding.find(job).warnings) == (NEW, [])


def test_without_a_set_every_target_is_said(job: Job) -> None:
    job.targets["gone"] = job.__dict__["gone"]
    with pytest.raises(Failed, match="no set of the stack lab is to be had") as caught:
        finding.find(job)
    assert caught.value.code == RESTORE_REFUSED
    assert "gone could not be asked" in caught.value.why and "own, far: it is not there" in caught.value.why


def test_a_target_that_does_not_exist_is_no_target_without_sets(job: Job) -> None:
    job.request.source = "onw"
    for question in (finding.find, look._list):
        with pytest.raises(Failed, match="there is no target onw") as caught:
            question(job)
        assert (caught.value.why, caught.value.hint) == ("targets are own, far", "--from own")


def test_a_set_that_all_targets_deny_is_absent_and_one_that_is_damaged_or_cannot_be_asked_for_is_not(job: Job) -> None:
    with pytest.raises(finding.Absent, match="is to be had"):
        finding.find(job)
    made(job, NEW, "own", damaged="own")
    job.request.set = NEW
    with pytest.raises(Failed, match="no target has the set") as caught:
        finding.find(job)
    assert not isinstance(caught.value, finding.Absent)
