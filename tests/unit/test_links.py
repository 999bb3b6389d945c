"""The dependencies of all resources of a storage server: a refusal holds back what needs it, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from converge.engine import plan as planning
from converge.engine import run as runs
from converge.engine.dependencies import links
from converge.engine.plan import Plan
from converge.engine.resource import Action, Resource, Unknown
from converge.resources.compose import Project
from converge.resources.file import Directory, File
from roles import named


@pytest.fixture
def run_of(storage_host):
    """A run of all roles of the storage server, with changes to its settings."""

    def make(**changes) -> runs.Run:
        host = storage_host(**changes)
        return runs.prepare(host, [named(name) for name in host.settings.roles])

    return make


def plan_of(run, missing=(), **readings) -> Plan:
    """A plan of a host in sync, except for `missing` resources and these readings."""
    well = {want.resource.address: want.resource.desired() for want in run.wants}
    return planning.make("prod", run.roles, run.wants, well | dict.fromkeys(missing) | readings, {})


def by_action(plan: Plan, action: Action) -> set[str]:
    return {change.address for change in plan.changes if change.action is action}


def everything_of(run, *roles: str) -> set[str]:
    """Every resource that names the data user as its owner or its group, by name or by number."""
    addresses = set()
    for resource in (want.resource for want in run.wants):
        if isinstance(resource, File | Directory) and "stowage" in [getattr(resource, role) for role in roles]:
            addresses.add(resource.address)
        if isinstance(resource, Project) and any(str(s["user"]).startswith("9000") for s in resource.services.values()):
            addresses.add(resource.address)
    assert {"project:minio", "project:nginx", "project:postgres", "directory:/mnt/drive1/drive1"} <= addresses
    return addresses


def test_another_number_of_the_data_user_holds_back_all_that_is_owned_by_it_or_runs_as_it(run_of):
    run = run_of()
    owned = everything_of(run, "owner")
    number = {"user:stowage": {"uid": "9001", "gid": "9000", "shell": "/usr/sbin/nologin"}}
    plan = plan_of(run, owned, **number)
    assert by_action(plan, Action.REFUSED) == {"user:stowage"}
    assert owned <= by_action(plan, Action.WAITING)
    assert not plan.todo
    assert {change.waits_for for change in plan.changes if change.action is Action.WAITING} == {"user:stowage"}


def test_another_number_of_its_group_holds_back_the_user_with_it(run_of):
    owned = everything_of(run_of(), "owner", "group")
    plan = plan_of(run_of(), owned, **{"group:stowage": {"gid": "9001"}})
    assert owned <= by_action(plan, Action.WAITING)
    assert not plan.todo


def test_what_is_well_is_not_touched_by_a_refusal_and_not_claimed_to_be_gone(run_of):
    plan = plan_of(run_of(), **{"user:stowage": {"uid": "9001", "gid": "9000", "shell": "/usr/sbin/nologin"}})
    assert (plan.todo, [change.address for change in plan.held]) == ([], ["user:stowage"])


REFUSED_AND_WHAT_WAITS = [
    ("image:docker.io/library/nginx:1.28", {"project:nginx"}),
    ("network:stowage", {"project:minio", "project:nginx", "project:postgres"}),
    ("mount:/mnt/drive3", {"directory:/mnt/drive3/drive3", "project:minio"}),
    ("filesystem:drive3", {"mount:/mnt/drive3", "project:minio"}),
    ("unit:docker.service", {"network:stowage", "image:docker.io/library/nginx:1.28", "project:postgres"}),
    ("file:/etc/stowage/postgres/secrets/password", {"project:postgres"}),
    ("file:/etc/stowage/nginx/conf/nginx.conf", {"project:nginx", "loaded:nginx"}),
    (
        "directory:/etc/stowage",
        {"file:/etc/stowage/minio/secrets/root_user", "file:/etc/stowage/nginx/conf/nginx.conf"},
    ),
    ("project:nginx", {"loaded:nginx", "answers:nginx", "unit:stowage@nginx.service"}),
    (
        "project:postgres",
        {"pg-user:geo", "pg-database:geo", "pg-extension:geo/postgis", "unit:stowage@postgres.service"},
    ),
    ("pg-user:geo", {"pg-database:geo", "pg-extension:geo/postgis", "pg-user:reader"}),
    ("file:/etc/systemd/system/stowage@.service", {"unit:stowage@minio.service"}),
]


@pytest.mark.parametrize(("refused", "waits"), REFUSED_AND_WHAT_WAITS)
def test_what_stands_on_an_unknown_resource_waits_for_it(run_of, refused, waits):
    plan = plan_of(run_of(), waits, **{refused: Unknown("late", lasting=True)})
    assert waits <= by_action(plan, Action.WAITING)
    assert {change.waits_for for change in plan.changes if change.address in waits} == {refused}


@pytest.mark.parametrize(
    ("refused", "goes_on"),
    [
        ("file:/etc/stowage/nginx/conf/nginx.conf", {"file:/etc/stowage/minio/secrets/root_user", "project:postgres"}),
        ("project:nginx", {"unit:stowage@minio.service", "project:postgres"}),
        ("filesystem:drive3", {"directory:/mnt/drive1/drive1", "project:nginx", "project:postgres"}),
        ("pg-user:reader", {"pg-database:geo"}),
    ],
)
def test_what_does_not_stand_on_it_goes_on(run_of, refused, goes_on):
    plan = plan_of(run_of(), goes_on, **{refused: Unknown("late", lasting=True)})
    assert goes_on <= by_action(plan, Action.UPDATE) | by_action(plan, Action.CREATE)


@pytest.mark.parametrize("kind", ["file", "directory", "symlink", "json", "mount", "mountpoint"])
def test_every_kind_that_has_a_path_gives_it_and_stands_on_the_folders_above(run_of, kind):
    having = [want.resource for want in run_of().wants if want.resource.kind == kind]
    for resource in having:
        assert f"path:{resource.path}" in resource.gives()
        assert f"path:{resource.path.rpartition('/')[0]}" in resource.stands_on()


def test_every_kind_that_has_an_owner_stands_on_it(run_of):
    """Checks all resources of all roles, so that a new kind cannot forget it."""
    having = [want.resource for want in run_of().wants if hasattr(want.resource, "owner")]
    for resource in having:
        owner, needs = str(resource.owner), set(resource.stands_on())
        assert {f"user:{owner}", f"pg-user:{owner}"} & needs, resource.address


def test_every_link_leads_to_what_is_planned_and_none_to_itself(run_of):
    resources: list[Resource] = [want.resource for want in run_of().wants]
    needs = links(resources)
    assert needs.keys() == {resource.address for resource in resources}
    assert not [address for address, on in needs.items() if address in on or not needs.keys() >= {*on}]


def test_no_two_resources_stand_on_each_other(run_of):
    needs = links(want.resource for want in run_of().wants)
    for address in needs:
        seen, next_ones = set(), list(needs[address])
        while next_ones:
            reached = next_ones.pop()
            assert reached != address
            next_ones += [two for two in needs[reached] if two not in seen]
            seen.add(reached)


def test_the_number_of_a_user_in_a_service_is_that_of_the_user(run_of):
    run = run_of()
    user = next(want for want in run.wants if want.resource.address == "user:stowage")
    other = [replace(user, resource=replace(user.resource, uid=9100)) if want is user else want for want in run.wants]
    assert "user:stowage" in links(want.resource for want in run.wants)["project:nginx"]
    assert "user:stowage" not in links(want.resource for want in other)["project:nginx"]
