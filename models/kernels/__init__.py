"""The inner loops: arrays in, arrays out, each of them twice.

The twin in numpy is the reference and is always there. The twin in C (`_compiled.c`) gives the same bits, several times as
fast; it is there where a compiler was when Runglass was installed. ``RUNGLASS_ACCELERATOR=off`` in the environment keeps to
numpy.

A kernel is a function of a module of this folder. It asks `accelerator` for the compiled twins whenever it is called, makes
the arrays these fill, and computes with numpy where there are none. It knows no runs, no files and no figures.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

VARIABLE = "RUNGLASS_ACCELERATOR"
"""The variable of the environment that says ``off``."""


_INTERFACE = 3
"""What the functions of the compiled twins take and fill; raised there and here with every change of it."""


def _found() -> ModuleType | None:
    """Give the module with the compiled twins; None where there is none that fits these modules, or it is not wanted.

    One that was compiled from other sources is met in a checkout that was updated and not installed again.
    """
    if os.environ.get(VARIABLE, "").strip().lower() == "off":
        return None
    try:
        found = importlib.import_module("._compiled", __name__)
    except ImportError:
        return None
    return found if getattr(found, "INTERFACE", None) == _INTERFACE else None


_in_use = _found()


def accelerator() -> ModuleType | None:
    """Give the module with the compiled twins, None where numpy computes."""
    return _in_use


def twin_in_use() -> str:
    """Say which twins compute: ``compiled`` or ``numpy``."""
    return "compiled" if _in_use is not None else "numpy"
