"""Which twin of a kernel computes, and who is told."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from runglass.models import kernels
from runglass.models.kernels import VARIABLE, accelerator, twin_in_use

CODE = "from runglass.models.kernels import accelerator, twin_in_use; print(twin_in_use(), accelerator() is None)"


@pytest.mark.parametrize("wanted", ["off", " OFF "])
def test_that_the_variable_keeps_to_numpy(wanted: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", CODE], env=os.environ | {VARIABLE: wanted}, capture_output=True, text=True
    )
    assert said.stdout.split() == ["numpy", "True"], said.stderr


def test_that_the_twin_that_computes_is_named(twin: str) -> None:
    assert twin_in_use() == twin
    assert (accelerator() is None) == (twin == "numpy")


def test_that_numpy_computes_where_no_twin_was_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, "runglass.models.kernels._compiled", None)
    assert kernels._found() is None


def test_that_twins_compiled_from_other_sources_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    compiled = pytest.importorskip("runglass.models.kernels._compiled")
    assert kernels._found() is compiled
    monkeypatch.setattr(compiled, "INTERFACE", compiled.INTERFACE - 1)
    assert kernels._found() is None
