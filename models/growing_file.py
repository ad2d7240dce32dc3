"""What was appended to a text file since it was last read.

A log that is being written is read again and again. Each time only the new bytes are read, up to the last line that has its
end; a file that is no longer the one that was read (rewritten, truncated, replaced) is noticed by two short checksums: one
over its beginning, one over the bytes just before the place where reading goes on.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .errors import ReadError

BLOCK_BYTES = 32 << 20
MAX_LINE_BYTES = 16 << 20

_HEAD_BYTES = 1024
_TAIL_BYTES = 64

Marks = tuple[int, int]
"""Checksums of the beginning of a file and of the bytes before a place in it."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Whole lines of a file.

    Attributes
    ----------
    data : bytes
        The lines; each has its end, but for a last one that the file does not end.
    end : int
        Place in the file behind them.
    """

    data: bytes
    end: int

    @property
    def ended(self) -> bool:
        """Whether the last line has its end: one that has none may still be being written."""
        return self.data.endswith(b"\n")


def require_short_lines(data: bytes) -> None:
    """Refuse text with a line of more than 16 MiB.

    Raises
    ------
    ReadError
        When there is one: a cell of that length takes minutes to be understood.
    """
    at = 0
    while at + MAX_LINE_BYTES < len(data):
        at = data.rfind(b"\n", at, at + MAX_LINE_BYTES + 1) + 1
        if not at:
            raise _too_long()


def _too_long() -> ReadError:
    return ReadError(f"It has a line of more than {MAX_LINE_BYTES >> 20} MiB, so it is no log.")


def marks(file: BinaryIO, end: int) -> Marks:
    """Give what identifies the part of a file before `end`."""
    file.seek(0)
    head = zlib.crc32(file.read(min(end, _HEAD_BYTES)))
    file.seek(max(0, end - _TAIL_BYTES))
    return head, zlib.crc32(file.read(min(end, _TAIL_BYTES)))


def continues(file: BinaryIO, size: int, end: int, known: Marks) -> bool:
    """Whether a file of `size` bytes still begins with what was read of it up to `end`."""
    return size >= end and marks(file, end) == known


def rewritten(read: Mapping[str, int], known: Mapping[str, Marks]) -> str:
    """Say what happened, besides growing, to files of which some bytes were read; empty where nothing did.

    Parameters
    ----------
    read : Mapping of str to int
        Bytes read of each file, by its path.
    known : Mapping of str to Marks
        What identified those bytes.
    """
    for key, end in read.items():
        path = Path(key)
        try:
            with open(path, "rb") as file:
                if not continues(file, os.fstat(file.fileno()).st_size, end, known[key]):
                    return f"{path.name} was written anew; the run was read again."
        except OSError:
            return f"{path.name} is gone; the run was read again."
    return ""


def lines(file: BinaryIO, start: int, size: int, block_bytes: int = BLOCK_BYTES) -> Iterator[Lines]:
    """Give the lines between two places of a file, many at a time.

    A last line without its end comes alone.

    Raises
    ------
    ReadError
        When a line is longer than 16 MiB: no log has such lines, and reading on would fill the memory.
    """
    file.seek(start)
    if size - start <= block_bytes:
        data = file.read(max(0, size - start))
        cut = data.rfind(b"\n") + 1
        if len(data) - cut > MAX_LINE_BYTES:
            raise _too_long()
        if cut:
            yield Lines(data if cut == len(data) else data[:cut], start + cut)
        if cut < len(data):
            yield Lines(data[cut:], start + len(data))
        return
    # One room for all blocks: asking for memory of this size again and again costs as much as reading.
    room = bytearray(max(0, min(block_bytes, size - start)))
    place, used = start, 0
    while place < size:
        wanted = min(block_bytes, size - place)
        if used + wanted > len(room):
            room.extend(bytes(used + wanted - len(room)))
        with memoryview(room) as whole, whole[used : used + wanted] as empty:
            read = file.readinto(empty)  # type: ignore[attr-defined]  # every file that is opened here has it
        if not read:
            break  # it shrank while it was read
        place, used = place + read, used + read
        cut = room.rfind(b"\n", 0, used) + 1
        if used - cut > MAX_LINE_BYTES:
            raise _too_long()
        if cut:
            with memoryview(room) as whole, whole[:cut] as ended:
                data = bytes(ended)
            room[: used - cut] = room[cut:used]
            used -= cut
            yield Lines(data, place - used)
    if used:
        yield Lines(bytes(room[:used]), place)
