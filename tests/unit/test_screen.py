"""The screen: a line at least every ten seconds, also during long reads."""

from __future__ import annotations

import time
from types import SimpleNamespace

from converge.engine.resource import Action
from converge.ui import deploy, screen
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


def test_a_warning_of_a_change_that_succeeds_is_shown_whole_and_at_once(capsys):
    change = SimpleNamespace(address="authority:a", action=Action.CREATE)
    tell = Screen(["prod"]).reporter("prod")
    for line in ("asking", f"warning: it is away, {'and ' * 60}so on"):
        tell("says", change, line)
    assert capsys.readouterr().out.splitlines() == [f"    warning: it is away, {'and ' * 60}so on"]
