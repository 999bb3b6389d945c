"""Links to hosts over SSH: root shells, streams of bytes and tunnels on one connection."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converge.errors import Trouble
from converge.inventory.secret import Secret
from converge.ssh import known
from converge.ssh import root as ssh_root
from converge.ssh.config import Question
from converge.ssh.known import Known
from converge.ssh.reach import dial

if TYPE_CHECKING:
    import paramiko

    from converge.ssh.line import Line
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
    # Paramiko is loaded while `ssh -G` and the network answer. No daemon, also where one asks for it: Python would end it in
    # the middle of a module of compiled code, which then aborts the whole program ("FATAL: exception not rethrown").
    loading = threading.Thread(target=importlib.import_module, args=("converge.ssh.line",), daemon=False)
    question = Question(target.name, target.address, target.port, target.user)
    loading.start()
    way = question.answer()
    try:
        reached = dial(way, way.timeout or target.connect_timeout) if way.direct else None
    except Trouble as trouble:
        trouble.hint = target.wake or trouble.hint
        raise
    from converge.ssh.line import open_line

    return Link(target, open_line(target, way, reached))


def host_key(target: Target) -> tuple[str, str, str]:
    """The key that the host shows: kind, base64 and SHA256 fingerprint. Nothing is sent to it, and nobody logs in."""
    question = Question(target.name, target.address, target.port, target.user)
    from converge.ssh.line import shown_key

    key = shown_key(target, question.answer())
    return key.kind, key.text, key.fingerprint


def known_name(target: Target) -> str:
    """The name under which a line of known_hosts must speak of this host."""
    return Question(target.name, target.address, target.port, target.user).answer().known_names[0]


def known_keys(target: Target) -> Known:
    """What all known_hosts files say of this host's key."""
    way = Question(target.name, target.address, target.port, target.user).answer()
    return known.look_up(way.known_names, (*way.known_files, target.known_hosts))


class Link:
    """One connection to one host, for any number of threads."""

    def __init__(self, target: Target, line: Line) -> None:
        self.target = target
        self._line = line
        self._sessions = threading.BoundedSemaphore(_SESSIONS)
        self._rise = ssh_root.Rise(line.way.user, target.become, target.become_password is not None)

    @property
    def rtt(self) -> float:
        """Seconds to the host and back, at the fastest so far; 0.0 while unknown."""
        return self._line.rtt

    def shell(self, script: str) -> Pipe:
        """Start `sh -c script` as root on a channel of its own."""
        from converge.ssh.pipe import Pipe

        start = ssh_root.begin(self._rise, script)
        self._sessions.acquire()
        try:
            pipe = Pipe(self._line, self._rise, start, ended=self._sessions.release)
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

    def fabric(self) -> Any:
        """A `fabric.Connection` over this very connection, for small text; it is not root."""
        from fabric import Config, Connection

        way = self._line.way
        config = Config(overrides={"load_ssh_configs": False})
        connection = Connection(way.host, user=way.user, port=way.port, config=config)
        connection.client._transport = connection.transport = self._line.wire
        return connection

    def close(self) -> None:
        """Hang up. Commands that still run lose their stdin and stdout."""
        self._line.close()

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
