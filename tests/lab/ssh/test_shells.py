"""What runs on a host: shells, streams, and many of them on one connection."""

from __future__ import annotations

import hashlib
import os
import threading
import time

import pytest

from converge.errors import Trouble


def test_a_shell_reads_and_answers(start, open_link):
    pipe = open_link(start().target()).shell('read -r word; echo "got $word"; echo oops >&2; head -c 3; exit 3')
    pipe.write(b"it\nabcdef")
    assert pipe.readline(5) == b"got it\n"
    assert b"".join(iter(pipe.read, b"")) == b"abc"
    assert pipe.exit_status() == 3
    assert pipe.stderr_tail() == "oops\n"


def test_a_line_that_does_not_come_in_time_is_not_lost(start, open_link):
    pipe = open_link(start().target()).shell("printf 'ha'; read -r _; echo lf")
    with pytest.raises(TimeoutError):
        pipe.readline(0.3)
    pipe.write(b"\n")
    assert pipe.readline(5) == b"half\n"


def test_what_a_login_shell_prints_first_is_not_ours(start, open_link):
    force = 'ForceCommand echo "welcome to prod"; eval "$SSH_ORIGINAL_COMMAND"'
    pipe = open_link(start(options=force).target()).shell("echo mine")
    assert pipe.readline(5) == b"mine\n"


def test_an_account_without_a_shell_is_said(start, open_link):
    force = "ForceCommand echo This account is currently not available. >&2; exit 1"
    pipe = open_link(start(options=force).target()).shell("echo mine")
    with pytest.raises(Trouble, match=r"has no login shell\n *This account is currently not available"):
        pipe.readline(5)


def test_what_a_refusing_account_prints_is_shown(start, open_link):
    """As cloud images refuse root."""
    force = "ForceCommand echo 'Please login as the user ubuntu rather than root.'; exit 142"
    pipe = open_link(start(options=force).target()).shell("echo mine")
    with pytest.raises(Trouble, match="Please login as the user ubuntu"):
        pipe.readline(5)


def test_a_signal_is_told_from_a_lost_line(start, open_link):
    link = open_link(start().target())
    assert link.shell("kill -9 $$").exit_status() == 137
    assert link.alive()


def test_writing_to_a_command_that_has_ended_is_a_broken_pipe(start, open_link):
    pipe = open_link(start().target()).shell("exit 0")
    pipe.exit_status()

    def write_on() -> None:
        for _ in range(600):  # its end may be told before its input is closed
            pipe.write(b"more")
            time.sleep(0.1)

    with pytest.raises(BrokenPipeError):
        write_on()


def test_writing_after_the_end_of_stdin_is_a_broken_pipe(start, open_link):
    pipe = open_link(start().target()).shell("sleep 10")
    pipe.close_stdin()
    with pytest.raises(BrokenPipeError):
        pipe.write(b"more")


def test_a_stream_arrives_whole(start, open_link):
    data, heard = os.urandom(1_000_000), []
    status, out, err = open_link(start().target()).send("sha256sum; echo done >&2", [data] * 20, heard.append)
    assert (status, err) == (0, b"done\n")
    assert out.split()[0].decode() == hashlib.sha256(data * 20).hexdigest()
    assert sum(heard) == 20_000_000


def test_a_command_that_wants_no_more_ends_the_stream(start, open_link):
    link = open_link(start().target())
    status, _, err = link.send("head -c 10 >/dev/null; echo full >&2; exit 5", [bytes(100_000)] * 1000)
    assert (status, err) == (5, b"full\n")


def test_much_on_both_outputs_stops_nobody(start, open_link):
    command = "head -c 9000000 /dev/zero >&2; head -c 9000000 /dev/zero; cat >/dev/null; echo end; echo end >&2"
    status, out, err = open_link(start().target()).send(command, [bytes(1_000_000)] * 9)
    assert status == 0
    assert out.endswith(b"\0end\n")
    assert err.endswith(b"\0end\n")
    assert len(out) == len(err) == 65536


def test_sshds_own_rekeys_are_followed(start, open_link):
    link = open_link(start(options="RekeyLimit 1M").target())
    status, out, _ = link.send("cat | wc -c; head -c 20000000 /dev/zero", [bytes(1_000_000)] * 20)
    assert (status, len(out)) == (0, 65536)
    assert link.send("cat", [b"still here"])[1] == b"still here"


def test_the_ninth_session_waits_for_one_of_eight(start, open_link):
    link = open_link(start().target())
    eight = [link.shell("read -r _") for _ in range(8)]
    ninth = threading.Thread(target=link.send, args=("true", []))
    ninth.start()
    ninth.join(0.5)
    assert ninth.is_alive()
    eight[0].write(b"\n")
    ninth.join(5)
    assert not ninth.is_alive()


def test_many_threads_share_a_link(start, open_link):
    link, seen = open_link(start().target()), []
    workers = [
        threading.Thread(target=lambda n=n: seen.append(link.send("cat", [b"%d" % n])[1] == b"%d" % n))
        for n in range(24)
    ]
    [worker.start() for worker in workers]
    [worker.join(20) for worker in workers]
    assert seen == [True] * 24
