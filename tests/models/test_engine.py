import math
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runglass.models.engine import InProcess, Processes, engine_named
from runglass.models.errors import Cancelled, RunglassError
from runglass.models.progress import CancellableProgress


def square_root(block: float) -> float:
    return math.sqrt(block)


@given(st.lists(st.floats(0, 1e9), max_size=20))
def test_that_partial_results_come_in_the_order_of_the_blocks(blocks):
    assert InProcess().map(square_root, blocks) == [math.sqrt(block) for block in blocks]


@pytest.mark.allow_leaks  # joblib keeps its worker processes for the next call
def test_that_processes_give_what_one_process_gives():
    blocks = [float(i) for i in range(50)]
    assert Processes(2).map(math.sqrt, blocks) == InProcess().map(math.sqrt, blocks)


def test_that_progress_goes_from_none_to_all():
    said = []
    InProcess().map(square_root, [1.0, 4.0], CancellableProgress(lambda done, total, _: said.append((done, total))))
    assert said == [(0, 2), (1, 2), (2, 2)]


@settings(max_examples=20)
@given(st.integers(0, 9))
def test_that_no_block_is_started_after_a_cancel(after):
    progress = CancellableProgress()
    started = []

    def work(block: int) -> int:
        started.append(block)
        if block == after:
            progress.cancel()
        return block

    with pytest.raises(Cancelled):
        InProcess().map(work, range(10), progress)
    assert started == list(range(after + 1))


def test_that_an_unknown_engine_is_refused_with_the_ones_there_are():
    with pytest.raises(RunglassError, match="'local', 'processes' or the address of a Dask scheduler"):
        engine_named("cluster")


def test_that_a_bundle_refuses_processes_as_its_program_is_no_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(RunglassError, match="cannot start further processes"):
        engine_named("processes")
    assert engine_named("local").name == "local"
