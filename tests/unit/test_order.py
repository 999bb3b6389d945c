"""The order of roles follows from their needs; a missing role is an error before any connection."""

from __future__ import annotations

import itertools
import random
from types import SimpleNamespace

import pytest

from converge.engine import plan as planning
from converge.engine import run as runs
from converge.engine.order import chosen
from converge.engine.resource import in_order
from converge.engine.role import Role
from converge.errors import PENDING, REFUSED, Trouble
from converge.ui import render
from roles import named

ALL = ["base", "drives", "docker", "images", "minio", "edge", "postgres", "stack", "buckets", "databases", "backup"]


def find(name: str) -> Role:
    return named(name)


def host_of(*roles: str) -> tuple[str, list[str]]:
    return "prod", [*roles]


def names(roles) -> list[str]:
    return [role.name for role in roles]


def test_the_shipped_order_stays_as_it_is():
    assert names(chosen(*host_of(*ALL), find).roles) == ALL


def test_whatever_order_they_are_named_in_each_stands_behind_what_it_needs():
    for seed in range(20):
        shuffled = random.Random(seed).sample(ALL, len(ALL))
        ordered = chosen(*host_of(*shuffled), find).roles
        assert sorted(names(ordered)) == sorted(ALL)
        for at, role in enumerate(ordered):
            assert {*role.needs, *role.after} & {*ALL} <= {*names(ordered)[:at]}


def test_what_a_role_follows_need_not_be_there():
    roles = ["base", "docker", "images", "postgres", "stack", "databases", "backup"]
    assert names(chosen(*host_of(*roles), find).roles) == roles


@pytest.mark.parametrize(
    ("roles", "missing"),
    [
        (["minio"], ["base", "drives", "docker", "images"]),
        (["base", "docker", "images", "minio"], ["drives"]),
        (["base", "buckets"], ["drives", "docker", "images", "minio"]),
        (["drives"], ["base"]),
    ],
)
def test_a_missing_role_is_named_with_the_line_to_write(roles, missing):
    with pytest.raises(Trouble) as caught:
        chosen(*host_of(*roles), find)
    trouble = caught.value
    assert all(name in trouble.what for name in missing)
    assert not [name for name in roles if f" {name}" in trouble.what]
    assert trouble.untouched == "nothing was connected to or changed"
    line = trouble.hint.partition(";")[0]
    written = line.removeprefix("roles: [").removesuffix("]").split(", ")
    assert sorted(written) == sorted({*roles, *missing})
    assert names(chosen(*host_of(*written), find).roles) == written
    assert "--host prod" in trouble.hint


def test_one_role_is_changed_and_those_beneath_it_are_read():
    selection = chosen(*host_of(*ALL), find, ("minio",))
    assert names(selection.roles) == ["minio"]
    assert names(selection.beneath) == ["base", "drives", "docker", "images"]


def test_a_role_that_was_asked_for_and_is_beneath_another_is_changed():
    selection = chosen(*host_of(*ALL), find, ("minio", "drives"))
    assert (names(selection.roles), names(selection.beneath)) == (["drives", "minio"], ["base", "docker", "images"])


def test_a_host_without_the_role_that_was_asked_for_has_nothing_to_do():
    assert chosen(*host_of("base"), find, ("minio",)).roles == []


def test_a_circle_of_needs_ends():
    circle = {"a": Role("a", lambda host: [], needs=("b",)), "b": Role("b", lambda host: [], needs=("a",))}
    assert sorted(names(chosen(*host_of("a", "b"), lambda name: circle[name]).roles)) == ["a", "b"]


# A run of one role.


def made(thing, readings, drive="", on="thing:drive"):
    """The plan of a run that is to change only minio, with drives beneath it."""
    drives = Role("drives", lambda host: [in_order(thing("drive", refuses=drive), thing("mount"))])
    minio = Role("minio", lambda host: [thing("nodes", on=(on,)), thing("apart")], needs=("drives",))
    run = runs.prepare(SimpleNamespace(name="prod"), [minio], beneath=[drives])
    by_address = dict(zip((f"thing:{name}" for name in ("drive", "mount", "nodes", "apart")), readings, strict=True))
    run.plan = planning.make("prod", [drives, minio], run.wants, by_address, {}, {"minio"})
    return run


OLD, NEW = {"word": "old"}, {"word": "new"}


def test_a_refusal_beneath_holds_the_role_back_and_is_told(thing):
    run = made(thing, [OLD, NEW, OLD, OLD], drive="it holds ext4")
    assert [(change.resource.name, change.action.value) for change in run.plan.changes] == [
        ("nodes", "."),
        ("apart", "."),
    ]
    assert run.code == REFUSED
    assert render.plan(run.plan)[-1] == "  beneath, only read: 1 refused in drives; try: inv check --host prod"
    (trouble,) = render.troubles(run.plan)
    assert "thing:drive is refused" in str(trouble)
    assert "it holds ext4" in str(trouble)


def test_what_is_not_there_yet_beneath_holds_back_what_stands_on_it_and_nothing_else(thing):
    run = made(thing, [None, None, OLD, OLD])
    assert [(change.resource.name, change.action.value) for change in run.plan.changes] == [
        ("nodes", "."),
        ("apart", "~"),
    ]
    assert "which this run leaves alone" in run.plan.changes[0].why
    assert run.code == PENDING
    assert render.troubles(run.plan) == []
    assert render.plan(run.plan)[-1] == "  beneath, only read: 2 to create in drives; try: inv deploy --host prod"


def test_what_only_differs_beneath_holds_nothing_back_and_is_said_in_a_line(thing):
    run = made(thing, [OLD, NEW, OLD, NEW])
    assert [change.action.value for change in run.plan.changes] == ["~", " "]
    assert [line for line in render.plan(run.plan) if "beneath" in line] == [
        "  beneath, only read: 1 to update in drives; try: inv deploy --host prod"
    ]


def test_nothing_beneath_is_ever_to_be_done_or_counted(thing):
    for readings in itertools.product([None, OLD, NEW], repeat=4):
        run = made(thing, readings)
        assert {change.role for change in run.plan.changes} == {"minio"}
        assert len(run.plan.changes) == 2
