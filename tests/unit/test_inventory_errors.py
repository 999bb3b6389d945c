"""Errors of an inventory: all at once, in plain words, with the place and the next step, without secrets."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converge.errors import Trouble, Troubles
from converge.inventory.hosts import load
from converge.ui.mistyped import no_empty_host
from roles.settings.model import Settings

ROOT = Path(__file__).resolve().parents[2]
Load = Callable[..., list[Trouble]]
HOSTS = "all:\n  children:\n    store:\n      hosts:\n        one: {ansible_host: 10.0.0.1}\n    empty:\n"
DRIVE = "{device: /dev/disk/by-id/a, label: drive1, path: /mnt/drive1}"


def troubles_of(
    root: Path, files: dict[str, str], *sets: str, host: str = "one", secrets: bool = False
) -> list[Trouble]:
    for name, text in {"hosts.yml": HOSTS, **files}.items():
        path = root / "inventory" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, errors="surrogateescape")
    try:
        load(root, host, Settings, sets, secrets)
    except Troubles as several:
        return several.troubles
    return []


@pytest.fixture
def wrong(tmp_path: Path) -> Load:
    """The troubles of an inventory in which host_vars/one.yml has this text."""
    return lambda text, *sets, **more: troubles_of(tmp_path, {"host_vars/one.yml": text}, *sets, **more)


FAULTS = [
    # text of host_vars/one.yml, line, part of what, part of why, part of the hint
    (
        f"drives:\n  - {DRIVE}\n  - {{device: /dev/disk/by-id/b, lable: x, label: b, path: /mnt/b}}\n",
        3,
        "drives[1].lable: unknown key",
        "device, label, path, options",
        "label instead of lable",
    ),
    ("listen: 0.0.0.0\n", 1, "listen: unknown key", "the settings have lab, roles", "set edge.listen"),
    ("hammock: 1\n", 1, "hammock: unknown key", "the settings have", "all.yml shows every key"),
    ("drives:\n  - label: a\n    path: /mnt/a\n", 2, "drives[0].device is missing", "/dev/disk/by-id", "add `device"),
    (
        "drives:\n  - label:\n    path: /mnt/a\n    device: /dev/disk/by-id/a\n",
        2,
        "drives[0].label has no value",
        "",
        "add `label",
    ),
    (
        "\nimages: {redis: {reference: stowage-lab/redis:1, lab: 5}}\n",
        2,
        "images.redis.lab is a number",
        "the name of a recipe of lab/images.py, or a mapping with `packages`",
        "correct images.redis.lab",
    ),
    (
        "images: {redis: {reference: stowage-lab/redis:1, lab: {package: [x]}}}\n",
        1,
        "images.redis.lab.package: unknown key",
        "images.redis.lab has packages",
        "packages instead of package",
    ),
    (
        "images: {redis: {reference: stowage-lab/redis:1, lab: {packages: [redis-]}}}\n",
        1,
        "images.redis.lab.packages[0] is 'redis-'",
        "does not end with . or -",
        "correct images.redis.lab.packages[0]",
    ),
    (
        "images: {redis: {reference: stowage-lab/redis:1, lab: {packages: redis}}}\n",
        1,
        "images.redis.lab.packages is a text",
        "a list",
        "write [redis]",
    ),
    (
        "images: {redis: {reference: stowage-lab/redis:1, lab: {}}}\n",
        1,
        "images.redis.lab.packages",
        "packages of Debian, of PyPI",
        "",
    ),
    (
        "images: {redis: {reference: docker.io/library/redis:8, lab: {packages: [redis-server]}}}\n",
        1,
        "images.redis.reference is 'docker.io/library/redis:8'",
        "named stowage-lab/",
        "correct images.redis.reference",
    ),
    (
        "backup:\n  targets:\n    - {name: a, kind: s3, buckett: x}\n",
        3,
        "backup.targets[0].buckett: unknown key",
        "backup.targets[0] has name, kind, endpoint, bucket",
        "bucket instead of buckett",
    ),
    ("backup:\n  targets:\n    - {name: a, kind: path}\n", 3, "backup.targets[0].path is missing", "", "add `path"),
    (
        "backup:\n  targets:\n    - {name: a, kind: '{x}'}\n",
        3,
        "backup.targets[0] is a mapping",
        "its 'kind' to be one of 'stack', 's3', 'sftp', 'path'",
        "correct backup.targets[0]",
    ),
    ("backup: {targets: [5]}\n", 1, "backup.targets[0] is a number", "expected a mapping", "correct backup.targets[0]"),
    ("\nlab: 3\n", 2, "lab is the number 3", "expected true or false", "without quotes"),
    ("lab: 'yes'\n", 1, "lab is the text 'yes'", "expected true or false", "without quotes"),
    ("drives: nothing\n", 1, "drives is a text", "expected a list", "write [nothing] in inventory/host_vars/one.yml:1"),
    ("base: [1]\n", 1, "base is a list", "expected a mapping", "correct base"),
    (
        "docker: {suite: on}\n",
        1,
        "docker.suite is a yes or no: YAML reads on as true",
        "expected a text",
        'quote it: "on"',
    ),
    (
        "base: {sysctl: {vm.swappiness: 10}}\n",
        1,
        "base.sysctl.vm.swappiness is the number 10",
        "expected a text",
        'quote it: "10"',
    ),
    ("data_user: {uid: 010}\n", 1, "010 is not what it looks like", "the number 8", 'quote it: "010"'),
    ("data_user: {uid: 1:30}\n", 1, "1:30 is not what it looks like", "the number 90", "quote it"),
    ("data_user: {uid: '9000'}\n", 1, "data_user.uid is the text '9000'", "a whole number", "without quotes"),
    ("data_user: {uid: 0}\n", 1, "data_user.uid is the number 0", "at least 100", "correct data_user.uid"),
    (
        "docker: {source: apt}\n",
        1,
        "docker.source is the text 'apt'",
        "'distribution' or 'docker'",
        "correct docker.source",
    ),
    (
        "networks: {nginx: {subnet: 172.30.98.0/24}}\n",
        1,
        "networks.nginx",
        "the name of a container",
        "correct networks.nginx",
    ),
    ("buckets: [{name: abc}, {name: abc}]\n", 1, "buckets[1].name is 'abc'", "stands twice", "correct buckets[1].name"),
    ("buckets: [{name: abc, object_lock: true}]\n", 1, "buckets[0].object_lock is true", "needs versioning", "correct"),
    ("roles: [base, minio]\n", 1, "roles[1] is 'minio'", "needs the section minio", "correct"),
    ("lab: true\nlab: false\n", 2, "the key lab stands twice", "lines 1 and 2", "keep one"),
    ("on: 1\n", 1, "the key on is not text", "YAML reads on as true or false", 'quote it: "on"'),
    ("lab: {{ is_lab }}\n", 1, "a key must be a text", "", "quote the value"),
    ("roles: ['{{ mine }}']\n", 1, "a template in the inventory", "taken as they stand", "write the value"),
    ("roles: !vault |\n  abc\n", 1, "!vault is Ansible's", "references", "command: ansible-vault"),
    ("roles: !!binary aGFsbG8=\n", 1, "the tag !!binary", "", "remove it"),
    ("ansible_prt: 22\n", 1, "ansible_prt: not a connection key", "ansible_port", "write ansible_port"),
    ("ansible_ssh_common_args: -J jump\n", 1, "ansible_ssh_common_args", "", "~/.ssh/config"),
    (
        "ansible_ssh_private_key_file: ~no-such-user/k\n",
        1,
        "the SSH key is missing",
        "nobody here is named",
        "the agent",
    ),
    ("ansible_port: '22'\n", 1, "ansible_port is '22'", "without quotes", "correct ansible_port"),
    ("ansible_host: -oProxyCommand=x\n", 1, "ansible_host is '-oProxyCommand=x'", "an address", "correct"),
]


@pytest.mark.parametrize(("text", "line", "what", "why", "hint"), FAULTS, ids=[fault[2] for fault in FAULTS])
def test_a_fault_says_where_what_why_and_what_next(
    wrong: Load, text: str, line: int, what: str, why: str, hint: str
) -> None:
    trouble = next(trouble for trouble in wrong(text) if what in trouble.what)
    assert trouble.where == f"inventory/host_vars/one.yml:{line}"
    assert why in trouble.why
    assert hint in trouble.hint


def test_all_faults_are_told_at_once_and_that_nothing_was_touched_only_at_the_end(wrong: Load) -> None:
    troubles = wrong("lab: 3\nlisten: 1\ndrives: [{lable: x}]\nansible_prt: 1\n", "edge=5")
    assert len(troubles) == 8
    assert [trouble.untouched for trouble in troubles] == [""] * 7 + ["nothing was connected to or changed"]
    assert all(trouble.hint and trouble.why for trouble in troubles)


def test_no_word_of_pydantic_reaches_the_user(wrong: Load) -> None:
    text = "\n".join(str(trouble) for fault in FAULTS for trouble in wrong(fault[0]))
    for jargon in (
        "Input should",
        "Value error",
        "extra_forbidden",
        "pydantic",
        "model_type",
        "Extra inputs",
        "Field required",
    ):
        assert jargon not in text


SYNTAX = [
    ("a:\n\tb: 1\n", 2, 1, "YAML takes no tabs"),
    ("a: b: c\n", 1, 5, "a colon inside a text needs quotes"),
    ("a: @b\n", 1, 4, "into quotes"),
    ("a: [1, 2\nb: 3\n", 2, 2, "brackets"),
    ("a: 'x\n", 2, 1, "close the quotes"),
    ("a: *b\n", 1, 4, "begins with *"),
    ("a: 1\n---\nb: 2\n", 2, 1, "remove the second ---"),
]


@pytest.mark.parametrize(("text", "line", "column", "hint"), SYNTAX, ids=[repr(case[0]) for case in SYNTAX])
def test_a_slip_in_yaml_is_told_with_line_and_column(wrong: Load, text: str, line: int, column: int, hint: str) -> None:
    (trouble,) = wrong(text)
    assert trouble.where == f"inventory/host_vars/one.yml:{line}:{column}"
    assert hint in trouble.hint
    assert trouble.why


@pytest.mark.parametrize(
    "text",
    [
        "a: \x07",
        "a: \udcff",
        "a: &x [*x]",
        "a: \ud800x",
        "- 1",
        "text",
        "!!map [1]",
        "? [a]\n: 1",
        "a: !!int x",
        "&a [*a]",
    ],
)
def test_hostile_yaml_is_a_trouble_and_no_traceback(wrong: Load, text: str) -> None:
    assert wrong(text.replace("\ud800", "\udcc3"))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet=st.sampled_from("ab:{}[]\"'-#&*!|>%@`\n \t,?<=~0.1é"), max_size=40))
def test_no_text_whatever_ends_in_a_traceback(tmp_path: Path, text: str) -> None:
    troubles_of(tmp_path, {"host_vars/one.yml": text})
    troubles_of(tmp_path, {"host_vars/one.yml": ""}, text)
    troubles_of(tmp_path, {"host_vars/one.yml": ""}, f"edge={text}", f"{text}=1")


def _bomb(first: str, more: str) -> str:
    """Aliases of aliases: each line multiplies the size of the line before it."""
    return "\n".join([f"a0: &a0 {first}", *(f"a{n}: &a{n} {more.format(n - 1)}" for n in range(1, 40))])


TOO_MUCH = {
    "lists": (_bomb("[x]", "[*a{0}, *a{0}, *a{0}, *a{0}]"), "more than 50000 values"),
    "mappings": (_bomb("{x: 1}", "{{k: *a{0}, l: *a{0}, m: *a{0}}}"), "more than 50000 values"),
    "merges": (_bomb("{}", "{{<<: [*a{0}, *a{0}]}}"), "more than 50000 values"),
    "brackets": ("a: " + "[" * 100_000, "more than 40 levels"),
    "braces": ("a: " + "{a: " * 100_000, "more than 40 levels"),
    "dashes": ("a:\n" + "- " * 100_000, "more than 40 levels"),
    "an alias of itself": ("a: &a [*a]", "contains itself"),
    "a merge of itself": ("a: &a {<<: *a, b: 1}", "more than 40 levels"),
    "values": (f"a: [{'1,' * 200_000}]", "more than 50000 values"),
    "a huge file": (f"a: {'x' * (3 << 20)}", "larger than 2048 KiB"),
    "a huge key": (f"? {'k' * 1000}\n: 1", "the longest has 200"),
    "UTF-16": ("a\0:\0 \0b\0", "UTF-16"),
    "a control character": ("a: 1\nb: \x07", "cannot be printed"),
    "keys that nobody knows": ("\n".join(f"key{n}: 1" for n in range(20_000)), "the settings have"),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_no_file_is_endless_however_few_bytes_it_has(wrong: Load, name: str) -> None:
    text, why = TOO_MUCH[name]
    begun = time.monotonic()
    troubles = wrong(text)
    assert time.monotonic() - begun < 20
    assert any(why in trouble.why for trouble in troubles)
    assert len(str(Troubles(troubles))) < 30_000


def test_groups_that_many_ways_lead_to_are_walked_once(tmp_path: Path) -> None:
    """Each group is in both groups above it: forty levels have billions of paths."""
    rows = [f"{x}{n}: {{children: {{a{n + 1}: , b{n + 1}: }}}}" for n in range(40) for x in "ab"]
    hosts = "\n".join([*rows, "a40: {hosts: {one: {ansible_host: x}}}", "b40:"])
    begun = time.monotonic()
    assert troubles_of(tmp_path, {"hosts.yml": hosts}) == []
    assert time.monotonic() - begun < 10


def test_links_between_folders_lead_in_no_circle(tmp_path: Path) -> None:
    troubles_of(tmp_path, {"host_vars/one/a.yml": "", "host_vars/one/deep/b.yml": ""})
    for name in ("x", "y"):
        (tmp_path / f"inventory/host_vars/one/deep/{name}").symlink_to(tmp_path / "inventory/host_vars/one")
    assert [trouble.what for trouble in troubles_of(tmp_path, {})] == ["it is not read"] * 2


@pytest.mark.parametrize("where", ["hosts.yml", "group_vars/all.yml", "host_vars/one.yml"])
def test_only_a_regular_file_is_read(tmp_path: Path, where: str) -> None:
    troubles_of(tmp_path, {})
    path = tmp_path / "inventory" / where
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with pytest.raises(Troubles, match="it is a pipe, not a file"):
        load(tmp_path, "one", Settings)


STRUCTURE = [
    ("all: {host: {one: }}", "all.host: unknown key", "hosts:"),
    ("store: {one: , two: {ansible_host: b}}", "store.one: unknown key", "put one under store.hosts"),
    ("store: {ansible_user: me}", "store.ansible_user: unknown key", "put ansible_user under store.vars"),
    ("all: {hosts: {one: {ansible_host: '{{ ip }}'}}}", "a template in the inventory", "write the value"),
    ("all: {hosts: {one: {ansible_user: '{{ inventory_hostname }}'}}}", "a template", "write the value"),
    ("all: {hosts: [one]}", "all.hosts is not a mapping", "`name:`"),
    ("all: {hosts: {'one[1:3': }}", "names no hosts", "correct the range"),
    ("all: {hosts: {'one:99999': }}", "names no hosts", "correct the range"),
    ("all: {hosts: {'one two': }}", "cannot be a host's name", "by its own name"),
    ("plugin: amazon.aws.aws_ec2\nregions: [eu-west-1]", "an inventory plugin", "ansible-inventory"),
    ("all: {children: {a: {hosts: {b: }}, b: {hosts: {c: }}}}", "b is a host and a group", "another name"),
    ("all: {hosts: {all: }}", "all is a host and a group", "another name"),
    ("all: {hosts: {one: }, vars: {ansible_group_priority: high}}", "ansible_group_priority is 'high'", "a number"),
    ("all: {hosts: {'-x': }}", "cannot be a host's name", "by its own name"),
    ("all: {children: {a: {children: {b: {children: {a: }}}}}}", "the group a contains itself", "out of b.children"),
    ("a: {children: {b: }}\nb: {children: {a: }}", "the group a contains itself", "out of b.children"),
    ("a: {children: {a: }}", "the group a contains itself", "out of a.children"),
    ("a: {children: {all: }}", "the group all contains itself", "out of a.children"),
]


@pytest.mark.parametrize(("text", "what", "hint"), STRUCTURE, ids=[case[1] for case in STRUCTURE])
def test_a_fault_in_the_hosts_file_is_told(tmp_path: Path, text: str, what: str, hint: str) -> None:
    troubles = troubles_of(tmp_path, {"hosts.yml": text})
    assert any(what in trouble.what and hint in trouble.hint for trouble in troubles)


NAMES = [
    ("oen", "no host or group is named oen", "--host one"),
    ("stoer", "no host or group is named stoer", "--host store"),
    ("empty", "the group empty has no hosts", "add a host under empty.hosts"),
    ("", "no host is named", "--host one"),
    ("../one", "no host or group is named ../one", ""),
    ("ungrouped", "no host or group is named ungrouped", "inv inventory"),
    ("one,tow", "no host or group is named tow", "--host"),
    ("one two", "no host is named 'one two'", "--host one,two"),
    ("~one.*", "~one.*: regular expressions are not taken", "--host 'one.*'"),
    ("x*", "no host or group fits x*", "--host all"),
    ("stor*s", "no host or group fits stor*s", "--host store"),
    ("one[1:2]", "no host or group is named one1", "--host one"),
    ("one[2:1]", "one[2:1] names no host", "inv inventory"),
    ("store[0]", "store[0]: places of a group are not taken", "--host one"),
    ("@file", "@file: files of names are not taken", "paste -sd, file"),
    ("one,!one", "no host is left of one,!one", "inv inventory"),
    ("all,!tow", "no host or group is named tow", "--host"),
]


@pytest.mark.parametrize(("name", "what", "hint"), NAMES)
def test_an_unknown_name_is_told_with_the_nearest(tmp_path: Path, name: str, what: str, hint: str) -> None:
    try:
        (trouble,) = troubles_of(tmp_path, {}, host=name)
    except Trouble as single:
        trouble = single
    assert trouble.what == what
    assert hint in trouble.hint
    assert trouble.untouched


def test_a_settings_file_of_no_group_is_a_misspelt_name(tmp_path: Path) -> None:
    (trouble,) = troubles_of(tmp_path, {"group_vars/stroe.yml": "lab: true"})
    assert trouble.hint == "mv inventory/group_vars/stroe.yml inventory/group_vars/store.yml"


SECRET = "hunter2-hunter2"
MINIO = f"""
drives: [{DRIVE}]
images: {{minio: {{reference: a/b:1}}}}
minio:
  nodes: [{{name: a, drive: drive1, address: 172.30.99.11}}]
  root_user: {{env: STOWAGE_USER}}
  root_password: {{env: STOWAGE_PASSWORD}}
"""


@pytest.mark.parametrize(
    "text",
    [
        f"minio: {{root_password: {SECRET}}}",
        f"minio: {{root_password: {{plain: {SECRET}}}}}",
        f"minio: {{root_password: [{SECRET}]}}",
        f"minio: {{root_pasword: {SECRET}}}",
        f"minio: {{root_user: {SECRET}, nodes: 3}}",
        f"minio: {SECRET}",
        f"users: [{{name: abc, password: {SECRET}}}]",
        f"users: [{{name: abc, service_accounts: [{{access_key: abc, secret_key: {SECRET}}}]}}]",
        f"ansible_become_password: {SECRET}",
        f"ansible_become_pass: {SECRET}",
        f"minio: {{environment: {{MINIO_IDENTITY_OPENID_CLIENT_SECRET: [{SECRET}]}}}}",
        f'minio: {{root_password: "{SECRET}',
        f"minio: {{root_password: @{SECRET}}}",
        f"root_password: {SECRET}",
    ],
)
def test_a_secret_in_plain_text_is_refused_and_not_repeated(wrong: Load, tmp_path: Path, text: str) -> None:
    troubles = wrong(text)
    assert troubles
    assert SECRET not in "\n".join(map(str, troubles))
    key, _, value = text.partition(": ")
    assert SECRET not in "\n".join(map(str, troubles_of(tmp_path, {"host_vars/one.yml": ""}, f"{key}={value}")))


def test_all_secrets_that_cannot_be_read_are_told_with_their_place(
    wrong: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STOWAGE_USER", raising=False)
    monkeypatch.delenv("STOWAGE_PASSWORD", raising=False)
    assert [(trouble.where, trouble.what, trouble.hint) for trouble in wrong(MINIO, secrets=True)] == [
        ("inventory/host_vars/one.yml:6", "the secret minio.root_user is missing", "export STOWAGE_USER=..."),
        ("inventory/host_vars/one.yml:7", "the secret minio.root_password is missing", "export STOWAGE_PASSWORD=..."),
    ]


@pytest.mark.parametrize(
    ("user", "password", "reason"),
    [
        ("minioadmin", "minioadmin", "vendor's default"),
        ("minio", "minio123", "vendor's default"),
        ("someone", "MinioAdmin", "vendor's default"),
        ("storekeeper", "storekeeper", "the same as the name"),
    ],
)
def test_a_password_that_everyone_knows_is_refused_outside_the_lab(
    wrong: Load, monkeypatch: pytest.MonkeyPatch, user: str, password: str, reason: str
) -> None:
    monkeypatch.setenv("STOWAGE_USER", user)
    monkeypatch.setenv("STOWAGE_PASSWORD", password)
    (trouble,) = wrong(MINIO, secrets=True)
    assert (trouble.where, trouble.what) == ("inventory/host_vars/one.yml:7", "minio.root_password")
    assert reason in trouble.why
    assert wrong(f"lab: true\n{MINIO}", secrets=True) == []


def test_a_password_that_minio_would_not_take_is_refused_everywhere(
    wrong: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOWAGE_USER", "ab")
    monkeypatch.setenv("STOWAGE_PASSWORD", "short")
    assert [trouble.what for trouble in wrong(f"lab: true\n{MINIO}", secrets=True)] == [
        "minio.root_password",
        "minio.root_user",
    ]


@pytest.mark.parametrize(
    ("given_", "what", "hint"),
    [
        ("edge.lisen=1", "edge.lisen: unknown key", "write listen"),
        ("lab", "--set needs KEY=VALUE, lab is not", "--set KEY=VALUE"),
        ("=1", "--set needs KEY=VALUE, the text is not", "--set KEY=VALUE"),
        ("a b=1", "--set needs KEY=VALUE, the text is not", "--set KEY=VALUE"),
        ("edge.listen: 1", "--set needs KEY=VALUE, the text is not", "--set KEY=VALUE"),
        ("drives.7.label=x", "drives.7.label: there is no item 7", "--set drives.0.label=..."),
        ("drives[-1].label=x", "drives.-1.label: there is no item -1", "--set drives.0.label=..."),
        ("drives.x.label=y", "drives.x.label: there is no item x", "--set drives.0.label=..."),
        ("drives[].label=y", "drives[].label has a part without a name", "--set drives.label=..."),
        ("edge..listen=1", "edge..listen has a part without a name", "--set edge.listen=..."),
        ("lab.x=1", "lab is a mapping", "--set lab=..."),
        ("roles=base", "roles is a text", "--set 'roles=[base]'"),
    ],
)
def test_a_fault_in_set_names_set(wrong: Load, given_: str, what: str, hint: str) -> None:
    nodes = "minio: {nodes: [{name: a, drive: drive1, address: 172.30.99.11}], root_user: {env: A}, root_password: {env: B}}"
    images = "images: {minio: {reference: a/b:1}}"
    trouble = next(
        trouble for trouble in wrong(f"drives: [{DRIVE}]\n{nodes}\n{images}", given_) if trouble.what == what
    )
    assert trouble.where == "--set"
    assert hint in trouble.hint


def test_a_kernel_setting_may_be_set_by_its_dotted_name_and_the_others_stay(tmp_path: Path) -> None:
    root = tmp_path / "inventory"
    root.mkdir()
    (root / "hosts.yml").write_text("all: {hosts: {one: }, vars: {base: , ansible_host: a}}")
    (host,) = load(
        tmp_path, "one", Settings, ["base.sysctl.vm.swappiness='1'", "base.sysctl.vm.dirty_ratio='5'"], False
    )
    assert host.settings.base.sysctl == {"vm.swappiness": "1", "net.core.somaxconn": "4096", "vm.dirty_ratio": "5"}


@pytest.mark.parametrize("arguments", [["--host="], ["--host", ""], ["--host", " ", "--full"]])
def test_an_empty_host_is_never_the_default_one(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setattr("sys.argv", ["inv", "check", *arguments])
    with pytest.raises(Trouble, match="--host is empty"):
        no_empty_host()


@pytest.mark.parametrize("arguments", [[], ["--host", "prod"], ["--host=prod"], ["--full"]])
def test_a_host_or_none_is_no_empty_one(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setattr("sys.argv", ["inv", "check", *arguments])
    no_empty_host()


def test_two_hosts_are_told_to_stand_behind_one_flag() -> None:
    arguments = ["inventory", "--host", "prod", "--host", "lab"]
    done = subprocess.run(
        [sys.executable, "-m", "invoke", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "inv inventory --host prod,lab" in done.stdout + done.stderr
