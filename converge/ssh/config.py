"""How a machine is reached: what `ssh -G` says of it, with what the inventory says on top."""

from __future__ import annotations

import getpass
import os
import re
import socket
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from converge.errors import Trouble
from converge.record import dataclass
from converge.ui import interrupt

_PATIENCE = 20.0
_PATH_BEGINS = re.compile(r" (?=[/~$])")


@dataclass(frozen=True)
class Route:
    """One machine on the way: the target itself, or a hop before it."""

    name: str
    address: str
    host: str
    port: int
    user: str
    alias: str | None
    identities: tuple[str, ...]
    certificates: tuple[str, ...]
    only_these_identities: bool
    agent: str | None
    jumps: tuple[str, ...]
    proxy_command: str | None
    known_files: tuple[Path, ...]
    timeout: float | None
    alive_interval: float
    alive_count: int

    @property
    def known_names(self) -> tuple[str, ...]:
        """The names its key may be known by: the exact one first, as in OpenSSH."""
        if self.alias:
            return (self.alias.lower(),)
        if self.port == 22:
            return (self.host.lower(),)
        return (f"[{self.host.lower()}]:{self.port}", self.host.lower())

    @property
    def direct(self) -> bool:
        return not (self.jumps or self.proxy_command)

    @property
    def command(self) -> str:
        """The `ssh` command that reaches the same machine."""
        port = "" if self.port == 22 else f"-p {self.port} "
        return f"ssh {port}{self.user}@{self.host}"


class RouteQuery:
    """A running `ssh -G`: started at once, read when its answer is needed."""

    def __init__(self, name: str, address: str, port: int | None = None, user: str | None = None) -> None:
        self._name, self._address, self._port, self._user = name, address, port, user
        given = (["-p", str(port)] if port else []) + (["-l", user] if user else [])
        if address.startswith("-"):
            raise Trouble(f"{address} is not an address", where=name, hint="give a host name, an address or an alias")
        try:
            self._process: subprocess.Popen[str] | None = subprocess.Popen(
                ["ssh", "-G", "-o", "ControlPath=%C", *given, "--", address],  # which is the one way to be told %C
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
            )  # fmt: skip
        except FileNotFoundError:
            self._process = None
        else:
            interrupt.child(self._process)

    def answer(self) -> Route:
        """The settings of that machine; without an `ssh` program, what was given and OpenSSH's defaults."""
        settings = self._read() if self._process else {}
        host = _first(settings, "hostname") or self._address
        proxy = _first(settings, "proxycommand")
        port = int(_first(settings, "port") or self._port or 22)
        user = _first(settings, "user") or self._user or getpass.getuser()
        known_as = _first(settings, "hostkeyalias")
        tokens = {
            "h": host,
            "n": self._address,
            "p": str(port),
            "r": user,
            "k": known_as or self._address,
            "j": _first(settings, "proxyjump") or "",
            "C": _first(settings, "controlpath") or "",
        }
        path = partial(_path, tokens=tokens, name=self._name)
        return Route(
            name=self._name,
            address=self._address,
            host=host,
            port=port,
            user=user,
            alias=known_as,
            identities=tuple(map(path, _without_none(settings.get("identityfile", _DEFAULT_IDENTITIES)))),
            certificates=tuple(map(path, _without_none(settings.get("certificatefile", [])))),
            only_these_identities=_first(settings, "identitiesonly") == "yes",
            agent=_agent(settings.get("identityagent", ["SSH_AUTH_SOCK"])[0], path),
            jumps=tuple(word for word in (_first(settings, "proxyjump") or "").split(",") if word),
            proxy_command=_expand(proxy, tokens) if proxy else None,
            known_files=tuple(Path(path(file)) for file in _known_files(settings)),
            timeout=_seconds(_first(settings, "connecttimeout")),
            alive_interval=_seconds(_first(settings, "serveraliveinterval")) or 0.0,
            alive_count=int(_first(settings, "serveralivecountmax") or 3),
        )

    def _read(self) -> dict[str, list[str]]:
        assert self._process
        try:
            out, err = self._process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            out, err = "", f"it did not end within {_PATIENCE:.0f} s: is it a `Match exec`?"
        if self._process.returncode:
            why = err.strip() or f"it ended with {self._process.returncode}"
            raise Trouble("your ssh configuration cannot be read", self._name, why, hint=f"ssh -G {self._address}")
        return _parse(out)


_DEFAULT_IDENTITIES = ["~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519"]


def split_hop(hop: str) -> tuple[str, int | None, str | None]:
    """Address, port and user of one hop of a ProxyJump: `[user@]host[:port]`, or `ssh://` before the same."""
    user, at, place = hop.removeprefix("ssh://").rstrip("/").rpartition("@")
    parts = re.fullmatch(r"\[(?P<six>[^]]+)\](?::(?P<port6>\d+))?|(?P<host>[^:]+)(?::(?P<port>\d+))?", place)
    if not parts:
        return place, None, user if at else None
    port = parts["port6"] or parts["port"]
    return parts["six"] or parts["host"], int(port) if port else None, user if at else None


def _parse(text: str) -> dict[str, list[str]]:
    settings: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        settings.setdefault(key.lower(), []).append(value)
    return settings


def _first(settings: dict[str, list[str]], key: str) -> str | None:
    """The value of a setting; `none` is how OpenSSH writes that there is none."""
    value = settings.get(key, [""])[0]
    return value if value and value.lower() != "none" else None


def _seconds(text: str | None) -> float | None:
    return float(text) if text else None


def _without_none(paths: list[str]) -> list[str]:
    return [path for path in paths if path.lower() != "none"]


def _expand(text: str, tokens: dict[str, str]) -> str:
    """Fill in what OpenSSH calls tokens: `%h` and the like."""
    here = socket.gethostname()
    own = {"%": "%", "d": str(Path.home()), "u": getpass.getuser(), "i": str(os.getuid())}
    table = {**own, "l": here, "L": here.partition(".")[0], **tokens}
    return re.sub(r"%(.)", lambda token: table.get(token[1], token[0]), text)


def _path(text: str, tokens: dict[str, str], name: str) -> str:
    """A path with its tokens and `${VARIABLES}` filled in; ssh, too, refuses one that is not set."""

    def variable(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            why = f"{text} in your ssh configuration needs it, and ssh ends there as well"
            raise Trouble(f"the variable {match[1]} is not set", name, why, hint=f"export {match[1]}=...")
        return os.environ[match[1]]

    return str(Path(_expand(re.sub(r"\$\{(\w+)\}", variable, text), tokens)).expanduser())


def _agent(text: str, path: Callable[[str], str]) -> str | None:
    """The socket of the agent: a path, a variable, `SSH_AUTH_SOCK`, or `none`."""
    if text == "SSH_AUTH_SOCK" or re.fullmatch(r"\$\w+|\$\{\w+\}", text):
        return os.environ.get(text.strip("${}"))
    return None if text.lower() == "none" else path(text)


def _known_files(settings: dict[str, list[str]]) -> list[str]:
    home = ["~/.ssh/known_hosts ~/.ssh/known_hosts2"]
    lines = settings.get("userknownhostsfile", home) + settings.get("globalknownhostsfile", [])
    return [path for line in lines for path in _without_none(_PATH_BEGINS.split(line))]
