"""Packages, from what dpkg-query tells."""

from __future__ import annotations

import subprocess

import pytest

from converge.resource import Unknown
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
    assert state == {"curl": "installed", "xfsprogs": "config-files", "chrony": "not-installed"}
    assert BASE.missing(state) == ["xfsprogs", "chrony"]
    assert BASE.diff(state) == ["xfsprogs: not installed", "chrony: not installed"]
    assert BASE.note(state) == "xfsprogs, chrony"


@pytest.mark.parametrize(
    "status", ["half-installed", "unpacked", "half-configured", "triggers-pending", "config-files"]
)
def test_what_was_cut_in_the_middle_is_installed_again(status):
    assert BASE.missing(read(f"curl {status} \nxfsprogs installed \nchrony installed \n")[0]) == ["curl"]


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
    machine.program("dpkg-query", f'shift 4; echo "$*" >>{machine.folder}/said')
    machine.read(BASE, Packages("docker", ("curl", "docker.io")))
    assert (machine.folder / "said").read_text().splitlines() == ["chrony curl docker.io xfsprogs"]


def test_only_what_is_missing_is_installed():
    (step,) = BASE.fix({"curl": "installed", "xfsprogs": "not-installed", "chrony": "installed"})
    assert "install --no-install-recommends -- xfsprogs\n" in step.script
    assert subprocess.run(["/bin/sh", "-n"], input=step.script, text=True, check=False).returncode == 0


def test_installing_disrupts_nothing():
    assert not BASE.disrupts({"curl": "installed"})
