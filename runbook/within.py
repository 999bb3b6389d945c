"""HTTP questions to a service of a host, asked in the network of its container: no port of it need be published."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from converge.errors import Trouble
from converge.record import dataclass
from converge.shell import quote

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from converge.ssh.link import Link
    from roles.settings.model import Settings

_ABSENT = 69
PATIENCE = 60
"""Seconds for one answer."""


@dataclass(frozen=True)
class Ago:
    """A moment by the host's own clock, which may differ from ours."""

    seconds: int
    nanoseconds: bool = False

    def __str__(self) -> str:
        return f"$(($(date +%s) - {self.seconds}))" + ("000000000" if self.nanoseconds else "")


Parameters = Mapping[str, str | Ago]


def ask(container: str, url: str, parameters: Parameters) -> str:
    """Shell that prints the answer to a GET of a path of the container's own, such as `:9090/api/v1/query`.

    It reads `texts` of the parameters on its standard input: the arguments of a program are seen by everybody on the host.
    """
    moments = " ".join(f'-d "{name}={value}"' for name, value in parameters.items() if isinstance(value, Ago))
    return f"""pid=$(docker inspect -f '{{{{.State.Pid}}}}' -- {quote(container)} 2>/dev/null) && [ "$pid" != 0 ] || exit {_ABSENT}
nsenter -t $pid -n curl -q -sS --fail-with-body --noproxy '*' -m {PATIENCE} -G {moments} -K - {quote(f"http://127.0.0.1{url}")} 2>&1"""


def texts(parameters: Parameters) -> bytes:
    """The parameters that are texts, as a file of options for curl."""
    return "".join(
        f'data-urlencode = "{name}={_in_quotes(value)}"\n'
        for name, value in parameters.items()
        if isinstance(value, str)
    ).encode(errors="surrogateescape")


def _in_quotes(text: str) -> str:
    for letter, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"), ("\v", "\\v")):
        text = text.replace(letter, escaped)
    return text


def answer(host: Host[Settings], link: Link, container: str, url: str, parameters: Parameters) -> list[str]:
    """The lines of an answer; one that is an error, or was cut, becomes a Trouble with its text."""
    pipe = link.shell(ask(container, url, parameters))
    with contextlib.suppress(BrokenPipeError):  # its exit status says why
        pipe.write(texts(parameters))
        pipe.close_stdin()
    found = [raw.decode(errors="replace").rstrip("\n") for raw in iter(pipe.readline, b"")]
    if status := pipe.exit_status():
        raise Trouble(
            f"{container} does not run" if status == _ABSENT else f"{container} does not take the question",
            host.name,
            "" if status == _ABSENT else "\n".join(found[-1:])[:600],
            "nothing was changed",
            f"inv status --host {host.name}" if status == _ABSENT else f"inv logs --service {container}",
        )
    return found
