"""``contam.threshold``: whether the items that look contaminated inflate the score."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import TooLittleData
from ...models.figure import Axis, Band, Clauses, FigureSpec, Line, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result, counted, significant
from ...models.selection import Clause
from ...models.store import RunStore
from ..answer_sheet import AnswersQuestion, Sheet, answer_sheet
from ..answers import present
from ..resampling import DRAWS, bootstrap

_WORDS = ("contam", "overlap", "ngram", "n_gram", "leak", "memoris", "memoriz")
_MOST_STEPS = 40
_FEW = 50
"""Clean items below which a gain says little."""


@dataclass(frozen=True, kw_only=True)
class ContaminationSweep(Result):
    """Gain of the whole set over its clean part, threshold by threshold.

    Attributes
    ----------
    version : str
        The model looked at.
    control : str
        A model that cannot have seen the items; empty without one.
    curves : dict of str to DataFrame
        By score: threshold, flagged_share, clean, gain, low, high, and gain_over_control with its band.
    chosen : dict of str to int
        By score: row of the largest significant gain; -1 where none is.
    flagged : dict of str to tuple of Clause
        By score: the flagged items at each threshold.
    level : float
        Coverage of the bands, over all thresholds at once.
    """

    version: str
    control: str
    curves: dict[str, pd.DataFrame]
    chosen: dict[str, int]
    flagged: dict[str, tuple[Clause, ...]]
    level: float

    def summary(self) -> str:
        """Give the answer in one sentence."""
        parts = []
        for score, curve in self.curves.items():
            row = self.chosen[score]
            if row < 0:
                parts.append(f"{score}: no threshold at which the flagged items raise the score significantly")
                continue
            at = curve.iloc[row]
            parts.append(
                f"{score} above {significant(at['threshold'], 3)} flags {100 * at['flagged_share']:.1f} % of the items, which "
                f"raise accuracy by {100 * at['gain']:.2f} [{100 * at['low']:.2f}, {100 * at['high']:.2f}] points"
            )
        return f"{self.version}: {'; '.join(parts)}."


@dataclass(frozen=True, kw_only=True)
class ContaminationQuestion(AnswersQuestion):
    """Do the items that look contaminated inflate the score?"""

    scores: tuple[str, ...] = option(
        (), help="columns of contamination scores, the higher the more suspect", choices="numbers of predictions"
    )
    version: str = option(
        "", help="model or version to look at; the first if empty", choices="predictions.version|predictions.model"
    )
    control: str = option(
        "",
        help="one that cannot have seen the items: are those just easier?",
        choices="predictions.version|predictions.model",
    )
    threshold: float | None = option(None, help="threshold to look at; the largest significant gain if none")
    least_clean: int = option(_FEW, help="fewest clean items a gain is computed from", low=1, advanced=True)
    draws: int = option(DRAWS, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in the columns of scores, and whose answers."""
        asked = super().resolved(store)
        if not store.has_rows("predictions"):
            return asked
        frame = store.rows("predictions")
        if not asked.by:
            by = next((name for name in ("model", "version", "source") if name in frame.columns), "source")
            asked = replace(asked, by=by)
        if not asked.scores:
            numbers = [str(name) for name in frame.columns if frame[name].dtype.kind in "fiu"]
            asked = replace(asked, scores=tuple(n for n in numbers if any(word in n.lower() for word in _WORDS)))
        if not asked.version and present(frame, [asked.by]):
            names = [str(name) for name in frame[asked.by].dropna().unique()]
            asked = replace(asked, version=next((name for name in names if name != asked.control), names[0]))
        return asked

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> ContaminationSweep:
        """Sweep the threshold of each score."""
        asked = self.resolved(store)
        if not asked.scores:
            raise TooLittleData(
                needs="a column with a contamination score of each item", found="none", remedy="Choose it (scores)."
            )
        names = (asked.version, asked.control) if asked.control else (asked.version,)
        whole = answer_sheet(store, asked, names, about=asked.scores, least=1)
        notes = [f"Unit: the item, n = {len(whole):,}.", *whole.notes]
        curves, chosen, flagged, listed = {}, {}, {}, []
        for score in asked.scores:
            values = whole.values(score, 0)
            known = np.isfinite(values)
            if not known.all():
                notes.append(f"{counted(int((~known).sum()), 'item')} without {score} left out of its sweep.")
            sheet, values = whole.taking(known), values[known]
            curve = _sweep(sheet, values, asked, engine, progress)
            if not len(curve):
                notes.append(f"{score}: no threshold leaves {asked.least_clean} clean items and flags some.")
                continue
            curves[score] = curve
            chosen[score] = _choice(curve, asked.threshold)
            flagged[score] = tuple(sheet.clause(values > t) for t in curve["threshold"])
            at = chosen[score]
            if at >= 0:
                mask = values > curve["threshold"].iloc[at]
                table = sheet.listed(mask, range(len(names)))
                listed.append(table.assign(score=score, contamination=values[mask]))
        if not curves:
            raise TooLittleData(
                needs=f"a score that flags some items and leaves {asked.least_clean} clean", found="none",
                remedy="Lower least_clean, or choose another score.",
            )  # fmt: skip
        tables = {"sweep": pd.concat([curve.assign(score=score) for score, curve in curves.items()], ignore_index=True)}
        if listed:
            tables["items"] = pd.concat(listed, ignore_index=True)
        notes += [
            f"gain = accuracy of all − accuracy of items at or below the threshold; bands: {100 * asked.level:g} % "
            f"simultaneous over the thresholds (bootstrap max-t, {asked.draws} draws, seed {asked.seed}).",
            "Flagged items may just be easier: compare with a model that cannot have seen them (control)."
            if not asked.control
            else f"gain_over_control: the gain less that of {asked.control} on the same items.",
        ]
        return ContaminationSweep(
            version=asked.version,
            control=asked.control,
            curves=curves,
            chosen=chosen,
            flagged=flagged,
            level=asked.level,
            estimates=_estimates(whole, curves, chosen, asked),
            tables=tables,
            notes=tuple(notes),
        )


def _steps(values: np.ndarray, least_clean: int) -> np.ndarray:
    """Give thresholds that leave enough clean items and flag at least one, at most 40."""
    found, sizes = np.unique(values, return_counts=True)
    clean = np.cumsum(sizes)
    possible = found[(clean >= least_clean) & (clean < len(values))]
    if len(possible) > _MOST_STEPS:
        possible = possible[np.linspace(0, len(possible) - 1, _MOST_STEPS).round().astype(int)]
    return possible


def _sweep(
    sheet: Sheet, values: np.ndarray, asked: ContaminationQuestion, engine: Engine, progress: Progress
) -> pd.DataFrame:
    steps = _steps(values, asked.least_clean)
    if not len(steps):
        return pd.DataFrame()
    # Items in the same step with the same answers are one kind; a draw says how often each kind came.
    step = np.searchsorted(steps, values)
    right = sheet.right if sheet.right.shape[1] == 2 else np.stack([sheet.right[:, 0], np.zeros(len(sheet))], axis=1)
    kinds, sizes = np.unique(np.column_stack([step, right]), axis=0, return_counts=True)
    statistic = partial(_gains, kinds, len(steps))
    seen = statistic(sizes[None].astype(float))[0]
    drawn = bootstrap(statistic, sizes, draws=asked.draws, seed=asked.seed, engine=engine, progress=progress)
    clean = np.searchsorted(np.sort(values), steps, side="right")
    table = pd.DataFrame(
        {"threshold": steps, "flagged_share": 1 - clean / len(values), "flagged": len(values) - clean, "clean": clean}
    )
    names = [("gain", 0), ("gain_over_control", 1)][: 2 if asked.control else 1]
    for name, row in names:
        centre = seen[0] - (seen[1] if row else 0)
        draws = drawn[:, 0] - (drawn[:, 1] if row else 0)
        half = _simultaneous(draws, centre, asked.level)
        ends = ("low", "high") if not row else (f"{name}_low", f"{name}_high")
        table = table.assign(**{name: centre, ends[0]: centre - half, ends[1]: centre + half})
    return table.sort_values("flagged_share", kind="stable", ignore_index=True)


def _gains(kinds: np.ndarray, steps: int, counts: np.ndarray) -> np.ndarray:
    """Give accuracy of all less that of the clean items, shape (draws, 2, steps)."""
    step = kinds[:, 0].astype(int)
    sums = np.zeros((len(counts), 3, steps + 1))
    for number in range(steps + 1):
        inside = step == number
        own = counts[:, inside]
        sums[:, 0, number] = own.sum(axis=1)
        sums[:, 1:, number] = own @ kinds[inside, 1:]
    running = np.cumsum(sums, axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        gains: np.ndarray = running[:, 1:, -1:] / running[:, :1, -1:] - running[:, 1:, :-1] / running[:, :1, :-1]
    return gains


def _simultaneous(draws: np.ndarray, centre: np.ndarray, level: float) -> np.ndarray:
    """Give the half-widths of a band that holds at all thresholds at once: the largest studentised deviation's quantile
    times each standard error.
    """
    se = np.nanstd(draws, axis=0, ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = np.abs(draws - centre) / se
    largest = np.nanmax(np.where(np.isfinite(deviation), deviation, -np.inf), axis=1)
    return np.asarray(float(np.quantile(largest, level)) * se)


def _choice(curve: pd.DataFrame, threshold: float | None) -> int:
    if threshold is not None:
        return int((curve["threshold"] - threshold).abs().to_numpy().argmin())
    significant_gain = np.where(curve["low"] > 0, curve["gain"], -np.inf)
    return int(significant_gain.argmax()) if np.isfinite(significant_gain).any() else -1


def _estimates(
    sheet: Sheet, curves: dict[str, pd.DataFrame], chosen: dict[str, int], asked: ContaminationQuestion
) -> dict[str, Estimate]:
    estimates = {
        "n": Estimate(len(sheet), unit="items", why_no_interval="a count"),
        "accuracy": Estimate(float(sheet.right[:, 0].mean()), why_no_interval="see the gains"),
    }
    for score, curve in curves.items():
        at = chosen[score]
        row = curve.iloc[at] if at >= 0 else None
        name = score if len(curves) > 1 else ""
        tail = f".{name}" if name else ""
        why = "" if row is not None else "no threshold has a significant gain"
        pick = {
            key: float(row[key]) if row is not None else math.nan
            for key in ("threshold", "flagged_share", "gain", "low", "high")
        }
        estimates[f"threshold{tail}"] = Estimate(pick["threshold"], unit=score, why_no_interval=why or "chosen")
        estimates[f"flagged_share{tail}"] = Estimate(
            pick["flagged_share"], why_no_interval=why or "a share of these items"
        )
        estimates[f"gain{tail}"] = Estimate(pick["gain"], pick["low"], pick["high"], asked.level, "of accuracy", why)
        if asked.control and row is not None:
            estimates[f"gain_over_control{tail}"] = Estimate(
                float(row["gain_over_control"]), float(row["gain_over_control_low"]), float(row["gain_over_control_high"]),
                asked.level, "of accuracy",
            )  # fmt: skip
    return estimates


def figure(question: ContaminationQuestion, result: ContaminationSweep) -> FigureSpec:
    """Draw the gain against the share flagged, a line a score, and the gain over the control."""
    panels = []
    for key, title in (("gain", "Gain"), ("gain_over_control", f"Gain over that of {result.control}")):
        if key == "gain_over_control" and not result.control:
            continue
        marks: list[Band | Line | Points | Rule] = [Rule(key="zero", axis="y", at=0.0, hue="line", dash="solid")]
        low, high = ("low", "high") if key == "gain" else (f"{key}_low", f"{key}_high")
        for number, (score, curve) in enumerate(result.curves.items()):
            x, hue = 100 * curve["flagged_share"].to_numpy(float), f"c{number}"
            values = 100 * curve[key].to_numpy(float)
            marks.append(Band(key=f"{score} band", x=x, low=100 * curve[low].to_numpy(float),
                              high=100 * curve[high].to_numpy(float), hue=hue))  # fmt: skip
            marks.append(Line(key=score, x=x, y=values, hue=hue, label=score, width=2.0))
            marks.append(
                Points(
                    key=f"{score} thresholds", x=x, y=values, hue=hue, size=4.0,
                    origin=Clauses("predictions", result.flagged[score]),
                    notes=tuple(
                        f"{score} > {significant(t, 3)}: {f:,} flagged, gain {gain:.2f} points"
                        for t, f, gain in zip(curve["threshold"], curve["flagged"], values, strict=True)
                    ),
                )
            )  # fmt: skip
            at = result.chosen[score]
            if at >= 0:
                marks.append(Points(key=f"{score} chosen", x=x[[at]], y=values[[at]], hue=hue, size=11.0, symbol="star",
                                    hollow=True, origin=Clauses("predictions", (result.flagged[score][at],))))  # fmt: skip
        panels.append(
            Panel(
                key=key, x=Axis(label="items flagged (%)", column="flagged"), y=Axis(label="accuracy of all − clean (points)"),
                marks=tuple(marks), title=title,
            )
        )  # fmt: skip
    return FigureSpec(
        title=f"Do contaminated items inflate {result.version}?",
        subtitle=f"{result.estimates['n'].value:,.0f} items; bands: {100 * result.level:g} % over all thresholds; star: "
        f"{'the threshold asked for' if question.threshold is not None else 'largest significant gain'}",
        panels=tuple(panels),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )


ANALYSIS = Analysis(
    id="contam.threshold",
    title="Contamination threshold",
    asks="Do the items that look contaminated inflate the score?",
    question=ContaminationQuestion,
    figure=figure,
    sources=(
        "Singh et al. (2024), Evaluation data contamination in LLMs: how do we measure it and (when) does it matter? (ConTAM)",
        "Efron (1979); Romano and Wolf (2005): max-t",
    ),
    definition="""\
Each item has a score s of how contaminated it looks. gain(t) = accuracy of all items − accuracy of those with s ≤ t,
drawn against the share flagged (s > t); it goes to 0 with that share. The threshold shown is the one with the largest
gain whose band lies above 0. The bands hold over all thresholds at once (bootstrap of items, largest studentised
deviation). With a control model the gain is also given less that of the control on the same items.

Unit: the item. Trap: flagged items may just be easier; only the control tells. Fewer than 50 clean items are not
used. """,
)
