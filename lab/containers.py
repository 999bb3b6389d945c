"""Containers that behave like machines, on the operator's Engine."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Mapping
from typing import Any

from converge.errors import Trouble
from lab import clone, systems

# What a storage host serves: ssh, http, https, dashboards, PostgreSQL, S3, its console, metrics.
GUEST_PORTS = (22, 80, 443, 3000, 5432, 8080, 9000, 9001, 9090)
HOST, LOOPS, SYSTEM = "stowage.host", "stowage.loops", "stowage.system"
# Debian packages that were downloaded once, for all lab hosts of all clones.
PACKAGES, PACKAGES_AT = "stowage-lab-packages", "/var/cache/lab-packages"
FREEZE_PATIENCE = 30


def start(container: Any) -> None:
    import docker

    try:
        container.start()
    except docker.errors.APIError as error:
        name = container.labels[HOST]
        again = f"inv lab.down --host {name}, then inv lab.up --host {name} (its drives are lost)"
        raise Trouble("the host does not start", where=name, why=error.explanation, hint=again) from None


def freeze(container: Any) -> None:
    """Stop all processes of a host at once. The kernel may refuse for a moment: a process that waits for a disk cannot be frozen."""
    import docker

    until = time.monotonic() + FREEZE_PATIENCE
    while True:
        try:
            container.pause()
            return
        except docker.errors.APIError as error:
            if "unable to freeze" not in str(error.explanation) or time.monotonic() > until:
                raise
        time.sleep(0.2)


def find(client: Any, name: str) -> Any | None:
    """The container of a host, running or not."""
    return next(iter(client.containers.list(all=True, filters={"name": f"^/?{clone.identity(name)}$"})), None)


def need(client: Any, name: str, running: bool = True) -> Any:
    container = find(client, name)
    if container is None:
        raise Trouble(f"there is no lab host {name}", hint=f"inv lab.up --host {name}")
    if running and container.status != "running":
        raise Trouble("the lab host is switched off", where=name, hint=f"inv lab.up --host {name}")
    return container


def ours(client: Any) -> list[Any]:
    """All hosts of this clone."""
    prefix = clone.family() + "-"
    return [container for container in everyones(client) if container.name.startswith(prefix)]


def everyones(client: Any) -> list[Any]:
    """The hosts of all clones on this Engine."""
    return list(client.containers.list(all=True, filters={"label": HOST}, ignore_removed=True))


def volumes(name: str) -> dict[str, str]:
    """The volumes of one host, and where they are in it: its drives' files, and what its own Docker unpacks.

    An overlay, such as a container's root, takes no whiteouts. Docker keeps images in containerd from 29 on.
    """
    places = {"drives": "/lab", "docker": "/var/lib/docker", "containerd": "/var/lib/containerd"}
    return {f"{clone.identity(name)}-{what}": place for what, place in places.items()}


def copier(name: str) -> str:
    """The container that copies images into a host; no host is named so, as its name has a dot."""
    return f"{clone.identity(name)}.images"


def remove_copier(client: Any, name: str) -> None:
    """Remove the copier, also one that a killed command left behind: it holds a volume of the host."""
    for container in client.containers.list(all=True, filters={"name": copier(name)}):
        if container.name == copier(name):
            container.remove(force=True)


def system(container: Any) -> str:
    """A row of lab/systems.py; hosts from before there were several have the first."""
    return str(container.labels.get(SYSTEM, systems.DEFAULT))


def create(client: Any, name: str, system: str, image: str, ports: Mapping[int, int], loops: list[int]) -> Any:
    identity = clone.identity(name)
    made = client.api.create_container(
        image,
        name=identity,
        hostname=name,
        environment=_environment(identity + ".", loops),
        labels={HOST: name, SYSTEM: system, LOOPS: json.dumps(loops), "stowage.checkout": str(clone.ROOT)},
        ports=list(ports),
        host_config=machine(
            client,
            binds=[*(f"{volume}:{place}" for volume, place in volumes(name).items()), f"{PACKAGES}:{PACKAGES_AT}"],
            port_bindings={guest: ("127.0.0.1", port) for guest, port in ports.items()},
            tmpfs={"/run": "exec", "/tmp": "exec", "/run/lock": ""},
        ),
    )
    return client.containers.get(made["Id"])


def firmware(client: Any, image: str, *argv: str, **more: Any) -> str:
    """Run a command of the firmware beside the hosts: loop devices belong to the kernel, not to a container."""
    made = client.api.create_container(
        image,
        command=list(argv),
        environment=_environment(clone.EVERY_FAMILY, []),
        host_config=machine(client, network_mode="none", **more),
    )
    container = client.containers.get(made["Id"])
    try:
        container.start()
        code = container.wait()["StatusCode"]
        output = container.logs().decode(errors="replace")
    finally:
        container.remove(force=True)
    if code:
        raise Trouble(f"the lab's `{' '.join(argv)}` failed", why=output.strip(), hint="losetup -a")
    return str(output)


def inside(container: Any, *argv: str) -> str:
    """Run a program inside a host; its stderr is the reason when it fails."""
    code, (out, err) = container.exec_run(list(argv), demux=True)
    if code:
        output = (err or out or b"").decode(errors="replace").strip()
        what = output or f"`{' '.join(argv)}` ended with {code}"
        raise Trouble(what, where=container.labels[HOST], hint="inv lab.status")
    return (out or b"").decode(errors="replace").strip()


def put(container: Any, files: Mapping[str, tuple[str, int, int]]) -> None:
    """Write small files (text, mode, owner) into a host that may not run yet; directories to match."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, (text, mode, owner) in files.items():
            folder = tarfile.TarInfo(path.strip("/").rpartition("/")[0])
            folder.type, folder.mode, folder.uid, folder.gid = tarfile.DIRTYPE, 0o700, owner, owner
            entry = tarfile.TarInfo(path.strip("/"))
            entry.size, entry.mode, entry.uid, entry.gid = len(text.encode()), mode, owner, owner
            tar.addfile(folder)
            tar.addfile(entry, io.BytesIO(text.encode()))
    container.put_archive("/", packed.getvalue())


def _environment(images: str, loops: list[int]) -> dict[str, str]:
    """Limits of what the firmware may touch: drive images whose names start with the family, and these loop devices."""
    return {"STOWAGE_LAB": images, "STOWAGE_LOOPS": " ".join(map(str, loops))}


def machine(client: Any, **more: Any) -> dict[str, Any]:
    """All that `--privileged` gives, as far as the Engine's own machine has it."""
    config: dict[str, Any] = client.api.create_host_config(
        cap_add=["ALL"],
        cap_drop=lacking(client.version()["Version"]),
        security_opt=["seccomp=unconfined", "apparmor=unconfined"],
        device_cgroup_rules=["a *:* rwm"],
        cgroupns="private",
        **more,
    )
    # The command line's `systempaths=unconfined`: nothing of /proc and /sys is hidden or read-only.
    config["MaskedPaths"], config["ReadonlyPaths"] = [], []
    return config


def lacking(engine: str) -> list[str]:
    """Engines before 23 take ALL literally, and fail where the machine, itself virtual, lacks this one."""
    return ["SYS_RESOURCE"] if int(engine.split(".")[0]) < 23 else []
