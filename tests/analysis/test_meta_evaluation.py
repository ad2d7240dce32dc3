from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from runglass.analysis.judges.meta_evaluation import (
    ItemLevel,
    MetaEvaluation,
    MetaEvaluationQuestion,
    auroc,
    contradictions,
    figure,
    power_of,
)
from runglass.analysis.rank_correlation import williams
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Points
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def store_of(frame: pd.DataFrame, table: str = "predictions") -> RunStore:
    return RunStore().adding([TableRows("judged.csv", "test", frame, table)])


def judged(human: np.ndarray, **metrics: np.ndarray) -> pd.DataFrame:
    """Scores of systems (rows) on items (columns)."""
    systems, items = human.shape
    rows = {
        "model": np.repeat([f"s{i:02}" for i in range(systems)], items),
        "item": np.tile([f"i{i}" for i in range(items)], systems),
        "human": human.ravel(),
    }
    return pd.DataFrame(rows | {name: values.ravel() for name, values in metrics.items()})


def asked(frame: pd.DataFrame, table: str = "predictions", **options: Any) -> MetaEvaluation:
    return MetaEvaluationQuestion(**{"draws": 100, **options}).answer(store_of(frame, table))


@pytest.fixture
def study() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    quality = generator.normal(0, 0.5, (12, 1))
    human = quality + generator.normal(0, 1, (12, 60))
    return human, human + generator.normal(0, 1, (12, 60)), generator.normal(0, 1, (12, 60))


def test_that_correlations_of_means_and_within_items_are_those_of_scipy(study: tuple[np.ndarray, ...]) -> None:
    human, good, noise = study
    result = asked(judged(human, good=good, noise=noise))
    e = result.estimates
    means = human.mean(axis=1), good.mean(axis=1)
    assert e["good/system_pearson"].value == pytest.approx(stats.pearsonr(*means)[0])
    assert e["good/system_spearman"].value == pytest.approx(stats.spearmanr(*means)[0])
    assert e["good/system_tau_b"].value == pytest.approx(stats.kendalltau(*means)[0])
    for name, function in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr), ("tau_b", stats.kendalltau)):
        expected = np.mean([function(human[:, i], good[:, i])[0] for i in range(60)])
        assert e[f"good/item_{name}"].value == pytest.approx(expected)
    # Without ties the share of pairs is tau itself.
    assert e["good/pairs"].value == pytest.approx(e["good/item_tau_b"].value)
    assert e["noise/pairs"].low < 0 < e["noise/pairs"].high
    assert result.tables["metrics"]["auroc"].isna().all()


def test_that_williams_test_is_the_published_example() -> None:
    # Case A of R's psych::r.test(103, .4, .5, .1): t = -.89, p = .37.
    assert williams(0.4, 0.5, 0.1, 103) == pytest.approx((-0.89, 0.37), abs=5e-3)
    assert williams(0.6, 0.6, 0.2, 30)[1] == 1


def test_that_williams_test_keeps_its_level() -> None:
    generator = np.random.default_rng(1)
    p = []
    for _ in range(1500):
        truth = generator.normal(size=15)
        a, b = truth + generator.normal(size=15), truth + generator.normal(size=15)
        whole = np.corrcoef([truth, a, b])
        p.append(williams(whole[0, 1], whole[0, 2], whole[1, 2], 15)[1])
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.02)


def test_that_the_simulated_power_is_that_of_statsmodels() -> None:
    from statsmodels.stats.power import TTestPower

    generator = np.random.default_rng(2)
    human = generator.normal(0, 1, (4, 4000))
    human[3] += 0.25
    table = power_of(human, 0, (50, 200))
    alone = table[table["pairs"] == 1]  # bins of one pair, whose differences have an sd of about sqrt(2)
    assert len(alone) == 8
    for gap, n, power in zip(alone["gap_low"], alone["n"], alone["power"], strict=True):
        assert power == pytest.approx(TTestPower().power(gap / np.sqrt(2), n, 0.05), abs=0.1)


def test_that_ties_are_neither_same_nor_different() -> None:
    items = ItemLevel.of(np.array([[1.0], [2.0], [2.0]]), np.array([[[1.0], [3.0], [2.0]], [[2.0], [1.0], [1.0]]]))
    assert items.same[:, 0].tolist() == [2, 0]
    assert items.differ[:, 0].tolist() == [0, 2]
    assert items.measures(np.ones(1))[:, 3].tolist() == [1, -1]


def test_that_contradictions_are_shares_of_pairs_of_systems() -> None:
    means = np.array([[1, 1, 1], [2, 3, 0], [3, 2, -1.0]])
    table = contradictions(means, ("human", "a", "b")).set_index(["a", "b"])["contradict"]
    assert table.to_dict() == pytest.approx({("human", "a"): 1 / 3, ("human", "b"): 1.0, ("a", "b"): 2 / 3})


def test_that_the_auroc_of_a_metric_is_that_of_mann_and_whitney() -> None:
    generator = np.random.default_rng(3)
    truth = generator.integers(0, 2, 200).astype(float)
    score = np.round(truth + generator.normal(0, 1, 200), 1)
    u = stats.mannwhitneyu(score[truth == 1], score[truth == 0]).statistic
    assert auroc(truth, score) == pytest.approx(u / (truth.sum() * (1 - truth).sum()))


def test_that_halves_of_the_annotators_give_the_ceiling() -> None:
    generator = np.random.default_rng(4)
    quality = np.linspace(0, 1, 12)[:, None]
    # Each annotator's mean over 50 items has the variance 1 / 50; the quality's is var(linspace).
    parts = [
        judged(quality + generator.normal(0, 1, (12, 50)), metric=np.tile(quality, 50)).assign(annotator=f"a{a}")
        for a in range(2)
    ]
    result = asked(pd.concat(parts), annotator="annotator", coefficient="pearson")
    signal, noise = float(quality.var()), 1 / 50
    assert result.estimates["ceiling"].value == pytest.approx(signal / (signal + noise), abs=0.12)
    assert result.estimates["metric/system_pearson"].value == pytest.approx(
        (signal / (signal + noise / 2)) ** 0.5, abs=0.08
    )


def test_that_scores_by_metric_are_read_too_and_a_point_stands_for_its_system(study: tuple[np.ndarray, ...]) -> None:
    human, good, _ = study
    long = judged(human, good=good).melt(["model", "item"], var_name="metric").rename(columns={"item": "task"})
    result = asked(long, "scores")
    assert (result.read, result.human, result.metrics) == ("scores", "human", ("good",))
    expected = stats.pearsonr(human.mean(axis=1), good.mean(axis=1))[0]
    assert result.estimates["good/system_pearson"].value == pytest.approx(expected)
    points = [
        m for p, m in figure(MetaEvaluationQuestion(), result).marks() if isinstance(m, Points) and p.key == "systems"
    ]
    assert points[0].origin is not None
    assert set(long[points[0].origin.clause([3]).mask(long)]["model"]) == {"s03"}


def test_that_few_systems_and_missing_columns_are_said(study: tuple[np.ndarray, ...]) -> None:
    human, good, _ = (part[:4] for part in study)
    few = asked(judged(human, good=good))
    assert not few.estimates["good/system_pearson"].has_interval
    assert few.estimates["good/pairs"].has_interval
    with pytest.raises(TooLittleData, match="at least 3 systems"):
        asked(judged(human[:2], good=good[:2]))
    with pytest.raises(AnalysisError, match="no column called 'bleurt'"):
        asked(judged(human, good=good), read="predictions", metrics=("bleurt",))
    with pytest.raises(TooLittleData, match="human judgement"):
        asked(judged(human, good=good).drop(columns="human"), read="predictions")
