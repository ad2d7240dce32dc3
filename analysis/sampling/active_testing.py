"""``select.active-testing``: accuracy from a few labels, chosen where a mistake is likely."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, FigureSpec, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, option
from ...models.result import Estimate, Result, counted, with_interval
from ...models.store import RunStore
from ..answer_sheet import AnswersQuestion, Sheet, answer_sheet
from ..answers import in_natural_order, present
from ..resampling import DrawBlock, draw_blocks, t_quantile, wilson

_PLACES = 24
_DRAWN = ("drawn", "draw", "draw_number", "acquired")
_CHANCE = ("q", "acquisition_probability", "draw_probability")


@dataclass(frozen=True, kw_only=True)
class ActiveTest(Result):
    """Accuracy by active testing.

    Attributes
    ----------
    version : str
        What is tested.
    places : ndarray, shape (places,)
        Numbers of labels.
    paths : dict of str to ndarray, each shape (3, places)
        Middle, low and high end of the estimates of accuracy over repeats, for 'active' and 'random'; of the single path, with
        its interval, where the draws were logged.
    errors : dict of str to ndarray, each shape (places,)
        Root mean square error of the estimates over repeats; empty where the draws were logged.
    truth : float
        Accuracy on all items; NaN where only the drawn ones have labels.
    """

    version: str
    places: np.ndarray
    paths: dict[str, np.ndarray]
    errors: dict[str, np.ndarray]
    truth: float

    def summary(self) -> str:
        """Give the answer in one sentence."""
        e = self.estimates
        one = e["accuracy"]
        labels = counted(int(e["labels"].value), "label")
        ends = with_interval(100 * one.value, 100 * one.low, 100 * one.high)
        whose = f" of {self.version}" if self.version else ""
        if not self.errors:
            return f"The accuracy{whose} is {ends} % by {labels} chosen with known chances."
        worth = e["worth"]
        return (
            f"With {labels} chosen by active testing the accuracy{whose} comes out at {ends} % (all items: "
            f"{100 * self.truth:.1f} %); they are worth {with_interval(worth.value, worth.low, worth.high)} times as many "
            "random ones."
        )


@dataclass(frozen=True, kw_only=True)
class ActiveTestingQuestion(AnswersQuestion):
    """How well do a few labels tell the accuracy, if they are chosen well?"""

    needs: ClassVar[tuple[Need, ...]] = (Need("predictions", ("correct|prediction",)),)

    version: str = option("", help="what is tested; the last if empty", choices="predictions.version|predictions.model")
    surrogate: str = option(
        "", help="model that says where a mistake is likely; the tested one's own confidence if empty",
        choices="predictions.version|predictions.model",
    )  # fmt: skip
    labels: int | None = option(None, help="labels bought; a tenth of the items if none", unit="labels", low=2)
    uniform: float = option(
        0.1, help="share of the draws that is uniform, so that no chance is near 0", low=0.0, high=1.0
    )
    drawn: str = option(
        "", help="column with the number of the draw, where labels were bought so", choices="numbers of predictions"
    )
    chance: str = option(
        "", help="column with the chance of that draw among the items left", choices="numbers of predictions"
    )
    items: int | None = option(None, help="items the draws were made from; all rows of the version if none", low=1)
    repeats: int = option(400, help="orders of drawing that are tried", low=20, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the orders", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in the version and the columns of logged draws."""
        asked = super().resolved(store)
        if not store.has_rows("predictions"):
            return asked
        frame = store.rows("predictions")
        by = asked.by or next(iter(present(frame, ("version", "model"))), "")
        names = in_natural_order(frame[by].dropna().unique()) if by in frame.columns else []
        drawn = asked.drawn or next(iter(present(frame, _DRAWN)), "")
        return replace(asked, by=by, version=asked.version or (names[-1] if names else ""), drawn=drawn,
                       chance=asked.chance or (next(iter(present(frame, _CHANCE)), "") if drawn else ""))  # fmt: skip

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> ActiveTest:
        """Weigh the logged draws; or draw many times from items that all have labels."""
        asked = self.resolved(store)
        if asked.drawn and asked.chance:
            return _logged(store, asked)
        return _simulated(store, asked, engine, progress)


def lure_weights(chance: np.ndarray, items: int) -> np.ndarray:
    """Give the weights of draws without replacement that make their mean loss unbiased (LURE), shape (..., M).

    Parameters
    ----------
    chance : ndarray, shape (..., M)
        Chance of each draw among the items left at that draw, in the order of drawing.
    items : int
        N.

    Notes
    -----
    v_m = 1 + (N − M) / (N − m) (1 / ((N − m + 1) q_m) − 1); Farquhar, Gal and Rainforth (2021), *On Statistical Bias in Active
    Learning*, equation 10; Kossen et al. (2021), *Active Testing*, equation 3.
    """
    count = chance.shape[-1]
    m = np.arange(1, count + 1)
    if count == items:
        return np.ones(chance.shape)
    return np.asarray(1 + (items - count) / (items - m) * (1 / ((items - m + 1) * chance) - 1))


def _interval(weighted: np.ndarray, level: float) -> tuple[float, float, float]:
    """Give mean and ends of an interval from weighted losses of draws, as if they were independent."""
    n = len(weighted)
    mean = float(weighted.mean())
    half = float(t_quantile(level, n - 1)) * float(weighted.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return mean, mean - half, mean + half


def _logged(store: RunStore, asked: ActiveTestingQuestion) -> ActiveTest:
    from ..answers import rightness

    frame = store.rows("predictions")
    for name in (asked.drawn, asked.chance, asked.by):
        if name and name not in frame.columns:
            raise AnalysisError(f"The predictions have no column called {name!r}.")
    if asked.by and asked.version:
        frame = frame[frame[asked.by].astype(str) == asked.version]
    items = asked.items or len(frame)
    rows = frame[frame[asked.drawn].notna() & frame[asked.chance].notna()].sort_values(asked.drawn, kind="stable")
    right = rightness(rows, asked.unanswered, asked.right_from)
    rows, right = rows[np.isfinite(right)], right[np.isfinite(right)]
    if len(rows) < 2:
        raise TooLittleData(needs="at least 2 drawn items with labels", found=str(len(rows)))
    q = rows[asked.chance].to_numpy(float)
    if q.min() <= 0 or q.max() > 1 or items < len(rows):
        raise AnalysisError(f"{asked.chance!r} holds numbers that are no chances, or there are more draws than items.")
    places = np.unique(np.round(np.geomspace(2, len(rows), _PLACES)).astype(int))
    path = np.array([_interval(lure_weights(q[:m], items) * (1 - right[:m]), asked.level) for m in places]).T
    loss, low, high = path[:, -1]
    plain = wilson(float(right.sum()), len(right), asked.level)
    estimates = {
        "labels": Estimate(float(len(rows)), unit="labels", why_no_interval="a count"),
        "accuracy": Estimate(1 - loss, 1 - high, 1 - low, asked.level, "of items"),
        "accuracy_unweighted": Estimate(
            float(right.mean()), float(plain.low), float(plain.high), asked.level, "of drawn items"
        ),
    }
    table = pd.DataFrame({"labels": places, "accuracy": 1 - path[0], "low": 1 - path[2], "high": 1 - path[1]})
    return ActiveTest(
        version=asked.version, places=places, paths={"active": np.stack([1 - path[0], 1 - path[2], 1 - path[1]])}, errors={},
        truth=math.nan, estimates=estimates, tables={"path": table},
        notes=(f"Unit: the draw, n = {len(rows):,} of {items:,} items; {100 * asked.level:g} % t interval of the weighted "
               "losses, which takes draws as independent.",
               "Weights undo that likely mistakes were drawn more often; accuracy_unweighted shows what is wrong without."),
    )  # fmt: skip


def _simulated(store: RunStore, asked: ActiveTestingQuestion, engine: Engine, progress: Progress) -> ActiveTest:
    names = [name for name in dict.fromkeys((asked.version, asked.surrogate)) if name]
    sheet = answer_sheet(store, asked, names, common=True, least=1)
    tested = sheet.column(asked.version) if asked.version else 0
    known = sheet.present.all(axis=1)
    loss = 1 - sheet.right[known, tested]
    expected = expected_loss(sheet, tested, sheet.column(asked.surrogate) if asked.surrogate else tested)[known]
    n = len(loss)
    if n < 20:
        raise TooLittleData(needs="at least 20 items with labels", found=counted(n, "item"))
    most = min(asked.labels or max(2, n // 10), n)
    total = expected.sum()
    likely = expected / total if total > 0 else np.full(n, 1 / n)
    weights = (1 - asked.uniform) * likely + asked.uniform / n
    if weights.min() <= 0:
        raise AnalysisError("Some items can never be drawn.", remedy="Give the uniform share more than 0.")
    places = np.unique(np.round(np.geomspace(2, most, _PLACES)).astype(int))
    blocks = draw_blocks(asked.repeats, asked.seed, 20)
    parts = {}
    for name, w in (("active", weights), ("random", np.full(n, 1 / n))):
        # (repeats, places, 2): the estimate, and whether its interval covers
        parts[name] = np.concatenate(engine.map(partial(_drawn, w, loss, places, asked.level), blocks, progress))
    truth = float(1 - loss.mean())
    paths, errors, rows = {}, {}, []
    for name, found in parts.items():
        accuracy = 1 - found[..., 0]
        low, middle, high = np.quantile(accuracy, [(1 - asked.level) / 2, 0.5, (1 + asked.level) / 2], axis=0)
        paths[name] = np.stack([middle, low, high])
        errors[name] = np.sqrt(((accuracy - truth) ** 2).mean(axis=0))
        rows.append(pd.DataFrame({"draws": name, "labels": places, "middle": middle, "low": low, "high": high,
                                  "rms_error": errors[name], "coverage": found[..., 1].mean(axis=0)}))  # fmt: skip
    last = {name: (1 - found[:, -1, 0] - truth) ** 2 for name, found in parts.items()}
    worth, ends = _worth(last["active"], last["random"], most, n, asked)
    covered = parts["active"][:, -1, 1]
    low, high = wilson(float(covered.sum()), len(covered), asked.level)
    active = 1 - parts["active"][:, -1, 0]
    estimates = {
        "labels": Estimate(float(most), unit="labels", why_no_interval="a count"),
        "accuracy": _of_orders(active, paths["active"], asked.level),
        "accuracy_random": _of_orders(1 - parts["random"][:, -1, 0], paths["random"], asked.level),
        "accuracy_all": Estimate(truth, unit="of items", why_no_interval="what the estimates aim at: all of these items"),
        "worth": Estimate(worth, *ends, asked.level, "random labels a chosen one"),
        "coverage": Estimate(float(covered.mean()), float(low), float(high), asked.level, "of intervals of weighted draws"),
    }  # fmt: skip
    said = asked.surrogate or f"the confidence of {asked.version or 'the model'} itself"
    return ActiveTest(
        version=asked.version, places=places, paths=paths, errors=errors, truth=truth, estimates=estimates,
        tables={"paths": pd.concat(rows, ignore_index=True)},
        notes=(f"Unit: the order of drawing, {asked.repeats} tried, seed {asked.seed}; ends hold {100 * asked.level:g} % of "
               f"them. All {n:,} items have labels, so that it is known what the few would have said.",
               f"Where a mistake is likely says {said}; {100 * asked.uniform:g} % of each draw is uniform.",
               *sheet.notes),
    )  # fmt: skip


def _of_orders(accuracy: np.ndarray, path: np.ndarray, level: float) -> Estimate:
    return Estimate(float(accuracy.mean()), float(path[1, -1]), float(path[2, -1]), level, "of items")


def expected_loss(sheet: Sheet, tested: int, surrogate: int) -> np.ndarray:
    """Give the chance that the tested answer is wrong, as a surrogate sees it, shape (items,).

    Its own confidence where it gave the same answer; else what it leaves for each of the other answers.

    Raises
    ------
    TooLittleData
        When there is no confidence.
    """
    if "confidence" not in sheet.frame.columns or not sheet.frame["confidence"].notna().any():
        raise TooLittleData(
            needs="the confidence of a surrogate, to say where mistakes are likely", found="no column confidence",
            remedy="Map one onto 'confidence', or keep predictions with probabilities.",
        )  # fmt: skip
    sure = np.nan_to_num(sheet.values("confidence", surrogate), nan=0.5)
    if tested == surrogate or sheet.answers is None:
        return np.asarray(1 - sure)
    same = sheet.answers[:, tested] == sheet.answers[:, surrogate]
    others = max(len(sheet.texts) - 1, 1)
    return np.asarray(np.where(same, 1 - sure, 1 - (1 - sure) / others))


def _drawn(weights: np.ndarray, loss: np.ndarray, places: np.ndarray, level: float, block: DrawBlock) -> np.ndarray:
    """Give estimates of the loss, and whether their intervals cover it, shape (draws, places, 2)."""
    generator = block.generator()
    n, most = len(loss), int(places[-1])
    truth = loss.mean()
    found = np.empty((block.draws, len(places), 2))
    # The greatest of log w + Gumbel noise are draws without replacement, each by its weight among those left.
    keys = np.log(weights) + generator.gumbel(size=(block.draws, n))
    order = np.argsort(-keys, axis=1)[:, :most]
    own = weights[order]
    before = np.cumsum(own, axis=1) - own
    chance = own / np.maximum(weights.sum() - before, own)
    for number, m in enumerate(places):
        weighted = lure_weights(chance[:, :m], n) * loss[order[:, :m]]
        mean = weighted.mean(axis=1)
        # Without replacement the spread of a mean shrinks as the items run out.
        half = t_quantile(level, m - 1) * weighted.std(axis=1, ddof=1) / math.sqrt(m) * math.sqrt(1 - m / n)
        found[:, number, 0] = mean
        found[:, number, 1] = np.abs(mean - truth) <= half + 1e-12
    return found


def _worth(
    active: np.ndarray, random: np.ndarray, labels: int, n: int, asked: ActiveTestingQuestion
) -> tuple[float, tuple[float, float]]:
    """Give how many random labels one chosen label is worth, with its bootstrap over orders.

    The variance of the mean of M random labels of N is S² (1 / M − 1 / N); the labels that would give the error of the chosen
    ones are solved for.
    """

    def solved(ratio: np.ndarray) -> np.ndarray:
        rest = ratio * (1 / labels - 1 / n) + 1 / n
        return np.asarray(1 / rest / labels)

    generator = np.random.default_rng(asked.seed)
    rows = generator.integers(len(active), size=(500, len(active)))
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = solved(active[rows].mean(axis=1) / random[rows].mean(axis=1))
        value = float(solved(np.array(active.mean() / random.mean()))) if random.mean() > 0 else math.nan
    low, high = np.nanquantile(drawn, [(1 - asked.level) / 2, (1 + asked.level) / 2])
    return value, (float(low), float(high))


def figure(question: ActiveTestingQuestion, result: ActiveTest) -> FigureSpec:
    """Draw the estimates against the labels bought, for chosen and for random items, and their errors."""
    marks: list[Mark] = []
    for name, hue, dash in (("random", "muted", "dashed"), ("active", "c0", "solid")):
        if name not in result.paths:
            continue
        middle, low, high = 100 * result.paths[name]
        marks.append(Band(key=f"{name}/band", x=result.places, low=low, high=high, hue=hue))
        marks.append(Line(key=name, x=result.places, y=middle, hue=hue, width=2.0, label=f"{name} draws",
                          dash="dashed" if dash == "dashed" else "solid"))  # fmt: skip
    if math.isfinite(result.truth):
        marks.append(Rule(key="truth", axis="y", at=100 * result.truth, hue="ink", label="all labels"))
    axis = Axis(label="labels", scale="log", column="labels")
    panels = [Panel(key="paths", x=axis, y=Axis(label="accuracy (%)"), marks=tuple(marks))]
    if result.errors:
        lines: list[Mark] = []
        for name, hue in (("random", "muted"), ("active", "c0")):
            y = 100 * result.errors[name]
            lines.append(Line(key=name, x=result.places, y=y, hue=hue, width=2.0, label=f"{name} draws"))
            lines.append(Points(key=f"{name}/points", x=result.places, y=y, hue=hue))
        panels.append(Panel(key="errors", x=axis, y=Axis(label="root mean square error (points)", scale="log"),
                            marks=tuple(lines)))  # fmt: skip
    return FigureSpec(
        title="Active testing", subtitle=f"{result.version or 'one model'}; {100 * question.level:g} % of "
        + (f"{question.repeats} orders of drawing" if result.errors else "intervals of weighted draws"),
        panels=tuple(panels), columns=len(panels), caption=f"{result.summary()} {result.notes[0]} {result.notes[1]}",
    )  # fmt: skip


ANALYSIS = Analysis(
    id="select.active-testing",
    title="Active testing",
    asks="How well do a few labels tell the accuracy, if they are chosen well?",
    question=ActiveTestingQuestion,
    figure=figure,
    sources=(
        "Kossen et al. (2021), Active Testing: Sample-Efficient Model Evaluation",
        "Farquhar, Gal and Rainforth (2021), On Statistical Bias in Active Learning: How and When to Fix It",
    ),
    definition="""\
$\\hat R=\\frac1M\\sum_m v_mL_m$ with $v_m=1+\\frac{N-M}{N-m}\\big(\\frac1{(N-m+1)q_m}-1\\big)$ and $q_m$ the chance of draw $m$
among the items left. Items are drawn by the loss that a surrogate expects, mixed with a uniform share. Where all items have
labels the drawing is tried many times and held against random draws; where draws were logged, their estimate is given.

Unit: the order of drawing; for logged draws, the draw. Traps: $q$ must be written down at the time of the draw; without a
uniform share a mistake that the surrogate rules out weighs without limit. """,
)
