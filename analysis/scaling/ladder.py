"""``scaling.ladder``: task accuracy of a large model from small ones: (N, D) to task loss, task loss to accuracy."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from ...models import expression
from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, RunglassError, TooLittleData
from ...models.figure import Axis, Band, FigureSpec, Keys, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, counted, significant, with_interval
from ...models.store import RunStore
from ...models.tables import Run
from ..chinchilla_law import PARAMETERS, LawFit, fit_law
from ..power_fit import Fit, Objective, Powers, Term, fit, fit_powers, minimise, refits
from ..resampling import bootstrap, percentile_interval
from ..scaling_runs import chosen_runs, short

_LOSS_TAG = re.compile(r"(?P<stem>.+)_(?:bpb|bits_per_byte)")
_ACCURACY_TAG = re.compile(r"(?P<stem>.+)_(?P<kind>len_norm|acc_norm|acc|accuracy)")
_KINDS = ("len_norm", "acc_norm", "acc", "accuracy")
_MOST_STEPS = 1e9
"""No training has so many steps: what counts further counts tokens."""
_FLAT = 0.02
_CHECKPOINTS = 10


class Sigmoid:
    """a / (1 + exp(-k (L - L0))) + b in a, b, log k, L0: falls from b at loss 0 to a + b."""

    names: tuple[str, ...] = ("a", "b", "log k", "L0")
    low = np.array([-1.0, 0.0, -7.0, 0.0])

    def __init__(self, L: np.ndarray) -> None:
        self.L = L
        self.high = np.array([0.0, 1.0, 7.0, 20.0 * float(np.max(L))])

    def value(self, theta: np.ndarray) -> tuple[np.ndarray, Any]:
        """Give the accuracy, shape (m, n), and its parts."""
        k = np.exp(theta[:, 2:3])
        away = self.L - theta[:, 3:]
        rise = 1 / (1 + np.exp(-np.clip(k * away, -500, 500)))
        return theta[:, :1] * rise + theta[:, 1:2], (theta[:, :1], k, away, rise)

    def jacobian(self, state: Any) -> np.ndarray:
        """Give d f / d theta, shape (m, n, 4)."""
        a, k, away, rise = state
        slope = a * rise * (1 - rise)
        return np.stack([rise, np.ones_like(rise), slope * k * away, -slope * k], axis=-1)

    def gradient(self, state: Any, outer: np.ndarray) -> np.ndarray:
        """Give sum_i outer_i d f_i / d theta, shape (m, 4)."""
        a, k, away, rise = state
        slope = outer * a * rise * (1 - rise)
        return np.stack(
            [(outer * rise).sum(axis=1), outer.sum(axis=1), (slope * k * away).sum(axis=1), -(slope * k).sum(axis=1)],
            axis=1,
        )

    def starts(self, accuracy: np.ndarray) -> np.ndarray:
        """Give curves to start from: k and L0 on a grid, a and b by least squares within their bounds."""
        found = []
        for k in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0):
            for place in np.linspace(float(np.quantile(self.L, 0.02)), float(self.L.max()), 6):
                rise = 1 / (1 + np.exp(-k * (self.L - place)))
                slope, level = np.polyfit(rise, accuracy, 1)
                found.append([slope, level, math.log(k), place])
        return np.clip(np.array(found), self.low, self.high)


@dataclass(frozen=True)
class LadderRun:
    """A run of the ladder, for one task.

    Attributes
    ----------
    run : str
    params, tokens : float
    fitted : bool
        Whether it is in the fit; the others are targets.
    loss, accuracy : ndarray, shape (checkpoints,)
        Of the task, as logged.
    """

    run: str
    params: float
    tokens: float
    fitted: bool
    loss: np.ndarray
    accuracy: np.ndarray


@dataclass(frozen=True)
class TaskLadder:
    """Both steps of one task.

    Attributes
    ----------
    task : str
    runs : tuple of LadderRun
    first : LawFit
        Task loss as a law of N and D.
    second : Fit
        Accuracy as a sigmoid of task loss.
    loss, accuracy : ndarray, shape (checkpoints,)
        What the second step was fitted to, smoothed.
    owner : ndarray, shape (checkpoints,)
        Number of the fitted run each checkpoint is of; -1 for the anchor.
    draws : ndarray, shape (draws, 9)
        Parameters of both steps from resamples of runs.
    targets : DataFrame
        run, params, tokens, actual_loss, predicted_loss, actual, predicted, low, high, relative_error, sd, and the forecasts
        from compute alone.
    """

    task: str
    runs: tuple[LadderRun, ...]
    first: LawFit
    second: Fit
    loss: np.ndarray
    accuracy: np.ndarray
    owner: np.ndarray
    draws: np.ndarray
    targets: pd.DataFrame

    def curve(self, L: np.ndarray, theta: np.ndarray | None = None) -> np.ndarray:
        """Give accuracy at losses, for the fit or, with `theta` of shape (m, 4), for many; L has shape (n,) or (m, n)."""
        theta = self.second.theta[None] if theta is None else theta
        return np.asarray(_sigmoid(L, theta))


def _sigmoid(L: np.ndarray, theta: np.ndarray) -> np.ndarray:
    rise = 1 / (1 + np.exp(-np.clip(np.exp(theta[:, 2:3]) * (L - theta[:, 3:]), -500, 500)))
    return np.asarray(theta[:, :1] * rise + theta[:, 1:2])


@dataclass(frozen=True, kw_only=True)
class Ladder(Result):
    """Forecasts of tasks.

    Attributes
    ----------
    tasks : tuple of TaskLadder
    """

    tasks: tuple[TaskLadder, ...]

    def summary(self) -> str:
        """Give the answer in one sentence."""
        parts = []
        for ladder in self.tasks[:3]:
            for row in _each(ladder.targets.tail(1)):
                actual = "" if math.isnan(row.actual) else f" (actual {row.actual:.3f})"
                parts.append(f"{ladder.task} {with_interval(row.predicted, row.low, row.high)}{actual}")
        more = f" and {len(self.tasks) - 3} more tasks" if len(self.tasks) > 3 else ""
        biggest = max((run.params for run in self.tasks[0].runs if not run.fitted), default=math.nan)
        errors = pd.concat([ladder.targets for ladder in self.tasks])["relative_error"].abs()
        off = f"; off by {100 * errors.mean():.1f} % on average" if errors.notna().any() else ""
        return f"Forecast at N = {short(biggest)}: {', '.join(parts)}{more}{off}."


@dataclass(frozen=True, kw_only=True)
class LadderQuestion(Question):
    """What accuracy will the big model have on this task?"""

    needs: ClassVar = (Need("runs"), Need("scalars"))

    tasks: tuple[str, ...] = option((), help="tasks, by the names their tags share; all that are found if empty")
    combine: tuple[str, ...] = option(
        (), help="weighted means of tasks: mmlu=0.2*mmlu_stem+0.8*mmlu_other", advanced=True
    )
    fit_where: str = option("", help="condition on runs that are fitted; all but the largest size if empty")
    target_where: str = option("", help="condition on runs that are forecast; all others if empty")
    sizes: tuple[str, ...] = option((), help="parameters by part of a run's name, where none are logged: 7B=6.9e9")
    average: int = option(
        5, help="checkpoints averaged for the loss of a run, and smoothed over", unit="checkpoints", low=1
    )
    skip: float = option(0.1, help="share of the first checkpoints left out of the second step", low=0, high=0.9)
    maximum: float = option(1.0, help="accuracy at loss 0", low=0, high=1)
    target_params: float | None = option(None, help="N of a further model asked about", unit="parameters", low=1)
    target_tokens: float | None = option(None, help="D of a further model asked about", unit="tokens", low=1)
    shown: str = option("", help="task that is drawn; the first if empty")
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(400, help="resamples, both steps refitted", low=50, high=20_000, advanced=True)
    seed: int = option(0, help="seed of the resampling", low=0, advanced=True)

    def resolved(self, store: RunStore) -> Self:
        """Fill in the tasks."""
        found = task_tags(store)
        combined = tuple(name for name, _ in _combinations(self.combine))
        return self if self.tasks else replace(self, tasks=combined or tuple(found))

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> Ladder:
        """Fit both steps of every task, forecast the targets, and refit on resamples of runs."""
        asked = self.resolved(store)
        tags = task_tags(store)
        if not tags:
            raise AnalysisError(
                "No task has both a loss in bits per byte and an accuracy among the curves.",
                remedy="Tags like hellaswag_bpb and hellaswag_acc belong together.",
            )
        combinations = dict(_combinations(asked.combine))
        sized, notes = _sized_runs(store, asked)
        ladders, refused = [], []
        for number, task in enumerate(asked.tasks):
            progress(number, len(asked.tasks), task)
            weights = combinations.get(task, {task: 1.0})
            if missing := [name for name in weights if name not in tags]:
                raise AnalysisError(
                    f"There is no task {missing[0]!r}.", remedy="Tasks: " + ", ".join(list(tags)[:30]) + "."
                )
            runs = _task_runs(store, sized, {name: tags[name] for name in weights}, weights)
            try:
                ladders.append(_ladder(task, runs, asked, engine, progress))
            except AnalysisError as error:
                refused.append(error)
                notes.append(f"{task} left out: {error.what}")
        if not ladders:
            raise refused[0]
        ladders.sort(key=lambda ladder: _noise(ladder))
        return Ladder(
            tasks=tuple(ladders),
            estimates=_estimates(ladders, asked),
            tables=_tables(ladders),
            notes=(*_notes(ladders, asked), *notes),
        )


def _each(frame: pd.DataFrame) -> Iterable[Any]:
    """Give the rows as tuples with names."""
    return frame.itertuples()


def task_tags(store: RunStore) -> dict[str, tuple[str, str]]:
    """Give the tags of loss and accuracy of each task that has both, by what their names share."""
    losses: dict[str, str] = {}
    accuracies: dict[str, dict[str, str]] = {}
    for tag in store.tags():
        last = tag.rpartition("/")[2]
        if found := _LOSS_TAG.fullmatch(last):
            losses[found["stem"]] = tag
        elif found := _ACCURACY_TAG.fullmatch(last):
            accuracies.setdefault(found["stem"], {})[found["kind"]] = tag
    pairs = {}
    for stem in sorted(set(losses) & set(accuracies)):
        kind = next(kind for kind in _KINDS if kind in accuracies[stem])
        pairs[stem] = (losses[stem], accuracies[stem][kind])
    return pairs


def _combinations(texts: Sequence[str]) -> list[tuple[str, dict[str, float]]]:
    """Read weighted means of tasks."""
    found = []
    for text in texts:
        name, equals, terms = text.partition("=")
        weights = {}
        for term in terms.split("+"):
            weight, star, task = term.partition("*")
            try:
                weights[(task if star else term).strip()] = float(weight) if star else 1.0
            except ValueError:
                raise RunglassError(f"--combine {text!r} has no number before '*' in {term!r}.") from None
        if not equals or not name.strip() or not all(weights):
            raise RunglassError(f"--combine {text!r} is not NAME=WEIGHT*TASK+WEIGHT*TASK.")
        found.append((name.strip(), weights))
    return found


def _sized_runs(store: RunStore, asked: LadderQuestion) -> tuple[pd.DataFrame, list[str]]:
    """Give run, params, tokens, fitted and target of every run with a size."""
    frame = store.rows("runs")
    stated = {}
    for text in asked.sizes:
        name, equals, number = text.partition("=")
        try:
            stated[name.strip()] = float(number)
        except ValueError:
            raise RunglassError(f"--sizes {text!r} is not NAME=NUMBER.") from None
        if not equals:
            raise RunglassError(f"--sizes {text!r} is not NAME=NUMBER.")
    rows, token_notes = [], set()
    nothing = pd.Series(np.nan, index=frame.index)
    columns = (pd.to_numeric(frame.get(name, nothing), errors="coerce") for name in ("params", "tokens"))
    for run, params, tokens in zip(frame["run"].astype(str), *columns, strict=True):
        name = run.rpartition("/")[2]
        sizes = [
            number
            for part, number in stated.items()
            if re.search(rf"(?<![0-9A-Za-z.]){re.escape(part)}(?![0-9A-Za-z])", name)
        ]
        known = store.kept_runs.get(run)
        length = float(tokens)
        if known is not None and not np.isfinite(length):
            length, said = _tokens(known)
            token_notes.add(said)
        rows.append((run, sizes[-1] if sizes else float(params), length))
    sized = pd.DataFrame(rows, columns=["run", "params", "tokens"])
    known_size = (
        np.isfinite(sized["params"]) & (sized["params"] > 0) & np.isfinite(sized["tokens"]) & (sized["tokens"] > 0)
    )
    notes = [note for note in sorted(token_notes) if note]
    if lost := int((~known_size).sum()):
        notes.append(f"{counted(lost, 'run')} left out: no parameters or tokens.")
    sized = sized[known_size].reset_index(drop=True)
    if sized.empty:
        raise TooLittleData(
            needs="runs with parameters and tokens", found="none",
            remedy="Say the parameters by part of the name: --sizes 190M=190354176,370M=371262464.",
        )  # fmt: skip
    sized["flops"] = 6 * sized["params"] * sized["tokens"]
    if asked.fit_where:
        sized["fitted"] = _holds(sized, store, asked.fit_where)
    else:
        sized["fitted"] = sized["params"] < 0.99 * sized["params"].max()
        notes.append(f"Forecast: the runs of {short(float(sized['params'].max()))} parameters, the largest.")
    target = _holds(sized, store, asked.target_where) if asked.target_where else np.ones(len(sized), dtype=bool)
    sized["target"] = target & ~sized["fitted"].to_numpy(bool)
    return sized, notes


def _holds(sized: pd.DataFrame, store: RunStore, condition: str) -> np.ndarray:
    parsed = expression.parse(condition)
    if set(parsed.columns) <= set(sized.columns):
        return np.asarray(parsed.mask(sized), dtype=bool)
    return chosen_runs(store, sized.assign(loss=np.nan), condition)


def _tokens(run: Run) -> tuple[float, str]:
    """Give the tokens a run was trained on, from its curves, and how they were found."""
    for tag in ("tokens", *sorted(tag for tag in run.curves if re.search(r"total_tokens|tokens_seen|num_tokens", tag))):
        if tag in run.curves and len(run.curves[tag]):
            return float(np.nanmax(np.asarray(run.curves[tag].value, float))), ""
    steps = [float(np.max(curve.step)) for curve in run.curves.values() if len(curve)]
    last = max(steps, default=math.nan)
    if last > _MOST_STEPS:
        return last, f"Steps of {run.name} count tokens."
    for tag in run.curves:
        if re.search(r"batch_size_in_tokens|tokens_per_(step|batch)", tag):
            return last * float(np.asarray(run.curves[tag].value, float)[-1]), "Tokens: steps times tokens of a batch."
    return math.nan, ""


def _task_runs(
    store: RunStore, sized: pd.DataFrame, tags: Mapping[str, tuple[str, str]], weights: Mapping[str, float]
) -> list[LadderRun]:
    found = []
    total = sum(weights.values())
    for row in _each(sized):
        if not (row.fitted or row.target):
            continue
        run = store.kept_runs.get(str(row.run))
        if run is None or any(tag not in run.curves for pair in tags.values() for tag in pair):
            continue
        loss, accuracy = (
            sum(weights[name] / total * np.asarray(run.curves[pair[which]].value, float) for name, pair in tags.items())
            for which in (0, 1)
        )
        found.append(
            LadderRun(str(row.run), row.params, row.tokens, bool(row.fitted), np.asarray(loss), np.asarray(accuracy))
        )
    return found


def smoothed(values: np.ndarray, n: int) -> np.ndarray:
    """Give the mean of each value and the n - 1 before it, of fewer at the start."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - n, 0)
    return np.asarray((sums[last] - sums[first]) / (last - first))


def _ladder(task: str, runs: list[LadderRun], asked: LadderQuestion, engine: Engine, progress: Progress) -> TaskLadder:
    fitted = [run for run in runs if run.fitted and len(run.loss) and np.isfinite(run.loss[-asked.average :]).all()]
    if len({run.params for run in fitted}) < 3:
        raise TooLittleData(needs="fitted runs of at least 3 sizes", found=str(len({run.params for run in fitted})))
    N, D = (np.array([getattr(run, name) for run in fitted]) for name in ("params", "tokens"))
    final = np.array([run.loss[-asked.average :].mean() for run in fitted])
    first = fit_law(N, D, final)
    losses, accuracies, owners = [], [], []
    for number, run in enumerate(fitted):
        from_ = math.ceil(asked.skip * len(run.loss))
        kept = np.isfinite(run.loss[from_:]) & np.isfinite(run.accuracy[from_:])
        losses.append(smoothed(run.loss[from_:][kept], asked.average))
        accuracies.append(smoothed(run.accuracy[from_:][kept], asked.average))
        owners.append(np.full(int(kept.sum()), number))
    loss = np.concatenate([*losses, [0.0]])
    accuracy = np.concatenate([*accuracies, [asked.maximum]])
    owner = np.concatenate([*owners, [-1]])
    if np.ptp(accuracy[:-1]) < _FLAT:
        raise AnalysisError(f"The accuracy of {task} moves by less than {_FLAT:g}: it never leaves chance.")
    curve = Sigmoid(loss)
    second = fit(
        curve, accuracy, objective=Objective("squares"), starts=curve.starts(accuracy), low=curve.low, high=curve.high
    )
    function = _Refits(first, curve, accuracy, second, owner)
    draws = bootstrap(
        function, len(fitted), draws=asked.draws, seed=asked.seed, engine=engine, progress=progress, block_size=50
    )
    draws = draws[~np.isnan(draws).any(axis=1)]
    ladder = TaskLadder(task, tuple(runs), first, second, loss, accuracy, owner, draws, pd.DataFrame())
    return replace(ladder, targets=_targets(ladder, asked))


@dataclass(frozen=True)
class _Refits:
    """Refits both steps on resamples of runs; a class, so that worker processes can be given it."""

    first: LawFit
    curve: Sigmoid
    accuracy: np.ndarray
    second: Fit
    owner: np.ndarray

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        one = refits(self.first.form, np.log(self.first.L), self.first.fit, counts)
        weights = np.where(self.owner < 0, 1.0, counts[:, np.maximum(self.owner, 0)].astype(float))
        two, _ = minimise(
            self.curve, self.accuracy, weights, np.repeat(self.second.theta[None], len(counts), axis=0), delta=math.inf,
            low=self.second.low, high=self.second.high, tolerance=1e-7, evaluations=60,
        )  # fmt: skip
        return np.concatenate([one, two], axis=1)


def _targets(ladder: TaskLadder, asked: LadderQuestion) -> pd.DataFrame:
    """Forecast the runs that were not fitted, and the model asked about."""
    rows = []
    unseen = sorted((run for run in ladder.runs if not run.fitted), key=lambda run: run.params * run.tokens)
    models: list[tuple[str, float, float, LadderRun | None]] = [
        (run.run, run.params, run.tokens, run) for run in unseen
    ]
    if asked.target_params and asked.target_tokens:
        models.append(("asked about", asked.target_params, asked.target_tokens, None))
    compute = fit_powers(
        Powers([Term("A", (("alpha", -np.log(ladder.first.N * ladder.first.D)),)), Term("E")], len(ladder.first.L)),
        ladder.first.L, objective=Objective(),
    )  # fmt: skip
    p = len(ladder.first.fit.theta)
    laws = ladder.first.law_of(ladder.draws[:, :p])
    for name, N, D, run in models:
        predicted_loss = float(ladder.first.law.loss(N, D))
        drawn_loss = laws.loss(N, D)
        drawn = ladder.curve(drawn_loss[:, None], ladder.draws[:, p:])[:, 0]
        low, high = percentile_interval(drawn, asked.level)
        actual_loss = float(np.mean(run.loss[-asked.average :])) if run is not None else math.nan
        actual = float(np.mean(run.accuracy[-asked.average :])) if run is not None else math.nan
        predicted = float(ladder.curve(np.array([predicted_loss]))[0, 0])
        middle = float(np.log(ladder.first.N * ladder.first.D).mean())
        level, offset, alpha = compute.theta
        by_compute = math.exp(offset) + math.exp(level - alpha * (math.log(N * D) - middle))
        last = run.accuracy[-_CHECKPOINTS:] if run is not None else np.empty(0)
        rows.append(
            {
                "task": ladder.task, "run": name, "params": N, "tokens": D, "actual_loss": actual_loss,
                "predicted_loss": predicted_loss, "loss_relative_error": predicted_loss / actual_loss - 1,
                "actual": actual, "predicted": predicted, "low": float(low), "high": float(high),
                "relative_error": predicted / actual - 1, "points": 100 * (predicted - actual),
                "from_actual_loss": float(ladder.curve(np.array([actual_loss]))[0, 0]),
                "from_compute_alone": float(ladder.curve(np.array([by_compute]))[0, 0]),
                "sd": float(np.std(last, ddof=1)) if len(last) > 1 else math.nan,
            }
        )  # fmt: skip
    columns = [
        "task", "run", "params", "tokens", "actual_loss", "predicted_loss", "loss_relative_error", "actual", "predicted",
        "low", "high", "relative_error", "points", "from_actual_loss", "from_compute_alone", "sd",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _noise(ladder: TaskLadder) -> float:
    """Give the standard deviation over mean of the last checkpoints of the largest fitted run: what cannot be predicted."""
    largest = max((run for run in ladder.runs if run.fitted), key=lambda run: run.params * run.tokens)
    last = largest.accuracy[-_CHECKPOINTS:]
    return float(np.std(last, ddof=1) / np.mean(last)) if len(last) > 1 else math.inf


def _estimates(ladders: list[TaskLadder], asked: LadderQuestion) -> dict[str, Estimate]:
    estimates = {}
    for ladder in ladders:
        p = len(ladder.first.fit.theta)
        laws = ladder.first.law_of(ladder.draws[:, :p])
        two = ladder.second.theta
        drawn = ladder.draws[:, p:]
        values = {name: (getattr(ladder.first.law, name), np.asarray(getattr(laws, name))) for name in PARAMETERS}
        values |= {
            "a": (two[0], drawn[:, 0]), "b": (two[1], drawn[:, 1]), "k": (math.exp(two[2]), np.exp(drawn[:, 2])),
            "L0": (two[3], drawn[:, 3]),
        }  # fmt: skip
        for name, (value, draws) in values.items():
            low, high = percentile_interval(draws, asked.level)
            estimates[f"{ladder.task}/{name}"] = Estimate(
                float(value), float(low), float(high), asked.level, "bits per byte" if name in ("E", "L0") else "",
                "no draw could be fitted",
            )  # fmt: skip
        for row in _each(ladder.targets.tail(1)):
            estimates[f"{ladder.task}/predicted_loss"] = Estimate(
                row.predicted_loss, unit="bits per byte", why_no_interval="see the accuracy"
            )
            estimates[f"{ladder.task}/predicted"] = Estimate(row.predicted, row.low, row.high, asked.level, "accuracy")
            if not math.isnan(row.actual):
                estimates[f"{ladder.task}/actual_loss"] = Estimate(
                    row.actual_loss, unit="bits per byte", why_no_interval="measured"
                )
                estimates[f"{ladder.task}/actual"] = Estimate(row.actual, unit="accuracy", why_no_interval="measured")
                estimates[f"{ladder.task}/relative_error"] = Estimate(row.relative_error, why_no_interval="one model")
    return estimates


def _tables(ladders: list[TaskLadder]) -> dict[str, pd.DataFrame]:
    rows = []
    for ladder in ladders:
        law, two = ladder.first.law, ladder.second.theta
        rows.append(
            {
                "task": ladder.task, **{name: getattr(law, name) for name in PARAMETERS}, "a": two[0], "b": two[1],
                "k": math.exp(two[2]), "L0": two[3], "fit_error": float(np.abs(np.expm1(ladder.first.residuals)).mean()),
                "sd_over_mean": _noise(ladder), "starts_agreeing": ladder.first.fit.agreeing,
            }
        )  # fmt: skip
    return {
        "forecasts": pd.concat([ladder.targets for ladder in ladders], ignore_index=True),
        "tasks": pd.DataFrame(rows),
    }


def _notes(ladders: list[TaskLadder], asked: LadderQuestion) -> list[str]:
    fitted = len(ladders[0].first.L)
    notes = [
        f"Step 1: law of N and D by Huber's loss of log residuals (sum, delta 0.001) on the mean of the last "
        f"{asked.average} checkpoints; step 2: sigmoid by least squares on checkpoints smoothed over {asked.average}, the "
        f"first {100 * asked.skip:g} % left out, through ({asked.maximum:g} at loss 0); unit: the run, n = {fitted}; "
        f"intervals: {100 * asked.level:g} %, bootstrap over runs, both steps refitted, {asked.draws} draws, "
        f"seed {asked.seed}.",
        "Tasks from the steadiest to the noisiest over the last ten checkpoints of the largest fitted run.",
    ]
    for ladder in ladders:
        one = ladder.first.fit
        if one.agreeing < one.started / 2:
            notes.append(f"{ladder.task}: only {one.agreeing} of {one.started} starts of step 1 reached the optimum.")
        if one.bounds:
            notes.append(f"{ladder.task}: on a bound in step 1: {', '.join(one.bounds)}.")
        lost = asked.draws - len(ladder.draws)
        if lost:
            notes.append(f"{ladder.task}: {lost} of {asked.draws} resamples had too few runs to fit.")
    return notes


def figure(question: LadderQuestion, result: Ladder) -> FigureSpec:
    """Draw both steps of one task, and the forecasts of all."""
    ladder = next((one for one in result.tasks if one.task == question.shown), result.tasks[0])
    level = f"{100 * question.level:g} %"
    p = len(ladder.first.fit.theta)
    laws = ladder.first.law_of(ladder.draws[:, :p])
    sizes = sorted({run.params for run in ladder.runs})
    one: list[Mark] = []
    two: list[Mark] = []
    everything = list(ladder.runs)
    tokens = np.array([run.tokens for run in everything] + ([question.target_tokens] if question.target_tokens else []))
    asked_size = question.target_params if question.target_params and question.target_tokens else None
    for number, size in enumerate([*sizes, *([asked_size] if asked_size and asked_size not in sizes else [])]):
        hue = f"c{number}"
        own = [run for run in everything if run.params == size]
        seen = [run for run in own if run.fitted]
        D = np.geomspace(tokens.min() / 1.3, tokens.max() * 1.3, 60)
        if not seen:
            low, high = percentile_interval(laws.column().loss(size, D), question.level)
            one.append(
                Band(key=f"band {size:g}", x=D, low=np.asarray(low), high=np.asarray(high), hue=hue, label=level)
            )
        one.append(
            Line(key=f"law {size:g}", x=D, y=ladder.first.law.loss(size, D), hue=hue, label=f"N = {short(size)}",
                 dash="solid" if seen else "dashed", width=1.5)
        )  # fmt: skip
        if own:
            one.append(
                Points(
                    key=f"runs {size:g}", x=np.array([run.tokens for run in own]), hue=hue, size=7.0, hollow=not seen,
                    y=np.array([float(np.mean(run.loss[-question.average :])) for run in own]),
                    origin=Keys("run", tuple(run.run for run in own)),
                )
            )  # fmt: skip
    fitted = [run for run in ladder.runs if run.fitted]
    for number, size in enumerate(sizes):
        mask = np.array([owner >= 0 and fitted[owner].params == size for owner in ladder.owner])
        if mask.any():
            names = tuple(fitted[owner].run for owner in ladder.owner[mask])
            two.append(
                Points(key=f"checkpoints {size:g}", x=ladder.loss[mask], y=ladder.accuracy[mask], hue=f"c{number}", size=3.0,
                       opacity=0.6, origin=Keys("run", names))
            )  # fmt: skip
    least = float(np.nanmin([*ladder.targets["predicted_loss"], ladder.loss[:-1].min()]))
    L = np.linspace(0.9 * least, float(ladder.loss.max()), 160)
    low, high = percentile_interval(ladder.curve(L, ladder.draws[:, p:]), question.level)
    inside = ladder.loss[:-1].min() <= L
    curve = ladder.curve(L)[0]
    two += [
        Band(
            key="band", x=L, low=np.asarray(low), high=np.asarray(high), hue="accent", label=f"{level}, runs resampled"
        ),
        Line(key="sigmoid", x=L[inside], y=curve[inside], hue="accent", width=2.0),
        Line(key="beyond", x=L[~inside], y=curve[~inside], hue="accent", width=2.0, dash="dashed"),
    ]
    for row in _each(ladder.targets):
        two.append(
            Points(
                key=f"target {row.run}", x=np.array([row.predicted_loss]), y=np.array([row.predicted]),
                low=np.array([row.low]), high=np.array([row.high]), hue="accent", symbol="star", size=11.0, hollow=True,
                origin=Keys("run", (str(row.run),)), label=f"forecast N = {short(row.params)}",
            )
        )  # fmt: skip
        if not math.isnan(row.actual):
            two.append(
                Points(key=f"actual {row.run}", x=np.array([row.actual_loss]), y=np.array([row.actual]), hue="ink",
                       size=6.0, symbol="cross", origin=Keys("run", (str(row.run),)))
            )  # fmt: skip
    if asked_size:
        assert question.target_tokens is not None
        one.append(Rule(key="target D", axis="x", at=question.target_tokens, option="target_tokens"))
    residuals: list[Mark] = [Rule(key="zero", axis="y", at=0.0)]
    for number, size in enumerate(sizes):
        of_size = np.isclose(ladder.first.N, size)
        if of_size.any():
            residuals.append(
                Points(key=f"residuals {size:g}", x=ladder.first.D[of_size], y=100 * ladder.first.residuals[of_size],
                       hue=f"c{number}", size=5.0, origin=Keys("run", tuple(run.run for run in fitted if run.params == size)))
            )  # fmt: skip
    x_tokens = Axis(label="tokens D", scale="log", column="tokens")
    panels = [
        Panel(key="step 1", x=x_tokens, y=Axis(label="task loss"), marks=tuple(one), height=3.0, title=ladder.task),
        Panel(key="residuals", x=x_tokens, y=Axis(label="residual (%)"), marks=tuple(residuals), legend=False,
              shares_x_with="step 1"),
        Panel(key="step 2", x=Axis(label="task loss"), y=Axis(label="accuracy"), marks=tuple(two), height=2.0),
        _forecast_panel(result),
    ]  # fmt: skip
    errors = pd.concat([one.targets for one in result.tasks])["relative_error"].abs()
    subtitle = f"{counted(len(ladder.first.L), 'run')} fitted, {counted(len(result.tasks), 'task')}"
    if errors.notna().any():
        subtitle += f"; forecasts off by {100 * float(errors.mean()):.1f} % on average"
    return FigureSpec(
        title=f"Model ladder, {ladder.task}", subtitle=subtitle, panels=tuple(panels), columns=2,
        caption=f"{result.summary()} Dashed: extrapolation; hollow: not fitted. {result.notes[0]}",
    )  # fmt: skip


def _forecast_panel(result: Ladder) -> Panel:
    """Draw forecast less actual for every task."""
    marks: list[Mark] = [Rule(key="zero", axis="y", at=0.0)]
    for number, ladder in enumerate(result.tasks):
        for row in _each(ladder.targets):
            if math.isnan(row.actual):
                continue
            off, low, high = (100 * (end - row.actual) for end in (row.predicted, row.low, row.high))
            said = f"{ladder.task}, N = {short(row.params)}: {significant(row.predicted)} for {significant(row.actual)}"
            marks.append(
                Points(
                    key=f"{ladder.task}/{row.run}", x=np.array([float(number)]), y=np.array([off]),
                    low=np.array([low]), high=np.array([high]),
                    hue="ink", size=6.0, symbol="diamond", hollow=True, origin=Keys("run", (str(row.run),)),
                    notes=(said,),
                )
            )  # fmt: skip
    names = tuple(re.sub(r"_(rc|mc|\d+shot)(?=_|$)", "", ladder.task) for ladder in result.tasks)
    return Panel(
        key="forecasts", x=Axis(scale="category", names=names), y=Axis(label="forecast − actual (points)"),
        marks=tuple(marks), legend=False, height=2.0,
    )  # fmt: skip


ANALYSIS = Analysis(
    id="scaling.ladder",
    title="Model ladder",
    asks="What accuracy will the big model have on this task?",
    question=LadderQuestion,
    figure=figure,
    sources=("Bhagia et al. (2024), Establishing task scaling laws via compute-efficient model ladders, and its code",),
    definition="""\
Step 1: $L_{task} = A/N^\\alpha + B/D^\\beta + E$ on the mean of the last checkpoints of each run. Step 2: $Acc = a / (1 +
e^{-k (L - L_0)}) + b$ with $-1 \\le a \\le 0$, $0 \\le b \\le 1$, $k, L_0 \\ge 0$, by least squares on all checkpoints after a
moving average, the first tenth left out, and the point (0, highest accuracy). The forecast is the second at the loss of
the first. Unit: the run, both steps refitted in each resample; scatter of a single checkpoint of the target is not in it.
Baseline: the loss from compute alone.

Traps: step 1 is not convex, and starts from one place end elsewhere; errors are relative here, in points in the paper.
""",
)
