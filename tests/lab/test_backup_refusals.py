"""Bad input and bad luck with backups: each refused or survived, with a clear error. The tests depend on their order."""

from __future__ import annotations

import json
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from tests.lab.backup_host import (
    ODD,
    STAGING,
    TARGETS,
    begin,
    configured,
    journal,
    left,
    look,
    newest,
    over,
    paused,
    ran,
    sets,
    sql,
    until,
)
from tests.lab.backup_sets import BUCKET, Story
from worker.manifest import Manifest

REFUSED, LOCKED, NOT_EVERYWHERE = 3, 5, 21


@pytest.mark.parametrize("do", ["backup", "restore"])
def test_without_room_to_stage_it_is_refused(unharmed: Story, do: str) -> None:
    unharmed.there.on_host(f"mount -t tmpfs -o size=128k,mode=0711 tmpfs {STAGING}")
    try:
        arguments = ("backup",) if do == "backup" else ("restore", unharmed.first, "--yes")
        screen = unharmed.there.inv(*arguments, code=REFUSED)
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
            assert "are of another identity" in unharmed.there.inv("backup", code=REFUSED)
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
    options = "CONNECTION 'dbname=no' PUBLICATION p WITH (connect = false, slot_name = NONE)"
    sql(there, f"CREATE SUBSCRIPTION follower {options}", ODD)
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
    assert "is plain SQL of pg_dump" in there.inv("restore", str(none), "--database", ODD, "--yes", code=REFUSED)
    assert "needs the name" in there.inv("restore", str(good), "--yes", code=REFUSED)
    # The dump is of another database, and has none of the rows of this one.
    assert "the dump has no rows of" in there.inv("restore", str(good), "--database", ODD, "--yes", code=REFUSED)
    assert "end of file" in there.inv("restore", str(cut), "--database", "mlflow", "--yes", code=REFUSED)
    assert there.on_host(f"ls -A {STAGING}") == ""
    there.inv("restore", str(good), "--database", "mlflow", "--as", "beside", "--yes")
    assert sql(there, "SELECT count(*) FROM pgbench_accounts", "beside") == "100000"
    sql(there, "DROP DATABASE beside")


def test_a_bucket_that_expires_its_objects_gets_no_set(unharmed: Story) -> None:
    rule = {"ID": "tidy", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 30}}
    unharmed.s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [rule]})
    try:
        screen = unharmed.there.inv("backup", code=NOT_EVERYWHERE)
    finally:
        unharmed.s3.delete_bucket_lifecycle(Bucket=BUCKET)
    assert "lifecycle rule tidy" in screen
    assert "days 30" in screen
    assert "published on far, disk" in screen
    assert "own" not in sets(unharmed.there)[newest(unharmed.there)]


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
    until(lambda: there.on_host("flock -n /run/stowage.lock true || echo held"), 120)
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
    end = journal(there, run)[-1]
    assert (end["code"], "cut" in end) == (130, False), "it was stopped before what it needs was, and ended by itself"
    until(lambda: "accepting" in there.on_host("docker exec postgres pg_isready -U postgres", check=False), 300)
    writable = "curl -fsS -m 5 http://172.30.99.11:9000/minio/health/cluster && echo yes"
    until(lambda: "yes" in there.on_host(writable, check=False), 300, "a cluster that can be written to")
    until(lambda: sets(there), 300)
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


def test_the_timer_makes_a_set_and_restores_it_in_a_drill_without_anybody(unharmed: Story) -> None:
    before = set(sets(unharmed.there))
    assert unharmed.there.on_host("systemctl is-active stowage-backup.timer") == "active\n"
    unharmed.there.on_host("systemctl start stowage-backup.service")
    (made,) = set(sets(unharmed.there)) - before
    assert sets(unharmed.there)[made] == dict.fromkeys(TARGETS, "whole")
    assert "timer" in unharmed.there.on_host(f"cat /var/lib/stowage/backup/runs/{made}/request.json")
    (checks,) = (set_["checks"] for set_ in look(unharmed.there, ask="list")["sets"] if set_["id"] == made)
    assert {name: (check["passed"], check["drill"]) for name, check in checks.items()} == dict.fromkeys(
        TARGETS, (True, True)
    )
    assert f"the last drill, of {made}, passed" in unharmed.there.inv("status", code=None)


def test_no_secret_is_seen_while_backups_run(unharmed: Story) -> None:
    there = unharmed.there
    named = ("backup_identity", "backup_writer", "backup_pruner", "postgres_password", "root_password")
    secrets = [there.secret(name) for name in named] + there.secret("sftp_key").splitlines()[2:4]
    there.on_host("umask 077; cat >/root/words <<'END'\n" + "\n".join(secrets) + "\nEND\nrm -f /root/over")
    look = """while [ ! -e /root/over ]; do
cat /proc/[0-9]*/cmdline 2>/dev/null | grep -aoFf /root/words
docker ps -q --filter name=stowage-backup- | xargs -r docker inspect 2>/dev/null | grep -oFf /root/words
echo turn; sleep 0.1; done"""
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
    assert not [secret for secret in secrets if secret in screens]
    readable = there.on_host(
        """find /etc /var/lib/stowage /var/log /run /usr/local /srv /tmp /mnt/backup /home -xdev -type f \\
  -perm -o+r -print0 | xargs -0 grep -alFf /root/words; grep -rlFf /root/words /var/lib/stowage /mnt/backup /home/operator
journalctl -q --no-pager | grep -oFf /root/words; rm /root/words""",
        check=False,
    )
    assert readable == ""


def test_after_all_of_it_no_set_is_damaged_and_no_target_is_lost(unharmed: Story) -> None:
    """Leftovers of interrupted runs are listed as unfinished, and removed when they are too old to be in the making."""
    listed = sets(unharmed.there)
    assert {listed[unharmed.first][name] for name in ("own", "far")} == {"whole"}
    assert {state for states in listed.values() for state in states.values()} <= {"whole", "unfinished"}
    assert json.loads(unharmed.there.inv("backup.list", "--json").splitlines()[-1])["dead"] == {}
