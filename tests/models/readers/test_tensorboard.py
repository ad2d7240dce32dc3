from __future__ import annotations

import math
import os
import struct
import warnings
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tensorboardX
    from tensorboardX.proto.event_pb2 import Event as EventProto
    from tensorboardX.proto.event_pb2 import SessionLog
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
    from tensorboardX.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
    from tensorboardX.proto.tensor_pb2 import TensorProto
    from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto

from runglass.models.loader import Loader, load
from runglass.models.progress import quiet
from runglass.models.readers import tensorboard
from runglass.models.readers.base import Cursor, Entry, Match, Source
from runglass.models.readers.tensorboard import TensorBoardReader
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, Forgotten, Problem, Run

RUN = "folder/run"

pytestmark = pytest.mark.usefixtures("twin")


def record(payload: bytes, *, wrong_length_crc: bool = False, wrong_data_crc: bool = False) -> bytes:
    def masked(data: bytes) -> int:
        crc = google_crc32c.value(data)
        return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF

    length = struct.pack("<Q", len(payload))
    return (
        length
        + struct.pack("<I", masked(length) ^ wrong_length_crc)
        + payload
        + struct.pack("<I", masked(payload) ^ wrong_data_crc)
    )


def scalar(tag: str, value: float, step: int, wall: float | None = None) -> bytes:
    wall = 1.7e9 + step if wall is None else wall
    return EventProto(
        wall_time=wall, step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)])
    ).SerializeToString()


def tensor(tag: str, step: int, plugin: str = "scalars", **fields: Any) -> bytes:
    fields.setdefault("tensor_shape", TensorShapeProto())
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin))
    value = Summary.Value(tag=tag, tensor=TensorProto(**fields), metadata=metadata)
    return EventProto(wall_time=1.7e9 + step, step=step, summary=Summary(value=[value])).SerializeToString()


def source_of(folder: Path) -> Source:
    return Source(tuple(sorted(folder.glob("*tfevents*"))), RUN, RUN, "tensorboard")


def read(folder: Path, cursor: Cursor | None = None) -> list[Any]:
    return list(TensorBoardReader().read(source_of(folder), cursor, quiet))


def run_of(events: list[Any]) -> Run:
    return RunStore().adding(event for event in events if not isinstance(event, Cursor)).runs[RUN]


def problems_of(events: list[Any]) -> list[str]:
    return [event.what for event in events if isinstance(event, Problem)]


def write(folder: Path, *payloads: bytes, name: str = "events.out.tfevents.1700000000.host") -> Path:
    path = folder / name
    path.write_bytes(b"".join(map(record, payloads)))
    return path


def by_protobuf(path: Path) -> dict[str, list[tuple[int, float, float]]]:
    """Simple values of a file as the protobuf library decodes them: step, value and wall time by tag."""
    data, at, found = path.read_bytes(), 0, {}
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        event = EventProto.FromString(data[at + 12 : at + 12 + length])
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault(value.tag, []).append((event.step, value.simple_value, event.wall_time))
        at += 16 + length
    return found


def assert_equal_to_protobuf(run: Run, path: Path) -> None:
    expected = by_protobuf(path)
    assert set(run.curves) == set(expected)
    for tag, points in expected.items():
        steps, values, walls = map(np.array, zip(*points, strict=True))
        curve = run.curves[tag]
        np.testing.assert_array_equal(curve.step, steps)
        np.testing.assert_array_equal(curve.value, values.astype(np.float32))
        np.testing.assert_allclose(curve.wall_time, walls, rtol=0, atol=tensorboard.SAME_TIME)


# --- values ---


def test_that_what_tensorboardx_writes_is_read_as_protobuf_decodes_it(tmp_path: Path) -> None:
    with tensorboardX.SummaryWriter(str(tmp_path)) as writer:
        for step in range(300):
            for tag in ("loss", "train/acc", "lr", "val/loss"):
                writer.add_scalar(tag, math.sin(step) * len(tag), step)
            if step % 50 == 0:
                writer.add_histogram("weights", np.arange(step + 10.0), step)
                writer.add_text("note", "text " * step, step)
    (path,) = tmp_path.glob("*tfevents*")
    run = run_of(read(tmp_path))
    assert_equal_to_protobuf(run, path)
    assert run.curves["loss"].value.dtype == np.float32
    assert run.curves["loss"].step is run.curves["lr"].step


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "loss", "lass", "train/loss", "ü"]),
            st.floats(width=32),
            st.one_of(st.integers(0, 300), st.integers(-(2**63), 2**63 - 1)),
        ),
        max_size=80,
    )
)
@settings(max_examples=60, deadline=None)
def test_that_any_scalars_are_read_as_protobuf_decodes_them(
    tmp_path_factory: pytest.TempPathFactory, points: list[tuple[str, float, int]]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    path = write(folder, *(scalar(tag, value, step, 1e9 + n) for n, (tag, value, step) in enumerate(points)))
    store = RunStore().adding(e for e in read(folder) if not isinstance(e, Cursor))
    if points:
        assert_equal_to_protobuf(store.runs[RUN], path)
    else:
        assert not store.runs


def test_that_nan_and_infinity_stay(tmp_path: Path) -> None:
    values = [1.0, math.nan, math.inf, -math.inf] * 10
    write(tmp_path, *(scalar("loss", value, step) for step, value in enumerate(values)))
    np.testing.assert_array_equal(run_of(read(tmp_path)).curves["loss"].value, values)


BF16_2_5 = struct.pack("<f", 2.5)[2:]


@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"dtype": 1, "tensor_content": struct.pack("<f", 2.5)}, 2.5),
        ({"dtype": 1, "float_val": [0.1]}, np.float32(0.1)),
        ({"dtype": 1}, 0.0),
        ({"dtype": 2, "tensor_content": struct.pack("<d", 0.1)}, 0.1),
        ({"dtype": 2, "double_val": [0.1]}, 0.1),
        ({"dtype": 3, "int_val": [-7]}, -7),
        ({"dtype": 3, "tensor_content": struct.pack("<i", -7)}, -7),
        ({"dtype": 9, "int64_val": [-(2**40)]}, -(2**40)),
        ({"dtype": 9, "tensor_content": struct.pack("<q", 2**40)}, 2**40),
        ({"dtype": 19, "half_val": [int(np.array(2.5, np.float16).view(np.uint16))]}, 2.5),
        ({"dtype": 19, "tensor_content": np.array(2.5, "<f2").tobytes()}, 2.5),
        ({"dtype": 14, "half_val": [int.from_bytes(BF16_2_5, "little")]}, 2.5),
        ({"dtype": 14, "tensor_content": BF16_2_5}, 2.5),
        ({"dtype": 10, "bool_val": [True]}, 1),
    ],
)
def test_that_a_tensor_of_rank_0_is_a_scalar(
    tmp_path: Path, fields: dict[str, Any], expected: float, count: int
) -> None:
    write(tmp_path, *(tensor("x", step, **fields) for step in range(count)))
    curve = run_of(read(tmp_path)).curves["x"]
    np.testing.assert_array_equal(curve.value, np.full(count, expected))
    np.testing.assert_array_equal(curve.step, np.arange(count))


@pytest.mark.parametrize("count", [1, 40])
def test_that_vectors_texts_and_short_tensors_are_no_scalars(tmp_path: Path, count: int) -> None:
    vector = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    payloads = []
    for step in range(count):
        payloads += [
            tensor("vector", step, dtype=1, float_val=[1.0], tensor_shape=vector),
            tensor("text", step, plugin="text", dtype=7, string_val=[b"hello"]),
            tensor("short", step, dtype=2, tensor_content=b"1234"),
            scalar("loss", 1.0, step),
        ]
    write(tmp_path, *payloads)
    events = read(tmp_path)
    assert set(run_of(events).curves) == {"loss"}
    assert problems_of(events) == []


def test_that_several_values_of_one_event_become_one_piece(tmp_path: Path) -> None:
    payloads = []
    for step in range(100):
        values = [Summary.Value(tag=f"layer{n}", simple_value=step * n) for n in range(5)]
        payloads.append(EventProto(wall_time=1.0 + step, step=step, summary=Summary(value=values)).SerializeToString())
    write(tmp_path, *payloads)
    pieces = [event for event in read(tmp_path) if isinstance(event, CurvePiece)]
    assert len(pieces) == 1
    np.testing.assert_array_equal(pieces[0].values["layer4"], np.arange(100) * 4)


def test_that_tags_with_equal_steps_but_other_times_keep_their_times_and_share_their_steps(tmp_path: Path) -> None:
    payloads = []
    for step in range(50):
        payloads += [scalar("train", 1.0, step, 10.0 * step), scalar("eval", 2.0, step, 10.0 * step + 5)]
    write(tmp_path, *payloads)
    curves = run_of(read(tmp_path)).curves
    assert curves["train"].step is curves["eval"].step
    np.testing.assert_array_equal(curves["train"].wall_time, 10.0 * np.arange(50))
    np.testing.assert_array_equal(curves["eval"].wall_time, 10.0 * np.arange(50) + 5)


def test_that_many_tags_of_equal_length_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path, *(scalar(f"layer_{n:04}/norm", n, step) for step in range(20) for n in range(300)))
    curves = run_of(read(tmp_path)).curves
    assert len(curves) == 300
    assert all((curve.value == int(tag[6:10])).all() and len(curve) == 20 for tag, curve in curves.items())


def test_that_a_restart_stays_as_a_step_that_goes_back(tmp_path: Path) -> None:
    restart = EventProto(wall_time=1.0, step=5, session_log=SessionLog(status=SessionLog.START)).SerializeToString()
    write(tmp_path, *(scalar("loss", 1.0, step) for step in range(8)))
    resumed = [scalar("loss", 2.0, step) for step in range(5, 10)]
    write(tmp_path, restart, *resumed, name="events.out.tfevents.1700000000.host.2")
    curve = run_of(read(tmp_path)).curves["loss"]
    np.testing.assert_array_equal(curve.step, [*range(8), *range(5, 10)])


def test_that_what_add_hparams_wrote_below_a_run_is_part_of_it(tmp_path: Path) -> None:
    with tensorboardX.SummaryWriter(str(tmp_path / "a" / "run")) as writer:
        writer.add_scalar("loss", 0.5, 1)
        writer.add_hparams({"lr": 0.125, "opt": "adam"}, {"hparam/acc": 0.75})
        writer.add_hparams({"lr": 0.25}, {"hparam/acc": 0.5}, name="named")
    runs = load([tmp_path / "a"]).runs
    assert list(runs) == ["a/run", "a/run/named"]
    assert runs["a/run"].config == {"lr": 0.125, "opt": "adam"}
    assert {tag: curve.value.tolist() for tag, curve in runs["a/run"].curves.items()} == {
        "loss": [0.5],
        "hparam/acc": [0.75],
    }
    (folder,) = (path for path in (tmp_path / "a/run").iterdir() if path.is_dir() and path.name != "named")
    assert list(load([folder]).runs) == [folder.name]


def test_that_hparams_become_the_configuration_and_the_status(tmp_path: Path) -> None:
    content = HParamsPluginData()
    for name, value in {"lr": 0.1, "seed": 3.0}.items():
        content.session_start_info.hparams[name].number_value = value
    content.session_start_info.hparams["opt"].string_value = "adam"
    content.session_start_info.hparams["amp"].bool_value = True
    content.session_start_info.hparams["betas"].list_value.extend([0.9, 0.5])
    content.session_start_info.start_time_secs = 5.0
    end = HParamsPluginData()
    end.session_end_info.status = 2
    payloads = []
    for tag, data in (("_hparams_/session_start_info", content), ("_hparams_/session_end_info", end)):
        plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=data.SerializeToString())
        value = Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin))
        payloads.append(EventProto(wall_time=1.0, summary=Summary(value=[value])).SerializeToString())
    write(tmp_path, *payloads, scalar("loss", 1.0, 0))
    run = run_of(read(tmp_path))
    assert run.config == {"lr": 0.1, "seed": 3, "opt": "adam", "amp": True, "betas": "[0.9, 0.5]"}
    assert run.status == "failed"
    assert run.facts["started"] == 5.0
    assert set(run.curves) == {"loss"}


def of_hparams(content: bytes) -> bytes:
    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=content)
    value = Summary.Value(tag="_hparams_/x", metadata=SummaryMetadata(plugin_data=plugin))
    return EventProto(wall_time=1.0, summary=Summary(value=[value])).SerializeToString()


def test_that_hparams_may_be_nested_or_null_and_a_session_has_a_group_and_an_end(tmp_path: Path) -> None:
    content = HParamsPluginData()
    content.session_start_info.hparams["model"].struct_value["depth"] = 4
    content.session_start_info.hparams["model"].struct_value["name"] = "small"
    content.session_start_info.hparams["none"].null_value = 0
    content.session_start_info.group_name = "sweep"
    content.session_start_info.model_uri = "passed over"
    end = HParamsPluginData()
    end.session_end_info.status = 1
    end.session_end_info.end_time_secs = 9.0
    write(
        tmp_path, of_hparams(content.SerializeToString()), of_hparams(end.SerializeToString()), scalar("loss", 1.0, 0)
    )
    run = run_of(read(tmp_path))
    assert {key: value for key, value in run.config.items() if value is not None} == {
        "model.depth": 4, "model.name": "small", "hparams.group": "sweep",
    }  # fmt: skip
    assert (run.status, run.facts["ended"]) == ("finished", 9.0)


@pytest.mark.parametrize("content", [b"\xff" * 11, b"\x12\x7f", b"", b"\x12\x02\x0a\x00"])
def test_that_damaged_hparams_cost_no_curve(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, of_hparams(content), scalar("loss", 1.0, 0))
    run = run_of(read(tmp_path))
    assert run.curves["loss"].value.tolist() == [1.0]
    assert not run.config


# --- damage ---


def test_that_a_wrong_checksum_of_the_data_costs_one_record(tmp_path: Path) -> None:
    bad = {0, 7, 55}
    records = [record(scalar("loss", step, step), wrong_data_crc=step in bad) for step in range(100)]
    (tmp_path / "events.out.tfevents.1.h").write_bytes(b"".join(records))
    events = read(tmp_path)
    np.testing.assert_array_equal(run_of(events).curves["loss"].step, [s for s in range(100) if s not in bad])
    assert problems_of(events) == ["3 records are damaged and left out."]


@pytest.mark.parametrize("at", [1, 5, 30, -2])
def test_that_a_flipped_bit_in_any_place_never_changes_a_value(tmp_path: Path, at: int) -> None:
    records = [record(scalar("loss", step, step)) for step in range(100)]
    damaged = bytearray(records[50])
    damaged[at] ^= 16
    (tmp_path / "events.out.tfevents.1.h").write_bytes(b"".join([*records[:50], damaged, *records[51:]]))
    events = read(tmp_path)
    curve = run_of(events).curves["loss"]
    np.testing.assert_array_equal(curve.value, curve.step)
    assert len(curve) == (50 if at in (1, 5) else 99)
    assert len(problems_of(events)) == 1


def rows(steps: range, tags: tuple[str, ...] = ("loss", "accuracy", "lr")) -> list[bytes]:
    """Give records as a regular log has them: every tag at every step, their times a little apart."""
    return [
        scalar(tag, step + number / 4, step, 1.7e9 + step + number * 1e-5)
        for step in steps
        for number, tag in enumerate(tags)
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 40])
@pytest.mark.parametrize("every", [1, 3, 122, 183])
def test_that_the_same_damage_in_several_records_of_a_regular_log_is_found_in_all_of_them(
    tmp_path: Path, count: int, every: int
) -> None:
    payloads = rows(range(200, 4000))
    records = [record(payload) for payload in payloads]
    wrong = [300 + number * every for number in range(count)]
    for number in wrong:
        damaged = bytearray(records[number])
        damaged[-6] ^= 0x40  # in the value, just before the checksum
        records[number] = bytes(damaged)
    (tmp_path / "events.out.tfevents.1.h").write_bytes(b"".join(records))
    events = read(tmp_path)
    curves = run_of(events).curves
    assert sum(map(len, curves.values())) == len(payloads) - count
    assert problems_of(events)[0].startswith(f"{count} record")
    for number, tag in enumerate(("loss", "accuracy", "lr")):
        np.testing.assert_array_equal(curves[tag].value, curves[tag].step + number / 4)


def test_that_a_regular_log_is_read_as_an_irregular_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = EventProto(
        wall_time=1.7e9,
        step=150,
        summary=Summary(value=[Summary.Value(tag="i", image=Summary.Image(encoded_image_string=bytes(900)))]),
    ).SerializeToString()
    payloads = [
        *rows(range(150)),
        image,
        *rows(range(150, 300), ("loss", "lr")),
        *rows(range(300, 310)),
        *rows(range(100, 20_000)),
    ]
    path = write(tmp_path, *payloads)
    regular = run_of(read(tmp_path)).curves
    monkeypatch.setattr(tensorboard, "PATIENCE", 0)
    irregular = run_of(read(tmp_path)).curves
    assert regular.keys() == irregular.keys() == by_protobuf(path).keys()
    for tag, points in by_protobuf(path).items():
        for curves in (regular, irregular):
            np.testing.assert_array_equal(curves[tag].step, [step for step, *_ in points])
            np.testing.assert_array_equal(curves[tag].value, np.float32([value for _, value, _ in points]))
            np.testing.assert_allclose(curves[tag].wall_time, [wall for *_, wall in points], atol=tensorboard.SAME_TIME)
    assert regular["loss"].step is regular["lr"].step


@pytest.mark.parametrize("kind", ["image", "audio", "histo"])
@pytest.mark.parametrize("also", [False, True])
def test_that_media_are_passed_over_and_what_stands_beside_them_is_not(tmp_path: Path, kind: str, also: bool) -> None:
    content = {
        "image": {"image": Summary.Image(encoded_image_string=bytes(2000))},
        "audio": {"audio": Summary.Audio(encoded_audio_string=bytes(2000))},
        "histo": {"histo": HistogramProto(bucket=[1.0] * 200)},
    }[kind]
    values = [Summary.Value(tag="media", **content)] + [Summary.Value(tag="loss", simple_value=0.5)] * also
    payloads = [
        EventProto(wall_time=1.7e9 + step, step=step, summary=Summary(value=values)).SerializeToString()
        for step in range(5)
    ]
    path = write(tmp_path, *payloads)
    data = bytearray(path.read_bytes())
    data[len(record(payloads[0])) + 700] ^= 1  # in the content of the second one
    path.write_bytes(data)
    events = read(tmp_path)
    assert problems_of(events) == ["1 record is damaged and left out."]
    curves = [event for event in events if isinstance(event, CurvePiece)]
    assert [piece.step.tolist() for piece in curves] == [[0, 2, 3, 4]] * also


def test_that_a_wrong_checksum_of_a_length_ends_the_file_and_keeps_what_came_before(tmp_path: Path) -> None:
    good = [record(scalar("loss", 1.0, step)) for step in range(20)]
    data = b"".join([*good, record(scalar("loss", 1.0, 20), wrong_length_crc=True), *good])
    (tmp_path / "events.out.tfevents.1.h").write_bytes(data)
    events = read(tmp_path)
    assert len(run_of(events).curves["loss"]) == 20
    (problem,) = problems_of(events)
    assert f"behind byte {len(b''.join(good)):,}" in problem
    again = read(tmp_path, events[-1])
    assert problems_of(again) == [problem]
    assert not any(isinstance(event, CurvePiece) for event in again)


def test_that_an_incomplete_last_record_is_read_once_it_is_whole(tmp_path: Path) -> None:
    data = b"".join(record(scalar("loss", step, step)) for step in range(30))
    path = tmp_path / "events.out.tfevents.1.h"
    path.write_bytes(data[:-9])
    events = read(tmp_path)
    assert len(run_of(events).curves["loss"]) == 29
    assert "incomplete" in problems_of(events)[0]
    path.write_bytes(data)
    more = read(tmp_path, events[-1])
    assert problems_of(more) == []
    assert len(run_of(events[:-1] + more).curves["loss"]) == 30


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_that_garbage_becomes_a_problem_and_nothing_else(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("garbage")
    (folder / "events.out.tfevents.1.h").write_bytes(data)
    *events, cursor = read(folder)
    assert isinstance(cursor, Cursor)
    assert [type(event) for event in events] == [Problem]


@given(st.lists(st.binary(max_size=40), min_size=15, max_size=40))
@settings(max_examples=60, deadline=None)
def test_that_sound_records_that_are_no_events_do_no_harm(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("records")
    write(folder, *payloads, *(scalar("loss", 1.0, step) for step in range(20)))
    run = run_of(read(folder))
    assert len(run.curves["loss"]) == 20


def test_that_a_huge_length_allocates_nothing(tmp_path: Path) -> None:
    length = struct.pack("<Q", 1 << 61)
    crc = tensorboard.masked_crc(length)
    path = tmp_path / "events.out.tfevents.1.h"
    path.write_bytes(record(scalar("loss", 1.0, 0)) + length + struct.pack("<I", crc) + b"abc")
    events = read(tmp_path)
    assert len(run_of(events).curves["loss"]) == 1
    assert "incomplete" in problems_of(events)[0]


def test_that_an_empty_a_garbage_and_an_unreadable_file_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    write(tmp_path, scalar("loss", 1.0, 0), name="events.out.tfevents.1.good")
    (tmp_path / "events.out.tfevents.2.empty").write_bytes(b"")
    (tmp_path / "events.out.tfevents.3.garbage").write_bytes(os.urandom(5000))
    os.mkfifo(tmp_path / "events.out.tfevents.4.pipe")
    events = read(tmp_path)
    assert len(run_of(events).curves["loss"]) == 1
    named = {event.source.rpartition(".")[2]: event.what for event in events if isinstance(event, Problem)}
    assert set(named) == {"empty", "garbage", "pipe"}
    assert named["empty"] == "It is empty."


# --- growing ---


@given(st.integers(0, 2**32), st.lists(st.floats(0, 1), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_that_reading_in_parts_gives_what_reading_at_once_gives(
    tmp_path_factory: pytest.TempPathFactory, seed: int, cuts: list[float]
) -> None:
    random = np.random.default_rng(seed)
    tags = ["a", "bb", "loss"]
    payloads = [scalar(tags[random.integers(3)], random.random(), int(step)) for step in range(60)]
    payloads.insert(3, EventProto(wall_time=1.0, file_version="brain.Event:2").SerializeToString())
    data = b"".join(map(record, payloads))
    folder = tmp_path_factory.mktemp("parts")
    path = folder / "events.out.tfevents.1.h"
    events, cursor = [], None
    for cut in [*sorted(cuts), 1.0]:
        path.write_bytes(data[: int(cut * len(data))])
        *new, cursor = read(folder, cursor)
        events += new
    at_once = run_of(read(folder))
    in_parts = run_of(events)
    assert set(at_once.curves) == set(in_parts.curves)
    for tag, curve in at_once.curves.items():
        np.testing.assert_array_equal(in_parts.curves[tag].step, curve.step)
        np.testing.assert_array_equal(in_parts.curves[tag].value, curve.value)
        np.testing.assert_allclose(in_parts.curves[tag].wall_time, curve.wall_time)


def test_that_small_chunks_give_the_same_curves_and_keep_tags_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = EventProto(wall_time=1.0, graph_def=bytes(3000)).SerializeToString()
    values = [scalar(tag, step, step, 1.0 + step) for step in range(200) for tag in ("a", "b", "c")]
    path = write(tmp_path, graph, *values[:300], graph, *values[300:])
    monkeypatch.setattr(tensorboard, "CHUNK", 1000)
    events = read(tmp_path)
    run = run_of(events)
    assert_equal_to_protobuf(run, path)
    assert run.curves["a"].step is run.curves["c"].step
    assert problems_of(events) == []


def test_that_a_file_that_appears_later_goes_on_with_the_run(tmp_path: Path) -> None:
    write(tmp_path, scalar("loss", 1.0, 0))
    *events, cursor = read(tmp_path)
    write(tmp_path, scalar("loss", 2.0, 1), name="events.out.tfevents.1700000001.host")
    more = read(tmp_path, cursor)
    np.testing.assert_array_equal(run_of(events + more).curves["loss"].value, [1.0, 2.0])


@pytest.mark.parametrize("change", ["shrunk", "replaced", "gone"])
def test_that_a_file_that_did_not_grow_is_forgotten_and_read_again(tmp_path: Path, change: str) -> None:
    path = write(tmp_path, *(scalar("loss", 1.0, step) for step in range(5)))
    write(tmp_path, scalar("loss", 2.0, 9), name="events.out.tfevents.1700000001.host")
    *events, cursor = read(tmp_path)
    if change == "shrunk":
        write(tmp_path, scalar("loss", 1.0, 0))
    elif change == "replaced":
        write(tmp_path, *(scalar("loss", 3.0, step) for step in range(100, 110)))
    else:
        path.unlink()
    more = read(tmp_path, cursor)
    assert isinstance(more[0], Forgotten)
    assert change in more[0].what
    expected = {"shrunk": [0, 9], "replaced": [*range(100, 110), 9], "gone": [9]}[change]
    np.testing.assert_array_equal(run_of(events + more).curves["loss"].step, expected)


# --- what is an event file ---


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("events.out.tfevents.1548797801.omaha", Match.YES),
        ("events.out.tfevents.1709632926.30e78ebab894.1498.0.v2", Match.YES),
        ("events.out.tfevents.1.host.profile-empty", Match.NO),
        ("read_tfevents.py", Match.NO),
    ],
)
def test_that_event_files_are_known_by_their_names(tmp_path: Path, name: str, match: Match) -> None:
    assert TensorBoardReader().match(Entry(tmp_path / name, name)) is match


# --- real files ---


def test_that_the_simple_values_of_mnist_are_those_the_event_accumulator_gives(shared_data: Path) -> None:
    run = run_of(read(shared_data / "runs/tensorboard_v1/mnist"))
    assert sorted(run.curves) == ["acc", "loss", "val_acc", "val_loss"]
    assert {len(curve) for curve in run.curves.values()} == {20}
    np.testing.assert_allclose(run.curves["loss"].value[[0, -1]], [0.2473653, 0.0190362], atol=1e-6)
    np.testing.assert_allclose(run.curves["acc"].value[[0, -1]], [0.9234, 0.99515], atol=1e-6)


def test_that_the_tensors_of_algoperf_are_read(shared_data: Path) -> None:
    folder = shared_data / "runs/algoperf/baseline/study_0/ogbg_jax/trial_1"
    run = run_of(read(folder))
    assert len(run.curves["loss"]) == 1723
    assert run.curves["test/loss"].step[-1] == 171674
    assert len(run.curves["test/loss"]) == 231


def test_that_no_real_event_file_has_a_problem(shared_data: Path) -> None:
    folders = {path.parent for path in (shared_data / "runs").rglob("*tfevents*")}
    assert len(folders) > 20
    assert [problem for folder in folders for problem in problems_of(read(folder))] == []


def test_that_a_file_that_joins_the_first_one_goes_on_with_the_run_that_is_open(tmp_path: Path) -> None:
    write(tmp_path, scalar("loss", 1.0, 0))
    loader = Loader([tmp_path])
    store = RunStore().adding(event for batch in loader.new_events() for event in batch)
    write(tmp_path, scalar("loss", 2.0, 1), name="events.out.tfevents.1700000001.host")
    store = store.adding(event for batch in loader.new_events() for event in batch)
    (run,) = store.runs.values()
    np.testing.assert_array_equal(run.curves["loss"].value, [1.0, 2.0])
    assert store.problems == ()


@pytest.mark.parametrize("paths", [["*tfevents*"], ["events.out.tfevents.2.host", "events.out.tfevents.1.host"]])
def test_that_event_files_that_are_opened_by_themselves_are_one_run(tmp_path: Path, paths: list[str]) -> None:
    for number in (1, 2):
        write(tmp_path, scalar("loss", number, number), name=f"events.out.tfevents.{number}.host")
    store = load([tmp_path / path for path in paths])
    assert list(store.runs) == [tmp_path.name]
    np.testing.assert_array_equal(store.runs[tmp_path.name].curves["loss"].value, [1.0, 2.0])


def overlong(step: int) -> bytes:
    """Give an event whose step has more bytes than it needs, which a parser of protobuf takes."""
    return scalar("loss", 1.0, 5).replace(b"\x10\x05", b"\x10" + bytes([step | 0x80, 0x80, 0x00]), 1)


ODD = {
    "plain": record(scalar("loss", 1.0, 5)),
    "no step": record(scalar("loss", 1.0, 0)),
    "an overlong step": record(overlong(6)),
    "a wrong checksum of a length": record(scalar("loss", 1.0, 5), wrong_length_crc=True),
    "a wrong checksum of the data": record(scalar("loss", 1.0, 5), wrong_data_crc=True),
    "no event": record(b"\xff" * 30),
    "an empty record": record(b""),
    "a time that comes twice": record(struct.pack("<Bd", 9, 1.0) + scalar("loss", 1.0, 5)),
    "no time": record(scalar("loss", 1.0, 5)[9:]),
    "hyper-parameters": record(of_hparams(HParamsPluginData().SerializeToString())),
    "a histogram": record(
        EventProto(
            wall_time=1.7e9, step=5, summary=Summary(value=[Summary.Value(tag="h", histo=HistogramProto(num=1))])
        ).SerializeToString()
    ),
    "a double after floats": record(tensor("loss", 5, dtype=2, double_val=[1 / 3])),
    "a tensor of many numbers": record(
        tensor("loss", 5, dtype=1, tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=2)]), float_val=[1, 2])
    ),
    "half a record": record(scalar("loss", 1.0, 5))[:-7],
    "half a header": record(scalar("loss", 1.0, 5))[:5],
    "many lengths": b"".join(record(scalar("t" * n, 1.0, n)) for n in range(1, 400)),
    "as many tags": b"".join(record(scalar(f"t{n:03}", 1.0, n)) for n in range(400)),
}


@pytest.mark.parametrize("odd", ODD)
def test_that_whatever_is_appended_is_read_as_in_the_whole_file(tmp_path: Path, odd: str) -> None:
    path = write(tmp_path, *(scalar("loss", 1.0 / (step + 1), step) for step in range(5)))
    *events, cursor = read(tmp_path)
    after = b"".join(record(scalar("loss", 3.0, step)) for step in range(7, 9))
    for more in (ODD[odd], ODD[odd], after):
        with open(path, "ab") as file:
            file.write(more)
        *new, cursor = read(tmp_path, cursor)
        events += new
    at_once = read(tmp_path)
    ours, theirs = run_of(events), run_of(at_once)
    assert ours.curves.keys() == theirs.curves.keys()
    for tag, curve in theirs.curves.items():
        np.testing.assert_array_equal(ours.curves[tag].step, curve.step)
        np.testing.assert_array_equal(ours.curves[tag].value, curve.value)
        np.testing.assert_array_equal(ours.curves[tag].wall_time, curve.wall_time)


def test_that_what_was_appended_beyond_a_little_is_read_like_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard._Tails, "MOST_BYTES", 100)
    path = write(tmp_path, scalar("loss", 1.0, 0))
    *events, cursor = read(tmp_path)
    with open(path, "ab") as file:
        file.write(b"".join(record(scalar("loss", 2.0, step)) for step in range(1, 50)))
    assert run_of(events + read(tmp_path, cursor)).curves["loss"].step.tolist() == [*range(50)]
