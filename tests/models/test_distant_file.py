"""Parquet that memory does not hold is read where it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest

from runglass.analysis.calibration.scores import ScoresQuestion
from runglass.models import distant_file, mirror_cache, partial
from runglass.models import mirror as mirrors
from runglass.models.errors import ReadError
from runglass.models.loader import load
from runglass.models.readers import table_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Answers of two versions, in files of three blocks."""
    generator = np.random.default_rng(0)
    for version in ("v1", "v2"):
        frame = pd.DataFrame({"model": "m", "version": version, "item": np.arange(900)})
        frame["confidence"] = generator.random(900)
        frame["correct"] = (generator.random(900) < frame["confidence"]).astype(int)
        frame.to_parquet(tmp_path / f"{version}.parquet", row_group_size=300)
    return tmp_path


@pytest.fixture
def address(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The same files elsewhere, where they count as larger than memory."""
    monkeypatch.setattr(table_file, "memory_for_tables", lambda: 1000)
    monkeypatch.setattr(partial, "ROWS_OF_A_PART", 500)
    monkeypatch.setattr(mirror_cache, "cache_folder", lambda: tmp_path / "cache")
    mirrors._mirrors.clear()
    distant_file._system_of.cache_clear()
    elsewhere = fsspec.filesystem("memory")
    elsewhere.put(str(folder), "/bucket/answers", recursive=True)
    yield "memory://bucket/answers"
    elsewhere.rm("/bucket", recursive=True)


def test_that_nothing_of_it_is_brought_here_and_answers_are_those_of_files_here(address, folder, tmp_path):
    question = ScoresQuestion(draws=20)
    there, here = load([address]), load([folder])
    assert there.problems == ()
    assert there.is_stored("predictions")
    assert there.number_of_rows("predictions") == 1800
    assert question.answer(there).estimates == question.answer(here).estimates
    brought = list((tmp_path / "cache").rglob("*.parquet"))
    assert len(brought) == 2
    assert all(file.stat().st_size == 0 for file in brought)


def test_that_what_memory_holds_is_brought_as_ever(address, monkeypatch):
    monkeypatch.setattr(table_file, "memory_for_tables", lambda: 1 << 30)
    store = load([address])
    assert not store.is_stored("predictions")
    assert len(store.rows("predictions")) == 1800


def test_that_a_file_that_has_gone_is_told_by_its_address(address):
    store = load([address])
    fsspec.filesystem("memory").rm("/bucket/answers/v2.parquet")
    with pytest.raises(ReadError, match="There is no such file") as told:
        ScoresQuestion(draws=20).answer(store)
    assert told.value.source == "memory://bucket/answers/v2.parquet"


def test_that_a_file_that_was_replaced_is_told(address, folder):
    store = load([address])
    pd.read_parquet(folder / "v1.parquet")[:450].to_parquet(folder / "v1.parquet", row_group_size=200)
    fsspec.filesystem("memory").put(str(folder / "v1.parquet"), "/bucket/answers/v1.parquet")
    with pytest.raises(ReadError, match=r"v1\.parquet has other rows than when it was opened"):
        ScoresQuestion(draws=20).answer(store)


def test_that_what_is_no_parquet_elsewhere_is_a_problem_of_that_file(address, folder):
    (folder / "v1.parquet").write_text("no such thing")
    fsspec.filesystem("memory").put(str(folder / "v1.parquet"), "/bucket/answers/v1.parquet")
    store = load([address])
    assert ["no Parquet file" in problem.what for problem in store.problems] == [True]
    assert store.number_of_rows("predictions") == 900


def test_that_a_password_in_an_address_is_shown_nowhere():
    blocks = table_file._ParquetBlocks("sftp://me:secret@host/answers.parquet", "m", (1,), "predictions", False)
    assert "secret" not in repr(blocks)
    assert blocks._shown == "answers.parquet"
