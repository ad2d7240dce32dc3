"""The form made from the options of a question."""

from dataclasses import dataclass
from typing import Any

import pytest

from runglass.gui.widgets.option_form import OptionForm
from runglass.models.question import Option, Question, option


def options(count: int, advanced: int = 0) -> tuple[Option, ...]:
    fields: dict[str, Any] = {f"plain_{n}": option("", help="a text") for n in range(count)}
    fields |= {f"rare_{n}": option("", help="a text", advanced=True) for n in range(advanced)}
    made = type("Asked", (Question,), {"__annotations__": dict.fromkeys(fields, str), **fields})
    return tuple(dataclass(frozen=True, kw_only=True)(made).options())


@pytest.fixture
def form(qtbot: Any) -> OptionForm:
    form = OptionForm(lambda _: [])
    qtbot.addWidget(form)
    form.show()
    return form


def in_sight(form: OptionForm) -> list[str]:
    return [name for name, editor in form._editors.items() if editor.isVisible()]


def test_that_a_long_form_hides_its_later_options_until_asked_for(form: OptionForm) -> None:
    form.show_options(options(14, advanced=2), {}, {})
    assert in_sight(form) == [f"plain_{n}" for n in range(9)]
    form._more.click()
    assert len(in_sight(form)) == 16


def test_that_a_hidden_option_that_was_chosen_is_in_sight(form: OptionForm) -> None:
    form.show_options(options(14, advanced=2), {"plain_12": "x", "rare_1": "y"}, {})
    assert in_sight(form) == [*(f"plain_{n}" for n in range(9)), "plain_12", "rare_1"]


@pytest.mark.parametrize("count", [3, 10])
def test_that_a_short_form_shows_all_and_no_button(form: OptionForm, count: int) -> None:
    form.show_options(options(count), {}, {})
    assert len(in_sight(form)) == count
    assert form._more.isHidden()
