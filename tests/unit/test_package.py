"""Packages, from the output of dpkg-query."""

from __future__ import annotations

import subprocess

import pytest

from converge.engine.resource import Action, Unknown
from converge.resources.package import Packages

BASE = Packages("base", ("curl", "xfsprogs", "chrony"))
RECORDED = """\
chrony not-installed\x20
curl installed\x20
xfsprogs config-files\x20
"""


def read(answer: str, *wanted: Packages):
    return Packages.read(wanted or [BASE], answer)


def test_a_package_counts_only_when_it_is_wholly_installed():
    (state,) = read(RECORDED)
    assert state == {"curl": "installed", "xfsprogs": "config-files", "chrony": "not-installed", "held by apt-mark": ""}
    assert BASE.missing(state) == ["xfsprogs", "chrony"]
    assert BASE.diff(state) == ["xfsprogs: removed, its configuration is left", "chrony: not installed"]
    assert BASE.note(state) == "xfsprogs, chrony"


@pytest.mark.parametrize(
    "status", ["half-installed", "unpacked", "half-configured", "triggers-pending", "config-files"]
)
def test_what_was_cut_in_the_middle_is_installed_again(status):
    assert BASE.missing(read(f"curl {status} \nxfsprogs installed \nchrony installed \n")[0]) == ["curl"]


@pytest.mark.parametrize("status", ["not-installed", "config-files", "half-configured"])
def test_a_package_that_is_held_and_not_installed_is_refused_with_what_lets_it_go(machine, status):
    machine.program(
        "dpkg-query", f"printf '%s\\n' 'curl {status} hold ' 'xfsprogs installed hold ' 'chrony installed install '"
    )
    (change,) = machine.plan(BASE).changes
    assert (change.action, change.why) == (Action.REFUSED, "not installed, and held by apt-mark: curl")
    assert change.hint == "on the host: apt-mark unhold curl; then: inv deploy"


def test_a_package_that_is_held_as_it_is_is_left_alone(machine):
    machine.program(
        "dpkg-query", "printf '%s\\n' 'curl installed hold ' 'xfsprogs installed hold ' 'chrony installed install '"
    )
    assert machine.plan(BASE).in_sync


@pytest.mark.parametrize(
    ("complaint", "waits"), [("dpkg frontend lock was locked by another process", True), ("postinst broke", False)]
)
def test_what_was_cut_is_configured_once_another_dpkg_has_let_go(machine, complaint, waits):
    (step,) = BASE.fix({"curl": "half-configured", "xfsprogs": "installed", "chrony": "installed"})
    script = step.script.split("/run/stowage-run-apt.sh")[0].removeprefix("\nprintf %s ").rpartition(" >")[0]
    (machine.folder / "apt").write_text(machine.run(f"printf %s {script}")[1].split("\nif [")[0])
    machine.program(
        "dpkg",
        f"""case $1 in
--audit) [ -e {machine.folder}/done ] || echo curl;;
*) [ ! -e {machine.folder}/free ] || exec touch {machine.folder}/done; touch {machine.folder}/free; echo '{complaint}'; exit 2;;
esac""",
    )
    machine.program("sleep", "exit 0")
    status, out = machine.run(f". {machine.folder}/apt")
    assert (status == 0, complaint in out) == (waits, True)


@pytest.mark.parametrize("answer", ["", RECORDED.replace("curl installed", "curl not-installed")])
def test_where_none_is_installed_the_packages_are_absent(answer):
    assert read(answer) == [None]
    assert BASE.note(None) == "curl, xfsprogs, chrony"


def test_each_role_reads_its_own_from_one_answer():
    docker = Packages("docker", ("docker.io", "iptables"))
    states = read("curl installed \nxfsprogs installed \nchrony installed \niptables installed \n", BASE, docker)
    assert [docker.missing(states[1]), BASE.missing(states[0])] == [["docker.io"], []]


def test_what_a_package_provides_is_not_taken_for_its_state():
    (state,) = read(
        "curl installed libcurl (= 1), installed-something\nxfsprogs installed \nchrony installed time-daemon\n"
    )
    assert not BASE.missing(state)


@pytest.mark.parametrize(("status", "reading"), [(0, dict), (1, dict), (2, Unknown)])
def test_a_database_that_cannot_be_read_is_unknown_and_a_missing_package_is_not(machine, status, reading):
    machine.program("dpkg-query", f"echo 'curl installed '; exit {status}")
    assert isinstance(machine.read(BASE)[0], reading)


def test_one_process_asks_for_the_packages_of_all_roles(machine):
    machine.program("dpkg-query", f'shift 4; echo "$*" >>{machine.folder}/calls')
    machine.read(BASE, Packages("docker", ("curl", "docker.io")))
    assert (machine.folder / "calls").read_text().splitlines() == ["chrony curl docker.io xfsprogs"]


def test_only_what_is_missing_is_installed():
    (step,) = BASE.fix({"curl": "installed", "xfsprogs": "not-installed", "chrony": "installed"})
    assert "install --no-install-recommends -- xfsprogs\n" in step.script
    assert subprocess.run(["/bin/sh", "-n"], input=step.script, text=True, check=False).returncode == 0


def test_installing_disrupts_nothing():
    assert not BASE.disrupts({"curl": "installed"})
