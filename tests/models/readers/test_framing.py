"""Records in blocks: every layout the format allows is read, every damage costs the record it is in and no other."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runglass.models.readers import framing
from runglass.models.readers.framing import BLOCK_BYTES, FILE_HEADER_BYTES, FramedFile, Malformed

HEAD = b":W&B\xe1\xfb\x00"
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def chunk(data: bytes, kind: int = FULL) -> bytes:
    return struct.pack("<IHB", zlib.crc32(data, zlib.crc32(bytes((kind,)))), len(data), kind) + data


def written(records: list[bytes]) -> bytes:
    """Write records as the loggers do: chunks fill blocks, headers never cross them."""
    out = bytearray(HEAD)
    for record in records:
        is_first = True
        while is_first or record:
            left = BLOCK_BYTES - len(out) % BLOCK_BYTES
            if left < 7:
                out += bytes(left)
                continue
            piece, record = record[: left - 7], record[left - 7 :]
            kind = (FIRST if record else FULL) if is_first else (MIDDLE if record else LAST)
            out += chunk(piece, kind)
            is_first = False
    return bytes(out)


def read(data: bytes) -> tuple[list[bytes], FramedFile]:
    framed = FramedFile(io.BytesIO(data))
    return list(framed.records(len(data))), framed


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.sampled_from([0, 1, 5, 7, BLOCK_BYTES - 21, BLOCK_BYTES - 14, BLOCK_BYTES - 20, 3 * BLOCK_BYTES]), max_size=6
    )
)
def test_that_what_was_written_is_read_whatever_the_lengths(lengths: list[int]) -> None:
    records = [bytes([65 + place % 26]) * length for place, length in enumerate(lengths)]
    found, framed = read(written(records))
    assert found == records
    assert framed.damaged == 0


def test_that_a_wrong_checksum_costs_its_record_only() -> None:
    data = bytearray(written([b"one", b"two", b"three"]))
    data[data.index(b"two")] ^= 1
    found, framed = read(bytes(data))
    assert (found, framed.damaged) == ([b"one", b"three"], 1)


def test_that_a_wrong_checksum_at_the_end_may_still_be_being_written() -> None:
    data = bytearray(written([b"one", b"two"]))
    data[-1] ^= 1
    found, framed = read(bytes(data))
    assert (found, framed.damaged, framed.at) == ([b"one"], 0, len(HEAD) + 10)


@pytest.mark.parametrize("header", [struct.pack("<IHB", 0, 60_000, FULL), struct.pack("<IHB", 0, 3, 9)])
def test_that_a_length_or_kind_that_cannot_be_costs_the_rest_of_its_block(header: bytes) -> None:
    data = HEAD + chunk(b"one") + header
    whole = data.ljust(BLOCK_BYTES, b"x") + chunk(b"two")
    found, framed = read(whole)
    assert (found, framed.damaged) == ([b"one", b"two"], 1)
    # Nothing is given up as long as the block may still be written on.
    found, framed = read(data + b"xxx")
    assert (found, framed.damaged, framed.at) == ([b"one"], 0, len(HEAD) + 10)


def test_that_zeros_to_the_end_of_a_block_are_passed_over_once_the_next_has_begun() -> None:
    data = HEAD + chunk(b"one")
    found, framed = read(data.ljust(BLOCK_BYTES, b"\0") + chunk(b"two"))
    assert (found, framed.damaged) == ([b"one", b"two"], 0)
    found, framed = read(data + bytes(9))
    assert (found, framed.at) == ([b"one"], len(data))


def test_that_a_record_whose_end_is_missing_is_left_out_and_the_next_is_read() -> None:
    found, framed = read(HEAD + chunk(b"begun", FIRST) + chunk(b"more", MIDDLE) + chunk(b"whole") + chunk(b"end", LAST))
    assert (found, framed.damaged) == ([b"whole"], 1)


def test_that_a_file_that_shrank_while_it_was_read_ends_there() -> None:
    data = written([b"one", b"x" * BLOCK_BYTES])
    assert list(FramedFile(io.BytesIO(data[:3]), at=FILE_HEADER_BYTES).records(len(data))) == []


def test_that_the_fields_of_a_message_are_given_by_number() -> None:
    message = b"\x08\x96\x01" + b"\x12\x03abc" + b"\x19" + b"8 bytes." + b"\x25" + b"four"
    assert list(framing.fields(message)) == [(1, 150), (2, b"abc"), (3, b"8 bytes."), (4, b"four")]


@pytest.mark.parametrize(
    "message",
    [b"\x08", b"\x08" + b"\xff" * 10 + b"\x01", b"\x12\x05abc", b"\x19abc", b"\x0b", b"\x0e", b"\x12"],
)
def test_that_what_is_no_message_is_malformed(message: bytes) -> None:
    with pytest.raises(Malformed):
        list(framing.fields(message))


def test_that_a_value_of_another_kind_is_malformed() -> None:
    for take, value in ((framing.text, 3), (framing.content, 3), (framing.signed, b"3")):
        with pytest.raises(Malformed):
            take(value)  # type: ignore[operator]


def test_that_whole_numbers_have_their_sign() -> None:
    assert framing.signed((1 << 64) - 5) == -5
    assert framing.signed(7) == 7


def test_that_a_time_is_seconds_and_their_parts() -> None:
    assert framing.seconds(b"\x08\x0a\x10\x80\xca\xb5\xee\x01") == 10.5
    assert framing.seconds(b"") == 0
