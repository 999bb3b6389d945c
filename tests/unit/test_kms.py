"""The key of encryption at rest: accepted forms, and the refusal of another key than at the first deploy."""

from __future__ import annotations

import base64
from types import SimpleNamespace
from typing import Any

import pytest
from minio.error import S3Error
from pydantic import ValidationError

from converge.engine.resource import Unknown
from converge.inventory.secret import Secret
from roles.minio import api as minio_api
from roles.minio.api import Api
from roles.minio.bucket_kinds import Bucket
from roles.minio.environment import faults
from roles.minio.kms import TEXT, Canary, KmsKey
from roles.minio.kms_key import fault, fingerprint
from roles.minio.settings import Bucket as BucketSettings

KEY = "prod-2026:" + base64.b64encode(bytes(range(32))).decode()
OTHER = "prod-2026:" + base64.b64encode(bytes(range(1, 33))).decode()


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        (KEY, ""),
        ("minio-kms-key", "a name, a colon and the key"),
        ("a b:" + KEY.partition(":")[2], "a name, a colon and the key"),
        ("name:secret", "32 random bytes in base64"),
        ("name:" + base64.b64encode(b"x" * 16).decode(), "16 bytes, and MinIO takes 32"),
    ],
)
def test_a_key_that_minio_would_not_start_with_is_refused(key, complaint):
    assert (complaint in fault(key)) if complaint else fault(key) == ""


def test_a_fingerprint_tells_keys_apart_and_nothing_of_them():
    assert fingerprint(KEY) != fingerprint(OTHER)
    assert KEY.partition(":")[2][:8] not in fingerprint(KEY)


def read(wanted: KmsKey, record: str) -> Any:
    return KmsKey.read([wanted], record)[0]


def test_the_first_deploy_records_it_and_later_ones_compare():
    first = KmsKey(fingerprint(KEY))
    assert read(first, "") is None
    assert read(first, fingerprint(KEY) + "\n") == first.desired()
    assert first.refusal(None) is None


@pytest.mark.parametrize("now", [fingerprint(OTHER), ""])
def test_another_key_or_none_is_refused_with_both_named(now):
    wanted = KmsKey(now)
    before = read(wanted, fingerprint(KEY))
    assert before != wanted.desired()
    refusal = wanted.refusal(before)
    assert refusal and fingerprint(KEY) in refusal.why and (now or "has none") in refusal.why


def test_a_host_that_never_had_a_key_needs_none():
    assert read(KmsKey(""), "") == KmsKey("").desired()


def answer(error: str = "", data: bytes = TEXT, encrypted: bool = True) -> Any:
    """A client that answers this for the canary object."""

    def get_object(*_: Any) -> Any:
        if error:
            raise S3Error(SimpleNamespace(), error, "failed to decrypt", "", "", "")  # type: ignore[arg-type]
        headers = {"x-amz-server-side-encryption": "AES256"} if encrypted else {}
        return SimpleNamespace(headers=headers, data=data, release_conn=lambda: None)

    return SimpleNamespace(get_object=get_object)


@pytest.fixture
def canary(monkeypatch):
    """Reads the canary from a client."""
    api = Api((("127.0.0.1", 9000),), Secret("user"), Secret("word"))

    def reads(client: Any) -> Any:
        monkeypatch.setattr(minio_api.Api, "read", lambda self, link, do: do(client))
        (state,) = Canary.ask(SimpleNamespace(), [Canary(api)])  # type: ignore[arg-type]
        assert not isinstance(state, Unknown)
        return state, Canary(api)

    return reads


def test_a_canary_that_can_be_read_is_well_and_one_that_is_not_there_is_made(canary):
    state, wanted = canary(answer())
    assert state == wanted.desired()
    for code in ("NoSuchBucket", "NoSuchKey"):
        state, wanted = canary(answer(code))
        assert state is None and wanted.refusal(state) is None


def test_a_canary_that_cannot_be_read_is_refused_in_minios_words(canary):
    state, wanted = canary(answer("kms:InvalidCiphertextException"))
    refusal = wanted.refusal(state)
    assert refusal and "kms:InvalidCiphertextException: failed to decrypt" in refusal.why


@pytest.mark.parametrize("code", ["XMinioServerNotInitialized", "SlowDownRead", "SlowDownWrite"])
def test_a_server_that_cannot_read_now_says_nothing_about_the_key(canary, code):
    with pytest.raises(S3Error):
        canary(answer(code))


def test_encryption_of_a_bucket_is_compared_where_the_inventory_says_something():
    api = Api((("127.0.0.1", 9000),), Secret("user"), Secret("word"))
    state = {"encryption": "aws:kms"}
    for says, key in ((None, None), (True, "AES256"), (False, "none")):
        bucket = Bucket(api, BucketSettings(name="abc", encryption=says))
        assert bucket.desired().get("encryption") == key
        assert bool(bucket.left_alone(state)) == (says is None)


def test_buckets_are_not_encrypted_without_a_key(storage_host):
    with pytest.raises(ValidationError, match="there is none"):
        storage_host(buckets__0__encryption=True)
    host = storage_host(buckets__0__encryption=True, minio__kms_key=Secret(KEY))
    assert host.settings.buckets[0].encryption
    with pytest.raises(ValidationError, match="32 random bytes"):
        storage_host(minio__kms_key=Secret("name:secret"))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("MINIO_DEFAULT_BUCKETS", "Bitnami"),
        ("MINIO_DATA_DIR", "minio.nodes"),
        ("MINIO_CONFIG_DIR", ".minio.sys"),
        ("MINIO_CERTS_DIR", "flag"),
        ("MINIO_CACHE_DRIVES", "years ago"),
        ("MINIO_CACHE_WATERMARK_LOW", "years ago"),
        ("MINIO_IDENTITY_TYPE", "OPENID"),
        ("MINIO_KMS_MASTER_KEY", "minio.kms_key"),
        ("MINIO_KMS_SECRET_KEY", "minio.kms_key"),
        ("MINIO_BROWSR", "manual"),
        ("MINIO_ROOT_PASSWORD", "references"),
    ],
)
def test_a_variable_that_the_server_does_not_read_or_that_is_ours_is_refused_with_the_reason(name, why):
    ((place, message),) = faults({name: "x"})
    assert place == name and why in message


def test_variables_that_the_server_reads_are_taken():
    names = ["MINIO_BROWSER", "MINIO_DOMAIN", "MINIO_API_REQUESTS_MAX", "MINIO_IDENTITY_OPENID_CONFIG_URL_KC"]
    names += ["MINIO_PROMETHEUS_URL", "MINIO_KMS_AUTO_ENCRYPTION", "MINIO_NOTIFY_WEBHOOK_ENABLE_a", "MINIO_REGION"]
    assert list(faults(dict.fromkeys(names, "x"))) == []
