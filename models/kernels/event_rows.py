"""The inner loops over the bytes of event files: arrays in, arrays out.

A regular log writes the same records again and again: what lies between two records of one tag is as long as what lies
between the next two. Cut there, the file is a matrix of bytes whose rows differ only in times, steps, values and checksums.
Rows are compared with one that was decoded exactly, and all that is alike is taken out column by column, without a step for
each record.

Checksums of many rows are verified together. CRC-32C is linear: the checksums of rows, combined by exclusive or, are the
checksum of the rows combined so. Every row is in two such sums, as a cell is in its row and its column, so that one, two or
three wrong records always show. More escape only if their errors cancel one another in both sums of each of them, which for
errors that have nothing to do with one another has a chance of 2^-32 at most. The compiled twins compute every checksum.
"""

from __future__ import annotations

import functools
import math
import struct
from typing import NamedTuple

import google_crc32c
import numpy as np

from . import accelerator

WIDEST = 512
"""Longest record, in bytes, that is decoded together with others: those with a scalar are shorter."""

HEADER, FOOTER = 12, 4
"""Bytes of a record before and behind its payload: length and its checksum; checksum of the payload."""

_BLOCK = 1 << 17
"""Bytes looked at together for headers: few enough to stay in the processor's cache."""

_ROWS_BYTES = 1 << 19
"""Bytes of rows looked at together, likewise."""

_SMALLEST = 9
"""Fewest bytes of a scalar: a key and a length; a key, a length and no tag; a key and a float of four bytes."""

_FEW = 16
"""Rows that are verified one by one."""

_MASK_DELTA = np.uint32(0xA282EAD8)


# --- checksums ---


@functools.cache
def crc_tables() -> np.ndarray:
    """Give what each byte adds to a CRC-32C, by the number of bytes behind it: shape (WIDEST + 8, 256)."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1)
    tables = np.empty((WIDEST + 8, 256), np.uint32)
    tables[0] = table
    for behind in range(1, len(tables)):
        tables[behind] = (tables[behind - 1] >> 8) ^ table[tables[behind - 1] & 0xFF]
    return tables


@functools.cache
def header_crcs() -> np.ndarray:
    """Give the masked checksum of every length below 65,536."""
    low, high = crc_tables()[7], crc_tables()[6]
    return masked(np.uint32(google_crc32c.value(bytes(8))) ^ (high[:, None] ^ low[None, :]).ravel())


def masked(crc: np.ndarray) -> np.ndarray:
    """Give checksums as records carry them."""
    return ((crc >> 15) | (crc << 17)) + _MASK_DELTA


def unmasked(crc: np.ndarray) -> np.ndarray:
    """Give checksums from what records carry."""
    turned: np.ndarray = crc - _MASK_DELTA
    return (turned << 15) | (turned >> 17)


# --- the chain of records ---


def unaligned(buffer: np.ndarray, dtype: str) -> np.ndarray:
    """Give a view that reads a `dtype` at every byte of `buffer`."""
    width = np.dtype(dtype).itemsize
    return np.ndarray((len(buffer) - width + 1,), dtype, buffer, strides=(1,))


def likely_headers(buffer: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the places in `buffer` where a valid header of a record below 64 KiB stands, and the lengths these state."""
    found = [np.empty(0, np.int64)]
    for begin in range(0, size - HEADER + 1, _BLOCK):
        zero = buffer[begin : min(begin + _BLOCK + HEADER - 1, size)] == 0
        pair = zero[:-1] & zero[1:]
        found.append(np.flatnonzero(pair[2:-8] & pair[4:-6] & pair[6:-4]) + begin)
    at = np.concatenate(found)
    length = unaligned(buffer, "<u2")[at]
    valid = header_crcs()[length] == unaligned(buffer, "<u4")[at + 8]
    return at[valid], length[valid].astype(np.int64)


class Chain(NamedTuple):
    """Complete records of a buffer: where their payloads start, how long they are, and where the last one ends.

    `is_broken` says that the header behind `end` is wrong; `needs` is the size of the incomplete record there, 0 if unknown.
    """

    starts: np.ndarray
    lengths: np.ndarray
    end: int
    is_broken: bool
    needs: int


def chain(buffer: np.ndarray, size: int) -> Chain:
    """Find the records in the first `size` bytes of a buffer of uint8.

    Lengths are small, so six zero bytes in a row give away where a header may be, and its checksum decides. Headers found so
    that follow one another without a gap are records; where there is a gap (a long record) one step is made by hand.
    """
    if (compiled := accelerator()) is not None:
        starts, lengths = np.empty((2, size // (HEADER + FOOTER) + 1), np.int64)
        count, end, is_broken, incomplete = compiled.chain(buffer, size, starts, lengths)
        return Chain(
            starts[:count], lengths[:count], end, is_broken, HEADER + incomplete + FOOTER if incomplete >= 0 else 0
        )
    at, length = likely_headers(buffer, size)
    following = at + length + (HEADER + FOOTER)
    gaps = np.flatnonzero(following[:-1] != at[1:]) if len(at) else np.empty(0, np.int64)
    found: list[tuple[np.ndarray, np.ndarray]] = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    here, needs, is_broken = 0, 0, False
    while True:
        first = int(np.searchsorted(at, here))
        if first < len(at) and at[first] == here:
            gap = int(np.searchsorted(gaps, first))
            last = int(gaps[gap]) if gap < len(gaps) else len(at) - 1
            if following[last] > size:
                last -= 1
            if last >= first:
                found.append((at[first : last + 1] + HEADER, length[first : last + 1]))
                here = int(following[last])
                continue
        if here + HEADER > size:
            break
        header = buffer[here : here + HEADER].tobytes()
        payload, crc = struct.unpack("<QI", header)
        if masked(np.array([google_crc32c.value(header[:8])], np.uint32))[0] != crc:
            is_broken = True
            break
        if here + HEADER + payload + FOOTER > size:
            needs = HEADER + payload + FOOTER
            break
        found.append((np.array([here + HEADER]), np.array([payload])))
        here += HEADER + payload + FOOTER
    starts, lengths = (np.concatenate(part) for part in zip(*found, strict=True))
    return Chain(starts, lengths, here, is_broken, needs)


# --- records one by one ---

DECODED, DAMAGED, UNUSUAL = range(3)


class Scalars(NamedTuple):
    """What records hold.

    Attributes
    ----------
    state : ndarray of uint8, shape (records,)
        `DECODED`; `DAMAGED` where the checksum is wrong; `UNUSUAL` where the exact decoder has to look.
    wall : ndarray of float64, shape (records,)
    step, points : ndarray of int64, shape (records,)
        Time, step and number of scalars of those that are decoded; 0 for the others.
    record, place, tag, value : ndarray, shape (points,)
        Of each scalar: number of its record, its place among those of the record, its tag, its value, which float32 holds.
    tags : tuple of bytes
        The tags.
    """

    state: np.ndarray
    wall: np.ndarray
    step: np.ndarray
    points: np.ndarray
    record: np.ndarray
    place: np.ndarray
    tag: np.ndarray
    value: np.ndarray
    tags: tuple[bytes, ...]


def scalars(buffer: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> Scalars | None:
    """Decode records as loggers write them: time, step, and values or tensors that are single 32-bit floats.

    Only the compiled twin looks at one record after the other. Its twin in numpy is the way the reader goes where this
    gives None: records of equal length together, as rows (`wrong_sums`, `numbers`, `varints`).

    Parameters
    ----------
    buffer : ndarray of uint8
        The bytes.
    starts, lengths : ndarray of int64, shape (records,)
        Where the payloads are; those of more than `WIDEST` bytes are unusual without being looked at.
    """
    if (compiled := accelerator()) is None:
        return None
    records, most = len(starts), len(buffer) // _SMALLEST + 1
    state = np.empty(records, np.uint8)
    wall, (step, points) = np.empty(records), np.empty((2, records), np.int64)
    record, place, tag = np.empty(most, np.int64), np.empty(most, np.int32), np.empty(most, np.int32)
    value, (tag_starts, tag_lengths) = np.empty(most), np.empty((2, most), np.int64)
    starts, lengths = np.ascontiguousarray(starts, np.int64), np.ascontiguousarray(lengths, np.int64)
    count, known = compiled.scalars(
        *(buffer, WIDEST, starts, lengths, state, wall, step, points),
        *(record, place, tag, value, tag_starts, tag_lengths),
    )
    where = zip(tag_starts[:known].tolist(), tag_lengths[:known].tolist(), strict=True)
    tags = tuple(buffer[at : at + length].tobytes() for at, length in where)
    return Scalars(state, wall, step, points, record[:count], place[:count], tag[:count], value[:count], tags)


def media(buffer: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Say which records are an `Event` of a single image, histogram or sound, and their steps.

    It is what long records nearly always are, and there is no scalar in them.

    Parameters
    ----------
    buffer : ndarray of uint8
        The bytes; those behind the last record are looked at, too, and are there.
    starts, lengths : ndarray of int64, shape (records,)
        Where the payloads are; each is longer than 300 bytes.

    Returns
    -------
    are_media : ndarray of bool, shape (records,)
    steps : ndarray of int64, shape (records,)
        0 for all others.
    """
    ends = starts + lengths
    step, at = _varints_at(buffer, starts + 10)
    sound = (buffer[starts] == 0x09) & (buffer[starts + 9] == 0x10)
    for key in (0x2A, 0x0A):  # the summary, and the value in it, which both end where the record does
        sound &= buffer[at] == key
        length, at = _varints_at(buffer, at + 1)
        sound &= at + length == ends
        at = np.where(sound, at, starts)
    tag = buffer[at + 1].astype(np.int64)
    sound &= (buffer[at] == 0x0A) & (tag < 0x80)
    at = np.where(sound, at + 2 + tag, starts)
    sound &= np.isin(buffer[at], (0x22, 0x2A, 0x32))  # `image`, `histo`, `audio`
    length, at = _varints_at(buffer, at + 1)
    sound &= at + length == ends
    return sound, np.where(sound, step, 0)


def _varints_at(buffer: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the varint at each place, and where it ends; of one with more than nine bytes the rest is left out."""
    value = np.zeros(len(at), np.int64)
    goes_on = np.ones(len(at), bool)
    for place in range(9):
        byte = buffer[at].astype(np.int64)
        value |= np.where(goes_on, byte & 0x7F, 0) << (7 * place)
        at = at + goes_on
        goes_on = goes_on & (byte > 0x7F)
        if not goes_on.any():
            break
    return value, at


# --- columns ---


def column(rows: np.ndarray, kind: str, at: int) -> np.ndarray:
    """Give a view of the `kind` at byte `at` of every row; shape (rows,)."""
    return np.ndarray((len(rows),), kind, rows, at, (rows.strides[0],))


def numbers(rows: np.ndarray, kind: str, at: int) -> np.ndarray:
    """Give the value of `kind`, a dtype or 'bf16', at byte `at` of every row, as float64."""
    found = column(rows, "<u2" if kind == "bf16" else kind, at)
    if kind == "bf16":
        found = (found.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(invalid="ignore"):  # of a signalling NaN
        return found.astype(np.float64)


def varints(rows: np.ndarray, start: int, end: int) -> np.ndarray:
    """Give the varint between two bytes of every row, as int64; negative numbers take ten bytes."""
    found = np.zeros(len(rows), np.uint64)
    for place in range(start, end):
        found |= (rows[:, place] & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * (place - start))
    return found.view(np.int64)


def items(rows: np.ndarray, kind: str, places: np.ndarray) -> np.ndarray:
    """Give the `kind` at several bytes of every row; shape (places, rows).

    Parameters
    ----------
    rows : ndarray of uint8, shape (rows, n)
        The rows; what is asked for lies within them.
    kind : str
        A dtype.
    places : ndarray of intp, shape (places,)
        Bytes of the rows.
    """
    size = np.dtype(kind).itemsize
    if (compiled := accelerator()) is not None and rows.flags.c_contiguous and len(rows):
        out = np.empty((len(places), len(rows)), kind)
        compiled.items(rows, rows.shape[1], np.ascontiguousarray(places, np.int64), size, out)
        return out
    width = rows.shape[1] - size + 1
    found: np.ndarray = np.ndarray((width, len(rows)), kind, rows, 0, (1, rows.strides[0]))[places]
    return found


def common_steps(rows: np.ndarray, places: np.ndarray) -> np.ndarray | None:
    """Give the step of every row, as int64; None where records of one row have different ones.

    Parameters
    ----------
    rows : ndarray of uint8, shape (rows, n)
        The rows, one behind the other.
    places : ndarray of intp, shape (records, bytes)
        Bytes of the rows in which the step of each record is, a varint.
    """
    if (compiled := accelerator()) is not None:
        steps = np.empty(len(rows), np.int64)
        firsts = np.ascontiguousarray(places[:, 0], np.int64) if places.shape[1] else np.zeros(len(places), np.int64)
        same = compiled.common_steps(rows, rows.shape[1], firsts, places.shape[1], steps)
        return steps if same else None
    varying = items(rows, "u1", places.ravel()).reshape(*places.shape, len(rows))
    if (varying != varying[0]).any():
        return None
    return varints(varying[0].T, 0, places.shape[1])


def near(times: np.ndarray, first: int, tolerance: float) -> np.ndarray:
    """Say which rows of times differ nowhere from one of them by more than `tolerance`; this one is among them.

    Parameters
    ----------
    times : ndarray of float64, shape (rows, n)
        Seconds.
    first : int
        Number of the row the others are compared with.
    """
    found = np.empty(len(times), bool)
    if (compiled := accelerator()) is not None:
        compiled.near(np.ascontiguousarray(times, np.float64), first, tolerance, found)
    else:
        with np.errstate(invalid="ignore"):  # of infinite times
            found[:] = (np.abs(times - times[first]) <= tolerance).all(axis=1)
    found[first] = True
    return found


# --- rows ---


class Form(NamedTuple):
    """How rows that mean the same look: whole records one after the other, of which one row is known and sound.

    Attributes
    ----------
    row : ndarray of uint8, shape (n,)
        The row that is known.
    fixed : ndarray of uint8, shape (n,)
        The bits in which rows must be equal to it.
    head : bytes
        What every row begins with.
    begins, ends : ndarray of int64, shape (records,)
        Where the payloads begin, and where their checksums stand.
    own : ndarray of uint32, shape (records, 1)
        The checksums of the row that is known.
    free, behind : ndarray of intp
        Bytes of payloads that need not be equal, and how many bytes of the payload are behind each.
    firsts : ndarray of intp, shape (records,)
        Which of these is the first of each record.
    """

    row: np.ndarray
    fixed: np.ndarray
    head: bytes
    begins: np.ndarray
    ends: np.ndarray
    own: np.ndarray
    free: np.ndarray
    behind: np.ndarray
    firsts: np.ndarray

    @classmethod
    def of(cls, row: np.ndarray, fixed: np.ndarray, payloads: list[tuple[int, int]]) -> Form:
        """Give the form of rows like one; `payloads` says where in it each begins and ends, and each has bytes that vary."""
        free = [np.flatnonzero(fixed[start:end] != 0xFF) + start for start, end in payloads]
        behind = [end - 1 - places for places, (_, end) in zip(free, payloads, strict=True)]
        begins, ends = np.array(payloads, np.int64).T.copy()
        firsts = np.cumsum([0, *(len(places) for places in free[:-1])])
        own = unmasked(items(row[None], "<u4", ends))
        head = row[:HEADER].tobytes()
        return cls(row, fixed, head, begins, ends, own, np.concatenate(free), np.concatenate(behind), firsts)


def rows_alike(buffer: np.ndarray, at: int, end: int, form: Form) -> int:
    """Give the number of rows between two places of a buffer that are of a form and undamaged.

    Parameters
    ----------
    buffer : ndarray of uint8
        The bytes; the first row begins at byte `at`, and none reaches behind `end`.
    """
    if (compiled := accelerator()) is not None:
        alike: int = compiled.rows_alike(buffer, at, end, form.row, form.fixed, form.begins, form.ends)
        return alike
    row, fixed = form.row, form.fixed
    width = len(row)
    count = (end - at) // width
    if count <= 0 or buffer[at : at + HEADER].tobytes() != form.head:
        return 0
    # Lengths tell at once, and at little cost, where rows may go on.
    apart = np.ndarray((count,), "<u8", buffer, at, (width,)) != row[:8].view("<u8")[0]
    first = int(apart.argmax())
    count = first if apart[first] else count
    step = max(_FEW, _ROWS_BYTES // width)
    for begin in range(0, count, step):
        rows = buffer[at + begin * width : at + min(begin + step, count) * width].reshape(-1, width)
        change = rows ^ row
        if (np.bitwise_or.reduce(change, axis=0) & fixed).any():
            sound = int((change & fixed).any(axis=1).argmax())
            rows, change, count = rows[:sound], change[:sound], begin + sound
        stored = unmasked(items(rows, "<u4", form.ends)) ^ form.own
        group = math.isqrt(len(rows)) | 1
        are_few = len(rows) < _FEW
        if are_few or _are_wrong(_combined(change, group), _combined(stored.T, group).T, form).any():
            wrong = _are_wrong(change, stored, form)
            if wrong.any():
                return begin + int(wrong.argmax())
        if begin + len(rows) >= count:
            break
    return count


def _are_wrong(change: np.ndarray, stored: np.ndarray, form: Form) -> np.ndarray:
    """Say which rows have a wrong checksum, given in which bits they and their checksums differ from the one that is known."""
    sum_of_bytes = crc_tables()[form.behind, change[:, form.free]]
    expected = np.bitwise_xor.reduceat(sum_of_bytes, form.firsts, axis=1)
    found: np.ndarray = (stored != expected.T).any(axis=0)
    return found


def together(change: np.ndarray, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give what `wrong_sums` takes for few rows that stand for many: if none of them is wrong, none of the many is."""
    group = math.isqrt(len(change)) | 1
    return _combined(change, group), _combined(stored[:, None], group)[:, 0]


def wrong_sums(change: np.ndarray, stored: np.ndarray, places: np.ndarray, length: int) -> np.ndarray:
    """Say which records do not have the checksum they should.

    Parameters
    ----------
    change : ndarray of uint8, shape (records, n)
        The bits in which each record differs from one that is sound.
    stored : ndarray of uint32, shape (records,)
        The bits in which its checksum does, as it stands in the file.
    places : ndarray of intp
        Bytes in which any differs.
    length : int
        Bytes of each record.
    """
    tables = crc_tables()
    wrong = stored.copy()
    for place in places.tolist():
        wrong ^= tables[length - 1 - place][change[:, place]]
    is_wrong: np.ndarray = wrong != 0
    return is_wrong


def _combined(rows: np.ndarray, group: int) -> np.ndarray:
    """Give rows combined by exclusive or in two ways: those of each group, and those a group apart; and what is left over."""
    width = rows.shape[1]
    whole = len(rows) // group * group
    across = np.bitwise_xor.reduce(rows[:whole].reshape(-1, group * width), axis=0).reshape(group, width)
    along = np.bitwise_xor.reduce(rows[:whole].reshape(-1, group, width), axis=1)
    return np.concatenate([across, along, rows[whole:]])
