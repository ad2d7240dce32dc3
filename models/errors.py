"""Everything Runglass can say went wrong, as one small tree.

::

    RunglassError
    ├── ReadError          a file or folder could not be read
    ├── SchemaError        a table lacks a column or holds the wrong kind of value
    ├── ExpressionError    a filter or derived column could not be understood
    ├── AnalysisError      the data cannot answer the question
    │   ├── TooLittleData
    │   ├── TooLarge
    │   └── FitFailed
    ├── SessionError       a session file could not be understood
    │   └── NewerSession
    └── ExportError        a figure or table could not be written

Each carries the fields a dialog needs, and a sentence a researcher can act on. `Cancelled` stands outside the tree:
it is what the user asked for, not a failure.
"""

from __future__ import annotations


class RunglassError(Exception):
    """Base of all errors that are shown to a user.

    Parameters
    ----------
    what : str
        What happened, in one sentence.
    remedy : str, optional
        What the user can do about it, in one sentence.
    """

    def __init__(self, what: str, *, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what} {remedy}".strip())

    def __reduce__(self) -> tuple[object, ...]:
        # An error that a worker process raises goes to the one that asked; constructors with keywords alone would not.
        return _again, (type(self), self.args), self.__dict__


def _again(kind: type[RunglassError], args: tuple[object, ...]) -> RunglassError:
    error = kind.__new__(kind)
    error.args = args
    return error


class ReadError(RunglassError):
    """A file or folder could not be read.

    Parameters
    ----------
    source : str
        The file or folder, as shown to the user.
    """

    def __init__(self, what: str, *, source: str = "", remedy: str = "") -> None:
        self.source = source
        super().__init__(what, remedy=remedy)


class SchemaError(RunglassError):
    """A table lacks a column, or a column holds values of the wrong kind.

    Parameters
    ----------
    table : str
        Name of the canonical table.
    columns : tuple of str
        The columns at fault.
    found : tuple of str
        The columns that are there, so that a mapping can be offered.
    """

    def __init__(
        self,
        what: str,
        *,
        table: str,
        columns: tuple[str, ...] = (),
        found: tuple[str, ...] = (),
        remedy: str = "",
    ) -> None:
        self.table = table
        self.columns = columns
        self.found = found
        super().__init__(what, remedy=remedy)


class ExpressionError(RunglassError):
    """A filter or derived column could not be understood.

    Parameters
    ----------
    text : str
        The expression as typed.
    position : int
        Zero-based column of the character at fault, for a caret under the text.
    """

    def __init__(self, what: str, *, text: str, position: int = 0, remedy: str = "") -> None:
        self.text = text
        self.position = min(max(position, 0), len(text))
        super().__init__(what, remedy=remedy)


class AnalysisError(RunglassError):
    """The data cannot answer the question that was asked."""


class TooLittleData(AnalysisError):
    """There is data, but not enough of it.

    Parameters
    ----------
    needs, found : str
        What the analysis needs and what is there ("at least 3 seeds per group", "1").
    """

    def __init__(self, *, needs: str, found: str, remedy: str = "") -> None:
        self.needs = needs
        self.found = found
        super().__init__(f"Needs {needs}; found {found}.", remedy=remedy)


class TooLarge(AnalysisError):
    """A table is larger than memory should be filled with, and the question cannot be answered part by part.

    Parameters
    ----------
    table : str
        Name of the canonical table.
    rows : int
        How many rows it has.
    """

    def __init__(self, table: str, rows: int) -> None:
        self.table = table
        self.rows = rows
        super().__init__(
            f"The {table} table has {rows:,} rows and stays in its files: this question needs all of them at once.",
            remedy="Open a part of the data, or ask a question that counts part by part (compat.flips, compat.matrix, "
            "compat.churn, calibration.reliability, calibration.ece, calibration.scores).",
        )


class FitFailed(AnalysisError):
    """A model was fitted and the fit cannot be trusted."""


class SessionError(RunglassError):
    """A session file could not be understood."""


class NewerSession(SessionError):
    """A session file of a format that this Runglass does not know yet.

    Parameters
    ----------
    version, known : int
        Format of the file, and the newest that is known.
    """

    def __init__(self, version: int, known: int) -> None:
        self.version = version
        self.known = known
        super().__init__(
            f"The session was written by a newer Runglass (format {version}; this one reads formats up to {known}).",
            remedy="Update Runglass.",
        )


class ExportError(RunglassError):
    """A figure, table or report could not be written."""


class Cancelled(Exception):  # not an error: the user asked for it
    """The user asked for the work to stop."""
