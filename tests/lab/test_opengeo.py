"""OpenGeoAIModelHub on a bare lab host: the same routes through Traefik and through nginx, with certificates that clients verify."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from converge.engine.resource import Chain
from converge.inventory.hosts import load
from converge.resources.compose import Project
from roles import named
from roles.settings.model import Settings
from tests.lab import pebble
from tests.lab.backup_host import sftp
from tests.lab.conftest import Clone, fresh
from tests.lab.cut_hosts import Host, known

NAME = "opengeo-lab"
DOMAIN = "opengeo.example.org"
# A client with the names and the authority, in the host's network, where the edge's ports are published.
ELSEWHERE = f"""docker run --rm --network host -v /root/client:/client:ro {
    " ".join(
        f"--add-host {name}.{DOMAIN}:127.0.0.1" for name in ("mlflow", "minio-api", "minio", "postgres", "traefik")
    )
}"""
CURL = "curl -q -s --noproxy '*' --cacert /root/client/authority.pem --connect-to ::127.0.0.1: -o /dev/null -w '%{http_code} %{redirect_url}\\n'"


@pytest.fixture(scope="module")
def host() -> Iterator[Clone]:
    there = fresh("test-opengeo", host=NAME, system="debian-13-prepared")
    yield there
    there.inv("lab.down", "--host", NAME, code=None)


def deployed(host: Clone, *flags: str) -> str:
    screen = host.inv("deploy", "--host", NAME, "--yes", *flags)
    assert "nothing to do" in host.inv("deploy", "--host", NAME, "--yes", *flags)
    return screen


def given(host: Clone) -> None:
    """The files of a client: the authority, and the researcher's program."""
    files = {"authority.pem": host.inv("certs.authority", "--host", NAME), "mlflow_remote.py": PROGRAM.read_text()}
    for name, text in files.items():
        host.on_host(f"mkdir -p /root/client; cat >/root/client/{name} <<'ENDS'\n{text}\nENDS")


PROGRAM = Path(__file__).with_name("mlflow_remote.py")


def asked(host: Clone, url: str, *options: str) -> str:
    """The status of an answer, and its redirect."""
    return host.on_host(f"{CURL} {' '.join(options)} '{url}' || :").strip()


def mlflow(host: Clone, what: str, name: str) -> str:
    """Runs a researcher's program with a password and the authority, and without a key of MinIO."""
    environment = {
        "MLFLOW_TRACKING_URI": f"https://mlflow.{DOMAIN}",
        "MLFLOW_TRACKING_USERNAME": "mlops",
        "MLFLOW_TRACKING_PASSWORD": host.secret("edge_mlops"),
        "MLFLOW_TRACKING_SERVER_CERT_PATH": "/client/authority.pem",
        # Otherwise the server redirects it to MinIO, by a name that only containers know.
        "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
        "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
        "PYTHONWARNINGS": "ignore",
    }
    variables = " ".join(f"-e {key}={value}" for key, value in environment.items())
    output = host.on_host(
        f"timeout 120 {ELSEWHERE} {variables} stowage-lab/mlflow:3.17.2 python /client/mlflow_remote.py {what} {name} 2>&1"
    )
    return output.split()[-1]


def psql(host: Clone, mode: str, more: str = "sslrootcert=/client/authority.pem") -> str:
    connection = f"host=postgres.{DOMAIN} dbname=geo user=geo sslmode={mode} {more} connect_timeout=5"
    return host.on_host(
        f"{ELSEWHERE} -e PGPASSWORD={host.secret('postgres_geo')} --entrypoint psql stowage-lab/postgres:17-3.5 '{connection}'"
        " -Atc \"select st_astext(st_point(1,2)), count(*) from pg_extension where extname in ('postgis','hstore','postgis_topology','postgis_raster','pgrouting')\" 2>&1 || :"
    ).strip()


def serial(host: Clone, name: str, port: int = 443) -> str:
    answer = json.loads(host.inv("certs.show", "--host", NAME, "--json"))
    return next(
        certificate["serial"]
        for certificate in answer["certificates"]
        if (certificate["port"], certificate["name"]) == (port, f"{name}.{DOMAIN}")
    )


def each_route(host: Clone) -> None:
    """Checks every row of the table, the same for nginx and Traefik."""
    user = f"-u mlops:{host.secret('edge_mlops')}"
    assert asked(host, f"https://mlflow.{DOMAIN}/health").startswith("401")
    assert asked(host, f"https://mlflow.{DOMAIN}/health", "-u mlops:wrong-password").startswith("401")
    assert asked(host, f"https://mlflow.{DOMAIN}/health", user).startswith("200")
    assert asked(host, f"https://minio-api.{DOMAIN}/minio/health/cluster").startswith("200")
    for path in ("/minio/admin/v3/info", "/minio/v2/metrics/cluster", "/%6Dinio/admin/v3/info"):
        assert asked(host, f"https://minio-api.{DOMAIN}{path}").startswith("403"), path
    assert asked(host, f"https://minio.{DOMAIN}/").startswith("200")
    assert asked(host, f"http://minio.{DOMAIN}/a?b=1")[:3] in ("301", "308")
    assert asked(host, f"http://minio.{DOMAIN}/a?b=1").endswith(f" https://minio.{DOMAIN}/a?b=1")
    assert asked(host, f"https://nobody.{DOMAIN}/").startswith("000"), "a name that is not served has no certificate"
    assert psql(host, "verify-full") == "POINT(1 2)|5"
    assert "POINT" not in psql(host, "disable", "")
    odd = "a/b c/ö+%2F;=@.bin"  # signed requests arrive unchanged
    code = f"""import boto3, os
s3 = boto3.client("s3", endpoint_url="https://minio-api.{DOMAIN}", verify="/client/authority.pem", region_name="us-east-1")
s3.put_object(Bucket="mlflow", Key={odd!r}, Body=os.urandom(9 << 20))
print(len(s3.get_object(Bucket="mlflow", Key={odd!r})["Body"].read()), [one["Key"] for one in s3.list_objects_v2(Bucket="mlflow", Prefix="a/b")["Contents"]])
s3.delete_object(Bucket="mlflow", Key={odd!r})"""
    keys = f"-e AWS_ACCESS_KEY_ID=mlflow-server -e AWS_SECRET_ACCESS_KEY={host.secret('mlflow_server')}"
    output = host.on_host(f"{ELSEWHERE} {keys} -i stowage-lab/mlflow:3.17.2 python - <<'ENDS' 2>&1\n{code}\nENDS")
    assert output.strip() == f"{9 << 20} [{odd!r}]"


def test_a_bare_host_becomes_the_hub_behind_traefik(host: Clone) -> None:
    deployed(host)
    given(host)
    each_route(host)
    assert "Unauthorized" in host.on_host(f"{CURL.replace('-o /dev/null', '')} https://traefik.{DOMAIN}/dashboard/")
    page = asked(host, f"https://traefik.{DOMAIN}/", f"-L -u mlops:{host.secret('edge_mlops')}")
    assert page.startswith("200")
    assert "docker.sock" not in host.on_host("docker inspect traefik")


def test_a_researchers_runs_and_models_go_through_it(host: Clone) -> None:
    assert mlflow(host, "write", "rain") == mlflow(host, "read", "rain")
    log = host.on_host("docker logs traefik 2>&1")
    assert "/api/2.0/mlflow/runs/create" in log and host.secret("edge_mlops") not in log


def test_certificates_are_renewed_without_a_restart_and_told_of_before_they_end(host: Clone) -> None:
    since = host.on_host("docker inspect -f '{{.State.StartedAt}}' traefik postgres")
    before = serial(host, "mlflow"), serial(host, "postgres", 5432)
    assert "renewed, as clients see it" in host.inv("certs.renew", "--host", NAME)
    after = serial(host, "mlflow"), serial(host, "postgres", 5432)
    assert not set(before) & set(after)
    assert host.on_host("docker inspect -f '{{.State.StartedAt}}' traefik postgres") == since
    assert psql(host, "verify-full") == "POINT(1 2)|5"
    # A certificate that ends soon is reported; the timer's service renews it.
    shorter = "sed -i 's/^here=\\(.*\\) days=90/here=\\1 days=5/' /usr/local/lib/stowage/certificates"
    host.on_host(f"cp -a /usr/local/lib/stowage/certificates /root/kept; {shorter}")
    host.inv("certs.renew", "--host", NAME)
    assert f"mlflow.{DOMAIN} on port 443: its certificate ends in 4 days" in host.inv("status", "--host", NAME, code=2)
    host.on_host("cat /root/kept >/usr/local/lib/stowage/certificates; systemctl start stowage-certificates.service")
    until = time.monotonic() + 30  # Traefik reads it a moment later
    while "ends in" in (screen := host.inv("status", "--host", NAME, code=None)):
        assert time.monotonic() < until, screen
        time.sleep(1)
    host.inv("certs.show", "--host", NAME)
    assert "nothing to do" in host.inv("deploy", "--host", NAME, "--yes")


def test_a_table_that_traefik_refuses_is_not_live_for_a_moment(host: Clone) -> None:
    path = host.root / "roles/edge/traefik_routes.py"
    right = path.read_text()
    path.write_text(right.replace("PathPrefix(`/`)", "PathPrefix(`/`"))
    try:
        output = host.inv("deploy", "--host", NAME, "--yes", code=1)
    finally:
        path.write_text(right)
    assert "the new file is refused by its check" in output
    assert asked(host, f"https://minio-api.{DOMAIN}/minio/health/cluster").startswith("200")
    assert "nothing to do" in host.inv("deploy", "--host", NAME, "--yes")


def edge(host: Clone, **settings: object) -> None:
    """Overrides the edge section for the host; without arguments removes the override."""
    own = {key: value for key, value in host.vars.items() if key != "edge"} | ({"edge": settings} if settings else {})
    (host.root / f"inventory/host_vars/{NAME}.yml").write_text(yaml.safe_dump(own))


def cut_once_the_old_edge_is_gone(host: Clone, old: str) -> None:
    """Kills a deploy between two kinds of edge, and waits until the host has noticed that."""
    process = host.start("deploy", "--host", NAME, "--yes")
    wait = f"timeout 240 sh -c 'while docker inspect -f x {old} >/dev/null 2>&1; do sleep 0.1; done'"
    try:
        host.on_host(wait)
    finally:
        process.kill()
        process.communicate()
    host.on_host("timeout 120 flock -s /run/stowage.lock true")


def test_the_same_inventory_goes_through_nginx(host: Clone) -> None:
    edge(host, kind="nginx")
    cut_once_the_old_edge_is_gone(host, "traefik")
    deployed(host)
    assert not host.on_host("find /etc/stowage/traefik ! -type d 2>/dev/null || :"), "nothing of Traefik's is left"
    each_route(host)
    assert mlflow(host, "read", "rain")
    before = serial(host, "postgres", 5432)
    since = host.on_host("docker inspect -f '{{.State.StartedAt}}' nginx postgres")
    host.inv("certs.renew", "--host", NAME)
    assert serial(host, "postgres", 5432) != before
    assert host.on_host("docker inspect -f '{{.State.StartedAt}}' nginx postgres") == since
    assert psql(host, "verify-full") == "POINT(1 2)|5"


def public(host: Clone) -> dict[str, object]:
    """The settings for the test server of Let's Encrypt, which runs from then on."""
    path = host.root / f"inventory/secrets/{NAME}/acme.pem"
    path.write_text(pebble.started(host, 1205))
    acme = {"email": "geo@example.org", "server": f"https://{pebble.WHERE}:14000/dir", "lifetime_hours": 1}
    return {"tls": "acme", "acme": {**acme, "authority": str(path)}}


def trusts_pebble(host: Clone) -> None:
    host.on_host(f"cat >/root/client/authority.pem <<'ENDS'\n{pebble.roots(host)}\nENDS")


def test_nginx_serves_without_an_authority_and_takes_up_what_it_signs(host: Clone) -> None:
    settings = public(host)
    pebble.stopped(host)
    edge(host, kind="nginx", **settings)
    screen = deployed(host)
    assert f"warning: mlflow.{DOMAIN} is not signed: https://{pebble.WHERE}:14000/dir cannot be reached" in screen
    assert asked(host, f"https://minio-api.{DOMAIN}/minio/health/cluster", "-k").startswith("200")
    screen = host.inv("status", "--host", NAME, code=2)
    assert (
        f"mlflow.{DOMAIN} on port 443: it has a temporary certificate, which nobody trusts, and no new one is" in screen
    )
    assert "no new one is signed" in host.inv("certs.show", "--host", NAME, code=2)
    screen = host.inv("certs.renew", "--host", NAME, code=1)
    assert "the authority has not signed" in screen and "cannot be reached" in screen
    since = host.on_host("docker inspect -f '{{.State.StartedAt}}' nginx postgres")
    public(host)
    host.on_host("systemctl start stowage-acme.service")
    assert "temporary" in host.inv("certs.show", "--host", NAME, code=2), "the pause is not over"
    # As if it were.
    host.on_host(
        "sed -i 's/^\\([0-9]*\\) [0-9]* /\\1 1 /' /etc/stowage/acme/failed/*; systemctl start stowage-acme.service"
    )
    first = signed(host)
    trusts_pebble(host)
    each_route(host)
    account = host.on_host(
        "find /etc/stowage/nginx/acme -type f -name '*key*' -printf '%m '; stat -c %a /etc/stowage/nginx/acme"
    )
    assert account.split() == ["400", "700"]
    # By now all are in the last 20 minutes of their life, from which they are due.
    assert "renewed, as clients see it" in host.inv("certs.renew", "--host", NAME)
    second = signed(host)
    assert not set(first) & set(second)
    assert host.on_host("docker inspect -f '{{.State.StartedAt}}' nginx postgres") == since
    assert psql(host, "verify-full") == "POINT(1 2)|5"
    assert "nothing to do" in host.inv("deploy", "--host", NAME, "--yes")
    pebble.stopped(host)
    host.on_host("sleep 6")
    screen = host.inv("certs.renew", "--host", NAME, code=1)
    assert "cannot be reached" in screen and "the old certificates are served on" in screen
    assert signed(host) == second
    assert "no new one is signed" in host.inv("status", "--host", NAME, code=2)
    loses_its_account_and_gets_another(host, second)


def loses_its_account_and_gets_another(host: Clone, before: list[str]) -> None:
    """Pebble keeps accounts in memory: started again it knows nobody."""
    public(host)
    said = host.inv("certs.renew", "--host", NAME, code=1)
    assert "Account https://" in said and "not found" in said
    assert f"inv certs.renew --host {NAME} --new-account" in said
    assert "renewed, as clients see it" in host.inv("certs.renew", "--new-account", "--host", NAME)
    assert not set(signed(host)) & set(before)


def test_lets_encrypts_own_server_signs_and_renews_and_may_be_away(host: Clone) -> None:
    settings = public(host)
    pebble.stopped(host)
    edge(host, **settings)
    try:
        said = deployed(host)
        assert f"warning: mlflow.{DOMAIN} is not signed: https://{pebble.WHERE}:14000/dir cannot be reached" in said
        left = host.on_host("find /etc/stowage/nginx /etc/stowage/postgres/conf -name '*.key' -o -path '*/nginx/conf*'")
        assert not left, "no key and no configuration of nginx is left"
        assert host.on_host("ls /etc/stowage/nginx/acme/accounts"), "its account is"
        said = host.inv("certs.show", "--host", NAME, code=2)
        assert "no certificate is shown" in said and "no new one is signed" in said
        since = host.on_host("docker inspect -f '{{.State.StartedAt}}' traefik")
        public(host)
        host.on_host(
            "sed -i 's/^\\([0-9]*\\) [0-9]* /\\1 1 /' /etc/stowage/acme/failed/*; systemctl start stowage-acme.service"
        )
        first = signed(host)
        assert host.on_host("docker inspect -f '{{.State.StartedAt}}' traefik") == since, "it was asked to ask again"
        trusts_pebble(host)
        assert asked(host, f"https://minio-api.{DOMAIN}/minio/health/cluster").startswith("200")
        assert psql(host, "verify-full") == "POINT(1 2)|5"
        assert host.on_host("stat -c %a /etc/stowage/traefik/acme/acme.json").strip() == "600"
        # Valid for 5 seconds more than the 20 minutes in which it is due.
        host.on_host("sleep 6")
        host.inv("certs.renew", "--host", NAME)
        second = signed(host)
        assert not set(first) & set(second)
        pebble.stopped(host)
        host.on_host("sleep 6")
        output = host.inv("certs.renew", "--host", NAME, code=1)
        assert "the authority has not signed" in output and "the old certificates are served on" in output
        assert signed(host) == second
        assert "its certificate ends in 0 days" in host.inv("status", "--host", NAME, code=None)
        loses_its_account_and_gets_another(host, second)
    finally:
        edge(host)
    deployed(host)
    given(host)
    assert asked(host, f"https://minio-api.{DOMAIN}/minio/health/cluster").startswith("200")


def signed(host: Clone) -> list[str]:
    """The serials of all served certificates, once the authority has signed them."""
    until = time.monotonic() + 90
    while True:
        certificates = json.loads(host.inv("certs.show", "--host", NAME, "--json", code=None))["certificates"]
        if all("Pebble" in certificate["issuer"] for certificate in certificates):
            return [certificate["serial"] for certificate in certificates]
        assert time.monotonic() < until, certificates
        time.sleep(1)


NO_IMAGE = ("homepage", "hbbs", "hbbr")
"""Services whose images no registry brings to the lab."""


def test_pages_whose_images_cannot_be_had_here_are_taken_by_compose_as_they_are_meant(host: Clone) -> None:
    on = [f"services.{name}.enabled=true" for name in NO_IMAGE]
    (hub,) = load(host.root, NAME, Settings, on, resolve_secrets=False)
    published = set()
    for name in NO_IMAGE:
        chains = [chain for chain in named(name, hub).wants(hub) if isinstance(chain, Chain)]
        (project,) = (resource for chain in chains for resource in chain if isinstance(resource, Project))
        read = f"docker compose --env-file /dev/null -p {name} -f /root/compose.yaml config --format json"
        taken = json.loads(host.on_host(f"cat >/root/compose.yaml <<'ENDS'\n{project.text()}\nENDS\n{read}"))
        (service,) = taken["services"].values()
        assert service["image"] == project.services[name]["image"] and service["read_only"] is True
        assert service.get("command") == (project.services[name].get("command"))
        published |= {(port["published"], port["protocol"]) for port in service.get("ports", ())}
    raw = {(str(port), "tcp") for port in (21115, 21116, 21117, 21118, 21119)}
    assert published == {*raw, ("21116", "udp")}


def test_the_key_for_clients_is_shown_as_the_page_of_rustdesk_says(host: Clone) -> None:
    path = host.root / f"inventory/host_vars/{NAME}.yml"
    before = path.read_text()
    stands_in = {
        "enabled": True,
        "image": "nginx",
        "command": ["sh", "-c", "echo public-half-of-the-pair >/root/id_ed25519.pub; exec sleep infinity"],
        "answers": {"tcp": None, "command": ["test", "-s", "/root/id_ed25519.pub"]},
    }
    path.write_text(yaml.safe_dump({**host.vars, "services": {"hbbs": stands_in}}))
    try:
        host.inv("deploy", "--host", NAME, "--role", "hbbs", "--yes")
        assert "key for clients: public-half-of-the-pair" in host.inv("status", "--host", NAME, code=None)
    finally:
        path.write_text(before)
        host.inv("deploy", "--host", NAME, "--role", "hbbs", "--yes")


OLDER = """
import os
from alembic import command
from mlflow.store.db.utils import _get_alembic_config
command.downgrade(_get_alembic_config(os.environ["MLFLOW_BACKEND_STORE_URI"]), "-1")
"""
"""Leaves MLflow's tables as the version before has left them."""


def schema(host: Clone) -> str:
    ask = "docker exec postgres psql -U postgres -d mlflow -Atc 'select version_num from alembic_version'"
    return host.on_host(ask).strip()


def test_an_older_schema_is_upgraded_before_mlflow_is_started_and_after_a_backup(host: Clone) -> None:
    newest, started = schema(host), host.on_host("docker inspect -f '{{.State.StartedAt}}' mlflow")
    host.on_host(f"""docker exec -i mlflow python - <<'ENDS' 2>&1
{OLDER}
ENDS
echo 'mlflow:3.16.0 older' >/var/lib/stowage/before/mlflow.schema
find /var/lib/stowage/backup/runs -name journal.jsonl -exec touch -d '2 hours ago' {{}} +""")
    assert schema(host) != newest
    plan = host.inv("check", "--host", NAME, code=2)
    assert "~ before:mlflow schema" in plan and "image: mlflow:3.16.0 older -> stowage-lab/mlflow:3.17.2" in plan
    refused = host.inv("deploy", "--host", NAME, "--yes", code=1)
    assert "no backup has ended well within the last hour" in refused and f"inv backup --host {NAME}" in refused
    assert host.on_host("docker inspect -f '{{.State.StartedAt}}' mlflow") == started, "it was not stopped for that"
    host.inv("backup", "--host", NAME)
    deployed(host)
    assert schema(host) == newest
    assert mlflow(host, "read", "rain")


def test_it_is_there_again_after_a_reboot(host: Clone) -> None:
    host.inv("lab.reboot", "--host", NAME)
    until = time.monotonic() + 240
    while not host.inv("status", "--host", NAME, code=None).startswith(f"{NAME}: all is well"):
        assert time.monotonic() < until
        time.sleep(2)
    assert "nothing to do" in host.inv("deploy", "--host", NAME, "--yes")
    assert mlflow(host, "read", "rain")


@pytest.fixture
def vault(host: Clone) -> Iterator[Host]:
    """Another machine, which takes sets by SFTP and outlives the first."""
    known(host.root, "lab-vault")
    machine = Host(host.root, "lab-vault")
    machine.inv("lab.down", code=None)
    machine.inv("lab.up")
    yield machine
    machine.inv("lab.down")


def test_on_a_new_host_it_is_there_again_from_a_set(host: Clone, vault: Host) -> None:
    (host.root / "inventory/secrets/lab").mkdir(parents=True, exist_ok=True)
    path = host.root / "inventory/group_vars/opengeo_lab.yml"
    group = yaml.safe_load(path.read_text())
    group["backup"]["targets"].append(sftp(host, vault, "vault", vault.on_host("hostname -I").split()[0]))
    path.write_text(yaml.safe_dump(group))
    host.inv("deploy", "--host", NAME, "--role", "backup", "--yes")
    host.inv("backup", "--host", NAME)
    run, authority = mlflow(host, "read", "rain"), host.inv("certs.authority", "--host", NAME).strip()
    host.inv("lab.down", "--host", NAME)
    host.inv("lab.up", "--host", NAME, "--system", "debian-13-prepared")
    host.inv("deploy", "--host", NAME, "--yes")
    screen = host.inv("restore", "latest", "--with", "iam,bucket-config", "--host", NAME, "--yes")
    assert "read from vault" in screen
    trusted = host.on_host("cat /etc/stowage/authority/authority.crt")
    host.on_host(
        "cp -p /var/lib/stowage/backup/configuration/*/etc/stowage/authority/authority.* /etc/stowage/authority/"
    )
    deployed(host)  # waits until MLflow, which stood still for the swap, answers
    given(host)
    assert authority in host.on_host("cat /root/client/authority.pem") and authority != trusted
    assert mlflow(host, "read", "rain") == run
    assert psql(host, "verify-full") == "POINT(1 2)|5"
