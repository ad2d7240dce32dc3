"""``judges.position-bias``: whether a verdict would change if the answers were swapped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Cells, Clauses, FigureSpec, Mark, Panel
from ...models.natural_order import natural_order
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted
from ...models.selection import is_in
from ...models.store import RunStore
from ..answer_marks import dots, named_axis, zero
from ..answers import present
from ..resampling import DRAWS, bootstrap, mcnemar_exact, percentile_interval, wilson

VERDICTS = ("wins", "ties", "loses")
_MOST_JUDGES = 12
_LISTED = 200


@dataclass(frozen=True, kw_only=True)
class PositionBias(Result):
    """Verdicts in both orders.

    Attributes
    ----------
    focus : str
        The judge whose table is drawn: of those with most pairs the one that changes its verdict most.
    flow : ndarray, shape (3, 3)
        Pairs of the focus by the verdict on one model shown first (rows) and shown second (columns): wins, ties, loses.
    level : float
        Coverage of the intervals.
    """

    focus: str
    flow: np.ndarray
    level: float

    def summary(self) -> str:
        """Give the answer in one sentence."""
        e = self.estimates
        name = "" if len(self.tables["judges"]) == 1 else f"{self.focus}/"
        conflict, first, p = (e[name + key] for key in ("conflict", "first_position", "p_sign"))
        return (
            f"{self.focus} changes its verdict in {100 * conflict.value:.1f} % [{100 * conflict.low:.1f}, "
            f"{100 * conflict.high:.1f}] of {int(e[name + 'pairs'].value):,} pairs when the answers are swapped; the one shown "
            f"first scores {100 * (0.5 + first.value):.1f} % where 50 would be fair (sign test of flips p = {p.value:.2g})."
        )


@dataclass(frozen=True, kw_only=True)
class PositionBiasQuestion(Question):
    """Would the verdict change if answers were swapped?"""

    needs: ClassVar[tuple[Need, ...]] = (Need("comparisons"),)

    judge: str = option(
        "",
        help="the judge to show in full; of those with most pairs the one that changes most if empty",
        choices="comparisons.judge",
    )
    human: str = option(
        "", help="the judge whose verdicts count as the truth; none if empty", choices="comparisons.judge"
    )
    dimension: str = option("", help="only what was judged so; all if empty", choices="comparisons.dimension")
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> PositionBias:
        """Join the two orders of every pair, and resample items."""
        pairs, notes, humans = _pairs(store, self)
        if pairs.empty:
            raise TooLittleData(
                needs="pairs that were judged in both orders", found="none",
                remedy="With one order only, position and quality cannot be told apart.",
            )  # fmt: skip
        judges = sorted(pairs["judge"].unique(), key=natural_order)
        if self.judge and self.judge not in judges:
            raise AnalysisError(
                f"No judge called {self.judge!r} judged both orders.",
                remedy="There are: " + ", ".join(judges[:12]) + ".",
            )
        asked_most = pairs.groupby("judge", sort=False).agg(pairs=("one", "size"), conflict=("conflict", "mean"))
        focus = self.judge or str(
            asked_most.sort_values(["pairs", "conflict"], ascending=False, kind="stable").index[0]
        )
        items, found = pd.factorize(pairs["cluster"])
        codes = pd.factorize(pairs["judge"], sort=False)
        places = {str(name): number for number, name in enumerate(codes[1])}
        columns = [*_SUMS, *(["right_first", "right_second", "right_balanced", "judged"] if humans else [])]
        sums = np.zeros((len(found), len(judges), len(columns)))
        order = np.array([places[name] for name in judges])
        turn = np.empty(len(order), dtype=int)
        turn[order] = np.arange(len(order))
        np.add.at(sums, (items, turn[codes[0]]), pairs[columns].to_numpy(float))
        drawn = bootstrap(
            partial(_rates_of_draws, sums.reshape(len(found), -1), len(judges)), len(found), draws=self.draws, seed=self.seed,
            engine=engine, progress=progress,
        )  # fmt: skip
        totals = sums.sum(axis=0)
        values = _rates(totals[None])[0]
        low, high = (np.asarray(end) for end in percentile_interval(drawn, self.level))
        estimates: dict[str, Estimate] = {}
        rows = []
        for number, name in enumerate(judges):
            own, row = _of_judge(totals[number], values[number], low[number], high[number], self.level)
            rows.append({"judge": name} | row)
            prefix = f"{name}/" if len(judges) > 1 else ""
            estimates |= {prefix + key: one for key, one in own.items()}
        unsure = pairs[pairs["entropy"] > 0].sort_values("entropy", ascending=False, kind="stable").head(_LISTED)
        listed = ["judge", "item", "first", "second", "balanced", "entropy", "conflict"]
        flow = np.stack(pairs.loc[pairs["judge"] == focus, "flow"].to_list()).sum(axis=0)
        return PositionBias(
            focus=focus,
            flow=flow,
            level=self.level,
            estimates=estimates,
            tables={
                "judges": pd.DataFrame(rows),
                "pairs": unsure[listed].reset_index(drop=True),
            },
            notes=(
                f"Unit: the item, n = {len(found):,}, with all its pairs and judges; {100 * self.level:g} % percentile "
                f"bootstrap (Wilson at 0 and 100 %), {self.draws} draws, seed {self.seed}. Sign test: exact, two-sided, pairs "
                "as independent.",
                *notes,
                "Ties count one half for both. A judge that often says tie has fewer conflicts.",
            ),
        )


_SUMS = ("one", "conflict", "excess", "first_twice", "second_twice", "entropy")


def _pairs(store: RunStore, asked: PositionBiasQuestion) -> tuple[pd.DataFrame, list[str], bool]:
    """Give one row a judge and pair that was judged in both orders."""
    frame = store.rows("comparisons")
    notes: list[str] = []
    if asked.dimension:
        frame = (
            frame[frame["dimension"].astype(str) == asked.dimension] if "dimension" in frame.columns else frame.iloc[:0]
        )
        if frame.empty:
            raise AnalysisError(f"No comparison is of the dimension {asked.dimension!r}.")
    verdict = frame["winner"].astype(str).str.lower()
    known = verdict.isin(["a", "b", "tie"])
    if lost := int((~known).sum()):
        notes.append(f"{counted(lost, 'comparison')} left out: no winner named.")
    frame, verdict = frame[known], verdict[known]
    a, b = frame["a"].astype(str), frame["b"].astype(str)
    one, two = a.where(a <= b, b), b.where(a <= b, a)
    score = verdict.map({"a": 1.0, "tie": 0.5, "b": 0.0})
    table = pd.DataFrame(
        {
            "judge": frame["judge"].astype(str) if "judge" in frame.columns else "the judge",
            "item": frame["item"].astype(str) if "item" in frame.columns else one + " / " + two,
            "dimension": frame["dimension"].astype(str) if "dimension" in frame.columns else "",
            "first": one, "second": two,
            # The score of the model that comes first in the alphabet, and whether it was shown first.
            "score": score.where(a <= b, 1 - score), "shown_first": a <= b,
        }
    )  # fmt: skip
    key = ["judge", "item", "dimension", "first", "second"]
    table, said = _by_order(table, frame, key)
    notes += said
    humans = table[table["judge"] == asked.human] if asked.human else table.iloc[:0]
    if asked.human and humans.empty:
        raise AnalysisError(f"No judge is called {asked.human!r}.")
    truth = humans.groupby(key[1:])["score"].mean().map(_sign) if len(humans) else pd.Series(dtype=float)
    others = table[table["judge"] != asked.human]
    rows = []
    alone = 0
    for values, part in others.groupby(key, sort=False):
        shown = part["shown_first"].to_numpy(bool)
        ahead, behind = part["score"].to_numpy(float)[shown], part["score"].to_numpy(float)[~shown]
        if not len(ahead) or not len(behind):
            alone += 1
            continue
        rows.append(dict(zip(key, values, strict=True)) | _of_pair(ahead, behind))
    if alone:
        notes.append(
            f"{counted(alone, 'pair')} left out: judged in one order only, where position and quality are one."
        )
    pairs = pd.DataFrame(rows, columns=None if rows else [*key, *_SUMS])
    if not len(pairs):
        return pairs, notes, False
    pairs = pairs.assign(cluster=pairs["item"])
    if len(truth):
        right = pd.MultiIndex.from_frame(pairs[key[1:]]).map(truth.to_dict())
        pairs["truth"] = np.asarray(right, float)
        judged = pairs["truth"].notna().to_numpy(float)
        for name, scores in (("first", "ahead"), ("second", "behind"), ("balanced", "balanced")):
            said_so = pairs[scores].map(_sign).to_numpy(float)
            pairs[f"right_{name}"] = np.where(judged > 0, said_so == pairs["truth"].to_numpy(float), 0.0)
        pairs["judged"] = judged
        notes.append(f"{int(judged.sum()):,} pairs have a verdict of {asked.human}.")
    return pairs, notes, bool(len(truth))


def _sign(score: float) -> float:
    return float(np.sign(round(score - 0.5, 9)))


def _by_order(table: pd.DataFrame, frame: pd.DataFrame, key: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """Read who was shown first off the column `order` where a and b are never swapped."""
    if table.groupby(key)["shown_first"].nunique().max() != 1 or not present(frame, ["order"]):
        return table, []
    orders = sorted(frame["order"].dropna().astype(str).unique(), key=natural_order)
    if len(orders) != 2:
        return table, []
    swapped = (frame["order"].astype(str) == orders[1]).to_numpy(bool)
    said = f"a and b are never swapped: order {orders[0]!r} is read as a shown first, {orders[1]!r} as b."
    return table.assign(shown_first=table["shown_first"].to_numpy(bool) != swapped), [said]


def _of_pair(ahead: np.ndarray, behind: np.ndarray) -> dict[str, object]:
    """Give what one pair adds: scores of one model where it was shown first (`ahead`) and where second (`behind`)."""
    shares = [np.array([(part == s).mean() for s in (1.0, 0.5, 0.0)]) for part in (ahead, behind)]
    flow = np.outer(*shares)
    both = np.concatenate([ahead, behind])
    p = np.array([(both == s).mean() for s in (1.0, 0.5, 0.0)])
    entropy = float(-(p[p > 0] * np.log(p[p > 0])).sum())
    return {
        "one": 1.0,
        "conflict": float(1 - np.trace(flow)),
        # The score of whoever was shown first, less one half: of this model ahead, of the other one where this is behind.
        "excess": float((ahead.mean() + 1 - behind.mean()) / 2 - 0.5),
        "first_twice": float(flow[0, 2]),
        "second_twice": float(flow[2, 0]),
        "entropy": entropy,
        "ahead": float(ahead.mean()),
        "behind": float(behind.mean()),
        "balanced": float((ahead.mean() + behind.mean()) / 2),
        "flow": flow,
    }


_RATES = ("conflict", "first_position", "first_twice", "second_twice", "entropy", "right_first", "right_second",
          "right_balanced", "balanced_gain")  # fmt: skip


def _rates(sums: np.ndarray) -> np.ndarray:
    """Give rates, shape (..., 9) in the order of `_RATES`, of sums; NaN where no truth is known."""
    n = sums[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [sums[..., i] / n for i in range(1, 6)]
        if sums.shape[-1] > len(_SUMS):
            judged = sums[..., 9]
            right = [sums[..., i] / judged for i in (6, 7, 8)]
            parts += [*right, right[2] - (right[0] + right[1]) / 2]
        else:
            parts += [np.full(n.shape, np.nan)] * 4
    return np.stack(parts, axis=-1)


def _rates_of_draws(sums: np.ndarray, judges: int, counts: np.ndarray) -> np.ndarray:
    return _rates((counts @ sums).reshape(len(counts), judges, -1))


def _of_judge(
    totals: np.ndarray, values: np.ndarray, low: np.ndarray, high: np.ndarray, level: float
) -> tuple[dict[str, Estimate], dict[str, float]]:
    units = {"entropy": "nats", "first_position": "above one half"}
    own = {"pairs": Estimate(float(totals[0]), unit="pairs", why_no_interval="a count")}
    row: dict[str, float] = {"pairs": float(totals[0])}
    for name, value, a, b in zip(_RATES, values, low, high, strict=True):
        if not math.isnan(value):
            if value in (0.0, 1.0) and name in ("conflict", "first_twice", "second_twice"):
                a, b = wilson(value * totals[0], totals[0], level)  # where no resample can differ
            own[name] = Estimate(float(value), float(a), float(b), level, units.get(name, "of pairs"))
            row |= {name: float(value), f"{name}_low": float(a), f"{name}_high": float(b)}
    p = mcnemar_exact(round(float(totals[3])), round(float(totals[4])))
    own["p_sign"] = Estimate(p, why_no_interval="an exact p-value")
    return own, row | {"p_sign": p}


def figure(question: PositionBiasQuestion, result: PositionBias) -> FigureSpec:
    """Draw conflicts and the advantage of the first place by judge, and where verdicts of one judge go when swapped."""
    table = result.tables["judges"].sort_values("conflict", ascending=False).head(_MOST_JUDGES)
    names = [str(name) for name in table["judge"]]
    origin = Clauses("comparisons", tuple(is_in("judge", (name,)) for name in names))
    marks: list[Mark] = [zero()]
    for key, label, hue, shift in (
        ("conflict", "verdict changes", "c1", -0.15), ("first_position", "first place above one half", "c0", 0.15),
    ):  # fmt: skip
        value, low, high = (100 * table[f"{key}{end}"].to_numpy(float) for end in ("", "_low", "_high"))
        marks += dots(
            key,
            names,
            value,
            low,
            high,
            hue=hue,
            label=label,
            shift=shift,
            origin=origin,
            n=table["pairs"].to_numpy(int),
        )
    total = max(float(result.flow.sum()), 1e-300)
    texts = tuple(tuple(f"{cell:,.0f}\n{100 * cell / total:.0f} %" for cell in row) for row in result.flow.tolist())
    words = tuple(f"{verdict}" for verdict in VERDICTS)
    flow = Panel(
        key="flow",
        x=Axis(label="shown second it", scale="category", names=words),
        y=Axis(label="shown first it", scale="category", names=words, inverted=True),
        marks=(
            Cells(
                key="flow", values=result.flow, rows=words, columns=words, texts=texts, low=0.0, label="pairs",
                origin=Clauses("comparisons", (is_in("judge", (result.focus,)),) * 9),
            ),
        ),
        title=f"{result.focus}: one answer in both places",
        square=True,
    )  # fmt: skip
    bars = Panel(
        key="judges", x=Axis(label="% of pairs"), y=named_axis(names), marks=tuple(marks), title="Bias by judge"
    )
    return FigureSpec(
        title="Position bias",
        subtitle=f"{int(table['pairs'].sum()):,} pairs in both orders, {100 * result.level:g} % bootstrap over items",
        panels=(bars, flow),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )


ANALYSIS = Analysis(
    id="judges.position-bias",
    title="Position bias",
    asks="Would the verdict change if answers were swapped?",
    question=PositionBiasQuestion,
    figure=figure,
    sources=(
        "Wang et al. (2023), Large Language Models are not Fair Evaluators: conflict rate, balanced position calibration, BPDE",
        "Zhang et al. (2024), RevisEval; Wu and Aji (2023), Style Over Substance",
    ),
    definition="""\
For a pair judged in both orders: it conflicts where the two verdicts name different winners (over all pairs of samples where
there are several); first_position = score of the answer shown first − ½, ties ½; first_twice (second_twice) is the share in
which whoever is shown first (second) wins both times, and the sign test compares the two. Balanced score = mean over orders and
samples; entropy = −Σ p log p of its verdicts (win, tie, lose), whose highest pairs are listed for people to judge. With a judge
named as human: agreement with it of the verdicts in either order and of the balanced one, and what balancing gains.

Unit: the item with all its pairs. With one order only, position and quality cannot be told apart; such pairs are left out.
Trap: ties shrink conflict. """,
)
