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

from converge.templates import render
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


def test_each_port_of_the_edge_is_probed_as_it_is_asked(storage_host: Any) -> None:
    """A row that sends on to TLS has none itself, and one to a service that is off is not there."""
    host = storage_host(
        edge__tls={"certificate": "inventory/secrets/prod/tls.crt", "key": "inventory/secrets/prod/tls.key"},
        edge__routes=[
            {"port": 9000, "to": "minio-api"},
            {"port": 80, "to": "https:443"},
            {"port": 443, "path": "/minio-console", "to": "minio-console"},
            {"port": 8443, "to": "grafana:3000"},
            {"port": 8090, "inside": True, "to": "minio-console"},
            {"port": 9001, "tls": False, "to": "minio-console"},
        ],
        edge__url="https://storage.example.org",
        services={"blackbox": {"image": "nginx"}, "grafana": {"image": "nginx", "enabled": False}},
    )
    page = yaml.safe_load(render(host, "prometheus/prometheus.yml.j2", settings=host.settings))
    (probe,) = [job for job in page["scrape_configs"] if job["job_name"] == "probe-edge"]
    assert [target for part in probe["static_configs"] for target in part["targets"]] == [
        "http://nginx:80/",
        "https://nginx:443/",
        "https://nginx:9000/minio/health/live",
        "http://nginx:9001/",
    ]
