from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar

from runglass.analysis.asking import Answer, Opened, ask, column_map, conditions, opened
from runglass.analysis.registry import analysis
from runglass.analysis.resampling import percentile_interval
from runglass.analysis.scaling.two_axis import best_split, fit_two_axes, loss_of
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Line
from runglass.models.store import RunStore
from runglass.models.tables import TableRows

LAW = {"E": 0.9, "A": 2000.0, "p1": 0.15, "p2": 0.3}


def points(n: int = 5, seed: int | None = None, noise: float = 0.005, law: dict[str, float] = LAW) -> pd.DataFrame:
    first, second = (axis.ravel() for axis in np.meshgrid(np.geomspace(5e7, 2e9, n), np.geomspace(3e7, 1e9, n)))
    L = loss_of(law, first, second)
    if seed is not None:
        L = L * np.exp(noise * np.random.default_rng(seed).standard_normal(len(L)))
    return pd.DataFrame({"run": [f"r{i}" for i in range(len(L))], "size": first, "second": second, "value": L})


def store_of(frame: pd.DataFrame) -> RunStore:
    table = frame.rename(columns={"size": "encoder_params", "second": "decoder_params", "value": "loss"})
    return RunStore().adding([TableRows("runs.csv", "test", table, "runs")])


def asked(frame: pd.DataFrame, **options: Any) -> Answer:
    return ask(analysis("scaling.two-axis"), {"draws": 200, **options}, Opened(store_of(frame)))


@cache
def answered() -> Answer:
    return asked(points(seed=0))


def test_that_a_law_without_noise_is_recovered() -> None:
    found = fit_two_axes(points())
    assert found.law == pytest.approx(LAW, rel=2e-3)
    middle = [float(np.exp(np.log(points()[name]).mean())) for name in ("size", "second")]
    assert found.alpha == pytest.approx(float(loss_of(LAW, *middle)) - LAW["E"], rel=2e-3)


@pytest.mark.parametrize("total", [1e8, 3e9, 1e12])
def test_that_the_least_loss_of_a_sum_is_where_the_sizes_are_as_the_exponents(total: float) -> None:
    least = minimize_scalar(
        lambda share: float(loss_of(LAW, share * total, (1 - share) * total)), bounds=(1e-3, 1 - 1e-3), method="bounded",
        options={"xatol": 1e-10},
    )  # fmt: skip
    first, second = best_split(LAW["p1"], LAW["p2"], total)
    assert first / second == pytest.approx(LAW["p1"] / LAW["p2"])
    assert least.x == pytest.approx(first / total, abs=1e-4)


def test_that_sizes_that_are_tied_are_refused() -> None:
    frame = points()
    with pytest.raises(TooLittleData, match="change apart"):
        fit_two_axes(frame.assign(second=frame["size"] ** 1.5))
    with pytest.raises(TooLittleData, match="8 runs for 4 parameters"):
        fit_two_axes(frame[:7])


def test_that_the_share_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = []
    for seed in range(50):
        found = fit_two_axes(points(seed=seed), draws=150, seed=seed)
        shares = found.drawn["p1"] / (found.drawn["p1"] + found.drawn["p2"])
        low, high = percentile_interval(shares, found.draws.percentiles(0.9))
        covered.append(low <= 1 / 3 <= high)
    assert np.mean(covered) == pytest.approx(0.9, abs=0.1)


def test_that_encoder_and_decoder_are_found_by_their_names() -> None:
    question = answered().question.to_json()
    assert (question["size"], question["second"]) == ("encoder_params", "decoder_params")
    share = answered().result.estimates["first_share"]
    assert share.low <= 1 / 3 <= share.high
    assert "do not believe" not in answered().result.summary()


def test_that_quality_that_stops_is_said() -> None:
    frame = points(seed=1)
    stops = np.minimum(40 - 5 * frame["value"], float(np.quantile(40 - 5 * frame["value"], 0.4)))
    broken = stops - 0.05 * np.linspace(0, 1, len(frame))[np.argsort(np.argsort(-frame["value"]))]
    answer = asked(frame.assign(BLEU=broken), quality="BLEU")
    assert any("no longer improves" in note for note in answer.result.notes)
    assert answer.figure().panels[-1].key == "quality"
    goes_on = asked(frame.assign(BLEU=40 - 5 * frame["value"]), quality="BLEU")
    assert goes_on.result.estimates["quality_tau_b"].value == 1
    assert not any("no longer improves" in note for note in goes_on.result.notes)


def test_that_every_origin_of_a_test_set_has_its_own_law() -> None:
    other = {**LAW, "p1": 0.3}
    frame = pd.concat([points(4).assign(origin="source"), points(4, law=other).assign(origin="target")])
    frame["run"] = [f"r{i}" for i in range(len(frame))]
    answer = asked(frame, variant="origin")
    assert answer.result.estimates["source/first_share"].value == pytest.approx(1 / 3, abs=0.01)
    assert answer.result.estimates["target/first_share"].value == pytest.approx(1 / 2, abs=0.01)


def test_that_a_split_outside_the_runs_is_not_to_be_believed() -> None:
    frame = points(seed=2)
    tall = frame.assign(size=30 * frame["size"])
    tall["value"] = loss_of(LAW, tall["size"], tall["second"])
    answer = asked(tall)
    assert "lies outside those of the runs" in answer.result.summary()
    assert "lies outside those of the runs" in answer.figure().subtitle


def test_that_the_price_of_a_split_is_dashed_beyond_the_runs() -> None:
    marks = {mark.key: mark for panel, mark in answered().figure().marks() if panel.key == "price"}
    price = marks["/price"]
    assert isinstance(price, Line)
    assert price.dash == "dashed"


def test_that_width_and_depth_of_real_models_count_as_their_parameters_do(shared_data: Path) -> None:
    data = opened([str(shared_data / "scaling/gemstones/hot.jsonl")], (), conditions(["tokens > 9.9e10"]))
    answer = ask(analysis("scaling.two-axis"), {"draws": 300}, data)
    found = answer.result.estimates
    # Parameters of a transformer are 12 depth width^2, so that the exponent of width is twice that of depth.
    assert found["first_share"].low <= 2 / 3 <= found["first_share"].high
    assert answer.question.to_json()["size"] == "width"


def test_that_columns_of_any_name_are_read_through_the_mapper(tmp_path: Path) -> None:
    frame = points(seed=3).rename(columns={"size": "Ne", "second": "Nd", "value": "test_loss"}).drop(columns="run")
    frame.assign(total=frame["Ne"] + frame["Nd"]).to_csv(tmp_path / "nmt.csv", index=False)
    data = opened([str(tmp_path)], column_map(["params=total"], []))
    answer = ask(analysis("scaling.two-axis"), {"draws": 100, "size": "Ne", "second": "Nd"}, data)
    assert answer.result.estimates["first_share"].value == pytest.approx(1 / 3, abs=0.02)


def test_that_a_missing_second_size_is_asked_for() -> None:
    frame = points().rename(columns={"size": "params", "value": "loss"})[["run", "params", "loss"]]
    with pytest.raises(AnalysisError, match="second size"):
        ask(analysis("scaling.two-axis"), {}, Opened(RunStore().adding([TableRows("r.csv", "test", frame, "runs")])))


def test_that_origins_of_too_few_runs_and_runs_without_a_second_size_are_left_out() -> None:
    whole, few = (
        points(seed=0).assign(origin="news"),
        points(seed=1).head(4).assign(origin="web", run=[f"w{i}" for i in range(4)]),
    )
    answer = asked(pd.concat([whole, few]), variant="origin")
    assert any(note.startswith("web left out: needs") for note in answer.result.notes)
    with pytest.raises(TooLittleData):
        asked(few, variant="origin", size="encoder_params", second="decoder_params")
    holes = whole.assign(second=whole["second"].where(whole.index > 1))
    assert any(note.startswith("2 runs left out: no decoder_params above 0") for note in asked(holes).result.notes)
    with pytest.raises(TooLittleData, match="both sizes and a loss"):
        asked(whole, fit_where="encoder_params > 1e20")


def test_that_a_law_without_an_offset_says_so() -> None:
    frame = points(seed=0)
    frame["value"] -= 0.89
    E = asked(frame, offset=False).result.estimates["E"]
    assert (E.value, E.why_no_interval) == (0, "E is fixed at 0")
