"""``robust.prompt-sensitivity``: how much of a score, or of a ranking, is the prompt."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import TooLittleData
from ...models.figure import Axis, Bars, Clauses, FigureSpec, Mark, Panel, Points
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result, counted
from ...models.selection import All, is_in
from ...models.store import RunStore
from ..answer_marks import MOST_ROWS, named_axis
from ..answer_sheet import AnswersQuestion, Sheet, answer_sheet
from ..answers import present
from ..rank_correlation import kendall_matrix, midranks
from ..resampling import DRAWS, DrawBlock, draw_blocks, percentile_interval
from ..score_marks import bump_panel, interval_rows

_USUAL = ("variant", "prompt", "prompt_id", "template", "format", "instruction", "paraphrase", "scoring", "fewshot")
_SPLITS = 200
_MOST_BUMPS = 12


@dataclass(frozen=True, kw_only=True)
class PromptSensitivity(Result):
    """Scores and answers by model and variant of the prompt.

    Attributes
    ----------
    variant : str
        Column of the variants.
    models, variants : tuple of str
        Names.
    accuracy : ndarray, shape (models, variants)
        Share of right answers.
    clauses : dict of str to All
        The rows of each model.
    level : float
        Coverage of the intervals.
    """

    variant: str
    models: tuple[str, ...]
    variants: tuple[str, ...]
    accuracy: np.ndarray
    clauses: dict[str, All]
    level: float

    def summary(self) -> str:
        """Give the answer in one sentence."""
        table = self.tables["models"]
        widest = table.sort_values("range", ascending=False).iloc[0]
        said = (
            f"Over {len(self.variants)} values of {self.variant}, the score of {widest['model']} ranges from "
            f"{100 * widest['lowest']:.1f} to {100 * widest['highest']:.1f} % (mean {100 * widest['mean']:.1f} %); "
            f"{100 * widest['variant_share']:.0f} % of the variance of its answers being right is the variant"
        )
        if len(self.models) > 1:
            said += (
                f"; ranks of {len(self.models)} models move by up to {int(self.estimates['max_rank_shift'].value)} "
                f"(lowest tau-b between two variants {self.estimates['min_tau_b'].value:.2f})"
            )
        return said + "."


@dataclass(frozen=True, kw_only=True)
class PromptQuestion(AnswersQuestion):
    """How much of a score or ranking is the prompt?"""

    variant: str = option(
        "",
        help="column of the variants; variant, prompt, template, format ... if empty",
        choices="columns of predictions",
    )
    models: tuple[str, ...] = option((), help="models to look at; all if empty", choices="predictions.model")
    classes: int | None = option(
        None, help="number of answers there are; the different ones given if none", low=2, advanced=True
    )
    draws: int = option(DRAWS, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in the column of the variants; every model is kept unless one is named."""
        if not store.has_rows("predictions"):
            return self
        frame = store.rows("predictions")
        variant = self.variant or self.by or next(iter(present(frame, _USUAL)), "")
        return replace(self, variant=variant, by=variant)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> PromptSensitivity:
        """Join all variants on their items, and split the variance."""
        asked = self.resolved(store)
        if not asked.variant:
            raise TooLittleData(needs="a column of variants of the prompt", found="none", remedy="Choose it (variant).")
        sheet = answer_sheet(store, asked, least=2)
        owners = [name for name in ("model", "version") if name in sheet.items.columns]
        owners = [name for name in owners if sheet.items[name].nunique() > 1] or owners[:1]
        names = (
            pd.Series([" ".join(map(str, row)) for row in sheet.items[owners].to_numpy(object)])
            if owners
            else _all(sheet)
        )
        models = list(asked.models) or list(dict.fromkeys(names))
        units = pd.factorize(_item_keys(sheet.items))[0]
        rows = {model: np.flatnonzero((names == model).to_numpy(bool)) for model in models}
        lacking = [model for model, own in rows.items() if len(own) < 2]
        if lacking:
            raise TooLittleData(
                needs="items that every variant was asked", found=f"{len(rows[lacking[0]])} of {lacking[0]}"
            )
        k = asked.classes or (max(2, len(sheet.texts)) if sheet.answers is not None else 2)
        parts = [_ModelPart.of(sheet, rows[model], units, k) for model in models]
        drawn = np.concatenate(
            engine.map(
                partial(_of_draws, parts, int(units.max()) + 1), draw_blocks(asked.draws, asked.seed, 100), progress
            )
        )
        accuracy = np.stack([part.right.mean(axis=0) for part in parts])
        table = _models_table(models, parts, accuracy, drawn, asked, sheet.names)
        tables = {
            "models": table,
            "variants": _variants_table(sheet.names, accuracy),
            "scores": _scores(models, sheet, accuracy),
        }
        classes = _class_consistency(sheet, rows, models)
        if classes is not None:
            tables["classes"] = classes
        ranks = midranks(accuracy)
        tables["ranks"] = pd.DataFrame(ranks, columns=list(sheet.names)).assign(model=models)
        return PromptSensitivity(
            variant=asked.variant,
            models=tuple(models),
            variants=sheet.names,
            accuracy=accuracy,
            level=asked.level,
            estimates=_estimates(models, table, parts, accuracy, ranks, drawn, asked.level),
            clauses={
                model: All(tuple(is_in(name, (sheet.items[name].iloc[own[0]],)) for name in owners))
                for model, own in rows.items()
            },
            tables=tables,
            notes=_notes(sheet, asked, parts, k),
        )


def _all(sheet: Sheet) -> pd.Series:
    return pd.Series(["all answers"] * len(sheet))


def _item_keys(items: pd.DataFrame) -> pd.Series:
    if "task" in items.columns and items["task"].nunique() > 1:
        return items["task"].astype(str) + "\x1f" + items["item"].astype(str)
    return items["item"].astype(str)


@dataclass(frozen=True, slots=True)
class _ModelPart:
    """What one model answered: whether right, shape (items, variants), entropy and agreement by item, and its units."""

    right: np.ndarray
    entropy: np.ndarray
    agreement: np.ndarray
    units: np.ndarray

    @classmethod
    def of(cls, sheet: Sheet, rows: np.ndarray, units: np.ndarray, k: int) -> _ModelPart:
        right = sheet.right[rows]
        codes = sheet.answers[rows] if sheet.answers is not None else (right > 0.5).astype(int)
        entropy, agreement = spread_of_answers(codes, k)
        return cls(right, entropy, agreement, units[rows])


def spread_of_answers(codes: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Give, for each item, the entropy of its answers over log k, and the share of pairs of variants that agree.

    Parameters
    ----------
    codes : ndarray of int, shape (items, variants)
        Number of each answer; -1 (none) is an answer of its own.
    """
    v = codes.shape[1]
    same = codes[:, :, None] == codes[:, None, :]
    counts = same.sum(axis=2)  # for each variant, how many gave its answer
    # sum over answers p log p = mean over variants of log(count / v)
    entropy: np.ndarray = -np.log(counts / v).mean(axis=1) / math.log(k)
    if v < 2:
        return np.abs(entropy), np.ones(len(codes))
    agreement = (counts.sum(axis=1) - v) / (v * (v - 1))
    return np.abs(entropy), agreement


def variance_components(right: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, float, float]:
    """Give the variance components of item, variant and residual, from mean squares of a two-way layout.

    Parameters
    ----------
    right : ndarray, shape (items, variants)
        Whether each answer is right.
    weights : ndarray, shape (items,), optional
        How often each item was drawn.

    Notes
    -----
    Items and variants random, one answer a cell: item = (MS_item - MS_res) / V, variant = (MS_variant - MS_res) / n, residual =
    MS_res; what comes out negative is 0 (Brennan 2001, *Generalizability Theory*, ch. 3).
    """
    w = np.ones(len(right)) if weights is None else weights
    n, v = float(w.sum()), right.shape[1]
    if n < 2 or v < 2:
        return math.nan, math.nan, math.nan
    by_item, by_variant = right.mean(axis=1), w @ right / n
    mean = float(by_variant.mean())
    item = v * float(w @ (by_item - mean) ** 2) / (n - 1)
    variant = n * float(np.sum((by_variant - mean) ** 2)) / (v - 1)
    rest = right - by_item[:, None] - by_variant[None, :] + mean
    residual = float(w @ (rest**2).sum(axis=1)) / ((n - 1) * (v - 1))
    return max(0.0, (item - residual) / v), max(0.0, (variant - residual) / n), residual


_PER_MODEL = ("mean", "range", "sd", "sensitivity", "agreement", "variant_sd", "variant_share", "item_share")


def _measures(part: _ModelPart, weights: np.ndarray, columns: np.ndarray) -> list[float]:
    """Give what `_PER_MODEL` names, of weighted items; the mean is over the variants `columns`."""
    n = weights.sum()
    accuracy = weights @ part.right / n
    item, variant, residual = variance_components(part.right, weights)
    total = item + variant + residual
    return [
        float(accuracy[columns].mean()),
        float(np.ptp(accuracy)),
        float(accuracy.std(ddof=1)),
        float(weights @ part.entropy / n),
        float(weights @ part.agreement / n),
        math.sqrt(variant),
        variant / total if total else 0.0,
        item / total if total else 0.0,
    ]


def _of_draws(parts: list[_ModelPart], units: int, block: DrawBlock) -> np.ndarray:
    """Give the measures of every model, and the lowest tau-b and largest shift of ranks, of resampled items."""
    generator = block.generator()
    v = parts[0].right.shape[1]
    found = np.full((block.draws, len(parts) * len(_PER_MODEL) + 2), np.nan)
    for draw in range(block.draws):
        counts = np.bincount(generator.integers(units, size=units), minlength=units).astype(float)
        columns = np.asarray(generator.integers(v, size=v))
        measures, accuracy = [], []
        for part in parts:
            weights = counts[part.units]
            if weights.sum() < 2:
                measures += [math.nan] * len(_PER_MODEL)
                accuracy.append(np.full(v, np.nan))
                continue
            measures += _measures(part, weights, columns)
            accuracy.append(weights @ part.right / weights.sum())
        found[draw, :-2] = measures
        if len(parts) > 1:
            found[draw, -2:] = _rank_measures(np.stack(accuracy))
    return found


def _rank_measures(accuracy: np.ndarray) -> tuple[float, float]:
    """Give the lowest tau-b between two variants, and by how much the rank of a model moves at most."""
    tau = kendall_matrix(accuracy)
    apart = tau[np.triu_indices(len(tau), 1)]
    lowest = float(np.nanmin(apart)) if np.isfinite(apart).any() else math.nan
    return lowest, float(np.ptp(midranks(accuracy), axis=1).max())


def optimism_of_best(right: np.ndarray, splits: int, seed: int) -> float:
    """Give by how much the best variant chosen on half of the items looks better there than on the other half.

    Parameters
    ----------
    right : ndarray, shape (items, variants)
        Whether each answer is right.
    """
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(7,)))
    half = len(right) // 2
    found = []
    for _ in range(splits):
        order = generator.permutation(len(right))
        chosen, other = right[order[:half]].mean(axis=0), right[order[half:]].mean(axis=0)
        best = int(np.argmax(chosen))
        found.append(float(chosen[best] - other[best]))
    return float(np.mean(found))


def _models_table(
    models: list[str],
    parts: list[_ModelPart],
    accuracy: np.ndarray,
    drawn: np.ndarray,
    asked: PromptQuestion,
    variants: tuple[str, ...],
) -> pd.DataFrame:
    low, high = (np.asarray(end) for end in percentile_interval(drawn, asked.level))
    rows = []
    for m, (model, part) in enumerate(zip(models, parts, strict=True)):
        values = _measures(part, np.ones(len(part.right)), np.arange(part.right.shape[1]))
        own: dict[str, object] = {"model": model, "items": len(part.right)}
        for at, (name, value) in enumerate(zip(_PER_MODEL, values, strict=True)):
            place = m * len(_PER_MODEL) + at
            own |= {name: value, f"{name}_low": float(low[place]), f"{name}_high": float(high[place])}
        best = int(np.argmax(accuracy[m]))
        own |= {"lowest": float(accuracy[m].min()), "highest": float(accuracy[m].max()), "best_variant": variants[best]}
        own["optimism_of_best"] = optimism_of_best(part.right, _SPLITS, asked.seed)
        rows.append(own)
    return pd.DataFrame(rows)


def _variants_table(variants: tuple[str, ...], accuracy: np.ndarray) -> pd.DataFrame:
    """Give by variant the mean score, and the mean relative gain over the mean of the other variants, in percent."""
    v = len(variants)
    peers = (accuracy.sum(axis=1, keepdims=True) - accuracy) / (v - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = 100 * (accuracy - peers) / peers
    best = accuracy == accuracy.max(axis=1, keepdims=True)
    return pd.DataFrame(
        {
            "variant": list(variants), "mean": accuracy.mean(axis=0), "mean_relative_gain": gain.mean(axis=0),
            "best_for": (best / best.sum(axis=1, keepdims=True)).mean(axis=0),
        }
    )  # fmt: skip


def _scores(models: list[str], sheet: Sheet, accuracy: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": np.repeat(models, len(sheet.names)), "variant": list(sheet.names) * len(models),
            "accuracy": accuracy.ravel(),
        }
    )  # fmt: skip


def consistency(codes: np.ndarray, k: int) -> float:
    """Give 1 less the mean total variation between the distributions of answers of every two items.

    Parameters
    ----------
    codes : ndarray of int, shape (items, variants)
        Number of each answer, 0 to k - 1.

    Returns
    -------
    float
        NaN with fewer than 2 items.
    """
    n, v = codes.shape
    if n < 2:
        return math.nan
    shares = np.zeros((n, k))
    np.add.at(shares, (np.arange(n)[:, None], codes), 1 / v)
    # Sum over pairs of |p - q| for each answer, from its sorted shares.
    ordered = np.sort(shares, axis=0)
    signs = 2 * np.arange(n) - n + 1
    total = float((signs[:, None] * ordered).sum())
    return float(1 - total / (n * (n - 1)))


def _class_consistency(sheet: Sheet, rows: dict[str, np.ndarray], models: list[str]) -> pd.DataFrame | None:
    if sheet.answers is None or "label" not in sheet.items.columns or sheet.items["label"].nunique() > 100:
        return None
    k = len(sheet.texts) + 1
    table = []
    for model in models:
        labels = sheet.items["label"].to_numpy(object)[rows[model]]
        for label in dict.fromkeys(labels):
            own = rows[model][labels == label]
            if label is not None and len(own) > 1:
                value = consistency(sheet.answers[own] + 1, k)
                table.append({"model": model, "label": label, "items": len(own), "consistency": value})
    return pd.DataFrame(table) if table else None


def _estimates(
    models: list[str], table: pd.DataFrame, parts: list[_ModelPart], accuracy: np.ndarray, ranks: np.ndarray,
    drawn: np.ndarray, level: float,
) -> dict[str, Estimate]:  # fmt: skip
    v = accuracy.shape[1]
    estimates = {
        "variants": Estimate(v, unit="variants", why_no_interval="a count"),
        "n": Estimate(
            len(np.unique(np.concatenate([part.units for part in parts]))), unit="items", why_no_interval="a count"
        ),
    }
    units = {
        "sensitivity": "of log k",
        "agreement": "of pairs",
        "variant_share": "of variance",
        "item_share": "of variance",
    }
    for row in table.to_dict("records"):
        name = "" if len(models) == 1 else f"{row['model']}/"
        for key in _PER_MODEL:
            estimates[name + key] = Estimate(
                float(row[key]), float(row[f"{key}_low"]), float(row[f"{key}_high"]), level, units.get(key, "accuracy")
            )
        estimates[f"{name}optimism_of_best"] = Estimate(
            float(row["optimism_of_best"]), unit="accuracy", why_no_interval=f"a mean over {_SPLITS} splits in halves"
        )
    if len(models) > 1:
        lowest, shift = _rank_measures(accuracy)
        low, high = (np.asarray(end) for end in percentile_interval(drawn[:, -2:], level))
        estimates["min_tau_b"] = Estimate(lowest, float(low[0]), float(high[0]), level)
        estimates["max_rank_shift"] = Estimate(shift, float(low[1]), float(high[1]), level, "ranks")
        estimates["swaps_beyond_noise"] = Estimate(
            _swaps(parts, level), unit="pairs of models", why_no_interval="a count of pairs, each tested"
        )
    return estimates


def _swaps(parts: list[_ModelPart], level: float) -> float:
    """Give how many pairs of models have one variant in which the first is better beyond noise, and one in which the
    second is: paired z tests over common items, adjusted for the number of variants by Bonferroni.
    """
    from scipy.special import ndtri

    v = parts[0].right.shape[1]
    limit = float(ndtri(1 - (1 - level) / (2 * v)))
    swaps = 0
    for i in range(len(parts)):
        for j in range(i + 1, len(parts)):
            _, mine, theirs = np.intersect1d(parts[i].units, parts[j].units, return_indices=True)
            if len(mine) < 2:
                continue
            difference = parts[i].right[mine] - parts[j].right[theirs]
            error = difference.std(axis=0, ddof=1) / math.sqrt(len(mine))
            z = np.divide(difference.mean(axis=0), error, out=np.zeros(v), where=error > 0)
            swaps += bool((z > limit).any() and (z < -limit).any())
    return float(swaps)


def _notes(sheet: Sheet, asked: PromptQuestion, parts: list[_ModelPart], k: int) -> tuple[str, ...]:
    n = len(np.unique(np.concatenate([part.units for part in parts])))
    notes = [
        f"Unit: the item, n = {n:,}, with all its variants and models; the mean resamples variants too "
        f"({100 * asked.level:g} % percentile bootstrap, {asked.draws} draws, seed {asked.seed}).",
        *(note for note in sheet.notes if not note.startswith("Pooled over")),
        f"Sensitivity: mean entropy of the answers of an item over log {k}; it needs no labels.",
        "range and sd hold the noise of the items; variant_sd is what is left when that is taken out (mean squares).",
        f"The best of {counted(len(sheet.names), 'variant')} is chosen on these items: optimism_of_best says by how much it "
        "flatters, over halves.",
    ]
    if sheet.answers is None:
        notes.append("Answers were not recorded: sensitivity and agreement are of being right or wrong.")
    return tuple(notes)


def figure(question: PromptQuestion, result: PromptSensitivity) -> FigureSpec:
    """Draw the score of every variant in a strip a model, the parts of the variance, and how ranks move."""
    table = result.tables["models"].sort_values("mean", ascending=False).head(MOST_ROWS)
    order = [result.models.index(name) for name in table["model"]]
    at = np.arange(len(order), dtype=float)
    marks: list[Mark] = []
    for v, name in enumerate(result.variants):
        own = 100 * result.accuracy[order, v]
        notes = tuple(f"{result.models[m]}, {name}: {value:.1f} %" for m, value in zip(order, own, strict=True))
        origin = Clauses(
            "predictions",
            tuple(All((*result.clauses[result.models[m]].parts, is_in(result.variant, (name,)))) for m in order),
        )
        marks.append(
            Points(key=f"variant {name}", x=own, y=at, hue="c0", size=5.0, opacity=0.6, origin=origin, notes=notes)
        )
    mean, low, high = (100 * table[key].to_numpy(float) for key in ("mean", "mean_low", "mean_high"))
    marks += interval_rows("mean", at + 0.25, mean, low, high, hue="ink", label="mean of the variants")
    names = [str(name) for name in table["model"]]
    panels = [
        Panel(
            key="strips", x=Axis(label="right answers (%)"), y=named_axis(names), marks=tuple(marks),
            title=f"One dot a {result.variant}",
        ),
        Panel(
            key="components", x=Axis(label="share of the variance (%)", low=0.0, high=100.0), y=named_axis(names),
            marks=_components(table, at), title="Where the variance is",
        ),
    ]  # fmt: skip
    if len(result.models) > 2 and 2 < len(result.variants) <= _MOST_BUMPS:
        ranks = result.tables["ranks"][list(result.variants)].to_numpy(float)
        panels.append(
            bump_panel(
                result.models, result.variants, ranks, np.full(ranks.shape, np.nan), np.full(ranks.shape, np.nan),
                x_label=result.variant, origins=[Clauses("predictions", (result.clauses[m],)) for m in result.models],
                title="Ranks",
            )
        )  # fmt: skip
    n = int(result.estimates["n"].value)
    return FigureSpec(
        title="Sensitivity to the prompt",
        subtitle=f"{len(result.models)} models, {len(result.variants)} variants, {n:,} items; bars: {100 * result.level:g} % "
        "bootstrap over items and variants",
        panels=tuple(panels),
        columns=2 if len(panels) == 2 else 1,
        caption=f"{result.summary()} {result.notes[0]}",
    )


def _components(table: pd.DataFrame, at: np.ndarray) -> tuple[Mark, ...]:
    item, variant = (100 * table[key].to_numpy(float) for key in ("item_share", "variant_share"))
    rest = 100 - item - variant
    marks: list[Mark] = []
    base = np.zeros(len(at))
    for key, label, part, hue in (
        ("variant", "variant", variant, "c1"),
        ("item", "item", item, "c0"),
        ("rest", "item × variant and noise", rest, "muted"),
    ):  # fmt: skip
        marks.append(
            Bars(
                key=key, at=at, height=base + part, base=base.copy(), width=0.6, horizontal=True, hue=hue, label=label,
                notes=tuple(f"{name}, {label}: {share:.1f} %" for name, share in zip(table["model"], part, strict=True)),
            )
        )  # fmt: skip
        base = base + part
    return tuple(marks)


ANALYSIS = Analysis(
    id="robust.prompt-sensitivity",
    title="Sensitivity to the prompt",
    asks="How much of a score or ranking is the prompt?",
    question=PromptQuestion,
    figure=figure,
    sources=(
        "Errica et al. (2024), What Did I Do Wrong? Quantifying LLMs' Sensitivity and Consistency to Prompt Engineering",
        "Alzahrani et al. (2024), When Benchmarks are Targets: Revealing the Sensitivity of Large Language Model Leaderboards",
        "Gu et al. (2024), OLMES: A Standard for Language Model Evaluations",
        "Yang et al. (2023), MM-BigBench: mean relative gain",
        "Brennan (2001), Generalizability Theory, chapter 3: variance components",
    ),
    definition="""\
On items that every variant was asked: mean, sd and range of the scores of the variants. With right or wrong as a two-way layout
of items and variants, both random, σ²_item = (MS_item − MS_res) / V, σ²_variant = (MS_variant − MS_res) / n, σ²_res = MS_res.
Sensitivity = mean over items of the entropy of the answers over variants / log k: 0 where no answer changes; it needs no
labels. Agreement = share of pairs of variants with one answer. Consistency of a class = 1 − mean total variation between the
answers to items of that class. Ranks: the largest shift of a model over variants, the lowest tau-b between two variants, and
pairs of models of which each wins a variant beyond noise. Mean relative gain of a variant = mean over models of
100 (s − peers) / peers.

Unit: the item with all its variants; for the mean, variants too. Trap: reporting the best variant of each model is selection
on the test items; optimism_of_best is its score on the half it was chosen on less that on the other half. """,
)
