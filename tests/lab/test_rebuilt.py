"""The machine is dead, with all that was on it. What the recovery sheet says brings its databases back on a blank one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from tests.lab.backup_host import DATABASES, newest, sftp, texts
from tests.lab.conftest import Clone
from tests.lab.cut_hosts import Host, known

# Passwords of the inventory's users are salted anew by a deploy.
PLAIN = "cd /root/texts/{name}; sed -E \"s/(PASSWORD) '[^']*'/\\1/\" -- {file}"


@pytest.fixture
def vault(kept: Clone) -> Iterator[Host]:
    """Another machine, which takes sets by SFTP and outlives the first."""
    known(kept.root, "lab-vault")
    found = Host(kept.root, "lab-vault")
    found.inv("lab.down", code=None)
    found.inv("lab.up")
    yield found
    found.inv("lab.down")


def targets(kept: Clone, *more: dict[str, object]) -> None:
    """The stack's own bucket, and others."""
    file = kept.root / "inventory/group_vars/lab.yml"
    said = yaml.safe_load(file.read_text())
    said["backup"]["targets"] = [*said["backup"]["targets"][:1], *more]
    file.write_text(yaml.safe_dump(said))


def plain(kept: Clone, name: str) -> list[str]:
    texts(kept, name)
    return [kept.on_host(PLAIN.format(name=name, file=one)) for one in ("globals", *map(str, range(len(DATABASES))))]


def test_a_dead_machine_is_rebuilt_from_its_sheet(kept: Clone, vault: Host) -> None:
    targets(kept, sftp(kept, vault, "vault", vault.on_host("hostname -I").split()[0]))
    kept.inv("deploy", "--yes")
    kept.inv("backup")
    set_of_before, before = newest(kept), plain(kept, "before")
    sheet = kept.inv("backup.recovery-sheet")
    kept.inv("lab.down")

    kept.inv("lab.up")
    typed = [line.split("#")[0].split()[1:] for line in sheet.splitlines() if line.startswith("  inv ")]
    assert [words[0] for words in typed] == ["host.trust", "deploy", "backup.list", "restore"]
    for words in typed[1:]:  # the lab has trusted its new host itself
        screen = kept.inv(*words, *(["--yes"] if words[0] in ("deploy", "restore") else []))
        assert words[0] != "backup.list" or set_of_before in screen
    assert f"{set_of_before} of lab, made on lab" in screen
    assert "read from vault" in screen
    assert "nothing to do" in screen, "what the restore brought is what the inventory says"
    assert plain(kept, "after") == before
