"""Fuzzes what reads bytes and texts of others, led by coverage: ``python tests/fuzz/fuzz_with_coverage.py --seconds 60``.

libFuzzer mutates what reached new lines of `runglass.models`. It needs Atheris, on which nothing else depends; where it is to
be had (Linux, CPython 3.11 and later) it goes into an environment of its own::

    python3.11 -m venv build/fuzz && build/fuzz/bin/pip install -e ".[dev]" atheris

Targets are of three kinds. ``folder NAME`` writes the input in place of one file of a fixture and opens the folder, at once or
in two steps as a log grows. ``records NAME`` and ``archive NAME`` cut the input at a mark and put the pieces into event files,
W&B logs or archives whose checksums are right, so that what is behind the checksum is reached. The others are given a text.

A finding is an exception nobody foresaw, a folder that was changed, a reading of more than twenty seconds, more than the memory
allowed, or a crash of the interpreter. Each kind is kept once, in the folder ``--keep``; `repeat` tries such a file again.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import resource
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DATA = HERE.parent / "data"
MARK = b"\xf0\x9f\xa7\xa9"
"""Between the records of an input; it occurs in no fixture."""
MOST_BYTES = 24_000
"""Size of an input: what is longer takes longer and reaches nothing new."""
SECONDS_EACH = 20

Files = dict[str, bytes]
Target = Callable[[bytes], None]


# -- what an input becomes ------------------------------------------------------------------------------------------------


def framed_events(parts: list[bytes]) -> bytes:
    """Give an event file of records whose checksums are right."""
    from test_every_reader import record

    return b"".join(map(record, parts))


def framed_log(head: bytes) -> Callable[[list[bytes]], bytes]:
    """Give what writes records into blocks, as W&B and SwanLab do."""

    def framed(parts: list[bytes]) -> bytes:
        out = bytearray(head)
        for part in parts:
            kind, first = 1, True
            while first or part:
                left = (1 << 15) - len(out) % (1 << 15)
                if left < 7:
                    out += bytes(left)
                    continue
                piece, part = part[: left - 7], part[left - 7 :]
                kind = (1 if not part else 2) if first else (4 if not part else 3)
                first = False
                out += struct.pack("<IHB", zlib.crc32(piece, zlib.crc32(bytes((kind,)))), len(piece), kind) + piece
        return bytes(out)

    return framed


def archived(names: list[str]) -> Callable[[list[bytes]], bytes]:
    """Give what writes parts as the entries of an archive."""

    def written(parts: list[bytes]) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as file:
            for name, part in zip(names, parts, strict=False):
                file.writestr(name, part)
        return out.getvalue()

    return written


def records_of(data: bytes) -> list[bytes]:
    """Give the records of a log in blocks."""
    from runglass.models.readers.framing import FramedFile

    return list(FramedFile(io.BytesIO(data)).records(len(data)))


def entries_of(data: bytes) -> dict[str, bytes]:
    """Give the entries of an archive."""
    import pyarrow as pa

    found = {}
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        for info in file.infolist():
            if info.compress_type != 93:
                found[info.filename] = file.read(info)
                continue
            begin = info.header_offset + 30 + sum(struct.unpack_from("<HH", data, info.header_offset + 26))
            packed = pa.BufferReader(data[begin : begin + info.compress_size])
            found[info.filename] = pa.input_stream(packed, compression="zstd").read()
    return found


def small_database(path: Path) -> bytes:
    """Give a database of a fixture in pages of 512 bytes, without indices and what stands in no row."""
    with tempfile.TemporaryDirectory() as made:
        copy = Path(made) / path.name
        shutil.copy(path, copy)
        database = sqlite3.connect(copy, isolation_level=None)
        named = database.execute("SELECT type, name FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        database.execute("PRAGMA foreign_keys = off")
        for kind, name in named:
            is_empty = kind == "table" and not database.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone()
            if kind in ("index", "trigger") or is_empty:
                database.execute(f'DROP {kind} "{name}"')
        database.execute("PRAGMA journal_mode = delete")
        database.execute("PRAGMA page_size = 512")
        database.execute("VACUUM")
        database.close()
        return copy.read_bytes()


# -- targets that open a folder -------------------------------------------------------------------------------------------


class Opened:
    """Opens a folder in which one file is the input."""

    def __init__(self, files: Files, made: Mapping[str, Callable[[list[bytes]], bytes]] | None = None) -> None:
        self._names = sorted(made or files)
        self._made = made
        self._files = files
        where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self._kept = tempfile.TemporaryDirectory(prefix="runglass-fuzz-", dir=where)
        self._folder = Path(self._kept.name) / "opened"
        for name, data in files.items():
            self._write(name, data)

    def seeds(self) -> Iterator[bytes]:
        """Give the files as inputs, read at once and in two steps."""
        for number, name in enumerate(self._names):
            for steps in range(2):
                yield bytes((number, steps)) + self._files[name]

    def __call__(self, data: bytes) -> None:
        from runglass.models.loader import Loader
        from runglass.models.store import RunStore

        if len(data) < 2:
            return
        name = self._names[data[0] % len(self._names)]
        content = data[2:] if self._made is None else self._made[name](data[2:].split(MARK))
        store, loader = RunStore(), Loader([self._folder], workers=1)
        if data[1] % 2:
            self._write(name, content[: len(content) // 2])
            for batch in loader.new_events():
                store = store.adding(batch)
        self._write(name, content)
        for batch in loader.new_events():
            store = store.adding(batch)
        for problem in (*store.problems, *store.table_problems):
            if "unexpectedly" in problem.what:
                raise AssertionError(problem.what)
        for table in ("runs", "scalars", "scores", "predictions", "comparisons"):
            if store.has_rows(table) and not store.table_problems:
                store.first_rows(table)
        there = {str(path.relative_to(self._folder)) for path in self._folder.rglob("*") if path.is_file()}
        if there != {*self._files, name}:
            raise AssertionError(f"the folder holds {there ^ {*self._files, name}}")

    def _write(self, name: str, data: bytes) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


class Records(Opened):
    """Opens a folder in which one file is made of the records of the input."""

    def __init__(self, name: str, parts: list[bytes], made: Callable[[list[bytes]], bytes]) -> None:
        self._parts = parts
        super().__init__({name: made(parts)}, {name: made})

    def seeds(self) -> Iterator[bytes]:
        """Give the records that were found, all and few of them."""
        for steps in range(2):
            yield bytes((0, steps)) + MARK.join(self._parts[:200])
            yield bytes((0, steps)) + MARK.join(self._parts[:4])


def folders() -> Iterator[tuple[str, Callable[[], Opened]]]:
    """Give the targets that open a folder, by name."""
    from test_every_reader import GENERATED, events

    for name, make in GENERATED.items():
        if name != "aim":
            yield f"folder {name}", lambda make=make: Opened(make())
    for folder in sorted(path for path in DATA.iterdir() if (path / "make.py").is_file()):
        files = {
            str(path.relative_to(folder)): path
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.suffix not in (".py", ".db")
        }
        small = {name: path for name, path in files.items() if path.stat().st_size < MOST_BYTES}
        if small:
            yield f"folder {folder.name}", lambda small=small: Opened({n: p.read_bytes() for n, p in small.items()})
    for path in sorted(DATA.rglob("*.db")):
        yield f"database {path.name}", lambda path=path: Opened({path.name: small_database(path)})
    yield "records tensorboard", lambda: Records("events.out.tfevents.1700000000.host", list(events()), framed_events)
    for kind in ("wandb", "swanlab"):
        for path in sorted((DATA / kind).rglob(f"*.{kind}"))[:1]:
            head = path.read_bytes()[:7]
            yield (
                f"records {kind}",
                lambda path=path, head=head: Records(path.name, records_of(path.read_bytes()), framed_log(head)),
            )
    npz = {"table": "t/d.npz", "stable baselines": "ppo/evaluations.npz"}
    for kind, name in npz.items():

        def arrays(kind: str = kind, name: str = name) -> Opened:
            entries = entries_of(GENERATED[kind]()[name])
            return Records(name, list(entries.values()), archived(list(entries)))

        yield f"archive {kind}", arrays
    for path in sorted((DATA / "inspect").glob("*.eval")):

        def evaluation(path: Path = path) -> Opened:
            entries = entries_of(path.read_bytes())
            return Records(path.name, list(entries.values()), archived(list(entries)))

        yield f"archive {path.name}", evaluation


# -- targets that are given a text ----------------------------------------------------------------------------------------


def expression(data: bytes) -> None:
    """Parse an expression and compute it on columns of every kind."""
    import numpy as np
    import pandas as pd

    from runglass.models.errors import ExpressionError
    from runglass.models.expression import parse

    frame = pd.DataFrame(
        {
            "loss": [1.0, float("nan"), -2.0],
            "n": [1, 2, 3],
            "ok": [True, False, True],
            "name": ["a", None, "b"],
            "mixed": [1, "a", None],
            "when": pd.to_datetime(["2026-01-01", "2026-01-02", None]),
            "kind": pd.Categorical(["x", "y", "x"]),
            "whole": pd.array([1, None, 3], dtype="Int64"),
            "config.lr": [0.1, 0.2, np.inf],
        }
    )
    try:
        parsed = parse(data.decode("utf-8", "replace"))
        assert len(parsed.values(frame)) == len(frame)
        parsed.mask(frame)
    except ExpressionError as error:
        assert str(error)
        assert 0 <= error.position <= len(error.text)


def text_pattern(data: bytes) -> None:
    """Read lines with the pattern of a user."""
    from runglass.models.errors import ExpressionError, ReadError
    from runglass.models.text_pattern import TextPattern

    regex, _, text = data.decode("utf-8", "replace").partition("\n")
    try:
        pattern = TextPattern("mine", "*.log", regex)
        pattern.preview(text or "step 10 loss 1.5 acc=0.7\n[20] a=1 b=nan\n" + "a" * 900)
    except (ExpressionError, ReadError) as error:
        assert str(error)


def session(data: bytes) -> None:
    """Read a session file, write it and read it again."""
    import orjson

    from runglass.models.errors import SessionError
    from runglass.models.session import from_json, to_json

    try:
        opened = from_json(orjson.loads(data), Path("/somewhere"))
    except orjson.JSONDecodeError:
        return
    except SessionError as error:
        assert str(error)
        return
    try:
        written = orjson.dumps(to_json(opened, Path("/somewhere")), option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        raise AssertionError(f"it was read and cannot be written: {error}") from error
    assert from_json(orjson.loads(written), Path("/somewhere")) == opened


def question(data: bytes) -> None:
    """Read the options of an analysis from JSON values and from a command line."""
    import orjson

    from runglass.analysis.registry import analysis, ids
    from runglass.models.errors import RunglassError

    if not data:
        return
    kind = analysis(ids()[data[0] % len(ids())]).question
    text = data[1:].decode("utf-8", "replace")
    for opt in kind.options():
        try:
            opt.parsed(text)
        except RunglassError as error:
            assert str(error)
    try:
        value = orjson.loads(data[1:])
    except orjson.JSONDecodeError:
        return
    if isinstance(value, dict):
        try:
            asked = kind.from_json(value)
        except RunglassError as error:
            assert str(error)
            return
        assert kind.from_json(orjson.loads(orjson.dumps(asked.to_json()))) == asked
        hash(asked)


def column_map(data: bytes) -> None:
    """Apply a map with names and expressions of a user."""
    import pandas as pd

    from runglass.models.column_map import ColumnMap, table_of
    from runglass.models.errors import ExpressionError

    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", None], "c d": [1, 2]})
    words = data.decode("utf-8", "replace").split("\n")
    pairs = list(zip(words[1::2], words[2::2], strict=False))
    mapped = ColumnMap(tuple(pairs[:2]), tuple(pairs[2:]), words[0])
    mapped.applies_to("folder/file.csv")
    try:
        table_of(mapped.applied(frame))
    except ExpressionError as error:
        assert str(error)


def configuration(data: bytes) -> None:
    """Read YAML and JSON as configuration."""
    from runglass.models.configuration import flattened, yaml_document
    from runglass.models.errors import ReadError
    from runglass.models.json_document import json_value

    for read in (yaml_document, json_value):
        try:
            value = read(data)
        except ReadError as error:
            assert str(error)
            continue
        if isinstance(value, dict):
            flat = flattened(value)
            assert all(one is None or isinstance(one, str | int | float) for one in flat.values())
            json.dumps(flat)


TEXTS: Mapping[str, tuple[Target, tuple[bytes, ...]]] = {
    "expression": (
        expression,
        (
            b"loss < 4 and family == 'a'", b"`config.lr` / (6 * n)", b"config.lr ** -n", b"name in ['a', None]",
            b"not ok | ok", b"1 < n <= 2 < loss", b"when > '2026-01-01'", b"log10(abs(loss)) % 3 // whole", b"-mixed + kind",
            b"round(loss, 2) != n", b"name not in (1, {2})",
        ),
    ),
    "text pattern": (
        text_pattern,
        (
            rb"step (?P<step>\d+).*?loss (?P<loss>\S+)", rb"^\[(?P<step>\d+)\]|(?P<tag>\w+)=(?P<value>\S+)",
            rb"(?P<wall_time>\S+ \S+) (?P<total>\d+) (?P<a>[\d.e+-]+)" + b"\n2026-01-31 12:00:00 5 1.5e3",
        ),
    ),
    "session": (
        session,
        (
            b'{"runglass_session": 1, "roots": ["a"], "filter": {"all": [{"is_in": "x", "values": [1, "a", null]},'
            b' {"not": {"between": "y", "low": 1, "high": 2.5}}]}, "highlight": {"holds": "loss < 3"}}',
            b'{"runglass_session": 1, "ticked": ["a"], "panes": [{"key": "a", "kind": "analysis", "analysis": "compat.flips",'
            b' "question": {"old": "v1"}}], "curves": {"smoother": "ema", "weight": 0.5, "pinned": ["a"]}}',
            b'{"runglass_session": 1, "maps": [{"names": [["a", "b"]], "derived": [["c", "a*2"]], "pattern": "*",'
            b' "table": ""}], "text_patterns": [{"name": "n", "glob": "*", "regex": "(?P<a>.)"}], "grouping": {'
            b'"keys": ["seed"], "everything_except": true}, '
            b'"report": {"title": "t", "parts": [{"pane": "a"}]}, "step_cursor": 3}',
        ),
    ),
    "question": (
        question, (b'\x00{"level": 0.9}', b'\x10{"old": "v1", "tags": ["a"], "limit": null}', b"\x200.5", b"\x30a, b"),
    ),
    "column map": (column_map, (b"*.csv\nparams\na\ntokens\nc d\nflops\na * `c d`\nx\nb == 'x'",)),
    "configuration": (
        configuration,
        (b"lr: 1e-4\nmodel: &m {name: a, deep: [1, {b: 2}]}\nother: {<<: *m, x: ~}\n", b'{"a": {"value": 1, "desc": null}}'),
    ),
}  # fmt: skip


# -- one target, in a process of its own ------------------------------------------------------------------------------------


def where(error: BaseException) -> str:
    """Say where an error was raised, in our own code if it went through it."""
    at, found = error.__traceback__, ""
    while at is not None:
        file = Path(at.tb_frame.f_code.co_filename)
        if file.name != Path(__file__).name:
            found = f"{file.name}:{at.tb_lineno}"
        at = at.tb_next
    return found


def lines(error: BaseException) -> list[int]:
    """Give the lines an error went through."""
    found, at = [], error.__traceback__
    while at is not None:
        found.append(at.tb_lineno)
        at = at.tb_next
    return found


def targets() -> dict[str, tuple[Callable[[], Target], Callable[[Target], Iterator[bytes]]]]:
    """Give what makes each target and its first inputs, by name."""
    made: dict[str, Any] = {name: (make, lambda target: target.seeds()) for name, make in folders()}
    for name, (target, seeds) in TEXTS.items():
        made[name] = (lambda target=target: target, lambda _, seeds=seeds: iter(seeds))
    return made


def fuzz(name: str, seconds: int, corpus: Path, keep: Path, options: list[str]) -> None:
    """Fuzz one target; does not return."""
    import logging

    import atheris

    # Loaded before it is instrumented: what is not ours would only slow it down.
    import numpy  # noqa: F401
    import pandas  # noqa: F401
    import pyarrow.csv
    import pyarrow.json
    import pyarrow.parquet  # noqa: F401
    import scipy.stats  # noqa: F401

    with atheris.instrument_imports(include=["runglass.models"]):
        import runglass.models.loader
        import runglass.models.question
        import runglass.models.session  # noqa: F401
        from runglass.models.readers import registry

        registry.readers(())
        make, seeds = targets()[name]
        target = make()
    logging.disable()
    corpus.mkdir(parents=True, exist_ok=True)
    keep.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(target)):
        (corpus / f"seed-{number}").write_bytes(seed[:MOST_BYTES])
    known: set[str] = set()

    def one(data: bytes) -> None:
        try:
            target(data)
        except Exception as error:
            kind = f"{type(error).__name__} at {where(error)}"
            if isinstance(error, AssertionError):
                kind = re.sub(r"[0-9]+|'[^']*'", "_", str(error)[:100]) or f"assertion in line {lines(error)[-1]}"
            if kind not in known:
                known.add(kind)
                file = keep / f"finding-{len(known)}-{os.getpid()}"
                file.write_bytes(data)
                print(f"FINDING {kind}: {str(error)[:300]} [{file}]", file=sys.stderr, flush=True)

    atheris.Setup(
        [
            sys.argv[0], str(corpus), f"-max_total_time={seconds}", f"-max_len={MOST_BYTES}", f"-timeout={SECONDS_EACH}",
            "-rss_limit_mb=3000", "-print_final_stats=1", f"-artifact_prefix={keep}/", *options,
        ],
        one,
    )  # fmt: skip
    atheris.Fuzz()


def repeat(name: str, file: Path) -> None:
    """Try a kept input again, without Atheris."""
    target = targets()[name][0]()
    begun = time.monotonic()
    target(file.read_bytes())
    print(f"no finding, {time.monotonic() - begun:.2f} s")


def run_all(names: list[str], asked: argparse.Namespace) -> int:
    """Fuzz targets one after the other; give how many kinds of findings there were."""
    total = findings = 0
    for name in names:
        safe = name.replace(" ", "-")
        command = [sys.executable, __file__, "fuzz", name, "--seconds", str(asked.seconds)]
        command += ["--corpus", str(asked.corpus), "--keep", str(asked.keep)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        lines = ended.stderr.splitlines()
        tried = next((int(line.split()[-1]) for line in lines if "stat::number_of_executed_units" in line), 0)
        covered = [match.group(1) for line in lines if (match := re.search(r"\bcov: (\d+)", line))]
        found = [line for line in lines if line.startswith(("FINDING", "SUMMARY")) or "ERROR:" in line]
        if ended.returncode and not found:
            found = lines[-5:]
        total, findings = total + tried, findings + len(found)
        edges = f"{covered[0]} to {covered[-1]}" if covered else "none"
        print(
            f"{name:32} {tried:9,} executions {took:6.0f} CPU s  edges {edges:16} {len(found):3} findings", flush=True
        )
        for line in found:
            print(f"    {line[:400]}", flush=True)
        with open(asked.keep / "table.jsonl", "a", encoding="utf-8") as file:
            row = {"target": name, "executions": tried, "cpu_seconds": round(took), "findings": found, "kept": safe}
            file.write(json.dumps(row) + "\n")
    print(f"{total:,} executions, {findings:,} findings")
    return findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("verb", nargs="?", default="all", choices=("all", "list", "fuzz", "repeat"))
    parser.add_argument("target", nargs="?", default="", help="of 'fuzz' and 'repeat'; part of the names for 'all'")
    parser.add_argument("file", nargs="?", type=Path, help="of 'repeat'")
    parser.add_argument("--seconds", type=int, default=20, help="for each target")
    parser.add_argument("--corpus", type=Path, default=Path("build/fuzz-corpus"), help="inputs that reached something")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz-findings"), help="inputs of findings")
    asked, options = parser.parse_known_args()
    asked.keep.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(HERE.parent / "models" / "readers"))
    if asked.verb in ("fuzz", "repeat"):
        safe = asked.target.replace(" ", "-")
        if asked.verb == "repeat":
            repeat(asked.target, asked.file)
        else:
            fuzz(asked.target, asked.seconds, asked.corpus / safe, asked.keep / safe, options)
        return 0
    names = [name for name in targets() if asked.target in name]
    if asked.verb == "list":
        print("\n".join(names))
        return 0
    return bool(run_all(names, asked))


if __name__ == "__main__":
    sys.exit(main())
