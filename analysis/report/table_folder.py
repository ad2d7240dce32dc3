"""All that was read, as a folder of Parquet files that anybody can open, and that Runglass opens as the same runs.

Beside the canonical tables stands ``runglass-tables.json``: what a table cannot hold of the runs as it is (configuration whose
values are numbers here and text there, declared x axes). `models.readers.table_folder` reads both.
"""

from __future__ import annotations

import math
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ...models.errors import ExportError
from ...models.progress import Progress, quiet
from ...models.schema import SCHEMAS
from ...models.store import RunStore
from ...models.tables import Run
from ...resources.version import __version__
from .tables import table_bytes

MANIFEST = "runglass-tables.json"


def export_tables(store: RunStore, folder: Path, progress: Progress = quiet) -> dict[str, int]:
    """Write every table that has rows to ``<table>.parquet`` in a new folder; the folder is there whole or not at all.

    Returns
    -------
    dict of str to int
        Rows of each table written.

    Raises
    ------
    ExportError
        When the folder is there and not empty, or cannot be written.
    TooLarge
        When rows of a table stay in their files.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ExportError(f"{folder} is there already.", remedy="Give the name of a new or empty folder.")
    part = folder.with_name(f".{folder.name[:40]}.{secrets.token_hex(4)}.part")
    rows: dict[str, int] = {}
    try:
        try:
            part.mkdir()
            names = [name for name in SCHEMAS if store.has_rows(name)]
            for done, name in enumerate(names):
                progress(done, len(names), name)
                frame = store.rows(name)
                if len(frame):
                    (part / f"{name}.parquet").write_bytes(table_bytes(frame, "parquet"))
                    rows[name] = len(frame)
            (part / MANIFEST).write_bytes(_manifest(store, rows))
            if folder.exists():
                folder.rmdir()
            os.replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise ExportError(
            f"{folder} cannot be written: {error.strerror or error}.", remedy="Write it to another folder."
        ) from error
    return rows


def _manifest(store: RunStore, rows: Mapping[str, int]) -> bytes:
    runs = [_run(run, store.config(run)) for run in store.kept_runs.values()]
    document = {"runglass_tables": 1, "written_by": f"runglass {__version__}", "tables": rows, "runs": runs}
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(document, option=options, default=str) + b"\n"


def _run(run: Run, config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "run": run.key,
        "name": run.name,
        "reader": run.reader,
        "source": run.source,
        "status": run.declared_status,
        "config": {key: _json(value) for key, value in config.items()},
        "facts": {key: _json(value) for key, value in run.facts.items()},
        "x_tags": dict(run.x_tags),
    }


def _json(value: Any) -> Any:
    """Write numbers JSON has no word for as Python says them; they are read back as numbers."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    return value
