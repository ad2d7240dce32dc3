from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import linregress

from runglass.analysis.asking import Answer, Opened, ask, column_map, opened
from runglass.analysis.resampling import percentile_interval
from runglass.analysis.scaling.post_training import ANALYSIS, fit_trend
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Line, Rule
from runglass.models.store import RunStore
from runglass.models.tables import TableRows

SIZES = 500.0 * 2 ** np.arange(7)
BASES = {"7b": (0.30, 0.045, 1.9), "13b": (0.42, 0.038, 1.75), "33b": (0.52, 0.030, 1.62), "70b": (0.60, 0.022, 1.5)}


def scores(level: float = 0.3, slope: float = 0.04, *, seed: int | None = 0, noise: float = 0.006, seeds: int = 2,
           power: bool = False) -> pd.DataFrame:  # fmt: skip
    x = np.repeat(SIZES, seeds)
    y = level + slope * np.log2(x / SIZES[0])
    if power:
        y = level * (x / SIZES[0]) ** slope
    if seed is not None:
        y = y + noise * np.random.default_rng(seed).standard_normal(len(x))
    return pd.DataFrame({"run": [f"r{i}" for i in range(len(x))], "size": x, "value": y})


def table(**models: pd.DataFrame) -> pd.DataFrame:
    parts = [
        frame.assign(run=[f"{name}-{i}" for i in range(len(frame))], student=name) for name, frame in models.items()
    ]
    return pd.concat(parts).rename(columns={"size": "tokens", "value": "accuracy"})


def asked(frame: pd.DataFrame, **options: Any) -> Answer:
    store = RunStore().adding([TableRows("runs.csv", "test", frame, "runs")])
    return ask(ANALYSIS, {"draws": 200, "variant": "student", **options}, Opened(store))


@cache
def answered() -> Answer:
    frames = {
        name: scores(level, slope, seed=number).assign(base_loss=loss)
        for number, (name, (level, slope, loss)) in enumerate(BASES.items())
    }
    return asked(table(**frames), base="base_loss")


def test_that_a_trend_is_the_regression_of_scipy() -> None:
    frame = scores()
    theirs = linregress(np.log2(frame["size"]), frame["value"])
    found = fit_trend(frame)
    assert float(found.doubling()) == pytest.approx(theirs.slope, rel=1e-8)
    assert found.at(1e4)[0] == pytest.approx(theirs.intercept + theirs.slope * np.log2(1e4), rel=1e-8)


def test_that_a_power_law_without_noise_is_recovered() -> None:
    found = fit_trend(scores(power=True, slope=0.2, seed=None), power=True)
    assert float(found.doubling()) == pytest.approx(2**0.2 - 1, rel=1e-8)
    assert found.at(8 * SIZES[-1])[0] == pytest.approx(0.3 * 512**0.2, rel=1e-8)


def test_that_fewer_than_four_sizes_are_refused() -> None:
    with pytest.raises(TooLittleData, match="4 sizes"):
        fit_trend(scores()[:6])


def test_that_slopes_cover_the_truth_about_as_often_as_they_say() -> None:
    covered = []
    for seed in range(120):
        found = fit_trend(scores(seed=seed), draws=150, seed=seed)
        low, high = percentile_interval(found.doubling(found.draws.theta), found.draws.percentiles(0.9))
        covered.append(low <= 0.04 <= high)
    assert np.mean(covered) == pytest.approx(0.9, abs=0.07)


def test_that_better_bases_gain_less_from_a_doubling() -> None:
    answer = answered()
    for name, (_, slope, _) in BASES.items():
        estimate = answer.result.estimates[f"{name}/per_doubling"]
        assert estimate.low <= slope <= estimate.high
    # A higher loss of the base goes with a steeper slope: the order of all four is the same.
    assert answer.result.estimates["slope_base_tau_b"].value == pytest.approx(1)
    assert answer.result.tables["bases"]["quality"].tolist() == pytest.approx([loss for _, _, loss in BASES.values()])
    assert "bases" in {panel.key for panel in answer.figure().panels}


def test_that_the_gap_of_two_teachers_changes_its_sign_where_their_trends_cross() -> None:
    # The long chain of thought is worse for small students, and better from eight thousand on.
    long, short = scores(0.2, 0.05, seed=1, noise=0.003), scores(0.28, 0.03, seed=2, noise=0.003)
    answer = asked(table(long=long, short=short), compare=("long", "short"))
    at = answer.result.estimates["crossing_size"]
    assert at.low <= SIZES[0] * 2**4 <= at.high
    gap = answer.result.tables["gap"]
    assert gap["gap"].iloc[0] < 0 < gap["gap"].iloc[-1]
    assert "long overtakes short at" in answer.result.summary()
    turned = asked(table(long=long, short=short), compare=("short", "long"))
    assert "long overtakes short at" in turned.result.summary()
    apart = asked(table(long=scores(0.5), short=scores(0.3)), compare=("long", "short"))
    assert np.isnan(apart.result.estimates["crossing_size"].value)
    assert "do not change places" in apart.result.summary()


def test_that_types_of_error_have_trends_of_their_own() -> None:
    frame = table(a=scores())
    share = 0.6 - 0.05 * np.log2(frame["tokens"] / SIZES[0])
    answer = asked(frame.assign(reasoning=share, calculation=0.1), errors=("reasoning", "calculation"))
    errors = answer.result.tables["errors"].set_index("error")
    assert errors.loc["reasoning", "slope"] == pytest.approx(-0.05, abs=1e-6)
    assert errors.loc["calculation", "slope"] == pytest.approx(0, abs=1e-6)


def test_that_scores_at_chance_or_the_ceiling_are_said_to_flatten_the_slope() -> None:
    flat = scores(0.26, 0.001)
    assert any("close to chance" in note for note in asked(table(a=flat), chance=0.25).result.notes)
    assert any("leaves the scores there are" in note for note in asked(table(a=scores(0.7, 0.04))).result.notes)
    assert not any("Do not believe" in note for note in answered().result.notes)


def test_that_the_law_is_dashed_beyond_the_runs_and_the_target_can_be_dragged() -> None:
    marks = {mark.key: mark for panel, mark in answered().figure().marks() if panel.key == "law"}
    beyond, target = marks["7b/beyond"], marks["target"]
    assert isinstance(beyond, Line)
    assert beyond.dash == "dashed"
    assert isinstance(target, Rule)
    assert target.option == "target_size"


def test_that_a_comparison_is_of_two_variants() -> None:
    with pytest.raises(AnalysisError, match="two variants"):
        asked(table(a=scores(), b=scores()), compare=("a",))


def test_that_tuning_runs_are_read_through_the_mapper(tmp_path: Path) -> None:
    frame = table(a=scores(), b=scores(seed=1)).drop(columns="run").rename(columns={"tokens": "sft_size"})
    frame.to_csv(tmp_path / "sft.csv", index=False)
    data = opened([str(tmp_path)], column_map(["tokens=sft_size"], []))
    answer = ask(ANALYSIS, {"draws": 100, "variant": "student"}, data)
    assert answer.result.estimates["a/per_doubling"].value == pytest.approx(0.04, abs=0.005)


def test_that_a_variant_of_too_few_sizes_is_left_out_and_alone_it_is_refused() -> None:
    both = table(whole=scores(), short=scores()[:6])
    assert any(note.startswith("short left out: needs") for note in asked(both).result.notes)
    with pytest.raises(TooLittleData, match="4 sizes"):
        asked(table(short=scores()[:6], shorter=scores()[:4]))


def test_that_gaps_and_errors_are_drawn_where_they_were_asked_for() -> None:
    long, short = scores(0.2, 0.05, seed=1, noise=0.003), scores(0.28, 0.03, seed=2, noise=0.003)
    frame = table(long=long, short=short)
    falls = 0.6 - 0.05 * np.log2(frame["tokens"] / SIZES[0])
    answer = asked(frame.assign(reasoning=falls), compare=("long", "short"), errors=("reasoning",))
    panels = {panel.key: {mark.key: mark for mark in panel.marks} for panel in answer.figure().panels}
    crossing = panels["gap"]["crossing"]
    assert isinstance(crossing, Rule)
    assert crossing.at == answer.result.estimates["crossing_size"].value
    gap = panels["gap"]["gap line"]
    assert isinstance(gap, Line)
    np.testing.assert_array_equal(gap.y, answer.result.tables["gap"]["gap"])
    for variant in ("long", "short"):
        assert panels["errors"][f"errors {variant}"].y == pytest.approx([-0.05], abs=1e-6)  # type: ignore[union-attr]


def test_that_a_target_far_beyond_the_sizes_is_not_to_be_believed() -> None:
    answer = asked(table(a=scores()), target_size=1000 * SIZES[-1])
    assert "the target is more than 100 times the largest size" in answer.result.reasons
    assert "not to be believed far out" in answer.figure().subtitle
