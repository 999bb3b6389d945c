"""PostgreSQL on a real host: deploy, drift, repair and guards. The tests depend on their order."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

import pytest
import yaml

from tests.lab.conftest import Clone, alone, fresh

ROLES = ["base", "drives", "docker", "images", "postgres", "stack", "databases"]
SEED = ("hstore", "pgrouting", "postgis", "postgis_raster", "postgis_topology")


@pytest.fixture(scope="module")
def there() -> Iterator[Clone]:
    """A separate host with only the lab's database server."""
    clone = fresh("test-postgres")
    inventory = clone.root / "inventory"
    settings = yaml.safe_load((inventory / "group_vars/lab.yml").read_text())
    kept = {key: settings[key] for key in ("lab", "base", "postgres", "database_users", "databases")}
    kept |= {"roles": ROLES, "images": {"postgres": settings["images"]["postgres"]}}
    (inventory / "group_vars/lab.yml").write_text(yaml.safe_dump(kept))
    alone(inventory)
    yield clone
    clone.inv("lab.down", code=None)


def query(there: Clone, user: str, password: str, statement: str, database: str = "geo") -> str:
    """The answer to a client of the private network with a password; the error if it is refused."""
    script = f"""docker exec -i postgres sh -c 'IFS= read -r PGPASSWORD; export PGPASSWORD
psql -qAtX -h 172.30.99.20 -U {user} -d {database}' 2>&1 <<'END'
{password}
{statement}
END"""
    return there.on_host(script, check=False).strip()


def as_root(there: Clone, *statements: str, database: str = "postgres") -> str:
    text = "\n".join(f"{statement};" for statement in statements)
    return there.on_host(f"docker exec -i postgres psql -qAtX -U postgres -d {database} <<'END'\n{text}\nEND").strip()


def started(there: Clone) -> str:
    return there.on_host("docker inspect -f '{{.State.StartedAt}} {{.Id}}' postgres")


def test_a_check_of_a_bare_host_shows_the_whole_plan(there: Clone) -> None:
    screen = there.inv("check", code=2)
    for address in (
        "pg-image:stowage-lab/postgres:17-3.5",
        "project:postgres",
        "pg-answers:postgres",
        "unit:stowage@postgres.service",
    ):
        assert f"+ {address}" in screen
    for address in ("pg-user:mlflow", "pg-database:geo", *(f"pg-extension:geo/{name}" for name in SEED)):
        assert f"+ {address}" in screen
    assert "refused" not in screen
    assert "unknown" not in screen


def test_a_deploy_brings_the_bare_host_to_a_server_with_all_that_the_seed_names(there: Clone) -> None:
    assert "changes made and read back" in there.inv("deploy", "--yes")
    geo = there.secret("postgres_geo")
    assert set(SEED) <= set(query(there, "geo", geo, "SELECT extname FROM pg_extension").split())
    assert query(there, "geo", geo, "SELECT ST_AsText(ST_Point(1, 2))") == "POINT(1 2)"
    made = query(there, "geo", geo, "CREATE TABLE kept (id int); INSERT INTO kept VALUES (42); SELECT * FROM kept")
    assert made == "42"


def test_a_second_deploy_changes_nothing(there: Clone) -> None:
    before = started(there)
    screen = there.inv("deploy", "--yes")
    assert screen.strip().splitlines() == [screen.strip()]
    assert "nothing to do" in screen
    assert started(there) == before


def test_it_is_reached_by_password_only_and_databases_are_their_owners(there: Clone) -> None:
    assert "password authentication failed" in query(there, "geo", "wrong password", "SELECT 1")
    assert "permission denied for database" in query(there, "mlflow", there.secret("postgres_mlflow"), "SELECT 1")
    assert query(there, "postgres", there.secret("postgres_password"), "SELECT 1") == "1"
    assert "password authentication failed" in query(there, "postgres", "", "SELECT 1")


WITHIN = """
sql postgres "ALTER ROLE geo PASSWORD 'set by hand' NOLOGIN CREATEDB"
sql postgres 'GRANT pg_read_all_data TO mlflow'
sql geo 'DROP EXTENSION pgrouting'
sql postgres 'ALTER DATABASE mlflow OWNER TO geo'
sql postgres 'GRANT CONNECT ON DATABASE geo TO PUBLIC'"""
ACCESS = "/etc/stowage/postgres/conf/pg_hba.conf"
BESIDE = f"""{WITHIN}
echo 'host all all all trust' >>{ACCESS}
chmod 0755 /srv/stowage/postgres
systemctl disable -q stowage@postgres"""
DRIFT = [
    (
        BESIDE,
        {"pg-user:geo", "pg-user:mlflow", "pg-extension:geo/pgrouting", "pg-database:mlflow", "pg-database:geo"}
        | {f"file:{ACCESS}", "loaded:postgres", "directory:/srv/stowage/postgres", "unit:stowage@postgres.service"},
    ),
    ("sed -i s/256/64/ /etc/stowage/postgres/compose.yaml", {"project:postgres", "pg-answers:postgres"}),
    ("docker stop postgres", {"project:postgres", "pg-answers:postgres"}),
    ("docker rm -f postgres", {"project:postgres", "pg-answers:postgres", "loaded:postgres"}),
]
"""Independent changes come first: one check, one deploy and one check test all of them."""


@pytest.mark.parametrize(("harm", "differing"), DRIFT, ids=[" ".join(sorted(differing)) for _, differing in DRIFT])
def test_drift_is_found_by_check_and_put_right_by_deploy(there: Clone, harm: str, differing: set[str]) -> None:
    sql = 'sql() { docker exec -i postgres psql -qX -v ON_ERROR_STOP=1 -U postgres -d $1 -c "$2"; }'
    there.on_host(f"set -e\n{sql}\n{harm}")
    assert {address for address, action in there.changes(code=2).items() if action != "waiting"} == differing
    there.inv("deploy", "--yes")
    assert there.changes(code=0) == {}
    assert query(there, "geo", there.secret("postgres_geo"), "SELECT * FROM kept") == "42"


BY_HAND = """
sql postgres 'ALTER SYSTEM SET fsync = off'
sql postgres 'ALTER SYSTEM SET max_connections = 50'
echo 'autovacuum = off' >>/srv/stowage/postgres/postgresql.conf
sql postgres 'SELECT pg_reload_conf()' >/dev/null
sql postgres "ALTER ROLE ALL SET statement_timeout = '1h'"
sql postgres 'GRANT SET ON PARAMETER log_min_messages TO geo'
sql postgres 'UPDATE pg_database SET datistemplate = false WHERE datname = $$template1$$'
sql postgres 'ALTER DATABASE mlflow CONNECTION LIMIT 0'
sql postgres 'ALTER DATABASE mlflow IS_TEMPLATE true'
sql geo 'GRANT CREATE ON SCHEMA public TO PUBLIC'
sql postgres 'ALTER DATABASE geo SET search_path = pg_temp'
sql postgres 'REVOKE CONNECT ON DATABASE geo FROM geo'
sql postgres "ALTER ROLE geo CONNECTION LIMIT 1 NOINHERIT VALID UNTIL '2020-01-01'"
sql postgres 'ALTER ROLE geo IN DATABASE geo SET default_transaction_read_only = on'
sql postgres 'GRANT pg_monitor TO mlflow WITH ADMIN OPTION'
sql postgres 'SET ROLE mlflow; GRANT pg_monitor TO geo'
sql postgres 'ALTER DATABASE mlflow ALLOW_CONNECTIONS false'
sql postgres 'ALTER ROLE postgres SET role = geo'"""


def test_what_was_set_by_hand_is_seen_at_once_and_put_right_at_once(there: Clone) -> None:
    sql = 'sql() { docker exec -i postgres psql -qX -v ON_ERROR_STOP=1 -U postgres -d $1 -c "$2"; }'
    there.on_host(f"set -e\n{sql}\n{BY_HAND}")
    updated = {address for address, action in there.changes(code=2).items() if action == "update"}
    users, bases = {"pg-user:postgres", "pg-user:geo", "pg-user:mlflow"}, {"pg-database:geo", "pg-database:mlflow"}
    assert updated == users | bases | {"pg-settings:postgres", "pg-inside:geo"}
    assert "~ pg-settings:postgres  restarts postgres" in there.inv("deploy", "--yes")
    assert there.changes(code=0) == {}
    settings = as_root(there, "SHOW fsync", "SHOW max_connections", "SHOW autovacuum", "SHOW statement_timeout")
    assert settings.split() == ["on", "100", "on", "0"]
    assert query(there, "geo", there.secret("postgres_geo"), "SELECT * FROM kept") == "42"


def test_what_no_deploy_may_mend_is_refused_with_commands_that_do(there: Clone) -> None:
    as_root(there, "CREATE ROLE eve SUPERUSER", "UPDATE pg_database SET datcollversion = '2.28' WHERE datname = 'geo'")
    screen = " ".join(there.inv("check", code=3).split())
    assert "eve: superuser" in screen
    assert "geo by 2.28" in screen
    assert "indexes of geo may miss rows" in " ".join(there.inv("status", code=2).split())
    # PostgreSQL prints a warning at each connection, which must not hide its answer.
    there.on_host("docker stop -t 90 postgres")
    assert "~ pg-answers:postgres  done" in there.inv("deploy", "--yes", code=3)
    changes = json.loads(there.inv("check", "--json", code=3).splitlines()[0])["hosts"][0]["changes"]
    for change in changes:
        there.on_host(change["try"].partition("on the host")[2].partition(": ")[2])
    assert there.changes(code=0) == {}
    as_root(there, "DROP ROLE eve")


def test_settings_that_no_server_takes_leave_the_running_one_alone(there: Clone) -> None:
    before = started(there)
    screen = there.inv("deploy", "--yes", "--set=postgres.settings={shared_buffers: 900GB}", code=1)
    assert "Cannot allocate memory" in screen
    assert "the running one was not touched" in screen
    assert started(there) == before
    # A fault that only shows in the data: a missing certificate.
    screen = there.inv("deploy", "--yes", "--set=postgres.settings={ssl: 'on', work_mem: 8MB}", code=1)
    assert "could not load server certificate" in screen
    assert "the project before it was put back, and answers" in screen
    assert query(there, "geo", there.secret("postgres_geo"), "SELECT * FROM kept") == "42"
    there.inv("deploy", "--yes")
    assert there.changes(code=0) == {}


def test_a_database_that_was_dropped_is_made_anew_only_when_somebody_says_so(there: Clone) -> None:
    as_root(there, "DROP DATABASE mlflow")
    screen = there.inv("deploy", "--yes", code=3)
    assert "! pg-database:mlflow  this host had it" in screen
    assert "inv restore --host lab latest --database mlflow" in screen
    assert "mlflow" not in as_root(there, "SELECT datname FROM pg_database").split()
    there.on_host(screen.split("on the host: ")[1].splitlines()[0])
    assert "+ pg-database:mlflow" in there.inv("deploy", "--yes")
    assert there.changes(code=0) == {}


def test_what_was_changed_while_it_was_stopped_is_found_once_it_runs(there: Clone) -> None:
    as_root(there, "ALTER ROLE geo PASSWORD 'set by hand'")
    there.on_host("systemctl stop docker.socket docker.service")
    assert there.changes(code=2)["pg-user:geo"] == "waiting"
    assert "~ pg-user:geo" in there.inv("deploy", "--yes")
    assert there.changes(code=0) == {}


def test_a_setting_is_in_force_also_against_alter_system_and_goes_with_its_line(there: Clone) -> None:
    setting = "--set=postgres.settings={max_connections: '50', work_mem: 8MB}"
    as_root(there, "ALTER SYSTEM SET work_mem = '1MB'")
    screen = there.inv("deploy", "--yes", setting)
    assert "~ project:postgres" in screen
    assert as_root(there, "SHOW max_connections", "SHOW work_mem").split() == ["50", "8MB"]
    assert there.changes(setting, code=0) == {}
    there.inv("deploy", "--yes")
    assert as_root(there, "SHOW max_connections") == "100"


@pytest.mark.parametrize("user", ["postgres", "geo"])
def test_a_new_password_is_in_force_without_a_restart_and_the_old_one_is_not(there: Clone, user: str) -> None:
    file = there.root / f"inventory/secrets/lab/postgres_{'password' if user == 'postgres' else user}"
    old, new, before = file.read_text().strip(), "new-$(pass)\\ '\"word", started(there)
    file.write_text(new + "\n")
    screen = there.inv("deploy", "--yes")
    assert "password: changed, hidden" in screen
    assert old not in screen
    assert new not in screen
    assert query(there, user, new, "SELECT 1") == "1"
    assert "password authentication failed" in query(there, user, old, "SELECT 1")
    assert started(there) == before
    file.write_text(old + "\n")
    there.inv("deploy", "--yes")


def test_an_extension_that_the_image_lacks_is_refused_before_anything_is_done(there: Clone) -> None:
    before = started(there)
    more = "--set=databases=[{name: mlflow, owner: mlflow}, {name: geo, owner: geo}, {name: new, extensions: [timescaledb]}]"
    screen = there.inv("deploy", "--yes", more, code=3)
    assert "! pg-image:stowage-lab/postgres:17-3.5" in screen
    assert "the image has no timescaledb" in screen
    assert "take an image that has it" in screen
    assert started(there) == before
    assert "new" not in as_root(there, "SELECT datname FROM pg_database").split()
    assert there.changes(code=0) == {}


def test_data_of_another_major_version_is_refused_and_left_alone(there: Clone) -> None:
    there.on_host("docker stop postgres; echo 16 >/srv/stowage/postgres/PG_VERSION")
    screen = there.inv("deploy", "--yes", code=3)
    assert "! pg-data:/srv/stowage/postgres  PostgreSQL 16 wrote it" in screen
    assert "dump with the old one" in screen
    assert there.on_host(
        "cat /srv/stowage/postgres/PG_VERSION; docker inspect -f '{{.State.Status}}' postgres"
    ).split() == ["16", "exited"]
    there.on_host("echo 17 >/srv/stowage/postgres/PG_VERSION")
    there.inv("deploy", "--yes")


def test_a_lost_data_directory_is_never_replaced_by_an_empty_one(there: Clone) -> None:
    there.on_host("docker rm -f postgres; mv /srv/stowage/postgres /srv/stowage/away")
    screen = there.inv("deploy", "--yes", code=3)
    assert "is its drive mounted" in screen
    assert there.on_host("ls /srv/stowage; docker ps -aq").split() == ["away"]
    there.on_host("mv /srv/stowage/away /srv/stowage/postgres")
    there.inv("deploy", "--yes")
    assert query(there, "geo", there.secret("postgres_geo"), "SELECT * FROM kept") == "42"


def test_what_the_settings_no_longer_name_is_removed_but_never_data(there: Clone) -> None:
    user = "--set=database_users=[%s{name: mlflow, password: {file: inventory/secrets/lab/postgres_mlflow}}, {name: geo, password: {file: inventory/secrets/lab/postgres_geo}}]"
    base = "--set=databases=[%s{name: mlflow, owner: mlflow}, {name: geo, owner: geo}]"
    ana = "{name: ana, password: {command: echo geheim-geheim}}, {name: eve, password: {command: echo noch-geheimer}}, "
    there.inv("deploy", "--yes", user % ana, base % "{name: anas, owner: ana}, ")
    screen = there.inv("deploy", "--yes", code=3)
    assert "! pg-database:anas  a database is never removed" in screen
    assert "! pg-user:ana  it owns" in screen
    assert "- pg-user:eve" in screen
    assert as_root(there, "SELECT rolname FROM pg_roles WHERE rolname IN ('ana', 'eve')") == "ana"
    as_root(there, "DROP DATABASE anas")
    there.inv("deploy", "--yes")
    assert there.changes(code=0) == {}


def test_restart_logs_and_status_know_it(there: Clone) -> None:
    before = started(there)
    assert "postgres was restarted and answers" in there.inv("restart", "postgres")
    assert started(there) != before
    assert "ready to accept connections" in there.inv("logs", "--service", "postgres", "--lines", "20")
    screen = there.inv("status")
    assert "lab: all is well" in screen
    assert "of 100 connections" in screen
    assert "database   geo" in screen
    there.on_host("docker stop postgres")
    screen = " ".join(there.inv("status", code=2).split())
    assert "inv logs --service postgres --host lab, then inv deploy --host lab" in screen
    there.inv("deploy", "--yes")


def test_no_secret_is_seen_in_argv_logs_or_world_readable_files(there: Clone) -> None:
    secrets = [there.secret(f"postgres_{name}") for name in ("password", "geo", "mlflow")]
    # The server logs every statement and loses all passwords: they are set again while everything is watched.
    loud = "--set=postgres.settings={log_statement: all, log_min_duration_statement: '0'}"
    there.inv("deploy", "--yes", loud)
    as_root(there, *(f"ALTER ROLE {name} PASSWORD 'unknown'" for name in ("postgres", "geo", "mlflow")))
    watcher = subprocess.Popen(
        [*there.ssh(), "end=$(($(date +%s) + 8)); while [ $(date +%s) -lt $end ]; do ps axww -o args; done"],
        text=True,
        stdout=subprocess.PIPE,
    )
    screens = there.inv("deploy", "--yes", loud) + there.inv("check", "--json", "--full", loud) + there.inv("inventory")
    seen, _ = watcher.communicate()
    readable = there.on_host(
        "find /etc /var/lib/stowage /var/log /run /usr/local /srv -xdev -type f -perm -o+r -size -2M -print0 2>/dev/null"
        " | xargs -0 cat 2>/dev/null | strings; cat /var/lib/stowage/*; docker inspect $(docker ps -aq); docker logs postgres 2>&1; journalctl -q --no-pager -n 3000"
    )
    for secret in secrets:
        assert secret not in seen + screens + readable
    (verifier,) = as_root(there, "SELECT rolpassword FROM pg_authid WHERE rolname = 'geo'").split()
    assert "pg-user:geo" in screens
    assert verifier not in seen + screens + readable
    there.inv("deploy", "--yes")


def test_after_a_power_cut_it_comes_back_with_all_that_was_written(there: Clone) -> None:
    geo = there.secret("postgres_geo")
    query(there, "geo", geo, "INSERT INTO kept VALUES (43)")
    there.inv("lab.power-cut")
    there.inv("lab.up")
    until = time.monotonic() + 300
    while "lab: all is well" not in there.inv("status", code=None):
        assert time.monotonic() < until, "it did not come back"
        time.sleep(2)
    assert query(there, "geo", geo, "SELECT * FROM kept ORDER BY id").split() == ["42", "43"]
    assert "nothing to do" in there.inv("deploy", "--yes")
