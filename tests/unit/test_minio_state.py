"""The state of MinIO's buckets and accounts from its recorded answers, and removals."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from minio.error import MinioAdminException, S3Error

from converge.engine.resource import Unknown
from converge.inventory.secret import Secret
from roles.minio import account_kinds, accounts, bucket_kinds, key_ends, policy_kinds
from roles.minio import calls as minio_calls
from roles.minio.account_kinds import ServiceAccount, User
from roles.minio.accounts import EXPORTED, Accounts
from roles.minio.api import Api, code_of
from roles.minio.bucket_kinds import Bucket
from roles.minio.bucket_state import bucket_state
from roles.minio.buckets import buckets
from roles.minio.gone import Gone
from roles.minio.policy_kinds import Iam, Policy
from roles.minio.policy_language import BUILT_IN, normal
from roles.minio.settings import Bucket as BucketSettings
from roles.minio.settings import Policy as PolicySettings
from roles.minio.settings import ServiceAccount as KeySettings
from roles.minio.settings import User as UserSettings

API = Api((("127.0.0.1", 9000),), Secret("root"), Secret("word"))
EVERYBODY = {
    "Effect": "Allow",
    "Principal": {"AWS": ["*"]},
    "Action": ["s3:GetObject"],
    "Resource": ["arn:aws:s3:::a/*"],
}
XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
DRIFT: list[tuple[str, str, str, str]] = [
    ("policy.json", json.dumps({"Version": "2012-10-17", "Statement": [EVERYBODY]}), "anonymous", "everybody"),
    (
        "versioning.xml",
        f"<V {XMLNS}><Status>Enabled</Status><ExcludedPrefixes><Prefix>tmp/*</Prefix></ExcludedPrefixes></V>",
        "versioning",
        "tmp/*",
    ),
    (
        "versioning.xml",
        f"<V {XMLNS}><Status>Enabled</Status><ExcludeFolders>true</ExcludeFolders></V>",
        "versioning",
        "folders",
    ),
    ("quota.json", '{"quota":0,"size":0,"rate":1000,"requests":0}', "quota", "1000 bytes a second"),
    ("quota.json", '{"quota":0,"size":0,"rate":0,"requests":5}', "quota", "5 requests a second"),
    (
        "replication.xml",
        "<R><Rule><Destination><Bucket>arn:minio:replication::1:b</Bucket></Destination></Rule></R>",
        "replication",
        "arn:minio:replication::1:b",
    ),
    (
        "notification.xml",
        f"<N {XMLNS}><QueueConfiguration><Queue>arn:minio:sqs::1:webhook</Queue></QueueConfiguration></N>",
        "notifications",
        "arn:minio:sqs::1:webhook",
    ),
    (
        "object-lock.xml",
        f"<O {XMLNS}><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>GOVERNANCE</Mode>"
        "<Years>2</Years></DefaultRetention></Rule></O>",
        "retention",
        "governance 2 years",
    ),
    (
        "lifecycle.xml",
        "<L><Rule><ID>x</ID><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule></L>",
        "lifecycle",
        "expires after 1 days",
    ),
]


@pytest.mark.parametrize(("file", "text", "key", "difference"), DRIFT, ids=[f"{case[2]} {case[3]}" for case in DRIFT])
def test_what_the_inventory_says_nothing_about_has_a_safe_value(
    file: str, text: str, key: str, difference: str
) -> None:
    bucket = Bucket(API, BucketSettings(name="abc"))
    before = bucket_state("abc", {f"abc/{file}": text.encode()})
    assert before[key] != bucket.desired()[key]
    assert difference in "\n".join(bucket.diff(before))


def test_a_bucket_as_it_is_made_has_what_the_inventory_wants() -> None:
    files = {"abc/notification.xml": f"<N {XMLNS}></N>".encode(), "abc/quota.json": b'{"quota":0,"size":0,"rate":0}'}
    assert Bucket(API, BucketSettings(name="abc")).desired().items() <= bucket_state("abc", files).items()


def test_encryption_tags_and_what_is_not_known_are_left_alone_and_told() -> None:
    files = {
        "abc/tagging.xml": b"<T><TagSet><Tag><Key>owner</Key><Value>x</Value></Tag></TagSet></T>",
        "abc/bucket-encryption.xml": b"<S><Rule><A><SSEAlgorithm>aws:kms</SSEAlgorithm></A></Rule></S>",
        "abc/cors.xml": b"<C/>",
    }
    bucket = Bucket(API, BucketSettings(name="abc"))
    state = bucket_state("abc", files)
    assert bucket.desired().items() <= state.items()
    assert bucket.left_alone(state) == ["encryption: aws:kms", "tags: owner", "others: cors.xml"]


def test_what_somebody_else_sets_is_left_and_told() -> None:
    bucket = Bucket(API, BucketSettings(name="abc", elsewhere=["replication"]))
    state = bucket_state("abc", {"abc/replication.xml": b"<R><Bucket>arn:b</Bucket></R>"})
    assert "replication" not in bucket.desired()
    assert bucket.left_alone(state) == ["replication: arn:b"]


def test_a_bucket_that_was_made_public_is_closed() -> None:
    called: list[str] = []
    client = SimpleNamespace(delete_bucket_policy=called.append)
    before = bucket_state("abc", {"abc/policy.json": json.dumps({"Statement": [EVERYBODY]}).encode()})
    bucket_kinds._make_bucket(Bucket(API, BucketSettings(name="abc")), before, client)
    assert called == ["abc"]


# Accounts.


def exported(**more: Any) -> Accounts:
    policies = {name: {"Statement": normal(statements)} for name, statements in BUILT_IN.items()}
    defaults: dict[str, Any] = {"policies": policies, "users": {}, "groups": {}, "keys": {}}
    return Accounts(**({**defaults, "user_policies": {}, "group_policies": {}} | more))


ANA = User(API, UserSettings(name="ana", password=Secret("secret-of-ana")))
KEY = ServiceAccount(API, ANA.settings, KeySettings(access_key="ana-key", secret_key=Secret("secret-of-key")))
WELL = {"parent": "ana", "secretKey": "secret-of-key", "status": "on", "expiration": "1970-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("more", "differs"),
    [
        ({}, []),
        ({"status": "off"}, ["status"]),
        ({"expiration": "2027-01-01T00:00:00Z"}, ["expires"]),
        ({"sessionPolicy": {"Statement": normal(BUILT_IN["readonly"])}}, ["rights"]),
        ({"secretKey": "another-secret"}, ["secret_key"]),
        ({"name": "batch", "description": "of the night"}, []),
        ({"expiration": "0001-01-01T00:00:00Z"}, []),
        ({"expiration": None}, []),
    ],
)
def test_a_key_is_on_has_no_end_and_the_rights_of_its_user(more: dict[str, Any], differs: list[str]) -> None:
    state = KEY._state(None, exported(keys={"ana-key": WELL | more}))
    assert [key for key, value in KEY.desired().items() if state[key] != value] == differs


def ends(expires: str | None) -> ServiceAccount:
    settings = KeySettings(access_key="ana-key", secret_key=Secret("secret-of-key"), expires=expires)
    return ServiceAccount(API, ANA.settings, settings)


@pytest.mark.parametrize("expires", ["2126-12-31", "2126-12-31T00:00Z", "2126-12-31T00:00:00Z"])
def test_the_end_of_a_key_is_compared_as_a_moment_and_sent_when_it_is_another(expires: str) -> None:
    key, sent = ends(expires), []
    state = key._state(None, exported(keys={"ana-key": WELL | {"expiration": "2126-12-31T00:00:00Z"}}))
    assert key.desired().items() <= state.items()
    with pytest.MonkeyPatch.context() as patch:
        client = SimpleNamespace(update_service_account=lambda **more: sent.append(more["expiration"]))
        patch.setattr(account_kinds, "administrator", lambda client: client)
        account_kinds._change_account(key, state, client)
        account_kinds._change_account(key, {**state, "expires": "never"}, client)
        account_kinds._change_account(KEY, state, client)
    assert sent == [None, "2126-12-31T00:00:00Z", account_kinds.NEVER]


def test_a_key_whose_end_is_over_is_not_made_again_and_goes() -> None:
    key, removed = ends("2020-01-01"), list[str]()
    assert key.desired() is None and key.diff(WELL) == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(account_kinds, "administrator", lambda _: SimpleNamespace(delete_service_account=removed.append))
        account_kinds._remove_account(key, None)
    assert removed == ["ana-key"]


def test_a_key_that_ends_soon_or_has_ended_is_told_by_status() -> None:
    keys = [
        KeySettings(access_key=f"k-{day}", secret_key=Secret("x"), expires=f"2026-12-{day}") for day in (10, 20, 31)
    ]
    user = UserSettings(name="ana", password=Secret("x"), service_accounts=[*keys, KEY.settings])
    settings: Any = SimpleNamespace(users=[user])
    assert list(key_ends.ending(settings, datetime(2026, 12, 15, tzinfo=UTC))) == [
        "the key k-10 ended on 2026-12-10: inv accounts.rotate k-10",
        "the key k-20 ends on 2026-12-20: inv accounts.rotate k-20",
    ]


def test_a_change_of_a_key_sends_its_policy_along() -> None:
    sent: dict[str, Any] = {}
    narrow = KeySettings(access_key="k-of-ana", secret_key=Secret("secret-of-key"), statements=[*BUILT_IN["readonly"]])
    key = ServiceAccount(API, ANA.settings, narrow)
    before = dict(key.desired()) | {"status": "off"}
    with pytest.MonkeyPatch.context() as patch:
        client = SimpleNamespace(update_service_account=lambda **more: sent.update(more))
        patch.setattr(account_kinds, "administrator", lambda client: client)
        account_kinds._change_account(key, before, client)
    assert sent["policy"]["Statement"] == normal(BUILT_IN["readonly"])
    assert (sent["access_key"], sent["secret_key"], sent["status"]) == ("k-of-ana", None, "on")


def test_a_user_in_a_group_that_the_inventory_does_not_name_differs() -> None:
    accounts = exported(
        users={"ana": {"secretKey": "secret-of-ana", "status": "enabled"}}, groups={"ops": {"members": ["ana", "eve"]}}
    )
    assert ANA._state(None, accounts) == ANA.desired() | {"groups": "ops"}


def test_administrators_whom_the_inventory_does_not_name_are_told_and_left() -> None:
    iam = Iam(API, users=frozenset({"ana"}), keys=frozenset({"ana-key"}))
    answer = exported(
        users={"ana": {}, "eve": {}, "bob": {}},
        groups={"ops": {"members": []}},
        keys={"root-key": {"parent": "root"}, "eve-key": {"parent": "eve"}, "bob-key": {"parent": "bob"}},
        user_policies={"ana": ("consoleAdmin",), "eve": ("consoleAdmin",), "bob": ("readonly",)},
        group_policies={"ops": ("consoleAdmin",)},
    )
    state = iam._state(None, answer)
    assert iam.desired().items() <= state.items()
    assert [line.split(",")[0] for line in iam.left_alone(state)] == [
        "administrator group ops",
        "administrator key eve-key of eve",
        "administrator key root-key of root",
        "administrator user eve",
    ]


@pytest.mark.parametrize(
    ("policy", "administers"),
    [
        ("readonly", False),
        (["readonly"], False),
        ("consoleAdmin", True),
        ("readonly, consoleAdmin", True),
        (["consoleAdmin"], True),
    ],
)
def test_a_key_of_somebody_with_single_sign_on_is_theirs_with_the_policies_of_their_claim(
    policy: object, administers: bool
) -> None:
    claims = {"iss": "https://sso.example.org/realms/a", "preferred_username": "bob", "aud": ["a"], "policy": policy}
    answer = exported(keys={"bobs-key": {"parent": "81-Q2fmSA6", "claims": claims}})
    alone = Iam(API).left_alone(Iam(API)._state(None, answer))
    expected = ["administrator key bobs-key of bob, not of the inventory"]
    assert alone == (expected if administers else [])


@pytest.mark.parametrize(("dates", "differs"), [({"UpdateDate": "2026-01-01T00:00:00Z"}, True), ({}, False)])
def test_an_own_policy_of_minio_that_was_written_differs_and_that_of_another_version_does_not(
    dates: dict[str, str], differs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_kinds, "admin", lambda *_: json.dumps(dates).encode())
    policies = dict(exported().policies) | {"readonly": {"Statement": normal(BUILT_IN["readwrite"])}}
    state = Iam(API)._state(None, exported(policies=policies))
    assert (state["readonly"] != Iam(API).desired()["readonly"]) is differs


# One policy that MinIO cannot read.

FAULT = '<?xml version="1.0"?><Error><Code>InternalError</Code><Message>empty actions not allowed</Message></Error>'


def test_the_words_of_minio_are_understood_in_xml_as_well() -> None:
    assert code_of(MinioAdminException("500", FAULT)) == "InternalError"


class Broken:
    """A server whose export fails, as one policy cannot be read."""

    _base_url = SimpleNamespace(host="127.0.0.1:9000")
    _http = None

    def user_list(self) -> str:
        return json.dumps({"ana": {"policyName": "readonly,broken", "status": "enabled", "memberOf": ["ops"]}})

    def group_info(self, name: str) -> str:
        return json.dumps({"name": name, "members": ["ana"], "policy": "consoleAdmin", "status": "enabled"})

    def get_service_account(self, name: str) -> str:
        if name != "ana-key":
            raise MinioAdminException("404", json.dumps({"Code": "XMinioInvalidIAMCredentials"}))
        return json.dumps({"parentUser": "ana", "accountStatus": "on", "impliedPolicy": True, "policy": "{}"})


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Any:
    def admin(client: Any, method: str, path: str, query: Any = None) -> bytes:
        if path == "groups":
            return b'["ops"]'
        name = (query or {}).get("name", "broken")
        if name == "broken":
            raise MinioAdminException("500", FAULT)
        if name not in BUILT_IN:
            raise MinioAdminException("404", json.dumps({"Code": "XMinioAdminNoSuchPolicy"}))
        return json.dumps({"Version": "2012-10-17", "Statement": normal(BUILT_IN[name])}).encode()

    monkeypatch.setattr(accounts, "admin", admin)
    monkeypatch.setattr(accounts, "administrator", lambda client: client)
    monkeypatch.setattr(accounts, "_ANSWERS", {})
    return Broken()


def asked(resource: Any, client: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(Api, "read", lambda api, link, read: read(client))
    (state,) = resource.ask("link", [resource])
    return state


def test_where_all_cannot_be_exported_each_is_read_by_itself(broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minio.Minio.list_buckets", lambda client: [])
    assert asked(ANA, broken, monkeypatch) == ANA.desired() | {"policies": "broken,readonly", "groups": "ops"}
    assert KEY.desired().items() <= asked(KEY, broken, monkeypatch).items()
    ours = Policy(API, PolicySettings(name="broken", statements=[*BUILT_IN["readonly"]]))
    assert "cannot read" in asked(ours, broken, monkeypatch)["statements"]
    assert asked(Gone(API, "policy", "broken", frozenset({"ana"})), broken, monkeypatch)["held by"] == ""


def test_a_secret_that_is_not_exported_is_tried(broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(client: Any) -> Any:
        raise S3Error(SimpleNamespace(), "SignatureDoesNotMatch", "", "", "", "")  # type: ignore[arg-type]

    monkeypatch.setattr("minio.Minio.list_buckets", refused)
    state = asked(ANA, broken, monkeypatch)
    assert state["password"] != ANA.desired()["password"]
    assert ANA.diff(state)[0] == "password: changed, hidden"


def test_the_culprit_is_named_with_what_to_do(broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    state = asked(Iam(API), broken, monkeypatch)
    assert isinstance(state, Unknown)
    assert "the policy broken" in state.why
    assert state.hint.startswith("mc admin policy remove ALIAS broken")
    assert asked(Iam(API, frozenset({"broken"})), broken, monkeypatch)["readonly"] == Iam(API).desired()["readonly"]


def test_a_culprit_that_nobody_names_is_told_by_its_words() -> None:
    fault = (
        'empty actions, error found in #10 byte of ...|x/*"]}]},"|..., bigger context ...|"NotAction":["s3:&#34;]|...'
    )
    state = Iam(API)._state(None, exported(fault=fault))
    assert isinstance(state, Unknown)
    assert state.why.endswith('in it stands "NotAction":["s3:"]')
    assert "ls /mnt/*/*/.minio.sys/config/iam/policies" in state.hint


@pytest.mark.parametrize("missing", EXPORTED)
def test_an_export_that_broke_off_is_not_taken_for_the_whole(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in EXPORTED:
            if name != missing:
                archive.writestr(f"iam-assets/{name}.json", "{}")
    monkeypatch.setattr(accounts, "admin", lambda *_: packed.getvalue())
    with pytest.raises(zipfile.BadZipFile):
        accounts._export(None)


class _Link:
    pass


def test_kinds_that_ask_at_the_same_moment_share_an_answer_until_something_is_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: list[Accounts] = []
    link, api = _Link(), SimpleNamespace(any=lambda link, act: act(None))
    monkeypatch.setattr(accounts, "_export", lambda client: answers.append(exported()) or answers[-1])
    assert accounts.accounts(None, link) is accounts.accounts(None, link)
    minio_calls.do(api, link, lambda client: None)
    accounts.accounts(None, link)
    assert len(answers) == 2


# What is removed.


def test_who_removes_a_user_is_told_which_keys_go_with_it():
    gone = Gone(API, "minio-user", "bob")
    keys = {"bob-key": {"parent": "bob"}, "bob-night": {"parent": "bob"}, "eve-key": {"parent": "eve"}}
    before = gone._state(None, exported(users={"bob": {}}, keys=keys), set())
    assert gone.note(before) == "its keys go with it, also those made by hand: bob-key, bob-night"
    assert gone.note(gone._state(None, exported(users={"bob": {}}), set())) == ""


def test_a_policy_that_others_have_is_not_removed_and_one_of_ours_is() -> None:
    gone = Gone(API, "policy", "old", frozenset({"ana"}))
    policies = dict(exported().policies) | {"old": {"Statement": []}}
    ours = exported(policies=policies, user_policies={"ana": ("old",), "bob": ("old",)})
    assert gone.refusal(gone._state(None, ours, {"ana", "bob"})) is None
    refusal = gone.refusal(gone._state(None, ours, {"ana"}))
    assert refusal and refusal.why == "user bob has it, which the inventory does not name"
    assert refusal.hint.endswith("mc admin policy detach ALIAS old --user bob")


def test_minios_own_policies_are_never_removed(storage_host: Any) -> None:
    assert buckets.gone(storage_host(), "policy", "readonly") is None
    assert buckets.gone(storage_host(), "iam", "minio") is None
    assert isinstance(buckets.gone(storage_host(), "policy", "old"), Gone)
