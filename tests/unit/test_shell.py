"""Quoted values arrive unchanged in a real /bin/sh."""

from __future__ import annotations

import signal
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from converge import shell
from converge.shell import quote, quote_all, sh

TEXT = some.text(some.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def arguments(script: str) -> list[str]:
    """The arguments as a shell reads them, separated by NULs."""
    done = subprocess.run(["/bin/sh", "-c", f"set -- {script}\nprintf '%s\\0' \"$@\""], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


@settings(max_examples=60, deadline=None)
@given(some.lists(TEXT, min_size=1, max_size=4))
def test_any_words_arrive_as_they_are(many):
    assert arguments(quote_all(many)) == many
    assert arguments(" ".join(quote(text) for text in many)) == many


@settings(max_examples=60, deadline=None)
@given(TEXT, TEXT)
def test_a_template_takes_any_values(first, second):
    assert arguments(sh("-- {} middle {}", first, second)) == ["--", first, "middle", second]


@pytest.mark.parametrize(
    "text", ["", " ", "a b", "'", '"', "$HOME", "$(id)", "`id`", "\n", "*", "-rf", "~", "{}", "a\\", "!x", "#", "é"]
)
def test_what_means_something_to_a_shell_is_only_text(text):
    assert arguments(quote(text)) == [text]


def test_a_number_is_a_word():
    assert arguments(sh("{} {}", 9000, "x")) == ["9000", "x"]


def test_a_value_with_braces_is_not_filled_in():
    assert arguments(sh("{} {}", "{}", "{0}")) == ["{}", "{0}"]


def test_a_nul_is_refused():
    with pytest.raises(ValueError, match="NUL"):
        quote("a\0b")


def test_a_cut_while_a_record_is_written_leaves_the_old_one_and_nothing_that_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(shell, "UNFINISHED", str(tmp_path / "unfinished"))
    folder = tmp_path / "keys of etc"
    folder.mkdir()
    file = folder / "daemon.json"
    for text in ("old", "new"):
        cut = shell.write_record(str(file), "sh -c 'printf half; kill -9 $PPID'")
        before = file.read_text() if file.exists() else None
        assert subprocess.run(["sh", "-ec", cut]).returncode == -signal.SIGKILL
        assert (file.read_text() if file.exists() else None) == before
        subprocess.run(["sh", "-ec", shell.write_record(str(file), shell.sh("printf %s {}", text))], check=True)
        assert file.read_text() == text and [*tmp_path.rglob("*")] == [folder, file]
