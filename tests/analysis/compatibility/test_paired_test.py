from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from runglass.analysis.compatibility.paired_test import PairedTestQuestion, figure
from runglass.analysis.paired_tests import (
    benjamini_hochberg,
    clopper_pearson,
    cochran_q,
    corrected_resampled_t,
    five_by_two_f,
    five_by_two_t,
    mcnemar_chi_square,
    mcnemar_exact_all,
    mcnemar_mid_p,
    newcombe_independent,
    newcombe_paired,
    odds_ratio_interval,
    said_p,
    sign_flip_p,
)
from runglass.models.errors import AnalysisError
from runglass.models.figure import Cells
from runglass.models.store import RunStore

Answered = Callable[..., RunStore]


def test_that_mcnemar_agrees_with_the_published_example_of_cavo() -> None:
    """Complete response before and after therapy (Cavo et al. 2012): 59, 6, 16, 80; values of Fagerland et al."""
    assert float(mcnemar_exact_all(np.array(6), np.array(16))) == pytest.approx(0.052479, abs=1e-6)
    assert mcnemar_mid_p(6, 16) == pytest.approx(0.034690, abs=1e-6)
    statistic, p = mcnemar_chi_square(6, 16)
    assert (np.sqrt(statistic), p) == pytest.approx((1.919, 0.055009), abs=5e-4)
    assert newcombe_paired(59, 6, 16, 80) == pytest.approx((-0.1186, -0.0046), abs=5e-5)


def test_that_exact_intervals_agree_with_published_ones() -> None:
    assert clopper_pearson(13, 16) == pytest.approx((0.5435, 0.9595), abs=5e-5)
    assert clopper_pearson(10, 10) == pytest.approx((0.6915, 1.0), abs=5e-5)
    assert odds_ratio_interval(25, 2) == pytest.approx((3.1169, 108.8892), abs=5e-4)


def test_that_mcnemar_and_cochran_equal_statsmodels() -> None:
    from statsmodels.stats.contingency_tables import cochrans_q, mcnemar

    for b, c in ((30, 12), (0, 5), (7, 7), (300, 240)):
        table = [[50, b], [c, 50]]
        assert float(mcnemar_exact_all(np.array(b), np.array(c))) == pytest.approx(mcnemar(table, exact=True).pvalue)
        theirs = mcnemar(table, exact=False, correction=True)
        if b != c:  # statsmodels lets the correction carry |b - c| below 0
            assert mcnemar_chi_square(b, c) == pytest.approx((theirs.statistic, theirs.pvalue))
    right = np.random.default_rng(0).integers(0, 2, (200, 4)).astype(float)
    theirs = cochrans_q(right)
    assert cochran_q(right) == pytest.approx((theirs.statistic, 3, theirs.pvalue))
    b, c = ((right[:, 0] > right[:, 1]).sum(), (right[:, 0] < right[:, 1]).sum())
    assert cochran_q(right[:, :2]).statistic == pytest.approx((b - c) ** 2 / (b + c))


def test_that_adjusted_p_values_equal_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    p = np.random.default_rng(1).random(30) ** 3
    assert benjamini_hochberg(p) == pytest.approx(multipletests(p, method="fdr_bh")[1])
    assert np.isnan(benjamini_hochberg(np.array([np.nan, 0.1]))[0])


def test_that_sign_flips_of_few_units_are_exact_and_of_many_near_the_exact_test() -> None:
    assert sign_flip_p(np.array([3.0, 2.0, 1.0])) == 2 / 8
    assert sign_flip_p(np.array([1.0, -1.0])) == 1.0
    units = np.array([1.0] * 30 + [-1.0] * 12)
    assert sign_flip_p(units, draws=20_000) == pytest.approx(0.00792, abs=0.002)


def test_that_folds_give_the_statistics_of_their_papers() -> None:
    """Written out by hand from the formulas: s² of (a, b) is (a − b)² / 2."""
    d = np.array([[0.02, 0.01], [0.03, 0.01], [0.00, 0.02], [0.01, 0.02], [0.02, 0.04]])
    variances = np.array([0.01, 0.02, 0.02, 0.01, 0.02]) ** 2 / 2
    assert five_by_two_t(d).statistic == pytest.approx(0.02 / np.sqrt(variances.mean()))
    assert five_by_two_f(d).statistic == pytest.approx((d**2).sum() / (2 * variances.sum()))
    assert five_by_two_f(d).statistic == pytest.approx(five_by_two_f(d[:, ::-1]).statistic)
    from scipy.stats import f, t

    assert five_by_two_t(d).p == pytest.approx(2 * t.sf(five_by_two_t(d).statistic, 5))
    assert five_by_two_f(d).p == pytest.approx(f.sf(five_by_two_f(d).statistic, 10, 5))
    ten = np.arange(10) / 100
    expected = ten.mean() / np.sqrt((1 / 10 + 1 / 9) * ten.var(ddof=1))
    assert corrected_resampled_t(ten, 0.1).statistic == pytest.approx(expected)


def test_that_the_5_by_2_test_rarely_rejects_where_nothing_differs() -> None:
    generator = np.random.default_rng(2)
    rejected = sum(five_by_two_f(generator.normal(0, 1, (5, 2))).p < 0.05 for _ in range(2000)) / 2000
    assert rejected < 0.06


def test_that_both_sides_of_the_table_and_all_versions_are_tested(mmlu_pro: RunStore) -> None:
    question = PairedTestQuestion(old="Mistral-7B-v0.1", new="Mistral-7B-v0.2-hf")
    result = question.answer(mmlu_pro)
    assert (result.counts["b"], result.counts["c"]) == (1073, 1001)
    assert result.estimates["mcnemar_p"].value == pytest.approx(0.11896849581093868)
    assert result.estimates["odds_ratio"].value == pytest.approx(1073 / 1001)
    assert len(result.tables["pairs"]) == 66
    assert (result.tables["pairs"]["p_adjusted"] >= result.tables["pairs"]["p"]).all()
    keys = [panel.key for panel in figure(question, result).panels]
    assert keys == ["table", "chance", "pairs"]


def test_that_identical_outcomes_are_said_and_not_tested(answered: Answered) -> None:
    result = PairedTestQuestion().answer(answered(list("aab"), list("aac")))
    assert "identical outcomes" in result.summary()
    assert result.estimates["mcnemar_p"].value == 1
    assert result.to_json()["estimates"]["odds_ratio"]["value"] is None


def test_that_clusters_that_answer_alike_make_the_test_less_sure(answered: Answered) -> None:
    new = ["b"] * 20 + ["a"] * 20
    store = answered(["a"] * 40, new, passage=[i // 10 for i in range(40)])
    result = PairedTestQuestion(cluster="passage").answer(store)
    assert result.estimates["mcnemar_p"].value < 1e-4
    assert result.estimates["sign_flip_p"].value == 0.5  # two clusters with the same sign: 2 of 4


def test_that_a_cross_validation_is_tested_by_folds(stored: Callable[[pd.DataFrame], RunStore]) -> None:
    generator = np.random.default_rng(3)
    rows = []
    for repeat in range(5):
        fold = generator.permutation(np.arange(200) % 2)
        for version, chance in (("v1", 0.7), ("v2", 0.8)):
            right = generator.random(200) < chance
            items = [f"i{i}" for i in range(200)]
            parts = {"item": items, "version": version, "repeat": f"r{repeat}", "fold": fold, "correct": right}
            rows.append(pd.DataFrame(parts).astype({"correct": float}))
    frame = pd.concat(rows)
    result = PairedTestQuestion(repeat="repeat", fold="fold").answer(stored(frame))
    folds = result.tables["folds"]
    assert len(folds) == 10
    means = frame.groupby(["repeat", "fold", "version"])["correct"].mean().unstack()
    assert folds["difference"].to_numpy() == pytest.approx((means["v2"] - means["v1"]).to_numpy())
    expected = five_by_two_f(folds["difference"].to_numpy().reshape(5, 2))
    assert result.estimates["cv52_f"].value == pytest.approx(expected.statistic)
    assert result.estimates["cv52_f_p"].value == pytest.approx(expected.p)


def test_that_a_guess_cannot_be_tested(answered: Answered) -> None:
    with pytest.raises(AnalysisError, match="guessed credit"):
        PairedTestQuestion(unanswered="guess").answer(answered(list("ab"), list("aa")))


def test_that_a_cell_of_the_table_leads_to_its_questions(answered: Answered) -> None:
    store = answered(list("aab"), list("aba"))
    question = PairedTestQuestion()
    spec = figure(question, question.answer(store))
    cells = next(mark for _, mark in spec.marks() if isinstance(mark, Cells))
    assert cells.origin is not None
    assert store.rows("predictions", cells.origin.clause([1]))["item"].unique().tolist() == ["1"]


def test_that_tests_of_nothing_are_undefined_and_not_significant() -> None:
    assert np.isnan(cochran_q(np.array([[1, 1], [0, 0]])).p)
    assert np.isnan(newcombe_paired(0, 0, 0, 0)).all()
    assert np.isnan(newcombe_independent(0, 0, 3, 5)).all()
    assert sign_flip_p(np.zeros(4)) == 1.0
    for test in (five_by_two_t, five_by_two_f):
        assert np.isnan(test(np.full((5, 2), 0.1)).p)
    assert np.isnan(corrected_resampled_t(np.full(10, 0.1), 0.1).p)
    assert corrected_resampled_t(np.array([0.3]), 0.1).df == (0,)
    assert np.isnan(benjamini_hochberg(np.array([np.nan, np.nan]))).all()
    assert said_p(math.nan) == "is undefined"


def test_that_one_fold_or_uneven_folds_make_no_test_of_folds(stored: Callable[[pd.DataFrame], RunStore]) -> None:
    rows = [{"version": v, "item": f"i{i}", "correct": float((i + n) % 3 > 0), "fold": i % 3, "repeat": 0}
            for n, v in enumerate(("a", "b")) for i in range(30)]  # fmt: skip
    frame = pd.DataFrame(rows)
    notes = PairedTestQuestion(fold="fold", repeat="repeat").answer(stored(frame)).notes
    assert any(note.startswith("No 5 x 2 cv test: 1 repeat of 3 to 3 folds") for note in notes)
    with pytest.raises(AnalysisError, match="two folds or more"):
        PairedTestQuestion(fold="fold").answer(stored(frame.assign(fold=0)))
