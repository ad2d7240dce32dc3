"""Versions joined from files as the harnesses write them, with keys that do not all match."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from runglass.analysis.compatibility.flips import FlipsQuestion
from runglass.analysis.compatibility.matrix import MatrixQuestion
from runglass.analysis.compatibility.paired_test import PairedTestQuestion
from runglass.models.loader import load


@pytest.fixture
def two_sample_files(shared_data: Path, tmp_path: Path) -> Path:
    """The samples of a real run of the harness, 40 times over, and those of a second model with three documents fewer
    and another document under one key.
    """
    source = next((shared_data / "evals" / "lm_eval").glob("samples_*.jsonl"))
    samples = [orjson.loads(line) for line in source.read_bytes().splitlines()]
    rows = []
    for number in range(40):
        one = dict(samples[number % len(samples)])
        rows.append(
            one
            | {
                "doc_id": number,
                "doc_hash": f"d{number}",
                "prompt_hash": f"p{number}",
                "exact_match": float(number % 3 == 0),
            }
        )
    second = [row | {"exact_match": float(row["doc_id"] % 2 == 0)} for row in rows[:-3]]
    second[4] = second[4] | {"doc_hash": "another"}
    for name, part in (("first", rows), ("second", second)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / source.name).write_bytes(b"\n".join(orjson.dumps(row) for row in part))
    return tmp_path


def test_that_samples_of_the_harness_are_joined_on_documents_and_what_does_not_match_is_said(
    two_sample_files: Path,
) -> None:
    store = load([two_sample_files])
    frame = store.rows("predictions")
    by = "model" if frame["model"].nunique() == 2 else "source"
    result = FlipsQuestion(by=by, draws=100).answer(store)
    # Of documents 0 to 36 all but 4 are compared: old right on multiples of 3, new on even ones.
    compared = [number for number in range(37) if number != 4]
    assert result.estimates["n"].value == len(compared)
    assert result.counts["negative_flips"] == sum(n % 3 == 0 and n % 2 == 1 for n in compared)
    assert result.counts["positive_flips"] == sum(n % 3 != 0 and n % 2 == 0 for n in compared)
    notes = " ".join(result.notes)
    assert "3 items only in" in notes
    assert "1 item left out: the doc_hash differs between versions." in notes
    table = PairedTestQuestion(by=by).answer(store)
    assert table.counts["b"] == result.counts["negative_flips"]
    matrix = MatrixQuestion(by=by).answer(store)
    assert matrix.estimates["n"].value == len(compared)
