"""The machine is lost with all its data. The commands of the recovery sheet restore databases and objects on a blank one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml

from tests.lab.backup_host import DATABASES, newest, sftp, texts, tunnel
from tests.lab.conftest import USUAL, Clone
from tests.lab.cut_hosts import Host, known
from tests.lab.test_buckets import LARGE, administrator, connected
from worker.buckets import accounts, listing, quiet, settings
from worker.buckets.client import Client, path

# A deploy gives passwords of the inventory's users a new salt.
PLAIN = "cd /root/texts/{name}; sed -E \"s/(PASSWORD) '[^']*'/\\1/\" -- {file}"


BUCKET, VAULT = "models", "vault-by-hand"
KMS = {"x-amz-server-side-encryption": "aws:kms"}
BY_DEFAULT = (
    "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm>"
    "<KMSMasterKeyID>{key}</KMSMasterKeyID></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
)


@pytest.fixture
def vault(spare: Clone) -> Iterator[Host]:
    """Another machine, an SFTP target that survives the first."""
    known(spare.root, "lab-vault")
    host = Host(spare.root, "lab-vault")
    host.inv("lab.down", code=None)
    host.inv("lab.up")
    yield host
    host.inv("lab.down")


def targets(spare: Clone, *more: dict[str, object]) -> None:
    """Sets the targets: the stack's own bucket, and others."""
    file = spare.root / "inventory/group_vars/lab.yml"
    settings_now = yaml.safe_load(file.read_text())
    settings_now["backup"]["targets"] = [*settings_now["backup"]["targets"][:1], *more]
    file.write_text(yaml.safe_dump(settings_now))


def plain(spare: Clone, name: str) -> list[str]:
    texts(spare, name)
    return [
        spare.on_host(PLAIN.format(name=name, file=file_name))
        for file_name in ("globals", *map(str, range(len(DATABASES))))
    ]


def objects(spare: Clone) -> list[Any]:
    """All versions of both buckets, and the encryption and versioning of the second."""
    with connected(spare) as minio:
        # An encrypted object that was restored in parts has their number after its ETag.
        versions: list[Any] = [
            replace(version, etag=version.etag.partition("-")[0])
            for name in (BUCKET, VAULT)
            for version in listing.versions(minio, name)
        ]
        return [*versions, settings.read(minio, VAULT)["encryption"], settings.read(minio, VAULT)["versioning"]]


def sealed(spare: Clone) -> list[tuple[bytes, str]]:
    """Objects that MinIO encrypts with its key: their decrypted content, and the key."""
    with connected(spare) as minio:
        answers = [
            minio.ask("GET", path(*place))
            for place in ((BUCKET, "sealed/kms"), (VAULT, "by/default"), (VAULT, "large"))
        ]
        return [(answer.body, answer.headers["x-amz-server-side-encryption-aws-kms-key-id"]) for answer in answers]


def made_by_hand(spare: Clone) -> None:
    """Users and keys that are not in the inventory."""
    statement = {"Effect": "Allow", "Action": ["s3:*"], "Resource": [f"arn:aws:s3:::{BUCKET}/*"]}
    with administrator(spare, spare.secret("root_user"), spare.secret("root_password")) as admin:
        admin.policy_add("by-hand", policy={"Version": "2012-10-17", "Statement": [statement]})
        admin.user_add("ana", "secret-of-ana")
        admin.policy_set("by-hand", user="ana")
    with administrator(spare, "ana", "secret-of-ana") as admin:
        admin.add_service_account(access_key="ana-trainer", secret_key="secret-of-the-key")


def who(spare: Clone) -> dict[str, list[str]]:
    """Who may use MinIO, by kind and name."""
    with connected(spare) as minio:
        return {kind: sorted(names) for kind, names in accounts.exported(minio).items()}


def test_a_dead_machine_is_rebuilt_from_its_sheet(spare: Clone, vault: Host) -> None:
    targets(spare, sftp(spare, vault, "vault", vault.on_host("hostname -I").split()[0]))
    spare.inv("deploy", "--yes")
    with connected(spare) as minio:
        for body in (b"first", b"second"):
            minio.ask("PUT", path(BUCKET, "weights/one"), headers={"x-amz-meta-run": "7"}, body=body)
            minio.ask("PUT", path(BUCKET, "gone"), body=body)
        minio.ask("DELETE", path(BUCKET, "gone"))
        minio.ask("PUT", path(BUCKET, "sealed/kms"), headers=KMS, body=b"for the key alone")
        minio.ask("PUT", path(VAULT))
        quiet.set_part(minio, VAULT, "encryption", BY_DEFAULT.format(key=spare.secret("kms_key").partition(":")[0]))
        minio.ask("PUT", path(VAULT, "by/default"), body=b"without being asked")
        minio.ask("PUT", path(VAULT, "large"), body=LARGE)
    made_by_hand(spare)
    spare.inv("backup")
    set_of_before, before = newest(spare), (plain(spare, "before"), objects(spare), who(spare), sealed(spare))
    sheet = spare.inv("backup.recovery-sheet")
    spare.inv("lab.down")

    spare.inv("lab.up", "--system", USUAL)
    typed = [line.split("#")[0].split()[1:] for line in sheet.splitlines() if line.startswith("  inv ")]
    assert [arguments[0] for arguments in typed] == ["host.trust", "deploy", "backup.list", *["restore"] * 2]
    for arguments in typed[1:]:  # the lab has trusted its new host itself
        screen = spare.inv(*arguments, *(["--yes"] if arguments[0] in ("deploy", "restore") else []))
        assert arguments[0] != "backup.list" or set_of_before in screen
        if arguments[0] == "restore":
            assert f"{set_of_before} of lab, made on lab" in screen
            assert "read from vault" in screen
            assert "nothing to do" in screen, "what the restore brought is what the inventory says"
    assert (plain(spare, "after"), objects(spare), who(spare), sealed(spare)) == before
    with tunnel(spare, "172.30.99.12:9000") as port:
        trainer = Client([f"http://127.0.0.1:{port}"], "ana-trainer", "secret-of-the-key")
        assert trainer.ask("GET", path(BUCKET, "weights/one")).body == b"second"
