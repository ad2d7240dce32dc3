"""What Stable-Baselines3 writes beside its logger: monitors of environments, and evaluations.

A monitor (``monitor.csv``, ``0.monitor.csv`` ...) has one line of JSON behind a ``#`` and then, for every episode, its reward
``r``, its length ``l`` and the seconds ``t`` since the start. Those of parallel environments are one training: their
episodes are put in the order of time, and the step is the number of steps that all environments have made in finished
episodes. ``evaluations.npz`` holds the rewards and lengths of the episodes of every evaluation.

The RL Zoo writes ``args.yml`` and ``config.yml`` into a folder below, named after the environment; they configure the run.

The formats: ``stable_baselines3/common/monitor.py``, and `EvalCallback` in ``callbacks.py``.
"""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..array_archive import stored_array
from ..configuration import yaml_document
from ..deferred import deferred
from ..errors import ReadError
from ..json_document import as_python_writes
from ..logged_columns import whole_steps
from ..progress import Progress
from ..tables import CurvePiece, Event, Forgotten, Problem, RunFacts
from .base import Cursor, Entry, Match, Reader, Source, require_regular

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

EVALUATIONS = "evaluations.npz"
MOST_BYTES = 1 << 28
"""Size beyond which a file is not loaded: a million episodes take 30 MB."""

_MONITOR = re.compile(r"(.+\.)?monitor\.csv")
_SETTINGS = ("args.yml", "config.yml")
_NAMES = {"r": "episode/reward", "l": "episode/length"}
_LONGEST_HEADER = 1 << 16
_MOST_STEPS = 2**53
"""Of an episode: beyond, a float no longer counts them."""


class StableBaselinesReader(Reader):
    """Reads the monitors and evaluations of a folder as one run."""

    name = "stable baselines"
    gathers = True

    def match(self, entry: Entry) -> Match:
        """Know the files by their names and first bytes."""
        if entry.is_folder:
            return Match.NO
        if entry.name == EVALUATIONS:
            return Match.YES if not entry.head or b"timesteps.npy" in entry.head else Match.NO
        known = _MONITOR.fullmatch(entry.name) and (not entry.head or entry.head.startswith(b"#{"))
        return Match.YES if known else Match.NO

    def needed(self, path: Path) -> list[Path]:
        """Give the file, and what may hold settings: they are in a folder called like the environment."""
        return [path, *(beside for name in _SETTINGS for beside in path.parent.glob(f"*/{name}"))]

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read all files: new episodes of one environment may fall between known ones of another."""
        stamps = {str(path): _stamp(path) for path in source.paths}
        if cursor is not None:
            if cursor.state["stamps"] == stamps:
                yield cursor
                return
            yield Forgotten(source.relative, self.name, "", (source.run,))
        monitors: list[_Monitor] = []
        for number, path in enumerate(source.paths, 1):
            shown = f"{source.relative}/{path.name}"
            try:
                if path.name == EVALUATIONS:
                    yield from _evaluations(source.run, _content(path))
                else:
                    monitor = _monitor(_content(path))
                    monitors.append(monitor)
                    if monitor.left_out:
                        what = f"{monitor.left_out:,} lines are no episodes and left out."
                        yield Problem(shown, self.name, what, source.run)
            except ReadError as error:
                yield Problem(shown, self.name, error.what, source.run)
            except OSError as error:
                yield Problem(shown, self.name, f"It cannot be read: {error.strerror or error}.", source.run)
            progress(number, len(source.paths), path.name)
        yield from _merged(source.run, monitors)
        environment = next((monitor.environment for monitor in monitors if monitor.environment), "")
        config = _settings(source.path.parent, environment)
        if environment:
            config.setdefault("env", environment)
        if config:
            yield RunFacts(source.run, reader=self.name, source=source.relative, config=config)
        yield Cursor({key: size for key, (size, _) in stamps.items()}, {"stamps": stamps})


def _stamp(path: Path) -> tuple[int, int]:
    try:
        info = os.stat(path)
    except OSError:
        return (0, 0)
    return (info.st_size, info.st_mtime_ns)


def _content(path: Path) -> bytes:
    size = require_regular(path)
    if not size:
        raise ReadError("It is empty.")
    if size > MOST_BYTES:
        raise ReadError(f"It is too large to be read ({size:,} bytes).")
    return path.read_bytes()


class _Monitor(NamedTuple):
    """The episodes of one environment.

    `start` is in seconds since 1970, NaN if unknown; `episodes` has columns r, l, t and whatever else was recorded.
    """

    start: float
    environment: str
    episodes: pd.DataFrame
    left_out: int


def _monitor(data: bytes) -> _Monitor:
    """Read a monitor.

    Raises
    ------
    ReadError
        When it is none.
    """
    first, _, rest = data.partition(b"\n")
    if not first.startswith(b"#") or len(first) > _LONGEST_HEADER:
        raise ReadError("It is no monitor: its first line is not the JSON that a monitor begins with.")
    try:
        header = as_python_writes(first[1:])
    except (ValueError, RecursionError):
        raise ReadError("It is no monitor: its first line is not the JSON that a monitor begins with.") from None
    header = header if isinstance(header, dict) else {}
    start = header.get("t_start")
    environment = header.get("env_id")
    names, _, lines = rest.partition(b"\n")
    columns = [name.strip() for name in names.decode(errors="replace").split(",")]
    if rest and not {"r", "l", "t"} <= set(columns):
        raise ReadError("It is no monitor: it has no columns r, l and t.")
    rows = pd.DataFrame({name: pd.Series(dtype=float) for name in ("r", "l", "t")})
    if lines.strip():
        try:
            rows = pd.read_csv(
                io.BytesIO(lines), names=columns, index_col=False, on_bad_lines="skip", encoding_errors="replace"
            ).apply(pd.to_numeric, errors="coerce")
        except (ValueError, pd.errors.ParserError) as error:
            raise ReadError(f"It is no table of episodes: {error}.") from None
    length, time = rows["l"].to_numpy(float), rows["t"].to_numpy(float)
    sound = np.isfinite(time) & (length >= 0) & (length < _MOST_STEPS)
    left_out = sum(1 for line in lines.split(b"\n") if line.strip()) - int(sound.sum())
    if lines.rpartition(b"\n")[2].strip() and left_out:
        left_out -= 1  # a last line without its end is still being written
    return _Monitor(
        float(start) if isinstance(start, int | float) else float("nan"),
        environment if isinstance(environment, str) else "",
        rows[sound],
        left_out,
    )


def _merged(run: str, monitors: list[_Monitor]) -> Iterator[CurvePiece]:
    """Give the episodes of all environments in the order of time."""
    monitors = [monitor for monitor in monitors if len(monitor.episodes)]
    if not monitors:
        return
    episodes = pd.concat([monitor.episodes for monitor in monitors], ignore_index=True)
    starts = np.array([monitor.start for monitor in monitors])
    is_dated = bool(np.isfinite(starts).all())
    offset = np.repeat(starts if is_dated else np.zeros(len(monitors)), [len(m.episodes) for m in monitors])
    time = offset + episodes["t"].to_numpy(float)
    order = np.argsort(time, kind="stable")
    step = np.cumsum(episodes["l"].to_numpy(float)[order])
    wall_time = time[order] if is_dated else None
    values = {
        _NAMES.get(name, f"episode/{name}"): episodes[name].to_numpy(float)[order]
        for name in episodes.columns
        if name != "t" and bool(episodes[name].notna().any())
    }
    yield CurvePiece(run, whole_steps(step), values, wall_time)


def _evaluations(run: str, data: bytes) -> Iterator[CurvePiece]:
    """Give mean and standard deviation over the episodes of every evaluation.

    Raises
    ------
    ReadError
        When the file is no archive of plain arrays, or their shapes do not fit. Objects are never unpickled.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(info.file_size for info in archive.infolist()) > MOST_BYTES:
                raise ReadError("Its arrays are too large to be read.")
            members = {info.filename: info for info in archive.infolist()}
            step = stored_array(archive, members["timesteps.npy"])
            known = [name for name in _OF_EVALUATIONS if f"{name}.npy" in members]
            results = {name: stored_array(archive, members[f"{name}.npy"]) for name in known}
    except ReadError:
        raise
    except Exception as error:  # a damaged archive raises whatever its first wrong byte leads to
        raise ReadError(f"It is no archive of arrays as evaluations are ({type(error).__name__}: {error}).") from None
    if step.ndim != 1 or step.dtype.kind not in "iuf":
        raise ReadError("Its timesteps are no list of numbers.")
    values: dict[str, np.ndarray] = {}
    for name, episodes in results.items():
        if episodes.ndim != 2 or len(episodes) != len(step) or episodes.dtype.kind not in "iufb" or not episodes.size:
            continue
        mean, sd = _OF_EVALUATIONS[name]
        numbers = episodes.astype(float)
        values[mean] = numbers.mean(axis=1)
        if sd and numbers.shape[1] > 1:
            values[sd] = numbers.std(axis=1, ddof=1)
    if not values:
        raise ReadError("It holds no results that fit its timesteps.")
    yield CurvePiece(run, whole_steps(step), values)


_OF_EVALUATIONS = {
    "results": ("eval/mean_reward", "eval/sd_reward"),
    "ep_lengths": ("eval/mean_ep_length", "eval/sd_ep_length"),
    "successes": ("eval/success_rate", ""),
}
"""Tags of the mean and of the sample standard deviation over episodes, by the name of the array."""


def _settings(folder: Path, environment: str) -> dict[str, Any]:
    """Give the plain settings in the folder of the environment; hyper-parameters (``config.yml``) override arguments."""
    settings: dict[str, Any] = {}
    if not environment or environment in (".", "..") or re.search(r"[/\\\0]", environment):
        return settings
    for name in _SETTINGS:
        path = folder / environment / name
        try:
            if require_regular(path) > _LONGEST_HEADER:
                continue
            content = yaml_document(path.read_bytes())
        except (OSError, ReadError):
            continue
        if isinstance(content, dict):
            plain = {str(key): one for key, one in content.items() if isinstance(one, str | int | float | bool)}
            settings |= plain
    return settings
