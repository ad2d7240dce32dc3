from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from runglass.analysis.answer_matrix import answer_matrix
from runglass.analysis.pair_tests import PairAnswers, adjusted, better_p, mcnemar_p, random_subsets
from runglass.analysis.ranking.significance import KINDS, SignificanceAgreement, SignificanceQuestion, figure
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Cells
from runglass.models.loader import load
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def frame_of(right: np.ndarray, **columns: Any) -> pd.DataFrame:
    """Predictions of models m0, m1, ... (columns of `right`) on items (rows)."""
    n, k = right.shape
    rows = {"model": np.tile([f"m{i}" for i in range(k)], n), "item": np.repeat(np.arange(n), k).astype(str)}
    return pd.DataFrame(rows | {"correct": right.ravel().astype(float)} | columns)


def store_of(*frames: pd.DataFrame) -> RunStore:
    return RunStore().adding([TableRows("answers.csv", "test", pd.concat(frames), "predictions")])


def asked(store: RunStore, **options: Any) -> SignificanceAgreement:
    return SignificanceQuestion(**({"draws": 40} | options)).answer(store)


RIGHT = np.random.default_rng(0).random((300, 5)) < np.array([0.8, 0.75, 0.6, 0.58, 0.3])


def test_that_p_values_are_those_of_scipy_and_statsmodels() -> None:
    generator = np.random.default_rng(0)
    b, c = generator.integers(0, 20, (2, 30))
    expected = [binomtest(int(x), int(x + y), 0.5).pvalue if x + y else 1.0 for x, y in zip(b, c, strict=True)]
    np.testing.assert_allclose(mcnemar_p(b, c), expected, rtol=1e-9)
    p = generator.random((3, 12)) ** 3
    for row, holm, bh in zip(p, adjusted(p, "holm"), adjusted(p, "bh"), strict=True):
        np.testing.assert_allclose(holm, multipletests(row, method="holm")[1])
        np.testing.assert_allclose(bh, multipletests(row, method="fdr_bh")[1])
    at_most = [binomtest(x, 10, 0.5, alternative="less").pvalue for x in (7, 2)]
    fewer = [binomtest(x - 1, 10, 0.5, alternative="less").pvalue for x in (7, 2)]
    below = better_p(np.array([7, 2]), np.array([3, 8]))
    assert below.tolist() == pytest.approx([(a + b) / 2 for a, b in zip(at_most, fewer, strict=True)])
    assert better_p(np.array([5]), np.array([5]))[0] == pytest.approx(0.5)
    assert (below + better_p(np.array([3, 8]), np.array([7, 2]))).tolist() == pytest.approx([1, 1])


def test_that_the_whole_evaluation_keeps_everything() -> None:
    e = asked(store_of(frame_of(RIGHT)), items=300).estimates
    assert (e["precision"].value, e["recall"].value, e["order_kept"].value) == (1, 1, 1)
    assert e["share active disagreement"].value == e["share mixed, same sign"].value == 0


def test_that_fewer_items_keep_fewer_significant_pairs() -> None:
    table = asked(store_of(frame_of(RIGHT))).tables["budgets"].set_index("items")
    assert table["recall"].iloc[0] < 0.5 < table["recall"].iloc[-1]
    assert table["order_kept"].iloc[-1] == 1
    shares = table[[f"share {kind}" for kind in KINDS]].sum(axis=1)
    np.testing.assert_allclose(shares, 1)


def test_that_two_evaluations_are_told_apart_by_a_column() -> None:
    best = np.array([[1, 0]] * 40 + [[1, 1]] * 40)
    worse = best[:, ::-1]
    level = np.array([[1, 0], [0, 1]] * 20)
    for cheap, kind in ((best, "active agreement"), (worse, "active disagreement"), (level, "mixed, opposite sign")):
        store = store_of(frame_of(best, judge="full"), frame_of(cheap, judge="cheap"))
        result = asked(store, column="judge", full="full", cheap="cheap")
        if kind.startswith("mixed"):
            assert result.tables["pairs"]["kind"].iloc[0].startswith("mixed")
        else:
            assert result.tables["pairs"]["kind"].tolist() == [kind]
    with pytest.raises(AnalysisError, match="Two values of judge"):
        asked(store, column="judge", full="full", cheap="other")


def test_that_too_few_items_are_refused() -> None:
    with pytest.raises(TooLittleData, match="at least 40 items"):
        asked(store_of(frame_of(RIGHT[:30])))


def test_that_subsets_have_their_size_and_no_item_twice() -> None:
    subsets = random_subsets(np.random.default_rng(0), 50, 30, 12)
    assert set(subsets.sum(axis=1)) == {12}
    assert set(np.unique(subsets)) == {0, 1}
    assert subsets.mean(axis=0).min() > 0


def test_that_a_cell_stands_for_the_answers_of_both_models() -> None:
    store = store_of(frame_of(RIGHT))
    question = SignificanceQuestion(draws=40)
    result = question.answer(store)
    cells = next(mark for _, mark in figure(question, result).marks() if isinstance(mark, Cells))
    assert cells.rows[0] == "m0"
    assert set(store.rows("predictions", cells.origin.clause([1]))["model"]) == {"m0", "m1"}  # type: ignore[union-attr]
    assert SignificanceQuestion.from_json(question.to_json()) == question


def test_that_pairs_of_mmlu_pro_have_their_published_discordant_counts(shared_data: Path) -> None:
    store = load([shared_data / "compatibility" / "mmlu_pro" / "answers.csv"])
    result = asked(store, items=2000, draws=20, adjust="holm")
    names = list(result.answers.names)
    pairs = PairAnswers.of(result.answers.right)
    a, b = sorted(names.index(name) for name in ("Mistral-7B-Instruct-v0.1", "Mistral-7B-Instruct-v0.2"))
    pair = int(np.flatnonzero((pairs.first == a) & (pairs.second == b))[0])
    assert (pairs.only_first[:, pair].sum(), pairs.only_second[:, pair].sum()) == (1146, 1700)
    assert result.estimates["significant_full"].value == 62


def test_that_without_significant_pairs_there_is_nothing_to_keep_and_it_is_said() -> None:
    alike = np.random.default_rng(1).random((60, 3)) < 0.5
    result = asked(store_of(frame_of(np.repeat(alike[:, :1], 3, axis=1))))
    assert result.estimates["significant_full"].value == 0
    assert result.estimates["recall"].why_no_interval == "undefined in every subset"
    assert "none (there are none)" in result.summary()


def test_that_other_models_or_too_many_are_refused() -> None:
    store = store_of(
        frame_of(RIGHT[:80, :2], judge="full"), frame_of(RIGHT[:80, :2], judge="cheap").replace({"m0": "m7"})
    )
    with pytest.raises(TooLittleData, match="2 models in both evaluations"):
        asked(store, column="judge", full="full", cheap="cheap")
    with pytest.raises(AnalysisError, match="no column called 'nowhere'"):
        asked(store, column="nowhere")
    with pytest.raises(AnalysisError, match="too many pairs"):
        asked(store_of(frame_of(np.ones((40, 90)))))


def test_that_models_of_few_items_and_items_of_few_models_are_left_out_of_a_matrix() -> None:
    frame = frame_of(RIGHT[:100])
    short = frame[~((frame["model"] == "m4") & (frame["item"].astype(int) >= 30))]
    holes = short[~((short["model"] == "m1") & (short["item"] == "7"))]
    matrix = answer_matrix(store_of(holes))
    assert matrix.names == ("m0", "m1", "m2", "m3")
    assert "1 model left out, with fewer than half of the items." in matrix.notes
    assert "99 of 100 items were answered by all 4; only they are used." in matrix.notes
    items = matrix.items["item"].astype(int).to_numpy()
    assert 7 not in items
    np.testing.assert_array_equal(matrix.right, RIGHT[items, :4])
    for options, said in (
        ({"task": "u"}, "No prediction is of the task 'u'"),
        ({"keep": ("nowhere",)}, "no column called 'nowhere'"),
        ({"fewest": 6}, "at least 6 models on the same items"),
    ):
        with pytest.raises(AnalysisError, match=said):
            answer_matrix(store_of(frame.assign(task="t")), **options)  # type: ignore[arg-type]
    with pytest.raises(TooLittleData, match="predictions of several models"):
        answer_matrix(store_of(frame[frame["model"] == "m0"].drop(columns="model")))
