"""The guide in the window."""

import pytest
from PySide6.QtCore import QUrl

from runglass.gui.guide import GuideDialog


@pytest.fixture
def dialog(qtbot):
    dialog = GuideDialog()
    qtbot.addWidget(dialog)
    return dialog


def test_that_links_lead_from_page_to_page(dialog):
    assert "Five minutes" in dialog.page.toPlainText()
    dialog.page.anchorClicked.emit(QUrl("4-cookbook.md"))
    assert dialog.page.toPlainText().startswith("Cookbook")


def test_that_every_page_is_offered(dialog):
    assert [name.split()[0] for name in dialog.pages()] == ["1", "2", "3", "4", "5", "6", "7", "9"]


def test_that_pictures_fit_the_page(dialog):
    block, widths = dialog.page.document().begin(), []
    while block.isValid():
        part = block.begin()
        while not part.atEnd():
            form = part.fragment().charFormat().toImageFormat()
            if form.isValid():
                widths.append(form.width())
            part += 1
        block = block.next()
    assert len(widths) == 4
    assert all(0 < width < dialog.width() for width in widths)


def test_that_a_page_outside_the_guide_is_not_read(dialog):
    with pytest.raises(FileNotFoundError):
        dialog.show_page("../../pyproject.toml")
