"""The files of an inventory that are read, like Ansible's; a file that is not read is an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from converge.errors import Troubles
from converge.inventory.hosts import load

HOSTS = "all: {children: {store: {hosts: {one: , db1.example.org: }}}}"


class Free(BaseModel):
    """A model that accepts any value."""

    model_config = ConfigDict(extra="forbid")
    who: str = "nobody"
    also: str = ""


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def troubles(root: Path) -> list[tuple[str, str]]:
    """The place and the hint of each trouble."""
    try:
        load(root, "one", Free)
    except Troubles as several:
        return [(trouble.where, trouble.hint) for trouble in several.troubles if trouble.why]
    return []


READ = ["one", "one.yml", "one.yaml", "one.json", "one/main.yml", "one/main", "one/a/b/c.json"]


@pytest.mark.parametrize("name", READ)
def test_the_settings_of_a_host_may_stand_where_ansible_finds_them(tmp_path: Path, name: str) -> None:
    text = '{"who": "them"}' if name.endswith("json") else "who: them"
    root = write(tmp_path, {"inventory/hosts.yml": HOSTS, f"inventory/host_vars/{name}": text})
    (host,) = load(root, "one", Free)
    assert host.settings.who == "them"
    assert host.origins["who"].origin == f"inventory/host_vars/{name}:1"


@pytest.mark.parametrize("name", ["all", "all.json", "store/main.yaml", "store", "ungrouped.yml"])
def test_the_settings_of_a_group_may_stand_where_ansible_finds_them(tmp_path: Path, name: str) -> None:
    root = write(tmp_path, {"inventory/hosts.yml": HOSTS, f"inventory/group_vars/{name}": "{who: them}"})
    assert load(root, "one", Free)[0].settings.who == ("nobody" if "ungrouped" in name else "them")


def test_a_name_with_dots_needs_no_ending(tmp_path: Path) -> None:
    root = write(tmp_path, {"inventory/hosts.yml": HOSTS, "inventory/host_vars/db1.example.org": "who: them"})
    assert load(root, "db1.example.org", Free)[0].settings.who == "them"


def test_files_of_a_folder_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    here = "inventory/host_vars/one"
    root = write(tmp_path, {"inventory/hosts.yml": HOSTS, f"{here}/b.yml": "who: b", f"{here}/a": "who: a\nalso: a"})
    assert load(root, "one", Free)[0].settings == Free(who="b", also="a")


@pytest.mark.parametrize("name", ["hosts.yaml", "hosts.json", "more.yml"])
def test_hosts_may_stand_in_several_files(tmp_path: Path, name: str) -> None:
    root = write(tmp_path, {"inventory/hosts.yml": HOSTS, f"inventory/{name}": '{"all": {"hosts": {"two": null}}}'})
    assert {host.name for host in load(root, "all", Free)} == {"one", "db1.example.org", "two"}


INI = "[store]\none\n"
IN_VAIN = [
    ("inventory/host_vars/lba.yml", "who: x", "add lba to inventory/hosts.yml, or remove"),
    ("inventory/host_vars/oen.yml", "who: x", "mv inventory/host_vars/oen.yml inventory/host_vars/one.yml"),
    ("inventory/host_vars/oen", "who: x", "mv inventory/host_vars/oen inventory/host_vars/one"),
    ("inventory/host_vars/one.ymal", "who: x", "mv inventory/host_vars/one.ymal inventory/host_vars/one.yml"),
    ("inventory/host_vars/lba/x.yml", "who: x", "add lba to inventory/hosts.yml"),
    ("inventory/host_vars/one/x.yml.j2", "who: x", "mv inventory/host_vars/one/x.yml.j2"),
    ("inventory/host_vars/one/sub/x.ini", "who: x", "mv inventory/host_vars/one/sub/x.ini"),
    ("inventory/group_vars/stroe.yml", "who: x", "mv inventory/group_vars/stroe.yml inventory/group_vars/store.yml"),
    ("inventory/group_vars/stroe.json", "{}", "mv inventory/group_vars/stroe.json inventory/group_vars/store.json"),
    ("inventory/hosts.ini", INI, "ansible-inventory -i inventory/hosts.ini --list --yaml"),
    ("inventory/hosts", INI, "ansible-inventory -i inventory/hosts --list --yaml"),
    ("inventory/production", INI, "ansible-inventory -i inventory/production --list --yaml"),
    ("inventory/hosts.toml", "[store.hosts]\n", "ansible-inventory -i inventory/hosts.toml"),
    ("inventory/ec2.py", "#!/usr/bin/python3\n", "chmod -x inventory/ec2.py"),
    ("inventory/production/hosts.yml", HOSTS, "move what is in inventory/production into inventory/"),
    ("inventory/mine/inventory.ini", INI, "move what is in inventory/mine into inventory/"),
    ("group_vars/all.yml", "who: x", "mv group_vars/* inventory/group_vars/"),
    ("host_vars/one.yml", "who: x", "mv host_vars/* inventory/host_vars/"),
]


@pytest.mark.parametrize(("name", "text", "hint"), IN_VAIN, ids=[case[0] for case in IN_VAIN])
def test_a_file_that_would_be_passed_over_in_silence_is_an_error(
    tmp_path: Path, name: str, text: str, hint: str
) -> None:
    ((where, message),) = troubles(write(tmp_path, {"inventory/hosts.yml": HOSTS, name: text}))
    assert name.startswith(where.rstrip("/"))
    assert hint in message


def test_a_program_without_an_ending_is_an_inventory_script(tmp_path: Path) -> None:
    root = write(tmp_path, {"inventory/hosts.yml": HOSTS, "inventory/cloud": "#!/bin/sh\necho {}\n"})
    (root / "inventory/cloud").chmod(0o755)
    ((where, hint),) = troubles(root)
    assert where == "inventory/cloud"
    assert "chmod -x" in hint


@pytest.mark.parametrize(
    ("first", "second"),
    [("one", "one.yml"), ("one.yml", "one.yaml"), ("one.yml", "one.json"), ("one/main.yml", "one.yml")],
)
def test_two_places_for_one_name_are_an_error_as_ansible_reads_the_first_alone(
    tmp_path: Path, first: str, second: str
) -> None:
    files = {f"inventory/host_vars/{name}": "who: x" for name in (first, second)}
    ((where, hint),) = troubles(write(tmp_path, {"inventory/hosts.yml": HOSTS, **files}))
    assert where == f"inventory/host_vars/{second}"
    assert f"rm -r {where}" in hint


QUIET = [
    "README",
    "README.md",
    "notes.txt",
    ".gitkeep",
    "one.yml~",
    "one.yml.bak",
    "#one.yml#",
    "one.yml.old",
    ".one.yml.swp",
    "one.yml.example",
]


@pytest.mark.parametrize("name", QUIET)
@pytest.mark.parametrize("folder", ["", "host_vars/", "group_vars/", "host_vars/one/"])
def test_notes_and_leftovers_of_editors_are_no_settings(tmp_path: Path, folder: str, name: str) -> None:
    root = write(tmp_path, {"inventory/hosts.yml": HOSTS, f"inventory/{folder}{name}": "who: [x"})
    assert troubles(root) == []


def test_keys_and_secrets_are_no_inventories(tmp_path: Path) -> None:
    secrets = {"inventory/known_hosts": "[10.0.0.1]:22 ssh-ed25519 AAAA\n", "inventory/docker.asc": "-----BEGIN\n"}
    secrets |= {"inventory/secrets/prod/root_user": "x", "inventory/key": "-----BEGIN OPENSSH PRIVATE KEY-----\n"}
    assert troubles(write(tmp_path, {"inventory/hosts.yml": HOSTS, **secrets})) == []


def test_an_encrypted_file_says_what_to_do_with_its_secrets(tmp_path: Path) -> None:
    root = write(
        tmp_path, {"inventory/hosts.yml": HOSTS, "inventory/group_vars/all.yml": "$ANSIBLE_VAULT;1.1;AES256\n61\n"}
    )
    ((where, hint),) = troubles(root)
    assert where == "inventory/group_vars/all.yml"
    assert "ansible-vault view" in hint
