"""MinIO's screens: capacity and quorum, usage, and traced calls without their secrets."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roles.minio import info, trace, usage
from roles.minio.admin import stream

NODES = [SimpleNamespace(name=f"minio{at}", address=f"172.30.99.1{at}") for at in range(1, 5)]
GIB = 1 << 30


def server(at: int, state: str = "online", total: int = 100, version: str = "2026-02-12T20:18:48Z") -> dict[str, Any]:
    """A server in the answer of the admin API, as recorded from four nodes; an offline one has no sizes."""
    drive = {"endpoint": f"http://minio{at}:9000/data", "pool_index": 0, "state": "offline"}
    if state == "online":
        sizes = {"totalspace": total * GIB, "usedspace": 10 * GIB, "availspace": (total - 10) * GIB}
        drive |= {"path": "/data", "state": "ok", **sizes}
    up = {"uptime": 3700, "version": version} if state == "online" else {}
    return {"endpoint": f"minio{at}:9000", "state": state, "drives": [drive], **up}


def read(*servers: dict[str, Any]) -> info.Info:
    backend = {"standardSCParity": 2, "totalSets": [1], "totalDrivesPerSet": [4]}
    return info.read({"deploymentID": "x", "backend": backend, "servers": servers}, NODES)


def test_half_of_four_drives_is_for_objects_and_the_smallest_drive_counts() -> None:
    capacity = read(server(1), server(2), server(3, total=80), server(4))
    assert (capacity.raw, capacity.usable, capacity.free) == (380 * GIB, 160 * GIB, 140 * GIB)
    assert capacity.quorum == "4 of 4 drives: reads survive 2 more, writes 1 more"
    assert "  minio1     online, up 1 h 1 m" in info.lines("lab", capacity)


def test_a_node_that_is_away_takes_no_capacity_with_it_and_is_named() -> None:
    capacity = read(server(1), server(2), server(3), server(4, "offline"))
    assert (capacity.raw, capacity.usable) == (300 * GIB, 200 * GIB)
    text = "\n".join(info.lines("lab", capacity))
    assert "minio4     offline\n" in text and "3 of 4 drives" in text


def test_nodes_of_two_versions_are_told_apart() -> None:
    text = "\n".join(
        info.lines("lab", read(server(1), server(2, version="2025-04-22T22:12:26Z"), server(3), server(4)))
    )
    assert "minio2     online, up 1 h 1 m, version 2025-04-22T22:12:26Z" in text


def test_an_answer_without_its_parts_is_no_fault() -> None:
    assert info.read({}, NODES).raw == 0 and list(info.lines("lab", info.read({}, NODES)))


def test_the_scanners_numbers_say_how_old_they_are_and_which_buckets_they_lack() -> None:
    at = (datetime.now(UTC) - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S.%f789Z")
    sizes = {"objectsCount": 2, "versionsCount": 5, "deleteMarkersCount": 1, "size": 3 * GIB}
    moment, counted = usage.scanned({"lastUpdate": at, "bucketsUsageInfo": {"models": sizes}}, ["models", "new"])
    assert counted == {"models": usage.Usage(2, 5, 1, 3 * GIB), "new": None}
    assert "2 h 0 m ago" in usage._age(moment)
    assert "  new     not counted yet" in usage.lines("lab", counted, "")


def test_a_scanner_that_has_not_been_round_has_counted_nothing() -> None:
    moment, counted = usage.scanned({"lastUpdate": "0001-01-01T00:00:00Z", "bucketsUsageInfo": None}, ["models"])
    assert (moment, counted) == ("", {"models": None}) and "--exact" in usage._age(moment)


def test_a_listing_counts_as_the_scanner_does() -> None:
    def version(name: str, size: int | None, id: str | None, marker: bool = False) -> SimpleNamespace:
        return SimpleNamespace(object_name=name, size=size, version_id=id, is_delete_marker=marker)

    listed = [version("a", 1, "2"), version("a", 5, "1"), version("b", None, "4", True), version("c", 7, "null")]
    assert usage._count("models", listed) == usage.Usage(3, 2, 1, 13)


def call(path: str = "/models/a", query: str = "", body: str = "", **headers: str) -> dict[str, Any]:
    request = {
        "method": "GET",
        "rawquery": query,
        "client": "10.0.0.9",
        "headers": {k: [v] for k, v in headers.items()},
    }
    response = {
        "statuscode": 403,
        "body": base64.b64encode(body.encode()).decode(),
        "headers": {"Set-Cookie": ["c=SECRET"]},
    }
    record = {"nodename": "minio2:9000", "funcname": "s3.GetObject", "time": "2026-11-27T11:51:28.38Z", "path": path}
    return record | {"dur": 2_700_000, "http": {"request": request | {"body": "SECRET"}, "response": response}}


SIGNED = (
    "AWS4-HMAC-SHA256 Credential=mlflow-server/20261127/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=SECRET"
)


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {"Authorization": SIGNED}),
        ("", {"Authorization": "AWS mlflow-server:SECRET"}),
        (
            "X-Amz-Credential=mlflow-server%2F20261127%2Fus-east-1%2Fs3&X-Amz-Signature=SECRET&x-amz-security-token=SECRET",
            {},
        ),
        ("AWSAccessKeyId=mlflow-server&Signature=SECRET&Expires=1", {}),
        ("", {"Authorization": SIGNED, "X-Amz-Security-Token": "SECRET", "Cookie": "token=SECRET"}),
        ("", {"Authorization": SIGNED, "X-Amz-Server-Side-Encryption-Customer-Key": "SECRET"}),
        ("", {"Authorization": SIGNED, "Referer": "https://s3.example.org/a?X-Amz-Signature=SECRET"}),
        ("WebIdentityToken=SECRET&LDAPPassword=SECRET", {"Authorization": SIGNED}),
    ],
)
def test_a_call_tells_who_made_it_and_nothing_with_which_it_could_be_made_again(query, headers) -> None:
    request = trace.read(
        call(query=query, body="<Error><Code>AccessDenied</Code><Key>SECRET</Key></Error>", **headers), NODES
    )
    assert (request["key"], request["node"], request["error"]) == ("mlflow-server", "minio2", "AccessDenied")
    assert "SECRET" not in json.dumps(request) + trace.shown(request)


def test_a_path_moves_no_cursor() -> None:
    assert "\x1b" not in trace.shown(trace.read(call(path="/models/\x1b[2Ja\nb"), NODES))


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3), st.text(max_size=30))
def test_whatever_a_client_sends_is_shown_as_one_line(headers, query) -> None:
    assert trace.shown(trace.read(call(query=query, **headers), NODES)).isprintable()


@pytest.mark.parametrize(
    ("chosen", "shown"),
    [
        (trace.Filter(), True),
        (trace.Filter(path="models"), True),
        (trace.Filter(path="/models/*"), True),
        (trace.Filter(path="models/b"), False),
        (trace.Filter(node="minio2"), True),
        (trace.Filter(node="minio1"), False),
    ],
)
def test_a_filter_takes_a_node_and_a_prefix_or_pattern(chosen, shown) -> None:
    assert chosen.fits(trace.read(call(), NODES)) is shown


def test_a_node_that_is_alone_has_its_name_whatever_its_client_called_it() -> None:
    assert trace.read(call() | {"nodename": "s3.example.org"}, NODES[:1])["node"] == "minio1"


def test_a_stream_is_read_by_lines_wherever_it_is_cut() -> None:
    chunks = [b'   {"a"', b": 1}\n  ", b'{"b": 2}\n{"c"']
    answer = SimpleNamespace(status=200, stream=lambda size: iter(chunks))
    pool = SimpleNamespace(request=lambda *_, **__: answer)
    keys = SimpleNamespace(retrieve=lambda: SimpleNamespace(access_key="a", secret_key="b"))
    client = SimpleNamespace(_base_url=SimpleNamespace(host="10.0.0.1:9000"), _provider=keys, _http=pool)
    assert list(stream(client, "trace", {})) == [b'{"a": 1}', b'{"b": 2}']
