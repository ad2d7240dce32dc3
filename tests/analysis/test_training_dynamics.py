from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from statsmodels.stats.proportion import proportion_confint

from runglass.analysis.items import aum, data_map, forgetting
from runglass.analysis.items.aum import AreaUnderMarginQuestion, fit_two_gaussians
from runglass.analysis.items.data_map import DataMapQuestion
from runglass.analysis.items.forgetting import ForgettingQuestion, first_learned, forgetting_events
from runglass.analysis.training_dynamics import auc_of_draws, dynamics_of, roc_points, spearman_of_draws
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import to_json
from runglass.models.store import RunStore
from runglass.models.tables import TableRows

DEMO = Path(__file__).parents[2] / "resources" / "demo" / "digits" / "training_dynamics.parquet"


def store_of(frame: pd.DataFrame) -> RunStore:
    return RunStore().adding([TableRows("p.csv", "test", frame, "predictions")])


@pytest.fixture(scope="module")
def demo() -> RunStore:
    return store_of(pd.read_parquet(DEMO).astype({"label": str, "prediction": str}))


def gold(p: np.ndarray, **columns: Any) -> pd.DataFrame:
    """Rows of probabilities of the label: `p` has shape (items, epochs)."""
    items, epochs = p.shape
    return pd.DataFrame(
        {"item": np.repeat([f"i{i}" for i in range(items)], epochs), "epoch": np.tile(np.arange(epochs), items),
         "p_gold": p.ravel(), "correct": (p.ravel() > 0.5).astype(float), **columns}
    )  # fmt: skip


# What they share


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_that_the_area_under_the_roc_is_mann_whitneys_statistic(seed: int) -> None:
    generator = np.random.default_rng(seed)
    score, positive = generator.integers(0, 6, 40).astype(float), generator.random(40) < 0.4
    positive[:2] = [True, False]
    u = stats.mannwhitneyu(score[positive], score[~positive]).statistic
    area = auc_of_draws(score, positive, np.ones((1, 40)))[0]
    assert area == pytest.approx(u / (positive.sum() * (~positive).sum()))
    x, y = roc_points(score, positive)
    assert integrate.trapezoid(y, x) == pytest.approx(area)


def test_that_spearman_is_scipys() -> None:
    generator = np.random.default_rng(0)
    a = generator.random(100)
    b = a + generator.random(100)
    found = spearman_of_draws(a, b, draws=200, seed=0, level=0.95)
    assert found.value == pytest.approx(stats.spearmanr(a, b).statistic)
    assert found.low < found.value < found.high


def test_that_only_epochs_and_items_that_all_share_are_used() -> None:
    frame = gold(np.full((10, 4), 0.5))
    frame = frame[~((frame["item"] == "i0") & (frame["epoch"] == 2))]
    stray = frame[:1].assign(epoch=9)
    found = dynamics_of(store_of(pd.concat([frame, stray])), "gold")
    assert found.values.shape == (1, 9, 4)
    assert len(found.notes) == 3
    with pytest.raises(TooLittleData, match="epoch"):
        dynamics_of(store_of(frame.drop(columns="epoch")), "gold")
    with pytest.raises(AnalysisError, match="more than once"):
        dynamics_of(store_of(pd.concat([frame, frame[:1]])), "gold")


# dynamics.data-map


@given(st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=3, max_size=8))
@settings(deadline=None, max_examples=30)
def test_that_variability_has_its_bound(p: list[list[float]]) -> None:
    result = DataMapQuestion(draws=100).answer(store_of(gold(np.array(p))))
    frame = result.map.frame
    bound = np.sqrt(frame["confidence"] * (1 - frame["confidence"]))
    assert (frame["variability"] <= bound + 1e-9).all()
    assert (frame["variability"] <= 0.5 + 1e-9).all()


def test_that_confidence_and_variability_are_moments_over_epochs() -> None:
    p = np.random.default_rng(0).random((12, 6))
    frame = DataMapQuestion(draws=100).answer(store_of(gold(p))).map.frame
    assert frame["confidence"].to_numpy() == pytest.approx(p.mean(axis=1))
    assert frame["variability"].to_numpy() == pytest.approx(np.sqrt((p**2).mean(axis=1) - p.mean(axis=1) ** 2))
    assert frame["correctness"].to_numpy() == pytest.approx((p > 0.5).mean(axis=1))


def test_that_one_epoch_has_no_variability_and_says_so() -> None:
    result = DataMapQuestion(draws=100).answer(store_of(gold(np.array([[0.2], [0.9], [0.5]]))))
    assert (result.map.frame["variability"] == 0).all()
    assert not (result.map.frame["region"] == "ambiguous").any()
    assert any("fewer than 3 epochs" in note for note in result.notes)


def test_that_the_hard_corner_of_the_demo_holds_its_wrong_labels(demo: RunStore) -> None:
    question = DataMapQuestion(draws=200).resolved(demo)
    assert question.truth == "mislabelled"
    result = question.answer(demo)
    frame = pd.read_parquet(DEMO)
    mean = frame.groupby("item")["label_probability"].mean()
    wrong = frame.groupby("item")["mislabelled"].first().astype(bool)
    u = stats.mannwhitneyu(-mean[wrong], -mean[~wrong]).statistic
    found = result.estimates["auc_of_low_confidence"]
    assert found.value == pytest.approx(u / (wrong.sum() * (~wrong).sum()), abs=1e-9)
    assert found.low > 0.99
    regions = result.tables["regions"].set_index("region")
    assert regions.loc["hard", "known_wrong"] == 40
    json.dumps(to_json(data_map.figure(question, result)))
    json.dumps(result.to_json())


def test_that_runs_are_compared_where_there_are_several() -> None:
    generator = np.random.default_rng(1)
    base = generator.random((60, 1))
    p = [np.clip(base + 0.1 * generator.standard_normal((60, 5)), 0, 1) for _ in range(2)]
    frame = pd.concat([gold(one, seed=seed) for seed, one in enumerate(p)])
    question = DataMapQuestion(draws=100)
    result = question.answer(store_of(frame))
    expected = stats.spearmanr(p[0].mean(axis=1), p[1].mean(axis=1)).statistic
    assert result.estimates["spearman_confidence"].value == pytest.approx(expected)
    assert result.changes is not None
    assert result.changes.sum() == 60
    assert [panel.key for panel in data_map.figure(question, result).panels] == ["map", "traces", "changes"]


def test_that_a_map_of_many_items_is_drawn_in_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_map, "_MOST_POINTS", 100)
    p = np.random.default_rng(0).random((400, 3))
    question = DataMapQuestion(draws=100)
    result = question.answer(store_of(gold(np.round(p, 1))))
    points = [mark for mark in data_map.figure(question, result).panels[0].marks if hasattr(mark, "notes")]
    assert sum(int(note.split()[0]) for mark in points for note in mark.notes) == 400
    assert sum(len(mark.x) for mark in points) < 400


# dynamics.aum


def logits(z: np.ndarray, label: np.ndarray, **columns: Any) -> pd.DataFrame:
    """Rows of logits: `z` has shape (items, epochs, classes)."""
    items, epochs, classes = z.shape
    return pd.DataFrame(
        {"item": np.repeat([f"i{i}" for i in range(items)], epochs), "epoch": np.tile(np.arange(epochs), items),
         "label": np.repeat(label, epochs).astype(str),
         **{f"logit.{k}": z[:, :, k].ravel() for k in range(classes)},
         **{name: np.repeat(values, epochs) for name, values in columns.items()}}
    )  # fmt: skip


def test_that_the_area_is_the_mean_margin_of_the_label() -> None:
    z = np.array([[[3.0, 1.0, 0.0], [1.0, 2.0, 0.0]], [[0.0, 5.0, 4.0], [0.0, 1.0, 4.0]]])
    result = AreaUnderMarginQuestion(draws=100, flag_to=0.0).answer(store_of(logits(z, np.array([0, 2]))))
    assert result.aum == pytest.approx([(2 - 1) / 2, (-1 + 3) / 2])
    assert not result.flagged.any()


def test_that_margins_of_probabilities_are_those_of_their_logits() -> None:
    generator = np.random.default_rng(0)
    z, label = generator.standard_normal((30, 4, 5)), generator.integers(0, 5, 30)
    frame = logits(z, label)
    p = np.exp(z) / np.exp(z).sum(axis=2, keepdims=True)
    other = frame.drop(columns=[f"logit.{k}" for k in range(5)])
    other = other.assign(**{f"prob.{k}": p[:, :, k].ravel() for k in range(5)})
    one, two = (AreaUnderMarginQuestion(draws=100).answer(store_of(each)) for each in (frame, other))
    assert one.aum == pytest.approx(two.aum)


def test_that_threshold_rows_set_the_threshold() -> None:
    generator = np.random.default_rng(1)
    z = generator.standard_normal((400, 3, 3))
    extra = np.arange(400) < 100
    question = AreaUnderMarginQuestion(draws=200, threshold_rows="is_threshold", percentile=90)
    result = question.answer(store_of(logits(z, np.zeros(400, int), is_threshold=extra.astype(float))))
    assert result.threshold == pytest.approx(np.percentile(result.aum[extra], 90))
    assert result.flagged.sum() == np.sum(result.aum[~extra] <= result.threshold)
    # All rows are alike, so that nine in ten are flagged.
    found = result.estimates["flagged_share"]
    assert found.low < 0.9 < found.high
    json.dumps(to_json(aum.figure(question, result)))


def test_that_two_gaussians_are_recovered() -> None:
    generator = np.random.default_rng(2)
    values = np.concatenate([generator.normal(-2, 0.7, 3000), generator.normal(3, 1.2, 7000)])
    edges = np.linspace(values.min(), values.max(), 401)
    counts, _ = np.histogram(values, edges)
    weight, mean, sd = fit_two_gaussians((edges[:-1] + edges[1:]) / 2, counts[None].astype(float))
    assert weight[0] == pytest.approx([0.3, 0.7], abs=0.01)
    assert mean[0] == pytest.approx([-2, 3], abs=0.05)
    assert sd[0] == pytest.approx([0.7, 1.2], abs=0.04)


def test_that_the_forty_wrong_labels_of_the_demo_are_found(demo: RunStore) -> None:
    question = AreaUnderMarginQuestion(draws=100).resolved(demo)
    result = question.answer(demo)
    frame = pd.read_parquet(DEMO)
    z = frame[[f"logit.{k}" for k in range(10)]].to_numpy(float, copy=True)
    rows = np.arange(len(z))
    own = z[rows, frame["label"]]
    z[rows, frame["label"]] = -np.inf
    expected = pd.Series(own - z.max(axis=1)).groupby(frame["item"]).mean()
    table = result.tables["items"].set_index("item")
    assert table["aum"].to_numpy() == pytest.approx(expected[table.index].to_numpy())
    assert result.estimates["auc"].value == pytest.approx(0.999, abs=5e-4)
    assert result.estimates["recall"].value == 1.0
    assert set(table.index[: int(result.estimates["flagged"].value)]) >= set(frame["item"][frame["mislabelled"] == 1])
    json.dumps(to_json(aum.figure(question, result)))
    json.dumps(result.to_json())


def test_that_margins_all_alike_are_refused() -> None:
    with pytest.raises(TooLittleData, match="different margins"):
        AreaUnderMarginQuestion().answer(store_of(logits(np.zeros((4, 3, 2)), np.zeros(4, int))))


# dynamics.forgetting


def right(rows: list[list[int]], **columns: Any) -> pd.DataFrame:
    values = np.array(rows, float)
    return gold(values, **columns).assign(correct=values.ravel())


def test_that_events_and_learning_are_counted_as_by_hand() -> None:
    values = np.array([[0, 1, 0, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0], [1, 0, 1, 0, 1, 0]], bool)
    assert forgetting_events(values).tolist() == [1, 0, 0, 3]
    assert first_learned(values, np.arange(1.0, 7.0), 3).tolist() == [6, 3, np.inf, np.inf]
    assert first_learned(values, np.arange(1.0, 7.0), 1).tolist() == [2, 1, np.inf, 1]
    assert np.isinf(first_learned(values, np.arange(1.0, 7.0), 7)).all()


def test_that_items_never_right_stand_apart_from_those_never_forgotten() -> None:
    question = ForgettingQuestion(k=2, draws=100)
    result = question.answer(store_of(right([[0, 0, 0], [1, 1, 1], [1, 0, 1], [0, 1, 1]])))
    assert result.never.tolist() == [True, False, False, False]
    low, high = proportion_confint(1, 4, method="wilson")
    found = result.estimates["ever_forgotten"]
    assert (found.value, found.low, found.high) == pytest.approx((0.25, low, high))
    bars = forgetting.figure(question, result).panels[0]
    assert bars.x.names == ("0", "1", "never right")


def test_that_late_learning_finds_the_wrong_labels_of_the_demo(demo: RunStore) -> None:
    question = ForgettingQuestion(draws=100).resolved(demo)
    result = question.answer(demo)
    frame = pd.read_parquet(DEMO)
    wide = frame.pivot(index="item", columns="epoch", values="correct").to_numpy()
    assert result.estimates["mean_events"].value == pytest.approx((np.diff(wide, axis=1) == -1).sum() / len(wide))
    assert result.estimates["auc_of_late_learning"].low > 0.97
    json.dumps(to_json(forgetting.figure(question, result)))
    json.dumps(result.to_json())


def test_that_what_training_rows_lack_is_said() -> None:
    frame = gold(np.random.default_rng(0).random((6, 3)), task="t")
    for rows, options, said in (
        (frame, {"column": "nowhere"}, "no column called 'nowhere'"),
        (frame, {"task": "u"}, "No prediction is of the task 'u'"),
        (frame.assign(p_gold=np.nan), {"column": "p_gold"}, "none that are known"),
        (frame.assign(p_gold=2.0), {"column": "p_gold"}, "no probability"),
        (frame.drop(columns="p_gold"), {}, "how probable the label was"),
        (frame[(frame["epoch"] == 0) == (frame["item"] < "i3")], {}, "at every epoch"),
    ):
        with pytest.raises(AnalysisError, match=said):
            dynamics_of(store_of(rows), "gold", **options)  # type: ignore[arg-type]
    with pytest.raises(AnalysisError, match="no loss"):
        dynamics_of(store_of(frame.assign(loss=-1.0)), "loss", column="loss")
    for what in ("el2n", "margin"):
        with pytest.raises(AnalysisError, match="Name columns"):
            dynamics_of(store_of(frame.drop(columns="p_gold")), what)
    holes = frame.assign(p_gold=frame["p_gold"].where((frame["item"] != "i2") | (frame["epoch"] != 1)))
    found = dynamics_of(store_of(holes), "gold", until=1)
    assert found.epochs.tolist() == [0, 1]
    assert found.items["item"].tolist() == ["i0", "i1", "i3", "i4", "i5"]
    assert any(note.startswith("1 row left out") for note in found.notes)


def test_that_margins_of_log_probabilities_are_those_of_the_logits() -> None:
    generator = np.random.default_rng(1)
    z = generator.normal(size=(20, 3))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    rows = pd.DataFrame(
        {"item": np.arange(20).astype(str), "epoch": 0, "label": generator.integers(0, 3, 20).astype(str)}
    )
    by_logit, by_probability = (
        dynamics_of(store_of(pd.concat([rows, pd.DataFrame(values).add_prefix(kind)], axis=1)), "margin").values
        for kind, values in (("logit.", z), ("prob.", p))
    )
    np.testing.assert_allclose(by_probability, by_logit)
    own = z[np.arange(20), rows["label"].astype(int)]
    others = np.sort(np.where(np.arange(3) == rows["label"].astype(int).to_numpy()[:, None], -np.inf, z), axis=1)[:, -1]
    np.testing.assert_allclose(by_logit.ravel(), own - others)


def test_that_a_score_that_is_the_same_for_all_has_no_correlation() -> None:
    found = spearman_of_draws(np.ones(10), np.arange(10.0), draws=100, seed=0, level=0.95)
    assert np.isnan(found.value)
    assert found.why_no_interval == "one of them is the same for all items"


def test_that_several_runs_of_a_training_are_held_against_one_another() -> None:
    generator = np.random.default_rng(2)
    level = generator.random((80, 1))
    runs = [np.clip(level + 0.1 * generator.normal(size=(80, 4)), 0.01, 0.99) for _ in range(2)]
    frame = pd.concat([gold(p, label="a", prediction=np.where(p.ravel() > 0.5, "a", "b"), seed=seed)
                       for seed, p in enumerate(runs)])  # fmt: skip
    frame["prob.a"], frame["prob.b"] = frame["p_gold"], 1 - frame["p_gold"]
    store = store_of(frame.drop(columns="p_gold"))
    areas = [np.log(p / (1 - p)).mean(axis=1) for p in runs]
    result = AreaUnderMarginQuestion(draws=100).resolved(store).answer(store)
    assert result.estimates["spearman_of_runs"].value == pytest.approx(stats.spearmanr(*areas).statistic)
    events = [((p[:, :-1] > 0.5) & (p[:, 1:] <= 0.5)).sum(axis=1) for p in runs]
    found = ForgettingQuestion(draws=100).resolved(store).answer(store).estimates["spearman_of_runs"]
    assert found.value == pytest.approx(stats.spearmanr(*events).statistic, abs=0.15)
