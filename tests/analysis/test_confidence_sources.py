from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from runglass.analysis.calibration import atc, elicited, plane
from runglass.analysis.calibration.atc import AtcQuestion, atc_threshold
from runglass.analysis.calibration.elicited import ElicitedQuestion
from runglass.analysis.calibration.plane import PlaneQuestion, ellipse, not_dominated
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import to_json
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def store_of(frame: pd.DataFrame) -> RunStore:
    return RunStore().adding([TableRows("p.csv", "test", frame, "predictions")])


def rows(f: Any, y: Any, **columns: Any) -> pd.DataFrame:
    items = [str(i) for i in range(len(f))]
    return pd.DataFrame({"model": "m", "item": items, "confidence": np.asarray(f, float), "correct": y, **columns})


def models(n: int = 300) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    f = generator.random(n)
    good = rows(f, (generator.random(n) < f).astype(float), version="calibrated")
    sure = rows(np.sqrt(f), good["correct"], version="sure")
    return pd.concat([good, sure])


def test_that_only_what_nothing_beats_in_both_is_on_the_front() -> None:
    accuracy, error = np.array([0.9, 0.8, 0.7, 0.9]), np.array([0.10, 0.05, 0.06, 0.12])
    assert not_dominated(accuracy, error).tolist() == [True, True, False, False]
    assert not_dominated(np.array([0.5, 0.5]), np.array([0.1, 0.1])).tolist() == [True, True]


def test_that_an_ellipse_holds_the_share_of_the_cloud_it_says() -> None:
    generator = np.random.default_rng(0)
    cloud = generator.multivariate_normal([0, 0], [[2, 1], [1, 3]], size=20_000)
    x, y = ellipse(cloud, cloud.mean(axis=0), 0.9)
    outline = np.stack([x, y], axis=1) - cloud.mean(axis=0)
    inverse = np.linalg.inv(np.cov(cloud.T))
    radius = np.einsum("ij,jk,ik->i", outline, inverse, outline)
    np.testing.assert_allclose(radius, radius[0])
    inside = np.einsum("ij,jk,ik->i", cloud - cloud.mean(axis=0), inverse, cloud - cloud.mean(axis=0)) < radius[0]
    assert inside.mean() == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("error", ["ece", "smece", "brier", "debiased_l2"])
def test_that_the_calibrated_of_two_equally_accurate_models_is_on_the_front(error: Any) -> None:
    question = PlaneQuestion(error=error, draws=40)
    result = question.answer(store_of(models()))
    assert result.points["best"].tolist() == [True, False]
    assert result.points["best_in_resamples"].tolist() == [1.0, 0.0]
    json.dumps(to_json(plane.figure(question, result)))
    json.dumps(result.to_json())


def test_that_temperature_moves_a_model_along_calibration_alone() -> None:
    result = PlaneQuestion(arrows="temperature", draws=40).answer(store_of(models()))
    assert result.arrows == ((0, 2), (1, 3))
    accuracy = result.points["accuracy"].to_numpy()
    np.testing.assert_allclose(accuracy[2:], accuracy[:2])


def test_that_votes_and_mean_probabilities_join_the_answers_to_an_item() -> None:
    p = np.array([[0.9, 0.1], [0.4, 0.6], [0.45, 0.55]])
    frame = pd.DataFrame(p, columns=["prob.a", "prob.b"]).assign(
        item="q", sample=["0", "1", "2"], label="a", prediction=["a", "b", "b"], model="m"
    )
    other = frame.assign(item="r", label="b")
    both = pd.concat([frame, other])
    vote = PlaneQuestion(arrows="vote", draws=20).answer(store_of(both)).chosen.series[1].sample
    assert vote.f.tolist() == pytest.approx([2 / 3, 2 / 3])
    assert sorted(vote.y) == [0, 1]
    mean = PlaneQuestion(arrows="mean probability", draws=20).answer(store_of(both)).chosen.series[1].sample
    assert mean.f.tolist() == pytest.approx([1.75 / 3, 1.75 / 3])
    most = PlaneQuestion(arrows="max probability", draws=20).answer(store_of(both)).chosen.series[1].sample
    assert most.f[0] == pytest.approx(0.9 / 1.5)


def test_that_a_stated_confidence_in_per_cent_is_read_as_such() -> None:
    frame = rows([0.9, 0.6, 0.8, 0.3], [1, 0, 1, 0], verbal_conf=[95.0, 90, 95, 50])
    result = ElicitedQuestion(draws=20, bins=2).answer(store_of(frame))
    table = result.measures.set_index("source")
    assert list(table.index) == ["verbal_conf", "confidence"]
    assert table.loc["verbal_conf", "mean_confidence"] == pytest.approx(0.825)
    assert table.loc["verbal_conf", "distinct"] == 3
    assert table.loc["verbal_conf", "auroc"] == 1.0
    assert "verbal_conf: read as out of 100." in result.notes


def test_that_agreement_is_the_share_of_the_commonest_answer() -> None:
    frame = pd.DataFrame(
        {"item": ["a"] * 4 + ["b"] * 4, "sample": [str(i) for i in range(4)] * 2, "prediction": list("xxxyzzuv"),
         "label": list("xxxxqqqq"), "confidence": [0.5] * 8}
    )  # fmt: skip
    result = ElicitedQuestion(draws=20).answer(store_of(frame))
    agreement = next(one for one in result.chosen.series if one.name == "agreement")
    assert sorted(set(agreement.sample.f)) == [0.5, 0.75]


def test_that_p_ik_is_held_against_the_share_of_samples_that_are_right() -> None:
    frame = pd.DataFrame(
        {"item": ["a"] * 4 + ["b"] * 4, "sample": [str(i) for i in range(4)] * 2, "correct": [1, 1, 1, 0, 0, 0, 0, 0],
         "p_ik": [0.75] * 4 + [0.0] * 4, "confidence": [0.5] * 8}
    )  # fmt: skip
    question = ElicitedQuestion(expected="p_ik", draws=20)
    result = question.answer(store_of(frame))
    assert result.estimates["p_ik/brier"].value == 0
    json.dumps(to_json(elicited.figure(question, result)))


def test_that_sources_are_compared_on_the_rows_all_have() -> None:
    frame = rows([0.9, 0.6, 0.8, 0.3], [1, 0, 1, 0], verbal_conf=[0.9, math.nan, 0.4, 0.2])
    result = ElicitedQuestion(draws=20).answer(store_of(frame))
    assert set(result.measures["n"]) == {3}
    with pytest.raises(AnalysisError, match="no column"):
        ElicitedQuestion(sources=("nothing",)).answer(store_of(frame))


def test_that_without_ties_the_source_gets_its_own_accuracy() -> None:
    generator = np.random.default_rng(0)
    score = generator.random(200)
    right = (generator.random(200) < score).astype(float)
    threshold = atc_threshold(score, right)
    assert np.mean(score >= threshold) == pytest.approx(right.mean())
    assert atc_threshold(score, np.zeros(200)) == math.inf


def shifted(n: int = 400, seed: int = 0) -> pd.DataFrame:
    """Rows that are right as often as they say, on a source and on harder targets."""
    generator = np.random.default_rng(seed)
    parts = []
    for name, top in (("source", 1.0), ("mild", 0.9), ("hard", 0.7)):
        f = generator.uniform(0.3, top, n)
        part = rows(f, (generator.random(n) < f).astype(float), split=name)
        parts.append(part.assign(item=[f"{name}-{i}" for i in range(n)]))
    return pd.concat(parts)


def test_that_the_accuracy_of_a_calibrated_model_is_foretold() -> None:
    question = AtcQuestion(source="source", draws=100)
    frame = shifted(2000)
    result = question.answer(store_of(frame))
    for name in ("mild", "hard"):
        actual = frame.loc[frame["split"] == name, "correct"].mean()
        assert result.estimates[f"{name}/AC"].value == pytest.approx(actual, abs=0.03)
        assert result.estimates[f"{name}/DoC"].value == pytest.approx(actual, abs=0.04)
    assert result.estimates["hard/ATC"].value < result.estimates["mild/ATC"].value
    json.dumps(to_json(atc.figure(question, result)))
    json.dumps(result.to_json())


def test_that_targets_need_no_labels() -> None:
    frame = shifted()
    frame.loc[frame["split"] != "source", "correct"] = math.nan
    question = AtcQuestion(draws=20)
    result = question.answer(store_of(frame))
    assert result.predicted["actual"].isna().all()
    assert not any(name.startswith("mae") for name in result.estimates)
    json.dumps(to_json(atc.figure(question, result)))


def test_that_disagreement_with_another_model_foretells_accuracy() -> None:
    frame = rows([0.9] * 4, [1, 1, 0, 0], split=["s", "s", "t", "t"], prediction=list("abab"), version="1")
    other = frame.assign(version="2", prediction=list("abaa"))
    result = AtcQuestion(version="1", other="2", source="s", draws=20).answer(store_of(pd.concat([frame, other])))
    assert result.estimates["t/GDE"].value == 0.5


def test_that_a_source_without_labels_is_refused() -> None:
    frame = shifted()
    with pytest.raises(TooLittleData, match="as the source"):
        AtcQuestion(source="nowhere").answer(store_of(frame))
    with pytest.raises(AnalysisError, match="tells the labelled source"):
        AtcQuestion().answer(store_of(frame.drop(columns="split")))


def test_that_confidence_of_one_model_is_held_against_the_answers_of_another() -> None:
    generator = np.random.default_rng(0)
    hard = generator.random(400)
    frames = []
    for name in ("a", "b"):
        right = (generator.random(400) > hard).astype(float)
        stated = np.clip(1 - hard + generator.normal(0, 0.1, 400), 0, 1) if name == "a" else generator.random(400)
        frames.append(rows(stated, right, version=name))
    question = ElicitedQuestion(draws=50)
    result = question.answer(store_of(pd.concat(frames)))
    cross = result.cross.set_index(["confidence_of", "answers_of"])
    names = dict(zip("ab", result.cross["confidence_of"].unique(), strict=True))
    # a knows which questions are hard, whoever answers them; b states anything.
    for answers_of in names.values():
        knows, guesses = cross.loc[(names["a"], answers_of)], cross.loc[(names["b"], answers_of)]
        assert knows["auroc"] > 0.75
        assert knows["low"] > 0.7
        assert guesses["low"] < 0.5 < guesses["high"]
    assert (cross["n"] == 400).all()
    assert "cross" in [panel.key for panel in elicited.figure(question, result).panels]
    assert ElicitedQuestion(draws=50, version="a").answer(store_of(pd.concat(frames))).cross.empty


def test_that_arrows_lead_from_each_series_to_the_next_or_to_what_it_becomes() -> None:
    store = store_of(models())
    for arrows, pairs in (("chain", [(0, 1)]), ("temperature", [(0, 2), (1, 3)])):
        question = PlaneQuestion(arrows=arrows, draws=40)
        result = question.answer(store)
        marks = {mark.key: mark for _, mark in plane.figure(question, result).marks()}
        error, accuracy = (result.points[name].to_numpy() for name in ("error", "accuracy"))
        for start, end in pairs:
            line, head = marks[f"arrow/{start}"], marks[f"head/{start}"]
            np.testing.assert_allclose(line.x, error[[start, end]])  # type: ignore[union-attr]
            np.testing.assert_allclose(line.y, accuracy[[start, end]])  # type: ignore[union-attr]
            # The head points in the middle of the arrow, and its ends lie behind, one at each side.
            assert head.x[1] == pytest.approx(error[[start, end]].mean())  # type: ignore[union-attr]
            assert (head.x[1] - head.x[0]) * (error[end] - error[start]) > 0  # type: ignore[union-attr]
    still = rows([0.2, 0.4, 0.6, 0.8], [0, 1, 0, 1])
    question = PlaneQuestion(arrows="chain", draws=20)
    twice = store_of(pd.concat([still.assign(version="1"), still.assign(version="2")]))
    keys = [mark.key for _, mark in plane.figure(question, question.answer(twice)).marks()]
    assert "arrow/0" in keys
    assert "head/0" not in keys  # a series that stays where it is has no direction


def test_that_joining_asks_for_what_is_to_be_joined() -> None:
    frame = rows([0.9, 0.4], [1, 0])
    for options, said in (
        ({"arrows": "vote"}, "no column called 'sample'"),
        ({"arrows": "vote", "variants": "correct"}, "needs the answers given"),
        ({"arrows": "mean probability", "variants": "correct"}, "those of all classes"),
    ):
        with pytest.raises(AnalysisError, match=said):
            PlaneQuestion(draws=20, **options).answer(store_of(frame))


def test_that_rows_of_a_cluster_are_drawn_together() -> None:
    frame = shifted(400)
    apart = AtcQuestion(source="source", draws=300).answer(store_of(frame)).predicted
    # Every row four times: as four rows of one cluster they tell no more than one.
    frame = pd.concat([frame.assign(item=frame["item"] + f"/{k}", page=frame["item"]) for k in range(4)])
    together = AtcQuestion(source="source", draws=300, cluster="page").answer(store_of(frame)).predicted
    loose = AtcQuestion(source="source", draws=300).answer(store_of(frame)).predicted
    widths = [(one["high"] - one["low"]).mean() for one in (apart, together, loose)]
    assert widths[1] == pytest.approx(widths[0], rel=0.15)
    assert widths[2] == pytest.approx(widths[0] / 2, rel=0.15)


def test_that_a_margin_for_a_new_target_is_that_of_a_mean_of_errors() -> None:
    from scipy.stats import t

    generator = np.random.default_rng(4)
    parts = []
    for number in range(7):
        f = generator.uniform(0.3, 1 - 0.05 * number, 200)
        part = rows(f, (generator.random(200) < f).astype(float), split=f"s{number}")
        parts.append(part.assign(item=[f"{number}-{i}" for i in range(200)]))
    result = AtcQuestion(source="s0", draws=20, level=0.9).answer(store_of(pd.concat(parts)))
    error = result.predicted.query("estimator == 'ATC'")["error"]
    assert len(error) == 6
    expected = t.ppf(0.95, 5) * error.std() * np.sqrt(1 + 1 / 6)
    assert result.estimates["atc_prediction_margin"].value == pytest.approx(expected)


def test_that_without_answers_the_most_probable_class_is_the_answer() -> None:
    frame = pd.DataFrame({"item": list("abcdef"), "split": list("sssttt"), "prob.x": [0.9, 0.2, 0.7, 0.6, 0.1, 0.8],
                          "label": ["x", "y", "y", "x", "x", None]})  # fmt: skip
    frame["prob.y"] = 1 - frame["prob.x"]
    predicted = AtcQuestion(source="s", temperature=False, draws=20).answer(store_of(frame)).predicted
    assert predicted["actual"].tolist() == [0.5] * len(predicted)
    with pytest.raises(AnalysisError, match=r"[.]$"):
        AtcQuestion(source="s", draws=20).answer(store_of(frame.drop(columns="label")))


def test_that_disagreement_is_with_the_same_item_of_the_same_model_at_its_last_epoch() -> None:
    frame = rows([0.9] * 4, [1, 1, 0, 0], split=["s", "s", "t", "t"], prediction=list("abab"), version="1", task="x")
    other = frame.assign(version="2", prediction=list("abaa"))
    early = other.assign(epoch=1, prediction=list("cccc"))
    late = [
        other.assign(epoch=2),
        frame.assign(epoch=2),
        other.assign(epoch=2, model="elsewhere", prediction=list("dddd")),
        frame.assign(epoch=2, task="y", split="u"),
        other.assign(epoch=2, task="y", prediction=list("bbbb")),
    ]
    more = pd.concat([early, *late])
    result = AtcQuestion(version="1", model="m", other="2", source="s", draws=20).answer(store_of(more))
    assert result.estimates["t/GDE"].value == 0.5
    assert result.estimates["u/GDE"].value == 0.5
    with pytest.raises(AnalysisError, match="'9'"):
        AtcQuestion(version="1", other="9", source="s", draws=20).answer(store_of(frame))
    with pytest.raises(AnalysisError, match="answers given"):
        AtcQuestion(version="1", other="2", source="s", draws=20).answer(
            store_of(pd.concat([frame, other]).drop(columns="prediction"))
        )


def test_that_a_target_and_a_confidence_are_asked_for() -> None:
    frame = shifted(50)
    with pytest.raises(TooLittleData, match="as a target"):
        AtcQuestion(source="source").answer(store_of(frame[frame["split"] == "source"]))
    with pytest.raises(AnalysisError, match="how confident"):
        AtcQuestion(source="source").answer(store_of(frame.drop(columns="confidence")))
    with pytest.raises(TooLittleData, match="none that are kept"):
        AtcQuestion(model="nobody").answer(store_of(frame))
