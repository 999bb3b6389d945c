"""Templates: Jinja2 from `templates/`, where a name that is not defined is an error with its file and line."""

from __future__ import annotations

import functools
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converge.errors import Trouble
from converge.inventory.secret import Secret

if TYPE_CHECKING:
    import jinja2

    from converge.inventory.hosts import Host


def render(host: Host[Any], name: str, **values: Any) -> str:
    """The text of `templates/NAME` with these values; `host` is there too."""
    import jinja2

    folder = host.root / "templates"
    try:
        text = str(_environment(folder).get_template(name).render(host=host, **values))
    except jinja2.TemplateSyntaxError as error:
        raise _broken(
            host, f"templates/{(error.filename and error.name) or name}:{error.lineno}", str(error.message)
        ) from None
    except jinja2.TemplateNotFound as error:
        where = _place(error, folder) or f"templates/{name}"
        raise _broken(
            host, where, f"templates/{error.name} is not there", f"git status templates; mend {where}"
        ) from None
    except Exception as error:
        where = _place(error, folder) or f"templates/{name}"
        problem = str(error) if isinstance(error, jinja2.UndefinedError) else f"{type(error).__name__}: {error}"
        raise _broken(host, where, problem) from None
    if str(Secret("")) in text:
        # The program would read "[redacted]", and nobody would know why it fails.
        why = "a secret stands in it, but the text of a template is shown in plans: give it as a file or a variable"
        raise _broken(host, f"templates/{name}", why)
    return text


@functools.cache
def _environment(folder: Path) -> jinja2.Environment:
    """One for all hosts: a template is compiled once, which takes longer than to fill it in."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        bytecode_cache=_compiled(),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _compiled() -> jinja2.BytecodeCache | None:
    """Templates compiled by an earlier command, in the user's own cache: to compile nginx's takes a tenth of a check."""
    import jinja2

    class Cache(jinja2.FileSystemBytecodeCache):
        def dump_bytecode(self, bucket: Any) -> None:
            with suppress(OSError):  # a full disk, say: the next command compiles again
                super().dump_bytecode(bucket)

    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stowage/templates"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # What lies there is run as code: nobody else may write it.
        status = folder.stat()
        return Cache(str(folder)) if status.st_uid == os.getuid() and not status.st_mode & 0o022 else None
    except (OSError, RuntimeError):
        return None


def _place(error: BaseException, folder: Path) -> str:
    """The innermost line of a template in the traceback."""
    place, trace = "", error.__traceback__
    while trace:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.is_relative_to(folder):
            place = f"templates/{file.relative_to(folder)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _broken(host: Host[Any], where: str, why: str, hint: str = "") -> Trouble:
    return Trouble(
        "a template cannot be rendered",
        where=host.name,
        why=f"{where}: {why}",
        untouched="nothing was changed",
        hint=hint or f"mend {where}",
    )
