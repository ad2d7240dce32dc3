"""Thinning a line out: the extremes of every column stay, whatever the data."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from runglass.analysis.decimate import MinMaxPyramid, ZoomableLine, begins_with, decimated

LENGTHS = st.integers(1, 3000)
SEEDS = st.integers(0, 2**32 - 1)


def _line(seed: int, n: int, *, holes: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = np.sort(rng.integers(0, 2 * n, n)).astype(float)
    y = rng.standard_cauchy(n)
    y[rng.random(n) < holes] = rng.choice([np.nan, np.inf, -np.inf])
    return x, y


@given(SEEDS, LENGTHS, st.integers(1, 50), st.sampled_from([0.0, 0.1, 0.9]))
def test_that_every_column_keeps_its_smallest_and_largest_value(seed: int, n: int, columns: int, holes: float) -> None:
    x, y = _line(seed, n, holes=holes)
    low, high = x[0], x[-1] + 1
    kept = ZoomableLine(x, y).kept(low, high, columns)
    column = np.searchsorted(np.linspace(low, high, columns + 1)[1:-1], x, side="right")
    for number in np.unique(column):
        here = np.flatnonzero((column == number) & np.isfinite(y))
        if len(here):
            drawn = y[np.intersect1d(kept, here)]
            assert drawn.min() == y[here].min()
            assert drawn.max() == y[here].max()


@given(SEEDS, LENGTHS, st.integers(1, 50))
def test_that_at_most_four_points_of_a_column_are_kept_and_in_their_order(seed: int, n: int, columns: int) -> None:
    x, y = _line(seed, n)
    kept = ZoomableLine(x, y).kept(x[0], x[-1], columns)
    assert len(kept) <= 4 * columns + 2
    assert np.all(np.diff(kept) > 0)


@given(SEEDS, st.integers(1, 20_000), st.integers(1, 30))
def test_that_a_pyramid_finds_the_extremes_that_looking_at_all_points_finds(seed: int, n: int, parts: int) -> None:
    _, y = _line(seed, n, holes=0.05)
    bounds = np.unique(np.concatenate([[0, n], np.random.default_rng(seed).integers(0, n + 1, parts)]))
    starts, stops = bounds[:-1], bounds[1:]
    lowest, highest = MinMaxPyramid(y).extremes(starts, stops)
    for start, stop, low, high in zip(starts, stops, lowest, highest, strict=True):
        finite = np.flatnonzero(np.isfinite(y[start:stop])) + start
        if len(finite):
            assert low == finite[y[finite].argmin()]
            assert high == finite[y[finite].argmax()]
        else:
            assert low == high == start


def test_that_ranges_with_gaps_between_them_are_read_each_for_itself() -> None:
    y = np.array([5.0, -9.0, 1.0, 2.0, 9.0, 3.0])
    lowest, highest = MinMaxPyramid(y).extremes(np.array([2, 5]), np.array([4, 6]))
    assert lowest.tolist() == [2, 5]
    assert highest.tolist() == [3, 5]


def test_that_a_single_spike_among_a_million_points_stays() -> None:
    y = np.zeros(1_000_000)
    y[345_678] = 1.0
    _, drawn = decimated(np.arange(len(y), dtype=float), y, 0, len(y), 100)
    assert drawn.max() == 1.0
    assert len(drawn) <= 400


def test_that_a_line_leads_out_of_the_window_at_both_sides() -> None:
    x = np.arange(10.0)
    drawn, _ = decimated(x, x, 3.5, 5.5, 100)
    assert drawn.tolist() == [3, 4, 5, 6]


def test_that_a_window_between_two_points_keeps_both() -> None:
    drawn, _ = decimated(np.array([0.0, 10.0]), np.array([1.0, 2.0]), 4, 5, 100)
    assert drawn.tolist() == [0, 10]


def test_that_few_points_are_all_kept() -> None:
    x, y = _line(1, 100, holes=0.3)
    drawn_x, drawn_y = decimated(x, y, x[0], x[-1], 100)
    np.testing.assert_array_equal(drawn_x, x)
    np.testing.assert_array_equal(drawn_y, y)


def test_that_a_gap_of_nan_wider_than_a_column_still_breaks_the_line() -> None:
    y = np.ones(10_000)
    y[4000:5000] = np.nan
    x = np.arange(10_000.0)
    drawn_x, drawn_y = decimated(x, y, 0, 10_000, 100)
    inside = (drawn_x >= 4000) & (drawn_x < 5000)
    assert inside.any()
    assert np.isnan(drawn_y[inside]).all()


@given(SEEDS, st.integers(5, 40))
def test_that_a_restarted_line_keeps_the_extremes_of_each_of_its_pieces(seed: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    one, two = np.arange(2000.0), np.arange(1200.0, 3200.0)
    x, y = np.concatenate([one, two]), rng.normal(size=4000)
    kept = ZoomableLine(x, y).kept(0.0, 3200.0, columns)
    for piece in (slice(0, 2000), slice(2000, 4000)):
        inside = kept[(kept >= piece.start) & (kept < piece.stop)]
        assert y[inside].min() == y[piece].min()
        assert y[inside].max() == y[piece].max()
    assert len(kept) <= 4 * 2 * (columns + 1)


@given(hnp.arrays(np.float64, st.integers(0, 60)), hnp.arrays(np.float64, st.integers(0, 60)))
def test_that_any_numbers_are_taken(x: np.ndarray, y: np.ndarray) -> None:
    n = min(len(x), len(y))
    drawn_x, drawn_y = decimated(x[:n], y[:n], -1.0, 1.0, 3)
    assert len(drawn_x) == len(drawn_y) <= n


def test_that_integers_are_taken() -> None:
    x = np.arange(5000)
    _, drawn = decimated(x, x % 7, 0, 5000, 10)
    assert drawn.max() == 6


def _drift(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """A line that is evenly spaced for a while and then is not; with holes."""
    rng = np.random.default_rng(seed)
    even = int(rng.integers(0, n + 1))
    x = 10.0 + np.concatenate([np.arange(even), even + np.cumsum(rng.integers(0, 3, n - even))])
    y = rng.standard_cauchy(n)
    y[rng.random(n) < 0.1] = np.nan
    return x, y


@given(SEEDS, st.integers(2, 5000), st.lists(st.floats(0.01, 1), max_size=4))
def test_that_a_line_that_grew_is_told_as_one_made_at_once(seed: int, n: int, cuts: list[float]) -> None:
    x, y = _drift(seed, n)
    whole = ZoomableLine(x, y)
    growing = ZoomableLine(x[:1], y[:1])
    for end in [*sorted(int(cut * n) for cut in cuts), n]:
        if end > len(growing.x):
            growing.prepare(seed % 700 + 1)
            growing = growing.extended_by(x[:end].copy(), y[:end])
    assert growing.box() == whole.box()
    assert growing.is_sorted
    for points in (1.0, 40.0, 1e4):
        one, other = growing.samples(points), whole.samples(points)
        assert (one.block, one.step, one.start) == (other.block, other.step, other.start)
        np.testing.assert_array_equal(one.low, other.low)
        np.testing.assert_array_equal(one.high, other.high)


@given(SEEDS, st.integers(2, 4000))
def test_that_blocks_hold_the_extremes_of_their_points(seed: int, n: int) -> None:
    x, y = _drift(seed, n)
    line = ZoomableLine(x, y)
    while not line.is_prepared:
        line.prepare(100)
    finite = y[np.isfinite(y)]
    expected = (x[0], x[-1], finite.min(), finite.max()) if len(finite) else None
    assert line.box() == expected
    samples = line.samples(1e6)
    for number, (low, high) in enumerate(zip(samples.low, samples.high, strict=True)):
        part = y[number * samples.block : (number + 1) * samples.block]
        part = part[np.isfinite(part)]
        assert (low, high) == ((part.min(), part.max()) if len(part) else (np.inf, -np.inf)) or samples.block == 1


@given(SEEDS, st.integers(2, 500), st.floats(0, 0.9), st.floats(0.05, 2))
def test_that_points_in_a_column_are_those_of_the_window_shared_out(
    seed: int, n: int, begin: float, width: float
) -> None:
    x, y = _drift(seed, n)
    low = x[0] + begin * (x[-1] - x[0]) + 0.5
    high = low + width * (x[-1] - x[0]) + 1
    line = ZoomableLine(x, y)
    assert line.is_sorted
    inside = np.count_nonzero((x >= low) & (x <= high))
    columns = max((min(high, x[-1]) - max(low, x[0])) / (high - low) * 64, 1)
    assert line.points_in_a_column(low, high, 64) == inside / columns


def test_that_a_line_that_falls_or_has_no_number_has_no_box() -> None:
    assert ZoomableLine(np.array([1.0, 0.0]), np.array([1.0, 2.0])).box() is None
    assert ZoomableLine(np.empty(0), np.empty(0)).box() is None
    assert ZoomableLine(np.array([0.0, 1.0]), np.array([np.nan, np.nan])).box() is None
    assert ZoomableLine(np.array([0.0, np.inf]), np.array([1.0, 2.0])).box() is None


def test_that_a_vector_begins_with_another_where_all_its_numbers_are_the_same() -> None:
    y = np.array([1.0, np.nan, 3.0])
    assert begins_with(np.array([1.0, np.nan, 3.0, 4.0]), y)
    assert begins_with(y, y[:2])
    assert not begins_with(y[:2], y)
    assert not begins_with(np.array([2.0, np.nan, 3.0]), y)
    assert not begins_with(np.array([1, 2, 3]), y)
    assert begins_with(np.array([1, 2, 3]), np.array([1, 2]))
    assert not begins_with(np.array([1, 2, 3]), np.array([2]))


def test_that_no_ranges_have_no_extremes() -> None:
    none = np.empty(0, dtype=np.intp)
    lowest, highest = MinMaxPyramid(np.arange(5.0)).extremes(none, none)
    assert len(lowest) == len(highest) == 0
