"""Arrays in archives of NumPy (``.npz``), of which nothing is unpickled and no header is believed."""

from __future__ import annotations

import tokenize
import zipfile

import numpy as np


def stored_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Give one array of an archive, in the shape that was stored.

    Raises
    ------
    ValueError
        When it holds Python objects or records, is damaged, or its header promises more than the archive says it has.
    """
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        try:
            shape, _, dtype = read_header(file)
        except tokenize.TokenError as error:  # the header is text of Python, which NumPy repairs and then parses
            raise ValueError(f"its header is damaged: {error}") from None
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never unpickled")
    if dtype.kind == "V" or (dtype.kind in "mM" and np.datetime_data(dtype)[0] == "generic"):
        raise ValueError(f"its values are of the kind {dtype}, which is neither number, text nor time")
    # The header alone decides how much memory is taken, so it must not say more than is there.
    if int(np.prod(shape, dtype=object)) * dtype.itemsize > info.file_size:
        raise ValueError("it is shorter than its header says")
    with archive.open(info) as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return array
