"""The bare Debian that every image of the lab is made from."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from lab import clone, shell
from lab.engine import connect
from lab.progress import long_work, say

TAG = "stowage-lab/base:trixie"
REGISTRY = "debian:13"
MIRROR = "http://deb.debian.org/debian"
# Files of debootstrap that images do not need: half of their size, and all of it would be sent to hosts.
LEFT_OUT = (
    "--exclude=./var/cache/apt/*.bin",
    "--exclude=./var/cache/apt/archives/*.deb",
    "--exclude=./var/lib/apt/lists/*",
)
# Seconds to wait for a registry: where none can be reached, longer would not help.
REGISTRY_PATIENCE = 15


def ensure(client: Any, cold: bool = False) -> str:
    """Debian from a registry where one answers, from its packages where none does."""
    if (cold or not client.images.list(TAG)) and not _pulled(client):
        _import(client, cold)
    return str(client.images.get(TAG).id)


def _pulled(client: Any) -> bool:
    import docker
    import requests

    impatient = connect(timeout=REGISTRY_PATIENCE).api
    try:
        with long_work(f"pulling {REGISTRY}") as work:
            for event in impatient.pull(REGISTRY, stream=True, decode=True):
                if "error" in event:
                    raise docker.errors.APIError(event["error"])
                work.note(f"{event.get('status', '')} {event.get('progress', '')}")
    except (docker.errors.APIError, requests.exceptions.RequestException) as error:
        say(f"  no registry answers ({_short(error)}); Debian is built from its packages")
        return False
    return bool(client.images.get(REGISTRY).tag(TAG))


def _import(client: Any, cold: bool) -> None:
    name, tag = TAG.split(":")
    tarball = clone.cache("rootfs", f"debian-trixie-{client.info()['Architecture']}.tar")
    if cold or not tarball.exists():
        _debootstrap(tarball)
    with long_work("importing the base system"):
        client.api.import_image(src=str(tarball), repository=name, tag=tag, changes=["CMD /bin/bash"])


def _debootstrap(tarball: Path) -> None:
    if not shutil.which("debootstrap"):
        shell.apt_install("debootstrap")
    with tempfile.TemporaryDirectory(prefix="stowage-rootfs-") as folder:
        shell.run(
            "debootstrap of Debian 13",
            *("debootstrap", "--variant=minbase", "trixie", folder, MIRROR),
            takes="about a minute",
            hint="debootstrap needs root and the Debian mirror; or let the Engine reach a registry",
        )
        unfinished = tarball.with_suffix(".part")
        shell.run("packing it", "tar", "-C", folder, "--numeric-owner", *LEFT_OUT, "-cf", str(unfinished), ".")
        unfinished.rename(tarball)


def _short(error: Exception) -> str:
    """The last words of an error say what happened; the first are addresses."""
    return str(getattr(error, "explanation", None) or error)[-90:].strip()
