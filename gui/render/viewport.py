"""Where data lies on screen: a window in axis units laid over a rectangle of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pyqtgraph.functions import create_qpolygonf, ndarray_from_qpolygonf
from PySide6.QtCore import QRectF
from PySide6.QtGui import QPolygonF


@dataclass(frozen=True, slots=True)
class Viewport:
    """A window in axis units and the rectangle it fills.

    Attributes
    ----------
    left, right, bottom, top : float
        Ends of the window in axis units; `left` is below `right` and `bottom` below `top` also where an axis is inverted.
    width, height : float
        Logical pixels.
    x_inverted, y_inverted : bool
        Whether values fall to the right or upwards.
    ratio : float
        Device pixels in a logical one.
    """

    left: float
    right: float
    bottom: float
    top: float
    width: float
    height: float
    x_inverted: bool = False
    y_inverted: bool = False
    ratio: float = 1.0

    def x(self, values: Any) -> Any:
        """Give pixels from the left for places along x."""
        share = (np.asarray(values, dtype=float) - self.left) / (self.right - self.left)
        return (1.0 - share if self.x_inverted else share) * self.width

    def y(self, values: Any) -> Any:
        """Give pixels from the top for places along y."""
        share = (np.asarray(values, dtype=float) - self.bottom) / (self.top - self.bottom)
        return (share if self.y_inverted else 1.0 - share) * self.height

    def x_at(self, pixels: float) -> float:
        """Give the place along x at so many pixels from the left."""
        share = pixels / max(self.width, 1.0)
        return self.left + (1.0 - share if self.x_inverted else share) * (self.right - self.left)

    def y_at(self, pixels: float) -> float:
        """Give the place along y at so many pixels from the top."""
        share = pixels / max(self.height, 1.0)
        return self.bottom + (share if self.y_inverted else 1.0 - share) * (self.top - self.bottom)

    def place_of(self, other: Viewport) -> QRectF:
        """Give the rectangle that the window of another viewport fills in this one."""
        xs = sorted((float(self.x(other.left)), float(self.x(other.right))))
        ys = sorted((float(self.y(other.bottom)), float(self.y(other.top))))
        return QRectF(xs[0], ys[0], xs[1] - xs[0], ys[1] - ys[0])

    def shift_of(self, other: Viewport) -> tuple[int, int] | None:
        """Give the device pixels by which a picture of another viewport is moved to stand where it belongs in this one.

        None where a whole pixel does not do: the windows are not equally large, or one of them is mirrored.
        """
        if (self.width, self.height, self.ratio, self.x_inverted, self.y_inverted) != (
            other.width,
            other.height,
            other.ratio,
            other.x_inverted,
            other.y_inverted,
        ):
            return None
        place = self.place_of(other)
        if abs(place.width() - self.width) * self.ratio > 0.5 or abs(place.height() - self.height) * self.ratio > 0.5:
            return None
        if max(abs(place.left()), abs(place.top())) * self.ratio > 1e6:
            return None
        return round(place.left() * self.ratio), round(place.top() * self.ratio)


def polygon(px: np.ndarray, py: np.ndarray) -> QPolygonF:
    """Give points in pixels as Qt takes them."""
    made: QPolygonF = create_qpolygonf(len(px))
    memory = ndarray_from_qpolygonf(made)
    memory[:, 0] = px
    memory[:, 1] = py
    return made
