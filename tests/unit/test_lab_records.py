"""What `lab.up` writes into the inventory of a clone."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml

from converge.inventory.layers import lift
from lab import containers, records, systems
from lab.hosts import LabHost
from roles.base import SUPPORTED
from roles.docker import FITTING

PORTS = {guest: 20000 + number for number, guest in enumerate(containers.GUEST_PORTS)}
DEVICES = ["loop64", "loop65", "loop66", "loop67"]


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(records, "INVENTORY", tmp_path)
    return tmp_path


def test_host_vars_are_what_the_inventory_reads() -> None:
    host_vars = yaml.safe_load(records.host_vars("lab", "debian-13", PORTS, Path("/keys/ssh_key"), DEVICES))
    assert host_vars == {
        "ansible_host": "127.0.0.1",
        "ansible_port": 20000,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": "/keys/ssh_key",
        "drives": [
            {"device": f"/dev/loop{64 + number}", "label": f"drive{number + 1}", "path": f"/mnt/drive{number + 1}"}
            for number in range(4)
        ],
    }


@pytest.mark.parametrize("system", systems.SYSTEMS)
def test_a_host_of_another_system_is_told_what_docker_needs_there(system: str) -> None:
    name = system.replace("-", " ")
    assert name in SUPPORTED
    host_vars = yaml.safe_load(records.host_vars("lab", system, PORTS, Path("/keys/ssh_key"), DEVICES))
    assert host_vars.get("docker") == FITTING.get(name)


def test_host_vars_say_the_addresses_on_top() -> None:
    text = records.host_vars("lab", "debian-13", PORTS, Path("/keys/ssh_key"), DEVICES)
    assert f"S3 http://127.0.0.1:{PORTS[9000]}  console http://127.0.0.1:{PORTS[9001]}" in text.splitlines()[1]


def test_a_path_with_a_blank_stays_one_value() -> None:
    text = records.host_vars("lab", "debian-13", PORTS, Path("/home/a b: #c/ssh_key"), DEVICES)
    assert yaml.safe_load(text)["ansible_ssh_private_key_file"] == "/home/a b: #c/ssh_key"


def test_known_hosts_keeps_the_lines_of_others() -> None:
    before = ["# mine", "[127.0.0.1]:20000 ssh-ed25519 OLD", "[127.0.0.1]:2000 ssh-ed25519 B", "prod ssh-ed25519 C"]
    assert records.merged(before, 20000, "[127.0.0.1]:20000 ssh-ed25519 NEW") == [
        "# mine",
        "[127.0.0.1]:2000 ssh-ed25519 B",
        "prod ssh-ed25519 C",
        "[127.0.0.1]:20000 ssh-ed25519 NEW",
    ]


def test_a_key_is_pinned_without_its_comment_and_forgotten_with_its_host(inventory: Path) -> None:
    (inventory / "known_hosts").write_text("prod ssh-ed25519 C\n")
    records.write_host("lab", "debian-13", PORTS, Path("/keys/ssh_key"), DEVICES)
    records.trust(20000, "ssh-ed25519 AAAA root@lab\n")
    assert (inventory / "known_hosts").read_text() == "prod ssh-ed25519 C\n[127.0.0.1]:20000 ssh-ed25519 AAAA\n"
    records.forget("lab", 20000)
    assert (inventory / "known_hosts").read_text() == "prod ssh-ed25519 C\n"
    assert not (inventory / "host_vars" / "lab.yml").exists()


def test_secrets_are_made_once_and_only_the_operator_reads_them(inventory: Path) -> None:
    records.secrets_of("lab")
    path = inventory / "secrets" / "lab" / "root_password"
    first = path.read_text()
    records.secrets_of("lab")
    assert path.read_text() == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first.strip().isalnum()
    assert len(first.strip()) == 24
    assert (inventory / "secrets" / "lab" / "root_user").read_text() == "stowage-admin\n"


def test_the_ssh_key_is_made_once(inventory: Path) -> None:
    path, public = records.ssh_key("lab")
    assert records.ssh_key("lab") == (path, public)
    assert public.startswith("ssh-ed25519 ")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_status_names_pulled_drives_and_how_to_switch_on() -> None:
    running = LabHost("lab", True, PORTS, {1: "x.drive1.0", 2: "", 3: "x.drive3.0", 4: "x.drive4.0"})
    assert running.line().endswith("drive1 in  drive2 pulled  drive3 in  drive4 in")
    assert LabHost("lab", False, PORTS, {}).line() == "lab  off  inv lab.up --host lab"


@pytest.mark.parametrize(("url", "port"), [("http://127.0.0.1", 80), ("https://127.0.0.1", 443)])
def test_where_the_settings_say_how_the_edge_is_reached_the_published_port_is_added(url: str, port: int) -> None:
    text = records.edge_of(
        [lift({"edge": {"url": "https://a.example.org"}}, ""), lift({"edge": {"url": url}}, "")], PORTS
    )
    assert yaml.safe_load(text) == {"edge": {"url": f"{url}:{PORTS[port]}"}}


@pytest.mark.parametrize("edge", [{"listen": "0.0.0.0"}, {"url": "https://storage.example.org"}])
def test_another_edge_is_reached_as_its_settings_say(edge: dict[str, str]) -> None:
    assert records.edge_of([lift({"edge": edge}, ""), lift({"lab": True}, "")], PORTS) == ""
