"""Whether a host has a backup so new that what changes its data for good may be done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.contract import RUNS

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

MINUTES = 60


def backed_up(host: Host[Settings]) -> str:
    """Shell that ends with 1, and says why, unless a backup has ended well within the last hour."""
    if host.settings.backup is None or "backup" not in host.settings.roles:
        return "echo 'this host makes no backups: add the role backup and its settings, or say backup: false there'; exit 1"
    return f"""newest=$(cd {RUNS} 2>/dev/null && for run in $(grep -l '"do": "backup"' */request.json 2>/dev/null); do
    ended=${{run%/*}}/journal.jsonl
    [ -z "$(find "$ended" -mmin -{MINUTES} 2>/dev/null)" ] || tail -n 1 "$ended" | grep '"event": "end", "code": 0[,}}]'
  done) || :
  [ -n "$newest" ] || {{ echo 'no backup has ended well within the last hour, and it changes data for good: inv backup'; exit 1; }}"""
