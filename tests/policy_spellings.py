"""Statements in many spellings, each of which MinIO accepts and returns in another one."""

from __future__ import annotations

from typing import Any


def _object(**more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::x/*"], **more}


def _bucket(**conditions: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::x", "Condition": conditions}


def _if(**conditions: Any) -> dict[str, Any]:
    return _object(Condition=conditions)


SPELLINGS: dict[str, list[dict[str, Any]]] = {
    "one action": [_object(Action="s3:GetObject", Resource="arn:aws:s3:::x/*")],
    "lists not sorted": [
        _object(Action=["s3:PutObject", "s3:GetObject"], Resource=["arn:aws:s3:::z/*", "arn:aws:s3:::a/*"])
    ],
    "doubles": [_object(Action=["s3:GetObject"] * 2, Resource=["arn:aws:s3:::x/*"] * 2)],
    "an empty Sid": [_object(Sid="")],
    "a Sid": [_object(Sid="reads")],
    "a statement twice": [_object(), _object(Sid="again")],
    "statements not sorted": [_object(Effect="Deny"), _object()],
    "one value": [_bucket(StringLike={"s3:prefix": "home/*"})],
    "values not sorted": [_bucket(StringLike={"s3:prefix": ["z/*", "a/*", "z/*"]})],
    "false": [_if(Bool={"aws:SecureTransport": False})],
    "False in words": [_if(Bool={"aws:SecureTransport": "False"})],
    "a number": [_bucket(NumericLessThan={"s3:max-keys": 10})],
    "a number in words": [_bucket(NumericLessThan={"s3:max-keys": "10"})],
    "a list of a number": [_bucket(NumericLessThanEquals={"s3:max-keys": [10]})],
    "a number where a text is due": [_bucket(StringEquals={"s3:max-keys": 10})],
    "an address": [_if(IpAddress={"aws:SourceIp": "10.1.2.3"})],
    "networks with host bits": [_if(NotIpAddress={"aws:SourceIp": ["10.1.2.3/8", "10.0.0.0/8"]})],
    "an address of IPv6": [_if(IpAddress={"aws:SourceIp": "2001:DB8::1"})],
    "a moment elsewhere": [_if(DateLessThan={"aws:CurrentTime": "2099-01-01T00:00:00+02:00"})],
    "a day": [_if(DateGreaterThan={"aws:CurrentTime": "2020-01-01"})],
    "true": [_if(Null={"s3:x-amz-server-side-encryption": True})],
    "false in words": [_if(Null={"s3:x-amz-server-side-encryption": "false"})],
    "any value": [_bucket(**{"ForAnyValue:StringLike": {"s3:prefix": ["b", "a"]}})],
    "all values": [_if(**{"ForAllValues:StringEquals": {"aws:groups": "g"}})],
    "two keys": [_bucket(StringEquals={"s3:prefix": "", "s3:delimiter": ["/"]})],
    "two operators": [_bucket(StringLike={"s3:prefix": "a"}, Bool={"aws:SecureTransport": "true"})],
    "an empty condition": [_if()],
    "an empty operator": [_if(Bool={})],
    "one resource that is not meant": [{"Effect": "Deny", "Action": "s3:*", "NotResource": "arn:aws:s3:::x/*"}],
    "everything": [_object(Resource="*")],
    "everything and more": [_object(Resource=["*", "arn:aws:s3:::x"])],
    "every action": [_object(Action="*")],
    "a pattern": [_object(Action="s3:Get*")],
    "an administrator": [{"Effect": "Allow", "Action": "admin:*"}],
    "an administrator of everything": [{"Effect": "Allow", "Action": ["admin:ServerInfo"], "Resource": "*"}],
    "keys": [{"Effect": "Allow", "Action": "kms:*"}],
    "some keys": [{"Effect": "Allow", "Action": "kms:KeyStatus", "Resource": "arn:minio:kms:::key*"}],
    "a variable": [_object(Resource="arn:aws:s3:::x/${aws:username}/*")],
    "other letters": [_object(Resource="arn:aws:s3:::x/ü ä,/*")],
    "a tag": [_if(StringEquals={"s3:ExistingObjectTag/a": "b"})],
}
