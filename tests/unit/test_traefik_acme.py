"""What the host does of Traefik's certificates: it has it ask again after a refusal, and writes down who refuses, and why."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time

import pytest

from converge.engine import run as runs
from converge.resources.file import File
from converge.resources.unit import Unit
from roles.edge import acme, traefik_acme
from roles.edge.renewal import ACCOUNT_UNKNOWN, LIMITED
from roles.edge.role import edge
from roles.edge.served import Served
from tests.unit.conftest import ROOT

SERVER = "https://acme.example.org/dir"
# As Traefik 3.7.15 has written them, asked by Pebble and by a server that limits.
REFUSED = (
    'ERR Unable to obtain ACME certificate for domains error="unable to generate a certificate for the domains [one.example.org]: '
    "acme: error: 429 :: POST :: https://acme.example.org/order-plz :: urn:ietf:params:acme:error:rateLimited :: too many failed "
    'authorizations (5) for \\"one.example.org\\" in the last 1h0m0s, retry after 2006-11-28 10:30:00 UTC" ACME CA=https://acme.example.org/dir '
    'acmeCA=https://acme.example.org/dir domains=["one.example.org"] providerName=x.acme routerName=a@file rule=Host(`one.example.org`)'
)
AWAY = (
    "ERR Unable to obtain ACME certificate for domains error=\"cannot get ACME client get directory at 'https://acme.example.org/dir': unable to "
    'communicate with the API server: error: Get \\"https://acme.example.org/dir\\": dial tcp 172.31.77.2:14000: connect: connection refused" ACME '
    'CA=https://acme.example.org/dir acmeCA=https://acme.example.org/dir domains=["one.example.org"] providerName=x.acme rule=Host(`one.example.org`)'
)
UNREACHED = (
    'ERR Unable to obtain ACME certificate for domains error="unable to generate a certificate for the domains [one.example.org]: resolver: one or '
    "more domains had a problem: [one.example.org: invalid authorization: acme: error: 400 :: urn:ietf:params:acme:error:connection :: Get "
    '\\"http://one.example.org:80/.well-known/acme-challenge/AS8y\\": dial tcp 172.31.77.2:80: connect: connection refused]" ACME CA=https://acme.'
    'example.org/dir acmeCA=https://acme.example.org/dir domains=["one.example.org"] providerName=x.acme rule=Host(`one.example.org`)'
)
UNKNOWN = (
    'ERR Error renewing ACME certificate: {one.example.org []} error="acme: error: 400 :: POST :: https://acme.example.org/order-plz :: urn:ietf:'
    'params:acme:error:accountDoesNotExist :: Account https://acme.example.org/my-account/307b842ff912ed67 not found." acmeCA=https://acme.example.org/dir'
)


class Host:
    """The script with a store of Traefik's; Docker is a file of log lines, and what is told to Traefik is what a test does then."""

    def __init__(self, folder):
        self.folder, self.script, self.store = folder, folder / "acme", folder / "acme.json"
        text = (ROOT / "files/acme-traefik.sh").read_text()
        for old, new in (
            ("here=/etc/stowage/acme ", f"here={folder} "),
            ("store=/etc/stowage/traefik/acme/acme.json", f"store={self.store}"),
            ("patience=60", "patience=${PATIENCE-60}"),
            ("sleep 2", "sleep 0.1"),
            ("sleep 1\n", "sleep 0.1\n"),
        ):
            assert old in text
            text = text.replace(old, new)
        self.script.write_text(text)
        (folder / "acme-refusals").write_text((ROOT / "files/acme-refusals.sh").read_text())
        (folder / "failed").mkdir()
        (folder / "settings").write_text(
            f"server={SERVER} resolver=acme-example-org-dir hosts='one.example.org two.example.org' within=100000 every=60 api=http://x/api\n"
        )
        (folder / "log").write_text("")
        (folder / "then").write_text("")
        stubs = {
            "docker": 'case "$1 $3" in "inspect {{.State.Pid}}") echo 7 ;; inspect*) echo 2026-11-28T09:00:00Z ;; *) cat log ;; esac',
            "nsenter": "echo poked >>poked.log; sh then",
        }
        (folder / "bin").mkdir()
        for name, said in stubs.items():
            (folder / "bin" / name).write_text(f"#!/bin/sh\n{said}\n")
            (folder / "bin" / name).chmod(0o755)
        (folder / "restart").write_text("echo restarted >>restarted.log; sh then\n")

    def signed(self, *names, days=90, resolver="acme-example-org-dir", into="acme.json"):
        """Writes Traefik's store as it does: with these names, each with a new certificate."""
        rows = []
        for name in names:
            made = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days {days} -subj /CN={name} -keyout /dev/null"
            pem = subprocess.run(made.split(), capture_output=True, check=True).stdout
            rows.append(
                {
                    "domain": {"main": name},
                    "certificate": base64.b64encode(pem).decode(),
                    "key": "a2V5",
                    "Store": "default",
                }
            )
        account = {
            "Email": "a@b.org",
            "Registration": {"body": {"status": "valid"}, "uri": "https://x/1"},
            "KeyType": "4096",
        }
        whole = {
            "another": {"Account": account, "Certificates": None},
            resolver: {"Account": account, "Certificates": rows},
        }
        (self.folder / into).write_text(json.dumps(whole, indent=2))
        (self.folder / into).chmod(0o600)

    def __call__(self, *words, code=0, **variables):
        environment = {**os.environ, **variables, "PATH": f"{self.folder}/bin:{os.environ['PATH']}"}
        done = subprocess.run(
            ["sh", self.script, *words], capture_output=True, text=True, check=False, cwd=self.folder, env=environment
        )
        assert done.returncode == code and not done.stderr, done
        return done.stdout.strip()

    def lines(self, name):
        path = self.folder / name
        return len(path.read_text().splitlines()) if path.exists() else 0

    def says(self, line, moment="2026-11-28T09:24:09Z"):
        (self.folder / "log").write_text(f"{moment} {line}\n{moment} {line}\n")

    def record(self, name="one.example.org"):
        return (self.folder / f"failed/{name}:traefik").read_text()


@pytest.fixture
def here(tmp_path):
    return Host(tmp_path)


def test_what_is_signed_is_left_alone_and_another_authoritys_does_not_count(here):
    here.signed("one.example.org", "two.example.org")
    assert here("asked", SERVER, "one.example.org", "two.example.org") == "yes"
    assert here("renew") == "" and here.lines("poked.log") == here.lines("restarted.log") == 0
    here.signed("one.example.org", "two.example.org", resolver="staging")
    assert here("asked", SERVER, "one.example.org") == "no"


def test_traefik_is_not_disturbed_while_it_asks_for_the_first_time(here):
    here.signed("two.example.org")
    told = here("renew", code=1, PATIENCE="1")
    assert told.startswith(f"warning: one.example.org is not signed: {SERVER} has not answered within 1 s.")
    assert here.lines("poked.log") == 0


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (
            REFUSED,
            'too many failed authorizations (5) for "one.example.org" in the last 1h0m0s, retry after 2006-11-28 10:30:00 UTC',
        ),
        (AWAY, f"{SERVER} cannot be reached: connection refused"),
        (
            UNREACHED,
            'Get "http://one.example.org:80/.well-known/acme-challenge/AS8y": dial tcp 172.31.77.2:80: connect: connection refused',
        ),
    ],
)
def test_whom_the_authority_refuses_it_is_asked_for_again_after_a_growing_pause(here, line, why):
    here.signed("two.example.org")
    here.says(line)
    record, pauses = here.folder / "failed/one.example.org:traefik", []
    for tries in (0, 1, 2, 70):
        record.write_text(f"{tries} 0 {SERVER} earlier\n")
        told = here("renew", code=1)
        assert told.startswith(f"warning: one.example.org is not signed: {why}. What is there is served on")
        now, moment, server, said = here.record().split(" ", 3)
        pauses.append(round((int(moment) - time.time()) / 60))
        assert (now, server, said) == (str(tries + 1), SERVER, f"{why}\n")
    assert pauses == [10, 20, 40, 1440]
    assert here.lines("poked.log") == 4 and here.lines("restarted.log") == 0, "nobody's connection is cut for that"
    assert here("renew") == "" and here.lines("poked.log") == 4, "the timer waits"
    here.signed("one.example.org", "two.example.org", into="later.json")
    (here.folder / "then").write_text(": >log; cp later.json acme.json\n")
    record.write_text(f"3 0 {SERVER} earlier\n")
    assert here("renew").startswith("one.example.org: signed, until ")
    assert not list((here.folder / "failed").iterdir())


def test_a_renewal_that_is_refused_is_written_down_and_left_to_traefik(here):
    here.signed("one.example.org", "two.example.org", days=1)
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 5))
    here.says(UNKNOWN, moment)
    assert here("renew") == "" and here.lines("restarted.log") == here.lines("poked.log") == 0
    tries, again, server, why = here.record().split(" ", 3)
    assert (tries, server) == ("2", SERVER) and abs(int(again) - time.time() - 65) < 5
    assert ACCOUNT_UNKNOWN.search(why) and not LIMITED.search(why)
    assert not (here.folder / "failed/two.example.org:traefik").exists()
    here.signed("one.example.org", "two.example.org")
    assert here("renew") == "" and not list((here.folder / "failed").iterdir()), "it was signed meanwhile"


def test_a_command_has_what_is_due_renewed_by_a_start_of_traefik(here):
    here.signed("one.example.org", "two.example.org", days=1)
    here.signed("one.example.org", "two.example.org", into="later.json")
    (here.folder / "then").write_text("cp later.json acme.json\n")
    assert here("renew", "100000").count(": signed, until") == 2 and here.lines("restarted.log") == 1
    assert here("renew", "100000") == "" and here.lines("restarted.log") == 1


def test_an_authority_that_asked_before_traefik_had_its_routes_is_asked_once_more(here):
    here.signed("one.example.org", "two.example.org", days=1)
    here.says(UNREACHED)
    here.signed("one.example.org", "two.example.org", into="later.json")
    (here.folder / "then").write_text("[ $(wc -l <restarted.log) = 1 ] || { : >log; cp later.json acme.json; }\n")
    assert here("renew", "100000").count(": signed, until") == 2 and here.lines("restarted.log") == 2


def test_the_account_goes_and_the_certificates_stay(here):
    here.signed("one.example.org", "two.example.org")
    here.store.chmod(0o600)
    before = json.loads(here.store.read_text())
    here("forget")
    after = json.loads(here.store.read_text())
    assert after["acme-example-org-dir"]["Account"] is None and after["another"]["Account"]
    assert after["acme-example-org-dir"]["Certificates"] == before["acme-example-org-dir"]["Certificates"]
    assert here.store.stat().st_mode & 0o777 == 0o600
    assert json.loads((here.folder / "acme.json.before").read_text()) == before
    assert here("renew", "1200", "restarted") == "" and here.lines("restarted.log") == 1


def test_a_store_that_was_cut_in_the_middle_is_put_back_and_read_again(here):
    here.signed("one.example.org", "two.example.org")
    here.store.chmod(0o600)
    here("renew")
    good, skips = here.store.read_text(), "ERR The ACME resolve is skipped from the resolvers list error=x"
    for damage in (good[:700], "", None):
        here.store.write_text(damage) if damage is not None else here.store.unlink()
        here("renew")
        assert here.store.read_text() == good and here.store.stat().st_mode & 0o777 == 0o600
    assert here.lines("restarted.log") == 0, "it has all of it in memory"
    here.store.write_text(good[:700])
    assert here("asked", SERVER, "one.example.org") == "no"
    here.says(skips)
    assert "put in its place" in here("renew") and here.lines("restarted.log") == 1
    assert here("renew") == "" and here.lines("restarted.log") == 1
    here.store.chmod(0o644)
    assert here("asked", SERVER, "one.example.org") == "no"
    assert here("renew") == "" and here.lines("restarted.log") == 2
    assert here.store.stat().st_mode & 0o777 == 0o600 and here("asked", SERVER, "one.example.org") == "yes"


def test_a_damaged_store_without_a_copy_lies_beside_and_an_empty_one_is_a_first_start(here):
    here.store.write_text("")
    assert "damaged" not in here("renew", code=1, PATIENCE="0") and here.store.read_text() == ""
    here.store.write_text('{\n  "acme-')
    assert here("renew") == "" and here.store.exists(), "Traefik serves what it has in memory, and writes it again"
    here.says("ERR The ACME resolve is skipped from the resolvers list error=x")
    assert "acme.json.damaged" in here("renew") and here.lines("restarted.log") == 1
    assert (here.folder / "acme.json.damaged").read_text() == '{\n  "acme-' and not here.store.exists()


def test_the_host_looks_after_what_traefik_asks_for(storage_host):
    images = {name: {"reference": f"example.org/{name}:17"} for name in ("minio", "traefik", "postgres")}
    row = {"port": 443, "host": "s3.example.org", "to": "minio-api"}
    said = {"kind": "traefik", "tls": "acme", "acme": {"email": "a@example.org", "server": SERVER}, "routes": [row]}
    made = storage_host(edge=said, images=images)
    wants = [one.resource for one in runs.prepare(made, [edge]).wants]
    files = {one.path: one.text for one in wants if isinstance(one, File)}
    assert "hosts=s3.example.org\nwithin=2592000\nevery=86400\n" in files[f"{acme.HERE}/settings"]
    assert "stowage-acme.timer" in [one.unit for one in wants if isinstance(one, Unit)]
    (asked,) = [one for one in wants if isinstance(one, acme.Asked)]
    assert asked.note(None) == "asks it to sign for s3.example.org"
    names = [one.address for one in wants]
    assert names.index("answers:traefik") < names.index(asked.address)
    short = made.settings.edge.model_copy(
        update={"acme": made.settings.edge.acme.model_copy(update={"lifetime_hours": 160})}
    )
    assert traefik_acme.renews(short) == (2 * 86400, 7200)


def test_what_has_no_certificate_tells_why():
    assert Served(443, "a", refused="x").trouble() == "a on port 443 shows no certificate, and none is signed: x"
