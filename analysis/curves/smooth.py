"""``curve.smooth``: learning curves, smoothed at full resolution, along any x axis.

Display only: nothing is estimated. The default is TensorBoard's debiased moving average, number for number. Smoothing
by distance along x ('half-life', 'mean', 'gaussian') looks the same whatever the logging stride.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np

from ...models.deferred import deferred
from ...models.engine import LOCAL, Engine
from ...models.figure import Axis, EdgeMarks, FigureSpec, Keys, Line, Mark, Panel
from ...models.growing_array import Growing, divided, extremes, finite_values, grown, lineage
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.reductions import higher_is_better
from ...models.result import LateTables, Result, counted, significant
from ...models.run_names import telling_names
from ...models.store import RunStore
from ..alignment import Aligned, aligned, axis_along, default_tag, default_x
from ..common_range import CommonRange, percentile_range, range_of_ends
from ..curve_marks import drawable
from ..health import HealthMark
from ..health_marks import event_marks, event_notes, events_on
from ..seed_curves import monotone

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")


_SHORT = 20_000
"""Values that are averaged with numpy: pandas is quicker with more, but takes as long to import as the window to open."""

_BLOCK, _BITS = 64, 54


def ema(y: np.ndarray, weight: float) -> np.ndarray:
    """Give TensorBoard's debiased exponential moving average.

    ``last = weight * last + (1 - weight) * y``, given as ``last / (1 - weight**n)`` with n the number of finite values
    so far. Values that are not finite pass through and do not count; a constant series is given back as it is.

    Parameters
    ----------
    y : ndarray, shape (n,)
    weight : float
        In [0, 1).

    Notes
    -----
    TensorBoard, ``tensorboard/webapp/widgets/line_chart_v2/data_transformer.ts`` and ``vz_line_chart.ts``
    (``resmoothDataset``). The adjusted average of pandas is the same sum, computed in one pass.
    """
    finite = np.isfinite(y)
    if not len(y) or weight <= 0 or (finite.all() and (y == y[0]).all()):
        return np.array(y, float)
    if len(y) <= _SHORT:
        means = np.array(y, float)
        means[finite] = _short_ema(means[finite], weight)
        return means
    numbers = pd.Series(np.where(finite, y, np.nan))
    means = numbers.ewm(alpha=1 - weight, adjust=True, ignore_na=True).mean().to_numpy()
    return np.where(finite, means, y)


def _short_ema(values: np.ndarray, weight: float) -> np.ndarray:
    """Give `ema` of finite values: within blocks as a matrix product, each block taking over what is left of those before."""
    blocks = -(-len(values) // _BLOCK)
    padded = np.zeros(blocks * _BLOCK)
    padded[: len(values)] = (1 - weight) * values
    fade = weight ** np.arange(_BLOCK + 1.0)
    place = np.arange(_BLOCK)
    sums = padded.reshape(blocks, _BLOCK) @ np.tril(fade[np.abs(place[:, None] - place)]).T
    left, before = 0.0, np.empty(blocks)
    for block, end in enumerate(sums[:, -1].tolist()):
        before[block] = left
        left = end + float(fade[-1]) * left
    sums += before[:, None] * fade[1:]
    means: np.ndarray = sums.ravel()[: len(values)]
    # Later the divisor is 1 to the last bit.
    young = min(len(means), math.ceil(-_BITS / math.log2(weight)))
    means[:young] /= -np.expm1(np.arange(1, young + 1) * math.log(weight))
    return means


@Growing
def growing_ema(state: _Average | None, y: np.ndarray, start: int, weight: float) -> _Average:
    """Give `ema` of values that grow."""
    new = y[start:].tolist()
    if state is None or (state.constant is not None and any(value != state.constant for value in new)):
        values = ema(y, weight)
        if lineage(y) is not None:
            values = grown(np.empty(0), values)
        there = y[np.isfinite(y)]
        is_constant = len(there) == len(y) > 0 and bool((y == y[0]).all())
        means = values[np.isfinite(y)]
        return _Average(
            values, float(means[-1]) if len(means) else np.nan, len(there), float(y[0]) if is_constant else None
        )
    # As pandas does it: the mean so far counts as much as all values so far together, each with its weight.
    last, count, added = state.last, state.count, []
    past = (1 - weight**count) / (1 - weight)
    for value in new:
        if not math.isfinite(value):
            added.append(value)
            continue
        past *= weight
        last = value if not count or last == value else (past * last + value) / (past + 1)
        past, count = past + 1, count + 1
        added.append(last)
    return _Average(grown(state.values, np.array(added)), last, count, state.constant)


@dataclass(frozen=True, slots=True)
class _Average:
    """A moving average and what it goes on from: the mean so far, how many values are in it, their value if all are one."""

    values: np.ndarray
    last: float
    count: int
    constant: float | None


def half_life_average(x: np.ndarray, y: np.ndarray, half_life: float) -> np.ndarray:
    """Give the moving average whose memory halves every `half_life` of x, whatever the stride.

    ``rho = 2**(-(x[t] - x[t-1]) / half_life)``, ``out[t] = rho * out[t-1] + (1 - rho) * y[t]``, started at the first
    finite value. A stride k times as long turns rho into ``rho**k`` (curve.smooth of the catalogue). It lags by about
    1.44 half-lives.
    """
    out = np.array(y, float)
    finite = np.flatnonzero(np.isfinite(y))
    if not len(finite):
        return out
    kept = np.exp2(-np.abs(np.diff(x[finite])) / half_life).tolist()
    values = y[finite].tolist()
    last = values[0]
    smoothed = [last]
    for rho, value in zip(kept, values[1:], strict=True):
        last = value + rho * (last - value)
        smoothed.append(last)
    out[finite] = smoothed
    return out


def centred_mean(x: np.ndarray, y: np.ndarray, width: float) -> np.ndarray:
    """Give the mean of the finite values within ``width / 2`` of each x, on both sides."""
    out = np.array(y, float)
    finite = np.flatnonzero(np.isfinite(y))
    if not len(finite):
        return out
    order = finite[np.argsort(x[finite], kind="stable")]
    places = x[order]
    middle = float(np.mean(y[order]))  # the running sum then stays small, and so does its rounding
    sums = np.concatenate([[0.0], np.cumsum(y[order] - middle)])
    low = np.searchsorted(places, places - width / 2, side="left")
    high = np.searchsorted(places, places + width / 2, side="right")
    out[order] = middle + (sums[high] - sums[low]) / (high - low)
    return out


def gaussian_mean(x: np.ndarray, y: np.ndarray, width: float) -> np.ndarray:
    """Give the mean of the finite values weighted by a Gaussian of their distance in x, with standard deviation
    `width`.

    The Nadaraya-Watson estimate (1964), summed on a grid of a twentieth of the width: its error is below a thousandth
    of the range of the values. Four standard deviations are summed.
    """
    out = np.array(y, float)
    finite = np.isfinite(y)
    places, values = x[finite], y[finite]
    span = float(np.ptp(places)) if len(places) else 0.0
    if span == 0:
        out[finite] = values.mean() if len(values) else values
        return out
    cell = max(width / 20, span / 1_000_000)
    at = (places - places.min()) / cell
    left = at.astype(np.int64)
    share = at - left
    cells = int(left.max()) + 2
    middle = float(values.mean())
    reach = int(np.ceil(4 * width / cell))
    if reach == 0:
        return out
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * cell / width) ** 2)

    def spread(weights: np.ndarray) -> np.ndarray:
        binned = np.bincount(left, weights * (1 - share), cells) + np.bincount(left + 1, weights * share, cells)
        smooth = np.convolve(binned, kernel)[reach : reach + cells]
        return np.asarray(smooth[left] * (1 - share) + smooth[left + 1] * share)

    out[finite] = middle + spread(values - middle) / spread(np.ones(len(values)))
    return out


def running_median(x: np.ndarray, y: np.ndarray, width: float) -> np.ndarray:
    """Give the median of the finite values about each x, which single spikes do not move.

    As many values as lie within `width` at the usual stride of the curve, an odd number; at the ends as many on either side
    as there are (Tukey 1977).
    """
    from scipy.ndimage import median_filter

    out = np.array(y, float)
    finite = np.flatnonzero(np.isfinite(y))
    if len(finite) < 3:
        return out
    order = finite[np.argsort(x[finite], kind="stable")]
    stride = float(np.median(np.diff(x[order])))
    half = min(round(width / 2 / stride) if stride > 0 else 1, (len(order) - 1) // 2)
    values = y[order]
    found = median_filter(values, size=2 * half + 1, mode="nearest")
    for i in range(half):
        found[i], found[-1 - i] = np.median(values[: 2 * i + 1]), np.median(values[len(values) - 2 * i - 1 :])
    out[order] = found
    return out


def closest_monotone(x: np.ndarray, y: np.ndarray, *, rising: bool) -> np.ndarray:
    """Give the closest curve to the finite values that never turns back, by pool-adjacent-violators."""
    out = np.array(y, float)
    finite = np.flatnonzero(np.isfinite(y))
    order = finite[np.argsort(x[finite], kind="stable")]
    if len(order):
        out[order] = monotone(y[order], rising=rising)
    return out


def smoothed(curve: Aligned, smoother: str, weight: float, width: float, *, rising: bool = False) -> np.ndarray:
    """Give the smoothed y of a curve, shape (n,), each monotonic piece on its own."""
    if smoother == "none" or (smoother == "ema" and weight <= 0):
        return curve.y
    if smoother == "ema" and len(curve.starts) == 1:
        return growing_ema(curve.y, weight).values
    out = np.array(curve.y, float)
    for piece in curve.pieces():
        x, y = curve.x[piece], curve.y[piece]
        match smoother:
            case "ema":
                out[piece] = ema(y, weight)
            case "half-life":
                out[piece] = half_life_average(x, y, width)
            case "mean":
                out[piece] = centred_mean(x, y, width)
            case "gaussian":
                out[piece] = gaussian_mean(x, y, width)
            case "median":
                out[piece] = running_median(x, y, width)
            case "isotonic":
                out[piece] = closest_monotone(x, y, rising=rising)
    return out


@dataclass(frozen=True, slots=True)
class SmoothCurve:
    """A run's curve, raw and smoothed.

    Attributes
    ----------
    raw : Aligned
        As logged, along the chosen x.
    smooth : ndarray, shape (n,)
        The smoothed y.
    events : tuple of HealthMark
        Spikes, divergence and restarts, with positions in the two.
    """

    raw: Aligned
    smooth: np.ndarray
    events: tuple[HealthMark, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SmoothCurves(Result):
    """Curves of one tag.

    Attributes
    ----------
    curves : tuple of SmoothCurve
        One a run, in the order of discovery.
    tag, x : str
        What is drawn along what.
    method : str
        Smoother and parameter, in words; empty where nothing was smoothed.
    """

    curves: tuple[SmoothCurve, ...]
    tag: str
    x: str
    method: str

    def summary(self) -> str:
        """Give the answer in one sentence."""
        smoothing = f"smoothed by {self.method}" if self.method else "as logged"
        return f"{self.tag} of {counted(len(self.curves), 'run')} along {self.x}, {smoothing}."


@dataclass(frozen=True, kw_only=True)
class SmoothQuestion(Question):
    """What do the curves look like without the noise of logging, on a common axis?"""

    needs: ClassVar = (Need("scalars"),)

    tag: str = option("", help="metric to draw; empty takes the most useful one", choices="tags")
    smoother: Literal["ema", "half-life", "mean", "gaussian", "median", "isotonic", "none"] = option(
        "ema", help="how curves are smoothed; ema is TensorBoard's, median ignores spikes, isotonic never turns back"
    )
    weight: float = option(0.6, help="weight of the past in 'ema'", low=0.0, high=0.999)
    width: float | None = option(
        None,
        help="half-life, window or standard deviation of the other smoothers; 2 % of the x range if none",
        unit="x",
        low=0.0,
    )
    x: str = option("", help="step, relative, wall, or a tag such as tokens or epoch", choices="x axes")
    log_x: bool = option(False, help="logarithmic x axis")
    log_y: bool = option(False, help="logarithmic y axis")
    tight_y: bool = option(False, help="y range from the 5th to the 95th percentile")
    marks: bool = option(True, help="mark spikes, divergence and restarts on the curves")
    runs: tuple[str, ...] = option(
        (), help="keys of the runs to draw; empty draws all that are kept", choices="runs.run"
    )

    def resolved(self, store: RunStore) -> Self:
        """Fill in the tag, the x axis and the width."""
        tag = self.tag or default_tag(store)
        x = self.x or default_x(store, tag)
        width = self.width
        if width is None and self.smoother in ("half-life", "mean", "gaussian", "median") and tag in store.tags():
            width = 0.02 * max(float(np.ptp(curve.x)) for curve in aligned(store, tag, x, self.runs) if len(curve.x))
        return replace(self, tag=tag, x=x, width=width)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> SmoothCurves:
        """Smooth every run's curve at full resolution."""
        asked = self.resolved(store)
        found = aligned(store, asked.tag, asked.x, asked.runs)
        drawn = [curve for curve in found if len(curve.x)]
        width = asked.width or 1.0  # a single point has no x range
        curves = []
        rising = higher_is_better(asked.tag)
        for number, curve in enumerate(drawn):
            progress(number, len(drawn), "smoothing")
            events = events_on(curve, asked.tag) if asked.marks else ()
            smooth = smoothed(curve, asked.smoother, asked.weight, width, rising=rising)
            curves.append(SmoothCurve(curve, smooth, events))
        unit = {"relative": "s", "wall": "s"}.get(asked.x, asked.x)
        method = {
            "ema": f"debiased EMA, weight {asked.weight:g}" if asked.weight else "",
            "half-life": f"EMA with a half-life of {significant(width, 3)} {unit}",
            "mean": f"centred mean over {significant(width, 3)} {unit}",
            "gaussian": f"Gaussian of {significant(width, 3)} {unit}",
            "median": f"running median over {significant(width, 3)} {unit}",
            "isotonic": f"closest curve that never {'falls' if rising else 'rises'}",
            "none": "",
        }[asked.smoother]
        return SmoothCurves(
            curves=tuple(curves),
            tag=asked.tag,
            x=asked.x,
            method=method,
            tables=LateTables({"runs": partial(_table, curves)}),
            notes=tuple(_notes(asked, found, curves, method)),
        )


def _table(curves: list[SmoothCurve]) -> pd.DataFrame:
    rows = []
    for curve in curves:
        y = curve.raw.y
        finite = finite_values(y)
        low, high = extremes(y) if finite else (np.nan, np.nan)
        rows.append(
            {
                "run": curve.raw.run.key,
                "name": curve.raw.run.name,
                "points": len(y),
                "non_finite": len(y) - finite,
                "restarts": len(curve.raw.starts) - 1,
                "last": y[-1],
                "last_smoothed": curve.smooth[-1],
                "min": low,
                "max": high,
                "first_x": curve.raw.x[0],
                "last_x": curve.raw.x[-1],
            }
        )
    return pd.DataFrame(rows)


def _notes(asked: SmoothQuestion, found: list[Aligned], curves: list[SmoothCurve], method: str) -> list[str]:
    notes = ["Display only: nothing is estimated, so there are no intervals."]
    if method:
        notes.append(
            f"Smoothed at full resolution by {method}; crossings and minima are to be read from the raw values."
        )
    if len(found) > len(curves):
        notes.append(f"{counted(len(found) - len(curves), 'run')} left out: no value of {asked.x!r} at any step.")
    if lost := sum(curve.raw.without_x for curve in curves):
        notes.append(f"{counted(lost, 'point')} left out: {asked.x!r} was not logged on both sides of their step.")
    resumed = [curve for curve in curves if len(curve.raw.starts) > 1]
    if resumed:
        notes.append(
            f"{counted(len(resumed), 'run')} went back to an earlier step: split there, each piece smoothed on its own."
        )
    if bad := sum(len(curve.raw.y) - finite_values(curve.raw.y) for curve in curves):
        notes.append(f"{counted(bad, 'value')} NaN or infinite: marked at the edge, not smoothed.")
    return [*notes, *event_notes([curve.events for curve in curves])]


def figure(question: SmoothQuestion, result: SmoothCurves) -> FigureSpec:
    """Draw every run's smoothed curve over its faint raw one; what an axis cannot show is at its edge."""
    longest = max(extremes(curve.raw.x)[1] for curve in result.curves)
    axis, unit = axis_along(result.x, longest, log=question.log_x)
    hidden = 0
    names = telling_names([curve.raw.run.key for curve in result.curves])
    marks: list[Mark] = []
    tops: list[Mark] = []
    for curve in result.curves:
        raw, run = curve.raw, curve.raw.run
        key, hue, origin = f"{run.key}/{result.tag}", f"c{run.ordinal}", Keys("run", (run.key,))
        along = raw.x if unit == 1 else divided(raw.x, unit)
        x, shown, smooth = raw.broken(along), raw.broken(raw.y), raw.broken(curve.smooth)
        is_off = (axis.scale == "log" and extremes(x)[0] <= 0) or (question.log_y and extremes(shown)[0] <= 0)
        # What can be drawn as it is stays the array it is, by which a longer one is known to go on from it.
        is_whole = finite_values(shown) == len(shown)
        if is_off or not is_whole:
            off = np.zeros(len(x), dtype=bool)
            if axis.scale == "log":
                off |= x <= 0
            if question.log_y:
                off |= shown <= 0
            hidden += int(np.count_nonzero(off))
            shown, smooth = (np.where(off | ~np.isfinite(y), np.nan, y) for y in (shown, smooth))
        if result.method:
            marks.append(Line(key=f"{key}/raw", x=x, y=shown, hue=hue, opacity=0.25, origin=origin, faint_of=key))
            tops.append(Line(key=key, x=x, y=smooth, hue=hue, label=names[run.key], origin=origin))
        else:
            tops.append(Line(key=key, x=x, y=shown, hue=hue, label=names[run.key], origin=origin))
        if not is_whole and finite_values(raw.y) < len(raw.y):
            tops.extend(_edges(key, hue, origin, along, raw.y, axis))
    limits = _limits(question, [mark for mark in (*marks, *tops) if isinstance(mark, Line)])
    low, high = limits.low, limits.high
    for curve in result.curves:
        if curve.events:
            tops.extend(_events(question, result, curve, unit, axis, high))
    y_axis = Axis(label=result.tag, scale="log" if question.log_y else "linear", low=low, high=high, column=result.tag)
    said = [counted(len(result.curves), "run") + limits.said(len(result.curves))]
    if result.method:
        said.append(result.method)
    if question.tight_y:
        said.append("y from the 5th to the 95th percentile")
    if hidden:
        said.append(f"{counted(hidden, 'point')} not above 0 cannot be drawn on a log axis")
    panel = Panel(key="curves", x=axis, y=y_axis, marks=(*marks, *tops))
    return FigureSpec(title=result.tag, subtitle=", ".join(said), panels=(panel,), caption=_caption(result))


def _edges(key: str, hue: str, origin: Keys, x: np.ndarray, y: np.ndarray, axis: Axis) -> list[EdgeMarks]:
    kinds: tuple[tuple[str, Literal["top", "bottom"], np.ndarray], ...] = (
        ("NaN", "bottom", np.isnan(y)),
        ("+inf", "top", y == np.inf),
        ("-inf", "bottom", y == -np.inf),
    )
    drawable = x > 0 if axis.scale == "log" else np.ones(len(x), dtype=bool)
    return [
        EdgeMarks(key=f"{key}/{what}", x=x[mask & drawable], edge=edge, hue=hue, what=what, origin=origin)
        for what, edge, mask in kinds
        if (mask & drawable).any()
    ]


def _events(
    question: SmoothQuestion, result: SmoothCurves, curve: SmoothCurve, unit: float, axis: Axis, high: float | None
) -> list[Mark]:
    run = curve.raw.run
    return event_marks(
        f"{run.key}/{result.tag}",
        curve.events,
        drawable(curve.raw.x / unit, log=axis.scale == "log"),
        drawable(curve.raw.y, log=question.log_y),
        drawable(curve.smooth if result.method else curve.raw.y, log=question.log_y),
        hue=f"c{run.ordinal}",
        origin=Keys("run", (run.key,)),
        high=high,
    )


def _limits(question: SmoothQuestion, lines: list[Line]) -> CommonRange:
    """Give limits that most curves share; if asked, from the 5th to the 95th percentile of the bold ones, with some air."""
    bold = [line.y for line in lines if not line.faint_of]
    if not question.tight_y:
        faint = {line.faint_of: extremes(line.y) for line in lines if line.faint_of}
        own = {line.key: extremes(line.y) for line in lines if not line.faint_of}
        both = [(ends, faint.get(key, ends)) for key, ends in own.items()]
        ends = [(min(one[0], other[0]), max(one[1], other[1])) for one, other in both]
        return range_of_ends(ends, log=question.log_y)
    return percentile_range(bold, log=question.log_y)


def _caption(result: SmoothCurves) -> str:
    how = f" Bold: {result.method}; faint: as logged." if result.method else " Values as logged."
    return f"{result.tag} against {result.x}, {counted(len(result.curves), 'run')}.{how}"


ANALYSIS = Analysis(
    id="curve.smooth",
    title="Learning curves",
    asks="What do the curves look like without the noise of logging, on a common axis?",
    question=SmoothQuestion,
    figure=figure,
    sources=(
        "TensorBoard, line_chart_v2: debiased exponential moving average",
        "Busbridge et al. (2023), How to Scale Your EMA: rho to the power k for a stride k times as long",
        "Nadaraya (1964) and Watson (1964): kernel regression",
    ),
    definition="""\
`ema`: $m_t = w\\,m_{t-1} + (1-w)\\,y_t$, drawn as $m_t/(1-w^n)$, n the finite values so far; a constant series is
unchanged.
`half-life`: $\\rho_t = 2^{-(x_t-x_{t-1})/h}$, $m_t=\\rho_t m_{t-1}+(1-\\rho_t)y_t$: the same for every logging stride.
`mean`: mean within half a width on both sides. `gaussian`: weights by a Gaussian of the distance along x. `median`: running
median, which single spikes do not move. `isotonic`: the closest curve that never turns back (pool-adjacent-violators).

Smoothing happens at full resolution, before any thinning for the screen, and on each piece of a resumed run by itself.
Display only: no interval. An EMA lags (by about 1.44 half-lives), so crossings and minima are read from raw values.
""",
)
