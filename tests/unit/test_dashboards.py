"""Grafana's dashboards without Grafana: the documented form, and no dangling references."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from converge.inventory.hosts import load
from converge.templates import render
from roles.settings.model import Settings

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "files/grafana/dashboards").glob("*.json"))
# The units that are used, from Grafana's list.
UNITS = {"short", "percentunit", "bytes", "Bps", "reqps", "ops", "s"}
TYPES = {"stat", "gauge", "bargauge", "timeseries", "table"}


def test_there_are_those_of_the_document_and_the_rest() -> None:
    titles = {json.loads(file.read_text())["title"] for file in FILES}
    assert titles == {"MinIO Overview", "Hosts and drives", "PostgreSQL and backups"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_dashboard_has_the_form_that_grafana_documents(file: Path) -> None:
    dashboard: dict[str, Any] = json.loads(file.read_text())
    assert (
        dashboard["uid"] == file.stem
        and len(dashboard["uid"]) <= 40
        and "id" not in dashboard
        and dashboard["schemaVersion"] >= 39
    )
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, f"{panel['title']} overlaps"
        taken |= cells
        assert panel["type"] in TYPES and panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert panel["title"] and panel["targets"]
        names = [target["refId"] for target in panel["targets"]]
        assert len(set(names)) == len(names)
        for target in (panel, *panel["targets"]):
            assert target["datasource"] == {"type": "prometheus", "uid": "prometheus"}


def test_what_dashboards_ask_is_provisioned(tmp_path: Path) -> None:
    import yaml

    (host,) = load(ROOT, "prod", Settings, (), False)
    for on in (("loki",), ("victorialogs",), ()):
        services = {name: {"image": "nginx"} for name in on}
        settings = host.settings.model_copy(
            update={
                "services": Settings.model_validate(
                    {"services": services, "images": {"nginx": {"reference": "n:1"}}}
                ).services
            }
        )
        text = render(host, "grafana/datasources/datasources.yml.j2", settings=settings)
        provisioned = yaml.safe_load(text)
        assert provisioned["apiVersion"] == 1
        assert {datasource["uid"] for datasource in provisioned["datasources"]} == {"prometheus", *on}
        assert len([datasource for datasource in provisioned["datasources"] if datasource.get("isDefault")]) == 1
    providers = yaml.safe_load(render(host, "grafana/dashboards/dashboards.yml.j2"))["providers"]
    assert providers[0]["options"]["path"] == "/etc/stowage-dashboards" and not providers[0]["allowUiUpdates"]
