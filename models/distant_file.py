"""Files that stay where they are, at an address, and of which parts are read when they are wanted.

What memory does not hold is not brought here either: its footer and some of its columns are read as ranges, by this process
or by any other that has credentials for the place.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO

from .address import file_system, is_address, sentence, without_password
from .errors import ReadError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


@contextlib.contextmanager
def distant_file(address: str) -> Iterator[BinaryIO]:
    """Open the file at an address to be read in parts.

    Raises
    ------
    ReadError
        When it cannot be opened, or, while it is open, no longer be read.
    """
    try:
        system, path = _opened(address)
        with system.open(path, "rb", cache_type="readahead", block_size=1 << 20) as file:
            yield file
    except ReadError:
        raise
    except Exception as error:
        if type(error).__module__.startswith("pyarrow") or isinstance(error, MemoryError):
            raise  # it was read, and is not what it should be
        _system_of.cache_clear()  # a connection that broke is not used again
        raise ReadError(sentence(error), source=without_password(address)) from error


def _opened(address: str) -> tuple[AbstractFileSystem, str]:
    """Give who opens an address, connected to once for all files of a host or bucket, and the path there."""
    assert is_address(address)
    if "::" in address:
        return file_system(address)
    protocol, _, rest = address.partition("://")
    system = _system_of(f"{protocol}://{rest.partition('/')[0]}")
    return system, str(system._strip_protocol(address))


@lru_cache(maxsize=8)
def _system_of(root: str) -> AbstractFileSystem:
    return file_system(root)[0]
