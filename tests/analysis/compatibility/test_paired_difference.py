from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from runglass.analysis.compatibility.paired_diff import PairedDiffQuestion, figure
from runglass.analysis.compatibility.tost import TostQuestion, fieller_interval, tost_p
from runglass.analysis.compatibility.tost import figure as tost_figure
from runglass.analysis.paired_differences import Differences
from runglass.models.errors import AnalysisError, TooLittleData
from runglass.models.figure import Bars
from runglass.models.store import RunStore

Answered = Callable[..., RunStore]
Stored = Callable[[pd.DataFrame], RunStore]


def scores(old: np.ndarray, new: np.ndarray, **columns: object) -> pd.DataFrame:
    items = [f"i{i}" for i in range(len(old))]
    sides = [
        pd.DataFrame({"version": name, "item": items, "correct": values} | columns)
        for name, values in (("v1", old), ("v2", new))
    ]
    return pd.concat(sides, ignore_index=True)


def test_that_the_difference_of_accuracies_is_pfr_less_nfr_with_the_score_interval_of_newcombe(
    answered: Answered,
) -> None:
    # Cavo et al. (2012): 59 both, 6 only the first, 16 only the second, 80 neither; published [-0.1186, -0.0046].
    first = ["a"] * 59 + ["a"] * 6 + ["b"] * 16 + ["b"] * 80
    second = ["a"] * 59 + ["b"] * 6 + ["a"] * 16 + ["b"] * 80
    found = PairedDiffQuestion().answer(answered(second, first)).estimates
    assert found["difference"].value == pytest.approx((6 - 16) / 161)
    score = found["difference_newcombe"]
    assert (score.low, score.high) == pytest.approx((-0.1186, -0.0046), abs=5e-5)
    d = -10 / 161
    assert found["standard_error"].value == pytest.approx(np.sqrt(22 - 100 / 161) / 161 * np.sqrt(161 / 160))
    assert found["difference"].low < d < found["difference"].high
    assert found["sign_flip_p"].value == pytest.approx(0.0525, abs=0.02)


def test_that_the_clustered_standard_error_equals_that_of_statsmodels() -> None:
    from statsmodels.regression.linear_model import OLS

    generator = np.random.default_rng(0)
    units = np.repeat(np.arange(25), generator.integers(1, 9, 25))
    d = generator.normal(0, 1, len(units)) + generator.normal(0, 1, 25)[units]
    both = Differences(np.zeros(len(d)), d, units, 25)
    theirs = OLS(d, np.ones(len(d))).fit(cov_type="cluster", cov_kwds={"groups": units, "df_correction": True})
    # statsmodels also multiplies by (n − 1) / (n − 1) for one coefficient, which is 1.
    assert both.standard_error == pytest.approx(float(theirs.bse[0]))
    alone = Differences(np.zeros(len(d)), d, np.arange(len(d)), len(d))
    assert alone.standard_error == pytest.approx(d.std(ddof=1) / np.sqrt(len(d)))


def test_that_a_bootstrap_of_whole_clusters_covers_the_truth_and_one_of_items_does_not() -> None:
    generator = np.random.default_rng(1)
    covered = {"clusters": 0, "items": 0}
    for trial in range(150):
        units = np.repeat(np.arange(40), 6)
        d = generator.normal(0, 1, 40)[units] + 0.3 * generator.normal(0, 1, 240)
        for name, of, number in (("clusters", units, 40), ("items", np.arange(240), 240)):
            (low, high), _ = Differences(np.zeros(240), d, of, number).interval(0.95, 300, trial)
            covered[name] += low <= 0 <= high
    assert covered["clusters"] / 150 > 0.88
    assert covered["items"] / 150 < 0.75


def test_that_groups_add_up_to_the_whole(mmlu_pro: RunStore) -> None:
    question = PairedDiffQuestion(
        old="Mistral-7B-Instruct-v0.1", new="Mistral-7B-Instruct-v0.2", group="group", draws=200
    )
    result = question.answer(mmlu_pro)
    groups = result.tables["groups"]
    assert groups["contribution"].sum() == pytest.approx((1700 - 1146) / 12032)
    assert result.estimates["difference"].value == pytest.approx((1700 - 1146) / 12032)
    assert len(result.tables["items"]) == 1146 + 1700
    falls = next(mark for _, mark in figure(question, result).marks() if isinstance(mark, Bars) and mark.key == "falls")
    assert falls.origin is not None
    negative = groups.loc[groups["contribution"] < 0, "group"].tolist()
    assert falls.origin.clause([0]).columns == {"group"}
    assert len(falls.at) == len(negative)


def test_that_scores_in_between_are_compared_as_they_are(stored: Stored) -> None:
    old, new = np.array([0.2, 0.9, 0.5]), np.array([0.4, 0.8, 0.5])
    result = PairedDiffQuestion().answer(stored(scores(old, new)))
    assert result.what == "score"
    assert result.estimates["difference"].value == pytest.approx(0.1 / 3)
    assert result.tables["items"]["difference"].tolist() == pytest.approx([-0.1, 0.2])
    assert result.bins["items"].sum() == 3


def test_that_versions_without_a_common_item_are_compared_by_welch_with_a_warning(stored: Stored) -> None:
    from scipy.stats import ttest_ind

    generator = np.random.default_rng(2)
    old, new = generator.random(30), generator.random(30)
    frame = scores(old, new)
    frame.loc[frame["version"] == "v2", "item"] = [f"j{i}" for i in range(30)]
    result = PairedDiffQuestion(old="v1", new="v2").answer(stored(frame))
    theirs = ttest_ind(new, old, equal_var=False)
    assert result.estimates["welch_p"].value == pytest.approx(theirs.pvalue)
    interval = theirs.confidence_interval()
    d = result.estimates["difference"]
    assert (d.low, d.high) == pytest.approx((interval.low, interval.high))
    assert result.notes[0].startswith("Attention")
    assert not result.paired


def test_that_users_and_items_are_resampled_crossed(stored: Stored) -> None:
    generator = np.random.default_rng(3)
    shift = generator.uniform(-0.4, 0.4, 12)
    rows = [
        {"version": v, "item": f"i{i}", "user": f"u{u}", "correct": float(np.clip(0.5 + (v == "v2") * shift[u], 0, 1))}
        for v in ("v1", "v2")
        for u in range(12)
        for i in range(20)
    ]
    result = PairedDiffQuestion(users="user", draws=1000).answer(stored(pd.DataFrame(rows)))
    d = result.estimates["difference"]
    assert d.value == pytest.approx(shift.mean())
    assert d.high - d.low == pytest.approx(2 * 1.96 * shift.std() / np.sqrt(12), rel=0.12)
    assert "12 users" in result.notes[0]


@pytest.mark.parametrize("margin", [0.05, 0.2, 0.6])
def test_that_both_one_sided_tests_equal_statsmodels(margin: float) -> None:
    from statsmodels.stats.weightstats import DescrStatsW

    d = np.random.default_rng(4).normal(0.05, 1, 60)
    both = Differences(np.zeros(60), d, np.arange(60), 60)
    p, (_, lower, _), (_, upper, _) = DescrStatsW(d).ttost_mean(-margin, margin)
    assert tost_p(both.mean, both.standard_error, both.df, margin) == pytest.approx((lower, upper))
    assert max(tost_p(both.mean, both.standard_error, both.df, margin)) == pytest.approx(p)


def test_that_equivalence_is_the_interval_inside_the_margin(mmlu_pro: RunStore) -> None:
    asked = TostQuestion(old="Mistral-7B-v0.1", new="Mistral-7B-v0.2-hf")
    result = asked.answer(mmlu_pro)
    smallest = result.estimates["smallest_margin"].value
    assert result.verdict == "no margin"
    assert "nothing is called equivalent" in result.summary()
    for factor, verdict in ((1.001, "equivalent"), (0.999, "undecided")):
        found = TostQuestion(old=asked.old, new=asked.new, margin=factor * smallest).answer(mmlu_pro)
        assert found.verdict == verdict
        assert (found.estimates["tost_p"].value < 0.05) == (verdict == "equivalent")


@pytest.mark.parametrize(
    ("shift", "lower_is_better", "verdict"),
    [(0.0, False, "equivalent"), (0.3, False, "not inferior"), (-0.3, False, "worse"), (0.3, True, "worse"),
     (-0.1, False, "undecided")],
)  # fmt: skip
def test_that_each_verdict_follows_from_where_the_interval_lies(
    stored: Stored, shift: float, lower_is_better: bool, verdict: str
) -> None:
    generator = np.random.default_rng(5)
    old = generator.normal(5, 1, 400)
    frame = scores(np.zeros(400), np.zeros(400)).assign(
        loss=np.concatenate([old, old + shift + generator.normal(0, 0.3, 400)])
    )
    question = TostQuestion(value="loss", margin=0.1, lower_is_better=lower_is_better)
    result = question.answer(stored(frame))
    assert result.verdict == verdict
    assert len(tost_figure(question, result).panels) == 1


def test_that_the_bound_of_regressions_is_exact_and_held_against_the_budget(answered: Answered) -> None:
    from scipy.stats import binomtest

    store = answered(["a"] * 100, ["b"] * 2 + ["a"] * 98)
    found = TostQuestion(budget=0.07).answer(store).estimates
    expected = binomtest(2, 100).proportion_ci(0.90, method="exact").high
    assert found["nfr"].high == pytest.approx(expected)
    assert found["within_budget"].value == 1
    assert TostQuestion(budget=0.05).answer(store).estimates["within_budget"].value == 0


def test_that_fieller_gives_the_ratios_a_t_test_does_not_reject() -> None:
    generator = np.random.default_rng(6)
    old = generator.normal(2, 1, 50)
    new = old + generator.normal(0.1, 0.5, 50)
    both = Differences(old, new, np.arange(50), 50)
    interval = fieller_interval(
        new.mean(),
        old.mean(),
        both.covariance(new, new),
        both.covariance(old, old),
        both.covariance(new, old),
        49,
        0.95,
    )
    from scipy.stats import ttest_1samp

    for end in interval:
        assert ttest_1samp(new - float(end) * old, 0).pvalue == pytest.approx(0.05)
    assert np.isnan(fieller_interval(1, 0.01, 1, 1, 0, 49, 0.95).low)


def test_that_a_budget_needs_answers_that_are_right_or_wrong(stored: Stored) -> None:
    frame = scores(np.array([0.2, 0.4, 0.1]), np.array([0.3, 0.4, 0.2]))
    with pytest.raises(AnalysisError, match="right or wrong"):
        TostQuestion(budget=0.1).answer(stored(frame))


def test_that_regressions_of_whole_clusters_have_the_bound_of_their_means(answered: Answered) -> None:
    from scipy.stats import t

    # Ten pages of ten items: as many regressions as (1, 0, 2, 0, 0, 1, 0, 3, 0, 1) on each.
    broke = np.array([1, 0, 2, 0, 0, 1, 0, 3, 0, 1])
    new = [letter for count in broke for letter in "b" * count + "a" * (10 - count)]
    page = [f"p{i // 10}" for i in range(100)]
    found = TostQuestion(cluster="page").answer(answered(["a"] * 100, new, page=page)).estimates
    rates = broke / 10
    expected = rates.mean() + t.ppf(0.95, 9) * rates.std(ddof=1) / np.sqrt(10)
    assert found["nfr"].value == pytest.approx(0.08)
    assert found["nfr"].high == pytest.approx(expected)


def test_that_each_group_is_tested_on_its_own_items(stored: Stored) -> None:
    from scipy.stats import ttest_rel

    generator = np.random.default_rng(9)
    old = generator.normal(5, 1, 200)
    kind = np.repeat(["even", "odd"], 100)
    new = old + generator.normal(0, 0.2, 200) + np.where(kind == "odd", 0.5, 0.0)
    frame = pd.concat(
        [
            pd.DataFrame(
                {"version": name, "item": np.arange(200).astype(str), "correct": 1, "loss": loss, "kind": kind}
            )
            for name, loss in (("v1", old), ("v2", new))
        ]
    )
    question = TostQuestion(value="loss", margin=0.1, group="kind")
    result = question.answer(stored(frame))
    table = result.tables["groups"].set_index("group")
    for name in ("even", "odd"):
        inside = kind == name
        theirs = ttest_rel(new[inside], old[inside]).confidence_interval(0.90)
        assert (table.loc[name, "low"], table.loc[name, "high"]) == pytest.approx((theirs.low, theirs.high))
    assert table["verdict"].to_dict() == {"all items": "not inferior", "even": "equivalent", "odd": "not inferior"}
    assert tost_figure(question, result).panels[0].y.names == ("all items", "even", "odd")


def test_that_many_differences_are_counted_as_numpy_counts_them(stored: Stored) -> None:
    generator = np.random.default_rng(10)
    old, new = generator.random(300), generator.random(300)
    bins = PairedDiffQuestion(draws=100).answer(stored(scores(old, new))).bins
    edges = np.append(bins["low"], bins["high"].iloc[-1])
    assert bins["items"].tolist() == np.histogram(new - old, edges)[0].tolist()
    assert edges[0] == -edges[-1] == -np.abs(new - old).max()


def test_that_groups_beyond_those_shown_are_summed(stored: Stored) -> None:
    generator = np.random.default_rng(11)
    old, new = (generator.random(900) < p for p in (0.5, 0.6))
    kind = np.arange(900) % 45
    frame = scores(old.astype(float), new.astype(float))
    frame["kind"] = np.tile([f"k{k:02d}" for k in kind], 2)
    question = PairedDiffQuestion(group="kind", draws=100)
    result = question.answer(stored(frame))
    bars = [mark for panel, mark in figure(question, result).marks()
            if isinstance(mark, Bars) and any("others" in name for name in (*panel.x.names, *panel.y.names))]  # fmt: skip
    assert bars
    total = result.tables["groups"]["contribution"].sum()
    assert total == pytest.approx(result.estimates["difference"].value)
    with pytest.raises(AnalysisError, match="cannot both be resampled"):
        PairedDiffQuestion(users="kind", cluster="kind").answer(stored(frame))


def test_that_different_items_are_compared_by_a_number_too(stored: Stored) -> None:
    from scipy.stats import ttest_ind

    generator = np.random.default_rng(12)
    frame = scores(generator.random(20), generator.random(20), loss=generator.normal(size=20))
    frame.loc[frame["version"] == "v2", "item"] = [f"j{i}" for i in range(20)]
    frame.loc[frame["version"] == "v2", "loss"] += 0.3
    result = PairedDiffQuestion(old="v1", new="v2", value="loss").answer(stored(frame))
    sides = [frame.loc[frame["version"] == name, "loss"] for name in ("v2", "v1")]
    assert result.estimates["welch_p"].value == pytest.approx(ttest_ind(*sides, equal_var=False).pvalue)
    short = frame.drop(frame.index[frame["version"] == "v2"][1:])
    with pytest.raises(TooLittleData, match="two items a version"):
        PairedDiffQuestion(old="v1", new="v2").answer(stored(short))


def test_that_a_number_is_asked_of_a_column_of_numbers(stored: Stored) -> None:
    frame = scores(np.array([0.1, 0.2, 0.3]), np.array([0.2, 0.2, 0.4]), note="x", loss=[1.0, np.nan, 2.0])
    for value, said in (("nowhere", "no column called 'nowhere'"), ("note", "holds no numbers")):
        with pytest.raises(AnalysisError, match=said):
            PairedDiffQuestion(value=value).answer(stored(frame))
    result = PairedDiffQuestion(value="loss", draws=100).answer(stored(frame))
    assert any(note.startswith("1 items left out: loss is not a number") for note in result.notes)
    with pytest.raises(TooLittleData, match="items with a loss from each version"):
        PairedDiffQuestion(value="loss").answer(stored(frame.assign(loss=np.nan)))
