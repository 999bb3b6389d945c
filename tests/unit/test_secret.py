"""Secrets: never printed by accident, and read from where their references point."""

from __future__ import annotations

import copy
import json
import os
import pickle
import socket
import time

import pytest

from converge.errors import Trouble
from converge.inventory.secret import Secret, resolve
from converge.inventory.secret_command import Endless, printed

WORD = "hunter2-SENTINEL"


@pytest.mark.parametrize(
    "show",
    [str, repr, "{}".format, "{!r}".format, "{:>20}".format, "%s".__mod__, lambda secret: f"{[secret]} {(secret,)}"],
)
def test_printing_a_secret_shows_only_that_it_is_one(show):
    text = show(Secret(WORD))
    assert WORD not in text
    assert "[redacted]" in text


@pytest.mark.parametrize("write", [pickle.dumps, json.dumps, copy.deepcopy])
def test_a_secret_is_not_written_anywhere(write):
    with pytest.raises(TypeError):
        write(Secret(WORD))


def test_a_traceback_of_a_secret_shows_nothing():
    with pytest.raises(TypeError) as caught:
        Secret(WORD) + "x"
    assert WORD not in str(caught.value)


def test_secrets_are_equal_by_value_and_only_to_secrets():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_one_line_end_is_not_part_of_a_secret(tmp_path, monkeypatch, end):
    (tmp_path / "file").write_text(f" {WORD} {end}", newline="")
    monkeypatch.setenv("WORD", f" {WORD} {end}")
    for reference in ({"file": "file"}, {"env": "WORD"}, {"command": "cat file"}):
        assert resolve(reference, "key", tmp_path).reveal() == f" {WORD} "


@pytest.mark.parametrize("text", ["", "\n", f"{WORD}\n{WORD}\n", f"{WORD}\0", f"{WORD}\x1b", f"{WORD}\r{WORD}"])
def test_a_secret_of_no_line_or_several_is_refused_without_being_shown(tmp_path, text):
    (tmp_path / "file").write_text(text)
    with pytest.raises(
        Trouble, match=r"the secret minio\.root_password is (empty|more than one line|not plain text)"
    ) as caught:
        resolve({"file": "file"}, "minio.root_password", tmp_path)
    assert WORD not in str(caught.value)


def test_a_private_key_is_a_secret_of_several_lines(tmp_path):
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz\naC1rZXk=\n-----END OPENSSH PRIVATE KEY-----"
    (tmp_path / "key").write_text(key + "\n")
    assert resolve({"file": "key"}, "backup.targets[0].key", tmp_path).reveal() == key
    (tmp_path / "key").write_text(key + "\nand more\n")
    with pytest.raises(Trouble, match="more than one line"):
        resolve({"file": "key"}, "backup.targets[0].key", tmp_path)


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ({"env": "NOT_THERE"}, "the environment has no NOT_THERE"),
        ({"file": "missing"}, "No such file"),
        ({"file": "."}, "it is a directory, not a file"),
        ({"file": "~no-such-user-of-ours/x"}, "nobody here is named no-such-user-of-ours"),
        ({"file": "/dev/zero"}, "it is a device, not a file"),
        ({"file": "pipe"}, "it is a pipe, not a file"),
        ({"file": "socket"}, "it is a socket, not a file"),
        ({"file": "long"}, "it is larger than 64 KiB"),
        ({"file": "bytes"}, "it is UTF-16 text"),
        ({"file": "latin"}, "it is not text"),
        ({"command": "cat /dev/zero"}, "it prints more than 64 KiB"),
        ({"command": "yes"}, "it prints more than 64 KiB"),
        ({"command": "echo sorry >&2; exit 3"}, "ended with 3: sorry"),
        ({"command": "no-such-program-of-ours"}, "ended with 127"),
    ],
)
def test_a_reference_that_leads_nowhere_says_which_and_why(tmp_path, reference, says):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    (tmp_path / "long").write_bytes(b"a" * (1 << 17))
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as here:
        here.bind(str(tmp_path / "socket"))
    with pytest.raises(Trouble, match="the secret sudo") as caught:
        resolve(reference, "sudo", tmp_path)
    assert says in caught.value.why
    assert caught.value.hint


def test_a_command_whose_answer_is_not_text_is_told_like_any_other(tmp_path):
    with pytest.raises(Trouble, match="the secret sudo"):
        resolve({"command": r"printf '\377\376'"}, "sudo", tmp_path)


def test_a_command_that_does_not_end_is_told_while_it_runs_and_stopped(tmp_path, capsys):
    begun = time.monotonic()
    with pytest.raises(Endless, match="had not ended after 1 s"):
        printed("sleep 60", tmp_path, 100, limit=1, word=0.3)
    assert time.monotonic() - begun < 5
    assert "waiting for `sleep 60`" in capsys.readouterr().err


def test_a_command_may_close_its_output_or_leave_something_behind_that_holds_it(tmp_path):
    begun = time.monotonic()
    assert printed("echo secret; sleep 30 & exit 0", tmp_path, 100).text == b"secret\n"
    assert printed("echo secret; exec >&- 2>&-; sleep 0.2; exit 3", tmp_path, 100).code == 3
    assert time.monotonic() - begun < 5


def test_what_a_command_complains_of_has_a_limit_too(tmp_path):
    done = printed("head -c 300000 /dev/zero | tr '\\0' x >&2; exit 1", tmp_path, 100)
    assert (done.code, done.complaint) == (1, "x" * 300)
