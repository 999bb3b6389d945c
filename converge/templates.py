"""Templates: Jinja2 from `templates/`, where a name that is not defined is an error with its file and line."""

from __future__ import annotations

from typing import Any

from converge.errors import Trouble


def render(host: Any, name: str, **values: Any) -> str:
    """The text of `templates/NAME` with these values; `host` is there too."""
    import jinja2

    folder = host.root / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    try:
        return environment.get_template(name).render(host=host, **values)
    except jinja2.TemplateSyntaxError as error:
        raise _broken(
            host, f"templates/{(error.filename and error.name) or name}:{error.lineno}", str(error.message)
        ) from None
    except jinja2.TemplateNotFound as error:
        raise _broken(host, f"templates/{name}", f"there is no template {error.name}") from None
    except jinja2.UndefinedError as error:
        raise _broken(host, f"templates/{name}:{_line(error, name)}", str(error.message)) from None


def _line(error: BaseException, name: str) -> int:
    """The innermost line of a template in the traceback."""
    line, trace = 0, error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename.endswith(name):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _broken(host: Any, where: str, why: str) -> Trouble:
    return Trouble(
        "a template cannot be rendered",
        where=host.name,
        why=f"{where}: {why}",
        untouched="nothing was changed",
        hint=f"mend {where}",
    )
