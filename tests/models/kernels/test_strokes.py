"""Curves as strokes: what they cover, in which order, and that both twins say the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runglass.models import kernels
from runglass.models.kernels.strokes import Columns, Samples, block_extremes, painted, stroked

ROWS, COLUMNS = 60, 80
INK, OTHER = 0xFF112233, 0xFFCCBBAA


def _samples(y: np.ndarray, x: np.ndarray | None = None, block: int = 1) -> Samples:
    low, high = (y, y) if block == 1 else block_extremes(y, y, block)
    return Samples(
        np.arange(len(y), dtype=float) if x is None else x, y, 0.0, 1.0 if x is None else 0.0, block, low, high
    )


def _columns(n: int, **changes: Any) -> Columns:
    """Give columns over n points one apart, and rows that count y from the top."""
    given = {"count": COLUMNS, "left": -0.5, "breadth": n / COLUMNS, "base": 0.0, "scale": 1.0, "offset": 0.0}
    return Columns(**{**given, **changes})


def _cover(y: np.ndarray, width: float = 1.0, block: int = 1, **changes: Any) -> np.ndarray:
    """Give how much of each pixel one curve covers, shape (rows, columns)."""
    strokes = stroked([_samples(y, block=block)], _columns(len(y), **changes), [width], [()])
    image = np.zeros((ROWS, COLUMNS), np.uint32)
    painted(image, strokes, np.array([0xFFFFFFFF], np.uint32), 0, COLUMNS)
    return (image & 0xFF) / 255.0


def test_that_extremes_of_blocks_pass_over_what_is_not_finite(twin: str) -> None:
    values = np.random.default_rng(0).standard_cauchy(1003)
    values[::3] = np.nan
    values[5::7], values[6::7] = np.inf, -np.inf
    values[16:24] = np.nan
    low, high = block_extremes(values, values, 8)
    for number in range(len(low)):
        part = values[8 * number : 8 * number + 8]
        finite = part[np.isfinite(part)]
        assert low[number] == (finite.min() if len(finite) else np.inf)
        assert high[number] == (finite.max() if len(finite) else -np.inf)
    assert len(low) == 126


@pytest.mark.parametrize("width", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("slope", [0.0, 0.3, 1.0, 2.5])
def test_that_a_straight_line_covers_a_vertical_cut_through_its_pen(twin: str, width: float, slope: float) -> None:
    y = 6.3 + slope * np.arange(COLUMNS * 10) / 10
    y = y[y < ROWS - 10]
    cover = _cover(y, width, breadth=10.0)
    cover = cover[:, 4 : int((y.max() - 6.3) / slope) - 4 if slope else COLUMNS - 4]
    assert cover.sum(axis=0) == pytest.approx(width * np.sqrt(1 + slope**2), rel=0.04)
    centre = (cover * (np.arange(ROWS) + 0.5)[:, None]).sum(axis=0) / cover.sum(axis=0)
    middle = (np.arange(4, 4 + cover.shape[1]) + 0.5) * 10 - 0.5
    assert centre == pytest.approx(6.3 + slope * middle / 10, abs=0.1)


@pytest.mark.parametrize("block", [1, 8, 64])
def test_that_a_stroke_covers_all_values_of_its_column_and_no_gap_between(twin: str, block: int) -> None:
    n = COLUMNS * 8 * block
    y = 30 + np.random.default_rng(1).uniform(-20, 20, n)
    y[::2] = 30  # so that no column is run through
    cover = _cover(y, block=block)
    for column in range(1, COLUMNS - 1):
        # Blocks may be off by half of one at each side.
        part = y[column * 8 * block + block // 2 : (column + 1) * 8 * block - block // 2]
        rows = np.flatnonzero(cover[:, column])
        assert rows.min() <= part.min()
        assert rows.max() + 1 >= part.max()
        assert cover[round(part.min()) + 3 : round(part.max()) - 3, column].min() > 0.8


@pytest.mark.parametrize("zoom", [1_000_000, 100_000, 9_000, 700, 90])
def test_that_a_spike_of_one_point_in_a_million_is_covered_at_every_zoom(twin: str, zoom: int) -> None:
    y = np.full(1_000_000, 50.0)
    y[500_000] = 5.0
    for block in (8, 128, 2048):
        if zoom / COLUMNS >= 5 * block or block == 8:
            left = 500_000 - zoom * 0.4
            cover = _cover(y, block=block if zoom / COLUMNS >= 40 else 1, left=left, breadth=zoom / COLUMNS)
            assert cover[6:50].max(axis=1).min() > 0.9
            assert (cover[20] > 0).sum() <= max(3, 2 * COLUMNS // zoom + 3)


def test_that_nothing_is_covered_where_values_are_missing(twin: str) -> None:
    y = np.full(800, 30.0)
    y[300:500] = np.nan
    y[100:150] = np.inf
    covered = _cover(y).any(axis=0)
    assert covered.tolist() == [not (10 <= c < 15 or 30 <= c < 50) for c in range(COLUMNS)]


def test_that_a_line_leads_through_columns_without_points(twin: str) -> None:
    x = np.array([0.0, 40.0, 79.0])
    strokes = stroked(
        [_samples(np.array([10.0, 50.0, 11.0]), x)], _columns(COLUMNS, left=0.0, breadth=1.0), [1.0], [()]
    )
    image = np.zeros((ROWS, COLUMNS), np.uint32)
    painted(image, strokes, np.array([INK], np.uint32), 0, COLUMNS)
    middle = np.array([np.flatnonzero(image[:, c]).mean() for c in range(2, 38)])
    assert middle == pytest.approx(10 + np.arange(2, 38), abs=0.6)


def _paint_slowly(image: np.ndarray, strokes: np.ndarray, colours: np.ndarray) -> None:
    """Paint one stroke after the other, as the module says they are meant."""
    for own, colour in zip(strokes.tolist(), colours.tolist(), strict=True):
        for column, (top, bottom, above, below, share) in enumerate(zip(*own, strict=True)):
            for row in range(image.shape[0]):
                place = 256 * row + 128
                upper = min(max(128 + ((place - top) * above >> 16), 0), 256)
                lower = min(max(128 + ((bottom - place) * below >> 16), 0), 256)
                cover = max(upper + lower - 256, 0) * share >> 8
                mixed = 0
                for byte in range(0, 32, 8):
                    under, over = int(image[row, column]) >> byte & 255, colour >> byte & 255
                    mixed |= (under * (256 - cover) + over * cover >> 8) << byte
                image[row, column] = mixed


def crowd(seed: int, curves: int) -> tuple[np.ndarray, np.ndarray]:
    """Give strokes of noisy, smooth and broken curves of several widths and dashes, and colours."""
    rng = np.random.default_rng(seed)
    samples, widths, patterns = [], [], []
    for number in range(curves):
        n = int(rng.integers(1, 4000))
        y = (
            30
            + rng.normal(0, rng.choice([0.0, 0.3, 15.0, 1e5]), n)
            + 25 * np.sin(np.linspace(0, rng.uniform(0, 60), n))
        )
        y[rng.random(n) < rng.choice([0.0, 0.01, 0.9])] = rng.choice([np.nan, np.inf, -np.inf])
        x = np.sort(rng.uniform(0, 1000, n)) if number % 2 else None
        samples.append(_samples(y, x, int(rng.choice([1, 8, 32]))))
        widths.append(float(rng.choice([1.0, 1.4, 2.0, 3.0, 7.0])))
        patterns.append([(), (8.0, 3.0), (7.0, 2.0, 1.0, 2.0)][number % 3])
    columns = _columns(int(rng.integers(10, 5000)), mirrored=bool(seed % 2), left=float(rng.uniform(-100, 100)))
    return stroked(samples, columns, widths, patterns), rng.integers(0, 1 << 24, curves, np.uint32) | np.uint32(
        0xFF000000
    )


def test_that_strokes_are_painted_one_over_the_other(twin: str) -> None:
    strokes, colours = crowd(3, 12)
    image = np.random.default_rng(0).integers(0, 1 << 32, (25, COLUMNS), np.uint32)
    slowly = image.copy()
    _paint_slowly(slowly, strokes, colours)
    painted(image, strokes, colours, 0, COLUMNS)
    np.testing.assert_array_equal(image, slowly)


def test_that_columns_may_be_painted_in_parts(twin: str) -> None:
    strokes, colours = crowd(4, 5)
    whole, parts = np.zeros((2, ROWS, COLUMNS), np.uint32)
    painted(whole, strokes, colours, 0, COLUMNS)
    for start in range(0, COLUMNS, 23):
        painted(parts, strokes, colours, start, min(start + 23, COLUMNS))
    np.testing.assert_array_equal(parts, whole)


@pytest.mark.parametrize("seed", range(40))
def test_that_both_twins_give_the_same_bits(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = pytest.importorskip("runglass.models.kernels._compiled")
    given = []
    for module in (None, compiled):
        monkeypatch.setattr(kernels, "_in_use", module)
        strokes, colours = crowd(seed, 9)
        image = np.zeros((ROWS, COLUMNS), np.uint32)
        painted(image, strokes, colours, 0, COLUMNS)
        given.append((strokes, image))
    np.testing.assert_array_equal(given[0][0], given[1][0])
    np.testing.assert_array_equal(given[0][1], given[1][1])


def test_that_dashes_leave_their_share_of_a_level_line_and_none_of_a_noisy_one(twin: str) -> None:
    level, noisy = np.full(800, 30.0), 30 + np.random.default_rng(0).normal(0, 10, 800)
    strokes = stroked([_samples(level), _samples(noisy)], _columns(800), [1.0, 1.0], [(6.0, 2.0), (6.0, 2.0)])
    assert strokes[0, 4].mean() / 256 == pytest.approx(0.75, abs=0.02)
    assert strokes[0, 4].min() == 0
    assert (strokes[1, 4] == 256).all()


def test_that_many_strokes_are_shared_out_among_threads_without_a_difference(
    monkeypatch: pytest.MonkeyPatch, twin: str
) -> None:
    strokes, colours = crowd(5, 300)
    image = np.zeros((ROWS, COLUMNS), np.uint32)
    painted(image, strokes, colours, 0, COLUMNS)
    monkeypatch.setattr("runglass.models.kernels.strokes._THREADS", 4)
    monkeypatch.setattr("runglass.models.kernels.strokes._WORTH_A_THREAD", 100)
    again, _ = crowd(5, 300)
    other = np.zeros((ROWS, COLUMNS), np.uint32)
    painted(other, again, colours, 0, COLUMNS)
    np.testing.assert_array_equal(again, strokes)
    np.testing.assert_array_equal(other, image)


def test_that_shapes_that_do_not_fit_are_refused(twin: str) -> None:
    image, colours = np.zeros((4, 5), np.uint32), np.zeros(1, np.uint32)
    with pytest.raises(ValueError, match="one stroke"):
        painted(image, np.zeros((1, 5, 6), np.int32), colours, 0, 5)
    with pytest.raises(ValueError, match="one stroke"):
        painted(image, np.zeros((1, 5, 5), np.int32), colours, 3, 6)
    with pytest.raises(ValueError, match="blocks"):
        block_extremes(np.zeros(3), np.zeros(4), 2)


def test_that_any_numbers_are_strokes_within_the_image(twin: str) -> None:
    rng = np.random.default_rng(7)
    strokes = rng.integers(-(1 << 31), (1 << 31) - 1, (20, 5, COLUMNS), np.int32, endpoint=True)
    strokes[::2, 4] &= 511
    image = np.zeros((ROWS, COLUMNS + 2), np.uint32)
    inner = np.ascontiguousarray(image[:, :COLUMNS])
    painted(inner, strokes, rng.integers(0, 1 << 32, 20, np.uint32), 0, COLUMNS)
    for y in (np.array([1e308, -1e308, 1e308]), np.zeros(0), np.array([np.nan])):
        for scale in (1e300, 0.0, -1e-300):
            assert stroked([_samples(y)], _columns(3, scale=scale), [1.0], [()]).shape == (1, 5, COLUMNS)


@pytest.mark.parametrize(
    ("place", "says"), [(9, "places"), (~9, "places"), (~3, "places"), (1 << 40, "places"), (~4, ""), (8, "")]
)
def test_that_places_outside_the_points_and_their_blocks_are_refused(place: int, says: str) -> None:
    compiled = pytest.importorskip("runglass.models.kernels._compiled")
    y = np.arange(8.0)
    low, high = block_extremes(y, y, 4)
    numbers = np.array([0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    at, shares, strokes = np.array([place, 8]), np.zeros(2), np.zeros((5, 1), np.int32)
    if says:
        with pytest.raises(ValueError, match=says):
            compiled.stroked([(y, low, high, 4, at, shares, numbers)], strokes)
    else:
        assert compiled.stroked([(y, low, high, 4, at, shares, numbers)], strokes) is None


def test_that_runs_of_one_rhythm_share_their_places_and_others_do_not(twin: str) -> None:
    rng = np.random.default_rng(0)
    curves = [_samples(rng.normal(30, 5, 900), x) for x in (None, None, np.arange(900.0) * 1.1, np.arange(900.0) + 7)]
    together = stroked(curves, _columns(900), [1.0] * 4, [()] * 4)
    for number, curve in enumerate(curves):
        np.testing.assert_array_equal(together[number], stroked([curve], _columns(900), [1.0], [()])[0])
    assert (together[2] != together[3]).any()


def test_that_curves_that_are_none_are_refused() -> None:
    compiled = pytest.importorskip("runglass.models.kernels._compiled")
    y, at, numbers = np.arange(4.0), np.array([0, 4]), np.array([0.0, 4.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    right, strokes = (y, y, y, 1, at, np.zeros(2), numbers), np.zeros((2, 5, 1), np.int32)
    assert compiled.stroked([right, right], strokes) is None
    assert compiled.stroked([], np.zeros((0, 5, 1), np.int32)) is None
    for wrong in (list(right), right[:-1], (y, y, y, "1", at, np.zeros(2), numbers), (y, y, y, 1, at, None, numbers)):
        with pytest.raises(TypeError):
            compiled.stroked([right, wrong], strokes)
    for wrong in (
        (y, y, y, 3, at, np.zeros(2), numbers),
        (y, y, y, 2, at, np.zeros(2), numbers),
        (y, y, y, 1, at, np.zeros(3), numbers),
        (y, y, y, 1, np.array([0, 4, 4]), np.zeros(3), numbers),
        (y, y, y, 1, at, np.zeros(2), numbers[:5]),
        (y, y, y, 1, at, np.zeros(2), numbers * np.nan),
    ):
        with pytest.raises(ValueError, match="fit their points"):
            compiled.stroked([right, wrong], strokes)
    with pytest.raises(ValueError, match="fit their points"):
        compiled.stroked([right], np.zeros(9, np.int32))
    with pytest.raises(TypeError):
        compiled.stroked(3, strokes)
