"""Damage, dead targets, bad luck and bad input around backups: refused or survived, each by name. One story, in this order."""

from __future__ import annotations

import dataclasses
import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.lab.backup_host import (
    DATABASES,
    ODD,
    STAGING,
    TARGETS,
    begin,
    changed,
    configured,
    journal,
    left,
    names,
    newest,
    over,
    paused,
    ran,
    sets,
    sql,
    texts,
    until,
)
from tests.lab.conftest import Clone
from worker.keys import Keys
from worker.manifest import Manifest

BUCKET = "backups-postgresql"
REFUSED, LOCKED, NOWHERE, NOT_EVERYWHERE = 3, 5, 20, 21
BROKEN = {
    "far": "[t.update(port=1) for t in d['targets'] if t['name'] == 'far']",
    "own": "[t.update(endpoints=['http://172.30.99.11:1']) for t in d['targets'] if t['name'] == 'own']",
    "disk": "[t.update(path='/not/there') for t in d['targets'] if t['name'] == 'disk']",
}


@dataclasses.dataclass
class Story:
    """Two sets of the same databases, and the bucket in which their objects lie."""

    there: Clone
    s3: Any
    first: str
    second: str

    def key(self, set: str, name: str) -> str:
        return f"lab/sets/{set}/{name}"

    def get(self, key: str) -> bytes:
        return bytes(self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def put(self, key: str, data: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=data)

    @property
    def keys(self) -> Keys:
        return Keys(self.there.secret("backup_identity"))

    @contextmanager
    def instead(self, key: str, data: bytes | None) -> Iterator[None]:
        """An object with other bytes, or none at all, for a while."""
        before = self.get(key)
        self.put(key, data) if data is not None else self.s3.delete_object(Bucket=BUCKET, Key=key)
        try:
            yield
        finally:
            self.put(key, before)

    @contextmanager
    def retold(self, **other: Any) -> Iterator[None]:
        """The first set's manifest with other words in it, signed as if we had written them."""
        key = self.key(self.first, "manifest.json")
        manifest = Manifest.parse(self.get(key), self.keys, self.first, "lab")
        with self.instead(key, dataclasses.replace(manifest, **other).signed(self.keys)):
            yield


@pytest.fixture(scope="module")
def story(kept: Clone) -> Iterator[Story]:
    """MinIO's own port is reached through SSH."""
    import boto3

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tunnel = subprocess.Popen([*kept.ssh(), "-N", "-L", f"127.0.0.1:{port}:172.30.99.12:9000"])
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=kept.secret("root_user"),
        aws_secret_access_key=kept.secret("root_password"),
        region_name="us-east-1",
    )
    kept.inv("backup")
    first = newest(kept)
    kept.inv("backup")
    texts(kept, "live")
    sql(kept, "CREATE TABLE since_the_set AS SELECT 1 AS one", ODD)
    texts(kept, "live", ODD)
    yield Story(kept, client, first, newest(kept))
    tunnel.terminate()
    tunnel.wait(30)


@pytest.fixture
def unharmed(story: Story) -> Iterator[Story]:
    """The live database is afterwards what it was, and nothing of a run is left."""
    yield story
    texts(story.there, "after", ODD)
    assert changed(story.there, "live", "after") == ""
    assert left(story.there) == ""
    assert names(story.there) == {"postgres", "template0", "template1", *DATABASES}


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at:][1:]


DAMAGE: dict[str, Callable[[bytes, bytes], bytes | None]] = {
    "first byte": lambda data, twin: flipped(data, 0),
    "middle byte": lambda data, twin: flipped(data, len(data) // 2),
    "last byte": lambda data, twin: flipped(data, len(data) - 1),
    "cut": lambda data, twin: data[:-1],
    "emptied": lambda data, twin: b"",
    "deleted": lambda data, twin: None,
    "another set's": lambda data, twin: twin,
}
DUMP = f"pg/{__import__('worker.manifest').manifest.word(ODD)}.tar.00000"


def cases(story: Story) -> Iterator[tuple[str, str]]:
    """Every damage to the manifest and to a dump, and one that no listing shows to every other object."""
    listed = story.s3.list_objects_v2(Bucket=BUCKET, Prefix=story.key(story.first, ""))["Contents"]
    stored = {one["Key"].removeprefix(story.key(story.first, "")) for one in listed}
    assert {"manifest.json", DUMP, "config/files.tar.00000", "pg/globals.sql.00000", "pg/roles.json.00000"} < stored
    for name in sorted(one for one in stored if not one.startswith("verify-")):
        for damage in DAMAGE if name in ("manifest.json", DUMP) else ("middle byte",):
            yield name, damage


def test_no_damaged_object_of_a_set_is_restored_from_or_passes_a_check(unharmed: Story) -> None:
    story, accepted = unharmed, []
    for name, damage in cases(story):
        key = story.key(story.first, name)
        with story.instead(key, DAMAGE[damage](story.get(key), story.get(story.key(story.second, name)))):
            restored = ran(story.there, do="restore", set=story.first, **{"from": "own"})
            checked = ran(story.there, do="verify", set=story.first, **{"from": "own"})
        if (restored["code"], checked["code"]) != (40, 30):
            accepted.append((name, damage, restored, checked))
    assert accepted == []
    assert ran(story.there, do="verify", set=story.first, **{"from": "own"})["code"] == 0


def test_inv_refuses_a_damaged_set_by_name_and_takes_it_from_another_target(unharmed: Story) -> None:
    story, key = unharmed, unharmed.key(unharmed.first, DUMP)
    with story.instead(key, flipped(story.get(key), 99)):
        screen = story.there.inv("restore", story.first, "--yes", code=REFUSED)
        assert f"{key} is damaged" in screen
        assert "--from" in screen
        assert "nothing was touched" in screen
        assert "is damaged" in story.there.inv("backup.verify", story.first, code=30)
        words = ("--database", ODD, "--as", "beside")
        story.there.inv("restore", story.first, "--from", "far", "--yes", *words)
    sql(story.there, "DROP DATABASE beside")


@pytest.mark.parametrize("target", TARGETS)
def test_a_set_is_restored_from_each_target(unharmed: Story, target: str) -> None:
    words = ("--database", ODD, "--as", "beside", "--from", target, "--yes")
    assert f"read from {target}" in unharmed.there.inv("restore", unharmed.first, *words)
    assert sql(unharmed.there, """SELECT count(*) FROM "Käfer 'x'" """, "beside") == "2000"
    sql(unharmed.there, "DROP DATABASE beside")


def test_one_dead_target_does_not_stop_the_others(unharmed: Story) -> None:
    with configured(unharmed.there, BROKEN["far"]):
        screen = unharmed.there.inv("backup", code=NOT_EVERYWHERE)
    assert "far" in screen
    assert "published on own, disk" in screen
    assert sets(unharmed.there)[newest(unharmed.there)] == {"own": "whole", "disk": "whole"}


def test_with_all_targets_dead_nothing_is_published(unharmed: Story) -> None:
    before = sets(unharmed.there)
    with configured(unharmed.there, "; ".join(BROKEN.values())):
        screen = unharmed.there.inv("backup", code=NOWHERE)
    assert all(f"{name}:" in screen for name in TARGETS)
    assert sets(unharmed.there) == before


def test_a_target_that_is_not_mounted_is_dead_and_its_folder_stays_empty(unharmed: Story) -> None:
    unharmed.there.on_host("mount --move /mnt/backup /srv")
    try:
        screen = unharmed.there.inv("backup", code=NOT_EVERYWHERE)
        assert "is it mounted" in screen or "same filesystem" in screen
        assert unharmed.there.on_host("ls -A /mnt/backup") == ""
    finally:
        unharmed.there.on_host("mount --move /srv /mnt/backup")


@pytest.mark.parametrize("do", ["backup", "restore"])
def test_without_room_to_stage_it_is_refused(unharmed: Story, do: str) -> None:
    unharmed.there.on_host(f"mount -t tmpfs -o size=128k,mode=0711 tmpfs {STAGING}")
    try:
        words = ("backup",) if do == "backup" else ("restore", unharmed.first, "--yes")
        screen = unharmed.there.inv(*words, code=REFUSED)
    finally:
        unharmed.there.on_host(f"umount {STAGING}")
    assert "no room" in screen
    assert STAGING in screen


def test_a_clock_behind_the_newest_set_is_refused(unharmed: Story) -> None:
    story, key = unharmed, unharmed.key(unharmed.first, "manifest.json")
    created = Manifest.parse(story.get(key), story.keys, story.first, "lab").created
    with story.retold(created=created + timedelta(days=1)):
        screen = story.there.inv("backup", code=REFUSED)
    assert "the clock is behind the newest set" in screen
    assert story.first in screen


def test_a_set_of_another_stack_is_refused_although_it_is_signed_with_our_key(unharmed: Story) -> None:
    with unharmed.retold(stack="other"):
        screen = unharmed.there.inv("restore", unharmed.first, "--from", "own", "--yes", code=REFUSED)
    assert "another stack" in screen
    assert "no target has the set" in unharmed.there.inv(
        "restore", unharmed.first, "--of-stack", "other", "--yes", code=REFUSED
    )


def test_without_the_right_identity_no_set_is_taken_for_ours(unharmed: Story, tmp_path: Path) -> None:
    made = subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    place = "/etc/stowage/backup/secrets/another"
    unharmed.there.on_host(f"umask 077; cat >{place} <<'END'\n{made}\nEND")
    try:
        with configured(unharmed.there, f"d['identity_file'] = '{place}'"):
            screen = unharmed.there.inv("restore", unharmed.first, "--yes", code=REFUSED)
    finally:
        unharmed.there.on_host(f"rm {place}")
    assert "not by the stack's identity" in screen
    assert made not in screen


def test_what_forbids_to_rename_a_database_is_refused_before_the_question(unharmed: Story) -> None:
    there = unharmed.there
    sql(there, "BEGIN; CREATE TABLE prepared (id int); PREPARE TRANSACTION 'forgotten'", ODD)
    try:
        screen = there.inv("restore", unharmed.first, "--database", ODD, "--yes", code=REFUSED)
        assert ran(there, do="restore", set=unharmed.first, databases=[ODD])["code"] == 40
    finally:
        sql(there, "ROLLBACK PREPARED 'forgotten'", ODD)
    assert "prepared transaction forgotten" in screen
    words = "CONNECTION 'dbname=no' PUBLICATION p WITH (connect = false, slot_name = NONE)"
    sql(there, f"CREATE SUBSCRIPTION follower {words}", ODD)
    try:
        screen = there.inv("restore", unharmed.first, "--database", ODD, "--yes", code=REFUSED)
    finally:
        sql(there, "DROP SUBSCRIPTION follower", ODD)
    assert "subscription follower" in screen


def test_a_local_file_is_restored_when_it_is_a_whole_dump_and_refused_otherwise(
    unharmed: Story, tmp_path: Path
) -> None:
    there, good, cut, none = unharmed.there, *(tmp_path / name for name in ("good.dump", "cut.dump", "no.dump"))
    made = [*there.ssh(), "docker exec postgres pg_dump -U postgres -Fc mlflow"]
    good.write_bytes(subprocess.run(made, capture_output=True, check=True).stdout)
    cut.write_bytes(good.read_bytes()[:-5000])
    none.write_text("-- PostgreSQL database dump\n")
    assert "is no dump" in there.inv("restore", str(none), "--database", ODD, "--yes", code=REFUSED)
    assert "needs the name" in there.inv("restore", str(good), "--yes", code=REFUSED)
    assert "end of file" in there.inv("restore", str(cut), "--database", ODD, "--yes", code=REFUSED)
    assert there.on_host(f"ls -A {STAGING}") == ""
    there.inv("restore", str(good), "--database", "mlflow", "--as", "beside", "--yes")
    assert sql(there, "SELECT count(*) FROM pgbench_accounts", "beside") == "200000"
    sql(there, "DROP DATABASE beside")


def test_a_bucket_that_expires_its_objects_is_refused(unharmed: Story) -> None:
    rule = {"ID": "tidy", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 30}}
    unharmed.s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [rule]})
    try:
        screen = unharmed.there.inv("backup", code=REFUSED)
    finally:
        unharmed.s3.delete_bucket_lifecycle(Bucket=BUCKET)
    assert "lifecycle rule tidy" in screen
    assert "days 30" in screen


def test_a_second_run_is_refused_and_so_is_a_deploy_and_the_first_is_not_disturbed(unharmed: Story) -> None:
    there = unharmed.there
    run = begin(there, do="backup", pause="dump")
    paused(there, run)
    before = journal(there, run)
    assert "inv backup.attach" in there.inv("backup", code=LOCKED)
    assert "under way" in there.inv("restore", "latest", "--database", ODD, "--yes", code=LOCKED)
    assert f"a test ({run})" in there.inv("deploy", "--yes", code=LOCKED)
    assert journal(there, run) == before
    there.inv("backup.stop", "--yes")
    assert over(there, run)["code"] == 130
    assert left(there) == ""


def test_a_deploy_under_way_holds_back_a_backup(unharmed: Story) -> None:
    there = unharmed.there
    holder = subprocess.Popen(
        [*there.ssh(), 'echo \'{"doing": "inv deploy of somebody"}\' >/run/stowage.lock; flock /run/stowage.lock cat'],
        stdin=subprocess.PIPE,
    )
    until(lambda: there.on_host("flock -n /run/stowage.lock true || echo held"), 30)
    try:
        screen = there.inv("backup", code=LOCKED)
    finally:
        holder.communicate()
    assert "inv deploy of somebody" in screen


@pytest.mark.parametrize(("do", "step"), [("backup", "dump"), ("restore", "swap")])
def test_a_host_that_is_rebooted_in_the_middle_has_lost_nothing(unharmed: Story, do: str, step: str) -> None:
    there = unharmed.there
    more = {"set": unharmed.first, "databases": [ODD]} if do == "restore" else {}
    run = begin(there, do=do, pause=step, **more)
    paused(there, run)
    there.inv("lab.reboot")
    until(lambda: "accepting" in there.on_host("docker exec postgres pg_isready", check=False), 120)
    until(lambda: sets(there), 60)
    there.inv("backup")
    assert left(there) == ""


def test_with_a_dead_node_of_the_stack_a_backup_works_and_says_so(unharmed: Story) -> None:
    unharmed.there.on_host("docker stop -t 5 minio1")
    try:
        screen = unharmed.there.inv("backup")
    finally:
        unharmed.there.on_host("docker start minio1")
    assert "172.30.99.11" in screen
    assert "published on own, far, disk" in screen


def test_the_timer_makes_a_set_without_anybody(unharmed: Story) -> None:
    before = set(sets(unharmed.there))
    assert unharmed.there.on_host("systemctl is-active stowage-backup.timer") == "active\n"
    unharmed.there.on_host("systemctl start stowage-backup.service")
    (made,) = set(sets(unharmed.there)) - before
    assert sets(unharmed.there)[made] == dict.fromkeys(TARGETS, "whole")
    assert "timer" in unharmed.there.on_host(f"cat /var/lib/stowage/backup/runs/{made}/request.json")


def test_no_secret_is_seen_while_backups_run(unharmed: Story) -> None:
    there = unharmed.there
    named = ("backup_identity", "backup_writer", "backup_pruner", "postgres_password", "root_password")
    words = [there.secret(one) for one in named] + there.secret("sftp_key").splitlines()[2:4]
    there.on_host("umask 077; cat >/root/words <<'END'\n" + "\n".join(words) + "\nEND\nrm -f /root/over")
    look = """while [ ! -e /root/over ]; do
cat /proc/[0-9]*/cmdline 2>/dev/null | grep -aoFf /root/words
docker ps -q --filter name=stowage-backup- | xargs -r docker inspect 2>/dev/null | grep -oFf /root/words
echo turn; done"""
    watcher = subprocess.Popen([*there.ssh(), "sh -s"], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert watcher.stdin
    watcher.stdin.write(look)
    watcher.stdin.close()
    screens = there.inv("backup") + there.inv("backup.verify", "latest", "--drill") + there.inv("backup.show", "latest")
    screens += there.inv("restore", "latest", "--database", ODD, "--as", "beside", "--yes") + there.inv("backup.attach")
    sql(there, "DROP DATABASE beside")
    there.on_host("touch /root/over")
    seen = (watcher.stdout.read() if watcher.stdout else "").split()
    assert watcher.wait(30) == 0
    assert seen.count("turn") > 10
    assert set(seen) == {"turn"}
    assert not [word for word in words if word in screens]
    readable = there.on_host(
        """find /etc /var/lib/stowage /var/log /run /usr/local /srv /tmp /mnt/backup /home -xdev -type f \\
  -perm -o+r -print0 | xargs -0 grep -alFf /root/words; grep -rlFf /root/words /var/lib/stowage /mnt/backup /home/operator
journalctl -q --no-pager | grep -oFf /root/words; rm /root/words""",
        check=False,
    )
    assert readable == ""


def test_after_all_of_it_every_set_is_still_whole(unharmed: Story) -> None:
    found = sets(unharmed.there)
    assert unharmed.first in found
    assert {state for one in found.values() for state in one.values()} == {"whole"}
    assert json.loads(unharmed.there.inv("backup.list", "--json").splitlines()[-1])["dead"] == {}
