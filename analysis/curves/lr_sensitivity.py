"""``health.lr-sensitivity``: how much the final loss suffers where the learning rate is off, and whether that grows with
size.

A sweep is the runs of one method and one size over several learning rates. A run that diverged counts with the loss of an
untrained model, so that it neither vanishes nor dominates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Cells, Clauses, FigureSpec, Keys, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, significant, with_interval
from ...models.selection import is_in
from ...models.store import RunStore
from ...models.table_look import cell_text
from .. import resampling
from ..alignment import default_tag, reduced
from ..health import marks_of

_FEWEST_RATES = 5
_ENOUGH_SEEDS = 3


def sensitivity(rate: np.ndarray, loss: np.ndarray, low: float, high: float) -> float:
    """Give the mean over log-uniform learning rates in [low, high] of the loss above the best one measured there.

    Parameters
    ----------
    rate, loss : ndarray, shape (n,)
        Rates increase; losses are already bounded by that of an untrained model. Between rates the loss is linear in the
        logarithm of the rate.

    Notes
    -----
    Wortsman et al. (2023), *Small-scale proxies for large-scale Transformer training instabilities*, section 2.
    """
    at = np.log(rate)
    ends = np.log([low, high])
    inside = (at >= ends[0] - 1e-9) & (at <= ends[1] + 1e-9)
    places = np.unique(np.concatenate([ends, at[inside]]))
    values = np.interp(places, at, loss)
    best = float(loss[inside].min()) if inside.any() else float(values.min())
    return float(np.trapezoid(values - best, places) / (ends[1] - ends[0]))


def best_rate(rate: np.ndarray, loss: np.ndarray) -> float:
    """Give the rate at the vertex of the parabola, in the logarithm, through the best point and its neighbours; NaN where
    the best rate is at an end of the sweep.
    """
    place = int(np.argmin(loss))
    if not 0 < place < len(rate) - 1:
        return math.nan
    near = slice(place - 1, place + 2)
    a, b, _ = np.polyfit(np.log(rate[near]) - math.log(rate[place]), loss[near], 2)
    return float(rate[place] * math.exp(-b / (2 * a))) if a > 0 else float(rate[place])


@dataclass(frozen=True, slots=True)
class Sweep:
    """The runs of one method and size.

    Attributes
    ----------
    name, method : str
    size : float
        NaN where none is stated.
    rates, losses : ndarray, shape (k,)
        Learning rates, increasing, and the mean loss of the seeds at each, bounded by `untrained`.
    untrained : float
        Loss before training.
    bad : ndarray, shape (k,)
        Share of runs at each rate that diverged or spiked.
    value, low, high : float
        Sensitivity and its interval over seeds.
    without_one : tuple of (float, float)
        Range of the sensitivity when one rate is left out.
    best : float
        Best learning rate, NaN where it is not bracketed.
    rows : DataFrame
        The runs.
    """

    name: str
    method: str
    size: float
    rates: np.ndarray
    losses: np.ndarray
    untrained: float
    bad: np.ndarray
    value: float
    low: float
    high: float
    without_one: tuple[float, float]
    best: float
    rows: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class LearningRateSensitivity(Result):
    """Sweeps over the learning rate.

    Attributes
    ----------
    sweeps : tuple of Sweep
    tag : str
    low, high : float
        Range of learning rates that is averaged over.
    drift : Mapping of str to Estimate
        By method: slope of the logarithm of the best rate on the logarithm of size.
    """

    sweeps: tuple[Sweep, ...]
    tag: str
    low: float
    high: float
    drift: dict[str, Estimate]

    def summary(self) -> str:
        """Give the answer in one sentence."""
        said = [f"{sweep.name} {significant(sweep.value, 3)}" for sweep in self.sweeps[:4]]
        more = f" and {len(self.sweeps) - 4} more" if len(self.sweeps) > 4 else ""
        drifts = [
            f"; best rate of {method or 'all'} ~ size^{with_interval(one.value, one.low, one.high)}"
            for method, one in self.drift.items()
            if math.isfinite(one.value)
        ]
        return (
            f"Learning-rate sensitivity of {self.tag} over {self.low:g} to {self.high:g}: {', '.join(said)}{more}"
            f"{''.join(drifts[:2])}."
        )


@dataclass(frozen=True, kw_only=True)
class LearningRateQuestion(Question):
    """How badly does the final loss suffer when the learning rate is off, and does that grow with size?"""

    needs: ClassVar = (Need("scalars"),)

    tag: str = option("", help="loss; empty takes the most useful one", choices="tags")
    rate: str = option("peak_lr", help="column with the learning rate", choices="numbers of runs")
    size: str = option("params", help="column with the size of the model", choices="numbers of runs")
    group_by: tuple[str, ...] = option((), help="columns that name the method", choices="columns of runs")
    lr_low: float | None = option(None, help="lowest rate averaged over; empty: shared by all sweeps", low=0.0)
    lr_high: float | None = option(None, help="highest rate averaged over; empty: shared by all sweeps", low=0.0)
    untrained: float | None = option(None, help="loss before training; empty takes the first value of the runs")
    summarise: Literal["last", "mean of last k"] = option("last", help="what a run ends at")
    last_k: int = option(5, help="values in 'mean of last k'", unit="values", low=1)
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(2000, help="draws of the bootstrap over seeds", low=100, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", advanced=True)
    log_y: bool = option(False, help="logarithmic y axis")

    def resolved(self, store: RunStore) -> Self:
        """Fill in the loss and what tells methods apart."""
        frame = store.rows("runs")
        group_by = self.group_by
        if not group_by:
            words = ("family", "optimizer", "optim", "method", "algorithm")
            names = [str(name) for name in frame.columns if str(name).rpartition(".")[2] in words]
            found = [name for name in names if 1 < frame[name].astype(str).nunique() <= 20]
            group_by = tuple(found[:1])
        return replace(self, tag=self.tag or default_tag(store), group_by=group_by)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> LearningRateSensitivity:
        """Reduce every run to what it ends at, and average every sweep over a shared range of rates."""
        asked = self.resolved(store)
        rows = _rows(store, asked)
        parts = {
            key: part
            for key, part in rows.groupby(["method", "size"], dropna=False, sort=False)
            if part["lr"].nunique() >= 2
        }
        enough = {key: part for key, part in parts.items() if part["lr"].nunique() >= _FEWEST_RATES}
        if not enough:
            most = max((int(part["lr"].nunique()) for part in parts.values()), default=rows["lr"].nunique())
            raise TooLittleData(
                needs=f"at least {_FEWEST_RATES} learning rates of one method and size", found=str(most)
            )
        shared = (
            max(float(part["lr"].min()) for part in enough.values()),
            min(float(part["lr"].max()) for part in enough.values()),
        )
        low = asked.lr_low if asked.lr_low is not None and asked.lr_low > 0 else shared[0]
        high = asked.lr_high if asked.lr_high is not None else shared[1]
        if not low < high:
            raise AnalysisError(
                f"The sweeps share no range of learning rates ({low:g} to {high:g}).", remedy="Set lr_low and lr_high."
            )
        sweeps = []
        for number, (key, part) in enumerate(enough.items()):
            progress(number, len(enough), "averaging sweeps")
            sweeps.append(_sweep(key, part, low, high, asked, several=rows["method"].nunique() > 1))
        drift = {method: _drift(sweeps, method, asked.level) for method in dict.fromkeys(s.method for s in sweeps)}
        return LearningRateSensitivity(
            sweeps=tuple(sweeps),
            tag=asked.tag,
            low=low,
            high=high,
            drift=drift,
            estimates=_estimates(sweeps, drift, asked),
            tables=_tables(sweeps, asked),
            notes=tuple(_notes(sweeps, rows, len(parts) - len(enough), low, high, asked)),
        )


def _rows(store: RunStore, asked: LearningRateQuestion) -> pd.DataFrame:
    """Give a row for every run that states a learning rate and logs the loss."""
    frame = store.rows("runs").set_index("run")
    for name in (asked.rate, *asked.group_by):
        if name not in frame.columns or frame[name].isna().all():
            raise AnalysisError(
                f"No run states {name!r}.", remedy="Columns: " + ", ".join(map(str, list(frame.columns)[:20])) + "."
            )
    rates = pd.to_numeric(frame[asked.rate], errors="coerce")
    if asked.size not in ("params", *frame.columns):
        raise AnalysisError(f"No run states {asked.size!r}.", remedy="Choose another size.")
    rows = []
    for run, curve in store.curves(asked.tag):
        rate = float(rates.get(run.key, math.nan))
        if not (math.isfinite(rate) and rate > 0):
            continue
        size = float(frame[asked.size].get(run.key, math.nan)) if asked.size in frame.columns else math.nan
        finite = np.asarray(curve.value)[np.isfinite(curve.value)]
        marks = {mark.kind for mark in marks_of(run)}
        rows.append(
            {
                "run": run.key,
                "name": run.name,
                "method": " · ".join(str(frame[name][run.key]) for name in asked.group_by),
                "size": size,
                "lr": rate,
                "first": float(finite[0]) if len(finite) else math.nan,
                "final": reduced(np.asarray(curve.value), asked.summarise, asked.last_k),
                "spiked": "spike" in marks,
            }
        )
    if not rows:
        raise AnalysisError(f"No run both logs {asked.tag!r} and states {asked.rate!r}.")
    return pd.DataFrame(rows)


def _sweep(
    key: tuple[Any, ...], part: pd.DataFrame, low: float, high: float, asked: LearningRateQuestion, *, several: bool
) -> Sweep:
    method, size = key
    untrained = asked.untrained if asked.untrained is not None else float(part["first"].median())
    diverged = ~np.isfinite(part["final"]) | (part["final"] >= untrained)
    part = part.assign(
        loss=np.where(np.isfinite(part["final"]), np.minimum(part["final"], untrained), untrained), diverged=diverged
    )
    part = part.sort_values("lr", kind="stable", ignore_index=True)
    cells = [cell for _, cell in part.groupby("lr", sort=True)]
    rates = np.array([float(cell["lr"].iloc[0]) for cell in cells])
    seeds = [np.asarray(cell["loss"], float) for cell in cells]
    losses = np.array([cell.mean() for cell in seeds])
    value = sensitivity(rates, losses, low, high)
    ends = (math.nan, math.nan)
    if min(map(len, seeds)) >= _ENOUGH_SEEDS:
        generator = resampling.DrawBlock(asked.seed, 0, asked.draws).generator()
        drawn = np.stack(
            [cell[generator.integers(len(cell), size=(asked.draws, len(cell)))].mean(axis=1) for cell in seeds]
        )
        draws = np.array([sensitivity(rates, column, low, high) for column in drawn.T])
        interval = resampling.percentile_interval(draws, asked.level)
        ends = (float(interval.low), float(interval.high))
    left = [sensitivity(np.delete(rates, i), np.delete(losses, i), low, high) for i in range(len(rates))]
    bad = np.array([float((cell["diverged"] | cell["spiked"]).mean()) for cell in cells])
    said = f"{asked.size.removeprefix('config.')}={cell_text(size)}" if math.isfinite(size) else ""
    name = " · ".join(word for word in (method if several else "", said) if word) or "all runs"
    best = best_rate(rates, losses)
    return Sweep(
        name, method, float(size), rates, losses, untrained, bad, value, *ends, (min(left), max(left)), best, part
    )  # fmt: skip


def _drift(sweeps: list[Sweep], method: str, level: float) -> Estimate:
    """Fit the logarithm of the best rate on the logarithm of size, by least squares with a t interval."""
    own = [s for s in sweeps if s.method == method and math.isfinite(s.size) and math.isfinite(s.best)]
    n = len({s.size for s in own})
    if n < 3:
        return Estimate(math.nan, why_no_interval=f"{counted(n, 'size')} with a bracketed best rate; at least 3 needed")
    x, y = np.log([s.size for s in own]), np.log([s.best for s in own])
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    left = y - y.mean() - slope * x
    error = math.sqrt(float(left @ left) / (len(own) - 2) / float(x @ x))
    half = float(resampling.t_quantile(level, len(own) - 2)) * error
    return Estimate(slope, slope - half, slope + half, level)


def _estimates(sweeps: list[Sweep], drift: dict[str, Estimate], asked: LearningRateQuestion) -> dict[str, Estimate]:
    estimates: dict[str, Estimate] = {}
    for sweep in sweeps:
        prefix = f"{sweep.name}/" if len(sweeps) > 1 else ""
        known = math.isfinite(sweep.low)
        why = "" if known else "one or two seeds a rate; the table has the range without one rate"
        estimates[f"{prefix}lr_sensitivity"] = Estimate(sweep.value, sweep.low, sweep.high, asked.level, "", why)
        missing = (
            "not bracketed: the best rate is at an end" if math.isnan(sweep.best) else "a parabola through 3 points"
        )
        estimates[f"{prefix}best_lr"] = Estimate(sweep.best, why_no_interval=missing)
    if any(math.isfinite(sweep.size) for sweep in sweeps):
        for method, one in drift.items():
            estimates[f"{method}/best_lr_drift" if len(drift) > 1 else "best_lr_drift"] = one
    return estimates


def _tables(sweeps: list[Sweep], asked: LearningRateQuestion) -> dict[str, pd.DataFrame]:
    by_sweep = [
        {
            "sweep": s.name, "method": s.method, "size": s.size, "rates": len(s.rates), "runs": len(s.rows),
            "lr_sensitivity": s.value, "low": s.low, "high": s.high, "lowest_without_one_rate": s.without_one[0],
            "highest_without_one_rate": s.without_one[1], "best_lr": s.best, "best_loss": s.losses.min(),
            "best_lr_measured": s.rates[np.argmin(s.losses)], "untrained_loss": s.untrained,
            "diverged": int(s.rows["diverged"].sum()), "spiked": int(s.rows["spiked"].sum()),
        }
        for s in sweeps
    ]  # fmt: skip
    cells = []
    for s in sweeps:
        for rate, loss, share in zip(s.rates, s.losses, s.bad, strict=True):
            n = int((s.rows["lr"] == rate).sum())
            low, high = resampling.wilson(round(share * n), n, asked.level)
            cells.append(
                {
                    "sweep": s.name, "lr": rate, "runs": n, "loss": loss, "above_best": loss - s.losses.min(),
                    "share_diverged_or_spiked": share, "low": float(low), "high": float(high),
                }
            )  # fmt: skip
    runs = pd.concat([s.rows.assign(sweep=s.name) for s in sweeps], ignore_index=True)
    return {"sweeps": pd.DataFrame(by_sweep), "rates": pd.DataFrame(cells), "runs": runs}


def _notes(
    sweeps: list[Sweep], rows: pd.DataFrame, few: int, low: float, high: float, asked: LearningRateQuestion
) -> list[str]:
    diverged = sum(int(s.rows["diverged"].sum()) for s in sweeps)
    notes = [
        f"{counted(len(sweeps), 'sweep')}, {counted(sum(len(s.rows) for s in sweeps), 'run')}. Mean loss above the best of "
        f"the sweep, over log-uniform {asked.rate} from {low:g} to {high:g}; it depends on that range.",
        f"{counted(diverged, 'run')} ended as NaN, infinite or no better than untrained: counted with the untrained loss.",
    ]
    if any(math.isfinite(s.low) for s in sweeps):
        notes.append(
            f"Intervals: percentile bootstrap, {asked.draws:,} draws of seeds within each rate (unit: the seed)."
        )
    else:
        notes.append("No interval over seeds: fewer than three a rate. Bars: range when one rate is left out.")
    open_ended = [s.name for s in sweeps if math.isnan(s.best)]
    if open_ended:
        notes.append(f"Optimum not bracketed (best rate at an end of the sweep): {', '.join(open_ended)}.")
    if few:
        notes.append(f"{counted(few, 'sweep')} left out: fewer than {_FEWEST_RATES} learning rates.")
    if any(s.rates[0] > low * (1 + 1e-9) or s.rates[-1] < high * (1 - 1e-9) for s in sweeps):
        notes.append("The range goes beyond some sweeps: there the loss of the last rate is carried on.")
    return notes


def figure(question: LearningRateQuestion, result: LearningRateSensitivity) -> FigureSpec:
    """Draw loss against learning rate by sweep, the sensitivity against size, and where runs diverged or spiked."""
    marks: list[Mark] = []
    for place, s in enumerate(result.sweeps):
        behind = Clauses("runs", (is_in("run", s.rows["run"]),))
        label = f"{s.name}: {significant(s.value, 3)}"
        marks.append(Line(key=s.name, x=s.rates, y=s.losses, hue=f"c{place}", label=label, width=1.6, origin=behind))
        marks.append(
            Points(
                key=f"{s.name}/runs",
                x=s.rows["lr"].to_numpy(float),
                y=s.rows["loss"].to_numpy(float),
                hue=f"c{place}",
                symbol="circle",
                origin=Keys("run", tuple(s.rows["run"])),
                notes=tuple(
                    f"{name}: {'diverged' if diverged else significant(final)}"
                    for name, diverged, final in zip(s.rows["name"], s.rows["diverged"], s.rows["final"], strict=True)
                ),
            )
        )
        if math.isfinite(s.best):
            vertex, value = np.array([s.best]), np.array([float(s.losses.min())])
            marks.append(
                Points(key=f"{s.name}/best", x=vertex, y=value, hue=f"c{place}", symbol="star", size=11.0, hollow=True)
            )
    untrained = sorted({round(s.untrained, 3) for s in result.sweeps})
    for number, at in enumerate(untrained if len(untrained) <= 4 else []):
        marks.append(Rule(key=f"untrained {number}", axis="y", at=at, label="" if number else "untrained"))
    marks.append(Rule(key="low", axis="x", at=result.low, dash="dotted", option="lr_low", label="range averaged over"))
    marks.append(Rule(key="high", axis="x", at=result.high, dash="dotted", option="lr_high"))
    y_axis = Axis(label=f"final {result.tag}", scale="log" if question.log_y else "linear", column=result.tag)
    panels = [Panel(key="losses", x=Axis(label=question.rate, scale="log"), y=y_axis, marks=tuple(marks), height=1.6)]
    sized = [s for s in result.sweeps if math.isfinite(s.size)]
    if len({s.size for s in sized}) > 1:
        panels.append(_size_panel(result, question))
    rates = tuple(sorted({float(rate) for s in result.sweeps for rate in s.rates}))
    if any(s.bad.any() for s in result.sweeps):
        panels.append(_bad_panel(result, rates))
    with_seeds = any(math.isfinite(s.low) for s in result.sweeps)
    meaning = f"{100 * question.level:g} % interval over seeds" if with_seeds else "range without one rate"
    return FigureSpec(
        title="Learning-rate sensitivity",
        subtitle=f"final {result.tag}, {counted(len(result.sweeps), 'sweep')}, "
        f"{counted(sum(len(s.rows) for s in result.sweeps), 'run')}; stars: best rate; bars: {meaning}",
        panels=tuple(panels),
        caption=f"{result.summary()} Runs that diverged count with the untrained loss. Error bars: {meaning}.",
    )


def _size_panel(result: LearningRateSensitivity, question: LearningRateQuestion) -> Panel:
    marks: list[Mark] = []
    order = {s.name: place for place, s in enumerate(result.sweeps)}
    for method in result.drift:
        own = sorted((s for s in result.sweeps if s.method == method and math.isfinite(s.size)), key=lambda s: s.size)
        if not own:
            continue
        x, y = np.array([s.size for s in own]), np.array([s.value for s in own])
        ends = np.array([(s.low, s.high) if math.isfinite(s.low) else s.without_one for s in own])
        hue = f"c{order[own[0].name]}" if len(result.drift) > 1 else "ink"
        marks.append(Line(key=method or "all", x=x, y=y, hue=hue, label=method if len(result.drift) > 1 else ""))
        marks.append(
            Points(
                key=f"{method}/points",
                x=x,
                y=y,
                low=ends[:, 0],
                high=ends[:, 1],
                hue=hue,
                origin=Clauses("runs", tuple(is_in("run", s.rows["run"]) for s in own)),
                notes=tuple(f"{s.name}: {significant(s.value, 3)}" for s in own),
            )
        )
    axis = Axis(label=question.size, scale="log", column=question.size)
    return Panel(key="sizes", x=axis, y=Axis(label="sensitivity", low=0.0), marks=tuple(marks))


def _bad_panel(result: LearningRateSensitivity, rates: tuple[float, ...]) -> Panel:
    shares = np.full((len(result.sweeps), len(rates)), math.nan)
    clauses = []
    for row, s in enumerate(result.sweeps):
        for column, rate in enumerate(rates):
            inside = s.rows.loc[s.rows["lr"] == rate, "run"]
            if len(inside):
                shares[row, column] = s.bad[int(np.flatnonzero(s.rates == rate)[0])]
            clauses.append(is_in("run", inside))
    names = tuple(s.name for s in result.sweeps)
    columns = tuple(f"{rate:g}" for rate in rates)
    cells = Cells(
        key="bad",
        values=shares,
        rows=names,
        columns=columns,
        texts=tuple(tuple("" if math.isnan(value) else f"{100 * value:.0f} %" for value in row) for row in shares),
        ramp="bad",
        low=0.0,
        high=1.0,
        label="share diverged or spiked",
        origin=Clauses("runs", tuple(clauses)),
    )
    return Panel(
        key="bad",
        title="share of runs that diverged or spiked",
        x=Axis(scale="category", names=columns),
        y=Axis(scale="category", names=names),
        marks=(cells,),
        legend=False,
        height=0.6,
    )


ANALYSIS = Analysis(
    id="health.lr-sensitivity",
    title="Learning-rate sensitivity",
    asks="How badly does the final loss suffer when the learning rate is off, and does that grow with size?",
    question=LearningRateQuestion,
    figure=figure,
    sources=("Wortsman et al. (2023), Small-scale proxies for large-scale Transformer training instabilities",),
    definition="""\
$\\mathrm{LRS}=\\mathbb E_\\eta[\\min(\\ell(\\eta),\\ell_0)-\\ell^*]$ with $\\eta$ log-uniform in [`lr_low`, `lr_high`],
linear in $\\log\\eta$ between the rates of the sweep; $\\ell^*$ is the best loss measured in that range, $\\ell_0$ the
loss before training (the first value of the runs, median). A run that diverged counts as $\\ell_0$. Best rate: vertex of
the parabola in $\\log\\eta$ through the best point and its two neighbours; at an end of the sweep it is not bracketed and
not given. Drift: slope of $\\log\\eta^*$ on log size (least squares, t interval, unit: the sweep).

Unit: the seed within a rate (percentile bootstrap from three on); beside it the range when one rate is left out. The
value is at least 0 and does not change when a constant is added to all losses. It depends on the range, and measures
slow divergence rather than spikes; the share of runs that diverged or spiked (6 robust SD) stands beside it.
""",
)
