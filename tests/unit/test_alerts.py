"""The alerts: each has a test case, which tests/lab gives to Prometheus itself, and names a command that exists."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from invoke.parser import Parser

from tests.unit import alert_cases

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "files/prometheus/alerts.yml"
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(FILE.read_text())["groups"] for rule in group["rules"]
}


def test_each_alert_has_a_case_in_which_it_fires_and_says_how_urgent_it_is() -> None:
    assert set(ALERTS) == set(alert_cases.CASES)
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in ("page", "ticket", "none"), name
        assert rule["annotations"]["summary"], name


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_names_a_command_that_exists(name: str) -> None:
    sys.path.insert(0, str(ROOT))
    commands = importlib.import_module("tasks").namespace
    command = re.sub(r"\{\{.*?\}\}", "prod", ALERTS[name]["annotations"]["command"])
    program, *arguments = shlex.split(command)
    assert program == "inv" and arguments[-2:] == ["--host", "prod"]
    (parsed,) = Parser(contexts=commands.to_contexts()).parse_argv(arguments)
    assert parsed.name == arguments[0] or arguments[0] in parsed.aliases
