"""Calls of MinIO's API as readings and steps of a resource, with MinIO's own words as the error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from converge.engine.resource import Call, Reading, Step, Unknown
from converge.errors import REFUSED, Trouble
from roles.minio.accounts import forget
from roles.minio.api import Api, code_of, load_minio_py, message_of

if TYPE_CHECKING:
    from converge.ssh.link import Link

ALREADY = ("BucketAlreadyOwnedByYou", "XMinioAdminPolicyChangeAlreadyApplied")
"""MinIO's error codes that mean "it exists already"."""
REMOVED = ("NoSuchBucket", "XMinioAdminNoSuchUser", "XMinioAdminNoSuchPolicy", "XMinioInvalidIAMCredentials")
"""MinIO's error codes that mean "it is removed already"."""


def doing(api: Api, act: Callable[[Any], Any]) -> list[Step]:
    """One API call as a step."""
    return [Call(lambda link: do(api, link, act))]


def do(api: Api, link: Link, act: Callable[[Any], Any]) -> None:
    """One API call; MinIO's message becomes the error."""
    load_minio_py()
    from minio.error import MinioAdminException, MinioException
    from urllib3.exceptions import HTTPError

    try:
        api.any(link, act)
    except (MinioException, MinioAdminException, ValueError) as error:
        raise Trouble("MinIO refused", why=message_of(error)) from None
    except HTTPError as error:
        raise Trouble("MinIO does not answer", why=message_of(error)) from None
    finally:
        forget(link)


@contextmanager
def unless_done(codes: Sequence[str] = ALREADY) -> Iterator[None]:
    """For a request that is sent again after a lost answer: the plan saw that it was not done, so this run has done it."""
    from minio.error import MinioAdminException, S3Error

    try:
        yield
    except (S3Error, MinioAdminException) as error:
        if code_of(error) not in codes:
            raise


def reading(api: Api, link: Link, read: Callable[[Any], list[Reading]], many: int) -> list[Reading]:
    """The readings of `many` resources. If the host forbids forwarding to MinIO, waiting does not help."""
    try:
        return list(api.read(link, read))
    except Trouble as trouble:
        if trouble.code != REFUSED:
            raise
        return [Unknown(trouble.what, trouble.hint, lasting=True)] * many
