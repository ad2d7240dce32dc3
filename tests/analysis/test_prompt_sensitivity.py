from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from runglass.analysis.robustness.prompt_sensitivity import (
    PromptQuestion,
    PromptSensitivity,
    consistency,
    figure,
    optimism_of_best,
    spread_of_answers,
    variance_components,
)
from runglass.models.errors import TooLittleData
from runglass.models.figure import Points
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def store_of(frame: pd.DataFrame) -> RunStore:
    return RunStore().adding([TableRows("answers.csv", "test", frame, "predictions")])


def answers(table: dict[str, list[str]], model: str = "m", label: str = "a") -> pd.DataFrame:
    """Answers by variant to items 0, 1, ...; the right one is `label`."""
    return pd.concat(
        pd.DataFrame(
            {
                "model": model,
                "prompt": variant,
                "item": [str(i) for i in range(len(given))],
                "label": label,
                "prediction": given,
            }
        )
        for variant, given in table.items()
    )


def asked(frame: pd.DataFrame, **options: Any) -> PromptSensitivity:
    return PromptQuestion(**{"draws": 200, **options}).answer(store_of(frame))


def test_that_answers_that_never_change_have_no_sensitivity() -> None:
    result = asked(answers({f"p{v}": ["a", "b", "c"] for v in range(4)}))
    e = result.estimates
    assert (e["sensitivity"].value, e["agreement"].value, e["range"].value, e["variant_sd"].value) == (0, 1, 0, 0)
    assert e["item_share"].value == 1
    assert e["mean"].value == pytest.approx(1 / 3)


def test_that_sensitivity_is_the_mean_entropy_of_answers() -> None:
    codes = np.array([[0, 0, 1, 1], [0, 1, 2, 3], [2, 2, 2, 2]])
    entropy, agreement = spread_of_answers(codes, 4)
    assert entropy == pytest.approx([0.5, 1.0, 0.0])
    assert agreement == pytest.approx([2 / 6, 0, 1])
    one, alone = spread_of_answers(codes[:, :1], 4)
    assert (one.tolist(), alone.tolist()) == ([0, 0, 0], [1, 1, 1])


def test_that_consistency_is_one_less_the_mean_total_variation_of_pairs() -> None:
    generator = np.random.default_rng(0)
    codes = generator.integers(0, 3, (7, 5))
    shares = np.stack([np.bincount(row, minlength=3) / 5 for row in codes])
    pairs = [np.abs(shares[i] - shares[j]).sum() / 2 for i in range(7) for j in range(i)]
    assert consistency(codes, 3) == pytest.approx(1 - np.mean(pairs))
    assert math.isnan(consistency(codes[:1], 3))


def test_that_mean_squares_are_those_of_the_analysis_of_variance_of_statsmodels() -> None:
    from statsmodels.formula.api import ols  # noqa: TID251 - a formula is the plainest oracle
    from statsmodels.stats.anova import anova_lm

    right = (np.random.default_rng(1).random((30, 5)) < np.linspace(0.3, 0.8, 5)).astype(float)
    item, variant, residual = variance_components(right)
    frame = pd.DataFrame(
        [(right[i, v], i, v) for i in range(30) for v in range(5)], columns=["right", "item", "variant"]
    )
    table = anova_lm(ols("right ~ C(item) + C(variant)", frame).fit())
    squares = table["sum_sq"] / table["df"]
    assert residual == pytest.approx(squares["Residual"])
    assert item == pytest.approx(max(0, (squares["C(item)"] - squares["Residual"]) / 5))
    assert variant == pytest.approx((squares["C(variant)"] - squares["Residual"]) / 30)
    # Weights are repeats: the same as the rows taken twice.
    twice = variance_components(np.repeat(right, 2, axis=0))
    assert variance_components(right, np.full(30, 2.0)) == pytest.approx(twice)


def test_that_simulated_components_are_recovered() -> None:
    generator = np.random.default_rng(2)
    found = []
    for _ in range(60):
        item, variant = generator.normal(0, 0.3, (80, 1)), generator.normal(0, 0.1, (1, 12))
        found.append(variance_components(item + variant + generator.normal(0, 0.2, (80, 12))))
    assert np.mean(found, axis=0) == pytest.approx([0.09, 0.01, 0.04], rel=0.12)


def test_that_the_best_of_equal_variants_flatters_as_the_largest_of_gaussians() -> None:
    # The expected maximum of 8 standard Gaussians is 1.4236 (Harter 1961); the other half knows nothing of it.
    generator = np.random.default_rng(3)
    found = [optimism_of_best((generator.random((400, 8)) < 0.5).astype(float), 20, 0) for _ in range(150)]
    assert np.mean(found) == pytest.approx(1.4236 * math.sqrt(0.25 / 200), rel=0.07)
    assert optimism_of_best(np.ones((50, 3)), 50, 0) == 0


def test_that_ranks_that_turn_over_are_said() -> None:
    n = 60
    strong, weak = ["a"] * 50 + ["b"] * 10, ["a"] * 20 + ["b"] * 40
    frame = pd.concat(
        [
            answers({"p1": strong, "p2": weak, "p3": strong}, "x"),
            answers({"p1": weak, "p2": strong, "p3": weak}, "y"),
            answers({"p1": ["a"] * n, "p2": ["a"] * n, "p3": ["a"] * n}, "z"),
        ]
    )
    result = asked(frame)
    assert result.estimates["max_rank_shift"].value == 1
    assert result.estimates["min_tau_b"].value == pytest.approx(1 / 3)
    assert result.estimates["swaps_beyond_noise"].value == 1
    spec = figure(PromptQuestion(), result)
    assert [panel.key for panel in spec.panels] == ["strips", "components", "bump"]
    gains = result.tables["variants"].set_index("variant")["mean_relative_gain"]
    # x: 50 against 35 = (20 + 50) / 2, y: 20 against 35, z: nothing.
    assert gains["p1"] == pytest.approx((100 * 15 / 35 - 100 * 15 / 35) / 3)


def test_that_a_dot_stands_for_the_rows_of_its_model_and_variant() -> None:
    frame = pd.concat([answers({"p1": ["a", "b"] * 5, "p2": ["a"] * 10}, model) for model in ("x", "y")])
    result = asked(frame, variant="prompt")
    dots = next(
        m for _, m in figure(PromptQuestion(), result).marks() if isinstance(m, Points) and m.key == "variant p1"
    )
    assert dots.x.tolist() == [50, 50]
    assert dots.origin is not None
    behind = frame[dots.origin.clause([1]).mask(frame)]
    assert (set(behind["model"]), set(behind["prompt"]), len(behind)) == ({"y"}, {"p1"}, 10)


def test_that_only_items_of_all_variants_count_and_variants_are_needed() -> None:
    frame = answers({"p1": ["a", "a", "b"], "p2": ["a", "b"]})
    result = asked(frame)
    assert result.estimates["n"].value == 2
    with pytest.raises(TooLittleData, match="a column of variants"):
        asked(frame.drop(columns="prompt"))
    with pytest.raises(TooLittleData, match="two or more"):
        asked(frame[frame["prompt"] == "p1"])


def test_that_the_interval_of_the_mean_holds_the_noise_of_the_variants_too() -> None:
    generator = np.random.default_rng(4)
    table = {
        f"p{v}": ["a" if u < share else "b" for u in generator.random(400)]
        for v, share in enumerate([0.2, 0.35, 0.5, 0.65, 0.8, 0.9])
    }
    mean = asked(answers(table), draws=600).estimates["mean"]
    spread = np.std([0.2, 0.35, 0.5, 0.65, 0.8, 0.9]) / math.sqrt(6)
    assert mean.high - mean.low == pytest.approx(2 * 1.96 * spread, rel=0.2)
