"""TLS within a channel of an SSH connection."""

from __future__ import annotations

import io
import socket
import ssl
from functools import cache
from typing import Any

from urllib3.util.ssltransport import SSLTransport


@cache
def _context(authority: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority)


class TlsChannel(SSLTransport):
    """An encrypted channel; the server must show a certificate of the authority for this name or address.

    Like a socket, it is closed together with the last file that reads from it.
    """

    def __init__(self, channel: Any, authority: str, host: str) -> None:
        self._readers, self._closing = 0, False
        super().__init__(channel, _context(authority), host)

    def makefile(self, mode: str, *_: Any, **__: Any) -> Any:
        self._readers += 1
        return io.BufferedReader(socket.SocketIO(self, mode.replace("b", "")))  # type: ignore[arg-type]

    def _decref_socketios(self) -> None:
        self._readers -= 1
        if self._closing and self._readers <= 0:
            super().close()

    def close(self) -> None:
        self._closing = True
        if self._readers <= 0:
            super().close()
