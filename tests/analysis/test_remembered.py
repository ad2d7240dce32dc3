"""What is kept of a store, and for how long."""

import gc
import weakref

import pytest

from runglass.analysis.remembered import Remembered
from runglass.models.store import RunStore


def test_that_a_value_is_made_once_for_a_store_and_key() -> None:
    store, calls = RunStore(), []
    remembered = Remembered[int]()

    def make() -> int:
        calls.append(1)
        return 7

    assert [remembered.of(store, "a", make), remembered.of(store, "a", make)] == [7, 7]
    assert len(calls) == 1
    assert remembered.of(RunStore(), "a", make) == 7
    assert len(calls) == 2


def test_that_the_value_asked_for_longest_ago_is_let_go_first() -> None:
    store = RunStore()
    remembered, made = Remembered[str](most=2), []

    def ask(key: str) -> str:
        return remembered.of(store, key, lambda: made.append(key) or key)

    for key in ("a", "b", "a", "c", "a", "b"):
        assert ask(key) == key
    assert made == ["a", "b", "c", "b"]


def test_that_what_was_made_goes_with_its_store() -> None:
    class Dear:
        pass

    store = RunStore()
    remembered = Remembered[Dear]()
    seen = weakref.ref(remembered.of(store, "a", Dear))
    assert seen() is not None
    del store
    gc.collect()
    assert seen() is None


def test_that_a_value_that_could_not_be_made_is_asked_for_again() -> None:
    store = RunStore()
    remembered = Remembered[int]()

    def fail() -> int:
        raise ValueError("not now")

    for _ in range(2):
        with pytest.raises(ValueError, match="not now"):
            remembered.of(store, "a", fail)
    assert remembered.of(store, "a", lambda: 3) == 3
