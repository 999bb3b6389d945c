"""Commands that change the settings: the file they choose, what they refuse, and what is on disk after a cut."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from invoke.exceptions import Exit

from converge.errors import PENDING, REFUSED, Trouble, Troubles
from converge.inventory.hosts import Host, load
from roles.minio import account_commands, bucket_commands, rotation
from roles.minio.to_erase import Asked, Selection, erase_all, hidden_by, look
from roles.settings.model import Settings
from tests.unit.conftest import ROOT

GROUP = "inventory/group_vars/weatherlearn.yml"
HOST = "inventory/host_vars/prod.yml"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The inventory of the repository, with a host `prod` that is filled in and another one of its group."""
    for part in ("hosts.yml", "group_vars", "host_vars/prod.yml"):
        source, target = ROOT / "inventory" / part, tmp_path / "inventory" / part
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    return tmp_path


def host_of(root: Path, name: str = "prod") -> Host[Settings]:
    (host,) = load(root, name, Settings, resolve_secrets=False)
    return host


def created(root: Path, name: str = "job-logs", days: int = 30, **more: Any) -> None:
    given = {"versioning": False, "quota": "", "yes": True, "as_json": False} | more
    bucket_commands.create(host_of(root), name, days, **given)


def settings_in(root: Path, file: str) -> Any:
    return yaml.safe_load((root / file).read_text())


def test_a_bucket_goes_where_the_others_of_the_host_stand(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (root / GROUP).read_text()
    created(root)
    assert (root / GROUP).read_text() == before + (
        "  - name: job-logs\n    lifecycle:\n      - {id: retention, expire_days: 30}\n"
    )
    assert [bucket.name for bucket in host_of(root).settings.buckets][-1] == "job-logs"
    assert "next: inv deploy --role buckets --host prod" in capsys.readouterr().out


def test_a_host_that_names_its_buckets_itself_gets_the_new_one_there(root: Path) -> None:
    (root / HOST).write_text((root / HOST).read_text() + "buckets: [{name: own}] # only these\n")
    before = (root / GROUP).read_text()
    created(root, versioning=True, quota="5GiB")
    assert (root / GROUP).read_text() == before and "# only these" in (root / HOST).read_text()
    rule = {"id": "retention", "expire_days": 30, "expire_noncurrent_days": 30}
    assert settings_in(root, HOST)["buckets"] == [
        {"name": "own"},
        {"name": "job-logs", "versioning": True, "lifecycle": [rule], "quota": "5GiB"},
    ]


def test_a_section_that_is_nowhere_yet_comes_beside_its_like_and_not_among_the_examples(root: Path) -> None:
    account_commands.create(host_of(root), "ann", ["readonly"], "ann-1", "90d", True, False)
    assert settings_in(root, GROUP)["users"][0]["name"] == "ann"
    assert settings_in(root, "inventory/group_vars/all.yml")["users"] is None
    made = root / "inventory/secrets/prod"
    assert sorted(path.name for path in made.iterdir()) == ["key_ann-1", "user_ann"]
    assert {oct(path.stat().st_mode & 0o777) for path in made.iterdir()} == {"0o600"}
    (user,) = host_of(root).settings.users
    assert user.policies == ["readonly"] and user.service_accounts[0].expires


def test_a_section_that_the_host_has_emptied_is_filled_there(root: Path) -> None:
    (root / HOST).write_text((root / HOST).read_text() + "users: # nobody\n")
    account_commands.create(host_of(root), "ann", [], "", "", True, False)
    assert settings_in(root, HOST)["users"][0]["name"] == "ann"


def test_other_hosts_that_the_file_holds_for_are_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hosts = root / "inventory/hosts.yml"
    hosts.write_text(
        hosts.read_text().replace("        prod:", "        twin: {ansible_host: 10.0.0.9}\n        prod:")
    )
    with pytest.raises(Exit) as ended:
        created(root, yes=False, as_json=True)
    assert ended.value.code == PENDING
    shown = json.loads(capsys.readouterr().out)
    assert (
        {"twin", "prod"} <= {*shown["hosts"]} and shown["written"] is False and "+  - name: job-logs" in shown["diff"]
    )
    assert "job-logs" not in (root / GROUP).read_text()


def test_what_is_better_edited_by_hand_is_shown_with_the_lines(root: Path) -> None:
    filled = (root / HOST).read_text()
    own = "buckets:\n  - &own {name: own}\n  - <<: *own\n    name: other\n"
    (root / HOST).write_text(filled + own)
    created(root)
    assert (root / HOST).read_text().startswith(filled + own + "  - name: job-logs\n")
    merged = f"{filled}<<: {{buckets: [{{name: own}}]}}\n"
    (root / HOST).write_text(merged)
    with pytest.raises(Trouble) as caught:
        created(root)
    assert caught.value.code == REFUSED
    assert "brought in by <<" in caught.value.why and "  - name: job-logs" in caught.value.why
    assert (root / HOST).read_text() == merged


def test_settings_in_a_folder_of_files_are_changed_in_theirs_and_those_among_the_hosts_by_hand(root: Path) -> None:
    folder = root / "inventory/group_vars/weatherlearn"
    text = (root / GROUP).read_text()
    (root / GROUP).unlink()
    folder.mkdir()
    at = text.index("buckets:\n")
    (folder / "main.yml").write_text(text[:at])
    (folder / "storage.json").write_text('{"buckets": [{"name": "models"}]}')
    created(root)
    assert json.loads((folder / "storage.json").read_text())["buckets"][1]["name"] == "job-logs"
    assert (folder / "main.yml").read_text() == text[:at]
    hosts = root / "inventory/hosts.yml"
    hosts.write_text(hosts.read_text().replace("        prod:", "        prod: {buckets: [{name: own}]}", 1))
    with pytest.raises(Trouble, match="could not be changed") as caught:
        created(root)
    assert "it stands among the hosts" in caught.value.why and "- name: job-logs" in caught.value.why


def test_what_does_not_load_is_not_written(root: Path) -> None:
    before = (root / GROUP).read_text()
    with pytest.raises(Troubles, match=r"quota is 'lots'") as caught:
        created(root, quota="lots")
    assert caught.value.code == REFUSED and (root / GROUP).read_text() == before
    hints = {trouble.hint for trouble in caught.value.troubles}
    assert hints == {"the same command with another value"}, "a line that was never written cannot be corrected"
    with pytest.raises(Troubles, match="an access key has"):
        account_commands.create(host_of(root), "ann", [], "a key", "", True, False)
    assert not (root / "inventory/secrets").exists() and (root / GROUP).read_text() == before


BAD: list[tuple[Callable[[Host[Settings]], None], str]] = [
    (
        lambda host: bucket_commands.create(host, "models", 0, False, "", True, False),
        "there is a bucket models already",
    ),
    (lambda host: bucket_commands.create(host, "A/..", 0, False, "", True, False), "cannot be the name of a bucket"),
    (lambda host: bucket_commands.create(host, "abc", -1, False, "", True, False), "--retention-days is -1"),
    (lambda host: account_commands.create(host, "ann", ["readonl"], "", "", True, False), "there is no policy readonl"),
    (lambda host: account_commands.create(host, "ann", [], "", "90d", True, False), "--expires belongs to --key"),
    (lambda host: account_commands.create(host, "ann", [], "ann", "", True, False), "ann is taken"),
    (lambda host: account_commands.create(host, "ann", [], "k-1", "soon", True, False), "--expires is soon"),
    (
        lambda host: account_commands.create(host, "ann", [], "k-1", "2020-01-01", True, False),
        "--expires is 2020-01-01",
    ),
    (
        lambda host: account_commands.create(host, "ann", [], "k-1", "2027-02-30", True, False),
        "--expires is 2027-02-30",
    ),
    (lambda host: account_commands.assign(host, "nobody", ["readonly"], False, True, False), "no user nobody"),
    (lambda host: rotation.account_of(host, "nobody") and None, "no account nobody"),
]


@pytest.mark.parametrize(("act", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_input_is_one_clear_error_and_nothing_is_written(root: Path, act: Any, message: str) -> None:
    before = {file: file.read_bytes() for file in root.rglob("*.yml")}
    host = host_of(root)
    with pytest.raises(Trouble) as caught:
        act(host)
    assert message in str(caught.value) and "nothing was written" in str(caught.value) and "try: " in str(caught.value)
    assert before == {file: file.read_bytes() for file in root.rglob("*.yml")}


def test_policies_are_given_and_taken_away_and_a_key_is_told_as_one(root: Path) -> None:
    account_commands.create(host_of(root), "ann", ["readonly"], "ann-1", "never", True, False)
    account_commands.assign(host_of(root), "ann", ["writeonly", "diagnostics"], False, True, False)
    assert host_of(root).settings.users[0].policies == ["readonly", "writeonly", "diagnostics"]
    account_commands.assign(host_of(root), "ann", ["readonly", "diagnostics"], True, True, False)
    account_commands.assign(host_of(root), "ann", ["writeonly"], True, True, False)
    assert host_of(root).settings.users[0].policies == []
    with pytest.raises(Trouble, match="ann-1 is a key"):
        account_commands.assign(host_of(root), "ann-1", ["readonly"], False, True, False)
    with pytest.raises(Trouble, match="has no readonly"):
        account_commands.assign(host_of(root), "ann", ["readonly"], True, True, False)
    with pytest.raises(Trouble, match="there is a user ann already"):
        account_commands.create(host_of(root), "ann", [], "", "", True, False)
    account_commands.create(host_of(root), "ann", [], "ann-2", "", True, False)
    assert [service_account.access_key for service_account in host_of(root).settings.users[0].service_accounts] == [
        "ann-1",
        "ann-2",
    ]


class Cut(Exception):
    """Ends the run, like a kill."""


@pytest.mark.parametrize("cut_at", ["deploy", "check", "before the new secret"])
def test_a_rotation_that_was_cut_is_finished_by_the_same_command(root: Path, cut_at: str, monkeypatch: Any) -> None:
    account_commands.create(host_of(root), "ann", [], "ann-1", "90d", True, False)
    file = root / "inventory/secrets/prod/key_ann-1"
    old, deployed, seen = file.read_text(), list[str](), list[bool]()

    def stop(*_: Any) -> None:
        raise Cut

    with monkeypatch.context() as cut:
        if cut_at == "before the new secret":
            cut.setattr(rotation, "new_secret", stop)
        cut.setattr(rotation, "_old_one_is_refused", stop)
        with pytest.raises(Cut):
            rotation.rotate(host_of(root), "ann-1", "", True, stop if cut_at == "deploy" else lambda: None)
    begun, kept = file.read_text(), file.with_name("key_ann-1.previous")
    assert kept.read_text() == old and (begun == old) == (cut_at == "before the new secret")
    monkeypatch.setattr(rotation, "_old_one_is_refused", lambda host, account: seen.append(account.begun))
    rotation.rotate(host_of(root), "ann-1", "", True, lambda: deployed.append(file.read_text()))
    assert seen == [True] and not kept.exists() and file.read_text() != old
    assert deployed == [file.read_text()] and (begun == old or deployed == [begun])
    assert host_of(root).settings.users[0].service_accounts[0].expires == account_commands.end_of(host_of(root), "365d")


def test_a_secret_that_comes_from_elsewhere_is_not_rotated_here(root: Path) -> None:
    (root / HOST).write_text((root / HOST).read_text() + "users: [{name: ann, password: {command: pass show ann}}]\n")
    with pytest.raises(Trouble, match="is not in a file") as caught:
        rotation.account_of(host_of(root), "ann")
    assert caught.value.code == REFUSED and "command:pass show ann" in caught.value.why


def test_a_file_that_changed_meanwhile_is_not_overwritten(root: Path, monkeypatch: Any) -> None:
    def somebody_writes(question: str, yes: bool) -> None:
        (root / GROUP).write_text("lab: true\n")

    monkeypatch.setattr("roles.settings.changing.confirm", somebody_writes)
    with pytest.raises(Trouble, match="changed meanwhile"):
        created(root)
    assert (root / GROUP).read_text() == "lab: true\n"


# Deletion on request.


class Version:
    storage_class = "STANDARD"

    def __init__(self, name: str, number: int, marker: bool = False) -> None:
        self.object_name, self.version_id, self.is_delete_marker, self.size = (
            name,
            str(number),
            marker,
            0 if marker else 10,
        )


class Store:
    """A bucket that lists like MinIO: keys beneath an object are only listed when the object is gone."""

    def __init__(self, *versions: Version, refuses: str = "") -> None:
        self.versions, self.refuses = list(versions), refuses

    def list_objects(self, bucket: str, prefix: str, recursive: bool, include_version: bool) -> list[Version]:
        names = {version.object_name for version in self.versions}
        hidden = [
            version for version in self.versions if any(version.object_name.startswith(f"{name}/") for name in names)
        ]
        shown = [
            version for version in self.versions if version not in hidden and version.object_name.startswith(prefix)
        ]
        return sorted(shown, key=lambda version: (version.object_name, version.version_id))

    def get_object_lock_config(self, bucket: str) -> None:
        from minio.error import S3Error

        raise S3Error(None, "ObjectLockConfigurationNotFoundError", "", "", "", "")  # type: ignore[arg-type]

    def remove_objects(self, bucket: str, wanted: Any) -> list[Any]:
        from minio.deleteobjects import DeleteError

        errors = []
        for version in wanted:
            if version.name == self.refuses:
                errors.append(DeleteError("AccessDenied", "no", version.name, version.version_id))
            else:
                self.versions = [
                    each
                    for each in self.versions
                    if (each.object_name, each.version_id) != (version.name, version.version_id)
                ]
        return errors


def test_an_object_and_its_folder_are_erased_and_what_only_begins_so_stays() -> None:
    store = Store(
        Version("u/1", 1), Version("u/1", 2, True), Version("u/1/a", 3), Version("u/1/a/b", 4), Version("u/10", 5)
    )
    asked = Asked("docs", "u/1")
    counts = look(store, asked)
    assert (counts.objects, counts.versions, counts.delete_markers, counts.bytes, counts.others) == (
        1,
        1,
        1,
        10,
        ["u/10"],
    )
    gone, left, complaint = erase_all(store, asked)
    assert (gone.objects, gone.versions, gone.delete_markers, left.number, complaint) == (3, 3, 1, 0, "")
    assert [version.object_name for version in store.versions] == ["u/10"]
    assert erase_all(store, asked)[0] == Selection(), "a second time there is nothing to do"
    erase_all(store, Asked("docs", "u/1", begins=True))
    assert store.versions == []


def test_a_folder_beneath_an_object_is_not_taken_for_empty() -> None:
    store = Store(Version("u/1", 1), Version("u/1/a", 3))
    assert hidden_by(store, Asked("docs", "u/1/")) == "u/1"
    assert hidden_by(store, Asked("docs", "u/1/a/b")) == "u/1"
    assert hidden_by(store, Asked("docs", "u/1")) == hidden_by(store, Asked("docs", "u/")) == ""


def test_what_minio_refuses_ends_the_rounds_with_its_words() -> None:
    store = Store(Version("u/1", 1), Version("u/2", 2), refuses="u/2")
    gone, left, complaint = erase_all(store, Asked("docs", "u/"))
    assert (gone.versions, left.versions) == (1, 1) and complaint == "u/2: AccessDenied: no"
