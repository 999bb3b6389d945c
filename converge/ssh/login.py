"""Logging in: keys of files and of the agent, in OpenSSH's order, with the inventory's own key before all."""

from __future__ import annotations

import base64
import shlex
import socket
from collections.abc import Iterable, Iterator
from dataclasses import field
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.agent import AgentKey, AgentSSH
from paramiko.pkey import UnknownKeyType

from converge.errors import UNREACHABLE, Trouble
from converge.record import dataclass
from converge.ssh.config import Route
from converge.ssh.known_certificate import Certificate
from converge.ssh.wire import Wire

_OPENSSH = "OPENSSH PRIVATE KEY"


@dataclass
class _Tried:
    """What happened to the keys, for the error."""

    refused: list[str] = field(default_factory=list)
    locked: list[str] = field(default_factory=list)
    away: list[str] = field(default_factory=list)
    """Public halves of keys whose private half would have to be in an agent."""
    unreadable: list[str] = field(default_factory=list)


def log_in(wire: Wire, route: Route, key_file: str | None) -> None:
    """Prove who we are with one key after the other; the first that the host takes is the last that is tried."""
    tried = _Tried()
    for label, key in _keys(route, key_file, tried):
        try:
            more = wire.show_key(route.user, key)
        except paramiko.BadAuthenticationType as error:
            raise _no_keys_wanted(route, error.allowed_types) from None
        except (OSError, EOFError) as error:
            why = str(error) or "the connection was closed"
            hint = f"{route.command} true"
            raise Trouble("it does not answer the login", route.name, why, hint=hint, code=UNREACHABLE) from None
        except paramiko.SSHException:
            if not wire.is_active():
                raise _denied(route, tried, _farewell(wire, len(tried.refused))) from None
            tried.refused.append(label)
            continue
        if more:
            raise _more_wanted(route, more)
        return
    raise _denied(route, tried, "")


def _farewell(wire: Wire, refused: int) -> str:
    """Why a host hangs up in the middle of a login: its own message, such as that of /etc/nologin, where it sends one."""
    banner = (wire.auth_handler.banner or b"").decode(errors="replace").strip()
    what = "the host ended the connection"
    return (
        f"{what}: {banner}"
        if banner
        else f"{what}: {'too many keys?' if refused else 'is the account locked or expired?'}"
    )


def _keys(route: Route, key_file: str | None, tried: _Tried) -> Iterator[tuple[str, paramiko.PKey]]:
    """The keys, most likely first; a file or the agent is opened only when its turn has come."""
    own = [str(Path(key_file).expanduser())] if key_file else []
    if own and not Path(own[0]).exists():
        raise Trouble(f"its key file {own[0]} does not exist", route.name, hint="correct ansible_ssh_private_key_file")
    if own and not _only_public(own[0]):
        yield from _from_file(own, route, tried)
    agent = _agent_keys(route.agent)
    named = {public_half(path): path for path in own + list(route.identities)}
    for key in sorted(agent, key=lambda candidate: _rank(candidate, list(named))):
        file = named.get(key.asbytes())
        if file or not route.only_these_identities:
            yield from _of_agent(key, file, route)
    done = {key.asbytes() for key in agent}
    tried.locked = [path for path in tried.locked if public_half(path) not in done]
    rest = [path for path in dict.fromkeys((*own, *route.identities)) if public_half(path) not in done]
    tried.away += [path for path in rest if _only_public(path)]
    yield from _from_file([path for path in rest if path not in (*own, *tried.away)], route, tried)


def _of_agent(key: AgentKey, file: str | None, route: Route) -> Iterator[tuple[str, paramiko.PKey]]:
    """A key that an agent holds, with the certificates about it first."""
    label = f"{key.comment or key.get_name()} (agent)"
    beside = [f"{file.removesuffix('.pub')}-cert.pub"] if file else []
    yield from _with_certificates(label, key, [*route.certificates, *beside])


def _rank(key: paramiko.PKey, named: list[bytes | None]) -> int:
    return named.index(key.asbytes()) if key.asbytes() in named else len(named)


def _from_file(files: list[str], route: Route, tried: _Tried) -> Iterator[tuple[str, paramiko.PKey]]:
    for file in files:
        if not Path(file).exists():
            continue
        try:
            key = paramiko.PKey.from_path(file)
        except (TypeError, paramiko.PasswordRequiredException):
            tried.locked.append(file)
        except (OSError, ValueError, paramiko.SSHException, UnknownKeyType, UnsupportedAlgorithm) as error:
            tried.unreadable.append(f"{file}: {error}")
        else:
            yield from _with_certificates(file, key, route.certificates)


def _with_certificates(
    label: str, key: paramiko.PKey, certificates: Iterable[str]
) -> Iterator[tuple[str, paramiko.PKey]]:
    """The key with each certificate that is about it, then as it is."""
    if key.public_blob:
        yield f"{label}-cert.pub", key
    for certificate in certificates:
        if Path(certificate).exists() and _fits(key, certificate):
            yield certificate, key
    key.public_blob = None
    yield label, key


def _fits(key: paramiko.PKey, file: str) -> bool:
    """Load a certificate into the key that it is about."""
    try:
        kind, text = Path(file).read_text().split()[:2]
        certificate = Certificate.read(kind, base64.b64decode(text))
    except (OSError, ValueError):
        return False
    if not certificate or certificate.key.text != key.get_base64():
        return False
    key.load_certificate(file)
    return True


def public_half(file: str) -> bytes | None:
    """The public half of a key: of the file that is one, of a private key that tells it without its passphrase, or beside it."""
    return _public_text(file) or _told_by_private(file) or _public_text(file + ".pub")


def _only_public(file: str) -> bool:
    """Whether there is a public half and no private one: ssh finds the other in the agent."""
    return bool(_public_text(file)) or (not Path(file).exists() and bool(_public_text(file + ".pub")))


def _public_text(file: str) -> bytes | None:
    try:
        kind, text = Path(file).read_text().split()[:2]
        blob = base64.b64decode(text, validate=True)
    except (OSError, ValueError):
        return None
    return blob if kind.encode() == blob[4 : 4 + len(kind)] else None


def _told_by_private(file: str) -> bytes | None:
    """OpenSSH's own format has the public half in clear: magic, cipher, its key derivation and options, how many keys, this one."""
    try:
        lines = Path(file).read_text().strip().splitlines()
        if lines[0] != f"-----BEGIN {_OPENSSH}-----":
            return None
        message = paramiko.Message(base64.b64decode("".join(lines[1:-1])).removeprefix(b"openssh-key-v1\0"))
        for _ in range(3):
            message.get_binary()
        message.get_int()
        return message.get_binary()
    except (OSError, ValueError, IndexError):
        return None


class _Agent(AgentSSH):
    """An agent at a socket that we name: Paramiko's own asks only SSH_AUTH_SOCK."""

    def __init__(self, path: str) -> None:
        super().__init__()
        line = socket.socket(socket.AF_UNIX)
        line.connect(path)
        self._connect(line)  # type: ignore[attr-defined]


def _agent_keys(path: str | None) -> tuple[AgentKey, ...]:
    if not path:
        return ()
    try:
        return _Agent(path).get_keys()
    except (OSError, paramiko.SSHException):
        return ()


def _denied(route: Route, tried: _Tried, why: str) -> Trouble:
    lines = [why] if why else []
    lines += [f"refused: {', '.join(tried.refused)}"] if tried.refused else []
    lines += [f"no agent holds it, and it needs a passphrase: {path}" for path in tried.locked]
    lines += [f"no agent holds the other half of {path}" for path in tried.away]
    lines += [f"cannot be read: {path}" for path in tried.unreadable]
    add = [*tried.locked, *(path.removesuffix(".pub") for path in tried.away)]
    hint = f"ssh-add {shlex.quote(add[0])}" if add else f"{route.command} true"
    lines = lines or ["there is no key: neither a file that ssh would use, nor one in an agent"]
    return Trouble(f"it does not let {route.user} in", route.name, "\n".join(lines), hint=hint, code=UNREACHABLE)


def _no_keys_wanted(route: Route, allowed: list[str]) -> Trouble:
    why = f"it wants {', '.join(allowed)}; Stowage logs in with keys only"
    hint = "on the host, in sshd_config: PubkeyAuthentication yes, then: systemctl reload ssh"
    return Trouble(f"it takes no keys from {route.user}", route.name, why, hint=hint, code=UNREACHABLE)


def _more_wanted(route: Route, more: list[str]) -> Trouble:
    why = f"besides the key it wants {', '.join(more)}, which Stowage cannot give"
    hint = "let this user in with a key alone (AuthenticationMethods publickey)"
    return Trouble(f"a key is not enough for {route.user}", route.name, why, hint=hint, code=UNREACHABLE)
