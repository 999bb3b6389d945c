"""Restarts of services, and which there are."""

from __future__ import annotations

from typing import Any

from converge.errors import ERROR, REFUSED, Trouble
from converge.resource import Shell
from converge.root_shell import RootShell, holder
from converge.shell import sh
from converge.ssh import connect


def containers_of(host: Any) -> dict[str, list[str]]:
    """The containers of each service of a host, by its settings."""
    settings = host.settings
    nodes = [node.name for node in settings.minio.nodes] if settings.minio else []
    found = {"minio": nodes, "nginx": ["nginx"], "postgres": ["postgres"]}
    return {name: found[name] for name in found if name in settings.roles and getattr(settings, name)}


def service_names(host: Any) -> list[str]:
    """The containers of a host, by its settings."""
    return [name for names in containers_of(host).values() for name in names]


_NO_DOCKER = 69
_NEEDS_DOCKER = f"command -v docker >/dev/null || exit {_NO_DOCKER}\n"


def _not_deployed(host: Any) -> Trouble:
    hint = f"inv deploy --host {host.name}"
    return Trouble("there is no Docker", host.name, "nothing runs there yet", "nothing was changed", hint)


def restart(host: Any, service: str, command: str) -> None:
    """Restart a service, MinIO's nodes all together, under the lock; refused when writes would not survive it anyway."""
    services = containers_of(host)
    if service not in services:
        nodes = services.get("minio", [])
        raise Trouble(
            f"{service} cannot be restarted alone" if service in nodes else f"there is no service {service}",
            where=host.name,
            why="MinIO's nodes are one unit and restart together"
            if service in nodes
            else f"services are {', '.join(services) or 'none'}",
            untouched="nothing was changed",
            hint=f"inv restart {next(iter(services), 'NAME')} --host {host.name}",
            code=REFUSED if service in nodes else ERROR,
        )
    if service == "minio":
        _all_must_be_well(host)
    link = connect(host.target)
    try:
        shell = RootShell(link, holder(command))
        project, names = service, services[service]
        before = "docker exec nginx nginx -t -q -c /etc/stowage/nginx.conf 2>&1" if service == "nginx" else ""
        script = f"{_NEEDS_DOCKER}set -e\n{before}\ndocker compose -p {project} -f /etc/stowage/{project}/compose.yaml restart --timeout 90 2>&1"
        status, said = shell.run(script, lambda line: print(f"  {line}", flush=True) if line.strip() else None)
        if status == _NO_DOCKER:
            raise _not_deployed(host)
        if status:
            raise Trouble(
                f"{service} was not restarted", where=host.name, why=said[-600:], hint=f"inv status --host {host.name}"
            )
        _wait(shell, host, names)
        if service == "postgres":
            _wait_for_postgres(shell, host)
        shell.close()
    finally:
        link.close()
    if service == "minio":
        try:
            _prove(host)
        except Trouble as trouble:
            trouble.untouched = "all nodes were restarted and answer; only the proof that data passes was not made"
            raise
    print(f"{host.name}: {service} was restarted and answers")


def _all_must_be_well(host: Any) -> None:
    """All nodes restart together: one that is away would not come back, and one that heals would begin anew."""
    from runbook.status import of_host

    odd = [
        f"{one.label} {one.problem or one.healing}" for one in of_host(host, []).drives if one.problem or one.healing
    ]
    if odd:
        raise Trouble(
            "minio is not restarted now",
            where=host.name,
            why=", ".join(odd),
            untouched="nothing was changed",
            hint=f"inv status --host {host.name}; a single container: docker start NAME on the host",
            code=REFUSED,
        )


def _wait(shell: RootShell, host: Any, names: list[str]) -> None:
    addresses = {node.name: node.address for node in host.settings.minio.nodes} if host.settings.minio else {}
    urls = [f"http://{addresses[name]}:9000/minio/health/cluster" for name in names if name in addresses]
    checks = "\n".join(
        sh("until curl -q -fsS -o /dev/null -m 3 {}; do sleep 1; n=$((n+1)); [ $n -lt 120 ] || exit 1; done", url)
        for url in urls
    )
    status, _ = shell.run(f"n=0\n{checks}\ntrue")
    if status:
        raise Trouble("it does not answer after 120 s", where=host.name, hint=f"inv logs --host {host.name}")


def _wait_for_postgres(shell: RootShell, host: Any) -> None:
    from roles.postgres import server_of
    from roles.postgres_kinds import Ready

    (step,) = Ready(server_of(host)).fix(None)
    assert isinstance(step, Shell)
    status, said = shell.run(f"set -e\n{step.script}")
    if status:
        hint = f"inv logs --service postgres --host {host.name}"
        raise Trouble("postgres was restarted and does not answer", where=host.name, why=said[-600:], hint=hint)


def _prove(host: Any) -> None:
    from roles.minio import api_of
    from roles.minio_api import prove_data_path

    link = connect(host.target)
    try:
        prove_data_path(api_of(host), link)
    finally:
        link.close()
