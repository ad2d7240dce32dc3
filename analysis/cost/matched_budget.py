"""``cost.matched-budget``: many cheap attempts or few dear ones, at the same cost?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, FigureSpec, Line, Mark, Panel, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, option
from ...models.result import Estimate, Result, counted, shortened, significant, with_interval
from ...models.store import RunStore
from ..answer_marks import dots, named_axis
from ..attempts import WEAK_CHECKS, Attempts, AttemptsQuestion, first_present, pass_at_k
from ..forecast_rows import estimate_of
from ..resampling import percentile_interval, wilson

_COSTS = ("cost", "price", "flops", "tokens", "output_tokens", "active_params", "params", "runtime", "model_size")
_MOST_BUDGETS = 80


@dataclass(frozen=True, kw_only=True)
class MatchedBudget(Result):
    """What models solve at equal cost.

    Attributes
    ----------
    attempts : Attempts
        What it comes from.
    price : ndarray, shape (names,)
        Mean cost of an attempt.
    budgets : ndarray, shape (budgets,)
        Cost an item.
    coverage, diversity : ndarray, shape (3, names, budgets)
        Value, low and high end: share of items with a right attempt, and different right answers an item; NaN beyond the
        attempts made, and where answers were not recorded.
    common : float
        Greatest budget that every model was tried at.
    """

    attempts: Attempts
    price: np.ndarray
    budgets: np.ndarray
    coverage: np.ndarray
    diversity: np.ndarray
    common: float

    def summary(self) -> str:
        """Give the answer in one sentence."""
        order = np.argsort(self.price, kind="stable")
        cheap, dear = (self.attempts.names[i] for i in (order[0], order[-1]))
        gap = self.estimates[f"{cheap}/less_dearest"]
        ratio = self.price[order[-1]] / self.price[order[0]]
        return (
            f"At equal cost {significant(self.common, 3)}, {math.floor(self.common / self.price[order[0]] + 1e-9)} attempts "
            f"of {cheap} against {math.floor(self.common / self.price[order[-1]] + 1e-9)} of {dear} ({significant(ratio, 3)} "
            f"times as dear) solve {with_interval(100 * gap.value, 100 * gap.low, 100 * gap.high)} points more items."
        )


@dataclass(frozen=True, kw_only=True)
class MatchedBudgetQuestion(AttemptsQuestion):
    """Many cheap samples or few dear ones?"""

    cost: str = option("", help="column with the cost of an attempt: a price, tokens, FLOPs or parameters",
                       choices="numbers of predictions")  # fmt: skip
    prices: tuple[str, ...] = option((), help="instead: price of an attempt of each model, MODEL=PRICE")
    weak: str = option("", help="column that is 1 where a cheap check passes an attempt, for its false positives",
                       choices="numbers of predictions")  # fmt: skip
    budget: float | None = option(
        None, help="cost an item that is quoted; the greatest that all models reach if none", low=0.0
    )

    def resolved(self, store: RunStore) -> Self:
        """Take the columns that go by known names."""
        cost = self.cost if self.prices else first_present(store, self.cost, _COSTS)
        return replace(self, cost=cost, weak=first_present(store, self.weak, WEAK_CHECKS))

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> MatchedBudget:
        """Give every model as many attempts as the budget buys, average over items, resample items."""
        asked = self.resolved(store)
        if not asked.cost and not asked.prices:
            raise TooLittleData(needs="the cost of an attempt", found="no column that says it",
                                remedy="Name the column (cost) or the prices (prices).")  # fmt: skip
        attempts = asked.attempts(store, needs=(asked.cost, asked.weak))
        if len(attempts.names) < 2:
            raise TooLittleData(needs="attempts of at least 2 models", found="1")
        price = _prices(attempts, asked)
        everywhere = np.asarray((attempts.n > 0).all(axis=1))
        if not everywhere.any():
            raise TooLittleData(needs="items that every model tried", found="none")
        notes = list(attempts.notes)
        if not everywhere.all():
            notes.append(f"{counted(int((~everywhere).sum()), 'item')} left out: not tried by every model.")
        n, c = attempts.n[everywhere], attempts.c[everywhere]
        least = n.min(axis=0)
        reach = least * price
        common = float(reach.min())
        if asked.budget is not None:
            if asked.budget > common * (1 + 1e-9):
                raise AnalysisError(f"No budget above {common:g} was reached by every model.", remedy="Ask about less.")
            common = asked.budget
        if common < price.max() * (1 - 1e-9):
            dear = attempts.names[int(np.argmax(price))]
            raise TooLittleData(
                needs=f"attempts of the cheaper models worth one of {dear}",
                found=f"attempts worth {common / price.max():.2g} of one", remedy="Make more attempts of the cheaper models.",
            )  # fmt: skip
        budgets = _budgets(price, reach, common)
        ks = np.floor(budgets[None, :] / price[:, None] + 1e-9)
        covered = _coverage(n, c, ks, least)
        kinds = [covered]
        distinct = _right_answers(attempts, everywhere)
        if distinct is not None:
            kinds.append(_distinct_curves(distinct, n, ks, least))
        stacked = np.stack(kinds, axis=1)  # (items, kinds, names, budgets)
        statistic = partial(_means, stacked.reshape(len(stacked), -1), stacked.shape[1:])
        value, drawn = asked.of_items(statistic, len(stacked), engine=engine, progress=progress)
        low, high = (np.asarray(end) for end in percentile_interval(drawn, asked.level))
        curves = [np.stack([part[kind] for part in (value, low, high)]) for kind in range(stacked.shape[1])]
        at = int(np.flatnonzero(np.isclose(budgets, common))[0])
        estimates = _estimates(attempts, value, drawn, at, price, budgets, common, stacked.shape[0], asked)
        estimates |= _false_positives(attempts, everywhere, asked)
        table = pd.DataFrame(
            {"model": np.repeat(attempts.names, len(budgets)), "budget": np.tile(budgets, len(price)), "attempts": ks.ravel(),
             "coverage": value[0].ravel(), "low": low[0].ravel(), "high": high[0].ravel(),
             **({"different_right_answers": value[1].ravel()} if distinct is not None else {})}
        ).dropna(subset=["coverage"])  # fmt: skip
        what = asked.cost or "price"
        return MatchedBudget(
            attempts=attempts, price=price, budgets=budgets, coverage=curves[0], common=common, estimates=estimates,
            diversity=curves[1] if distinct is not None else np.full_like(curves[0], np.nan),
            tables={"budgets": table.reset_index(drop=True),
                    "models": pd.DataFrame({"model": attempts.names, "cost_of_an_attempt": price, "attempts": least})},
            notes=(f"A budget B buys ⌊B / {what}⌋ attempts; coverage is the unbiased pass@k, and is not extrapolated beyond "
                   "the attempts made.",
                   asked.unit_note(len(stacked), "; models are drawn together"),
                   *((f"{asked.cost} counts parameters; their ratio is not the ratio of prices.",)
                     if "param" in asked.cost.lower() else ()), *notes),
        )  # fmt: skip


def _prices(attempts: Attempts, asked: MatchedBudgetQuestion) -> np.ndarray:
    if asked.prices:
        given = {text.rpartition("=")[0]: text.rpartition("=")[2] for text in asked.prices}
        if missing := [name for name in attempts.names if name not in given]:
            raise AnalysisError(f"{missing[0]!r} has no price.", remedy="Write MODEL=PRICE for every model.")
        try:
            price = np.array([float(given[name]) for name in attempts.names])
        except ValueError:
            raise AnalysisError("A price is no number.", remedy="Write MODEL=PRICE.") from None
    else:
        values = pd.to_numeric(attempts.rows[asked.cost], errors="coerce").groupby(attempts.rows["series"]).mean()
        price = values.reindex(range(len(attempts.names))).to_numpy(float)
    if not (np.isfinite(price) & (price > 0)).all():
        bad = attempts.names[int(np.flatnonzero(~(np.isfinite(price) & (price > 0)))[0])]
        raise TooLittleData(needs=f"a cost above 0 of every model ({asked.cost or 'prices'})", found=f"none of {bad}")
    return price


def _budgets(price: np.ndarray, reach: np.ndarray, common: float) -> np.ndarray:
    """Give budgets at which some model can afford another attempt, thinned where there are very many."""
    steps = np.unique(
        np.concatenate([np.arange(1, round(end / one) + 1) * one for one, end in zip(price, reach, strict=True)])
    )
    if len(steps) > _MOST_BUDGETS:
        spaced = np.geomspace(steps[0], steps[-1], _MOST_BUDGETS)
        steps = steps[np.unique(np.searchsorted(steps, spaced * (1 - 1e-12)))]
    return np.unique(np.append(steps, common))


def _coverage(n: np.ndarray, c: np.ndarray, ks: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Give coverage of every item, shape (items, names, budgets); 0 where nothing is bought, NaN beyond the attempts made."""
    values = pass_at_k(n[:, :, None], c[:, :, None], np.maximum(ks, 1)[None])
    values = np.where(ks[None] < 1, 0.0, values)
    return np.where(ks[None] > least[None, :, None], np.nan, values)


def _right_answers(attempts: Attempts, kept: np.ndarray) -> pd.DataFrame | None:
    """Give how often each different right answer was given: ``number`` (of the kept item), ``series``, ``times``."""
    rows = attempts.rows
    if "prediction" not in rows.columns or rows["prediction"].isna().all():
        return None
    place = np.cumsum(kept) - 1
    right = rows[(rows["right"] > 0) & kept[rows["number"]]]
    grouped = right.groupby(["number", "series", right["prediction"].astype(str)], observed=True).size()
    found = grouped.rename("times").reset_index()
    return found.assign(number=place[found["number"].to_numpy()])


def _distinct_curves(distinct: pd.DataFrame, n: np.ndarray, ks: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Give the expected number of different right answers among k attempts, shape (items, names, budgets).

    An answer that came m times of n is among k drawn without replacement with chance 1 − C(n − m, k) / C(n, k).
    """
    found = np.zeros((len(n), *ks.shape))
    for series in range(ks.shape[0]):
        own = distinct[distinct["series"] == series]
        item = own["number"].to_numpy(int)
        k = np.minimum(np.maximum(ks[series], 1), least[series])
        chance = pass_at_k(n[item, series][:, None], own["times"].to_numpy(float)[:, None], k[None])
        np.add.at(found[:, series], item, chance)
    found = np.where(ks[None] < 1, 0.0, found)
    return np.where(ks[None] > least[None, :, None], np.nan, found)


def _means(flat: np.ndarray, shape: Sequence[int], counts: np.ndarray) -> np.ndarray:
    return np.asarray(counts @ flat / counts.sum(axis=1, keepdims=True)).reshape(len(counts), *shape)


def _estimates(
    attempts: Attempts, value: np.ndarray, drawn: np.ndarray, at: int, price: np.ndarray, budgets: np.ndarray, common: float,
    items: int, asked: MatchedBudgetQuestion,
) -> dict[str, Estimate]:  # fmt: skip
    dear = int(np.argmax(price))
    estimates = {
        "items": Estimate(float(items), unit="items", why_no_interval="a count"),
        "budget": Estimate(common, unit=asked.cost or "price", why_no_interval="a choice"),
    }
    # Regret is summed over the budgets that buy 1, 2, ... attempts of the dearest model.
    steps = np.arange(1, math.floor(common / price[dear] + 1e-9) + 1) * price[dear]
    places = np.searchsorted(budgets, steps * (1 - 1e-9))
    for number, name in enumerate(attempts.names):
        estimates[f"{name}/coverage"] = estimate_of(
            value[0, number, at], drawn[:, 0, number, at], asked.level, "of items"
        )
        if number != dear:
            estimates[f"{name}/less_dearest"] = estimate_of(
                value[0, number, at] - value[0, dear, at], drawn[:, 0, number, at] - drawn[:, 0, dear, at], asked.level,
                f"of items, less {attempts.names[dear]}",
            )  # fmt: skip
        top, tops = value[0, :, at].max(), drawn[:, 0, :, at].max(axis=1)
        regret = (top - value[0, number, places]).sum()
        estimates[f"{name}/regret"] = estimate_of(regret, (tops[:, None] - drawn[:, 0, number][:, places]).sum(axis=1),
                                                  asked.level, f"of items, summed over {len(steps)} budgets")  # fmt: skip
        if value.shape[0] > 1:
            estimates[f"{name}/different_right_answers"] = estimate_of(
                value[1, number, at], drawn[:, 1, number, at], asked.level, "an item"
            )
    return estimates


def _false_positives(attempts: Attempts, kept: np.ndarray, asked: MatchedBudgetQuestion) -> dict[str, Estimate]:
    if not asked.weak:
        return {}
    rows = attempts.rows[kept[attempts.rows["number"]]]
    passed = pd.to_numeric(rows[asked.weak], errors="coerce").to_numpy(float) >= 0.5
    found = {}
    for number, name in enumerate(attempts.names):
        own = passed & (rows["series"] == number).to_numpy()
        wrong = int((rows["right"].to_numpy(float)[own] == 0).sum())
        if own.any():
            low, high = wilson(wrong, int(own.sum()), asked.level)
            found[f"{name}/false_positives"] = Estimate(wrong / int(own.sum()), float(low), float(high), asked.level,
                                                        "of attempts that pass")  # fmt: skip
    return found


def figure(question: MatchedBudgetQuestion, result: MatchedBudget) -> FigureSpec:
    """Draw coverage and different right answers on one axis of cost, and false positives of the cheap check."""
    names = result.attempts.names
    panels = []
    axis = Axis(label=f"cost an item ({question.cost or 'price'})", scale="log", column="budget")
    for key, label, values, factor in (("coverage", "items with a right attempt (%)", result.coverage, 100.0),
                                       ("diversity", "different right answers an item", result.diversity, 1.0)):  # fmt: skip
        if not np.isfinite(values).any():
            continue
        marks: list[Mark] = []
        for number, name in enumerate(names):
            value, low, high = factor * values[:, number]
            shown = (result.budgets >= result.price[number] * (1 - 1e-9)) & np.isfinite(value)
            x = result.budgets[shown]
            if len(names) <= 4:
                marks.append(Band(key=f"{name}/band", x=x, low=low[shown], high=high[shown], hue=f"c{number}"))
            marks.append(Line(key=name, x=x, y=value[shown], hue=f"c{number}", width=2.0,
                              label=f"{shortened(name, 22)} ({significant(result.price[number], 3)} each)",
                              origin=result.attempts.origin([number])))  # fmt: skip
        marks.append(Rule(key="common", axis="x", at=result.common, option="budget"))
        panels.append(Panel(key=key, x=axis, y=Axis(label=label, low=0.0), marks=tuple(marks)))
    checked = [name for name in names if f"{name}/false_positives" in result.estimates]
    if checked:
        found = [result.estimates[f"{name}/false_positives"] for name in checked]
        value, low, high = (np.array([100 * getattr(one, end) for one in found]) for end in ("value", "low", "high"))
        origin = result.attempts.origin([names.index(name) for name in checked])
        panels.append(Panel(key="false positives", x=Axis(label=f"of attempts that pass {question.weak}, wrong (%)", low=0.0),
                            y=named_axis(checked),
                            marks=dots("false positives", checked, value, low, high, origin=origin)))  # fmt: skip
    return FigureSpec(
        title="Attempts at equal cost",
        subtitle=f"{int(result.estimates['items'].value):,} items, {counted(len(names), 'model')}; {100 * question.level:g} % "
        "bootstrap over items",
        panels=tuple(panels), columns=min(len(panels), 2), caption=f"{result.summary()} {result.notes[0]} {result.notes[1]}",
    )  # fmt: skip


ANALYSIS = Analysis(
    id="cost.matched-budget",
    title="Attempts at equal cost",
    asks="Many cheap samples or few dear ones?",
    question=MatchedBudgetQuestion,
    figure=figure,
    sources=(
        "Bansal et al. (2024), Smaller, Weaker, Yet Better: Training LLM Reasoners via Compute-Optimal Sampling",
        "Qu et al. (2025), Optimizing Test-Time Compute via Meta Reinforcement Fine-Tuning: cumulative regret",
        "Chen et al. (2021), Evaluating Large Language Models Trained on Code: the unbiased pass@k",
    ),
    definition="""\
At a budget $B$ an item a model makes $\\lfloor B/P\\rfloor$ attempts at price $P$ each, so that
$S_{weak}=(P_{strong}/P_{weak})\\,S_{strong}$. Coverage is the unbiased pass@k, diversity the expected number of different right
answers, false positives the share of attempts that pass a cheap check and are wrong. Regret is $\\sum_j(J^*-J_j)$ over the
budgets that buy $j=1,2,\\dots$ attempts of the dearest model, with $J^*$ the best coverage at the common budget.

Unit: the item, paired between models. Trap: the ratio of parameters is not the ratio of prices. """,
)
