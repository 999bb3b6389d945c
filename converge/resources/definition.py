"""Pieces of which the definition of a container is made, as compose takes it: safe unless a role says otherwise."""

from __future__ import annotations

from typing import Any


def hardened(name: str, image: str, uid: int, **more: Any) -> dict[str, Any]:
    """A container that is no root unless `uid` is 0, has no capabilities, gains no rights, and writes to memory only."""
    return {
        "image": image,
        "container_name": name,
        "user": f"{uid}:{uid}",
        "restart": "unless-stopped",
        "read_only": True,
        "tmpfs": ["/tmp"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        **more,
    }


def bind(source: str, target: str, read_only: bool = False) -> dict[str, Any]:
    """A folder of the host in a container; never made by Docker."""
    volume = {"type": "bind", "source": source, "target": target, "bind": {"create_host_path": False}}
    return volume | ({"read_only": True} if read_only else {})


def seen(source: str, target: str) -> dict[str, Any]:
    """A folder of the host, read-only, with all that is mounted beneath it, now and later."""
    volume = bind(source, target, read_only=True)
    return {**volume, "bind": {**volume["bind"], "propagation": "rslave"}}


def published(listen: str, port: int, inside: int, udp: bool = False) -> str:
    """A port of the host at one of its addresses that leads to one of a container."""
    return f"{f'[{listen}]' if ':' in listen else listen}:{port}:{inside}{'/udp' if udp else ''}"


def healthcheck(*command: str) -> dict[str, Any]:
    """What Docker runs in a container to see whether it is well."""
    return {"test": ["CMD", *command], "interval": "30s", "timeout": "5s", "retries": 3, "start_period": "60s"}
