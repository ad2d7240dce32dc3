"""Records in blocks, as W&B and SwanLab write their logs, and the fields of a protobuf message.

The file begins with seven bytes (four letters, a magic number, a version) and goes on in blocks of 32,768 bytes, the first of
which counts those seven. A record is one chunk, or several where it does not fit into its block; each chunk has a header of
checksum, length and kind. The layout is that of LevelDB's log; the checksum is zlib's CRC-32 over the kind and the data, where
LevelDB has a masked CRC-32C.

See ``wandb/sdk/internal/datastore.py`` and ``leveldb/doc/log_format.md``.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK_BYTES = 1 << 15
FILE_HEADER_BYTES = 7

_CHUNK_HEADER = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_READ_BYTES = BLOCK_BYTES * 256


@dataclass(slots=True)
class FramedFile:
    """A log that is being read.

    Attributes
    ----------
    file : BinaryIO
        The open file.
    at : int
        Bytes consumed: the end of the last whole record.
    damaged : int
        Records left out because a checksum or a length was wrong.
    """

    file: BinaryIO
    at: int = FILE_HEADER_BYTES
    damaged: int = 0

    def records(self, size: int) -> Iterator[bytes]:
        """Give every whole record before byte `size`; a damaged chunk costs the record it is part of."""
        place = self.at
        parts: list[bytes] = []
        start, data = place, b""
        while place + _CHUNK_HEADER.size <= size:
            left = BLOCK_BYTES - place % BLOCK_BYTES
            if left < _CHUNK_HEADER.size:
                place += left
                continue
            if place + left > start + len(data) and (start + len(data) < size or not data):
                # Blocks are read many at a time, and never cut: what is left of one is read again.
                start = place
                self.file.seek(start)
                data = self.file.read(min(_READ_BYTES - start % BLOCK_BYTES, size - start))
                if len(data) < _CHUNK_HEADER.size:
                    return  # it shrank while it was read
            checksum, length, kind = _CHUNK_HEADER.unpack_from(data, place - start)
            begin = place - start + _CHUNK_HEADER.size
            if not length and not kind:
                # Zeros fill what is left of a block; behind them nothing may have been written yet.
                if place + left > size:
                    return
                place += left
                continue
            if length > left - _CHUNK_HEADER.size or not _FULL <= kind <= _LAST:
                if place + left > size:
                    return
                self.damaged += 1
                parts, place = [], place + left
                self.at = place
                continue
            end = place + _CHUNK_HEADER.size + length
            if end > size:
                return
            piece = data[begin : begin + length]
            if zlib.crc32(piece, zlib.crc32(bytes((kind,)))) != checksum:
                if end == size and place + left > size:
                    return  # it may still be being written
                self.damaged += 1
                parts, place = [], end
                self.at = place
                continue
            place = end
            if kind in (_FULL, _FIRST) and parts:
                self.damaged += 1
                parts = []
            elif kind in (_MIDDLE, _LAST) and not parts:
                continue  # the rest of a record whose beginning is damaged
            if kind == _FULL:
                self.at = place
                yield piece
            else:
                parts.append(piece)
                if kind == _LAST:
                    self.at = place
                    record, parts = b"".join(parts), []
                    yield record


class Malformed(ValueError):
    """The bytes are no protobuf message."""


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Give number and value of each field of a message: varints as int, all others as their bytes.

    Raises
    ------
    Malformed
        When the bytes are no message.
    """
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            number, at = _varint(message, at)
            yield key >> 3, number
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise Malformed
        if at + length > end:
            raise Malformed
        yield key >> 3, message[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    try:
        while True:
            byte = data[at]
            value |= (byte & 0x7F) << shift
            at += 1
            if byte < 0x80:
                return value & 0xFFFFFFFFFFFFFFFF, at
            shift += 7
            if shift > 63:
                raise Malformed
    except IndexError:
        raise Malformed from None


def signed(value: int | bytes) -> int:
    """Give a varint as the whole number with a sign that it is."""
    if isinstance(value, bytes):
        raise Malformed
    return value - (1 << 64) if value >> 63 else value


def text(value: int | bytes) -> str:
    """Give the text of a field."""
    if isinstance(value, int):
        raise Malformed
    return value.decode("utf-8", "replace")


def content(value: int | bytes) -> bytes:
    """Give the bytes of a field, which may be a message."""
    if isinstance(value, int):
        raise Malformed
    return value


def seconds(message: bytes) -> float:
    """Give a protobuf ``Timestamp`` in seconds since 1970."""
    found = {number: value for number, value in fields(message) if isinstance(value, int)}
    return signed(found.get(1, 0)) + found.get(2, 0) / 1e9
