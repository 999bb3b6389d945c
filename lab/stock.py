"""A stock: images as Docker keeps them, loaded once and copied into each new lab host that is prepared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from converge.errors import Trouble
from lab import clone, containers, systems
from lab.engine import ensure_engine, plainly
from lab.progress import long_work

STOCK, HAS, MADE_BY = "stowage-lab-stock", "stowage.images", "stowage.machine"


@plainly
def put_into(name: str, tags: Sequence[str]) -> None:
    """Gives these images to a prepared host on which Docker never ran; any other host keeps what it has."""
    client = ensure_engine()
    host = containers.need(client, name)
    if not tags or containers.system(host) != systems.PREPARED:
        return
    machine = host.attrs["Image"]
    docker = next(volume for volume, place in containers.volumes(name).items() if place == "/var/lib/docker")
    with clone.locked("stock"):
        stock = _stock(client, machine, sorted(set(tags)))
        with long_work(f"copying images into {name}"):
            more = {"name": containers.copier(name), "volumes_from": [f"{stock}:ro"], "binds": [f"{docker}:/host"]}
            containers.remove_copier(client, name)
            _run(_create(client, machine, ["copy"], **more))
            containers.remove_copier(client, name)


def _stock(client: Any, machine: str, tags: list[str]) -> str:
    """The container whose volume is the stock; one that has more images serves as well; only a container that ended with 0 has a complete stock."""
    wanted = {client.images.get(tag).id for tag in tags}
    complete = {"label": [HAS, f"{MADE_BY}={machine}"], "status": "exited", "exited": 0}
    for stock in client.containers.list(all=True, filters=complete):
        if wanted.issubset(json.loads(stock.labels[HAS])):
            return str(stock.name)
    _remove_old(client, wanted)
    held = json.dumps(sorted(wanted))
    name = f"{STOCK}-{hashlib.sha256(f'{machine} {held}'.encode()).hexdigest()[:16]}"
    more = {"name": name, "labels": {HAS: held, MADE_BY: machine}, "volumes": ["/var/lib/docker"]}
    stock = _create(client, machine, ["load", *tags], **more)
    try:
        with long_work("loading the images of prepared lab hosts", "under a minute"):
            stock.put_archive("/images", _saved(client, tags))
            _run(stock)
    except BaseException:
        stock.remove(force=True, v=True)
        raise
    return name


def _saved(client: Any, tags: list[str]) -> Any:
    """The images as `docker save` writes them: the SDK saves one image at a time, each with the same base again."""
    api = client.api
    answer = api._get(api._url("/images/get"), params={"names": tags}, stream=True)
    return api._stream_raw_result(answer, 1 << 20, False)


def _create(client: Any, machine: str, command: list[str], **more: Any) -> Any:
    host = {key: more.pop(key) for key in ("volumes_from", "binds") if key in more}
    config = containers.machine(client, network_mode="none", **host)
    made = client.api.create_container(
        machine, entrypoint=["/usr/local/lib/lab-loader"], command=command, host_config=config, **more
    )
    return client.containers.get(made["Id"])


def _run(container: Any) -> None:
    container.start()
    if container.wait()["StatusCode"]:
        output = container.logs(tail=5).decode(errors="replace").strip()
        raise Trouble(
            "images cannot be put into lab hosts",
            why=output,
            untouched="the host is up, without them: a deploy sends them",
            hint="docker system df; df -h",
        )


def _remove_old(client: Any, wanted: set[str]) -> None:
    """Remove stocks that were cut off, are for another machine, hold less, or hold images that this Engine no longer has."""
    image_ids = {image.id for image in client.images.list(all=True)}
    for stock in client.containers.list(all=True, filters={"label": HAS}):
        held = set(json.loads(stock.labels[HAS]))
        if held <= wanted or not held <= image_ids:
            stock.remove(force=True, v=True)
