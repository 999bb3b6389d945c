"""Policies: their meaning, refused ones, and that every call of MinIO's API is tested on a real server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from roles.minio.policy_faults import faults, outside
from roles.minio.policy_language import BUILT_IN, difference, document, meaning, normal
from tests.lab.test_minio_calls import WALKED
from tests.minio_calls import in_the_code
from tests.policy_spellings import SPELLINGS

GOOD = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::x/*"}


def test_every_call_that_the_roles_make_is_made_by_a_test_on_a_real_server() -> None:
    assert in_the_code() == WALKED, "walk it in tests/lab/test_minio_calls.py"


@pytest.mark.parametrize("name", SPELLINGS)
def test_the_one_form_of_a_policy_stays_as_it_is_and_is_refused_by_nothing(name: str) -> None:
    once = normal(SPELLINGS[name])
    assert normal(once) == once
    assert json.loads(document(SPELLINGS[name]))["Statement"] == once
    assert list(faults(SPELLINGS[name])) == []


@pytest.mark.parametrize(
    ("statement", "spelling"),
    [
        ({"Action": "s3:GetObject"}, {"Action": ["s3:GetObject", "s3:GetObject"]}),
        ({"Resource": "*"}, {"Resource": ["**"]}),
        ({"Sid": "a"}, {}),
        ({"Condition": {}}, {}),
        (
            {"Condition": {"Bool": {"aws:SecureTransport": False}}},
            {"Condition": {"Bool": {"aws:SecureTransport": ["FALSE"]}}},
        ),
        ({"Condition": {"Null": {"a:b": "True"}}}, {"Condition": {"Null": {"a:b": [True]}}}),
        (
            {"Condition": {"NumericEquals": {"s3:max-keys": "010"}}},
            {"Condition": {"NumericEquals": {"s3:max-keys": [10]}}},
        ),
        (
            {"Condition": {"IpAddress": {"aws:SourceIp": "10.1.2.3/8"}}},
            {"Condition": {"IpAddress": {"aws:SourceIp": ["10.0.0.0/8"]}}},
        ),
        (
            {"Condition": {"DateLessThan": {"aws:CurrentTime": "2030-01-01T01:00:00+01:00"}}},
            {"Condition": {"DateLessThan": {"aws:CurrentTime": "2030-01-01T00:00:00Z"}}},
        ),
        ({"Principal": "*"}, {"Principal": {"AWS": ["*"]}}),
    ],
)
def test_two_spellings_of_one_meaning_are_the_same(statement: dict[str, Any], spelling: dict[str, Any]) -> None:
    assert meaning([GOOD | statement]) == meaning([GOOD | spelling])


@pytest.mark.parametrize(
    "other",
    [
        {"Effect": "Deny"},
        {"Action": "s3:PutObject"},
        {"Resource": "arn:aws:s3:::y/*"},
        {"Condition": {"Bool": {"aws:SecureTransport": True}}},
        {"Principal": "*"},
    ],
)
def test_another_meaning_is_another_text(other: dict[str, Any]) -> None:
    assert meaning([GOOD]) != meaning([GOOD | other])


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"Effect": "Maybe"}, "Effect"),
    ({"Effect": None}, "Effect"),
    ({"effect": "Allow"}, "effect"),
    ({"Acton": "s3:GetObject"}, "Acton"),
    ({"Principal": "*"}, "Principal"),
    ({"NotAction": "s3:GetObject"}, "NotAction"),
    ({"Action": []}, "Action"),
    ({"Action": ""}, "Action"),
    ({"Action": 5}, "Action"),
    ({"Action": "GetObject"}, "Action"),
    ({"Action": "ec2:Start"}, "Action"),
    ({"Action": ["s3:GetObject", "admin:*"]}, "Action"),
    ({"Resource": []}, "Resource"),
    ({"Resource": "bucket/*"}, "Resource"),
    ({"Resource": "arn:aws:s3:::"}, "Resource"),
    ({"Resource": "arn:aws:s3:::/x"}, "Resource"),
    ({"NotResource": "*"}, "NotResource"),
    ({"Condition": "x"}, "Condition"),
    ({"Condition": {"StringIs": {"s3:prefix": "a"}}}, "Condition.StringIs"),
    ({"Condition": {"StringLike": {"s3:prefix": []}}}, "Condition.StringLike.s3:prefix"),
    ({"Condition": {"StringLike": {"s3:prefix": [{}]}}}, "Condition.StringLike.s3:prefix"),
    ({"Condition": {"NumericLessThan": {"s3:max-keys": "ten"}}}, "Condition.NumericLessThan.s3:max-keys"),
    ({"Condition": {"NumericLessThan": {"s3:max-keys": 1.5}}}, "Condition.NumericLessThan.s3:max-keys"),
    ({"Condition": {"Bool": {"aws:SecureTransport": "yes"}}}, "Condition.Bool.aws:SecureTransport"),
    ({"Condition": {"Bool": {"aws:SecureTransport": [True, False]}}}, "Condition.Bool.aws:SecureTransport"),
    ({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.300"}}}, "Condition.IpAddress.aws:SourceIp"),
    ({"Condition": {"DateLessThan": {"aws:CurrentTime": "tomorrow"}}}, "Condition.DateLessThan.aws:CurrentTime"),
]


@pytest.mark.parametrize(("change", "place"), FAULTS, ids=[str(fault[0]) for fault in FAULTS])
def test_what_minio_refuses_or_never_gives_back_is_told_at_its_place(change: dict[str, Any], place: str) -> None:
    assert place in [".".join(map(str, path[1:])) for path, _ in faults([GOOD | change])]


@pytest.mark.parametrize(
    ("resource", "faulty"),
    [("arn:aws:s3:::abc/*", 0), ("arn:aws:s3:::abc", 0), ("*", 0), ("arn:aws:s3:::a*", 0), ("arn:aws:s3:::abcd/*", 1)],
)
def test_the_policy_of_a_bucket_is_about_that_bucket(resource: str, faulty: int) -> None:
    assert len([*outside("abc", [GOOD | {"Resource": resource, "Principal": "*"}])]) == faulty


def test_a_statement_of_s3_needs_a_resource_and_one_of_the_server_does_not() -> None:
    assert list(faults([{"Effect": "Allow", "Action": "s3:GetObject"}]))
    assert not list(faults([{"Effect": "Allow", "Action": "admin:ServerInfo"}]))


def test_minios_own_policies_have_no_faults() -> None:
    assert not [fault for statements in BUILT_IN.values() for fault in faults(statements)]


def test_a_difference_is_told_in_lines_that_fit_a_screen() -> None:
    lines = difference(meaning(BUILT_IN["diagnostics"]), meaning(BUILT_IN["readonly"]))
    assert lines[-1] == "+ Allow s3:GetBucketLocation, s3:GetObject on arn:aws:s3:::*"
    assert max(map(len, lines)) <= 96
