"""The look of the window: colours, type and spacing from the tokens of `resources`, applied to Qt.

`appearance()` is the one object that knows which theme is on. Switching it restyles every widget at once; what paints by itself
(plots, icons) listens to `Appearance.changed`.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontDatabase, QIcon, QPalette
from PySide6.QtWidgets import QApplication

from ..resources import DEFAULT_PALETTE, Theme, path
from ..resources import theme as load_theme
from .signs import SignEngine

Mode = Literal["system", "light", "dark"]

TEXT, CAPTION, TICK = 12.5, 11.0, 10.0
"""Sizes of type in pixels at the system's usual text size."""

STYLE = ("-style", "fusion")
"""How the style that themes are made for is asked of Qt, among the arguments of the application; `QApplication.setStyle` would
bring a class of six hundred names into being before there is a window."""

GRID = 4
"""Everything is spaced by multiples of this, in pixels."""


class Appearance(QObject):
    """Which theme is on, and the means to switch it.

    Signals
    -------
    changed(Theme)
        Another theme is on; widgets are restyled already.
    """

    changed = Signal(object)

    def __init__(self, app: QApplication) -> None:
        super().__init__(app)
        self._app = app
        self._mode: Mode = "system"
        self._palette = DEFAULT_PALETTE
        self._applied = False
        self._theme = load_theme(self._resolved())
        app.styleHints().colorSchemeChanged.connect(self._on_system_changed)

    @property
    def theme(self) -> Theme:
        """The theme that is on."""
        return self._theme

    @property
    def mode(self) -> Mode:
        """What was asked for: follow the system, or one theme."""
        return self._mode

    def apply(self, mode: Mode = "system", palette: str = "") -> None:
        """Put a theme on the whole application.

        Parameters
        ----------
        mode : {'system', 'light', 'dark'}
            'system' follows the desktop, also when it changes later.
        palette : str
            Name of the colours of runs and groups; empty takes the first of ours.

        Raises
        ------
        KeyError, ValueError
            When there is no such palette, or it cannot be read; all stays as it was.
        """
        before = self._mode
        self._mode = mode
        try:
            new = load_theme(self._resolved(), palette or DEFAULT_PALETTE)
        except (KeyError, ValueError):
            self._mode = before
            raise
        self._palette = palette
        if self._applied and new is self._theme:
            return
        self._theme, self._applied = new, True
        # A sheet that takes the place of another is applied to each widget once for every widget it is in; one that takes the
        # place of none, once.
        self._app.setStyleSheet("")
        self._app.setFont(font(TEXT))
        self._app.setPalette(_palette(new))
        self._app.setStyleSheet(style_sheet(new))
        self.changed.emit(new)

    def _resolved(self) -> str:
        if self._mode != "system":
            return self._mode
        return "dark" if self._app.styleHints().colorScheme() == Qt.ColorScheme.Dark else "light"

    def _on_system_changed(self) -> None:
        if self._applied and self._mode == "system":
            self.apply("system", self._palette)


def appearance() -> Appearance:
    """Give the appearance of the running application.

    Raises
    ------
    RuntimeError
        When there is no application.
    """
    app = QApplication.instance()
    if not isinstance(app, QApplication):
        raise RuntimeError("There is no application to style.")
    return _appearance_of(app)


@cache
def _appearance_of(app: QApplication) -> Appearance:
    return Appearance(app)


@cache
def family() -> str:
    """Give the family of the window's type: Inter where it is installed, else the system's."""
    if QFontDatabase.hasFamily("Inter"):
        return "Inter"
    return QFontDatabase.systemFont(QFontDatabase.SystemFont.GeneralFont).family()


@cache
def text_scale() -> float:
    """Give how much larger than usual the system's text is (1 where it is 9 to 11 points)."""
    points = QFontDatabase.systemFont(QFontDatabase.SystemFont.GeneralFont).pointSizeF()
    return 1.0 if points <= 11.5 else min(points / 10.0, 2.0)


def font(size: float = TEXT, *, bold: bool = False) -> QFont:
    """Give the window's type with tabular figures.

    Parameters
    ----------
    size : float
        In pixels (`TEXT`, `CAPTION`, `TICK`); scaled with the system's text.
    """
    made = QFont(family())
    # Points are at 96 per inch everywhere but on macOS; setPixelSize takes whole numbers only.
    made.setPointSizeF(size * text_scale() * 72.0 / _dots_per_inch())
    made.setWeight(QFont.Weight.DemiBold if bold else QFont.Weight.Normal)
    if hasattr(made, "setFeature"):  # Qt 6.7
        made.setFeature(QFont.Tag("tnum"), 1)
    return made


def _dots_per_inch() -> float:
    screen = QApplication.primaryScreen()
    return screen.logicalDotsPerInch()


def colour(name: str, opacity: float = 1.0) -> QColor:
    """Give a colour of the theme that is on, by hue or token."""
    made = QColor(appearance().theme.colour(name))
    made.setAlphaF(opacity)
    return made


def icon(name: str, *, active: str = "ink", quiet: str = "muted") -> QIcon:
    """Give an icon by the name of its sign (``ph.export``), muted until hovered, in the colours of the theme that is on.

    Ask again when the theme changes.

    Raises
    ------
    KeyError
        When there is no such sign.
    """
    mode = QIcon.Mode
    colours = {
        mode.Normal: colour(quiet),
        mode.Active: colour(active),
        mode.Selected: colour(active),
        mode.Disabled: colour("muted", 0.4),
    }
    return QIcon(SignEngine(name, colours, colour("accent")))


def _palette(theme: Theme) -> QPalette:
    made = QPalette()
    role = QPalette.ColorRole
    for kind, name in (
        (role.Window, "background"),
        (role.WindowText, "ink"),
        (role.Base, "panel"),
        (role.AlternateBase, "background"),
        (role.Text, "ink"),
        (role.Button, "panel"),
        (role.ButtonText, "ink"),
        (role.BrightText, "bad"),
        (role.Highlight, "selection"),
        (role.HighlightedText, "ink"),
        (role.ToolTipBase, "panel"),
        (role.ToolTipText, "ink"),
        (role.PlaceholderText, "muted"),
        (role.Link, "accent"),
        (role.LinkVisited, "accent"),
        (role.Accent, "accent"),
        (role.Light, "panel"),
        (role.Midlight, "line"),
        (role.Mid, "line"),
        (role.Dark, "line"),
        (role.Shadow, "line"),
    ):
        made.setColor(kind, QColor(theme.colour(name)))
    faded = QColor(theme.colour("muted"))
    faded.setAlphaF(0.55)
    for kind in (role.WindowText, role.Text, role.ButtonText):
        made.setColor(QPalette.ColorGroup.Disabled, kind, faded)
    return made


def _mixed(theme: Theme, one: str, other: str, share: float) -> str:
    """Mix two tokens; `share` is that of the second."""
    a, b = QColor(theme.colour(one)), QColor(theme.colour(other))
    parts = (round(x + (y - x) * share) for x, y in ((a.red(), b.red()), (a.green(), b.green()), (a.blue(), b.blue())))
    return "#{:02x}{:02x}{:02x}".format(*parts)


def style_sheet(theme: Theme) -> str:
    """Write the style sheet of a theme."""
    values: dict[str, Any] = {name: theme.colour(name) for name in theme.tokens}
    values |= {
        "hover": _mixed(theme, "panel", "ink", 0.05),
        "pressed": _mixed(theme, "panel", "ink", 0.10),
        "quiet_button": _mixed(theme, "panel", "ink", 0.055),
        "quiet_hover": _mixed(theme, "panel", "ink", 0.10),
        "thumb": _mixed(theme, "line", "muted", 0.35),
        "accent_hover": _mixed(theme, "accent", "ink", 0.12),
        "caption": f"{CAPTION * text_scale():g}px",
    }
    values["icons"] = path("icons", theme.name).as_posix()
    sheet = path("themes", "window.qss").read_text(encoding="utf-8")
    for name in sorted(values, key=len, reverse=True):
        sheet = sheet.replace(f"@{name}", str(values[name]))
    return sheet
