from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest

from runglass.analysis.compatibility.flips import FlipsQuestion
from runglass.analysis.compatibility.matrix import FlipMatrix, MatrixQuestion, figure
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Cells
from runglass.models.store import RunStore

Answered = Callable[..., RunStore]


def test_that_every_cell_counts_what_a_loop_counts(answered: Answered) -> None:
    generator = np.random.default_rng(0)
    sides = [generator.choice(["a", "b", "c", None], 200, p=[0.5, 0.2, 0.2, 0.1]).tolist() for _ in range(4)]
    result = MatrixQuestion().answer(answered(*sides))
    for i, j in combinations(range(4), 2):
        flips = sum(a == "a" and b != "a" for a, b in zip(sides[i], sides[j], strict=True))
        back = sum(a != "a" and b == "a" for a, b in zip(sides[i], sides[j], strict=True))
        changed = sum(a != b for a, b in zip(sides[i], sides[j], strict=True))
        assert result.matrices["nfr"][i, j] == result.matrices["pfr"][j, i] == pytest.approx(flips / 200)
        assert result.matrices["pfr"][i, j] == pytest.approx(back / 200)
        assert result.matrices["churn"][i, j] == pytest.approx(changed / 200)
        assert result.matrices["difference"][i, j] == pytest.approx((back - flips) / 200)


@pytest.mark.parametrize(
    ("old", "new", "negative", "positive", "p"),
    [
        ("Mistral-7B-Instruct-v0.1", "Mistral-7B-Instruct-v0.2", 1146, 1700, 2.514078139093824e-25),
        ("Mistral-7B-v0.1", "Mistral-7B-v0.2-hf", 1073, 1001, 0.11896849581093868),
        ("Mixtral-8x7B-v0.1", "Mixtral-8x7B-Instruct-v0.1", 1241, 1483, 3.829106478051174e-06),
    ],
)
def test_that_published_pairs_of_mmlu_pro_stand_in_the_matrix(
    mmlu_pro: RunStore, old: str, new: str, negative: int, positive: int, p: float
) -> None:
    result = MatrixQuestion(old=old, new=new).answer(mmlu_pro)
    row = result.tables["pairs"].query("old == @old and new == @new").iloc[0]
    assert (row["negative_flips"], row["positive_flips"], row["n"]) == (negative, positive, 12032)
    assert row["mcnemar_p"] == pytest.approx(p, rel=1e-9)
    assert result.estimates["mcnemar_p"].value == pytest.approx(p, rel=1e-9)
    assert len(result.tables["pairs"]) == 132
    assert len(result.tables["items"]) == negative + positive


def test_that_the_pair_in_focus_agrees_with_the_flips_of_that_pair(digits: RunStore) -> None:
    matrix = MatrixQuestion(old="v1", new="v2").answer(digits)
    flips = FlipsQuestion(old="v1", new="v2", draws=100).answer(digits)
    for name in ("nfr", "pfr", "accuracy_old", "churn", "mcnemar_p"):
        one, other = matrix.estimates[name], flips.estimates[name]
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), nan_ok=True)
    assert (matrix.cells["negative"][0], matrix.cells["positive"][0]) == (74, 126)


def test_that_what_is_wrong_now_and_was_right_once_is_owed_to_one_version(answered: Answered) -> None:
    sides = ["aaaabbb", "abaabba", "abbabaa", "abbbbab"]
    store = answered(*map(list, sides))
    result = MatrixQuestion().answer(store)
    behind = store.rows("predictions", result.since_items["broken_since"][2])
    assert set(behind["item"]) == {"3", "6"}
    since = result.tables["since"].set_index("version")
    # Item 1 is wrong since v2, item 2 since v3, items 3 and 6 since v4; items 0 and 4 never changed, 5 is right since v3.
    assert since["broken_since"].to_dict() == {"v2": 1, "v3": 1, "v4": 2}
    assert since["right_since"].to_dict() == {"v2": 0, "v3": 1, "v4": 0}
    assert since["broke"].to_dict() == {"v2": 1, "v3": 1, "v4": 2}


def test_that_models_have_no_since_unless_they_are_put_in_order(answered: Answered) -> None:
    store = answered(list("aab"), list("aba"), list("baa"), by="model")
    assert "since" not in MatrixQuestion().answer(store).tables
    ordered = MatrixQuestion(versions=("v3", "v1", "v2")).answer(store)
    assert ordered.tables["since"]["version"].tolist() == ["v1", "v2"]
    assert [ordered.names[number] for number in ordered.focus] == ["v1", "v2"]


def test_that_a_cell_stands_for_the_answers_of_two_versions_to_the_questions_behind_it(answered: Answered) -> None:
    store = answered(list("aab"), list("aba"), list("baa"))
    question = MatrixQuestion()
    spec = figure(question, question.answer(store))
    cells = next(mark for _, mark in spec.marks() if isinstance(mark, Cells) and mark.key == "matrix")
    assert cells.origin is not None
    rows = store.rows("predictions", cells.origin.clause([1]))  # v1 to v2
    assert rows["item"].unique().tolist() == ["1"]
    assert sorted(rows["version"]) == ["v1", "v2"]


def test_that_each_pair_can_be_compared_on_what_both_answered(answered: Answered) -> None:
    store = answered(list("aaaa"), list("ab"), list("abba"))
    common = MatrixQuestion(versions=("v1", "v2", "v3")).answer(store)
    assert common.matrices["n"].tolist() == [[2, 2, 2]] * 3
    assert any(note.startswith("Attention: Items left out because not answered by all") for note in common.notes)
    each = MatrixQuestion(versions=("v1", "v2", "v3"), compare="items of each pair").answer(store)
    assert each.matrices["n"].tolist() == [[4, 2, 4], [2, 2, 2], [4, 2, 4]]
    assert each.matrices["nfr"][0, 2] == 0.5


def test_that_a_version_that_answered_other_items_is_left_out_and_named(answered: Answered) -> None:
    store = answered(list("aab"), list("aba"), list("baa"))
    frame = store.rows("predictions")
    frame.loc[frame["version"] == "v3", "item"] = ["7", "8", "9"]
    from runglass.models.tables import TableRows

    result = MatrixQuestion().answer(RunStore().adding([TableRows("t", "t", frame, "predictions")]))
    assert result.names == ("v1", "v2")
    assert "Left out, since they answered other items: v3." in result.notes


def test_that_items_whose_hash_differs_are_left_out_and_prompts_that_differ_are_said(
    stored: Callable[[pd.DataFrame], RunStore],
) -> None:
    frame = pd.DataFrame(
        {
            "model": ["m", "m", "m", "k", "k", "k"],
            "item": list("012") * 2,
            "correct": [1, 0, 1, 0, 1, 1],
            "doc_hash": list("xyz") + list("xyw"),
            "prompt_hash": list("abc") + list("aBc"),
        }
    )
    result = MatrixQuestion().answer(stored(frame))
    assert result.estimates["n"].value == 2
    assert "1 item left out: the doc_hash differs between versions." in result.notes
    assert "Attention: the prompt_hash of 1 item differs between versions; they are kept." in result.notes


def test_that_whole_clusters_widen_the_intervals(answered: Answered) -> None:
    generator = np.random.default_rng(1)
    passage = np.repeat(np.arange(30), 10)
    new = np.where(np.repeat(generator.random(30) < 0.5, 10), "a", "b").tolist()
    store = answered(["a"] * 300, new, passage=passage.tolist())

    def width(result: FlipMatrix) -> float:
        return result.estimates["nfr"].high - result.estimates["nfr"].low

    alone, together = MatrixQuestion().answer(store), MatrixQuestion(cluster="passage", draws=500).answer(store)
    assert width(together) == pytest.approx(width(alone) * np.sqrt(10), rel=0.2)


def test_that_a_guess_is_worth_its_chance(answered: Answered) -> None:
    store = answered(["a", None], ["a", "a"], n_options=[4, 4])
    result = MatrixQuestion(unanswered="guess").answer(store)
    assert result.estimates["accuracy_old"].value == pytest.approx(1.25 / 2)
    assert result.to_json()["estimates"]["mcnemar_p"]["value"] is None


def test_that_one_version_alone_or_twice_the_same_is_refused(answered: Answered) -> None:
    with pytest.raises(TooLittleData):
        MatrixQuestion().answer(answered(list("ab")))
    with pytest.raises(AnalysisError, match="same version"):
        MatrixQuestion(old="v1", new="v1").answer(answered(list("ab"), list("aa")))


@pytest.mark.parametrize("show", ["pfr", "difference", "churn", "mcnemar_p", "relative_nfr"])
def test_that_each_number_can_be_shown_and_is_written_in_its_cells(answered: Answered, show: Any) -> None:
    sides = [["a"] * 40 + ["b"] * 20, ["b"] * 10 + ["a"] * 40 + ["b"] * 10, ["a"] * 10 + ["b"] * 50]
    question = MatrixQuestion(show=show)
    result = question.answer(answered(*sides))
    cells = next(mark for _, mark in figure(question, result).marks() if isinstance(mark, Cells))
    value = result.matrices[show][0, 2]
    if show == "mcnemar_p":
        assert cells.values[0, 2] == pytest.approx(-np.log10(value))
        assert cells.texts[0][2] == "<.001"
    elif show == "difference":
        assert cells.texts[0][2] == f"−{abs(100 * value):.1f}"
        assert cells.low == -cells.high  # type: ignore[operator]
    else:
        assert cells.values[0, 2] == pytest.approx(value * (100 if show in ("pfr", "churn") else 1))


def test_that_answers_of_many_kinds_are_the_same_as_often_as_a_loop_finds(answered: Answered) -> None:
    generator = np.random.default_rng(2)
    sides = [generator.integers(0, 400, 900).astype(str).tolist() for _ in range(2)]
    sides.append([one if number % 3 else "a" for number, one in enumerate(sides[0])])
    result = MatrixQuestion().answer(answered(*sides))
    for i, j in combinations(range(3), 2):
        changed = sum(a != b for a, b in zip(sides[i], sides[j], strict=True))
        assert result.matrices["churn"][i, j] == pytest.approx(changed / 900)
