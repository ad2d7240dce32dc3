"""``scaling.loss-to-loss``: the loss on another data set from that on one: L1 = K (L0 - E0)^kappa + E1."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, Band, FigureSpec, Keys, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, option
from ...models.result import Estimate, Result, counted, significant, with_interval
from ...models.store import RunStore
from ...models.tag_order import by_usefulness
from ..chinchilla_law import fit_law
from ..power_fit import Draws, Fit, Objective, draws_of, fit
from ..resampling import DRAWS, bootstrap, percentile_interval
from ..scaling_runs import RunPoints, RunsQuestion, values_of

_FROM_LAWS, _JOINT = 10, 6


class Shifted:
    """log(E1 + K (L0 - E0)^kappa) in log K, kappa, E0, E1."""

    names: tuple[str, ...] = ("log K", "kappa", "E0", "E1")

    def __init__(self, L0: np.ndarray) -> None:
        self.L0 = L0

    def value(self, theta: np.ndarray) -> tuple[np.ndarray, Any]:
        """Give log L1, shape (m, n), and its parts."""
        excess = np.log(np.maximum(self.L0 - theta[:, 2:3], 1e-12))
        power = np.exp(theta[:, :1] + theta[:, 1:2] * excess)
        total = power + theta[:, 3:]
        return np.log(total), (theta, excess, power, total)

    def jacobian(self, state: Any) -> np.ndarray:
        """Give d log L1 / d theta, shape (m, n, 4)."""
        theta, excess, power, total = state
        share = power / total
        return np.stack([share, share * excess, -share * theta[:, 1:2] / np.exp(excess), 1 / total], axis=-1)

    def gradient(self, state: Any, outer: np.ndarray) -> np.ndarray:
        """Give sum_i outer_i d log L1_i / d theta, shape (m, 4)."""
        return np.asarray((outer[:, None, :] @ self.jacobian(state))[:, 0])


@dataclass(frozen=True)
class LossMap:
    """The loss on one target from that on the source.

    Attributes
    ----------
    target : str
    points : DataFrame
        run, flops, loss0, loss1.
    fit : Fit
    form : Shifted
    draws : Draws
    """

    target: str
    points: pd.DataFrame
    fit: Fit
    form: Shifted
    draws: Draws

    def at(self, L0: np.ndarray | float, theta: np.ndarray | None = None) -> np.ndarray:
        """Give L1 at losses L0, shape (n,) or, with `theta` of shape (m, 4), (m, n); NaN at or below E0."""
        theta = self.fit.theta[None] if theta is None else theta
        excess = np.atleast_1d(np.asarray(L0, float)) - theta[:, 2:3]
        with np.errstate(invalid="ignore", divide="ignore"):
            found = theta[:, 3:] + np.exp(theta[:, :1]) * np.where(excess > 0, excess, np.nan) ** theta[:, 1:2]
        return np.asarray(found)

    @property
    def constants(self) -> dict[str, float]:
        """K, kappa, E0 and E1."""
        log_K, kappa, E0, E1 = (float(value) for value in self.fit.theta)
        return {"K": float(np.exp(log_K)), "kappa": kappa, "E0": E0, "E1": E1}


@dataclass(frozen=True, kw_only=True)
class LossToLoss(Result):
    """Losses on several targets from one.

    Attributes
    ----------
    maps : tuple of LossMap
    source : str
    """

    maps: tuple[LossMap, ...]
    source: str

    def summary(self) -> str:
        """Give the answer in one sentence."""
        said = []
        for one in self.maps[:3]:
            prefix = f"{one.target}/" if len(self.maps) > 1 else ""
            kappa, loss = self.estimates[f"{prefix}kappa"], self.estimates[f"{prefix}target_loss"]
            said.append(
                f"{one.target} = {with_interval(loss.value, loss.low, loss.high)}, kappa = "
                f"{with_interval(kappa.value, kappa.low, kappa.high)}"
            )
        more = f"; and {len(self.maps) - 3} more" if len(self.maps) > 3 else ""
        at = significant(self.estimates["source_loss"].value)
        return f"At {self.source} = {at}: {'; '.join(said)}{more}."


@dataclass(frozen=True, kw_only=True)
class LossToLossQuestion(RunsQuestion):
    """If I know the loss on data set 0, what will data set 1 give?"""

    needs: ClassVar = (Need("runs"),)

    targets: tuple[str, ...] = option((), help="losses to predict; all others if empty", choices="tags|numbers of runs")
    pair: Literal["same run", "compute"] = option(
        "same run", help="pairs are losses of one run, or of runs of one N and D in two families"
    )
    source_family: str = option("", help="with pairs by compute: the family of the source; the first if empty")
    offsets: Literal["from laws", "joint"] = option(
        "from laws", help="E0 and E1 from laws of N and D where there are enough runs; or fitted with K and kappa"
    )
    source_loss: float | None = option(None, help="source loss asked about; 3 % below the lowest if empty", low=0)
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples, each refitted", low=100, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the resampling", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in columns, targets and the loss asked about."""
        asked = super().resolved(store)
        if not asked.targets and asked.pair == "same run":
            frame = store.rows("runs")
            columns = [
                str(name) for name in frame.columns if "loss" in str(name).lower() and frame[name].dtype.kind in "fi"
            ]
            tags = [tag for tag in by_usefulness(store.tags()) if "loss" in tag.lower()]
            asked = replace(asked, targets=tuple(name for name in dict.fromkeys(tags + columns) if name != asked.loss))
        if asked.source_loss is None:
            asked = replace(asked, source_loss=float(f"{0.97 * asked.points(store).column('loss').min():.4g}"))
        return asked

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> LossToLoss:
        """Fit one map for each target and ask it about the source loss."""
        asked = self.resolved(store)
        assert asked.source_loss is not None
        points = asked.points(store, ["family"] if asked.pair == "compute" else [])
        notes = [note for note in points.notes if not note.startswith("Attention") or asked.pair == "same run"]
        pairs = _pairs(store, points, asked, notes)
        maps, refused = [], []
        for number, (target, frame) in enumerate(pairs):
            progress(number, len(pairs), target)
            try:
                maps.append(_map(target, frame, asked, notes, engine, progress))
            except TooLittleData as error:
                refused.append(error)
                notes.append(f"{target} left out: needs {error.needs}; found {error.found}.")
        if not maps:
            raise refused[0] if refused else TooLittleData(needs="a second loss of the same runs", found="one only")
        return LossToLoss(
            maps=tuple(maps),
            source=points.loss,
            estimates=_estimates(maps, asked),
            tables=_tables(maps),
            notes=(
                f"log(L1 − E1) on log(L0 − E0), least squares; unit: the pair of runs; n = "
                f"{', '.join(str(len(one.points)) for one in maps)}; intervals: {100 * asked.level:g} %, {maps[0].draws.how}, "
                f"{asked.draws} draws, seed {asked.seed}. Swapping the axes does not invert the map exactly.",
                *notes,
            ),
        )


def _pairs(
    store: RunStore, points: RunPoints, asked: LossToLossQuestion, notes: list[str]
) -> list[tuple[str, pd.DataFrame]]:
    columns = ["run", "params", "tokens", "flops"]
    frame = points.frame
    if asked.pair == "same run":
        found = []
        for target in asked.targets:
            other = values_of(store, frame, target) if target in store.tags() else _of_rows(store, frame, target)
            found.append((target, frame[columns].assign(loss0=frame["loss"], loss1=other.to_numpy(float))))
        return found
    families = [str(name) for name in frame["family"].dropna().unique()]
    source = asked.source_family or next(iter(families), "")
    if source not in families or len(families) < 2:
        raise AnalysisError("Pairs by compute need two families of runs.", remedy=f"Families: {', '.join(families)}.")
    digits = {name: frame[name].map(lambda value: float(f"{value:.3g}")) for name in ("params", "tokens")}
    keyed = frame.assign(N=digits["params"], D=digits["tokens"]).groupby(["family", "N", "D"], as_index=False).first()
    own = keyed[keyed["family"] == source]
    found = []
    for family in families:
        if family == source or (asked.targets and family not in asked.targets):
            continue
        both = own.merge(keyed[keyed["family"] == family], on=["N", "D"], suffixes=("", "_1"))
        notes.append(f"{family}: {counted(len(both), 'pair')} of equal N and D with {source}.")
        found.append((family, both[columns].assign(loss0=both["loss"], loss1=both["loss_1"])))
    return found


def _of_rows(store: RunStore, frame: pd.DataFrame, target: str) -> pd.Series:
    rows = store.rows("runs")
    if target not in rows.columns:
        raise AnalysisError(f"There is no metric or column called {target!r}.")
    return frame["run"].map(rows.drop_duplicates("run").set_index("run")[target]).astype(float)


def _map(
    target: str, frame: pd.DataFrame, asked: LossToLossQuestion, notes: list[str], engine: Engine, progress: Progress
) -> LossMap:
    kept = np.isfinite(frame[["loss0", "loss1"]].to_numpy(float)).all(axis=1) & (frame["loss1"] > 0).to_numpy()
    points = frame[kept].reset_index(drop=True)
    L0, L1 = points["loss0"].to_numpy(float), points["loss1"].to_numpy(float)
    if len(L0) < _JOINT:
        raise TooLittleData(needs=f"at least {_JOINT} pairs", found=str(len(L0)))
    E0 = E1 = None
    if asked.offsets == "from laws" and len(L0) >= _FROM_LAWS:
        N, D = points["params"].to_numpy(float), points["tokens"].to_numpy(float)
        try:
            laws = [fit_law(N, D, loss, form="coupled").law for loss in (L0, L1)]
            E0, E1 = min(laws[0].E, 0.999 * L0.min()), min(laws[1].E, 0.999 * L1.min())
        except TooLittleData as error:
            notes.append(f"{target}: E0 and E1 are fitted with K and kappa, since laws of N and D need {error.needs}.")
    form = Shifted(L0)
    low = np.array([-20.0, 0.05, 0.0, 0.0])
    high = np.array([20.0, 10.0, 0.999 * L0.min(), 0.999 * L1.min()])
    starts = []
    shares = [(E0, E1)] if E0 is not None and E1 is not None else [
        (a * float(L0.min()), b * float(L1.min())) for a in (0.0, 0.4, 0.7, 0.9) for b in (0.0, 0.4, 0.7, 0.9)
    ]  # fmt: skip
    for first, second in shares:
        slope, level = np.polyfit(np.log(L0 - first), np.log(L1 - second), 1)
        starts.append([level, slope, first, second])
    given = E0 is not None
    fixed = np.array([False, False, given, given])
    fitted = fit(
        form, np.log(L1), objective=Objective("squares"), starts=np.clip(np.array(starts), low, high), low=low, high=high,
        fixed=fixed,
    )  # fmt: skip
    if given:
        # Where both offsets are known, the published fit is the straight line of log excesses.
        fitted = replace(fitted, theta=np.array(starts[0]), residuals=form.value(np.array(starts))[0][0] - np.log(L1))
    if given:
        first, second = shares[0]
        lines = bootstrap(
            partial(_lines, np.log(L0 - first), np.log(L1 - second)), len(L0), draws=asked.draws, seed=asked.seed,
            engine=engine, progress=progress,
        )  # fmt: skip
        offsets = np.broadcast_to([first, second], lines.shape)
        drawn = Draws(np.concatenate([lines, offsets], axis=1), "bootstrap over pairs, E0 and E1 as they are")
    else:
        drawn = draws_of(
            form, np.log(L1), fitted, draws=asked.draws, seed=asked.seed, unit="pair", engine=engine, progress=progress
        )
    return LossMap(target, points, fitted, form, drawn)


def _lines(x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Give intercept and slope of the line through each resample, shape (k, 2)."""
    total = counts.sum(axis=1)
    mx, my = counts @ x / total, counts @ y / total
    u = x - mx[:, None]
    slope = (counts * u * y).sum(axis=1) / np.maximum((counts * u * u).sum(axis=1), 1e-300)
    return np.stack([my - slope * mx, slope], axis=1)


def _estimates(maps: list[LossMap], asked: LossToLossQuestion) -> dict[str, Estimate]:
    assert asked.source_loss is not None
    estimates = {"source_loss": Estimate(asked.source_loss, unit="as the loss", why_no_interval="asked about")}
    for one in maps:
        prefix = f"{one.target}/" if len(maps) > 1 else ""
        theta = one.draws.theta
        drawn = {"K": np.exp(theta[:, 0]), "kappa": theta[:, 1], "E0": theta[:, 2], "E1": theta[:, 3]}
        for name, value in one.constants.items():
            low, high = percentile_interval(drawn[name], asked.level)
            fixed = bool(one.fit.fixed[2]) and name in ("E0", "E1")
            estimates[prefix + name] = Estimate(
                value, np.nan if fixed else float(low), np.nan if fixed else float(high), asked.level,
                "as the loss" if name in ("E0", "E1") else "", "from a law of N and D" if fixed else "too few pairs",
            )  # fmt: skip
        low, high = percentile_interval(one.at(asked.source_loss, theta)[:, 0], asked.level)
        estimates[f"{prefix}target_loss"] = Estimate(
            float(one.at(asked.source_loss)[0, 0]),
            float(low),
            float(high),
            asked.level,
            "as the loss",
            "at or below E0",
        )
        estimates[f"{prefix}n"] = Estimate(len(one.points), unit="pairs", why_no_interval="a count")
    return estimates


def _tables(maps: list[LossMap]) -> dict[str, pd.DataFrame]:
    rows = [{"target": one.target, **one.constants, "pairs": len(one.points), "rmse_log": one.fit.rmse} for one in maps]
    points = [
        one.points.assign(target=one.target, fitted=one.at(one.points["loss0"].to_numpy(float))[0]) for one in maps
    ]
    return {"maps": pd.DataFrame(rows), "pairs": pd.concat(points, ignore_index=True)}


def figure(question: LossToLossQuestion, result: LossToLoss) -> FigureSpec:
    """Draw each target against the source with its map and band, and residuals."""
    assert question.source_loss is not None
    level = f"{100 * question.level:g} %"
    marks: list[Mark] = [Rule(key="equal", axis="diagonal", dash="dotted")]
    residuals: list[Mark] = [Rule(key="zero", axis="y", at=0.0)]
    for number, one in enumerate(result.maps):
        hue = f"c{number}"
        L0, L1 = one.points["loss0"].to_numpy(float), one.points["loss1"].to_numpy(float)
        origin = Keys("run", tuple(one.points["run"].to_numpy(str)))
        least = min(question.source_loss, L0.min())
        for key, x in (
            ("map", np.linspace(L0.min(), L0.max(), 100)),
            ("beyond", np.linspace(0.99 * least, L0.min(), 40)),
        ):
            low, high = percentile_interval(one.at(x, one.draws.theta), question.level)
            label = f"{level}, {one.draws.how}" if number == 0 and key == "map" else ""
            marks.append(
                Band(
                    key=f"{one.target}/{key} band",
                    x=x,
                    low=np.asarray(low),
                    high=np.asarray(high),
                    hue=hue,
                    label=label,
                )
            )
            kappa = one.constants["kappa"]
            marks.append(
                Line(key=f"{one.target}/{key}", x=x, y=one.at(x)[0], hue=hue, width=2.0,
                     dash="solid" if key == "map" else "dashed", label=f"{one.target}, κ {kappa:.3f}" if key == "map" else "")
            )  # fmt: skip
        marks.append(Points(key=f"{one.target}/pairs", x=L0, y=L1, hue=hue, size=5.0, origin=origin))
        residuals.append(
            Points(key=f"{one.target}/residuals", x=L0, y=-100 * one.fit.residuals, hue=hue, size=4.0, origin=origin)
        )
        prefix = f"{one.target}/" if len(result.maps) > 1 else ""
        loss = result.estimates[f"{prefix}target_loss"]
        marks.append(
            Points(key=f"{one.target}/target", x=np.array([question.source_loss]), y=np.array([loss.value]),
                   low=np.array([loss.low]), high=np.array([loss.high]), hue=hue, symbol="star", size=11.0, hollow=True)
        )  # fmt: skip
    marks.append(Rule(key="asked", axis="x", at=question.source_loss, option="source_loss"))
    x_axis = Axis(label=result.source, column=result.source)
    panels = (
        Panel(key="maps", x=x_axis, y=Axis(label="loss on the target"), marks=tuple(marks), height=3.0),
        Panel(key="residuals", x=x_axis, y=Axis(label="residual (%)"), marks=tuple(residuals), legend=False,
              shares_x_with="maps"),
    )  # fmt: skip
    return FigureSpec(
        title=f"Losses from {result.source}", subtitle=f"{counted(len(result.maps), 'target')}, {level} bands", panels=panels,
        caption=f"{result.summary()} Dashed: extrapolation. {result.notes[0]}",
    )  # fmt: skip


ANALYSIS = Analysis(
    id="scaling.loss-to-loss",
    title="Loss-to-loss prediction",
    asks="If I know the loss on one data set, what will another give?",
    question=LossToLossQuestion,
    figure=figure,
    sources=("Brandfonbrener et al. (2024), Loss-to-loss prediction: scaling laws for all datasets",),
    definition="""\
$L_1 = K (L_0 - E_0)^\\kappa + E_1$. $E_0$ and $E_1$ come from coupled laws of N and D of the same runs, then
$\\log(L_1 - E_1)$ is regressed on $\\log(L_0 - E_0)$; with few runs, or `joint`, all four are fitted to $\\log L_1$,
with wide intervals for the
offsets. Pairs: two losses of one run, or runs of equal N and D in two families (training sets). Unit: the pair.

Trap: pairing by index instead of by compute; swapping the axes does not invert the map exactly.
""",
)
