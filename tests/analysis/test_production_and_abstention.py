from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from runglass.analysis.calibration import abstention, cbpe, detection
from runglass.analysis.calibration.abstention import AbstentionQuestion, selective_vote
from runglass.analysis.calibration.cbpe import CbpeQuestion
from runglass.analysis.calibration.detection import DetectionQuestion
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import to_json
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def store_of(frame: pd.DataFrame) -> RunStore:
    return RunStore().adding([TableRows("p.csv", "test", frame, "predictions")])


def production(n: int = 4000, sharpened: float = 1.0, seed: int = 0) -> pd.DataFrame:
    """Rows of two classes that are right as often as their probability says, stated too sure by a power."""
    generator = np.random.default_rng(seed)
    parts = []
    for name, centre in (("reference", 1.2), ("week 1", 0.8), ("week 2", 0.2)):
        z = generator.normal(size=n) + centre * generator.choice([-1, 1], size=n)
        p = 1 / (1 + np.exp(-z))
        label = (generator.random(n) < p).astype(int)
        stated = 1 / (1 + np.exp(-sharpened * z))
        parts.append(pd.DataFrame({"prob.0": 1 - stated, "prob.1": stated, "label": label, "split": name,
                                   "item": [f"{name}-{i}" for i in range(n)]}))  # fmt: skip
    return pd.concat(parts)


@pytest.mark.parametrize("sharpened", [1.0, 3.0])
def test_that_performance_is_foretold_whether_or_not_confidence_was_true(sharpened: float) -> None:
    result = CbpeQuestion(draws=50).answer(store_of(production(sharpened=sharpened)))
    rows = result.chunks.set_index(["chunk", "metric"])
    for chunk in ("week 1", "week 2"):
        for metric in ("accuracy", "f1", "auroc"):
            row = rows.loc[(chunk, metric)]
            assert row["estimated"] == pytest.approx(row["realised"], abs=0.03)
    assert rows.loc[("week 2", "accuracy"), "estimated"] < rows.loc[("week 1", "accuracy"), "estimated"]


def test_that_confidence_taken_as_it_is_misleads_where_it_is_not_true() -> None:
    result = CbpeQuestion(calibrate=False, draws=20).answer(store_of(production(sharpened=3.0)))
    row = result.chunks.set_index(["chunk", "metric"]).loc[("week 1", "accuracy")]
    assert row["estimated"] > row["realised"] + 0.05


def test_that_the_interval_of_true_probabilities_covers_what_is_realised() -> None:
    inside = 0
    for seed in range(25):
        result = CbpeQuestion(calibrate=False, draws=60).answer(store_of(production(150, seed=seed)))
        row = result.chunks.set_index(["chunk", "metric"]).loc[("week 1", "accuracy")]
        inside += row["low"] <= row["realised"] <= row["high"]
    assert inside / 25 >= 0.85


def test_that_production_needs_no_labels() -> None:
    frame = production(300)
    frame["label"] = frame["label"].astype(object).where(frame["split"] == "reference", None)
    question = CbpeQuestion(draws=20, metric="f1")
    result = question.answer(store_of(frame))
    assert result.chunks["realised"].isna().all()
    spec = cbpe.figure(question, result)
    assert spec.panels[0].y.label == "f1"
    json.dumps(to_json(spec))
    json.dumps(result.to_json())


def test_that_a_shift_between_groups_is_weighed_in() -> None:
    generator = np.random.default_rng(0)
    n = 6000
    kind = np.where(generator.random(n) < 0.5, "easy", "hard")
    p = generator.uniform(0.5, 1.0, n)
    # The same confidence means less in the hard group, which is half of the reference and all of production.
    rate = np.where(kind == "easy", p, 0.5 + 0.3 * (p - 0.5))
    label = (generator.random(n) < rate).astype(int)
    frame = pd.DataFrame({"prob.0": 1 - p, "prob.1": p, "label": label, "kind": kind, "item": np.arange(n).astype(str)})
    reference = frame.assign(split="reference")
    later = frame[kind == "hard"].assign(split="later")
    later["item"] = later["item"] + "b"
    both = store_of(pd.concat([reference, later]))
    plain = CbpeQuestion(draws=20).answer(both).estimates["later/accuracy"].value
    weighed = CbpeQuestion(shift="kind", draws=20).answer(both).estimates["later/accuracy"].value
    truth = later["label"].mean()
    assert abs(weighed - truth) < 0.02 < abs(plain - truth)


def test_that_a_reference_must_be_labelled() -> None:
    with pytest.raises(TooLittleData, match="labelled rows"):
        CbpeQuestion(reference="nothing").answer(store_of(production(50)))


def abstaining() -> pd.DataFrame:
    base = pd.DataFrame({"item": list("abcdefgh"), "version": "base", "correct": [1, 1, 1, 1, 0, 0, 0, 0],
                         "prediction": "x"})  # fmt: skip
    tuned = base.assign(version="tuned", correct=[1, 1, 0, 0, 0, 0, 1, 0],
                        prediction=["x", "x", "x", None, None, None, "x", "x"])  # fmt: skip
    return pd.concat([base, tuned.assign(known=[1, 1, 1, 1, 1, 0, 0, 0])])


def test_that_abstention_is_crossed_with_what_the_base_got_right() -> None:
    question = AbstentionQuestion(base="base", version="tuned", answerable="known")
    result = question.answer(store_of(abstaining()))
    e = {name: one.value for name, one in result.estimates.items()}
    assert (e["abstain_recall"], e["abstain_error"], e["abstained"]) == (0.5, 0.25, 3 / 8)
    assert (e["precision"], e["kept_good"], e["base_accuracy"]) == (3 / 5, 0.5, 0.5)
    assert (e["refusal_on_unanswerable"], e["refusal_on_answerable"]) == (1 / 3, 2 / 5)
    assert result.mosaic[["abstained", "right", "wrong"]].to_numpy().tolist() == [[1, 2, 1], [2, 1, 1]]
    assert result.clauses is not None
    assert sorted(abstaining()[result.clauses.clause([3]).mask(abstaining())]["item"].unique()) == ["e", "f"]
    json.dumps(to_json(abstention.figure(question, result)))
    json.dumps(result.to_json())


def test_that_abstention_needs_a_base() -> None:
    frame = abstaining()
    with pytest.raises(AnalysisError, match="base that does not abstain"):
        AbstentionQuestion().answer(store_of(frame[frame["version"] == "tuned"]))


@pytest.mark.parametrize(("significance", "seeds"), [(0.05, 6), (0.01, 8)])
def test_that_a_unanimous_vote_passes_from_as_many_seeds_as_published(significance: float, seeds: int) -> None:
    assert not selective_vote(np.zeros((1, seeds - 1), dtype=int), significance)[0][0]
    assert selective_vote(np.zeros((1, seeds), dtype=int), significance)[0][0]


def test_that_a_vote_is_tested_as_scipy_tests_it() -> None:
    from scipy.stats import binomtest

    codes = np.array([[0] * 9 + [1] * 2, [0] * 7 + [1] * 4])
    p = [binomtest(9, 11).pvalue, binomtest(7, 11).pvalue]
    assert selective_vote(codes, 0.2)[0].tolist() == [one <= 0.2 for one in p] == [True, False]


def test_that_votes_of_seeds_that_agree_by_chance_are_abstained_from() -> None:
    generator = np.random.default_rng(0)
    parts = []
    for seed in range(10):
        sure = ["right"] * 60
        torn = generator.choice(["right", "left"], size=40).tolist()
        parts.append(pd.DataFrame({"item": np.arange(100).astype(str), "run": seed, "prediction": sure + torn, "label": "right",
                                   "version": str(seed)}))  # fmt: skip
    question = AbstentionQuestion(seeds="run", draws=100)
    result = question.answer(store_of(pd.concat(parts)))
    assert 0.3 <= result.estimates["abstained"].value <= 0.4
    assert result.estimates["precision"].value > 0.95
    assert result.seeds["seeds"].tolist() == list(range(2, 11))
    json.dumps(to_json(abstention.figure(question, result)))
    json.dumps(result.to_json())


def boxes(n: int = 400, **columns: Any) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    score = generator.uniform(0.05, 0.95, n)
    hit = (generator.random(n) < score).astype(float)
    return pd.DataFrame({"item": np.arange(n).astype(str), "image_id": (np.arange(n) // 4).astype(str), "confidence": score,
                         "iou": np.where(hit > 0, generator.uniform(0.5, 1, n), 0.3), "correct": hit,
                         "prediction": generator.choice(["cat", "dog"], n), **columns})  # fmt: skip


def test_that_two_bins_of_boxes_have_the_errors_counted_by_hand() -> None:
    frame = pd.DataFrame(
        {"item": list("abcd"), "confidence": [0.2, 0.4, 0.6, 0.8], "iou": [0.9, 0.6, 0.5, 0.7], "correct": [0, 1, 1, 1],
         "prediction": ["cat", "cat", "cat", "dog"]}
    )  # fmt: skip
    e = DetectionQuestion(bins=2, draws=20).answer(store_of(frame)).estimates
    # Scores .2, .4 | .6, .8 against hits 0, 1 | 1, 1.
    assert e["d_ece"].value == pytest.approx((abs(0.6 - 1) + abs(1.4 - 2)) / 4)
    # Cats: |.6 - .6| / 3 and |.6 - .5| / 3; the dog: .1. The false positive's overlap counts as 0.
    assert e["laece"].value == pytest.approx(((0.0 + 0.1) / 3 + 0.1) / 2)
    assert e["laace"].value == pytest.approx(((0.2 + 0.2 + 0.1) / 3 + 0.1) / 2)


def test_that_scores_that_mean_precision_do_not_mean_overlap_until_they_are_mapped() -> None:
    question = DetectionQuestion(draws=40, bins=10)
    result = question.answer(store_of(boxes(2000)))
    e = result.estimates
    assert e["d_ece"].value < 0.05 < e["laece"].value
    assert e["isotonic/laece"].value < e["laece"].value
    json.dumps(to_json(detection.figure(question, result)))
    json.dumps(result.to_json())


def test_that_the_cut_off_leaves_boxes_out() -> None:
    frame = boxes()
    result = DetectionQuestion(least=0.5, draws=20).answer(store_of(frame))
    assert result.estimates["n"].value == (frame["confidence"] >= 0.5).sum()
    with pytest.raises(AnalysisError, match="iou"):
        DetectionQuestion().answer(store_of(frame.drop(columns="iou")))


def test_that_abstention_may_stand_in_columns_beside_one_table() -> None:
    two = AbstentionQuestion(base="base", version="tuned").answer(store_of(abstaining())).estimates
    tuned = abstaining().query("version == 'tuned'")
    flat = tuned.assign(
        base_correct=[1, 1, 1, 1, 0, 0, 0, 0], silent=tuned["prediction"].isna().astype(float), prediction="x"
    )
    one = AbstentionQuestion(abstained="silent").answer(store_of(flat)).estimates
    assert {name: estimate.value for name, estimate in one.items()} == {name: two[name].value for name in two}
    # Without a column of right and wrong, answers are compared with labels.
    labelled = abstaining().assign(label="x").drop(columns="correct")
    told = AbstentionQuestion(base="base", version="tuned").answer(store_of(labelled)).estimates
    assert (told["base_accuracy"].value, told["abstained"].value) == (1, 3 / 8)
    question = AbstentionQuestion(base="base", version="tuned")
    json.dumps(to_json(abstention.figure(question, question.answer(store_of(labelled)))))


def test_that_what_abstention_lacks_is_said() -> None:
    frame = abstaining()
    tuned = frame.query("version == 'tuned'").assign(base_correct=1.0)
    for rows, options, error, said in (
        (tuned, {"abstained": "nowhere"}, AnalysisError, "no column called 'nowhere'"),
        (tuned, {"answerable": "nowhere"}, AnalysisError, "no column called 'nowhere'"),
        (
            tuned.assign(correct=np.nan, prediction="x", base_correct=[1.0] + [np.nan] * 7),
            {},
            AnalysisError,
            "are right",
        ),
        (frame, {"base": "base", "version": "none"}, TooLittleData, "both the base and the abstaining"),
        (pd.concat([frame, frame.head(1)]), {"base": "base", "version": "tuned"}, AnalysisError, "more than once"),
        (frame, {"seeds": "nowhere"}, AnalysisError, "column of seeds"),
        (frame.query("version == 'base'"), {"seeds": "version"}, TooLittleData, "at least 2 seeds"),
    ):
        with pytest.raises(error, match=said):
            AbstentionQuestion(**options).answer(store_of(rows))  # type: ignore[arg-type]
    unknown = tuned.assign(base_correct=np.nan).head(4)
    with pytest.raises((AnalysisError, TooLittleData)):
        AbstentionQuestion().answer(store_of(unknown))


def test_that_a_vote_without_labels_has_no_precision_and_unknown_labels_count_for_nothing() -> None:
    rows = pd.DataFrame([{"item": str(i), "run": seed, "version": str(seed), "prediction": "a", "label": "ab"[i % 2]}
                         for i in range(40) for seed in range(8)])  # fmt: skip
    known = AbstentionQuestion(seeds="run", draws=50).answer(store_of(rows))
    assert known.estimates["precision"].value == 0.5
    half = rows.assign(label=rows["label"].where(rows["item"].astype(int) < 20))
    assert AbstentionQuestion(seeds="run", draws=50).answer(store_of(half)).estimates["precision"].value == 0.5
    blind = AbstentionQuestion(seeds="run", draws=50).answer(store_of(rows.drop(columns="label").assign(correct=1.0)))
    assert "precision" not in blind.estimates
    assert "right" not in blind.summary()


def test_that_a_row_of_the_reference_is_mapped_by_folds_it_is_not_in() -> None:
    generator = np.random.default_rng(5)
    n = 60
    p = generator.random(n)
    frame = pd.DataFrame(
        {"item": np.arange(n).astype(str), "prob.0": 1 - p, "prob.1": p, "label": (generator.random(n) < p) * 1}
    )

    def foretold(label: Any, prefix: str = "") -> float:
        told = frame.assign(label=label)
        both = [told.assign(split="reference"), told.assign(split="again", item=prefix + told["item"])]
        question = CbpeQuestion(draws=20, chunk="item", split="split")
        return question.answer(store_of(pd.concat(both))).estimates[f"{prefix}30/accuracy"].value

    flipped = frame["label"].where(frame.index != 30, 1 - frame["label"])
    assert foretold(flipped) == foretold(frame["label"])
    assert foretold(flipped, "x") != foretold(frame["label"], "x")  # other items, as far as anyone knows


def test_that_metrics_of_several_classes_are_means_over_those_that_occur() -> None:
    from scipy.stats import rankdata

    generator = np.random.default_rng(6)
    n = 600
    p = generator.dirichlet([1, 1, 1], size=n)
    label = (generator.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1)
    frame = pd.DataFrame(p, columns=["prob.0", "prob.1", "prob.2"])
    frame = frame.assign(
        item=np.arange(n).astype(str), label=label, split=np.repeat(["reference", "later"], [200, 400])
    )
    rows = CbpeQuestion(draws=20, calibrate=False).answer(store_of(frame)).chunks.set_index("metric")
    q, y = p[200:], label[200:]
    answer = q.argmax(axis=1)
    hit = np.array([((answer == k) & (y == k)).sum() for k in range(3)])
    given, there = np.bincount(answer, minlength=3), np.bincount(y, minlength=3)
    assert rows.loc["precision", "realised"] == pytest.approx((hit / given).mean())
    assert rows.loc["recall", "realised"] == pytest.approx((hit / there).mean())
    assert rows.loc["f1", "realised"] == pytest.approx((2 * hit / (given + there)).mean())
    areas = [
        (rankdata(q[:, k])[y == k].sum() - there[k] * (there[k] + 1) / 2) / (there[k] * (400 - there[k]))
        for k in range(3)
    ]
    assert rows.loc["auroc", "realised"] == pytest.approx(np.mean(areas))
    assert rows.loc["accuracy", "estimated"] == pytest.approx(q.max(axis=1).mean())
    marks = {
        mark.key for _, mark in cbpe.figure(CbpeQuestion(), CbpeQuestion(draws=20).answer(store_of(frame))).marks()
    }
    assert "realised" in marks


def test_that_performance_before_labels_says_what_it_lacks() -> None:
    frame = production(50)
    for rows, options, said in (
        (frame.drop(columns=["prob.0", "prob.1"]).assign(confidence=0.5), {}, "probabilities of all classes"),
        (frame[frame["split"] == "reference"], {}, "another split than reference"),
        (frame, {"shift": "nowhere"}, "no column called 'nowhere'"),
        (frame.assign(model="m"), {"model": "n"}, "none that are kept"),
    ):
        with pytest.raises(AnalysisError, match=said):
            CbpeQuestion(**options).answer(store_of(rows))  # type: ignore[arg-type]
