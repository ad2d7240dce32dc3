"""What Python and PySide6 do while a program starts that is of no use to this one, and is left out."""

from __future__ import annotations

import builtins
import gc


def begin() -> None:
    """Leave it out from now on.

    Garbage is not looked for: nearly all that is made now stays. `end` has it looked for again.

    The import of Python is put back. WORKAROUND: PySide6 takes its place and reads the source of every module that is
    imported, to see whether that may use ``from __feature__ import snake_case`` (https://bugreports.qt.io/browse/PYSIDE-2029);
    of hundreds of modules, none of which does. It keeps what was there as ``__orig_import__``.
    """
    gc.disable()
    # Which replaces the import of Python.
    import PySide6.QtCore  # noqa: F401

    builtins.__import__ = getattr(builtins, "__orig_import__", builtins.__import__)


def end() -> None:
    """Look for garbage again, among what is made from now on."""
    gc.freeze()
    gc.enable()
