"""The SSH transport: Paramiko's, with what it lacks. Every private name of Paramiko we lean on is used here."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

import paramiko
from paramiko.auth_handler import AuthHandler
from paramiko.common import MSG_CHANNEL_REQUEST, cMSG_CHANNEL_REQUEST, cMSG_GLOBAL_REQUEST
from paramiko.message import Message
from paramiko.packet import Packetizer

from converge.ssh.reach import SILENCE

# Paramiko's own rekey drops connections (paramiko#822); sshd starts one in time, and Paramiko follows it well.
Packetizer.REKEY_BYTES = 2**45
Packetizer.REKEY_PACKETS = 2**45

# Without a handler of its own, Python prints Paramiko's complaints between our lines.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

BROKEN = (OSError, EOFError, paramiko.SSHException)
"""What Paramiko raises on a line that is broken, and on some that are not."""

_SIGNALS = {"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "ABRT": 6, "FPE": 8, "KILL": 9, "SEGV": 11, "PIPE": 13,
            "ALRM": 14, "TERM": 15}  # fmt: skip


class _Listening(Packetizer):
    """Remembers when the peer was last heard, and tells it at once.

    sshd keeps a small packet back until the one before is acknowledged, and Linux acknowledges after 40 ms: so a
    channel would take that long to open.
    """

    heard = 0.0

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        quick = isinstance(sock, socket.socket) and sock.family != socket.AF_UNIX and hasattr(socket, "TCP_QUICKACK")
        self._tcp = sock if quick else None

    def read_message(self) -> Any:
        message = super().read_message()
        self.heard = time.monotonic()
        self._acknowledge()
        return message

    def send_message(self, data: Message) -> None:
        try:
            super().send_message(data)
        except EOFError:
            # users of a socket expect it; Paramiko's own thread reads the number
            raise ConnectionResetError(errno.ECONNRESET, "the connection was closed") from None
        self._acknowledge()  # Linux forgets the option when it sends

    def _acknowledge(self) -> None:
        if self._tcp:
            with contextlib.suppress(OSError):
                self._tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class _Login(AuthHandler):
    """Sends the first attempt together with the request for the service: one round trip less."""

    _asked = False

    def _request_auth(self) -> None:
        if not self._asked:
            super()._request_auth()  # type: ignore[misc]
            self._asked = True
        accepted = Message()
        accepted.add_string("ssh-userauth")
        super()._parse_service_accept(Message(accepted.asbytes()))  # type: ignore[misc]

    def _parse_service_accept(self, message: Message) -> None:
        """The attempt is on its way already."""


class Wire(paramiko.Transport):
    """A connection that asks for known host keys only, watches its peer, and does not wait where it need not."""

    _preferred_ciphers = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
    _preferred_macs = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256",
                       "hmac-sha2-512")  # fmt: skip
    _send_user_message: Callable[[Message], None]
    _channel_handler_table: ClassVar[dict[int, Callable[[Any, Message], None]]]
    auth_handler: Any
    packetizer: _Listening
    initial_kex_done: bool

    def __init__(self, sock: Any, algorithms: tuple[str, ...]) -> None:
        super().__init__(sock, packetizer_class=_Listening)
        self._algorithms = algorithms
        self._channel_handler_table = {**paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined, misc]
                                       MSG_CHANNEL_REQUEST: _channel_request}  # fmt: skip
        self.banner_timeout = self.handshake_timeout = self.auth_timeout = SILENCE
        self.channel_timeout = SILENCE
        self.silent = False

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        return self._algorithms

    def greet(self, timeout: float) -> None:
        """Agree on keys, and see the host's. Nothing of ours is sent."""
        self.banner_timeout = self.handshake_timeout = timeout
        self.start_client(timeout=timeout)
        if not self.initial_kex_done:
            raise paramiko.SSHException(f"no answer within {timeout:.0f} s")
        self.auth_handler = _Login(self)

    def show_key(self, user: str, key: paramiko.PKey) -> list[str]:
        """Try one key. What it gives is what the host asks for besides; AuthenticationException means no."""
        answered = threading.Event()
        self.auth_handler.auth_publickey(user, key, answered)
        try:
            return list(self.auth_handler.wait_for_response(answered))
        except paramiko.AuthenticationException:
            if answered.is_set():
                raise
            raise TimeoutError(f"no answer within {self.auth_timeout:.0f} s") from None

    def watch(self, silence: float) -> None:
        """Close the connection once the peer has not been heard for so many seconds, though it was asked."""
        threading.Thread(target=self._watch, args=(silence, silence / 15), daemon=True).start()

    def _watch(self, silence: float, step: float) -> None:
        # Steps are counted, not the clock: we may have been stopped ourselves, and the peer had no chance to answer.
        heard, quiet, asking = 0.0, 0.0, threading.Thread()
        while self.is_active() and quiet < silence:
            time.sleep(step)
            quiet = quiet + step if heard == self.packetizer.heard else 0.0
            heard = self.packetizer.heard
            if quiet >= silence / 3 and not asking.is_alive():
                # A thread of its own: on a line that is stuck, whoever writes is stuck as well.
                asking = threading.Thread(target=self._ask, daemon=True)
                asking.start()
        if quiet >= silence:
            self.silent = True
            self.hang_up()

    def _ask(self) -> None:
        message = Message()
        message.add_byte(cMSG_GLOBAL_REQUEST)
        message.add_string("keepalive@openssh.com")
        message.add_boolean(True)
        with contextlib.suppress(*BROKEN):
            self._send_user_message(message)

    def hang_up(self) -> None:
        """Close at once: a reader that sleeps in recv wakes only when its socket is shut down."""
        self.packetizer.complete_handshake()  # its timer would hold up the end of the program
        with contextlib.suppress(*BROKEN):
            self.sock.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(*BROKEN):
            self.close()


def start(channel: paramiko.Channel, command: str) -> None:
    """Ask for a command without waiting for the answer: a refusal closes the channel."""
    message = Message()
    message.add_byte(cMSG_CHANNEL_REQUEST)
    message.add_int(channel.remote_chanid)
    message.add_string("exec")
    message.add_boolean(True)
    message.add_string(command)
    channel._event_pending()  # type: ignore[attr-defined]
    channel.transport._send_user_message(message)  # type: ignore[union-attr]


def _channel_request(channel: Any, message: Message) -> None:
    """Paramiko forgets which signal ended a command; a shell would say 128 and its number."""
    at = message.packet.tell()
    if message.get_text() == "exit-signal":
        message.get_boolean()
        channel.exit_status = 128 + _SIGNALS.get(message.get_text(), 0)
        channel.status_event.set()
        return
    message.packet.seek(at)
    channel._handle_request(message)
