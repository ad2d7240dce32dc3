"""What the column mapper proposes before anyone has said anything: by name, never by value, and never applied unasked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .column_map import table_of
from .recognition import columns_by_alias
from .schema import COMPARISONS, PREDICTIONS, RUNS, SCALARS, SCORES, Schema

if TYPE_CHECKING:
    import pandas as pd

_NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    RUNS.name: {
        "run": ("runid", "runname", "experiment", "exp", "trial", "model", "name"),
        "name": ("runname", "displayname"),
        "family": ("modelfamily", "arch", "architecture", "recipe"),
        "seed": ("randomseed", "rngseed"),
        "params": ("nparams", "numparams", "parameters", "numparameters", "modelsize", "modelparams", "size", "n"),
        "active_params": ("paramsactive", "activeparameters"),
        "tokens": ("trainingtokens", "traintokens", "totaltokens", "ntokens", "numtokens", "trainingdata", "d"),
        "flops": ("trainingflop", "trainingflops", "totalflops", "flop", "compute", "trainingcompute", "c"),
        "batch_tokens": ("tokensperstep", "tokensperbatch", "batchsizetokens"),
        "peak_lr": ("lr", "learningrate", "maxlr", "peaklearningrate"),
        "status": ("state",),
    },
    SCALARS.name: {
        "run": ("runid", "runname", "experiment", "exp", "trial"),
        "tag": ("metric", "name", "key", "series"),
        "step": ("globalstep", "iteration", "iter", "steps", "epoch"),
        "value": ("val", "y", "score"),
        "wall_time": ("walltime", "timestamp", "time"),
    },
}
"""Further names, in lower case letters and digits only, the best first."""

_TRIED = (COMPARISONS, PREDICTIONS, SCORES, SCALARS, RUNS)


def _plain(name: object) -> str:
    return re.sub(r"[^a-z0-9]+", "", str(name).lower())


def guessed_columns(frame: pd.DataFrame, schema: Schema) -> dict[str, str]:
    """Give for columns of a canonical table the columns of a frame that seem to be meant, each used once."""
    columns = [str(name) for name in frame.columns]
    guessed = {column.name: column.name for column in schema.columns if column.name in columns}
    for canonical, name in columns_by_alias(frame, schema.name).items():
        if canonical not in guessed and name not in guessed.values():
            guessed[canonical] = name
    plain = {_plain(name): name for name in reversed(columns)}
    for column in schema.columns:
        if column.name in guessed:
            continue
        for alias in (_plain(column.name), *_NAMES.get(schema.name, {}).get(column.name, ())):
            if alias in plain and plain[alias] not in guessed.values():
                guessed[column.name] = plain[alias]
                break
    return guessed


def guessed_table(frame: pd.DataFrame) -> str:
    """Give the canonical table a frame could become: one whose needed columns are all there under some name, else runs."""
    known = table_of(frame)
    if known is not None:
        return known.name
    for schema in _TRIED:
        if set(schema.needs) <= set(guessed_columns(frame, schema)):
            return schema.name
    return RUNS.name
