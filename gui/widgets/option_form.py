"""A form made from the options of a question: no Apply button, every change is told at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QCompleter,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QPushButton,
    QSizePolicy,
    QSlider,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ...models.errors import RunglassError
from ...models.question import Option
from .literal_tip import literal_tip
from .style_property import set_property

_AUTOMATIC = "automatic"

_MOST_AT_ONCE = 9
"""Options in sight before the others are asked for: what they bring about is to be seen below them."""


class OptionForm(QWidget):
    """Editors for options, one below the other with their names above.

    Parameters
    ----------
    choices : callable
        Gives the values on offer for the `choices` of an option.

    Signals
    -------
    changed(name, value)
        The user chose a value that the option allows.
    """

    changed = Signal(str, object)

    def __init__(self, choices: Callable[[str], list[str]], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._choices = choices
        self._editors: dict[str, _Editor] = {}
        self._shown: tuple[Option, ...] = ()
        self._rare: frozenset[str] = frozenset()
        self._chosen: frozenset[str] = frozenset()
        self._rows = QVBoxLayout(self)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.setSpacing(8)
        self._more = QToolButton(self)
        self._more.setText("More options")
        self._more.setCheckable(True)
        self._more.setArrowType(Qt.ArrowType.RightArrow)
        self._more.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._more.setAutoRaise(True)
        self._more.toggled.connect(self._on_more_toggled)
        self._rows.addWidget(self._more)

    def show_options(self, options: Sequence[Option], values: Mapping[str, Any], resolved: Mapping[str, Any]) -> None:
        """Show options with their values.

        Parameters
        ----------
        options : sequence of Option
        values : Mapping
            What the user chose, by name; what is absent has its default.
        resolved : Mapping
            What was taken where the choice was left to the data.
        """
        if tuple(options) != self._shown:
            self._build(tuple(options))
        for name, editor in self._editors.items():
            editor.show_value(values.get(name, editor.option.default), resolved.get(name))
        # What was chosen stays in sight, and where it stands.
        self._chosen |= {
            name
            for name, editor in self._editors.items()
            if values.get(name, editor.option.default) != editor.option.default
        }
        self._on_more_toggled(self._more.isChecked())

    def _build(self, options: tuple[Option, ...]) -> None:
        for editor in self._editors.values():
            self._rows.removeWidget(editor)
            editor.deleteLater()
        self._rows.removeWidget(self._more)
        self._editors = {}
        self._shown = options
        usual = [option.name for option in options if not option.advanced]
        # A single one more is shown rather than hidden behind a button that takes as much room.
        few = usual if len(usual) <= _MOST_AT_ONCE + 1 else usual[:_MOST_AT_ONCE]
        self._rare = frozenset(option.name for option in options) - frozenset(few)
        self._chosen = frozenset()
        for option in sorted(options, key=lambda option: (option.name in self._rare, option.advanced)):
            if option.name in self._rare and self._rows.indexOf(self._more) < 0:
                self._rows.addWidget(self._more)
            editor = _editor(option, self._choices, self)
            editor.changed.connect(self.changed)
            self._editors[option.name] = editor
            self._rows.addWidget(editor)
        self._on_more_toggled(self._more.isChecked())

    def _on_more_toggled(self, open_: bool) -> None:
        self._more.setArrowType(Qt.ArrowType.DownArrow if open_ else Qt.ArrowType.RightArrow)
        hidden = self._rare - self._chosen
        self._more.setVisible(bool(hidden))
        for name, editor in self._editors.items():
            editor.setVisible(open_ or name not in hidden)


class _Editor(QWidget):
    """Name above, editor below."""

    changed = Signal(str, object)

    def __init__(self, option: Option, parent: QWidget) -> None:
        super().__init__(parent)
        self.option = option
        self.setToolTip(option.help)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        words = option.name.replace("_", " ")
        self.name_label = QLabel(f"{words} ({option.unit})" if option.unit else words, self)
        self.name_label.setProperty("role", "caption")
        layout.addWidget(self.name_label)

    def put(self, editor: QWidget) -> None:
        """Put the editor under the name."""
        editor.setAccessibleName(self.option.name.replace("_", " "))
        editor.setAccessibleDescription(self.option.help)
        self.layout().addWidget(editor)  # type: ignore[union-attr]

    def show_value(self, value: Any, resolved: Any) -> None:
        """Show a value without telling that it changed."""
        raise NotImplementedError

    def tell(self, value: Any) -> None:
        """Tell a new value."""
        self.changed.emit(self.option.name, value)


class _Choice(_Editor):
    """One of fixed values."""

    def __init__(self, option: Option, parent: QWidget) -> None:
        super().__init__(option, parent)
        self._box = QComboBox(self)
        for value in option.fixed:
            self._box.addItem(str(value).replace("_", " ") or _AUTOMATIC, value)
        self._box.activated.connect(lambda: self.tell(self._box.currentData()))
        self.put(self._box)

    def show_value(self, value: Any, resolved: Any) -> None:
        """Show a value without telling that it changed."""
        with QSignalBlocker(self._box):
            self._box.setCurrentIndex(self._box.findData(value))


class _Text(_Editor):
    """A text, with what the data offer; empty leaves it to the data."""

    def __init__(self, option: Option, choices: Callable[[str], list[str]], parent: QWidget) -> None:
        super().__init__(option, parent)
        self._choices = choices
        self._box = QComboBox(self)
        self._box.setEditable(True)
        self._box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self._box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._box.setMinimumContentsLength(8)
        completer = self._box.completer()
        if completer is not None:
            completer.setFilterMode(Qt.MatchFlag.MatchContains)
            completer.setCompletionMode(QCompleter.CompletionMode.PopupCompletion)
        self._box.activated.connect(self._on_box_activated)
        line = self._box.lineEdit()
        assert line is not None
        line.editingFinished.connect(self._on_line_finished)
        self._value = ""
        self.put(self._box)

    def show_value(self, value: Any, resolved: Any) -> None:
        """Show a value without telling that it changed."""
        self._value = "" if value is None else str(value)
        offered = self._choices(self.option.choices)
        with QSignalBlocker(self._box):
            if [self._box.itemText(i) for i in range(1, self._box.count())] != offered:
                self._box.clear()
                self._box.addItem("")
                self._box.addItems(offered)
                for i, text in enumerate(offered, start=1):
                    self._box.setItemData(i, literal_tip(text), Qt.ItemDataRole.ToolTipRole)
            self._box.setEditText(self._value)
            line = self._box.lineEdit()
            assert line is not None
            line.setPlaceholderText(str(resolved) if resolved else _AUTOMATIC)
            line.setCursorPosition(0)

    def _on_box_activated(self) -> None:
        self._tell_if_new(self._box.currentText())

    def _on_line_finished(self) -> None:
        self._tell_if_new(self._box.currentText().strip())

    def _tell_if_new(self, text: str) -> None:
        if text != self._value:
            self._value = text
            self.tell(None if not text and self.option.optional else text)


class _Texts(_Editor):
    """Any number of texts, ticked in a menu."""

    def __init__(self, option: Option, choices: Callable[[str], list[str]], parent: QWidget) -> None:
        super().__init__(option, parent)
        self._choices = choices
        self._value: tuple[str, ...] = ()
        self._button = QPushButton(self)
        self._button.setProperty("field", True)
        self._button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._menu = QMenu(self._button)
        self._menu.aboutToShow.connect(self._on_menu_about_to_show)
        self._button.setMenu(self._menu)
        self.put(self._button)

    def show_value(self, value: Any, resolved: Any) -> None:
        """Show a value without telling that it changed."""
        self._value = tuple(value or ())
        shown = self._value or tuple(resolved or ())
        set_property(self._button, "quiet", not self._value)
        text = ", ".join(shown) or _AUTOMATIC
        # WORKAROUND: the style sheet's padding is not kept by a left-aligned button with a menu.
        self._button.setText("  " + (text if len(text) < 34 else f"{text[:31]}…"))
        self._button.setToolTip(literal_tip(text))

    def _on_menu_about_to_show(self) -> None:
        self._menu.clear()
        offered = self._choices(self.option.choices)
        for text in [*offered, *(value for value in self._value if value not in offered)]:
            action = QAction(text, self._menu)
            action.setCheckable(True)
            action.setChecked(text in self._value)
            action.toggled.connect(lambda on, text=text: self._on_action_toggled(text, on))
            self._menu.addAction(action)
        if not self._menu.actions():
            self._menu.addAction("nothing to choose from").setEnabled(False)

    def _on_action_toggled(self, text: str, on: bool) -> None:
        self._value = (*self._value, text) if on else tuple(value for value in self._value if value != text)
        self.tell(self._value)


class _Flag(_Editor):
    """Yes or no."""

    def __init__(self, option: Option, parent: QWidget) -> None:
        super().__init__(option, parent)
        self._box = QCheckBox(self.name_label.text(), self)
        self.name_label.hide()
        self._box.toggled.connect(self.tell)
        self.put(self._box)

    def show_value(self, value: Any, resolved: Any) -> None:
        """Show a value without telling that it changed."""
        with QSignalBlocker(self._box):
            self._box.setChecked(bool(value))


class _Integer(_Editor):
    """A whole number."""

    def __init__(self, option: Option, parent: QWidget) -> None:
        super().__init__(option, parent)
        self._box = QSpinBox(self)
        self._box.setRange(
            int(option.low) if option.low is not None else -(2**31),
            int(option.high) if option.high is not None else 2**31 - 1,
        )
        self._box.setKeyboardTracking(False)
        self._box.valueChanged.connect(self.tell)
        self.put(self._box)

    def show_value(self, value: Any, resolved: Any) -> None:
        """Show a value without telling that it changed."""
        with QSignalBlocker(self._box):
            self._box.setValue(int(value if value is not None else (resolved or 0)))


class _Bounded(_Editor):
    """A number between two bounds: a slider and a box."""

    _STEPS = 1000

    def __init__(self, option: Option, parent: QWidget) -> None:
        super().__init__(option, parent)
        assert option.low is not None
        assert option.high is not None
        self._low, self._high = option.low, option.high
        row = QWidget(self)
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        self._slider = QSlider(Qt.Orientation.Horizontal, row)
        self._slider.setRange(0, self._STEPS)
        self._slider.setAccessibleName(option.name.replace("_", " "))
        self._slider.valueChanged.connect(self._on_slider_changed)
        self._box = QDoubleSpinBox(row)
        self._box.setRange(self._low, self._high)
        self._box.setDecimals(3)
        self._box.setSingleStep((self._high - self._low) / 100)
        self._box.setKeyboardTracking(False)
        self._box.setFixedWidth(72)
        self._box.valueChanged.connect(self._on_box_changed)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._box)
        self.put(row)

    def show_value(self, value: Any, resolved: Any) -> None:
        """Show a value without telling that it changed."""
        number = float(value if value is not None else (resolved or self._low))
        with QSignalBlocker(self._slider), QSignalBlocker(self._box):
            self._box.setValue(number)
            self._slider.setValue(round((number - self._low) / (self._high - self._low) * self._STEPS))

    def _on_slider_changed(self, at: int) -> None:
        number = round(self._low + (self._high - self._low) * at / self._STEPS, 3)
        with QSignalBlocker(self._box):
            self._box.setValue(number)
        self.tell(number)

    def _on_box_changed(self, number: float) -> None:
        with QSignalBlocker(self._slider):
            self._slider.setValue(round((number - self._low) / (self._high - self._low) * self._STEPS))
        self.tell(number)


class _Number(_Editor):
    """A number in a text field, which turns red while it is none."""

    def __init__(self, option: Option, parent: QWidget) -> None:
        super().__init__(option, parent)
        self._line = QLineEdit(self)
        self._line.editingFinished.connect(self._on_line_finished)
        self._line.textEdited.connect(self._on_line_edited)
        self._text = ""
        self.put(self._line)

    def show_value(self, value: Any, resolved: Any) -> None:
        """Show a value without telling that it changed."""
        text = "" if value is None else f"{value:g}"
        if not self._line.hasFocus() or text != self._text:
            self._line.setText(text)
        self._text = text
        self._line.setPlaceholderText(f"{resolved:.4g}" if isinstance(resolved, int | float) else _AUTOMATIC)
        self._mark("")

    def _on_line_edited(self, text: str) -> None:
        try:
            self.option.parsed(text)
        except RunglassError as error:
            self._mark(str(error))
        else:
            self._mark("")

    def _on_line_finished(self) -> None:
        text = self._line.text().strip()
        if text == self._text:
            return
        try:
            value = self.option.parsed(text)
        except RunglassError as error:
            self._mark(str(error))
            return
        self._text = text
        self.tell(value)

    def _mark(self, error: str) -> None:
        if self._line.property("invalid") != bool(error):
            self._line.setProperty("invalid", bool(error))
            self._line.style().unpolish(self._line)
            self._line.style().polish(self._line)
        self._line.setToolTip(literal_tip(error) or self.option.help)


def _editor(option: Option, choices: Callable[[str], list[str]], parent: QWidget) -> _Editor:
    match option.type:
        case "choice":
            return _Choice(option, parent)
        case "texts":
            return _Texts(option, choices, parent)
        case "boolean":
            return _Flag(option, parent)
        case "integer":
            return _Integer(option, parent) if not option.optional else _Number(option, parent)
        case "number":
            is_bounded = option.low is not None and option.high is not None and not option.optional
            return _Bounded(option, parent) if is_bounded else _Number(option, parent)
        case _:
            return _Text(option, choices, parent)
