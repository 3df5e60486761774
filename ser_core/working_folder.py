"""Libraries that read from the working folder, where others may have put something, are loaded from elsewhere.

libcusparseLt.so.0, which comes with torch for CUDA, has an empty entry in its RUNPATH: the dynamic loader takes that
for the working folder, and looks there for libcuda.so.1 before it looks in the system's folders, on a machine without a
GPU too. So who may write there would have code executed. matplotlib and numba read their settings there.
"""

import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_LOADED_ELSEWHERE = frozenset({"torch", "matplotlib", "numba"})
_ELSEWHERE = "/"


def keep_out() -> None:
    """Have these libraries loaded from elsewhere in this process, whoever imports them; once for a process."""
    sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds what the finders behind it find."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        if name not in _LOADED_ELSEWHERE:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            _load_elsewhere(spec.loader)
        return spec


def _load_elsewhere(loader: Any) -> None:
    load = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        try:
            here = os.open(".", os.O_PATH | os.O_DIRECTORY)
        except OSError:
            # It is gone.
            here = None
        try:
            os.chdir(_ELSEWHERE)
            load(module)
        finally:
            if here is not None:
                os.fchdir(here)
                os.close(here)

    loader.exec_module = exec_module
