"""Each error is one message with one exit code; a refusal names its reason and what waits for it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from invoke.exceptions import Exit

from converge.engine import plan as planning
from converge.engine.plan import Plan
from converge.engine.resource import Action, Unknown, in_order
from converge.engine.role import Role
from converge.errors import LOCKED, REFUSED, UNREACHABLE, Trouble, Troubles
from converge.libraries import import_whole
from converge.resources.docker import Image, NoSnap
from converge.resources.system import System
from converge.ui import cli, render
from converge.ui.deploy import Options, deploy
from roles import base as base_role
from roles import docker as docker_role
from roles import images as images_role


def ended(body) -> tuple[int, str]:
    with pytest.raises(Exit) as caught:
        cli.boundary(body)
    return caught.value.code, str(caught.value.message or "")


def raiser(error: BaseException):
    def body():
        raise error

    return body


# --- messages and exit codes ------------------------------------------------------------------------------------------


def test_a_trouble_says_where_what_why_what_is_untouched_and_what_to_type():
    trouble = Trouble("it is full", "prod", "df says so", "nothing was changed", "df -h", REFUSED)
    code, screen = ended(raiser(trouble))
    assert code == 3
    assert screen == "error: prod: it is full\n     df says so\n     nothing was changed\n     try: df -h"


def test_the_highest_exit_code_of_several_is_that_of_the_command():
    troubles = [Trouble("one", code=code) for code in (1, LOCKED, UNREACHABLE)]
    code, screen = ended(raiser(Troubles(troubles)))
    assert code == LOCKED
    assert screen.count("error: one") == 3


def test_a_fault_of_our_own_is_no_traceback_but_a_way_to_see_one(monkeypatch):
    monkeypatch.delenv("STOWAGE_DEBUG", raising=False)
    code, screen = ended(raiser(KeyError("nothere")))
    assert code == 1
    assert "a fault of Stowage itself\n     KeyError: 'nothere'" in screen
    assert "STOWAGE_DEBUG=1" in screen


def test_ctrl_c_at_a_question_is_no_traceback():
    code, screen = ended(raiser(KeyboardInterrupt()))
    assert code == 130
    assert screen.startswith("stopped")


def test_a_reader_that_goes_away_ends_the_command_quietly(monkeypatch):
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(fileno=lambda: os.dup(1)))
    assert ended(raiser(BrokenPipeError())) == (1, "")


def test_the_list_of_commands_ends_quietly_when_its_reader_goes_away():
    command = [sys.executable, "-m", "invoke", "--list"]
    with subprocess.Popen(command, cwd=cli.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listing:
        listing.stdout.close()
        assert listing.stderr.read() == b""


def test_a_flag_is_never_taken_for_the_word_that_a_command_needs(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["inv", "drives.replace", "--help"])
    done = []

    @cli.command
    def replace(c, label, host=""):
        done.append(label)

    code, screen = ended(lambda: replace.body(None, label="--help", host=""))
    assert (code, done) == (1, [])
    assert "drives.replace needs LABEL first" in screen
    assert "try: inv --help drives.replace" in screen
    replace.body(None, label="drive1", host="")
    assert done == ["drive1"]


@pytest.mark.parametrize(
    ("typed", "what", "hint"),
    [
        ("restore", "restore needs FILE", "inv --help restore"),
        ("host.add", "host.add needs NAME ADDRESS", "inv --help host.add"),
        ("deploy prod", "what is prod?\n     deploy takes no further word", "inv deploy --host prod"),
        ("deploi", "there is no command deploi\n     did you mean deploy?", "inv --list"),
        ("backup.diff latest --hots prod", "backup.diff has no flag --hots\n     did you mean --host?", "inv --help"),
        ("deploy --host", "--host needs a value", "inv --help deploy"),
        ("deploy --set --yes", "--set needs KEY=VALUE", "inv --help deploy"),
        ("history --lines many", "'many' is not a number", "inv --help history"),
    ],
)
def test_a_mistyped_command_is_told_as_every_other_error(typed, what, hint):
    command = [sys.executable, "-m", "invoke", *typed.split()]
    done = subprocess.run(command, cwd=cli.ROOT, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {what}")
    assert f"nothing was connected to or changed\n     try: {hint}" in done.stderr


def test_an_unknown_role_is_told_with_the_nearest(monkeypatch):
    code, screen = ended(lambda: list(cli.only("base,dirves", ("base", "drives"))))
    assert code == 1
    assert "there is no role dirves" in screen
    assert "nothing was connected to or changed\n     try: --role drives" in screen


# --- questions --------------------------------------------------------------------------------------------------------


def typing(monkeypatch, text: str, terminal: bool = True) -> None:
    given = io.StringIO(text)
    given.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stdin", given)


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "yeah\n"])
def test_anything_but_yes_is_no_and_ends_with_pending(monkeypatch, answer):
    typing(monkeypatch, answer)
    assert ended(lambda: cli.confirm("Trust it? ", yes=False)) == (2, "nothing was changed")


@pytest.mark.parametrize(("answer", "word"), [("y\n", ""), ("YES\n", ""), ("prod\n", "prod")])
def test_yes_or_the_word_that_was_asked_for_goes_on(monkeypatch, answer, word):
    typing(monkeypatch, answer)
    cli.confirm("Go on? ", yes=False, word=word)


def test_yes_is_not_the_word_that_was_asked_for(monkeypatch):
    typing(monkeypatch, "y\n")
    assert ended(lambda: cli.confirm("Type prod: ", yes=False, word="prod"))[0] == 2


def test_without_a_terminal_nobody_is_asked(monkeypatch):
    typing(monkeypatch, "y\n", terminal=False)
    code, screen = ended(lambda: cli.confirm("Go on? ", yes=False))
    assert code == 2
    assert "no terminal" in screen
    cli.confirm("Go on? ", yes=True)


# --- what is refused --------------------------------------------------------------------------------------------------


def plan_of(readings, *chains) -> Plan:
    role = Role("role", lambda host: chains)
    return planning.make("prod", [role], planning.wanted(role, None), readings, {})


def test_what_is_refused_is_told_at_the_end_with_what_waits_for_it(thing):
    plan = plan_of(
        {"thing:a": {"word": "old"}, "thing:b": None}, in_order(thing("a", refuses="it holds data"), thing("b"))
    )
    (trouble,) = render.troubles(plan)
    assert (trouble.what, trouble.where, trouble.why, trouble.code) == (
        "thing:a is refused",
        "prod",
        "it holds data",
        REFUSED,
    )
    assert trouble.untouched == "not touched: thing:a, thing:b"


def test_many_things_with_one_cause_are_one_error(thing):
    names = [f"bucket{n}" for n in range(9)]
    plan = plan_of({f"thing:{name}": Unknown("it is away", "wake it") for name in names}, *map(thing, names))
    (trouble,) = render.troubles(plan)
    assert trouble.what == "thing:bucket0, thing:bucket1, thing:bucket2 and 6 more could not be read"
    assert (trouble.why, trouble.hint) == ("it is away", "wake it")


def test_a_hint_of_ours_names_the_host(thing):
    plan = plan_of({"thing:a": Unknown("it is away", "inv drives.list")}, thing("a"))
    assert render.troubles(plan)[0].hint == "inv drives.list --host prod"
    assert "try: inv drives.list --host prod" in "\n".join(render.plan(plan))
    assert render.as_json([plan], {})["hosts"][0]["changes"][0]["try"] == "inv drives.list --host prod"


def test_many_that_wait_for_one_are_counted_unless_all_is_asked_for(thing):
    chain = in_order(thing("a", refuses="no"), *(thing(f"b{n}") for n in range(5)))
    readings = {"thing:a": {"word": "old"}, **{f"thing:b{n}": None for n in range(5)}}
    lines = render.plan(plan_of(readings, chain))
    assert "    . thing:b0 and 4 more  each waits for thing:a" in lines
    assert sum("waits for" in line for line in render.plan(plan_of(readings, chain), full=True)) == 5


def test_what_was_deployed_and_is_gone_is_not_called_changed(thing):
    role = Role("role", lambda host: [in_order(thing("a", refuses="no"), thing("b"))])
    memory = {"thing:b": f"role {thing('b').remembered()}"}
    plan = planning.make(
        "prod", [role], planning.wanted(role, None), {"thing:a": {"word": "old"}, "thing:b": None}, memory
    )
    assert "    . thing:b  waits for thing:a; gone from the host" in render.plan(plan)


# --- systems, snap, images --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", ["debian 11", "arch ", " ", ""])
def test_an_unsupported_system_is_refused_by_name(release):
    system = System(base_role.SUPPORTED)
    (reading,) = System.read([system], release + "\n")
    change = planning.compare(planning.WantedResource("base", system), reading, {})
    assert change.action is Action.REFUSED
    assert (release.strip() or "does not say") in change.why
    assert "supported are debian 12, debian 13, ubuntu 24.04, ubuntu 26.04" in change.why


@pytest.mark.parametrize(
    ("system", "instead"),
    [
        ("debian 12", "download.docker.com/linux/debian"),
        ("ubuntu 24.04", '["docker.io", "docker-compose-v2", "iptables"]'),
    ],
)
def test_a_system_whose_packages_have_no_compose_is_refused_with_the_settings_that_fit(storage_host, system, instead):
    wants = planning.wanted(docker_role.docker, storage_host())
    compose = next(want for want in wants if want.resource.address == "system:docker-compose")
    (reading,) = System.read([compose.resource], system)
    change = planning.compare(compose, reading, {})
    assert change.why == f"{system} has no compose v2 in its package docker-compose, unlike debian 13"
    assert instead in change.hint
    assert "packages:docker" in [want.resource.address for want in wants if "system:docker-compose" in want.after]


def test_nothing_is_done_to_an_unsupported_system(storage_host):
    wants = planning.wanted(base_role.base, storage_host())
    first = {address for want in wants for address in want.after if want.resource.kind != "system"} - {
        want.resource.address for want in wants
    }
    assert first == set()
    plan = planning.make(
        "prod", [base_role.base], wants, {"system:os-release": {"system": "arch", "supported": "no"}}, {}
    )
    assert plan.todo == []


@pytest.mark.parametrize("place", ["snap/bin/docker", "snap/docker/current"])
def test_docker_of_snap_is_refused_by_name(machine, place):
    machine.places["/snap/"] = f"{machine.folder}/snap/"
    assert machine.plan(NoSnap()).in_sync
    program = machine.folder / place
    program.parent.mkdir(parents=True)
    program.symlink_to("/usr/bin/snap")
    (change,) = machine.plan(NoSnap()).changes
    assert change.action is Action.REFUSED
    assert "snap" in change.why
    assert "snap remove docker" in change.hint


@pytest.mark.parametrize(
    ("reference", "dead"),
    [
        ("minio/minio:latest", True),
        ("docker.io/minio/minio:RELEASE.2025-09-07T16-13-09Z", True),
        ("quay.io/minio/mc@sha256:" + "a" * 64, True),
        ("mirror.example.org:5000/minio/minio:RELEASE.2025-09-07T16-13-09Z", False),
        ("docker.io/pgsty/silo:1", False),
    ],
)
def test_a_dead_image_is_known_by_its_name_and_a_mirror_is_another_name(reference, dead):
    assert images_role.is_dead(reference) is dead


def test_a_dead_image_is_refused_with_its_replacement_unless_the_host_has_it(storage_host):
    host = storage_host(images__minio={"reference": "minio/minio:latest"})
    image = images_role.image(host, "minio")
    refused = planning.compare(planning.WantedResource("images", image), None, {})
    assert refused.action is Action.REFUSED
    assert "withdrawn" in refused.why
    assert images_role.REPLACEMENT in refused.hint
    has_it = planning.compare(planning.WantedResource("images", image), {"present": "yes"}, {})
    assert has_it.action is Action.NONE


def test_an_image_that_this_machine_does_not_have_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(images_role, "_ask_engine", lambda path: {})
    for reference, hint in {
        "a/b:1": "docker pull a/b:1",
        "stowage-lab/x:1": "inv lab.up",
        "minio/minio:1": images_role.REPLACEMENT,
    }.items():
        with pytest.raises(Trouble, match="cannot be shipped") as caught:
            images_role.LocalImage(reference).content()
        assert hint in caught.value.hint
    with pytest.raises(Trouble) as caught:
        images_role.LocalImage("own:1", "docker build -t own:1 .").content()
    assert caught.value.hint == "docker build -t own:1 ."


def test_an_image_without_an_engine_here_says_so(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    with pytest.raises(Trouble) as caught:
        images_role.LocalImage("a/b:1").content()
    assert "no Docker Engine answers on this machine, at unix:///nowhere" in caught.value.why


def test_a_pull_that_fails_says_what_may_be_wrong(machine):
    machine.program("docker", "echo 'no such host' >&2; exit 1")
    status, output = machine.run(Image("a/b:1").fix(None)[0].script)
    assert status != 0
    assert "does the host reach the registry" in output


# --- templates --------------------------------------------------------------------------------------------------------


def test_what_is_wrong_for_several_hosts_is_told_for_each_before_any_is_touched(monkeypatch):
    from converge.engine import run as runs

    def wrong(host):
        raise Trouble("a template cannot be rendered", where=host.name)

    monkeypatch.setattr(runs, "dial", lambda hosts: {})
    hosts = [SimpleNamespace(name=name) for name in ("one", "two")]
    code, screen = ended(
        lambda: deploy(hosts, {host.name: [Role("r", wrong)] for host in hosts}, Options("inv check", check=True))
    )
    assert code == 1
    assert "error: one: a template" in screen
    assert "error: two: a template" in screen


# --- libraries --------------------------------------------------------------------------------------------------------


def test_threads_that_need_parts_of_a_library_at_once_find_them_whole(tmp_path, monkeypatch):
    """Modules that import each other: without a lock one thread would use a module that another has only half loaded."""
    package = tmp_path / "ring"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for part, other in (("one", "two"), ("two", "one")):
        (package / f"{part}.py").write_text(
            f"import time\ntime.sleep(0.1)\nimport ring.{other}\ntime.sleep(0.1)\nmade = True\n"
        )
    monkeypatch.syspath_prepend(str(tmp_path))

    def use(part: str) -> bool:
        import_whole(f"ring.{part}")
        return all(hasattr(sys.modules[f"ring.{name}"], "made") for name in ("one", "two"))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(use, ("one", "two"))) == [True, True]


def test_a_part_of_a_library_that_is_put_off_is_loaded_when_something_is_done_with_it(tmp_path, monkeypatch):
    package = tmp_path / "handing"
    package.mkdir()
    (package / "__init__.py").write_text("from .heavy import Heavy\ndef made(): return Heavy(3)\n")
    (package / "heavy.py").write_text("class Heavy:\n    unit = 'kg'\n    def __init__(self, of): self.of = of\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    import_whole("handing", later=["handing.heavy.Heavy"])
    handing = sys.modules["handing"]
    assert "handing.heavy" not in sys.modules
    heavy = handing.made()
    assert heavy.of == 3 and type(heavy) is sys.modules["handing.heavy"].Heavy
    assert isinstance(heavy, handing.Heavy) and not isinstance(3, handing.Heavy) and handing.Heavy.unit == "kg"
    import_whole("handing", later=["handing.heavy.Heavy"])
    assert isinstance(heavy, sys.modules["handing.heavy"].Heavy)
