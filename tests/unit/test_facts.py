"""What a host writes about itself for Prometheus."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from converge import templates
from converge.engine.resource import Chain
from converge.resources.file import File
from roles import named
from roles.facts import SCRIPT, names


def script(host) -> str:
    (chain,) = named("facts", host).wants(host)
    assert isinstance(chain, Chain)
    return next(
        str(resource.content) for resource in chain.links if isinstance(resource, File) and resource.path == SCRIPT
    )


def test_it_names_what_is_to_run_and_nothing_else(storage_host):
    services = {"one": {"image": "nginx"}, "off": {"image": "nginx", "enabled": False}}
    host = storage_host(services=services)
    assert names(host.settings) == ["minio1", "minio2", "minio3", "minio4", "nginx", "postgres", "one"]
    assert "for one in minio1 minio2 minio3 minio4 nginx postgres one; do" in script(host)


def test_without_docker_and_drives_each_is_a_zero_and_no_missing_line(storage_host, tmp_path):
    text = script(storage_host(facts={"textfile": "/srv/facts"})).replace("/srv/facts", str(tmp_path))
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    done = subprocess.run(["sh", "-c", text], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = Path(tmp_path / "stowage_host.prom").read_text()
    assert "\nstowage_docker_up 0\n" in told
    assert '\nstowage_container_running{container="minio1"} 0\n' in told
    assert '\nstowage_drive_mounted{drive="drive1",path="/mnt/drive1"} 0\n' in told
    assert all(line.startswith(("#", "stowage_")) for line in told.splitlines())


NAMED = [
    {"port": 80, "to": "https:443"},
    {"port": 443, "host": "off.example.org", "to": "off:80"},
    {"port": 443, "host": "ml.example.org", "to": "one:5000"},
    {"port": 443, "host": "s3.example.org", "to": "minio-api"},
    {"port": 5432, "host": "db.example.org", "to": "postgres:5432", "tcp": True},
    {"port": 8443, "host": "off.example.org", "to": "off:80"},
    {"port": 8443, "host": "ml.example.org", "to": "one:5000", "path": "/a"},
]
IMAGES = {name: {"reference": f"example.org/{name}:17"} for name in ("minio", "nginx", "traefik", "postgres")}


def named_edge(storage_host, **more):
    services = {
        "one": {"image": "nginx"},
        "off": {"image": "nginx", "enabled": False},
        "blackbox": {"image": "nginx"},
    }
    said = {"kind": "traefik", "tls": "local-ca", "routes": NAMED}
    return storage_host(services=services, images=IMAGES, edge=said, **more)


def test_the_end_of_each_certificate_that_is_shown_is_told(storage_host, tmp_path):
    host = named_edge(storage_host, facts={"textfile": "/srv/facts"})
    assert "traefik" in names(host.settings)
    text = script(host).replace("/srv/facts", str(tmp_path))
    (tmp_path / "bin").mkdir()
    stubs = {
        "docker": "exit 1",
        "openssl": """case "$*" in *ml.example.org*) echo ml ;; s_client*) ;; *) ! grep -q ml || printf 'notAfter=Jan  1 00:00:00 2100 GMT\\nserial=0A\\nissuer=CN=x\\n' ;; esac""",
    }
    for name, said in stubs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{said}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", text], env={"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told = (tmp_path / "stowage_host.prom").read_text().splitlines()
    at = [line for line in told if line.startswith("stowage_certificate_end_timestamp_seconds{")]
    assert sorted(at) == [
        'stowage_certificate_end_timestamp_seconds{port="443",name="ml.example.org"} 4102444800',
        'stowage_certificate_end_timestamp_seconds{port="443",name="s3.example.org"} 0',
        'stowage_certificate_end_timestamp_seconds{port="5432",name="db.example.org"} 0',
        'stowage_certificate_end_timestamp_seconds{port="8443",name="ml.example.org"} 4102444800',
    ]
    assert "certificate" not in script(storage_host()), "an edge without TLS shows none"


def test_an_edge_with_names_is_asked_by_a_name_and_as_the_program_that_it_is(storage_host):
    text = templates.render(host := named_edge(storage_host), "prometheus/prometheus.yml.j2", settings=host.settings)
    (job,) = [one for one in yaml.safe_load(text)["scrape_configs"] if one["job_name"] == "probe-edge"]
    assert job["static_configs"] == [
        {"targets": ["http://traefik:80/"]},
        {
            "targets": ["https://traefik:443/minio/health/live"],
            "labels": {"__param_hostname": "s3.example.org"},
        },
        {"targets": ["https://traefik:8443/"], "labels": {"__param_hostname": "ml.example.org"}},
    ]
