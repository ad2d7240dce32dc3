from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar

from runglass.analysis.asking import Answer, ask, column_map, opened
from runglass.analysis.chinchilla_law import Coupled, Law, fit_law
from runglass.analysis.registry import analysis
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Line, Points, Rule
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, RunFacts, TableRows

POINTS = "scaling/gemstones/chinchilla_points.csv"
TRUTH = Law(482.01, 2085.43, 1.8172, 0.3478, 0.3658)


def store_of(N: np.ndarray, D: np.ndarray, L: np.ndarray) -> RunStore:
    frame = pd.DataFrame({"run": [f"r{i}" for i in range(len(N))], "params": N, "tokens": D, "loss": L})
    return RunStore().adding([TableRows("runs.csv", "test", frame, "runs")])


def grid(n: int = 6, noise: float = 0.005, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    N, D = (axis.ravel() for axis in np.meshgrid(np.geomspace(5e7, 5e9, n), np.geomspace(1e9, 1e11, n)))
    return N, D, TRUTH.loss(N, D) * np.exp(noise * np.random.default_rng(seed).normal(size=len(N)))


def answered(store: RunStore, **options: Any) -> Answer:
    from runglass.analysis.asking import Opened

    return ask(analysis("scaling.chinchilla"), {"draws": 200, **options}, Opened(store))


def of_points(shared_data: Path, **options: Any) -> Answer:
    maps = column_map(["params=Model Size", "flops=Training FLOP"], ["tokens=flops/(6*params)"])
    data = opened([str(shared_data / POINTS)], maps)
    return ask(analysis("scaling.chinchilla"), {"drop_highest": 5, **options}, data)


def value(answer: Answer, name: str) -> float:
    return answer.result.estimates[name].value


def test_that_the_published_refit_of_the_chinchilla_points_comes_out(shared_data: Path) -> None:
    answer = of_points(shared_data, draws=200)
    assert value(answer, "n") == 240
    assert value(answer, "E") == pytest.approx(1.81722, abs=0.0005)
    assert value(answer, "alpha") == pytest.approx(0.34731, abs=0.001)
    assert value(answer, "beta") == pytest.approx(0.36717, abs=0.001)
    assert value(answer, "A") == pytest.approx(477.83, rel=0.002)
    assert value(answer, "B") == pytest.approx(2143.4, rel=0.003)
    assert value(answer, "objective") == pytest.approx(0.00101827, rel=1e-4)


def test_that_the_published_likelihood_fit_and_its_intervals_come_out(shared_data: Path) -> None:
    answer = of_points(shared_data, objective="likelihood", draws=1000)
    assert value(answer, "E") == pytest.approx(1.8169, abs=0.0005)
    assert value(answer, "alpha") == pytest.approx(0.34781, abs=0.0005)
    assert value(answer, "beta") == pytest.approx(0.36585, abs=0.0005)
    assert value(answer, "A") == pytest.approx(482.01, rel=0.002)
    assert value(answer, "B") == pytest.approx(2085.43, rel=0.002)
    assert value(answer, "objective") == pytest.approx(-879.77, abs=0.01)
    published = {"E": (1.769, 1.871, 0.006), "alpha": (0.317, 0.373, 0.006), "beta": (0.331, 0.415, 0.01)}
    for name, (low, high, by) in published.items():
        estimate = answer.result.estimates[name]
        assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=by)
    assert "Likelihood" in answer.result.notes[0]


def test_that_the_gemstones_fit_comes_out(shared_data: Path) -> None:
    maps = column_map(["params=params_active_precise"], [])
    data = opened([str(shared_data / "scaling/gemstones/hot.jsonl")], maps)
    answer = ask(analysis("scaling.chinchilla"), {"draws": 200}, data)
    assert value(answer, "n") == 220
    assert value(answer, "alpha") == pytest.approx(0.2929, abs=0.0005)
    assert value(answer, "beta") == pytest.approx(0.7129, abs=0.001)
    assert value(answer, "E") == pytest.approx(2.1431, abs=0.0005)
    assert value(answer, "A") == pytest.approx(213.01, rel=0.01)
    assert value(answer, "B") == pytest.approx(4.955e6, rel=0.03)


@pytest.mark.parametrize("form", ["sum", "coupled", "no E"])
def test_that_the_optimum_under_a_budget_is_the_least_loss_along_it(form: Any) -> None:
    law = Law(482.01, 2085.43, 0.0 if form == "no E" else 1.8, 0.35, 0.37, form)
    C = 5.76e23
    N, D = law.optimum(C)
    assert float(6 * N * D) == pytest.approx(C)
    found = minimize_scalar(lambda n: float(law.loss(np.exp(n), C / 6 / np.exp(n))), bounds=(15, 35), method="bounded",
                            options={"xatol": 1e-10})  # fmt: skip
    assert float(law.frontier(C)) == pytest.approx(found.fun, rel=1e-12)
    assert float(np.log(N)) == pytest.approx(found.x, abs=1e-4)
    at = law.tokens_for(float(law.loss(1e9, 2e10)), np.array([1e9]))
    assert at == pytest.approx(2e10)


def test_that_published_constants_give_the_published_optima() -> None:
    N, D = Law(406.4, 410.7, 1.69, 0.34, 0.28).optimum(5.76e23)
    assert (float(N), float(D)) == pytest.approx((32.2e9, 2.98e12), rel=0.005)
    N, D = TRUTH.optimum(5.76e23)
    assert (float(N), float(D), float(D / N)) == pytest.approx((72.2e9, 1.33e12, 18.4), rel=0.005)


def test_that_the_coupled_form_is_recovered_and_its_jacobian_is_right() -> None:
    N, D, _ = grid()
    law = Law(6.68e7, 8.9e8, 1.9669, 0.4129, 0.45558, "coupled")
    found = fit_law(N, D, law.loss(N, D), form="coupled").law
    assert (found.E, found.alpha, found.beta) == pytest.approx((1.9669, 0.4129, 0.45558), rel=1e-4)
    form = Coupled(np.log(N), np.log(D))
    theta = np.array([[np.log(6.68e7), np.log(8.9e8), 0.6, 0.41, 0.45]])
    steps = 1e-6 * np.eye(5)
    numeric = np.stack([(form.value(theta + s)[0] - form.value(theta - s)[0])[0] / 2e-6 for s in steps], axis=1)
    assert form.jacobian(form.value(theta)[1])[0] == pytest.approx(numeric, abs=1e-7)


def test_that_a_target_of_n_and_d_is_read_off_the_law() -> None:
    answer = answered(store_of(*grid(noise=1e-6)), target_params=7e9, target_tokens=2e12)
    assert value(answer, "target_flops") == 6 * 7e9 * 2e12
    assert value(answer, "target_loss") == pytest.approx(float(TRUTH.loss(7e9, 2e12)), rel=1e-4)
    rules = [mark for _, mark in answer.figure().marks() if isinstance(mark, Rule) and mark.option]
    assert {mark.option for mark in rules} == {"target_params", "target_tokens"}


def test_that_a_target_of_compute_is_spent_in_the_best_way() -> None:
    answer = answered(store_of(*grid(noise=1e-6)), target_flops=1e23)
    N, D = TRUTH.optimum(1e23)
    assert value(answer, "target_params") == pytest.approx(float(N), rel=1e-2)
    assert value(answer, "target_loss") == pytest.approx(float(TRUTH.loss(N, D)), rel=1e-4)
    estimate = answer.result.estimates["target_loss"]
    assert estimate.low < estimate.value < estimate.high


def test_that_the_largest_runs_are_forecast_without_having_been_seen() -> None:
    N, D, L = grid()
    L[-1] *= 1.3
    answer = answered(store_of(N, D, L), hold_out=3)
    held = answer.result.tables["held_out"]
    assert list(held["flops"]) == sorted(6 * N * D)[-3:]
    assert held["relative_error"].iloc[-1] == pytest.approx(1 / 1.3 - 1, abs=0.02)
    assert not held["low"].iloc[-1] < L[-1] < held["high"].iloc[-1]


def test_that_runs_of_one_ratio_are_said_to_identify_nothing() -> None:
    N = np.repeat(np.geomspace(1e8, 1e10, 7), 3)
    D = 20 * N
    L = TRUTH.loss(N, D) * np.exp(0.005 * np.random.default_rng(0).normal(size=len(N)))
    answer = answered(store_of(N, D, L))
    assert any("one D/N ratio" in note for note in answer.result.notes)
    assert "do not believe" in answer.result.summary()


def test_that_extrapolation_is_dashed_and_the_runs_lead_back_to_their_rows() -> None:
    N, D, L = grid()
    spec = answered(store_of(N, D, L)).figure()
    marks = {(panel.key, mark.key): mark for panel, mark in spec.marks()}
    beyond = marks["law", "beyond"]
    assert isinstance(beyond, Line)
    assert beyond.dash == "dashed"
    assert beyond.x[0] == pytest.approx((6 * N * D).max())
    runs = [mark for _, mark in spec.marks() if isinstance(mark, Points) and mark.origin is not None]
    assert {value for mark in runs if mark.key.startswith("runs") for value in mark.origin.values} == {  # type: ignore[union-attr]
        f"r{i}" for i in range(len(N))
    }


def test_that_what_is_missing_is_said() -> None:
    N, D, L = grid()
    with pytest.raises(TooLittleData, match="at least 10 runs for 5 parameters; found 8"):
        answered(store_of(N[:8], D[:8], L[:8]))
    frame = pd.DataFrame({"run": ["a", "b"], "tokens": [1e9, 2e9], "loss": [3.0, 2.9]})
    with pytest.raises(AnalysisError, match="how many parameters"):
        answered(RunStore().adding([TableRows("runs.csv", "test", frame, "runs")]))
    L[:2] = [np.nan, -1]
    assert value(answered(store_of(N, D, L)), "n") == len(N) - 2


def test_that_a_condition_says_which_runs_are_fitted_and_the_others_are_forecast() -> None:
    N, D, L = grid()
    answer = answered(store_of(N, D, L), fit_where="flops < 1e20 and params > 6e7")
    inside = (6 * N * D < 1e20) & (N > 6e7)
    assert value(answer, "n") == inside.sum()
    assert len(answer.result.tables["held_out"]) == (~inside).sum()


def test_that_a_target_among_the_runs_is_not_called_an_extrapolation_too_far() -> None:
    store = store_of(*grid())
    inside = answered(store, target_params=5e8, target_tokens=1e10)
    assert "do not believe" not in inside.result.summary()
    N, D, L = grid(noise=0.1)
    far = answered(store_of(N, D, L), target_flops=float(2 * (6 * N * D).max()))
    assert "wider than the gain" in far.result.summary()


def test_that_the_loss_at_a_step_comes_with_the_tokens_up_to_there() -> None:
    events: list[Any] = []
    steps = np.arange(1, 101)
    for number, (N, D) in enumerate(zip(*grid(noise=0)[:2], strict=True)):
        seen = D * steps / 100
        short_run = number == 7
        last = 40 if short_run else 100
        logged = {"val/loss": TRUTH.loss(N, seen)[:last], **({"tokens": seen[:last]} if number % 2 else {})}
        tokens = float(seen[last - 1])
        events += [
            RunFacts(f"r{number}", config={"params": float(N), "tokens": tokens}),
            CurvePiece(f"r{number}", steps[:last], logged),
        ]
    store = RunStore().adding(events)
    answer = answered(store, reduce="at step", at_step=50.0)
    assert value(answer, "n") == 35
    assert value(answer, "alpha") == pytest.approx(TRUTH.alpha, rel=0.01)
    points = answer.result.tables["fit_points"].set_index("run")
    assert float(points.loc["r0", "tokens"]) == pytest.approx(0.5e9)  # type: ignore[arg-type]
    assert any("Loss at step 50" in note and "1 run never logged it" in note for note in answer.result.notes)
    assert value(answered(store, reduce="at step"), "n") == 36
    with pytest.raises(AnalysisError, match="is no curve"):
        answered(store_of(*grid()), reduce="at step")


def test_that_a_fit_is_remembered_and_other_data_or_options_are_fitted_anew() -> None:
    N, D, L = grid(noise=0.01)
    first = fit_law(N, D, L, draws=100)
    assert fit_law(N.copy(), D.copy(), L.copy(), draws=100) is first
    for other in (fit_law(N, D, L, draws=101), fit_law(N, D, L, draws=100, seed=1), fit_law(N, D, 1.01 * L, draws=100)):
        assert other is not first
    ratio = fit_law(N, D, 1.01 * L, draws=100).law.E / first.law.E
    assert ratio == pytest.approx(1.01, rel=1e-4)


def test_that_of_compute_and_one_of_n_and_d_the_other_follows() -> None:
    store = store_of(*grid(noise=1e-6))
    for options, N, D in (
        ({"target_params": 7e9, "target_flops": 1e23}, 7e9, 1e23 / (6 * 7e9)),
        ({"target_tokens": 2e12, "target_flops": 1e23}, 1e23 / (6 * 2e12), 2e12),
    ):
        answer = answered(store, **options)
        assert value(answer, "target_params") == pytest.approx(N)
        assert value(answer, "target_tokens") == pytest.approx(D)
        assert value(answer, "target_loss") == pytest.approx(float(TRUTH.loss(N, D)), rel=1e-4)


def test_that_a_law_without_an_offset_has_none_and_says_why() -> None:
    N, D, _ = grid()
    L = (TRUTH.A * N**-TRUTH.alpha + TRUTH.B * D**-TRUTH.beta) * np.exp(
        0.002 * np.random.default_rng(0).normal(size=len(N))
    )
    E = answered(store_of(N, D, L), form="no E").result.estimates["E"]
    assert (E.value, E.why_no_interval, E.has_interval) == (0, "E is fixed at 0", False)


def test_that_runs_outside_the_condition_are_drawn_hollow_beside_their_forecast() -> None:
    N, D, L = grid()
    spec = answered(store_of(N, D, L), fit_where="tokens < 5e10").figure()
    for panel in ("law", "plane"):
        marks = {mark.key: mark for one, mark in spec.marks() if one.key == panel}
        if "not fitted" in marks:
            unseen = marks["not fitted"]
            assert isinstance(unseen, Points)
            assert unseen.hollow
            assert len(unseen.x) == np.count_nonzero(D >= 5e10)
    assert sum(mark.key == "not fitted" for _, mark in spec.marks()) == 2


def test_that_runs_that_are_just_enough_for_a_fit_hold_none_out() -> None:
    N, D, L = grid(noise=0.01)
    few = np.linspace(0, len(N) - 1, 10).astype(int)
    answer = answered(store_of(N[few], D[few], L[few]), hold_out=4)
    assert answer.result.held_out.empty
    assert "Too few runs to hold the largest out." in answer.result.notes
