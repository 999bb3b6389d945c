"""Restarts of services, and which there are."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

from converge.engine.resource import Shell
from converge.errors import REFUSED, Trouble
from converge.resources.compose import FOLDER
from converge.shell import sh
from converge.ssh.link import connect
from converge.ssh.root_shell import RootShell, holder

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

INSIDE = "/etc/stowage"


def containers_of(host: Host[Settings]) -> dict[str, list[str]]:
    """The containers of each service of a host, by its settings."""
    settings = host.settings
    nodes = [node.name for node in settings.minio.nodes] if settings.minio else []
    edge = settings.edge.kind if settings.edge else ""
    of_roles: dict[str, list[str]] = {
        "minio": nodes if "minio" in settings.roles else [],
        edge: [edge] if "edge" in settings.roles and edge else [],
        "postgres": ["postgres"] if "postgres" in settings.roles and settings.postgres else [],
    }
    own = {name: containers for name, containers in of_roles.items() if containers}
    return own | {name: [name] for name, service in settings.services.items() if service.enabled}


def service_names(host: Host[Settings]) -> list[str]:
    """The containers of a host, by its settings."""
    return [name for names in containers_of(host).values() for name in names]


def unknown(host: Host[Settings], service: str, known: Iterable[str], command: str) -> Trouble:
    """The error for a name that no service of a host has. What is proposed is what was meant, never the first of them: that is all of MinIO."""
    known, settings = list(known), host.settings.services.get(service)
    near = get_close_matches(service, known, 1, 0.6)
    why = f"services are {', '.join(known) or 'none'}"
    hint = f"{command.replace('NAME', near[0])} --host {host.name}" if near else f"inv status --host {host.name}"
    if settings:
        why = f"services.{service}.enabled is false; {why}"
        hint = f"inv inventory --host {host.name} says where that stands"
    return Trouble(f"there is no service {service}", host.name, why, "nothing was changed", hint)


_NO_DOCKER = 69
_NEEDS_DOCKER = f"command -v docker >/dev/null || exit {_NO_DOCKER}\n"


def _not_deployed(host: Host[Settings]) -> Trouble:
    hint = f"inv deploy --host {host.name}"
    return Trouble("there is no Docker", host.name, "nothing runs there yet", "nothing was changed", hint)


def restart(host: Host[Settings], service: str, command: str) -> None:
    """Restart a service, MinIO's nodes all together, under the lock; refused when writes would not survive it anyway."""
    services = containers_of(host)
    if service in services.get("minio", []):
        raise Trouble(
            f"{service} cannot be restarted alone",
            where=host.name,
            why="MinIO's nodes are one unit and restart together",
            untouched="nothing was changed",
            hint=f"inv restart minio --host {host.name}",
            code=REFUSED,
        )
    if service not in services:
        raise unknown(host, service, services, "inv restart NAME")
    if service == "minio":
        _all_must_be_well(host)
    link = connect(host.target)
    try:
        shell = RootShell(link, holder(command))
        _run(shell, host, service, _RELOAD if service == "nginx" else _again(service))
        print(f"  waiting until {_WAITS_FOR.get(service, 'it answers')}", flush=True)
        if service == "minio":
            _wait(shell, host)
        if service == "postgres":
            _wait_for_postgres(shell, host)
        if service in host.settings.services:
            _wait_for_service(shell, host, service)
        edge = host.settings.edge.kind if host.settings.edge else ""
        if edge in services and service in ("minio", edge):
            _wait_for_edge(shell, host, after_proof=service == "minio")
        shell.close()
    finally:
        link.close()
    print(f"{host.name}: {service} was restarted and answers{_AND_MORE.get(service, '')}")


_WAITS_FOR = {
    "minio": "every node sees the cluster, writes through each node reach all drives, and the edge passes requests on",
    "nginx": "it passes requests on",
    "traefik": "it passes requests on",
    "postgres": "it takes connections",
}
_AND_MORE = {"nginx": ": new processes serve, the old ones end with the requests that they have"}


def _again(project: str) -> str:
    return f"docker compose -p {project} -f {FOLDER}/{project}/compose.yaml restart --timeout 90 2>&1"


# A restart of the container cuts open requests and refuses new ones until it is back. New worker processes do neither. A
# container that is stopped, or does not take the signal, has nothing to lose.
_RELOAD = f"""reloaded() {{
  main=$(docker inspect -f '{{{{.State.Pid}}}}' nginx) && [ "$main" != 0 ] || return 1
  older=$(cat /proc/$main/task/$main/children) && docker exec nginx nginx -s reload -c {INSIDE}/nginx.conf || return 1
  for worker in $older; do
    cmp -s /proc/$worker/comm /proc/$main/comm || continue # a timer beside the workers serves nobody
    tries=100
    while [ -e /proc/$worker ] && ! grep -qsF 'shutting down' /proc/$worker/cmdline; do
      tries=$((tries - 1)); [ $tries -gt 0 ] || return 1; sleep 0.1
    done
  done
}}
if [ "$(docker inspect -f '{{{{.State.Running}}}}' nginx 2>/dev/null)" = true ]; then
  docker exec nginx nginx -t -q -c {INSIDE}/nginx.conf 2>&1
  reloaded 2>&1 || {_again("nginx")}
else
  {_again("nginx")}
fi"""


def _run(shell: RootShell, host: Host[Settings], service: str, script: str) -> None:
    def show(line: str) -> None:
        if line.strip():
            print(f"  {line}", flush=True)

    status, output = shell.run(f"{_NEEDS_DOCKER}set -e\n{script}", show)
    if status == _NO_DOCKER:
        raise _not_deployed(host)
    if status:
        hint = f"inv status --host {host.name}"
        raise Trouble(f"{service} was not restarted", where=host.name, why=output[-600:], hint=hint)


def _all_must_be_well(host: Host[Settings]) -> None:
    """Refuse when a drive is away or heals. All nodes restart together: without its drive one would stay down, and healing begins anew."""
    from runbook.status import of_host

    unwell = [
        f"{drive.label} {drive.problem or drive.healing}"
        for drive in of_host(host, []).drives
        if drive.problem or drive.healing
    ]
    if unwell:
        raise Trouble(
            "minio is not restarted now",
            where=host.name,
            why=", ".join(unwell),
            untouched="nothing was changed",
            hint=f"inv status --host {host.name}; a single container: docker start NAME on the host",
            code=REFUSED,
        )


def _wait(shell: RootShell, host: Host[Settings]) -> None:
    """Until all nodes see the cluster, and data passes through each of them."""
    from roles.minio.role import settings_of
    from roles.minio.tls import scheme

    minio = settings_of(host)
    checks = "\n".join(
        sh(
            "until curl -q -fsS -k --noproxy '*' -o /dev/null -m 3 {}; do sleep 1; n=$((n+1)); [ $n -lt 120 ] || exit 1; done",
            url,
        )
        for url in (f"{scheme(minio)}://{node.address}:9000/minio/health/cluster" for node in minio.nodes)
    )
    status, _ = shell.run(f"n=0\n{checks}\ntrue")
    if status:
        raise Trouble("it does not answer after 120 s", where=host.name, hint=f"inv logs --host {host.name}")
    try:
        _prove(host)
    except Trouble as trouble:
        trouble.untouched = "all nodes were restarted and answer; only the proof that data passes was not made"
        raise


def _wait_for_edge(shell: RootShell, host: Host[Settings], after_proof: bool) -> None:
    from roles.edge.nginx import passes, proven
    from roles.edge.role import answers

    status, output = shell.run(
        f"set -e\n{answers(host).waits()}\n{proven(host) if after_proof else ''}\n{passes(host)}"
    )
    if status:
        raise Trouble(
            "the edge does not pass requests on",
            where=host.name,
            why=output[-600:],
            untouched="the restart was made",
            hint=f"inv status --host {host.name}",
        )


def _wait_for_postgres(shell: RootShell, host: Host[Settings]) -> None:
    from roles.postgres.role import server_of
    from roles.postgres.server_kinds import Ready

    (step,) = Ready(server_of(host)).fix(None)
    assert isinstance(step, Shell)
    status, output = shell.run(f"set -e\n{step.script}")
    if status:
        hint = f"inv logs --service postgres --host {host.name}"
        raise Trouble("postgres was restarted and does not answer", where=host.name, why=output[-600:], hint=hint)


def _wait_for_service(shell: RootShell, host: Host[Settings], service: str) -> None:
    from converge.resources.serving import Serving
    from roles.services.role import question

    settings = host.settings.services[service]
    if settings.answers and (asked := question(settings)):
        status, output = shell.run(Serving(service, asked, settings.answers.within).waits())
        if status:
            hint = f"inv logs --service {service} --host {host.name}"
            raise Trouble(f"{service} was restarted and does not answer", where=host.name, why=output[-600:], hint=hint)


def _prove(host: Host[Settings]) -> None:
    from roles.minio.proof import prove_data_path
    from roles.minio.role import api_of, folders

    link = connect(host.target)
    try:
        prove_data_path(api_of(host), link, folders(host))
    finally:
        link.close()
