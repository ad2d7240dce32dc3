"""One number for a whole curve (its last, lowest, highest value, that at a step), and columns of the runs tree made of them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from .tables import Curve

How = Literal["last", "min", "max", "best", "at", "mean", "config", "status", "events"]

AUTOMATIC: tuple[str, ...] = ()
"""Columns nobody chose: the last value of the most useful tag."""

NO_COLUMNS = ("none",)
"""Columns of a user who wants none."""

_HIGH = re.compile(
    r"acc|f1|auc|bleu|rouge|precision|recall|reward|return|ep_rew|ssim|psnr|score|win|correct|success|\br2\b|"
    r"(^|[^a-z])map([^a-z]|$)|exact_match|throughput|_per_sec|mfu",
    re.IGNORECASE,
)
_LOW = re.compile(r"loss|error|perplexity|ppl|nll|wer\b|cer\b|bpb|mae|mse|fid", re.IGNORECASE)


def higher_is_better(tag: str) -> bool:
    """Whether a metric of this name is one to be raised (accuracy, reward), and not lowered (loss, error)."""
    return _HIGH.search(tag) is not None and _LOW.search(tag) is None


def reduced(curve: Curve, how: How, *, last: int = 10, at: float | None = None, higher: bool = False) -> float:
    """Give one number for a curve; NaN where there is none.

    Parameters
    ----------
    curve : Curve
    how : {'last', 'min', 'max', 'best', 'at', 'mean'}
        'last' is the last value logged, also one that is NaN or infinite; 'min' and 'max' are those of the finite values;
        'best' is the step of the best finite value, the first where there are several; 'at' is the value logged last at or
        before a step, nothing before the first; 'mean' is that of the last values, NaN where one of them is.
    last : int
        Values behind 'mean'.
    at : float
        The step for 'at'.
    higher : bool
        Whether the best value is the highest.
    """
    values = curve.value
    if not len(values):
        return math.nan
    match how:
        case "last":
            return float(values[-1])
        case "mean":
            return float(np.mean(values[-last:], dtype=np.float64))
        case "at":
            return _value_at(curve, at)
    finite = np.isfinite(values)
    if not finite.any():
        return math.nan
    highest = how == "max" or (how == "best" and higher)
    place = int(
        np.argmax(np.where(finite, values, -np.inf)) if highest else np.argmin(np.where(finite, values, np.inf))
    )
    return float(curve.step[place] if how == "best" else values[place])


def _value_at(curve: Curve, at: float | None) -> float:
    if at is None or math.isnan(at):
        return math.nan
    step = curve.step
    # Where a resumed training went back, what was logged later is what counts.
    before = np.flatnonzero(step <= at)
    if not len(before):
        return math.nan
    nearest = before[step[before] == step[before].max()][-1]
    return float(curve.value[nearest])


@dataclass(frozen=True, slots=True)
class RunColumn:
    """A column of the runs tree.

    Attributes
    ----------
    how : {'last', 'min', 'max', 'best', 'at', 'mean', 'config', 'status', 'events'}
        What it shows; see `reduced`. 'config' is a value of the configuration, 'status' how the run ended, 'events' what
        happened on the way (spikes, restarts ...).
    of : str
        The tag, or the key of the configuration.
    last : int
        Values behind 'mean'.
    """

    how: How
    of: str = ""
    last: int = 10

    def __str__(self) -> str:
        name = f"mean{self.last}" if self.how == "mean" else self.how
        return f"{name}:{self.of}" if self.of else name

    @property
    def title(self) -> str:
        """A few words for the header."""
        match self.how:
            case "last" | "config":
                return self.of
            case "best":
                return f"best step, {self.of}"
            case "at":
                return f"{self.of} at cursor"
            case "mean":
                return f"mean {self.last}, {self.of}"
            case "status" | "events":
                return self.how
            case _:
                return f"{self.how} {self.of}"

    @property
    def help(self) -> str:
        """A sentence for the tooltip."""
        direction = "highest" if higher_is_better(self.of) else "lowest"
        return {
            "last": f"Last value of {self.of}",
            "min": f"Lowest finite value of {self.of}",
            "max": f"Highest finite value of {self.of}",
            "best": f"Step at which {self.of} is {direction}",
            "at": f"Value of {self.of} logged last at or before the step cursor",
            "mean": f"Mean of the last {self.last} values of {self.of}",
            "config": f"{self.of} in the configuration",
            "status": "How the run ended",
            "events": "Spikes, divergence, restarts and plateaus of the run's loss",
        }[self.how]


def run_column(text: str) -> RunColumn | None:
    """Read a column as sessions keep it (``last:val_loss``, ``mean10:val_loss``, ``config:lr``); None where it is none."""
    name, _, of = text.partition(":")
    last = 10
    if name.startswith("mean") and name[4:].isdecimal():
        name, last = "mean", max(int(name[4:]), 1)
    if name in ("status", "events"):
        return RunColumn(name)  # type: ignore[arg-type]
    if name not in get_args(How) or not of:
        return None
    return RunColumn(name, of, last)  # type: ignore[arg-type]
