from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from runglass.analysis.asking import Answer, Opened, ask, conditions, opened
from runglass.analysis.registry import analysis
from runglass.analysis.scaling.observational import components_of, fit_logistic, imputed
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Rule
from runglass.models.store import RunStore
from runglass.models.tables import TableRows

FAMILIES = (
    "Llama-2", "Llama", "Qwen1.5", "Qwen", "Mistral", "Mixtral", "Yi", "Gemma", "Falcon", "Phi", "Pythia", "BLOOM", "GPT-Neo/J",
    "OPT", "MPT", "XGLM", "CodeLlama", "StarCoder", "StarCoder2", "DeepSeek-Coder",
)  # fmt: skip


def value(answer: Answer, name: str) -> float:
    return answer.result.estimates[name].value


def test_that_the_published_axes_come_out(shared_data: Path) -> None:
    listed = ", ".join(f'"{family}"' for family in FAMILIES)
    data = opened([str(shared_data / "scaling/observational")], where=conditions([f"`Model Family` in [{listed}]"]))
    options = {"leave_out_models": ("Qwen/Qwen1.5-110B",), "draws": 100}
    answer = ask(analysis("scaling.observational"), options, data)
    assert len(answer.result.tables["models"]) == 77
    shares = [value(answer, f"explained_variance_{number}") for number in range(1, 6)]
    assert shares == pytest.approx([0.8016, 0.119, 0.0463, 0.0136, 0.0113], abs=0.002)
    loadings = answer.result.tables["loadings"].set_index("task")["PC1"]
    published = {"MMLU": 0.448, "ARC-C": 0.344, "HellaSwag": 0.379, "Winograd": 0.242, "TruthfulQA": 0.085, "GSM8K": 0.552,
                 "XWinograd": 0.214, "HumanEval": 0.347}  # fmt: skip
    assert loadings.to_dict() == pytest.approx(published, abs=0.01)
    within = {"Pythia": 0.985, "OPT": 0.984, "BLOOM": 0.981, "Llama": 0.981, "Qwen1.5": 0.972}
    assert {name: value(answer, f"{name}/r_squared") for name in within} == pytest.approx(within, abs=0.002)


def table(seed: int = 0, missing: float = 0.0) -> pd.DataFrame:
    """Five families on one axis that grows with compute, four tasks and one that is a logistic curve of the axis."""
    generator = np.random.default_rng(seed)
    rows = []
    for number, family in enumerate("abcde"):
        for size in range(6):
            flops = 10.0 ** (20 + 0.5 * size + 0.2 * number)
            axis = 0.15 * (np.log10(flops) - 21.5) + 0.02 * number
            scores = {f"t{task}": 0.5 + weight * axis for task, weight in enumerate((0.5, 0.4, 0.6, 0.3))}
            scores["goal"] = 1 / (1 + np.exp(-(12 * axis - 1)))
            for task, score in scores.items():
                noisy = score + 0.003 * generator.normal()
                if task == "goal" or generator.random() >= missing:
                    rows.append((f"{family}-{size}", task, np.clip(noisy, 0, 1), family, flops))
    return pd.DataFrame(rows, columns=["model", "task", "value", "family", "flops"])


def asked(frame: pd.DataFrame, **options: Any) -> Answer:
    store = RunStore().adding([TableRows("scores.csv", "test", frame, "scores")])
    return ask(analysis("scaling.observational"), {"draws": 200, **options}, Opened(store))


def test_that_one_axis_is_found_where_there_is_one() -> None:
    answer = asked(table(), leave_out=("goal",))
    assert value(answer, "explained_variance_1") > 0.98
    assert answer.result.tables["families"]["r_squared"].min() > 0.98


def test_that_unseen_models_are_forecast_better_than_by_compute_alone() -> None:
    answer = asked(table(), target="goal", cutoff_flops=3e21)
    models = answer.result.tables["models"]
    assert set(models.loc[~models["train"], "flops"] > 3e21) == {True}
    assert value(answer, "test_rmse") < 0.05
    assert value(answer, "test_rmse") < value(answer, "test_rmse_compute_alone")


def test_that_the_scores_of_unseen_models_do_not_move_the_axes() -> None:
    frame = table()
    changed = frame.copy()
    far = (changed["flops"] > 3e21) & (changed["task"] == "t0")
    changed.loc[far, "value"] = np.random.default_rng(0).random(int(far.sum()))
    one, other = (asked(part, target="goal", cutoff_flops=3e21).result.tables["loadings"] for part in (frame, changed))
    pd.testing.assert_frame_equal(one, other)


def test_that_missing_scores_of_a_rank_one_table_are_recovered() -> None:
    generator = np.random.default_rng(1)
    whole = 0.5 + np.outer(generator.normal(0, 0.1, 30), [1.0, 0.5, -0.3, 0.8])
    holes = np.where(generator.random(whole.shape) < 0.1, np.nan, whole)
    assert imputed(holes) == pytest.approx(whole, abs=0.01)


def test_that_components_are_those_of_an_eigendecomposition() -> None:
    scores = np.random.default_rng(0).normal(size=(40, 5))
    found = components_of(scores, 5)
    values, vectors = np.linalg.eigh(np.cov(scores.T))
    assert found.shares == pytest.approx(values[::-1] / values.sum())
    assert np.abs((found.loadings[0] * vectors[:, -1]).sum()) == pytest.approx(1)
    assert (found.loadings.sum(axis=1) >= 0).all()


def test_that_a_logistic_curve_is_recovered() -> None:
    S = np.random.default_rng(0).normal(size=(50, 2))
    rate = 1 / (1 + np.exp(-(S @ [1.5, -0.7] + 0.3)))
    _, found = fit_logistic(S, rate)
    assert found.theta == pytest.approx([1.5, -0.7, 0.3], rel=1e-4)


def test_that_the_cut_off_can_be_dragged() -> None:
    spec = asked(table(), target="goal").figure()
    assert [mark.option for _, mark in spec.marks() if isinstance(mark, Rule) and mark.option] == ["cutoff_flops"]


def test_that_too_few_models_or_an_unknown_task_are_said() -> None:
    frame = table()
    with pytest.raises(TooLittleData, match="at least 10 models of 3 families; found 12 of 2"):
        asked(frame[frame["family"].isin(["a", "b"])])
    with pytest.raises(AnalysisError, match="no task 'x'"):
        asked(frame, target="x")
