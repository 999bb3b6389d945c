"""Certificates of a public authority for nginx: rendered files, and the script on the host when the authority refuses."""

from __future__ import annotations

import subprocess
import time
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from converge.engine import run as runs
from converge.errors import Trouble
from converge.inventory.secret import Secret
from converge.resources.compose import Project
from converge.resources.file import File
from converge.resources.unit import Unit
from roles.edge import acme, authority, nginx, renewal
from roles.edge.role import edge
from roles.edge.served import Served, ends_soon, look, read
from roles.postgres.role import postgres
from tests.unit.conftest import ROOT

TABLE = [
    {"port": 80, "to": "https:443"},
    {"port": 443, "host": "s3.example.org", "to": "minio-api"},
    {"port": 443, "host": "ml.example.org", "to": "mlflow:5000"},
    {"port": 443, "host": "ml.example.org", "path": "/more", "to": "mlflow:5001"},
    {"port": 5432, "host": "ml.example.org", "to": "postgres:5432", "tcp": True},
]
SERVER = "https://acme.example.org/dir"


@pytest.fixture
def host(storage_host, tmp_path):
    (tmp_path / "acme.pem").write_text("who signed the server's own\n")

    def make(*rows, **more):
        own = {"email": "a@example.org", "server": SERVER, "authority": str(tmp_path / "acme.pem"), **more}
        images = {name: {"reference": f"example.org/{name}:17"} for name in ("minio", "nginx", "postgres", "certbot")}
        return storage_host(
            services={"mlflow": {"image": "nginx"}},
            edge={"tls": "acme", "acme": own, "routes": list(rows) or TABLE},
            images=images,
            postgres={"address": "172.30.99.20", "superuser_password": Secret("SENTINEL")},
        )

    return make


def wanted(made, kind, role=edge):
    return [want.resource for want in runs.prepare(made, [role]).wants if isinstance(want.resource, kind)]


def file(made, path):
    return next(resource for resource in wanted(made, File) if resource.path == path)


def servers(made):
    """Each server of the configuration, by its port and name."""
    text = nginx.config(made, made.settings.edge)
    return [block.split("\n    server {")[0] for block in text.split("\n    server {")[1:]]


def test_each_name_has_a_certificate_of_its_own_and_nginx_shows_the_proof_at_port_80(host):
    made = host()
    names = [leaf.name for leaf in wanted(made, acme.AcmeCertificate)]
    assert names == [
        "/etc/stowage/nginx/conf/acme-s3.example.org.crt",
        "/etc/stowage/nginx/conf/acme-ml.example.org.crt",
    ]
    text = nginx.config(made, made.settings.edge)
    assert "ssl_certificate /etc/stowage/acme-ml.example.org.crt;" in text
    assert "ssl_certificate_key /etc/stowage/acme-s3.example.org.key;" in text
    (proof,) = [block for block in servers(made) if "acme-challenge" in block]
    assert "listen 80 default_server;" in proof and "return 308 https://$host$request_uri;" in proof
    assert f"root {acme.PROOFS_INSIDE};" in proof
    (project,) = wanted(made, Project)
    container = project.services["nginx"]
    assert "127.0.0.1:80:80" in container["ports"]
    assert [volume["read_only"] for volume in container["volumes"] if volume["target"] == acme.PROOFS_INSIDE] == [True]


def test_without_a_row_for_port_80_nginx_listens_there_for_the_proof_alone(host):
    made = host(*TABLE[1:3])
    (proof,) = [block for block in servers(made) if "acme-challenge" in block]
    assert "listen 80 default_server;" in proof and "location / { return 404; }" in proof
    assert "127.0.0.1:80:80" in wanted(made, Project)[0].services["nginx"]["ports"]
    named = {"port": 80, "host": "clear.example.org", "to": "mlflow:5000", "tls": False}
    both = [block for block in servers(host(*TABLE[1:3], named)) if "acme-challenge" in block]
    assert len(both) == 2, "who asks for that name, and who asks for any other"


def test_certbot_is_asked_as_the_data_user_and_never_sees_a_key(host):
    made = host()
    script = file(made, f"{acme.HERE}/ask").text
    for option in (
        "--network stowage",
        "--read-only",
        "--cap-drop ALL",
        "-u 9000:9000",
        "example.org/certbot:17 certonly",
        f"--server={SERVER}",
        "REQUESTS_CA_BUNDLE=/authority.crt",
        "--csr=/asked/csr.pem",
    ):
        assert option in script, option
    assert file(made, acme.AUTHORITY).text == "who signed the server's own\n"
    staging = file(host(server="https://acme-v02.api.letsencrypt.org/directory"), f"{acme.HERE}/ask").text
    assert "--server=https://acme-v02.api.letsencrypt.org/directory" in staging
    assert "stowage-acme.timer" in [unit.unit for unit in wanted(made, Unit)]
    assert not wanted(made, authority.LocalCertificate) or all(
        isinstance(leaf, acme.AcmeCertificate) for leaf in wanted(made, authority.LocalCertificate)
    )


def test_lets_encrypts_server_for_trials_is_a_setting(storage_host):
    images = {name: {"reference": f"example.org/{name}:17"} for name in ("minio", "nginx", "postgres", "certbot")}
    settings = {"tls": "acme", "acme": {"email": "a@example.org", "staging": True}, "routes": TABLE[:2]}
    made = storage_host(edge=settings, images=images)
    assert "--server=https://acme-staging-v02.api.letsencrypt.org/directory" in file(made, f"{acme.HERE}/ask").text
    assert "REQUESTS_CA_BUNDLE" not in file(made, f"{acme.HERE}/ask").text


def test_postgresql_has_one_of_its_own_in_the_same_table(host):
    made = host()
    (leaf,) = wanted(made, acme.AcmeCertificate, postgres)
    assert leaf.files == ("/etc/stowage/postgres/conf/server.crt", "/etc/stowage/postgres/conf/server.key")
    assert file(made, f"{acme.HERE}/table").text.splitlines() == [
        "/etc/stowage/nginx/conf acme-s3.example.org stowage nginx s3.example.org",
        "/etc/stowage/nginx/conf acme-ml.example.org stowage nginx ml.example.org",
        "/etc/stowage/postgres/conf server stowage postgres ml.example.org",
    ]
    (asked,) = wanted(made, acme.Asked)
    assert "server ml.example.org" in acme.Asked.probe([asked])
    assert acme.Asked.read([asked], "yes\n") == [{"asked": "yes"}]
    assert acme.Asked.read([asked], "no\n") == acme.Asked.read([asked], "") == [None]


def test_status_names_what_is_temporary_and_who_refuses(host):
    settings = host().settings
    assert f"{acme.HERE}/failed/*" in look(settings)
    refusal = f"refused|ml.example.org:acme-ml.example.org|3 4102444800 {SERVER} no such name: a|b"
    shown = read(
        settings,
        ["443|s3.example.org|4102444800|0A|CN=R1", f"443|ml.example.org|4102444800|0B|{acme.TEMPORARY}", refusal],
    )
    assert shown[0].trouble() == ""
    assert shown[1].trouble() == (
        "ml.example.org on port 443: it has a temporary certificate, which nobody trusts, and no new one is signed: "
        "no such name: a|b (asked 3 times, again at 2100-01-01 00:00 UTC)"
    )
    assert "its certificate has ended, and no new one is signed: x" in Served(443, "a", 1, refused="x").trouble()


def test_of_certificates_that_live_for_days_the_last_third_is_soon(host):
    week = host(lifetime_hours=144).settings
    assert ends_soon(host().settings.edge) == 21 * 86400 and ends_soon(week.edge) == 2 * 86400
    line = f"443|s3.example.org|{int(time.time()) + 3 * 86400}|0A|CN=R1"
    assert "ends in" in read(host().settings, [line])[0].trouble() and not read(week, [line])[0].trouble()


SIGNS = """
[ ! -e refuse ] || { cat refuse; exit 1; }
openssl x509 -req -in "$1/csr.pem" -CA ca.crt -CAkey ca.key -CAcreateserial -copy_extensions copy -days 90 -out "$1/cert.pem" 2>/dev/null
cat "$1/cert.pem" ca.crt >"$1/fullchain.pem"
"""


class Host:
    """The script with its own folder, openssl as the authority, and a program that loads the signed certificates."""

    def __init__(self, folder):
        self.folder = folder
        self.script = folder / "acme"
        text = (ROOT / "files/acme.sh").read_text().replace("here=/etc/stowage/acme", f"here={folder}")
        self.script.write_text(text.replace("account=/etc/stowage/nginx/acme", f"account={folder}"))
        (folder / "acme-refusals").write_text((ROOT / "files/acme-refusals.sh").read_text())
        for name in ("signed", "failed", "conf"):
            (folder / name).mkdir()
        (folder / "server").write_text(f"{SERVER}\n")
        (folder / "ask").write_text(f"cd {folder}\necho asked >>asked.log\n{SIGNS}")
        (folder / "nginx").write_text(f"echo taken up >>{folder}/taken.log\n")
        me = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        self.rows = [
            (str(folder / "conf"), f"acme-{name}", me, "nginx", name) for name in ("one.example.org", "two.example.org")
        ]
        (folder / "table").write_text("".join(f"{' '.join(row)}\n" for row in self.rows))
        made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=real -keyout ca.key -out ca.crt"
        subprocess.run(made.split(), cwd=folder, check=True, capture_output=True)
        for row in self.rows:
            self("temporary", row[0], row[1], row[2], row[4])

    def __call__(self, *arguments, code=0):
        done = subprocess.run(["sh", self.script, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == code and not done.stderr, done
        return done.stdout.strip()

    def asked(self, server=SERVER):
        return self("asked", server, *(word for row in self.rows for word in (row[0], row[1], row[4])))

    def issuer(self, at):
        crt = f"{self.rows[at][0]}/{self.rows[at][1]}.crt"
        return subprocess.run(
            ["openssl", "x509", "-noout", "-issuer", "-serial", "-in", crt], capture_output=True, text=True, check=True
        ).stdout

    def lines(self, name):
        path = self.folder / name
        return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def here(tmp_path):
    return Host(tmp_path)


def test_a_temporary_certificate_is_there_until_the_authority_has_signed(here):
    assert [here("state", row[0], row[1], row[2], row[4]) for row in here.rows] == ["good", "good"]
    assert here("state", *here.rows[0][:3], "other.example.org") == "for another name"
    assert here.asked() == "no" and "temporary certificate of Stowage" in here.issuer(0)
    key = here.folder / "conf/acme-one.example.org.key"
    assert key.stat().st_mode & 0o777 == 0o400
    screen = here("renew")
    assert screen.count(": signed, until") == 2 and "CN = real" in here.issuer(0)
    assert here.asked() == "yes" and here.lines("taken.log") == 2 and key.stat().st_mode & 0o777 == 0o400
    before = here.issuer(0)
    assert here("renew") == "" and here.issuer(0) == before, "nothing is due"
    assert here("renew", str(91 * 86400)).count("signed, until") == 2 and here.issuer(0) != before
    assert not list(here.folder.glob(".new-*")), "no key is left behind"


def test_who_is_refused_keeps_what_is_served_and_asks_again_after_a_growing_pause(here):
    here("renew")
    before = here.issuer(0), here.issuer(1)
    (here.folder / "refuse").write_text(
        "Requesting a certificate for one\n\n  Domain: one\n  Detail: no such name\n\nHint: look\nAsk for help\n"
    )
    record, pauses = here.folder / "failed/one.example.org:acme-one.example.org", []
    for tries in (0, 1, 2, 6, 7, 70):
        record.write_text(f"{tries} 0 {SERVER} earlier\n")
        screen = here("renew", "9999999", code=1)
        assert "warning: one.example.org is not signed: no such name. What is there is served on" in screen
        now, moment, server, why = record.read_text().split(" ", 3)
        pauses.append(round((int(moment) - time.time()) / 60))
        assert (now, server, why) == (str(tries + 1), SERVER, "no such name\n")
    assert pauses == [10, 20, 40, 640, 1280, 1440]
    assert (here.issuer(0), here.issuer(1)) == before and here.asked() == "yes"
    number = here.lines("asked.log")
    assert here("renew") == "" and here.lines("asked.log") == number, "the timer waits"
    (here.folder / "refuse").unlink()
    assert here("renew", "9999999").count("signed, until") == 2
    assert not list((here.folder / "failed").iterdir())


def test_who_is_told_when_to_come_again_does_not_come_before(here):
    moment = int(time.time()) + 7200
    words = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment))
    (here.folder / "refuse").write_text(f"  Detail: too many certificates, retry after {words} UTC: see https://x\n")
    here("renew", code=1)
    record = here.folder / "failed/one.example.org:acme-one.example.org"
    assert record.read_text().split()[:2] == ["1", str(moment)]
    (here.folder / "refuse").write_text("  Detail: too many certificates, retry after never UTC\n")
    here("renew", "9999999", code=1)
    assert abs(int(record.read_text().split()[1]) - time.time() - 1200) < 60


def test_of_an_authority_that_is_away_the_first_name_tells(here):
    away = "An unexpected error occurred:\nValueError: Requesting acme.example.org/dir: Connection refused\nAsk for help or search\n"
    (here.folder / "refuse").write_text(away)
    screen = here("renew", code=1)
    assert screen.count(f"is not signed: {SERVER} cannot be reached: Connection refused.") == 2
    assert here.lines("asked.log") == 1 and here.asked() == "yes", "the deploy has done what it can"
    assert here.asked("https://another.example.org/dir") == "no"
    (here.folder / "server").write_text("https://another.example.org/dir\n")
    (here.folder / "refuse").unlink()
    assert here("renew").count("signed, until") == 2, "another authority is asked at once"


def test_what_certbot_writes_counts_only_with_the_key_that_asked(here):
    (here.folder / "ask").write_text(f'cp {here.folder}/ca.crt "$1/fullchain.pem"; echo signed')
    assert "is not signed: signed." in here("renew", code=1) and "temporary" in here.issuer(0)


def test_a_key_that_its_program_cannot_read_is_given_back_and_the_certificate_stays(here):
    here("renew")
    before, key = here.issuer(0), here.folder / "conf/acme-one.example.org.key"
    key.chmod(0o444)
    row = here.rows[0]
    assert here("state", row[0], row[1], row[2], row[4]) == "of another owner, or with other rights"
    here("temporary", row[0], row[1], row[2], row[4])
    assert here("state", row[0], row[1], row[2], row[4]) == "good"
    assert key.stat().st_mode & 0o777 == 0o400 and here.issuer(0) == before


def test_a_refusal_of_a_name_that_is_gone_is_forgotten(here):
    (here.folder / "refuse").write_text("  Detail: no such name\n")
    assert here("renew", code=1).count("is not signed") == 2
    (here.folder / "table").write_text(f"{' '.join(here.rows[1])}\n")
    assert here("renew") == "", "the pause is not over"
    assert [one.name for one in (here.folder / "failed").iterdir()] == ["two.example.org:acme-two.example.org"]


def test_the_account_is_put_aside_once_and_certbot_makes_another(here):
    assert here("forget") == ""
    for content in ("first", "second"):
        (here.folder / "accounts").mkdir()
        (here.folder / "accounts/key").write_text(content)
        here("forget")
        assert not (here.folder / "accounts").exists()
        assert (here.folder / "accounts.before/key").read_text() == content


def test_without_an_image_of_certbot_it_is_refused_and_traefik_needs_none(storage_host):
    images = {name: {"reference": f"example.org/{name}:17"} for name in ("minio", "nginx", "traefik", "postgres")}
    settings = {"tls": "acme", "acme": {"email": "a@example.org"}, "routes": TABLE[:2]}
    with pytest.raises(ValidationError, match="images has no certbot"):
        storage_host(edge=settings, images=images)
    storage_host(edge={**settings, "kind": "traefik"}, images=images)


@pytest.mark.parametrize(
    ("why", "helps"),
    [
        ("josepy.errors.DeserializationError: Deserialization error: Expecting property name", "--new-account"),
        ("Account https://x/my-account/1 not found", "--new-account"),
        ("too many certificates (5) already issued", "wait"),
        ("https://x/dir cannot be reached: Connection refused", "curl -sS -o /dev/null https://x/dir"),
        ("https://x/dir has not answered within 60 s", "does the host get there"),
        ("Get http://a/.well-known/acme-challenge/x: connection refused", "do the names lead to this host"),
    ],
)
def test_the_next_step_is_one_that_helps_against_this_refusal(why, helps):
    with pytest.raises(Trouble) as refused:
        renewal._refuse(SimpleNamespace(name="hub"), "https://x/dir", f"a.example.org is not signed: {why}")
    assert helps in refused.value.hint
    assert ("curl" in refused.value.hint) is ("/dir" in why)
