"""Throwaway hosts: up, down, reboot, power cut, status."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

from converge.errors import Trouble
from converge.record import dataclass
from lab import claims, clone, containers, images, records, systems
from lab.engine import ensure_engine, plainly
from lab.progress import long_work, say

BOOT_PATIENCE, STOP_PATIENCE = 120, 60
# The host itself waits: asking from here again and again takes cores that the boot needs.
SYSTEM_IS_UP = """n=0
until systemctl is-system-running 2>/dev/null | grep -qxE 'running|degraded'; do
  [ $((n += 1)) -lt 15 ] || exit 1
  sleep 0.2
done"""


@dataclass(frozen=True)
class LabHost:
    """One host of this clone as it is; `drives` are images by number, empty where one was pulled."""

    name: str
    running: bool
    ports: dict[int, int]
    drives: dict[int, str]

    def line(self) -> str:
        if not self.running:
            return f"{self.name}  off  inv lab.up --host {self.name}"
        ports = f"ssh 127.0.0.1:{self.ports[22]}  S3 :{self.ports[9000]}  console :{self.ports[9001]}"
        bays = "  ".join(f"drive{number} {'in' if image else 'pulled'}" for number, image in self.drives.items())
        return f"{self.name}  runs  {ports}  {bays}"


@plainly
def up(name: str = "lab", system: str = "", cold: bool = False) -> None:
    """Make a host, or start it; nothing changes when it runs. `cold` makes the images anew."""
    clone.identity(name)
    client = ensure_engine()
    container = containers.find(client, name)
    present = containers.system(container) if container else systems.DEFAULT
    wanted = systems.known(system or present)
    if container and wanted != present:
        raise Trouble(
            f"{name} has {present}", hint=f"inv lab.down --host {name} (its drives are lost), then the same again"
        )
    image = images.machine(wanted, cold)
    container = container or _make(client, name, wanted, image)
    power_on(name)
    if container.attrs["Image"] != client.images.get(image).id:
        say(f"  {name} is of an older definition; for the new one: inv lab.down --host {name}, then inv lab.up")


def _make(client: Any, name: str, system: str, image: str) -> Any:
    with clone.locked("claims"):
        attached = claims.sweep(client, image)
        _remove_volumes(client, name)
        ports = claims.ports(client, containers.GUEST_PORTS)
        return containers.create(client, name, system, image, ports, claims.loops(client, attached))


def _hand_over_keys(name: str, container: Any) -> None:
    """Give a host what an installer asks for: the key that may log in, and the administrator's password.

    At every start: a clone that was deleted and made again has new keys, and its host is still there.
    """
    records.secrets_of(name)
    _, public_key = records.ssh_key(name)
    containers.put(
        container,
        {
            "/root/.ssh/authorized_keys": (public_key, 0o600, 0),
            "/home/operator/.ssh/authorized_keys": (public_key, 0o600, 1000),
            "/root/.lab-passwords": (f"operator:{records.secret(name, 'sudo_password')}\n", 0o600, 0),
        },
    )


@plainly
def power_on(name: str) -> None:
    """Start a host that is switched off, wait until it is up, and write how to reach it."""
    container = containers.need(ensure_engine(), name, running=False)
    if container.status == "paused":
        container.kill("KILL")
        container.wait()
        container.reload()
    _hand_over_keys(name, container)
    if container.status != "running":
        containers.start(container)
    _up_and_recorded(name, container)


@plainly
def reboot(name: str = "lab") -> int:
    """A true reboot: services stop, the firmware runs again, drives are found anew. Gives the seconds it took."""
    container = containers.need(ensure_engine(), name)
    started = time.monotonic()
    with long_work(f"{name} shuts down"):
        container.restart(timeout=STOP_PATIENCE)
    _up_and_recorded(name, container)
    return round(time.monotonic() - started)


@plainly
def power_cut(name: str = "lab") -> None:
    """Pull the plug: what was not synced to a drive is lost. The root disk is the Engine's, and keeps what it has."""
    client = ensure_engine()
    container = containers.need(client, name)
    loops = json.loads(container.labels[containers.LOOPS])
    containers.freeze(container)
    try:
        image, process_view = container.attrs["Image"], f"container:{container.id}"
        containers.firmware(client, image, "fail", *map(str, loops), pid_mode=process_view)
    finally:
        container.kill("KILL")


@plainly
def down(name: str = "lab") -> bool:
    """Remove a host with its drives; its secrets stay. False when there was none."""
    client = ensure_engine()
    container = containers.find(client, name)
    port = claims.published(container)[22] if container else None
    with clone.locked("claims"):
        image = container.attrs["Image"] if container else _any_machine(client)
        if container:
            container.remove(force=True, v=True)
        if image:
            claims.sweep(client, image)
        _remove_volumes(client, name)
    records.forget(name, port)
    return container is not None


def _any_machine(client: Any) -> str:
    """An image with the firmware, where the lab ever made one."""
    machines = client.images.list(filters={"reference": [images.MACHINE, f"{images.MACHINE}-*"]})
    return str(machines[0].id) if machines else ""


@plainly
def status() -> list[LabHost]:
    """The hosts of this clone."""
    return [_as_it_is(host) for host in sorted(containers.ours(ensure_engine()), key=lambda host: str(host.name))]


@plainly
def published(name: str = "lab") -> dict[int, int]:
    """Guest port to port on 127.0.0.1."""
    return claims.published(containers.need(ensure_engine(), name, running=False))


def _as_it_is(container: Any) -> LabHost:
    running = container.status == "running"
    name, ports = container.labels[containers.HOST], claims.published(container)
    return LabHost(name, running, ports, _drives(container) if running else {})


def _drives(container: Any) -> dict[int, str]:
    lines = (line.split() for line in containers.inside(container, "/sbin/firmware", "drives").splitlines())
    return {int(number): "".join(image) for number, _, *image in lines}


def _remove_volumes(client: Any, name: str) -> None:
    """Remove the volumes of a host, also after its container was removed by hand: a new host starts blank."""
    own = containers.volumes(name)
    containers.remove_copier(client, name)
    for volume in client.volumes.list(filters={"name": clone.identity(name)}):
        if volume.name in own:
            volume.remove(force=True)


def _up_and_recorded(name: str, container: Any) -> None:
    port = claims.published(container)[22]
    with long_work(f"{name} boots") as work:
        while not _is_up(container, port):
            if container.status != "running" or work.seconds > BOOT_PATIENCE:
                again = f"inv lab.down --host {name}, then inv lab.up --host {name}"
                raise Trouble("the host does not come up", where=name, why=_why_not_up(container), hint=again)
            time.sleep(0.2)
    record(name, container)


def record(name: str, container: Any) -> None:
    """Write how to reach a host and which devices its drives have now."""
    ports = claims.published(container)
    devices = [line.split(" ")[1] for line in _output(container, "/sbin/firmware", "drives").splitlines()]
    records.write_host(name, containers.system(container), ports, records.ssh_key(name)[0], devices)
    records.trust(ports[22], _output(container, "cat", "/etc/ssh/ssh_host_ed25519_key.pub"))


def _output(container: Any, *command: str) -> str:
    """The output of a command that always prints something: an old Engine under load may lose the output of an exec."""
    for _ in range(20):
        if text := containers.inside(container, *command):
            return str(text)
        time.sleep(0.5)
    raise Trouble("the host does not say what it was asked", why=" ".join(command), hint="the same command again")


def _is_up(container: Any, port: int) -> bool:
    container.reload()
    return container.status == "running" and _systemd_is_up(container) and _ssh_answers(port)


def _systemd_is_up(container: Any) -> bool:
    code, _ = container.exec_run(["sh", "-c", SYSTEM_IS_UP])
    return bool(code == 0)


def _ssh_answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _why_not_up(container: Any) -> str:
    if container.status != "running":
        return str(container.logs(tail=10).decode(errors="replace")).strip()
    ask = "systemctl is-system-running; systemctl --no-pager list-jobs; systemctl --no-pager --failed"
    _, out = container.exec_run(["sh", "-c", ask])
    return str(out.decode(errors="replace")).strip()
