"""``curve.seed-band``: repeats of a training as one curve with an honest band, and what they end at.

The unit is the seed (a run). Seeds are put on one grid of x, never past their own end, and n(x) is shown where they end
apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np

from ...models.deferred import deferred
from ...models.engine import LOCAL, Engine
from ...models.errors import TooLittleData
from ...models.figure import Axis, Band, Clauses, FigureSpec, Keys, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.reductions import higher_is_better
from ...models.result import Estimate, Result, counted, shortened, significant, with_interval
from ...models.selection import is_in
from ...models.store import RunStore
from .. import resampling
from ..alignment import Aligned, aligned, axis_along, default_tag, default_x, interpolated, reduced
from ..common_range import CommonRange, after_the_start, common_range, percentile_range
from ..grouping import default_grouping, grouped

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

_MOST_CELLS = 20_000_000
"""Seeds times grid points above which the union of all x gives way to the x of the longest seed."""
_FEWEST_SIMULTANEOUS = 8
"""Seeds below which the greatest of many t statistics cannot be resampled."""
_SIMULTANEOUS_PLACES = 1000
_MOST_PAIRED = 12
"""Groups above which pairs of groups are no longer all tested."""


@dataclass(frozen=True, slots=True)
class SeedInterval:
    """A centre with its band along x.

    Attributes
    ----------
    n : ndarray of int, shape (k,)
        Seeds at each x.
    centre, low, high : ndarray, shape (k,)
        NaN where n is too small.
    """

    n: np.ndarray
    centre: np.ndarray
    low: np.ndarray
    high: np.ndarray


def band_over(values: np.ndarray, centre: str, band: str, level: float) -> SeedInterval:
    """Give the centre of seeds and the band round it, at each x.

    Parameters
    ----------
    values : ndarray, shape (seeds, k)
        NaN where a seed has no value.
    centre : {'mean', 'median', 'iqm'}
        The interquartile mean needs four seeds.
    band : {'t', 'prediction', 'sd', 'se', 'minmax', 'none'}
        't' is the interval of the centre: Student's for the mean; Tukey and McLaughlin's (1963, winsorised) for the
        interquartile mean; for the median that of two order statistics, where there are enough seeds for the level (six
        for 95 %). Below three seeds there is no band.
    """
    ordered = np.sort(values, axis=0)  # NaN last
    n = np.count_nonzero(np.isfinite(values), axis=0)
    out = SeedInterval(n, *(np.full(values.shape[1], np.nan) for _ in range(3)))
    for size in np.unique(n[n > 0]).tolist():
        at = n == size
        seeds = ordered[:size, at]
        middle, half = _middle(seeds, centre, level)
        out.centre[at] = middle
        if size < 3 or band == "none":
            continue
        sd = seeds.std(axis=0, ddof=1)
        if band == "t" and centre == "median":
            cut = _order_statistic(size, level)
            out.low[at], out.high[at] = (seeds[cut - 1], seeds[size - cut]) if cut else (np.nan, np.nan)
            continue
        if band == "minmax":
            out.low[at], out.high[at] = seeds[0], seeds[-1]
            continue
        t = float(resampling.t_quantile(level, size - 1))
        half = {"t": half, "prediction": t * sd * math.sqrt(1 + 1 / size), "sd": sd, "se": sd / math.sqrt(size)}[band]
        out.low[at], out.high[at] = middle - half, middle + half
    return out


def simultaneous_quantile(values: np.ndarray, level: float, draws: int = 2000, seed: int = 0) -> float:
    """Give how many standard errors hold a whole mean curve at once; NaN for fewer than eight seeds.

    The quantile of the greatest absolute t along x, over resamples of whole seeds, each with its own standard error (the
    bootstrap-t of Efron 1979 and Hall 1988 for a maximum). Of long curves up to a thousand evenly spaced places are looked
    at.

    Parameters
    ----------
    values : ndarray, shape (seeds, k)
        Finite.
    """
    n, k = values.shape
    if n < _FEWEST_SIMULTANEOUS or not k:
        return math.nan
    if k > _SIMULTANEOUS_PLACES:
        values = values[:, np.linspace(0, k - 1, _SIMULTANEOUS_PLACES).astype(int)]
    centred = values - values.mean(axis=0)
    spread = centred.std(axis=0)
    varies = spread > 1e-12 * np.abs(values).max(axis=0)
    centred = centred[:, varies] / spread[varies]

    def greatest(counts: np.ndarray) -> np.ndarray:
        means = counts @ centred / n
        variances = counts @ centred**2 / n - means**2
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.abs(means) / np.sqrt(np.maximum(variances, 0) / (n - 1))
        # A resample of one seed alone has no spread: its t is not defined, and it says nothing.
        return np.asarray(np.where(np.isfinite(t), t, 0.0).max(axis=1, initial=0.0))

    return float(np.quantile(resampling.bootstrap(greatest, n, draws=draws, seed=seed), level))


def simultaneous_band(values: np.ndarray, level: float, draws: int = 2000, seed: int = 0) -> SeedInterval:
    """Give the mean of seeds with a band that holds the whole true mean curve at the level, where all seeds have a value."""
    whole = np.isfinite(values).all(axis=0)
    band = band_over(values, "mean", "se", level)
    factor = simultaneous_quantile(values[:, whole], level, draws, seed)
    low, high = (band.centre + factor * (end - band.centre) for end in (band.low, band.high))
    return SeedInterval(band.n, band.centre, np.where(whole, low, np.nan), np.where(whole, high, np.nan))


def _middle(seeds: np.ndarray, centre: str, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Give the centre of sorted `seeds`, shape (n, k), and half of its t interval."""
    n = len(seeds)
    if centre == "median":
        return np.median(seeds, axis=0), np.full(seeds.shape[1], np.nan)
    cut = n // 4 if centre == "iqm" else 0
    if centre == "iqm" and n < 4:
        return np.full(seeds.shape[1], np.nan), np.full(seeds.shape[1], np.nan)
    kept = seeds[cut : n - cut]
    if n < 2:
        return kept.mean(axis=0), np.full(seeds.shape[1], np.nan)
    winsorised = np.clip(seeds, kept[0], kept[-1])
    error = winsorised.std(axis=0, ddof=1) / ((1 - 2 * cut / n) * math.sqrt(n))
    return kept.mean(axis=0), float(resampling.t_quantile(level, len(kept) - 1)) * error


def _order_statistic(n: int, level: float) -> int:
    """Give the largest k for which the kth smallest and kth largest of n cover the median at `level`; 0 if none
    does.
    """
    from scipy.special import bdtr

    return max((k for k in range(1, n // 2 + 1) if 1 - 2 * bdtr(k - 1, n, 0.5) >= level), default=0)


def median_of_ends(finals: np.ndarray, level: float, *, highest: bool) -> SeedInterval:
    """Give the median of what seeds end at, a diverged one (NaN) as the worst of all, with the interval of order statistics.

    Parameters
    ----------
    finals : ndarray, shape (n,)
    highest : bool
        Whether the worst is the highest; it is then infinite.
    """
    n = len(finals)
    ordered = np.sort(np.where(np.isnan(finals), math.inf if highest else -math.inf, finals))
    middle = (float(ordered[(n - 1) // 2]) + float(ordered[n // 2])) / 2
    cut = _order_statistic(n, level) if n >= 3 else 0
    ends = (float(ordered[cut - 1]), float(ordered[n - cut])) if cut else (math.nan, math.nan)
    return SeedInterval(np.array([n]), *(np.array([value]) for value in (middle, *ends)))


@dataclass(frozen=True, slots=True)
class SeedGroup:
    """The seeds of one group.

    Attributes
    ----------
    name : str
        As shown.
    seeds : tuple of Aligned
        The curves.
    labels : tuple of str
        Seed of each, as the run states it; empty where it does not.
    finals : ndarray, shape (seeds,)
        What each ends at; NaN where it diverged.
    values : ndarray, shape (seeds, k)
        The curves on the shared grid.
    band : SeedInterval
        Centre and band on the shared grid.
    final : SeedInterval
        Centre and interval ('t' or none) of the finals, one element.
    hue : str
        As in the runs tree.
    """

    name: str
    seeds: tuple[Aligned, ...]
    labels: tuple[str, ...]
    finals: np.ndarray
    values: np.ndarray
    band: SeedInterval
    final: SeedInterval
    hue: str = "c0"

    @property
    def runs(self) -> tuple[str, ...]:
        """Keys of the runs."""
        return tuple(seed.run.key for seed in self.seeds)

    @property
    def ended(self) -> np.ndarray:
        """Finals of the seeds that did not diverge."""
        return np.asarray(self.finals[np.isfinite(self.finals)])

    @property
    def diverged(self) -> int:
        """Number of seeds that ended as NaN or infinite."""
        return int(len(self.finals) - len(self.ended))


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two groups are apart in what they end at.

    Attributes
    ----------
    value, low, high : float
        Mean of the first minus mean of the second, and its t interval.
    t, df, p : float
        Two-sided test.
    paired : bool
        Whether the same seeds were subtracted from one another.
    """

    first: str
    second: str
    value: float
    low: float
    high: float
    t: float
    df: float
    p: float
    paired: bool


def compare(a: SeedGroup, b: SeedGroup, level: float, pairing: str = "auto") -> Difference:
    """Compare what two groups end at: Welch's t test (1947), or the paired t test where both ran the same seeds.

    Parameters
    ----------
    pairing : {'auto', 'welch'}
        'auto' pairs where every seed is stated, once in each group, and both groups have the same ones.
    """
    order = paired_order(a, b) if pairing == "auto" else None
    if order is not None:
        differences = a.finals - b.finals[order]
        differences = differences[np.isfinite(differences)]
        n = len(differences)
        value = float(differences.mean()) if n else math.nan
        error = float(differences.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
        df = float(n - 1)
    else:
        value, error, df = welch(a.ended, b.ended)
    _, p = resampling.t_test(-abs(value), error, df)
    half = float(resampling.t_quantile(level, df)) * error
    t = value / error if error else math.nan
    return Difference(a.name, b.name, value, value - half, value + half, t, df, min(1.0, 2 * p), order is not None)


def welch(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Give the difference of two means, its standard error and the degrees of freedom of Welch and Satterthwaite."""
    if len(a) < 2 or len(b) < 2:
        return (float(a.mean() - b.mean()) if len(a) and len(b) else math.nan), math.nan, 0.0
    va, vb = float(a.var(ddof=1)) / len(a), float(b.var(ddof=1)) / len(b)
    total = va + vb
    df = total**2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1)) if total else 0.0
    return float(a.mean() - b.mean()), math.sqrt(total), df


def paired_order(a: SeedGroup, b: SeedGroup) -> np.ndarray | None:
    """Give the seed of `b` that belongs to each of `a`, or None where they are not the same seeds."""
    if len(set(a.labels)) < len(a.labels) or set(a.labels) != set(b.labels) or len(a.labels) != len(b.labels):
        return None
    return None if "" in a.labels else np.array([b.labels.index(label) for label in a.labels])


def difference_band(a: SeedGroup, b: SeedGroup, level: float, pairing: str = "auto") -> SeedInterval:
    """Give the mean of `a` minus the mean of `b` along x with its t interval; Welch's, or paired as in `compare`."""
    order = paired_order(a, b) if pairing == "auto" else None
    if order is not None:
        return band_over(a.values - b.values[order], "mean", "t", level)
    means, errors, sizes = [], [], []
    for group in (a, b):
        n = np.count_nonzero(np.isfinite(group.values), axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.nansum(group.values, axis=0) / n
            errors.append(np.nansum((group.values - mean) ** 2, axis=0) / (n - 1) / n)
        means.append(mean)
        sizes.append(n)
    total = errors[0] + errors[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        df = total**2 / (errors[0] ** 2 / (sizes[0] - 1) + errors[1] ** 2 / (sizes[1] - 1))
    enough = (sizes[0] >= 2) & (sizes[1] >= 2) & (total > 0)
    half = np.where(enough, resampling.t_quantile(level, np.where(enough, df, 0)) * np.sqrt(total), np.nan)
    value = means[0] - means[1]
    return SeedInterval(np.minimum(*sizes), value, value - half, value + half)


@dataclass(frozen=True, kw_only=True)
class SeedBands(Result):
    """Groups of seeds along x.

    Attributes
    ----------
    groups : tuple of SeedGroup
        In the order of discovery.
    grid : ndarray, shape (k,)
        The shared x.
    differences : tuple of Difference
        Of every pair of groups.
    difference : SeedInterval or None
        Along x, where there are exactly two groups.
    tag, x, centre, band_name : str
        What is drawn, and what the band is, in words.
    """

    groups: tuple[SeedGroup, ...]
    grid: np.ndarray
    differences: tuple[Difference, ...]
    difference: SeedInterval | None
    tag: str
    x: str
    centre: str
    band_name: str

    def summary(self) -> str:
        """Give the answer in one sentence."""
        said = []
        largest = sorted(self.groups, key=lambda group: -len(group.seeds))[:3]
        for group in largest:
            name = f"{shortened(group.name)}: " if len(self.groups) > 1 else ""
            ends = with_interval(*(float(v[0]) for v in (group.final.centre, group.final.low, group.final.high)))
            said.append(f"{name}{self.centre} {ends}, n = {len(group.ended)}" + _diverged(group))
        if len(self.groups) > 3:
            said.append(f"and {counted(len(self.groups) - 3, 'more group')}")
        text = f"{self.tag} ends at " + "; ".join(said)
        if len(self.differences) == 1:
            d = self.differences[0]
            text += f"; difference {with_interval(d.value, d.low, d.high)}, p = {significant(d.p, 2)}"
        return text + "."


def _diverged(group: SeedGroup) -> str:
    return f", {group.diverged} diverged" if group.diverged else ""


@dataclass(frozen=True, kw_only=True)
class SeedBandQuestion(Question):
    """How far apart are two recipes once the noise of their seeds is shown honestly?"""

    needs: ClassVar = (Need("scalars"),)

    tag: str = option("", help="metric; empty takes the most useful one", choices="tags")
    group_by: tuple[str, ...] = option((), help="columns whose values make a group", choices="columns of runs")
    everything_except: tuple[str, ...] = option(
        (), help="or: what may differ within a group (seed, time, host, output, columns)", choices="columns of runs"
    )
    centre: Literal["mean", "median", "iqm"] = option(
        "mean", help="centre of the seeds; iqm drops a quarter at each end"
    )
    band: Literal["t", "prediction", "simultaneous", "sd", "se", "minmax", "none"] = option(
        "t", help="band: interval of the centre, of a further seed, of the whole curve at once, or a plain spread"
    )
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    summarise: Literal["last", "mean of last k"] = option("last", help="what a seed ends at")
    last_k: int = option(5, help="values in 'mean of last k'", unit="values", low=1)
    threshold: float | None = option(None, help="value the mean is tested against, one-sided")
    side: Literal["below", "above"] = option("below", help="side of the threshold the mean is claimed to lie on")
    pairing: Literal["auto", "welch"] = option("auto", help="auto pairs groups that ran the same seeds", advanced=True)
    x: str = option("", help="step, relative, wall, or a tag such as tokens or epoch", choices="x axes")
    until: Literal["longest", "shortest"] = option("longest", help="seed at whose end the curve stops")
    grid: Literal["union", "reference"] = option("union", help="x of all seeds, or of the longest one", advanced=True)
    show_seeds: bool = option(False, help="draw every seed behind its group")
    opened: tuple[str, ...] = option((), help="or: groups whose seeds are drawn; a click on a band opens it")
    tight_y: bool | None = option(
        None, help="y range from the 5th to the 95th percentile; empty leaves a steep start out"
    )
    log_x: bool = option(False, help="logarithmic x axis")
    log_y: bool = option(False, help="logarithmic y axis")
    runs: tuple[str, ...] = option(
        (), help="keys of the runs to take; empty takes all that are kept", choices="runs.run"
    )

    def resolved(self, store: RunStore) -> Self:
        """Fill in the tag, the x axis and the grouping."""
        tag = self.tag or default_tag(store)
        asked = replace(self, tag=tag, x=self.x or default_x(store, tag))
        if self.group_by or self.everything_except:
            return asked
        by, but = default_grouping(
            store, [run.key for run, _ in store.curves(tag) if not self.runs or run.key in self.runs]
        )
        return replace(asked, group_by=by, everything_except=but)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> SeedBands:
        """Put the seeds of every group on one grid, and compare what they end at."""
        asked = self.resolved(store)
        if asked.centre != "mean" and asked.band in ("prediction", "simultaneous", "sd", "se"):
            raise TooLittleData(
                needs="the mean as centre for a prediction, simultaneous, SD or SE band",
                found=asked.centre,
                remedy="Use band = t.",
            )
        curves = {curve.run.key: curve for curve in aligned(store, asked.tag, asked.x, asked.runs) if len(curve.x)}
        latest = {key: curve.latest() for key, curve in curves.items()}
        grid, grid_name = _grid([x for x, _ in latest.values()], asked)
        frame = store.rows("runs").set_index("run")
        stated = frame["seed"] if "seed" in frame.columns else pd.Series(dtype=object)
        found = grouped(store, curves, asked.group_by, asked.everything_except)
        groups = []
        for number, group in enumerate(found):
            progress(number, len(found), "putting seeds on one grid")
            seeds = tuple(curves[key] for key in group.runs)
            values = np.stack([interpolated(grid, *latest[key]) for key in group.runs])
            logged = [np.asarray(seed.run.curves[asked.tag].value) for seed in seeds]
            finals = np.array([reduced(values, asked.summarise, asked.last_k) for values in logged])
            labels = tuple("" if pd.isna(stated.get(key)) else str(stated[key]) for key in group.runs)
            if asked.band == "simultaneous":
                band = simultaneous_band(values, asked.level)
            else:
                band = band_over(values, asked.centre, asked.band, asked.level)
            if asked.until == "shortest":
                for part in (band.centre, band.low, band.high):
                    part[band.n < len(seeds)] = np.nan
            if asked.centre == "median":
                final = median_of_ends(finals, asked.level, highest=not higher_is_better(asked.tag))
            else:
                final = band_over(finals[:, None], asked.centre, "t", asked.level)
            groups.append(SeedGroup(group.name, seeds, labels, finals, values, band, final, group.hue))
        pairs = list(combinations(groups, 2)) if len(groups) <= _MOST_PAIRED else []
        differences = tuple(compare(a, b, asked.level, asked.pairing) for a, b in pairs)
        p_values = [_p_value(group, asked) for group in groups]
        return SeedBands(
            groups=tuple(groups),
            grid=grid,
            differences=differences,
            difference=difference_band(groups[0], groups[1], asked.level, asked.pairing) if len(groups) == 2 else None,
            tag=asked.tag,
            x=asked.x,
            centre=asked.centre,
            band_name=_band_name(asked),
            estimates=_estimates(groups, differences, p_values, asked),
            tables=_tables(groups, differences, p_values, grid),
            notes=tuple(_notes(groups, asked, grid_name)),
        )


def _grid(xs: Sequence[np.ndarray], asked: SeedBandQuestion) -> tuple[np.ndarray, str]:
    reference = max(xs, key=len)
    if asked.grid == "reference" or sum(map(len, xs)) * len(xs) > _MOST_CELLS:
        return reference, "the x of the seed with the most points"
    return np.unique(np.concatenate(xs)), "the x of all seeds"


def _p_value(group: SeedGroup, asked: SeedBandQuestion) -> float:
    """Give the one-sided p of 'the mean of what the seeds end at lies below (above) the threshold'."""
    ended = group.ended
    if asked.threshold is None or len(ended) < 2:
        return math.nan
    sign = 1 if asked.side == "below" else -1
    error = float(ended.std(ddof=1)) / math.sqrt(len(ended))
    return resampling.t_test(sign * float(ended.mean()), error, len(ended) - 1, at=sign * asked.threshold)[1]


def _band_name(asked: SeedBandQuestion) -> str:
    level = f"{100 * asked.level:g} %"
    interval = {"mean": "t interval", "median": "order-statistic interval", "iqm": "trimmed t interval"}[asked.centre]
    return {
        "t": f"{level} {interval}",
        "prediction": f"{level} prediction interval of a further seed",
        "simultaneous": f"{level} simultaneous band of the whole curve, max-t bootstrap",
        "sd": "± 1 SD of the seeds",
        "se": "± 1 SE of the mean",
        "minmax": "smallest to largest seed",
        "none": "no band",
    }[asked.band]


def _estimates(
    groups: list[SeedGroup], differences: tuple[Difference, ...], p_values: list[float], asked: SeedBandQuestion
) -> dict[str, Estimate]:
    estimates: dict[str, Estimate] = {}
    for group, p in zip(groups, p_values, strict=True):
        name = f"{group.name}/" if len(groups) > 1 else ""
        ended = group.ended
        few = f"n = {counted(len(ended), 'seed')}"
        mean = float(ended.mean()) if len(ended) else math.nan
        sd = float(ended.std(ddof=1)) if len(ended) > 1 else math.nan
        estimates[f"{name}mean"] = _estimate(mean, *resampling.t_interval(ended, asked.level), asked.level, few)
        if asked.centre != "mean":
            final = group.final
            estimates[name + asked.centre] = _estimate(
                float(final.centre[0]), float(final.low[0]), float(final.high[0]), asked.level, f"too few seeds, {few}"
            )
        estimates[f"{name}sd"] = _estimate(sd, *resampling.sd_interval(ended, asked.level), asked.level, few)
        estimates[f"{name}n"] = Estimate(len(ended), unit="seeds", why_no_interval="a count")
        if asked.threshold is not None:
            estimates[f"{name}p_value"] = Estimate(p, why_no_interval=f"a p-value of {few}")
    if len(differences) == 1:
        d = differences[0]
        estimates["difference"] = _estimate(d.value, d.low, d.high, asked.level, "fewer than 2 seeds in a group")
        estimates["difference_p_value"] = Estimate(d.p, why_no_interval="a p-value")
    return estimates


def _estimate(value: float, low: np.ndarray | float, high: np.ndarray | float, level: float, why: str) -> Estimate:
    low, high = float(low), float(high)
    return Estimate(value, low, high, level, why_no_interval="" if math.isfinite(low) else why)


def _tables(
    groups: list[SeedGroup], differences: tuple[Difference, ...], p_values: list[float], grid: np.ndarray
) -> dict[str, pd.DataFrame]:
    adjusted = resampling.holm(p_values)
    by_group = [
        {
            "group": group.name,
            "n": len(group.ended),
            "diverged": group.diverged,
            "centre": group.final.centre[0],
            "low": group.final.low[0],
            "high": group.final.high[0],
            "mean": group.ended.mean() if len(group.ended) else np.nan,
            "sd": group.ended.std(ddof=1) if len(group.ended) > 1 else np.nan,
            "min": group.ended.min() if len(group.ended) else np.nan,
            "max": group.ended.max() if len(group.ended) else np.nan,
            "p_value": p,
            "p_holm": p_holm,
        }
        for group, p, p_holm in zip(groups, p_values, adjusted, strict=True)
    ]
    by_seed = [
        {"group": group.name, "run": seed.run.key, "seed": label, "ends_at": final, "last_x": seed.x[-1]}
        for group in groups
        for seed, label, final in zip(group.seeds, group.labels, group.finals, strict=True)
    ]
    curve = pd.concat(
        [
            pd.DataFrame(
                {
                    "group": g.name,
                    "x": grid,
                    "n": g.band.n,
                    "centre": g.band.centre,
                    "low": g.band.low,
                    "high": g.band.high,
                }
            )
            for g in groups
        ],
        ignore_index=True,
    )
    tables = {"groups": pd.DataFrame(by_group), "seeds": pd.DataFrame(by_seed), "curve": curve}
    if differences:
        pairs = pd.DataFrame(
            {
                "first": d.first, "second": d.second, "difference": d.value, "low": d.low, "high": d.high,
                "t": d.t, "df": d.df, "p": d.p, "test": "paired t" if d.paired else "Welch t",
            }
            for d in differences
        )  # fmt: skip
        tables["differences"] = pairs.assign(p_holm=resampling.holm([d.p for d in differences]))
    return tables


def _notes(groups: list[SeedGroup], asked: SeedBandQuestion, grid_name: str) -> list[str]:
    sizes = [len(group.ended) for group in groups]
    ended = f"last {asked.last_k} values, averaged" if asked.summarise == "mean of last k" else "last value"
    n = f"{min(sizes)} to {max(sizes)}" if min(sizes) != max(sizes) else f"{sizes[0]}"
    notes = [
        f"Unit: the seed (a run); {counted(len(groups), 'group')}, n = {n} seeds.",
        f"A seed ends at its {ended}. Intervals of the mean are Student's t, of the SD chi-square (Gaussian seeds).",
        f"Grid: {grid_name}; linear between a seed's own values, never past its end.",
    ]
    if lost := sum(group.diverged for group in groups):
        notes.append(f"{counted(lost, 'seed')} ended as NaN or infinite: counted as diverged, in no mean or interval.")
    if any(len(group.seeds) < 3 for group in groups):
        notes.append("Groups of one or two seeds have no band.")
    if asked.band == "simultaneous" and min(len(group.seeds) for group in groups) < _FEWEST_SIMULTANEOUS:
        notes.append(f"Groups of fewer than {_FEWEST_SIMULTANEOUS} seeds have no simultaneous band.")
    if asked.band == "minmax":
        shares = sorted({1 - 2.0 ** (1 - len(group.seeds)) for group in groups if len(group.seeds) >= 3})
        said = ", ".join(f"{100 * share:.3g} %" for share in shares[:4])
        notes.append(
            f"Smallest to largest of n seeds holds the median of all seeds with probability 1 - 2^(1-n): {said}."
        )
    if _ends_apart(groups):
        notes.append("Seeds of a group end at different x: n(x) is shown.")
    tests = sum(1 for size in sizes if size > 1) if asked.threshold is not None else 0
    if tests:
        notes.append(
            f"{counted(tests, 'one-sided t test')} against {asked.threshold:g}; the table adjusts them by Holm."
        )
    if len(groups) > _MOST_PAIRED:
        notes.append(f"Pairs of groups are tested for up to {_MOST_PAIRED} groups; there are {len(groups)}.")
    elif len(groups) > 1:
        notes.append(
            f"{counted(len(groups) * (len(groups) - 1) // 2, 'pair')} of groups tested (t, two-sided), adjusted by Holm."
        )
    return notes


def _ends_apart(groups: Sequence[SeedGroup]) -> bool:
    return any(len({float(seed.x.max()) for seed in group.seeds}) > 1 for group in groups)


def figure(question: SeedBandQuestion, result: SeedBands) -> FigureSpec:
    """Draw every group's centre and band; below, the difference of two groups and n(x) where it changes."""
    axis, unit = axis_along(result.x, float(result.grid[-1]), log=question.log_x)
    x = np.where(result.grid > 0, result.grid / unit, np.nan) if axis.scale == "log" else result.grid / unit
    marks: list[Mark] = []
    counts: list[Mark] = []
    hidden = 0
    for group in result.groups:
        hue, behind = group.hue, Clauses("runs", (is_in("run", group.runs),))
        centre, low, high, lost = _drawable(group.band, question.log_y)
        hidden += lost
        if question.show_seeds or group.name in question.opened or len(group.seeds) == 2:
            marks.extend(_seeds(group, hue, unit, question))
        if np.isfinite(low).any():
            opens = ("opened", group.name)
            marks.append(Band(key=f"{group.name}/band", x=x, low=low, high=high, hue=hue, origin=behind, opens=opens))
        label = _said(group, result)
        if len(result.groups) > 1:
            # What the band is stands once, in the subtitle, where several groups share it.
            said = label if len(group.seeds) < 3 else f"n = {len(group.seeds)}{_diverged(group)}"
            label = f"{group.name} ({said})"
        line = Line(key=group.name, x=x, y=centre, hue=hue, label=label, width=2.0, origin=behind)
        marks.append(line)
        last = np.flatnonzero(np.isfinite(centre))
        if len(last) == 1:  # one evaluation makes no line
            marks.append(Points(key=f"{group.name}/point", x=x[last], y=centre[last], hue=hue, origin=behind))
        counts.append(Line(key=f"{group.name}/n", x=x, y=group.band.n.astype(float), hue=hue, origin=behind))
    if question.threshold is not None:
        marks.append(Rule(key="threshold", axis="y", at=question.threshold, label="threshold", option="threshold"))
    limits = _limits(question, result)
    y_axis = Axis(
        label=result.tag,
        scale="log" if question.log_y else "linear",
        low=limits.low,
        high=limits.high,
        column=result.tag,
    )
    panels = [Panel(key="curves", x=axis, y=y_axis, marks=tuple(marks), height=3.0)]
    if result.difference is not None:
        panels.append(_difference_panel(result, result.difference, x, axis))
    if _ends_apart(result.groups) and question.until == "longest":
        n_axis = Axis(label="n(x), seeds", low=0.0)
        panels.append(Panel(key="n", x=axis, y=n_axis, marks=tuple(counts), legend=False, shares_x_with="curves"))
    sizes = sorted(len(group.seeds) for group in result.groups)
    n = f"{sizes[0]} to {sizes[-1]}" if sizes[0] < sizes[-1] else f"{sizes[0]}"
    groups = f"{counted(len(sizes), 'group')}, " if len(sizes) > 1 else ""
    subtitle = f"{groups}{result.centre}, {result.band_name}, n = {n} seeds{limits.said(len(sizes))}"
    if lost := sum(group.diverged for group in result.groups):
        subtitle += f", {lost} diverged"
    if hidden:
        subtitle += f"; {counted(hidden, 'value')} not above 0 cannot be drawn on a log axis"
    caption = f"{result.summary()} Lines: {result.centre} of seeds; band: {result.band_name}; unit: the seed."
    return FigureSpec(title=result.tag, subtitle=subtitle, panels=tuple(panels), caption=caption)


def _limits(question: SeedBandQuestion, result: SeedBands) -> CommonRange:
    also = () if question.threshold is None else (question.threshold,)
    drawn = [np.concatenate([group.band.centre, group.band.low, group.band.high]) for group in result.groups]
    if question.tight_y:
        return percentile_range(drawn, log=question.log_y)
    limits = common_range(drawn, also=also, log=question.log_y)
    if question.tight_y is None:
        three = np.tile(result.grid, 3)
        limits = after_the_start(limits, [(three, values) for values in drawn], also=also, log=question.log_y)
    return limits


def _drawable(band: SeedInterval, log_y: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Give centre, low and high as an axis can show them, and how many values it cannot."""
    parts = (band.centre, band.low, band.high)
    if not log_y:
        return (*parts, 0)
    lost = int(np.count_nonzero(band.centre <= 0))
    centre, low, high = (np.where(part > 0, part, np.nan) for part in parts)
    return centre, low, high, lost


def _seeds(group: SeedGroup, hue: str, unit: float, question: SeedBandQuestion) -> list[Mark]:
    lines: list[Mark] = []
    for seed in group.seeds:
        x, y = seed.broken(seed.x / unit), seed.broken(seed.y)
        shown = np.isfinite(y) & ((y > 0) | (not question.log_y)) & ((x > 0) | (not question.log_x))
        lines.append(
            Line(
                key=f"{group.name}/seed/{seed.run.key}",
                x=x,
                y=np.where(shown, y, np.nan),
                hue=hue,
                opacity=0.35,
                origin=Keys("run", (seed.run.key,)),
                faint_of=group.name,
            )
        )
    return lines


def _said(group: SeedGroup, result: SeedBands) -> str:
    """Say what a band is and its n."""
    n = len(group.seeds)
    if n < 3:
        return f"{counted(n, 'seed')}, no band"
    return f"{result.centre}, {result.band_name}, n = {n} seeds" + _diverged(group)


def _difference_panel(result: SeedBands, band: SeedInterval, x: np.ndarray, axis: Axis) -> Panel:
    first, second = result.groups
    test = "paired t" if result.differences[0].paired else "Welch t"
    behind = Clauses("runs", (is_in("run", first.runs + second.runs),))
    marks: tuple[Mark, ...] = (
        Rule(key="zero", axis="y", at=0.0),
        Band(key="difference/band", x=x, low=band.low, high=band.high, hue="ink", origin=behind),
        Line(
            key="difference",
            x=x,
            y=band.centre,
            hue="ink",
            width=2.0,
            label=f"difference of means, {test}",
            origin=behind,
        ),
    )
    return Panel(
        key="difference",
        x=axis,
        y=Axis(label=f"{first.name} − {second.name}"),
        marks=marks,
        height=1.5,
        shares_x_with="curves",
    )


ANALYSIS = Analysis(
    id="curve.seed-band",
    title="Seed bands",
    asks="How far apart are two recipes once the noise of their seeds is shown honestly?",
    question=SeedBandQuestion,
    figure=figure,
    sources=(
        "Student (1908); Welch (1947): unequal variances",
        "Tukey and McLaughlin (1963): interval of a trimmed mean",
        "Agarwal et al. (2021), Deep RL at the Edge of the Statistical Precipice: interquartile mean",
    ),
    definition="""\
Seeds are interpolated to one grid, never past their own end. Centre: mean, median or interquartile mean (a quarter cut
at each end, from four seeds on). Band `t`: $\\bar y \\pm t_{n-1}\\,s/\\sqrt n$; `prediction`:
$t_{n-1}\\,s\\sqrt{1+1/n}$. Unit: the seed. With n = 3, 5, 10 Gaussian seeds the t interval covers 95 %, ± 1.96 SE only
81, 89, 92 %, the percentile bootstrap 74, 84, 90 %. `simultaneous`: mean ± q SE with q the quantile of the greatest
|t| along x over resampled seeds, from eight seeds on; it holds the whole curve at once, the others one x at a time.
`minmax` holds the median with probability $1-2^{1-n}$.

Groups are compared on what their seeds end at: Welch's t, or the paired t where both ran the same seeds; Holm over all
pairs. In the median of what seeds end at a diverged seed counts as the worst; in a mean it cannot, and is counted apart.
Not covered: the choice of the best checkpoint of each seed (biased upwards). """,
)
