"""The table of routes for Traefik, certificates of an outside authority, and refused settings."""

from __future__ import annotations

import json
import subprocess
import time
from types import SimpleNamespace

import pytest
import yaml
from pydantic import ValidationError

from converge.engine import run as runs
from converge.engine.gone import no_longer_wanted
from converge.errors import Trouble
from converge.inventory.secret import Secret
from converge.resources.compose import NoProject, Project
from converge.resources.file import File
from roles import named
from roles.edge import acme, authority, renewal, traefik
from roles.edge.role import edge
from roles.edge.served import Served, look, places, read
from roles.postgres.role import postgres
from roles.stack import stack
from tests.authority import Authority

SERVICES = {"mlflow": {"image": "nginx"}, "off": {"image": "nginx", "enabled": False}}
TABLE = [
    {"port": 80, "to": "https:443"},
    {"port": 443, "host": "s3.example.org", "to": "minio-api"},
    {"port": 443, "host": "console.example.org", "to": "minio-console", "sticky": True, "websocket": True},
    {"port": 443, "host": "ml.example.org", "to": "mlflow:5000", "auth": "basic", "users": ["anne"]},
    {"port": 443, "host": "ml.example.org", "path": "/v1.0", "strip_path": True, "to": "mlflow:5000"},
    {"port": 443, "host": "off.example.org", "to": "off:80"},
    {"port": 5432, "host": "db.example.org", "to": "postgres:5432", "tcp": True},
    {"port": 6379, "to": "mlflow:6379", "tcp": True},
]

OF_THE_INTERNET = {"tls": "acme", "acme": {"email": "a@b.org"}}


@pytest.fixture
def host(storage_host):
    def make(**changes):
        settings = {
            "kind": "traefik",
            "tls": "local-ca",
            "routes": TABLE,
            "users": {"anne": Secret("SENTINEL-anne"), "bert": Secret("SENTINEL-bert")},
            "traefik": {"dashboard": "traefik.example.org"},
            **changes,
        }
        images = {
            name: {"reference": f"example.org/{name}:17"}
            for name in ("minio", "nginx", "traefik", "postgres", "certbot")
        }
        return storage_host(
            services=dict(SERVICES), edge=settings, images=images, minio__environment={"MINIO_DOMAIN": "s3.example.org"}
        )

    return make


@pytest.fixture
def folder(tmp_path):
    """A folder with a certificate of the operator's own."""
    Authority(tmp_path).sign("own", ["s3.example.org"])
    return tmp_path


def wanted(made, kind, role=edge):
    return [want.resource for want in runs.prepare(made, [role]).wants if isinstance(want.resource, kind)]


def routes(made):
    (file,) = [resource for resource in wanted(made, File) if resource.path == traefik.ROUTES]
    return yaml.safe_load(file.text)


def test_each_row_is_a_router_of_its_port_by_name_first_and_then_the_longest_path(host):
    table = routes(host())["http"]
    rules = {router["rule"]: router for router in table["routers"].values()}
    s3 = "(Host(`s3.example.org`) || HostRegexp(`^.+\\.s3\\.example\\.org$`))"
    assert set(rules) == {
        "PathPrefix(`/`)",
        f"{s3} && PathPrefix(`/`)",
        f"{s3} && PathPrefix(`/minio/`) && !PathPrefix(`/minio/health/`)",
        "Host(`console.example.org`) && PathPrefix(`/`)",
        "Host(`ml.example.org`) && PathPrefix(`/`)",
        "Host(`ml.example.org`) && (Path(`/v1.0`) || PathPrefix(`/v1.0/`))",
        "Host(`traefik.example.org`)",
    }
    under = rules["Host(`ml.example.org`) && (Path(`/v1.0`) || PathPrefix(`/v1.0/`))"]
    assert under["priority"] > rules["Host(`ml.example.org`) && PathPrefix(`/`)"]["priority"]
    assert under["priority"] > rules["PathPrefix(`/`)"]["priority"]
    assert rules["PathPrefix(`/`)"]["entryPoints"] == ["p80"] and "tls" not in rules["PathPrefix(`/`)"]
    assert under["entryPoints"] == ["p443"] and under["tls"] == {}
    assert table["services"]["minio-api"]["loadBalancer"]["servers"][0] == {"url": "http://172.30.99.11:9000"}
    assert "cookie" in table["services"]["minio-console-sticky"]["loadBalancer"]["sticky"]


def test_the_admin_api_is_nobodys_and_no_signature_is_logged(host):
    table = routes(host())["http"]
    admin = next(router for name, router in table["routers"].items() if name.endswith("-admin"))
    assert table["middlewares"][admin["middlewares"][0]] == {"ipAllowList": {"sourceRange": ["255.255.255.255/32"]}}
    assert all(
        router["priority"] < admin["priority"]
        for name, router in table["routers"].items()
        if not name.endswith("-admin")
    )
    api = next(
        router
        for name, router in table["routers"].items()
        if name.startswith("minio-api") and not name.endswith("-admin")
    )
    assert api["observability"] == {"accessLogs": False}
    assert "--accessLog.fields.queryParameters.defaultMode=redact" in traefik.arguments(host().settings.edge)


def test_passwords_are_hashes_that_it_knows_and_others_are_another_table(host):
    first, second = host(), host(users={"anne": Secret("SENTINEL-other"), "bert": Secret("SENTINEL-bert")})
    files = [file for file in wanted(first, File) if "/users" in file.path]
    assert len(files) == 2 and all("$2y$" in file.text and "SENTINEL" not in file.text for file in files)
    assert routes(first)["http"]["middlewares"].keys() != routes(second)["http"]["middlewares"].keys()
    assert all(
        middleware["basicAuth"]["removeHeader"]
        for name, middleware in routes(first)["http"]["middlewares"].items()
        if "basicAuth" in middleware
    )


def test_bytes_with_a_name_have_tls_and_bytes_without_one_pass_as_they_are(host):
    rows = {name: router for name, router in routes(host())["tcp"]["routers"].items()}
    assert rows["postgres-5432-5432"] == {
        "entryPoints": ["p5432"],
        "rule": "HostSNI(`db.example.org`)",
        "service": "postgres-5432-5432",
        "tls": {"options": "database"},
    }
    assert rows["mlflow-6379-6379"]["rule"] == "HostSNI(`*`)" and "tls" not in rows["mlflow-6379-6379"]


def test_its_certificate_is_for_all_names_and_is_renewed_by_the_host(host):
    (leaf,) = wanted(host(), authority.LocalCertificate)
    assert leaf.names == (
        "s3.example.org",
        "console.example.org",
        "ml.example.org",
        "db.example.org",
        "traefik.example.org",
    )
    (table,) = [file for file in wanted(host(), File) if file.path.endswith("/authority/table")]
    assert table.text == f"/etc/stowage/traefik/conf local-ca stowage traefik {' '.join(leaf.names)}\n"
    assert routes(host())["tls"]["certificates"] == [
        {"certFile": "/etc/stowage/local-ca.crt", "keyFile": "/etc/stowage/local-ca.key"}
    ]
    assert routes(host())["tls"]["options"]["default"]["sniStrict"] is True


def test_a_public_authority_is_asked_at_port_80_and_its_account_is_kept(host):
    made = host(tls="acme", acme={"email": "a@example.org", "staging": True})
    arguments = " ".join(traefik.arguments(made.settings.edge))
    resolver = "acme-staging-v02-api-letsencrypt-org-directory"
    of_it = f"--certificatesResolvers.{resolver}.acme."
    assert f"{of_it}caServer=https://acme-staging-v02.api.letsencrypt.org/directory " in arguments
    assert f"{of_it}httpChallenge.entryPoint=p80 " in arguments
    tree = routes(made)
    assert all(
        router["tls"] == {"certResolver": resolver} for router in tree["http"]["routers"].values() if "tls" in router
    )
    assert tree["tcp"]["routers"]["postgres-5432-5432"]["tls"] == {"certResolver": resolver, "options": "database"}
    assert not wanted(made, authority.LocalCertificate)


def test_the_other_edge_makes_way_only_when_the_new_one_has_been_checked(host):
    kinds = [
        want for want in runs.prepare(host(), [edge]).wants if isinstance(want.resource, NoProject | Project | File)
    ]
    names = [want.resource.address for want in kinds]
    assert names.index(f"file:{traefik.ROUTES}") < names.index("project:nginx") < names.index("project:traefik")
    assert "unit:stowage@traefik.service" in [want.resource.address for want in runs.prepare(host(), [stack]).wants]
    back = [want.resource.address for want in runs.prepare(host(kind="nginx", traefik={}), [edge]).wants]
    assert back.index("project:traefik") < back.index("project:nginx")


def test_no_script_of_one_kind_is_asked_in_the_words_of_the_other(host):
    """From one to the other with tls: acme PostgreSQL was given TLS before its certificate: the script that was asked for it was Traefik's."""
    acme_of = {"tls": "acme", "acme": {"email": "a@b.org", "server": "https://acme.example.org/dir"}}
    lists = (
        wanted(made, File, role)
        for made in (host(**acme_of), host(kind="nginx", **acme_of))
        for role in (edge, postgres)
    )
    texts: dict[str, set[str]] = {}
    for file in (file for files in lists for file in files if file.path.startswith("/usr/local/lib")):
        texts.setdefault(file.path, set()).add(file.text)
    assert {acme.SCRIPT, acme.SCRIPT_OF_TRAEFIK} <= texts.keys() and all(len(text) == 1 for text in texts.values())


def test_what_the_other_edge_has_left_goes_but_for_what_costs_to_have_again():
    kept = ("directory:/etc/stowage/authority", f"directory:{traefik.KEPT}", f"directory:{acme.ACCOUNT}")
    leaf, key = "/etc/stowage/postgres/conf/server.crt", "/etc/stowage/postgres/conf/server.key"
    memory = dict.fromkeys(
        [*kept, f"directory:{traefik.HERE}", f"certificate:{traefik.HERE}/local-ca.crt", f"file:{traefik.ROUTES}"],
        "edge 0",
    ) | {f"acme-certificate:{leaf}": "postgres 0"}
    removals = no_longer_wanted(SimpleNamespace(), memory, set(), {"edge": edge, "postgres": postgres})
    addresses = [removal.resource.address for removal in removals]
    assert addresses == [
        f"certificate:{traefik.HERE}/local-ca.crt",
        f"acme-certificate:{leaf}",
        f"file:{traefik.ROUTES}",
        f"directory:{traefik.HERE}",
    ]
    (gone,) = [removal.resource for removal in removals if removal.role == "postgres"]
    assert gone.files == (leaf, key) and gone.stands_on() == ("project:postgres",)
    # The same file is signed by somebody else now.
    given = set(authority.LocalCertificate(leaf.rpartition("/")[0], "server", "stowage", ("a",)).gives())
    both = {f"acme-certificate:{leaf}": "postgres 0", f"file:{key}": "postgres 0"}
    assert not no_longer_wanted(SimpleNamespace(), both, given, {"postgres": postgres})
    assert gone.read([gone, gone], gone.probe([gone]) and "2\n0\n") == [{"files": "2"}, None]


def test_no_part_of_the_file_is_empty_for_traefik_would_refuse_all_of_it(host):
    table = routes(host(routes=[TABLE[-1]], traefik={}, users={}))
    assert list(table["http"]) == ["middlewares"] and table["tcp"]
    table = routes(host(routes=[{"port": 80, "to": "mlflow:5000", "tls": False}, TABLE[5]], traefik={}, users={}))
    assert list(table["http"]) == ["routers", "services", "middlewares"]


def test_its_own_page_has_a_port_with_tls_whatever_the_table_has(host):
    def at(*rows):
        made = host(routes=list(rows))
        router = routes(made)["http"]["routers"]["dashboard"]
        (where,) = [place.port for place in places(made.settings) if place.name == "traefik.example.org"]
        assert router["entryPoints"] == [f"p{where}"] and router["tls"] == {}
        assert routes(made)["tls"]["certificates"] == [
            {"certFile": "/etc/stowage/local-ca.crt", "keyFile": "/etc/stowage/local-ca.key"}
        ]
        (project,) = wanted(made, Project)
        assert f"127.0.0.1:{where}:{where}" in project.services["traefik"]["ports"]
        assert f"--entryPoints.p{where}.address=:{where}" in traefik.arguments(made.settings.edge)
        return where

    assert at(*TABLE) == 443
    assert at({**TABLE[1], "port": 8443}) == 8443
    assert at({**TABLE[5], "auth": "basic"}) == at({"port": 6379, "to": "mlflow:6379", "tcp": True}) == 443


def test_what_is_signed_elsewhere_is_neither_awaited_nor_told_to_be_renewed(host, folder, monkeypatch):
    tls = {"certificate": str(folder / "own.crt"), "key": str(folder / "own.key")}
    made = host(routes=[{**TABLE[1], "tls": tls}, *TABLE[2:]])
    made.target = None
    serials = iter(range(100))

    def seen(_):
        new = f"{next(serials):02X}"
        lines = [f"443|s3.example.org|{int(time.time())}|FF|CN=own", "443|ml.example.org|4102444800|0A|CN=x"]
        return read(made.settings, [line.replace("|0A|", f"|{new}|") for line in lines])

    own, ml = (served for served in seen(made) if served.ends)
    assert "then inv deploy --host h" in own.way_out("h") and ml.way_out("h") == "inv certs.renew --host h"
    monkeypatch.setattr(renewal, "seen", lambda host: [served for served in seen(host) if served.ends])
    monkeypatch.setattr(renewal, "run_locked", lambda *_: (0, "signed anew"))
    monkeypatch.setattr(renewal, "NOW", 0)
    renewal.renew(made, "certs.renew")


def test_a_renewal_that_fails_says_why_in_the_words_of_the_host(host, tmp_path, monkeypatch):
    made = host()
    made.target = None
    (tmp_path / "certificates").write_text("echo authority.key is gone: bring it back >&2; exit 1\n")
    monkeypatch.setattr(authority, "SCRIPT", str(tmp_path / "certificates"))
    monkeypatch.setattr(renewal, "seen", lambda host: [Served(443, "s3.example.org", 4102444800, signer="local-ca")])

    def run_locked(target, command, script):
        done = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        return done.returncode, done.stdout.decode()

    monkeypatch.setattr(renewal, "run_locked", run_locked)
    with pytest.raises(Trouble, match=r"authority\.key is gone: bring it back"):
        renewal.renew(made, "certs.renew")


def test_labels_of_containers_are_read_through_a_proxy_that_nobody_else_reaches(host, monkeypatch):
    monkeypatch.setitem(SERVICES, "docker-proxy", {"image": "nginx", "reads": {"/run/docker.sock": "/run/docker.sock"}})
    made = host(traefik={"docker": "docker-proxy:2375"})
    words = traefik.arguments(made.settings.edge)
    assert "--providers.docker.endpoint=tcp://docker-proxy:2375" in words
    assert "--providers.docker.exposedByDefault=false" in words
    assert not [word for word in traefik.arguments(host().settings.edge) if "docker" in word]
    (proxy,) = [one for one in wanted(made, Project, named("docker-proxy", made)) if one.project == "docker-proxy"]
    assert "/run/docker.sock" in json.dumps(proxy.services)
    (edges,) = wanted(made, Project)
    assert "docker.sock" not in json.dumps(edges.services)
    for wrong, why in (
        ({"ports": [{"port": 2375, "to": 2375}]}, "is reached from outside"),
        ({"enabled": False}, "is not enabled"),
    ):
        monkeypatch.setitem(SERVICES, "docker-proxy", {"image": "nginx", **wrong})
        with pytest.raises(ValidationError, match=why):
            host(traefik={"docker": "docker-proxy:2375"})
    with pytest.raises(ValidationError, match="there is no service proxy"):
        host(traefik={"docker": "proxy:2375"})


def test_with_nginx_the_same_rows_give_postgresql_a_certificate_of_its_own(host):
    made = host(kind="nginx")
    leaf = next(resource for resource in wanted(made, authority.LocalCertificate, postgres))
    assert (leaf.folder, leaf.names) == ("/etc/stowage/postgres/conf", ("db.example.org",))
    (access,) = [file for file in wanted(made, File, postgres) if file.path.endswith("pg_hba.conf")]
    assert (
        "hostssl all,replication all all scram-sha-256" in access.text
        and "host all,replication all all" not in access.text
    )
    (project,) = wanted(made, Project, postgres)
    assert "ssl=on" in json.dumps(project.services)
    assert not wanted(host(), authority.LocalCertificate, postgres), "with Traefik it has none"


def test_a_port_of_udp_is_another_than_that_of_tcp_and_no_two_services_have_one(storage_host):
    both = [{"port": 21116, "to": 21116}, {"port": 21116, "to": 21116, "udp": True}]
    made = storage_host(services={"hbbs": {"image": "nginx", "ports": both}})
    (project,) = wanted(made, Project, named("hbbs", made))
    assert project.services["hbbs"]["ports"] == ["127.0.0.1:21116:21116", "127.0.0.1:21116:21116/udp"]
    with pytest.raises(ValidationError, match="has this port of UDP already"):
        storage_host(
            services={"hbbs": {"image": "nginx", "ports": both[1:]}, "other": {"image": "nginx", "ports": both[1:]}}
        )


@pytest.mark.parametrize(
    ("changes", "where", "why"),
    [
        ({"routes": [{**TABLE[1], "body_limit": "5GiB"}]}, "edge.routes.0.body_limit", "kind: nginx does not"),
        ({"routes": [{"port": 443, "to": "minio-api"}]}, "edge.routes.0.host", "is for a name"),
        ({"tls": "acme"}, "edge.acme", "the address to which the authority writes"),
        (
            {
                "tls": "acme",
                "acme": {"email": "a@b.org"},
                "routes": [{"port": 443, "host": "10.0.0.1", "to": "minio-api"}],
            },
            "edge.routes.0.host",
            "names of the internet only",
        ),
        (
            {
                "tls": "acme",
                "acme": {"email": "a@b.org"},
                "routes": [{"port": 443, "host": "*.b.org", "to": "minio-api"}],
            },
            "edge.routes.0.host",
            "each name has a row of its own",
        ),
        (
            {"tls": "acme", "acme": {"email": "a@b.org"}, "routes": [*TABLE[1:-1], {**TABLE[-1], "port": 80}]},
            "edge.routes.6.tcp",
            "an authority asks there over HTTP",
        ),
        (
            {
                "tls": "acme",
                "acme": {"email": "a@b.org"},
                "routes": [*TABLE[1:], {"port": 80, "to": "mlflow:5000", "inside": True}],
            },
            "edge.routes.7.inside",
            "from outside",
        ),
        (
            {
                "tls": "acme",
                "acme": {"email": "a@b.org"},
                "routes": [
                    *TABLE,
                    {"port": 80, "to": "mlflow:5000", "path": "/.well-known/acme-challenge", "tls": False},
                ],
            },
            "edge.routes.8.path",
            "the proof of tls: acme lies there",
        ),
        ({"routes": [{**TABLE[-1], "host": "a.example.org"}]}, "edge.routes.0.host", "passes bytes as they are"),
        ({"users": {}, "routes": TABLE[:2]}, "edge.traefik.dashboard", "nobody who could get in"),
        ({"traefik": {"dashboard": "s3.example.org"}}, "edge.traefik.dashboard", "would hide the other"),
        ({"traefik": {"dashboard": "traefik"}, **OF_THE_INTERNET}, "edge.traefik.dashboard", "of the internet only"),
        ({"traefik": {"dashboard": "10.0.0.1"}, **OF_THE_INTERNET}, "edge.traefik.dashboard", "of the internet only"),
        ({"tls": None, "routes": [{"port": 8080, "to": "mlflow:5000"}]}, "edge.traefik.dashboard", "set edge.tls"),
        (
            {"routes": [{"port": 443, "to": "mlflow:5000", "tls": False}]},
            "edge.traefik.dashboard",
            "something else than HTTP with TLS",
        ),
        (
            {**OF_THE_INTERNET, "routes": [{"port": 443, "host": "hub.internal", "to": "mlflow:5000"}]},
            "edge.routes.0.host",
            "Let's Encrypt does not sign them",
        ),
        ({"tls": "letsencrypt"}, "edge.tls", "local-ca"),
    ],
)
def test_what_cannot_be_is_refused_at_its_place(host, changes, where, why):
    with pytest.raises(ValidationError) as refused:
        host(**changes)
    from converge.inventory.validation import Problems

    message = str(refused.value)
    problems = [
        fault for error in refused.value.errors() if isinstance(fault := error.get("ctx", {}).get("error"), Problems)
    ]
    reasons = message + " ".join(
        str(problem.problems if hasattr(problem, "problems") else problem.args) for problem in problems
    )
    assert why in reasons and (where.rpartition(".")[2] in reasons)


def test_a_certificate_is_told_of_from_three_weeks_before_its_end(host):
    settings = host().settings
    assert [(place.port, place.name, place.starttls) for place in places(settings)][-2:] == [
        (5432, "db.example.org", "postgres"),
        (443, "traefik.example.org", ""),
    ]
    assert "-servername db.example.org -starttls postgres" in look(settings)
    shown = read(settings, ["443|s3.example.org|4102444800|0A|CN=x", "443|ml.example.org|0||", "garbage"])
    assert shown[0] == Served(443, "s3.example.org", 4102444800, "CN=x", "0A", signer="local-ca")
    assert shown[0].trouble() == ""
    assert shown[2].trouble() == "ml.example.org on port 443 shows no certificate"
    assert "its certificate has ended" in Served(443, "a", 1).trouble()
