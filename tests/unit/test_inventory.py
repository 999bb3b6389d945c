"""The inventory: which layer wins, where each value came from, and how a host is reached."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from converge.errors import Trouble, Troubles
from converge.inventory.hosts import Host, explain, load, names, own_files
from roles.settings.model import Settings

ROOT = Path(__file__).resolve().parents[2]
Write = Callable[[dict[str, str]], Path]


class Free(BaseModel):
    """A model that accepts any mapping, to test layers alone."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    who: str = "nobody"
    map: dict[str, Any] = {"from": "default"}
    items: list[int] = []
    lab: bool = False


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def files(contents: dict[str, str]) -> Path:
        for name, text in contents.items():
            path = tmp_path / "inventory" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return files


HOSTS = """
all:
  vars: {who: all-inline}
  children:
    outer:
      vars: {who: outer-inline}
      children:
        inner:
          hosts:
            one: {ansible_host: 10.0.0.1, ansible_port: 2222}
            two: {ansible_host: two.example.org}
    empty:
"""


def load_one(root: Path, *sets: str, model: type = Free, **more: Any) -> Host:
    (host,) = load(root, "one", model, sets, **more)
    return host


LAYERS = [
    ("group_vars/all.yml", "all"),
    ("group_vars/outer.yml", "outer"),
    ("group_vars/inner.yml", "inner"),
    ("host_vars/one.yml", "host"),
]


@pytest.mark.parametrize("count", range(1, len(LAYERS) + 1))
def test_each_layer_covers_the_ones_before_it(write: Write, count: int) -> None:
    root = write({"hosts.yml": HOSTS, **{name: f"who: {who}\n" for name, who in LAYERS[:count]}})
    host = load_one(root)
    assert host.settings.who == LAYERS[count - 1][1]
    assert host.origins["who"].origin == f"inventory/{LAYERS[count - 1][0]}:1"


def test_settings_beside_groups_are_weaker_than_files_of_groups_and_stronger_from_outside_in(write: Write) -> None:
    assert load_one(write({"hosts.yml": HOSTS})).settings.who == "outer-inline"
    assert load_one(write({"group_vars/all.yml": "who: file"})).settings.who == "file"


def test_set_is_last(write: Write) -> None:
    host = load_one(write({"hosts.yml": HOSTS, "host_vars/one.yml": "who: host"}), "who=flag")
    assert (host.settings.who, host.origins["who"].origin) == ("flag", "--set")


def test_mappings_merge_by_key_and_lists_replace(write: Write) -> None:
    root = write(
        {
            "hosts.yml": HOSTS,
            "group_vars/all.yml": "map: {a: 1, b: {c: 1, d: 1}}\nitems: [1, 2]",
            "host_vars/one.yml": "map: {b: {c: 2}}\nitems: [3]",
        }
    )
    host = load_one(root)
    assert host.settings.map == {"from": "default", "a": 1, "b": {"c": 2, "d": 1}}
    assert host.settings.items == [3]
    assert host.origins["map.b.d"].origin == "inventory/group_vars/all.yml:1"
    assert host.origins["map.b.c"].origin == "inventory/host_vars/one.yml:1"
    assert host.origins["map.from"].origin == "default"


def test_a_key_without_a_value_counts_as_not_set_and_takes_back_what_was_said(write: Write) -> None:
    root = write(
        {
            "hosts.yml": HOSTS,
            "group_vars/all.yml": "map: {a: 1}\nwho: all",
            "host_vars/one.yml": "map:\n  a:\n  from:\nwho:\n",
        }
    )
    assert load_one(root).settings.map == {}
    assert load_one(root).settings.who == "nobody"


def test_a_reference_to_a_secret_replaces_another_as_a_whole(write: Write) -> None:
    root = write(
        {"hosts.yml": HOSTS, "group_vars/all.yml": "map: {key: {file: a}}", "host_vars/one.yml": "map: {key: {env: B}}"}
    )
    assert load_one(root).settings.map["key"] == {"env": "B"}


def test_a_file_counts_once_and_a_folder_of_files_in_order(write: Write) -> None:
    root = write(
        {
            "hosts.yml": HOSTS,
            "group_vars/inner/1.yml": "who: first",
            "group_vars/inner/2.yml": "who: second",
            "group_vars/inner/.2.yml.swp": "who: editor",
        }
    )
    assert load_one(root).settings.who == "second"


def test_several_hosts_files_make_one_inventory(write: Write) -> None:
    root = write(
        {"hosts.yml": HOSTS, "more.yml": "all: {children: {inner: {hosts: {three: {ansible_host: 10.0.0.3}}}}}"}
    )
    assert [host.name for host in load(root, "outer", Free)] == ["one", "two", "three"]
    assert names(root) == (["one", "two", "three"], ["all", "outer", "inner", "empty"])


@pytest.mark.parametrize(
    ("chosen", "hosts"),
    [
        ("one", ["one"]),
        ("all", ["one", "two"]),
        ("outer", ["one", "two"]),
        ("two, one,two", ["two", "one"]),
        ("inner,one", ["one", "two"]),
        ("*", ["one", "two"]),
        ("t*", ["two"]),
        ("inn*", ["one", "two"]),
        ("on?", ["one"]),
        ("!one", ["two"]),
        ("all,!one", ["two"]),
        ("all:!one", ["two"]),
        ("one:two", ["one", "two"]),
        ("all,&inner,!t*", ["one"]),
        (" one , two ", ["one", "two"]),
    ],
)
def test_a_name_is_a_host_or_a_group_or_several(write: Write, chosen: str, hosts: list[str]) -> None:
    assert [host.name for host in load(write({"hosts.yml": HOSTS}), chosen, Free)] == hosts


def test_a_host_is_reached_as_ansible_would(write: Write) -> None:
    root = write(
        {
            "hosts.yml": HOSTS,
            "host_vars/one.yml": "ansible_user: me\nansible_ssh_private_key_file: inventory/key\nansible_become: no\n",
            "key": "",
        }
    )
    target = load_one(root).target
    assert (target.name, target.address, target.port, target.user, target.become) == (
        "one",
        "10.0.0.1",
        2222,
        "me",
        False,
    )
    assert target.key_file == str(root / "inventory/key")
    assert target.known_hosts == root / "inventory/known_hosts"
    assert load_one(root).groups == ("all", "outer", "inner")


def test_the_password_of_sudo_is_read_for_a_run_and_never_shown(write: Write) -> None:
    root = write(
        {"hosts.yml": HOSTS, "host_vars/one.yml": "ansible_become_password: {file: inventory/pw}", "pw": "hunter2\n"}
    )
    password = load_one(root).target.become_password
    assert password
    assert password.reveal() == "hunter2"
    assert load_one(root, resolve_secrets=False).target.become_password is None
    assert "hunter2" not in repr(explain(load_one(root))) + repr(load_one(root))
    assert ("ansible_become_password", "[redacted] (file: inventory/pw)", "inventory/host_vars/one.yml:1") in explain(
        load_one(root)
    )


def test_aliases_and_merge_keys_of_yaml_are_read(write: Write) -> None:
    root = write(
        {"hosts.yml": HOSTS, "host_vars/one.yml": "map:\n  a: &base {x: 1, y: 1}\n  b:\n    <<: *base\n    y: 2\n"}
    )
    assert load_one(root).settings.map["b"] == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("map.a.b=1", ("a", "b"), 1),
        ("map.a=[1, x]", ("a",), [1, "x"]),
        ("map.a={x: y}", ("a",), {"x": "y"}),
        ("map.a=a=b", ("a",), "a=b"),
        ('map.a="1:30"', ("a",), "1:30"),
        ("map.from=x", ("from",), "x"),
        ("map.a=2026-01-01", ("a",), "2026-01-01"),
    ],
)
def test_set_reads_its_value_as_yaml(write: Write, text: str, path: tuple[str, ...], value: object) -> None:
    setting: Any = load_one(write({"hosts.yml": HOSTS}), text).settings.map
    for step in path:
        setting = setting[step]
    assert setting == value


@pytest.mark.parametrize("key", ["items.1", "items[1]"])
def test_set_reaches_into_lists(write: Write, key: str) -> None:
    assert load_one(write({"hosts.yml": HOSTS, "host_vars/one.yml": "items: [1, 2]"}), f"{key}=5").settings.items == [
        1,
        5,
    ]


def test_set_finds_a_key_that_has_dots_itself(write: Write) -> None:
    assert (
        load_one(
            write({"hosts.yml": HOSTS, "host_vars/one.yml": "map: {vm.swappiness: a}"}), "map.vm.swappiness=b"
        ).settings.map["vm.swappiness"]
        == "b"
    )


def test_a_lab_host_that_is_not_up_says_how_to_start_it(write: Write) -> None:
    root = write({"hosts.yml": "all: {hosts: {lab: }}", "group_vars/all.yml": "lab: true\nminio: {nodes: []}"})
    with pytest.raises(Troubles) as raised:
        load(root, "lab", Settings)
    (trouble,) = raised.value.troubles
    assert (trouble.what, trouble.hint) == ("it is not up", "inv lab.up")


def test_a_secret_is_read_once_for_all_hosts(write: Write, tmp_path: Path) -> None:
    asked = "ansible_become_password: {command: 'echo x >> asked; echo secret'}"
    load(write({"hosts.yml": HOSTS, "group_vars/inner.yml": asked}), "all", Free)
    assert (tmp_path / "asked").read_text() == "x\n"


def test_in_the_path_of_a_secret_stands_the_name_of_the_host(write: Write) -> None:
    password = "ansible_become_password: {file: inventory/secrets/%h/sudo}\n"
    others = (
        "map: {a: {file: inventory/secrets/two/a}, b: [{c: {file: inventory/secrets/%h/c}}], d: {file: elsewhere/%h}}\n"
    )
    root = write({"hosts.yml": HOSTS, "group_vars/inner.yml": password + others, "secrets/one/sudo": "hidden\n"})
    host = load_one(root)
    assert host.target.become_password and host.target.become_password.reveal() == "hidden"
    assert own_files(host) == ["c"]


def test_the_inventory_of_the_repository_loads_whole() -> None:
    (prod,) = load(ROOT, "prod", Settings, resolve_secrets=False)
    assert {node.name: node.drive for node in prod.settings.minio.nodes} == {
        "minio1": "drive3",
        "minio2": "drive2",
        "minio3": "drive4",
        "minio4": "drive1",
    }
    assert [bucket.name for bucket in prod.settings.buckets] == ["superdarn-data", "models", "processed-data"]
    assert not prod.settings.lab


def test_every_setting_is_explained_with_its_origin(write: Write) -> None:
    rows = {
        key: (value, origin)
        for key, value, origin in explain(load(ROOT, "prod", Settings, ["edge.listen=0.0.0.0"], False)[0])
    }
    assert rows["edge.listen"] == ("0.0.0.0", "--set")
    assert rows["drives[0].options"] == ("defaults,noatime", "default")
    assert rows["minio.nodes[0].drive"][1].startswith("inventory/group_vars/weatherlearn.yml:")
    assert rows["minio.root_password"][0].startswith("[redacted] (file: ")
    assert all(origin for _, origin in rows.values())


def test_the_engine_reads_an_inventory_without_pydantic() -> None:
    code = "import sys, converge.inventory.hosts; sys.exit('pydantic' in sys.modules or 'paramiko' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_nothing_of_the_inventory_ends_in_a_traceback_when_there_is_none(tmp_path: Path) -> None:
    with pytest.raises((Trouble, Troubles), match="there is no inventory"):
        load(tmp_path, "lab", Settings)


def addresses(root: Path, chosen: str = "all") -> list[tuple[str, str, int | None]]:
    return [(host.name, host.target.address, host.target.port) for host in load(root, chosen, Free)]


NAMED = [
    ("store[1:3]", ["store1", "store2", "store3"]),
    ("store[01:03]", ["store01", "store02", "store03"]),
    ("store[008:010]", ["store008", "store009", "store010"]),
    ("store[:2]", ["store0", "store1", "store2"]),
    ("db-[a:c]", ["db-a", "db-b", "db-c"]),
    ("db-[Y:Z]", ["db-Y", "db-Z"]),
    ("n[1:10:4]", ["n1", "n5", "n9"]),
    ("r[1:2]-n[a:b].example.org", [f"r{r}-n{n}.example.org" for r in (1, 2) for n in "ab"]),
    ("10.0.0.[9:10]", ["10.0.0.9", "10.0.0.10"]),
]


@pytest.mark.parametrize(("written", "hosts"), NAMED)
def test_a_range_is_its_hosts_as_in_ansible_and_their_names_are_their_addresses(
    write: Write, written: str, hosts: list[str]
) -> None:
    root = write({"hosts.yml": f"store:\n  hosts:\n    {written}: {{who: them}}\n"})
    assert addresses(root, "store") == [(name, name, None) for name in hosts]
    assert {host.settings.who for host in load(root, "all", Free)} == {"them"}


@pytest.mark.parametrize(
    "written",
    [
        "a[1]",
        "a[1-3]",
        "a[1:]",
        "a[3:1]",
        "a[c:a]",
        "a[1:3:0]",
        "a[1:3:x]",
        "a[01:100]",
        "a[a:3]",
        "a[1:9",
        "a]",
        "a[]",
        "a[1:99999]",
        "a[1:40]b[1:40]",
        "a[1:9999999999999]",
        "a[1:2:3:4]",
        "a[aa:bb]",
        "a[-1:2]",
    ],
)
def test_a_range_that_is_none_is_one_error_with_its_line(write: Write, written: str) -> None:
    root = write({"hosts.yml": f"all:\n  hosts:\n    one:\n    '{written}':\n"})
    with pytest.raises(Troubles) as raised:
        load(root, "one", Free)
    (trouble,) = raised.value.troubles
    assert trouble.where == "inventory/hosts.yml:4"
    assert trouble.what == f"{written!r} names no hosts"
    assert trouble.why and trouble.hint


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("one:2222", ("one", "one", 2222)),
        ("10.0.0.1:2222", ("10.0.0.1", "10.0.0.1", 2222)),
        ("2001:db8::1", ("2001:db8::1", "2001:db8::1", None)),
        ("[2001:db8::1]:2222", ("2001:db8::1", "2001:db8::1", 2222)),
    ],
)
def test_a_host_may_be_named_by_its_address_and_port(write: Write, written: str, address: tuple[str, str, int]) -> None:
    root = write({"hosts.yml": f"all: {{hosts: {{'{written}': }}}}"})
    assert addresses(root) == [address]
    assert addresses(root, address[0]) == [address]


def test_a_port_behind_a_name_is_weaker_than_what_its_settings_say(write: Write) -> None:
    root = write(
        {"hosts.yml": "all: {hosts: {'n[1:2]:2222': {ansible_host: a}}}", "host_vars/n2.yml": "ansible_port: 3"}
    )
    assert addresses(root) == [("n1", "a", 2222), ("n2", "a", 3)]


def test_the_address_of_a_host_may_be_made_of_its_name(write: Write) -> None:
    hosts = "all: {hosts: {'n[1:2]': {ansible_host: '{{ inventory_hostname }}.example.org'}}}"
    assert addresses(write({"hosts.yml": hosts})) == [("n1", "n1.example.org", None), ("n2", "n2.example.org", None)]


def test_a_range_may_be_chosen(write: Write) -> None:
    root = write({"hosts.yml": "all: {hosts: {'n[1:9]': }}"})
    assert [name for name, _, _ in addresses(root, "n[2:4]:!n3")] == ["n2", "n4"]


def test_hosts_of_no_group_are_ungrouped_as_in_ansible(write: Write) -> None:
    hosts = "all: {hosts: {one: , two: }, children: {store: {hosts: {two: }}}}"
    root = write({"hosts.yml": hosts, "group_vars/ungrouped.yml": "who: alone"})
    assert [(host.name, host.settings.who) for host in load(root, "all", Free)] == [("one", "alone"), ("two", "nobody")]
    assert [host.name for host in load(root, "ungrouped", Free)] == ["one"]
    assert load(root, "one", Free)[0].groups == ("all", "ungrouped")


def test_a_group_with_a_higher_priority_is_stronger_than_its_neighbours(write: Write) -> None:
    hosts = "a: {hosts: {one: }, vars: {who: a, ansible_group_priority: 10}}\nb: {hosts: {one: }, vars: {who: b}}"
    assert load_one(write({"hosts.yml": hosts})).settings.who == "a"
    with pytest.raises(Troubles, match=r"put ansible_group_priority under b\.vars"):
        load(write({"group_vars/b.yml": "ansible_group_priority: 20"}), "one", Free)


SAME = ["ansible_connection: ssh", "ansible_become_method: sudo", "ansible_become_user: root", "ansible_shell_type: sh"]


@pytest.mark.parametrize("line", [*SAME, "ansible_python_interpreter: /usr/bin/python3", "ansible_pipelining: true"])
def test_what_ansible_must_be_told_and_holds_here_anyhow_is_taken(write: Write, line: str) -> None:
    assert load_one(write({"hosts.yml": HOSTS, "group_vars/inner.yml": line})).settings.who == "outer-inline"


@pytest.mark.parametrize("line", SAME)
def test_what_would_be_otherwise_than_here_is_refused(write: Write, line: str) -> None:
    key = line.partition(":")[0]
    with pytest.raises(Troubles, match=f"{key} is local"):
        load(write({"hosts.yml": HOSTS, "group_vars/inner.yml": f"{key}: local"}), "one", Free)


def test_a_lab_host_whose_file_is_empty_is_told_so(write: Write) -> None:
    root = write({"hosts.yml": "all: {hosts: {lab: }}", "group_vars/all.yml": "lab: true", "host_vars/lab.yml": ""})
    with pytest.raises(Troubles, match="is there, and does not say how to reach it"):
        load(root, "lab", Settings)


def test_a_section_without_a_value_is_blamed_where_it_stands(write: Write) -> None:
    hosts = "all: {hosts: {one: }, vars: {roles: [edge]}}"
    root = write({"hosts.yml": hosts, "host_vars/one.yml": "\nedge:\n"})
    with pytest.raises(Troubles) as raised:
        load(root, "one", Settings)
    trouble = raised.value.troubles[0]
    assert (trouble.where, trouble.what) == (
        "inventory/host_vars/one.yml:2",
        "edge has no value, which counts as not set",
    )
    assert trouble.why == "the role edge needs the section edge"


def test_braces_of_a_text_that_is_marked_are_taken_as_they_stand(write: Write) -> None:
    hosts = {"hosts.yml": "all: {hosts: {one: }}", "host_vars/one.yml": 'who: !unsafe "{{ .Name }} {{ it }}"'}
    (host,) = load(write(hosts), "one", Free)
    assert host.settings.who == "{{ .Name }} {{ it }}"


def test_a_short_form_comes_from_where_it_was_written(write: Write) -> None:
    page = "services: {a: {image: x, files: {/etc/a/b: files/a}, data: {/b: /srv/b}}}\nimages: {x: {reference: x:1}}"
    hosts = {"hosts.yml": "all: {hosts: {one: }}", "host_vars/one.yml": page}
    rows = {key: origin for key, _, origin in explain(load(write(hosts), "one", Settings)[0])}
    assert rows["services.a.files./etc/a/b.source"] == "inventory/host_vars/one.yml:1"
    assert rows["services.a.memory"] == "default"
