"""Each host's line is a `fabric.Connection`: Fabric's methods, on routes, keys and a login that are checked by our rules."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import fabric
import paramiko

from converge.errors import Trouble
from converge.ssh.line import Line, open_line

if TYPE_CHECKING:
    from converge.ssh.config import Route
    from converge.ssh.link import Target
    from converge.ssh.reach import OpenSocket


class Client(paramiko.SSHClient):
    """The client with which Fabric opens its connections. It takes the route that `ssh` would take, and refuses unknown keys."""

    def __init__(self, target: Target, route: Route, socket: OpenSocket | None) -> None:
        super().__init__()
        self._target, self._route, self._socket = target, route, socket
        self.line: Line | None = None

    def connect(self, *args: Any, **kwargs: Any) -> None:
        """Open the line. Address, user and keys come from `ssh -G` and the inventory, not from Fabric."""
        self.close()
        socket, self._socket = self._socket, None
        self.line = open_line(self._target, self._route, socket)
        self._transport = self.line.wire

    def close(self) -> None:
        if self.line:
            self.line.close()
        super().close()


class Connection(fabric.Connection):  # type: ignore[misc] # Fabric ships no types
    """A `fabric.Connection` to a host of the inventory. It is opened when it is first used, by one thread."""

    name: str = ""
    line_command: str = ""
    """The `ssh` command that reaches the same host."""
    _opening: Any = None

    def __init__(self, target: Target, route: Route, socket: OpenSocket | None = None) -> None:
        # Commands do not read our stdin: Invoke would poll it a hundred times a second.
        own: dict[str, Any] = {"load_ssh_configs": False, "run": {"in_stream": False}}
        if target.become_password:
            own["sudo"] = {"password": target.become_password.reveal()}
        config = fabric.Config(overrides=own, lazy=True)
        super().__init__(route.host, user=route.user, port=route.port, gateway=False, config=config)
        self.name, self.line_command, self._opening = target.name, route.command, threading.Lock()
        self.client = Client(target, route, socket)

    @property
    def line(self) -> Line:
        """What our own channels stand on; opened when it is not yet."""
        self.open()
        line = self.client.line
        assert isinstance(line, Line)
        return line

    def open(self) -> None:
        with self._opening:
            super().open()

    def create_session(self) -> paramiko.Channel:
        """A channel for a command of Fabric's; what goes wrong becomes a Trouble."""
        return self.line.open_session()

    def sftp(self) -> Any:
        """What `put` and `get` stand on."""
        try:
            return super().sftp()
        except paramiko.SSHException as error:
            hint = "on the host, in sshd_config: Subsystem sftp internal-sftp, then: systemctl reload ssh"
            raise self.lost() or Trouble("it takes no files over SFTP", self.name, str(error), hint=hint) from None

    def close(self) -> None:
        super().close()
        self.client.close()  # after a line broke, Fabric does not close what lies beneath

    def lost(self) -> Trouble | None:
        """The error when the connection has gone away: for Fabric, a command on it just failed."""
        return self.client.line.lost() if self.client.line else None
