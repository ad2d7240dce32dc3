import math

import numpy as np
import pytest

from runglass.models.reductions import RunColumn, higher_is_better, reduced, run_column
from runglass.models.tables import Curve


def curve(values, steps=None):
    values = np.array(values, dtype=np.float32)
    return Curve(np.arange(len(values)) * 10 if steps is None else np.array(steps), values)


def test_that_the_last_value_is_the_one_logged_last_also_when_it_is_nan():
    assert reduced(curve([1, 2]), "last") == 2
    assert math.isnan(reduced(curve([1, np.nan]), "last"))


def test_that_lowest_and_highest_pass_over_what_is_not_finite():
    values = curve([3, np.nan, -np.inf, 1, np.inf, 2])
    assert reduced(values, "min") == 1
    assert reduced(values, "max") == 3
    assert math.isnan(reduced(curve([np.nan]), "min"))


def test_that_the_best_step_depends_on_the_direction_and_is_the_first_of_equals():
    values = curve([2, 1, 1, 3])
    assert reduced(values, "best") == 10
    assert reduced(values, "best", higher=True) == 30


def test_that_the_value_at_a_step_is_the_one_logged_last_at_or_before_it():
    values = curve([5, 4, 3, 3.5, 2.5], steps=[0, 10, 20, 10, 20])
    assert reduced(values, "at", at=15) == 3.5
    assert reduced(values, "at", at=20) == 2.5
    assert math.isnan(reduced(values, "at", at=-1))
    assert math.isnan(reduced(values, "at", at=None))


def test_that_the_mean_is_of_the_last_values_and_hides_no_nan():
    assert reduced(curve([9, 1, 2, 3]), "mean", last=3) == 2
    assert math.isnan(reduced(curve([1, np.nan]), "mean", last=2))


def test_that_an_empty_curve_has_no_number():
    assert math.isnan(reduced(curve([]), "max"))


@pytest.mark.parametrize(
    ("tag", "high"),
    [("val/acc", True), ("val_loss", False), ("score_loss", False), ("ep_rew_mean", True), ("lr", False)],
)
def test_that_names_tell_which_direction_is_better(tag, high):
    assert higher_is_better(tag) is high


@pytest.mark.parametrize("text", ["last:val_loss", "mean25:a:b", "config:model.lr", "status", "at:x"])
def test_that_a_column_survives_its_text(text):
    assert str(run_column(text)) == text


def test_that_a_tag_may_hold_a_colon_and_nonsense_is_no_column():
    assert run_column("max:a:b") == RunColumn("max", "a:b")
    assert run_column("none") is None
    assert run_column("median:x") is None
    assert run_column("last:") is None


@pytest.mark.parametrize(
    ("text", "title", "tooltip"),
    [
        ("last:loss", "loss", "Last value of loss"), ("config:lr", "lr", "lr in the configuration"),
        ("min:loss", "min loss", "Lowest finite value of loss"), ("max:acc", "max acc", "Highest finite value of acc"),
        ("best:loss", "best step, loss", "Step at which loss is lowest"),
        ("best:acc", "best step, acc", "Step at which acc is highest"),
        ("at:loss", "loss at cursor", "Value of loss logged last at or before the step cursor"),
        ("mean3:loss", "mean 3, loss", "Mean of the last 3 values of loss"), ("status", "status", "How the run ended"),
        ("events", "events", "Spikes, divergence, restarts and plateaus of the run's loss"),
    ],
)  # fmt: skip
def test_that_a_column_says_what_it_shows(text, title, tooltip):
    column = run_column(text)
    assert (str(column), column.title, column.help) == (text, title, tooltip)
