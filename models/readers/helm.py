"""Run folders of HELM: one model on one scenario, ``benchmark_output/runs/<suite>/<run spec name>/``.

``stats.json`` holds the aggregates, by split and perturbation; ``per_instance_stats.json`` the same for each instance, and
``scenario_state.json`` what was asked and answered. The task is the name of the run without the model in it.

Counts of tokens, times and the like are no scores and left out. Where a client gave no log-probabilities HELM writes zeros, and
computes from them that every answer has probability 1: what follows from log-probabilities is left out then.

The format: ``helm/benchmark/metrics/statistic.py``, ``runner.py`` and ``adaptation/scenario_state.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configuration import flattened
from ..deferred import deferred
from ..errors import ReadError
from ..json_document import json_document, objects
from ..progress import Progress
from ..recognition import is_lower_better, with_categories
from ..tables import Event, Problem, TableRows
from .base import Cursor, Entry, Match, Reader, Source, require_regular

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

_SPEC, _STATS, _INSTANCES, _STATE = "run_spec.json", "stats.json", "per_instance_stats.json", "scenario_state.json"
_BOOKKEEPING = re.compile(
    r"num_.*|finish_reason_.*|training_.*|inference_.*|batch_size|prompt_truncated|max_prob|logprob|perplexity_tokens"
)
_FROM_LOGPROBS = frozenset({"perplexity", "bits_per_byte", "logprob_per_byte"})
_SETTINGS = ("method", "max_train_instances", "num_train_trials", "temperature", "model_deployment")
_IN_ORDER = ("exact_match", "quasi_exact_match", "f1_score")
_LONGEST_TEXT = 2_000


class HelmReader(Reader):
    """Reads a run folder: its scores, and a prediction for each instance."""

    name = "helm"
    makes_runs = False
    looks_at_folders = True

    def match(self, entry: Entry) -> Match:
        """Know a folder by the files in it."""
        known = entry.is_folder and {_SPEC, _STATS} <= entry.children
        return Match.YES if known else Match.NO

    def watched(self, path: Path) -> list[Path]:
        """Give the files that are read."""
        return [path / name for name in (_SPEC, _STATS, _INSTANCES, _STATE)]

    def read(self, source: Source, cursor: Cursor | None, progress: Progress) -> Iterator[Event | Cursor]:
        """Read all files; they are written once, at the end.

        Raises
        ------
        ReadError
            When the specification is none of HELM, or the scores cannot be read.
        """
        folder = source.path
        spec = json_document(folder / _SPEC)
        if not isinstance(spec, dict) or not isinstance(spec.get("adapter_spec"), dict):
            raise ReadError(f"Its {_SPEC} is no specification of a HELM run.")
        stated = _stated(spec)
        rows = _scores(_listed(folder / _STATS))
        progress(1, 3, _STATS)
        if rows:
            frame = pd.DataFrame(rows).assign(**stated)
            yield TableRows(f"{source.relative}/{_STATS}", self.name, with_categories(frame), "scores")
        else:
            yield Problem(source.relative, self.name, f"Its {_STATS} holds no score.")
        try:
            answers = _answers(folder / _STATE)
        except (OSError, ReadError) as error:
            answers = {}
            yield Problem(source.relative, self.name, f"{_STATE} is left out. {_reason(error)}")
        progress(2, 3, _STATE)
        try:
            frame = _predictions(_listed(folder / _INSTANCES), answers, _main_metrics(spec))
        except (OSError, ReadError) as error:
            frame = pd.DataFrame()
            yield Problem(source.relative, self.name, f"{_INSTANCES} is left out. {_reason(error)}")
        if len(frame):
            same = {name: stated[name] for name in ("model", "task")}
            where = f"{source.relative}/{_INSTANCES}"
            yield TableRows(where, self.name, with_categories(frame.assign(**same)), "predictions")
        progress(3, 3, _INSTANCES)
        yield Cursor({str(folder / name): require_regular(folder / name) for name in (_SPEC, _STATS)})


def _reason(error: Exception) -> str:
    if isinstance(error, ReadError):
        return error.what
    return f"It cannot be read: {getattr(error, 'strerror', None) or error}."


def _listed(path: Path) -> list[Mapping[str, Any]]:
    value = json_document(path)
    if not isinstance(value, list):
        raise ReadError(f"{path.name} is no list.")
    return objects(value)


def _stated(spec: Mapping[str, Any]) -> dict[str, Any]:
    adapter = spec["adapter_spec"]
    name = str(spec.get("name") or "unknown")
    scenario, _, arguments = name.partition(":")
    if arguments:
        kept = [one for one in arguments.split(",") if one.partition("=")[0] not in ("model", "model_deployment")]
        name = f"{scenario}:{','.join(kept)}" if kept else scenario
    stated = {"model": str(adapter.get("model") or "unknown"), "task": name}
    settings = flattened({key: adapter[key] for key in _SETTINGS if adapter.get(key) is not None})
    return stated | {f"config.{key}": value for key, value in settings.items()} | _shots(adapter)


def _shots(adapter: Mapping[str, Any]) -> dict[str, float]:
    shots = adapter.get("max_train_instances")
    return {"fewshot": float(shots)} if isinstance(shots, int) else {}


def _scores(stats: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give a row for each score, split and perturbation; the size of a split is one of the statistics."""
    sizes: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    logprobs = {stat.get("mean") for stat in stats if _name(stat) == "logprob"}
    for stat in stats:
        name = stat.get("name")
        if not isinstance(name, dict) or not isinstance(stat.get("mean"), int | float):
            continue
        metric = str(name.get("name"))
        perturbation = _perturbation(name.get("perturbation"))
        split = "/".join(str(part) for part in (name.get("split"), name.get("sub_split")) if part)
        if metric == "num_instances" and not perturbation:
            sizes[split] = stat["mean"]
        if _BOOKKEEPING.fullmatch(metric) or (metric in _FROM_LOGPROBS and logprobs <= {0}):
            continue
        row: dict[str, Any] = {"metric": metric, "value": float(stat["mean"]), "part": split}
        row["split"] = "/".join(filter(None, (split, perturbation)))
        row["trials"] = stat.get("count")
        if perturbation:
            row["perturbation"] = perturbation
        if is_lower_better(metric):
            row["higher_is_better"] = False
        elif metric in _IN_ORDER or metric.endswith("_match"):
            row["higher_is_better"] = True
        rows.append(row)
    for row in rows:
        row["n"] = sizes.get(row.pop("part"))
    return rows


def _name(stat: Mapping[str, Any]) -> str:
    name = stat.get("name")
    return str(name.get("name")) if isinstance(name, dict) else ""


def _perturbation(given: Any) -> str:
    """Give the name of a perturbation; ``worst`` and the like say over which of several an aggregate goes."""
    if not isinstance(given, dict):
        return ""
    computed = given.get("computed_on")
    return str(given.get("name")) + (f" ({computed})" if computed and computed != "perturbed" else "")


def _main_metrics(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the metrics the run was asked for, those first that say whether an answer is right."""
    asked: list[str] = []
    for metric in objects(spec.get("metric_specs")):
        arguments = metric.get("args")
        names = arguments.get("names") if isinstance(arguments, dict) else None
        asked += [str(name) for name in names] if isinstance(names, list) else []
    return tuple(dict.fromkeys([*(name for name in _IN_ORDER if name in asked or not asked), *asked]))


_Key = tuple[str, int, str]


def _answers(path: Path) -> dict[_Key, tuple[str | None, str | None]]:
    """Give for each instance, trial and perturbation the right answer and the one given.

    Where every choice was a request of its own, no single one holds the answer: those are left out.
    """
    state = json_document(path)
    states = state.get("request_states") if isinstance(state, dict) else None
    answers: dict[_Key, tuple[str | None, str | None]] = {}
    for request in objects(states):
        instance = request.get("instance")
        if not isinstance(instance, dict) or request.get("reference_index") is not None:
            continue
        right = [
            str(one["output"].get("text"))
            for one in objects(instance.get("references"))
            if isinstance(one.get("output"), dict) and isinstance(one.get("tags"), list) and "correct" in one["tags"]
        ]
        mapping = request.get("output_mapping")
        if isinstance(mapping, dict):
            right = [letter for letter, text in mapping.items() if text in right]
        result = request.get("result")
        completions = result.get("completions") if isinstance(result, dict) else None
        said = next((one.get("text") for one in objects(completions)), None)
        key = (str(instance.get("id")), _trial(request), _perturbation(instance.get("perturbation")))
        answers[key] = (_cut(" | ".join(right)) if right else None, None if said is None else _cut(str(said).strip()))
    return answers


def _trial(record: Mapping[str, Any]) -> int:
    trial = record.get("train_trial_index")
    return trial if isinstance(trial, int) else 0


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"


def _predictions(
    instances: list[Mapping[str, Any]],
    answers: Mapping[_Key, tuple[str | None, str | None]],
    metrics: tuple[str, ...],
) -> pd.DataFrame:
    rows = []
    logprobs = set()
    for instance in instances:
        values: dict[str, float] = {}
        split = None
        for stat in objects(instance.get("stats")):
            name = stat.get("name")
            if isinstance(name, dict) and isinstance(stat.get("mean"), int | float):
                values[str(name.get("name"))] = float(stat["mean"])
                split = str(name["split"]) if name.get("split") else split
        item, trial = str(instance.get("instance_id")), _trial(instance)
        perturbation = _perturbation(instance.get("perturbation"))
        label, said = answers.get((item, trial, perturbation), (None, None))
        row: dict[str, Any] = {"item": item, "sample": f"{trial}/{perturbation}" if perturbation else str(trial)}
        row |= {"label": label, "prediction": said, "split": split}
        row["correct"] = next((values[name] for name in metrics if 0 <= values.get(name, -1) <= 1), None)
        logprobs.add(values.get("logprob"))
        if 0 <= values.get("max_prob", -1) <= 1:
            row["confidence"] = values["max_prob"]
        row |= {name: value for name, value in values.items() if not _BOOKKEEPING.fullmatch(name)}
        rows.append(row)
    frame = pd.DataFrame(rows)
    if "confidence" in frame.columns and logprobs <= {0.0, None}:
        frame = frame.drop(columns="confidence")
    return frame
