"""Reports of sessions and templates."""

import dataclasses
import json

import pytest

from runglass.__main__ import main
from runglass.analysis.asking import opened
from runglass.analysis.session_questions import card_question, questions_of, shown_tags
from runglass.analysis.session_report import completed, parts_of, report_of, without_refusals
from runglass.analysis.templates import fitting, lacking, template, templates
from runglass.models import session as sessions
from runglass.models.errors import RunglassError
from runglass.models.session import CurveView, Grouping, Pane, Report, ReportPart, Session
from runglass.resources import demo_folder


@pytest.fixture(scope="module")
def demo():
    return opened([str(demo_folder() / "digits"), str(demo_folder() / "lr_sweep")])


FLIPS = Pane("flips", "analysis", "compat.flips")
JUDGES = Pane("judges", "analysis", "judges.position-bias")


def test_that_sections_follow_the_order_and_the_words_of_the_user(demo):
    parts = (ReportPart("", "Why", "Because."), ReportPart("flips", "Flips", "See *here*."), ReportPart("gone"))
    session = Session(panes=(Pane("curves", "curves"), FLIPS), report=Report("Ours", "First.", parts))
    told = report_of(session, demo)
    assert (told.title, told.text) == ("Ours", "First.")
    assert [(one.heading, one.text) for one in told.sections] == [("Why", "Because."), ("Flips", "See *here*.")]
    assert told.sections[1].result.estimates["n"].value == 1000


def test_that_without_parts_every_pane_is_a_section_and_cards_are_known_by_their_tags(demo):
    session = Session(roots=("/data/sweep",), panes=(Pane("curves", "curves"), FLIPS))
    assert [part.pane for part in parts_of(session)] == ["curves", "flips"]
    told = report_of(session, demo)
    assert told.title == "sweep"
    assert told.sections[0].heading == "val/loss"
    assert told.sections[-1].heading == "Flips between versions"


def test_that_a_question_the_data_cannot_answer_says_why_and_the_rest_goes_on(demo):
    told = report_of(Session(panes=(JUDGES, FLIPS)), demo)
    assert "comparisons" in told.sections[0].refusal
    assert told.sections[1].result is not None
    short = without_refusals(told)
    assert [one.heading for one in short.sections] == ["Flips between versions", "Not answered"]
    assert "comparisons" in short.sections[1].text


def test_that_a_report_survives_a_session_file(tmp_path):
    report = Report("T", "x", (ReportPart("flips", "F", "*t*"), ReportPart("", "G", "")))
    sessions.save(Session(panes=(FLIPS,), report=report), tmp_path / "s.runglass.json")
    assert sessions.load(tmp_path / "s.runglass.json").report == report


def test_that_a_condition_of_a_pane_narrows_its_section(demo):
    pane = dataclasses.replace(FLIPS, where="item == 'nothing'")
    told = report_of(Session(panes=(pane,)), demo)
    assert told.sections[0].result is None
    assert report_of(Session(panes=(FLIPS,)), demo).sections[0].result is not None


def test_that_the_five_templates_are_there_and_name_analyses_that_exist(demo):
    names = [one.name for one in templates()]
    assert names[:5] == [
        "pretraining-watch", "scaling-study", "model-release", "benchmark-audit", "calibration-audit",
    ]  # fmt: skip
    for one in templates():
        assert one.title
        assert one.about
        for pane in one.session.panes:
            lacking(pane, demo.store)


def test_that_a_template_keeps_the_panes_that_the_data_can_answer(demo):
    kept = {pane.key for pane in fitting(demo.store).panes}
    assert {"curves", "compat-flips", "calibration-reliability"} <= kept
    assert fitting(opened([str(demo_folder() / "arms")]).store).panes[0].kind == "curves"


def test_that_an_unknown_template_is_refused_with_the_names_of_all():
    with pytest.raises(RunglassError, match="model-release"):
        template("nonsense")


def test_that_asked_analyses_are_added_to_what_a_session_reports(demo):
    session = completed(Session(panes=(FLIPS,)), demo.store, ["compat.churn"], "T")
    assert [part.pane for part in parts_of(session)] == ["flips", "asked-1"]
    assert session.report.title == "T"
    with pytest.raises(RunglassError):
        completed(Session(), demo.store, ["compat.nonsense"])


def test_that_the_command_writes_what_was_asked(tmp_path, capsys):
    folder = tmp_path / "report"
    status = main(["report", str(demo_folder() / "digits"), "-o", str(folder), "--ask", "compat.flips", "--title", "T"])
    assert status == 0
    assert "1 section" in capsys.readouterr().out
    told = json.loads((folder / "provenance.json").read_text())
    assert [one["analysis"] for one in told["sections"]] == ["compat.flips"]
    assert told["sections"][0]["estimates"]["n"]["value"] == 1000
    assert told["sources"]


def test_that_a_session_file_is_reported_with_its_own_data(tmp_path):
    session = Session(roots=(str(demo_folder() / "digits"),), panes=(FLIPS,))
    sessions.save(session, tmp_path / "s.runglass.json")
    assert main(["report", "--session", str(tmp_path / "s.runglass.json"), "-o", str(tmp_path / "r")]) == 0
    assert (tmp_path / "r" / "report.html").is_file()


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (["-o", "r"], 2, "PATH or a --session"),
        (["nowhere-at-all", "-o", "r"], 2, "no file or folder"),
        ([".", "-o", "r", "--template", "nonsense"], 2, "benchmark-audit"),
        ([".", "-o", "r", "--session", "a", "--template", "b"], 2, "one of them"),
    ],
)
def test_that_a_wrong_command_says_what_to_do(argv, status, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["report", *argv]) == status
    assert said in capsys.readouterr().err


def test_that_data_without_an_answer_give_no_report(tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["report", str(empty), "-o", str(tmp_path / "r"), "--template", "model-release"]) == 3
    assert not (tmp_path / "r").exists()


def test_that_a_template_names_at_its_end_what_the_data_cannot_answer(tmp_path):
    folder = tmp_path / "r"
    assert main(["report", str(demo_folder() / "lr_sweep"), "-o", str(folder), "--template", "scaling-study"]) == 0
    told = json.loads((folder / "provenance.json").read_text())["sections"]
    assert not any(section["refusal"] for section in told)
    assert told[-1]["title"] == "Not answered"


def test_that_cards_show_tags_that_pass_the_filter_and_all_where_it_is_no_pattern(demo):
    ticked = tuple(demo.store.runs)
    demo = demo.store
    every = shown_tags(CurveView(), demo, ticked)
    assert shown_tags(CurveView(tag_filter="^train/"), demo, ticked) == [
        tag for tag in every if tag.startswith("train/")
    ]
    assert shown_tags(CurveView(tag_filter="["), demo, ticked) == every


def test_that_grouped_runs_are_asked_for_as_groups_and_a_pane_of_questions_asks_none(demo):
    demo = demo.store
    ticked = tuple(demo.runs)
    session = dataclasses.replace(Session(), grouping=Grouping(keys=("family",)))
    identifier, options = card_question("val/loss", session, ticked)
    assert (identifier, options["group_by"]) == ("curve.seed-band", ["family"])
    other = dataclasses.replace(Session(), grouping=Grouping(keys=("seed",), everything_except=True))
    assert card_question("val/loss", other, ticked)[1]["everything_except"] == ["seed"]
    assert card_question("val/loss", Session(), ticked)[0] == "curve.smooth"
    pane = Pane(key="q", kind="questions")
    assert questions_of(pane, session, demo, most_cards=3) == ()
    assert lacking(pane, demo) == ""
