"""The log filter between the agent and the store: labels, pseudonyms, and fields that are never kept."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from converge import templates
from converge.errors import Trouble
from runbook import log_search

ROOT = Path(__file__).resolve().parents[2]
# Loaded as it runs: as a single file, without our other modules.
_spec = importlib.util.spec_from_file_location("labels", ROOT / "files/logs/labels.py")
assert _spec and _spec.loader
labels: ModuleType = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(labels)
OURS = labels.Labels(b"pepper")
SIGNATURE = "3f6a" * 16


def audit(name: str, status: int, **more: Any) -> dict[str, Any]:
    fields = {"_msg": name, "api.statusCode": str(status), "trigger": "incoming", "source": "minio"}
    fields_: dict[str, Any] = OURS.line({**fields, "stream": "audit", "accessKey": "backup-job", **more})
    return fields_


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("GetObject", "read"),
        ("ListObjectsV2", "read"),
        ("PutObject", "write"),
        ("CompleteMultipartUpload", "write"),
        ("DeleteMultipleObjects", "delete"),
        ("SiteReplicationInfo", "admin"),
    ],
)
def test_a_request_has_its_kind(name: str, kind: str) -> None:
    assert audit(name, 200)["operation_type"] == kind


def test_what_was_refused_is_an_event_and_how_bad_it_was_follows_from_the_status() -> None:
    assert [audit("GetObject", status)["level"] for status in (200, 404, 503)] == ["info", "warning", "error"]
    assert audit("GetObject", 403)["security_event"] == "access_denied"
    assert "security_event" not in audit("GetObject", 404)
    assert audit("HealObject", 0, trigger="HealObject")["operation_type"] == "internal"


def test_what_nodes_ask_of_one_another_is_not_kept() -> None:
    assert OURS.line({"stream": "audit", "_msg": "grid.v1/storageinfo", "trigger": "incoming"}) is None


def test_a_key_has_one_name_that_only_the_pepper_makes() -> None:
    labelled = audit("GetObject", 200)
    assert labelled["who"] == audit("PutObject", 200)["who"] == OURS.pseudonym("backup-job")
    assert labelled["who"] != labels.Labels(b"another").pseudonym("backup-job")
    assert "backup-job" not in json.dumps(labelled)
    of_a_key = audit("GetObject", 200, parentUser="ann")
    assert of_a_key["parentUser"] == OURS.pseudonym("ann"), "a key has its user beside it"


@pytest.mark.parametrize(
    "text",
    [
        f"GET /b/o?X-Amz-Credential=rootuser%2F20261128&X-Amz-Signature={SIGNATURE} HTTP/1.1",
        f"Authorization: AWS4-HMAC-SHA256 Credential=rootuser/20261128/us-east-1/s3/aws4_request, Signature={SIGNATURE}",
        f'{{"Authorization": "Bearer {SIGNATURE}", "accessKey":"rootuser"}}',
        f"AWSAccessKeyId=rootuser&Signature={SIGNATURE}",
        f"X-Amz-Security-Token={SIGNATURE} access key: rootuser",
    ],
)
def test_neither_a_signature_nor_a_key_is_kept_wherever_it_stands(text: str) -> None:
    labelled = OURS.line({"_msg": text, "attrs.tag": "nginx"})
    assert SIGNATURE not in str(labelled) and "rootuser" not in str(labelled)


def test_a_name_with_all_signs_that_a_user_may_have_is_taken_out_whole() -> None:
    assert "example" not in OURS.clean("access key: ann.lee+night@example.org is not known")


def by_alloy(line: str) -> str:
    """An audit line as Alloy keeps it: each replacement of its settings, of the captured part alone."""
    text = templates.render(SimpleNamespace(name="prod", root=ROOT), "alloy/config.alloy.j2")
    audit = text.partition('loki.process "audit"')[2].partition("\n}")[0]
    for expression in re.findall(r"expression = (.*)", audit):

        def without(found: re.Match[str]) -> str:
            start, end = found.start(1) - found.start(), found.end(1) - found.start()
            return f"{found[0][:start]}{'PSEUDONYM' if 'accessKey' in expression else ''}{found[0][end:]}"  # noqa: B023

        line = re.sub(json.loads(expression), without, line)
    return line


@pytest.mark.parametrize(
    "odd",
    [
        {"requestHeader": {"User-Agent": "a{b"}},
        {"requestHeader": {"User-Agent": '"}', "X": "\\"}},
        {"requestClaims": {"realm_access": {"roles": ["staff"]}, "resource_access": {"a": {"roles": ["{"]}}}},
    ],
)
def test_alloy_keeps_neither_headers_nor_claims_however_they_are_written(odd: dict[str, Any]) -> None:
    signed = f"AWS4-HMAC-SHA256 Credential=ann@example.org/2026/us-east-1/s3/aws4_request, Signature={SIGNATURE}"
    line: dict[str, Any] = {"api": {"name": "GetObject", "object": "a{b"}, "parentUser": "ann@example.org"}
    line |= {"requestHeader": {}, "requestQuery": {"X-Amz-Security-Token": "TOKEN"}, "requestClaims": {}}
    for key in ("requestHeader", "requestClaims"):
        line[key] = {"Authorization": signed, "preferred_username": "ann", **odd.get(key, {})}
    kept = json.loads(by_alloy(json.dumps({**line, "accessKey": "ann-1"}, separators=(",", ":"))))
    assert kept.pop("api") == line["api"]
    assert kept == {
        "parentUser": "PSEUDONYM",
        "requestHeader": {},
        "requestQuery": {},
        "requestClaims": {},
        "accessKey": "PSEUDONYM",
    }


def test_headers_and_queries_of_a_request_are_not_kept_at_all() -> None:
    labelled = audit(
        "GetObject", 200, **{"requestHeader.Cookie": "x", "requestQuery.token": "y", "requestClaims.sub": "z"}
    )
    assert not any(name.startswith("request") for name in labelled)


def test_a_line_of_a_container_says_of_which_service_it_is_and_how_bad() -> None:
    labelled = OURS.line(
        {
            "_msg": '{"level":"FATAL","message":"no quorum"}\n',
            "attrs.tag": "minio2",
            "attrs.com.docker.compose.project": "minio",
            "stream": "stderr",
        }
    )
    assert (labelled["source"], labelled["container"], labelled["level"], labelled["output"]) == (
        "minio",
        "minio2",
        "error",
        "stderr",
    )
    assert OURS.line({"_msg": "ts=1 level=warn msg=x", "attrs.tag": "a"})["level"] == "warning"
    assert OURS.line({"_msg": "all is well, 0 errors", "attrs.tag": "a"})["level"] == "info"


def test_the_kernels_lines_are_told_from_those_of_units() -> None:
    labelled = OURS.line({"_msg": "XFS (sda): error", "PRIORITY": "3", "_TRANSPORT": "kernel", "_MACHINE_ID": "x"})
    assert (labelled["source"], labelled["stream"], labelled["level"]) == ("host", "kernel", "error")
    assert "_MACHINE_ID" not in labelled


def test_a_line_that_is_no_json_is_not_lost() -> None:
    kept = labels.relabelled(OURS, b'{"_msg":"a","attrs.tag":"x"}\nbroken {\n')
    assert [json.loads(line)["_msg"] for line in kept.splitlines()] == ["a", "broken {"]


@pytest.mark.parametrize(
    "odd",
    [
        b'{"PRIORITY":"loud","_TRANSPORT":"journal","_msg":"by anybody who may write to the journal"}',
        b'{"PRIORITY":["3","4"],"_msg":"twice"}',
        b'{"stream":"audit","accessKey":{"a":1},"_msg":"GetObject"}',
        b'{"stream":"audit","accessKey":"\\ud800","_msg":"GetObject"}',
        b'{"attrs.tag":["a"],"_time":null,"_msg":7}',
        b'{"attrs.tag":"a","_msg":"{\\"level\\":' + b"[" * 100_000 + b'"}',
        b'{"a":' + b"[" * 100_000,
        b"[1]",
        b"null",
    ],
)
def test_an_odd_line_does_not_hold_up_the_others(odd: bytes) -> None:
    """The agent sends a batch again until it is taken."""
    kept = [
        json.loads(line)
        for line in labels.relabelled(OURS, odd + b'\n{"_msg":"after it","attrs.tag":"x"}\n').splitlines()
    ]
    assert kept[-1]["_msg"] == "after it" and len(kept) == 2
    assert all(isinstance(value, str) for value in kept[0].values())


def test_a_host_without_a_store_says_so(storage_host: Any) -> None:
    with pytest.raises(Trouble, match="no store of logs"):
        log_search.store_of(storage_host())


@pytest.mark.parametrize("since", ["", "1", "h", "1w", "-1h", "0h"])
def test_what_is_no_duration_is_refused(since: str) -> None:
    with pytest.raises(Trouble, match="is no duration"):
        log_search.seconds(since)


def test_a_line_found_is_shown_with_what_one_looks_for_first() -> None:
    shown = log_search.line(
        {
            **{"_time": "2026-11-28T05:00:00.123Z", "_msg": "GetObject", "source": "minio", "stream": "audit"},
            **{"level": "warning", "zone": "1", "api.bucket": "models", "api.statusCode": "403", "who": "key-1"},
        }
    )
    assert shown == (
        "2026-11-28T05:00:00  minio/audit        warning GetObject  statusCode=403 bucket=models who=key-1 zone=1"
    )
    assert log_search.line({"_msg": "a\x1b[31mb"}).isprintable()


def test_lokis_answer_is_lines_with_their_labels() -> None:
    answer = {"data": {"result": [{"stream": {"source": "minio"}, "values": [["1000000000", "text"]]}]}}
    assert log_search.of_loki(json.dumps(answer).splitlines()) == [
        {"source": "minio", "_time": "1970-01-01T00:00:01Z", "_msg": "text"}
    ]
