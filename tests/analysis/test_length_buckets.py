from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from runglass.analysis.robustness.length_buckets import (
    LengthBuckets,
    LengthQuestion,
    bucketed,
    crossing,
    figure,
    slope_of,
)
from runglass.models.errors import TooLittleData
from runglass.models.figure import Points, Rule
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def store_of(frame: pd.DataFrame) -> RunStore:
    return RunStore().adding([TableRows("answers.csv", "test", frame, "predictions")])


def answers(shares: dict[float, float], n: int = 100, model: str = "m") -> pd.DataFrame:
    """Right answers by length: exactly these shares of n items."""
    parts = [
        pd.DataFrame(
            {"model": model, "item": [f"{length}-{i}" for i in range(n)], "length": float(length),
             "correct": (np.arange(n) < round(share * n)).astype(float)}
        )
        for length, share in shares.items()
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def asked(frame: pd.DataFrame, **options: Any) -> LengthBuckets:
    return LengthQuestion(**{"draws": 400, **options}).answer(store_of(frame))


def test_that_score_retention_slope_and_crossing_are_those_of_the_shares() -> None:
    result = asked(answers({1024: 0.8, 2048: 0.76, 4096: 0.72, 8192: 0.68, 16384: 0.64}))
    e = result.estimates
    assert result.log
    assert e["slope"].value == pytest.approx(-0.04)
    assert e["retention"].value == pytest.approx(0.8)
    # 0.9 * 0.8 = 0.72 is reached at 4096 itself.
    assert e["crossing"].value == pytest.approx(4096)
    assert result.tables["buckets"]["retention"].tolist() == pytest.approx([1, 0.95, 0.9, 0.85, 0.8])


def test_that_the_interval_of_retention_is_that_of_a_ratio_of_proportions() -> None:
    retention = asked(answers({1: 0.8, 100: 0.4}, n=400), draws=2000).estimates["retention"]
    # Katz's log interval: var log ratio = (1 - p) / (n p) of both.
    error = np.sqrt(0.2 / (400 * 0.8) + 0.6 / (400 * 0.4))
    assert (retention.low, retention.high) == pytest.approx(
        tuple(0.5 * np.exp([-1.96 * error, 1.96 * error])), abs=0.01
    )


def test_that_the_slope_is_that_of_weighted_least_squares() -> None:
    from statsmodels.regression.linear_model import WLS

    generator = np.random.default_rng(0)
    x, n, y = np.arange(6.0), generator.integers(10, 90, 6).astype(float), generator.random(6)
    assert slope_of(x, n, y) == pytest.approx(WLS(y, np.vander(x, 2), weights=n).fit().params[0])


def test_that_a_score_that_holds_has_no_crossing() -> None:
    assert np.isnan(crossing(np.arange(3.0), np.array([0.8, 0.8, 0.79]), 0.9))
    crossed = asked(answers({1: 0.8, 2: 0.8, 3: 0.79}, n=400)).estimates["crossing"]
    assert not crossed.has_interval
    assert "of resamples" in crossed.why_no_interval


def test_that_many_lengths_fall_into_buckets_of_equal_counts_and_few_stay() -> None:
    code, edges = bucketed(np.arange(100.0), 4)
    assert np.bincount(code).tolist() == [25, 25, 25, 25]
    assert edges.tolist() == [[0, 24], [25, 49], [50, 74], [75, 99]]
    assert len(bucketed(np.repeat([1.0, 5.0, 9.0], 20), 6)[1]) == 3
    # Most items of one length do not make empty buckets.
    assert np.bincount(bucketed(np.r_[np.zeros(90), np.arange(1, 21)], 5)[0]).min() > 0


def test_that_a_point_stands_for_the_items_of_its_bucket_and_version() -> None:
    frame = pd.concat([answers({1: 0.5, 2: 0.4}), answers({1: 0.9, 2: 0.8}, model="other")])
    spec = figure(LengthQuestion(claimed=1.5), asked(frame))
    points = next(m for _, m in spec.marks() if isinstance(m, Points) and m.key == "other buckets")
    assert points.origin is not None
    behind = frame[points.origin.clause([1]).mask(frame)]
    assert (set(behind["model"]), set(behind["length"]), len(behind)) == ({"other"}, {2.0}, 100)
    assert any(isinstance(m, Rule) and m.key == "claimed" and m.at == 1.5 for _, m in spec.marks())


def test_that_lengths_are_needed() -> None:
    frame = answers({1: 0.5, 2: 0.4})
    with pytest.raises(TooLittleData, match="a column of lengths"):
        asked(frame.drop(columns="length"))
    with pytest.raises(TooLittleData, match="different lengths"):
        asked(frame[frame["length"] == 1])
    some = frame.assign(length=frame["length"].where(frame.index % 4 > 0))
    assert any("50 items left out" in note for note in asked(some).notes)


def test_that_one_item_at_several_lengths_is_one_row_each() -> None:
    frame = answers({1: 0.8, 100: 0.4}).assign(item=lambda t: t["item"].str.partition("-")[2])
    alone, whole = asked(frame), asked(frame, cluster="item")
    assert alone.estimates["retention"].value == whole.estimates["retention"].value == pytest.approx(0.5)
    # The items right at the long length are right at the short one too: kept whole, they vary together.
    widths = [e.high - e.low for e in (whole.estimates["retention"], alone.estimates["retention"])]
    assert widths[0] < widths[1]
    longer = frame.assign(model="other", length=frame["length"] * 1.5)
    both = asked(pd.concat([frame, longer]))
    table = both.tables["buckets"].query("n > 0").set_index(["version", "least"])["accuracy"]
    assert table.to_dict() == pytest.approx({("m", 1): 0.8, ("m", 100): 0.4, ("other", 1.5): 0.8, ("other", 150): 0.4})
