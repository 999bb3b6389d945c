"""The logs of the containers that the settings name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from converge.errors import Trouble
from converge.shell import quote
from converge.ssh.link import connect
from runbook.services import service_names, unknown

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

_NO_DOCKER, _DOCKER_IS_DOWN, _NO_CONTAINER = 69, 70, 71
_NEEDS_DOCKER = f"""
command -v docker >/dev/null || exit {_NO_DOCKER}
[ "$(timeout 5 systemctl is-active docker.service)" = active ] && timeout 5 docker version --format x >/dev/null 2>&1 || {{
  journalctl -q -u docker.service -n 5 --no-pager -o short-iso 2>&1 | sed 's/^/docker  /'
  exit {_DOCKER_IS_DOWN}
}}
"""


def logs(host: Host[Settings], service: str, lines: int, follow: bool, since: str) -> None:
    """Print the logs of a container, or of all; `follow` until Ctrl-C. One that is not there is named, the others go on."""
    chosen = [service] if service else service_names(host)
    for name in chosen:
        _must_be_known(host, name)
    link = connect(host.target)
    try:
        pipe = link.shell(_NEEDS_DOCKER + _script(chosen, lines, follow, since))
        pipe.close_stdin()
        silent = True
        while raw := pipe.readline(None):
            silent = False
            sys.stdout.write(raw.decode(errors="replace"))
            sys.stdout.flush()
        if silent and pipe.exit_status() == 0:
            print(f"{host.name}: nothing was logged{' since ' + since if since else ''}")
        if trouble := _trouble(host, pipe.exit_status()):
            raise trouble
    except KeyboardInterrupt:
        pass
    finally:
        link.close()


def _script(names: list[str], lines: int, follow: bool, since: str) -> str:
    more = (f" --since {quote(since)}" if since else "") + (" --follow" if follow else "")
    asks = [
        f"if docker container inspect -- {quote(name)} >/dev/null 2>&1; then\n"
        f"docker logs --timestamps --tail {int(lines)}{more} -- {quote(name)} 2>&1 | sed {quote('s/^/' + name + '  /')}{' &' if follow else ''}\n"
        f"else echo {quote(name + '  there is no such container')}; absent={_NO_CONTAINER}; fi"
        for name in names
    ]
    return "\n".join(["absent=0", *asks, "wait", "exit $absent"])


def _trouble(host: Host[Settings], status: int | None) -> Trouble | None:
    """What the exit status of the script means."""
    deploy, look = f"inv deploy --host {host.name}", f"inv status --host {host.name}"
    return {
        _NO_DOCKER: Trouble("there is no Docker", host.name, "nothing runs there yet", "nothing was changed", deploy),
        _DOCKER_IS_DOWN: Trouble(
            "Docker does not run, so no container has logs to show",
            host.name,
            "its own last words are above",
            "nothing was changed",
            f"{deploy}, which starts it; or on the host: sudo journalctl -u docker -n 50",
        ),
        _NO_CONTAINER: Trouble(
            "a container is not there", host.name, "it is named above", "nothing was changed", f"{look}, then {deploy}"
        ),
    }.get(status or 0)


def _must_be_known(host: Host[Settings], service: str) -> None:
    known = service_names(host)
    if service not in known:
        raise unknown(host, service, known, "inv logs --service NAME")
