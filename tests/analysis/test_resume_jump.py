from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from runglass.analysis.curves.resume_jump import (
    ResumeJumpQuestion,
    ResumeJumps,
    change_points,
    figure,
    gap_after,
)
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import FigureSpec, Rule
from runglass.models.loader import load
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece


def falling(n: int, seed: int = 0, noise: float = 0.05) -> np.ndarray:
    return np.asarray(3 - np.arange(n) / n + np.random.default_rng(seed).normal(0, noise, n))


def resumed(jump: float, seed: int = 0, back: int = 100) -> CurvePiece:
    """A run of 600 steps, logged at each, that goes back at step 400 and comes in higher by `jump`."""
    steps = np.concatenate([np.arange(400), np.arange(400 - back, 600)])
    y = 3 - steps / 600 + np.random.default_rng(seed).normal(0, 0.05, len(steps))
    y[400:] += jump
    return CurvePiece("a", steps, {"loss": y}, wall_time=100.0 + 2.0 * np.arange(len(steps)))


def asked(*events: Any, **options: Any) -> tuple[ResumeJumps, FigureSpec]:
    store = RunStore().adding(events)
    question = ResumeJumpQuestion(**options).resolved(store)
    result = question.answer(store)
    return result, figure(question, result)


def test_that_the_gap_is_the_prediction_error_of_statsmodels() -> None:
    from statsmodels.regression.linear_model import OLS

    generator = np.random.default_rng(0)
    x, y, later = np.arange(20.0), generator.normal(size=20), 25.0
    fit = OLS(y, np.column_stack([np.ones(20), x])).fit()
    expected = fit.get_prediction([[1.0, later]])
    gap = gap_after(x, y, np.array([later]), np.array([0.0]))
    assert gap.jump == pytest.approx(-expected.predicted_mean[0])
    # Of a single further value: the error of the line, and that of the value.
    assert gap.error == pytest.approx(expected.se_obs[0])


def test_that_the_gap_has_an_sd_near_1_at_random_steps() -> None:
    generator = np.random.default_rng(0)
    x = np.arange(40.0)
    found = [gap_after(x[:20], y[:20], x[20:], y[20:]).standardised for y in generator.normal(size=(4000, 40))]
    # A t variable with 18 degrees of freedom has an SD of sqrt(18 / 16).
    assert np.std(found) == pytest.approx(np.sqrt(18 / 16), abs=0.04)


def test_that_placebo_gaps_of_a_run_of_independent_noise_have_an_sd_near_1() -> None:
    result, _ = asked(resumed(0.0))
    assert result.tables["joins"]["placebo_sd"].iloc[0] == pytest.approx(1, abs=0.35)


def test_that_a_jump_is_found_where_the_steps_go_back() -> None:
    result, _ = asked(resumed(0.3))
    row = result.tables["joins"].iloc[0]
    assert (row["step"], row["found_by"]) == (300, "back from 399")
    estimate = result.estimates["jump"]
    assert estimate.low <= 0.3 <= estimate.high
    assert row["p"] < 0.01
    assert "jumps by +0.279 [0.191, 0.353] where a at step 300" in result.summary()


def test_that_a_restart_that_changed_nothing_is_no_jump() -> None:
    p = [asked(resumed(0.0, seed))[0].tables["joins"]["p"].iloc[0] for seed in range(20)]
    assert np.mean(np.array(p) < 0.05) <= 0.15
    assert 0.3 < np.mean(p) < 0.7


def test_that_the_interval_of_the_jump_covers_as_often_as_it_says() -> None:
    held = 0
    for seed in range(60):
        estimate = asked(resumed(0.1, seed))[0].estimates["jump"]
        held += estimate.low <= 0.1 <= estimate.high
    # Two standard errors of a coverage of 95 % in 60 runs are 5.6 %; placebo places of one run depend on one another.
    assert held >= 51


def test_that_a_run_is_compared_with_what_led_to_the_checkpoint_and_not_with_what_was_thrown_away() -> None:
    piece = resumed(0.0)
    piece.values["loss"][300:400] += 5.0
    assert abs(asked(piece)[0].estimates["jump"].value) < 0.2


def test_that_steps_can_be_named_and_no_others_are_looked_at() -> None:
    y = falling(400)
    y[250:] += 0.5
    result, _ = asked(CurvePiece("a", np.arange(400), {"loss": y}), at=("250",))
    assert result.tables["joins"]["step"].tolist() == [250]
    assert result.estimates["jump"].value == pytest.approx(0.5, abs=0.15)
    with pytest.raises(AnalysisError, match="list of numbers"):
        asked(CurvePiece("a", np.arange(400), {"loss": y}), at=("soon",))


def test_that_a_count_of_restarts_says_where() -> None:
    count = CurvePiece("a", np.arange(0, 400, 10), {"preemption_count": (np.arange(40) >= 20).astype(float)})
    result, _ = asked(CurvePiece("a", np.arange(400), {"loss": falling(400)}), count)
    assert result.tables["joins"]["step"].tolist() == [200]
    assert result.tables["joins"]["found_by"].tolist() == ["preemption_count changes"]


def test_that_a_pause_says_where_unless_pauses_are_not_asked_about() -> None:
    times = 100.0 + np.arange(400)
    times[150:] += 7200
    piece = CurvePiece("a", np.arange(400), {"loss": falling(400)}, wall_time=times)
    result, _ = asked(piece)
    assert (result.joins[0].at, result.joins[0].why) == (150, "paused 2 h")
    with pytest.raises(TooLittleData, match="none in the logs"):
        asked(piece, pauses=False)


def test_that_the_speed_after_is_told_from_the_speed_before() -> None:
    piece = resumed(0.0)
    times = np.concatenate([2.0 * np.arange(400), 10_000 + 4.0 * np.arange(300)])
    times += np.random.default_rng(0).uniform(0, 0.1, 700)
    result, _ = asked(CurvePiece("a", piece.step, piece.values, wall_time=times))
    estimate = result.estimates["speed_ratio"]
    assert estimate.value == pytest.approx(0.5, abs=0.02)
    assert estimate.high < 0.7
    changes = result.tables["speed_changes"]
    assert changes["ratio"].tolist() == [pytest.approx(0.5, abs=0.02)]
    assert changes["at_a_join"].tolist() == [True]


def test_that_a_logged_throughput_is_taken_for_the_speed() -> None:
    piece = resumed(0.0)
    speed = np.where(np.arange(700) < 400, 100.0, 150.0) + np.random.default_rng(0).normal(0, 1, 700)
    result, _ = asked(CurvePiece("a", piece.step, {**piece.values, "tokens_per_sec": speed}))
    assert (
        ResumeJumpQuestion()
        .resolved(RunStore().adding([CurvePiece("a", piece.step, {**piece.values, "tokens_per_sec": speed})]))
        .throughput
        == "tokens_per_sec"
    )
    assert "tokens_per_sec" in " ".join(result.notes)


def test_that_change_points_are_where_the_mean_changes() -> None:
    generator = np.random.default_rng(0)
    y = np.repeat([0.0, 3.0, 1.0], [60, 80, 60]) + generator.normal(0, 0.5, 200)
    assert change_points(y) == pytest.approx([60, 140], abs=1)
    false = sum(len(change_points(generator.normal(size=200))) for _ in range(200))
    assert false <= 10


def test_that_too_few_values_on_a_side_are_said() -> None:
    with pytest.raises(TooLittleData, match="1 join with fewer"):
        asked(CurvePiece("a", np.arange(60), {"loss": falling(60)}), at=("50",))


def test_that_units_of_the_metric_change_no_standardised_jump() -> None:
    piece = resumed(0.2)
    other = CurvePiece("a", piece.step, {"loss": 100 * piece.values["loss"] + 7})
    assert asked(piece, pauses=False)[0].estimates["jump_in_errors"].value == pytest.approx(
        asked(other, pauses=False)[0].estimates["jump_in_errors"].value
    )


def test_that_the_figure_zooms_to_the_join_and_shows_places_where_nothing_happened() -> None:
    result, spec = asked(resumed(0.3))
    zoom, placebos = spec.panels
    assert (zoom.x.low, zoom.x.high) == (result.joins[0].x[0], result.joins[0].later_x[-1])
    assert [mark.at for mark in zoom.marks if isinstance(mark, Rule)] == [300]
    assert placebos.key == "placebos"


def test_that_several_joins_are_tested_with_holm() -> None:
    first = resumed(0.3)
    result, _ = asked(first, CurvePiece("b", first.step, {"loss": resumed(0.0, 1).values["loss"]}))
    table = result.tables["joins"]
    assert len(table) == 2
    assert (table["p_holm"] >= table["p"]).all()
    assert table["p"].iloc[0] == pytest.approx(stats.rankdata(-np.abs([result.joins[0].gap.standardised, 0]))[0] / 201)


def test_that_restarted_runs_of_algoperf_went_on_as_before(shared_data: Path) -> None:
    store = load([shared_data / "runs" / "algoperf" / "baseline" / "study_1" / "wmt_jax"])
    question = ResumeJumpQuestion().resolved(store)
    table = question.answer(store).tables["joins"]
    assert len(table) >= 2
    assert (table["p_holm"] > 0.05).all()
    assert table["found_by"].str.startswith("paused").all()


def test_that_the_resumed_run_of_the_sample_went_on_as_before() -> None:
    store = load([Path(__file__).parents[2] / "resources" / "demo" / "resumed"])
    question = ResumeJumpQuestion().resolved(store)
    (join,) = question.answer(store).joins
    assert (join.at, join.why) == (640, "back from 696")
    low, high = join.interval(0.95)
    assert low < 0 < high


def test_that_a_join_with_few_places_to_compare_with_has_the_interval_of_student() -> None:
    from scipy.stats import t

    generator = np.random.default_rng(4)
    y = 3 + 0.05 * generator.normal(size=24)
    y[12:] += 0.4
    result, _ = asked(CurvePiece("run", np.arange(24), {"loss": y}), at=("12",), window=10)
    join = result.joins[0]
    assert np.isnan([join.p, join.share_below]).all()
    half = t.ppf(0.975, len(join.x) - 2) * join.gap.error
    assert join.interval(0.95) == pytest.approx((join.gap.jump - half, join.gap.jump + half))
    assert "nothing happened" not in result.summary()


def test_that_a_speed_that_is_not_known_everywhere_has_no_interval() -> None:
    y = falling(24)
    speed = np.where(np.arange(24) == 3, 5.0, np.nan)
    result, _ = asked(
        CurvePiece("run", np.arange(24), {"loss": y, "speed": speed}), at=("12",), window=10, throughput="speed"
    )
    assert np.isnan(result.joins[0].speed).all()
