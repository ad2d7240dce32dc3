from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from runglass.analysis.compatibility.agreement import AgreementQuestion, cohen_kappa
from runglass.analysis.compatibility.agreement import figure as agreement_figure
from runglass.analysis.compatibility.profile import ProfileQuestion, shrunk
from runglass.analysis.compatibility.profile import figure as profile_figure
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Points
from runglass.models.store import RunStore

Answered = Callable[..., RunStore]


def test_that_negative_flips_of_slices_weighted_by_items_are_those_of_all(mmlu_pro: RunStore) -> None:
    question = ProfileQuestion(old="Mistral-7B-Instruct-v0.1", new="Mistral-7B-Instruct-v0.2")
    result = question.answer(mmlu_pro)
    table = result.tables["slices"]
    assert question.resolved(mmlu_pro).slices == ("group",)
    assert (table["n"] * table["nfr"]).sum() == pytest.approx(1146)
    assert (table["n"] * table["pfr"]).sum() == pytest.approx(1700)
    assert result.estimates["nfr"].value == pytest.approx(1146 / 12032)
    assert len(table) == 14
    wins = result.tables["best"]
    assert wins["best_in_share"].sum() == pytest.approx(1)
    assert wins["version"].iloc[0] == "gemini-1.5-pro-002"


def test_that_a_slice_can_regress_while_the_whole_improves(answered: Answered) -> None:
    old = ["a"] * 60 + ["b"] * 100 + ["a"] * 40
    new = ["b"] * 30 + ["a"] * 130 + ["a"] * 40
    store = answered(old, new, topic=["law"] * 60 + ["art"] * 140)
    question = ProfileQuestion(slices=("topic",))
    result = question.answer(store)
    table = result.tables["slices"].set_index("slice")
    assert result.estimates["difference"].value > 0
    assert table["verdict"].to_dict() == {"law": "regressed", "art": "improved"}
    mark = next(
        m for _, m in profile_figure(question, result).marks() if isinstance(m, Points) and m.key == "regressed"
    )
    assert mark.origin is not None
    assert store.rows("predictions", mark.origin.clause([0]))["item"].nunique() == 30


def test_that_slices_without_an_effect_are_rarely_called_regressed(answered: Answered) -> None:
    wrongly = 0
    for trial in range(20):
        generator = np.random.default_rng(trial)
        old, new = (np.where(generator.random(600) < 0.6, "a", "b").tolist() for _ in range(2))
        store = answered(old, new, topic=[f"t{i % 20}" for i in range(600)])
        wrongly += (ProfileQuestion(slices=("topic",)).answer(store).tables["slices"]["verdict"] != "unclear").any()
    assert wrongly <= 3


def test_that_small_slices_are_pooled_and_said(answered: Answered) -> None:
    store = answered(list("a" * 30), list("b" * 30), topic=["big"] * 24 + ["x"] * 3 + ["y"] * 3)
    result = ProfileQuestion(slices=("topic",)).answer(store)
    assert result.tables["slices"]["slice"].tolist() == ["big", "small slices"]
    assert any("2 slices of topic below 20 items pooled" in note for note in result.notes)
    with pytest.raises(TooLittleData, match="slice by"):
        ProfileQuestion().answer(store)


def test_that_shrinking_uses_the_variance_between_slices_of_statsmodels() -> None:
    from statsmodels.stats.meta_analysis import combine_effects

    values, errors = np.array([0.10, -0.05, 0.02, 0.20, 0.00]), np.array([0.03, 0.04, 0.02, 0.05, 0.03])
    theirs = combine_effects(values, errors**2, method_re="dl")
    found = shrunk(values, errors)
    assert found.tau2 == pytest.approx(theirs.tau2)
    share = theirs.tau2 / (theirs.tau2 + errors**2)
    assert found.means == pytest.approx(theirs.mean_effect_re + share * (values - theirs.mean_effect_re))
    equal = shrunk(np.array([0.1, 0.11, 0.09]), np.full(3, 0.1))
    assert equal.tau2 == 0
    assert equal.means == pytest.approx(np.full(3, 0.1))


def test_that_kappa_is_that_of_statsmodels(answered: Answered) -> None:
    from statsmodels.stats.inter_rater import cohens_kappa

    generator = np.random.default_rng(0)
    one = generator.integers(0, 4, 300)
    other = np.where(generator.random(300) < 0.5, one, generator.integers(0, 4, 300))
    table = np.array([[np.sum((one == i) & (other == j)) for j in range(4)] for i in range(4)])
    expected = cohens_kappa(table, return_results=False)
    assert cohen_kappa(one, other) == pytest.approx(expected)
    letters = np.array(list("abcd"))
    found = AgreementQuestion(draws=400).answer(answered(letters[one].tolist(), letters[other].tolist()))
    assert found.estimates["kappa"].value == pytest.approx(expected)
    theirs = cohens_kappa(table)
    assert (found.estimates["kappa"].low, found.estimates["kappa"].high) == pytest.approx(
        (theirs.kappa_low, theirs.kappa_upp), abs=0.02
    )
    assert found.estimates["agreement"].value == pytest.approx(np.mean(one == other))


def test_that_a_model_agrees_with_itself_and_diverges_by_nothing(digits: RunStore) -> None:
    result = AgreementQuestion(draws=100).answer(digits)
    for name, value in (("agreement", 1.0), ("kappa", 1.0), ("error_overlap", 1.0), ("divergence", 0.0)):
        assert np.diag(result.matrices[name]) == pytest.approx(np.full(4, value))
    assert result.names == ("v1", "v1-again", "v2", "v3")
    assert (result.matrices["divergence"] >= 0).all()


def test_that_errors_overlap_by_what_both_have_wrong(answered: Answered) -> None:
    store = answered(list("aabbb"), list("abbca"))
    question = AgreementQuestion(draws=100)
    result = question.answer(store)
    assert result.estimates["error_overlap"].value == pytest.approx(2 / 4)
    assert result.estimates["agreement"].value == pytest.approx(2 / 5)
    assert result.right_agreement[0, 1] == pytest.approx(3 / 5)
    assert result.tables["items"]["item"].tolist() == ["1", "3", "4"]
    points = next(mark for _, mark in agreement_figure(question, result).marks() if isinstance(mark, Points))
    assert points.x == pytest.approx([100 * (0.4 * 0.4 + 0.6 * 0.6)])
    assert points.origin is not None
    assert set(store.rows("predictions", points.origin.clause([0]))["item"]) == {"1", "3", "4"}


def test_that_divergence_needs_probabilities(answered: Answered) -> None:
    with pytest.raises(AnalysisError, match="probabilities"):
        AgreementQuestion(show="divergence", draws=100).answer(answered(list("ab"), list("aa")))


def test_that_agreement_of_free_text_has_a_kappa_without_interval(answered: Answered) -> None:
    texts = [f"t{i}" for i in range(400)]
    found = AgreementQuestion(draws=100).answer(answered(texts, texts[1:] + texts[:1])).estimates["kappa"]
    assert found.value == pytest.approx(cohen_kappa(np.arange(400), np.roll(np.arange(400), -1)))
    assert "300 different answers" in found.why_no_interval


def test_that_columns_are_kept_apart_where_several_are_sliced(answered: Answered) -> None:
    frame = pd.DataFrame({"a": ["x", "y"] * 25, "b": ["p"] * 25 + ["q"] * 25})
    store = answered(list("a" * 50), list("ab" * 25), a=frame["a"].tolist(), b=frame["b"].tolist())
    table = ProfileQuestion(slices=("a", "b")).answer(store).tables["slices"]
    assert table.groupby("column")["n"].sum().to_dict() == {"a": 50, "b": 50}
