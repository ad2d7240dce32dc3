"""What an analysis answers: estimates with intervals, tidy tables, notes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .deferred import deferred

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number from data, with its interval.

    Attributes
    ----------
    value : float
        The estimate.
    low, high : float
        Ends of the interval; NaN where there is none, and then `why_no_interval` says why.
    level : float
        Nominal coverage.
    unit : str
        Unit of the value.
    why_no_interval : str
        Needed where low and high are NaN ("a count", "n = 1 seed").
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    level: float = 0.95
    unit: str = ""
    why_no_interval: str = ""

    @property
    def has_interval(self) -> bool:
        """Whether both ends are known."""
        return not (math.isnan(self.low) or math.isnan(self.high))


class LateTables(Mapping[str, "pd.DataFrame"]):
    """Tables that are made when they are first asked for, as by who exports or looks at them.

    Parameters
    ----------
    makers : Mapping of str to callable
        What gives each table.
    """

    def __init__(self, makers: Mapping[str, Callable[[], pd.DataFrame]]) -> None:
        self._makers = dict(makers)
        self._made: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


@dataclass(frozen=True, kw_only=True)
class Result:
    """Base of all results. Subclasses add documented fields for their figure.

    Attributes
    ----------
    estimates : Mapping of str to Estimate
        The numbers one quotes, by name.
    tables : Mapping of str to DataFrame
        Tidy tables; the first is the one shown.
    notes : tuple of str
        Method, resampling unit, n, what was left out and why, what is not identified.
    """

    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """Give the answer in one sentence; it becomes the caption."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Write summary, estimates, tables and notes as plain JSON values; NaN and infinities become null."""
        notes = list(self.notes)
        estimates = {}
        for name, estimate in self.estimates.items():
            low, high = _finite(estimate.low), _finite(estimate.high)
            estimates[name] = {
                "value": _finite(estimate.value),
                "low": low,
                "high": high,
                "level": estimate.level,
                "unit": estimate.unit,
            }
            if not estimate.has_interval:
                notes.append(f"{name}: no interval ({estimate.why_no_interval or 'not computed'}).")
            if not math.isfinite(estimate.value):
                notes.append(f"{name} is {estimate.value}.")
        return {
            "summary": self.summary(),
            "estimates": estimates,
            "tables": {name: _records(table) for name, table in self.tables.items()},
            "notes": notes,
        }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    records = []
    for record in table.to_dict("records"):
        plain = {}
        for name, value in record.items():
            if hasattr(value, "item"):
                value = value.item()
            if value is pd.NA or value is pd.NaT or (isinstance(value, float) and not math.isfinite(value)):
                value = None
            plain[str(name)] = value
        records.append(plain)
    return records


def significant(value: float, digits: int = 4) -> str:
    """Write a number with so many significant digits, and powers of ten only where they help."""
    if not math.isfinite(value):
        return str(value)
    if value and (abs(value) >= 1e6 or abs(value) < 1e-4):
        return f"{value:.{digits - 1}e}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def counted(n: int, what: str) -> str:
    """Write a count with its noun: ``1 run``, ``1,204 runs``."""
    return f"{n:,} {what}" + ("s" if n != 1 else "")


def shortened(name: str, most: int = 48) -> str:
    """Cut a long name in the middle, so that both its ends can be read."""
    if len(name) <= most:
        return name
    head = (most - 1) // 2
    return f"{name[:head].rstrip()}…{name[head + 1 - most :].lstrip()}"


def with_interval(value: float, low: float, high: float) -> str:
    """Write a number and its interval with as many digits as the interval carries: ``3.2790 [3.2784, 3.2797]``.

    Both ends are written to two significant digits of the half-width. Without an interval the number has four.
    """
    if not (math.isfinite(low) and math.isfinite(high) and math.isfinite(value) and high > low):
        return significant(value)
    half = (high - low) / 2
    decimals = max(0, 1 - math.floor(math.log10(half)))
    if decimals > 8 or abs(value) >= 1e6:
        return f"{significant(value)} [{significant(low)}, {significant(high)}]"
    return f"{value:,.{decimals}f} [{low:,.{decimals}f}, {high:,.{decimals}f}]"
