"""Making the style sheet look again at a widget whose properties changed."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget


def set_property(widget: QWidget, name: str, value: object) -> None:
    """Set a property that the style sheet reads, and apply the rules that fit now; nothing is the same to them as False."""
    if (widget.property(name) or False) != (value or False):
        widget.setProperty(name, value)
        style = widget.style()
        style.unpolish(widget)
        style.polish(widget)
        widget.update()
