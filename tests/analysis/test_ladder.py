from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runglass.analysis.asking import Answer, Opened, ask, opened
from runglass.analysis.chinchilla_law import Law
from runglass.analysis.registry import analysis
from runglass.analysis.scaling.ladder import Sigmoid, smoothed
from runglass.models.errors import AnalysisError, RunglassError, TooLittleData
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, RunFacts

SIZES = (
    "190M=190354176", "370M=371262464", "760M=758220288", "1B=1279395840", "peteish7_eval_anneal=6887575552",
    "peteish13_eval_final=13202396160",
)  # fmt: skip
MMLU = (
    "mmlu=0.215*mmlu_stem_test_rc_5shot+0.335*mmlu_humanities_test_rc_5shot+0.219*mmlu_social_sciences_test_rc_5shot"
    "+0.231*mmlu_other_test_rc_5shot",
)
LAW = Law(30.0, 90.0, 0.45, 0.25, 0.25)


def value(answer: Answer, name: str) -> float:
    return answer.result.estimates[name].value


@pytest.fixture
def ladder_runs(shared_data: Path) -> Opened:
    folder = shared_data / "scaling/ladder/ladder-runs"
    names = [f"{size}-{length}xC" for size in ("190M", "370M", "760M", "1B") for length in (1, 2, 5, 10)]
    names += ["peteish7_eval_anneal", "peteish13_eval_final"]
    return opened([str(folder / f"{name}.csv") for name in names])


def test_that_the_published_ladder_comes_out(ladder_runs: Opened) -> None:
    tasks = ("mmlu", "hellaswag_val_rc_5shot", "arc_easy_test_rc_5shot", "piqa_val_rc_5shot")
    options = {"sizes": SIZES, "combine": MMLU, "tasks": tasks, "fit_where": "params < 5e9", "draws": 50}
    answer = ask(analysis("scaling.ladder"), options, ladder_runs)
    published = {
        "mmlu": (38.07002, 100.09209, 0.4540930, 0.2262164, 0.2360756, -0.7420643, 1.0, 4.8333834, 0.6159520),
        "hellaswag_val_rc_5shot": (
            11.2312874, 60.3686584, 0.5019111, 0.1955394, 0.2564982, -0.7301111, 0.9921032, 12.7417119, 0.7667353,
        ),
        "arc_easy_test_rc_5shot": (
            79412.07612, 3957.51395, 0.5582433, 0.6610443, 0.4194534, -0.6462716, 1.0, 4.1298500, 0.7407136,
        ),
        "piqa_val_rc_5shot": (405.6597843, 10.1590565, 0.7217010, 0.3978381, 0.1532771, -0.4585629, 1.0, 5.0329574, 0.9630229),
    }  # fmt: skip
    for task, numbers in published.items():
        names = [f"{task}/{name}" for name in ("A", "B", "E", "alpha", "beta", "a", "b", "k", "L0")]
        assert [value(answer, name) for name in names] == pytest.approx(numbers, rel=2e-3), task
    assert value(answer, "mmlu/predicted_loss") == pytest.approx(0.750156, rel=1e-3)
    assert value(answer, "mmlu/actual_loss") == pytest.approx(0.748827, rel=1e-3)
    assert value(answer, "mmlu/predicted") == pytest.approx(0.51268, rel=1e-3)
    assert value(answer, "mmlu/actual") == pytest.approx(0.51614, rel=1e-3)
    assert value(answer, "hellaswag_val_rc_5shot/predicted") == pytest.approx(0.853036, rel=1e-3)
    assert value(answer, "hellaswag_val_rc_5shot/actual") == pytest.approx(0.831906, rel=1e-3)


def simulated(seed: int = 0, noise: float = 0.002, flat: bool = False) -> RunStore:
    """Runs whose task loss follows a law and whose accuracy is a sigmoid of it; the largest is the target."""
    generator = np.random.default_rng(seed)
    events: list[Any] = []
    for N in (1e8, 3e8, 1e9, 3e9, 3e10):
        for ratio in (20, 60, 200) if N < 1e10 else (200,):
            run = f"{N:.0e}-{ratio}"
            D = ratio * N * np.linspace(0.02, 1, 40)
            loss = LAW.loss(N, D) * np.exp(noise * generator.normal(size=40))
            accuracy = 0.25 + 0.0 * loss if flat else -0.7 / (1 + np.exp(-6 * (loss - 0.8))) + 0.97
            accuracy = accuracy + noise * generator.normal(size=40)
            events.append(RunFacts(run, facts={"params": N}))
            values = {"task_bpb": loss, "task_acc": accuracy, "tokens": D}
            events.append(CurvePiece(run, np.arange(40), values))
    return RunStore().adding(events)


def asked(store: RunStore, **options: Any) -> Answer:
    return ask(analysis("scaling.ladder"), {"draws": 100, **options}, Opened(store))


def test_that_the_largest_size_is_forecast_from_the_others() -> None:
    answer = asked(simulated())
    (target,) = answer.result.tables["forecasts"].to_dict("records")
    assert target["params"] == 3e10
    assert target["predicted_loss"] == pytest.approx(float(LAW.loss(3e10, 6e12)), rel=0.02)
    assert abs(target["points"]) < 2
    assert target["low"] <= target["actual"] + 0.01
    assert target["high"] >= target["actual"] - 0.01


def test_that_a_model_nobody_trained_can_be_asked_about() -> None:
    answer = asked(simulated(), target_params=1e11, target_tokens=2e13)
    row = answer.result.tables["forecasts"].iloc[-1]
    assert row["run"] == "asked about"
    truth = -0.7 / (1 + np.exp(-6 * (float(LAW.loss(1e11, 2e13)) - 0.8))) + 0.97
    assert row["predicted"] == pytest.approx(truth, abs=0.03)
    assert np.isnan(row["actual"])


def test_that_a_task_that_never_leaves_chance_is_refused() -> None:
    with pytest.raises(AnalysisError, match="never leaves chance"):
        asked(simulated(flat=True, noise=0.0005))


def test_that_runs_of_unknown_size_are_said_to_need_one() -> None:
    events = [CurvePiece(f"a-{i}M", np.arange(9), {"t_bpb": np.ones(9), "t_acc": np.ones(9)}) for i in range(4)]
    with pytest.raises(TooLittleData, match="--sizes"):
        asked(RunStore().adding(events))
    with pytest.raises(RunglassError, match="not NAME=NUMBER"):
        asked(simulated(), sizes=("7B",))
    with pytest.raises(AnalysisError, match="no task 'other'"):
        asked(simulated(), tasks=("other",))


def test_that_the_sigmoid_has_the_gradient_of_finite_differences() -> None:
    curve = Sigmoid(np.linspace(0.2, 2, 9))
    theta = np.array([[-0.6, 0.9, 1.5, 0.8]])
    steps = 1e-6 * np.eye(4)
    numeric = np.stack([(curve.value(theta + s)[0] - curve.value(theta - s)[0])[0] / 2e-6 for s in steps], axis=1)
    _, state = curve.value(theta)
    assert curve.jacobian(state)[0] == pytest.approx(numeric, abs=1e-8)
    assert curve.gradient(state, np.ones((1, 9)))[0] == pytest.approx(numeric.sum(axis=0), abs=1e-7)


def test_that_smoothing_takes_the_values_before() -> None:
    assert smoothed(np.array([1.0, 2.0, 3.0, 4.0]), 2) == pytest.approx([1, 1.5, 2.5, 3.5])


def test_that_the_figure_shows_the_task_asked_for() -> None:
    answer = asked(simulated(), shown="task")
    spec = answer.figure()
    assert [panel.key for panel in spec.panels] == ["step 1", "residuals", "step 2", "forecasts"]
    assert spec.panels[0].title == "task"
