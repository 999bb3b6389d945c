"""Ctrl-C at any moment ends a command with one line, and lost output gives no traceback. In a separate checkout."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from invoke.exceptions import Exit

from converge.ui import cli, interrupt, output
from converge.ui.output import Unwritten

_spec = importlib.util.spec_from_file_location("interrupter", cli.ROOT / "tests" / "interrupter.py")
interrupter = importlib.util.module_from_spec(_spec)
sys.modules["interrupter"] = interrupter
_spec.loader.exec_module(interrupter)


@pytest.fixture(scope="module")
def silent_host(tmp_path_factory):
    """A copy of the project with one host, which accepts connections and never answers."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("converge", "roles", "runbook", "lab", "worker", "templates", "files", "script"):
        shutil.copytree(cli.ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("inv", "tasks.py", "invoke.yaml", *(path.name for path in cli.ROOT.glob("requirements*.txt"))):
        shutil.copy2(cli.ROOT / name, root / name)
    (root / ".venv").symlink_to(cli.ROOT / ".venv")
    (root / "inventory").mkdir()
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        port = silent.getsockname()[1]
        host = f"silent: {{ansible_host: 127.0.0.1, ansible_port: {port}, roles: [base]}}"
        (root / "inventory" / "hosts.yml").write_text(f"all:\n  hosts:\n    {host}\n")
        silent.settimeout(60)
        yield root, silent


@pytest.fixture
def checkout(silent_host):
    return silent_host[0]


def run(checkout: Path, *arguments: str, **streams):
    return subprocess.run(
        ["./inv", *arguments],
        cwd=checkout,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        **streams,
    )


# --- signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0.2, 0.25, 0.3, 0.4, 0.5, 1.5])
@pytest.mark.parametrize(("number", "command"), [(signal.SIGINT, "check"), (signal.SIGTERM, "status")])
def test_a_command_that_reads_ends_at_once_with_one_line_at_any_moment(checkout, after, number, command):
    outcome = interrupter.interrupted(["./inv", command, "--host", "silent"], after, number, checkout)
    assert (outcome.code, outcome.faults(number)) == (128 + number, [])
    assert "stopped: nothing was changed" in outcome.output


@pytest.mark.parametrize("after", [0.001, 0.005, 0.01, 0.02])
def test_no_signal_is_forgotten_in_the_first_moments(checkout, after):
    """At first the signal may still end the shell or `env`, without a line."""
    outcome = interrupter.interrupted(["./inv", "check", "--host", "silent"], after, signal.SIGINT, checkout)
    assert outcome.code in (130, -signal.SIGINT)
    assert not outcome.left


def test_a_command_with_something_to_put_in_order_ends_in_order(silent_host):
    root, host = silent_host
    host.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            host.accept()[0].close()  # those of the tests before
    host.settimeout(60)
    held = []
    outcome = interrupter.interrupted(
        ["./inv", "unlock", "--host", "silent"], 0, signal.SIGHUP, root, lambda _: held.append(host.accept())
    )
    assert (outcome.code, outcome.faults(signal.SIGHUP)) == (129, [])
    assert interrupt.MAY_BE_HALF in outcome.output


def test_a_signal_that_was_switched_off_stays_so(checkout):
    """`nohup ./inv deploy`, or a command in the background of a script."""
    line = "trap '' INT; exec ./inv inventory --host silent"
    command = ["sh", "-c", line]
    assert interrupter.interrupted(command, 0.3, signal.SIGINT, checkout).code == 0


def ended(body: str) -> tuple[int, str]:
    """The exit code and output of a program that handles signals from its start."""
    program = f"import os, signal, time\nfrom converge.ui import interrupt\ninterrupt.take()\n{body}"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=cli.ROOT, capture_output=True, text=True, check=False, timeout=60,
        preexec_fn=interrupter._listening,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


PRESS = "os.kill(os.getpid(), signal.SIGINT); time.sleep(0.1)"


def test_while_something_is_changed_the_first_signal_is_told_and_the_second_one_ends_it():
    with_handler = "with interrupt.handled_by(lambda number: print('heard', number, flush=True)):"
    assert ended(f"{with_handler} {PRESS}\nprint('went on')") == (0, "heard 2\nwent on\n")
    assert ended(f"{with_handler} {PRESS}; {PRESS}") == (130, f"heard 2\n{interrupt.MAY_BE_HALF}\n")


def test_a_command_that_hangs_on_its_way_out_is_ended(monkeypatch):
    hangs = f"interrupt._LONGEST_WAY_OUT = 0.2\ninterrupt.in_order()\ntry: {PRESS}\nfinally: time.sleep(50)"
    assert ended(hangs) == (130, f"{interrupt.MAY_BE_HALF}\n")


def test_what_was_started_here_does_not_outlive_the_end():
    starts = (
        "import subprocess\np = subprocess.Popen(['sleep', '50'], start_new_session=True)\nprint(p.pid, flush=True)"
    )
    code, screen = ended(f"{starts}\ninterrupt.child(p)\n{PRESS}")
    assert code == 130
    stat, until = Path(f"/proc/{screen.split()[0]}/stat"), time.monotonic() + 20
    with suppress(OSError):  # it is gone, or a zombie of its new parent
        while stat.read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < until, "it still runs"
            time.sleep(0.05)


# --- output -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("--list",), ("inventory", "--host", "silent"), ("check", "--help")])
def test_output_that_finds_a_full_disk_is_one_error(checkout, arguments):
    with open("/dev/full", "w") as full:
        done = run(checkout, *arguments, stdout=full)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "error: what this command has to say cannot be written\n     standard output: No space"
    )
    assert done.stderr.count("error: ") == 1


def test_output_that_is_lost_is_told_whatever_the_exit_code_of_the_command(tmp_path):
    """A short screen is only written at the end, after the exit code is set."""
    program = (
        "import sys; sys.path[0] = '.'; from converge import entry; from converge.ui import output\n"
        "def run(): print('changes are pending'); return 2\n"
        "entry._run = run; entry.main()"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=cli.ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize("arguments", [("--list",), ("inventory", "--host", "silent")])
def test_a_reader_that_went_away_ends_a_command_without_a_word(checkout, arguments):
    reads, writes = os.pipe()
    os.close(reads)
    done = run(checkout, *arguments, stdout=writes)
    os.close(writes)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_closed_output_is_no_output(checkout):
    """With stdout closed, the next socket would get its number, and the output."""
    done = subprocess.run(
        ["sh", "-c", "./inv inventory --host silent >&- && ./inv inventory --host silent >&- 2>&- <&-"],
        cwd=checkout, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_errors_that_cannot_be_written_keep_their_exit_code(checkout):
    command = "./inv check --host nobody 2>/dev/full"
    assert subprocess.run(["sh", "-c", command], cwd=checkout, capture_output=True, check=False).returncode == 1


def test_a_line_to_a_host_that_broke_is_never_taken_for_a_reader_who_went_away(monkeypatch):
    monkeypatch.setattr(output, "_ours", True)

    def body():
        raise BrokenPipeError("the line")

    with pytest.raises(Exit) as caught:
        cli.boundary(body)
    assert "BrokenPipeError: the line" in str(caught.value.message)


def test_work_under_way_goes_on_when_nobody_takes_the_output(monkeypatch):
    from converge.ui.screen import Screen

    class Full:
        def write(self, text):
            raise Unwritten(OSError(28, "No space left on device"))

        def flush(self):
            raise Unwritten(OSError(28, "No space left on device"))

        def isatty(self):
            return False

    monkeypatch.setattr(sys, "stdout", Full())
    screen = Screen(["lab"])
    with pytest.raises(Unwritten):
        screen.lines(["the plan"])
    screen = Screen(["lab"])
    screen.goes_on = True
    screen.lines(["+ file:/etc/x  done"])
    assert "No space left on device" in str(screen.lost)


def test_what_python_compiled_is_kept_for_the_next_command(checkout):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    run(checkout, "--list", stdout=subprocess.DEVNULL, env=environment)
    kept = {path.name.split(".")[0] for path in checkout.rglob("__pycache__/*.pyc") if ".venv" not in path.parts}
    assert {"cli", "mistyped"} <= kept, f"only {sorted(kept)} are kept"


def test_in_one_log_an_error_stands_behind_what_led_to_it(checkout):
    code = "from converge.ui import output; import sys; output.take(); print('plan'); print('error', file=sys.stderr); print('end')"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=checkout, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    assert done.stdout.split() == ["plan", "error", "end"]
