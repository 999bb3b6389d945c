"""The documents are true: their commands parse, their files exist, their examples run."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from invoke.parser import Parser

from converge.engine.resource import Resource
from converge.inventory.hosts import load
from converge.ui.own import own_commands
from lab.records import host_vars
from roles.services.configuration import folders
from roles.settings.model import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
ROLE, SERVICE, TASK = (ROOT / "docs" / f"writing-a-{name}.md" for name in ("role", "service", "task"))
FENCE = re.compile(r"^```(\w*)[ ]?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
# Files of one clone: a document may name them although a checkout lacks them.
OF_A_CLONE = ("inventory/secrets", "inventory/known_hosts", "inventory/host_vars/lab.yml", ".venv")


@pytest.fixture(scope="module")
def commands():
    sys.path.insert(0, str(ROOT))
    return importlib.import_module("tasks").namespace


def code_of(document: Path) -> list[str]:
    """The code of a document: lines of shell blocks, and code within a sentence."""
    text = document.read_text()
    shell = [body for language, _, body in FENCE.findall(text) if language == "sh"]
    lines = [line.partition(" #")[0].strip() for body in shell for line in body.splitlines()]
    return [*lines, *SPAN.findall(FENCE.sub("", text))]


def typed(document: Path) -> list[list[str]]:
    """Every `inv` command in a document, as its arguments."""
    lines = (re.sub(r"^\./", "", line) for line in code_of(document))
    return [shlex.split(line)[1:] for line in lines if line.startswith("inv ")]


def test_every_command_stands_in_the_readme_or_in_the_runbook(commands):
    named = {command[0] for name in ("README.md", "docs/runbook.md") for command in typed(ROOT / name)}
    missing = [name for name, others in commands.task_names.items() if not {name, *others} & named]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_of_a_document_is_one_that_exists_with_these_options(commands, document):
    made_by_examples = {Path(name).stem for name in blocks() if name.startswith("roles/")}
    for _, body in blocks(TASK)["own_tasks.py"]:
        made_by_examples |= {f"own.{name}" for name in re.findall(r"^def (\w+)\(c: Context", body, re.MULTILINE)}
    parser = Parser(contexts=commands.to_contexts())
    for command in typed(document):
        if command[0].startswith("--") or command[0] in made_by_examples:
            continue
        assert command[0] in parser.contexts, f"{document.name}: inv {' '.join(command)}"
        if len(command) > 1:
            parser.parse_argv(command)  # raises at an unknown option or a missing word


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_a_document_names_exists(document):
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text())
    for link in links:
        assert (document.parent / link).exists(), f"{document.name} links to {link}"
    tops = tuple(f"{path.name}/" for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
    for span in code_of(document):
        path = span.split(" ")[0].removesuffix(".")
        ours = path.startswith(tops) or re.fullmatch(r"[\w.-]+\.(py|toml|txt|md)", path)
        if ours and not path.startswith(OF_A_CLONE) and not re.search(r"[A-Z]{4}|[*{…]", Path(path).stem):
            assert (ROOT / path).exists() or path in blocks(), f"{document.name} names {path}"


def test_every_kind_of_resource_stands_in_the_table():
    text = ROLE.read_text()
    for path in sorted((ROOT / "converge/resources").glob("*.py")):
        module = importlib.import_module(f"converge.resources.{path.stem}")
        for name, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, Resource) and kind.__module__ == module.__name__:
                assert f"`{name}(" in text, f"{name} of {path.name} is not in the table"


def blocks(*guides: Path) -> dict[str, list[tuple[str, str]]]:
    """The code blocks of guides (by default of all) by the file they belong to: language and text."""
    by_file: dict[str, list[tuple[str, str]]] = {}
    for guide in guides or (ROLE, SERVICE, TASK):
        for language, name, body in FENCE.findall(guide.read_text()):
            if name:
                by_file.setdefault(name, []).append((language, body))
    return by_file


def copy_to(root: Path) -> None:
    """A copy of the project like a fresh checkout: without files of one clone, and without tests."""
    skipped = shutil.ignore_patterns(".*", "__pycache__", "secrets", "known_hosts", "test_*.py")
    shutil.copytree(ROOT, root, ignore=skipped)
    for path in (root / "inventory/host_vars").glob("*.yml"):
        if path.stem != "prod":
            path.unlink()


def follow(root: Path, *guides: Path) -> None:
    """Follows guides in a copy of the project, word for word."""
    for name, parts in blocks(*guides).items():
        for language, body in parts:
            write(root / name, language, body)


def write(path: Path, language: str, body: str) -> None:
    """Writes a block of a guide into its file."""
    text = changed(path.read_text(), body, path.name) if language == "diff" else body
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def changed(text: str, difference: str, name: str) -> str:
    """A text with a diff applied; `…` stands for any text, and is kept in the new line."""
    lines = [(line[:1], line[1:]) for line in difference.splitlines()]
    old = "\n".join(line for mark, line in lines if mark != "+")
    new = "\n".join(line for mark, line in lines if mark != "-")
    place = re.compile("^" + re.escape(old).replace("…", "(.*)") + "$", re.MULTILINE)
    places = place.findall(text)
    assert len(places) == 1, f"{name} has this {len(places)} times:\n{old}"
    return place.sub(lambda at: new.replace("…", at[1] if at.groups() else ""), text)


@pytest.fixture(scope="module")
def guided(tmp_path_factory):
    """A copy of the project in which somebody has followed the guides."""
    copy = tmp_path_factory.mktemp("guide") / "stowage"
    copy_to(copy)
    follow(copy)
    return copy


def run(copy: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_tests_of_the_guide_pass(guided):
    tests = [name for name in blocks() if name.startswith("tests/")]
    assert tests
    assert "passed" in run(guided, "pytest", "-q", "-p", "no:cacheprovider", *tests)


def test_the_guide_keeps_our_own_rules_of_style(guided):
    written = [name for name, parts in blocks().items() if parts[0][0] == "python"]
    run(guided, "ruff", "check", *written)
    run(guided, "ruff", "format", "--check", *written)


def test_the_role_of_the_guide_is_a_command_with_settings(guided):
    assert "Log files of the operator's own programs" in run(guided, "invoke", "--list")
    assert "logrotate.keep" in run(guided, "invoke", "inventory", "--host", "prod")


def test_the_tasks_of_the_guide_are_commands(guided):
    assert "Show how long hosts have been up" in run(guided, "invoke", "--list")


def test_a_file_of_tasks_that_cannot_be_loaded_costs_no_other_command(tmp_path, capsys):
    for text, place in (("import nothing_of_this_name", 1), ("def broken(:", 1), ("\n\n1 / 0", 3)):
        (tmp_path / "own_tasks.py").write_text(text)
        assert own_commands(tmp_path / "own_tasks.py") == []
        assert f"try: mend own_tasks.py:{place}" in capsys.readouterr().err


def test_the_services_of_the_guide_are_settings_of_the_lab_and_their_files_can_be_written(guided):
    ports = dict.fromkeys((22, 9000, 9001), 2022)
    host_file = host_vars("lab", "debian-13", ports, Path("key"), [f"loop{number}" for number in range(4)])
    (guided / "inventory/host_vars/lab.yml").write_text(host_file)
    (host,) = load(guided, "lab", Settings, (), False)
    for name, files in (("redis", 1), ("pages", 2)):
        bound = folders(host, name, host.settings.services[name], f"/etc/stowage/{name}/files", "image")
        assert sum(len(folder.files) for folder in bound) == files


def test_every_test_that_the_page_of_systems_names_is_there():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/systems.md").read_text()))
    there = {
        name for file in (ROOT / "tests").rglob("*.py") for name in re.findall(r"def (test_\w+)", file.read_text())
    }
    assert named and named <= there
