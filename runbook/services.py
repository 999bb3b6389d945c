"""Logs and restarts of services."""

from __future__ import annotations

import sys
from typing import Any

from converge.errors import ERROR, REFUSED, Trouble
from converge.root_shell import RootShell, holder
from converge.shell import quote, sh
from converge.ssh import connect


def service_names(host: Any) -> list[str]:
    """The containers of a host, by its settings."""
    nodes = (
        [node.name for node in host.settings.minio.nodes]
        if host.settings.minio and "minio" in host.settings.roles
        else []
    )
    return [*nodes, *(["nginx"] if host.settings.nginx and "nginx" in host.settings.roles else [])]


def logs(host: Any, service: str, lines: int, follow: bool, since: str) -> None:
    """Print the logs of a service, or of all of them; `follow` until Ctrl-C."""
    chosen = [service] if service else service_names(host)
    for name in chosen:
        _must_be_known(host, name)
    link = connect(host.target)
    try:
        more = (f" --since {quote(since)}" if since else "") + (" --follow" if follow else "")
        many = "\n".join(
            f"docker logs --timestamps --tail {int(lines)}{more} -- {quote(name)} 2>&1 | sed {quote('s/^/' + name + '  /')}{' &' if follow else ''}"
            for name in chosen
        )
        pipe = link.shell(_NEEDS_DOCKER + many + ("\nwait" if follow else ""))
        pipe.close_stdin()
        while raw := pipe.readline(None):
            sys.stdout.write(raw.decode(errors="replace"))
            sys.stdout.flush()
        if pipe.exit_status() == _NO_DOCKER:
            raise _not_deployed(host)
    except KeyboardInterrupt:
        pass
    finally:
        link.close()


_NO_DOCKER = 69
_NEEDS_DOCKER = f"command -v docker >/dev/null || exit {_NO_DOCKER}\n"


def _not_deployed(host: Any) -> Trouble:
    hint = f"inv deploy --host {host.name}"
    return Trouble("there is no Docker", host.name, "nothing runs there yet", "nothing was changed", hint)


def _must_be_known(host: Any, service: str) -> None:
    known = service_names(host)
    if service not in known:
        raise Trouble(
            f"there is no service {service}",
            where=host.name,
            why=f"services are {', '.join(known) or 'none'}",
            hint=f"inv logs --service {known[0] if known else 'NAME'} --host {host.name}",
        )


def restart(host: Any, service: str, command: str) -> None:
    """Restart the edge, or all MinIO nodes together, under the lock; refused when writes would not survive it anyway."""
    if service not in ("minio", "nginx"):
        nodes = service_names(host)
        raise Trouble(
            f"{service} cannot be restarted alone" if service in nodes else f"there is no service {service}",
            where=host.name,
            why="MinIO's nodes are one unit and restart together"
            if service in nodes
            else "services are minio and nginx",
            untouched="nothing was changed",
            hint=f"inv restart minio --host {host.name}",
            code=REFUSED if service in nodes else ERROR,
        )
    if service == "minio":
        _all_must_be_well(host)
    link = connect(host.target)
    try:
        shell = RootShell(link, holder(command))
        project, names = service, [name for name in service_names(host) if (name == "nginx") == (service == "nginx")]
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


def _prove(host: Any) -> None:
    from roles.minio import api_of
    from roles.minio_api import prove_data_path

    link = connect(host.target)
    try:
        prove_data_path(api_of(host), link)
    finally:
        link.close()
