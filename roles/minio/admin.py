"""Calls of the admin API: those of minio-py, and those that it lacks."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from roles.minio.api import REGION


def admin(
    client: Any, method: str, path: str, query: dict[str, str] | None = None, body: bytes = b"", of: str = ""
) -> bytes:
    """One signed call of the admin API that minio-py has no method for, or of one thing beneath it; never logged."""
    from minio.error import MinioAdminException

    answer = _sent(client, method, f"{path}/{of}" if of else path, query, body)
    if answer.status >= 300:
        client._http.clear()  # MinIO closes a connection after an archive that broke off, sometimes a moment later
        raise MinioAdminException(str(answer.status), answer.data.decode(errors="replace"))
    return bytes(answer.data)


def stream(client: Any, path: str, query: dict[str, str]) -> Iterator[bytes]:
    """The lines of an endless answer; MinIO sends blanks while it waits, so silence is a fault."""
    from minio.error import MinioAdminException

    answer = _sent(client, "GET", path, query, preload_content=False)
    if answer.status >= 300:
        raise MinioAdminException(str(answer.status), answer.data.decode(errors="replace"))
    rest = b""
    for chunk in answer.stream(None):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.strip() for line in lines if line.strip())


def _sent(client: Any, method: str, path: str, query: dict[str, str] | None, body: bytes = b"", **options: bool) -> Any:
    import hashlib
    from datetime import UTC, datetime
    from urllib.parse import urlencode, urlsplit

    from minio.credentials.credentials import Credentials
    from minio.signer import sign_v4_s3

    base, now = client._base_url, datetime.now(UTC)
    url = urlsplit(f"http://{base.host}/minio/admin/v3/{path}" + (f"?{urlencode(query)}" if query else ""))
    digest = hashlib.sha256(body).hexdigest()
    headers = {"Host": base.host, "x-amz-content-sha256": digest, "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ")}
    root = client._provider.retrieve()
    signed = sign_v4_s3(
        method=method,
        url=url,
        region=REGION,
        headers=headers,
        credentials=Credentials(root.access_key, root.secret_key),
        content_sha256=digest,
        date=now,
    )
    return client._http.request(method, url.geturl(), headers=signed, body=body or None, **options)


def administrator(client: Any) -> Any:
    """minio-py's admin client for the node of a client; its calls encrypt what is secret."""
    from minio import MinioAdmin

    return MinioAdmin(
        endpoint=client._base_url.host,
        credentials=client._provider,
        region=REGION,
        secure=False,
        http_client=client._http,
    )


def unzipped(data: bytes) -> dict[str, bytes]:
    """The files of a zip archive by name."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
