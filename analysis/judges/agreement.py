"""``judges.agreement``: whether a judge agrees with people as well as people with each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.figure import Axis, Cells, FigureSpec, Mark, Panel
from ...models.progress import Progress, quiet
from ...models.question import Analysis
from ...models.result import Estimate, Result, counted, shortened
from ...models.store import RunStore
from ..agreement import Coincidences, agreement_with_mode, fleiss_kappa, intraclass_correlations, kappa_of
from ..answer_marks import dots, named_axis, zero
from ..rater_table import RatersQuestion, RaterTable, rater_table
from ..resampling import bootstrap, percentile_interval

_MOST_CATEGORIES = 60
"""Different ratings up to which tables of them are counted; beyond, only what needs numbers is given."""
_MOST_RATERS = 30
_MOST_TEXTS = 12
_FEW_ITEMS = 10


@dataclass(frozen=True, kw_only=True)
class Agreement(Result):
    """How far raters agree.

    Attributes
    ----------
    table : RaterTable
        The ratings.
    judge : str
        The rater that is held against the others; empty where none is.
    level : float
        Coverage of the intervals.
    """

    table: RaterTable
    judge: str
    level: float

    def summary(self) -> str:
        """Give the answer in one sentence."""
        e = self.estimates
        n = int(e["n"].value)
        alpha = e["krippendorff_alpha"]
        said = (
            f"{len(self.table.names)} raters of {n:,} items agree in {100 * e['p_o'].value:.1f} % of pairs of ratings; "
            f"Krippendorff's alpha ({self.table.scale}) {alpha.value:.3f}"
        )
        if alpha.has_interval:
            said += f" [{alpha.low:.3f}, {alpha.high:.3f}]"
        if "judge" in e and "ceiling" in e:
            said += (
                f". {self.judge} agrees with the mode of the others in {100 * e['judge'].value:.1f} %, one of them with the "
                f"rest in {100 * e['ceiling'].value:.1f} %"
            )
        elif "cohen_kappa" in e:
            said += f", Cohen's kappa {e['cohen_kappa'].value:.3f}"
        return said + "."


@dataclass(frozen=True, kw_only=True)
class AgreementQuestion(RatersQuestion):
    """Does the judge agree with people as well as people with each other?"""

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> Agreement:
        """Compute the coefficients of agreement and resample items."""
        asked = self.resolved(store)
        table = rater_table(store, asked)
        judge = table.column(asked.judge) if asked.judge else None
        measured = _Measured.of(table, judge)
        drawn = bootstrap(
            partial(_of_draws, measured), len(table), draws=asked.draws, seed=asked.seed, engine=engine, progress=progress,
            block_size=max(1, min(200, 2_000_000 // len(table))),
        )  # fmt: skip
        low, high = (np.asarray(end) for end in percentile_interval(drawn, asked.level))
        values = _of_draws(measured, np.ones((1, len(table))))[0]
        estimates = _estimates(table, measured, values, low, high, asked.level)
        coefficients = _coefficients(table, estimates, asked.level)
        estimates |= {
            name: Estimate(value, a, b, asked.level)
            for name, value, a, b in coefficients.loc[
                coefficients["coefficient"].str.startswith("ICC"), ["coefficient", "value", "low", "high"]
            ].itertuples(index=False)
        }
        tables = {"coefficients": coefficients}
        pairs = _pairs(table)
        if pairs is not None:
            tables["pairs"] = pairs
        if judge is not None and len(table.names) > 2:
            tables["categories"] = _categories(table, judge, asked, engine, progress)
        if len(table.repeats):
            tables["repeats"] = table.repeats
        return Agreement(
            table=table, judge=asked.judge, level=asked.level, estimates=estimates, tables=tables,
            notes=_notes(table, asked, judge),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """What each item adds, so that resamples are weighted means."""

    names: tuple[str, ...]
    alpha: Coincidences
    agreeing: np.ndarray
    pairs: np.ndarray
    counts: np.ndarray | None
    confusion: tuple[np.ndarray, int] | None
    judge: np.ndarray | None
    ceiling: np.ndarray | None

    @classmethod
    def of(cls, table: RaterTable, judge: int | None) -> _Measured:
        codes, k = table.codes, len(table.values)
        known = codes >= 0
        m = known.sum(axis=1).astype(float)
        counts = np.stack([(codes == c).sum(axis=1) for c in range(k)], axis=1).astype(float) if k <= 1000 else None
        if counts is None:
            agreeing = np.array([_same_pairs(row[row >= 0]) for row in codes])
        else:
            agreeing = (counts * (counts - 1)).sum(axis=1) / 2
        names = ["p_o", "krippendorff_alpha"]
        complete = bool(known.all()) and k <= _MOST_CATEGORIES and counts is not None
        if complete and len(table.names) > 2:
            names.append("fleiss_kappa")
        confusion = None
        if len(table.names) == 2 and k <= _MOST_CATEGORIES:
            confusion = codes[:, 0] * k + codes[:, 1], k
            names += ["cohen_kappa", *(["weighted_kappa"] if table.scale != "nominal" else [])]
        by_judge = ceiling = None
        if judge is not None and len(table.names) > 2 and k <= _MOST_CATEGORIES:
            by_judge, ceiling = judge_and_ceiling(codes, judge, k)
            names += ["judge", "ceiling", "judge_less_ceiling"]
        return cls(
            tuple(names), Coincidences.of(table.numbers, table.scale), agreeing, m * (m - 1) / 2,
            counts if complete else None, confusion, by_judge, ceiling,
        )  # fmt: skip


def _same_pairs(row: np.ndarray) -> float:
    counts = np.unique(row, return_counts=True)[1]
    return float((counts * (counts - 1)).sum() / 2)


def judge_and_ceiling(codes: np.ndarray, judge: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Give by item how often a judge, and how often one of the others, is the mode of the rest.

    Parameters
    ----------
    codes : ndarray of int, shape (items, raters)
        Categories, -1 where missing.
    judge : int
        Column of the judge.

    Returns
    -------
    judge, ceiling : ndarray, shape (items,)
        Means over the left-out person: the judge, or that person, against the mode of the other persons. NaN where fewer than
        two persons rated the item, or the judge did not.
    """
    people = np.delete(np.arange(codes.shape[1]), judge)
    ours, theirs = [], []
    for person in people:
        rest = codes[:, people[people != person]]
        here = codes[:, person] >= 0
        inner = agreement_with_mode(codes[:, person], rest, k)
        theirs.append(inner)
        # The judge meets the same left-out sets, on items where that person rated.
        ours.append(np.where(here, agreement_with_mode(codes[:, judge], rest, k), np.nan))
    by_judge, ceiling = (_mean_of(part) for part in (ours, theirs))
    both = np.isnan(by_judge) | np.isnan(ceiling)
    return np.where(both, np.nan, by_judge), np.where(both, np.nan, ceiling)


def _mean_of(parts: list[np.ndarray]) -> np.ndarray:
    stacked = np.stack(parts)
    known = ~np.isnan(stacked)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: np.ndarray = np.nan_to_num(stacked).sum(axis=0) / known.sum(axis=0)
    return mean


def _of_draws(measured: _Measured, counts: np.ndarray) -> np.ndarray:
    """Give what `_Measured.names` lists, shape (draws, names), of items drawn `counts` times."""
    w = counts.astype(float)
    found = [(w @ measured.agreeing) / np.maximum(w @ measured.pairs, 1e-300), measured.alpha.alpha(w)]
    if "fleiss_kappa" in measured.names and measured.counts is not None:
        found.append(fleiss_kappa(measured.counts, w))
    if measured.confusion is not None:
        cells, k = measured.confusion
        one_hot = np.zeros((len(cells), k * k))
        one_hot[np.arange(len(cells)), cells] = 1.0
        tables = (w @ one_hot).reshape(len(w), k, k)
        found.append(kappa_of(tables))
        if "weighted_kappa" in measured.names:
            found.append(kappa_of(tables, weighted=True))
    if measured.judge is not None and measured.ceiling is not None:
        known = ~np.isnan(measured.judge)
        n = np.maximum(w @ known, 1e-300)
        judge, ceiling = (w @ np.nan_to_num(part) / n for part in (measured.judge, measured.ceiling))
        found += [judge, ceiling, judge - ceiling]
    return np.stack(found, axis=1)


def _estimates(
    table: RaterTable, measured: _Measured, values: np.ndarray, low: np.ndarray, high: np.ndarray, level: float
) -> dict[str, Estimate]:
    units = {"p_o": "of pairs of ratings", "judge": "of items", "ceiling": "of items", "judge_less_ceiling": "of items"}
    estimates = {
        "n": Estimate(len(table), unit="items", why_no_interval="a count"),
        "raters": Estimate(len(table.names), unit="raters", why_no_interval="a count"),
    }
    few = f"{len(table)} items; the bootstrap needs {_FEW_ITEMS}"
    for name, value, a, b in zip(measured.names, values, low, high, strict=True):
        ends = (float(a), float(b)) if len(table) >= _FEW_ITEMS else (math.nan, math.nan)
        why = few if len(table) < _FEW_ITEMS else "undefined: all ratings are one value"
        estimates[name] = Estimate(float(value), *ends, level, units.get(name, ""), why)
    return estimates


def _coefficients(table: RaterTable, estimates: dict[str, Estimate], level: float) -> pd.DataFrame:
    """Give every coefficient with its interval, and how the interval was made."""
    said = {
        "p_o": "agreement of pairs", "krippendorff_alpha": "Krippendorff's alpha",
        "fleiss_kappa": "Fleiss' kappa", "cohen_kappa": "Cohen's kappa", "weighted_kappa": "kappa, quadratic",
    }  # fmt: skip
    rows = [
        {"coefficient": said[name], "value": e.value, "low": e.low, "high": e.high, "interval": "bootstrap over items"}
        for name, e in estimates.items()
        if name in said
    ]
    complete = ~np.isnan(table.numbers).any(axis=1)
    if table.scale != "nominal" and complete.sum() >= 2:
        rows += [
            {
                "coefficient": f"{one.form}",
                "value": one.value,
                "low": one.low,
                "high": one.high,
                "interval": "F distribution",
            }
            for one in intraclass_correlations(table.numbers[complete], level)
        ]
    return pd.DataFrame(rows)


def _pairs(table: RaterTable) -> pd.DataFrame | None:
    """Give agreement and kappa of every two raters, on the items both rated."""
    k = len(table.values)
    if k > _MOST_CATEGORIES or len(table.names) > _MOST_RATERS:
        return None
    rows = []
    for i, j in combinations(range(len(table.names)), 2):
        both = (table.codes[:, i] >= 0) & (table.codes[:, j] >= 0)
        counts = np.zeros((k, k))
        np.add.at(counts, (table.codes[both, i], table.codes[both, j]), 1.0)
        n = int(both.sum())
        row = {
            "a": table.names[i], "b": table.names[j], "n": n, "agreement": float(np.trace(counts)) / n if n else math.nan,
            "kappa": float(kappa_of(counts)) if n else math.nan,
        }  # fmt: skip
        if table.scale != "nominal":
            row["weighted_kappa"] = float(kappa_of(counts, weighted=True)) if n else math.nan
        rows.append(row)
    return pd.DataFrame(rows)


def _categories(
    table: RaterTable, judge: int, asked: AgreementQuestion, engine: Engine, progress: Progress
) -> pd.DataFrame:
    """Give judge and ceiling by category, with intervals over its items; a last row for all items."""
    k = len(table.values)
    columns = ["category", "n", "judge", "judge_low", "judge_high", "ceiling", "ceiling_low", "ceiling_high"]
    if k > _MOST_CATEGORIES:
        return pd.DataFrame(columns=columns)
    ours, theirs = judge_and_ceiling(table.codes, judge, k)
    masks = {"all items": np.ones(len(table), dtype=bool)}
    if asked.category:
        labels = table.items[asked.category].astype(str)
        masks = {str(name): (labels == name).to_numpy(bool) for name in labels.value_counts().index[:20]} | masks
    rows = []
    for name, mask in masks.items():
        known = mask & ~np.isnan(ours)
        n = int(known.sum())
        if not n:
            continue
        parts = np.stack([ours[known], theirs[known]], axis=1)
        drawn = bootstrap(
            partial(_means, parts), n, draws=asked.draws, seed=asked.seed, engine=engine, progress=progress
        )
        low, high = (np.asarray(end) for end in percentile_interval(drawn, asked.level))
        if n < _FEW_ITEMS:
            low, high = np.full(2, np.nan), np.full(2, np.nan)
        means = parts.mean(axis=0)
        rows.append([name, n, means[0], low[0], high[0], means[1], low[1], high[1]])
    return pd.DataFrame(rows, columns=columns)


def _means(parts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    means: np.ndarray = counts @ parts / counts.sum(axis=1, keepdims=True)
    return means


def _notes(table: RaterTable, asked: AgreementQuestion, judge: int | None) -> tuple[str, ...]:
    notes = [
        f"Unit: the item, n = {len(table):,}, with all its ratings; raters are taken as given. Intervals: "
        f"{100 * asked.level:g} % percentile bootstrap, {asked.draws} draws, seed {asked.seed}; of intraclass correlations "
        "the F distribution.",
        f"Ratings: {asked.rating} by {asked.by}, {table.scale} ({counted(len(table.values), 'value')}).",
        *table.notes,
        "Kappa sinks where one category prevails: read it beside the agreement p_o.",
    ]
    complete = int((~np.isnan(table.numbers)).all(axis=1).sum())
    if table.scale != "nominal":
        notes.append(
            f"Intraclass correlations: {counted(complete, 'item')} rated by all. (1,.) raters differ by item, (2,.) raters are "
            "a sample, (3,.) these raters only; (.,1) one rating, (.,k) the mean."
        )
    if len(table.names) > 2 and complete < len(table):
        notes.append("Not every item was rated by all: no Fleiss' kappa; alpha holds missing ratings.")
    if judge is not None and len(table.names) > 2:
        notes.append(
            "judge: mean over left-out persons of agreeing with the mode of the rest, ties by their chance; ceiling: that "
            "person itself."
        )
    elif judge is None:
        notes.append("No rater is named as the judge, so that there is no ceiling.")
    return tuple(notes)


def figure(question: AgreementQuestion, result: Agreement) -> FigureSpec:
    """Draw the coefficients, and beside them the judge against the ceiling, two raters' table, or kappa of every two."""
    table = result.table
    rows = result.tables["coefficients"]
    names = rows["coefficient"].tolist()
    marks: list[Mark] = [zero()]
    marks += dots("coefficients", names, *(rows[key].to_numpy(float) for key in ("value", "low", "high")))
    panels = [
        Panel(
            key="coefficients",
            x=Axis(label=f"agreement, {table.scale} scale"),
            y=named_axis(names),
            marks=tuple(marks),
            title="Coefficients",
        )
    ]
    categories = result.tables.get("categories")
    if categories is not None and len(categories):
        panels.append(_ceiling_panel(result, categories))
    if len(table.names) == 2 and len(table.values) <= 20:
        panels.append(_confusion_panel(table))
    elif "pairs" in result.tables and len(panels) == 1:
        panels.append(_kappa_panel(result))
    return FigureSpec(
        title="Agreement of raters",
        subtitle=f"{len(table):,} items, {len(table.names)} raters, {100 * result.level:g} % intervals over items",
        panels=tuple(panels),
        columns=len(panels),
        caption=f"{result.summary()} {result.notes[0]}",
    )


def _ceiling_panel(result: Agreement, categories: pd.DataFrame) -> Panel:
    names = [str(name) for name in categories["category"]]
    marks: list[Mark] = []
    for key, label, hue, shift in (("judge", result.judge, "accent", -0.15), ("ceiling", "one person", "ink", 0.15)):
        value, low, high = (100 * categories[f"{key}{end}"].to_numpy(float) for end in ("", "_low", "_high"))
        marks += dots(key, names, value, low, high, hue=hue, label=label, shift=shift, n=categories["n"].to_numpy(int))
    return Panel(
        key="ceiling", x=Axis(label="agrees with the mode (%)"), y=named_axis(names), marks=tuple(marks),
        title="Judge and ceiling",
    )  # fmt: skip


def _confusion_panel(table: RaterTable) -> Panel:
    k = len(table.values)
    both = (table.codes >= 0).all(axis=1)
    counts = np.zeros((k, k))
    np.add.at(counts, (table.codes[both, 0], table.codes[both, 1]), 1.0)
    names = tuple(shortened(value, 16) for value in table.values)
    masks = [(table.codes[:, 0] == i) & (table.codes[:, 1] == j) for i in range(k) for j in range(k)]
    texts = tuple(tuple(f"{cell:,.0f}" if cell else "" for cell in row) for row in counts.tolist())
    return Panel(
        key="confusion",
        x=Axis(label=table.names[1], scale="category", names=names),
        y=Axis(label=table.names[0], scale="category", names=names, inverted=True),
        marks=(
            Cells(
                key="confusion", values=counts, rows=names, columns=names, texts=texts, low=0.0, label="items",
                origin=table.origin_of_items(masks),
            ),
        ),
        title="Items by both ratings",
        square=True,
    )  # fmt: skip


def _kappa_panel(result: Agreement) -> Panel:
    table, pairs = result.table, result.tables["pairs"]
    measure = "weighted_kappa" if "weighted_kappa" in pairs.columns else "kappa"
    n = len(table.names)
    matrix = np.full((n, n), np.nan)
    for a, b, value in zip(pairs["a"], pairs["b"], pairs[measure], strict=True):
        i, j = table.column(a), table.column(b)
        matrix[i, j] = matrix[j, i] = value
    names = tuple(shortened(name, 20) for name in table.names)
    texts = tuple(
        tuple(f"{cell:.2f}" if n <= _MOST_TEXTS and math.isfinite(cell) else "" for cell in row)
        for row in matrix.tolist()
    )
    origin = table.origin_of_raters([table.names[i] for i in range(n) for _ in range(n)])
    return Panel(
        key="pairs",
        x=Axis(scale="category", names=names),
        y=Axis(scale="category", names=names, inverted=True),
        marks=(
            Cells(
                key="pairs", values=matrix, rows=names, columns=names, texts=texts, low=min(0.0, float(np.nanmin(matrix))),
                high=1.0, label="kappa", origin=origin,
            ),
        ),
        title=f"{'Quadratic-weighted kappa' if measure == 'weighted_kappa' else 'Kappa'} of every two",
        square=True,
    )  # fmt: skip


ANALYSIS = Analysis(
    id="judges.agreement",
    title="Agreement of raters",
    asks="Does the judge agree with people as well as people with each other?",
    question=AgreementQuestion,
    figure=figure,
    sources=(
        "Cohen (1960, 1968); Fleiss (1971): kappa, quadratic weights, many raters",
        "Krippendorff (2011), Computing Krippendorff's Alpha-Reliability",
        "Shrout and Fleiss (1979); McGraw and Wong (1996): intraclass correlations and their intervals",
        "Lyu et al. (2024), HREF: judge against the inner agreement of people",
        "Zhang et al. (2023), Wider and Deeper LLM Networks are Fairer LLM Evaluators",
    ),
    definition="""\
p_o is the share of pairs of ratings of an item that are equal. Cohen's kappa (two raters) = (p_o − p_e) / (1 − p_e); quadratic
weights: 1 − Σ w O / Σ w E, w = (i − j)². Fleiss' kappa where all raters rated every item. Krippendorff's alpha = 1 − D_o / D_e
holds missing ratings; its distance is that of the scale. ICC(2,1) = (MSR − MSE) / (MSR + (k − 1) MSE + k (MSC − MSE) / n),
ICC(3,1) without the last term, ICC(2,k) = (MSR − MSE) / (MSR + (MSC − MSE) / n).

Ceiling: each person in turn is left out; it is asked whether that person, and whether the judge, is the mode of the rest; ties
count by their chance. Unit: the item with all its ratings. Traps: name the form of an ICC; kappa sinks with skewed prevalence;
repeats of one model are no raters (their agreement with themselves is a table of its own). """,
)
