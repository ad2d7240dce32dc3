"""The same questions on a Dask cluster of two worker processes as in this process: equal to the last bit."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import runglass
from runglass.__main__ import main
from runglass.analysis.calibration.scores import ScoresQuestion
from runglass.analysis.compatibility.churn import ChurnQuestion
from runglass.analysis.compatibility.flips import FlipsQuestion
from runglass.analysis.ranking.concurrence import ConcurrenceQuestion
from runglass.analysis.resampling import bootstrap
from runglass.models import cluster, partial
from runglass.models.cluster import Cluster, versions
from runglass.models.engine import LOCAL
from runglass.models.errors import Cancelled, ReadError, RunglassError, TooLittleData
from runglass.models.loader import load
from runglass.models.progress import CancellableProgress
from runglass.models.question import Question
from runglass.models.readers import table_file
from runglass.models.store import RunStore
from runglass.models.tables import TableRows

pytest.importorskip("distributed")
pytestmark = pytest.mark.allow_leaks  # Dask keeps threads of its own for the next connection


class Machines:
    """A scheduler and workers, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.folder = folder
        self.scheduler = self._started("scheduler", "--host", "127.0.0.1", "--port", str(self.port))
        self.workers = [self.another_worker() for _ in range(2)]

    def another_worker(self, **environment: str) -> subprocess.Popen[bytes]:
        alone = ("--nthreads", "1", "--no-nanny", "--memory-limit", "0", "--local-directory", str(self.folder))
        return self._started("worker", f"tcp://127.0.0.1:{self.port}", *alone, **environment)

    def engine(self, **options: float) -> Cluster:
        return Cluster(f"dask://127.0.0.1:{self.port}", **options)

    def wait_for_workers(self, number: int = 2) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(RunglassError), contextlib.closing(self.engine()) as engine:
                if engine.look().workers == number:
                    return
            time.sleep(0.1)
        raise TimeoutError(f"{number} workers did not come")

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()

    def _started(self, what: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--no-dashboard", *arguments]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, stdout=quiet, stderr=quiet, env={**os.environ, **environment}, cwd=self.folder)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    machines = Machines(tmp_path_factory.mktemp("dask"))
    try:
        machines.wait_for_workers()
        yield machines
    finally:
        machines.stop()


@pytest.fixture
def engine(machines: Machines) -> Iterator[Cluster]:
    with contextlib.closing(machines.engine()) as engine:
        yield engine


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of 7,200 answers in nine blocks of three files that counts as larger than memory."""
    generator = np.random.default_rng(0)
    items = 2400
    for number, version in enumerate(("v1", "v2", "v3")):
        confidence = generator.random(items)
        is_right = generator.random(items) < confidence**1.3
        frame = pd.DataFrame(
            {
                "model": "m",
                "version": version,
                "item": np.arange(items),
                "confidence": confidence,
                "label": "A",
                "prediction": np.where(is_right, "A", np.resize(["B", "C"], items)),
                "weight": generator.random(items),
            }
        )
        frame.to_parquet(tmp_path / f"{number}.parquet", row_group_size=800)
    monkeypatch.setattr(table_file, "memory_for_tables", lambda: 1000)
    monkeypatch.setattr(partial, "ROWS_OF_A_PART", 1600)
    return tmp_path


QUESTIONS = [
    ScoresQuestion(draws=20),
    FlipsQuestion(old="v1", new="v2", draws=100),
    ChurnQuestion(old="v1", new="v2"),
]


def told(question: Question, store: RunStore, **where: object) -> str:
    result = question.resolved(store).answer(store, **where)
    return json.dumps(result.to_json(), sort_keys=True, default=str)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: type(question).__name__)
def test_that_a_cluster_gives_what_this_process_gives(path: Path, engine: Cluster, question: Question) -> None:
    store = load([path])
    assert store.is_stored("predictions")
    assert told(question, store, engine=engine) == told(question, store)


def test_that_draws_of_scores_are_those_of_this_process(engine: Cluster) -> None:
    generator = np.random.default_rng(1)
    scores = pd.DataFrame(
        [(f"m{m}", f"t{t}", m + 3 * generator.normal()) for m in range(8) for t in range(6)],
        columns=["model", "task", "value"],
    ).assign(metric="accuracy")
    store = RunStore().adding([TableRows("a.csv", "table", scores, "scores")])
    question = ConcurrenceQuestion(draws=400)
    assert told(question, store, engine=engine) == told(question, store)


def test_that_what_a_function_carries_is_sent_once_and_gives_the_same_bits(
    engine: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_SENT_ONCE_BYTES", 1000)
    values = np.random.default_rng(0).normal(size=1000)
    drawn = functools.partial(bootstrap, functools.partial(np.dot, b=values), 1000, draws=600, seed=3, block_size=50)
    assert (drawn(engine=engine) == drawn()).all()


def test_that_a_killed_worker_costs_nothing_but_time(
    machines: Machines, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial, "ROWS_OF_A_PART", 800)
    question, store = ScoresQuestion(draws=20), load([path])
    expected = told(question, store)
    killed = threading.Event()

    def kill_one(done: int, total: int, what: str) -> None:
        if 2 <= done < total and not killed.is_set():
            killed.set()
            machines.workers[0].kill()
            machines.workers[0].wait()

    with contextlib.closing(machines.engine()) as engine:
        assert told(question, store, engine=engine, progress=CancellableProgress(kill_one)) == expected
        assert killed.is_set()
        assert engine.look().workers == 1
    machines.workers[0] = machines.another_worker()
    machines.wait_for_workers()


def test_that_progress_counts_blocks_from_none_to_all(engine: Cluster) -> None:
    said: list[tuple[int, int]] = []
    found = engine.map(abs, range(-40, 0), CancellableProgress(lambda done, total, _: said.append((done, total))))
    assert found == list(range(40, 0, -1))
    assert said[0] == (0, 40)
    assert said[-1] == (40, 40)
    assert said == sorted(said)


class Counted(Sequence[int]):
    """Blocks that know how many of them were taken."""

    taken = 0

    def __len__(self) -> int:
        return 10_000

    def __getitem__(self, number: int) -> int:  # type: ignore[override]
        self.taken = max(self.taken, number + 1)
        return number


def test_that_few_of_many_blocks_are_on_their_way_at_once(engine: Cluster) -> None:
    blocks = Counted()
    with contextlib.closing(engine.stream(abs, blocks)) as results:
        assert list(itertools.islice(results, 50)) == list(range(50))
    assert blocks.taken < 100


def tasks_of(engine: Cluster) -> int:
    return len(engine._connected().run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks)))


def test_that_a_cancel_takes_the_blocks_back(engine: Cluster) -> None:
    def slow(block: int) -> int:
        time.sleep(0.05)
        return block

    progress = CancellableProgress(lambda done, *_: progress.cancel() if done > 3 else None)
    with pytest.raises(Cancelled):
        engine.map(slow, range(1000), progress)
    deadline = time.monotonic() + 5
    while tasks_of(engine) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert tasks_of(engine) == 0


def test_that_what_a_block_cannot_answer_is_told_as_here(engine: Cluster) -> None:
    def refuse(block: int) -> int:
        if block == 3:
            raise TooLittleData(needs="two rows", found="one")
        return block

    with pytest.raises(TooLittleData, match=r"Needs two rows; found one\."):
        engine.map(refuse, range(10))
    assert engine.map(abs, [-1]) == [1]


def test_that_a_file_workers_do_not_see_is_told(path: Path, engine: Cluster) -> None:
    store = load([path])
    for file in path.iterdir():
        file.rename(file.with_suffix(".moved"))
    with pytest.raises(ReadError, match="all workers see them under the same name"):
        ScoresQuestion(draws=20).answer(store, engine=engine)


def test_that_a_worker_of_another_version_is_refused(machines: Machines, tmp_path: Path) -> None:
    (tmp_path / "runglass-99.dist-info").mkdir()
    (tmp_path / "runglass-99.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: runglass\nVersion: 99\n")
    late = machines.engine()
    assert late.map(abs, [-1]) == [1]
    other = machines.another_worker(PYTHONPATH=str(tmp_path))
    try:
        while late.look().workers < 3:
            time.sleep(0.05)
        said = rf"cannot be used: it has runglass 99, here is {versions()['runglass']}"
        with pytest.raises(RunglassError, match=said), contextlib.closing(machines.engine()) as engine:
            engine.map(abs, [-1])
        with pytest.raises(RunglassError, match=said):
            late.map(abs, range(-200, 0))
    finally:
        late.close()
        other.kill()
        other.wait()
        machines.wait_for_workers()


def test_that_the_command_line_and_python_ask_a_cluster(
    path: Path, machines: Machines, capsys: pytest.CaptureFixture[str]
) -> None:
    name = machines.engine().name
    answers = []
    for engine in ("local", name):
        assert main(["ask", "calibration.scores", str(path), "--draws", "20", "--engine", engine, "--json", "-"]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0] == answers[1]
    with contextlib.closing(runglass.engine(name)) as engine:
        data = runglass.open(path)
        assert data.ask("calibration.scores", engine=engine, draws=20).to_json() == answers[0]


def test_that_a_cluster_without_workers_and_a_lost_scheduler_are_told(machines: Machines) -> None:
    def slow(block: int) -> int:
        time.sleep(0.1)
        return block

    for worker in machines.workers:
        worker.kill()
    alone = machines.engine(patience=0.2)
    with (
        contextlib.closing(alone),
        pytest.raises(RunglassError, match=r"has had no worker for .* s\. Start some there"),
    ):
        alone.map(slow, range(100))
    with contextlib.closing(machines.engine()) as engine:
        engine.look()
        progress = CancellableProgress(lambda *_: machines.scheduler.kill())
        with pytest.raises(RunglassError, match=r"The scheduler of dask://.* was lost"):
            engine.map(slow, range(100), progress)


def test_that_parts_are_merged_in_one_order_however_many_there_are(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = partial.parts_of(load([path]), "predictions")

    def told_of(part: partial.Part) -> str:
        return str(len(part.rows()))

    def joined(one: str, other: str) -> str:
        return f"({one} {other})"

    assert partial.folded(told_of, joined, parts[:4], LOCAL) == "(((1600 1600) 1600) 1600)"
    monkeypatch.setattr(partial, "_MOST_MERGED_HERE", 2)
    assert partial.folded(told_of, joined, parts[:4], LOCAL) == "((1600 1600) (1600 1600))"
