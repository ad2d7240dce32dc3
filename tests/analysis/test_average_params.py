from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runglass.analysis.asking import Answer, Opened, ask
from runglass.analysis.chinchilla_law import Law
from runglass.analysis.registry import analysis
from runglass.analysis.scaling.average_params import average_over_tokens
from runglass.models.errors import AnalysisError
from runglass.models.figure import Line, Points, Rule
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, RunFacts

TRUTH = Law(482.01, 2085.43, 1.8172, 0.3478, 0.3658)


def geometric(density: float, steps: int, start: int, end: int) -> np.ndarray:
    """Density at every step: 1, then falling by a constant factor, then `density`."""
    share = np.clip((np.arange(steps + 1) - start) / (end - start), 0, 1)
    return np.asarray(density**share)


def store_of(noise: float = 0.002, stated: bool = True, kind: str = "active_params", changing: int = 2) -> RunStore:
    generator = np.random.default_rng(0)
    events: list[Any] = []
    number = 0
    for N in np.geomspace(1e8, 3e9, 4):
        for D in np.geomspace(2e9, 6e10, 4):
            number += 1
            steps = np.arange(0, 1001, 50)
            density = geometric(0.3, 1000, 250, 750)[steps] if number % changing == 0 else np.ones(len(steps))
            active = N * density
            average = average_over_tokens(steps * D / 1000, active, D)
            L = float(TRUTH.loss(average, D)) * np.exp(noise * generator.normal())
            name = f"r{number}"
            config = {"params": float(N), "tokens": float(D), **({"batch_tokens": D / 1000} if stated else {})}
            logged = {"active_params": active, "density": density, "sparsity": 1 - density}[kind]
            events += [
                RunFacts(name, config=config),
                CurvePiece(name, steps, {"val/loss": np.linspace(9, L, len(steps)), kind: logged}),
            ]
    return RunStore().adding(events)


def answered(store: RunStore, **options: Any) -> Answer:
    return ask(analysis("scaling.average-params"), {"draws": 100, **options}, Opened(store))


def value(answer: Answer, name: str) -> float:
    return answer.result.estimates[name].value


@pytest.mark.parametrize(
    ("final", "steps", "start", "end", "published"),
    [(0.6, 13050, 2500, 8875, 0.7651), (0.2, 25050, 2500, 12600, 0.3984)],
)
def test_that_published_model_cards_state_the_density_of_a_geometric_path(
    final: float, steps: int, start: int, end: int, published: float
) -> None:
    # tjingrant/sparsellm-1b-40p and -80p: pruning from step 2500 on, mean density of the 1.14B linear parameters.
    along = np.arange(steps + 1.0)
    assert average_over_tokens(along, geometric(final, steps, start, end), float(steps)) == pytest.approx(
        published, abs=0.0015
    )
    share = np.clip((along - start) / (end - start), 0, 1)
    for other in (1 - (1 - final) * share, final + (1 - final) * (1 - share) ** 3):
        assert abs(average_over_tokens(along, other, float(steps)) - published) > 0.008


def test_that_between_two_ends_geometric_linear_and_cubic_paths_have_the_densities_of_the_catalogue() -> None:
    # 89.6B tokens of 8M a step, pruned to 0.8 from step 2500 to 8100.
    along = np.arange(11201.0)
    share = np.clip((along - 2500) / 5600, 0, 1)
    paths = {"geometric": 0.8**share, "linear": 1 - 0.2 * share, "cubic": 0.8 + 0.2 * (1 - share) ** 3}
    found = {name: average_over_tokens(along, path, 11200.0) for name, path in paths.items()}
    assert found == pytest.approx({"geometric": 0.8919, "linear": 0.895, "cubic": 0.870}, abs=0.0012)


def test_that_the_average_is_over_tokens_and_not_over_checkpoints() -> None:
    # Checkpoints are dense early, while all is active; most tokens are seen at half the size.
    tokens = np.array([0, 1, 2, 3, 4, 5, 5.001, 100.0])
    active = np.array([2, 2, 2, 2, 2, 2, 1, 1.0])
    assert average_over_tokens(tokens, active, 100.0) == pytest.approx(1.05, abs=0.001)
    assert active.mean() == 1.75


def test_that_records_that_end_early_or_late_are_held_or_cut() -> None:
    assert average_over_tokens(np.array([10.0, 20.0]), np.array([4.0, 2.0]), 40.0) == pytest.approx((40 + 30 + 40) / 40)
    assert average_over_tokens(np.array([0.0, 20.0]), np.array([4.0, 2.0]), 10.0) == pytest.approx(3.5)


@pytest.mark.parametrize("kind", ["active_params", "density", "sparsity"])
def test_that_the_law_of_dense_and_sparse_runs_is_recovered(kind: str) -> None:
    answer = answered(store_of(noise=1e-4, kind=kind))
    assert value(answer, "alpha") == pytest.approx(TRUTH.alpha, abs=0.01)
    assert value(answer, "beta") == pytest.approx(TRUTH.beta, abs=0.01)
    assert value(answer, "changing") == 8
    assert value(answer, "rmse_average") < 0.1 * value(answer, "rmse_final")
    assert "the average describes them better" in answer.result.summary()


def test_that_without_tokens_steps_of_equal_size_are_taken_and_said() -> None:
    stated, other = answered(store_of()), answered(store_of(stated=False))
    assert value(other, "alpha") == pytest.approx(value(stated, "alpha"), rel=1e-6)
    assert any("equal numbers of tokens" in note for note in other.result.notes)


def test_that_sparse_runs_are_compared_with_the_law_of_the_dense_ones() -> None:
    off = answered(store_of(changing=4)).result.estimates["changing_from_dense"]
    assert off.low < 0 < off.high
    assert off.high - off.low < 0.05


def test_that_a_stated_average_is_taken_where_there_is_no_curve() -> None:
    store = store_of()
    table = answered(store).result.tables["runs"]
    events: list[Any] = []
    for row in table.to_dict("records"):
        config = {"params": row["final_params"], "tokens": row["tokens"], "mean_params": row["average_params"]}
        events += [
            RunFacts(row["run"], config=config),
            CurvePiece(row["run"], np.array([1]), {"val/loss": np.array([row["loss"]])}),
        ]
    again = answered(RunStore().adding(events), average="config.mean_params")
    assert value(again, "alpha") == pytest.approx(value(answered(store), "alpha"), rel=1e-6)
    assert value(again, "changing") == 8


def test_that_the_target_can_be_dragged_and_its_forecast_is_dashed() -> None:
    answer = answered(store_of(), target_params=1e10)
    spec = answer.figure()
    assert [mark.option for _, mark in spec.marks() if isinstance(mark, Rule) and mark.option] == ["target_tokens"]
    beyond = next(mark for panel, mark in spec.marks() if (panel.key, mark.key) == ("target", "beyond"))
    assert isinstance(beyond, Line)
    assert beyond.dash == "dashed"
    assert np.isnan(beyond.y[beyond.x <= 6e10]).all()
    hollow = next(mark for panel, mark in spec.marks() if (panel.key, mark.key) == ("law", "sparse or growing"))
    assert isinstance(hollow, Points)
    assert hollow.hollow


def test_that_nothing_about_active_parameters_is_said() -> None:
    events: list[Any] = []
    for number in range(12):
        events += [
            RunFacts(f"r{number}", config={"params": 1e8 * (1 + number % 3), "tokens": 1e9 * (1 + number)}),
            CurvePiece(f"r{number}", np.array([1]), {"val/loss": np.array([3.0 - 0.05 * number])}),
        ]
    with pytest.raises(AnalysisError, match="how many parameters are active"):
        answered(RunStore().adding(events))


def test_that_the_distance_from_the_dense_law_is_said() -> None:
    answer = answered(store_of(changing=4))
    off = answer.result.estimates["changing_from_dense"]
    assert "from the law of the dense runs" in answer.result.summary()
    assert f"{100 * off.value:.2g}"[:3] in answer.result.summary()


def test_that_dense_runs_alone_make_both_laws_one() -> None:
    answer = answered(store_of(changing=100))
    assert value(answer, "changing") == 0
    assert "No run has a changing number of parameters: both laws are one." in answer.result.notes
    assert value(answer, "rmse_average") == pytest.approx(value(answer, "rmse_final"))
