"""A backup, against the same by hand; and a restore's load phase, against `pg_restore -j`. On the host itself, without SSH."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

from checkout import Lab, host, lab
from measure import run, table, turns, verdict, write
from on_host import newest_set, timed, unit

GIB = float(os.environ.get("GIB", "5"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
DATABASE, SCRATCH = "stowage_bench", "stowage_bench_hand"
FOLDER = "/var/lib/stowage/staging/bench"
TABLES = 4

PSQL = "docker exec -i postgres psql -qAtX -v ON_ERROR_STOP=1 -U postgres"
# Rows of about 1 KB; random bytes, which no compression makes smaller, or text of which a sixth remains.
FILL = """CREATE EXTENSION pgcrypto;
CREATE FUNCTION fill(many int) RETURNS SETOF bytea LANGUAGE sql AS $$SELECT {row} FROM generate_series(1, many)$$;
"""
RANDOM = "gen_random_bytes(1000)"
TEXT = "convert_to(encode(gen_random_bytes(160), 'hex') || repeat('the same words in every row ', 25), 'UTF8')"
ROW, KIND = (TEXT, "text that compresses") if os.environ.get("ROWS") == "text" else (RANDOM, "random bytes")
TOOL = (
    "docker run --rm --pull never --network container:postgres --user {owner} -v {folder}:{folder}"
    " -v {folder}/.pgpass:/run/pgpass:ro -e PGPASSFILE=/run/pgpass -e PGHOST=127.0.0.1 -e PGUSER=postgres --entrypoint"
)


def main() -> None:
    here, settings = lab(), host().settings
    owner = f"{settings.data_user.uid}:{settings.data_user.uid}"
    tool = TOOL.format(owner=owner, folder=FOLDER)
    image = settings.images[settings.postgres.image].reference
    target = next(candidate for candidate in settings.backup.targets if candidate.kind == "stack")
    keys = f'user = "{settings.minio.root_user.reveal()}:{settings.minio.root_password.reveal()}"\n'
    node = f"http://{settings.minio.nodes[0].address}:9000/{target.bucket}"
    curl = f'curl -q -sS --fail --noproxy "*" --aws-sigv4 aws:amz:us-east-1:s3 -K {FOLDER}/keys'
    password = "$(cat /etc/stowage/postgres/secrets/password)"
    run(here.ssh(f"umask 077; rm -rf {FOLDER}; mkdir -p {FOLDER}; cat >{FOLDER}/keys"), stdin=None, input=keys)
    run(
        here.ssh(
            f'printf "*:*:*:*:%s\\n" "{password}" >{FOLDER}/.pgpass; chmod 600 {FOLDER}/.pgpass; chown -R {owner} {FOLDER}'
        )
    )
    _fill(here)
    jobs = settings.backup.jobs
    by_hand = f"""set -e
{tool} pg_dump {image} -Fd -j {jobs} -Z zstd:1 -f {FOLDER}/hand -d {DATABASE}
{tool} pg_restore {image} -f /dev/null {FOLDER}/hand
sha256sum {FOLDER}/hand/* >/dev/null
for file in {FOLDER}/hand/*; do {curl} -o /dev/null -T "$file" {node}/hand/"${{file##*/}}"; done
rm -rf {FOLDER}/hand
"""
    try:
        times = turns({"Stowage": _backup(here), "by hand": timed(here, by_hand)}, ROUNDS)
        loads = turns({"Stowage": _restore(here), "pg_restore": _load(here, tool, image, jobs)}, ROUNDS)
        wholes = turns(
            {"Stowage": _whole(here), "by hand": _whole_by_hand(here, tool, image, jobs, curl, node)}, ROUNDS
        )
        run(here.ssh(f"{PSQL} postgres -c 'DROP DATABASE {DATABASE} WITH (FORCE)'"))
        empty = turns({"Stowage": _backup(here)}, ROUNDS)
    finally:
        drop = "; ".join(
            f"{PSQL} postgres -c 'DROP DATABASE IF EXISTS {database} WITH (FORCE)'" for database in (DATABASE, SCRATCH)
        )
        run(here.ssh(f"{drop}; rm -rf {FOLDER}; true"))
    lines = [
        f"A database of {GIB:g} GiB of {KIND} in {TABLES} tables, to the stack's own bucket. By hand: `pg_dump -Fd -j {jobs}` to disk,",
        "`pg_restore -f /dev/null`, `sha256sum`, and curl to the same bucket; not encrypted, nothing counted, no manifest.",
        "",
        *table(times),
        "",
        verdict(
            "rate of a backup to the best by hand", times["by hand"].median / times["Stowage"].median, 0.9, most=False
        ),
        "",
        "### the load phase of a restore",
        "",
        "Both load a dump that has just been written to the disk, as one that was fetched is.",
        "",
        *table(loads),
        "",
        verdict(
            "rate of loading to pg_restore -j", loads["pg_restore"].median / loads["Stowage"].median, 1.0, most=False
        ),
        "",
        "### a whole restore, beside",
        "",
        "By hand: curl from the bucket, `createdb`, `pg_restore -j`. Ours decrypts, checks each byte, counts each table and compares.",
        "",
        *table(wholes),
        "",
        verdict("a whole restore to the same by hand", wholes["Stowage"].median / wholes["by hand"].median, 1.2),
        "",
        "### with nothing much to save",
        "",
        *table(empty),
        "",
        verdict("seconds that a backup costs at least", empty["Stowage"].median, 5.0),
    ]
    write("backup", "A backup and a restore", lines)


def _fill(here: Lab) -> None:
    rows = int(GIB * (1 << 30) / 1000 / TABLES)
    tables = "\n".join(
        f"CREATE TABLE t{number} (id serial PRIMARY KEY, data bytea); ALTER TABLE t{number} ALTER data SET STORAGE EXTERNAL;"
        f" INSERT INTO t{number} (data) SELECT * FROM fill({rows});"
        for number in range(TABLES)
    )
    run(
        here.ssh(
            f"{PSQL} postgres -c 'DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)' -c 'CREATE DATABASE {DATABASE}'"
        )
    )
    run(here.ssh(f"{PSQL} {DATABASE}"), stdin=None, input=FILL.format(row=ROW) + tables)


def _backup(here: Lab) -> Callable[[], object]:
    return timed(here, unit(json.dumps({"do": "backup", "only": ["postgres"], "accept_shrink": True})))


RESTORE = json.dumps({"do": "restore", "set": "SET", "databases": [DATABASE], "new_name": SCRATCH})


DROP = f"{PSQL} postgres -c 'DROP DATABASE {SCRATCH}'"


def _restore(here: Lab) -> Callable[[], object]:
    """Only the load phase, by the run's own journal."""
    newest = "ls -t /var/lib/stowage/backup/runs | head -n 1"

    def once() -> float:
        run(here.ssh("sh"), stdin=None, input=unit(_request(here)))
        journal = run(here.ssh(f"cat /var/lib/stowage/backup/runs/$({newest})/journal.jsonl"))
        loaded = next(json.loads(line)["text"] for line in journal.splitlines() if f"loaded {DATABASE} in" in line)
        return float(loaded.split(" in ")[1].split(" ")[0])

    return _dropping(here, once)


def _whole(here: Lab) -> Callable[[], object]:
    """All of a restore beside, from the request to the end of the unit."""
    return _dropping(here, lambda: timed(here, unit(_request(here)))())


def _request(here: Lab) -> str:
    """Of the newest set, which the last run left."""
    return RESTORE.replace("SET", newest_set(here))


def _load(here: Lab, tool: str, image: str, jobs: int) -> Callable[[], object]:
    """The same by hand: a dump that was just written, as a fetched one is, into a new database."""
    make = f"{_dumped(tool, image, jobs)}\nrm -rf {FOLDER}/load; cp -rp {FOLDER}/dump {FOLDER}/load\n{PSQL} postgres -c 'CREATE DATABASE {SCRATCH}'"
    load = timed(here, f"{tool} pg_restore {image} -j {jobs} -d {SCRATCH} {FOLDER}/load")
    return _dropping(here, load, make)


def _whole_by_hand(here: Lab, tool: str, image: str, jobs: int, curl: str, node: str) -> Callable[[], object]:
    """A dump that lies in the bucket, fetched and loaded."""
    put = f"""{_dumped(tool, image, jobs)}
for file in {FOLDER}/dump/*; do {curl} -o /dev/null -T "$file" {node}/dump/"${{file##*/}}"; done
rm -rf {FOLDER}/load; mkdir {FOLDER}/load; chown --reference={FOLDER} {FOLDER}/load"""
    load = timed(
        here,
        f"""set -e
for file in {FOLDER}/dump/*; do {curl} -o {FOLDER}/load/"${{file##*/}}" {node}/dump/"${{file##*/}}"; done
chown -R --reference={FOLDER} {FOLDER}/load
{PSQL} postgres -c 'CREATE DATABASE {SCRATCH}'
{tool} pg_restore {image} -j {jobs} -d {SCRATCH} {FOLDER}/load""",
    )
    return _dropping(here, load, put)


def _dumped(tool: str, image: str, jobs: int) -> str:
    return f"[ -d {FOLDER}/dump ] || {tool} pg_dump {image} -Fd -j {jobs} -Z zstd:1 -f {FOLDER}/dump -d {DATABASE}"


def _dropping(here: Lab, do: Callable[[], object], before: str = "true") -> Callable[[], object]:
    """Drops what was restored, whatever came of it."""

    def once() -> object:
        run(here.ssh("sh"), stdin=None, input=before)
        try:
            return do()
        finally:
            run(here.ssh(DROP))

    return once


if __name__ == "__main__":
    main()
