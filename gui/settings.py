"""What the app remembers between two starts, for this user on this machine: recent folders, theme, palette, geometry.

What belongs to a piece of work is in its session file, not here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_config_path, user_state_path
from PySide6.QtCore import QByteArray, QSettings

from ..models.address import is_address, without_password
from ..models.answering import Answering
from ..models.deferred import deferred
from ..models.errors import SessionError

if TYPE_CHECKING:
    from ..models import session as sessions
    from ..models.column_map import ColumnMap
else:
    sessions = deferred("..models.session", __package__)

_MOST_RECENT = 12
_PATIENCE = 0.2
"""Seconds in which the folders that were open last answer, so that one that does not keeps nobody waiting."""


class Settings:
    """Remembered values, kept in an INI file of the user.

    Parameters
    ----------
    path : Path, optional
        The file; by default in the user's configuration folder.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or user_config_path("runglass", appauthor=False) / "runglass.ini"
        self._values = QSettings(str(self._path), QSettings.Format.IniFormat)
        self._answering = Answering(_PATIENCE)

    def sync(self) -> None:
        """Write what was changed at once."""
        self._values.sync()

    @property
    def recent(self) -> list[str]:
        """What was opened last, newest first; what is gone from this machine is left out."""
        stored: Any = self._values.value("recent", [])
        paths = [stored] if isinstance(stored, str) else [str(path) for path in stored or []]
        here = [path for path in paths if not is_address(path)]
        # Nobody can say whether what lies on a disk that does not answer is gone.
        silent = self._answering.silent(here)
        return [path for path in paths if is_address(path) or path in silent or Path(path).exists()]

    def add_recent(self, path: str) -> None:
        """Remember that something was opened; of an address, no password."""
        path = without_password(path) if is_address(path) else path
        self._values.setValue("recent", [path, *(p for p in self.recent if p != path)][:_MOST_RECENT])

    @property
    def column_maps(self) -> tuple[ColumnMap, ...]:
        """How columns of files were read last, by the pattern of their names."""
        try:
            stored = json.loads(str(self._values.value("column_maps", "{}")))
            return sessions.from_json(stored, Path()).maps
        except (ValueError, SessionError):
            return ()

    @column_maps.setter
    def column_maps(self, maps: tuple[ColumnMap, ...]) -> None:
        maps = tuple(one for one in maps if one.pattern != "*")  # what is said of all files is said of the open ones
        self._values.setValue("column_maps", json.dumps(sessions.to_json(sessions.Session(maps=maps), Path())))

    @property
    def theme(self) -> str:
        """``system``, ``light`` or ``dark``."""
        value = str(self._values.value("theme", "system"))
        return value if value in ("system", "light", "dark") else "system"

    @theme.setter
    def theme(self, name: str) -> None:
        self._values.setValue("theme", name)

    @property
    def palette(self) -> str:
        """Name of the colours of runs and groups; empty where none was chosen."""
        return str(self._values.value("palette", ""))

    @palette.setter
    def palette(self, name: str) -> None:
        self._values.setValue("palette", name)

    @property
    def engine(self) -> str:
        """Where heavy work runs, as the command line names it."""
        return str(self._values.value("engine", "local"))

    @engine.setter
    def engine(self, name: str) -> None:
        self._values.setValue("engine", name)

    @property
    def has_seen_tour(self) -> bool:
        """Whether the user has been shown around."""
        return str(self._values.value("has_seen_tour", "false")) == "true"

    @has_seen_tour.setter
    def has_seen_tour(self, seen: bool) -> None:
        self._values.setValue("has_seen_tour", "true" if seen else "false")

    @property
    def geometry(self) -> QByteArray | None:
        """Size and place of the window."""
        value = self._values.value("geometry")
        return value if isinstance(value, QByteArray) else None

    @geometry.setter
    def geometry(self, value: QByteArray) -> None:
        self._values.setValue("geometry", value)

    @property
    def docks(self) -> QByteArray | None:
        """Arrangement of the side bars."""
        value = self._values.value("docks")
        return value if isinstance(value, QByteArray) else None

    @docks.setter
    def docks(self, value: QByteArray) -> None:
        self._values.setValue("docks", value)


def autosave_path() -> Path:
    """Give the file the current session is kept in, so that a crash loses nothing."""
    return user_state_path("runglass", appauthor=False) / "last_session.json"
