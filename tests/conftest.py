"""What every test shares: where data is, a Qt that needs no screen, and a watch on what outlives a test."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

ROOT = Path(__file__).parent.parent

# Tests read and write no settings of the person who runs them, except for matplotlib's font cache, which takes
# seconds to build and is the same for all.
_home = tempfile.TemporaryDirectory(prefix="runglass-tests-", ignore_cleanup_errors=True)
for _name in ("CONFIG", "DATA", "STATE", "CACHE"):
    os.environ[f"XDG_{_name}_HOME"] = str(Path(_home.name) / _name.lower())
os.environ.setdefault("MPLCONFIGDIR", str(ROOT / "build" / "matplotlib"))
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ["QT_API"] = "pyside6"

# A slow machine is no failure. Where many changes are judged, the same examples are tried each time; a person's own runs go on
# looking for new ones.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile(
    "ci", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")

from runglass.gui.system_libraries import obstacle  # noqa: E402  the variables above decide its answer

NO_QT = obstacle()
"""Why no test can use Qt here; None if they can."""


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Do without pytest-qt, which stops everything where Qt cannot be imported."""
    if NO_QT is None:
        return
    if pluginmanager.hasplugin("pytest-qt"):
        pluginmanager.unregister(name="pytest-qt")
    else:
        parser.addini("qt_api", "read by pytest-qt")
        parser.addini("qt_log_level_fail", "read by pytest-qt")
        parser.addini("qt_log_ignore", "read by pytest-qt", type="linelist")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out what imports Qt where there is none."""
    if NO_QT is None or collection_path.name == "test_system_libraries.py":
        return None
    parts = collection_path.relative_to(ROOT).parts if collection_path.is_relative_to(ROOT) else ()
    needs_qt = parts[:2] in {("tests", "gui"), ("tests", "end_to_end")}
    return True if needs_qt and collection_path.is_file() else None


def pytest_report_header() -> list[str]:
    return [] if NO_QT is None else ["tests of the window are left out:", *(f"  {line}" for line in NO_QT.splitlines())]


if NO_QT is not None:

    @pytest.fixture
    def qtbot() -> None:
        pytest.skip(f"no Qt: {NO_QT.splitlines()[0]}")

    qapp = qtbot


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real logs and published results: the folder ``../shared/data``, or that of RUNGLASS_SHARED_DATA."""
    folder = Path(os.environ.get("RUNGLASS_SHARED_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("no shared data: neither ../shared/data beside the repository nor RUNGLASS_SHARED_DATA is there")
    return folder


# --- what outlives a test ---


_timers: weakref.WeakSet[Any] = weakref.WeakSet()
_threads: weakref.WeakSet[Any] = weakref.WeakSet()
_pools: weakref.WeakSet[Any] = weakref.WeakSet()


@pytest.fixture(scope="session")
def qapp_args() -> list[str]:
    """Arguments of the application that pytest-qt makes: our window asks for the same style."""
    from runglass.gui.theme import STYLE

    return ["runglass", *STYLE]


@pytest.fixture(scope="session", autouse=True)
def _recorded_starts() -> Iterator[None]:
    """Remember which timers, threads and pools are started: Qt cannot list them."""
    if NO_QT is not None or "pytestqt" not in sys.modules:
        yield
        return
    from datetime import timedelta

    from PySide6.QtCore import QThread, QThreadPool, QTimer

    def start_timer(timer: QTimer, *arguments: Any) -> None:
        _timers.add(timer)
        # As a slot it is handed whatever the signal carries, and Qt would pick the overload that fits.
        original_timer(timer, *[one for one in arguments[:1] if type(one) in (int, timedelta)])

    def start_thread(thread: QThread, *arguments: Any) -> None:
        _threads.add(thread)
        original_thread(thread, *arguments)

    def start_pool(pool: QThreadPool, *arguments: Any) -> None:
        _pools.add(pool)
        original_pool(pool, *arguments)

    original_timer, original_thread, original_pool = QTimer.start, QThread.start, QThreadPool.start
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QTimer, "start", start_timer)
        patch.setattr(QThread, "start", start_thread)
        patch.setattr(QThreadPool, "start", start_pool)
        yield


@pytest.fixture(autouse=True)
def _nothing_outlives_a_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a thread, a running QThread or pool, an active QTimer or a top-level widget behind.

    Look for a missing ``close`` or ``shutdown``, or for a signal connected to a lambda or a partial that keeps its
    widget alive. A test that is about such a thing is marked ``allow_leaks``.
    """
    before = set(_alive())
    failed_before = request.session.testsfailed
    yield
    if request.node.get_closest_marker("allow_leaks") or request.session.testsfailed > failed_before:
        return

    def leaks() -> list[str]:
        return [what for key, what in _alive().items() if key not in before]

    if not _none_within(1.0, leaks):
        pytest.fail("left behind by this test:\n  " + "\n  ".join(leaks()), pytrace=False)


def _none_within(seconds: float, leaks: Callable[[], list[str]]) -> bool:
    """Whether nothing is left, or goes within some seconds: a thread told to stop may be about to."""
    if not leaks():
        return True
    gc.collect()
    deadline = time.monotonic() + seconds
    while leaks():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _alive() -> dict[object, str]:
    """What could outlive a test, described, by something that identifies it."""
    found: dict[object, str] = {
        thread: f"thread {thread!r}" for thread in threading.enumerate() if thread.is_alive() and not thread.daemon
    }
    if NO_QT is None and "PySide6.QtWidgets" in sys.modules:
        found |= _running_in_qt() | _top_level_widgets()
    return found


def _running_in_qt() -> dict[object, str]:
    from shiboken6 import isValid

    return {
        **{one: f"active timer {one!r} of {one.parent()!r}" for one in _timers if isValid(one) and one.isActive()},
        **{one: f"running thread {one!r}" for one in _threads if isValid(one) and one.isRunning()},
        **{one: f"busy pool {one!r}" for one in _pools if isValid(one) and one.activeThreadCount()},
    }


def _top_level_widgets() -> dict[object, str]:
    """Widgets without a parent, by address, after what Qt was asked to delete is deleted."""
    from PySide6.QtCore import QCoreApplication, QEvent
    from PySide6.QtWidgets import QApplication
    from shiboken6 import getCppPointer

    if not isinstance(QApplication.instance(), QApplication):
        return {}
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    return {
        getCppPointer(widget)[0]: f"widget {widget!r} {widget.objectName()!r}"
        for widget in QApplication.topLevelWidgets()
        if widget.parent() is None and not widget.inherits("QTipLabel")
    }
