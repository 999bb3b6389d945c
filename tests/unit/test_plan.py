"""The plan: states against desired states, and what holds back what."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from converge.engine import plan as planning
from converge.engine import run as runs
from converge.engine.gone import no_longer_wanted
from converge.engine.probe import forgetting
from converge.engine.resource import Action, Refusal, Resource, Unknown, in_order
from converge.engine.role import Role, role
from converge.errors import Trouble
from roles.minio.gone import Gone as MinioGone
from roles.services.role import past_role

OLD, NEW = {"word": "old"}, {"word": "new"}


def role_of(name: str, *wants, needs=()) -> Role:
    return Role(name, lambda host: wants, needs)


def made(roles, readings, memory=None) -> planning.Plan:
    wants = [want for role in roles for want in planning.wanted(role, None)]
    return planning.make(
        "host", roles, wants, {f"thing:{name}": reading for name, reading in readings.items()}, memory or {}
    )


def symbols(plan) -> dict[str, str]:
    return {change.resource.name: change.action.value for change in plan.changes}


def why(plan, name: str) -> str:
    return next(change.why for change in plan.changes if change.resource.name == name)


@pytest.fixture
def remote(thing):
    """A kind that only an API can read."""
    return type("Remote", (thing,), {"ask": classmethod(lambda cls, link, wanted: [])})


@pytest.mark.parametrize(
    ("wants", "reading", "symbol"),
    [
        ("new", None, "+"),
        ("new", OLD, "~"),
        ("new", {}, "~"),
        ("new", NEW, " "),
        ("new", NEW | {"more": "than is asked"}, " "),
        ("new", Unknown("late"), "?"),
        (None, OLD, "-"),
        (None, {}, "-"),
        (None, None, " "),
        (None, Unknown("late"), "?"),
    ],
)
def test_the_action_follows_from_what_is_and_what_should_be(thing, wants, reading, symbol):
    assert symbols(made([role_of("r", thing("a", wants))], {"a": reading})) == {"a": symbol}


def test_what_was_not_read_is_unknown_never_created(thing):
    plan = made([role_of("r", thing("a"))], {})
    assert symbols(plan) == {"a": "?"}
    assert not plan.todo
    assert plan.held


@pytest.mark.parametrize("reading", [None, OLD, {}])
def test_a_refusal_says_why_and_how_a_person_decides_otherwise(thing, reading):
    (change,) = made([role_of("r", thing("a", refuses="it holds data"))], {"a": reading}).changes
    assert (change.action, change.why, change.hint) == (Action.REFUSED, "it holds data", "look at it")


def test_what_is_as_it_should_be_is_not_refused(thing):
    assert made([role_of("r", thing("a", refuses="it holds data"))], {"a": NEW}).in_sync


def test_a_refused_drive_holds_back_its_own_mount_only(thing):
    chains = [
        in_order(thing(f"drive{n}", refuses="it holds ext4" if n == 2 else ""), thing(f"mount{n}"), thing(f"folder{n}"))
        for n in (1, 2, 3)
    ]
    plan = made(
        [role_of("drives", *chains)], {f"{what}{n}": None for what in ("drive", "mount", "folder") for n in (1, 2, 3)}
    )
    assert symbols(plan) == {
        "drive1": "+", "mount1": "+", "folder1": "+",
        "drive2": "!", "mount2": ".", "folder2": ".",
        "drive3": "+", "mount3": "+", "folder3": "+",
    }  # fmt: skip
    assert why(plan, "folder2") == "waits for thing:drive2"


def test_an_unknown_resource_holds_back_what_stands_behind_it(thing):
    plan = made([role_of("r", in_order(thing("a"), thing("b")))], {"a": Unknown("late"), "b": None})
    assert symbols(plan) == {"a": "?", "b": "."}


def test_what_is_well_behind_a_refused_resource_is_left_alone_but_passes_the_wait_on(thing):
    chain = in_order(thing("a", refuses="no"), thing("b"), thing("c"))
    plan = made([role_of("r", chain)], {"a": OLD, "b": NEW, "c": None})
    assert symbols(plan) == {"a": "!", "b": " ", "c": "."}
    assert why(plan, "c") == "waits for thing:a"


def test_a_refusal_that_only_tells_of_the_host_around_holds_back_no_other_role(thing):
    class Notice(thing):
        holds_back = False

    roles = [
        role_of("base", Notice("later file", refuses="it wins")),
        role_of("minio", thing("nodes"), needs=("base",)),
    ]
    assert symbols(made(roles, {"later file": OLD, "nodes": None})) == {"later file": "!", "nodes": "+"}


def test_the_roles_that_need_a_role_wait_for_what_it_waits_for_and_others_go_on(thing):
    roles = [
        role_of("drives", in_order(thing("drive", refuses="it holds ext4"), thing("mount"))),
        role_of("docker", thing("engine")),
        role_of("minio", in_order(thing("nodes"), thing("answers")), needs=("drives", "docker")),
        role_of("buckets", thing("bucket"), needs=("minio",)),
    ]
    plan = made(roles, dict.fromkeys(["drive", "mount", "engine", "nodes", "answers", "bucket"]))
    assert symbols(plan) == {"drive": "!", "mount": ".", "engine": "+", "nodes": ".", "answers": ".", "bucket": "."}
    assert {why(plan, name) for name in ("mount", "nodes", "answers", "bucket")} == {"waits for thing:drive"}


def test_a_resource_that_two_roles_want_holds_back_the_chains_of_both(thing):
    shared = thing("folder", refuses="a file stands there")
    host = SimpleNamespace(name="host")
    roles = [role_of("minio", in_order(shared, thing("a"))), role_of("nginx", in_order(shared, thing("b")))]
    wants = runs.prepare(host, roles).wants
    plan = planning.make("host", roles, wants, dict.fromkeys(["thing:folder", "thing:a", "thing:b"]), {})
    assert symbols(plan) == {"folder": "!", "a": ".", "b": "."}


def planned(roles, readings) -> planning.Plan:
    run = runs.prepare(SimpleNamespace(name="host"), roles)
    return planning.make("host", roles, run.wants, {f"thing:{name}": reading for name, reading in readings.items()}, {})


@pytest.mark.parametrize("shared", [None, OLD, NEW])
def test_a_chain_does_not_lose_a_refusal_at_a_link_that_an_earlier_role_wants_too(thing, shared):
    roles = [
        role_of("minio", in_order(thing("shared"), thing("node"))),
        role_of("backup", in_order(thing("refused", refuses="a directory"), thing("shared"), thing("after"))),
    ]
    plan = planned(roles, {"refused": None, "shared": shared, "node": None, "after": None})
    assert symbols(plan)["after"] == "."
    assert next(change.waits_for for change in plan.changes if change.resource.name == "after") == "thing:refused"
    assert symbols(plan)["node"] == "+", "other chains go on"


def test_what_two_roles_want_is_made_for_the_one_that_nothing_holds_back(thing):
    roles = [
        role_of("drives", thing("drive", refuses="it holds ext4")),
        role_of("minio", in_order(thing("folder"), thing("nodes")), needs=("drives",)),
        role_of("nginx", in_order(thing("folder"), thing("edge"))),
    ]
    plan = planned(roles, dict.fromkeys(["drive", "folder", "nodes", "edge"]))
    assert symbols(plan) == {"drive": "!", "nodes": ".", "folder": "+", "edge": "+"}
    assert next(change.role for change in plan.changes if change.resource.name == "folder") == "nginx"


def test_a_predecessor_counts_over_all_chains_of_all_roles(thing):
    roles = [
        role_of("one", in_order(thing("a"), thing("shared"))),
        role_of("two", in_order(thing("b"), thing("shared"))),
    ]
    wants = runs.prepare(SimpleNamespace(name="host"), roles).wants
    assert [want.after for want in wants if want.resource.name == "shared"] == [("thing:a", "thing:b")]


# Dependencies between chains and roles.


@pytest.mark.parametrize(
    ("given", "on"),
    [
        ((), "thing:giver"),
        (("uid:9000",), "uid:9000"),
        (("path:/mnt/drive1",), "path:/mnt/drive1"),
        (("path:/mnt/drive1",), "path:/mnt/drive1/a/b"),
        (("path:/etc/nginx/conf/a",), "within:/etc/nginx"),
    ],
)
@pytest.mark.parametrize("giver", ["refused", "unknown"])
def test_who_stands_on_what_is_held_waits_and_names_the_root(thing, given, on, giver):
    refuses = "no" if giver == "refused" else ""
    roles = [
        role_of("one", thing("giver", refuses=refuses, given=given)),
        role_of("two", thing("user", on=(on,)), thing("apart", on=("path:/mnt/drive10", "uid:900"))),
    ]
    plan = planned(roles, {"giver": OLD if refuses else Unknown("late"), "user": OLD, "apart": OLD})
    assert symbols(plan) == {"giver": "!" if refuses else "?", "user": ".", "apart": "~"}
    assert [change.waits_for for change in plan.changes] == ["", "thing:giver", ""]


def test_a_wait_passes_through_what_is_well(thing):
    roles = [
        role_of("one", thing("user", refuses="another number")),
        role_of("two", thing("project", on=("thing:user",))),
        role_of("three", thing("database", on=("thing:project",))),
    ]
    plan = planned(roles, {"user": OLD, "project": NEW, "database": None})
    assert symbols(plan) == {"user": "!", "project": " ", "database": "."}
    assert why(plan, "database") == "waits for thing:user"


def test_a_wait_reaches_a_role_that_stands_before_what_it_stands_on(thing):
    roles = [role_of("one", thing("file", on=("thing:user",))), role_of("two", thing("user", refuses="another number"))]
    assert symbols(planned(roles, {"file": OLD, "user": OLD})) == {"file": ".", "user": "!"}


def test_what_stands_on_itself_or_in_a_circle_holds_nothing_back(thing):
    circle = [thing("a", on=("thing:b", "thing:a")), thing("b", on=("thing:a",))]
    assert symbols(planned([role_of("r", *circle)], {"a": OLD, "b": OLD})) == {"a": "~", "b": "~"}


def test_a_restart_that_would_follow_waits_with_what_it_stands_on(thing):
    roles = [
        role_of("one", thing("user", refuses="another number")),
        role_of("two", in_order(thing("file"), thing("service", undone_after="file", on=("thing:user",)))),
    ]
    assert symbols(planned(roles, {"user": OLD, "file": OLD, "service": NEW})) == {
        "user": "!",
        "file": "~",
        "service": ".",
    }


def test_planning_stays_near_to_linear(thing):
    """A thousand resources in chains of fifty, each within a folder and with an owner."""

    def seconds(chains: int) -> float:
        user = thing("user", refuses="no")
        roles = [
            role_of("one", user),
            *(
                role_of(
                    f"r{n}",
                    in_order(
                        *(
                            thing(f"{n}-{m}", given=(f"path:/srv/{n}/{m}",), on=(f"path:/srv/{n}", "thing:user"))
                            for m in range(50)
                        )
                    ),
                )
                for n in range(chains)
            ),
        ]
        begun = time.thread_time()
        plan = planned(roles, {name: OLD for name in ["user", *(f"{n}-{m}" for n in range(chains) for m in range(50))]})
        assert plan.count(Action.WAITING) == chains * 50
        return time.thread_time() - begun

    seconds(2)
    assert min(seconds(20) for _ in range(2)) < 40 * min(seconds(2) for _ in range(3))


def test_two_roles_may_want_the_same_thing_but_not_in_two_ways(thing):
    host = SimpleNamespace(name="host")
    assert len(runs.prepare(host, [role_of("one", thing("a")), role_of("two", thing("a"))]).wants) == 1
    with pytest.raises(Trouble, match="thing:a is wanted differently by one and by two"):
        runs.prepare(host, [role_of("one", thing("a")), role_of("two", thing("a", "other"))])


@pytest.mark.parametrize(
    ("service", "symbol", "later"),
    [
        ([None, None], "+", False),
        ([NEW, OLD], ".", True),
        ([NEW, None], ".", True),
        ([None, OLD], ".", True),
        ([NEW, NEW], "?", False),
    ],
)
def test_what_an_api_tells_waits_for_a_service_of_this_plan_and_is_new_only_with_it(
    thing, remote, service, symbol, later
):
    roles = [role_of("minio", thing("nodes"), thing("answers")), role_of("buckets", remote("bucket"), needs=("minio",))]
    readings = {"nodes": service[0], "answers": service[1], "bucket": Unknown("no node answers")}
    plan = made(roles, readings)
    assert symbols(plan)["bucket"] == symbol
    assert bool(plan.later) is later


@pytest.mark.parametrize(("nodes", "symbol"), [(None, "."), (OLD, "."), (NEW, "?")])
def test_the_service_is_any_of_what_a_role_needs(thing, remote, nodes, symbol):
    """After a first deploy that was cut off, Docker is there, and the service is not."""
    roles = [
        role_of("docker", thing("engine")),
        role_of("minio", thing("nodes"), needs=("docker",)),
        role_of("backup", remote("bucket"), needs=("docker", "minio")),
    ]
    plan = made(roles, {"engine": NEW, "nodes": nodes, "bucket": Unknown("no node answers")})
    assert symbols(plan)["bucket"] == symbol


def test_buckets_are_not_new_where_the_drives_hold_data_already(thing, remote):
    roles = [
        role_of("drives", thing("drive")),
        role_of("minio", thing("nodes"), needs=("drives",)),
        role_of("buckets", remote("bucket"), needs=("minio",)),
    ]
    plan = made(roles, {"drive": NEW, "nodes": None, "bucket": Unknown("no node answers")})
    assert symbols(plan) == {"drive": " ", "nodes": "+", "bucket": "."}, "the drives were made by an earlier deploy"


def test_what_an_api_tells_waits_for_what_holds_its_service_back(thing, remote):
    roles = [
        role_of("minio", thing("nodes", refuses="not ours")),
        role_of("buckets", remote("bucket"), needs=("minio",)),
    ]
    plan = made(roles, {"nodes": OLD, "bucket": Unknown("no node answers")})
    assert (symbols(plan)["bucket"], why(plan, "bucket")) == (".", "waits for thing:nodes")
    assert not plan.later


def test_what_is_read_later_keeps_the_plan_from_being_in_sync_without_refusing_it(thing, remote):
    roles = [role_of("minio", thing("nodes")), role_of("buckets", remote("bucket"), needs=("minio",))]
    plan = made(roles, {"nodes": OLD, "bucket": Unknown("no node answers")})
    assert not plan.in_sync
    assert not plan.held


@pytest.mark.parametrize(("service", "symbol", "later"), [(OLD, ".", True), (NEW, "?", False)])
def test_what_a_stopped_service_cannot_tell_is_read_after_the_plan_has_started_it(thing, service, symbol, later):
    roles = [
        role_of("docker", in_order(thing("service"), thing("network"))),
        role_of("images", thing("image"), needs=("docker",)),
    ]
    plan = made(roles, {"service": service, "network": Unknown("status 1"), "image": Unknown("status 1")})
    assert symbols(plan)["network"] == symbol
    assert bool(plan.later) is later
    assert bool(plan.held) is not later
    assert symbols(plan)["image"] == "."


@pytest.mark.parametrize(("file", "symbol"), [(OLD, "~"), (None, "~"), (NEW, " ")])
def test_a_restart_stands_in_the_plan_when_what_it_reads_changes(thing, file, symbol):
    chain = in_order(thing("file"), thing("between"), thing("service", undone_after="file"))
    assert symbols(made([role_of("r", chain)], {"file": file, "between": NEW, "service": NEW}))["service"] == symbol


def test_a_restart_does_not_follow_from_what_comes_later_or_stands_elsewhere(thing):
    roles = [
        role_of("r", in_order(thing("service", undone_after="file"), thing("file"))),
        role_of("s", thing("other", undone_after="file")),
    ]
    plan = made(roles, {"service": NEW, "file": OLD, "other": NEW})
    assert symbols(plan) == {"service": " ", "file": "~", "other": " "}


def test_a_restart_does_not_follow_from_a_refused_change(thing):
    chain = in_order(thing("file", refuses="a directory"), thing("service", undone_after="file"))
    assert symbols(made([role_of("r", chain)], {"file": OLD, "service": NEW})) == {"file": "!", "service": " "}


@pytest.mark.parametrize("reading", [OLD, None])
def test_drift_is_told_from_a_new_setting(thing, reading):
    role_ = role_of("r", thing("a"))
    drift = {name: made([role_], {"a": reading}, memory).changes[0].drift for name, memory in {
        "applied as it is wanted": {"thing:a": f"r {thing('a').remembered()}"},
        "applied otherwise": {"thing:a": f"r {thing('a', 'older').remembered()}"},
        "never applied": {},
    }.items()}  # fmt: skip
    assert drift == {"applied as it is wanted": True, "applied otherwise": False, "never applied": False}


def test_a_removal_disrupts_and_a_creation_does_not(thing):
    plan = made([role_of("r", thing("gone", None), thing("made"))], {"gone": OLD, "made": None})
    assert [change.disrupts for change in plan.changes] == [True, False]


def test_an_empty_plan_is_in_sync():
    assert planning.Plan("host").in_sync


def test_a_chain_may_hold_chains(thing):
    inner = in_order(thing("b"), thing("c"))
    names = [
        (want.resource.name, want.after)
        for want in planning.wanted(role_of("r", in_order(thing("a"), inner, thing("d"))), None)
    ]
    assert names == [("a", ()), ("b", ("thing:a",)), ("c", ("thing:b",)), ("d", ("thing:c",))]


def test_a_role_is_known_by_its_function():
    @role(needs=("base",))
    def drives(host):
        return []

    assert (drives.name, drives.needs) == ("drives", ("base",))


# Resources that no role wants any more.


@pytest.fixture
def gone(thing):
    """The addresses that would be removed, given what the host remembers and what is still wanted."""

    def find(
        memory: dict[str, str], wanted: set[str] = frozenset(), can_remove=lambda host, kind, name: None
    ) -> list[str]:
        roles = {"nginx": Role("nginx", lambda host: [], gone=can_remove)}
        return [change.resource.address for change in no_longer_wanted(None, memory, set(wanted), roles)]

    return find


def test_what_a_role_made_and_no_longer_wants_is_taken_away_users_before_what_they_use(gone):
    memory = dict.fromkeys(
        ["file:/etc/systemd/system/a@.service", "project:nginx", "unit:a@nginx.service"], "nginx 0123"
    )
    assert gone(memory) == ["unit:a@nginx.service", "project:nginx", "file:/etc/systemd/system/a@.service"]


def test_what_uses_something_is_taken_away_before_it(gone):
    used = ["service-account:a", "minio-user:a", "policy:z", "policy:a", "bucket:z"]
    memory = dict.fromkeys([*sorted(used), "file:/x"], "nginx 0")
    addresses = gone(memory, can_remove=lambda host, kind, name: MinioGone(None, kind, name))
    assert [address for address in addresses if address != "file:/x"] == used


def test_of_kinds_that_may_hold_data_none_is_ever_taken_away_by_itself():
    assert list(past_role("one").wants(None)) == [], "its kinds are loaded with it"
    assert set(Resource.removals) == {"file", "unit", "project"}


def test_what_is_still_wanted_or_was_made_by_a_role_that_was_not_asked_for_is_left(gone):
    assert gone({"file:/a": "nginx 0", "file:/b": "minio 0"}, {"file:/a"}) == []


@pytest.mark.parametrize(
    "address",
    [
        "filesystem:drive1",
        "mount:/mnt/drive1",
        "mountpoint:/mnt/drive1",
        "directory:/mnt/drive1/drive1",
        "packages:base",
        "user:stowage",
        "image:a:1",
    ],
)
def test_what_holds_data_or_may_be_needed_by_others_is_never_taken_away(gone, address):
    assert gone({address: "nginx 0123"}) == []


def test_a_role_may_know_how_to_take_away_kinds_of_its_own(gone, thing):
    assert gone({"thing:a b": "nginx 0"}, can_remove=lambda host, kind, name: thing(name, None)) == ["thing:a b"]


def test_what_is_taken_away_is_absent_when_it_is_planned_again(thing):
    assert made([role_of("nginx", thing("a", None))], {"a": None}).in_sync


@pytest.fixture
def kept(thing):
    """A kind that holds data: a missing one must not be made anew."""
    return type("Kept", (thing,), {"lost": lambda self: Refusal("it is gone", "bring it back")})


@pytest.mark.parametrize(
    ("memory", "reading", "symbol"),
    [
        ({}, None, "+"),
        ({"thing:a": "r begun"}, None, "+"),
        ({"thing:a": "r 0123"}, None, "!"),
        ({"thing:b": "r 0123"}, None, "+"),
        ({"thing:a": "r 0123"}, OLD, "~"),
        ({"thing:a": "r 0123"}, NEW, " "),
    ],
)
def test_what_held_data_and_is_gone_is_not_made_anew_without_a_word(kept, memory, reading, symbol):
    assert symbols(made([role_of("r", kept("a"))], {"a": reading}, memory)) == {"a": symbol}


def test_what_holds_no_data_and_is_gone_is_made_again(thing):
    assert symbols(made([role_of("r", thing("a"))], {"a": None}, {"thing:a": "r 0123"})) == {"a": "+"}


def test_the_host_forgets_one_thing_and_no_other(machine):
    (machine.folder / "stowage").mkdir()
    applied = machine.folder / "stowage/applied"
    applied.write_text("r 01 pg-database:a.b\nr 01 pg-database:axb\nr 01 pg-database:a.bc\n")
    assert machine.run(forgetting("pg-database:a.b"))[0] == 0
    assert applied.read_text() == "r 01 pg-database:axb\nr 01 pg-database:a.bc\n"
