"""The figure on screen: what is drawn, what survives an update, what the mouse does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QImage, QMouseEvent, QPainter, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from runglass.analysis.report.limits import panel_limits
from runglass.analysis.report.tables import drawn_numbers
from runglass.gui.render.figure_view import FigureView
from runglass.gui.render.marks import Canvas, drawing
from runglass.gui.render.panel_view import PanelView
from runglass.gui.render.viewport import Viewport
from runglass.gui.theme import appearance
from runglass.models.figure import (
    Axis,
    Band,
    Bars,
    Cells,
    Clauses,
    EdgeMarks,
    FigureSpec,
    Keys,
    Line,
    Mark,
    Panel,
    Points,
    Rule,
    Text,
)
from runglass.models.growing_array import grown
from runglass.models.selection import Between, is_in

X = np.linspace(0.0, 10.0, 50)

LINE = Line(key="line", x=X, y=X**2, hue="c0", width=2, origin=Keys("run", ("a",)))
POINTS = Points(
    key="points",
    x=np.array([1.0, 5.0, 9.0]),
    y=np.array([10.0, 50.0, 90.0]),
    hue="c0",
    size=9.0,
    origin=Keys("item", ("p", "q", "r")),
)
BAND = Band(key="band", x=X, low=X, high=X + 30, hue="c0", opacity=1.0)
BARS = Bars(
    key="bars",
    at=np.array([2.0, 8.0]),
    height=np.array([30.0, 60.0]),
    hue="c0",
    opacity=1.0,
    origin=Keys("task", ("s", "t")),
)
LYING = Bars(
    key="lying", at=np.array([2.0, 8.0]), height=np.array([30.0, 60.0]), hue="c0", opacity=1.0, horizontal=True
)
RULE = Rule(key="rule", axis="y", at=40.0, hue="c0", dash="solid", width=2, option="target")
TEXT = Text(key="text", x=0.3, y=0.5, text="XXXXXXX", hue="c0", inside=True, size=2.0)
EDGE = EdgeMarks(key="edge", x=np.array([3.0]), hue="c0", origin=Keys("run", ("a",)))
CELLS = Cells(
    key="cells",
    values=np.array([[0.0, 1.0], [2.0, 3.0]]),
    rows=("r0", "r1"),
    columns=("k0", "k1"),
    origin=Clauses("items", tuple(Between("x", i, i) for i in range(4))),
)


def figure(*marks: Mark, x: Axis | None = None, y: Axis | None = None, **panel: Any) -> FigureSpec:
    return FigureSpec(panels=(Panel(key="p", x=x or Axis(column="step"), y=y or Axis(), marks=marks, **panel),))


Show = Callable[..., FigureView]


@pytest.fixture
def show(qtbot: Any) -> Show:
    appearance().apply("light")

    def show(spec: FigureSpec) -> FigureView:
        view = FigureView()
        qtbot.addWidget(view)
        view.resize(500, 400)
        view.show_spec(spec)
        view.show()
        qtbot.waitExposed(view)
        QApplication.processEvents()
        view.finish()
        return view

    return show


def pixels(image: QImage) -> np.ndarray:
    """Give red, green and blue of an image, shape (rows, columns, 3)."""
    image = image.convertToFormat(QImage.Format.Format_RGB32)
    data = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine() // 4, 4)
    return data[:, : image.width(), 2::-1].astype(int)


def near(image: np.ndarray, hue: str, tolerance: int = 12) -> np.ndarray:
    """Give where an image has a colour of the theme."""
    colour = QColor(appearance().theme.colour(hue))
    return np.abs(image - [colour.red(), colour.green(), colour.blue()]).max(axis=2) <= tolerance


def at(panel: PanelView, x: float, y: float) -> QPointF:
    """Give where data in axis units is in the frame."""
    viewport = panel.viewport
    return QPointF(float(viewport.x(x)), float(viewport.y(y)))


def on_screen(view: FigureView, panel: PanelView, x: float, y: float) -> QPoint:
    canvas = view._canvas
    return canvas.mapFromScene(panel.frame.mapToScene(at(panel, x, y)))


def drag(
    view: FigureView, start: QPoint, stop: QPoint, button: Any = Qt.MouseButton.LeftButton, keys: Any = None
) -> None:
    """Drag the mouse; pyqtgraph passes over moves that follow one another within a hundredth of a second."""
    held = Qt.KeyboardModifier.NoModifier if keys is None else keys
    screen = view._canvas.viewport()
    QTest.mouseMove(screen, start)
    QTest.qWait(15)
    QTest.mousePress(screen, button, held, start)
    for share in (0.4, 0.8, 1.0):
        QTest.qWait(15)
        _move(screen, start + (stop - start) * share, button, held)
    QTest.qWait(15)
    QTest.mouseRelease(screen, button, held, stop)
    QTest.qWait(15)


def _move(screen: Any, place: QPoint, button: Any, held: Any) -> None:
    where = QPointF(place)
    event = QMouseEvent(
        QEvent.Type.MouseMove, where, QPointF(screen.mapToGlobal(place)), Qt.MouseButton.NoButton, button, held
    )
    QApplication.sendEvent(screen, event)


def click(view: FigureView, place: QPoint) -> None:
    screen = view._canvas.viewport()
    QTest.mouseMove(screen, place)
    QTest.qWait(15)
    QTest.mouseClick(screen, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)


def wheel(view: FigureView, place: QPoint, steps: int) -> None:
    screen = view._canvas.viewport()
    event = QWheelEvent(
        QPointF(place),
        QPointF(screen.mapToGlobal(place)),
        QPoint(),
        QPoint(0, 120 * steps),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(screen, event)


# --- what is drawn


@pytest.mark.parametrize("mark", [LINE, POINTS, BAND, BARS, LYING, RULE, TEXT, EDGE], ids=lambda mark: mark.key)
def test_that_a_mark_is_drawn_in_its_hue(show: Show, mark: Mark) -> None:
    ground = Line(key="ground", x=np.array([0.0, 10.0]), y=np.array([0.0, 100.0]), hue="c1")
    without = near(pixels(show(figure(ground)).grab_image(1.0)), "c0").sum()
    assert near(pixels(show(figure(ground, mark)).grab_image(1.0)), "c0").sum() > without + 8


def test_that_cells_are_drawn_along_the_ramp_with_the_first_row_at_the_top(show: Show) -> None:
    view = show(figure(CELLS))
    image = pixels(view.grab_image(1.0))
    theme = appearance().theme
    for row, column in ((0, 0), (1, 1)):
        place = on_screen(view, view.panels[0], column, row) + view._canvas.pos()
        colour = QColor(theme.ramp("sequential", (2 * row + column) / 3))
        assert np.abs(image[place.y() + 9, place.x() + 9] - [colour.red(), colour.green(), colour.blue()]).max() <= 3
    assert on_screen(view, view.panels[0], 0, 0).y() < on_screen(view, view.panels[0], 0, 1).y()


def matrix(size: int, **more: Any) -> Cells:
    values = np.linspace(0.0, 1.0, size * size).reshape(size, size)
    names = tuple(f"n{i}" for i in range(size))
    return Cells(key="cells", values=values, rows=names, columns=names, **more)


def test_that_a_bar_says_what_colours_mean_where_texts_do_not_fit(show: Show) -> None:
    panel = show(figure(matrix(40, label="tau-b"), square=True)).panels[0]
    assert panel.bar.isVisible()
    assert panel.bar.geometry().left() == panel.frame.geometry().right()
    for spec in (figure(matrix(3, label="tau-b")), figure(matrix(40)), figure(LINE)):
        assert not show(spec).panels[0].bar.isVisible()


def test_that_the_bar_runs_from_the_lowest_at_the_bottom_to_the_highest_at_the_top(show: Show) -> None:
    view = show(figure(matrix(40, label="tau-b", low=-1.0)))
    place = view.panels[0].bar.geometry().toRect().translated(view._canvas.pos())
    image, theme = pixels(view.grab_image(1.0)), appearance().theme
    for row, fraction in ((place.bottom() - 3, 0.0), (place.center().y(), 0.5), (place.top() + 3, 1.0)):
        colour = QColor(theme.ramp("sequential", fraction))
        ink = image[row, place.left() + 15]
        assert np.abs(ink - [colour.red(), colour.green(), colour.blue()]).max() <= 8
    assert view.panels[0].bar._ticks.texts[0] == "−1.0"


@pytest.mark.parametrize(("size", "written"), [(3, True), (12, False)])
def test_that_values_are_written_in_cells_with_room_for_all_of_them(show: Show, size: int, written: bool) -> None:
    silent = matrix(size, texts=(("",) * size,) * size)
    with_values, without = (pixels(show(figure(mark)).grab_image(1.0)) for mark in (matrix(size), silent))
    assert (with_values != without).any() is np.bool_(written)


@pytest.mark.parametrize(
    ("mark", "box"),
    [
        (LINE, (0, 10, 0, 100)),
        (POINTS, (1, 9, 10, 90)),
        (replace(POINTS, low=np.array([-5.0, 0, 0]), high=np.array([10.0, 60, 120])), (1, 9, -5, 120)),
        (BAND, (0, 10, 0, 40)),
        (BARS, (1.6, 8.4, 0, 60)),
        (LYING, (0, 60, 1.6, 8.4)),
        (CELLS, (-0.5, 1.5, -0.5, 1.5)),
    ],
)
def test_that_the_extent_is_that_of_the_data(show: Show, mark: Mark, box: tuple[float, ...]) -> None:
    panel = show(figure(mark)).panels[0]
    assert panel.extent() == pytest.approx(box)
    left, right, bottom, top = box
    assert panel.x_window[0] <= left < right <= panel.x_window[1]
    assert panel.y_window[0] <= bottom < top <= panel.y_window[1]


def test_that_a_log_axis_is_laid_out_in_decades_and_leaves_out_what_is_not_positive(show: Show) -> None:
    line = Line(key="l", x=np.array([0.0, 1.0, 1000.0]), y=np.array([1.0, 2.0, 3.0]))
    panel = show(figure(line, x=Axis(scale="log"))).panels[0]
    assert panel.extent()[:2] == pytest.approx((0.0, 3.0))
    assert panel.x_item.ticks.texts == ("1", "10", "100", "1000")


def test_that_limits_of_an_axis_hold_and_y_fits_what_lies_between_those_of_x(show: Show) -> None:
    panel = show(figure(LINE, x=Axis(low=2.0, high=4.0))).panels[0]
    assert panel.x_window == (2.0, 4.0)
    assert panel.y_window[1] < 20


def test_that_limits_leave_the_same_room_for_markers_on_screen_as_on_paper(show: Show) -> None:
    points = replace(POINTS, x=np.array([0.2, 1.0]), y=np.array([0.0, 1.0]), size=18.0)
    axis = Axis(low=0.0, high=1.0, column="confidence")
    spec = FigureSpec(
        panels=(
            Panel(key="a", x=axis, y=replace(axis, column=""), marks=(points,), square=True),
            Panel(key="b", x=axis, marks=(replace(BARS, at=np.array([0.2, 0.9]), width=0.1),), shares_x_with="a"),
        )
    )
    view = show(spec)
    view.resize(500, 600)
    a, b = view.panels
    assert a.x_window == b.x_window == pytest.approx(panel_limits(spec.panels[0], [spec.panels[1]])[0])
    assert a.y_window == pytest.approx(panel_limits(spec.panels[0])[1])
    assert float(a.viewport.x(1.0)) + 9.0 <= a.frame.size().width()
    left_and_width = [(one.frame.geometry().left(), one.frame.geometry().width()) for one in (a, b)]
    assert left_and_width[0] == left_and_width[1]


def test_that_an_empty_figure_draws_nothing(show: Show) -> None:
    for spec in (FigureSpec(), FigureSpec(panels=(Panel(key="p", x=Axis(), y=Axis()),))):
        image = pixels(show(spec).grab_image(1.0))
        assert not near(image, "c0").any()
    assert near(pixels(show(FigureSpec()).grab_image(1.0)), "panel", 0).all()


@pytest.mark.parametrize("zoom", [(0.0, 1e5), (4.9e4, 5.1e4), (49_990.0, 50_010.0)])
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_that_a_spike_of_one_point_is_drawn_at_every_zoom(show: Show, zoom: tuple[float, float], noise: float) -> None:
    y = np.random.default_rng(0).normal(0, noise, 100_000) if noise else np.zeros(100_000)
    y[50_000] = 10.0
    view = show(figure(Line(key="l", x=np.arange(1e5), y=y, hue="c1"), y=Axis(low=-1.0, high=11.0)))
    view.set_x_range("step", "linear", *zoom)
    panel = view.panels[0]
    image = near(pixels(view.grab_image(1.0)), "c1", 90)
    top = on_screen(view, panel, sum(zoom) / 2, 8.0).y() + view._canvas.y()
    assert image[top].any()


def test_that_a_dense_line_covers_the_same_pixels_when_filled_as_when_stroked(show: Show) -> None:
    y = np.random.default_rng(1).normal(0, 1, 50_000)
    view = show(figure(Line(key="l", x=np.arange(5e4), y=y, hue="c0")))
    panel = view.panels[0]
    frame = panel.frame.geometry().toRect().translated(view._canvas.pos())
    filled = near(pixels(view.grab_image(1.0)), "c0", 40)[frame.top() : frame.bottom(), frame.left() : frame.right()]
    columns = np.clip((panel.viewport.x(np.arange(5e4))).astype(int), 0, filled.shape[1] - 1)
    for column in range(20, filled.shape[1] - 20, 37):
        inside = panel.viewport.y(y[columns == column])
        rows = np.flatnonzero(filled[:, column])
        assert rows.min() == pytest.approx(inside.min(), abs=3)
        assert rows.max() == pytest.approx(inside.max(), abs=3)


def test_that_a_crowd_of_points_covers_the_same_pixels_as_few(show: Show) -> None:
    place = np.random.default_rng(2).uniform(0, 1, (2, 100))
    few = Points(key="p", x=place[0], y=place[1], size=7.0, hue="c0")
    crowd = replace(few, x=np.tile(place[0], 30), y=np.tile(place[1], 30))
    one, other = (near(pixels(show(figure(mark)).grab_image(1.0)), "c0", 100) for mark in (few, crowd))
    assert (one ^ other).sum() < 0.2 * one.sum()
    assert other.sum() == pytest.approx(one.sum(), rel=0.1)


def test_that_a_line_is_broken_where_a_value_is_missing(show: Show) -> None:
    y = np.zeros(100)
    y[40:60] = np.nan
    view = show(figure(Line(key="l", x=np.arange(100.0), y=y, hue="c1", width=3)))
    image = near(pixels(view.grab_image(1.0)), "c1")
    panel = view.panels[0]

    def has_ink(x: float) -> bool:
        place = on_screen(view, panel, x, 0.0) + view._canvas.pos()
        return bool(image[place.y() - 2 : place.y() + 3, place.x()].any())

    assert has_ink(20)
    assert not has_ink(50)
    assert has_ink(80)


def test_that_a_text_that_would_cover_another_is_dropped(show: Show) -> None:
    first = Text(key="a", x=0.5, y=0.5, text="MMMMMM", hue="c0", inside=True, align="center")
    second = replace(first, key="b", hue="c1")
    image = pixels(show(figure(replace(LINE, hue="c2"), first, second)).grab_image(1.0))
    assert near(image, "c0", 40).any()
    assert not near(image, "c1", 40).any()


def test_that_a_legend_stands_where_no_data_is(show: Show) -> None:
    falling = Line(key="l", x=X, y=-X, label="falls", hue="c0")
    rising = Line(key="m", x=X, y=X, label="rises", hue="c1")
    panel = show(figure(falling, rising)).panels[0]
    assert panel._legend is not None
    falls_only = show(figure(falling, replace(falling, key="n", label="too", hue="c1"))).panels[0]
    assert falls_only._legend_at is not None
    assert falls_only._legend_at.x() > falls_only.frame.size().width() / 2
    assert falls_only._legend_at.y() < falls_only.frame.size().height() / 2


def test_that_a_legend_that_would_be_cut_to_nothing_stands_above(show: Show) -> None:
    named = replace(POINTS, y=-POINTS.x, label="right before and wrong after")
    view = show(figure(replace(LINE, y=-X, label="wrong before and right after"), named))
    panel = view.panels[0]
    assert panel._legend_at is not None
    view.resize(230, 400)
    view.grab_image(1.0)
    assert panel._legend is not None
    assert panel._legend_at is None


def test_that_more_lines_than_a_legend_holds_have_none(show: Show) -> None:
    lines = [replace(LINE, key=str(i), label=str(i)) for i in range(9)]
    assert show(figure(*lines)).panels[0]._legend is None
    assert show(figure(*lines[:8])).panels[0]._legend is not None


def test_that_low_panels_show_data_instead_of_labels_which_their_tooltips_tell(show: Show) -> None:
    panels = tuple(
        Panel(key=key, x=Axis(label="step"), y=Axis(label="loss"), marks=(replace(LINE, key=key),)) for key in "abc"
    )
    view = show(FigureSpec(panels=panels))
    high = [(panel.frame.size().height(), panel.x_item.size().height()) for panel in view.panels]
    view.resize(500, 180)
    view.grab_image(1.0)
    for panel, (_, axis) in zip(view.panels, high, strict=True):
        assert panel.x_item.size().height() < axis - 10
        assert panel.frame.size().height() > 15
        assert panel.x_item._label_is_cut
    assert not show(FigureSpec(panels=panels[:1])).panels[0].x_item._label_is_cut


# --- updates


def test_that_marks_that_did_not_change_are_kept(show: Show) -> None:
    view = show(figure(LINE, POINTS, BARS))
    panel = view.panels[0]
    points, line = panel.drawings["points"], panel.curves.lines[0][1]
    view.show_spec(figure(replace(LINE, hue="c3"), replace(POINTS), replace(BARS, height=BARS.height * 2)))
    assert view.panels[0] is panel
    assert panel.drawings["points"] is points
    assert panel.drawings["bars"].mark.height[0] == 60
    assert panel.curves.lines[0][1] is line
    assert panel.curves.lines[0][0].hue == "c3"


def test_that_a_zoom_survives_new_data_until_it_is_reset(show: Show) -> None:
    view = show(figure(LINE))
    panel = view.panels[0]
    drag(view, on_screen(view, panel, 2, 20), on_screen(view, panel, 6, 60))
    zoomed = (panel.x_window, panel.y_window)
    assert zoomed[0] == pytest.approx((2, 6), abs=0.1)
    assert zoomed[1] == pytest.approx((20, 60), abs=1.0)
    longer = np.linspace(0, 20, 100)
    view.show_spec(figure(replace(LINE, x=longer, y=longer**2)))
    assert (panel.x_window, panel.y_window) == zoomed
    view.reset()
    assert panel.x_window[1] >= 20


def test_that_the_range_follows_new_data_while_the_user_has_not_zoomed(show: Show) -> None:
    view = show(figure(LINE))
    longer = np.linspace(0, 20, 100)
    view.show_spec(figure(replace(LINE, x=longer, y=longer**2)))
    assert view.panels[0].x_window[1] >= 20
    assert view.panels[0].y_window[1] >= 400


def test_that_a_panel_that_is_gone_leaves_nothing_behind(show: Show) -> None:
    view = show(FigureSpec(panels=(Panel(key="a", marks=(LINE,)), Panel(key="b", marks=(replace(LINE, hue="c1"),)))))
    count = len(view._canvas.scene().items())
    view.show_spec(FigureSpec(panels=(Panel(key="a", marks=(LINE,)),)))
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    assert len(view._canvas.scene().items()) == (count - 1) // 2 + 1  # one is pyqtgraph's own
    assert not near(pixels(view.grab_image(1.0)), "c1").any()


def test_that_emphasis_changes_opacity_and_nothing_else(show: Show) -> None:
    low = Line(key="low", x=X, y=np.full(50, 0.03), hue="c0", width=4, origin=Keys("run", ("a",)))
    high = Line(key="high", x=X, y=np.full(50, 0.97), hue="c0", width=4, origin=Keys("run", ("b",)))
    fit = Line(key="fit", x=X, y=np.full(50, 0.47), hue="c1", width=4)
    view = show(figure(low, high, fit))
    panel, spec = view.panels[0], view.spec
    windows, drawings = (panel.x_window, panel.y_window), dict(panel.drawings)

    def ink(y: float) -> np.ndarray:
        place = on_screen(view, panel, 5, y) + view._canvas.pos()
        return pixels(view.grab_image(1.0))[place.y(), place.x()]

    before = {y: ink(y) for y in (0.03, 0.47, 0.97)}
    view.set_emphasis({"run": {"a"}})
    np.testing.assert_array_equal(ink(0.03), before[0.03])
    np.testing.assert_array_equal(ink(0.47), before[0.47])
    np.testing.assert_allclose(ink(0.97), 255 + 0.15 * (before[0.97] - 255), atol=3)
    assert (panel.x_window, panel.y_window) == windows
    assert panel.drawings == drawings
    assert view.spec is spec
    view.set_emphasis(None)
    np.testing.assert_array_equal(ink(0.97), before[0.97])


def test_that_emphasis_by_a_function_reaches_single_elements(show: Show) -> None:
    view = show(figure(CELLS, POINTS))
    view.set_emphasis(lambda origin: [True, False, False, True] if isinstance(origin, Clauses) else None)
    panel = view.panels[0]
    np.testing.assert_array_equal(panel.drawings["cells"].bright, [True, False, False, True])
    assert panel.drawings["points"].bright is None


def test_that_the_same_emphasis_is_not_worked_out_again(show: Show) -> None:
    asked: list[object] = []

    class Highlight:
        def of(self, origin: object) -> None:
            asked.append(origin)

    view, one, other = show(figure(CELLS, POINTS)), Highlight(), Highlight()
    view.set_emphasis(one.of)
    once = len(asked)
    assert once > 0
    view.set_emphasis(one.of)
    assert len(asked) == once
    view.set_emphasis(other.of)
    assert len(asked) == 2 * once


def test_that_another_theme_restyles_what_is_shown(show: Show) -> None:
    view = show(figure(LINE))
    appearance().apply("dark")
    try:
        image = pixels(view.grab_image(1.0))
        assert near(image, "panel", 0).mean() > 0.5
        assert near(image, "c0").any()
        assert appearance().theme.name == "dark"
    finally:
        appearance().apply("light")


# --- the mouse


def test_that_a_double_click_and_home_show_all_again(show: Show) -> None:
    view = show(figure(LINE))
    panel = view.panels[0]
    whole = (panel.x_window, panel.y_window)
    screen, left = view._canvas.viewport(), Qt.MouseButton.LeftButton

    def double_click() -> None:
        place = on_screen(view, panel, 5, 50)
        QTest.mouseClick(screen, left, pos=place)
        QTest.mouseDClick(screen, left, pos=place)
        QTest.mouseRelease(screen, left, pos=place)

    for show_all in (double_click, lambda: QTest.keyClick(view._canvas, Qt.Key.Key_Home)):
        drag(view, on_screen(view, panel, 2, 20), on_screen(view, panel, 6, 60))
        assert view.is_zoomed
        show_all()
        assert (panel.x_window, panel.y_window) == whole
        assert not view.is_zoomed


def test_that_a_flat_drag_zooms_one_axis(show: Show) -> None:
    view = show(figure(LINE))
    panel = view.panels[0]
    y = panel.y_window
    drag(view, on_screen(view, panel, 2, 50), on_screen(view, panel, 6, 50))
    assert panel.x_window == pytest.approx((2, 6), abs=0.1)
    assert panel.y_window == y
    assert not panel.y_is_free


def test_that_the_wheel_zooms_about_the_mouse(show: Show) -> None:
    view = show(figure(LINE))
    panel = view.panels[0]
    place = on_screen(view, panel, 3, 30)
    before = panel.viewport
    wheel(view, place, 2)
    after = panel.viewport
    assert after.right - after.left == pytest.approx((before.right - before.left) * 0.85**2)
    assert on_screen(view, panel, 3, 30).x() == pytest.approx(place.x(), abs=1)
    assert on_screen(view, panel, 3, 30).y() == pytest.approx(place.y(), abs=1)


def test_that_the_wheel_over_an_axis_zooms_that_axis(show: Show) -> None:
    view = show(figure(LINE))
    panel = view.panels[0]
    x, y = panel.x_window, panel.y_window
    beneath = view._canvas.mapFromScene(panel.x_item.mapToScene(QPointF(100, 8)))
    wheel(view, beneath, 1)
    assert panel.x_window != x
    assert panel.y_window == y


def test_that_the_middle_button_pans(show: Show) -> None:
    view = show(figure(LINE))
    panel = view.panels[0]
    span = panel.x_window[1] - panel.x_window[0]
    drag(view, on_screen(view, panel, 6, 50), on_screen(view, panel, 3, 50), Qt.MouseButton.MiddleButton)
    assert panel.x_window[0] > 1.0
    assert panel.x_window[1] - panel.x_window[0] == pytest.approx(span)


@pytest.mark.parametrize(
    ("mark", "place", "clause"),
    [
        (LINE, (5.0, 25.0), is_in("run", ["a"])),
        (POINTS, (5.0, 50.0), is_in("item", ["q"])),
        (BARS, (8.0, 30.0), is_in("task", ["t"])),
        (CELLS, (0.0, 1.0), Between("x", 2, 2)),
    ],
)
def test_that_a_click_on_an_element_tells_its_clause(
    qtbot: Any, show: Show, mark: Mark, place: tuple[float, float], clause: object
) -> None:
    view = show(figure(mark))
    with qtbot.waitSignal(view.clicked) as told:
        click(view, on_screen(view, view.panels[0], *place))
    assert told.args[0] == clause


def test_that_a_click_on_nothing_tells_nothing(qtbot: Any, show: Show) -> None:
    view = show(figure(POINTS))
    with qtbot.assertNotEmitted(view.clicked):
        click(view, on_screen(view, view.panels[0], 5.0, 20.0))


@pytest.mark.parametrize(
    ("keys", "mode"),
    [
        (Qt.KeyboardModifier.ShiftModifier, "replace"),
        (Qt.KeyboardModifier.ShiftModifier | Qt.KeyboardModifier.ControlModifier, "or"),
        (Qt.KeyboardModifier.AltModifier, "not"),
        (Qt.KeyboardModifier.AltModifier | Qt.KeyboardModifier.ShiftModifier, "and"),
    ],
)
def test_that_a_brush_tells_what_is_inside_and_zooms_nothing(qtbot: Any, show: Show, keys: Any, mode: str) -> None:
    view = show(figure(POINTS))
    panel = view.panels[0]
    window = panel.x_window
    with qtbot.waitSignal(view.brushed) as told:
        drag(view, on_screen(view, panel, 2, 30), on_screen(view, panel, 9.1, 95), keys=keys)
    assert told.args == [is_in("item", ["q", "r"]), mode]
    assert panel.x_window == window


def test_that_a_brush_takes_a_line_that_leads_through_without_a_point_inside(qtbot: Any, show: Show) -> None:
    straight = Line(key="s", x=np.array([0.0, 10.0]), y=np.array([0.0, 100.0]), origin=Keys("run", ("s",)))
    other = Line(key="o", x=np.array([0.0, 10.0]), y=np.array([100.0, 90.0]), origin=Keys("run", ("o",)))
    view = show(figure(straight, other))
    panel = view.panels[0]
    with qtbot.waitSignal(view.brushed) as told:
        drag(view, on_screen(view, panel, 4, 40), on_screen(view, panel, 6, 60), keys=Qt.KeyboardModifier.ShiftModifier)
    assert told.args[0] == is_in("run", ["s"])


def test_that_dragging_a_rule_tells_its_option_and_place(qtbot: Any, show: Show) -> None:
    view = show(figure(LINE, RULE))
    panel = view.panels[0]
    with qtbot.waitSignal(view.rule_dragged) as told:
        drag(view, on_screen(view, panel, 2, 40), on_screen(view, panel, 2, 70))
    assert told.args[0] == "target"
    assert told.args[1] == pytest.approx(70, abs=1)
    assert not view.is_zoomed


def test_that_a_point_that_stands_for_options_is_dragged_before_the_rule_through_it(qtbot: Any, show: Show) -> None:
    star = Points(key="star", x=np.array([5.0]), y=np.array([40.0]), size=12.0, options=("width", "height"))
    view = show(figure(LINE, RULE, star))
    panel = view.panels[0]
    ruled: list[Any] = []
    view.rule_dragged.connect(lambda *told: ruled.append(told))
    with qtbot.waitSignal(view.point_dragged) as told:
        drag(view, on_screen(view, panel, 5, 40), on_screen(view, panel, 7, 70))
    assert told.args[0] == {"width": pytest.approx(7, abs=0.1), "height": pytest.approx(70, abs=1)}
    assert not ruled
    assert not view.is_zoomed


def test_that_a_point_may_be_dragged_along_one_axis_only(qtbot: Any, show: Show) -> None:
    view = show(
        figure(LINE, Points(key="star", x=np.array([5.0]), y=np.array([50.0]), size=12.0, options=("width", "")))
    )
    panel = view.panels[0]
    with qtbot.waitSignal(view.point_dragged) as told:
        drag(view, on_screen(view, panel, 5, 50), on_screen(view, panel, 8, 70))
    assert told.args[0] == {"width": pytest.approx(8, abs=0.1)}


def test_that_a_right_click_asks_for_a_menu_about_what_is_there(qtbot: Any, show: Show) -> None:
    view = show(figure(POINTS))
    place = on_screen(view, view.panels[0], 5.0, 50.0)
    QTest.mouseMove(view._canvas.viewport(), place)
    with qtbot.waitSignal(view.menu_requested) as told:
        QTest.mouseClick(view._canvas.viewport(), Qt.MouseButton.RightButton, pos=place)
    assert told.args[1] == is_in("item", ["q"])


def test_that_hovering_tells_a_line_within_reach_once_and_when_it_is_left(show: Show) -> None:
    view = show(figure(LINE))
    panel, told = view.panels[0], []
    view.hovered.connect(told.append)
    on_line = at(panel, 5, 25)
    panel.on_hover(on_line + QPointF(0, -8))
    panel.on_hover(on_line + QPointF(1, -8))
    panel.on_hover(on_line + QPointF(0, -80))
    assert told == [is_in("run", ["a"]), None]


def test_that_the_cursor_tells_the_nearest_logged_place_and_lists_the_lines_there(show: Show) -> None:
    raw = replace(LINE, key="raw", y=X**2 + 1, faint_of="line", opacity=0.3)
    second = replace(LINE, key="second", y=100 - X**2, label="second", origin=Keys("run", ("b",)))
    view = show(figure(LINE, raw, second))
    panel, told = view.panels[0], []
    view.cursor_moved.connect(lambda column, x: told.append((column, x)))
    panel.on_hover(at(panel, float(X[20]) + 0.02, float(X[20] ** 2)))
    assert told[-1] == ("step", pytest.approx(float(X[20])))
    reading = panel.overlay.reading
    assert reading is not None
    assert [row.cells[0] for row in reading.rows] == ["second", "a"]
    assert [row.is_nearest for row in reading.rows] == [False, True]
    assert reading.header == ("", "smoothed", "value")
    assert reading.rows[1].cells[1:] == ("16.66", "17.66")


def test_that_the_table_has_at_most_a_dozen_rows_about_the_mouse(show: Show) -> None:
    lines = [replace(LINE, key=str(i), y=np.full(50, float(i)), origin=Keys("run", (str(i),))) for i in range(60)]
    panel = show(figure(*lines)).panels[0]
    panel.on_hover(at(panel, 5, 30))
    reading = panel.overlay.reading
    assert reading is not None
    assert len(reading.rows) <= 12
    assert len(reading.rows) + reading.hidden == 60
    assert "30" in [row.cells[0] for row in reading.rows]


def test_that_the_table_covers_neither_the_mouse_nor_leaves_the_figure(show: Show) -> None:
    panel = show(figure(LINE)).panels[0]
    size = panel.frame.size()
    for x in np.linspace(1, size.width() - 1, 7):
        for y in np.linspace(1, size.height() - 1, 7):
            panel.on_hover(QPointF(x, y))
            box = panel.overlay._place(150, 60)
            assert panel.overlay.boundingRect().contains(box)
            assert not box.contains(QPointF(x, y))


def test_that_a_shared_cursor_is_shown_without_a_table(show: Show) -> None:
    panel = (view := show(figure(LINE))).panels[0]
    view.set_cursor(4.0)
    assert panel.overlay.cursor == pytest.approx(float(panel.viewport.x(4.0)))
    assert panel.overlay.reading is None
    view.set_cursor(None)
    assert panel.overlay.cursor is None


def test_that_arrows_move_the_cursor_by_a_point_and_with_shift_by_ten(show: Show) -> None:
    view = show(figure(LINE))
    told: list[float] = []
    view.cursor_moved.connect(lambda column, x: told.append(x))
    view.set_cursor(float(X[20]))
    QTest.keyClick(view._canvas, Qt.Key.Key_Right)
    QTest.keyClick(view._canvas, Qt.Key.Key_Left, Qt.KeyboardModifier.ShiftModifier)
    assert told == pytest.approx([float(X[21]), float(X[11])])


# --- the second cursor and the order of the table


def three_lines() -> FigureSpec:
    lines = [
        Line(key=name, x=X, y=y, label=name, hue=f"c{i}", origin=Keys("run", (name,)))
        for i, (name, y) in enumerate({"run 10": X, "run 9": 3 * X - 5, "run 2": 10 - X / 2}.items())
    ]
    return figure(*lines, x=Axis(column="step", label="step"))


def names(panel: PanelView) -> list[str]:
    assert panel.overlay.reading is not None
    return [row.cells[0] for row in panel.overlay.reading.rows]


def test_that_a_pinned_cursor_adds_its_values_and_the_differences(qtbot: Any, show: Show) -> None:
    view = show(three_lines())
    panel = view.panels[0]
    panel.on_hover(at(panel, float(X[10]), 0.0))
    with qtbot.waitSignal(view.pin_changed) as told:
        QTest.keyClick(view._canvas, Qt.Key.Key_C)
    assert told.args == ["step", pytest.approx(float(X[10]))]
    panel.on_hover(at(panel, float(X[30]), 0.0))
    reading = panel.overlay.reading
    assert reading is not None
    assert reading.title == "step 6.1224 (+4.0816)"
    assert reading.header == ("", "value", "at 2.0408", "difference")
    assert {row.cells[0]: row.cells[1:] for row in reading.rows} == {
        "run 9": ("13.37", "1.122", "+12.24"),
        "run 2": ("6.939", "8.980", "−2.041"),
        "run 10": ("6.122", "2.041", "+4.082"),
    }


def test_that_a_pinned_cursor_stays_when_the_mouse_leaves_and_goes_with_escape_or_c(qtbot: Any, show: Show) -> None:
    view = show(three_lines())
    panel = view.panels[0]
    for key in (Qt.Key.Key_Escape, Qt.Key.Key_C):
        panel.on_hover(at(panel, 4.0, 0.0))
        view.toggle_pin()
        panel.on_hover(None)
        assert panel.overlay.pin == pytest.approx(float(panel.viewport.x(4.0)), abs=panel.viewport.width / 90)
        view.show_spec(three_lines())
        assert panel.overlay.pin is not None
        with qtbot.waitSignal(view.pin_changed) as told:
            QTest.keyClick(view._canvas, key)
        assert told.args == ["step", None]
        assert panel.overlay.pin is None


def test_that_a_cursor_pinned_elsewhere_is_shown_on_axes_of_its_column_only(show: Show) -> None:
    view = show(two(Axis(column="step"), Axis(column="tokens")))
    view.set_pin("step", 5.0)
    a, b = view.panels
    assert a.overlay.pin == pytest.approx(float(a.viewport.x(5.0)))
    assert b.overlay.pin is None


def test_that_nothing_is_pinned_without_a_cursor(qtbot: Any, show: Show) -> None:
    view = show(three_lines())
    with qtbot.assertNotEmitted(view.pin_changed):
        view.toggle_pin()
    assert not view.is_pinned


def test_that_the_table_is_sorted_by_screen_name_value_and_difference_in_turn(show: Show) -> None:
    view = show(three_lines())
    panel, told = view.panels[0], []
    view.table_order_changed.connect(told.append)
    panel.on_hover(at(panel, float(X[49]), 0.0))
    seen = [names(panel)]
    for _ in range(3):
        QTest.keyClick(view._canvas, Qt.Key.Key_T)
        seen.append(names(panel))
    assert seen == [
        ["run 9", "run 10", "run 2"],
        ["run 2", "run 9", "run 10"],
        ["run 2", "run 10", "run 9"],
        ["run 9", "run 10", "run 2"],
    ]
    assert told == ["name", "value", "screen"]
    view.toggle_pin()
    panel.on_hover(at(panel, float(X[0]), 0.0))
    view.set_table_order("difference")
    assert names(panel) == ["run 9", "run 10", "run 2"]
    assert panel.overlay.reading is not None
    assert panel.overlay.reading.footer == "smallest difference first"


def test_that_a_copied_figure_shows_no_cursors(show: Show) -> None:
    view = show(three_lines())
    without = pixels(view.grab_image(1.0))
    panel = view.panels[0]
    panel.on_hover(at(panel, 4.0, 0.0))
    view.toggle_pin()
    np.testing.assert_array_equal(pixels(view.grab_image(1.0)), without)
    assert panel.overlay.reading is not None


# --- linked axes


def two(first: Axis, second: Axis) -> FigureSpec:
    return FigureSpec(panels=(Panel(key="a", x=first, marks=(LINE,)), Panel(key="b", x=second, marks=(LINE,))))


@pytest.mark.parametrize(
    ("second", "linked"),
    [
        (Axis(column="step"), True),
        (Axis(column="tokens"), False),
        (Axis(column="step", scale="log"), False),
        (Axis(), False),
    ],
)
def test_that_axes_of_the_same_column_and_scale_zoom_together(show: Show, second: Axis, linked: bool) -> None:
    view = show(two(Axis(column="step"), second))
    told: list[tuple[Any, ...]] = []
    view.x_range_changed.connect(lambda *ends: told.append(ends))
    a, b = view.panels
    whole = b.x_window
    wheel(view, on_screen(view, a, 5, 50), 1)
    assert (b.x_window == a.x_window) is linked
    assert (b.x_window == whole) is not linked
    assert told == [("step", "linear", pytest.approx(a.x_window[0]), pytest.approx(a.x_window[1]))]


def test_that_a_panel_that_continues_an_axis_shares_it_and_alone_writes_it(show: Show) -> None:
    axis = Axis(scale="log")
    view = show(
        FigureSpec(
            panels=(
                Panel(key="a", x=axis, marks=(replace(LINE, x=X + 1),)),
                Panel(key="b", x=axis, marks=(replace(POINTS, x=POINTS.x * 100),), shares_x_with="a"),
            )
        )
    )
    a, b = view.panels
    assert a.x_window == b.x_window
    assert a.frame.geometry().left() == b.frame.geometry().left()
    assert a.x_item.size().height() < b.x_item.size().height()


def test_that_a_range_set_from_outside_is_in_data_units_and_tells_nothing(qtbot: Any, show: Show) -> None:
    view = show(figure(replace(LINE, x=X + 1), x=Axis(column="flops", scale="log")))
    with qtbot.assertNotEmitted(view.x_range_changed):
        view.set_x_range("flops", "log", 1.0, 100.0)
    assert view.panels[0].x_window == pytest.approx((0.0, 2.0))
    view.set_x_range("step", "log", 5.0, 6.0)
    assert view.panels[0].x_window == pytest.approx((0.0, 2.0))
    view.set_x_range("flops", "log", None, None)
    assert not view.is_zoomed


def test_that_an_axis_never_shows_a_range_that_cannot_be_drawn(show: Show) -> None:
    view = show(figure(LINE))
    panel = view.panels[0]
    for _ in range(400):
        panel._zoom(100.0, 100.0, 5.0)
    assert panel.x_window[1] > panel.x_window[0]
    for _ in range(800):
        panel._zoom(100.0, 100.0, -5.0)
    assert all(np.isfinite([*panel.x_window, *panel.y_window]))
    view.grab_image(1.0)


# --- what is exported


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_that_the_shown_figure_has_the_limits_on_screen(show: Show, scale: Any) -> None:
    line = replace(LINE, x=X + 1, y=X**2 + 1)
    view = show(figure(line, x=Axis(column="step", scale=scale), y=Axis(scale=scale)))
    assert view.shown_spec() is view.spec
    wheel(view, on_screen(view, view.panels[0], *(0.3, 0.5) if scale == "log" else (3, 20)), 5)
    panel = view.panels[0]
    for window, limits in zip((panel.x_window, panel.y_window), panel_limits(view.shown_spec().panels[0]), strict=True):
        np.testing.assert_allclose(np.log10(limits) if scale == "log" else limits, window, rtol=1e-9)
    view.reset()
    assert view.shown_spec() is view.spec


def test_that_a_figure_zoomed_along_x_keeps_the_y_it_shows(show: Show) -> None:
    view = show(figure(LINE))
    view.set_x_range("step", "linear", 2.0, 4.0)
    assert panel_limits(view.shown_spec().panels[0]) == ((2.0, 4.0), pytest.approx(view.panels[0].y_window))


def test_that_numbers_of_a_zoomed_figure_are_those_on_screen_and_where_its_lines_lead(show: Show) -> None:
    view = show(figure(LINE, POINTS))
    view.set_x_range("step", "linear", 2.0, 6.0)
    numbers = drawn_numbers(view.shown_spec())
    inside = np.flatnonzero((X >= 2) & (X <= 6))
    np.testing.assert_array_equal(numbers[numbers["key"] == "line"]["x"], X[inside[0] - 1 : inside[-1] + 2])
    np.testing.assert_array_equal(numbers[numbers["key"] == "points"]["x"], [5.0])
    assert len(drawn_numbers(view.spec)) == len(X) + 3


@pytest.mark.parametrize("side", ["x", "y"])
def test_that_a_label_too_long_for_its_axis_stands_in_two_lines(show: Show, side: Any) -> None:
    label = " ".join(["agreement in being right if the models were independent of one another (%)"] * 2)
    view = show(figure(POINTS, **{side: Axis(label=label)})).panels[0]
    item = view.x_item if side == "x" else view.y_item
    assert len(item._lines) == 2
    one = show(figure(POINTS, **{side: Axis(label="agreement")})).panels[0]
    short = one.x_item if side == "x" else one.y_item
    assert short._lines == ("agreement",)
    percent = show(figure(POINTS, **{side: Axis(label=f"{40 * 'n'} 95 % {40 * 'n'}")})).panels[0]
    lines = (percent.x_item if side == "x" else percent.y_item)._lines
    assert len(lines) == 2
    assert not lines[1].startswith("%")
    across = (lambda axis: axis.size().height()) if side == "x" else (lambda axis: axis.size().width())
    assert across(item) > across(short)
    bottom = view.x_item.geometry().bottom()
    assert bottom <= view.frame.scene().views()[0].viewport().height()


@pytest.mark.parametrize("axis", ["x", "y", "diagonal"])
def test_that_the_label_of_a_rule_keeps_off_data(qtbot: Any, axis: Any) -> None:
    appearance().apply("light")
    rule = Rule(key="rule", axis=axis, at=5.0, label="asked for")
    viewport = Viewport(0.0, 10.0, 0.0, 10.0, 300.0, 300.0)
    image = QImage(300, 300, QImage.Format.Format_ARGB32)

    def place(covered: np.ndarray) -> QRectF:
        painter = QPainter(image)
        canvas = Canvas(painter, viewport, appearance().theme, covered=covered)
        drawing(rule, Axis(), Axis()).write(canvas)
        painter.end()
        return canvas.taken[0]

    wanted = place(np.zeros((0, 2)))
    x, y = np.meshgrid(
        np.linspace(wanted.left() - 30, wanted.right() + 30, 40),
        np.linspace(wanted.top() - 30, wanted.bottom() + 30, 40),
    )
    data = np.stack([x.ravel(), y.ravel()], axis=1)
    found = place(data)
    inside = (data[:, 0] >= found.left()) & (data[:, 0] <= found.right())
    inside &= (data[:, 1] >= found.top()) & (data[:, 1] <= found.bottom())
    assert not inside.any()


def test_that_a_dragged_rule_has_no_more_digits_than_a_pixel_tells_apart(qtbot: Any, show: Show) -> None:
    view = show(figure(LINE, RULE))
    panel = view.panels[0]
    with qtbot.waitSignal(view.rule_dragged) as told:
        drag(view, on_screen(view, panel, 2, 40), on_screen(view, panel, 2, 63.3))
    pixel = abs(panel.viewport.y_at(11) - panel.viewport.y_at(10))
    assert told.args[1] == round(told.args[1], 1 if pixel < 1 else 0)
    assert told.args[1] == pytest.approx(63.3, abs=2 * pixel)


def test_that_a_new_figure_of_the_same_numbers_is_not_painted_again(
    show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Points(key="moved", x=np.array([1.0, 2.0, 3.0]), y=np.array([0.0, 0.5, 1.0]), hue="c1")
    view = show(FigureSpec(panels=(Panel(key="cells", marks=(CELLS,)), Panel(key="points", marks=(other,)))))
    view.lay_out()  # from the second time on, what stays where it is is kept as a picture
    QApplication.processEvents()
    painted: list[str] = []
    real = PanelView.paint

    def told(panel: PanelView, painter: QPainter) -> None:
        painted.append(panel.panel.key)
        real(panel, painter)

    monkeypatch.setattr(PanelView, "paint", told)
    drawings = {key: one for panel in view.panels for key, one in panel.drawings.items()}
    copy = replace(CELLS, values=CELLS.values.copy(), origin=Clauses("items", tuple(CELLS.origin.clauses)))
    moved = replace(other, y=np.array([0.0, 0.7, 1.0]))
    view.show_spec(FigureSpec(panels=(Panel(key="cells", marks=(copy,)), Panel(key="points", marks=(moved,)))))
    QApplication.processEvents()
    after = {key: one for panel in view.panels for key, one in panel.drawings.items()}
    assert after["cells"] is drawings["cells"]
    assert after["moved"] is not drawings["moved"]
    assert set(painted) == {"points"}
    recoloured = replace(CELLS, values=CELLS.values + 1)
    view.show_spec(FigureSpec(panels=(Panel(key="cells", marks=(recoloured,)), Panel(key="points", marks=(moved,)))))
    QApplication.processEvents()
    assert "cells" in painted


def test_that_axes_stand_still_for_most_points_that_come_behind_a_line_and_fit_it_again_when_asked(show: Show) -> None:
    x, y = (grown(np.zeros(0), values) for values in (np.arange(100.0), np.arange(100.0)))
    view = show(figure(Line(key="line", x=x, y=y)))
    panel = view.panels[0]
    fitting = panel.x_window
    windows = []
    for number in range(100, 200):
        x, y = grown(x, np.array([float(number)])), grown(y, np.array([float(number)]))
        view.show_spec(figure(Line(key="line", x=x, y=y)))
        assert panel.x_window[0] <= 0 < number <= panel.x_window[1] <= 1.2 * number
        assert panel.y_window[1] >= number
        windows.append(panel.x_window)
    assert len(set(windows)) < 20
    assert windows[-1] != fitting
    view.show_spec(figure(Line(key="line", x=np.arange(200.0), y=np.arange(200.0))))  # not known to have grown
    anew = show(figure(Line(key="line", x=np.arange(200.0), y=np.arange(200.0))))
    assert panel.x_window == anew.panels[0].x_window


def test_that_a_range_the_user_chose_stays_while_a_line_grows(show: Show) -> None:
    x = grown(np.zeros(0), np.arange(100.0))
    view = show(figure(Line(key="line", x=x, y=x)))
    view.set_x_range("step", "linear", 10.0, 20.0)
    x = grown(x, np.arange(100.0, 150.0))
    view.show_spec(figure(Line(key="line", x=x, y=x)))
    assert view.panels[0].x_window == (10.0, 20.0)
    view.reset()
    low, high = view.panels[0].x_window
    assert -10 < low <= 0 < 149 <= high < 165
