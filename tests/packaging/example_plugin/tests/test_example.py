"""What the plug-in gives to Runglass, through the interface of Python and the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from example.plain_loss import PlainLossReader

import runglass
from runglass.models.readers.base import Source


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    for number, end in enumerate((1.0, 2.0, 4.0)):
        (folder / f"r{number}").mkdir(parents=True)
        (folder / f"r{number}" / "loss.txt").write_text(f"5\n3\n{end}\n")
    return folder


def command(*words):
    return subprocess.run(
        [sys.executable, "-m", "runglass", *map(str, words)], capture_output=True, text=True, check=False
    )


def test_that_the_plug_in_is_beside_a_runglass_that_was_installed():
    assert "site-packages" in Path(runglass.__file__).parts
    assert "example.spread" in set(runglass.analyses()["id"])


def test_that_a_file_becomes_a_run_with_a_curve(runs):
    data = runglass.open(runs)
    assert list(data.runs["run"]) == ["runs/r0", "runs/r1", "runs/r2"]
    assert set(data.runs["reader"]) == {"plain loss"}
    curve = data.scalars[data.scalars["run"] == "runs/r2"]
    assert list(curve["value"]) == [5.0, 3.0, 4.0]
    assert not data.problems


def test_that_what_is_appended_is_read_on(tmp_path):
    log = tmp_path / "loss.txt"
    log.write_text("5\n3\n")
    source = Source((log,), "runs/loss.txt", "runs", "plain loss")
    *_, cursor = PlainLossReader().read(source, None, lambda *_: None)
    log.write_text("5\n3\n2\n")
    _, piece, _ = PlainLossReader().read(source, cursor, lambda *_: None)
    assert (list(piece.step), list(piece.values["loss"])) == ([2], [2.0])


def test_that_the_spread_is_that_of_the_textbook(runs):
    answer = runglass.open(runs).ask("example.spread")
    sd = answer.estimates.loc["sd"]
    # ends 1, 2, 4: s² = 7/3; chi-squared with 2 degrees of freedom has the quantiles -2 ln(1 - p)
    assert sd["value"] == pytest.approx((7 / 3) ** 0.5)
    assert sd["low"] == pytest.approx((14 / 3 / 7.377759) ** 0.5, rel=1e-6)
    assert sd["high"] == pytest.approx((14 / 3 / 0.0506356) ** 0.5, rel=1e-5)
    assert "unit: the run" in answer.notes[0]


def test_that_two_runs_are_too_few(runs):
    (runs / "r2" / "loss.txt").unlink()
    with pytest.raises(runglass.RunglassError, match="3 runs"):
        runglass.open(runs).ask("example.spread")


def test_that_figures_can_have_our_colours(runs, tmp_path):
    runglass.open(runs).ask("example.spread").save(tmp_path / "a.svg", palette="lab")
    assert "#2271b2" in (tmp_path / "a.svg").read_text()
    asked = command("ask", "example.spread", runs, "--palette", "lab", "--figure", tmp_path / "b.svg", "--json", "-")
    assert asked.returncode == 0, asked.stderr
    assert "#2271b2" in (tmp_path / "b.svg").read_text()
    assert json.loads(asked.stdout)["estimates"]["sd"]["level"] == 0.95


def test_that_the_dashboard_becomes_a_report_in_our_colours(runs, tmp_path):
    told = command("report", runs, "-o", tmp_path / "report", "--template", "loss-watch")
    assert told.returncode == 0, told.stderr
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Spread of runs" in page
    assert any("#2271b2" in script.read_text() for script in (tmp_path / "report" / "figures").glob("*.py"))
