from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runglass.analysis.asking import Answer, Opened, ask
from runglass.analysis.registry import analysis
from runglass.analysis.scaling.matched_loss import smoother
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Points, Rule
from runglass.models.store import RunStore
from runglass.models.tables import TableRows


def runs(n: int = 40, effect: float = 0.02, seed: int = 0) -> pd.DataFrame:
    """Score falls with loss along a curve; beyond that it rises with sharpness times `effect`."""
    rng = np.random.default_rng(seed)
    loss = rng.uniform(2.2, 3.4, n)
    sharpness = rng.normal(size=n)
    return pd.DataFrame(
        {
            "run": [f"r{i}" for i in range(n)], "loss": loss, "sharpness": sharpness,
            "params": 10 ** rng.uniform(7, 9, n), "tokens": 10 ** rng.uniform(9, 11, n),
            "optimizer": rng.choice(["adamw", "lion"], n),
            "score": 0.9 - 0.12 * (loss - 2) ** 1.5 + effect * sharpness + rng.normal(0, 0.01, n),
        }
    )  # fmt: skip


def answered(*frames: pd.DataFrame, **options: Any) -> Answer:
    tables = [
        TableRows(f"{i}.csv", "test", frame, "scores" if "task" in frame else "runs") for i, frame in enumerate(frames)
    ]
    options = {"draws": 300, **({} if len(frames) > 1 else {"score": "score"}), **options}
    return ask(analysis("scaling.matched-loss"), options, Opened(RunStore().adding(tables)))


def value(answer: Answer, name: str) -> float:
    return answer.result.estimates[name].value


@settings(deadline=None, max_examples=30)
@given(n=st.integers(8, 60), bins=st.integers(2, 6), seed=st.integers(0, 100))
def test_that_residuals_average_zero_in_every_loss_bin(n: int, bins: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    loss, y = rng.uniform(2, 4, n), rng.normal(size=n)
    smooth = smoother(loss, bins)
    residual = y - smooth.hat @ y
    for number in range(smooth.bins.max() + 1):
        assert residual[smooth.bins == number].mean() == pytest.approx(0, abs=1e-7)


def test_that_the_residuals_of_the_answer_average_zero_in_every_loss_bin() -> None:
    table = answered(runs()).result.tables["runs"]
    assert table["bin"].nunique() == 5
    assert table.groupby("bin")["residual"].mean().to_numpy() == pytest.approx(np.zeros(5), abs=1e-9)


def test_that_a_straight_line_of_loss_is_left_as_it_is() -> None:
    loss = np.sort(np.random.default_rng(0).uniform(2, 4, 30))
    smooth = smoother(loss, 5)
    assert smooth.hat @ (3 - 0.5 * loss) == pytest.approx(3 - 0.5 * loss, abs=1e-6)
    assert smooth.curve @ (3 - 0.5 * loss) == pytest.approx(3 - 0.5 * smooth.grid, abs=1e-6)


def test_that_what_explains_the_rest_is_found_and_what_does_not_is_not() -> None:
    answer = answered(runs())
    partial = answer.result.estimates["sharpness/partial"]
    assert partial.value > 0.8
    assert partial.low > 0.5
    assert value(answer, "sharpness/p") < 0.05
    assert value(answer, "log params/p") > 0.05
    assert value(answer, "optimizer = lion/p") > 0.05 or value(answer, "optimizer = adamw/p") > 0.05
    assert "goes most with sharpness" in answer.result.summary()
    slope = answer.result.tables["covariates"].set_index("covariate")["slope"]["sharpness"]
    assert slope == pytest.approx(0.02, abs=0.005)


def test_that_with_one_bin_the_partial_correlation_is_that_of_linear_residuals() -> None:
    frame = runs()
    answer = answered(frame, bins=1)

    def left(values: pd.Series) -> np.ndarray:
        return np.asarray(values - np.polyval(np.polyfit(frame["loss"], values, 1), frame["loss"]))

    expected = np.corrcoef(left(frame["score"]), left(frame["sharpness"]))[0, 1]
    assert value(answer, "sharpness/partial") == pytest.approx(expected)


def test_that_without_an_effect_p_is_small_as_seldom_as_it_says() -> None:
    small = [
        value(answered(runs(24, effect=0.0, seed=seed), covariates=("sharpness",), draws=100), "sharpness/p") < 0.1
        for seed in range(12)
    ]
    assert np.mean(small) < 0.4


def test_that_scores_of_models_called_as_the_runs_are_averaged_over_tasks() -> None:
    frame = runs()
    scores = pd.concat(
        [frame[["run", "score"]].rename(columns={"run": "model", "score": "value"}).assign(task=task, metric="acc")
         for task in ("a", "b")]
    )  # fmt: skip
    scores.loc[scores["task"] == "b", "value"] += 0.1
    answer = answered(frame.drop(columns="score"), scores)
    assert value(answer, "sharpness/partial") == pytest.approx(value(answered(frame), "sharpness/partial"), abs=1e-6)


def test_that_the_window_holds_the_runs_of_that_loss_and_can_be_dragged() -> None:
    answer = answered(runs(), window_centre=2.8, window_width=0.1)
    window = answer.result.tables["window"]
    assert len(window) > 0
    assert window["loss"].between(2.7, 2.9).all()
    spec = answer.figure()
    assert [mark.option for _, mark in spec.marks() if isinstance(mark, Rule) and mark.option] == ["window_centre"]
    drawn = next(mark for panel, mark in spec.marks() if (panel.key, mark.key) == ("score", "window"))
    assert isinstance(drawn, Points)
    assert set(drawn.origin.values) == set(window["run"])  # type: ignore[union-attr]


def test_that_few_runs_or_a_loss_within_its_noise_are_refused() -> None:
    with pytest.raises(TooLittleData, match="at least 8 runs"):
        answered(runs(7))
    rng = np.random.default_rng(0)
    frame = runs(16).assign(params=1e8, tokens=1e9, seed=np.arange(16), loss=3 + 0.01 * rng.normal(size=16))
    with pytest.raises(TooLittleData, match="wider than their noise"):
        answered(frame)


def test_that_a_column_that_is_not_there_is_said() -> None:
    with pytest.raises(AnalysisError, match="hessian_trace"):
        answered(runs(), covariates=("hessian_trace",))


def test_that_the_noise_of_the_loss_is_the_pooled_sd_of_seeds() -> None:
    generator = np.random.default_rng(1)
    family = np.repeat(np.arange(12), 3)
    frame = runs(36).assign(family=[f"f{i}" for i in family], seed=np.tile([0, 1, 2], 12), params=1e8, tokens=1e10)
    frame["loss"] = 2.2 + 0.1 * family + 0.01 * generator.normal(size=36)
    within = frame.groupby("family")["loss"].var(ddof=1)
    expected = float(np.sqrt(within.mean()))  # groups of one size
    notes = answered(frame).result.notes
    said = next(note for note in notes if note.startswith("SD of the loss between seeds"))
    assert f"{expected:.2g}" in said
    with pytest.raises(TooLittleData, match="wider than their noise"):
        answered(frame.assign(loss=2.2 + 0.01 * generator.normal(size=36)))
    single = frame.assign(family=[f"f{i}" for i in range(36)])
    assert any("No seeds are repeated" in note for note in answered(single).result.notes)


def test_that_covariates_that_cannot_explain_are_left_out() -> None:
    frame = (
        runs()
        .assign(peak_lr=np.where(np.arange(40) < 3, np.nan, 1e-3), params=1e8, tokens=1e10)
        .drop(columns=["sharpness", "optimizer"])
    )
    result = answered(frame).result
    assert any(note.startswith("peak_lr left out: not every run has it") for note in result.notes)
    assert result.summary().endswith("no covariate varies.")


def test_that_only_the_tasks_asked_for_count_in_the_score() -> None:
    frame = runs()
    scores = pd.concat([pd.DataFrame({"model": frame["run"], "task": task, "metric": "acc", "value": frame["score"] + shift})
                        for task, shift in (("a", 0.0), ("b", 0.5 - frame["score"]))])  # fmt: skip
    alone = answered(frame.drop(columns="score"), scores, tasks=("a",))
    assert value(alone, "sharpness/partial") == pytest.approx(value(answered(frame), "sharpness/partial"))
    with pytest.raises(AnalysisError, match="how the runs score"):
        answered(frame.drop(columns="score"), score="")
