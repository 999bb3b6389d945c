"""MinIO's accounts and buckets on a real server: every call of the roles; drift is found and repaired."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from converge.engine import gone
from converge.engine.resource import Call, Resource, Shell, Step, Unknown
from converge.errors import Trouble
from converge.inventory.hosts import load
from converge.inventory.secret import Secret
from converge.ssh.link import connect
from roles.minio import api as minio_api
from roles.minio.account_kinds import ServiceAccount, User
from roles.minio.accounts import forget
from roles.minio.admin import admin, administrator
from roles.minio.bucket_kinds import Bucket
from roles.minio.buckets import buckets as role
from roles.minio.gone import Gone
from roles.minio.kms import Canary
from roles.minio.policy_kinds import Iam, Policy, put_policy
from roles.minio.policy_language import document
from roles.minio.proof import prove_data_path
from roles.minio.role import api_of, folders
from roles.minio.settings import Bucket as BucketSettings
from roles.minio.settings import Lifecycle as LifecycleSettings
from roles.minio.settings import Policy as PolicySettings
from roles.minio.settings import ServiceAccount as KeySettings
from roles.minio.settings import Tier as TierSettings
from roles.minio.settings import User as UserSettings
from roles.minio.tier_gone import TierGone
from roles.minio.tiers import RECORDS, Tier
from roles.minio.to_erase import Asked, Selection, erase_all, look
from roles.settings.model import Settings
from tests.lab.conftest import Clone
from tests.minio_calls import record
from tests.policy_spellings import SPELLINGS

WALKED = {
    *("GET export-iam", "GET export-bucket-metadata", "GET groups", "GET info-canned-policy"),
    *("GET tier", "GET tier-stats", "PUT tier", "POST tier", "DELETE tier"),
    *("PUT add-canned-policy", "PUT update-group-members", "PUT set-bucket-quota"),
    *("user_add", "user_enable", "user_list", "user_remove", "group_info", "attach_policy", "detach_policy"),
    *("add_service_account", "update_service_account", "get_service_account", "delete_service_account"),
    *("policy_remove", "list_buckets", "bucket_exists", "make_bucket", "remove_bucket", "list_objects"),
    *("set_bucket_versioning", "set_object_lock_config", "delete_object_lock_config"),
    *("set_bucket_encryption", "delete_bucket_encryption"),
    *("set_bucket_lifecycle", "delete_bucket_lifecycle", "set_bucket_policy", "delete_bucket_policy"),
    *("delete_bucket_replication", "delete_bucket_notification"),
    *("put_object", "get_object", "remove_object", "remove_objects", "stat_object"),
    "get_object_lock_config",
}
"""The calls that the tests of this file must make; the last test checks that they did."""
MODELS = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::walk-models/*"}
NEVER_READ = {"Effect": "Allow", "NotAction": "s3:DeleteObject", "Resource": "arn:aws:s3:::walk-models/*"}


class Server:
    """The cluster of a lab host, for tests of single resources."""

    def __init__(self, clone: Clone) -> None:
        (self.host,) = load(clone.root, "lab", Settings)
        self.link, self.api = connect(self.host.target), api_of(self.host)

    def reads(self, resource: Resource) -> Any:
        (reading,) = resource.ask(self.link, [resource])
        return reading

    def differs(self, resource: Resource) -> list[str]:
        """The keys that differ from the desired state; all if the resource is absent."""
        reading, want = self.reads(resource), resource.desired() or {}
        assert not isinstance(reading, Unknown), reading
        return [key for key, value in want.items() if (reading or {}).get(key) != value]

    def settle(self, *resources: Resource) -> None:
        """Fix each resource, and check that nothing differs afterwards."""
        for resource in resources:
            for step in resource.fix(self.reads(resource)):
                self.run(step)
            assert self.differs(resource) == [], resource.address

    def run(self, step: Step) -> None:
        if isinstance(step, Call):
            return step.run(self.link)
        assert isinstance(step, Shell) and self.link.send(step.script, iter(()))[0] == 0
        return None

    def does(self, act: Any) -> Any:
        """An action of a person."""
        minio_api.load_minio_py()
        answer = self.api.any(self.link, act)
        forget(self.link)
        return answer

    def is_gone(self, *resources: Gone) -> bool:
        return [resource.ask(self.link, resources) for resource in resources[:1]] == [[None] * len(resources)]

    def user(self, name: str, **more: Any) -> User:
        return User(self.api, UserSettings(name=name, password=Secret("a-password-of-it"), **more))

    def key(self, name: str, user: User, secret: str = "a-secret-of-it", **more: Any) -> ServiceAccount:
        return ServiceAccount(self.api, user.settings, KeySettings(access_key=name, secret_key=Secret(secret), **more))

    def policy(self, name: str, *statements: dict[str, Any]) -> Policy:
        return Policy(self.api, PolicySettings(name=name, statements=list(statements)))

    def bucket(self, name: str, **more: Any) -> Bucket:
        return Bucket(self.api, BucketSettings(name=name, **more))

    def clear(self) -> None:
        """Removes everything of these tests."""
        for name in ("walk-user", "walk-eve"):
            self._gone("minio-user", name)
        for name in ("walk-policy", "walk-broken", "walk-lost"):
            self._gone("policy", name)
        for name in ("walk-models", "walk-other", "walk-locked", "walk-sealed", "walk-cold"):
            self._gone("bucket", name)

    def _gone(self, kind: str, name: str) -> None:
        for step in Gone(self.api, kind, name).fix({}):
            self.run(step)


@pytest.fixture(scope="module")
def calls() -> Iterator[set[str]]:
    with pytest.MonkeyPatch.context() as patch:
        yield record(patch)


@pytest.fixture(scope="module")
def server(clone: Clone, calls: set[str]) -> Iterator[Server]:
    clone.inv("deploy", "--yes", code=None)  # an earlier test may have left a bucket that is refused
    server = Server(clone)
    server.clear()
    yield server
    server.clear()
    server.link.close()


def raw(statements: Sequence[dict[str, Any]]) -> bytes:
    return json.dumps({"Version": "2012-10-17", "Statement": statements}).encode()


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_policy_comes_to_rest_however_it_is_spelt(server: Server, name: str) -> None:
    server.settle(server.policy("walk-policy", *SPELLINGS[name]))


def test_a_key_gets_a_new_secret_and_keeps_the_rights_that_it_has(server: Server) -> None:
    user = server.user("walk-user", policies=["readonly"])
    server.settle(user, server.key("walk-key", user, statements=[MODELS]))
    server.settle(server.key("walk-key", user, secret="another-secret", statements=[MODELS]))
    server.settle(server.key("walk-key", user, secret="another-secret"))


@pytest.mark.parametrize(
    ("harm", "key"),
    [
        ({"status": "off"}, "status"),
        ({"policy": {"Version": "2012-10-17", "Statement": [MODELS]}}, "rights"),
        ({"expiration": f"{datetime.now(UTC) + timedelta(days=30):%Y-%m-%dT%H:%M:%SZ}"}, "expires"),
        ({"secret_key": "of-somebody-else"}, "secret_key"),
    ],
)
def test_a_key_that_was_changed_by_hand_is_seen_and_mended(server: Server, harm: dict[str, Any], key: str) -> None:
    user = server.user("walk-user", policies=["readonly"])
    wanted = server.key("walk-key", user)
    server.settle(user, wanted)
    server.does(lambda client: administrator(client).update_service_account(access_key="walk-key", **harm))
    assert server.differs(wanted) == [key]
    server.settle(wanted)


def test_a_user_that_was_changed_by_hand_is_seen_and_mended(server: Server) -> None:
    user = server.user("walk-user", policies=["readonly"])
    server.settle(user)

    def harm(client: Any) -> None:
        admins = administrator(client)
        admins.user_add("walk-user", "of-somebody-else")
        admins.attach_policy(["consoleAdmin"], user="walk-user")
        _members(client, "walk-user")
        admins.attach_policy(["consoleAdmin"], group="walk-group")
        admins.user_disable("walk-user")  # MinIO attaches nothing to a disabled user

    server.does(harm)
    assert server.differs(user) == ["password", "policies", "groups", "status"]
    assert "user walk-user" in server.reads(Iam(server.api))["admins"]
    server.settle(user)
    assert server.reads(Iam(server.api))["admins"] == "group walk-group"
    server.does(lambda client: administrator(client).detach_policy(["consoleAdmin"], group="walk-group"))


def _members(client: Any, *users: str, remove: bool = False) -> None:
    """Puts users into a group; without any it removes the group."""
    body = {"group": "walk-group", "members": users, "groupStatus": "enabled", "isRemove": remove}
    admin(client, "PUT", "update-group-members", body=json.dumps(body).encode())


def test_a_policy_of_minio_itself_that_was_overwritten_is_seen_and_mended(server: Server) -> None:
    server.does(lambda client: put_policy(client, "readonly", [{"Effect": "Allow", "Action": "admin:*"}]))
    assert server.differs(Iam(server.api)) == ["readonly"]
    server.settle(Iam(server.api))


def test_a_bucket_that_others_may_read_is_seen_and_closed(server: Server) -> None:
    bucket = server.bucket("walk-models")
    server.settle(bucket)
    everybody = [{**MODELS, "Principal": {"AWS": ["*"]}}]
    server.does(lambda client: client.set_bucket_policy("walk-models", raw(everybody).decode()))
    assert server.differs(bucket) == ["anonymous"]
    server.settle(bucket)
    for anonymous in ("download", "upload", "public", "none"):
        server.settle(server.bucket("walk-models", anonymous=anonymous))
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::walk-models/*"}
    server.settle(server.bucket("walk-models", policy=[deny]), bucket)


def test_the_settings_of_a_bucket_are_made_and_taken_back(server: Server) -> None:
    lock = {"versioning": True, "object_lock": True}
    rules = [{"id": "old", "prefix": "a/", "expire_days": 9, "expire_noncurrent_days": 3}]
    server.settle(server.bucket("walk-locked", **lock, retention={"mode": "governance", "days": 3}))
    server.settle(server.bucket("walk-locked", **lock))
    server.settle(server.bucket("walk-models", versioning=True, lifecycle=rules, quota="5GiB"))
    limit = (
        {"bucket": "walk-models"},
        json.dumps({"quota": 5 << 30, "size": 5 << 30, "rate": 1000, "quotatype": "hard"}),
    )
    server.does(lambda client: admin(client, "PUT", "set-bucket-quota", limit[0], limit[1].encode()))
    server.settle(server.bucket("walk-models"))


def test_data_that_is_sent_elsewhere_is_seen_and_stopped(server: Server) -> None:
    bucket, other = server.bucket("walk-models", versioning=True), server.bucket("walk-other", versioning=True)
    server.settle(bucket, other)
    server.does(lambda client: _replicate(server, client))
    assert server.differs(bucket) == ["replication"]
    assert server.differs(server.bucket("walk-models", versioning=True, elsewhere=["replication"])) == []
    server.settle(bucket)
    # The lab has no server for notifications: only their removal can be tested.
    for step in bucket.fix({**server.reads(bucket), "notifications": "arn:minio:sqs::1:webhook"}):
        assert isinstance(step, Call)
        step.run(server.link)


def _replicate(server: Server, client: Any) -> None:
    """Sets up replication to another bucket, like a person."""
    from minio.crypto import encrypt

    secret = server.api.password.reveal()
    target = {
        "sourcebucket": "walk-models",
        "endpoint": f"{server.api.nodes[1][0]}:9000",
        "credentials": {"accessKey": server.api.user.reveal(), "secretKey": secret},
        "targetbucket": "walk-other",
        "secure": False,
        "type": "replication",
    }
    body = encrypt(json.dumps(target).encode(), secret)
    arn = json.loads(admin(client, "PUT", "set-remote-target", {"bucket": "walk-models"}, body))
    off = "<Status>Disabled</Status>"
    rule = (
        f"<ID>all</ID><Status>Enabled</Status><Priority>1</Priority><Filter><Prefix></Prefix></Filter>"
        f"<DeleteMarkerReplication>{off}</DeleteMarkerReplication><DeleteReplication>{off}</DeleteReplication>"
        f"<Destination><Bucket>{arn}</Bucket></Destination>"
    )
    config = f"<ReplicationConfiguration><Role></Role><Rule>{rule}</Rule></ReplicationConfiguration>"
    client._execute("PUT", "walk-models", body=config.encode(), query_params={"replication": ""})


def test_versioning_that_leaves_out_a_prefix_is_seen_and_mended(server: Server) -> None:
    bucket = server.bucket("walk-models", versioning=True)
    server.settle(bucket)
    from minio.versioningconfig import ENABLED, VersioningConfig

    config = VersioningConfig(ENABLED, excluded_prefixes=["tmp/*"])
    server.does(lambda client: client.set_bucket_versioning("walk-models", config))
    assert server.differs(bucket) == ["versioning"]
    server.settle(bucket)


def test_a_bucket_that_encrypts_and_the_canary_of_the_key(server: Server) -> None:
    bucket = server.bucket("walk-sealed", encryption=True)
    server.settle(bucket, Canary(server.api))
    server.does(lambda client: client.delete_bucket_encryption("walk-sealed"))
    assert server.differs(bucket) == ["encryption"]
    server.settle(bucket)
    server.does(lambda client: client.put_object("walk-sealed", "one", io.BytesIO(b"x"), 1))
    answer = server.does(lambda client: client.stat_object("walk-sealed", "one"))
    assert answer.metadata["x-amz-server-side-encryption"] == "AES256"
    server.settle(server.bucket("walk-sealed", encryption=False))
    server.does(lambda client: client.remove_object("walk-sealed", "one"))


def test_a_policy_that_minio_cannot_read_is_named_and_hides_nothing(server: Server) -> None:
    """Such a policy makes MinIO answer each list of policies, and the export of all accounts, with an error."""
    eve = server.user("walk-eve")
    server.settle(eve)
    user, broken = server.user("walk-user", policies=["readonly"]), server.policy("walk-broken", MODELS)
    key = server.key("walk-key", user)
    server.does(lambda client: _members(client, "walk-eve"))
    server.settle(user, key, broken)
    server.does(lambda client: admin(client, "PUT", "add-canned-policy", {"name": "walk-broken"}, raw([NEVER_READ])))
    try:
        assert server.differs(user) == server.differs(key) == []
        assert server.differs(broken) == ["statements"]
        assert server.differs(server.user("walk-user")) == ["policies"]
        other = server.key("walk-key", user, secret="another-secret")
        assert server.differs(other) == ["secret_key"]
        assert "cannot read one of its policies" in server.reads(Iam(server.api)).why
        server.does(lambda client: administrator(client).attach_policy(["walk-broken"], user="walk-user"))
        assert "cannot read the policy walk-broken" in server.reads(Iam(server.api)).why
        server.settle(user)
        server.settle(broken)
    finally:
        server._gone("policy", "walk-broken")
        server.does(lambda client: _members(client, "walk-eve", remove=True))
        server.does(lambda client: _members(client, remove=True))
    assert server.differs(Iam(server.api)) == []


def test_what_is_named_no_more_is_removed_by_dependency_and_what_others_have_stays(server: Server) -> None:
    user = server.user("walk-user", policies=["walk-policy"])
    server.settle(
        server.policy("walk-policy", MODELS), user, server.key("walk-key", user), server.bucket("walk-models")
    )
    made = ["policy:walk-policy", "minio-user:walk-user", "service-account:walk-key", "bucket:walk-models"]
    memory = dict.fromkeys(made, "buckets 0")
    wants = [entry.resource for entry in gone.no_longer_wanted(server.host, memory, set(), {"buckets": role})]
    server.does(lambda client: administrator(client).user_add("walk-eve", "a-password-of-it"))
    server.does(lambda client: administrator(client).attach_policy(["walk-policy"], user="walk-eve"))
    readings = dict(zip((want.address for want in wants), wants[0].ask(server.link, wants), strict=True))
    refusal = next(want for want in wants if want.was == "policy").refusal(readings["policy:walk-policy"])
    assert refusal and "user walk-eve has it" in refusal.why and "--user walk-eve" in refusal.hint
    server.does(lambda client: administrator(client).detach_policy(["walk-policy"], user="walk-eve"))
    for want in wants:
        for step in want.fix({}):
            server.run(step)
    assert server.is_gone(*wants)
    server.clear()  # a second removal is no error


def test_a_tier_is_made_given_new_keys_used_by_rules_and_removed_when_nothing_needs_it(server: Server) -> None:
    """The last node is the tier of the first: MinIO locks itself while it tests a tier. test_mlsec.py tests objects in a tier."""
    (node, port), where = server.api.nodes[-1], {"kind": "minio", "bucket": "walk-cold", "prefix": "walk"}
    given = {"name": "WALK", **where, "endpoint": f"http://{node}:{port}", "access_key": server.api.user}
    tier = Tier(server.api, TierSettings(**given, secret_key=server.api.password))
    gone = TierGone(server.api, "WALK", frozenset())
    assert server.reads(tier) is None
    server.settle(server.bucket("walk-cold"), tier)
    rule = LifecycleSettings(id="cool", tier="WALK", transition_days=0, transition_noncurrent_days=5)
    server.settle(server.bucket("walk-models", versioning=True, lifecycle=[rule]))
    refusal = gone.refusal(server.reads(gone))
    assert refusal and "rules of walk-models name it" in refusal.why

    assert server.link.send(f"echo other >{RECORDS}/WALK", iter(()))[0] == 0
    assert server.differs(tier) == ["secret_key"]
    server.settle(tier)
    wrong = Tier(server.api, TierSettings(**given, secret_key=Secret("not-the-password")))
    with pytest.raises(Trouble, match="MinIO refused"):
        server.settle(wrong)
    elsewhere = Tier(server.api, TierSettings(**{**given, "prefix": "other"}, secret_key=server.api.password))
    assert server.differs(elsewhere) == ["prefix"] and elsewhere.refusal(server.reads(elsewhere))

    server.settle(server.bucket("walk-models", versioning=True))
    for step in gone.fix({}):
        server.run(step)
    assert server.reads(gone) is None


def test_what_is_erased_is_counted_and_what_is_locked_stays(server: Server) -> None:
    bucket, asked = server.bucket("walk-locked", versioning=True, object_lock=True), Asked("walk-locked", "a")
    server.settle(bucket)

    def erase(client: Any) -> tuple[Selection, Selection, Selection, str]:
        for name in ("a/1", "a/1", "a/2", "also"):
            client.put_object("walk-locked", name, io.BytesIO(b"x"), 1, legal_hold=name == "a/2")
        client.remove_object("walk-locked", "a/1")
        return look(client, asked), *erase_all(client, asked)

    before, erased, remaining, refusal = server.does(erase)
    assert (before.versions, before.delete_markers, before.others) == (2, 1, ["also"])
    assert (erased.number, remaining.number, refusal) == (3, 0, "")
    assert [line.split()[0] for line in remaining.locked] == ["a/2"] and "legal hold" in remaining.locked[0]

    def release(client: Any) -> tuple[Selection, Selection, str]:
        client.disable_object_legal_hold("walk-locked", "a/2")
        return erase_all(client, Asked("walk-locked", "a", begins=True))

    erased, remaining, _ = server.does(release)
    assert (erased.number, remaining.number, remaining.locked) == (2, 0, [])


def test_data_passes_through_all_nodes(server: Server) -> None:
    prove_data_path(server.api, server.link, folders(server.host))


def test_every_call_of_the_roles_was_made(server: Server, calls: set[str]) -> None:
    assert document([MODELS])
    assert WALKED - calls == set()
