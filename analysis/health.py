"""What went wrong in a training, found cheaply enough to look at every run that is opened.

`marks_of` looks at one run and gives its spikes, its divergence, the places where it was resumed and the plateau it ended
on. The pieces are pure functions of arrays; the analyses of the health family use them with options.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np

from ..models.growing_array import falls, lineage
from ..models.result import significant
from ..models.tables import Curve, Run

MarkKind = Literal["spike", "divergence", "non-finite", "restart", "plateau"]

GRADIENT = re.compile(r"grad(ient)?s?[_\-/. ]?(global[_\-/. ]?)?(norm|l2)", re.IGNORECASE)
"""Tags that hold the norm of the gradient."""

_NO_LOSS = re.compile(r"loss(es)?[_\-/. ]?(scale|scaler|weight|coef|ratio|count)|lossless|gloss", re.IGNORECASE)
"""Tags that speak of a loss and hold none: the scale of mixed precision doubles by design."""

_NO_MINIMUM = re.compile(
    r"(^|[^a-z])(g|d|gen|generator|disc|discriminator|adv|adversarial|gan|critic|actor|policy|pi|pg|vf|value|q|qf\d?|td|kl|kld|"
    r"entropy|ent|alpha|temperature|commit|commitment|codebook|vq|aux|auxiliary|z|router|balance|balancing|reg|"
    r"regulari[sz]ation)([^a-z]|$)",
    re.IGNORECASE,
)
"""Losses of one player in a game, of reinforcement learning, and terms that others push up: nothing says that they fall."""

_ADVERSARIAL = re.compile(
    r"(^|[^a-z])(d|disc|discriminator)[_\-/. ]?loss|loss[_\-/. ]?(d|disc|discriminator)([^a-z]|$)", re.IGNORECASE
)
_REWARDED = re.compile(
    r"(^|[^a-z])ep(isode)?_?(rew|ret|len)|episode.?(reward|return)|rollout/|mean_(reward|return)", re.IGNORECASE
)
"""Tags of runs whose losses are of a game, or follow the rewards a policy meets."""

_LEAST = 1e-3
"""Least scale of noise, as a share of the level: logs rounded to a few digits would otherwise have none."""


@dataclass(frozen=True, slots=True)
class HealthMark:
    """Something that happened to a run.

    Attributes
    ----------
    kind : {'spike', 'divergence', 'non-finite', 'restart', 'plateau'}
    step, until : float
        Where it began, and where it was over (the last step where it was not).
    tag : str
        The curve it was seen on.
    what : str
        A sentence for the tooltip.
    index : int
        Index in the curve as logged: of a spike its peak, else of the first point it is about.
    size : float
        Height of a spike in robust standard deviations; 0 for the other kinds.
    """

    kind: MarkKind
    step: float
    until: float
    tag: str
    what: str
    index: int
    size: float = 0.0


_WORTH_A_LOOK = 0.25
"""Share by which a curve has grown when what happened to it is looked for anew by who only draws it: curves that grow alike
reach it at once, so that who watches runs one after the other should have been there before."""

_FEW_POINTS = 100
"""Points by which it may have grown in any case."""

_JUDGED = object()
"""By this and the tag, a lineage knows of how many points it was judged last, and how."""
"""What was found last on a curve that grows: the tag, of how many points, and what."""

_REMEMBERED: WeakKeyDictionary[Curve, tuple[str, tuple[HealthMark, ...]]] = WeakKeyDictionary()
"""What was found on a curve under a tag: curves never change, and a window asks for them at every gesture."""


@dataclass(frozen=True, slots=True)
class Spike:
    """A run of values far above what the values before them foretold.

    Attributes
    ----------
    start, peak, last : int
        Index of the first and last value above the limit, and of the highest between them.
    recovered : int
        Index from which the curve is back at its level and stays there; -1 where it never is.
    height : float
        Peak minus the level foretold.
    z : float
        Height in robust standard deviations.
    """

    start: int
    peak: int
    last: int
    recovered: int
    height: float
    z: float


def window_for(points: int, most: int = 101) -> int:
    """Give the width of the window for a curve: `most`, or less where the curve has fewer than two windows; 0 where it
    is too short (below 50 points).
    """
    return next((width for width in (most, 51, 25) if width <= most and points >= 2 * width), 0)


def foretold(y: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the level that the values before each value foretell, and the scale of their noise.

    In the `window` values before, a resistant line (its slope from the medians of the outer thirds, Tukey 1971), never
    below the median of the last third, and 1.4826 times the median absolute deviation from the line. The window moves
    on by a fifth of its width at a time, so that a thousand runs take seconds.

    Parameters
    ----------
    y : ndarray, shape (n,)
        Finite, in the order logged; n > window.

    Returns
    -------
    level, scale : ndarray, shape (n,)
        NaN for the first `window` values.
    """
    hop = max(1, window // 5)
    windows = np.lib.stride_tricks.sliding_window_view(y[:-1], window)[::hop]
    third = window // 3
    late = np.median(windows[:, -third:], axis=1)
    slope = (late - np.median(windows[:, :third], axis=1)) / (window - third)
    left = windows - slope[:, None] * np.arange(window)
    middle = np.median(left, axis=1)
    spread = 1.4826 * np.median(np.abs(left - middle[:, None]), axis=1)
    at = np.arange(window, len(y))
    own = (at - window) // hop
    level, scale = np.full((2, len(y)), math.nan)
    # A loss that falls ever more slowly soon lies above its line; it does not lie above where it just was.
    level[window:] = np.maximum(middle[own] + slope[own] * (at - own * hop), np.where(slope < 0, late, -math.inf)[own])
    scale[window:] = np.maximum(spread[own], _LEAST * np.abs(level[window:]))
    return level, np.where(scale == 0, np.finfo(float).tiny, scale)


def find_spikes(y: np.ndarray, window: int, k: float = 6.0, merge: int = 25, hold: int = 5) -> list[Spike]:
    """Find values more than `k` robust standard deviations above what the values before them foretell.

    Parameters
    ----------
    y : ndarray, shape (n,)
        Finite, in the order logged.
    merge : int
        Hits that are at most so many values apart are one spike.
    hold : int
        Values in a row within 2 deviations of the level that make a recovery.
    """
    if not window or len(y) < 2 * window:
        return []
    level, scale = foretold(y, window)
    z = (y - level) / scale
    with np.errstate(invalid="ignore"):
        hits = np.flatnonzero(z > k)
    if not len(hits):
        return []
    spikes = []
    for group in np.split(hits, 1 + np.flatnonzero(np.diff(hits) > merge)):
        start, last = int(group[0]), int(group[-1])
        peak = start + int(np.argmax(y[start : last + 1]))
        back = y[peak:] <= level[start] + 2 * scale[start]
        stays = np.lib.stride_tricks.sliding_window_view(back, hold).all(axis=1) if len(back) >= hold else back[:0]
        recovered = peak + int(np.argmax(stays)) if stays.any() else -1
        spikes.append(
            Spike(start, peak, last, recovered, float(y[peak] - level[start]), float(z[start : last + 1].max()))
        )
    return spikes


@functools.lru_cache(maxsize=1024)
def is_loss(tag: str) -> bool:
    """Whether a tag of this name holds a loss."""
    return "loss" in tag.lower() and not _NO_LOSS.search(tag)


def should_fall(run: Run, tag: str) -> bool:
    """Whether a metric is one that training lowers, so that an end above its start, or one that stays level, says something.

    The losses of a game (a generator's), of reinforcement learning, terms such as a divergence or an entropy, and norms of
    the gradient are not.
    """
    if not is_loss(tag) or _NO_MINIMUM.search(tag.lower().replace("loss", " ")):
        return False
    return not any(_ADVERSARIAL.search(other) or _REWARDED.search(other) for other in run.curves)


def divergence(y: np.ndarray, margin: float | None = None, *, falls: bool = True) -> tuple[int, str]:
    """Give where a loss diverged for good and how, or (-1, ''): it ends as NaN or infinite, or above where it began.

    Parameters
    ----------
    y : ndarray, shape (n,)
        As logged.
    margin : float, optional
        Also diverged where the end lies so much above the best (both medians of a few values).
    falls : bool
        Whether an end above the start counts; see `should_fall`.
    """
    if not len(y):
        return -1, ""
    finite = np.isfinite(y)
    if not finite[-1]:
        good = np.flatnonzero(finite)
        return (int(good[-1]) + 1 if len(good) else 0), "it ends as NaN or infinite"
    few = max(3, min(25, len(y) // 10))
    if np.count_nonzero(finite) < 3 * few:
        return -1, ""
    values = np.where(finite, y, np.inf)
    blocks = np.lib.stride_tricks.sliding_window_view(values, few)[:: max(1, few // 2)]
    began, best = float(values[:3].max()), float(np.median(blocks, axis=1).min())
    if falls and float(np.quantile(values[-few:], 0.1)) > began:
        limit, what = began, "it ends above where it began"
    elif margin is not None and float(np.median(values[-few:])) > best + margin:
        limit, what = best + margin, f"it ends more than {margin:g} above its best"
    else:
        return -1, ""
    below = np.flatnonzero(values <= limit)
    return int(below[-1]) + 1 if len(below) else 0, what


def plateau_start(y: np.ndarray, gain: float = 0.01) -> int:
    """Give the index from which a loss no longer falls, for a quarter of the curve or more; -1 where there is none.

    Over medians of twentieths of the curve: the earliest one from which a straight line to the end, even two standard
    errors steeper, falls by less than a share `gain` of all that was gained.
    """
    finite = np.flatnonzero(np.isfinite(y))
    size = len(finite) // 20
    if size < 3:
        return -1
    first = len(finite) - 20 * size
    medians = np.median(y[finite[first:]].reshape(20, size), axis=1)
    total = float(medians[0] - medians.min())
    if total <= 0:
        return -1
    # The lines from each of the first sixteen to the end, all at once, from sums over what is left.
    at = np.arange(20.0)
    left = medians - medians[-1]
    y, xy, yy = np.cumsum(np.stack([left, at * left, left**2])[:, ::-1], axis=1)[:, ::-1][:, :16]
    n = 20 - at[:16]
    squares = n * (n**2 - 1) / 12
    products = xy - (at[:16] + 19) / 2 * y
    slope = products / squares
    error = np.sqrt(np.maximum(yy - y**2 / n - slope * products, 0.0) / (n - 2) / squares)
    flat = np.flatnonzero((slope - 2 * error) * (n - 1) > -gain * total)
    return int(finite[first + int(flat[0]) * size]) if len(flat) else -1


def loss_tag(run: Run) -> str:
    """Give the loss of a run that was logged most often: the training loss where there is one; empty without a loss.

    Of losses logged as often one that training lowers comes before a part of it, then the shortest name.
    """
    found = [(tag, curve) for tag, curve in run.curves.items() if is_loss(tag) and len(curve)]
    best = max(found, key=lambda pair: (len(pair[1]), should_fall(run, pair[0]), -len(pair[0])), default=None)
    return best[0] if best is not None else ""


def gradient_tag(run: Run) -> str:
    """Give the gradient norm of a run that was logged most often; empty without one."""
    found = [(tag, curve) for tag, curve in run.curves.items() if GRADIENT.search(tag) and len(curve)]
    return max(found, key=lambda pair: len(pair[1]))[0] if found else ""


def marks_of(run: Run, tag: str = "") -> tuple[HealthMark, ...]:
    """Give what happened to a run, in the order of its steps, judged by its loss.

    About 5 ms for a curve of 10,000 points, the first time: the answer is remembered for as long as the curve is alive.

    Parameters
    ----------
    tag : str
        The loss to judge by; empty takes the one logged most often.
    """
    tag = tag or loss_tag(run)
    curve = run.curves.get(tag)
    if curve is None or not len(curve):
        return ()
    remembered = _REMEMBERED.get(curve)
    if remembered is None or remembered[0] != tag:
        remembered = _REMEMBERED[curve] = (tag, _judged(curve, tag, falls=should_fall(run, tag)))
        if (line := lineage(curve.value)) is not None:
            line.known[_JUDGED, tag] = (len(curve), remembered[1])
    return remembered[1]


def known_marks_of(run: Run, tag: str) -> tuple[HealthMark, ...]:
    """Give what `marks_of` gave when the run was shorter, if it has grown by little since; else look anew.

    Curves that are followed are drawn several times a second, and judged less often: a look costs more than all the rest.
    """
    curve = run.curves.get(tag)
    line = lineage(curve.value) if curve is not None else None
    if curve is not None and line is not None and (_JUDGED, tag) in line.known:
        points, marks = line.known[_JUDGED, tag]
        if 0 <= len(curve) - points <= max(_FEW_POINTS, _WORTH_A_LOOK * points):
            known: tuple[HealthMark, ...] = marks
            return known
    return marks_of(run, tag)


def _judged(curve: Curve, tag: str, *, falls: bool) -> tuple[HealthMark, ...]:
    step, y = np.asarray(curve.step, float), np.asarray(curve.value, float)
    marks = [*restarts(curve, tag), *_non_finite(step, y, tag)]
    finite = np.isfinite(y)
    steps, values, places = step[finite], y[finite], np.flatnonzero(finite)
    for spike in find_spikes(values, window_for(len(values))):
        over = float(steps[spike.recovered]) if spike.recovered >= 0 else float(steps[-1])
        end = f"recovered at {steps[spike.recovered]:,.6g}" if spike.recovered >= 0 else "it did not recover"
        what = (
            f"{tag} rises by {significant(spike.height, 3)} to {significant(float(values[spike.peak]), 3)} at step "
            f"{steps[spike.peak]:,.6g} ({spike.z:.0f} robust SD); {end}."
        )
        index = int(places[spike.peak])
        marks.append(HealthMark("spike", float(steps[spike.start]), over, tag, what, index, spike.z))
    place, how = divergence(y, falls=falls)
    if place >= 0:
        index = min(place, len(step) - 1)
        at = float(step[index])
        what = f"{tag} diverged at step {at:,.6g}: {how}."
        marks.append(HealthMark("divergence", at, float(step[-1]), tag, what, index))
    elif falls:
        start = plateau_start(y)
        if start >= 0:
            what = f"{tag} no longer falls since step {step[start]:,.6g}."
            marks.append(HealthMark("plateau", float(step[start]), float(step[-1]), tag, what, start))
    return tuple(sorted(marks, key=lambda mark: mark.step))


def restarts(curve: Curve, tag: str) -> list[HealthMark]:
    """Give where a curve goes back to an earlier step."""
    back = [place - 1 for place in falls(curve.step)]
    return [
        HealthMark(
            "restart",
            float(curve.step[place + 1]),
            float(curve.step[place]),
            tag,
            f"Resumed: {tag} goes back from step {curve.step[place]:,.6g} to {curve.step[place + 1]:,.6g}.",
            place + 1,
        )
        for place in back
    ]


def _non_finite(step: np.ndarray, y: np.ndarray, tag: str) -> list[HealthMark]:
    """Give values that are NaN or infinite and after which the curve goes on."""
    bad = ~np.isfinite(y)
    good = np.flatnonzero(~bad)
    if not len(good) or not bad[: good[-1]].any():
        return []
    inside = np.flatnonzero(bad[: good[-1]])
    what = f"{tag} is NaN or infinite {len(inside):,} times, first at step {step[inside[0]]:,.6g}, and goes on."
    return [HealthMark("non-finite", float(step[inside[0]]), float(step[inside[-1]]), tag, what, int(inside[0]))]
