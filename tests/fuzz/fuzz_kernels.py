"""Gives sanitized builds of the kernels and their twins mutated inputs: ``python tests/fuzz/fuzz_kernels.py 300``.

A finding is a report of the sanitizer of addresses or of undefined behaviour (which end the process), an exception that is not
a refusal, or a result that is not that of the twin in numpy, bit for bit. The input that was tried last is kept in the folder
``--keep``, so that a crash leaves it. The seed makes a run repeatable. It needs gcc with its sanitizers, and Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "models" / "kernels" / "_compiled.c"
FLAGS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-O1", "-g")


def build(folder: Path) -> Path:
    """Give the compiled kernels with sanitizers in them."""
    built = folder / "_compiled.abi3.so"
    include = sysconfig.get_paths()["include"]
    subprocess.run(
        ["gcc", "-shared", "-fPIC", *FLAGS, f"-I{include}", str(SOURCE), "-o", str(built), "-lm"], check=True
    )
    return built


def start_again(arguments: list[str], built: Path) -> None:
    """Become this script once more, under the sanitizers: they have to be loaded before the interpreter."""
    asked = subprocess.run(["gcc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True)
    environment = os.environ | {
        "LD_PRELOAD": asked.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:abort_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "RUNGLASS_FUZZED_KERNELS": str(built),
    }
    os.execve(sys.executable, [sys.executable, __file__, *arguments], environment)


def loaded(built: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("runglass.models.kernels._compiled", built)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Fuzzer:
    """Inputs for the kernels, and what both twins make of them."""

    def __init__(self, compiled: ModuleType, seed: int, folder: Path) -> None:
        sys.path.insert(0, str(ROOT / "tests" / "models" / "kernels"))
        self.chance = random.Random(seed)
        self.compiled = compiled
        self.folder = folder
        self.keep: Callable[[Any], None] = lambda _: None

    def twins(self) -> Iterator[str]:
        """Switch from twin to twin; that of the tables takes part in the checksums."""
        from runglass.models import kernels

        kernels._in_use = None
        yield "numpy"
        kernels._in_use = self.compiled
        self.compiled.use_tables(self.chance.random() < 0.3)
        yield "compiled"

    # -- event files

    def _event(self) -> bytes:
        from test_event_twins import event, field, single, tensors

        chance = self.chance
        bits = chance.choice((0, 0x3F800000, 0x7FC00000, 0x7F800001, chance.getrandbits(32)))
        values = []
        for _ in range(chance.choice((0, 1, 1, 1, 2, 5))):
            tag = chance.choice((b"loss", b"lr", b"a/b", b"", b"\xff", b"long" * 40, b"tag%d" % chance.randrange(300)))
            where = ("content", "packed", "plain", "short", "double", "whole", "none", "empty", "twice")
            part = chance.choice(
                (
                    single(2, bits),
                    single(2, bits),
                    field(8, tensors(bits, b"", 1, chance.choice(where))),
                    field(
                        8,
                        tensors(
                            bits, chance.choice((b"", b"\x12\x00")), chance.choice((1, 2, 19)), chance.choice(where)
                        ),
                    )
                    + field(9, field(1, field(1, chance.choice((b"scalars", b"hparams"))))),
                    field(chance.choice((4, 5, 6, 7)), chance.randbytes(chance.choice((3, 100, 700)))),
                )
            )
            values.append(field(1, tag) + part)
        step = chance.choice((None, 0, 5, 127, 128, 300, -1, 2**63 - 1, chance.randrange(20_000)))
        return event(chance.choice((None, 1.7e9, chance.random())), step, values, b"")

    def _mutated(self, data: bytes) -> bytes:
        changed, chance = bytearray(data), self.chance
        for _ in range(chance.choice((0, 0, 0, 1, 2, 8))):
            if changed:
                at = chance.randrange(len(changed))
                changed[at : at + chance.choice((0, 1, 1, 1, 3))] = chance.randbytes(chance.choice((0, 1, 1, 1, 4)))
        return bytes(changed)

    def _file(self) -> bytes:
        from test_event_twins import record

        chance = self.chance
        parts = []
        for _ in range(chance.randrange(6)):
            payloads = [self._mutated(self._event()) for _ in range(chance.choice((1, 2, 3)))]
            parts.append(b"".join(map(record, payloads)) * chance.choice((1, 1, 2, 40, 150)))
        data = self._mutated(b"".join(parts)) if chance.random() < 0.5 else b"".join(parts)
        return data[: chance.randrange(len(data) + 1)] if chance.random() < 0.3 else data

    def event_file(self) -> None:
        from test_event_twins import bits

        from runglass.models.progress import quiet
        from runglass.models.readers import tensorboard
        from runglass.models.readers.base import Source

        data = self._file()
        tensorboard.CHUNK, tensorboard.PATIENCE = self.chance.choice((1 << 23, 2000, 300)), self.chance.choice((0, 4))
        self.keep((data, tensorboard.CHUNK, tensorboard.PATIENCE))
        path = self.folder / "events.out.tfevents.1.h"
        path.write_bytes(data)
        source = Source((path,), "r", "r", "tensorboard")
        by_numpy, compiled = (
            bits(list(tensorboard.TensorBoardReader().read(source, None, quiet))) for _ in self.twins()
        )
        assert by_numpy == compiled

    def event_kernels(self) -> None:
        import numpy as np

        from runglass.models.kernels import event_rows
        from runglass.models.kernels.checksums import are_sound

        data = self._file()
        size = self.chance.choice((len(data), self.chance.randrange(len(data) + 1)))
        self.keep((data, size))
        buffer = np.frombuffer(data + bytes(8), np.uint8).copy()
        found = []
        for _ in self.twins():
            chain = event_rows.chain(buffer, size)
            sound = are_sound(buffer, chain.starts, chain.lengths)
            found.append((chain.starts.tolist(), chain.lengths.tolist(), chain[2:], sound.tolist()))
        assert found[0] == found[1]
        starts = np.array(found[1][0], np.int64)
        event_rows.scalars(buffer, starts, np.array(found[1][1], np.int64))

    def rows(self) -> None:
        import numpy as np
        from test_event_twins import a_form, record

        from runglass.models.kernels import event_rows

        chance = self.chance
        width, count = chance.randrange(4, 60), chance.choice((0, 1, 3, 40, 200))
        row, form = a_form(width, np.random.default_rng(chance.randrange(1000)))
        first, second = row[12 : 8 + width].tobytes(), row[width + 28 : -8].tobytes()
        data = b"".join(
            record(first + chance.randbytes(4)) + record(second + chance.randbytes(4)) for _ in range(count)
        )
        data = self._mutated(data)
        end = chance.choice((len(data), chance.randrange(len(data) + 1)))
        places = [chance.randrange(len(row) - 7) for _ in range(chance.randrange(5))]
        kind, wide = chance.choice(("u1", "<f4", "<f8")), chance.randrange(8)
        self.keep((data, end, row.tobytes(), places, kind, wide))
        buffer = np.frombuffer(data + bytes(8), np.uint8).copy()
        found: list[Any] = []
        for _ in self.twins():
            alike = event_rows.rows_alike(buffer, 0, end, form)
            own = buffer[: len(buffer) // len(row) * len(row)].reshape(-1, len(row))
            items = event_rows.items(own, kind, np.array(places, np.intp))
            steps = None
            if places:
                steps = event_rows.common_steps(own, np.array(places)[:, None] + np.arange(wide))
            found.append((alike, items.tobytes(), None if steps is None else steps.tolist()))
        assert found[0] == found[1]

    def times(self) -> None:
        import numpy as np

        from runglass.models.kernels.event_rows import near

        chance = self.chance
        shape = chance.randrange(1, 6), chance.randrange(20)
        values = [chance.choice((0.0, 1e-3, 1e-4, float("nan"), float("inf"))) for _ in range(shape[0] * shape[1])]
        self.keep((shape, values))
        times, first = np.array(values, float).reshape(shape), chance.randrange(shape[0])
        by_numpy, compiled = (near(times, first, 1e-3).tolist() for _ in self.twins())
        assert by_numpy == compiled

    # -- curves

    def strokes(self) -> None:
        import numpy as np
        from test_strokes import COLUMNS, crowd

        from runglass.models.kernels.strokes import painted

        chance = self.chance
        seed, curves, rows = chance.randrange(1 << 30), chance.randrange(1, 12), chance.randrange(1, 70)
        wild = chance.random() < 0.3
        self.keep((seed, curves, rows, wild))
        found = []
        for _ in self.twins():
            made, colours = crowd(seed, curves)
            if wild:
                numbers = np.random.default_rng(seed)
                made = numbers.integers(-(1 << 31), (1 << 31) - 1, made.shape, np.int32, endpoint=True)
                made[::2, 4] &= 256
            image = np.zeros((rows, COLUMNS), np.uint32)
            first = seed % COLUMNS
            painted(image, made, colours, first, COLUMNS)
            found.append((made.tobytes(), image.tobytes()))
        assert found[0][0] == found[1][0]
        assert wild or found[0][1] == found[1][1]

    def places(self) -> None:
        """Find strokes from places, shares and numbers that nothing of ours gives."""
        import numpy as np

        chance, numbers = self.chance, np.random.default_rng(self.chance.getrandbits(32))

        def values(size: int) -> np.ndarray:
            found = numbers.standard_cauchy(size) * 10.0 ** chance.randrange(-300, 300, 50)
            found[numbers.random(size) < chance.choice((0.0, 0.1))] = chance.choice((np.nan, np.inf, -np.inf, 0.0))
            return found

        columns, curves = chance.randrange(1, 40), []
        for _ in range(chance.randrange(4)):
            n, block, pen = chance.randrange(300), chance.choice((1, 2, 8, 64, 3)), chance.randrange(1, 5)
            y, blocks = values(n), -(-n // block)
            low, high = (y, y) if block == 1 else (values(blocks), values(blocks))
            at = numbers.integers(-n - 2, n + 2, columns + pen)
            if chance.random() < 0.8:
                at = np.abs(at).clip(0, n)
                at = np.where(numbers.random(len(at)) < 0.5, np.sort(at), ~(at // block * block))
            own = values(10 + 2 * chance.randrange(3))
            own[5], own[9] = chance.randrange(2), pen
            curves.append((y, low, high, block, at, values(columns + pen), own))
        self.keep(curves)
        with contextlib.suppress(ValueError):
            self.compiled.stroked(curves, np.empty((len(curves), 5, columns), np.int32))

    # -- text

    def _number(self) -> str:
        chance = self.chance
        kind = chance.randrange(9)
        if kind == 0:
            return repr(struct.unpack("<d", chance.randbytes(8))[0])
        if kind == 1:
            return repr(chance.gauss(0, 1))
        if kind == 2:
            return str(chance.getrandbits(chance.randrange(1, 90)))
        if kind == 3:
            return f"{chance.getrandbits(chance.randrange(1, 64))}e{chance.randrange(-350, 320)}"
        if kind == 4:
            return f"-0.{'0' * chance.randrange(30)}{chance.getrandbits(chance.randrange(1, 90))}"
        if kind == 5:
            return f"{struct.unpack('<d', chance.randbytes(8))[0]:.{chance.randrange(60)}e}"
        if kind == 6:
            return "9" * chance.choice((1, 19, 20, 400, 1100)) + chance.choice(("", ".5", "e5", "e-1200"))
        if kind == 7:
            return str(2**53 + chance.randrange(9)) + chance.choice(("", ".0", ".5", "e1", "e-30", "0000000000"))
        return chance.choice(
            ("0", "-0", "nan", "NaN", "Infinity", "-Infinity", "", "1.", ".5", "01", "+1", "1e", "-", "x")
        )

    def number(self) -> None:
        import numpy as np

        from runglass.models.kernels.text_numbers import lines_of_numbers, rows_of_numbers

        text = self._number()
        text = self._mutated(text.encode()).decode("latin-1") if self.chance.random() < 0.2 else text
        self.keep(text)
        for _ in self.twins():
            line = lines_of_numbers(b'{"a":' + text.encode("latin-1") + b"}\n", [b'{"a":'])
            row = rows_of_numbers(b"0," + text.encode("latin-1"), ",", 2)
        for read in (None if line is None else line[0, 0], None if row is None else row.values[1, 0]):
            if read is not None and text.strip(" "):
                expected = float(text)
                assert np.float64(expected).tobytes() == read.tobytes() or expected != expected, (text, read)

    def _log(self, cells: Callable[[list[str]], str]) -> bytes:
        chance = self.chance
        lines = [
            cells(
                [str(number), *(self._number() if chance.random() < 0.02 else repr(chance.random()) for _ in range(3))]
            )
            for number in range(chance.choice((1, 3, 200, 400)))
        ]
        data = chance.choice(("\n", "\r\n")).join(lines).encode() + b"\n" * chance.randrange(2)
        return self._mutated(data)

    def json_lines(self) -> None:
        from runglass.models.readers.json_lines import JsonLinesReader

        data = self._log(lambda c: f'{{"step": {c[0]}, "loss": {c[1]}, "lr": {c[2]}, "é": {c[3]}}}')
        self._read(JsonLinesReader(), "metrics.jsonl", data)

    def csv(self) -> None:
        from runglass.models.readers.csv_log import CsvLogReader

        self._read(CsvLogReader(), "metrics.csv", b"step,loss,lr,acc\n0,1,2,3\n" + self._log(",".join))

    def _read(self, reader: Any, name: str, data: bytes) -> None:
        from test_event_twins import bits

        from runglass.models.errors import ReadError
        from runglass.models.progress import quiet
        from runglass.models.readers.base import Source

        self.keep(data)
        path = self.folder / name
        path.write_bytes(data)
        source = Source((path,), "r", "r", reader.name)
        found: list[Any] = []
        for _ in self.twins():
            try:
                found.append(bits(list(reader.read(source, None, quiet))))
            except ReadError as error:
                found.append(str(error))
        assert found[0] == found[1]

    # -- what nobody should ask

    def abuse(self) -> None:
        """Call any kernel with arrays of any size and content."""
        import numpy as np

        chance = self.chance
        names = [
            name for name in dir(self.compiled) if not name.startswith("_") and name not in ("use_tables", "INTERFACE")
        ]
        name = chance.choice(names)

        def anything() -> Any:
            kind = chance.randrange(8)
            if kind < 2:
                return chance.choice((0, 1, 2, 3, 4, 8, 10, 16, 64, -1, 2**31, 2**62))
            size = chance.choice((0, 1, 2, 3, 8, 64, 1302))
            if kind < 5:
                bits = np.random.default_rng(chance.getrandbits(32)).integers(0, 2**63, size, np.int64)
                return bits >> chance.choice((0, 32, 55, 60, 63))
            dtype = chance.choice(("u1", "f8", "i4", "u4", "f4", "?"))
            return np.frombuffer(chance.randbytes(size * np.dtype(dtype).itemsize), dtype).copy()

        for arguments in range(1, 15):
            given = [anything() for _ in range(arguments)]
            self.keep((name, given))
            try:
                getattr(self.compiled, name)(*given)
            except (ValueError, TypeError, BufferError, OverflowError):
                continue


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", type=float, help="processor time to spend")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", help="kinds of inputs")
    parser.add_argument("--keep", type=Path, help="folder for the input that was tried last, and for findings")
    asked = parser.parse_args()
    if "RUNGLASS_FUZZED_KERNELS" not in os.environ:
        start_again(sys.argv[1:], build(Path(tempfile.mkdtemp())))
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    keep = asked.keep or Path(tempfile.mkdtemp(prefix="fuzz_kernels_"))
    keep.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    executions: Counter[str] = Counter()
    findings = 0
    with tempfile.TemporaryDirectory() as folder:
        built = Path(os.environ["RUNGLASS_FUZZED_KERNELS"])
        fuzzer = Fuzzer(loaded(str(built)), asked.seed, Path(folder))
        shutil.rmtree(built.parent)
        kinds = asked.only or [
            "event_file",
            "event_kernels",
            "rows",
            "times",
            "strokes",
            "places",
            "number",
            "json_lines",
            "csv",
            "abuse",
        ]
        while time.process_time() < asked.seconds:
            kind = fuzzer.chance.choice(kinds)
            tried: list[Any] = [None]

            def remember(value: Any, tried: list[Any] = tried, kind: str = kind) -> None:
                tried[0] = value
                (keep / "last.txt").write_text(f"{kind}\n{value!r}\n")

            fuzzer.keep = remember
            try:
                getattr(fuzzer, kind)()
            except KeyboardInterrupt:
                break
            except Exception as error:
                findings += 1
                (keep / f"finding_{findings}.txt").write_text(
                    f"{kind}\n{type(error).__name__}: {error}\n{tried[0]!r}\n"
                )
                print(f"{kind}: {type(error).__name__}: {str(error)[:300]}  (kept in {keep})")
            executions[kind] += 1
    print(
        f"{sum(executions.values()):,} executions in {time.process_time():,.0f} s of processor time, {findings} findings"
    )
    print("  " + ", ".join(f"{kind} {count:,}" for kind, count in sorted(executions.items())))
    return int(findings > 0)


if __name__ == "__main__":
    sys.exit(main())
