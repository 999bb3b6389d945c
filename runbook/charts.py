"""Small charts of the last day, drawn as SVG from what Prometheus has."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from converge.record import dataclass
from runbook import within
from worker.size import human

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from converge.ssh.link import Link
    from roles.settings.model import Settings

PROMETHEUS = "prometheus"
DAY, STEP = 86400, 900
WIDTH, HEIGHT = 440, 110
CLUSTER = '{job="minio-cluster"}'
Points = list[tuple[float, float]]


@dataclass
class Line:
    name: str
    points: Points
    path: str = ""
    last: str = ""


@dataclass
class Chart:
    title: str
    unit: str
    lines: list[Line] = field(default_factory=list)
    top: str = ""
    """The value at the upper edge of the chart."""


CHARTS: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    (
        "Capacity",
        "bytes",
        {
            "usable": f"max(minio_cluster_capacity_usable_total_bytes{CLUSTER})",
            "used": f"max(minio_cluster_capacity_usable_total_bytes{CLUSTER})"
            f" - min(minio_cluster_capacity_usable_free_bytes{CLUSTER})",
        },
    ),
    ("Requests", "a second", {"all": f"sum(rate(minio_s3_requests_total{CLUSTER}[5m]))"}),
    (
        "Errors",
        "a second",
        {
            "4xx, of clients": f"sum(rate(minio_s3_requests_4xx_errors_total{CLUSTER}[5m])) or vector(0)",
            "5xx, of the server": f"sum(rate(minio_s3_requests_5xx_errors_total{CLUSTER}[5m])) or vector(0)",
        },
    ),
    (
        "Drives",
        "",
        {"online": f"max(minio_cluster_drive_online_total{CLUSTER})", "mounted": "sum(stowage_drive_mounted)"},
    ),
)


def has_metrics(host: Host[Settings]) -> bool:
    return PROMETHEUS in host.settings.services and host.settings.services[PROMETHEUS].enabled


def drawn(host: Host[Settings], link: Link, span: int = DAY, step: int = STEP) -> list[Chart]:
    """The charts of a host, without lines for which Prometheus has no data."""
    charts = []
    for title, unit, asks in CHARTS:
        lines = [Line(name, _asked(host, link, query, span, step)) for name, query in asks.items()]
        charts.append(scaled(Chart(title, unit, [series for series in lines if series.points]), span))
    return charts


def _asked(host: Host[Settings], link: Link, query: str, span: int, step: int) -> Points:
    parameters: within.Parameters = {"query": query, "start": within.Ago(span), "end": within.Ago(0), "step": str(step)}
    answer = "".join(within.answer(host, link, PROMETHEUS, ":9090/api/v1/query_range", parameters))
    return points(json.loads(answer))


def points(answer: Mapping[str, Any]) -> Points:
    """The points of the one series in an answer."""
    rows = answer["data"]["result"]
    values = ((float(at), float(value)) for at, value in (rows[0]["values"] if rows else ()))
    return [(at, value) for at, value in values if math.isfinite(value)]


def scaled(chart: Chart, span: int) -> Chart:
    """A chart with the paths of its lines, scaled from zero to a little above the largest value."""
    everything = [point for line in chart.lines for point in line.points]
    if not everything:
        return chart
    top = max(value for _, value in everything) or 1.0
    end = max(at for at, _ in everything)
    chart.top = spoken(top, chart.unit)
    for line in chart.lines:
        line.last = spoken(line.points[-1][1], chart.unit)
        line.path = _path(((at - (end - span)) / span, value / top) for at, value in line.points)
    return chart


def _path(shares: Iterable[tuple[float, float]]) -> str:
    steps: Sequence[str] = [f"{4 + x * (WIDTH - 8):.1f},{HEIGHT - 4 - y * (HEIGHT - 12):.1f}" for x, y in shares]
    # A single point is a dot: a line of no length with round ends.
    return f"M{' L'.join([*steps, *steps[:1]] if len(steps) == 1 else steps)}"


def spoken(value: float, unit: str) -> str:
    if unit == "bytes":
        return human(int(value))
    return f"{value:.3g}{f' {unit}' if unit else ''}"
