"""``rank.perturbation``: which model order is an artefact of prompt, option order, scoring rule or stricter tests?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Clauses, FigureSpec, Panel, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, significant, with_interval
from ...models.selection import All, is_in
from ...models.store import RunStore
from ..answers import present
from ..rank_correlation import PairOrders, Spread, interval_method, midranks, tau_spread, why_no_interval
from ..remembered import Remembered
from ..resampling import DRAWS, holm
from ..score_marks import bump_panel, interval_rows
from ..score_table import Grid, ScoreRows, chosen_scores, grid_of, redrawn_ranks

_VARIANTS = (
    "variant",
    "prompt",
    "template",
    "instruction",
    "perturbation",
    "judge",
    "fewshot",
    "metric",
    "filter",
    "split",
)
_FEWEST = 3


@dataclass(frozen=True, kw_only=True)
class Perturbation(Result):
    """How a leaderboard moves between variants of one evaluation.

    Attributes
    ----------
    grid : Grid
        Models by variants; the reference first.
    ranks, low, high : ndarray, shape (models, variants)
        1 the best; intervals where standard errors are known.
    scores : ScoreRows
        What was ranked.
    task : str
        The task.
    over : str
        Column of the variants.
    agreement : DataFrame
        One row a variant: tau-b with the reference and its interval, largest move.
    moves : DataFrame
        One row a model: ranks, largest move, gap to the model it passes.
    """

    grid: Grid
    ranks: np.ndarray
    low: np.ndarray
    high: np.ndarray
    scores: ScoreRows
    task: str
    over: str
    agreement: pd.DataFrame
    moves: pd.DataFrame

    def summary(self) -> str:
        """Give the answer in one sentence."""
        most = self.moves.iloc[0]
        least = self.agreement.iloc[int(self.agreement["tau_b"].to_numpy(float).argmin())]
        e = self.estimates
        beyond = (
            f"; {e['swaps_beyond_noise'].value:.0f} of {e['swaps'].value:.0f} swaps are beyond noise in both variants"
            if "swaps_beyond_noise" in e
            else ""
        )
        change = most["score_change"]
        by = f", {significant(abs(change), 2)} in score" if math.isfinite(change) else ""
        return (
            f"{self.task}: across {len(self.grid.columns)} values of {self.over}, {most['model']} moves most (by "
            f"{most['largest_move']:g} ranks{by}); tau-b with "
            f"{self.grid.columns[0]} falls to {significant(least['tau_b'], 2)}{beyond}."
        )


@dataclass(frozen=True, kw_only=True)
class PerturbationQuestion(Question):
    """Which model order is an artefact of the set-up?"""

    needs: ClassVar = (Need("scores"),)

    over: str = option("", help="column of the variants (prompt, judge, few-shot ...)", choices="columns of scores")
    reference: str = option("", help="variant the others are compared with; the first if empty")
    task: str = option("", help="the task; the first with several variants if empty", choices="scores.task")
    metric: str = option("", help="metric; the first if empty", choices="scores.metric")
    better: Literal["as stated", "higher", "lower"] = option("as stated", help="direction of the scores")
    level: float = option(0.95, help="coverage of the intervals, and of the test of a swap", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the resamples", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in the column of variants and the task."""
        if not store.has_rows("scores"):
            return self
        found: Self = _found.of(store, replace(self, level=0.95), lambda: self._filled_in(store))
        return replace(found, level=self.level)

    def _filled_in(self, store: RunStore) -> Self:
        frame = store.rows("scores")
        over = self.over or next((name for name in present(frame, _VARIANTS) if frame[name].nunique() > 1), "")
        task = self.task
        if over in frame.columns and not task:
            several = frame.groupby("task", sort=False, observed=True)[over].nunique()
            task = str(several.index[int((several > 1).to_numpy().argmax())])
        return replace(self, over=over, task=task)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> Perturbation:
        """Rank in every variant and follow each model."""
        asked = self.resolved(store)
        if not asked.over:
            raise TooLittleData(
                needs="scores of the same models under several variants",
                found="no column that tells variants apart",
                remedy="Name the column (over), or map one onto 'variant'.",
            )
        known = _known.of(store, replace(asked, level=0.95), lambda: _ranked(store, asked, engine))
        scores, kept = known.scores, known.grid
        n, k = kept.good.shape
        # Scores of two metrics have no difference; their ranks do.
        comparable = kept.values["value"] if asked.over != "metric" else np.full((n, k), np.nan)
        ranks = midranks(kept.good)
        low, high = _rank_intervals(known, asked.level)
        taus = known.spread.whole
        tau_low, tau_high = (np.asarray(end) for end in known.spread.interval(asked.level))
        moved = ranks - ranks[:, [0]]
        agreement = pd.DataFrame(
            {
                asked.over: kept.columns[1:], "tau_b": taus[1:], "low": tau_low[1:], "high": tau_high[1:],
                "largest_move": np.abs(moved[:, 1:]).max(axis=0),
                "mean_change": (comparable[:, 1:] - comparable[:, [0]]).mean(axis=0),
            }
        )  # fmt: skip
        moves = _moves(kept, comparable, ranks, moved, low, high)
        swaps, tested = _swaps(kept, asked)
        deviation = comparable.std(axis=1, ddof=1)
        estimates = {
            f"tau_b/{name}": Estimate(
                float(t),
                float(a),
                float(b),
                asked.level,
                why_no_interval="" if math.isfinite(a) else why_no_interval(n, float(t)),
            )
            for name, t, a, b in zip(kept.columns[1:], taus[1:], tau_low[1:], tau_high[1:], strict=True)
        }
        estimates |= {
            "largest_move": Estimate(
                float(np.abs(moved).max()), unit="ranks", why_no_interval="the most of many; see ranks"
            ),
            "sd_over_variants": Estimate(float(deviation.mean()), why_no_interval="a mean over models; see the table"),
            "swaps": Estimate(float(len(swaps)), unit="pairs", why_no_interval="a count"),
        }
        if tested:
            beyond = int(swaps["beyond_noise"].sum()) if len(swaps) else 0
            estimates["swaps_beyond_noise"] = Estimate(float(beyond), unit="pairs", why_no_interval="a count of tests")
        notes = [
            f"Unit: the model, n = {n} (tau-b: {100 * asked.level:g} % {interval_method(n)}). {asked.over}: "
            f"{k} values, the reference is {kept.columns[0]}.",
            "A move in rank is large wherever scores are close: the change in score stands beside it.",
            "Ranks: intervals from scores redrawn from their standard errors; unit: the item. A swap is beyond noise where "
            "both variants tell the two models apart (normal test of two independent scores, Holm over the swaps); a paired "
            "test on items, where predictions are open, finds more."
            if tested
            else "Ranks have no interval and swaps no test: the scores have no standard errors.",
        ]
        if k >= 5 and asked.over != "metric":
            notes.append(
                f"SD over {k} variants within a model, mean over models: {significant(float(deviation.mean()), 3)} (ddof 1)."
            )
        every = known.models
        if n < every:
            notes.append(f"{n} of {every} models have a score in every variant; only they are ranked.")
        return Perturbation(
            grid=kept,
            ranks=ranks,
            low=low,
            high=high,
            scores=scores,
            task=asked.task or "scores",
            over=asked.over,
            agreement=agreement,
            moves=moves,
            estimates=estimates,
            tables={"models": moves, "variants": agreement, "swaps": swaps},
            notes=(*notes, *scores.notes),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """What is known whatever the coverage of intervals.

    Attributes
    ----------
    scores : ScoreRows
        What was chosen.
    grid : Grid
        Models by variants, the reference first, without gaps.
    models : int
        How many there are with those that lack a variant.
    spread : Spread
        Of tau-b with the reference.
    rank_draws : ndarray, shape (draws, models, variants), or None
        Sorted ranks of redrawn scores, where standard errors are known.
    """

    scores: ScoreRows
    grid: Grid
    models: int
    spread: Spread
    rank_draws: np.ndarray | None


_known = Remembered[_Known]()
_found = Remembered[Any]()


def _ranked(store: RunStore, asked: PerturbationQuestion, engine: Engine) -> _Known:
    scores = chosen_scores(store, apart=(asked.over,), task=asked.task, metric=asked.metric, better=asked.better)
    frame = scores.frame.assign(**{asked.over: scores.frame[asked.over].map(_plainly)})
    grid = grid_of(frame, "model", asked.over)
    if pd.api.types.is_numeric_dtype(scores.frame[asked.over].dtype):
        in_order = sorted(range(len(grid.columns)), key=lambda i: float(grid.columns[i]))
        grid = grid.keeping(np.ones(len(grid.rows), dtype=bool), np.array(in_order))
    first = 0
    if asked.reference:
        if asked.reference not in grid.columns:
            raise AnalysisError(
                f"There is no {asked.over} {asked.reference!r}.",
                remedy=f"There are {', '.join(grid.columns[:12])}.",
            )
        first = grid.columns.index(asked.reference)
    columns = np.array([first, *(i for i in range(len(grid.columns)) if i != first)])
    kept = grid.keeping(np.ones(len(grid.rows), dtype=bool), columns).complete_rows()
    if len(kept.rows) < _FEWEST or len(kept.columns) < 2:
        raise TooLittleData(
            needs=f"at least {_FEWEST} models with a score in each of 2 variants",
            found=f"{len(kept.rows)} models, {counted(len(kept.columns), 'variant')}",
        )
    orders = PairOrders.of(kept.good)
    spread = tau_spread(orders, 0, draws=asked.draws, seed=asked.seed, engine=engine)
    errors, drawn = kept.values["stderr"], None
    if np.isfinite(errors).all():
        draws = min(asked.draws, 1000)
        by_variant = [
            redrawn_ranks(kept.good[:, j], errors[:, j], draws, asked.seed + j) for j in range(len(kept.columns))
        ]
        drawn = np.sort(np.stack(by_variant, axis=2), axis=0)
    return _Known(scores, kept, len(grid.rows), spread, drawn)


def _plainly(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rank_intervals(known: _Known, level: float) -> tuple[np.ndarray, np.ndarray]:
    if known.rank_draws is None:
        return np.full(known.grid.good.shape, np.nan), np.full(known.grid.good.shape, np.nan)
    last = len(known.rank_draws) - 1
    low, high = (known.rank_draws[round(share * last)] for share in ((1 - level) / 2, (1 + level) / 2))
    return low, high


def _moves(
    grid: Grid, values: np.ndarray, ranks: np.ndarray, moved: np.ndarray, low: np.ndarray, high: np.ndarray
) -> pd.DataFrame:
    where = np.abs(moved).argmax(axis=1)
    rows = np.arange(len(grid.rows))
    table = pd.DataFrame(
        {
            "model": list(grid.rows),
            "rank": ranks[:, 0], "rank_low": low[:, 0], "rank_high": high[:, 0],
            "largest_move": np.abs(moved[rows, where]),
            "at": [grid.columns[i] for i in where],
            "rank_there": ranks[rows, where],
            "score": grid.values["value"][:, 0],
            "score_change": (values - values[:, [0]])[rows, where],
            "sd_over_variants": values.std(axis=1, ddof=1),
        }
    )  # fmt: skip
    return table.sort_values("largest_move", ascending=False, kind="stable", ignore_index=True)


def _swaps(grid: Grid, asked: PerturbationQuestion) -> tuple[pd.DataFrame, bool]:
    """Give pairs of models whose order turns between the reference and a variant, and whether it could be tested."""
    from scipy.special import ndtr

    errors = grid.values["stderr"]
    tested = bool(np.isfinite(errors).all())
    first, second = np.triu_indices(len(grid.rows), 1)
    gap = grid.good[first] - grid.good[second]
    rows = []
    for j in range(1, gap.shape[1]):
        for pair in np.flatnonzero(gap[:, 0] * gap[:, j] < 0).tolist():
            a, b = first[pair], second[pair]
            row = {
                "first": grid.rows[a], "second": grid.rows[b], asked.over: grid.columns[j],
                "gap_reference": gap[pair, 0], "gap_there": gap[pair, j],
            }  # fmt: skip
            if tested:
                scale = np.sqrt(errors[a] ** 2 + errors[b] ** 2)
                with np.errstate(divide="ignore"):
                    z = np.abs(gap[pair, [0, j]]) / scale[[0, j]]
                # Both variants must tell the two apart: the weaker of the two tests counts.
                row["p"] = float((2 * ndtr(-z)).max())
            rows.append(row)
    table = pd.DataFrame(
        rows, columns=["first", "second", asked.over, "gap_reference", "gap_there", *(["p"] if tested else [])]
    )
    if tested:
        adjusted = holm(table["p"].to_numpy(float))
        table = table.assign(p_holm=adjusted, beyond_noise=adjusted <= 1 - asked.level).sort_values(
            "p", kind="stable", ignore_index=True
        )
    return table, tested


def figure(question: PerturbationQuestion, result: Perturbation) -> FigureSpec:
    """Draw ranks from variant to variant, and each variant's agreement with the reference."""
    order = np.argsort(result.ranks[:, -1], kind="stable")
    bump = bump_panel(
        [str(result.grid.rows[i]) for i in order], [str(name) for name in result.grid.columns], result.ranks[order],
        result.low[order], result.high[order], x_label=result.over,
        origins=[result.scores.origin((str(result.grid.rows[i]),)) for i in order], title="Ranks",
    )  # fmt: skip
    table = result.agreement
    names = tuple(str(name) for name in table[result.over])
    value, low, high = (table[name].to_numpy(float) for name in ("tau_b", "low", "high"))
    notes = tuple(
        f"{name}: tau-b {with_interval(v, a, b)}, largest move {move:g} ranks"
        for name, v, a, b, move in zip(
            names, value.tolist(), low.tolist(), high.tolist(), table["largest_move"].tolist(), strict=True
        )
    )
    frame_values = {str(v): v for v in result.scores.frame[result.over].unique()}
    clauses = tuple(
        All((is_in("task", (result.task,)), is_in(result.over, (_raw(frame_values, name),)))) for name in names
    )
    level = f"{100 * question.level:g} %"
    agreement = Panel(
        key="agreement",
        x=Axis(label=f"tau-b with {result.grid.columns[0]}, {level} over models", high=1.0),
        y=Axis(scale="category", names=names, inverted=True),
        marks=(
            Rule(key="zero", axis="x", at=0.0),
            *interval_rows("tau", np.arange(len(names), dtype=float), value, low, high,
                           origin=Clauses("scores", clauses), notes=notes),
        ),
        title="Agreement",
        legend=False,
    )  # fmt: skip
    return FigureSpec(
        title=f"{result.task} by {result.over}",
        subtitle=f"{len(result.grid.rows)} models, {counted(len(result.grid.columns), 'variant')}, reference "
        f"{result.grid.columns[0]}",
        panels=(bump, agreement),
        columns=2,
        caption=f"{result.summary()} {result.notes[0]}",
    )


def _raw(values: dict[str, object], name: str) -> str | float:
    """Give the value as the table holds it: clauses are compared with those."""
    value = values.get(name, next((v for v in values.values() if _plainly(v) == name), name))
    return float(value) if isinstance(value, int | float | np.integer | np.floating) else str(value)


ANALYSIS = Analysis(
    id="rank.perturbation",
    title="Leaderboard sensitivity",
    asks="Which model order is an artefact of prompt, option order, scoring rule or judge?",
    question=PerturbationQuestion,
    figure=figure,
    sources=(
        "Alzahrani et al. (2024), When Benchmarks are Targets: moves of up to eight ranks",
        "Gu et al. (2024), OLMES; Liu et al. (2023), EvalPlus; Li et al. (2024), CIF-Bench",
    ),
    definition="""\
Each variant of an evaluation (prompt, few-shot, judge, stricter tests) ranks the same models. A model's largest move,
the change in score behind it, tau-b of each variant with the reference, and the pairs of models that swap. A swap is
beyond noise where both variants tell the two apart, Holm over all swaps.

Unit: the model for tau-b, the item (through standard errors) for ranks and swaps. Trap: where scores are close, ranks
move by much and mean little; read the change in score. """,
)
