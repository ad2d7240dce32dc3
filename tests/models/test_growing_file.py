"""Lines of a file that is still being written, many at a time."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runglass.models import growing_file
from runglass.models.errors import ReadError
from runglass.models.growing_file import continues, lines, marks, rewritten


@given(data=st.text("ab\n", max_size=200), start=st.integers(0, 50), block=st.integers(1, 300))
def test_that_blocks_of_any_size_hold_every_line_once(data: str, start: int, block: int) -> None:
    content = data.encode()
    blocks = list(lines(io.BytesIO(content), start, len(content), block))
    assert b"".join(one.data for one in blocks) == content[start:]
    assert all(one.ended for one in blocks[:-1])
    ends = [start + sum(len(one.data) for one in blocks[: number + 1]) for number in range(len(blocks))]
    assert [one.end for one in blocks] == ends
    # A last line without its end comes alone.
    if blocks and not blocks[-1].ended:
        assert b"\n" not in blocks[-1].data


@pytest.mark.parametrize("block", [8, 1000])
def test_that_a_file_that_shrinks_while_it_is_read_gives_what_is_left(block: int) -> None:
    found = list(lines(io.BytesIO(b"one\ntwo\nthr"), 0, 500, block))
    assert [one.data for one in found] == ([b"one\ntwo\n", b"thr"])


@pytest.mark.parametrize("block", [8, 1000])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_that_a_line_longer_than_any_log_has_is_refused(
    block: int, end: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing_file, "MAX_LINE_BYTES", 20)
    content = b"short\n" + b"x" * 40 + (end if block == 8 else b"")
    with pytest.raises(ReadError, match="so it is no log"):
        list(lines(io.BytesIO(content), 0, len(content), block))


def test_that_a_file_goes_on_as_long_as_its_beginning_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"one\ntwo\n")
    with open(path, "rb") as file:
        known = marks(file, 8)
    path.write_bytes(b"one\ntwo\nthree\n")
    with open(path, "rb") as file:
        assert continues(file, 14, 8, known)
    assert rewritten({str(path): 8}, {str(path): known}) == ""
    path.write_bytes(b"one\nTWO\nthree\n")
    assert rewritten({str(path): 8}, {str(path): known}) == "a.log was written anew; the run was read again."
    path.unlink()
    assert rewritten({str(path): 8}, {str(path): known}) == "a.log is gone; the run was read again."
