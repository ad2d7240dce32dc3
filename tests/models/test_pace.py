from collections.abc import Sequence

import numpy as np
import pytest

from runglass.models.pace import LIVE_SHARE, LONGEST, SHORTEST, SOONEST, LivePace, rest


@pytest.mark.parametrize("cost", [1e-4, 0.01, 0.03, 0.2])
def test_that_looking_costs_at_most_two_percent_of_a_processor_while_nothing_happens(cost: float) -> None:
    assert cost / rest(cost, cost, found=False) <= 0.02


def test_that_a_slow_mount_is_asked_seldom_but_is_asked() -> None:
    assert rest(0.01, 2.0, found=False) == pytest.approx(10)
    assert rest(5.0, 100.0, found=False) == LONGEST


def test_that_what_grows_is_looked_at_every_second() -> None:
    assert rest(0.2, 0.3, found=True) == rest(0.0, 0.0, found=False) == SHORTEST


def followed(costs: Sequence[float]) -> np.ndarray:
    """Give the seconds between looks of which each costs the program so much of a processor."""
    pace, processor, now, apart = LivePace(), 0.0, 0.0, []
    for cost in costs:
        pace.begin(processor, now)
        processor += cost
        apart.append(max(cost, pace.rest(processor, now)))
        now += apart[-1]
    return np.array(apart)


@pytest.mark.parametrize("cost", [0.03, 0.066, 0.15])
def test_that_following_costs_less_than_a_quarter_of_a_processor_whatever_is_drawn_for_it(cost: float) -> None:
    apart = followed([cost] * 400)
    assert 400 * cost / apart.sum() < 0.25
    assert apart[-1] == pytest.approx(cost / LIVE_SHARE)


def test_that_what_is_cheap_is_looked_at_often_and_what_is_dear_once_a_second() -> None:
    assert followed([0.001] * 50) == pytest.approx(SOONEST)
    assert followed([0.9] * 200)[-1] == pytest.approx(SHORTEST, rel=0.01)


def test_that_one_look_that_costs_more_is_made_up_for_by_many_a_little_later() -> None:
    costs = np.full(400, 0.04)
    costs[50::50] = 0.14
    apart = followed(costs)[100:]
    assert costs[100:].sum() / apart.sum() < 0.25
    assert apart.max() < 1.2 * np.median(apart)


def test_that_seconds_of_computing_for_the_user_slow_following_down_for_a_few_seconds_only() -> None:
    apart = followed([0.04] * 200 + [20.0] + [0.04] * 50)
    before, after = apart[199], apart[201:]
    assert after.max() < 2.5 * before
    assert after[np.cumsum(after) > 8.0].max() < 1.2 * before
