"""The screen: the exact text of plans and errors. What changes it shows in tests/golden."""

from __future__ import annotations

import json
import re

import pytest

from converge.engine import plan as planning
from converge.engine import run as runs
from converge.engine.plan import Change, Plan
from converge.engine.resource import Action, Unknown
from converge.errors import LOCKED, REFUSED, UNREACHABLE, Trouble, Troubles
from converge.resources.compose import NoProject, Project
from converge.resources.file import File
from converge.resources.filesystem import Filesystem
from converge.ui import render
from roles import named

PG = ("pg-settings", "pg-inside", "pg-powers", "pg-sorting", "pg-data")
EXISTS_ON_A_BARE_HOST = (
    "boot",
    "boots",
    "firewall",
    "forwarding",
    "outranked",
    "permissions",
    "room",
    "system",
    "engine",
    *PG,
)


@pytest.fixture
def plan_of(storage_host):
    """A plan of the storage server in sync, except for the given readings."""

    def make(bare=False, memory=(), **readings) -> Plan:
        host = storage_host(users=[], policies=[])
        run = runs.prepare(host, [named(name) for name in host.settings.roles])
        states = {want.resource.address: want.resource.desired() for want in run.wants}
        if bare:
            states = {want.resource.address: _bare(want.resource) for want in run.wants}
        remembered = {
            want.resource.address: f"{want.role} {want.resource.remembered()}"
            for want in run.wants
            if want.resource.address in memory
        }
        return planning.make("prod", run.roles, run.wants, states | readings, remembered)

    return make


def _bare(resource):
    if resource.is_api():
        return Unknown("no MinIO node answers")
    if resource.kind == "sysctl":
        return {"value": "60"}
    return resource.desired() if resource.kind in EXISTS_ON_A_BARE_HOST else None


def text(plan: Plan, **options) -> str:
    return "\n".join(render.plan(plan, **options)) + "\n"


def read(kind, wanted, *answers):
    return kind.read([wanted], *answers)[0]


def test_a_warning_has_a_line_of_its_own():
    project = Project("nginx", {"nginx": {"container_name": "nginx"}}, warning="no TLS")
    change = Change("nginx", project, None, Action.CREATE)
    assert render.plan(Plan("lab", [change]))[2:4] == ["    + project:nginx", "        warning: no TLS"]


def test_the_plan_of_a_bare_host_is_whole(plan_of, golden):
    plan = plan_of(bare=True)
    assert not plan.held
    golden("plan_bare", text(plan))


def test_a_host_in_sync_gets_one_calm_sentence(plan_of, golden):
    golden("plan_in_sync", text(plan_of()))


def test_all_of_a_host_in_sync_is_shown_when_it_is_asked_for(plan_of):
    assert len(render.plan(plan_of(), full=True)) > 40


def drifted(plan_of) -> Plan:
    plan = plan_of()
    by_address = {change.address: change.resource for change in plan.changes}
    kept = by_address["file:/etc/sysctl.d/60-stowage.conf"]
    minio = by_address["project:minio"]
    secret = "file:/etc/stowage/minio/secrets/root_password"
    assert isinstance(kept, File)
    assert isinstance(minio, Project)
    return plan_of(
        memory=(kept.address, "directory:/mnt/drive1/drive1", secret),
        **{
            kept.address: {
                **kept.desired(),
                "sha256": "0" * 64,
                "mode": "0600",
                "content": kept.text.replace("4096", "128"),
            },
            "sysctl:net.core.somaxconn": {"value": "128"},
            "directory:/mnt/drive1/drive1": None,
            "json:/etc/docker/daemon.json": {"live-restore": "false", "theirs": "1"},
            "unit:chrony.service": {"enabled": "disabled", "active": "inactive", "reload": "no"},
            secret: {**by_address[secret].desired(), "sha256": "0" * 64},
            minio.address: {**minio.desired(), "minio2": f"{minio.hash_of('minio2')} exited"},
            "bucket:models": {
                "versioning": "off",
                "object_lock": "off",
                "retention": "none",
                "lifecycle": "none",
                "quota": "none",
            },
        },
    )


def test_drift_is_shown_with_its_differences_and_who_asked_for_it(plan_of, golden):
    golden("plan_drift", text(drifted(plan_of)))


def test_differences_can_be_left_out(plan_of):
    assert "@@" not in text(drifted(plan_of), diffs=False)
    assert "~ file:/etc/sysctl.d/60-stowage.conf" in text(drifted(plan_of), diffs=False)


def refused(plan_of) -> Plan:
    by_label = {
        change.resource.label: change.resource
        for change in plan_of().changes
        if isinstance(change.resource, Filesystem)
    }
    table = 'NAME="sde" TYPE="disk" SIZE="4T" SERIAL="E" FSTYPE="" LABEL="" PTTYPE="" MOUNTPOINT=""'
    looks = {
        "drive1": ("sda|blank", "DISK_1 4000787030016|||"),
        "drive2": ("sdb|holds TYPE=ext4 LABEL=photos ", "|||"),
        "drive3": ("ata-DISK_3|missing", "|||"),
        "drive4": ("sdd|", "|||"),
    }
    readings = {
        f"filesystem:{label}": read(Filesystem, by_label[label], f"{look}\n\n{records}\n", table)
        for label, (look, records) in looks.items()
    }
    missing = [
        f"{kind}:/mnt/drive{n}{more}"
        for n in (1, 2, 3, 4)
        for kind, more in (("mount", ""), ("directory", f"/drive{n}"))
    ]
    return plan_of(**dict.fromkeys([*missing, "project:minio", "answers:minio"]), **readings)


def test_refusals_say_why_and_what_to_type_and_the_rest_says_what_it_waits_for(plan_of, golden):
    plan = refused(plan_of)
    troubles = "\n".join(str(trouble) for trouble in render.troubles(plan)) + "\n"
    golden("plan_refused", f"{text(plan)}\n{troubles}")


LONG = "a word of a line that a person reads " * 12


def test_no_line_is_wider_than_its_terminal_and_nothing_is_cut_off(thing):
    kind = type("Wide", (thing,), {"diff": lambda self, before: [f"- {LONG}", f"+ {LONG}"]})
    changes = [
        Change("role", kind("a"), {}, Action.UPDATE, why=LONG),
        Change("role", thing("b"), None, Action.REFUSED, why=LONG, hint=" && ".join(["a command of a host"] * 9)),
        Change("role", thing("c"), None, Action.CREATE, why=f"warning: {LONG}"),
        *(Change("role", thing(f"waits{n}"), None, Action.WAITING, why=f"waits for {LONG}") for n in range(9)),
    ]
    unwrapped = " ".join(text(Plan("host", changes), columns=10_000).split())
    for columns in (60, 80, 100):
        lines = render.plan(Plan("host", changes), columns=columns)
        assert max(map(len, lines)) <= columns
        assert " ".join("\n".join(lines).split()) == unwrapped
        assert [
            re.sub(r"\033\[[0-9;]*m", "", line)
            for line in render.plan(Plan("host", changes), columns=columns, colour=True)
        ] == lines


def test_a_path_and_a_command_stay_whole(thing):
    path, command = "/srv/" + "x" * 120, f"wipefs --all {'y' * 120}"
    change = Change("role", thing("a"), None, Action.REFUSED, why=f"it holds {path}", hint=f"on the host: {command}")
    screen = text(Plan("host", [change]))
    assert path in screen
    assert f"try: on the host: {command}" in screen


def test_one_message_of_several_is_said_once_with_all_of_them(thing):
    changes = [
        Change("role", thing(f"n{n}"), None, Action.UNKNOWN, why="no node answers", hint="inv status") for n in range(7)
    ]
    lines = render.plan(Plan("host", changes))
    assert sum("no node answers" in line for line in lines) == 1
    assert sum("try:" in line for line in lines) == 1
    assert all(f"thing:n{n}" in "\n".join(lines) for n in range(7))


def test_zeros_are_left_out_of_the_counts(plan_of, thing):
    assert render.counts(Plan("host")) == "0 unchanged"
    changes = [Change("role", thing(str(n)), None, action) for n, action in enumerate([*Action, Action.CREATE])]
    assert render.counts(Plan("host", changes)) == (
        "2 to create, 1 to update, 1 to remove, 1 refused, 1 unknown, 1 waiting, 1 unchanged"
    )


def test_colours_change_nothing_but_the_colour(plan_of):
    plan = drifted(plan_of)
    coloured = text(plan, colour=True)
    assert "\033[33m~\033[0m" in coloured
    assert re.sub(r"\033\[[0-9;]*m", "", coloured) == text(plan)


def test_a_machine_reads_the_same_as_a_person(plan_of):
    plan = refused(plan_of)
    (host,) = json.loads(json.dumps(render.as_json([plan], {"prod": REFUSED})))["hosts"]
    assert (host["host"], host["exit_code"]) == ("prod", REFUSED)
    assert host["counts"]["refused"] == 2
    assert host["counts"]["unknown"] == 2
    by_address = {change["address"]: change for change in host["changes"]}
    assert by_address["filesystem:drive2"]["action"] == "refused"
    assert "photos" in by_address["filesystem:drive2"]["why"]
    assert by_address["mount:/mnt/drive2"]["why"] == "waits for filesystem:drive2"


def test_a_machine_reads_the_differences_too(plan_of):
    (host,) = render.as_json([drifted(plan_of)], {})["hosts"]
    by_address = {change["address"]: change for change in host["changes"]}
    assert by_address["sysctl:net.core.somaxconn"]["diff"] == ["value: 128 -> 4096"]
    assert by_address["file:/etc/stowage/minio/secrets/root_password"]["diff"] == ["content: changed, hidden"]
    assert by_address["file:/etc/stowage/minio/secrets/root_password"]["drift"] is True


ERRORS = [
    Trouble(
        "filesystem:drive1 failed",
        where="prod",
        why="ended with status 1\nthe drive is no longer blank",
        untouched="3 changes are done; not begun: mount:/mnt/drive1, and the roles after it",
        hint="inv deploy --host prod",
    ),
    Trouble("it cannot be reached", where="store2", why="connection refused", hint="ssh store2", code=UNREACHABLE),
    Trouble(
        "another run holds the lock",
        where="store3",
        why="anna@laptop since noon: inv deploy",
        untouched="nothing was changed",
        code=LOCKED,
    ),
    Trouble("one word"),
]


def test_an_error_says_what_where_why_what_was_left_and_what_to_type(golden):
    golden("errors", f"{ERRORS[0]}\n\n{Troubles(ERRORS)}\n")


def test_the_exit_code_of_several_errors_is_the_highest():
    assert Troubles(ERRORS).code == LOCKED
    assert Troubles(ERRORS[:1]).code == 1


def test_a_removal_says_what_stays(plan_of):
    """Whoever removes a service from the inventory wants to know what happens to its data."""
    gone = Change("role", NoProject("cache"), {"containers": "1"}, Action.REMOVE)
    assert any("- project:cache  what it keeps on the host stays" in line for line in render.plan(Plan("host", [gone])))
