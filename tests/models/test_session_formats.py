"""Session files that earlier commits wrote open as what they said; those of a later format are refused and left alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runglass.models import session_formats
from runglass.models.column_map import ColumnMap
from runglass.models.errors import NewerSession, SessionError
from runglass.models.selection import All, Between, Holds, is_in
from runglass.models.session import CurveView, Grouping, RunNote, Session, from_json, load, save
from runglass.models.session_formats import VERSION, in_todays_format

OLD = sorted((Path(__file__).parents[1] / "data" / "sessions").glob("*.runglass.json"))


def with_format_of(path: Path) -> tuple[int, dict]:
    data = json.loads(path.read_bytes())
    return data["runglass_session"], data


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.name.partition(".")[0])
def test_that_what_an_earlier_commit_wrote_opens_with_all_it_said(path):
    session = load(path)
    assert session.roots == (str(path.parent.resolve() / "runs"),)
    assert session.ticked == {"runs/a", "runs/b"}
    assert (session.run_filter, session.run_columns, session.layout) == ("a|b", ("last:loss",), "abc")
    assert session.grouping == Grouping(("seed",), everything_except=True)
    assert session.maps == (ColumnMap((("params", "N"),), (("tokens", "flops/6"),), "*.csv", "runs"),)
    assert session.filter == All((Holds("loss < 3"), Between("step", 0, 100)))
    assert session.highlight == is_in("item", "ab")
    assert (session.step_cursor, session.theme, session.follow) == (12.5, "dark", False)
    view = session.curves
    assert (view.smoother, view.weight, view.width, view.x, view.log_x) == ("ema", 0.9, None, "tokens", True)
    assert (view.pinned, view.tag_filter, view.columns) == (("train/loss",), "loss", 2)
    asked = [pane for pane in session.panes if pane.kind == "analysis"]
    assert [(pane.analysis, dict(pane.question), pane.title) for pane in asked] == [
        ("compat.flips", {"old": "v1", "new": "v2", "level": 0.9}, "Flips")
    ]
    assert session.panes[0].kind == "curves"
    said = with_format_of(path)[1]
    assert session.run_notes == ((RunNote("runs/a", "odd", ("bad",)),) if "run_notes" in said else ())
    assert session.report.title == ("Report" if "report" in said else "")


def test_that_the_files_of_earlier_commits_are_of_the_forms_that_were():
    said = [with_format_of(path) for path in OLD]
    kinds = [{pane["kind"] for pane in data["panes"]} for _, data in said]
    assert {number for number, _ in said} <= set(range(1, VERSION + 1))
    assert any("table" in kind for kind in kinds)
    assert any("brush_mode" in data for _, data in said)
    assert any(data["curves"]["width"] == 10 for _, data in said)


def test_that_every_format_before_todays_has_a_step_to_the_next():
    assert sorted(session_formats._STEPS) == list(range(1, VERSION))


def test_that_steps_are_taken_one_after_the_other(monkeypatch):
    monkeypatch.setattr(session_formats, "VERSION", 4)
    steps = {
        number: lambda data, number=number: data | {"seen": [*data.get("seen", ()), number]} for number in (1, 2, 3)
    }
    monkeypatch.setattr(session_formats, "_STEPS", steps)
    assert in_todays_format({"runglass_session": 2}) == {"runglass_session": 4, "seen": [2, 3]}
    assert in_todays_format({"runglass_session": 1})["seen"] == [1, 2, 3]


def test_that_a_width_a_smoother_read_is_kept():
    data = {"runglass_session": 1, "curves": {"smoother": "gaussian", "width": 10.0}}
    assert from_json(data, Path("/")).curves == CurveView(smoother="gaussian", width=10.0)


def test_that_a_pane_of_a_kind_that_never_was_is_refused():
    with pytest.raises(SessionError):
        from_json({"runglass_session": 1, "panes": [{"key": "a", "kind": "chart"}]}, Path("/"))


@pytest.mark.parametrize("version", [0, -1, True, "2", 1.5, None, [2]])
def test_that_a_format_that_never_was_is_refused(version):
    with pytest.raises(SessionError, match="never was") as error:
        from_json({"runglass_session": version}, Path("/"))
    assert not isinstance(error.value, NewerSession)


@pytest.mark.parametrize("panes", [3, [3], [{"key": "a"}], {"a": 1}, None])
def test_that_an_old_session_that_is_damaged_is_refused_with_a_sentence(panes):
    with pytest.raises(SessionError, match="could not be understood"):
        from_json({"runglass_session": 1, "panes": panes}, Path("/"))


def test_that_a_session_of_a_newer_runglass_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "a.runglass.json"
    path.write_text(json.dumps({"runglass_session": VERSION + 1, "panes": "of another kind"}))
    before = path.read_bytes()
    with pytest.raises(NewerSession, match=rf"newer Runglass \(format {VERSION + 1}.*Update Runglass"):
        load(path)
    assert path.read_bytes() == before


def test_that_what_is_saved_says_todays_format(tmp_path):
    save(Session(), tmp_path / "a.json")
    assert with_format_of(tmp_path / "a.json")[0] == VERSION
