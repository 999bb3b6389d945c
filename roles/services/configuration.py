"""The configuration of a service: files of the project, rendered or as they are, in folders that its container has bound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converge.errors import Trouble
from converge.resources.file import Directory, File
from converge.shell import quote, words
from converge.templates import render

_TEMPLATE = ".j2"


@dataclass(frozen=True)
class Folder:
    """One folder that is bound: where it lies on the host, where the container sees it, and what is in it."""

    here: str
    inside: str
    directories: tuple[Directory, ...]
    files: tuple[File, ...]


def folders(host: Any, name: str, settings: Any, root: str, reference: str) -> list[Folder]:
    """The folders of a service's page. Files of one folder of the container lie in one of the host."""
    contents: dict[str, dict[str, str | bytes]] = {}
    checks: dict[str, Sequence[str]] = {}
    for inside, one in settings.files.items():
        folder = inside if one.source.endswith("/") else inside.rpartition("/")[0]
        found = dict(_read(host, name, settings, inside, one.source))
        contents.setdefault(folder, {}).update(found)
        if one.check:
            checks[f"{folder}/{one.main or inside.rpartition('/')[2]}"] = one.check
    return [
        Folder(
            f"{root}{folder}",
            folder,
            tuple(Directory(path) for path in _directories(f"{root}{folder}", found)),
            tuple(
                File(
                    f"{root}{folder}/{path}",
                    content,
                    check=_checked(host, name, reference, f"{root}{folder}", folder, path, checks),
                    until_loaded=True,
                )
                # What a check is given comes last: it may name the others.
                for path, content in sorted(found.items(), key=lambda item: (f"{folder}/{item[0]}" in checks, item[0]))
            ),
        )
        for folder, found in contents.items()
    ]


def _directories(root: str, files: dict[str, Any]) -> list[str]:
    inner = {str(above) for path in files for above in Path(path).parents if str(above) != "."}
    return [root, *(f"{root}/{path}" for path in sorted(inner))]


def _read(host: Any, name: str, settings: Any, inside: str, source: str) -> Iterator[tuple[str, str | bytes]]:
    """The files of one source: paths beneath the folder that is bound, and what is in them."""
    place = host.root / source
    told = f"services.{name}.files.{inside}"
    if source.endswith("/"):
        if not place.is_dir():
            raise _absent(host, told, source, "there is no such folder")
        paths = sorted(one for one in place.rglob("*") if one.is_file())
        if not paths:
            raise _absent(host, told, source, "the folder has no file")
        for path in paths:
            relative = str(path.relative_to(place))
            yield relative.removesuffix(_TEMPLATE), _content(host, name, settings, path, told)
    elif not place.is_file():
        raise _absent(host, told, source, "there is no such file")
    else:
        yield inside.rpartition("/")[2], _content(host, name, settings, place, told)


def _content(host: Any, name: str, settings: Any, path: Path, told: str) -> str | bytes:
    relative = path.relative_to(host.root)
    if relative.parts[0] == "templates":
        return render(host, str(relative.relative_to("templates")), service=settings, settings=host.settings)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _absent(host, told, str(relative), str(error.strerror)) from None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _absent(host: Any, told: str, source: str, why: str) -> Trouble:
    return Trouble(
        f"{told} cannot be read",
        where=host.name,
        why=f"{source}: {why}",
        untouched="nothing was changed",
        hint=f"ls -l {source}",
    )


def _checked(
    host: Any, name: str, reference: str, here: str, inside: str, path: str, checks: dict[str, Sequence[str]]
) -> str:
    """The check of a file, by the very program that will read it: in its own image, without a network."""
    check = checks.get(f"{inside}/{path}")
    if not check:
        return ""
    uid = 0 if host.settings.services[name].root else host.settings.data_user.uid
    # By name, so that what a cut run has left of it goes with the next one.
    container = f"stowage-check-{name}"
    folder = f"{inside}/{path}".rpartition("/")[0]
    given = " ".join(f"{quote(folder)}/$(basename {{}})" if word == "{}" else quote(word) for word in check[1:])
    return (
        f"docker rm -f {container} >/dev/null 2>&1 || :; "
        f"docker run --rm --name {container} --network none --read-only --tmpfs /tmp -u {uid}:{uid} "
        f"-v {quote(here)}:{quote(inside)}:ro --entrypoint {words(check[:1])} {quote(reference)} {given}"
    )
