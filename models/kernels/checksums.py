"""CRC-32C of records of event files (RFC 3720, appendix B.4), masked as ``tensorflow/core/lib/hash/crc32c.h`` does."""

from __future__ import annotations

import google_crc32c
import numpy as np

from . import accelerator

_MASK_DELTA = np.uint32(0xA282EAD8)


def are_sound(buffer: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Say which payloads have the masked checksum that stands behind them.

    Parameters
    ----------
    buffer : ndarray of uint8
        The bytes.
    starts, lengths : ndarray of int64, shape (n,)
        Where the payloads are; the four bytes behind each are in the buffer, too.

    Returns
    -------
    ndarray of bool, shape (n,)

    Raises
    ------
    ValueError
        When a payload is not within the buffer.
    """
    starts, lengths = np.ascontiguousarray(starts, np.int64), np.ascontiguousarray(lengths, np.int64)
    if (compiled := accelerator()) is not None:
        sound = np.empty(len(starts), bool)
        compiled.are_sound(buffer, starts, lengths, sound)
        return sound
    ends = starts + lengths
    if ((starts < 0) | (lengths < 0) | (lengths > len(buffer) - 4 - starts)).any():
        raise ValueError("a payload is not within the buffer")
    stored = np.ndarray((max(0, len(buffer) - 3),), "<u4", buffer, strides=(1,))[ends] - _MASK_DELTA
    content = buffer.data
    crcs = [
        google_crc32c.value(bytes(content[start:end]))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    ]
    found: np.ndarray = ((stored << 15) | (stored >> 17)) == np.array(crcs, np.uint32)
    return found
