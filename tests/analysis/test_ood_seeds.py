from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linprog

from runglass.analysis.dip import dip, dip_p
from runglass.analysis.ranking.ood_seeds import SeedSpread, SeedSpreadQuestion, figure
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Points, to_json
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def store_of(frame: pd.DataFrame, table: str = "scores") -> RunStore:
    return RunStore().adding([TableRows("rows.csv", "test", frame, table)])


def scores(values: np.ndarray, **columns: Any) -> pd.DataFrame:
    """Scores of seeds (rows) on tasks t0, t1, ... (columns)."""
    runs, tasks = values.shape
    rows = {
        "model": "m",
        "seed": np.repeat(np.arange(runs), tasks),
        "task": np.tile([f"t{j}" for j in range(tasks)], runs),
    }
    return pd.DataFrame(rows | {"value": values.ravel()} | columns)


def asked(frame: pd.DataFrame, table: str = "scores", **options: Any) -> SeedSpread:
    return SeedSpreadQuestion(**({"draws": 100} | options)).answer(store_of(frame, table))


def dip_by_programme(values: np.ndarray) -> float:
    """The dip by its definition: the nearest distribution that is convex up to a mode and concave after it."""
    x, counts = np.unique(values, return_counts=True)
    above = np.cumsum(counts) / counts.sum()
    below = above - counts / counts.sum()
    k, best = len(x), 1.0
    for mode in range(k):
        # One height a point, two at the mode, where the distribution may jump; the last unknown is the distance.
        left, right = list(range(mode + 1)), list(range(mode + 1, k + 1))
        rows, limits = [], []

        def hold(cells: dict[int, float], limit: float, rows: Any = rows, limits: Any = limits) -> None:
            row = np.zeros(k + 2)
            for cell, weight in cells.items():
                row[cell] += weight
            rows.append(row)
            limits.append(limit)

        for i in range(k):
            before, after = (i, i) if i < mode else (mode, mode + 1) if i == mode else (i + 1, i + 1)
            for cell, height in ((before, below[i]), (after, above[i])):
                hold({cell: 1, k + 1: -1}, height)
                hold({cell: -1, k + 1: -1}, -height)
        for cells, places, sign in ((left, x[: mode + 1], 1), (right, x[mode:], -1)):
            for a, b in pairwise(cells):
                hold({a: 1, b: -1}, 0)
            for i in range(len(cells) - 2):
                first, second = places[i + 1] - places[i], places[i + 2] - places[i + 1]
                slope = {cells[i]: -1 / first, cells[i + 1]: 1 / first + 1 / second, cells[i + 2]: -1 / second}
                hold({cell: sign * weight for cell, weight in slope.items()}, 0)
        hold({mode: 1, mode + 1: -1}, 0)
        cost = np.zeros(k + 2)
        cost[-1] = 1
        best = min(
            best, linprog(cost, A_ub=np.array(rows), b_ub=limits, bounds=[(None, None)] * (k + 1) + [(0, None)]).fun
        )
    return best


@pytest.mark.parametrize("seed", range(12))
def test_that_the_dip_is_the_distance_to_the_nearest_unimodal_distribution(seed: int) -> None:
    generator = np.random.default_rng(seed)
    n = int(generator.integers(4, 14))
    values = generator.random(n)
    if seed % 3 == 0:
        values = np.concatenate([generator.normal(0, 0.1, n), generator.normal(3, 0.1, n)])
    if seed % 2 == 0:
        values = np.round(values, 1)
    assert dip(values) == pytest.approx(dip_by_programme(values), abs=1e-7)


def test_that_the_dip_knows_its_ends() -> None:
    assert dip(np.arange(10.0)) == pytest.approx(1 / 20)
    assert dip(np.repeat([0.0, 1.0], 50)) == pytest.approx(0.25)
    assert dip_p(np.repeat([0.0, 1.0], 20) + np.linspace(0, 0.01, 40)) < 0.01
    assert dip_p(np.random.default_rng(0).normal(size=40)) > 0.1


def test_that_seeds_that_tie_in_domain_and_split_outside_are_seen() -> None:
    generator = np.random.default_rng(0)
    inside = 0.84 + 0.003 * generator.normal(size=40)
    outside = np.where(generator.random(40) < 0.5, 0.1, 0.6) + 0.02 * generator.normal(size=40)
    calm = 0.7 + 0.01 * generator.normal(size=40)
    result = asked(scores(np.column_stack([inside, calm, outside]), n=1000))
    assert result.cases == ("t0", "t2", "t1")  # in domain first, then the widest
    table = result.tables["cases"].set_index("case")
    assert table.loc["t2", "dip_p_holm"] < 0.05 < table.loc["t1", "dip_p_holm"]
    assert table.loc["t1", "item_sd"] == pytest.approx(np.sqrt(0.7 * 0.3 / 1000), rel=0.02)
    assert table.loc["t1", "excess_sd"] == 0
    assert abs(table.loc["t2", "r_in_domain"]) < 0.4
    assert table.loc["t2", "sd"] == pytest.approx(outside.std(ddof=1))


def test_that_few_runs_have_ranges_only() -> None:
    result = asked(scores(np.random.default_rng(0).random((5, 2))))
    assert not result.estimates["t1/sd"].has_interval
    assert "only ranges" in result.notes[0]
    with pytest.raises(TooLittleData, match="at least 3 runs"):
        asked(scores(np.random.default_rng(0).random((2, 2))))


def test_that_another_case_can_be_in_domain() -> None:
    values = np.random.default_rng(0).random((8, 3))
    assert asked(scores(values), in_domain="t2").cases[0] == "t2"
    with pytest.raises(AnalysisError, match="There is no case 'x'"):
        asked(scores(values), in_domain="x")


def test_that_predictions_are_split_by_their_group() -> None:
    generator = np.random.default_rng(0)
    runs, items = 9, 60
    right = generator.random((runs, items)) < 0.7
    frame = pd.DataFrame(
        {
            "model": "m", "seed": np.repeat(np.arange(runs), items), "item": np.tile(np.arange(items), runs).astype(str),
            "correct": right.ravel().astype(float), "group": np.tile(np.repeat(["easy", "hard"], 30), runs),
        }
    )  # fmt: skip
    result = asked(frame, "predictions")
    assert set(result.cases) == {"all items", "easy", "hard"}
    table = result.tables["cases"].set_index("case")
    assert table.loc["hard", "mean"] == pytest.approx(right[:, 30:].mean())
    assert table.loc["hard", "n"] == 30


def test_that_a_point_stands_for_its_run() -> None:
    frame = scores(np.random.default_rng(0).random((8, 3)))
    question = SeedSpreadQuestion(draws=100)
    result = question.answer(store_of(frame))
    pairs = {mark.key: mark for _, mark in figure(question, result).marks()}["pairs"]
    assert isinstance(pairs, Points)
    assert to_json(pairs.origin)["clauses"][2] == {
        "all": [{"is_in": "model", "values": ["m"]}, {"is_in": "seed", "values": [2]}]
    }
    assert SeedSpreadQuestion.from_json(question.to_json()) == question
