"""Work on an existing Dask cluster, reached as ``dask://HOST:PORT``.

The package `distributed` is imported when a cluster is first used. The cluster is trusted: Dask sends functions and values
between its machines in its own way, which runs code on them.

How blocks are worked off:

1. On first use the versions of scheduler and workers are compared with those here; others are refused, because the same seed
   gives the same draws and the same sums only under the same versions. A worker that joins later is asked with every block.
2. Blocks are handed in as the first of those before them come back, so that neither scheduler nor client ever holds more than
   a few a thread; what a function carries with it goes to the workers once.
3. Results come back in the order of the blocks, which is the order they are merged in, here as on one machine.
4. A block whose worker is lost is computed anew by another. When the scheduler is lost, or no worker is left for a minute, that
   is said and the work ends.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import logging
import os
import socket
import threading
import time
import uuid
import warnings
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, TypeVar
from urllib.parse import urlsplit

from .errors import Cancelled, ReadError, RunglassError
from .progress import Progress, quiet

Client = Any
Future = Any
"""Of `distributed`, which is only there where it is wanted, and not typed throughout."""

Block = TypeVar("Block")
Partial = TypeVar("Partial")
_T = TypeVar("_T")

_PORT = 8786
_REACHED_SECONDS = 5.0
_LOOK_SECONDS = 0.1
_COUNT_SECONDS = 2.0
_STOP_SECONDS = 0.4
_BLOCKS_OF_A_THREAD = 3
_FEWEST_IN_FLIGHT = 16
_SENT_ONCE_BYTES = 64 << 10
_AGAIN = 3
_SAME = ("runglass", "numpy", "pandas", "scipy")
"""Packages whose versions have to be equal everywhere."""


@dataclass(frozen=True, slots=True)
class ClusterState:
    """What a cluster has.

    Attributes
    ----------
    workers, threads : int
        Worker processes, and blocks they compute at once.
    memory : int
        Bytes all workers may use; 0 where that is not limited.
    """

    workers: int
    threads: int
    memory: int


class Cluster:
    """Blocks spread over the workers of a Dask cluster; see the module's docstring.

    Parameters
    ----------
    name : str
        ``dask://HOST:PORT``; the port is 8786 where none is named.
    patience : float
        Seconds for which no worker need be there.

    Raises
    ------
    RunglassError
        When the address cannot be understood. Nothing is connected to yet.
    """

    def __init__(self, name: str, *, patience: float = 60.0) -> None:
        parts = urlsplit(name)
        try:
            self._host, port = parts.hostname or "", parts.port
        except ValueError:  # a port that is no number
            self._host, port = "", None
        if parts.scheme != "dask" or not self._host or parts.path not in ("", "/") or parts.query or parts.username:
            raise RunglassError(f"{name!r} is no address of a Dask cluster.", remedy="Write dask://HOST:PORT.")
        self._port = _PORT if port is None else port
        shown = f"[{self._host}]" if ":" in self._host else self._host
        self.name = f"dask://{shown}:{self._port}"
        self._address = f"tcp://{shown}:{self._port}"
        self.patience = patience
        self._client: Client | None = None
        self._lock = threading.Lock()

    # -- connecting -----------------------------------------------------------------------------------------------------

    def look(self, progress: Progress = quiet) -> ClusterState:
        """Connect, and give what is there.

        Raises
        ------
        RunglassError
            When nothing answers, something else than Dask does, or versions differ.
        Cancelled
            When `progress` says so.
        """
        client = self._connected()
        info = self._awaited(client, client.scheduler.identity(n_workers=-1), lambda: progress(0, 0))
        workers = info["workers"].values()
        limits = [int(one.get("memory_limit") or 0) for one in workers]
        return ClusterState(
            len(workers), sum(int(one["nthreads"]) for one in workers), sum(limits) if all(limits) else 0
        )

    def close(self) -> None:
        """End the connection; the cluster goes on without it."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close(timeout=_STOP_SECONDS)

    def _connected(self) -> Client:
        with self._lock:
            if self._client is not None and self._client.status == "running":
                return self._client
            distributed = _distributed()
            self._knock()
            client = self._opened(distributed)
            try:
                self._refuse_other_versions(client)
            except BaseException:
                client.close(timeout=_STOP_SECONDS)
                raise
            self._client = client
            return client

    def _opened(self, distributed: Any) -> Client:
        """Give a connection, or say that there is none; what listens and never answers would be waited for long."""
        opened: list[Client] = []
        failures: list[BaseException] = []
        is_late = threading.Event()

        def open_it() -> None:
            try:
                client = distributed.Client(
                    self._address,
                    timeout=_REACHED_SECONDS,
                    set_as_default=False,
                    name="runglass",
                    heartbeat_interval="2s",
                )
            except BaseException as error:  # it is told where it is waited for
                failures.append(error)
            else:
                opened.append(client)
                if is_late.is_set():
                    client.close(timeout=_STOP_SECONDS)

        thread = threading.Thread(target=open_it, name="cluster", daemon=True)
        thread.start()
        thread.join(2 * _REACHED_SECONDS)
        if opened:
            return opened[0]
        is_late.set()
        raise RunglassError(
            f"What answers at {self.name} is no Dask scheduler, or one of a version that does not understand ours.",
            remedy=f"Is it the port of the dashboard? Dask here is {distributed.__version__}.",
        ) from (failures[0] if failures else None)

    def _knock(self) -> None:
        """Find out in seconds whether anything listens."""
        try:
            socket.create_connection((self._host, self._port), timeout=_REACHED_SECONDS).close()
        except OSError as error:
            why = (
                "the name is not known" if isinstance(error, socket.gaierror) else error.strerror or "no answer in time"
            )
            raise RunglassError(
                f"No Dask scheduler answers at {self.name} ({why}).",
                remedy="Start one (dask scheduler), or check host and port.",
            ) from error

    def _refuse_other_versions(self, client: Client) -> None:
        told = client.get_versions(packages=list(_SAME))
        here = versions()
        named = {"the scheduler": told["scheduler"], **{f"the worker {at}": one for at, one in told["workers"].items()}}
        for who, one in named.items():
            theirs = {name: one["packages"].get(name) for name in _SAME} | {
                "python": ".".join(one["host"]["python"].split(".")[:2])
            }
            if who == "the scheduler":
                # It passes work on and computes nothing; what it must have is what it has to recognise.
                theirs = {**here, "runglass": theirs["runglass"]}
            if differs := difference(theirs, here):
                raise RunglassError(
                    f"{who[0].upper()}{who[1:]} of {self.name} cannot be used: {differs}.",
                    remedy="Install the same versions on scheduler and workers.",
                )

    # -- working --------------------------------------------------------------------------------------------------------

    def map(
        self, function: Callable[[Block], Partial], blocks: Sequence[Block], progress: Progress = quiet
    ) -> list[Partial]:
        """Give the partial results in the order of the blocks; raises what `stream` does."""
        return list(self.stream(function, blocks, progress))

    def stream(
        self, function: Callable[[Block], Partial], blocks: Sequence[Block], progress: Progress = quiet
    ) -> Generator[Partial, None, None]:
        """Give the partial results in the order of the blocks.

        Raises
        ------
        Cancelled
            When `progress` says so; blocks that wait are taken back, those being computed are finished and thrown away.
        RunglassError
            When the cluster cannot be reached or used, its scheduler is lost, no worker is left, or a block is lost again
            and again with the worker that computes it.
        """
        total = len(blocks)
        progress(0, total)
        if not total:
            return
        client = self._connected()
        work = _Work(self, client, function, progress, total)
        try:
            for number, block in enumerate(blocks):
                while work.is_full:
                    yield from work.next_results()
                work.submit(number, block)
            while work.given < total:
                yield from work.next_results()
        except (Cancelled, KeyboardInterrupt, GeneratorExit, RunglassError):
            raise
        except BaseException as error:
            said = self._sentence(error, client)
            if said is None:
                raise
            raise said from error
        finally:
            work.stop()

    def _awaited(self, client: Client, asked: Coroutine[Any, Any, _T], tick: Callable[[], None]) -> _T:
        """Give what a coroutine of the client gives; `tick` is called meanwhile and may raise."""
        answer = asyncio.run_coroutine_threadsafe(asked, client.loop.asyncio_loop)
        try:
            while True:
                done, _ = concurrent.futures.wait([answer], _LOOK_SECONDS)
                if done:
                    return answer.result()
                tick()
        finally:
            answer.cancel()

    def _sentence(self, error: BaseException, client: Client) -> RunglassError | None:
        """Give what to tell of an error of the cluster; None for one of the work itself."""
        distributed = _distributed()
        chain: list[BaseException] = []
        one: BaseException | None = error
        while one is not None and one not in chain:
            chain.append(one)
            one = one.__cause__ or one.__context__
        cancelled = (concurrent.futures.CancelledError, asyncio.CancelledError)
        if client.status != "running" or isinstance(error, (distributed.comm.CommClosedError, *cancelled)):
            return RunglassError(
                f"The scheduler of {self.name} was lost, or it dropped the work.",
                remedy="Is it still running? Ask again when it is.",
            )
        if isinstance(error, distributed.scheduler.KilledWorker):
            return RunglassError(
                f"A block was given up: the worker that computed it was lost {_AGAIN + 1} times, perhaps because its memory "
                "ran out.",
                remedy="Give workers more memory, or fewer threads each.",
            )
        if any(isinstance(one, ImportError) and "runglass" in f"{one.name} {one}" for one in chain) or (
            "No module named 'runglass" in str(error)
        ):
            return RunglassError(
                f"Scheduler or a worker of {self.name} has no runglass {versions()['runglass']}.",
                remedy="Install the same version there.",
            )
        return None


class _Work:
    """Blocks of one call on their way.

    Attributes
    ----------
    given : int
        How many results were given.
    """

    def __init__(
        self, cluster: Cluster, client: Client, function: Callable[[Any], Any], progress: Progress, total: int
    ) -> None:
        self._cluster, self._client, self._progress, self._total = cluster, client, progress, total
        self._key = f"runglass-{uuid.uuid4().hex[:12]}"
        self._flight: deque[tuple[int, Any, Future]] = deque()
        self._threads, self._counted, self._alone_since = 0, 0.0, 0.0
        self._lost = 0
        self._done = 0
        self.given = 0
        self._function = function
        self._is_sent_once = len(_distributed().protocol.pickle.dumps(function)) > _SENT_ONCE_BYTES
        self._count_threads()
        self._sent: Future | None = self._sent_function() if self._is_sent_once else None

    @property
    def is_full(self) -> bool:
        """Whether as many blocks are on their way as may be."""
        return len(self._flight) >= max(_FEWEST_IN_FLIGHT, _BLOCKS_OF_A_THREAD * self._threads)

    def submit(self, number: int, block: Any) -> None:
        """Hand in a block."""
        self._flight.append((number, block, self._submitted(number, block)))

    def next_results(self) -> Iterator[Any]:
        """Wait until the first block that is on its way is done; give its result, and those of done ones behind it."""
        while not self._flight[0][2].done():
            self._wait()
        ready: list[Future] = []
        for _, _, future in self._flight:
            if not future.done():
                break
            ready.append(future)
        if any(future.status in ("cancelled", "lost") for future in ready):
            self._hand_in_again()
            return
        results = self._cluster._awaited(self._client, self._client.gather(ready, asynchronous=True), self._tick)
        del ready
        for result in results:
            self._flight.popleft()
            self.given += 1
            yield result
            self._tell()

    def stop(self) -> None:
        """Take back what is still on its way, without waiting for an answer for long."""
        futures = [future for _, _, future in self._flight]
        self._flight.clear()
        if self._sent is not None:
            futures.append(self._sent)
            self._sent = None
        if not futures or self._client.status != "running":
            return
        asked = self._client.cancel(futures, asynchronous=True, force=True)
        answer = asyncio.run_coroutine_threadsafe(asked, self._client.loop.asyncio_loop)
        concurrent.futures.wait([answer], _STOP_SECONDS)

    def _submitted(self, number: int, block: Any) -> Future:
        carried = _Carried(None if self._is_sent_once else self._function, block, tuple(versions().items()))
        with warnings.catch_warnings():
            # Of graphs of many megabytes; a block is handed in alone, and few at a time.
            warnings.filterwarnings("ignore", message="Sending large graph", category=UserWarning)
            return self._client.submit(
                _computed, carried, self._sent, key=f"{self._key}-{number}-{self._lost}", pure=False
            )

    def _sent_function(self) -> Future:
        """Give the function as every worker has it."""
        self._wait_for_workers()
        asked = self._client.scatter([self._function], broadcast=True, hash=False, asynchronous=True)
        return self._cluster._awaited(self._client, asked, self._tick)[0]

    def _hand_in_again(self) -> None:
        """Hand in anew what the scheduler gave up because all workers that had the function are lost."""
        self._lost += 1
        if self._sent is None or self._lost > _AGAIN or self._client.status != "running":
            raise concurrent.futures.CancelledError
        self._sent = self._sent_function()
        waiting = list(self._flight)
        self._flight.clear()
        for number, block, _ in waiting:
            self.submit(number, block)

    def _wait(self) -> None:
        # What was cancelled is seen by its status.
        with self._client.as_current(), contextlib.suppress(TimeoutError, concurrent.futures.CancelledError):
            _distributed().wait([self._flight[0][2]], timeout=_LOOK_SECONDS)
        self._tick()

    def _wait_for_workers(self) -> None:
        while not self._threads:
            time.sleep(_LOOK_SECONDS)
            self._tick()

    def _tick(self) -> None:
        """Tell progress, hear a cancel, and see now and then whether there are workers."""
        self._done = max(self._done, self.given + sum(future.done() for _, _, future in self._flight))
        self._tell()
        if self._client.status != "running":
            raise concurrent.futures.CancelledError
        if time.monotonic() - self._counted > _COUNT_SECONDS:
            self._count_threads()

    def _tell(self) -> None:
        """Tell how many blocks are done; what was lost with a worker and is computed again counts as done."""
        self._done = max(self._done, self.given)
        self._progress(self._done, self._total, "" if self._threads else "waiting for workers")

    def _count_threads(self) -> None:
        """See how many blocks can be computed at once.

        Raises
        ------
        RunglassError
            When there has been no worker for too long.
        """
        asked = asyncio.run_coroutine_threadsafe(self._client.scheduler.ncores(), self._client.loop.asyncio_loop)
        done, _ = concurrent.futures.wait([asked], _COUNT_SECONDS)
        self._counted = time.monotonic()
        if not done or asked.exception() is not None:
            return
        self._threads = sum(asked.result().values())
        if self._threads:
            self._alone_since = 0.0
            return
        self._alone_since = self._alone_since or time.monotonic()
        waited = time.monotonic() - self._alone_since
        if waited > self._cluster.patience:
            raise RunglassError(
                f"{self._cluster.name} has had no worker for {waited:.0f} s.",
                remedy=f"Start some there (dask worker {self._cluster._host}:{self._cluster._port}).",
            )


@dataclass(frozen=True, slots=True)
class _Carried:
    """A block as it goes to a worker; a value Dask does not look into.

    Attributes
    ----------
    function : callable or None
        What to do with it; None where workers have been sent it.
    versions : tuple of (str, str)
        Versions of who asks.
    """

    function: Callable[[Any], Any] | None
    block: Any
    versions: tuple[tuple[str, str | None], ...]


def _computed(carried: _Carried, function: Callable[[Any], Any] | None) -> Any:
    """Compute a block; runs on a worker."""
    if differs := difference(versions(), dict(carried.versions)):
        raise RunglassError(
            f"The worker on {socket.gethostname()} cannot be used: {differs}.",
            remedy="Install the same versions there.",
        )
    done = carried.function or function
    assert done is not None
    try:
        return done(carried.block)
    except (FileNotFoundError, PermissionError) as error:
        place = error.filename or error
        raise ReadError(
            f"The worker on {socket.gethostname()} cannot read {place} ({error.strerror or 'it is not there'}).",
            remedy="Put files where all workers see them under the same name, or open them by an address (s3://...) for "
            "which the workers have credentials.",
        ) from error


@functools.cache
def versions() -> dict[str, str | None]:
    """Give the versions that have to be equal on all machines; None for a package that is not installed."""
    import sys

    found: dict[str, str | None] = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in _SAME:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def difference(theirs: dict[str, str | None], ours: dict[str, str | None]) -> str:
    """Say what differs between the versions of another machine and those of this one; empty where nothing does."""
    said = [
        f"it has no {name}" if theirs.get(name) is None else f"it has {name} {theirs[name]}, here is {version}"
        for name, version in ours.items()
        if theirs.get(name) != version
    ]
    return ", and ".join(sorted(said, key=lambda text: "runglass" not in text))


def _distributed() -> Any:
    """Import the package.

    Raises
    ------
    RunglassError
        When it is not installed; it says what to install.
    """
    try:
        import distributed
    except ImportError as error:
        raise RunglassError(
            "The package that talks to Dask clusters is not installed.",
            remedy="Install it with: pip install 'runglass[dask]'",
        ) from error
    if not os.environ.get("RUNGLASS_DEBUG"):
        # What happens to the connection is said in sentences; its own log would print tracebacks beside them.
        for name in ("distributed.client", "distributed.comm", "distributed.core", "distributed.batched"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return distributed
