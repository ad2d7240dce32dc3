"""``dynamics.aum``: which training labels does the network argue against?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import TooLittleData
from ...models.figure import Axis, Bars, Clauses, FigureSpec, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, with_interval
from ...models.store import RunStore
from ..resampling import bootstrap, percentile_interval, wilson
from ..training_dynamics import (
    Dynamics,
    default_truth,
    dynamics_of,
    found_by,
    roc_points,
    spearman_of_draws,
    truth_of,
)

_BINS = 400
_STEPS = 200
_TRACES = 12


@dataclass(frozen=True, kw_only=True)
class AreaUnderMargin(Result):
    """Mean margins of the training items.

    Attributes
    ----------
    dynamics : Dynamics
        Margins by run, item and epoch.
    aum : ndarray, shape (items,)
        Mean over epochs and runs.
    ordinary : ndarray of bool, shape (items,)
        Items that are no threshold rows.
    threshold : float
        At or below it an item is flagged.
    flagged : ndarray of bool, shape (items,)
        Flagged items.
    mixture : tuple of ndarray
        Weights, means and standard deviations of the two components, the lower first; empty where threshold rows decide.
    """

    dynamics: Dynamics
    aum: np.ndarray
    ordinary: np.ndarray
    threshold: float
    flagged: np.ndarray
    mixture: tuple[np.ndarray, ...]

    def summary(self) -> str:
        """Give the answer in one sentence."""
        share = self.estimates["flagged_share"]
        said = (
            f"{int(self.flagged.sum()):,} of {counted(int(self.ordinary.sum()), 'training item')} have an area under the "
            f"margin of at most {self.threshold:.3g} ({with_interval(100 * share.value, 100 * share.low, 100 * share.high)} %)"
        )
        area = self.estimates.get("auc")
        if area is None or not area.has_interval:
            return said + "."
        hits = self.estimates["recall"]
        return (
            f"{said}; they hold {100 * hits.value:.0f} % of the labels known to be wrong, area under the ROC "
            f"{with_interval(area.value, area.low, area.high)}."
        )


@dataclass(frozen=True, kw_only=True)
class AreaUnderMarginQuestion(Question):
    """Which training labels does the network argue against?"""

    needs: ClassVar = (Need("predictions", ("epoch",)),)

    task: str = option("", help="only this task", choices="predictions.task")
    until: float | None = option(
        None, help="last epoch that counts, before labels are memorised; all if none", unit="epochs", low=0
    )
    threshold_rows: str = option(
        "", help="column that is 1 on rows given an extra class on purpose; a mixture of two Gaussians if empty",
        choices="numbers of predictions",
    )  # fmt: skip
    percentile: float = option(
        99.0,
        help="percentile of the threshold rows at or below which an item is flagged",
        unit="%",
        low=50.0,
        high=100.0,
    )
    flag_to: float | None = option(None, help="margin up to which an item is flagged; from the data if none")
    truth: str = option(
        "", help="column that is 1 where the label is known to be wrong", choices="numbers of predictions"
    )
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(500, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Take the column that says which labels are wrong, where there is one of that name."""
        return self if self.truth else replace(self, truth=default_truth(store))

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> AreaUnderMargin:
        """Average margins over epochs and flag the low ones."""
        asked = self.resolved(store)
        keep = tuple(name for name in (asked.truth, asked.threshold_rows) if name)
        dynamics = dynamics_of(store, "margin", task=asked.task, until=asked.until, keep=keep)
        aum = dynamics.values.mean(axis=(0, 2))
        extra = np.zeros(len(aum), dtype=bool)
        if asked.threshold_rows:
            extra = truth_of(dynamics.items, asked.threshold_rows)
            if not extra.any() or extra.all():
                raise TooLittleData(
                    needs=f"threshold rows and ordinary rows (column {asked.threshold_rows})",
                    found="only one kind",
                    remedy="Leave threshold-rows empty to split by a mixture instead.",
                )
        if np.ptp(aum) == 0:
            raise TooLittleData(needs="items with different margins", found="one and the same for all")
        rule, mixture, said = _rule(aum, extra, asked)
        threshold = float(rule(np.ones((1, len(aum))))[0])
        flagged = (aum <= threshold) & ~extra
        drawn = bootstrap(partial(_shares, aum, extra, rule), len(aum), draws=asked.draws, seed=asked.seed, engine=engine,
                          progress=progress)  # fmt: skip
        low, high = percentile_interval(drawn, asked.level)
        estimates = {
            "n": Estimate(float((~extra).sum()), unit="items", why_no_interval="a count"),
            "flagged": Estimate(float(flagged.sum()), unit="items", why_no_interval="a count; see flagged_share"),
            "flagged_share": Estimate(float(flagged[~extra].mean()), float(np.ravel(low)[0]), float(np.ravel(high)[0]),
                                      asked.level, "of items"),
            "threshold": Estimate(threshold, float(np.ravel(low)[1]), float(np.ravel(high)[1]), asked.level, "logits"),
        }  # fmt: skip
        tables = {"items": _table(dynamics, aum, flagged, extra)}
        notes = [
            "Margin: logit of the label less the greatest other logit; AUM: its mean over "
            f"{counted(len(dynamics.epochs), 'epoch')} and {counted(len(dynamics.names), 'run')}.",
            f"Unit: the item, n = {int((~extra).sum()):,}; {100 * asked.level:g} % percentile bootstrap in which the "
            f"threshold is found anew, {asked.draws} draws, seed {asked.seed}.",
            *said,
            "A flag asks for a look, not for a new label. Stop before the labels are memorised (the first drop of the learning "
            "rate): set the last epoch.",
            *dynamics.notes,
        ]
        if asked.truth:
            wrong = truth_of(dynamics.items, asked.truth)
            estimates |= _against(aum[~extra], wrong[~extra], flagged[~extra], asked)
        if len(dynamics.names) > 1:
            each = dynamics.values.mean(axis=2)
            estimates["spearman_of_runs"] = spearman_of_draws(
                each[0], each[-1], draws=asked.draws, seed=asked.seed, level=asked.level
            )
        return AreaUnderMargin(
            dynamics=dynamics, aum=aum, ordinary=~extra, threshold=threshold, flagged=flagged, mixture=mixture,
            estimates=estimates, tables=tables, notes=tuple(notes),
        )  # fmt: skip


def _rule(
    aum: np.ndarray, extra: np.ndarray, asked: AreaUnderMarginQuestion
) -> tuple[partial[np.ndarray], tuple[np.ndarray, ...], list[str]]:
    """Give how the threshold follows from a weighting, the mixture where there is one, and what to say."""
    if asked.flag_to is not None:
        return partial(_given, asked.flag_to), (), [f"Flagged: AUM ≤ {asked.flag_to:g}, as asked."]
    if asked.threshold_rows:
        flags = f"Flagged: AUM at or below percentile {asked.percentile:g} of {int(extra.sum()):,} threshold rows."
        return partial(_percentiles, aum[extra], np.flatnonzero(extra), asked.percentile), (), [flags]
    edges = np.linspace(float(aum.min()), float(aum.max()), _BINS + 1)
    bins = np.clip(np.searchsorted(edges, aum, side="right") - 1, 0, _BINS - 1)
    centres = (edges[:-1] + edges[1:]) / 2
    mixture = fit_two_gaussians(centres, np.bincount(bins, minlength=_BINS)[None].astype(float))
    weight, mean, sd = (part[0] for part in mixture)
    apart = abs(mean[1] - mean[0]) / math.sqrt((sd[0] ** 2 + sd[1] ** 2) / 2)
    said = [
        "Substitute: no threshold rows; two Gaussians are fitted and flagged is what more likely belongs to the lower one "
        f"(weight {weight[0]:.3g}, mean {mean[0]:.3g}; the other {mean[1]:.3g}; {apart:.1f} standard deviations apart)."
    ]
    if apart < 2:
        said.append("Attention: the two components overlap; there may be no group of wrong labels at all.")
    return partial(_crossings, centres, bins), (weight, mean, sd), said


def _given(value: float, counts: np.ndarray) -> np.ndarray:
    return np.full(len(counts), value)


def _percentiles(values: np.ndarray, columns: np.ndarray, percentile: float, counts: np.ndarray) -> np.ndarray:
    """Give the percentile of the threshold rows under each weighting, linear between neighbours."""
    order = np.argsort(values, kind="stable")
    weights = counts[:, columns[order]]
    if (weights == 1).all():
        return np.full(len(counts), np.percentile(values, percentile))
    repeated = [np.repeat(values[order], row.astype(int)) for row in weights]
    return np.array([np.percentile(one, percentile) if len(one) else np.nan for one in repeated])


def _crossings(centres: np.ndarray, bins: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Give the place where both components are equally likely under each weighting; -inf where the lower never is."""
    pooled = np.stack([np.bincount(bins, row, minlength=len(centres)) for row in counts])
    weight, mean, sd = fit_two_gaussians(centres, pooled)
    lower, upper = (
        np.log(weight[:, [k]]) - np.log(sd[:, [k]]) - (centres - mean[:, [k]]) ** 2 / (2 * sd[:, [k]] ** 2)
        for k in (0, 1)
    )
    # Below its mean the lower component may lose again to a wide upper one: only the crossing above it counts.
    is_lower = (lower > upper) | (centres < mean[:, [0]])
    ends = np.where(is_lower.all(axis=1), len(centres), np.argmin(is_lower, axis=1))
    width = centres[1] - centres[0]
    return np.where(ends > 0, centres[np.maximum(ends - 1, 0)] + width / 2, -np.inf)


def fit_two_gaussians(x: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit two Gaussians to weighted values by expectation maximisation, for every weighting at once.

    Starts from the values below and above the threshold that leaves the least variance on both sides (Otsu 1979), and
    keeps standard deviations above a hundredth of that of all values.

    Parameters
    ----------
    x : ndarray, shape (n,)
    weights : ndarray, shape (k, n)

    Returns
    -------
    weight, mean, sd : ndarray, each shape (k, 2)
        The lower mean first.
    """
    total = weights.sum(axis=1, keepdims=True)
    centre = (weights @ x / total[:, 0])[:, None]
    spread = np.sqrt((weights * (x - centre) ** 2).sum(axis=1, keepdims=True) / total)
    below = np.cumsum(weights, axis=1)
    sums = np.cumsum(weights * x, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = (centre * below - sums) ** 2 / (below * (total - below))
    cut = np.nanargmax(np.where(np.isfinite(between), between, -1.0), axis=1)
    first = (np.arange(len(x)) <= cut[:, None]).astype(float)
    weight = mean = sd = np.empty((len(weights), 2))
    before = np.full(len(weights), -np.inf)
    for _ in range(_STEPS):
        share = np.stack([first * weights, (1 - first) * weights], axis=1)
        size = np.maximum(share.sum(axis=2), 1e-9)
        weight = size / total
        mean = share @ x / size
        variance = (share * (x - mean[..., None]) ** 2).sum(axis=2) / size
        sd = np.maximum(np.sqrt(variance), spread / 100)
        logs = np.log(weight)[..., None] - np.log(sd)[..., None] - (x - mean[..., None]) ** 2 / (2 * sd[..., None] ** 2)
        top = logs.max(axis=1, keepdims=True)
        parts = np.exp(logs - top)
        first = parts[:, 0] / parts.sum(axis=1)
        likelihood = (weights * (np.log(parts.sum(axis=1)) + top[:, 0])).sum(axis=1)
        if np.all(likelihood - before <= 1e-7 * np.abs(likelihood)):
            break
        before = likelihood
    order = np.argsort(mean, axis=1)
    return tuple(np.take_along_axis(part, order, axis=1) for part in (weight, mean, sd))  # type: ignore[return-value]


def _shares(aum: np.ndarray, extra: np.ndarray, rule: partial[np.ndarray], counts: np.ndarray) -> np.ndarray:
    """Give the flagged share and the threshold under each weighting, shape (draws, 2)."""
    threshold = rule(counts)
    inside = counts[:, ~extra]
    flagged = (inside * (aum[~extra] <= threshold[:, None])).sum(axis=1) / inside.sum(axis=1)
    return np.stack([flagged, np.where(np.isfinite(threshold), threshold, np.nan)], axis=1)


def _against(
    aum: np.ndarray, wrong: np.ndarray, flagged: np.ndarray, asked: AreaUnderMarginQuestion
) -> dict[str, Estimate]:
    """Give how well the flags and the order find the labels known to be wrong."""
    estimates = {"auc": found_by(-aum, wrong, draws=asked.draws, seed=asked.seed, level=asked.level)}
    for name, own, of in (("precision", flagged, "of flagged"), ("recall", wrong, "of wrong labels")):
        hits, size = int((flagged & wrong).sum()), int(own.sum())
        low, high = wilson(hits, size, asked.level)
        why = "" if size else f"none {of}"
        value = hits / size if size else math.nan
        estimates[name] = Estimate(value, float(low), float(high), asked.level, of, why)
    return estimates


def _table(dynamics: Dynamics, aum: np.ndarray, flagged: np.ndarray, extra: np.ndarray) -> pd.DataFrame:
    table = dynamics.items.assign(aum=aum, last_margin=dynamics.values[:, :, -1].mean(axis=0), flagged=flagged)
    if len(dynamics.names) > 1:
        each = dynamics.values.mean(axis=2)
        table = table.assign(**{f"aum {name}": each[i] for i, name in enumerate(dynamics.names)})
    if extra.any():
        table = table.assign(threshold_row=extra)
    return table.sort_values("aum", kind="stable", ignore_index=True)


def figure(question: AreaUnderMarginQuestion, result: AreaUnderMargin) -> FigureSpec:
    """Draw the distribution of the areas with the threshold, margins over epochs, and the ROC where truth is known."""
    aum, extra = result.aum, ~result.ordinary
    wrong = (
        truth_of(result.dynamics.items, question.truth) & ~extra if question.truth else np.zeros(len(aum), dtype=bool)
    )
    edges = np.histogram_bin_edges(aum, bins=min(60, max(10, round(math.sqrt(len(aum)) * 1.5))))
    kinds = [
        ("training items", ~extra & ~wrong, "c0"),
        (question.truth, wrong, "bad"),
        ("threshold rows", extra, "muted"),
    ]
    marks: list[Mark] = []
    base = np.zeros(len(edges) - 1)
    place = np.clip(np.searchsorted(edges, aum, side="right") - 1, 0, len(edges) - 2)
    for label, mask, hue in kinds:
        if not mask.any():
            continue
        counts = np.bincount(place[mask], minlength=len(base)).astype(float)
        filled = np.flatnonzero(counts)
        behind = tuple(result.dynamics.clause(mask & (place == one)) for one in filled)
        marks.append(
            Bars(key=label, at=(edges[filled] + edges[filled + 1]) / 2, height=(base + counts)[filled], base=base[filled],
                 width=0.96 * (edges[1] - edges[0]), hue=hue, label=f"{label} ({int(mask.sum()):,})",
                 origin=Clauses("predictions", behind))
        )  # fmt: skip
        base = base + counts
    if result.mixture:
        marks += _components(result, edges)
    marks.append(
        Rule(key="threshold", axis="x", at=result.threshold, hue="accent", option="flag_to", label="flagged below")
    )
    panels = [
        Panel(key="areas", x=Axis(label="area under the margin (logits)", column="aum"), y=Axis(label="items", low=0.0),
              marks=tuple(marks), height=1.3),
        _traces(result, wrong),
    ]  # fmt: skip
    if wrong.any():
        x, y = roc_points(-aum[~extra], wrong[~extra])
        area = result.estimates["auc"]
        text = f"area {with_interval(area.value, area.low, area.high)}"
        flagged = result.flagged[~extra]
        known = wrong[~extra]
        at = (
            np.array([(flagged & ~known).sum() / max((~known).sum(), 1)]),
            np.array([(flagged & known).sum() / known.sum()]),
        )
        panels.append(
            Panel(key="roc", x=Axis(label="right labels flagged", low=0.0, high=1.0),
                  y=Axis(label="wrong labels flagged", low=0.0, high=1.0), square=True,
                  marks=(Rule(key="chance", axis="diagonal"), Line(key="roc", x=x, y=y, hue="c0", width=2.0, label=text),
                         Points(key="flags", x=at[0], y=at[1], hue="accent", size=8.0, label="the flags")))
        )  # fmt: skip
    return FigureSpec(
        title="Area under the margin",
        subtitle=f"{counted(int(result.ordinary.sum()), 'training item')}, {counted(len(result.dynamics.epochs), 'epoch')}, "
        f"{counted(len(result.dynamics.names), 'run')}",
        panels=tuple(panels),
        caption=f"{result.summary()} {result.notes[0]} {result.notes[2]}",
    )


def _components(result: AreaUnderMargin, edges: np.ndarray) -> list[Mark]:
    x = np.linspace(edges[0], edges[-1], 300)
    size = len(result.aum) * (edges[1] - edges[0])
    marks: list[Mark] = []
    for number, (weight, mean, sd) in enumerate(zip(*result.mixture, strict=True)):
        y = size * weight * np.exp(-((x - mean) ** 2) / (2 * sd**2)) / (sd * math.sqrt(2 * math.pi))
        label = "fitted components" if number == 0 else ""
        marks.append(Line(key=f"component {number}", x=x, y=y, hue="ink", dash="dashed", label=label))
    return marks


def _traces(result: AreaUnderMargin, wrong: np.ndarray) -> Panel:
    """Give the margins over epochs of the lowest items, and the median of the others."""
    margins = result.dynamics.values.mean(axis=0)
    epochs = result.dynamics.epochs
    order = np.argsort(np.where(result.ordinary, result.aum, np.inf), kind="stable")
    lowest = order[: min(_TRACES, int(result.flagged.sum()))]
    items = result.dynamics.items["item"].to_numpy()
    marks: list[Mark] = [
        Line(key=str(items[i]), x=epochs, y=margins[i], hue="bad" if wrong[i] or not wrong.any() else "c1", opacity=0.6,
             label=f"{len(lowest)} lowest" if i == lowest[0] else "",
             origin=result.dynamics.each(np.array([i])))
        for i in lowest
    ]  # fmt: skip
    rest = result.ordinary & ~result.flagged
    if rest.any():
        marks.append(Line(key="rest", x=epochs, y=np.median(margins[rest], axis=0), hue="c0", width=2.0,
                          label="median of the others"))  # fmt: skip
    marks.append(Rule(key="zero", axis="y", at=0.0, hue="line", dash="solid"))
    return Panel(
        key="margins", x=Axis(label="epoch", column="epoch"), y=Axis(label="margin (logits)"), marks=tuple(marks)
    )


ANALYSIS = Analysis(
    id="dynamics.aum",
    title="Area under the margin",
    asks="Which training labels does the network argue against?",
    question=AreaUnderMarginQuestion,
    figure=figure,
    sources=("Pleiss et al. (2020), Identifying Mislabeled Data using the Area Under the Margin Ranking",),
    definition="""\
$M_t=z_\\text{label}-\\max_{k\\ne\\text{label}}z_k$ at epoch $t$, in logits while training; AUM $=\\text{mean}_t M_t$. Threshold
rows were given a class of their own on purpose: an item whose AUM lies at or below their 99th percentile is flagged. Without
such rows two Gaussians are fitted and the lower one is flagged: a substitute, marked as such. From probabilities the margin of
their logarithms is the same number.

Unit: the item; the threshold is found anew in every resample. Traps: late in training wrong labels are memorised and their
margins rise; a flag asks for a look. """,
)
