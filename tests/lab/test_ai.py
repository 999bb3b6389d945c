"""The storage of the AI infrastructure, on a bare lab host: what its document names, as docs/systems.md has it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
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
    keycloak(host, "PUT", "", {"registrationAllowed": True})
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
        "claims: policy: admin-policy -> policy: readonly-policy",
        "groups: storage-admins -> ",
        "+ claim:policy",
    ):
        assert line in plan
    assert "known-to-all" not in plan and host.secret("sso_minio_console") not in plan
    host.inv("deploy", "--host", NAME, "--yes")
    assert "nothing to do" in host.inv("deploy", "--host", NAME, "--yes")
    assert keycloak(host, "GET", f"/users/{carol['id']}/groups") == []


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
    host.inv("deploy", "--host", NAME, "--yes")
    assert "nothing to do" in host.inv("deploy", "--host", NAME, "--yes")
