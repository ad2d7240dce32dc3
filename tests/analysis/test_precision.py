from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar

from runglass.analysis.asking import Answer, Opened, ask
from runglass.analysis.chinchilla_law import Law
from runglass.analysis.registry import analysis
from runglass.analysis.scaling.precision import PrecisionLaw
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Points, Rule
from runglass.models.store import RunStore
from runglass.models.tables import TableRows

# Of the size of those fitted by Kumar et al. (2024).
VALUES = {
    "A": 4.3e3, "B": 1.8e4, "E": 2.7, "alpha": 0.5, "beta": 0.5, "gweight": 2.7, "gactivation": 2.2, "C": 20.0, "gD": 0.5,
    "gN": 0.55, "gpost": 0.55,
}  # fmt: skip
LAW = PrecisionLaw(VALUES)
CHINCHILLA = Law(4.3e3, 1.8e4, 2.7, 0.5, 0.5)


def grid() -> tuple[np.ndarray, np.ndarray]:
    N, D = np.meshgrid(np.geomspace(3e7, 1e9, 4), np.geomspace(1e9, 3e10, 4))
    return N.ravel(), D.ravel()


def trained(widths: tuple[float, ...] = (3, 4, 6, 8, 16), noise: float = 0.001) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    N, D = grid()
    frames = []
    for width in widths:
        L = LAW.loss(N, D, {"weight": width})
        frames.append(pd.DataFrame({"params": N, "tokens": D, "weight_bits": float(width), "loss": L}))
    frame = pd.concat(frames, ignore_index=True)
    return frame.assign(
        run=[f"t{i}" for i in range(len(frame))], loss=frame["loss"] * np.exp(noise * rng.normal(size=len(frame)))
    )


def quantised(widths: tuple[float, ...] = (3, 4, 5, 6), noise: float = 0.001) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    N, D = grid()
    frames = [pd.DataFrame({"params": N, "tokens": D, "ptq_bits": np.nan, "loss": LAW.loss(N, D)})]
    frames += [
        pd.DataFrame({"params": N, "tokens": D, "ptq_bits": float(width), "loss": LAW.loss(N, D, {"ptq": width})})
        for width in widths
    ]
    frame = pd.concat(frames, ignore_index=True)
    return frame.assign(
        run=[f"q{i}" for i in range(len(frame))], loss=frame["loss"] * np.exp(noise * rng.normal(size=len(frame)))
    )


def answered(frame: pd.DataFrame, **options: Any) -> Answer:
    store = RunStore().adding([TableRows("runs.csv", "test", frame, "runs")])
    return ask(analysis("scaling.precision"), {"draws": 100, **options}, Opened(store))


def value(answer: Answer, name: str) -> float:
    return answer.result.estimates[name].value


def test_that_full_precision_is_the_law_of_chinchilla() -> None:
    N, D = grid()
    assert LAW.loss(N, D) == pytest.approx(CHINCHILLA.loss(N, D))
    many = {"weight": 1e6, "activation": 1e6, "ptq": 1e6}
    assert LAW.loss(N, D, many) == pytest.approx(CHINCHILLA.loss(N, D), rel=1e-12)


def test_that_bits_multiply_what_they_leave_of_the_parameters() -> None:
    left = (1 - np.exp(-4 / 2.7)) * (1 - np.exp(-8 / 2.2))
    assert float(LAW.effective(1e9, {"weight": 4.0, "activation": 8.0})) == pytest.approx(left * 1e9)
    assert float(LAW.loss(1e9, 1e10, {"weight": 4.0, "activation": 8.0})) == pytest.approx(
        float(CHINCHILLA.loss(left * 1e9, 1e10))
    )


@pytest.mark.parametrize(("N", "bits"), [(3e7, 3.0), (1e9, 4.0), (1e9, 6.0)])
def test_that_at_the_critical_tokens_a_quantised_model_is_best(N: float, bits: float) -> None:
    found = minimize_scalar(
        lambda log: float(LAW.loss(N, np.exp(log), {"ptq": bits})),
        bounds=(10, 60),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert np.log(float(LAW.critical_tokens(N, bits))) == pytest.approx(found.x, abs=1e-3)


def test_that_the_law_of_training_bits_is_recovered() -> None:
    answer = answered(trained(noise=1e-5))
    for name, truth in {"alpha": 0.5, "beta": 0.5, "E": 2.7, "gamma_weight": 2.7}.items():
        assert value(answer, name) == pytest.approx(truth, rel=0.01), name
    assert value(answer, "params_share") == pytest.approx(1 - np.exp(-3 / 2.7), rel=0.01)
    assert "critical_tokens" not in answer.result.estimates


def test_that_the_law_of_quantisation_and_its_turning_point_are_recovered() -> None:
    answer = answered(quantised(noise=1e-5))
    for name, truth in {"alpha": 0.5, "beta": 0.5, "gamma_D": 0.5, "gamma_N": 0.55, "gamma_post": 0.55}.items():
        assert value(answer, name) == pytest.approx(truth, rel=0.02), name
    assert value(answer, "critical_tokens") == pytest.approx(float(LAW.critical_tokens(1e9, 3)), rel=0.03)


def test_that_intervals_hold_the_truth_under_noise() -> None:
    answer = answered(quantised(noise=0.003))
    truth = float(LAW.loss(1e9, 3e10, {"ptq": 3.0}) - LAW.loss(1e9, 3e10))
    cost = answer.result.estimates["target_cost"]
    assert cost.low < truth < cost.high
    assert cost.high - cost.low < 0.5 * truth


def test_that_bits_before_and_after_training_are_fitted_together_and_mixed_runs_left_out() -> None:
    before, after = trained((4, 8, 16)), quantised((3, 4, 5))
    mixed = before[before["weight_bits"] == 4].assign(ptq_bits=3.0, run=lambda f: "m" + f["run"])
    answer = answered(pd.concat([before, after.assign(weight_bits=16.0), mixed], ignore_index=True))
    assert any("16 runs left out: trained in few bits and quantised again" in note for note in answer.result.notes)
    assert value(answer, "gamma_weight") == pytest.approx(2.7, rel=0.1)
    assert value(answer, "gamma_post") == pytest.approx(0.55, rel=0.1)


def test_that_two_widths_or_none_are_refused() -> None:
    with pytest.raises(TooLittleData, match="at least 3 bit widths"):
        answered(trained((4, 16)))
    with pytest.raises(AnalysisError, match="how many bits"):
        answered(trained().drop(columns="weight_bits"))
    with pytest.raises(TooLittleData, match="at least 18 runs for 9 parameters"):
        answered(quantised().iloc[::6])


def test_that_turning_points_are_marked_and_target_tokens_and_bits_can_be_dragged() -> None:
    answer = answered(quantised())
    spec = answer.figure()
    turns = [mark for _, mark in spec.marks() if mark.key.startswith("turn")]
    assert turns
    assert all(isinstance(mark, Points) and mark.hollow for mark in turns)
    assert {mark.option for _, mark in spec.marks() if isinstance(mark, Rule) and mark.option} == {
        "target_tokens",
        "target_bits",
    }


def test_that_the_share_of_each_channel_is_drawn_over_its_bits() -> None:
    answer = answered(trained())
    panel = next(panel for panel in answer.figure().panels if panel.key == "shares")
    line = next(mark for mark in panel.marks if mark.key == "weight")
    expected = 1 - np.exp(-line.x / value(answer, "gamma_weight"))  # type: ignore[union-attr]
    np.testing.assert_allclose(line.y, expected)  # type: ignore[union-attr]


def test_that_a_channel_of_few_widths_keeps_its_runs_of_most_bits() -> None:
    frame = trained()
    frame["activation_bits"] = np.where(np.arange(len(frame)) % 5 == 0, 4.0, 16.0)
    answer = answered(frame)
    assert any("Fewer than 3 widths" in note and "activation" in note for note in answer.result.notes)
    assert value(answer, "n") == np.count_nonzero(frame["activation_bits"] == 16)
