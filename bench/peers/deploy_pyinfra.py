"""The lab host's state as a pyinfra deploy, as far as pyinfra's own operations can say it. $WANTED is made by bench/noop.py."""

import json
import os
from pathlib import Path

from pyinfra.operations import apt, docker, files, server, systemd

wanted = json.loads(Path(os.environ["WANTED"]).read_text())

apt.packages(name="packages", packages=wanted["packages"])
server.group(name="group", group=wanted["user"], system=True)
server.user(name="user", user=wanted["user"], group=wanted["user"], ensure_home=False, system=True)
for one in wanted["sysctl"]:
    server.sysctl(name=f"sysctl {one['key']}", key=one["key"], value=one["value"])
for one in wanted["directories"]:
    files.directory(name=one["path"], path=one["path"], user=one["owner"], group=one["group"], mode=one["mode"])
for one in wanted["files"]:
    files.put(
        name=one["path"],
        src=one["source"],
        dest=one["path"],
        user=one["owner"],
        group=one["group"],
        mode=one["mode"],
        create_remote_dir=False,
    )
for one in wanted["mounts"]:
    server.mount(name=f"mount {one['path']}", path=one["path"], device=one["device"], fs_type="xfs")
for unit in wanted["units"]:
    systemd.service(name=unit, service=unit, running=True, enabled=True)
for one in wanted["networks"]:
    docker.network(name=f"network {one}", network=one, present=True)
for one in wanted["containers"]:
    docker.container(name=f"container {one}", container=one, present=True)
