"""A deploy that was cut off is finished by the next one, wherever the cut was."""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import HERE, Clone

FOLDER = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "stowage" / "test-cuts"


class Relay:
    """A TCP relay on this machine that can be cut as a cable is, or go silent as a firewall does."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self._wake, self._woken = socket.socketpair()
        self.silent = False
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        self._wake.send(b"x")

    def close(self) -> None:
        self.cut()
        self._door.close()

    def _serve(self) -> None:
        pairs: dict[socket.socket, socket.socket] = {}
        while self._door.fileno() >= 0:
            readable, _, _ = select.select([self._door, self._woken, *pairs], [], [])
            if self._woken in readable:
                self._woken.recv(100)
                for one in pairs:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    one.close()
                pairs.clear()
                continue
            for one in readable:
                if one is self._door:
                    near, far = self._door.accept()[0], socket.create_connection(("127.0.0.1", self._to))
                    for end in (near, far):
                        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    pairs |= {near: far, far: near}
                elif one in pairs:
                    self._pass_on(pairs, one)

    def _pass_on(self, pairs: dict[socket.socket, socket.socket], one: socket.socket) -> None:
        if self.silent:
            time.sleep(0.05)
            return
        try:
            data = one.recv(1 << 20)
            pairs[one].sendall(data)
        except OSError:
            data = b""
        if not data:
            other = pairs.pop(one)
            pairs.pop(other)
            one.close()
            other.close()
