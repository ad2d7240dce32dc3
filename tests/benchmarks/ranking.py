"""Kendall's tau-b for all pairs of columns, and its bootstrap, against scipy one by one and pandas: ratios in one run.

Run it alone on a quiet machine::

    python tests/benchmarks/ranking.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from runglass.analysis.rank_correlation import PairOrders, kendall_matrix

CHECKPOINTS, MODELS, DRAWS = 200, 100, 1000


def seconds(function: Callable[[], Any], rounds: int = 5) -> float:
    """Give the median time of a call over some rounds."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def main() -> None:
    """Check that all agree, then print ratios of times."""
    generator = np.random.default_rng(0)
    scores = np.round(generator.normal(size=(MODELS, CHECKPOINTS)), 2)
    counts = generator.multinomial(MODELS, np.full(MODELS, 1 / MODELS), size=DRAWS)
    frame = pd.DataFrame(scores)
    taus = kendall_matrix(scores)
    np.testing.assert_allclose(taus, frame.corr(method="kendall"), atol=1e-12)
    orders = PairOrders.of(scores)
    drawn = orders.against_in_draws(CHECKPOINTS - 1, counts)
    resampled = np.repeat(scores, counts[0], axis=0)
    expected = [kendalltau(resampled[:, j], resampled[:, -1]).statistic for j in range(CHECKPOINTS)]
    np.testing.assert_allclose(drawn[0], expected, atol=1e-12)

    ours = seconds(lambda: kendall_matrix(scores))
    pair = seconds(lambda: [kendalltau(scores[:, j], scores[:, -1]) for j in range(CHECKPOINTS)], 3) / CHECKPOINTS
    pandas = seconds(lambda: frame.corr(method="kendall"), 3)
    pairs = CHECKPOINTS * (CHECKPOINTS - 1) / 2
    print(f"all pairs of {CHECKPOINTS} columns x {MODELS} models: {1e3 * ours:.1f} ms")
    print(f"  scipy, pair by pair  {pair * pairs / ours:6.0f} x")
    print(f"  pandas corr          {pandas / ours:6.1f} x")
    bootstrap = seconds(lambda: orders.against_in_draws(CHECKPOINTS - 1, counts))
    print(f"bootstrap, {DRAWS} draws, each column against the last: {1e3 * bootstrap:.0f} ms")
    print(f"  scipy, pair by pair  {pair * CHECKPOINTS * DRAWS / bootstrap:6.0f} x")


if __name__ == "__main__":
    main()
