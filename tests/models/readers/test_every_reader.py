"""Laws that every reader of ours keeps, whatever the format.

A file that is cut anywhere, also in the middle of a record or of a character, gives a prefix of what the whole file gives. A
format that is written as one document, archive or database cannot do that: cut short, it gives nothing of its data and says so.
A file that grows gives, piece by piece, what it gives when it is read at once. A value of another kind than the format has is
data, or a problem, and no error of ours.
"""

from __future__ import annotations

import copy
import io
import json
import os
import random
import shutil
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet

from runglass.models.discovery import Discovery
from runglass.models.errors import ReadError
from runglass.models.loader import Loader, load
from runglass.models.progress import quiet
from runglass.models.readers.base import Cursor, Entry, Match, Source
from runglass.models.readers.registry import _BUILTIN, may_know, reader_named, readers
from runglass.models.store import RunStore
from runglass.models.tables import Forgotten, Problem

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tensorboardX.proto.event_pb2 import Event as EventProto
    from tensorboardX.proto.summary_pb2 import HistogramProto, Summary
    from tensorboardX.proto.tensor_pb2 import TensorProto
    from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto

DATA = Path(__file__).parents[2] / "data"
CUTS = 14
"""Places at which each file is cut, besides its ends and the middles of its characters."""

MOST_FILES = 8
STAGES = 5

DOCUMENTS = frozenset({".json", ".npz", ".db", ".parquet", ".eval", ".yaml", ".yml"})
"""Endings of files that are one document; those of the log in which they are lines are in `LINES`."""

LINES = frozenset({"result.json"})
"""Files that end like documents and hold lines."""

MOST_CHANGES = 120
OTHERS = (None, True, float("nan"), 10**400, "x", [], [None], [[1]], {}, {"x": [3]}, {"": None})
"""Values of every kind, for where a format has another."""

UNENDED = frozenset({"csv log", "text log", "stable baselines", "table"})
"""Readers that take a last line without its end, as finished files may lack it: only its last cell can be a wrong one."""

APPENDED = frozenset(
    {"tensorboard", "wandb", "swanlab", "dvclive", "ray tune", "clearml", "text log", "csv log", "json lines", "mlflow"}
)
"""Readers of files that are only ever appended to: they read nothing again that they have."""

SETTINGS = frozenset({"config.yaml", "params.yaml", "hparams.yaml", "meta.yaml"})
"""Files of YAML, of which any prefix may be one as well."""


# -- a small folder for each reader ---------------------------------------------------------------------------------------


def as_lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_json(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode()


def values_of(data: bytes, name: str) -> tuple[Any, Callable[[Any], bytes]] | None:
    """Give what a document or log holds, and how it is written; None for what is neither JSON nor YAML."""
    if name.endswith((".yaml", ".yml")):
        return yaml.safe_load(data), lambda value: yaml.safe_dump(value).encode()
    if not name.endswith((".json", ".jsonl")):
        return None
    try:
        return json.loads(data), lambda value: json.dumps(value).encode()
    except ValueError:
        lines = [json.loads(line) for line in data.splitlines()]
        return lines, lambda value: as_lines(value if isinstance(value, list) else [value])


def as_parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    parquet.write_table(table, out)
    return out.getvalue()


def as_npz(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def record(payload: bytes) -> bytes:
    def masked(data: bytes) -> bytes:
        crc = google_crc32c.value(data)
        return struct.pack("<I", ((((crc >> 15) | (crc << 17)) & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(payload))
    return length + masked(length) + payload + masked(payload)


def events() -> Iterator[bytes]:
    """Give event records of every kind: both encodings, several values in one, and things that are no scalars."""
    yield EventProto(wall_time=1.7e9, file_version="brain.Event:2").SerializeToString()
    for step in range(60):
        values = [Summary.Value(tag="Verlust/größe", simple_value=1 / (step + 1))]
        if step % 3 == 0:
            values.append(Summary.Value(tag="val/acc", simple_value=step / 60))
        if step % 10 == 0:
            tensor = TensorProto(dtype=1, tensor_shape=TensorShapeProto(), float_val=[step * 0.5])
            values.append(Summary.Value(tag="tensor", tensor=tensor))
            values.append(Summary.Value(tag="histogram", histo=HistogramProto(bucket=[1.0] * 90)))
        for group in [values] if step % 4 == 0 else [[value] for value in values]:
            yield EventProto(wall_time=1.7e9 + step, step=step, summary=Summary(value=group)).SerializeToString()


def trainer_state() -> dict[str, Any]:
    rows = [{"step": step, "epoch": step / 10, "loss": 1 / step} for step in range(10, 60, 10)]
    return {"global_step": 50, "max_steps": 50, "log_history": rows}


def stat(name: str, mean: float) -> dict[str, Any]:
    return {"name": {"name": name, "split": "test"}, "count": 1, "mean": mean}


def harness_sample(number: int) -> dict[str, Any]:
    return {
        "doc_id": number, "doc": {"question": "Größe?"}, "target": "1", "arguments": [["Q", " a"], ["Q", " b"]],
        "resps": [[["-1.5", "False"]], [["-0.5", "True"]]], "filtered_resps": [["-1.5", "False"], ["-0.5", "True"]],
        "filter": "none", "metrics": ["acc"], "doc_hash": f"d{number}", "target_hash": "t", "acc": number % 2,
    }  # fmt: skip


def neptune() -> bytes:
    names = {"project_id": "w/p", "run_id": "R-1"}
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    rows = [names | {"attribute_path": "lr", "attribute_type": "float", "float_value": 0.1}]
    for step in range(5):
        point = {"attribute_path": "metrics/loss", "attribute_type": "float_series", "step": Decimal(step)}
        rows.append(names | point | {"timestamp": at, "float_value": 1.0 / (step + 1)})
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("project_id", "run_id", "attribute_path", "attribute_type")),
            ("step", pa.decimal128(18, 6)), ("timestamp", pa.timestamp("ms", tz="UTC")), ("int_value", pa.int64()),
            ("float_value", pa.float64()), ("string_value", pa.string()), ("bool_value", pa.bool_()),
        ]
    )  # fmt: skip
    return as_parquet(pa.Table.from_pylist(rows, schema=schema))


HARNESS = {
    "results": {"arc": {"alias": "arc", "acc,none": 0.5, "acc_stderr,none": 0.1}},
    "versions": {"arc": 1.0}, "n-shot": {"arc": 0}, "higher_is_better": {"arc": {"acc": True}},
    "config": {"model": "hf", "model_args": {"pretrained": "org/model-7b"}},
}  # fmt: skip
TIME = "2026-01-21T03-44-18.458309"
PREDICTIONS = pd.DataFrame(
    {
        "item": range(30),
        "label": ["ä", "b", "ç"] * 10,
        "prediction": ["ä", "b", "b"] * 10,
        "confidence": np.arange(30) / 30,
    }
)

GENERATED: Mapping[str, Callable[[], dict[str, bytes]]] = {
    "tensorboard": lambda: {"run/events.out.tfevents.1700000000.host": b"".join(map(record, events()))},
    "hf trainer": lambda: {"out/trainer_state.json": as_json(trainer_state())},
    "text log": lambda: {
        "a/main.log": "".join(f"step:{n}/50 Güte:{n / 7:.4f} train_loss:{1 / n:.4f}\n" for n in range(1, 50)).encode()
    },
    "stable baselines": lambda: {
        "ppo/monitor.csv": b'#{"t_start": 100.0, "env_id": "Pole-v1"}\nr,l,t\n'
        + b"".join(b"%d.5,%d,%d.25\n" % (n, 10 + n, n) for n in range(20)),
        "ppo/evaluations.npz": as_npz(timesteps=np.arange(3), results=np.ones((3, 2)), ep_lengths=np.ones((3, 2))),
    },
    "lm-eval": lambda: {f"org__m/results_{TIME}.json": as_json(HARNESS)},
    "lm-eval samples": lambda: {
        f"org__m/samples_arc_{TIME}.jsonl": as_lines([harness_sample(number) for number in range(6)])
    },
    "helm": lambda: {
        "toy-model=org_m/run_spec.json": as_json(
            {"name": "toy:model=org_m", "adapter_spec": {"model": "org/m"}, "metric_specs": []}
        ),
        "toy-model=org_m/stats.json": as_json([stat("exact_match", 0.5)]),
        "toy-model=org_m/per_instance_stats.json": as_json(
            [{"instance_id": f"Ä{n}", "train_trial_index": 0, "stats": [stat("exact_match", n % 2)]} for n in range(4)]
        ),
        "toy-model=org_m/scenario_state.json": as_json({"request_states": []}),
    },
    "open_lm": lambda: {
        "models/small.json": as_json(
            {"name": "small", "dataset_name": "rpj", "hyperparameters": {"tokens": 2e9, "params": 1e8},
             "results": [{"loss": 3.1, "val_data": ["eval/c4/shard.tar"]}]}
        ),
        "evals/evaluation_small_heavy.json": as_json(
            {"name": "x", "model": "small", "eval_metrics": {"icl": {"arc_easy": 0.5, "piqa": 0.6}}}
        ),
    },
    "every eval ever": lambda: {
        "a.json": as_json(
            {"schema_version": "0.2.0", "evaluation_id": "Q/1", "model_info": {"id": "o/m"}, "evaluation_results": [
                {"evaluation_name": "q", "metric_config": {}, "score_details": {"score": 0.4}}]}
        ),
        "a_samples.jsonl": as_lines(
            [{"schema_version": "instance_level_eval_0.2.0", "evaluation_id": "Q/1", "model_id": "o/m",
              "evaluation_name": "q", "sample_id": str(n), "input": {"raw": "Größe?", "reference": ["ä"]},
              "answer_attribution": [{"extracted_value": "ä"}], "evaluation": {"score": 1.0, "is_correct": True}}
             for n in range(6)]
        ),
    },
    "lighteval": lambda: {
        "results/o/m/results_2026-01-02T03-04-05.678901.json": as_json(
            {"config_general": {"model_name": "o/m"}, "results": {"lighteval|gsm8k|5": {"em": 0.25, "em_stderr": 0.01}}}
        ),
        "details/o/m/T/details_lighteval|arc|0_2026-01-02T03-04-05.678901.parquet": as_parquet(
            pa.Table.from_pylist(
                [{"__doc__": {"id": str(n), "choices": [" a", " b"], "gold_index": 0},
                  "__model_response__": {"text": [], "logprobs": [-1.0, -2.0]}, "__metric__": {"acc": 1}}
                 for n in range(3)]
            )
        ),
    },
    "olmes": lambda: {
        "m/task-003-arc-metrics.json": as_json(
            {"task_name": "arc", "model_config": {"model": "o/m"}, "num_instances": 5, "metrics": {"acc_raw": 0.4}}
        ),
        "m/task-003-arc-predictions.jsonl": as_lines(
            [{"doc_id": n, "native_id": f"ß{n}", "metrics": {"acc_raw": n % 2, "correct_choice": 0},
              "model_output": [{"sum_logits": -1.0 - n}, {"sum_logits": -2.0}], "label": 0} for n in range(6)]
        ),
    },
    "opencompass": lambda: {
        "20260102_030405/configs/a.py": b"",
        "20260102_030405/logs/a.out": b"",
        "20260102_030405/results/m/siqa.json": as_json({"accuracy": 37.5}),
        "20260102_030405/predictions/m/siqa.json": as_json({str(n): {"prediction": "Ä", "gold": "Ä"} for n in range(4)}),
    },
    "aim": lambda: {".aim/run_metadata.sqlite": b"", ".aim/meta/chunks/x": b""},
    "neptune export": lambda: {"project/R-1_part_0.parquet": neptune()},
    "csv log": lambda: {
        "a/metrics.csv": (
            "step,Verlust/größe,val,note\n"
            + "".join(f"{n},{1 / (n + 1):.6f},{n / 9 if n % 4 == 0 else ''},\"ü, {n}\"\n" for n in range(40))
        ).encode()
    },
    "json lines": lambda: {
        "a/metrics.jsonl": as_lines(
            [{"lr": 0.1, "note": "größe"}]
            + [{"step": n, "Güte": n / 7, "nested": {"loss": float("nan") if n == 9 else 1 / (n + 1)}} for n in range(40)]
            + [{"step": n, "val/loss": n / 3, "split": "ä"} for n in range(40, 50)]
        )
    },
    "table": lambda: {
        "t/a.csv": PREDICTIONS.to_csv(index=False).encode(),
        "t/b.jsonl": as_lines(PREDICTIONS.to_dict("records")),
        "t/c.parquet": as_parquet(pa.Table.from_pandas(PREDICTIONS)),
        "t/d.npz": as_npz(probs=np.full((5, 2), 0.5), labels=np.zeros(5, int)),
    },
    "runglass tables": lambda: {
        "all/runglass-tables.json": as_json(
            {"runglass_tables": 1, "runs": [{"run": "p/größe", "name": "a", "config": {"lr": 0.1}, "status": "finished"}]}
        ),
        "all/scalars.parquet": as_parquet(
            pa.table({"run": ["p/größe"] * 5, "tag": ["loss"] * 5, "step": range(5), "value": [5.0, 4.0, 3.0, 2.0, 1.0]})
        ),
        "all/scores.parquet": as_parquet(pa.table({"model": ["m"], "task": ["t"], "value": [0.5]})),
    },
    "config": lambda: {"run/hparams.yaml": "lr: 0.001\nGröße: [1, 2]\nmodel:\n  name: ä\n".encode()},
}  # fmt: skip
"""Files by path for formats that no logger is needed to write."""

ANSWERS_OF_HELM = [
    {"instance": {"id": f"Ä{n}", "references": [{"output": {"text": "ß"}, "tags": ["correct"]}]},
     "output_mapping": {"A": "ß"}, "result": {"completions": [{"text": " A"}]}, "train_trial_index": 0}
    for n in range(4)
]  # fmt: skip
"""What was asked and answered. It adds cells to rows of another file, so that a part of it gives no prefix."""

WRITTEN = {
    "wandb": "wandb", "mlflow": "mlflow/mlruns", "mlflow database": "mlflow/mlflow.db", "trackio": "trackio",
    "swanlab": "swanlab", "sacred": "sacred", "dvclive": "dvclive", "ray tune": "ray_tune", "clearml": "clearml",
    "inspect": "inspect",
}  # fmt: skip
"""What the loggers themselves wrote, by reader."""

READERS = tuple(sorted(GENERATED | WRITTEN))


def sample(folder: Path, reader: str) -> Path:
    """Write the files of one format."""
    root = folder / "data"
    if reader in WRITTEN:
        origin = DATA / WRITTEN[reader]
        root.mkdir()
        if origin.is_file():
            shutil.copy(origin, root)
        else:
            shutil.copytree(origin, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("make.py"))
    else:
        for name, content in GENERATED[reader]().items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
    return root


def full_sample(folder: Path, reader: str) -> Path:
    """Write the files of one format, and those that only say more of what others hold."""
    root = sample(folder, reader)
    if reader == "helm":
        (root / "toy-model=org_m/scenario_state.json").write_bytes(as_json({"request_states": ANSWERS_OF_HELM}))
    return root


def sources_of(root: Path, reader: str) -> list[Source]:
    """Give the sources of one reader as they are found; the others of its folder are not of interest."""
    found = [one for one in Discovery([root]).sources() if isinstance(one, Source) and one.reader == reader]
    assert found
    return found


def files_of(source: Source) -> list[Path]:
    """Give the files of a source that its reader watches: others are not read, or make no difference."""
    reader = reader_named(source.reader)
    files = sorted({file for path in source.paths for file in reader.watched(path) if file.is_file()})
    return random.Random(source.relative).sample(files, min(MOST_FILES, len(files)))


def cuts_of(data: bytes, name: str) -> list[int]:
    """Give places to cut a file at: its ends, the middles of two of its characters, and random ones."""
    chance = random.Random(name)
    inside = [at for at, byte in enumerate(data) if byte & 0xC0 == 0x80]
    middles = chance.sample(inside, min(2, len(inside)))
    anywhere = [chance.randrange(len(data)) for _ in range(CUTS if len(data) < 1 << 16 else CUTS // 2)] if data else []
    return sorted({0, 1, max(len(data) - 1, 0), *middles, *anywhere} & set(range(len(data))))


def places_in(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give where values are: by the keys of objects and in the first place of lists, as the others are alike."""
    yield at
    inside = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, one in inside:
        yield from places_in(one, (*at, key))


def with_another(value: Any, at: tuple[Any, ...], other: Any) -> Any:
    if not at:
        return other
    changed = copy.copy(value)
    changed[at[0]] = with_another(value[at[0]], at[1:], other)
    return changed


# -- reading and comparing ------------------------------------------------------------------------------------------------


class Reading(NamedTuple):
    """What reading a source gave: the store after it, where to go on, what went wrong, and how often it began anew."""

    store: RunStore
    cursor: Cursor | None
    problems: list[str]
    began_anew: int


def read(source: Source, store: RunStore, cursor: Cursor | None = None) -> Reading:
    """Read a source as the loader does; what is foreseen to go wrong is a problem, anything else fails the test."""
    problems: list[str] = []
    given: list[Any] = []
    try:
        for event in reader_named(source.reader).read(source, cursor, quiet):
            if isinstance(event, Cursor):
                cursor = event
            elif isinstance(event, Problem):
                problems.append(event.what)
            else:
                given.append(event)
    except (ReadError, OSError) as error:
        problems.append(error.what if isinstance(error, ReadError) else str(error))
    return Reading(store.adding(given), cursor, problems, sum(isinstance(event, Forgotten) for event in given))


def points(store: RunStore) -> dict[tuple[str, str], tuple[list[float], list[float], list[float]]]:
    """Give steps, values and times of every curve; text of numbers, so that NaN equals NaN."""
    found = {}
    for run in store.runs.values():
        for tag, curve in run.curves.items():
            walls = [] if curve.wall_time is None else curve.wall_time
            columns = (np.asarray(column, float).astype(str).tolist() for column in (curve.step, curve.value, walls))
            found[run.key, tag] = tuple(columns)
    return found  # type: ignore[return-value]


def cells(store: RunStore) -> dict[tuple[str, str], list[str]]:
    """Give the columns of every table, as text."""
    return {
        (source, str(column)): ["" if pd.isna(cell) else f"{cell:g}" if isinstance(cell, float | int) else str(cell)
                                for cell in rows.frame[column].tolist()]
        for source, rows in store.sources.items()
        for column in rows.frame.columns
    }  # fmt: skip


def is_prefix(part: list[Any], whole: list[Any], spared: int) -> bool:
    """Whether `part`, but for so many of its last values, is what `whole` begins with."""
    kept = part[: len(part) - spared] if spared else part
    return whole[: len(kept)] == kept


def count(store: RunStore) -> int:
    curves = sum(len(values) for _, values, _ in points(store).values())
    return curves + sum(len(rows.frame) for rows in store.sources.values())


def assert_prefix(cut: RunStore, whole: RunStore, where: str, spared: int) -> None:
    known = points(whole)
    for key, columns in points(cut).items():
        if key not in known and spared:
            assert len(columns[1]) <= spared, where
            continue
        assert key in known, where
        for part, all_of_it in zip(columns, known[key], strict=True):
            assert is_prefix(part, all_of_it, spared), f"{where}: {key}"
    rows = cells(whole)
    for key, part in cells(cut).items():
        assert key in rows or len(part) <= 1, f"{where}: {key}"
        assert key not in rows or is_prefix(part, rows[key], spared), f"{where}: {key}"


def stated(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Give configurations as text, without what they no longer say."""
    return {key: {name: str(one) for name, one in config.items() if one is not None} for key, config in configs.items()}


def test_that_every_reader_has_a_sample() -> None:
    ours = set()
    for builtin in _BUILTIN:
        module, _, name = builtin.place.rpartition(".")
        ours.add(getattr(__import__(f"runglass.models.readers.{module}", fromlist=[name]), name).name)
    assert ours == set(READERS)


@pytest.mark.parametrize("reader", READERS)
def test_that_a_reader_is_imported_for_all_that_it_knows(tmp_path: Path, reader: str) -> None:
    root = sample(tmp_path, reader)
    known = set()
    for folder, folders, files in os.walk(root.parent):
        beside = frozenset((*folders, *files))
        for name in beside:
            path = Path(folder, name)
            entry = Entry(path, path.relative_to(root.parent).as_posix(), name in folders, beside)
            for builtin, one in zip(_BUILTIN, readers(), strict=False):
                if (one.looks_at_folders or not entry.is_folder) and one.match(entry) is not Match.NO:
                    known.add(one.name)
                    assert may_know(builtin, entry), f"{builtin.place} {entry.relative}"
    assert reader in known


@pytest.mark.parametrize("reader", READERS)
def test_that_a_cut_file_gives_a_prefix_of_its_data(tmp_path: Path, reader: str) -> None:
    root = sample(tmp_path, reader)
    for source in sources_of(root, reader):
        whole = read(source, RunStore()).store
        for file in files_of(source):
            data = file.read_bytes()
            for at in cuts_of(data, f"{reader} {file.name}"):
                file.write_bytes(data[:at])
                cut, _, problems, _ = read(source, RunStore())
                where = f"{file.name} cut at {at} of {len(data)}"
                ended = at == 0 or data[at - 1 : at] == b"\n" or reader not in UNENDED
                assert_prefix(cut, whole, where, spared=0 if ended else 1)
                is_document = file.suffix in DOCUMENTS and file.name not in LINES | SETTINGS
                if is_document and count(cut) < count(whole):
                    assert problems, where
            file.write_bytes(data)


@pytest.mark.parametrize("reader", READERS)
def test_that_reading_on_equals_reading_at_once(tmp_path: Path, reader: str) -> None:
    root = sample(tmp_path, reader)
    chance = random.Random(reader)
    for source in sources_of(root, reader):
        at_once, _, said, _ = read(source, RunStore())
        whole = {
            file: file.read_bytes()
            for path in source.paths
            for file in sorted(path.parent.rglob("*"))
            if file.is_file()
        }
        whole = {file: whole[file] for file in files_of(source)}
        for _ in range(3):
            ends = {
                file: sorted(chance.randrange(len(data) + 1) for _ in range(STAGES)) for file, data in whole.items()
            }
            store, cursor, problems, began_anew = RunStore(), None, [], 0
            for stage in range(STAGES + 1):
                for file, data in whole.items():
                    file.write_bytes(data[: ends[file][stage]] if stage < STAGES else data)
                store, cursor, problems, again = read(source, store, cursor)
                began_anew += again
            assert points(store) == points(at_once)
            assert cells(store) == cells(at_once)
            assert problems == said
            # A last line that was taken without its end, and had more to come, is read again once.
            assert reader not in APPENDED or began_anew <= (reader in UNENDED)
            assert stated(store.folder_configs) == stated(at_once.folder_configs)
            for key, run in at_once.runs.items():
                now = store.runs[key]
                assert now.status == run.status
                assert stated({key: now.config}) == stated({key: run.config})
                assert now.x_tags == run.x_tags


@pytest.mark.parametrize("reader", READERS)
def test_that_a_folder_that_is_written_while_it_is_open_ends_as_it_opens_later(tmp_path: Path, reader: str) -> None:
    root = sample(tmp_path, reader)
    whole = {file: file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}
    chance = random.Random(reader)
    if reader == "mlflow":
        whole = dict(chance.sample(sorted(whole.items()), 12))
    at_once = load([root])
    for _ in range(2):
        loader, store = Loader([root]), RunStore()
        ends = {file: sorted(chance.randrange(len(data) + 1) for _ in range(STAGES)) for file, data in whole.items()}
        for stage in range(STAGES + 1):
            for file, data in whole.items():
                file.write_bytes(data[: ends[file][stage]] if stage < STAGES else data)
            for batch in loader.new_events():
                store = store.adding(batch)
        curves = points(store)
        # What was read of a run that is deleted in its store, or was taken for one at first, stays.
        assert {key: one for key, one in curves.items() if key[0] in at_once.runs} == points(at_once)
        assert all(reader == "mlflow" or key[0] in at_once.runs for key in curves)
        assert cells(store) == cells(at_once)
        problems = {problem for problem in store.problems if "is gone from the disk" not in problem.what}
        assert {problem for problem in problems if not problem.run or problem.run in at_once.runs} == set(
            at_once.problems
        )
        assert [store.runs[key].status for key in at_once.runs] == [run.status for run in at_once.runs.values()]


@pytest.mark.parametrize("reader", READERS)
def test_that_a_value_of_another_kind_is_data_or_a_problem(tmp_path: Path, reader: str) -> None:
    root = full_sample(tmp_path, reader)
    changes = []
    for source in sources_of(root, reader)[:3]:
        for file in files_of(source):
            if (found := values_of(file.read_bytes(), file.name)) is not None:
                places = [(at, other) for at in places_in(found[0]) for other in OTHERS]
                changes += [(source, file, *found, at, other) for at, other in places]
    chance = random.Random(reader)
    for source, file, value, written, at, other in chance.sample(changes, min(len(changes), MOST_CHANGES)):
        whole = file.read_bytes()
        file.write_bytes(written(with_another(value, at, other)))
        _ = read(source, RunStore())  # any other error than those that are foreseen comes out of it
        file.write_bytes(whole)


@pytest.mark.parametrize(
    ("reader", "name", "at", "other"),
    [
        ("helm", "run_spec.json", ("metric_specs",), True),
        ("helm", "stats.json", (0, "mean"), 10**400),
        ("helm", "per_instance_stats.json", (0, "stats"), 3),
        ("helm", "per_instance_stats.json", (0, "stats", 0, "name", "split"), ["test"]),
        ("helm", "scenario_state.json", ("request_states", 0, "instance", "references"), 3),
        ("helm", "scenario_state.json", ("request_states", 0, "instance", "references", 0, "tags"), 3),
        ("helm", "scenario_state.json", ("request_states", 0, "instance", "references", 0, "output"), {}),
        ("helm", "scenario_state.json", ("request_states", 0, "result", "completions"), {"x": 1}),
        ("inspect", "finished.json", ("results", "scores"), True),
        ("lm-eval samples", "samples_*.jsonl", (0, "metrics"), [["acc"]]),
        ("mlflow", "meta.yaml", ("status",), []),
        ("ray tune", "experiment_state*.json", ("trial_data", 0, 0), {"status": []}),
        ("runglass tables", "runglass-tables.json", ("runs", 0, "run"), ["p"]),
        ("runglass tables", "runglass-tables.json", ("runs", 0, "status"), ["finished"]),
        ("open_lm", "small.json", ("results", 0, "loss"), 10**400),
        ("sacred", "metrics.json", ("train.loss", "steps", 0), 10**400),
        ("ray tune", "result.json", (0, "training_iteration"), 10**400),
    ],
)
def test_that_one_value_of_another_kind_takes_nothing_else_with_it(
    tmp_path: Path, reader: str, name: str, at: tuple[Any, ...], other: Any
) -> None:
    root = full_sample(tmp_path, reader)
    whole = load([root])
    file = next(one for one in sorted(root.rglob(name)) if reader != "mlflow" or "status" in one.read_text())
    found = values_of(file.read_bytes(), file.name)
    assert found is not None
    value, written = found
    file.write_bytes(written(with_another(value, at, other)))
    store = load([root])
    assert not [problem.what for problem in store.problems if "unexpectedly" in problem.what]
    # The scores, or the run, that the value is all of may go with it.
    assert len(whole.runs) - len(store.runs) == (at[-1] == "run")
    assert len(whole.sources.keys() - store.sources.keys()) <= (at[-1] == "scores")
