"""``labels.confident-joint``: which labels are likely wrong, and how many?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, Cells, Clauses, FigureSpec, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, shortened, with_interval
from ...models.selection import Clause, is_in
from ...models.store import RunStore
from ..answers import at_epoch, present, refuse_repeats
from ..forecast_rows import estimate_of, places_of_labels, probabilities
from ..resampling import bootstrap, wilson
from ..training_dynamics import default_truth, found_by, truth_of

_MOST_CLASSES = 40
_MOST_WRITTEN = 14
_MOST_LISTED = 5000
_MOST_PROBABILITIES = 2_000_000

Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class ConfidentJoint(Result):
    """Candidates for label errors.

    Attributes
    ----------
    classes : tuple of str
        Classes.
    counts : ndarray, shape (classes, classes)
        Confident counts: items given the row that are confidently the column.
    joint : ndarray, shape (classes, classes)
        Their estimate of how many items of each label (row) are of each class (column): rows sum to the label counts.
    of_cells : Mapping of (int, int) to Clause
        The items of each cell that has any, by row and column.
    ranked : DataFrame
        Candidates, the most suspect first.
    known : ndarray of bool, shape (candidates,), or None
        Whether each candidate is wrong, by votes or by what is known; NaN where nobody looked.
    """

    classes: tuple[str, ...]
    counts: np.ndarray
    joint: np.ndarray
    of_cells: Mapping[tuple[int, int], Clause]
    ranked: pd.DataFrame
    known: np.ndarray | None

    def summary(self) -> str:
        """Give the answer in one sentence."""
        found, share = self.estimates["candidates"], self.estimates["candidate_share"]
        said = (
            f"{found.value:,.0f} of {self.estimates['n'].value:,.0f} labels are likely wrong "
            f"({with_interval(100 * share.value, 100 * share.low, 100 * share.high)} %)"
        )
        precision = self.estimates.get("precision")
        if precision is None or not precision.has_interval:
            return f"{said}; each asks for a review."
        checked = self.estimates["checked"].value
        ends = with_interval(100 * precision.value, 100 * precision.low, 100 * precision.high)
        return f"{said}; of {checked:,.0f} that were looked at {ends} % are wrong."


@dataclass(frozen=True, kw_only=True)
class ConfidentJointQuestion(Question):
    """Which labels are likely wrong, and how many?"""

    needs: ClassVar = (Need("predictions", ("label",)),)

    model: str = option("", help="only this model; the first if empty", choices="predictions.model")
    version: str = option("", help="only this version; the last if empty", choices="predictions.version")
    task: str = option("", help="only this task", choices="predictions.task")
    epoch: float | None = option(None, help="only this epoch; the last one if none", unit="epochs", advanced=True)
    votes: str = option(
        "",
        help="column with the number of reviewers who reject the label, or the share",
        choices="numbers of predictions",
    )
    rejected_from: float = option(3, help="least votes that confirm an error", low=0.0)
    audited: str = option(
        "", help="column that is 1 on a random sample of the other items, also looked at", choices="numbers of predictions",
        advanced=True,
    )  # fmt: skip
    truth: str = option(
        "",
        help="column that is 1 where the label is known to be wrong, and 0 where right",
        choices="numbers of predictions",
    )
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(500, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Take one model and version, and what is known of the labels."""
        if not store.has_rows("predictions"):
            return self
        truth = self.truth or ("" if self.votes else default_truth(store))
        return replace(self, truth=truth)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> ConfidentJoint:
        """Count confident disagreements, rank them, compare with votes."""
        asked = self.resolved(store)
        frame, notes = _chosen(store, asked)
        p, names = probabilities(frame)
        if len(names) < 2:
            raise AnalysisError(
                "Nothing says how probable each class was.", remedy="Name the columns of probabilities prob.CLASS."
            )
        label = places_of_labels(frame, names)
        known = (label >= 0) & ~np.isnan(p).any(axis=1)
        if not known.all():
            notes.append(
                f"{counted(int((~known).sum()), 'row')} left out: the label is no class, or a probability is missing."
            )
            frame, p, label = frame[known].reset_index(drop=True), p[known], label[known]
        if len(np.unique(label)) < 2:
            raise TooLittleData(needs="items of at least two labels", found="one")
        thresholds = class_thresholds(p, label)
        if (absent := int(np.isnan(thresholds).sum())) > 0:
            notes.append(
                f"{counted(absent, 'class')} without a labelled item take no part: there is no threshold for them."
            )
        place = confident_class(p, thresholds)
        size = len(names)
        counts = confident_counts(label, place, size)
        joint = calibrated_joint(counts, np.bincount(label, minlength=size).astype(float))
        anew = p.size <= _MOST_PROBABILITIES
        # Thresholds are means of the same items; with very many probabilities they are held, and cells are drawn.
        if anew:
            statistic: Statistic = partial(_shares, p, label)
            units = np.ones(len(label), dtype=np.int64)
        else:
            cells_of, units = np.unique(label * (size + 1) + place + 1, return_counts=True)
            statistic = partial(_shares_of_cells, cells_of // (size + 1), cells_of % (size + 1) - 1, size)
        drawn = bootstrap(statistic, units, draws=asked.draws, seed=asked.seed, engine=engine, progress=progress,
                          block_size=20)  # fmt: skip
        candidate = (place >= 0) & (place != label)
        wrong_share = 1 - float(np.trace(joint) / joint.sum())
        estimates = {
            "n": Estimate(float(len(label)), unit="items", why_no_interval="a count"),
            "candidates": Estimate(
                float(candidate.sum()), unit="items", why_no_interval="a count; see candidate_share"
            ),
            "candidate_share": estimate_of(float(candidate.mean()), drawn[:, 0], asked.level, "of items"),
            "joint_error_share": estimate_of(wrong_share, drawn[:, 1], asked.level, "of items"),
            "accuracy_against_labels": _proportion(int((p.argmax(axis=1) == label).sum()), len(label), asked.level),
        }
        margin = _self_confidence_margin(p, label)
        table = _ranked(frame, p, label, place, names, margin)[candidate]
        order = np.argsort(margin[candidate], kind="stable")
        table = table.iloc[order].reset_index(drop=True)
        is_wrong = None
        if asked.votes or asked.truth:
            looked, verdict, said = _verdicts(frame, asked)
            notes.append(said)
            is_wrong = np.where(looked, verdict, np.nan)[candidate][order]
            estimates |= _audit(candidate, looked, verdict, frame, asked)
            if asked.truth:
                estimates["auc"] = found_by(-margin, verdict, draws=asked.draws, seed=asked.seed, level=asked.level)
            table = table.assign(wrong=is_wrong)
        confident = pd.Series(frame["item"].to_numpy())[place >= 0]
        codes = label[place >= 0] * size + place[place >= 0]
        cells: dict[tuple[int, int], Clause] = {
            divmod(int(code), size): is_in("item", confident[codes == code].unique()) for code in np.unique(codes)
        }
        heading = [
            "An item is confidently of a class where the class's probability reaches the mean it has on items of that label, "
            "the greatest such probability deciding; off the diagonal it is a candidate.",
            f"Unit: the item, n = {len(label):,}; {100 * asked.level:g} % percentile bootstrap with the thresholds "
            f"{'found anew' if anew else 'held'}, {asked.draws} draws, seed {asked.seed}. Precision: Wilson.",
            "Probabilities must be of items the model was not trained on: in-sample ones hide errors. A candidate asks for a "
            "review, never for an automatic new label.",
        ]
        return ConfidentJoint(
            classes=tuple(names), counts=counts, joint=joint,
            of_cells=cells, ranked=table, known=is_wrong,
            estimates=estimates, tables={"candidates": table, "joint": _long(names, counts, joint)},
            notes=(*heading, *notes),
        )  # fmt: skip


def _chosen(store: RunStore, asked: ConfidentJointQuestion) -> tuple[pd.DataFrame, list[str]]:
    frame = store.rows("predictions")
    notes = []
    for column in (asked.votes, asked.audited, asked.truth):
        if column and column not in frame.columns:
            raise AnalysisError(f"The predictions have no column called {column!r}.")
    for column, value, last in (
        ("task", asked.task, False),
        ("model", asked.model, False),
        ("version", asked.version, True),
    ):
        if not present(frame, [column]):
            continue
        values = [str(one) for one in frame[column].dropna().unique()]
        if value and value not in values:
            raise AnalysisError(f"No prediction has {column} {value!r}.", remedy=f"There are {', '.join(values[:12])}.")
        if not value and len(values) > 1:
            value = values[-1 if last else 0]
            notes.append(f"{column.capitalize()}: {value} (of {len(values)}).")
        if value:
            frame = frame[frame[column].astype(str) == value]
    frame = at_epoch(frame, asked.epoch)
    if frame.empty:
        raise TooLittleData(needs="predictions with the probability of every class", found="none")
    refuse_repeats(frame, ["item"], "the predictions")
    return frame.reset_index(drop=True), notes


def class_thresholds(p: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Give the mean probability of each class over the items labelled with it, shape (classes,); NaN without any."""
    size = p.shape[1]
    own = p[np.arange(len(p)), label]
    w = np.ones(len(p)) if weight is None else weight
    total = np.bincount(label, w, size)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, np.bincount(label, w * own, size) / total, np.nan)


def confident_class(p: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Give the class each item is confidently of, shape (n,): the most probable of those that reach their thresholds; -1
    where none does.
    """
    with np.errstate(invalid="ignore"):
        # A mean of equal numbers may lie a rounding above them.
        passing = p >= thresholds - 1e-12
    best = np.where(passing, p, -np.inf)
    return np.where(passing.any(axis=1), best.argmax(axis=1), -1)


def confident_counts(label: np.ndarray, place: np.ndarray, size: int, weight: np.ndarray | None = None) -> np.ndarray:
    """Give the confident counts, shape (classes, classes): label by confident class."""
    kept = place >= 0
    w = None if weight is None else weight[kept]
    flat = np.bincount(label[kept] * size + place[kept], w, size * size)
    return np.asarray(flat, float).reshape(size, size)


def calibrated_joint(counts: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Give the counts with every row scaled to the number of items of that label; a row without any is on the diagonal."""
    rows = counts.sum(axis=1, keepdims=True)
    scaled = np.divide(counts, rows, out=np.eye(len(counts)), where=rows > 0)
    return np.asarray(scaled * labels[:, None])


def _shares(p: np.ndarray, label: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Give the share of candidates and of errors in the joint, under each weighting, shape (draws, 2)."""
    size = p.shape[1]
    shares = np.empty((len(counts), 2))
    for number, weight in enumerate(counts.astype(float)):
        place = confident_class(p, class_thresholds(p, label, weight))
        c = confident_counts(label, place, size, weight)
        joint = calibrated_joint(c, np.bincount(label, weight, size))
        total = weight.sum()
        shares[number] = (c.sum() - np.trace(c)) / total, 1 - np.trace(joint) / total
    return shares


def _shares_of_cells(label: np.ndarray, place: np.ndarray, size: int, counts: np.ndarray) -> np.ndarray:
    """Give the same as `_shares` where items of one label and confident class are held together."""
    shares = np.empty((len(counts), 2))
    for number, weight in enumerate(counts.astype(float)):
        c = confident_counts(label, place, size, weight)
        joint = calibrated_joint(c, np.bincount(label, weight, size))
        shares[number] = (c.sum() - np.trace(c)) / weight.sum(), 1 - np.trace(joint) / weight.sum()
    return shares


def _self_confidence_margin(p: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Give the probability of the label less the greatest other one: the lowest are the most suspect."""
    rows = np.arange(len(p))
    own = p[rows, label]
    others = p.copy()
    others[rows, label] = -np.inf
    return np.asarray(own - others.max(axis=1))


def _proportion(hits: int, n: int, level: float, unit: str = "of items") -> Estimate:
    low, high = wilson(hits, n, level)
    return Estimate(hits / n if n else math.nan, float(low), float(high), level, unit, "" if n else "none")


def _ranked(
    frame: pd.DataFrame, p: np.ndarray, label: np.ndarray, place: np.ndarray, names: Sequence[str], margin: np.ndarray
) -> pd.DataFrame:
    classes = np.array([*names, ""], dtype=object)
    columns = {
        "item": frame["item"], "label": classes[label], "suggested": classes[place],
        "p_label": p[np.arange(len(p)), label], "p_suggested": p[np.arange(len(p)), place], "margin": margin,
    }  # fmt: skip
    return pd.DataFrame(columns)


def _verdicts(frame: pd.DataFrame, asked: ConfidentJointQuestion) -> tuple[np.ndarray, np.ndarray, str]:
    """Give which items were looked at, which of them are wrong, and what to say."""
    if asked.votes:
        votes = pd.to_numeric(frame[asked.votes], errors="coerce").to_numpy(float)
        said = f"An error is confirmed by {asked.votes} ≥ {asked.rejected_from:g}."
        return ~np.isnan(votes), np.nan_to_num(votes, nan=-1.0) >= asked.rejected_from, said
    known = pd.to_numeric(frame[asked.truth], errors="coerce").notna().to_numpy()
    return known, truth_of(frame, asked.truth), f"Compared with {asked.truth}."


def _audit(
    candidate: np.ndarray, looked: np.ndarray, verdict: np.ndarray, frame: pd.DataFrame, asked: ConfidentJointQuestion
) -> dict[str, Estimate]:
    """Give precision, and the total where a sample of the rest was looked at."""
    seen = candidate & looked
    hits = int((verdict & seen).sum())
    precision = _proportion(hits, int(seen.sum()), asked.level, "of candidates looked at")
    estimates = {
        "checked": Estimate(float(seen.sum()), unit="candidates", why_no_interval="a count"),
        "precision": precision,
    }
    rest = ~candidate & looked
    if asked.truth and looked.all():
        found = _proportion(hits, int(verdict.sum()), asked.level, "of wrong labels")
        return estimates | {"recall": found}
    if asked.audited:
        rest &= pd.to_numeric(frame[asked.audited], errors="coerce").to_numpy(float) > 0.5
    if asked.audited and rest.any():
        missed = _proportion(int((verdict & rest).sum()), int(rest.sum()), asked.level, "of the others")
        size, others = int(candidate.sum()), int((~candidate).sum())
        value = size * precision.value + others * missed.value
        # Independent parts: half-widths add in squares (MOVER; Zou and Donner 2008).
        low = value - math.hypot(size * (precision.value - precision.low), others * (missed.value - missed.low))
        high = value + math.hypot(size * (precision.high - precision.value), others * (missed.high - missed.value))
        estimates |= {"miss_rate": missed, "errors_in_all": Estimate(value, low, high, asked.level, "items")}
    return estimates


def _long(names: Sequence[str], counts: np.ndarray, joint: np.ndarray) -> pd.DataFrame:
    a, b = np.nonzero((counts > 0) | (joint > 0))
    classes = np.array(names, dtype=object)
    columns = {
        "label": classes[a], "class": classes[b], "confident": counts[a, b], "joint": joint[a, b],
    }  # fmt: skip
    table: pd.DataFrame = pd.DataFrame(columns).sort_values(
        "confident", ascending=False, kind="stable", ignore_index=True
    )
    return table


def figure(question: ConfidentJointQuestion, result: ConfidentJoint) -> FigureSpec:
    """Draw the confident counts off the diagonal, and the candidates in their order."""
    off = result.counts.copy()
    np.fill_diagonal(off, np.nan)
    size = len(result.classes)
    used = np.arange(size)
    if size > _MOST_CLASSES:
        used = np.sort(np.argsort(-(np.nansum(off, axis=0) + np.nansum(off, axis=1)), kind="stable")[:_MOST_CLASSES])
    off = off[np.ix_(used, used)]
    names = tuple(shortened(result.classes[i], 16) for i in used)
    few = len(used) <= _MOST_WRITTEN
    texts = tuple(tuple(f"{v:.0f}" if few and v > 0 else "" for v in row) for row in np.nan_to_num(off).tolist())
    nothing = is_in("item", ())
    behind = tuple(result.of_cells.get((int(a), int(b)), nothing) for a in used for b in used)
    cells = Cells(
        key="counts", values=np.where(off > 0, off, np.nan), rows=names, columns=names, texts=texts, low=0.0,
        ramp="bad", label="candidates", origin=Clauses("predictions", behind),
    )  # fmt: skip
    title = "Candidates by label and suggestion" + (f", {_MOST_CLASSES} classes" if size > _MOST_CLASSES else "")
    panels = [
        Panel(key="counts", x=Axis(label="confidently of class", scale="category", names=names),
              y=Axis(label="label", scale="category", names=names, inverted=True), marks=(cells,), title=title, square=True)
    ]  # fmt: skip
    panels.append(_ranking(question, result))
    share = result.estimates["candidate_share"]
    return FigureSpec(
        title="Labels that are likely wrong",
        subtitle=f"{result.estimates['candidates'].value:,.0f} candidates among {result.estimates['n'].value:,.0f} items, "
        f"{with_interval(100 * share.value, 100 * share.low, 100 * share.high)} %",
        panels=tuple(panels),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]} {result.notes[1]}",
    )


def _ranking(question: ConfidentJointQuestion, result: ConfidentJoint) -> Panel:
    """Give precision up to each rank where verdicts are known, else the margins in their order."""
    table = result.ranked.head(_MOST_LISTED)
    rank = np.arange(1, len(table) + 1, dtype=float)
    if result.known is not None and np.isfinite(result.known).any():
        known = result.known[: len(table)]
        looked = np.isfinite(known)
        n, hits = np.cumsum(looked), np.cumsum(np.nan_to_num(known))
        low, high = wilson(hits, n, question.level)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = 100 * hits / n
        level = f"{100 * question.level:g} % Wilson"
        marks: tuple[Mark, ...] = (
            Band(key="band", x=rank, low=100 * np.asarray(low), high=100 * np.asarray(high), label=level),
            Line(key="precision", x=rank, y=precision, width=2.0, label="precision so far"),
        )
        y = Axis(label="confirmed so far (%)", low=0.0, high=100.0)
        return Panel(key="ranking", x=Axis(label="rank, most suspect first"), y=y, marks=marks)
    items = tuple(is_in("item", (item,)) for item in table["item"])
    notes = tuple(
        f"{row['item']}: label {row['label']} ({row['p_label']:.3f}), suggested {row['suggested']} ({row['p_suggested']:.3f})"
        for row in table.to_dict("records")
    )
    points = Points(key="margins", x=rank, y=table["margin"].to_numpy(float), size=4.0, hue="bad",
                    origin=Clauses("predictions", items), notes=notes)  # fmt: skip
    return Panel(
        key="ranking", x=Axis(label="rank, most suspect first"), y=Axis(label="p(label) − greatest other"),
        marks=(points, Rule(key="zero", axis="y", at=0.0, hue="line", dash="solid")),
    )  # fmt: skip


ANALYSIS = Analysis(
    id="labels.confident-joint",
    title="Labels that are likely wrong",
    asks="Which labels are likely wrong, and how many?",
    question=ConfidentJointQuestion,
    figure=figure,
    sources=(
        "Northcutt, Jiang and Chuang (2021), Confident Learning",
        "Northcutt, Athalye and Mueller (2021), Pervasive Label Errors in Test Sets; data cleanlab/label-errors",
    ),
    definition="""\
$t_j$ is the mean probability of class $j$ over the items labelled $j$; $C_{ij}$ counts the items labelled $i$ whose most
probable class among those with $p_j\\ge t_j$ is $j$. Off the diagonal they are candidates, ranked by
$p_\\text{label}-\\max_\\text{other}p$; the joint is $C$ with rows scaled to the label counts. With votes, precision is the
share of candidates looked at that are confirmed; errors in all = candidates · precision + others · miss rate, where a random
sample of the others was looked at too.

Unit: the item; thresholds are found anew in every resample. Traps: probabilities of trained items hide errors; a candidate
asks for a review. """,
)
