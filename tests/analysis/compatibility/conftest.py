from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from runglass.models.store import RunStore
from runglass.models.tables import TableRows


@pytest.fixture
def stored() -> Callable[[pd.DataFrame], RunStore]:
    """Makes a store of a predictions table."""
    return lambda frame: RunStore().adding([TableRows("answers.csv", "test", frame, "predictions")])


@pytest.fixture
def answered(stored: Callable[[pd.DataFrame], RunStore]) -> Callable[..., RunStore]:
    """Makes a store of the answers of versions v1, v2, ... to items 0, 1, ...; the right answer is 'a'."""

    def make(*sides: Sequence[Any], by: str = "version", **columns: Sequence[Any]) -> RunStore:
        parts = []
        for number, given in enumerate(sides, start=1):
            items = [str(i) for i in range(len(given))]
            part = {by: f"v{number}", "item": items, "label": "a", "prediction": list(given)}
            parts.append(pd.DataFrame(part | {name: list(values)[: len(items)] for name, values in columns.items()}))
        return stored(pd.concat(parts, ignore_index=True))

    return make


@pytest.fixture(scope="session")
def mmlu_pro(shared_data: Path) -> RunStore:
    """Answers of twelve models to 12,032 questions."""
    wide = pd.read_csv(shared_data / "compatibility" / "mmlu_pro" / "answers.csv", dtype=str)
    key = ["question_id", "category", "answer", "n_options"]
    frame = wide.melt(key, var_name="model", value_name="prediction")
    frame = frame.rename(columns={"question_id": "item", "category": "group", "answer": "label"})
    frame["n_options"] = frame["n_options"].astype(float)
    return RunStore().adding([TableRows("answers.csv", "test", frame, "predictions")])


@pytest.fixture(scope="session")
def digits() -> RunStore:
    """Answers of the sample's four models to 1,000 held-out items."""
    from runglass.models.loader import load

    return load([Path(__file__).parents[3] / "resources" / "demo" / "digits"])
