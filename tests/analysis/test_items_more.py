from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr
from statsmodels.stats.contingency_tables import mcnemar

from runglass.analysis.items import el2n, loss_mixture, pvi, typicality
from runglass.analysis.items.el2n import El2nQuestion
from runglass.analysis.items.loss_mixture import BetaMixture, LossMixtureQuestion, fit_beta_mixture, scaled_losses
from runglass.analysis.items.pvi import PviQuestion
from runglass.analysis.items.typicality import TypicalityQuestion, mean_jensen_shannon, symmetric_kl
from runglass.analysis.robustness import fairness
from runglass.analysis.robustness.fairness import FairnessQuestion
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import to_json
from runglass.models.question import Question
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece, RunFacts, TableRows

DEMO = Path(__file__).parents[2] / "resources" / "demo" / "digits"


def store_of(frame: pd.DataFrame) -> RunStore:
    return RunStore().adding([TableRows("p.csv", "test", frame, "predictions")])


def drawn(question: Question, source: pd.DataFrame | RunStore, figure: Any) -> Any:
    """The answer, after its figure and its document were written."""
    store = source if isinstance(source, RunStore) else store_of(source)
    asked = question.resolved(store)
    result = asked.answer(store)
    json.dumps(to_json(figure(asked, result)))
    json.dumps(result.to_json(), allow_nan=False)
    assert result.summary().endswith(".")
    return result


@pytest.fixture(scope="module")
def training() -> pd.DataFrame:
    return pd.read_parquet(DEMO / "training_dynamics.parquet").astype({"label": str, "prediction": str})


# EL2N


def probabilities(p: np.ndarray, label: list[int], epoch: int = 0, **columns: Any) -> pd.DataFrame:
    names = {f"prob.{k}": p[:, k] for k in range(p.shape[1])}
    return pd.DataFrame({"item": [f"i{i}" for i in range(len(p))], "epoch": epoch, "label": [str(one) for one in label],
                         **names, **columns})  # fmt: skip


def test_that_the_score_is_the_distance_from_the_label_and_at_most_the_root_of_two() -> None:
    frame = probabilities(np.array([[1.0, 0, 0], [0, 1, 0], [0.5, 0.3, 0.2]]), [0, 0, 0])
    scores = {form: drawn(El2nQuestion(form=form), frame, el2n.figure).scores for form in ("L2", "L1", "margin")}
    np.testing.assert_allclose(scores["L2"], [0, math.sqrt(2), math.sqrt(0.25 + 0.09 + 0.04)])
    np.testing.assert_allclose(scores["L1"], [0, 2, 1.0])
    np.testing.assert_allclose(scores["margin"], [-1, 1, -0.2])


def test_that_scores_are_means_over_runs_at_the_epoch_asked_for() -> None:
    generator = np.random.default_rng(0)
    parts = {(seed, epoch): generator.dirichlet(np.ones(3), 40) for seed in (0, 1) for epoch in range(10)}
    frame = pd.concat([probabilities(p, [0] * 40, epoch, seed=seed) for (seed, epoch), p in parts.items()])
    result = drawn(El2nQuestion(epoch=4.5), frame, el2n.figure)
    target = np.array([1.0, 0, 0])
    expected = np.mean([np.linalg.norm(parts[seed, 4] - target, axis=1) for seed in (0, 1)], axis=0)
    np.testing.assert_allclose(result.scores, expected)
    one, two = (np.linalg.norm(parts[seed, 4] - target, axis=1) for seed in (0, 1))
    assert result.estimates["spearman_of_runs"].value == pytest.approx(stats.spearmanr(one, two).statistic)


def test_that_a_tenth_of_the_way_is_early_and_nothing_is_before_the_first_epoch(training: pd.DataFrame) -> None:
    assert drawn(El2nQuestion(draws=100), training, el2n.figure).epoch == sorted(training["epoch"].unique())[2]
    with pytest.raises(AnalysisError, match="at or before"):
        El2nQuestion(epoch=0.5).answer(store_of(training[training["epoch"] >= 1]))


def test_that_with_wrong_labels_the_highest_scores_are_errors(training: pd.DataFrame) -> None:
    result = drawn(El2nQuestion(draws=200), training, el2n.figure)
    # 5 % of the labels are wrong; half of the highest tenth is the most there can be.
    assert result.estimates["wrong_in_top_tenth"].value > 0.4
    assert result.estimates["auc"].low > 0.95


def test_that_logged_gradient_norms_take_the_place_of_the_distance(training: pd.DataFrame) -> None:
    own = training.assign(norm=np.arange(len(training), dtype=float))
    result = drawn(El2nQuestion(gradient="norm", epoch=0.0, draws=100), own[own["epoch"] == own["epoch"].min()]
                   .assign(epoch=0.0), el2n.figure)  # fmt: skip
    assert result.scores.max() > math.sqrt(2)


def pruned(runs: dict[str, dict[float, list[float]]]) -> RunStore:
    events: list[Any] = [TableRows("p.csv", "test", probabilities(np.eye(3), [0, 1, 1]), "predictions")]
    for chooser, by_part in runs.items():
        for kept, accuracies in by_part.items():
            for seed, accuracy in enumerate(accuracies):
                key = f"{chooser}-{kept}-{seed}"
                events.append(RunFacts(key, facts={}, config={"kept_fraction": kept, "chooser": chooser}))
                events.append(CurvePiece(key, np.array([0, 1]), {"test_acc": np.array([0.1, accuracy])}))
    return RunStore().adding(events)


def test_that_accuracy_after_pruning_is_told_by_chooser_and_top_against_bottom_by_their_difference() -> None:
    store = pruned({"el2n top": {0.5: [0.90, 0.92], 1.0: [0.95, 0.96]}, "el2n bottom": {0.5: [0.70, 0.74]},
                    "random": {0.5: [0.85, 0.86]}})  # fmt: skip
    result = drawn(El2nQuestion(draws=100), store, el2n.figure)
    table = result.tables["pruning"].set_index(["chooser", "kept"])
    assert table.loc[("el2n top", 0.5), "accuracy"] == pytest.approx(0.91)
    half = stats.t.ppf(0.975, 1) * np.std([0.90, 0.92], ddof=1) / math.sqrt(2)
    assert table.loc[("el2n top", 0.5), "high"] == pytest.approx(0.91 + half)
    gap = result.tables["top_against_bottom"].iloc[0]
    test = stats.ttest_ind([0.90, 0.92], [0.70, 0.74], equal_var=False).confidence_interval(0.95)
    assert (gap["difference"], gap["low"], gap["high"]) == pytest.approx((0.19, test.low, test.high))


# Two-Beta mixture


def test_that_components_that_lie_apart_are_recovered() -> None:
    generator = np.random.default_rng(0)
    clean, noisy = generator.beta(2, 12, 4000), generator.beta(12, 3, 1000)
    fit = fit_beta_mixture(np.concatenate([clean, noisy]), steps=200)
    np.testing.assert_allclose(fit.weight, [0.8, 0.2], atol=0.01)
    np.testing.assert_allclose(fit.a, [2, 12], rtol=0.12)
    np.testing.assert_allclose(fit.b, [12, 3], rtol=0.12)


def test_that_the_moments_are_those_of_scipys_beta_law() -> None:
    mixture = BetaMixture(np.array([2.0, 6]), np.array([8.0, 3]), np.array([0.7, 0.3]))
    np.testing.assert_allclose(mixture.mean, [stats.beta.mean(2, 8), stats.beta.mean(6, 3)])
    x = np.linspace(0.01, 0.99, 50)
    np.testing.assert_allclose(mixture.density(x)[1], 0.3 * stats.beta.pdf(x, 6, 3))
    low, high = 0.7 * stats.beta.pdf(x, 2, 8), 0.3 * stats.beta.pdf(x, 6, 3)
    np.testing.assert_allclose(mixture.noisy(x), high / (low + high))


def test_that_weights_do_what_repeated_rows_do() -> None:
    generator = np.random.default_rng(1)
    x, counts = generator.uniform(0.05, 0.95, 60), generator.integers(0, 4, 60)
    together = fit_beta_mixture(x, counts[None])
    repeated = fit_beta_mixture(np.repeat(x, counts))
    np.testing.assert_allclose(together.a[0], repeated.a)
    np.testing.assert_allclose(together.weight[0], repeated.weight)


def test_that_one_outlier_does_not_set_the_scale() -> None:
    losses = np.append(np.linspace(0, 1, 1000), 1e6)
    scaled = scaled_losses(losses)
    assert scaled.min() == 1e-4
    assert scaled.max() == 1 - 1e-4
    assert scaled[500] == pytest.approx(0.5, abs=0.01)


def test_that_losses_that_are_all_alike_are_said_to_be_no_split() -> None:
    frame = pd.DataFrame({"item": np.arange(99).astype(str), "loss": 0.5})
    result = drawn(LossMixtureQuestion(draws=100), frame, loss_mixture.figure)
    assert not result.is_split
    assert "no split" in result.summary()
    assert any("do not split" in note for note in result.notes)


def test_that_the_posterior_finds_the_wrong_labels_of_the_sample(training: pd.DataFrame) -> None:
    result = drawn(LossMixtureQuestion(draws=100), training, loss_mixture.figure)
    assert result.is_split
    assert result.estimates["auc"].low > 0.9
    share = result.estimates["share_noisy"]
    assert share.low < share.value < share.high


def test_that_the_epoch_asked_for_is_taken(training: pd.DataFrame) -> None:
    epochs = sorted(training["epoch"].unique())
    result = drawn(LossMixtureQuestion(epoch=float(epochs[3]), draws=100), training, loss_mixture.figure)
    assert result.number == 3


# Pointwise V-information


def test_that_the_mean_is_the_mutual_information_where_the_probabilities_are_true() -> None:
    # A symmetric channel with error e: I(X; Y) = 1 - H2(e) bits.
    generator = np.random.default_rng(0)
    n, e = 40_000, 0.1
    x = generator.integers(0, 2, n)
    y = x ^ (generator.random(n) < e)
    p = np.where(x == y, 1 - e, e)
    frame = pd.DataFrame({"item": np.arange(n).astype(str), "label": y.astype(str), "prediction": x.astype(str),
                          "logp_input": np.log(p), "logp_null": math.log(0.5)})  # fmt: skip
    result = drawn(PviQuestion(draws=200), frame, pvi.figure)
    truth = 1 + e * math.log2(e) + (1 - e) * math.log2(1 - e)
    found = result.estimates["v_information"]
    assert found.low < truth < found.high
    assert result.estimates["negative"].value == pytest.approx((x != y).mean())


def test_that_right_and_wrong_rows_make_up_the_mean_as_in_the_released_file() -> None:
    # n = 9,824: accuracy .898, 1.448 bits where right, -1.192 where wrong, 1.179 over all.
    right = np.arange(9824) < round(0.898 * 9824)
    bits = np.where(right, 1.448, -1.192)
    frame = pd.DataFrame({"item": np.arange(9824).astype(str), "correct": right.astype(float),
                          "logp_input": bits * math.log(2) - 2.0, "logp_null": -2.0})  # fmt: skip
    result = drawn(PviQuestion(draws=100), frame, pvi.figure)
    assert result.estimates["v_information"].value == pytest.approx(1.179, abs=5e-4)
    assert result.estimates["mean_right"].value == pytest.approx(1.448)
    assert result.estimates["mean_wrong"].value == pytest.approx(-1.192)


def test_that_a_model_without_input_is_the_null_and_the_shares_of_labels_stand_for_one_that_is_not_named() -> None:
    frame = pd.DataFrame({"item": list("abcd") * 2, "version": ["full"] * 4 + ["empty"] * 4, "label": list("xxxy") * 2,
                          "p_gold": [0.9, 0.8, 0.2, 0.6, 0.75, 0.75, 0.75, 0.25]})  # fmt: skip
    named = drawn(PviQuestion(null="empty", draws=100), frame, pvi.figure)
    shares = drawn(PviQuestion(draws=100), frame[frame["version"] == "full"], pvi.figure)
    expected = np.mean(np.log2(np.array([0.9, 0.8, 0.2, 0.6]) / np.array([0.75, 0.75, 0.75, 0.25])))
    assert named.estimates["v_information"].value == pytest.approx(expected)
    assert shares.estimates["v_information"].value == pytest.approx(expected)
    assert any("share of each label" in note for note in shares.notes)


def test_that_slices_have_their_own_mean_and_the_lowest_rows_are_listed_first() -> None:
    frame = pd.DataFrame({"item": list("abcd"), "group": list("uuvv"), "logp_input": [-0.1, -0.2, -3.0, -1.0],
                          "logp_null": [-1.0] * 4})  # fmt: skip
    result = drawn(PviQuestion(draws=100), frame, pvi.figure)
    means = result.tables["slices"].set_index("slice")["v_information"]
    assert means["u"] == pytest.approx(np.mean([0.9, 0.8]) / math.log(2))
    assert means["v"] == pytest.approx(np.mean([-2.0, 0.0]) / math.log(2))
    assert result.tables["lowest"]["item"].iloc[0] == "c"


# Typicality


def test_that_divergences_are_scipys() -> None:
    generator = np.random.default_rng(0)
    p = generator.dirichlet(np.ones(4), (3, 10))
    expected = np.mean(
        [[jensenshannon(p[i, k], p[j, k]) ** 2 for k in range(10)] for i, j in ((0, 1), (0, 2), (1, 2))], axis=0
    )
    np.testing.assert_allclose(mean_jensen_shannon(p), expected)
    both = (rel_entr(p[0], p[1]).sum(axis=1) + rel_entr(p[1], p[0]).sum(axis=1)) / 2
    np.testing.assert_allclose(symmetric_kl(p[0], p[1]), both)


def test_that_correlations_are_scipys_and_each_score_is_turned_so_that_high_is_odd(training: pd.DataFrame) -> None:
    result = drawn(TypicalityQuestion(draws=100), training, typicality.figure)
    assert set(result.names) == {"confidence", "variability", "EL2N", "AUM", "forgetting", "learned late"}
    own = result.scores
    for _, row in result.tables["pairs"].iterrows():
        r = stats.spearmanr(own[row["score"]], own[row["other"]]).statistic
        assert row["spearman"] == pytest.approx(r)
        assert row["low"] <= row["spearman"] <= row["high"]
    wrong = training.drop_duplicates("item").set_index(training.drop_duplicates("item")["item"].astype(str))[
        "mislabelled"
    ]
    for name in ("confidence", "EL2N", "AUM", "learned late"):
        odd = own.set_index("item")[name]
        assert odd[wrong.astype(bool)].mean() > odd[~wrong.astype(bool)].mean()


def test_that_several_models_give_scores_of_their_own_and_the_shift_of_a_retraining() -> None:
    generator = np.random.default_rng(0)
    frames = []
    for version in ("a", "b", "a2"):
        p = generator.dirichlet(np.ones(3) * 2, 60)
        frames.append(probabilities(p, [0] * 60, version=version).drop(columns="epoch")
                      .assign(prediction=p.argmax(axis=1).astype(str), odd=np.arange(60.0)))  # fmt: skip
    frame = pd.concat(frames)
    result = drawn(TypicalityQuestion(before="a", after="a2", columns=("odd",), draws=100), frame, typicality.figure)
    assert set(result.names) == {"max probability", "disagreement", "share wrong", "retraining shift", "odd"}
    flags = result.tables["pairs"].set_index(["score", "other"])["same_source"]
    assert flags[("max probability", "disagreement")]
    assert not flags[("max probability", "odd")]


def test_that_one_answer_an_item_has_no_two_scores() -> None:
    with pytest.raises(TooLittleData):
        TypicalityQuestion().answer(store_of(pd.DataFrame({"item": list("abc"), "correct": [1.0, 0, 1]})))


# Groups


def answers(rates: dict[str, float], n: int = 200, seed: int = 0) -> pd.DataFrame:
    """The same templates for every group, each with an outcome of its own."""
    generator = np.random.default_rng(seed)
    difficulty = generator.random(n)
    frames = [pd.DataFrame({"item": [f"{group}{i}" for i in range(n)], "template": np.arange(n).astype(str), "group": group,
                            "correct": (difficulty < rate).astype(float)}) for group, rate in rates.items()]  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def test_that_rates_gaps_and_ratios_are_those_of_the_counts() -> None:
    frame = answers({"x": 0.8, "y": 0.6, "z": 0.5})
    result = drawn(FairnessQuestion(draws=200), frame, fairness.figure)
    rate = frame.groupby("group")["correct"].mean()
    assert result.estimates["gap"].value == pytest.approx(rate.max() - rate.min())
    assert result.estimates["ratio"].value == pytest.approx(rate.min() / rate.max())
    assert result.estimates["mean_deviation"].value == pytest.approx((rate - rate.mean()).abs().mean())
    p = [
        stats.binomtest(int(frame.loc[frame["group"] == g, "correct"].sum()), 200, frame["correct"].mean()).pvalue
        for g in rate.index
    ]
    np.testing.assert_allclose(result.rates["p_background"], stats.false_discovery_control(p))


def test_that_the_gap_of_many_equal_groups_is_no_finding() -> None:
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"item": np.arange(800).astype(str), "group": [f"g{i % 16}" for i in range(800)],
                          "correct": (generator.random(800) < 0.5).astype(float)})  # fmt: skip
    result = drawn(FairnessQuestion(draws=200), frame, fairness.figure)
    # 16 shares of 50 fair coins: the expected range of 16 Gaussians is 3.53 standard deviations (tables of Tippett 1925).
    assert result.estimates["gap_by_chance"].value == pytest.approx(3.53 * math.sqrt(0.25 / 50), rel=0.05)
    assert result.estimates["gap"].value > 0.15
    assert result.estimates["p_gap"].value > 0.05
    assert result.estimates["groups_apart"].value == 0


def test_that_flips_within_a_template_are_tested_by_mcnemar() -> None:
    frame = answers({"x": 0.8, "y": 0.65})
    result = drawn(FairnessQuestion(draws=100), frame, fairness.figure)
    row = result.tables["pairs"].iloc[0]
    wide = frame.pivot_table(index="template", columns="group", values="correct")
    table = pd.crosstab(wide["x"], wide["y"]).to_numpy()
    assert row["p"] == pytest.approx(mcnemar(table, exact=True).pvalue)
    assert result.estimates["flip_rate"].value == pytest.approx((wide["x"] != wide["y"]).mean())


def test_that_templates_are_the_unit_and_pair_the_groups() -> None:
    frame = answers({"x": 0.8, "y": 0.65})
    paired = drawn(FairnessQuestion(draws=500), frame, fairness.figure).estimates["gap"]
    alone = drawn(FairnessQuestion(draws=500), frame.drop(columns="template"), fairness.figure).estimates["gap"]
    assert paired.high - paired.low < 0.8 * (alone.high - alone.low)


def test_that_scores_of_pairs_of_groups_are_compared_by_mann_and_whitney() -> None:
    generator = np.random.default_rng(0)
    frame = answers({"x": 0.5, "y": 0.5, "z": 0.5})
    frame["nll"] = generator.normal(size=len(frame)) + (frame["group"] == "z")
    result = drawn(FairnessQuestion(draws=100), frame, fairness.figure)
    assert result.estimates["score_pairs_apart"].value == pytest.approx(2 / 3)


def test_that_a_difference_is_held_against_the_rate_in_the_world() -> None:
    generator = np.random.default_rng(0)
    world = generator.random(150)
    rows = {"template": np.arange(150).astype(str), "world": world}
    frames = [
        pd.DataFrame(
            {"item": [f"{group}{i}" for i in range(150)], "group": group, "p": 0.5 + lean * (world - 0.5), **rows}
        )
        for group, lean in (("she", 0.4), ("they", 0.0))
    ]
    result = drawn(FairnessQuestion(outcome="p", external="world", draws=100), pd.concat(frames), fairness.figure)
    assert result.estimates["r_external"].value == pytest.approx(1)


def test_that_the_slope_on_an_attribute_is_that_of_least_squares() -> None:
    generator = np.random.default_rng(0)
    frame = answers({"x": 0.8, "y": 0.4}).assign(age=generator.normal(40, 10, 400))
    frame["correct"] = (generator.random(400) < 1 / (1 + np.exp((frame["age"] - 40) / 8))).astype(float)
    result = drawn(FairnessQuestion(attribute="age", draws=200), frame, fairness.figure)
    slope = stats.linregress(frame["age"], frame["correct"]).slope
    assert result.estimates["attribute_slope"].value == pytest.approx(abs(slope))


def test_that_axes_are_told_apart_and_small_groups_left_out() -> None:
    one, two = answers({"x": 0.8, "y": 0.6}), answers({"u": 0.5, "v": 0.5}, seed=1)
    frame = pd.concat(
        [one.assign(axis="first"), two.assign(axis="second"), one.head(3).assign(axis="first", group="tiny")]
    )
    result = drawn(FairnessQuestion(draws=100), frame, fairness.figure)
    assert result.axes == ("first", "second")
    assert result.estimates["second/gap"].value == 0
    assert any("1 group of first left out" in note for note in result.notes)


def test_that_information_says_what_it_lacks() -> None:
    frame = pd.DataFrame(
        {"item": list("abcd"), "version": "v", "label": list("xxxy"), "p_gold": [0.9, 0.8, 0.2, 0.6], "task": "t"}
    )
    for rows, options, said in (
        (frame, {"null": "none"}, "No prediction is of 'none'"),
        (frame, {"focus": "none"}, "No prediction is of 'none'"),
        (frame, {"slices": "nowhere"}, "no column called 'nowhere'"),
        (frame, {"task": "u"}, "probability of the label"),
        (frame.drop(columns="label"), {}, "probabilities without the input"),
        (frame.assign(p_gold=np.nan, null=-1.0), {"logp_input": "null", "logp_null": "p_gold"}, "both probabilities"),
    ):
        question = PviQuestion(draws=100, **options)  # type: ignore[arg-type]
        with pytest.raises(AnalysisError, match=said):
            question.resolved(store_of(rows)).answer(store_of(rows))
    holes = frame.assign(logp=[-0.1, -0.2, np.nan, -1.0], null=-2.0)
    result = drawn(PviQuestion(draws=100, logp_input="logp", logp_null="null"), holes, pvi.figure)
    assert any(note.startswith("1 row left out: one of the two") for note in result.notes)
    assert result.estimates["v_information"].value == pytest.approx((2 - 1.3 / 3) / math.log(2))


def test_that_scores_of_oddness_say_what_they_lack(training: pd.DataFrame) -> None:
    generator = np.random.default_rng(0)
    members = pd.concat(
        [probabilities(generator.dirichlet(np.ones(3), 40), [0] * 40, version=version).drop(columns="epoch")
         .assign(prediction="0", level=1.0, note="n") for version in "ab"]
    )  # fmt: skip
    for rows, options, said in (
        (members, {"task": "u"}, "No prediction is of the task 'u'"),
        (members, {"columns": ("note",)}, "no column of numbers called 'note'"),
        (members, {"before": "a", "after": "c"}, "No prediction is of 'c'"),
        (members.filter(regex="item|version|label|prediction"), {}, "probabilities of all classes"),
        (members[members["item"].isin(members["item"].unique()[:3])], {}, "two scores of at least"),
    ):
        with pytest.raises(AnalysisError, match=said):
            TypicalityQuestion(draws=100, **options).answer(store_of(rows))  # type: ignore[arg-type]
    some = members.assign(
        level=np.where(members["item"] == members["item"].iloc[0], np.nan, generator.random(len(members)))
    )
    result = TypicalityQuestion(draws=100, columns=("level",)).answer(store_of(some))
    assert "1 item left out: some score is not known." in result.notes
    # Of training rows without answers there is no forgetting, and members pass over rows of epochs.
    bare = training.drop(columns=[name for name in ("correct", "prediction") if name in training.columns])
    assert "forgetting" not in TypicalityQuestion(draws=100).answer(store_of(bare)).names
    mixed = pd.concat([members, training.head(5).assign(version="a")])
    assert "max probability" in TypicalityQuestion(read="members", draws=100).answer(store_of(mixed)).names
