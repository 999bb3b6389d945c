"""Values with a meaning for a shell, YAML, nginx or fstab: refused, or literal everywhere."""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import suppress

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from pydantic import ValidationError

from converge.engine import probe
from converge.engine import run as runs
from converge.engine.resource import Shell
from converge.errors import Trouble
from converge.resources.compose import Project
from converge.resources.file import File
from converge.resources.jsonfile import JsonKeys
from converge.resources.mount import Mount
from converge.resources.sysctl import Sysctl
from roles import named

HOSTILE = [
    "$(touch canary)",
    "`touch canary`",
    "; touch canary #",
    "' touch canary '",
    '" touch canary "',
    "a\ntouch canary\n",
    "a\r\ntouch canary",
    "-rf",
    "--privileged",
    "a b",
    "${HOME}",
    "$$",
    "{{ host }}",
    "{% raw %}",
    "{}",
    "%s%n",
    "*",
    "~root",
    "../../etc/passwd",
    "a;b}",
    "a|b&c<d>e",
    "#a",
    "\\",
    "é✓",
    "\x00",
    "\x1b[31m",
    "\x85\u2028",
    "x" * 600,
    "",
]
PLACES = [
    "base__packages",
    "base__sysctl__kernel.core_pattern",
    "drives__0__device",
    "drives__0__label",
    "drives__0__path",
    "drives__0__options",
    "docker__packages",
    "docker__suite",
    "docker__repository",
    "docker__repository_key",
    "docker__daemon__data",
    "data_user__name",
    "networks__stowage__subnet",
    "images__minio__reference",
    "minio__nodes__0__name",
    "minio__nodes__0__address",
    "minio__environment__MINIO_BROWSER",
    "minio__root_drive_threshold",
    "edge__listen",
    "edge__routes__0__host",
    "edge__routes__1__path",
    "edge__routes__0__to",
    "edge__routes__0__body_limit",
    "buckets__0__name",
    "buckets__1__lifecycle__0__id",
    "buckets__1__lifecycle__0__prefix",
    "buckets__1__quota",
    "policies__0__name",
    "policies__0__statements__0__Resource",
    "users__0__name",
    "users__0__policies",
    "users__0__service_accounts__0__access_key",
]
LISTS = {"base__packages": "needrestart", "docker__packages": "iptables", "users__0__policies": "reader"}
"""Settings where the value is one of several, and the values beside it."""


def changes(place: str, value) -> dict:
    """The settings with a value at one place; the label of a drive is also in its node."""
    together = {"minio__nodes__3__drive": value} if place == "drives__0__label" else {}
    return {place: [LISTS[place], value] if place in LISTS else value, **together}


@pytest.fixture
def accepted(storage_host):
    """The resources of a host with these settings; None if they are refused."""

    def make(settings: dict):
        try:
            host = storage_host(**settings)
            run = runs.prepare(host, [named(name) for name in host.settings.roles])
        except (ValidationError, Trouble):
            return None
        return [want.resource for want in run.wants]

    return make


def scripts(resources) -> list[str]:
    """All shell scripts of resources: probes and fixes."""
    steps = [step for resource in resources for step in resource.fix(None)]
    return [probe.script(resources, "marker"), *(step.script for step in steps if isinstance(step, Shell))]


def lines_of(resources) -> dict[str, int]:
    return {resource.path: resource.text.count("\n") for resource in resources if isinstance(resource, File)}


@pytest.mark.parametrize("place", PLACES)
def test_a_hostile_value_is_refused_or_makes_no_more_lines_and_breaks_no_script(accepted, place):
    normal, taken = lines_of(accepted(changes(place, "value") if "sysctl" in place else {})), []
    for value in HOSTILE:
        resources = accepted(changes(place, value))
        if resources:
            assert not [resource.address for resource in resources if "\n" in resource.address], repr(value)
            assert lines_of(resources) == normal, repr(value)[:40]
            taken += scripts(resources)
    done = subprocess.run(["/bin/sh", "-n"], input="\n".join(taken).encode(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("value", HOSTILE)
def test_a_probe_of_hostile_values_runs_none_of_them(accepted, storage_host, machine, tmp_path, value):
    """The value is in each setting that accepts it; the probe runs here with programs that do nothing."""
    for name in ("docker", "systemctl", "lsblk", "unshare", "curl", "dpkg-query", "getent", "findmnt", "ip", "blkid"):
        machine.program(name, "exit 0")
    machine.program("touch", f'echo "$*" >>{tmp_path}/canary')
    settings: dict = {}
    for place in PLACES:
        with suppress(ValidationError):
            storage_host(**settings, **changes(place, value))
            settings |= changes(place, value)
    machine.run(f"cd {tmp_path}\n{probe.script(accepted(settings), 'marker')}")
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some.text(some.characters(exclude_categories=["Cs"]), max_size=40))
def test_a_variable_of_minio_arrives_literally_or_is_refused(accepted, value):
    resources = accepted({"minio__environment__MINIO_BROWSER": value})
    if resources is None:
        return
    (project,) = [resource for resource in resources if isinstance(resource, Project) and resource.name == "minio"]
    read = yaml.safe_load(project.text())["services"]["minio1"]["environment"]["MINIO_BROWSER"]
    assert read.replace("$$", "") == value.replace("$", "")
    assert read.count("$") == 2 * value.count("$")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some.text(some.characters(exclude_categories=["Cs"]), max_size=40))
def test_a_kernel_setting_is_one_line_and_one_word_or_is_refused(accepted, machine, value):
    resources = accepted({"base__sysctl__kernel.core_pattern": value})
    if resources is None or not machine.takes(value):
        return
    (kept,) = [
        resource for resource in resources if isinstance(resource, File) and resource.path.startswith("/etc/sysctl.d")
    ]
    (now,) = [
        resource for resource in resources if isinstance(resource, Sysctl) and resource.name == "kernel.core_pattern"
    ]
    assert f"kernel.core_pattern = {value}" in kept.text.split("\n")
    machine.program("sysctl", 'printf "%s" "$2"')
    (step,) = now.fix(None)
    assert machine.run(step.script) == (0, f"kernel.core_pattern={now.value}")


@pytest.mark.parametrize("value", HOSTILE)
def test_an_option_of_a_mount_is_one_word_of_fstab_or_is_refused(accepted, value):
    resources = accepted({"drives__0__options": value})
    if resources:
        (mount,) = [
            resource for resource in resources if isinstance(resource, Mount) and resource.path == "/mnt/drive1"
        ]
        assert len(mount.line.split()) == 6
        assert not mount.line.startswith("#")


@pytest.mark.parametrize("value", [*HOSTILE, True, 1, None, {"deep": ["$x", {"a": "'"}]}])
def test_whatever_docker_is_told_arrives_as_json(accepted, machine, tmp_path, value):
    (keys,) = [resource for resource in accepted({"docker__daemon": {"data": value}}) if isinstance(resource, JsonKeys)]
    here = JsonKeys(str(tmp_path / "daemon.json"), keys.keys)
    assert machine.deploy(here).failed is None
    assert json.loads((tmp_path / "daemon.json").read_text()) == {"data": value}


@pytest.mark.parametrize("name", ["minio1", "minio2"])
def test_two_nodes_never_share_a_name_a_drive_or_an_address(storage_host, name):
    number = int(name[-1]) - 1
    for key, value in (("name", "minio3"), ("drive", "drive4"), ("address", "172.30.99.13")):
        with pytest.raises(ValidationError):
            storage_host(**{f"minio__nodes__{number}__{key}": value})


def test_nothing_of_a_template_is_left_in_what_nginx_reads(accepted):
    (config,) = [
        resource for resource in accepted({}) if isinstance(resource, File) and resource.path.endswith("nginx.conf")
    ]
    assert config.text.count("{") == config.text.count("}")
    assert not re.search(r"\{\{|\}\}|\{%|%\}|\{#", config.text)
