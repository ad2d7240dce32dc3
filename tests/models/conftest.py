"""Small stores that tests of the models share."""

import numpy as np
import pandas as pd
import pytest

from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, FolderConfig, RunFacts, TableRows


@pytest.fixture
def store() -> RunStore:
    """Three runs with curves in two folders, and predictions of two versions on three items."""
    predictions = pd.DataFrame(
        {
            "model": ["m"] * 6,
            "version": ["v1"] * 3 + ["v2"] * 3,
            "item": ["a", "b", "c"] * 2,
            "correct": [1, 1, 0, 1, 0, 1],
            "confidence": [0.9, 0.8, 0.4, 0.95, 0.6, 0.7],
        }
    )
    return RunStore().adding(
        [
            RunFacts("runs/big/s0", config={"seed": 0, "lr": 0.1, "params": 4e6}, reader="csv"),
            CurvePiece("runs/big/s0", np.arange(3), {"loss": np.array([3.0, 2.0, 1.0])}, np.array([10.0, 20.0, 30.0])),
            RunFacts("runs/big/s1", config={"seed": 1, "lr": 0.1, "params": 4e6}),
            CurvePiece("runs/big/s1", np.arange(2), {"loss": np.array([3.0, np.nan]), "acc": np.array([0.1, 0.2])}),
            RunFacts("runs/small/s0", config={"seed": 0, "optimizer.lr": 0.2}),
            CurvePiece("runs/small/s0", np.arange(2), {"loss": np.array([5.0, 4.0])}),
            FolderConfig("runs/small", {"params": 1e6, "seed": 7}),
            TableRows("runs/predictions.csv", "table", predictions),
        ]
    )
