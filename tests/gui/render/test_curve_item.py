"""Lines of a panel as one image: what is seen of them, in which order, and what is not worked out twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QObject
from PySide6.QtGui import QColor, QImage, QPainter

from runglass.analysis import decimate
from runglass.gui.render.curve_item import Curves, _FrameTime, prepared
from runglass.gui.render.viewport import Viewport, polygon
from runglass.gui.theme import appearance
from runglass.models.figure import Axis, FigureSpec, Line, Panel
from runglass.models.growing_array import grown

WIDTH, HEIGHT = 300, 200


class Shown:
    """Some lines, and the pixels they are painted on."""

    def __init__(self, owner: QObject, *lines: Line) -> None:
        self.curves = Curves(owner, lambda: None)
        self.curves.set_theme(appearance().theme)
        self.show(*lines)

    def show(self, *lines: Line) -> None:
        self.curves.set_lines(lines, "linear", "linear", rescaled=False)

    def pixels(self, left: float, right: float, bottom: float = 0.0, top: float = 10.0, **how: Any) -> np.ndarray:
        """Give red, green, blue and opacity of each pixel, shape (rows, columns, 4)."""
        viewport = Viewport(left, right, bottom, top, WIDTH, HEIGHT, **how)
        ratio = viewport.ratio
        self.curves.prepare(viewport)
        image = QImage(int(WIDTH * ratio), int(HEIGHT * ratio), QImage.Format.Format_ARGB32_Premultiplied)
        image.setDevicePixelRatio(ratio)
        image.fill(0)
        painter = QPainter(image)
        self.curves.paint(painter, viewport)
        painter.end()
        self.curves.stop()
        data = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), -1, 4)
        return data[:, :, [2, 1, 0, 3]].astype(int)


@pytest.fixture
def owner(qtbot: Any) -> Iterator[QObject]:
    appearance().apply("light")
    held = QObject()
    yield held
    held.deleteLater()


def line(key: str, y: np.ndarray, hue: str = "c0", **more: Any) -> Line:
    return Line(key=key, x=np.arange(len(y), dtype=float), y=y, hue=hue, **more)


def ink(hue: str) -> list[int]:
    colour = QColor(appearance().theme.colour(hue))
    return [colour.red(), colour.green(), colour.blue(), 255]


@pytest.mark.parametrize("ratio", [1.0, 2.0])
@pytest.mark.parametrize("width", [1.0, 2.0])
@pytest.mark.parametrize("zoom", [1_000_000, 100_000, 10_000, 1_000, 100, 10])
def test_that_a_spike_of_one_point_in_a_million_is_seen_at_every_zoom(
    owner: QObject, zoom: int, width: float, ratio: float
) -> None:
    y = np.full(1_000_000, 1.0)
    y[123_456] = 9.0
    shown = Shown(owner, line("spike", y, width=width))
    left = 123_456 - 0.3 * zoom if zoom < 1_000_000 else 0.0
    opacity = shown.pixels(left, left + zoom, ratio=ratio)[:, :, 3]
    height = opacity.shape[0]
    assert opacity[int(0.12 * height) : int(0.9 * height)].max(axis=1).min() > 100
    assert not opacity[: int(0.05 * height)].any()


def test_that_later_lines_are_over_earlier_ones_and_emphasised_ones_over_all(owner: QObject) -> None:
    rng = np.random.default_rng(0)
    lines = [line(hue, 5 + rng.normal(0, 1, 20_000), hue) for hue in ("c0", "c1", "c2")]
    shown = Shown(owner, *lines)
    assert shown.pixels(0, 20_000)[HEIGHT // 2, WIDTH // 2].tolist() == ink("c2")
    shown.curves.emphasise(frozenset({"c0", "c1"}))
    assert shown.pixels(0, 20_000)[HEIGHT // 2, WIDTH // 2].tolist() == ink("c1")
    shown.curves.emphasise(frozenset({"c0"}))
    assert shown.pixels(0, 20_000)[HEIGHT // 2, WIDTH // 2].tolist() == ink("c0")


def test_that_a_line_of_few_points_keeps_its_place_among_dense_ones(owner: QObject) -> None:
    def dense() -> np.ndarray:
        return 5 + np.random.default_rng(0).normal(0, 1, 20_000)

    few = Line(key="few", x=np.array([0.0, 2e4]), y=np.array([5.0, 5.0]), hue="c1", width=3)
    below, above = Shown(owner, line("a", dense()), few), Shown(owner, few, line("a", dense()))
    assert below.pixels(0, 20_000)[HEIGHT // 2, WIDTH // 2].tolist() == ink("c1")
    assert above.pixels(0, 20_000)[HEIGHT // 2, WIDTH // 2].tolist() == ink("c0")


class Counter:
    """How many numbers blocks were made of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.numbers: list[int] = []
        whole = decimate.block_extremes

        def counting(low: np.ndarray, high: np.ndarray, factor: int) -> Any:
            self.numbers.append(len(low))
            return whole(low, high, factor)

        monkeypatch.setattr(decimate, "block_extremes", counting)


def test_that_dimming_zooms_and_themes_make_no_blocks_anew(owner: QObject, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter(monkeypatch)
    rng = np.random.default_rng(0)
    shown = Shown(owner, *(line(hue, 5 + rng.normal(0, 1, 100_000), hue) for hue in ("c0", "c1")))
    shown.pixels(0, 1e5)
    once = len(counter.numbers)
    assert sum(counter.numbers) >= 200_000
    shown.curves.emphasise(frozenset({"c0"}))
    shown.pixels(0, 1e5)
    shown.pixels(2e4, 9e4)
    shown.curves.emphasise(None)
    shown.curves.set_theme(appearance().theme)
    shown.pixels(0, 1e5, ratio=2.0)
    assert len(counter.numbers) == once


def test_that_the_line_under_the_mouse_is_wider_and_is_painted_anew_only_where_it_changed(owner: QObject) -> None:
    shown = Shown(owner, line("a", np.full(20_000, 5.0)), line("b", np.full(20_000, 2.0)))
    image = QImage(WIDTH, HEIGHT, QImage.Format.Format_ARGB32_Premultiplied)
    viewport = Viewport(0, 20_000, 0, 10, WIDTH, HEIGHT)

    def rows(key: str) -> np.ndarray:
        image.fill(0)
        painter = QPainter(image)
        shown.curves.paint_one(painter, key, viewport)
        painter.end()
        opacity = np.frombuffer(image.constBits(), np.uint8).reshape(HEIGHT, WIDTH, 4)[:, WIDTH // 2, 3]
        return np.flatnonzero(opacity)

    assert rows("a").tolist() == [99, 100]
    kept = shown.curves._near
    assert rows("a").tolist() == [99, 100]
    assert shown.curves._near is kept
    assert rows("b").tolist() == [159, 160]
    shown.show(line("a", np.full(20_000, 5.0)), line("b", np.full(20_000, 8.0)))
    assert rows("b").tolist() == [39, 40]


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_that_what_a_worker_prepared_of_long_lines_is_not_worked_out_again(
    owner: QObject, monkeypatch: pytest.MonkeyPatch, scale: Any
) -> None:
    y = 5 + np.random.default_rng(0).uniform(-1, 1, 100_000)
    y[7] = np.nan
    long = line("a", y)
    spec = FigureSpec(panels=(Panel(key="p", x=Axis(), y=Axis(scale=scale), marks=(long,)),))
    known = prepared(spec)
    assert [one.mark for one in known] == [long]
    counter = Counter(monkeypatch)
    curves = Curves(owner, lambda: None)
    curves.set_theme(appearance().theme)
    curves.set_lines([long], "linear", scale, rescaled=False)
    low, high = np.nanmin(y), np.nanmax(y)
    ends = (np.log10(low), np.log10(high)) if scale == "log" else (low, high)
    assert curves.extents(None)[0] == pytest.approx((0, 99_999, *ends))
    curves.prepare(Viewport(0, 1e5, 0, 10, WIDTH, HEIGHT))
    assert counter.numbers == []


def test_that_a_growing_line_is_painted_as_if_new_from_its_new_points(
    owner: QObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    y = 5 + np.random.default_rng(0).normal(0, 1, 101_003)
    y[700:900] = np.nan
    shown = Shown(owner, line("a", y[:100_001].copy()))
    shown.pixels(0, 1e5)
    counter = Counter(monkeypatch)
    shown.show(line("a", y))
    grown = shown.pixels(0, 101_003)
    assert counter.numbers[0] < 1_100
    np.testing.assert_array_equal(grown, Shown(owner, line("a", y)).pixels(0, 101_003))


def test_that_long_lines_are_looked_at_bit_by_bit(owner: QObject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decimate, "_AT_ONCE", 1 << 12)
    monkeypatch.setattr("runglass.gui.render.curve_item._FRAME", 0.0)
    monkeypatch.setattr(decimate.ZoomableLine.prepare, "__defaults__", (1 << 12,))
    counter = Counter(monkeypatch)
    shown = Shown(owner, line("a", np.random.default_rng(0).normal(5, 1, 100_000)))
    image = QImage(WIDTH, HEIGHT, QImage.Format.Format_ARGB32_Premultiplied)
    painter = QPainter(image)
    for _ in range(10):
        shown.curves.paint(painter, Viewport(0, 1e5, 0, 10, WIDTH, HEIGHT))
    painter.end()
    shown.curves.stop()
    assert max(counter.numbers, default=0) <= 1 << 12
    assert sum(counter.numbers) < 50_000


def test_that_isolated_values_and_gaps_are_seen_as_what_they_are(owner: QObject) -> None:
    y = np.full(30_000, 5.0)
    y[10_000:20_000] = np.nan
    opacity = Shown(owner, line("a", y)).pixels(0, 30_000)[:, :, 3]
    covered = opacity.any(axis=0)
    assert covered[2:99].all()
    assert not covered[102:199].any()
    assert covered[201:298].all()


@pytest.mark.parametrize("inverted", [{}, {"x_inverted": True}, {"y_inverted": True}])
def test_that_an_inverted_axis_mirrors_what_is_painted(owner: QObject, inverted: dict[str, bool]) -> None:
    y = np.linspace(2, 8, 30_000) + np.random.default_rng(0).normal(0, 0.3, 30_000)
    opacity = Shown(owner, line("a", y)).pixels(0, 30_000, **inverted)[:, :, 3]
    rising = opacity[: HEIGHT // 2, : WIDTH // 2].sum() < opacity[HEIGHT // 2 :, : WIDTH // 2].sum()
    assert rising == (not inverted)


@pytest.mark.parametrize("noise", [0.0, 0.02, 1.5])
def test_that_strokes_cover_what_all_segments_would(owner: QObject, noise: float) -> None:
    """Against all 20,000 points drawn by Qt, without smooth edges."""
    n = 20_000
    y = 5 + 3 * np.sin(np.arange(n) / n * 9) + np.random.default_rng(0).normal(0, noise, n)
    viewport = Viewport(0, n, -3, 13, WIDTH, HEIGHT)
    ours = Shown(owner, line("a", y)).pixels(0, n, -3, 13)[:, :, 3] > 127
    image = QImage(WIDTH, HEIGHT, QImage.Format.Format_ARGB32_Premultiplied)
    image.fill(0)
    painter = QPainter(image)
    painter.setPen(QColor("black"))
    painter.drawPolyline(polygon(viewport.x(np.arange(n, dtype=float)), viewport.y(y)))
    painter.end()
    theirs = np.frombuffer(image.constBits(), np.uint8).reshape(HEIGHT, WIDTH, 4)[:, :, 3] > 127
    if noise > 1:
        assert (theirs & ~ours).sum() <= 0.02 * theirs.sum()
        assert (ours & ~theirs).sum() <= 0.02 * theirs.sum()
    near = np.zeros_like(ours)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            near |= np.roll(ours, (down, right), (0, 1))
    assert (theirs & ~near).sum() <= 0.002 * theirs.sum()


class Followed:
    """Two lines that grow: each time the same arrays with more behind them."""

    def __init__(self, points: int) -> None:
        self.arrays = [[np.zeros(0), np.zeros(0)] for _ in range(2)]
        self.points = 0
        self.grow(points)

    def grow(self, points: int) -> None:
        new = np.arange(self.points, points, dtype=float)
        self.points = points
        for number, (x, y) in enumerate(self.arrays):
            self.arrays[number] = [grown(x, new), grown(y, 5 + 4 * np.sin(new / 3 + number))]

    def lines(self, **look: Any) -> list[Line]:
        return [Line(key=str(n), x=x, y=y, hue=f"c{n}", **look) for n, (x, y) in enumerate(self.arrays)]


@pytest.mark.parametrize("look", [{}, {"dash": "dashed"}, {"width": 3.0}, {"opacity": 0.3}])
def test_that_lines_that_grow_are_painted_where_they_grow_on_the_image_that_is_there(
    owner: QObject, look: dict[str, Any]
) -> None:
    followed = Followed(20)
    shown = Shown(owner, *followed.lines(**look))
    shown.pixels(0, 60)
    layer = shown.curves._all._whole
    for points in (21, 22, 40, 58):
        followed.grow(points)
        shown.show(*followed.lines(**look))
        assert shown.curves.only_grew
        assert not shown.curves.is_current
        continued = shown.pixels(0, 60)
        assert shown.curves.is_current
    assert shown.curves._all._whole is layer
    anew = Shown(owner, *followed.lines(**look)).pixels(0, 60)
    inked = [one[:, :, 3] > 0 for one in (continued, anew)]
    # Joints are smoothed a little differently, and dashes begin anew where the image was continued.
    least = 0.6 if "dash" in look else 0.95
    assert np.count_nonzero(inked[0] & inked[1]) > least * np.count_nonzero(inked[0] | inked[1])
    assert shown.pixels(0, 30).tolist() == Shown(owner, *followed.lines(**look)).pixels(0, 30).tolist()


def test_that_lines_that_differ_in_more_than_new_points_are_painted_anew(owner: QObject) -> None:
    followed = Followed(20)
    shown = Shown(owner, *followed.lines())
    assert not shown.curves.only_grew
    for change, only_grew in (
        ({}, True),
        ({"width": 2.0}, False),
        ({"width": 2.0}, True),
    ):
        followed.grow(followed.points + 5)
        shown.show(*followed.lines(**change))
        assert shown.curves.only_grew is only_grew
    shown.show(followed.lines(width=2.0)[0])
    assert not shown.curves.only_grew
    shown.show(line("0", np.ones(90), width=2.0))
    assert not shown.curves.only_grew


def test_that_an_image_in_the_making_is_finished_before_what_grew_meanwhile_is_painted_on_it(owner: QObject) -> None:
    followed = Followed(20)
    shown = Shown(owner, *followed.lines())
    viewport = Viewport(0.0, 60.0, 0.0, 10.0, WIDTH, HEIGHT)
    stack = shown.curves._all
    theme = appearance().theme
    stack.aim(viewport, list(shown.curves._curves.values()), theme)
    layer = stack._next
    followed.grow(50)
    shown.show(*followed.lines())
    stack.aim(viewport, list(shown.curves._curves.values()), theme)
    assert stack._next is layer
    shown.pixels(0, 60)
    continued = shown.pixels(0, 60)
    assert stack._whole is layer
    assert shown.curves.is_current
    anew = Shown(owner, *followed.lines()).pixels(0, 60)
    inked = [one[:, :, 3] > 0 for one in (continued, anew)]
    assert np.count_nonzero(inked[0] & inked[1]) > 0.95 * np.count_nonzero(inked[0] | inked[1])


def test_that_panels_that_move_together_share_a_frame_and_the_others_are_painted_once_the_hand_rests(
    owner: QObject, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(np.arange(0.0, 1e3, 0.001).tolist())  # whatever is done takes a millisecond
    monkeypatch.setattr("runglass.gui.render.curve_item.perf_counter", lambda: next(now))
    monkeypatch.setattr("runglass.gui.render.curve_item._frame_time", _FrameTime())
    image = QImage(WIDTH, HEIGHT, QImage.Format.Format_ARGB32_Premultiplied)
    noise = np.random.default_rng(0).normal(5, 1, 2_000)
    panels = [Shown(owner, line("a", noise)).curves for _ in range(6)]

    def moved(left: float) -> list[bool]:
        for curves in panels:
            painter = QPainter(image)
            curves.paint(painter, Viewport(left, left + 2_000, 0, 10, WIDTH, HEIGHT))
            painter.end()
        return [curves.is_current for curves in panels]

    moved(0.0)
    qtbot.waitUntil(lambda: all(curves.is_current for curves in panels))
    [next(now) for _ in range(100)]
    there = moved(10.0)
    assert there[0]
    assert not there[-1]
    qtbot.waitUntil(lambda: all(curves.is_current for curves in panels))
