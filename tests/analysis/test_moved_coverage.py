"""What is computed again when the coverage of intervals moves: the intervals, and nothing that was drawn or fitted."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import numpy as np
import pandas as pd
import pytest

from runglass.analysis.registry import analysis
from runglass.models.result import Result
from runglass.models.store import RunStore
from runglass.models.tables import TableRows

DEAR = {
    "rank.kendall": ("kendall", "_all_ranked"),
    "rank.concurrence": ("concurrence", "_computed"),
    "rank.decision-accuracy": ("decision_accuracy", "_computed"),
    "rank.perturbation": ("perturbation", "_ranked"),
    "noise.card": ("noise_card", "_measured"),
    "rating.elo": ("elo", "_fought"),
    "rating.plackett-luce": ("plackett_luce", "_fitted"),
    "proxy.validity": ("proxy_validity", "_computed"),
    "board.aggregate": ("aggregate", "_added_up"),
}
"""What each analysis does once, whatever the coverage."""


def scores() -> RunStore:
    """12 models at 6 checkpoints on 4 tasks under 2 prompts, with standard errors."""
    generator = np.random.default_rng(3)
    rows = [
        {"model": f"m{model}", "step": float(step), "task": f"t{task}", "prompt": f"p{prompt}",
         "value": 0.3 + 0.03 * model + 0.02 * step + 0.05 * generator.normal(), "stderr": 0.02, "n": 500}
        for model in range(12)
        for step in range(1, 7)
        for task in range(4)
        for prompt in range(2)
    ]  # fmt: skip
    return RunStore().adding([TableRows("scores.csv", "test", pd.DataFrame(rows), "scores")])


def asked(identifier: str, store: RunStore, **options: Any) -> Result:
    question = analysis(identifier).question
    few = {"draws": 100} if any(field.name == "draws" for field in dataclasses.fields(question)) else {}
    apart = {"over": "prompt"} if identifier == "rank.perturbation" else {}
    return question(**(few | apart | options)).answer(store)


@pytest.mark.parametrize("identifier", DEAR)
def test_that_another_coverage_draws_and_fits_nothing_again(identifier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name = DEAR[identifier]
    made = importlib.import_module(f"runglass.analysis.ranking.{module}")
    calls, real = [], getattr(made, name)

    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(made, name, counted)
    store = scores()
    wide, narrow = asked(identifier, store, level=0.95), asked(identifier, store, level=0.6)
    assert len(calls) == 1
    again = asked(identifier, scores(), level=0.6)
    assert len(calls) == 2
    assert again.to_json() == narrow.to_json()  # what was kept is what would have been computed
    known = [key for key, one in narrow.estimates.items() if one.has_interval and one.high > one.low]
    assert known
    for key in known:
        a, b = wide.estimates[key], narrow.estimates[key]
        assert a.high - a.low >= b.high - b.low, key


def test_that_a_share_of_top_models_resamples_no_proxy_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made = importlib.import_module("runglass.analysis.ranking.proxy_validity")
    calls, real = [], made._resampled
    monkeypatch.setattr(made, "_resampled", lambda *given: calls.append(given) or real(*given))
    store = scores()
    few, many = (asked("proxy.validity", store, top=top) for top in (0.1, 0.5))
    assert len(calls) == 3  # one a proxy
    key = next(key for key in few.estimates if key.endswith("/enrichment"))
    assert few.estimates[key].value != many.estimates[key].value


def test_that_larger_steps_of_a_ladder_plan_no_battle_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made = importlib.import_module("runglass.analysis.ranking.elo")
    calls, real = [], made._planned
    monkeypatch.setattr(made, "_planned", lambda *given: calls.append(given) or real(*given))
    store = scores()
    small, large = (asked("rating.elo", store, k=k) for k in (10.0, 40.0))
    assert len(calls) == 1
    spread = [
        max(e.value for e in r.estimates.values()) - min(e.value for e in r.estimates.values()) for r in (small, large)
    ]
    assert spread[1] > spread[0]
