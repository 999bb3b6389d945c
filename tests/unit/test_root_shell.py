"""The root shell runs only complete scripts, one run at a time; tested with a real /bin/sh."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time

import pytest

from converge.engine.long_commands import WAIT_FOR_OTHERS
from converge.errors import LOCKED, UNREACHABLE, Trouble
from converge.ssh import root_shell
from converge.ssh.root_shell import RootShell, describe, holder


def frame(body: str, digest: str = "", length: int | None = None) -> bytes:
    data = body.encode()
    size = len(data) if length is None else length
    return f"{digest or hashlib.sha256(data).hexdigest()} {size:>10d}\n".encode() + data


@pytest.fixture
def lock(tmp_path, monkeypatch):
    monkeypatch.setattr(root_shell, "LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr(root_shell, "STOP", str(tmp_path / "stop"))
    return tmp_path / "lock"


@pytest.fixture
def shell(link):
    shell = RootShell(link)
    yield shell
    shell.close()


def is_free(lock) -> bool:
    return subprocess.run(["flock", "-n", lock, "true"], check=False).returncode == 0


def in_time(question, seconds: float = 3) -> bool:
    until = time.monotonic() + seconds
    while not question() and time.monotonic() < until:
        time.sleep(0.01)
    return question()


def cuts() -> list[int]:
    length = len(frame("true"))
    return [0, 1, 40, 63, 64, 65, 70, 74, 75, *range(76, length)]


@pytest.mark.parametrize("at", cuts())
def test_a_header_or_body_cut_in_its_middle_runs_nothing(link, tmp_path, at):
    shell = RootShell(link)
    # Each prefix of this body, from two letters on, is a complete command that would leave a file.
    body = f">{tmp_path}/abcd"
    at = at if at < 76 else len(frame(body)) - (len(frame("true")) - at)
    link.pipes[0].write(frame(body)[:at])
    shell.close()
    link.pipes[0].exit_status()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"digest": "0" * 64}, {"length": 3}, {"digest": "x" * 64}])
def test_a_script_with_a_wrong_hash_or_length_runs_nothing_nor_does_what_follows(link, shell, tmp_path, wrong):
    pipe = link.pipes[0]
    pipe.write(frame(f">{tmp_path}/one", **wrong) + frame(f">{tmp_path}/two"))
    with pytest.raises(Trouble, match="the run could not go on") as caught:
        shell.finish()
    assert caught.value.why == "a script did not arrive whole"
    assert list(tmp_path.iterdir()) == []


def test_a_script_that_holds_a_nul_byte_runs_nothing(shell, tmp_path):
    with pytest.raises(Trouble, match="the run could not go on"):
        shell.run(f">{tmp_path}/one\n# \0")
    assert list(tmp_path.iterdir()) == []


def test_scripts_sent_at_once_run_one_after_the_other(shell):
    for n in range(5):
        shell.start(f"echo {n}; exit {n}")
    assert [shell.finish() for _ in range(5)] == [(n, f"{n}\n") for n in range(5)]


@pytest.mark.parametrize(
    "reader", ["cat", "head -c 200", 'read -r line; echo "$line"', "sh", "exec cat", "cat <&0 0<&0"]
)
def test_a_script_finds_nothing_on_its_standard_input_and_the_next_one_stays_whole(shell, reader):
    shell.start(f"{reader} || :")
    shell.start("echo next")
    shell.close()
    assert shell.finish()[1].strip() == ""
    assert shell.finish() == (0, "next\n")


@pytest.mark.parametrize(
    ("body", "status"),
    [("exit 7", 7), ("set -e\nfalse\ntrue", 1), ("if", 2), ("sh -c 'kill -9 $$'", 137), ("", 0), ("true", 0)],
)
def test_a_script_that_fails_ends_only_itself(shell, body, status):
    shell.start(body)
    assert shell.finish(quiet=1)[0] == status
    assert shell.run("echo well") == (0, "well\n")


def test_what_a_script_sets_is_gone_in_the_next(shell):
    shell.run("cd /usr; umask 000; word=old; set -eu; trap 'echo trapped' EXIT; PATH=/nowhere")
    assert shell.run('cd .; [ "$PWD" != /usr ] && umask && echo "${word:-none}" && ls -d /') == (0, "0077\nnone\n/\n")


def test_files_are_private_and_messages_english(shell, tmp_path):
    assert shell.run(f'>{tmp_path}/file; stat -c %a {tmp_path}/file; echo "$LC_ALL"') == (0, "600\nC\n")


@pytest.mark.parametrize("text", ["no line end", "", "\n", "\n\nblank lines\n\n", "a\rb\n", "é\n", "x" * 300_000])
def test_the_output_is_what_the_script_wrote(shell, text):
    assert shell.run(f"printf %s {root_shell.quote(text)}") == (0, text)


def test_output_that_is_not_text_ends_nothing(shell):
    status, output = shell.run(r"printf 'a\377b\n'")
    assert (status, output) == (0, "a�b\n")


def test_each_line_is_told_as_it_comes(shell):
    lines = []
    assert shell.run("echo one; echo two", lines.append)[0] == 0
    assert [line for line in lines if line] == ["one", "two"]


def test_a_script_of_any_size_arrives(shell):
    body = f"# {'é' * 400_000}\necho whole"
    assert shell.run(body) == (0, "whole\n")


def test_words_between_scripts_keep_the_shell_alive_and_run_nothing(link, monkeypatch):
    monkeypatch.setattr(root_shell, "SILENCE", 0.3)
    shell = RootShell(link)
    time.sleep(0.8)
    assert shell.run("echo still here") == (0, "still here\n")
    shell.close()


def test_a_line_on_which_nothing_comes_any_more_ends_the_shell_and_frees_the_lock(link, lock, monkeypatch):
    monkeypatch.setattr(root_shell, "SILENCE", 0.3)
    shell = RootShell(link, holder("inv deploy"))
    assert shell.run("true")[0] == 0
    assert not is_free(lock)
    monkeypatch.setattr(link.pipes[0], "write", lambda data: None)
    assert in_time(lambda: is_free(lock))


def test_a_second_run_is_told_who_holds_the_lock_since_when_doing_what(link, lock):
    by = {"who": "anna", "from": "laptop", "since": "2026-11-21T05:00:00Z", "doing": "inv deploy --set 'a={b}'"}
    first = RootShell(link, by)
    assert first.run("true")[0] == 0
    second = RootShell(link, holder("inv restart nginx"))
    with pytest.raises(Trouble, match="another run holds the lock") as caught:
        second.run("true")
    assert caught.value.code == LOCKED
    assert caught.value.why == "anna@laptop since 2026-11-21T05:00:00Z: inv deploy --set 'a={b}'"
    assert "inv unlock --host here" in caught.value.hint
    assert json.loads(lock.read_text()) == by, "a run that did not get the lock leaves its holder's name"
    assert first.run("echo undisturbed") == (0, "undisturbed\n")
    first.close()
    assert in_time(lambda: is_free(lock))


def test_a_command_that_outlives_the_shell_still_holds_the_lock(link, lock):
    shell = RootShell(link, holder("inv deploy"))
    _, output = shell.run("sleep 60 >/dev/null 2>&1 & echo $!")
    shell.close()
    assert link.pipes[0].exit_status() == 0
    assert not is_free(lock)
    subprocess.run(["kill", output.strip()], check=True)
    assert in_time(lambda: is_free(lock))


def test_the_last_step_of_a_run_whose_connection_is_gone_is_waited_for(link, lock):
    shell = RootShell(link, holder("inv deploy"))
    _, output = shell.run("sleep 60 >/dev/null 2>&1 & echo $!")
    link.pipes[0].process.kill()
    link.pipes[0].process.wait()
    messages = []
    second = RootShell(link, holder("inv deploy --yes"), messages.append)
    second.start("echo my turn")
    assert not in_time(lambda: is_free(lock), 2.5)
    subprocess.run(["kill", output.strip()], check=True)
    assert second.finish() == (0, "my turn\n")
    assert set(messages) == {"waits for the last step of a run whose connection is gone; inv unlock ends it"}
    assert second.waited


def test_a_command_that_an_earlier_run_left_running_is_waited_for_once_there_is_the_lock(
    link, lock, tmp_path, monkeypatch
):
    (tmp_path / "stowage-run-apt.service").touch()
    (tmp_path / "systemctl").write_text(
        f"#!/bin/sh\n[ $1 = show ] || exit 0\nflock -n {lock} true && exit\necho x >>{tmp_path}/asked\n"
        f"[ $(wc -l <{tmp_path}/asked) -lt 3 ] && echo active || echo inactive\n"
    )
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(root_shell, "WAIT_FOR_OTHERS", WAIT_FOR_OTHERS.replace("/run/systemd/transient", str(tmp_path)))
    messages = []
    shell = RootShell(link, holder("inv deploy"), messages.append)
    assert shell.run("echo my turn") == (0, "my turn\n")
    assert (tmp_path / "asked").read_text() == "x\n" * 3
    assert messages == ["waits for stowage-run-apt.service, which an earlier run began"]
    assert RootShell(link).run("echo no lock, no wait") == (0, "no lock, no wait\n")


def test_taking_the_lock_forgets_an_old_wish_to_stop(link, lock, tmp_path):
    (tmp_path / "stop").touch()
    assert RootShell(link, holder("inv deploy")).run("true")[0] == 0
    assert not (tmp_path / "stop").exists()


def test_a_shell_that_only_reads_takes_no_lock_and_writes_nothing(link, lock, tmp_path):
    assert RootShell(link).run("true")[0] == 0
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_cannot_be_written_is_said(link, monkeypatch):
    monkeypatch.setattr(root_shell, "LOCK", "/proc/no/such/lock")
    with pytest.raises(Trouble, match="the run could not go on") as caught:
        RootShell(link, holder("inv deploy")).run("true")
    assert caught.value.why == "/proc/no/such/lock cannot be written"


def test_a_broken_line_says_that_the_next_deploy_finishes_the_work(link, shell):
    link.pipes[0].process.kill()
    with pytest.raises(Trouble, match="the line to the host broke") as caught:
        shell.finish()
    assert caught.value.code == UNREACHABLE
    assert "the next deploy" in caught.value.untouched
    assert caught.value.hint == "inv deploy --host here"


def test_a_host_that_says_nothing_is_given_up(shell):
    shell.start("exec sleep 5")
    with pytest.raises(Trouble, match="the line to the host broke") as caught:
        shell.finish(quiet=0.05)
    assert "said nothing" in caught.value.why


@pytest.mark.parametrize("text", ["", "rubbish", "{}", '{"who": "anna"}', "null", "[1]"])
def test_a_holder_that_cannot_be_read_is_somebody(text):
    assert describe(text) == "somebody, whose name could not be read"
