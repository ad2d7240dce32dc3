"""Which readers there are, and which of them reads what."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from ..tables import Problem
from .base import Entry, Match, Reader

_BUILTIN = (
    "tensorboard.TensorBoardReader",
    "hf_trainer.HuggingFaceTrainerReader",
    "text_log.TextLogReader",
    "stable_baselines.StableBaselinesReader",
    "csv_log.CsvLogReader",
    "json_lines.JsonLinesReader",
    "table_file.TableFileReader",
    "config_file.ConfigFileReader",
)
"""Module and class of our own readers; where two match equally well, the first is taken."""


@cache
def readers() -> tuple[tuple[Reader, ...], tuple[Problem, ...]]:
    """Give our own readers and those of third parties, and a problem for each that could not be loaded."""
    found: list[Reader] = []
    problems = []
    for place in _BUILTIN:
        module, _, name = place.rpartition(".")
        found.append(getattr(import_module(f".{module}", __package__), name)())
    for point in entry_points(group="runglass.readers"):
        try:
            found.append(point.load()())
        except Exception as error:  # a broken plug-in must not keep the window shut
            problems.append(Problem(point.value, point.name, f"The reader could not be loaded: {error}"))
    return tuple(found), tuple(problems)


def reader_for(entry: Entry) -> tuple[Reader | None, Match]:
    """Give the reader that knows `entry` best."""
    best, best_match = None, Match.NO
    for reader in readers()[0]:
        if entry.is_folder and not reader.looks_at_folders:
            continue
        match = reader.match(entry)
        if match > best_match:
            best, best_match = reader, match
            if match is Match.YES:
                break
    return best, best_match


def reader_named(name: str) -> Reader:
    """Give the reader called `name`."""
    return next(reader for reader in readers()[0] if reader.name == name)
