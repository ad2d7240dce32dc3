"""The range that most curves share."""

import numpy as np
import pytest

from runglass.analysis.common_range import common_range


def falling(top):
    return np.array([top, 3.0, 2.0, 1.5])


def crowd(*tops):
    return [falling(5.0 + 0.1 * n) for n in range(20)] + [falling(top) for top in tops]


def test_that_one_curve_that_ran_away_leaves_the_panel_and_is_told():
    found = common_range(crowd(40.0))
    assert found.low < 1.5
    assert 6.9 < found.high < 8
    assert (found.beyond, found.farthest) == (1, 40.0)
    assert found.said(21) == ", 1 of 21 leaves the panel (to 40)"


def test_that_curves_that_went_below_the_rest_are_told_as_well():
    found = common_range([*crowd(), np.array([2.0, -300.0]), np.array([2.0, -200.0])])
    assert found.low > 1
    assert (found.beyond, found.farthest) == (2, -300.0)


@pytest.mark.parametrize(
    "curves", [crowd(), crowd(9.0), crowd(40.0)[-5:], crowd(*[40.0] * 8), [np.full(3, 2.0)] * 20, []]
)
def test_that_nothing_is_left_out_where_no_few_are_far_beyond_the_rest(curves):
    found = common_range(curves)
    assert (found.low, found.high, found.beyond, found.said(len(curves))) == (None, None, 0, "")


def test_that_a_log_axis_holds_all_curves():
    assert common_range(crowd(40.0), log=True).beyond == 0


def test_that_a_target_stays_in_sight():
    assert common_range(crowd(40.0), also=(12.0,)).high > 12


def test_that_values_that_are_not_finite_say_nothing():
    one = common_range(crowd(40.0))
    other = common_range([*crowd(40.0), np.array([np.nan, np.inf]), np.array([])])
    assert (one.low, one.high) == (other.low, other.high)
