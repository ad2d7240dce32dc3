"""A network disk whose server has gone: the window lives, says so in a line, reads the rest, and ends when it is closed.

The disk is a folder shown through FUSE by a process that is stopped by a signal, so that the kernel itself keeps everyone
waiting who looks there. This needs ``/dev/fuse`` and the right to mount.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runglass.gui.main_window import MainWindow
from runglass.gui.settings import Settings
from runglass.models.answering import Answering
from runglass.models.loader import Loader
from runglass.models.store import RunStore

SHOW = Path(__file__).parents[1] / "data" / "slow_mount.py"
LONG = 30_000
DETACHED = 2


class Disk:
    """A folder shown through FUSE."""

    def __init__(self, folder: Path, mount: Path) -> None:
        self.folder, self.mount = folder, mount
        folder.mkdir(parents=True)
        mount.mkdir(parents=True)
        self._server = subprocess.Popen(
            [sys.executable, str(SHOW), str(folder), str(mount)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._server.stdout is not None
        if self._server.stdout.readline() != "mounted\n":
            _, said = self._server.communicate(timeout=10)
            pytest.skip(f"nothing can be mounted here: {said.splitlines()[-1] if said else 'no reason'}")

    def stall(self) -> None:
        """Keep everyone waiting from now on."""
        self._server.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Answer again."""
        self._server.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Take the disk away; who waits for it gets an error."""
        self._server.kill()
        ctypes.CDLL(None).umount2(os.fsencode(self.mount), DETACHED)
        self._server.communicate(timeout=10)


def write(folder: Path, steps: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.csv").write_text("step,loss\n" + "".join(f"{step},{3 / (step + 1)}\n" for step in range(steps)))


@pytest.fixture
def disk(tmp_path):
    disk = Disk(tmp_path / "server", tmp_path / "mount")
    write(disk.folder / "far", 5)
    write(tmp_path / "here" / "near", 5)
    yield disk
    disk.end()


def points(store: RunStore) -> dict[str, int]:
    return {key: len(curve.step) for key, run in store.runs.items() for curve in run.curves.values()}


def test_that_a_folder_that_does_not_answer_is_silent_and_others_are_not(disk, tmp_path):
    answering = Answering(0.5)
    paths = [str(disk.mount), str(tmp_path / "here"), str(tmp_path / "nothing"), str(disk.mount / "*" / "metrics.csv")]
    assert answering.silent(paths) == frozenset()
    disk.stall()
    assert answering.silent(paths) == {paths[0], paths[3]}
    begun = time.monotonic()
    assert answering.silent(paths) == {paths[0], paths[3]}
    assert time.monotonic() - begun < 0.4
    disk.go_on()
    deadline = time.monotonic() + 10
    while answering.silent(paths):
        assert time.monotonic() < deadline


def test_that_what_is_beside_a_stalled_disk_is_read_and_followed(disk, tmp_path):
    loader, store = Loader([disk.mount, tmp_path / "here"], patience=0.5), RunStore()

    def look() -> RunStore:
        nonlocal store
        for batch in loader.new_events():
            store = store.adding(batch)
        return store

    assert points(look()) == {"mount/far": 5, "here/near": 5}
    disk.stall()
    write(disk.folder / "far", 9)
    write(tmp_path / "here" / "near", 9)
    assert points(look()) == {"mount/far": 5, "here/near": 9}
    assert [problem.what for problem in store.problems] == ["It does not answer; it is read as soon as it does."]
    assert loader.silent == {str(disk.mount)}
    write(tmp_path / "here" / "near", 12)
    for events in (loader.latest_events(),):
        store = store.adding(events)
    assert points(store) == {"mount/far": 5, "here/near": 12}
    disk.go_on()
    deadline = time.monotonic() + 10
    while loader.silent:
        assert time.monotonic() < deadline
        look()
    assert points(store) == {"mount/far": 9, "here/near": 12}
    assert not store.problems


def test_that_the_window_lives_beside_a_stalled_disk_and_reads_it_when_it_is_back(disk, tmp_path, qtbot):
    window = MainWindow(Settings(tmp_path / "settings.ini"), autosave=tmp_path / "autosave.json")
    qtbot.addWidget(window)
    window.show()
    disk.stall()
    try:
        with qtbot.waitSignal(window.feed.loaded, timeout=LONG):
            window.open([str(disk.mount), str(tmp_path / "here")])
        assert points(window.workspace.now.all) == {"here/near": 5}
        assert "mount does not answer" in window._messages.text
        write(tmp_path / "here" / "near", 8)
        qtbot.waitUntil(lambda: points(window.workspace.now.all).get("here/near") == 8, timeout=LONG)
        disk.go_on()
        qtbot.waitUntil(lambda: points(window.workspace.now.all).get("mount/far") == 5, timeout=LONG)
        qtbot.waitUntil(lambda: not window._messages.text, timeout=LONG)
        assert not window.workspace.now.all.problems
    finally:
        disk.go_on()
        window.close()
    assert not window.left_waiting


CHILD = """
import sys, time
from pathlib import Path
from PySide6.QtCore import QTimer
from runglass.gui import app, main_window
from runglass.models import loader

read, mount = loader._read, sys.argv[1]

def stalled(found, *others):
    # The disk stalls after it was asked for a sign of life, so that a thread of the window waits for it.
    if str(found.source.path).startswith(mount):
        print("reading", flush=True)
        sys.stdin.readline()
    return read(found, *others)

loader._read = stalled
expect = main_window.MainWindow.expect

def kept(window, is_expected):
    expect(window, is_expected)
    timer = QTimer(window)

    def look():
        said = getattr(getattr(window, "_messages", None), "text", "")
        if "waits for a disk" in said:
            print("said", flush=True)
            timer.stop()
            window.close()

    timer.timeout.connect(look)
    timer.start(100)

main_window.MainWindow.expect = kept
raise SystemExit(app.main([mount]))
"""


def test_that_a_window_whose_reading_hangs_says_so_and_ends_when_it_is_closed(disk, tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(disk.mount)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen", "XDG_CONFIG_HOME": str(tmp_path / "config"),
             "XDG_STATE_HOME": str(tmp_path / "state")},
    )  # fmt: skip
    try:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "reading\n"
        disk.stall()
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "said\n"
        # Its threads end with it, but for one that the kernel keeps in a request that the disk has already got.
        state, limit = "R", time.monotonic() + 30
        while child.poll() is None and state != "Z" and time.monotonic() < limit:
            state = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0]
            time.sleep(0.05)
        assert state == "Z" or child.poll() == 0
    finally:
        disk.go_on()
        child.kill()
        child.communicate()
