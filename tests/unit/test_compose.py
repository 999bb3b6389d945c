"""Compose projects: values arrive unchanged, and only containers that differ are made anew."""

from __future__ import annotations

import getpass
import grp
import json
import os
from dataclasses import replace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as some

from converge.engine.resource import Action, Unknown
from converge.resources import compose
from converge.resources.compose import LABEL, Answers, NoProject, Project
from converge.resources.file import Directory, File
from converge.resources.mount import Mount
from tests.unit.conftest import inspected

TEXT = some.text(some.characters(exclude_categories=["Cs"]))
HOSTILE = [
    "$HOME ${X:-y} $$ $",
    'it\'s "quoted"',
    "a\nb\n",
    "- item",
    "key: value",
    "# remark",
    "yes",
    "0123",
    "{}",
    "é ✓ 🗄",
    "\\n \\",
    "%TAG",
    "&a *a !!x",
]


@pytest.fixture(autouse=True)
def folder(machine, monkeypatch):
    """The folder of compose files."""
    monkeypatch.setattr(compose, "FOLDER", str(machine.folder / "etc"))
    return machine.folder / "etc"


def service(name: str, **more) -> dict:
    return {"image": "silo:1", "container_name": name, "environment": {"A": "1"}, **more}


def project(**more) -> Project:
    return Project("minio", {name: service(name) for name in ("minio1", "minio2")}, **more)


def written(machine, docker, wanted: Project, **states) -> None:
    """Gives the host the wanted containers, some in another state: their mark, project and status."""
    machine.deploy(wanted)
    for name, definition in wanted.services.items():
        docker.runs(
            definition["container_name"],
            **{
                "mark": wanted.hash_of(name),
                "project": wanted.project,
                "inspected": inspected(definition),
                **states.get(name, {}),
            },
        )


def change_of(machine, wanted):
    return machine.plan(wanted).changes[0]


def undoubled(value):
    """A value as compose reads it: `$$` is a dollar; a single one would be replaced by a variable."""
    if isinstance(value, str):
        assert "$" not in value.replace("$$", "")
        return value.replace("$$", "$")
    if isinstance(value, dict):
        return {key: undoubled(item) for key, item in value.items()}
    return [undoubled(item) for item in value] if isinstance(value, list) else value


def read_as_compose_does(wanted: Project) -> dict:
    services = undoubled(yaml.safe_load(wanted.text()))["services"]
    for definition in services.values():
        del definition["labels"][LABEL]
        if not definition["labels"]:
            del definition["labels"]
    return services


@settings(max_examples=100, deadline=None)
@given(some.dictionaries(some.text("ABC_", min_size=1), TEXT), some.lists(TEXT))
def test_any_value_is_taken_literally(environment, command):
    services = {"a": service("a", environment=environment, command=command)}
    assert read_as_compose_does(Project("p", services)) == services


@pytest.mark.parametrize("value", [*HOSTILE, "\x7f", "\x85", "\u2028", "\ufeff", "\ufffe"])
def test_hostile_values_are_taken_literally(value):
    services = {"a": service("a", environment={"A": value}, labels={"x": value}, command=[value, {"deep": (value,)}])}
    assert read_as_compose_does(Project("p", services)) == json.loads(json.dumps(services))


def test_each_container_carries_the_hash_of_what_it_was_made_from():
    labels = {
        name: definition["labels"][LABEL] for name, definition in yaml.safe_load(project().text())["services"].items()
    }
    assert labels == {name: project().hash_of(name) for name in ("minio1", "minio2")}
    assert labels["minio1"] != labels["minio2"]


def test_only_what_is_about_a_service_changes_its_hash():
    def hashes(wanted):
        return [wanted.hash_of(name) for name in ("minio1", "minio2")]

    first, second = hashes(project())
    assert hashes(Project("minio", {"minio1": service("minio1", user="1"), "minio2": service("minio2")}))[1] == second
    assert hashes(project(also_hashed={"minio1": "new image"}))[0] != first
    assert hashes(project(also_hashed={"minio1": "new image"}))[1] == second
    assert first not in hashes(project(networks={"stowage": {"external": True}}))
    turned = Project("minio", {name: dict(reversed(service(name).items())) for name in ("minio1", "minio2")})
    assert hashes(turned) == [first, second], "the order of keys means nothing"


def test_nothing_on_the_host_is_absent(machine, docker):
    assert change_of(machine, project()).action is Action.CREATE
    docker.is_missing()
    assert change_of(machine, project()).action is Action.CREATE


def test_docker_that_does_not_answer_is_unknown_never_absent(machine, docker):
    docker.answers(False)
    assert isinstance(machine.read(project())[0], Unknown)


def test_what_runs_as_the_file_says_is_well(machine, docker):
    written(machine, docker, project())
    assert change_of(machine, project()).action is Action.NONE


@pytest.mark.parametrize(
    ("state", "says", "disrupts"),
    [
        ({"mark": "0123456789abcdef"}, "minio2: its definition, files or image changed: recreated", True),
        (
            {"mark": "0123456789abcdef", "status": "exited"},
            "minio2: its definition, files or image changed: recreated",
            False,
        ),
        ({"status": "exited"}, "minio2: is exited: started", False),
        ({"status": "restarting"}, "minio2: is restarting: started", False),
    ],
)
def test_a_container_that_is_not_as_it_should_be_is_named_with_what_happens_to_it(
    machine, docker, state, says, disrupts
):
    written(machine, docker, project(), minio2=state)
    change = change_of(machine, project())
    assert (change.action, change.disrupts) == (Action.UPDATE, disrupts)
    assert change.resource.diff(change.before) == [says]


def test_a_container_that_is_missing_is_made_and_the_others_are_left(machine, docker):
    written(machine, docker, project())
    (docker.things / "minio1").unlink()
    change = change_of(machine, project())
    assert change.resource.diff(change.before) == ["minio1: is not there: created"]
    assert change.resource.changed(change.before) == ["minio1"]


def test_a_file_that_was_changed_by_hand_is_written_again_and_no_container_touched(machine, docker, folder):
    written(machine, docker, project())
    (folder / "minio" / "compose.yaml").write_text("name: other")
    change = change_of(machine, project())
    assert (change.action, change.disrupts) == (Action.UPDATE, False)
    before = len(docker.calls)
    assert machine.deploy(project()).failed is None
    assert (folder / "minio" / "compose.yaml").read_text() == project().text()
    assert not [line for line in docker.calls[before:] if " up " in line]


@pytest.mark.parametrize(
    "state",
    [{"mark": "", "project": ""}, {"mark": "", "project": "minio"}, {"mark": "0123456789abcdef", "project": "other"}],
)
@pytest.mark.parametrize("file", [True, False])
def test_a_container_of_somebody_else_under_our_name_is_refused_and_left(machine, docker, folder, state, file):
    written(machine, docker, project(), minio1=state)
    if not file:
        (folder / "minio" / "compose.yaml").unlink()
    change = change_of(machine, project())
    assert (change.action, change.why) == (
        Action.REFUSED,
        "a container named minio1 is there that Stowage did not make",
    )


def bound(source, target) -> Project:
    volume = {"type": "bind", "source": str(source), "target": str(target)}
    return Project("minio", {"minio1": service("minio1", volumes=[volume, {"type": "tmpfs", "target": "/tmp"}])})


@pytest.mark.parametrize(("source", "target", "late"), [("a", "a", False), ("a", "b", True), ("gone", "b", False)])
def test_a_container_that_was_started_before_its_drive_was_mounted_is_restarted(
    machine, docker, tmp_path, source, target, late
):
    for name in "ab":
        (tmp_path / name).mkdir()
    wanted = bound(tmp_path / source, tmp_path / target)
    # This process stands for the container: it sees the current files.
    written(machine, docker, wanted, minio1={"pid": os.getpid()})
    change = change_of(machine, wanted)
    assert (change.action is Action.UPDATE) is late
    if late:
        assert change.disrupts
        assert change.resource.diff(change.before) == [
            "minio1: was started before what it has bound was mounted or made: restarted"
        ]
        machine.deploy(wanted)
        assert docker.calls[-1].endswith("restart -t 90 -- minio1")


def test_a_directory_that_was_removed_beneath_a_container_is_made_and_bound_in_one_deploy(machine, docker, tmp_path):
    (tmp_path / "seen").mkdir()
    wanted = bound(tmp_path / "conf", tmp_path / "seen")
    folder = Directory(str(tmp_path / "conf"), getpass.getuser(), grp.getgrgid(os.getgid()).gr_name)
    written(machine, docker, wanted, minio1={"pid": os.getpid()})
    assert change_of(machine, wanted).action is Action.NONE, "a dead drive does not stop what runs"
    machine.deploy(folder, wanted)
    assert docker.calls[-1] == "restart -t 90 -- minio1"
    assert not wanted.undone_by(folder, made=False)


def test_a_drive_that_is_mounted_in_this_plan_makes_its_containers_restart():
    wanted = bound("/mnt/drive1/drive1", "/data")
    assert wanted.undone_by(Mount("/mnt/drive1", "drive1"), made=True)
    assert not wanted.undone_by(Mount("/mnt/drive10", "drive10"), made=True)
    assert not wanted.undone_by(Mount("/mnt/drive", "drive"), made=True)


def up_of(docker) -> list[str]:
    return [line.partition(" -- ")[2] for line in docker.calls if " up " in line]


def test_each_service_is_made_alone_unless_all_must_change_together(machine, docker):
    for together, services in ((False, "minio2"), (True, "minio1 minio2")):
        wanted = project(together=together)
        written(machine, docker, wanted, minio2={"mark": "0123456789abcdef"})
        machine.deploy(wanted)
        assert up_of(docker)[-1] == services


def test_a_node_that_is_away_is_started_without_the_others_though_all_change_together(machine, docker):
    written(machine, docker, project(together=True), minio2={"status": "exited"})
    machine.deploy(project(together=True))
    assert up_of(docker)[-1] == "minio2"


@pytest.mark.parametrize(
    ("error", "holder", "heals"),
    [
        ("Bind for 0.0.0.0:9001 failed: port is already allocated", "", True),
        ("Bind for 0.0.0.0:9001 failed: port is already allocated", "echo 4c01db0b339c", False),
        ("exec: no such file", "", False),
    ],
)
def test_ports_that_a_power_cut_left_with_nobody_are_taken_back(machine, docker, error, holder, heals):
    written(machine, docker, project(), minio1={"status": "created", "started": error})
    again = machine.folder / "again"
    docker.answers(True, f'case "$*" in *" up "*) [ -e {again} ];; ps*) {holder or ":"};; esac')
    machine.program("systemctl", f'echo "$*" >>{again}')
    machine.deploy(project())
    # The fake's container stays as it was; only the second start matters.
    assert again.exists() is heals
    assert len(up_of(docker)) == (3 if heals else 2)
    assert not heals or again.read_text() == "restart docker.service\n"


def test_nothing_that_is_not_named_is_touched(machine, docker):
    machine.deploy(project())
    assert up_of(docker) == ["minio1 minio2"]
    assert not [line for line in docker.calls if "--remove-orphans" in line or "down" in line]
    assert all("--pull never" in line and "--no-build" in line for line in docker.calls if " up " in line)


def test_a_file_that_compose_does_not_accept_leaves_the_old_one_and_the_containers(machine, docker, folder):
    written(machine, docker, project())
    docker.answers(True, otherwise='case "$*" in *config*) echo "services.a: unknown key"; exit 15;; esac')
    done = machine.deploy(replace(project(), also_hashed={"minio1": "x"}))
    assert (done.failed.action, done.why.splitlines()) == (
        Action.UPDATE,
        ["ended with status 15", "services.a: unknown key"],
    )
    assert (folder / "minio" / "compose.yaml").read_text() == project().text()
    assert [path.name for path in (folder / "minio").iterdir()] == ["compose.yaml"]
    assert len(up_of(docker)) == 1


def test_a_warning_stands_behind_the_name():
    assert project(warning="no TLS").note(None) == "warning: no TLS"


@pytest.mark.parametrize(("ids", "action"), [("", Action.NONE), ("a1\nb2", Action.REMOVE)])
def test_a_project_that_is_no_longer_wanted_is_taken_down_where_it_has_containers(machine, docker, ids, action):
    docker.answers(True, otherwise=f"printf '{ids}'")
    change = change_of(machine, NoProject("nginx"))
    assert change.action is action
    machine.deploy(NoProject("nginx"))
    # Each with its own time to stop: --timeout would give all of them the longest.
    assert bool([line for line in docker.calls if line.endswith(" down")]) is (action is Action.REMOVE)


def test_a_service_has_the_time_to_stop_that_its_own_definition_gives(machine, docker):
    """A container that ignores signals, with 3 s to stop, once took the 90 s of a storage server."""
    docker.runs("cache", "older", "cache", status="dead")
    quick = Project("cache", {"cache": {"image": "any:1", "container_name": "cache", "stop_grace_period": "3s"}})
    script = quick.fix({"compose.yaml": "", "cache": f"{quick.hash_of('cache')} dead"})[0].script
    assert "--timeout 3 " in script
    assert "docker stop -t 3 -- cache" in script
    assert "-t 90" not in script


def test_whether_a_project_is_gone_is_unknown_while_docker_does_not_answer(machine, docker):
    docker.answers(False)
    assert isinstance(machine.read(NoProject("nginx"))[0], Unknown)


URLS = ("http://172.30.99.11:9000/live", "http://172.30.99.12:9000/live")


@pytest.fixture
def curl(machine):
    """A curl that answers with these codes, one for each address; several rounds in turn."""

    def says(*rounds: str) -> None:
        (machine.folder / "rounds").write_text("\n".join(rounds) + "\n")
        machine.program(
            "curl",
            f"""
cd {machine.folder}; codes=$(head -n 1 rounds)
[ "$(wc -l <rounds)" = 1 ] || sed -i 1d rounds
set -- $(printf '%s\\n' "$@" | grep ^http); for code in $codes; do echo "$code $1"; shift; done""",
        )
        machine.program("sleep", "exit 0")

    return says


@pytest.mark.parametrize(
    ("codes", "symbol"),
    [("200 200", " "), ("200 503", "~"), ("503 200", "~"), ("000 200", "~"), ("000 000", "+"), ("", "+"), ("200", "~")],
)
def test_something_answers_when_all_of_its_addresses_do(machine, curl, codes, symbol):
    curl(codes)
    assert change_of(machine, Answers("minio", URLS)).action.value == symbol


def test_several_that_answer_are_told_apart(machine, curl):
    curl("200 200 503")
    changes = machine.plan(Answers("minio", URLS), Answers("nginx", ("http://172.30.99.10:9000/alive",))).changes
    assert [change.action.value for change in changes] == [" ", "~"]
    assert changes[1].resource.diff(changes[1].before) == ["http://172.30.99.10:9000/alive: 503 -> 200"]


def test_a_host_without_curl_has_nothing_that_answers(machine):
    machine.places["command -v curl"] = "command -v no-curl-here"
    assert machine.read(Answers("minio", URLS)) == [None]


def test_it_is_waited_for_until_all_answer(machine, curl):
    curl("000 000", "200 503", "200 200")
    (step,) = Answers("minio", URLS).fix(None)
    assert machine.run(f"set -e\n{step.script}")[0] == 0


def test_what_does_not_answer_in_time_is_an_error_with_what_each_address_said(machine, curl):
    curl("200 503")
    (step,) = Answers("minio", URLS, within=20).fix(None)
    status, output = machine.run(f"set -e\n{step.script}")
    assert status == 1
    assert output.splitlines()[-3:] == ["no answer after 20 s:", f"200 {URLS[0]}", f"503 {URLS[1]}"]
    assert output.splitlines()[0] == f"waiting: 200 {URLS[0]} 503 {URLS[1]} ", "it is never silent for long"


def test_what_stands_behind_a_project_answers_anew_when_that_changes():
    assert Answers("minio", URLS).undone_by(project(), made=True)
    assert not Answers("minio", URLS).undone_by(Mount("/mnt/a", "a"), made=True)
    assert not Answers("minio", URLS).undone_by(Project("keycloak", {}), made=True), "it is another's"


def test_a_container_made_anew_by_hand_under_our_labels_is_made_anew_by_us(machine, docker):
    evil = inspected(service("minio2"))
    evil["HostConfig"] |= {"Privileged": True}
    evil["Mounts"] = [{"Type": "bind", "Source": "/", "Destination": "/host", "RW": True}]
    written(machine, docker, project(), minio2={"inspected": evil})
    change = change_of(machine, project())
    assert (change.action, change.disrupts) == (Action.UPDATE, True)
    assert change.resource.diff(change.before) == ["minio2: privileged yes -> no; mounts / at /host -> none: recreated"]
    before = len(docker.calls)
    machine.deploy(project())
    commands = docker.calls[before:]
    assert f"stop -t {compose.GRACE} -- minio2" in commands
    assert "rm -f -- minio2" in commands
    (up,) = [line for line in commands if " up " in line]
    assert up.endswith("-- minio2")


def test_what_can_be_mended_while_it_runs_stops_nothing(machine, docker):
    tuned = inspected(service("minio1"))
    tuned["HostConfig"]["RestartPolicy"]["Name"] = "always"
    written(machine, docker, project(together=True), minio1={"inspected": tuned})
    change = change_of(machine, project(together=True))
    assert (change.action, change.disrupts) == (Action.UPDATE, False)
    assert change.resource.diff(change.before) == ["minio1: restart always -> no: mended while it runs"]
    before = len(docker.calls)
    machine.deploy(project(together=True))
    assert "update --restart=no -- minio1" in docker.calls[before:]
    assert not [line for line in docker.calls[before:] if line.startswith(("stop", "rm", "restart"))]


def test_who_started_before_its_secrets_were_written_is_restarted_with_all_others(machine, docker, tmp_path):
    secret = tmp_path / "root_password"
    secret.write_text("x")
    os.utime(secret, (1_800_000_000, 1_800_000_000))
    wanted = project(together=True, read_at_start=(str(secret),))
    written(machine, docker, wanted, minio2={"started": "2030-01-01T00:00:00Z"})
    change = change_of(machine, wanted)
    assert change.resource.diff(change.before) == [
        "minio1: runs with secrets that were written anew after its start: restarted"
    ]
    assert change.disrupts
    before = len(docker.calls)
    machine.deploy(wanted)
    restarted = [line for line in docker.calls[before:] if line.startswith("restart")]
    assert sorted(line.rpartition(" ")[2] for line in restarted) == ["minio1", "minio2"], (
        "nobody sees who has read what"
    )
    written(
        machine, docker, wanted, minio1={"started": "2030-01-01T00:00:00Z"}, minio2={"started": "2030-01-01T00:00:00Z"}
    )
    assert change_of(machine, wanted).action is Action.NONE


def test_a_secret_that_is_written_anew_is_read_in_the_same_deploy(machine, docker, tmp_path):
    """The container is unchanged when it is read, but it runs with the older secret once the file is written."""
    secret = tmp_path / "root_password"
    wanted = project(together=True, read_at_start=(str(secret),))
    written(machine, docker, wanted)
    file = File(str(secret), "x", getpass.getuser(), grp.getgrgid(os.getgid()).gr_name)
    assert [change.action for change in machine.plan(file, wanted).changes] == [Action.CREATE, Action.UPDATE]
