from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from runglass.analysis.compatibility.contamination_threshold import ContaminationQuestion
from runglass.analysis.compatibility.contamination_threshold import figure as sweep_figure
from runglass.analysis.compatibility.leak_gap import LeakGapQuestion
from runglass.analysis.compatibility.leak_gap import figure as gap_figure
from runglass.analysis.paired_tests import newcombe_independent
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Points
from runglass.models.store import RunStore

Stored = Callable[[pd.DataFrame], RunStore]


def scored(right: np.ndarray, scores: np.ndarray, model: str = "m") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": model,
            "item": [f"i{i}" for i in range(len(right))],
            "correct": right.astype(float),
            "overlap": scores,
        }
    )


def test_that_the_gain_is_that_of_all_over_the_clean_items(stored: Stored) -> None:
    generator = np.random.default_rng(0)
    scores = np.repeat(np.arange(8) / 10, [40, *[50] * 6, 60])
    right = generator.random(400) < 0.5 + 0.4 * (scores > 0.4)
    result = ContaminationQuestion(draws=200).answer(stored(scored(right, scores)))
    curve = result.curves["overlap"]
    assert curve["threshold"].tolist() == pytest.approx([0.6, 0.5, 0.4, 0.3, 0.2, 0.1])  # 0 leaves fewer than 50 clean
    for row in curve.to_dict("records"):
        clean = right[scores <= row["threshold"]]
        assert row["gain"] == pytest.approx(right.mean() - clean.mean())
        assert (row["clean"], row["flagged"]) == (len(clean), 400 - len(clean))
    significant = curve[curve["low"] > 0]
    chosen = result.estimates["threshold"].value
    assert significant.set_index("threshold")["gain"].idxmax() == chosen
    assert chosen <= 0.4
    assert len(result.tables["items"]) == int((scores > chosen).sum())


def test_that_the_gain_vanishes_with_the_share_flagged(stored: Stored) -> None:
    generator = np.random.default_rng(1)
    scores = generator.random(3000)
    result = ContaminationQuestion(draws=200).answer(stored(scored(generator.random(3000) < scores, scores)))
    curve = result.curves["overlap"]
    assert len(curve) == 40
    assert abs(curve["gain"].iloc[0]) < 0.001
    assert (curve["gain"].abs() <= curve["flagged_share"] + 1e-12).all()


def test_that_a_score_without_meaning_is_rarely_called_significant_at_any_threshold(stored: Stored) -> None:
    found = 0
    for trial in range(40):
        generator = np.random.default_rng(trial)
        frame = scored(generator.random(300) < 0.6, generator.integers(0, 12, 300).astype(float))
        found += ContaminationQuestion(draws=200, seed=trial).answer(stored(frame)).chosen["overlap"] >= 0
    assert found <= 5  # 5 % of 40, twice two-sided


def test_that_a_control_tells_easy_items_from_contaminated_ones(stored: Stored) -> None:
    generator = np.random.default_rng(2)
    scores = np.repeat([0.0, 1.0], 600)
    easy = generator.random((2, 1200)) < 0.4 + 0.4 * scores  # both models find the flagged items easier
    frame = pd.concat([scored(easy[0], scores), scored(easy[1], scores, "control")])
    question = ContaminationQuestion(version="m", control="control", draws=300)
    found = question.answer(stored(frame)).estimates
    assert found["gain"].low > 0
    assert found["gain_over_control"].low < 0 < found["gain_over_control"].high
    result = question.answer(stored(frame))
    assert [panel.key for panel in sweep_figure(question, result).panels] == ["gain", "gain_over_control"]


def test_that_a_point_of_the_sweep_leads_to_the_flagged_items(stored: Stored) -> None:
    scores = np.repeat([0.0, 0.5], [60, 5])
    store = stored(scored(np.repeat([False, True], [60, 5]), scores))
    question = ContaminationQuestion(draws=100)
    spec = sweep_figure(question, question.answer(store))
    point = next(mark for _, mark in spec.marks() if isinstance(mark, Points))
    assert point.origin is not None
    assert len(store.rows("predictions", point.origin.clause([0]))) == 5


def test_that_a_column_of_scores_is_asked_for(stored: Stored) -> None:
    frame = scored(np.ones(100), np.zeros(100))
    with pytest.raises(TooLittleData, match="contamination score"):
        ContaminationQuestion().answer(stored(frame.drop(columns="overlap")))
    with pytest.raises(TooLittleData, match="leaves 50 clean"):
        ContaminationQuestion().answer(stored(frame))


def parts(answers: dict[tuple[str, str], list[int]], *, paired: bool) -> pd.DataFrame:
    return pd.concat(
        [
            pd.DataFrame({"model": model, "split": split, "correct": right,
                          "item": [f"{'' if paired else split}{i}" for i in range(len(right))]})
            for (model, split), right in answers.items()
        ]
    )  # fmt: skip


def test_that_the_interval_of_different_items_is_that_of_statsmodels() -> None:
    from statsmodels.stats.proportion import confint_proportions_2indep

    for first, n1, second, n2 in ((56, 70, 48, 80), (9, 10, 3, 10), (10, 10, 0, 20)):
        theirs = confint_proportions_2indep(first, n1, second, n2, method="newcomb", compare="diff")
        assert newcombe_independent(first, n1, second, n2) == pytest.approx(theirs)


def test_that_different_items_are_compared_by_newcombe_and_fisher(stored: Stored) -> None:
    """Newcombe (1998) gives 0.0524 to 0.3339 for 56 of 70 against 48 of 80."""
    frame = parts({("m", "public"): [1] * 56 + [0] * 14, ("m", "private"): [1] * 48 + [0] * 32}, paired=False)
    result = LeakGapQuestion().answer(stored(frame))
    gap = result.estimates["gap"]
    assert (gap.value, gap.low, gap.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    from scipy.stats import fisher_exact

    assert result.estimates["p"].value == pytest.approx(fisher_exact([[56, 14], [48, 32]]).pvalue)
    assert not result.paired
    assert (result.leaked, result.fresh) == ("public", "private")


def test_that_rewrites_of_the_same_items_are_compared_in_pairs(stored: Stored) -> None:
    original = [1] * 59 + [1] * 16 + [0] * 86
    rewritten = [1] * 59 + [0] * 16 + [1] * 6 + [0] * 80
    store = stored(parts({("m", "original"): original, ("m", "rewritten"): rewritten}, paired=True))
    question = LeakGapQuestion()
    result = question.answer(store)
    assert result.paired
    assert result.estimates["gap"].value == pytest.approx(10 / 161)
    assert result.estimates["p"].value == pytest.approx(0.052479, abs=1e-6)  # the table of Cavo et al. (2012)
    assert result.estimates["delta"].value == pytest.approx(10 / 65)
    point = next(mark for _, mark in gap_figure(question, result).marks() if isinstance(mark, Points))
    assert point.origin is not None
    rows = store.rows("predictions", point.origin.clause([0]))
    assert rows["item"].nunique() == 16  # right where leaked and wrong where rewritten


def test_that_what_the_control_finds_easy_too_is_no_leak(stored: Stored) -> None:
    generator = np.random.default_rng(3)
    ability = generator.normal(size=400)
    answers = {}
    for model, leak in (("control", 0.0), ("clean", 0.0), ("leaky", 1.5)):
        answers[model, "original"] = (
            (generator.random(400) < 1 / (1 + np.exp(-ability - 1 - leak))).astype(int).tolist()
        )
        answers[model, "rewritten"] = (generator.random(400) < 1 / (1 + np.exp(-ability))).astype(int).tolist()
    result = LeakGapQuestion(control="control").answer(stored(parts(answers, paired=True)))
    table = result.tables["gaps"].set_index("version")
    assert (table["low"] > 0).all()  # the rewrite is harder for all of them
    assert table.loc["leaky", "over_control_low"] > 0
    assert table.loc["clean", "over_control_low"] < 0 < table.loc["clean", "over_control_high"]
    assert table.loc["control", "over_control"] == 0
    gap = table["gap"]
    assert table.loc["leaky", "over_control"] == pytest.approx(gap["leaky"] - gap["control"])


def test_that_lucky_guesses_are_tested_against_chance(stored: Stored) -> None:
    from scipy.stats import binomtest

    frame = parts({("m", "train"): [1] * 52 + [0] * 48, ("m", "test"): [1] * 30 + [0] * 70}, paired=False)
    found = LeakGapQuestion(chance=0.25).answer(stored(frame)).estimates
    test = binomtest(52, 100, 0.25, alternative="greater")
    assert found["chance_p"].value == pytest.approx(test.pvalue)
    interval = binomtest(52, 100).proportion_ci(0.95, "exact")
    assert (found["leaked_rate"].low, found["leaked_rate"].high) == pytest.approx((interval.low, interval.high))


def test_that_a_gap_far_from_those_of_others_is_flagged(stored: Stored) -> None:
    answers = {}
    for k in range(6):
        answers[f"m{k}", "public"] = [1] * (60 + k % 3 + (25 if k == 4 else 0)) + [0] * (
            40 - k % 3 - (25 if k == 4 else 0)
        )
        answers[f"m{k}", "private"] = [1] * 60 + [0] * 40
    table = LeakGapQuestion().answer(stored(parts(answers, paired=False))).tables["gaps"]
    assert table.loc[table["outlier"], "version"].tolist() == ["m4"]


def test_that_a_split_is_asked_for(stored: Stored) -> None:
    with pytest.raises(TooLittleData, match="may have leaked"):
        LeakGapQuestion().answer(stored(scored(np.ones(3), np.zeros(3))))


def test_that_a_gap_over_the_control_on_different_items_is_welchs(stored: Stored) -> None:
    from scipy.stats import ttest_ind

    generator = np.random.default_rng(4)
    answers = {
        (model, split): (generator.random(n) < p).astype(int).tolist()
        for split, n in (("public", 90), ("private", 60))
        for model, p in (("control", 0.6), ("leaky", 0.9 if split == "public" else 0.6))
    }
    question = LeakGapQuestion(control="control", chance=0.25)
    result = question.answer(stored(parts(answers, paired=False)))
    row = result.tables["gaps"].set_index("version").loc["leaky"]
    better = {split: np.array(answers["leaky", split]) - answers["control", split] for split in ("public", "private")}
    theirs = ttest_ind(better["public"], better["private"], equal_var=False).confidence_interval()
    assert row["over_control"] == pytest.approx(better["public"].mean() - better["private"].mean())
    assert (row["over_control_low"], row["over_control_high"]) == pytest.approx((theirs.low, theirs.high))
    assert "over control it is" in result.summary()
    chance = next(mark for _, mark in gap_figure(question, result).marks() if mark.key == "chance")
    assert chance.at == 25  # type: ignore[union-attr]


def test_that_what_cannot_be_compared_with_a_leak_is_said(stored: Stored) -> None:
    answers = {("m", "public"): [1, 0, 1], ("m", "private"): [0, 0, 1], ("n", "public"): [1, 1, 1]}
    store = stored(parts(answers, paired=False))
    with pytest.raises(AnalysisError, match="No model 'n' answered both parts"):
        LeakGapQuestion(control="n").answer(store)
    with pytest.raises(AnalysisError, match="guessed credit"):
        LeakGapQuestion(unanswered="guess").answer(store)
    alone = {("m", "public"): [1, 0, 1], ("n", "private"): [1, 1, 1]}
    with pytest.raises(TooLittleData, match="both public and private by one model"):
        LeakGapQuestion().answer(stored(parts(alone, paired=False)))


def test_that_among_gaps_that_are_all_alike_none_stands_out(stored: Stored) -> None:
    answers = {(f"m{k}", split): [1] * count + [0] * (10 - count) for k in range(5)
               for split, count in (("public", 8 + (k == 0)), ("private", 6))}  # fmt: skip
    assert not LeakGapQuestion().answer(stored(parts(answers, paired=False))).tables["gaps"]["outlier"].any()


def test_that_a_threshold_is_asked_of_a_version_that_is_there(stored: Stored) -> None:
    with pytest.raises(AnalysisError, match="no column called 'nowhere'"):
        ContaminationQuestion(by="nowhere", scores=("overlap",)).answer(
            stored(scored(np.ones(3), np.zeros(3)).assign(overlap=0.5))
        )
