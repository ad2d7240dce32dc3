"""What lies behind the elements of a mark, and specs as plain JSON."""

from __future__ import annotations

import json
import math

import numpy as np

from runglass.models.figure import Clauses, FigureSpec, Keys, Line, Panel, to_json
from runglass.models.selection import AnyOf, Between, is_in

CLAUSES = Clauses("predictions", (Between("confidence", 0, 0.5), Between("confidence", 0.5, 1), is_in("item", ["a"])))


def test_that_elements_stand_for_their_keys_and_all_of_a_mark_for_its_one() -> None:
    assert Keys("run", ("a", "b", "c")).clause([0, 2]) == is_in("run", ["a", "c"])
    assert Keys("run", ("a",)).clause([5, 7]) == is_in("run", ["a"])


def test_that_elements_stand_for_any_of_their_clauses() -> None:
    assert CLAUSES.clause([1]) == CLAUSES.clauses[1]
    assert CLAUSES.clause([0, 2]) == AnyOf((CLAUSES.clauses[0], CLAUSES.clauses[2]))


def test_that_a_spec_is_plain_json_with_the_name_of_every_mark() -> None:
    line = Line(key="k", x=np.array([0.0, math.inf]), y=np.array([1.0, math.nan]), origin=CLAUSES)
    plain = to_json(FigureSpec(panels=(Panel(key="p", marks=(line,)),)))
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    (mark,) = plain["panels"][0]["marks"]
    assert (mark["mark"], mark["x"], mark["y"]) == ("Line", [0.0, "inf"], [1.0, "nan"])
    assert mark["origin"]["table"] == "predictions"
    assert len(mark["origin"]["clauses"]) == 3
