"""The stack's MinIO and a second one on the lab host, for `bench/objects.py`: what is put there, and what each contender does."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from subprocess import SubprocessError
from typing import Any

from checkout import Lab, host
from measure import Failed, run
from on_host import newest_set, on_host, timed, unit

OBJECTS = int(os.environ.get("OBJECTS", "10000"))
MIB = int(os.environ.get("MIB", "1024"))
FOLDER = "/var/lib/stowage/bench-objects"
CONFIG = "/etc/stowage/backup/worker.json"
SECRETS, ROOT = "/etc/stowage/backup/secrets", "/etc/stowage/minio/secrets"
CODE = "/usr/local/lib/stowage/worker.pyz"
SERVER = "stowage-bench"
SMALL, LARGE, BACK, WARM = "bench-small", "bench-large", "bench-back", "bench-warm"
# Random bytes, which nothing makes smaller.
FILES = {
    SMALL: f"head -c {OBJECTS}0000 /dev/urandom | split -b 10000 -a 4 -d",
    LARGE: f"head -c {MIB}M /dev/urandom | split -b 64M",
    WARM: "head -c 20000 /dev/urandom | split -b 10000",
}
MC = f"MC_CONFIG_DIR={FOLDER}/mc-config {FOLDER}/mc"
RCLONE = f"rclone --config {FOLDER}/rclone.conf"
SEVERAL = "--transfers 16 --checkers 16"
RESTIC = f"restic -q --no-cache -p {FOLDER}/secret -o s3.connections=16"
MOUNT = f"{FOLDER}/mount"
INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends rclone restic fuse3"
REMOVES = f"""import json
from worker.buckets import client, listing
minio = client.connect(json.load(open({CONFIG!r})))
for name in listing.names(minio):
    if name.startswith("bench-"):
        minio.ask("DELETE", client.path(name), headers={{"x-minio-force-delete": "true"}})
"""
Contender = Callable[[], float]


@dataclass
class Servers:
    """Copies and sets each get a name that nothing has had. The first ones of the small objects are what the second runs have before them."""

    here: Lab
    settings: dict[str, Any]
    names: Iterator[str] = field(default_factory=lambda: (f"copy-{number}" for number in range(10_000)))
    base: str = ""
    """The stack whose first set has the small objects."""
    mirror: str = ""
    """The first copy of the small objects by `mc mirror`."""

    def saved(self, bucket: str) -> float:
        """A first backup of a bucket, of a stack that has no set yet."""
        stack = next(self.names)
        seconds = self._backup(bucket, stack)
        self.base = self.base or (stack if bucket == SMALL else "")
        return seconds

    def saved_again(self) -> float:
        return self._backup(SMALL, self._there(self.base))

    def restored(self) -> float:
        """The newest set of the small objects, into a bucket that is not there yet."""
        self._configured(SMALL, self._there(self.base))
        as_new = f"{BACK}-{next(self.names)}"
        request = {"do": "restore", "set": newest_set(self.here), "buckets": [SMALL], "new_name": as_new}
        return self._timed(unit(json.dumps(request)))

    def copied(self, bucket: str, script: str) -> float:
        """A copy to a bucket of its own on the second server; COPY in the script is its name."""
        copy = next(self.names)
        seconds = self._timed(script.replace("COPY", copy), f"{MC} mb -q dst/{copy}")
        if (bucket, script) == (SMALL, mirror(SMALL)):
            self.mirror = self.mirror or copy
        return seconds

    def mirrored_again(self) -> float:
        return self._timed(mirror(SMALL).replace("COPY", self._there(self.mirror)))

    def mirrored_back(self) -> float:
        back = f"{BACK}-{next(self.names)}"
        return self._timed(
            f"{MC} mirror -q dst/{self._there(self.mirror)} src/{back} >/dev/null", f"{MC} mb -q src/{back}"
        )

    def kept(self, bucket: str) -> float:
        """A first backup by restic, which reads files of `rclone mount`; it has read and kept all when it complains of attributes, with 3."""
        at = next(self.names)
        before = f"""export AWS_ACCESS_KEY_ID=bench AWS_SECRET_ACCESS_KEY=$(cat {FOLDER}/secret)
url=s3:$(cat {FOLDER}/url)/{at}
{RESTIC} -r $url init
mkdir -p {MOUNT}; umount -l {MOUNT} 2>/dev/null || :
{RCLONE} mount --read-only --daemon src:{bucket} {MOUNT}
echo "export AWS_ACCESS_KEY_ID=bench AWS_SECRET_ACCESS_KEY=$AWS_SECRET_ACCESS_KEY url=$url" >{FOLDER}/restic"""
        try:
            return self._timed(
                f". {FOLDER}/restic; {RESTIC} -r $url backup --read-concurrency 8 {MOUNT} || [ $? = 3 ]", before
            )
        finally:
            on_host(self.here, f"umount -l {MOUNT} || :")

    def read(self) -> int:
        """How many objects are read from the source while a backup with nothing new is made."""
        self._configured(SMALL, self._there(self.base))
        trace = f"""{MC} admin trace --json --call s3 src >{FOLDER}/trace & trace=$!
sleep 3
(
{unit(json.dumps({"do": "backup", "only": ["buckets"]}))}
) >&2
sleep 3; kill $trace; grep -c 's3.GetObject' {FOLDER}/trace || :"""
        return int(on_host(self.here, trace).split()[-1])

    def _there(self, name: str) -> str:
        if not name:
            raise Failed("the first run that this one needs has failed")
        return name

    def _backup(self, bucket: str, stack: str) -> float:
        self._configured(bucket, stack)
        return self._timed(unit(json.dumps({"do": "backup", "only": ["buckets"]})))

    def _configured(self, bucket: str, stack: str) -> None:
        """The worker saves this one bucket, to the second server, as this stack."""
        buckets = self.settings["buckets"] | {"names": [bucket], "prefixes": {}}
        configuration = self.settings | {"stack": stack, "buckets": buckets}
        run(self.here.ssh(f"umask 077; cat >{CONFIG}"), stdin=None, input=json.dumps(configuration))

    def _timed(self, script: str, before: str = "true") -> float:
        # What a contender before it has left in memory is on the disk when the next one begins.
        return float(str(timed(self.here, script, f"{before}\nsync")()))


def mirror(bucket: str) -> str:
    return f"{MC} mirror -q src/{bucket} dst/COPY >/dev/null"


@contextmanager
def servers(here: Lab) -> Iterator[Servers]:
    """Both servers, the sources, and the programs of the peers; whatever happens, all is taken away again, and the worker's configuration put back."""
    settings = host().settings
    user, password = settings.minio.root_user.reveal(), settings.minio.root_password.reveal()
    secret, image = secrets.token_hex(16), settings.images[settings.minio.image].reference
    source, worker = f"http://{settings.minio.nodes[0].address}:9000", settings.images[settings.backup.image].reference
    try:
        configuration = _started(here, source, user, password, secret, image, worker)
        for bucket, files in FILES.items():
            on_host(
                here,
                f"""set -e; mkdir -p {FOLDER}/files; cd {FOLDER}/files; {files} - o
{MC} mb -q src/{bucket}; {MC} mirror -q {FOLDER}/files src/{bucket} >/dev/null; rm -r {FOLDER}/files""",
            )
        yield Servers(here, configuration)
    finally:
        print("taking down what was started", file=sys.stderr)
        for step in _steps_down(worker):
            with suppress(Failed, OSError, SubprocessError):
                on_host(here, step)


def _started(here: Lab, source: str, user: str, password: str, secret: str, image: str, worker: str) -> dict[str, Any]:
    """Starts the second server; gives the worker's configuration with it as the only target."""
    for step in _steps_down(worker):  # of a run that was killed
        with suppress(Failed):
            on_host(here, step)
    run(here.ssh(f"umask 077; mkdir -p {FOLDER}/mc-config; cat >{FOLDER}/secret"), stdin=None, input=secret)
    on_host(
        here,
        f"""set -e; umask 077
docker cp -q minio1:/usr/bin/mc {FOLDER}/mc; [ -e /dev/fuse ] || mknod /dev/fuse c 10 229
command -v restic >/dev/null || {{ apt-get update -qq; {INSTALL}; }} >&2
docker run -d --name {SERVER} --network stowage --pull never -v {FOLDER}/target:/data -v {FOLDER}/secret:/run/secret:ro \\
  -e MINIO_CI_CD=on -e MINIO_ROOT_USER=bench -e MINIO_ROOT_PASSWORD_FILE=/run/secret {image} server --address :9000 /data
cp -p {CONFIG} {FOLDER}/worker.json; printf bench >{SECRETS}/bench-user; cp {FOLDER}/secret {SECRETS}/bench-secret""",
    )
    address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    target = "http://" + on_host(here, f"docker inspect -f '{address}' {SERVER}").strip() + ":9000"
    _known(here, {"src": (source, user, password), "dst": (target, "bench", secret)})
    files = {"access_key_file": f"{SECRETS}/bench-user", "secret_key_file": f"{SECRETS}/bench-secret"}
    on_host(
        here,
        f"""printf %s {target} >{FOLDER}/url
for try in $(seq 60); do {MC} mb -q --ignore-existing dst/sets && exit 0; sleep 0.5; done; exit 1""",
    )
    configuration = json.loads(on_host(here, f"cat {CONFIG}"))
    where = {"kind": "s3", "name": "bench", "endpoints": [target], "bucket": "sets", "prefix": "", **files}
    return dict(configuration | {"targets": [where], "single_copy": False})


def _steps_down(worker: str) -> Iterator[str]:
    """What ends and removes all of it, in steps, each of which is tried."""
    yield f"systemctl stop 'stowage-backup@*.service'; pkill -f {FOLDER}/; umount -l {MOUNT} 2>/dev/null || :"
    # While the configuration is the one of the sets: their restores are forgotten.
    yield f"[ ! -e {FOLDER}/worker.json ] || (\n{unit(json.dumps({'do': 'cleanup'}))}\n)"
    yield f"[ ! -e {FOLDER}/worker.json ] || cp -p {FOLDER}/worker.json {CONFIG}; rm -f {SECRETS}/bench-user {SECRETS}/bench-secret"
    # Whole buckets at once: mc deletes object by object, which takes minutes.
    yield f"""docker run -i --rm --network stowage --pull never -e PYTHONPATH=/worker.pyz -v {CODE}:/worker.pyz:ro \\
  -v {CONFIG}:{CONFIG}:ro -v {ROOT}:{ROOT}:ro {worker} python3 - <<'END'\n{REMOVES}END"""
    yield f"docker rm -f {SERVER} || :; rm -rf {FOLDER}"


def _known(here: Lab, known: dict[str, tuple[str, str, str]]) -> None:
    """Both servers to mc and to rclone; their keys stand in no command."""
    aliases = {
        name: {"url": url, "accessKey": user, "secretKey": secret, "api": "s3v4", "path": "auto"}
        for name, (url, user, secret) in known.items()
    }
    sections = "".join(
        f"[{name}]\ntype = s3\nprovider = Minio\nendpoint = {url}\naccess_key_id = {user}\nsecret_access_key = {secret}\n"
        for name, (url, user, secret) in known.items()
    )
    config = json.dumps({"version": "10", "aliases": aliases})
    run(here.ssh(f"umask 077; cat >{FOLDER}/mc-config/config.json"), stdin=None, input=config)
    run(here.ssh(f"umask 077; cat >{FOLDER}/rclone.conf"), stdin=None, input=sections)
