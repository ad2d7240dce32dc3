"""The list of readers: each is imported when something is met that it may know, and then not before."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from runglass.models.readers.base import Entry, Match
from runglass.models.readers.registry import _BUILTIN, Builtin, may_know, readers

NAMES = (  # the formats' own, and variants in capitals
    "events.out.tfevents.1700000000.host Events.OUT.tfevents.17.host.profile-empty trainer_state.json run-abc.wandb "
    "RUN-1.WANDB mlflow.db mlruns.sqlite store.SQLITE3 project.db run-1.swanlab train.log TRAIN.LOG notes.txt out log.OUT "
    "evaluations.npz monitor.csv 0.monitor.csv results_2024-01-02T03:04:05.json results.json "
    "samples_arc_2024-01-02T03:04:05.jsonl samples_arc.jsonl arc_write_out_info.json log.eval task-000-arc-predictions.jsonl "
    "arc-metrics.json details_arc_2024-01-02T03:04:05.parquet export_part_0.parquet metrics.csv progress.TXT scores.tsv "
    "metrics.jsonl rows.NDJSON table.PARQUET table.pq arrays.npz config.yaml Hparams.YML flags flags_1.json meta_data_7.json "
    "overrides.yaml args.json"
)
HEADS = (
    b"", b"PK\x03\x04timesteps.npy", b"PAR1", b":W&B\x10\x02", b":SWL", b'#{"t_start": 1}\nr,l,t\n1,2,3\n',
    b"SQLite format 3\x00", b"step 1 loss 2.5\nstep 2 loss 2.25\nstep 3 loss 2.0\n", b"step,loss\n1,2\n2,1\n",
    b'{"step": 1, "loss": 2}\n{"step": 2, "loss": 1}\n{"step": 3, "loss": 1}\n',
    b'{"results": {"arc": {"acc": 1, "acc_stderr": 0}}}', b'{"doc_id": 0, "prompt_0": "", "metrics": {}, "native_id": 1}',
    b'{"status": "success", "eval": {"task_id": 1, "run_id": 2}}', b'{"hyperparameters": {}, "dataset_name": 1}',
    b'{"config_general": {}}', b'{"task_name": 1, "model_hash": 2}',
    b'{"schema_version": 1, "evaluation_id": 1, "evaluation_name": 1, "model_info": {}, "sample_id": 1, "source_metadata": 1}',
)  # fmt: skip


@pytest.mark.parametrize("builtin", _BUILTIN, ids=lambda builtin: builtin.place)
def test_that_a_reader_knows_no_file_that_its_line_in_the_list_leaves_out(builtin: Builtin, tmp_path: Path) -> None:
    reader = next(one for one in readers() if builtin.place.endswith(f".{type(one).__name__}"))
    for number, head in enumerate(HEADS):
        folder = tmp_path / f"run_{number}"
        folder.mkdir()
        for name in NAMES.split():
            (folder / name).write_bytes(head)
            entry = Entry(folder / name, f"run_{number}/{name}", siblings=frozenset({name}))
            assert reader.match(entry) is Match.NO or may_know(builtin, entry), entry.relative


_READ = """
import sys
from runglass.models.loader import load
store = load([sys.argv[1]])
print(store.points, *sorted(name for name in sys.modules if name.startswith("runglass.models.readers.")))
"""


def test_that_reading_lines_of_numbers_imports_no_reader_of_what_is_not_there(tmp_path: Path) -> None:
    steps = np.arange(20)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.csv").write_text(
        "step,loss\n" + "".join(f"{step},{1 / (1 + step)}\n" for step in steps)
    )
    done = subprocess.run(
        [sys.executable, "-c", _READ, str(tmp_path)], capture_output=True, text=True, check=True, timeout=120
    )
    points, *imported = done.stdout.split()
    assert points == "20"
    expected = {import_module(f"runglass.models.readers.{name}").__name__ for name in ("base", "registry", "csv_log")}
    assert expected <= set(imported)
    assert not {
        name for name in imported if name.rpartition(".")[2] in ("wandb_log", "mlflow_store", "inspect_log", "helm")
    }
