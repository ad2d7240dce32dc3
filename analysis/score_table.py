"""Scores put side by side: one number for each model and task, and for each checkpoint or seed where those are asked about.

A table of scores says more than any one question needs: metrics, splits, seeds, checkpoints. What the question is about stays
apart; of the rest one value is chosen or averaged over, and every choice is said in a note.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from ..models.errors import AnalysisError, TooLittleData
from ..models.figure import Clauses, Keys, Origin
from ..models.recognition import is_lower_better
from ..models.result import counted
from ..models.selection import All, Clause, is_in
from ..models.store import RunStore
from .answers import present

Better = Literal["as stated", "higher", "lower"]

_CHOSEN = ("split", "fewshot")
_READ = ("model", "version", "task", "metric", "split", "fewshot", "seed", "step", "value", "stderr", "n",
         "higher_is_better")  # fmt: skip
"""Columns of scores that are read here, besides those kept apart."""


@dataclass(frozen=True, slots=True)
class ScoreRows:
    """Scores with one row for each model, task and whatever else was kept apart.

    Attributes
    ----------
    frame : DataFrame
        Columns ``model``, ``task``, ``metric``, the columns kept apart, ``value`` as given, ``stderr`` and ``n`` (NaN where
        not given), and ``good``: the value with its sign turned where lower is better.
    notes : tuple of str
        What was chosen, averaged and left out.
    """

    frame: pd.DataFrame
    notes: tuple[str, ...]
    versions: Mapping[str, Clause] = field(default_factory=dict)
    """The clause of each model whose name here has its version behind it."""

    def clause(self, model: str) -> Clause:
        """Give the clause that holds for the rows of a model."""
        return self.versions.get(model) or is_in("model", (model,))

    def origin(self, models: Sequence[str]) -> Origin:
        """Give what lies behind marks of some models, one element each."""
        if self.versions:
            return Clauses("scores", tuple(self.clause(model) for model in models))
        return Keys("model", tuple(models))

    def of_task(self, task: str) -> pd.DataFrame:
        """Give the rows of one task."""
        return self.frame[self.frame["task"] == task]

    @property
    def tasks(self) -> list[str]:
        """Tasks in the order they are met."""
        return [str(task) for task in self.frame["task"].unique()]


_MOST_TABLES = 8
_remembered: WeakKeyDictionary[RunStore, dict[object, ScoreRows]] = WeakKeyDictionary()
"""Tables made of a store, so that a moved slider chooses nothing again."""


def chosen_scores(
    store: RunStore,
    *,
    apart: Sequence[str] = (),
    task: str = "",
    metric: str = "",
    split: str = "",
    better: Better = "as stated",
    from_step: float | None = None,
    together: bool = True,
) -> ScoreRows:
    """Give scores with one row for each model, task and value of the columns kept `apart`.

    Parameters
    ----------
    apart : sequence of str
        Columns kept apart (``step``, ``seed``, ``split``, ``metric`` or any other). Where ``step`` is not among them the last
        checkpoint of each model counts; where ``seed`` is not, seeds are averaged.
    task, metric, split : str
        Only these; empty takes all tasks, the first metric of each task, and the most frequent split.
    better : {'as stated', 'higher', 'lower'}
        'as stated' goes by the column ``higher_is_better``, else by the name of the metric.
    from_step : float, optional
        Least step that counts.
    together : bool
        Whether models and tasks that share nothing with most of the scores are left out: other models on other tasks are
        another study, whose table lies in the same folder.

    Raises
    ------
    AnalysisError
        When there is no such task, metric, split or column.
    TooLittleData
        When no score is left.
    """
    wanted = (tuple(apart), task, metric, split, better, from_step, together)
    tables = _remembered.setdefault(store, {})
    if wanted not in tables:
        made = _chosen(store.rows("scores"), *wanted)
        while len(tables) >= _MOST_TABLES:
            tables.pop(next(iter(tables)), None)
        tables[wanted] = made
        return made
    return tables[wanted]


def _chosen(
    frame: pd.DataFrame, apart: Sequence[str], task: str, metric: str, split: str, better: Better,
    from_step: float | None, together: bool,
) -> ScoreRows:  # fmt: skip
    notes: list[str] = []
    for column in apart:
        if column not in frame.columns:
            raise AnalysisError(
                f"The scores have no column called {column!r}.",
                remedy="Columns: " + ", ".join(map(str, frame.columns[:20])) + ".",
            )
    # Texts that nothing here reads (where a score came from) cost as much to carry along as all the rest.
    frame = frame[[name for name in frame.columns if name in _READ or name in apart]]
    known = np.isfinite(frame["value"].to_numpy(float))
    if lost := int(len(frame) - np.count_nonzero(known)):
        notes.append(f"{counted(lost, 'score')} left out: not finite.")
        frame = frame[known]
    frame = _only(frame, "task", task)
    if from_step is not None and "step" in frame.columns:
        frame = frame[~(frame["step"] < from_step)]
    if together and not task:
        frame = one_study(frame, notes)
    frame = _one_metric(frame, metric, apart, notes)
    asked = {"split": split}
    for column in _CHOSEN:
        if column in apart or not present(frame, [column]):
            continue
        value = asked.get(column, "")
        values = frame[column].value_counts(sort=True)
        if not value and len(values) > 1:
            value = values.index[0]
            others = ", ".join(_plainly(other) for other in values.index[1:4])
            notes.append(f"{column} {_plainly(value)} (not {others}).")
        if value != "":
            frame = _only(frame, column, value)
    if "step" not in apart and present(frame, ["step"]):
        frame = _last_steps(frame, apart, notes)
    if frame.empty:
        raise TooLittleData(needs="scores", found="none that are kept")
    names, versions = _names(frame, apart)
    frame = frame.assign(
        model=names,
        task=frame["task"].astype(object),
        metric=frame["metric"].astype(object) if "metric" in frame.columns else "",
    )
    sign, said = _signs(frame, better)
    notes += said
    frame = frame.assign(good=sign * frame["value"].to_numpy(float))
    for column in ("stderr", "n"):
        if column not in frame.columns:
            frame[column] = np.nan
    key = [*dict.fromkeys(["model", "task", *apart])]
    if "metric" not in key and metric:
        notes.append(f"Metric: {metric}.")
    return ScoreRows(_averaged(frame, key, notes), tuple(notes), versions)


def _only(frame: pd.DataFrame, column: str, value: Any) -> pd.DataFrame:
    if value == "":
        return frame
    kept = frame[frame[column].astype(str) == value if isinstance(value, str) else frame[column] == value]
    if kept.empty:
        there = ", ".join(_plainly(found) for found in frame[column].dropna().unique()[:12])
        raise AnalysisError(f"No score has {column} {value!r}.", remedy=f"There are {there}." if there else "")
    return kept


def one_study(frame: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Give the scores of those models and tasks that hang together, where there are several such groups: the one with most."""
    if frame.empty:
        return frame
    models, _ = pd.factorize(frame["model"])
    tasks, _ = pd.factorize(frame["task"])
    group = models.copy()
    while True:
        of_task = np.full(int(tasks.max()) + 1, len(models))
        np.minimum.at(of_task, tasks, group)
        of_model = np.full(int(models.max()) + 1, len(models))
        np.minimum.at(of_model, models, of_task[tasks])
        if np.array_equal(of_model[models], group):
            break
        group = of_model[models]
    sizes = np.bincount(group)
    if np.count_nonzero(sizes) < 2:
        return frame
    kept = np.equal(group, int(np.argmax(sizes)))
    others = frame.loc[~kept, "task"].astype(str).unique()
    named = ", ".join(others[:3]) + (" ..." if len(others) > 3 else "")
    notes.append(
        f"{counted(int((~kept).sum()), 'score')} left out: on {named} other models were scored, which share no task with the "
        "rest. Name the task, or keep those with a filter."
    )
    return frame[kept]


def _plainly(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _one_metric(frame: pd.DataFrame, metric: str, apart: Sequence[str], notes: list[str]) -> pd.DataFrame:
    if "metric" in apart or not present(frame, ["metric"]):
        return frame
    if metric:
        return _only(frame, "metric", metric)
    tasks, task_names = pd.factorize(frame["task"])
    metrics, metric_names = pd.factorize(frame["metric"])
    metric_names = metric_names.astype(str)
    kinds = pd.unique(tasks * (len(metric_names) + 1) + metrics + 1)
    of_task, of_kind = kinds // (len(metric_names) + 1), kinds % (len(metric_names) + 1) - 1
    first = np.unique(of_task, return_index=True)[1]
    if len(first) == len(kinds):
        return frame
    chosen = np.full(len(task_names), -1)
    chosen[of_task[first]] = of_kind[first]
    names = [metric_names[code] if code >= 0 else "" for code in dict.fromkeys(chosen.tolist())]
    others = [metric_names[code] for code in dict.fromkeys(of_kind.tolist()) if code >= 0]
    others = [name for name in others if name not in names]
    notes.append(
        f"Metric: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}, the first of each task"
        + (f" (not {', '.join(others[:4])})." if others else ".")
    )
    kept: pd.DataFrame = frame[chosen[tasks] == metrics]
    return kept


def _last_steps(frame: pd.DataFrame, apart: Sequence[str], notes: list[str]) -> pd.DataFrame:
    """Give the rows of the last checkpoint of each model, by task."""
    key = present(frame, dict.fromkeys(["model", "task", "metric", "seed", *apart]))
    last = frame.groupby(key, observed=True, sort=False, dropna=False)["step"].transform("max")
    kept = frame[(frame["step"] == last) | last.isna()]
    if len(kept) < len(frame):
        steps = kept["step"].dropna().unique()
        where = f"step {steps[0]:g}" if len(steps) == 1 else "each model's own"
        notes.append(f"Last checkpoint: {where}.")
    return kept


def _names(frame: pd.DataFrame, apart: Sequence[str]) -> tuple[pd.Series, dict[str, Clause]]:
    """Give the name of each model; with its version, and the clause of each such name, where versions are different
    models rather than checkpoints.
    """
    names = frame["model"].astype(object)
    if "version" in apart or not present(frame, ["version"]):
        return names, {}
    key = present(frame, dict.fromkeys(["model", "task", "metric", "seed", "step", *apart]))
    versions = frame.groupby(key, observed=True, sort=False, dropna=False)["version"].nunique()
    if versions.empty or versions.max() <= 1:
        return names, {}
    shown = frame["version"].astype(object).where(frame["version"].notna(), "").astype(str)
    joined = (names.astype(str) + " " + shown).str.strip()
    clauses: dict[str, Clause] = {}
    for name, model, version in dict.fromkeys(zip(joined, names, shown, strict=True)):
        own = is_in("model", (model,))
        clauses[name] = All((own, is_in("version", (version,)))) if version else own
    return joined, clauses


def _signs(frame: pd.DataFrame, better: Better) -> tuple[np.ndarray, list[str]]:
    if better != "as stated":
        return np.full(len(frame), 1.0 if better == "higher" else -1.0), [f"{better.capitalize()} is taken as better."]
    stated = frame["higher_is_better"].to_numpy(float) if "higher_is_better" in frame.columns else None
    low = {name: is_lower_better(str(name)) for name in frame["metric"].unique()}
    by_name = np.where(frame["metric"].map(low).to_numpy(bool), -1.0, 1.0)
    if stated is None:
        guessed = np.ones(len(frame), dtype=bool)
        sign = by_name
    else:
        guessed = np.isnan(stated)
        sign = np.where(guessed, by_name, np.where(stated > 0, 1.0, -1.0))
    notes = []
    if guessed.any():
        lower = [str(name) for name, is_low in low.items() if is_low]
        said = f"lower for {', '.join(lower[:4])}, higher for the rest" if lower else "higher"
        notes.append(f"The data do not say which direction is better; taken: {said}.")
    return sign, notes


def _averaged(frame: pd.DataFrame, key: list[str], notes: list[str]) -> pd.DataFrame:
    """Give one row a key: seeds averaged, and repeats too, which is said aloud."""
    columns = [*key, *(["metric"] if "metric" not in key else []), "value", "good", "stderr", "n"]
    has_seeds = "seed" not in key and bool(present(frame, ["seed"]))
    told_apart = [*key, "seed"] if has_seeds else key
    if has_seeds or frame.duplicated(key).any():
        return _means(frame, key, columns, told_apart, has_seeds, notes)
    return frame[columns].reset_index(drop=True)


def _means(
    frame: pd.DataFrame, key: list[str], columns: list[str], told_apart: list[str], has_seeds: bool, notes: list[str]
) -> pd.DataFrame:
    repeated = frame.duplicated(told_apart, keep=False)
    if repeated.any():
        rows = frame[repeated].groupby(told_apart, observed=True, dropna=False)["value"]
        apart = float((rows.max() - rows.min()).max())
        notes.append(
            f"Attention: {int(repeated.sum()):,} scores stand beside others of the same {', '.join(told_apart)} and are "
            f"averaged; they differ by up to {apart:.3g}. A filter keeps one of them."
        )
    seeds = frame.groupby(key, observed=True, dropna=False)["seed"].nunique() if has_seeds else None
    if seeds is not None and seeds.max() > 1:
        low, high = int(seeds.min()), int(seeds.max())
        notes.append(f"Mean of {low if low == high else f'{low} to {high}'} seeds.")
    if not frame.duplicated(key).any():
        return frame[columns].reset_index(drop=True)
    grouped = frame.groupby(key, observed=True, sort=False, dropna=False)
    means = grouped[["value", "good", "stderr", "n"]].mean()
    if "metric" not in key:
        means = means.assign(metric=grouped["metric"].first())
    return means.reset_index()[columns]


@dataclass(frozen=True, slots=True)
class Grid:
    """Scores as a matrix.

    Attributes
    ----------
    rows, columns : tuple
        Keys, in the order they are met; numbers in their own order.
    values : Mapping of str to ndarray, each shape (rows, columns)
        By name of the column of scores they hold; NaN where there is no score.
    """

    rows: tuple[Any, ...]
    columns: tuple[Any, ...]
    values: Mapping[str, np.ndarray]

    @property
    def good(self) -> np.ndarray:
        """Scores with higher always better."""
        return self.values["good"]

    def keeping(self, rows: np.ndarray, columns: np.ndarray) -> Grid:
        """Give some rows and columns, by number or mask."""
        rows, columns = np.arange(len(self.rows))[rows], np.arange(len(self.columns))[columns]
        values = {name: matrix[np.ix_(rows, columns)] for name, matrix in self.values.items()}
        return Grid(tuple(self.rows[i] for i in rows), tuple(self.columns[i] for i in columns), values)

    def complete_rows(self) -> Grid:
        """Give the rows that have a score in every column."""
        return self.keeping(~np.isnan(self.good).any(axis=1), np.arange(len(self.columns)))


def grid_of(frame: pd.DataFrame, rows: str, columns: str, names: Sequence[str] = ("good", "value", "stderr")) -> Grid:
    """Give scores as a matrix; `frame` has one row for each pair of keys, and rows without a key are passed over."""
    everything = np.arange(len(frame))
    values = {name: frame[name].to_numpy(float) for name in names}
    return _grid(everything, _Keys.of(frame[rows]), _Keys.of(frame[columns]), values)


def grids_of(
    frame: pd.DataFrame, by: str, rows: str, columns: str, names: Sequence[str] = ("good", "value", "stderr")
) -> dict[Any, Grid]:
    """Give what `grid_of` gives for the rows of each value of `by`, in the order they are met.

    Keys are numbered once for all parts, which spares most of the time where there are many.
    """
    part_codes, parts = pd.factorize(frame[by].astype(object))
    order = np.argsort(part_codes, kind="stable")
    ends = np.searchsorted(part_codes[order], np.arange(len(parts) + 1))
    row_keys, column_keys = _Keys.of(frame[rows]), _Keys.of(frame[columns])
    values = {name: frame[name].to_numpy(float) for name in names}
    return {
        part: _grid(order[ends[number] : ends[number + 1]], row_keys, column_keys, values)
        for number, part in enumerate(parts)
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Keys:
    """Numbers of the keys of a column, -1 where there is none; and whether keys have an order of their own."""

    codes: np.ndarray
    keys: list[Any]
    are_numbers: bool

    @classmethod
    def of(cls, column: pd.Series) -> _Keys:
        numbers = bool(pd.api.types.is_numeric_dtype(column.dtype))
        codes, keys = pd.factorize(column if numbers else column.astype(object), sort=numbers)
        return cls(codes, list(keys), numbers)

    def among(self, mine: np.ndarray) -> tuple[tuple[Any, ...], np.ndarray]:
        """Give the keys that some rows have, and the place of each row's among them."""
        codes = self.codes[mine]
        there = np.unique(codes) if self.are_numbers else pd.unique(codes)
        place = np.zeros(len(self.keys), dtype=np.intp)
        place[there] = np.arange(len(there))
        return tuple(self.keys[code] for code in there.tolist()), place[codes]


def _grid(mine: np.ndarray, rows: _Keys, columns: _Keys, values: Mapping[str, np.ndarray]) -> Grid:
    mine = mine[(rows.codes[mine] >= 0) & (columns.codes[mine] >= 0)]
    (row_keys, row), (column_keys, column) = rows.among(mine), columns.among(mine)
    matrices = {}
    for name, known in values.items():
        matrix = np.full((len(row_keys), len(column_keys)), np.nan)
        matrix[row, column] = known[mine]
        matrices[name] = matrix
    return Grid(row_keys, column_keys, matrices)


def redrawn_ranks(good: np.ndarray, errors: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Give ranks (1 the best, ties by chance) when every score is redrawn from a Gaussian of its standard error.

    Parameters
    ----------
    good, errors : ndarray, shape (n,)
        Scores, higher better, and their standard errors.

    Returns
    -------
    ndarray of float, shape (draws, n)
    """
    generator = np.random.default_rng(seed)
    drawn = good + errors * generator.standard_normal((draws, len(good)))
    ranks: np.ndarray = np.argsort(np.argsort(-drawn, axis=1), axis=1) + 1.0
    return ranks
