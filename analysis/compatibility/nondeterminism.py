"""``compat.nondeterminism``: how much identical calls disagree."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import TooLittleData
from ...models.figure import Axis, Bars, Clauses, FigureSpec, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result, counted
from ...models.selection import Clause, both, is_in
from ...models.store import RunStore
from ..answer_marks import MOST_ROWS, dots, named_axis
from ..answer_sheet import AnswersQuestion, Sheet, answer_sheet, cluster_units, drawn_units
from ..answers import present
from ..resampling import DRAWS, bootstrap, percentile_interval, sd_interval

_REPEAT_COLUMNS = ("repeat", "sample", "repetition", "trial", "run_number", "seed")


@dataclass(frozen=True, kw_only=True)
class Nondeterminism(Result):
    """Repeats of the same calls.

    Attributes
    ----------
    repeats : str
        Column that numbers the repeats.
    shares : dict of str to ndarray, shape (items,)
        By model: share of the repeats in which each item is right.
    bins : dict of str to tuple of Clause
        By model: items by that share, in the bins of the histogram.
    focus : str
        Model with the most unstable items.
    """

    repeats: str
    shares: dict[str, np.ndarray]
    bins: dict[str, tuple[Clause, ...]]
    focus: str

    def summary(self) -> str:
        """Give the answer in one sentence."""
        flip, torn, sd = (self.estimates[name] for name in ("self_flip", "not_unanimous", "sd_of_accuracy"))
        return (
            f"{self.focus if self.focus != 'all' else 'Over repeats'}: {100 * torn.value:.1f} % of "
            f"{self.estimates['n'].value:,.0f} items are not unanimous; two repeats differ on {100 * flip.value:.2f} % "
            f"[{100 * flip.low:.2f}, {100 * flip.high:.2f}] of the items, and accuracy varies by an SD of "
            f"{100 * sd.value:.2f} points between repeats."
        )


@dataclass(frozen=True, kw_only=True)
class NondeterminismQuestion(AnswersQuestion):
    """How much do identical calls disagree?"""

    cluster: str = option(
        "", help="column of items that belong together and are resampled whole", choices="columns of predictions"
    )
    draws: int = option(DRAWS, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in the column that numbers the repeats."""
        if self.by or not store.has_rows("predictions"):
            return self
        frame = store.rows("predictions")
        found = [name for name in present(frame, _REPEAT_COLUMNS) if frame[name].nunique() > 1]
        return replace(self, by=found[0] if found else "")

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> Nondeterminism:
        """Compare the repeats of each model item by item."""
        asked = self.resolved(store)
        frame = store.rows("predictions")
        if not asked.by:
            raise TooLittleData(
                needs="several answers to the same items by one model",
                found="no column that numbers them (" + ", ".join(_REPEAT_COLUMNS) + ")",
                remedy="Choose the column that tells repeats apart (by).",
            )
        models = [""]
        if asked.by != "model" and present(frame, ["model"]):
            models = [asked.model] if asked.model else [str(name) for name in frame["model"].dropna().unique()]
        rows, shares, bins, listed, notes = [], {}, {}, [], []
        estimates: dict[str, dict[str, Estimate]] = {}
        for model in models:
            try:
                sheet = answer_sheet(store, replace(asked, model=model), about=(asked.cluster,), common=False)
            except TooLittleData:
                notes.append(f"{model} left out: no item was answered twice.")
                continue
            name = model or "all"
            measured = item_measures(sheet)
            estimates[name] = _estimates(sheet, measured, asked, engine, progress)
            rows.append({"model": name} | _flat(estimates[name]))
            shares[name] = measured["share"]
            limit = is_in("model", (model,)) if model else None
            edges = np.clip((measured["share"] * 10).round().astype(int), 0, 10)
            clauses = [sheet.clause(edges == number) for number in range(11)]
            bins[name] = tuple(both(clause, limit) if limit is not None else clause for clause in clauses)
            torn = np.flatnonzero((measured["share"] > 0) & (measured["share"] < 1) | (measured["answers"] > 1))
            order = torn[np.argsort(-measured["entropy"][torn], kind="stable")]
            own = pd.DataFrame({key: values[order] for key, values in measured.items()})
            listed.append(pd.concat([sheet.items.iloc[order].reset_index(drop=True), own], axis=1).assign(model=name))
            notes += [note if not model else f"{model}: {note}" for note in sheet.notes]
            if estimates[name]["not_unanimous"].value == 0 and not len(torn):
                notes.append(
                    f"Attention: all repeats of {name} are identical; a cache makes them so, and so does no sampling."
                )
        if not rows:
            raise TooLittleData(needs="two answers to the same item by one model", found="one each")
        focus = max(estimates, key=lambda name: estimates[name]["not_unanimous"].value)
        unit = cluster_units(sheet, asked.cluster)[2] if len(rows) == 1 else f"Unit: the {asked.cluster or 'item'}."
        return Nondeterminism(
            repeats=asked.by,
            shares=shares,
            bins=bins,
            focus=focus,
            estimates=estimates[focus],
            tables={"models": pd.DataFrame(rows), "items": pd.concat(listed, ignore_index=True)},
            notes=(
                unit,
                f"Intervals: {100 * asked.level:g} % percentile bootstrap over units, {asked.draws} draws, seed {asked.seed}; "
                "of the SD between repeats: chi-square, repeats as the unit.",
                f"Repeats: column {asked.by}. The estimates are those of {focus}."
                if len(rows) > 1
                else f"Repeats: {asked.by}.",
                "self_flip is the floor of NFR + PFR between two versions; half of it is the floor of each.",
                *notes,
            ),
        )


def item_measures(sheet: Sheet) -> dict[str, np.ndarray]:
    """Give, for every item: repeats, share right, p(two repeats differ in being right), entropy of the answers in bits,
    and how many different answers there are.

    The probability that two different repeats differ, 2 p(1 − p) k / (k − 1), has no bias for k repeats.
    """
    k = sheet.present.sum(axis=1).astype(float)
    share = np.nansum(np.where(sheet.present, sheet.right, 0.0), axis=1) / k
    with np.errstate(divide="ignore", invalid="ignore"):
        flips = np.where(k > 1, 2 * share * (1 - share) * k / (k - 1), np.nan)
    values = sheet.answers if sheet.answers is not None else (np.nan_to_num(sheet.right) > 0.5).astype(int)
    entropy, kinds = np.zeros(len(sheet)), np.zeros(len(sheet), dtype=int)
    for column in range(values.shape[1]):
        same = (values == values[:, [column]]) & sheet.present
        count = np.where(sheet.present[:, column], same.sum(axis=1), 1)
        # Every repeat adds −log2 of the share of its own answer; the first of its kind counts the kind.
        entropy += np.where(sheet.present[:, column], -np.log2(count / k) / k, 0.0)
        kinds += sheet.present[:, column] & ~same[:, :column].any(axis=1)
    return {"repeats": k.astype(int), "share": share, "flip": flips, "entropy": entropy, "answers": kinds}


def _estimates(
    sheet: Sheet, measured: dict[str, np.ndarray], asked: NondeterminismQuestion, engine: Engine, progress: Progress
) -> dict[str, Estimate]:
    units, number, _ = cluster_units(sheet, asked.cluster)
    torn = ((measured["share"] > 0) & (measured["share"] < 1)).astype(float)
    columns = {
        "self_flip": measured["flip"],
        "not_unanimous": torn,
        "answers_differ": (measured["answers"] > 1).astype(float),
        "mean_entropy": measured["entropy"],
        "accuracy": measured["share"],
    }
    values = np.stack([*columns.values(), np.ones(len(sheet))], axis=1)
    sums, sizes = drawn_units(values, units, number)
    drawn = bootstrap(
        partial(_means, sums), sizes, draws=asked.draws, seed=asked.seed, engine=engine, progress=progress
    )
    low, high = (np.asarray(end) for end in percentile_interval(drawn, asked.level))
    names = {"mean_entropy": "bits", "self_flip": "of items, between two repeats"}
    estimates = {
        "n": Estimate(len(sheet), unit="items", why_no_interval="a count"),
        "repeats": Estimate(len(sheet.names), why_no_interval="a count"),
    }
    for at, (name, column) in enumerate(columns.items()):
        estimates[name] = Estimate(
            float(column.mean()), float(low[at]), float(high[at]), asked.level, names.get(name, "of items")
        )
    complete = sheet.present.all(axis=1)
    if complete.any():
        totals = sheet.right[complete].mean(axis=0)
        ends = sd_interval(totals, asked.level)
        sd = float(totals.std(ddof=1)) if len(totals) > 1 else math.nan
        estimates["sd_of_accuracy"] = Estimate(
            sd, float(ends.low), float(ends.high), asked.level, f"between {len(totals)} repeats"
        )
    else:
        estimates["sd_of_accuracy"] = Estimate(math.nan, why_no_interval="no item has all repeats")
    return estimates


def _means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    totals = counts @ sums
    means: np.ndarray = totals[:, :-1] / totals[:, -1:]
    return means


def _flat(estimates: dict[str, Estimate]) -> dict[str, float]:
    flat = {}
    for name, estimate in estimates.items():
        flat[name] = estimate.value
        if estimate.has_interval:
            flat |= {f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return flat


def figure(question: NondeterminismQuestion, result: Nondeterminism) -> FigureSpec:
    """Draw in how many repeats items are right, and how often two repeats of each model differ."""
    share = result.shares[result.focus]
    at = np.clip((share * 10).round().astype(int), 0, 10)
    counts = np.bincount(at, minlength=11).astype(float)
    steady = np.isin(np.arange(11), (0, 10))
    marks = []
    for key, inside, hue, label in (
        ("torn", ~steady, "bad", "differs"),
        ("steady", steady, "muted", "mostly the same"),
    ):
        where = np.flatnonzero(inside)
        marks.append(
            Bars(
                key=key, at=10.0 * where, height=counts[where], width=9.0, hue=hue, label=label,
                origin=Clauses("predictions", tuple(result.bins[result.focus][number] for number in where.tolist())),
                notes=tuple(f"{counts[number]:,.0f} items, right in about {10 * number} %" for number in where.tolist()),
            )
        )  # fmt: skip
    panels = [
        Panel(
            key="shares",
            x=Axis(label="repeats that are right (%)"),
            y=Axis(label="items", low=0.0),
            marks=tuple(marks),
            title="Items by how often they are right",
        )
    ]
    table = result.tables["models"].head(MOST_ROWS)
    if len(table) > 1:
        names = list(table["model"])
        parts = (100 * table[key].to_numpy(float) for key in ("self_flip", "self_flip_low", "self_flip_high"))
        clauses = Clauses("predictions", tuple(is_in("model", (name,)) for name in names))
        panels.append(
            Panel(
                key="models",
                x=Axis(label="items on which two repeats differ (%)", low=0.0),
                y=named_axis(names),
                marks=dots("flip", names, *parts, origin=clauses, n=table["n"].to_numpy()),
                title="Self-flips: the floor of NFR + PFR",
            )
        )
    else:
        panels.append(_repeats(result))
    return FigureSpec(
        title="Repeats of the same calls" + (f", {result.focus}" if result.focus != "all" else ""),
        subtitle=f"{counted(int(result.estimates['repeats'].value), 'repeat')} of {result.estimates['n'].value:,.0f} items, "
        f"{100 * question.level:g} % bootstrap intervals over items",
        panels=tuple(panels),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )


def _repeats(result: Nondeterminism) -> Panel:
    """Draw the entropy of the unstable items, most unstable first."""
    entropy = np.sort(result.tables["items"]["entropy"].to_numpy(float))[::-1]
    mean = result.estimates["mean_entropy"].value
    return Panel(
        key="entropy",
        x=Axis(label="items whose repeats differ, most first"),
        y=Axis(label="entropy of the answers (bits)", low=0.0),
        marks=(
            Points(key="entropy", x=np.arange(1, len(entropy) + 1, dtype=float), y=entropy, size=3.0),
            Rule(key="mean", axis="y", at=mean, label=f"mean of all items, {mean:.3f}"),
        ),
        title="Entropy",
    )


ANALYSIS = Analysis(
    id="compat.nondeterminism",
    title="Run-to-run non-determinism",
    asks="How much do identical calls disagree?",
    question=NondeterminismQuestion,
    figure=figure,
    sources=(
        "Balachandran et al. (2024), Eureka: disagreement of repeated runs (entropy of outcomes)",
        "Atil et al. (2024), Non-Determinism of 'Deterministic' LLM Settings",
    ),
    definition="""\
With p̂ the share of an item's k repeats that are right: self-flip rate = mean of 2 p̂(1 − p̂) k/(k − 1), the
probability that two repeats differ, which is the floor of NFR + PFR between versions; not unanimous = share of items
with 0 < p̂ < 1; answers differ = share with two or more different answers; entropy of the answers in bits (plug-in,
low for few repeats); SD of accuracy between repeats. A deterministic model gives 0 throughout.

Unit: the item, or the cluster; for the SD the repeat. Trap: a cache makes repeats identical. """,
)
