"""Requests: the worker reads what the operator's side writes, and refuses those of another version."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from worker import __main__ as worker
from worker import finish, job
from worker.contract import MEANS, STEPS, USAGE, Request


def test_a_request_comes_back_as_it_was_written_and_says_only_what_was_said() -> None:
    request = Request(do="restore", set="latest", databases=["a b", "ü"], new_name="x", accept={"a b": ["rows"]})
    assert Request.parse(request.text()) == request
    assert json.loads(request.text()).keys() == {"do", "set", "databases", "new_name", "accept"}


@pytest.mark.parametrize("text", ['{"do": "backup", "bukets": ["a"]}', "[]", "", '{"do": '])
def test_a_question_of_another_stowage_is_answered_with_what_to_deploy(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert worker.main(["look", text]) == 0
    assert "inv deploy --role backup" in json.loads(capsys.readouterr().out)["failed"]["hint"]


def test_a_secret_that_is_gone_from_the_host_is_named_with_what_brings_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "worker.json").write_text(
        json.dumps(
            {
                "identity_file": f"{tmp_path}/identity",
                "stack": "s",
                "targets": [{"kind": "path", "name": "usb", "path": "/"}],
            }
        )
    )
    monkeypatch.setattr(job, "CONFIG", tmp_path / "worker.json")
    question = Request(ask="show", set="latest").text()
    (tmp_path / "identity").mkdir()
    assert worker.main(["look", question]) == 0
    failed = json.loads(capsys.readouterr().out)["failed"]
    assert failed["what"] == "a secret of the backups is not on this host"
    assert failed["why"] == f"{tmp_path}/identity: is a directory" and failed["hint"].startswith("inv deploy")


def test_a_fault_of_the_worker_is_an_answer_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(job, "CONFIG", tmp_path / "worker.json")
    assert worker.main(["look", Request(ask="list").text()]) == 0
    assert json.loads(capsys.readouterr().out)["failed"]["why"].startswith("FileNotFoundError: ")


def test_a_run_of_another_stowage_is_not_begun_and_its_journal_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs/run1"
    folder.mkdir(parents=True)
    (folder / "request.json").write_text('{"do": "backup", "bukets": ["a"]}')
    (tmp_path / "worker.json").write_text("{}")
    for module in (job, finish):
        monkeypatch.setattr(module, "STATE", tmp_path)
    monkeypatch.setattr(job, "CONFIG", tmp_path / "worker.json")
    assert worker.main(["run1"]) == USAGE
    end = json.loads((folder / "journal.jsonl").read_text())
    assert (end["event"], end["code"], end["what"]) == ("end", USAGE, "the run run1 cannot be read")
    assert "bukets" in end["why"] and "inv deploy --role backup" in end["hint"]


def test_every_thing_that_can_be_asked_for_has_steps_and_every_code_a_meaning() -> None:
    assert {"backup", "restore", "verify"} <= worker.DOES.keys() & STEPS.keys()
    assert {code for _, code in worker.DOES.values()} <= MEANS.keys()
