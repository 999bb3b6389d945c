"""What is timed on the lab host itself, so that SSH is no part of it: scripts, and runs of the backup worker."""

from __future__ import annotations

from collections.abc import Callable

from checkout import Lab
from measure import Failed, run

LAST = 'sed -n \'s/.*"published": {"run": "\\([^"]*\\)".*/\\1/p\' /var/lib/stowage/backup/last.json\n'


def on_host(here: Lab, script: str) -> str:
    """What a script says that the host's shell reads."""
    return run(here.ssh("sh"), stdin=None, input=script)


def timed(here: Lab, script: str, before: str = "true") -> Callable[[], object]:
    """The seconds of a script, without what has to happen `before` it; the first command that fails ends both."""

    def once() -> float:
        begun = "a=$(date +%s%N)"
        measured = f"set -e\n(\n{before}\n) >&2 </dev/null\n{begun}\n(\n{script}\n) >&2 </dev/null\necho $(($(date +%s%N) - a))\n"
        return nanoseconds(on_host(here, measured))

    return once


def nanoseconds(output: str) -> float:
    last = output.strip().splitlines()[-1:]
    if not last or not last[0].isdigit():
        raise Failed(f"it said {output[-200:]}")
    return int(last[0]) / 1e9


def unit(request: str) -> str:
    """Starts a run of the worker as `inv` does, and waits for its end."""
    return f"""umask 077; id=$(date -u +%Y%m%dT%H%M%SZ)-$(od -An -N3 -tx1 /dev/urandom | tr -d ' \\n')
mkdir -p /var/lib/stowage/backup/runs/$id
printf '%s' '{request}' >/var/lib/stowage/backup/runs/$id/request.json; echo '{{}}' >/var/lib/stowage/backup/runs/$id/holder
systemctl start stowage-backup@$id.service"""


def newest_set(here: Lab) -> str:
    """The id of the set that the last run has left."""
    return on_host(here, LAST).strip()
