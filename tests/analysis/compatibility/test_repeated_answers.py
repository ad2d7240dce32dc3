from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from runglass.analysis.compatibility.joint import JointQuestion
from runglass.analysis.compatibility.joint import figure as joint_figure
from runglass.analysis.compatibility.nondeterminism import NondeterminismQuestion
from runglass.analysis.compatibility.nondeterminism import figure as repeats_figure
from runglass.analysis.compatibility.perturbed import PerturbedQuestion
from runglass.analysis.compatibility.perturbed import figure as perturbed_figure
from runglass.models.errors import TooLittleData
from runglass.models.figure import Bars, Points
from runglass.models.store import RunStore

Answered = Callable[..., RunStore]
Stored = Callable[[pd.DataFrame], RunStore]


def variants(answers: dict[tuple[str, str], str], column: str = "variant") -> pd.DataFrame:
    """Rows of models' answers, one letter an item, to variants of the same items; 'a' is right."""
    return pd.concat(
        [
            pd.DataFrame({"model": model, column: variant, "item": [f"i{i}" for i in range(len(given))], "label": "a",
                          "prediction": list(given)})
            for (model, variant), given in answers.items()
        ],
        ignore_index=True,
    )  # fmt: skip


def test_that_a_drop_is_right_to_wrong_less_wrong_to_right_and_tested_so(stored: Stored) -> None:
    # 6 break and 16 mend of 161: the table of Cavo et al., whose exact McNemar p is 0.052479.
    frame = variants(
        {("m", "original"): "a" * 65 + "b" * 96, ("m", "reworded"): "a" * 59 + "b" * 6 + "a" * 16 + "b" * 80}
    )
    result = PerturbedQuestion().answer(stored(frame))
    row = result.tables["drops"].iloc[0]
    assert (row["right_to_wrong"], row["wrong_to_right"]) == (6, 16)
    assert row["drop"] == pytest.approx(-10 / 161)
    assert row["p"] == pytest.approx(0.052479, abs=1e-6)
    assert not row["overfit"]  # more mend than break


def test_that_overfit_needs_significance_after_holm_and_more_broken_than_mended(stored: Stored) -> None:
    broken = variants({("m", "original"): "a" * 40, ("m", "x"): "b" * 10 + "a" * 30, ("m", "y"): "a" * 40})
    table = PerturbedQuestion().answer(stored(broken)).tables["drops"].set_index("variant")
    assert table["overfit"].to_dict() == {"x": True, "y": False}
    assert table.loc["x", "p"] == pytest.approx(2 * 0.5**10)
    assert table.loc["x", "p_holm"] == pytest.approx(2 * 2 * 0.5**10)
    assert table.loc["x", "retention"] == 0.75


def test_that_agreement_over_variants_is_counted_by_hand(stored: Stored) -> None:
    frame = variants({("m", "original"): "aabb", ("m", "x"): "aacb", ("m", "y"): "abcb"})
    result = PerturbedQuestion().answer(stored(frame))
    strip = result.tables["consistency"].iloc[0]
    assert strip["all_variants_right"] == 0.25
    assert strip["any_variant_right"] == 0.5
    assert strip["pairwise_agreement"] == pytest.approx((3 / 4 + 2 / 4 + 3 / 4) / 3)  # 0-1, 0-2, 1-2
    assert strip["largest_cluster_share"] == pytest.approx((3 + 2 + 2 + 3) / 4 / 3)
    assert result.right_under["m"].tolist() == [3, 2, 0, 0]


def test_that_levels_are_drawn_in_their_order_from_the_least_distorted(stored: Stored) -> None:
    answers = {(model, level): "a" * (9 - int(level)) + "b" * (1 + int(level)) for model in "mn" for level in "0248"}
    question = PerturbedQuestion()
    store = stored(variants(answers, "distortion"))
    result = question.answer(store)
    assert question.resolved(store).original == "0"
    assert result.levels.tolist() == [0, 2, 4, 8]
    spec = perturbed_figure(question, result)
    assert [panel.key for panel in spec.panels] == ["drops", "levels", "wavers"]
    points = next(mark for _, mark in spec.marks() if isinstance(mark, Points) and mark.key == "2")
    assert points.x == pytest.approx([20, 20])
    assert points.origin is not None
    rows = store.rows("predictions", points.origin.clause([0]))
    assert set(rows["model"]) == {"m"}
    assert set(rows["item"]) == {"i7", "i8"}
    assert set(rows["distortion"].astype(str)) == {"0", "2"}


def test_that_drops_are_averaged_over_models_with_their_own_interval(stored: Stored) -> None:
    from scipy.stats import t

    answers = {
        (f"m{k}", v): ("a" * 20 if v == "original" else "b" * k + "a" * (20 - k))
        for k in (1, 2, 6)
        for v in ("original", "x")
    }
    drop = PerturbedQuestion().answer(stored(variants(answers))).estimates["mean_drop"]
    values = np.array([1, 2, 6]) / 20
    low, high = t.interval(0.95, 2, values.mean(), values.std(ddof=1) / np.sqrt(3))
    assert (drop.value, drop.low, drop.high) == pytest.approx((0.15, low, high))


def test_that_without_variants_the_column_is_asked_for(answered: Answered) -> None:
    with pytest.raises(TooLittleData, match="which variant"):
        PerturbedQuestion().answer(answered(list("ab"), list("ab")))


def test_that_the_self_flip_rate_is_that_of_all_pairs_of_repeats(stored: Stored) -> None:
    generator = np.random.default_rng(0)
    right = generator.random((50, 4)) < generator.random((50, 1))
    frame = pd.DataFrame(
        [
            {"model": "m", "sample": str(s), "item": f"i{i}", "correct": float(right[i, s])}
            for i in range(50)
            for s in range(4)
        ]
    )
    result = NondeterminismQuestion(draws=200).answer(stored(frame))
    pairs = [np.mean(right[:, a] != right[:, b]) for a in range(4) for b in range(a)]
    assert result.estimates["self_flip"].value == pytest.approx(np.mean(pairs))
    assert result.estimates["not_unanimous"].value == pytest.approx(np.mean(right.any(axis=1) & ~right.all(axis=1)))
    assert result.estimates["sd_of_accuracy"].value == pytest.approx(right.mean(axis=0).std(ddof=1))


def test_that_entropy_is_that_of_the_answers(stored: Stored) -> None:
    from scipy.stats import entropy

    frame = pd.concat(
        [
            pd.DataFrame(
                {"model": "m", "sample": str(s), "item": ["x", "y", "z"], "label": "a", "prediction": list(given)}
            )
            for s, given in enumerate(["aab", "abb", "acb", "aab"])
        ]
    )
    result = NondeterminismQuestion(draws=100).answer(stored(frame))
    items = result.tables["items"].set_index("item")
    assert items.index.tolist() == ["y"]
    assert items.loc["y", "entropy"] == pytest.approx(entropy([2, 1, 1], base=2))
    assert items.loc["y", "answers"] == 3
    assert result.estimates["mean_entropy"].value == pytest.approx(entropy([2, 1, 1], base=2) / 3)


def test_that_a_deterministic_model_gives_zero_and_a_warning(stored: Stored) -> None:
    frame = pd.concat(
        [
            pd.DataFrame({"model": "m", "sample": str(s), "item": ["x", "y"], "label": "a", "prediction": ["a", "b"]})
            for s in "12"
        ]
    )
    question = NondeterminismQuestion(draws=100)
    result = question.answer(stored(frame))
    for name in ("self_flip", "not_unanimous", "answers_differ", "mean_entropy", "sd_of_accuracy"):
        assert result.estimates[name].value == 0
    assert any("identical" in note for note in result.notes)
    assert len(repeats_figure(question, result).panels) == 2


def test_that_items_with_fewer_repeats_count_with_those_they_have(stored: Stored) -> None:
    rows = [("x", "1", 1), ("x", "2", 0), ("x", "3", 1), ("y", "1", 1), ("y", "2", 0), ("z", "1", 1)]
    frame = pd.DataFrame(rows, columns=["item", "sample", "correct"]).assign(model="m")
    result = NondeterminismQuestion(draws=100).answer(stored(frame))
    assert result.estimates["n"].value == 2  # z was asked once
    assert result.estimates["self_flip"].value == pytest.approx((2 / 3 + 1) / 2)


def test_that_a_single_answer_an_item_is_too_little(stored: Stored) -> None:
    frame = pd.DataFrame({"model": "m", "item": ["x", "y"], "correct": [1, 0]})
    with pytest.raises(TooLittleData, match="several answers"):
        NondeterminismQuestion().answer(stored(frame))


def triplets(*groups: str, model: str = "m") -> pd.DataFrame:
    """Questions in groups of three, of the kinds answer, perception, knowledge; 'a' is right."""
    return pd.DataFrame(
        [
            {"model": model, "item": f"g{g}-{k}", "triplet": f"g{g}", "kind": kind, "label": "a",
             "prediction": None if letter == "-" else letter}
            for g, letters in enumerate(groups)
            for k, (letter, kind) in enumerate(zip(letters, ("answer", "perception", "knowledge"), strict=False))
        ]
    )  # fmt: skip


def test_that_a_group_is_right_only_as_a_whole(stored: Stored) -> None:
    frame = triplets("aaa", "aab", "abb", "bbb", "aaa")
    question = JointQuestion(together="triplet", kind="kind")
    result = question.answer(stored(frame))
    e = {name: estimate.value for name, estimate in result.estimates.items()}
    assert (e["groups"], e["group_accuracy"]) == (5, 0.4)
    assert e["average_accuracy"] == pytest.approx(9 / 15)
    assert e["gap"] == pytest.approx(9 / 15 - 0.4)
    kinds = result.tables["kinds"]
    rates = kinds[kinds["what"] == "right"].set_index("kind")["rate"]
    assert rates.to_dict() == pytest.approx({"answer": 0.8, "perception": 0.6, "knowledge": 0.4})
    assert e["group_accuracy"] <= rates.min()
    given = result.given[result.kinds.index("answer"), result.kinds.index("knowledge")]
    assert given == pytest.approx(2 / 4)  # of four right answers two have the knowledge wrong
    assert [panel.key for panel in joint_figure(question, result).panels] == ["gap", "counts", "kinds"]


def test_that_group_accuracy_has_the_wilson_interval_of_statsmodels(stored: Stored) -> None:
    from statsmodels.stats.proportion import proportion_confint

    frame = triplets(*["aaa"] * 13, *["aab"] * 27)
    found = JointQuestion(together="triplet").answer(stored(frame)).estimates["group_accuracy"]
    assert (found.low, found.high) == pytest.approx(proportion_confint(13, 40, method="wilson"))


def test_that_incomplete_groups_are_left_out_and_counted(stored: Stored) -> None:
    result = JointQuestion(together="triplet").answer(stored(triplets("aaa", "aab", "aa")))
    assert result.estimates["groups"].value == 2
    assert "1 group of another size left out." in result.notes


def test_that_no_answer_costs_nothing_in_reliability_and_a_wrong_one_its_penalty(stored: Stored) -> None:
    store = stored(triplets("aab", "a--"))
    assert JointQuestion(together="triplet").answer(store).estimates["reliability"].value == pytest.approx((3 - 2) / 6)
    assert JointQuestion(together="triplet", penalty=0).answer(store).estimates["reliability"].value == pytest.approx(
        3 / 6
    )


def test_that_a_bar_of_groups_leads_to_their_questions(stored: Stored) -> None:
    store = stored(pd.concat([triplets("aaa", "aab"), triplets("aab", "abb", model="k")]))
    question = JointQuestion(together="triplet")
    result = question.answer(store)
    assert result.focus == "k"
    spec = joint_figure(question, result)
    bars = next(mark for _, mark in spec.marks() if isinstance(mark, Bars) and mark.key == "counts")
    assert bars.height.tolist() == [0, 1, 1, 0]
    assert bars.origin is not None
    rows = store.rows("predictions", bars.origin.clause([2]))
    assert rows["triplet"].unique().tolist() == ["g0"]
    assert rows["model"].unique().tolist() == ["k"]


def test_that_a_column_of_groups_is_asked_for(stored: Stored) -> None:
    with pytest.raises(TooLittleData, match="belong together"):
        JointQuestion().answer(stored(triplets("aaa")))
