"""Whether paths answer: those that are missing or refuse do, those that hang do not."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from runglass.models.answering import Answering


def test_that_what_is_there_what_is_missing_and_patterns_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    paths = [str(tmp_path), str(tmp_path / "file"), str(tmp_path / "gone"), str(tmp_path / "*" / "a?"), "*.no", "nul\0"]
    assert Answering(5.0).silent(paths) == frozenset()


def test_that_a_path_that_hangs_is_silent_until_it_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, began = threading.Event(), os.stat

    def stat(path: str, *arguments: object, **named: object) -> os.stat_result:
        if str(path).endswith("stuck"):
            answer.wait(20)
        return began(path, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", stat)
    stuck, there = str(tmp_path / "stuck"), str(tmp_path)
    asking = Answering(0.2)
    assert asking.silent([stuck, there, stuck]) == {stuck}
    assert asking.silent([stuck]) == {stuck}  # it has had its time: nobody waits for it again
    answer.set()
    thread = asking._asked[stuck]
    thread.join(5)
    assert asking.silent([stuck, there]) == frozenset()
