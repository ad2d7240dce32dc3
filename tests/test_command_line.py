"""The command line: what it prints, writes and refuses, and its exit status."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pandas as pd
import pytest

from runglass import __version__
from runglass.__main__ import COMMON_OPTIONS, headless_commands, main
from runglass.analysis import registry
from runglass.analysis.registry import catalogue
from runglass.models.kernels import twin_in_use


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three seeds of one recipe, as CSV logs."""
    folder = tmp_path / "runs"
    for seed in range(3):
        (folder / f"seed_{seed}").mkdir(parents=True)
        rows = [f"{step},{2 + 3 / (1 + step) + 0.01 * seed}" for step in range(20)]
        (folder / f"seed_{seed}" / "metrics.csv").write_text("\n".join(["step,val_loss", *rows]) + "\n")
    return folder


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    """Two versions answering the same 40 items: 30 and 28 right, 4 negative flips."""
    old = [item < 30 for item in range(40)]
    new = [(4 <= item < 30) or item in (30, 31) for item in range(40)]
    rows = [
        f"{version},{item},{int(right)},{item}"
        for version, answers in (("v1", old), ("v2", new))
        for item, right in enumerate(answers)
    ]
    path = tmp_path / "answers.csv"
    path.write_text("\n".join(["version,item,correct,difficulty", *rows]) + "\n")
    return path


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def runglass(*argv: object) -> tuple[int, str, str]:
        status = main([str(one) for one in argv])
        out, err = capsys.readouterr()
        return status, out, err

    return runglass


# -- help ---------------------------------------------------------------------------------------------------------------


def test_that_the_version_is_said(run: Run) -> None:
    assert run("--version") == (0, f"runglass {__version__} (kernels: {twin_in_use()})\n", "")


@pytest.mark.parametrize(
    "command",
    [(), ("demo",), ("inspect",), ("list",), ("ask",), ("export",), ("report",), ("desktop",), ("ask", "compat.flips")],
)
def test_that_every_command_has_help(run: Run, command: tuple[str, ...]) -> None:
    status, out, err = run(*command, "--help")
    assert (status, err) == (0, "")
    assert out.startswith("usage: runglass")


@pytest.mark.parametrize(
    "command",
    [
        ("--no-such-option",),
        ("inspect",),
        ("inspect", "/no/such/folder"),
        ("/no/such/folder",),
        ("ask",),
        ("ask", "no.such-analysis", "."),
        ("ask", "compat.flips"),
        ("ask", "compat.flips", ".", "--level", "high"),
        ("ask", "compat.flips", ".", "--level", "7"),
        ("ask", "compat.flips", ".", "--no-such-option", "1"),
        ("ask", "compat.flips", ".", "--lev", "0.9"),
        ("ask", "compat.flips", ".", "--where", "import os"),
        ("ask", "compat.flips", ".", "--map", "params"),
        ("ask", "compat.flips", ".", "--let", "tokens=flops//"),
        ("ask", "compat.flips", ".", "--figure", "figure.tiff"),
        ("ask", "compat.flips", ".", "--figure", "/no/such/folder/figure.pdf"),
        ("ask", "compat.flips", ".", "--table", "table.xlsx"),
        ("ask", "compat.flips", ".", "--style", "nips"),
        ("ask", "compat.flips", ".", "--engine", "cluster"),
        ("export", "."),
        ("export", ".", "-o", "table.xlsx"),
        ("desktop",),
        ("desktop", "--install", "--remove"),
        ("--session", "/no/such/file"),
    ],
    ids=" ".join,
)
def test_that_a_wrong_command_line_is_refused_in_a_sentence(run: Run, command: tuple[str, ...]) -> None:
    status, out, err = run(*command)
    assert status == 2
    assert out == ""
    assert err
    assert "Traceback" not in err


def test_that_a_close_name_is_offered_for_an_unknown_analysis(run: Run) -> None:
    assert "Did you mean compat.flips?" in run("ask", "flips", ".")[2]


def test_that_the_place_of_the_fault_in_an_expression_is_shown(run: Run) -> None:
    err = run("ask", "compat.flips", ".", "--where", "loss < eval('1')")[2]
    line, caret = err.splitlines()[-2:]
    assert line.strip() == "loss < eval('1')"
    assert line[caret.index("^") :].startswith("eval")


def test_that_no_question_has_an_option_of_the_name_of_a_common_one() -> None:
    clashes = {
        (one.id, option.name)
        for one in catalogue()
        for option in one.question.options()
        if option.name in COMMON_OPTIONS
    }
    assert clashes == set()


# -- list and inspect ---------------------------------------------------------------------------------------------------


def test_that_list_names_every_analysis_with_its_options(run: Run) -> None:
    status, out, err = run("list", "--json")
    entries = json.loads(out)
    assert (status, err) == (0, "")
    assert {entry["id"] for entry in entries} >= {"curve.seed-band", "compat.flips", "calibration.reliability"}
    for entry in entries:
        assert entry.keys() >= {"id", "family", "title", "question", "inputs", "options", "sources"}
        for option in entry["options"]:
            assert option.keys() >= {"name", "type", "default", "unit", "help"}
    assert all(entry["id"] in run("list")[1] for entry in entries)


def test_that_list_says_which_analyses_of_others_are_broken(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = EntryPoint("theirs.gone", "no_such_package.theirs", "runglass.analyses")
    other = EntryPoint("theirs.other", "json", "runglass.analyses")
    monkeypatch.setattr(registry, "_third_party", lambda: {"theirs.gone": missing, "theirs.other": other})
    registry.analysis.cache_clear()
    status, out, err = run("list")
    assert status == 4
    assert "curve.seed-band" in out
    assert err.splitlines() == [
        "The analysis 'theirs.gone' could not be loaded: No module named 'no_such_package'",
        "The entry point 'theirs.other' gives no Analysis.",
    ]
    status, out, _ = run("list", "--json")
    assert (status, len(json.loads(out))) == (4, len(catalogue()))


def test_that_inspect_says_runs_curves_tables_and_problems(run: Run, runs: Path) -> None:
    status, out, err = run("inspect", runs, "--json")
    document = json.loads(out)
    assert (status, err) == (0, "")
    assert document.keys() >= {"runs", "tables", "problems"}
    assert len(document["runs"]) == 3
    one = document["runs"][0]
    assert one.keys() >= {"run", "name", "reader", "source", "status", "config", "scalars"}
    assert one["scalars"]["val_loss"] == {
        "points": 20,
        "first_step": 0,
        "last_step": 19,
        "last_value": 2.15,
        "non_finite": 0,
    }
    assert document["tables"]["predictions"] == {"rows": 0}
    text = run("inspect", runs)[1]
    assert "3 runs, 3 curves" in text


def test_that_inspect_counts_the_rows_of_tables(run: Run, predictions: Path) -> None:
    assert json.loads(run("inspect", predictions, "--json")[1])["tables"]["predictions"] == {"rows": 80}


def test_that_nothing_to_read_is_no_answer(run: Run, tmp_path: Path) -> None:
    status, _, err = run("inspect", tmp_path)
    assert status == 3
    assert "Nothing was found" in err


def test_that_an_unreadable_source_is_named_and_the_rest_is_answered(run: Run, runs: Path) -> None:
    (runs / "seed_1" / "events.out.tfevents.1.host").write_bytes(b"\x93garbage" * 40)
    status, out, err = run("inspect", runs, "--json")
    assert status == 4
    document = json.loads(out)
    assert sum(bool(one["scalars"]) for one in document["runs"]) == 3
    assert any("tfevents" in one["source"] for one in document["problems"])
    assert "tfevents" in err
    assert "Traceback" not in err


def test_that_a_missing_path_beside_one_that_is_there_is_a_problem(run: Run, runs: Path) -> None:
    status, out, err = run("inspect", runs, runs / "nowhere")
    assert status == 4
    assert "3 runs" in out
    assert "nowhere" in err


# -- ask ----------------------------------------------------------------------------------------------------------------


def test_that_ask_gives_the_document_of_the_contract(run: Run, predictions: Path) -> None:
    command = ("ask", "compat.flips", predictions, "--old", "v1", "--new", "v2", "--draws", "200", "--json", "-")
    status, out, err = run(*command)
    assert (status, err) == (0, "")
    document = json.loads(out)
    assert list(document)[:3] == ["analysis", "question", "summary"]
    assert document.keys() == {
        "analysis", "question", "summary", "estimates", "tables", "notes", "problems", "provenance",
    }  # fmt: skip
    assert document["estimates"]["negative_flips"]["value"] == 4
    assert document["estimates"]["positive_flips"]["value"] == 2
    assert document["estimates"]["nfr"].keys() == {"value", "low", "high", "level", "unit"}
    assert document["question"]["draws"] == 200
    provenance = document["provenance"]
    assert provenance["runglass"] == __version__
    assert provenance["seed"] == 0
    (source,) = provenance["sources"]
    assert source["bytes"] == predictions.stat().st_size
    assert Path(source["path"]).name == "answers.csv"


def test_that_ask_writes_figures_tables_and_json_and_says_the_answer(
    run: Run, predictions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    names = ["f.pdf", "f.svg", "t.csv", "t.tex", "t.md", "t.parquet"]
    options = [part for name in names for part in ("--figure" if name[0] == "f" else "--table", out / name)]
    status, said, _ = run("ask", "compat.flips", predictions, *options, "--json", out / "a.json", "--style", "neurips")
    assert status == 0
    assert sorted(one.name for one in out.iterdir()) == sorted([*names, "a.json"])
    assert (out / "f.pdf").read_bytes().startswith(b"%PDF")
    assert len(pd.read_csv(out / "t.csv")) == len(pd.read_parquet(out / "t.parquet"))
    assert json.loads((out / "a.json").read_text())["summary"].split() == said.split("\n\n")[0].split()
    assert "negative_flips" in said


def test_that_a_figure_has_the_colours_of_the_palette_that_was_named(run: Run, runs: Path, tmp_path: Path) -> None:
    for palette, first in (("", "#4477aa"), ("okabe-ito", "#0072b2"), ("print", "#004488")):
        figure = tmp_path / f"figure{palette}.svg"
        options = ("--palette", palette) if palette else ()
        assert run("ask", "curve.smooth", runs, "--tag", "val_loss", "--figure", figure, *options)[0] == 0
        assert first in figure.read_text()


def test_that_an_unknown_palette_is_refused_before_anything_is_read(run: Run, tmp_path: Path) -> None:
    for command in (("ask", "curve.smooth", tmp_path), ("report", tmp_path, "-o", tmp_path / "report")):
        status, _, said = run(*command, "--palette", "rainbow")
        assert status == 2
        assert "no palette called 'rainbow'" in said
        assert "okabe-ito" in said


def test_that_a_report_has_the_colours_of_its_session_unless_others_are_named(
    run: Run, runs: Path, tmp_path: Path
) -> None:
    pane = {"key": "a", "kind": "analysis", "analysis": "curve.smooth", "question": {"tag": "val_loss"}}
    session = {"runglass_session": 1, "roots": [str(runs)], "panes": [pane], "palette": "okabe-ito"}
    file = tmp_path / "a.runglass.json"
    file.write_text(json.dumps(session))
    for options, first in (((), "#0072b2"), (("--palette", "print"), "#004488")):
        assert run("report", "--session", file, "-o", tmp_path / "report", *options)[0] == 0
        (script,) = (tmp_path / "report" / "figures").glob("*.py")
        assert first in script.read_text()


def test_that_every_command_without_a_window_runs_where_qt_cannot_be_imported(runs: Path, tmp_path: Path) -> None:
    words = {
        "inspect": (str(runs),),
        "list": (),
        "ask": ("curve.smooth", str(runs), "--tag", "val_loss", "--figure", "f.svg"),
        "export": (str(runs), "-o", "t.csv"),
        "report": (str(runs), "-o", "report", "--ask", "curve.smooth"),
        "docs": ("--help",),  # all its pages take a minute; what writes them is imported below
        "desktop": ("--remove",),
    }
    assert set(headless_commands()) == set(words)
    code = (
        "import sys, json\n"
        "for name in ('PySide6', 'shiboken6', 'pyqtgraph'): sys.modules[name] = None\n"
        "import runglass.analysis.report.pages\n"
        "from runglass.__main__ import main\n"
        "print([main([name, *own]) for name, own in json.loads(sys.argv[1]).items()], file=sys.stderr)\n"
    )
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data")}
    command = [sys.executable, "-c", code, json.dumps(words)]
    told = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert told.stderr.strip().endswith(str([0] * len(words))), told.stderr


def test_that_options_of_the_question_may_stand_among_the_paths(run: Run, runs: Path) -> None:
    one, two = runs / "seed_0", runs / "seed_1"
    status, out, _ = run("ask", "curve.seed-band", one, "--tag", "val_loss", two, "--log-y", "--json", "-")
    assert status == 0
    document = json.loads(out)
    assert document["question"]["log_y"] is True
    assert len(document["provenance"]["sources"]) == 2


def test_that_where_keeps_rows(run: Run, predictions: Path) -> None:
    where = ("--where", "difficulty < 20", "--where", "difficulty >= 5")
    document = json.loads(run("ask", "compat.flips", predictions, *where, "--json", "-")[1])
    assert document["estimates"]["n"]["value"] == 15
    assert document["provenance"]["where"] == "difficulty < 20 and difficulty >= 5"


def test_that_map_and_let_give_a_table_its_columns(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    rows = [f"{model},{item},{(item * 7 + model) % 3}" for model in (1, 2) for item in range(30)]
    path.write_text("\n".join(["Which Model,question,errors", *rows]) + "\n")
    command = [
        "ask",
        "compat.flips",
        path,
        "--map",
        "item=question",
        "--map",
        "model=Which Model",
        "--let",
        "correct=(errors<1)*1",
    ]
    status, out, err = run(*command, "--by", "model", "--json", "-")
    assert (status, err) == (0, "")
    document = json.loads(out)
    assert document["estimates"]["n"]["value"] == 30
    assert document["provenance"]["maps"] == [
        {"names": {"item": "question", "model": "Which Model"}, "derived": {"correct": "(errors<1)*1"}}
    ]


@pytest.mark.parametrize(
    "options",
    [("--map", "item=quetsion"), ("--let", "correct=nothing*2"), ("--where", "colour == 'red'")],
    ids=" ".join,
)
def test_that_a_column_nothing_has_is_no_answer_and_those_there_are_are_said(
    run: Run, predictions: Path, options: tuple[str, str]
) -> None:
    status, out, err = run("ask", "compat.flips", predictions, *options)
    assert (status, out) == (3, "")
    assert "version, item, correct" in err


def test_that_data_that_cannot_answer_is_said_with_what_was_found(run: Run, runs: Path) -> None:
    status, out, err = run("ask", "compat.flips", runs)
    assert (status, out) == (3, "")
    assert "needs a predictions table" in err
    assert "3 runs with 3 curves" in err


def test_that_what_cannot_be_answered_leaves_no_file(run: Run, runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    run("ask", "compat.flips", runs, "--figure", out / "f.pdf", "--json", out / "a.json")
    assert list(out.iterdir()) == []


def test_that_local_and_processes_give_the_same_answer(run: Run, predictions: Path) -> None:
    from joblib.externals.loky import get_reusable_executor

    answers = [
        json.loads(run("ask", "compat.flips", predictions, "--seed", "7", "--engine", engine, "--json", "-")[1])
        for engine in ("local", "processes")
    ]
    get_reusable_executor().shutdown(wait=True)
    assert answers[0] == answers[1]
    assert answers[0]["question"]["seed"] == 7


def test_that_a_seed_for_a_question_without_chance_is_said_to_change_nothing(run: Run, runs: Path) -> None:
    status, _, err = run("ask", "curve.smooth", runs, "--seed", "1")
    assert status == 0
    assert "--seed changes nothing" in err


# -- export -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_that_export_writes_every_point(run: Run, runs: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out.{ending}"
    assert run("export", runs, "-o", path)[0] == 0
    frame = pd.read_csv(path) if ending == "csv" else pd.read_parquet(path)
    assert list(frame.columns[:4]) == ["run", "tag", "step", "value"]
    assert len(frame) == 60
    assert frame["value"].iloc[0] == 5.0


def test_that_export_takes_the_table_that_is_there(run: Run, predictions: Path, tmp_path: Path) -> None:
    assert run("export", predictions, "-o", tmp_path / "out.csv")[0] == 0
    assert len(pd.read_csv(tmp_path / "out.csv")) == 80
    status, _, err = run("export", predictions, "-o", tmp_path / "none.csv", "--table", "comparisons")
    assert status == 3
    assert "80 rows of predictions" in err
    assert not (tmp_path / "none.csv").exists()


def test_that_all_tables_are_written_and_open_as_the_same_runs(run: Run, runs: Path, tmp_path: Path) -> None:
    status, out, _ = run("export", runs, "--tables", "-o", tmp_path / "shared")
    assert (status, out) == (0, f"{tmp_path / 'shared'}: 3 rows of runs, 60 rows of scalars\n")
    before, after = (json.loads(run("inspect", path, "--json")[1]) for path in (runs, tmp_path / "shared"))
    for one, other in zip(before["runs"], after["runs"], strict=True):
        assert other["run"] == f"shared/{one['run']}"
        assert {**other, "run": one["run"]} == one
    assert run("export", runs, "--tables", "-o", tmp_path / "shared")[0] == 2
    assert run("export", tmp_path, "--tables", "--table", "runs", "-o", tmp_path / "x")[0] == 2


@pytest.mark.parametrize("command", ["inspect", "export", "ask"])
def test_that_every_command_maps_derives_and_keeps_columns(run: Run, tmp_path: Path, command: str) -> None:
    rows = [f"{size},{budget},{1 + 1e3 * size**-0.5}" for size in (1e6, 4e6, 16e6, 64e6) for budget in (1e18, 4e18)]
    (tmp_path / "sizes.csv").write_text("\n".join(["Model Size,Budget,loss", *rows]) + "\n")
    columns = [
        "--map",
        "params=Model Size",
        "--map",
        "flops=Budget",
        "--let",
        "tokens=flops/(6*params)",
        "--where",
        "params > 2e6",
    ]
    path = tmp_path / "sizes.csv"
    if command == "inspect":
        status, out, _ = run("inspect", path, "--json", *columns)
        assert json.loads(out)["tables"]["runs"] == {"rows": 6}
    elif command == "export":
        status, _, _ = run("export", path, "-o", tmp_path / "runs.csv", *columns)
        frame = pd.read_csv(tmp_path / "runs.csv")
        assert frame["params"].min() == 4e6
        assert frame["tokens"].tolist()[0] == pytest.approx(1e18 / (6 * 4e6))
    else:
        status, out, _ = run("ask", "scaling.power-offset", path, "--json", "-", *columns)
        assert json.loads(out)["provenance"]["where"] == "params > 2e6"
    assert status == 0
    for wrong in (["--where", "params >"], ["--let", "tokens=flops/("]):
        target = ["-o", tmp_path / "never.csv"] if command == "export" else []
        identifier = ["scaling.power-offset"] if command == "ask" else []
        status, _, err = run(command, *identifier, path, *target, *wrong)
        assert status == 2
        assert "^" in err
    status, _, err = run(command, *identifier, path, *target, "--where", "nothing > 2")
    assert status == 3
    assert "No table has 'nothing', named in --where" in err


# -- the window ---------------------------------------------------------------------------------------------------------


def test_that_paths_and_options_reach_the_window(
    run: Run, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[list[str], dict[str, object]]] = []
    monkeypatch.setattr("runglass.__main__._open_window", lambda paths, **options: opened.append((paths, options)) or 0)
    session = tmp_path / "s.json"
    session.write_text("{}")
    assert run(runs, "--no-follow", "--session", session)[0] == 0
    assert run()[0] == 0
    assert run("demo")[0] == 0
    assert opened == [
        ([str(runs)], {"session": session, "layout": None, "follow": False}),
        ([], {"session": None, "layout": None, "follow": True}),
        ([], {"demo": True}),
    ]


def test_that_what_keeps_the_window_shut_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runglass.gui.system_libraries.obstacle", lambda **_: "apt-get install libegl1")
    assert run() == (1, "", "apt-get install libegl1\n")


# -- in a process of its own --------------------------------------------------------------------------------------------


def _process(code: str, *argv: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]


_WITHOUT_QT = """
import sys
for name in ("PySide6", "shiboken6", "pyqtgraph"):
    sys.modules[name] = None
from runglass.__main__ import main
status = main(sys.argv[2:])
heavy = sorted({name.partition(".")[0] for name in sys.modules} & {"matplotlib", "scipy", "statsmodels", "joblib", "tqdm"})
if sys.argv[1] == "heavy":
    print("HEAVY", *heavy)
raise SystemExit(status)
"""


def test_that_headless_commands_answer_where_qt_is_not_installed(runs: Path, predictions: Path, tmp_path: Path) -> None:
    for command in (
        ["inspect", runs],
        ["ask", "compat.flips", predictions, "--figure", tmp_path / "f.pdf"],
        ["export", runs, "-o", tmp_path / "t.csv"],
    ):
        done = _process(_WITHOUT_QT, "light", *command)
        assert (done.returncode, done.stderr) == (0, ""), command


def test_that_list_and_inspect_import_nothing_heavy(runs: Path) -> None:
    assert _process(_WITHOUT_QT, "heavy", "list").stdout.splitlines()[-1] == "HEAVY"
    assert _process(_WITHOUT_QT, "heavy", "inspect", runs).stdout.splitlines()[-1] == "HEAVY"


def test_that_a_reader_that_goes_away_is_no_fault() -> None:
    code = "import sys; from runglass.__main__ import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", code, "list", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == 0


_SLOW = """
import sys, time
from runglass.models.readers.csv_log import CsvLogReader
def read(self, source, cursor, progress):
    print("reading", flush=True)
    while True:
        progress(0, 1)
        time.sleep(0.02)
    yield
CsvLogReader.read = read
from runglass.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_that_ctrl_c_stops_at_once_and_leaves_no_file(runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    command = [sys.executable, "-c", _SLOW, "export", str(runs), "-o", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said == "Stopped.\n"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["runs"]


def test_that_a_pipe_shows_no_bar_and_a_terminal_does(
    run: Run, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("inspect", runs)[2] == ""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    import tqdm

    class Prompt(tqdm.tqdm):  # type: ignore[type-arg]
        def __init__(self, **options: object) -> None:
            super().__init__(**{**options, "delay": 0, "mininterval": 0})  # type: ignore[call-overload]

    monkeypatch.setattr(tqdm, "tqdm", Prompt)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(["inspect", str(runs)]) == 0
    capsys.readouterr()
    assert "Reading" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()


def test_that_a_fault_of_ours_is_one_line_unless_asked_for(
    run: Run, monkeypatch: pytest.MonkeyPatch, runs: Path
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("runglass.models.inspection.inspected", broken)
    status, _, err = run("inspect", runs)
    assert status == 1
    assert "ZeroDivisionError: oh" in err
    monkeypatch.setenv("RUNGLASS_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["inspect", str(runs)])
