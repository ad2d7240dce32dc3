"""A quiet button with an icon, in the colours of the theme that is on."""

from __future__ import annotations

from PySide6.QtWidgets import QToolButton, QWidget

from ..theme import appearance, icon


class IconButton(QToolButton):
    """A button that shows an icon and says in its tooltip what it does.

    Parameters
    ----------
    name : str
        The icon, by the name of its sign.
    says : str
        What it does, for the tooltip and for who cannot see it.
    """

    def __init__(self, name: str, says: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._name = name
        self.setAutoRaise(True)
        self.setToolTip(says)
        self.setAccessibleName(says)
        self._on_appearance_changed()
        appearance().changed.connect(self._on_appearance_changed)

    def _on_appearance_changed(self) -> None:
        self.setIcon(icon(self._name))
