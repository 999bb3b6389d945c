"""The guide to writing a service, followed word for word: its files, its commands, and what it says that they print."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import Clone
from tests.unit.test_docs import FENCE, SERVICE, write

PROMPT = "root@lab:~# "
SEEN = "docker inspect redis; cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"
"""What others may see of a program: its arguments and variables."""


def follow(clone: Clone, text: str) -> None:
    """Write each file, type each command, and find each line that is shown below one, in this order."""
    screen = ""
    for language, name, body in FENCE.findall(text):
        if name:
            write(clone.root / name, language, body)
        elif language == "sh":
            for line in body.splitlines():
                screen = typed(clone, line)
        elif language == "console":
            for part in body.split(PROMPT)[1:]:
                command, _, answer = part.partition("\n")
                shown(clone.on_host(command), answer)
        else:
            shown(screen, body)


def typed(clone: Clone, line: str) -> str:
    """What a line of the guide prints. The code with which it ends stands in its comment, where that is not 0."""
    command, _, comment = line.partition(" #")
    words = command.split()
    if words[0] != "inv":
        subprocess.run(command, shell=True, check=True, cwd=clone.root)
        return ""
    code = int(comment.partition("exit code ")[2][:1] or 0)
    return clone.inv(*words[1:], *(["--yes"] if words[1] == "deploy" else []), code=code)


def shown(screen: str, lines: str) -> None:
    place = 0
    for line in lines.splitlines():
        found = screen.find(line.strip(), place)
        assert found >= 0, f"{line!r} is not where the guide has it:\n{screen}"
        place = found + len(line.strip())


@pytest.fixture
def settings(clone: Clone) -> Iterator[Path]:
    """Those of a deployed host. They are as before at the end, and so is the host, also when a test fails in its middle."""
    path = clone.root / "inventory/group_vars/lab.yml"
    before = path.read_text()
    clone.inv("deploy", "--yes")
    yield path
    path.write_text(before)
    clone.inv("deploy", "--yes")


def test_the_services_of_the_guide_run_are_mended_and_leave_their_data(clone: Clone, settings: Path) -> None:
    adding, heading, taking_off = SERVICE.read_text().partition("## Taking them off again\n")
    assert heading
    before = settings.read_text()
    follow(clone, adding)
    assert clone.secret("redis") in clone.on_host("cat /etc/stowage/redis/secrets/REDIS_PASSWORD")
    assert clone.secret("redis") not in clone.on_host(SEEN)
    settings.write_text(before)
    follow(clone, taking_off)
    assert "redis" not in clone.on_host("docker ps -a --format '{{.Names}}'").split()
