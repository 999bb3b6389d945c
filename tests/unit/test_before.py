"""Commands before a service starts with another image: checked first, run only when safe, reported when they fail."""

from __future__ import annotations

import os
import time

import pytest

from converge.inventory.secret import Secret
from converge.resources.before import Before
from converge.resources.compose import Project
from converge.resources.serving import Question, Serving
from roles import named
from roles.backup.recent import backed_up

OLDER, NEWER = "any:1 0123", "any:2 4567"
DEFINITION = {"image": "any:2", "container_name": "any", "user": "9000:9000", "ports": ["127.0.0.1:80:80"]}


def before(image=NEWER, guard="") -> Before:
    networks = {"stowage": {"external": True}}
    return Before("any", "schema", image, DEFINITION, networks, ("upgrade", "it"), ("is-new", "--quiet"), guard)


@pytest.fixture
def engine(machine, docker):
    """An engine in which the check fails until the command was run; a test can change the result of both."""
    state, text = machine.folder / "schema", machine.folder / "compose.json"
    machine.places["/etc/stowage"] = f"{machine.folder}/etc"

    def does(upgrade="echo new >$state", check='grep -qs new "$state"'):
        script = f"""state={state}; for one; do last=$one; done
case "$*" in
compose*) for one; do case $one in */before-*) cp "$one" {text};; esac; done
  case $last in unless) {check};; command) {upgrade};; esac;;
wait*) exit 1;;
esac"""
        docker.answers(True, script)

    does()
    machine.text, machine.does = text, does
    return machine


def verbs(docker) -> list[str]:
    """The calls of the engine: each verb, and of a run its service."""
    lines = [line.split() for line in docker.calls]
    return [line[-1] if line[0] == "compose" else line[0] for line in lines if line[0] in ("compose", "stop", "start")]


def test_another_image_is_a_change_with_a_diff_and_is_asked_before_it_is_started(engine, docker):
    (change,) = engine.plan(before()).changes
    assert change.action.value == "+" and not change.disrupts
    docker.runs("any")
    engine.does(check="exit 0")
    assert engine.deploy(before(OLDER)).done
    assert engine.plan(before(OLDER)).in_sync
    (change,) = engine.plan(before()).changes
    assert change.action.value == "~" and change.disrupts
    assert change.resource.diff(change.before) == [f"image: {OLDER} -> {NEWER}"]
    assert "runs upgrade it" in change.resource.note(change.before)


def test_what_has_been_done_stops_nothing_and_is_not_run(engine, docker):
    docker.runs("any")
    engine.does(check="exit 0")
    assert engine.deploy(before(guard="exit 1")).done
    assert verbs(docker) == ["unless"]


def test_the_service_is_stopped_while_it_is_run_and_its_container_has_all_but_the_ports(engine, docker):
    docker.runs("any")
    assert engine.deploy(before()).done
    assert verbs(docker) == ["unless", "stop", "command", "unless"]
    text = engine.text.read_text()
    assert '"upgrade"' in text and '"9000:9000"' in text and '"restart": "no"' in text
    assert "ports" not in text and "container_name" not in text
    assert engine.plan(before()).in_sync
    assert not list((engine.folder / "etc/any").glob("before-*"))


def test_what_this_image_cannot_do_is_not_run_and_nothing_is_stopped(engine, docker):
    docker.runs("any")
    engine.does(check="echo 'that is of a newer one'; exit 3")
    done = engine.deploy(before())
    assert done.failed and "that is of a newer one" in done.why and "cannot be run with any:2" in done.why
    assert verbs(docker) == ["unless"]


def test_nothing_is_stopped_or_run_while_the_guard_says_no(engine, docker):
    docker.runs("any")
    done = engine.deploy(before(guard="echo 'no backup'; exit 1"))
    assert done.failed and "no backup" in done.why
    assert verbs(docker) == ["unless"]
    assert not engine.plan(before()).in_sync


@pytest.mark.parametrize(
    ("does", "why"),
    [({"upgrade": "echo table is there; exit 1"}, "it failed"), ({"upgrade": "exit 0"}, "its check still says no")],
)
def test_a_service_is_started_again_as_it_was_when_that_fails(engine, docker, does, why):
    docker.runs("any")
    engine.does(**does)
    done = engine.deploy(before())
    assert done.failed and why in done.why and "any was started again as it was before" in done.why
    assert verbs(docker)[-1] == "start"
    assert not engine.plan(before()).in_sync


def test_what_a_cut_has_left_is_waited_for_and_never_killed(engine, docker):
    docker.runs("stowage-before-any")
    assert engine.deploy(before()).done
    order = [line.split()[0] for line in docker.calls]
    assert order.index("wait") < order.index("rm") < order.index("compose")


@pytest.mark.parametrize("ended", [124, 125, 126, 127])
def test_a_check_that_cannot_be_made_has_not_said_no(engine, docker, ended):
    docker.runs("any")
    engine.does(check=f"exit {ended}")
    assert "says nothing" in engine.deploy(before()).why
    assert verbs(docker) == ["unless"]


def test_who_ends_as_soon_as_it_is_started_is_asked_anew(engine, docker):
    """A restore may have brought back an older schema than the image needs."""
    engine.does(check="exit 0")
    engine.deploy(before())
    docker.runs("any", status="restarting", pid=0)
    (change,) = engine.plan(before()).changes
    assert change.resource.diff(change.before) == ["starts: no -> yes"]


def test_an_answer_is_waited_for_anew_after_that():
    wanted = Serving("any", Question(tcp=1))
    assert wanted.undone_by(before(), made=False)
    assert not Serving("other", Question(tcp=1)).undone_by(before(), made=False)


PAGE = {
    "image": "nginx",
    "before": [{"name": "schema", "command": ["upgrade"], "unless": ["is-new"]}],
    "secret_environment": {"PASSWORD": Secret("SENTINEL")},
}


def test_a_page_has_it_done_before_its_container_is_made_with_its_files_and_secrets(storage_host):
    host = storage_host(services={"any": PAGE})
    chain = next(iter(named("any", host).wants(host))).links
    kinds = [type(resource) for resource in chain]
    assert kinds.index(Before) < kinds.index(Project)
    (wanted,) = (resource for resource in chain if isinstance(resource, Before))
    assert wanted.definition["env_file"] == ["/etc/stowage/any/secrets.env"]
    assert "SENTINEL" not in wanted.fix(None)[0].script
    assert wanted.image.startswith("docker.io/library/nginx:1.28 ")


@pytest.fixture
def guarded(machine, storage_host):
    """The answer of the guard on a host with these backups: how they ended, and how many minutes ago."""

    def ask(*backups: tuple[str, int], does="backup", makes=True) -> tuple[int, str]:
        for number, (end, ago) in enumerate(backups):
            run = machine.folder / f"stowage/backup/runs/2026-{number}"
            run.mkdir(parents=True, exist_ok=True)
            (run / "request.json").write_text(f'{{"do": "{does}"}}\n')
            (run / "journal.jsonl").write_text(f'{{"event": "begin"}}\n{{"at": "", {end}}}\n')
            os.utime(run / "journal.jsonl", (time.time() - 60 * ago,) * 2)
        own = {"kind": "stack", "name": "own", "writer": Secret("a"), "pruner": Secret("b")}
        backup = {"identity": Secret("c"), "accept_single_copy": True, "targets": [own]} if makes else None
        roles = ["base", "drives", "docker", "images", "minio", "postgres", "stack", "buckets", "backup"]
        images = {"images__worker": {"reference": "worker:1"}}
        host = storage_host(roles=roles, backup=backup, **images) if makes else storage_host()
        return machine.run(f"set -e\n{backed_up(host)}\necho may be run")

    return ask


WELL, FAILED = '"event": "end", "code": 0, "dead": {}', '"event": "end", "code": 20, "dead": {}'


def test_it_may_be_run_after_a_backup_of_the_last_hour_that_ended_well(guarded):
    assert guarded((FAILED, 300), (WELL, 5), (FAILED, 1)) == (0, "may be run\n")


@pytest.mark.parametrize(
    "backups", [(), ((WELL, 61),), ((FAILED, 1),), (('"event": "say", "text": "code: 0"', 1),)], ids=str
)
def test_it_may_not_be_run_after_an_older_one_a_failed_one_or_none(guarded, backups):
    status, why = guarded(*backups)
    assert status == 1 and "no backup has ended well within the last hour" in why


def test_a_check_of_a_set_is_no_backup(guarded):
    assert guarded((WELL, 1), does="verify")[0] == 1


def test_a_host_that_makes_no_backups_is_told_what_may_be_said_instead(guarded):
    assert "this host makes no backups" in guarded(makes=False)[1]
