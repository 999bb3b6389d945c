"""The lab host's state as a pyinfra deploy, as far as pyinfra's own operations can say it. $WANTED is made by bench/noop.py."""

import json
import os
from pathlib import Path

from pyinfra.operations import apt, docker, files, server, systemd

wanted = json.loads(Path(os.environ["WANTED"]).read_text())

apt.packages(name="packages", packages=wanted["packages"])
server.group(name="group", group=wanted["user"], system=True)
server.user(name="user", user=wanted["user"], group=wanted["user"], ensure_home=False, system=True)
for setting in wanted["sysctl"]:
    server.sysctl(name=f"sysctl {setting['key']}", key=setting["key"], value=setting["value"])
for directory in wanted["directories"]:
    files.directory(
        name=directory["path"],
        path=directory["path"],
        user=directory["owner"],
        group=directory["group"],
        mode=directory["mode"],
    )
for source in wanted["files"]:
    files.put(
        name=source["path"],
        src=source["source"],
        dest=source["path"],
        user=source["owner"],
        group=source["group"],
        mode=source["mode"],
        create_remote_dir=False,
    )
for mount in wanted["mounts"]:
    server.mount(name=f"mount {mount['path']}", path=mount["path"], device=mount["device"], fs_type="xfs")
for unit in wanted["units"]:
    systemd.service(name=unit, service=unit, running=True, enabled=True)
for network in wanted["networks"]:
    docker.network(name=f"network {network}", network=network, present=True)
for name in wanted["containers"]:
    docker.container(name=f"container {name}", container=name, present=True)
