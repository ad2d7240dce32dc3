from __future__ import annotations

import json
import math
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from runglass.analysis.answer_sheet import AnswersQuestion, answer_sheet
from runglass.analysis.cost import compression, energy, latency_model, matched_budget, utility
from runglass.analysis.cost.compression import CompressionQuestion
from runglass.analysis.cost.energy import EnergyQuestion
from runglass.analysis.cost.latency_model import LatencyQuestion
from runglass.analysis.cost.matched_budget import MatchedBudgetQuestion
from runglass.analysis.cost.utility import UtilityQuestion, marginal_rates, mean_win_rate
from runglass.analysis.sampling import active_testing, best_model
from runglass.analysis.sampling.active_testing import ActiveTestingQuestion, expected_loss, lure_weights
from runglass.analysis.sampling.best_model import BestModelQuestion, query_entropies
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


# Active testing


def test_that_uniform_chances_weigh_every_draw_alike_and_so_do_all_items() -> None:
    items = 30
    for count in (1, 7, 29):
        chance = 1 / (items - np.arange(1, count + 1) + 1)
        np.testing.assert_allclose(lure_weights(chance, items), 1.0)
    generator = np.random.default_rng(0)
    np.testing.assert_allclose(lure_weights(generator.random(items), items), 1.0)


def test_that_the_weighted_mean_is_unbiased_over_every_order_of_drawing() -> None:
    # All ordered draws of 2 of 4 items, each with its exact chance.
    loss, weight = np.array([0.2, 1.0, 0.0, 0.7]), np.array([0.1, 0.6, 0.1, 0.2])
    total = plain = 0.0
    for first in range(4):
        for second in (i for i in range(4) if i != first):
            q = np.array([weight[first], weight[second] / (1 - weight[first])])
            chance, losses = q.prod(), loss[[first, second]]
            total += chance * float((lure_weights(q, 4) * losses).mean())
            plain += chance * float(losses.mean())
    assert total == pytest.approx(loss.mean())
    assert plain != pytest.approx(loss.mean(), abs=0.01)


def confident(n: int = 600, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    sure = generator.beta(4, 1, n)
    return pd.DataFrame({"item": np.arange(n).astype(str), "version": "v", "confidence": sure,
                         "correct": (generator.random(n) < sure).astype(float)})  # fmt: skip


def test_that_drawing_likely_mistakes_errs_less_than_random_draws_and_covers_the_truth() -> None:
    frame = confident()
    result = drawn(ActiveTestingQuestion(labels=80), frame, active_testing.figure)
    assert result.truth == frame["correct"].mean()
    assert result.errors["active"][-1] < result.errors["random"][-1]
    assert result.estimates["worth"].low > 1
    assert result.estimates["accuracy"].value == pytest.approx(result.truth, abs=0.01)
    # Random draws without replacement have the error of the survey sample: S sqrt(1 / M - 1 / N).
    expected = frame["correct"].std(ddof=1) * math.sqrt(1 / 80 - 1 / 600)
    assert result.errors["random"][-1] == pytest.approx(expected, rel=0.12)
    assert result.estimates["coverage"].high > 0.9


def test_that_a_surrogate_that_is_wrong_still_leads_to_the_truth() -> None:
    generator = np.random.default_rng(1)
    frame = confident()
    other = frame.assign(version="s", confidence=generator.random(600))
    result = drawn(ActiveTestingQuestion(version="v", surrogate="s", labels=80, uniform=0.3), pd.concat([frame, other]),
                   active_testing.figure)  # fmt: skip
    assert result.estimates["accuracy"].value == pytest.approx(result.truth, abs=0.015)


def test_that_logged_draws_are_weighed_by_their_chances() -> None:
    generator = np.random.default_rng(2)
    n, count = 400, 60
    wrong = generator.random(n) < 0.2
    weight = np.where(wrong, 4.0, 1.0)
    left, order, chance = np.ones(n, bool), [], []
    for _ in range(count):
        p = np.where(left, weight, 0) / weight[left].sum()
        pick = int(generator.choice(n, p=p))
        order.append(pick)
        chance.append(p[pick])
        left[pick] = False
    frame = pd.DataFrame({"item": np.array(order).astype(str), "draw": np.arange(count), "q": chance,
                          "correct": 1.0 - wrong[order]})  # fmt: skip
    result = drawn(ActiveTestingQuestion(items=n), frame, active_testing.figure)
    expected = 1 - float((lure_weights(np.array(chance), n) * wrong[order]).mean())
    one = result.estimates["accuracy"]
    assert one.value == pytest.approx(expected)
    assert one.low < 1 - wrong.mean() < one.high
    assert result.estimates["accuracy_unweighted"].high < 1 - wrong.mean()


def test_that_items_that_can_never_be_drawn_are_refused() -> None:
    frame = confident(50).assign(confidence=lambda f: f["confidence"].where(f.index > 3, 1.0))
    with pytest.raises(AnalysisError, match="never be drawn"):
        ActiveTestingQuestion(uniform=0.0).resolved(store_of(frame)).answer(store_of(frame))


# Best model


def test_that_the_expected_entropy_is_that_of_the_posterior_after_each_label() -> None:
    generator = np.random.default_rng(0)
    answers = generator.integers(0, 3, (20, 5))
    posterior = generator.dirichlet(np.ones(5))
    onehot = (answers[:, None, :] == np.arange(3)[None, :, None]).astype(float)
    for gamma in (1.2, 5.0):
        expected = [np.mean([stats.entropy(posterior * gamma ** (row == c)) for c in range(3)]) for row in answers]
        np.testing.assert_allclose(query_entropies(onehot, posterior, gamma), expected)


def classifiers(accuracies: dict[str, float], n: int = 400, seed: int = 0, classes: int = 3) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    label, hard = generator.integers(0, classes, n), generator.random(n)
    frames = []
    for name, accuracy in accuracies.items():
        # All are right on the easy items; they differ on the hard ones.
        right = hard < accuracy
        answer = np.where(right, label, (label + generator.integers(1, classes, n)) % classes)
        frames.append(pd.DataFrame({"item": np.arange(n).astype(str), "model": name, "label": label.astype(str),
                                    "prediction": answer.astype(str), "correct": right.astype(float)}))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def test_that_telling_items_find_the_best_model_with_a_fraction_of_the_labels() -> None:
    frame = classifiers({"a": 0.80, "b": 0.85, "c": 0.90})
    result = drawn(BestModelQuestion(labels=60, repeats=20), frame, best_model.figure)
    assert result.best == "c"
    assert result.estimates["p_best"].value == 1
    assert result.estimates["labels_needed"].value < 10
    assert result.estimates["labels_needed_random"].value > 3 * result.estimates["labels_needed"].value
    assert result.estimates["regret"].value == 0


def test_that_before_any_label_every_model_is_as_likely() -> None:
    result = drawn(BestModelQuestion(labels=5, repeats=10), classifiers({"a": 0.7, "b": 0.8}), best_model.figure)
    assert result.chances["chosen"][0, 0] == pytest.approx(0.5)
    assert result.regrets["chosen"][0, 0] == pytest.approx(result.regrets["random"][0, 0])


def test_that_epsilon_is_tuned_without_labels() -> None:
    result = drawn(
        BestModelQuestion(labels=20, repeats=5, epsilon=None), classifiers({"a": 0.7, "b": 0.8}), best_model.figure
    )
    assert 0.35 <= result.epsilon <= 0.48
    assert any("majority vote" in note for note in result.notes)


# Latency


def requests(n: int = 400, seed: int = 0, noise: float = 0.0, model: str = "m") -> pd.DataFrame:
    """Prompts cost nothing up to 100 tokens, then 2 ms each; outputs 30 ms each; queues add now and then."""
    generator = np.random.default_rng(seed)
    p, o = generator.integers(1, 9, n) * 50, generator.integers(1, 11, n) * 10
    time = 0.1 + 0.002 * np.maximum(p - 100, 0) + 0.03 * o + noise * generator.exponential(1, n)
    return pd.DataFrame({"item": np.arange(n).astype(str), "model": model, "prompt_tokens": p, "output_tokens": o,
                         "runtime": time})  # fmt: skip


def test_that_a_piecewise_linear_law_is_recovered_exactly() -> None:
    result = drawn(LatencyQuestion(draws=100), requests(), latency_model.figure)
    assert result.estimates["per_output_token"].value == pytest.approx(0.03, rel=1e-3)
    fit = result.fits[0]
    assert (np.diff(fit.at_knots) >= -1e-12).all()
    assert fit.ideal(np.array([400.0]), np.array([50.0]))[0] == pytest.approx(0.1 + 0.6 + 1.5, rel=0.02)


def test_that_queues_raise_the_mean_and_not_the_ideal() -> None:
    frame = pd.concat([requests(seed=s, noise=0.5).assign(item=lambda f, s=s: f["item"] + f"-{s}") for s in range(6)])
    result = drawn(LatencyQuestion(draws=100), frame, latency_model.figure)
    found = result.estimates["per_output_token"]
    assert found.value == pytest.approx(0.03, rel=0.08)
    usual = (
        0.1
        + 0.002 * max(float(frame["prompt_tokens"].median()) - 100, 0)
        + 0.03 * float(frame["output_tokens"].median())
    )
    assert result.estimates["usual_request"].value < usual + 0.15
    assert result.estimates["waiting"].value > 0.2


def test_that_accelerators_and_a_price_make_a_cost() -> None:
    frame = requests().assign(n_gpus=4)
    plain = drawn(LatencyQuestion(draws=100), frame, latency_model.figure)
    priced = drawn(LatencyQuestion(draws=100, price=36.0), frame, latency_model.figure)
    usual = plain.estimates["usual_request"].value
    assert plain.estimates["cost"].value == pytest.approx(4 * usual)
    assert priced.estimates["cost"].value == pytest.approx(4 * usual * 0.01)


def test_that_models_are_fitted_apart_and_requests_without_times_left_out() -> None:
    frame = pd.concat(
        [requests(), requests(seed=1, model="n").assign(runtime=lambda f: 2 * f["runtime"])], ignore_index=True
    )
    frame.loc[0, "runtime"] = math.nan
    result = drawn(LatencyQuestion(draws=100), frame, latency_model.figure)
    assert result.estimates["n/per_output_token"].value == pytest.approx(0.06, rel=1e-3)
    assert any("1 request left out" in note for note in result.notes)


def test_that_without_columns_it_says_which() -> None:
    with pytest.raises(TooLittleData, match="tokens that came out"):
        LatencyQuestion().answer(store_of(pd.DataFrame({"item": ["a"], "correct": [1.0]})))


# Energy


def test_that_energy_is_a_plane_of_tokens_and_a_right_answer_costs_more() -> None:
    generator = np.random.default_rng(0)
    frame = requests()
    frame["energy_j"] = (
        5 + 2 * frame["output_tokens"] + 0.1 * frame["prompt_tokens"] + generator.normal(0, 1, len(frame))
    )
    frame["correct"] = (generator.random(len(frame)) < 0.25).astype(float)
    result = drawn(EnergyQuestion(level=0.999), frame, energy.figure)
    fit = np.linalg.lstsq(np.column_stack([np.ones(400), frame["output_tokens"], frame["prompt_tokens"]]), frame["energy_j"],
                          rcond=None)[0]  # fmt: skip
    found = [result.estimates[name].value for name in ("per_request", "per_output_token", "per_prompt_token")]
    np.testing.assert_allclose(found, fit)
    assert result.estimates["per_output_token"].low < 2 < result.estimates["per_output_token"].high
    assert result.estimates["per_right_answer"].value == pytest.approx(
        frame["energy_j"].mean() / frame["correct"].mean()
    )
    assert result.estimates["r2"].value > 0.99


def test_that_idle_power_is_taken_off_where_times_are_known() -> None:
    frame = requests().assign(energy_j=lambda f: 3 * f["output_tokens"] + 50 * f["runtime"])
    result = drawn(EnergyQuestion(draws=100, idle=50.0, runtime="runtime"), frame, energy.figure)
    assert result.estimates["per_output_token"].value == pytest.approx(3)
    assert result.estimates["per_request"].value == pytest.approx(0, abs=1e-6)
    with pytest.raises(AnalysisError, match="needs the time"):
        EnergyQuestion(idle=50.0).resolved(store_of(frame)).answer(store_of(frame))


def test_that_hardware_is_told_apart() -> None:
    one = requests().assign(energy_j=lambda f: 1.0 * f["output_tokens"], hardware="h1")
    two = requests().assign(energy_j=lambda f: 3.0 * f["output_tokens"], hardware="h2")
    result = drawn(EnergyQuestion(draws=100), pd.concat([one, two]), energy.figure)
    assert result.estimates["h2/per_output_token"].value == pytest.approx(
        3 * result.estimates["h1/per_output_token"].value
    )


# Matched budget


def tried(rates: dict[str, tuple[float, int, float]], items: int = 120, seed: int = 0) -> pd.DataFrame:
    """Models with a chance to be right, a number of attempts and a price."""
    generator = np.random.default_rng(seed)
    frames = []
    for name, (p, attempts, price) in rates.items():
        right = generator.random((items, attempts)) < p
        answer = np.where(right, generator.integers(0, 4, right.shape), -1)
        frames.append(pd.DataFrame({
            "item": np.repeat(np.arange(items), attempts).astype(str), "sample": np.tile(np.arange(attempts), items),
            "model": name, "correct": right.ravel().astype(float), "cost": price, "prediction": answer.ravel().astype(str),
            "pass_weak": (right | (generator.random(right.shape) < 0.1)).ravel().astype(float)}))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def test_that_a_budget_buys_as_many_attempts_as_its_price_allows() -> None:
    frame = tried({"weak": (0.1, 12, 1.0), "strong": (0.3, 4, 3.0)})
    result = drawn(MatchedBudgetQuestion(draws=200), frame, matched_budget.figure)
    assert result.common == 12
    counts = frame.groupby(["model", "item"])["correct"].sum()
    for name, n, k in (("weak", 12, 12), ("strong", 4, 4)):
        expected = np.mean([1 - math.comb(n - int(c), k) / math.comb(n, k) for c in counts[name]])
        assert result.estimates[f"{name}/coverage"].value == pytest.approx(expected)
    at = result.budgets.tolist().index(6.0)
    expected = np.mean([1 - math.comb(4 - int(c), 2) / math.comb(4, 2) for c in counts["strong"]])
    assert result.coverage[0, result.attempts.names.index("strong"), at] == pytest.approx(expected)


@given(st.lists(st.sampled_from("xxyz-"), min_size=3, max_size=6), st.integers(1, 3))
@settings(deadline=None, max_examples=40)
def test_that_diversity_is_the_mean_number_of_different_right_answers_in_a_draw(answers: list[str], k: int) -> None:
    n = len(answers)
    rows = [{"item": "i", "sample": i, "model": "m", "cost": 1.0, "prediction": a, "correct": float(a != "-")}
            for i, a in enumerate(answers)]  # fmt: skip
    other = [row | {"model": "n"} for row in rows]
    result = MatchedBudgetQuestion(draws=100, budget=float(k)).answer(store_of(pd.DataFrame(rows + other)))
    expected = np.mean([len({answers[i] for i in draw} - {"-"}) for draw in combinations(range(n), k)])
    at = result.budgets.tolist().index(float(k))
    assert result.diversity[0, 0, at] == pytest.approx(expected)


def test_that_false_positives_and_regret_are_told_by_model() -> None:
    frame = tried({"weak": (0.1, 12, 1.0), "strong": (0.3, 4, 3.0)})
    result = drawn(MatchedBudgetQuestion(draws=100), frame, matched_budget.figure)
    own = frame[(frame["model"] == "weak") & (frame["pass_weak"] == 1)]
    assert result.estimates["weak/false_positives"].value == pytest.approx(1 - own["correct"].mean())
    top = result.coverage[0, :, result.budgets.tolist().index(12.0)].max()
    places = [result.budgets.tolist().index(b) for b in (3.0, 6.0, 9.0, 12.0)]
    expected = (top - result.coverage[0, result.attempts.names.index("weak"), places]).sum()
    assert result.estimates["weak/regret"].value == pytest.approx(expected)


def test_that_too_few_cheap_attempts_are_said_and_not_extrapolated() -> None:
    frame = tried({"weak": (0.1, 2, 1.0), "strong": (0.3, 4, 3.0)})
    with pytest.raises(TooLittleData, match="worth one of strong"):
        MatchedBudgetQuestion().resolved(store_of(frame)).answer(store_of(frame))
    with pytest.raises(AnalysisError, match="No budget above"):
        MatchedBudgetQuestion(budget=99.0, prices=("weak=1", "strong=2")).answer(store_of(frame))


# Utility


def test_that_rates_are_means_over_neighbours_that_differ() -> None:
    values = np.array([[90.0, 10], [80, 14], [80.001, 99], [70, 16]])
    # Neighbours in performance: 70 to 80, 80 to 80.001 (too close), 80.001 to 90.
    np.testing.assert_allclose(marginal_rates(values), [1.0, (2 / 10 + 89 / 9.999) / 2])


def test_that_the_score_is_the_weighted_sum_over_rates() -> None:
    frame = pd.DataFrame([{"model": m, "task": "t", "metric": k, "value": v, "higher_is_better": k == "accuracy", "n": 500}
                          for m, a, c in (("x", 0.9, 12.0), ("y", 0.8, 8.0), ("z", 0.7, 3.0))
                          for k, v in (("accuracy", a), ("memory", c))])  # fmt: skip
    result = drawn(UtilityQuestion(performance_weight=0.75, draws=300), frame, utility.figure, "scores")
    # Memory: 12 less what is used; 4 and 5 saved for 0.1 of accuracy each.
    rate = (4 / 0.1 + 5 / 0.1) / 2
    expected = [0.75 * a + 0.25 * (12 - c) / rate for a, c in ((0.9, 12), (0.8, 8), (0.7, 3))]
    found = [result.estimates[f"{name}/score"].value for name in ("x", "y", "z")]
    np.testing.assert_allclose(found, expected)
    total = sum(result.estimates[f"{name}/first_of_weights"].value for name in ("x", "y", "z"))
    assert total == pytest.approx(1)
    # Two metrics: a flat weight w is uniform, x is first where w exceeds the crossing with z.
    crossing = (9 / rate) / (0.2 + 9 / rate)
    assert result.estimates["x/first_of_weights"].value == pytest.approx(1 - crossing, abs=0.07)


def test_that_leaving_a_model_out_may_change_the_winner_and_is_told() -> None:
    frame = pd.DataFrame([{"model": m, "task": "t", "metric": k, "value": v, "higher_is_better": True, "n": 500}
                          for m, a, c in (("x", 0.9, 1.0), ("y", 0.6, 2.0), ("z", 0.59, 9.0))
                          for k, v in (("accuracy", a), ("speed", c))])  # fmt: skip
    result = drawn(UtilityQuestion(draws=200), frame, utility.figure, "scores")
    table = result.tables["removal"].set_index("left_out")
    assert set(table.index) == {"x", "y", "z"}
    assert result.estimates["winners_by_removal"].value == table["winner_changes"].mean()


def test_that_the_mean_win_rate_is_over_scenarios_with_ties_half() -> None:
    good = np.array([[3.0, 1, 1], [2, 2, 1], [1, 3, math.nan]])
    np.testing.assert_allclose(mean_win_rate(good), [(1 + 0 + 0.5) / 3, (0.5 + 0.5 + 0.5) / 3, (0 + 1) / 2])


def test_that_costs_of_models_are_metrics_and_offsets_can_be_given() -> None:
    frame = pd.DataFrame(
        {"model": ["x", "y"], "task": "t", "value": [0.9, 0.8], "higher_is_better": True, "params": [4e6, 1e6]}
    )
    result = drawn(UtilityQuestion(draws=100, offsets=("params=8e6",)), frame, utility.figure, "scores")
    np.testing.assert_allclose(result.data.values[:, 1], [4e6, 7e6])
    with pytest.raises(AnalysisError, match="names no metric"):
        UtilityQuestion(offsets=("nothing=1",)).answer(store_of(frame, "scores"))


# Compression


def compressed() -> pd.DataFrame:
    rows = []
    for task, full in (("t1", 0.85), ("t2", 0.75)):
        rows.append({"model": "m", "task": task, "value": full, "method": "fp16", "bits": 16, "n": 1000})
        for method, loss in (("gptq", 0.1), ("rtn", 0.3)):
            rows += [{"model": "m", "task": task, "value": 0.25 + (full - 0.25) * (1 - loss * (8 - bits) / 4), "method": method,
                      "bits": bits, "n": 1000} for bits in (4, 8)]  # fmt: skip
    return pd.DataFrame(rows).assign(metric="acc", higher_is_better=True)


def test_that_what_is_kept_is_the_share_above_chance() -> None:
    result = drawn(CompressionQuestion(chance=0.25, draws=300), compressed(), compression.figure, "scores")
    found = result.tables["retention"].set_index(["variant", "task"])["kept"]
    assert found[("gptq 4 bits", "t1")] == pytest.approx(0.9)
    assert found[("rtn 4 bits", "mean")] == pytest.approx(0.7)
    assert found[("rtn 8 bits", "t2")] == pytest.approx(1.0)
    plain = drawn(CompressionQuestion(draws=100), compressed(), compression.figure, "scores")
    assert plain.estimates["rtn 4 bits"].value > result.estimates["rtn 4 bits"].value


def test_that_two_methods_are_compared_over_the_bits_that_both_cover() -> None:
    result = drawn(CompressionQuestion(chance=0.25, draws=300), compressed(), compression.figure, "scores")
    # Straight lines from 0.9 and 0.7 at 4 bits to 1 at 8: half of 0.2.
    assert result.estimates["gptq above rtn"].value == pytest.approx(0.1)


def test_that_the_spread_of_a_share_is_that_of_two_binomials() -> None:
    frame = compressed()[lambda f: f["task"] == "t1"]
    result = drawn(CompressionQuestion(draws=4000), frame, compression.figure, "scores")
    one = result.estimates["rtn 4 bits"]
    full, low = 0.85, 0.25 + 0.6 * 0.7
    relative = math.sqrt((1 - low) / low / 1000 + (1 - full) / full / 1000)
    assert (one.high - one.low) / (2 * 1.96) == pytest.approx(one.value * relative, rel=0.1)


def test_that_predictions_are_paired_with_the_full_model() -> None:
    generator = np.random.default_rng(0)
    hard = generator.random(1000)
    rows = {"item": np.arange(1000).astype(str), "group": np.where(np.arange(1000) % 2, "odd", "even")}
    frames = [pd.DataFrame({"version": name, "bits": bits, "correct": (hard < p).astype(float), **rows})
              for name, bits, p in (("full", 16, 0.8), ("q8", 8, 0.79), ("q4", 4, 0.6))]  # fmt: skip
    frame = pd.concat(frames, ignore_index=True)
    result = drawn(CompressionQuestion(read="predictions", draws=500), frame, compression.figure)
    right = frame.pivot_table(index="item", columns="version", values="correct")
    group = frame.drop_duplicates("item").set_index("item")["group"]
    expected = np.mean(
        [right.loc[group == g, "q4"].mean() / right.loc[group == g, "full"].mean() for g in ("odd", "even")]
    )
    name = next(variant for variant in result.retained.variants if "4" in variant)
    assert result.estimates[name].value == pytest.approx(expected)
    # Paired: the interval of q8 is far narrower than of two samples.
    other = next(variant for variant in result.retained.variants if "8" in variant)
    one = result.estimates[other]
    assert one.high - one.low < 0.03


def test_that_without_a_full_model_it_says_so() -> None:
    frame = compressed()[lambda f: f["method"] != "fp16"].assign(bits=math.nan)
    with pytest.raises(TooLittleData, match="not compressed"):
        CompressionQuestion().resolved(store_of(frame, "scores")).answer(store_of(frame, "scores"))


def test_that_costs_beside_several_metrics_are_metrics_and_weights_share_what_performance_leaves() -> None:
    frame = pd.DataFrame([{"model": m, "task": "t", "metric": k, "value": v, "higher_is_better": True, "n": 500, "params": p}
                          for m, a, s, p in (("x", 0.9, 3.0, 8e6), ("y", 0.8, 2.0, 4e6), ("z", 0.6, 5.0, 1e6))
                          for k, v in (("accuracy", a), ("speed", s))])  # fmt: skip
    question = UtilityQuestion(weights=("speed=1", "params=3"), performance_weight=0.6, draws=100)
    result = drawn(question, frame, utility.figure, "scores")
    assert result.data.metrics == ("accuracy", "speed", "params")
    np.testing.assert_allclose(result.data.values[:, 2], [0, 4e6, 7e6])  # the dearest is worth nothing
    rates = [1.0, (3 / 0.2 + 1 / 0.1) / 2, (3e6 / 0.2 + 4e6 / 0.1) / 2]
    expected = result.data.values / rates @ [0.6, 0.1, 0.3]
    found = [result.estimates[f"{name}/score"].value for name in "xyz"]
    np.testing.assert_allclose(found, expected)
    for options, said in (
        ({"performance": "nowhere"}, "No metric is called 'nowhere'"),
        ({"weights": ("speed=-1",)}, "is below 0"),
        ({"weights": ("speed=0", "params=0")}, "All other weights are 0"),
        ({"weights": ("speed=fast",)}, "is not METRIC=NUMBER"),
        ({"costs": ("nowhere",)}, "no column called 'nowhere'"),
    ):
        with pytest.raises(AnalysisError, match=said):
            UtilityQuestion(**options).answer(store_of(frame, "scores"))  # type: ignore[arg-type]
    holes = frame[~((frame["model"] == "y") & (frame["metric"] == "speed"))]
    assert any(
        "1 model left out: some metric" in note for note in drawn(question, holes, utility.figure, "scores").notes
    )
    with pytest.raises(TooLittleData, match="with every metric"):
        question.answer(store_of(holes[holes["model"] != "z"], "scores"))


def test_that_models_of_one_performance_have_no_rate_and_one_alone_no_win_rate() -> None:
    assert np.isnan(marginal_rates(np.array([[80.0, 10], [80.0, 14]]))).all()
    assert np.isnan(mean_win_rate(np.array([[3.0, 1]]))).all()
    level = pd.DataFrame(
        {"model": ["x", "y"], "task": "t", "value": 0.8, "higher_is_better": True, "params": [4e6, 1e6]}
    )
    with pytest.raises(TooLittleData, match="performance differs"):
        UtilityQuestion().answer(store_of(level, "scores"))
    unknown = level.assign(value=[0.9, 0.8], params=[4e6, np.nan], flops=[1.0, 2.0])
    with pytest.raises(TooLittleData, match="with every cost"):
        UtilityQuestion(costs=("params", "flops")).answer(store_of(unknown, "scores"))


def test_that_budgets_need_prices_and_items_that_all_tried() -> None:
    frame = tried({"weak": (0.1, 12, 1.0), "strong": (0.3, 4, 3.0)})
    for rows, options, said in (
        (frame.drop(columns="cost"), {}, "cost of an attempt"),
        (frame[frame["model"] == "weak"], {}, "attempts of at least 2 models"),
        (frame, {"prices": ("weak=1",)}, "'strong' has no price"),
        (frame, {"prices": ("weak=1", "strong=dear")}, "A price is no number"),
        (frame, {"prices": ("weak=1", "strong=0")}, "cost above 0 of every model"),
        (frame[(frame["model"] == "weak") == (frame["item"].astype(int) < 60)], {}, "that every model tried"),
    ):
        with pytest.raises(AnalysisError, match=said):
            MatchedBudgetQuestion(draws=100, **options).answer(store_of(rows))  # type: ignore[arg-type]
    some = frame[(frame["model"] == "weak") | (frame["item"].astype(int) < 60)].drop(columns="prediction")
    result = drawn(MatchedBudgetQuestion(draws=100), some, matched_budget.figure)
    assert "60 items left out: not tried by every model." in result.notes
    assert np.isnan(result.diversity).all()
    named = drawn(MatchedBudgetQuestion(draws=100, prices=("weak=1", "strong=3")), frame, matched_budget.figure)
    own = drawn(MatchedBudgetQuestion(draws=100), frame, matched_budget.figure)
    assert named.estimates["weak/coverage"].value == own.estimates["weak/coverage"].value


def test_that_the_full_model_may_be_named_or_is_that_of_most_bits() -> None:
    frame = compressed().replace({"method": {"fp16": "gptq"}})
    widest = drawn(CompressionQuestion(chance=0.25, draws=100), frame, compression.figure, "scores")
    assert widest.estimates["rtn 4 bits"].value == pytest.approx(0.7)
    named = drawn(CompressionQuestion(chance=0.25, draws=100, full="16"), frame, compression.figure, "scores")
    assert named.estimates["rtn 4 bits"].value == pytest.approx(0.7)
    plain = drawn(CompressionQuestion(draws=100), compressed().drop(columns="n"), compression.figure, "scores")
    assert not plain.estimates["rtn 4 bits"].has_interval
    for rows, options, said in (
        (compressed(), {"method": "nowhere"}, "no column called 'nowhere'"),
        (compressed().assign(higher_is_better=False), {}, "Lower is better"),
        (compressed()[lambda f: f["method"] == "fp16"], {}, "of a compressed model"),
    ):
        question = CompressionQuestion(draws=100, **options)  # type: ignore[arg-type]
        with pytest.raises(AnalysisError, match=said):
            question.resolved(store_of(rows, "scores")).answer(store_of(rows, "scores"))


def test_that_labels_are_drawn_where_a_surrogate_that_disagrees_is_sure() -> None:
    def sheet(*answers: str) -> pd.DataFrame:
        return pd.DataFrame(
            {"item": list("ab"), "prediction": list(answers), "label": ["x", "x"], "confidence": [0.9, 0.6]}
        )

    frame = pd.concat([sheet("x", "y").assign(version="v"), sheet("x", "x").assign(version="s")])
    other = sheet("z", "z").assign(version="t")
    made = answer_sheet(
        store_of(pd.concat([frame, other])), AnswersQuestion(by="version"), ("v", "s", "t"), common=True
    )
    # The same answer: 1 - 0.9. Another of three: 0.4 is left for the two that it did not give.
    np.testing.assert_allclose(expected_loss(made, made.column("v"), made.column("s")), [0.1, 1 - 0.4 / 2])


def test_that_active_testing_says_what_it_lacks() -> None:
    logged = pd.DataFrame(
        {"item": list("abc"), "version": "v", "correct": 1.0, "drawn": [1.0, 2.0, 3.0], "chance": 0.3}
    )
    for rows, options, said in (
        (logged, {"drawn": "drawn", "chance": "nowhere"}, "no column called 'nowhere'"),
        (logged.head(1), {"drawn": "drawn", "chance": "chance"}, "at least 2 drawn items"),
        (logged.assign(chance=1.5), {"drawn": "drawn", "chance": "chance"}, "no chances"),
        (logged, {"drawn": "drawn", "chance": "chance", "items": 2}, "more draws than items"),
        (confident(10), {}, "at least 20 items"),
        (confident(50).drop(columns="confidence"), {}, "confidence of a surrogate"),
    ):
        question = ActiveTestingQuestion(**options)  # type: ignore[arg-type]
        with pytest.raises(AnalysisError, match=said):
            question.resolved(store_of(rows)).answer(store_of(rows))
