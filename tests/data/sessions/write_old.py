"""Writes a session file with the code of an earlier commit: ``python tests/data/sessions/write_old.py COMMIT ...``.

Every field that the session of that commit has is given a value that is not its default. The files beside this script are what
it wrote; they stay, and newer commits are added when the format changes.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]

WRITE = """
import dataclasses, sys
from pathlib import Path
from typing import get_args, get_type_hints
from runglass.models import session as sessions
from runglass.models.column_map import ColumnMap
from runglass.models.selection import All, Between, Holds, is_in

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
kinds = get_args(get_type_hints(sessions.Pane)["kind"])
said = {
    "analysis": {"analysis": "compat.flips", "question": {"old": "v1", "new": "v2", "level": 0.9}, "title": "Flips"},
}
panes = tuple(sessions.Pane(key=f"{kind}-1", kind=kind, **said.get(kind, {})) for kind in kinds)
curves = {
    "smoother": "ema", "weight": 0.9, "x": "tokens", "log_x": True, "log_y": True, "tight_y": True, "tag_filter": "loss",
    "pinned": ("train/loss",), "columns": 2, "marks": False, "centre": "median", "band": "sd", "level": 0.9,
    "opened": ("lr=0.1",),
}
known = {field.name for field in dataclasses.fields(sessions.CurveView)}
values = {
    "roots": (str(folder / "runs"),), "ticked": frozenset({"runs/a", "runs/b"}), "run_filter": "a|b",
    "run_events": ("restart",), "grouping": sessions.Grouping(("seed",), everything_except=True),
    "run_columns": ("last:loss",),
    "curves": sessions.CurveView(**{name: value for name, value in curves.items() if name in known}),
    "maps": (ColumnMap((("params", "N"),), (("tokens", "flops/6"),), "*.csv", "runs"),),
    "filter": All((Holds("loss < 3"), Between("step", 0.0, 100.0))), "highlight": is_in("item", "ab"),
    "step_cursor": 12.5, "panes": panes, "focus": panes[0].key, "theme": "dark", "follow": False, "health": False,
    "layout": "abc", "brush_mode": "and",
}
if hasattr(sessions, "TextPattern"):
    values["text_patterns"] = (sessions.TextPattern("mine", "*.log", "loss (?P<loss>[0-9.]+)"),)
if hasattr(sessions, "RunNote"):
    values["run_notes"] = (sessions.RunNote("runs/a", "odd", ("bad",)),)
if hasattr(sessions, "Report"):
    values["report"] = sessions.Report("Report", "Text", (sessions.ReportPart(panes[0].key, "Part", "Said"),))
known = {field.name for field in dataclasses.fields(sessions.Session)}
sessions.save(sessions.Session(**{name: value for name, value in values.items() if name in known}), out)
"""


def write(commit: str) -> Path:
    """Write the session file of a commit beside this script."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    named = subprocess.run(
        ["git", "rev-parse", "--short", commit], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    with tempfile.TemporaryDirectory() as made:
        package = Path(made) / "code" / "runglass"
        with tarfile.open(fileobj=io.BytesIO(archive)) as file:
            file.extractall(package, filter="data")
        out = Path(made) / f"{named}.runglass.json"
        path = f"import sys; sys.path.insert(0, {str(package.parent)!r})\n"
        # No folder of the checkout may stand in for that of the commit.
        subprocess.run([sys.executable, "-P", "-c", path + WRITE, made, str(out)], cwd=made, check=True)
        kept = HERE / out.name
        kept.write_bytes(out.read_bytes())
    return kept


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("commits", nargs="+")
    for commit in parser.parse_args().commits:
        print(write(commit).name)
