"""Invoke's program, without what it loads and prepares and no command uses: a sixth of a check."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from invoke.parser import Parser
    from invoke.program import Program


def program() -> Program:
    """Invoke's program. To be called once, before any other thread loads modules."""
    import yaml

    # Its mock of a context, for tests alone, loads unittest and asyncio; its own copy of PyYAML is the one that is loaded anyway.
    mock = ModuleType("unittest.mock")
    mock.__dict__["Mock"] = None
    light = {"unittest.mock": mock, "invoke.vendor.yaml": yaml, "importlib.metadata": _Metadata("importlib.metadata")}
    put = {name: module for name, module in light.items() if name not in sys.modules}
    sys.modules.update(put)
    if "importlib.metadata" in put:
        importlib.__dict__["metadata"] = put["importlib.metadata"]
    from invoke import __version__
    from invoke.parser.context import ParserContext
    from invoke.parser.parser import Parser
    from invoke.program import Program

    if "unittest.mock" in put:
        del sys.modules["unittest.mock"]

    class Typed(Program):
        """It describes to its parser only commands that are typed: all of them would take 15 ms."""

        def _make_parser(self) -> Parser:
            if self.args.complete.value:
                return super()._make_parser()
            typed = {part for word in sys.argv for part in word.split("=")}
            contexts = [
                ParserContext(name, aliases, args=self.collection[name].get_arguments(ignore_unknown_help=False))
                for name, aliases in self.collection.task_names.items()
                if not typed.isdisjoint((name, *aliases))
            ]
            return Parser(initial=self.initial_context, contexts=contexts)

    return Typed(name="Invoke", binary="inv[oke]", binary_names=["invoke", "inv"], version=__version__)


class _Metadata(ModuleType):
    """`importlib.metadata` for libraries that ask for their own version as they load; the real one parses it as a letter: 15 ms.

    Whatever else is asked of it, the real one answers, and takes its place.
    """

    def version(self, name: str) -> str:
        """What stands in the name of the folder that pip made."""
        for folder in sys.path:
            for found in Path(folder).glob(f"{name}-*.dist-info"):
                return found.stem.rpartition("-")[2]
        return str(self._real().version(name))

    def entry_points(self, **selected: Any) -> Any:
        """Pydantic imports it by name, and calls it only where plugins are wanted."""
        return self._real().entry_points(**selected)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # what Python asks of each module that is imported
        return getattr(self._real(), name)

    def _real(self) -> Any:
        if sys.modules.get("importlib.metadata") is self:
            del sys.modules["importlib.metadata"]
        return importlib.import_module("importlib.metadata")
