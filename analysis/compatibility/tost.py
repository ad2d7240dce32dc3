"""``compat.tost``: whether a new version is as good as the old one, within a margin fixed before."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, Clauses, FigureSpec, Line, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result, shortened, significant, with_interval
from ...models.selection import Clause, is_in
from ...models.store import RunStore
from ..answer_sheet import PairQuestion, answer_sheet, cluster_units
from ..paired_differences import Differences, valued
from ..paired_tests import clopper_pearson, said_p
from ..resampling import Interval, t_quantile, t_test

_MOST_GROUPS = 30


@dataclass(frozen=True, kw_only=True)
class Equivalence(Result):
    """Old against new within a margin.

    Attributes
    ----------
    old, new : str
        The two compared.
    what : str
        What is compared.
    margin : float or None
        The margin; None where none was fixed.
    verdict : {'equivalent', 'not inferior', 'worse', 'undecided', 'no margin'}
        What the intervals say.
    level : float
        Confidence of each one-sided test.
    worse : Clause or None
        Items that are worse in the new version.
    group : str
        Column of the groups; empty where there are none.
    """

    old: str
    new: str
    what: str
    margin: float | None
    verdict: str
    level: float
    worse: Clause | None
    group: str

    def summary(self) -> str:
        """Give the answer in one sentence."""
        d = self.estimates["difference"]
        change = f"{self.what} changes by {with_interval(d.value, d.low, d.high)} ({100 * d.level:g} %)"
        if self.margin is None:
            smallest = significant(self.estimates["smallest_margin"].value, 3)
            return (
                f"From {self.old} to {self.new} {change}. No margin was fixed, so that nothing is called equivalent; it "
                f"would be from a margin of {smallest} on."
            )
        said = {
            "equivalent": f"{self.new} is equivalent to {self.old}",
            "not inferior": f"{self.new} is not inferior to {self.old}",
            "worse": f"{self.new} is worse than {self.old} by more than the margin",
            "undecided": f"Whether {self.new} is equivalent to {self.old} is undecided",
        }[self.verdict]
        p = self.estimates["tost_p"].value
        return f"{said} within ±{self.margin:g}: {change}, TOST p {said_p(p)}."


@dataclass(frozen=True, kw_only=True)
class TostQuestion(PairQuestion):
    """May the new version replace the old one?"""

    margin: float | None = option(
        None, help="largest difference that does not matter; fix it before looking", unit="of the score", low=0.0
    )
    budget: float | None = option(
        None, help="largest share of items that may go from right to wrong", unit="of items", low=0.0, high=1.0
    )
    value: str = option(
        "", help="number to compare; the score or whether it is right if empty", choices="numbers of predictions"
    )
    lower_is_better: bool = option(False, help="whether less of that number is better")
    group: str = option("", help="column to look at each group of, too", choices="columns of predictions")
    cluster: str = option(
        "", help="column of items that belong together and count as one", choices="columns of predictions"
    )

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> Equivalence:
        """Test both sides of the margin."""
        asked = self.resolved(store)
        sheet = answer_sheet(store, asked, (asked.old, asked.new), about=(asked.group, asked.cluster))
        sheet, values, is_binary, left_out = valued(sheet, asked.value)
        units, number, unit = cluster_units(sheet, asked.cluster)
        if number < 2:
            raise TooLittleData(needs="two units or more", found=str(number))
        both = Differences(values[:, 0], values[:, 1], units, number)
        two_sided = 2 * asked.level - 1
        estimates, verdict = _tested(both, asked)
        notes = [
            unit,
            f"Both one-sided tests by Student's t, {both.df:,} degrees of freedom, at level {1 - asked.level:.3g} each; the "
            f"interval is the {100 * two_sided:g} % one.",
            *sheet.notes,
            *left_out,
        ]
        if asked.margin is None:
            notes.append("No margin: a p above 0.05 of a difference is no equivalence. Fix a margin (--margin) first.")
        worse = None
        if is_binary:
            broke = (values[:, 0] > 0.5) & (values[:, 1] <= 0.5)
            worse = sheet.clause(broke)
            estimates |= _budget(broke, both, asked, notes)
        elif asked.budget is not None:
            raise AnalysisError(
                "A budget of regressions needs answers that are right or wrong.",
                remedy="Leave out --value or --budget.",
            )
        d = both.values * (-1 if asked.lower_is_better else 1)
        table = sheet.listed(d < 0, (0, 1), ("old", "new")).assign(difference=both.values[d < 0])
        groups = pd.DataFrame(
            [
                _group_row("all items", both, asked),
                *_group_rows(sheet.groups(asked.group) if asked.group else None, both, asked),
            ]
        )
        return Equivalence(
            old=asked.old,
            new=asked.new,
            what=asked.value or ("score" if sheet.is_graded else "accuracy"),
            margin=asked.margin,
            verdict=verdict,
            level=asked.level,
            worse=worse if worse is not None else sheet.clause(d < 0),
            group=asked.group,
            estimates=estimates,
            tables={"groups": groups, "items": table},
            notes=tuple(notes),
        )


def tost_p(difference: float, standard_error: float, df: float, margin: float) -> tuple[float, float]:
    """Give the p of 'the difference lies at or below −margin' and of 'at or above margin' (Schuirmann 1987).

    The larger of the two is the p of the two one-sided tests.
    """
    lower = 1 - t_test(difference, standard_error, df, at=-margin)[1]
    upper = t_test(difference, standard_error, df, at=margin)[1]
    return lower, upper


def fieller_interval(
    new: float, old: float, var_new: float, var_old: float, covariance: float, df: float, level: float
) -> Interval:
    """Give Fieller's interval of the ratio new / old of two correlated means; NaN ends where old may be 0.

    Fieller (1954), *Some problems in interval estimation*.
    """
    t = float(t_quantile(level, df))
    a = old**2 - t**2 * var_old
    b = new * old - t**2 * covariance
    c = new**2 - t**2 * var_new
    inside = b**2 - a * c
    if a <= 0 or inside < 0:
        return Interval(math.nan, math.nan)
    return Interval((b - math.sqrt(inside)) / a, (b + math.sqrt(inside)) / a)


def _verdict(interval: Interval, margin: float | None, *, lower_is_better: bool) -> str:
    if margin is None:
        return "no margin"
    low, high = (float(end) for end in interval)
    if lower_is_better:
        low, high = -high, -low
    if low > -margin and high < margin:
        return "equivalent"
    if low > -margin:
        return "not inferior"
    return "worse" if high < -margin else "undecided"


def _tested(both: Differences, asked: TostQuestion) -> tuple[dict[str, Estimate], str]:
    two_sided = 2 * asked.level - 1
    interval = both.t_interval(two_sided)
    low, high = (float(end) for end in interval)
    se = both.standard_error
    old, new = float(both.old.mean()), float(both.new.mean())
    ratio = fieller_interval(
        new, old, both.covariance(both.new, both.new), both.covariance(both.old, both.old),
        both.covariance(both.new, both.old), both.df, asked.level,
    )  # fmt: skip
    why = "Fieller's set is unbounded: the old mean may be 0" if math.isnan(float(ratio.low)) else ""
    estimates = {
        "n": Estimate(len(both.values), unit="items", why_no_interval="a count"),
        "mean_old": Estimate(old, why_no_interval="see the difference"),
        "mean_new": Estimate(new, why_no_interval="see the difference"),
        "difference": Estimate(both.mean, low, high, two_sided, "new − old"),
        "standard_error": Estimate(se, why_no_interval="of the difference, over units"),
        "smallest_margin": Estimate(
            max(abs(low), abs(high)),
            unit="margin from which on they are equivalent",
            why_no_interval="end of the interval",
        ),
        "retention": Estimate(
            new / old if old else math.nan, float(ratio.low), float(ratio.high), asked.level, "new / old", why
        ),
    }
    if asked.margin is not None:
        lower, upper = tost_p(both.mean, se, both.df, asked.margin)
        inferior = upper if asked.lower_is_better else lower
        estimates["margin"] = Estimate(asked.margin, why_no_interval="fixed by the user")
        estimates["tost_p"] = Estimate(max(lower, upper), why_no_interval="the larger of two one-sided p-values")
        estimates["lower_p"] = Estimate(lower, why_no_interval="a one-sided p-value, against −margin")
        estimates["upper_p"] = Estimate(upper, why_no_interval="a one-sided p-value, against +margin")
        estimates["non_inferiority_p"] = Estimate(inferior, why_no_interval="a one-sided p-value")
    return estimates, _verdict(interval, asked.margin, lower_is_better=asked.lower_is_better)


def _budget(broke: np.ndarray, both: Differences, asked: TostQuestion, notes: list[str]) -> dict[str, Estimate]:
    """Give the NFR and its one-sided upper bound, exact over items, by t over clusters."""
    rate = float(broke.mean())
    if asked.cluster:
        values = broke.astype(float)
        half = float(t_quantile(2 * asked.level - 1, both.df)) * math.sqrt(both.covariance(values, values))
        upper, how = min(1.0, rate + half), f"t over the {asked.cluster}, taken whole"
    else:
        upper, how = float(clopper_pearson(broke.sum(), len(broke), 2 * asked.level - 1).high), "Clopper-Pearson"
    notes.append(f"nfr: its interval is one-sided, [0, {100 * asked.level:g} % upper bound] ({how}).")
    found = {"nfr": Estimate(rate, 0.0, upper, asked.level, "of items")}
    if asked.budget is not None:
        found["within_budget"] = Estimate(
            float(upper <= asked.budget),
            unit=f"1 where the bound is at most {asked.budget:g}",
            why_no_interval="a verdict",
        )
        notes.append(
            f"Regressions: {significant(upper, 3)} at most, budget {asked.budget:g}: "
            f"{'kept' if upper <= asked.budget else 'not shown to be kept'}."
        )
    return found


def _group_row(name: str, part: Differences, asked: TostQuestion) -> dict[str, object]:
    interval = part.t_interval(2 * asked.level - 1)
    p = math.nan
    if asked.margin is not None and part.standard_error > 0:
        p = max(tost_p(part.mean, part.standard_error, part.df, asked.margin))
    enough = math.isfinite(float(interval.low))
    return {
        "group": name,
        "n": len(part.values),
        "mean_old": float(part.old.mean()),
        "mean_new": float(part.new.mean()),
        "difference": part.mean,
        "low": float(interval.low),
        "high": float(interval.high),
        "tost_p": p,
        "verdict": _verdict(interval, asked.margin, lower_is_better=asked.lower_is_better) if enough else "undecided",
    }


def _group_rows(
    groups: tuple[np.ndarray, list[str]] | None, both: Differences, asked: TostQuestion
) -> list[dict[str, object]]:
    if groups is None:
        return []
    codes, names = groups
    rows = []
    for number, name in enumerate(names):
        inside = codes == number
        units = np.unique(both.units[inside], return_inverse=True)[1]
        rows.append(
            _group_row(name, Differences(both.old[inside], both.new[inside], units, int(units.max()) + 1), asked)
        )
    return rows


_HUES = {"equivalent": "good", "not inferior": "good", "worse": "bad", "undecided": "muted", "no margin": "c0"}


def figure(question: TostQuestion, result: Equivalence) -> FigureSpec:
    """Draw the interval of the difference against the zone of the margin, for all items and for each group."""
    table = result.tables["groups"].head(_MOST_GROUPS + 1)
    at = np.arange(len(table), dtype=float)
    level = f"{100 * (2 * result.level - 1):g} % interval"
    marks: list[Band | Line | Points | Rule] = []
    if result.margin is not None:
        reach = np.array([-result.margin, result.margin])
        marks.append(
            Band(
                key="zone", x=reach, low=np.full(2, -0.5), high=np.full(2, len(table) - 0.5), hue="good",
                label=f"within ±{result.margin:g}", opacity=0.12,
            )
        )  # fmt: skip
        marks += [Rule(key=f"margin{i}", axis="x", at=float(end), hue="good") for i, end in enumerate(reach)]
    marks.append(Rule(key="zero", axis="x", at=0.0, hue="line", dash="solid"))
    for verdict, hue in _HUES.items():
        inside = np.flatnonzero((table["verdict"] == verdict).to_numpy())
        if not len(inside):
            continue
        own = table.iloc[inside]
        ends = np.stack([own["low"], own["high"], np.full(len(own), np.nan)], axis=1).ravel()
        marks.append(Line(key=f"{verdict} intervals", x=ends, y=np.repeat(at[inside], 3), hue=hue, width=2.0))
        clauses = [
            result.worse if name == "all items" and number == 0 else is_in(result.group, (name,))
            for number, name in zip(inside.tolist(), own["group"], strict=True)
        ]
        marks.append(
            Points(
                key=verdict, x=own["difference"].to_numpy(float), y=at[inside], hue=hue, size=7.0, label=verdict,
                origin=Clauses("predictions", tuple(clause for clause in clauses if clause is not None)),
                notes=tuple(
                    f"{row['group']}: {with_interval(row['difference'], row['low'], row['high'])}, n = {row['n']:,}, "
                    f"{row['verdict']}"
                    for row in own.to_dict("records")
                ),
            )
        )  # fmt: skip
    panel = Panel(
        key="zone",
        x=Axis(label=f"difference of {result.what} (new − old)"),
        y=Axis(scale="category", names=tuple(shortened(str(name), 28) for name in table["group"]), inverted=True),
        marks=tuple(marks),
    )
    return FigureSpec(
        title=f"May {result.new} replace {result.old}?",
        subtitle=f"{result.verdict}; {level}, {result.estimates['n'].value:,.0f} items"
        + (f", margin ±{result.margin:g}" if result.margin is not None else ", no margin fixed"),
        panels=(panel,),
        caption=f"{result.summary()} {' '.join(result.notes[:2])}",
    )


ANALYSIS = Analysis(
    id="compat.tost",
    title="Equivalence and non-inferiority",
    asks="May we ship the compressed or cheaper model?",
    question=TostQuestion,
    figure=figure,
    sources=(
        "Schuirmann (1987): two one-sided tests",
        "Fieller (1954): interval of a ratio of means",
        "Clopper and Pearson (1934): exact bound of the regressions",
    ),
    definition="""\
With a margin δ fixed beforehand: *equivalent* when both one-sided t tests reject at α = 1 − level, that is when the 1
− 2α interval of the mean difference lies inside (−δ, δ); *not inferior* when its worse end is above −δ; *worse* when
all of it lies below −δ; else *undecided*. TOST p = the larger of the two one-sided p. Retention new / old has
Fieller's interval. Regression budget: the exact one-sided upper bound of the NFR is at most the budget. Without a
margin nothing is called equivalent.

Unit: the item, or the cluster (clustered standard error, units − 1 degrees of freedom). Trap: p > 0.05 of a
difference is no equivalence; a margin chosen after looking proves nothing. Verdicts of groups are not adjusted for
their number. """,
)
