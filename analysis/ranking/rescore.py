"""``labels.rescore``: would corrected labels change the winner?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, FigureSpec, Line, Mark, Panel, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, with_interval
from ...models.store import RunStore
from ..answer_matrix import AnswerMatrix, answer_matrix
from ..answers import present
from ..rank_correlation import kendall_matrix, midranks
from ..resampling import DRAWS, bootstrap, percentile_interval
from ..score_marks import interval_rows

_CORRECTED = ("corrected_label", "true_label", "label_corrected", "fixed_label", "clean_label")
_MOST_LINES = 12
_STATISTICS = ("given", "corrected", "gain", "clean", "mislabelled")


@dataclass(frozen=True, kw_only=True)
class Rescored(Result):
    """Accuracies on the labels given and on corrected ones.

    Attributes
    ----------
    answers : AnswerMatrix
        Who was right by the labels given.
    models : DataFrame
        One row a model, the best by corrected labels first: accuracies with intervals, ranks, errors.
    swaps : DataFrame
        One row a pair of models whose order turns somewhere between clean items only and mislabelled ones only.
    prevalence : float
        Share of items whose label was corrected.
    changed : ndarray of bool, shape (items,)
        Which.
    """

    answers: AnswerMatrix
    models: pd.DataFrame
    swaps: pd.DataFrame
    prevalence: float
    changed: np.ndarray

    def summary(self) -> str:
        """Give the answer in one sentence."""
        before = self.models.iloc[int(self.models["rank_given"].to_numpy(float).argmin())]["model"]
        after = self.models.iloc[0]["model"]
        first = f"{after} leads by corrected labels" + (
            f" and by those given {before} did" if before != after else " as by those given"
        )
        moved = int((self.models["rank_given"] != self.models["rank_corrected"]).sum())
        return (
            f"{first}; {int(self.changed.sum()):,} of {len(self.changed):,} labels ({100 * self.prevalence:.2f} %) were "
            f"corrected, {moved} of {counted(len(self.models), 'model')} change rank, "
            f"{counted(len(self.swaps), 'pair')} would swap at some share of mislabelled items."
        )


@dataclass(frozen=True, kw_only=True)
class RescoreQuestion(Question):
    """Would corrected labels change the winner?"""

    needs: ClassVar = (Need("predictions", ("prediction",)), Need("predictions", ("label",)))

    corrected: str = option(
        "", help="column of the corrected label; found by its name if empty", choices="columns of predictions"
    )
    task: str = option("", help="the task; the first with corrected labels if empty", choices="predictions.task")
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in the column of corrected labels, and the task that has some."""
        if not store.has_rows("predictions"):
            return self
        frame = store.rows("predictions")
        found = present(frame, (self.corrected,) if self.corrected else _CORRECTED)
        if not found:
            return self
        task = self.task
        if not task and present(frame, ["task"]):
            task = str(frame.loc[frame[found[0]].notna(), "task"].iloc[0])
        return replace(self, corrected=found[0], task=task)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> Rescored:
        """Score every model by both labels."""
        asked = self.resolved(store)
        frame = store.rows("predictions")
        if not asked.corrected:
            raise TooLittleData(
                needs="a column with corrected labels",
                found=f"none called {', '.join(_CORRECTED[:3])}",
                remedy="Map one onto 'corrected_label'.",
            )
        if asked.corrected not in frame.columns:
            raise AnalysisError(f"The predictions have no column called {asked.corrected!r}.")
        frame = frame[frame["label"].notna()]
        label = frame["label"].astype(str)
        corrected = _as_text(frame[asked.corrected])
        corrected = corrected.where(corrected.notna(), label)
        frame = frame.assign(
            _looked_at=frame[asked.corrected].notna(), _changed=corrected != label, _corrected=corrected, _given=label
        )
        said = frame["prediction"].astype(str)
        keep = ("_changed", "_looked_at", "_given", "_corrected")
        given = answer_matrix(frame.assign(correct=(said == label).astype(float)), task=asked.task, keep=keep, fewest=1)
        fixed = answer_matrix(frame.assign(correct=(said == corrected).astype(float)), task=asked.task, fewest=1)
        changed = given.items["_changed"].to_numpy(bool)
        n, k = given.right.shape
        if not changed.any():
            raise TooLittleData(needs="items whose label was corrected", found=f"none of {n:,}")
        sums = np.concatenate([given.right, fixed.right], axis=1)
        values = _accuracies(sums, changed, np.ones((1, n)))[0]
        drawn = bootstrap(
            partial(_accuracies, sums, changed), n, draws=asked.draws, seed=asked.seed, engine=engine, progress=progress
        )
        low, high = (np.asarray(end) for end in percentile_interval(drawn, asked.level))
        models = _models(given, changed, values, low, high)
        swaps = _swaps(given, values)
        prevalence = float(changed.mean())
        tau = float(kendall_matrix(values[:, :2])[0, 1]) if k > 1 else math.nan
        estimates = {
            "prevalence": Estimate(prevalence, why_no_interval="a share of the items looked at, corrected by hand"),
            "tau_b": Estimate(tau, why_no_interval="see the intervals of the accuracies"),
            "swaps": Estimate(float(len(swaps)), unit="pairs", why_no_interval="a count"),
        }
        for i, name in enumerate(given.names):
            for j, statistic in enumerate(_STATISTICS[:3]):
                estimates[f"{name}/{statistic}"] = Estimate(
                    float(values[i, j]), float(low[i, j]), float(high[i, j]), asked.level, "of items"
                )
        notes = [
            f"Unit: the item, n = {n:,}. {100 * asked.level:g} % percentile bootstrap, {asked.draws} draws, seed {asked.seed}; "
            "given and corrected labels on the same resamples.",
            "Sweep: A(N) = (1 - N) accuracy on clean items + N accuracy, by corrected labels, on mislabelled ones. It takes "
            "the mislabelled items of a noisier set to be like those found here.",
        ]
        if _only_where_wrong(given):
            notes.insert(
                0,
                "Attention: every item that was looked at is one on which some model disagreed with its label. Wrong labels "
                "that models agree with were never found, so gains are biased upwards.",
            )
        return Rescored(
            answers=given,
            models=models,
            swaps=swaps,
            prevalence=prevalence,
            changed=changed,
            estimates=estimates,
            tables={"models": models, "swaps": swaps, "items": _items(given, fixed)},
            notes=(*notes, *given.notes),
        )


def _as_text(values: pd.Series) -> pd.Series:
    """Give labels as text, a whole number without the point that a missing neighbour gave it."""
    if pd.api.types.is_float_dtype(values.dtype) and bool((values.dropna() == values.dropna().round()).all()):
        values = values.astype("Int64")
    return values.astype(object).where(values.notna(), None).map(str, na_action="ignore")


def _accuracies(sums: np.ndarray, changed: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Give `_STATISTICS` of every model in resamples, shape (draws, models, 5).

    Parameters
    ----------
    sums : ndarray, shape (items, 2 models)
        Right by the labels given, then by corrected ones.
    """
    counts = counts.astype(float)
    k = sums.shape[1] // 2
    clean, hard = counts[:, ~changed], counts[:, changed]
    on_clean, on_hard = clean @ sums[~changed], hard @ sums[changed]
    n_clean, n_hard = clean.sum(axis=1)[:, None], hard.sum(axis=1)[:, None]
    n = n_clean + n_hard
    given = (on_clean[:, :k] + on_hard[:, :k]) / n
    fixed = (on_clean[:, k:] + on_hard[:, k:]) / n
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([given, fixed, fixed - given, on_clean[:, k:] / n_clean, on_hard[:, k:] / n_hard], axis=2)


def _models(
    given: AnswerMatrix, changed: np.ndarray, values: np.ndarray, low: np.ndarray, high: np.ndarray
) -> pd.DataFrame:
    columns: dict[str, object] = {"model": list(given.names)}
    for j, name in enumerate(_STATISTICS):
        columns |= {name: values[:, j], f"{name}_low": low[:, j], f"{name}_high": high[:, j]}
    ranks = midranks(values[:, :2])
    wrong = given.right == 0
    errors = wrong.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = wrong[changed].sum(axis=0) / errors
    left = np.round((1 - values[:, 1]) * len(changed)).astype(int)
    columns |= {
        "rank_given": ranks[:, 0], "rank_corrected": ranks[:, 1], "errors_given": errors, "errors_corrected": left,
        "errors_on_wrong_labels": share,
        # The rule of three: the highest error rate under which seeing none is not unlikely.
        "error_upper_if_none": np.where(left == 0, 3 / len(changed), np.nan),
    }  # fmt: skip
    return pd.DataFrame(columns).sort_values("rank_corrected", kind="stable", ignore_index=True)


def _swaps(given: AnswerMatrix, values: np.ndarray) -> pd.DataFrame:
    """Give the prevalence of mislabelled items at which the order of two models turns, for the pairs that have one."""
    rows = []
    clean, hard = values[:, 3], values[:, 4]
    for i in range(len(clean)):
        for j in range(i + 1, len(clean)):
            on_clean, on_hard = clean[i] - clean[j], hard[i] - hard[j]
            if on_clean * on_hard < 0:
                rows.append(
                    {
                        "first": given.names[i], "second": given.names[j], "prevalence": on_clean / (on_clean - on_hard),
                        "gap_clean": on_clean, "gap_mislabelled": on_hard,
                    }
                )  # fmt: skip
    table = pd.DataFrame(rows, columns=["first", "second", "prevalence", "gap_clean", "gap_mislabelled"])
    return table.sort_values("prevalence", ignore_index=True)


def _only_where_wrong(given: AnswerMatrix) -> bool:
    """Whether labels were looked at only where a model disagreed with them, and not everywhere."""
    looked = given.items["_looked_at"].to_numpy(bool)
    disagreed = (given.right == 0).any(axis=1)
    return bool(not looked.all() and not (looked & ~disagreed).any())


def _items(given: AnswerMatrix, fixed: AnswerMatrix) -> pd.DataFrame:
    """Give the items whose label was corrected, with how many models each label finds right."""
    changed = given.items["_changed"].to_numpy(bool)
    table = given.items[changed].rename(columns={"_given": "label", "_corrected": "corrected"})
    named = [name for name in ("task", "item", "sample", "label", "corrected") if name in table.columns]
    right = {"right_given": given.right[changed].sum(axis=1), "right_corrected": fixed.right[changed].sum(axis=1)}
    return table[named].assign(**right).reset_index(drop=True)


def figure(question: RescoreQuestion, result: Rescored) -> FigureSpec:
    """Draw accuracy against the share of mislabelled items, one line a model, and what correction does to each."""
    table = result.models
    x = np.linspace(0, 1, 101)
    marks: list[Mark] = [
        Rule(key="observed", axis="x", at=100 * result.prevalence, label=f"found: {100 * result.prevalence:.1f} %")
    ]
    for number, row in enumerate(table.head(_MOST_LINES).to_dict("records")):
        hue, behind = f"c{number}", result.answers.origin((row["model"],))
        ends = {
            end: 100 * ((1 - x) * row[f"clean{end}"] + x * row[f"mislabelled{end}"]) for end in ("", "_low", "_high")
        }
        if len(table) <= 4:
            marks.append(Band(key=f"{row['model']}/band", x=100 * x, low=ends["_low"], high=ends["_high"], hue=hue,
                              origin=behind))  # fmt: skip
        marks.append(
            Line(key=row["model"], x=100 * x, y=ends[""], hue=hue, width=1.6, label=row["model"], origin=behind)
        )
    sweep = Panel(
        key="sweep",
        x=Axis(label="mislabelled items (%)"),
        y=Axis(label="accuracy by corrected labels (%)"),
        marks=tuple(marks),
        title="If more labels were wrong",
    )
    names = tuple(table["model"])
    at = np.arange(len(names), dtype=float)
    origin = result.answers.origin(names)
    rows: list[Mark] = []
    for number, (name, label) in enumerate((("given", "labels given"), ("corrected", "corrected labels"))):
        value, low, high = (100 * table[f"{name}{end}"].to_numpy(float) for end in ("", "_low", "_high"))
        ranks = table[f"rank_{name}"].tolist()
        notes = tuple(
            f"{model}, {label}: {with_interval(v, a, b)} %, rank {rank:g}"
            for model, v, a, b, rank in zip(names, value.tolist(), low.tolist(), high.tolist(), ranks, strict=True)
        )
        rows += interval_rows(name, at + 0.3 * number - 0.15, value, low, high, hue=f"c{number}", label=label,
                              origin=origin, notes=notes)  # fmt: skip
    level = f"{100 * question.level:g} %"
    accuracy = Panel(
        key="accuracy",
        x=Axis(label=f"accuracy (%), {level} over items"),
        y=Axis(scale="category", names=names, inverted=True),
        marks=tuple(rows),
        title="Given and corrected",
    )
    n = int(result.changed.sum())
    return FigureSpec(
        title=f"Corrected labels{f' of {question.task}' if question.task else ''}",
        subtitle=f"{n:,} of {len(result.changed):,} labels corrected, {counted(len(names), 'model')}",
        panels=(sweep, accuracy),
        columns=2,
        caption=f"{result.summary()} {next(note for note in result.notes if note.startswith('Unit'))}",
    )


ANALYSIS = Analysis(
    id="labels.rescore",
    title="Corrected labels",
    asks="Would corrected labels change the winner?",
    question=RescoreQuestion,
    figure=figure,
    sources=(
        "Northcutt, Athalye and Mueller (2021), Pervasive Label Errors in Test Sets Destabilize Machine Learning Benchmarks",
        "Vendrow et al. (2025), Do Large Language Model Benchmarks Test Reliability? (platinum benchmarks)",
    ),
    definition="""\
Every model is scored by the labels given and by corrected ones. With $a$ the accuracy on clean items and $c$ that on
mislabelled items by their corrected labels, a set with a share N of mislabelled items would show
$A(N)=(1-N)a+Nc$; two models swap at $N^*=(a_1-a_2)/((a_1-a_2)-(c_1-c_2))$.

Unit: the item. Traps: where only items on which models erred were looked at, gains are biased; and A(N) takes noise to
hit the clean items of all models alike. """,
)
