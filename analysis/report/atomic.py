"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ...models.errors import ExportError


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file beside its place and put it there when it is whole; an old one stays until then.

    Raises
    ------
    ExportError
        When it cannot be written; the remedy says what to do.
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".part", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        # mkstemp makes files for the owner only; a figure is like any other file the user makes.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        os.replace(temporary, path)
    except OSError as error:
        raise _refusal(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _refusal(path: Path, error: OSError) -> ExportError:
    if not path.parent.is_dir():
        return ExportError(
            f"{path} cannot be written: there is no folder {path.parent}.", remedy="Make the folder first."
        )
    if path.is_dir():
        return ExportError(f"{path} cannot be written: it is a folder.", remedy="Give the name of a file.")
    return ExportError(f"{path} cannot be written: {error.strerror or error}.", remedy="Write it to another folder.")
