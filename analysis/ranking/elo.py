"""``rating.elo``: what does a running ladder show, and how much of it is the order of the battles?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Clauses, FigureSpec, Line, Mark, Panel
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, with_interval
from ...models.selection import AnyOf, Clause, is_in
from ...models.store import RunStore
from ..ratings import Battles, battles_of, battles_of_scores, elo_in_orders, elo_trail, ratings_of
from ..remembered import Remembered
from ..resampling import percentile_interval
from ..score_marks import interval_rows
from ..score_table import chosen_scores, grid_of

_MOST_BATTLES = 200_000
_MOST_TRAILS = 12


@dataclass(frozen=True, kw_only=True)
class EloLadder(Result):
    """Online Elo over many orders of the same battles.

    Attributes
    ----------
    battles : Battles
        What was fought.
    ratings : DataFrame
        One row a model, the best first: mean over orders, spread over orders, interval over battles and orders, rating
        in the order given, Bradley-Terry rating.
    trail : ndarray, shape (battles + 1, models)
        Ratings after each battle in the order given, models in natural order.
    table : str
        Where battles come from: comparisons or scores.
    clauses : tuple of Clause
        The rows of each model, in natural order.
    """

    battles: Battles
    ratings: pd.DataFrame
    trail: np.ndarray
    table: str
    clauses: tuple[Clause, ...]

    def summary(self) -> str:
        """Give the answer in one sentence."""
        first = self.ratings.iloc[0]
        spread = float((self.ratings["order_high"] - self.ratings["order_low"]).mean())
        rating = with_interval(first["rating"], first["low"], first["high"])
        return (
            f"{first['model']} leads with {rating} Elo points (rank {first['rank_low']:.0f} to {first['rank_high']:.0f}); the "
            f"order of the {len(self.battles.score):,} battles alone moves a rating by {spread:.0f} points."
        )


@dataclass(frozen=True, kw_only=True)
class EloQuestion(Question):
    """What does a running ladder show?"""

    needs: ClassVar = (Need("comparisons|scores"),)

    source: Literal["", "comparisons", "scores"] = option(
        "",
        help="battles that were fought, or a round robin of scores on every task; comparisons where there are, if empty",
    )
    k: float = option(40.0, help="most points a battle moves", unit="Elo points", low=0.1, high=400)
    start: float = option(1500.0, help="rating of everyone at first", unit="Elo points")
    tie_below: float = option(0.05, help="scores, or strengths, closer than this tie", low=0.0)
    longer_by: float | None = option(
        None, help="slight wins by an answer longer by more than this count as ties", unit="characters", low=0.0
    )
    dimension: str = option("", help="what was judged; the first if empty", choices="comparisons.dimension")
    judge: str = option("", help="only this judge; all of them if empty", choices="comparisons.judge")
    metric: str = option("", help="metric of scores; the first of each task if empty", choices="scores.metric")
    better: Literal["as stated", "higher", "lower"] = option("as stated", help="direction of the scores")
    orders: int = option(200, help="random orders of the battles", low=50, high=5000)
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    seed: int = option(0, help="seed of the orders", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in where battles come from."""
        if self.source:
            return self
        return replace(self, source="comparisons" if store.has_rows("comparisons") else "scores")

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> EloLadder:
        """Fight the battles in many orders, and resampled in many more."""
        asked = self.resolved(store)
        if not store.has_rows(asked.source):
            raise TooLittleData(
                needs=f"a {asked.source} table", found="none", remedy="Choose the other source of battles."
            )
        known = _known.of(store, replace(asked, level=0.95), lambda: _fought(store, asked, progress))
        battles, clauses, trail = known.battles, known.clauses, known.trail
        table = _table(known, asked.level)
        given = (
            "in the order of the rows"
            if asked.source == "comparisons"
            else "task by task, in the order they are met; scores have no order of their own"
        )
        unit = "task" if asked.source == "scores" else "prompt" if battles.cluster is not None else "battle"
        return EloLadder(
            battles=battles,
            ratings=table,
            trail=trail,
            table=asked.source,
            clauses=clauses,
            estimates={
                str(row["model"]): Estimate(row["rating"], row["low"], row["high"], asked.level, "Elo points")
                for row in table.to_dict("records")
            },
            tables={"ratings": table},
            notes=(
                f"Unit: the {unit}. Rating: mean over {asked.orders} random orders (seed {asked.seed}). Interval, "
                f"{100 * asked.level:g} %: over resampled {unit}s, each in an order of its own; the spread over orders alone "
                "stands beside.",
                f"One order is never the answer: the trail shows the one given ({given}).",
                f"Everyone starts at {asked.start:g}; k = {asked.k:g}. The sum of ratings stays. Bradley-Terry: same battles, "
                "no order, moved to the same mean.",
                *battles.notes,
            ),
        )

    def _battles(self, store: RunStore) -> tuple[Battles, tuple[Clause, ...]]:
        if self.source == "comparisons":
            battles = battles_of(
                store, dimension=self.dimension, judge=self.judge, tie_below=self.tie_below, longer_by=self.longer_by
            )
            return battles, tuple(AnyOf((is_in("a", (name,)), is_in("b", (name,)))) for name in battles.names)
        scores = chosen_scores(store, metric=self.metric, better=self.better)
        grid = grid_of(scores.frame, "model", "task")
        if len(grid.rows) < 2:
            raise TooLittleData(needs="scores of at least 2 models", found=f"{len(grid.rows)}")
        battles = battles_of_scores(grid.good, tuple(map(str, grid.rows)), self.tie_below)
        notes = (
            f"Battles: every two models on each of {counted(len(grid.columns), 'task')}; scores within {self.tie_below:g} tie.",
            *scores.notes,
        )
        return replace(battles, notes=notes), tuple(scores.clause(str(name)) for name in grid.rows)


def _resampled(battles: Battles, generator: np.random.Generator, draws: int) -> np.ndarray:
    """Give numbers of battles of resamples in random orders, shape (draws, m); whole clusters where there are such.

    Resamples of clusters differ in size; all are cut to that of the shortest, so that they can be fought together.
    """
    count = len(battles.score)
    if battles.cluster is None:
        return generator.integers(0, count, (draws, count))
    members = [np.flatnonzero(battles.cluster == code) for code in range(int(battles.cluster.max()) + 1)]
    drawn = []
    for _ in range(draws):
        chosen = generator.integers(0, len(members), len(members))
        drawn.append(generator.permutation(np.concatenate([members[code] for code in chosen])))
    shortest = min(map(len, drawn))
    return np.stack([one[:shortest] for one in drawn])


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """Ladders whatever the coverage of intervals.

    Attributes
    ----------
    battles, clauses, trail
        As in `EloLadder`.
    ended, resampled : ndarray, shape (orders, models)
        Ratings at the end of random orders, and of resamples in random orders.
    terry : ndarray, shape (models,)
        Bradley-Terry ratings, moved to the same mean.
    """

    battles: Battles
    clauses: tuple[Clause, ...]
    trail: np.ndarray
    ended: np.ndarray
    resampled: np.ndarray
    terry: np.ndarray


_known = Remembered[_Known]()


def _fought(store: RunStore, asked: EloQuestion, progress: Progress) -> _Known:
    """Fight the battles in many orders, and resampled in many more."""
    plan = _plans.of(store, replace(asked, level=0.95, k=40.0, start=1500.0), lambda: _planned(store, asked))
    battles, orders = plan.battles, plan.orders
    progress(0, 2, "random orders")
    # Orders and resamples are fought side by side where they are of one length: steps are what takes time.
    if plan.resamples.shape[1] == orders.shape[1]:
        ended = elo_in_orders(battles, np.concatenate([orders, plan.resamples]), asked.k, asked.start)
        ended, resampled = ended[: len(orders)], ended[len(orders) :]
    else:
        ended = elo_in_orders(battles, orders, asked.k, asked.start)
        resampled = elo_in_orders(battles, plan.resamples, asked.k, asked.start)
    progress(1, 2, "the order given")
    trail = elo_trail(battles, np.arange(len(battles.score)), asked.k, asked.start)
    return _Known(battles, plan.clauses, trail, ended, resampled, plan.terry + asked.start)


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """Which battles are fought, in which orders; whatever they move."""

    battles: Battles
    clauses: tuple[Clause, ...]
    orders: np.ndarray
    resamples: np.ndarray
    terry: np.ndarray


_plans = Remembered[_Plan](most=1)


def _planned(store: RunStore, asked: EloQuestion) -> _Plan:
    battles, clauses = asked._battles(store)
    count = len(battles.score)
    if count > _MOST_BATTLES:
        raise AnalysisError(
            f"{count:,} battles are more than a ladder is run over ({_MOST_BATTLES:,}).",
            remedy="Ask for Bradley-Terry ratings, which need no order, or filter.",
        )
    generator = np.random.default_rng(asked.seed)
    orders = np.argsort(generator.random((asked.orders, count)), axis=1).astype(np.int32)
    resamples = _resampled(battles, generator, asked.orders).astype(np.int32)
    return _Plan(battles, clauses, orders, resamples, ratings_of(battles.wins()[None])[0])


def _table(known: _Known, level: float) -> pd.DataFrame:
    battles, ended, resampled, given = known.battles, known.ended, known.resampled, known.trail[-1]
    rating = ended.mean(axis=0)
    low, high = (np.asarray(end) for end in percentile_interval(resampled, level))
    order_low, order_high = (np.asarray(end) for end in percentile_interval(ended, level))
    ranks = np.argsort(np.argsort(-resampled, axis=1), axis=1) + 1
    tails = [(1 - level) / 2, (1 + level) / 2]
    rank_low, rank_high = np.quantile(ranks, tails, axis=0, method="nearest")
    order = np.argsort(-rating, kind="stable")
    columns = {
        "rating": rating, "low": low, "high": high, "order_low": order_low, "order_high": order_high,
        "in_order_given": given, "bradley_terry": known.terry,
        "rank_low": rank_low, "rank_high": rank_high,
    }  # fmt: skip
    table = pd.DataFrame({name: values[order] for name, values in columns.items()})
    table.insert(0, "model", [battles.names[i] for i in order])
    table.insert(2, "rank", np.arange(1, len(order) + 1))
    return table


def figure(question: EloQuestion, result: EloLadder) -> FigureSpec:
    """Draw the trail of the order given, and ratings with what order and resampling do to them."""
    table = result.ratings
    names = list(table["model"])
    numbers = [result.battles.names.index(name) for name in names]
    x = np.arange(len(result.trail), dtype=float)
    marks: list[Mark] = [
        Line(
            key=names[place], x=x, y=result.trail[:, number], hue=f"c{place}", label=names[place],
            origin=Clauses(result.table, (result.clauses[number],)),
        )
        for place, number in enumerate(numbers[:_MOST_TRAILS])
    ]  # fmt: skip
    trail = Panel(
        key="trail",
        x=Axis(label="battle, in the order given"),
        y=Axis(label="Elo rating"),
        marks=tuple(marks),
        title="One order of many",
    )
    at = np.arange(len(names), dtype=float)
    behind = Clauses(result.table, tuple(result.clauses[number] for number in numbers))
    columns = {name: table[name].to_numpy(float) for name in table.columns if name != "model"}
    notes = tuple(
        f"{row['model']}: {with_interval(row['rating'], row['low'], row['high'])}, ranks {row['rank_low']:.0f} to "
        f"{row['rank_high']:.0f}; orders alone {row['order_low']:.0f} to {row['order_high']:.0f}"
        for row in table.to_dict("records")
    )
    level = f"{100 * question.level:g} %"
    nowhere = np.full(len(names), np.nan)
    ratings = Panel(
        key="ratings",
        x=Axis(label=f"Elo rating, {level}"),
        y=Axis(scale="category", names=tuple(names), inverted=True),
        marks=(
            *interval_rows("all", at - 0.22, columns["rating"], columns["low"], columns["high"], hue="c0", origin=behind,
                           label="resampled, any order", notes=notes),
            *interval_rows("order", at, columns["rating"], columns["order_low"], columns["order_high"], hue="c1",
                           origin=behind, label="orders alone", notes=notes),
            *interval_rows("terry", at + 0.22, columns["bradley_terry"], nowhere, nowhere, hue="ink", hollow=True,
                           origin=behind, label="Bradley-Terry, no order"),
        ),
        title="All orders",
    )  # fmt: skip
    return FigureSpec(
        title="Elo ladder",
        subtitle=f"{len(result.battles.score):,} battles of {counted(len(names), 'model')}, {question.orders} orders, "
        f"k = {question.k:g}; {level} intervals",
        panels=(trail, ratings),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )


ANALYSIS = Analysis(
    id="rating.elo",
    title="Elo ladder",
    asks="What does a running ladder show, and how much of it is the order of the battles?",
    question=EloQuestion,
    figure=figure,
    sources=(
        "Elo (1978), The Rating of Chessplayers",
        "Boubdir et al. (2023), Elo Uncovered: order dependence",
        "González-Bustamante (2024), TextClass Benchmark: Elo from scores, start 1500, k = 40, ties within 0.05",
    ),
    definition="""\
$E_a=1/(1+10^{(R_b-R_a)/400})$; after a battle $R_a$ moves by $k(S-E_a)$ and $R_b$ by as much the other way, so the sum
stays. From scores: every two models meet on every task, the higher score wins, scores within a limit tie.

Unit: the battle (prompt, task). Ratings depend on the order, so the rating is the mean over random orders, with the
spread over orders and the interval over resamples beside it; Bradley-Terry on the same battles has no order at all. """,
)
