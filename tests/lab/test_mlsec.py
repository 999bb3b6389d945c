"""The storage of the ML Security service, on a bare lab host: what its document names, as docs/systems.md has it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.lab.conftest import CLONE, Clone, fresh

NAME = "mlsec-lab"


@pytest.fixture(scope="module")
def host() -> Iterator[Clone]:
    there = fresh(CLONE.with_name("test-mlsec"), host=NAME)
    yield there
    there.inv("lab.down", "--host", NAME, code=None)


def client(host: Clone, key: str = "", secret: str = "") -> Any:
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{host.port(9000)}",
        aws_access_key_id=key or host.secret("root_user"),
        aws_secret_access_key=secret or host.secret("root_password"),
        region_name="us-east-1",
    )


def test_a_bare_host_becomes_the_storage_of_the_service(host: Clone) -> None:
    plan = host.inv("check", "--host", NAME, code=2)
    assert "one node on one drive: no redundancy" in plan
    host.inv("deploy", "--host", NAME, "--yes")
    assert "nothing to do" in host.inv("deploy", "--host", NAME, "--yes")
    assert "1 of 1 drives: no redundancy" in host.inv("status", "--host", NAME)


def test_the_four_buckets_keep_versions_expire_them_and_encrypt(host: Clone) -> None:
    s3 = client(host)
    for name in ("mlflow-artifacts", "ml-security", "training-data", "red-team-data"):
        assert s3.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
        rules = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
        assert {"NoncurrentDays": 30} in [rule.get("NoncurrentVersionExpiration") for rule in rules]
        s3.put_object(Bucket=name, Key="one", Body=b"plain words")
        assert s3.head_object(Bucket=name, Key="one")["ServerSideEncryption"] == "AES256"
        assert s3.get_object(Bucket=name, Key="one")["Body"].read() == b"plain words"
    assert host.on_host("grep -rl 'plain words' /mnt/drive1/drive1 | wc -l").strip() == "0"


def test_mlflows_key_may_use_its_bucket_and_no_other(host: Clone) -> None:
    mlflow = client(host, "mlflow-server", host.secret("mlflow_server"))
    mlflow.put_object(Bucket="mlflow-artifacts", Key="114/8de8/artifacts/model/model.pkl", Body=b"model")
    assert mlflow.list_objects_v2(Bucket="mlflow-artifacts", Prefix="114/")["KeyCount"] == 1
    mlflow.delete_object(Bucket="mlflow-artifacts", Key="114/8de8/artifacts/model/model.pkl")
    for act in (
        lambda: mlflow.list_objects_v2(Bucket="red-team-data"),
        lambda: mlflow.get_object(Bucket="ml-security", Key="one"),
        lambda: mlflow.put_object(Bucket="training-data", Key="one", Body=b"x"),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            act()


def test_another_key_is_refused_in_the_plan_and_one_that_got_through_is_told_by_the_canary(host: Clone) -> None:
    file = Path(host.root) / f"inventory/secrets/{NAME}/kms_key"
    right, record = file.read_text(), "/var/lib/stowage/kms-key"
    other = right.partition(":")[0] + ":" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=\n"
    file.write_text(other)
    try:
        assert "MinIO was first deployed with the key" in host.inv("deploy", "--host", NAME, "--yes", code=3)
        assert client(host).get_object(Bucket="ml-security", Key="one")["Body"].read() == b"plain words"
        kept = host.on_host(f"cat {record}; rm {record}")
        assert "cannot be read" in host.inv("deploy", "--host", NAME, "--yes", code=3)
    finally:
        file.write_text(right)
    host.on_host(f"printf '%s\\n' '{kept.strip()}' >{record}")
    host.inv("deploy", "--host", NAME, "--yes")
    assert client(host).get_object(Bucket="ml-security", Key="one")["Body"].read() == b"plain words"


def test_it_is_there_again_after_a_reboot(host: Clone) -> None:
    host.inv("lab.reboot", "--host", NAME)
    until = time.monotonic() + 120
    while not host.inv("status", "--host", NAME, code=None).startswith(f"{NAME}: all is well"):
        assert time.monotonic() < until
        time.sleep(2)
    assert "nothing to do" in host.inv("deploy", "--host", NAME, "--yes")
    assert client(host).get_object(Bucket="red-team-data", Key="one")["Body"].read() == b"plain words"
