"""The status of hosts as one page of HTML that needs nothing else: the facts of the screen, and charts of the last day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from converge.errors import UNTOUCHED, Trouble
from converge.record import dataclass
from converge.ssh.link import connect
from converge.ui.lines import say
from roles.backup import status as backup_status
from roles.postgres import status as database_status
from runbook import charts
from runbook.charts import Chart
from runbook.status_screen import NOTHING
from worker.size import human

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings
    from runbook.status import Status

Row = tuple[tuple[str, ...], bool]
"""The cells of a row, and whether the last of them is well."""


@dataclass
class Page:
    """One host on the page."""

    status: Status
    charts: list[Chart] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def tables(self) -> list[tuple[str, list[Row]]]:
        it = self.status
        return [
            ("Drives", [_drive(drive) for drive in it.drives]),
            ("Nodes", [((node.name, node.drive, str(node)), node.well) for node in it.nodes]),
            ("Quorum", [((it.quorum,), True)] if it.quorum else []),
            ("Services", [((service.name, str(service)), service.well) for service in it.services]),
            (
                "Shown by services",
                [
                    ((each.name, what, text or NOTHING), bool(text))
                    for each in it.services
                    for what, text in each.shows.items()
                ],
            ),
            ("Endpoints", [((url, code), code[:1] in "23") for url, code in it.endpoints.items()]),
            ("Buckets", [((bucket.name, *_counted(bucket)), True) for bucket in it.buckets]),
            ("Not read in time", [((unread,), False) for unread in it.unread]),
            ("Differs from the inventory", [((difference,), False) for difference in it.drift]),
        ]

    @property
    def database(self) -> str:
        return "\n".join(database_status.lines(self.status.postgres, human)) if self.status.postgres else ""

    @property
    def backup(self) -> str:
        return "\n".join(backup_status.lines(self.status.backup)) if self.status.backup else ""


def _drive(drive: object) -> Row:
    from runbook.machine_status import Drive

    assert isinstance(drive, Drive)
    used = drive.problem or f"{human(drive.used)} of {human(drive.size)} used"
    return (drive.label, drive.path, drive.mounted, f"{used} {drive.healing}".strip()), not drive.problem


def _counted(bucket: object) -> tuple[str, ...]:
    from roles.minio.status import Bucket

    assert isinstance(bucket, Bucket)
    if bucket.objects is None or bucket.size is None:
        return ("not counted yet",)
    return (f"{bucket.objects} objects", human(bucket.size))


def write(hosts: Sequence[Host[Settings]], statuses: Sequence[Status], file: str) -> None:
    """Write the page; a host whose metrics cannot be read has its facts, and the reason."""
    path = Path(file).expanduser()
    try:
        path.write_text(page([_with_charts(host, status) for host, status in zip(hosts, statuses, strict=True)]))
    except OSError as error:
        why = f"{path}: {error.strerror}"
        raise Trouble("the page cannot be written", "", why, UNTOUCHED, "another file behind --html") from None
    say(f"{path} has the page")


def _with_charts(host: Host[Settings], status: Status) -> Page:
    made = Page(status)
    if status.error or not charts.has_metrics(host):
        return made
    try:
        link = connect(host.target)
        try:
            made.charts = charts.drawn(host, link)
        finally:
            link.close()
    except Trouble as trouble:
        made.notes.append(": ".join(filter(None, (f"no charts, {trouble.what}", trouble.why))))
    return made


def page(pages: Sequence[Page]) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    template = environment.get_template("status.html.j2")
    return template.render(hosts=pages, at=at, width=charts.WIDTH, height=charts.HEIGHT)
