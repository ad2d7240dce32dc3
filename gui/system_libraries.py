"""Whether Qt can open a window here, asked before Qt is imported, and what to do if it cannot.

On a bare Linux system Qt fails in ways that tell a researcher nothing: an ImportError about
``libEGL.so.1``, or a process that aborts because "no Qt platform plugin could be initialized".
`obstacle` looks first, with the standard library only, and returns one message that names the
packages to install, or None.

The truth is asked of the loader: Qt's own platform plug-in is loaded, as Qt would load it. Only if
that fails are the libraries it needs tried one by one, so that all that is missing is named at once
and nothing is called missing that Qt does not need.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["obstacle", "platforms", "without_pyside"]

Loader = Callable[[str], object]
"""Loads a shared library by soname or path, or raises OSError, as `ctypes.CDLL` does."""


@dataclass(frozen=True, slots=True)
class Library:
    """A shared library Qt needs, and the packages that bring it."""

    soname: str
    debian: str
    fedora: str
    arch: str


_BASE = (
    Library("libEGL.so.1", "libegl1", "libglvnd-egl", "libglvnd"),
    Library("libGL.so.1", "libgl1", "libglvnd-glx", "libglvnd"),
    Library("libX11.so.6", "libx11-6", "libX11", "libx11"),
    Library("libxkbcommon.so.0", "libxkbcommon0", "libxkbcommon", "libxkbcommon"),
    Library("libdbus-1.so.3", "libdbus-1-3", "dbus-libs", "dbus"),
    Library("libfontconfig.so.1", "libfontconfig1", "fontconfig", "fontconfig"),
    Library("libfreetype.so.6", "libfreetype6", "freetype", "freetype2"),
    Library("libglib-2.0.so.0", "libglib2.0-0", "glib2", "glib2"),
)
_XCB = (
    Library("libxkbcommon-x11.so.0", "libxkbcommon-x11-0", "libxkbcommon-x11", "libxkbcommon-x11"),
    Library("libX11-xcb.so.1", "libx11-xcb1", "libX11-xcb", "libx11"),
    Library("libxcb.so.1", "libxcb1", "libxcb", "libxcb"),
    Library("libxcb-cursor.so.0", "libxcb-cursor0", "xcb-util-cursor", "xcb-util-cursor"),
    Library("libxcb-icccm.so.4", "libxcb-icccm4", "xcb-util-wm", "xcb-util-wm"),
    Library("libxcb-image.so.0", "libxcb-image0", "xcb-util-image", "xcb-util-image"),
    Library("libxcb-keysyms.so.1", "libxcb-keysyms1", "xcb-util-keysyms", "xcb-util-keysyms"),
    Library("libxcb-randr.so.0", "libxcb-randr0", "libxcb", "libxcb"),
    Library("libxcb-render.so.0", "libxcb-render0", "libxcb", "libxcb"),
    Library("libxcb-render-util.so.0", "libxcb-render-util0", "xcb-util-renderutil", "xcb-util-renderutil"),
    Library("libxcb-shape.so.0", "libxcb-shape0", "libxcb", "libxcb"),
    Library("libxcb-shm.so.0", "libxcb-shm0", "libxcb", "libxcb"),
    Library("libxcb-sync.so.1", "libxcb-sync1", "libxcb", "libxcb"),
    Library("libxcb-util.so.1", "libxcb-util1", "xcb-util", "xcb-util"),
    Library("libxcb-xfixes.so.0", "libxcb-xfixes0", "libxcb", "libxcb"),
    Library("libxcb-xkb.so.1", "libxcb-xkb1", "libxcb", "libxcb"),
)
_WAYLAND = (
    Library("libwayland-client.so.0", "libwayland-client0", "libwayland-client", "wayland"),
    Library("libwayland-cursor.so.0", "libwayland-cursor0", "libwayland-cursor", "wayland"),
)
_LIBRARIES = {"xcb": _BASE + _XCB, "wayland": _BASE + _WAYLAND}
_SCREENLESS = ("offscreen", "minimal", "vnc", "eglfs", "linuxfb", "minimalegl", "vkkhrdisplay")


def obstacle(
    environ: Mapping[str, str] | None = None,
    *,
    headless: Sequence[str] = (),
    system: str = sys.platform,
    load: Loader = ctypes.CDLL,
    answers: Callable[[str], bool] | None = None,
    pyside: Path | None = None,
) -> str | None:
    """What stands between this process and a Qt window, as a message for the user; None if nothing does.

    Parameters
    ----------
    environ
        Environment variables; those of the process if None.
    headless
        Commands that need no window, to be named in the message.
    system
        As `sys.platform`. Only on Linux do system libraries or a screen have to be looked for.
    load
        Loads a shared library or raises OSError.
    answers
        Whether the X server of a display name accepts this process; asked of libxcb if None.
    pyside
        The folder of PySide6; found without importing it if None.
    """
    environ = os.environ if environ is None else environ
    message = _obstacle(environ, system, load, answers, pyside)
    if message is None or not headless:
        return message
    return f"{message}\nThese commands need no window: runglass {', '.join(headless)}."


def _obstacle(
    environ: Mapping[str, str],
    system: str,
    load: Loader,
    answers: Callable[[str], bool] | None,
    pyside: Path | None,
) -> str | None:
    pyside = _find_pyside() if pyside is None else pyside
    if pyside is None:
        return without_pyside()
    if not system.startswith("linux"):
        return None
    candidates = platforms(environ)
    first_failure: str | None = None
    for platform in candidates:
        failure = _missing(platform, pyside, load) or _no_screen(platform, environ, answers or _x_server_answers)
        if failure is None:
            return None
        first_failure = first_failure or failure
    return first_failure


def platforms(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The Qt platforms Qt will try on Linux, in its order, each with its arguments if it has any.

    ``QT_QPA_PLATFORM`` decides alone; otherwise Wayland is tried first in a Wayland session and X11 always.
    """
    chosen = tuple(name for name in environ.get("QT_QPA_PLATFORM", "").split(";") if name)
    if chosen:
        return chosen
    in_wayland = "WAYLAND_DISPLAY" in environ or environ.get("XDG_SESSION_TYPE") == "wayland"
    return ("wayland", "xcb") if in_wayland else ("xcb",)


def without_pyside() -> str:
    """What to do where PySide6 is not installed."""
    return (
        "The window needs PySide6, which is not installed in this Python.\n"
        f'  Install it:  "{sys.executable}" -m pip install "PySide6-Essentials{_pyside_bounds()}"'
    )


def _pyside_bounds() -> str:
    """The versions of PySide6 that are safe on this Python, as in pyproject.toml."""
    return ">=6.8,<6.12" if sys.version_info < (3, 12) else ">=6.8"


def _find_pyside() -> Path | None:
    found = importlib.util.find_spec("PySide6")
    locations = None if found is None else found.submodule_search_locations
    return Path(next(iter(locations))) if locations else None


def _missing(platform: str, pyside: Path, load: Loader) -> str | None:
    """What the loader lacks for a Qt platform, as a message; None if Qt's own plug-in loads.

    A PySide6 that keeps its plug-ins elsewhere came from a package manager, which saw to the libraries.
    """
    name = platform.partition(":")[0]
    plugin = pyside / "Qt" / "plugins" / "platforms" / f"libq{name}.so"
    if not plugin.exists():
        return None
    try:
        load(str(plugin))
    except OSError as error:
        reason = str(error)
    else:
        return None
    missing = [library for library in _LIBRARIES.get(name, _BASE) if not _loads(library.soname, load)]
    if not missing:
        return f"Qt cannot start on this system: its {name} platform does not load.\n  The loader says: {reason}"
    return _install(missing)


def _loads(soname: str, load: Loader) -> bool:
    try:
        load(soname)
    except OSError:
        return False
    return True


def _install(missing: Sequence[Library]) -> str:
    def packages(names: Sequence[str]) -> str:
        return " ".join(dict.fromkeys(names))

    return (
        f"The window needs libraries that this system lacks: {', '.join(one.soname for one in missing)}.\n"
        "Install them, as root:\n"
        f"  Debian, Ubuntu:  apt-get install {packages([one.debian for one in missing])}\n"
        f"  Fedora:          dnf install {packages([one.fedora for one in missing])}\n"
        f"  Arch:            pacman -S {packages([one.arch for one in missing])}"
    )


def _no_screen(platform: str, environ: Mapping[str, str], answers: Callable[[str], bool]) -> str | None:
    name, _, argument = platform.partition(":")
    if name in _SCREENLESS:
        return None
    remedy = "For a window on a machine without one: xvfb-run runglass ..., ssh -X, or a remote desktop."
    if name == "wayland":
        if _wayland_socket(environ).exists():
            return None
        return f"No screen found: there is no Wayland compositor at {_wayland_socket(environ)}.\n{remedy}"
    display = argument or environ.get("DISPLAY", "")
    if not display:
        return f"No screen found: neither DISPLAY nor WAYLAND_DISPLAY is set.\n{remedy}"
    if not answers(display):
        return f"No screen found: the X server {display} does not answer or refuses this user.\n{remedy}"
    return None


def _wayland_socket(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("XDG_RUNTIME_DIR", "/run")) / environ.get("WAYLAND_DISPLAY", "wayland-0")


def _x_server_answers(display: str) -> bool:
    """Whether libxcb can connect to a display: Qt would abort the process if not."""
    xcb = ctypes.CDLL("libxcb.so.1")
    xcb.xcb_connect.restype = ctypes.c_void_p
    xcb.xcb_connect.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    xcb.xcb_connection_has_error.argtypes = [ctypes.c_void_p]
    xcb.xcb_disconnect.argtypes = [ctypes.c_void_p]
    connection = xcb.xcb_connect(display.encode(), None)
    try:
        return bool(xcb.xcb_connection_has_error(connection) == 0)
    finally:
        xcb.xcb_disconnect(connection)
