"""Helpers of the cut tests: a clone with several lab hosts, a relay that can be cut, and the comparable state of a host."""

from __future__ import annotations

import json
import select
import shutil
import socket
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converge.shell import quote
from tests.lab import lines, warm
from tests.lab.conftest import COPIED_ANEW, HERE, Clone, storage_server
from tests.lab.places import place

Operator = subprocess.Popen[str] | warm.Started


@dataclass
class Host(Clone):
    """One of several lab hosts of a clone; its commands are for this host."""

    def inv(self, *arguments: str, code: int | None = 0, **more: Any) -> str:
        return super().inv(*arguments, "--host", self.host, code=code, **more)

    def hands(self, *calls: str) -> None:
        """Actions at the machine, such as power off: functions of lab.hosts, one after the other."""
        lines.hang_up(self.root, self.host)
        code = f"from lab import hosts\nfor call in {calls!r}: getattr(hosts, call)({self.host!r})"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=self.root, text=True, capture_output=True, timeout=900, check=False
        )
        assert done.returncode == 0, f"{calls}\n{done.stdout}{done.stderr}"

    def operator(self, **orders: Any) -> Operator:
        """A deploy to this host, see cutter.py."""
        request = json.dumps({"host": self.host, **orders})
        return warm.start(self.root, "tests.lab.cutter", [request]) or subprocess.Popen(
            [sys.executable, "-m", "tests.lab.cutter", request],
            cwd=self.root,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


def fresh_clone(*names: str) -> list[Host]:
    """A clone with these lab hosts in its inventory; none is up, and leftovers of an earlier run are removed."""
    folder = place("test-cuts")
    hosts = [Host(folder, name) for name in names]
    if (folder / "lab/hosts.py").exists():
        for host in hosts:
            host.inv("lab.down", code=None)
    for name in (folder_name for folder_name in COPIED_ANEW if folder_name != "inventory/secrets"):
        shutil.rmtree(folder / name, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=HERE, text=True, capture_output=True, check=True
    ).stdout
    for name in listed.splitlines():
        if (HERE / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(HERE / name, folder / name)
    storage_server(folder)
    known(folder, *names)
    # All hosts of a clone share the secrets of `lab`, so that their files are equal byte for byte.
    subprocess.run(
        [sys.executable, "-c", "from lab.records import secrets_of; secrets_of('lab')"], cwd=folder, check=True
    )
    return hosts


def known(root: Path, *names: str) -> None:
    """Lab hosts beside the one that a clone's inventory has."""
    hosts = root / "inventory/hosts.yml"
    lines = hosts.read_text().splitlines()
    at = next(
        number for number, line in enumerate(lines) if line.split("#")[0].strip() == "lab:" and line[12:14] == "la"
    )
    hosts.write_text("\n".join(lines[: at + 1] + [f"            {name}:" for name in names] + lines[at + 1 :]) + "\n")


class Relay:
    """A TCP relay to a port of this machine that can be cut like a cable.

    Not that of relay.py: here a cut is a reset, and every connection has met it when `cut` returns.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._ends: dict[socket.socket, socket.socket] = {}
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self._wake, self._woken = socket.socketpair()
        self._is_cut = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        """Resets all connections at both ends."""
        self._is_cut.clear()
        self._wake.send(b"x")
        assert self._is_cut.wait(10)

    def _serve(self) -> None:
        while True:
            readable, _, _ = select.select([self._door, self._woken, *self._ends], [], [])
            for source in readable:
                if source is self._woken:
                    self._woken.recv(100)
                    for end in self._ends:
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        end.close()
                    self._ends.clear()
                    self._is_cut.set()
                    break
                if source is self._door:
                    self._connect(self._door.accept()[0])
                elif source in self._ends:
                    self._pass_on(source)

    def _connect(self, near: socket.socket) -> None:
        far = socket.create_connection(("127.0.0.1", self._to))
        self._ends |= {near: far, far: near}
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _pass_on(self, sender: socket.socket) -> None:
        other = self._ends[sender]
        try:
            data = sender.recv(1 << 20)
            other.sendall(data)
        except OSError:
            data = b""
        if not data:
            for end in (sender, other):
                del self._ends[end]
                end.close()


# What a deploy makes of a host, in sections. Not the time, nor numbers that are drawn anew for each host; nor what was kept until a
# program took a new file up: after a cut it may stay, is older than the program's start, and so is never put back.
LIKENESS = r"""
section() { printf '\n== %s\n' "$1"; }
section files
find /etc/stowage /usr/local /var/lib/stowage /etc/docker /etc/fstab* /etc/updatedb.conf /etc/sysctl.d /etc/needrestart \
  /etc/systemd/system /etc/group /etc/gshadow /etc/passwd /etc/subuid -printf '%p %y %m %U:%G %l\n' |
  grep -v '^/var/lib/stowage/pending.* f ' | sort
section content
find /etc/stowage /usr/local /var/lib/stowage /etc/docker /etc/fstab* /etc/updatedb.conf /etc/sysctl.d /etc/needrestart \
  /etc/systemd/system/stowage* /etc/group /etc/passwd -type f ! -name audit.jsonl ! -name applied ! -path '/var/lib/stowage/pending*' |
  sort | while read -r file; do echo "$file $(sed "s/$(hostname)/HOST/g" "$file" | sha256sum)"; done
section applied
sed '/ iam:/d; s/ begun / /' /var/lib/stowage/applied | awk '{ print $1, $NF }' | sort
section drives
for n in 1 2 3 4; do
  findmnt -nro TARGET,LABEL,FSTYPE,OPTIONS --mountpoint /mnt/drive$n
  unshare -m sh -c "umount -l /mnt/drive$n; lsattr -d /mnt/drive$n; stat -c '%a %U:%G %n' /mnt/drive$n; ls -A /mnt/drive$n"
  find /mnt/drive$n -maxdepth 2 -printf '%p %y %m %U:%G\n' | sort
done
section docker
docker inspect -f '{{json .}}' $(docker ps -aq)
docker image ls -a --format '{{.Repository}}:{{.Tag}} {{.ID}}' | sort
docker network ls --format '{{.Name}} {{.Driver}}' | sort
# Not its gateway: Docker tells of it only after its next start.
docker network inspect -f '{{.Name}} {{range .IPAM.Config}}{{.Subnet}} {{end}}{{json .Options}} {{json .Labels}}' stowage
docker volume ls -q | wc -l
section units
for unit in chrony docker stowage@minio stowage@nginx; do
  printf '%s %s %s\n' $unit "$(systemctl is-enabled $unit)" "$(systemctl is-active $unit)"
done
systemctl --failed --plain --no-legend | cat
ls /run/systemd/transient | grep stowage || :
section system
dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\n' | sort
dpkg --audit
sysctl net.core.somaxconn
getent passwd stowage; getent group stowage
section leftovers
find / -xdev \( -name '*stowage-??????*' -o -name 'compose-??????.yaml' -o -name '*.intent*' -o -name 'fstab.*' \) \
  ! -path '/proc/*' ! -path '/var/lib/docker/*' 2>/dev/null | sort
"""


def likeness(host: Host) -> dict[str, list[str]]:
    """The state of a host after a deploy: lines by section, equal for two hosts with equal settings."""
    heal(host)
    sections = host.on_host(LIKENESS).split("\n== ")[1:]
    by_section = {name: lines for name, *lines in (part.strip().splitlines() for part in sections)}
    by_section["docker"] = sorted(
        line if line[0] != "{" else container(json.loads(line)) for line in by_section["docker"]
    )
    by_section["buckets"] = buckets(host)
    return by_section


def heal(host: Host) -> None:
    """Have the folder of every bucket on every drive.

    A bucket that is made while a node does not find its drive yet, as after a boot, is on the others. MinIO makes the rest
    itself, at the next start of a node or within 15 minutes (cmd/bucket-metadata-sys.go); here it is asked to do so now.
    """
    there = Clone(host.root)
    who = quote(f"{there.secret('root_user')}:{there.secret('root_password')}")
    host.on_host(f"""
cd /mnt; tries=60
buckets() {{ for n in 1 2 3 4; do ls "drive$n/drive$n"; done | sort | uniq -c | awk '$1 != 4 {{ print $2 }}'; }}
while missed=$(buckets); [ -n "$missed" ] && [ $((tries -= 1)) -gt 0 ]; do
  for one in $missed; do
    curl -qsS --aws-sigv4 aws:amz:us-east-1:s3 -u {who} -d '{{"recreate":true}}' "http://172.30.99.11:9000/minio/admin/v3/heal/$one"
  done >&2
  sleep 1
done""")


def container(inspected: dict[str, Any]) -> str:
    """A container's properties, with sorted lists, as compose changes the order of some."""
    config, machine = inspected["Config"], inspected["HostConfig"]
    kept = {
        "image": inspected["Image"],
        "status": inspected["State"]["Status"],
        "addresses": {name: network["IPAddress"] for name, network in inspected["NetworkSettings"]["Networks"].items()},
        "mounts": sorted(f"{mount['Source']} {mount['Destination']} {mount['RW']}" for mount in inspected["Mounts"]),
        **{key: config.get(key) for key in ("User", "Cmd", "Entrypoint", "Healthcheck", "StopTimeout", "StopSignal")},
        "env": sorted(config["Env"]),
        "hash": config["Labels"].get("org.stowage.hash"),
        **{key: machine[key] for key in ("LogConfig", "RestartPolicy", "PortBindings", "CapAdd", "CapDrop")},
        **{key: machine[key] for key in ("Privileged", "ReadonlyRootfs", "SecurityOpt", "Tmpfs")},
    }
    return f"{inspected['Name']} {json.dumps(kept, sort_keys=True)}"


def buckets(host: Host) -> list[str]:
    """Every bucket of the cluster with its settings, from an S3 client."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ClientError

    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{host.port(9000)}",
        aws_access_key_id=Clone(host.root).secret("root_user"),
        aws_secret_access_key=Clone(host.root).secret("root_password"),
        region_name="us-east-1",
        # A freshly booted host is not ready for a while: asked again, like a client does.
        config=Config(s3={"addressing_style": "path"}, retries={"mode": "standard", "total_max_attempts": 12}),
    )
    rows = []
    for name in (bucket["Name"] for bucket in client.list_buckets()["Buckets"]):
        try:
            lifecycle = client.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
        except ClientError as error:
            lifecycle = error.response["Error"]["Code"]
        versioning = client.get_bucket_versioning(Bucket=name).get("Status")
        rows.append(f"{name} {versioning} {json.dumps(lifecycle, sort_keys=True)}")
    return rows
