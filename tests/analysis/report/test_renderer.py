"""Figures on paper: nothing is cut, covered or lost."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import get_args

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.collections import PathCollection

from runglass.analysis.report.limits import log_label, log_ticks, panel_limits
from runglass.analysis.report.page import Page, settings
from runglass.analysis.report.renderer import drawn
from runglass.analysis.report.styles import style_named
from runglass.analysis.report.words import clipped_words, colliding_words, cut, words_of, wrapped
from runglass.models.figure import Axis, Bars, FigureSpec, Line, Mark, Panel, Points, Rule, Text

NARROW, WIDE = style_named("icml"), style_named("neurips")


def _drawn(spec: FigureSpec, style: object = WIDE, **options: object) -> Page:
    with settings(style):  # type: ignore[arg-type]
        return drawn(spec, style, **options)  # type: ignore[arg-type]


def _panel(*marks: Mark, **options: object) -> FigureSpec:
    return FigureSpec(panels=(Panel(key="p", marks=marks, **options),))  # type: ignore[arg-type]


def test_that_the_samples_hold_every_mark_and_scale(samples: dict[str, FigureSpec]) -> None:
    panels = [panel for spec in samples.values() for panel in spec.panels]
    assert {type(mark) for panel in panels for mark in panel.marks} == set(get_args(Mark))
    assert {axis.scale for panel in panels for axis in (panel.x, panel.y)} == {"linear", "log", "time", "category"}


@pytest.mark.parametrize("style", [NARROW, WIDE, style_named("wide")], ids=lambda style: style.key)
def test_that_no_words_reach_over_the_edge_or_one_another(sample: FigureSpec, style: object) -> None:
    with settings(style):  # type: ignore[arg-type]
        figure = drawn(sample, style, title=True).figure  # type: ignore[arg-type]
        assert clipped_words(figure) == []
        assert colliding_words(figure) == []


@pytest.mark.parametrize("style", [NARROW, WIDE], ids=lambda style: style.key)
def test_that_a_label_under_an_axis_beside_long_names_stays_on_the_page(style: object) -> None:
    rows = Points(key="rows", x=np.array([0.1, 0.2]), y=np.array([0.0, 1.0]))
    names = Axis(scale="category", names=("digit-reader v1-again", "digit-reader v3"), inverted=True)
    label = Axis(label="NLL - entropy, nats, 95 % bootstrap")
    panels = tuple(Panel(key=key, marks=(rows,), x=label, y=names) for key in "abcd")
    with settings(style):  # type: ignore[arg-type]
        figure = drawn(FigureSpec(panels=panels, columns=2), style).figure  # type: ignore[arg-type]
        assert clipped_words(figure) == []
        assert colliding_words(figure) == []


def test_that_words_over_the_edge_and_over_others_are_found(samples: dict[str, FigureSpec]) -> None:
    with settings(WIDE):
        figure = drawn(samples["curves"], WIDE).figure
        figure.text(0.99, 0.5, "over the edge")
        figure.text(0.5, 0.5, "one")
        figure.text(0.5, 0.5, "two")
        assert clipped_words(figure) == ["over the edge"]
        assert ("two", "one") in colliding_words(figure)


def test_that_the_width_is_that_of_the_venue_and_the_height_golden(samples: dict[str, FigureSpec]) -> None:
    wide, high = _drawn(samples["law"]).figure.get_size_inches()
    assert wide == 5.5
    assert high == pytest.approx(5.5 / 1.618034, abs=1e-4)


def test_that_many_rows_get_room_for_all_their_names() -> None:
    names = tuple(f"benchmark {number}" for number in range(30))
    rows = Axis(scale="category", names=names, inverted=True)
    points = Points(key="p", x=np.arange(30.0), y=np.arange(30.0))
    panels = (
        Panel(key="a", y=rows, marks=(points,)),
        Panel(key="b", y=replace(rows, names=("",) * 30), marks=(points,)),
    )
    figure = _drawn(FigureSpec(panels=panels, columns=2)).figure
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(names)
    assert colliding_words(figure) == []


def test_that_a_height_asked_for_is_kept(samples: dict[str, FigureSpec]) -> None:
    assert _drawn(samples["law"], height=2.5).figure.get_figheight() == 2.5


def test_that_settings_of_matplotlib_are_left_as_they_were(sample: FigureSpec) -> None:
    before = dict(mpl.rcParams)
    _drawn(sample)
    assert dict(mpl.rcParams) == before


def test_that_two_threads_can_draw(samples: dict[str, FigureSpec]) -> None:
    widths = {}

    def draw(name: str) -> None:
        widths[name] = _drawn(samples["law"], style_named(name)).figure.get_figwidth()

    threads = [threading.Thread(target=draw, args=(name,)) for name in ("icml", "jmlr")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert widths == {"icml": 3.25, "jmlr": 6.0}


def test_that_a_spike_is_drawn_however_many_points_there_are() -> None:
    y = np.zeros(200_000)
    y[77_777] = 9.0
    page = _drawn(_panel(Line(key="l", x=np.arange(200_000.0), y=y)))
    drawn_y = page.axes["p"].lines[0].get_ydata()
    assert np.max(drawn_y) == 9.0
    assert len(drawn_y) <= 4 * 5.5 * 300 + 2


def test_that_limits_hold_all_marks_with_room_and_the_given_ones_are_exact() -> None:
    line = Line(key="l", x=np.array([0.0, 10.0]), y=np.array([1.0, np.nan]))
    target = Rule(key="r", axis="y", at=-4.0)
    (x_low, x_high), (y_low, y_high) = panel_limits(Panel(key="p", marks=(line, target), x=Axis(low=2.0)))
    assert x_low == 2.0
    assert x_high > 10.0
    assert y_low < -4.0
    assert y_high > -4.0


def test_that_y_fits_what_lies_between_given_limits_of_x() -> None:
    line = Line(key="l", x=np.arange(10.0), y=np.array([1e6, *range(9)], dtype=float))
    _, (_, top) = panel_limits(Panel(key="p", marks=(line,), x=Axis(low=1.0, high=9.0)))
    assert top < 10


def test_that_bars_stand_on_the_edge_of_their_panel() -> None:
    bars = Bars(key="b", at=np.arange(3.0), height=np.array([1.0, 2.0, 3.0]))
    _, (low, high) = panel_limits(Panel(key="p", marks=(bars,)))
    assert low == 0
    assert high > 3


def test_that_values_a_log_axis_cannot_show_do_not_change_its_limits() -> None:
    x = np.array([1.0, 10.0, 100.0])
    with_zero = Line(key="l", x=x, y=np.array([0.0, 1.0, 2.0]))
    without = Line(key="l", x=x[1:], y=np.array([1.0, 2.0]))
    log = Axis(scale="log")
    assert (
        panel_limits(Panel(key="p", marks=(with_zero,), y=log))[1]
        == panel_limits(Panel(key="p", marks=(without,), y=log))[1]
    )


def test_that_an_empty_panel_and_a_single_point_can_be_drawn() -> None:
    assert _drawn(_panel()).figure.axes
    assert _drawn(_panel(Points(key="p", x=np.array([3.0]), y=np.array([3.0])), x=Axis(scale="log"))).figure.axes


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (1e18, 1e24, ["$10^{18}$", "$10^{20}$", "$10^{22}$", "$10^{24}$"]),
        (0.9, 110, ["1", "10", "100"]),
        (0.8, 12, ["1", "2", "5", "10"]),
        (2.1, 3.3, ["2.5", "3"]),
        (3e-6, 3e-2, ["$10^{-5}$", "$10^{-4}$", "0.001", "0.01"]),
    ],
)
def test_that_ticks_of_a_log_axis_are_powers_of_ten_or_round(low: float, high: float, labels: list[str]) -> None:
    assert [log_label(tick) for tick in log_ticks(low, high, 4)[0]] == labels


def test_that_a_legend_covers_no_data() -> None:
    rng = np.random.default_rng(0)
    spec = _panel(
        Points(key="full", x=rng.random(3000), y=rng.random(3000), label="all over the panel"),
        Line(key="line", x=np.array([0.0, 1.0]), y=np.array([0.0, 1.0]), label="a line"),
    )
    page = _drawn(spec)
    assert page.axes["p"].get_legend() is None
    box = page.figure.legends[0].get_window_extent()
    assert not box.overlaps(page.axes["p"].get_window_extent())
    free = _drawn(_panel(Line(key="line", x=np.array([0.0, 1.0]), y=np.array([0.0, 1.0]), label="a line")))
    assert free.legends == {"p": ("upper left", 1)}


def test_that_a_label_is_listed_once_for_line_and_band_and_for_all_panels(samples: dict[str, FigureSpec]) -> None:
    curves = samples["curves"].panels[0]
    spec = FigureSpec(panels=(curves, replace(curves, key="again")))
    with settings(WIDE):
        said = [text for text, _ in words_of(drawn(spec, WIDE).figure)]
    assert said.count("baseline") == 1


def test_that_a_legend_of_very_many_says_how_many_it_leaves_out() -> None:
    x = np.array([0.0, 1.0])
    spec = _panel(*(Line(key=str(n), x=x, y=x * n, hue=f"c{n}", label=f"run {n}") for n in range(60)))
    with settings(WIDE):
        said = [text for text, _ in words_of(drawn(spec, WIDE).figure)]
    assert "and 37 more" in said


def test_that_of_words_that_would_overlap_the_first_is_kept(samples: dict[str, FigureSpec]) -> None:
    page = _drawn(samples["reliability"])
    assert page.dropped == {("rel", "over")}


def test_that_words_leaving_their_panel_are_turned_to_the_other_side() -> None:
    spec = _panel(
        Points(key="p", x=np.array([0.0, 1.0]), y=np.array([0.0, 1.0])),
        Text(key="t", x=1.0, y=0.5, text="a label of the last point"),
    )
    page = _drawn(spec)
    assert page.dropped == set()
    assert page.words[0].words.get_horizontalalignment() == "right"


def test_that_a_panel_below_a_square_one_stands_exactly_below_it(samples: dict[str, FigureSpec]) -> None:
    page = _drawn(samples["reliability"])
    above, below = page.axes["rel"].get_position(), page.axes["counts"].get_position()
    assert (above.x0, above.width) == pytest.approx((below.x0, below.width))
    assert not any(label.get_visible() and label.get_text() for label in page.axes["rel"].get_xticklabels())


def test_that_a_point_on_the_edge_is_drawn_whole_and_one_outside_not_at_all() -> None:
    spec = _panel(Points(key="p", x=np.array([0.5, 1.0, 2.0]), y=np.array([0.5, 1.0, 0.5])), x=Axis(low=0, high=1))
    points = next(one for one in _drawn(spec).axes["p"].collections if isinstance(one, PathCollection))
    assert not points.get_clip_on()
    assert points.get_offsets()[:, 0].tolist() == [0.5, 1.0]


def test_that_columns_too_narrow_to_read_are_stacked(samples: dict[str, FigureSpec]) -> None:
    page = _drawn(samples["grid"], NARROW)
    assert len({round(axes.get_position().x1, 6) for axes in page.axes.values()}) == 1


def test_that_a_dollar_sign_in_a_name_is_shown_as_one(samples: dict[str, FigureSpec]) -> None:
    page = _drawn(samples["time"])
    legend = page.axes["time"].get_legend() or page.figure.legends[0]
    assert legend.get_texts()[0].get_text() == r"run cost \$5 of \$10"


def test_that_long_names_are_cut_in_the_middle_and_long_lines_wrapped() -> None:
    with settings(WIDE):
        figure = drawn(_panel(), WIDE).figure
        short = cut(figure, "a/very/long/path/to/a/run/that/ends/in/seed_3", 8, 90)
        assert "…" in short
        assert short.startswith("a/very")
        assert short.endswith("seed_3")
        assert wrapped(figure, "two words", 8, 30, most=3) == ["two", "words"]
        assert len(wrapped(figure, "one after another " * 20, 8, 100, most=2)) == 2


def test_that_opaque_figures_hold_no_transparent_colour(samples: dict[str, FigureSpec]) -> None:
    page = _drawn(samples["curves"], opaque=True)
    lines = page.axes["curves"].lines
    assert all(mpl.colors.to_rgba(line.get_color())[3] == 1 for line in lines)
