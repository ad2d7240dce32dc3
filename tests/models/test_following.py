"""Logs that are followed: whatever happens to a file, what is shown in the end is what opening it then would show."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest

from runglass.models import loader as loader_module
from runglass.models.loader import Loader, load
from runglass.models.store import RunStore


def event_file(rows: list[tuple[int, float]]) -> bytes:
    def masked(data: bytes) -> bytes:
        crc = google_crc32c.value(data)
        return struct.pack("<I", ((((crc >> 15) | (crc << 17)) & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF)

    found = b""
    for step, value in rows:
        value_bytes = b"\x0a\x04loss\x15" + struct.pack("<f", value)
        summary = b"\x0a" + bytes([len(value_bytes)]) + value_bytes
        payload = (
            b"\x09"
            + struct.pack("<d", 1.7e9 + step)
            + b"\x10"
            + bytes([step])
            + b"\x2a"
            + bytes([len(summary)])
            + summary
        )
        length = struct.pack("<Q", len(payload))
        found += length + masked(length) + payload + masked(payload)
    return found


KINDS: dict[str, tuple[str, Callable[[list[tuple[int, float]]], bytes]]] = {
    "csv": (
        "metrics.csv",
        lambda rows: ("step,loss\n" + "".join(f"{step},{value}\n" for step, value in rows)).encode(),
    ),
    "json lines": (
        "metrics.jsonl",
        lambda rows: "".join(json.dumps({"step": step, "loss": value}) + "\n" for step, value in rows).encode(),
    ),
    "text": ("train.log", lambda rows: "".join(f"step: {step} loss: {value}\n" for step, value in rows).encode()),
    "events": ("events.out.tfevents.1700000000.host", event_file),
}
ROWS = [(step, 1 / (step + 2)) for step in range(1, 31)]
OTHERS = [(step, 5.0 + step) for step in range(1, 41)]


class Followed:
    """A folder with two runs that is open; the second one never changes."""

    def __init__(self, folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        name, self.written = KINDS[kind]
        self.folder = folder / "p"
        self.path = self.folder / "a" / name
        still = self.folder / "still" / name
        for path in (self.path, still):
            path.parent.mkdir(parents=True)
            path.write_bytes(self.written(ROWS))
        self.read: list[str] = []
        real = loader_module._read
        monkeypatch.setattr(
            loader_module,
            "_read",
            lambda found, *rest: (self.read.append(found.source.relative), real(found, *rest))[1],
        )
        self.loader, self.store = Loader([self.folder]), RunStore()
        self.look()

    def look(self) -> list[Any]:
        self.read.clear()
        events = [event for batch in self.loader.new_events() for event in batch]
        self.store = self.store.adding(events)
        return events

    def values(self, run: str = "p/a") -> list[float]:
        return np.asarray(self.store.runs[run].curves["loss"].value, float).tolist()

    def assert_like_opened(self) -> None:
        assert all("still" not in source for source in self.read)
        anew = load([self.folder])
        assert {key: list(run.curves) for key, run in self.store.runs.items()} == {
            key: list(run.curves) for key, run in anew.runs.items()
        }
        for key, run in anew.runs.items():
            for tag, curve in run.curves.items():
                now = self.store.runs[key].curves[tag]
                np.testing.assert_array_equal(now.value, curve.value)
                np.testing.assert_array_equal(now.step, curve.step)


@pytest.fixture(params=list(KINDS))
def followed(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Followed:
    return Followed(tmp_path, request.param, monkeypatch)


def test_that_nothing_is_read_while_nothing_happens(followed: Followed) -> None:
    assert followed.look() == []
    assert followed.read == []


def test_that_of_a_file_that_was_appended_to_only_the_new_is_given(followed: Followed) -> None:
    followed.path.write_bytes(followed.written(ROWS + OTHERS[30:]))
    pieces = [event for event in followed.look() if hasattr(event, "values") and hasattr(event, "step")]
    assert [piece.step.tolist() for piece in pieces] == [[step for step, _ in OTHERS[30:]]]
    followed.assert_like_opened()


def test_that_a_truncated_file_loses_what_it_lost(followed: Followed) -> None:
    followed.path.write_bytes(followed.written(ROWS[:5]))
    followed.look()
    assert len(followed.values()) == 5
    followed.assert_like_opened()


@pytest.mark.parametrize("rows", [OTHERS, OTHERS[:30], OTHERS[:4]])
def test_that_a_replaced_file_is_read_anew(followed: Followed, tmp_path: Path, rows: list[tuple[int, float]]) -> None:
    other = tmp_path / "other"
    other.write_bytes(followed.written(rows))
    other.replace(followed.path)
    followed.look()
    assert followed.values() == pytest.approx([value for _, value in rows])
    followed.assert_like_opened()


def test_that_a_rotated_file_begins_anew_and_its_old_part_is_not_lost(followed: Followed) -> None:
    kept = followed.path.with_name(f"{followed.path.stem}.1{followed.path.suffix}")
    followed.path.rename(kept)
    followed.path.write_bytes(followed.written(OTHERS))
    followed.look()
    shown = [value for run in followed.store.runs if "still" not in run for value in followed.values(run)]
    assert sorted(shown) == pytest.approx(sorted(value for _, value in ROWS + OTHERS))


def test_that_a_vanished_file_stays_on_screen_and_is_read_on_when_it_is_back(followed: Followed) -> None:
    followed.path.unlink()
    followed.look()
    assert followed.values() == pytest.approx([value for _, value in ROWS])
    assert ["gone" in problem.what for problem in followed.store.problems] == [True]
    assert followed.look() == []
    followed.path.write_bytes(followed.written(ROWS + OTHERS[30:]))
    followed.look()
    assert not followed.store.problems
    followed.assert_like_opened()


def test_that_a_run_that_appears_in_a_folder_is_found(followed: Followed) -> None:
    followed.look()
    path = followed.folder / "deep/down" / followed.path.name
    path.parent.mkdir(parents=True)
    path.write_bytes(followed.written(ROWS))
    followed.look()
    assert len(followed.values("p/deep/down")) == len(ROWS)
    followed.assert_like_opened()


def aged(folder: Path) -> None:
    """Let all folders have been as they are for an hour."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            os.utime(path, (path.stat().st_mtime - 3600,) * 2)


def test_that_folders_in_which_nothing_happens_are_not_listed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        (tmp_path / f"p/{number}").mkdir(parents=True)
        (tmp_path / f"p/{number}/metrics.csv").write_text("step,loss\n0,1\n")
    aged(tmp_path / "p")
    loader = Loader([tmp_path / "p"])
    list(loader.new_events())
    listed: list[str] = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (listed.append(Path(path).name), real(path))[1])
    assert list(loader.new_events()) == []
    assert listed == []
    (tmp_path / "p/3/hparams.yaml").write_text("lr: 0.1\n")
    store = RunStore().adding(event for batch in loader.new_events() for event in batch)
    assert listed == ["3"]
    assert store.folder_configs == {"p/3": {"lr": 0.1}}


def test_that_a_folder_is_known_by_what_appears_in_a_folder_in_it(tmp_path: Path) -> None:
    checkpoint = tmp_path / "out/checkpoint-10"
    checkpoint.mkdir(parents=True)
    aged(tmp_path / "out")
    loader, store = Loader([tmp_path / "out"]), RunStore()
    list(loader.new_events())
    rows = [{"step": 10, "epoch": 1.0, "loss": 0.5}]
    (checkpoint / "trainer_state.json").write_text(
        json.dumps({"global_step": 10, "max_steps": 10, "log_history": rows})
    )
    for _ in range(2):
        store = store.adding(event for batch in loader.new_events() for event in batch)
    assert [run.reader for run in store.runs.values() if run.curves] == ["hf trainer"]


@pytest.mark.parametrize("kind", list(KINDS))
def test_that_what_grew_a_moment_ago_is_read_on_without_looking_at_the_rest(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, written = KINDS[kind]
    files = [tmp_path / run / name for run in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.write_bytes(written(ROWS[:4]))
    loader = Loader([str(tmp_path)])
    store = RunStore()

    def look() -> None:
        nonlocal store
        for events in loader.new_events():
            store = store.adding(events)

    def points() -> list[int]:
        return [store.points, *(len(run.curves["loss"]) for run in store.runs.values())]

    look()
    assert not loader.has_recent  # read for the first time, it need not be growing
    assert loader.latest_events() == []
    files[0].write_bytes(written(ROWS[:9]))
    look()
    assert loader.has_recent
    monkeypatch.setattr(loader._discovery, "sources", lambda *_: pytest.fail("folders were looked at"))
    for count in (10, 17, 30):
        files[0].write_bytes(written(ROWS[:count]))
        files[1].write_bytes(written(ROWS[:5]))
        store = store.adding(loader.latest_events())
        assert points() == [count + 4, count, 4]
    assert loader.latest_events() == []
    monkeypatch.setattr(loader_module, "_RECENT_SECONDS", -1.0)
    assert loader.latest_events() == []
    assert not loader.has_recent
    monkeypatch.undo()
    look()
    assert points() == [35, 30, 5]


def test_that_a_log_that_grew_a_moment_ago_may_be_replaced_damaged_or_removed(tmp_path: Path) -> None:
    name, written = KINDS["events"]
    file = tmp_path / "a" / name
    file.parent.mkdir()
    file.write_bytes(written(ROWS[:4]))
    loader = Loader([str(tmp_path)])
    store = RunStore()
    for rows in (ROWS[:4], ROWS[:6]):
        file.write_bytes(written(rows))
        for events in loader.new_events():
            store = store.adding(events)
    file.write_bytes(written(OTHERS[:8]))
    store = store.adding(loader.latest_events())
    (run,) = store.runs.values()
    assert run.curves["loss"].value.tolist() == pytest.approx([value for _, value in OTHERS[:8]])
    assert "replaced" in " ".join(problem.what for problem in store.problems)
    whole = written(OTHERS[:10])
    file.write_bytes(whole[:-30] + b"!!!" + whole[-27:])
    store = store.adding(loader.latest_events())
    assert "damaged" in " ".join(problem.what for problem in store.problems)
    file.unlink()
    assert loader.latest_events() == []
    for events in loader.new_events():
        store = store.adding(events)
    assert "gone" in " ".join(problem.what for problem in store.problems)
    assert not loader.has_recent


@pytest.mark.parametrize("kind", list(KINDS))
def test_that_what_grows_is_read_while_all_there_is_is_looked_at_and_nothing_is_read_twice(
    kind: str, tmp_path: Path
) -> None:
    name, written = KINDS[kind]
    files = [tmp_path / run / name for run in ("a", "b", "c")]
    for file in files:
        file.parent.mkdir()
        file.write_bytes(written(ROWS[:4]))
    loader = Loader([str(tmp_path)])
    store = RunStore()

    def points() -> list[int]:
        return [len(run.curves["loss"]) for run in store.runs.values()]

    for count in (4, 5):
        files[0].write_bytes(written(ROWS[:count]))
        for events in loader.new_events():
            store = store.adding(events)
    told = iter(range(6, 30))

    def give_way() -> None:
        nonlocal store
        count = next(told)
        files[0].write_bytes(written(ROWS[:count]))
        files[2].write_bytes(written(ROWS[:count]))
        store = store.adding(loader.latest_events())
        assert points()[0] == count

    for _ in range(3):
        for events in loader.new_events(give_way=give_way):
            store = store.adding(events)
    store = store.adding(loader.latest_events())
    last = next(told) - 1
    assert points() == [last, 4, last]
    for events in loader.new_events():
        store = store.adding(events)
    assert points() == [last, 4, last]


def test_that_what_answers_again_while_all_there_is_is_looked_at_is_not_taken_as_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, written = KINDS["csv"]
    for run in ("far", "near"):
        (tmp_path / run).mkdir()
        (tmp_path / run / name).write_bytes(written(ROWS[:4]))
    loader = Loader([str(tmp_path / "far"), str(tmp_path / "near")], patience=10.0)
    store = RunStore()
    for events in loader.new_events():
        store = store.adding(events)
    silent = frozenset({str(tmp_path / "far")})
    monkeypatch.setattr(loader._discovery._answering, "silent", lambda _: silent)

    def give_way() -> None:
        nonlocal silent
        silent = frozenset()
        loader.latest_events()

    for events in loader.new_events(give_way=give_way):
        store = store.adding(events)
    assert [problem.source for problem in store.problems] == [str(tmp_path / "far")]
    for events in loader.new_events():
        store = store.adding(events)
    assert not store.problems
