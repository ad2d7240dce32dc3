from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from runglass.analysis.items import confident_joint
from runglass.analysis.items.confident_joint import (
    ConfidentJointQuestion,
    calibrated_joint,
    class_thresholds,
    confident_class,
    confident_counts,
)
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Cells, to_json
from runglass.models.store import RunStore
from runglass.models.tables import TableRows

DEMO = Path(__file__).parents[2] / "resources" / "demo" / "digits" / "training_dynamics.parquet"


def store_of(frame: pd.DataFrame) -> RunStore:
    return RunStore().adding([TableRows("p.csv", "test", frame, "predictions")])


def rows(p: np.ndarray, label: np.ndarray, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {"item": [f"i{i}" for i in range(len(p))], "label": label.astype(str),
         **{f"prob.{k}": p[:, k] for k in range(p.shape[1])}, **columns}
    )  # fmt: skip


def noisy(n: int = 3000) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities that know the class but for some jitter, the labels given, the classes, and the noise matrix."""
    generator = np.random.default_rng(0)
    noise = np.array([[0.9, 0.1, 0.0], [0.0, 0.8, 0.2], [0.05, 0.0, 0.95]])  # P(label | class)
    true = generator.choice(3, n, p=[0.5, 0.3, 0.2])
    given = np.array([generator.choice(3, p=noise[one]) for one in true])
    logits = 4 * np.eye(3)[true] + 0.5 * generator.standard_normal((n, 3))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return p, given, true, noise


def test_that_the_joint_is_the_one_of_the_labels_and_classes_where_probabilities_know_the_class() -> None:
    p, given, true, _ = noisy()
    place = confident_class(p, class_thresholds(p, given))
    joint = calibrated_joint(confident_counts(given, place, 3), np.bincount(given, minlength=3).astype(float))
    truth = confident_counts(given, true, 3)
    assert joint / len(p) == pytest.approx(truth / len(p), abs=0.02)
    assert joint.sum(axis=1) == pytest.approx(np.bincount(given, minlength=3))


def test_that_thresholds_and_counts_follow_from_four_items_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.85, 0.15]])
    label = np.array([0, 0, 1, 1])
    thresholds = class_thresholds(p, label)
    assert thresholds == pytest.approx([0.8, 0.475])
    # The second item reaches neither threshold; the fourth is confidently of class 0.
    place = confident_class(p, thresholds)
    assert place.tolist() == [0, -1, 1, 0]
    assert confident_counts(label, place, 2).tolist() == [[1, 0], [1, 1]]
    assert calibrated_joint(np.array([[1.0, 0], [1, 1]]), np.array([2.0, 2])).tolist() == [[2, 0], [1, 1]]


def test_that_planted_errors_are_found_and_counted_with_an_interval() -> None:
    p, given, true, _ = noisy()
    wrong = (given != true).astype(float)
    result = ConfidentJointQuestion(draws=100, truth="wrong").answer(store_of(rows(p, given, wrong=wrong)))
    assert result.estimates["precision"].value > 0.97
    assert result.estimates["auc"].low > 0.99
    found = result.estimates["joint_error_share"]
    assert found.low - 0.01 < wrong.mean() < found.high + 0.01
    assert result.ranked["margin"].is_monotonic_increasing


def test_that_the_most_suspect_labels_of_the_demo_are_its_wrong_ones() -> None:
    frame = pd.read_parquet(DEMO).astype({"label": str, "prediction": str})
    store = store_of(frame)
    question = ConfidentJointQuestion(draws=100).resolved(store)
    result = question.answer(store)
    assert result.estimates["precision"].value == 1.0
    spec = confident_joint.figure(question, result)
    cells = next(mark for _, mark in spec.marks() if isinstance(mark, Cells))
    assert np.nansum(cells.values) == result.estimates["candidates"].value
    json.dumps(to_json(spec))
    json.dumps(result.to_json())


def test_that_votes_confirm_and_an_audit_counts_what_was_missed() -> None:
    generator = np.random.default_rng(1)
    p, given, true, _ = noisy(2000)
    wrong = given != true
    looked = generator.random(2000) < 0.3
    votes = np.where(looked, np.where(wrong, 4, 1), np.nan)
    frame = rows(p, given, votes=votes, sample_of_rest=looked.astype(float))
    question = ConfidentJointQuestion(draws=100, votes="votes", audited="sample_of_rest")
    found = question.answer(store_of(frame)).estimates["errors_in_all"]
    assert found.low < wrong.sum() < found.high
    few = ConfidentJointQuestion(draws=100, votes="votes", rejected_from=5).answer(store_of(frame))
    assert few.estimates["precision"].value == 0.0


def test_that_intervals_with_thresholds_held_are_like_those_found_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    p, given, _, _ = noisy()
    question = ConfidentJointQuestion(draws=200)
    one = question.answer(store_of(rows(p, given))).estimates["candidate_share"]
    monkeypatch.setattr(confident_joint, "_MOST_PROBABILITIES", 10)
    two = question.answer(store_of(rows(p, given))).estimates["candidate_share"]
    assert two.value == one.value
    assert two.high - two.low == pytest.approx(one.high - one.low, rel=0.3)


def test_that_labels_without_probabilities_or_of_one_kind_are_refused() -> None:
    with pytest.raises(AnalysisError, match="how probable"):
        ConfidentJointQuestion().answer(store_of(pd.DataFrame({"item": ["a"], "label": ["0"]})))
    with pytest.raises(TooLittleData, match="two labels"):
        ConfidentJointQuestion().answer(store_of(rows(np.full((3, 2), 0.5), np.zeros(3, int))))


def test_that_labels_are_chosen_and_what_cannot_be_counted_is_said() -> None:
    p, given, _, _ = noisy(300)
    frame = rows(p, given, model="m", task="t", version="1")
    other = rows(p[::-1], given[::-1], model="m", task="t", version="2")
    result = ConfidentJointQuestion(draws=100).answer(store_of(pd.concat([frame, other])))
    assert "Version: 2 (of 2)." in result.notes
    odd = frame.assign(label=frame["label"].where(frame.index > 2, "9"))
    assert any(
        note.startswith("3 rows left out: the label is no class")
        for note in ConfidentJointQuestion(draws=100).answer(store_of(odd)).notes
    )
    absent = frame[frame["label"] != "2"]
    assert any(
        note.startswith("1 class without a labelled item")
        for note in ConfidentJointQuestion(draws=100).answer(store_of(absent)).notes
    )
    for options, said in (
        ({"model": "n"}, "No prediction has model 'n'"),
        ({"votes": "nowhere"}, "no column called 'nowhere'"),
        ({"epoch": 7.0}, "probability of every class"),
    ):
        with pytest.raises(AnalysisError, match=said):
            ConfidentJointQuestion(**options).answer(store_of(frame.assign(epoch=1.0)))  # type: ignore[arg-type]
