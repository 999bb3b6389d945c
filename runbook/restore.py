"""Restores as a person meets them: the plan, one question that wants the host's name, the run, and the way back."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from converge.cli import agreed
from converge.errors import REFUSED, Trouble
from converge.shell import quote
from converge.ssh import connect
from roles.backup import stack_of
from runbook import runs
from runbook.backup import age, end, id_of, watch
from runbook.found import human

CHUNK = 1 << 20


def restore(
    host: Any,
    file: str,
    database: str,
    name: str,
    source: str,
    other_stack: str,
    yes: bool,
    said: str,
    *,
    tablespaces: bool = True,
    accept: bool = False,
) -> None:
    """Restores a set, or a dump that was made by hand. Nothing is replaced before all of it was loaded and compared.

    With `accept` it may differ from the set in what an earlier try has found, which is shown, asked for, and written down.
    """
    request: dict[str, Any] = {"from": source, "databases": [one for one in database.split(",") if one], "as": name}
    if not tablespaces:
        request["no_tablespaces"] = True
    if other_stack:
        request["stack"] = other_stack
    path = Path(file).expanduser()
    if path.is_file() and tarfile.is_tarfile(path):
        request |= _set_handed_over(host, path, other_stack or stack_of(host))
    elif path.is_file():
        request |= _handed_over(host, path, request["databases"])
    else:
        request["set"] = id_of(file)
    try:
        found = runs.ask(host, {"ask": "plan", "accept": accept, **request})
        request["set"], request["from"] = found["set"], found["from"] if not request.get("local") else ""
        _shown(host, found)
        if not tablespaces:
            print("  tablespaces: none; all tables go where the server keeps its others")
        written = list(_accepted(found))
        for line in written:
            print(f"  ACCEPTED  {line}")
        agreed(f"Type the host's name to restore, {host.name}: ", yes, word=host.name)
        if written:
            request["accept"] = {one: [what for what, _ in rows] for one, rows in found["accept"].items()}
        run = runs.begin(host, {"do": "restore", **request}, said, written)
    except BaseException:
        _taken_back(host, request.get("local") or request.get("folder") or "")
        raise
    end(host, watch(host, run))
    # A restore that replaced nothing has nothing to swap back.
    if any(one["replaces"] is not None for one in found["databases"]):
        print(f"  undo with: inv restore.undo --host {host.name}")


def _accepted(found: dict[str, Any]) -> Iterator[str]:
    """What will differ from the set, a line each."""
    for name, rows in found.get("accept", {}).items():
        yield from (f"{name}: {what}: {how}" for what, how in rows)


def _shown(host: Any, found: dict[str, Any]) -> None:
    if found["set"] == "local":
        print(
            f"{host.name}: a dump made by hand: it has no checksum of its own and no counts; it is read to its end first"
        )
    else:
        print(
            f"{host.name}: {found['set']} of {found['stack']}, made on {found['host']} {age(found['created'])} ago,"
            f" read from {found['from']}"
        )
    for line in found["warnings"]:
        print(f"  warning: {line}")
    for one in found["databases"]:
        rows = f", {one['rows']} rows" if one["rows"] is not None else ""
        if one["replaces"] is None:
            print(f"  + {one['to']}  {human(one['bytes'])}{rows}; there is no such database now")
            continue
        print(f"  ~ {one['to']}  {human(one['bytes'])}{rows}, in the place of {human(one['replaces'])}")
        if found["set"] != "local":
            print(f"      changes since {_moment(found['created'])} leave it; it is kept as {one['kept']}")
        if one["sessions"]:
            print(f"      {one['sessions']} sessions are cut at the swap")
    if "files" in found:
        differ = f"{len(found['differ'])} differ here" if found["differ"] else "all are the same here"
        print(f"  configuration: {found['files']} files are laid beside, none is installed; {differ}")
    if found["dependents"]:
        print(f"  stopped meanwhile: {', '.join(found['dependents'])}")
    for place, free in found["free"].items():
        print(f"  free in {place}: {human(free)}")
    if found["obstacles"]:
        raise Trouble(
            "the live databases cannot be renamed",
            host.name,
            "\n".join(found["obstacles"]),
            "nothing was changed",
            "end these, then the same again",
            code=REFUSED,
        )


def _moment(at: str) -> str:
    return f"{at[:16].replace('T', ' ')} UTC"


def _set_handed_over(host: Any, path: Path, stack: str) -> dict[str, Any]:
    """Sends a set that `inv backup.fetch` brought to the host, where it is a target for this one run."""
    names: list[str] = []
    with suppress(tarfile.TarError), tarfile.open(path) as tar:
        names = tar.getnames()
    found = {name.partition("/")[0] for name in names}
    id = found.pop() if len(found) == 1 else ""
    if not runs.ID.fullmatch(id) or f"{id}/manifest.json" not in names:
        raise Trouble(
            f"{path} holds no whole set",
            why="a set is what inv backup.fetch writes: ID/manifest.json and its parts in a tar archive",
            untouched="nothing was sent",
            hint=f"inv backup.list --host {host.name}",
        )

    def chunks() -> Iterator[bytes]:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    there = f"{host.settings.backup.staging}/{runs.new_id()}.set"
    place = quote(f"{there}/{stack}/sets")
    link = connect(host.target)
    try:
        # What is cut or changed on the way is found by the worker: every part has its hash in a signed manifest.
        status, out, err = link.send(f"umask 077; mkdir -p {place} && tar -C {place} --no-same-owner -xf -", chunks())
    finally:
        link.close()
    if status:
        _taken_back(host, there)
        why = (err or out).decode(errors="replace")[-300:]
        raise Trouble(f"{path} did not arrive whole", host.name, why, "nothing was restored")
    return {"folder": there, "set": id, "from": ""}


def _handed_over(host: Any, path: Path, databases: list[str]) -> dict[str, Any]:
    """Sends a local file to the host; both sides count its SHA-256."""
    with path.open("rb") as file:
        if file.read(5) != b"PGDMP":
            raise Trouble(
                f"{path} is no dump in PostgreSQL's custom format",
                why="what ends in plain SQL cannot be told from a file that was cut off",
                untouched="nothing was sent",
                hint="pg_dump -Fc -f app.dump app",
                code=REFUSED,
            )
    if len(databases) != 1:
        raise Trouble(
            "a dump made by hand needs the name of its database",
            untouched="nothing was sent",
            hint=f"inv restore {path} --database NAME --host {host.name}",
            code=REFUSED,
        )
    digest = hashlib.sha256()

    def chunks() -> Iterator[bytes]:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                yield chunk

    folder = host.settings.backup.staging
    there = f"{folder}/{runs.new_id()}.dump"
    link = connect(host.target)
    try:
        script = f"umask 077; cat >{quote(there)} && sha256sum <{quote(there)}"
        status, out, err = link.send(script, chunks())
        if status or out.decode().split()[:1] != [digest.hexdigest()]:
            link.send(f"rm -f {quote(there)}", iter(()))
            why = (err or out).decode(errors="replace")[-300:]
            raise Trouble(f"{path} did not arrive whole", host.name, why, "nothing was restored")
    finally:
        link.close()
    return {"local": there, "sha256": digest.hexdigest(), "set": "local"}


def _taken_back(host: Any, there: str) -> None:
    """A dump that was sent and is not restored from goes at once: it is a database in clear."""
    if not there:
        return
    # A line that broke is the error that is told; the next run sweeps what is a day old.
    with suppress(Trouble):
        link = connect(host.target)
        link.send(f"rm -rf {quote(there)}", iter(()))
        link.close()


def undo(host: Any, yes: bool, said: str) -> None:
    """Swaps back what the last restore replaced."""
    found = runs.ask(host, {"ask": "undo"})
    print(f"{host.name}: the last restore brought {found['set']}, begun {_moment(found['restored'])}")
    for one in found["databases"]:
        print(f"  ~ {one['name']} is again what is kept as {one['kept']}; what is there now is kept as {one['away']}")
    agreed(f"Swap these back on {host.name}? Type its name: ", yes, word=host.name)
    end(host, watch(host, runs.begin(host, {"do": "undo", "of": found["run"]}, said)))


def cleanup(host: Any, yes: bool, said: str) -> None:
    """Drops what restores have kept; after that no undo is possible."""
    told = runs.ask(host, {"ask": "leftovers"})
    found = told["leftovers"]
    if not found and not told["configuration"]:
        print(f"{host.name}: nothing is kept from restores")
        return
    for one in found:
        print(f"  - {one['name']}  {human(one['bytes'])}, since the restore of {_moment(one['restored'])}")
    for path in told["configuration"]:
        print(f"  - {path}  files of a set's configuration, laid beside")
    agreed(f"Drop these on {host.name}? There is no undo after it. Type its name: ", yes, word=host.name)
    end(host, watch(host, runs.begin(host, {"do": "cleanup"}, said)))
