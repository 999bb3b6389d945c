"""What all commands share: their flags, and the one place where an exception becomes a message and an exit code."""

from __future__ import annotations

import functools
import inspect
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, overload

from invoke.collection import Collection
from invoke.exceptions import Exit, Failure, ParseError
from invoke.tasks import Task

from converge.errors import ERROR, PENDING, UNTOUCHED, Trouble, Troubles
from converge.ui import interrupt, lines, output
from converge.ui.colour import coloured, paint
from converge.ui.mistyped import misread, no_empty_host, no_empty_set, no_flags_for_words, no_number

ROOT = Path(__file__).resolve().parents[2]

Flags = ParamSpec("Flags")

HELP = {
    "host": "a host, a group, or several with commas; store*, !x, &x as in Ansible (default: `host` of invoke.yaml)",
    "role": "only these roles, with commas",
    "check": "show the plan and stop; exit code 2 when something would change",
    "diff": "show the differences (--no-diff: only the names)",
    "full": "show what is as it should be, too",
    "yes": "do not ask",
    "set": "a setting for this run, KEY=VALUE; may be repeated",
    "json": "print JSON for a machine",
}


@overload
def command(function: Callable[Flags, None]) -> Task[Callable[Flags, None]]: ...
@overload
def command(
    function: None = None, at_once: bool = False, **options: Any
) -> Callable[[Callable[Flags, None]], Task[Callable[Flags, None]]]: ...
def command(
    function: Callable[Flags, None] | None = None, at_once: bool = False, **options: Any
) -> Task[Callable[Flags, None]] | Callable[[Callable[Flags, None]], Task[Callable[Flags, None]]]:
    """Make an Invoke task: no automatic short flags, the shared help, and one error boundary.

    `at_once` is for commands that have nothing to put in order when they are interrupted.
    """

    def make(body: Callable[Flags, None]) -> Task[Callable[Flags, None]]:
        names = inspect.signature(body).parameters
        required = [
            name for name, parameter in names.items() if name != "c" and parameter.default is inspect.Parameter.empty
        ]

        @functools.wraps(body)
        def guarded(*args: Flags.args, **kwargs: Flags.kwargs) -> None:
            def run() -> None:
                if not at_once:
                    interrupt.in_order()
                no_flags_for_words({name: kwargs[name] for name in required if name in kwargs})
                no_empty_set()
                no_empty_host()
                body(*args, **kwargs)

            boundary(run)

        given = options.pop("help", {})
        shared = {name.rstrip("_"): text for name, text in HELP.items() if name in names or name + "_" in names}
        options["iterable"] = [*options.get("iterable", []), *(["set"] if "set" in names else [])]
        options.setdefault("positional", required)
        return Task(guarded, auto_shortflags=False, help={**shared, **given}, **options)

    return make(function) if function else make


def boundary(body: Callable[[], None]) -> None:
    """Run a command: whatever goes wrong becomes one message on standard error and an exit code."""
    try:
        body()
    except output.Unwritten:
        raise
    except (Trouble, Troubles) as trouble:
        raise Exit(tell(trouble), code=trouble.code) from None
    except KeyboardInterrupt as stopped:
        raise Exit(interrupt.MAY_BE_HALF, code=getattr(stopped, "code", 130)) from None
    except Exit:
        raise
    except Failure as failure:
        from converge.ui.own import failed

        shown = failed(failure)
        raise Exit(tell(shown), code=shown.code) from None
    except Exception as error:
        if output.nobody_reads(error):
            raise Exit(code=ERROR) from None
        if os.environ.get("STOWAGE_DEBUG"):
            raise
        why = f"{type(error).__name__}: {error}"
        raise Exit(
            tell(Trouble("a fault of Stowage itself", why=why, hint="STOWAGE_DEBUG=1, the same command again")),
            code=ERROR,
        ) from None


def last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Report an exception that no command has caught: Invoke prints its list of commands by itself."""
    if output.nobody_reads(error):
        return
    if trouble := no_number(error):
        print(tell(trouble), file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def words_of(commands: Collection) -> None:
    """Have Invoke report a mistyped command like every other error; by itself it prints the exception."""

    def message(error: ParseError) -> str:
        return tell(misread(error, commands.task_names))

    ParseError.__str__ = message  # type: ignore[assignment,method-assign]


def tell(trouble: Trouble | Troubles) -> str:
    """The message of an error, in red where there is a terminal."""
    text = (
        f"error: {trouble}"
        if isinstance(trouble, Trouble)
        else "\n".join(f"error: {part}" for part in trouble.troubles)
    )
    return paint(lines.error(text), "31", coloured(sys.stderr))


def command_line() -> str:
    """The command as it was typed."""
    return "inv " + " ".join(shlex.quote(word) for word in sys.argv[1:])


def end(code: int) -> None:
    """End the command with this exit code, unless it is 0."""
    if code:
        raise Exit(code=code)


def typed_answer(question: str) -> str:
    """What a person types; nothing at the end of the input."""
    try:
        return input(question).strip()
    except EOFError:
        print()
        return ""


def says_yes(question: str) -> bool:
    """Ask; anything but yes is no."""
    return typed_answer(question).lower() in ("y", "yes")


def confirm(question: str, yes: bool, word: str = "") -> None:
    """Go on when that is agreed to, by a flag or by a person (with `word`, by typing it); else end with exit code 2."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Exit("nothing was changed: there is no terminal to ask on, and no --yes", code=PENDING)
    if not (typed_answer(question) == word if word else says_yes(question)):
        raise Exit("nothing was changed", code=PENDING)


def only(names: str, known: tuple[str, ...]) -> Iterator[str]:
    """The names in a list with commas; each must be known."""
    import difflib

    for name in (part.strip() for part in names.split(",") if part.strip()):
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise Trouble(
                f"there is no role {name}",
                why=f"roles are {', '.join(known)}",
                untouched=UNTOUCHED,
                hint=f"--role {near[0] if near else known[0]}",
            )
        yield name
