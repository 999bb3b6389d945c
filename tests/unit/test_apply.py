"""Apply: steps run for real, in order, up to the first failure; the report of what was done is true."""

from __future__ import annotations

import gc
import getpass
import grp
import json
import os
import subprocess
import time
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from converge.engine import apply
from converge.engine import plan as planning
from converge.engine import run as runs
from converge.engine import steps as carrying
from converge.engine.plan import Change
from converge.engine.resource import Action, Call, Refusal, Send, Shell, in_order
from converge.engine.role import Role
from converge.engine.run import Run
from converge.engine.steps import carry_out, parts
from converge.errors import UNREACHABLE, Trouble
from converge.inventory.secret import Secret
from converge.resources.file import File


@pytest.fixture
def steps(tmp_path, thing, monkeypatch):
    """Changes whose steps each make a file; `made` lists the files."""
    monkeypatch.setattr(carrying, "STOP", str(tmp_path / "stop"))
    folder = tmp_path / "made"
    folder.mkdir()

    def change(name: str, *many) -> Change:
        wanted = [
            Shell(step.replace("MADE", str(folder))) if isinstance(step, str) else step
            for step in many or (f"touch MADE/{name}",)
        ]
        return Change("role", thing(name, steps=tuple(wanted)), None, Action.CREATE)

    return SimpleNamespace(
        change=change,
        made=lambda: sorted(path.name for path in folder.iterdir()),
        folder=folder,
        stop=tmp_path / "stop",
    )


@pytest.fixture
def do(machine):
    """Carries out changes; `machine.events` are the reports."""

    def carry(*changes: Change):
        return carry_out(
            machine.shell,
            machine.link,
            changes,
            lambda event, change, text: machine.events.append((event, change.resource.name, text)),
        )

    return carry


def names(changes) -> list[str]:
    return [change.resource.name for change in changes]


def test_all_changes_are_made_in_their_order_and_each_is_reported_as_it_ends(machine, steps, do):
    done = do(steps.change("a"), steps.change("b", "touch MADE/b1", "touch MADE/b2"), steps.change("c"))
    assert (names(done.done), done.failed, done.left) == (["a", "b", "c"], None, [])
    assert steps.made() == ["a", "b1", "b2", "c"]
    assert [(event, name) for event, name, _ in machine.events] == [
        ("begin", "a"), ("end", "a"), ("begin", "b"), ("end", "b"), ("begin", "c"), ("end", "c"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("false", 1),
        ("exit 7", 7),
        ("sh -c 'exit 42'", 42),
        ("no-such-program", 127),
        ("x=$(false)", 1),
        ("false | false", 1),
        ("kill -9 $(sh -c 'echo $PPID')", 137),
        ("cd /no/such/folder", 2),
        (": ${nothing:?}", 2),
        ("if", 2),
    ],
)
def test_a_command_that_fails_in_the_middle_of_a_step_stops_it_and_all_that_follows(machine, steps, do, script, status):
    middle = f"touch MADE/b1\n{script}\ntouch MADE/b2"
    done = do(steps.change("a"), steps.change("b", middle, "touch MADE/b3"), steps.change("c"))
    assert (names(done.done), done.failed.resource.name, names(done.left)) == (["a"], "b", ["c"])
    assert done.why.splitlines()[0] == f"ended with status {status}"
    assert set(steps.made()) <= {"a", "b1"}
    assert machine.events[-1][:2] == ("failed", "b")


def test_a_step_that_ends_early_and_well_lets_the_next_one_begin(steps, do):
    assert do(steps.change("a", "touch MADE/a\nexit 0\ntouch MADE/never"), steps.change("b")).failed is None
    assert steps.made() == ["a", "b"]


def test_the_end_of_what_a_failed_step_said_is_told_and_nothing_of_the_steps_before(steps, do):
    loud = "echo first words; echo 'cannot open' >&2; seq 100; false"
    done = do(steps.change("a", "echo unrelated"), steps.change("b", loud))
    assert done.why.splitlines()[-1] == "100"
    assert len(done.why.splitlines()) == carrying.TAIL + 1
    assert "unrelated" not in done.why


def test_what_a_step_prints_is_told_while_it_runs(machine, steps, do):
    do(steps.change("a", "echo one; echo two >&2"))
    assert [text for event, _, text in machine.events if event == "says"] == ["one", "two"]


def test_steps_do_not_see_each_others_folder_words_or_traps(machine, steps, do):
    first = "cd /usr; word=old; umask 000; trap '>MADE/trapped' EXIT; PATH=/nowhere; set +e"
    second = '[ "$PWD" != /usr ]; [ -z "$word" ]; [ "$(umask)" = 0077 ]; rm MADE/trapped; touch MADE/b'
    done = do(steps.change("a", first, second))
    assert (done.failed, done.why) == (None, "")
    assert steps.made() == ["b"]


def test_a_step_finds_nothing_on_its_standard_input(steps, do):
    assert do(steps.change("a", "cat >MADE/a"), steps.change("b")).failed is None
    assert (steps.folder / "a").read_text() == ""
    assert steps.made() == ["a", "b"]


def test_neighbouring_steps_travel_together(steps):
    call, send = Call(lambda link: None), Send("cat", lambda: iter([]), 0)
    changes = [
        steps.change("a"),
        steps.change("b", "true", "true"),
        steps.change("c", "true", call),
        steps.change("d", send),
        steps.change("e"),
        steps.change("f"),
    ]
    assert [[change.resource.name for change, _ in part.steps] for part in parts(changes)] == [
        ["a", "b", "b", "c"],
        ["c"],
        ["d"],
        ["e", "f"],
    ]


def test_a_wish_to_stop_is_met_before_anything_begins(steps, do):
    steps.stop.touch()
    done = do(steps.change("a"), steps.change("b"))
    assert (done.stopped, done.failed, names(done.done), names(done.left)) == (True, None, [], ["a", "b"])
    assert steps.made() == []


def test_a_wish_to_stop_lets_the_current_change_end_and_counts_it_as_done(steps, do):
    done = do(steps.change("a"), steps.change("b", f"touch {steps.stop}", "touch MADE/b"), steps.change("c"))
    assert done.stopped
    assert steps.made() == ["a", "b"]
    assert (names(done.done), names(done.left)) == (["a", "b"], ["c"])


@pytest.mark.parametrize("kind", ["call", "send"])
def test_a_wish_to_stop_is_met_before_an_api_or_a_stream_too(steps, do, kind):
    made = []
    step = (
        Call(lambda link: made.append("b"))
        if kind == "call"
        else Send(f"touch {steps.folder}/b", lambda: iter([b""]), 0)
    )
    done = do(steps.change("a", f"touch {steps.stop}"), steps.change("b", step), steps.change("c", step))
    assert (made, steps.made()) == ([], [])
    assert (done.stopped, names(done.done), names(done.left)) == (True, ["a"], ["b", "c"])


def test_a_frame_stops_by_itself_with_status_130(steps):
    steps.stop.touch()
    (part,) = parts([steps.change("a")])
    assert (
        subprocess.run(["/bin/sh", "-c", carrying.frame(part, "marker")], check=False, capture_output=True).returncode
        == 130
    )


def test_a_line_that_breaks_stops_at_the_next_change(link, machine, steps):
    (part,) = parts(
        [steps.change("a", "touch MADE/a; while [ ! -e MADE/gone ]; do sleep 0.01; done"), steps.change("b")]
    )
    machine.shell.start(carrying.frame(part, "marker"))
    pipe = link.pipes[0]
    until = time.monotonic() + 10
    while not steps.made() and time.monotonic() < until:
        time.sleep(0.01)
    pipe.process.stdout.close()
    (steps.folder / "gone").touch()
    pipe.process.wait(10)
    assert steps.made() == ["a", "gone"]


def test_a_stream_arrives_whole_and_one_that_fails_stops_the_rest(machine, steps, do):
    good = Send(f"cat >{steps.folder}/a", lambda: iter([b"one", b"\0two"]), 7, "sending")
    bad = Send("cat >/dev/null; echo 'no space left' >&2; exit 5", lambda: iter([b"x"]), 1)
    done = do(steps.change("a", good), steps.change("b", bad), steps.change("c"))
    assert (steps.folder / "a").read_bytes() == b"one\0two"
    assert (names(done.done), done.failed.resource.name, names(done.left)) == (["a"], "b", ["c"])
    assert done.why.splitlines() == ["ended with status 5", "no space left"]
    assert machine.events[0] == ("begin", "a", "sending")


def test_an_api_that_refuses_stops_the_rest_with_its_reason(steps, do):
    def refuse(link):
        raise Trouble("MinIO refused", why="QuotaExceeded: no", hint="inv status")

    done = do(steps.change("a", "touch MADE/a", Call(refuse), "touch MADE/never"), steps.change("b"))
    assert (steps.made(), done.failed.resource.name, names(done.left)) == (["a"], "a", ["b"])
    assert (done.why, done.hint) == ("MinIO refused\nQuotaExceeded: no", "inv status")


@pytest.mark.parametrize("error", [Trouble("no MinIO node answers"), ConnectionError("a library's own words")])
def test_an_api_that_fails_because_the_line_broke_is_told_as_that(machine, steps, do, error):
    def lose(link):
        link.lost = True
        raise error

    with pytest.raises(Trouble, match="the line to the host broke") as caught:
        do(steps.change("a", Call(lose)), steps.change("b"))
    assert caught.value.code == UNREACHABLE
    assert steps.made() == []


@pytest.mark.parametrize("error", [Trouble("no MinIO node answers"), EOFError()])
def test_a_line_that_broke_a_moment_ago_and_looks_alive_is_told_as_broken(link, steps, do, error):
    def lose(_):
        link.pipes[0].process.kill()
        raise error

    with pytest.raises(Trouble, match="the line to the host broke") as caught:
        do(steps.change("a", Call(lose)), steps.change("b"))
    assert caught.value.code == UNREACHABLE


def test_an_api_call_with_a_fault_of_ours_is_not_blamed_on_the_line(steps, do):
    def wrong(link):
        raise KeyError("a fault of ours")

    with pytest.raises(KeyError):
        do(steps.change("a", Call(wrong)), steps.change("b"))
    assert steps.made() == []


def test_an_api_is_called_with_the_line_to_the_host(machine, steps, do):
    seen = []
    do(steps.change("a", Call(seen.append)))
    assert seen == [machine.link]


# A whole run on this machine: apply, read back, remember.


@pytest.fixture
def run_of(machine, tmp_path):
    """A run whose host is this machine."""

    def make(*resources, memory=None) -> Run:
        role = Role("role", lambda host: [in_order(*resources)])
        host = SimpleNamespace(name="here", root=tmp_path, settings=SimpleNamespace(roles=["role"]))
        run = runs.prepare(host, [role])
        run.link, run.shell, run.memory = machine.link, machine.shell, memory or {}
        readings, run.memory = runs.gather(run, run.wants)
        run.plan = planning.make("here", [role], run.wants, readings, run.memory)
        return run

    return make


def agreed(run, new) -> bool:
    return True


def quiet(event, change, text) -> None:
    pass


def mine(path: Path, content="new", **more) -> File:
    return File(str(path), content, owner=getpass.getuser(), group=grp.getgrgid(os.getgid()).gr_name, **more)


def audit(machine) -> list[dict]:
    file = machine.folder / "stowage" / "audit.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_garbage_is_looked_for_between_two_roles_and_at_no_other_moment(run_of, tmp_path):
    """A collection during a send closed a channel, which waited for the lock of that send."""
    assert not gc.isenabled()
    thing = Role("role", lambda host: [])
    object.__setattr__(thing, "itself", thing)
    gone = weakref.ref(thing)
    del thing
    apply.apply(run_of(mine(tmp_path / "file")), quiet, agreed)
    assert gone() is None
    assert not gc.isenabled()


def test_a_second_run_changes_nothing_and_writes_nothing(machine, run_of, tmp_path):
    wanted = mine(tmp_path / "file")
    first = run_of(wanted)
    apply.apply(first, quiet, agreed)
    before = audit(machine)
    second = run_of(wanted)
    apply.apply(second, quiet, agreed)
    assert (first.failure, second.plan.in_sync, second.code) == (None, True, 0)
    assert audit(machine) == before
    assert [(record["event"], record["changes"], record.get("result")) for record in before] == [
        ("begin", [f"+ {wanted.address}"], None),
        ("end", [f"+ {wanted.address}"], "done"),
    ]


def test_what_was_applied_is_remembered_so_that_drift_is_known(machine, run_of, tmp_path):
    wanted = mine(tmp_path / "a b")
    apply.apply(run_of(wanted), quiet, agreed)
    (tmp_path / "a b").write_text("changed by hand")
    assert [change.drift for change in run_of(wanted).plan.changes] == [True]
    assert [change.drift for change in run_of(mine(tmp_path / "a b", "a new setting")).plan.changes] == [False]


def test_what_holds_data_is_remembered_also_where_it_was_there_already(machine, run_of, tmp_path):
    path = tmp_path / "kept"
    path.write_text("new")
    path.chmod(0o644)
    kind = type("Kept", (File,), {"kind": "kept", "lost": lambda self: Refusal("it is gone")})
    kept, plain = kind(str(path), "new", mine(path).owner, mine(path).group), mine(tmp_path / "new")
    assert [change.action for change in run_of(kept, plain).plan.changes] == [Action.NONE, Action.CREATE]
    apply.apply(run_of(kept, plain), quiet, agreed)
    (tmp_path / "kept").unlink()
    assert [change.action for change in run_of(kept, plain).plan.changes] == [Action.REFUSED, Action.NONE]


def test_who_leaves_a_run_does_not_wait_for_its_end(machine, run_of, tmp_path):
    def leave(event, change, text) -> None:
        raise KeyboardInterrupt

    run = run_of(mine(tmp_path / "file"))
    with pytest.raises(KeyboardInterrupt):
        apply.apply(run, leave, agreed)
    assert [record["event"] for record in audit(machine)] == ["begin"]


def test_a_change_that_did_not_take_is_an_error_not_a_success(machine, run_of, tmp_path):
    wanted = mine(tmp_path / "file")
    undoes_it = type(
        "Undoes", (File,), {"kind": "undoes", "fix": lambda self, before: [Shell(f"rm -f {wanted.path}")]}
    )(str(tmp_path / "other"), "")
    run = run_of(wanted, undoes_it)
    with pytest.raises(Trouble, match="a change did not take") as caught:
        apply.apply(run, quiet, agreed)
    assert wanted.address in caught.value.why
    assert audit(machine)[-1]["event"] == "end"


def test_a_failure_says_what_is_done_and_what_was_not_begun(machine, run_of, tmp_path):
    run = run_of(mine(tmp_path / "a"), mine(tmp_path / "b", check="false {}"), mine(tmp_path / "c"))
    apply.apply(run, quiet, agreed)
    assert run.failure.what == f"file:{tmp_path}/b failed"
    assert "1 change is done" in run.failure.untouched
    assert f"not begun: file:{tmp_path}/c" in run.failure.untouched
    assert audit(machine)[-1]["result"] == "failed"
    assert [change.address for change in run.done] == [f"file:{tmp_path}/a"]


def memory(machine) -> dict[str, str]:
    lines = (machine.folder / "stowage" / "applied").read_text().splitlines()
    return {line.split(" ", 2)[2]: line.split(" ", 2)[1] for line in lines}


def begun(machine) -> list[str]:
    return [address for address, state in memory(machine).items() if state == "begun"]


def failing(kind: str, path: Path):
    """A kind whose fix makes its file and then fails, in each possible way."""

    def fix(self, before):
        def fail(link):
            raise {"trouble": Trouble("MinIO refused"), "fault": TypeError("no such argument")}[kind]

        make = Shell(f"touch {path}")
        return [make, Shell("false")] if kind == "shell" else [make, Call(fail)]

    return type("Failing", (File,), {"kind": "failing", "fix": fix})(str(path), "")


@pytest.mark.parametrize("kind", ["shell", "trouble", "fault"])
def test_what_a_failed_deploy_made_or_began_is_remembered_and_counted(machine, run_of, tmp_path, kind):
    run = run_of(mine(tmp_path / "a"), failing(kind, tmp_path / "b"), mine(tmp_path / "c"))
    runs.each([run], lambda run: apply.apply(run, quiet, agreed))
    assert run.failure.what == f"failing:{tmp_path}/b failed"
    assert (audit(machine)[-1]["result"], audit(machine)[-1]["changes"]) == ("failed", [f"+ file:{tmp_path}/a"])
    assert begun(machine) == [f"failing:{tmp_path}/b"]
    assert memory(machine).keys() == {f"file:{tmp_path}/a", f"failing:{tmp_path}/b"}


def test_what_did_not_take_was_made_all_the_same(machine, run_of, tmp_path):
    wanted = mine(tmp_path / "file")
    undoes_it = type(
        "Undoes", (File,), {"kind": "undoes", "fix": lambda self, before: [Shell(f"rm -f {wanted.path}")]}
    )(str(tmp_path / "other"), "")
    run = run_of(wanted, undoes_it)
    runs.each([run], lambda run: apply.apply(run, quiet, agreed))
    assert (audit(machine)[-1]["result"], len(audit(machine)[-1]["changes"])) == ("failed", 2)
    assert begun(machine) == [wanted.address, f"undoes:{tmp_path}/other"]


def test_who_leaves_a_run_leaves_behind_what_was_to_be_made(machine, run_of, tmp_path):
    def leave(event, change, text) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply.apply(run_of(mine(tmp_path / "a"), mine(tmp_path / "b")), leave, agreed)
    assert begun(machine) == [f"file:{tmp_path}/a", f"file:{tmp_path}/b"]


def test_a_stop_is_told_as_a_stop(machine, run_of, tmp_path, monkeypatch):
    monkeypatch.setattr(carrying, "STOP", str(tmp_path / "stop"))
    stops = type("Stops", (File,), {"kind": "stops", "fix": lambda self, before: [Shell(f"touch {tmp_path}/stop")]})
    run = run_of(stops(str(tmp_path / "a"), ""), mine(tmp_path / "b"))
    apply.apply(run, quiet, agreed)
    assert (audit(machine)[-1]["result"], len(audit(machine)[-1]["changes"])) == ("stopped", 1)
    assert f"file:{tmp_path}/b" not in memory(machine)


def test_what_a_role_wants_more_once_it_is_read_again_is_written_down_before_it_is_made(machine, run_of, tmp_path):
    """Such as a bucket of an API that the same plan has started: it could not be read before."""
    seen = []
    first, second = mine(tmp_path / "first"), mine(tmp_path / "second")
    run = run_of(first, second)
    run.plan.changes[1] = replace(run.plan.changes[1], action=Action.WAITING, later=True)

    def look(event, change, text) -> None:
        if event == "begin":
            seen.append((change.address, begun(machine)))

    apply.apply(run, look, agreed)
    assert run.failure is None
    assert seen[-1][0] == second.address
    assert second.address in seen[-1][1]


def test_a_fault_of_one_host_is_told_and_leaves_the_others(run_of, tmp_path):
    def wrong(run) -> None:
        raise KeyError("a fault")

    broken, two = run_of(mine(tmp_path / "a")), run_of(mine(tmp_path / "b"))
    runs.each([broken, two], lambda run: wrong(run) if run is broken else None)
    assert "KeyError" in broken.failure.why
    assert two.failure is None


def test_neither_the_audit_nor_the_memory_holds_a_secret(machine, run_of, tmp_path):
    apply.apply(run_of(mine(tmp_path / "key", Secret("SENTINEL"), mode="0400")), quiet, agreed)
    assert not [
        path for path in (machine.folder / "stowage").rglob("*") if path.is_file() and "SENTINEL" in path.read_text()
    ]


def test_on_a_host_whose_audit_cannot_be_written_nothing_is_changed(machine, run_of, tmp_path):
    (machine.folder / "stowage").write_text("a file in the way")
    run = run_of(mine(tmp_path / "file"))
    with pytest.raises(Trouble, match="the audit line could not be written"):
        apply.apply(run, quiet, agreed)
    assert not (tmp_path / "file").exists()


@pytest.fixture
def services(machine, link, run_of, tmp_path):
    """Three services, of which the second breaks; the fourth needs it."""

    def make(alone: bool = True, **kinds):
        wants = {name: kinds.get(name) or mine(tmp_path / name) for name in ("one", "two", "three", "four")}
        roles = [
            Role(name, lambda host, resource=resource: [resource], ("two",) if name == "four" else (), alone=alone)
            for name, resource in wants.items()
        ]
        run = run_of(mine(tmp_path / "any"))
        run.roles = roles
        run.wants = [want for role in roles for want in planning.wanted(role, run.host)]
        run.plan = planning.make("here", roles, run.wants, dict.fromkeys(want.address for want in wants.values()), {})
        return run

    return make


def breaks(kind: str, path: Path):
    if kind == "fails":
        return mine(path, check="false {}")
    undone = {"kind": "undone", "fix": lambda self, before: [Shell(":")]}
    return type("Undone", (File,), undone)(str(path), "")


@pytest.mark.parametrize("kind", ["fails", "does not take"])
def test_a_broken_service_stops_only_those_that_need_it(machine, services, tmp_path, kind):
    run = services(two=breaks(kind, tmp_path / "two"))
    runs.each([run], lambda run: apply.apply(run, quiet, agreed))
    assert [(tmp_path / name).exists() for name in ("one", "two", "three", "four")] == [True, False, True, False]
    (trouble,) = run.troubles
    assert "two" in f"{trouble.what} {trouble.why}"
    assert "what needs two (four)" in trouble.untouched
    assert run.code == 1
    assert audit(machine)[-1]["result"] == "failed"


def test_all_broken_services_are_named(services, tmp_path):
    run = services(one=breaks("fails", tmp_path / "one"), three=breaks("fails", tmp_path / "three"))
    runs.each([run], lambda run: apply.apply(run, quiet, agreed))
    assert [trouble.what for trouble in run.troubles] == [
        f"file:{tmp_path}/one failed",
        f"file:{tmp_path}/three failed",
    ]
    assert (tmp_path / "four").exists()


def test_behind_a_broken_role_nothing_is_begun(services, tmp_path):
    run = services(alone=False, two=breaks("fails", tmp_path / "two"))
    runs.each([run], lambda run: apply.apply(run, quiet, agreed))
    assert not (tmp_path / "three").exists()
