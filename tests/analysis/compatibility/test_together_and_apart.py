from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from runglass.analysis.compatibility.attribution import AttributionQuestion
from runglass.analysis.compatibility.attribution import figure as attribution_figure
from runglass.analysis.compatibility.complementarity import ComplementarityQuestion
from runglass.analysis.compatibility.complementarity import figure as together_figure
from runglass.analysis.compatibility.selective_ensemble import SelectiveEnsembleQuestion, vote_p, voted
from runglass.analysis.compatibility.selective_ensemble import figure as ensemble_figure
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Bars, Points
from runglass.models.store import RunStore

Answered = Callable[..., RunStore]
Stored = Callable[[pd.DataFrame], RunStore]


def test_that_the_oracle_is_the_new_accuracy_and_the_negative_flips(mmlu_pro: RunStore) -> None:
    question = ComplementarityQuestion(old="Mistral-7B-v0.1", new="Mistral-7B-v0.2-hf")
    e = question.answer(mmlu_pro).estimates
    assert e["oracle"].value == pytest.approx((2509 + 1001 + 1073) / 12032)
    assert e["oracle"].value == pytest.approx(e["accuracy_new"].value + 1073 / 12032)
    assert e["double_fault"].value == pytest.approx(7449 / 12032)
    assert e["oracle"].value >= e["best_single"].value
    from scipy.stats import binomtest

    expected = binomtest(1001, 1001 + 7449).proportion_ci(0.95, "exact")
    assert (e["new_mends"].low, e["new_mends"].high) == pytest.approx((expected.low, expected.high))
    assert "mixture" not in e


def test_that_a_mixture_is_judged_on_items_its_weight_did_not_see(digits: RunStore) -> None:
    question = ComplementarityQuestion(old="v2", new="v3")
    result = question.answer(digits)
    e = result.estimates
    assert result.mixed[0] == pytest.approx(e["accuracy_old"].value, abs=0.002)
    assert result.mixed[-1] == pytest.approx(e["accuracy_new"].value, abs=0.002)
    assert e["mixture"].value <= result.mixed.max()
    assert e["mixture"].value <= e["oracle"].value + 0.01
    assert e["mixture_gain"].value == pytest.approx(e["mixture"].value - e["best_single"].value)
    assert [panel.key for panel in together_figure(question, result).panels] == ["table", "rates", "mixture"]


def test_that_a_weight_fitted_to_noise_gains_nothing_held_out(stored: Stored) -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 300)
    frames = []
    for version in ("v1", "v2"):
        p = generator.random(300)
        prediction = (p < 0.5).astype(int)
        parts = {
            "item": [f"i{i}" for i in range(300)],
            "label": labels.astype(str),
            "prediction": prediction.astype(str),
        }
        frames.append(pd.DataFrame(parts | {"prob.0": p, "prob.1": 1 - p, "version": version}))
    result = ComplementarityQuestion().answer(stored(pd.concat(frames)))
    assert result.mixed.max() > 0.5
    assert result.estimates["mixture"].low < 0.5 < result.estimates["mixture"].high


def test_that_a_merged_model_fills_eight_cells(answered: Answered) -> None:
    store = answered(list("aabbbb"), list("abaabb"), list("aaabab"))
    question = ComplementarityQuestion(old="v1", new="v2", merged="v3")
    result = question.answer(store)
    assert result.eight["items"].tolist() == [1, 0, 1, 0, 1, 1, 1, 1]
    e = result.estimates
    assert (e["rescue"].value, e["kept"].value, e["spoiled"].value) == pytest.approx((1 / 2, 2 / 3, 0))
    eight = next(mark for _, mark in together_figure(question, result).marks() if mark.key == "eight")
    assert isinstance(eight, Bars)
    assert eight.origin is not None
    rescued = store.rows("predictions", eight.origin.clause([6]))
    assert rescued["item"].unique().tolist() == ["4"]


def test_that_a_vote_passes_from_six_seeds_at_5_percent_and_from_eight_at_1() -> None:
    p = vote_p(np.array([5, 6, 7, 8]), np.array([5, 6, 7, 8]))
    assert p == pytest.approx([0.0625, 0.03125, 0.015625, 0.0078125])
    from scipy.stats import binomtest

    for votes, total in ((8, 9), (7, 12), (3, 10), (5, 10)):
        assert vote_p(np.array([votes]), np.array([total]))[0] == pytest.approx(binomtest(votes, total).pvalue)


def test_that_votes_are_counted_by_answer() -> None:
    answers = np.array([[1, 1, 1, 2, 2, -1], [3, 3, 3, 3, 3, 3], [0, 1, 0, 1, 0, 1], [-1, -1, -1, -1, -1, -1]])
    vote = voted(answers, 0.05)
    assert vote.first.tolist()[:2] == [1, 3]
    assert vote.votes.tolist() == [3, 6, 3, 6]
    assert vote.second_votes.tolist() == [2, 0, 3, 0]
    assert vote.kept.tolist() == [False, True, False, True]


def test_that_more_seeds_abstain_less_and_answers_that_survive_are_more_often_right(stored: Stored) -> None:
    generator = np.random.default_rng(1)
    ease = generator.random(400)
    frames = [
        pd.DataFrame({"version": f"s{s}", "item": [f"i{i}" for i in range(400)], "label": "a",
                      "prediction": np.where(generator.random(400) < ease, "a", "b")})
        for s in range(12)
    ]  # fmt: skip
    question = SelectiveEnsembleQuestion(subsets=10)
    store = stored(pd.concat(frames))
    result = question.answer(store)
    table = result.tables["by_seeds"].set_index("seeds")
    assert (table.loc[:5, "abstention"] == 1).all()
    assert table.loc[12, "abstention"] < table.loc[6, "abstention"] < 1
    e = result.estimates
    assert e["accuracy_covered"].value > e["accuracy_majority"].value
    assert e["inconsistent_after"].value < e["inconsistent_before"].value
    assert e["coverage"].value + e["abstention"].value == pytest.approx(1)
    assert len(result.tables["items"]) == int((~result.kept).sum())
    bars = [mark for _, mark in ensemble_figure(question, result).marks() if isinstance(mark, Bars)]
    assert sum(float(np.sum(bar.height - bar.base)) for bar in bars) == 400


def test_that_fewer_than_six_seeds_are_too_little(answered: Answered) -> None:
    with pytest.raises(TooLittleData, match="6 seeds"):
        SelectiveEnsembleQuestion().answer(answered(*[list("ab")] * 5))


def periods(old: dict[str, tuple[int, int]], new: dict[str, tuple[int, int]]) -> pd.DataFrame:
    """Items by group as (right, all), different items in the two periods."""
    rows = [
        {"version": version, "item": f"{version}-{group}-{i}", "group": group, "correct": float(i < right)}
        for version, groups in (("v1", old), ("v2", new))
        for group, (right, n) in groups.items()
        for i in range(n)
    ]
    return pd.DataFrame(rows)


def test_that_a_change_of_the_mix_alone_is_found_to_be_one(stored: Stored) -> None:
    frame = periods({"easy": (40, 50), "hard": (10, 50)}, {"easy": (16, 20), "hard": (16, 80)})
    e = AttributionQuestion(draws=200).answer(stored(frame)).estimates
    assert e["mix"].value == pytest.approx(0.32 - 0.5)
    assert e["within"].value == pytest.approx(0)
    assert e["share_of_mix"].value == pytest.approx(1)


def test_that_the_parts_are_those_of_kitagawa_and_add_up(stored: Stored) -> None:
    frame = periods({"x": (30, 60), "y": (36, 40)}, {"x": (70, 100), "y": (80, 100)})
    question = AttributionQuestion(draws=200)
    result = question.answer(stored(frame))
    # w: .6, .4 to .5, .5; m: .5, .9 to .7, .8. Total .66 to .75.
    e = result.estimates
    assert e["within"].value == pytest.approx(0.2 * 0.55 + -0.1 * 0.45)
    assert e["mix"].value == pytest.approx(-0.1 * 0.6 + 0.1 * 0.85)
    assert e["change"].value == pytest.approx(0.75 - 0.66)
    parts = result.parts.set_index("group")
    assert (parts["mix"] + parts["within"]).sum() == pytest.approx(0.09)
    assert parts.loc["y", "mix"] > 0  # the better group grew
    assert parts.loc["x", "mix"] > 0  # and the worse one shrank
    points = next(
        m for _, m in attribution_figure(question, result).marks() if isinstance(m, Points) and m.key == "mix"
    )
    assert points.origin is not None
    store = stored(frame)
    group = result.parts["group"].iloc[0]
    assert store.rows("predictions", points.origin.clause([0]))["group"].unique().tolist() == [group]


def test_that_shared_items_are_drawn_for_both_at_once(digits: RunStore) -> None:
    from runglass.analysis.compatibility.paired_diff import PairedDiffQuestion

    split = AttributionQuestion(old="v1", new="v2", draws=1000).answer(digits).estimates
    pair = PairedDiffQuestion(old="v1", new="v2", draws=1000).answer(digits).estimates["difference"]
    assert split["mix"].value == 0
    assert split["change"].value == pytest.approx(pair.value)
    assert split["change"].high - split["change"].low == pytest.approx(pair.high - pair.low, rel=0.1)


def test_that_a_group_that_is_empty_in_one_period_stops_and_is_named(stored: Stored) -> None:
    frame = periods({"x": (5, 10)}, {"x": (5, 10), "y": (5, 10)})
    with pytest.raises(AnalysisError, match=r"1 group is empty in one of the two: y"):
        AttributionQuestion(groups=("group",)).answer(stored(frame))


def test_that_the_interval_of_the_mix_covers_the_true_change_of_the_mix(stored: Stored) -> None:
    covered = 0
    for trial in range(30):
        generator = np.random.default_rng(trial)
        frames = []
        for version, share in (("v1", 0.7), ("v2", 0.4)):
            easy = generator.random(300) < share
            correct = generator.random(300) < np.where(easy, 0.8, 0.3)
            parts = {
                "item": [f"{version}{i}" for i in range(300)],
                "group": np.where(easy, "easy", "hard"),
                "version": version,
            }
            frames.append(pd.DataFrame(parts | {"correct": correct.astype(float)}))
        mix = AttributionQuestion(draws=100, seed=trial).answer(stored(pd.concat(frames))).estimates["mix"]
        covered += mix.low <= -0.3 * 0.5 <= mix.high
    assert covered >= 25
