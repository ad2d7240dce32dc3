from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, linregress, pearsonr, spearmanr, weightedtau

from runglass.analysis.ranking.proxy_validity import ANALYSIS, ProxyQuestion, ProxyValidity, enrichment, figure
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Points, to_json
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def table(columns: dict[str, np.ndarray], **more: Any) -> pd.DataFrame:
    """Scores of models m0, m1, ... on one task by metric."""
    parts = [
        pd.DataFrame(
            {"model": [f"m{i}" for i in range(len(values))], "task": "t", "metric": name, "value": values} | more
        )
        for name, values in columns.items()
    ]
    return pd.concat(parts, ignore_index=True)


def asked(frame: pd.DataFrame, **options: Any) -> ProxyValidity:
    store = RunStore().adding([TableRows("scores.csv", "test", frame, "scores")])
    return ProxyQuestion(**({"draws": 200} | options)).answer(store)


GENERATOR = np.random.default_rng(4)
Y = GENERATOR.normal(size=30)
X = Y + GENERATOR.normal(size=30)
Z = np.round(Y + 2 * GENERATOR.normal(size=30))
FRAME = table({"x": X, "z": Z, "y": Y})


def test_that_correlations_are_those_of_scipy() -> None:
    league = asked(FRAME, target="y").league.set_index("proxy")
    for name, values in (("x", X), ("z", Z)):
        row = league.loc[name]
        assert row["pearson"] == pytest.approx(pearsonr(values, Y).statistic)
        assert row["spearman"] == pytest.approx(spearmanr(values, Y).statistic)
        assert row["tau_b"] == pytest.approx(kendalltau(values, Y).statistic)
        assert row["weighted_tau"] == pytest.approx(weightedtau(values, Y).statistic)
    assert league.loc["x", "concordance"] == pytest.approx((kendalltau(X, Y).statistic + 1) / 2)
    top = np.median(Y) <= Y
    assert league.loc["x", "tau_b_top"] == pytest.approx(kendalltau(X[top], Y[top]).statistic)


def test_that_leaving_out_fits_the_line_again_to_the_others() -> None:
    result = asked(FRAME, target="y", shown="x")
    fits = [linregress(np.delete(X, i), np.delete(Y, i)) for i in range(30)]
    predicted = np.array([fit.intercept + fit.slope * x for fit, x in zip(fits, X, strict=True)])
    row = result.league.set_index("proxy").loc["x"]
    assert row["left_out_rmse"] == pytest.approx(np.sqrt(np.mean((Y - predicted) ** 2)))
    plain = np.array([np.delete(Y, i).mean() for i in range(30)])
    assert row["skill"] == pytest.approx(1 - np.sum((Y - predicted) ** 2) / np.sum((Y - plain) ** 2))
    worst = int(np.abs(Y - predicted).argmax())
    assert result.points["model"].iloc[0] == f"m{worst}"


def test_that_the_target_itself_is_a_perfect_proxy() -> None:
    e = asked(table({"copy": Y, "y": Y}), target="y").estimates
    assert e["copy/tau_b"].value == 1
    assert e["copy/regret"].value == 0
    assert e["copy/skill"].value == pytest.approx(1)
    assert e["copy/enrichment"].value == pytest.approx(30 / 8)
    turned = asked(table({"loss": -Y, "y": Y}), target="y").estimates
    assert turned["loss/tau_b"].value == 1  # lower is better


def test_that_the_regret_is_what_the_choice_loses() -> None:
    y = np.array([1.0, 9, 4, 7, 3, 2])
    e = asked(table({"x": np.array([1.0, 2, 3, 4, 5, 0]), "y": y}), target="y").estimates
    assert e["x/regret"].value == 9 - 3
    tied = asked(table({"x": np.array([1.0, 5, 3, 4, 5, 0]), "y": y}), target="y").estimates
    assert tied["x/regret"].value == 9 - (9 + 3) / 2


def test_that_enrichment_of_blind_picks_is_one() -> None:
    generator = np.random.default_rng(0)
    found = [enrichment(generator.random(20), generator.random(20), 5) for _ in range(2000)]
    assert np.mean(found) == pytest.approx(1, abs=0.05)
    assert enrichment(np.ones(20), generator.random(20), 5) == pytest.approx(1)


def test_that_the_intervals_hold_the_true_correlation() -> None:
    generator = np.random.default_rng(7)
    truth = 2 / np.pi * np.arcsin(0.7)  # of a Gaussian with correlation 0.7
    held = 0
    for _ in range(60):
        x = generator.normal(size=25)
        y = 0.7 * x + np.sqrt(1 - 0.49) * generator.normal(size=25)
        e = asked(table({"x": x, "y": y}), target="y").estimates["x/tau_b"]
        held += e.low <= truth <= e.high
    assert held >= 52


def test_that_families_make_the_interval_wider() -> None:
    generator = np.random.default_rng(8)
    family = np.repeat(np.arange(12), 5)
    shared = generator.normal(size=(12, 2))[family] @ np.array([[1, 0.5], [0, 0.8]])
    values = shared + 0.1 * generator.normal(size=(60, 2))
    frame = table({"x": values[:, 0], "y": values[:, 1]}).assign(lab=np.tile(family, 2))
    alone, together = (asked(frame, target="y", family=name).estimates["x/tau_b"] for name in ("", "lab"))
    assert together.value == alone.value
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_that_a_mixture_is_judged_on_models_it_has_not_seen() -> None:
    generator = np.random.default_rng(9)
    a, b = generator.normal(size=(2, 40))
    result = asked(table({"a": a, "b": b, "y": 2 * a + b}), target="y")
    assert result.estimates["mixture/skill"].value == pytest.approx(1)
    weights = result.tables["mixture"].set_index("proxy")["weight"]
    assert weights.loc[["a", "b"]].tolist() == pytest.approx([2, 1])
    noise = asked(
        table({f"n{i}": generator.normal(size=15) for i in range(8)} | {"y": generator.normal(size=15)}), target="y"
    )
    assert noise.estimates["mixture/skill"].value < 0.2  # on the models it learned from it would be far above


def test_that_a_numeric_column_can_be_a_proxy_and_names_are_checked() -> None:
    frame = FRAME.assign(params=np.tile(np.exp(Y), 3))
    assert asked(frame, target="y", proxies=("params",)).estimates["params/tau_b"].value == pytest.approx(1)
    with pytest.raises(AnalysisError, match="No number is called 'w'"):
        asked(FRAME, target="w")
    with pytest.raises(TooLittleData, match="at least 6 models"):
        asked(table({"x": X[:5], "y": Y[:5]}), target="y")


def test_that_the_figure_names_who_is_furthest_off() -> None:
    question = ProxyQuestion(target="y")
    result = asked(FRAME, target="y")
    spec = figure(question, result)
    models = next(mark for _, mark in spec.marks() if isinstance(mark, Points) and mark.key == "models")
    assert len(models.x) == 30
    assert models.origin is not None
    assert to_json(models.origin.clause([0])) == to_json(result.scores.clause(result.points["model"].iloc[0]))
    assert {mark.key for panel, mark in spec.marks() if mark.key.startswith("name/")} == {
        f"name/{name}" for name in result.points["model"].head(6)
    }
    assert ANALYSIS.question.missing(RunStore()).startswith("needs")
