from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from runglass.analysis.judges.agreement import ANALYSIS, Agreement, AgreementQuestion, figure, judge_and_ceiling
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Cells
from runglass.models.store import RunStore
from runglass.models.tables import TableRows

# Shrout and Fleiss (1979), table 2.
SHROUT = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
KRIPPENDORFF = ("123321412---", "1233224125-3", "-3332342251-", "12332441251-")


def store_of(frame: pd.DataFrame, table: str = "predictions") -> RunStore:
    return RunStore().adding([TableRows("ratings.csv", "test", frame, table)])


def ratings(rows: list[list[Any]], **columns: Any) -> pd.DataFrame:
    """Ratings with one row an item and one column a rater."""
    long = [
        {"item": f"i{i}", "rater": f"r{r}", "rating": value}
        for i, row in enumerate(rows)
        for r, value in enumerate(row)
    ]
    return pd.DataFrame(long).assign(**columns)


def asked(frame: pd.DataFrame, table: str = "predictions", **options: Any) -> Agreement:
    return AgreementQuestion(**{"draws": 300, **options}).answer(store_of(frame, table))


def values(result: Agreement) -> dict[str, float]:
    return {name: estimate.value for name, estimate in result.estimates.items()}


def test_that_the_ratings_of_shrout_and_fleiss_give_their_coefficients() -> None:
    result = asked(ratings(SHROUT))
    found = values(result)
    forms = ("ICC(1,1)", "ICC(2,1)", "ICC(3,1)", "ICC(2,k)", "ICC(3,k)")
    assert [found[form] for form in forms] == pytest.approx([0.166, 0.290, 0.715, 0.620, 0.909], abs=6e-4)
    assert (result.estimates["ICC(2,1)"].low, result.estimates["ICC(2,1)"].high) == pytest.approx(
        (0.019, 0.761), abs=1e-3
    )
    assert not result.estimates["krippendorff_alpha"].has_interval
    assert "6 items" in result.estimates["krippendorff_alpha"].why_no_interval


@pytest.mark.parametrize(("scale", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_that_krippendorffs_example_with_missing_ratings_gives_his_alpha(scale: Any, alpha: float) -> None:
    rows = [[float(c) if c.isdigit() else None for c in column] for column in zip(*KRIPPENDORFF, strict=True)]
    result = asked(ratings(rows), scale=scale)
    assert values(result)["krippendorff_alpha"] == pytest.approx(alpha, abs=5e-4)
    # One item was rated by one observer alone, and holds no pair.
    assert values(result)["n"] == 11
    assert any("rated by one alone" in note for note in result.notes)


def test_that_two_raters_have_cohens_kappa_and_a_table_of_their_items() -> None:
    from statsmodels.stats.inter_rater import cohens_kappa

    generator = np.random.default_rng(0)
    a = generator.integers(0, 3, 200)
    b = np.where(generator.random(200) < 0.7, a, generator.integers(0, 3, 200))
    result = asked(ratings([["xyz"[i], "xyz"[j]] for i, j in zip(a, b, strict=True)]))
    counts = np.zeros((3, 3))
    np.add.at(counts, (a, b), 1)
    expected = cohens_kappa(counts)
    kappa = result.estimates["cohen_kappa"]
    assert kappa.value == pytest.approx(expected.kappa)
    # The bootstrap against the asymptotic interval of Fleiss, Cohen and Everitt (1969).
    assert (kappa.low, kappa.high) == pytest.approx((expected.kappa_low, expected.kappa_upp), abs=0.025)
    cells = next(mark for _, mark in figure(AgreementQuestion(), result).marks() if isinstance(mark, Cells))
    assert cells.values.tolist() == counts.tolist()
    assert cells.origin is not None
    both_x = cells.origin.clause([0])
    items = {f"i{n}" for n in np.flatnonzero((a == 0) & (b == 0))}
    frame = ratings([["x", "y"]] * 200)
    assert set(frame["item"][both_x.mask(frame)]) == items


def test_that_the_judge_is_held_against_the_ceiling_of_the_people() -> None:
    # Three people: the third is at odds on the last item; the judge (r3) follows the majority always.
    result = asked(ratings([["a", "a", "a", "a"]] * 8 + [["b", "b", "a", "b"]] * 8), judge="r3")
    found = values(result)
    # Odd items: r0 left out: rest (b, a) ties: 1/2, judge 1/2; r1 the same; r2 left out: rest b, r2 wrong, judge right.
    assert found["ceiling"] == pytest.approx((8 * 1 + 8 * (0.5 + 0.5 + 0) / 3) / 16)
    assert found["judge"] == pytest.approx((8 * 1 + 8 * (0.5 + 0.5 + 1) / 3) / 16)
    assert found["judge_less_ceiling"] == pytest.approx(found["judge"] - found["ceiling"])
    assert "r3 agrees with the mode of the others" in result.summary()


def test_that_a_judge_that_answers_as_people_do_reaches_the_ceiling() -> None:
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 4, 4000)
    codes = np.stack(
        [np.where(generator.random(4000) < 0.7, truth, generator.integers(0, 4, 4000)) for _ in range(5)], axis=1
    )
    judge, ceiling = judge_and_ceiling(codes, 4, 4)
    assert judge.mean() == pytest.approx(ceiling.mean(), abs=0.015)


def test_that_categories_are_told_apart() -> None:
    frame = ratings([["a", "a", "a", "a"]] * 12 + [["b", "b", "b", "a"]] * 12)
    frame["kind"] = ["easy" if int(item[1:]) < 12 else "hard" for item in frame["item"]]
    result = asked(frame, judge="r3", category="kind")
    table = result.tables["categories"].set_index("category")
    assert table.loc["easy", ["judge", "ceiling"]].tolist() == [1, 1]
    assert table.loc["hard", ["judge", "ceiling"]].tolist() == [0, 1]
    assert table.loc["all items", "judge"] == 0.5


def test_that_verdicts_over_pairs_are_the_same_whichever_is_shown_first() -> None:
    frame = pd.DataFrame(
        [
            {"item": "p1", "a": "m1", "b": "m2", "judge": "human", "winner": "a"},
            {"item": "p1", "a": "m2", "b": "m1", "judge": "llm", "winner": "b"},
            {"item": "p2", "a": "m1", "b": "m2", "judge": "human", "winner": "tie"},
            {"item": "p2", "a": "m1", "b": "m2", "judge": "llm", "winner": "b"},
        ]
    )
    result = asked(frame, "comparisons")
    assert values(result)["p_o"] == 0.5
    assert result.table.values == ("first", "tie", "second")


def test_that_repeats_of_a_rater_are_no_raters() -> None:
    frame = pd.concat([ratings([[1, 1], [2, 3], [3, 3]]), ratings([[1], [3], [3]])])
    result = asked(frame)
    assert values(result)["raters"] == 2
    repeats = result.tables["repeats"].set_index("rater")
    assert repeats.loc["r0", "same"] == pytest.approx(2 / 3)
    assert repeats.loc["r0", "sd"] == pytest.approx(np.sqrt((0 + 0.5 + 0) / 3))


def test_that_what_is_missing_is_said() -> None:
    with pytest.raises(TooLittleData, match="no column that tells raters apart"):
        asked(pd.DataFrame({"item": ["a", "b"], "rating": [1, 2]}))
    with pytest.raises(AnalysisError, match="No rater is called 'r9'"):
        asked(ratings([[1, 2], [2, 2]]), judge="r9")
    with pytest.raises(AnalysisError, match="'good' is no number"):
        asked(ratings([["good", "bad"]] * 3), scale="interval")
    with pytest.raises(TooLittleData, match="items that two raters rated"):
        asked(ratings([[1, None], [None, 2]]))


def test_that_either_table_of_ratings_will_do_and_both_are_inputs() -> None:
    assert ANALYSIS.inputs == ("comparisons", "predictions")
    assert AgreementQuestion.missing(RunStore()) == "needs a comparisons or a predictions table; none is open"
    assert AgreementQuestion.missing(store_of(ratings([[1, 2]]))) == ""


def test_that_the_judge_and_one_person_stand_beside_each_other_by_category() -> None:
    frame = ratings([["a", "a", "a", "a"]] * 12 + [["b", "b", "b", "a"]] * 12)
    frame["kind"] = ["easy" if int(item[1:]) < 12 else "hard" for item in frame["item"]]
    question = AgreementQuestion(judge="r3", category="kind", draws=100)
    spec = figure(question, question.answer(store_of(frame)))
    panel = next(panel for panel in spec.panels if panel.key == "ceiling")
    shown = {mark.key: mark for mark in panel.marks}
    assert panel.y.names == ("easy", "hard", "all items")
    assert shown["judge"].x.tolist() == [100, 0, 50]  # type: ignore[union-attr]
    assert shown["ceiling"].x.tolist() == [100, 100, 100]  # type: ignore[union-attr]


def test_that_ratings_of_many_values_agree_as_often_as_two_of_an_item_are_the_same() -> None:
    # Of 1,500 different numbers; three raters, two of whom say the same on every third item.
    numbers = np.arange(1500, dtype=float)
    rows = [[x, x if i % 3 == 0 else x + 0.25, x + 0.5] for i, x in enumerate(numbers)]
    result = asked(ratings(rows), scale="interval", draws=100)
    assert result.estimates["p_o"].value == pytest.approx((1 / 3) * (1 / 3))
    assert "fleiss_kappa" not in result.estimates


def test_that_a_category_of_few_items_has_no_interval() -> None:
    frame = ratings([["a", "a", "a"]] * 20 + [["b", "b", "a"]] * 2)
    frame["kind"] = ["many" if int(item[1:]) < 20 else "few" for item in frame["item"]]
    table = asked(frame, judge="r2", category="kind").tables["categories"].set_index("category")
    assert np.isnan(table.loc["few", "judge_low"])
    assert table.loc["many", "judge_low"] == 1
