"""Modules that are imported when something of them is first used.

The window is on screen before most of what it needs is imported. What may come later stands in the head of a module like any
other import::

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

    def __init__(self, name: str, package: str | None) -> None:
        super().__init__(name)
        self.__package__ = package

    def __getattr__(self, name: str) -> Any:
        found = getattr(import_module(self.__name__, self.__package__), name)
        setattr(self, name, found)
        return found


def deferred(name: str, package: str | None = None) -> ModuleType:
    """Give a stand-in for a module that imports it when something is first asked of it.

    Parameters
    ----------
    name : str
        Of the module; relative where it begins with a dot.
    package : str, optional
        What a relative name is relative to.
    """
    return _Deferred(name, package)
