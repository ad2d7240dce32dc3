"""``compat.paired-test``: whether a difference on these items is real."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Bars, Cells, Clauses, FigureSpec, Panel, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result, counted, shortened, significant
from ...models.selection import Clause
from ...models.store import RunStore
from ..answer_sheet import PairQuestion, Sheet, answer_sheet, cluster_units, unit_sums
from ..paired_tests import (
    benjamini_hochberg,
    clopper_pearson,
    cochran_q,
    corrected_resampled_t,
    five_by_two_f,
    five_by_two_t,
    mcnemar_chi_square,
    mcnemar_exact_all,
    mcnemar_mid_p,
    odds_ratio_interval,
    said_p,
    sign_flip_p,
)
from ..resampling import DRAWS, holm

_MOST_TEXTS = 14


@dataclass(frozen=True, kw_only=True)
class PairedTest(Result):
    """Tests of old against new, and of all versions.

    Attributes
    ----------
    old, new : str
        The two compared.
    counts : dict of str to float
        both, b (only old right), c (only new right), neither.
    items : dict of str to Clause
        Items of each of these.
    names : tuple of str
        All versions, where there are more than two.
    adjusted : ndarray, shape (versions, versions)
        Pairwise exact p, adjusted.
    pairs_items : tuple of Clause
        Items on which each pair of versions differs, row by row.
    """

    old: str
    new: str
    counts: dict[str, float]
    items: dict[str, Clause]
    names: tuple[str, ...]
    adjusted: np.ndarray
    pairs_items: tuple[Clause, ...]

    def summary(self) -> str:
        """Give the answer in one sentence."""
        b, c = (f"{self.counts[name]:,.0f}" for name in ("b", "c"))
        if self.counts["b"] + self.counts["c"] == 0:
            return f"{self.old} and {self.new} have identical outcomes on all {self.estimates['n'].value:,.0f} items."
        said = (
            f"Of {self.estimates['n'].value:,.0f} items {self.old} alone has {b} right and {self.new} alone {c}: exact "
            f"McNemar p {said_p(self.estimates['mcnemar_p'].value)}, "
            f"mid-p {said_p(self.estimates['mid_p'].value)}"
        )
        if "cochran_q" in self.estimates:
            said += (
                f"; over {len(self.names)} versions Cochran's Q = {self.estimates['cochran_q'].value:,.1f}, "
                f"p {said_p(self.estimates['cochran_p'].value)}"
            )
        return said + "."


@dataclass(frozen=True, kw_only=True)
class PairedTestQuestion(PairQuestion):
    """Is the difference real on these items?"""

    versions: tuple[str, ...] = option(
        (), help="versions to test together; all if empty", choices="predictions.version|predictions.model"
    )
    adjust: Literal["holm", "bh"] = option(
        "holm", help="adjusts pairwise p for their number: family-wise (holm) or false discovery rate (bh)"
    )
    cluster: str = option(
        "",
        help="column of items that belong together; signs are flipped for whole ones",
        choices="columns of predictions",
    )
    repeat: str = option(
        "", help="column of the repeat of a cross-validation", choices="columns of predictions", advanced=True
    )
    fold: str = option(
        "", help="column of the fold of a cross-validation", choices="columns of predictions", advanced=True
    )
    draws: int = option(DRAWS, help="random sign flips", low=100, high=1_000_000, advanced=True)
    seed: int = option(0, help="seed of the sign flips", low=0, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> PairedTest:
        """Count the items on which versions differ, and test."""
        asked = self.resolved(store)
        if asked.unanswered == "guess":
            raise AnalysisError(
                "A guessed credit is neither right nor wrong.", remedy="Count no answer as wrong or drop it."
            )
        about = (asked.cluster, asked.fold, asked.repeat)
        key = tuple(name for name in (asked.repeat,) if name)
        pair = answer_sheet(store, asked, (asked.old, asked.new), about=about, key=key)
        masks, counts = _table(pair)
        estimates = _estimates(counts, asked.level)
        units, number, unit = cluster_units(pair, asked.cluster)
        notes = [unit, *pair.notes]
        if asked.cluster:
            sums = unit_sums(pair.right[:, 1] - pair.right[:, 0], units, number)
            p = sign_flip_p(sums, draws=asked.draws, seed=asked.seed, engine=engine, progress=progress)
            estimates["sign_flip_p"] = Estimate(p, why_no_interval="a p-value over whole clusters")
            notes.append(
                f"sign_flip_p flips the signs of whole clusters ({asked.draws} draws, seed {asked.seed}; exact up to 12); "
                "the other tests take items as independent."
            )
        tables = {"tests": _tests(counts)}
        if asked.fold:
            folds, found, said = _fold_tests(pair, asked)
            tables["folds"] = folds
            estimates |= found
            notes += said
        joint, adjusted, behind = _together(store, asked, tables, estimates, notes)
        flip = np.where(masks["b"], "right to wrong", "wrong to right")
        differ = masks["b"] | masks["c"]
        listed = pair.listed(differ, (0, 1), ("old", "new")).assign(flip=flip[differ])
        tables["items"] = listed.sort_values("flip", kind="stable", ignore_index=True)
        if counts["b"] + counts["c"] < 25:
            notes.append("Fewer than 25 items differ: use the exact or the mid-p, not the chi-square.")
        return PairedTest(
            old=asked.old,
            new=asked.new,
            counts=counts,
            items={name: pair.clause(mask) for name, mask in masks.items()},
            names=joint,
            adjusted=adjusted,
            pairs_items=behind,
            estimates=estimates,
            tables=tables,
            notes=tuple(notes),
        )


def _table(sheet: Sheet) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    old, new = sheet.right[:, 0] > 0.5, sheet.right[:, 1] > 0.5
    masks = {"both": old & new, "b": old & ~new, "c": ~old & new, "neither": ~old & ~new}
    return masks, {name: float(mask.sum()) for name, mask in masks.items()}


def _estimates(counts: dict[str, float], level: float) -> dict[str, Estimate]:
    b, c = int(counts["b"]), int(counts["c"])
    exact = "a p-value"
    low, high = clopper_pearson(b, b + c, level)
    odds = odds_ratio_interval(b, c, level)
    chi, chi_p = mcnemar_chi_square(b, c)
    none = "" if b + c else "identical outcomes: no item tells them apart"
    ratio = math.nan if b + c == 0 else math.inf if c == 0 else b / c
    finite = math.isfinite(float(odds.high))
    return {
        "n": Estimate(sum(counts.values()), unit="items", why_no_interval="a count"),
        "b": Estimate(b, unit="items only old has right", why_no_interval="a count"),
        "c": Estimate(c, unit="items only new has right", why_no_interval="a count"),
        "share_old_only": Estimate(
            b / (b + c) if b + c else math.nan, float(low), float(high), level, "of the items that differ", none
        ),
        "odds_ratio": Estimate(
            ratio, float(odds.low) if finite else math.nan, float(odds.high) if finite else math.nan, level, "b / c",
            none or ("" if finite else f"unbounded above; at least {significant(float(odds.low))}"),
        ),
        "mcnemar_p": Estimate(float(mcnemar_exact_all(b, c)), why_no_interval=exact),
        "mid_p": Estimate(mcnemar_mid_p(b, c), why_no_interval=exact),
        "chi_square": Estimate(chi, why_no_interval=none or "a statistic, 1 degree of freedom"),
        "chi_square_p": Estimate(chi_p, why_no_interval=none or exact),
    }  # fmt: skip


def _tests(counts: dict[str, float]) -> pd.DataFrame:
    b, c = int(counts["b"]), int(counts["c"])
    chi, chi_p = mcnemar_chi_square(b, c)
    exact = float(mcnemar_exact_all(b, c))
    return pd.DataFrame(
        [
            {"test": "McNemar, exact", "statistic": float(min(b, c)), "df": "", "p": exact},
            {"test": "McNemar, mid-p", "statistic": float(min(b, c)), "df": "", "p": mcnemar_mid_p(b, c)},
            {"test": "McNemar, chi-square, corrected", "statistic": chi, "df": "1", "p": chi_p},
        ]
    )


def _fold_tests(sheet: Sheet, asked: PairedTestQuestion) -> tuple[pd.DataFrame, dict[str, Estimate], list[str]]:
    """Give the difference of each fold, and the tests over folds that its design allows."""
    columns = [name for name in (asked.repeat, asked.fold) if name]
    frame = sheet.items[columns].assign(d=sheet.right[:, 1] - sheet.right[:, 0])
    folds = frame.groupby(columns, sort=True, observed=True)["d"].agg(["mean", "size"]).reset_index()
    folds = folds.rename(columns={"mean": "difference", "size": "n"})
    if len(folds) < 2:
        raise TooLittleData(needs="two folds or more", found=str(len(folds)))
    found, notes = {}, []
    per_repeat = folds.groupby(asked.repeat)["n"].sum() if asked.repeat else pd.Series([folds["n"].sum()])
    share = float(folds["n"].mean() / per_repeat.mean())
    d = folds["difference"].to_numpy(float)
    results = [("corrected_t", corrected_resampled_t(d, share))]
    sizes = folds.groupby(asked.repeat).size() if asked.repeat else pd.Series([len(folds)])
    if len(sizes) == 5 and (sizes == 2).all():
        results += [("cv52_t", five_by_two_t(d.reshape(5, 2))), ("cv52_f", five_by_two_f(d.reshape(5, 2)))]
    else:
        notes.append(f"No 5 x 2 cv test: {counted(len(sizes), 'repeat')} of {sizes.min()} to {sizes.max()} folds.")
    for name, test in results:
        df = ", ".join(map(str, test.df))
        why = "undefined: folds do not vary" if math.isnan(test.statistic) else f"a statistic, df {df}"
        found[name] = Estimate(test.statistic, why_no_interval=why)
        found[f"{name}_p"] = Estimate(test.p, why_no_interval="a p-value" if math.isfinite(test.p) else why)
    notes.append(
        f"corrected_t: Nadeau and Bengio over {len(d)} folds, test share {share:.2f}; cv52_t: Dietterich; cv52_f: Alpaydin. "
        "Items of a fold are one unit there."
    )
    return folds, found, notes


def _together(
    store: RunStore, asked: PairedTestQuestion, tables: dict[str, pd.DataFrame], estimates: dict[str, Estimate],
    notes: list[str],
) -> tuple[tuple[str, ...], np.ndarray, tuple[Clause, ...]]:  # fmt: skip
    """Test all versions together and in pairs, where there are more than two."""
    key = tuple(name for name in (asked.repeat,) if name)
    sheet = answer_sheet(store, asked, asked.versions, about=(asked.cluster, asked.fold, asked.repeat), key=key)
    k = len(sheet.names)
    if k < 3:
        return (), np.zeros((0, 0)), ()
    right = sheet.right
    q = cochran_q(right)
    estimates["cochran_q"] = Estimate(q.statistic, why_no_interval=f"a statistic, df {q.df}")
    estimates["cochran_p"] = Estimate(q.p, why_no_interval="a p-value")
    only = right.T @ (1 - right)  # row right, column wrong
    i, j = np.triu_indices(k, 1)
    p = mcnemar_exact_all(only[i, j], only[j, i])
    adjusted = holm(p) if asked.adjust == "holm" else benjamini_hochberg(p)
    names = np.array(sheet.names, dtype=object)
    tables["pairs"] = pd.DataFrame(
        {"a": names[i], "b": names[j], "only_a": only[i, j].astype(int), "only_b": only[j, i].astype(int), "p": p,
         "p_adjusted": adjusted}
    )  # fmt: skip
    square = np.full((k, k), np.nan)
    square[i, j] = square[j, i] = adjusted
    said = "Holm (family-wise)" if asked.adjust == "holm" else "Benjamini and Hochberg (false discovery rate)"
    notes.append(
        f"Cochran's Q over {len(sheet):,} items all {k} versions answered; {len(p)} pairwise exact tests adjusted by {said}."
    )
    behind = tuple(
        sheet.clause(right[:, a] != right[:, b], (sheet.names[a], sheet.names[b])) for a in range(k) for b in range(k)
    )
    return sheet.names, square, behind


def figure(question: PairedTestQuestion, result: PairedTest) -> FigureSpec:
    """Draw the 2 x 2 table, what chance alone would give, and the pairwise p of all versions."""
    order = ("both", "b", "c", "neither")
    counts = np.array([result.counts[name] for name in order]).reshape(2, 2)
    n = result.estimates["n"].value
    table = Panel(
        key="table",
        x=Axis(label=shortened(result.new, 30), scale="category", names=("right", "wrong")),
        y=Axis(label=shortened(result.old, 30), scale="category", names=("right", "wrong"), inverted=True),
        marks=(
            Cells(
                key="table", values=counts, rows=("right", "wrong"), columns=("right", "wrong"),
                texts=tuple(tuple(f"{v:,.0f}\n{100 * v / n:.1f} %" for v in row) for row in counts.tolist()),
                low=0.0, label="items", origin=Clauses("predictions", tuple(result.items[name] for name in order)),
            ),
        ),
        title="Items",
        square=True,
    )  # fmt: skip
    panels = [table]
    if result.counts["b"] + result.counts["c"]:
        panels.append(_chance(result))
    if len(result.names) > 2:
        panels.append(_pairwise(question, result))
    return FigureSpec(
        title=f"{result.old} against {result.new}",
        subtitle=f"{n:,.0f} items both answered; exact McNemar p {said_p(result.estimates['mcnemar_p'].value)}",
        panels=tuple(panels),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )


def _chance(result: PairedTest) -> Panel:
    """Draw how many items only old would have right, if chance decided each that differs."""
    from scipy.special import gammaln

    b, c = int(result.counts["b"]), int(result.counts["c"])
    total = b + c
    reach = max(4 * math.sqrt(total) / 2, abs(b - total / 2) * 1.1, 2)
    at = np.arange(max(0, math.floor(total / 2 - reach)), min(total, math.ceil(total / 2 + reach)) + 1)
    log = gammaln(total + 1) - gammaln(at + 1) - gammaln(total - at + 1) - total * math.log(2)
    return Panel(
        key="chance",
        x=Axis(label="items only old has right", column="b"),
        y=Axis(label="probability under no difference", low=0.0),
        marks=(
            Bars(key="chance", at=at.astype(float), height=np.exp(log), width=1.0, hue="muted", label="by chance"),
            Rule(
                key="seen",
                axis="x",
                at=float(b),
                hue="accent",
                label=f"seen: {b:,} of {total:,}",
                dash="solid",
                width=2.0,
            ),
        ),
        title="Seen against chance",
    )


def _pairwise(question: PairedTestQuestion, result: PairedTest) -> Panel:
    k = len(result.names)
    values = -np.log10(np.maximum(result.adjusted, 1e-12))
    names = tuple(shortened(name, 22) for name in result.names)
    texts = tuple(
        tuple("" if math.isnan(p) or k > _MOST_TEXTS else "<.001" if p < 1e-3 else f"{p:.2g}" for p in row)
        for row in result.adjusted.tolist()
    )
    return Panel(
        key="pairs",
        x=Axis(scale="category", names=names),
        y=Axis(scale="category", names=names, inverted=True),
        marks=(
            Cells(
                key="pairs", values=values, rows=names, columns=names, texts=texts, low=0.0, high=12.0,
                label=f"−log10 p, adjusted ({question.adjust})", origin=Clauses("predictions", result.pairs_items),
            ),
        ),
        title="Pairwise p, adjusted",
        square=True,
    )  # fmt: skip


ANALYSIS = Analysis(
    id="compat.paired-test",
    title="Paired tests",
    asks="Is the difference real on these items?",
    question=PairedTestQuestion,
    figure=figure,
    sources=(
        "McNemar (1947); Fagerland, Lydersen and Laake (2013): mid-p",
        "Cochran (1950); Holm (1979); Benjamini and Hochberg (1995)",
        "Dietterich (1998): 5 x 2 cv t; Alpaydin (1999): 5 x 2 cv F; Nadeau and Bengio (2003): corrected resampled t",
    ),
    definition="""\
b items only old has right, c only new: where neither is better b is Binomial(b + c, 1/2). Exact: twice the smaller
tail; mid-p: that less half the probability of what was seen, on both sides; chi-square: (|b − c| − 1)² / (b + c). The
odds ratio b / c has the exact interval of b / (b + c). k versions: Cochran's Q, then pairwise exact tests, adjusted.
Cross-validation (columns `repeat` and `fold`): differences of accuracy by fold; the 5 x 2 cv t and F, and the
corrected resampled t.

Unit: the item; with clusters, read `sign_flip_p`. Trap: items that belong together make every item-level test too
sure. """,
)
