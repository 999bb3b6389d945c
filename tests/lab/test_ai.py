"""The storage of the AI infrastructure, on a bare lab host: what its document names, as docs/systems.md has it."""

from __future__ import annotations

import json
import secrets
import shlex
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3
import yaml
from botocore.exceptions import ClientError

from roles.backup.settings import WRITER
from tests.lab.browser import Browser, browser
from tests.lab.conftest import Clone, s3_of

NAME = "ai-lab"
REALM = "ai-infrastructure"


@pytest.fixture(scope="module")
def host(ai: Clone) -> Clone:
    return ai


@pytest.fixture
def chromium() -> Iterator[Browser]:
    with browser() as chromium_now:
        yield chromium_now


def url(host: Clone) -> str:
    return f"http://127.0.0.1:{host.port(80)}"


def test_a_bare_host_becomes_the_whole_system_and_a_second_deploy_changes_nothing(host: Clone) -> None:
    host.inv("deploy", "--host", NAME, "--yes")
    assert "nothing to do" in host.inv("deploy", "--host", NAME, "--yes")
    subnets = "docker network inspect -f '{{.Name}} {{(index .IPAM.Config 0).Subnet}}' storage-net monitoring-net database-net"
    assert host.on_host(subnets).split("\n")[:3] == [
        "storage-net 172.40.0.0/24",
        "monitoring-net 172.31.0.0/24",
        "database-net 172.23.0.0/24",
    ]
    assert host.on_host("for one in 1 2 3 4; do docker port minio$one; done").strip() == ""
    status = host.inv("status", "--host", NAME, code=2)
    assert "alerts reach nobody: set services.alertmanager.secrets.WEBHOOK_URL or" in status


def test_s3_is_on_a_port_of_its_own_and_beneath_storage_stands_where(host: Clone) -> None:
    s3_of(host).put_object(Bucket="application-files", Key="a/b", Body=b"words")
    assert s3_of(host).get_object(Bucket="application-files", Key="a/b")["Body"].read() == b"words"
    astray = s3_of(host, endpoint=f"{url(host)}/storage")
    for act in (astray.list_buckets, lambda: astray.put_object(Bucket="application-files", Key="a", Body=b"x")):
        with pytest.raises(ClientError, match=r"S3 is at http://127\.0\.0\.1:9000, and not beneath a path") as failure:
            act()
        assert failure.value.response["Error"]["Code"] == "InvalidRequest"


def keycloak(host: Clone, method: str, path: str, body: Any = None) -> Any:
    """Keycloak's admin API, used by an administrator without Stowage."""
    form = f"grant_type=client_credentials&client_id=stowage&client_secret={host.secret('sso_admin')}"
    base, send = "http://127.0.0.1:8085/auth", f"-X {method} -H 'Content-Type: application/json'"
    data = f"--data-binary {shlex.quote(json.dumps(body))}" if body is not None else ""
    answer = host.on_host(f"""set -e
token=$(curl -sf -d {shlex.quote(form)} {base}/realms/master/protocol/openid-connect/token | sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')
curl -sf -H "Authorization: Bearer $token" {send} {data} {base}/admin/realms/{REALM}{path}""")
    return json.loads(answer) if answer.strip() else None


def test_what_somebody_changes_in_the_realm_is_seen_and_mended(host: Clone) -> None:
    (console,) = keycloak(host, "GET", "/clients?clientId=minio-console")
    keycloak(
        host, "PUT", f"/clients/{console['id']}", {**console, "redirectUris": ["http://*"], "secret": "known-to-all"}
    )
    realm = keycloak(host, "GET", "")
    elsewhere = {**realm["attributes"], "frontendUrl": "http://elsewhere.example.org/auth"}
    keycloak(host, "PUT", "", {"registrationAllowed": True, "attributes": elsewhere})
    (email,) = [scope for scope in keycloak(host, "GET", "/client-scopes") if scope["name"] == "email"]
    keycloak(
        host,
        "POST",
        f"/client-scopes/{email['id']}/protocol-mappers/models",
        {
            **{"name": "everybody", "protocol": "openid-connect", "protocolMapper": "oidc-hardcoded-claim-mapper"},
            "config": {"claim.name": "policy", "claim.value": "admin-policy", "id.token.claim": "true"},
        },
    )
    (readers,) = keycloak(host, "GET", "/groups?search=storage-readers&briefRepresentation=false")
    keycloak(host, "PUT", f"/groups/{readers['id']}", {**readers, "attributes": {"policy": ["admin-policy"]}})
    (carol,) = keycloak(host, "GET", "/users?username=carol&exact=true")
    (admins,) = keycloak(host, "GET", "/groups?search=storage-admins")
    keycloak(host, "PUT", f"/users/{carol['id']}/groups/{admins['id']}")
    profile = keycloak(host, "GET", "/users/profile")
    profile["attributes"] = [attribute for attribute in profile["attributes"] if attribute["name"] != "policy"]
    keycloak(host, "PUT", "/users/profile", profile)

    plan = host.inv("check", "--host", NAME, code=2)
    for line in (
        "~ realm:ai-infrastructure changed on the host registrationAllowed: yes -> no",
        "redirects: http://* -> http://127.0.0.1",
        "secret: changed, hidden",
        "claims: policy, policy (by the scope email) -> policy",
        "frontendUrl: http://elsewhere.example.org/auth -> ",
        "claims: policy: admin-policy -> policy: readonly-policy",
        "groups: storage-admins -> ",
        "+ claim:policy",
    ):
        assert line in plan
    assert "known-to-all" not in plan and host.secret("sso_minio_console") not in plan
    host.inv("deploy", "--host", NAME, "--yes")
    assert "nothing to do" in host.inv("deploy", "--host", NAME, "--yes")
    assert keycloak(host, "GET", f"/users/{carol['id']}/groups") == []
    (email,) = [scope for scope in keycloak(host, "GET", "/client-scopes") if scope["name"] == "email"]
    assert "everybody" not in {mapper["name"] for mapper in email["protocolMappers"]}
    assert keycloak(host, "GET", "")["attributes"].get("cibaInterval") == realm["attributes"]["cibaInterval"]


def _with_one_more_of_each(host: Clone) -> None:
    """A deploy with somebody, a group with them in it, and a client, whom the settings then no longer name."""
    group, lab = (
        host.root / f"inventory/group_vars/{name}.yml" for name in ("ai_infrastructure", "ai_infrastructure_lab")
    )
    before = {file: file.read_text() for file in (group, lab)}
    secret = {"file": "inventory/secrets/%h/sso_bob"}
    erin = {"name": "Erin", "email": "erin@example.org", "first_name": "Erin", "last_name": "Ö'Example"}
    settings = yaml.safe_load(before[group])
    settings["sso"]["groups"].append({"name": "night"})
    settings["sso"]["clients"].append({"name": "old", "secret": secret, "redirects": ["/old"]})
    group.write_text(yaml.safe_dump(settings))
    settings = yaml.safe_load(before[lab])
    settings["sso"]["users"].append({**erin, "password": secret, "groups": ["night"]})
    lab.write_text(yaml.safe_dump(settings))
    try:
        host.inv("deploy", "--role", "sso", "--host", NAME, "--yes")
    finally:
        for file, text in before.items():
            file.write_text(text)


def test_who_is_taken_out_of_the_settings_leaves_the_realm_and_nobody_else(host: Clone) -> None:
    _with_one_more_of_each(host)
    keycloak(host, "POST", "/users", {"username": "dora", "enabled": True})
    (dora,) = keycloak(host, "GET", "/users?username=dora&exact=true")
    (night,) = keycloak(host, "GET", "/groups?search=night")
    keycloak(host, "PUT", f"/users/{dora['id']}/groups/{night['id']}")
    plan = host.inv("deploy", "--host", NAME, "--yes", code=3)
    for line in ("- sso-user:Erin", "- sso-client:old", "! sso-group:night user dora is in it"):
        assert line in plan
    assert keycloak(host, "GET", "/users?username=erin&exact=true") == []
    keycloak(host, "DELETE", f"/users/{dora['id']}/groups/{night['id']}")
    assert "- sso-group:night" in host.inv("deploy", "--host", NAME, "--yes")
    assert "nothing to do" in host.inv("deploy", "--host", NAME, "--yes")
    assert keycloak(host, "GET", f"/users/{dora['id']}")["username"] == "dora", "whom somebody made by hand"
    keycloak(host, "DELETE", f"/users/{dora['id']}")
    names = {group["name"] for group in keycloak(host, "GET", "/groups")}
    assert names == {"storage-admins", "storage-readers"}


def test_keycloaks_database_comes_back_with_its_realm_and_people(host: Clone) -> None:
    keycloak(host, "POST", "/users", {"username": "dora", "enabled": True})
    (dora,) = keycloak(host, "GET", "/users?username=dora&exact=true")
    host.inv("backup", "--host", NAME)
    shown = json.loads(host.inv("backup.show", "latest", "--json", "--host", NAME))
    assert "keycloak" in shown["databases"] and shown["targets"] == {"own": "whole"}
    sets = s3_of(host).list_objects_v2(Bucket="backups-postgresql", Prefix=f"{NAME}/sets/{shown['id']}/")
    assert sets["KeyCount"], "they lie in the bucket that the document names"
    timer = host.on_host("systemctl cat stowage-backup.timer; systemctl is-enabled stowage-backup.timer")
    assert "OnCalendar=*-*-* 02:00:00" in timer and timer.endswith("enabled\n")

    keycloak(host, "DELETE", f"/users/{dora['id']}")
    screen = host.inv("restore", "latest", "--database", "keycloak", "--yes", "--host", NAME)
    assert "waiting until keycloak answers" in screen
    until = "until curl -sf -o /dev/null http://127.0.0.1:8085/auth/realms/master; do sleep 1; done"
    host.on_host(until, timeout=180)
    (again,) = keycloak(host, "GET", "/users?username=dora&exact=true")
    assert again["id"] == dora["id"]
    host.inv("restore.cleanup", "--yes", "--host", NAME)
    assert "nothing to do" in host.inv("deploy", "--host", NAME, "--yes")


def test_people_log_in_with_a_browser_and_see_what_their_policies_allow(host: Clone, chromium: Browser) -> None:
    s3_of(host).put_object(Bucket="application-files", Key="report.txt", Body=b"words")
    s3_of(host).create_bucket(Bucket="secret-things")
    with chromium.console(url(host), "alice", host.secret("sso_alice")) as alice:
        alice.text("/browser", "application-files", "secret-things")
        alice.text("/policies", "readonly-policy")
        (cookie,) = [each for each in alice.cookies() if each["name"] == "token"]
        assert cookie["path"] == "/minio-console/", "whatever else is on this name does not get it"
    with chromium.console(url(host), "bob", host.secret("sso_bob")) as bob:
        assert "secret-things" not in bob.text("/browser", "application-files")
        bob.text("/browser/application-files", "report.txt")
        assert any("/minio-console/ws/" in websocket for websocket in bob.websockets), "it lists over a WebSocket"
        assert bob.status("PUT", "/api/v1/buckets/application-files/tags", {"tags": {"a": "b"}}) == 403
        assert bob.status("GET", "/api/v1/policies") == 403
    with chromium.console(url(host), "carol", host.secret("sso_carol"), at="/oauth_callback") as carol:
        carol.now("Policy claim missing")


def test_while_keycloak_is_down_s3_is_served_and_minio_and_nginx_start(host: Clone) -> None:
    host.on_host("docker stop keycloak")
    s3_of(host).put_object(Bucket="application-files", Key="while", Body=b"it is away")
    # As after a power cut: nothing is cached in memory.
    host.on_host("docker restart nginx minio1 minio2 minio3 minio4")
    healthy = "curl -sf -o /dev/null http://172.40.0.1$node:9000/minio/health/cluster?maintenance=true"
    host.on_host(f"for node in 1 2 3 4; do until {healthy}; do sleep 1; done; done", timeout=120)
    host.inv("restart", "minio", "--host", NAME)
    assert host.on_host("curl -s -o /dev/null -w '%{http_code}' http://172.40.0.11:9000/minio/health/cluster") == "200"
    assert s3_of(host).get_object(Bucket="application-files", Key="while")["Body"].read() == b"it is away"
    reader = s3_of(host, key=WRITER, secret=host.secret("backup_writer"))
    with pytest.raises(ClientError, match="AccessDenied"):
        reader.get_object(Bucket="application-files", Key="while")
    assert "nobody logs in anew with Keycloak" in host.inv("status", "--host", NAME, code=2)
    changes = host.changes("--host", NAME)
    assert changes["project:keycloak"] == "update" and not {"project:minio", "answers:minio"} & {*changes}


def _new_secrets_and_tls(host: Clone) -> None:
    """Settings with a new secret for the deploy's own login and for MinIO's, and a certificate for all that people reach."""
    folder, port = host.root / f"inventory/secrets/{NAME}", host.port(443)
    for name in ("sso_admin", "sso_minio_console"):
        (folder / name).write_text(f"{secrets.token_hex(16)}\n")
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=storage -addext subjectAltName=IP:127.0.0.1"
    files = ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    subprocess.run([*make.split(), *files], check=True, capture_output=True)
    file = host.root / "inventory/group_vars/ai_infrastructure.yml"
    settings = yaml.safe_load(file.read_text())
    edge = settings["edge"]
    edge["tls"] = {
        kind: f"inventory/secrets/{NAME}/tls.{end}" for kind, end in (("certificate", "crt"), ("key", "key"))
    }
    for row in edge["routes"]:
        row |= {80: {"port": 443}, 9000: {"tls": False}}.get(row["port"], {})
    edge["routes"].append({"port": 80, "to": "https:443"})
    file.write_text(yaml.safe_dump(settings))
    file = host.root / f"inventory/host_vars/{NAME}.yml"
    file.write_text(file.read_text().replace(url(host), f"https://127.0.0.1:{port}"))


def test_new_secrets_and_tls_come_with_a_deploy_and_people_log_in_under_it(host: Clone, chromium: Browser) -> None:
    old = host.secret("sso_admin")
    _new_secrets_and_tls(host)
    host.inv("deploy", "--host", NAME, "--yes")
    assert "nothing to do" in host.inv("deploy", "--host", NAME, "--yes")
    (console,) = keycloak(host, "GET", "/clients?clientId=minio-console")
    assert console["secret"] == host.secret("sso_minio_console")
    form = f"grant_type=client_credentials&client_id=stowage&client_secret={old}"
    token = "http://127.0.0.1:8085/auth/realms/master/protocol/openid-connect/token"
    assert host.on_host(f"curl -s -o /dev/null -w '%{{http_code}}' -d '{form}' {token}") == "401"
    assert old not in host.on_host("cat /etc/stowage/sso/secret")

    secure = f"https://127.0.0.1:{host.port(443)}"
    pool = urllib3.PoolManager(ca_certs=str(host.root / f"inventory/secrets/{NAME}/tls.crt"))
    discovery = pool.request("GET", f"{secure}/auth/realms/{REALM}/.well-known/openid-configuration").json()
    assert discovery["issuer"] == f"{secure}/auth/realms/{REALM}"
    plain = pool.request("GET", f"{url(host)}/minio-console/", redirect=False)
    assert plain.status == 308 and plain.headers["Location"].startswith("https://127.0.0.1")
    with chromium.console(secure, "alice", host.secret("sso_alice")) as alice:
        alice.text("/browser", "application-files")
        cookies = {cookie["name"]: cookie for cookie in alice.page.context.cookies()}
        assert {"token", "KEYCLOAK_IDENTITY"} <= {*cookies}
        assert all(cookie["secure"] for cookie in cookies.values()), cookies


def test_after_a_reboot_all_of_it_is_there_again_without_a_deploy(host: Clone) -> None:
    host.inv("lab.reboot", "--host", NAME)
    until = time.monotonic() + 300
    while "nothing to do" not in (output := host.inv("check", "--host", NAME, code=None)):
        assert time.monotonic() < until, output
        time.sleep(2)
    assert s3_of(host).get_object(Bucket="application-files", Key="while")["Body"].read() == b"it is away"
