"""The roles of a storage server: their resources, and the cost of a probe."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from converge.engine import plan as planning
from converge.engine import probe
from converge.engine import run as runs
from converge.engine.resource import Resource, Shell, Unknown
from converge.errors import Trouble
from converge.resources.compose import Project
from converge.resources.file import File
from converge.resources.filesystem import Filesystem
from converge.resources.mount import Mount
from converge.resources.mountpoint import MountPoint
from converge.ui import render
from roles import named
from tasks import _first_line
from tests.authority import Authority

ROOT = Path(__file__).resolve().parents[2]
ROLES = ("base", "drives", "docker", "images", "minio", "edge", "postgres", "stack", "buckets", "databases")
SECRETS = ("root-user", "root-password", "user-password", "secret-key", "superuser", "database", "reader")


role = named


def wanted(host, *names: str) -> list[Resource]:
    run = runs.prepare(host, [role(name) for name in names or host.settings.roles])
    return [want.resource for want in run.wants]


def pick(resources, kind, name: str):
    return next(each for each in resources if isinstance(each, kind) and each.name == name)


@pytest.fixture
def tls(tmp_path):
    Authority(tmp_path).sign("own", ["storage.example.org"])
    (tmp_path / "own.crt").rename(tmp_path / "cert.pem")
    (tmp_path / "key.pem").write_text(f"SENTINEL-key\n{(tmp_path / 'own.key').read_text()}")
    return {"certificate": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}


def test_each_resource_has_an_address_of_its_own(storage_host):
    host = storage_host()
    for name in ROLES:
        addresses = [want.resource.address for want in runs.prepare(host, [role(name)]).wants]
        assert sorted(set(addresses)) == sorted(addresses), f"role {name}"
        assert addresses, f"role {name} wants nothing"
        assert not [address for address in addresses if "\n" in address or address.endswith(":")]


def test_each_role_says_what_it_is_for_and_needs_only_roles_that_there_are():
    for name in ROLES:
        assert _first_line(name), name
        assert set(role(name).needs) <= set(ROLES[: ROLES.index(name)]), f"{name} comes after what it needs"


def test_each_drive_is_made_guarded_mounted_and_given_its_directory_in_this_order(storage_host):
    chains = planning.wanted(role("drives"), storage_host())
    for n in (1, 2, 3, 4):
        link = [(want.resource.address, want.after) for want in chains if f"drive{n}" in want.resource.address]
        assert link == [
            (f"filesystem:drive{n}", ()),
            (f"mountpoint:/mnt/drive{n}", (f"filesystem:drive{n}",)),
            (f"mount:/mnt/drive{n}", (f"mountpoint:/mnt/drive{n}",)),
            (f"directory:/mnt/drive{n}/drive{n}", (f"mount:/mnt/drive{n}",)),
        ]


def test_drives_are_mounted_by_the_label_that_they_were_given(storage_host):
    resources = wanted(storage_host(), "drives")
    labels = {each.path: each.label for each in resources if isinstance(each, Mount)}
    assert labels == {f"/mnt/drive{n}": f"drive{n}" for n in (1, 2, 3, 4)}
    assert {each.label for each in resources if isinstance(each, Filesystem)} == set(labels.values())
    assert {each.path for each in resources if isinstance(each, MountPoint)} == set(labels)


def definitions(project: Project) -> dict:
    return yaml.safe_load(project.text())["services"]


def data_of(definition) -> dict:
    return next(volume for volume in definition["volumes"] if volume["target"] == "/data")


def test_each_node_binds_only_the_directory_of_its_own_drive_and_docker_makes_none(storage_host):
    services = definitions(pick(wanted(storage_host(), "minio"), Project, "minio"))
    assert {name: data_of(service)["source"] for name, service in services.items()} == {
        "minio1": "/mnt/drive3/drive3",
        "minio2": "/mnt/drive2/drive2",
        "minio3": "/mnt/drive4/drive4",
        "minio4": "/mnt/drive1/drive1",
    }
    for service in services.values():
        on_drives = [volume["source"] for volume in service["volumes"] if volume["source"].startswith("/mnt")]
        assert len(on_drives) == 1
        assert all(
            volume["type"] == "bind" and volume["bind"]["create_host_path"] is False for volume in service["volumes"]
        )


def test_the_directories_that_containers_bind_are_made_by_the_drives_role(storage_host):
    resources = wanted(storage_host())
    made = {each.name for each in resources if each.kind == "directory"}
    for project in (each for each in resources if isinstance(each, Project)):
        assert {volume["source"] for service in definitions(project).values() for volume in service["volumes"]} <= made


def test_the_shipped_inventory_lays_the_nodes_on_the_drives_as_the_system_has_them():
    settings = yaml.safe_load((ROOT / "inventory" / "group_vars" / "weatherlearn.yml").read_text())
    assert [(node["name"], node["drive"]) for node in settings["minio"]["nodes"]] == [
        ("minio1", "drive3"),
        ("minio2", "drive2"),
        ("minio3", "drive4"),
        ("minio4", "drive1"),
    ]
    example = yaml.safe_load((ROOT / "inventory" / "host_vars" / "prod.yml").read_text())
    assert {drive["label"]: drive["path"] for drive in example["drives"]} == {
        f"drive{n}": f"/mnt/drive{n}" for n in (1, 2, 3, 4)
    }


def test_all_nodes_are_alike_but_for_their_name_address_and_drive(storage_host):
    services = definitions(pick(wanted(storage_host(), "minio"), Project, "minio"))
    for name, service in services.items():
        del (
            service["labels"],
            service["networks"],
            service["container_name"],
            service["hostname"],
            service["extra_hosts"],
        )
        service["volumes"].remove(data_of(service))
        assert service == services["minio1"], name


def test_the_nodes_know_each_other_by_fixed_addresses_and_nginx_knows_them_all(storage_host):
    resources = wanted(storage_host())
    services = definitions(pick(resources, Project, "minio"))
    addresses = {name: service["networks"]["stowage"]["ipv4_address"] for name, service in services.items()}
    for name, service in services.items():
        assert sorted(service["extra_hosts"]) == sorted(
            f"{other}:{at}" for other, at in addresses.items() if other != name
        )
    config = pick(resources, File, "/etc/stowage/nginx/conf/nginx.conf").text
    for upstream, port in (("api", 9000), ("uploads", 9000), ("console_sticky", 9001)):
        (block,) = re.findall(rf"^    upstream {upstream} \{{(.*?)^    \}}", config, re.MULTILINE | re.DOTALL)
        assert re.findall(rf"^ *server ([\d.]+):{port} ", block, re.MULTILINE) == list(addresses.values())


def test_containers_have_no_rights_that_they_do_not_need(storage_host):
    for project in (each for each in wanted(storage_host()) if isinstance(each, Project)):
        for service in definitions(project).values():
            assert service["user"] == "9000:9000"
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
            assert service["security_opt"] == ["no-new-privileges:true"]
            assert service["restart"] == "unless-stopped"


def expanded(command: list[str]) -> list[str]:
    """Endpoints as MinIO expands them: `{1...4}` stands for each number from 1 to 4."""
    arguments = []
    for word in command:
        head, brace, rest = word.partition("{")
        span, _, tail = rest.partition("}")
        first, _, last = span.partition("...")
        arguments += [f"{head}{n}{tail}" for n in range(int(first), int(last) + 1)] if brace else [word]
    return arguments


@pytest.mark.parametrize(
    "names",
    [
        ["a1", "b2"],
        ["n2", "n1"],
        ["n1", "n3"],
        ["n", "n2"],
        ["n01", "n02"],
        ["n09", "n10"],
        ["n9", "n10"],
        ["n1", "n01"],
    ],
)
def test_endpoints_name_each_node_once_and_in_order(storage_host, names):
    nodes = [{"name": name, "drive": f"drive{n}", "address": f"172.30.99.1{n}"} for n, name in enumerate(names, 1)]
    services = definitions(pick(wanted(storage_host(minio__nodes=nodes), "minio"), Project, "minio"))
    urls = [word for word in services[names[0]]["command"] if word.startswith("http")]
    assert expanded(urls) == [f"http://{name}:9000/data" for name in names]


def test_endpoints_in_one_range_are_one_pool(storage_host):
    services = definitions(pick(wanted(storage_host(), "minio"), Project, "minio"))
    assert services["minio3"]["command"][-1] == "http://minio{1...4}:9000/data"


@pytest.mark.parametrize(
    ("path", "value", "services"),
    [
        ("minio__environment", {"MINIO_BROWSER": "off"}, {"minio1", "minio2", "minio3", "minio4"}),
        ("edge__listen", "10.0.0.5", {"nginx"}),
        ("buckets", [], set()),
        ("base__packages", ["curl"], set()),
        ("images__nginx__reference", "docker.io/library/nginx:1.30", {"nginx"}),
        (
            "images__minio__reference",
            "docker.io/pgsty/silo:RELEASE.2027-01-01T00-00-00Z",
            {"minio1", "minio2", "minio3", "minio4"},
        ),
    ],
)
def test_a_setting_recreates_the_services_that_it_is_about_and_no_others(storage_host, path, value, services):
    def hashes(host):
        projects = [each for each in wanted(host) if isinstance(each, Project)]
        return {name: project.hash_of(name) for project in projects for name in project.services}

    before, after = hashes(storage_host()), hashes(storage_host(**{path: value}))
    assert {name for name in before if before[name] != after[name]} == services


# The cost of a probe.


ONCE = {
    "dpkg-query": 1,
    "systemctl show": 1,
    "getent passwd": 1,
    "getent group": 1,
    "lsblk -Pno": 1,
    "unshare -m": 1,
    "curl": None,
    "docker": None,
}


def test_each_kind_asks_once_for_all_of_its_resources(storage_host, tls):
    few, many = storage_host(), storage_host(edge__tls=tls)
    few = storage_host(
        drives=few.settings.model_dump()["drives"][:1],
        minio__nodes=[{"name": "minio1", "drive": "drive1", "address": "172.30.99.11"}],
    )
    counts = []
    for host in (few, many):
        text = probe.script(wanted(host), "marker")
        counts.append({word: len(re.findall(rf"(?<![\w/-]){re.escape(word)}(?![\w-])", text)) for word in ONCE})
    assert counts[0] == counts[1], "four drives and nodes cost no more processes than one"
    assert {word: counts[1][word] for word, times in ONCE.items() if times} == {
        word: times for word, times in ONCE.items() if times
    }


def test_files_are_read_by_one_sha256sum_and_all_paths_by_one_ls_and_one_lsattr(storage_host, tls):
    resources = wanted(storage_host(edge__tls=tls))
    files = [each for each in resources if isinstance(each, File)]
    assert len(files) > 8
    assert File.probe(files).count("sha256sum") == 1
    text = probe.script(resources, "marker")
    assert (text.count("ls -ldU"), text.count("lsattr -d -- /")) == (1, 1)


def test_docker_is_asked_no_more_often_than_there_are_kinds_of_its_things(storage_host):
    resources = wanted(storage_host())
    text = probe.script(resources, "marker")
    kinds = {each.kind for each in resources} & {"network", "image", "project", "loaded"}
    assert 1 <= len(re.findall(r"docker (?:\w+ )?inspect", text)) <= len(kinds)


def test_the_whole_probe_is_a_script_that_a_shell_can_read(storage_host, tls):
    text = probe.script(wanted(storage_host(edge__tls=tls)), "marker")
    done = subprocess.run(["/bin/sh", "-n"], input=text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_fix_is_a_script_that_a_shell_can_read(storage_host, tls):
    for each in wanted(storage_host(edge__tls=tls)):
        for step in each.fix(None):
            if isinstance(step, Shell):
                done = subprocess.run(["/bin/sh", "-n"], input=step.script, text=True, capture_output=True, check=False)
                assert (done.returncode, done.stderr) == (0, ""), each.address


# Secrets.


def holds_secret(text: str) -> bool:
    hidden = [base64.b64encode(f"SENTINEL-{name}".encode()).decode()[:12] for name in SECRETS]
    return "SENTINEL" in text or any(secret in text for secret in hidden)


def before_of(resource: Resource) -> dict[str, str]:
    """A reading in which everything differs."""
    return {key: "other 1" for key in (resource.desired() or {})} | {
        "content": "old",
        "type": "file",
        "mode": "0644",
        "holds": "data",
        "source": "/dev/x",
    }


def test_no_secret_is_in_anything_that_is_compared_shown_or_probed(storage_host, tls):
    host = storage_host(edge__tls=tls)
    resources = wanted(host)
    assert not holds_secret(probe.script(resources, "marker"))
    for each in resources:
        shown = [
            repr(each),
            str(each),
            str(each.desired()),
            str(each.diff(before_of(each))),
            each.note(None),
            each.remembered(),
            each.address,
        ]
        if isinstance(each, Project):
            shown += [each.text(), str(each.fix(None))]
        assert not [text for text in shown if holds_secret(text)], each.address


@pytest.mark.parametrize("reading", ["absent", "other", "unknown"])
def test_no_secret_is_in_a_plan_on_the_screen_or_for_a_machine(storage_host, tls, reading):
    host = storage_host(edge__tls=tls)
    run = runs.prepare(host, [role(name) for name in ROLES])
    states = {
        want.resource.address: {"absent": None, "other": before_of(want.resource), "unknown": Unknown("late")}[reading]
        for want in run.wants
    }
    plan = planning.make("prod", run.roles, run.wants, states, {})
    assert not holds_secret("\n".join(render.plan(plan, full=True)))
    assert not holds_secret(json.dumps(render.as_json([plan], {"prod": 2})))


def test_secrets_reach_the_host_only_as_files_that_their_user_alone_may_read(storage_host, tls):
    for each in wanted(storage_host(edge__tls=tls)):
        if any(isinstance(step, Shell) and holds_secret(step.script) for step in each.fix(None)):
            assert isinstance(each, File)
            assert each.secret
            assert (each.mode, each.owner) == ("0400", "stowage"), each.address


# Missing settings are reported before any connection.


@pytest.mark.parametrize("name", ["minio", "edge", "buckets", "postgres", "databases"])
def test_a_role_without_its_settings_says_so(storage_host, name):
    host = storage_host()
    missing = ("minio", "edge", "postgres")
    host.settings = host.settings.model_copy(update=dict.fromkeys(missing))
    with pytest.raises(Trouble):
        wanted(host, name)


@pytest.mark.parametrize("missing", ["certificate", "key"])
def test_a_certificate_that_is_not_there_is_said(storage_host, tls, missing):
    tls[missing] += ".none"
    with pytest.raises(Trouble, match=rf"edge\.tls\.{missing} cannot be read"):
        wanted(storage_host(edge__tls=tls), "edge")


def test_a_certificate_that_is_not_text_is_said(storage_host, tls):
    Path(tls["key"]).write_bytes(b"\x30\x82\xff\xfe")
    with pytest.raises(Trouble, match=r"edge\.tls\.key cannot be read"):
        wanted(storage_host(edge__tls=tls), "edge")


@pytest.mark.parametrize(
    "reference", ["minio/minio:RELEASE.2025-01-01T00-00-00Z", "docker.io/minio/minio:1", "quay.io/minio/minio:1"]
)
def test_an_image_that_can_no_longer_be_pulled_is_refused_with_its_replacement(storage_host, reference):
    host = storage_host(images__minio__reference=reference)
    run = runs.prepare(host, [role("images")])
    (change,) = [
        each
        for each in planning.make(
            "prod", run.roles, run.wants, {want.resource.address: None for want in run.wants}, {}
        ).changes
        if reference in each.address
    ]
    assert change.action.value == "!"
    assert "silo" in change.hint


def test_tls_is_on_for_both_ports_or_for_none(storage_host, tls):
    for settings, ssl in (({}, ""), ({"edge__tls": tls}, " ssl")):
        resources = wanted(storage_host(**settings), "edge")
        config = pick(resources, File, "/etc/stowage/nginx/conf/nginx.conf").text
        ports = [f"{port}{ssl} default_server" for port in (9000, 9001)]
        assert re.findall(r"^ *listen (9.*);", config, re.MULTILINE) == ports


@pytest.mark.parametrize(
    ("listen", "ports"),
    [("127.0.0.1", "127.0.0.1:9000:9000"), ("::1", "[::1]:9000:9000"), ("0.0.0.0", "0.0.0.0:9000:9000")],
)
def test_ports_are_published_where_the_settings_say(storage_host, listen, ports):
    services = definitions(pick(wanted(storage_host(edge__listen=listen), "edge"), Project, "nginx"))
    assert services["nginx"]["ports"][0] == ports
