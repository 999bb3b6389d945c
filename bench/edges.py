"""S3 through Traefik and through nginx, against S3 straight to the node: the same host, client and objects, one kind after the other."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import yaml
from checkout import Lab, host, lab
from measure import ROUNDS, Failed, Times, run, turns, verdict, write

NAME = "opengeo-lab"
MIB, LARGE, SMALL = 64, 8, 100
BUCKET, FOLDER = "stowage-bench", "/run/stowage-bench"
NAMED = "minio-api.opengeo.example.org"
CLIENT, SERVER = os.environ.get("CLIENT_CORE", "1"), os.environ.get("SERVER_CORE", "0")
EDGE = os.environ.get("EDGE_CORE", CLIENT)
ROUTES = [{"port": 9000, "to": "minio-api", "tls": False}, {"port": 443, "host": NAMED, "to": "minio-api"}]
WAYS = ("straight", "clear", "TLS")
WHAT = {
    "upload": f"upload, {LARGE} of {MIB} MiB",
    "download": f"download, {LARGE} of {MIB} MiB",
    "puts": f"put, {SMALL} of 4 KiB",
    "gets": f"get, {SMALL} of 4 KiB",
}


def main() -> None:
    measured = {kind: _measured(kind) for kind in ("traefik", "nginx")}
    lines = [
        f"The node has core {SERVER} for itself, the client (curl, on the host) core {CLIENT}; the edge has core {EDGE}. Affinity of all threads"
        " (taskset), since the machine has two cores: three programs cannot have one each. Nothing else ran. Objects of one line go over one connection.",
        "",
        "| what | kind | straight to the node | through the edge | ratio | through the edge, with TLS | ratio |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    verdicts = []
    for what, title in WHAT.items():
        for kind, times in measured.items():
            straight, clear, encrypted = (times[what][way] for way in WAYS)
            rates = [_rate(what, one) for one in (straight, clear, encrypted)]
            ratios = [f"{straight.median / one.median:.2f}" for one in (clear, encrypted)]
            lines.append(f"| {title} | {kind} | {rates[0]} | {rates[1]} | {ratios[0]} | {rates[2]} | {ratios[1]} |")
            if what in ("upload", "download"):
                verdicts.append(verdict(f"{what} through {kind}", straight.median / clear.median, 0.9, most=False))
    failures = [
        f"- {kind}, {WHAT[what]}, {way}: `{' '.join(one.failure.split())}`"
        for kind, times in measured.items()
        for what, ways in times.items()
        for way, one in ways.items()
        if one.failure
    ]
    write("edges", "S3 through each kind of edge", [*lines, "", *verdicts, *failures])


def _measured(kind: str) -> dict[str, dict[str, Times]]:
    """The times of each way to the node, with this kind of edge."""
    _deploy(kind)
    here, settings = lab(Path.cwd(), NAME), host(Path.cwd(), NAME).settings
    node = f"http://{settings.minio.nodes[0].address}:9000"
    inspect = "docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' " + kind
    address = run(here.ssh(inspect)).split()[0]
    run(here.ssh(_pinned(settings.minio.nodes[0].name, SERVER) + _pinned(kind, EDGE)))
    keys = f'user = "{settings.minio.root_user.reveal()}:{settings.minio.root_password.reveal()}"\n'
    make = f"umask 077; mkdir -p {FOLDER}; cat >{FOLDER}/keys; head -c {MIB}M /dev/urandom >{FOLDER}/large; head -c 4096 /dev/urandom >{FOLDER}/small"
    run(here.ssh(make), stdin=None, input=keys)
    reach = f"--connect-to {NAMED}:443:{address}:443 --cacert /etc/stowage/authority/authority.crt"
    ways = dict(zip(WAYS, ((node, ""), (f"http://{address}:9000", ""), (f"https://{NAMED}", reach)), strict=True))
    names = {"large": LARGE, "small": SMALL}
    everything = " ".join(f"{node}/{BUCKET}/{size}{at}" for size, many in names.items() for at in range(many))
    try:
        run(here.ssh(f"{_curl()} -X PUT {node}/{BUCKET}"))

        def turned(size: str, sends: bool) -> dict[str, Times]:
            return turns({way: _timed(here, size, names[size], sends, *to) for way, to in ways.items()}, ROUNDS)

        return {
            "upload": turned("large", True),
            "download": turned("large", False),
            "puts": turned("small", True),
            "gets": turned("small", False),
        }
    finally:
        run(here.ssh(f"{_curl()} -X DELETE {everything} {node}/{BUCKET}; rm -rf {FOLDER}"))


def _deploy(kind: str) -> None:
    """Gives the host this kind of edge; of the services that would compete with it none runs."""
    path = Path(f"inventory/host_vars/{NAME}.yml")
    own = yaml.safe_load(path.read_text())
    off = {name: {"enabled": False} for name in ("mlflow", "homepage", "hbbs", "hbbr")}
    path.write_text(yaml.safe_dump({**own, "services": off, "edge": {"kind": kind, "routes": ROUTES}}))
    run(["inv", "deploy", "--host", NAME, "--yes"])


def _pinned(container: str, core: str) -> str:
    """Shell that gives a container's programs this core, with the threads that they have and will have."""
    return f"for pid in $(docker top {container} -o pid | tail -n +2); do taskset -acp {core} $pid >/dev/null; done\n"


def _curl() -> str:
    return f'taskset -c {CLIENT} curl -q -sS --fail --noproxy "*" --aws-sigv4 aws:amz:us-east-1:s3 -K {FOLDER}/keys'


def _timed(here: Lab, size: str, many: int, sends: bool, url: str, reach: str) -> Callable[[], object]:
    """A contender that is timed on the host, so that SSH is not measured."""
    body = f" -T {FOLDER}/{size}" if sends else ""
    each = " ".join(f"-o /dev/null{body} {url}/{BUCKET}/{size}{at}" for at in range(many))

    def once() -> float:
        script = f"a=$(date +%s%N); {_curl()} {reach} {each} || exit 1; b=$(date +%s%N); echo $((b - a))\n"
        output = run(here.ssh("sh"), stdin=None, input=script)
        if not output.strip().isdigit():
            raise Failed(f"curl said {output[-200:]}")
        return int(output) / 1e9

    return once


def _rate(what: str, times: Times) -> str:
    if math.isnan(times.median):
        return "failed"
    if what in ("puts", "gets"):
        return f"{SMALL / times.median:.0f} a second"
    return f"{LARGE * MIB * 1.048576 / times.median:.0f} MB/s"


if __name__ == "__main__":
    main()
