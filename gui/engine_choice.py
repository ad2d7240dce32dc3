"""Where heavy work runs, as the user of the window chose it, and whether what was chosen can be reached."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt
from PySide6.QtWidgets import (
    QButtonGroup,
    QDialog,
    QDialogButtonBox,
    QLabel,
    QLineEdit,
    QRadioButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ..models.engine import CLUSTER_PROTOCOL, LOCAL, Engine, engine_named
from ..models.errors import RunglassError
from ..models.progress import CancellableProgress
from .widgets.literal_tip import literal_tip

if TYPE_CHECKING:
    from .settings import Settings
    from .tasks import TaskRunner

_SLOT = "engine"
_ABOUT = (
    "A question is answered alike everywhere, to the last bit; a cluster pays for tables larger than memory and for many "
    "resamples. Its workers need the same version of Runglass, and have to see the files under the same name."
)


class EngineChoice(QObject):
    """Holds the engine of the window and shows it in the status bar.

    Parameters
    ----------
    tasks : TaskRunner
        Who is handed the engine, and in whose threads it is tried.
    settings : Settings
        Where the choice is remembered.
    window : QWidget
        Parent of the dialog.

    Attributes
    ----------
    button : QToolButton
        For the status bar: what was chosen, and how it is; hidden for work in this process.
    sentence : str
        How it is, in a sentence; empty until that is known.
    """

    def __init__(self, tasks: TaskRunner, settings: Settings, window: QWidget) -> None:
        super().__init__(window)
        self._tasks, self._settings, self._window = tasks, settings, window
        self._engine: Engine = LOCAL
        self.sentence = ""
        self.button = QToolButton(window)
        self.button.setAutoRaise(True)
        self.button.clicked.connect(self.choose)
        try:
            self._take(engine_named(settings.engine))
        except RunglassError as error:
            self._take(LOCAL)
            self._refuse(error)

    @property
    def name(self) -> str:
        """The engine in use, as the command line names it."""
        return self._engine.name

    def choose(self) -> None:
        """Let the user choose."""
        dialog = EngineDialog(self.name, self.sentence, self._window)
        dialog.accepted.connect(lambda: self.use(dialog.name))
        dialog.open()

    def use(self, name: str) -> None:
        """Run heavy work on the engine of that name from now on; what is no name of one is said, and changes nothing."""
        try:
            engine = engine_named(name)
        except RunglassError as error:
            self._refuse(error)
            return
        before = self._engine
        self._settings.engine = engine.name
        self._take(engine)
        before.close()

    def close(self) -> None:
        """Let go of the engine: the window is closing."""
        self._engine.close()

    def _take(self, engine: Engine) -> None:
        self._engine = engine
        self._tasks.cancel(_SLOT)
        self._tasks.engine = engine
        if not engine.name.startswith(CLUSTER_PROTOCOL):
            self._tell(f"engine: {engine.name}", "")
            self.button.setVisible(engine is not LOCAL)
            return
        self._tell(f"{engine.name}: connecting…", "")
        self.button.show()
        self._tasks.start(
            _SLOT,
            f"Connecting to {engine.name}",
            functools.partial(_looked, engine),
            self._on_reached,
            self._on_not_reached,
        )

    def _refuse(self, error: RunglassError) -> None:
        self._tell(f"⚠ engine: {self.name}", str(error))
        self.button.show()

    def _tell(self, short: str, sentence: str) -> None:
        self.sentence = sentence
        self.button.setText(short)
        self.button.setToolTip(literal_tip(f"{sentence or 'Where heavy work runs.'} Click to choose."))

    def _on_reached(self, sentence: str) -> None:
        self._tell(f"{self.name}: {sentence}", f"{self.name} is reached: {sentence}.")

    def _on_not_reached(self, error: Exception) -> None:
        self._tell(f"⚠ {self.name}: not reached", str(error))


def _looked(engine: Engine, progress: CancellableProgress) -> str:
    """Give what a cluster has, in words; runs in a worker thread."""
    from ..models.cluster import Cluster
    from ..models.result import counted

    assert isinstance(engine, Cluster)
    state = engine.look(progress)
    return f"{counted(state.workers, 'worker')}, {counted(state.threads, 'thread')}"


class EngineDialog(QDialog):
    """Asks where heavy work runs.

    Parameters
    ----------
    name : str
        What is chosen now.
    sentence : str
        How that is.
    """

    def __init__(self, name: str, sentence: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Engine")
        self.setMinimumWidth(420)
        layout = QVBoxLayout(self)
        self._choices = QButtonGroup(self)
        is_cluster = name.startswith(CLUSTER_PROTOCOL)
        for key, text in (("local", "In this process"), ("processes", "On all cores"), ("dask", "On a Dask cluster:")):
            choice = QRadioButton(text, self)
            choice.setObjectName(key)
            choice.setChecked(key == name or (is_cluster and key == "dask"))
            self._choices.addButton(choice)
            layout.addWidget(choice)
        self.address = QLineEdit(name if is_cluster else "", self)
        self.address.setPlaceholderText("dask://host:8786, the address of its scheduler")
        self.address.setAccessibleName("Address of the scheduler")
        self.address.textEdited.connect(lambda: self._choose("dask"))
        layout.addWidget(self.address)
        for text in filter(None, (sentence, _ABOUT)):
            label = QLabel(text, self)
            label.setTextFormat(Qt.TextFormat.PlainText)
            label.setWordWrap(True)
            label.setProperty("role", "muted")
            layout.addWidget(label)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel, self)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout.addWidget(buttons)

    @property
    def name(self) -> str:
        """What is chosen, as the command line names it."""
        chosen = self._choices.checkedButton()
        key = chosen.objectName() if chosen is not None else "local"
        if key != "dask":
            return key
        typed = self.address.text().strip()
        return typed if "://" in typed else f"{CLUSTER_PROTOCOL}{typed}"

    def _choose(self, key: str) -> None:
        for choice in self._choices.buttons():
            choice.setChecked(choice.objectName() == key)
