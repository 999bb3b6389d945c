"""Impossible settings are refused before any connection, each with its line and what to write."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge.errors import Trouble, Troubles
from converge.inventory.hosts import load
from roles.backup.calendar import NoEvent, checked, event
from roles.settings.model import Settings

WHOLE = """
ansible_host: 10.0.0.1
ansible_port: 2222
images: {minio: {reference: a/b:1}, nginx: {reference: a/n:1}, postgres: {reference: a/p:17}, worker: {reference: a/w:1}}
drives:
  - {device: /dev/disk/by-id/1, label: drive1, path: /mnt/drive1}
minio:
  nodes: [{name: minio1, drive: drive1, address: 172.30.99.11}]
  root_user: {env: A}
  root_password: {env: B}
edge: {routes: [{port: 9000, to: minio-api}]}
postgres: {address: 172.30.99.20, superuser_password: {env: C}}
backup:
  identity: {env: D}
  accept_single_copy: true
  targets:
    - {name: own, kind: stack, writer: {env: E}, pruner: {env: F}}
"""


@pytest.fixture
def wrong(tmp_path: Path) -> Callable[..., list[Trouble]]:
    """The troubles of a complete host whose own file has this text."""

    def load_with(text: str, *sets: str) -> list[Trouble]:
        here = tmp_path / "inventory"
        (here / "group_vars").mkdir(parents=True, exist_ok=True)
        (here / "host_vars").mkdir(exist_ok=True)
        (here / "hosts.yml").write_text("all: {hosts: {one: }}")
        (here / "group_vars/all.yml").write_text(WHOLE)
        (here / "host_vars/one.yml").write_text(text)
        try:
            load(tmp_path, "one", Settings, sets, resolve_secrets=False)
        except Troubles as several:
            return several.troubles
        return []

    return load_with


def test_the_whole_host_is_right(wrong: Callable[..., list[Trouble]]) -> None:
    assert wrong("") == []


OWN = "{name: own, kind: stack, writer: {env: E}, pruner: {env: F}}"
S3 = "kind: s3, bucket: abc, access_key: {env: G}, secret_key: {env: H}"
# A setting of host_vars/one.yml, and part of the error's what and why.
NONSENSE = [
    ("backup: {memory: 10}", "backup.memory is 10", "a size with its unit"),
    ("backup: {memory: 10B}", "backup.memory", "a size from 256MiB to 1TiB"),
    ("backup: {memory: 9999999999PiB}", "backup.memory", "a size from 256MiB to 1TiB"),
    ("backup: {memory: -1GiB}", "backup.memory", "a size such as 500GiB"),
    ("backup: {memory: 256MiB, uploads: 32}", "backup.memory", "it needs 6272MiB"),
    ("backup: {memory: 511MiB}", "backup.memory", "with 2 uploads of 64 MiB it needs 512MiB"),
    ("backup: {jobs: 0}", "backup.jobs is the number 0", "at least 1"),
    ("backup: {jobs: 1000}", "backup.jobs", "at most 64"),
    ("backup: {uploads: -2}", "backup.uploads", "at least 1"),
    ("backup: {keep_days: 99999999}", "backup.keep_days", "at most 36500"),
    ("backup: {keep_days: 1.5}", "backup.keep_days", "a whole number"),
    ("backup: {fresh_hours: 99999999}", "backup.fresh_hours", "at most 8784"),
    ("backup: {schedule: whenever}", "backup.schedule is 'whenever'", "no day of the week"),
    ("backup: {schedule: '*-*-* 25:00:00'}", "backup.schedule", "25 is no hour"),
    ("backup: {schedule: '*-02-30 02:00:00'}", "backup.schedule", "it never comes again"),
    ("backup: {schedule: '2020-01-01'}", "backup.schedule", "it never comes again"),
    ("backup: {schedule: '*:*:*'}", "backup.schedule", "several times a minute"),
    ("backup: {schedule: '02:00 Mars/Phobos'}", "backup.schedule", "no time zone Mars/Phobos"),
    ("backup: {schedule: '0 2 * * *'}", "backup.schedule", "a calendar event of systemd"),
    ("backup: {schedule: ''}", "backup.schedule", "a calendar event of systemd"),
    ("backup: {staging: /}", "backup.staging", "an absolute path"),
    ("backup: {staging: /etc}", "backup.staging", "the system lives there"),
    ("backup: {staging: /tmp/x}", "backup.staging", "the system lives there"),
    ("backup: {staging: relative}", "backup.staging", "an absolute path"),
    ("backup: {staging: /srv/../etc}", "backup.staging", "without . or .."),
    ("backup: {staging: /srv/a%n}", "backup.staging", "an absolute path"),
    ("backup: {staging: /srv/stowage/postgres/x}", "backup.staging", "the folder of postgres.data"),
    ("backup: {staging: /mnt/drive1/drive1/x}", "backup.staging", "MinIO keeps the objects of drive1"),
    ("backup: {staging: /var/lib/stowage/drives}", "backup.staging", "keeps its records"),
    ("backup: {staging: /var/lib/docker/x}", "backup.staging", "the system lives there"),
    ("backup: {textfile: /var/lib/stowage/staging}", "backup.textfile", "the folder of backup.staging"),
    ("backup: {textfile: /root}", "backup.textfile", "the system lives there"),
    ("backup: {ping: 'file:///etc/passwd'}", "backup.ping", "an address such as"),
    ("backup: {ping: 'https://a:99999/x'}", "backup.ping", "1 to 65535"),
    ("backup: {dependents: [postgres]}", "backup.dependents[0]", "a restore needs PostgreSQL"),
    ("backup: {dependents: [minio1]}", "backup.dependents[0]", "take the storage away"),
    ("backup: {targets: [{name: a, kind: path, path: /etc}]}", "backup.targets[0]", "the system lives there"),
    ("backup: {targets: [{name: a, kind: path, path: /srv/stowage}]}", "backup.targets[0]", "the folder of postgres"),
    (f"backup: {{targets: [{{name: a, endpoint: 'file:///x', {S3}}}]}}", "backup.targets[0]", "an address such as"),
    (
        f"backup: {{targets: [{{name: a, endpoint: 'http://b', {S3}}}, {{name: c, endpoint: 'http://b', {S3}}}]}}",
        "backup.targets[1]",
        "the same place as a",
    ),
    (
        f"backup: {{targets: [{OWN}, {{name: a, endpoint: 'http://b', pruner_access_key: {{env: P}}, {S3}}}]}}",
        "backup.targets[1].pruner_access_key",
        "belong together",
    ),
    ("edge: {routes: [{port: 22, to: minio-api}]}", "edge.routes[0].port is 22", "SSH server listens there"),
    ("edge: {routes: [{port: 2222, to: minio-api}]}", "edge.routes[0].port is 2222", "(ansible_port)"),
    ("edge: {routes: [{port: 0, to: minio-api}]}", "edge.routes[0].port", "at least 1"),
    ("edge: {routes: [{port: 70000, to: minio-api}]}", "edge.routes[0].port", "at most 65535"),
    ("edge: {routes: [{port: -1, to: minio-api}]}", "edge.routes[0].port", "at least 1"),
    ("edge: {routes: [{port: 80, to: minio-api, tls: true}]}", "edge.routes[0].tls", "false, or a mapping"),
    ("edge: {routes: [{port: 80, to: minio}]}", "edge.routes[0].to", "minio-api, minio-console"),
    ("edge: {routes: []}", "edge.routes", "at least 1"),
    ("edge: {kind: caddy}", "edge.kind", "'nginx'"),
    ("edge: {listen: 224.0.0.1}", "edge.listen", "an address of the host"),
    ("edge: {listen: localhost}", "edge.listen", "an IP address"),
    ("postgres: {listen: 0.0.0.0, port: 2222}", "postgres.port", "(ansible_port)"),
    ("postgres: {listen: 0.0.0.0, port: 9000}", "postgres.port", "edge.routes.0.port has this port"),
    ("postgres: {data: /var/lib/stowage/x}", "postgres.data", "keeps its records"),
    ("postgres: {data: /mnt}", "postgres.data", "the system lives there"),
    ("postgres: {shm_size: 1B}", "postgres.shm_size", "from 1MiB to 1TiB"),
    ("postgres: {shm_size: 1PiB}", "postgres.shm_size", "from 1MiB to 1TiB"),
    ("postgres: {major: 9}", "postgres.major", "at least 14"),
    ("minio: {root_drive_threshold: 1B}", "minio.root_drive_threshold", "from 1GiB to 1PiB"),
    ("minio: {environment: {MINIO_ADDRESS: ':1'}}", "minio.environment.MINIO_ADDRESS", "nginx and the checks"),
    ("minio: {environment: {PATH: x}}", "minio.environment.PATH", "starts with MINIO_"),
    ("minio: {nodes: []}", "minio.nodes", "at least 1"),
    ("networks: {a: {subnet: 8.8.8.0/24}}", "networks.a.subnet", "a private network"),
    ("networks: {a: {subnet: 172.30.99.0/31}}", "networks.a.subnet", "from /8 to /29"),
    ("networks: {a: {subnet: 172.17.0.0/24}}", "networks.a.subnet", "Docker's own bridge"),
    ("networks: {host: {subnet: 172.30.98.0/24}}", "networks.host", "Docker's own"),
    ("data_user: {name: root}", "data_user.name", "a user or group of the system"),
    ("data_user: {uid: -1}", "data_user.uid", "at least 100"),
    ("data_user: {uid: 65534}", "data_user.uid", "at most 60000"),
    ("base: {sysctl: {foo.bar: '1'}}", "base.sysctl.foo.bar", "no kernel has it"),
    ("base: {sysctl: {vm.swappiness: lots}}", "base.sysctl.vm.swappiness", "a number here"),
    ("base: {sysctl: {vm.swappiness: '-1'}}", "base.sysctl.vm.swappiness", "0 to 200"),
    ("base: {packages: [a]}", "base.packages[0]", "a package name"),
    ("images: {minio: {reference: 'http://a/b:1'}}", "images.minio.reference", "an image with its version"),
    ("images: {minio: {reference: nginx}}", "images.minio.reference", "an image with its version"),
    ("docker: {daemon: {data-root: /mnt/drive1/x}}", "drives[0].path", "Docker keeps its own data"),
    ("docker: {daemon: {max: .inf}}", "docker.daemon.max", "JSON has no such number"),
    ("buckets: [{name: abc, quota: 9999999999PiB}]", "buckets[0].quota", "a size from 1MiB"),
    ("buckets: [{name: abc, lifecycle: [{id: a, expire_days: 0}]}]", "expire_days is the number 0", "at least 1"),
    ("buckets: [{name: abc, lifecycle: [{id: a, expire_days: 99999}]}]", "expire_days", "at most 36500"),
]


@pytest.mark.parametrize(("text", "what", "why"), NONSENSE, ids=[case[0][:60] for case in NONSENSE])
def test_nonsense_is_told_with_its_line_and_why(
    wrong: Callable[..., list[Trouble]], text: str, what: str, why: str
) -> None:
    troubles = [trouble for trouble in wrong("\n" + text) if what in trouble.what and why in trouble.why]
    assert troubles, [str(trouble) for trouble in wrong("\n" + text)]
    assert troubles[0].hint
    assert troubles[0].where == "inventory/host_vars/one.yml:2" or what == "drives[0].path"


DRIVES = [
    ("path: /mnt/drive1/x", "it lies inside /mnt/drive1"),
    ("path: /etc", "the system lives there"),
    ("path: /var/lib/dpkg", "the system lives there"),
    ("path: /var/lib/stowage/x", "records"),
    ("path: relative", "an absolute path"),
    ("path: /mnt/../etc", "without . or .."),
    ("path: '/mnt/x\ty'", "an absolute path"),
    ("options: ro", "nothing could be written"),
    ("options: 'defaults,noauto'", "not be mounted at boot"),
    ("device: /dev/disk/by-id/1-part1", "name the whole disk"),
    ("device: /dev/sdb", "after a reboot this may be another drive"),
    ("device: /dev/disk/by-id/1", "stands twice"),
    ("label: drivé2", "an XFS label"),
    ("label: drive1", "stands twice"),
]


@pytest.mark.parametrize(("setting", "why"), DRIVES)
def test_a_drive_that_cannot_be_is_told(wrong: Callable[..., list[Trouble]], setting: str, why: str) -> None:
    second = {"device": "/dev/disk/by-id/2", "label": "drive2", "path": "/mnt/drive2"}
    key, _, value = setting.partition(": ")
    pairs = ", ".join(f"{name}: {written}" for name, written in {**second, key: value}.items())
    first = "{device: /dev/disk/by-id/1, label: drive1, path: /mnt/drive1}"
    (trouble, *_) = wrong(f"drives:\n  - {first}\n  - {{{pairs}}}\n")
    assert trouble.where == "inventory/host_vars/one.yml:3"
    assert why in trouble.why


EVENTS = [
    "daily",
    "Weekly",
    "*-*-* 02:00:00",
    "Mon..Fri 22:30",
    "Sat,Sun *-*-* 4:00",
    "*:0/15",
    "2030-01-31",
    "*-*-1/7 3:00",
]
EVENTS += ["02:00 UTC", "hourly UTC", "*-*~1 02:00", "Mon *-02-29", "10..12:00", "*-1,7-1 0:0:0.5"]


@pytest.mark.parametrize("text", EVENTS)
def test_an_event_of_systemd_is_taken(text: str) -> None:
    assert checked(text) == text


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("daily", "2026-11-26"),
        ("weekly", "2026-11-30"),
        ("*-*~1", "2026-11-30"),
        ("Sun *-02-29", "2032-02-29"),
        ("yearly", "2027-01-01"),
        ("*-02-30", None),
    ],
)
def test_the_next_day_of_an_event_is_known(text: str, day: str | None) -> None:
    assert event(text).next_day(datetime.date(2026, 11, 26)) == (datetime.date.fromisoformat(day) if day else None)


WORDS = [
    "*",
    "1",
    "0/5",
    "5/0",
    "1..5",
    "5..1",
    "59",
    "60",
    "1,2",
    "x",
    "",
    "31",
    "2030",
    "Mon",
    "1-2",
    "-",
    "~",
    ":",
    "/",
]


@given(st.lists(st.sampled_from([*WORDS, ":", "-", " ", ":", "-"]), max_size=12).map("".join))
def test_no_schedule_ends_in_a_traceback(text: str) -> None:
    with suppress(NoEvent):
        event(text)


# systemd 252 refuses each of these, too (systemd-analyze calendar), as it takes all of EVENTS.
REFUSED = ["25:00", "*:60", "5..1:00", "Mo", "*-13-1", "*/5:00", "0 2 * * *", "10", "Mon..", "1:2:3:4", "tomorrow", ""]


@pytest.mark.parametrize("text", [*REFUSED, "*~29", "Fri..Mon", "*:0/60"])
def test_what_systemd_refuses_is_no_event(text: str) -> None:
    with pytest.raises(NoEvent):
        event(text)
