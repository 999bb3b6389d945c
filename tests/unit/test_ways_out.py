"""What is to be typed after a change has failed: something that moves a person forward, on the host that it is about."""

from __future__ import annotations

import pytest

from converge.engine.ways_out import way_out
from converge.resources.compose import Answers, Project
from converge.resources.file import File
from converge.resources.fresh import FreshUnit
from converge.resources.package import Packages
from converge.resources.unit import Unit

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
    told = way_out(resource, why, "prod")
    assert told.startswith(first)
    assert told.endswith("; then: inv deploy --host prod")


def test_a_kind_that_nobody_foresaw_does_not_repeat_the_command_alone(thing):
    assert way_out(thing("a"), "ended with status 1", "prod") == "mend what it says above; then: inv deploy --host prod"


def test_what_the_step_itself_says_gets_through(thing):
    assert way_out(thing("a"), "no space left on device", "prod", "inv drives.list") == "inv drives.list --host prod"
