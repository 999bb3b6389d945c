"""Settings accept hostile values literally or refuse them clearly; the commented example has every key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from converge.inventory.annotations import every_key
from converge.inventory.document import read_text
from converge.inventory.hosts import load
from converge.inventory.layers import dotted
from roles.settings import field_checks, fields
from roles.settings.model import Settings, size_in_bytes

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "inventory" / "group_vars" / "all.yml"

# Each kind of text with one accepted value and some refused ones.
KINDS: dict[str, tuple[str, list[str]]] = {
    "Name": ("minio-1", ["", "-a", "1a", "A", "a b", "a\n", "é", "a" * 32]),
    "PythonPackage": (
        "psycopg2-binary==2.9.13",
        ["", "mlflow", "-r==1", "a b==1", "a==1;b", "a>=1", "a==", "a @ http://x"],
    ),
    "EmailAddress": ("geo.ops@example.org", ["", "a", "a@b", "a b@c.org", "a@c.org\n", "a@-c.org'"]),
    "Package": ("libstdc++6", ["", "-y", "a b", "a;b", "A", "redis-", "redis."]),
    "Label": ("drive_1", ["", "-x", "a b", "a" * 13, "é", "a\n", "$(x)"]),
    "AbsolutePath": (
        "/srv/a,b",
        [
            "",
            "a",
            "/",
            "/a/",
            "/a//b",
            "/a/../b",
            "/a/./b",
            "/a b",
            "/a\n",
            "/$(x)",
            "/`x`",
            "/a'b",
            '/a"b',
            "/é",
            "/a\\b",
            "/a*",
        ],
    ),
    "HostFolder": ("/", ["", "//", "/a/", "a", "/a/../b", "/a b", "/a\n", "/."]),
    "MountPath": (
        "/mnt/drive1",
        [
            "/var/lib/stowage",
            "/var/log/x",
            "/var/tmp/x",
            f"/{'a' * 151}",
            "/",
            "/etc",
            "/etc/x",
            "/usr/local",
            "/mnt",
            "/home",
            "/var/lib/docker/x",
            "/proc/1",
            "/mnt/a:b",
            "/mnt/-a b",
        ],
    ),
    "OwnFolder": (
        "/var/lib/prometheus/node-exporter",
        ["/", "/etc", "/etc/x", "/tmp/x", "/usr/local/x", "/var/lib", "/var/log/x", "/proc/x", "/a/../b", "/a\n"],
    ),
    "DataUserName": ("stowage", ["root", "daemon", "www-data", "nobody", "docker", "systemd-network", "sudo", "A"]),
    "NetworkName": ("stowage", ["bridge", "host", "none", "default", "a b"]),
    "Mail": (
        "anne.b@example.org",
        ["", "anne", "@example.org", "a@b c", "a b@c", "a..b@c", "a@b.", "-anne@example.org"],
    ),
    "PersonName": ("Anne-Zoë O'Ma", ["", " ", "A ", 'A"', "A\\B", "A;B", "A\n", "x" * 256]),
    "Checksum": ("0" * 64, ["", "0" * 63, "A" * 64]),
    "Origin": ("https://storage.example.org:8443", ["", "https://a/", "https://a/b", "storage.example.org", "ftp://a"]),
    "WebUrl": (
        "https://s3.example.org:9000/a",
        [
            "",
            "file:///etc",
            "https://",
            "https:///a",
            "http://a:0",
            "http://a:70000",
            "http://-a",
            "https://a b",
            "ftp://a",
        ],
    ),
    "ListenAddress": ("0.0.0.0", ["", "224.0.0.1", "255.255.255.255", "0.0.0.1", "fe80::1", "ff02::1", "example.org"]),
    "Device": (
        "/dev/disk/by-id/wwn-0x5:1",
        ["/mnt/x", "/dev/disk/by-id/ata-x-part1", "/dev/../etc/passwd", "/dev", "/dev/a b", "/dev/a\n"],
    ),
    "Options": (
        "defaults,allocsize=64m,x-mine.a=5%",
        [
            "",
            "ro",
            "noatme",
            "127.0.0.1",
            "defaults,noauto",
            "bind",
            "user",
            "loop",
            "-o",
            "a, b",
            "a,,b",
            "a b",
            "a,",
            "a\n",
            "$(x)",
            "a,-b",
        ],
    ),
    "Line": ("$(x) `y` 'z' \"é\" -a", ["a\nb", "a\rb", "a\0b", "a\x1bb", "a\x85b", "a\u2028b", "\t"]),
    "LocalFile": ("certs/a b.pem", ["", "-rf", "a\n"]),
    "Url": ("https://example.org/a", ["", "ftp://a", "https://a b", "https://a\ndeb", "-x", "https://$(x)"]),
    "HostName": (
        "s3.example.org",
        ["", "A.example", "a..b", "-a", "a-", "*.a", "a b", "a;b", "a\n", "é", "a" * 64, "a.", "${HOST}", "a/b"],
    ),
    "RoutePath": (
        "/minio-console",
        [
            "",
            "a",
            "/",
            "/a/",
            "/a//b",
            "/a/../b",
            "/a b",
            "/a;",
            "/a{",
            "/$x",
            "/a\n",
            "/é",
            "/(a)",
            '/"',
            "/" + "a" * 200,
        ],
    ),
    "RouteTarget": (
        "grafana:3000",
        ["", "grafana", "grafana:", "grafana:0", "grafana:65536", "a b:1", "minio-apo", "A:1", "a:1\n", "a:1;", "a:01"],
    ),
    "CodeName": ("trixie", ["", "-x", "a b", "a\n", "A"]),
    "KernelSetting": ("net.ipv4.ip_forward", ["", "vm", "-vm.x", "vm.x y", "vm.x=1", "vm.x\n", "vm..x", "../x"]),
    "Address": (
        "172.30.99.11",
        ["", "1.2.3", "01.2.3.4", "1.2.3.4\n", "fe80::1%eth0", "fe80::1%$(x)", "example.org", "-1", "1.2.3.4/24"],
    ),
    "Subnet": (
        "10.0.0.0/16",
        [
            "",
            "10.0.0.1/16",
            "10.0.0.0/30",
            "0.0.0.0/0",
            "fd00::/64",
            "10.0.0.0/24\n",
            "10.0.0.0/024",
            "10.0.0.0/255.0.0.0",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "224.0.0.0/8",
            "10.0.0.0/31",
        ],
    ),
    "BucketName": (
        "superdarn-data",
        [
            "",
            "ab",
            "-abc",
            "abc-",
            "Abc",
            "a_b",
            "a..b",
            "a.-b",
            "a-.b",
            "minio",
            "stowage-proof",
            "abc-s3alias",
            "1.2.3.4",
            "xn--abc",
            "a b c",
            "a" * 64,
            "abc\n",
        ],
    ),
    "Size": ("500GiB", ["", "0GiB", "5GB", "5 GiB", "-5GiB", "1e3GiB", "5GiB\n", "5TiBB"]),
    "ImageReference": (
        "registry.example.org:5000/a/b-c:1.2@sha256:" + "0" * 64,
        [
            "",
            "nginx",
            "a:5000/nginx",
            "-v:1",
            "a b:1",
            "a:1 --privileged",
            "a:1\n",
            "$(x):1",
            "a/B:1",
            "a:",
            "a@sha256:1",
            "../a:1",
        ],
    ),
    "Prefix": ("home/$(x)", ["/home", "a" * 1025, "a\nb", "a\x1bb"]),
    "Variable": ("GF_security.x", ["", "1A", "A=B", "A-B", "A B", "A\n", "$(x)"]),
    "PortAndPath": (
        ":3000/api/health",
        ["", "/", "3000/", ":/", "http://a", ":3000", ":3000/a b", ":3000/#a", ":123456/", ":0/", ":65536/"],
    ),
    "InsidePath": (
        "/etc/pages",
        ["", "/", "etc", "/etc/", "/etc/../x", "/a b", "/a:b", "/proc/1", "/sys", "/dev/shm", "/run/secrets", "/a\n"],
    ),
    "RelativePath": ("conf.d/a.conf", ["", "/a", "a/", "../a", "a/../b", "a//b", "a b", "a\n"]),
    "Capability": ("NET_BIND_SERVICE", ["", "net_admin", "CAP-X", "A B", "ALL\n", "X"]),
    "MinioVariable": ("MINIO_X", ["", "X", "MINIO_", "MINIO_a", "MINIO_A=B", "MINIO_A\n"]),
    "TierName": ("COLD_1-A", ["", "cold", "-A", "1A", "A B", "A/B", "STANDARD", "REDUCED_REDUNDANCY", "A\n", "É"]),
    "PolicyName": ("consoleAdmin", ["", "-a", "a,b", "a b", "a/b", "a\n"]),
    "GroupName": ("ops.team", ["", "-a", "a b", "a,b", "a/b", "a\n"]),
    "UserName": ("a.b@c", ["", "ab", "-abc", "a b", "a:b", "abc\n", "a,b,c"]),
    "DatabaseName": ("Geo_1.x-y", ["", "1a", "-a", "a b", 'a"b', "a'b", "a=b", "a/b", "a\n", "é", "a" * 64, "$(x)"]),
    "ExtensionName": ("uuid-ossp", ["", "-a", "A", "a b", "a/b", "../a", "a;b", "a\n", "a*"]),
    "ServerSetting": ("pg_stat_statements.max", ["", "-c", "A", "a b", "a=b", "a.", "a.b.c", "a\n", "$(x)"]),
    "Encoding": ("UTF8", ["", "utf8", "UTF-8", "U", "UTF8'", "UTF8\n"]),
    "Locale": ("en_US.UTF-8", ["", "-a", "a b", "a'b", "C\n", "$(x)"]),
    "Expiry": (
        "2027-12-31T18:00Z",
        ["", "2027", "2027-02-30", "2027-12-31 18:00", "2027-12-31T25:00Z", "31.12.2027", "never"],
    ),
    "AccessKey": ("trainer-job", ["", "ab", "-abc", "a=b", "abc\n", "a" * 21]),
}


def takes(kind: Any, value: object) -> bool:
    try:
        validated = TypeAdapter(kind, config={"strict": True, "arbitrary_types_allowed": True}).validate_python(value)
    except ValidationError:
        return False
    assert validated == value or kind in (fields.Address, fields.ListenAddress), (
        "taken literally; an address in its shortest form"
    )
    return True


def test_every_kind_of_text_is_tried() -> None:
    kinds = {
        name
        for name, kind in vars(fields).items()
        if getattr(kind, "__metadata__", None) and getattr(kind, "__origin__", None) is str
    }
    assert kinds == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_a_good_value_is_taken_and_bad_ones_are_refused(name: str) -> None:
    good, bad = KINDS[name]
    assert takes(getattr(fields, name), good)
    assert [value for value in bad if takes(getattr(fields, name), value)] == []


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("Grafana.Example.org", "is it grafana.example.org?"),
        ("bücher.example.org", "is it xn--bcher-kva.example.org?"),
        ("a.example.org.", "is it a.example.org?"),
        (" a.example.org ", "is it a.example.org?"),
        ("*.example.org", "each name has a row of its own"),
        ("https://a.example.org", "such as grafana.example.org"),
        ("a..b", "such as grafana.example.org"),
    ],
)
def test_a_name_that_is_written_otherwise_is_told_as_clients_send_it(value: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)) as refused:
        field_checks.host_name(value)
    assert ("is it" in str(refused.value)) == ("is it" in why)


HOSTILE = st.text(
    alphabet=st.sampled_from("az09-_./$()`'\"\\\n\r\t\0;|&<>*?~#%{}[]=:, @+é\u2028\u202e\x7f"), max_size=12
)


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_what_is_taken_breaks_no_line_and_is_no_option(name: str, data: st.DataObject) -> None:
    good, _ = KINDS[name]
    at = data.draw(st.integers(0, len(good)))
    value = good[:at] + data.draw(HOSTILE | st.text(max_size=8)) + good[at:]
    if not takes(getattr(fields, name), value):
        return
    assert len(value.splitlines()) == 1
    assert value.isprintable() or name in ("Line", "LocalFile", "PersonName", "Prefix")
    if name in ("Line", "LocalFile", "PersonName", "Prefix"):  # quoted wherever they go
        return
    assert not value.startswith("-")
    # Part of an address, and quoted wherever it is used.
    of_an_address = {"Url": "~", "WebUrl": "~", "PortAndPath": "~?&"}.get(name, "")
    assert not set(value) - set(of_an_address) & set("$()`'\"\\;|&<>*?~{}[] \t")


@pytest.mark.parametrize(
    "value",
    [
        "hunter2",
        "",
        None,
        5,
        ["a"],
        {},
        {"env": ""},
        {"env": 3},
        {"env": "A", "file": "b"},
        {"plain": "x"},
        {"command": "a\nb"},
    ],
)
def test_only_a_reference_is_a_secret(value: object) -> None:
    with pytest.raises(ValidationError, match="a secret never stands in the inventory"):
        TypeAdapter(fields.SecretValue, config={"arbitrary_types_allowed": True}).validate_python(value)


@pytest.mark.parametrize(
    ("size", "number"),
    [("1B", 1), ("5KiB", 5120), ("2MiB", 2 << 20), ("3GiB", 3 << 30), ("4TiB", 4 << 40), ("10PiB", 10 << 50)],
)
def test_a_size_is_a_number_of_bytes(size: str, number: int) -> None:
    assert size_in_bytes(size) == number


GOOD: dict[str, Any] = {
    "drives": [{"device": f"/dev/disk/by-id/{n}", "label": f"drive{n}", "path": f"/mnt/drive{n}"} for n in (1, 2)],
    "images": {"minio": {"reference": "a/b:1"}, "nginx": {"reference": "nginx:1"}, "postgres": {"reference": "p:17"}},
    "minio": {
        "nodes": [{"name": f"minio{n}", "drive": f"drive{n}", "address": f"172.30.99.1{n}"} for n in (1, 2)],
        "root_user": {"env": "A"},
        "root_password": {"env": "B"},
    },
    "edge": {"routes": [{"port": 9000, "to": "minio-api"}, {"port": 9001, "to": "minio-console"}]},
    "users": [
        {
            "name": "abc",
            "password": {"env": "C"},
            "service_accounts": [{"access_key": "abc-key", "secret_key": {"env": "D"}}],
        }
    ],
}

ONE = {"stowage": {"subnet": "172.30.99.0/24"}}
POSTGRES = {"image": "postgres", "address": "172.30.99.20", "superuser_password": {"env": "P"}}
READ = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
CONTRADICTIONS: list[tuple[list[Any], object, str]] = [
    (["drives", 1, "label"], "drive1", "drives[1].label"),
    (["drives", 1, "path"], "/mnt/drive1", "drives[1].path"),
    (["drives", 1, "path"], "/mnt/drive1/inside", "drives[1].path"),
    (["drives", 1, "device"], "/dev/disk/by-id/1", "drives[1].device"),
    (["drives", 1, "device"], "/dev/sdb", "drives[1].device"),
    (["minio", "nodes", 1, "name"], "minio1", "minio.nodes[1].name"),
    (["minio", "nodes", 1, "drive"], "drive1", "minio.nodes[1].drive"),
    (["minio", "nodes", 1, "drive"], "drive9", "minio.nodes[1].drive"),
    (["minio", "nodes", 1, "address"], "172.30.99.11", "minio.nodes[1].address"),
    (["minio", "nodes", 1, "address"], "172.30.98.12", "minio.nodes[1].address"),
    (["minio", "nodes", 1, "address"], "172.30.99.1", "minio.nodes[1].address"),
    (["minio", "nodes", 1, "address"], "172.30.99.255", "minio.nodes[1].address"),
    (["edge", "routes"], [{"port": 9000, "to": "minio-api"}] * 2, "edge.routes[1]"),
    (["minio", "image"], "mino", "minio.image"),
    (
        ["images"],
        {
            **GOOD["images"],
            "redis": {"reference": "stowage-lab/redis:1", "lab": {"packages": ["redis-server"]}},
            "valkey": {"reference": "stowage-lab/redis:1", "lab": {"packages": ["valkey-server"]}},
        },
        "images.valkey.lab",
    ),
    (["minio", "environment"], {"MINIO_ROOT_PASSWORD": "x"}, "minio.environment.MINIO_ROOT_PASSWORD"),
    (["roles"], ["base", "base"], "roles[1]"),
    (["docker"], {"source": "docker"}, "docker.source"),
    (["minio", "nodes", 1, "name"], "nginx", "minio.nodes[1].name"),
    (["minio", "environment"], {"MINIO_CI_CD": "1"}, "minio.environment.MINIO_CI_CD"),
    (["minio", "environment"], {"MINIO_VOLUMES": "/a"}, "minio.environment.MINIO_VOLUMES"),
    (["networks"], {"stowage": {"subnet": "172.17.0.0/16"}}, "networks.stowage.subnet"),
    (["networks"], {}, "networks"),
    (["networks"], {**ONE, "minio1": {"subnet": "172.30.98.0/24"}}, "networks.minio1"),
    (["networks"], {**ONE, "other": {"subnet": "172.30.0.0/16"}}, "networks.other.subnet"),
    (["networks"], {**ONE, "other": {"subnet": "172.30.98.0/24"}}, "minio.networks"),
    (["minio", "networks"], ["nope"], "minio.networks[0]"),
    (["minio", "networks"], ["stowage", "stowage"], "minio.networks[1]"),
    (["minio", "nodes", 1, "address"], "172.30.99.129", "minio.nodes[1].address"),
    (["edge", "routes", 0, "port"], 22, "edge.routes[0].port"),
    (["edge", "image"], "minio", "edge.image"),
    (["minio", "nodes", 1, "name"], "localhost", "minio.nodes[1].name"),
    (["edge", "tls"], {"certificate": "a.pem", "key": "a.pem"}, "edge.tls.key"),
    (["docker"], {"daemon": {"Live Restore": True}}, "docker.daemon.Live Restore"),
    (["docker"], {"daemon": {"max-downloads": float("inf")}}, "docker.daemon.max-downloads"),
    (["docker"], {"daemon": {"data-root": "/mnt/drive1/docker"}}, "drives[0].path"),
    (["drives", 1, "path"], "/var/lib/stowage/x", "drives[1].path"),
    (["base"], {"sysctl": {"vn.swappiness": "10"}}, "base.sysctl.vn.swappiness"),
    (["base"], {"sysctl": {"vm.swappiness": "1O"}}, "base.sysctl.vm.swappiness"),
    (["base"], {"sysctl": {"vm.swappiness": "300"}}, "base.sysctl.vm.swappiness"),
    (["base"], {"sysctl": {"vm.swappiness": "10 20"}}, "base.sysctl.vm.swappiness"),
    (["base"], {"sysctl": {"net.core.somaxconn": ""}}, "base.sysctl.net.core.somaxconn"),
    (["base"], {"sysctl": {"net.ipv4.ip_forward": "0"}}, "base.sysctl.net.ipv4.ip_forward"),
    (["base"], {"sysctl": {"vm.swappiness": "10", "vm/swappiness": "20"}}, "base.sysctl.vm/swappiness"),
    (["postgres"], {**POSTGRES, "listen": "0.0.0.0", "port": 22}, "postgres.port"),
    (["postgres"], {**POSTGRES, "data": "/mnt/drive1"}, "postgres.data"),
    (["postgres"], {**POSTGRES, "data": "/mnt/drive1/drive1"}, "postgres.data"),
    (["postgres"], {**POSTGRES, "data": "/mnt/drive1/drive1/postgres"}, "postgres.data"),
    (["postgres"], {**POSTGRES, "data": "/var/lib/stowage/data"}, "postgres.data"),
    (["postgres"], {**POSTGRES, "superuser": "pg_me"}, "postgres.superuser"),
    (["policies"], [{"name": "a", "statements": [READ]}] * 2, "policies[1].name"),
    (
        ["buckets"],
        [{"name": "abc", "lifecycle": [{"id": "a", "expire_days": 1}, {"id": "a", "expire_days": 2}]}],
        "buckets[0].lifecycle[1].id",
    ),
    (
        ["users", 0, "service_accounts"],
        [{"access_key": "abc-key", "secret_key": {"env": "D"}}] * 2,
        "users[0].service_accounts[1].access_key",
    ),
    (
        ["users", 0, "service_accounts", 0, "access_key"],
        "abc",
        "users[0].service_accounts[0].access_key",
    ),
    (["users", 0, "policies"], ["nope"], "users[0].policies[0]"),
    (["users", 0, "policies"], ["readonly", "ReadWrite"], "users[0].policies[1]"),
]


def changed(value: Any, path: list[Any], new: object) -> Any:
    if not path:
        return new
    if isinstance(value, list):
        return [changed(item, path[1:], new) if number == path[0] else item for number, item in enumerate(value)]
    return {**value, path[0]: changed(value.get(path[0], {}), path[1:], new)}


@pytest.mark.parametrize(
    ("path", "new", "place"),
    CONTRADICTIONS,
    ids=[f"{contradiction[2]}={contradiction[1]}" for contradiction in CONTRADICTIONS],
)
def test_settings_that_contradict_each_other_are_refused_at_their_place(
    path: list[Any], new: object, place: str
) -> None:
    Settings.model_validate(GOOD)
    with pytest.raises(ValidationError) as raised:
        Settings.model_validate(changed(GOOD, path, new))
    problems = raised.value.errors()[0]["ctx"]["error"].problems
    assert place in [dotted(where) for where, _ in problems]


def uncommented(text: str) -> str:
    """The example with its settings in force: a `#` that no blank follows is removed."""
    return re.sub(r"(?m)^( *)#(?=\S)", r"\1", text)


def paths(node: Any) -> set[str]:
    """The paths of all keys in a YAML tree, items and free names included."""
    below = (
        node.value.items()
        if isinstance(node.value, dict)
        else enumerate(node.value)
        if isinstance(node.value, list)
        else ()
    )
    return {path for step, inner in below for path in (f".{step}", *(f".{step}{rest}" for rest in paths(inner)))}


def test_the_example_has_every_key_of_the_settings() -> None:
    described = {
        re.sub(r"\.\d+(?=\.|$)", "[0]", path).lstrip(".")
        for path in paths(read_text(uncommented(EXAMPLE.read_text()), "all.yml", []))
    }
    missing = [
        dotted(path)
        for path in every_key(Settings)
        if not any(re.fullmatch(re.escape(dotted(path)).replace("NAME", "[^.]+"), place) for place in described)
    ]
    assert missing == []


def example(tmp_path: Path, text: str) -> Any:
    (tmp_path / "inventory" / "group_vars").mkdir(parents=True)
    (tmp_path / "inventory" / "hosts.yml").write_text("all: {hosts: {one: {ansible_host: 10.0.0.1}}}")
    (tmp_path / "inventory" / "group_vars" / "all.yml").write_text(text)
    return load(tmp_path, "one", Settings, resolve_secrets=False)[0].settings


def test_the_example_changes_nothing_as_it_stands(tmp_path: Path) -> None:
    assert example(tmp_path, EXAMPLE.read_text()) == Settings()


def test_the_example_loads_with_all_its_settings_in_force_and_shows_the_defaults(tmp_path: Path) -> None:
    settings = example(tmp_path, uncommented(EXAMPLE.read_text()))
    bare = Settings()
    assert settings.minio and settings.edge and settings.edge.tls and settings.users and settings.policies
    for same in ("base", "data_user", "networks", "lab"):
        assert getattr(settings, same) == getattr(bare, same), f"{same} of the example is not the default"
    assert settings.docker.model_copy(update={"repository_key": None}) == bare.docker
    assert (settings.drives[0].options, settings.edge.listen) == ("defaults,noatime", "127.0.0.1")
