"""Which readers there are, and which of them reads what."""

from __future__ import annotations

import fnmatch
import logging
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import NamedTuple

from ..tables import Problem
from ..text_pattern import TextPattern
from .base import Entry, Match, Reader

_log = logging.getLogger(__name__)


class Builtin(NamedTuple):
    """A reader of ours, which is imported when something is met that it may know.

    Attributes
    ----------
    place : str
        Module and class.
    files : str
        Names of files that it may know, in lower case: patterns as of a shell, apart by spaces.
    inside : str
        The same of folders, each of which has something inside that is called so.
    """

    place: str
    files: str = ""
    inside: str = ""


_BUILTIN = (
    Builtin("tensorboard.TensorBoardReader", "*tfevents*"),
    Builtin("hf_trainer.HuggingFaceTrainerReader", "trainer_state.json", "checkpoint-*"),
    Builtin("wandb_log.WandbReader", "*.wandb", "*.wandb files"),
    Builtin("mlflow_store.MlflowFileReader", inside="meta.yaml"),
    Builtin("mlflow_store.MlflowDatabaseReader", "*.db *.sqlite *.sqlite3"),
    Builtin("trackio_store.TrackioReader", "*.db"),
    Builtin("swanlab_log.SwanLabReader", "*.swanlab", "*.swanlab"),
    Builtin("sacred_run.SacredReader", inside="cout.txt"),
    Builtin("dvclive_folder.DvcLiveReader", inside="plots"),
    Builtin("ray_tune.RayTuneReader", inside="result.json"),
    Builtin("clearml_offline.ClearMlReader", inside="task.json"),
    Builtin("text_log.TextLogReader", "*"),
    Builtin("stable_baselines.StableBaselinesReader", "evaluations.npz *monitor.csv"),
    Builtin("lm_eval.LmEvalReader", "*.json"),
    Builtin("lm_eval.LmEvalSamplesReader", "samples_*.jsonl *_write_out_info.json"),
    Builtin("inspect_log.InspectReader", "*.eval *.json"),
    Builtin("helm.HelmReader", inside="run_spec.json"),
    Builtin("open_lm.OpenLmReader", "*.json"),
    Builtin("every_eval_ever.EveryEvalEverReader", "*.json *.jsonl"),
    Builtin("lighteval.LightevalReader", "*.json *.parquet"),
    Builtin("olmes.OlmesReader", "*-predictions.jsonl *-metrics.json"),
    Builtin("opencompass.OpenCompassReader", inside="results"),
    Builtin("aim_repository.AimReader", inside="meta seqs run_metadata.sqlite"),
    Builtin("neptune_export.NeptuneExportReader", "*.parquet"),
    Builtin("table_folder.TableFolderReader", inside="runglass-tables.json"),
    Builtin("csv_log.CsvLogReader", "*.csv *.tsv *.txt"),
    Builtin("json_lines.JsonLinesReader", "*.jsonl *.ndjson *.json"),
    Builtin("table_file.TableFileReader", "*.csv *.tsv *.parquet *.pq *.jsonl *.ndjson *.npz"),
    Builtin("config_file.ConfigFileReader", "*.yaml *.yml *.json flags"),
)
"""Our own readers; where two match equally well, the first is taken."""

_loaded: dict[Builtin, Reader] = {}


def readers(patterns: tuple[TextPattern, ...] = ()) -> tuple[Reader, ...]:
    """Give one reader for each pattern of the user, our own, and those of third parties."""
    return (*_by_pattern(patterns), *map(_reader, _BUILTIN), *_third_parties()[0])


def broken_readers() -> tuple[Problem, ...]:
    """Say which readers of third parties could not be loaded."""
    return _third_parties()[1]


def reader_for(entry: Entry, patterns: tuple[TextPattern, ...] = ()) -> tuple[Reader | None, Match]:
    """Give the reader that knows `entry` best."""
    best, best_match = None, Match.NO
    for reader in _candidates(entry, patterns):
        if entry.is_folder and not reader.looks_at_folders:
            continue
        try:
            match = reader.match(entry)
        except Exception:  # what one reader cannot look at, another may know
            _log.exception("Looking at %s as %s failed", entry.relative, reader.name)
            continue
        if match > best_match:
            best, best_match = reader, match
            if match is Match.YES:
                break
    return best, best_match


def may_know(builtin: Builtin, entry: Entry) -> bool:
    """Say whether a reader of ours could know `entry`, by names alone; all others it does not."""
    names = entry.children if entry.is_folder else (entry.name,)
    fits = _fitting(builtin.inside if entry.is_folder else builtin.files)
    return any(fits(name.lower()) for name in names)


def _candidates(entry: Entry, patterns: tuple[TextPattern, ...]) -> Iterator[Reader]:
    """Give the readers that may know `entry`, in their order, importing them one by one."""
    yield from _by_pattern(patterns)
    for builtin in _BUILTIN:
        # One that is there looks for itself, and quicker.
        if builtin in _loaded or may_know(builtin, entry):
            yield _reader(builtin)
    yield from _third_parties()[0]


@cache
def _fitting(names: str) -> Callable[[str], object]:
    return re.compile("|".join(map(fnmatch.translate, names.split())) or "(?!)").match


def _reader(builtin: Builtin) -> Reader:
    if builtin not in _loaded:
        module, _, name = builtin.place.rpartition(".")
        _loaded.setdefault(builtin, getattr(import_module(f".{module}", __package__), name)())
    return _loaded[builtin]


@cache
def _by_pattern(patterns: tuple[TextPattern, ...]) -> tuple[Reader, ...]:
    if not patterns:
        return ()
    made = import_module(".text_log", __package__).TextPatternReader
    return tuple(made(pattern) for pattern in patterns)


@cache
def _third_parties() -> tuple[tuple[Reader, ...], tuple[Problem, ...]]:
    found: list[Reader] = []
    problems = []
    for point in entry_points(group="runglass.readers"):
        try:
            found.append(point.load()())
        except Exception as error:  # a broken plug-in must not keep the window shut
            problems.append(Problem(point.value, point.name, f"The reader could not be loaded: {error}"))
    return tuple(found), tuple(problems)


def reader_named(name: str, patterns: tuple[TextPattern, ...] = ()) -> Reader:
    """Give the reader called `name`, which is one there is."""
    # Nearly always it read something, and is there already.
    for known in (_by_pattern(patterns), tuple(_loaded.values())):
        for reader in known:
            if reader.name == name:
                return reader
    return next(reader for reader in readers(patterns) if reader.name == name)
