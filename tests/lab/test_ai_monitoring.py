"""Monitoring of the AI infrastructure: metrics, delivered alerts, logs with their labels, and the panels of its dashboards."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import sync_playwright

from tests.lab.conftest import Clone, s3_of
from tests.unit import alert_cases

NAME = "ai-lab"
TEXTFILES = "/var/lib/prometheus/node-exporter"
GATEWAY = "172.31.0.1"
RECEIVER = f"""
import http.server, json
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open("/run/alerts", "a") as file:
            file.writelines(json.dumps(one) + "\\n" for one in told["alerts"])
        self.send_response(200); self.end_headers()
    def log_message(self, *words): pass
http.server.HTTPServer(("{GATEWAY}", 8099), Receiver).serve_forever()
"""


def until(ask: Callable[[], Any], what: str, within: float = 150) -> Any:
    """The first answer that is not empty."""
    end = time.monotonic() + within
    while not (result := ask()):
        assert time.monotonic() < end, f"not within {within:.0f} s: {what}"
        time.sleep(1)
    return result


def asked(host: Clone, query: str) -> list[dict[str, Any]]:
    """Prometheus's answer to a question."""
    import requests

    with requests.Session() as session:
        session.trust_env = False
        where = f"http://127.0.0.1:{host.port(9090)}/api/v1/query"
        answer = session.get(where, params={"query": query}, timeout=30).json()
    assert answer["status"] == "success", f"{query}: {answer}"
    return list(answer["data"]["result"])


@pytest.fixture(scope="module")
def host(ai: Clone) -> Iterator[Clone]:
    """The host with alerts without delay, and a receiver for them."""
    quick(ai.root / "templates/prometheus/prometheus.yml.j2", r"(_interval|timeout): \d+s", r"\1: 4s")
    quick(ai.root / "files/prometheus/alerts.yml", r"for: \w+", "for: 4s")
    quick(ai.root / "templates/alertmanager/alertmanager.yml.j2", r"(group_wait|group_interval): \w+", r"\1: 2s")
    (ai.root / f"inventory/secrets/{NAME}/alert_webhook").write_text(f"http://{GATEWAY}:8099/\n")
    file = ai.root / "inventory/group_vars/ai_infrastructure_lab.yml"
    settings = yaml.safe_load(file.read_text())
    page = settings["services"]["alertmanager"]
    page["secrets"] = {"WEBHOOK_URL": {"file": f"inventory/secrets/{NAME}/alert_webhook"}}
    file.write_text(yaml.safe_dump(settings))
    ai.on_host(
        f"cat >/run/receiver.py <<'END'\n{RECEIVER}\nEND\n"
        "systemctl stop receiver 2>/dev/null; systemd-run -q --unit receiver python3 /run/receiver.py"
    )
    ai.inv("deploy", "--host", NAME, "--yes")
    ai.inv("backup", "--host", NAME)
    yield ai
    ai.inv("lab.down", "--host", NAME, code=None)


def quick(file: Path, pattern: str, instead: str) -> None:
    file.write_text(re.sub(pattern, instead, file.read_text()))


def test_prometheus_itself_says_that_each_alert_fires_when_it_must_and_only_then(host: Clone, tmp_path: Path) -> None:
    rules = Path(__file__).resolve().parents[2] / "files/prometheus/alerts.yml"
    (tmp_path / "alerts.yml").write_text(rules.read_text())
    files = [f"cases{number}.yml" for number, _ in enumerate(alert_cases.tests("alerts.yml"))]
    for file, cases in zip(files, alert_cases.tests("alerts.yml"), strict=True):
        (tmp_path / file).write_text(yaml.safe_dump(cases))
    command = [
        "docker",
        "run",
        "--rm",
        "--network",
        "none",
        "-v",
        f"{tmp_path}:/cases:ro",
        "stowage-lab/watch:trixie",
    ]
    done = subprocess.run(
        [*command, "promtool", "test", "rules", *(f"/cases/{file}" for file in files)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_that_is_to_be_asked_answers(host: Clone) -> None:
    until(lambda: len(asked(host, "up")) >= 13, "all targets are known")
    until(lambda: not asked(host, "up == 0"), "all targets answer")
    until(lambda: asked(host, "probe_success") and not asked(host, "probe_success == 0"), "all probes pass")
    (drives,) = until(lambda: asked(host, "sum(stowage_drive_mounted)"), "the host tells of its drives")
    assert drives["value"][1] == "4"
    assert not asked(host, "stowage_container_running == 0")
    (used,) = asked(host, 'node_filesystem_size_bytes{mountpoint="/mnt/drive1"}')
    assert float(used["value"][1]) > 1e12, "the host's own drives are seen from within the container"


def test_each_question_of_each_panel_has_an_answer(host: Clone) -> None:
    s3 = s3_of(host)
    for at in range(5):
        s3.put_object(Bucket="application-files", Key=f"{at}", Body=b"x" * 1000)
        s3.get_object(Bucket="application-files", Key=f"{at}")
    queries = {
        target["expr"]
        for file in (host.root / "files/grafana/dashboards").glob("*.json")
        for panel in json.loads(file.read_text())["panels"]
        for target in panel["targets"]
    }
    assert len(queries) > 50
    unanswered = set(queries)

    def answered() -> bool:
        unanswered.difference_update([query for query in unanswered if asked(host, query)])
        return not unanswered

    try:
        until(answered, "every panel has data", within=240)
    except AssertionError:
        raise AssertionError(f"no data: {sorted(unanswered)}") from None


def search_logs(host: Clone, query: str) -> list[dict[str, Any]]:
    output = host.inv("logs.search", query, "--since", "1h", "--json", "--host", NAME)
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def test_requests_are_found_by_their_labels_and_neither_keys_nor_signatures_are_kept(host: Clone) -> None:
    from botocore.exceptions import ClientError

    s3 = s3_of(host)
    s3.put_object(Bucket="application-files", Key="gone", Body=b"x")
    s3.delete_object(Bucket="application-files", Key="gone")
    link = s3.generate_presigned_url("get_object", {"Bucket": "application-files", "Key": "by-link"})
    signature = re.search(r"Signature=([^&]+)", link)[1]  # type: ignore[index]
    subprocess.run(["curl", "-s", "-o", "/dev/null", "--noproxy", "*", link], check=True)
    with pytest.raises(ClientError):
        s3_of(host, "nobody-at-all", "x" * 20).list_buckets()
    deleted = '{source="minio",operation_type="delete"} api.bucket:="application-files"'
    until(lambda: search_logs(host, deleted), "the deletion is found")
    until(lambda: search_logs(host, '{source="minio",security_event="access_denied"}'), "the refusal is found")
    (line, *_) = search_logs(host, deleted)
    assert line["api.object"] == "gone" and line["level"] == "info" and re.fullmatch(r"key-[0-9a-f]{12}", line["who"])
    until(lambda: search_logs(host, '{source="minio"} api.object:="by-link"'), "the request by a link is found")
    for secret in (host.secret("root_user"), host.secret("root_password"), signature, "nobody-at-all", "Credential"):
        assert not search_logs(host, f'*:"{secret}"'), secret
    assert "DeleteObject" in host.inv("logs.search", deleted, "--host", NAME)


def test_containers_and_the_host_with_its_kernel_are_found(host: Clone) -> None:
    # Anybody on the host may write such a line: it must not hold up the others.
    host.on_host("printf 'PRIORITY=loud\nMESSAGE=an odd line\n' | logger --journald")
    host.on_host(
        # A lab host shares the machine's kernel and ignores its log: here it reads it.
        "[ -e /dev/kmsg ] || { mknod /dev/kmsg c 1 11 && systemctl restart systemd-journald; }\n"
        "logger -p user.err 'a line of the host'; echo '<3>XFS (nowhere): a line of the kernel' >/dev/kmsg\n"
        "docker restart -t 5 blackbox >/dev/null"
    )
    until(
        lambda: search_logs(host, '{source="host",level="error"} "a line of the host"'), "the line of the host is found"
    )
    until(
        lambda: search_logs(host, '{source="host",stream="kernel",level="error"} "XFS"'), "the kernel's line is found"
    )
    until(lambda: search_logs(host, '{source="blackbox",stream="console"}'), "the lines of a container are found")
    until(lambda: search_logs(host, '{source="minio",container="minio1"}'), "the lines of a node are found")
    assert host.inv("logs.search", "{broken", "--host", NAME, code=1).count("error:") == 1


def test_nothing_is_lost_while_the_store_is_away(host: Clone) -> None:
    """Also when the agent is killed meanwhile: its queue is on disk."""
    s3 = s3_of(host)
    host.on_host("docker stop -t 10 victorialogs >/dev/null")
    for at in range(50):
        s3.put_object(Bucket="application-files", Key=f"while-away-{at}", Body=b"x")
    host.on_host(
        "docker logs --since 60s log-labels 2>&1 | grep -q 'does not take' || sleep 5; docker restart -t 20 vlagent >/dev/null"
    )
    s3.put_object(Bucket="application-files", Key="while-away-last", Body=b"x")
    host.on_host("docker start victorialogs >/dev/null")

    def all_there() -> bool:
        names = {
            entry["api.object"]
            for entry in search_logs(host, '{source="minio",operation_type="write"} api.object:~"while-away"')
        }
        return names == {*(f"while-away-{at}" for at in range(50)), "while-away-last"}

    until(all_there, "every write is found", within=180)

    # And while the agent is away: MinIO has a queue of its own, which outlives a restart of its nodes.
    host.on_host("docker stop -t 20 vlagent >/dev/null")
    try:
        for at in range(20):
            s3.put_object(Bucket="application-files", Key=f"without-agent-{at}", Body=b"x")
        host.on_host("docker restart minio1 minio2 minio3 minio4 >/dev/null")
    finally:
        host.on_host("docker start vlagent >/dev/null")
    query = '{source="minio",operation_type="write"} api.object:~"without-agent"'
    wanted = {f"without-agent-{at}" for at in range(20)}
    until(lambda: {entry["api.object"] for entry in search_logs(host, query)} == wanted, "every write is found", 180)
    cluster = "curl -sf -o /dev/null http://172.40.0.1$node:9000/minio/health/cluster?maintenance=true"
    host.on_host(f"for node in 1 2 3 4; do until {cluster}; do sleep 1; done; done", timeout=120)


def test_the_page_of_the_status_has_its_facts_and_its_charts(host: Clone, tmp_path: Path) -> None:
    host.inv("status", "--html", str(tmp_path / "status.html"), "--host", NAME, code=None)
    text = (tmp_path / "status.html").read_text()
    assert text.count("<svg") == 4 and "minio1" in text and "application-files" in text
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = chromium.new_page()
        wanted: list[str] = []
        page.on("request", lambda request: wanted.append(request.url))
        page.goto(f"file://{tmp_path}/status.html")
        drawn = page.locator("svg path").evaluate_all("all => all.filter(one => one.getTotalLength() >= 0).length")
        assert drawn >= 7 and page.locator("h1").inner_text().startswith(f"{NAME}:")
        assert wanted == [page.url], "it needs nothing from anywhere"
        chromium.close()


def received_alerts(host: Clone) -> dict[str, dict[str, Any]]:
    """The alerts that the receiver got, by name."""
    lines = host.on_host("cat /run/alerts 2>/dev/null || :").splitlines()
    return {alert["labels"]["alertname"]: alert for alert in map(json.loads, lines)}


def test_what_goes_wrong_is_heard_by_whoever_is_to_be_told(host: Clone) -> None:
    """The last test: it leaves the host with faults."""
    until(lambda: "Watchdog" in received_alerts(host), "the watchdog comes")
    host.inv("lab.pull-drive", "4", "--host", NAME)
    host.on_host(
        # Nearly full drives of 1 TiB; an old record of the last backup; a stopped program.
        "for one in 1 2 3; do fallocate -l 950G /mnt/drive$one/drive$one-full; done\n"
        f"sed -i 's/^\\(stowage_backup_last_success_timestamp_seconds.*\\) [0-9]*$/\\1 1/' {TEXTFILES}/stowage_backup.prom\n"
        "docker stop -t 5 blackbox >/dev/null; /usr/local/lib/stowage/facts"
    )
    wanted = {
        "DriveNotMounted",
        "MinIODriveDown",
        "BackupTooOld",
        "MinIOHighStorageUsage",
        "TargetDown",
        "ContainerDown",
    }
    until(lambda: wanted <= set(received_alerts(host)), f"of {wanted} all arrive", within=240)
    heard = received_alerts(host)["BackupTooOld"]
    assert heard["annotations"]["command"] == f"inv backup --host {NAME}" and heard["labels"]["host"] == NAME
    host.on_host("docker stop -t 5 minio3 >/dev/null")
    until(lambda: "MinIOWritesStopped" in received_alerts(host), "that writes have stopped arrives", within=240)
