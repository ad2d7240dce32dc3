import pytest

from runglass.models.figure import Clauses, Keys
from runglass.models.linking import Emphasis
from runglass.models.selection import EVERYTHING, All, Between, Holds, is_in


def emphasised(store, highlight, origin):
    found = Emphasis(store, highlight).of(origin)
    return None if found is None else found.tolist()


RUNS = Keys("run", ("runs/big/s0", "runs/big/s1", "runs/small/s0"))


def test_that_a_brush_over_sizes_emphasises_the_curves_of_those_runs(store):
    assert emphasised(store, Between("params", 2e6, 9e6), RUNS) == [True, True, False]


def test_that_keys_are_compared_without_making_a_table(store):
    assert emphasised(store, is_in("run", ["runs/small/s0"]), RUNS) == [False, False, True]
    assert "_all_runs" not in store.__dict__


def test_that_a_bin_of_confidence_emphasises_its_items_and_no_run(store):
    bin_ = All((Between("confidence", 0.85, 1), is_in("version", ["v2"])))
    assert emphasised(store, bin_, Keys("item", ("a", "b", "c"))) == [True, False, False]
    assert emphasised(store, bin_, RUNS) is None


def test_that_items_emphasise_the_bins_they_fall_into(store):
    bins = Clauses(
        "predictions", (Between("confidence", 0, 0.5), Between("confidence", 0.5, 0.75), Between("confidence", 0.75, 1))
    )
    assert emphasised(store, is_in("item", ["b"]), bins) == [False, True, True]


def test_that_the_element_that_was_clicked_is_the_only_one_of_its_mark(store):
    groups = Clauses("runs", (Holds("seed == 0"), Holds("params > 0")))
    assert emphasised(store, Holds("seed == 0"), groups) == [True, False]


def test_that_a_highlight_that_does_not_fit_the_values_emphasises_nothing(store):
    assert emphasised(store, Holds("item < 3"), Keys("item", ("a", "b"))) == [False, False]


@pytest.mark.parametrize("nothing", [None, EVERYTHING])
def test_that_no_highlight_emphasises_nothing(store, nothing):
    assert not Emphasis(store, nothing)
    assert emphasised(store, nothing, RUNS) is None


def test_that_a_mark_without_origin_is_left_alone(store):
    assert emphasised(store, is_in("run", ["x"]), None) is None


def test_that_runs_brushed_emphasise_the_values_they_logged(store):
    values = Clauses("scalars", (is_in("run", ["runs/big/s0"]), is_in("tag", ["acc"]), Between("value", 4.5, 9)))
    assert emphasised(store, is_in("run", ["runs/big/s1"]), values) == [False, True, False]
    # Sizes are told in another table: the runs are found there, their rows here.
    assert emphasised(store, Between("params", 0, 2e6), values) == [False, False, True]
    assert emphasised(store, is_in("no such column", ["x"]), values) is None


def test_that_a_highlight_that_does_not_read_on_a_table_says_nothing_of_its_marks(store):
    assert emphasised(store, Between("params", 0, 2e6), Clauses("predictions", (is_in("item", ["a"]),))) is None
    assert emphasised(store, is_in("run", ["runs/big/s0"]), Clauses("scores", (is_in("model", ["m"]),))) is None
