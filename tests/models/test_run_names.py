from hypothesis import given
from hypothesis import strategies as st

from runglass.models.run_names import telling_names


def test_that_levels_all_runs_share_are_left_out():
    keys = ["r/base/s0/fastmri/trial_1/events", "r/base/s0/ogbg/trial_1/events", "r/base/s0/ogbg/trial_1/csv"]
    assert list(telling_names(keys).values()) == ["fastmri/events", "ogbg/events", "ogbg/csv"]


def test_that_a_single_run_is_called_by_its_own_name():
    assert telling_names(["a/b/c"]) == {"a/b/c": "c"}


@given(st.sets(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join), min_size=1))
def test_that_different_runs_of_equal_depth_have_different_names_and_none_is_empty(keys):
    names = telling_names(sorted(keys))
    assert all(names.values())
    for depth in range(4):
        level = [names[key] for key in keys if key.count("/") == depth]
        if len({key.count("/") for key in keys}) == 1:
            assert len(set(level)) == len(level)
