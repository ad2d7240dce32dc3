"""The state of a Hugging Face `Trainer`: ``trainer_state.json``.

The trainer writes it into every ``checkpoint-N`` of its output folder and at the end, with ``save_state``, into the folder
itself. Each holds all that was logged so far, so a folder with many of them is one run, read from the one that got furthest.

The rows of ``log_history`` hold ``step`` and ``epoch`` and either the training loss, or the results of an evaluation
(``eval_*``), or at the end how long it took. See ``TrainerState`` in ``transformers/trainer_callback.py``.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ReadError
from ..json_document import as_python_writes
from ..progress import Progress
from ..tables import CurvePiece, Event, Forgotten, RunFacts, Status
from .base import Cursor, Entry, Match, Reader, Source, require_regular

STATE = "trainer_state.json"

LARGEST = 1 << 30
"""Bytes beyond which a state is not loaded: it is one JSON document and needs several times its size."""

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")

_SETTINGS = (
    "max_steps",
    "num_train_epochs",
    "train_batch_size",
    "logging_steps",
    "eval_steps",
    "save_steps",
    "best_metric",
    "best_model_checkpoint",
    "best_global_step",
    "trial_name",
)
"""What the state tells of the run that is no curve."""


class HuggingFaceTrainerReader(Reader):
    """Reads the output folder of a trainer, or a single state."""

    name = "hf trainer"
    looks_at_folders = True
    shares_folder = True

    def match(self, entry: Entry) -> Match:
        """Know an output folder by its checkpoints, and a state by its name where no such folder is around it."""
        if entry.is_folder:
            return Match.YES if _states_of_checkpoints(entry.path, entry.children) else Match.NO
        if entry.name != STATE:
            return Match.NO
        if _states_of_checkpoints(entry.path.parent, entry.siblings):
            return Match.NO
        is_below = entry.relative.count("/") > 1
        return Match.NO if is_below and _CHECKPOINT.fullmatch(entry.path.parent.name) else Match.YES

    def watched(self, path: Path) -> list[Path]:
        """Give the states that may have got furthest: weights beside them are not looked at."""
        return _candidates(path)

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read the state that got furthest, as a whole: it is written anew each time."""
        paths = _candidates(source.path)
        if not paths:
            raise ReadError("Its checkpoints hold no state any more.", source=source.relative)
        files = {}
        for path in paths:
            if (size := require_regular(path)) > LARGEST:
                raise ReadError(f"{path.name} is too large to be read ({size:,} bytes).", source=source.relative)
            files[path] = path.read_bytes()
            progress(len(files), len(paths), path.name)
        digest = hashlib.sha256(b"".join(files.values())).hexdigest()
        if cursor is not None and cursor.state.get("sha256") == digest:
            yield cursor
            return
        state = _furthest([_parsed(data, source) for data in files.values()])
        if cursor is not None:
            yield Forgotten(source.relative, self.name, "", (source.run,))
        yield _facts(source, self.name, state)
        yield from _curves(source.run, state["log_history"])
        yield Cursor({str(path): len(data) for path, data in files.items()}, {"sha256": digest})


def _states_of_checkpoints(folder: Path, names: frozenset[str]) -> dict[int, Path]:
    """Give the states in the checkpoints of a folder, by step."""
    found = {}
    for name in names:
        if match := _CHECKPOINT.fullmatch(name):
            path = folder / name / STATE
            if path.is_file():
                found[int(match[1])] = path
    return found


def _candidates(path: Path) -> list[Path]:
    """Give the states that may have got furthest: what `save_state` wrote, and that of the highest checkpoint."""
    if not path.is_dir():
        return [path]
    checkpoints = _states_of_checkpoints(path, frozenset(child.name for child in path.iterdir()))
    own = path / STATE
    return ([own] if own.is_file() else []) + ([checkpoints[max(checkpoints)]] if checkpoints else [])


def _furthest(states: list[dict[str, Any]]) -> dict[str, Any]:
    """Give the state with the most steps, the first where they are equal: after a resumed training it is a checkpoint's."""
    return max(states, key=lambda state: _number(state.get("global_step")) or 0)


def _parsed(data: bytes, source: Source) -> dict[str, Any]:
    """Give the state in `data`; NaN and Infinity are written as such by the trainer.

    Raises
    ------
    ReadError
        When it is no JSON, or no state of a trainer.
    """
    try:
        state = as_python_writes(data)
    except (ValueError, RecursionError):
        if not data.strip():
            raise ReadError("It is empty.", source=source.relative) from None
        raise ReadError("It is not complete JSON: still being written, or cut off.", source=source.relative) from None
    if not isinstance(state, dict) or not isinstance(state.get("log_history"), list):
        raise ReadError("It is no state of a trainer: it has no log_history.", source=source.relative)
    return state


def _facts(source: Source, reader: str, state: Mapping[str, Any]) -> RunFacts:
    config = {key: state[key] for key in _SETTINGS if _is_plain(state.get(key))}
    trial = state.get("trial_params")
    if isinstance(trial, dict):
        config |= {f"trial.{key}": value for key, value in trial.items() if _is_plain(value)}
    facts: dict[str, Any] = {}
    # Both are 0 where the trainer was not asked to count.
    if (flops := _number(state.get("total_flos"))) and flops > 0:
        facts["flops"] = flops
    if (tokens := _number(state.get("num_input_tokens_seen"))) and tokens > 0:
        facts["tokens"] = tokens
    status: Status = "unknown"
    step, last = _number(state.get("global_step")), _number(state.get("max_steps"))
    if step is not None and last and 0 < last <= step:
        status = "finished"
    return RunFacts(source.run, reader=reader, source=source.relative, status=status, config=config, facts=facts)


def _curves(run: str, rows: list[Any]) -> Iterator[CurvePiece]:
    """Give the numbers of all rows; tags that occur in the same rows come in one piece."""
    places: dict[str, list[int]] = {}
    values: dict[str, list[float]] = {}
    steps: list[float] = []
    for number, row in enumerate(rows):
        step = _number(row.get("step")) if isinstance(row, dict) else None
        steps.append(math.nan if step is None else step)
        if step is None:
            continue
        for tag, value in row.items():
            if tag != "step" and (real := _number(value)) is not None:
                places.setdefault(tag, []).append(number)
                values.setdefault(tag, []).append(real)
    together: dict[tuple[int, ...], dict[str, np.ndarray]] = {}
    for tag, at in places.items():
        together.setdefault(tuple(at), {})[tag] = np.array(values[tag])
    every = np.array(steps)
    for rows_of_piece, arrays in together.items():
        these = every[list(rows_of_piece)]
        is_whole = bool((np.abs(these) < 2**53).all() and (these == np.rint(these)).all())
        yield CurvePiece(run, these.astype(np.int64) if is_whole else these, arrays)


def _number(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return None


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)
