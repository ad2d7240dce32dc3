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

from runglass.analysis.attempts import pass_at_k, places_of_k
from runglass.analysis.sampling import best_of_n, pass_k, reliability, self_consistency, verifier
from runglass.analysis.sampling.best_of_n import BestOfNQuestion, chances_of_picks
from runglass.analysis.sampling.pass_k import PassAtKQuestion
from runglass.analysis.sampling.reliability import TYPES, ReliabilityQuestion, all_of_k
from runglass.analysis.sampling.self_consistency import SelfConsistencyQuestion
from runglass.analysis.sampling.verifier import VerifierQuestion, drawn_until_passed
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import to_json
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def store_of(frame: pd.DataFrame) -> RunStore:
    return RunStore().adding([TableRows("p.csv", "test", frame, "predictions")])


def attempts(right: np.ndarray, **columns: Any) -> pd.DataFrame:
    """Rows of attempts: `right` has shape (items, samples)."""
    items, samples = right.shape
    return pd.DataFrame(
        {"item": np.repeat([f"i{i}" for i in range(items)], samples), "sample": np.tile(np.arange(samples), items),
         "correct": right.ravel().astype(float), **columns}
    )  # fmt: skip


# What they share


def test_that_single_answers_beside_numbered_attempts_are_other_questions() -> None:
    tried = attempts(np.array([[1, 0], [0, 0]]), task="t", model="m")
    single = pd.DataFrame({"item": ["x", "y"], "task": "u", "model": "n", "correct": [1.0, 0.0], "epoch": [1.0, 2.0]})
    result = (
        PassAtKQuestion(draws=100)
        .resolved(store_of(pd.concat([tried, single])))
        .answer(store_of(pd.concat([tried, single])))
    )
    assert result.attempts.names == ("all",)
    assert result.estimates["pass_at_2"].value == 0.5
    assert any("2 rows left out" in note for note in result.notes)


def test_that_what_all_share_stands_last_among_the_options() -> None:
    for question in (BestOfNQuestion, VerifierQuestion, PassAtKQuestion, ReliabilityQuestion, SelfConsistencyQuestion):
        assert [one.name for one in question.options()][-5:] == ["task", "right_from", "level", "draws", "seed"]


# pass@k


def test_that_pass_at_k_is_the_closed_form_and_not_the_plug_in() -> None:
    found = float(pass_at_k(np.array(20), np.array(3), np.array(5)))
    assert found == pytest.approx(1 - math.comb(17, 5) / math.comb(20, 5), abs=1e-12)
    assert found == pytest.approx(0.60088, abs=5e-6)
    assert found != pytest.approx(1 - (1 - 3 / 20) ** 5, abs=0.04)


@given(st.integers(1, 9), st.data())
@settings(deadline=None)
def test_that_pass_at_k_is_the_share_of_draws_that_hold_a_right_attempt(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    right = [True] * c + [False] * (n - c)
    share = np.mean([any(draw) for draw in combinations(right, k)])
    assert float(pass_at_k(np.array(n), np.array(c), np.array(k))) == pytest.approx(share, abs=1e-12)


def test_that_pass_at_k_is_not_extrapolated() -> None:
    assert np.isnan(pass_at_k(np.array(4), np.array(2), np.array(5)))


def test_that_the_estimate_is_unbiased_where_the_plug_in_is_not() -> None:
    generator = np.random.default_rng(0)
    c = generator.binomial(20, 0.1, size=200_000)
    truth = 1 - 0.9**5
    assert float(pass_at_k(np.array(20), c, np.array(5)).mean()) == pytest.approx(truth, abs=0.002)
    assert float(np.mean(1 - (1 - c / 20) ** 5)) == pytest.approx(0.377, abs=0.002)


def test_that_the_curve_is_that_of_the_items_and_its_interval_covers_the_truth() -> None:
    generator = np.random.default_rng(1)
    p = generator.beta(0.5, 2, size=300)
    result = PassAtKQuestion(k=10, draws=300).answer(store_of(attempts(generator.random((300, 20)) < p[:, None])))
    for k in (1, 10):
        # The expectation over the Beta law in closed form: 1 - B(a, b + k) / B(a, b).
        truth = 1 - math.exp(math.lgamma(2 + k) + math.lgamma(2.5) - math.lgamma(2.5 + k) - math.lgamma(2))
        found = result.estimates[f"pass_at_{k}"]
        assert found.low < truth < found.high
    assert list(result.places) == list(range(1, 11))


def test_that_items_with_too_few_attempts_are_listed() -> None:
    frame = attempts(np.ones((10, 4)))
    frame = frame[~((frame["item"] == "i0") & (frame["sample"] > 1))]
    result = PassAtKQuestion(k=4, draws=100).answer(store_of(frame))
    assert result.tables["too_few_attempts"]["item"].tolist() == ["i0"]
    assert result.estimates["items"].value == 9
    with pytest.raises(TooLittleData, match="5 times"):
        PassAtKQuestion(k=5, draws=100).answer(store_of(frame))


def test_that_counts_give_what_attempts_give() -> None:
    right = np.random.default_rng(2).random((40, 8)) < 0.3
    counts = pd.DataFrame({"item": [f"i{i}" for i in range(40)], "tried": 8, "passed": right.sum(axis=1)})
    one = PassAtKQuestion(k=8, draws=100).answer(store_of(attempts(right)))
    two = PassAtKQuestion(k=8, draws=100, made="tried", passed="passed").answer(store_of(counts))
    assert one.curves == pytest.approx(two.curves)
    assert one.low == pytest.approx(two.low)


def test_that_trading_one_attempt_for_many_is_said() -> None:
    generator = np.random.default_rng(3)
    early = generator.random((400, 16)) < 0.3
    late = generator.random((400, 16)) < np.where(np.arange(400) < 200, 0.95, 0.0)[:, None]
    frame = pd.concat([attempts(early, step=10.0), attempts(late, step=90.0)])
    question = PassAtKQuestion(k=16, draws=200).resolved(store_of(frame))
    assert question.along == "step"
    result = question.answer(store_of(frame))
    assert result.attempts.names == ("step 10", "step 90")
    assert result.tables["differences"]["opposite"].tolist() == [True]
    assert any("pass@1 rises and pass@16 falls" in note for note in result.notes)
    json.dumps(to_json(pass_k.figure(question, result)))
    json.dumps(result.to_json())


def test_that_a_stricter_check_costs_what_it_fails() -> None:
    right = np.zeros((10, 4))
    right[:5, :2] = 1
    frame = attempts(right).assign(plus=0.0)
    frame.loc[frame["item"].isin(["i0", "i1", "i2", "i3"]) & (frame["sample"] < 1), "plus"] = 1.0
    result = PassAtKQuestion(k=4, draws=100, strict="plus").answer(store_of(frame))
    assert result.estimates["drop_at_1"].value == pytest.approx(10 / 40 - 4 / 40)
    assert result.estimates["drop_at_4"].value == pytest.approx(5 / 10 - 4 / 10)
    assert result.tables["strict"]["share_of_passes_that_fail"].tolist() == pytest.approx([0.6])


def test_that_one_attempt_an_item_is_too_little() -> None:
    with pytest.raises(TooLittleData, match="several attempts"):
        PassAtKQuestion().answer(store_of(attempts(np.ones((5, 1)))))
    with pytest.raises(AnalysisError, match="more than once"):
        PassAtKQuestion().answer(store_of(pd.concat([attempts(np.ones((5, 2)))] * 2)))


def test_that_a_curve_has_its_ends_and_the_k_asked_about() -> None:
    assert places_of_k(5).tolist() == [1, 2, 3, 4, 5]
    assert {1, 100, 777, 1000} <= set(places_of_k(1000, (777,)).tolist())


# sampling.verifier


def test_that_drawing_until_the_verifier_passes_is_the_closed_form_and_the_simulation() -> None:
    right, wrong = drawn_until_passed(np.array(0.3), np.array(0.9), np.array(0.2), np.array(5))
    assert float(right) == pytest.approx(0.61146, abs=5e-6)
    assert float(wrong) == pytest.approx(0.31705, abs=5e-6)
    generator = np.random.default_rng(0)
    is_right = generator.random((100_000, 5)) < 0.3
    passes = generator.random((100_000, 5)) < np.where(is_right, 0.9, 0.2)
    first = passes.argmax(axis=1)
    out = is_right[np.arange(100_000), first]
    assert float((out & passes.any(axis=1)).mean()) == pytest.approx(float(right), abs=0.005)
    assert float((~out & passes.any(axis=1)).mean()) == pytest.approx(float(wrong), abs=0.005)


def test_that_nothing_comes_out_where_nothing_passes() -> None:
    right, wrong = drawn_until_passed(np.array(0.5), np.array(0.0), np.array(0.0), np.array([1.0, np.inf]))
    assert right.tolist() == [0, 0]
    assert wrong.tolist() == [0, 0]


def verified(items: int = 200, samples: int = 400) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Attempts with a verifier, and the truth: P(right) and P(passes | wrong) of each item."""
    generator = np.random.default_rng(5)
    p, f = generator.beta(2, 2, items), generator.beta(1, 6, items)
    right = generator.random((items, samples)) < p[:, None]
    passes = np.where(right, generator.random(right.shape) < 0.9, generator.random(right.shape) < f[:, None])
    return attempts(right, weak=passes.ravel().astype(float)), p, f


def test_that_curves_are_those_of_the_rates_of_the_items() -> None:
    frame, p, f = verified()
    question = VerifierQuestion(draws=200, most=20).resolved(store_of(frame))
    assert question.weak == "weak"
    result = question.answer(store_of(frame))
    right, wrong = drawn_until_passed(p[:, None], np.array(0.9), f[:, None], result.places[None])
    assert result.right[0] == pytest.approx(right.mean(axis=0), abs=0.01)
    assert result.wrong[0] == pytest.approx(wrong.mean(axis=0), abs=0.01)
    truth = float((0.9 * p / (0.9 * p + (1 - p) * f)).mean())
    found = result.estimates["ceiling"]
    assert found.low < truth < found.high
    json.dumps(to_json(verifier.figure(question, result)))
    json.dumps(result.to_json())


def test_that_wrong_answers_that_are_dear_make_few_draws_best() -> None:
    frame, *_ = verified(100, 40)
    cheap, dear = (
        VerifierQuestion(draws=100, weak="weak", cost=cost).answer(store_of(frame)).best[0] for cost in (0.0, 8.0)
    )
    assert cheap == 100
    assert dear < 10


def test_that_a_verifier_must_be_named() -> None:
    with pytest.raises(TooLittleData, match="verifier"):
        VerifierQuestion().answer(store_of(attempts(np.ones((4, 3)))))


# sampling.best-of-n


def test_that_ties_share_the_chance_to_be_picked() -> None:
    chance = chances_of_picks(np.array([1.0, 1, 2, 3]), np.array([1, 2]))
    right = np.array([1.0, 0, 0, 1])
    assert chance @ right == pytest.approx([0.5, 0.58333], abs=5e-6)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=2, max_size=7), st.data())
@settings(deadline=None, max_examples=50)
def test_that_the_best_of_n_is_the_mean_over_all_draws(made: list[tuple[int, bool]], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(made)))
    worths = []
    for draw in combinations(made, n):
        top = max(score for score, _ in draw)
        worths.append(np.mean([right for score, right in draw if score == top]))
    score, right = np.array(made, float).T
    assert (chances_of_picks(score, np.array([n])) @ right)[0] == pytest.approx(np.mean(worths))


def scored(items: int = 150, samples: int = 24, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    right = generator.random((items, samples)) < 0.4
    return attempts(right, reward=generator.standard_normal(items * samples) + right.ravel())


def test_that_the_best_of_one_is_any_and_a_score_that_knows_is_pass_at_n() -> None:
    frame = scored()
    result = BestOfNQuestion(draws=100, n=8, score="correct").answer(store_of(frame))
    assert result.curves[0, 0] == pytest.approx(result.curves[0, 1])
    assert result.curves[0, 0, 0] == pytest.approx(frame["correct"].mean())
    assert result.estimates["share_of_room"].value == pytest.approx(1.0)
    blind = BestOfNQuestion(draws=100, n=8, score="nothing").answer(store_of(frame.assign(nothing=0.0)))
    assert blind.curves[0, 0] == pytest.approx(np.full(8, frame["correct"].mean()))
    assert any("upper bound" in note for note in blind.notes)


def test_that_the_gain_of_a_gaussian_score_is_the_one_simulated() -> None:
    frame = scored(600)
    question = BestOfNQuestion(draws=200, n=4).resolved(store_of(frame))
    assert question.score == "reward"
    result = question.answer(store_of(frame))
    generator = np.random.default_rng(9)
    right = generator.random((200_000, 4)) < 0.4
    picked = (right + generator.standard_normal(right.shape)).argmax(axis=1)
    truth = right[np.arange(len(right)), picked].mean()
    found = result.estimates["best_of_4"]
    assert found.low < truth < found.high
    assert result.kl == pytest.approx([math.log(n) - (n - 1) / n for n in range(1, 5)])


def test_that_the_best_of_n_of_the_reference_itself_wins_n_of_n_plus_one() -> None:
    frame = pd.concat([scored(seed=1).assign(model="a"), scored(300, seed=2).assign(model="b")])
    question = BestOfNQuestion(draws=100, n=8, score="reward", reference="b")
    result = question.answer(store_of(frame))
    n = result.places
    # Picked without replacement from the 24 that it is held against.
    assert result.curves[1, 3] == pytest.approx((n * 25 / (n + 1) - 0.5) / 24)
    assert result.curves[0, 3] == pytest.approx(n / (n + 1), abs=0.03)
    json.dumps(to_json(best_of_n.figure(question, result)))
    json.dumps(result.to_json())
    with pytest.raises(AnalysisError, match="'c'"):
        BestOfNQuestion(draws=100, score="reward", reference="c").answer(store_of(frame))


# sampling.self-consistency


def answers(p: list[list[float]], samples: int, seed: int = 0) -> pd.DataFrame:
    """Samples of answers a, b, c ... with the probabilities given for each item; a is right."""
    generator = np.random.default_rng(seed)
    drawn = np.stack([generator.choice(len(one), samples, p=one) for one in p])
    frame = attempts(drawn == 0)
    return frame.assign(prediction=np.array(list("abcdef"))[drawn].ravel(), label="a").drop(columns="correct")


def test_that_a_majority_of_three_is_right_as_often_as_the_binomial_says() -> None:
    frame = answers([[0.7, 0.3]] * 400, 60)
    result = SelfConsistencyQuestion(n=3, draws=200).answer(store_of(frame))
    p = 0.7
    truth = p**3 + 3 * p**2 * (1 - p)
    assert result.estimates["maj_at_3"].value == pytest.approx(truth, abs=0.02)
    # A tie of two is broken by chance: two samples are as good as one.
    assert result.curves[0, 0, 1] == pytest.approx(result.curves[0, 0, 0], abs=0.01)
    assert result.estimates["sampling_variance"].value == pytest.approx(p * (1 - p), abs=0.01)


def test_that_votes_are_the_mean_over_all_draws_of_the_samples_made() -> None:
    frame = answers([[0.5, 0.3, 0.2]], 6, seed=3)
    made = frame["prediction"].tolist()
    expected = []
    for draw in combinations(made, 3):
        counts = {one: draw.count(one) for one in set(draw)}
        top = [one for one, count in counts.items() if count == max(counts.values())]
        expected.append(("a" in top) / len(top))
    result = SelfConsistencyQuestion(n=3, draws=100, votes=10_000).answer(store_of(frame))
    assert result.curves[0, 0, 2] == pytest.approx(np.mean(expected), abs=0.02)


def test_that_a_vote_makes_sure_what_is_mostly_wrong_worse() -> None:
    frame = answers([[0.4, 0.6]] * 200, 41)
    question = SelfConsistencyQuestion(n=41, draws=100)
    result = question.answer(store_of(frame))
    assert result.estimates["gain"].high < 0
    json.dumps(to_json(self_consistency.figure(question, result)))
    json.dumps(result.to_json())


def test_that_an_answer_right_here_and_wrong_there_is_refused() -> None:
    frame = answers([[1.0]], 2).assign(correct=[1.0, 0.0])
    with pytest.raises(AnalysisError, match="right in one row"):
        SelfConsistencyQuestion(draws=100).answer(store_of(frame))


# sampling.reliability


@given(st.integers(1, 9), st.data())
@settings(deadline=None)
def test_that_all_of_k_is_the_share_of_draws_without_a_wrong_answer(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    share = np.mean([all(draw) for draw in combinations([True] * c + [False] * (n - c), k)])
    assert float(all_of_k(np.array(n), np.array(c), np.array(k))) == pytest.approx(share, abs=1e-12)


def test_that_items_have_the_types_of_their_answers() -> None:
    made = ["aaaaaaaaaa", "aaaaaaaaab", "aaaaaabbcc", "aaaaabbbbb", "abcdefghij", "bbbbbbbbbb"]
    frame = attempts(np.ones((6, 10))).drop(columns="correct").assign(prediction=list("".join(made)), label="a")
    result = ReliabilityQuestion(k=10, draws=100).answer(store_of(frame))
    assert [TYPES[kind] for kind in result.types[:, 0]] == list(TYPES)
    assert result.estimates["conf_at_10"].value == pytest.approx(1 / 6)
    assert result.estimates["tsr"].value == pytest.approx((10 + 9 + 6 + 5 + 1) / 60)
    assert result.estimates["nms"].value == pytest.approx(1 / 6)
    assert result.estimates["rs"].value == pytest.approx((31 - 2 * 29) / 60)


def test_that_instances_of_a_template_are_its_answers() -> None:
    frame = pd.DataFrame(
        {"item": [f"{t}-{i}" for t in "xyz" for i in range(4)], "template": np.repeat(list("xyz"), 4),
         "correct": [1.0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0]}
    )  # fmt: skip
    two = pd.concat([frame.assign(model="old"), frame.assign(model="new", correct=1.0)])
    question = ReliabilityQuestion(k=2, draws=100).resolved(store_of(two))
    assert question.template == "template"
    result = question.answer(store_of(two))
    assert result.estimates["old/conf_at_2"].value == pytest.approx((1 + 0.5 + 0) / 3)
    assert result.estimates["new/conf_at_2"].value == 1.0
    moved = result.tables["migration"].set_index(["from", "to"])["items"]
    assert moved.sum() == 3
    json.dumps(to_json(reliability.figure(question, result)))
    json.dumps(result.to_json())


def test_that_attempts_that_cannot_be_counted_are_refused() -> None:
    frame = attempts(np.array([[1, 0, 1], [0, 0, 1]]), task="t")
    counts = pd.DataFrame({"item": ["a", "b"], "tried": [5.0, 5.0], "passed": [2.0, 6.0]})
    for rows, options, said in (
        (frame, {"task": "u"}, "No prediction is of the task 'u'"),
        (frame, {"made": "nowhere"}, "no column called 'nowhere'"),
        (counts, {"made": "tried"}, "Counts need both"),
        (counts, {"made": "tried", "passed": "passed"}, "must lie between 0 and 'tried'"),
        (frame.assign(correct=np.nan, label=None, prediction="x"), {}, "known to be right or wrong"),
    ):
        question = PassAtKQuestion(draws=100, **options)  # type: ignore[arg-type]
        with pytest.raises(AnalysisError, match=said):
            question.resolved(store_of(rows)).answer(store_of(rows))
    holes = frame.assign(correct=frame["correct"].where(frame.index != 0))
    result = PassAtKQuestion(draws=100).resolved(store_of(holes)).answer(store_of(holes))
    assert "1 attempt left out: not known to be right or wrong." in result.notes
    assert result.estimates["pass_at_1"].value == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_that_items_of_fewer_attempts_than_are_asked_about_are_listed() -> None:
    generator = np.random.default_rng(0)
    frame = attempts((generator.random((12, 6)) < 0.5).astype(int)).assign(
        prediction=lambda f: np.where(f["correct"] > 0, "a", "b"), label="a", score=generator.random(72)
    )
    short = frame[(frame["item"] != "i3") | (frame["sample"] < 2)]
    for question in (
        BestOfNQuestion(draws=100, score="score", n=6),
        SelfConsistencyQuestion(draws=100, n=6),
        ReliabilityQuestion(draws=100, k=6),
    ):
        asked = question.resolved(store_of(short))
        result = asked.answer(store_of(short))
        assert result.tables["too_few_attempts"]["item"].tolist() == ["i3"], question
        assert any(note.startswith("1 item left out: fewer than 6") for note in result.notes)
