from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import permutation_test, somersd

from runglass.analysis.pair_tests import PairAnswers, better_p, mcnemar_p
from runglass.analysis.ranking.item_subset import (
    ANALYSIS,
    ItemSubset,
    SubsetQuestion,
    active_estimates,
    figure,
    significance_clusters,
    soft_pairwise_accuracy,
    utilities,
)
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Line, to_json
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def answered(right: np.ndarray) -> pd.DataFrame:
    n, k = right.shape
    rows = {"item": np.repeat(np.arange(n), k).astype(str), "model": np.tile([f"m{i}" for i in range(k)], n)}
    return pd.DataFrame(rows | {"correct": right.astype(float).ravel()})


def asked(right: np.ndarray, **options: Any) -> ItemSubset:
    store = RunStore().adding([TableRows("rows.csv", "test", answered(right), "predictions")])
    return SubsetQuestion(**({"repeats": 10} | options)).answer(store)


def models(seed: int, items: int, abilities: np.ndarray) -> np.ndarray:
    generator = np.random.default_rng(seed)
    difficulty = 1.5 * generator.normal(size=(items, 1))
    return generator.random((items, len(abilities))) < 1 / (1 + np.exp(difficulty - abilities))


RIGHT = models(0, 400, np.linspace(-1.5, 1.5, 10))


def test_that_the_full_set_keeps_everything() -> None:
    fidelity = asked(RIGHT).fidelity
    full = fidelity[fidelity["items"] == 400]
    assert len(full) == 3
    assert full["spa"].tolist() == pytest.approx([1, 1, 1])
    assert full["tau_b"].tolist() == [1, 1, 1]
    assert full["regret"].tolist() == [0, 0, 0]


def test_that_more_items_at_random_keep_more() -> None:
    part = asked(RIGHT, repeats=40).fidelity.query("strategy == 'random'")
    assert part["spa"].is_monotonic_increasing
    assert part["tau_b"].iloc[0] < 0.8 < part["tau_b"].iloc[-2]


def test_that_an_items_agreement_is_stuarts_tau_c() -> None:
    right = RIGHT[:50].astype(float)
    worth = utilities(right)
    score = right.mean(axis=0)
    for item in range(50):
        one = right[item]
        if 0 < one.sum() < 10:
            # Somers' D of the score given the item is (P - Q) over the pairs the item tells apart.
            d = somersd(one, score).statistic
            assert worth["order"][item] == pytest.approx(4 * d * one.sum() * (10 - one.sum()) / 100)
    assert worth["variance"] == pytest.approx(right.mean(axis=1) * (1 - right.mean(axis=1)))


def test_that_soft_pairwise_accuracy_has_the_p_values_of_a_permutation() -> None:
    right = models(1, 12, np.array([0.5, -0.5])).astype(float)
    pairs = PairAnswers.of(right)
    b, c = pairs.sums(np.ones((1, 12)))
    gap = right[:, 0] - right[:, 1]
    exact = permutation_test(
        (gap,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="greater"
    ).pvalue
    other = permutation_test((gap,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="less").pvalue
    # Ties count one half: the mid-p of both sides.
    assert float(better_p(b, c)[0, 0]) == pytest.approx((other + 1 - exact) / 2)
    assert soft_pairwise_accuracy(np.array([0.9, 0.2]), np.array([0.8, 0.5])) == pytest.approx(0.8)


def test_that_the_active_estimate_is_unbiased_and_plain_weights_are_a_mean() -> None:
    generator = np.random.default_rng(2)
    loss = generator.random(60)
    weight = 0.2 + generator.random(60) * loss
    found = active_estimates(loss, weight, np.array([5, 20, 60]), 6000, 0)
    spread = found.std(axis=0) / np.sqrt(6000)
    assert (np.abs(found.mean(axis=0) - loss.mean())[:2] < 4 * spread[:2]).all()
    assert found[:, 2] == pytest.approx(np.full(6000, loss.mean()))  # all items drawn
    plain = active_estimates(loss, np.ones(60), np.array([20]), 2000, 0)
    assert plain.std() == pytest.approx(loss.std(ddof=1) / np.sqrt(20) * np.sqrt(40 / 60), rel=0.06)
    good = active_estimates(loss, loss + 0.01, np.array([20]), 2000, 0)
    assert good.std() < 0.6 * plain.std()
    with pytest.raises(AnalysisError, match="no chance"):
        active_estimates(loss, np.where(np.arange(60) == 3, 0.0, 1.0), np.array([5]), 2, 0)


def test_that_clusters_begin_where_the_first_is_left_behind() -> None:
    right = np.zeros((100, 4))
    for model, count in enumerate((90, 88, 50, 48)):
        right[:count, model] = 1
    pairs = PairAnswers.of(right)
    p = mcnemar_p(*pairs.sums(np.ones((1, 100))))[0]
    assert significance_clusters(right.mean(axis=0), pairs, p) == 2
    assert significance_clusters(np.full(4, 0.5), pairs, np.ones(6)) == 1


def test_that_items_chosen_on_the_same_models_look_better_than_on_others() -> None:
    noise = np.random.default_rng(3).random((300, 12)) < 0.5  # equal models: their order is chance
    held, same = (asked(noise, held_out=flag, repeats=40).fidelity for flag in (True, False))
    taus = [part.query("strategy == 'order' and items == 30")["tau_b"].iloc[0] for part in (held, same)]
    assert taus[1] > 0.8
    assert taus[1] - taus[0] > 0.35


def test_that_uninformative_items_are_passed_over() -> None:
    dull = np.concatenate([RIGHT[:100], np.ones((300, 10), dtype=bool)])
    result = asked(dull, repeats=20, export="variance", size=60)
    assert result.enough["variance"] < result.enough["random"]
    listed = result.tables["items"]
    assert len(listed) == 60
    assert listed["variance"].is_monotonic_decreasing
    assert listed["variance"].iloc[-1] > 0


def test_that_few_models_are_said_to_rank_themselves() -> None:
    result = asked(RIGHT[:, :6])
    assert not result.held_out
    assert any("look too good" in note for note in result.notes)
    with pytest.raises(TooLittleData):
        asked(RIGHT[:10])
    assert ANALYSIS.question.missing(RunStore()).startswith("needs")


def test_that_the_figure_has_a_line_a_strategy() -> None:
    result = asked(RIGHT)
    spec = figure(SubsetQuestion(repeats=10), result)
    assert [panel.key for panel in spec.panels] == ["tau_b", "spa", "new"]
    assert sum(isinstance(mark, Line) for _, mark in spec.marks()) == 8
    assert to_json(spec)
