"""Checksums of records: those of RFC 3720, in both twins."""

from __future__ import annotations

import importlib
import struct
from collections.abc import Iterator

import numpy as np
import pytest

from runglass.models.kernels.checksums import are_sound

# RFC 3720, appendix B.4.
PUBLISHED = [
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
    (b"123456789", 0xE3069283),
]


@pytest.fixture(params=["instruction", "tables"])
def crc(request: pytest.FixtureRequest, twin: str) -> Iterator[None]:
    """The compiled twin with the processor's instruction, and without it."""
    if twin == "numpy":
        yield
        return
    compiled = importlib.import_module("runglass.models.kernels._compiled")
    compiled.use_tables(request.param == "tables")
    yield
    compiled.use_tables(False)


def record(payload: bytes, crc: int) -> bytes:
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    return payload + struct.pack("<I", masked)


@pytest.mark.usefixtures("crc")
@pytest.mark.parametrize(("payload", "crc_of_it"), PUBLISHED)
def test_that_published_checksums_are_sound(payload: bytes, crc_of_it: int) -> None:
    buffer = np.frombuffer(record(payload, crc_of_it), np.uint8)
    assert are_sound(buffer, np.array([0]), np.array([len(payload)])).tolist() == [True]


@pytest.mark.usefixtures("crc")
def test_that_a_changed_bit_anywhere_is_noticed() -> None:
    payload, crc_of_it = PUBLISHED[2]
    whole = record(payload, crc_of_it)
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        assert not are_sound(np.frombuffer(changed, np.uint8), np.array([0]), np.array([32]))[0]


@pytest.mark.usefixtures("crc")
def test_that_records_are_told_apart_wherever_they_stand() -> None:
    parts, starts = [], []
    at = 0
    for number in range(40):
        payload, crc_of_it = PUBLISHED[number % len(PUBLISHED)]
        parts.append(bytes(number % 7) + record(payload, crc_of_it ^ (number % 3 == 0)))
        starts.append(at + number % 7)
        at += len(parts[-1])
    lengths = np.array([len(PUBLISHED[number % len(PUBLISHED)][0]) for number in range(40)])
    sound = are_sound(np.frombuffer(b"".join(parts), np.uint8), np.array(starts), lengths)
    assert sound.tolist() == [number % 3 != 0 for number in range(40)]


@pytest.mark.usefixtures("crc")
@pytest.mark.parametrize(("start", "length"), [(-1, 4), (0, -1), (0, 13), (13, 0), (1 << 62, 1 << 62), (16, 0)])
def test_that_a_payload_outside_of_the_buffer_is_refused(start: int, length: int) -> None:
    with pytest.raises(ValueError, match="within the buffer"):
        are_sound(np.zeros(16, np.uint8), np.array([start]), np.array([length]))


@pytest.mark.usefixtures("twin")
def test_that_no_record_is_no_answer() -> None:
    nothing = np.empty(0, np.int64)
    assert are_sound(np.zeros(0, np.uint8), nothing, nothing).shape == (0,)
