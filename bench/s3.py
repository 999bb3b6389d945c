"""S3 through nginx, against S3 straight to a node: the same client, curl on the host itself, the same objects."""

from __future__ import annotations

import os
from collections.abc import Callable

from checkout import Lab, host, lab
from measure import ROUNDS, Failed, Times, run, table, turns, verdict, write

MIB = int(os.environ.get("MIB", "256"))
SMALL = 50
BUCKET = "stowage-bench"
FOLDER = "/run/stowage-bench"

# curl reads these options on its stdin, so that the keys stand in no command.
CURL = 'curl -q -sS --fail --noproxy "*" --aws-sigv4 aws:amz:us-east-1:s3 -K {folder}/keys'


def main() -> None:
    here, settings = lab(), host().settings
    node = f"http://{settings.minio.nodes[0].address}:9000"
    port = next(row.port for row in settings.edge.routes if row.to == "minio-api")
    address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    inspect = f"docker inspect -f '{address}' nginx"
    edge = f"http://{run(here.ssh(inspect)).strip()}:{port}"
    published = f"http://127.0.0.1:{port}"
    keys = f'user = "{settings.minio.root_user.reveal()}:{settings.minio.root_password.reveal()}"\n'
    make = f"umask 077; mkdir -p {FOLDER}; cat >{FOLDER}/keys; head -c {MIB}M /dev/urandom >{FOLDER}/object; head -c 4096 /dev/urandom >{FOLDER}/small"
    run(here.ssh(make), stdin=None, input=keys)
    try:
        run(here.ssh(f"{_curl()} -X PUT {node}/{BUCKET}"))
        ways = {"straight to a node": node, "through nginx": edge, "through nginx's published port": published}
        up = turns(
            {
                name: _timed(here, f"-o /dev/null -T {FOLDER}/object {url}/{BUCKET}/object")
                for name, url in ways.items()
            },
            ROUNDS,
        )
        down = turns({name: _timed(here, f"-o /dev/null {url}/{BUCKET}/object") for name, url in ways.items()}, ROUNDS)
        small = turns({name: _timed(here, _many(f"{url}/{BUCKET}")) for name, url in ways.items()}, ROUNDS)
    finally:
        names = [f"{BUCKET}/object", *(f"{BUCKET}/small{number}" for number in range(SMALL)), BUCKET]
        run(here.ssh(f"{_curl()} -X DELETE {' '.join(f'{node}/{name}' for name in names)}; rm -rf {FOLDER}"))
    lines = [
        f"Rates are ratios of medians, the other way round than times. Objects of {MIB} MiB; {SMALL} objects of 4 KiB on one connection.",
        "",
    ]
    for what, contenders in (("upload", up), ("download", down), ("small uploads", small)):
        straight, nginx, out = contenders.values()
        lines += [f"### {what}", "", *table(contenders), "", *_rates(contenders, what)]
        lines += [verdict("rate through nginx", straight.median / nginx.median, 0.9, most=False)]
        lines += [
            f"- rate through the port that Docker publishes, from the host itself: {straight.median / out.median:.2f}",
            "",
        ]
    write("s3", "S3 through nginx", lines)


def _rates(contenders: dict[str, Times], what: str) -> list[str]:
    if what == "small uploads":
        return [f"- {name}: {SMALL / times.median:.0f} objects/s" for name, times in contenders.items()]
    return [f"- {name}: {MIB * 1.048576 / times.median:.0f} MB/s" for name, times in contenders.items()]


def _curl() -> str:
    return CURL.format(folder=FOLDER)


def _many(url: str) -> str:
    return " ".join(f"-o /dev/null -T {FOLDER}/small {url}/small{number}" for number in range(SMALL))


def _timed(here: Lab, arguments: str) -> Callable[[], object]:
    """A contender that is timed on the host, so that SSH is not measured."""

    def once() -> float:
        output = run(
            here.ssh("sh"),
            stdin=None,
            input=f"a=$(date +%s%N); {_curl()} {arguments} || exit 1; b=$(date +%s%N); echo $((b - a))\n",
        )
        if not output.strip().isdigit():
            raise Failed(f"curl said {output[-200:]}")
        return int(output) / 1e9

    return once


if __name__ == "__main__":
    main()
