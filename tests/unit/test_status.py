"""The status screen of a healthy host, of a host with faults, and of one that is unreachable."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from converge.engine.resource import Action
from converge.errors import UNREACHABLE, Trouble
from converge.inventory.secret import Secret
from roles.minio import status as cluster_status
from roles.minio.status import quorum
from runbook import machine_status, status
from runbook.advice import advice
from runbook.machine_status import Container
from runbook.status import Status, lines
from worker.size import human

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
    counted = (datetime.now(UTC) - timedelta(hours=2, seconds=30)).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")
    usage = {"bucketsUsageInfo": {"models": {"objectsCount": 1200, "size": 3 * GIB}}, "lastUpdate": counted}
    return {
        "info": {"servers": list(servers), "backend": {"standardSCParity": parity}},
        "usage": usage,
        "names": ["superdarn-data", "models"],
    }


def well() -> dict:
    """Made anew for each test, as it contains the current time."""
    return cluster(*(drive_of(f"minio{n}") for n in (1, 2, 3, 4)))


@pytest.fixture
def seen(machine, storage_host):
    """The status of a host with these mounted drives, containers, and answers of its cluster."""

    def see(
        mounted=(1, 2, 3, 4),
        containers=None,
        answers=None,
        used=40,
        code="200",
        audit=AUDIT,
        lock=None,
        drift=(),
        postgres=SERVES,
        unit="ActiveState=active\nUnitFileState=enabled",
        hangs=(),
    ) -> Status:
        host = storage_host()
        paths = " ".join(f"/mnt/drive{n}" for n in mounted)
        hung = " ".join(f"/mnt/drive{n}" for n in hangs)
        machine.program("mountpoint", f'case " {paths} " in *" $2 "*) ;; *) exit 1;; esac')
        machine.program("systemctl", f"case $* in *docker.service*) echo '{unit}';; esac")
        # `timeout` fails at once for a drive that hangs.
        machine.program("timeout", f'case " {hung} " in *" $4 "*) exit 124;; esac; shift; exec "$@"')
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
        of_postgres = json.dumps(postgres) if postgres else "psql: error: no server"
        machine.program("docker", f"[ $1 != exec ] || {{ echo '{of_postgres}'; exit; }}\ncat <<'END'\n{listed}\nEND")
        machine.program("curl", f'for url do :; done; echo "{code} $url"')
        (machine.folder / "stowage").mkdir(exist_ok=True)
        if audit:
            (machine.folder / "stowage" / "audit.jsonl").write_text(
                json.dumps({**audit, "changes": ["+ a", "+ b"]}) + "\n"
            )
        if lock:
            (machine.folder / "run-stowage.lock").write_text(json.dumps(lock) + "\n")
            machine.program("flock", "exit 1")
        host_status = Status("prod", drift=list(drift))
        _, answer = machine.run(machine_status.facts(host))
        machine_status.read(host_status, host, answer)
        cluster_status.read_cluster(host_status, host, well() if answers is None else answers)
        host_status.next = advice(host_status, host)
        return host_status

    return see


@pytest.fixture
def resource_changes():
    """Changes with these actions, of resources note:0, note:1 and so on."""
    return lambda *symbols: [
        SimpleNamespace(action=Action(symbol), address=f"note:{number}", why="")
        for number, symbol in enumerate(symbols)
    ]


def text(of: Status) -> str:
    return "\n".join(lines(of)) + "\n"


@pytest.mark.parametrize(
    ("online", "sentence"),
    [
        (4, "4 of 4 drives: reads survive 2 more, writes 1 more"),
        (3, "3 of 4 drives: reads survive 1 more, writes 0 more"),
        (2, "2 of 4 drives: READ ONLY, writing needs 3"),
        (1, "1 of 4 drives: LOST, reading needs 2"),
        (0, "0 of 4 drives: LOST, reading needs 2"),
    ],
)
@pytest.mark.parametrize("parity", [2, None])
def test_the_truth_about_quorum_of_four_drives(online, sentence, parity):
    assert quorum(online, 4, parity) == sentence


@pytest.mark.parametrize(
    ("online", "drives", "parity", "sentence"),
    [
        (1, 1, 0, "1 of 1 drives: no redundancy, all is lost with this drive"),
        (0, 1, 0, "0 of 1 drives: LOST, reading needs 1"),
        (4, 4, 1, "4 of 4 drives: reads survive 1 more, writes 1 more"),
        (2, 4, 1, "2 of 4 drives: LOST, reading needs 3"),
        (6, 8, 4, "6 of 8 drives: reads survive 2 more, writes 1 more"),
        (4, 8, 4, "4 of 8 drives: READ ONLY, writing needs 5"),
    ],
)
def test_the_truth_about_quorum_of_other_clusters(online, drives, parity, sentence):
    assert quorum(online, drives, parity) == sentence


def test_a_host_that_is_well(seen, golden):
    host_status = seen()
    assert host_status.healthy
    golden("status_healthy", text(host_status))


def test_a_host_with_a_dead_drive(seen, golden):
    answers = cluster(drive_of("minio1", "offline"), *(drive_of(f"minio{n}") for n in (2, 3, 4)))
    host_status = seen(
        mounted=(1, 2, 4),
        containers={"minio1": "exited|Exited (1) 2 minutes ago"},
        answers=answers,
        drift=["? filesystem:drive3: there is no drive at /dev/disk/by-id/ata-DISK_3", "~ project:minio"],
    )
    assert not host_status.healthy
    golden("status_degraded", text(host_status))


def test_a_host_that_is_gone(storage_host, golden, monkeypatch):
    host = storage_host()
    host.target = SimpleNamespace(address="storage.example.org")

    def refuse(host, roles):
        raise Trouble(
            "it cannot be reached", why="connection refused", hint="ssh storage.example.org", code=UNREACHABLE
        )

    monkeypatch.setattr(status, "of_host", refuse)
    (host_status,) = status.of_hosts([host], {"prod": []})
    assert not host_status.healthy
    golden("status_dead", text(host_status))


def test_a_silent_host_costs_no_more_than_our_patience_and_hides_no_other(storage_host, monkeypatch):
    hosts = [storage_host(), storage_host()]
    for host, name in zip(hosts, ("silent", "well"), strict=True):
        host.name, host.target = name, SimpleNamespace(address="10.0.0.1")
    monkeypatch.setattr(status, "PATIENCE", 0.2)
    monkeypatch.setattr(
        status, "of_host", lambda host, roles: time.sleep(3) if host.name == "silent" else Status("well")
    )
    begun = time.monotonic()
    statuses = status.of_hosts(hosts, {"silent": [], "well": []})
    assert time.monotonic() - begun < 2
    assert [host_status.host for host_status in statuses] == ["silent", "well"]
    assert statuses[0].error.startswith("no answer within")
    assert statuses[1].healthy


def test_each_node_is_shown_on_its_own_drive(seen):
    answers = cluster(*(drive_of(f"172.30.99.1{n}", "offline" if n == 1 else "ok") for n in (1, 2, 3, 4)))
    host_status = seen(answers=answers)
    assert [(node.name, node.drive) for node in host_status.nodes] == [
        ("minio1", "drive3"),
        ("minio2", "drive2"),
        ("minio3", "drive4"),
        ("minio4", "drive1"),
    ]
    assert {drive.label: drive.problem for drive in host_status.drives if drive.problem} == {
        "drive3": "the cluster says offline"
    }
    assert not host_status.healthy


def test_healing_is_shown_with_what_is_done(seen):
    answers = cluster(
        drive_of("minio1", healing=True, heal_info={"bytes_done": 5 * GIB}), *(drive_of(f"minio{n}") for n in (2, 3, 4))
    )
    assert "healing, 5.0 GiB done" in text(seen(answers=answers))


@pytest.mark.parametrize(("used", "says"), [(86, True), (85, False), (100, True), (0, False)])
def test_a_drive_that_is_nearly_full_is_told_in_time(seen, used, says):
    assert any("full" in line for line in seen(used=used).next) is says


@pytest.mark.parametrize(
    "state", ["exited|Exited (137) 1 hour ago", "restarting|Restarting (1) 3 seconds ago", "created|Created", None]
)
def test_a_node_that_does_not_run_is_told_with_what_to_do(seen, state):
    host_status = seen(containers={"minio2": state})
    assert not host_status.healthy
    assert [line for line in host_status.next if line.startswith("minio2 is ") and "inv logs" in line]


def test_a_cluster_that_does_not_tell_is_not_well(seen):
    host_status = seen(answers={"why": "no MinIO node answers"})
    assert host_status.quorum.startswith("the cluster does not tell (no MinIO node answers); by its containers: 4 of 4")
    assert not host_status.healthy


@pytest.mark.parametrize("code", ["000", "502", "503", "403"])
def test_an_endpoint_that_does_not_answer_is_not_well(seen, code):
    host_status = seen(code=code)
    assert code in text(host_status)
    assert not host_status.healthy


@pytest.mark.parametrize("code", ["200", "302"])
def test_an_endpoint_that_answers_is_ok(seen, code):
    host_status = seen(code=code)
    assert host_status.healthy
    assert "/minio/health/cluster  ok" in text(host_status)


def test_a_run_under_way_is_told_with_its_holder(seen):
    assert seen(lock=HOLDER).under_way == "otto@desk since 2026-11-21T06:00:00Z: inv deploy"


@pytest.mark.parametrize(("audit", "says"), [(None, "never"), ({"rubbish": 1}, "its record cannot be read")])
def test_a_host_without_a_readable_past_says_so(seen, audit, says):
    assert seen(audit=audit).last_deploy == says


def test_a_deploy_that_did_not_end_is_told(seen):
    begun = {key: value for key, value in AUDIT.items() if key != "result"}
    assert seen(audit=begun | {"event": "begin"}).last_deploy.endswith("under way, or cut off")


def test_drift_alone_is_something_to_look_at_and_much_of_it_is_counted(seen):
    host_status = seen(drift=[f"~ file:/etc/{n}" for n in range(20)])
    assert not host_status.healthy
    assert "  differs    and 8 more" in lines(host_status)


@pytest.mark.parametrize(
    ("size", "written"),
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
def test_sizes_are_in_the_unit_that_a_person_would_choose(size, written):
    assert human(size) == written


def test_a_database_server_that_does_not_answer_is_named_with_what_to_do(seen):
    host_status = seen(containers={"postgres": "exited|Exited (1) 2 minutes ago"}, postgres=None)
    assert "  postgres   exited, Exited (1) 2 minutes ago, does not answer" in lines(host_status)
    assert host_status.next == [
        "postgres is exited, Exited (1) 2 minutes ago: inv logs --service postgres --host prod, then inv deploy --host prod"
    ]


def test_a_database_server_that_runs_out_of_connections_is_said(seen):
    (advice,) = seen(postgres={**SERVES, "connections": 97}).next
    assert advice.startswith("postgres: 97 of 100 connections are in use")
    assert "max_connections" in advice


def test_a_server_without_databases_is_well(seen):
    assert seen(postgres={**SERVES, "databases": None}).healthy


def test_colours_mark_what_is_wrong_and_change_no_word(seen):
    for host_status in (seen(), seen(containers={"minio2": "exited|Exited (1) 2 minutes ago"})):
        shown = lines(host_status, colour=True)
        assert [re.sub("\033\\[[0-9;]*m", "", line) for line in shown] == lines(host_status)
        assert [line for line in shown if "\033[31;1m" in line] == [
            line for line in shown if "needs you" in line or ("exited" in line and "node" in line)
        ]


def test_a_docker_that_does_not_run_is_the_one_cause_of_all_that_is_down_with_it(seen):
    host_status = seen(unit="ActiveState=failed\nUnitFileState=enabled", postgres=None)
    assert "  docker     does not run: its unit is failed" in lines(host_status)
    assert {node.state for node in host_status.nodes} == {"unknown"}
    (step,) = host_status.next
    assert step.startswith("Docker does not run: its unit is failed: nothing is published or started without it")
    assert "journalctl -u docker" in step
    assert step.endswith("inv deploy --host prod")


def test_a_masked_docker_is_unmasked_by_a_person_first(seen):
    (step,) = seen(unit="ActiveState=inactive\nUnitFileState=masked", postgres=None).next
    assert "sudo systemctl unmask docker.service" in step


def test_nginx_that_is_stopped_is_named_also_where_something_else_is_wrong(seen):
    stopped = {"nginx": "exited|Exited (0) 1 minute ago"}
    for more in ({}, {"minio2": "exited|Exited (1) 2 minutes ago"}):
        host_status = seen(containers=stopped | more, code="000")
        assert "  service    nginx    exited, Exited (0) 1 minute ago" in lines(host_status)
        (step,) = (step for step in host_status.next if step.startswith("nginx is exited"))
        assert "nothing of edge.routes is reached" in step
        assert "inv deploy --host prod" in step
        assert not [line for line in host_status.next if "answers 000" in line], "it follows from nginx"


def test_a_container_that_its_own_healthcheck_calls_unhealthy_is_not_well(seen):
    host_status = seen(containers={"minio3": "running|Up 3 days (unhealthy)"})
    (step,) = host_status.next
    assert step == "minio3 is running, Up 3 days (unhealthy): inv logs --service minio3 --host prod"


def test_with_two_drives_away_nothing_is_advised_that_the_runbook_forbids(seen):
    states = {"minio1": "exited|Exited (1) 2 minutes ago", "minio2": "exited|Exited (1) 2 minutes ago"}
    answers = cluster(*(drive_of(f"minio{n}", "offline" if n < 3 else "ok") for n in (1, 2, 3, 4)))
    host_status = seen(
        mounted=(1, 4), containers=states, answers=answers, drift=["? filesystem:drive3", "~ project:minio"]
    )
    (step,) = host_status.next
    assert step.startswith("drive2 and drive3 are away: do not restart or replace anything now.")
    assert "Two drives are dead" in step
    assert "inv deploy" not in step
    assert "inv drives.replace" not in step


def test_while_a_run_is_under_way_nobody_is_told_to_deploy_at_once(seen):
    host_status = seen(lock=HOLDER, drift=["+ file:/etc/x"])
    assert host_status.next == [
        "a run is under way (otto@desk since 2026-11-21T06:00:00Z: inv deploy): wait for its end, then inv status --host prod"
    ]
    host_status = seen(lock=HOLDER, containers={"minio2": "exited|Exited (1) 2 minutes ago"})
    assert all(
        "inv deploy --host" not in line.replace("once that run has ended: inv deploy", "") for line in host_status.next
    )


def test_a_drive_that_hangs_is_not_called_unmounted(seen):
    host_status = seen(hangs=(2,))
    assert [drive.problem for drive in host_status.drives] == ["", "does not answer", "", ""]
    assert [line for line in host_status.next if line.startswith("drive2 does not answer")]


def test_what_only_waits_for_another_difference_is_counted(resource_changes):
    assert status._differences(resource_changes("~", ".", ".", " ")) == ["~ note:0", ". 2 more wait for that"]
    assert status._differences(resource_changes("?", "!", ".")) == ["? note:0", "! note:1", ". 1 more wait for those"]


def test_a_slow_part_costs_only_itself(storage_host, monkeypatch):
    link = SimpleNamespace(
        send=lambda script, chunks: (0, f"/mnt/drive1 {100 * GIB} {40 * GIB} /dev/sd1\n--\n".encode(), b""),
        close=lambda: None,
    )

    def hang(run, *rest, **more):
        run.shell = None
        time.sleep(5)

    host = storage_host()
    monkeypatch.setattr(status, "FOR_PARTS", 0.3)
    monkeypatch.setattr(status, "_with_patience", lambda host: host)
    monkeypatch.setattr(status.runs, "prepare", lambda host, roles: SimpleNamespace(close=lambda: None, plan=None))
    monkeypatch.setattr(status.runs, "dial", lambda hosts: {hosts[0].name: SimpleNamespace(result=lambda: link)})
    monkeypatch.setattr(status.runs, "look", hang)
    monkeypatch.setattr(status, "start_reading", lambda host, link, answers: answers.update(well()))
    host_status = status.of_host(host, [])
    assert host_status.unread == [status.DIFFERENCES]
    assert host_status.exit_code == 3
    shown = text(host_status)
    assert "40.0 GiB of 100.0 GiB used" in shown
    assert "  ?          not read in time: how it differs from the inventory" in shown
    assert host_status.drives[1].problem == "not read"


def test_a_file_of_the_operators_that_cannot_be_read_hides_nothing_else_of_a_host(storage_host, monkeypatch):
    def prepare(host, roles):
        if roles:
            raise Trouble(
                "edge.tls cannot be served", "prod", "the key is not that of the certificate", "", "openssl x509 -in a"
            )
        return SimpleNamespace(close=lambda: None, plan=SimpleNamespace(changes=[]))

    host = storage_host()
    link = SimpleNamespace(send=lambda script, data: (0, b"/mnt/drive1 107374182400 42949672960 /dev/sda\n", b""))
    monkeypatch.setattr(status, "_with_patience", lambda host: host)
    monkeypatch.setattr(status.runs, "prepare", prepare)
    monkeypatch.setattr(status.runs, "dial", lambda hosts: {hosts[0].name: SimpleNamespace(result=lambda: link)})
    monkeypatch.setattr(status.runs, "look", lambda run, *rest, **more: None)
    monkeypatch.setattr(status, "start_reading", lambda host, link, answers: answers.update(well()))
    of = status.of_host(host, ["edge"])
    assert of.next[0] == (
        "edge.tls cannot be served: the key is not that of the certificate; how the host differs was not read, "
        "and nothing can be deployed: openssl x509 -in a"
    )
    assert "40.0 GiB of 100.0 GiB used" in text(of) and of.exit_code == 2


def test_a_command_to_paste_is_never_broken_over_two_lines(seen):
    host_status = seen(mounted=(1, 2, 4), lock=HOLDER)
    for width in (60, 80, 100):
        shown = lines(host_status, width=width)
        assert all(len(line) <= width for line in shown if line.startswith((" " * 13, "  next")) and "inv " not in line)
        for command in ("inv drives.replace drive3 --host prod", "inv deploy --host prod", "inv status --host prod"):
            assert any(command in line for line in shown), command


def test_drives_and_nodes_of_roles_that_the_host_does_not_have_are_not_shown(seen, storage_host):
    host_status = status.Status("prod")
    machine_status.read(host_status, storage_host(roles=["base", "docker", "images"]), "")
    assert (host_status.drives, host_status.nodes, host_status.services) == ([], [], [])


def test_what_is_refused_is_something_to_do_beside_other_advice_and_a_sick_service_hides_no_certificate(storage_host):
    of = Status("prod", drift=["~ file:/a", "! bucket:mlflow: this host had it, and now there is none of that name"])
    of.services = [Container("nginx", "running, Up 3 days"), Container("mlflow", "exited, Exited (1)")]
    of.certificates = ["ml.example.org on port 443: its certificate has ended: inv certs.renew --host prod"]
    sentences = advice(of, storage_host())
    assert any(sentence.startswith("mlflow is exited") for sentence in sentences)
    assert of.certificates[0] in sentences
    assert "refused, until you decide: bucket:mlflow: inv check --host prod says why, and what to do" in sentences
    of.services[0] = Container("nginx", "exited, Exited (1)")
    assert of.certificates[0] not in advice(of, storage_host()), "it follows from that"


def test_a_service_of_the_inventory_has_its_line_and_its_advice(storage_host):
    cache = {"image": "nginx", "data": {"/var/lib/redis": "/srv/stowage/cache"}}
    host, host_status = (
        storage_host(services={"cache": cache, "off": {"image": "nginx", "enabled": False}}),
        status.Status("prod"),
    )
    machine_status.read(host_status, host, "\n--\nunit|ActiveState=active\ncache|exited|Exited (1) 2 minutes ago\n")
    (line,) = (row for row in status.lines(host_status) if " cache " in row)
    assert line.split()[2] == "exited,"
    assert any("inv logs --service cache --host prod" in step for step in status.advice(host_status, host))
    assert not any(" off " in row for row in status.lines(host_status))


def test_a_service_that_does_not_run_says_what_that_costs():
    loss = "nobody logs in anew"
    assert str(Container("keycloak", "exited", loss=loss)) == "exited. nobody logs in anew"
    assert (
        str(Container("keycloak", "running", silence="answers 503", loss=loss))
        == "running; it answers 503. nobody logs in anew"
    )
    assert str(Container("keycloak", "running", loss=loss)) == "running"


@pytest.fixture
def shown(machine, storage_host):
    """The lines of the screen below a service whose data has files to show."""

    def show(**files) -> list[str]:
        page = {"image": "nginx", "data": {"/root": "/srv/desk"}, "shows": {name: f"/root/{name}" for name in files}}
        machine.places["/srv/desk"] = str(machine.folder / "desk")
        for name, content in files.items():
            path = machine.folder / "desk" / name
            path.parent.mkdir(exist_ok=True)
            path.symlink_to(content) if hasattr(content, "parts") else path.write_text(content)
        machine.program("docker", "[ $1 = exec ] || echo 'desk|running|Up 3 days'")
        machine.program("systemctl", "echo ActiveState=active")
        machine.program("curl", "exit 7")
        host, host_status = storage_host(services={"desk": page}), Status("prod")
        machine_status.read(host_status, host, machine.run(machine_status.facts(host))[1])
        screen = text(host_status).splitlines()
        at = next(number for number, line in enumerate(screen) if " desk " in line)
        return [line.strip() for line in screen[at + 1 : at + 1 + len(files)]]

    return show


def test_a_service_shows_the_first_line_of_a_file_of_its_data_to_be_copied(shown):
    key = "z9Oq" * 25 + "|a\\b=="
    assert shown(**{"id.pub": f"{key}\x1b[31m\nmore"}) == [f"id.pub: {key}[31m"]
    assert shown(long="x" * 5000) == [f"long: {'x' * machine_status.LONGEST}"]
    assert shown(empty="") == ["empty: there is none yet"]


def test_a_link_that_a_container_has_put_into_its_data_shows_nothing_of_the_host(shown, tmp_path):
    (tmp_path / "shadow").write_text("root:secret\n")
    assert shown(key="public\n", link=tmp_path / "shadow") == ["key: public", "link: there is none yet"]


@pytest.mark.parametrize(
    ("more", "warns"),
    [
        ({}, True),
        ({"environment": {"EMAIL_FROM": "a@example.org"}}, True),
        ({"environment": {"EMAIL_TO": "a@example.org"}}, False),
        ({"secrets": {"WEBHOOK_URL": Secret("http://example.org/x")}}, False),
    ],
)
def test_a_service_that_runs_to_no_purpose_says_which_setting_is_missing(storage_host, more, warns):
    without = {"one_of": ["secrets.WEBHOOK_URL", "environment.EMAIL_TO"], "loss": "alerts reach nobody"}
    host, host_status = (
        storage_host(services={"bell": {"image": "nginx", "useless_without": without, **more}}),
        Status("prod"),
    )
    machine_status.read(host_status, host, "\n--\nunit|ActiveState=active\nbell|running|Up 3 days\n")
    sentence = (
        "alerts reach nobody: set services.bell.secrets.WEBHOOK_URL or services.bell.environment.EMAIL_TO, "
        "then inv deploy --host prod"
    )
    assert (sentence in advice(host_status, host)) is warns
