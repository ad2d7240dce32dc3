"""``compat.complementarity``: whether combining two models would help."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError
from ...models.figure import Axis, Band, Bars, Clauses, FigureSpec, Line, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result, shortened
from ...models.selection import Clause
from ...models.store import RunStore
from ..answer_marks import two_by_two
from ..answer_sheet import PairQuestion, Sheet, answer_sheet
from ..paired_tests import clopper_pearson, newcombe_paired
from ..resampling import wilson

_STEPS = 41


@dataclass(frozen=True, kw_only=True)
class Complementarity(Result):
    """Errors of two models that the other could mend.

    Attributes
    ----------
    old, new, merged : str
        The two, and a combination of them that was made already; empty without one.
    counts : ndarray, shape (2, 2)
        Items by right and wrong of old (rows) and new (columns).
    items : tuple of Clause
        Items of these cells, row by row.
    alphas, mixed, low, high : ndarray
        Weight of new in the mixture of probabilities, its accuracy there and the Wilson interval; empty without
        probabilities.
    eight : DataFrame
        Items by right and wrong of old, new and merged; empty without a merged model.
    eight_items : tuple of Clause
        Items of its rows.
    """

    old: str
    new: str
    merged: str
    counts: np.ndarray
    items: tuple[Clause, ...]
    alphas: np.ndarray
    mixed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    eight: pd.DataFrame
    eight_items: tuple[Clause, ...]

    def summary(self) -> str:
        """Give the answer in one sentence."""
        e = self.estimates
        said = (
            f"Where {self.old} is wrong, {self.new} is right in {100 * e['new_mends'].value:.1f} % of the cases; choosing the "
            f"right one each time would give {100 * e['oracle'].value:.1f} % against {100 * e['best_single'].value:.1f} % of "
            "the better one"
        )
        if "mixture" in e:
            said += f", and a mixture of their probabilities {100 * e['mixture'].value:.1f} % on items its weight did not see"
        return said + "."


@dataclass(frozen=True, kw_only=True)
class ComplementarityQuestion(PairQuestion):
    """Would combining them help?"""

    merged: str = option(
        "", help="a combination of the two that was made already", choices="predictions.version|predictions.model"
    )
    folds: int = option(
        5, help="folds in which the weight of the mixture is chosen on the others", low=2, high=50, advanced=True
    )
    seed: int = option(0, help="seed of the folds", low=0, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> Complementarity:
        """Count who mends whose errors, and mix probabilities where there are some."""
        asked = self.resolved(store)
        if asked.unanswered == "guess":
            raise AnalysisError(
                "A guessed credit is neither right nor wrong.", remedy="Count no answer as wrong or drop it."
            )
        names = (asked.old, asked.new, asked.merged) if asked.merged else (asked.old, asked.new)
        sheet = answer_sheet(store, asked, names)
        right = sheet.right > 0.5
        a, b = right[:, 0], right[:, 1]
        masks = (a & b, a & ~b, ~a & b, ~a & ~b)
        counts = np.array([mask.sum() for mask in masks], float).reshape(2, 2)
        estimates = _estimates(counts, asked.level)
        notes = [f"Unit: the item, n = {len(sheet):,}.", *sheet.notes]
        alphas = mixed = low = high = np.zeros(0)
        tables: dict[str, pd.DataFrame] = {}
        found = _probabilities(sheet)
        if found is None:
            notes.append("No mixture: there are no probabilities (prob.*) of both, with a label among them.")
        else:
            mixtures, labels = found
            alphas, hits = mixtures.sweep(labels)
            mixed = hits.mean(axis=0)
            low, high = (np.asarray(end) for end in wilson(hits.sum(axis=0), len(hits), asked.level))
            tables["mixture"] = pd.DataFrame({"alpha": alphas, "accuracy": mixed, "low": low, "high": high})
            held = _held_out(hits, asked.folds, asked.seed)
            ends = wilson(held.sum(), len(held), asked.level)
            estimates["mixture"] = Estimate(
                float(held.mean()), float(ends.low), float(ends.high), asked.level, "held out"
            )
            best = int(np.argmax([a.mean(), b.mean()]))
            single = right[:, best]
            both, only, other = (int(np.sum(m)) for m in (held & single, held & ~single, ~held & single))
            gain = newcombe_paired(both, only, other, len(held) - both - only - other, asked.level)
            estimates["mixture_gain"] = Estimate(
                (only - other) / len(held), float(gain.low), float(gain.high), asked.level, f"over {names[best]}"
            )
            notes.append(
                f"mixture: p = (1 − α) p_old + α p_new; α is chosen on {asked.folds - 1} of {asked.folds} folds (seed "
                f"{asked.seed}) and judged on the other. The curve uses all items and is too good at its peak."
            )
        eight, eight_items = _eight(sheet) if asked.merged else (pd.DataFrame(), ())
        if asked.merged:
            tables["eight"] = eight
            estimates |= _merged(right, asked.level)
        table = pd.DataFrame(
            {
                "old": ["right", "right", "wrong", "wrong"],
                "new": ["right", "wrong"] * 2,
                "items": counts.ravel().astype(int),
            }
        )
        split = a != b
        listed = sheet.listed(split, range(len(names)), ("old", "new", "merged")[: len(names)])
        listed = listed.assign(right_one=np.where(a[split], asked.old, asked.new))
        return Complementarity(
            old=asked.old,
            new=asked.new,
            merged=asked.merged,
            counts=counts,
            items=tuple(sheet.clause(mask) for mask in masks),
            alphas=alphas,
            mixed=mixed,
            low=low,
            high=high,
            eight=eight,
            eight_items=eight_items,
            estimates=estimates,
            tables={"cells": table, **tables, "items": listed},
            notes=tuple(notes),
        )


def _estimates(counts: np.ndarray, level: float) -> dict[str, Estimate]:
    (both, only_old), (only_new, neither) = counts.tolist()
    n = both + only_old + only_new + neither
    estimates = {"n": Estimate(n, unit="items", why_no_interval="a count")}
    for name, above, below, unit, exact in (
        ("accuracy_old", both + only_old, n, "", False),
        ("accuracy_new", both + only_new, n, "", False),
        ("new_mends", only_new, only_new + neither, "of the errors of old", True),
        ("old_mends", only_old, only_old + neither, "of the errors of new", True),
        ("oracle", n - neither, n, "either right", False),
        ("double_fault", neither, n, "both wrong", False),
        ("disagreement", only_old + only_new, n, "one right, one wrong", False),
    ):
        low, high = clopper_pearson(above, below, level) if exact else wilson(above, below, level)
        why = "" if below else "it makes no errors"
        estimates[name] = Estimate(above / below if below else math.nan, float(low), float(high), level, unit, why)
    best = max(both + only_old, both + only_new) / n
    estimates["best_single"] = Estimate(best, why_no_interval="see accuracy_old and accuracy_new")
    return estimates


@dataclass(frozen=True, eq=False)
class _Mixtures:
    """Probabilities of two models, each of shape (items, classes)."""

    old: np.ndarray
    new: np.ndarray

    def sweep(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give weights of new, shape (steps,), and whether the mixture is right, shape (items, steps)."""
        alphas = np.linspace(0, 1, _STEPS)
        hits = np.stack([np.argmax((1 - a) * self.old + a * self.new, axis=1) == labels for a in alphas], axis=1)
        return alphas, hits


def _probabilities(sheet: Sheet) -> tuple[_Mixtures, np.ndarray] | None:
    columns = [str(name) for name in sheet.frame.columns if str(name).startswith("prob.")]
    if len(columns) < 2 or "label" not in sheet.items.columns:
        return None
    old, new = (np.stack([sheet.values(name, version) for name in columns], axis=1) for version in (0, 1))
    classes = {name.removeprefix("prob."): number for number, name in enumerate(columns)}
    labels = np.array([classes.get(str(label), -1) for label in sheet.items["label"]])
    if not (np.isfinite(old).all() and np.isfinite(new).all()) or (labels < 0).any():
        return None
    return _Mixtures(old, new), labels


def _held_out(hits: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Give whether the mixture is right on each item, with the weight that is best on the other folds; of several best
    weights the one in the middle.
    """
    of = np.random.default_rng(seed).permutation(len(hits)) % folds
    held = np.zeros(len(hits), dtype=bool)
    for fold in range(folds):
        others = hits[of != fold].sum(axis=0)
        best = np.flatnonzero(others == others.max())
        held[of == fold] = hits[of == fold, best[len(best) // 2]]
    return held


def _eight(sheet: Sheet) -> tuple[pd.DataFrame, tuple[Clause, ...]]:
    right = sheet.right > 0.5
    rows, clauses = [], []
    for code in range(8):
        wanted = np.array([not code & 4, not code & 2, not code & 1])
        mask = (right == wanted).all(axis=1)
        words = ["right" if one else "wrong" for one in wanted]
        rows.append(
            {"old": words[0], "new": words[1], "merged": words[2], "items": int(mask.sum()), "share": mask.mean()}
        )
        clauses.append(sheet.clause(mask, sheet.names))
    return pd.DataFrame(rows), tuple(clauses)


def _merged(right: np.ndarray, level: float) -> dict[str, Estimate]:
    a, b, merged = right.T
    estimates = {}
    for name, inside, hit, unit in (
        ("accuracy_merged", np.ones(len(a), dtype=bool), merged, ""),
        ("rescue", ~a & ~b, merged, "of items both have wrong, merged right"),
        ("spoiled", a & b, ~merged, "of items both have right, merged wrong"),
        ("kept", a ^ b, merged, "of items one has right, merged right"),
    ):
        n = int(inside.sum())
        low, high = clopper_pearson(float(hit[inside].sum()), n, level)
        value = float(hit[inside].mean()) if n else math.nan
        estimates[name] = Estimate(value, float(low), float(high), level, unit, "" if n else "no such item")
    return estimates


def figure(question: ComplementarityQuestion, result: Complementarity) -> FigureSpec:
    """Draw the table of right and wrong, what each choice would give, and the mixture of probabilities."""
    e = result.estimates
    names = [shortened(result.old, 26), shortened(result.new, 26), "either right (oracle)"]
    rates = [e["accuracy_old"], e["accuracy_new"], e["oracle"]]
    for name, label in (("mixture", "mixture, held out"), ("accuracy_merged", shortened(result.merged, 26))):
        if name in e:
            names.append(label)
            rates.append(e[name])
    at = np.arange(len(names), dtype=float)
    panels = [
        two_by_two(result.counts, result.old, result.new, result.items),
        Panel(
            key="rates",
            x=Axis(label="right (% of items)", low=0.0, high=100.0),
            y=Axis(scale="category", names=tuple(names), inverted=True),
            marks=(
                Bars(
                    key="rates", at=at, height=np.array([100 * one.value for one in rates]), horizontal=True, width=0.6,
                    low=np.array([100 * one.low for one in rates]), high=np.array([100 * one.high for one in rates]),
                ),
            ),
            title="What it would give",
        ),
    ]  # fmt: skip
    if len(result.alphas):
        marks: list[Band | Line | Points | Rule] = [
            Band(key="band", x=result.alphas, low=100 * result.low, high=100 * result.high, label="Wilson interval"),
            Line(key="mixed", x=result.alphas, y=100 * result.mixed, width=2.0, label="mixture"),
            Rule(key="held", axis="y", at=100 * e["mixture"].value, hue="accent", label="held out"),
        ]
        panels.append(
            Panel(
                key="mixture", x=Axis(label=f"weight of {shortened(result.new, 24)}"), y=Axis(label="accuracy (%)"),
                marks=tuple(marks), title="Mixture of probabilities",
            )
        )  # fmt: skip
    if len(result.eight):
        labels = tuple(f"{row['old'][0]}, {row['new'][0]} → {row['merged']}" for row in result.eight.to_dict("records"))
        panels.append(
            Panel(
                key="eight", x=Axis(label="items", low=0.0),
                y=Axis(label="old, new → merged", scale="category", names=labels, inverted=True),
                marks=(
                    Bars(
                        key="eight", at=np.arange(8.0), height=result.eight["items"].to_numpy(float), horizontal=True,
                        origin=Clauses("predictions", result.eight_items),
                    ),
                ),
                title="With the merged model",
            )
        )  # fmt: skip
    return FigureSpec(
        title=f"{result.old} and {result.new} together",
        subtitle=f"{e['n'].value:,.0f} items both answered, {100 * e['oracle'].level:g} % intervals over items",
        panels=tuple(panels),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )


ANALYSIS = Analysis(
    id="compat.complementarity",
    title="Error complementarity",
    asks="Would combining them help?",
    question=ComplementarityQuestion,
    figure=figure,
    sources=(
        "Kuncheva and Whitaker (2003), Measures of diversity in classifier ensembles: double fault, disagreement",
        "Clopper and Pearson (1934); Wilson (1927); Newcombe (1998)",
    ),
    definition="""\
new_mends = P(new right | old wrong), with its exact interval, and the reverse; oracle = either right = accuracy_new +
NFR; double fault = both wrong. With probabilities: the mixture (1 − α) p_old + α p_new over α, and its accuracy with
α chosen in cross-validation (the weight of an item was chosen without it). With a merged model: rescue = merged right
where both are wrong, spoiled = merged wrong where both are right, and all eight cells.

Unit: the item. Trap: a weight fitted and judged on the same items is too good; the oracle is a bound that no
combination need reach. """,
)
