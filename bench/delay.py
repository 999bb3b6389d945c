"""A TCP proxy that puts a host further away: what comes in goes out after half a round trip, at full throughput.

usage: python bench/delay.py LISTEN_PORT TARGET_HOST TARGET_PORT ROUND_TRIP_MS
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import threading
from collections.abc import Iterator

MOUTHFUL = 256 * 1024
WINDOW = 64 * 1024 * 1024
"""Bytes that may be on their way in one direction; beyond that the reader waits, as with a full pipe."""


class _Direction:
    """One half of a connection: bytes are stamped as they come, and written when their time has come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
        self.reader, self.writer, self.delay = reader, writer, delay
        self.queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        self.flying = 0
        self.room = asyncio.Event()
        self.room.set()

    async def take_in(self) -> None:
        clock = asyncio.get_running_loop().time
        data = b"x"
        while data:
            await self.room.wait()
            try:
                data = await self.reader.read(MOUTHFUL)
            except OSError:
                data = b""
            self.flying += len(data)
            if self.flying > WINDOW:
                self.room.clear()
            self.queue.put_nowait((clock() + self.delay, data))

    async def give_out(self) -> None:
        clock = asyncio.get_running_loop().time
        with contextlib.suppress(OSError):
            while True:
                due, data = await self.queue.get()
                if (wait := due - clock()) > 0:
                    await asyncio.sleep(wait)
                if not data:
                    self.writer.write_eof()
                    return
                self.writer.write(data)
                await self.writer.drain()
                self.flying -= len(data)
                self.room.set()


def _at_once(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def _serve(listen: socket.socket, host: str, port: int, delay: float) -> None:
    tasks: set[asyncio.Task[None]] = set()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The near end is taken at once; what TCP's own greeting costs is waited for here.

        SYN and SYN-ACK: one round trip until the client may speak. The ACK: half a one more until the host may.
        """
        _at_once(writer)
        await asyncio.sleep(2 * delay)
        there = _Direction(reader, writer, delay)
        coming = asyncio.create_task(there.take_in())
        await asyncio.sleep(delay)
        far_reader, there.writer = await asyncio.open_connection(host, port, limit=MOUTHFUL)
        _at_once(there.writer)
        back = _Direction(far_reader, writer, delay)
        try:
            await asyncio.gather(coming, there.give_out(), back.take_in(), back.give_out())
        finally:
            for end in (writer, there.writer):
                end.close()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(join(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accepted, sock=listen, limit=MOUTHFUL, backlog=1024)
    async with server:
        await server.serve_forever()


def serve(listen: socket.socket, host: str, port: int, round_trip: float) -> None:
    """Pass connections on until the process ends; `round_trip` is in seconds."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    asyncio.run(_serve(listen, host, port, round_trip / 2))


@contextlib.contextmanager
def distance(host: str, port: int, milliseconds: float) -> Iterator[int]:
    """A port on 127.0.0.1 behind which the host is so far away, served by a process of its own; 0 adds nothing."""
    if not milliseconds:
        yield port
        return
    import multiprocessing

    listen = socket.create_server(("127.0.0.1", 0), backlog=1024)
    process = multiprocessing.get_context("fork").Process(
        target=serve, args=(listen, host, port, milliseconds / 1000), daemon=True
    )
    process.start()
    try:
        yield listen.getsockname()[1]
    finally:
        process.terminate()
        process.join()
        listen.close()


def round_trip(milliseconds: float) -> float:
    """Seconds until an echo has come back, on a connection that stands: what the proxy really adds is measured."""
    import time

    echo = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        peer, _ = echo.accept()
        with peer:
            while data := peer.recv(MOUTHFUL):
                peer.sendall(data)

    threading.Thread(target=answer, daemon=True).start()
    with (
        distance("127.0.0.1", echo.getsockname()[1], milliseconds) as near,
        socket.create_connection(("127.0.0.1", near)) as connection,
    ):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(b"x")
        connection.recv(1)
        begun = time.monotonic()
        for _ in range(5):
            connection.sendall(b"x")
            connection.recv(1)
        return (time.monotonic() - begun) / 5


if __name__ == "__main__":
    given = sys.argv[1:]
    if len(given) != 4:
        sys.exit(__doc__)
    serve(socket.create_server(("127.0.0.1", int(given[0]))), given[1], int(given[2]), float(given[3]) / 1000)
