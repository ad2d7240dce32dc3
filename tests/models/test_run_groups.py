import numpy as np

from runglass.models.run_groups import EXCEPT_AT_FIRST, described, groupable_columns, grouped_runs
from runglass.models.selection import Between
from runglass.models.session import Grouping
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, RunFacts

ALL_BUT = Grouping(EXCEPT_AT_FIRST, True)


def store(configs):
    events = []
    for key, config in configs.items():
        events += [RunFacts(key, config=config), CurvePiece(key, np.arange(2), {"loss": np.zeros(2)})]
    return RunStore().adding(events)


def members(groups):
    return {label: [run for run, place in groups.of.items() if place == n] for n, label in enumerate(groups.labels)}


def test_that_repeats_agree_on_everything_but_seed_time_host_and_output():
    runs = store(
        {
            "e/1": {"lr": 0.1, "seed": 1, "host": "n1", "output_dir": "/a", "start_time": 5},
            "e/2": {"lr": 0.1, "seed": 2, "host": "n2", "output_dir": "/b", "start_time": 6},
            "e/3": {"lr": 0.2, "seed": 1, "host": "n1", "output_dir": "/c", "start_time": 7},
        }
    )
    assert list(members(grouped_runs(runs, ALL_BUT)).values()) == [["e/1", "e/2"], ["e/3"]]


def test_that_runs_without_configuration_are_told_apart_by_the_folders_above_them():
    runs = store({"p/BosAlign/0fe1": {}, "p/BosAlign/2b7c": {}, "p/ValueEmbed/5ac0": {}})
    assert members(grouped_runs(runs, ALL_BUT)) == {
        "BosAlign": ["p/BosAlign/0fe1", "p/BosAlign/2b7c"],
        "ValueEmbed": ["p/ValueEmbed/5ac0"],
    }


def test_that_a_missing_value_is_a_value_of_its_own():
    groups = grouped_runs(store({"a": {"wd": 0.1}, "b": {}, "c": {}}), Grouping(("config.wd",)))
    assert members(groups) == {"wd=0.1": ["a"], "no wd": ["b", "c"]}


def test_that_leaving_out_a_configuration_value_leaves_out_the_column_it_states():
    runs = store({"e/a": {"lr": 0.1, "wd": 0}, "e/b": {"lr": 0.2, "wd": 0}})
    assert len(grouped_runs(runs, ALL_BUT).labels) == 2
    assert len(grouped_runs(runs, Grouping((*EXCEPT_AT_FIRST, "config.lr"), True)).labels) == 1


def test_that_labels_name_only_what_tells_groups_apart():
    configs = {f"e/{lr}_{wd}": {"lr": lr, "wd": wd, "depth": 12} for lr in (1, 2) for wd in (0, 5)}
    labels = grouped_runs(store(configs), Grouping(("seed",), True)).labels
    assert len(set(labels)) == 4
    assert not any("depth" in label for label in labels)


def test_that_no_grouping_makes_no_groups():
    assert grouped_runs(store({"a": {}}), Grouping()).labels == ()
    assert described(Grouping()) == ""
    assert described(Grouping(("seed",), True)) == "group by all but seed"
    assert described(Grouping(("config.lr", "family"))) == "group by lr, family"


def test_that_only_columns_with_several_values_are_offered_and_those_that_group_come_first():
    names = [name for name, _ in groupable_columns(store({"e/a": {"lr": 1, "x": 1}, "e/b": {"lr": 1, "x": 2}}))]
    assert "config.x" in names
    assert "config.lr" not in names


def test_that_a_setting_that_is_a_list_groups_by_what_it_holds():
    runs = store({"r0": {"layers": [1, 2]}, "r1": {"layers": [1, 2]}, "r2": {"layers": [3]}})
    groups = grouped_runs(runs, Grouping(("config.layers",)))
    assert groups.hue("r0") == groups.hue("r1") != groups.hue("r2")
    assert groups.hue("gone") == "c0"


def test_that_groups_of_runs_that_all_went_are_none():
    runs = store({"r0": {"lr": 1.0}}).keeping(Between("config.lr", 2, 3))
    assert not grouped_runs(runs, Grouping(("config.lr",))).of


def test_that_folders_are_told_by_what_they_differ_in():
    runs = store({"project/long name/a/1": {}, "project/long name/b/1": {}})
    assert list(grouped_runs(runs, Grouping(("folder",))).labels) == ["a", "b"]
