"""``dynamics.forgetting``: which training items are unlearned again, and which are learned last?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from ...models.engine import LOCAL, Engine
from ...models.errors import TooLittleData
from ...models.figure import Axis, Band, Bars, Clauses, FigureSpec, Line, Mark, Panel, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, with_interval
from ...models.store import RunStore
from ..resampling import DRAWS, t_interval, wilson
from ..training_dynamics import (
    Dynamics,
    default_truth,
    dynamics_of,
    found_by,
    roc_points,
    spearman_of_draws,
    truth_of,
)

_MOST_BARS = 15


@dataclass(frozen=True, kw_only=True)
class Forgetting(Result):
    """Events of forgetting and times of learning.

    Attributes
    ----------
    dynamics : Dynamics
        Right or wrong by run, item and epoch.
    events : ndarray, shape (items,)
        Events of forgetting, mean over runs.
    never : ndarray of bool, shape (items,)
        Never right in any run.
    learned_at : ndarray, shape (items,)
        Epoch that closes the first k right predictions in a row, mean over runs; infinite where that never came.
    """

    dynamics: Dynamics
    events: np.ndarray
    never: np.ndarray
    learned_at: np.ndarray

    def summary(self) -> str:
        """Give the answer in one sentence."""
        parts = []
        for name, what in (("ever_forgotten", "were forgotten at least once"), ("never_learned", "were never right")):
            share = self.estimates[name]
            parts.append(f"{with_interval(100 * share.value, 100 * share.low, 100 * share.high)} % {what}")
        said = f"Of {counted(len(self.events), 'training item')} {' and '.join(parts)}"
        area = self.estimates.get("auc_of_late_learning")
        if area is None or not area.has_interval:
            return said + "."
        return (
            f"{said}; late learning finds the labels known to be wrong with an area under the ROC of "
            f"{with_interval(area.value, area.low, area.high)}."
        )


@dataclass(frozen=True, kw_only=True)
class ForgettingQuestion(Question):
    """Which training items are unlearned again, and which are learned last?"""

    needs: ClassVar = (Need("predictions", ("epoch", "correct|prediction")),)

    k: int = option(3, help="right predictions in a row that count as learned", unit="epochs", low=1)
    task: str = option("", help="only this task", choices="predictions.task")
    until: float | None = option(None, help="last epoch that counts; all if none", unit="epochs", low=0)
    truth: str = option(
        "", help="column that is 1 where the label is known to be wrong", choices="numbers of predictions"
    )
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Take the column that says which labels are wrong, where there is one of that name."""
        return self if self.truth else replace(self, truth=default_truth(store))

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> Forgetting:
        """Count the turns from right to wrong, and find when items are learned."""
        asked = self.resolved(store)
        keep = (asked.truth,) if asked.truth else ()
        dynamics = dynamics_of(store, "right", task=asked.task, until=asked.until, keep=keep)
        right = dynamics.values >= 0.5
        if right.shape[2] < 2:
            raise TooLittleData(needs="at least 2 epochs", found=counted(right.shape[2], "epoch"))
        each_events = forgetting_events(right)
        each_learned = first_learned(right, dynamics.epochs, asked.k)
        events, never = each_events.mean(axis=0), np.asarray(~right.any(axis=(0, 2)))
        learned = each_learned.mean(axis=0)
        forgotten = events > 0
        estimates = {
            "n": Estimate(float(len(events)), unit="items", why_no_interval="a count"),
            "ever_forgotten": _share(np.asarray(forgotten), asked.level),
            "never_learned": _share(never, asked.level),
            f"never_{asked.k}_in_a_row": _share(np.isinf(learned), asked.level),
            "mean_events": _mean(events, asked.level),
        }  # fmt: skip
        table = dynamics.items.assign(events=events, never_right=never, learned_at=learned,
                                      epochs_right=right.mean(axis=(0, 2)))  # fmt: skip
        if asked.truth:
            wrong = truth_of(dynamics.items, asked.truth)
            # Items never learned are later than any, and forgotten more often than any: apart, at the end.
            late = np.where(np.isinf(learned), dynamics.epochs[-1] + 1.0, learned)
            often = np.where(never, events.max() + 1.0, events)
            for name, score in (("late_learning", late), ("forgetting", often)):
                estimates[f"auc_of_{name}"] = found_by(
                    score, wrong, draws=asked.draws, seed=asked.seed, level=asked.level
                )
        if len(dynamics.names) > 1:
            estimates["spearman_of_runs"] = spearman_of_draws(
                each_events[0], each_events[-1], draws=asked.draws, seed=asked.seed, level=asked.level
            )
        notes = (
            "An event of forgetting: right at one evaluation, wrong at the next. Counts depend on how often one evaluates: "
            f"here {counted(len(dynamics.epochs), 'time')}.",
            f"Learned: the epoch that closes the first {asked.k} right predictions in a row; items that never had so many are "
            "at the end.",
            f"Unit: the item, n = {len(events):,}, in {counted(len(dynamics.names), 'run')}; shares have "
            f"{100 * asked.level:g} % Wilson intervals, the mean a t interval, the others a percentile bootstrap, "
            f"{asked.draws} draws, seed {asked.seed}.",
            *dynamics.notes,
        )
        order = ["learned_at", "events"]
        return Forgetting(
            dynamics=dynamics, events=events, never=never, learned_at=learned, estimates=estimates,
            tables={"items": table.sort_values(order, ascending=False, kind="stable", ignore_index=True)}, notes=notes,
        )  # fmt: skip


def _mean(values: np.ndarray, level: float) -> Estimate:
    low, high = t_interval(values, level)
    return Estimate(
        float(values.mean()), float(low), float(high), level, "events an item", "" if len(values) > 1 else "one item"
    )


def _share(mask: np.ndarray, level: float) -> Estimate:
    low, high = wilson(int(mask.sum()), len(mask), level)
    return Estimate(float(mask.mean()), float(low), float(high), level, "of items")


def forgetting_events(right: np.ndarray) -> np.ndarray:
    """Give how often each item goes from right to wrong along the last axis."""
    return np.asarray((right[..., :-1] & ~right[..., 1:]).sum(axis=-1))


def first_learned(right: np.ndarray, epochs: np.ndarray, k: int) -> np.ndarray:
    """Give the epoch that closes the first k right predictions in a row along the last axis; infinite where there is none."""
    if right.shape[-1] < k:
        return np.full(right.shape[:-1], np.inf)
    runs = np.lib.stride_tricks.sliding_window_view(right, k, axis=-1).all(axis=-1)
    return np.where(runs.any(axis=-1), epochs[k - 1 :][runs.argmax(axis=-1)], np.inf)


def figure(question: ForgettingQuestion, result: Forgetting) -> FigureSpec:
    """Draw the events, the share not yet learned over epochs, and the ROC where truth is known."""
    items = result.dynamics.items
    wrong = truth_of(items, question.truth) if question.truth else np.zeros(len(items), dtype=bool)
    kinds = [("items", ~wrong, "c0"), (question.truth, wrong, "bad")]
    kinds = [(name, mask, hue) for name, mask, hue in kinds if mask.any()]
    panels = [_events_panel(result, kinds), _learning_panel(question, result, kinds)]
    if 0 < wrong.sum() < len(wrong):
        late = np.where(np.isinf(result.learned_at), result.dynamics.epochs[-1] + 1.0, result.learned_at)
        often = np.where(result.never, result.events.max() + 1.0, result.events)
        marks: list[Mark] = [Rule(key="chance", axis="diagonal")]
        shown = (("late_learning", late, "c0", "late learning"), ("forgetting", often, "c3", "forgetting"))
        for name, score, hue, what in shown:
            x, y = roc_points(score, wrong)
            area = result.estimates[f"auc_of_{name}"].value
            marks.append(Line(key=name, x=x, y=y, hue=hue, width=2.0, label=f"{what}, area {area:.3f}"))
        panels.append(
            Panel(key="roc", x=Axis(label="right labels found", low=0.0, high=1.0),
                  y=Axis(label="wrong labels found", low=0.0, high=1.0), marks=tuple(marks), square=True)
        )  # fmt: skip
    return FigureSpec(
        title="Forgetting and late learning",
        subtitle=f"{counted(len(items), 'training item')}, {counted(len(result.dynamics.epochs), 'epoch')}, "
        f"{counted(len(result.dynamics.names), 'run')}",
        panels=tuple(panels),
        caption=f"{result.summary()} {result.notes[0]} {result.notes[1]}",
    )


def _events_panel(result: Forgetting, kinds: list[tuple[str, np.ndarray, str]]) -> Panel:
    """Give how many items have how many events; those never right stand apart."""
    count = np.minimum(np.round(result.events).astype(int), _MOST_BARS)
    top = int(count.max()) + 1
    place = np.where(result.never, top, count)
    names = (*(f"{i}" + ("+" if i == _MOST_BARS else "") for i in range(top)), "never right")
    base = np.zeros(top + 1)
    marks: list[Mark] = []
    for name, mask, hue in kinds:
        counts = np.bincount(place[mask], minlength=top + 1).astype(float)
        filled = np.flatnonzero(counts)
        clauses = tuple(result.dynamics.clause(mask & (place == one)) for one in filled)
        marks.append(
            Bars(key=name, at=filled.astype(float), height=100 * (base + counts)[filled] / len(place),
                 base=100 * base[filled] / len(place), hue=hue, label=f"{name} ({int(mask.sum()):,})",
                 origin=Clauses("predictions", clauses),
                 notes=tuple(f"{names[one]}: {counted(int(counts[one]), 'item')}" for one in filled))
        )  # fmt: skip
        base = base + counts
    return Panel(key="events", x=Axis(label="events of forgetting", scale="category", names=names),
                 y=Axis(label="items (%)", low=0.0), marks=tuple(marks), legend=len(kinds) > 1)  # fmt: skip


def _learning_panel(
    question: ForgettingQuestion, result: Forgetting, kinds: list[tuple[str, np.ndarray, str]]
) -> Panel:
    epochs = result.dynamics.epochs
    marks: list[Mark] = []
    for name, mask, hue in kinds:
        left = (result.learned_at[mask][:, None] > epochs).sum(axis=0)
        n = int(mask.sum())
        low, high = wilson(left, n, question.level)
        marks.append(
            Band(key=f"{name}/band", x=epochs, low=100 * np.asarray(low), high=100 * np.asarray(high), hue=hue)
        )
        marks.append(Line(key=name, x=epochs, y=100 * left / n, hue=hue, width=2.0, label=f"{name}, n = {n:,}",
                          origin=Clauses("predictions", (result.dynamics.clause(mask),))))  # fmt: skip
    title = f"Not yet right {question.k} times in a row, {100 * question.level:g} % Wilson"
    return Panel(
        key="learning", x=Axis(label="epoch", column="epoch"), y=Axis(label="not yet learned (%)", low=0.0, high=100.0),
        marks=tuple(marks), title=title,
    )  # fmt: skip


ANALYSIS = Analysis(
    id="dynamics.forgetting",
    title="Forgetting and late learning",
    asks="Which training items are unlearned again, and which are learned last?",
    question=ForgettingQuestion,
    figure=figure,
    sources=(
        "Toneva et al. (2019), An Empirical Study of Example Forgetting during Deep Neural Network Learning",
        "First k-epoch learning (FkL): the epoch that closes the first k consecutive predictions of the label",
    ),
    definition="""\
An event of forgetting is an item right at one evaluation and wrong at the next; items never right have no event and stand
apart. FkL is the epoch that closes the first $k$ consecutive right predictions; late items are suspects. With several
runs counts are averaged and compared by Spearman's correlation.

Unit: the item. Trap: counts depend on how often one evaluates. """,
)
