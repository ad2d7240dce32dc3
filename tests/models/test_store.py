import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runglass.models.column_map import ColumnMap
from runglass.models.selection import EVERYTHING, Between, Holds, both, is_in
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, FolderConfig, Forgotten, Problem, RunFacts, SourceRead, TableRows


def test_that_a_configuration_gives_the_canonical_columns(store):
    runs = store.rows("runs").set_index("name")
    assert runs.loc["s1", "params"] == 4e6
    assert runs["peak_lr"].tolist() == [0.1, 0.1, 0.2]


def test_that_the_configuration_of_a_folder_describes_its_runs_and_yields_to_their_own(store):
    small = store.rows("runs").iloc[2]
    assert small["params"] == 1e6
    assert small["seed"] == 0


def test_that_a_run_whose_loss_ends_as_nan_is_diverged(store):
    assert store.rows("runs")["status"].tolist() == ["unknown", "diverged", "unknown"]


def test_that_levels_of_the_path_are_columns_to_group_by(store):
    assert store.rows("runs")["path.2"].tolist() == ["big", "big", "small"]


def test_that_wall_times_give_start_and_end(store):
    first = store.rows("runs").iloc[0]
    assert (first["started"], first["ended"]) == (10.0, 30.0)


def test_that_clauses_on_runs_pick_their_curves(store):
    kept = store.keeping(Between("params", 0, 2e6))
    assert [run.key for run, _ in kept.curves("loss")] == ["runs/small/s0"]
    assert kept.tags() == {"loss": 1}
    assert set(kept.rows("scalars")["run"]) == {"runs/small/s0"}


def test_that_a_clause_on_columns_a_table_lacks_does_not_apply_to_it(store):
    kept = store.keeping(Holds("correct == 1"))
    assert len(kept.rows("runs")) == 3
    assert kept.rows("predictions")["item"].tolist() == ["a", "b", "a", "c"]


def test_that_clauses_on_points_narrow_the_curves():
    piece = CurvePiece("r/a", np.arange(5), {"loss": np.array([5.0, 4.0, np.nan, 2.0, 1.0])}, np.arange(5.0))
    store = RunStore().adding([piece, CurvePiece("r/b", np.arange(2), {"loss": np.ones(2), "acc": np.ones(2)})])
    kept = {run.key: curve for run, curve in store.keeping(Holds("step >= 2 and run != 'r/b'")).curves("loss")}
    assert list(kept) == ["r/a"]
    assert kept["r/a"].step.tolist() == [2, 3, 4]
    assert kept["r/a"].wall_time.tolist() == [2.0, 3.0, 4.0]
    assert [run.key for run, _ in store.keeping(Holds("value > 4")).curves("loss")] == ["r/a"]
    assert list(store.keeping(is_in("tag", ["acc"])).curves("loss")) == []
    assert store.keeping(is_in("tag", ["acc"])).tags() == {"acc": 1}
    assert len(next(store.keeping(is_in("run", ["r/a"])).curves("loss"))[1]) == 5


def test_that_a_clause_no_table_has_the_columns_for_is_told(store):
    clause = Holds("colour == 'red'")
    assert store.keeping(both(clause, is_in("item", "a"))).unused_clauses() == (clause,)


def test_that_scalars_are_the_curves_point_by_point(store):
    scalars = store.rows("scalars")
    assert len(scalars) == store.points == 9
    acc = scalars[scalars["tag"] == "acc"]
    assert acc["value"].tolist() == [0.1, 0.2]
    assert acc["run"].astype(str).unique().tolist() == ["runs/big/s1"]


def test_that_mapped_columns_make_a_table_of_runs():
    frame = pd.DataFrame({"Model Size": [1e6, 2e6], "FLOP": [6e12, 24e12], "loss": [3.0, 2.5]})
    store = RunStore().adding([TableRows("points.csv", "table", frame)])
    assert [rows.source for rows in store.untyped] == ["points.csv"]
    mapped = store.reading_as(
        (ColumnMap((("params", "Model Size"), ("flops", "FLOP")), (("tokens", "flops/(6*params)"),)),)
    )
    runs = mapped.rows("runs")
    assert runs["tokens"].tolist() == [1e6, 2e6]
    assert runs["run"].tolist() == ["points.csv#0", "points.csv#1"]
    assert mapped.keeping(Holds("loss < 2.7")).rows("runs")["loss"].tolist() == [2.5]


def test_that_rows_that_do_not_fit_their_table_are_a_problem_and_the_rest_goes_on(store):
    broken = store.adding([TableRows("bad.csv", "table", pd.DataFrame({"item": ["x"], "confidence": [12.0]}))])
    assert len(broken.rows("predictions")) == 6
    (problem,) = broken.table_problems
    assert problem.source == "bad.csv"
    assert "outside [0, 1]" in problem.what


def test_that_problems_of_a_source_are_replaced_when_it_is_read_again():
    store = RunStore().adding([SourceRead("f", (Problem("f", "csv", "cut off"),)), Problem("g", "", "gone")])
    assert [problem.what for problem in store.adding([SourceRead("f")]).problems] == ["gone"]


def test_that_forgetting_a_source_drops_its_curves_and_keeps_the_run(store):
    after = store.adding([Forgotten("s", "csv", "It was replaced.", ("runs/big/s0",))])
    assert not after.runs["runs/big/s0"].curves
    assert after.runs["runs/big/s0"].config["seed"] == 0


def test_that_a_snapshot_does_not_change_when_the_next_one_grows(store):
    held = store.runs["runs/big/s0"].curves["loss"]
    growing = store
    for step in range(3, 400):
        growing = growing.adding([CurvePiece("runs/big/s0", np.array([step]), {"loss": np.array([float(step)])})])
    assert held.value.tolist() == [3.0, 2.0, 1.0]
    grown = growing.runs["runs/big/s0"].curves["loss"]
    assert grown.value.tolist() == [3.0, 2.0, 1.0, *range(3, 400)]
    assert grown.step.tolist() == list(range(400))


@given(st.lists(st.integers(1, 70), min_size=1, max_size=12), st.data())
def test_that_two_futures_of_one_curve_do_not_disturb_each_other(sizes, data):
    store = RunStore().adding([RunFacts("r")])
    expected: list[float] = []
    forks = []
    for size in sizes:
        values = [float(len(expected) + i) for i in range(size)]
        if expected and data.draw(st.booleans()):
            other = store.adding([CurvePiece("r", np.arange(3), {"loss": np.full(3, -1.0)})])
            forks.append((other, [*expected, -1.0, -1.0, -1.0]))
        store = store.adding([CurvePiece("r", np.arange(size), {"loss": np.array(values)})])
        expected += values
    assert store.runs["r"].curves["loss"].value.tolist() == expected
    for fork, values in forks:
        assert fork.runs["r"].curves["loss"].value.tolist() == values


def test_that_tags_logged_together_share_their_steps():
    pieces = [CurvePiece("r", np.arange(5), {"a": np.zeros(5), "b": np.ones(5)}) for _ in range(3)]
    curves = RunStore().adding(pieces).runs["r"].curves
    assert curves["a"].step is curves["b"].step


def test_that_a_store_without_data_answers_with_empty_tables():
    empty = RunStore()
    for table in ("runs", "scalars", "scores", "predictions", "comparisons"):
        assert len(empty.rows(table)) == 0
        assert not empty.has_rows(table)
    assert empty.filter == EVERYTHING


def test_that_the_order_in_which_tables_are_read_decides_no_row():
    tables = [TableRows(f"{n}.csv", "table", pd.DataFrame({"item": [str(n)], "correct": [1]})) for n in (2, 10, 1)]
    for events in (tables, tables[::-1]):
        assert RunStore().adding(events).rows("predictions")["item"].tolist() == ["1", "2", "10"]


@pytest.mark.parametrize("order", [1, -1])
def test_that_the_order_in_which_files_are_read_decides_no_value(order):
    events = [
        RunFacts("a"),
        RunFacts("b"),
        CurvePiece("b", np.arange(2), {"x": np.array([1.0, 2.0])}),
        CurvePiece("a", np.arange(1), {"x": np.array([5.0])}),
    ]
    runs = RunStore().adding(events[:2] + events[2:][::order]).runs
    assert [(run.ordinal, run.curves["x"].value.tolist()) for run in runs.values()] == [(0, [5.0]), (1, [1.0, 2.0])]


def test_that_a_derived_column_that_does_not_fit_the_values_is_a_problem_and_the_rest_goes_on():
    events = [
        RunFacts("p/a", config={"name": "x"}),
        TableRows("t.csv", "table", pd.DataFrame({"run": ["q"], "params": [3.0], "size": ["big"]})),
    ]
    maps = (ColumnMap(derived=(("twice", "config.name / 2"), ("half", "size / 2"))),)
    store = RunStore(maps=maps).adding(events)
    assert store.rows("runs")["run"].tolist() == ["p/a", "q"]
    assert [problem.source for problem in store.table_problems] == ["t.csv", "the runs"]


def test_that_logged_runs_are_shown_without_maps_that_break_their_table():
    store = RunStore(maps=(ColumnMap((("params", "config.name"),)),)).adding([RunFacts("p/a", config={"name": "x"})])
    assert store.rows("runs")["run"].tolist() == ["p/a"]
    assert "without the column maps" in store.table_problems[0].what


def test_that_the_table_of_runs_that_grow_is_that_of_runs_read_at_once() -> None:
    def facts(run: str) -> RunFacts:
        return RunFacts(run, reader="csv", config={"lr": 0.1, "name": run}, facts={"seed": 3})

    def piece(run: str, low: int, high: int, tag: str = "loss") -> CurvePiece:
        steps = np.arange(low, high)
        return CurvePiece(run, steps, {tag: 1.0 / (1 + steps)}, 1e9 + 60.0 * steps)

    store = RunStore().adding([facts("p/a"), facts("p/b"), piece("p/a", 0, 5), piece("p/b", 5, 9)])
    store.rows("runs")
    changes = [
        [piece("p/a", 5, 7)],
        [CurvePiece("p/b", np.array([9]), {"loss": np.array([np.nan])}, np.array([2e9]))],  # it diverges
        [piece("p/b", 2, 4, "other")],  # logged earlier than what is known
        [RunFacts("p/b", facts={"ended": 7.0})],
        [RunFacts("p/a", config={"lr": 0.5})],
        [Forgotten("s", "csv", "", ("p/a",))],
        [piece("p/a", 3, 4)],
        [facts("p/c"), piece("p/c", 0, 2)],
        [FolderConfig("p", {"batch": 8})],
    ]
    for events in changes:
        store = store.adding(events)
        anew = RunStore(runs=store.runs, folder_configs=store.folder_configs)
        pd.testing.assert_frame_equal(store.rows("runs"), anew.rows("runs"))
    skipped = store.adding([piece("p/a", 5, 7)]).adding([piece("p/b", 12, 13)])  # none asked for in between
    pd.testing.assert_frame_equal(
        skipped.rows("runs"), RunStore(runs=skipped.runs, folder_configs=skipped.folder_configs).rows("runs")
    )
    few = skipped.keeping(Holds("ended > 1e9"))
    assert list(few.kept_runs) == ["p/a", "p/c"]


def test_that_what_is_counted_of_curves_goes_on_while_they_only_grow() -> None:
    def piece(run: str, tag: str, points: int) -> CurvePiece:
        return CurvePiece(run, np.arange(points), {tag: np.ones(points)})

    store = RunStore().adding([piece("a", "loss", 3), piece("b", "loss", 2)])
    counts, points = store.tag_counts, store.points
    assert (dict(counts), points) == ({"loss": 2}, 5)
    longer = store.adding([piece("a", "loss", 4), SourceRead("a")])
    assert longer.tag_counts is counts
    assert longer.points == sum(len(run.curves["loss"]) for run in longer.runs.values()) == 9
    for event, expected in (
        (piece("a", "acc", 1), {"loss": 2, "acc": 1}),
        (piece("c", "loss", 1), {"loss": 3}),
        (RunFacts("c"), {"loss": 2}),
        (Forgotten("a", "csv", "it shrank", ("a",)), {"loss": 1}),
    ):
        other = longer.adding([event])
        assert dict(other.tag_counts) == expected
        assert other.points == sum(len(curve) for run in other.runs.values() for curve in run.curves.values())
        assert other.tag_counts is not counts
