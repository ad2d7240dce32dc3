"""``noise.card``: how big must a difference be on this benchmark, and how well does it tell models apart?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Clauses, FigureSpec, Line, Mark, Panel, Points
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, significant, with_interval
from ...models.selection import All, Clause, is_in
from ...models.store import RunStore
from ..answers import present
from ..rank_correlation import PairOrders
from ..remembered import Remembered
from ..resampling import t_quantile
from ..score_marks import interval_rows
from ..score_table import chosen_scores

_MOST_ROWS = 30
_KINDS = (("seed_sd", "seeds"), ("checkpoint_sd", "last checkpoints"), ("item_se", "items"))


@dataclass(frozen=True, kw_only=True)
class BenchmarkCards(Result):
    """Noise of several benchmarks, one row a task and metric.

    Attributes
    ----------
    cards : DataFrame
        One row a card, the best signal-to-noise ratio first.
    noise : str
        What the noise of the signal-to-noise ratio is: seeds, or the last checkpoints.
    courses : Mapping of (str, str) to ndarray, shape (2, steps)
        By task and metric: steps, and the mean score over models and seeds that have one there; empty without steps.
    """

    cards: pd.DataFrame
    noise: str
    courses: Mapping[tuple[str, str], np.ndarray]

    def summary(self) -> str:
        """Give the answer in one sentence."""
        known = self.cards[np.isfinite(self.cards["snr"])]
        if known.empty:
            return f"The noise of {counted(len(self.cards), 'benchmark')} is not known."
        best = known.iloc[0]
        least = f"two runs differ beyond its noise from {significant(best['smallest_difference'], 2)} on"
        if len(known) == 1:
            return (
                f"{_named(best)} has a signal-to-noise ratio of {significant(best['snr'], 3)} ({self.noise}); {least}."
            )
        worst = known.iloc[-1]
        return (
            f"Of {len(known)} benchmarks, {_named(best)} tells models apart best (signal-to-noise ratio "
            f"{significant(best['snr'], 3)} over {self.noise}; {least}) and {_named(worst)} worst "
            f"({significant(worst['snr'], 3)})."
        )


def _named(card: pd.Series) -> str:
    return f"{card['task']} {card['metric']}".strip()


@dataclass(frozen=True, kw_only=True)
class NoiseCardQuestion(Question):
    """How big must a difference be on this benchmark?"""

    needs: ClassVar = (Need("scores"),)

    task: str = option("", help="only this task; all of them if empty", choices="scores.task")
    metric: str = option("", help="only this metric; all of them, side by side, if empty", choices="scores.metric")
    split: str = option("", help="split; the most frequent if empty", choices="scores.split")
    noise: Literal["", "seeds", "checkpoints"] = option(
        "", help="noise of the signal-to-noise ratio; seeds where three are there, if empty"
    )
    last: int = option(
        5, help="checkpoints at the end of a run that count as the same", unit="checkpoints", low=2, high=200
    )
    from_step: float | None = option(None, help="least step that counts", unit="steps", low=0)
    better: Literal["as stated", "higher", "lower"] = option("as stated", help="direction of the scores")
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> BenchmarkCards:
        """Measure the noise of every task and metric."""
        known = _known.of(store, replace(self, level=0.95, noise=""), lambda: _measured(store, self, progress))
        noise = self.noise or ("seeds" if (known.cards["seeds"] >= 3).any() else "checkpoints")
        table = _with_ratio(_with_intervals(known.cards, self.level), noise, self.level)
        table = table.sort_values("snr", ascending=False, ignore_index=True)
        return BenchmarkCards(
            cards=table,
            noise="seeds" if noise == "seeds" else f"the last {self.last} checkpoints",
            courses=known.courses,
            estimates=_estimates(table, self.level),
            tables={"cards": table},
            notes=(*_notes(table, noise, self), *known.notes),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """Cards without what depends on the coverage of intervals, and what was chosen for them."""

    cards: pd.DataFrame
    courses: Mapping[tuple[str, str], np.ndarray]
    notes: tuple[str, ...]


_known = Remembered[_Known]()


def _measured(store: RunStore, asked: NoiseCardQuestion, progress: Progress) -> _Known:
    frame = store.rows("scores")
    apart = tuple(present(frame, ("metric", "step", "seed")))
    if not {"step", "seed"} & set(apart):
        raise TooLittleData(
            needs="scores of several seeds or checkpoints",
            found="neither a column seed nor a column step",
            remedy="Map a column onto one of them.",
        )
    scores = chosen_scores(
        store, apart=apart, task=asked.task, split=asked.split, better=asked.better, from_step=asked.from_step
    )
    rows = scores.frame
    if asked.metric and "metric" in apart:
        there = rows["metric"].astype(str)
        rows = rows[there == asked.metric]
        if rows.empty:
            raise AnalysisError(
                f"No score has the metric {asked.metric!r}.", remedy=f"There are {', '.join(there.unique()[:12])}."
            )
    cubes = _cubes(rows)
    cards = []
    for number, ((task, metric), cube) in enumerate(cubes.items()):
        progress(number, len(cubes), task)
        cards.append({"task": task, "metric": metric} | _card(cube, asked))
    table = pd.DataFrame(cards)
    if not np.isfinite(table[["seed_sd", "checkpoint_sd"]].to_numpy(float)).any():
        raise TooLittleData(
            needs=f"a model with 2 seeds, or a run with {asked.last} checkpoints",
            found="neither on any task",
            remedy="Fewer checkpoints may count as the same (last).",
        )
    if "seed" not in rows.columns:
        table["seeds"] = 0
    return _Known(table, {key: cube.course() for key, cube in cubes.items()}, scores.notes)


@dataclass(frozen=True, slots=True, eq=False)
class _Cube:
    """Scores of one task and metric.

    Attributes
    ----------
    value, good : ndarray, shape (models, seeds, steps)
        As given, and with higher better; steps in order, NaN where there is none.
    steps : ndarray, shape (steps,)
        NaN where the scores have none.
    n, stderr : ndarray
        Of the rows, where known.
    """

    value: np.ndarray
    good: np.ndarray
    steps: np.ndarray
    n: np.ndarray
    stderr: np.ndarray

    def course(self) -> np.ndarray:
        """Give steps and the mean score there, over the models and seeds that have a score at every step where some do."""
        runs = self.value.reshape(-1, len(self.steps))
        if len(self.steps) < 2 or np.isnan(self.steps).any():
            return np.empty((2, 0))
        whole = ~np.isnan(runs).any(axis=1)
        if whole.any():  # else the mean would jump where a run begins or ends
            return np.stack([self.steps, runs[whole].mean(axis=0)])
        return np.stack([self.steps, [_mean(column) for column in runs.T]])


def _cubes(rows: pd.DataFrame) -> dict[tuple[str, str], _Cube]:
    """Give the scores of every task and metric; keys are numbered once for all, which is most of the work."""
    kinds = pd.MultiIndex.from_frame(rows[["task", "metric"]])
    part_codes, parts = pd.factorize(kinds)
    order = np.argsort(part_codes, kind="stable")
    ends = np.searchsorted(part_codes[order], np.arange(len(parts) + 1))
    axes = [
        pd.factorize(rows[column], sort=column == "step")[0]
        if column in rows.columns
        else np.zeros(len(rows), dtype=int)
        for column in ("model", "seed", "step")
    ]
    step = rows["step"].to_numpy(float) if "step" in rows.columns else np.full(len(rows), np.nan)
    value, good, n, stderr = (rows[name].to_numpy(float) for name in ("value", "good", "n", "stderr"))
    cubes = {}
    for number, (task, metric) in enumerate(parts):
        mine = order[ends[number] : ends[number + 1]]
        kept = mine[np.logical_and.reduce([codes[mine] >= 0 for codes in axes])]
        places = [np.unique(codes[kept], return_inverse=True) for codes in axes]
        shape = [max(len(there), 1) for there, _ in places]
        filled = []
        for known in (value, good):
            cube = np.full(shape, np.nan)
            cube[tuple(place for _, place in places)] = known[kept]
            filled.append(cube)
        steps = np.full(shape[2], np.nan)
        steps[places[2][1]] = step[kept]
        cubes[str(task), str(metric)] = _Cube(
            filled[0], filled[1], steps, n[mine][~np.isnan(n[mine])], stderr[mine][~np.isnan(stderr[mine])]
        )
    return cubes


def _card(cube: _Cube, asked: NoiseCardQuestion) -> dict[str, Any]:
    values = cube.value
    models, seeds, steps = values.shape
    final = _finals(values)
    sd, df = _pooled(final)
    mean = _mean(final)
    at_steps = [(s, d) for s, d in (_pooled(values[:, :, step]) for step in range(steps)) if d] if seeds > 1 else []
    averaged = (
        math.sqrt(float(np.average([s**2 for s, _ in at_steps], weights=[d for _, d in at_steps])))
        if at_steps
        else math.nan
    )
    checkpoint_sd, checkpoint_df = _pooled(_last(values.reshape(-1, steps), asked.last))
    tops = [_mean(of_model) for of_model in final]
    monotonic = _monotonicity(cube.good)
    n = float(cube.n.mean()) if len(cube.n) else math.nan
    binomial = math.nan
    if len(cube.n) and float(np.nanmin(values)) >= 0 and float(np.nanmax(values)) <= 1:
        binomial = math.sqrt(max(mean * (1 - mean), 0) / n)
    return {
        "models": models, "seeds": seeds, "steps": steps, "n": n, "mean": mean,
        "spread": float(np.nanmax(tops) - np.nanmin(tops)) if np.count_nonzero(~np.isnan(tops)) > 1 else math.nan,
        "seed_sd": sd, "seed_df": df, "seed_sd_all_steps": averaged,
        "checkpoint_sd": checkpoint_sd, "checkpoint_df": checkpoint_df,
        "checkpoint_sd_of_mean": checkpoint_sd / abs(mean) if mean else math.nan,
        "item_se": float(cube.stderr.mean()) if len(cube.stderr) else math.nan, "binomial_se": binomial,
        "seed_snr": abs(mean) / sd if sd > 0 else math.nan,
        "monotonicity": _mean(monotonic), "monotonicity_df": len(monotonic) - 1,
        "monotonicity_se": float(np.std(monotonic, ddof=1)) / math.sqrt(len(monotonic)) if len(monotonic) > 1 else math.nan,
    }  # fmt: skip


def _mean(values: np.ndarray) -> float:
    """Give the mean of what is not NaN; NaN where everything is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _finals(values: np.ndarray) -> np.ndarray:
    """Give the last score of each model and seed, at a step that all seeds of the model reached."""
    finals = np.full(values.shape[:2], np.nan)
    for number, model in enumerate(values):
        runs = ~np.isnan(model).all(axis=1)
        reached = np.flatnonzero(~np.isnan(model[runs]).any(axis=0)) if runs.any() else np.empty(0, dtype=int)
        if len(reached):
            finals[number, runs] = model[runs, reached[-1]]
    return finals


def _last(runs: np.ndarray, k: int) -> np.ndarray:
    """Give the last `k` scores of each run that has so many, shape (runs, k)."""
    ends = [run[~np.isnan(run)][-k:] for run in runs]
    ends = [end for end in ends if len(end) == k]
    return np.stack(ends) if ends else np.empty((0, k))


def _pooled(groups: np.ndarray) -> tuple[float, int]:
    """Give the standard deviation within rows, pooled, and its degrees of freedom; NaN and 0 where no row has two."""
    known = ~np.isnan(groups)
    sizes = known.sum(axis=1)
    df = int((sizes[sizes > 1] - 1).sum())
    if not df:
        return math.nan, 0
    filled = np.where(known, groups, 0.0)
    means = filled.sum(axis=1) / np.maximum(sizes, 1)
    squares = np.where(known, (groups - means[:, None]) ** 2, 0.0).sum(axis=1)
    return math.sqrt(float(squares[sizes > 1].sum()) / df), df


def _monotonicity(good: np.ndarray) -> np.ndarray:
    """Give tau-b between step and score of every model that has one, averaged over its seeds, shape (models,)."""
    models, seeds, steps = good.shape
    if steps < 3:
        return np.empty(0)
    runs = good.reshape(-1, steps).T
    taus = PairOrders.of(np.column_stack([np.arange(steps), runs])).against(0)[1:].reshape(models, seeds)
    return np.array([_mean(of_model) for of_model in taus if not np.isnan(of_model).all()])


def _with_intervals(cards: pd.DataFrame, level: float) -> pd.DataFrame:
    """Give the cards with the intervals of what stands on them."""
    from scipy.special import chdtri

    ends: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        for kind in ("seed", "checkpoint"):
            # Of a pooled standard deviation of Gaussian values, from the chi-square law of its square.
            sd, df = cards[f"{kind}_sd"].to_numpy(float), cards[f"{kind}_df"].to_numpy(float)
            df = np.where(df > 0, df, np.nan)
            low, high = (sd * np.sqrt(df / chdtri(df, tail)) for tail in ((1 - level) / 2, (1 + level) / 2))
            ends[f"{kind}_sd"] = low, high
    mean = cards["monotonicity"].to_numpy(float)
    half = t_quantile(level, cards["monotonicity_df"].to_numpy(float)) * cards["monotonicity_se"].to_numpy(float)
    ends["monotonicity"] = np.clip(mean - half, -1, 1), np.clip(mean + half, -1, 1)
    columns: dict[str, Any] = {}
    for name in cards.columns:
        if name not in ("monotonicity_df", "monotonicity_se"):
            columns[name] = cards[name]
        if name in ends:
            columns[f"{name}_low"], columns[f"{name}_high"] = ends[name]
    return pd.DataFrame(columns)


def _with_ratio(table: pd.DataFrame, noise: str, level: float) -> pd.DataFrame:
    """Give the cards with their signal-to-noise ratio and the smallest difference of two runs beyond noise."""
    kind = "seed" if noise == "seeds" else "checkpoint"
    sd, low, high = (table[f"{kind}_sd{end}"].to_numpy(float) for end in ("", "_low", "_high"))
    spread = table["spread"].to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = [np.where(part > 0, spread / part, np.nan) for part in (sd, high, low)]
    from scipy.special import ndtri

    z = math.sqrt(2) * float(ndtri((1 + level) / 2))
    return table.assign(
        snr=ratios[0], snr_low=ratios[1], snr_high=ratios[2], smallest_difference=z * sd,
        smallest_difference_low=z * low, smallest_difference_high=z * high,
    )  # fmt: skip


def _estimates(table: pd.DataFrame, level: float) -> dict[str, Estimate]:
    estimates = {}
    for card in table.to_dict("records"):
        start = "" if len(table) == 1 else f"{card['task']}/{card['metric']}/" if card["metric"] else f"{card['task']}/"
        for name in ("seed_sd", "checkpoint_sd", "snr", "smallest_difference", "monotonicity"):
            value, low, high = (float(card[f"{name}{end}"]) for end in ("", "_low", "_high"))
            why = "" if math.isfinite(low) else "too few seeds, checkpoints or models"
            estimates[start + name] = Estimate(value, low, high, level, why_no_interval=why)
        for name, why in (
            ("item_se", "a standard error as given"),
            ("binomial_se", "a formula of the mean and n"),
            ("seed_snr", "see the interval of seed_sd"),
        ):
            estimates[start + name] = Estimate(float(card[name]), why_no_interval=why)
    return estimates


def _notes(table: pd.DataFrame, noise: str, asked: NoiseCardQuestion) -> list[str]:
    level = f"{100 * asked.level:g} %"
    notes = [
        f"Unit: the {noise[:-1]}. Seed SD: within a model at the last step all its seeds reached, pooled over models (ddof "
        f"1); {level} interval from chi-square, {_span(table['seed_df'])} degrees of freedom. Also averaged over all steps.",
        f"Checkpoint SD: within a run over its last {asked.last} checkpoints, pooled over runs; never across models. "
        "Checkpoints depend on one another: its interval is too narrow, and it leaves out what differs between seeds.",
        f"Signal-to-noise ratio: range of the models' last scores / SD of {noise}; its interval takes the models as given. "
        "The other one in use, mean / seed SD, is seed_snr.",
        f"Smallest difference: two single runs differ beyond noise at {level} from {_z(asked.level)} SD on.",
        "item_se is the mean of the standard errors given; binomial_se is sqrt(p (1 - p) / n) where scores are shares.",
        "Monotonicity: tau-b of step and score, mean over models, Student's t over models.",
        "Means over steps: of the models and seeds with a score at every step, each stretched over its row; drawn for their "
        "shape, without intervals.",
    ]
    if (table["seeds"] < 3).any():
        few = int((table["seeds"] < 3).sum())
        notes.append(f"{counted(few, 'benchmark')} with fewer than 3 seeds: read the noise of checkpoints there.")
    return notes


def _z(level: float) -> str:
    from scipy.special import ndtri

    return f"{math.sqrt(2) * float(ndtri((1 + level) / 2)):.3g}"


def _span(column: pd.Series) -> str:
    low, high = int(column.min()), int(column.max())
    return f"{low}" if low == high else f"{low} to {high}"


def figure(question: NoiseCardQuestion, result: BenchmarkCards) -> FigureSpec:
    """Draw signal-to-noise ratios with intervals, the best first, and the sources of noise beside them."""
    cards = result.cards.head(_MOST_ROWS)
    several_metrics = result.cards["metric"].nunique() > 1
    names = tuple(_named(card) if several_metrics else card["task"] for _, card in cards.iterrows())
    at = np.arange(len(cards), dtype=float)
    clauses = tuple(_clause(card) for _, card in cards.iterrows())
    behind = Clauses("scores", clauses)
    snr, low, high = (cards[f"snr{end}"].to_numpy(float) for end in ("", "_low", "_high"))
    notes = tuple(
        f"{name}: signal-to-noise {with_interval(v, a, b)}, two runs differ from {significant(d, 2)} on"
        for name, v, a, b, d in zip(
            names, snr.tolist(), low.tolist(), high.tolist(), cards["smallest_difference"].tolist(), strict=True
        )
    )
    level = f"{100 * question.level:g} %"
    rows = Axis(scale="category", names=names, low=-0.5, high=len(cards) - 0.5, inverted=True)
    bare = replace(rows, names=("",) * len(names))  # rows are those of the first panel, which names them
    signal = Panel(
        key="signal",
        x=Axis(label=f"range of models / SD of {result.noise}", scale="log"),
        y=rows,
        marks=interval_rows("snr", at, snr, low, high, origin=behind, notes=notes),
        title="Signal to noise",
        legend=False,
    )
    scale = np.abs(cards["mean"].to_numpy(float))
    marks: list[Mark] = []
    for number, (column, label) in enumerate(_KINDS):
        with np.errstate(divide="ignore", invalid="ignore"):
            share = 100 * cards[column].to_numpy(float) / scale
        known = np.isfinite(share) & (share > 0)
        if known.any():
            said = tuple(
                f"{name}: SD over {label} {significant(v, 2)}"
                for name, v in zip(names, cards[column].tolist(), strict=True)
            )
            marks.append(
                Points(
                    key=column, x=np.where(known, share, np.nan), y=at + 0.16 * (number - 1), hue=f"c{number}", size=6.0,
                    label=label, origin=behind, notes=said,
                )
            )  # fmt: skip
    noise = Panel(
        key="noise",
        x=Axis(label="noise (% of the mean score)", scale="log"),
        y=bare,
        marks=tuple(marks),
        title="Noise over",
    )
    course = _course_panel(result, cards, bare, clauses)
    cut = f", the first {_MOST_ROWS}" if len(result.cards) > _MOST_ROWS else ""
    return FigureSpec(
        title="Benchmark cards",
        subtitle=f"{counted(len(result.cards), 'benchmark')}{cut}, {level} intervals over {result.noise}",
        panels=(signal, noise, course) if course is not None else (signal, noise),
        columns=3 if course is not None else 2,
        caption=f"{result.summary()} {result.notes[0]}",
    )


def _course_panel(result: BenchmarkCards, cards: pd.DataFrame, rows: Axis, clauses: Sequence[Clause]) -> Panel | None:
    """Give the mean score over training of every card, each line stretched over its row; None without steps."""
    marks: list[Mark] = []
    for row, (task, metric) in enumerate(zip(cards["task"], cards["metric"], strict=True)):
        step, mean = result.courses[task, metric]
        low, high = (float(np.nanmin(mean)), float(np.nanmax(mean))) if np.isfinite(mean).any() else (0.0, 0.0)
        if high > low:
            marks.append(
                Line(key=f"{task}/{metric}", x=step, y=row + 0.4 - 0.8 * (mean - low) / (high - low), width=1.4,
                     origin=Clauses("scores", (clauses[row],)))
            )  # fmt: skip
    if not marks:
        return None
    return Panel(
        key="course",
        x=Axis(label="step", column="step"),
        y=rows,
        marks=tuple(marks),
        title="Mean over steps",
        legend=False,
    )


def _clause(card: pd.Series) -> Clause:
    task = is_in("task", (card["task"],))
    return All((task, is_in("metric", (card["metric"],)))) if card["metric"] else task


ANALYSIS = Analysis(
    id="noise.card",
    title="Benchmark cards",
    asks="How big must a difference be on this benchmark, and how well does it tell models apart?",
    question=NoiseCardQuestion,
    figure=figure,
    sources=(
        "Madaan et al. (2024), Quantifying Variance in Evaluation Benchmarks: seed SD, monotonicity",
        "Heineman et al. (2025), Signal and Noise: dispersion over the SD of the last checkpoints",
        "Bhagia et al. (2024), Establishing Task Scaling Laws via Compute-Efficient Model Ladders: SD of the last 10",
    ),
    definition="""\
Seed SD: $s$ of the seeds of one model at a step they all reached, pooled over models. Checkpoint SD: over the last k
checkpoints of one run, pooled over runs (pooling the checkpoints of several recipes would call their differences
noise). Signal-to-noise ratio: $(\\max_j m_j-\\min_j m_j)/s$ over the models' last scores; the mean cancels. The other
ratio in use is mean / seed SD. Two single runs differ beyond noise from $1.96\\sqrt2\\,s$ on.

Unit: the seed. Below three seeds only the noise of checkpoints is left, which is a lower bound of that of seeds. A
discrete metric (accuracy) and a continuous one (loss of the right answer) of one task stand in rows of their own:
compare their ratios. """,
)
