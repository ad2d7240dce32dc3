"""What the guide says is so: its commands run, its code works, its links lead somewhere."""

import itertools
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from runglass.__main__ import main
from runglass.resources import demo_folder, path

GUIDE = path("guide")
EXAMPLE = Path(__file__).parents[1] / "packaging" / "example_plugin"
PAGES = sorted(GUIDE.glob("*.md"))


def blocks(page: str, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```$", (GUIDE / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_that_links_and_pictures_are_there(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (GUIDE / target).is_file(), target


@pytest.mark.parametrize("command", [line for block in blocks("4-cookbook.md", "sh") for line in block.splitlines()])
def test_that_every_command_of_the_cookbook_answers(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [
        word.replace("demo/", f"{demo_folder()}{os.sep}", 1) if word.startswith("demo/") else word
        for word in shlex.split(command)
    ]
    assert words[0] == "runglass"
    assert main(words[1:]) == 0, capsys.readouterr().err
    for name, following in itertools.pairwise(words):
        if name in ("--figure", "--table", "-o"):
            assert Path(following).exists()


def test_that_the_python_of_the_guide_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {"demo": demo_folder()}
    for block in blocks("5-python.md", "python"):
        exec(compile(block, "guide", "exec"), scope)  # noqa: S102 - the guide is ours
    assert (tmp_path / "matrix.pdf").read_bytes().startswith(b"%PDF")


def test_that_the_python_for_a_cluster_runs_on_another_engine_as_well(monkeypatch):
    monkeypatch.chdir(demo_folder())
    (block,) = blocks("7-cluster.md", "python")
    scope: dict[str, object] = {}
    here = block.replace("dask://head:8786", "local").replace('"answers/"', '"digits"')
    exec(compile(here, "guide", "exec"), scope)  # noqa: S102 - the guide is ours
    assert scope["answer"].summary.startswith("From ")


def test_that_the_arithmetic_of_a_cluster_follows_from_what_was_measured():
    text = (GUIDE / "7-cluster.md").read_text(encoding="utf-8")

    def stated(words: str) -> float:
        return float(re.search(rf"([\d.]+) {words}", text)[1])

    microseconds, of_a_merge = stated("µs of a processor a row"), stated("ms to merge")
    size, of_a_partial = stated("bytes a row on disk"), stated("MB a part")
    rows = {
        float(cells[0].replace("10^", "1e")): [float(cell) for cell in cells[1:]]
        for line in text.splitlines()
        if (cells := [re.sub(r"[^\d.^]", "", cell) for cell in line.split("|")[1:-1]]) and cells[0].startswith("10^")
    }
    assert set(rows) == {1e8, 1e10, 1e12}
    for number, (parts, terabytes, hours, minutes, gigabytes, merging) in rows.items():
        assert parts == number / 4e6
        assert terabytes == pytest.approx(number * size / 1e12, rel=0.06)
        assert hours == pytest.approx(number * microseconds / 1e6 / 3600, rel=0.06)
        assert minutes == pytest.approx(math.ceil(parts / 1000) * 4 * microseconds / 60, rel=0.06)
        assert gigabytes == pytest.approx(min(parts, 4096) * of_a_partial / 1e3, rel=0.06)
        assert merging == pytest.approx(min(parts, 4096) * of_a_merge / 1e3, rel=0.06)


@pytest.mark.parametrize(
    ("language", "files"),
    [
        ("toml", ["pyproject.toml"]),
        ("python", ["example/plain_loss.py", "example/spread.py"]),
        ("json", ["example/lab.json", "example/loss-watch.runglass.json"]),
    ],
)
def test_that_the_guide_quotes_the_example_plug_in(language, files):
    quoted = blocks("6-extend.md", language)
    assert len(quoted) == len(files)
    for block, name in zip(quoted, files, strict=True):
        assert block in (EXAMPLE / name).read_text(encoding="utf-8")


@pytest.fixture
def plugin(tmp_path):
    """The example plug-in as it lies where it is installed."""
    site = tmp_path / "site"
    facts = site / "example-1.0.dist-info"
    facts.mkdir(parents=True)
    shutil.copytree(EXAMPLE / "example", site / "example", ignore=shutil.ignore_patterns("__pycache__"))
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1.0\n")
    groups = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    points = (
        f"[{group}]\n" + "".join(f"{name} = {what}\n" for name, what in own.items()) for group, own in groups.items()
    )
    (facts / "entry_points.txt").write_text("\n".join(points))
    for number, end in enumerate((1.0, 2.0, 4.0)):
        run = tmp_path / "runs" / f"r{number}"
        run.mkdir(parents=True)
        (run / "loss.txt").write_text(f"5\n3\n{end}\n")
    return site


def runglass(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, "-m", "runglass", *words], env=environment, capture_output=True, text=True, check=False
    )


def test_that_the_reader_the_analysis_and_the_dashboard_of_the_guide_are_found_and_used(plugin, tmp_path):
    runs = str(tmp_path / "runs")
    listed = runglass(plugin, "list")
    assert "example.spread" in listed.stdout, listed.stderr
    asked = runglass(plugin, "ask", "example.spread", runs, "--figure", str(tmp_path / "spread.pdf"))
    assert asked.returncode == 0, asked.stderr
    assert "1.53 [0.795, 9.6" in asked.stdout
    assert (tmp_path / "spread.pdf").is_file()
    reported = runglass(plugin, "report", runs, "-o", str(tmp_path / "report"), "--template", "loss-watch")
    assert reported.returncode == 0, reported.stderr
    assert "Spread of runs" in (tmp_path / "report" / "report.html").read_text()


def test_that_a_plug_in_that_cannot_be_imported_is_a_problem_and_the_rest_goes_on(plugin, tmp_path):
    (plugin / "example" / "plain_loss.py").write_text("raise ImportError('broken on purpose')\n")
    found = runglass(plugin, "inspect", str(demo_folder() / "arms"))
    assert "broken on purpose" in found.stderr
    assert "runs" in found.stdout
    assert "Traceback" not in found.stderr


def test_that_a_dashboard_that_cannot_be_read_is_said(plugin):
    (plugin / "example" / "loss-watch.runglass.json").write_text("no session")
    code = "from runglass.analysis.templates import broken_templates, templates; print(broken_templates(), len(templates()))"
    environment = {**os.environ, "PYTHONPATH": str(plugin)}
    told = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert "'loss-watch' could not be read" in told
    assert told.strip().endswith("5")


def test_that_a_palette_that_cannot_be_seen_is_said_and_refused(plugin, tmp_path):
    (plugin / "example" / "lab.json").write_text('{"light": ["#ffffff", "#d55e00", "#359b73"]}')
    asked = runglass(plugin, "ask", "example.spread", str(tmp_path / "runs"), "--palette", "lab")
    assert asked.returncode == 2
    assert "#ffffff cannot be seen on the light theme" in asked.stderr
    assert "Traceback" not in asked.stderr
