from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from runglass.analysis.alignment import Aligned, aligned, interpolated
from runglass.analysis.curves import smooth
from runglass.analysis.curves.smooth import ANALYSIS, SmoothCurves, SmoothQuestion, figure
from runglass.models.errors import AnalysisError, Cancelled
from runglass.models.figure import EdgeMarks, FigureSpec, Line, to_json
from runglass.models.progress import CancellableProgress
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, Run, RunFacts


def tensorboard(values: list[float], weight: float) -> list[float]:
    """The loop of TensorBoard's resmoothDataset, line by line."""
    constant = all(value == values[0] for value in values)
    last, count, out = 0.0, 0, []
    for value in values:
        if constant or not np.isfinite(value):
            out.append(value)
        else:
            last = last * weight + (1 - weight) * value
            count += 1
            out.append(last / (1 - weight**count))
    return out


def store_of(curves: Mapping[str, tuple[Any, Any]], tag: str = "loss", **facts: Any) -> RunStore:
    events: list[Any] = []
    for run, (step, value) in curves.items():
        events.append(RunFacts(run, facts=facts))
        wall = 1e9 + 60.0 * np.arange(len(step))
        events.append(CurvePiece(run, np.asarray(step), {tag: np.asarray(value, float)}, wall))
    return RunStore().adding(events)


def asked(store: RunStore, **options: Any) -> tuple[SmoothCurves, FigureSpec]:
    question = SmoothQuestion(**options)
    result = question.answer(store)
    return result, figure(question, result)


def lines(spec: FigureSpec) -> dict[str, Line]:
    return {mark.key: mark for _, mark in spec.marks() if isinstance(mark, Line)}


@given(
    values=st.lists(st.floats(-1e6, 1e6) | st.sampled_from([np.nan, np.inf, -np.inf]), min_size=1, max_size=200),
    weight=st.floats(0, 0.999),
)
def test_that_the_ema_is_tensorboards(values: list[float], weight: float) -> None:
    np.testing.assert_allclose(smooth.ema(np.array(values), weight), tensorboard(values, weight), rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("values", [20_000, 20_001])
def test_that_the_ema_is_tensorboards_to_the_last_digits_on_a_long_curve(values: int) -> None:
    y = np.random.default_rng(0).normal(3, 1, values)
    np.testing.assert_allclose(smooth.ema(y, 0.99), tensorboard(y.tolist(), 0.99), rtol=1e-12)


def test_that_values_that_are_not_finite_pass_through_and_do_not_count() -> None:
    out = smooth.ema(np.array([1.0, np.nan, 2.0, np.inf]), 0.5)
    np.testing.assert_allclose(out, [1.0, np.nan, (0.25 * 1 + 0.5 * 2) / 0.75, np.inf])


@pytest.mark.parametrize("smoother", ["ema", "half-life", "mean", "gaussian", "none"])
def test_that_a_constant_series_is_unchanged(smoother: str) -> None:
    x = np.sort(np.random.default_rng(0).uniform(0, 100, 500))
    curve = Aligned(Run("a"), x, np.full(500, 0.1), np.array([0]), 0)
    np.testing.assert_allclose(smooth.smoothed(curve, smoother, 0.9, 5.0), 0.1, rtol=1e-12)


@given(
    y=arrays(float, 60, elements=st.floats(-100, 100)),
    smoother=st.sampled_from(["ema", "half-life", "mean", "gaussian"]),
    scale=st.floats(0.01, 100),
)
def test_that_smoothing_commutes_with_a_change_of_units(y: np.ndarray, smoother: str, scale: float) -> None:
    x = np.arange(60.0)
    plain = smooth.smoothed(Aligned(Run("a"), x, y, np.array([0]), 0), smoother, 0.7, 4.0)
    scaled = smooth.smoothed(Aligned(Run("a"), x, scale * y + 7, np.array([0]), 0), smoother, 0.7, 4.0)
    np.testing.assert_allclose(scaled, scale * plain + 7, atol=1e-6)


def test_that_the_half_life_average_forgets_by_distance_and_not_by_point() -> None:
    x = np.array([0.0, 1.0, 4.0])
    out = smooth.half_life_average(x, np.array([1.0, 0.0, 0.0]), half_life=1.0)
    np.testing.assert_allclose(out, [1, 0.5, 0.5 * 2**-3])


def test_that_the_centred_mean_takes_what_lies_within_half_the_width() -> None:
    x = np.array([0.0, 1.0, 2.0, 10.0])
    np.testing.assert_allclose(smooth.centred_mean(x, np.array([0.0, 3.0, 6.0, 9.0]), 2.0), [1.5, 3, 4.5, 9])


def test_that_the_gaussian_mean_is_the_sum_it_stands_for() -> None:
    generator = np.random.default_rng(0)
    x = np.sort(generator.uniform(0, 50, 400))
    y = np.sin(x / 5) + generator.normal(0, 0.3, 400)
    weights = np.exp(-0.5 * ((x[:, None] - x[None, :]) / 2.0) ** 2)
    np.testing.assert_allclose(smooth.gaussian_mean(x, y, 2.0), weights @ y / weights.sum(axis=1), atol=2e-3)


def test_that_a_curve_keeps_its_full_resolution_and_a_faint_raw_one_behind() -> None:
    result, spec = asked(store_of({"a": (np.arange(1000), np.linspace(3, 1, 1000))}), weight=0.9)
    assert len(result.curves[0].smooth) == 1000
    drawn = lines(spec)
    assert drawn["a/loss/raw"].faint_of == "a/loss"
    assert drawn["a/loss/raw"].opacity == 0.25
    assert to_json(drawn["a/loss"].origin) == {"column": "run", "values": ["a"]}
    assert spec.subtitle == "1 run, debiased EMA, weight 0.9"


def test_that_nothing_is_drawn_twice_when_nothing_is_smoothed() -> None:
    _, spec = asked(store_of({"a": ([0, 1, 2], [3, 2, 1])}), smoother="none")
    assert list(lines(spec)) == ["a/loss"]
    np.testing.assert_array_equal(lines(spec)["a/loss"].y, [3, 2, 1])


def test_that_a_resumed_run_is_split_and_each_piece_smoothed_on_its_own() -> None:
    result, spec = asked(store_of({"a": ([0, 10, 20, 10, 20], [4.0, 3.0, 2.0, 9.0, 9.0])}), weight=0.5)
    np.testing.assert_allclose(result.curves[0].smooth[3:], [9, 9])
    line = lines(spec)["a/loss"]
    np.testing.assert_array_equal(line.x, [0, 10, 20, np.nan, 10, 20])
    assert any("1 run went back to an earlier step" in note for note in result.notes)


def test_that_nan_and_infinities_are_marked_at_the_edge_and_counted() -> None:
    result, spec = asked(store_of({"a": ([0, 1, 2, 3], [1.0, np.nan, np.inf, 2.0])}))
    edges = {mark.what: (mark.edge, mark.x.tolist()) for _, mark in spec.marks() if isinstance(mark, EdgeMarks)}
    assert edges == {"NaN": ("bottom", [1.0]), "+inf": ("top", [2.0])}
    assert result.tables["runs"]["non_finite"].tolist() == [2]
    assert np.isfinite(lines(spec)["a/loss"].y[[0, 3]]).all()
    assert np.isnan(lines(spec)["a/loss"].y[[1, 2]]).all()


def test_that_points_a_log_axis_cannot_show_are_said() -> None:
    _, spec = asked(store_of({"a": ([0, 1, 2, 3], [1.0, 0.0, -1.0, 2.0])}), log_y=True, log_x=True)
    assert "3 points not above 0 cannot be drawn on a log axis" in spec.subtitle
    assert spec.panels[0].x.scale == spec.panels[0].y.scale == "log"


def test_that_tight_limits_leave_a_spike_out_but_not_out_of_the_data() -> None:
    y = np.append(np.linspace(1, 2, 200), 1000.0)
    _, spec = asked(store_of({"a": (np.arange(201), y)}), smoother="none", tight_y=True)
    high = spec.panels[0].y.high
    assert high is not None
    assert 1.9 < high < 2.1
    assert lines(spec)["a/loss"].y.max() == 1000


def test_that_another_metric_can_be_the_x_axis_only_where_it_was_logged_on_both_sides() -> None:
    store = RunStore().adding(
        [
            CurvePiece("a", np.array([0, 10, 20, 30]), {"loss": np.array([4.0, 3.0, 2.0, 1.0])}),
            CurvePiece("a", np.array([5, 25]), {"tokens": np.array([500.0, 2500.0])}),
            CurvePiece("b", np.array([0, 10]), {"loss": np.array([4.0, 3.0])}),
        ]
    )
    result, spec = asked(store, x="tokens")
    assert [curve.raw.run.key for curve in result.curves] == ["a"]
    np.testing.assert_allclose(result.curves[0].raw.x, [1000, 2000])
    assert spec.panels[0].x.column == "tokens"
    assert any("1 run left out" in note for note in result.notes)
    assert any("2 points left out" in note for note in result.notes)


def test_that_tokens_come_from_the_step_where_a_run_states_its_batch() -> None:
    result, _ = asked(store_of({"a": ([0, 10], [2.0, 1.0])}, batch_tokens=512), x="tokens")
    np.testing.assert_array_equal(result.curves[0].raw.x, [0, 5120])


def test_that_relative_time_starts_with_the_run_and_has_a_unit_one_can_read() -> None:
    result, spec = asked(store_of({"a": (np.arange(200), np.arange(200.0))}), x="relative")
    assert result.curves[0].raw.x[-1] == 199 * 60
    assert spec.panels[0].x.label == "time since the start (h)"
    assert lines(spec)["a/loss"].x[-1] == pytest.approx(199 / 60)


def test_that_the_most_useful_tag_is_drawn_unless_one_is_asked_for() -> None:
    store = RunStore().adding(
        [CurvePiece("a", np.arange(3), {name: np.ones(3) for name in ("lr", "train/loss", "val/loss")})]
    )
    assert SmoothQuestion().resolved(store).tag == "val/loss"
    assert asked(store, tag="lr")[0].tag == "lr"


def test_that_only_the_runs_asked_for_are_drawn_in_colours_that_stay() -> None:
    store = store_of({name: ([0, 1], [1.0, 2.0]) for name in "abc"})
    _, spec = asked(store, runs=("c",), smoother="none")
    assert {mark.hue for mark in lines(spec).values()} == {"c2"}


def test_that_a_missing_tag_is_said_with_those_there_are() -> None:
    with pytest.raises(AnalysisError, match=r"No run that is kept has 'acc'\. Tags there are: loss\."):
        SmoothQuestion(tag="acc").answer(store_of({"a": ([0], [1.0])}))


def test_that_a_thousand_runs_are_smoothed_with_progress_that_can_cancel() -> None:
    store = store_of({f"run{i}": ([0, 1, 2], [3.0, 2.0, 1.0]) for i in range(1000)})
    result, spec = asked(store)
    assert len(result.tables["runs"]) == 1000
    assert len(lines(spec)) == 2000
    progress = CancellableProgress()
    progress.cancel()
    with pytest.raises(Cancelled):
        SmoothQuestion().answer(store, progress=progress)


def test_that_the_question_goes_to_json_and_back() -> None:
    question = SmoothQuestion(tag="loss", smoother="gaussian", width=3.0, runs=("a",), log_x=True)
    assert SmoothQuestion.from_json(question.to_json()) == question
    assert ANALYSIS.question is SmoothQuestion


def test_that_values_are_not_invented_past_the_ends() -> None:
    out = interpolated(np.array([-1.0, 0.5, 2.0]), np.array([0.0, 1.0]), np.array([0.0, 10.0]))
    np.testing.assert_array_equal(out, [np.nan, 5.0, np.nan])


def test_that_a_later_pass_over_the_same_steps_wins() -> None:
    store = store_of({"a": ([0, 10, 20, 10, 20], [4.0, 3.0, 2.0, 9.0, 8.0])})
    x, y = aligned(store, "loss")[0].latest()
    np.testing.assert_array_equal(x, [0, 10, 20])
    np.testing.assert_array_equal(y, [4, 9, 8])


@given(stride=st.integers(2, 7), half_life=st.floats(0.5, 20))
def test_that_a_stride_k_times_as_long_forgets_as_k_strides_do(stride: int, half_life: float) -> None:
    # After a jump from 1 to 0 what is left is the product of the factors, whatever lies between.
    dense = smooth.half_life_average(np.arange(stride + 1.0), np.r_[1.0, np.zeros(stride)], half_life)
    thin = smooth.half_life_average(np.array([0.0, stride]), np.array([1.0, 0.0]), half_life)
    assert thin[-1] == pytest.approx(dense[-1])
    assert thin[-1] == pytest.approx((2 ** (-1 / half_life)) ** stride)


@pytest.mark.parametrize("smoother", ["half-life", "mean", "gaussian", "median", "isotonic"])
def test_that_every_smoother_leaves_a_constant_as_it_is(smoother: str) -> None:
    result, _ = asked(store_of({"a": (np.arange(50), np.full(50, 0.1))}), smoother=smoother)
    np.testing.assert_allclose(result.curves[0].smooth, 0.1, rtol=1e-12)


def test_that_the_running_median_is_that_of_pandas_and_ignores_a_spike() -> None:
    import pandas as pd

    y = np.random.default_rng(0).normal(size=60)
    y[30] = 1000
    ours = smooth.running_median(10.0 * np.arange(60), y, 60.0)
    theirs = pd.Series(y).rolling(7, center=True).median().to_numpy()
    np.testing.assert_allclose(ours[3:-3], theirs[3:-3])
    assert ours[0] == y[0]
    assert np.abs(ours).max() < 5


def test_that_the_isotonic_curve_is_that_of_scipy_and_goes_the_way_of_the_metric() -> None:
    from scipy.optimize import isotonic_regression

    y = np.random.default_rng(0).normal(size=40) - np.arange(40) / 10
    store = store_of({"a": (np.arange(40), y)})
    falling, spec = asked(store, smoother="isotonic")
    np.testing.assert_allclose(falling.curves[0].smooth, isotonic_regression(y, increasing=False).x)
    assert "never rises" in spec.subtitle
    rising, _ = asked(store_of({"a": (np.arange(40), -y)}, tag="accuracy"), smoother="isotonic")
    assert (np.diff(rising.curves[0].smooth) >= 0).all()


def test_that_median_and_isotonic_pass_over_what_is_not_finite() -> None:
    y = np.array([5.0, np.nan, 4.0, np.inf, 3.0, 2.0, 1.0])
    for smoother in ("median", "isotonic"):
        found = asked(store_of({"a": (np.arange(7), y)}), smoother=smoother)[0].curves[0].smooth
        assert np.isnan(found[1])
        assert np.isinf(found[3])
        assert np.isfinite(np.delete(found, [1, 3])).all()


@pytest.mark.parametrize("weight", [0.0, 0.6, 0.99])
@pytest.mark.parametrize("values", ["noise", "constant at first", "with NaN"])
@pytest.mark.parametrize("x", ["step", "relative", "wall", "tokens"])
def test_that_a_curve_that_grows_is_answered_as_if_it_were_read_at_once(weight: float, values: str, x: str) -> None:
    noise = np.random.default_rng(0).normal(size=400)
    if values == "constant at first":
        noise[:150] = 1.0
    if values == "with NaN":
        noise[::37] = np.nan
    step = np.arange(400)
    whole = asked(store_of({"a": (step, noise)}, batch_tokens=512), tag="loss", weight=weight, x=x)
    store = RunStore()
    for low, high in ((0, 10), (10, 100), (100, 101), (101, 200), (200, 399), (399, 400)):
        piece = CurvePiece("a", step[low:high], {"loss": noise[low:high]}, 1e9 + 60.0 * step[low:high])
        store = store.adding([RunFacts("a", facts={"batch_tokens": 512}), piece])
        grown = asked(store, tag="loss", weight=weight, x=x)
    assert [mark.key for _, mark in grown[1].marks()] == [mark.key for _, mark in whole[1].marks()]
    for key, line in lines(whole[1]).items():
        np.testing.assert_allclose(lines(grown[1])[key].x, line.x, rtol=1e-12)
        np.testing.assert_allclose(lines(grown[1])[key].y, line.y, rtol=1e-9)
    assert grown[0].notes == whole[0].notes
    np.testing.assert_allclose(
        grown[0].tables["runs"].select_dtypes("number"), whole[0].tables["runs"].select_dtypes("number"), rtol=1e-9
    )
