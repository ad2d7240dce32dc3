"""Exported files: exact, embedded, white, whole or not there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from runglass.analysis.report.atomic import write_whole
from runglass.analysis.report.export import FORMATS, export_figure, figure_bytes
from runglass.analysis.report.styles import style_named, styles
from runglass.models.errors import ExportError
from runglass.models.figure import FigureSpec
from runglass.resources import palettes

WIDTHS = {
    "icml": 3.25, "icml-double": 6.75, "aistats": 3.25, "aistats-double": 6.75, "uai": 3.25, "uai-double": 6.75,
    "cvpr": 3.25, "cvpr-double": 6.875, "aaai": 3.3, "aaai-double": 6.975, "neurips": 5.5, "iclr": 5.5, "jmlr": 6.0,
    "tmlr": 6.5, "eccv": 4.8, "ieee": 3.5, "nature": 3.5,
}  # fmt: skip


def test_that_the_venues_have_their_widths() -> None:
    assert {key: style.width for key, style in styles().items() if key in WIDTHS} == WIDTHS


def test_that_an_unknown_style_is_refused_with_those_there_are() -> None:
    with pytest.raises(ExportError) as caught:
        style_named("nips")
    assert "neurips" in caught.value.remedy
    assert style_named("NeurIPS").width == 5.5


def test_that_every_font_of_a_style_shows_the_letters_it_is_asked_for() -> None:
    """matplotlib's own cmr10 draws ± as ffi and ³ as 1."""
    from matplotlib.font_manager import fontManager, get_font

    wanted = {family for style in styles().values() for family in style.fonts}
    files = {entry.fname for entry in fontManager.ttflist if entry.name in wanted and entry.fname.endswith(".ttf")}
    assert files
    for file in files:
        font = get_font(file)
        shown = {letter: font.get_glyph_name(font.get_char_index(ord(letter))) for letter in "±1A"}
        assert shown == {"±": "plusminus", "1": "one", "A": "A"}, file


@pytest.mark.skipif(not shutil.which("pdfinfo"), reason="no poppler-utils")
@pytest.mark.parametrize("style", ["neurips", "jmlr", "aaai-double"])
def test_that_a_pdf_has_the_exact_width_and_true_type_fonts(
    samples: dict[str, FigureSpec], tmp_path: Path, style: str
) -> None:
    path = tmp_path / "law.pdf"
    export_figure(samples["law"], path, style)
    info = subprocess.run(["pdfinfo", path], capture_output=True, text=True, check=True).stdout
    width = re.search(r"Page size: +([\d.]+) x", info)
    assert width is not None
    assert float(width[1]) == pytest.approx(72 * WIDTHS[style], abs=1e-3)
    fonts = subprocess.run(["pdffonts", path], capture_output=True, text=True, check=True).stdout.splitlines()[2:]
    assert fonts
    assert all("TrueType" in font and " yes yes " in font for font in fonts)


def test_that_the_page_is_white(samples: dict[str, FigureSpec]) -> None:
    from io import BytesIO

    from matplotlib.image import imread

    pixels = imread(BytesIO(figure_bytes(samples["law"], "png", dpi=100)))
    assert pixels[0, :, :3].min() == pixels[:, 0, :3].min() == 1.0
    assert pixels[..., 3].min() == 1.0
    assert pixels.shape[1] == 700


@pytest.mark.parametrize("kind", FORMATS)
def test_that_the_same_figure_is_the_same_file(samples: dict[str, FigureSpec], kind: str) -> None:
    once = figure_bytes(samples["curves"], kind, "neurips")
    assert once == figure_bytes(samples["curves"], kind, "neurips")
    assert not re.search(rb"CreationDate|<dc:date>|20[2-9]\d-[01]\d-", once)


def test_that_words_of_an_svg_stay_words(samples: dict[str, FigureSpec]) -> None:
    assert b"training compute (FLOPs)" in figure_bytes(samples["law"], "svg")


def test_that_an_eps_has_the_width_and_the_title(samples: dict[str, FigureSpec]) -> None:
    data = figure_bytes(samples["curves"], "eps", "neurips")
    assert b"%%HiResBoundingBox: 0.000000 0.000000 396.000000" in data
    assert b"%%Title: val/loss" in data


@pytest.mark.parametrize(
    ("path", "said"),
    [("nowhere/figure.pdf", "no folder"), ("figure.tiff", ".pdf"), ("", "a figure cannot be written")],
)
def test_that_what_cannot_be_written_is_said_with_a_remedy(
    samples: dict[str, FigureSpec], tmp_path: Path, path: str, said: str
) -> None:
    with pytest.raises(ExportError) as caught:
        export_figure(samples["law"], tmp_path / path)
    assert said.lower() in str(caught.value).lower()
    assert caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_that_a_folder_in_the_place_of_the_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "figure.pdf").mkdir()
    with pytest.raises(ExportError, match="is a folder"):
        write_whole(tmp_path / "figure.pdf", b"x")
    assert [one.name for one in tmp_path.iterdir()] == ["figure.pdf"]


def test_that_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(pipe, b"words")
        assert os.read(reading, 10) == b"words"
    finally:
        os.close(reading)
    assert pipe.is_fifo()


def test_that_an_old_file_stays_when_a_new_one_cannot_be_drawn(samples: dict[str, FigureSpec], tmp_path: Path) -> None:
    path = tmp_path / "figure.pdf"
    path.write_bytes(b"old")
    with pytest.raises(ExportError):
        export_figure(samples["law"], path, dpi=1e9)
    with pytest.raises(ExportError, match="nothing to draw"):
        export_figure(FigureSpec(), path)
    assert path.read_bytes() == b"old"
    export_figure(samples["law"], path)
    assert path.read_bytes().startswith(b"%PDF")
    assert len(list(tmp_path.iterdir())) == 1


def test_that_a_palette_goes_with_a_style_and_an_unknown_one_is_refused_with_those_there_are() -> None:
    name = palettes.palettes()[-1].name
    assert style_named("icml", name).palette == name
    with pytest.raises(ExportError, match="no palette called 'nowhere'") as caught:
        style_named("icml", "nowhere")
    assert name in caught.value.remedy


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_that_a_full_device_is_said() -> None:
    with pytest.raises(ExportError, match="cannot be written: No space left"):
        write_whole(Path("/dev/full"), b"x" * 100_000)


def test_that_another_format_is_refused_with_those_there_are() -> None:
    with pytest.raises(ExportError, match="no format 'docx'") as caught:
        figure_bytes(FigureSpec(), "docx")
    assert "pdf" in caught.value.remedy
