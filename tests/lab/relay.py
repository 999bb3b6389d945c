"""A TCP relay that can break connections."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Relay:
    """A TCP relay that can fall silent or cut connections: now, or after so many bytes of the next ones."""

    def __init__(self, port: int) -> None:
        self.cuts: list[int] = []
        self._to, self._door = port, socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self._flowing = threading.Event()
        self._flowing.set()
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near = self._door.accept()[0]
                far = socket.create_connection(("127.0.0.1", self._to))
                self._ends += [near, far]
                room = [self.cuts.pop(0) if self.cuts else 1 << 62]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, sink, room), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, room: list[int]) -> None:
        with suppress(OSError):
            while (data := source.recv(1 << 16)) and room[0] > 0:
                room[0] -= len(data)
                self._flowing.wait()
                sink.sendall(data)
        _shut(source, sink)

    def freeze(self) -> None:
        self._flowing.clear()

    def cut(self) -> None:
        _shut(*self._ends)
        for end in self._ends:
            end.close()

    def close(self) -> None:
        self._door.close()
        self.cut()
        self._flowing.set()


def _shut(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
