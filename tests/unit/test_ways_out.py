"""The hints after a failed change: commands that help, for the right host."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from invoke.parser import Parser

from converge.engine.ways_out import way_out
from converge.resources.compose import Answers, Project
from converge.resources.file import KEPT, File
from converge.resources.fresh import FreshContainer, FreshUnit
from converge.resources.package import Packages
from converge.resources.serving import Question, Serving
from converge.resources.unit import Unit
from roles.postgres.server_kinds import Ready

FILE = File("/etc/a b", "")


@pytest.mark.parametrize(
    ("resource", "why", "first"),
    [
        (FILE, "mv: cannot move: Operation not permitted", "on the host: lsattr -d '/etc/a b'; if it shows an i: chattr -i"),
        (FILE, "printf: write error: No space left on device", "on the host: df -h"),
        (FILE, "mktemp: failed: Read-only file system", "on the host: findmnt -T '/etc/a b'"),
        (FILE, "ended with status 1", "on the host: stat '/etc/a b'"),
        (Unit("docker.service"), "Failed to start docker.service: Unit docker.service is masked.", "on the host: systemctl unmask docker.service"),
        (Unit("a.service"), "ended with status 1", "on the host: systemctl status a.service"),
        (FreshUnit("docker.service", ()), "the previous files are put back: docker.sock", "mend in the inventory"),
        (FreshUnit("docker.service", ()), "ended with status 1", "on the host: systemctl status docker.service"),
        (Unit("a.service"), "x: Operation not permitted", "on the host: systemctl status a.service"),
        (Packages("base", ("curl",)), "Temporary failure in name resolution", "on the host: getent hosts"),
        (Project("nginx", {}), "Bind for 0.0.0.0:80 failed: port is already allocated", "on the host: ss -ltnp"),
        (Project("minio", {}), "cannot start a paused container, try unpause instead", "on the host: docker ps --filter status=paused"),
        (Project("nginx", {}), "ended with status 1", "inv logs --host prod"),
        (Answers("nginx", ()), "no answer after 30 s:", "inv status --host prod"),
    ],
)  # fmt: skip
def test_it_begins_with_what_mends_the_failure_and_ends_with_the_deploy(resource, why, first):
    advice = way_out(resource, why, "prod")
    assert advice.startswith(first)
    assert advice.endswith("; then: inv deploy --host prod")


def test_a_kind_that_nobody_foresaw_does_not_repeat_the_command_alone(thing):
    assert way_out(thing("a"), "ended with status 1", "prod") == "mend what it says above; then: inv deploy --host prod"


def test_what_the_step_itself_says_gets_through(thing):
    assert way_out(thing("a"), "no space left on device", "prod", "inv drives.list") == "inv drives.list --host prod"


def commands(text: str) -> list[str]:
    return re.findall(r"\binv ([^;,`)]+)", text)


@pytest.mark.parametrize("kind", [Answers, FreshContainer, Ready, Serving, Project])
def test_every_command_that_is_named_can_be_typed(kind):
    """Parsed by Invoke itself: `inv logs NAME`, for example, looks right but is refused."""
    import tasks

    broken = SimpleNamespace(kind=kind.kind, way_out=kind.way_out, name="nginx", path="/etc/a", container="nginx")
    assert "inv " in kind.way_out
    for command in commands(way_out(broken, "ended with status 1", "prod")):  # type: ignore[arg-type]
        assert len(Parser(contexts=tasks.namespace.to_contexts()).parse_argv(command.split())) == 1, "it is one command"


def test_a_file_that_its_check_refuses_is_mended_where_it_is_written():
    assert way_out(FILE, f"nginx: [emerg] unknown directive\n{KEPT}", "prod").startswith("mend the file of templates/")


def test_an_answer_of_several_containers_is_looked_for_in_all_logs():
    advice = way_out(Answers("minio", ("http://127.0.0.1:9000/",)), "no answer", "prod")
    assert advice == "inv status --host prod; inv logs --host prod; then: inv deploy --host prod"
    advice = way_out(Serving("cache", Question(tcp=6379)), "no answer", "prod")
    assert "inv logs --host prod --service cache" in advice
