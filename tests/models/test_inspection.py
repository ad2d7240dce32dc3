"""What is open, in words and as plain JSON."""

from __future__ import annotations

import json
import math
from types import MappingProxyType

import numpy as np
import pandas as pd

from runglass.models.inspection import found, inspected
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, RunFacts, TableRows


def test_that_settings_of_every_kind_are_plain_json() -> None:
    config = {
        "layers": [1, np.int64(2), (math.inf,)], "nested": MappingProxyType({1: math.nan}), "lr": np.float32(0.5),
        "path": np.datetime64("2026-01-02"), "none": None,
    }  # fmt: skip
    events = [RunFacts("r", config=config), CurvePiece("r", np.arange(2), {"loss": np.array([1.0, np.nan])})]
    (run,) = inspected(RunStore().adding(events))["runs"]
    assert json.loads(json.dumps(run, allow_nan=False)) == run
    shown = {key: run["config"][key] for key in config}
    assert shown == {
        "layers": [1, 2, [None]], "nested": {"1": None}, "lr": 0.5, "path": "2026-01-02", "none": None,
    }  # fmt: skip
    assert run["scalars"]["loss"] == {
        "points": 2, "first_step": 0, "last_step": 1, "last_value": None, "non_finite": 1,
    }  # fmt: skip


def test_that_what_is_open_is_said_in_a_few_words() -> None:
    assert found(RunStore()) == "nothing that can be read"
    unknown = TableRows("a.csv", "table", pd.DataFrame({"x": [1], "y": [2]}))
    assert found(RunStore().adding([unknown])) == "1 table whose columns must be mapped first"
