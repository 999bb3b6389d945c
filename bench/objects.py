"""A backup of buckets, against `mc mirror`, rclone and restic, and the way back. All of it on the lab host, to a second MinIO."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from checkout import Lab, host, lab
from measure import Times, run, table, turns, verdict, write
from on_host import newest_set, on_host, timed, unit

ROUNDS = int(os.environ.get("ROUNDS", "3"))
OBJECTS = int(os.environ.get("OBJECTS", "10000"))
MIB = int(os.environ.get("MIB", "1024"))
FOLDER = "/var/lib/stowage/bench-objects"
CONFIG = "/etc/stowage/backup/worker.json"
SECRETS = "/etc/stowage/backup/secrets"
SERVER = "stowage-bench"
SMALL, LARGE = "bench-small", "bench-large"
# Random bytes, which nothing makes smaller.
FILES = {
    SMALL: f"head -c {OBJECTS}0000 /dev/urandom | split -b 10000 -a 4 -d",
    LARGE: f"head -c {MIB}M /dev/urandom | split -b 64M",
}
MC = f"MC_CONFIG_DIR={FOLDER}/mc-config {FOLDER}/mc"
RCLONE = f"rclone --config {FOLDER}/rclone.conf"
RESTIC = f"restic -q --no-cache -p {FOLDER}/secret -o s3.connections=16"
MOUNT = f"{FOLDER}/mount"
INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends rclone restic fuse3"


@dataclass
class Servers:
    """The stack's own MinIO, which is the source, and another one; copies and sets each get a name that nothing has had."""

    here: Lab
    settings: dict[str, Any]
    bucket: str = ""
    names: Iterator[str] = field(default_factory=lambda: (f"copy-{number}" for number in range(10_000)))

    def configured(self, stack: str) -> None:
        """The worker saves this one bucket, to the second server, as this stack."""
        configuration = self.settings | {
            "stack": stack,
            "buckets": self.settings["buckets"] | {"names": [self.bucket], "prefixes": {}},
        }
        run(self.here.ssh(f"umask 077; cat >{CONFIG}"), stdin=None, input=json.dumps(configuration))

    def saved(self, stack: str = "") -> float:
        """A backup; of a stack that has no set yet unless one is named."""
        self.configured(stack or next(self.names))
        return float(str(timed(self.here, unit(json.dumps({"do": "backup", "only": ["buckets"]})))()))

    def restored(self) -> float:
        asked = unit(json.dumps({"do": "restore", "set": newest_set(self.here), "buckets": [self.bucket]}))
        return float(str(timed(self.here, asked, self.emptied())()))

    def emptied(self) -> str:
        return f"{MC} rm -q -r --force src/{self.bucket} >/dev/null"

    def copied(self, script: str) -> Callable[[], object]:
        """A copy to a bucket of its own on the second server; COPY in the script is its name."""

        def once() -> object:
            copy = next(self.names)
            return timed(self.here, script.replace("COPY", copy), f"{MC} mb -q dst/{copy}")()

        return once

    def read(self) -> int:
        """How many objects are read from the source while a backup of the stack `base` is made."""
        trace = f"""{MC} admin trace --json --call s3 src >{FOLDER}/trace & trace=$!
sleep 3
(
{unit(json.dumps({"do": "backup", "only": ["buckets"]}))}
) >&2
sleep 3; kill $trace; grep -c 's3.GetObject' {FOLDER}/trace || :"""
        return int(on_host(self.here, trace).split()[-1])


def main() -> None:
    with _servers(lab()) as servers:
        first = {name: _first(servers, name) for name in (LARGE, SMALL)}
        servers.saved("base")
        on_host(servers.here, f"{MC} mb -q dst/mirror; {MC} mirror -q src/{SMALL} dst/mirror >/dev/null")
        mirror = timed(servers.here, f"{MC} mirror -q src/{SMALL} dst/mirror")
        second = turns({"Stowage": lambda: servers.saved("base"), "mc mirror": mirror}, ROUNDS)
        read = servers.read()
        back = timed(servers.here, f"{MC} mirror -q dst/mirror src/{SMALL}", servers.emptied())
        restored = turns({"Stowage": servers.restored, "mc mirror": back}, ROUNDS)
    write("objects", "A backup and a restore of buckets", _lines(first, second, read, restored))


def _first(servers: Servers, bucket: str) -> dict[str, Times]:
    """A bucket that nobody has copied before. What a contender does once for all buckets is not counted."""
    servers.bucket = bucket
    on_host(
        servers.here,
        f"""set -e; mkdir -p {FOLDER}/files; cd {FOLDER}/files; {FILES[bucket]} - o
{MC} mb -q src/{bucket}; {MC} mirror -q {FOLDER}/files src/{bucket} >/dev/null; rm -r {FOLDER}/files""",
    )
    several = "--transfers 16 --checkers 16"
    return turns(
        {
            "Stowage": servers.saved,
            "mc mirror": servers.copied(f"{MC} mirror -q src/{bucket} dst/COPY"),
            "rclone copy": servers.copied(f"{RCLONE} copy {several} src:{bucket} dst:COPY"),
            "restic, over a mount of rclone": _restic(servers, bucket),
        },
        ROUNDS,
    )


def _restic(servers: Servers, bucket: str) -> Callable[[], object]:
    def once() -> object:
        # The mount tells no extended attributes, of which restic complains with 3; it has read and kept every file.
        at = next(servers.names)
        before = f"""export AWS_ACCESS_KEY_ID=bench AWS_SECRET_ACCESS_KEY=$(cat {FOLDER}/secret)
url=s3:$(cat {FOLDER}/url)/{at}
{RESTIC} -r $url init
mkdir -p {MOUNT}; umount -l {MOUNT} 2>/dev/null || :
{RCLONE} mount --read-only --daemon src:{bucket} {MOUNT}
echo "export AWS_ACCESS_KEY_ID=bench AWS_SECRET_ACCESS_KEY=$AWS_SECRET_ACCESS_KEY url=$url" >{FOLDER}/restic"""
        script = f". {FOLDER}/restic; {RESTIC} -r $url backup --read-concurrency 8 {MOUNT} || [ $? = 3 ]"
        try:
            return timed(servers.here, script, before)()
        finally:
            on_host(servers.here, f"umount -l {MOUNT} || :")

    return once


@contextmanager
def _servers(here: Lab) -> Iterator[Servers]:
    """The second server, the programs of the peers, and the worker's configuration, which is put back."""
    settings = host().settings
    user, password = settings.minio.root_user.reveal(), settings.minio.root_password.reveal()
    secret, image = secrets.token_hex(16), settings.images[settings.minio.image].reference
    source = f"http://{settings.minio.nodes[0].address}:9000"
    run(
        here.ssh(f"umask 077; rm -rf {FOLDER}; mkdir -p {FOLDER}/mc-config; cat >{FOLDER}/secret"),
        stdin=None,
        input=secret,
    )
    on_host(
        here,
        f"""set -e; umask 077
docker cp -q minio1:/usr/bin/mc {FOLDER}/mc; [ -e /dev/fuse ] || mknod /dev/fuse c 10 229
command -v restic >/dev/null || {{ apt-get update -qq; {INSTALL}; }} >&2
docker rm -f {SERVER} >/dev/null 2>&1 || :
docker run -d --name {SERVER} --network stowage --pull never -v {FOLDER}/target:/data -v {FOLDER}/secret:/run/secret:ro \\
  -e MINIO_CI_CD=on -e MINIO_ROOT_USER=bench -e MINIO_ROOT_PASSWORD_FILE=/run/secret {image} server --address :9000 /data
cp -p {CONFIG} {FOLDER}/worker.json; printf bench >{SECRETS}/bench-user; cp {FOLDER}/secret {SECRETS}/bench-secret""",
    )
    address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    target = "http://" + on_host(here, f"docker inspect -f '{address}' {SERVER}").strip() + ":9000"
    _known(here, {"src": (source, user, password), "dst": (target, "bench", secret)})
    configuration = json.loads(on_host(here, f"cat {CONFIG}"))
    files = {"access_key_file": f"{SECRETS}/bench-user", "secret_key_file": f"{SECRETS}/bench-secret"}
    configuration["targets"] = [
        {"kind": "s3", "name": "bench", "endpoints": [target], "bucket": "sets", "prefix": "", **files}
    ]
    on_host(here, f"printf %s {target} >{FOLDER}/url; {MC} mb -q dst/sets")
    try:
        yield Servers(here, configuration | {"single_copy": False})
    finally:
        # While the configuration is the one of the sets: their restores are forgotten, then all of it.
        forget = unit(json.dumps({"do": "cleanup"}))
        buckets = " ".join(f"src/{bucket}" for bucket in (SMALL, LARGE))
        on_host(
            here,
            f"""({forget}) || :
cp -p {FOLDER}/worker.json {CONFIG}; rm -f {SECRETS}/bench-user {SECRETS}/bench-secret
{MC} rb -q --force {buckets}; docker rm -f {SERVER}; umount -l {MOUNT} 2>/dev/null; rm -rf {FOLDER}""",
        )


def _known(here: Lab, servers: dict[str, tuple[str, str, str]]) -> None:
    """Both servers to mc and to rclone; their keys stand in no command."""
    aliases = {
        name: {"url": url, "accessKey": user, "secretKey": secret, "api": "s3v4", "path": "auto"}
        for name, (url, user, secret) in servers.items()
    }
    sections = "".join(
        f"[{name}]\ntype = s3\nprovider = Minio\nendpoint = {url}\naccess_key_id = {user}\nsecret_access_key = {secret}\n"
        for name, (url, user, secret) in servers.items()
    )
    config = json.dumps({"version": "10", "aliases": aliases})
    run(here.ssh(f"umask 077; cat >{FOLDER}/mc-config/config.json"), stdin=None, input=config)
    run(here.ssh(f"umask 077; cat >{FOLDER}/rclone.conf"), stdin=None, input=sections)


def _lines(
    first: dict[str, dict[str, Times]], second: dict[str, Times], read: int, restored: dict[str, Times]
) -> list[str]:
    titles = {
        SMALL: f"{OBJECTS} objects of 10 KB, for the first time",
        LARGE: f"{MIB} MiB in objects of 64 MiB, for the first time",
    }
    lines = [
        "From the stack's MinIO of four nodes to a second MinIO on the same host, which is the same for all. Ours is a run of the worker from the",
        "start of its unit to its end, with a quarter of a container's weight of CPU: it encrypts, packs, and writes an index with versions, tags and",
        "locks. `mc mirror` and `rclone copy --transfers 16` copy what is current, in clear; restic encrypts, and reads files of `rclone mount`.",
    ]
    for bucket, by_tool in first.items():
        best = min(
            times.median for name, times in by_tool.items() if name != "Stowage" and times.median == times.median
        )
        ratio = verdict("rate to the best of them", best / by_tool["Stowage"].median, 0.9, most=False)
        lines += ["", f"### {titles[bucket]}", "", *table(by_tool), "", ratio]
    again = verdict("to `mc mirror` with nothing to do", second["Stowage"].median / second["mc mirror"].median, 3.0)
    back = verdict("rate to `mc mirror`", restored["mc mirror"].median / restored["Stowage"].median, 0.9, most=False)
    return [
        *lines,
        *("", f"### the {OBJECTS} once more, of which nothing has changed", "", *table(second), "", again),
        verdict("objects that were read meanwhile, by `mc admin trace`", read, 0),
        *("", f"### the {OBJECTS} back into the bucket, which was emptied", ""),
        "Ours decrypts, keeps a list of what it makes on the disk, and reads each object back.",
        *("", *table(restored), "", back),
    ]


if __name__ == "__main__":
    main()
