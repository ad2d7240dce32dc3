"""Markers on the limits of an axis are drawn whole, and limits are what was asked for else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from runglass.analysis.axis_room import room_for_markers
from runglass.analysis.report.limits import panel_limits
from runglass.models.figure import Axis, Line, Panel, Points

UNIT = Axis(low=0.0, high=1.0)


def panel(*x: float, size: float = 10.0, **options: object) -> Panel:
    points = Points(key="p", x=np.array(x), y=np.full(len(x), 0.5), size=size)
    return Panel(key="p", x=UNIT, y=UNIT, marks=(points,), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("x", "below", "above"),
    [((0.5,), 0, 0), ((0.5, 1.0), 0, 5 / 180), ((0.0, 0.995), 5 / 180, 5 / 180 - 0.005), ((0.02, 0.98), 0, 0)],
)
def test_that_room_is_made_at_the_ends_where_a_marker_would_be_cut(
    x: tuple[float, ...], below: float, above: float
) -> None:
    assert room_for_markers([panel(*x)], "x", 0.0, 1.0) == pytest.approx((below, above))
    (low, high), y = panel_limits(panel(*x))
    assert (low, high) == pytest.approx((-below, 1 + above))
    assert y == (0.0, 1.0)


def test_that_a_limit_with_markers_beyond_it_is_a_cut_and_holds() -> None:
    assert room_for_markers([panel(0.5, 1.0, 3.0)], "x", 0.0, 1.0) == (0.0, 0.0)


def test_that_room_grows_with_the_marker_and_is_not_made_twice() -> None:
    small, large = (room_for_markers([panel(1.0, size=size)], "x", 0.0, 1.0)[1] for size in (4.0, 18.0))
    assert 0 < small < large < 0.06
    assert room_for_markers([panel(1.0, size=18.0)], "x", 0.0, 1.0 + large) == (0.0, 0.0)


def test_that_an_end_the_axis_does_not_ask_for_and_an_exact_axis_get_none() -> None:
    free = replace(panel(0.0, 1.0), x=Axis(low=0.0))
    assert room_for_markers([free], "x", 0.0, 1.0)[1] == 0
    exact = replace(panel(0.0, 1.0), x=replace(UNIT, exact=True))
    assert panel_limits(exact)[0] == (0.0, 1.0)


def test_that_lines_need_no_room() -> None:
    line = Line(key="l", x=np.array([0.0, 1.0]), y=np.array([0.0, 1.0]), width=9.0)
    assert panel_limits(Panel(key="p", x=UNIT, y=UNIT, marks=(line,))) == ((0.0, 1.0), (0.0, 1.0))


def test_that_a_square_panel_with_equal_limits_keeps_them_equal() -> None:
    x, y = panel_limits(panel(0.5, 1.0, square=True))
    assert x == y
    assert x[1] > 1.0


def test_that_panels_that_share_an_axis_get_the_same_room() -> None:
    below = Panel(key="b", x=UNIT, shares_x_with="p")
    above = panel(1.0)
    assert panel_limits(below, [above])[0] == panel_limits(above, [below])[0]


def test_that_room_on_a_log_axis_is_in_decades() -> None:
    axis = Axis(scale="log", low=1.0, high=1000.0)
    shown = replace(panel(1000.0), x=axis)
    assert np.log10(panel_limits(shown)[0]) == pytest.approx([0.0, 3 * (1 + 5 / 180)])
