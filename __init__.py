"""Runglass: see every curve, know whether a difference is real, foresee the next scale.

The repository root is this package. Data flows one way through it: ``models`` reads folders of
logs into checked tables, ``analysis`` turns tables and a question into a result and a figure
described in words, ``gui`` draws that figure on the screen and ``analysis.report`` on paper.
Importing this module imports nothing else; what it offers is imported when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .analysis.notebook import Answer, Data, analyses, engine, open  # noqa: A004 - what a user says: runglass.open
    from .models.errors import RunglassError
    from .resources.version import __version__ as __version__

__all__ = ["Answer", "Data", "RunglassError", "analyses", "engine", "open"]


def __getattr__(name: str) -> Any:
    """Import the public interface when something of it is used."""
    if name == "__version__":
        from .resources import version

        return version.__version__
    if name == "RunglassError":
        from .models import errors

        return errors.RunglassError
    if name in __all__:
        from .analysis import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
