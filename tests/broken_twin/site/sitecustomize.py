"""Switch one mistake on in this process, when its module is imported. Python imports this file at its start (PYTHONPATH)."""

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_folder = Path(__file__).resolve().parents[1]
_file = importlib.util.spec_from_file_location("broken_twin_faults", _folder / "faults.py")
assert _file is not None
assert _file.loader is not None
faults: Any = importlib.util.module_from_spec(_file)
sys.modules[_file.name] = faults
_file.loader.exec_module(faults)


class Breaking(Loader):
    """Loads a module and breaks it."""

    def __init__(self, loader: Any, change: Any) -> None:
        self._loader, self._change = loader, change

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._change(module)


class Finder(MetaPathFinder):
    """Finds the one module that is to be broken."""

    def __init__(self, name: str, change: Any) -> None:
        self._name, self._change = name, change

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        found = PathFinder.find_spec(fullname, path)
        if found is not None:
            found.loader = Breaking(found.loader, self._change)
        return found


if os.environ.get(faults.SWITCH):
    mistake = faults.MISTAKES[os.environ[faults.SWITCH]]
    sys.meta_path.insert(0, Finder(mistake.module, mistake.change))
