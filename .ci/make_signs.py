"""Make `resources/icons/signs.json`: the outlines of the icons the window uses.

Usage, with ``qtawesome`` (only for its fonts) and ``fonttools`` installed beside Runglass::

    python .ci/make_signs.py [NAME...]

Names (``ph.list``, ``mdi6.close``) are added to those that are there. An outline is an SVG path of absolute commands in a
square of 1000 by 1000, placed as the font would set the sign in it. Phosphor (``ph``) is under the MIT licence, Material Design
Icons (``mdi6``) under Apache-2.0.
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

from fontTools.pens.svgPathPen import SVGPathPen
from fontTools.pens.transformPen import TransformPen
from fontTools.ttLib import TTFont

FILE = Path(__file__).parent.parent / "resources" / "icons" / "signs.json"
FONTS = {"ph": "phosphor", "mdi6": "materialdesignicons6"}
SIDE, SHARE = 1000, 0.875
"""The square, and the part of it that an em takes."""


def outline(name: str, fonts: Path) -> str:
    """Give the outline of a sign.

    Raises
    ------
    KeyError
        When there is no such sign.
    """
    prefix, _, sign = name.partition(".")
    font = TTFont(next(fonts.glob(f"{FONTS[prefix]}*.ttf")))
    charmap = json.loads(next(fonts.glob(f"{FONTS[prefix]}*charmap*.json")).read_text())
    glyph = font.getBestCmap()[int(charmap[sign], 16)]
    glyphs, metrics = font.getGlyphSet(), font["hhea"]
    scale = SHARE * SIDE / font["head"].unitsPerEm
    left = (SIDE - glyphs[glyph].width * scale) / 2
    baseline = (SIDE + (metrics.ascent + metrics.descent) * scale) / 2
    pen = SVGPathPen(glyphs, ntos=lambda value: f"{value:.5g}")
    glyphs[glyph].draw(TransformPen(pen, (scale, 0, 0, -scale, left, baseline)))
    return pen.getCommands()


def main() -> None:
    """Write the outlines."""
    found = find_spec("qtawesome")
    assert found is not None, "qtawesome is not installed"
    assert found.origin is not None
    fonts = Path(found.origin).parent / "fonts"
    known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
    names = sorted({*known, *sys.argv[1:]})
    FILE.write_text(json.dumps({name: outline(name, fonts) for name in names}, indent=1) + "\n", encoding="utf-8")
    print(f"{FILE.name}: {len(names)} signs")


if __name__ == "__main__":
    main()
