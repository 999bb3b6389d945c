"""Logging in: keys of files and of the agent, in OpenSSH's order, with the inventory's own key before all."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.agent import AgentKey, AgentSSH
from paramiko.pkey import UnknownKeyType

from converge.errors import UNREACHABLE, Trouble
from converge.known_certificate import Certificate
from converge.ssh_config import Way
from converge.ssh_wire import Wire


@dataclass
class _Tried:
    """What happened to the keys, for the error."""

    refused: list[str] = field(default_factory=list)
    locked: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def log_in(wire: Wire, way: Way, key_file: str | None) -> None:
    """Prove who we are with one key after the other; the first that the host takes is the last that is tried."""
    tried = _Tried()
    for label, key in _keys(way, key_file, tried):
        try:
            more = wire.show_key(way.user, key)
        except paramiko.BadAuthenticationType as error:
            raise _no_keys_wanted(way, error.allowed_types) from None
        except (OSError, EOFError) as error:
            why = str(error) or "the connection was closed"
            hint = f"{way.command} true"
            raise Trouble("it does not answer the login", way.name, why, hint=hint, code=UNREACHABLE) from None
        except paramiko.SSHException:
            if not wire.is_active():
                raise _denied(way, tried, "the host ended the connection: too many keys?") from None
            tried.refused.append(label)
            continue
        if more:
            raise _more_wanted(way, more)
        return
    raise _denied(way, tried, "")


def _keys(way: Way, key_file: str | None, tried: _Tried) -> Iterator[tuple[str, paramiko.PKey]]:
    """The keys, most likely first; a file or the agent is opened only when its turn has come."""
    own = [str(Path(key_file).expanduser())] if key_file else []
    if own and not Path(own[0]).exists():
        raise Trouble(f"its key file {own[0]} does not exist", way.name, hint="correct ansible_ssh_private_key_file")
    yield from _from_file(own, way, tried)
    agent = _agent_keys(way.agent)
    named = {_public(one): one for one in own + list(way.identities)}
    for key in sorted(agent, key=lambda one: _rank(one, list(named))):
        if key.asbytes() in named or not way.only_these_identities:
            yield f"{key.comment or key.get_name()} (agent)", key
    done = {key.asbytes() for key in agent}
    rest = [one for one in way.identities if one not in own and _public(one) not in done]
    yield from _from_file(rest, way, tried)


def _rank(key: paramiko.PKey, named: list[bytes | None]) -> int:
    return named.index(key.asbytes()) if key.asbytes() in named else len(named)


def _from_file(files: list[str], way: Way, tried: _Tried) -> Iterator[tuple[str, paramiko.PKey]]:
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
            yield from _with_certificates(file, key, way)


def _with_certificates(file: str, key: paramiko.PKey, way: Way) -> Iterator[tuple[str, paramiko.PKey]]:
    """The key with each certificate that is about it, then as it is."""
    if key.public_blob:
        yield f"{file}-cert.pub", key
    for certificate in way.certificates:
        if Path(certificate).exists() and _fits(key, certificate):
            yield certificate, key
    key.public_blob = None
    yield file, key


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


def _public(file: str) -> bytes | None:
    """The public half that lies beside a private key."""
    try:
        return base64.b64decode(Path(file + ".pub").read_text().split()[1])
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


def _denied(way: Way, tried: _Tried, why: str) -> Trouble:
    lines = [why] if why else []
    lines += [f"refused: {', '.join(tried.refused)}"] if tried.refused else []
    lines += [f"no agent holds it, and it needs a passphrase: {one}" for one in tried.locked]
    lines += [f"cannot be read: {one}" for one in tried.unreadable]
    hint = f"ssh-add {tried.locked[0]}" if tried.locked else f"{way.command} true"
    lines = lines or ["there is no key: neither a file that ssh would use, nor one in an agent"]
    return Trouble(f"it does not let {way.user} in", way.name, "\n".join(lines), hint=hint, code=UNREACHABLE)


def _no_keys_wanted(way: Way, allowed: list[str]) -> Trouble:
    why = f"it wants {', '.join(allowed)}; Stowage logs in with keys only"
    hint = "on the host, in sshd_config: PubkeyAuthentication yes, then: systemctl reload ssh"
    return Trouble(f"it takes no keys from {way.user}", way.name, why, hint=hint, code=UNREACHABLE)


def _more_wanted(way: Way, more: list[str]) -> Trouble:
    why = f"besides the key it wants {', '.join(more)}, which Stowage cannot give"
    hint = "let this user in with a key alone (AuthenticationMethods publickey)"
    return Trouble(f"a key is not enough for {way.user}", way.name, why, hint=hint, code=UNREACHABLE)
