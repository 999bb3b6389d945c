"""Options of a restore of buckets: a moment, a held lifecycle, absent settings and accounts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from converge.errors import Trouble
from roles.backup.objects import Objects, asked_for, moment, show_versions
from worker import plan
from worker.buckets import accounts, configured, expiry, planning, room
from worker.buckets.client import Answer
from worker.buckets.survey import Survey
from worker.buckets.wanted import as_at
from worker.contract import RESTORE_REFUSED, VERIFY_FAILED, Request
from worker.errors import Failed

HOST: Any = SimpleNamespace(name="prod")
NOW = datetime(2026, 11, 28, tzinfo=UTC)


def row(key: str, id: str, at: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "id": id, "at": f"{at}T00:00:00.000Z", **more}


def test_at_a_moment_what_came_later_is_not_there_and_what_was_newest_is_current() -> None:
    rows = [
        row("a", "3", "2026-11-03", latest=True, marker=True),
        row("a", "2", "2026-11-02"),
        row("a", "1", "2026-11-01"),
        row("b", "1", "2026-11-03", latest=True),
        row("c", "1", "2026-11-01", latest=True),
    ]
    versions = list(as_at(rows, "2026-11-02T12:00:00.000Z"))
    assert [(version["key"], version["id"], version["latest"]) for version in versions] == [
        ("a", "2", True),
        ("a", "1", False),
        ("c", "1", True),
    ]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-27 17:30", "2026-11-27T17:30:00.000Z"),
        ("2026-11-27T18:30+01:00", "2026-11-27T17:30:00.000Z"),
        ("2026-11-27T17:30:01.5Z", "2026-11-27T17:30:01.500Z"),
        ("2026-11-27", "2026-11-27T00:00:00.000Z"),
        ("", ""),
    ],
)
def test_a_moment_is_in_utc_as_a_listing_tells_it(text: str, at: str) -> None:
    assert moment(text, HOST) == at


@pytest.mark.parametrize(
    ("objects", "why"),
    [
        (Objects([], at="2026-11-27"), "--prefix, --key and --at belong to --bucket NAME"),
        (Objects([], prefix="a"), "--prefix, --key and --at belong to --bucket NAME"),
        (Objects(["b"], prefix="a", key="b"), "give one of them"),
        (Objects(["b"], at="yesterday"), "--at yesterday is no moment"),
        (Objects(["b"], at="0001-01-01T00:00+01:00"), "is no moment"),
        (Objects([], more=("iam", "users")), "--with users is not known: there are iam, bucket-config"),
    ],
)
def test_words_that_do_not_go_together_are_refused_before_anything_is_asked(objects: Objects, why: str) -> None:
    with pytest.raises(Trouble) as refused:
        objects.asked(HOST, Request(), service=False)
    assert why in refused.value.what and refused.value.untouched == "nothing was changed" and refused.value.hint


@pytest.mark.parametrize(("objects", "name"), [(Objects([], prefix="a"), "NAME"), (Objects(["b", "c"]), "b")])
def test_a_set_is_looked_into_a_bucket_at_a_time(objects: Objects, name: str) -> None:
    with pytest.raises(Trouble) as refused:
        objects.browsed(HOST, Request(ask="diff", set="latest"))
    assert refused.value.hint == f"inv backup.diff latest --bucket {name} --host prod"


def test_a_prefix_that_fits_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    show_versions({"id": "ID", "objects": [], "more": 0}, Objects(["b"], prefix="/runs\n"))
    assert capsys.readouterr().out == "  b has no key that begins with /runs\\n in ID\n"


def test_a_plan_says_how_it_understood_what_was_asked_for() -> None:
    request = Request()
    assert asked_for(request) == ""
    Objects(["b"], prefix="runs/", at="2026-11-27T18:30+01:00").asked(HOST, request, service=False)
    assert asked_for(request) == "keys that begin with runs/, as they were at 2026-11-27 17:30:00 UTC"


def test_objects_are_refused_beside_a_database_and_exact_goes_with_a_whole_set() -> None:
    with pytest.raises(Trouble):
        Objects(["b"]).asked(HOST, Request(databases=["geo"]), service=False)
    request = Request()
    Objects([], exact=True, more=("iam",)).asked(HOST, request, service=False)
    assert (request.exact, request.more, request.buckets) == (True, ["iam"], [])


def lifecycle(rule: str) -> str:
    head = "<Rule><Status>Enabled</Status><Filter><Prefix>a</Prefix></Filter>"
    return f'<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{head}{rule}</Rule></LifecycleConfiguration>'


@pytest.mark.parametrize(
    ("rule", "number"),
    [
        ("<NoncurrentVersionExpiration><NoncurrentDays>30</NoncurrentDays></NoncurrentVersionExpiration>", 1),
        ("<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>", 2),
        (
            "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays><NewerNoncurrentVersions>1</NewerNoncurrentVersions>"
            "</NoncurrentVersionExpiration>",
            1,
        ),
        ("<Expiration><Days>10</Days></Expiration>", 1),
        ("<Expiration><Days>300</Days></Expiration>", 0),
        ("<Expiration><Date>2026-01-01T00:00:00Z</Date></Expiration>", 1),
        ("<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>", 0),
    ],
)
def test_what_a_lifecycle_would_expire_again_is_counted(rule: str, number: int) -> None:
    rows = [row("a", "3", "2026-11-10"), row("a", "2", "2026-10-01"), row("a", "1", "2026-09-01")]
    rules = expiry.rules(lifecycle(rule))
    assert expiry.count(rules, rows, {"1", "2", "3"}, NOW) == number
    assert expiry.count(rules, rows, set(), NOW) == 0
    assert expiry.count(rules, [{**version, "key": "b"} for version in rows], {"1", "2", "3"}, NOW) == 0
    assert expiry.rules(lifecycle(rule).replace("Enabled", "Disabled")) == []


def test_settings_come_back_only_where_the_bucket_has_none() -> None:
    saved = {
        "versioning": "on",
        "policy": "theirs",
        "lifecycle": "<Rule/>",
        "notification": "<NotificationConfiguration></NotificationConfiguration>",
        "quota": '{"quota":5,"size":5}',
        "tagging": "t",
    }
    now = {"policy": "another", "quota": '{"quota":0,"size":0}', "notification": "<NotificationConfiguration/>"}
    assert list(configured.absent(saved, now)) == ["tagging", "quota", "lifecycle"]


SAVED = {
    "policies": {"p": {"v": 1}, "q": {"v": 2}},
    "users": {"ana": {"s": 1}, "bob": {"s": 2}},
    "groups": {"g": {"members": ["ana"]}},
    "svcaccts": {
        "k1": {"parent": "ana"},
        "k2": {"parent": "bob"},
        "k3": {"parent": "root-of-before"},
        "k4": {"parent": "root"},
    },
    "user_mappings": {"ana": {"policy": "p"}, "bob": {"policy": "q"}},
    "group_mappings": {"g": {"policy": "q"}},
}


def test_of_accounts_only_the_absent_come_back_and_who_is_there_gets_no_right_again() -> None:
    there: dict[str, Any] = {"policies": {"p": {"v": 9}}, "users": {"bob": {"s": 9}}, "svcaccts": {"k2": {}}}
    messages = list[str]()
    absent = accounts.absent(SAVED, there, "root", messages.append)
    assert accounts.names(absent) == {"policies": ["q"], "users": ["ana"], "groups": ["g"], "svcaccts": ["k1", "k4"]}
    assert (absent["user_mappings"], absent["group_mappings"]) == ({"ana": {"policy": "p"}}, {"g": {"policy": "q"}})
    assert messages == ["the key k3 stays away: its owner root-of-before is no user here"]
    assert accounts.names(accounts.absent(SAVED, SAVED, "root")) == {}


def test_accounts_that_do_not_read_back_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    client: Any = SimpleNamespace(ask=lambda *_, **more: None)
    here: dict[str, Any] = {**SAVED, "users": {"ana": {"s": 1, "updatedAt": "now"}, "bob": {"s": 7}}}
    monkeypatch.setattr(accounts, "exported", lambda minio: here)
    with pytest.raises(Failed) as failed:
        accounts.bring(client, SAVED)
    assert failed.value.why == "users: bob"


@pytest.mark.parametrize("named", [False, True])
def test_a_bucket_whose_index_is_damaged_is_named_and_costs_a_whole_set_only_itself(
    monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    def checked(wanted: Any) -> Survey:
        if wanted.to == "bad":
            raise Failed(VERIFY_FAILED, "buckets/bad.index.00000 is damaged")
        return Survey(bytes=1)

    monkeypatch.setattr(planning, "_checked", checked)
    monkeypatch.setattr(planning, "connect", lambda config: server(100))
    monkeypatch.setattr(planning.steady, "wait", lambda minio: None)
    manifest: Any = SimpleNamespace(id="set", buckets={"bad": {}, "good": {}}, created=NOW)
    job: Any = SimpleNamespace(request=Request(buckets=["bad", "good"] if named else []), config={"buckets": {}})
    if named:
        with pytest.raises(Failed, match="is damaged") as refused:
            planning.Surveyed(job, manifest, "own")
        assert refused.value.code == RESTORE_REFUSED
        return
    surveyed = planning.Surveyed(job, manifest, "own")
    assert ([wanted.to for wanted, _ in surveyed.surveys], list(surveyed.refused)) == (["good"], ["bad"])


def server(free: int, drives: int = 4, dead: int = 0) -> Any:
    rows = [{"state": "offline" if number < dead else "ok", "availspace": free} for number in range(drives)]
    info = {
        "servers": [{"drives": [drive]} for drive in rows],
        "backend": {"standardSCParity": 2, "totalDrivesPerSet": [4]},
    }
    return SimpleNamespace(ask=lambda *_, **more: Answer(200, {}, json.dumps(info).encode()))


def test_what_does_not_fit_into_minio_is_refused_with_what_is_free() -> None:
    surveys: Any = [(SimpleNamespace(to="a"), Survey(bytes=150)), (SimpleNamespace(to="b"), Survey(bytes=51))]
    room.must_fit(server(101), surveys)
    room.must_fit(server(101, dead=1), surveys)
    with pytest.raises(Failed, match="MinIO has no room for a, b") as refused:
        room.must_fit(server(100), surveys)
    assert refused.value.why == "201 B are to be put back, and 200 B are free"


@pytest.mark.parametrize(
    "name", ["Models", "a_b", "ab", "a..b", "a.-b", "10.0.0.1", "-ab", "x" * 64, "a b", "stowage-kept-a1b2c3", "sets"]
)
def test_a_bucket_is_restored_beside_only_under_a_name_that_it_may_have(name: str) -> None:
    manifest: Any = SimpleNamespace(buckets={"b": {}})
    config = {"buckets": {"without": ["sets"]}}
    with pytest.raises(Failed, match=name.replace(".", r"\.")) as refused:
        planning.chosen(SimpleNamespace(config=config, request=Request(buckets=["b"], new_name=name)), manifest)  # type: ignore[arg-type]
    assert refused.value.code == RESTORE_REFUSED
    fits: Any = SimpleNamespace(config=config, request=Request(buckets=["b"], new_name="models.of-1"))
    assert planning.chosen(fits, manifest) == ["b"]


def test_what_a_stack_has_no_server_for_stays_away_and_costs_nothing_else() -> None:
    components: Any = {"postgres": {}, "buckets": {}}
    databases = {name: {"template": False} for name in ("geo", "ml's")}
    manifest: Any = SimpleNamespace(id="set", buckets={"runs": {}}, databases=databases, components=components)

    def away(request: Request, has_postgres: bool, **config: Any) -> list[str]:
        job: Any = SimpleNamespace(request=request, has_postgres=has_postgres, config=config)
        return plan.without_server(job, manifest) + planning.without_minio(job, manifest)

    assert away(Request(), True, buckets={}) == []
    assert away(Request(), False, buckets={}) == ["the databases geo, ml's stay away: this stack has no PostgreSQL"]
    assert away(Request(), True) == ["the buckets runs stay away: this stack has no MinIO"]
    # A requested part is restored, or refused by the name of the option.
    assert away(Request(databases=["geo"]), False, buckets={}) == []
    assert away(Request(databases=["geo"]), True) == []
    job: Any = SimpleNamespace(request=Request(buckets=["runs"]), config={})
    with pytest.raises(Failed, match="this stack has no MinIO") as refused:
        planning.chosen(job, manifest)
    assert refused.value.code == RESTORE_REFUSED
