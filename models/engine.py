"""Where heavy work runs: in this process, in several local ones, or on a Dask cluster.

Work is written once, as a function over blocks whose partial results can be merged; an engine decides where the blocks
run. The embedded default needs nothing and is what small questions use. Every engine gives results in the order of the
blocks, so that serial and parallel answers are equal to the last bit.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextvars import ContextVar
from typing import Protocol, TypeVar

from .errors import RunglassError
from .progress import Progress, quiet

Block = TypeVar("Block")
Partial = TypeVar("Partial")

CLUSTER_PROTOCOL = "dask://"


class Engine(Protocol):
    """Runs one function over many blocks.

    Attributes
    ----------
    name : str
        As a user asks for it: ``local``, ``processes`` or ``dask://HOST:PORT``.
    """

    name: str

    def stream(
        self, function: Callable[[Block], Partial], blocks: Sequence[Block], progress: Progress = quiet
    ) -> Generator[Partial, None, None]:
        """Give ``function(block)`` for every block, in that order, each as soon as those before it have been given.

        Whoever adds partial results up holds one of them at a time. Close the iterator where it is not read to its end.

        Raises
        ------
        Cancelled
            When `progress` says so; no further block is started.
        RunglassError
            When blocks cannot be computed where the engine computes them.
        """
        ...

    def map(
        self, function: Callable[[Block], Partial], blocks: Sequence[Block], progress: Progress = quiet
    ) -> list[Partial]:
        """Give ``[function(block) for block in blocks]``, in that order.

        Raises
        ------
        Cancelled, RunglassError
            As `stream`.
        """
        return list(self.stream(function, blocks, progress))

    def close(self) -> None:
        """Let go of what the engine holds (connections); it may be used again."""
        return  # Most hold nothing.


class InProcess(Engine):
    """One block after the other, in this process."""

    name = "local"

    def stream(
        self, function: Callable[[Block], Partial], blocks: Sequence[Block], progress: Progress = quiet
    ) -> Generator[Partial, None, None]:
        """Give the partial results in the order of the blocks, each computed when it is asked for."""
        for number, block in enumerate(blocks):
            progress(number, len(blocks))
            yield function(block)
        progress(len(blocks), len(blocks))


class Processes(Engine):
    """Blocks spread over local worker processes, through joblib.

    Parameters
    ----------
    workers : int
        How many processes; -1 means one per core.
    """

    name = "processes"

    def __init__(self, workers: int = -1) -> None:
        self.workers = workers

    def stream(
        self, function: Callable[[Block], Partial], blocks: Sequence[Block], progress: Progress = quiet
    ) -> Generator[Partial, None, None]:
        """Give the partial results in the order of the blocks.

        Raises
        ------
        Cancelled
            When `progress` says so.
        RunglassError
            When a worker dies, as it does where memory runs out; the next call gets new ones.
        """
        import joblib  # kept off the start-up path
        from joblib.externals.loky.process_executor import BrokenProcessPool

        progress(0, len(blocks))
        parallel = joblib.Parallel(n_jobs=self.workers, return_as="generator")
        results = parallel(joblib.delayed(function)(block) for block in blocks)
        given = 0
        try:
            for partial in results:
                given += 1
                yield partial
                progress(given, len(blocks))
        except BrokenProcessPool as error:
            raise RunglassError(
                "A worker process was killed, perhaps because memory ran out.", remedy="Use the engine 'local'."
            ) from error
        finally:
            # Closing the generator tells joblib to drop what has not started, so that a cancel is prompt.
            results.close()


LOCAL = InProcess()


def engine_named(name: str) -> Engine:
    """Give the engine a user asked for by name (``local``, ``processes`` or ``dask://HOST:PORT``).

    A cluster is connected to when it is first used.

    Raises
    ------
    RunglassError
        When there is none of that name, or none here.
    """
    if name == "local":
        return LOCAL
    if name == "processes":
        if getattr(sys, "frozen", False):
            # joblib starts workers as `sys.executable -m ...`, and the program of a bundle is no Python.
            raise RunglassError("A bundle of Runglass cannot start further processes.", remedy="Use 'local'.")
        return Processes()
    if name.startswith(CLUSTER_PROTOCOL):
        from .cluster import Cluster

        return Cluster(name)
    raise RunglassError(
        f"There is no engine called {name!r}.", remedy="Use 'local', 'processes' or the address of a Dask scheduler "
        f"({CLUSTER_PROTOCOL}HOST:PORT)."
    )  # fmt: skip


_in_use: ContextVar[tuple[Engine, Progress] | None] = ContextVar("_in_use", default=None)


@contextlib.contextmanager
def using(engine: Engine, progress: Progress = quiet) -> Iterator[None]:
    """Let work that is handed no engine of its own run on this one: what a question looks up while it is resolved."""
    token = _in_use.set((engine, progress))
    try:
        yield
    finally:
        _in_use.reset(token)


def in_use(engine: Engine, progress: Progress) -> tuple[Engine, Progress]:
    """Give the engine and progress that `using` says, in place of the defaults."""
    said = _in_use.get()
    if said is None or engine is not LOCAL:
        return engine, progress
    return said[0], said[1] if progress is quiet else progress
