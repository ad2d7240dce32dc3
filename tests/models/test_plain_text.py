"""What is shown of a name of others acts on nothing around it."""

import pytest

from runglass.__main__ import main
from runglass.models.plain_text import plain
from runglass.models.run_names import telling_names
from runglass.models.table_look import cell_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 数 🙂", "plain ü 数 🙂"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\u2066b\u2069", r"a\u2066b\u2069"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\u05d0\u200f \u200d", "\u05d0\u200f \u200d"),
        ("\x85\x9b31m\r", r"\x85\x9b31m\x0d"),
    ],
)
def test_that_only_what_acts_on_its_surroundings_is_spelled_out(text, shown):
    assert plain(text) == shown
    assert cell_text(text) == shown


def test_that_short_names_of_runs_are_plain():
    assert telling_names(["r/\x1b[2J", "r/b"]) == {"r/\x1b[2J": r"\x1b[2J", "r/b": "b"}
    assert telling_names(["r/\u202ex"]) == {"r/\u202ex": r"\u202ex"}


def test_that_no_name_commands_the_terminal(tmp_path, capsys):
    for name in ("\x1b[2Jgone", "\u202eexe"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.csv").write_text("step,\x1b]0;title\x07loss\n1,2\n2,1\n")
    (tmp_path / "\x1b[31mbroken.npz").write_bytes(b"PK\x03\x04")
    main(["inspect", str(tmp_path)])
    told = "".join(capsys.readouterr())
    assert r"\x1b[2Jgone" in told
    assert not {"\x1b", "\x07", "\u202e"} & set(told)
