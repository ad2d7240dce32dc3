"""The message about Qt's libraries, with a loader, a screen and a PySide6 that are made up."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runglass.gui import system_libraries
from runglass.gui.system_libraries import obstacle, platforms


@pytest.fixture
def pyside(tmp_path: Path) -> Path:
    plugins = tmp_path / "Qt" / "plugins" / "platforms"
    plugins.mkdir(parents=True)
    for name in ("xcb", "wayland", "offscreen"):
        (plugins / f"libq{name}.so").touch()
    return tmp_path


def loader_without(*sonames: str) -> Callable[[str], object]:
    """A loader for which some libraries are missing, and with them every plug-in of Qt."""

    def load(name: str) -> object:
        lacking = [soname for soname in sonames if "/" in name or soname == name]
        if lacking:
            raise OSError(f"{lacking[0]}: cannot open shared object file: No such file or directory")
        return object()

    return load


def test_that_nothing_is_said_where_the_plugin_loads_and_the_screen_answers(pyside: Path) -> None:
    message = obstacle(
        {"DISPLAY": ":0"}, system="linux", load=loader_without(), answers=lambda display: True, pyside=pyside
    )
    assert message is None


def test_that_one_message_names_the_packages_of_three_distributions(pyside: Path) -> None:
    load = loader_without("libEGL.so.1", "libxcb-cursor.so.0")
    message = obstacle({"DISPLAY": ":0"}, system="linux", load=load, pyside=pyside)
    assert message is not None
    assert "libEGL.so.1, libxcb-cursor.so.0" in message
    assert "apt-get install libegl1 libxcb-cursor0\n" in message
    assert "dnf install libglvnd-egl xcb-util-cursor\n" in message
    assert message.endswith("pacman -S libglvnd xcb-util-cursor")


def test_that_a_package_with_several_missing_libraries_is_named_once(pyside: Path) -> None:
    load = loader_without("libxcb-randr.so.0", "libxcb-shm.so.0")
    message = obstacle({"DISPLAY": ":0"}, system="linux", load=load, pyside=pyside)
    assert message is not None
    assert "dnf install libxcb\n" in message


def test_that_offscreen_needs_neither_a_screen_nor_the_libraries_of_x11(pyside: Path) -> None:
    asked: list[str] = []

    def load(name: str) -> object:
        asked.append(name)
        raise OSError(name)

    message = obstacle({"QT_QPA_PLATFORM": "offscreen"}, system="linux", load=load, pyside=pyside)
    assert message is not None
    assert "libegl1" in message
    assert not [name for name in asked if name.startswith("libxcb")]
    assert obstacle({"QT_QPA_PLATFORM": "offscreen"}, system="linux", load=loader_without(), pyside=pyside) is None


def test_that_a_library_qt_does_without_is_not_asked_for(pyside: Path) -> None:
    def load(name: str) -> object:
        if "/" not in name:
            raise OSError(name)
        return object()

    assert obstacle({"QT_QPA_PLATFORM": "offscreen"}, system="linux", load=load, pyside=pyside) is None


def test_that_an_unknown_reason_is_passed_on(pyside: Path) -> None:
    def load(name: str) -> object:
        if "/" in name:
            raise OSError("version `GLIBC_2.99' not found")
        return object()

    message = obstacle({"DISPLAY": ":0"}, system="linux", load=load, pyside=pyside)
    assert message is not None
    assert "GLIBC_2.99" in message


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "neither DISPLAY nor WAYLAND_DISPLAY"),
        ({"DISPLAY": ":5"}, "the X server :5 does not answer"),
        ({"WAYLAND_DISPLAY": "wayland-7", "XDG_RUNTIME_DIR": "/nowhere"}, "/nowhere/wayland-7"),
    ],
)
def test_that_a_missing_screen_is_named_with_what_works_without(
    pyside: Path, environ: dict[str, str], words: str
) -> None:
    message = obstacle(
        environ,
        headless=("inspect", "ask"),
        system="linux",
        load=loader_without(),
        answers=lambda display: False,
        pyside=pyside,
    )
    assert message is not None
    assert words in message
    assert message.endswith("These commands need no window: runglass inspect, ask.")


def test_that_x11_is_enough_in_a_wayland_session_that_does_not_answer(pyside: Path) -> None:
    environ = {"WAYLAND_DISPLAY": "wayland-7", "XDG_RUNTIME_DIR": "/nowhere", "DISPLAY": ":0"}
    message = obstacle(environ, system="linux", load=loader_without(), answers=lambda display: True, pyside=pyside)
    assert message is None


def test_that_other_systems_than_linux_need_no_look_at_libraries(pyside: Path) -> None:
    assert obstacle({}, system="darwin", load=loader_without("libEGL.so.1"), pyside=pyside) is None


def test_that_a_missing_pyside_is_answered_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_libraries, "_find_pyside", lambda: None)
    message = obstacle({"DISPLAY": ":0"}, system="linux")
    assert message is not None
    assert f'"{sys.executable}" -m pip install "PySide6-Essentials' in message


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ("xcb",)),
        ({"XDG_SESSION_TYPE": "wayland"}, ("wayland", "xcb")),
        ({"QT_QPA_PLATFORM": "offscreen:size=800x600"}, ("offscreen:size=800x600",)),
        ({"QT_QPA_PLATFORM": "wayland;xcb", "DISPLAY": ":0"}, ("wayland", "xcb")),
    ],
)
def test_that_platforms_are_tried_in_the_order_of_qt(environ: dict[str, str], expected: tuple[str, ...]) -> None:
    assert platforms(environ) == expected
