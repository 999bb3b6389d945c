"""Errors for commands that cannot be understood, in the same form as all others."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from invoke.exceptions import ParseError

from converge.errors import UNTOUCHED, Trouble


def misread(error: ParseError, commands: Iterable[str]) -> Trouble:
    """The error for words that Invoke's parser refuses; what it says is known only by its text (Invoke 3.0)."""
    message, task = str(error.args[0]), error.context
    name = _typed(task)
    flags = task.flags if task else {}
    look_up = f"inv --help {name}" if name else "inv --list"
    if unknown := re.fullmatch(r"No idea what '(.*)' is!", message):
        word = unknown[1]
        if word.startswith("-"):
            near = _nearest(word, [*flags, *(task.inverse_flags if task else ())])
            return Trouble(f"{name or 'inv'} has no flag {word}", why=near, untouched=UNTOUCHED, hint=look_up)
        if name and "--host" in flags and (hosts := _hosts()):
            why = "several hosts stand behind one --host, with commas"
            both = shlex.quote(",".join([*hosts, *(() if word in hosts else (word,))]))
            return Trouble(
                f"--host is there, and then {word}", why, untouched=UNTOUCHED, hint=f"inv {name} --host {both}"
            )
        if name and "--host" in flags:
            also = ", a service behind --service" if "--service" in flags else ""
            why = f"{name} takes no further word; a host stands behind --host{also}"
            flag = "--service" if "--service" in flags else "--host"
            return Trouble(
                f"what is {word}?", why=why, untouched=UNTOUCHED, hint=f"inv {name} {flag} {shlex.quote(word)}"
            )
        near = _nearest(word, commands)
        return Trouble(f"there is no command {word}", why=near, untouched=UNTOUCHED, hint="inv --list")
    if lacking := re.search(r"did not receive required positional arguments: (.*)", message):
        arguments = " ".join(re.findall(r"'([^']+)'", lacking[1])).upper()
        return Trouble(f"{name} needs {arguments}", untouched=UNTOUCHED, hint=look_up)
    if empty := re.match(r"Flag <Argument: ([\w-]+)", message):
        return Trouble(f"--{empty[1].replace('_', '-')} needs a value", untouched=UNTOUCHED, hint=look_up)
    return Trouble(message, untouched=UNTOUCHED, hint=look_up)


def no_number(error: BaseException) -> Trouble | None:
    """The error for a flag that takes a number and got none: Invoke lets that of Python pass (Invoke 3.0).

    Only for what no command has caught: there, nothing but the words that were typed has been looked at.
    """
    match = re.fullmatch(r"invalid literal for int\(\) with base 10: (.*)", str(error))
    if not match:
        return None
    return Trouble(f"{match[1]} is not a number", untouched=UNTOUCHED, hint=f"inv --help {_command()}")


def no_flags_for_words(given: dict[str, Any]) -> None:
    """Invoke takes `--help`, and any other flag, for the word that it waits for."""
    for name, value in given.items():
        if str(value).startswith("-"):
            what = f"{_command()} needs {name.upper()} first, and {value} is none"
            raise Trouble(what, untouched=UNTOUCHED, hint=f"inv --help {_command()}")


def no_empty_set() -> None:
    """Invoke takes a `--set` without a value for none at all."""
    for word, value in pairwise([*sys.argv[1:], "-"]):
        if word == "--set" and value.startswith("-"):
            raise Trouble("--set needs KEY=VALUE", untouched=UNTOUCHED, hint=f"inv --help {_command()}")


def no_empty_host() -> None:
    """`--host "$HOST"` with an empty variable is a slip, and must not mean the default host."""
    for word, value in pairwise([*sys.argv[1:], "-"]):
        if word == "--host=" or (word == "--host" and not value.strip()):
            why = "without --host a command is for `host` of invoke.yaml; an empty one is for nobody"
            raise Trouble("--host is empty", why=why, untouched=UNTOUCHED, hint="--host NAME; inv inventory --host all")


def _hosts() -> list[str]:
    """What was typed behind each --host."""
    typed = [*sys.argv[1:], ""]
    after = [value for word, value in pairwise(typed) if word == "--host"]
    return [*after, *(word.partition("=")[2] for word in typed if word.startswith("--host="))]


def _nearest(word: str, known: Iterable[str]) -> str:
    import difflib  # most commands need it not

    near = difflib.get_close_matches(word, list(known), 1)
    return f"did you mean {near[0]}?" if near else ""


def _command() -> str:
    return next((word for word in sys.argv[1:] if not word.startswith("-")), "COMMAND")


def _typed(task: Any) -> str:
    """A task as it was typed: `restore`, not `restore.now`."""
    if not task or not task.name:
        return ""
    return next((word for word in sys.argv[1:] if word in (task.name, *task.aliases)), str(task.name))
