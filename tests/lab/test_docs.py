"""The guide to writing a role, followed word for word, on a host of its own."""

from __future__ import annotations

import shutil

from tests.lab.conftest import CLONE, Clone
from tests.unit.test_docs import ROLE, copy_to, follow


def test_the_role_of_the_guide_works_on_a_real_host() -> None:
    # Always the same place, as for the other tests: what a crashed run left there is cleared away.
    there = Clone(CLONE.with_name("guide-clone"))
    if (there.root / "tasks.py").exists():
        there.inv("lab.down", code=None)
        shutil.rmtree(there.root)
    copy_to(there.root)
    follow(there.root, ROLE)
    there.inv("lab.up")
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
    finally:
        there.inv("lab.down", code=None)
