"""What a host writes about itself for Prometheus."""

from __future__ import annotations

import subprocess
from pathlib import Path

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
    metrics = Path(tmp_path / "stowage_host.prom").read_text()
    assert "\nstowage_docker_up 0\n" in metrics
    assert '\nstowage_container_running{container="minio1"} 0\n' in metrics
    assert '\nstowage_drive_mounted{drive="drive1",path="/mnt/drive1"} 0\n' in metrics
    assert all(line.startswith(("#", "stowage_")) for line in metrics.splitlines())
