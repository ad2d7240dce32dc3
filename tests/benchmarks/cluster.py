"""Tables larger than memory on a Dask cluster of two worker processes, one of which is killed midway.

    python tests/benchmarks/cluster.py [--rows 1e8] [--ask calibration.ece ...] [--folder DIR] [--json FILE]

Rows are generated as a Parquet dataset below ``--folder`` (the system's temporary folder; about 10 bytes a row), which is
removed in the end; whatever their number, they are left in their files as what memory does not hold is. Each question is asked
in one process, on two workers, and on two workers of which one gets a kill -9 when a third of the blocks are counted; all three
answers have to be equal to the last bit. Told are seconds on the clock, processor seconds (user and system, of all who
took part) and the highest resident memory of client, scheduler and workers. The cost of a row is the difference between all
rows and a tenth of them, so that what a question costs in any case is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROWS_OF_A_FILE = 5_000_000
ROWS_OF_A_GROUP = 500_000
_TICKS = os.sysconf("SC_CLK_TCK")


def written(folder: Path, rows: int, seed: int = 0) -> int:
    """Write the answers of two versions to rows / 2 items, sorted by item; give the bytes they take."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    folder.mkdir(parents=True)
    items = rows // 2
    for number, first in enumerate(range(0, items, ROWS_OF_A_FILE)):
        count = min(ROWS_OF_A_FILE, items - first)
        shared = np.random.default_rng((seed, number)).random(count)
        for version in (1, 2):
            generator = np.random.default_rng((seed, number, version))
            own = generator.random(count)
            confidence = (0.5 + 0.5 * np.where(own < 0.7, shared, own)).astype(np.float32)
            table = pa.table(
                {
                    "model": pa.DictionaryArray.from_arrays(np.zeros(count, np.int8), ["m"]),
                    "version": pa.DictionaryArray.from_arrays(np.zeros(count, np.int8), [f"v{version}"]),
                    "item": np.arange(first, first + count),
                    "confidence": confidence,
                    "correct": (generator.random(count) < confidence ** (1 + 0.2 * version)).astype(np.int8),
                }
            )
            parquet.write_table(table, folder / f"v{version}-{number:04d}.parquet", row_group_size=ROWS_OF_A_GROUP)
    return sum(file.stat().st_size for file in folder.iterdir())


def asked(folder: Path, question: str, engine: str, draws: int) -> None:
    """Ask one question, and print progress line by line and the answer with what it took; all that a client process does."""
    import runglass
    from runglass.analysis import asking, registry
    from runglass.models.engine import engine_named
    from runglass.models.progress import CancellableProgress
    from runglass.models.readers import table_file

    table_file.memory_for_tables = lambda: 0
    data = runglass.open(folder)._opened
    began, busy = time.perf_counter(), _own_seconds()

    def tell(done: int, total: int, _: str) -> None:
        print(f"progress {done} {total}", flush=True)

    with contextlib.closing(engine_named(engine)) as used:
        analysis = registry.analysis(question)
        answer = asking.ask(analysis, {"draws": draws}, data, engine=used, progress=CancellableProgress(tell))
    told = {
        "wall": time.perf_counter() - began,
        "cpu": _own_seconds() - busy,
        "peak": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "answer": answer.result.to_json(),
    }
    print("answer " + json.dumps(told, default=str), flush=True)


def _own_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def used_by(process: subprocess.Popen[Any]) -> tuple[float, int]:
    """Give processor seconds and the highest resident bytes of a process so far; nothing of one that has ended."""
    try:
        after_name = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{process.pid}/status").read_text()
        highest = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return 0.0, 0
    return (int(after_name[11]) + int(after_name[12])) / _TICKS, 1024 * highest


@contextlib.contextmanager
def machines(folder: Path, workers: int) -> Iterator[tuple[str, list[subprocess.Popen[Any]]]]:
    """Start a scheduler and workers; give the name of the engine, and the processes, the scheduler first."""
    from runglass.models.cluster import Cluster
    from runglass.models.errors import RunglassError

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    start = [sys.executable, "-m"]
    scheduler = [*start, "distributed.cli.dask_scheduler", "--no-dashboard", "--host", "127.0.0.1", "--port", str(port)]
    worker = [*start, "distributed.cli.dask_worker", f"tcp://127.0.0.1:{port}", "--no-dashboard", "--no-nanny"]
    processes = [subprocess.Popen(scheduler, **quiet)]
    try:
        processes += [subprocess.Popen([*worker, "--nthreads", "1"], **quiet) for _ in range(workers)]
        for _ in range(600):
            with contextlib.suppress(RunglassError), contextlib.closing(Cluster(f"dask://127.0.0.1:{port}")) as cluster:
                if cluster.look().workers == workers:
                    break
            time.sleep(0.1)
        yield f"dask://127.0.0.1:{port}", processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measured(folder: Path, question: str, draws: int, *, workers: int = 0, killing: bool = False) -> dict[str, Any]:
    """Ask a question in a client process of its own, here or on workers; give its answer and what all processes took."""
    with contextlib.ExitStack() as held:
        engine, processes = held.enter_context(machines(folder.parent, workers)) if workers else ("local", [])
        before = [used_by(one)[0] for one in processes]
        own = [sys.executable, __file__, "--client", str(folder), "--ask", question, "--engine", engine]
        client = subprocess.Popen([*own, "--draws", str(draws)], stdout=subprocess.PIPE, text=True)
        assert client.stdout is not None
        told: dict[str, Any] = {"killed": 0, "blocks": 0}
        taken = 0.0
        most = 0
        for line in client.stdout:
            what, _, rest = line.partition(" ")
            if what == "answer":
                told |= json.loads(rest)
                continue
            done, total = map(int, rest.split())
            most = max(most, total)
            told["blocks"] = most
            if killing and not told["killed"] and total > 3 and total / 3 <= done < total:
                spent, peak = used_by(processes[1])
                taken += spent - before[1]
                told |= {"killed": done, "peak of the killed": peak}
                processes[1].kill()
                processes[1].wait()
        if client.wait():
            raise SystemExit(client.returncode)
        after = [used_by(one) for one in processes]
        of_all = sum(seconds - start for (seconds, _), start in zip(after, before, strict=True) if seconds)
        told["cpu of all"] = told["cpu"] + taken + of_all
        told["peak of scheduler"] = after[0][1] if after else 0
        told["peak of workers"] = max([peak for _, peak in after[1:]], default=0)
        return told


def main() -> None:
    """Measure and print; the other arguments are those of the client process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=float, default=1e8)
    parser.add_argument("--ask", nargs="+", default=["calibration.ece"])
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--client", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--engine", default="local", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.client is not None:
        asked(given.client, given.ask[0], given.engine, given.draws)
        return
    rows = int(given.rows)
    needed = 12 * rows
    if shutil.disk_usage(given.folder).free < 2 * needed:
        raise SystemExit(f"{given.folder} has less than {2 * needed / 2**30:.0f} GiB left")
    everything: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="runglass-cluster-") as name:
        few, all_of_them = Path(name) / "few", Path(name) / "all"
        written(few, rows // 10)
        size = written(all_of_them, rows)
        print(f"{rows:,} rows, {size / 2**30:.2f} GiB, {size / rows:.1f} bytes a row", flush=True)
        for question in given.ask:
            tenth = measured(few, question, given.draws)
            found = {
                "in one process": measured(all_of_them, question, given.draws),
                "two workers": measured(all_of_them, question, given.draws, workers=2),
                "two workers, one killed": measured(all_of_them, question, given.draws, workers=2, killing=True),
            }
            expected = found["in one process"]["answer"]
            print(f"\n{question}: {expected['summary']}")
            for how, one in found.items():
                equal = one["answer"] == expected
                of_rows = (one["cpu of all"] - tenth["cpu of all"]) / (rows - rows // 10)
                told = {key: value for key, value in one.items() if key != "answer"}
                everything.append({"what": f"{question}, {how}", "rows": rows, "bytes": size, "equal": equal} | told
                                  | {"nanoseconds of a row": 1e9 * of_rows})  # fmt: skip
                print(
                    f"  {how:<24} {one['wall']:7.1f} s  {one['cpu of all']:7.1f} s of processors  {1e9 * of_rows:5.0f} ns/row  "
                    f"client {one['peak'] / 2**20:5.0f} MiB  scheduler {one['peak of scheduler'] / 2**20:4.0f} MiB  "
                    f"worker {one['peak of workers'] / 2**20:5.0f} MiB  {'equal' if equal else 'DIFFERENT'}"
                    + (f"  killed at block {one['killed']}" if one["killed"] else ""),
                    flush=True,
                )
    if given.json:
        given.json.write_text(json.dumps(everything, indent=1))
    if not all(one["equal"] for one in everything):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
