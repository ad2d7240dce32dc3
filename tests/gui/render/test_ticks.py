import math
from datetime import datetime

import numpy as np
import pytest

from runglass.gui.render.ticks import number, place, ticks, to_axis, to_data, written
from runglass.models.figure import Axis


def test_that_many_decades_are_written_as_powers_of_ten() -> None:
    chosen = ticks(Axis(scale="log"), 18.2, 24.1, 9)
    assert chosen.at == (19.0, 20.0, 21.0, 22.0, 23.0, 24.0)
    assert chosen.texts == ("10¹⁹", "10²⁰", "10²¹", "10²²", "10²³", "10²⁴")


def test_that_decades_without_room_are_minor_ticks() -> None:
    chosen = ticks(Axis(scale="log"), -8.5, -0.5, 4)
    assert chosen.texts == ("10⁻⁸", "10⁻⁶", "10⁻⁴", "10⁻²")
    assert chosen.minor == (-7.0, -5.0, -3.0, -1.0)


def test_that_few_decades_get_minor_ticks_at_the_digits() -> None:
    chosen = ticks(Axis(scale="log"), 0.0, 2.0, 6)
    assert chosen.texts == ("1", "10", "100")
    assert pytest.approx(math.log10(20)) in chosen.minor


def test_that_less_than_a_decade_of_a_log_axis_has_round_numbers_where_they_fall() -> None:
    chosen = ticks(Axis(scale="log"), math.log10(2.2), math.log10(9.5), 5)
    values = [10**at for at in chosen.at]
    assert values == pytest.approx([float(text) for text in chosen.texts])
    assert len(values) >= 3


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0, 500, 1000], ("0", "500", "1000")),
        ([0, 5000, 10000], ("0", "5k", "10k")),
        ([0, 0.5e6, 1e6, 1.5e6], ("0", "0.5M", "1.0M", "1.5M")),
        ([0, 2e9, 4e9], ("0", "2B", "4B")),
        ([-0.2, 0, 0.2], ("−0.2", "0", "0.2")),
        ([1e-6, 2e-6], ("1×10⁻⁶", "2×10⁻⁶")),
        ([1000000, 1000020], ("1\u2009000\u2009000", "1\u2009000\u2009020")),
    ],
)
def test_that_round_numbers_are_written_alike(values: list[float], texts: tuple[str, ...]) -> None:
    assert written(values) == texts


@pytest.mark.parametrize("high", [1.0, 7.3, 1750.0, 3e-5, 8.8e12])
@pytest.mark.parametrize("room", [2, 5, 9])
def test_that_linear_ticks_are_evenly_spaced_inside_the_range_and_fit(high: float, room: int) -> None:
    at = ticks(Axis(), 0.0, high, room).at
    assert min(at) >= 0
    assert max(at) <= high * (1 + 1e-9)
    assert len(at) <= room + 1
    assert np.ptp(np.diff(at)) <= 1e-9 * high


@pytest.mark.parametrize(("low", "high"), [(3.1, 16.2), (3.27, 4.61), (0.95, 1.9), (-1.0, 0.6)])
def test_that_a_low_panel_still_has_two_ticks(low: float, high: float) -> None:
    assert len(ticks(Axis(), low, high, 2).at) >= 2


def test_that_time_ticks_stand_at_midnights_of_a_span_of_days() -> None:
    low = datetime(2026, 3, 2, 7).timestamp()
    chosen = ticks(Axis(scale="time"), low, low + 4 * 86400, 5)
    assert all(datetime.fromtimestamp(at).hour == 0 for at in chosen.at)
    assert chosen.texts[0] == "03 Mar"


def test_that_a_new_day_is_named_among_hours() -> None:
    low = datetime(2026, 3, 2, 20).timestamp()
    assert "03 Mar" in ticks(Axis(scale="time"), low, low + 10 * 3600, 6).texts


def test_that_names_of_categories_without_room_are_skipped() -> None:
    axis = Axis(scale="category", names=tuple("abcdef"))
    assert ticks(axis, -0.5, 5.5, 3).texts == ("a", "c", "e")


@pytest.mark.parametrize("scale", ["linear", "log", "time", "category"])
@pytest.mark.parametrize("ends", [(1.0, 1.0), (2.0, 1.0), (math.nan, 1.0), (0.0, math.inf)])
def test_that_an_impossible_range_has_no_ticks(scale: str, ends: tuple[float, float]) -> None:
    assert ticks(Axis(scale=scale), *ends, 5).at == ()  # type: ignore[arg-type]


def test_that_a_log_axis_shows_no_value_that_is_not_positive() -> None:
    np.testing.assert_array_equal(to_axis(np.array([-1.0, 0.0, 100.0]), "log"), [math.nan, math.nan, 2.0])
    assert to_data(2.0, "log") == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [(3.27841, "3.278"), (math.nan, "NaN"), (-math.inf, "−∞"), (6.02e23, "6.02×10²³"), (0, "0"), (-2, "−2")],
)
def test_that_a_value_is_written_to_four_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_that_a_place_on_a_category_axis_is_its_name() -> None:
    assert place(1.2, Axis(scale="category", names=("a", "b"))) == "b"
    assert place(0.69, Axis()) == "0.69"
