"""Arrays that grow, and what is worked out on them."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from runglass.models.growing_array import Growing, as_floats, extremes, falls, finite_values, grown, lineage, rises


def test_that_a_longer_array_leaves_the_shorter_one_as_it_was() -> None:
    one = grown(np.arange(3), np.arange(3, 5))
    two = grown(one, np.array([7]))
    other = grown(one, np.array([9]))
    assert (one.tolist(), two.tolist(), other.tolist()) == ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 7], [0, 1, 2, 3, 4, 9])


def test_that_arrays_that_came_of_one_another_share_a_lineage_over_any_length_and_others_do_not() -> None:
    first = grown(np.zeros(2), np.ones(1))
    last = first
    for number in range(500):
        last = grown(last, np.array([number]))
    assert lineage(first) is not None
    assert lineage(last) is lineage(first)
    branch = grown(first, np.array([5.0]))  # not the newest: what is behind it is taken
    assert lineage(branch) is not lineage(first)
    assert lineage(first[:2]) is lineage(first + 1) is lineage(np.asarray(first)) is lineage(first.copy()) is None
    assert lineage(np.zeros(3)) is None


def test_that_another_type_of_number_begins_a_lineage() -> None:
    whole = grown(np.arange(3), np.arange(2))
    assert lineage(grown(whole, np.array([0.5]))) is not lineage(whole)


def test_that_only_what_is_new_is_looked_at() -> None:
    looked = []

    @Growing
    def total(state: float | None, array: np.ndarray, start: int) -> float:
        looked.append((start, len(array)))
        return (state or 0.0) + float(array[start:].sum())

    one = grown(np.arange(3.0), np.arange(2.0))
    two = grown(one, np.array([10.0]))
    assert total(one) == 4.0
    assert total(two) == total(two) == 14.0
    assert total(one) == 4.0  # an older one
    assert looked == [(0, 5), (5, 6), (0, 5)]


def test_that_what_is_remembered_goes_with_the_arrays() -> None:
    array = grown(np.arange(3.0), np.arange(2.0))
    gone = weakref.ref(lineage(array))
    assert extremes(array) == (0.0, 2.0)
    del array
    gc.collect()
    assert gone() is None


@given(
    arrays.arrays(np.float64, st.integers(1, 30), elements=st.floats(allow_nan=True, allow_infinity=True)),
    st.lists(st.integers(0, 30), min_size=1, max_size=5),
)
@pytest.mark.parametrize("fold", [finite_values, extremes, falls, rises])
def test_that_growing_in_parts_gives_what_the_whole_gives(fold: Growing, values: np.ndarray, cuts: list[int]) -> None:
    array, done = grown(values[:0], values[:0]), 0
    for cut in [*sorted(cuts), len(values)]:
        array = grown(array, values[done : max(done, min(cut, len(values)))])
        done = len(array)
        assert fold(array) == fold(values[:done].copy())


def test_that_floats_of_a_growing_array_grow_as_well() -> None:
    steps = grown(np.arange(3), np.arange(3, 5))
    one = as_floats(steps)
    two = as_floats(grown(steps, np.array([9])))
    assert (one.dtype, one.tolist(), two.tolist()) == (np.float64, [0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 9])
    assert lineage(two) is lineage(one) is not None
    assert as_floats(two) is two
