"""The drill: restores a set from a target and compares it: every row of databases in a throwaway server, every file of
folders in the staging directory, every version of buckets in a throwaway MinIO."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace

from worker import containers, fetching, folders, listing, plan, postgres, roles, sets
from worker.buckets import drill as buckets
from worker.comparison import Difference, compared, describe
from worker.contract import FAILED, REFUSED, VERIFY_FAILED, Request
from worker.errors import Failed
from worker.job import Job
from worker.loading import load
from worker.packing import Folder
from worker.quoting import connection
from worker.room import Need, must_be_there
from worker.toolbox import Toolbox
from worker.ways_out import command, ways_out

PATIENCE = 120


def must_have_room(job: Job, manifest: sets.Manifest) -> None:
    """Fails without room for the throwaway server beside the dumps: a full disk would not be a fault of the set."""
    names, place = plan.all_of(manifest) if manifest.databases else [], job.staging
    refusal = Failed(
        REFUSED, "there is no room for the drill", hint="set backup.staging to a directory on a larger filesystem"
    )
    dumps = Need(place, fetching.dump_bytes(manifest, names), "the dumps of the set")
    largest = max((folder["bytes"] for folder in manifest.folders.values()), default=0)
    must_be_there([dumps, Need(place, fetching.loaded_bytes(manifest, names), "the databases")], refusal)
    must_be_there([Need(place, largest, "the largest folder of a service")], refusal)


def run(job: Job, manifest: sets.Manifest, source: str) -> None:
    """Drills every component of the set, one after the other."""
    if manifest.databases:
        _databases(job, manifest, source)
    for name, row in manifest.folders.items():
        _folder(job, manifest, source, Folder(row["service"], row["inside"], row["here"]))
        job.journal.say(f"{name}: every file is there, as it was")
    if manifest.buckets:
        buckets.run(job, manifest, source)


def _folder(job: Job, manifest: sets.Manifest, source: str, folder: Folder) -> None:
    """A folder of a service, unpacked in the staging directory and compared with its list."""
    place = job.staging / "folder"
    place.mkdir(mode=0o700)
    try:
        folders.unpack(job, manifest, source, folder, place)
        if wrong := listing.differences(folders.listed(job, manifest, source, folder), listing.of_folder(place)):
            raise Failed(VERIFY_FAILED, f"{folder.name} would not be what the set says", describe(wrong), "inv backup")
    except Failed as error:
        raise error.coded(VERIFY_FAILED) from None
    finally:
        job.clear()


def _databases(job: Job, manifest: sets.Manifest, source: str) -> None:
    """All databases: loaded, every count compared, every index checked against its table."""
    names = plan.all_of(manifest)
    fetching.fetch(job, manifest, source, names)
    settings = job.postgres
    called = f"stowage-backup-{job.run}-server"
    password = job.staging / ".drill"
    password.touch(mode=0o600)
    password.write_text(secrets.token_hex(16))
    access = job.staging / ".hba"
    access.write_text("local all all trust\nhost all all all scram-sha-256\n")
    data = job.staging / "data"
    data.mkdir(mode=0o700)
    job.hand_over(password, access, data)
    # Its network has no outside access; its files are in the staging directory and are removed with it.
    network = f"stowage-backup-{job.run}"
    containers.must("network", "create", "--internal", "--label", f"{containers.LABEL}={job.run}", network)
    try:
        containers.must(
            *("run", "-d", "--name", called, "--label", f"{containers.LABEL}={job.run}", "--network", network),
            *("--user", job.config["owner"], "--read-only", "--tmpfs", "/tmp", "--tmpfs", "/run/postgresql"),
            *("--memory", str(job.config["memory"]), "--cpu-shares", "256", "--cap-drop", "ALL", "--pull", "never"),
            *(
                "-v",
                f"{data}:/var/lib/postgresql/data",
                "-v",
                f"{password}:/run/password:ro",
                "-v",
                f"{access}:/run/hba:ro",
            ),
            *("-e", "PGDATA=/var/lib/postgresql/data", "-e", f"POSTGRES_USER={settings['user']}"),
            *("-e", "POSTGRES_PASSWORD_FILE=/run/password", "-e", "POSTGRES_DB=postgres", settings["image"]),
            *("postgres", "-c", "listen_addresses=*", "-c", "hba_file=/run/hba"),
        )
        containers.must("network", "connect", network, f"stowage-backup-{job.run}")
        address = containers.docker(
            "inspect", "-f", f'{{{{(index .NetworkSettings.Networks "{network}").IPAddress}}}}', called
        )
        server = replace(job.server, address=address, password_file=str(password))
        session = _connected(server)
        roles.merge(session, fetching.roles(job, manifest, source))
        known = job.passwords(password.read_text())
        tools = replace(job.tools(VERIFY_FAILED), container=called, password_file=known, box=Toolbox(job.box.programs))
        lost = {}
        for number, name in enumerate(names):
            try:
                loaded = load(job, session, manifest, name, name, number, tools, tablespaces=False)
                loaded.gathered()
                lost[name] = loaded.lost
            except Failed as error:
                error.hint = ways_out(manifest.id, Request(), names, [name], error.why)
                raise
        _must_be_the_set(server, manifest, lost)
        for name in names:
            with server.connect(name) as inside:
                # In a separate schema: the search_path of a database may have no valid schema.
                inside.execute("CREATE SCHEMA stowage_drill")
                inside.execute("CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA stowage_drill")
            tools.call("amcheck", "pg_amcheck", "--heapallindexed", connection(name))
            job.journal.say(f"{name}: every row is there, every index agrees with its table")
        session.close()
    finally:
        containers.remove(job.run)
        containers.docker("network", "disconnect", "-f", network, f"stowage-backup-{job.run}")
        containers.docker("network", "rm", network)
        job.clear()


def _must_be_the_set(server: postgres.Server, manifest: sets.Manifest, lost: dict[str, list[Difference]]) -> None:
    """Compares all databases before it fails, so that the error names every difference."""
    wrong = dict[str, list[Difference]]()
    for name in lost:
        with server.connect(name) as inside:
            differing = compared(inside, manifest.databases[name]["contents"])
        if lost[name] or differing:
            wrong[name] = lost[name] + differing
    if wrong:
        why = "\n".join(describe(rows) for rows in wrong.values())
        same = command(manifest.id, Request())
        hint = f"{same}, and as that will fail for the same reason, {same} --accept-differences"
        hint += "\n" + ways_out(manifest.id, Request(), lost, wrong, why)
        raise Failed(VERIFY_FAILED, f"{', '.join(wrong)} would not be what the set says", why, hint)


def _connected(server: postgres.Server) -> postgres.Connection:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return server.connect()
        except Failed as error:
            if time.monotonic() > until:
                raise Failed(FAILED, "the throwaway server does not start", error.why) from None
            time.sleep(1)
