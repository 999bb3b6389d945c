"""HTTP questions to a service of a host, asked in the network of its container: no port of it need be published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from converge.errors import Trouble
from converge.shell import quote

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from converge.ssh.link import Link
    from roles.settings.model import Settings

_ABSENT = 69
PATIENCE = 60
"""Seconds for one answer."""


def ask(container: str, url: str, parameters: Mapping[str, str]) -> str:
    """Shell that prints the answer to a GET of a path of the container's own, such as `:9090/api/v1/query`.

    A value that begins with `$((` is computed by the shell; all others are passed as they are.
    """
    given = " ".join(
        f'--data-urlencode {quote(f"{name}=")}"{value}"'
        if value.startswith("$((")
        else f"--data-urlencode {quote(f'{name}={value}')}"
        for name, value in parameters.items()
    )
    return f"""pid=$(docker inspect -f '{{{{.State.Pid}}}}' -- {quote(container)} 2>/dev/null) && [ "$pid" != 0 ] || exit {_ABSENT}
nsenter -t $pid -n curl -q -sS --fail-with-body --noproxy '*' -m {PATIENCE} -G {given} {quote(f"http://127.0.0.1{url}")} 2>&1"""


def lines(host: Host[Settings], link: Link, container: str, url: str, parameters: Mapping[str, str]) -> Iterator[str]:
    """The lines of an answer as they come; an answer that is an error becomes a Trouble with its text."""
    pipe = link.shell(ask(container, url, parameters))
    pipe.close_stdin()
    last = ""
    while raw := pipe.readline(None):
        last = raw.decode(errors="replace").rstrip("\n")
        yield last
    if status := pipe.exit_status():
        raise Trouble(
            f"{container} does not run" if status == _ABSENT else f"{container} does not take the question",
            host.name,
            "" if status == _ABSENT else last[:600],
            "nothing was changed",
            f"inv status --host {host.name}" if status == _ABSENT else f"inv logs --service {container}",
        )
