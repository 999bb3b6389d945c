"""Settings are typed up to the roles and commands that read them."""

from __future__ import annotations

from pathlib import Path

from mypy import api

ROOT = Path(__file__).resolve().parents[2]
SNIPPET = """
from converge.inventory.hosts import Host
from roles.minio.role import settings_of
from roles.settings.hosts import hosts, one_host
from roles.settings.model import Settings

def role(host: Host[Settings]) -> None:
    host.settings.minoi
    host.settings.minio.nodes
    settings_of(host).nodes[0].adress
    settings_of(host).nodes[0].address

from invoke.context import Context
from converge.ui.cli import command

@command(at_once=True)
def task(c: Context, host: str = "") -> None:
    one_host(c, host).settings.bukets
    hosts(c, host)[0].settings.buckets
"""


def test_a_misspelt_setting_fails_in_mypy(tmp_path: Path) -> None:
    snippet = tmp_path / "snippet.py"
    snippet.write_text(SNIPPET)
    output, _, _ = api.run(
        ["--config-file", str(ROOT / "pyproject.toml"), "--follow-imports=silent", "--no-error-summary", str(snippet)]
    )
    assert [line.partition("snippet.py:")[2] for line in output.splitlines()] == [
        '8: error: "Settings" has no attribute "minoi"; maybe "minio"?  [attr-defined]',
        '9: error: Item "None" of "Minio | None" has no attribute "nodes"  [union-attr]',
        '10: error: "Node" has no attribute "adress"; maybe "address"?  [attr-defined]',
        '18: error: "Settings" has no attribute "bukets"; maybe "buckets"?  [attr-defined]',
    ]
