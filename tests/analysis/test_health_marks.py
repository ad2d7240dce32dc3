from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runglass.analysis.alignment import aligned
from runglass.analysis.curves.smooth import SmoothCurves, SmoothQuestion, figure
from runglass.analysis.health import marks_of
from runglass.models.figure import EdgeMarks, FigureSpec, Keys, Line, Points
from runglass.models.store import RunStore
from runglass.models.tables import CurvePiece


def falling(points: int = 400, seed: int = 0) -> np.ndarray:
    return np.asarray(4 - np.arange(points) / 200 + np.random.default_rng(seed).normal(0, 0.02, points))


def with_spikes(*places: int, points: int = 400, height: float = 3.0) -> np.ndarray:
    y = falling(points)
    for number, place in enumerate(places):
        y[place] += height + number
    return y


def store_of(step: Any = None, **tags: np.ndarray) -> RunStore:
    steps = np.arange(len(next(iter(tags.values())))) if step is None else np.asarray(step)
    return RunStore().adding([CurvePiece("a", steps, tags)])


def asked(store: RunStore, **options: Any) -> tuple[SmoothCurves, FigureSpec]:
    question = SmoothQuestion(**options).resolved(store)
    result = question.answer(store)
    return result, figure(question, result)


def points(spec: FigureSpec, kind: str) -> list[Points]:
    return [mark for _, mark in spec.marks() if isinstance(mark, Points) and mark.key.endswith(kind)]


def test_that_a_spike_is_marked_at_its_raw_peak_and_explained() -> None:
    y = with_spikes(250)
    _, spec = asked(store_of(loss=y))
    (mark,) = points(spec, "spike")
    assert (mark.x.tolist(), mark.y.tolist()) == ([250], [y[250]])
    assert mark.notes == (marks_of(store_of(loss=y).runs["a"])[0].what,)
    assert mark.origin == Keys("run", ("a",))
    assert not mark.label


def test_that_marks_can_be_left_out() -> None:
    result, spec = asked(store_of(loss=with_spikes(250)), marks=False)
    assert not points(spec, "spike")
    assert not any("Marked" in note for note in result.notes)


def test_that_only_the_highest_spikes_are_drawn_and_all_are_counted() -> None:
    y = with_spikes(*range(150, 690, 60), points=800)
    result, spec = asked(store_of(loss=y))
    (mark,) = points(spec, "spike")
    assert sorted(mark.x.tolist()) == [390, 450, 510, 570, 630]
    (note,) = [note for note in result.notes if "Marked" in note]
    assert note.startswith("Marked: 9 spikes,")
    assert "at most 5" in note


def test_that_a_peak_above_the_panel_is_marked_at_its_edge() -> None:
    _, spec = asked(store_of(loss=with_spikes(250, height=100)), tight_y=True)
    assert not points(spec, "spike")
    (edge,) = [mark for _, mark in spec.marks() if isinstance(mark, EdgeMarks)]
    assert (edge.edge, edge.x.tolist(), len(edge.notes)) == ("top", [250], 1)


def test_that_a_restart_is_a_dotted_jump_between_the_pieces_it_joins() -> None:
    step = np.concatenate([np.arange(300), np.arange(200, 300)])
    result, spec = asked(store_of(step, loss=falling()), smoother="none")
    (jump,) = [mark for _, mark in spec.marks() if isinstance(mark, Line) and mark.dash == "dotted"]
    y = result.curves[0].raw.y
    np.testing.assert_array_equal(jump.x[:2], [299, 200])
    np.testing.assert_array_equal(jump.y, [y[299], y[300], np.nan])
    assert jump.origin is None
    (mark,) = points(spec, "restart")
    assert "goes back from step 299 to 200" in mark.notes[0]


def test_that_a_curve_that_ended_as_nan_is_marked_at_its_last_value() -> None:
    y = falling()
    y[300:] = np.nan
    _, spec = asked(store_of(loss=y))
    (mark,) = points(spec, "divergence")
    assert (mark.x.tolist(), mark.y.tolist()) == ([299], [y[299]])


def test_that_a_jump_of_a_reward_is_no_spike() -> None:
    _, spec = asked(store_of(reward=with_spikes(250)))
    assert not points(spec, "spike")


@pytest.mark.parametrize("log", [{"log_x": True}, {"log_y": True}])
def test_that_what_a_log_axis_cannot_show_is_not_marked(log: dict[str, bool]) -> None:
    y = with_spikes(250) - 100
    _, spec = asked(store_of(np.arange(400) - 300, loss=y), **log)
    assert not points(spec, "spike")


def test_that_marks_stand_where_they_belong_along_an_x_that_lacks_points() -> None:
    y = with_spikes(250)
    tokens = CurvePiece("a", np.arange(50, 400, 50), {"tokens": np.arange(50, 400, 50) * 10.0})
    store = RunStore().adding([CurvePiece("a", np.arange(400), {"loss": y}), tokens])
    (curve,) = aligned(store, "loss", "tokens")
    assert curve.without_x == 99
    assert [curve.place_of(index) for index in (49, 50, 250, 350, 351)] == [-1, 0, 200, 300, -1]
    _, spec = asked(store, tag="loss", x="tokens")
    (mark,) = points(spec, "spike")
    assert (mark.x.tolist(), mark.y.tolist()) == ([2500], [y[250]])


def test_that_the_judgement_of_a_curve_is_remembered_with_it() -> None:
    run = store_of(loss=with_spikes(250)).runs["a"]
    assert marks_of(run) is marks_of(run)
