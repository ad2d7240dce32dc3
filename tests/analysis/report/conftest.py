"""Figures that hold every mark and every kind of axis."""

from __future__ import annotations

import numpy as np
import pytest

from runglass.models.figure import (
    Axis,
    Band,
    Bars,
    Cells,
    EdgeMarks,
    FigureSpec,
    Line,
    Panel,
    Points,
    Rule,
    Text,
)


def _curves() -> Panel:
    rng = np.random.default_rng(0)
    x = np.arange(400) * 500.0
    y = 2 + 3 * np.exp(-x / 3e4)
    return Panel(
        key="curves",
        title="val/loss",
        x=Axis(label="step"),
        y=Axis(label="loss (nats)"),
        marks=(
            Line(key="raw", x=x, y=y + rng.normal(0, 0.1, 400), hue="c0", faint_of="smooth"),
            Line(key="smooth", x=x, y=y, hue="c0", label="baseline", width=2),
            Band(key="band", x=x, low=y - 0.1, high=y + 0.1, hue="c7", label="mean, 95 % t interval, n = 5 seeds"),
            Rule(key="at", axis="x", at=1e5),
            EdgeMarks(key="not-finite", x=np.array([1.5e5, 1.5e5]), hue="c1"),
        ),
    )


def _law() -> Panel:
    x = np.geomspace(1e18, 1e22, 12)
    return Panel(
        key="law",
        x=Axis(label="training compute (FLOPs)", scale="log"),
        y=Axis(label="loss (nats)", scale="log"),
        marks=(
            Points(key="fitted", x=x, y=4 * (x / 1e18) ** -0.05, hue="c0", label="fitted"),
            Points(
                key="held", x=x[-2:] * 10, y=np.array([2.3, 2.2]), low=np.array([2.2, 0.0]), high=np.array([2.4, 2.3]),
                hue="c1", label="held out", hollow=True, symbol="star", size=np.array([8.0, 10.0]),
            ),
            Line(key="ext", x=x * 100, y=4 * (x / 1e16) ** -0.05, hue="accent", dash="dashed", label="extrapolation"),
            Text(key="says", x=float(x[-1] * 100), y=2.5, text="2.1 [2.0, 2.2]"),
        ),
    )  # fmt: skip


def _reliability() -> tuple[Panel, Panel]:
    at = np.array([0.3, 0.6, 0.99])
    square = Panel(
        key="rel",
        square=True,
        x=Axis(label="confidence", low=0, high=1),
        y=Axis(label="accuracy", low=0, high=1),
        marks=(
            Rule(key="diagonal", axis="diagonal", label="calibrated"),
            Points(key="bins", x=at, y=at - 0.1, low=at - 0.2, high=at, label="bins"),
            Text(key="ece", x=0.97, y=0.03, inside=True, align="right", text="ECE .040 [.036, .043]"),
            Text(key="over", x=0.97, y=0.05, inside=True, align="right", text="drawn over the other"),
        ),
    )
    counts = Panel(
        key="counts",
        height=0.3,
        shares_x_with="rel",
        x=Axis(label="confidence", low=0, high=1),
        y=Axis(label="items"),
        marks=(Bars(key="n", at=at, height=np.array([10.0, 50.0, 900.0]), width=0.1),),
    )
    return square, counts


def _flips() -> Panel:
    names = ("gemma-7b", "Mistral-7B-Instruct-v0.2", "Qwen1.5-72B-Chat")
    values = np.array([[np.nan, 0.12, 0.4], [0.05, np.nan, 0.3], [0.01, 0.2, np.nan]])
    texts = tuple(tuple("" if np.isnan(v) else f"{v:.2f}" for v in row) for row in values)
    cells = Cells(key="nfr", values=values, rows=names, columns=names, texts=texts, ramp="bad", label="NFR")
    return Panel(key="flips", x=Axis(label="new version"), y=Axis(label="old version"), marks=(cells,))


def _groups() -> Panel:
    groups = tuple(f"category number {n}" for n in range(8))
    height = np.arange(8.0) + 1
    bars = Bars(key="nfr", at=np.arange(8.0), height=height, low=height - 1, high=height + 1, hue="bad", label="NFR")
    return Panel(key="groups", x=Axis(scale="category", names=groups), y=Axis(label="flips (%)"), marks=(bars,))


def _time() -> Panel:
    when = 1.7e9 + np.linspace(0, 7200, 50)
    sideways = Bars(key="b", at=np.array([2.5]), height=np.array([1.7e9 + 600]), base=1.7e9, width=0.5, horizontal=True)
    line = Line(key="l", x=when, y=np.linspace(1, 5, 50), hue="c3", label="run cost $5 of $10")
    return Panel(key="time", x=Axis(label="wall time", scale="time"), y=Axis(inverted=True), marks=(line, sideways))


SAMPLES = {
    "curves": FigureSpec(title="val/loss", subtitle="EMA 0.6, 1 of 3 runs", panels=(_curves(),), caption="One run."),
    "law": FigureSpec(panels=(_law(),)),
    "reliability": FigureSpec(title="Reliability", panels=_reliability()),
    "flips": FigureSpec(panels=(_flips(),)),
    "groups": FigureSpec(panels=(_groups(),)),
    "time": FigureSpec(panels=(_time(),)),
    "grid": FigureSpec(
        title="A title that is far too long to stand on a single line of any column of any paper " * 2,
        columns=2,
        panels=(_curves(), _law(), _flips(), _groups()),
    ),
}
"""Together they hold every mark, every scale, shared axes, a square panel and several columns."""


@pytest.fixture(params=SAMPLES)
def sample(request: pytest.FixtureRequest) -> FigureSpec:
    return SAMPLES[request.param]


@pytest.fixture
def samples() -> dict[str, FigureSpec]:
    return SAMPLES
