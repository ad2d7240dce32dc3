"""Reading what was opened: all of it once, then whatever is new.

Runs are listed as soon as they are found, in an order that does not depend on which file is read first; their
curves follow while the rest is read by several threads. Whatever goes wrong with one source becomes a problem of that source.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .column_map import ColumnMap
from .discovery import Discovery, as_text
from .errors import Cancelled, ReadError
from .progress import Progress, quiet
from .readers.base import Cursor, Reader, Source
from .readers.registry import broken_readers, reader_named
from .store import RunStore
from .tables import Event, Forgotten, Problem, RunFacts, SourceRead
from .text_pattern import TextPattern

if TYPE_CHECKING:
    from .mirror import Mirror

_log = logging.getLogger(__name__)

_BATCH_SOURCES = 64
"""Sources read before what was found is handed on: large enough to keep snapshots cheap, small enough to fill in visibly."""

_SMALL_BYTES = 1 << 20
"""Size below which a source is read at once, without another thread."""

_RECENT_SECONDS = 10.0
"""Seconds for which a source that grew is looked at more often than the others."""

_LONG_SECONDS = 0.02
_FEW_TIMES = 16

_State = tuple[tuple[str, int, int], ...]
_WasRead = tuple[list[Event], tuple[Problem, ...], Cursor | None]


@dataclass(frozen=True, slots=True)
class _Watched:
    """A source, what it is known by, and the files to watch; None where only its reader can tell which they are."""

    source: Source
    identity: tuple[str, str]
    reader: Reader
    files: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class _Found:
    """A source that has something new, and the state it is in."""

    watched: _Watched
    state: _State
    mirror: Mirror | None

    @property
    def source(self) -> Source:
        """The source."""
        return self.watched.source

    @property
    def identity(self) -> tuple[str, str]:
        """What it is known by."""
        return self.watched.identity

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(size for _, size, _ in self.state)


class _Waiting:
    """How often reading a source waited for something else than the processor: for a disk far away, if it nearly always did."""

    def __init__(self) -> None:
        self._long, self._times = 0, 0
        self._begun = 0.0

    @property
    def is_long(self) -> bool:
        """Whether it did so for so long that reading several files at once would help."""
        return self._times >= _FEW_TIMES and 2 * self._long > self._times

    def __enter__(self) -> None:
        self._begun = time.perf_counter() - time.thread_time()

    def __exit__(self, *_: object) -> None:
        self._long += time.perf_counter() - time.thread_time() - self._begun > _LONG_SECONDS
        self._times += 1


class Loader:
    """Reads sources and goes on where it stopped.

    Parameters
    ----------
    paths : sequence of Path or str
        Folders, files, glob patterns or addresses.
    patterns : tuple of TextPattern
        How the user reads some text files.
    workers : int
        Threads that read at once; the heavy parts of reading release the interpreter lock.
    patience : float, optional
        Seconds after which a path that does not answer is passed over until it does; None waits for ever.
    """

    def __init__(
        self,
        paths: Sequence[Path | str],
        *,
        patterns: tuple[TextPattern, ...] = (),
        workers: int = min(4, os.cpu_count() or 1),
        patience: float | None = None,
    ) -> None:
        self._discovery = Discovery(paths, patterns, patience)
        self._patterns = patterns
        self._workers = workers
        self._cursors: dict[tuple[str, str], Cursor | None] = {}
        self._states: dict[tuple[str, str], _State] = {}
        self._sources: dict[tuple[str, str], Source] = {}
        self._problems: dict[tuple[str, str], tuple[Problem, ...]] = {}
        self._said: dict[Problem, None] = {}
        self._looked_at: dict[int, _Watched] = {}
        self._recent: dict[tuple[str, str], tuple[_Watched, float]] = {}

    def new_events(
        self, progress: Progress = quiet, give_way: Callable[[], None] | None = None
    ) -> Iterator[list[Event]]:
        """Give what is new since the last call, in batches; the first call gives all there is.

        Parameters
        ----------
        give_way : callable, optional
            Called again and again while all there is is looked at, where another thread may call `latest_events`; what that
            reads is then left to it.

        Raises
        ------
        Cancelled
            When `progress` says so; what was given so far stays read, the next call gives the rest.
        """
        found, first = self._found(_only_cancelled(progress), give_way)
        if first:
            yield first
        progress(0, len(found))
        done = 0
        # Reading much of one file releases the interpreter lock; many small files are read faster by one thread than by several
        # that wait for that lock, unless the disk is what they wait for.
        small = deque(one for one in found if one.mirror is None and one.size < _SMALL_BYTES)
        large = deque(one for one in found if one.mirror is not None or one.size >= _SMALL_BYTES)
        waited = _Waiting()
        with ThreadPoolExecutor(self._workers, thread_name_prefix="reader") as pool:
            running: dict[Future[_WasRead], _Found] = {}
            batch: list[Event] = []
            batched: list[tuple[_Found, _WasRead]] = []
            try:
                while True:
                    while len(running) < 2 * self._workers and (large or (small and waited.is_long)):
                        one = (large or small).popleft()
                        running[pool.submit(_read, one, self._cursors.get(one.identity), progress)] = one
                    ready: list[tuple[_Found, _WasRead]] = []
                    if small and not waited.is_long:
                        one = small.popleft()
                        with waited:
                            ready.append((one, _read(one, self._cursors.get(one.identity), progress)))
                        finished = {future for future in running if future.done()}
                    elif running:
                        finished = wait(running, return_when=FIRST_COMPLETED).done
                    else:
                        break
                    ready += [(running.pop(future), future.result()) for future in finished]
                    for one, (events, problems, _) in ready:
                        settled = self._problems.get(one.identity, ())
                        batch += [*events, SourceRead(one.source.relative, problems, settled)]
                        done += 1
                        progress(done, len(found), one.source.relative)
                    batched += ready
                    # The first curves go out at once, later ones in larger batches.
                    if len(batched) >= min(_BATCH_SOURCES, max(4, done // 2)):
                        self._remember(batched)
                        yield batch
                        batch, batched = [], []
            finally:
                for future in running:
                    future.cancel()
            self._remember(batched)
            if batch:
                yield batch

    @property
    def silent(self) -> frozenset[str]:
        """What was opened and did not answer when it was last looked at."""
        return self._discovery.silent

    @property
    def has_recent(self) -> bool:
        """Whether sources on this machine grew a moment ago, so that `latest_events` may find something."""
        return bool(self._recent)

    def latest_events(self, progress: Progress = quiet) -> list[Event]:
        """Give what is new in the sources that grew a moment ago; what else there may be is for `new_events` to find.

        Raises
        ------
        Cancelled
            When `progress` says so; the next call gives what was not given.
        """
        still_wanted = _only_cancelled(progress)
        now = time.monotonic()
        events: list[Event] = []
        read: list[tuple[_Found, _WasRead]] = []
        self._discovery.ask()
        for identity, (watched, grew) in list(self._recent.items()):
            if self._discovery.is_silent(watched.source.path):
                continue
            state = _state(watched, None)
            if not state or state == self._states.get(identity):
                if now - grew > _RECENT_SECONDS:
                    del self._recent[identity]
                continue
            still_wanted(0, 0)
            one = _Found(watched, state, None)
            was_read = _read(one, self._cursors.get(identity), progress)
            settled = self._problems.get(identity, ())
            events += was_read[0]
            if settled or was_read[1]:
                events.append(SourceRead(watched.source.relative, was_read[1], settled))
            read.append((one, was_read))
        self._remember(read)
        return events

    def _remember(self, read: list[tuple[_Found, _WasRead]]) -> None:
        """Take sources as read, whose events are handed on now: what a cancel kept back is read again the next time."""
        now = time.monotonic()
        for one, (_, problems, cursor) in read:
            if one.identity in self._states and one.mirror is None:
                self._recent[one.identity] = (one.watched, now)
            self._cursors[one.identity] = cursor
            self._problems[one.identity] = problems
            self._states[one.identity] = one.state
            self._sources[one.identity] = one.source

    def files(self) -> list[tuple[str, int, float]]:
        """Give every file read so far, in the order of its path: path, bytes, and time of its last change (s since 1970)."""
        files = {path: (size, changed / 1e9) for state in self._states.values() for path, size, changed in state}
        return [(as_text(path), *files[path]) for path in sorted(files)]

    def _found(self, progress: Progress, give_way: Callable[[], None] | None) -> tuple[list[_Found], list[Event]]:
        """Give the sources that have something new, in their state of now, and what can be said before they are read."""
        news: list[Event] = []
        changed: list[_Found] = []
        seen = set()
        looked_at: dict[int, _Watched] = {}
        said = dict.fromkeys(broken_readers())
        for found in self._discovery.sources(progress):
            if give_way is not None:
                give_way()
            if isinstance(found, Problem):
                said[found] = None
                continue
            # What did not change comes as the same value, and need not be looked at anew.
            watched = self._looked_at.get(id(found)) or self._watched(found)
            identity = watched.identity
            if identity in seen:
                continue
            seen.add(identity)
            if identity in self._recent:
                self._recent[identity] = (watched, self._recent[identity][1])
            looked_at[id(found)] = watched
            if give_way is not None and identity in self._recent:
                continue
            mirror = self._discovery.mirror(found.path)
            state = _state(watched, mirror)
            if self._states.get(identity) == state:
                continue
            if identity not in self._states and _makes_run(watched.reader):
                news.append(RunFacts(found.run, reader=found.reader, source=found.relative))
            changed.append(_Found(watched, state, mirror))
        if self._discovery.passed_over:
            # What lies where nothing answers is neither gone nor looked at.
            for number, watched in self._looked_at.items():
                if watched.identity not in seen and self._discovery.was_passed_over(watched.source.path):
                    seen.add(watched.identity)
                    looked_at[number] = watched
                    self._recent.pop(watched.identity, None)
        self._looked_at = looked_at
        taken = (
            {path for watched in looked_at.values() for path in watched.source.paths}
            if self._states.keys() - seen
            else set()
        )
        for identity in [identity for identity in self._states if identity not in seen]:
            gone = self._sources.pop(identity)
            del self._states[identity]
            self._recent.pop(identity, None)
            settled = self._problems.pop(identity, ())
            if not taken.isdisjoint(gone.paths):
                # It turned out to be of another format, as whose it is read now.
                del self._cursors[identity]
                runs = (gone.run,) if _makes_run(self._reader(gone)) else ()
                news += [Forgotten(gone.relative, gone.reader, "", runs), SourceRead(gone.relative, (), settled)]
                continue
            what = "It is gone from the disk; what was read of it is still shown."
            news.append(SourceRead(gone.relative, (Problem(gone.relative, gone.reader, what, gone.run),), settled))
        if settled := tuple(problem for problem in self._said if problem not in said):
            news.append(SourceRead("", (), settled))
        news += [problem for problem in said if problem not in self._said]
        self._said = said
        return changed, news

    def _watched(self, source: Source) -> _Watched:
        """Give what a source is known by, which for gathered files is their folder, as more may join; and how it is watched."""
        reader = self._reader(source)
        name = f"{source.path.parent}{os.sep}*" if reader.gathers else str(source.path)
        only_own = not reader.looks_at_folders and type(reader).watched is Reader.watched
        files = tuple(map(str, source.paths)) if only_own else None
        return _Watched(source, (source.reader, name), reader, files)

    def _reader(self, source: Source) -> Reader:
        return reader_named(source.reader, self._patterns)


def load(
    paths: Sequence[Path | str],
    maps: tuple[ColumnMap, ...] = (),
    progress: Progress = quiet,
    patterns: tuple[TextPattern, ...] = (),
) -> RunStore:
    """Read everything below some paths.

    Raises
    ------
    Cancelled
        When `progress` says so.
    """
    store = RunStore(maps=maps)
    events = [event for batch in Loader(paths, patterns=patterns).new_events(progress) for event in batch]
    return store.adding(events)


def _makes_run(reader: Reader) -> bool:
    return reader.makes_runs and not reader.is_config


def _state(watched: _Watched, mirror: Mirror | None) -> _State:
    """Give what changes when files are written: name, size and time of each file that is watched."""
    if mirror is None and watched.files is not None and len(watched.files) == 1:
        # The usual case is asked about most often.
        try:
            info = os.stat(watched.files[0])
        except OSError:
            return ()
        return ((watched.files[0], info.st_size, info.st_mtime_ns),)
    state = []
    files: Iterable[str] = _watched_by(watched) if watched.files is None else watched.files
    for file in files:
        if mirror is not None:
            if (known := mirror.state(Path(file))) is not None:
                state.append(known)
            continue
        try:
            info = os.stat(file)
        except OSError:
            continue
        state.append((file, info.st_size, info.st_mtime_ns))
    return tuple(sorted(state)) if len(state) > 1 else tuple(state)


def _watched_by(watched: _Watched) -> Iterator[str]:
    for path in watched.source.paths:
        with suppress(OSError):
            yield from map(str, watched.reader.watched(path))


def _only_cancelled(progress: Progress) -> Progress:
    """Give a progress that says nothing but hears a cancel.

    Readers tell how far they are within a file; the bar counts files.
    """

    def still_wanted(_done: int, _total: int, _what: str = "", /) -> None:
        if getattr(progress, "is_cancelled", False):
            raise Cancelled

    return still_wanted


def _read(found: _Found, cursor: Cursor | None, progress: Progress) -> _WasRead:
    """Read one source: what it gives, whatever goes wrong with it, and where to go on."""
    source, reader, mirror = found.source, found.watched.reader, found.mirror
    events: list[Event] = []
    problems: list[Problem] = []
    still_wanted = _only_cancelled(progress)
    try:
        if mirror is not None:
            if reader.stays(source.path, *mirror.sizes(source.path)):
                source = replace(source, address=mirror.address_of(source.path))
            else:
                mirror.fetch([file for path in source.paths for file in reader.needed(path)], still_wanted)
        for event in reader.read(source, cursor, still_wanted):
            if isinstance(event, Cursor):
                cursor = event
            elif isinstance(event, Problem):
                problems.append(event)
            else:
                if isinstance(event, Forgotten) and event.what:
                    problems.append(Problem(source.relative, source.reader, event.what, source.run))
                events.append(event)
    except Cancelled:
        raise
    except ReadError as error:
        problems.append(Problem(source.relative, source.reader, error.what, source.run))
    except OSError as error:
        what = f"It cannot be read: {error.strerror or error}."
        problems.append(Problem(source.relative, source.reader, what, source.run))
    except Exception as error:  # one broken source must not keep the others from opening
        _log.exception("Reading %s failed", source.relative)
        what = f"Reading it failed unexpectedly ({type(error).__name__}: {error})."
        problems.append(Problem(source.relative, source.reader, what, source.run))
    return events, tuple(problems), cursor
