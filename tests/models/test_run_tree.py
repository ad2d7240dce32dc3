import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runglass.models.run_groups import RunGroups
from runglass.models.run_tree import PARTLY, TICKED, UNTICKED, common_folder, found_keys, tree_by_folder, tree_by_group

KEYS = ["p/a/x/run_10", "p/a/x/run_2", "p/b/deep/er/one", "p/c"]


def shown(tree, node=0, depth=0):
    lines = []
    for child in tree.children(node).tolist():
        lines.append("  " * depth + tree.names[child])
        lines += shown(tree, child, depth + 1)
    return lines


def test_that_the_folder_all_runs_share_is_hidden_and_chains_are_one_row():
    tree = tree_by_folder(KEYS, common_folder(KEYS))
    assert shown(tree) == ["a/x", "  run_2", "  run_10", "b/deep/er/one", "c"]


def test_that_a_run_with_runs_below_it_is_one_row():
    tree = tree_by_folder(["a", "a/b", "a/c"])
    assert shown(tree) == ["a", "  b", "  c"]
    assert tree.runs_below(1) == ["a", "a/b", "a/c"]


@pytest.mark.parametrize(
    ("keys", "folder"),
    [(["a/b/c", "a/b/d"], "a/b/"), (["a/b", "a/b/c"], "a/"), (["ab/x", "ac/x"], ""), (["a/b/c"], "a/b/"), ([], "")],
)
def test_that_the_common_folder_ends_at_a_slash(keys, folder):
    assert common_folder(keys) == folder


def test_that_a_box_is_partly_ticked_when_some_runs_below_are():
    tree = tree_by_folder(KEYS, "p/")
    node = tree.node_of()
    ticks = tree.ticks({"p/a/x/run_2", "p/c"})
    assert ticks[node["p/a/x"]] == PARTLY
    assert ticks[node["p/c"]] == TICKED
    assert ticks[node["p/b/deep/er/one"]] == UNTICKED


def test_that_groups_come_in_their_order_and_a_group_of_one_is_its_run():
    groups = RunGroups(("big", "small"), {"p/c": 1, "p/a/x/run_2": 0, "p/a/x/run_10": 0})
    tree = tree_by_group(KEYS, groups)
    assert shown(tree) == ["big", "  run_2", "  run_10", "small"]
    assert tree.runs[tree.children(0)[1]] == "p/c"


def test_that_sorting_puts_a_folder_where_its_best_run_would_be_and_nothing_last():
    tree = tree_by_folder(KEYS, "p/")
    value = {"p/a/x/run_10": 1.0, "p/a/x/run_2": 5.0, "p/c": 3.0}
    values = np.array([value.get(run, np.nan) for run in tree.runs])
    assert shown(tree.sorted_by(values)) == ["a/x", "  run_10", "  run_2", "c", "b/deep/er/one"]
    assert shown(tree.sorted_by(values, descending=True)) == ["a/x", "  run_2", "  run_10", "c", "b/deep/er/one"]
    assert shown(tree.reversed())[0] == "c"


def test_that_keys_are_found_by_search_and_an_invalid_pattern_filters_nothing():
    assert found_keys(KEYS, r"run_\d$") == ["p/a/x/run_2"]
    assert found_keys(KEYS, "(") == KEYS
    assert found_keys(KEYS, "") == KEYS


_keys = st.lists(
    st.lists(st.sampled_from(["a", "b", "c1", "c10"]), min_size=1, max_size=5).map("/".join), unique=True, max_size=30
)


@given(_keys)
def test_that_every_run_is_in_the_tree_once_and_rows_agree_with_children(keys):
    tree = tree_by_folder(keys, common_folder(keys))
    assert sorted(run for run in tree.runs if run) == sorted(keys)
    for node in range(len(tree)):
        children = tree.children(node).tolist()
        assert [int(tree.parents[child]) for child in children] == [node] * len(children)
        assert [int(tree.rows[child]) for child in children] == list(range(len(children)))
        assert len(tree.runs_below(node)) == tree.run_counts()[node]
