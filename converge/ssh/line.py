"""A line to a host: hops, the check of its key, the login, channels."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import paramiko

from converge.errors import REFUSED, UNREACHABLE, Trouble
from converge.ssh import known
from converge.ssh import login as ssh_login
from converge.ssh import reach as ssh_reach
from converge.ssh import wire as ssh_wire
from converge.ssh.config import Question, Way, split_hop
from converge.ssh.known import HostKey, Known
from converge.ssh.known_certificate import Certificate
from converge.ssh.reach import SILENCE, Reached
from converge.ssh.wire import BROKEN, Wire

if TYPE_CHECKING:
    from converge.ssh.link import Target

_MOST_HOPS = 8
_PROHIBITED = 1
_WINDOW = 2 * 1024 * 1024


@dataclass
class Line:
    """A connection that is logged in, and what lies beneath it."""

    way: Way
    wire: Wire
    reached: Reached
    beneath: Line | None
    silence: float
    _fastest: float | None = None

    @property
    def rtt(self) -> float:
        """The fastest answer so far; a first session is slow, for sshd prepares the user's."""
        return self._fastest or self.reached.rtt

    def session(self, command: str) -> paramiko.Channel:
        """Start a command on a channel of its own."""
        begun = time.monotonic()
        try:
            channel = self._open("session")
            took = time.monotonic() - begun
            ssh_wire.start(channel, command)
        except paramiko.ChannelException as error:
            hint = "on the host, in sshd_config: MaxSessions 10, then: systemctl reload ssh"
            raise Trouble("it opens no more sessions", self.way.name, str(error.text), hint=hint) from None
        except BROKEN:
            raise self.loss() from None
        self._fastest = min(self._fastest or took, took)
        return channel

    def tunnel(self, host: str, port: int) -> paramiko.Channel:
        """A channel to `host:port` as the far end sees it."""
        try:
            return self._open("direct-tcpip", (host, port))
        except paramiko.ChannelException as error:
            raise self._no_tunnel(host, port, error) from None

    def _open(self, kind: str, to: tuple[str, int] | None = None) -> paramiko.Channel:
        # Twice bandwidth by distance; more only slows a near host down.
        window = max(_WINDOW, min(8 * _WINDOW, int(self.rtt * 160e6)))
        try:
            return self.wire.open_channel(kind, to, ("127.0.0.1", 0), window_size=window)
        except paramiko.ChannelException:
            raise
        except BROKEN as error:
            raise self.lost() or Trouble("it opens no channel", self.way.name, str(error), code=UNREACHABLE) from None

    def _no_tunnel(self, host: str, port: int, error: paramiko.ChannelException) -> Trouble:
        if error.code == _PROHIBITED:
            hint = "on the host, in sshd_config: AllowTcpForwarding yes, then: systemctl reload ssh"
            why = f"asked for {host}:{port}"
            return Trouble("forwarding is forbidden by sshd", self.way.name, why, hint=hint, code=REFUSED)
        return Trouble(f"nothing answers at {host}:{port}, as seen from there", self.way.name, str(error.text))

    def lost(self) -> Trouble | None:
        """What to say when this line is no more."""
        return None if self.wire.is_active() else self.loss()

    def loss(self) -> Trouble:
        why = f"it was silent for {self.silence:.0f} s" if self.wire.silent else "the connection was closed"
        hint = f"{self.way.command} true"
        return Trouble("the connection was lost", self.way.name, why, hint=hint, code=UNREACHABLE)

    def close(self) -> None:
        self.wire.hang_up()
        self.reached.close()
        if self.beneath:
            self.beneath.close()


def open_line(target: Target, way: Way, reached: Reached | None) -> Line:
    """A line to the target, on a socket that is there already or through its hops."""
    return _connect(target, way, list(way.jumps), 0, reached)


def shown_key(target: Target, way: Way) -> HostKey:
    """The key that the target shows to anyone who asks."""
    return _shown(target, way, list(way.jumps), 0)


def _shown(target: Target, way: Way, hops: list[str], depth: int) -> HostKey:
    beneath, reached = _reach(target, way, hops, depth)
    try:
        wire = _greet(target, way, reached, known.ALGORITHMS)
        key = _key_of(wire)
        wire.hang_up()
        return key
    finally:
        _let_go(reached, beneath)


def _connect(target: Target, way: Way, hops: list[str], depth: int, reached: Reached | None = None) -> Line:
    """One line, by the same rules for a target and for a hop."""
    beneath = None
    if not reached:
        beneath, reached = _reach(target, way, hops, depth)
    keys = known.look_up(way.known_names, (*way.known_files, target.known_hosts))
    try:
        wire = _greet(target, way, reached, keys.algorithms())
        _enter(target, way, keys, wire, None if depth else target.key_file)
    except _OtherKinds:
        _let_go(reached, beneath)
        raise _stranger(way, keys, _shown(target, way, hops, depth), target.name) from None
    except BaseException:
        _let_go(reached, beneath)
        raise
    silence = way.alive_interval * way.alive_count or SILENCE
    wire.watch(silence)
    return Line(way, wire, reached, beneath, silence)


def _enter(target: Target, way: Way, keys: Known, wire: Wire, key_file: str | None) -> None:
    try:
        _check(way, keys, wire, target.name)
        ssh_login.log_in(wire, way, key_file)
    except BaseException:
        wire.hang_up()
        raise


def _let_go(reached: Reached, beneath: Line | None) -> None:
    reached.close()
    if beneath:
        beneath.close()


def _reach(target: Target, way: Way, hops: list[str], depth: int) -> tuple[Line | None, Reached]:
    """A socket to the machine: direct, through a command, or through the last of its hops."""
    if way.proxy_command:
        return None, ssh_reach.through_command(way.proxy_command)
    if not hops:
        return None, ssh_reach.dial(way, way.timeout or target.connect_timeout)
    if depth >= _MOST_HOPS:
        why = f"{way.host} is reached through {', '.join(hops)}, and so on"
        raise Trouble(
            "its way leads through too many hops", way.name, why, hint=f"ssh -G {way.address} | grep proxyjump"
        )
    *before, last = hops
    address, port, user = split_hop(last)
    hop = Question(f"{target.name} (hop {address})", address, port, user).answer()
    beneath = _connect(target, hop, before or _own_hops(hop), depth + 1)
    begun = time.monotonic()
    try:
        return beneath, Reached(beneath.tunnel(way.host, way.port), time.monotonic() - begun)
    except Trouble as trouble:
        beneath.close()
        trouble.code = UNREACHABLE
        raise


def _own_hops(hop: Way) -> list[str]:
    """The hops before a hop; one that is itself (a `Host *` that names it) is none, as in OpenSSH."""
    itself = [split_hop(one)[0] for one in hop.jumps] in ([hop.host], [hop.address])
    return [] if itself else list(hop.jumps)


class _OtherKinds(Exception):
    """The host shows no key of the kinds that are known of it."""


def _greet(target: Target, way: Way, reached: Reached, algorithms: tuple[str, ...]) -> Wire:
    wire = Wire(reached.sock, algorithms)
    try:
        wire.greet(way.timeout or target.connect_timeout)
    except BROKEN as error:
        wire.hang_up()
        if "host key" in str(error) and algorithms != known.ALGORITHMS:
            raise _OtherKinds from None
        why = "\n".join(one for one in (str(error) or "the connection was closed", reached.said()) if one)
        hint = f"{way.command} true"
        raise Trouble("it does not speak SSH with us", way.name, why, hint=hint, code=UNREACHABLE) from None
    return wire


def _key_of(wire: Wire) -> HostKey:
    key = wire.get_remote_server_key()
    return HostKey(key.get_name(), key.get_base64())


def _check(way: Way, keys: Known, wire: Wire, target: str) -> None:
    """Refuse a key that is revoked, changed or unknown. Until here nothing was sent that is not for everyone."""
    shown, blob = _key_of(wire), wire.get_remote_server_key().public_blob
    certificate = Certificate.read(blob.key_type, blob.key_blob) if blob else None
    if line := keys.revoked(shown, certificate):
        hint = "on its console: rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh"
        raise Trouble("its host key is revoked", way.name, f"{shown}\n{line.place}", _NOTHING_SENT, hint, REFUSED)
    if not keys.accepts(shown) and not (certificate and keys.vouch(certificate, way.alias or way.host)):
        raise _stranger(way, keys, shown, target)


_NOTHING_SENT = "nothing was sent to it"


def _stranger(way: Way, keys: Known, shown: HostKey, target: str) -> Trouble:
    """A key that nobody knows. `ssh` itself asks about the key of a hop."""
    if keys.keys:
        return _changed(way, keys, shown, target)
    hint = f"inv host.trust {target}" if way.name == target else f"{way.command} true"
    return Trouble("its host key is not known", way.name, f"it shows {shown}", _NOTHING_SENT, hint, REFUSED)


def _changed(way: Way, keys: Known, shown: HostKey, target: str) -> Trouble:
    was = [f"known:    {one.key} ({one.place})" for one in keys.keys]
    files = {one.place.rpartition(":")[0] for one in keys.keys}
    forget = " && ".join(f"ssh-keygen -R '{way.known_names[0]}' -f {file}" for file in sorted(files))
    untouched = f"{_NOTHING_SENT}: someone may stand between; ask who keeps the host whether it was installed anew"
    why = "\n".join([*was, f"it shows: {shown}"])
    hint = f"inv host.trust {target}" if way.name == target else forget
    return Trouble("its host key has changed", way.name, why, untouched, hint, REFUSED)
