"""Words that fit: measured, cut, wrapped, and checked for what the reader could not read."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Text as Words
from matplotlib.transforms import Bbox


def width_of(figure: Figure, text: str, size: float, weight: str = "normal") -> float:
    """Give the width of some words in points."""
    words = Words(0, 0, text, fontsize=size, fontweight=weight)
    words.set_figure(figure)
    return float(words.get_window_extent().width) * 72 / figure.dpi


def cut(figure: Figure, text: str, size: float, room: float, weight: str = "normal") -> str:
    """Give `text`, cut in the middle where it is wider than `room` points."""
    if width_of(figure, text, size, weight) <= room:
        return text
    keep = len(text)
    while keep > 4:
        keep -= max(1, keep // 12)
        front = -(-keep * 3 // 5)
        short = f"{text[:front]}…{text[len(text) - (keep - front) :]}"
        if width_of(figure, short, size, weight) <= room:
            return short
    return short if len(text) > 4 else text


def wrapped(figure: Figure, text: str, size: float, room: float, *, most: int, weight: str = "normal") -> list[str]:
    """Give `text` in lines no wider than `room` points, at most so many; what is still too long is cut in the middle."""
    if not text:
        return []
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and width_of(figure, longer, size, weight) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    if len(lines) > most:
        lines[most - 1 :] = [" ".join(lines[most - 1 :])]
    return [cut(figure, line, size, room, weight) for line in lines]


def _words(figure: Figure) -> list[Words]:
    figure.draw_without_rendering()  # saving leaves words where they were at its resolution
    hidden: set[int] = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            slack = (high - low) * 1e-6
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                shown = low - slack <= tick.get_loc() <= high + slack
                hidden |= {id(label) for label in (tick.label1, tick.label2) if not shown or not label.get_visible()}
    found: list[Any] = figure.findobj(Words)
    return [words for words in found if words.get_text().strip() and words.get_visible() and id(words) not in hidden]


def words_of(figure: Figure) -> list[tuple[str, Bbox]]:
    """Give all words that are seen in a figure, with their boxes in pixels."""
    return [(words.get_text(), words.get_window_extent()) for words in _words(figure)]


def clipped_words(figure: Figure) -> list[str]:
    """Give the words of a figure that reach over its edge."""
    page = figure.bbox.padded(0.5)
    return [
        text
        for text, box in words_of(figure)
        if box.x0 < page.x0 or box.y0 < page.y0 or box.x1 > page.x1 or box.y1 > page.y1
    ]


def colliding_words(figure: Figure) -> list[tuple[str, str]]:
    """Give the pairs of words of a figure that overlap; slanted ones, whose boxes say little, are passed over."""
    seen = [
        (one.get_text(), one.get_window_extent().padded(-0.75)) for one in _words(figure) if not one.get_rotation() % 90
    ]
    return [
        (text, other)
        for number, (text, box) in enumerate(seen)
        for other, other_box in seen[:number]
        if box.overlaps(other_box)
    ]
