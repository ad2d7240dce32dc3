"""Tables of results in every format, and files that mean harm."""

from __future__ import annotations

import io
import json
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runglass.models.errors import ReadError
from runglass.models.progress import quiet
from runglass.models.readers.base import Cursor, Entry, Match, Source
from runglass.models.readers.table_file import TableFileReader, model_of
from runglass.models.store import RunStore
from runglass.models.tables import Problem, TableRows

READER = TableFileReader()


def read(path: Path, relative: str = "") -> tuple[TableRows, list[str]]:
    source = Source((path,), relative or path.name, "folder", READER.name)
    rows, *problems, cursor = READER.read(source, None, quiet)
    assert isinstance(cursor, Cursor)
    assert isinstance(rows, TableRows)
    return rows, [problem.what for problem in problems if isinstance(problem, Problem)]


def written(folder: Path, text: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet", "t.jsonl", "t.npz"])
def test_that_the_same_table_in_every_format_gives_the_same_predictions(tmp_path: Path, name: str) -> None:
    table = pd.DataFrame({"item": [3, 4], "label": ["a", "b"], "prediction": ["a", "a"], "confidence": [0.75, 0.5]})
    path = tmp_path / name
    match path.suffix:
        case ".csv" | ".tsv":
            table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
        case ".parquet":
            table.to_parquet(path)
        case ".jsonl":
            table.to_json(path, orient="records", lines=True)
        case ".npz":
            np.savez(
                path,
                **{
                    column: table[column].to_numpy(dtype=None if column in ("item", "confidence") else "U1")
                    for column in table
                },
            )
    assert READER.match(Entry(path, name)) is Match.MAYBE
    rows, problems = read(path)
    assert (rows.table, problems) == ("predictions", [])
    assert rows.frame["item"].tolist() == [3, 4]
    assert rows.frame["correct"].tolist() == [1.0, 0.0]
    assert rows.frame["confidence"].tolist() == [0.75, 0.5]
    assert rows.frame["model"].tolist() == ["t", "t"]


@pytest.mark.parametrize(
    ("relative", "model"),
    [
        ("runs/v1/predictions.npz", "v1"),
        ("runs/v1/test_probs.csv", "v1"),
        ("nets/lenet.npz", "lenet"),
        ("preds.csv", "preds"),
    ],
)
def test_that_the_model_is_named_by_the_file_or_else_its_folder(relative: str, model: str) -> None:
    assert model_of(relative) == model


def test_that_probabilities_in_lists_become_a_column_for_each_class(tmp_path: Path) -> None:
    lines = [{"id": 1, "label": 1, "probs": [0.25, 0.75]}, {"id": 2, "label": 1, "probs": [0.5, 0.5]}]
    rows, _ = read(written(tmp_path, "".join(json.dumps(line) + "\n" for line in lines), "out.jsonl"))
    assert rows.frame["prob.1"].tolist() == [0.75, 0.5]
    assert rows.frame["correct"].tolist() == [1.0, 0.0]
    pd.DataFrame(lines).to_parquet(tmp_path / "out.parquet")
    again, _ = read(tmp_path / "out.parquet")
    assert again.frame["confidence"].tolist() == [0.75, 0.5]


def test_that_logits_called_predictions_are_told_from_probabilities(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    np.savez(path, predictions=np.array([[5.0, -1.0], [0.0, 2.0]]), labels=np.array([0, 0]))
    rows, _ = read(path)
    assert {"logit.0", "logit.1"} <= set(rows.frame.columns)
    assert rows.frame["correct"].tolist() == [1.0, 0.0]
    assert rows.frame["confidence"].between(0.5, 1).all()


def test_that_one_probability_a_row_is_that_of_class_one(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    np.savez(path, probs=np.array([0.9, 0.2]), labels=np.array([[1], [1]]))
    rows, _ = read(path)
    assert rows.frame["prediction"].tolist() == [1, 0]
    assert rows.frame["confidence"].tolist() == pytest.approx([0.9, 0.8])


def test_that_names_may_come_twice_or_be_empty(tmp_path: Path) -> None:
    rows, _ = read(written(tmp_path, ",loss,loss,note\n0,1,2,\n1,3,4,x\n"))
    assert list(rows.frame.columns) == ["Unnamed: 0", "loss", "loss.1", "note"]
    assert rows.frame["note"].isna().tolist() == [True, False]


def test_that_text_keeps_na_and_numbers_take_it_as_missing(tmp_path: Path) -> None:
    rows, _ = read(written(tmp_path, "symbol,mass\nNA,1.5\nFe,NA\n"))
    assert rows.frame["symbol"].tolist() == ["NA", "Fe"]
    assert rows.frame["mass"].isna().tolist() == [False, True]


def test_that_rows_of_another_width_are_counted(tmp_path: Path) -> None:
    rows, problems = read(written(tmp_path, 'a,b\n1,2\n3\n"x\ny",5\n'))
    assert len(rows.frame) == 2
    assert problems == ["1 row left out: not 2 cells as in the header."]


def test_that_text_that_is_not_utf_8_is_read(tmp_path: Path) -> None:
    rows, _ = read(written(tmp_path, "a,é\n1,ü\n".encode("latin-1")))
    assert rows.frame["é"].tolist() == ["ü"]


def test_that_nested_rows_are_flattened_and_long_lists_are_text(tmp_path: Path) -> None:
    rows, problems = read(written(tmp_path, '{"doc_id": 0, "m": {"x": {"y": 1}}, "l": ["a", 1]}\n{broken\n', "s.jsonl"))
    assert rows.frame["m.x.y"].tolist() == [1]
    assert rows.frame["l"].tolist() == ['["a", 1]']
    assert problems == ["1 line left out: not a JSON object."]


# -- harm ---------------------------------------------------------------------------------------------------------------


class Harm:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_that_arrays_of_objects_are_named_and_never_unpickled(tmp_path: Path) -> None:
    path, proof = tmp_path / "x.npz", tmp_path / "proof"
    np.savez(path, evil=np.array([Harm(proof)], dtype=object), a=np.arange(3), b=np.arange(3.0))
    rows, problems = read(path)
    assert not proof.exists()
    assert list(rows.frame.columns) == ["a", "b"]
    assert "evil" in problems[0]
    np.savez(path, evil=np.array([Harm(proof)], dtype=object))
    with pytest.raises(ReadError, match="unpickled"):
        read(path)
    assert not proof.exists()


def npy(shape: str, data: bytes = b"") -> bytes:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize("shape", ["(10000000000000,)", "(2,)", "(-1,)", "('x',)"])
def test_that_a_header_that_promises_more_than_is_there_takes_no_memory(tmp_path: Path, shape: str) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", npy(shape, b"\0" * 8))
    with pytest.raises(ReadError):
        read(path)


def test_that_an_npz_that_unpacks_to_far_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", npy("(4,)", b"\0" * 32))
    data = bytearray(path.read_bytes())
    entry = data.rfind(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (0xFFFFFFF0).to_bytes(4, "little")  # what it says it unpacks to
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
        assert archive.infolist()[0].file_size > 4_000_000_000
    path.write_bytes(bytes(data))
    with pytest.raises(ReadError):
        read(path)


@pytest.mark.parametrize("name", ["t.parquet", "t.npz"])
def test_that_a_truncated_file_is_a_read_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("npz"):
        np.savez(path, a=np.arange(1000))
    else:
        pd.DataFrame({"a": range(1000)}).to_parquet(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ReadError, match="not a whole one"):
        read(path)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet", "t.jsonl", "t.npz"])
def test_that_an_empty_file_is_said_to_be_empty(tmp_path: Path, name: str) -> None:
    with pytest.raises(ReadError, match="empty"):
        read(written(tmp_path, b"", name))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(data=st.binary(min_size=1, max_size=200), name=st.sampled_from(["t.csv", "t.parquet", "t.jsonl", "t.npz"]))
def test_that_garbage_raises_nothing_but_read_errors(tmp_path: Path, data: bytes, name: str) -> None:
    for text in (data, b"a,b\n" + data, b'{"a": 1}\n' + data, b"PAR1" + data + b"PAR1", b"PK\x03\x04" + data):
        with suppress(ReadError):
            read(written(tmp_path, text, name))


def test_that_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    rows, _ = read(written(tmp_path, "item,label,prediction\n"))
    assert {"item", "label", "prediction"} <= set(rows.frame.columns)
    assert len(rows.frame) == 0


# -- real tables --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ("Mistral-7B-Instruct-v0.1", "Mistral-7B-Instruct-v0.2", (1146, 1700, 7426, 1760)),
        ("Mistral-7B-v0.1", "Mistral-7B-v0.2-hf", (1073, 1001, 7449, 2509)),
        ("Mixtral-8x7B-v0.1", "Mixtral-8x7B-Instruct-v0.1", (1241, 1483, 5751, 3557)),
    ],
)
def test_that_flips_between_answers_to_mmlu_pro_are_counted_as_published(
    shared_data: Path, old: str, new: str, counts: tuple[int, int, int, int]
) -> None:
    rows, _ = read(shared_data / "compatibility/mmlu_pro/answers.csv")
    table = RunStore().adding([rows]).rows("predictions")
    wide = table.pivot(index="item", columns="model", values="correct")
    before, after = wide[old] == 1, wide[new] == 1
    assert len(wide) == 12032
    found = ((before & ~after), (~before & after), (~before & ~after), (before & after))
    assert tuple(int(one.sum()) for one in found) == counts


@pytest.mark.parametrize(
    ("path", "accuracy", "confidence"),
    [
        ("vgg_cifar10/cifar_probs.npz", 0.9359, 0.97557325),
        ("netcal_cifar10/wideresnet-16-4-cifar-10.npz", 0.9109, 0.9646163),
        ("netcal_cifar10/lenet-5-cifar-10.npz", 0.5308, 0.63868788),
    ],
)
def test_that_networks_on_cifar_have_their_published_accuracy_and_confidence(
    shared_data: Path, path: str, accuracy: float, confidence: float
) -> None:
    rows, _ = read(shared_data / "calibration" / path)
    assert rows.table == "predictions"
    assert len(rows.frame) == 10_000
    assert rows.frame["correct"].mean() == pytest.approx(accuracy, abs=1e-9)
    assert rows.frame["confidence"].astype(float).mean() == pytest.approx(confidence, abs=1e-7)


def test_that_two_networks_on_the_same_images_join_on_the_item(shared_data: Path) -> None:
    folder = shared_data / "calibration/netcal_cifar10"
    store = RunStore().adding([read(path, f"nets/{path.name}")[0] for path in sorted(folder.glob("*.npz"))])
    wide = store.rows("predictions").pivot(index="item", columns="model", values="label")
    assert wide.shape == (10_000, 2)
    assert (wide.iloc[:, 0] == wide.iloc[:, 1]).all()


@pytest.mark.parametrize(("name", "models", "tasks"), [("GLUE", 87, 9), ("SuperGLUE", 28, 8), ("VTAB", 16, 19)])
def test_that_leaderboards_have_all_their_models_and_tasks(
    shared_data: Path, name: str, models: int, tasks: int
) -> None:
    rows, _ = read(shared_data / f"ranking/leaderboards/{name}_scores.csv")
    assert rows.table == "scores"
    assert (rows.frame["model"].nunique(), rows.frame["task"].nunique()) == (models, tasks)
    assert len(rows.frame) == models * tasks


def test_that_benchmark_scores_keep_the_sizes_of_their_models(shared_data: Path) -> None:
    rows, _ = read(shared_data / "scaling/observational/base_llm_benchmark_eval.csv")
    assert rows.table == "scores"
    assert rows.frame["task"].nunique() == 8
    assert {"Model Family", "Model Size (B)", "FLOPs (1E21)"} <= set(rows.frame.columns)


@pytest.mark.parametrize(
    ("path", "rows"),
    [
        ("gemstones/hot.jsonl", 220),
        ("gemstones/chinchilla_points.csv", 245),
        ("isoflop_porian/points.csv", 458),
        ("isoflop_porian/optima.csv", 47),
        ("overtraining/eval_metadata.csv", 51),
    ],
)
def test_that_tables_of_runs_keep_the_names_of_their_columns(shared_data: Path, path: str, rows: int) -> None:
    found, problems = read(shared_data / "scaling" / path)
    assert (found.table, len(found.frame), problems) == ("", rows, [])
    assert RunStore().adding([found]).table_problems == ()


def test_that_an_array_of_items_names_the_rows_of_probabilities(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    np.savez(path, prob=np.array([[0.9, 0.1], [0.2, 0.8]]), label=np.array([0, 0]), item=np.array(["q7", "q9"]))
    rows, _ = read(path)
    assert rows.frame["item"].tolist() == ["q7", "q9"]
