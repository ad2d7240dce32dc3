"""``noise.power``: how many items, or seeds, does it take to see a difference of this size?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, FigureSpec, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Question, option
from ...models.result import Estimate, Result, significant
from ...models.store import RunStore
from ..answer_matrix import AnswerMatrix, answer_matrix
from ..pair_tests import mcnemar_p
from ..resampling import wilson

_GAPS = (0.5, 1.0, 2.0, 4.0)
"""Drawn as multiples of the gap asked about."""
_SIZES = 12


@dataclass(frozen=True, kw_only=True)
class PowerCurve(Result):
    """Items needed, and the power of what is there.

    Attributes
    ----------
    discordant, discordant_low, discordant_high : float
        Share of items on which exactly one of the two is right, with its interval (NaN where it was given).
    pilot : AnswerMatrix or None
        Answers it comes from.
    pair : tuple of str
        The two models of the pilot; empty where the share was given.
    resampled : DataFrame
        One row a subset size: share of subsets that find the difference, and that find the order.
    """

    discordant: float
    discordant_low: float
    discordant_high: float
    pilot: AnswerMatrix | None
    pair: tuple[str, ...]
    resampled: pd.DataFrame

    def summary(self) -> str:
        """Give the answer in one sentence."""
        e = self.estimates
        needed = e["items_paired"]
        ends = f" [{needed.low:,.0f}, {needed.high:,.0f}]" if needed.has_interval else ""
        said = (
            f"To see a gap of {significant(100 * e['gap'].value, 3)} points with {100 * e['power'].value:.0f} % power, "
            f"{needed.value:,.0f}{ends} items answered by both models are needed, with {100 * self.discordant:.1f} % of items "
            f"discordant"
        )
        said += (
            f"; {e['items_unpaired'].value:,.0f} per model if each answers its own." if "items_unpaired" in e else "."
        )
        if "seeds" in e:
            said += f" {e['seeds'].value:,.0f} seeds per arm are needed."
        if self.pilot is not None:
            smallest = significant(100 * e["smallest_gap"].value, 2)
            said += f" The {len(self.pilot.right):,} items at hand show {smallest} points."
        return said


@dataclass(frozen=True, slots=True)
class _Pilot:
    """Two models on the same items: how many items only one of them got right."""

    matrix: AnswerMatrix
    pair: tuple[str, str]
    n: int
    only_first: int
    only_second: int
    accuracy: float


def _pilot(store: RunStore, asked: PowerQuestion) -> _Pilot | None:
    if not store.has_rows("predictions"):
        return None
    matrix = answer_matrix(store, task=asked.task)
    best = [int(i) for i in np.argsort(-matrix.right.mean(axis=0), kind="stable")]
    named = [matrix.number(name) for name in (asked.first, asked.second) if name]
    others = iter(i for i in best if i not in named)
    a = matrix.number(asked.first) if asked.first else next(others)
    b = matrix.number(asked.second) if asked.second else next(others)
    if a == b:
        raise AnalysisError("A pilot needs two different models.")
    one, two = matrix.right[:, a], matrix.right[:, b]
    return _Pilot(
        matrix=matrix,
        pair=(matrix.names[a], matrix.names[b]),
        n=len(one),
        only_first=int(np.sum(one > two)),
        only_second=int(np.sum(two > one)),
        accuracy=float(np.mean((one + two) / 2)),
    )


@dataclass(frozen=True, kw_only=True)
class PowerQuestion(Question):
    """How many items to see a difference of this size?"""

    gap: float = option(0.02, help="difference in accuracy to be seen", unit="share of items", low=0.0001, high=0.9)
    power: float = option(0.8, help="probability to see it", low=0.05, high=0.999)
    alpha: float = option(0.05, help="two-sided error of the test", low=0.0001, high=0.5)
    discordant: float | None = option(
        None, help="share of items on which exactly one is right; from the pilot if empty", low=0.0001, high=1.0
    )
    accuracy: float | None = option(
        None, help="accuracy of both, for separate items; from the pilot if empty", low=0.0, high=1.0
    )
    seed_sd: float | None = option(
        None,
        help="SD of the score over seeds, as benchmark cards give it: says how many seeds",
        unit="share of items",
        low=0.0,
    )
    first: str = option(
        "", help="one model of the pilot; the best if empty", choices="predictions.version|predictions.model"
    )
    second: str = option(
        "", help="the other one; the best of the rest if empty", choices="predictions.version|predictions.model"
    )
    task: str = option("", help="task of the pilot; that of the most models if empty", choices="predictions.task")
    level: float = option(0.95, help="coverage of the interval of the discordant share", low=0.5, high=0.999)
    draws: int = option(1000, help="subsets of each size", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the subsets", low=0, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> PowerCurve:
        """Measure the pilot and turn it into numbers of items."""
        pilot = _pilot(store, self)
        if self.discordant is not None:
            share, low, high = self.discordant, math.nan, math.nan
        elif pilot is None:
            raise TooLittleData(
                needs="predictions of two models on the same items, or the discordant share",
                found="neither",
                remedy="Give the share of items on which exactly one model is right (discordant).",
            )
        else:
            share = (pilot.only_first + pilot.only_second) / pilot.n
            low, high = (float(end) for end in wilson(pilot.only_first + pilot.only_second, pilot.n, self.level))
            if not share:
                raise TooLittleData(
                    needs="items on which the two models differ",
                    found=f"none of {pilot.n}",
                    remedy="Choose another pair, or give the discordant share (discordant).",
                )
        if share < self.gap:
            raise AnalysisError(
                f"A gap of {self.gap:g} cannot be when only {share:.3g} of the items are discordant.",
                remedy="Ask for a smaller gap.",
            )
        subsets = pd.DataFrame() if pilot is None else self._subsets(pilot, progress)
        tables = {"subsets": subsets} if pilot is None else {"pairs": _pairs(pilot.matrix, self), "subsets": subsets}
        return PowerCurve(
            discordant=share,
            discordant_low=low,
            discordant_high=high,
            pilot=None if pilot is None else pilot.matrix,
            pair=() if pilot is None else pilot.pair,
            resampled=subsets,
            estimates=self._estimates(pilot, share, low, high),
            tables=tables,
            notes=self._notes(pilot),
        )

    def _estimates(self, pilot: _Pilot | None, share: float, low: float, high: float) -> dict[str, Estimate]:
        known = math.isfinite(low)
        why = "" if known else "the discordant share was given"

        def ranged(function: Callable[[float], float], unit: str = "") -> Estimate:
            """Carry the interval of the discordant share through a function that rises or falls with it."""
            least, most = sorted(function(max(end, self.gap)) for end in (low, high)) if known else (math.nan, math.nan)
            return Estimate(function(share), least, most, self.level, unit, why)

        estimates = {
            "items_paired": ranged(lambda p: items_paired(self.gap, p, self.power, self.alpha), "items"),
            "discordant": Estimate(share, low, high, self.level, "of items", why),
            "gap": Estimate(self.gap, unit="of items", why_no_interval="asked for"),
            "power": Estimate(self.power, why_no_interval="asked for"),
        }
        accuracy = self.accuracy if self.accuracy is not None else pilot.accuracy if pilot is not None else None
        if accuracy is not None:
            needed = items_unpaired(self.gap, accuracy, self.power, self.alpha)
            estimates["items_unpaired"] = Estimate(
                needed, unit="items per model", why_no_interval="a formula of the accuracy"
            )
        if pilot is not None:
            n = pilot.n
            estimates |= {
                "power_at_hand": ranged(lambda p: float(power_paired(n, self.gap, p, self.alpha))),
                "smallest_gap": ranged(lambda p: _smallest_gap(n, p, self), "of items"),
                "n": Estimate(float(n), unit="items", why_no_interval="a count"),
                "observed_gap": Estimate(
                    abs(pilot.only_first - pilot.only_second) / n,
                    why_no_interval="of the pilot; compat.flips gives its interval",
                ),
            }
        if self.seed_sd is not None:
            estimates["seeds"] = Estimate(
                seeds_needed(self.gap, self.seed_sd, self.power, self.alpha),
                unit="seeds per arm",
                why_no_interval="the SD was given",
            )
        return estimates

    def _notes(self, pilot: _Pilot | None) -> tuple[str, ...]:
        notes = []
        if pilot is None:
            notes.append("Unit: the item. No pilot: the discordant share was given.")
        else:
            told = (
                f"the discordant share is an estimate ({100 * self.level:g} % Wilson), and what follows inherits its interval"
                if self.discordant is None
                else "the discordant share was given"
            )
            notes.append(f"Unit: the item. Pilot: {pilot.pair[0]} and {pilot.pair[1]}, n = {pilot.n:,}; {told}.")
            notes.append(
                f"Points: {self.draws} subsets of each size drawn without replacement from the pilot, exact McNemar test. "
                "They show the gap that the pilot has, not the one asked about; near the whole pilot they are nearly alike."
            )
        notes.append(f"Paired test (McNemar), two-sided at {self.alpha:g}, by its normal approximation.")
        if self.seed_sd is not None:
            notes.append("Seeds: two groups of equal size with the SD given, two-sided t test.")
        notes.append(
            "Power at the gap that was observed says nothing that its p-value does not: plan with it, do not judge."
        )
        return (*notes, *(() if pilot is None else pilot.matrix.notes))

    def _subsets(self, pilot: _Pilot, progress: Progress) -> pd.DataFrame:
        """Give for subsets of several sizes how often they find the difference of the pilot, and its order."""
        n, only_one, only_two = pilot.n, pilot.only_first, pilot.only_second
        sizes = np.unique(np.geomspace(min(20, n), n, _SIZES).round().astype(int))
        generator = np.random.default_rng(self.seed)
        sign = np.sign(only_two - only_one)
        rows = []
        for number, size in enumerate(sizes.tolist()):
            progress(number, len(sizes), f"{size} items")
            drawn = generator.multivariate_hypergeometric(
                [only_one, only_two, n - only_one - only_two], size, self.draws
            )
            found = np.count_nonzero((mcnemar_p(drawn[:, 0], drawn[:, 1]) <= self.alpha) & _agrees(drawn, sign))
            order = np.sign(drawn[:, 1] - drawn[:, 0])
            held = np.count_nonzero(order == sign) + 0.5 * np.count_nonzero((order == 0) & (sign != 0))
            rows.append(
                {
                    "items": size, "finds_difference": found / self.draws, "finds_order": held / self.draws,
                    "subsets": self.draws,
                }
            )  # fmt: skip
        return pd.DataFrame(rows)


def _agrees(drawn: np.ndarray, sign: float) -> np.ndarray:
    agrees: np.ndarray = np.sign(drawn[:, 1] - drawn[:, 0]) == sign
    return agrees


def _quantiles(power: float, alpha: float) -> tuple[float, float]:
    from scipy.special import ndtri

    return float(ndtri(1 - alpha / 2)), float(ndtri(power))


def items_paired(gap: float, discordant: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """Give the items both models must answer for McNemar's test to see a gap in accuracy.

    Notes
    -----
    n = ((z_{1-alpha/2} sqrt(p_d) + z_power sqrt(p_d - gap^2)) / gap)^2 (Connor 1987, *Sample size for testing differences in
    proportions for the paired-sample design*), rounded up.
    """
    if math.isnan(discordant):
        return math.nan
    a, b = _quantiles(power, alpha)
    return float(
        math.ceil(((a * math.sqrt(discordant) + b * math.sqrt(max(discordant - gap**2, 0))) / gap) ** 2 - 1e-9)
    )


def items_unpaired(gap: float, accuracy: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """Give the items each model must answer where the two answer different ones: 2 p (1 - p) ((z + z) / gap)^2."""
    a, b = _quantiles(power, alpha)
    return float(math.ceil(2 * accuracy * (1 - accuracy) * ((a + b) / gap) ** 2 - 1e-9))


def seeds_needed(gap: float, sd: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """Give the seeds each of two arms needs for a two-sided t test to see a gap in their means; at least 2.

    The normal formula 2 ((z + z) sd / gap)^2 is raised until the t test of so many seeds has the power.
    """
    from scipy.special import nctdtr, stdtrit

    n = 2
    while n < 1_000_000:
        df, shift = 2 * n - 2, gap / (sd * math.sqrt(2 / n)) if sd > 0 else math.inf
        if math.isinf(shift) or 1 - float(nctdtr(df, shift, stdtrit(df, 1 - alpha / 2))) >= power:
            return float(n)
        a, b = _quantiles(power, alpha)
        n = max(n + 1, min(math.floor(2 * ((a + b) * sd / gap) ** 2), 999_999))
    return math.nan


def power_paired(n: np.ndarray | float, gap: float, discordant: float, alpha: float = 0.05) -> np.ndarray:
    """Give the power of McNemar's test on `n` items by the approximation that `items_paired` inverts."""
    from scipy.special import ndtr, ndtri

    z = float(ndtri(1 - alpha / 2))
    spread = math.sqrt(max(discordant - gap**2, 1e-300))
    power: np.ndarray = ndtr((gap * np.sqrt(n) - z * math.sqrt(discordant)) / spread)
    return power


def _smallest_gap(n: int, discordant: float, asked: PowerQuestion) -> float:
    """Give the gap that `n` items show with the power asked for; NaN where none would."""
    low, high = 1e-9, discordant
    if power_paired(n, high, discordant, asked.alpha) < asked.power:
        return math.nan
    for _ in range(80):
        middle = (low + high) / 2
        if power_paired(n, middle, discordant, asked.alpha) < asked.power:
            low = middle
        else:
            high = middle
    return high


def _pairs(matrix: AnswerMatrix, asked: PowerQuestion, most: int = 40) -> pd.DataFrame:
    """Give for every pair of models its gap, its discordant share and the items that the asked gap needs."""
    rows = []
    names = matrix.names[:most]
    for i, one in enumerate(names):
        for j in range(i + 1, len(names)):
            left, right = matrix.right[:, i], matrix.right[:, j]
            share = float(np.mean(left != right))
            low, high = wilson(share * len(left), len(left), asked.level)
            rows.append(
                {
                    "first": one, "second": names[j], "gap": float(np.mean(right - left)), "discordant": share,
                    "discordant_low": low, "discordant_high": high,
                    "items_paired": items_paired(asked.gap, max(share, asked.gap), asked.power, asked.alpha),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def figure(question: PowerQuestion, result: PowerCurve) -> FigureSpec:
    """Draw power against items for several gaps, and what subsets of the pilot find."""
    top = 4 * max(result.estimates["items_paired"].value, 100.0)
    n = np.geomspace(10, top, 200)
    marks: list[Mark] = [Rule(key="power", axis="y", at=question.power, label="power asked for", option="power")]
    if math.isfinite(result.discordant_low):
        ends = [
            power_paired(n, question.gap, max(share, question.gap), question.alpha)
            for share in (result.discordant_high, result.discordant_low)
        ]
        level = f"{100 * question.level:g} % of the discordant share"
        marks.append(Band(key="band", x=n, low=ends[0], high=ends[1], hue="c1", label=level))
    for number, factor in enumerate(_GAPS):
        gap = factor * question.gap
        if gap < result.discordant:
            asked = factor == 1
            marks.append(
                Line(
                    key=f"gap {factor:g}", x=n, y=power_paired(n, gap, result.discordant, question.alpha), hue=f"c{number}",
                    width=2.0 if asked else 1.2, label=f"gap {significant(100 * gap, 3)} points",
                )
            )  # fmt: skip
    panels = [
        Panel(
            key="power",
            x=Axis(label="items answered by both", scale="log"),
            y=Axis(label="power", low=0.0, high=1.0),
            marks=tuple(marks),
            title="Planned",
        )
    ]
    table = result.resampled
    if len(table):
        x = table["items"].to_numpy(float)
        found: list[Mark] = []
        for number, (column, label) in enumerate(
            (("finds_difference", "finds it significant"), ("finds_order", "finds the order"))
        ):
            y = table[column].to_numpy(float)
            low, high = wilson(y * table["subsets"].to_numpy(float), table["subsets"].to_numpy(float), question.level)
            said = tuple(f"{size:,.0f} items: {100 * part:.0f} % of subsets" for size, part in zip(x, y, strict=True))
            found.append(Line(key=f"{column}/line", x=x, y=y, hue=f"c{number}"))
            found.append(Points(key=column, x=x, y=y, low=np.asarray(low), high=np.asarray(high), hue=f"c{number}",
                                label=label, notes=said))  # fmt: skip
        observed = significant(100 * result.estimates["observed_gap"].value, 2)
        panels.append(
            Panel(
                key="subsets",
                x=Axis(label="items of the pilot", scale="log"),
                y=Axis(label="share of subsets", low=0.0, high=1.0),
                marks=tuple(found),
                title=f"Subsets of the pilot, gap {observed} points",
            )
        )
    return FigureSpec(
        title="Power and sample size",
        subtitle=f"{' and '.join(result.pair) or 'No pilot'}: {100 * result.discordant:.1f} % of items discordant; McNemar, "
        f"two-sided {question.alpha:g}",
        panels=tuple(panels),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )


ANALYSIS = Analysis(
    id="noise.power",
    title="Power and sample size",
    asks="How many items does it take to see a difference of this size?",
    question=PowerQuestion,
    figure=figure,
    sources=(
        "Connor (1987), Sample size for testing differences in proportions for the paired-sample design",
        "Card et al. (2020), With Little Power Comes Great Responsibility",
        "Liu et al. (2023), Revisiting the Gold Standard (ROSE): power of human evaluation",
    ),
    definition="""\
Paired: $n=((z_{1-\\alpha/2}\\sqrt{p_d}+z_{power}\\sqrt{p_d-\\delta^2})/\\delta)^2$ with $p_d$ the share of items on
which exactly one model is right and $\\delta$ the gap. Separate items: $2p(1-p)((z_{1-\\alpha/2}+z_{power})/\\delta)^2$ per
model. Beside it, subsets of the pilot: how many find its difference significant, and how many find its order.

Unit: the item. $p_d$ of a pilot is noisy, so its interval is carried through. Trap: power at the gap that was observed
("post-hoc power") is the p-value in other words. """,
)
