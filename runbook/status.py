"""Status: the one screen that an on-call engineer opens first."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from converge import run as runs
from converge.colour import coloured
from converge.errors import ERROR, PENDING, UNREACHABLE, Trouble
from converge.resource import Action
from converge.role import Role
from converge.root_shell import LOCK, describe
from converge.run import AUDIT
from converge.shell import sh, words
from runbook import backup_status, database_status
from runbook.backup_status import Backups
from runbook.cluster_status import CLUSTER_PATIENCE, Bucket, read_cluster, start_reading
from runbook.database_status import DatabaseServer
from runbook.status_screen import lines

PATIENCE = 9.0
"""Seconds after which a host that has not answered is shown as dead."""


@dataclass
class Drive:
    label: str
    path: str
    mounted: str = ""
    size: int = 0
    used: int = 0
    healing: str = ""
    problem: str = ""


@dataclass
class Node:
    name: str
    state: str = "absent"
    drive: str = ""


@dataclass
class Status:
    """All that is known of one host; `next` is what to do about it."""

    host: str
    error: str = ""
    code: int = 0
    """The exit code, where there is an error."""
    drives: list[Drive] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    quorum: str = ""
    endpoints: dict[str, str] = field(default_factory=dict)
    buckets: list[Bucket] = field(default_factory=list)
    postgres: DatabaseServer | None = None
    backup: Backups | None = None
    last_deploy: str = ""
    under_way: str = ""
    drift: list[str] = field(default_factory=list)
    next: list[str] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        return not self.error and not self.next


def of_hosts(hosts: Sequence[Any], roles: dict[str, Sequence[Role]]) -> list[Status]:
    """The status of every host, gathered at once; a host that is silent costs PATIENCE and no more."""
    found: dict[str, Status] = {}

    def ask(host: Any) -> None:
        try:
            found[host.name] = of_host(host, roles[host.name])
        except Trouble as trouble:
            joint = "\n" if "\n" in trouble.why else ": "
            said = joint.join(filter(None, (trouble.what, trouble.why)))
            found[host.name] = Status(host.name, said, trouble.code, next=[trouble.hint] if trouble.hint else [])
        except Exception as error:
            said = f"a fault of Stowage itself: {type(error).__name__}: {error}"
            found[host.name] = Status(host.name, said, ERROR, next=[f"STOWAGE_DEBUG=1 inv check --host {host.name}"])

    threads = [threading.Thread(target=ask, args=(host,), daemon=True) for host in hosts]
    for thread in threads:
        thread.start()
    until = time.monotonic() + PATIENCE
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return [found.get(host.name) or _silent(host) for host in hosts]


def _silent(host: Any) -> Status:
    return Status(
        host.name,
        error=f"no answer within {PATIENCE:.0f} s",
        code=UNREACHABLE,
        next=[f"is it up? ping, console, or ssh {host.target.address}"],
    )


def of_host(host: Any, roles: Sequence[Role]) -> Status:
    """Everything of one host, read without taking its lock."""
    quick = _with_target(host, replace(host.target, connect_timeout=min(host.target.connect_timeout, 5.0)))
    run = runs.prepare(quick, roles)
    run.patience = CLUSTER_PATIENCE
    status = Status(host.name)
    try:
        cluster: dict[str, Any] = {}
        runs.look(run, "status", lock=False, meanwhile=lambda: start_reading(host, run.link, cluster))
        assert run.shell and run.link and run.plan
        _, answer = run.shell.run(_facts(host))
        _read_facts(status, host, answer)
        if host.settings.minio:
            read_cluster(status, host, cluster)
        status.drift = [
            f"{one.action.value} {one.address}{'  ' + one.why if one.why else ''}"
            for one in run.plan.changes
            if one.action is not Action.NONE
        ]
    finally:
        run.close()
    status.next = _advice(status, host)
    return status


def _with_target(host: Any, target: Any) -> Any:
    return replace(host, target=target)


def _facts(host: Any) -> str:
    """One script: space on mounted drives, containers, the last deploy, the lock."""
    paths = [drive.path for drive in host.settings.drives]
    space = "\n".join(
        sh("mountpoint -q {} && timeout 3 df -B1 --output=target,size,used,source -- {} | tail -n 1", path, path)
        for path in paths
    )
    return f"""
{space}
printf '\n--\n'
command -v docker >/dev/null && timeout 5 docker ps -a --format '{{{{.Names}}}}|{{{{.State}}}}|{{{{.Status}}}}'
printf '\n--\n'
tail -n 1 {AUDIT} 2>/dev/null
printf '\n--\n'
[ ! -e {LOCK} ] || flock -n -s {LOCK} true || cat {LOCK}
printf '\n--\n'
for url in {words(_urls(host))}; do curl -q -s -k -o /dev/null --noproxy '*' -m 3 -w '%{{http_code}} %{{url}}\\n' "$url"; done
printf '\n--\n'
{database_status.facts(host)}
printf '\n--\n'
{backup_status.facts(host)}
"""


def _urls(host: Any) -> list[str]:
    nginx = host.settings.nginx
    if not nginx or "nginx" not in host.settings.roles:
        return []
    scheme, listen = (
        "https" if nginx.tls else "http",
        nginx.listen if nginx.listen not in ("0.0.0.0", "::") else "127.0.0.1",
    )
    at = f"[{listen}]" if ":" in listen else listen
    return [f"{scheme}://{at}:{nginx.api_port}/minio/health/cluster", f"{scheme}://{at}:{nginx.console_port}/"]


def _read_facts(status: Status, host: Any, answer: str) -> None:
    parts = (part.strip().splitlines() for part in (answer + "\n").split("\n--\n"))
    space, containers, audit, lock, urls, databases, backups = parts
    mounted = {line.split()[0]: line.split() for line in space if len(line.split()) == 4}
    for drive in host.settings.drives:
        found = mounted.get(drive.path)
        size, used, source = (int(found[1]), int(found[2]), found[3]) if found else (0, 0, "")
        problem = "" if found else "not mounted"
        status.drives.append(Drive(drive.label, drive.path, source, size, used, problem=problem))
    states = dict(line.split("|", 1) for line in containers)
    for node in host.settings.minio.nodes if host.settings.minio else []:
        status.nodes.append(Node(node.name, states.get(node.name, "absent").replace("|", ", "), node.drive))
    status.postgres = database_status.read(host, states.get("postgres", "absent").replace("|", ", "), databases)
    status.backup = backup_status.read(host, backups)
    status.endpoints = {line.split(" ", 1)[1]: line.split(" ", 1)[0] for line in urls if " " in line}
    status.under_way = describe(lock[0]) if lock else ""
    status.last_deploy = _last(audit[0]) if audit else "never"


def _last(line: str) -> str:
    try:
        told = json.loads(line)
        result = told.get("result", "under way, or cut off")
        return f"{told['at']} by {told['who']}@{told['from']}, {len(told['changes'])} changes, {result}"
    except (ValueError, KeyError):
        return "its record cannot be read"


def _advice(status: Status, host: Any) -> list[str]:
    """What to do next, the most urgent first."""
    advice = []
    for drive in status.drives:
        if drive.problem == "not mounted":
            advice.append(
                f"{drive.label} is not mounted: reseat it and `inv deploy --host {host.name}`, or `inv drives.replace {drive.label} --host {host.name}` with a blank one"
            )
        elif drive.problem:
            advice.append(f"{drive.label}: {drive.problem}: inv logs --host {host.name}")
        if drive.size and drive.used / drive.size > 0.85:
            advice.append(
                f"{drive.label} is {drive.used / drive.size:.0%} full: delete objects, or let lifecycle rules expire them: docs/runbook.md"
            )
    for node in status.nodes:
        if not node.state.startswith("running"):
            advice.append(
                f"{node.name} is {node.state}: inv logs --service {node.name} --host {host.name}, then inv deploy --host {host.name}"
            )
    if status.postgres:
        advice += database_status.advice(status.postgres, host.name)
    if status.backup:
        advice += backup_status.advice(status.backup, host.name)
    if "forwarding is forbidden" in status.quorum:
        advice.append("on the host, in sshd_config: AllowTcpForwarding yes, then: systemctl reload ssh")
    if any(word in status.quorum for word in ("LOST", "READ ONLY", "does not tell")) and not advice:
        advice.append(f"the cluster: {status.quorum}: inv logs --host {host.name}")
    for url, code in status.endpoints.items():
        if code[:1] not in "23" and not advice:
            advice.append(f"{url} answers {code}: inv logs --service nginx --host {host.name}")
    if status.drift and not advice:
        advice.append(f"inv check --host {host.name} shows the differences, inv deploy --host {host.name} mends them")
    if status.under_way:
        advice.append(f"a run is under way ({status.under_way})")
    return advice


def show(hosts: Sequence[Any], roles: dict[str, Sequence[Role]], as_json: bool) -> int:
    """Print the status of hosts; the exit code is 0 when all is well, 2 when something needs a person, else that of the error."""
    found = of_hosts(hosts, roles)
    if as_json:
        print(json.dumps({"hosts": [{**asdict(one), "healthy": one.healthy} for one in found]}))
    else:
        print("\n".join(line for one in found for line in lines(one, colour=coloured(sys.stdout))))
    return max((one.code if one.error else 0 if one.healthy else PENDING for one in found), default=0)
