"""``compat.agreement``: whether two models say the same thing, beyond what their accuracy makes them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError
from ...models.figure import Axis, Clauses, FigureSpec, Line, Panel, Points
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result, counted, with_interval
from ...models.selection import Clause
from ...models.store import RunStore
from ..answer_marks import square_matrix
from ..answer_sheet import PairQuestion, Sheet, answer_sheet, cluster_units, drawn_units
from ..resampling import DRAWS, bootstrap, percentile_interval

_LEAST = 1e-12
_MOST_CLICKS = 40
_MOST_ANSWERS = 300


@dataclass(frozen=True, kw_only=True)
class Agreement(Result):
    """Agreement of all pairs.

    Attributes
    ----------
    names : tuple of str
        The versions.
    matrices : dict of str to ndarray, shape (versions, versions)
        agreement, kappa, error_overlap, divergence.
    items : tuple of Clause
        Items on which each pair disagrees, row by row; empty for very many versions.
    accuracies : ndarray, shape (versions,)
        Accuracy of each.
    right_agreement : ndarray, shape (versions, versions)
        Share of items on which both are right or both wrong.
    pair : tuple of (str, str)
        The pair the estimates are of.
    """

    names: tuple[str, ...]
    matrices: dict[str, np.ndarray]
    items: tuple[Clause, ...]
    accuracies: np.ndarray
    right_agreement: np.ndarray
    pair: tuple[str, str]

    def summary(self) -> str:
        """Give the answer in one sentence."""
        a, kappa = self.estimates["agreement"], self.estimates["kappa"]
        return (
            f"{self.pair[0]} and {self.pair[1]} give the same answer to {100 * a.value:.1f} % "
            f"[{100 * a.low:.1f}, {100 * a.high:.1f}] of {self.estimates['n'].value:,.0f} items; "
            f"Cohen's kappa is {with_interval(kappa.value, kappa.low, kappa.high)}."
        )


@dataclass(frozen=True, kw_only=True)
class AgreementQuestion(PairQuestion):
    """Do two models say the same thing, beyond accuracy?"""

    versions: tuple[str, ...] = option(
        (), help="versions of the matrix; all if empty", choices="predictions.version|predictions.model"
    )
    show: Literal["agreement", "kappa", "error_overlap", "divergence"] = option(
        "agreement", help="what the matrix shows"
    )
    cluster: str = option(
        "", help="column of items that belong together and are resampled whole", choices="columns of predictions"
    )
    draws: int = option(DRAWS, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> Agreement:
        """Compare the answers of all pairs."""
        asked = self.resolved(store)
        if asked.unanswered == "guess":
            raise AnalysisError("A guessed answer cannot be compared.", remedy="Count no answer as wrong or drop it.")
        pair = answer_sheet(store, asked, (asked.old, asked.new), about=(asked.cluster,))
        estimates, unit = _estimates(pair, asked, engine, progress)
        sheet = answer_sheet(store, asked, asked.versions)
        codes = _answers(sheet)
        k = len(sheet.names)
        right = sheet.right > 0.5
        wrong = ~right
        divergence, clipped = _divergences(sheet)
        matrices = {
            "agreement": np.stack([(codes == codes[:, [i]]).mean(axis=0) for i in range(k)]),
            "kappa": _kappas(codes),
            "error_overlap": _ratio(wrong.T.astype(float) @ wrong, (wrong[:, :, None] | wrong[:, None, :]).sum(axis=0)),
            "divergence": divergence,
        }
        agree = right.T.astype(float) @ right + wrong.T.astype(float) @ wrong
        i, j = np.triu_indices(k, 1)
        names = np.array(sheet.names, dtype=object)
        table = pd.DataFrame({"a": names[i], "b": names[j]} | {name: matrix[i, j] for name, matrix in matrices.items()})
        if asked.show == "divergence" and not np.isfinite(divergence[~np.eye(k, dtype=bool)]).any():
            raise AnalysisError(
                "There are no probabilities (prob.*) of two versions.", remedy="Show agreement or kappa."
            )
        differ = _answers(pair)[:, 0] != _answers(pair)[:, 1]
        behind = tuple(
            sheet.clause(codes[:, a] != codes[:, b], (sheet.names[a], sheet.names[b]))
            for a in range(k)
            for b in range(k)
        )
        return Agreement(
            names=sheet.names,
            matrices=matrices,
            items=behind if k <= _MOST_CLICKS else (),
            accuracies=sheet.right.mean(axis=0),
            right_agreement=agree / len(sheet),
            pair=(asked.old, asked.new),
            estimates=estimates,
            tables={"pairs": table, "items": pair.listed(differ, (0, 1), ("old", "new"))},
            notes=(
                unit,
                f"Intervals: {100 * asked.level:g} % percentile bootstrap, {asked.draws} draws, seed {asked.seed}.",
                *pair.notes,
                f"Matrix: {len(sheet):,} items that all {k} versions answered.",
                *(
                    []
                    if sheet.answers is not None
                    else ["Answers were not recorded: agreement is in being right or wrong."]
                ),
                *(
                    [f"{counted(clipped, 'probability').replace('ys', 'ies')} below 1e-12 raised to it."]
                    if clipped
                    else []
                ),
            ),
        )


def _answers(sheet: Sheet) -> np.ndarray:
    return sheet.answers if sheet.answers is not None else (sheet.right > 0.5).astype(int)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(above / below)


def cohen_kappa(one: np.ndarray, other: np.ndarray) -> float:
    """Give Cohen's kappa of two vectors of answers; NaN where both give one and the same answer throughout."""
    values, numbers = np.unique(np.concatenate([one, other]), return_inverse=True)
    a, b = (np.bincount(part, minlength=len(values)) / len(one) for part in (numbers[: len(one)], numbers[len(one) :]))
    expected = float(a @ b)
    return math.nan if expected == 1 else (float(np.mean(one == other)) - expected) / (1 - expected)


def _kappas(codes: np.ndarray) -> np.ndarray:
    """Give Cohen's kappa of all pairs of columns, shape (versions, versions)."""
    k = codes.shape[1]
    numbers = np.unique(codes, return_inverse=True)[1].reshape(codes.shape)
    margins = np.stack([np.bincount(numbers[:, i], minlength=int(numbers.max()) + 1) for i in range(k)]) / len(codes)
    expected = margins @ margins.T
    agree = np.stack([(numbers == numbers[:, [i]]).mean(axis=0) for i in range(k)])
    return np.where(expected < 1, _ratio(agree - expected, 1 - expected), np.nan)


def _divergences(sheet: Sheet) -> tuple[np.ndarray, int]:
    """Give the mean KL divergence (nats) of each pair, row ‖ column, and how many probabilities were raised to 1e-12."""
    k = len(sheet.names)
    matrix = np.full((k, k), np.nan)
    columns = [str(name) for name in sheet.frame.columns if str(name).startswith("prob.")]
    if not columns:
        return matrix, 0
    probabilities = [np.stack([sheet.values(name, version) for name in columns], axis=1) for version in range(k)]
    complete = [bool(np.isfinite(one).all()) for one in probabilities]
    clipped = sum(
        int(np.count_nonzero(one < _LEAST)) for one, known in zip(probabilities, complete, strict=True) if known
    )
    logs = [np.log(np.maximum(one, _LEAST)) for one in probabilities]
    for i in range(k):
        for j in range(k):
            if complete[i] and complete[j]:
                matrix[i, j] = float(np.mean(np.sum(probabilities[i] * (logs[i] - logs[j]), axis=1)))
    return matrix, clipped


def _estimates(
    sheet: Sheet, asked: AgreementQuestion, engine: Engine, progress: Progress
) -> tuple[dict[str, Estimate], str]:
    codes = _answers(sheet)
    numbers = np.unique(codes, return_inverse=True)[1].reshape(codes.shape)
    units, number, unit = cluster_units(sheet, asked.cluster)
    # Kappa needs the margins: a column for each side of each answer that occurs on both.
    used = np.intersect1d(numbers[:, 0], numbers[:, 1]).tolist()
    many = len(used) > _MOST_ANSWERS
    used = [] if many else used
    wrong = sheet.right <= 0.5
    columns = [numbers[:, 0] == numbers[:, 1], wrong.all(axis=1), wrong.any(axis=1), np.ones(len(sheet), dtype=bool)]
    columns += [numbers[:, 0] == v for v in used] + [numbers[:, 1] == v for v in used]
    sums, sizes = drawn_units(np.stack(columns, axis=1).astype(float), units, number)
    statistic = partial(_of_sums, sums, len(used))
    seen = statistic(sizes[None].astype(float))[0]
    drawn = bootstrap(
        statistic, sizes, draws=asked.draws, seed=asked.seed, engine=engine, progress=progress, block_size=50
    )
    if many:
        seen[1], drawn[:, 1] = cohen_kappa(codes[:, 0], codes[:, 1]), np.nan
    low, high = (np.asarray(end) for end in percentile_interval(drawn, asked.level))
    estimates = {"n": Estimate(len(sheet), unit="items", why_no_interval="a count")}
    for at, (name, said, why) in enumerate(
        (
            ("agreement", "of items", ""),
            ("kappa", "Cohen", "more than 300 different answers" if many else "one answer throughout"),
            ("error_overlap", "of items either has wrong", "no errors"),
        )
    ):
        value = float(seen[at])
        estimates[name] = Estimate(
            value, float(low[at]), float(high[at]), asked.level, said, why if math.isnan(float(low[at])) else ""
        )
    a, b = sheet.right.mean(axis=0).tolist()
    estimates["accuracy_old"] = Estimate(a, why_no_interval="see compat.flips")
    estimates["accuracy_new"] = Estimate(b, why_no_interval="see compat.flips")
    return estimates, unit


def _of_sums(sums: np.ndarray, used: int, counts: np.ndarray) -> np.ndarray:
    totals = counts @ sums
    n = totals[:, 3]
    agree = totals[:, 0] / n
    expected = np.sum(totals[:, 4 : 4 + used] * totals[:, 4 + used :], axis=1) / n**2
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa = np.where(expected < 1, (agree - expected) / (1 - expected), np.nan)
        overlap = totals[:, 1] / totals[:, 2]
    return np.stack([agree, kappa, overlap], axis=1)


def figure(question: AgreementQuestion, result: Agreement) -> FigureSpec:
    """Draw the matrix, and agreement in being right against what independent models of that accuracy would show."""
    matrix = result.matrices[question.show].copy()
    np.fill_diagonal(matrix, np.nan)
    share = question.show in ("agreement", "error_overlap")
    titles = {
        "agreement": ("Same answer (% of items)", "Agreement"),
        "kappa": ("Cohen's kappa", "Kappa"),
        "error_overlap": ("both wrong / either wrong (%)", "Overlap of errors"),
        "divergence": ("mean KL(row ‖ column), nats", "Divergence"),
    }[question.show]
    panels = [
        square_matrix(
            "matrix", matrix, result.names, label=titles[0], title=titles[1], clauses=result.items,
            scale=100.0 if share else 1.0, digits=1 if share else 2,
            low=min(0.0, float(np.nanmin(matrix))) if np.isfinite(matrix).any() else 0.0,
        )
    ]  # fmt: skip
    i, j = np.triu_indices(len(result.names), 1)
    a, b = result.accuracies[i], result.accuracies[j]
    independent = a * b + (1 - a) * (1 - b)
    names = tuple(
        f"{result.names[x]} and {result.names[y]}: {100 * result.right_agreement[x, y]:.1f} %, independent {100 * e:.1f} %"
        for x, y, e in zip(i, j, independent, strict=True)
    )
    behind = Clauses("predictions", tuple(result.items[x * len(result.names) + y] for x, y in zip(i, j, strict=True)))
    panels.append(
        Panel(
            key="chance",
            x=Axis(label="agreement in being right if independent (%)"),
            y=Axis(label="agreement in being right (%)"),
            marks=(
                Line(
                    key="same", x=np.array([0.0, 100.0]), y=np.array([0.0, 100.0]), hue="muted", dash="dashed",
                    label="independent",
                ),
                Points(
                    key="pairs", x=100 * independent, y=100 * result.right_agreement[i, j], size=6.0, label="pair",
                    notes=names, origin=behind if result.items else None,
                ),
            ),
            title="Beyond accuracy",
            square=True,
            height=1.5,
        )
    )  # fmt: skip
    spread = np.concatenate([100 * independent, 100 * result.right_agreement[i, j]])
    low, high = float(spread.min()) - 3, min(float(spread.max()) + 3, 101.0)
    last = panels[-1]
    panels[-1] = Panel(
        key=last.key, x=Axis(label=last.x.label, low=low, high=high), y=Axis(label=last.y.label, low=low, high=high),
        marks=last.marks, title=last.title, square=True, height=1.5,
    )  # fmt: skip
    return FigureSpec(
        title="Agreement of versions",
        subtitle=f"{result.estimates['n'].value:,.0f} items; {counted(len(i), 'pair')}",
        panels=tuple(panels),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )


ANALYSIS = Analysis(
    id="compat.agreement",
    title="Agreement and fidelity",
    asks="Do two models say the same thing, beyond accuracy?",
    question=AgreementQuestion,
    figure=figure,
    sources=(
        "Stanton et al. (2021), Does Knowledge Distillation Really Work?: top-1 agreement and KL",
        "Cohen (1960): kappa",
        "Geirhos, Meding and Wichmann (2020), Beyond accuracy: error consistency",
    ),
    definition="""\
Agreement = share of items with the same answer (no answer counts as one answer); kappa = (agreement − expected) / (1
− expected), expected from both margins; error overlap = both wrong / either wrong; divergence = mean KL(p_row ‖
p_column) in nats, with probabilities below 1e-12 raised to it. Beyond accuracy: agreement in being right against a·b
+ (1 − a)(1 − b), that of models that err independently.

Unit: the item, or the cluster (bootstrap). Trap: two accurate models agree a lot in any case. """,
)
