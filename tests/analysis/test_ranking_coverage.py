"""Intervals of rank stability and benchmark noise, held against simulated scores and answers whose truth is known.

Each test says what is resampled, the nominal coverage (95 %) and the share of simulations whose interval held the truth. The
bounds are what a fixed seed gives, with room for another order of sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr
from scipy.stats import binomtest, kendalltau, multivariate_hypergeom
from statsmodels.stats.multitest import multipletests

from runglass.analysis.registry import analysis
from runglass.models.result import Estimate
from runglass.models.store import RunStore
from runglass.models.tables import TableRows

pytestmark = pytest.mark.slow

RHO = 0.6
TAU = 2 / math.pi * math.asin(RHO)
"""Kendall's tau of two Gaussian scores with correlation `RHO` (Greiner 1909)."""


def store_of(table: str, columns: dict[str, Any]) -> RunStore:
    return RunStore().adding([TableRows("made.csv", "test", pd.DataFrame(columns), table)])


def correlated(generator: np.random.Generator, n: int, k: int) -> np.ndarray:
    """k scores of n models, every two of which have the correlation `RHO`."""
    shared, own = generator.normal(size=(n, 1)), generator.normal(size=(n, k))
    return math.sqrt(RHO) * shared + math.sqrt(1 - RHO) * own


def long(values: np.ndarray, **names: Sequence[Any]) -> dict[str, Any]:
    """Scores of models (rows) under the values of one column (columns)."""
    n, k = values.shape
    ((column, keys),) = names.items()
    rows = {"model": np.repeat([f"m{i:02d}" for i in range(n)], k), "task": "t", "value": values.ravel()}
    return rows | {column: np.tile(np.asarray(keys), n)}


def held(
    made: Callable[[np.random.Generator], tuple[RunStore, dict[str, float]]],
    identifier: str,
    simulations: int,
    **options: Any,
) -> float:
    """Give the share of intervals, over simulations and the estimates whose truth is told, that hold the truth."""
    question = analysis(identifier).question(**options)
    hits = []
    for seed in range(simulations):
        store, truth = made(np.random.default_rng(seed))
        estimates = question.answer(store).estimates
        for name, value in truth.items():
            one: Estimate = estimates[name]
            assert one.has_interval, name
            hits.append(one.low <= value <= one.high)
    return float(np.mean(hits))


def test_that_stability_over_checkpoints_covers_over_models() -> None:
    def made(generator: np.random.Generator) -> tuple[RunStore, dict[str, float]]:
        scores = correlated(generator, 25, 5)
        return store_of("scores", long(scores, step=np.arange(1.0, 6.0))), {
            "mean_tau_b": TAU,
            "tau_b/1": TAU,
            "tau_b/4": TAU,
        }

    assert 0.91 <= held(made, "rank.kendall", 100, draws=200) <= 0.99  # reached: 94 %


def test_that_monotonicity_covers_over_models() -> None:
    steps, rise = np.arange(8.0), 0.4
    gaps = (steps[None, :] - steps[:, None])[np.triu_indices(8, 1)]
    truth = float(np.mean(2 * ndtr(rise * gaps / math.sqrt(2)) - 1))  # of a line with Gaussian noise of SD 1

    def made(generator: np.random.Generator) -> tuple[RunStore, dict[str, float]]:
        scores = rise * steps + generator.normal(size=(12, 8))
        return store_of("scores", long(scores, step=steps)), {"monotonicity": truth}

    assert 0.9 <= held(made, "rank.kendall", 100, draws=100) <= 0.99


def test_that_concurrence_of_tasks_covers_over_models() -> None:
    def made(generator: np.random.Generator) -> tuple[RunStore, dict[str, float]]:
        scores = correlated(generator, 30, 4)
        return store_of("scores", long(scores, task=[f"t{i}" for i in range(4)])), {"mean_tau_b": TAU}

    assert 0.89 <= held(made, "rank.concurrence", 100, draws=200) <= 0.99


def test_that_decision_accuracy_covers_over_recipes() -> None:
    truth = 0.5 + math.asin(RHO) / math.pi  # share of pairs of two correlated Gaussians in one order (Sheppard 1899)

    def made(generator: np.random.Generator) -> tuple[RunStore, dict[str, float]]:
        scores = correlated(generator, 20, 2)
        return store_of("scores", long(scores, params=[1e8, 1e9])), {"decision_accuracy/100000000": truth}

    assert 0.9 <= held(made, "rank.decision-accuracy", 100, draws=200) <= 0.99


def test_that_base_and_instruct_agree_within_the_interval_over_pairs() -> None:
    def made(generator: np.random.Generator) -> tuple[RunStore, dict[str, float]]:
        pairs = correlated(generator, 15, 2)
        base = [f"b{i}" for i in range(15)]
        rows = {"model": base + [f"i{i}" for i in range(15)], "parent": [None] * 15 + base, "task": "t",
                "value": pairs.T.ravel()}  # fmt: skip
        return store_of("scores", rows), {"tau_b": TAU}

    assert 0.9 <= held(made, "rank.base-instruct", 100, draws=200) <= 0.99


def test_that_agreement_of_variants_covers_over_models() -> None:
    def made(generator: np.random.Generator) -> tuple[RunStore, dict[str, float]]:
        scores = correlated(generator, 20, 3)
        rows = long(scores, prompt=["a", "b", "c"])
        return store_of("scores", rows), {"tau_b/b": TAU, "tau_b/c": TAU}

    assert 0.9 <= held(made, "rank.perturbation", 100, draws=200, over="prompt") <= 0.99


def test_that_intervals_of_ranks_hold_the_rank_of_the_true_scores() -> None:
    # What was observed holds the noise once, and is redrawn with it again: these intervals are wide rather than narrow.
    true, error = 0.5 + 0.02 * np.arange(8), 0.02
    hits = []
    for seed in range(60):
        observed = true[:, None] + error * np.random.default_rng(seed).normal(size=(8, 2))
        rows = long(observed, step=[1.0, 2.0]) | {"stderr": error}
        ranks = analysis("rank.kendall").question(draws=200).answer(store_of("scores", rows)).tables["ranks"]
        rank = 8 - ranks["model"].str[1:].astype(int)
        hits += list((ranks["rank_low"] <= rank) & (rank <= ranks["rank_high"]))
    assert 0.93 <= np.mean(hits) <= 1.0


def test_that_a_board_covers_over_tasks() -> None:
    skill = np.array([0.5, 0.55, 0.6, 0.7])

    def made(generator: np.random.Generator) -> tuple[RunStore, dict[str, float]]:
        scores = skill[:, None] + 0.1 * generator.normal(size=(1, 20)) + 0.05 * generator.normal(size=(4, 20))
        rows = long(scores, task=[f"t{i:02d}" for i in range(20)])
        return store_of("scores", rows), {f"m{i:02d}": float(value) for i, value in enumerate(skill)}

    # The percentiles of a mean of 20 tasks: a little narrow, as expected of n - 1 in place of n.
    assert 0.87 <= held(made, "board.aggregate", 100, draws=400) <= 0.97


def test_that_the_discordant_share_of_a_pilot_covers_over_items() -> None:
    def made(generator: np.random.Generator) -> tuple[RunStore, dict[str, float]]:
        apart = generator.random(300) < 0.2
        better = generator.random(300) < 0.6
        right = np.stack([np.where(apart, ~better, True), np.where(apart, better, True)]).astype(float)
        rows = {
            "model": np.repeat(["a", "b"], 300),
            "item": np.tile(np.arange(300).astype(str), 2),
            "correct": right.ravel(),
        }
        return store_of("predictions", rows), {"discordant": 0.2}

    assert 0.9 <= held(made, "noise.power", 100, draws=100) <= 0.99


@pytest.mark.parametrize(("spread", "name"), [(0.04, "distribution_variance"), (0.04, "observed_sd")])
def test_that_the_spread_of_runs_covers_over_runs(spread: float, name: str) -> None:
    items, runs = 200, 15
    hard = np.linspace(0.3, 0.7, items)  # away from 0 and 1, where skill would be clipped
    chance = float((hard * (1 - hard)).mean() - spread**2) / items
    truth = {"distribution_variance": spread**2, "observed_sd": math.sqrt(spread**2 + chance)}

    def made(generator: np.random.Generator) -> tuple[RunStore, dict[str, float]]:
        right = generator.random((items, runs)) < hard[:, None] + generator.normal(0, spread, runs)
        rows = {"model": "m", "seed": np.tile(np.arange(runs), items), "item": np.repeat(np.arange(items), runs).astype(str),
                "correct": right.ravel().astype(float)}  # fmt: skip
        return store_of("predictions", rows), {name: truth[name]}

    assert 0.88 <= held(made, "noise.seed-variance", 60, splits=10) <= 1.0


def test_that_what_corrected_labels_change_covers_over_items() -> None:
    def made(generator: np.random.Generator) -> tuple[RunStore, dict[str, float]]:
        n = 200
        wrong = generator.random(n) < 0.1
        label, corrected = np.where(wrong, "b", "a"), np.full(n, "a")
        said = np.where(generator.random(n) < 0.8, "a", "b")
        rows = {"model": "m", "item": np.arange(n).astype(str), "label": label, "corrected_label": corrected,
                "prediction": said}  # fmt: skip
        # Given: 0.9 * 0.8 + 0.1 * 0.2. Corrected: 0.8. What it gains is the difference.
        return store_of("predictions", rows), {"m/given": 0.74, "m/corrected": 0.8, "m/gain": 0.06}

    assert 0.9 <= held(made, "labels.rescore", 50, draws=300) <= 0.99


def test_that_the_spread_of_seeds_on_a_subcase_covers_over_seeds() -> None:
    def made(generator: np.random.Generator) -> tuple[RunStore, dict[str, float]]:
        rows = {"model": "m", "seed": np.tile(np.arange(12), 2), "task": np.repeat(["in", "out"], 12),
                "value": np.repeat([0.8, 0.5], 12) + np.repeat([0.01, 0.05], 12) * generator.normal(size=24)}  # fmt: skip
        return store_of("scores", rows), {"in/sd": 0.01, "out/sd": 0.05}

    assert 0.9 <= held(made, "noise.ood-seeds", 100, draws=100) <= 0.99


def test_that_a_ladder_covers_over_battles() -> None:
    # Truth: what the rating is on average over such experiments; a ladder of finitely many battles is not yet at its limit.
    strength = np.array([0.0, 0.4, 0.8])
    results = []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        a = generator.integers(0, 3, 150)
        b = (a + generator.integers(1, 3, 150)) % 3
        won = generator.random(150) < 1 / (1 + np.exp(strength[b] - strength[a]))
        rows = {"item": np.arange(150).astype(str), "a": [f"m{i}" for i in a], "b": [f"m{i}" for i in b],
                "winner": np.where(won, "a", "b")}  # fmt: skip
        results.append(
            analysis("rating.elo").question(k=16.0, orders=100).answer(store_of("comparisons", rows)).estimates
        )
    hits = []
    for name in ("m0", "m1", "m2"):
        truth = np.mean([one[name].value for one in results])
        hits += [one[name].low <= truth <= one[name].high for one in results]
    # Each resample is fought in an order of its own, while the rating is a mean over orders: wide rather than narrow.
    assert 0.95 <= np.mean(hits) <= 1.0


def answers_of(right: np.ndarray) -> RunStore:
    """Predictions of models (columns) on items (rows)."""
    n, k = right.shape
    models = np.tile([f"m{i:02d}" for i in range(k)], n)
    rows = {"item": np.repeat(np.arange(n), k).astype(str), "model": models, "correct": right.ravel().astype(float)}
    return store_of("predictions", rows)


def spread_models(generator: np.random.Generator, items: int, k: int) -> np.ndarray:
    """Whether each of k models, from weak to strong, is right on each item (Rasch 1960)."""
    hard = 1.2 * generator.normal(size=(items, 1))
    return generator.random((items, k)) < 1 / (1 + np.exp(hard - np.linspace(-1, 1, k)))


def significant_signs(right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Who is significantly better, and who is ahead, of every two models: the binomial test of scipy, Holm of statsmodels."""
    first, second = np.triu_indices(right.shape[1], 1)
    b, c = ((right[:, x] & ~right[:, y]).sum(axis=0) for x, y in ((first, second), (second, first)))
    p = [binomtest(int(x), int(x + y)).pvalue if x + y else 1.0 for x, y in zip(b, c, strict=True)]
    return np.sign(b - c) * (multipletests(p, method="holm")[1] <= 0.05), np.sign(b - c)


def test_that_the_significance_a_pair_keeps_is_that_of_the_hypergeometric_law() -> None:
    both, only_first, only_second, n, part = 60, 36, 14, 150, 60
    right = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], [both, only_first, only_second, n - 110], axis=0)
    law = multivariate_hypergeom([only_first, only_second, n - 50], part)
    kept = sum(
        law.pmf([b, c, part - b - c])
        for b in range(only_first + 1)
        for c in range(only_second + 1)
        if b > c and b + c <= part and binomtest(b, b + c).pvalue <= 0.05
    )
    draws = 4000
    question = analysis("rank.significance").question(items=part, draws=draws, adjust="none")
    found = question.answer(answers_of(right.astype(bool))).estimates["recall"].value
    assert abs(found - kept) < 4 * math.sqrt(kept * (1 - kept) / draws)


def test_that_kept_significance_covers_that_of_another_part_of_the_items() -> None:
    # The interval is over parts of these items: what it has to hold is what one more part shows.
    hits = []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        right = spread_models(generator, 400, 6)
        estimates = analysis("rank.significance").question(items=100).answer(answers_of(right)).estimates
        truth, order = significant_signs(right)
        found, ahead = significant_signs(right[generator.choice(400, 100, replace=False)])
        kept = np.count_nonzero((found == truth) & (truth != 0))
        shown = {"recall": kept / np.count_nonzero(truth), "order_kept": float((1 + ahead * order).mean() / 2),
                 "share active agreement": kept / len(truth)}  # fmt: skip
        hits += [estimates[name].low <= value <= estimates[name].high for name, value in shown.items()]
    assert 0.91 <= np.mean(hits) <= 1.0  # reached: 98 %


def test_that_a_part_of_the_items_covers_the_order_of_another_split() -> None:
    # Over splits of the models and parts of the items: what one more split shows, with the tau-b of scipy. 100 splits reach out
    # to their 2.5 %, which leaves another a little more.
    hits = []
    for seed in range(6):
        generator = np.random.default_rng(seed)
        right = spread_models(generator, 100, 14)
        one = analysis("rank.item-subset").question(repeats=100).answer(answers_of(right)).estimates["tau_b/random/10"]
        for _ in range(30):
            whom = right[:, generator.permutation(14)[7:]]
            part = whom[generator.choice(100, 10, replace=False)]
            hits.append(one.low <= kendalltau(part.mean(axis=0), whom.mean(axis=0)).statistic <= one.high)
    assert 0.9 <= np.mean(hits) <= 0.99  # reached: 96 %
