"""Tools that share a container: each has its own output and end, and none waits forever."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from worker.toolbox import KILLED, Toolbox

# Instead of `docker run`, a local shell runs the command after the image's name.
SCRIPT = """#!/bin/sh
while [ "$1" != image ]; do shift; done; shift
echo $$ >>{pids}
exec sh "$@"
"""


@pytest.fixture
def box(tmp_path: Path) -> Toolbox:
    (tmp_path / "run").write_text(SCRIPT.format(pids=tmp_path / "pids"))
    (tmp_path / "run").chmod(0o755)
    return Toolbox()


def test_tools_run_beside_each_other_and_each_tells_its_own_end(box: Toolbox, tmp_path: Path) -> None:
    sleeping = box.start(
        "sleeping", ["sh", "-c", "until [ -e stop ]; do sleep 0.1; done"], [str(tmp_path / "run")], "image", tmp_path
    )
    odd = 'it\'s "odd" $HOME\nand long'
    good = box.start("good", ["printf", "%s", odd], [str(tmp_path / "run")], "image", tmp_path)
    bad = box.start("bad", ["sh", "-c", "cat; exit 3"], [str(tmp_path / "run")], "image", tmp_path)
    assert (good.wait(), bad.wait(), sleeping.poll()) == (0, 3, None)
    assert (tmp_path / "good.log").read_text() == odd
    assert len((tmp_path / "pids").read_text().split()) == 1
    (tmp_path / "stop").touch()
    assert sleeping.wait() == 0


def test_a_container_that_was_opened_ahead_is_that_of_the_first_tool(box: Toolbox, tmp_path: Path) -> None:
    run = [str(tmp_path / "run")]
    box.open(run, "image", tmp_path)
    while not (tmp_path / "pids").exists():
        time.sleep(0.01)
    assert box.start("first", ["true"], run, "image", tmp_path).wait() == 0
    assert len((tmp_path / "pids").read_text().split()) == 1


def test_a_closed_box_ends_and_the_next_tool_opens_another(box: Toolbox, tmp_path: Path) -> None:
    run = [str(tmp_path / "run")]
    running = box.start("running", ["sh", "-c", "until [ -e stop ]; do sleep 0.1; done"], run, "image", tmp_path)
    box.close()  # not while a tool runs
    assert running.poll() is None
    (tmp_path / "stop").touch()
    assert running.wait() == 0
    box.close()
    (pid,) = (tmp_path / "pids").read_text().split()
    until = time.monotonic() + 10
    while Path(f"/proc/{pid}/cmdline").exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}/cmdline").exists()
    assert box.start("next", ["true"], run, "image", tmp_path).wait() == 0
    assert len((tmp_path / "pids").read_text().split()) == 2


def test_a_program_is_taken_from_the_folder_of_its_own_before_one_that_is_called_like_it(
    tmp_path: Path, box: Toolbox
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/printf").write_text("#!/bin/sh\necho our own\n")
    (tmp_path / "bin/printf").chmod(0o755)
    own = Toolbox(str(tmp_path / "bin"))
    assert own.start("own", ["sh", "-c", "exec printf x"], [str(tmp_path / "run")], "image", tmp_path).wait() == 0
    assert (tmp_path / "own.log").read_text() == "our own\n"


def test_a_container_that_is_taken_away_ends_its_tools_and_the_next_tool_gets_another(
    box: Toolbox, tmp_path: Path
) -> None:
    run = [str(tmp_path / "run")]
    lost = box.start("lost", ["sleep", "5"], run, "image", tmp_path)
    while not (tmp_path / "lost.log").exists():
        time.sleep(0.01)
    pid = (tmp_path / "pids").read_text().strip()
    subprocess.run(["pkill", "-KILL", "-P", pid], check=False)
    subprocess.run(["kill", "-KILL", pid], check=True)
    assert lost.wait() == KILLED
    assert "taken away" in (tmp_path / "lost.log").read_text()
    assert box.start("next", ["true"], run, "image", tmp_path).wait() == 0


def test_an_image_that_does_not_start_is_told_by_its_own_words(box: Toolbox, tmp_path: Path) -> None:
    run = ["sh", "-c", "echo 'no such image' >&2; exit 125"]
    assert box.start("check", ["true"], run, "image", tmp_path).wait() == KILLED
    assert "no such image" in (tmp_path / "check.log").read_text()
