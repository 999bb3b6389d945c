"""Questions to services of a host: what is asked arrives as it was typed, and no shell reads it."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from runbook import within
from runbook.log_search import LOKI, VICTORIA


class _Service(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), _Service)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()


def asked_for(service: HTTPServer, parameters: within.Parameters, folder: Path) -> dict[str, str]:
    """The parameters as they arrive, asked by the host's own script in the network of this machine."""
    for name, script in (("docker", "echo 1"), ("nsenter", 'shift 3; printf "%s\\n" "$@" >"$ARGUMENTS"; exec "$@"')):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "ARGUMENTS": str(folder / "arguments")}
    script = within.ask("store", f":{service.server_port}/query", parameters)
    done = subprocess.run(
        ["sh", "-c", script], input=within.texts(parameters), env=environment, cwd=folder, capture_output=True
    )
    assert done.returncode == 0, done.stdout
    query = urlsplit(_Service.asked.pop()).query
    return {name: values[0] for name, values in parse_qs(query, strict_parsing=True).items()}


@pytest.mark.parametrize(
    "query",
    [
        "$((1)) $(touch made-by-the-query)",
        "$(($(touch made-by-the-query)))",
        """'"; touch made-by-the-query; #`touch made-by-the-query`""",
        '{source="minio"} _msg:~"a\\\\d+\\tb"',
        "@/etc/passwd",
        "lines\nof\r\ttext\\",
        "Zürich 你好 %20+&=",
        "-K /etc/passwd",
    ],
)
def test_a_query_arrives_as_it_was_typed(service: HTTPServer, tmp_path: Path, query: str) -> None:
    assert asked_for(service, {"query": query, "limit": "5"}, tmp_path) == {"query": query, "limit": "5"}
    assert not (tmp_path / "made-by-the-query").exists()


def test_a_query_is_no_argument_of_a_program_which_everybody_on_the_host_sees(
    service: HTTPServer, tmp_path: Path
) -> None:
    asked_for(service, {"query": "people/7"}, tmp_path)
    assert "people/7" not in (tmp_path / "arguments").read_text()


def test_a_moment_is_by_the_clock_of_the_host(service: HTTPServer, tmp_path: Path) -> None:
    for store, unit in ((VICTORIA, 1), (LOKI, 10**9)):
        start = int(asked_for(service, store.parameters("x", 3600, 1), tmp_path)["start"]) / unit
        assert abs(time.time() - 3600 - start) < 60
