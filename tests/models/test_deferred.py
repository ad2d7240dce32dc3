"""Modules and tables that are made when they are first asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

from runglass.models.deferred import deferred
from runglass.models.result import LateTables


def test_that_a_module_is_imported_when_something_of_it_is_first_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "seldom_wanted.py").write_text("VALUE = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = deferred("seldom_wanted")
    assert "seldom_wanted" not in sys.modules
    assert module.VALUE == 3
    assert "seldom_wanted" in sys.modules
    with pytest.raises(AttributeError):
        _ = module.other
    monkeypatch.delitem(sys.modules, "seldom_wanted")


def test_that_a_relative_name_is_found_in_its_package() -> None:
    assert deferred(".deferred", "runglass.models").deferred is deferred


def test_that_a_table_is_made_once_when_it_is_asked_for() -> None:
    made = []

    def make() -> pd.DataFrame:
        made.append(1)
        return pd.DataFrame({"a": [1]})

    tables = LateTables({"runs": make})
    assert list(tables) == ["runs"]
    assert len(tables) == 1
    assert made == []
    assert tables["runs"] is tables["runs"]
    assert made == [1]
    with pytest.raises(KeyError):
        _ = tables["other"]
