"""The command line: arguments in, exit status out.

What it does is in ``models`` and ``analysis``; the window is imported only when it is wanted.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import logging
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .models.address import is_address
from .models.answering import PATIENCE, Answering
from .models.errors import AnalysisError, Cancelled, ExportError, ExpressionError, RunglassError, SchemaError
from .models.kernels import twin_in_use
from .models.plain_text import plain
from .resources.palettes import BUILT_IN
from .resources.version import __version__

if TYPE_CHECKING:
    from .analysis.asking import Answer, Opened
    from .models.early_reading import EarlyReading
    from .models.engine import Engine
    from .models.progress import CancellableProgress
    from .models.question import Analysis
    from .models.store import RunStore

ANSWERED, WRONG_COMMAND, NO_ANSWER, SOME_UNREAD = 0, 2, 3, 4
NO_WINDOW, INTERRUPTED = 1, 130

COMMON_OPTIONS = ("map", "let", "where", "json", "figure", "table", "style", "palette", "engine", "help")
"""Options of every question; no question may call an option of its own so (``--seed`` sets the question's seed)."""

_EXIT = """\
exit status:
  0 answered   2 the command line is wrong   3 the data cannot answer it   4 some sources, or extensions, could not be read
"""

_WINDOW_HELP = f"""\
Without a command, Runglass opens its window on the paths: folders of runs, files, patterns, or addresses (s3://, sftp:// ...).

commands (each has its own --help):
  demo                    the window on the bundled sample project
  inspect PATH...         what was found: runs, curves, tables, problems
  list                    every analysis and the question it answers
  ask ID PATH...          ask one question; numbers, figures and tables come out
  report PATH... -o DIR   a page with figures, tables, methods and sources, and the same for LaTeX
  docs -o DIR             the guide and a page of every analysis: formula, inputs, options, sources
  export PATH... -o FILE  one table of what was read, as Parquet or CSV
  desktop --install       Runglass in the menu of a Linux desktop; --remove takes it out

examples:
  runglass runs/                                     the window
  runglass inspect runs/ --json
  runglass ask curve.seed-band runs/ --figure band.pdf --style neurips
  runglass ask scaling.power-offset runs.csv --map params="Model Size" --where "loss < 4" --json -
  runglass report runs/ -o report/ --template pretraining-watch
  runglass ask calibration.ece s3://bucket/answers/ --engine dask://head:8786
  runglass export runs/ -o scalars.parquet

A folder that is called like a command is opened as ./demo. Run folders are only read, never written to.

{_EXIT}"""


class _Parser(argparse.ArgumentParser):
    """Shows help as written, and takes no shortened options: they would change meaning as options are added."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; give its exit status."""
    # Panes compute in threads of their own, on small matrices: threads of the matrix library would spin waiting for one
    # another. numpy reads this when it is imported, which is later.
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    # A log of its own would repeat, with tracebacks, what is said in sentences.
    for name in ("runglass", "matplotlib", "fontTools"):
        logging.getLogger(name).addHandler(logging.NullHandler())
    given = list(sys.argv[1:] if argv is None else argv)
    commands = _commands()
    try:
        if given and given[0] in commands:
            return commands[given[0]](given[1:])
        return _window(given)
    except SystemExit as stop:  # argparse: --help, --version or a wrong command line
        return stop.code if isinstance(stop.code, int) else WRONG_COMMAND
    except (KeyboardInterrupt, Cancelled):
        _say("Stopped.")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has gone (`runglass list | head`); what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ANSWERED
    except _WrongExpression as wrong:
        return _refused(wrong.error, WRONG_COMMAND)
    except (AnalysisError, SchemaError, ExpressionError) as error:
        return _refused(error, NO_ANSWER)
    except RunglassError as error:
        return _refused(error, WRONG_COMMAND)
    except Exception as error:
        if os.environ.get("RUNGLASS_DEBUG"):
            raise
        _say(f"runglass failed unexpectedly ({type(error).__name__}: {error}).")
        _say("This is a mistake in Runglass; with RUNGLASS_DEBUG=1 it shows where, for a report.")
        return NO_WINDOW


def _commands() -> dict[str, Callable[[list[str]], int]]:
    headless = {
        "inspect": _inspect,
        "list": _list,
        "ask": _ask,
        "export": _export,
        "report": _report,
        "docs": _docs,
        "desktop": _desktop,
    }
    return {"demo": _demo, **headless}


def headless_commands() -> tuple[str, ...]:
    """Give the names of the commands that need neither a screen nor Qt."""
    return tuple(name for name in _commands() if name != "demo")


# -- the window ---------------------------------------------------------------------------------------------------------


def _window(argv: list[str]) -> int:
    parser = _Parser(prog="runglass", usage="runglass [COMMAND] [PATH...] [OPTION]...", description=_WINDOW_HELP)
    parser.add_argument("paths", nargs="*", metavar="PATH", help="folder, file, pattern or address to open")
    parser.add_argument("--session", type=Path, metavar="FILE", help="session to open")
    parser.add_argument("--layout", type=Path, metavar="FILE", help="session whose panes are applied to the paths")
    parser.add_argument("--no-follow", action="store_true", help="do not look for what is new in growing files")
    said = f"runglass {__version__} (kernels: {twin_in_use()})"
    parser.add_argument("--version", action="version", version=said)
    asked = parser.parse_intermixed_args(argv)
    for file in (asked.session, asked.layout):
        if file is not None and not file.is_file():
            parser.error(f"there is no file {file}")
    _require_paths(parser, asked.paths, patience=PATIENCE)
    return _open_window(asked.paths, session=asked.session, layout=asked.layout, follow=not asked.no_follow)


def _demo(argv: list[str]) -> int:
    parser = _Parser(prog="runglass demo", description="Open the window on the bundled sample project.")
    parser.parse_args(argv)
    return _open_window([], demo=True)


def _open_window(paths: list[str], **options: Any) -> int:
    from .gui.system_libraries import obstacle

    in_the_way = obstacle(headless=headless_commands())
    if in_the_way is not None:
        _say(in_the_way)
        return NO_WINDOW
    begun = _begun_reading(paths) if options.get("session") is None else None
    from .gui import quick_start

    quick_start.begin()
    from .gui.app import main as open_window

    return open_window(paths, begun=begun, **options)


def _begun_reading(paths: list[str]) -> EarlyReading | None:
    """Begin to read while Qt is imported; a session file says itself what is to be read."""
    if not paths or paths[0].endswith(".runglass.json"):
        return None
    from .models.early_reading import EarlyReading

    return EarlyReading([path if is_address(path) else str(Path(path).absolute()) for path in paths])


# -- inspect, list, export ----------------------------------------------------------------------------------------------


def _inspect(argv: list[str]) -> int:
    parser = _Parser(
        prog="runglass inspect", description="Say what was found: runs, curves, tables, problems.", epilog=_EXIT
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="folder, file, pattern or address")
    parser.add_argument("--json", action="store_true", help="all of it, as JSON on standard output")
    _add_columns(parser)
    asked = parser.parse_intermixed_args(argv)
    _require_paths(parser, asked.paths)
    from .models.inspection import inspected

    store = _opened(asked.paths, *_columns(asked)).store
    document = inspected(store)
    if asked.json:
        _write_json(document)
    else:
        _write_inspection(document)
    if not document["runs"] and not document["untyped"] and not any(one["rows"] for one in document["tables"].values()):
        _say_problems(store)
        raise AnalysisError("Nothing was found that can be read.", remedy="'runglass --help' says what can be opened.")
    return _say_problems(store)


def _write_inspection(document: dict[str, Any]) -> None:
    runs = document["runs"]
    width = min(max((len(run["run"]) for run in runs), default=0), 60)
    for run in runs:
        last = max((one["last_step"] for one in run["scalars"].values() if one["last_step"] is not None), default=None)
        points = sum(one["points"] for one in run["scalars"].values())
        ended = "" if last is None else f", to step {last:,.10g}"
        curves = f"{len(run['scalars'])} curves, {points:,} points{ended}"
        _write(f"{run['run']:<{width}}  {run['status']:<9} {run['reader']:<12} {curves}")
    if runs:
        _write("")
    _write(f"{len(runs):,} runs, {sum(len(run['scalars']) for run in runs):,} curves")
    for name, one in document["tables"].items():
        rows = one["rows"] - (len(runs) if name == "runs" else 0)
        if rows > 0 and name != "scalars":
            _write(f"{rows:,} rows of {name}")
    for one in document["untyped"]:
        _write(f"{one['source']}: a table to be mapped; columns {', '.join(one['columns'])}")


_EXPORT_HELP = f"""\
Write one table of what was read, or all of them (--tables) as a folder of Parquet files: Runglass opens it as the same runs,
with their curves, configuration and status, so that what was read once can be shared.

{_EXIT}"""


def _list(argv: list[str]) -> int:
    parser = _Parser(prog="runglass list", description="Every analysis and the question it answers.")
    parser.add_argument(
        "--json", action="store_true", help="with inputs, options and sources, as JSON on standard output"
    )
    asked = parser.parse_args(argv)
    from .analysis.asking import catalogue_entry
    from .analysis.registry import broken_analyses, catalogue
    from .analysis.templates import broken_templates
    from .resources.palettes import broken_palettes

    entries = [catalogue_entry(one) for one in catalogue()]
    broken = [*broken_analyses(), *broken_templates(), *broken_palettes()]
    for one in broken:
        _say(one)
    status = SOME_UNREAD if broken else ANSWERED
    if asked.json:
        _write_json(entries)
        return status
    width = max(len(entry["id"]) for entry in entries)
    for entry in entries:
        _write(f"{entry['id']:<{width}}  {entry['question']}")
    _write(f"\n'runglass ask {entries[0]['id']} --help' shows the options of one.")
    return status


def _export(argv: list[str]) -> int:
    tables = ("scalars", "runs", "scores", "predictions", "comparisons")
    parser = _Parser(prog="runglass export", description=_EXPORT_HELP)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="folder, file, pattern or address")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="FILE.parquet or FILE.csv; with --tables a new folder",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--table", choices=tables, help="default: the first of these that has rows")
    which.add_argument("--tables", action="store_true", help="all of them, as a folder of Parquet files")
    _add_columns(parser)
    asked = parser.parse_intermixed_args(argv)
    _require_paths(parser, asked.paths)
    if asked.tables:
        return _export_tables(asked)
    if asked.output.suffix.lower() not in (".parquet", ".csv"):
        parser.error(f"{asked.output} ends neither in .parquet nor in .csv")
    from .analysis.report.tables import export_table
    from .models.inspection import found, rows_of_tables

    store = _opened(asked.paths, *_columns(asked)).store
    rows = rows_of_tables(store)
    table = asked.table or next((name for name in tables if rows[name]), "scalars")
    if not rows[table]:
        _say_problems(store)
        raise AnalysisError(f"There are no rows of {table}.", remedy=f"Found: {found(store)}.")
    export_table(store.rows(table), asked.output)
    _write(f"{asked.output}: {rows[table]:,} rows of {table}")
    return _say_problems(store)


def _export_tables(asked: argparse.Namespace) -> int:
    from .analysis.report.table_folder import export_tables
    from .models.inspection import found

    store = _opened(asked.paths, *_columns(asked)).store
    if not any(map(store.has_rows, ("runs", "scores", "predictions", "comparisons"))):
        _say_problems(store)
        raise AnalysisError("There is nothing to export.", remedy=f"Found: {found(store)}.")
    with _progress("Writing") as progress:
        rows = export_tables(store, asked.output, progress)
    said = ", ".join(f"{number:,} rows of {name}" for name, number in rows.items())
    _write(f"{asked.output}: {said}")
    return _say_problems(store)


# -- ask ----------------------------------------------------------------------------------------------------------------


def _ask(argv: list[str]) -> int:
    if not argv or argv[0].startswith("-"):
        parser = _Parser(prog="runglass ask", usage="runglass ask ID PATH... [OPTION]...", description=_ASK_HELP)
        parser.parse_args([one for one in argv if one in ("-h", "--help")])
        parser.error("the id of a question comes first; 'runglass list' shows all of them")
    from .analysis.registry import analysis as analysis_called

    analysis = analysis_called(argv[0])
    parser = _ask_parser(analysis)
    asked = parser.parse_intermixed_args(argv[1:])
    _require_paths(parser, asked.paths)
    options = {
        one.name: one.parsed(text)
        for one in analysis.question.options()
        if (text := getattr(asked, f"option_{one.name}", None)) is not None
    }
    from .analysis.asking import ask

    _check_outputs(asked)
    with _engine(asked.engine) as engine:
        data = _opened(asked.paths, *_columns(asked))
        if getattr(asked, "ignored_seed", None) is not None:
            _say(f"{analysis.id} draws nothing at random: --seed changes nothing.")
        try:
            with _progress(analysis.title) as progress:
                answer = ask(analysis, options, data, engine=engine, progress=progress)
        except AnalysisError:
            _say_problems(data.store)
            raise
    _write_answer(answer, asked)
    return _say_problems(data.store)


_ASK_HELP = f"""\
Ask one question of what lies at some paths. 'runglass list' shows the questions, 'runglass ask ID --help' the options of one.

{_EXIT}"""


def _ask_parser(analysis: Analysis) -> _Parser:
    parser = _Parser(
        prog=f"runglass ask {analysis.id}",
        usage=f"runglass ask {analysis.id} PATH... [OPTION]...",
        description=textwrap.fill(analysis.asks, 100),
        epilog=_EXIT,
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="folder, file, pattern or address")
    own = parser.add_argument_group("options of the question")
    for one in analysis.question.options():
        switch: dict[str, Any] = {"nargs": "?", "const": "yes"} if one.type == "boolean" else {}
        own.add_argument(
            f"--{one.name.replace('_', '-')}",
            dest=f"option_{one.name}",
            metavar="|".join(one.fixed) or one.type.upper(),
            **switch,
            help=_option_help(one.help, one.unit, one.default),
        )
    _add_columns(parser)
    out = parser.add_argument_group("output")
    out.add_argument("--json", metavar="FILE|-", help="the whole answer as JSON; - is standard output")
    out.add_argument(
        "--figure", action="append", default=[], type=Path, metavar="FILE.pdf|svg|png|eps", help="the figure"
    )
    out.add_argument(
        "--table", action="append", default=[], type=Path, metavar="FILE.csv|md|tex|parquet", help="the table"
    )
    out.add_argument(
        "--style", default="wide", metavar="VENUE", help="width and type of figures: neurips, icml-double ... (wide)"
    )
    _add_palette(out)
    if not any(one.name == "seed" for one in analysis.question.options()):
        out.add_argument(
            "--seed", dest="ignored_seed", type=int, metavar="N", help="this question draws nothing at random"
        )
    _add_engine(out)
    return parser


def _option_help(text: str, unit: str, default: Any) -> str:
    said = ", ".join(default) if isinstance(default, tuple) else default
    said = {True: "yes", False: "no"}.get(said, said) if isinstance(said, bool) else said
    shown = "from the data" if said in (None, "") else str(said)
    return f"{text}{f' [{unit}]' if unit else ''} ({shown})".replace("%", "%%")


def _check_outputs(asked: argparse.Namespace) -> None:
    """Refuse what could not be written before anything is computed."""
    from .analysis.report.export import format_of
    from .analysis.report.styles import style_named
    from .analysis.report.tables import FORMATS

    style_named(asked.style, asked.palette)
    for path in asked.figure:
        format_of(path)
    for path in asked.table:
        if path.suffix.lower().lstrip(".") not in FORMATS:
            raise ExportError(
                f"A table cannot be written as {path.name!r}.", remedy=f"End its name in .{', .'.join(FORMATS)}."
            )
    for path in (*asked.figure, *asked.table, *([Path(asked.json)] if asked.json not in (None, "-") else [])):
        if not path.parent.is_dir():
            raise ExportError(
                f"{path} cannot be written: there is no folder {path.parent}.", remedy="Make the folder first."
            )


def _write_answer(answer: Answer, asked: argparse.Namespace) -> None:
    from .analysis.report.atomic import write_whole
    from .analysis.report.export import export_figure
    from .analysis.report.styles import style_named
    from .analysis.report.tables import answer_table, export_table
    from .models.result import with_interval

    for path in asked.figure:
        export_figure(answer.figure(), path, style_named(asked.style, asked.palette))
    for path in asked.table:
        export_table(answer_table(answer.result), path)
    if asked.json == "-":
        _write_json(answer.to_json())
        return
    if asked.json is not None:
        write_whole(Path(asked.json), _json_bytes(answer.to_json()))
    _write(textwrap.fill(answer.result.summary(), 100))
    width = max((len(name) for name in answer.result.estimates), default=0)
    _write("")
    for name, one in answer.result.estimates.items():
        _write(f"  {name:<{width}}  {with_interval(one.value, one.low, one.high)} {one.unit}".rstrip())
    if answer.result.estimates:
        _write("")
    for note in answer.result.notes:
        _write(textwrap.fill(note, 100, initial_indent="- ", subsequent_indent="  "))


# -- report -------------------------------------------------------------------------------------------------------------

_REPORT_HELP = f"""\
Write a report: report.html, which opens offline, report.tex, the figures and tables of both, and provenance.json.

What it shows: the panes of --session or --template, the questions of --ask, or, where none is given, all that the templates
ask and the data can answer.

{_EXIT}"""


def _report(argv: list[str]) -> int:
    parser = _Parser(
        prog="runglass report", usage="runglass report PATH... -o DIR [OPTION]...", description=_REPORT_HELP
    )
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="folder, file, pattern or address; of --session if left out"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument("--session", type=Path, metavar="FILE", help="session whose panes and words are written")
    parser.add_argument("--template", metavar="NAME", help="template whose panes are written")
    parser.add_argument("--ask", action="append", default=[], metavar="ID", help="analysis to answer as well")
    parser.add_argument("--title", default="", help="title of the report")
    _add_columns(parser)
    parser.add_argument("--style", default="wide", metavar="VENUE", help="width and type of figures (wide)")
    _add_palette(parser)
    _add_engine(parser)
    asked = parser.parse_intermixed_args(argv)
    if asked.session is not None and asked.template is not None:
        parser.error("--session and --template are two answers to one question: give one of them")
    if not asked.paths and asked.session is None:
        parser.error("name what to report on: a PATH or a --session")
    _require_paths(parser, asked.paths)
    from .analysis.report.document import write_report
    from .analysis.report.styles import style_named
    from .analysis.session_report import chosen_session, completed, report_of, without_refusals
    from .models.result import counted
    from .models.selection import both

    style_named(asked.style, asked.palette)
    maps, where = _columns(asked)
    session = chosen_session(asked.session, asked.template, asked.paths)
    style = style_named(asked.style, asked.palette or session.palette)
    is_our_choice = asked.session is None and asked.template is None and not asked.ask
    with _engine(asked.engine) as engine:
        data = _opened(session.roots, (*session.maps, *maps), both(session.filter, where), session.text_patterns)
        session = completed(session, data.store, asked.ask, asked.title, choose=is_our_choice)
        with _progress("Answering") as progress:
            document = report_of(session, data, engine=engine, progress=progress)
    if is_our_choice or asked.template is not None:
        document = without_refusals(document)
    if not any(section.result is not None for section in document.sections):
        _say_problems(data.store)
        said = " ".join(dict.fromkeys([section.refusal for section in document.sections if section.refusal][:3]))
        raise AnalysisError("There is nothing to report.", remedy=said or "Open learning curves or tables.")
    with _progress("Drawing") as progress:
        files = write_report(document, asked.output, style=style, progress=progress)
    _write(f"{files[0]}: {counted(len(document.sections), 'section')}")
    return _say_problems(data.store)


def _docs(argv: list[str]) -> int:
    parser = _Parser(prog="runglass docs", description="Write the guide and a page of every analysis as HTML.")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder; made where it is missing"
    )
    asked = parser.parse_args(argv)
    from .analysis.report.pages import write_pages

    with _progress("Writing") as progress:
        count = write_pages(asked.output, progress)
    _write(f"{asked.output / 'index.html'}: {count} pages")
    return ANSWERED


_DESKTOP_HELP = f"""\
Put Runglass into the menu of a Linux desktop: a desktop entry that starts this installation, its icon, and the type of
session files (*.runglass.json), so that a file manager opens them. All is written below XDG_DATA_HOME (~/.local/share).

{_EXIT}"""


def _desktop(argv: list[str]) -> int:
    parser = _Parser(prog="runglass desktop", description=_DESKTOP_HELP)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--install", action="store_true", help="write them; what is there is replaced")
    which.add_argument("--remove", action="store_true", help="remove them")
    asked = parser.parse_args(argv)
    from .gui.desktop_entry import data_home, install, launch_command, remove

    for line in install(data_home(), launch_command()) if asked.install else remove(data_home()):
        _write(line)
    return ANSWERED


# -- plumbing -----------------------------------------------------------------------------------------------------------


def _add_columns(parser: argparse.ArgumentParser) -> None:
    """Add what says how columns are read, which are derived and which rows are kept."""
    data = parser.add_argument_group("data")
    data.add_argument("--map", action="append", default=[], metavar="COLUMN=NAME", help="read column NAME as COLUMN")
    data.add_argument("--let", action="append", default=[], metavar="NAME=EXPR", help="derive a column")
    data.add_argument("--where", action="append", default=[], metavar="EXPR", help="keep rows for which it holds")


def _add_engine(parser: argparse._ActionsContainer) -> None:
    """Add what says where heavy work runs."""
    parser.add_argument(
        "--engine",
        default="local",
        metavar="local|processes|dask://HOST:PORT",
        help="where heavy work runs: in this process, on all cores, or on a Dask cluster that is there (local)",
    )


def _add_palette(parser: argparse._ActionsContainer) -> None:
    """Add what says which colours runs and groups have."""
    names = ", ".join(BUILT_IN)
    parser.add_argument(
        "--palette", default="", metavar="NAME", help=f"colours of figures: {names}, or one that was installed"
    )


@contextlib.contextmanager
def _engine(name: str) -> Iterator[Engine]:
    """Give the engine a command line names, and let go of it in the end.

    A cluster is looked for at once: reading may take minutes after which there would be no answer.
    """
    from .models.engine import CLUSTER_PROTOCOL, engine_named

    engine = engine_named(name)
    try:
        if name.startswith(CLUSTER_PROTOCOL):
            from .models.cluster import Cluster

            assert isinstance(engine, Cluster)
            engine.look()
        yield engine
    finally:
        engine.close()


class _WrongExpression(Exception):
    """An expression on the command line could not be understood; that is a wrong command, not data that lacks something."""

    def __init__(self, error: ExpressionError) -> None:
        self.error = error
        super().__init__(str(error))


def _columns(asked: argparse.Namespace) -> tuple[tuple[Any, ...], Any]:
    """Give column maps and condition of a command line."""
    from .analysis.asking import column_map, conditions

    try:
        return column_map(asked.map, asked.let), conditions(asked.where)
    except ExpressionError as error:
        raise _WrongExpression(error) from None


def _opened(
    paths: Sequence[str], maps: tuple[Any, ...] = (), where: Any = None, patterns: tuple[Any, ...] = ()
) -> Opened:
    from .analysis.asking import opened
    from .models.selection import EVERYTHING

    with _progress("Reading") as progress:
        return opened(paths, maps, EVERYTHING if where is None else where, progress, patterns=patterns)


def _require_paths(parser: argparse.ArgumentParser, paths: list[str], patience: float | None = None) -> None:
    """Refuse a command line none of whose paths is there; where only some are missing the rest is answered.

    A window waits no longer than `patience` (seconds) for paths to answer: it says itself which do not.
    """
    here = [path for path in paths if not is_address(path)]
    silent = Answering(patience).silent(here) if patience is not None else frozenset()
    there = [is_address(path) or path in silent or os.path.lexists(path) or glob.has_magic(path) for path in paths]
    if paths and not any(there):
        parser.error(f"there is no file or folder {paths[0]}" + (" (nor any of the others)" if len(paths) > 1 else ""))


@contextlib.contextmanager
def _progress(what: str) -> Iterator[CancellableProgress]:
    """Give a progress that shows a bar on a terminal, nothing in a pipe, and is cancelled by Ctrl-C."""
    from .models.progress import CancellableProgress

    bar: Any = None

    def show(done: int, total: int, _now: str) -> None:
        bar.total = total
        bar.update(done - bar.n)

    if sys.stderr.isatty():
        from tqdm import tqdm

        bar = tqdm(desc=what, leave=False, file=sys.stderr, delay=0.3, unit="", dynamic_ncols=True)
    progress = CancellableProgress(show if bar is not None else None)

    def stop(_signal: int, _frame: object) -> NoReturn:
        progress.cancel()  # threads that read look at it
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGINT, stop)
    except ValueError:  # not in the main thread, where no signal arrives
        before = None
    try:
        yield progress
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)
        if bar is not None:
            bar.close()


def _say_problems(store: RunStore, most: int = 50) -> int:
    """List on standard error what could not be read; give the exit status that says whether there was any."""
    from .models.inspection import all_problems

    problems = all_problems(store)
    for one in problems[:most]:
        _say(f"{one.source}: {one.what}")
    if len(problems) > most:
        _say(f"and {len(problems) - most:,} more; 'runglass inspect --json' lists all of them")
    return SOME_UNREAD if problems else ANSWERED


def _refused(error: RunglassError, status: int) -> int:
    _say(f"runglass: {error}")
    if isinstance(error, ExpressionError) and error.text:
        _say(f"  {error.text}\n  {' ' * error.position}^")
    return status


def _json_bytes(document: Any) -> bytes:
    import orjson

    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str) + b"\n"


def _write_json(document: Any) -> None:
    sys.stdout.write(_json_bytes(document).decode())


def _write(line: str) -> None:
    # A name of a run must not act on the terminal it is written to.
    sys.stdout.write(f"{plain(line)}\n")


def _say(line: str) -> None:
    sys.stderr.write(f"{plain(line)}\n")


if __name__ == "__main__":
    raise SystemExit(main())
