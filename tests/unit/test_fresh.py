"""Programs that must run with the current files: read from the host, never remembered."""

from __future__ import annotations

import getpass
import grp
import os
import subprocess
import time
from dataclasses import replace

import pytest

from converge.engine.resource import Unknown
from converge.inventory.secret import Secret
from converge.resources.file import File
from converge.resources.fresh import FreshContainer, FreshUnit, reloaded


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "daemon.json"
    file.write_text("new")
    return file


@pytest.fixture
def started(machine, docker):
    """Sets how many seconds ago the unit and the container have started; None: they do not run."""

    def ago(seconds: float | None) -> None:
        at = None if seconds is None else int(time.time() - seconds)
        block = f"Id=docker.service\nLoadState=loaded\nExecMainStartTimestamp={'' if at is None else f'@{at}'}"
        machine.program("systemctl", f"[ \"$1\" != show ] || cat <<'END'\n{block}\nEND")
        if at is not None:
            docker.runs("nginx", started=time.strftime("%Y-%m-%dT%H:%M:%S.123456789Z", time.gmtime(at)))

    return ago


def fresh(kind, config):
    return (
        FreshUnit("docker.service", (str(config),))
        if kind == "unit"
        else reloaded("nginx", (str(config),), "nginx", "-s", "reload")
    )


KINDS = pytest.mark.parametrize("kind", ["unit", "container"])


@KINDS
@pytest.mark.parametrize(("seconds", "symbol"), [(3600, "~"), (-5, " ")])
def test_a_program_is_stale_when_it_started_before_its_file_changed(machine, config, started, kind, seconds, symbol):
    started(seconds)
    assert machine.plan(fresh(kind, config)).changes[0].action.value == symbol


def test_who_was_starting_when_the_file_was_written_may_have_read_the_older_one(machine, config, started):
    """Seen in the cut tests: Docker became ready after the file was written, but had read the older one."""
    started(0)
    assert machine.plan(fresh("unit", config)).changes[0].action.value == "~"
    assert machine.deploy(fresh("unit", config)).done
    assert machine.plan(fresh("unit", config)).in_sync


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
@pytest.mark.parametrize(
    ("restarted", "content", "stale"), [(False, "new", False), (False, "other", True), (True, "new", True)]
)
def test_a_mode_that_was_changed_needs_no_restart_unless_something_else_may_have_been_read(
    machine, config, started, kind, restarted, content, stale
):
    started(3600)
    machine.deploy(fresh(kind, config))
    name = "docker.service" if kind == "unit" else "nginx"
    stamp = machine.folder / "run-stowage-fresh" / name
    at, digest = stamp.read_text().split()
    stamp.write_text(f"{int(at) - 60} {digest}\n")  # the reload was a minute ago
    started(30 if restarted else 3600)
    config.write_text(content)
    config.chmod(0o666)
    # A start within the second of the change cannot be told from one after it.
    assert machine.plan(fresh(kind, config)).in_sync != stale


@KINDS
def test_the_newest_of_several_files_counts_and_missing_ones_do_not(machine, config, started, kind):
    started(3600)
    wanted = fresh(kind, config)
    assert not machine.plan(replace(wanted, files=("/missing", *wanted.files))).in_sync
    assert machine.plan(replace(wanted, files=("/missing", "/etc/hostname-of-no-one"))).in_sync


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
    wanted = [reloaded(name, (str(config),), "true") for name in ("minio", "nginx", "other")]
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


# A program that refuses its new files: the old ones are put back.


def file_of(config, content="newer", **more) -> File:
    return File(str(config), content, *mine, until_loaded=True, **more)


mine = (getpass.getuser(), grp.getgrgid(os.getgid()).gr_name)


@pytest.fixture
def refuses(machine, docker, started):
    """A running unit and container that refuse a file with the word `newer`; `asked` counts the reloads."""
    asked = machine.folder / "asked"

    def since(config, seconds: int = 3600) -> None:
        takes = f"echo x >>{asked}; ! grep -q newer {config} 2>/dev/null || {{ echo unknown directive; exit 1; }}"
        started(seconds)
        docker.answers(True, otherwise=takes)
        at = int(time.time() - seconds)
        shown = f"ActiveEnterTimestamp=@{at}"
        block = f"Id=docker.service\\nLoadState=loaded\\nExecMainStartTimestamp=@{at}\\n"
        machine.program(
            "systemctl",
            f"case \"$1 $*\" in *'-p ActiveEnterTimestamp --'*) echo {shown};; show*) printf '{block}';; restart*) {takes};; esac",
        )
        machine.program("journalctl", "echo 'unable to configure'")
        docker.runs("nginx", started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)))

    return since


@KINDS
def test_files_that_their_program_refuses_are_put_back_and_it_runs_as_before(machine, config, refuses, kind):
    refuses(config)
    done = machine.deploy(file_of(config), fresh(kind, config))
    assert done.failed.resource == fresh(kind, config)
    assert "the previous files are put back, and it runs with them" in done.why
    assert config.read_text() == "new"
    assert machine.plan(fresh(kind, config)).in_sync, "what is in place is what it runs with"


@KINDS
def test_a_file_that_was_not_there_before_goes_again(machine, config, refuses, kind):
    config.unlink()
    refuses(config)
    assert machine.deploy(file_of(config), fresh(kind, config)).failed
    assert not config.exists()


@KINDS
def test_what_the_program_never_took_up_is_no_way_back(machine, config, refuses, kind):
    refuses(config)
    machine.deploy(file_of(config, "newer, cut before the restart"))
    assert machine.deploy(file_of(config, "newer still"), fresh(kind, config)).failed
    assert config.read_text() == "new"


@KINDS
def test_a_secret_goes_back_too_and_is_kept_no_longer_than_that(machine, config, refuses, kind):
    os.chmod(config, 0o400)
    refuses(config)
    assert machine.deploy(file_of(config, Secret("newer"), mode="0400"), fresh(kind, config)).failed
    assert (config.read_text(), config.stat().st_mode & 0o777) == ("new", 0o400)
    assert not kept(machine)


@KINDS
def test_what_was_taken_up_leaves_nothing_to_put_back(machine, config, refuses, kind):
    refuses(config)
    assert machine.deploy(file_of(config, Secret("good"), mode="0400"), fresh(kind, config)).done
    assert not kept(machine)


@KINDS
def test_files_from_before_the_last_start_are_not_put_back(machine, config, refuses, kind):
    machine.deploy(file_of(config, "newer"))
    refuses(config, seconds=-5)
    machine.run(f"mkdir -p {machine.folder}/run-stowage")
    wanted = fresh(kind, config)
    (step,) = wanted.fix({"runs with": "older files"})
    status, output = machine.run(step.script)
    assert status
    assert "no previous files are kept" in output
    assert config.read_text() == "newer"


def kept(machine) -> list[str]:
    places = [machine.folder / "stowage" / name for name in ("pending", "pending-none")]
    return [str(path) for place in places for path in place.rglob("*") if path.is_file()]


def test_what_was_started_a_moment_ago_is_told_again(machine, docker, config, started, tmp_path):
    docker.answers(True, otherwise=f"[ -e {tmp_path}/asked ] || {{ : >{tmp_path}/asked; exit 1; }}")
    started(5)
    assert machine.deploy(fresh("container", config)).done


def test_a_reload_waits_for_those_that_still_serve_the_older_files(machine, docker, config, tmp_path):
    """One changes its title when it has finished, the other ends; both take a while."""
    serves = f"until [ -e {tmp_path}/reloaded ]; do sleep 0.05; done; sleep 0.7; : >{tmp_path}"
    script = f'({serves}/retired; exec -a "it is $1" sleep 60) & ({serves}/gone) & echo begun; wait'
    main = subprocess.Popen(["bash", "-c", script, "bash", "shutting down"], stdout=subprocess.PIPE)
    assert main.stdout
    assert main.stdout.readline() == b"begun\n"
    docker.answers(True, otherwise=f": >{tmp_path}/reloaded")
    docker.runs("nginx", started="2020-01-01T00:00:00Z", pid=main.pid)
    try:
        assert machine.deploy(reloaded("nginx", (str(config),), "true", retired="is shutting down")).done
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


def test_a_unit_that_started_before_its_own_file_or_a_drop_in_is_restarted(machine, config, started, tmp_path):
    """Also when the program's own file is unchanged, which alone would be a reload."""
    drop_ins = tmp_path / "docker.service.d"
    watching = FreshUnit("docker.service", (str(config),), act="reload", watches=(str(drop_ins), str(tmp_path / "no")))
    started(-5)
    assert machine.plan(watching).in_sync
    drop_ins.mkdir()
    started(-5)
    assert machine.plan(watching).in_sync
    started(3600)
    (change,) = machine.plan(watching).changes
    assert change.before == {"runs with": "an older unit file"}
    assert "systemctl restart -- docker.service" in watching.fix(change.before)[0].script


@pytest.mark.parametrize("restarts", [False, True])
def test_a_file_that_has_gone_from_a_folder_is_taken_up_as_well(machine, docker, config, started, restarts):
    """A removed file stays loaded: `include conf.d/*` is only read again at a reload. Also after a cut."""
    other = config.with_name("other")
    other.write_text("other")
    wanted = FreshContainer(
        "nginx", (str(config),), "docker act", "acts", restarts=restarts, folders=(str(config.parent),)
    )
    started(-5)
    assert machine.plan(wanted).in_sync
    started(3600)
    os.utime(config)
    machine.deploy(wanted)
    assert machine.plan(wanted).in_sync
    stamp = machine.folder / "run-stowage-fresh" / "nginx"
    seconds, total = stamp.read_text().split()
    stamp.write_text(f"{int(seconds) - 60} {'0' * len(total)}\n")  # a minute ago, with the other file
    other.unlink()
    assert machine.plan(wanted).changes[0].action.value == "~"
    machine.deploy(wanted)
    assert machine.plan(wanted).in_sync
