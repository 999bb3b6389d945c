"""Status: what the screen says of a host that is well, of one that is not, and of one that is gone."""

from __future__ import annotations

import json
import re
import time
from types import SimpleNamespace

import pytest

from converge.errors import UNREACHABLE, Trouble
from runbook import cluster_status, status
from runbook.cluster_status import quorum
from runbook.found import human
from runbook.status import Status, lines

AUDIT = {
    "at": "2026-11-21T05:00:00Z",
    "event": "end",
    "who": "anna",
    "from": "laptop",
    "commit": "0123456789ab",
    "result": "done",
}
HOLDER = {"who": "otto", "from": "desk", "since": "2026-11-21T06:00:00Z", "doing": "inv deploy"}
GIB = 1 << 30
SERVES = {
    "version": "17.11 (Debian 17.11-0+deb13u1)",
    "connections": 3,
    "most": 100,
    "databases": {"geo": 5 * GIB, "scratch": 7 << 20},
}


def drive_of(endpoint: str, state: str = "ok", **more) -> dict:
    return {
        "endpoint": f"{endpoint}:9000",
        "drives": [{"endpoint": f"http://{endpoint}:9000/data", "state": state, **more}],
    }


def cluster(*servers: dict, parity: int | None = 2) -> dict:
    usage = {"bucketsUsageInfo": {"models": {"objectsCount": 1200, "size": 3 * GIB}}}
    return {
        "info": {"servers": list(servers), "backend": {"standardSCParity": parity}},
        "usage": usage,
        "names": ["superdarn-data", "models"],
    }


WELL = cluster(*(drive_of(f"minio{n}") for n in (1, 2, 3, 4)))


@pytest.fixture
def seen(machine, storage_host):
    """The status of a host with these drives mounted, these containers, and what its cluster tells."""

    def see(
        mounted=(1, 2, 3, 4),
        containers=None,
        told=None,
        used=40,
        code="200",
        audit=AUDIT,
        lock=None,
        drift=(),
        postgres=SERVES,
    ) -> Status:
        host = storage_host()
        paths = " ".join(f"/mnt/drive{n}" for n in mounted)
        machine.program("mountpoint", f'case " {paths} " in *" $2 "*) ;; *) exit 1;; esac')
        machine.program(
            "df",
            f'shift 3; echo Mounted Size Used Filesystem; echo $1 {100 * GIB} {used * GIB} "/dev/sd${{1#/mnt/drive}}"',
        )
        states = (
            {f"minio{n}": "running|Up 3 days (healthy)" for n in (1, 2, 3, 4)}
            | {"nginx": "running|Up 3 days", "postgres": "running|Up 3 days (healthy)"}
            | (containers or {})
        )
        listed = "\n".join(f"{name}|{state}" for name, state in states.items() if state)
        said = json.dumps(postgres) if postgres else "psql: error: no server"
        machine.program("docker", f"[ $1 != exec ] || {{ echo '{said}'; exit; }}\ncat <<'END'\n{listed}\nEND")
        machine.program("curl", f'for url do :; done; echo "{code} $url"')
        (machine.folder / "stowage").mkdir(exist_ok=True)
        if audit:
            (machine.folder / "stowage" / "audit.jsonl").write_text(
                json.dumps({**audit, "changes": ["+ a", "+ b"]}) + "\n"
            )
        if lock:
            (machine.folder / "run-stowage.lock").write_text(json.dumps(lock) + "\n")
            machine.program("flock", "exit 1")
        found = Status("prod", drift=list(drift))
        _, answer = machine.run(status._facts(host))
        status._read_facts(found, host, answer)
        cluster_status.read_cluster(found, host, WELL if told is None else told)
        found.next = status._advice(found, host)
        return found

    return see


def text(of: Status) -> str:
    return "\n".join(lines(of)) + "\n"


@pytest.mark.parametrize(
    ("online", "words"),
    [
        (4, "4 of 4 drives: reads survive 2 more, writes 1 more"),
        (3, "3 of 4 drives: reads survive 1 more, writes 0 more"),
        (2, "2 of 4 drives: READ ONLY, writing needs 3"),
        (1, "1 of 4 drives: LOST, reading needs 2"),
        (0, "0 of 4 drives: LOST, reading needs 2"),
    ],
)
@pytest.mark.parametrize("parity", [2, None])
def test_the_truth_about_quorum_of_four_drives(online, words, parity):
    assert quorum(online, 4, parity) == words


@pytest.mark.parametrize(
    ("online", "drives", "parity", "words"),
    [
        (1, 1, 0, "1 of 1 drives: reads survive 0 more, writes 0 more"),
        (0, 1, 0, "0 of 1 drives: LOST, reading needs 1"),
        (4, 4, 1, "4 of 4 drives: reads survive 1 more, writes 1 more"),
        (2, 4, 1, "2 of 4 drives: LOST, reading needs 3"),
        (6, 8, 4, "6 of 8 drives: reads survive 2 more, writes 1 more"),
        (4, 8, 4, "4 of 8 drives: READ ONLY, writing needs 5"),
    ],
)
def test_the_truth_about_quorum_of_other_clusters(online, drives, parity, words):
    assert quorum(online, drives, parity) == words


def test_a_host_that_is_well(seen, golden):
    found = seen()
    assert found.healthy
    golden("status_healthy", text(found))


def test_a_host_with_a_dead_drive(seen, golden):
    told = cluster(drive_of("minio1", "offline"), *(drive_of(f"minio{n}") for n in (2, 3, 4)))
    found = seen(
        mounted=(1, 2, 4),
        containers={"minio1": "exited|Exited (1) 2 minutes ago"},
        told=told,
        drift=["? filesystem:drive3  there is no drive at /dev/disk/by-id/ata-DISK_3", "~ project:minio"],
    )
    assert not found.healthy
    golden("status_degraded", text(found))


def test_a_host_that_is_gone(storage_host, golden, monkeypatch):
    host = storage_host()
    host.target = SimpleNamespace(address="storage.example.org")

    def refuse(host, roles):
        raise Trouble(
            "it cannot be reached", why="connection refused", hint="ssh storage.example.org", code=UNREACHABLE
        )

    monkeypatch.setattr(status, "of_host", refuse)
    (found,) = status.of_hosts([host], {"prod": []})
    assert not found.healthy
    golden("status_dead", text(found))


def test_a_silent_host_costs_no_more_than_our_patience_and_hides_no_other(storage_host, monkeypatch):
    hosts = [storage_host(), storage_host()]
    for host, name in zip(hosts, ("silent", "well"), strict=True):
        host.name, host.target = name, SimpleNamespace(address="10.0.0.1")
    monkeypatch.setattr(status, "PATIENCE", 0.2)
    monkeypatch.setattr(
        status, "of_host", lambda host, roles: time.sleep(3) if host.name == "silent" else Status("well")
    )
    begun = time.monotonic()
    found = status.of_hosts(hosts, {"silent": [], "well": []})
    assert time.monotonic() - begun < 2
    assert [one.host for one in found] == ["silent", "well"]
    assert found[0].error.startswith("no answer within")
    assert found[1].healthy


def test_each_node_is_shown_on_its_own_drive(seen):
    told = cluster(*(drive_of(f"172.30.99.1{n}", "offline" if n == 1 else "ok") for n in (1, 2, 3, 4)))
    found = seen(told=told)
    assert [(one.name, one.drive) for one in found.nodes] == [
        ("minio1", "drive3"),
        ("minio2", "drive2"),
        ("minio3", "drive4"),
        ("minio4", "drive1"),
    ]
    assert {one.label: one.problem for one in found.drives if one.problem} == {"drive3": "the cluster says offline"}
    assert not found.healthy


def test_healing_is_shown_with_what_is_done(seen):
    told = cluster(
        drive_of("minio1", healing=True, heal_info={"bytes_done": 5 * GIB}), *(drive_of(f"minio{n}") for n in (2, 3, 4))
    )
    assert "healing, 5.0 GiB done" in text(seen(told=told))


@pytest.mark.parametrize(("used", "says"), [(86, True), (85, False), (100, True), (0, False)])
def test_a_drive_that_is_nearly_full_is_told_in_time(seen, used, says):
    assert any("full" in one for one in seen(used=used).next) is says


@pytest.mark.parametrize(
    "state", ["exited|Exited (137) 1 hour ago", "restarting|Restarting (1) 3 seconds ago", "created|Created", None]
)
def test_a_node_that_does_not_run_is_told_with_what_to_do(seen, state):
    found = seen(containers={"minio2": state})
    assert not found.healthy
    assert [one for one in found.next if one.startswith("minio2 is ") and "inv logs" in one]


def test_a_cluster_that_does_not_tell_is_not_well(seen):
    found = seen(told={"why": "no MinIO node answers"})
    assert found.quorum.startswith("the cluster does not tell (no MinIO node answers); by its containers: 4 of 4")
    assert not found.healthy


@pytest.mark.parametrize("code", ["000", "502", "503", "403"])
def test_an_endpoint_that_does_not_answer_is_not_well(seen, code):
    found = seen(code=code)
    assert code in text(found)
    assert not found.healthy


@pytest.mark.parametrize("code", ["200", "302"])
def test_an_endpoint_that_answers_is_ok(seen, code):
    found = seen(code=code)
    assert found.healthy
    assert "/minio/health/cluster  ok" in text(found)


def test_a_run_under_way_is_told_with_its_holder(seen):
    assert seen(lock=HOLDER).under_way == "otto@desk since 2026-11-21T06:00:00Z: inv deploy"


@pytest.mark.parametrize(("audit", "says"), [(None, "never"), ({"rubbish": 1}, "its record cannot be read")])
def test_a_host_without_a_readable_past_says_so(seen, audit, says):
    assert seen(audit=audit).last_deploy == says


def test_a_deploy_that_did_not_end_is_told(seen):
    begun = {key: value for key, value in AUDIT.items() if key != "result"}
    assert seen(audit=begun | {"event": "begin"}).last_deploy.endswith("under way, or cut off")


def test_drift_alone_is_something_to_look_at_and_much_of_it_is_counted(seen):
    found = seen(drift=[f"~ file:/etc/{n}" for n in range(20)])
    assert not found.healthy
    assert "  differs    and 8 more" in lines(found)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (5 * GIB, "5.0 GiB"),
        (1 << 50, "1.0 PiB"),
        (1 << 60, "1024.0 PiB"),
    ],
)
def test_sizes_are_in_the_unit_that_a_person_would_choose(size, words):
    assert human(size) == words


def test_a_database_server_that_does_not_answer_is_named_with_what_to_do(seen):
    found = seen(containers={"postgres": "exited|Exited (1) 2 minutes ago"}, postgres=None)
    assert "  postgres   exited, Exited (1) 2 minutes ago, does not answer" in lines(found)
    assert found.next == [
        "postgres is exited, Exited (1) 2 minutes ago: inv logs --service postgres --host prod, then inv deploy --host prod"
    ]


def test_a_database_server_that_runs_out_of_connections_is_said(seen):
    (advice,) = seen(postgres={**SERVES, "connections": 97}).next
    assert advice.startswith("postgres: 97 of 100 connections are in use")
    assert "max_connections" in advice


def test_a_server_without_databases_is_well(seen):
    assert seen(postgres={**SERVES, "databases": None}).healthy


def test_colours_mark_what_is_wrong_and_change_no_word(seen):
    for found in (seen(), seen(containers={"minio2": "exited|Exited (1) 2 minutes ago"})):
        shown = lines(found, colour=True)
        assert [re.sub("\033\\[[0-9;]*m", "", line) for line in shown] == lines(found)
        assert [line for line in shown if "\033[31;1m" in line] == [
            line for line in shown if "needs you" in line or ("exited" in line and "node" in line)
        ]
