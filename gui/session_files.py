"""What is opened and where it is kept: data, session files, what was open before, and a copy against crashes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtWidgets import QFileDialog, QInputDialog, QWidget

from ..analysis import registry
from ..models import session as sessions
from ..models.address import is_address
from ..models.early_reading import EarlyReading
from ..models.errors import NewerSession, RunglassError
from ..models.selection import EVERYTHING
from ..models.session import Grouping, Session
from ..resources import demo_folder
from .feed import Feed
from .pane_area import PaneArea
from .settings import Settings
from .widgets.message_bar import MessageBar
from .workspace import Workspace

_AUTOSAVE_MS = 2_000
_SUFFIX = ".runglass.json"
_KINDS = f"Sessions (*{_SUFFIX})"


class SessionFiles(QObject):
    """Opens data and session files into a workspace, and saves the session.

    Parameters
    ----------
    workspace, feed, area, messages, settings
        Of the window.
    autosave : Path, optional
        Where the session is kept by itself; not at all by default.
    window : QWidget
        Where its dialogs stand.

    Signals
    -------
    saved(name)
        The session was written where the user wanted it.
    """

    saved = Signal(str)

    def __init__(
        self,
        workspace: Workspace,
        feed: Feed,
        area: PaneArea,
        messages: MessageBar,
        settings: Settings,
        autosave: Path | None,
        window: QWidget,
    ) -> None:
        super().__init__(window)
        self._workspace = workspace
        self._feed = feed
        self._area = area
        self._messages = messages
        self._settings = settings
        self._autosave = autosave
        self._window = window
        self._path: Path | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_AUTOSAVE_MS)
        self._timer.timeout.connect(self._on_timer_timeout)
        workspace.changed.connect(self._on_workspace_changed)
        self._timer.start()

    @property
    def path(self) -> Path | None:
        """Where saving writes the session without asking; None where it asks."""
        return self._path

    @property
    def recent(self) -> list[str]:
        """What was opened last, newest first."""
        return self._settings.recent

    @property
    def start_folder(self) -> str:
        """The folder in which dialogs begin: beside what was opened last on this machine."""
        recent = [path for path in self.recent if not is_address(path)]
        return str(Path(recent[0]).parent) if recent else str(Path.home())

    # -- opening --------------------------------------------------------------------------------------------------------

    def open(self, roots: Sequence[str], *, beside: bool = False, begun: EarlyReading | None = None) -> None:
        """Open folders, files, patterns or addresses; a session file is opened as one.

        Parameters
        ----------
        beside : bool
            Whether what is open already is among them, so that what was said of it holds on.
        begun : EarlyReading, optional
            Who reads them already.
        """
        if len(roots) == 1 and roots[0].endswith(_SUFFIX):
            self.open_session(Path(roots[0]))
            return
        session = self._workspace.session
        absolute = tuple(root if is_address(root) else str(Path(root).absolute()) for root in roots)
        if not set(session.roots) <= set(absolute):
            self._path = None  # saving asks where to: the session file tells of other data
        for root in absolute:
            self._settings.add_recent(root)
        if beside:
            # No step to undo: the data that is open would not go with it.
            self._workspace.replace(dataclasses.replace(session, roots=absolute))
            self._feed.open(absolute)
            return
        # Panes and how curves are drawn stay; what was said of the data before does not fit other data.
        self._workspace.replace(
            dataclasses.replace(
                session,
                roots=absolute,
                maps=session.maps or self._settings.column_maps,
                ticked=None,
                highlight=None,
                filter=EVERYTHING,
                run_filter="",
                run_events=(),
                run_notes=(),
                grouping=Grouping(),
            )
        )
        self._feed.open(absolute, begun)

    def drop(self, dropped: Sequence[str]) -> None:
        """Open what was dropped beside what is open."""
        before = [root for root in self._workspace.session.roots if root not in dropped]
        is_session = any(root.endswith(_SUFFIX) for root in dropped)
        if is_session or not before:
            self.open(dropped)
        else:
            self.open([*before, *dropped], beside=True)
        if before and not is_session:
            names = ", ".join(Path(root).name for root in dropped)
            self._messages.say(f"Added {names}.", action="Show only this", act=partial(self.open, dropped))

    def open_demo(self) -> None:
        """Open the bundled sample project, arranged so that each pane has something to say."""
        self.open_session(demo_folder() / f"demo{_SUFFIX}")
        self._path = None  # saving it asks where to: what is shipped stays as it is

    def open_session(self, path: Path) -> None:
        """Open a session file with the data it names."""
        try:
            session = sessions.load(path)
        except RunglassError as error:
            self._messages.say(str(error), kind="bad")
            return
        self._path = path
        if session.theme == "system":
            session = dataclasses.replace(session, theme=self._workspace.session.theme)
        session = dataclasses.replace(session, palette=session.palette or self._workspace.session.palette)
        self._workspace.replace(self._with_askable_panes(session))
        self._area.arrange(session.layout)
        self._feed.open(session.roots)

    def apply_layout(self, path: Path) -> None:
        """Take panes, options and arrangement of a session file, but not its data."""
        try:
            layout = self._with_askable_panes(sessions.load(path))
        except RunglassError as error:
            self._messages.say(str(error), kind="bad")
            return
        kept = {
            name: getattr(layout, name)
            for name in ("panes", "focus", "curves", "grouping", "run_columns", "maps", "theme")
        }
        kept["palette"] = layout.palette or self._workspace.session.palette
        self._workspace.replace(dataclasses.replace(self._workspace.session, **kept))
        self._area.arrange(layout.layout)

    def _with_askable_panes(self, session: Session) -> Session:
        """Give a session that was read without panes whose question this Runglass does not know, and say so."""
        panes = []
        for pane in session.panes:
            try:
                if pane.kind == "analysis":
                    registry.analysis(pane.analysis).question.from_json(dict(pane.question))
            except RunglassError as error:
                self._messages.say(f"The pane {pane.title or pane.key!r} was left out: {error}", kind="bad")
            else:
                panes.append(pane)
        return dataclasses.replace(session, panes=tuple(panes))

    def offer_last_session(self) -> None:
        """Offer what was open when the window was last closed, or when it crashed."""
        if self._autosave is None or not self._autosave.is_file():
            return
        try:
            last = sessions.load(self._autosave)
        except RunglassError as error:
            # What is open next is kept under the same name, so that this file would be lost.
            what = "newer" if isinstance(error, NewerSession) else "damaged"
            kept = self._autosave.with_suffix(f".{what}.json")
            with contextlib.suppress(OSError):
                os.replace(self._autosave, kept)
                self._messages.say(
                    f"Last time's session cannot be opened: {error.what} It is kept as {kept}.", kind="bad"
                )
            return
        if last.roots:
            names = ", ".join(Path(root).name for root in last.roots[:3])
            self._messages.say(
                f"Last time you looked at {names}.", action="Continue", act=partial(self._continue, self._autosave)
            )

    def _continue(self, autosave: Path) -> None:
        self.open_session(autosave)
        self._path = None  # saving asks where to

    # -- saving ---------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Save the session where it came from."""
        if self._path is None:
            self.save_as()
        else:
            self.save_to(self._path)

    def save_as(self) -> None:
        """Let the user choose where to save the session."""
        start = str(Path(self.start_folder) / f"analysis{_SUFFIX}")
        path, _ = QFileDialog.getSaveFileName(self._window, "Save the session", start, _KINDS)
        if path:
            self._path = Path(path if path.endswith(_SUFFIX) else path + _SUFFIX)
            self.save_to(self._path)

    def save_to(self, path: Path) -> None:
        """Save the session to a file, as it is arranged now."""
        try:
            sessions.save(self._arranged(), path)
        except RunglassError as error:
            self._messages.say(str(error), kind="bad")
        else:
            self.saved.emit(path.name)

    def stop(self) -> None:
        """Keep the session a last time."""
        self._timer.stop()
        self._on_timer_timeout()

    def _arranged(self) -> Session:
        return dataclasses.replace(self._workspace.session, layout=self._area.arrangement())

    def _on_workspace_changed(self, *_: object) -> None:
        self._timer.start()

    def _on_timer_timeout(self) -> None:
        if self._autosave is not None and self._workspace.session.roots:
            with contextlib.suppress(RunglassError, OSError):
                self._autosave.parent.mkdir(parents=True, exist_ok=True)
                sessions.save(self._arranged(), self._autosave)

    # -- asking what to open --------------------------------------------------------------------------------------------

    def choose_folder(self) -> None:
        """Let the user choose a folder to open."""
        folder = QFileDialog.getExistingDirectory(self._window, "Open a folder of runs", self.start_folder)
        if folder:
            self.open([folder])

    def choose_files(self) -> None:
        """Let the user choose files to open."""
        files, _ = QFileDialog.getOpenFileNames(self._window, "Open logs or tables", self.start_folder)
        if files:
            self.open(files)

    def choose_address(self) -> None:
        """Let the user type an address, or choose one that was opened before."""
        before = ["", *(one for one in self.recent if is_address(one))]
        label = "Folder, file or pattern elsewhere, such as s3://bucket/runs or sftp://host/path:"
        address, accepted = QInputDialog.getItem(self._window, "Open an address", label, before, 0, True)
        address = address.strip()
        if not accepted or not address:
            return
        if is_address(address):
            self.open([address])
        else:
            self._messages.say(f"{address} has no protocol: write s3://{address}, sftp://{address} or the like.")

    def choose_session(self) -> None:
        """Let the user choose a session file."""
        path, _ = QFileDialog.getOpenFileName(self._window, "Open a session", self.start_folder, _KINDS)
        if path:
            self.open_session(Path(path))

    def choose_layout(self) -> None:
        """Let the user choose a session file whose panes are shown on what is open."""
        path, _ = QFileDialog.getOpenFileName(self._window, "Arrange as in a session", self.start_folder, _KINDS)
        if path:
            self.apply_layout(Path(path))
