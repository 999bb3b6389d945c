"""A line to a host: hops, the check of its key, the login, channels."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import paramiko

from converge.errors import REFUSED, UNREACHABLE, Trouble
from converge.record import dataclass
from converge.ssh import known
from converge.ssh import login as ssh_login
from converge.ssh import reach as ssh_reach
from converge.ssh import wire as ssh_wire
from converge.ssh.config import Route, RouteQuery, split_hop
from converge.ssh.known import HostKey, Known
from converge.ssh.known_certificate import Certificate
from converge.ssh.reach import SILENCE, OpenSocket
from converge.ssh.wire import BROKEN, Wire

if TYPE_CHECKING:
    from converge.ssh.link import Target

_MOST_HOPS = 8
_PROHIBITED = 1
_WINDOW = 2 * 1024 * 1024


@dataclass
class Line:
    """A connection that is logged in, and what lies beneath it."""

    route: Route
    wire: Wire
    socket: OpenSocket
    beneath: Line | None
    silence: float
    _fastest: float | None = None

    @property
    def rtt(self) -> float:
        """The fastest answer so far; a first session is slow, for sshd prepares the user's."""
        return self._fastest or self.socket.rtt

    def session(self, command: str) -> paramiko.Channel:
        """Start a command on a channel of its own."""
        channel = self.open_session()
        try:
            ssh_wire.start(channel, command)
        except BROKEN:
            raise self.loss() from None
        return channel

    def open_session(self) -> paramiko.Channel:
        """A channel on which a command can be started."""
        begun = time.monotonic()
        try:
            channel = self._open("session")
        except paramiko.ChannelException as error:
            hint = "on the host, in sshd_config: MaxSessions 10, then: systemctl reload ssh"
            raise Trouble("it opens no more sessions", self.route.name, str(error.text), hint=hint) from None
        took = time.monotonic() - begun
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
            raise self.lost() or Trouble("it opens no channel", self.route.name, str(error), code=UNREACHABLE) from None

    def _no_tunnel(self, host: str, port: int, error: paramiko.ChannelException) -> Trouble:
        if error.code == _PROHIBITED:
            hint = "on the host, in sshd_config: AllowTcpForwarding yes, then: systemctl reload ssh"
            why = f"asked for {host}:{port}"
            return Trouble("forwarding is forbidden by sshd", self.route.name, why, hint=hint, code=REFUSED)
        return Trouble(f"nothing answers at {host}:{port}, as seen from there", self.route.name, str(error.text))

    def lost(self) -> Trouble | None:
        """The error when this line is lost."""
        return None if self.wire.is_active() else self.loss()

    def loss(self) -> Trouble:
        why = f"it was silent for {self.silence:.0f} s" if self.wire.silent else "the connection was closed"
        hint = f"{self.route.command} true"
        return Trouble("the connection was lost", self.route.name, why, hint=hint, code=UNREACHABLE)

    def close(self) -> None:
        self.wire.hang_up()
        self.socket.close()
        if self.beneath:
            self.beneath.close()


def open_line(target: Target, route: Route, socket: OpenSocket | None) -> Line:
    """A line to the target, on a socket that is there already or through its hops."""
    return _connect(target, route, list(route.jumps), 0, socket)


def shown_key(target: Target, route: Route) -> HostKey:
    """The key that the target shows to anyone who asks."""
    return _shown(target, route, list(route.jumps), 0)


def _shown(target: Target, route: Route, hops: list[str], depth: int) -> HostKey:
    beneath, socket = _reach(target, route, hops, depth)
    try:
        wire = _greet(target, route, socket, known.ALGORITHMS)
        key = _key_of(wire)
        wire.hang_up()
        return key
    finally:
        _let_go(socket, beneath)


def _connect(target: Target, route: Route, hops: list[str], depth: int, socket: OpenSocket | None = None) -> Line:
    """One line, by the same rules for a target and for a hop."""
    beneath = None
    if not socket:
        beneath, socket = _reach(target, route, hops, depth)
    keys = known.look_up(route.known_names, (*route.known_files, target.known_hosts))
    try:
        wire = _greet(target, route, socket, keys.algorithms())
        _enter(target, route, keys, wire, None if depth else target.key_file)
    except _OtherKinds:
        _let_go(socket, beneath)
        raise _stranger(route, keys, _shown(target, route, hops, depth), target.name) from None
    except BaseException:
        _let_go(socket, beneath)
        raise
    silence = route.alive_interval * route.alive_count or SILENCE
    wire.watch(silence)
    return Line(route, wire, socket, beneath, silence)


def _enter(target: Target, route: Route, keys: Known, wire: Wire, key_file: str | None) -> None:
    try:
        _check(route, keys, wire, target.name)
        ssh_login.log_in(wire, route, key_file)
    except BaseException:
        wire.hang_up()
        raise


def _let_go(socket: OpenSocket, beneath: Line | None) -> None:
    socket.close()
    if beneath:
        beneath.close()


def _reach(target: Target, route: Route, hops: list[str], depth: int) -> tuple[Line | None, OpenSocket]:
    """A socket to the machine: direct, through a command, or through the last of its hops."""
    if route.proxy_command:
        return None, ssh_reach.through_command(route.proxy_command)
    if not hops:
        return None, ssh_reach.dial(route, route.timeout or target.connect_timeout, "" if depth else target.wake)
    if depth >= _MOST_HOPS:
        why = f"{route.host} is reached through {', '.join(hops)}, and so on"
        raise Trouble(
            "its way leads through too many hops", route.name, why, hint=f"ssh -G {route.address} | grep proxyjump"
        )
    *before, last = hops
    address, port, user = split_hop(last)
    hop = RouteQuery(f"{target.name} (hop {address})", address, port, user).answer()
    beneath = _connect(target, hop, before or _own_hops(hop), depth + 1)
    begun = time.monotonic()
    try:
        return beneath, OpenSocket(beneath.tunnel(route.host, route.port), time.monotonic() - begun)
    except Trouble as trouble:
        beneath.close()
        trouble.code = UNREACHABLE
        raise


def _own_hops(hop: Route) -> list[str]:
    """The hops before a hop. A hop that names itself, by a `Host *`, has none, as in OpenSSH."""
    itself = [split_hop(jump)[0] for jump in hop.jumps] in ([hop.host], [hop.address])
    return [] if itself else list(hop.jumps)


class _OtherKinds(Exception):
    """The host shows no key of the kinds that are known of it."""


def _greet(target: Target, route: Route, socket: OpenSocket, algorithms: tuple[str, ...]) -> Wire:
    wire = Wire(socket.sock, algorithms)
    try:
        wire.greet(route.timeout or target.connect_timeout)
    except BROKEN as error:
        wire.hang_up()
        if "host key" in str(error) and algorithms != known.ALGORITHMS:
            raise _OtherKinds from None
        why = "\n".join(text for text in (str(error) or "the connection was closed", socket.complaint()) if text)
        hint = f"{route.command} true"
        raise Trouble("it does not speak SSH with us", route.name, why, hint=hint, code=UNREACHABLE) from None
    return wire


def _key_of(wire: Wire) -> HostKey:
    key = wire.get_remote_server_key()
    return HostKey(key.get_name(), key.get_base64())


def _check(route: Route, keys: Known, wire: Wire, target: str) -> None:
    """Refuse a key that is revoked, changed or unknown. Until here nothing was sent that is not for everyone."""
    shown, blob = _key_of(wire), wire.get_remote_server_key().public_blob
    certificate = Certificate.read(blob.key_type, blob.key_blob) if blob else None
    if line := keys.revoked(shown, certificate):
        hint = "on its console: rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh"
        raise Trouble("its host key is revoked", route.name, f"{shown}\n{line.place}", _NOTHING_SENT, hint, REFUSED)
    if not keys.accepts(shown) and not (certificate and keys.vouch(certificate, route.alias or route.host)):
        raise _stranger(route, keys, shown, target)


_NOTHING_SENT = "nothing was sent to it"


def _stranger(route: Route, keys: Known, shown: HostKey, target: str) -> Trouble:
    """The error for an unknown key. `ssh` itself asks about the key of a hop."""
    if keys.keys:
        return _changed(route, keys, shown, target)
    hint = f"inv host.trust {target}" if route.name == target else f"{route.command} true"
    return Trouble("its host key is not known", route.name, f"it shows {shown}", _NOTHING_SENT, hint, REFUSED)


def _changed(route: Route, keys: Known, shown: HostKey, target: str) -> Trouble:
    was = [f"known:    {key.key} ({key.place})" for key in keys.keys]
    files = {key.place.rpartition(":")[0] for key in keys.keys}
    forget = " && ".join(f"ssh-keygen -R '{route.known_names[0]}' -f {file}" for file in sorted(files))
    untouched = f"{_NOTHING_SENT}: someone may stand between; ask who keeps the host whether it was installed anew"
    why = "\n".join([*was, f"it shows: {shown}"])
    hint = f"inv host.trust {target}" if route.name == target else forget
    return Trouble("its host key has changed", route.name, why, untouched, hint, REFUSED)
