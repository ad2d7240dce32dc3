"""Small stores that tests of the models share, and the two twins of the kernels."""

import importlib
import importlib.util
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

from runglass.models import kernels
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


@pytest.fixture(params=["numpy", "compiled"], scope="module")
def twin(request: pytest.FixtureRequest) -> Iterator[str]:
    """The twin of every kernel that computes in the tests of a module: they run on both."""
    compiled = "runglass.models.kernels._compiled"
    if request.param == "compiled" and importlib.util.find_spec(compiled) is None:
        pytest.skip("the compiled kernels were not built: there was no compiler")
    with pytest.MonkeyPatch.context() as patch:
        module = importlib.import_module(compiled) if request.param == "compiled" else None
        patch.setattr(kernels, "_in_use", module)
        yield str(request.param)
