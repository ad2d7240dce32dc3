from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runglass.analysis.asking import Answer, Opened, ask, opened
from runglass.analysis.chinchilla_law import Law
from runglass.analysis.overtraining_law import OvertrainingLaw, fit_overtraining
from runglass.analysis.registry import analysis
from runglass.analysis.scaling.overtraining import extra_compute
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Rule
from runglass.models.store import RunStore
from runglass.models.tables import TableRows

FIT = "(chinchilla_multiplier == 1 and params < 1e9) or (chinchilla_multiplier == 16 and params < 2e7)"
WITH_1B = f"{FIT} or (chinchilla_multiplier == 1 and params < 2e9)"
TASKS = (
    "bigbench_operators", "pubmed_qa_labeled", "hellaswag_zeroshot", "boolq", "arc_easy", "coqa", "bigbench_dyck_languages",
    "lambada_openai", "bigbench_novel_concepts", "winograd", "bigbench_cs_algorithms", "commonsense_qa",
    "bigbench_qa_wikidata", "hellaswag", "copa", "squad", "piqa",
)  # fmt: skip
LAW = OvertrainingLaw(1.8, 212.0, 367.0, 0.136)


def value(answer: Answer, name: str) -> float:
    return answer.result.estimates[name].value


def relative_error(answer: Answer, run: str) -> float:
    table = answer.result.tables["forecasts"].set_index("run")
    return 100 * abs(float(table.loc[run, "relative_error"]))  # type: ignore[arg-type]


@pytest.fixture
def redpajama(shared_data: Path) -> Opened:
    return opened([str(shared_data / "scaling/overtraining")])


def test_that_the_published_over_training_law_comes_out(redpajama: Opened) -> None:
    answer = ask(analysis("scaling.overtraining"), {"loss": "loss/c4_val", "fit_where": FIT, "draws": 200}, redpajama)
    published = {"E": 1.8366, "a": 212.24, "b": 366.69, "eta": 0.13643}
    assert {name: value(answer, name) for name in published} == pytest.approx(published, rel=0.001)
    assert relative_error(answer, "rpj-open_lm_1b-32.0") == pytest.approx(0.7103, rel=0.005)
    assert relative_error(answer, "rpj-open_lm_7b-1.0") == pytest.approx(0.732, rel=0.005)


def test_that_the_published_error_law_comes_out_and_is_chained(redpajama: Opened) -> None:
    options = {"loss": "loss/c4_val", "law_where": FIT, "fit_where": WITH_1B, "tasks": TASKS, "draws": 200}
    answer = ask(analysis("scaling.loss-to-error"), options, redpajama)
    published = {"eps": 0.85699, "k": 2.2065, "gamma": 0.71459}
    assert {name: value(answer, name) for name in published} == pytest.approx(published, rel=0.001)
    assert relative_error(answer, "rpj-open_lm_1b-32.0") == pytest.approx(3.6365, rel=0.005)
    assert relative_error(answer, "rpj-open_lm_7b-1.0") == pytest.approx(0.0464, rel=0.01)


def test_that_the_law_is_that_of_hoffmann_with_one_exponent() -> None:
    N, D = np.array([1e8, 3e9, 1e10]), np.array([1e10, 1e10, 3e12])
    other = Law(LAW.a * 6**-LAW.eta, LAW.b * 6**-LAW.eta, LAW.E, 2 * LAW.eta, 2 * LAW.eta)
    assert LAW.loss(6 * N * D, D / N) == pytest.approx(other.loss(N, D), rel=1e-12)
    best_N, best_D = other.optimum(1e22)
    assert LAW.best_ratio == pytest.approx(float(best_D / best_N), rel=1e-9)


@settings(deadline=None, max_examples=20)
@given(ratio=st.floats(0.5, 2000), C=st.floats(1e17, 1e24))
def test_that_the_extra_compute_of_a_ratio_buys_the_loss_of_the_best(ratio: float, C: float) -> None:
    more = float(extra_compute(LAW, ratio))
    assert more >= 1 - 1e-9
    assert float(LAW.loss(C * more, ratio)) == pytest.approx(float(LAW.loss(C, LAW.best_ratio)), rel=1e-9)


@pytest.mark.parametrize("plain", [True, False])
def test_that_a_law_without_noise_is_recovered(plain: bool) -> None:
    C, M = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e17, 1e21, 4), [5.0, 20.0, 320.0]))
    found = fit_overtraining(C, M, LAW.loss(C, M), plain=plain).law
    assert (found.E, found.a, found.b, found.eta) == pytest.approx((1.8, 212, 367, 0.136), rel=1e-3)


def test_that_one_ratio_or_four_runs_are_refused() -> None:
    C = np.geomspace(1e17, 1e21, 6)
    with pytest.raises(TooLittleData, match="2 numbers of tokens a parameter"):
        fit_overtraining(C, np.full(6, 20.0), LAW.loss(C, 20.0))
    with pytest.raises(TooLittleData, match="at least 5 runs"):
        fit_overtraining(C[:4], C[:4], C[:4])


def store_of(n: int = 14, seed: int = 0) -> RunStore:
    generator = np.random.default_rng(seed)
    L = np.linspace(2.2, 4.5, n)
    error = 0.85 - 2.2 * np.exp(-0.7 * L)
    names = [f"m{i}" for i in range(n)]
    runs = pd.DataFrame({"run": names, "params": 1e8 * L, "tokens": 1e10 * L, "loss": L})
    rows = [
        pd.DataFrame({"model": names, "task": task, "metric": "accuracy", "higher_is_better": 1.0,
                      "value": 1 - error - shift + generator.normal(0, 0.002, n)})
        for task, shift in (("a", 0.02), ("b", -0.02))
    ]  # fmt: skip
    return RunStore().adding(
        [TableRows("runs.csv", "test", runs, "runs"), TableRows("scores.csv", "test", pd.concat(rows), "scores")]
    )


def asked(store: RunStore, **options: Any) -> Answer:
    return ask(analysis("scaling.loss-to-error"), {"draws": 200, **options}, Opened(store))


def test_that_errors_are_averaged_over_the_tasks_of_the_scores() -> None:
    answer = asked(store_of())
    assert value(answer, "gamma") == pytest.approx(0.7, abs=0.06)
    assert value(answer, "target_error") == pytest.approx(
        0.85 - 2.2 * np.exp(-0.7 * value(answer, "target_loss")), abs=0.01
    )
    alone = asked(store_of(), tasks=("a",))
    assert value(alone, "eps") == pytest.approx(value(answer, "eps") + 0.02, abs=0.02)


def test_that_runs_outside_the_condition_are_forecast() -> None:
    answer = asked(store_of(), fit_where="loss > 2.6")
    table = answer.result.tables["forecasts"]
    assert (table["loss"] <= 2.6).all()
    assert table["relative_error"].abs().max() < 0.05
    assert [mark.option for _, mark in answer.figure().marks() if isinstance(mark, Rule) and mark.option] == [
        "target_loss"
    ]


def test_that_the_error_of_guessing_is_kept_where_it_is_given() -> None:
    answer = asked(store_of(), chance_error=0.85)
    assert value(answer, "eps") == 0.85
    assert not answer.result.estimates["eps"].has_interval


def test_that_an_unknown_task_or_a_lack_of_scores_is_said() -> None:
    with pytest.raises(AnalysisError, match="no task 'c'"):
        asked(store_of(), tasks=("c",))
    runs = pd.DataFrame({"run": ["a", "b"], "params": [1e8, 2e8], "tokens": [1e9, 2e9], "loss": [3.0, 2.9]})
    with pytest.raises(AnalysisError, match="Nothing says what error"):
        asked(RunStore().adding([TableRows("runs.csv", "test", runs, "runs")]), target_loss=2.0)


def test_that_a_narrow_range_of_losses_is_said_not_to_determine_eps() -> None:
    assert not any("eps is not determined" in note for note in asked(store_of()).result.notes)
    answer = asked(store_of(n=40), fit_where="loss > 2.2 and loss < 2.5")
    assert any("eps is not determined" in note for note in answer.result.notes)


def test_that_the_targets_of_the_law_can_be_dragged() -> None:
    C, M = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e17, 1e21, 5), [5.0, 20.0, 320.0]))
    N = np.sqrt(C / 6 / M)
    frame = pd.DataFrame(
        {"run": [f"r{i}" for i in range(len(C))], "params": N, "tokens": M * N, "loss": LAW.loss(C, M)}
    )
    store = RunStore().adding([TableRows("runs.csv", "test", frame, "runs")])
    answer = ask(analysis("scaling.overtraining"), {"draws": 100}, Opened(store))
    options = {mark.option for _, mark in answer.figure().marks() if isinstance(mark, Rule) and mark.option}
    assert options == {"target_flops", "target_ratio"}


def test_that_an_error_may_be_one_less_a_rate_of_the_runs_and_each_training_set_has_its_curve() -> None:
    store = store_of()
    plain = asked(store, tasks=("a",))
    runs = store.rows("runs")[["run", "params", "tokens", "loss"]]
    scores = store.rows("scores").query("task == 'a'").set_index("model")["value"]
    runs = runs.assign(accuracy=runs["run"].map(scores), data="web")
    few = runs.head(3).assign(run=lambda f: f["run"] + "x", data="books")
    both = RunStore().adding([TableRows("runs.csv", "test", pd.concat([runs, few]), "runs")])
    told = asked(both, error="accuracy", variant="data")
    assert value(told, "gamma") == pytest.approx(value(plain, "gamma"), rel=1e-6)
    assert told.result.what == "1 − accuracy"
    assert any(note.startswith("books left out: needs at least 5 runs") for note in told.result.notes)
    assert told.figure().panels
    with pytest.raises(TooLittleData, match="at least 5 runs"):
        asked(RunStore().adding([TableRows("runs.csv", "test", few, "runs")]), error="accuracy")


def test_that_runs_without_an_error_and_scores_that_are_no_rates_are_said() -> None:
    store = store_of()
    scores = store.rows("scores")
    runs = TableRows("runs.csv", "test", store.rows("runs")[["run", "params", "tokens", "loss"]], "runs")

    def with_scores(frame: pd.DataFrame) -> RunStore:
        return RunStore().adding([runs, TableRows("scores.csv", "test", frame, "scores")])

    lacking = asked(with_scores(scores[~((scores["model"] == "m3") & (scores["task"] == "b"))]))
    assert "1 model lack one of the tasks." in lacking.result.notes
    assert "1 run left out: no error." in lacking.result.notes
    with pytest.raises(AnalysisError, match="outside"):
        asked(with_scores(scores.assign(value=scores["value"] * 100)))
    with pytest.raises(AnalysisError, match="both a loss and an error"):
        asked(with_scores(scores.assign(model="other " + scores["model"])))
    with pytest.raises(AnalysisError, match="what error the runs make"):
        asked(RunStore().adding([runs]))
