"""docs/restore-by-hand.md, followed literally with a set of a host: the restored databases are equal."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.lab.conftest import USUAL, Clone, alone, fresh
from tests.unit.test_restore_by_hand import steps, told_where

ROLES = ["base", "docker", "images", "postgres", "stack", "databases", "backup"]
SERVER = "by-hand"
RESCUE = "/srv/rescue"
# Differences of dumps of equal databases: a random key of pg_dump, and the partition of a row by the hash of an enum.
DUMP = r"grep -v -e '^\\restrict ' -e '^\\unrestrict ' -e '^\(red\|green\|blue\)$'"
DATA = r"""
CREATE ROLE reader LOGIN PASSWORD 'of the reader' CONNECTION LIMIT 3 VALID UNTIL '2099-01-01';
GRANT pg_read_all_stats TO reader WITH ADMIN OPTION;
ALTER ROLE reader SET work_mem = '7MB';
COMMENT ON DATABASE geo IS 'maps; it''s "ours"';
ALTER DATABASE geo CONNECTION LIMIT 40;
ALTER DATABASE mlflow SET statement_timeout = '1min';
ALTER ROLE geo IN DATABASE geo SET search_path = places, public, topology;
GRANT CONNECT ON DATABASE geo TO reader WITH GRANT OPTION;
\c geo
CREATE SCHEMA places AUTHORIZATION geo;
CREATE TABLE places."a town's; na.me" (id int GENERATED ALWAYS AS IDENTITY (START 7), at geometry(Point, 4326), more hstore);
INSERT INTO places."a town's; na.me" (at, more)
  SELECT ST_SetSRID(ST_Point(n % 180, n % 90), 4326), hstore('größe', n::text) FROM generate_series(1, 5000) n;
CREATE INDEX ON places."a town's; na.me" USING gist (at);
CREATE TABLE places.never (id serial, word text);
SELECT topology.CreateTopology('city', 4326) AS made, topology.AddTopoGeometryColumn('city', 'places', 'never', 'topo', 'POLYGON') AS layer \g /dev/null
CREATE TYPE places.colour AS ENUM ('red', 'green', 'blue');
CREATE TABLE places.hashed (c places.colour) PARTITION BY HASH (c);
CREATE TABLE places.hashed0 PARTITION OF places.hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE places.hashed1 PARTITION OF places.hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO places.hashed SELECT unnest(enum_range(NULL::places.colour));
CREATE TABLE places.made (what text);
CREATE FUNCTION places.note() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO places.made VALUES (tg_tag); END';
CREATE EVENT TRIGGER noted ON ddl_command_end EXECUTE FUNCTION places.note();
CREATE MATERIALIZED VIEW places.north AS SELECT count(*) FROM places."a town's; na.me" WHERE ST_Y(at) > 45;
CREATE MATERIALIZED VIEW places.empty AS SELECT 1 WITH NO DATA;
CREATE TABLE places.part (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE places.part1 PARTITION OF places.part FOR VALUES FROM (0) TO (100);
INSERT INTO places.part SELECT n, repeat('x', n) FROM generate_series(0, 99) n;
GRANT SELECT ON ALL TABLES IN SCHEMA places TO reader;
SELECT lo_from_bytea(0, decode(repeat('00ff5c', 100000), 'hex')) \g /dev/null
\c mlflow
SET ROLE mlflow;
CREATE TABLE runs (id bigserial PRIMARY KEY, note text);
INSERT INTO runs (note) SELECT md5(n::text) FROM generate_series(1, 20000) n;
"""


def prepare(root: Path) -> None:
    """A host with the lab's database server and backups to a separate filesystem."""
    inventory = root / "inventory"
    settings = yaml.safe_load((inventory / "group_vars/lab.yml").read_text())
    kept = {key: settings[key] for key in ("lab", "postgres", "database_users", "databases")}
    kept |= {"roles": ROLES, "images": {name: settings["images"][name] for name in ("postgres", "worker")}}
    kept["backup"] = {
        "identity": settings["backup"]["identity"],
        "targets": [{"name": "shelf", "kind": "path", "path": "/mnt/shelf"}],
    }
    (inventory / "group_vars/lab.yml").write_text(yaml.safe_dump(kept))
    alone(inventory)


@pytest.fixture(scope="module")
def there() -> Iterator[Clone]:
    clone = fresh("test-by-hand", system=USUAL)
    prepare(clone.root)
    clone.on_host("mkdir -p /mnt/shelf; mount -t tmpfs -o size=256M shelf /mnt/shelf")
    clone.inv("deploy", "--yes")
    clone.on_host(f"docker exec -i postgres psql -qX -v ON_ERROR_STOP=1 -U postgres <<'END'\n{DATA}END")
    yield clone
    clone.inv("lab.down", code=None)


@pytest.fixture(scope="module")
def id(there: Clone, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A set, fetched to this machine and copied to another folder, with the identity beside it."""
    there.inv("backup")
    folder = tmp_path_factory.mktemp("fetched")
    there.inv("backup.fetch", "latest", str(folder))
    (fetched,) = folder.iterdir()
    for name, data in (
        ("set.tar", fetched.read_bytes()),
        ("identity", (there.secret("backup_identity") + "\n").encode()),
    ):
        command = f"umask 077; mkdir -p {RESCUE}; cat >{RESCUE}/{name}"
        subprocess.run([*there.ssh(), command], input=data, check=True, timeout=300)
    there.on_host(f"tar -C {RESCUE} -xf {RESCUE}/set.tar")
    return fetched.stem


@pytest.fixture(scope="module")
def server(there: Clone, id: str) -> None:
    """A new server, and the programs that the document needs: on a bare host they are taken from images."""
    images = yaml.safe_load((there.root / "inventory/group_vars/lab.yml").read_text())["images"]
    postgres, worker = (images[name]["reference"] for name in ("postgres", "worker"))
    there.on_host(
        f"""set -e
docker run -d --name {SERVER} --user 999:999 -e POSTGRES_PASSWORD=x -v {RESCUE}:{RESCUE} {postgres} >/dev/null
mkdir -p {RESCUE}/bin; cd {RESCUE}/bin
exec="exec docker exec -u 0 -w \\"\\$PWD\\" -e PGUSER -e PGDATABASE -e PGCLIENTENCODING -e PGOPTIONS"
run="exec docker run --rm --network none -w \\"\\$PWD\\" -v {RESCUE}:{RESCUE} --entrypoint"
# Only what is fed gets its caller's input: another would take the rest of a loop away.
for name in pg_restore vacuumdb; do echo "$exec {SERVER} $name \\"\\$@\\"" >$name; done
echo "$exec -i {SERVER} psql \\"\\$@\\"" >psql
echo "$run age {worker} \\"\\$@\\"" >age
echo "$run python3 -i {worker} \\"\\$@\\"" >python3
sed -i '1i #!/bin/sh' *
chmod +x *
for try in $(seq 60); do ./psql -U postgres -c 'SELECT 1' >/dev/null 2>&1 && exit; sleep 1; done; exit 1"""
    )


def follow(there: Clone, id: str, *numbers: int) -> subprocess.CompletedProcess[str]:
    """Runs the blocks of these steps on the host, up to the first failure; only the name of the set is replaced."""
    where, *others = (
        block for name, block in steps().items() for number in (1, *numbers) if name.startswith(f"{number}. ")
    )
    script = [
        f"set -e; PATH={RESCUE}/bin:$PATH; export PGUSER=postgres\n",
        told_where(where, SET=f"{RESCUE}/{id}"),
        *others,
    ]
    return subprocess.run(
        [*there.ssh(), "sh -s"], input="".join(script), text=True, capture_output=True, check=False, timeout=600
    )


def dumped(there: Clone, container: str) -> dict[str, str]:
    """Every database as text with its properties, and the roles without the superuser, which belongs to the server."""
    asked = {name: f"pg_dump -C -U postgres {name}" for name in ("geo", "mlflow")}
    asked["roles"] = "pg_dumpall --globals-only -U postgres"
    texts = {name: there.on_host(f"docker exec {container} {what} | {DUMP}") for name, what in asked.items()}
    texts["roles"] = "".join(line for line in texts["roles"].splitlines(True) if "ROLE postgres" not in line)
    return texts


def test_a_fetched_set_is_what_lies_on_the_target(there: Clone, id: str) -> None:
    assert there.on_host(f"diff -r {RESCUE}/{id} /mnt/shelf/lab/sets/{id} && echo same") == "same\n"


def test_what_comes_back_is_what_was_there(there: Clone, id: str, server: None) -> None:
    done = follow(there, id, 2, 3, 4, 5)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("geo", "mlflow"):
        assert f"{name}: every count is that of the set" in done.stdout
    before, after = dumped(there, "postgres"), dumped(there, SERVER)
    for name in before:
        assert after[name] == before[name], name
    assert "größe" in after["geo"]
    assert "SCRAM-SHA-256$" in after["roles"]


def test_a_second_time_nothing_is_replaced(there: Clone, id: str, server: None) -> None:
    done = follow(there, id, 4)
    assert done.returncode != 0
    assert "already exists" in done.stderr


def test_a_row_that_is_missing_is_found(there: Clone, id: str, server: None) -> None:
    there.on_host(f"docker exec {SERVER} psql -qX -U postgres -d mlflow -c 'DELETE FROM runs WHERE id = 77'")
    done = follow(there, id, 5)
    assert done.returncode != 0
    assert "< rows public.runs 20000" in done.stdout
    assert "> rows public.runs 19999" in done.stdout


def test_the_configuration_comes_back_as_it_is_on_the_host(there: Clone, id: str, server: None) -> None:
    done = follow(there, id, 6)
    assert done.returncode == 0, done.stdout + done.stderr
    files = there.on_host(f"cd {RESCUE}/clear/configuration; find . -type f").split()
    assert "./etc/stowage/postgres/secrets/password" in files
    assert "./etc/stowage/backup/secrets/identity" not in files
    assert there.on_host(f"tar -C / -df {RESCUE}/clear/config/files.tar && echo same") == "same\n"
    there.on_host("chmod 0600 /etc/fstab; echo '# mine' >>/etc/fstab")
    assert "etc/fstab: Mode differs" in there.on_host(f"tar -C / -df {RESCUE}/clear/config/files.tar", check=False)
    there.on_host(f"tar -C / -xpf {RESCUE}/clear/config/files.tar etc/fstab")
    assert there.on_host(f"tar -C / -df {RESCUE}/clear/config/files.tar && echo same") == "same\n"
