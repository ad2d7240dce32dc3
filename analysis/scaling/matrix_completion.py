"""``scaling.matrix-completion``: what would a model score on a task it was never run on?"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Cells, Clauses, FigureSpec, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, significant, with_interval
from ...models.selection import All, Clause, is_in
from ...models.store import RunStore
from ..resampling import percentile_interval
from ..score_table import chosen_scores

_ROWS, _COLUMNS, _CELLS_OF_LINE, _FOLDS = 4, 3, 2, 5
_RIDGES = (0.03, 0.3, 3.0)
_SHOWN_MODELS, _SHOWN_TASKS = 40, 24


def complete(scores: np.ndarray, rank: int, ridge: float = 0.3, iterations: int = 60) -> np.ndarray:
    """Fill a matrix by mu + a_i + b_j + u_i v_j, least squares on the cells that are known, alternating.

    Parameters
    ----------
    scores : ndarray, shape (models, tasks)
        NaN where unknown; columns should be on one scale.
    rank : int
        Length of u and v; 0 leaves the biases alone.
    ridge : float
        Penalty on biases and factors of a row or column, in cells: as if so many cells were 0.

    Returns
    -------
    ndarray, shape (models, tasks)
        The fitted value of every cell, known or not.

    Notes
    -----
    The biased factorisation of Koren, Bell and Volinsky (2009), *Matrix factorization techniques for recommender systems*.
    """
    known = ~np.isnan(scores)
    filled = np.where(known, scores, 0.0)
    mu = float(filled[known].mean())
    n, m = scores.shape
    centred = np.where(known, filled - mu, 0.0)
    # Started from the singular vectors of the doubly centred table, so that the answer does not depend on chance.
    row_bias = centred.sum(axis=1) / (known.sum(axis=1) + ridge)
    column_bias = (np.where(known, centred - row_bias[:, None], 0.0)).sum(axis=0) / (known.sum(axis=0) + ridge)
    left, values, right = np.linalg.svd(
        np.where(known, centred - row_bias[:, None] - column_bias, 0.0), full_matrices=False
    )
    k = min(rank, len(values))
    rows = np.column_stack([row_bias, np.ones(n), left[:, :k] * np.sqrt(values[:k])])
    columns = np.column_stack([np.ones(m), column_bias, right[:k].T * np.sqrt(values[:k])])
    free_rows, free_columns = [0, *range(2, 2 + k)], [1, *range(2, 2 + k)]
    before = np.inf
    for _ in range(iterations):
        rows[:, free_rows] = _solved(centred - columns[:, 1], known, columns[:, free_rows], ridge)
        columns[:, free_columns] = _solved((centred - rows[:, :1]).T, known.T, rows[:, free_columns], ridge)
        cost = float((np.where(known, rows @ columns.T - centred, 0.0) ** 2).sum())
        if before - cost < 1e-9 * max(cost, 1e-12):
            break
        before = cost
    return np.asarray(mu + rows @ columns.T)


def _solved(target: np.ndarray, known: np.ndarray, design: np.ndarray, ridge: float) -> np.ndarray:
    """Give, for every row, the ridge regression of its known cells on `design`, shape (cells, p)."""
    gram = np.einsum("nm,ma,mb->nab", known.astype(float), design, design)
    moments = np.where(known, target, 0.0) @ design
    scale = np.maximum(np.mean(design**2, axis=0), 1e-12)
    return np.asarray(np.linalg.solve(gram + np.diag(ridge * scale), moments[..., None])[..., 0])


def held_out(scores: np.ndarray, groups: np.ndarray, rank: int, ridge: float) -> np.ndarray:
    """Give the prediction of every known cell by a fit without the cells of its group, shape (models, tasks); NaN elsewhere.

    Parameters
    ----------
    groups : ndarray of int, shape (models, tasks)
        Cells of one number are hidden together; -1 is never hidden.
    """
    predictions = np.full(scores.shape, np.nan)
    for group in np.unique(groups[groups >= 0]):
        hidden = (groups == group) & ~np.isnan(scores)
        left = np.where(hidden, np.nan, scores)
        if np.isnan(left).all(axis=0).any() or np.isnan(left).all():
            continue
        predictions[hidden] = complete(left, rank, ridge)[hidden]
    return predictions


@dataclass(frozen=True, kw_only=True)
class Completion(Result):
    """A table of scores with its holes filled.

    Attributes
    ----------
    models, tasks : tuple of str
    scores, filled : ndarray, shape (models, tasks)
        Measured (NaN where missing), and predicted everywhere.
    random, by_family : ndarray, shape (models, tasks)
        Predictions of measured cells that were hidden, at random and by family.
    """

    models: tuple[str, ...]
    tasks: tuple[str, ...]
    scores: np.ndarray
    filled: np.ndarray
    random: np.ndarray
    by_family: np.ndarray

    def summary(self) -> str:
        """Give the answer in one sentence."""
        missing = int(np.isnan(self.scores).sum())
        one, other = self.estimates["random_rmse"], self.estimates.get("family_rmse")
        said = f"hidden at random, cells are off by {with_interval(one.value, one.low, one.high)} (root mean square)"
        if other is not None:
            off = with_interval(other.value, other.low, other.high)
            said += f"; with a whole family hidden but for {_CELLS_OF_LINE} tasks, by {off}"
        return f"{counted(missing, 'missing cell')} of {self.scores.size} filled; {said}."


@dataclass(frozen=True, kw_only=True)
class MatrixCompletionQuestion(Question):
    """What would model i score on task j it was never run on?"""

    needs: ClassVar = (Need("scores"),)

    rank: int | None = option(None, help="factors beside the biases; chosen on hidden cells if empty", low=0, high=10)
    family: str = option("", help="column of the scores with the family", choices="columns of scores")
    metric: str = option("", help="metric of the scores; the first of each task if empty", choices="scores.metric")
    leave_out: tuple[str, ...] = option((), help="tasks left out", choices="scores.task")
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(1000, help="resamples of models for the errors", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the hiding and of the resampling", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in the family."""
        if self.family:
            return self
        columns = store.columns("scores")
        return replace(self, family=next((name for name in columns if re.search("famil", name, re.IGNORECASE)), ""))

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> Completion:
        """Choose the rank on hidden cells, fill the table, and say how far off hidden cells are."""
        asked = self.resolved(store)
        wide, families, notes = _table(store, asked)
        raw = wide.to_numpy(float)
        middle, spread = np.nanmean(raw, axis=0), np.nanstd(raw, axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        scores = (raw - middle) / spread
        generator = np.random.default_rng(asked.seed)
        folds = np.where(np.isnan(scores), -1, generator.integers(0, _FOLDS, scores.shape))
        ranks = range(min(4, min(scores.shape) - 1) + 1) if asked.rank is None else [asked.rank]
        trials = {}
        for number, rank in enumerate(ranks):
            progress(number, len(ranks), f"rank {rank}")
            for ridge in _RIDGES:
                trials[rank, ridge] = held_out(scores, folds, rank, ridge)
        errors = {key: float(np.nanmean((trial - scores) ** 2)) for key, trial in trials.items()}
        rank, ridge = min(errors, key=lambda key: errors[key])

        def back(values: np.ndarray) -> np.ndarray:
            return np.asarray(values * spread + middle)

        by_family = held_out(scores, _family_groups(scores, families, generator), rank, ridge)
        filled = back(complete(scores, rank, ridge))
        estimates = _estimates(raw, back(trials[rank, ridge]), "random", asked)
        if np.isfinite(by_family).sum() >= 10:
            estimates |= _estimates(raw, back(by_family), "family", asked)
        else:
            notes.append("No family error: fewer than two families, or too few tasks.")
        estimates["rank"] = Estimate(
            rank, why_no_interval="chosen on hidden cells" if asked.rank is None else "asked for"
        )
        missing = np.isnan(raw)
        error = estimates["family_rmse" if "family_rmse" in estimates else "random_rmse"].value
        rows, columns = np.nonzero(missing)
        predictions = pd.DataFrame(
            {
                "model": wide.index.to_numpy(str)[rows],
                "task": wide.columns.to_numpy(str)[columns],
                "predicted": filled[missing],
            }
        )
        return Completion(
            models=tuple(map(str, wide.index)), tasks=tuple(map(str, wide.columns)), scores=raw, filled=filled,
            random=back(trials[rank, ridge]), by_family=back(by_family), estimates=estimates,
            tables={
                "predictions": predictions.assign(give_or_take=error),
                "choice": pd.DataFrame([(*key, np.sqrt(value)) for key, value in errors.items()],
                                       columns=["rank", "ridge", "rmse_standardised"]),
            },
            notes=(
                f"mu + a + b + u v of tasks on one scale, rank {rank}, chosen on cells hidden in {_FOLDS} folds; "
                f"unit: the model, n = {len(wide)}; intervals: {100 * asked.level:g} %, bootstrap over models, "
                f"{asked.draws} draws, seed {asked.seed}. "
                "The error of the chosen rank at random cells flatters; that of hidden families is the honest one.",
                *notes,
            ),
        )  # fmt: skip


def _table(store: RunStore, asked: MatrixCompletionQuestion) -> tuple[pd.DataFrame, np.ndarray, list[str]]:
    chosen = chosen_scores(store, metric=asked.metric)
    wide = chosen.frame.pivot_table(index="model", columns="task", values="value", sort=False)
    if unknown := [task for task in asked.leave_out if task not in wide.columns]:
        raise AnalysisError(f"There is no task {unknown[0]!r}.")
    wide = wide.drop(columns=list(asked.leave_out))
    notes = [note for note in chosen.notes if "direction" not in note]
    for what in ("model", "task"):
        known = wide.notna().to_numpy()
        few = known.sum(axis=1 if what == "model" else 0) < _CELLS_OF_LINE
        if few.any():
            notes.append(f"{counted(int(few.sum()), what)} left out: fewer than {_CELLS_OF_LINE} scores.")
            wide = wide[~few] if what == "model" else wide.loc[:, ~few]
    if wide.shape[0] < _ROWS or wide.shape[1] < _COLUMNS:
        raise TooLittleData(
            needs=f"at least {_ROWS} models and {_COLUMNS} tasks", found=f"{wide.shape[0]} and {wide.shape[1]}"
        )
    if asked.family:
        rows = store.rows("scores")
        if asked.family not in rows.columns:
            raise AnalysisError(f"The scores have no column called {asked.family!r}.")
        first = rows.assign(model=rows["model"].astype(str)).groupby("model", sort=False)[asked.family].first()
        families = first.reindex([str(name) for name in wide.index]).astype(str).to_numpy(str)
    else:
        families = np.array([re.split(r"[-_ /.]?\d", str(name))[0] for name in wide.index], dtype=str)
    return wide, families, notes


def _family_groups(scores: np.ndarray, families: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Give a number to the cells of each family, but for two known cells of each of its models."""
    names, owner = np.unique(families, return_inverse=True)
    groups = np.where(np.isnan(scores), -1, owner[:, None])
    if len(names) < 2:
        return np.full(scores.shape, -1)
    for row in range(len(scores)):
        known = np.flatnonzero(~np.isnan(scores[row]))
        groups[row, generator.permutation(known)[:_CELLS_OF_LINE]] = -1
    return np.asarray(groups)


def _estimates(
    raw: np.ndarray, predicted: np.ndarray, how: str, asked: MatrixCompletionQuestion
) -> dict[str, Estimate]:
    """Give root mean square error and R2 of hidden cells, with intervals over models."""
    known = np.isfinite(raw) & np.isfinite(predicted)
    squares = np.where(known, (predicted - raw) ** 2, 0.0).sum(axis=1)
    around = np.where(known, (raw - np.nanmean(raw, axis=0)) ** 2, 0.0).sum(axis=1)
    counts = known.sum(axis=1)
    draws = np.random.default_rng(asked.seed).multinomial(len(raw), np.full(len(raw), 1 / len(raw)), size=asked.draws)
    drawn_rmse = np.sqrt(draws @ squares / np.maximum(draws @ counts, 1))
    values = {
        f"{how}_rmse": (np.sqrt(squares.sum() / counts.sum()), drawn_rmse, "score"),
        f"{how}_r_squared": (
            1 - squares.sum() / max(around.sum(), 1e-300), 1 - draws @ squares / np.maximum(draws @ around, 1e-300), "",
        ),
    }  # fmt: skip
    estimates = {}
    for name, (value, drawn, unit) in values.items():
        low, high = percentile_interval(drawn, asked.level)
        estimates[name] = Estimate(float(value), float(low), float(high), asked.level, unit)
    return estimates


def _cell(model: str, task: str) -> Clause:
    return All((is_in("model", (model,)), is_in("task", (task,))))


def figure(question: MatrixCompletionQuestion, result: Completion) -> FigureSpec:
    """Draw the table, measured and filled, and hidden cells against what they are."""
    holes = np.isnan(result.scores)
    rows = np.argsort(-holes.sum(axis=1), kind="stable")[:_SHOWN_MODELS]
    rows = rows[np.argsort(-np.nanmean(result.filled[rows], axis=1))]
    columns = np.arange(min(len(result.tasks), _SHOWN_TASKS))
    part = np.where(holes, result.filled, result.scores)[np.ix_(rows, columns)]
    texts = tuple(tuple(f"~{result.filled[i, j]:.2g}" if holes[i, j] else "" for j in columns) for i in rows)
    names, tasks = tuple(result.models[i] for i in rows), tuple(result.tasks[j] for j in columns)
    origin = Clauses("scores", tuple(_cell(name, task) for name in names for task in tasks))
    cells: tuple[Mark, ...] = (
        Cells(key="scores", values=part, rows=names, columns=tasks, texts=texts, label="score", origin=origin),
    )
    hidden: list[Mark] = [Rule(key="equal", axis="diagonal")]
    for key, predicted, hue in (("at random", result.random, "muted"), ("by family", result.by_family, "accent")):
        known = np.isfinite(predicted) & ~holes
        if not known.any():
            continue
        i, j = np.nonzero(known)
        some = np.linspace(0, len(i) - 1, min(len(i), 2000)).astype(int)
        i, j = i[some], j[some]
        name = "random_rmse" if key == "at random" else "family_rmse"
        hidden.append(
            Points(
                key=key, x=predicted[i, j], y=result.scores[i, j], hue=hue, size=3.5, opacity=0.7, hollow=key == "by family",
                label=f"hidden {key}, RMSE {significant(result.estimates[name].value, 2)}" if name in result.estimates else key,
                notes=tuple(f"{result.models[a]}, {result.tasks[b]}" for a, b in zip(i, j, strict=True)),
                origin=Clauses("scores", tuple(_cell(result.models[a], result.tasks[b]) for a, b in zip(i, j, strict=True))),
            )
        )  # fmt: skip
    panels = (
        Panel(key="table", x=Axis(scale="category", names=tasks), y=Axis(scale="category", names=names), marks=cells,
              legend=False, title="Filled cells are marked ~"),
        Panel(key="hidden", x=Axis(label="predicted"), y=Axis(label="measured"), marks=tuple(hidden), square=True),
    )  # fmt: skip
    return FigureSpec(
        title="Scores nobody measured", subtitle=result.summary(), panels=panels, columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )  # fmt: skip


ANALYSIS = Analysis(
    id="scaling.matrix-completion",
    title="Score-matrix completion",
    asks="What would this model score on the task it was never run on?",
    question=MatrixCompletionQuestion,
    figure=figure,
    sources=(
        "Koren, Bell and Volinsky (2009), Matrix factorization techniques for recommender systems",
        "Ye et al. (2023), How predictable are large language model capabilities?",
    ),
    definition="""\
$s_{ij} = \\mu + a_i + b_j + u_i \\cdot v_j$ on standardised tasks, alternating ridge regressions; rank and ridge from
cells hidden
in five folds. Errors: those cells, and cells of a whole family hidden but for two scores of each of its models. Unit: the
model. Rows and columns with fewer than two scores are left out.

Trap: the error at random cells flatters, because siblings of the model are in the table; that of hidden families is the
honest number.
""",
)
