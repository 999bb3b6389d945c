"""What somebody changed in a PostgreSQL server by hand, in fields that the inventory does not name."""

from __future__ import annotations

import json
import shlex

import pytest

from converge.engine import plan as planning
from converge.engine import run as runs
from converge.engine.resource import Action, Unknown
from converge.ui import render
from roles.postgres import status as database_status
from roles.postgres.configuration import Configuration
from roles.postgres.database_kinds import Database, Extension
from roles.postgres.databases import databases
from roles.postgres.guards import Collations, Inside, Powers
from roles.postgres.role import postgres
from roles.postgres.server import Server
from roles.postgres.sql import setting, verifier
from roles.postgres.user_kind import User
from tests.unit.test_postgres import SECRET, SERVER, database_row, member, read, script, server_answer, sql, user_row

MAIN, AUTO = "/var/lib/postgresql/data/postgresql.conf", "/var/lib/postgresql/data/postgresql.auto.conf"
OF_INITDB = [("max_connections", "100"), ("shared_buffers", "128MB"), ("timezone", "Asia/Tokyo"), ("datestyle", "iso")]
OWN = {
    "postgres": {"owner": "postgres", "public": ["CONNECT", "TEMPORARY"]},
    "template1": {"owner": "postgres", "public": ["CONNECT"], "template": True},
    "template0": {"owner": "postgres", "public": ["CONNECT"], "template": True, "allows": False},
}
CONFIGURATION = Configuration(SERVER, "/var/lib/postgresql/data")


def line(name: str, value: str, file: str = MAIN, number: int = 7, **more) -> dict:
    return {"name": name, "value": value, "file": file, "line": number, "error": "", **more}


def server(files=(), force=(), own: dict | None = None, more: tuple = (), **facts) -> str:
    """The answer of a server as initdb made it, with these differences."""
    written = [line(name, value) for name, value in OF_INITDB]
    plain = {"pending": [], "of all roles": [], "checksums": "on", "ssl": "off", "slots": [], "prepared": 0}
    row = {"files": [*written, *files], "in force": [*force], **plain, "tablespaces": [], **facts}
    bases = [database_row(name, **(odd | (own or {}).get(name, {}))) for name, odd in OWN.items()]
    return server_answer({"server": row}, *bases, *more)


def test_a_server_as_initdb_made_it_is_as_it_should_be():
    force = [{"name": "TimeZone", "value": "Asia/Tokyo", "file": MAIN, "restart": False}]
    assert planning._same(read(CONFIGURATION, server(force=force)), CONFIGURATION.desired())


SET = {"name": "fsync", "value": "off", "file": AUTO, "restart": False}


@pytest.mark.parametrize(
    ("answer", "difference"),
    [
        (server([line("fsync", "off", AUTO)]), "by hand: fsync=off (postgresql.auto.conf) -> none"),
        (server(force=[SET]), "by hand: fsync=off (postgresql.auto.conf) -> none"),
        (server([line("autovacuum", "off")]), "by hand: autovacuum=off (postgresql.conf) -> none"),
        (server([line("max_connections", "20")]), "by hand: max_connections=20 (postgresql.conf) -> none"),
        (server([line("work_mem", "1kB", "/etc/x.conf")]), "by hand: work_mem=1kB (x.conf) -> none"),
        (server([line("", "", error="syntax error")]), "by hand: line 7 of postgresql.conf: syntax error -> none"),
        (server(pending=["max_connections"]), "waits for a restart: max_connections -> none"),
        (server(**{"of all roles": ["search_path=evil"]}), "of all roles: search_path=evil -> none"),
        (server(more=({"parameter": "fsync", "role": "geo"},)), "may be set by: fsync: geo -> none"),
        (
            server(own={"template1": {"template": False, "limit": 0}}),
            "its own databases: template1 is no template, has the connection limit 0 -> as they were made",
        ),
        (
            server(own={"template0": {"allows": True}, "postgres": {"settings": ["role=eve"]}}),
            "its own databases: postgres has role=eve; template0 takes connections -> as they were made",
        ),
        (
            server(own={"postgres": {"owner": "eve", "public": ["CONNECT", "CREATE"]}}),
            "its own databases: postgres belongs to eve, lets every user create -> as they were made",
        ),
    ],
)
def test_what_is_set_by_hand_is_a_difference_and_is_taken_back(answer, difference):
    state = read(CONFIGURATION, answer)
    assert CONFIGURATION.diff(state) == [difference]
    assert "ALTER SYSTEM RESET ALL;" in script(CONFIGURATION, state)


def test_a_line_of_a_file_of_the_data_becomes_a_comment():
    state = read(CONFIGURATION, server([line("autovacuum", "off", number=812)]))
    assert "sed -i '812s/^/#taken out: /' /srv/pg/postgresql.conf" in script(CONFIGURATION, state)
    assert not CONFIGURATION.disrupts(state)


def test_a_line_of_a_file_elsewhere_is_refused():
    state = read(CONFIGURATION, server([line("autovacuum", "off", "/usr/share/x.conf")]))
    assert "line 7 of /usr/share/x.conf" in CONFIGURATION.refusal(state).why


def test_what_only_a_restart_takes_back_stands_in_the_plan_as_one():
    force = [{"name": "max_connections", "value": "20", "file": AUTO, "restart": True}]
    state = read(CONFIGURATION, server([line("max_connections", "20", AUTO)], force))
    assert CONFIGURATION.disrupts(state)
    assert CONFIGURATION.note(state) == "restarts postgres"


def test_the_servers_own_databases_and_rights_are_put_right():
    own = {"template1": {"template": False}, "template0": {"allows": True}}
    text = script(CONFIGURATION, read(CONFIGURATION, server(own=own, more=({"parameter": "a.b", "role": "PUBLIC"},))))
    assert "ALTER DATABASE template1 WITH ALLOW_CONNECTIONS True CONNECTION LIMIT -1 IS_TEMPLATE True;" in text
    assert "ALTER DATABASE template0 WITH ALLOW_CONNECTIONS False CONNECTION LIMIT -1 IS_TEMPLATE True;" in text
    assert "ALTER DATABASE postgres " not in text
    assert 'REVOKE ALL ON PARAMETER "a"."b" FROM PUBLIC CASCADE;' in text


def test_what_is_left_alone_is_told_by_full_and_by_nothing_else():
    answer = server(slots=["old"], prepared=1, checksums="off", more=(database_row("theirs"),))
    state = read(CONFIGURATION, answer)
    plan = planning.Plan("prod", [planning.Change("postgres", CONFIGURATION, state, Action.NONE)])
    alone = [line.strip() for line in render.plan(plan, full=True) if "left alone: " in line]
    assert alone == [
        "left alone: checksums of the data are off: chosen when it is made",
        "left alone: ssl is off: the network is private, and passwords are never sent",
        "left alone: replication slots, which keep WAL: old",
        "left alone: 1 prepared transactions, which keep locks",
        "left alone: databases: theirs",
    ]
    assert "left alone" not in "\n".join(render.plan(plan))


# Users.


@pytest.mark.parametrize(
    ("row", "difference", "statement"),
    [
        ({"inherit": False}, "inherits: no -> yes", " INHERIT "),
        ({"limit": 0}, "connection limit: 0 -> none", " CONNECTION LIMIT -1 "),
        ({"settings": [{"in": None, "is": "role=eve"}]}, "settings: role=eve -> none", 'ALTER ROLE "geo" RESET ALL;'),
        (
            {"settings": [{"in": "a b", "is": "search_path=x"}]},
            "settings: search_path=x in a b -> none",
            'ALTER ROLE "geo" IN DATABASE "a b" RESET ALL;',
        ),
        (
            {"member of": [member("pg_read_all_data", admin=True, by="eve")]},
            "member of: pg_read_all_data (admin) -> none",
            'REVOKE "pg_read_all_data" FROM "geo" GRANTED BY "eve" CASCADE;',
        ),
    ],
)
def test_what_a_user_may_beyond_its_settings_is_taken_back(row, difference, statement):
    user = User(SERVER, "geo", SECRET)
    state = read(user, server_answer(user_row("geo", verifier(SECRET), **row)))
    assert user.diff(state) == [difference]
    assert statement in sql(user, state)


def test_a_membership_with_an_option_that_nobody_asked_for_is_given_without():
    user = User(SERVER, "geo", SECRET, member_of=("reader",))
    state = read(
        user, server_answer(user_row("geo", verifier(SECRET), **{"member of": [member("reader", admin=True)]}))
    )
    grants = [statement for statement in sql(user, state).splitlines() if "reader" in statement]
    assert grants == ['REVOKE "reader" FROM "geo" GRANTED BY "postgres" CASCADE;', 'GRANT "reader" TO "geo";']


def test_the_maker_of_a_role_may_go_on_granting_it():
    user = User(SERVER, "geo", SECRET, ("createrole",))
    made = member("reader", admin=True, inherit=False, set=False)
    row = user_row("geo", verifier(SECRET), **{"member of": [made], "attributes": "login createrole"})
    assert planning._same(read(user, server_answer(row)), user.desired())


def test_settings_of_a_user_are_the_same_however_they_are_quoted():
    user = User(SERVER, "geo", SECRET, settings=(("search_path", '"$user", Ab'), ("work_mem", "8MB")), limit=3)
    is_set = [{"in": None, "is": 'search_path="$user", "Ab"'}, {"in": None, "is": "work_mem=8MB"}]
    assert planning._same(
        read(user, server_answer(user_row("geo", verifier(SECRET), settings=is_set, limit=3))), user.desired()
    )
    assert "ALTER ROLE \"geo\" SET \"search_path\" TO '$user', 'Ab';" in sql(user)
    assert "CONNECTION LIMIT 3" in sql(user)


def test_a_setting_is_a_word_of_sql_whatever_it_holds():
    assert setting("a.b", "x'; DROP") == "\"a\".\"b\" TO 'x''; DROP'"


# Databases.


@pytest.mark.parametrize(
    ("row", "difference", "statement"),
    [
        ({"allows": False}, "connections: refused -> taken", "ALLOW_CONNECTIONS true"),
        ({"limit": 0}, "connection limit: 0 -> none", "CONNECTION LIMIT -1"),
        ({"template": True}, "template: yes -> no", "IS_TEMPLATE false"),
        ({"its owner": 2}, "its owner may: not all -> all", 'GRANT ALL ON DATABASE "geo" TO "geo"'),
        ({"public": ["CREATE"]}, "open to: every user, for create -> its owner", "REVOKE ALL ON DATABASE"),
        ({"settings": ["role=eve; x"]}, "settings: role=eve; x -> none", 'ALTER DATABASE "geo" RESET "role";'),
        ({"settings": ["a.b=1"]}, "settings: a.b=1 -> none", 'ALTER DATABASE "geo" RESET "a"."b";'),
    ],
)
def test_a_database_is_open_to_these_and_set_to_that(row, difference, statement):
    database = Database(SERVER, "geo", "geo")
    state = read(database, server_answer(database_row("geo", **row)))
    assert database.diff(state) == [difference]
    assert statement in sql(database, state)


@pytest.mark.parametrize(
    ("path", "named", "is_well"),
    [
        ('"$user", public, topology', (), True),
        ('"$user", public, tiger', (), False),
        ('topology, "$user", public', (), False),
        ('"$user", public, topology', (("search_path", "public"),), False),
        ("public", (("search_path", "public"),), True),
    ],
)
def test_a_search_path_may_be_that_of_an_extension_where_the_settings_name_none(path, named, is_well):
    database = Database(SERVER, "geo", "geo", settings=named, extensions=("postgis_topology",))
    state = read(database, server_answer(database_row("geo", settings=[f"search_path={path}"])))
    assert planning._same(state, database.desired()) is is_well


def test_a_database_whose_removal_was_cut_is_refused_with_the_way_out():
    database = Database(SERVER, "geo", "geo")
    refusal = database.refusal(read(database, server_answer(database_row("geo", limit=-2))))
    assert 'DROP DATABASE "geo"' in refusal.hint
    assert "inv restore latest --database geo" in refusal.hint


def test_what_is_in_a_database_that_takes_no_connections_is_read_once_it_does(storage_host):
    answer = server_answer(database_row("geo", allows=False), {"shut": "geo"}, read=("the cluster",))
    state = read(Extension(SERVER, "geo", "postgis"), answer)
    assert isinstance(state, Unknown)
    assert state.why == "geo takes no connections"


def test_every_user_may_create_in_public_only_where_the_settings_say_so():
    row = {"inside": "geo", "public may create": True, "sorted": [], "default rights": 2, "event triggers": ["spy"]}
    answer = server_answer(row | {"publications": [], "subscriptions": []}, read=("the cluster", "within geo"))
    for wanted, well in ((False, False), (True, True), (None, True)):
        inside = Inside(SERVER, "geo", wanted, ())
        state = read(inside, answer)
        assert planning._same(state, inside.desired()) is well
        assert inside.left_alone(state) == ["event triggers: spy", "default rights: 2"]
    assert sql(Inside(SERVER, "geo", False, ()), state) == "REVOKE CREATE ON SCHEMA public FROM PUBLIC;\n"


# Others.


def power(name: str, *has: str, of: tuple[str, ...] = ()) -> dict:
    return {"power": name, "login": True, "has": [*has], "of": [*of]}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (power("eve", "superuser"), "eve: superuser"),
        (power("eve", "bypassrls", "createrole"), "eve: bypassrls, createrole"),
        (power("eve", of=("pg_execute_server_program", "x")), "eve: member of pg_execute_server_program"),
        (power("eve", of=("geo",)), "eve: member of geo"),
    ],
)
def test_a_role_with_powers_that_no_setting_names_is_refused_with_both_ways_out(row, why):
    powers = Powers(SERVER, ("postgres", "geo"))
    refusal = powers.refusal(read(powers, server_answer(row, power("postgres", "superuser"))))
    assert why in refusal.why
    assert "postgres.known_roles" in refusal.hint
    assert ('ALTER ROLE "eve" NOSUPERUSER' in refusal.hint) is bool(row["has"])
    assert ("REVOKE" in refusal.hint) is bool(row["of"])


def test_a_role_without_powers_or_one_that_is_known_is_left_alone():
    powers = Powers(SERVER, ("postgres",), ("monitor",))
    state = read(powers, server_answer(power("ana"), power("monitor", "superuser")))
    assert planning._same(state, powers.desired())
    assert powers.left_alone(state) == ["roles: ana, monitor"]


# The rules by which text is sorted.


def test_text_that_was_sorted_by_other_rules_is_refused_with_commands_to_paste(storage_host):
    rows = {"sorted": "geo", "by": "2.28", "offered": "2.41"}, {"sorted": "template1", "by": "2.28", "offered": "2.41"}
    inside = {"inside": "geo", "sorted": ['public."de"']}
    sorting = Collations(SERVER)
    refusal = sorting.refusal(read(sorting, server_answer(*rows, inside)))
    assert 'geo by 2.28, now 2.41; template1 by 2.28, now 2.41; geo: public."de"' in refusal.why
    for statement in ('REINDEX DATABASE "geo"', 'ALTER DATABASE "template1" REFRESH COLLATION VERSION'):
        assert statement in refusal.hint
    assert 'ALTER COLLATION public."de" REFRESH VERSION' in refusal.hint
    assert planning._same(read(sorting, server_answer()), sorting.desired())


def test_rules_without_a_version_are_told_and_forgotten_by_another_command():
    sorting = Collations(SERVER)
    refusal = sorting.refusal(read(sorting, server_answer({"sorted": "geo", "by": "2.28", "offered": None})))
    assert "geo by 2.28, now without a version" in refusal.why
    assert "REFRESH" not in refusal.hint
    assert "SET datcollversion = NULL" in refusal.hint


def test_a_finding_about_sorting_or_powers_holds_back_nothing_else(storage_host):
    host = storage_host()
    run = runs.prepare(host, [postgres, databases])
    well = {want.resource.address: want.resource.desired() for want in run.wants}
    odd = {
        "pg-sorting:postgres": {"sorted otherwise": "x", "names": "geo\tother"},
        "pg-powers:of others": {"of others": "x", "names": "e"},
    }
    plan = planning.make("prod", run.roles, run.wants, well | odd | {"pg-database:geo": None}, {})
    assert {change.address for change in plan.held} == {*odd}
    assert [change.address for change in plan.todo] == ["pg-database:geo"]


def test_a_command_for_a_person_is_quoted_whatever_it_holds():
    command = Server("su per", "/srv/pg").by_hand('REINDEX DATABASE "a\'b"', database="x y")
    assert shlex.split(command)[3:] == ["psql", "-U", "su per", "-d", "x y", "-c", 'REINDEX DATABASE "a\'b"']


# The status.


def advice(**more) -> list[str]:
    return list(database_status.advice(database_status.DatabaseServer(**more), "prod"))


def test_status_tells_of_what_check_does_not_mend():
    up = {"state": "running, Up 1 hour", "version": "17.2", "superuser": "postgres", "most": 100}
    assert advice(**up) == advice(**up, slots={"old": 1 << 20}) == []
    (slot,) = advice(**up, slots={"old": 5 << 30})
    assert "keeps 5 GiB of WAL" in slot
    assert "pg_drop_replication_slot('\"'\"'old'\"'\"')" in slot
    (sorting,) = advice(**up, sorted_otherwise=["geo", "template1"])
    assert "indexes of geo, template1 may miss rows" in sorting
    assert "inv check --host prod" in sorting


@pytest.mark.parametrize(
    ("state", "way_out"),
    [
        ("paused, Up 1 hour (Paused)", "inv deploy"),
        ("exited, Exited (0)", "inv deploy"),
        ("running, Up 1 hour", "inv restart postgres"),
    ],
)
def test_status_of_a_server_that_does_not_answer_leads_somewhere(state, way_out):
    (line,) = advice(state=state)
    assert f"inv logs --service postgres --host prod, then {way_out} --host prod" in line


def test_status_reads_both_lines_of_the_answer(storage_host):
    first = {
        "version": "17.2 (Debian)",
        "superuser": "su",
        "most": 100,
        "connections": 3,
        "databases": None,
        "slots": None,
    }
    status = database_status.read(storage_host(), "running", [json.dumps(first), '["geo"]'])
    assert (status.superuser, status.databases, status.slots, status.sorted_otherwise) == ("su", {}, {}, ["geo"])
    assert database_status.read(storage_host(), "running", [json.dumps(first)]).sorted_otherwise == []


@pytest.mark.parametrize(
    ("address", "warning"),
    [
        (
            "pg-extension:geo/postgis",
            "with its own tables and all columns of its types: only a restore brings those back",
        ),
        ("pg-user:geo", "with its rights within databases"),
    ],
)
def test_what_is_made_again_without_all_that_it_had_says_so(storage_host, address, warning):
    run = runs.prepare(storage_host(), [postgres, databases])
    well = {want.resource.address: want.resource.desired() for want in run.wants}
    (resource,) = (want.resource for want in run.wants if want.resource.address == address)
    memory = {address: f"databases {resource.remembered()}"}
    plan = planning.make("prod", run.roles, run.wants, well | {address: None}, memory)
    assert warning in " ".join(" ".join(render.plan(plan)).split())


def test_a_setting_that_an_argument_gives_waits_for_no_restart():
    """After a reload PostgreSQL calls it pending when its file has another value, but a restart would change nothing."""
    from roles.postgres import question as postgres_question

    assert "pending_restart AND source <> 'command line'" in postgres_question._FACTS
    assert "%PENDING%" not in postgres_question._FACTS
