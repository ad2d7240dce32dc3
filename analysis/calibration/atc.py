"""``labelfree.atc``: what accuracy to expect on unlabelled data?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from ...models.engine import LOCAL, Engine
from ...models.errors import AnalysisError, TooLittleData
from ...models.figure import Axis, FigureSpec, Line, Mark, Panel, Points, Rule
from ...models.progress import Progress, quiet
from ...models.question import Analysis, Need, Question, option
from ...models.result import Estimate, Result, with_interval
from ...models.selection import Clause, is_in
from ...models.store import RunStore
from ..answers import at_epoch, in_natural_order, present, rightness
from ..forecast_marks import hue_of
from ..forecast_rows import numbered, probabilities
from ..recalibration import softmax, temperature_of
from ..resampling import DRAWS, percentile_interval

_SMALL = 1e-12
_ESTIMATORS = ("ATC", "AC", "DoC", "GDE")


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of one split: score, confidence, rightness (NaN where unknown), unit, and agreement with the other model."""

    score: np.ndarray
    confidence: np.ndarray
    right: np.ndarray
    unit: np.ndarray
    agrees: np.ndarray


@dataclass(frozen=True, kw_only=True)
class LabelFreeAccuracy(Result):
    """Accuracy foretold without labels.

    Attributes
    ----------
    predicted : DataFrame
        One row a target and estimator: target, n, estimator, predicted, low, high, actual, error.
    densities : DataFrame
        Score by split: split, score, share.
    threshold : float
        The score that source rows counted as right reach.
    score_name : str
        What the score is.
    unit : str
        What was resampled.
    """

    predicted: pd.DataFrame
    densities: pd.DataFrame
    threshold: float
    score_name: str
    unit: str

    def summary(self) -> str:
        """Give the answer in one sentence."""
        rows = self.predicted[self.predicted["estimator"] == "ATC"].to_dict("records")
        said = []
        for row in rows[:4]:
            actual = f" (in fact {100 * row['actual']:.1f} %)" if math.isfinite(row["actual"]) else ""
            said.append(
                f"{row['target']} {100 * row['predicted']:.1f} % [{100 * row['low']:.1f}, {100 * row['high']:.1f}]{actual}"
            )
        more = f" and {len(rows) - 4} more" if len(rows) > 4 else ""
        return f"Estimated accuracy: {'; '.join(said)}{more}."


@dataclass(frozen=True, kw_only=True)
class AtcQuestion(Question):
    """What accuracy to expect on unlabelled data?"""

    needs: ClassVar = (Need("predictions"),)

    split: str = option(
        "", help="column that tells source from targets; split or group if empty", choices="columns of predictions"
    )
    source: str = option("", help="its value on the labelled source; the largest labelled one if empty")
    score: Literal["entropy", "confidence"] = option("entropy", help="-entropy of the probabilities, or their greatest")
    temperature: bool = option(True, help="fit a temperature on the source first, where probabilities are recorded")
    model: str = option("", help="model; the one with most rows if empty", choices="predictions.model")
    version: str = option("", help="version; the last one if empty", choices="predictions.version")
    other: str = option(
        "", help="another version, for GDE: 1 - disagreement of the two", choices="predictions.version", advanced=True
    )
    cluster: str = option(
        "", help="column of rows that are resampled together", choices="columns of predictions", advanced=True
    )
    level: float = option(0.95, help="coverage of the intervals", low=0.5, high=0.999)
    draws: int = option(DRAWS, help="resamples", low=20, high=100_000, advanced=True)
    seed: int = option(0, help="seed of the resampling", low=0, advanced=True)

    def answer(self, store: RunStore, *, engine: Engine = LOCAL, progress: Progress = quiet) -> LabelFreeAccuracy:
        """Choose the threshold on the source, count what reaches it on each target."""
        frame, notes = self._frame(store)
        column = self.split or next(iter(present(frame, ("split", "group"))), "")
        if not column or column not in frame.columns:
            raise AnalysisError(
                "Nothing tells the labelled source from the targets.",
                remedy="Name a column with --split (and --source).",
            )
        if self.cluster and self.cluster not in frame.columns:
            raise AnalysisError(f"The predictions have no column called {self.cluster!r}.")
        names = frame[column].astype(str)
        right = _known_right(frame)
        labelled = names[np.isfinite(right)].value_counts()
        source = self.source or (str(labelled.index[0]) if len(labelled) else "")
        if source not in set(names) or not np.isfinite(right[(names == source).to_numpy()]).any():
            raise TooLittleData(needs=f"labelled rows with {column} = {source or '?'} as the source", found="none")
        targets = [name for name in in_natural_order(names.unique()) if name != source]
        if not targets:
            raise TooLittleData(needs=f"rows with another {column} than {source} as a target", found="none")
        rows, score_name, more = self._scored(frame, (names == source).to_numpy(), right, store)
        notes += more
        splits = {name: _part(rows, (names == name).to_numpy()) for name in (source, *targets)}
        base = splits[source]
        known = np.isfinite(base.right)
        base = _part(base, known)
        threshold = atc_threshold(base.score, base.right)
        generator = np.random.default_rng(self.seed)
        table, estimates = [], {}
        again = [_resampled(base, generator) for _ in range(self.draws)]
        for number, name in enumerate(targets):
            progress(number, len(targets), name)
            target = splits[name]
            point = _estimates(base, target)
            draws = np.array([_estimates(one, _resampled(target, generator)) for one in again])
            actual = float(np.nanmean(target.right)) if np.isfinite(target.right).any() else math.nan
            for place, estimator in enumerate(_ESTIMATORS):
                if math.isnan(point[place]):
                    continue
                low, high = percentile_interval(draws[:, place], self.level)
                table.append(
                    {"target": name, "n": len(target.score), "estimator": estimator, "predicted": point[place],
                     "low": float(low), "high": float(high), "actual": actual, "error": point[place] - actual}
                )  # fmt: skip
                estimates[f"{name}/{estimator}"] = Estimate(point[place], float(low), float(high), self.level)
        predicted = pd.DataFrame(table)
        if predicted["actual"].notna().any():
            for kind, part in predicted.groupby("estimator", sort=False):
                why = f"over {len(part)} targets"
                estimates[f"mae/{kind}"] = Estimate(float(part["error"].abs().mean()), why_no_interval=why)
            notes.append("Targets have labels here, so what was foretold can be compared with what happened (mae).")
        margin = _prediction_margin(predicted, self.level)
        if margin is not None:
            estimates["atc_prediction_margin"] = Estimate(margin, why_no_interval="itself a margin")
            notes.append(
                "atc_prediction_margin: half-width of the interval for a new target, from the errors on labelled ones."
            )
        unit = self.cluster or "item"
        notes = [
            f"Unit: the {unit}; source {source} (n = {len(base.score):,}) and target rows are drawn apart, threshold chosen "
            f"anew, {100 * self.level:g} % percentile bootstrap, {self.draws} draws, seed {self.seed}.",
            f"Score: {score_name}. An estimate: confident failure under shift is invisible to it.",
            *notes,
        ]
        shown = {name: part.score for name, part in splits.items()}
        return LabelFreeAccuracy(
            predicted=predicted, densities=_densities(shown, source), threshold=threshold, score_name=score_name, unit=unit,
            estimates=estimates, tables={"predicted": predicted}, notes=tuple(notes),
        )  # fmt: skip

    def _frame(self, store: RunStore) -> tuple[pd.DataFrame, list[str]]:
        frame = at_epoch(store.rows("predictions"), None)
        kept: list[Clause] = []
        for name, value in (("model", self.model), ("version", self.version)):
            if not present(frame, [name]):
                continue
            rows = frame[name].value_counts()
            chosen = value or (str(rows.index[0]) if name == "model" else in_natural_order(rows.index)[-1])
            kept.append(is_in(name, (chosen,)))
            frame = frame[kept[-1].mask(frame)]
        if frame.empty:
            raise TooLittleData(needs="predictions", found="none that are kept")
        said = [str(clause) for clause in kept]
        return frame, [f"Rows: {', '.join(said)}."] if said else []

    def _scored(
        self, frame: pd.DataFrame, source: np.ndarray, right: np.ndarray, store: RunStore
    ) -> tuple[_Rows, str, list[str]]:
        p, classes = probabilities(frame)
        notes: list[str] = []
        name = "greatest probability"
        if len(classes) > 1:
            if self.temperature:
                place = {label: number for number, label in enumerate(classes)}
                label = np.array(
                    [place.get(str(value), -1) for value in frame.get("label", pd.Series("", frame.index))]
                )
                fit = source & (label >= 0)
                if fit.any():
                    z = np.log(np.maximum(p, _SMALL))
                    value, bound = temperature_of(z[fit], label[fit], np.ones(int(fit.sum())))
                    p = softmax(z / value)
                    notes.append(f"Temperature {value:.4g} fitted on the source{' (on its bound)' if bound else ''}.")
            confidence = p.max(axis=1)
            score = confidence
            if self.score == "entropy":
                name = "-entropy"
                score = (p * np.log(np.maximum(p, _SMALL))).sum(axis=1)
        else:
            if not present(frame, ["confidence"]):
                raise AnalysisError("Nothing says how confident the model was.",
                                    remedy="Map a column onto 'confidence' (or name columns prob.*).")  # fmt: skip
            confidence = score = frame["confidence"].to_numpy(float)
            name = "confidence"
        agrees = np.full(len(frame), math.nan)
        if self.other:
            if not present(frame, ["prediction"]):
                raise AnalysisError("Disagreement needs the answers given.", remedy="Map a column onto 'prediction'.")
            others = at_epoch(store.rows("predictions", is_in("version", (self.other,))), None)
            keys = present(frame, ("model", "task", "item"))
            answers = others.dropna(subset="prediction").drop_duplicates(keys).set_index(keys)["prediction"]
            if answers.empty:
                raise AnalysisError(
                    f"No answer is of the version {self.other!r}.", remedy="Name another one (--other)."
                )
            theirs = answers.reindex(pd.MultiIndex.from_frame(frame[keys]) if len(keys) > 1 else frame[keys[0]])
            known = theirs.notna().to_numpy()
            agrees = np.where(known, (frame["prediction"].to_numpy() == theirs.to_numpy()), math.nan)
        unit = numbered(frame, [self.cluster] if self.cluster else ["item"])
        return _Rows(score, confidence, right, unit, agrees), name, notes


def _known_right(frame: pd.DataFrame) -> np.ndarray:
    try:
        return rightness(frame)
    except AnalysisError:
        p, classes = probabilities(frame)
        if not classes or not present(frame, ["label"]):
            raise
        best = np.array(classes)[p.argmax(axis=1)]
        known = frame["label"].notna().to_numpy()
        return np.where(known, best == frame["label"].astype(str).to_numpy(), math.nan)


def _part(rows: _Rows, inside: np.ndarray) -> _Rows:
    return _Rows(*(getattr(rows, name)[inside] for name in ("score", "confidence", "right", "unit", "agrees")))


def _resampled(rows: _Rows, generator: np.random.Generator) -> _Rows:
    units, place = np.unique(rows.unit, return_inverse=True)
    if len(units) == len(rows.unit):
        at = generator.integers(len(units), size=len(units))
    else:
        times = np.bincount(generator.integers(len(units), size=len(units)), minlength=len(units))
        at = np.repeat(np.arange(len(place)), times[place])
    return _part(rows, at)


def atc_threshold(score: np.ndarray, right: np.ndarray) -> float:
    """Give the (E + 1)-th smallest source score, E the number of errors: without ties the share at or above it is the source
    accuracy (Garg et al. 2022).
    """
    ordered = np.sort(score)
    errors = int(np.round((1 - right).sum()))
    return float(ordered[errors]) if errors < len(ordered) else math.inf


def _estimates(source: _Rows, target: _Rows) -> tuple[float, float, float, float]:
    """Give ATC, AC, DoC and GDE."""
    threshold = atc_threshold(source.score, source.right)
    atc = float(np.mean(target.score >= threshold))
    mean = float(np.mean(target.confidence))
    drop = float(np.mean(source.right)) - (float(np.mean(source.confidence)) - mean)
    known = target.agrees[np.isfinite(target.agrees)]
    return atc, mean, drop, float(known.mean()) if len(known) else math.nan


def _prediction_margin(predicted: pd.DataFrame, level: float) -> float | None:
    """Give the half-width for a new target from at least five labelled ones: t times the spread of their errors."""
    from scipy.special import stdtrit

    errors = predicted.loc[predicted["estimator"] == "ATC", "error"].dropna().to_numpy(float)
    if len(errors) < 5:
        return None
    return float(stdtrit(len(errors) - 1, (1 + level) / 2) * errors.std(ddof=1) * math.sqrt(1 + 1 / len(errors)))


def _densities(scores: dict[str, np.ndarray], source: str) -> pd.DataFrame:
    everything = np.concatenate(list(scores.values()))
    edges = np.linspace(everything.min(), everything.max() + 1e-12, 41)
    parts = []
    for name, values in scores.items():
        share = np.histogram(values, edges)[0] / len(values)
        label = f"{name} (source)" if name == source else name
        parts.append(pd.DataFrame({"split": label, "low": edges[:-1], "high": edges[1:], "share": share}))
    return pd.concat(parts, ignore_index=True)


def figure(question: AtcQuestion, result: LabelFreeAccuracy) -> FigureSpec:
    """Draw what was foretold against what happened, or by target where labels are missing, and the scores by split."""
    table = result.predicted
    marks: list[Mark] = []
    known = table["actual"].notna().any()
    if known:
        marks.append(Rule(key="diagonal", axis="diagonal", label="foretold = actual"))
    targets = list(dict.fromkeys(table["target"]))
    for number, (estimator, part) in enumerate(table.groupby("estimator", sort=False)):
        hue = hue_of(number)
        x = (
            part["actual"].to_numpy(float)
            if known
            else np.array([targets.index(name) for name in part["target"]], float)
        )
        notes = tuple(
            f"{row['target']}, {estimator}: {with_interval(row['predicted'], row['low'], row['high'])}, n = {row['n']:,}"
            for row in part.to_dict("records")
        )
        x = x + (0 if known else (number - 1) * 0.12)
        marks.append(
            Points(key=str(estimator), x=x, y=part["predicted"].to_numpy(float), hue=hue, label=str(estimator), size=7.0,
                   low=part["low"].to_numpy(float), high=part["high"].to_numpy(float), notes=notes)
        )  # fmt: skip
    x_axis = Axis(label="accuracy") if known else Axis(scale="category", names=tuple(targets))
    first = Panel(key="predicted", x=x_axis, y=Axis(label="accuracy foretold"), marks=tuple(marks))
    density: list[Mark] = [Rule(key="threshold", axis="x", at=result.threshold, label="threshold")]
    for number, (name, part) in enumerate(result.densities.groupby("split", sort=False)):
        x = np.stack([part["low"].to_numpy(), part["high"].to_numpy()], axis=1).ravel()
        source = str(name).endswith("(source)")
        density.append(Line(key=str(name), x=x, y=np.repeat(part["share"].to_numpy(), 2), label=str(name),
                            hue="ink" if source else hue_of(number), width=2.0 if source else 1.0))  # fmt: skip
    second = Panel(
        key="scores", x=Axis(label=result.score_name), y=Axis(label="share of rows", low=0.0), marks=tuple(density)
    )
    caption = f"{result.summary()} {100 * question.level:g} % bootstrap over the {result.unit} of source and target."
    return FigureSpec(title="Accuracy without labels", subtitle=f"estimates; score: {result.score_name}",
                      panels=(first, second), columns=2, caption=caption)  # fmt: skip


ANALYSIS = Analysis(
    id="labelfree.atc",
    title="Accuracy without labels",
    asks="What accuracy to expect on unlabelled data?",
    question=AtcQuestion,
    figure=figure,
    sources=(
        "Garg et al. (2022), Leveraging Unlabeled Data to Predict Out-of-Distribution Performance: ATC",
        "Guillory et al. (2021), Predicting with Confidence on Unseen Distributions: DoC",
        "Jiang et al. (2022), Assessing Generalization of SGD via Disagreement: GDE",
    ),
    definition="""\
ATC: with E errors on the labelled source, t is the (E + 1)-th smallest source score; the estimate is the share of
target rows with a score of at least t. Without ties, the same share of the source is its accuracy. (The authors'
script puts t on the last row counted wrong and then uses >=, one row high; the definition is used here.) Score:
-entropy, usually better, or the greatest probability, after a temperature fitted on the source.

AC is the mean confidence on the target; DoC the source accuracy less the fall of mean confidence; GDE the share of
target rows on which two models agree. All are estimates: a model that fails with confidence under shift looks right.
Unit: the item; source and target rows are drawn apart. With five or more labelled targets, their errors give a margin
for a new one.""",
)
