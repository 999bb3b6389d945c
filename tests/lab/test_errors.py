"""Bad input and bad luck on a real host: one clear error each, its exit code, and nothing lost. The tests depend on their order."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.conftest import USUAL, Clone, fresh, storage_server

NOTHING = "nothing was changed"
STATE = """
find /etc/stowage /var/lib/stowage /etc/sysctl.d /mnt /srv -path /srv/stowage/postgres -prune -o -print 2>/dev/null | sort; cat /etc/fstab; cat /proc/sys/net/core/somaxconn
lsblk -rno NAME,FSTYPE,LABEL,MOUNTPOINT $(cat /tmp/drives 2>/dev/null); dpkg-query -W | sha256sum
cat /var/lib/stowage/applied /etc/stowage/nginx/conf/nginx.conf 2>/dev/null | sha256sum
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Clone]:
    there = fresh("test-errors", system=USUAL)
    storage_server(there.root)
    there.on_host(f"echo {' '.join(drive['device'] for drive in there.vars['drives'])} >/tmp/drives")
    yield there
    there.inv("lab.down", code=None)


@contextmanager
def edited(path: Path, *changes: tuple[str, str], add: str = "") -> Iterator[None]:
    """Edits a file for the duration of the block."""
    before = path.read_text()
    text = before
    for old, new in changes:
        assert old in text, f"{path} has no {old}"
        text = text.replace(old, new)
    path.write_text(text + add)
    try:
        yield
    finally:
        path.write_text(before)


def host_vars(host: Clone) -> Path:
    return host.root / "inventory/host_vars/lab.yml"


def as_operator(host: Clone, password: str = ""):
    more = f"ansible_become_password: {{file: {password}}}\n" if password else ""
    return edited(host_vars(host), ("ansible_user: root", "ansible_user: operator"), add=more)


SUDO = "inventory/secrets/lab/sudo_password"


@contextmanager
def unharmed(host: Clone) -> Iterator[None]:
    """Checks that the test leaves the host unchanged."""
    before = host.on_host(STATE, check=False)
    yield
    assert host.on_host(STATE, check=False) == before


@contextmanager
def while_(host: Clone, harm: str, mend: str) -> Iterator[None]:
    host.on_host(harm)
    try:
        yield
    finally:
        host.on_host(mend)


@contextmanager
def no_forwarding(host: Clone) -> Iterator[None]:
    file = "/etc/ssh/sshd_config.d/forwarding.conf"
    with while_(
        host, f"echo 'AllowTcpForwarding no' >{file}; systemctl reload ssh", f"rm {file}; systemctl reload ssh"
    ):
        yield


def says(screen: str, *parts: str) -> None:
    """Checks that the screen has these words and no traceback."""
    assert "Traceback" not in screen
    for part in parts:
        assert part in screen, f"no {part!r} in:\n{screen}"


def on_a_terminal(host: Clone, answer: str, *arguments: str) -> tuple[int, str]:
    """Runs a command in a terminal, and types an answer."""
    near, far = pty.openpty()
    started = subprocess.Popen(
        [sys.executable, "-m", "invoke", *arguments],
        cwd=host.root,
        stdin=far,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    os.close(far)
    os.write(near, answer.encode())
    screen = started.communicate(timeout=300)[0].decode()
    os.close(near)
    return started.returncode, screen


# --- before anything is connected to ----------------------------------------------------------------------------------

TYPED_WRONG = [
    (
        ["check", "--host", "lba"],
        1,
        ["no host or group is named lba", "nothing was connected to or changed", "try: --host lab"],
    ),
    (
        ["check", "--role", "dirves"],
        1,
        ["there is no role dirves", "nothing was connected to or changed", "try: --role drives"],
    ),
    (
        ["check", "--set=edge.lisen=x"],
        1,
        ["edge.lisen: unknown key", "nothing was connected to or changed", "write listen"],
    ),
    (["deploy", "--yes", "--set=lab=maybe"], 1, ["lab is the text 'maybe'", "expected true or false"]),
    (["drives.replace", "--help"], 1, ["needs LABEL first", "try: inv --help drives.replace"]),
    (["drives.replace", "drive9", "--yes"], 1, ["there is no drive drive9", "drives are drive1", NOTHING]),
    (["restart", "redis"], 1, ["there is no service redis", "services are minio", NOTHING]),
    (["restart", "minio1"], 3, ["minio1 cannot be restarted alone", NOTHING, "try: inv restart minio"]),
    (["host.add", "lab", "127.0.0.1"], 3, ["lab is already there", "nothing was connected to or written"]),
    (["lab.pull-drive", "9"], 1, ["there is no drive '9'"]),
]


@pytest.mark.parametrize(
    ("arguments", "code", "parts"), TYPED_WRONG, ids=[" ".join(arguments) for arguments, _, _ in TYPED_WRONG]
)
def test_what_is_typed_wrong_is_told_with_what_to_type(
    host: Clone, arguments: list[str], code: int, parts: list[str]
) -> None:
    says(host.inv(*arguments, code=code), *parts)


def test_a_broken_template_is_told_with_its_line_before_anything_is_changed(host: Clone) -> None:
    with (
        edited(host.root / "templates/nginx/upstreams.conf.j2", ("least_conn;", "{{ nothere }};")),
        unharmed(host),
    ):
        screen = host.inv("deploy", "--yes", code=1)
    says(
        screen,
        "lab: a template cannot be rendered",
        "templates/nginx/upstreams.conf.j2:",
        "nothere",
        NOTHING,
        "try: mend templates/nginx/upstreams.conf.j2:",
    )


def test_the_lab_without_docker_on_this_machine_says_what_to_start(host: Clone) -> None:
    screen = host.inv("lab.up", code=1, env={**os.environ, "DOCKER_HOST": "unix:///nowhere.sock"})
    says(
        screen,
        "no Docker Engine answers on this machine",
        "to deploy to production none is needed here",
        NOTHING,
        "try: ",
    )


def test_an_image_to_be_shipped_that_this_machine_lacks_is_said(host: Clone) -> None:
    screen = host.inv("images", "--check", "--set=images.nginx.reference=nobody/nothing:1", code=1)
    says(
        screen, "the image nobody/nothing:1 cannot be shipped", "does not have it", "try: docker pull nobody/nothing:1"
    )


def test_a_clone_that_was_deleted_and_made_again_gets_into_its_lab_host(host: Clone) -> None:
    for name in ("ssh_key", "ssh_key.pub"):
        (host.root / "inventory/secrets/lab" / name).unlink()
    host.inv("lab.up")
    host.on_host("true")


# --- the way to the host ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [["deploy", "--yes"], ["status"], ["history"], ["drives.list"], ["unlock", "--yes"]],
    ids=lambda arguments: arguments[0],
)
def test_a_host_that_cannot_be_reached_ends_with_4_and_the_next_step(host: Clone, arguments: list[str]) -> None:
    port = str(host.vars["ansible_port"])
    with edited(host_vars(host), (f"ansible_port: {port}", "ansible_port: 1")):
        says(
            host.inv(*arguments, code=4),
            "lab",
            "it cannot be reached at 127.0.0.1:1",
            "Connection refused",
            "inv lab.up",
        )


def test_an_unreachable_host_is_told_to_machines_too(host: Clone) -> None:
    with edited(host_vars(host), ("ansible_host: 127.0.0.1", "ansible_host: nowhere.invalid")):
        screen = host.inv("check", "--json", code=4)
    answer = json.loads(next(line for line in screen.splitlines() if line.startswith("{")))
    assert answer["failures"]["lab"]["exit_code"] == 4
    assert answer["failures"]["lab"]["untouched"] == NOTHING


def test_an_unknown_host_key_is_refused_until_it_is_trusted(host: Clone) -> None:
    known = host.root / "inventory/known_hosts"
    pinned = known.read_text()
    known.write_text("")
    says(
        host.inv("check", code=3),
        "its host key is not known",
        "SHA256:",
        "nothing was sent to it",
        "try: inv host.trust lab",
    )
    says(host.inv("host.trust", "lab", code=2), "SHA256:", NOTHING)
    assert known.read_text() == ""
    says(host.inv("host.trust", "lab", "--yes"), "pinned in inventory/known_hosts")
    assert sorted(known.read_text().split()) == sorted(pinned.split())
    says(host.inv("host.trust", "lab"), "nothing to do")
    host.inv("check", "--role", "base", code=2)


def another_key(host: Clone) -> str:
    """Makes a wrong host key the known one."""
    name = f"[127.0.0.1]:{host.port(22)}"
    key = " ".join((host.root / "inventory/secrets/lab/ssh_key.pub").read_text().split()[:2])
    (host.root / "inventory/known_hosts").write_text(f"{name} {key}\n")
    return f"{name} {key}\n"


def test_a_changed_host_key_is_refused_with_both_fingerprints_and_pinned_by_a_person_only(host: Clone) -> None:
    known = host.root / "inventory/known_hosts"
    pinned = known.read_text()
    old = another_key(host)
    screen = host.inv("deploy", "--yes", code=3)
    says(
        screen, "its host key has changed", "known: ", "it shows: ", "nothing was sent to it", "try: inv host.trust lab"
    )
    assert screen.count("SHA256:") == 2
    says(host.inv("status", code=3), "NOT READ, its host key has changed")
    says(host.inv("host.trust", "lab", "--yes", code=3), "CHANGED", "pinned only by a person")
    assert known.read_text() == old
    code, screen = on_a_terminal(host, "y\n", "host.trust", "lab")
    assert code == 0
    assert screen.count("SHA256:") == 2
    assert known.read_text() == pinned


def test_sudo_that_wants_a_password_and_a_wrong_one_are_told_apart(host: Clone) -> None:
    (host.root / "inventory/secrets/lab/wrong").write_text("not-it\n")
    with unharmed(host):
        with as_operator(host):
            says(
                host.inv("deploy", "--yes", code=1),
                "sudo wants a password of operator",
                NOTHING,
                "ansible_become_password",
            )
        with as_operator(host, "inventory/secrets/lab/wrong"):
            screen = host.inv("deploy", "--yes", code=1)
            says(
                screen,
                "sudo refused the password of operator",
                NOTHING,
                "try: correct what ansible_become_password names",
            )
            says(host.inv("status", code=1), "NOT READ, sudo refused the password")
        with as_operator(host, "inventory/secrets/lab/nothere"):
            says(
                host.inv("deploy", "--yes", code=1),
                "the secret ansible_become_password is missing",
                "nothing was connected to",
            )
    assert "not-it" not in screen


def test_sudo_without_a_password_and_with_the_right_one_lead_to_the_same_plan(host: Clone) -> None:
    as_root = host.changes(code=2)
    with as_operator(host, SUDO):
        assert host.changes(code=2) == as_root
    free = "/etc/sudoers.d/operator"
    with while_(host, f"echo 'operator ALL=(ALL) NOPASSWD: ALL' >{free}", f"rm {free}"), as_operator(host):
        assert host.changes(code=2) == as_root


@pytest.fixture
def through_a_hop(host: Clone, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The host behind a jump host, by the operator's ssh configuration: the host is its own jump host."""
    variables = host.vars
    config = tmp_path / "config"
    config.write_text(
        f"Host behind\n HostName 127.0.0.1\n Port 22\n ProxyJump hop\n"
        f"Host hop\n HostName 127.0.0.1\n Port {variables['ansible_port']}\n User operator\n IdentityFile {variables['ansible_ssh_private_key_file']}\n"
    )
    program = tmp_path / "bin/ssh"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {config} "$@"\n')
    program.chmod(0o755)
    known = host.root / "inventory/known_hosts"
    pinned = known.read_text()
    with edited(
        host_vars(host),
        ("ansible_host: 127.0.0.1", "ansible_host: behind"),
        (f"ansible_port: {variables['ansible_port']}\n", ""),
    ):
        yield {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    known.write_text(pinned)


def test_a_host_behind_a_jump_host_is_checked_as_strictly_and_works(host: Clone, through_a_hop: dict[str, str]) -> None:
    says(host.inv("check", code=3, env=through_a_hop), "lab: its host key is not known")
    says(host.inv("host.trust", "lab", "--yes", env=through_a_hop), "lab at behind shows")
    host.inv("check", "--role", "base", code=2, env=through_a_hop)
    another_key(host)
    says(
        host.inv("check", code=3, env=through_a_hop),
        "lab (hop hop): its host key has changed",
        "nothing was sent to it",
    )


def test_a_jump_host_that_forbids_forwarding_is_named(host: Clone, through_a_hop: dict[str, str]) -> None:
    direct = through_a_hop  # the host is edited over its own port, without the hop
    settings = host_vars(host).read_text()
    host_vars(host).write_text(settings + f"ansible_port: {host.port(22)}\n")
    host.on_host("echo 'AllowTcpForwarding no' >/etc/ssh/sshd_config.d/forwarding.conf; systemctl reload ssh")
    host_vars(host).write_text(settings)
    screen = host.inv("check", code=4, env=direct)
    host_vars(host).write_text(settings + f"ansible_port: {host.port(22)}\n")
    host.on_host("rm /etc/ssh/sshd_config.d/forwarding.conf; systemctl reload ssh")
    host_vars(host).write_text(settings)
    says(screen, "lab (hop hop): forwarding is forbidden by sshd", NOTHING, "AllowTcpForwarding yes")


# --- what is on the host ----------------------------------------------------------------------------------------------


def test_an_unsupported_system_is_refused_by_name_and_nothing_is_done_to_it(host: Clone) -> None:
    harm = "cp /etc/os-release /root/; sed -i 's/^VERSION_ID=.*/VERSION_ID=\"11\"/' /etc/os-release"
    with while_(host, harm, "cp /root/os-release /etc/os-release"), unharmed(host):
        screen = host.inv("deploy", "--yes", code=3)
    says(
        screen,
        "! system:os-release",
        "debian 11 is not supported",
        "error: lab: system:os-release is refused",
        "not touched: ",
        "try: install one",
    )
    assert "applying" not in screen


def test_docker_of_snap_is_refused_by_name(host: Clone) -> None:
    with while_(host, "mkdir -p /snap/bin; ln -s /usr/bin/snap /snap/bin/docker", "rm -r /snap"), unharmed(host):
        screen = host.inv("docker", "--yes", code=3)
    says(
        screen,
        "error: lab: engine:docker is refused",
        "Docker is snap's there (/snap/bin/docker)",
        "snap remove docker",
    )


def test_forwarding_that_is_forbidden_is_told_by_the_first_check(host: Clone) -> None:
    with no_forwarding(host):
        screen = host.inv("check", code=3)
    says(
        screen,
        "canary:minio, bucket:superdarn-data, bucket:models and 2 more could not be read",
        "forwarding is forbidden by sshd",
        "AllowTcpForwarding yes",
    )


def test_drives_with_data_missing_or_mounted_elsewhere_are_refused_and_the_others_go_on(host: Clone) -> None:
    host.inv("base", "--yes")
    devices = [drive["device"] for drive in host.vars["drives"]]
    harm = f"mkfs.ext4 -q -L photos {devices[1]}; mkfs.xfs -q -L backup {devices[3]}; mkdir /srv/b; mount {devices[3]} /srv/b"
    blank = " ".join(
        f"wipefs -aq {device}; dd if=/dev/zero of={device} bs=1M count=16 2>/dev/null;"
        for device in (devices[1], devices[3])
    )
    with (
        while_(host, harm, f"umount /srv/b; rmdir /srv/b; {blank}"),
        edited(host_vars(host), (devices[2], "/dev/disk/by-id/ata-NOT_THERE")),
    ):
        before = host.on_host(f"blkid {devices[1]} {devices[3]}; findmnt /srv/b")
        screen = host.inv("drives", "--yes", code=3)
        after = host.on_host(f"blkid {devices[1]} {devices[3]}; findmnt /srv/b")
    assert after == before
    says(
        screen,
        "error: lab: filesystem:drive2 is refused",
        "it holds LABEL=photos TYPE=ext4; Stowage never wipes",
        f"try: on the host, if that may be lost: wipefs --all {devices[1]}",
        "error: lab: filesystem:drive3 could not be read",
        "there is no drive at /dev/disk/by-id/ata-NOT_THERE",
        "inv drives.list --host lab",
        "error: lab: filesystem:drive4 is refused",
        "xfs labelled backup, mounted at /srv/b",
        f"try: on the host: findmnt -S {devices[3]}",
        "not touched: filesystem:drive4, mountpoint:/mnt/drive4",
        "+ mount:/mnt/drive1  done",
    )
    assert host.on_host("findmnt -nro LABEL /mnt/drive1").strip() == "drive1"


def test_our_own_drive_mounted_at_another_place_and_another_in_its_place_are_refused(host: Clone) -> None:
    device = host.vars["drives"][0]["device"]
    moved = f"umount /mnt/drive1; mkdir /srv/old; mount {device} /srv/old; mkdir -p /mnt/drive2; mount -t tmpfs none /mnt/drive2"
    with (
        while_(host, moved, "umount /srv/old /mnt/drive2; rmdir /srv/old /mnt/drive2; mount /mnt/drive1"),
        unharmed(host),
    ):
        screen = host.inv("drives", "--check", code=3)
    says(
        screen,
        "drive1 is mounted at /srv/old already",
        "umount /srv/old",
        "none (tmpfs) is mounted there",
        "umount /mnt/drive2",
    )


# --- a new machine ----------------------------------------------------------------------------------------------------


def by_id(host: Clone, many: int) -> str:
    devices = [drive["device"] for drive in host.vars["drives"]][:many]
    links = [f"ln -sf {device} /dev/disk/by-id/ata-DISK_{number}" for number, device in enumerate(devices, 1)]
    first = (
        f"ln -sf {devices[0]} /dev/disk/by-id/scsi-SATA_DISK_1; ln -sf {devices[0]} /dev/disk/by-id/ata-DISK_1-part1"
    )
    blank = f"umount /mnt/drive1; wipefs -aq {devices[0]}; dd if=/dev/zero of={devices[0]} bs=1M count=16 2>/dev/null; rm -f /var/lib/stowage/drives/*"
    return "; ".join([f"{blank} || true", "mkdir -p /dev/disk/by-id; rm -f /dev/disk/by-id/*", *links, first])


def test_a_new_machine_is_read_and_what_is_written_loads(host: Clone) -> None:
    inventory, known = host.root / "inventory", host.root / "inventory/known_hosts"
    variables, pinned, hosts = host.vars, known.read_text(), (host.root / "inventory/hosts.yml").read_text()
    arguments = [
        "host.add",
        "store2",
        "127.0.0.1",
        "--port",
        str(variables["ansible_port"]),
        "--group",
        "weatherlearn",
        "--user",
        "operator",
        "--key",
        "inventory/secrets/lab/ssh_key",
    ]
    known.write_text("")
    says(
        host.inv(*arguments, code=3),
        "its host key is not known",
        f"try: inv host.trust store2 --address 127.0.0.1 --port {variables['ansible_port']}",
    )
    host.inv("host.trust", "store2", "--address", "127.0.0.1", "--port", str(variables["ansible_port"]), "--yes")
    assert known.read_text() == pinned
    says(
        host.inv(*arguments, code=1),
        "sudo wants a password of operator",
        "nothing was written",
        "try: the same with --sudo-password",
    )
    arguments += ["--sudo-password", f"file:{SUDO}"]
    host.on_host(by_id(host, 3))
    screen = host.inv(*arguments, code=3)
    says(screen, "device: /dev/disk/by-id/ata-DISK_3", "drives has no label drive4", "nothing was written")
    assert (inventory / "hosts.yml").read_text() == hosts
    assert not (inventory / "host_vars/store2.yml").exists() and not (inventory / "secrets/store2").exists()
    host.on_host(by_id(host, 4))
    screen = host.inv(*arguments)
    says(
        screen,
        "wrote inventory/hosts.yml, inventory/host_vars/store2.yml",
        "next: read inventory/host_vars/store2.yml, then: inv check --host store2",
    )
    says(
        host.inv("check", "--host", "store2", "--role", "drives", code=2),
        "makes xfs on /dev/disk/by-id/ata-DISK_1",
        "makes xfs on /dev/disk/by-id/ata-DISK_4",
    )
    says(host.inv(*arguments, code=3), "store2 is already there", "nothing was connected to or written")


# --- the whole, without root ------------------------------------------------------------------------------------------


def test_a_whole_deploy_works_as_an_operator_whose_sudo_asks_for_a_password(host: Clone) -> None:
    host.on_host("rm -rf /dev/disk/by-id")
    with as_operator(host, SUDO):
        assert "changes made and read back" in host.inv("deploy", "--yes")
        assert "nothing to do" in host.inv("deploy", "--yes")
        assert host.inv("status").startswith("lab: all is well")
    assert host.secret("sudo_password") not in host.on_host("journalctl -q --no-pager; cat /var/lib/stowage/*.jsonl")


def containers(host: Clone) -> str:
    return host.on_host("docker ps --format '{{.Names}} {{.ID}}' | sort")


def test_an_nginx_configuration_that_does_not_parse_leaves_the_old_one_in_place(host: Clone) -> None:
    with edited(host.root / "templates/nginx/upstreams.conf.j2", ("least_conn;", "most_conn;")), unharmed(host):
        screen = host.inv("edge", "--yes", code=1)
    says(
        screen,
        "file:/etc/stowage/nginx/conf/nginx.conf failed",
        'unknown directive "most_conn"',
        "what is in place stays as it is",
        "not begun: loaded:nginx",
    )
    assert host.changes(code=0) == {}


def test_an_image_that_no_registry_gives_leaves_what_runs_alone(host: Clone) -> None:
    before = containers(host)
    screen = host.inv(
        "deploy",
        "--yes",
        "--no-diff",
        "--set=images.nginx.reference=registry.invalid/nginx:9",
        "--set=images.nginx.ship=false",
        code=1,
    )
    says(
        screen,
        "image:registry.invalid/nginx:9 failed",
        "does the host reach the registry",
        "0 changes are done",
        "try: on the host: ",
        "then: inv deploy --host lab",
    )
    assert containers(host) == before


def test_an_image_that_was_withdrawn_is_refused_with_its_replacement_unless_a_mirror_is_named(host: Clone) -> None:
    flags = ["images", "--check", "--set=images.minio.ship=false"]
    screen = host.inv(*flags, "--set=images.minio.reference=minio/minio:latest", code=3)
    says(
        screen, "error: lab: image:minio/minio:latest is refused", "withdrawn", "docker.io/pgsty/silo:", "not touched: "
    )
    mirror = host.inv(*flags, "--set=images.minio.reference=mirror.example.org/minio/minio:latest", code=2)
    says(mirror, "+ image:mirror.example.org/minio/minio:latest")


def test_a_withdrawn_image_that_the_host_has_is_used(host: Clone) -> None:
    tag, untag = "docker tag stowage-lab/nginx:1.26.3 minio/minio:kept", "docker rmi minio/minio:kept >/dev/null"
    with while_(host, tag, untag):
        says(
            host.inv(
                "images", "--check", "--set=images.minio.reference=minio/minio:kept", "--set=images.minio.ship=false"
            ),
            "nothing to do",
        )


def test_a_full_disk_stops_at_its_step_and_leaves_the_old_file_whole(host: Clone) -> None:
    full = "mount -t tmpfs -o size=16k,mode=755 none /etc/sysctl.d; cp -a /root/kept/. /etc/sysctl.d; dd if=/dev/zero of=/etc/sysctl.d/fill bs=1k 2>/dev/null || true"
    flag = "--set=base.sysctl.net.core.somaxconn='4097'"
    with while_(host, f"cp -aT /etc/sysctl.d /root/kept; {full}", "umount /etc/sysctl.d"):
        before = host.on_host("ls -A /etc/sysctl.d; cat /etc/sysctl.d/60-stowage.conf")
        screen = host.inv("base", "--yes", flag, code=1)
        assert host.on_host("ls -A /etc/sysctl.d; cat /etc/sysctl.d/60-stowage.conf") == before
    says(
        screen,
        "file:/etc/sysctl.d/60-stowage.conf failed",
        "No space left on device",
        "0 changes are done",
        "try: on the host: df -h",
    )
    assert host.changes(code=0) == {}


def test_another_number_of_the_data_user_gives_nothing_away(host: Clone) -> None:
    number, back = "s/^stowage:x:9000:/stowage:x:9001:/", "s/^stowage:x:9001:/stowage:x:9000:/"
    owners = "stat -c '%u:%g %n' /mnt/drive*/drive* /srv/stowage/* /etc/stowage/*/secrets /etc/stowage/*/secrets/* /etc/stowage/nginx/conf"
    before = host.on_host(owners, check=False), containers(host)
    with while_(host, f"sed -i {number} /etc/passwd", f"sed -i {back} /etc/passwd"):
        screen = host.inv("deploy", "--yes", code=3)
        assert (host.on_host(owners, check=False), containers(host)) == before
        says(host.inv("minio", "--yes", code=3), "waits for user:stowage", "beneath, only read: 1 refused")
    says(screen, "error: lab: user:stowage is refused", "waits for user:stowage", "not touched: ")
    assert "bucket:" not in screen
    assert "applying" not in screen
    assert host.changes(code=0) == {}


def test_docker_that_refuses_its_settings_gets_back_those_before(host: Clone) -> None:
    before = containers(host), host.on_host("cat /etc/docker/daemon.json; stat -c %a /etc/docker/daemon.json")
    screen = host.inv("docker", "--yes", "--set=docker.daemon.hosts=['unix:///run/docker.sock']", code=1)
    says(
        screen,
        "docker.service did not come back: the previous files are put back, and it runs with them",
        "specified both as a flag and in the configuration file: hosts",
        "try: mend in the inventory",
    )
    daemon = host.on_host("cat /etc/docker/daemon.json; stat -c %a /etc/docker/daemon.json")
    assert (containers(host), daemon) == before
    says(host.inv("history"), "failed   ", "1 change: ~ json:/etc/docker/daemon.json")
    assert host.changes(code=0) == {}


def test_a_missing_role_is_told_with_the_line_to_write(host: Clone) -> None:
    screen = host.inv("check", "--set=roles=[minio]", code=1)
    says(
        screen, "the roles base, drives, docker and images are missing", "roles: [base, drives, docker, images, minio]"
    )


def test_forwarding_that_is_forbidden_later_is_told_by_check_status_and_restart(host: Clone) -> None:
    before = containers(host)
    with no_forwarding(host):
        says(host.inv("check", code=3), "forwarding is forbidden by sshd", "not touched: canary:minio, bucket:")
        says(host.inv("status", code=2), "forwarding is forbidden by sshd", "AllowTcpForwarding yes")
    assert containers(host) == before
    assert host.changes(code=0) == {}


HOLD = """
import sys
from pathlib import Path
from converge.inventory.hosts import load
from converge.ssh.root_shell import RootShell, holder
from converge.ssh.link import connect
from roles.settings.model import Settings
shell = RootShell(connect(load(Path.cwd(), "lab", Settings)[0].target), holder("inv deploy, by anna"))
print(shell.run("echo held")[1], flush=True)
sys.stdin.read()
"""


def test_a_lock_that_is_held_names_its_holder_and_ends_with_5(host: Clone) -> None:
    hold = subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=host.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert hold.stdout and "held" in hold.stdout.readline()
    begun = time.monotonic()
    screen = host.inv("deploy", "--yes", code=5)
    assert time.monotonic() - begun < 60  # only catches a hang
    says(screen, "another run holds the lock", ": inv deploy, by anna", NOTHING, "inv unlock --host lab")
    says(host.inv("unlock", code=2), "inv deploy, by anna", NOTHING)
    assert host.inv("check").startswith("lab: nothing to do")
    says(host.inv("unlock", "--yes"), "the lock is free")
    hold.communicate(timeout=120)
    assert "nothing to do" in host.inv("deploy", "--yes")
