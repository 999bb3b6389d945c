"""MinIO's tiers: the compared state, refused changes and removals, and lifecycle rules that use them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError
from urllib3.exceptions import ReadTimeoutError

from converge.errors import Trouble
from converge.inventory.secret import Secret
from roles.minio import tiers
from roles.minio.bucket_kinds import Bucket
from roles.minio.bucket_state import bucket_state
from roles.minio.settings import Bucket as BucketSettings
from roles.minio.settings import Lifecycle
from roles.minio.settings import Tier as TierSettings
from roles.minio.tier_gone import TierGone
from roles.minio.tiers import Tier

PLACE = {"name": "ARCHIVE", "endpoint": "http://cold:9000", "bucket": "archive", "prefix": "mlsec"}
KEYS = {"access_key": Secret("reader"), "secret_key": Secret("a-secret-of-it")}
MINIO = TierSettings(kind="minio", **PLACE, **KEYS)
ANSWER = {"Endpoint": "http://cold:9000", "AccessKey": "reader", "SecretKey": "REDACTED", "Bucket": "archive"}
LISTED = {"Version": "v1", "Type": "minio", "Name": "ARCHIVE", "S3": {}, "MinIO": ANSWER | {"Prefix": "mlsec"}}


class Api:
    """A cluster whose nodes list their tiers, and its host with the records."""

    def __init__(self, *nodes: list[dict[str, Any]], records: str = "") -> None:
        self.nodes, self.records = nodes, records

    def read(self, link: Any, do: Any) -> Any:
        return do(self.nodes[0])

    def others(self, link: Any, client: Any, do: Any) -> Any:
        return lambda: {f"node{at}": do(node) for at, node in enumerate(self.nodes[1:], 2)}

    def shell(self, script: str) -> Any:
        lines = iter([line.encode() for line in self.records.splitlines(keepends=True)])
        return SimpleNamespace(close_stdin=lambda: None, readline=lambda seconds: next(lines, b""))


@pytest.fixture(autouse=True)
def admin_api(monkeypatch) -> None:
    monkeypatch.setattr(tiers, "admin", lambda client, method, path, **more: json.dumps(client))


def read(*nodes: list[dict[str, Any]], secret: str = "a-secret-of-it", wanted: TierSettings = MINIO) -> Any:
    api: Any = Api(*nodes, records=f"ARCHIVE:{tiers.fingerprint(Secret(secret))}\n")
    (state,) = Tier.ask(api, [Tier(api, wanted)])
    return state


def odd(state: Any, wanted: TierSettings = MINIO) -> list[str]:
    return [key for key, value in Tier(Any, wanted).desired().items() if state[key] != value]  # type: ignore[arg-type]


def test_a_tier_as_it_was_made_does_not_differ() -> None:
    assert odd(read([LISTED], [LISTED])) == []
    s3 = TierSettings(kind="s3", region="eu-west-1", storage_class="STANDARD_IA", **PLACE, **KEYS)
    aws = ANSWER | {"Prefix": "mlsec", "Region": "eu-west-1", "StorageClass": "STANDARD_IA"}
    assert odd(read([LISTED | {"Type": "s3", "S3": aws, "MinIO": {}}], wanted=s3), s3) == []
    assert read([]) is None and read([], [LISTED]) is None


@pytest.mark.parametrize(
    ("state", "keys"),
    [
        ({"MinIO": ANSWER | {"Prefix": "other"}}, ["prefix"]),
        ({"MinIO": ANSWER | {"Prefix": "mlsec", "Endpoint": "http://evil:9000"}}, ["endpoint"]),
        ({"MinIO": ANSWER | {"Prefix": "mlsec", "AccessKey": "other"}}, ["access_key"]),
    ],
)
def test_what_somebody_changed_is_seen(state, keys) -> None:
    assert odd(read([LISTED | state])) == keys


def test_a_new_secret_is_seen_by_the_record_and_a_node_that_did_not_hear_by_what_it_tells() -> None:
    assert odd(read([LISTED], secret="the-old-one")) == ["secret_key"]
    state = read([LISTED], [LISTED], [])
    assert odd(state) == ["known to"] and state["known to"] == "not node3"


def test_where_a_tier_leads_is_never_changed_but_its_keys_are() -> None:
    tier = Tier(Any, MINIO)  # type: ignore[arg-type]
    state = read([LISTED | {"MinIO": ANSWER | {"Prefix": "other"}}])
    refusal = tier.refusal(state)
    assert refusal and "(prefix)" in refusal.why and "another name" in refusal.hint
    assert tier.refusal(read([LISTED], secret="the-old-one")) is None and tier.refusal(None) is None


def test_no_secret_of_a_tier_is_in_its_state_or_in_its_steps() -> None:
    tier = Tier(Any, MINIO)  # type: ignore[arg-type]
    record = tier.fix(None)[-1]
    for text in (tier.desired(), read([LISTED]), record, tier):
        assert "a-secret-of-it" not in str(text) and "'reader'" not in str(text)


def test_a_place_that_does_not_answer_is_told_as_such(monkeypatch) -> None:
    def silent(*_: Any, **__: Any) -> None:
        raise ReadTimeoutError(None, "", "timed out")  # type: ignore[arg-type]

    monkeypatch.setattr(tiers, "admin", silent)
    monkeypatch.setattr(tiers, "_encrypted", lambda client, settings: b"")
    with pytest.raises(Trouble, match="http://cold:9000") as caught:
        Tier(Any, MINIO)._make(None)  # type: ignore[arg-type]
    assert caught.value.hint


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({"rules": "", "objects": "old-runs, models"}, "objects of old-runs, models lie in it"),
        ({"rules": "theirs", "objects": ""}, "rules of theirs name it"),
        ({"rules": "", "objects": ""}, ""),
    ],
)
def test_a_tier_goes_only_when_nothing_needs_it(state, why) -> None:
    refusal = TierGone(Any, "ARCHIVE").refusal(state)  # type: ignore[arg-type]
    assert (refusal is None) == (not why) and why in (refusal.why if refusal else "")


def test_rules_that_move_objects_read_back_as_they_were_wanted() -> None:
    """MinIO writes an immediate transition as zero days."""
    rules = [
        Lifecycle(id="cool", prefix="archived/", tier="ARCHIVE", transition_days=0, expire_days=400),
        Lifecycle(id="old", tier="ARCHIVE", transition_noncurrent_days=7),
    ]
    xml = b"""<LifecycleConfiguration>
      <Rule><ID>cool</ID><Status>Enabled</Status><Filter><Prefix>archived/</Prefix></Filter>
        <Expiration><Days>400</Days></Expiration>
        <Transition><Days>0</Days><StorageClass>ARCHIVE</StorageClass></Transition></Rule>
      <Rule><ID>old</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter>
        <NoncurrentVersionTransition><NoncurrentDays>7</NoncurrentDays><StorageClass>ARCHIVE</StorageClass>
        </NoncurrentVersionTransition></Rule></LifecycleConfiguration>"""
    bucket = Bucket(Any, BucketSettings(name="models", lifecycle=rules))  # type: ignore[arg-type]
    assert bucket_state("models", {"models/lifecycle.xml": xml})["lifecycle"] == bucket.desired()["lifecycle"]
    assert bucket.desired()["lifecycle"] == (
        "cool, prefix 'archived/', expires after 400 days, moves to ARCHIVE after 0 days; "
        "old, old versions move to ARCHIVE after 7 days"
    )
    assert bucket.stands_on() == ["tier:ARCHIVE", "tier:ARCHIVE"]


ROW = {"kind": "minio", **PLACE, **KEYS}
RULE = {"id": "a", "tier": "ARCHIVE", "transition_days": 1}


@pytest.mark.parametrize(
    ("tier", "rule", "why"),
    [
        (None, RULE, "minio.tiers has no ARCHIVE; it has nothing; MinIO refuses it, and with it all rules"),
        (ROW, RULE | {"tier": "GLACIER"}, "minio.tiers has no GLACIER; it has ARCHIVE"),
        (ROW, {"id": "a", "transition_days": 1}, "it goes with transition_days"),
        (ROW, {"id": "a", "tier": "ARCHIVE", "expire_days": 1}, "it goes with transition_days"),
        (ROW, RULE | {"expire_days": 1}, "has expired by then"),
        (ROW, {"id": "a"}, "needs one of"),
        (ROW | {"name": "archive"}, RULE, "A-Z"),
        (ROW | {"name": "STANDARD"}, RULE, "by itself"),
        (ROW | {"endpoint": "http://cold:9000/path"}, RULE, "without a path"),
        (ROW | {"region": "eu-west-1"}, RULE, "only kind: s3 uses it"),
    ],
)
def test_settings_that_minio_would_refuse_or_pass_over_are_refused_with_the_reason(
    storage_host, tier, rule, why
) -> None:
    with pytest.raises(ValidationError, match=why):
        storage_host(minio__tiers=[tier] if tier else [], buckets__0__lifecycle=[rule])


def test_two_tiers_of_one_name_are_refused(storage_host) -> None:
    with pytest.raises(ValidationError, match="ARCHIVE"):
        storage_host(minio__tiers=[ROW, ROW])
    assert storage_host(minio__tiers=[ROW], buckets__0__lifecycle=[RULE]).settings.buckets[0].lifecycle[0].tier
