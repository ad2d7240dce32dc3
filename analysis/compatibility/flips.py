"""``compat.flips``: what an update broke that used to work, and what it mended."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations, islice, permutations
from typing import ClassVar, Literal, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Bars, Cells, Clauses, FigureSpec, Panel, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, significant
from ...models.selection import Clause, is_in
from ...models.store import RunStore
from ..answers import at_epoch, clause_of_items, in_natural_order, present, refuse_repeats, rightness, unanswered
from ..resampling import DRAWS, bootstrap, holm, mcnemar_exact, percentile_interval, wilson

CELLS = ("both_right", "negative_flips", "positive_flips", "both_wrong")
_MOST_PAIRS = 1000
_MOST_GROUPS = 30
"""Groups with the most items that the figure shows; the table has all."""


@dataclass(frozen=True, kw_only=True)
class FlipTable(Result):
    """Old against new on the same items.

    Attributes
    ----------
    old, new : str
        The two compared.
    counts : Mapping of str to float
        Items by cell: both_right, negative_flips, positive_flips, both_wrong.
    items : Mapping of str to Clause
        The items of each cell.
    group : str
        Column of the groups; empty where there are none.
    level : float
        Coverage of the intervals.
    """

    old: str
    new: str
    counts: dict[str, float]
    items: dict[str, Clause]
    group: str
    level: float

    def summary(self) -> str:
        """Give the answer in one sentence."""
        e = self.estimates
        broke, mended = (significant(self.counts[name]) for name in ("negative_flips", "positive_flips"))
        return (
            f"From {self.old} to {self.new}, {broke} of {e['n'].value:,.0f} answers went from "
            f"right to wrong ({_percent(e['nfr'])}) and {mended} from wrong to right "
            f"({_percent(e['pfr'])}); accuracy {100 * e['accuracy_old'].value:.1f} to {100 * e['accuracy_new'].value:.1f} %."
        )


def _percent(estimate: Estimate) -> str:
    if not estimate.has_interval:
        return f"{100 * estimate.value:.2f} %"
    return f"{100 * estimate.value:.2f} % [{100 * estimate.low:.2f}, {100 * estimate.high:.2f}]"


@dataclass(frozen=True, kw_only=True)
class FlipsQuestion(Question):
    """What did the update break that used to work?"""

    needs: ClassVar = (Need("predictions", ("correct|prediction",)),)

    old: str = option("", help="what worked before", choices="predictions.version|predictions.model")
    new: str = option("", help="what replaces it", choices="predictions.version|predictions.model")
    by: str = option(
        "", help="column that holds old and new; version or model if empty", choices="columns of predictions"
    )
    model: str = option("", help="only this model, where its versions are compared", choices="predictions.model")
    task: str = option("", help="only this task", choices="predictions.task")
    epoch: float | None = option(
        None, help="only this epoch; the last one of each if none", unit="epochs", advanced=True
    )
    group: str = option("", help="column to split the flips by", choices="columns of predictions")
    cluster: str = option(
        "", help="column of items that belong together and are resampled whole", choices="columns of predictions"
    )
    unanswered: Literal["wrong", "dropped", "guess"] = option(
        "wrong", help="what no answer counts as; guess is worth 1 / number of options"
    )
    right_from: float = option(
        0.5, help="least score that is right, where 'correct' is a score", low=0.0, high=1.0, advanced=True
    )
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in what is compared: the last two versions that share items, or else two models.

        Versions are those of the model that has most of them.
        """
        if not store.has_rows("predictions"):
            return self
        frame = store.rows("predictions")
        model = self.model
        for by in [self.by] if self.by in frame.columns else present(frame, ("version", "model")):
            kept = frame
            if by != "model" and present(frame, ["model"]):
                model = model or str(frame.groupby("model", sort=False)[by].nunique().idxmax())
                kept = frame[frame["model"] == model]
            values = [str(value) for value in kept[by].dropna().unique()]
            # Versions are tried from the newest back, models in the order they come in; a column may have very many
            # values.
            pairs: Iterable[tuple[str, str]] = combinations(values, 2)
            if by != "model":
                pairs = ((old, new) for new, old in combinations(in_natural_order(values)[::-1], 2))
            if self.old or self.new:
                pairs = (p for p in permutations(values, 2) if self.old in ("", p[0]) and self.new in ("", p[1]))
            tried = list(islice(pairs, _MOST_PAIRS))
            if tried:
                items = {str(value): set(part) for value, part in kept.groupby(by)["item"]}
                old, new = next((pair for pair in tried if not items[pair[0]].isdisjoint(items[pair[1]])), tried[0])
                return replace(self, by=by, old=old, new=new, model=model if by != "model" else self.model)
        return self

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> FlipTable:
        """Join old and new on their items and count."""
        asked = self.resolved(store)
        joined, notes = _joined(store, asked)
        sums = _contributions(joined)
        totals = dict(zip(SUMS, sums.sum(axis=0).tolist(), strict=True))
        is_counted = asked.unanswered != "guess"
        units, sizes, unit_note = _units(joined, sums, asked)
        drawn = bootstrap(
            partial(_rates_of_draws, units), sizes, draws=asked.draws, seed=asked.seed, engine=engine, progress=progress
        )
        groups = _by_group(joined, sums, asked)
        return FlipTable(
            old=asked.old,
            new=asked.new,
            counts={name: totals[name] for name in CELLS},
            items={name: clause_of_items(joined[joined["cell"] == name], joined) for name in CELLS},
            group=asked.group,
            level=asked.level,
            estimates=_estimates(totals, drawn, asked, exact=is_counted and not asked.cluster, tested=is_counted),
            tables={"groups": groups, "items": _flipped(joined, asked)},
            notes=(unit_note, *notes, *_definitions(asked, len(groups))),
        )


def _joined(store: RunStore, asked: FlipsQuestion) -> tuple[pd.DataFrame, list[str]]:
    """Give one row an item with what old and new answered, and what was left out."""
    if not (asked.by and asked.old and asked.new):
        raise TooLittleData(
            needs="predictions of two versions or models on the same items",
            found="one",
            remedy="Open the other one too, or choose the column that tells them apart (by).",
        )
    frame = store.rows("predictions")
    for column in (asked.by, asked.group, asked.cluster):
        if column and column not in frame.columns:
            raise AnalysisError(f"The predictions have no column called {column!r}.")
    for column, value in (("model", asked.model), ("task", asked.task)):
        if value and column in frame.columns:
            frame = frame[frame[column] == value]
    if asked.by != "epoch":
        frame = at_epoch(frame, asked.epoch)
    key = present(frame, [name for name in ("model", "version", "task", "item", "sample") if name != asked.by])
    frame = frame.assign(
        right=rightness(frame, asked.unanswered, asked.right_from),
        blank=unanswered(frame),
        **{name: frame[name].astype(object).where(frame[name].notna(), "") for name in key},
    )
    sides = []
    for value in (asked.old, asked.new):
        side = frame[frame[asked.by].astype(str) == value]
        if side.empty:
            raise AnalysisError(f"No prediction has {asked.by} {value!r}.")
        refuse_repeats(side, key, value)
        sides.append(side)
    notes = []
    joined = sides[0].merge(sides[1], on=key, suffixes=("_old", "_new"))
    for column in present(frame, (asked.group, asked.cluster, "label", "prediction", "confidence")):
        if column in key:
            continue
        if column in ("prediction", "confidence"):
            continue
        # What describes the item is the same on both sides; where one side lacks it, the other has it.
        old, new = joined[f"{column}_old"], joined[f"{column}_new"]
        joined[column] = old.where(old.notna(), new)
        if column == "label":
            differ = (old != new) & old.notna() & new.notna()
            if differ.any():
                joined = joined[~differ]
                notes.append(f"{counted(int(differ.sum()), 'item')} left out: the label differs between old and new.")
    unmatched = [len(side) - len(joined) for side in sides]
    if any(unmatched):
        share = max(lost / len(side) for lost, side in zip(unmatched, sides, strict=True))
        loud = "Attention: " if share > 0.05 else ""
        notes.append(
            f"{loud}{unmatched[0]:,} items only in {asked.old} and {unmatched[1]:,} only in {asked.new} left out."
        )
    undecided = joined["right_old"].isna() | joined["right_new"].isna()
    if undecided.any():
        notes.append(f"{counted(int(undecided.sum()), 'item')} left out: no answer, or not known to be right or wrong.")
        joined = joined[~undecided]
    if not len(joined):
        raise TooLittleData(needs="items answered by both", found="0", remedy="Do the item keys of both agree?")
    blanks = int(joined["blank_old"].sum()), int(joined["blank_new"].sum())
    if any(blanks):
        notes.append(f"No answer: {blanks[0]:,} of old, {blanks[1]:,} of new; counted as {asked.unanswered}.")
    pooled = [name for name in ("model", "version", "task") if name in key and joined[name].nunique() > 1]
    if pooled:
        notes.append("Pooled over " + ", ".join(counted(joined[name].nunique(), name) for name in pooled) + ".")
    old_right, new_right = joined["right_old"] > 0.5, joined["right_new"] > 0.5
    cell = np.select([old_right & new_right, old_right, new_right], CELLS[:3], CELLS[3])
    return joined.assign(cell=cell).reset_index(drop=True), notes


SUMS = (*CELLS, "changed", "changed_and_new_wrong")


def _contributions(joined: pd.DataFrame) -> np.ndarray:
    """Give what each item adds to the sums, shape (items, 6); a guess adds its chances."""
    old, new = joined["right_old"].to_numpy(float), joined["right_new"].to_numpy(float)
    if "prediction_old" in joined.columns:
        answers = (
            joined[f"prediction_{side}"].astype(object).where(~joined[f"blank_{side}"], "") for side in ("old", "new")
        )
        changed = np.asarray(next(answers) != next(answers), dtype=float)
    else:
        changed = np.full(len(joined), np.nan)
    cells = (old * new, old * (1 - new), (1 - old) * new, (1 - old) * (1 - new))
    return np.stack([*cells, changed, changed * (1 - new)], axis=1)


def _units(joined: pd.DataFrame, sums: np.ndarray, asked: FlipsQuestion) -> tuple[np.ndarray, np.ndarray, str]:
    """Give the sums of each unit that is resampled, how many such units there are, and their name."""
    if asked.cluster:
        codes, names = pd.factorize(joined[asked.cluster], use_na_sentinel=False)
        units = np.zeros((len(names), sums.shape[1]))
        np.add.at(units, codes, sums)
        few = " Fewer than 10: such intervals are too narrow." if len(names) < 10 else ""
        note = f"Unit: the {asked.cluster}, resampled whole ({len(names)} of them, {len(joined):,} items).{few}"
        return units, np.ones(len(names), dtype=np.int64), note
    units, sizes = np.unique(np.nan_to_num(sums), axis=0, return_counts=True)
    return units, sizes, f"Unit: the item, n = {len(joined):,}."


RATES = ("accuracy_old", "accuracy_new", "accuracy_difference", "nfr", "pfr", "nfr_mc", "churn", "relative_nfr",
         "btc", "bec", "bec_over_old_errors", "nfi")  # fmt: skip


def rates_of(sums: np.ndarray) -> np.ndarray:
    """Give the rates, shape (..., 12) in the order of `RATES`, of sums, shape (..., 6) in the order of `SUMS`."""
    both, negative, positive, neither, changed, changed_wrong = np.moveaxis(sums, -1, 0)
    n = both + negative + positive + neither
    old, new = (both + negative) / n, (both + positive) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = negative / n / (old * (1 - new))
        btc = both / (both + negative)
        over_new, over_old = neither / (neither + negative), neither / (neither + positive)
        nfi = negative / (neither + negative)
    parts = (old, new, new - old, negative / n, positive / n, changed_wrong / n, changed / n, relative)
    return np.stack([*parts, btc, over_new, over_old, nfi], axis=-1)


def _rates_of_draws(units: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return rates_of(counts @ units)


def _estimates(
    totals: dict[str, float], drawn: np.ndarray, asked: FlipsQuestion, *, exact: bool, tested: bool
) -> dict[str, Estimate]:
    """Give the estimates; intervals are Wilson's where `exact`, the bootstrap's elsewhere."""
    sums = np.array([totals[name] for name in SUMS])
    both, negative, positive, neither, changed, changed_wrong = sums.tolist()
    n = both + negative + positive + neither
    values = dict(zip(RATES, rates_of(sums).tolist(), strict=True))
    fractions = {
        "accuracy_old": (both + negative, n), "accuracy_new": (both + positive, n), "nfr": (negative, n), "pfr": (positive, n),
        "nfr_mc": (changed_wrong, n), "churn": (changed, n), "btc": (both, both + negative),
        "bec": (neither, neither + negative), "bec_over_old_errors": (neither, neither + positive),
        "nfi": (negative, neither + negative),
    }  # fmt: skip
    units = {
        "btc": "of old right",
        "bec": "of new errors",
        "bec_over_old_errors": "of old errors",
        "nfi": "of new errors",
        "relative_nfr": "of the flips under independence",
    }
    estimates = {"n": Estimate(n, unit="items", why_no_interval="a count")}
    for name in CELLS:
        estimates[name] = Estimate(totals[name], unit="items", why_no_interval="a count; see the rates")
    for number, name in enumerate(RATES):
        if exact and name in fractions:
            low, high = (float(end) for end in wilson(*fractions[name], asked.level))
        else:
            low, high = (float(end) for end in percentile_interval(drawn[:, number], asked.level))
        why = "" if math.isfinite(low) and math.isfinite(values[name]) else "undefined on these items"
        if name in ("churn", "nfr_mc") and math.isnan(changed):
            why, low, high = "answers were not recorded, only whether they are right", math.nan, math.nan
        estimates[name] = Estimate(values[name], low, high, asked.level, units.get(name, ""), why)
    p = mcnemar_exact(round(negative), round(positive)) if tested else math.nan
    why = "an exact p-value" if tested else "no exact test of guessed credits"
    return estimates | {"mcnemar_p": Estimate(p, why_no_interval=why)}


def _by_group(joined: pd.DataFrame, sums: np.ndarray, asked: FlipsQuestion) -> pd.DataFrame:
    """Give flips by group, the largest first; one row 'all items' where there are no groups."""
    names = (
        joined[asked.group].astype(object).where(joined[asked.group].notna(), "none") if asked.group else "all items"
    )
    cells = pd.DataFrame(sums[:, :4], columns=list(CELLS)).assign(group=names)
    table = cells.groupby("group", sort=False).sum().assign(n=lambda t: t.sum(axis=1)).reset_index()
    table = table.sort_values("n", ascending=False, kind="stable", ignore_index=True)
    for name, column in (("nfr", "negative_flips"), ("pfr", "positive_flips")):
        low, high = wilson(table[column].to_numpy(), table["n"].to_numpy(), asked.level)
        table = table.assign(**{name: table[column] / table["n"], f"{name}_low": low, f"{name}_high": high})
    if asked.unanswered == "guess":
        return table
    flips = zip(table["negative_flips"], table["positive_flips"], strict=True)
    p = [mcnemar_exact(round(b), round(c)) for b, c in flips]
    return table.assign(mcnemar_p=p, mcnemar_p_holm=holm(p))


def _flipped(joined: pd.DataFrame, asked: FlipsQuestion) -> pd.DataFrame:
    """Give the items that flipped, with both answers; what broke comes first."""
    flipped = joined[joined["cell"].isin(["negative_flips", "positive_flips"])].sort_values("cell", kind="stable")
    named = ["task", "item", "sample", asked.group, "label", "prediction_old", "prediction_new"]
    columns = [name for name in dict.fromkeys([*named, "confidence_old", "confidence_new"]) if name in flipped.columns]
    flip = flipped["cell"].map({"negative_flips": "right to wrong", "positive_flips": "wrong to right"})
    return flipped[columns].assign(flip=flip).reset_index(drop=True)


def _definitions(asked: FlipsQuestion, groups: int) -> list[str]:
    resampled = asked.cluster or asked.unanswered == "guess"
    notes = [
        "bec is the share of new errors that old made too (both wrong / new wrong); over old errors it is given beside.",
        "nfi is the share of new errors that are new (negative flips / new wrong).",
        "relative_nfr is 1 where old and new err independently.",
        f"Rates: {'percentile bootstrap' if resampled else 'Wilson intervals'}; accuracy difference and relative_nfr: "
        f"percentile bootstrap, {asked.draws} draws, seed {asked.seed}. McNemar: exact, two-sided.",
    ]
    if asked.cluster:
        notes.append("McNemar's test takes items as independent; with clusters, read the interval of the difference.")
    if asked.group:
        notes.append(f"{groups} groups: intervals are Wilson's, McNemar p adjusted by Holm beside the raw one.")
    return notes


def figure(question: FlipsQuestion, result: FlipTable) -> FigureSpec:
    """Draw the 2 x 2 table, and the rates of both kinds of flip by group."""
    n = result.estimates["n"].value
    values = np.array([result.counts[name] for name in CELLS]).reshape(2, 2)
    texts = tuple(tuple(f"{_count(value)}\n{100 * value / n:.1f} %" for value in row) for row in values.tolist())
    cells = Cells(
        key="flips",
        values=values,
        rows=("old right", "old wrong"),
        columns=("new right", "new wrong"),
        texts=texts,
        low=0.0,
        label="items",
        origin=Clauses("predictions", tuple(result.items[name] for name in CELLS)),
    )
    table = Panel(
        key="table",
        x=Axis(label=result.new, scale="category", names=cells.columns),
        y=Axis(label=result.old, scale="category", names=cells.rows, inverted=True),
        marks=(cells,),
        title="Items",
        square=True,
    )
    groups = result.tables["groups"].head(_MOST_GROUPS)
    names = tuple(str(name) for name in groups["group"])
    at = np.arange(len(groups), dtype=float)
    bars = []
    for name, column, hue, label, shift in (
        ("nfr", "negative_flips", "bad", "right to wrong", -0.2),
        ("pfr", "positive_flips", "good", "wrong to right", 0.2),
    ):
        rates, low, high = (groups[key].to_numpy(float) for key in (name, f"{name}_low", f"{name}_high"))
        notes = tuple(
            f"{group}, {label}: {_count(count)} of {_count(size)} items, {100 * rate:.2f} %"
            for group, count, size, rate in zip(names, groups[column], groups["n"], rates, strict=True)
        )
        behind = (
            [is_in(result.group, (group,)) for group in groups["group"]] if result.group else [result.items[column]]
        )
        bars.append(
            Bars(
                key=name, at=at + shift, height=100 * rates, width=0.36, horizontal=True, hue=hue, label=label,
                low=100 * low, high=100 * high, origin=Clauses("predictions", tuple(behind)), notes=notes,
            )
        )  # fmt: skip
    panel = Panel(
        key="rates",
        x=Axis(label="flips (% of items)", low=0.0),
        y=Axis(label=result.group, scale="category", names=names, inverted=True),
        marks=(*bars, Rule(key="zero", axis="x", at=0.0, hue="line", dash="solid")),
        title="Flips by " + result.group if result.group else "Flips",
    )
    cut = f", the {_MOST_GROUPS} largest groups" if len(result.tables["groups"]) > _MOST_GROUPS else ""
    level = f"{100 * result.level:g} % Wilson intervals"
    return FigureSpec(
        title=f"{result.old} → {result.new}",
        subtitle=f"{n:,.0f} items answered by both, {level}{cut}",
        panels=(table, panel),
        columns=2,
        caption=f"{result.summary()} Bars: {level} over items. {result.notes[0]}",
    )


def _count(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


ANALYSIS = Analysis(
    id="compat.flips",
    title="Flips between versions",
    asks="What did the update break that used to work?",
    question=FlipsQuestion,
    figure=figure,
    sources=(
        "Yan et al. (2021), Positive-Congruent Training: negative flip rate, relative NFR",
        "Bansal et al. (2019), Updates in Human-AI Teams; Srivastava et al. (2020): backward trust and error compatibility",
        "Echterhoff et al. (2024), MUSCLE: NFR for multiple choice",
        "McNemar (1947); Wilson (1927)",
    ),
    definition="""\
On items both answered: NFR = share right before and wrong now; PFR the reverse; accuracy changes by PFR − NFR. NFR_mc =
share wrong now whose answer changed; churn = share whose answer changed = NFR_mc + PFR. BTC = P(new right | old right)
= 1 − NFR / accuracy_old; BEC = P(old wrong | new wrong); NFI = negative flips / new errors; relative NFR = NFR /
(accuracy_old · error_new), 1 under independence.

Unit: the item, or the cluster. Trap: part of the NFR is sampling noise; compare with the NFR between two repeats of one
model. """,
)
