"""Files made to crash, to hang, to fill the memory or to write: each gives its data or says why it does not.

The sizes here are small enough for every run of the tests; ``tests/fuzz/fuzz_readers.py`` goes on from the fixtures.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import sqlite3
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from runglass.models.configuration import flattened, yaml_value
from runglass.models.errors import ReadError
from runglass.models.loader import load
from runglass.models.store import RunStore

DATA = Path(__file__).parents[2] / "data"
LOG = "step,loss\n1,2\n2,1\n"
MOST_SECONDS = 10.0
"""Generous, as machines are slow: what is caught here never ends."""


def written(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)
    return folder


def archive(*entries: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in entries:
            file.writestr(name, data)
    return out.getvalue()


def names_below(folder: Path) -> list[str]:
    return sorted(os.path.join(where, name) for where, *names in os.walk(folder) for name in itertools.chain(*names))


def opened(folder: Path) -> RunStore:
    """Open a folder; whatever is wrong with it is foreseen, soon found, and nothing is written."""
    before = names_below(folder)
    begun = time.monotonic()
    store = load([folder])
    problems = (*store.problems, *store.table_problems)
    assert time.monotonic() - begun < MOST_SECONDS
    assert not [problem for problem in problems if "unexpectedly" in problem.what]
    assert before == sorted(
        os.path.join(where, name) for where, *names in os.walk(folder) for name in itertools.chain(*names)
    )
    return store


def said(store: RunStore) -> str:
    return " ".join(problem.what for problem in (*store.problems, *store.table_problems))


HEADER = json.dumps({"eval": {"model": "m", "task": "t"}, "status": "success"}).encode()


# -- archives -------------------------------------------------------------------------------------------------------------


def test_that_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    bomb = archive(("header.json", HEADER), ("summaries.json", b" " * (65 << 20)))
    written(tmp_path, {"logs/bomb.eval": bomb})
    tracemalloc.start()
    store = opened(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "times its packed size" in said(store)
    assert peak < 32 << 20


def test_that_a_zstandard_bomb_that_lies_about_its_size_is_not_unpacked_beyond_it(tmp_path: Path) -> None:
    whole = pa.compress(b" " * (64 << 20), "zstd", asbytes=True)
    entries = bytearray(archive(("header.json", HEADER), ("summaries.json", b"x" * 8)))
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as file:
        file.writestr("header.json", HEADER)
        file.writestr("summaries.json", whole)
    entries = bytearray(stored.getvalue())
    local, central = entries.index(b"summaries.json") - 30, entries.rindex(b"summaries.json") - 46
    struct.pack_into("<H", entries, local + 8, 93)
    struct.pack_into("<H", entries, central + 10, 93)
    struct.pack_into("<I", entries, central + 24, 100)
    written(tmp_path, {"logs/bomb.eval": bytes(entries)})
    before = pa.total_allocated_bytes()
    assert "damaged" in said(opened(tmp_path))
    assert pa.total_allocated_bytes() - before < 32 << 20


def test_that_names_in_an_archive_lead_nowhere(tmp_path: Path) -> None:
    data = archive(
        ("../../escaped", b"x"), (str(tmp_path / "escaped"), b"x"), ("header.json", HEADER),
        ("summaries.json", b'[{"id": "../../escaped", "epoch": 1, "target": "a", "scores": {"s": {"value": 1}}}]'),
    )  # fmt: skip
    store = opened(written(tmp_path / "logs", {"one.eval": data}))
    assert list(store.rows("predictions")["item"]) == ["../../escaped"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["logs", "one.eval"]


@pytest.mark.parametrize("name", ["predictions.npz", "evaluations.npz"])
def test_that_pickled_arrays_are_never_unpickled(tmp_path: Path, name: str) -> None:
    evil = f"cposix\nsystem\n(S'touch {tmp_path / 'escaped'}'\ntR.".encode()
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + evil
    store = opened(written(tmp_path / "run", {name: archive(("timesteps.npy", member), ("results.npy", member))}))
    assert "never unpickled" in said(store)
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("name", ["predictions.npz", "evaluations.npz"])
def test_that_a_header_that_promises_gigabytes_takes_none(tmp_path: Path, name: str) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (400000000,), }".ljust(117) + b"\n"
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(16)
    written(tmp_path, {f"run/{name}": archive(("timesteps.npy", member), ("results.npy", member))})
    assert "shorter than its header says" in said(opened(tmp_path))


def test_that_a_header_that_is_no_python_is_named(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (2L,), ".ljust(117) + b"\n"
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(16)
    assert "header is damaged" in said(opened(written(tmp_path, {"run/predictions.npz": archive(("a.npy", member))})))


@pytest.mark.parametrize("kind", ["<m8", "<M8", "|V8", "|V0"])
@pytest.mark.parametrize("shape", ["(5,)", "(5, 2)"])
@pytest.mark.parametrize("names", [("probs", "labels"), ("labels", "probs")])
def test_that_arrays_that_are_no_numbers_texts_or_times_are_named(
    tmp_path: Path, kind: str, shape: str, names: tuple[str, str]
) -> None:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(80)
    labels = io.BytesIO()
    np.save(labels, np.zeros(5, int))
    files = zip(names, (member, labels.getvalue()), strict=True)
    written(tmp_path, {"run/predictions.npz": archive(*((f"{name}.npy", data) for name, data in files))})
    assert "neither number, text nor time" in said(opened(tmp_path))


# -- folders --------------------------------------------------------------------------------------------------------------


def test_that_folders_that_all_link_to_one_another_are_each_met_once(tmp_path: Path) -> None:
    names = [f"d{number}" for number in range(14)]
    for name in names:
        written(tmp_path, {f"{name}/metrics.csv": LOG})
        for other in names:
            if other != name:
                (tmp_path / name / f"to-{other}").symlink_to(tmp_path / other)
    assert len(opened(tmp_path / "d0").runs) == len(names)


def test_that_a_link_to_itself_and_one_to_nothing_are_passed_over(tmp_path: Path) -> None:
    written(tmp_path, {"run/metrics.csv": LOG})
    (tmp_path / "run/loop").symlink_to(tmp_path / "run/loop")
    (tmp_path / "run/up").symlink_to("..")
    (tmp_path / "run/none.csv").symlink_to("nothing.csv")
    assert len(opened(tmp_path / "run").runs) == 1


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)<",
        "two\nlines",
        "\u202eexe.txt",
        '"><img src=x>',
        "%s {0} $x",
        "\x01\x1b[31m",
        " ",
        "-rf",
        "a" * 200,
    ],
)
def test_that_a_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    store = opened(written(tmp_path, {f"{name}/metrics.csv": LOG, "other/metrics.csv": LOG}))
    assert f"{tmp_path.name}/{name}" in store.runs
    assert not store.problems


# -- tables and lines -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["metrics.csv", "predictions.csv"])
def test_that_a_hundred_thousand_columns_are_refused_with_a_number(tmp_path: Path, name: str) -> None:
    head = "item,label,prediction,step," + ",".join(f"c{number}" for number in range(100_000))
    store = opened(written(tmp_path, {f"run/{name}": f"{head}\n" + ",".join(["1"] * 100_004) + "\n"}))
    assert "100004 columns" in said(store)


@pytest.mark.parametrize(
    ("name", "found"), [("metrics.csv", "1000002 columns"), ("predictions.csv", "1000002 columns")]
)
def test_that_a_million_columns_take_little_memory_and_time(tmp_path: Path, name: str, found: str) -> None:
    names = b"".join(b",c%d" % number for number in range(1_000_000))
    written(tmp_path, {f"run/{name}": b"step,loss" + names + b"\n" + b"1" + b",2" * 1_000_001 + b"\n"})
    tracemalloc.start()
    store = opened(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found in said(store)
    assert peak < 400 << 20


@pytest.mark.parametrize("name", ["metrics.jsonl", "train.log", "predictions.csv"])
def test_that_a_line_of_a_hundred_megabytes_is_not_held(tmp_path: Path, name: str) -> None:
    (tmp_path / "run").mkdir()
    with open(tmp_path / "run" / name, "wb") as file:
        file.write(
            b'{"item": 1, "label": 1, "prediction": "' if name.endswith("jsonl") else b"item,label,prediction\n1,1,"
        )
        for _ in range(100):
            file.write(b"9" * (1 << 20))
        file.write(b'"}\n' if name.endswith("jsonl") else b"\n")
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    opened(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 350 << 20
    assert pa.total_allocated_bytes() - before < 64 << 20


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("metrics.csv", LOG),
        ("metrics.jsonl", '{"step": 1, "loss": 2}\n'),
        ("train.log", "step 1 loss 2.0\nstep 2 loss 1.0\n"),
    ],
)
def test_that_a_line_without_end_is_not_read_on(tmp_path: Path, name: str, begins: str) -> None:
    written(tmp_path, {f"run/{name}": begins.encode() + b"9" * (17 << 20)})
    tracemalloc.start()
    store = opened(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "line of more than 16 MiB" in said(store)
    assert peak < 100 << 20


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "name",
    [
        "trainer_state.json", "eval.json", "metrics.jsonl", "results_2024-01-01T00-00-00.000000.json", "config.json",
        "params.json", "task.json", "run.json", "metrics.json", "result.json", "predictions.jsonl", "scores.json",
        "samples_x_2024-01-01T00-00-00.jsonl",
    ],
)  # fmt: skip
@pytest.mark.parametrize("closed", [True, False])
def test_that_deep_json_is_left_out(tmp_path: Path, name: str, closed: bool) -> None:
    text = '{"eval": {"run_id": 1}, "step": 1, "log_history": ' + DEEP + (DEEP.replace("[", "]") + "}") * closed
    store = opened(written(tmp_path, {f"run/{name}": text, "run/beside.csv": LOG}))
    assert any(run.curves for run in store.runs.values())


def test_that_a_log_whose_every_line_has_another_key_is_soon_read(tmp_path: Path) -> None:
    lines = "".join(f'{{"step": {number}, "c{number}": 1}}\n' for number in range(20_000))
    store = opened(written(tmp_path, {"run/metrics.jsonl": lines}))
    assert len(next(iter(store.runs.values())).curves) == 20_000


HUGE = "9" * 400


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metrics.jsonl", f'{{"step": 1, "loss": 1e999}}\n{{"step": {HUGE}, "loss": 1}}\n{{"step": 2, "loss": {HUGE}}}\n'),
        ("metrics.jsonl", '{"step": 1, "loss": NaN}\n{"step": NaN, "loss": 1}\n{"step": Infinity, "loss": 1}\n'),
        ("metrics.csv", f"step,loss\n1,{HUGE}\n{HUGE},nan\ninf,inf\n-inf,1\n2,3\n"),
        ("config.yaml", f"lr: {HUGE}\npeak_lr: {'9' * 900}\nseed: {HUGE}\nparams: 1e9999\nbatch_tokens: .nan\n"),
        ("config.json", f'{{"params": {HUGE}, "tokens": -{HUGE}, "seed": {HUGE}, "flops": Infinity}}'),
        ("trainer_state.json", f'{{"global_step": {HUGE}, "log_history": [{{"step": {HUGE}, "loss": {HUGE}}}]}}'),
        ("predictions.jsonl", f'{{"item": {HUGE}, "label": 1, "prediction": {HUGE}}}\n{{"item": 1, "label": null}}\n'),
        ("predictions.csv", "item,label,prediction\n1,inf,1\n2,1e300,nan\n"),
        ("scores.jsonl", f'{{"model": {HUGE}, "task": 1, "value": {HUGE}, "n": 1e999}}\n{{"model": 1, "value": NaN}}\n'),
        ("evals/predictions.csv", f"item,label,prediction,confidence\n1,1,1,{HUGE}\n2,1,1,nan\n"),
    ],
)  # fmt: skip
def test_that_numbers_no_machine_holds_are_no_crash(tmp_path: Path, name: str, text: str) -> None:
    store = opened(written(tmp_path, {f"run/{name}": text, "run/beside.csv": LOG}))
    for table in ("runs", "scalars", "scores", "predictions"):
        if store.has_rows(table):
            store.first_rows(table)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("metrics.jsonl", b'{"step": 1, "loss": 1, "loss": 2, "": 3}\n{"step": 2, "loss": 2, "": 1}\n'),
        ("metrics.csv", b"step,loss,loss,,\n1,2,3,4,5\n2,1,2,3,4\n"),
        ("metrics.csv", "step,größe\n1,2\n2,1\n".encode("latin-1")),
        ("metrics.csv", "step,loss\n1,2\n2,1\n".encode("utf-16")),
        ("metrics.csv", b"step,loss\n1,2\n\0\0\0\n2,1\n"),
        ("metrics.csv", b"step,\xff\xfe\n1,2\n2,1\n"),
        ("metrics.jsonl", b'{"step": 1, "\xff": 1}\n{"step": 2, "\xff": 2}\n'),
        ("metrics.jsonl", b'{"step": 1, "\\ud800": 1}\n{"step": 2, "\\ud800": 2}\n'),
        ("config.json", b'{"a": 1, "a": 2, "": {"": {"": 1}}}'),
        ("config.yaml", b"a: 1\na: 2\n'': 3\n? [x, y]\n: 4\n"),
        ("predictions.jsonl", b'{"item": "\\ud800", "label": "\\u202e", "prediction": "\\u0000"}\n'),
        ("train.log", b"step 1 loss 1.0 \xff\xfe\nstep 2 loss 0.5 \0\n"),
    ],
)  # fmt: skip
def test_that_strange_keys_and_bytes_are_data_or_a_problem(tmp_path: Path, name: str, data: bytes) -> None:
    store = opened(written(tmp_path, {f"run/{name}": data, "run/beside.csv": LOG}))
    for table in ("runs", "scalars", "predictions"):
        if store.has_rows(table):
            store.first_rows(table)


# -- YAML -----------------------------------------------------------------------------------------------------------------


def test_that_many_ways_to_the_same_key_are_not_all_walked() -> None:
    lines = ["x0: &x0 {a: 1}", *(f"x{n}: &x{n} {{a: *x{n - 1}, a.a: *x{n - 1}}}" for n in range(1, 31))]
    assert 0 < len(flattened(yaml_value("\n".join(lines)))) <= 5000


def test_that_a_mapping_merged_again_and_again_is_refused() -> None:
    keys = ", ".join(f"k{number}: 1" for number in range(20_000))
    text = f"a: &a {{{keys}}}\nb:\n  <<: [{', '.join(['*a'] * 50_000)}]\n"
    with pytest.raises(ReadError, match="too many"):
        yaml_value(text)


@pytest.mark.parametrize("name", ["config.yaml", "Env-v1/config.yml", "Env-v1/args.yml"])
def test_that_merges_of_merges_end(tmp_path: Path, name: str) -> None:
    lines = ["a0: &a0 {k: 1, j: 2}", "gamma: 0.9"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 12)]
    monitor = '#{"t_start": 1.0, "env_id": "Env-v1"}\nr,l,t\n1,2,3\n2,3,4\n'
    store = opened(written(tmp_path, {f"run/{name}": "\n".join(lines), "run/0.monitor.csv": monitor}))
    assert next(value for name, value in store.rows("runs").items() if name.endswith("gamma")).tolist() == [0.9]


# -- databases ------------------------------------------------------------------------------------------------------------


def hostile_database(path: Path, *statements: str) -> None:
    path.parent.mkdir(parents=True)
    shutil.copy(DATA / "mlflow" / "mlflow.db", path)
    with sqlite3.connect(path) as database:
        for statement in statements:
            database.execute(statement)
    database.close()


ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT kept.* FROM c, kept"


@pytest.mark.parametrize("table", ["metrics", "params", "tags", "runs", "experiments", "latest_metrics"])
def test_that_a_view_without_end_in_place_of_a_table_is_not_read(tmp_path: Path, table: str) -> None:
    hostile_database(
        tmp_path / "m/mlflow.db", f"ALTER TABLE {table} RENAME TO kept", f"CREATE VIEW {table} AS {ENDLESS}"
    )
    opened(tmp_path)


def test_that_cells_computed_by_a_schema_are_refused(tmp_path: Path) -> None:
    hostile_database(
        tmp_path / "m/mlflow.db",
        "ALTER TABLE params RENAME TO kept",
        "CREATE TABLE params (key text, run_uuid text, value text GENERATED ALWAYS AS (zeroblob(9)) VIRTUAL)",
        "INSERT INTO params (key, run_uuid) SELECT 'k', run_uuid FROM runs",
    )
    assert "computes its cells" in said(opened(tmp_path))


def no_text() -> pa.Array:
    """Give a column of text with one value, which is no UTF-8."""
    return pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"a\xff")]
    )


DETAILS = {"__doc__": ["id"], "__model_response__": ["text"], "__metric__": ["acc"]}
SERIES = ("run_id", "attribute_path", "attribute_type", "string_value", "timestamp", "step")
VALUES = {"int_value": pa.int64(), "float_value": pa.float64(), "bool_value": pa.bool_()}
OF_TEXT: Mapping[str, dict[str, pa.Array]] = {
    "details/o/m/T/details_lighteval|arc|0_2026-01-02T03-04-05.678901.parquet": {
        name: pa.StructArray.from_arrays([no_text()], fields) for name, fields in DETAILS.items()
    },
    "project/R-1_part_0.parquet": dict.fromkeys(SERIES, no_text())
    | {name: pa.nulls(1, kind) for name, kind in VALUES.items()},
    "all/scores.parquet": {"model": no_text(), "task": no_text(), "value": pa.array([0.5])},
    "predictions.parquet": {"item": no_text(), "label": no_text(), "prediction": no_text()},
}


@pytest.mark.parametrize("name", OF_TEXT)
def test_that_text_of_a_parquet_file_that_is_no_text_is_a_problem_of_this_file(name: str, tmp_path: Path) -> None:
    written(
        tmp_path, {"all/runglass-tables.json": '{"runglass_tables": 1, "runs": []}', "log/metrics.csv": LOG, name: ""}
    )
    parquet.write_table(pa.table(OF_TEXT[name]), tmp_path / name)
    store = opened(tmp_path)
    assert "Invalid UTF8" in said(store)
    assert [tag for run in store.runs.values() for tag in run.curves] == ["loss"]
    # And of names of columns, which nothing checks.
    (column, *_) = OF_TEXT[name]
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data.replace(column.encode(), column[:-1].encode() + b"\xff"))
    assert len(opened(tmp_path).problems) == 1


def named(entry: bytes) -> bytes:
    """Give an archive with one entry that is said to have a name in UTF-8, which it has not."""
    return archive(("xé.npy", b"")).replace("é".encode(), entry)


def of_version(version: int) -> bytes:
    """Give an archive that is said to need a version of its format to be unpacked."""
    data = bytearray(archive(("x.npy", b"")))
    data[data.index(b"PK\x01\x02") + 6] = version
    return bytes(data)


@pytest.mark.parametrize("name", ["a.eval", "b.npz", "ppo/evaluations.npz"])
@pytest.mark.parametrize("data", [named(b"\xec("), of_version(255)])
def test_that_archives_beyond_what_is_known_are_problems_of_their_own(name: str, data: bytes, tmp_path: Path) -> None:
    store = opened(written(tmp_path, {"log/metrics.csv": LOG, "ppo/monitor.csv": "", name: data}))
    assert "archive" in said(store) or "npz" in said(store)
    assert [tag for run in store.runs.values() for tag in run.curves] == ["loss"]
