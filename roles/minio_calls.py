"""Calls of MinIO's API as readings and steps of a resource, with MinIO's own words as the error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from converge.errors import REFUSED, Trouble
from converge.resource import Call, Reading, Step, Unknown
from roles.minio_api import Api, library

if TYPE_CHECKING:
    from converge.ssh import Link

ALREADY = ("BucketAlreadyOwnedByYou", "XMinioAdminPolicyChangeAlreadyApplied")
"""What MinIO says to who asks a second time."""


def doing(api: Api, act: Callable[[Any], Any]) -> list[Step]:
    """One API call as a step; what MinIO says becomes the error."""

    def run(link: Link) -> None:
        library()
        from minio.error import MinioAdminException, MinioException
        from urllib3.exceptions import HTTPError

        try:
            api.any(link, act)
        except (MinioException, MinioAdminException, ValueError) as error:
            raise Trouble("MinIO refused", why=said(error)) from None
        except HTTPError as error:
            raise Trouble("MinIO does not answer", why=said(error)) from None

    return [Call(run)]


def said(error: Exception) -> str:
    """The words of an error of minio-py, without the request, which may hold keys."""
    code, message = code_of(error), getattr(error, "message", "") or _body(error).get("Message", "")
    return f"{code}: {message}" if code else type(error).__name__ + ": " + str(error)[:200]


@contextmanager
def unless_done() -> Iterator[None]:
    """For a request that is sent again when its answer is lost: the plan saw that it was not done, so it was us."""
    from minio.error import MinioAdminException, S3Error

    try:
        yield
    except (S3Error, MinioAdminException) as error:
        if code_of(error) not in ALREADY:
            raise


def code_of(error: Exception) -> str:
    """MinIO's own word for what went wrong."""
    return str(getattr(error, "code", "") or _body(error).get("Code", ""))


def _body(error: Exception) -> dict[str, Any]:
    """What the admin API answered; minio-py hands it on as it came, which may be nothing or a page of HTML."""
    try:
        found = json.loads(getattr(error, "_body", None) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def reading(api: Api, link: Link, read: Callable[[Any], list[Reading]], many: int) -> list[Reading]:
    """What MinIO tells of `many` resources. That the host lets nobody through to MinIO is no matter of waiting."""
    library()
    from minio.error import MinioAdminException, MinioException
    from urllib3.exceptions import HTTPError

    try:
        return list(api.read(link, read))
    except Trouble as trouble:
        if trouble.code != REFUSED:
            raise
        return [Unknown(trouble.what, trouble.hint, lasting=True)] * many
    except (MinioException, MinioAdminException, HTTPError) as error:
        raise Trouble("MinIO does not tell", why=said(error)) from None
