"""``compat.churn``: how many answers change at all, and whether more change than in a plain retrain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError
from ...models.figure import Axis, Bars, Cells, Clauses, FigureSpec, Panel
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, option
from ...models.result import Estimate, Result, shortened
from ...models.selection import Clause
from ...models.store import RunStore
from ..answer_marks import square_matrix
from ..answer_sheet import PairQuestion, Sheet, answer_sheet, cluster_units, drawn_units
from ..paired_tests import odds_ratio_interval
from ..resampling import DRAWS, bootstrap, percentile_interval, wilson

KINDS = ("good", "bad", "neutral", "both_right")
_LABELS = {
    "good": ("wrong to right", "good"),
    "bad": ("right to wrong", "bad"),
    "neutral": ("wrong to another wrong answer", "muted"),
    "both_right": ("right to another right answer", "c0"),
}
_MOST_ANSWERS = 16
"""Different answers up to which the flow from old to new is drawn."""
_LEAST_PROBABILITY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Churn(Result):
    """Answers that changed.

    Attributes
    ----------
    old, new, retrain : str
        The two compared, and a plain retrain of old; empty without one.
    names : tuple of str
        All versions.
    matrix : ndarray, shape (versions, versions)
        Share of answers that differ, of each pair.
    matrix_items : tuple of Clause
        Items behind its cells, row by row.
    kinds : dict of str to (ndarray, tuple of Clause)
        Share of each kind of change, from old to new and to the retrain, with its items.
    flow : ndarray, shape (answers, answers)
        Items by old and new answer; empty where there are too many answers.
    answers : tuple of str
        The answers in `flow`.
    flow_items : tuple of Clause
        Items behind its cells.
    """

    old: str
    new: str
    retrain: str
    names: tuple[str, ...]
    matrix: np.ndarray
    matrix_items: tuple[Clause, ...]
    kinds: dict[str, tuple[np.ndarray, tuple[Clause, ...]]]
    flow: np.ndarray
    answers: tuple[str, ...]
    flow_items: tuple[Clause, ...]

    def summary(self) -> str:
        """Give the answer in one sentence."""
        e = self.estimates
        said = (
            f"From {self.old} to {self.new}, {100 * e['churn'].value:.1f} % of {e['n'].value:,.0f} answers change: "
            f"{100 * e['pfr'].value:.1f} % for the better, {100 * e['nfr'].value:.1f} % for the worse, "
            f"{100 * e['neutral'].value:.1f} % from wrong to wrong"
        )
        if self.retrain:
            ratio = e["churn_ratio"]
            said += (
                f"; a plain retrain changes {100 * e['churn_retrain'].value:.1f} %, a ratio of "
                f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"
            )
        return said + "."


@dataclass(frozen=True, kw_only=True)
class ChurnQuestion(PairQuestion):
    """How many answers change at all?"""

    needs: ClassVar[tuple[Need, ...]] = (Need("predictions", ("prediction", "correct|label")),)

    versions: tuple[str, ...] = option(
        (), help="versions of the matrix; all if empty", choices="predictions.version|predictions.model"
    )
    retrain: str = option(
        "", help="a plain retrain of old, with another seed: the churn one has in any case",
        choices="predictions.version|predictions.model",
    )  # fmt: skip
    equality: Literal["exact", "ignoring case and spaces"] = option("exact", help="when two answers are the same")
    cluster: str = option(
        "", help="column of items that belong together and are resampled whole", choices="columns of predictions"
    )
    draws: int = option(DRAWS, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> Churn:
        """Compare the answers of all pairs, and those of old and new by kind."""
        asked = self.resolved(store)
        if asked.unanswered == "guess":
            raise AnalysisError("A guessed answer cannot be compared.", remedy="Count no answer as wrong or drop it.")
        compared = (asked.old, asked.new, asked.retrain) if asked.retrain else (asked.old, asked.new)
        sheet = answer_sheet(store, asked, compared, about=(asked.cluster,))
        codes, distinct = equal_answers(sheet, asked.equality)
        kinds = {name: _kinds(sheet, codes, number) for number, name in enumerate(compared) if number}
        units, number, unit = cluster_units(sheet, asked.cluster)
        estimates = _estimates(sheet, codes, kinds, asked, units, number, engine, progress)
        changed = codes[:, 0] != codes[:, 1]
        kind = np.full(len(sheet), "", dtype=object)
        for name in KINDS:
            kind[kinds[asked.new][name]] = _LABELS[name][0]
        listed = sheet.listed(changed, (0, 1), ("old", "new")).assign(change=kind[changed])
        notes = [
            unit,
            *sheet.notes,
            f"Two answers are the same when they are equal ({asked.equality}); no answer equals no answer.",
        ]
        if distinct > max(100, 0.5 * len(sheet)):
            notes.append(
                f"Attention: {distinct:,} different answers to {len(sheet):,} items look like free text; churn then counts "
                "wording. Extract the answers first, or compare right and wrong (compat.flips)."
            )
        if not asked.retrain:
            notes.append(
                "Without a plain retrain of old (retrain) churn has no scale: another seed changes answers too."
            )
        matrix, names, behind = _matrix(store, asked, notes)
        flow, answers, flow_items = _flow(sheet)
        tables = {"kinds": _table(kinds, len(sheet)), "pairs": _pairs(matrix, names), "items": listed}
        return Churn(
            old=asked.old,
            new=asked.new,
            retrain=asked.retrain,
            names=names,
            matrix=matrix,
            matrix_items=behind,
            kinds={
                name: (
                    np.array([masks[kind].mean() for kind in KINDS]),
                    tuple(sheet.clause(masks[kind]) for kind in KINDS),
                )
                for name, masks in kinds.items()
            },
            flow=flow,
            answers=answers,
            flow_items=flow_items,
            estimates=estimates,
            tables=tables,
            notes=tuple(notes),
        )


def equal_answers(sheet: Sheet, equality: str) -> tuple[np.ndarray, int]:
    """Give the answers as numbers that are equal where the answers are, shape (items, versions), and how many there are.

    Raises
    ------
    AnalysisError
        When answers were not recorded.
    """
    if sheet.answers is None:
        raise AnalysisError("The answers were not recorded, only whether they are right.", remedy="Map 'prediction'.")
    if equality == "exact":
        return sheet.answers, len(np.unique(sheet.answers))
    plain = pd.Series(sheet.texts).astype(str).str.lower().str.replace(r"\s+", "", regex=True)
    numbers = np.append(pd.factorize(plain)[0], -1)
    return numbers[sheet.answers], len(np.unique(numbers[sheet.answers]))


def _kinds(sheet: Sheet, codes: np.ndarray, new: int) -> dict[str, np.ndarray]:
    changed = codes[:, 0] != codes[:, new]
    before, after = sheet.right[:, 0] > 0.5, sheet.right[:, new] > 0.5
    return {
        "good": ~before & after,
        "bad": before & ~after,
        "neutral": ~before & ~after & changed,
        "both_right": before & after & changed,
    }


def _estimates(
    sheet: Sheet, codes: np.ndarray, kinds: dict[str, dict[str, np.ndarray]], asked: ChurnQuestion, units: np.ndarray,
    number: int, engine: Engine, progress: Progress,
) -> dict[str, Estimate]:  # fmt: skip
    n = len(sheet)
    changed = codes[:, :1] != codes[:, 1:]
    soft, soft_why, clipped = _soft_churn(sheet)
    columns = {"churn": changed[:, 0].astype(float)}
    columns |= {
        name: kinds[asked.new][kind].astype(float)
        for name, kind in (("pfr", "good"), ("nfr", "bad"), ("neutral", "neutral"))
    }
    if changed.shape[1] > 1:
        columns["churn_retrain"] = changed[:, 1].astype(float)
    columns["soft_churn"] = soft if soft is not None else np.zeros(n)
    values = np.stack(list(columns.values()), axis=1)
    sums, sizes = drawn_units(np.concatenate([values, np.ones((n, 1))], axis=1), units, number)
    drawn = bootstrap(
        partial(_means, sums), sizes, draws=asked.draws, seed=asked.seed, engine=engine, progress=progress
    )
    estimates = {"n": Estimate(n, unit="items", why_no_interval="a count")}
    for at, (name, column) in enumerate(columns.items()):
        if name == "soft_churn" or asked.cluster:
            low, high = (float(end) for end in percentile_interval(drawn[:, at], asked.level))
        else:
            low, high = (float(end) for end in wilson(column.sum(), n, asked.level))
        if name == "soft_churn" and soft is None:
            estimates[name] = Estimate(math.nan, unit="nats", why_no_interval=soft_why)
            continue
        unit = "nats, mean KL(old‖new)" + clipped if name == "soft_churn" else ""
        estimates[name] = Estimate(float(column.mean()), low, high, asked.level, unit)
    if "churn_retrain" in columns:
        place = list(columns).index("churn_retrain")
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = drawn[:, 0] / drawn[:, place]
            ratio = float(np.divide(columns["churn"].mean(), columns["churn_retrain"].mean()))
        low, high = (
            float(end) for end in percentile_interval(np.where(np.isfinite(ratios), ratios, np.nan), asked.level)
        )
        estimates["churn_ratio"] = Estimate(ratio, low, high, asked.level, "of a plain retrain")
    good, bad = (int(kinds[asked.new][kind].sum()) for kind in ("good", "bad"))
    low, high = (float(end) for end in odds_ratio_interval(good, bad, asked.level))
    ratio = good / bad if bad else math.nan
    why = "nothing broke" if not bad else "see the rates" if asked.cluster else ""
    estimates["win_loss"] = Estimate(
        ratio, *((math.nan, math.nan) if why else (low, high)), asked.level, "PFR / NFR", why
    )
    return estimates


def _means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    totals = counts @ sums
    means: np.ndarray = totals[:, :-1] / totals[:, -1:]
    return means


def _soft_churn(sheet: Sheet) -> tuple[np.ndarray | None, str, str]:
    """Give KL(old ‖ new) of each item in nats, why there is none, and how many probabilities were raised to 1e-12."""
    names = [str(name) for name in sheet.frame.columns if str(name).startswith("prob.")]
    if not names:
        return None, "no probabilities (prob.*)", ""
    old, new = (np.stack([sheet.values(name, side) for name in names], axis=1) for side in (0, 1))
    if not (np.isfinite(old).any() and np.isfinite(new).any()):
        return None, "no probabilities of both", ""
    if not (np.isfinite(old).all() and np.isfinite(new).all()):
        return None, "some items lack probabilities", ""
    clipped = int(np.count_nonzero((new < _LEAST_PROBABILITY) & (old > 0)))
    ratio = np.log(np.maximum(old, _LEAST_PROBABILITY) / np.maximum(new, _LEAST_PROBABILITY))
    said = f", {clipped:,} probabilities raised to 1e-12" if clipped else ""
    return np.sum(np.where(old > 0, old * ratio, 0.0), axis=1), "", said


def _matrix(
    store: RunStore, asked: ChurnQuestion, notes: list[str]
) -> tuple[np.ndarray, tuple[str, ...], tuple[Clause, ...]]:
    sheet = answer_sheet(store, asked, asked.versions)
    codes, _ = equal_answers(sheet, asked.equality)
    k = len(sheet.names)
    matrix = np.stack([(codes != codes[:, [number]]).mean(axis=0) for number in range(k)])
    notes.append(f"Matrix: {len(sheet):,} items that all {k} versions answered.")
    behind = tuple(
        sheet.clause(codes[:, a] != codes[:, b], (sheet.names[a], sheet.names[b])) for a in range(k) for b in range(k)
    )
    return matrix, sheet.names, behind


def _pairs(matrix: np.ndarray, names: tuple[str, ...]) -> pd.DataFrame:
    i, j = np.triu_indices(len(names), 1)
    array = np.array(names, dtype=object)
    return pd.DataFrame({"a": array[i], "b": array[j], "churn": matrix[i, j]})


def _table(kinds: dict[str, dict[str, np.ndarray]], n: int) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "new": name,
                "kind": kind,
                "what": _LABELS[kind][0],
                "items": int(masks[kind].sum()),
                "share": masks[kind].sum() / n,
            }
            for name, masks in kinds.items()
            for kind in KINDS
        ]
    )


def _flow(sheet: Sheet) -> tuple[np.ndarray, tuple[str, ...], tuple[Clause, ...]]:
    assert sheet.answers is not None
    old, new = sheet.answers[:, 0], sheet.answers[:, 1]
    used = np.unique(np.concatenate([old, new]))
    if len(used) > _MOST_ANSWERS:
        return np.zeros((0, 0)), (), ()
    texts = ["none" if code < 0 else str(sheet.texts[code]) for code in used.tolist()]
    order = sorted(range(len(used)), key=lambda at: (used[at] < 0, len(texts[at]), texts[at]))
    flow = np.array([[np.count_nonzero((old == used[a]) & (new == used[b])) for b in order] for a in order], float)
    behind = tuple(sheet.clause((old == used[a]) & (new == used[b])) for a in order for b in order)
    return flow, tuple(texts[at] for at in order), behind


def figure(question: ChurnQuestion, result: Churn) -> FigureSpec:
    """Draw what kind of change there is, the churn of all pairs, and the flow from old to new answers."""
    names = tuple(result.kinds)
    bars = []
    base = np.zeros(len(names))
    at = np.arange(len(names), dtype=float)
    for number, kind in enumerate(KINDS):
        shares = 100 * np.array([result.kinds[name][0][number] for name in names])
        if not shares.any():
            continue
        label, hue = _LABELS[kind]
        bars.append(
            Bars(
                key=kind, at=at, height=base + shares, base=base, horizontal=True, hue=hue, label=label, width=0.6,
                origin=Clauses("predictions", tuple(result.kinds[name][1][number] for name in names)),
                notes=tuple(f"{name}, {label}: {share:.2f} %" for name, share in zip(names, shares.tolist(), strict=True)),
            )
        )  # fmt: skip
        base = base + shares
    shown = tuple(shortened(f"{name} (retrain)" if name == result.retrain else name, 30) for name in names)
    panels = [
        Panel(
            key="kinds",
            x=Axis(label=f"answers that differ from {shortened(result.old, 24)} (% of items)", low=0.0),
            y=Axis(scale="category", names=shown, inverted=True),
            marks=tuple(bars),
            title="What changes",
        )
    ]
    if len(result.answers):
        panels.append(_flow_panel(result))
    if len(result.names) > 2:
        matrix = result.matrix.copy()
        np.fill_diagonal(matrix, np.nan)
        panels.append(
            square_matrix(
                "matrix", matrix, result.names, label="answers that differ (%)", title="Churn of all pairs",
                clauses=result.matrix_items,
            )
        )  # fmt: skip
    return FigureSpec(
        title=f"Churn, {result.old} → {result.new}",
        subtitle=f"{result.estimates['n'].value:,.0f} items both answered",
        panels=tuple(panels),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )


def _flow_panel(result: Churn) -> Panel:
    shares = result.flow / np.maximum(result.flow.sum(axis=1, keepdims=True), 1)
    off = shares.copy()
    np.fill_diagonal(off, np.nan)
    texts = tuple(tuple(f"{cell:,.0f}" if cell else "" for cell in row) for row in result.flow.tolist())
    return Panel(
        key="flow",
        x=Axis(label="new answer", scale="category", names=result.answers),
        y=Axis(label="old answer", scale="category", names=result.answers, inverted=True),
        marks=(
            Cells(
                key="flow", values=100 * off, rows=result.answers, columns=result.answers, texts=texts, low=0.0,
                label="% of the items with the old answer", origin=Clauses("predictions", result.flow_items),
            ),
        ),
        title="From old to new answer",
        square=True,
        height=1.5,
    )  # fmt: skip


ANALYSIS = Analysis(
    id="compat.churn",
    title="Prediction churn",
    asks="How many answers change at all, and more than in a plain retrain?",
    question=ChurnQuestion,
    figure=figure,
    sources=(
        "Milani Fard et al. (2016), Launch and Iterate: Reducing Prediction Churn",
        "Jiang et al. (2022), Churn Reduction via Distillation; Watson-Daniels et al. (2024), Predictive Churn",
    ),
    definition="""\
Churn = share of items whose answer differs between old and new. Good = wrong before, right now (PFR); bad = right
before, wrong now (NFR); neutral = another wrong answer. Win–loss = PFR / NFR. Soft churn = mean KL(p_old ‖ p_new) in
nats. Churn ratio = churn to new / churn to a plain retrain of old on the same items. Churn is symmetric and at most
err_old + err_new where one answer is right.

Unit: the item (Wilson), or the cluster (bootstrap); the ratio and soft churn by percentile bootstrap. Trap: without a
retrain of the same recipe churn has no scale; free text counts as changed for a comma. """,
)
