"""``metrics.meta-evaluation``: whether a metric orders systems and items as people do, and whether the study is big enough."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Clauses, FigureSpec, Line, Mark, Panel, Points, Rule, Text
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, shortened
from ...models.selection import is_in
from ...models.store import RunStore
from ..answer_marks import MOST_ROWS, dots, named_axis, zero
from ..answers import at_epoch, present
from ..rank_correlation import kendall_matrix, midranks, williams
from ..resampling import DrawBlock, draw_blocks, holm, percentile_interval

COEFFICIENTS = ("pearson", "spearman", "tau_b")
_HUMAN = ("human", "human_score", "human_rating", "gold", "rating", "correct")
_NO_METRIC = ("epoch", "weight", "sample", "step", "seed", "n_options", "label", "item", "n", "stderr")
_ENOUGH_SYSTEMS = 10
_BINS = 5
_POWER_DRAWS = 200
_MOST_NAMES = 20
_MOST_PAIRS = 400


@dataclass(frozen=True, kw_only=True)
class MetaEvaluation(Result):
    """Metrics against people.

    Attributes
    ----------
    human : str
        Column of the human scores.
    metrics : tuple of str
        Columns of the metrics.
    systems : tuple of str
        The systems.
    means : ndarray, shape (systems, 1 + metrics)
        Mean human score and mean of each metric.
    read, by : str
        Table, and its column of systems.
    coefficient : str
        The coefficient of the sentence and the figure.
    level : float
        Coverage of the intervals.
    """

    human: str
    metrics: tuple[str, ...]
    systems: tuple[str, ...]
    means: np.ndarray
    read: str
    by: str
    coefficient: str
    level: float

    def summary(self) -> str:
        """Give the answer in one sentence."""
        table = self.tables["metrics"]
        key = f"system_{self.coefficient}"
        best = table.sort_values(key, ascending=False, na_position="last").iloc[0]
        interval = (
            f" [{best[f'{key}_low']:.2f}, {best[f'{key}_high']:.2f}]" if math.isfinite(best[f"{key}_low"]) else ""
        )
        item = best[f"item_{self.coefficient}"]
        said = f", and {item:.2f} on average within an item" if math.isfinite(item) else ""
        name = {"pearson": "Pearson's r", "spearman": "Spearman's rho", "tau_b": "tau-b"}[self.coefficient]
        return (
            f"Over {len(self.systems)} systems {best['metric']} orders them most as {self.human} does: {name} {best[key]:.2f}"
            f"{interval} of their means{said}."
        )


@dataclass(frozen=True, kw_only=True)
class MetaEvaluationQuestion(Question):
    """Does the metric order systems and items as people do, and was the study big enough?"""

    needs: ClassVar[tuple[Need, ...]] = (Need("predictions|scores"),)

    human: str = option(
        "", help="column (or metric of the scores) of human judgement; human, rating ... if empty",
        choices="numbers of predictions|scores.metric",
    )  # fmt: skip
    metrics: tuple[str, ...] = option(
        (), help="columns (or metrics of the scores) to judge; all other numbers if empty",
        choices="numbers of predictions|scores.metric",
    )  # fmt: skip
    by: str = option("", help="column of the systems; model or version if empty", choices="columns of predictions")
    annotator: str = option(
        "", help="column that tells people apart, for the ceiling", choices="columns of predictions"
    )
    read: Literal["auto", "predictions", "scores"] = option(
        "auto", help="table: one row an answer with columns of numbers, or scores by task and metric"
    )
    coefficient: Literal["pearson", "spearman", "tau_b"] = option(
        "spearman", help="coefficient of the sentence and the figure"
    )
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(1000, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in the table, the systems, the human scores and the metrics."""
        read = self.read
        if read == "auto":
            named = {self.human, *self.metrics} - {""}
            there = store.has_rows("predictions") and named <= set(store.columns("predictions"))
            read = "predictions" if there else "scores"
        if not store.has_rows(read):
            return replace(self, read=read)
        frame = store.rows(read)
        if read == "scores":
            found = list(dict.fromkeys(frame["metric"].astype(str))) if "metric" in frame.columns else []
            human = self.human or next((name for name in _HUMAN if name in found), "")
            metrics = self.metrics or tuple(name for name in found if name != human)
            return replace(self, read=read, by=self.by or "model", human=human, metrics=metrics)
        by = self.by or next((name for name in present(frame, ("model", "version")) if frame[name].nunique() > 1), "")
        human = self.human or next(iter(present(frame, _HUMAN)), "")
        numbers = [
            str(name)
            for name in frame.columns
            if frame[name].dtype.kind in "fiu" and frame[name].notna().any() and frame[name].nunique() > 1
            and name not in (*_NO_METRIC, human, by, self.annotator) and not str(name).startswith(("prob.", "logit."))
        ]  # fmt: skip
        return replace(self, read=read, by=by, human=human, metrics=self.metrics or tuple(numbers))

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> MetaEvaluation:
        """Correlate metrics with people at both levels, test them against one another, and simulate the power."""
        asked = self.resolved(store)
        systems, cube, notes, halves = _cube(store, asked)
        human, metrics = cube[0], cube[1:]
        items = ItemLevel.of(human, metrics)
        both = len(systems) >= _ENOUGH_SYSTEMS
        drawn = np.concatenate(
            engine.map(partial(_of_draws, cube, items, both), draw_blocks(asked.draws, asked.seed, 50), progress)
        )
        values = _levels(cube, items, np.ones(human.shape[1]), np.arange(len(systems)))
        low, high = (np.asarray(end) for end in percentile_interval(drawn, asked.level))
        if len(systems) < 5:
            low[:, :3], high[:, :3] = np.nan, np.nan
        table = _table(asked.metrics, values, low, high, human, metrics)
        means = _means(cube, np.ones(human.shape[1]))
        tables = {"metrics": table, "systems": _systems(systems, asked, means)}
        tests = williams_tests(means, asked.metrics)
        if len(tests):
            tables["tests"] = tests
        tables["contradictions"] = contradictions(means, (asked.human, *asked.metrics))
        power = power_of(human, asked.seed)
        if len(power):
            tables["power"] = power
        estimates = _estimates(table, systems, human, halves, power, asked)
        return MetaEvaluation(
            human=asked.human, metrics=asked.metrics, systems=systems, means=means, read=asked.read, by=asked.by,
            coefficient=asked.coefficient, level=asked.level, estimates=estimates, tables=tables,
            notes=_notes(asked, systems, human, both, notes),
        )  # fmt: skip


def _cube(
    store: RunStore, asked: MetaEvaluationQuestion
) -> tuple[tuple[str, ...], np.ndarray, list[str], tuple[float, float] | None]:
    """Give the systems, scores of shape (1 + metrics, systems, items), notes, and the mean and sd of the ceiling."""
    if not asked.human or not asked.metrics or not asked.by:
        lacking = (
            "a column of human judgement" if not asked.human else "metrics" if not asked.metrics else "several systems"
        )
        raise TooLittleData(needs=lacking, found="none", remedy="Choose the columns (human, metrics, by).")
    frame = store.rows(asked.read)
    if asked.by not in frame.columns:
        raise AnalysisError(f"The {asked.read} have no column called {asked.by!r}.")
    if asked.read == "scores":
        wide = frame.assign(metric=frame["metric"].astype(str), item=frame["task"].astype(str))
        wide = wide.pivot_table(index=[asked.by, "item"], columns="metric", values="value", observed=True).reset_index()
    else:
        wide = at_epoch(frame, None)
        if "task" in wide.columns and wide["task"].nunique() > 1:
            wide = wide.assign(item=wide["task"].astype(str) + "\x1f" + wide["item"].astype(str))
    for name in (asked.human, *asked.metrics, asked.annotator):
        if name and name not in wide.columns:
            raise AnalysisError(
                f"There is no {'metric' if asked.read == 'scores' else 'column'} called {name!r}.",
                remedy="There are: " + ", ".join(map(str, wide.columns[:20])) + ".",
            )
    columns = [asked.human, *asked.metrics]
    kept = wide.dropna(subset=[asked.by, *columns])
    notes = [f"{counted(len(wide) - len(kept), 'row')} left out: a score is missing."] if len(kept) < len(wide) else []
    if asked.annotator:
        notes.append(f"Human scores are means over {counted(kept[asked.annotator].nunique(), 'annotator')}.")
    numbers = {name: pd.to_numeric(kept[name], errors="coerce") for name in columns}
    kept = kept.assign(**numbers)
    rows, systems = pd.factorize(kept[asked.by].astype(str), sort=True)
    places, items = pd.factorize(kept["item"].astype(str))
    if len(systems) < 3:
        raise TooLittleData(needs="at least 3 systems with human and metric scores", found=f"{len(systems)}")
    cube = np.stack(
        [_mean_cells(rows, places, kept[name].to_numpy(float), len(systems), len(items)) for name in columns]
    )
    ceiling = None
    if asked.annotator:
        ceiling = _ceiling(kept, rows, places, (len(systems), len(items)), asked)
    return tuple(map(str, systems)), cube, notes, ceiling


def _mean_cells(rows: np.ndarray, places: np.ndarray, values: np.ndarray, systems: int, items: int) -> np.ndarray:
    sums, counts = np.zeros((systems, items)), np.zeros((systems, items))
    np.add.at(sums, (rows, places), values)
    np.add.at(counts, (rows, places), 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: np.ndarray = sums / counts
    return mean


def _ceiling(
    frame: pd.DataFrame, rows: np.ndarray, places: np.ndarray, shape: tuple[int, int], asked: MetaEvaluationQuestion
) -> tuple[float, float] | None:
    """Give mean and sd of the correlation of systems between halves of the annotators, over 50 random halves."""
    codes, names = pd.factorize(frame[asked.annotator])
    if len(names) < 2:
        return None
    generator = np.random.default_rng(np.random.SeedSequence(asked.seed, spawn_key=(11,)))
    human = frame[asked.human].to_numpy(float)
    found = []
    for _ in range(50):
        first = np.isin(codes, generator.permutation(len(names))[: len(names) // 2])
        halves = [_mean_cells(rows[part], places[part], human[part], *shape) for part in (first, ~first)]
        means = _means(np.stack(halves), np.ones(shape[1]))
        if np.isfinite(means).all():
            found.append(_correlation(means, asked.coefficient)[0])
    return (float(np.mean(found)), float(np.std(found))) if found else None


def _means(cube: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Give the mean of each system in each score, shape (systems, scores), over items drawn `weights` times."""
    known = np.isfinite(cube)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(known, cube, 0.0) @ weights / (known @ weights)
    return np.asarray(means.T)


def _correlation(columns: np.ndarray, coefficient: str) -> np.ndarray:
    """Give the correlation of the first column with each other one; NaN where one is constant."""
    if coefficient == "tau_b":
        return np.asarray(kendall_matrix(columns)[0, 1:])
    values = midranks(columns) if coefficient == "spearman" else columns
    centred = values - values.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        r: np.ndarray = (
            centred[:, 0] @ centred[:, 1:] / np.sqrt((centred[:, 0] ** 2).sum() * (centred[:, 1:] ** 2).sum(axis=0))
        )
    return np.asarray(np.clip(r, -1, 1))


@dataclass(frozen=True, slots=True, eq=False)
class ItemLevel:
    """What each item says about the order of systems.

    Attributes
    ----------
    correlations : ndarray, shape (3, metrics, items)
        Each coefficient over the systems of an item; NaN where undefined.
    same, differ : ndarray, shape (metrics, items)
        Pairs of systems that metric and people order alike, and the other way round; pairs tied in one of them are neither.
    """

    correlations: np.ndarray
    same: np.ndarray
    differ: np.ndarray

    @classmethod
    def of(cls, human: np.ndarray, metrics: np.ndarray) -> ItemLevel:
        """Take human scores, shape (systems, items), and metrics, shape (metrics, systems, items)."""
        k, _, items = metrics.shape
        correlations = np.full((3, k, items), np.nan)
        same, differ = np.zeros((k, items)), np.zeros((k, items))
        for item in range(items):
            columns = np.column_stack([human[:, item], metrics[:, :, item].T])
            columns = columns[np.isfinite(columns).all(axis=1)]
            if len(columns) < 2:
                continue
            i, j = np.triu_indices(len(columns), 1)
            signs = np.sign(columns[i] - columns[j])
            product = signs[:, [0]] * signs[:, 1:]
            same[:, item], differ[:, item] = (product > 0).sum(axis=0), (product < 0).sum(axis=0)
            if len(columns) >= 3 and np.ptp(columns[:, 0]) > 0:
                for c, coefficient in enumerate(COEFFICIENTS):
                    correlations[c, :, item] = _correlation(columns, coefficient)
        return cls(correlations, same, differ)

    def measures(self, weights: np.ndarray) -> np.ndarray:
        """Give mean correlations and (same - differ) / (same + differ), shape (metrics, 4), of items drawn `weights` times."""
        known = np.isfinite(self.correlations)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.where(known, self.correlations, 0.0) @ weights / (known @ weights)
            same, differ = self.same @ weights, self.differ @ weights
            pairs = (same - differ) / (same + differ)
        return np.column_stack([means.T, pairs])


def _levels(cube: np.ndarray, items: ItemLevel, weights: np.ndarray, systems: np.ndarray) -> np.ndarray:
    """Give, for each metric, the three coefficients of means, then the measures of `ItemLevel`, shape (metrics, 7)."""
    means = _means(cube, weights)[systems]
    own = np.stack([_correlation(means, coefficient) for coefficient in COEFFICIENTS], axis=1)
    return np.concatenate([own, items.measures(weights)], axis=1)


def _of_draws(cube: np.ndarray, items: ItemLevel, both: bool, block: DrawBlock) -> np.ndarray:
    generator = block.generator()
    _, systems, n = cube.shape
    found = np.full((block.draws, len(cube) - 1, 7), np.nan)
    for draw in range(block.draws):
        weights = np.bincount(generator.integers(n, size=n), minlength=n).astype(float)
        chosen = np.asarray(generator.integers(systems, size=systems)) if both else np.arange(systems)
        found[draw] = _levels(cube, items, weights, chosen)
    return found


_MEASURES = (*(f"system_{name}" for name in COEFFICIENTS), *(f"item_{name}" for name in COEFFICIENTS), "pairs")


def _table(
    names: tuple[str, ...],
    values: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    human: np.ndarray,
    metrics: np.ndarray,
) -> pd.DataFrame:
    rows = []
    for m, name in enumerate(names):
        row: dict[str, object] = {"metric": name}
        for at, key in enumerate(_MEASURES):
            row |= {key: values[m, at], f"{key}_low": low[m, at], f"{key}_high": high[m, at]}
        row["auroc"] = auroc(human.ravel(), metrics[m].ravel())
        rows.append(row)
    return pd.DataFrame(rows)


def auroc(truth: np.ndarray, score: np.ndarray) -> float:
    """Give the chance that a right answer scores higher than a wrong one, ties one half; NaN unless the truth is 0 and 1."""
    known = np.isfinite(truth) & np.isfinite(score)
    truth, score = truth[known], score[known]
    if set(np.unique(truth)) != {0.0, 1.0}:
        return math.nan
    from scipy.stats import rankdata

    ranks = rankdata(score)
    ones = truth == 1
    n1, n0 = int(ones.sum()), int((~ones).sum())
    return float((ranks[ones].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


def williams_tests(means: np.ndarray, names: tuple[str, ...]) -> pd.DataFrame:
    """Give Williams' test of every two metrics by Pearson's correlation of the means of systems, adjusted by Holm."""
    whole = np.corrcoef(means.T) if np.all(np.ptp(means, axis=0) > 0) else np.full((means.shape[1],) * 2, np.nan)
    rows = []
    for i in range(len(names)):
        for j in range(i + 1, len(names)):
            t, p = williams(whole[0, i + 1], whole[0, j + 1], whole[i + 1, j + 1], len(means))
            rows.append({"a": names[i], "b": names[j], "r_a": whole[0, i + 1], "r_b": whole[0, j + 1], "t": t, "p": p})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p"].to_numpy())) if len(table) else table


def contradictions(means: np.ndarray, names: tuple[str, ...]) -> pd.DataFrame:
    """Give, for every two scores, the share of pairs of systems that they order the other way round."""
    i, j = np.triu_indices(len(means), 1)
    signs = np.sign(means[i] - means[j])
    rows = []
    for a in range(len(names)):
        for b in range(a + 1, len(names)):
            told = (signs[:, a] != 0) & (signs[:, b] != 0)
            share = float((signs[told, a] != signs[told, b]).mean()) if told.any() else math.nan
            rows.append({"a": names[a], "b": names[b], "pairs": int(told.sum()), "contradict": share})
    return pd.DataFrame(rows)


def power_of(human: np.ndarray, seed: int, sizes: tuple[int, ...] = (10, 25, 50, 100, 200, 500, 1000)) -> pd.DataFrame:
    """Give the chance to tell two systems apart (paired t test, p < .05) with n items, by the gap of their scores.

    Pairs of systems fall into five bins of equal numbers by the gap of their mean human scores; items are drawn with
    replacement from those both were judged on.

    Parameters
    ----------
    human : ndarray, shape (systems, items)
        NaN where not judged.
    """
    from scipy.special import stdtrit

    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(13,)))
    pairs = []
    first, second = np.triu_indices(len(human), 1)
    order = np.arange(len(first))
    if len(order) > _MOST_PAIRS:
        order = generator.choice(len(order), _MOST_PAIRS, replace=False)
    for i, j in zip(first[order], second[order], strict=True):
        difference = human[i] - human[j]
        difference = difference[np.isfinite(difference)]
        if len(difference) >= 5 and difference.std() > 0:
            pairs.append(difference)
    if len(pairs) < _BINS:
        return pd.DataFrame(columns=["bin", "gap_low", "gap_high", "pairs", "n", "power"])
    gaps = np.array([abs(float(part.mean())) for part in pairs])
    parts = np.array_split(np.argsort(gaps, kind="stable"), _BINS)
    rows = []
    for number, part in enumerate(parts):
        repeats = max(1, _POWER_DRAWS // len(part))
        for n in sizes:
            limit = float(stdtrit(n - 1, 0.975))
            hits = []
            for pair in part:
                drawn = generator.choice(pairs[pair], (repeats, n))
                error = drawn.std(axis=1, ddof=1) / math.sqrt(n)
                with np.errstate(divide="ignore", invalid="ignore"):
                    hits.append(np.nan_to_num(np.abs(drawn.mean(axis=1)) / error, nan=0.0) > limit)
            power = float(np.concatenate(hits).mean())
            rows.append([number + 1, gaps[part].min(), gaps[part].max(), len(part), n, power])
    return pd.DataFrame(rows, columns=["bin", "gap_low", "gap_high", "pairs", "n", "power"])


def _systems(systems: tuple[str, ...], asked: MetaEvaluationQuestion, means: np.ndarray) -> pd.DataFrame:
    table = pd.DataFrame(means, columns=[asked.human, *asked.metrics])
    table.insert(0, "system", list(systems))
    return table


def _estimates(
    table: pd.DataFrame, systems: tuple[str, ...], human: np.ndarray, ceiling: tuple[float, float] | None,
    power: pd.DataFrame, asked: MetaEvaluationQuestion,
) -> dict[str, Estimate]:  # fmt: skip
    n = int(np.isfinite(human).any(axis=0).sum())
    estimates = {
        "systems": Estimate(len(systems), unit="systems", why_no_interval="a count"),
        "n": Estimate(n, unit="items", why_no_interval="a count"),
    }
    for row in table.to_dict("records"):
        for key in _MEASURES:
            ends = float(row[f"{key}_low"]), float(row[f"{key}_high"])
            why = "fewer than 5 systems" if len(systems) < 5 else "undefined: scores do not differ within items"
            estimates[f"{row['metric']}/{key}"] = Estimate(float(row[key]), *ends, asked.level, "", why)
        if math.isfinite(row["auroc"]):
            estimates[f"{row['metric']}/auroc"] = Estimate(float(row["auroc"]), why_no_interval="answers share items")
    if ceiling is not None:
        estimates["ceiling"] = Estimate(
            ceiling[0], unit=asked.coefficient, why_no_interval=f"sd {ceiling[1]:.2g} over halves"
        )
    if len(power):
        nearest = power[power["bin"] == 1].sort_values("n")
        at = nearest.iloc[int(np.argmin(np.abs(nearest["n"].to_numpy() - n)))]
        estimates["power_of_nearest"] = Estimate(
            float(at["power"]), unit=f"of pairs at n = {int(at['n'])}", why_no_interval="a simulation of the design"
        )
    return estimates


def _notes(
    asked: MetaEvaluationQuestion, systems: tuple[str, ...], human: np.ndarray, both: bool, notes: list[str]
) -> tuple[str, ...]:
    unit = "items and systems" if both else "items; systems are taken as given"
    return (
        f"Unit: {unit}; n = {len(systems)} systems, {human.shape[1]:,} items. Intervals: {100 * asked.level:g} % percentile "
        f"bootstrap, {asked.draws} draws, seed {asked.seed}; at the level of items systems stay.",
        *notes,
        "pairs = (same - differ) / (same + differ) over pairs of systems within an item; ties are neither.",
        "Williams' tests and Pearson's r rest on the number of systems; one outlying system can make them.",
        *([] if both else [f"Fewer than {_ENOUGH_SYSTEMS} systems: the intervals do not hold the choice of systems."]),
    )


def figure(question: MetaEvaluationQuestion, result: MetaEvaluation) -> FigureSpec:
    """Draw the correlations of the metrics at both levels, the best metric against people, and the power of the study."""
    key = f"system_{result.coefficient}"
    table = result.tables["metrics"].sort_values(key, ascending=False, na_position="last").head(MOST_ROWS)
    names = [str(name) for name in table["metric"]]
    marks: list[Mark] = [zero()]
    levels = ((key, "means of systems", "c0", -0.15), (f"item_{result.coefficient}", "within items", "c1", 0.15))
    for column, label, hue, shift in levels:
        value, low, high = (table[f"{column}{end}"].to_numpy(float) for end in ("", "_low", "_high"))
        marks += dots(column, names, value, low, high, hue=hue, label=label, shift=shift)
    if "ceiling" in result.estimates:
        at = result.estimates["ceiling"].value
        marks.append(Rule(key="ceiling", axis="x", at=at, hue="muted", label="people, half against half"))
    said = {"pearson": "Pearson's r", "spearman": "Spearman's ρ", "tau_b": "tau-b"}[result.coefficient]
    best = result.metrics.index(names[0])
    x, y = result.means[:, 1 + best], result.means[:, 0]
    scatter: list[Mark] = [
        Points(
            key="systems", x=x, y=y, hue="c0", size=6.0,
            origin=Clauses(result.read, tuple(is_in(result.by, (name,)) for name in result.systems)),
            notes=tuple(f"{name}: {a:.4g}, {b:.4g}" for name, a, b in zip(result.systems, x, y, strict=True)),
        )
    ]  # fmt: skip
    room = 0.02 * float(np.ptp(x))
    if len(result.systems) <= _MOST_NAMES:
        scatter += [
            Text(key=f"name {name}", x=float(a) + room, y=float(b), text=shortened(name, 18), hue="muted", size=0.85)
            for name, a, b in zip(result.systems, x, y, strict=True)
        ]
    panels = [
        Panel(key="metrics", x=Axis(label=said), y=named_axis(names), marks=tuple(marks), title=f"Against {result.human}"),
        Panel(
            key="systems",
            x=Axis(label=names[0], high=float(x.max()) + 12 * room if len(result.systems) <= _MOST_NAMES else None),
            y=Axis(label=result.human), marks=tuple(scatter), title="Means of systems",
        ),
    ]  # fmt: skip
    if "power" in result.tables:
        panels.append(_power_panel(result.tables["power"], int(result.estimates["n"].value)))
    return FigureSpec(
        title="Metrics against people",
        subtitle=f"{len(result.systems)} systems, {result.estimates['n'].value:,.0f} items, {100 * result.level:g} % intervals",
        panels=tuple(panels),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )


def _power_panel(power: pd.DataFrame, n: int) -> Panel:
    marks: list[Mark] = [
        Rule(key="here", axis="x", at=float(n), hue="accent", label="this study"),
        Rule(key="usual", axis="y", at=80.0, hue="muted", dash="dotted"),
    ]
    for number, part in power.groupby("bin"):
        low, high = part["gap_low"].iloc[0], part["gap_high"].iloc[0]
        marks.append(
            Line(
                key=f"bin {number}", x=part["n"].to_numpy(float), y=100 * part["power"].to_numpy(float), width=1.6,
                hue=f"c{int(str(number)) - 1}", label=f"gap {low:.2g} to {high:.2g}",
            )
        )  # fmt: skip
    return Panel(
        key="power", x=Axis(label="items", scale="log"), y=Axis(label="power (%)", low=0.0, high=100.0), marks=tuple(marks),
        title="Power, by gap of two systems",
    )  # fmt: skip


ANALYSIS = Analysis(
    id="metrics.meta-evaluation",
    title="Metrics against people",
    asks="Does a metric order systems and items as people do, and was the study big enough?",
    question=MetaEvaluationQuestion,
    figure=figure,
    sources=(
        "Liu et al. (2023), Revisiting the Gold Standard: levels of correlation, power of a human evaluation",
        "Lin et al. (2024), WildBench; Bulian et al. (2022), Tomayto, Tomahto: metrics against human equivalence",
        "Williams (1959); Steiger (1980): two correlations that share a variable",
    ),
    definition="""\
Level of systems: Pearson, Spearman and tau-b between the means of metric and human score. Level of items: the mean over items
of the correlation across systems, where scores differ. pairs = (same − differ) / (same + differ) over pairs of systems within
an item. contradictions: share of pairs of systems that two metrics order the other way round. Williams' t compares two metrics
by their Pearson correlation with people, with systems − 3 degrees of freedom, adjusted by Holm. AUROC where the human score is
0 or 1. Ceiling: the same correlation between two halves of the annotators, over 50 halves. Power(n): share of resamples of n
items in which a paired t test tells two systems apart at p < .05, in five bins by the gap of their human scores.

Unit: items, and systems from 10 on. Traps: n is the number of systems, often about 12; outlying systems make Pearson's r;
pooling answers of all systems mixes the two levels. """,
)
