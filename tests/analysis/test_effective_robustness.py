from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr, ndtri

from runglass.analysis.robustness.effective import (
    EffectiveQuestion,
    EffectiveRobustness,
    Line2,
    figure,
    noise_variance,
    scaled,
    unscaled,
)
from runglass.analysis.two_sets import two_sets
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Band, Line, Points
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def store_of(frame: pd.DataFrame) -> RunStore:
    return RunStore().adding([TableRows("scores.csv", "test", frame, "scores")])


def scores(x: np.ndarray, y: np.ndarray, n: float | None = 1000, **columns: Any) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {"model": [f"m{i}" for i in range(len(x))], "task": task, "metric": "accuracy", "value": value} | columns
        )
        for task, value in (("old", x), ("new", y))
    ]
    return pd.concat(parts) if n is None else pd.concat(parts).assign(n=n)


def asked(frame: pd.DataFrame, **options: Any) -> EffectiveRobustness:
    return EffectiveQuestion(**{"draws": 300, "known": "old", "shifted": "new", **options}).answer(store_of(frame))


def on_a_probit_line(models: int = 12) -> tuple[np.ndarray, np.ndarray]:
    x = np.linspace(0.55, 0.92, models)
    return x, ndtr(-0.6 + 0.9 * ndtri(x))


@pytest.mark.parametrize("axes", ["linear", "logit", "probit"])
def test_that_scales_go_there_and_back(axes: Any) -> None:
    p = np.array([0.1, 0.5, 0.97])
    assert unscaled(scaled(p, np.full(3, np.nan), axes), axes) == pytest.approx(p)
    # The delta method against the spread of many binomial draws.
    n = np.full(3, 4000.0)
    drawn = np.random.default_rng(0).binomial(4000, p, (20_000, 3)) / 4000
    assert noise_variance(p, n, axes) == pytest.approx(scaled(drawn, n, axes).var(axis=0), rel=0.05)


def test_that_the_line_is_that_of_statsmodels() -> None:
    from statsmodels.regression.linear_model import WLS

    generator = np.random.default_rng(1)
    x, y, w = (
        generator.uniform(0.3, 0.9, 20),
        generator.uniform(0.2, 0.8, 20),
        generator.integers(0, 4, 20).astype(float),
    )
    unknown = np.full(20, np.nan)
    line = Line2.of(x, y, unknown, unknown, w, "probit", "least squares")
    expected = WLS(ndtri(y), np.vander(ndtri(x), 2), weights=w).fit().params
    assert (line.slope, line.intercept) == pytest.approx(tuple(expected))


def test_that_noise_in_x_flattens_least_squares_and_the_other_fit_undoes_it() -> None:
    generator = np.random.default_rng(2)
    truth = generator.uniform(0.55, 0.7, 3000)
    n = np.full(3000, 200.0)
    x = generator.binomial(200, truth) / 200
    y = 0.8 * truth - 0.1
    plain, mended = (Line2.of(x, y, n, n, np.ones(3000), "linear", fit) for fit in ("least squares", "noise in x"))
    assert plain.slope == pytest.approx(0.8 * plain.reliability, abs=0.02)
    assert plain.slope < 0.55
    assert mended.slope == pytest.approx(0.8, abs=0.04)


def test_that_an_intervention_above_the_line_has_its_effective_robustness() -> None:
    x, y = on_a_probit_line()
    lifted = y.copy()
    lifted[6] += 0.08
    result = asked(scores(x, lifted), interventions=("m6",))
    rho = result.estimates["m6/rho"]
    assert rho.value == pytest.approx(0.08, abs=0.002)
    assert rho.low > 0.03
    assert (result.estimates["slope"].value, result.estimates["intercept"].value) == pytest.approx(
        (0.9, -0.6), abs=0.01
    )
    assert "m6 lies +8.0 points" in result.summary()


def test_that_least_squares_residuals_of_baselines_average_to_zero() -> None:
    generator = np.random.default_rng(4)
    x = generator.uniform(0.5, 0.9, 15)
    result = asked(scores(x, 0.7 * x + generator.normal(0, 0.03, 15)), axes="linear")
    assert result.tables["models"]["rho"].mean() == pytest.approx(0, abs=1e-12)
    assert any("by construction" in note for note in result.notes)


def test_that_the_interval_of_rho_holds_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    x, y = on_a_probit_line(20)
    held = 0
    for seed in range(40):
        seen_x, seen_y = generator.binomial(1000, x) / 1000, generator.binomial(1000, y) / 1000
        rho = asked(scores(seen_x, seen_y), interventions=("m10",), draws=120, seed=seed).estimates["m10/rho"]
        held += rho.low <= 0 <= rho.high
    assert held / 40 >= 0.85


def test_that_ranks_that_shift_are_listed_and_tau_says_how_well_they_are_kept() -> None:
    x = np.array([0.9, 0.8, 0.7, 0.6])
    result = asked(scores(x, np.array([0.5, 0.6, 0.4, 0.3])), axes="linear")
    assert result.estimates["tau_b"].value == pytest.approx(4 / 6)
    assert result.tables["models"].set_index("name")["rank_shift"].to_dict() == {"m0": 1, "m1": -1, "m2": 0, "m3": 0}
    assert result.estimates["mean_drop"].value == pytest.approx(0.3)


def test_that_a_bend_shows_in_the_quadratic_term() -> None:
    from statsmodels.regression.linear_model import OLS

    generator = np.random.default_rng(6)
    x = np.linspace(0.3, 0.9, 20)
    y = 0.2 + 0.9 * x - 0.5 * (x - 0.3) ** 2 + generator.normal(0, 0.005, 20)
    p = asked(scores(x, y), axes="linear").estimates["p_quadratic"].value
    assert p == pytest.approx(OLS(y, np.vander(x, 3)).fit().pvalues[0])
    assert p < 1e-6


def test_that_few_baselines_have_no_band_and_what_lies_beyond_them_is_dashed() -> None:
    x, y = on_a_probit_line(6)
    few = asked(scores(x, y), interventions=("m5",))
    assert not few.estimates["slope"].has_interval
    spec = figure(EffectiveQuestion(), few)
    marks = [mark for _, mark in spec.marks()]
    assert not [mark for mark in marks if isinstance(mark, Band)]
    dashed = next(mark for mark in marks if isinstance(mark, Line) and mark.dash == "dashed")
    drawn = dashed.x[np.isfinite(dashed.y)]
    # One step of the grid before the last baseline, so that the dashes begin where the line ends.
    assert drawn.min() >= 100 * x[4] - 100 * (x[5] - x[0]) / 99 - 1e-9
    assert drawn.max() == pytest.approx(100 * x[5])
    assert few.tables["models"]["extrapolated"].tolist() == [False] * 5 + [True]
    many = figure(EffectiveQuestion(), asked(scores(*on_a_probit_line())))
    assert [mark for _, mark in many.marks() if isinstance(mark, Band)]


def test_that_without_sizes_only_the_line_is_redrawn() -> None:
    x, y = on_a_probit_line(4)
    result = asked(scores(x, y, n=None), interventions=("m3",))
    assert not result.estimates["m3/rho"].has_interval
    assert any("sizes of the sets are not known" in note for note in result.notes)


def test_that_families_are_coloured_and_resampled_whole() -> None:
    x, y = on_a_probit_line(12)
    result = asked(scores(x, y, family=["a", "b", "c"] * 4), family="family", draws=100)
    assert any("family" in note for note in result.notes if note.startswith("Unit"))
    marks = [mark for panel, mark in figure(EffectiveQuestion(), result).marks() if panel.key == "line"]
    points = [mark for mark in marks if isinstance(mark, Points)]
    assert [(mark.label, len(mark.x)) for mark in points] == [("a", 4), ("b", 4), ("c", 4)]


def test_that_unknown_interventions_and_too_few_baselines_are_said() -> None:
    x, y = on_a_probit_line(4)
    with pytest.raises(AnalysisError, match="No model is called 'm9'"):
        asked(scores(x, y), interventions=("m9",))
    with pytest.raises(TooLittleData, match="at least 3 baselines"):
        asked(scores(x, y), interventions=("m1", "m2"))


def test_that_two_sets_are_refused_with_what_is_wrong_with_them() -> None:
    x, y = on_a_probit_line(5)
    frame = scores(x, y, split="s")
    for options, refusal in (
        ({"known": "old", "shifted": "old"}, "compared with itself"),
        ({"sets": "nowhere"}, "no column called 'nowhere'"),
        ({"sets": "split", "known": "s", "shifted": "s"}, "need one task"),
    ):
        with pytest.raises(AnalysisError, match=refusal):
            asked(frame, **options)
    with pytest.raises(AnalysisError, match="outside"):
        asked(frame.assign(value=frame["value"] * 1.4))
    with pytest.raises(AnalysisError, match="Lower is better"):
        asked(frame.assign(higher_is_better=False))
    apart = frame.assign(model=frame["model"] + frame["task"])
    with pytest.raises(TooLittleData, match="both old and new"):
        asked(pd.concat([apart, apart.assign(task="third")]))


def test_that_a_model_with_one_of_the_sets_is_left_out_and_percentages_are_read_as_such() -> None:
    x, y = on_a_probit_line(6)
    frame = scores(x, y)
    short = frame[~((frame["model"] == "m2") & (frame["task"] == "new"))]
    result = asked(short.assign(value=100 * short["value"]))
    assert "1 accuracies left out: the other set has none." in result.notes
    assert any("read as percentages" in note for note in result.notes)
    plain = asked(frame[frame["model"] != "m2"])
    assert result.estimates["slope"].value == pytest.approx(plain.estimates["slope"].value)


def test_that_accuracies_are_counted_from_predictions() -> None:
    generator = np.random.default_rng(8)
    rows = [
        {
            "model": f"m{m}",
            "item": f"{name}{i}",
            "group": name,
            "correct": float(generator.random() < p),
            "epoch": epoch,
        }
        for m, skill in enumerate((0.5, 0.6, 0.7, 0.8))
        for name, p in (("easy", skill + 0.15), ("hard", skill - 0.2))
        for i in range(200)
        for epoch in (1, 2)
    ]
    frame = pd.DataFrame(rows)
    store = RunStore().adding([TableRows("p.csv", "test", frame, "predictions")])
    question = EffectiveQuestion(draws=100).resolved(store)
    assert (question.read, question.sets, question.known, question.shifted) == ("predictions", "group", "easy", "hard")
    points = two_sets(store, question, checkpoints=False).points.set_index("model")
    last = frame[frame["epoch"] == 2].groupby(["model", "group"])["correct"].mean()
    assert points.loc["m1", "x"] == pytest.approx(last["m1", "easy"])
    assert points.loc["m3", "y"] == pytest.approx(last["m3", "hard"])
    assert points["n_x"].tolist() == [200] * 4
    # Scores of something else do not stand in the way of a column that only the predictions have.
    both = store.adding([TableRows("s.csv", "test", scores(*on_a_probit_line(3)), "scores")])
    assert EffectiveQuestion(sets="group").resolved(both).read == "predictions"
    with pytest.raises(AnalysisError, match="predictions have no column called 'nowhere'"):
        EffectiveQuestion(read="predictions", sets="nowhere").answer(both)
    nameless = RunStore().adding([TableRows("p.csv", "test", frame.drop(columns=["model", "epoch"]), "predictions")])
    with pytest.raises(TooLittleData, match="predictions of several models"):
        EffectiveQuestion(known="easy", shifted="hard").answer(nameless)
    alone = RunStore().adding([TableRows("p.csv", "test", frame.drop(columns=["group"]), "predictions")])
    with pytest.raises(TooLittleData, match="a column of sets"):
        EffectiveQuestion(known="easy", shifted="hard").answer(alone)
    assert EffectiveQuestion().resolved(RunStore()).read == "predictions"
