"""Status: the one screen that an on-call engineer opens first."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from converge import run as runs
from converge.errors import ERROR, PENDING, UNREACHABLE, Trouble
from converge.resource import Action
from converge.role import Role
from converge.root_shell import LOCK, describe
from converge.run import AUDIT
from converge.shell import sh, words
from runbook import database_status
from runbook.database_status import DatabaseServer

if TYPE_CHECKING:
    from converge.ssh import Link

PATIENCE, CLUSTER_PATIENCE = 9.0, 4.0
"""Seconds after which a host that has not answered is shown as dead, and its cluster as silent."""


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
class Bucket:
    name: str
    objects: int = 0
    size: int = 0


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
        runs.look(run, "status", lock=False, meanwhile=lambda: _start_reading(host, run.link, cluster))
        assert run.shell and run.link and run.plan
        _, answer = run.shell.run(_facts(host))
        _read_facts(status, host, answer)
        if host.settings.minio:
            _read_cluster(status, host, cluster)
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
    space, containers, audit, lock, urls, databases = parts
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


def _start_reading(host: Any, link: Link | None, told: dict[str, Any]) -> None:
    """Ask the cluster about itself while the host is read; each answer is put into `told` when it comes."""
    from roles.minio import api_of
    from roles.minio_api import admin

    if not host.settings.minio or link is None:
        return
    questions = {
        "info": lambda client: json.loads(admin(client, "GET", "info")),
        "usage": lambda client: json.loads(admin(client, "GET", "datausageinfo")),
        "names": lambda client: [bucket.name for bucket in client.list_buckets()],
    }

    def ask(name: str) -> None:
        try:
            told[name] = api_of(host).any(link, questions[name])
        except Exception as error:
            told.setdefault("why", getattr(error, "what", "") or type(error).__name__)

    told["threads"] = [threading.Thread(target=ask, args=(name,), daemon=True) for name in questions]
    told["until"] = time.monotonic() + CLUSTER_PATIENCE
    for thread in told["threads"]:
        thread.start()


def _read_cluster(status: Status, host: Any, told: dict[str, Any]) -> None:
    """Drives, healing and quorum as the cluster itself sees them, and what is in the buckets."""
    for thread in told.get("threads", []):
        thread.join(max(0.0, told["until"] - time.monotonic()))
    info, usage, names = told.get("info"), told.get("usage") or {}, told.get("names") or []
    if info is None:
        up = sum(node.state.startswith("running") for node in status.nodes)
        why = told.get("why") or f"no answer within {CLUSTER_PATIENCE:.0f} s"
        status.quorum = f"the cluster does not tell ({why}); by its containers: {quorum(up, len(status.nodes), None)}"
        return
    online = 0
    by_address = {node.address: node for node in host.settings.minio.nodes}
    by_name = {node.name: node for node in host.settings.minio.nodes}
    for server in info.get("servers") or []:
        place = server.get("endpoint", "").rpartition(":")[0]
        node = by_name.get(place) or by_address.get(place)
        for seen in server.get("drives") or []:
            online += seen.get("state") == "ok"
            drive = next((one for one in status.drives if node and one.label == node.drive), None)
            if drive and seen.get("state") != "ok" and not drive.problem:
                drive.problem = f"the cluster says {seen.get('state')}"
            if drive and seen.get("healing"):
                done = (seen.get("heal_info") or {}).get("bytes_done", 0)
                drive.healing = f"healing, {human(done)} done"
    status.quorum = quorum(online, len(host.settings.minio.nodes), info.get("backend", {}).get("standardSCParity"))
    sizes = usage.get("bucketsUsageInfo") or {}
    status.buckets = [
        Bucket(name, sizes.get(name, {}).get("objectsCount", 0), sizes.get(name, {}).get("size", 0)) for name in names
    ]


def quorum(online: int, drives: int, parity: int | None) -> str:
    """What a cluster of one set can still lose, in words. Reading needs the data drives, writing one more when data equals parity."""
    parity = drives // 2 if parity is None else parity
    read = drives - parity
    write = read + 1 if read == parity else read
    if online < read:
        return f"{online} of {drives} drives: LOST, reading needs {read}"
    if online < write:
        return f"{online} of {drives} drives: READ ONLY, writing needs {write}"
    return f"{online} of {drives} drives: reads survive {online - read} more, writes {online - write} more"


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


def human(size: float) -> str:
    """Bytes in the unit that a person would choose."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} PiB"


def lines(status: Status) -> list[str]:
    """The screen of one host."""
    if status.error:
        what, *why = status.error.splitlines()
        state = "DOWN" if status.code == UNREACHABLE else "NOT READ"
        return [
            f"{status.host}: {state}, {what}",
            *(f"  why        {line}" for line in why),
            *(f"  next       {one}" for one in status.next),
        ]
    found = [f"{status.host}: {'all is well' if status.healthy else 'needs you'}"]
    for drive in status.drives:
        state = drive.problem.upper() or f"{human(drive.used)} of {human(drive.size)} used"
        found.append(
            f"  drive      {drive.label:8} {drive.path:14} {drive.mounted:12} {state} {drive.healing}".rstrip()
        )
    found += [f"  node       {node.name:8} on {node.drive:8} {node.state}" for node in status.nodes]
    if status.quorum:
        found.append(f"  quorum     {status.quorum}")
    found += [f"  endpoint   {url}  {'ok' if code[:1] in '23' else code}" for url, code in status.endpoints.items()]
    found += [f"  bucket     {one.name:20} {one.objects} objects, {human(one.size)}" for one in status.buckets]
    if status.postgres:
        found += database_status.lines(status.postgres, human)
    found.append(f"  deployed   {status.last_deploy}")
    if status.under_way:
        found.append(f"  under way  {status.under_way}")
    found += [f"  differs    {one}" for one in status.drift[:12]]
    if len(status.drift) > 12:
        found.append(f"  differs    and {len(status.drift) - 12} more")
    found += [f"  next       {one}" for one in status.next] or ["  next       nothing to do"]
    return found


def show(hosts: Sequence[Any], roles: dict[str, Sequence[Role]], as_json: bool) -> int:
    """Print the status of hosts; the exit code is 0 when all is well, 2 when something needs a person, else that of the error."""
    found = of_hosts(hosts, roles)
    if as_json:
        print(json.dumps({"hosts": [{**asdict(one), "healthy": one.healthy} for one in found]}))
    else:
        print("\n".join(line for one in found for line in lines(one)))
    return max((one.code if one.error else 0 if one.healthy else PENDING for one in found), default=0)
