"""Which analyses there are.

Each lives in one module that ends with its catalogue entry, ``ANALYSIS``. Ours are listed here by id, so that a module is
imported only when its analysis is used; a third party registers an `Analysis` under the entry point group
``runglass.analyses``.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from ..models.errors import RunglassError
from ..models.question import Analysis

_BUILTIN = {
    "curve.seed-band": "curves.seed_band",
    "curve.smooth": "curves.smooth",
    "ttt.time-to-target": "curves.time_to_target",
    "ttt.performance-profile": "curves.performance_profile",
    "curve.extrapolate": "curves.extrapolate",
    "curve.efficiency": "curves.efficiency",
    "curve.plateau": "curves.plateau",
    "curve.grokking": "curves.grokking",
    "curve.prequential": "curves.prequential",
    "transfer.matrix": "curves.transfer_matrix",
    "continual.stability-gap": "curves.stability_gap",
    "reward.overoptimisation": "curves.overoptimisation",
    "curve.gap": "curves.gap",
    "curve.crossover": "curves.crossover",
    "curve.double-descent": "curves.double_descent",
    "health.spikes": "curves.spikes",
    "health.lr-sensitivity": "curves.lr_sensitivity",
    "health.lead-lag": "curves.lead_lag",
    "health.noise-scale": "curves.noise_scale",
    "health.schedule-refine": "curves.schedule_refine",
    "health.norm-forecast": "curves.norm_forecast",
    "health.resume-jump": "curves.resume_jump",
    "health.early-warning": "curves.early_warning",
    "runs.compare": "runs.compare",
    "runs.importance": "runs.importance",
    "runs.parallel-coordinates": "runs.parallel",
    "runs.scatter": "runs.scatter",
    "scaling.chinchilla": "scaling.chinchilla",
    "scaling.fit-recipe": "scaling.fit_recipe",
    "scaling.holdout": "scaling.holdout",
    "scaling.allocate": "scaling.allocate",
    "scaling.identifiability": "scaling.identifiability",
    "scaling.isoflop": "scaling.isoflop",
    "scaling.overtraining": "scaling.overtraining",
    "scaling.loss-to-error": "scaling.loss_to_error",
    "scaling.loss-to-loss": "scaling.loss_to_loss",
    "scaling.ladder": "scaling.ladder",
    "scaling.observational": "scaling.observational",
    "scaling.matrix-completion": "scaling.matrix_completion",
    "scaling.trend-shape": "scaling.trend_shape",
    "scaling.power-offset": "scaling.power_offset",
    "scaling.kaplan-batch": "scaling.kaplan_batch",
    "scaling.metric-chain": "scaling.metric_chain",
    "scaling.average-params": "scaling.average_params",
    "scaling.matched-loss": "scaling.matched_loss",
    "scaling.precision": "scaling.precision",
    "scaling.data-mixture": "scaling.data_mixture",
    "scaling.rectified": "scaling.rectified",
    "scaling.two-axis": "scaling.two_axis",
    "scaling.passuntil": "scaling.passuntil",
    "scaling.method-frontier": "scaling.method_frontier",
    "scaling.cod": "scaling.cod",
    "scaling.densing": "scaling.densing",
    "scaling.post-training": "scaling.post_training",
    "scaling.repeated-data": "scaling.repeated_data",
    "scaling.piecewise": "scaling.piecewise",
    "rank.kendall": "ranking.kendall",
    "rank.concurrence": "ranking.concurrence",
    "rank.decision-accuracy": "ranking.decision_accuracy",
    "rank.significance": "ranking.significance",
    "rank.perturbation": "ranking.perturbation",
    "rank.base-instruct": "ranking.base_instruct",
    "rank.item-subset": "ranking.item_subset",
    "noise.card": "ranking.noise_card",
    "noise.power": "ranking.power",
    "noise.seed-variance": "ranking.seed_variance",
    "noise.multi-bootstrap": "ranking.multi_bootstrap",
    "noise.ood-seeds": "ranking.ood_seeds",
    "noise.components": "ranking.variance_components",
    "labels.rescore": "ranking.rescore",
    "rating.bradley-terry": "ranking.bradley_terry",
    "rating.elo": "ranking.elo",
    "rating.plackett-luce": "ranking.plackett_luce",
    "proxy.validity": "ranking.proxy_validity",
    "board.aggregate": "ranking.aggregate",
    "compat.flips": "compatibility.flips",
    "compat.matrix": "compatibility.matrix",
    "compat.paired-test": "compatibility.paired_test",
    "compat.paired-diff": "compatibility.paired_diff",
    "compat.tost": "compatibility.tost",
    "compat.churn": "compatibility.churn",
    "compat.perturbed": "compatibility.perturbed",
    "compat.nondeterminism": "compatibility.nondeterminism",
    "compat.multiplicity": "compatibility.multiplicity",
    "compat.joint": "compatibility.joint",
    "compat.agreement": "compatibility.agreement",
    "compat.complementarity": "compatibility.complementarity",
    "compat.selective-ensemble": "compatibility.selective_ensemble",
    "compat.profile": "compatibility.profile",
    "change.attribution": "compatibility.attribution",
    "contam.threshold": "compatibility.contamination_threshold",
    "contam.leak-gap": "compatibility.leak_gap",
    "calibration.reliability": "calibration.reliability",
    "calibration.ece": "calibration.ece",
    "calibration.smece": "calibration.smece",
    "calibration.corp": "calibration.corp",
    "calibration.scores": "calibration.scores",
    "calibration.recalibrate": "calibration.recalibrate",
    "calibration.plane": "calibration.plane",
    "calibration.elicited": "calibration.elicited",
    "calibration.ks": "calibration.cumulative",
    "calibration.groups": "calibration.group_calibration",
    "calibration.detection": "calibration.detection",
    "selective.risk-coverage": "calibration.risk_coverage",
    "selective.error-detection": "calibration.error_detection",
    "selective.abstention": "calibration.abstention",
    "labelfree.atc": "calibration.atc",
    "labelfree.cbpe": "calibration.cbpe",
    "uncertainty.decomposition": "calibration.decomposition",
    "intervals.scores": "calibration.intervals",
    "conformal.split": "calibration.conformal",
    "items.irt": "items.irt",
    "items.discrimination": "items.discrimination",
    "dynamics.data-map": "items.data_map",
    "dynamics.aum": "items.aum",
    "dynamics.forgetting": "items.forgetting",
    "dynamics.el2n": "items.el2n",
    "dynamics.loss-mixture": "items.loss_mixture",
    "items.pvi": "items.pvi",
    "items.typicality": "items.typicality",
    "labels.confident-joint": "items.confident_joint",
    "sampling.pass-k": "sampling.pass_k",
    "groups.worst": "robustness.worst_group",
    "groups.accuracy-curve": "robustness.accuracy_curve",
    "robust.effective": "robustness.effective",
    "robust.prompt-sensitivity": "robustness.prompt_sensitivity",
    "groups.slices": "robustness.slices",
    "groups.fairness": "robustness.fairness",
    "robust.option-bias": "robustness.option_bias",
    "robust.length-buckets": "robustness.length_buckets",
    "judges.agreement": "judges.agreement",
    "judges.position-bias": "judges.position_bias",
    "metrics.meta-evaluation": "judges.meta_evaluation",
    "metrics.f1-explorer": "judges.f1_explorer",
    "judges.defect-detection": "judges.defect_detection",
    "judges.panel": "judges.panel",
    "judges.length-style": "judges.length_style",
    "preference.ranking-accuracy": "judges.ranking_accuracy",
    "preference.reward-accuracy": "judges.reward_accuracy",
    "preference.dpo-monitor": "judges.dpo_monitor",
    "preference.attributes": "judges.attributes",
    "sampling.verifier": "sampling.verifier",
    "sampling.best-of-n": "sampling.best_of_n",
    "sampling.self-consistency": "sampling.self_consistency",
    "sampling.reliability": "sampling.reliability",
    "select.active-testing": "sampling.active_testing",
    "select.best-model": "sampling.best_model",
    "cost.pareto": "cost.pareto",
    "cost.indicator-disagreement": "cost.indicator_disagreement",
    "cost.latency-model": "cost.latency_model",
    "cost.energy": "cost.energy",
    "cost.matched-budget": "cost.matched_budget",
    "cost.utility": "cost.utility",
    "cost.compression": "cost.compression",
}
"""Module of each of our analyses, by id."""


@cache
def _third_party() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="runglass.analyses") if point.name not in _BUILTIN}


def ids() -> tuple[str, ...]:
    """Give the ids of all analyses."""
    return (*_BUILTIN, *_third_party())


@cache
def analysis(identifier: str) -> Analysis:
    """Give the analysis with an id.

    Raises
    ------
    RunglassError
        When there is none, or a third party's could not be loaded.
    """
    if identifier in _BUILTIN:
        entry: Analysis = import_module(f".{_BUILTIN[identifier]}", __package__).ANALYSIS
        return entry
    if identifier in _third_party():
        try:
            loaded = _third_party()[identifier].load()
        except Exception as error:  # a broken plug-in must not break the rest
            raise RunglassError(f"The analysis {identifier!r} could not be loaded: {error}") from error
        if not isinstance(loaded, Analysis):
            raise RunglassError(f"The entry point {identifier!r} gives no Analysis.")
        return loaded
    close = [known for known in ids() if identifier.split(".")[-1] in known or known.split(".")[-1] in identifier]
    raise RunglassError(
        f"There is no analysis called {identifier!r}.",
        remedy=f"Did you mean {' or '.join(close)}?" if close else "'runglass list' shows all of them.",
    )


def broken_analyses() -> list[str]:
    """Say of every analysis of a third party that cannot be loaded why it cannot."""
    broken = []
    for identifier in _third_party():
        try:
            analysis(identifier)
        except RunglassError as error:
            broken.append(str(error))
    return broken


def catalogue() -> tuple[Analysis, ...]:
    """Give all analyses, imported; third parties' that cannot be loaded are passed over."""
    entries = []
    for identifier in ids():
        try:
            entries.append(analysis(identifier))
        except RunglassError:
            if identifier in _BUILTIN:
                raise
    return tuple(entries)
