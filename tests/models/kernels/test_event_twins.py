"""Both twins of the kernels of event files give the same bits, whatever the files hold."""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runglass.models import kernels
from runglass.models.kernels import event_rows
from runglass.models.kernels.event_rows import Form
from runglass.models.progress import quiet
from runglass.models.readers import tensorboard
from runglass.models.readers.base import Source
from runglass.models.readers.tensorboard import TensorBoardReader
from runglass.models.tables import CurvePiece

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("runglass.models.kernels._compiled") is None,
    reason="the compiled kernels were not built: there was no compiler",
)


def of_both(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Switch from twin to twin."""
    compiled: ModuleType = importlib.import_module("runglass.models.kernels._compiled")
    for name, module in (("numpy", None), ("compiled", compiled)):
        monkeypatch.setattr(kernels, "_in_use", module)
        yield name


# -- records, as loggers write them and as none does ----------------------------------------------------------------------


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes | int | float) -> bytes:
    if isinstance(content, bytes):
        return varint(number << 3 | 2) + varint(len(content)) + content
    if isinstance(content, int):
        return varint(number << 3) + varint(content & (1 << 64) - 1)
    return varint(number << 3 | 1) + struct.pack("<d", content)


def single(number: int, bits: int) -> bytes:
    return varint(number << 3 | 5) + struct.pack("<I", bits)


BITS = st.sampled_from([0, 0x3F800000, 0x80000000, 0x7F800000, 0x7FC00000, 0x7F800001, 0xFFFFFFFF]) | st.integers(
    0, 2**32 - 1
)
TAGS = st.sampled_from([b"loss", b"lr", b"a/b", b"", b"\xff\xfe", b"val/accuracy_top5" * 3])
SHAPES = st.sampled_from([b"", b"", b"", field(2, field(1, 3)), field(3, 1), b"\x12\x00"])


def tensors(bits: int, shape: bytes, dtype: int, where: str) -> bytes:
    value = {
        "content": field(4, struct.pack("<I", bits)),
        "packed": field(5, struct.pack("<I", bits)),
        "plain": single(5, bits),
        "short": field(4, b"\0\0"),
        "double": field(6, struct.pack("<d", 0.1)),
        "whole": field(7, 5),
        "none": b"",
        "empty": field(4, b""),
        "twice": single(5, bits) * 2,
    }[where]
    return field(1, dtype) + field(2, shape) + value


TENSORS = st.builds(
    tensors,
    BITS,
    SHAPES,
    st.sampled_from([1, 1, 1, 1, 2, 3, 7, 19]),
    st.sampled_from(["content", "packed", "plain", "short", "double", "whole", "none", "empty", "twice"]),
)
METADATA = st.sampled_from(
    [field(1, field(1, plugin)) + more for plugin in (b"scalars", b"hparams", b"") for more in (b"", field(2, b"x"))]
)
VALUE_PARTS = st.one_of(
    BITS.map(lambda bits: single(2, bits)),
    TENSORS.map(lambda tensor: field(8, tensor)),
    METADATA.map(lambda metadata: field(9, metadata)),
    st.sampled_from(
        [field(4, b"image"), field(5, b"histogram"), field(7, b"node"), field(20, b"?"), field(1, b"again")]
    ),
)
VALUES = st.tuples(TAGS, st.lists(VALUE_PARTS, min_size=1, max_size=3)).map(
    lambda found: field(1, found[0]) + b"".join(found[1])
)
USUAL_VALUES = st.tuples(TAGS, BITS).map(lambda found: field(1, found[0]) + single(2, found[1]))
STEPS = st.integers(0, 300) | st.integers(-(2**63), 2**63 - 1)


def event(wall: float | None, step: int | None, values: Sequence[bytes], more: bytes) -> bytes:
    summary = b"".join(field(1, value) for value in values)
    return (
        (b"" if wall is None else field(1, wall))
        + (b"" if step is None else field(2, step))
        + (field(5, summary) if values else b"")
        + more
    )


EVENTS = st.builds(
    event,
    st.floats(width=64) | st.none(),
    STEPS | st.none(),
    st.lists(VALUES | USUAL_VALUES, max_size=4),
    st.sampled_from([b"", b"", b"", field(3, b"brain.Event:2"), field(1, 2.0), field(2, 7), b"\x0b", b"\xff" * 12]),
)
USUAL_EVENTS = st.builds(
    event, st.floats(0, 2e9), st.integers(0, 300), st.lists(USUAL_VALUES, min_size=1, max_size=2), st.just(b"")
)


def record(payload: bytes, wrong: int = 0) -> bytes:
    def masked(data: bytes) -> int:
        crc: int = google_crc32c.value(data)
        return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF

    length = struct.pack("<Q", len(payload))
    return length + struct.pack("<I", masked(length)) + payload + struct.pack("<I", masked(payload) ^ wrong)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Give an event file: single records and rows that come again and again, damaged and cut here and there."""
    parts = []
    for _ in range(draw(st.integers(0, 5))):
        payloads = draw(st.lists(USUAL_EVENTS | EVENTS, min_size=1, max_size=4))
        if draw(st.booleans()):
            mutated = bytearray(payloads[0])
            for at, byte in draw(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=3)):
                if at < len(mutated):
                    mutated[at] = byte
            payloads[0] = bytes(mutated)
        parts.append(b"".join(map(record, payloads)) * draw(st.sampled_from([1, 1, 2, 40, 100])))
    data = bytearray(b"".join(parts))
    for at, byte in draw(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=2)):
        if data:
            data[int(at * (len(data) - 1))] = byte
    if draw(st.booleans()):
        data = data[: int(draw(st.floats(0, 1)) * len(data))]
    return bytes(data)


def bits(events: list[Any]) -> list[Any]:
    """Give events as values that are equal only where all their bits are."""

    def of(array: np.ndarray | None) -> Any:
        return None if array is None else (array.dtype.str, array.tobytes())

    return [
        (one.run, of(one.step), of(one.wall_time), [(tag, of(value)) for tag, value in one.values.items()])
        if isinstance(one, CurvePiece)
        else one
        for one in events
    ]


@settings(max_examples=60, deadline=None)
@given(files(), st.sampled_from([1 << 23, 2000]), st.sampled_from([0, 4]))
def test_that_any_file_is_read_alike(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, chunk: int, patience: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    path = folder / "events.out.tfevents.1.h"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorboard, "CHUNK", chunk)
        patch.setattr(tensorboard, "PATIENCE", patience)
        source = Source((path,), "r", "r", "tensorboard")
        by_numpy, compiled = (bits(list(TensorBoardReader().read(source, None, quiet))) for _ in of_both(patch))
    assert compiled == by_numpy


# -- kernel by kernel ---------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=60), st.lists(st.binary(max_size=40), max_size=5), st.integers(0, 60))
def test_that_the_chain_of_records_is_found_alike(behind: bytes, payloads: list[bytes], less: int) -> None:
    data = b"".join(map(record, payloads)) + behind
    buffer = np.frombuffer(data + bytes(8), np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        by_numpy, compiled = (event_rows.chain(buffer, max(0, len(data) - less)) for _ in of_both(patch))
    assert [list(part) for part in compiled[:2]] == [list(part) for part in by_numpy[:2]]
    assert compiled[2:] == by_numpy[2:]


def a_form(width: int, chance: np.random.Generator) -> tuple[np.ndarray, Form]:
    """Give a row of two records, and its form: the last four bytes of each payload may be anything."""
    payloads = [chance.bytes(width), chance.bytes(width + 3)]
    row = np.frombuffer(b"".join(map(record, payloads)), np.uint8)
    begins = [12, 12 + width + 4 + 12]
    where = [(begins[0], begins[0] + width), (begins[1], begins[1] + width + 3)]
    fixed = np.full(len(row), 0xFF, np.uint8)
    for _, end in where:
        fixed[end - 4 : end + 4] = 0
    return row, Form.of(row, fixed, where)


@given(
    st.integers(4, 40), st.integers(0, 300), st.integers(0, 60), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 7)))
)
def test_that_rows_are_counted_alike_up_to_the_first_that_differs_or_is_damaged(
    width: int, count: int, at: int, damage: list[tuple[float, int]]
) -> None:
    chance = np.random.default_rng(count)
    row, form = a_form(width, chance)
    rows = [record(row[12 : 8 + width].tobytes() + chance.bytes(4)) for _ in range(count)]
    second = row[width + 28 : -8].tobytes()
    data = bytearray(bytes(at) + b"".join(first + record(second + chance.bytes(4)) for first in rows))
    for place, bit in damage[:2] if data else ():
        data[int(place * (len(data) - 1))] ^= 1 << bit if data[at:] else 0
    buffer = np.frombuffer(bytes(data) + bytes(8), np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        by_numpy, compiled = (event_rows.rows_alike(buffer, at, len(data), form) for _ in of_both(patch))
    assert compiled == by_numpy
    first = min((int(place * (len(data) - 1)) for place, _ in damage[:2]), default=len(data))
    assert compiled >= min(count, max(0, first - at) // len(row))


@given(st.integers(1, 30), st.integers(8, 40), st.data())
def test_that_items_of_rows_are_taken_alike(count: int, width: int, data: st.DataObject) -> None:
    rows = np.random.default_rng(width).integers(0, 256, (count, width), np.uint8)
    kind = data.draw(st.sampled_from(["u1", "<f4", "<f8", "<u4"]))
    places = data.draw(st.lists(st.integers(0, width - np.dtype(kind).itemsize), max_size=5))
    with pytest.MonkeyPatch.context() as patch:
        by_numpy, compiled = (event_rows.items(rows, kind, np.array(places, np.intp)).tobytes() for _ in of_both(patch))
    assert compiled == by_numpy


@given(st.integers(1, 30), st.integers(1, 4), st.integers(0, 10), st.booleans())
def test_that_steps_of_rows_are_read_alike(count: int, records: int, width: int, same: bool) -> None:
    chance = np.random.default_rng(count)
    step = chance.integers(0, 256, (count, width), np.uint8)
    rows = np.tile(step, (1, records)) if same else chance.integers(0, 256, (count, records * width), np.uint8)
    rows = np.concatenate([rows, np.zeros((count, 1), np.uint8)], axis=1)
    places = np.arange(records * width, dtype=np.intp).reshape(records, width)
    with pytest.MonkeyPatch.context() as patch:
        by_numpy, compiled = (event_rows.common_steps(rows, places) for _ in of_both(patch))
    assert (by_numpy is None) == (compiled is None)
    if by_numpy is not None:
        np.testing.assert_array_equal(compiled, by_numpy)


@pytest.mark.parametrize("name", ["rows_alike", "items", "common_steps", "chain", "scalars"])
def test_that_arrays_that_do_not_fit_are_refused(name: str) -> None:
    compiled = importlib.import_module("runglass.models.kernels._compiled")
    bytes_, numbers = np.zeros(64, np.uint8), np.full(4, 100, np.int64)
    wrong = {
        "rows_alike": [
            (bytes_, 0, 64, bytes_[:16], bytes_[:16], numbers, numbers),
            (bytes_, -1, 64, bytes_[:16], bytes_[:16], numbers, numbers),
            (bytes_, 0, 99, bytes_[:16], bytes_[:16], numbers[:0], numbers[:0]),
        ],
        "items": [
            (bytes_, 16, numbers, 4, bytes_.copy()),
            (bytes_, 0, numbers, 4, bytes_.copy()),
            (bytes_, 16, numbers[:0], 3, bytes_.copy()[:0]),
        ],
        "common_steps": [
            (bytes_, 16, numbers, 2, numbers.copy()),
            (bytes_, 16, numbers[:0], 2, numbers.copy()),
            (bytes_, 16, numbers, 11, numbers.copy()),
        ],
        "chain": [(bytes_, 65, numbers.copy(), numbers.copy()), (bytes_, 64, numbers[:1].copy(), numbers[:1].copy())],
        "scalars": [
            (
                bytes_,
                9,
                numbers,
                numbers,
                *(np.zeros(4, kind) for kind in ("u1", "f8", "i8", "i8", "i8", "i4", "i4", "f8", "i8", "i8")),
            ),
            (
                bytes_,
                9,
                numbers * 0,
                numbers * 0,
                *(np.zeros(4, kind) for kind in ("u1", "f8", "i8", "i8", "i8", "i4", "i4", "f8", "i8", "u1")),
            ),
        ],
    }[name]
    for arguments in wrong:
        with pytest.raises(ValueError, match=r"fit|within|room"):
            getattr(compiled, name)(*arguments)
