from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from runglass.analysis.asking import Answer, Opened, ask
from runglass.analysis.chinchilla_law import Law
from runglass.analysis.registry import analysis
from runglass.analysis.scaling.loss_to_loss import Shifted
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Rule
from runglass.models.store import RunStore
from runglass.models.tables import TableRows

LAW = Law(6.68e7, 8.9e8, 1.9669, 0.4129, 0.45558, "coupled")


def frame(kappa: float = 1.1, K: float = 0.63, E1: float = 0.9, noise: float = 0.0, n: int = 6) -> pd.DataFrame:
    N, D = (axis.ravel() for axis in np.meshgrid(np.geomspace(3e7, 3e9, n), np.geomspace(1e9, 1e11, n)))
    generator = np.random.default_rng(0)
    L0 = LAW.loss(N, D)
    L1 = K * (L0 - LAW.E) ** kappa + E1
    L0, L1 = (values * np.exp(noise * generator.normal(size=len(N))) for values in (L0, L1))
    return pd.DataFrame(
        {"run": [f"r{i}" for i in range(len(N))], "params": N, "tokens": D, "loss": L0, "other_loss": L1}
    )


def asked(rows: pd.DataFrame, **options: Any) -> Answer:
    store = RunStore().adding([TableRows("runs.csv", "test", rows, "runs")])
    return ask(analysis("scaling.loss-to-loss"), {"draws": 200, "loss": "loss", **options}, Opened(store))


def value(answer: Answer, name: str) -> float:
    return answer.result.estimates[name].value


@pytest.mark.parametrize("offsets", ["from laws", "joint"])
def test_that_a_map_without_noise_is_recovered(offsets: str) -> None:
    answer = asked(frame(), offsets=offsets)
    assert value(answer, "kappa") == pytest.approx(1.1, rel=0.02)
    assert value(answer, "E1") == pytest.approx(0.9, rel=0.02)
    assert value(answer, "K") == pytest.approx(0.63, rel=0.03)


def test_that_the_loss_beyond_the_runs_is_that_of_the_map() -> None:
    answer = asked(frame(noise=0.001), source_loss=2.2)
    truth = 0.63 * (2.2 - LAW.E) ** 1.1 + 0.9
    estimate = answer.result.estimates["target_loss"]
    assert estimate.value == pytest.approx(truth, rel=0.01)
    assert estimate.low < estimate.value < estimate.high


def test_that_runs_of_equal_size_and_tokens_of_two_families_are_pairs() -> None:
    rows = frame()
    one = rows.drop(columns="other_loss").assign(family="web")
    two = rows.assign(loss=rows["other_loss"], run=rows["run"] + "b", family="code").drop(columns="other_loss")
    mixed = pd.concat([two.sample(frac=1, random_state=0), one])
    answer = asked(mixed, pair="compute", source_family="web")
    assert value(answer, "n") == len(rows)
    assert value(answer, "kappa") == pytest.approx(1.1, rel=0.02)
    with pytest.raises(AnalysisError, match="two families"):
        asked(one, pair="compute")


def test_that_few_pairs_are_refused() -> None:
    with pytest.raises(TooLittleData, match="at least 6 pairs"):
        asked(frame().head(4))


def test_that_the_jacobian_is_that_of_finite_differences() -> None:
    form = Shifted(np.linspace(2.5, 4, 7))
    theta = np.array([[-0.4, 1.2, 1.7, 0.8]])
    steps = 1e-6 * np.eye(4)
    numeric = np.stack([(form.value(theta + s)[0] - form.value(theta - s)[0])[0] / 2e-6 for s in steps], axis=1)
    assert form.jacobian(form.value(theta)[1])[0] == pytest.approx(numeric, abs=1e-7)


def test_that_the_source_loss_can_be_dragged() -> None:
    spec = asked(frame()).figure()
    assert [mark.option for _, mark in spec.marks() if isinstance(mark, Rule) and mark.option] == ["source_loss"]
