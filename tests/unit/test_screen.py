"""The screen: a line at least every ten seconds, also during long reads."""

from __future__ import annotations

import time
from types import SimpleNamespace

from converge.engine.resource import Action
from converge.ui import deploy, screen, waiting
from converge.ui.screen import Screen


def test_a_check_that_waits_for_a_silent_service_says_so(monkeypatch, capsys):
    monkeypatch.setattr(screen, "SILENCE", 0.5)
    host = SimpleNamespace(name="prod", plan=None, failure=None, link=object(), patience=40.0)
    over = Screen(["prod"]).watch_reading(lambda: deploy._still_reading([host]))
    time.sleep(2.5)
    over.set()
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("prod: still reading; a service that does not answer is given 40 s, ")


def test_hosts_that_have_answered_are_not_among_those_that_are_waited_for():
    runs = [
        SimpleNamespace(name="well", plan=object(), failure=None, link=object(), patience=40.0),
        SimpleNamespace(name="dead", plan=None, failure=object(), link=None, patience=40.0),
        SimpleNamespace(name="slow", plan=None, failure=None, link=None, patience=40.0),
    ]
    assert deploy._still_reading(runs) == ["slow: still connecting"]


def test_a_long_change_shows_its_own_last_words_and_not_those_of_the_change_before(monkeypatch, capsys):
    monkeypatch.setattr(screen, "SILENCE", 0.5)
    shown = Screen(["prod"])
    tell = shown.reporter("prod")
    first, second = (SimpleNamespace(address=f"project:{name}", action=Action.CREATE) for name in ("a", "b"))
    for event, change, words in (
        ("begin", first, ""),
        ("says", first, "a started"),
        ("end", first, ""),
        ("begin", second, ""),
    ):
        tell(event, change, words)
    over, until = shown.watch(), time.monotonic() + 20
    while "still" not in (out := capsys.readouterr().out):
        assert time.monotonic() < until
        time.sleep(0.1)
    over.set()
    assert "still prod: project:b" in out and "a started" not in out.partition("still")[2]


def test_a_warning_of_a_change_that_succeeds_is_shown_whole_and_at_once(capsys):
    change = SimpleNamespace(address="authority:a", action=Action.CREATE)
    tell = Screen(["prod"]).reporter("prod")
    for line in ("asking", f"warning: it is away, {'and ' * 60}so on"):
        tell("says", change, line)
    assert capsys.readouterr().out.splitlines() == [f"    warning: it is away, {'and ' * 60}so on"]


def test_a_long_question_says_how_long_it_takes_and_leaves_nothing_behind(monkeypatch, capsys) -> None:
    def asked(seconds: float) -> str:
        with waiting.waiting(lambda: "lab: the worker reads"):
            time.sleep(seconds)
        return capsys.readouterr().err

    monkeypatch.setattr(waiting, "FIRST", 0.05)
    assert asked(0.1) == "", "no terminal"
    monkeypatch.setattr(waiting.sys.stderr, "isatty", lambda: True)
    screen_said = asked(0.3)
    assert screen_said.startswith("\r\033[K  lab: the worker reads, 0 m 0 s") and screen_said.endswith("\r\033[K")
    monkeypatch.setattr(waiting, "FIRST", 60)
    assert asked(0) == ""
