"""``rating.bradley-terry``: who is stronger, with what uncertainty, from battles of two models each?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.figure import Axis, Cells, Clauses, FigureSpec, Panel, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, significant, with_interval
from ...models.selection import All, AnyOf, Clause, is_in
from ...models.store import RunStore
from ..ratings import ELO, Battles, battles_of, fit_bradley_terry, ratings_of, unbeaten_groups
from ..resampling import bootstrap, percentile_interval, wilson
from ..score_marks import interval_rows

_MOST_WRITTEN = 12


@dataclass(frozen=True, kw_only=True)
class BradleyTerryRatings(Result):
    """Strengths of models.

    Attributes
    ----------
    battles : Battles
        What they come from.
    ratings : DataFrame
        One row a model, the strongest first: rating, its interval, rank, its interval, battles, wins.
    wins : ndarray, shape (n, n)
        How often the row beat the column, in natural order of the names.
    expected : ndarray, shape (n, n)
        What the fit expects.
    is_map : bool
        Whether a prior was needed.
    """

    battles: Battles
    ratings: pd.DataFrame
    wins: np.ndarray
    expected: np.ndarray
    is_map: bool

    def summary(self) -> str:
        """Give the answer in one sentence."""
        first, second = self.ratings.iloc[0], self.ratings.iloc[1]
        ahead = self.estimates["first_ahead"].value
        rating = with_interval(first["rating"], first["low"], first["high"])
        return (
            f"{first['model']} is rated highest ({rating} Elo points, ranks {first['rank_low']:.0f} to "
            f"{first['rank_high']:.0f}), ahead of {second['model']} in {100 * ahead:.0f} % of resamples; "
            f"{len(self.battles.score):,} battles of {len(self.ratings)} models."
        )


@dataclass(frozen=True, kw_only=True)
class BradleyTerryQuestion(Question):
    """Who is stronger, with what uncertainty?"""

    needs: ClassVar = (Need("comparisons"),)

    dimension: str = option("", help="what was judged; the first if empty", choices="comparisons.dimension")
    judge: str = option("", help="only this judge; all of them if empty", choices="comparisons.judge")
    cluster: str = option(
        "",
        help="column of battles that are resampled together; the item where it repeats",
        choices="columns of comparisons",
    )
    tie_below: float | None = option(None, help="wins of a smaller strength count as ties", low=0.0)
    longer_by: float | None = option(
        None, help="slight wins by an answer longer by more than this count as ties", unit="characters", low=0.0
    )
    prior: bool = option(False, help="add a win and a loss against a model of strength 1 to each (MAP)")
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(1000, help="resamples of the bootstrap", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the bootstrap", low=0, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> BradleyTerryRatings:
        """Fit, then fit resamples."""
        battles = battles_of(
            store,
            dimension=self.dimension,
            judge=self.judge,
            cluster=self.cluster,
            tie_below=self.tie_below,
            longer_by=self.longer_by,
        )
        wins = battles.wins()
        groups = unbeaten_groups(wins)
        is_map = self.prior or len(groups) > 1
        theta = fit_bradley_terry(wins, is_map)
        rating = ELO * (theta - theta.mean())
        units, sizes, unit = _units(battles)
        drawn = bootstrap(
            partial(_ratings_of_draws, units, len(battles.names), self.prior), sizes, draws=self.draws, seed=self.seed,
            engine=engine, progress=progress,
        )  # fmt: skip
        table = _table(battles, wins, rating, drawn, self)
        p = 1 / (1 + np.exp(theta[None, :] - theta[:, None]))
        expected = (wins + wins.T) * p
        np.fill_diagonal(expected, 0)
        one, two = (battles.names.index(table["model"].iloc[i]) for i in (0, 1))
        shown_first = int(np.sum(battles.score == 1))
        decided = shown_first + int(np.sum(battles.score == 0))
        low, high = (float(end) for end in wilson(shown_first, decided, self.level))
        estimates = {
            str(row["model"]): Estimate(row["rating"], row["low"], row["high"], self.level, "Elo points")
            for row in table.to_dict("records")
        }
        estimates |= {
            "first_ahead": Estimate(float(np.mean(drawn[:, one] > drawn[:, two])), why_no_interval="a share of resamples"),
            "shown_first_wins": Estimate(shown_first / decided if decided else math.nan, low, high, self.level,
                                         "of decided battles", "" if decided else "no decided battle"),
            "battles": Estimate(float(len(battles.score)), unit="battles", why_no_interval="a count"),
            "ties": Estimate(float(np.mean(battles.score == 0.5)), unit="of battles", why_no_interval="see the battles"),
        }  # fmt: skip
        notes = [
            f"Unit: the {unit}, n = {int(sizes.sum()):,}. {100 * self.level:g} % percentile bootstrap, {self.draws} draws, "
            f"seed {self.seed}; ranks are those of the resamples. Overlapping intervals do not make two models equal.",
            "Maximum of the posterior, with one win and one loss against a model of strength 1 for each."
            if is_map
            else "Maximum likelihood; ties are half a win each. Ratings are Elo points (400 / ln 10 log strength), mean 0.",
        ]
        if len(groups) > 1:
            smallest = min(groups, key=len)
            names = ", ".join(battles.names[i] for i in smallest[:6])
            notes.insert(
                0,
                f"Attention: wins do not connect all models ({len(groups)} groups, one of them {names}), so likelihood alone "
                "puts them infinitely far apart; a weak prior holds them.",
            )
        if decided and (low > 0.5 or high < 0.5):
            notes.append(
                f"Attention: the model shown first wins {100 * shown_first / decided:.1f} % of decided battles: order counts, "
                "unless stronger models were shown first."
            )
        return BradleyTerryRatings(
            battles=battles,
            ratings=table,
            wins=wins,
            expected=expected,
            is_map=is_map,
            estimates=estimates,
            tables={"ratings": table, "pairs": _pairs(battles, wins, expected)},
            notes=(*notes, *battles.notes),
        )


def _units(battles: Battles) -> tuple[Any, np.ndarray, str]:
    """Give what each unit adds to the matrix of wins, flattened, how many such units there are, and their name."""
    n = len(battles.names)
    if battles.cluster is None:
        # Battles of the same pair with the same end are the same unit, however many there are.
        cells = np.stack([battles.first, battles.second, (2 * battles.score).astype(int)], axis=1)
        kinds, sizes = np.unique(cells, axis=0, return_counts=True)
        units = np.zeros((len(kinds), n * n))
        rows = np.arange(len(kinds))
        np.add.at(units, (rows, kinds[:, 0] * n + kinds[:, 1]), kinds[:, 2] / 2)
        np.add.at(units, (rows, kinds[:, 1] * n + kinds[:, 0]), 1 - kinds[:, 2] / 2)
        return units, sizes, "battle"
    from scipy.sparse import csr_array

    count = int(battles.cluster.max()) + 1
    cells = np.concatenate([battles.first * n + battles.second, battles.second * n + battles.first])
    values = np.concatenate([battles.score, 1 - battles.score])
    sparse = csr_array((values, (np.concatenate([battles.cluster] * 2), cells)), shape=(count, n * n))
    return sparse, np.ones(count, dtype=np.int64), "prompt (battles of one are drawn together)"


def _ratings_of_draws(units: Any, n: int, prior: bool, counts: np.ndarray) -> np.ndarray:
    wins = np.asarray(counts @ units, dtype=float).reshape(len(counts), n, n)
    if not prior:
        return ratings_of(wins)
    theta = fit_bradley_terry(wins, True)
    ratings: np.ndarray = ELO * (theta - theta.mean(axis=1, keepdims=True))
    return ratings


def _table(
    battles: Battles, wins: np.ndarray, rating: np.ndarray, drawn: np.ndarray, asked: BradleyTerryQuestion
) -> pd.DataFrame:
    low, high = percentile_interval(drawn, asked.level)
    ranks = np.argsort(np.argsort(-drawn, axis=1), axis=1) + 1
    tails = [(1 - asked.level) / 2, (1 + asked.level) / 2]
    rank_low, rank_high = np.quantile(ranks, tails, axis=0, method="nearest")
    order = np.argsort(-rating, kind="stable")
    return pd.DataFrame(
        {
            "model": [battles.names[i] for i in order],
            "rating": rating[order],
            "low": np.asarray(low)[order],
            "high": np.asarray(high)[order],
            "rank": np.arange(1, len(order) + 1),
            "rank_low": rank_low[order],
            "rank_high": rank_high[order],
            "battles": (wins + wins.T).sum(axis=1)[order],
            "wins": wins.sum(axis=1)[order],
        }
    )


def _pairs(battles: Battles, wins: np.ndarray, expected: np.ndarray) -> pd.DataFrame:
    upper = np.triu_indices(len(wins), 1)
    games = (wins + wins.T)[upper]
    fought = games > 0
    columns = {
        "first": [battles.names[i] for i in upper[0]], "second": [battles.names[i] for i in upper[1]],
        "battles": games, "wins_first": wins[upper], "expected": expected[upper],
    }  # fmt: skip
    table = pd.DataFrame(columns).assign(residual=wins[upper] - expected[upper])
    shown: pd.DataFrame = table[fought].reset_index(drop=True)
    return shown


def figure(question: BradleyTerryQuestion, result: BradleyTerryRatings) -> FigureSpec:
    """Draw ratings with their intervals, and where wins depart from what they expect."""
    table = result.ratings
    names = tuple(table["model"])
    at = np.arange(len(names), dtype=float)
    value, low, high = (table[name].to_numpy(float) for name in ("rating", "low", "high"))
    notes = tuple(
        f"{row['model']}: {with_interval(row['rating'], row['low'], row['high'])} Elo points, ranks "
        f"{row['rank_low']:.0f} to {row['rank_high']:.0f}, {row['battles']:,.0f} battles"
        for row in table.to_dict("records")
    )
    clauses = tuple(_of_model(name) for name in names)
    level = f"{100 * question.level:g} %"
    rating = Panel(
        key="ratings",
        x=Axis(label=f"rating (Elo points), {level}"),
        y=Axis(scale="category", names=names, inverted=True),
        marks=(
            Rule(key="mean", axis="x", at=0.0),
            *interval_rows("rating", at, value, low, high, origin=Clauses("comparisons", clauses), notes=notes),
        ),
        title="Bradley-Terry",
        legend=False,
    )
    order = [result.battles.names.index(name) for name in names]
    games = (result.wins + result.wins.T)[np.ix_(order, order)]
    expected = result.expected[np.ix_(order, order)]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(games > 0, 100 * result.wins[np.ix_(order, order)] / games, np.nan)
        # In standard errors, so that a pair of few battles does not glare.
        error = np.sqrt(expected * (games - expected) / games)
        gap = np.where(error > 0, (result.wins[np.ix_(order, order)] - expected) / error, np.nan)
    few = len(names) <= _MOST_WRITTEN
    texts = tuple(tuple("" if np.isnan(v) else f"{v:.0f}" for v in row) for row in share.tolist()) if few else ()
    behind = tuple(All((is_in("a", {a, b}), is_in("b", {a, b}))) for a in names for b in names)
    cells = Cells(
        key="wins", values=gap, rows=names, columns=names, texts=texts, ramp="diverging", low=-4.0, high=4.0,
        label="wins less expected (standard errors)", origin=Clauses("comparisons", behind),
    )  # fmt: skip
    written = ", % won" if few else ""
    fit = Panel(
        key="wins",
        x=Axis(label="against", scale="category", names=names),
        y=Axis(scale="category", names=names, inverted=True),
        marks=(cells,),
        title=f"Wins against expected{written}",
        square=True,
    )
    return FigureSpec(
        title=f"Ratings{f' on {question.dimension}' if question.dimension else ''}",
        subtitle=f"{len(result.battles.score):,} battles of {counted(len(names), 'model')}, "
        f"{significant(100 * result.estimates['ties'].value, 2)} % ties; intervals {level}",
        panels=(rating, fit),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )


def _of_model(name: str) -> Clause:
    return AnyOf((is_in("a", (name,)), is_in("b", (name,))))


ANALYSIS = Analysis(
    id="rating.bradley-terry",
    title="Bradley-Terry ratings",
    asks="Who is stronger, with what uncertainty, from battles of two models each?",
    question=BradleyTerryQuestion,
    figure=figure,
    sources=(
        "Bradley and Terry (1952); Zermelo (1929); Ford (1957): when strengths exist",
        "Newman (2023), Efficient Computation of Rankings from Pairwise Comparisons: the prior",
        "Chiang et al. (2024), Chatbot Arena",
    ),
    definition="""\
$P(i\\text{ beats }j)=s_i/(s_i+s_j)$; a tie is half a win each. Ratings are $400/\\ln 10\\cdot\\ln s$, mean 0. At the maximum
of the likelihood every model's expected wins are its observed ones. It exists where wins connect all models in both
directions; elsewhere one win and one loss against a model of strength 1 are added for each.

Unit: the battle, or the prompt (judge ...) with all its battles. Ranks get intervals from the same resamples. Traps:
uneven match-ups, the order of presentation, and overlapping intervals, which do not make two models equal. """,
)
