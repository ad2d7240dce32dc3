"""Modules that are imported when something of them is first used.

The window is on screen before the libraries it will need are imported. A module that most starts never reach stands in
the head of the modules that use it like any other import::

    if TYPE_CHECKING:
        import pandas as pd
    else:
        pd = deferred("pandas")

What is asked of it by name (``pd.DataFrame``) imports it, then and in whatever thread that is.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any


class _Deferred(ModuleType):
    """Stands for a module; what was asked of it once is kept, so that asking again costs what it costs of any module."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(import_module(self.__name__), name)
        setattr(self, name, found)
        return found


def deferred(name: str) -> ModuleType:
    """Give a stand-in for a module that imports it when something is first asked of it.

    Parameters
    ----------
    name : str
        Its absolute name.
    """
    return _Deferred(name)
