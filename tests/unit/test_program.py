"""Invoke's program as `./inv` starts it: the same words, and nothing loaded that no command uses."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys

import pytest

from converge.ui.cli import ROOT


def python(code: str) -> str:
    """What a new Python prints that has started as a command does."""
    start = "from converge.ui.program import program\nprogram()\n"
    done = subprocess.run([sys.executable, "-c", start + code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_command_starts_without_what_it_does_not_use():
    loaded = set(json.loads(python("import json, sys; print(json.dumps([*sys.modules]))")))
    assert not loaded & {"email.message", "asyncio", "unittest.mock", "invoke.vendor.yaml.loader"}


@pytest.mark.parametrize("name", ["invoke", "paramiko", "pydantic"])
def test_versions_are_those_that_are_installed(name):
    assert python(
        f"from importlib.metadata import version; print(version({name!r}))"
    ).strip() == importlib.metadata.version(name)


@pytest.mark.parametrize(
    "code",
    [
        "from importlib.metadata import entry_points; print(type(entry_points(group='x')).__name__)",
        "import importlib.metadata; print(type(importlib.metadata.entry_points(group='x')).__name__)",
    ],
)
def test_a_library_that_asks_for_more_has_the_real_one(code):
    assert python(code).strip() == "EntryPoints"
    assert python("import importlib.metadata as m; print(m.distribution('invoke').name)").strip() == "invoke"


def test_a_version_that_is_not_installed_is_the_error_of_python():
    code = "import importlib.metadata as m\ntry: m.version('nothing')\nexcept m.PackageNotFoundError as error: print(error)"
    assert "nothing" in python(code)


def test_a_shell_completes_all_commands():
    done = subprocess.run(
        ["./inv", "--complete", "--", "inv dep"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert {"deploy", "check", "backup.recovery-sheet"} <= set(done.stdout.split())
    done = subprocess.run(
        ["./inv", "--complete", "--", "inv deploy --"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert {"--host", "--role"} <= set(done.stdout.split())
