"""The log filter between the agent and the store: labels, pseudonyms, and fields that are never kept."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

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
