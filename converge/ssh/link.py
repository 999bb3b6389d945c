"""Links to hosts over SSH: root shells, streams of bytes and tunnels on one connection."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from converge.inventory.secret import Secret
from converge.record import dataclass
from converge.ssh import known
from converge.ssh import root as ssh_root
from converge.ssh.config import RouteQuery
from converge.ssh.known import Known
from converge.ssh.reach import dial

if TYPE_CHECKING:
    import paramiko

    from converge.ssh.connection import Connection
    from converge.ssh.pipe import Pipe as Pipe

# sshd lets 10 sessions live on one connection; a session that just ended may still count.
_SESSIONS = 8


@dataclass(frozen=True)
class Target:
    """What the inventory says of how a host is reached; `ssh -G` says the rest."""

    name: str
    address: str
    known_hosts: Path
    port: int | None = None
    user: str | None = None
    key_file: str | None = None
    become: bool = True
    become_password: Secret | None = None
    connect_timeout: float = 10.0
    wake: str = ""
    """The command that switches it on, where there is one."""


def connect(target: Target) -> Link:
    """Open a connection, log in and come back with it.

    Trouble with code 4 means that the host cannot be reached, with code 3 that its host key is unknown or changed.
    """
    # Paramiko and Fabric are loaded while `ssh -G` and the network answer. No daemon, also where one asks for it: Python would end it in
    # the middle of a module of compiled code, which then aborts the whole program ("FATAL: exception not rethrown").
    loading = threading.Thread(target=importlib.import_module, args=("converge.ssh.connection",), daemon=False)
    question = RouteQuery(target.name, target.address, target.port, target.user)
    loading.start()
    route = question.answer()
    socket = dial(route, route.timeout or target.connect_timeout, target.wake) if route.direct else None
    from converge.ssh.connection import Connection

    return Link(target, Connection(target, route, socket))


def connection(target: Target) -> Connection:
    """A `fabric.Connection` to a host, which is opened when it is first used."""
    from converge.ssh.connection import Connection

    return Connection(target, RouteQuery(target.name, target.address, target.port, target.user).answer())


def host_key(target: Target) -> tuple[str, str, str]:
    """The key that the host shows: kind, base64 and SHA256 fingerprint. Nothing is sent to it, and nobody logs in."""
    question = RouteQuery(target.name, target.address, target.port, target.user)
    from converge.ssh.line import shown_key

    key = shown_key(target, question.answer())
    return key.kind, key.text, key.fingerprint


def known_name(target: Target) -> str:
    """The name under which a line of known_hosts must speak of this host."""
    return RouteQuery(target.name, target.address, target.port, target.user).answer().known_names[0]


def known_keys(target: Target) -> Known:
    """What all known_hosts files say of this host's key."""
    route = RouteQuery(target.name, target.address, target.port, target.user).answer()
    return known.look_up(route.known_names, (*route.known_files, target.known_hosts))


class Link:
    """One connection to one host, for any number of threads."""

    def __init__(self, target: Target, connection: Connection) -> None:
        self.target = target
        self.connection = connection
        self._line = line = connection.line
        self._sessions = threading.BoundedSemaphore(_SESSIONS)
        self._access = ssh_root.RootAccess(line.route.user, target.become, target.become_password is not None)

    @property
    def rtt(self) -> float:
        """Seconds to the host and back, at the fastest so far; 0.0 while unknown."""
        return self._line.rtt

    def shell(self, script: str) -> Pipe:
        """Start `sh -c script` as root on a channel of its own."""
        from converge.ssh.pipe import Pipe

        start = ssh_root.start_shell(self._access, script)
        self._sessions.acquire()
        try:
            pipe = Pipe(self._line, self._access, start, ended=self._sessions.release)
        except BaseException:
            self._sessions.release()
            raise
        if start.asks:
            assert self.target.become_password
            pipe.give_password(self.target.become_password)
        return pipe

    def send(
        self, command: str, chunks: Iterable[bytes], on_bytes: Callable[[int], None] | None = None
    ) -> tuple[int, bytes, bytes]:
        """Run a command as root with these bytes on its stdin: its exit status, stdout and the end of its stderr.

        `on_bytes` hears the size of each chunk once it is sent. The command must itself know a whole stream from one
        that was cut (by length or hash): to it, a lost line looks like the end. Both outputs keep their last 64 KiB.
        """
        from converge.ssh.pipe import Collector

        pipe = self.shell(command)
        out = Collector(pipe)
        try:
            _feed(pipe, chunks, on_bytes)
            return out.result()
        finally:
            pipe.close()

    def tunnel(self, host: str, port: int) -> paramiko.Channel:
        """A TCP connection from the host to `host:port`, to be used as a socket."""
        return self._line.tunnel(host, port)

    def close(self) -> None:
        """Hang up. Commands that still run lose their stdin and stdout."""
        self.connection.close()

    def alive(self) -> bool:
        return self._line.lost() is None


def _feed(pipe: Pipe, chunks: Iterable[bytes], on_bytes: Callable[[int], None] | None) -> None:
    try:
        for chunk in chunks:
            pipe.write(chunk)
            if on_bytes:
                on_bytes(len(chunk))
    except BrokenPipeError:
        return  # it wanted no more: its exit status says why
    pipe.close_stdin()
