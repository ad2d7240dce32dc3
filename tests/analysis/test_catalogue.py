"""What every analysis keeps to, whoever wrote it; asked of the sample project as a newcomer would."""

import contextlib
import json
import math
import re

import pytest

from runglass.analysis import registry
from runglass.models.errors import AnalysisError
from runglass.models.figure import to_json
from runglass.models.loader import load
from runglass.models.question import choices_in
from runglass.models.store import RunStore
from runglass.resources import demo_folder

ANSWERED = frozenset(
    {
        *(
            "sampling.pass-k",
            "sampling.verifier",
            "sampling.best-of-n",
            "sampling.self-consistency",
            "sampling.reliability",
        ),
        *("judges.agreement", "judges.position-bias", "judges.panel", "judges.length-style", "judges.defect-detection"),
        *(
            "preference.attributes",
            "preference.reward-accuracy",
            "rating.bradley-terry",
            "rating.elo",
            "rank.base-instruct",
        ),
        *("cost.matched-budget", "cost.latency-model", "cost.utility", "select.active-testing", "select.best-model"),
        *("items.irt", "items.discrimination", "items.pvi", "items.typicality", "labels.confident-joint"),
        *("dynamics.data-map", "dynamics.aum", "dynamics.forgetting", "dynamics.el2n", "dynamics.loss-mixture"),
        *(
            "metrics.f1-explorer",
            "groups.worst",
            "groups.slices",
            "groups.fairness",
            "groups.accuracy-curve",
            "robust.effective",
        ),
    }
)
"""What the sample project holds data for."""


@pytest.fixture(scope="module")
def demo() -> RunStore:
    return load([demo_folder()])


@pytest.fixture(params=registry.ids())
def analysis(request):
    return registry.analysis(request.param)


def test_that_an_entry_says_what_a_newcomer_asks(analysis):
    assert analysis.title
    assert analysis.asks.endswith("?")
    assert analysis.sources, "no source is named"
    assert analysis.definition, "no formula is given"


def test_that_every_option_has_a_help_and_a_default_it_allows(analysis):
    for option in analysis.question.options():
        assert option.help, option.name
        if option.default is not None:
            assert option.checked(option.default) == option.default
        assert isinstance(choices_in(RunStore(), option.choices), list)


def test_that_a_question_goes_to_json_and_back(analysis):
    question = analysis.question()
    assert analysis.question.from_json(json.loads(json.dumps(question.to_json()))) == question
    assert hash(question) == hash(analysis.question())


def test_that_without_data_it_says_what_is_missing_or_answers_from_its_options(analysis):
    # Planning needs no data where its options say all; what they lack is said by an AnalysisError, and nothing else.
    empty = RunStore()
    if not analysis.question.missing(empty):
        with contextlib.suppress(AnalysisError):
            assert analysis.question().resolved(empty).answer(empty).summary()


def test_that_a_column_that_is_not_there_is_refused_in_a_sentence_or_passed_over(analysis, demo):
    if analysis.question.missing(demo):
        return
    for option in analysis.question.options():
        if not option.choices.startswith(("columns of", "numbers of")):
            continue
        typed = ("nowhere",) if option.type == "texts" else "nowhere"
        draws = {one.name: max(int(one.low or 1), 20) for one in analysis.question.options() if one.name == "draws"}
        try:
            analysis.question(**draws | {option.name: typed}).resolved(demo).answer(demo)
        except AnalysisError as error:
            assert re.search(r"[.?]$", str(error)), str(error)  # noqa: PT017  either a sentence or an answer is right


def test_that_the_sample_is_answered_or_what_it_lacks_is_said(analysis, demo):
    if analysis.question.missing(demo):
        assert analysis.id not in ANSWERED
        return
    try:
        question = analysis.question().resolved(demo)
        result = question.answer(demo)
    except AnalysisError as error:
        assert re.search(r"[.?]$", str(error)), str(error)  # noqa: PT017  either a sentence or an answer is right
        assert analysis.id not in ANSWERED, str(error)  # noqa: PT017
        return
    assert result.summary().endswith("."), result.summary()
    document = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert set(document) == {"summary", "estimates", "tables", "notes"}
    for name, estimate in result.estimates.items():
        assert estimate.has_interval or estimate.why_no_interval, f"{name} has neither an interval nor a reason"
        if estimate.has_interval and math.isfinite(estimate.value):
            assert estimate.low <= estimate.high, name
    assert result.notes
    figure = analysis.figure(question, result)
    assert figure.title
    assert figure.caption
    keys = [(panel.key, mark.key) for panel, mark in figure.marks()]
    assert len(keys) == len(set(keys)), "two marks of a panel share a key"
    json.dumps(to_json(figure))
