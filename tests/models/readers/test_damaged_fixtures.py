"""Whatever part of what a logger wrote is missing or overwritten: the rest opens, and nothing unforeseen goes wrong."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from runglass.models.loader import load

DATA = Path(__file__).parents[2] / "data"
FORMATS = sorted(path.name for path in DATA.iterdir() if (path / "make.py").is_file())
MOST_FILES = 5


def damaged(data: bytes, chance: random.Random) -> list[bytes]:
    """Give a file cut, cut by a byte, and with bytes overwritten, zeroed and inserted."""
    cut = chance.randrange(1, len(data))
    at, length = chance.randrange(len(data)), chance.randrange(1, 40)
    noise = chance.randbytes(length)
    return [
        data[:cut],
        data[:-1],
        data[:at] + noise + data[at + length :],
        data[:at] + bytes(length) + data[at + length :],
        data[:at] + noise + data[at:],
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_that_no_damage_is_unforeseen(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    chance = random.Random(name)
    folder = tmp_path / name
    shutil.copytree(DATA / name, folder, ignore=shutil.ignore_patterns("make.py"))
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 1)
    for path in chance.sample(files, min(MOST_FILES, len(files))):
        whole = path.read_bytes()
        for data in damaged(whole, chance):
            path.write_bytes(data)
            store = load([folder])
            assert not [problem for problem in store.problems if "unexpectedly" in problem.what]
            assert not store.table_problems
            assert not caplog.records
        path.write_bytes(whole)
    assert not {path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 1} - set(files)
