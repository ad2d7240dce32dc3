"""What a network said of its own training items, epoch by epoch: the probability of the label, right or wrong, the margin.

Every array has shape (runs, items, epochs). Only epochs that all items have, and items that all runs have, are kept: a mean
over other epochs would be another number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..models.errors import AnalysisError, TooLittleData
from ..models.figure import Clauses
from ..models.natural_order import natural_order
from ..models.result import Estimate, counted
from ..models.selection import All, Clause, is_in
from ..models.store import RunStore
from .answers import clause_of_items, present, refuse_repeats, rightness
from .forecast_rows import places_of_labels, probabilities
from .resampling import bootstrap, percentile_interval

P_GOLD = ("p_gold", "label_probability", "gold_probability", "p_label")
"""Columns that state the probability of the label, where none is named."""
TRUTH = ("mislabelled", "mislabeled", "is_mislabelled", "is_noisy", "label_error")
"""Columns that say which labels are known to be wrong, where none is named."""
_FLOOR = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Dynamics:
    """Training items over epochs.

    Attributes
    ----------
    names : tuple of str
        Runs: model, version and seed, where they vary; in natural order.
    clauses : tuple of Clause
        The rows of each run.
    items : DataFrame
        One row an item: ``item``, ``label`` and the columns kept.
    epochs : ndarray, shape (epochs,)
        Increasing.
    values : ndarray, shape (runs, items, epochs)
        What was asked for.
    notes : tuple of str
        What was chosen and left out.
    """

    names: tuple[str, ...]
    clauses: tuple[Clause, ...]
    items: pd.DataFrame
    epochs: np.ndarray
    values: np.ndarray
    notes: tuple[str, ...]

    def clause(self, items: np.ndarray) -> Clause:
        """Give the clause of some items, by mask or number."""
        return clause_of_items(self.items.iloc[np.flatnonzero(items) if items.dtype == bool else items], self.items)

    def each(self, items: np.ndarray) -> Clauses:
        """Give the items as what lies behind the elements of a mark."""
        numbers = np.flatnonzero(items) if items.dtype == bool else items
        several = "task" in self.items.columns and self.items["task"].nunique() > 1
        columns = ["item", "task"] if several else ["item"]
        rows = self.items[columns].iloc[numbers].itertuples(index=False, name=None)
        clauses = (tuple(is_in(name, (value,)) for name, value in zip(columns, row, strict=True)) for row in rows)
        return Clauses("predictions", tuple(parts[0] if len(parts) == 1 else All(parts) for parts in clauses))


def default_truth(store: RunStore) -> str:
    """Give the column that says which labels are known to be wrong, if there is one."""
    have = set(store.columns("predictions")) if store.has_rows("predictions") else set()
    return next((name for name in TRUTH if name in have), "")


def dynamics_of(
    store: RunStore,
    what: str,
    *,
    task: str = "",
    until: float | None = None,
    column: str = "",
    keep: Sequence[str] = (),
    single: bool = False,
) -> Dynamics:
    """Give one number for every run, item and epoch.

    Parameters
    ----------
    what : {'gold', 'right', 'margin', 'loss', 'el2n', 'el1n', 'p_margin', 'column'}
        Probability of the label; 1 for right; logit of the label less the greatest other one; −log of the probability of
        the label in nats; Euclidean distance of the probabilities from the label, or the sum of absolute ones; greatest
        other probability less that of the label; or `column`.
    until : float, optional
        Last epoch that counts.
    column : str
        Column that states the number itself, instead of the probabilities.
    keep : sequence of str
        Columns of the items to keep.
    single : bool
        Whether rows without any epoch count as one epoch.

    Raises
    ------
    AnalysisError
        When a column is missing, or a row is there twice.
    TooLittleData
        When there are no epochs.
    """
    frame = store.rows("predictions")
    for name in (column, *keep):
        if name and name not in frame.columns:
            raise AnalysisError(f"The predictions have no column called {name!r}.")
    notes: list[str] = []
    if task:
        frame = frame[frame["task"].astype(str) == task] if "task" in frame.columns else frame[:0]
        if frame.empty:
            raise AnalysisError(f"No prediction is of the task {task!r}.")
    if present(frame, ["epoch"]):
        whole = len(frame)
        frame = frame[frame["epoch"].notna()]
        if len(frame) < whole:
            notes.append(f"{counted(whole - len(frame), 'row')} left out: no epoch.")
        if until is not None:
            frame = frame[frame["epoch"] <= until]
    elif single:
        frame = frame.assign(epoch=0.0)
    if frame.empty or "epoch" not in frame.columns or not frame["epoch"].notna().any():
        raise TooLittleData(
            needs="predictions on training items at several epochs (a column 'epoch')",
            found="none" if frame.empty else "no epochs",
            remedy="Log the predictions on the training set at the end of every epoch.",
        )
    numbers, said = _numbers(frame, what, column)
    notes += said
    lost = np.isnan(numbers)
    if lost.all():
        raise TooLittleData(needs="numbers for the label of each row", found="none that are known")
    if lost.any():
        notes.append(f"{counted(int(lost.sum()), 'row')} left out: the label or its probability is not known.")
        frame, numbers = frame[~lost], numbers[~lost]
    return _arranged(frame, numbers, keep, notes)


def _numbers(frame: pd.DataFrame, what: str, column: str) -> tuple[np.ndarray, list[str]]:
    if column:
        numbers = frame[column].to_numpy(float)
        if what in ("gold", "loss") and ((numbers < 0).any() or (what == "gold" and (numbers > 1).any())):
            raise AnalysisError(f"{column!r} holds numbers that are no {'probability' if what == 'gold' else 'loss'}.")
        return numbers, []
    if what == "right":
        return rightness(frame), []
    if what == "margin":
        return _margins(frame)
    if what in ("el2n", "el1n", "p_margin"):
        return _distances(frame, what), []
    gold, said = label_probability(frame)
    if what == "loss":
        return -np.log(np.maximum(gold, _FLOOR)), said
    return gold, said


def label_probability(frame: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """Give the probability of the label of every row, NaN where it is not known, and where it comes from.

    Raises
    ------
    AnalysisError
        When nothing states it.
    """
    stated = next(iter(present(frame, P_GOLD)), "")
    if stated:
        return frame[stated].to_numpy(float), [f"Probability of the label: {stated}."]
    p, classes = probabilities(frame)
    if not classes:
        raise AnalysisError(
            "Nothing says how probable the label was.",
            remedy="Name columns prob.* or logit.*, or choose the column that holds the probability of the label.",
        )
    place = places_of_labels(frame, classes)
    return np.where(place < 0, np.nan, p[np.arange(len(p)), np.maximum(place, 0)]), []


def _distances(frame: pd.DataFrame, what: str) -> np.ndarray:
    """Give how far the probabilities of a row are from its label; NaN without a label."""
    p, classes = probabilities(frame)
    if not classes:
        raise AnalysisError("Nothing says how probable each class was.", remedy="Name columns prob.* or logit.*.")
    place = places_of_labels(frame, classes)
    rows, own = np.arange(len(p)), np.maximum(place, 0)
    if what == "p_margin":
        others = p.copy()
        others[rows, own] = -np.inf
        found = others.max(axis=1) - p[rows, own]
    else:
        target = np.zeros_like(p)
        target[rows, own] = 1
        found = np.abs(p - target).sum(axis=1) if what == "el1n" else np.sqrt(((p - target) ** 2).sum(axis=1))
    return np.where(place < 0, np.nan, found)


def _margins(frame: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    logits = [name for name in frame.columns if str(name).startswith("logit.")]
    notes = []
    if len(logits) > 1:
        z, classes = frame[logits].to_numpy(float), [str(name).removeprefix("logit.") for name in logits]
    else:
        p, classes = probabilities(frame)
        if len(classes) < 2:
            raise AnalysisError(
                "A margin needs the logits or probabilities of all classes.", remedy="Name columns logit.*."
            )
        if (floored := int((p < _FLOOR).sum())) > 0:
            notes.append(f"{floored:,} probabilities below 1e-12 were raised to it.")
        # They differ from the logits by a constant of the row, which the margin takes out.
        z = np.log(np.maximum(p, _FLOOR))
        notes.append("Margins are of log-probabilities, which are those of the logits.")
    place = places_of_labels(frame, classes)
    rows = np.arange(len(z))
    own = z[rows, np.maximum(place, 0)]
    z = z.copy()
    z[rows, np.maximum(place, 0)] = -np.inf
    return np.where(place < 0, np.nan, own - z.max(axis=1)), notes


def _arranged(frame: pd.DataFrame, numbers: np.ndarray, keep: Sequence[str], notes: list[str]) -> Dynamics:
    whose = [name for name in present(frame, ("model", "version", "seed")) if frame[name].nunique() > 1]
    key = present(frame, ("task", "item"))
    refuse_repeats(frame, [*whose, *key, "epoch"], "the predictions")
    keyed = frame[[*key, *whose]].astype(object).where(frame[[*key, *whose]].notna(), "")
    item = keyed.groupby(key, sort=False).ngroup().to_numpy()
    run = keyed.groupby(whose, sort=False).ngroup().to_numpy() if whose else np.zeros(len(frame), int)
    epochs, epoch = np.unique(frame["epoch"].to_numpy(float), return_inverse=True)
    shape = (int(run.max()) + 1, int(item.max()) + 1, len(epochs))
    values = np.full(shape, np.nan)
    values[run, item, epoch] = numbers
    known = ~np.isnan(values)
    common = known.sum(axis=(0, 1)) * 2 >= known.sum(axis=(0, 1)).max()
    kept = known[:, :, common].all(axis=(0, 2))
    if not common.all():
        notes.append(f"{int((~common).sum())} of {len(epochs)} epochs left out: few items have them.")
    if not kept.all():
        notes.append(f"{counted(int((~kept).sum()), 'item')} left out: not there at all of the epochs of all runs.")
    if not kept.any():
        raise TooLittleData(needs="items that are there at every epoch", found="none")
    _, first = np.unique(item, return_index=True)
    columns = list(dict.fromkeys([*key, *present(frame, ["label"]), *keep]))
    items = frame[columns].iloc[first].loc[lambda rows: np.asarray(kept)].reset_index(drop=True)
    names, clauses = _runs(keyed, run, whose)
    order = sorted(range(len(names)), key=lambda i: natural_order(names[i]))
    return Dynamics(
        tuple(names[i] for i in order), tuple(clauses[i] for i in order), items, epochs[common],
        values[order][:, kept][:, :, common], tuple(notes),
    )  # fmt: skip


def _runs(keyed: pd.DataFrame, run: np.ndarray, whose: Sequence[str]) -> tuple[list[str], list[Clause]]:
    _, first = np.unique(run, return_index=True)
    names, clauses = [], list[Clause]()
    for row in keyed.iloc[first].to_dict("records"):
        named = [f"seed {row[name]}" if name == "seed" else str(row[name]) for name in whose]
        names.append(" ".join(named) or "the run")
        parts: tuple[Clause, ...] = tuple(is_in(name, (row[name],)) for name in whose)
        clauses.append(parts[0] if len(parts) == 1 else All(parts))
    return names, clauses


def truth_of(items: pd.DataFrame, column: str) -> np.ndarray:
    """Give which labels are known to be wrong, shape (items,)."""
    return np.asarray(pd.to_numeric(items[column], errors="coerce").to_numpy(float) > 0.5)


def auc_of_draws(score: np.ndarray, positive: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Give P(score of a positive > score of a negative) + half the ties, for every weighting, shape (draws,).

    Parameters
    ----------
    score, positive : ndarray, shape (n,)
    counts : ndarray, shape (draws, n)
        How often each was drawn.
    """
    _, place = np.unique(score, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(place[order]) > 0]))
    ones = np.add.reduceat((counts * positive)[:, order], starts, axis=1).astype(float)
    zeros = np.add.reduceat((counts * ~positive)[:, order], starts, axis=1).astype(float)
    below = np.cumsum(zeros, axis=1) - zeros / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((ones * below).sum(axis=1) / (ones.sum(axis=1) * zeros.sum(axis=1)))


def found_by(score: np.ndarray, wrong: np.ndarray, *, draws: int, seed: int, level: float) -> Estimate:
    """Give how well a score (high = suspect) finds the labels known to be wrong: the area under the ROC, over items."""
    if not wrong.any() or wrong.all():
        return Estimate(math.nan, level=level, why_no_interval="no label, or every label, is known to be wrong")

    def areas(counts: np.ndarray) -> np.ndarray:
        return auc_of_draws(score, wrong, counts)

    # Right and wrong labels are drawn apart, so that every resample has both.
    drawn = bootstrap(areas, len(score), draws=draws, seed=seed, strata=wrong.astype(int))
    low, high = percentile_interval(drawn, level)
    return Estimate(float(areas(np.ones((1, len(score))))[0]), float(low), float(high), level, "area under the ROC")


def roc_points(score: np.ndarray, wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give false and true positive rates as the threshold falls, from (0, 0) to (1, 1)."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)
    hits, alarms = np.cumsum(wrong[order])[last], np.cumsum(~wrong[order])[last]
    return np.append(0.0, alarms / max(alarms[-1], 1)), np.append(0.0, hits / max(hits[-1], 1))


def spearman_of_draws(a: np.ndarray, b: np.ndarray, *, draws: int, seed: int, level: float) -> Estimate:
    """Give Spearman's rank correlation of two numbers of the items, with its bootstrap over items."""
    from scipy.stats import rankdata

    first, second = rankdata(a), rankdata(b)
    if len(a) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return Estimate(math.nan, level=level, why_no_interval="one of them is the same for all items")

    def correlations(counts: np.ndarray) -> np.ndarray:
        # Ranks are those of all items: a resample weighs them, which saves ranking it anew.
        w = counts / counts.sum(axis=1, keepdims=True)
        x, y = w @ first, w @ second
        xy = w @ (first * second) - x * y
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(xy / np.sqrt((w @ first**2 - x**2) * (w @ second**2 - y**2)))

    drawn = bootstrap(correlations, len(a), draws=draws, seed=seed)
    low, high = percentile_interval(drawn, level)
    return Estimate(float(correlations(np.ones((1, len(a))))[0]), float(low), float(high), level, "Spearman")


def traces(dynamics: Dynamics, groups: dict[str, np.ndarray]) -> dict[str, Any]:
    """Give the quartiles over epochs of the items of each group, averaged over runs: (low, middle, high) by name."""
    mean = dynamics.values.mean(axis=0)
    return {name: np.quantile(mean[mask], [0.25, 0.5, 0.75], axis=0) for name, mask in groups.items() if mask.any()}
