"""``judges.defect-detection``: what a judge misses among defects that were planted, or that people found."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, Cells, Clauses, FigureSpec, Line, Mark, Panel
from ...models.natural_order import natural_order
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, shortened, with_interval
from ...models.selection import All, is_in
from ...models.store import RunStore
from ..answer_marks import dots, named_axis
from ..answers import present
from ..forecast_rows import estimate_of
from ..resampling import DRAWS, bootstrap, wilson

_BEFORE = ("score_orig", "score_original", "original_score", "orig_score", "score_before")
_AFTER = ("score_perturbed", "perturbed_score", "score_defect", "score_pert", "score_after")
_VERDICT = ("verdict", "judge_verdict", "passed")
_GRADE = ("grade", "human_grade", "human_verdict")
_BY = ("judge", "validator", "rater", "model", "version")
_INVARIANT = ("invariant", "none", "control", "harmless")
_BAD = ("bad", "fail", "failed", "0", "0.0", "false", "no", "wrong")
_WINDOWS = 12


@dataclass(frozen=True, kw_only=True)
class DefectDetection(Result):
    """What judges see and miss.

    Attributes
    ----------
    judges : tuple of str
        In natural order.
    categories : tuple of str
        Kinds of edits, with their protocol where there are several; those that harm nothing last.
    harmless : ndarray of bool, shape (categories,)
        Which harm nothing.
    seen : ndarray, shape (judges, categories)
        Share of edits after which the score fell: detected, or false alarms where an edit is harmless.
    columns : tuple of str
        Columns that tell judges and categories apart.
    drift : DataFrame or None
        Coverage and failure of good answers in windows of the order of grading, by judge.
    """

    judges: tuple[str, ...]
    categories: tuple[str, ...]
    harmless: np.ndarray
    seen: np.ndarray
    columns: tuple[str, ...]
    drift: pd.DataFrame | None

    def summary(self) -> str:
        """Give the answer in one sentence."""
        said = []
        for name in self.judges[:3]:
            prefix = f"{name}/" if len(self.judges) > 1 else ""
            if prefix + "missed" in self.estimates:
                missed, ties = self.estimates[prefix + "missed"], self.estimates[prefix + "ties"]
                ends = with_interval(100 * missed.value, 100 * missed.low, 100 * missed.high)
                part = f"{name or 'the judge'} misses {ends} % of planted defects ({100 * ties.value:.1f} % by the same score)"
                if prefix + "false_alarms" in self.estimates:
                    part += f", {100 * self.estimates[prefix + 'false_alarms'].value:.1f} % false alarms"
            else:
                one = self.estimates[prefix + "alignment"]
                part = (
                    f"{name or 'the validator'} fails {100 * self.estimates[prefix + 'coverage'].value:.1f} % of bad answers "
                    f"and {100 * self.estimates[prefix + 'false_failures'].value:.1f} % of good ones, alignment "
                    f"{with_interval(one.value, one.low, one.high)}"
                )
            said.append(part)
        return f"{'; '.join(said)}{' ...' if len(self.judges) > 3 else ''}."


@dataclass(frozen=True, kw_only=True)
class DefectDetectionQuestion(Question):
    """What does the judge miss?"""

    needs: ClassVar = (Need("predictions"),)

    before: str = option("", help="column of the judge's score before the edit", choices="numbers of predictions")
    after: str = option("", help="column of its score after the edit", choices="numbers of predictions")
    category: str = option("", help="column of the kinds of edits; category or group if empty",
                           choices="columns of predictions")  # fmt: skip
    protocol: str = option("", help="column of the ways judges were asked; protocol if empty",
                           choices="columns of predictions")  # fmt: skip
    harmless: tuple[str, ...] = option((), help="categories that harm nothing; invariant, control or none if empty")
    least: float = option(0.0, help="a fall of the score of no more than this is a tie", low=0.0)
    by: str = option("", help="column of the judges; judge, validator, rater, model or version if empty",
                     choices="columns of predictions")  # fmt: skip
    verdict: str = option(
        "", help="instead: column of a validator's verdict, pass or fail", choices="columns of predictions"
    )
    grade: str = option("", help="column of people's grade, good or bad", choices="columns of predictions")
    order: str = option("", help="column with the order in which people graded", choices="numbers of predictions")
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in the columns that are there."""
        if not store.has_rows("predictions"):
            return self
        frame = store.rows("predictions")
        have = [str(name) for name in frame.columns]

        def first(names: tuple[str, ...]) -> str:
            return next(iter(present(frame, [name for name in names if name in have])), "")

        before, after = self.before or first(_BEFORE), self.after or first(_AFTER)
        verdict = self.verdict or ("" if before and after else first(_VERDICT))
        own = frame[frame[before].notna()] if before in have else frame
        by = self.by or next((name for name in present(own, _BY) if own[name].nunique() > 1), "")
        return replace(
            self, before=before, after=after, verdict=verdict, by=by,
            category=self.category or (next(iter(present(own, ("category", "group"))), "") if before else ""),
            protocol=self.protocol or (next(iter(present(own, ("protocol",))), "") if before else ""),
            grade=self.grade or (first(_GRADE) if verdict else ""),
            order=self.order or (first(("graded_order", "order")) if verdict else ""),
        )  # fmt: skip

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> DefectDetection:
        """Count what is seen and what is missed, and resample items."""
        asked = self.resolved(store)
        if asked.before and asked.after:
            return _planted(store, asked, engine, progress)
        if asked.verdict and asked.grade:
            return _validated(store, asked, engine, progress)
        raise TooLittleData(
            needs="scores before and after planted defects, or verdicts of validators and grades of people",
            found="no such columns", remedy="Name them (before and after, or verdict and grade).",
        )  # fmt: skip


def _of(store: RunStore, asked: DefectDetectionQuestion, columns: tuple[str, ...]) -> pd.DataFrame:
    frame = store.rows("predictions")
    for name in columns:
        if name and name not in frame.columns:
            raise AnalysisError(f"The predictions have no column called {name!r}.")
    frame = frame[frame[[name for name in columns[:2] if name]].notna().all(axis=1)]
    if frame.empty:
        raise TooLittleData(needs=f"rows with {columns[0]} and {columns[1]}", found="none")
    return frame


def _numbered(values: pd.Series) -> tuple[np.ndarray, tuple[str, ...]]:
    texts = values.astype(str)
    names = tuple(sorted(texts.unique(), key=natural_order))
    return texts.map({name: number for number, name in enumerate(names)}).to_numpy(int), names


def _planted(store: RunStore, asked: DefectDetectionQuestion, engine: Engine, progress: Progress) -> DefectDetection:
    frame = _of(store, asked, (asked.before, asked.after, asked.category, asked.protocol, asked.by))
    judge, judges = _numbered(frame[asked.by]) if asked.by else (np.zeros(len(frame), int), ("",))
    kind = frame[asked.category].astype(str) if asked.category else pd.Series("all edits", index=frame.index)
    words = asked.harmless or tuple(name for name in kind.unique() if name.lower() in _INVARIANT)
    if unknown := [name for name in words if name not in set(kind)]:
        raise AnalysisError(f"No {asked.category} is called {unknown[0]!r}.",
                            remedy="There are: " + ", ".join(sorted(set(kind))[:12]) + ".")  # fmt: skip
    several = bool(asked.protocol) and frame[asked.protocol].nunique() > 1
    label = kind + ", " + frame[asked.protocol].astype(str) if several else kind
    code, names = _numbered(label)
    harmless_of = dict(zip(label, kind.isin(words), strict=True))
    order = sorted(range(len(names)), key=lambda i: (harmless_of[names[i]], natural_order(names[i])))
    place = np.empty(len(order), int)
    place[order] = np.arange(len(order))
    code, names = place[code], tuple(names[i] for i in order)
    harmless = np.array([harmless_of[name] for name in names])
    fall = frame[asked.before].to_numpy(float) - frame[asked.after].to_numpy(float)
    unit, found = pd.factorize(frame["item"].astype(str))
    shape = (len(judges), len(names))
    sums = np.zeros((len(found), 3, math.prod(shape)))
    flat = np.ravel_multi_index((judge, code), shape)
    for number, fact in enumerate((fall > asked.least, np.abs(fall) <= asked.least, np.ones(len(fall)))):
        np.add.at(sums[:, number], (unit, flat), np.asarray(fact, float))
    statistic = partial(_shares, sums.reshape(len(found), -1), shape, harmless)
    drawn = bootstrap(statistic, len(found), draws=asked.draws, seed=asked.seed, engine=engine, progress=progress)
    value = statistic(np.ones((1, len(found))))[0]
    totals = sums.sum(axis=0).reshape(3, *shape)
    estimates: dict[str, Estimate] = {}
    for number, name in enumerate(judges):
        prefix = f"{name}/" if len(judges) > 1 else ""
        for key, at in (("detected", 0), ("missed", 1), ("ties", 2), ("false_alarms", 3)):
            if math.isfinite(value[number, at]):
                unit_of = "of harmless edits" if key == "false_alarms" else "of planted defects"
                estimates[prefix + key] = estimate_of(value[number, at], drawn[:, number, at], asked.level, unit_of)
    rows = []
    low, high = wilson(totals[0], totals[2], asked.level)
    for number, name in enumerate(judges):
        for column, category in enumerate(names):
            if totals[2, number, column]:
                n = totals[2, number, column]
                rows.append({"judge": name, "category": category, "harmless": bool(harmless[column]), "n": int(n),
                             "fell": totals[0, number, column] / n, "low": np.asarray(low)[number, column],
                             "high": np.asarray(high)[number, column], "ties": totals[1, number, column] / n})  # fmt: skip
    with np.errstate(invalid="ignore", divide="ignore"):
        seen = totals[0] / totals[2]
    pairs = frame[["item", *[name for name in (asked.by, asked.category, asked.protocol) if name]]].assign(fall=fall)
    missed = pairs[(fall <= asked.least) & ~harmless[code]].sort_values("fall", kind="stable", ignore_index=True)
    return DefectDetection(
        judges=judges, categories=names, harmless=harmless, seen=seen, columns=(asked.by, asked.category, asked.protocol),
        drift=None, estimates=estimates, tables={"categories": pd.DataFrame(rows), "missed": missed},
        notes=(f"Unit: the item, n = {len(found):,}, with all its edits; {100 * asked.level:g} % percentile bootstrap, "
               f"{asked.draws} draws, seed {asked.seed}; cells have Wilson intervals.",
               f"Detected: {asked.after} below {asked.before} by more than {asked.least:g}. A tie is missed, and told apart.",
               "False alarms: the score falls after an edit that harms nothing." if harmless.any()
               else "No category is named as harmless, so false alarms are not known (harmless)."),
    )  # fmt: skip


def _shares(sums: np.ndarray, shape: tuple[int, int], harmless: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Give detected, missed, ties of defects and false alarms, shape (draws, judges, 4)."""
    parts = (counts @ sums).reshape(len(counts), 3, *shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        fell, same, n = np.moveaxis(parts[..., ~harmless].sum(axis=3), 1, 0)
        quiet_fell, _, quiet_n = np.moveaxis(parts[..., harmless].sum(axis=3), 1, 0)
        return np.stack([fell / n, 1 - fell / n, same / n, quiet_fell / quiet_n], axis=2)


def _validated(store: RunStore, asked: DefectDetectionQuestion, engine: Engine, progress: Progress) -> DefectDetection:
    frame = _of(store, asked, (asked.verdict, asked.grade, asked.by, asked.order))
    judge, judges = _numbered(frame[asked.by]) if asked.by else (np.zeros(len(frame), int), ("",))
    failed, bad = (
        frame[name].astype(str).str.lower().isin(_BAD).to_numpy(bool) for name in (asked.verdict, asked.grade)
    )
    unit, found = pd.factorize(frame["item"].astype(str))
    sums = np.zeros((len(found), 4, len(judges)))
    for number, fact in enumerate((failed & bad, bad, failed & ~bad, ~bad)):
        np.add.at(sums[:, number], (unit, judge), fact.astype(float))
    statistic = partial(_alignment, sums.reshape(len(found), -1))
    drawn = bootstrap(statistic, len(found), draws=asked.draws, seed=asked.seed, engine=engine, progress=progress)
    value = statistic(np.ones((1, len(found))))[0]
    estimates: dict[str, Estimate] = {}
    rows = []
    for number, name in enumerate(judges):
        prefix = f"{name}/" if len(judges) > 1 else ""
        row: dict[str, object] = {
            "judge": name,
            "bad": int(sums[:, 1, number].sum()),
            "good": int(sums[:, 3, number].sum()),
        }
        for at, (key, what) in enumerate((("coverage", "of bad answers"), ("false_failures", "of good answers"),
                                          ("alignment", ""))):  # fmt: skip
            one = estimate_of(value[at, number], drawn[:, at, number], asked.level, what)
            estimates[prefix + key] = one
            row |= {key: one.value, f"{key}_low": one.low, f"{key}_high": one.high}
        rows.append(row)
    drift = _drift(frame, asked, judge, judges, failed, bad) if asked.order else None
    tables = {"judges": pd.DataFrame(rows)} | ({"drift": drift} if drift is not None else {})
    return DefectDetection(
        judges=judges, categories=(), harmless=np.zeros(0, bool), seen=np.zeros((len(judges), 0)), columns=(asked.by, "", ""),
        drift=drift, estimates=estimates, tables=tables,
        notes=(f"Unit: the item, n = {len(found):,}; {100 * asked.level:g} % percentile bootstrap, {asked.draws} draws, seed "
               f"{asked.seed}.",
               "Coverage: bad answers that fail. False failures: good answers that fail. Alignment: harmonic mean of coverage "
               "and 1 − false failures.",
               *(("Drift: windows of equal numbers of graded answers, Wilson intervals.",) if drift is not None else ())),
    )  # fmt: skip


def _alignment(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    hits, bad, alarms, good = np.moveaxis((counts @ sums).reshape(len(counts), 4, -1), 1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        coverage, kept = hits / bad, 1 - alarms / good
        together = np.where(coverage + kept > 0, 2 * coverage * kept / (coverage + kept), 0.0)
    return np.stack([coverage, 1 - kept, np.where(np.isnan(coverage + kept), np.nan, together)], axis=1)


def _drift(
    frame: pd.DataFrame, asked: DefectDetectionQuestion, judge: np.ndarray, judges: tuple[str, ...], failed: np.ndarray,
    bad: np.ndarray,
) -> pd.DataFrame:  # fmt: skip
    rows = []
    place = frame[asked.order].to_numpy(float)
    for number, name in enumerate(judges):
        own = np.flatnonzero((judge == number) & np.isfinite(place))
        own = own[np.argsort(place[own], kind="stable")]
        for part in np.array_split(own, min(_WINDOWS, max(1, len(own) // 10))):
            for what, among in (("coverage", bad[part]), ("false_failures", ~bad[part])):
                n, hits = int(among.sum()), int((failed[part] & among).sum())
                if n:
                    low, high = wilson(hits, n, asked.level)
                    rows.append({"judge": name, "what": what, "order": float(place[part].mean()), "share": hits / n,
                                 "low": low, "high": high, "n": n})  # fmt: skip
    return pd.DataFrame(rows, columns=["judge", "what", "order", "share", "low", "high", "n"])


def figure(question: DefectDetectionQuestion, result: DefectDetection) -> FigureSpec:
    """Draw what each judge sees of each kind of defect; or coverage and false failures, and how they drift."""
    panels = [_map(result), _rates(result)] if result.categories else [_validators(result)]
    if result.drift is not None and len(result.drift):
        panels.append(_drift_panel(question, result, result.drift))
    what = "planted defects" if result.categories else "validators"
    return FigureSpec(
        title="Defects a judge misses" if result.categories else "Validators against people",
        subtitle=f"{counted(len(result.judges), 'judge')}, {what}; {100 * question.level:g} % bootstrap over items",
        panels=tuple(panels), columns=2, caption=f"{result.summary()} {result.notes[0]} {result.notes[1]}",
    )  # fmt: skip


def _map(result: DefectDetection) -> Panel:
    values = 100 * result.seen
    rows = tuple(shortened(name, 22) or "the judge" for name in result.judges)
    columns = tuple(shortened(f"{name} (harmless)" if quiet_one and name.lower() not in _INVARIANT else name, 22)
                    for name, quiet_one in zip(result.categories, result.harmless, strict=True))  # fmt: skip
    texts = tuple(tuple("" if math.isnan(v) else f"{v:.0f}" for v in row) for row in values.tolist())
    return Panel(
        key="map", x=Axis(scale="category", names=columns), y=Axis(scale="category", names=rows, inverted=True),
        marks=(Cells(key="map", values=values, rows=rows, columns=columns, texts=texts, low=0.0, high=100.0,
                     label="score fell (%)", origin=_cells_behind(result)),),
        title="Edits after which the score fell (%)",
    )  # fmt: skip


def _cells_behind(result: DefectDetection) -> Clauses | None:
    by, category, protocol = result.columns
    if not category:
        return None
    clauses = []
    for judge in result.judges:
        for name in result.categories:
            kind, _, way = name.rpartition(", ") if protocol and ", " in name else (name, "", "")
            parts = [is_in(category, (kind,)), *([is_in(protocol, (way,))] if way else []),
                     *([is_in(by, (judge,))] if by else [])]  # fmt: skip
            clauses.append(All(tuple(parts)))
    return Clauses("predictions", tuple(clauses))


def _rates(result: DefectDetection) -> Panel:
    names = [name or "the judge" for name in result.judges]
    marks: list[Mark] = []
    kinds = (("missed", "defects missed", "bad"), ("ties", "of them by the same score", "muted"),
             ("false_alarms", "false alarms", "c1"))  # fmt: skip
    for number, (key, label, hue) in enumerate(kinds):
        found = [result.estimates.get(f"{name}/{key}" if len(names) > 1 else key) for name in result.judges]
        if any(one is None for one in found):
            continue
        value, low, high = (np.array([100 * getattr(one, end) for one in found]) for end in ("value", "low", "high"))
        marks += dots(key, names, value, low, high, hue=hue, label=label, shift=0.16 * (number - 1))
    return Panel(key="rates", x=Axis(label="edits (%)", low=0.0), y=named_axis(names), marks=tuple(marks))


def _validators(result: DefectDetection) -> Panel:
    names = [name or "the validator" for name in result.judges]
    marks: list[Mark] = []
    for number, (key, label, hue) in enumerate((("coverage", "bad answers that fail", "good"),
                                                ("false_failures", "good answers that fail", "bad"),
                                                ("alignment", "alignment", "c0"))):  # fmt: skip
        found = [result.estimates[f"{name}/{key}" if len(names) > 1 else key] for name in result.judges]
        value, low, high = (np.array([100 * getattr(one, end) for one in found]) for end in ("value", "low", "high"))
        marks += dots(key, names, value, low, high, hue=hue, label=label, shift=0.16 * (number - 1))
    return Panel(key="validators", x=Axis(label="%", low=0.0, high=100.0), y=named_axis(names), marks=tuple(marks))


def _drift_panel(question: DefectDetectionQuestion, result: DefectDetection, drift: pd.DataFrame) -> Panel:
    marks: list[Mark] = []
    for number, name in enumerate(result.judges[:6]):
        for what, dash in (("coverage", "solid"), ("false_failures", "dashed")):
            own = drift[(drift["judge"] == name) & (drift["what"] == what)]
            x, y, low, high = (own[column].to_numpy(float) for column in ("order", "share", "low", "high"))
            hue = f"c{number}" if len(result.judges) > 1 else ("good" if what == "coverage" else "bad")
            label = f"{name} {what.replace('_', ' ')}".strip()
            if len(result.judges) == 1:
                marks.append(Band(key=f"{name}/{what}/band", x=x, low=100 * low, high=100 * high, hue=hue))
            marks.append(Line(key=f"{name}/{what}", x=x, y=100 * y, hue=hue, width=2.0, label=label,
                              dash="dashed" if dash == "dashed" else "solid"))  # fmt: skip
    return Panel(key="drift", x=Axis(label=question.order or "order of grading"), y=Axis(label="%", low=0.0, high=100.0),
                 marks=tuple(marks), title="Drift over the order of grading")  # fmt: skip


ANALYSIS = Analysis(
    id="judges.defect-detection",
    title="Defects a judge misses",
    asks="What does the judge miss?",
    question=DefectDetectionQuestion,
    figure=figure,
    sources=(
        "Doddapaneni et al. (2024), Finding Blind Spots in Evaluator LLMs with Interpretable Checklists",
        "Shankar et al. (2024), Who Validates the Validators? coverage, false failure rate and alignment",
    ),
    definition="""\
A planted defect is detected where the score after it is lower than before; what is not detected is missed, equal scores are
told apart. False alarms are the same count over edits that harm nothing. For validators: coverage
$P(\\text{fail}\\mid\\text{bad})$, false failures $P(\\text{fail}\\mid\\text{good})$, alignment the harmonic mean of
coverage and $1-$ false failures; drift is both over the order in which people graded, for criteria change while one grades.

Unit: the item with all its edits. Trap: a judge that often gives the same score misses by ties. """,
)
