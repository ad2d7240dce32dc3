"""Which canonical table a frame is, by the names of its columns and, where they do not tell, by its values.

Canonical columns are added beside those of the source, so that both can be mapped and shown. Wide tables (models × tasks,
items × models) become long. A frame that is none of the tables for certain stays as it is: a column map can still say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .deferred import deferred

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = deferred("pandas")

_ALIASES: dict[str, dict[str, tuple[str, ...]]] = {
    "predictions": {
        "model": ("model", "model_name", "model_id", "system"),
        "version": ("version", "checkpoint", "ckpt", "revision", "model_version"),
        "task": ("task", "benchmark", "dataset", "task_name", "evaluation_name"),
        "item": (
            *("item", "item_id", "example_id", "doc_id", "question_id", "sample_id", "instance_id", "example", "uid"),
            *("native_id", "id", "idx", "index", "qid"),
        ),
        "sample": ("sample", "sample_number", "repeat", "trial"),
        "label": (
            *("label", "labels", "target", "targets", "gold", "answer", "y_true", "ground_truth", "truth", "y"),
            *("true_label", "correct_answer", "expected", "reference"),
        ),
        "prediction": (
            *("prediction", "pred", "predicted", "y_pred", "y_hat", "yhat", "predicted_label", "pred_label"),
            *("response", "model_answer", "preds", "predictions"),
        ),
        "correct": ("correct", "is_correct", "acc", "exact_match", "em", "hit", "right"),
        "confidence": ("confidence", "conf", "max_prob", "prob", "probability", "score_confidence", "top_prob"),
        "group": ("group", "category", "subject", "subgroup", "slice", "domain", "topic"),
        "weight": ("weight", "sample_weight", "weights"),
        "epoch": ("epoch",),
    },
    "scores": {
        "model": ("model", "model_name", "model_id", "system"),
        "version": ("version", "checkpoint", "ckpt", "revision", "model_version"),
        "task": ("task", "benchmark", "dataset", "task_name", "eval_task", "evaluation_name"),
        "metric": ("metric", "metric_name", "measure"),
        "split": ("split", "subset"),
        "seed": ("seed", "random_seed", "rng_seed"),
        "value": ("value", "score", "result"),
        "stderr": ("stderr", "std_err", "standard_error", "se"),
        "n": ("n", "n_items", "num_samples", "n_samples", "count"),
        "higher_is_better": ("higher_is_better",),
        "step": ("step", "global_step", "train_step"),
        "fewshot": ("fewshot", "n_shot", "num_fewshot", "shots", "n-shot"),
    },
    "comparisons": {
        "item": ("item", "question_id", "example_id", "prompt_id", "id"),
        "a": ("a", "model_a", "system_a"),
        "b": ("b", "model_b", "system_b"),
        "judge": ("judge", "annotator", "rater", "judge_model"),
        "order": ("order", "position"),
        "winner": ("winner", "preference", "preferred"),
        "length_a": ("length_a", "len_a"),
        "length_b": ("length_b", "len_b"),
        "dimension": ("dimension", "criterion", "aspect"),
    },
}
"""Names that columns of a table go by, the best first; compared without regard to case, spaces and hyphens."""

_WEAK_ITEMS = frozenset({"id", "idx", "index", "example", "qid", "uid"})
"""Names of items that other tables also have: they need a label or a prediction beside them."""

_METRICS = frozenset(
    {
        *("accuracy", "acc", "acc_norm", "f1", "f1_score", "macro_f1", "micro_f1", "bleu", "chrf", "rouge1", "rougel"),
        *("auc", "auroc", "precision", "recall", "exact_match", "em", "perplexity", "ppl", "loss", "nll", "mcc", "map"),
        *("ece", "brier", "wer", "cer", "mse", "mae", "rmse", "r2", "win_rate", "pass@1", "bits_per_byte", "bpb"),
    }
)
_LOWER_IS_BETTER = frozenset(
    {
        *(
            "perplexity",
            "ppl",
            "loss",
            "nll",
            "ece",
            "brier",
            "wer",
            "cer",
            "mse",
            "mae",
            "rmse",
            "bits_per_byte",
            "bpb",
        ),
    }
)
_SUMMARIES = frozenset({"average", "avg", "mean", "overall", "rank", "total", "score", "macro_average", "macro_avg"})
_RUN_SIZES = frozenset({"params", "n_params", "num_params", "parameters", "tokens", "flops", "total_flops"})
_FACT = re.compile(
    r"(^|[^a-z])(size|params?|parameters?|tokens?|flops?|family|seed|learning.rate)($|[^a-z])|unnamed: \d+",
    re.IGNORECASE,
)
_FACTS = frozenset(
    {
        *("n", "id", "index", "count", "version", "release", "shots", "fewshot", "n_shot", "year", "date", "compute"),
        *("step", "steps", "epoch", "epochs", "lr", "batch", "width", "depth", "layers", "heads", "n_options", "rank"),
        *("draws", "attempts", "tries", "passes", "examples", "n_train"),
    }
)
"""Names, beside those that say so in a word, of what is known about a model or an item and not measured."""

_RATERS = frozenset({"judge", "rater", "annotator"})
_RATINGS = frozenset({"rating", "grade", "score", "verdict", "score_orig", "score_original", "score_before"})
_HUMAN_RATINGS = frozenset({"human", "human_score", "human_rating", "human_grade", "rating"})
"""Names of columns that hold what people or judges said of an answer."""

_PAIRS: dict[str, tuple[str, ...]] = {
    "logp": ("logp_{}", "logps_{}", "logps/{}", "{}_logp", "{}_logps", "policy_{}_logp", "policy_{}_logps"),
    "ref_logp": (
        *("ref_logp_{}", "ref_logps_{}", "ref_{}_logp", "ref_{}_logps", "reference_{}_logps", "reference_logp_{}"),
        *("reference_{}_logp", "ref_logps/{}"),
    ),
    "length": ("length_{}", "len_{}", "{}_length", "{}_len", "{}_tokens", "n_tokens_{}"),
}
"""Names of what is known about the preferred (w) and the rejected (l) answer of a pair, with the answer in the braces."""

_ANSWERS = {"w": ("w", "chosen", "preferred"), "l": ("l", "rejected", "dispreferred")}
_PAIR_ITEMS = ("pair_id", "pair", "prompt_id")

_OUTPUT_TOKENS = frozenset(
    {"output_tokens", "completion_tokens", "generated_tokens", "n_output_tokens", "num_output_tokens"}
)
_TAKEN = frozenset(
    {
        *("runtime", "runtime_s", "latency", "latency_s", "duration_s", "request_time", "inference_runtime"),
        *("energy_j", "energy", "joules"),
    }
)
"""Names of what a request to a served model took."""

_CATEGORIES = ("model", "version", "task", "metric", "split", "group")
_PROBABILITIES = re.compile(r"(prob|probs|proba|probability|probabilities|softmax)[._ \[](.+?)\]?", re.IGNORECASE)
_LOGITS = re.compile(r"(logit|logits)[._ \[](.+?)\]?", re.IGNORECASE)
_P_NUMBER = re.compile(r"(p)_?(\d+)", re.IGNORECASE)
_HAPPENED = (
    "actual",
    "observed",
    "outcome",
    "realized",
    "realised",
    "y_true",
    "y",
    "target",
    "truth",
    "ground_truth",
    "label",
)
_QUANTILE = re.compile(r"(?:q|quantile|percentile)[._ ]?(?:0?\.\d+|\d{1,3})", re.IGNORECASE)
_BOUNDS = (
    ("lower", "upper"),
    ("low", "high"),
    ("lo", "hi"),
    ("lwr", "upr"),
    ("ci_low", "ci_high"),
    ("ci_lower", "ci_upper"),
)
"""Names of the two ends of an interval."""

_MOST_MODELS = 5_000


def recognised(frame: pd.DataFrame, name: str = "") -> tuple[str, pd.DataFrame]:
    """Give the canonical table a frame is, and the frame with the columns of that table.

    Parameters
    ----------
    frame : DataFrame
        Columns have distinct names.
    name : str
        The model whose results the frame holds, where the frame does not name one.

    Returns
    -------
    table : str
        Name of a canonical table; empty where none is certain.
    frame : DataFrame
        All columns of the source, and the canonical ones.
    """
    if len(frame.columns) == 0:
        return "", frame
    for recognise in _RECOGNISERS:
        table = recognise(frame, name)
        if table is not None:
            return table[0], with_categories(table[1])
    return "", frame


def with_categories(frame: pd.DataFrame) -> pd.DataFrame:
    """Give a frame whose names of models, tasks and the like are stored once each."""
    changed: dict[str, pd.Series] = {
        column: frame[column].astype("category")
        for column in _CATEGORIES
        if column in frame.columns and isinstance(frame[column].dtype, pd.StringDtype | np.dtypes.ObjectDType)
    }
    return frame.assign(**changed) if changed else frame


# -- names --------------------------------------------------------------------------------------------------------------


def is_lower_better(metric: str) -> bool:
    """Whether a metric of this name is one to make small (a loss, an error, a perplexity)."""
    plain = _plain(metric)
    return plain in _LOWER_IS_BETTER or any(plain.endswith(f"_{name}") for name in _LOWER_IS_BETTER)


def _plain(name: Hashable) -> str:
    return re.sub(r"[\s-]+", "_", str(name).strip().lower())


def _named(frame: pd.DataFrame, table: str) -> dict[str, str]:
    """Give for the canonical columns of a table the columns of the frame that go by their names."""
    plain: dict[str, str] = {}
    for column in frame.columns:
        plain.setdefault(_plain(column), str(column))
    found: dict[str, str] = {}
    for canonical, aliases in _ALIASES[table].items():
        for alias in aliases:
            if alias in plain and plain[alias] not in found.values():
                found[canonical] = plain[alias]
                break
    return found


def columns_by_alias(frame: pd.DataFrame, table: str) -> dict[str, str]:
    """Give for canonical columns of a table the columns of the frame that go by a name known for them."""
    return _named(frame, table) if table in _ALIASES else {}


def names_output(name: str) -> bool:
    """Whether a column of this name may hold the probability or logit of one class."""
    return any(pattern.fullmatch(name.strip()) for pattern in (_PROBABILITIES, _LOGITS, _P_NUMBER))


def _adding(frame: pd.DataFrame, named: Mapping[str, str]) -> pd.DataFrame:
    """Give the frame with its columns also under their canonical names."""
    return frame.assign(**{new: frame[old] for new, old in named.items() if new != old})


def _naming_model(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    if "model" in frame.columns or not name:
        return frame
    return frame.assign(model=pd.Categorical.from_codes(np.zeros(len(frame), np.int8), categories=pd.Index([name])))


def _is_fact(name: Hashable) -> bool:
    return _plain(name) in _FACTS or _FACT.search(str(name)) is not None


def _is_numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype)


def _within_unit(column: pd.Series) -> bool:
    """Whether a column holds True and False, or numbers between 0 and 1."""
    if pd.api.types.is_bool_dtype(column.dtype):
        return True
    if not _is_numeric(column):
        return False
    values = column.dropna()
    return len(values) > 0 and bool(((values >= 0) & (values <= 1)).all())


# -- comparisons and curves ---------------------------------------------------------------------------------------------


def _comparisons(frame: pd.DataFrame, _name: str) -> tuple[str, pd.DataFrame] | None:
    """A row says which of two models won."""
    named = _named(frame, "comparisons")
    if not {"a", "b", "winner"} <= named.keys():
        return None
    frame = _adding(frame, named)
    said = frame["winner"].astype("str").str.strip().str.lower()
    winner = said.where(said.isin(["a", "b"]))
    winner = winner.mask(said.isin(["model_a", "system_a", "left"]) | (said == _text(frame["a"]).str.lower()), "a")
    winner = winner.mask(said.isin(["model_b", "system_b", "right"]) | (said == _text(frame["b"]).str.lower()), "b")
    winner = winner.mask(said.str.startswith("tie") | said.isin(["draw", "both", "same", "equal", "bothbad"]), "tie")
    return "comparisons", frame.assign(winner=winner.fillna(frame["winner"].astype("str")))


def _scalars(frame: pd.DataFrame, _name: str) -> tuple[str, pd.DataFrame] | None:
    """A row is one logged value of one of several runs."""
    columns = set(map(str, frame.columns))
    if {"run", "step", "value"} <= columns and columns & {"tag", "metric"}:
        return "scalars", frame if "tag" in columns else frame.assign(tag=frame["metric"])
    return None


# -- predictions --------------------------------------------------------------------------------------------------------


def _predictions(frame: pd.DataFrame, name: str) -> tuple[str, pd.DataFrame] | None:
    """A row is the answer of one model to one item."""
    named = _named(frame, "predictions")
    outputs = _outputs(frame)
    # A column called `prob` is a confidence only if it can be one; `acc` may be the accuracy of a whole task.
    for column in ("confidence", "correct"):
        if column in named and not _within_unit(frame[named[column]]) and not _is_truth(frame[named[column]]):
            del named[column]
    has = named.keys()
    answered = bool(has & {"prediction", "confidence"}) or bool(outputs)
    item = _plain(named["item"]) if "item" in has else ""
    with_item = item and item not in _WEAK_ITEMS and (answered or "correct" in has)
    with_weak_item = item in _WEAK_ITEMS and ((answered and has & {"label", "correct"}) or has >= {"label", "correct"})
    by_row = ("label" in has and answered) or has >= {"correct", "prediction"} or has >= {"correct", "confidence"}
    if not (with_item or with_weak_item or by_row):
        return None
    if not item or not (with_item or with_weak_item):
        named.pop("item", None)
    frame = _adding(frame.rename(columns=outputs), named)
    if "item" not in frame.columns:
        frame = frame.assign(item=np.arange(len(frame)))
    return "predictions", _naming_model(judged(frame), name)


def _ratings(frame: pd.DataFrame, name: str) -> tuple[str, pd.DataFrame] | None:
    """A row is what a person or judge said of one answer, without an answer or label beside it."""
    named = _named(frame, "predictions")
    if _plain(named.get("item", "")) in ("", *_WEAK_ITEMS):
        return None
    plain = set(map(_plain, frame.columns))
    by_rater = plain & _RATERS and plain & _RATINGS
    if not (by_rater or plain & _HUMAN_RATINGS):
        return None
    kept = {new: old for new, old in named.items() if new not in ("correct", "confidence") or _within_unit(frame[old])}
    return "predictions", _naming_model(_adding(frame, kept), name)


def _interval_forecasts(frame: pd.DataFrame, name: str) -> tuple[str, pd.DataFrame] | None:
    """A row is what happened to one item, and between which bounds, or at which quantiles, it was forecast."""
    plain = {_plain(column): str(column) for column in frame.columns}
    happened = next((plain[column] for column in _HAPPENED if column in plain), "")
    if not happened or not _is_numeric(frame[happened]):
        return None
    quantiles = [column for column in frame.columns if _QUANTILE.fullmatch(str(column).strip())]
    bounds = next(([plain[end] for end in pair] for pair in _BOUNDS if set(pair) <= plain.keys()), [])
    if not any(len(ends) >= 2 and all(_is_numeric(frame[end]) for end in ends) for ends in (quantiles, bounds)):
        return None
    named = _named(frame, "predictions")
    wanted = ("model", "version", "task", "item", "sample", "group", "weight")
    kept: dict[str, str] = {new: named[new] for new in wanted if new in named}
    if "item" not in kept:
        frame = frame.assign(item=np.arange(len(frame)))
    return "predictions", _naming_model(_adding(frame, kept), name)


def _preference_pairs(frame: pd.DataFrame, name: str) -> tuple[str, pd.DataFrame] | None:
    """A row is a preferred and a rejected answer to one prompt, with the log-probability a model gives to each.

    As a prediction: right where the preferred answer is the more probable one.
    """
    plain: dict[str, str] = {}
    for column in frame.columns:
        plain.setdefault(_plain(column), str(column))
    found = {
        f"{what}_{short}": plain[alias]
        for what, patterns in _PAIRS.items()
        for short, words in _ANSWERS.items()
        if (alias := next((p.format(w) for p in patterns for w in words if p.format(w) in plain), ""))
        and _is_numeric(frame[plain[alias]])
    }
    named = _named(frame, "predictions")
    item = next((plain[column] for column in _PAIR_ITEMS if column in plain), named.get("item", ""))
    if not {"logp_w", "logp_l"} <= found.keys() or not item:
        return None
    kept = {new: old for new, old in named.items() if new in ("model", "version", "task", "group", "epoch")}
    frame = _adding(frame, {**kept, **found, "item": item})
    gap = (frame["logp_w"] - frame["logp_l"]).to_numpy(float)
    known = np.isfinite(gap)
    frame = frame.assign(
        label="chosen",
        prediction=pd.Series(np.where(gap > 0, "chosen", "rejected"), index=frame.index).where(known, None),
        correct=np.where(known, (gap > 0).astype(float), np.nan),
        confidence=np.where(known, 1 / (1 + np.exp(-np.abs(np.where(known, gap, 0.0)))), np.nan),
    )
    if "version" not in frame.columns and "step" in frame.columns and frame["step"].nunique() > 1:
        frame = frame.assign(version="step " + _text(frame["step"]))
    return "predictions", _naming_model(frame, name)


def _reward_pairs(frame: pd.DataFrame, name: str) -> tuple[str, pd.DataFrame] | None:
    """A row is a preferred and a rejected answer to one prompt, with the reward a model gives to each."""
    plain = {_plain(column): str(column) for column in frame.columns}
    sides = [
        both
        for stem in ("score", "reward")
        for won, lost in (("chosen", "rejected"), ("w", "l"))
        for both in ((f"{stem}_{won}", f"{stem}_{lost}"), (f"{won}_{stem}", f"{lost}_{stem}"))
    ]
    pair = next((both for both in sides if set(both) <= plain.keys()), None)
    if pair is None or not all(_is_numeric(frame[plain[side]]) for side in pair):
        return None
    named = _named(frame, "predictions")
    kept = {new: old for new, old in named.items() if new in ("model", "version", "task", "group", "item")}
    frame = _adding(frame, kept)
    return "predictions", _naming_model(frame if "item" in kept else frame.assign(item=np.arange(len(frame))), name)


def _requests(frame: pd.DataFrame, name: str) -> tuple[str, pd.DataFrame] | None:
    """A row is a request to a served model: its tokens, and the time or the energy it took."""
    plain = {_plain(column): str(column) for column in frame.columns}
    if not (plain.keys() & _OUTPUT_TOKENS and plain.keys() & _TAKEN):
        return None
    named = _named(frame, "predictions")
    kept = {new: old for new, old in named.items() if new not in ("correct", "confidence") or _within_unit(frame[old])}
    frame = _adding(frame, kept)
    return "predictions", _naming_model(frame if "item" in kept else frame.assign(item=np.arange(len(frame))), name)


def _outputs(frame: pd.DataFrame) -> dict[str, str]:
    """Give the canonical names of columns that hold one probability or logit each."""
    outputs: dict[str, str] = {}
    for pattern, canonical in ((_PROBABILITIES, "prob"), (_LOGITS, "logit"), (_P_NUMBER, "prob")):
        found = {
            str(column): match[2]
            for column in frame.columns
            if (match := pattern.fullmatch(str(column).strip())) and _is_numeric(frame[column])
        }
        if (
            len(found) >= 2
            and len(set(found.values())) == len(found)
            and not any(new.startswith(f"{canonical}.") for new in outputs.values())
        ):
            outputs.update({column: f"{canonical}.{label}" for column, label in found.items()})
    return outputs


def judged(frame: pd.DataFrame) -> pd.DataFrame:
    """Give predictions with what follows from their columns: the answer, its probability, and whether it is right.

    The answer is the class of the highest probability (the first where several are equal). No answer is wrong; without a
    label it is unknown whether an answer is right. Logits are turned into probabilities by the softmax.
    """
    added: dict[str, np.ndarray] = {}
    probabilities, classes = _class_columns(frame, "prob.")
    if not classes:
        logits, classes = _class_columns(frame, "logit.")
        if classes:
            odds = np.exp(logits - logits.max(axis=1, keepdims=True))
            probabilities = odds / odds.sum(axis=1, keepdims=True)
    if classes:
        best = np.argmax(np.nan_to_num(probabilities, nan=-np.inf), axis=1)
        names = _class_names(classes, frame.get("label"))
        if "prediction" not in frame.columns:
            added["prediction"] = names[best]
        if "confidence" not in frame.columns:
            chosen = best
            if "prediction" in frame.columns:
                chosen = pd.Index(_text(pd.Series(names))).get_indexer(pd.Index(_text(frame["prediction"])))
            picked = probabilities[np.arange(len(frame)), np.maximum(chosen, 0)]
            added["confidence"] = np.where(chosen >= 0, picked, np.nan)
        frame = frame.assign(**added)
    if "correct" in frame.columns:
        return frame.assign(correct=_as_truth(frame["correct"]))
    if "label" in frame.columns and "prediction" in frame.columns:
        correct = right(frame["label"], frame["prediction"])
        if correct is not None:
            frame = frame.assign(correct=correct)
    return frame


def _class_columns(frame: pd.DataFrame, prefix: str) -> tuple[np.ndarray, list[str]]:
    columns = [column for column in frame.columns if str(column).startswith(prefix) and _is_numeric(frame[column])]
    return frame[columns].to_numpy(), [str(column)[len(prefix) :] for column in columns]


def _class_names(classes: Sequence[str], labels: pd.Series | None) -> np.ndarray:
    """Give the names of classes as the labels write them: by number, where the labels are numbers."""
    if all(re.fullmatch(r"\d+", name) for name in classes):
        return np.array([int(name) for name in classes])
    if labels is not None and _is_numeric(labels):
        return np.arange(len(classes))
    return np.array(classes, dtype=object)


def right(label: pd.Series, prediction: pd.Series) -> np.ndarray | None:
    """Give 1 where an answer is right, 0 where it is wrong or missing, NaN where there is no label.

    None where answers and labels are not the same kind of thing, so that all of them would be wrong.
    """
    known = label.notna().to_numpy()
    if _is_numeric(label) and _is_numeric(prediction):
        equal = (label.to_numpy(float) == prediction.to_numpy(float)) & known
    else:
        own, given = _text(label), _text(prediction)
        equal = ((own == given) & known & prediction.notna()).to_numpy(bool)
        if not equal.any() and not set(own.unique()) & set(given.unique()):
            return None
    return np.where(known, equal.astype(float), np.nan)


def _text(values: pd.Series) -> pd.Series:
    """Give values as text; a whole number reads the same whether it was stored as one or not."""
    if pd.api.types.is_float_dtype(values.dtype):
        finite = values.dropna()
        if bool((finite == finite.round()).all()):
            values = values.astype("Int64")
    return values.astype("str").str.strip()


_TRUTHS = {"true": 1.0, "yes": 1.0, "1": 1.0, "c": 1.0, "false": 0.0, "no": 0.0, "0": 0.0, "i": 0.0}


def _is_truth(column: pd.Series) -> bool:
    """Whether a column of text says true and false."""
    if _is_numeric(column) or pd.api.types.is_bool_dtype(column.dtype):
        return False
    said = column.dropna()
    return len(said) > 0 and set(said.astype("str").str.lower().unique()) <= _TRUTHS.keys()


def _as_truth(column: pd.Series) -> pd.Series:
    if _is_truth(column):
        return column.astype("str").str.lower().map(_TRUTHS).astype("float64")
    return column.astype("float64") if pd.api.types.is_bool_dtype(column.dtype) else column


# -- wide tables of answers ---------------------------------------------------------------------------------------------


def _wide_answers(frame: pd.DataFrame, _name: str) -> tuple[str, pd.DataFrame] | None:
    """A row is an item, with the right answer in one column and the answers of several models in others."""
    named = _named(frame, "predictions")
    if not {"item", "label"} <= named.keys() or named.keys() & {"prediction", "model", "correct"}:
        return None
    labels = frame[named["label"]]
    if frame[named["item"]].duplicated().any() or labels.isna().all():
        return None
    keys = set(_text(labels.dropna()).unique())
    models = [
        str(column)
        for column in frame.columns
        if column not in named.values() and not _is_fact(column) and _answers(frame[column], labels, keys)
    ]
    if not 2 <= len(models) <= _MOST_MODELS:
        return None
    kept = [column for column in frame.columns if column not in models]
    long = _stacked(frame[kept], frame, models, "model", "prediction")
    long = _adding(long, {new: old for new, old in named.items() if new not in ("model", "prediction")})
    return "predictions", long.assign(correct=right(long["label"], long["prediction"]))


def _answers(column: pd.Series, labels: pd.Series, keys: set[str]) -> bool:
    """Whether a column holds answers: values of the kind of the labels, nearly all of them among the labels."""
    if _is_numeric(column) != _is_numeric(labels) or column.isna().all():
        return False
    return bool(_text(column.dropna()).isin(keys).mean() >= 0.9)


def _wide_correctness(frame: pd.DataFrame, _name: str) -> tuple[str, pd.DataFrame] | None:
    """A row is an item; a column for each of several models says whether it was right."""
    named = _named(frame, "predictions")
    if "item" not in named or named.keys() & {"prediction", "correct", "confidence", "model", "label"}:
        return None
    if frame[named["item"]].duplicated().any() or _outputs(frame):
        return None
    models = [
        str(column)
        for column in frame.columns
        if column not in named.values() and _within_unit(frame[column]) and frame[column].dropna().isin([0, 1]).all()
    ]
    rest = [c for c in frame.columns if c not in models and c not in named.values() and _is_numeric(frame[c])]
    if not 2 <= len(models) <= _MOST_MODELS or rest:
        return None
    kept = [column for column in frame.columns if column not in models]
    long = _adding(_stacked(frame[kept], frame, models, "model", "correct").dropna(subset=["correct"]), named)
    return "predictions", long.assign(correct=long["correct"].astype("float64"))


def _stacked(kept: pd.DataFrame, frame: pd.DataFrame, columns: Sequence[str], name: str, value: str) -> pd.DataFrame:
    """Give a long frame: the kept columns once for each of `columns`, its name, and its values."""
    rows = len(frame)
    long = kept.iloc[np.tile(np.arange(rows), len(columns))].reset_index(drop=True)
    codes = np.repeat(np.arange(len(columns), dtype=np.int32), rows)
    values = pd.concat([frame[column] for column in columns], ignore_index=True)
    names = pd.Index([str(column).strip() for column in columns])
    long[name] = pd.Categorical.from_codes(codes, categories=names)
    long[value] = values
    return long


# -- scores -------------------------------------------------------------------------------------------------------------


def _scores(frame: pd.DataFrame, name: str) -> tuple[str, pd.DataFrame] | None:
    """A row is a score of a model on a task; several metrics may stand side by side."""
    named = _named(frame, "scores")
    if "task" not in named or "item" in map(_plain, frame.columns):
        return None
    if "value" in named and _is_numeric(frame[named["value"]]):
        return "scores", _naming_model(_adding(frame, named), name)
    metrics = [str(column) for column in frame.columns if _plain(column) in _METRICS and _is_numeric(frame[column])]
    if not metrics:
        return None
    named.pop("value", None)
    kept = _adding(frame.drop(columns=metrics), named)
    long = _stacked(kept, frame, metrics, "metric", "value").dropna(subset=["value"])
    better = ~long["metric"].map(_plain).isin(_LOWER_IS_BETTER).to_numpy(bool)
    return "scores", _naming_model(long.assign(higher_is_better=better), name)


def _wide_scores(frame: pd.DataFrame, _name: str) -> tuple[str, pd.DataFrame] | None:
    """A row is a model, a column for each task holds its scores; or a row is a task and a column a model."""
    first = _plain(frame.columns[0])
    plain = {_plain(column) for column in frame.columns}
    named = _named(frame, "scores")
    if plain & _RUN_SIZES:
        return None  # a table of runs
    if "model" not in named and first in ("name", "method", "models", "submission", "system", "team", "unnamed:_0", ""):
        if _is_numeric(frame[frame.columns[0]]):
            return None  # the number of the row
        named["model"] = str(frame.columns[0])
    if "model" in named and "task" not in named:
        return _models_by_tasks(frame, {new: old for new, old in named.items() if new not in ("value", "metric")})
    if "task" in named and named["task"] == frame.columns[0] and "model" not in named:
        columns = _measured(frame, {named["task"]})
        kept = frame.drop(columns=columns)
        # Numbers beside a description of the task are facts about it, not scores of models.
        if len(columns) >= 2 and all(map(_is_numeric, (kept[c] for c in kept.columns if c != named["task"]))):
            kept = _adding(kept, {"task": named["task"]})
            return "scores", _stacked(kept, frame, columns, "model", "value").dropna(subset=["value"])
    return None


def _models_by_tasks(frame: pd.DataFrame, named: Mapping[str, str]) -> tuple[str, pd.DataFrame] | None:
    tasks = _measured(frame, set(named.values()))
    errors = {task: error for error in tasks if (task := _whose_error(error, tasks))}
    tasks = [task for task in tasks if task not in errors.values()]
    if len(tasks) < 2:
        return None
    kept = _adding(frame.drop(columns=[*tasks, *errors.values()]), named)
    kept = kept.assign(model=_distinct_names(kept, [column for column in named if column in kept.columns]))
    long = _stacked(kept, frame, tasks, "task", "value")
    if errors:
        missing = pd.Series(np.full(len(frame), np.nan))
        long["stderr"] = np.concatenate([frame[errors[task]] if task in errors else missing for task in tasks])
    return "scores", long.dropna(subset=["value"]).reset_index(drop=True)


def _measured(frame: pd.DataFrame, known: set[str]) -> list[str]:
    """Give the numeric columns that are measurements, and no facts about the model or averages of the others."""
    return [
        str(column)
        for column in frame.columns
        if column not in known
        and _is_numeric(frame[column])
        and not _is_fact(column)
        and _plain(column) not in _SUMMARIES
    ]


def _whose_error(name: str, columns: Iterable[str]) -> str | None:
    match = re.fullmatch(r"(.+?)[_ .](stderr|std_err|se)", name)
    return match[1] if match and match[1] in columns else None


def _distinct_names(frame: pd.DataFrame, key: list[str]) -> pd.Series:
    """Number models whose name stands on several rows: they are different submissions."""
    names = _text(frame["model"])
    again = frame.assign(model=names).groupby(key, observed=True, dropna=False).cumcount()
    return names.where(again == 0, names + " (" + (again + 1).astype("str") + ")")


_RECOGNISERS: tuple[Callable[[pd.DataFrame, str], tuple[str, pd.DataFrame] | None], ...] = (
    _comparisons,
    _scalars,
    _preference_pairs,
    _wide_answers,
    _predictions,
    _wide_correctness,
    _ratings,
    _interval_forecasts,
    _reward_pairs,
    _requests,
    _scores,
    _wide_scores,
)
