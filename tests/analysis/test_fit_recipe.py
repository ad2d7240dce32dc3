from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from runglass.__main__ import main
from runglass.analysis.asking import Answer, Opened, ask
from runglass.analysis.chinchilla_law import Law, fit_law
from runglass.analysis.registry import analysis
from runglass.analysis.typed_form import TypedForm, names_in
from runglass.models.errors import AnalysisError, ExpressionError, RunglassError, TooLittleData
from runglass.models.store import RunStore
from runglass.models.tables import TableRows

LAW = Law(482.01, 2085.43, 1.8172, 0.3478, 0.3658)


def frame(noise: float = 0.005, n: int = 6) -> pd.DataFrame:
    N, D = (axis.ravel() for axis in np.meshgrid(np.geomspace(5e7, 5e9, n), np.geomspace(1e9, 1e11, n)))
    L = LAW.loss(N, D) * np.exp(noise * np.random.default_rng(0).normal(size=len(N)))
    names = [f"r{i}" for i in range(len(N))]
    return pd.DataFrame({"run": names, "params": N, "tokens": D, "loss": L, "width": np.sqrt(N)})


def asked(rows: pd.DataFrame | None = None, **options: Any) -> Answer:
    store = RunStore().adding([TableRows("runs.csv", "test", frame() if rows is None else rows, "runs")])
    return ask(analysis("scaling.fit-recipe"), {"draws": 100, **options}, Opened(store))


def value(answer: Answer, name: str) -> float:
    return answer.result.estimates[name].value


def test_that_the_typed_law_ends_where_the_built_in_one_does() -> None:
    rows = frame()
    answer = asked(rows)
    other = fit_law(*(rows[name].to_numpy(float) for name in ("params", "tokens", "loss")))
    assert value(answer, "objective") == pytest.approx(other.fit.objective, rel=1e-6)
    assert value(answer, "alpha") == pytest.approx(other.law.alpha, rel=1e-3)
    assert value(answer, "condition") == pytest.approx(other.identification.condition, rel=0.05)


@pytest.mark.parametrize(
    "text",
    [
        "E + A/N**alpha + B/D**beta",
        "(A/N + B/D)**p + E",
        "E + exp(a - b*log(N)) / sqrt(D)",
        "E - -A * M**(b*c) / log10(C)",
    ],
)
def test_that_derivatives_are_those_of_finite_differences(text: str) -> None:
    generator = np.random.default_rng(0)
    variables = {name: generator.uniform(2, 20, 6) for name in ("N", "D", "C", "M")}
    form = TypedForm(text, variables, linear=("b",))
    theta = generator.uniform(0.1, 0.5, size=(1, len(form.names)))
    steps = 1e-6 * np.eye(len(form.names))
    numeric = np.stack([(form.value(theta + s)[0] - form.value(theta - s)[0])[0] / 2e-6 for s in steps], axis=1)
    _, state = form.value(theta)
    assert form.jacobian(state)[0] == pytest.approx(numeric, abs=1e-6)
    assert form.gradient(state, np.ones((1, 6)))[0] == pytest.approx(numeric.sum(axis=0), abs=1e-5)


def test_that_names_that_are_no_variables_are_parameters() -> None:
    assert names_in("E + A/N**alpha") == ("E", "A", "N", "alpha")
    answer = asked(form="E + A/width**g", bounds=("g=0.01:3",))
    assert set(answer.result.estimates) >= {"E", "A", "g"}


@pytest.mark.parametrize("text", ["E + __import__('os')", "E + N if N else D", "[N]", "E + minimum(N, D)"])
def test_that_what_is_no_law_is_refused(text: str) -> None:
    with pytest.raises((ExpressionError, AnalysisError)):
        asked(form=text)


def test_that_bounds_hold_and_are_said() -> None:
    answer = asked(bounds=("alpha=0.05:0.2",))
    assert value(answer, "alpha") == pytest.approx(0.2, abs=1e-3)
    assert any("On a bound: alpha" in note for note in answer.result.notes)
    with pytest.raises(RunglassError, match="no parameter"):
        asked(bounds=("omega=0:1",))


def test_that_a_wrong_form_has_the_larger_held_out_error_and_aicc() -> None:
    rows = frame(0.002)
    right, wrong = asked(rows), asked(rows, form="A/N**alpha + B/D**beta")
    assert value(right, "held_out_absolute_error") < value(wrong, "held_out_absolute_error")
    assert value(right, "aicc") < value(wrong, "aicc")


def test_that_too_few_runs_are_refused() -> None:
    with pytest.raises(TooLittleData, match="at least 10 runs for 5 parameters"):
        asked(frame().head(8))


def test_that_profiles_the_spectrum_and_a_typed_start_are_reported_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame(0.002).to_csv(tmp_path / "runs.csv", index=False)
    arguments = [
        "--form",
        "E + A/N**alpha + B/D**beta",
        "--bounds",
        "alpha=0.05:1",
        "--starts",
        "alpha=0.3",
        "--draws",
        "100",
    ]
    assert main(["ask", "scaling.fit-recipe", str(tmp_path / "runs.csv"), *arguments, "--json", "-"]) == 0
    document = json.loads(capsys.readouterr().out)
    rows = {row["parameter"]: row for row in document["tables"]["parameters"]}
    for name, row in rows.items():
        assert row["profile_low"] < row["value"] < row["profile_high"], name
    spectrum = [row["information"] for row in document["tables"]["fisher_spectrum"]]
    assert spectrum == sorted(spectrum, reverse=True)
    assert spectrum[0] / spectrum[-1] == pytest.approx(document["estimates"]["condition"]["value"], rel=1e-6)
    assert main(["ask", "scaling.fit-recipe", str(tmp_path / "runs.csv"), "--form", "E + __import__('os')"]) in (2, 3)
    assert "Traceback" not in capsys.readouterr().err


def test_that_columns_and_ratios_may_stand_in_a_law() -> None:
    rows = frame(0.002)
    wide = asked(rows, form="E + A/width**alpha + B/D**beta")
    plain = asked(rows)
    assert value(wide, "alpha") == pytest.approx(2 * value(plain, "alpha"), rel=0.02)  # the width is the root of N
    ratio = asked(rows, form="E + A/N**alpha + B/(M*N)**beta")
    assert value(ratio, "beta") == pytest.approx(value(plain, "beta"), rel=0.02)
    holes = rows.assign(width=rows["width"].where(rows.index > 0))
    with pytest.raises(AnalysisError, match="Some runs have no 'width'"):
        asked(holes, form="E + A/width**alpha")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"form": "E + A"}, "reads nothing of the runs"),
        ({"form": "N + D"}, "has no parameter"),
        ({"form": "E - A*N"}, "not positive and finite"),
        ({"bounds": ("alpha",)}, "is not NAME=VALUE"),
        ({"bounds": ("alpha=low:high",)}, "is not LOW:HIGH"),
        ({"bounds": ("alpha=2:1",)}, "is not LOW:HIGH"),
        ({"starts": ("omega=1",)}, "no parameter of the form"),
        ({"starts": ("alpha=some",)}, "alpha=some is no positive number"),
        ({"starts": ("A=-3",)}, "A=-3 is no positive number"),
    ],
)
def test_that_a_law_that_cannot_be_fitted_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(RunglassError, match=said):
        asked(**options)


def test_that_runs_outside_a_condition_are_forecast_and_too_few_hold_none_out() -> None:
    rows = frame(0.002)
    largest = rows["params"] * rows["tokens"] >= (rows["params"] * rows["tokens"]).nlargest(4).min()
    held = asked(rows.assign(large=largest.astype(float)), fit_where="large < 1").result.tables["held_out"]
    assert sorted(held["run"]) == sorted(rows["run"][largest])
    assert held["relative_error"].abs().max() < 0.02
    assert asked(rows.head(10), form="A/N**alpha + B/D**beta + E", hold_out=2).result.tables["held_out"].empty
