"""New machines: what is read, the written file and its place, and the pinned host key."""

from __future__ import annotations

import io
import shutil
import stat
import sys
from pathlib import Path

import pytest
import yaml
from invoke.exceptions import Exit

from converge.engine.run import prepare
from converge.errors import REFUSED, UNREACHABLE, Trouble, Troubles
from converge.inventory.hosts import load
from converge.resources.docker import Content
from converge.resources.file import File
from converge.ssh import root
from converge.ssh.known import HostKey, Known, KnownHostsLine
from lab import records
from roles import named, names_of
from roles.images import LocalImage
from roles.minio.kms_key import fault
from roles.settings.model import Settings
from runbook import machines, trust
from runbook.host_file import host_file
from runbook.machine_facts import parsed
from runbook.machines import Newcomer, add, newcomer, with_host

ROOT = Path(__file__).resolve().parents[2]
GIB = 1 << 30
MACHINE = "system=debian 13\nmachine=x86_64\nroot=53687091200\naddress=10.0.0.5\n"


def disk(
    link: str,
    name: str,
    size: int = 4000 * GIB,
    holds: str = " ",
    kind: str = "disk",
    removable: str = "0",
    serial: str = "S1",
) -> str:
    facts = f'NAME="{name}" TYPE="{kind}" SIZE="{size}" SERIAL="{serial}" MODEL="TOSHIBA MG08" RM="{removable}"'
    return f"disk=/dev/disk/{link}|{facts}|{holds}\n"


FOUR = "".join(disk(f"by-id/ata-DISK_{n}", f"sd{letter}", serial=f"S{n}") for n, letter in enumerate("bcde", 1))


# --- what a machine says ----------------------------------------------------------------------------------------------


def test_blank_disks_are_offered_by_a_name_that_lasts_with_what_tells_them_apart():
    machine = parsed(MACHINE + disk("by-id/ata-DISK_1", "sdb", serial="9A0B"))
    assert (machine.system, machine.machine, machine.root // GIB, machine.address) == (
        "debian 13",
        "x86_64",
        50,
        "10.0.0.5",
    )
    (drive,) = machine.blank
    assert drive.link == "/dev/disk/by-id/ata-DISK_1"
    assert drive.facts == "sdb, 3.9 TiB, TOSHIBA MG08, serial 9A0B"


def test_a_disk_with_several_names_is_one_disk():
    machine = parsed(
        disk("by-id/ata-DISK_1", "sdb")
        + disk("by-id/scsi-SATA_DISK_1", "sdb")
        + disk("by-path/pci-0000:00:1f.2-ata-1", "sdb")
    )
    assert [drive.link for drive in machine.disks] == ["/dev/disk/by-id/ata-DISK_1"]


def test_a_disk_without_a_serial_number_is_named_by_its_place():
    machine = parsed(disk("by-path/pci-0000:00:1f.2-ata-4", "sdb", serial=""))
    assert machine.blank[0].link == "/dev/disk/by-path/pci-0000:00:1f.2-ata-4"
    assert "serial" not in machine.blank[0].facts


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (disk("by-id/ata-ROOT", "sda", holds=" gpt ext4 / "), "gpt ext4 /"),
        (disk("by-id/ata-LVM", "sdb", holds="LVM2_member "), "LVM2_member"),
        (disk("by-id/usb-STICK", "sdc", removable="1"), "removable"),
    ],
)
def test_a_disk_that_holds_something_or_can_be_pulled_out_is_not_offered(line, why):
    machine = parsed(line)
    assert machine.blank == []
    assert machine.disks[0].holds == why


@pytest.mark.parametrize("line", [disk("by-id/ata-DVD", "sr0", kind="rom"), disk("by-id/usb-CARD", "sdx", size=0)])
def test_what_is_no_disk_is_not_named_at_all(line):
    assert parsed(line).disks == []


# --- the file ---------------------------------------------------------------------------------------------------------


def written(text: str = FOUR, roles=("docker", "minio", "nginx"), sudo=None, **target) -> str:
    given = newcomer(ROOT, "store2", "10.0.0.5", **target).target
    return host_file(given, sudo or {}, parsed(MACHINE + text), list(roles))


def test_a_host_of_a_group_that_encrypts_gets_a_key_of_its_own():
    target, machine = newcomer(ROOT, "store2", "10.0.0.5").target, parsed(MACHINE + FOUR)
    for wanted in (["kms_key", "metrics"], []):
        host_vars = yaml.safe_load(host_file(target, {}, machine, ["minio"], wanted))
        assert [key for key in ("kms_key", "metrics") if key in host_vars["minio"]] == wanted


def test_the_file_says_how_the_machine_is_reached_and_names_its_blank_drives():
    text = written(FOUR + disk("by-id/ata-ROOT", "sda", holds="gpt"), user="operator", port=2222, sudo={"env": "SUDO"})
    host_vars = yaml.safe_load(text)
    assert (host_vars["ansible_host"], host_vars["ansible_port"], host_vars["ansible_user"]) == (
        "10.0.0.5",
        2222,
        "operator",
    )
    assert host_vars["ansible_become_password"] == {"env": "SUDO"}
    assert [drive["device"] for drive in host_vars["drives"]] == [f"/dev/disk/by-id/ata-DISK_{n}" for n in (1, 2, 3, 4)]
    assert [drive["label"] for drive in host_vars["drives"]] == ["drive1", "drive2", "drive3", "drive4"]
    assert "# not offered: /dev/disk/by-id/ata-ROOT" in text


def test_the_guard_against_the_root_disk_lies_between_it_and_the_drives():
    assert yaml.safe_load(written())["minio"]["root_drive_threshold"] == "2025GiB"
    assert "root_drive_threshold" not in written(disk("by-id/ata-SMALL", "sdb", size=60 * GIB))


def test_a_name_that_yaml_would_read_as_something_else_is_quoted():
    host_vars = yaml.safe_load(written(disk("by-path/pci-0000:00:1f.2-ata-4", "sdb"), user="on"))
    assert host_vars["ansible_user"] == "on"
    assert host_vars["drives"][0]["device"] == "/dev/disk/by-path/pci-0000:00:1f.2-ata-4"


def test_sections_of_roles_that_the_machine_does_not_have_are_left_out():
    assert set(yaml.safe_load(written(roles=()))) == {"ansible_host", "drives"}


@pytest.mark.parametrize(
    ("system", "docker"),
    [
        ("debian 13", None),
        ("ubuntu 26.04", {"packages": ["docker.io", "docker-compose-v2", "iptables"]}),
        (
            "debian 12",
            {
                "source": "docker",
                "repository": "https://download.docker.com/linux/debian",
                "suite": "bookworm",
                "repository_key": "inventory/docker.asc",
            },
        ),
    ],
)
def test_where_docker_comes_from_follows_from_the_system(system, docker):
    text = host_file(
        newcomer(ROOT, "store2", "10.0.0.5").target, {}, parsed(MACHINE.replace("debian 13", system) + FOUR), ["docker"]
    )
    assert yaml.safe_load(text).get("docker") == docker


# --- hosts.yml --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "all:\n  children:\n    store:\n      hosts:\n        one: # the first\n    other:\n      hosts:\n        two:\n",
        "all:\n    children:\n        store: # what we sell\n            hosts: # all\n                one:\n            vars: {}\n",
        "store:\n  vars:\n    lab: false\n\n  hosts:\n    one:\n",
        "store:\n",
        "all:\n  children:\n    store:\n    other:\n      hosts:\n        two:\n",
        "store:\n  children:\n    deep:\n      hosts:\n        one:\n",
    ],
)
def test_a_host_is_put_under_its_group_and_all_else_stays(text):
    new = with_host(text, "store", "store2")
    lines = iter(new.splitlines())
    assert all(line in lines for line in text.splitlines())
    assert len(new.splitlines()) - len(text.splitlines()) in (1, 2)

    def hosts(node):
        for name, group in (node or {}).items():
            if name == "store":
                return group["hosts"]
            below = hosts((group or {}).get("children"))
            if below:
                return below
        return None

    assert "store2" in hosts(yaml.safe_load(new))


def test_a_group_that_is_written_in_braces_is_left_to_a_person_with_the_lines_to_paste():
    with pytest.raises(Trouble) as caught:
        with_host("store: {hosts: {one: }}\n", "store", "store2")
    assert "store:\n  hosts:\n    store2:" in caught.value.why
    assert caught.value.untouched == machines.NOTHING


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"name": "../x"}, "'../x' cannot be a host's name"),
        ({"address": "-oProxyCommand=x"}, "cannot be an address"),
        ({"address": "a b"}, "cannot be an address"),
        ({"user": "a;b"}, "cannot be a user"),
        ({"key": "nokey"}, "the SSH key is missing"),
        ({"sudo": "hunter2"}, "--sudo-password takes file:PATH, env:NAME or command:TEXT"),
        ({"sudo": "env:"}, "--sudo-password takes"),
        ({"sudo": "env:NOT_SET_AT_ALL"}, "the secret --sudo-password is missing"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_connected_to(wrong, what):
    with pytest.raises(Trouble) as caught:
        newcomer(ROOT, **{"name": "store2", "address": "10.0.0.5", **wrong})
    assert what in caught.value.what
    assert caught.value.hint
    assert "hunter2" not in str(caught.value)


# --- the whole --------------------------------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path):
    """The inventory of the repository, without what a clone adds."""
    (tmp_path / "inventory").mkdir()
    shutil.copy(ROOT / "inventory/hosts.yml", tmp_path / "inventory")
    shutil.copytree(ROOT / "inventory/group_vars", tmp_path / "inventory/group_vars")
    (tmp_path / "inventory/host_vars").mkdir()
    shutil.copy(ROOT / "inventory/host_vars/prod.yml", tmp_path / "inventory/host_vars")
    return tmp_path


@pytest.fixture
def says(monkeypatch):
    """What the machine says when it is read."""

    def say(text: str) -> None:
        monkeypatch.setattr(machines, "_read_machine", lambda new: parsed(text))

    return say


def files(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", ["store2", "prod"])
def test_what_is_written_loads_with_its_secrets(checkout, says, capsys, name):
    says(MACHINE + FOUR)
    add(checkout, newcomer(checkout, name, "10.0.0.5", user="operator", group="weatherlearn"))
    (host,) = load(checkout, name, Settings)
    assert (host.target.address, host.target.user) == ("10.0.0.5", "operator")
    assert len(host.settings.drives) == 4
    assert len(host.settings.minio.root_password.reveal()) >= 30
    secrets = checkout / "inventory/secrets" / name
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets.iterdir()} == {0o600}
    screen = capsys.readouterr().out
    assert f"inventory/host_vars/{name}.yml" in screen
    assert screen.rstrip().endswith(f"inv check --host {name}")
    assert host.settings.minio.root_password.reveal() not in screen


def test_a_host_of_the_group_that_encrypts_gets_its_key_and_is_told_to_keep_it(checkout, says, capsys):
    says(MACHINE + "".join(FOUR.splitlines(keepends=True)[:1]))
    add(checkout, newcomer(checkout, "store2", "10.0.0.5", group="ml_security"))
    (host,) = load(checkout, "store2", Settings)
    assert fault(host.settings.minio.kms_key.reveal()) == ""
    assert len(host.settings.minio.metrics.secret.reveal()) == 40
    assert "keep a copy of kms_key elsewhere" in capsys.readouterr().out


def test_what_its_group_reads_from_files_of_the_host_is_made_for_it(checkout, says):
    says(MACHINE + FOUR)
    add(checkout, newcomer(checkout, "store2", "10.0.0.5", group="ai_infrastructure"))
    (host,) = load(checkout, "store2", Settings)
    given = [host.settings.sso.secret, host.settings.minio.openid.secret, host.settings.database_users[0].password]
    assert len({secret.reveal() for secret in given}) == 3 and min(len(secret.reveal()) for secret in given) == 40


@pytest.mark.parametrize("group", ["weatherlearn", "ml_security", "ai_infrastructure", "opengeo"])
def test_a_host_of_each_group_is_whole_once_it_was_added(checkout, says, monkeypatch, group):
    """Every role and service of the group, also those that the lab leaves out."""
    monkeypatch.setattr(LocalImage, "content", lambda image: Content("linux/amd64", "1", "{}"))
    for folder in ("files", "templates"):
        shutil.copytree(ROOT / folder, checkout / folder)
    count = 1 if group in ("ml_security", "opengeo") else 4
    says(MACHINE + "".join(FOUR.splitlines(keepends=True)[:count]))
    add(checkout, newcomer(checkout, "store2", "10.0.0.5", group=group))
    (host,) = load(checkout, "store2", Settings)
    roles = [role for name in names_of(host.settings) if (role := named(name, host))]
    assert [role.name for role in roles] == names_of(host.settings)
    texts = {
        want.resource.path: want.resource.text for want in prepare(host, roles).wants if type(want.resource) is File
    }
    assert len(texts) >= 9
    for path, text in texts.items():
        assert text.strip() and "secrets/%h" not in text, path


@pytest.mark.parametrize("name", ["lab", "mlsec-lab", "ai-lab", "opengeo-lab"])
def test_what_a_host_of_the_lab_is_to_have_is_wanted_in_one_way(checkout, monkeypatch, name):
    """Its settings are those of its group and the lab's together."""
    for folder in ("files", "templates"):
        shutil.copytree(ROOT / folder, checkout / folder)
    monkeypatch.setattr(LocalImage, "content", lambda image: Content("linux/amd64", "1", "{}"))
    drives = "".join(f"  - {{device: /dev/loop7{n}, label: drive{n}, path: /mnt/drive{n}}}\n" for n in range(1, 5))
    (checkout / f"inventory/host_vars/{name}.yml").write_text(f"ansible_host: 127.0.0.1\ndrives:\n{drives}")
    (host,) = load(checkout, name, Settings, resolve_secrets=False)
    monkeypatch.setattr(records, "INVENTORY", checkout / "inventory")
    for whose in ("lab", name):
        records.secrets_of(whose)
    records.own_secrets(host)
    (host,) = load(checkout, name, Settings)
    assert prepare(host, [role for role_name in names_of(host.settings) if (role := named(role_name, host))]).wants


def test_what_does_not_fit_is_shown_and_not_written(checkout, says, capsys):
    says(MACHINE + "".join(FOUR.splitlines(keepends=True)[:3]))
    before = files(checkout)
    with pytest.raises(Troubles) as caught:
        add(checkout, newcomer(checkout, "store2", "10.0.0.5", group="weatherlearn"))
    assert files(checkout) == before
    assert caught.value.code == REFUSED
    (trouble,) = caught.value.troubles
    assert "drives has no label drive4" in trouble.why
    assert trouble.untouched == "nothing was written"
    assert "device: /dev/disk/by-id/ata-DISK_3" in capsys.readouterr().out


def test_a_host_that_is_there_is_never_overwritten(checkout, says):
    says(MACHINE + FOUR)
    add(checkout, newcomer(checkout, "store2", "10.0.0.5", group="weatherlearn"))
    before = files(checkout)
    with pytest.raises(Trouble, match="store2 is already there") as caught:
        add(checkout, newcomer(checkout, "store2", "10.0.0.6", group="weatherlearn"))
    assert caught.value.code == REFUSED
    assert files(checkout) == before


def test_secrets_that_are_there_stay(checkout, says):
    says(MACHINE + FOUR)
    (checkout / "inventory/secrets/store2").mkdir(parents=True)
    (checkout / "inventory/secrets/store2/root_user").write_text("kept-user\n")
    add(checkout, newcomer(checkout, "store2", "10.0.0.5", group="weatherlearn"))
    assert load(checkout, "store2", Settings)[0].settings.minio.root_user.reveal() == "kept-user"


def test_the_key_is_named_as_it_was_typed(checkout, says):
    says(MACHINE + FOUR)
    (checkout / "inventory/secrets").mkdir()
    (checkout / "inventory/secrets/key").write_text("")
    add(checkout, newcomer(checkout, "store2", "10.0.0.5", key="inventory/secrets/key", group="weatherlearn"))
    assert "ansible_ssh_private_key_file: inventory/secrets/key\n" in files(checkout)["inventory/host_vars/store2.yml"]


@pytest.mark.parametrize(
    ("name", "group", "what"),
    [("weatherlearn", "", "a group is named weatherlearn"), ("store2", "nope", "there is no group nope")],
)
def test_a_name_or_group_that_cannot_be_is_refused_before_the_machine_is_read(checkout, name, group, what):
    before = files(checkout)
    with pytest.raises(Trouble, match=what):
        add(checkout, newcomer(checkout, name, "10.0.0.5", group=group))
    assert files(checkout) == before


def test_between_several_groups_a_person_must_choose(checkout, says):
    says(MACHINE + FOUR)
    hosts = checkout / "inventory/hosts.yml"
    hosts.write_text(hosts.read_text() + "    archive:\n")
    with pytest.raises(Trouble, match="nothing says what store2 is to be") as caught:
        add(checkout, newcomer(checkout, "store2", "10.0.0.5"))
    assert caught.value.hint == "--group weatherlearn"
    add(checkout, newcomer(checkout, "store2", "10.0.0.5", group="weatherlearn"))
    assert "weatherlearn" in load(checkout, "store2", Settings)[0].groups


def test_an_unsupported_system_is_written_with_a_warning(checkout, says, capsys):
    says(MACHINE.replace("debian 13", "arch ") + FOUR)
    add(checkout, newcomer(checkout, "store2", "10.0.0.5", group="weatherlearn"))
    assert "warning: a deploy will refuse arch" in capsys.readouterr().out


# --- reading it -------------------------------------------------------------------------------------------------------


@pytest.fixture
def stranger(monkeypatch, tmp_path) -> Newcomer:
    """A machine whose key nobody knows."""

    def refuse(target):
        raise Trouble(
            "its host key is not known",
            "store2",
            "it shows X",
            "nothing was sent to it",
            "inv host.trust store2",
            REFUSED,
        )

    monkeypatch.setattr(machines, "connect", refuse)
    monkeypatch.setattr(machines, "known_keys", lambda target: Known((), ()))
    return newcomer(tmp_path, "store2", "10.0.0.5", port=2222)


def test_the_key_of_a_stranger_is_asked_about_or_the_command_that_does_is_named(stranger, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(Trouble) as caught:
        machines._read_machine(stranger)
    assert caught.value.hint == "inv host.trust store2 --address 10.0.0.5 --port 2222"
    asked = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(machines, "trust", lambda target, yes: asked.append((target.name, yes)))
    with pytest.raises(Trouble):
        machines._read_machine(stranger)
    assert asked == [("store2", False)]


def test_a_machine_that_cannot_be_reached_leaves_nothing_written(monkeypatch, tmp_path):
    def refuse(target):
        raise Trouble("it cannot be reached", "store2", "no answer", "", "ssh 10.0.0.5 true", UNREACHABLE)

    monkeypatch.setattr(machines, "connect", refuse)
    with pytest.raises(Trouble) as caught:
        machines._read_machine(newcomer(tmp_path, "store2", "10.0.0.5"))
    assert (caught.value.code, caught.value.untouched) == (UNREACHABLE, "nothing was written")


OPERATOR = root.RootAccess("operator", become=True, password=False)


@pytest.mark.parametrize(
    ("trouble", "sudo", "hint"),
    [
        (root.refused(OPERATOR, "store2", "sudo: a password is required", 1), "", "with --sudo-password"),
        (root.wrong_password(OPERATOR, "store2"), "env:HOME", "what --sudo-password names"),
        (Trouble("the password is not what is wrong", "store2", hint="as it was"), "env:HOME", "as it was"),
    ],
)
def test_a_sudo_that_wants_a_password_is_told_with_the_flag_that_gives_it(monkeypatch, tmp_path, trouble, sudo, hint):
    def refuse(target):
        raise trouble

    monkeypatch.setattr(machines, "connect", refuse)
    with pytest.raises(Trouble) as caught:
        machines._read_machine(newcomer(tmp_path, "store2", "10.0.0.5", sudo=sudo))
    assert hint in caught.value.hint


# --- host keys --------------------------------------------------------------------------------------------------------

KEY, OTHER = HostKey("ssh-ed25519", "QUFB"), HostKey("ssh-ed25519", "QkJC")


@pytest.fixture
def presents(monkeypatch, tmp_path):
    """A host that shows KEY; what is known of it is given."""
    target = newcomer(tmp_path, "prod", "10.0.0.5", port=2222).target

    def know(*lines: KnownHostsLine):
        monkeypatch.setattr(trust, "host_key", lambda target: (KEY.kind, KEY.text, KEY.fingerprint))
        monkeypatch.setattr(trust, "known_keys", lambda target: Known(lines, ()))
        monkeypatch.setattr(trust, "known_name", lambda target: "[10.0.0.5]:2222")
        return target

    return know


def answer(monkeypatch, text: str) -> None:
    given = io.StringIO(text)
    given.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", given)


def test_an_unknown_key_is_shown_and_pinned_under_the_name_that_ssh_uses(presents, capsys):
    target = presents()
    target.known_hosts.parent.mkdir()
    target.known_hosts.write_text("other ssh-ed25519 QkJC\n[10.0.0.5]:2222 ssh-rsa QkJC\n")
    trust.trust(target, yes=True)
    assert target.known_hosts.read_text() == "other ssh-ed25519 QkJC\n[10.0.0.5]:2222 ssh-ed25519 QUFB\n"
    assert KEY.fingerprint in capsys.readouterr().out


def test_a_key_that_is_known_is_not_asked_about(presents, capsys):
    target = presents(KnownHostsLine("", KEY, "known_hosts:1"))
    trust.trust(target, yes=False)
    assert "nothing to do" in capsys.readouterr().out
    assert not target.known_hosts.exists()


def test_a_changed_key_is_shown_beside_the_old_one_and_pinned_by_a_person_only(presents, capsys, monkeypatch):
    target = presents(KnownHostsLine("", OTHER, "/home/me/.ssh/known_hosts:7"))
    with pytest.raises(Trouble) as caught:
        trust.trust(target, yes=True)
    assert caught.value.code == REFUSED
    assert not target.known_hosts.exists()
    screen = capsys.readouterr().out
    assert KEY.fingerprint in screen and OTHER.fingerprint in screen and "CHANGED" in screen
    answer(monkeypatch, "n\n")
    with pytest.raises(Exit) as ended:
        trust.trust(target, yes=False)
    assert ended.value.code == 2
    assert not target.known_hosts.exists()
    answer(monkeypatch, "y\n")
    trust.trust(target, yes=False)
    assert "QUFB" in target.known_hosts.read_text()
    assert "ssh-keygen -R '[10.0.0.5]:2222' -f /home/me/.ssh/known_hosts" in capsys.readouterr().out


def test_a_revoked_key_is_not_pinned_by_anybody(presents, monkeypatch):
    target = presents(KnownHostsLine("@revoked", KEY, "known_hosts:1"))
    answer(monkeypatch, "y\n")
    with pytest.raises(Trouble, match="revoked"):
        trust.trust(target, yes=False)
    assert not target.known_hosts.exists()
