from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runglass.analysis.agreement import (
    Coincidences,
    agreement_with_mode,
    fleiss_kappa,
    intraclass_correlations,
    kappa_of,
)

# Shrout and Fleiss (1979), table 2: 6 targets by 4 judges.
SHROUT = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)

# Krippendorff (2011), 4 observers by 12 units.
KRIPPENDORFF = np.array(
    [
        [float(c) if c.isdigit() else np.nan for c in row]
        for row in ("123321412---", "1233224125-3", "-3332342251-", "12332441251-")
    ]
).T

# Fleiss (1971) as in Wikipedia: 10 subjects, 14 raters, 5 categories.
FLEISS = np.array(
    [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1], [7, 7, 0, 0, 0], [3, 2, 6, 3, 0],
     [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]
)  # fmt: skip


def test_that_intraclass_correlations_are_those_of_shrout_and_fleiss_with_the_published_intervals() -> None:
    # Intervals as printed by R's psych::ICC(sf) and pingouin's documentation for this table.
    published = {
        "ICC(1,1)": (0.166, -0.133, 0.723), "ICC(2,1)": (0.290, 0.019, 0.761), "ICC(3,1)": (0.715, 0.342, 0.946),
        "ICC(1,k)": (0.443, -0.884, 0.912), "ICC(2,k)": (0.620, 0.071, 0.927), "ICC(3,k)": (0.909, 0.676, 0.986),
    }  # fmt: skip
    found = {one.form: (one.value, one.low, one.high) for one in intraclass_correlations(SHROUT)}
    assert {form: pytest.approx(values, abs=1.5e-3) for form, values in published.items()} == found


@pytest.mark.parametrize(("scale", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_that_alpha_is_krippendorffs_published_one(scale: object, published: float) -> None:
    alpha = Coincidences.of(KRIPPENDORFF, scale).alpha()[0]  # type: ignore[arg-type]
    assert alpha == pytest.approx(published, abs=5e-4)


def test_that_fleiss_kappa_is_the_published_one_and_statsmodels() -> None:
    from statsmodels.stats.inter_rater import fleiss_kappa as theirs

    assert fleiss_kappa(FLEISS)[0] == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa(FLEISS)[0] == pytest.approx(theirs(FLEISS))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=3, max_size=3))
def test_that_kappa_and_weighted_kappa_are_those_of_statsmodels(table: list[list[int]]) -> None:
    from statsmodels.stats.inter_rater import cohens_kappa

    counts = np.array(table, float) + np.eye(3)
    with np.errstate(invalid="ignore"):  # of perfect agreement statsmodels takes the root of a variance below 0
        plain, quadratic = cohens_kappa(counts).kappa, cohens_kappa(counts, wt="quadratic").kappa
    assert kappa_of(counts) == pytest.approx(plain)
    assert kappa_of(counts, weighted=True) == pytest.approx(quadratic)


def test_that_drawing_items_is_the_same_as_repeating_them() -> None:
    generator = np.random.default_rng(0)
    ratings = generator.integers(0, 4, (20, 3)).astype(float)
    ratings[generator.random((20, 3)) < 0.2] = np.nan
    weights = generator.integers(0, 4, (1, 20))
    repeated = np.repeat(ratings, weights[0], axis=0)
    for scale in ("nominal", "ordinal", "interval"):
        there = Coincidences.of(ratings, scale).alpha(weights)[0]  # type: ignore[arg-type]
        assert there == pytest.approx(Coincidences.of(repeated, scale).alpha()[0])  # type: ignore[arg-type]
    counts = np.stack([(generator.integers(0, 3, (20, 5)) == c).sum(axis=1) for c in range(3)], axis=1)
    assert fleiss_kappa(counts, weights)[0] == pytest.approx(fleiss_kappa(np.repeat(counts, weights[0], axis=0))[0])


def test_that_ordinal_kappa_of_two_equals_the_intraclass_correlation_of_large_samples() -> None:
    # Fleiss and Cohen (1973): quadratic weights make kappa the ICC, for many items.
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 5, 20_000)
    a, b = (np.clip(truth + generator.integers(-1, 2, 20_000), 0, 4) for _ in range(2))
    table = np.zeros((5, 5))
    np.add.at(table, (a, b), 1)
    icc = {one.form: one.value for one in intraclass_correlations(np.stack([a, b], axis=1).astype(float))}
    assert kappa_of(table, weighted=True) == pytest.approx(icc["ICC(2,1)"], abs=1e-4)


def test_that_one_category_alone_leaves_every_coefficient_undefined() -> None:
    same = np.ones((5, 2))
    assert np.isnan(kappa_of(np.diag([5.0, 0.0])))
    assert np.isnan(Coincidences.of(same, "nominal").alpha()[0])
    assert np.isnan(Coincidences.of(same, "interval").alpha()[0])
    assert all(np.isnan(one.value) for one in intraclass_correlations(same))


def test_that_alpha_of_independent_ratings_is_about_zero_and_of_equal_ones_one() -> None:
    generator = np.random.default_rng(2)
    ratings = generator.integers(0, 3, (5000, 3)).astype(float)
    for scale in ("nominal", "ordinal", "interval"):
        assert Coincidences.of(ratings, scale).alpha()[0] == pytest.approx(0, abs=0.02)  # type: ignore[arg-type]
        equal = np.repeat(ratings[:, :1], 3, axis=1)
        assert Coincidences.of(equal, scale).alpha()[0] == pytest.approx(1)  # type: ignore[arg-type]


def test_that_ties_for_the_mode_count_by_their_chance() -> None:
    others = np.array([[0, 0, 1], [0, 1, -1], [0, 1, 2], [-1, -1, -1]])
    assert agreement_with_mode(np.array([0, 1, 1, 0]), others, 3).tolist()[:3] == pytest.approx([1, 0.5, 1 / 3])
    assert np.isnan(agreement_with_mode(np.array([0, 1, 1, 0]), others, 3)[3])
    assert np.isnan(agreement_with_mode(np.array([-1, 1, 1, 0]), others, 3)[0])
