"""Every test of a kernel runs on both of its twins."""

from __future__ import annotations

import importlib.util

import pytest

from runglass.models import kernels

COMPILED = importlib.util.find_spec("runglass.models.kernels._compiled")


@pytest.fixture(params=["numpy", "compiled"])
def twin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The twin that computes in this test."""
    if request.param == "compiled" and COMPILED is None:
        pytest.skip("the compiled kernels were not built: there was no compiler")
    module = importlib.import_module("runglass.models.kernels._compiled") if request.param == "compiled" else None
    monkeypatch.setattr(kernels, "_in_use", module)
    return str(request.param)
