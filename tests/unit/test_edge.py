"""The table of routes: nginx's configuration for each column, and refused rows."""

from __future__ import annotations

from types import SimpleNamespace

import bcrypt
import pytest
from pydantic import ValidationError

from converge.engine import run as runs
from converge.inventory.secret import Secret
from converge.resources.compose import Project
from converge.resources.file import File
from roles.edge import nginx
from roles.edge.role import edge, hashed
from runbook.machine_status import _urls
from tests.authority import Authority

NETWORKS = {"stowage": {"subnet": "172.30.99.0/24"}, "monitoring": {"subnet": "172.31.0.0/24"}}
SERVICES = {
    "grafana": {"image": "nginx", "networks": ["monitoring"]},
    "mlflow": {"image": "nginx", "networks": ["stowage"]},
    "off": {"image": "nginx", "networks": ["stowage"], "enabled": False},
}
TLS = {"certificate": "edge.crt", "key": "edge.key"}
OWN = {"certificate": "own.crt", "key": "own.key"}
TABLE = [
    {"port": 9000, "to": "minio-api", "body_limit": "5GiB", "tls": False},
    {"port": 443, "to": "minio-console", "path": "/minio-console", "sticky": True, "websocket": True},
    {"port": 443, "to": "grafana:3000", "path": "/grafana", "websocket": True},
    {"port": 443, "to": "mlflow:5000", "host": "mlflow.example.org", "auth": "basic", "tls": OWN, "body_limit": "1MiB"},
    {"port": 443, "to": "mlflow:5000", "host": "api.example.org", "path": "/v1.0", "strip_path": True},
    {"port": 443, "to": "grafana:3000", "host": "one.example.org", "auth": "basic", "users": ["anne"]},
    {"port": 8443, "to": "minio-api", "host": "s3.example.org"},
    {"port": 80, "to": "grafana:3000", "host": "plain.example.org", "tls": False},
    {"port": 80, "to": "https:443"},
    {"port": 443, "to": "s3-elsewhere", "path": "/storage"},
    {"port": 8090, "to": "grafana:3000", "path": "/auth", "inside": True, "kept": ["/auth/keys", "/auth/a/.known"]},
    {"port": 15432, "to": "postgres:5432", "tcp": True},
]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """The folder with two certificates and their keys."""
    folder = tmp_path_factory.mktemp("pairs")
    authority = Authority(folder)
    authority.sign("edge", ["storage.example.org", "grafana.example.org", "*.example.org"])
    authority.sign("own", ["mlflow.example.org"])
    return folder


@pytest.fixture
def host(storage_host, pairs):
    """A host with these routes; by default with a table that uses every column."""

    def inside(tls):
        return {key: str(pairs / name) for key, name in tls.items()} if tls else tls

    def make(*rows: dict, **changes) -> SimpleNamespace:
        routes = [{**row, **({"tls": inside(row["tls"])} if "tls" in row else {})} for row in rows or TABLE]
        made = {"routes": routes, "tls": inside(TLS), "users": {}, **changes}
        if any("auth" in row for row in routes) and not made["users"]:
            made["users"] = {"anne": Secret("SENTINEL-anne"), "bert": Secret("SENTINEL-bert")}
        environment = {
            "MINIO_BROWSER_REDIRECT_URL": "https://example.org/minio-console",
            "MINIO_DOMAIN": "s3.example.org",
        }
        services = {name: dict(page) for name, page in SERVICES.items()}
        return storage_host(
            networks=NETWORKS,
            services=services,
            edge=made,
            minio__environment=environment,
            minio__networks=["stowage"],
            postgres__networks=["stowage"],
        )

    return make


def wanted(made, kind: type) -> list:
    return [want.resource for want in runs.prepare(made, [edge]).wants if isinstance(want.resource, kind)]


def test_a_table_with_every_column_is_what_nginx_reads(host, golden):
    """The routes to MinIO's nodes have their own tests."""
    text = nginx.config(host(), host().settings.edge)
    api = "        # One error may lead", "    }\n    server {"
    while api[0] in text:
        start = text.index(api[0])
        text = text[:start] + "        (MinIO's API)\n" + text[text.index(api[1], start) :]
    start, end = text.index("# The ways to the nodes"), text.index("    upstream console")
    golden("edge_nginx", text[:start] + "    (the nodes of MinIO)\n" + text[end:])


def test_the_edge_joins_the_networks_of_what_it_leads_to_and_publishes_each_port_once(host):
    (project,) = wanted(host(), Project)
    container = project.services["nginx"]
    assert container["networks"] == {"stowage": {}, "monitoring": {}}
    assert container["ports"] == [f"127.0.0.1:{port}:{port}" for port in (80, 443, 8443, 9000, 15432)]
    (alone,) = wanted(host({"port": 80, "to": "grafana:3000"}), Project)
    assert alone.services["nginx"]["networks"] == {"monitoring": {}}


def test_what_containers_alone_reach_is_not_published_and_what_is_kept_outlives_the_container(host):
    (project,) = wanted(host(), Project)
    assert "8090" not in str(project.services["nginx"]["ports"])
    assert any(volume["source"] == "/srv/stowage/nginx" for volume in project.services["nginx"]["volumes"])
    (config,) = [file for file in wanted(host(), File) if file.path.endswith("nginx.conf")]
    assert "--tmpfs /var/cache/stowage" in config.check, "nginx makes this folder even when it only checks"
    (alone,) = wanted(host(ROW), Project)
    assert "/srv/stowage/nginx" not in str(alone.services["nginx"])


def test_who_gets_in_stands_there_hashed_the_same_in_each_run_and_only_nginx_reads_it(host):
    files = {file.path.rpartition("/")[2]: file for file in wanted(host(), File) if "/users" in file.path}
    assert {name: file.mode for name, file in files.items()} == {"users0": "0400", "users1": "0400"}
    lines = [line.partition(":")[::2] for line in files["users0"].text.splitlines()]
    assert [name for name, _ in lines] == ["anne", "bert"]
    assert all(bcrypt.checkpw(f"SENTINEL-{name}".encode(), kept.encode()) for name, kept in lines)
    assert files["users1"].text.splitlines() == files["users0"].text.splitlines()[:1]
    assert "SENTINEL" not in str(files)
    again = {file.path: file.sha256 for file in wanted(host(), File)}
    assert again == {file.path: file.sha256 for file in wanted(host(), File)}


def test_two_users_or_two_hosts_with_one_password_have_two_hashes():
    password = Secret("one-and-the-same")
    assert len({hashed(name, user, password) for name in ("a", "b") for user in ("anne", "bert")}) == 4


def test_each_certificate_is_there_once(host):
    paths = [file.path.rpartition("/")[2] for file in wanted(host(), File) if "/tls" in file.path]
    assert paths == ["tls.crt", "tls.key", "tls1.crt", "tls1.key"]


def test_without_routes_to_minio_nothing_asks_for_its_nodes(host):
    made = host({"port": 80, "to": "grafana:3000"})
    assert "172.30.99.11" not in nginx.config(made, made.settings.edge)
    assert nginx.settle(made) == nginx.passes(made) == ":"
    (project,) = wanted(made, Project)
    assert "settled" not in str(project.services["nginx"]["command"])


def test_status_asks_for_what_leads_to_minio_by_the_names_of_its_rows(host):
    assert list(_urls(host(), "10.0.0.5")) == [
        "http://10.0.0.5:9000/minio/health/cluster",
        "https://s3.example.org:8443/minio/health/cluster",
        "https://10.0.0.5:443/minio-console/",
    ]


ROW = {"port": 80, "to": "grafana:3000"}
S3 = {"port": 9000, "to": "minio-api"}
WRONG = {
    "no such service": ([{**ROW, "to": "grafna:3000"}], "edge.routes.0.to", "no service grafna; grafana is near"),
    "a node": ([{**ROW, "to": "minio1:9000"}], "edge.routes.0.to", "no service minio1"),
    "another port of PostgreSQL": ([{**ROW, "to": "postgres:5433", "tcp": True}], "edge.routes.0.to", "at 5432"),
    "one place twice": ([ROW, {**ROW, "to": "mlflow:5000"}], "edge.routes.1", "the same place as edge.routes[0]"),
    "one place by name": ([{**ROW, "host": "a.b"}, {**ROW, "host": "a.b"}], "edge.routes.1", "the same place"),
    "a path beside S3": ([S3, {**ROW, "port": 9000, "path": "/a"}], "edge.routes.1.path", "a bucket of MinIO may"),
    "bytes and names": ([ROW, {"port": 80, "to": "postgres:5432", "tcp": True}], "edge.routes.1.port", "bytes"),
    "SSH": ([{**ROW, "port": 22}], "edge.routes.0.port", "SSH server listens there"),
    "its own port": ([{**ROW, "port": 65000}], "edge.routes.0.port", "asks itself there"),
    "S3 under a path": ([{**S3, "path": "/storage"}], "edge.routes.0.path", "part of what S3's clients sign"),
    "S3 with a password": ([{**S3, "auth": "basic"}], "edge.routes.0.auth", "sign each request"),
    "S3 that is sticky": ([{**S3, "sticky": True}], "edge.routes.0.sticky", "each node answers for all"),
    "S3 as bytes": ([{**S3, "tcp": True}], "edge.routes.0.tcp", "many nodes"),
    "a sticky service": ([{**ROW, "sticky": True}], "edge.routes.0.sticky", "one container"),
    "bytes with a path": ([{**ROW, "tcp": True, "path": "/a"}], "edge.routes.0.path", "knows no path"),
    "bytes with TLS": ([{**ROW, "tcp": True, "tls": OWN}], "edge.routes.0.tls", "the service itself speaks TLS"),
    "https that is not there": (
        [{"port": 80, "to": "https:8443", "tls": False}],
        "edge.routes.0.to",
        "no row of port 8443",
    ),
    "https with a path": ([{"port": 80, "to": "https:443", "path": "/a"}], "edge.routes.0.path", "all of a port"),
    "no S3 to tell of": ([{**ROW, "to": "s3-elsewhere", "path": "/a"}], "edge.routes.0.to", "nothing to tell"),
    "S3 told with a password": (
        [S3, {**ROW, "to": "s3-elsewhere", "path": "/a", "auth": "basic"}],
        "edge.routes.1.auth",
        "answers by itself",
    ),
    "inside and out": ([ROW, {**ROW, "path": "/a", "inside": True}], "edge.routes.1.inside", "reached from outside"),
    "inside with TLS": ([{**ROW, "inside": True, "tls": OWN}], "edge.routes.0.tls", "no certificate has"),
    "kept for outside": ([{**ROW, "kept": ["/a"]}], "edge.routes.0.kept", "anybody outside"),
    "kept elsewhere": (
        [{**ROW, "path": "/a", "inside": True, "kept": ["/b"]}],
        "edge.routes.0.kept.0",
        "not lie in /a",
    ),
    "kept twice": ([{**ROW, "inside": True, "kept": ["/b", "/b"]}], "edge.routes.0.kept.1", "stands twice"),
    "nothing to strip": ([{**ROW, "strip_path": True}], "edge.routes.0.strip_path", "there is no path"),
    "TLS and none": ([{**ROW, "path": "/a"}, {**ROW, "tls": False}], "edge.routes.1.tls", "one of them has no TLS"),
    "two certificates": ([{**ROW, "path": "/a"}, {**ROW, "tls": OWN}], "edge.routes.1.tls", "another certificate"),
    "users without auth": ([{**ROW, "users": ["anne"]}], "edge.routes.0.users", "asked for nothing"),
    "nobody of that name": ([{**ROW, "auth": "basic", "users": ["ann"]}], "edge.routes.0.users.0", "anne is near"),
    "a console that does not know": (
        [{"port": 80, "to": "minio-console", "path": "/c"}],
        "edge.routes.0.path",
        "edge.url",
    ),
}


def problems(host, rows: list[dict], **changes) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        host(*rows, **changes)
    return {".".join(map(str, where)): why for where, why in caught.value.errors()[0]["ctx"]["error"].problems}


@pytest.mark.parametrize("case", WRONG)
def test_a_row_that_cannot_be_is_refused_at_its_place_with_the_reason(host, case):
    rows, where, why = WRONG[case]
    assert why in problems(host, rows)[where]


@pytest.mark.parametrize(
    ("rows", "users", "where", "why"),
    [
        ([ROW], {"anne": Secret("long-enough")}, "edge.users", "no route has auth"),
        ([{**ROW, "auth": "basic"}], {"anne": Secret("short")}, "edge.users.anne", "8 to 72 bytes"),
        ([{**ROW, "auth": "basic"}], {"anne": Secret("é" * 37)}, "edge.users.anne", "8 to 72 bytes"),
        ([{**ROW, "auth": "basic"}], {"anne": Secret("password")}, "edge.users.anne", "vendor's default"),
    ],
)
def test_passwords_that_are_asked_for_by_nobody_or_cannot_be_taken_are_refused(host, rows, users, where, why):
    assert why in problems(host, rows, users=users)[where]


@pytest.mark.parametrize(
    ("url", "rows", "wrong"),
    [
        ("http://storage.example.org", [{"port": 443, "to": "grafana:3000"}, {"port": 80, "to": "https:443"}], True),
        ("http://storage.example.org:443", [{"port": 443, "to": "grafana:3000"}], True),
        ("https://storage.example.org", [{"port": 443, "to": "grafana:3000"}, {"port": 80, "to": "https:443"}], False),
        ("http://storage.example.org", [{**ROW, "tls": False}], False),
        ("http://storage.example.org", [{**ROW, "host": "other.example.org"}], False),
        # TLS ends before this host.
        ("https://storage.example.org", [{**ROW, "tls": False}], False),
    ],
)
def test_an_address_without_tls_where_there_is_nothing_else_is_refused(host, url, rows, wrong):
    if wrong:
        assert "begins with https://" in problems(host, rows, url=url)["edge.url"]
    else:
        assert host(*rows, url=url)


def test_a_port_of_the_host_belongs_to_one_of_edge_postgres_and_services(storage_host):
    for changes in ({"postgres__listen": "127.0.0.1", "postgres__port": 9000},):
        with pytest.raises(ValidationError, match=r"edge\.routes\.0\.port has this port of the host already"):
            storage_host(**changes)


def test_a_row_to_a_server_that_is_no_role_of_the_host_is_refused(storage_host):
    with pytest.raises(ValidationError, match="roles has no minio"):
        storage_host(roles=["docker", "images", "edge"])


def test_passwords_in_clear_are_told_in_the_plan(host):
    rows = [{"port": 80, "to": "grafana:3000", "tls": False}]
    (project,) = wanted(host(*rows, listen="0.0.0.0"), Project)
    assert "0.0.0.0:80 without TLS: keys are signed, data is not hidden" in project.warning
    (project,) = wanted(host({**rows[0], "auth": "basic"}, listen="0.0.0.0"), Project)
    assert "data and passwords are not hidden" in project.warning
    assert not wanted(host(), Project)[0].warning


def test_a_row_to_a_service_that_is_off_is_nowhere(host):
    rows = [TABLE[0], {"port": 80, "to": "off:80", "tls": False}]
    (config,) = [file for file in wanted(host(*rows), File) if file.path.endswith("nginx.conf")]
    assert "off:80" not in config.text and "listen 80" not in config.text
