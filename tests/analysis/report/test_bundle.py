"""A figure and all that stands beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from runglass.analysis.report.bundle import caption, export_bundle
from runglass.models.errors import ExportError
from runglass.models.figure import FigureSpec


def test_that_a_bundle_holds_figure_numbers_caption_script_and_raw_data(
    samples: dict[str, FigureSpec], tmp_path: Path
) -> None:
    raw = pd.DataFrame({"run": ["a"], "value": [1.0]})
    files = export_bundle(samples["curves"], tmp_path, "loss", formats=("pdf", "svg"), style="icml", raw=raw)
    names = [file.name for file in files]
    assert names == ["loss.pdf", "loss.svg", "loss.csv", "loss.txt", "loss.py", "loss_raw.csv"]
    assert sorted(names) == sorted(file.name for file in tmp_path.iterdir())
    assert (tmp_path / "loss.txt").read_text() == "One run.\n"
    assert (tmp_path / "loss_raw.csv").read_text() == "run,value\na,1.0\n"


def test_that_a_figure_without_a_caption_says_its_title_and_subtitle() -> None:
    assert caption(FigureSpec(title="val/loss", subtitle="3 runs")) == "val/loss. 3 runs."


def test_that_a_name_with_a_slash_is_refused(samples: dict[str, FigureSpec], tmp_path: Path) -> None:
    with pytest.raises(ExportError):
        export_bundle(samples["curves"], tmp_path, "../loss")


@pytest.mark.parametrize("name", ["curves", "reliability", "grid", "time"])
def test_that_the_script_draws_the_figure_again_without_runglass(
    samples: dict[str, FigureSpec], tmp_path: Path, name: str
) -> None:
    export_bundle(samples[name], tmp_path, "fig 'one'", formats=("svg",), style="neurips")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    blocked = "import sys; sys.modules['runglass'] = None; import runpy; sys.argv = sys.argv[1:]; "
    run = "runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-W", "error", "-c", blocked + run, "fig 'one'.py", "again.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    from matplotlib.image import imread

    pixels = imread(tmp_path / "again.png")
    assert pixels.shape[1] == 550
    assert pixels[..., :3].min() < 0.5
