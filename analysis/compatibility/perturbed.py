"""``compat.perturbed``: whether a score survives rewording."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import TooLittleData
from ...models.figure import Axis, Bars, Clauses, FigureSpec, Line, Panel, Points
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result, counted
from ...models.selection import Clause, both, is_in
from ...models.store import RunStore
from ..answer_marks import MOST_ROWS, dots, named_axis, zero
from ..answer_sheet import AnswersQuestion, Sheet, answer_sheet, cluster_units
from ..answers import present
from ..paired_differences import Differences
from ..paired_tests import mcnemar_exact_all
from ..resampling import holm, t_interval, wilson

_VARIANT_COLUMNS = ("variant", "perturbation", "distortion", "rewrite", "prompt", "template", "fewshot", "length")
_ORIGINALS = ("original", "orig", "none", "clean", "base", "standard", "0", "0.0")


@dataclass(frozen=True, kw_only=True)
class Perturbed(Result):
    """Original against perturbed items.

    Attributes
    ----------
    original : str
        The variant the others are held against.
    variants : tuple of str
        The others.
    levels : ndarray, shape (variants + 1,)
        Levels of distortion, the original first; empty where variants are no numbers.
    items : dict of (str, str) to Clause
        Items that went from right to wrong, by model and variant.
    right_under : dict of str to ndarray of int
        By model: on how many variants, the original included, each item is right.
    right_items : dict of str to tuple of Clause
        By model: items that are right on 0, 1, 2, ... variants.
    focus : str
        Model with the largest drop.
    """

    original: str
    variants: tuple[str, ...]
    levels: np.ndarray
    items: dict[tuple[str, str], Clause]
    right_under: dict[str, np.ndarray]
    right_items: dict[str, tuple[Clause, ...]]
    focus: str

    def summary(self) -> str:
        """Give the answer in one sentence."""
        drop = self.estimates["mean_drop"]
        interval = f" [{100 * drop.low:.2f}, {100 * drop.high:.2f}]" if drop.has_interval else ""
        tests = len(self.tables["drops"])
        return (
            f"From {self.original} to perturbed items accuracy falls by {100 * drop.value:.2f}{interval} points on average "
            f"over {counted(len(self.right_under), 'model')}; {counted(int(self.estimates['overfit'].value), 'drop')} of "
            f"{tests} "
            f"{'is' if self.estimates['overfit'].value == 1 else 'are'} significant after Holm."
        )


@dataclass(frozen=True, kw_only=True)
class PerturbedQuestion(AnswersQuestion):
    """Does the score survive rewording?"""

    original: str = option(
        "", help="variant the others are held against", choices="predictions.variant|predictions.perturbation"
    )
    cluster: str = option(
        "", help="column of items that belong together and count as one", choices="columns of predictions"
    )

    def resolved(self, store: RunStore) -> Self:
        """Fill in the column of variants and which of them is the original."""
        if not store.has_rows("predictions"):
            return self
        frame = store.rows("predictions")
        found = [name for name in present(frame, _VARIANT_COLUMNS) if frame[name].nunique() > 1]
        by = self.by or (found[0] if found else "")
        if by not in frame.columns:
            return replace(self, by=by)
        names = [str(name) for name in frame[by].dropna().unique()]
        original = self.original or next((name for name in names if name.lower() in _ORIGINALS), "")
        if not original and names:
            original = min(names, key=lambda name: (not _is_number(name), float(name) if _is_number(name) else 0.0))
        return replace(self, by=by, original=original)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> Perturbed:
        """Hold every variant against the original, model by model."""
        asked = self.resolved(store)
        if not asked.by:
            raise TooLittleData(
                needs="a column that says which variant of an item was asked",
                found="none of " + ", ".join(_VARIANT_COLUMNS),
                remedy="Choose the column (by), or map one onto 'variant'.",
            )
        frame = store.rows("predictions")
        models = [""]
        if asked.by != "model" and present(frame, ["model"]):
            models = [asked.model] if asked.model else [str(name) for name in frame["model"].dropna().unique()]
        drops: list[dict[str, object]] = []
        strips: list[dict[str, object]] = []
        notes: list[str] = []
        listed: list[pd.DataFrame] = []
        items: dict[tuple[str, str], Clause] = {}
        under: dict[str, np.ndarray] = {}
        right_items: dict[str, tuple[Clause, ...]] = {}
        names: tuple[str, ...] = ()
        for number, model in enumerate(models):
            progress(number, len(models), model)
            try:
                sheet = answer_sheet(store, replace(asked, model=model), about=(asked.cluster,))
            except TooLittleData:
                notes.append(f"{model} left out: it has no two variants of the same items.")
                continue
            first = sheet.column(asked.original)
            sheet = _original_first(sheet, first)
            names = names if len(names) >= len(sheet.names) else sheet.names
            name = model or "all"
            rows, clauses = _drops(sheet, name, asked)
            drops += rows
            items |= {(name, variant): clause for variant, clause in clauses.items()}
            strips.append(_consistency(sheet, name))
            under[name] = (sheet.right > 0.5).sum(axis=1)
            limit = (is_in("model", (model,)),) if model else ()
            right_items[name] = tuple(
                both(sheet.clause(under[name] == count), *limit) if limit else sheet.clause(under[name] == count)
                for count in range(len(sheet.names) + 1)
            )
            notes += [note if not model else f"{model}: {note}" for note in sheet.notes]
            listed.append(_listed(sheet, name))
        if not drops:
            raise TooLittleData(
                needs="two variants of the same items by one model", found="none", remedy="Do item keys agree?"
            )
        table = pd.DataFrame(drops)
        table["p_holm"] = holm(table["p"].to_numpy(float))
        table["overfit"] = (table["p_holm"] < 1 - asked.level) & (table["right_to_wrong"] > table["wrong_to_right"])
        strip = pd.DataFrame(strips)
        focus = str(table.groupby("model", sort=False)["drop"].mean().idxmax())
        variants = tuple(name for name in names if name != asked.original)
        levels = (
            np.array([float(name) for name in (asked.original, *variants)])
            if all(map(_is_number, names))
            else np.zeros(0)
        )
        unit = f"the {asked.cluster}, taken whole" if asked.cluster else "the item, with all its variants"
        return Perturbed(
            original=asked.original,
            variants=variants,
            levels=levels,
            items=items,
            right_under=under,
            right_items=right_items,
            focus=focus,
            estimates=_estimates(table, strip, asked),
            tables={"drops": table, "consistency": strip, "items": pd.concat(listed, ignore_index=True)},
            notes=(
                f"Unit: {unit}; intervals of single drops by t over units, {100 * asked.level:g} %.",
                f"{len(table)} exact McNemar tests of right to wrong against wrong to right, adjusted by Holm; overfit: "
                f"p below {1 - asked.level:.3g} and more items break than mend.",
                *notes,
            ),
        )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _original_first(sheet: Sheet, first: int) -> Sheet:
    order = [first, *(number for number in range(len(sheet.names)) if number != first)]
    return replace(
        sheet,
        names=tuple(sheet.names[number] for number in order),
        present=sheet.present[:, order],
        right=sheet.right[:, order],
        score=sheet.score[:, order],
        answers=None if sheet.answers is None else sheet.answers[:, order],
        blank=sheet.blank[:, order],
        row=sheet.row[:, order],
    )


def _drops(sheet: Sheet, model: str, asked: PerturbedQuestion) -> tuple[list[dict[str, object]], dict[str, Clause]]:
    units, number, _ = cluster_units(sheet, asked.cluster)
    rows, clauses = [], {}
    before = sheet.right[:, 0]
    for at in range(1, len(sheet.names)):
        after = sheet.right[:, at]
        change = Differences(after, before, units, number)  # original less perturbed: a drop is positive
        low, high = (float(end) for end in change.t_interval(asked.level))
        broke, mended = (before > 0.5) & (after <= 0.5), (before <= 0.5) & (after > 0.5)
        p = float(mcnemar_exact_all(broke.sum(), mended.sum())) if sheet.is_counted else math.nan
        rows.append(
            {
                "model": model,
                "variant": sheet.names[at],
                "n": len(sheet),
                "accuracy_original": float(before.mean()),
                "accuracy": float(after.mean()),
                "drop": change.mean,
                "low": low,
                "high": high,
                "retention": float(after.mean() / before.mean()) if before.any() else math.nan,
                "right_to_wrong": int(broke.sum()),
                "wrong_to_right": int(mended.sum()),
                "p": p,
            }
        )
        limit = is_in("model", (model,)) if asked.by != "model" and "model" in sheet.frame.columns else None
        clause = sheet.clause(broke, (sheet.names[0], sheet.names[at]))
        clauses[sheet.names[at]] = both(clause, limit) if limit is not None else clause
    return rows, clauses


def _consistency(sheet: Sheet, model: str) -> dict[str, object]:
    """Give how much the answers of the variants agree."""
    right = sheet.right > 0.5
    k = right.shape[1]
    agreement = largest = math.nan
    if sheet.answers is not None:
        same = [float(np.mean(sheet.answers[:, i] == sheet.answers[:, j])) for i in range(k) for j in range(i + 1, k)]
        agreement = float(np.mean(same))
        counts = np.stack([(sheet.answers == sheet.answers[:, [i]]).sum(axis=1) for i in range(k)], axis=1)
        largest = float(counts.max(axis=1).mean() / k)
    return {
        "model": model,
        "n": len(sheet),
        "variants": k,
        "mean_accuracy": float(sheet.right.mean()),
        "all_variants_right": float(right.all(axis=1).mean()),
        "any_variant_right": float(right.any(axis=1).mean()),
        "pairwise_agreement": agreement,
        "largest_cluster_share": largest,
        "sd_between_variants": float(sheet.right.mean(axis=0).std(ddof=1)),
    }


def _listed(sheet: Sheet, model: str) -> pd.DataFrame:
    right = sheet.right > 0.5
    wavers = np.asarray(right.any(axis=1) & ~right.all(axis=1))
    table = sheet.listed(wavers, range(len(sheet.names)) if len(sheet.names) <= 6 else (0, 1))
    return table.assign(model=model, variants_right=right[wavers].sum(axis=1), original_right=right[wavers, 0])


def _estimates(table: pd.DataFrame, strip: pd.DataFrame, asked: PerturbedQuestion) -> dict[str, Estimate]:
    by_model = table.groupby("model", sort=False)["drop"].mean().to_numpy(float)
    low = high = math.nan
    why = f"{len(by_model)} models: too few for an interval over models; see the table"
    if len(by_model) > 2:
        (low, high), why = map(float, t_interval(by_model, asked.level)), ""
    elif len(table) == 1:
        low, high, why = float(table["low"].iloc[0]), float(table["high"].iloc[0]), ""
    estimates = {
        "models": Estimate(len(by_model), why_no_interval="a count"),
        "n": Estimate(int(strip["n"].max()), unit="items", why_no_interval="a count"),
        "mean_drop": Estimate(
            float(by_model.mean()), low, high, asked.level, "over models" if len(by_model) > 2 else "", why
        ),
        "overfit": Estimate(
            int(table["overfit"].sum()), unit=f"of {len(table)} drops", why_no_interval="a count of tests"
        ),
    }
    n = int(strip["n"].iloc[0])
    for name in ("all_variants_right", "pairwise_agreement", "largest_cluster_share", "sd_between_variants"):
        low = high = math.nan
        why = "a mean over models; see the table"
        if len(strip) == 1 and name == "all_variants_right":
            value = float(strip[name].iloc[0])
            (low, high), why = map(float, wilson(value * n, n, asked.level)), ""
        if bool(strip[name].isna().all()):
            why = "answers were not recorded"
        estimates[name] = Estimate(float(strip[name].mean()), low, high, asked.level, why_no_interval=why)
    return estimates


def figure(question: PerturbedQuestion, result: Perturbed) -> FigureSpec:
    """Draw the drop of every model, accuracy against distortion where it has levels, and how often items waver."""
    table = result.tables["drops"]
    models = list(dict.fromkeys(table["model"]))[:MOST_ROWS]
    marks: list[Line | Points] = []
    for number, variant in enumerate(result.variants[:8]):
        rows = table[(table["variant"] == variant) & table["model"].isin(models)]
        if not len(rows):
            continue
        at = np.array([models.index(model) for model in rows["model"]], float)
        spread = 0.0 if len(result.variants) == 1 else 0.6 * (number / (min(len(result.variants), 8) - 1) - 0.5)
        marks += dots(
            variant, list(rows["model"]), *(100 * rows[key].to_numpy(float) for key in ("drop", "low", "high")),
            hue=f"c{number}", label=variant, at=at, shift=spread, n=rows["n"].to_numpy(),
            origin=Clauses("predictions", tuple(result.items[model, variant] for model in rows["model"])),
        )  # fmt: skip
    panels = [
        Panel(
            key="drops",
            x=Axis(label=f"drop of accuracy from {result.original} (points)"),
            y=named_axis(models),
            marks=(zero(), *marks),
            title="Drop",
            height=1.5,
        )
    ]
    if len(result.levels) > 2:
        panels.append(_curve(result, models))
    counts = np.bincount(result.right_under[result.focus], minlength=len(result.right_items[result.focus])).astype(
        float
    )
    panels.append(
        Panel(
            key="wavers",
            x=Axis(label=f"variants of {len(counts) - 1} that are right"),
            y=Axis(label="items", low=0.0),
            marks=(
                Bars(
                    key="wavers", at=np.arange(len(counts), dtype=float), height=counts,
                    origin=Clauses("predictions", result.right_items[result.focus]),
                    notes=tuple(f"{count:,.0f} items right on {number}" for number, count in enumerate(counts.tolist())),
                ),
            ),
            title="How many variants are right" + (f", {result.focus}" if result.focus != "all" else ""),
        )
    )  # fmt: skip
    return FigureSpec(
        title="Original against perturbed items",
        subtitle=f"{result.original} against {counted(len(result.variants), 'variant')}; "
        f"{counted(len(result.right_under), 'model')}, {100 * question.level:g} % t intervals over items",
        panels=tuple(panels),
        columns=2,
        caption=f"{result.summary()} {' '.join(result.notes[:2])}",
    )


def _curve(result: Perturbed, models: list[str]) -> Panel:
    table = result.tables["drops"]
    marks = []
    for number, model in enumerate(models[:12]):
        rows = table[table["model"] == model]
        x = np.append(result.levels[0], rows["variant"].astype(float))
        y = 100 * np.append(rows["accuracy_original"].iloc[0], rows["accuracy"])
        order = np.argsort(x)
        marks.append(
            Line(key=model, x=x[order], y=y[order], hue=f"c{number}", label=model if len(models) > 1 else "", width=2.0)
        )
    return Panel(
        key="levels",
        x=Axis(label="level of distortion"),
        y=Axis(label="accuracy (%)"),
        marks=tuple(marks),
        title="Levels",
    )


ANALYSIS = Analysis(
    id="compat.perturbed",
    title="Original against perturbed items",
    asks="Does the score survive rewording?",
    question=PerturbedQuestion,
    figure=figure,
    sources=(
        "Cohen-Inger et al. (2025), Forget What You Know about LLM Evaluations (C-BOD): McNemar of original against reworded",
        "McNemar (1947); Holm (1979)",
    ),
    definition="""\
For each model and variant on the same items: drop = accuracy(original) − accuracy(variant); b items go from right to
wrong, c from wrong to right; exact McNemar of b against c, adjusted by Holm over all drops. *Overfit*: significant
and b > c. Retention = accuracy(variant) / accuracy(original). Over k variants: all right (worst case), any right,
mean pairwise agreement, the share of the most frequent answer, SD of accuracy between variants. Variants that are
numbers are levels and drawn as a curve.

Unit: the item with all its variants, or the cluster. Trap: items flip both ways by chance, so b is tested against c;
a perturbation that changes the right answer must be left out (items whose label differs are, and are counted). """,
)
