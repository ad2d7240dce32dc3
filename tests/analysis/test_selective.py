from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runglass.analysis.calibration import error_detection, risk_coverage
from runglass.analysis.calibration.error_detection import ErrorDetectionQuestion
from runglass.analysis.calibration.risk_coverage import RiskCoverageQuestion, clopper_pearson
from runglass.analysis.forecast_rows import Sample
from runglass.analysis.selective import Blocks, coverage_at_risk, ranking, risk_curve, risks_at_coverages
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Points, Rule, to_json
from runglass.models.store import RunStore
from runglass.models.tables import TableRows

T8 = np.arange(1, 9) / 10, np.array([0.0, 0, 1, 0, 1, 1, 0, 1])


def store_of(frame: pd.DataFrame) -> RunStore:
    return RunStore().adding([TableRows("p.csv", "test", frame, "predictions")])


def rows(f: Any, y: Any, **columns: Any) -> pd.DataFrame:
    items = [str(i) for i in range(len(f))]
    return pd.DataFrame({"model": "m", "item": items, "confidence": np.asarray(f, float), "correct": y, **columns})


def network(shared_data: Path) -> pd.DataFrame:
    archive = np.load(shared_data / "calibration" / "vgg_cifar10" / "cifar_probs.npz")
    p, label = archive["predictions"].astype(float), archive["ground_truth"]
    return rows(p.max(axis=1), (p.argmax(axis=1) == label).astype(float))


def areas(sample: Sample) -> Any:
    return ranking(sample, sample.weight[None])[0]


def blocks_of(sample: Sample) -> Blocks:
    return Blocks.of(sample.f, sample.y, sample.weight[None])


def test_that_the_toy_vector_gives_its_published_areas() -> None:
    assert areas(Sample.of(*T8)) == pytest.approx([0.750, 0.34315, 0.16042, 0.21875], abs=5e-6)


def test_that_a_real_network_gives_its_published_areas_and_coverages(shared_data: Path) -> None:
    frame = network(shared_data)
    sample = Sample.of(frame["confidence"].to_numpy(), frame["correct"].to_numpy())
    assert areas(sample)[[0, 1, 3]] == pytest.approx([0.93415, 0.006658, 0.006008], abs=5e-6)
    found = [coverage_at_risk(blocks_of(sample), error)[0] for error in (0.01, 0.02, 0.03)]
    assert found == pytest.approx([0.8222, 0.8776, 0.9192], abs=5e-5)
    result = RiskCoverageQuestion(error=0.02, draws=50).answer(store_of(frame))
    assert result.estimates["coverage_at_target"].value == pytest.approx(0.8776, abs=5e-5)


def test_that_the_area_under_coverage_and_accuracy_is_that_of_verified_calibration() -> None:
    # Its test: confidences .3 and .9, right 0 and 1, gives .75.
    assert 1 - areas(Sample.of(np.array([0.3, 0.9]), np.array([0.0, 1.0])))[1] == pytest.approx(0.75)


@settings(deadline=None)
@given(seed=st.integers(0, 5000), n=st.integers(2, 60), digits=st.integers(1, 3))
def test_that_the_areas_keep_their_identities(seed: int, n: int, digits: int) -> None:
    from scipy.stats import mannwhitneyu

    generator = np.random.default_rng(seed)
    f, y = generator.random(n).round(digits), (generator.random(n) < 0.6).astype(float)
    y[:2] = 0, 1
    sample = Sample.of(f, y)
    auroc, aurc, excess, augrc = areas(sample)
    expected = mannwhitneyu(f[y > 0], f[y == 0]).statistic / ((y > 0).sum() * (y == 0).sum())
    assert auroc == pytest.approx(expected)
    e = 1 - y.mean()
    assert augrc == pytest.approx((1 - auroc) * e * (1 - e) + e**2 / 2 + e / (2 * n))
    wrong = n - int(y.sum())
    best = sum(j / (n - wrong + j) for j in range(1, wrong + 1)) / n
    assert aurc - excess == pytest.approx(best)
    assert excess >= -1e-12


def test_that_errors_are_spread_evenly_over_equal_scores() -> None:
    # One block of four rows with one error: e_k = k / 4, so that every risk is 1 / 4.
    assert areas(Sample.of(np.full(4, 0.5), np.array([1.0, 0, 1, 1])))[1] == pytest.approx(0.25)
    assert areas(Sample.of(np.full(4, 0.5), np.array([0.0, 1, 1, 1])))[0] == pytest.approx(0.5)


def test_that_a_random_score_has_the_error_rate_as_its_mean_area() -> None:
    generator = np.random.default_rng(0)
    y = np.repeat([0.0, 1.0], [30, 70])
    found = [areas(Sample.of(generator.random(100), y))[1] for _ in range(600)]
    assert np.mean(found) == pytest.approx(0.3, abs=4 * np.std(found) / math.sqrt(600))


def test_that_a_weight_of_two_is_two_rows() -> None:
    f, y = T8
    weights = np.array([1.0, 2, 1, 3, 1, 1, 2, 1])
    once = ranking(Sample.of(f, y), weights[None])[0]
    repeated = areas(Sample.of(np.repeat(f, weights.astype(int)), np.repeat(y, weights.astype(int))))
    assert once == pytest.approx(repeated)


def test_that_operating_points_lie_where_the_risk_curve_says() -> None:
    sample = Sample.of(*T8)
    curve = risk_curve(sample, sample.weight)
    np.testing.assert_allclose(curve.risk, [0, 1 / 2, 1 / 3, 1 / 4, 2 / 5, 2 / 6, 3 / 7, 4 / 8])
    assert coverage_at_risk(blocks_of(sample), 0.3)[0] == pytest.approx(4 / 8)
    assert risks_at_coverages(blocks_of(sample), np.array([0.5, 1.0]))[0] == pytest.approx([1 / 4, 1 / 2])


def test_that_the_threshold_of_a_split_is_judged_on_the_others() -> None:
    generator = np.random.default_rng(0)
    f = generator.random(600)
    frame = rows(f, (generator.random(600) < f).astype(float), part=np.where(np.arange(600) < 200, "cal", "test"))
    result = RiskCoverageQuestion(error=0.2, split="part", fit_on="cal", draws=50).answer(store_of(frame))
    assert result.estimates["n"].value == 400
    held = result.estimates["held_out_error"]
    row = result.points.iloc[0]
    kept = frame[(frame["part"] == "test") & (frame["confidence"] >= row["held_out_threshold"])]
    assert held.value == pytest.approx(1 - kept["correct"].mean())
    assert held.low < held.value < held.high


def test_that_the_exact_interval_is_that_of_scipy() -> None:
    from scipy.stats import binomtest

    for k, n in ((0, 10), (3, 10), (10, 10)):
        expected = binomtest(k, n).proportion_ci(method="exact")
        assert clopper_pearson(k, n, 0.95) == pytest.approx((expected.low, expected.high))


def test_that_staying_silent_costs_no_more_than_answering_nothing() -> None:
    result = RiskCoverageQuestion(cost=0.1, draws=20).answer(store_of(rows(*T8)))
    # Answering the one most confident row costs 7 x 0.1 / 8.
    assert result.estimates["least_cost"].value == pytest.approx(0.7 / 8)


def test_that_the_operating_point_can_be_dragged_and_selects_the_rows_kept() -> None:
    question = RiskCoverageQuestion(error=0.3, draws=20)
    frame = rows(*T8)
    result = question.answer(store_of(frame))
    spec = risk_coverage.figure(question, result)
    rules = {mark.option: mark.at for _, mark in spec.marks() if isinstance(mark, Rule)}
    assert rules == {"error": 0.3, "coverage": 0.8}
    point = next(mark for _, mark in spec.marks() if isinstance(mark, Points) and mark.key.endswith("/point"))
    assert point.origin is not None
    kept = point.origin.clause([0]).mask(frame)
    assert frame["confidence"][kept].tolist() == [0.5, 0.6, 0.7, 0.8]
    json.dumps(to_json(spec))
    json.dumps(result.to_json())


def test_that_the_average_precisions_are_those_of_the_definition() -> None:
    f, y = T8
    result = ErrorDetectionQuestion(draws=20).answer(store_of(rows(f, y)))
    order = np.argsort(-f)
    hits = y[order]
    expected = float((hits * np.cumsum(hits) / np.arange(1, 9)).sum() / hits.sum())
    assert result.estimates["aupr_success"].value == pytest.approx(expected)
    misses = (1 - y)[order][::-1]
    expected = float((misses * np.cumsum(misses) / np.arange(1, 9)).sum() / misses.sum())
    assert result.estimates["aupr_error"].value == pytest.approx(expected)
    # All four right rows lie at or above .3, and so do two of the four wrong ones.
    assert result.estimates["fpr_at_95_tpr"].value == pytest.approx(0.5)


def test_that_the_interval_of_auroc_agrees_with_delongs_variance() -> None:
    generator = np.random.default_rng(0)
    f = generator.random(800)
    y = (generator.random(800) < f).astype(float)
    found = ErrorDetectionQuestion(draws=2000).answer(store_of(rows(f, y))).estimates["auroc"]
    _, parts = error_detection._components(y, f)
    half = 1.96 * math.sqrt(float((parts**2).sum()))
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.08)


def test_that_paired_scores_of_the_same_outcomes_have_delongs_standard_error() -> None:
    # Hand count: two positives, two negatives; structural components of both scores.
    y = np.array([1.0, 1, 0, 0])
    a, b = np.array([0.9, 0.4, 0.5, 0.1]), np.array([0.9, 0.8, 0.2, 0.1])
    difference, error = error_detection._paired_difference(y, y, a, b)
    v10 = np.array([1.0, 1.0]) - np.array([1.0, 0.5])
    v01 = np.array([1.0, 1.0]) - np.array([0.5, 1.0])
    assert difference == pytest.approx(0.25)
    assert error == pytest.approx(math.sqrt(np.var(v10, ddof=1) / 2 + np.var(v01, ddof=1) / 2))


def test_that_a_paired_difference_covers_nothing_between_equal_models() -> None:
    generator = np.random.default_rng(0)
    missed = 0
    for _ in range(200):
        y = (generator.random(80) < 0.6).astype(float)
        base = y + generator.normal(size=80)
        a, b = base + generator.normal(size=80), base + generator.normal(size=80)
        difference, error = error_detection._paired_difference(y, y, a, b)
        missed += abs(difference) > 1.96 * error
    assert missed / 200 == pytest.approx(0.05, abs=0.05)


def test_that_rows_out_of_distribution_can_be_what_is_found() -> None:
    frame = rows([0.9, 0.8, 0.3, 0.2], [1, 0, 1, 0], ood=[0, 0, 1, 1])
    result = ErrorDetectionQuestion(out="ood", draws=20).answer(store_of(frame))
    assert result.estimates["auroc"].value == 1.0
    assert "in-distribution" in result.summary()


@pytest.mark.parametrize("score", ["entropy", "margin", "energy"])
def test_that_scores_over_all_classes_rank_a_sure_row_first(score: Any) -> None:
    z = np.array([[6.0, 0, 0], [1.0, 0.9, 0.8], [5.0, 0, 0], [1.1, 1.0, 0.2]])
    frame = pd.DataFrame(z).add_prefix("logit.").assign(item=list("abcd"), label=[0, 1, 0, 2])
    result = ErrorDetectionQuestion(score=score, draws=20).answer(store_of(frame))
    assert result.chosen.series[0].frame["item"].iloc[-1] == "a"
    assert result.estimates["auroc"].value == 1.0


def test_that_ranking_questions_is_told_apart_from_ranking_answers() -> None:
    # Confidence knows which question is easy, and nothing about the answers to one.
    frame = pd.DataFrame(
        {"item": ["easy"] * 3 + ["hard"] * 3, "sample": ["0", "1", "2"] * 2, "confidence": [0.9] * 3 + [0.2] * 3,
         "correct": [1, 1, 0, 0, 0, 1]}
    )  # fmt: skip
    result = ErrorDetectionQuestion(draws=20).answer(store_of(frame))
    assert result.estimates["auroc_within_questions"].value == 0.5
    assert result.estimates["auroc"].value == pytest.approx(2 / 3)


def test_that_answers_of_one_kind_are_refused() -> None:
    with pytest.raises(TooLittleData, match="one kind only"):
        ErrorDetectionQuestion(draws=20).answer(store_of(rows([0.1, 0.2], [1, 1])))
    with pytest.raises(AnalysisError, match="logits"):
        ErrorDetectionQuestion(score="energy", draws=20).answer(store_of(rows([0.1, 0.2], [1, 0])))


def test_that_the_detection_of_two_models_is_drawn_and_compared() -> None:
    generator = np.random.default_rng(0)
    f = generator.random(100)
    one = rows(f, (generator.random(100) < f).astype(float), version="a")
    both = pd.concat([one, one.assign(version="b", confidence=generator.random(100))])
    question = ErrorDetectionQuestion(draws=50)
    result = question.answer(store_of(both))
    assert result.tables["differences"]["p_holm"].iloc[0] < 0.05
    json.dumps(to_json(error_detection.figure(question, result)))
    json.dumps(result.to_json())


def test_that_a_version_without_logits_beside_one_with_them_is_named() -> None:
    frame = rows([0.1, 0.9, 0.4, 0.6], [0, 1, 0, 1])
    both = [
        frame.assign(version="plain"),
        frame.assign(version="told", **{"logit.a": [0.0, 3.0, 1.0, 2.0], "logit.b": 0.0}),
    ]
    with pytest.raises(TooLittleData, match=r"rows of plain.* with energy at T = 1; found none"):
        ErrorDetectionQuestion(score="energy", draws=20).answer(store_of(pd.concat(both)))
    for options, said in (
        ({"out": "nowhere"}, "no column called 'nowhere'"),
        ({"score": "column", "score_column": "nowhere"}, "no column called 'nowhere'"),
        ({"score": "margin"}, "probabilities of all classes"),
    ):
        with pytest.raises(AnalysisError, match=said):
            ErrorDetectionQuestion(draws=20, **options).answer(store_of(frame))  # type: ignore[arg-type]
    own = frame.assign(sure=[0.2, 0.8, 0.9, 0.7])
    found = ErrorDetectionQuestion(score="column", score_column="sure", draws=20).answer(store_of(own)).estimates
    assert found["auroc"].value == 0.5  # of four pairs of a right and a wrong row, two are in order
