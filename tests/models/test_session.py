import json
from pathlib import Path

import numpy as np
import pytest

from runglass.models.column_map import ColumnMap
from runglass.models.errors import SessionError
from runglass.models.selection import Holds, is_in
from runglass.models.session import (
    FIRST_TICKED,
    MANY_RUNS,
    CurveView,
    Grouping,
    Pane,
    Session,
    from_json,
    load,
    save,
    ticked_runs,
    to_json,
)
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece

FULL = Session(
    roots=("/data/runs", "/elsewhere/x.csv"),
    ticked=frozenset({"runs/a", "runs/b"}),
    run_filter="a|b",
    run_events=("restart", "spike"),
    grouping=Grouping(("seed",), everything_except=True),
    run_columns=("last:loss",),
    curves=CurveView(smoother="gaussian", weight=0.9, x="tokens", log_x=True, pinned=("loss",), band="sd", marks=False),
    maps=(ColumnMap((("params", "N"),), (("tokens", "flops/6"),), "*.csv", "runs"),),
    filter=Holds("loss < 3"),
    highlight=is_in("item", "ab"),
    step_cursor=12.5,
    panes=(Pane("curves", "curves"), Pane("flips", "analysis", "compat.flips", {"old": "v1", "level": 0.9}, "Flips")),
    focus="flips",
    theme="dark",
    follow=False,
    health=False,
    layout="abc",
)


def test_that_a_session_file_gives_the_same_session_back(tmp_path):
    save(FULL, tmp_path / "a.runglass.json")
    assert load(tmp_path / "a.runglass.json") == FULL


def test_that_roots_are_stored_relative_to_the_file(tmp_path):
    data = to_json(Session(roots=(str(tmp_path / "runs"),)), tmp_path)
    assert data["roots"] == ["runs"]
    moved = tmp_path / "moved"
    assert from_json(data, moved).roots == (str(moved / "runs"),)


def test_that_what_is_missing_has_its_default_and_what_is_unknown_is_passed_over():
    assert from_json({"runglass_session": 1, "colour": "red"}, Path("/")) == Session()


@pytest.mark.parametrize(
    "data",
    [
        [],
        {"theme": "dark"},
        {"runglass_session": 999},
        {"runglass_session": 1, "theme": "pink"},
        {"runglass_session": 1, "roots": [3]},
        {"runglass_session": 1, "panes": [{"key": "a"}]},
        {"runglass_session": 1, "curves": {"smoother": "magic"}},
        {"runglass_session": 1, "filter": {"is_in": 4}},
    ],
)
def test_that_a_damaged_session_is_refused_with_a_sentence(data):
    with pytest.raises(SessionError) as error:
        from_json(json.loads(json.dumps(data)), Path("/"))
    assert str(error.value)


def test_that_a_file_cut_short_is_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'{"runglass_session": 1, "roots": [')
    with pytest.raises(SessionError, match="damaged"):
        load(path)


def test_that_a_failed_save_keeps_the_old_file(tmp_path):
    with pytest.raises(SessionError, match="could not be saved"):
        save(FULL, tmp_path / "no such folder" / "a.json")
    path = tmp_path / "a.json"
    save(Session(), path)
    (tmp_path / ".a.json.part").mkdir()
    with pytest.raises(SessionError):
        save(FULL, path)
    assert load(path) == Session()


def test_that_only_differing_fields_are_told():
    assert FULL.changed(Session(**{f: getattr(FULL, f) for f in ("roots", "panes")})) >= {"theme", "filter"}
    assert FULL.changed(FULL) == frozenset()


def many(count):
    import numpy as np

    return RunStore().adding([CurvePiece(f"r/{i}", np.arange(1), {"loss": np.ones(1)}) for i in range(count)])


def test_that_the_first_ten_runs_are_ticked_when_there_are_many():
    assert ticked_runs(Session(), many(MANY_RUNS + 1)) == tuple(f"r/{i}" for i in range(FIRST_TICKED))
    assert len(ticked_runs(Session(), many(MANY_RUNS))) == MANY_RUNS


def test_that_ticks_survive_runs_that_are_not_there():
    assert ticked_runs(Session(ticked=frozenset({"r/1", "gone"})), many(3)) == ("r/1",)


@pytest.mark.parametrize(
    "field",
    [
        {"filter": {"holds": "loss <"}},
        {"highlight": {"holds": "loss <"}},
        {"maps": [{"names": [], "derived": [["a", "b +"]], "pattern": "*", "table": ""}]},
        {"maps": [{"names": [], "derived": [], "pattern": "*", "table": "nonsense"}]},
        {"panes": [{"key": "a", "kind": "chart"}]},
        {"filter": json.loads('{"not":' * 300 + '{"everything": true}' + "}" * 300)},
    ],
)
def test_that_a_session_that_holds_what_cannot_be_understood_is_refused(field, tmp_path):
    with pytest.raises(SessionError):
        from_json({"runglass_session": 1, **field}, tmp_path)


def test_that_numbers_of_numpy_are_saved_as_numbers(tmp_path):
    save(Session(highlight=is_in("step", [np.int64(3)])), tmp_path / "a.runglass.json")
    assert load(tmp_path / "a.runglass.json").highlight == is_in("step", [3])


def test_that_a_path_that_is_no_text_is_said_when_it_cannot_be_saved(tmp_path):
    with pytest.raises(SessionError):
        save(Session(roots=("/tmp/\udcff",)), tmp_path / "a.runglass.json")


def test_that_a_root_on_another_drive_stays_as_it_is(tmp_path, monkeypatch):
    def no_way(*_):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr("os.path.relpath", no_way)
    save(Session(roots=("D:/runs",)), tmp_path / "s.json")
    assert json.loads((tmp_path / "s.json").read_text())["roots"] == ["D:/runs"]


def test_that_a_session_file_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(SessionError, match="could not be read: Is a directory"):
        load(tmp_path)


def test_that_a_pane_is_headed_by_its_title_or_kind():
    assert Pane("p", "curves").heading == "Learning curves"
    assert Pane("p", "curves", title="mine").heading == "mine"
    assert hash(Pane("p", "curves")) == hash(Pane("p", "curves"))
