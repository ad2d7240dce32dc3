import pytest

from runglass.models.pace import LONGEST, SHORTEST, SOONEST, live_rest, rest


@pytest.mark.parametrize("cost", [1e-4, 0.01, 0.03, 0.2])
def test_that_looking_costs_at_most_two_percent_of_a_processor_while_nothing_happens(cost: float) -> None:
    assert cost / rest(cost, cost, found=False) <= 0.02


def test_that_a_slow_mount_is_asked_seldom_but_is_asked() -> None:
    assert rest(0.01, 2.0, found=False) == pytest.approx(10)
    assert rest(5.0, 100.0, found=False) == LONGEST


def test_that_what_grows_is_looked_at_every_second() -> None:
    assert rest(0.2, 0.3, found=True) == rest(0.0, 0.0, found=False) == SHORTEST


def test_that_following_costs_less_than_a_quarter_of_a_processor_whatever_is_drawn_for_it() -> None:
    assert live_rest(0.066, 0.1) == pytest.approx(0.2)  # 66 ms every 300 ms
    assert live_rest(0.001, 0.03) == pytest.approx(SOONEST - 0.03)
    assert live_rest(60.0, 0.4) == pytest.approx(SHORTEST - 0.4)
    assert live_rest(0.01, 2.0) <= 0
