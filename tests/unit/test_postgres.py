"""PostgreSQL: the resources of the role, the state of a server, refusals, and the SQL."""

from __future__ import annotations

import json
import re
import shlex

import pytest
import yaml
from pydantic import ValidationError

from converge.engine import plan as planning
from converge.engine import probe
from converge.engine import run as runs
from converge.engine.resource import Action, Resource, Shell, Unknown
from converge.inventory.layers import dotted
from converge.inventory.secret import Secret
from converge.resources.compose import Project
from converge.resources.docker import inspect
from converge.resources.file import File
from converge.ui import render
from roles import named
from roles.postgres.database_kinds import Database, Extension
from roles.postgres.databases import databases
from roles.postgres.gone import Gone
from roles.postgres.role import postgres
from roles.postgres.server import Server, ask
from roles.postgres.server_kinds import RECORD, Data, Offer, Ready
from roles.postgres.sql import is_password_of, verifier
from roles.postgres.user_kind import User
from roles.stack import stack

SERVER = Server("postgres", "/srv/pg")
RUNS, EXITED = (
    "postgres|running|2026-01-01T00:00:00Z|7|abc|postgres",
    "postgres|exited|2026-01-01T00:00:00Z|0|abc|postgres",
)
SECRET = Secret("a password of geo's")


def server_answer(*rows: dict, read: tuple[str, ...] = ("the cluster",), version: str = "17") -> str:
    """The answer to `ask`."""
    return "\n".join([version, *(json.dumps(row) for row in (*rows, *({"read": part} for part in read)))]) + "\n"


def user_row(name: str, stored: str = "", **more) -> dict:
    plain = {"member of": [], "uses": 0, "expires": False, "inherit": True, "limit": -1, "settings": []}
    return {"user": name, "stored": stored, **plain, "attributes": "login", **more}


def member(of: str, **more) -> dict:
    return {"of": of, "by": "postgres", "admin": False, "inherit": True, "set": True, **more}


def database_row(name: str, **more) -> dict:
    plain = {"allows": True, "limit": -1, "template": False, "public": [], "its owner": 3, "others": [], "settings": []}
    return {"database": name, "owner": "geo", "encoding": "UTF8", "locale": "C.UTF-8", **plain, **more}


def extension_row(name: str, version: str = "3.5", offered: str = "3.5") -> dict:
    return {"extension": name, "in": "geo", "version": version, "offered": offered}


def read(resource: Resource, answer: str, container: str = RUNS):
    (state,) = type(resource).read([resource], "", container, answer)
    return state


def script(resource: Resource, before=None) -> str:
    return "\n".join(step.script for step in resource.fix(before) if isinstance(step, Shell))


def sql(resource: Resource, before=None) -> str:
    """The SQL of a fix: the argument of `printf %s` in its script."""
    arguments = shlex.split(script(resource, before))
    assert arguments[:2] == ["printf", "%s"]
    assert arguments[3] == "|"
    return arguments[2]


# The service.


def definition(host) -> dict:
    resources = [want.resource for want in runs.prepare(host, [postgres]).wants]
    (project,) = (resource for resource in resources if isinstance(resource, Project))
    return yaml.safe_load(project.text())["services"]["postgres"]


def test_by_default_nothing_is_published_on_the_host(storage_host):
    assert "ports" not in definition(storage_host())
    assert definition(storage_host())["networks"] == {"stowage": {"ipv4_address": "172.30.99.20"}}


@pytest.mark.parametrize(
    ("listen", "port", "warned"),
    [
        ("127.0.0.1", "127.0.0.1:5432:5432", False),
        ("::1", "[::1]:5432:5432", False),
        ("0.0.0.0", "0.0.0.0:5432:5432", True),
    ],
)
def test_it_is_published_where_the_settings_say_with_a_warning_off_loopback(storage_host, listen, port, warned):
    host = storage_host(postgres__listen=listen)
    assert definition(host)["ports"] == [port]
    (project,) = (want.resource for want in runs.prepare(host, [postgres]).wants if isinstance(want.resource, Project))
    assert bool(project.warning) is warned


def test_the_password_is_a_file_and_neither_an_argument_nor_in_the_environment(storage_host):
    service = definition(storage_host())
    assert service["environment"]["POSTGRES_PASSWORD_FILE"] == "/run/secrets/postgres/password"
    assert "POSTGRES_PASSWORD" not in service["environment"]
    files = [
        want.resource for want in runs.prepare(storage_host(), [postgres]).wants if isinstance(want.resource, File)
    ]
    assert [(file.path, file.mode, file.owner) for file in files if file.secret] == [
        ("/etc/stowage/postgres/secrets/password", "0400", "stowage")
    ]


def test_a_new_superuser_password_does_not_restart_the_server(storage_host):
    after = storage_host(postgres__superuser_password=Secret("SENTINEL-another"))
    assert definition(after) == definition(storage_host())


def test_settings_are_arguments_which_are_stronger_than_what_was_set_by_hand(storage_host):
    command = definition(storage_host(postgres__settings={"max_connections": "200", "search_path": '"$user", $$'}))[
        "command"
    ]
    assert command[-4:] == ["-c", "max_connections=200", "-c", 'search_path="$user", $$$$'.replace("$user", "$$user")]


def test_it_stops_fast_with_a_long_grace(storage_host):
    service = definition(storage_host())
    assert (service["stop_signal"], service["stop_grace_period"]) == ("SIGINT", "90s")


def test_it_has_a_unit_of_its_own(storage_host):
    assert "unit:stowage@postgres.service" in [
        want.resource.address for want in runs.prepare(storage_host(), [stack]).wants
    ]


# The plan.


def plan_of(host, readings: dict, memory: dict | None = None):
    """The plan of the whole host with these readings; all others are in sync."""
    run = runs.prepare(host, [named(name) for name in host.settings.roles])
    well = {want.resource.address: want.resource.desired() for want in run.wants}
    return planning.make("prod", run.roles, run.wants, well | readings, memory or {})


def test_a_server_that_is_down_is_started_and_then_read(storage_host):
    host = storage_host()
    down = Unknown("PostgreSQL does not answer: its container is exited")
    inside = {want.resource.address: down for want in runs.prepare(host, [databases]).wants}
    plan = plan_of(host, inside | {"project:postgres": {"compose.yaml": "x"}, "pg-answers:postgres": None})
    assert [change.address for change in plan.todo] == ["project:postgres", "pg-answers:postgres"]
    assert {change.address for change in plan.later} == set(inside)
    assert "waits for" not in "\n".join(render.plan(plan))


def test_a_start_is_followed_by_a_wait_for_its_answer(storage_host):
    host = storage_host()
    plan = plan_of(host, {"project:postgres": {"compose.yaml": "x"}})
    assert [change.address for change in plan.todo] == ["project:postgres", "pg-answers:postgres"]


ALL_OF_IT = (
    "file:/etc/stowage/postgres/conf/pg_hba.conf",
    "directory:/srv/stowage/postgres",
    "project:postgres",
    "pg-answers:postgres",
)


@pytest.mark.parametrize(
    ("refused", "reading", "why"),
    [
        ("pg-data:/srv/stowage/postgres", {"fits": "other version", "version": "16"}, "PostgreSQL 16 wrote it"),
        ("pg-data:/srv/stowage/postgres", {"fits": "lost"}, "is its drive mounted"),
        (
            "pg-image:docker.io/pgrouting/pgrouting:17-3.5-3.7",
            {"major": "17", "extensions": "postgis"},
            "the image has no pgrouting",
        ),
    ],
)
def test_what_does_not_fit_holds_back_the_server_and_what_is_in_it_and_nothing_else(
    storage_host, refused, reading, why
):
    others = {"file:/etc/stowage/nginx/conf/nginx.conf": None, "directory:/mnt/drive1/drive1": None}
    host = storage_host()
    plan = plan_of(host, {refused: reading, "pg-user:geo": None, **others, **dict.fromkeys(ALL_OF_IT)})
    by_address = {change.address: change for change in plan.changes}
    assert by_address[refused].action is Action.REFUSED
    assert why in by_address[refused].why
    assert by_address[refused].hint
    assert {by_address[address].action for address in (*ALL_OF_IT, "pg-user:geo")} == {Action.WAITING}
    assert {by_address[address].action for address in others} == {Action.CREATE}


def test_data_on_a_drive_waits_for_that_drive_alone(storage_host):
    host = storage_host(postgres__data="/mnt/drive2/postgres")
    away = {"directory:/mnt/drive2/postgres": None, "project:postgres": None}
    for drive, action in (("drive2", Action.WAITING), ("drive3", Action.CREATE)):
        plan = plan_of(host, {f"mount:/mnt/{drive}": Unknown("there is no drive"), **away})
        assert {change.action for change in plan.changes if change.address in away} == {action}


# The data directory.


@pytest.mark.parametrize(
    ("recorded", "version", "first", "fits"),
    [
        ("", "", "", "yes"),
        ("", "17", "PG_VERSION", "yes"),
        ("/srv/pg", "17", "PG_VERSION", "yes"),
        ("/srv/pg", "16", "PG_VERSION", "other version"),
        ("/srv/pg", "", "", "lost"),
        ("/srv/pg", "", "base", "lost"),
        ("/srv/old", "", "", "elsewhere"),
        ("/srv/old", "17", "PG_VERSION", "yes"),
        ("", "", "lost+found", "no database"),
    ],
)
def test_a_folder_is_served_only_where_its_data_fits(machine, tmp_path, recorded, version, first, fits):
    folder = tmp_path / "pg"
    data = Data(str(folder), 17)
    if recorded:
        (machine.folder / "stowage").mkdir()
        (machine.folder / "stowage/postgres").write_text(recorded.replace("/srv/pg", str(folder)) + "\n")
    if first:
        folder.mkdir()
        (folder / first).write_text(f"{version}\n")
    (state,) = machine.read(data)
    assert state["fits"] == fits
    assert (data.refusal(state) is None) == (fits == "yes")
    assert data.fix(state) == []


def test_a_lost_database_is_never_replaced_by_an_empty_one():
    refusal = Data("/srv/pg", 17).refusal({"fits": "lost"})
    assert "is its drive mounted" in refusal.why
    assert f"rm {RECORD}" in refusal.hint


# The image.


OFFER = Offer("docker.io/pgrouting/pgrouting:17-3.5-3.7", 17, ("pgrouting", "postgis"))
IMAGE = json.dumps({"Id": "sha256:1", "RepoTags": ["pgrouting/pgrouting:17-3.5-3.7"], "RootFS": {"Layers": ["a"]}})


@pytest.mark.parametrize("known", ["", "sha256:0\n17\npgrouting postgis \n"])
def test_an_image_that_nobody_looked_into_is_looked_into(known):
    assert Offer.read([OFFER], known, IMAGE) == [None]
    assert Offer.read([OFFER], known, "") == [None]


def test_an_image_that_has_all_is_as_it_should_be():
    assert Offer.read([OFFER], "sha256:1\n17\nhstore pgrouting postgis \n", IMAGE) == [OFFER.desired()]


def test_an_image_without_an_extension_is_refused_by_its_name():
    (state,) = Offer.read([OFFER], "sha256:1\n17\nhstore postgis \n", IMAGE)
    assert "the image has no pgrouting" in OFFER.refusal(state).why
    assert "take an image that has it" in OFFER.refusal(state).hint


def test_an_image_of_another_version_is_refused():
    (state,) = Offer.read([OFFER], "sha256:1\n16\npgrouting postgis \n", IMAGE)
    assert "has PostgreSQL 16, and the settings say 17" in OFFER.refusal(state).why


@pytest.mark.parametrize(
    ("major", "has", "complaint"),
    [
        ("17", "pgrouting postgis", ""),
        ("17", "postgis", "the image has no pgrouting"),
        ("16", "pgrouting postgis", "the image has PostgreSQL 16"),
    ],
)
def test_looking_into_an_image_fails_before_it_runs_and_is_remembered(machine, major, has, complaint):
    listed = "\n".join(f"/usr/share/postgresql/{major}/extension/{name}.control" for name in has.split())
    machine.program(
        "docker",
        f"case $1 in run) echo 'postgres (PostgreSQL) {major}.2 (Debian)'; echo '{listed}';; image) echo sha256:1;; esac",
    )
    (machine.folder / "stowage").mkdir()
    status, output = machine.run(f"set -e\n{script(OFFER)}")
    assert (status != 0) is bool(complaint)
    assert complaint in output
    (state,) = Offer.read([OFFER], (machine.folder / "stowage/postgres.image").read_text(), IMAGE)
    assert (OFFER.refusal(state) is None or state == OFFER.desired()) is not bool(complaint)


# The state of the server.


def test_all_kinds_share_one_question_of_the_server(storage_host):
    resources = [want.resource for want in runs.prepare(storage_host(), [postgres, databases]).wants]
    text = probe.script(resources, "marker")
    assert len(re.findall(r"\bdocker exec\b", text)) == 1
    assert text.count("\\connect") == len(storage_host().settings.databases), "once for each database"


def test_what_is_there_is_read(storage_host):
    user, database, extension = (
        User(SERVER, "geo", SECRET),
        Database(SERVER, "geo", "geo"),
        Extension(SERVER, "geo", "postgis"),
    )
    answer = server_answer(
        user_row("geo", verifier(SECRET)),
        database_row("geo"),
        extension_row("postgis"),
        read=("the cluster", "within geo"),
    )
    for resource in (user, database, extension):
        assert planning._same(read(resource, answer), resource.desired()), resource.address


def test_what_is_not_there_is_absent():
    answer = server_answer(read=("the cluster", "within geo"))
    for resource in (User(SERVER, "geo", SECRET), Database(SERVER, "geo", "geo"), Extension(SERVER, "geo", "postgis")):
        assert read(resource, answer) is None


KINDS = (
    User(SERVER, "geo", SECRET),
    Database(SERVER, "geo", "geo"),
    Extension(SERVER, "geo", "a"),
    Gone(SERVER, "pg-user", "x"),
)


@pytest.mark.parametrize("resource", KINDS, ids=lambda resource: resource.kind)
def test_without_container_and_data_all_is_absent_and_with_data_it_is_unknown(resource):
    assert read(resource, "\n", "") is None
    assert isinstance(read(resource, "17\n", ""), Unknown)


@pytest.mark.parametrize("resource", KINDS, ids=lambda resource: resource.kind)
@pytest.mark.parametrize(
    ("container", "answer", "why"),
    [
        (EXITED, "17\nError response from daemon: container 1 is not running\n", "its container is exited"),
        (RUNS, "17\npsql: error: connection to server failed\n", "connection to server failed"),
        (RUNS, "17\n", "does not answer"),
    ],
)
def test_a_server_that_does_not_tell_is_unknown_and_for_a_while_only(resource, container, answer, why):
    state = read(resource, answer, container)
    assert isinstance(state, Unknown)
    assert why in state.why
    assert not state.lasting


def test_a_database_that_cannot_be_entered_leaves_the_rest_known():
    answer = (
        server_answer(user_row("geo", verifier(SECRET)))
        + 'psql: error: FATAL: database "geo" is not currently accepting connections\n'
    )
    assert isinstance(read(User(SERVER, "geo", SECRET), answer), dict)
    assert isinstance(read(Extension(SERVER, "geo", "postgis"), answer), Unknown)


def test_the_question_holds_hostile_names_as_words_only():
    name = "o'b\"; $(touch /tmp/x) \\"
    text = ask(["superuser su", "data /srv/pg", f"user {name}", f"within {name}"])
    statements = shlex.split(text.split("printf %s ")[1])[0]
    assert "E'o''b\"; $(touch /tmp/x) \\\\'" in statements
    assert '\\connect "o\'b""; $(touch /tmp/x) \\"' in statements


def test_ready_is_a_server_that_answers_was_proven_and_is_recorded():
    ready = Ready(SERVER)
    assert Ready.read([ready], "yes\n/srv/pg\n", RUNS, server_answer()) == [ready.desired()]
    assert Ready.read([ready], "no\n/srv/pg\n", RUNS, server_answer()) == [{**ready.desired(), "proven": "no"}]
    assert Ready.read([ready], "yes\n\n", EXITED, "17\n") == [{"answers": "no", "proven": "yes", "recorded": ""}]
    assert Ready.read([ready], "yes\n\n", "", "\n") == [None]
    assert [*ready.common_questions([ready])] == [inspect, ask]


def waits(machine, ready: str, restarts: str) -> tuple[int, str]:
    """A wait for a server: `ready` is the shell of each pg_isready, `restarts` that of the container's count of restarts."""
    (machine.folder / "stowage/unproven").mkdir(parents=True)
    (machine.folder / "stowage/unproven/postgres").touch()
    machine.program("sleep", "exit 0")
    machine.program(
        "docker",
        f"case $* in *pg_isready*) {ready};; *psql*) echo 1; echo 'WARNING:  it was sorted by other rules' >&2;; inspect*) {restarts};; logs*) echo 'FATAL: its last words';; esac",
    )
    return machine.run(f"set -e\n{script(Ready(SERVER, within=20))}")


def test_a_server_is_waited_for_and_then_recorded(machine):
    count = machine.folder / "asked"
    status, _ = waits(machine, f'echo x >>{count}; [ "$(wc -l <{count})" = 9 ]', "echo 2")
    assert status == 0
    assert (machine.folder / "stowage/postgres").read_text() == "/srv/pg\n"
    assert not (machine.folder / "stowage/unproven/postgres").exists()


@pytest.mark.parametrize("restarts", ["echo 2", "echo x >>$0.n; wc -l <$0.n"])
def test_a_server_that_does_not_come_up_ends_the_wait_with_its_last_words(machine, restarts):
    status, output = waits(machine, "exit 1", restarts)
    assert status == 1
    assert "FATAL: its last words" in output
    assert ("after 20 s" if restarts == "echo 2" else "after 3 s") in output
    assert (machine.folder / "stowage/unproven/postgres").exists()


# Users.


def test_a_password_is_compared_here_and_never_sent():
    user = User(SERVER, "geo", SECRET)
    state = read(user, server_answer(user_row("geo", verifier(Secret("set by hand")))))
    assert user.diff(state) == ["password: changed, hidden"]
    text = sql(user, state)
    assert SECRET.reveal() not in text
    (stored,) = re.findall(r"PASSWORD '([^']*)'", text)
    assert is_password_of(stored, SECRET)
    assert "CREATE ROLE" not in text


def test_a_password_that_is_right_is_left_alone():
    user = User(SERVER, "geo", SECRET, ("createdb",))
    state = read(user, server_answer(user_row("geo", verifier(SECRET))))
    assert user.diff(state) == ["attributes: login -> login createdb"]
    assert "PASSWORD" not in sql(user, state)


def test_a_user_has_exactly_what_is_listed():
    user = User(SERVER, "geo", SECRET, member_of=("b", "c"))
    state = read(
        user,
        server_answer(
            user_row(
                "geo", verifier(SECRET), **{"member of": [member("a"), member("b")], "attributes": "login superuser"}
            )
        ),
    )
    text = sql(user, state)
    assert "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS" in text
    assert re.findall(r"^(?:GRANT|REVOKE).*;$", text, re.MULTILINE) == [
        'REVOKE "a" FROM "geo" GRANTED BY "postgres" CASCADE;',
        'GRANT "c" TO "geo";',
    ]


@pytest.mark.parametrize(
    "row", [{"expires": True}, {"stored": "md5c3fcd3d76192e4007dfb496cca67e13b"}, {"stored": ""}, {"attributes": ""}]
)
def test_a_user_that_cannot_log_in_is_a_difference(row):
    user = User(SERVER, "geo", SECRET)
    assert user.diff(read(user, server_answer({**user_row("geo", verifier(SECRET)), **row})))


def test_a_new_user_is_made_whole_or_not_at_all():
    text = sql(User(SERVER, 'o"b', SECRET))
    assert text.startswith('BEGIN;\nCREATE ROLE "o""b";\nALTER ROLE "o""b" WITH LOGIN ')
    assert text.endswith("COMMIT;\n")


def test_no_statement_is_an_argument_and_none_is_logged():
    text = script(User(SERVER, "geo", SECRET))
    assert "psql -qAtX -v ON_ERROR_STOP=1 -v VERBOSITY=terse -U postgres -d postgres >/dev/null" in text
    for quiet in ("log_statement=none", "log_min_duration_statement=-1", "log_min_error_statement=panic"):
        assert quiet in text


# Databases and extensions.


def test_a_database_is_made_with_what_can_only_be_chosen_then():
    text = sql(Database(SERVER, "geo", "geo", locale="C.UTF-8"))
    assert "CREATE DATABASE \"geo\" OWNER \"geo\" TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8';" in text
    assert 'REVOKE ALL ON DATABASE "geo" FROM PUBLIC;' in text


def test_a_database_that_was_dropped_is_not_made_again_empty_without_a_word(storage_host):
    host = storage_host()
    plan = plan_of(host, {"pg-database:geo": None}, {"pg-database:geo": "databases 0123"})
    (change,) = (planned for planned in plan.changes if planned.address == "pg-database:geo")
    assert change.action is Action.REFUSED
    assert "was it dropped, or renamed?" in change.why
    assert "inv restore latest --database geo" in change.hint
    assert "sed -i '\\| pg-database:geo$|d' /var/lib/stowage/applied" in change.hint
    assert {held.address for held in plan.held} >= {"pg-database:geo"}


def test_an_owner_and_who_may_connect_are_put_right():
    database = Database(SERVER, "geo", "geo", open=True)
    state = read(database, server_answer(database_row("geo", owner="eve")))
    assert database.diff(state) == ["owner: eve -> geo", "open to: its owner -> every user"]
    assert sql(database, state).splitlines()[:-1] == [
        'ALTER DATABASE "geo" OWNER TO "geo";',
        'REVOKE ALL ON DATABASE "geo" FROM PUBLIC;',
        'GRANT CONNECT, TEMPORARY ON DATABASE "geo" TO PUBLIC;',
        'GRANT ALL ON DATABASE "geo" TO "geo";',
    ]


@pytest.mark.parametrize(("row", "word"), [({"encoding": "LATIN1"}, "encoding"), ({"locale": "de_DE.utf8"}, "locale")])
def test_what_can_only_be_chosen_at_the_beginning_is_refused_later(row, word):
    database = Database(SERVER, "geo", "geo", locale="C.UTF-8")
    assert f"its {word} is" in database.refusal(read(database, server_answer(database_row("geo", **row)))).why


def test_a_locale_that_nobody_chose_may_be_any():
    database = Database(SERVER, "geo", "geo")
    state = read(database, server_answer(database_row("geo", locale="de_DE.utf8", owner="eve")))
    assert database.refusal(state) is None


def test_an_extension_is_made_and_brought_to_the_version_of_the_image():
    extension = Extension(SERVER, "geo", "postgis")
    assert sql(extension) == 'CREATE EXTENSION IF NOT EXISTS "postgis" CASCADE;\n'
    assert "-d geo" in script(extension)
    state = read(
        extension, server_answer(extension_row("postgis", "3.4.2", "3.5.2"), read=("the cluster", "within geo"))
    )
    assert extension.diff(state) == ["version: 3.4.2 -> 3.5.2"]
    assert sql(extension, state) == 'ALTER EXTENSION "postgis" UPDATE;\n'


def test_an_extension_in_use_that_the_image_does_not_have_is_refused():
    extension = Extension(SERVER, "geo", "postgis")
    state = read(extension, server_answer(extension_row("postgis", "3.4.2", ""), read=("the cluster", "within geo")))
    assert "the image has no postgis" in extension.refusal(state).why


# Removal.


def test_a_database_is_never_removed():
    gone = Gone(SERVER, "pg-database", "old")
    state = read(gone, server_answer(database_row("old")))
    assert gone.refusal(state).why == "a database is never removed"
    assert read(gone, server_answer()) is None


def test_a_user_goes_only_when_it_owns_nothing():
    gone = Gone(SERVER, "pg-user", "old")
    assert "owns" in gone.refusal(read(gone, server_answer(user_row("old", uses=3)))).why
    state = read(gone, server_answer(user_row("old")))
    assert gone.refusal(state) is None
    assert sql(gone, state) == 'DROP ROLE "old";\n'


def test_an_extension_that_is_no_longer_named_stays(storage_host):
    assert databases.gone(storage_host(), "pg-extension", "geo/postgis") is None
    assert databases.gone(storage_host(), "pg-user", "old") == Gone(
        Server("postgres", "/srv/stowage/postgres"), "pg-user", "old"
    )


def test_a_host_that_no_longer_has_the_role_keeps_what_is_in_its_server(storage_host):
    assert databases.gone(storage_host(roles=["base", "docker", "images", "postgres"]), "pg-database", "geo") is None


# The settings.


@pytest.mark.parametrize(
    ("path", "value", "where", "why"),
    [
        ("databases__1__owner", "nobody", "databases[1].owner", "database_users has no nobody"),
        ("databases__1__name", "geo", "databases[1].name", "stands twice"),
        ("databases__1__name", "template1", "databases[1].name", "PostgreSQL's own"),
        ("databases__0__extensions", ["postgis", "postgis"], "databases[0].extensions[1]", "stands twice"),
        ("database_users__1__name", "postgres", "database_users[1].name", "superuser is named so"),
        ("database_users__1__name", "pg_me", "database_users[1].name", "begin with pg_"),
        ("database_users__1__member_of", ["reader"], "database_users[1].member_of[0]", "stands before it"),
        ("database_users__0__password", Secret("short"), "database_users[0].password", "8 characters"),
        ("database_users__0__password", Secret("paßword-of-geo"), "database_users[0].password", "ASCII"),
        ("database_users__0__password", Secret("mysecretpassword"), "database_users[0].password", "vendor's default"),
        ("postgres__superuser_password", Secret("postgres"), "postgres.superuser_password", "vendor's default"),
        ("postgres__address", "172.30.99.11", "postgres.address", "has this address"),
        ("postgres__address", "10.0.0.1", "postgres.address", "not in the network"),
        ("postgres__image", "nothing", "postgres.image", "images has no"),
        ("postgres__major", 16, "postgres.major", "is of 17 by its tag"),
        ("postgres__settings", {"port": "1"}, "postgres.settings.port", "says it"),
        ("postgres", None, "postgres", "no server for them"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_by_their_path(storage_host, path, value, where, why):
    with pytest.raises(ValidationError) as error:
        storage_host(**{path: value})
    problems = dict(error.value.errors()[0]["ctx"]["error"].problems)
    assert why in {dotted(place): text for place, text in problems.items()}[where]
