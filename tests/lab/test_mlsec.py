"""The storage of the ML Security service, on a bare lab host: what its document names, as docs/systems.md has it."""

from __future__ import annotations

import hashlib
import json
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError

from tests.authority import Authority
from tests.lab.conftest import Clone, fresh, s3_of

NAME = "mlsec-lab"


@pytest.fixture(scope="module")
def host() -> Iterator[Clone]:
    there = fresh("test-mlsec", host=NAME)
    yield there
    there.inv("lab.down", "--host", NAME, code=None)


def test_a_bare_host_becomes_the_storage_of_the_service(host: Clone) -> None:
    plan = host.inv("check", "--host", NAME, code=2)
    assert "one node on one drive: no redundancy" in plan
    host.inv("deploy", "--host", NAME, "--yes")
    assert "nothing to do" in host.inv("deploy", "--host", NAME, "--yes")
    status = host.inv("status", "--host", NAME, code=2)
    assert "1 of 1 drives: no redundancy" in status and "no fresh backup of buckets and config" in status
    host.inv("backup", "--host", NAME)
    assert "all is well" in host.inv("status", "--host", NAME)


def test_the_four_buckets_keep_versions_expire_them_and_encrypt(host: Clone) -> None:
    s3 = s3_of(host)
    for name in ("mlflow-artifacts", "ml-security", "training-data", "red-team-data"):
        assert s3.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
        rules = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
        assert {"NoncurrentDays": 30} in [rule.get("NoncurrentVersionExpiration") for rule in rules]
        used = {"Expiration": {"Days": 30}, "Filter": {"Prefix": "data/used/"}}
        assert (name == "ml-security") == any(used.items() <= rule.items() for rule in rules)
        s3.put_object(Bucket=name, Key="one", Body=b"plain words")
        assert s3.head_object(Bucket=name, Key="one")["ServerSideEncryption"] == "AES256"
        assert s3.get_object(Bucket=name, Key="one")["Body"].read() == b"plain words"
    assert host.on_host("grep -rl 'plain words' /mnt/drive1/drive1 | wc -l").strip() == "0"


def test_mlflows_key_may_use_its_bucket_and_no_other(host: Clone) -> None:
    mlflow = s3_of(host, "mlflow-server", host.secret("mlflow_server"))
    mlflow.put_object(Bucket="mlflow-artifacts", Key="114/8de8/artifacts/model/model.pkl", Body=b"model")
    assert mlflow.list_objects_v2(Bucket="mlflow-artifacts", Prefix="114/")["KeyCount"] == 1
    upload = {"Bucket": "mlflow-artifacts", "Key": "114/large"}
    upload["UploadId"] = mlflow.create_multipart_upload(**upload)["UploadId"]
    mlflow.upload_part(**upload, PartNumber=1, Body=b"part")
    assert len(mlflow.list_parts(**upload)["Parts"]) == 1
    mlflow.abort_multipart_upload(**upload)
    mlflow.delete_object(Bucket="mlflow-artifacts", Key="114/8de8/artifacts/model/model.pkl")
    for act in (
        lambda: mlflow.list_objects_v2(Bucket="red-team-data"),
        lambda: mlflow.get_object(Bucket="ml-security", Key="one"),
        lambda: mlflow.put_object(Bucket="training-data", Key="one", Body=b"x"),
        lambda: mlflow.delete_bucket_lifecycle(Bucket="mlflow-artifacts"),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            act()


def test_the_node_its_buckets_and_its_calls_are_shown(host: Clone) -> None:
    info = json.loads(host.inv("minio.info", "--host", NAME, "--json"))
    assert info["usable"] == info["raw"] > 0 and [node["state"] for node in info["nodes"]] == ["online"]
    usage = json.loads(host.inv("buckets.du", "--host", NAME, "--bucket", "ml-security", "--exact", "--json"))
    assert usage["buckets"] == {"ml-security": {"objects": 1, "versions": 1, "delete_markers": 0, "bytes": 11}}
    with host.start("minio.trace", "--host", NAME, "--errors", "--path", "red-team-data", "--json") as trace:
        assert trace.stdout and "Ctrl-C ends" in trace.stdout.readline()
        with pytest.raises(ClientError, match="AccessDenied"):
            s3_of(host, "mlflow-server", host.secret("mlflow_server")).list_objects_v2(Bucket="red-team-data")
        first = trace.stdout.readline()
        trace.send_signal(signal.SIGINT)
        # Once in some runs MinIO told of it twice.
        lines = [first, *trace.stdout.read().splitlines()]
        for call in map(json.loads, lines):
            assert (call["key"], call["status"], call["error"]) == ("mlflow-server", 403, "AccessDenied")
        assert not any("Signature" in line for line in lines)
        assert trace.wait(15) == 0


def scraped(host: Clone, path: str, token: str = "", where: str = "172.30.99.11:9000") -> tuple[str, str]:
    """The status and the text of a GET that is made on the host itself."""
    given = f"-H 'Authorization: Bearer {token}'" if token else ""
    output = host.on_host(f"curl -s -w '%{{http_code}}' {given} 'http://{where}{path}'")
    return output[-3:], output[:-3]


def test_the_metrics_want_a_token_that_is_good_for_nothing_else(host: Clone) -> None:
    token = host.inv("minio.metrics-token", "--host", NAME).strip()
    metrics = ("/minio/v2/metrics/cluster", "/minio/metrics/v3/cluster/health", "/minio/prometheus/metrics")
    for path in metrics:
        assert scraped(host, path)[0] == "403"
        assert scraped(host, path, token[:-4] + "AAAA")[0] == "403"
        status, text = scraped(host, path, token)
        assert status == "200" and "\nminio_" in text
        assert scraped(host, path, token, "127.0.0.1:9000")[0] == "403", "nginx lets nobody read them from outside"
    for path in ("/minio/admin/v3/info", "/ml-security/one", "/"):
        assert scraped(host, path, token)[0] in ("400", "403")
    reader = s3_of(host, "stowage-metrics", host.secret("metrics"))
    with pytest.raises(ClientError, match="AccessDenied"):
        reader.get_object(Bucket="ml-security", Key="one")


def test_its_buckets_are_kept_and_come_back_though_the_stack_has_no_database(host: Clone) -> None:
    s3, there = s3_of(host), ("--host", NAME)
    old = s3.head_object(Bucket="training-data", Key="one")["VersionId"]
    screen = host.inv("backup", *there)
    assert "training-data: 1 version of 11 B," in screen and "postgres" not in screen.lower()
    shown = host.inv("backup.show", "latest", *there)
    assert "bucket     training-data" in shown and "server" not in shown and "database" not in shown
    assert "components are config, buckets" in host.inv("backup", "--only", "postgres", *there, code=1)
    host.inv("backup.verify", "latest", "--drill", *there)

    s3.delete_object(Bucket="training-data", Key="one", VersionId=old)
    host.inv("restore", "latest", "--bucket", "training-data", "--yes", *there)
    assert s3.head_object(Bucket="training-data", Key="one")["VersionId"] == old
    assert "bucket training-data: the same versions" in host.inv("backup.diff", "latest", *there)
    assert "the way back of the bucket training-data" in host.inv("restore.cleanup", "--yes", *there)
    assert "nothing is kept from restores" in host.inv("restore.cleanup", "--yes", *there)
    host.inv("restore", "latest", "--bucket", "training-data", "--as", "beside", "--yes", *there)
    host.inv("restore.undo", "--yes", *there)
    host.inv("backup.settle", *there)
    assert s3.get_object(Bucket="training-data", Key="one")["Body"].read() == b"plain words"


COLD = "MC_CONFIG_DIR=/tmp/mc; export MC_CONFIG_DIR; mc alias set c http://127.0.0.1:9000 $(cat /run/secrets/MINIO_ROOT_USER_FILE) "
COLD += "$(cat /run/secrets/MINIO_ROOT_PASSWORD_FILE) >/dev/null; mc"


def archive(host: Clone, **more: Any) -> None:
    """Gives the host a second MinIO as a service, and with `more` a tier on it."""
    file, secrets = host.root / f"inventory/host_vars/{NAME}.yml", f"inventory/secrets/{NAME}"
    keys = {what: {"file": f"{secrets}/root_{what}"} for what in ("user", "password")}
    cold = {
        "image": "minio",
        "command": ["server", "/data"],
        "environment": {"HOME": "/tmp"},
        "secrets": {"MINIO_ROOT_USER_FILE": keys["user"], "MINIO_ROOT_PASSWORD_FILE": keys["password"]},
        "data": {"/data": "/srv/stowage/cold"},
        "answers": {"http": ":9000/minio/health/cluster"},
        "once": [
            {
                "name": "bucket",
                "command": ["sh", "-c", f"{COLD} mb c/archive"],
                "unless": ["sh", "-c", f"{COLD} ls c/archive"],
            }
        ],
    }
    tier = {"name": "ARCHIVE", "kind": "minio", "endpoint": "http://cold:9000", "bucket": "archive", "prefix": "mlsec"}
    tier |= {"access_key": keys["user"], "secret_key": keys["password"]}
    settings = {key: value for key, value in host.vars.items() if key not in ("minio", "buckets")} | {
        "services": {"cold": cold}
    }
    if more:
        buckets = yaml.safe_load((host.root / "inventory/group_vars/ml_security.yml").read_text())["buckets"]
        settings |= {
            "minio": {"tiers": [tier] if more["tier"] else []},
            "buckets": [*buckets, {"name": "old-runs", **more["bucket"]}],
        }
    file.write_text(yaml.safe_dump(settings))


def test_old_objects_move_to_a_tier_and_come_back_and_the_tier_stays_while_one_is_there(host: Clone) -> None:
    rule = {"id": "archive", "prefix": "archived/", "tier": "ARCHIVE", "transition_days": 0}
    archive(host, tier=False, bucket={"lifecycle": [rule]})
    refused = host.inv("check", "--host", NAME, code=1)
    assert "minio.tiers has no ARCHIVE" in refused and "all rules of the bucket" in refused
    archive(host)
    host.inv("deploy", "--host", NAME, "--role", "cold", "--yes")
    archive(host, tier=True, bucket={"lifecycle": [rule]})
    assert "+ tier:ARCHIVE" in host.inv("deploy", "--host", NAME, "--yes")
    assert "nothing to do" in host.inv("deploy", "--host", NAME, "--yes")
    s3, body = s3_of(host), b"an old run " * 100_000
    s3.put_object(Bucket="old-runs", Key="archived/run", Body=body)
    s3.put_object(Bucket="old-runs", Key="fresh/run", Body=body)
    until = time.monotonic() + 60
    while s3.head_object(Bucket="old-runs", Key="archived/run").get("StorageClass") != "ARCHIVE":
        assert time.monotonic() < until
        time.sleep(0.5)
    until_empty(host, "find /mnt/drive1/drive1/old-runs/archived -name 'part.*'")
    assert int(host.on_host("du -s /srv/stowage/cold/archive/mlsec").split()[0]) > 1000
    assert s3.get_object(Bucket="old-runs", Key="archived/run")["Body"].read() == body
    assert "StorageClass" not in s3.head_object(Bucket="old-runs", Key="fresh/run")

    archive(host, tier=False, bucket={})
    refused = host.inv("deploy", "--host", NAME, "--yes", code=None)
    assert "objects of old-runs lie in it" in refused
    assert s3.get_object(Bucket="old-runs", Key="archived/run")["Body"].read() == body
    s3.delete_object(Bucket="old-runs", Key="archived/run")
    s3.delete_object(Bucket="old-runs", Key="fresh/run")
    # The objects are removed from the tier as well.
    until_empty(host, "find /srv/stowage/cold/archive -path '*/mlsec/*' -type f")
    assert "- tier:ARCHIVE" in host.inv("deploy", "--host", NAME, "--yes")
    assert "nothing to do" in host.inv("deploy", "--host", NAME, "--yes")
    # MinIO keeps records of objects in a tier until its scanner runs: until then the bucket is not empty.
    s3.meta.events.register("before-call.s3.DeleteBucket", force)
    s3.delete_bucket(Bucket="old-runs")
    own = {key: value for key, value in host.vars.items() if key not in ("minio", "buckets", "services")}
    (host.root / f"inventory/host_vars/{NAME}.yml").write_text(yaml.safe_dump(own))
    assert "- project:cold" in host.inv("deploy", "--host", NAME, "--yes")


def until_empty(host: Clone, find: str) -> None:
    """Waits until `find` prints nothing; a folder that vanishes during the search is an error, and searched again."""
    until = time.monotonic() + 60
    while remaining := host.on_host(f"{find} 2>&1 || :"):
        assert time.monotonic() < until, remaining
        time.sleep(0.5)


def force(params: dict[str, Any], **_: Any) -> None:
    params["headers"]["x-minio-force-delete"] = "true"


def test_another_key_is_refused_in_the_plan_and_one_that_got_through_is_told_by_the_canary(host: Clone) -> None:
    file = Path(host.root) / f"inventory/secrets/{NAME}/kms_key"
    right, record = file.read_text(), "/var/lib/stowage/kms-key"
    other = right.partition(":")[0] + ":" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=\n"
    file.write_text(other)
    try:
        assert "MinIO was first deployed with the key" in host.inv("deploy", "--host", NAME, "--yes", code=3)
        assert s3_of(host).get_object(Bucket="ml-security", Key="one")["Body"].read() == b"plain words"
        kept = host.on_host(f"cat {record}; rm {record}")
        assert "cannot be read" in host.inv("deploy", "--host", NAME, "--yes", code=3)
    finally:
        file.write_text(right)
    host.on_host(f"printf '%s\\n' '{kept.strip()}' >{record}")
    host.inv("deploy", "--host", NAME, "--yes")
    assert s3_of(host).get_object(Bucket="ml-security", Key="one")["Body"].read() == b"plain words"


def test_the_node_speaks_tls_to_nginx_and_to_us_and_takes_a_new_certificate_without_a_restart(host: Clone) -> None:
    folder = host.root / f"inventory/secrets/{NAME}"
    authority, names = Authority(folder), ["minio1", "172.30.99.11"]
    authority.sign("minio", names)
    files = {"certificate": "minio.crt", "key": "minio.key", "authority": "authority.pem"}
    tls = f"--set=minio.tls={json.dumps({name: f'inventory/secrets/{NAME}/{file}' for name, file in files.items()})}"
    host.inv("deploy", "--host", NAME, "--yes", tls)
    assert "nothing to do" in host.inv("deploy", "--host", NAME, "--yes", tls)
    assert s3_of(host).get_object(Bucket="ml-security", Key="one")["Body"].read() == b"plain words"
    status = host.on_host(f"curl -s -o /dev/null -w '%{{http_code}}' http://{names[1]}:9000/minio/health/live || :")
    assert status in ("400", "000"), "nobody speaks in the clear"
    page = host.on_host("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:9001/login")
    assert page == "200"
    # So does the worker, to the buckets and to the place of its sets.
    host.inv("backup", "--host", NAME)
    s3_of(host).delete_object(Bucket="ml-security", Key="one")
    host.inv("restore", "latest", "--bucket", "ml-security", "--key", "one", "--yes", "--host", NAME)
    assert s3_of(host).get_object(Bucket="ml-security", Key="one")["Body"].read() == b"plain words"
    host.inv("restore.cleanup", "--yes", "--host", NAME)

    since = host.on_host("docker inspect -f '{{.State.StartedAt}}' minio1")
    authority.sign("minio", names)
    assert "~ served-certificate:minio" in host.inv("deploy", "--host", NAME, "--yes", tls)
    assert host.on_host("docker inspect -f '{{.State.StartedAt}}' minio1") == since
    Authority(folder).sign("minio", names)  # from an authority that the nodes do not know yet
    assert "served-certificate:minio" in host.inv("check", "--host", NAME, tls, code=2)
    host.inv("deploy", "--host", NAME, "--yes")
    assert s3_of(host).get_object(Bucket="ml-security", Key="one")["Body"].read() == b"plain words"


def test_buckets_and_accounts_made_by_commands_are_kept_by_the_next_deploy(host: Clone) -> None:
    there = ("--host", NAME)
    host.inv("buckets.create", "requests", "--retention-days", "30", "--yes", *there)
    host.inv("accounts.create", "reporter", "--policies", "readonly", "--key", "reporter-1", "--yes", *there)
    host.inv("accounts.assign", "reporter", "readwrite", "--yes", *there)
    assert "# models/NAME/VERSION/" in (host.root / "inventory/group_vars/ml_security.yml").read_text()
    host.inv("deploy", "--role", "buckets", "--yes", *there)
    assert "nothing to do" in host.inv("deploy", "--yes", *there)
    accounts = {row["name"]: row for row in json.loads(host.inv("accounts.list", "--json", *there))["accounts"]}
    assert accounts["reporter"]["policies"] == ["readonly", "readwrite"] and accounts["reporter-1"]["expires"]
    assert {accounts[name]["state"] for name in ("reporter", "reporter-1", "mlflow")} == {"in settings"}
    rows = {row["name"]: row for row in json.loads(host.inv("buckets.list", "--json", *there))["buckets"]}
    assert rows["requests"]["lifecycle"] == "retention, expires after 30 days"
    assert rows["requests"]["versioning"] == "off" and rows["requests"]["state"] == "in settings"

    old = host.secret("key_reporter-1")
    s3_of(host, "reporter-1", old).put_object(Bucket="requests", Key="one", Body=b"x")
    host.inv("accounts.rotate", "reporter-1", "--expires", "90d", "--yes", *there)
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        s3_of(host, "reporter-1", old).list_buckets()
    s3_of(host, "reporter-1", host.secret("key_reporter-1")).delete_object(Bucket="requests", Key="one")
    assert not (host.root / f"inventory/secrets/{NAME}/key_reporter-1.previous").exists()
    assert "nothing to do" in host.inv("deploy", "--yes", *there)


def test_what_is_asked_to_be_deleted_goes_with_all_versions_and_copies_are_named(host: Clone) -> None:
    s3, there = s3_of(host), ("--host", NAME)
    for key in ("people/7/a b+\u00e9", "people/7/a b+\u00e9", "people/7", "people/70/x"):
        s3.put_object(Bucket="ml-security", Key=key, Body=b"personal")
    s3.delete_object(Bucket="ml-security", Key="people/7/a b+\u00e9")
    s3.create_bucket(Bucket="held", ObjectLockEnabledForBucket=True)
    for key in ("p/free", "p/kept", "p/on-hold"):
        s3.put_object(Bucket="held", Key=key, Body=b"x")
    until = datetime.now(UTC) + timedelta(days=1)
    s3.put_object_retention(Bucket="held", Key="p/kept", Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until})
    s3.put_object_legal_hold(Bucket="held", Key="p/on-hold", LegalHold={"Status": "ON"})
    screen = host.inv("backup", *there, code=23)
    assert (
        "1 of its objects is not in the set" in screen and "it lies beneath the object people/7, which hides" in screen
    )

    answer = json.loads(host.inv("buckets.erase", "ml-security", "people/70/", "--json", *there, code=2))
    assert (
        answer["versions"] == 1
        and not answer["erased"]
        and [entry["versions"] for entry in answer["copies"]["sets"]] == [1]
    )
    assert "people/7 is an object" in host.inv("buckets.erase", "ml-security", "people/7/", "--yes", *there, code=3)
    erased = host.inv("buckets.erase", "ml-security", "people/7", "--yes", *there)
    assert "people/70/x" in erased and "--begins" in erased and "copies that this does not erase" in erased
    assert "erased 3 versions and 1 delete markers of 2 objects" in erased
    remaining = s3.list_object_versions(Bucket="ml-security", Prefix="people/")
    assert [version["Key"] for version in remaining["Versions"]] == ["people/70/x"] and "DeleteMarkers" not in remaining
    assert "nothing to erase" in host.inv("buckets.erase", "ml-security", "people/7", "--yes", *there)
    audit = host.inv("history", "--json", *there)
    assert "people" not in audit and hashlib.sha256(b"people/7").hexdigest() in audit

    screen = host.inv("buckets.erase", "held", "p/", "--yes", *there, code=3)
    assert "2 locked versions were not erased" in screen and "legal hold" in screen and "governance until" in screen
    remaining = s3.list_object_versions(Bucket="held")["Versions"]
    assert [version["Key"] for version in remaining] == ["p/kept", "p/on-hold"]
    s3.put_object_legal_hold(Bucket="held", Key="p/on-hold", LegalHold={"Status": "OFF"})
    for version in remaining:
        s3.delete_object(
            Bucket="held", Key=version["Key"], VersionId=version["VersionId"], BypassGovernanceRetention=True
        )
    s3.delete_bucket(Bucket="held")
    assert "the bucket held is not there any more" in host.inv("backup", *there), "all that is left is in the set"


def test_it_is_there_again_after_a_reboot(host: Clone) -> None:
    host.inv("lab.reboot", "--host", NAME)
    until = time.monotonic() + 120
    while not host.inv("status", "--host", NAME, code=None).startswith(f"{NAME}: all is well"):
        assert time.monotonic() < until
        time.sleep(2)
    assert "nothing to do" in host.inv("deploy", "--host", NAME, "--yes")
    assert s3_of(host).get_object(Bucket="red-team-data", Key="one")["Body"].read() == b"plain words"
