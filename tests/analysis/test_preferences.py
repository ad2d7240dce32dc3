from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from statsmodels.stats.outliers_influence import variance_inflation_factor

from runglass.analysis.judges import attributes, dpo_monitor, ranking_accuracy, reward_accuracy
from runglass.analysis.judges.attributes import AttributesQuestion, laplace_logistic, variance_inflation
from runglass.analysis.judges.dpo_monitor import DpoMonitorQuestion
from runglass.analysis.judges.ranking_accuracy import RankingAccuracyQuestion, dpo_loss, idealised
from runglass.analysis.judges.reward_accuracy import RewardAccuracyQuestion
from runglass.analysis.preference_pairs import pair_paths, pairs_of, two_sides
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import to_json
from runglass.models.question import Question
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def store_of(frame: pd.DataFrame, table: str = "predictions") -> RunStore:
    return RunStore().adding([TableRows("p.csv", "test", frame, table)])


def drawn(question: Question, frame: pd.DataFrame, figure: Any, table: str = "predictions") -> Any:
    """The answer, after its figure and its document were written."""
    store = store_of(frame, table)
    asked = question.resolved(store)
    result = asked.answer(store)
    json.dumps(to_json(figure(asked, result)))
    json.dumps(result.to_json(), allow_nan=False)
    assert result.summary().endswith(".")
    return result


# Pairs


def test_that_columns_of_two_sides_are_found_by_their_names() -> None:
    assert two_sides(["id", "score_chosen", "score_rejected"], ("score",)) == ("score_chosen", "score_rejected")
    assert two_sides(["Chosen_Reward", "Rejected_Reward"], ("reward",)) == ("Chosen_Reward", "Rejected_Reward")
    assert two_sides(["logp_w"], ("logp",)) == ("", "")


def test_that_the_winner_of_a_comparison_is_the_preferred_answer_and_a_tie_is_none() -> None:
    frame = pd.DataFrame(
        {"a": "m", "b": "n", "winner": ["a", "b", "tie"], "score_a": [1.0, 2, 3], "score_b": [4.0, 5, 6]}
    )
    pairs = pairs_of(store_of(frame, "comparisons"), "score_a", "score_b")
    assert pairs.chosen.tolist() == [1, 5]
    assert pairs.rejected.tolist() == [4, 2]
    assert any("tie prefers neither" in note for note in pairs.notes)


# Accuracy of rewards


def rewards(chosen: list[float], rejected: list[float], **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"item": [f"i{i}" for i in range(len(chosen))], "score_chosen": chosen, "score_rejected": rejected,
                         **columns})  # fmt: skip


def test_that_a_tie_is_not_right_and_is_counted_apart() -> None:
    result = drawn(RewardAccuracyQuestion(draws=100), rewards([1, 2, 3, 4], [0, 2, 5, 1]), reward_accuracy.figure)
    assert result.estimates["accuracy"].value == 0.5
    assert result.estimates["ties"].value == 0.25
    assert result.estimates["ties_half"].value == 0.625


def test_that_sections_weigh_their_subsets_by_pairs_or_by_given_counts_and_overall_is_their_plain_mean() -> None:
    # RewardBench: reasoning holds 447 pairs of math-prm, counted as 984, beside 6 x 164 of code.
    right = [1.0] * 8 + [0.0] * 2 + [1.0] * 3 + [0.0] * 3 + [1.0] * 4
    frame = rewards(right, [0.5] * 20, subset=["math-prm"] * 10 + ["code"] * 6 + ["easy"] * 4,
                    section=["reasoning"] * 16 + ["chat"] * 4)  # fmt: skip
    plain = drawn(RewardAccuracyQuestion(draws=100), frame, reward_accuracy.figure).estimates
    assert plain["reasoning"].value == pytest.approx((10 * 0.8 + 6 * 0.5) / 16)
    assert plain["overall"].value == pytest.approx((plain["reasoning"].value + 1.0) / 2)
    given_ = drawn(
        RewardAccuracyQuestion(draws=100, weights=("math-prm=984", "code=984")), frame, reward_accuracy.figure
    )
    assert given_.estimates["reasoning"].value == pytest.approx((0.8 + 0.5) / 2)


def test_that_a_weight_must_name_a_subset() -> None:
    frame = rewards([1, 0], [0, 1], subset=["x", "y"])
    with pytest.raises(AnalysisError, match="names no subset"):
        RewardAccuracyQuestion(weights=("z=3",)).resolved(store_of(frame)).answer(store_of(frame))


def test_that_a_reward_for_style_alone_is_always_wrong_where_the_preferred_answer_is_plainer() -> None:
    styles = ("concise", "detailed_plain", "detailed_markdown")
    rows = [(i, a, b) for i in range(5) for a in range(3) for b in range(3)]
    frame = pd.DataFrame(
        {"item": [f"i{i}" for i, _, _ in rows], "score_chosen": [float(a) for _, a, _ in rows],
         "score_rejected": [float(b) for _, _, b in rows], "style_chosen": [styles[a] for _, a, _ in rows],
         "style_rejected": [styles[b] for _, _, b in rows]}
    )  # fmt: skip
    result = drawn(RewardAccuracyQuestion(draws=100), frame, reward_accuracy.figure)
    assert result.styles == styles
    assert {name: result.estimates[name].value for name in ("easy", "normal", "hard")} == {
        "easy": 1,
        "normal": 0,
        "hard": 0,
    }
    assert result.matrix[0].tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0]]


def test_that_pairs_of_a_prompt_are_resampled_together() -> None:
    one_each = rewards([1.0] * 50 + [0.0] * 50, [0.5] * 100)
    together = one_each.assign(item=[f"i{i // 10}" for i in range(100)])
    wide, narrow = (drawn(RewardAccuracyQuestion(draws=500), frame, reward_accuracy.figure).estimates["accuracy"]
                    for frame in (together, one_each))  # fmt: skip
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_that_rewards_are_held_against_the_share_of_people() -> None:
    margin = np.linspace(-3, 3, 60)
    frame = rewards((margin / 2).tolist(), (-margin / 2).tolist(), people=1 / (1 + np.exp(-margin)))
    result = RewardAccuracyQuestion(human="people", draws=100).resolved(store_of(frame)).answer(store_of(frame))
    panel = reward_accuracy.figure(RewardAccuracyQuestion(human="people"), result).panels[-1]
    points = next(mark for mark in panel.marks if mark.key == "reward")
    np.testing.assert_allclose(points.x, points.y)  # type: ignore[union-attr]


# Ranking accuracy


def log_probabilities(pairs: int = 400, steps: int = 4, seed: int = 0) -> pd.DataFrame:
    """A policy that drifts from its reference, pair by pair."""
    generator = np.random.default_rng(seed)
    ref_w, ref_l = generator.normal(-20, 4, (2, pairs))
    frames = []
    for step in range(steps):
        w = ref_w + step * generator.normal(-0.4, 1, pairs)
        l = ref_l + step * generator.normal(-1.4, 1, pairs)  # noqa: E741 - the letters of the papers
        frames.append(pd.DataFrame({"item": np.arange(pairs).astype(str), "step": step, "logp_w": w, "logp_l": l,
                                    "ref_logp_w": ref_w, "ref_logp_l": ref_l}))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


@given(st.floats(-30, 0), st.floats(-30, 0), st.floats(-30, 0), st.floats(-30, 0), st.floats(0.01, 1))
@settings(deadline=None, max_examples=40)
def test_that_a_pair_is_right_exactly_where_its_loss_is_at_most_that_of_its_handicap(
    w: float,
    l: float,  # noqa: E741
    ref_w: float,
    ref_l: float,
    beta: float,
) -> None:
    if abs(w - l) < 1e-6:
        return
    loss = dpo_loss(*(np.array([x]) for x in (w, l, ref_w, ref_l)), beta)[0]
    bound = -np.log(1 / (1 + np.exp(-beta * (ref_l - ref_w))))
    assert (loss <= bound) == (w > l) or loss == pytest.approx(bound, rel=1e-9)


def test_that_the_two_ways_to_ranking_accuracy_agree_over_a_training() -> None:
    result = drawn(RankingAccuracyQuestion(draws=100), log_probabilities(), ranking_accuracy.figure)
    np.testing.assert_array_equal(result.curves["ranking_accuracy"][0], result.curves["low_loss"][0])


def test_that_the_idealised_order_is_that_of_the_optimum() -> None:
    # The optimum of the loss over π is ref · (odds of the people)^(1/β), up to a factor that both answers share.
    generator = np.random.default_rng(1)
    ref_w, ref_l = generator.normal(-20, 4, (2, 500))
    alpha, beta = 0.7, 0.3
    best = [optimize.minimize_scalar(lambda d, a=a: -(alpha * np.log(1 / (1 + np.exp(-beta * (d - a))))
                                                      + (1 - alpha) * np.log(1 / (1 + np.exp(beta * (d - a)))))).x
            for a in ref_w - ref_l]  # fmt: skip
    np.testing.assert_array_equal(idealised(ref_w, ref_l, np.full(500, alpha), beta), np.array(best) > 0)


def test_that_agreement_of_all_people_makes_every_pair_right_in_the_ideal() -> None:
    result = drawn(RankingAccuracyQuestion(alpha=1.0, draws=100), log_probabilities(), ranking_accuracy.figure)
    assert result.estimates["idealised"].value == 1
    assert result.estimates["gap"].value == pytest.approx(1 - result.estimates["ranking_accuracy"].value)


def test_that_a_trainers_accuracy_is_another_number() -> None:
    frame = log_probabilities(steps=2)
    result = drawn(RankingAccuracyQuestion(draws=100), frame, ranking_accuracy.figure)
    last = frame[frame["step"] == 1]
    rewarded = (last["logp_w"] - last["ref_logp_w"] > last["logp_l"] - last["ref_logp_l"]).mean()
    assert result.estimates["reward_accuracy"].value == pytest.approx(rewarded)
    assert result.estimates["reward_accuracy"].value > result.estimates["ranking_accuracy"].value + 0.1


def test_that_a_longer_answer_may_be_ranked_otherwise_per_token() -> None:
    frame = pd.DataFrame({"item": ["i"], "logp_w": [-20.0], "logp_l": [-15.0], "n_tokens_w": [40], "n_tokens_l": [10]})
    result = drawn(RankingAccuracyQuestion(draws=100), frame, ranking_accuracy.figure)
    assert result.estimates["ranking_accuracy"].value == 0
    assert result.estimates["per_token"].value == 1


def test_that_only_pairs_of_every_step_count() -> None:
    frame = log_probabilities(pairs=10)
    result = drawn(RankingAccuracyQuestion(draws=100), frame.drop(index=3), ranking_accuracy.figure)
    assert result.estimates["pairs"].value == 9
    assert any("1 pair left out" in note for note in result.notes)


def test_that_without_log_probabilities_it_says_what_is_missing() -> None:
    with pytest.raises(TooLittleData, match="log-probabilities"):
        RankingAccuracyQuestion().answer(store_of(pd.DataFrame({"item": ["a"], "correct": [1.0]})))


# Likelihood displacement


def test_that_displacement_is_counted_and_the_alarm_is_the_first_step_at_which_both_hold() -> None:
    frame = log_probabilities(pairs=300, steps=5, seed=3)
    result = drawn(
        DpoMonitorQuestion(draws=300), frame.assign(refused=(frame["step"] < 2).astype(float)), dpo_monitor.figure
    )
    first, last = (frame[frame["step"] == step].set_index("item") for step in (0, 4))
    change = last["logp_w"] - first["logp_w"]
    assert result.estimates["displaced"].value == pytest.approx((change < 0).mean())
    assert result.estimates["change_preferred"].value == pytest.approx(change.mean())
    assert result.estimates["change_margin"].value == pytest.approx(
        result.estimates["change_preferred"].value - result.estimates["change_rejected"].value
    )
    assert result.alarm == 1
    assert (result.estimates["refused_before"].value, result.estimates["refused"].value) == (1, 0)


def test_that_there_is_no_alarm_where_the_preferred_answer_gains() -> None:
    frame = log_probabilities(pairs=300, steps=3)
    first = frame[frame["step"] == 0].set_index("item")["logp_w"]
    gaining = frame.assign(logp_w=frame["item"].map(first) + frame["step"])
    result = drawn(DpoMonitorQuestion(draws=200), gaining, dpo_monitor.figure)
    assert np.isnan(result.alarm)
    assert result.estimates["displaced"].value == 0


def test_that_the_shares_of_the_four_quadrants_add_up_to_1() -> None:
    frame = log_probabilities(pairs=300, steps=3)
    result = drawn(DpoMonitorQuestion(draws=200), frame, dpo_monitor.figure)
    table = result.tables["quadrants"].set_index("quadrant")
    assert table["share"].sum() == pytest.approx(1)
    first, last = (frame[frame["step"] == step].set_index("item") for step in (0, 2))
    down, other = last["logp_w"] < first["logp_w"], last["logp_l"] < first["logp_l"]
    assert table.loc["both fall", "pairs"] == (down & other).sum()
    assert table.loc["preferred rises, rejected falls", "pairs"] == (~down & other).sum()
    assert table.loc["preferred falls, rejected rises", "pairs"] == (down & ~other).sum()
    assert ((table["low"] <= table["share"]) & (table["share"] <= table["high"])).all()


def test_that_one_step_shows_no_change() -> None:
    with pytest.raises(TooLittleData, match="two steps"):
        DpoMonitorQuestion().resolved(store_of(log_probabilities(steps=1))).answer(store_of(log_probabilities(steps=1)))


# Attributes


def judged(
    n: int = 3000, weights: tuple[float, ...] = (1.2, -0.6, 0.0), seed: int = 0, judge: str = "j"
) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    a, b = generator.integers(0, 2, (2, n, len(weights)))
    p = 1 / (1 + np.exp(-(a - b) @ np.array(weights)))
    names = [f"x{i}" for i in range(len(weights))]
    columns = {f"{name}_{side}": part[:, i] for side, part in (("a", a), ("b", b)) for i, name in enumerate(names)}
    return pd.DataFrame({"item": np.arange(n).astype(str), "a": "m", "b": "n", "judge": judge,
                         "winner": np.where(generator.random(n) < p, "a", "b"), **columns})  # fmt: skip


def test_that_the_weights_are_the_minimum_of_the_penalised_likelihood() -> None:
    generator = np.random.default_rng(0)
    signed, counts = generator.normal(size=(80, 3)), generator.integers(0, 3, (2, 80)).astype(float)

    def loss(parts: np.ndarray, w: np.ndarray, prior: float) -> float:
        # Twice as many weights, none negative, make the absolute values smooth.
        weights = parts[:3] - parts[3:]
        return float(w @ np.logaddexp(0, -signed @ weights) + parts.sum() / prior)

    for prior in (0.1, 2.0):
        found = laplace_logistic(signed, counts, prior)
        for row, w in zip(found, counts, strict=True):
            best = optimize.minimize(loss, np.full(6, 0.1), (w, prior), bounds=[(0, None)] * 6, tol=1e-12)
            np.testing.assert_allclose(row, best.x[:3] - best.x[3:], atol=2e-4)


def test_that_intervals_cover_known_weights_as_often_as_they_say() -> None:
    truth = np.array([1.2, -0.6, 0.0])
    covered = 0
    for seed in range(20):
        result = AttributesQuestion(prior=100.0, draws=100).answer(store_of(judged(400, seed=seed), "comparisons"))
        covered += int(((result.low[0] <= truth) & (truth <= result.high[0])).sum())
    # 60 intervals of 95 %: fewer than 51 have a chance below 0.001.
    assert covered >= 51


def test_that_a_strong_prior_leaves_a_weight_of_nothing_at_zero() -> None:
    small = drawn(AttributesQuestion(prior=0.01, draws=100), judged(), attributes.figure, "comparisons")
    assert small.weights[0, 2] == 0
    assert small.estimates["x0"].value == pytest.approx(1 / (1 + np.exp(-small.weights[0, 0])))
    assert small.weights[0, 0] > 0


def test_that_swapping_the_two_answers_changes_nothing() -> None:
    frame = judged(400)
    names = [name[:-2] for name in frame.columns if name.startswith("x") and name.endswith("_a")]
    swapped = frame.rename(columns={f"{n}_{one}": f"{n}_{two}" for n in names for one, two in (("a", "b"), ("b", "a"))})
    swapped = swapped.assign(winner=frame["winner"].map({"a": "b", "b": "a"}))
    one, two = (
        drawn(AttributesQuestion(draws=100), part, attributes.figure, "comparisons") for part in (frame, swapped)
    )
    np.testing.assert_allclose(one.weights, two.weights, atol=1e-6)


def test_that_judges_who_pay_alike_correlate_and_opposites_do_not() -> None:
    frame = pd.concat([judged(1500, (1.0, -1, 0.5), 1, "one"), judged(1500, (1.0, -1, 0.5), 2, "two"),
                       judged(1500, (-1.0, 1, -0.5), 3, "other")])  # fmt: skip
    result = drawn(AttributesQuestion(draws=100), frame, attributes.figure, "comparisons")
    at = result.judges.index
    assert result.similarity[at("one"), at("two")] > 0.9
    assert result.similarity[at("one"), at("other")] < -0.9


def test_that_the_variance_inflation_is_statsmodels_and_a_warning_says_what_goes_together() -> None:
    generator = np.random.default_rng(2)
    x = generator.normal(size=(200, 3))
    x[:, 2] = x[:, 0] + 0.1 * generator.normal(size=200)
    x -= x.mean(axis=0)
    np.testing.assert_allclose(variance_inflation(x), [variance_inflation_factor(x, i) for i in range(3)])
    frame = judged(500).assign(attr=0).drop(columns="attr")
    frame["x1_a"], frame["x1_b"] = frame["x0_a"], frame["x0_b"]
    result = drawn(AttributesQuestion(draws=100), frame, attributes.figure, "comparisons")
    assert any("VIF" in note for note in result.notes)


def test_that_pairs_with_one_number_are_left_out_and_none_is_refused() -> None:
    frame = rewards([1.0, 2.0, np.nan], [0.0, np.nan, np.nan])
    pairs = pairs_of(store_of(frame), "score_chosen", "score_rejected")
    assert pairs.frame["item"].tolist() == ["i0"]
    assert any("1 pair left out: one of the two numbers" in note for note in pairs.notes)
    with pytest.raises(TooLittleData, match="pairs with both numbers"):
        pairs_of(store_of(rewards([np.nan], [1.0])), "score_chosen", "score_rejected")
    with pytest.raises(TooLittleData, match="number for the preferred"):
        pairs_of(store_of(frame), "", "")
    with pytest.raises(AnalysisError, match="No open table has the columns 'x' and 'y'"):
        pairs_of(store_of(frame), "x", "y")
    with pytest.raises(AnalysisError, match="no column called 'prompt'"):
        pairs_of(store_of(frame), "score_chosen", "score_rejected", about=("", "prompt"))


def test_that_log_probabilities_are_those_of_one_model() -> None:
    one, two = log_probabilities(50, seed=1), log_probabilities(50, seed=2)
    both = store_of(pd.concat([one.assign(model="one"), two.assign(model="two")]))
    paths = pair_paths(both, ("logp_w", "logp_l"), model="two")
    np.testing.assert_allclose(paths.values["logp_w"].ravel(), two["logp_w"])
    assert "Model: two (not one)." in paths.notes
    assert pair_paths(both, ("logp_w", "logp_l")).values["logp_w"][0, 0] == one["logp_w"][0]
    for store in (both, store_of(one.assign(model="one"))):
        with pytest.raises(AnalysisError, match="No pair is of 'three'"):
            pair_paths(store, ("logp_w", "logp_l"), model="three")
    with pytest.raises(AnalysisError, match="no column called 'tick'"):
        pair_paths(both, ("logp_w", "logp_l"), along="tick")
    with pytest.raises(TooLittleData, match="pairs with log-probabilities"):
        pair_paths(store_of(one.assign(logp_w=np.nan)), ("logp_w", "logp_l"))
    apart = one[(one["step"] == 0) == (one["item"].astype(int) < 25)]
    with pytest.raises(TooLittleData, match="at every step"):
        pair_paths(store_of(apart), ("logp_w", "logp_l"))


def test_that_weights_per_standard_deviation_are_those_of_the_columns_times_it() -> None:
    # Without a prior to speak of, the fit does not care for the unit of a column.
    generator = np.random.default_rng(3)
    gap = generator.normal(size=(2000, 2)) * [1.0, 40.0]
    won = generator.random(2000) < 1 / (1 + np.exp(-gap @ [0.8, -0.02]))
    frame = pd.DataFrame({"item": np.arange(2000).astype(str), "a": "m", "b": "n", "winner": np.where(won, "a", "b"),
                          "attr.tone": gap[:, 0], "attr.length": gap[:, 1]})  # fmt: skip
    plain, scaled = (
        drawn(AttributesQuestion(scale=scale, prior=1e5, draws=100), frame, attributes.figure, "comparisons")
        for scale in ("as they are", "sd")
    )
    assert plain.attributes == ("attr.tone", "attr.length")
    np.testing.assert_allclose(scaled.weights, plain.weights * gap.std(axis=0), rtol=1e-3)
    assert any("one standard deviation" in note for note in scaled.notes)


def test_that_attributes_are_asked_for_by_names_that_are_there() -> None:
    frame = judged(60).assign(dimension="tone", empty_a=np.nan, empty_b=1.0)

    def asked(**options: Any) -> Any:
        return AttributesQuestion(draws=100, **options).answer(store_of(frame, "comparisons"))

    assert asked(attributes=("x1",), judge="j", dimension="tone").attributes == ("x1",)
    np.testing.assert_array_equal(asked(attributes=("x1",)).tables["weights"]["vif"], [1.0])
    with pytest.raises(AnalysisError, match="neither 'y' nor y_a and y_b"):
        asked(attributes=("y",))
    with pytest.raises(AnalysisError, match="No comparison has judge 'k'"):
        asked(judge="k")
    with pytest.raises(TooLittleData, match="decided comparisons with attributes"):
        asked(attributes=("empty",))
    frame = frame.assign(winner="tie")
    with pytest.raises(TooLittleData, match="that one side won"):
        asked()
    frame = judged(60)[["item", "a", "b", "judge", "winner"]]
    with pytest.raises(TooLittleData, match="attributes of the two answers"):
        asked()
    many = pd.DataFrame(np.ones((60, 60)), columns=[f"attr.{i}" for i in range(60)])
    frame = pd.concat([judged(60), many], axis=1)
    with pytest.raises(AnalysisError, match="too many to tell apart"):
        asked()
