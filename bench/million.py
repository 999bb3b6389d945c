"""How much memory the worker takes for a bucket of very many names: `python bench/million.py [NUMBER [SIZE [UPLOADS]]]`.

The listing is generated: a server of this program answers `?versions` with pages of a thousand versions, in the order of their
keys, each 300 bytes of XML with metadata. All are known to an index that was generated as well, but for every thousandth, which
is read; with a SIZE in bytes all are, and are of that size. Rows are compared, written, compressed, encrypted and stored as in a backup; what is measured is the process that does so.
"""

from __future__ import annotations

import hashlib
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import Process, Queue
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from roles.backup.age import identity
from worker.buckets import index
from worker.buckets.before import Rows, index_of
from worker.buckets.blobs import Blob, Blobs
from worker.buckets.client import Client
from worker.buckets.counts import Counts
from worker.buckets.outgoing import Outgoing
from worker.buckets.progress import Progress
from worker.contract import Request
from worker.keys import Keys
from worker.parts import PartWriter
from worker.targets import PathTarget

ARGUMENTS = [int(argument) for argument in sys.argv[1:]]
NUMBER, SIZE, UPLOADS = (*ARGUMENTS, *(1_000_000, 100, 2)[len(ARGUMENTS) :])
PAGE, NEW = 1000, 1 if len(ARGUMENTS) > 1 else 1000
CONTENT = b"x" * 100
"""Of what the last set knows."""
AT = "2026-11-27T17:27:33.161Z"
VERSION = (
    "<Version><Key>runs/{0:09d}/artifact.bin</Key><LastModified>" + AT + "</LastModified><ETag>&#34;{1}&#34;</ETag>"
    f"<Size>{SIZE}</Size>"
    "<UserMetadata><content-type>application/octet-stream</content-type></UserMetadata>"
    "<IsLatest>true</IsLatest><VersionId>{0:032x}</VersionId></Version>"
)
ETAG = hashlib.md5(CONTENT).hexdigest()


def key(number: int) -> str:
    return f"runs/{number:09d}/artifact.bin"


class Names(BaseHTTPRequestHandler):
    """A bucket that is generated while it is listed."""

    protocol_version = "HTTP/1.1"
    number = 0
    body = b""

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        if "versions" in query:
            body, part = self.page(query), None
        else:
            # Another content for each key, and of a large one the piece that is asked for.
            at, _, end = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
            part = slice(int(at), int(end or SIZE) + 1)
            body = (hashlib.sha256(self.path.encode()).digest() + self.body)[:SIZE][part]
        self.send_response(200)
        if part and "Range" in self.headers:
            self.send_header("Content-Range", f"bytes {part.start}-{part.start + len(body) - 1}/{SIZE}")
        for name, value in (("Content-Length", str(len(body))), ("ETag", f'"{ETAG}"'), ("Content-Type", "x/y")):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def page(self, query: dict[str, list[str]]) -> bytes:
        begin = int(query["key-marker"][0].split("/")[1]) + 1 if "key-marker" in query else 0
        end = min(begin + PAGE, self.number)
        more = end < self.number
        after = f"<NextKeyMarker>{key(end - 1)}</NextKeyMarker><NextVersionIdMarker>v</NextVersionIdMarker>" * more
        rows = "".join(VERSION.format(number, ETAG) for number in range(begin, end))
        return f"<R><IsTruncated>{str(more).lower()}</IsTruncated>{after}{rows}</R>".encode()

    def log_message(self, *_: Any) -> None:
        pass


def serve(number: int, queue: Queue[int]) -> None:
    Names.number, Names.body = number, random.Random(1).randbytes(SIZE)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Names)
    queue.put(server.server_port)
    server.serve_forever()


def known(number: int) -> Iterator[index.Row]:
    for position in range(number):
        if position % NEW:
            row = {"key": key(position), "id": f"{position:032x}", "at": AT, "latest": True, "etag": ETAG, "size": SIZE}
            yield row | {"sha256": hashlib.sha256(CONTENT).hexdigest(), "headers": {}, "pack": "ab" * 32}


def main(number: int) -> None:
    queue: Queue[int] = Queue()
    server = Process(target=serve, args=(number, queue), daemon=True)
    server.start()
    minio = Client([f"http://127.0.0.1:{queue.get()}"], "a", "b")
    with tempfile.TemporaryDirectory() as folder:
        keys, target = Keys(identity()), PathTarget("t", folder, device=lambda path: int(path == folder))
        target.put("s/blobs/ab/" + "ab" * 32, b"")
        index_file = f"{folder}/index"
        with open(index_file, "wb") as file:
            file.writelines(index.packed(known(number)))
        before: Any = SimpleNamespace(rows=lambda bucket: Rows(index.unpacked(iter_file(index_file))))
        journal: Any = SimpleNamespace(progress=lambda *_, **more: None)
        config = {"uploads": UPLOADS, "buckets": {"prefixes": {}, "versions": 0}}
        job: Any = SimpleNamespace(config=config, journal=journal, keys=keys, run="r", request=Request())
        at_first, begun, counts = memory(), time.monotonic(), Counts()
        with (
            PartWriter([target], keys, "s/sets/x", ahead=UPLOADS) as writer,
            ThreadPoolExecutor(8) as readers,
            ThreadPoolExecutor(UPLOADS) as makers,
        ):
            blobs = Blobs("s", keys, writer, [Blob("ab" * 32, 0, "")])
            saving = Outgoing(job, minio, blobs, before, Progress(journal, {}), readers, makers)
            parts = writer.write(index_of("b"), index.packed(saving.rows("b", counts, dict)))
            saving.end()
        seconds = time.monotonic() - begun
    server.terminate()
    size = sum(part.plain_bytes for part in parts)
    print(
        f"{counts.summary}; the index is {size >> 20} MiB; {seconds:.0f} s; {at_first} MiB before, {memory()} MiB at most"
    )


def iter_file(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk


def memory() -> int:
    """The most that this process has held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


if __name__ == "__main__":
    main(NUMBER)
