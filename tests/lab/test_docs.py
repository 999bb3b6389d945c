"""The guides to writing a role and a task, followed word for word, on a host of its own."""

from __future__ import annotations

import re
import shutil

from tests.lab.conftest import USUAL, Clone
from tests.lab.places import place
from tests.unit.test_docs import ROLE, TASK, copy_to, follow


def test_the_role_and_the_tasks_of_the_guides_work_on_a_real_host() -> None:
    there = Clone(place("guide-clone"))
    if (there.root / "tasks.py").exists():
        there.inv("lab.down", code=None)
        shutil.rmtree(there.root)
    copy_to(there.root)
    follow(there.root, ROLE, TASK)
    there.inv("lab.up", "--system", USUAL)
    try:
        assert "+ file:/etc/logrotate.d/stowage" in there.inv("logrotate", "--check", code=2)
        assert "changes made and read back" in there.inv("logrotate", "--yes")
        assert "nothing to do" in there.inv("logrotate", "--yes")
        there.on_host(
            "mkdir -p /var/log/backup; echo a line >/var/log/backup/a.log; logrotate -f /etc/logrotate.d/stowage"
        )
        assert there.on_host("ls /var/log/backup").split() == ["a.log.1.gz"]
        there.on_host("echo 'rotate 2' >>/etc/logrotate.d/stowage")
        assert "~ file:/etc/logrotate.d/stowage" in there.inv("logrotate", "--check", code=2)
        assert re.search(r"lab +up \d+ ", there.inv("own.uptime"))
        assert "lab  written" in there.inv("own.motd", "Maintenance at noon")
        assert there.on_host("cat /etc/motd") == "Maintenance at noon\n"
    finally:
        there.inv("lab.down", code=None)
