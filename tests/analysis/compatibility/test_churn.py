from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from runglass.analysis.compatibility.churn import ChurnQuestion, figure
from runglass.analysis.compatibility.multiplicity import MultiplicityQuestion, _measures, _of_draws
from runglass.analysis.compatibility.multiplicity import figure as multiplicity_figure
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Bars, Cells
from runglass.models.store import RunStore

Answered = Callable[..., RunStore]


def test_that_changes_fall_into_kinds_that_add_up_to_the_churn(answered: Answered) -> None:
    store = answered(["a", "a", "b", "b", "b", None], ["a", "b", "a", "c", "b", None])
    result = ChurnQuestion(draws=200).answer(store)
    found = {name: estimate.value for name, estimate in result.estimates.items()}
    assert (found["churn"], found["pfr"], found["nfr"], found["neutral"]) == pytest.approx((3 / 6, 1 / 6, 1 / 6, 1 / 6))
    assert found["win_loss"] == 1
    assert result.tables["items"]["change"].tolist() == [
        "right to wrong",
        "wrong to right",
        "wrong to another wrong answer",
    ]


def test_that_churn_of_mmlu_pro_is_symmetric_and_at_most_the_sum_of_errors(mmlu_pro: RunStore) -> None:
    result = ChurnQuestion(draws=100).answer(mmlu_pro)
    assert result.matrix == pytest.approx(result.matrix.T)
    wide = mmlu_pro.rows("predictions").pivot(index="item", columns="model", values="prediction").fillna("")
    labels = mmlu_pro.rows("predictions").drop_duplicates("item").set_index("item")["label"].loc[wide.index]
    errors = {name: float((wide[name] != labels).mean()) for name in result.names}
    for i, one in enumerate(result.names):
        for j, other in enumerate(result.names):
            assert result.matrix[i, j] == pytest.approx((wide[one] != wide[other]).mean())
            assert result.matrix[i, j] <= errors[one] + errors[other]


def test_that_churn_is_held_against_a_plain_retrain(digits: RunStore) -> None:
    question = ChurnQuestion(old="v1", new="v2", retrain="v1-again", draws=500)
    result = question.answer(digits)
    e = result.estimates
    assert (round(1000 * e["pfr"].value), round(1000 * e["nfr"].value)) == (126, 74)
    assert e["churn_ratio"].value == pytest.approx(e["churn"].value / e["churn_retrain"].value)
    assert e["churn_ratio"].low > 2
    bars = [mark for _, mark in figure(question, result).marks() if isinstance(mark, Bars)]
    assert all(len(bar.at) == 2 for bar in bars)
    assert float(bars[-1].height[0]) == pytest.approx(100 * e["churn"].value)


def test_that_soft_churn_is_the_mean_divergence_of_scipy(digits: RunStore) -> None:
    from scipy.stats import entropy

    frame = digits.rows("predictions")
    sides = [
        frame[(frame["version"] == name) & (frame["model"] == "digit-reader")].set_index("item")
        for name in ("v1", "v1-again")
    ]
    columns = [f"prob.{number}" for number in range(10)]
    one = sides[0][columns].to_numpy(float)
    other = sides[1].loc[sides[0].index, columns].to_numpy(float)
    result = ChurnQuestion(old="v1", new="v1-again", draws=100).answer(digits)
    # scipy rescales rows to 1; the probabilities are rounded in the files.
    expected = entropy(one, np.maximum(other, 1e-12), axis=1).mean()
    assert result.estimates["soft_churn"].value == pytest.approx(expected, rel=1e-3)


def test_that_answers_can_be_equal_but_for_case_and_spaces(answered: Answered) -> None:
    store = answered(["a", "a b", "c"], ["A", "ab", "d"])
    assert ChurnQuestion(draws=100).answer(store).estimates["churn"].value == 1
    loose = ChurnQuestion(equality="ignoring case and spaces", draws=100).answer(store)
    assert loose.estimates["churn"].value == pytest.approx(1 / 3)


def test_that_the_flow_counts_items_by_old_and_new_answer(answered: Answered) -> None:
    store = answered(["a", "a", "b", None], ["a", "b", "b", "a"])
    question = ChurnQuestion(draws=100)
    result = question.answer(store)
    assert result.answers == ("a", "b", "none")
    assert result.flow.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    cells = next(mark for _, mark in figure(question, result).marks() if isinstance(mark, Cells) and mark.key == "flow")
    assert cells.origin is not None
    assert store.rows("predictions", cells.origin.clause([1]))["item"].unique().tolist() == ["1"]


def test_that_free_text_is_said_to_be_no_churn(answered: Answered) -> None:
    store = answered([f"text {i}" for i in range(300)], [f"Text {i}." for i in range(300)])
    assert any("free text" in note for note in ChurnQuestion(draws=100).answer(store).notes)


def test_that_answers_that_were_not_recorded_are_asked_for(stored: Callable[[pd.DataFrame], RunStore]) -> None:
    frame = pd.DataFrame({"version": ["v1", "v2"], "item": "0", "correct": [1, 0], "label": "a"})
    assert "prediction" in ChurnQuestion.missing(stored(frame))
    with pytest.raises(AnalysisError, match="not recorded"):
        ChurnQuestion(old="v1", new="v2").answer(stored(frame.assign(prediction=None)))


def test_that_one_version_has_no_churn(answered: Answered) -> None:
    with pytest.raises(TooLittleData):
        ChurnQuestion().answer(answered(["a"]))
    with pytest.raises(AnalysisError, match="with itself"):
        ChurnQuestion(old="v1", new="v1").answer(answered(["a"], ["b"]))


def test_that_ambiguity_and_discrepancy_are_those_of_their_definitions(answered: Answered) -> None:
    # v1 errs on 1 of 10, v2 on 2, v3 on 2, v4 on 6.
    sides = ["aaaaaaaaab", "aaaaaaaabb", "baaaaaaaab", "bbbbbaaaab"]
    store = answered(*map(list, sides))
    result = MultiplicityQuestion(epsilon=0.1, draws=100).answer(store)
    assert result.reference == "v1"
    assert result.members == ("v1", "v2", "v3")
    assert result.estimates["ambiguity"].value == pytest.approx(0.2)  # items 8 and 0
    assert result.estimates["discrepancy"].value == pytest.approx(0.1)
    assert result.tables["items"]["item"].tolist() == ["0", "8"]
    wide = MultiplicityQuestion(epsilon=0.5, draws=100).answer(store)
    assert wide.estimates["ambiguity"].value == pytest.approx(0.6)
    assert wide.estimates["discrepancy"].value == pytest.approx(0.5)


def test_that_every_draw_is_measured_as_the_sample_is() -> None:
    generator = np.random.default_rng(0)
    wrong = (generator.random((60, 5)) < [0.2, 0.25, 0.3, 0.3, 0.5]).astype(float)
    differs = generator.random((60, 5)) < 0.3
    differs[:, 0] = False
    steps = np.array([0.0, 0.05, 0.1, 0.4])
    counts = generator.multinomial(60, np.full(60, 1 / 60), size=6)
    swept = _of_draws(wrong, differs, np.arange(60), 0, steps, counts)
    for draw in range(6):
        for at, step in enumerate(steps):
            direct = _measures(counts[draw].astype(float), wrong, differs, 0, float(step))
            assert swept[draw, at] == pytest.approx(direct, nan_ok=True)


def test_that_churn_inside_the_set_is_at_most_twice_the_discrepancy(mmlu_pro: RunStore) -> None:
    question = MultiplicityQuestion(reference="Mixtral-8x7B-v0.1", epsilon=0.1, draws=100)
    result = question.answer(mmlu_pro)
    assert len(result.members) > 3
    churn = ChurnQuestion(versions=result.members, draws=100).answer(mmlu_pro)
    assert churn.matrix.max() <= 2 * result.estimates["discrepancy"].value
    assert result.estimates["discrepancy"].value <= result.estimates["ambiguity"].value
    assert [panel.key for panel in multiplicity_figure(question, result).panels] == ["sweep", "dissent"]


def test_that_a_model_without_an_equal_leaves_ambiguity_undefined(answered: Answered) -> None:
    result = MultiplicityQuestion(epsilon=0.0, draws=100).answer(answered(list("aaa"), list("abb")))
    assert np.isnan(result.estimates["ambiguity"].value)
    assert "undefined" in result.summary()
