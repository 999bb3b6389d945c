"""The operator's own Docker Engine, on which lab hosts run. Production never needs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from converge.errors import Trouble
from lab import clone, shell
from lab.progress import long_work

# A first `docker import` and a stop that waits for the guest are the slow calls.
TIMEOUT = 600


P = ParamSpec("P")
R = TypeVar("R")


def plainly(function: Callable[P, R]) -> Callable[P, R]:
    """Turn a refusal of the Engine into one clear error."""

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        import docker
        import requests

        try:
            return function(*args, **kwargs)
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            why = str(getattr(error, "explanation", None) or error)
            raise Trouble(
                "the Docker Engine of this machine refuses", why=why, hint="docker info; docker ps -a"
            ) from None

    return guarded


def ensure_engine() -> Any:
    """A client of the Engine; started, as root on Debian also installed, when none answers."""
    if client := _answering():
        return client
    if os.environ.get("DOCKER_HOST") or os.geteuid() or not os.path.exists("/usr/bin/apt-get"):
        raise _no_engine()
    if not shutil.which("dockerd"):
        shell.apt_install("docker.io", "iptables")
    return _answering() or _start_dockerd()


def connect(timeout: int = TIMEOUT) -> Any:
    """The Engine that the `docker` command would talk to: DOCKER_HOST, else the current context."""
    import docker
    from docker.context import ContextAPI

    if os.environ.get("DOCKER_HOST"):
        return docker.from_env(timeout=timeout)
    context = ContextAPI.get_current_context()
    return docker.DockerClient(base_url=context.Host if context else None, timeout=timeout)


def _answering() -> Any | None:
    try:
        client = connect()
        client.ping()
    except Exception:  # the SDK lets through errors of requests, of urllib3 and its own
        return None
    return client


def _start_dockerd() -> Any:
    """Start dockerd without systemd, which a virtual machine or a container may not have."""
    log = clone.cache("dockerd.log")
    with long_work("starting dockerd") as work, log.open("ab") as out:
        child = subprocess.Popen(["dockerd"], stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        while work.seconds < 60:
            if client := _answering():
                return client
            if child.poll() is not None:
                break
            time.sleep(0.5)
    raise Trouble("dockerd does not start", why=_last_lines(log.read_text(errors="replace")), hint=f"less {log}")


def _last_lines(text: str, count: int = 5) -> str:
    return "\n".join(text.splitlines()[-count:])


def _no_engine() -> Trouble:
    start = "start Docker Desktop, or: sudo systemctl start docker"
    where = os.environ.get("DOCKER_HOST")
    return Trouble(
        "no Docker Engine answers on this machine",
        where=f"DOCKER_HOST={where}" if where else "",
        why="the lab's hosts are containers of it; to deploy to production none is needed here",
        untouched="nothing was changed",
        hint=start if shutil.which("docker") else "https://docs.docker.com/engine/install, then inv lab.up",
    )
