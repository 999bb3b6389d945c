"""Programs that must run with the files that lie there now: read from the host, never remembered."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from converge.resource import Unknown
from converge.resources.fresh import FreshContainer, FreshUnit


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "daemon.json"
    file.write_text("new")
    return file


@pytest.fixture
def started(machine, docker):
    """Lets the unit and the container have started so many seconds ago; None when they do not run."""

    def ago(seconds: float | None) -> None:
        at = None if seconds is None else int(time.time() - seconds)
        block = f"Id=docker.service\nLoadState=loaded\nActiveEnterTimestamp={'' if at is None else f'@{at}'}"
        machine.program("systemctl", f"[ \"$1\" != show ] || cat <<'END'\n{block}\nEND")
        if at is not None:
            docker.runs("nginx", started=time.strftime("%Y-%m-%dT%H:%M:%S.123456789Z", time.gmtime(at)))

    return ago


def fresh(kind, config):
    return (
        FreshUnit("docker.service", (str(config),))
        if kind == "unit"
        else FreshContainer("nginx", (str(config),), ("nginx", "-s", "reload"))
    )


KINDS = pytest.mark.parametrize("kind", ["unit", "container"])


@KINDS
@pytest.mark.parametrize(("seconds", "symbol"), [(3600, "~"), (-5, " ")])
def test_a_program_is_stale_when_it_started_before_its_file_changed(machine, config, started, kind, seconds, symbol):
    started(seconds)
    assert machine.plan(fresh(kind, config)).changes[0].action.value == symbol


@KINDS
def test_a_modification_time_set_back_does_not_hide_a_change(machine, config, started, kind):
    os.utime(config, (1, 1))
    started(3600)
    assert not machine.plan(fresh(kind, config)).in_sync


@KINDS
def test_a_restart_that_a_cut_took_away_is_found_and_made_once(machine, config, started, kind):
    started(3600)
    done = machine.deploy(fresh(kind, config))
    assert done.done
    assert machine.plan(fresh(kind, config)).in_sync, "our reload is remembered until the next boot"


@KINDS
def test_the_newest_of_several_files_counts_and_missing_ones_do_not(machine, config, started, kind):
    started(3600)
    wanted = fresh(kind, config)
    assert not machine.plan(
        type(wanted)(wanted.name, ("/missing", *wanted.files), *([] if kind == "unit" else [("true",)]))
    ).in_sync
    assert machine.plan(
        type(wanted)(wanted.name, ("/missing", "/etc/hostname-of-no-one"), *([] if kind == "unit" else [("true",)]))
    ).in_sync


@KINDS
def test_what_does_not_run_is_absent(machine, config, started, kind):
    started(None)
    assert machine.read(fresh(kind, config)) == [None]


def test_without_docker_a_container_is_absent(machine, docker, config):
    docker.is_missing()
    assert machine.read(fresh("container", config)) == [None]


def test_docker_that_does_not_answer_is_unknown_never_absent(machine, docker, config):
    docker.answers(False)
    assert isinstance(machine.read(fresh("container", config))[0], Unknown)


def test_several_containers_are_told_apart(machine, docker, config):
    docker.runs("nginx", started="2020-01-01T00:00:00Z")
    docker.runs("other", started="2100-01-01T00:00:00Z")
    wanted = [FreshContainer(name, (str(config),), ("true",)) for name in ("minio", "nginx", "other")]
    assert [reading and reading["runs with"] for reading in machine.read(*wanted)] == [
        None,
        "older files",
        "its files as they are",
    ]


def test_only_a_restart_disrupts(config):
    stale = {"runs with": "older files"}
    assert FreshUnit("docker.service", (str(config),)).disrupts(stale)
    assert not FreshUnit("ssh.service", (str(config),), act="reload").disrupts(stale)
    assert not fresh("container", config).disrupts(stale)


def test_a_change_of_one_of_its_files_earlier_in_the_chain_makes_it_necessary(config, thing):
    assert fresh("unit", config).undone_by(thing(str(config)), made=True)
    assert not fresh("unit", config).undone_by(thing("/another/file"), made=True)


def test_a_reload_that_fails_puts_the_previous_files_back(machine, docker, config, started):
    docker.answers(True, otherwise="echo 'unknown directive' >&2; exit 1")
    started(3600)
    kept = machine.folder / "stowage" / f"previous{config}"
    kept.parent.mkdir(parents=True)
    kept.write_text("old")
    done = machine.deploy(fresh("container", config))
    assert done.failed
    assert "the previous files are put back" in done.why
    assert "unknown directive" in done.why
    assert config.read_text() == "old"


def test_what_was_started_a_moment_ago_is_told_again(machine, docker, config, started, tmp_path):
    docker.answers(True, otherwise=f"[ -e {tmp_path}/asked ] || {{ : >{tmp_path}/asked; exit 1; }}")
    started(5)
    assert machine.deploy(fresh("container", config)).done


def test_a_reload_waits_for_those_that_still_serve_the_older_files(machine, docker, config, tmp_path):
    """One of them says in its title that it serves no more, the other goes; both take their time."""
    serves = f"until [ -e {tmp_path}/reloaded ]; do sleep 0.05; done; sleep 0.7; : >{tmp_path}"
    script = f'({serves}/retired; exec -a "it is $1" sleep 60) & ({serves}/gone) & echo begun; wait'
    main = subprocess.Popen(["bash", "-c", script, "bash", "shutting down"], stdout=subprocess.PIPE)
    assert main.stdout
    assert main.stdout.readline() == b"begun\n"
    docker.answers(True, otherwise=f": >{tmp_path}/reloaded")
    docker.runs("nginx", started="2020-01-01T00:00:00Z", pid=main.pid)
    try:
        assert machine.deploy(FreshContainer("nginx", (str(config),), ("true",), retired="is shutting down")).done
        assert (tmp_path / "retired").exists()
        assert (tmp_path / "gone").exists()
    finally:
        subprocess.run(["pkill", "-P", str(main.pid)], check=False)
        main.wait()


def test_a_reload_that_fails_without_previous_files_leaves_what_is_there(machine, docker, config, started):
    docker.answers(True, otherwise="exit 1")
    started(3600)
    assert machine.deploy(fresh("container", config)).failed
    assert config.read_text() == "new"
