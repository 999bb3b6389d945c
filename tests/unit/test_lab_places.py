"""Two runs of the lab tests at once never have the same folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import places

SAYS = "from tests.lab.places import place; print(place('test-x'), place('test-x'), flush=True); input()"


def test_a_folder_belongs_to_one_run_until_that_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "CACHE", tmp_path / "stowage")
    monkeypatch.setattr(places, "_HELD", {})
    other = subprocess.Popen(
        [sys.executable, "-c", SAYS],
        env={"XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout and other.stdin
    first, second = tmp_path / "stowage/test-x", tmp_path / "stowage/test-x-2"
    try:
        assert other.stdout.readline().split() == [str(first)] * 2
        assert places.place("test-x") == second
        assert places.place("test-x") == second
    finally:
        other.stdin.close()
        other.wait(30)
    places._HELD.clear()
    assert places.place("test-x") == first
