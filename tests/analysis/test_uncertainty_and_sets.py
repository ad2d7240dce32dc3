from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from runglass.analysis.calibration import conformal, decomposition, intervals
from runglass.analysis.calibration.conformal import ConformalQuestion, conformal_quantile
from runglass.analysis.calibration.decomposition import DecompositionQuestion, decomposed
from runglass.analysis.calibration.intervals import IntervalsQuestion, interval_score, pinball, quantile_columns
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Rule, to_json
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def store_of(frame: pd.DataFrame) -> RunStore:
    return RunStore().adding([TableRows("p.csv", "test", frame, "predictions")])


def ensemble(n: int = 60, members: int = 4, classes: int = 3) -> np.ndarray:
    return np.random.default_rng(0).dirichlet(np.ones(classes), size=(n, members))


def frame_of(cube: np.ndarray, label: np.ndarray) -> pd.DataFrame:
    parts = []
    for member in range(cube.shape[1]):
        part = pd.DataFrame(cube[:, member]).add_prefix("prob.")
        parts.append(part.assign(item=np.arange(len(cube)).astype(str), label=label, seed=member))
    return pd.concat(parts)


def test_that_the_total_is_the_sum_of_its_parts() -> None:
    from scipy.stats import entropy

    cube = ensemble()
    total, aleatoric, epistemic, _, _, _ = decomposed(cube).T
    np.testing.assert_allclose(total, aleatoric + epistemic)
    np.testing.assert_allclose(total, entropy(cube.mean(axis=1), axis=1))
    assert (epistemic >= 0).all()


def test_that_pairwise_divergence_is_both_informations_over_all_pairs() -> None:
    from scipy.stats import entropy

    cube = ensemble()
    _, _, information, every, reverse, agreement = decomposed(cube, same=True).T
    np.testing.assert_allclose(every, information + reverse)
    pairs = [[entropy(cube[0, w], cube[0, v]) for v in range(4)] for w in range(4)]
    assert every[0] == pytest.approx(np.mean(pairs))
    assert agreement[0] == pytest.approx(np.mean(cube[0] @ cube[0].T))
    others = decomposed(cube)
    assert others[0, 3] == pytest.approx(np.sum(pairs) / 12)
    products = cube[0] @ cube[0].T
    assert others[0, 5] == pytest.approx((products.sum() - np.trace(products)) / 12)


def test_that_members_alike_leave_nothing_between_them() -> None:
    cube = np.repeat(ensemble(members=1), 3, axis=1)
    parts = decomposed(cube)
    np.testing.assert_allclose(parts[:, 2:5], 0, atol=1e-12)


def test_that_an_ensemble_is_answered_and_drawn() -> None:
    cube = ensemble()
    label = np.random.default_rng(1).integers(0, 3, size=len(cube))
    question = DecompositionQuestion(draws=50)
    result = question.answer(store_of(frame_of(cube, label)))
    assert result.members == 4
    assert result.estimates["epistemic"].value == pytest.approx(decomposed(cube)[:, 2].mean())
    assert result.rows["right"].mean() == pytest.approx((cube.mean(axis=1).argmax(axis=1) == label).mean())
    json.dumps(to_json(decomposition.figure(question, result)))
    json.dumps(result.to_json())


def test_that_one_member_is_no_ensemble() -> None:
    frame = frame_of(ensemble(members=1), np.zeros(60, dtype=int))
    with pytest.raises(AnalysisError, match="members"):
        DecompositionQuestion().answer(store_of(frame))
    with pytest.raises(TooLittleData, match="at least 2 members"):
        DecompositionQuestion(member="seed").answer(store_of(frame))


def test_that_the_quantile_counts_one_row_more() -> None:
    scores = np.arange(1, 10) / 10
    assert conformal_quantile(scores, 0.9) == (0.9, 9)
    assert conformal_quantile(scores, 0.8) == (0.8, 8)
    assert conformal_quantile(scores, 0.95) == (math.inf, 10)


def classified(n: int, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    p = generator.dirichlet(np.full(4, 0.4), size=n)
    label = (generator.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1)
    frame = pd.DataFrame(p).add_prefix("prob.")
    return frame.assign(item=np.arange(n).astype(str), label=label, group=np.where(generator.random(n) < 0.5, "a", "b"))


@pytest.mark.parametrize("score", ["1 - p", "cumulative"])
def test_that_the_coverage_over_splits_follows_its_beta_law(score: Any) -> None:
    store = store_of(classified(300))
    found, inside = [], 0
    for seed in range(200):
        result = ConformalQuestion(score=score, share=1 / 3, seed=seed, draws=20).answer(store)
        found.append(result.estimates["coverage"].value)
        promised = result.estimates["promised_coverage"]
        inside += promised.low <= found[-1] <= promised.high
    # n = 100 calibration rows at 0.9: mean 91 / 101.
    assert np.mean(found) == pytest.approx(91 / 101, abs=0.01)
    assert inside / 200 > 0.9


def test_that_the_law_of_a_hundred_rows_is_the_published_one() -> None:
    from scipy.stats import beta

    _, k = conformal_quantile(np.arange(100.0), 0.9)
    assert beta(k, 101 - k).mean() == pytest.approx(0.901, abs=5e-4)
    assert beta(k, 101 - k).std() == pytest.approx(0.030, abs=5e-4)


def test_that_intervals_are_widened_to_hold_what_happened() -> None:
    generator = np.random.default_rng(0)
    y = generator.normal(size=2000)
    frame = pd.DataFrame({"item": np.arange(2000).astype(str), "actual": y, "lo": -0.5, "hi": 0.5, "mid": 0.0})
    for options in ({"score": "residual", "forecast": "mid"}, {"score": "quantile", "lower": "lo", "upper": "hi"}):
        question = ConformalQuestion(actual="actual", draws=50, **options)
        result = question.answer(store_of(frame))
        assert result.estimates["coverage"].value == pytest.approx(0.9, abs=0.03)
        assert result.estimates["mean_size"].value == pytest.approx(2 * 1.645, abs=0.2)
        json.dumps(to_json(conformal.figure(question, result)))


def test_that_too_few_rows_give_sets_of_everything() -> None:
    result = ConformalQuestion(target=0.99, share=0.1, draws=20).answer(store_of(classified(100)))
    assert result.estimates["coverage"].value == 1
    assert result.estimates["mean_size"].value == 4
    assert any("too few" in note for note in result.notes)


def test_that_groups_calibrated_apart_are_each_held() -> None:
    frame = classified(3000)
    hard = frame["group"] == "b"
    # Labels of one group are drawn anew: its probabilities say nothing.
    frame.loc[hard, "label"] = np.random.default_rng(2).integers(0, 4, size=int(hard.sum()))
    together = ConformalQuestion(draws=20).answer(store_of(frame))
    apart = ConformalQuestion(by_group=True, draws=20).answer(store_of(frame))
    assert together.estimates["b/coverage"].value < 0.87 < 0.93 < together.estimates["a/coverage"].value
    for name in "ab":
        assert apart.estimates[f"{name}/coverage"].value == pytest.approx(0.9, abs=0.03)


def test_that_the_target_can_be_dragged() -> None:
    question = ConformalQuestion(draws=20)
    result = question.answer(store_of(classified(200)))
    spec = conformal.figure(question, result)
    assert [mark.option for _, mark in spec.marks() if isinstance(mark, Rule)] == ["target"]
    json.dumps(to_json(spec))
    json.dumps(result.to_json())


def test_that_the_weighted_interval_score_is_twice_the_mean_pinball_loss() -> None:
    generator = np.random.default_rng(0)
    y = generator.normal(size=50)
    tau = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    q = np.sort(generator.normal(size=(50, 5)), axis=1)
    sums = 0.5 * np.abs(y - q[:, 2])
    for lower, upper, alpha in ((0, 4, 0.1), (1, 3, 0.5)):
        sums = sums + alpha / 2 * interval_score(y, q[:, lower], q[:, upper], alpha)
    np.testing.assert_allclose(sums / 2.5, 2 * pinball(y, q, tau).mean(axis=1))


def forecasts(n: int = 400, spread: float = 1.0) -> pd.DataFrame:
    from scipy.stats import norm

    generator = np.random.default_rng(1)
    frame = pd.DataFrame(
        {"item": np.arange(n).astype(str), "actual": generator.normal(size=n), "model": f"x{spread:g}"}
    )
    for level in (0.05, 0.25, 0.5, 0.75, 0.95):
        frame[f"q{level:g}"] = spread * norm.ppf(level)
    return frame


def test_that_honest_bands_hold_as_often_as_they_say_and_narrow_ones_less() -> None:
    question = IntervalsQuestion(draws=200)
    result = question.answer(store_of(pd.concat([forecasts(2000), forecasts(2000, spread=0.4)])))
    e = result.estimates
    assert e["x1/coverage_0.9"].value == pytest.approx(0.9, abs=0.02)
    assert e["x1/coverage_0.5"].value == pytest.approx(0.5, abs=0.03)
    assert e["x0.4/coverage_0.9"].high < 0.7
    assert e["x1/wis"].value < e["x0.4/wis"].value
    json.dumps(to_json(intervals.figure(question, result)))
    json.dumps(result.to_json())


def test_that_the_score_of_a_normal_forecast_is_its_closed_form() -> None:
    # Mean pinball loss of the true quantile at t is the density there: for the median 1 / sqrt(2 pi).
    frame = forecasts(40_000)[["item", "actual", "model", "q0.5"]]
    found = IntervalsQuestion(draws=50).answer(store_of(frame)).estimates["wis"].value
    assert found == pytest.approx(2 / math.sqrt(2 * math.pi), rel=0.02)


def test_that_crossing_quantiles_are_sorted_and_counted() -> None:
    frame = forecasts(50).rename(columns={"q0.05": "q0.95", "q0.95": "q0.05"})
    result = IntervalsQuestion(draws=20).answer(store_of(frame))
    straight = IntervalsQuestion(draws=20).answer(store_of(forecasts(50)))
    assert result.estimates["wis"].value == pytest.approx(straight.estimates["wis"].value)
    assert any("50 rows had quantiles that cross" in note for note in result.notes)


def test_that_a_failing_horizon_is_seen() -> None:
    near, far = forecasts().assign(horizon="1"), forecasts().assign(horizon="2")
    far["actual"] *= 3
    far["item"] = far["item"] + "-far"
    result = IntervalsQuestion(draws=50).answer(store_of(pd.concat([near, far])))
    assert result.estimates["horizon 1/coverage_0.9"].value > 0.85
    assert result.estimates["horizon 2/coverage_0.9"].value < 0.6


def test_that_levels_are_read_from_names() -> None:
    frame = pd.DataFrame({"q0.05": [1.0], "p95": [2.0], "quantile_50": [1.5], "quality": [3.0], "prob.1": [0.5]})
    assert quantile_columns(frame, ()) == {"q0.05": 0.05, "p95": 0.95, "quantile_50": 0.5}
    with pytest.raises(AnalysisError, match="no column of a quantile"):
        quantile_columns(frame, ("quality",))


def test_that_randomised_sets_hold_as_often_as_asked_and_are_smaller() -> None:
    """Romano, Sesia and Candès (2020): the class on the border is in by chance, so that coverage is exact."""
    frame = classified(4000)
    plain, drawn = (
        ConformalQuestion(score="cumulative", randomised=flag, draws=20).answer(store_of(frame)).estimates
        for flag in (False, True)
    )
    assert drawn["coverage"].value == pytest.approx(0.9, abs=0.02)
    assert drawn["mean_size"].value < plain["mean_size"].value


def test_that_the_rows_to_calibrate_on_may_be_told_by_a_column() -> None:
    frame = classified(400).assign(part=["old"] * 100 + ["new"] * 300)
    result = ConformalQuestion(split="part", fit_on="old", draws=20).answer(store_of(frame))
    scores = 1 - frame[[f"prob.{k}" for k in range(4)]].to_numpy()[np.arange(400), frame["label"]]
    assert result.estimates["quantile"].value == pytest.approx(np.sort(scores[:100])[math.ceil(101 * 0.9) - 1])
    assert result.estimates["n_calibration"].value == 100
    assert result.estimates["coverage"].value == pytest.approx(
        (scores[100:] <= result.estimates["quantile"].value).mean()
    )
    for options, said in (
        ({"split": "nowhere"}, "no column called 'nowhere'"),
        ({"split": "part", "fit_on": "none"}, "part = none to calibrate on"),
        ({"group": "nowhere"}, "no column called 'nowhere'"),
        ({"model": "nobody"}, "none that are kept"),
        ({"score": "residual"}, "--actual and --forecast"),
        ({"score": "quantile"}, "--actual, --lower and --upper"),
    ):
        with pytest.raises(AnalysisError, match=said):
            ConformalQuestion(**options).answer(store_of(frame.assign(model="m")))  # type: ignore[arg-type]
    with pytest.raises(TooLittleData, match="not calibrated on"):
        ConformalQuestion(split="part", fit_on="old").answer(store_of(frame.head(100)))
    with pytest.raises(TooLittleData, match="whose label is among the classes"):
        ConformalQuestion().answer(store_of(frame.assign(label="other")))
    with pytest.raises(AnalysisError, match="probabilities of all"):
        ConformalQuestion().answer(store_of(frame[["item", "label"]].assign(confidence=0.5)))


def test_that_some_members_and_one_task_may_be_asked_for_and_labels_are_not_needed() -> None:
    cube = ensemble()
    label = np.random.default_rng(1).integers(0, 3, size=len(cube))
    frame = frame_of(cube, label)
    names = (
        sorted(frame["seed"].astype(str).unique()) if "seed" in frame else sorted(frame["member"].astype(str).unique())
    )
    two = DecompositionQuestion(members=tuple(names[:2]), draws=50).answer(store_of(frame))
    assert two.members == 2
    assert two.estimates["epistemic"].value == pytest.approx(decomposed(cube[:, :2])[:, 2].mean())
    both = pd.concat([frame.assign(task="t"), frame_of(ensemble()[::-1], label).assign(task="u")])
    one = DecompositionQuestion(task="t", draws=50).answer(store_of(both))
    assert one.estimates["epistemic"].value == pytest.approx(decomposed(cube)[:, 2].mean())
    together = DecompositionQuestion(draws=50).answer(store_of(both))
    assert len(together.rows) == 2 * len(one.rows)
    question = DecompositionQuestion(draws=50)
    blind = question.answer(store_of(frame.drop(columns="label")))
    assert blind.detection.empty
    points = [
        mark.key for _, mark in decomposition.figure(question, blind).marks() if mark.key in ("items", "right", "wrong")
    ]
    assert points == ["items"]
    with pytest.raises(AnalysisError, match="probabilities of all classes"):
        DecompositionQuestion().answer(store_of(frame.filter(regex="^(?!prob)").assign(confidence=0.5)))
    holes = frame.assign(**{"prob.0": np.nan})
    with pytest.raises(TooLittleData, match="every member answered with probabilities"):
        DecompositionQuestion().answer(store_of(holes))
