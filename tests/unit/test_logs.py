"""Logs: the output of the script on the host, and the meaning of its exit status."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from runbook import logs

HOST = SimpleNamespace(name="prod")
DOCKER = """case $1 in
version) ;;
container) [ "$4" != nginx ];;
logs) echo "line of $6";;
esac"""


@pytest.fixture
def read(machine):
    """Reads the logs of two containers on a host whose Docker is in this state."""

    def run(active: str = "active") -> tuple[int, str]:
        machine.program("docker", DOCKER)
        machine.program("systemctl", f"echo {active}")
        machine.program("journalctl", "echo dockerd was killed")
        return machine.run(logs._NEEDS_DOCKER + logs._script(["minio1", "nginx"], 5, False, ""))

    return run


def test_a_container_that_is_not_there_is_named_and_the_others_are_shown(read):
    status, output = read()
    assert "minio1  line of minio1" in output
    assert "nginx  there is no such container" in output
    trouble = logs._trouble(HOST, status)
    assert trouble.what == "a container is not there"
    assert trouble.hint == "inv status --host prod, then inv deploy --host prod"


@pytest.mark.parametrize("state", ["inactive", "failed"])
def test_a_docker_that_stands_still_is_the_answer_with_its_own_last_words(read, state):
    status, output = read(state)
    assert "docker  dockerd was killed" in output
    assert "line of" not in output
    trouble = logs._trouble(HOST, status)
    assert trouble.what.startswith("Docker does not run")
    assert "inv deploy --host prod" in trouble.hint


def test_logs_that_were_read_are_no_error():
    assert logs._trouble(HOST, 0) is None
