"""One fitting engine for all scaling laws: log-space parameters, robust losses, many starts solved as one batch.

A `Powers` form is a sum of terms whose logarithms are linear in the parameters, y = sum_k exp(level_k + sum_j e_j v_kj):
E + A / N^alpha + B / D^beta and its relatives. Anything else with a value and a Jacobian can be a form too (`Form`).

Starts come from variable projection: on a grid of exponents the levels have a closed form (Golub and Pereyra 1973). The
starts, the refits of a bootstrap and the points of a profile are each one batch for `minimise`, a BFGS (Nocedal and Wright
2006, ch. 6) that carries many small problems at once with analytic gradients.

The optimiser is not believed: a `Fit` says how many starts agreed, what lies on a bound and how ill-conditioned it is.
Numeric gradients are never used: warm-started refits then stop early and give intervals far too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np

from ..models.engine import LOCAL, Engine
from ..models.progress import Progress, quiet
from .resampling import DRAWS, bootstrap, expanded_level

FEW = 10
"""Points below which the bootstrap gives way to the t approximation."""
ILL = 1e10
"""Condition number of the Fisher information above which parameters are called not identified (scaling.identifiability)."""
_SEEN = 1e-6
_LEAST_LEVEL = 18.0
"""exp(-18) of the data is as good as nothing: the lower bound of a level."""
_STARTS = 12
_PATIENCE = 16
"""Evaluations after which a search that gained nothing ends."""

ObjectiveName = Literal["log-huber", "likelihood", "squares"]


class Form(Protocol):
    """What can be fitted: a function of parameters, for many sets of parameters at once."""

    names: tuple[str, ...]

    def value(self, theta: np.ndarray) -> tuple[np.ndarray, Any]:
        """Give the function, shape (m, n), for parameters of shape (m, p), and what `gradient` needs of it."""
        ...

    def gradient(self, state: Any, outer: np.ndarray) -> np.ndarray:
        """Give sum_i outer_i d f_i / d theta, shape (m, p), for `outer` of shape (m, n)."""
        ...

    def jacobian(self, state: Any) -> np.ndarray:
        """Give d f / d theta, shape (m, n, p)."""
        ...


class ByJacobian:
    """What a form has whose gradient is made from its Jacobian."""

    def jacobian(self, state: Any) -> np.ndarray:
        """Give d f / d theta, shape (m, n, p)."""
        raise NotImplementedError

    def gradient(self, state: Any, outer: np.ndarray) -> np.ndarray:
        """Give sum_i outer_i d f_i / d theta, shape (m, p)."""
        return np.asarray((outer[:, None, :] @ self.jacobian(state))[:, 0])


@dataclass(frozen=True, slots=True)
class Term:
    """One term of a sum, exp(level + sum e v).

    Attributes
    ----------
    level : str
        Name of the parameter that is the logarithm of its factor.
    powers : tuple of (str, ndarray)
        Name of each exponent and the logarithm it multiplies, shape (n,): -log N for A / N^alpha. Terms may share
        exponents. None makes the term a constant.
    """

    level: str
    powers: tuple[tuple[str, np.ndarray], ...] = ()


class Powers:
    """The logarithm of a sum of terms, over centred logarithms.

    Parameters
    ----------
    terms : sequence of Term
    n : int
        Number of points.
    at_zero : str
        Level whose logarithms are not centred inside: a profile of it is then of what papers write. Centring makes the search
        short, so all others are.

    Attributes
    ----------
    names : tuple of str
        Levels in the order of the terms, then exponents. Inside, a level is that at the mean of its logarithms; `outward`
        gives it at 0, as papers write it.
    """

    def __init__(self, terms: Sequence[Term], n: int, *, at_zero: str = "") -> None:
        self.terms = tuple(terms)
        self.n = n
        levels = [term.level for term in terms]
        self.exponents = tuple(dict.fromkeys(name for term in terms for name, _ in term.powers))
        self.names = (*levels, *self.exponents)
        place = {name: number for number, name in enumerate(self.names)}
        self._columns = [[place[term.level], *(place[name] for name, _ in term.powers)] for term in terms]
        self.to_outward = np.eye(len(self.names))
        self._designs = []
        for number, term in enumerate(terms):
            rows = [np.ones(n)]
            for name, logs in term.powers:
                middle = 0.0 if term.level == at_zero else float(np.mean(logs))
                rows.append(np.asarray(logs, float) - middle)
                self.to_outward[number, place[name]] = -middle
            self._designs.append(np.ascontiguousarray(np.stack(rows)))
        self._transposed = [np.ascontiguousarray(design.T) for design in self._designs]

    def outward(self, theta: np.ndarray) -> np.ndarray:
        """Give parameters with levels at 0, of shape (..., p), from centred ones."""
        return np.asarray(theta @ self.to_outward.T)

    def inward(self, theta: np.ndarray) -> np.ndarray:
        """Give centred parameters from those of papers."""
        return np.asarray(theta @ np.linalg.inv(self.to_outward).T)

    def value(self, theta: np.ndarray) -> tuple[np.ndarray, Any]:
        """Give log y, shape (m, n), and its parts."""
        parts: list[np.ndarray] = []
        total: np.ndarray | None = None
        for columns, design in zip(self._columns, self._designs, strict=True):
            part = theta[:, columns] @ design if len(columns) > 1 else theta[:, columns].copy()
            np.exp(part, out=part)
            parts.append(part)
            total = part if total is None else total + part
        assert total is not None
        if total.shape[1] == 1:
            total = np.repeat(total, self.n, axis=1)
        return np.log(total), (parts, total)

    def gradient(self, state: Any, outer: np.ndarray) -> np.ndarray:
        """Give sum_i outer_i d log y_i / d theta, shape (m, p)."""
        parts, total = state
        share = outer / total
        gradient = np.zeros((len(outer), len(self.names)))
        for columns, part, transposed in zip(self._columns, parts, self._transposed, strict=True):
            if part.shape[1] == 1:
                gradient[:, columns[0]] += share.sum(axis=1) * part[:, 0]
            else:
                gradient[:, columns] += (share * part) @ transposed
        return gradient

    def jacobian(self, state: Any) -> np.ndarray:
        """Give d log y / d theta, shape (m, n, p)."""
        parts, total = state
        jacobian = np.zeros((*total.shape, len(self.names)))
        for columns, part, transposed in zip(self._columns, parts, self._transposed, strict=True):
            jacobian[:, :, columns] += (part / total)[:, :, None] * transposed[None]
        return jacobian

    def starts(self, y: np.ndarray, weights: np.ndarray, delta: float, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Give laws to start from, shape (starts, p): the best of a grid of exponents, apart from one another.

        Parameters
        ----------
        y : ndarray, shape (n,)
            What is fitted, not its logarithm.
        low, high : ndarray, shape (p,)
            Bounds.
        """
        k = len(self.terms)
        grid = _grid(low[k:], high[k:])
        # A term depends on its own exponents only: its few distinct curves are made once, and shared by the grid.
        curves: list[np.ndarray] = []
        place = np.empty((len(grid), k), dtype=np.intp)
        for number, (columns, design) in enumerate(zip(self._columns, self._designs, strict=True)):
            own, inverse = np.unique(grid[:, [column - k for column in columns[1:]]], axis=0, return_inverse=True)
            place[:, number] = sum(map(len, curves)) + inverse.ravel()
            curves.append(np.exp(own @ design[1:]) if own.shape[1] else np.ones((1, self.n)))
        basis = np.concatenate(curves)
        scaled = basis * (np.sqrt(weights) / y)
        gram = (scaled @ scaled.T)[place[:, :, None], place[:, None, :]]
        levels = _nonnegative(gram, (scaled @ np.sqrt(weights))[place])
        # A term that least squares sets to zero starts at a thousandth of the data instead: its logarithm can still move.
        middle = np.exp(np.mean(np.log(np.maximum(basis, 1e-300)), axis=1))
        levels = np.maximum(levels, 1e-3 * np.exp(np.mean(np.log(y))) / middle[place])
        spread = np.zeros((len(grid), len(basis)))
        np.add.at(spread, (np.arange(len(grid))[:, None], place), levels)
        residual = np.log(spread @ (basis / y))
        psi = np.clip(residual, -delta, delta)
        costs = (psi * (residual - psi / 2)) @ weights
        theta = np.concatenate([np.log(levels), grid], axis=1)
        chosen: list[int] = []
        logs, costs = np.log(grid), np.where(np.isfinite(costs), costs, np.inf)
        while len(chosen) < _STARTS and np.isfinite(costs.min()):
            chosen.append(int(costs.argmin()))
            near = np.abs(logs - logs[chosen[-1]]).max(axis=1, initial=0.0) <= 0.4
            costs[near] = np.inf
        return np.asarray(np.clip(theta[chosen], low, high))

    def bounds(self, y: np.ndarray, least: float, most: float) -> tuple[np.ndarray, np.ndarray]:
        """Give the bounds of centred parameters: levels between nothing and a hundred times the data, exponents between
        `least` and `most`.
        """
        middle = float(np.mean(np.log(y)))
        k, exponents = len(self.terms), len(self.exponents)
        low = np.array([middle - _LEAST_LEVEL] * k + [least] * exponents)
        high = np.array([middle + 5.0] * k + [most] * exponents)
        for number, columns in enumerate(self._columns):
            if len(columns) == 1:
                high[number] = float(np.log(y).max())
        return low, high


class InUnits:
    """A sum of powers itself instead of its logarithm: residuals are then in the unit of the data."""

    def __init__(self, powers: Powers) -> None:
        self.powers = powers
        self.names = powers.names

    def value(self, theta: np.ndarray) -> tuple[np.ndarray, Any]:
        """Give y, shape (m, n), and its parts."""
        _, (parts, total) = self.powers.value(theta)
        return total, (parts, total)

    def gradient(self, state: Any, outer: np.ndarray) -> np.ndarray:
        """Give sum_i outer_i d y_i / d theta, shape (m, p)."""
        return self.powers.gradient(state, outer * state[1])

    def jacobian(self, state: Any) -> np.ndarray:
        """Give d y / d theta, shape (m, n, p)."""
        return np.asarray(self.powers.jacobian(state) * state[1][..., None])


def _grid(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Give a grid of exponents, shape (points, exponents): 64 values of one, 32 by 32 of two, else 1,024 spread evenly."""
    if not len(low):
        return np.zeros((1, 0))
    least = np.maximum(low, 0.02)
    if len(low) <= 2:
        axes = [np.geomspace(a, b, 64 if len(low) == 1 else 32) for a, b in zip(least, high, strict=True)]
        return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)
    # An additive recurrence on the generalised golden ratio fills the cube evenly (Roberts 2018).
    ratio = 1.5
    for _ in range(50):
        ratio = (1 + ratio) ** (1 / (len(low) + 1))
    cube = (0.5 + np.arange(1, 1025)[:, None] * ratio ** -np.arange(1, len(low) + 1)) % 1
    return np.asarray(np.exp(np.log(least) + cube * (np.log(high) - np.log(least))))


def _nonnegative(gram: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Give non-negative least squares for many small problems: the best of all subsets of terms that needs no bound."""
    k = gram.shape[1]
    best = np.zeros(moments.shape)
    gains = np.full(len(gram), -np.inf)
    for subset in range(1, 2**k):
        inside = [number for number in range(k) if subset >> number & 1]
        part = gram[:, inside][:, :, inside]
        scale = np.sqrt(np.einsum("gii->gi", part))
        ridge = 1e-12 * np.eye(len(inside))
        found = np.linalg.solve(
            part / (scale[:, :, None] * scale[:, None, :]) + ridge, (moments[:, inside] / scale)[..., None]
        )
        coefficients = found[..., 0] / scale
        gain = (coefficients * moments[:, inside]).sum(axis=1)
        better = (coefficients > 0).all(axis=1) & (gain > gains)
        gains[better] = gain[better]
        best[better] = 0.0
        best[np.ix_(better, inside)] = coefficients[better]
    return best


def best_factors(shapes: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Give the factors of terms that fit y best relative to y, none below 0, for many shapes of the terms at once.

    With these a search starts where only what is not linear has to be on a grid (variable projection).

    Parameters
    ----------
    shapes : ndarray, shape (grid, terms, n)
        Terms without their factors, for every point of a grid.
    y : ndarray, shape (n,)
        Above 0.

    Returns
    -------
    ndarray, shape (grid, terms)
        A factor that would be 0 is a thousandth of what makes its term as large as the data: its logarithm can move.
    """
    scaled = shapes / y
    factors = _nonnegative(scaled @ np.swapaxes(scaled, 1, 2), scaled.sum(axis=2))
    least = 1e-3 / np.maximum(np.exp(np.mean(np.log(np.maximum(scaled, 1e-300)), axis=2)), 1e-300)
    return np.asarray(np.maximum(factors, least))


@dataclass(frozen=True, slots=True)
class Objective:
    """What is minimised, over residuals r = f(theta) - target.

    Attributes
    ----------
    name : {'log-huber', 'likelihood', 'squares'}
        'log-huber' is the sum (never the mean) of Huber's loss (1964) at `delta`. 'likelihood' is minus the log
        likelihood of the density proportional to exp(-Huber(r / scale)), whose scale is fitted too: with the small delta
        of the field that is least absolute deviations. 'squares' is half the sum of squares.
    delta : float
        Where Huber's loss turns from square to linear; in units of the scale for 'likelihood'.
    """

    name: ObjectiveName = "log-huber"
    delta: float = 1e-3

    def deltas(self, spread: float) -> tuple[float, ...]:
        """Give the deltas to solve for one after the other; the kinks of 'likelihood' are sharpened step by step.

        Parameters
        ----------
        spread : float
            Mean absolute residual.
        """
        match self.name:
            case "squares":
                return (math.inf,)
            case "log-huber":
                return (self.delta,)
        return tuple(max(spread, 1e-12) * factor for factor in (0.3, 0.05, 0.005))

    def at(self, residuals: np.ndarray, weights: np.ndarray | None = None) -> float:
        """Give the objective of residuals, shape (n,)."""
        weights = np.ones(len(residuals)) if weights is None else weights
        if self.name == "likelihood":
            return -log_likelihood(residuals, self.delta, weights)
        return float(_huber(residuals, math.inf if self.name == "squares" else self.delta) @ weights)


def _huber(residuals: np.ndarray, delta: float) -> np.ndarray:
    psi = np.clip(residuals, -delta, delta)
    return np.asarray(psi * (residuals - psi / 2))


def log_likelihood(residuals: np.ndarray, delta: float = 1e-3, weights: np.ndarray | None = None) -> float:
    """Give the log likelihood of residuals, shape (n,), under the Huber density at its best scale.

    The density of x = r / scale is exp(-Huber_delta(x)) / Z with Z = sqrt(2 pi) (1 - 2 Phi(-delta)) + 2 exp(-delta^2 / 2) /
    delta (Besiroglu et al. 2024, *Chinchilla scaling: a replication attempt*).
    """
    from scipy.special import ndtr

    weights = np.ones(len(residuals)) if weights is None else weights
    n = float(weights.sum())
    scale = delta * float(weights @ np.abs(residuals)) / n
    if scale <= 0:
        return math.inf
    for _ in range(100):
        psi = np.clip(residuals / scale, -delta, delta)
        new = float(weights @ (psi * residuals)) / n
        if abs(new - scale) <= 1e-13 * scale:
            break
        scale = new
    normaliser = math.sqrt(2 * math.pi) * (1 - 2 * float(ndtr(-delta))) + 2 * math.exp(-(delta**2) / 2) / delta
    return -float(weights @ _huber(residuals / scale, delta)) - n * math.log(scale * normaliser)


def minimise(
    form: Form,
    target: np.ndarray,
    weights: np.ndarray,
    theta: np.ndarray,
    *,
    delta: float,
    low: np.ndarray,
    high: np.ndarray,
    fixed: np.ndarray | None = None,
    tolerance: float = 1e-12,
    evaluations: int = 400,
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise sum_i w_i Huber_delta(f_i(theta) - target_i) for many problems at once.

    BFGS with backtracking, started from the inverse of the matrix of iteratively reweighted least squares. Every problem
    keeps its own step: one evaluation of the whole batch moves those whose step was good and shortens the step of the
    others. A parameter on a bound that would leave it stands still.

    Parameters
    ----------
    target : ndarray, shape (n,) or (m, n)
    weights : ndarray, shape (n,) or (m, n)
    theta : ndarray, shape (m, p)
        Where to start.
    delta : float
        Infinite for least squares.
    low, high : ndarray, shape (p,)
        Bounds, both included.
    fixed : ndarray of bool, shape (p,), optional
        Parameters that do not move.
    tolerance : float
        Expected decrease, relative to the objective, at which a problem is solved; also a decrease over sixteen evaluations
        that is none.

    Returns
    -------
    theta, cost : ndarray, shapes (m, p) and (m,)
    """
    m, p = theta.shape
    weights = np.broadcast_to(weights, (m, target.shape[-1]))
    result = np.clip(theta, low, high) if fixed is None else np.where(fixed, theta, np.clip(theta, low, high))
    costs = np.empty(m)

    def evaluated(at: np.ndarray, w: np.ndarray, goal: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, Any]:
        value, state = form.value(at)
        residual = value - goal
        psi = np.clip(residual, -delta, delta)
        weighted = w * psi
        cost = np.einsum("mn,mn->m", weighted, residual) - 0.5 * np.einsum("mn,mn->m", weighted, psi)
        gradient = form.gradient(state, weighted)
        if fixed is not None:
            gradient = np.where(fixed, 0.0, gradient)
        return np.where(np.isfinite(cost), cost, np.inf), gradient, residual, state

    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        open_ = np.arange(m)
        w, goal = weights, target
        x = result.copy()
        cost, gradient, residual, state = evaluated(x, w, goal)
        inverse = _inverse(form.jacobian(state), w, residual, delta)
        if fixed is not None:
            inverse = _swept(inverse, np.broadcast_to(fixed, (m, p)))
        del state, residual

        def direction(x: np.ndarray, gradient: np.ndarray, inverse: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            stuck = ((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0))
            if stuck.any():
                gradient = np.where(stuck, 0.0, gradient)
                inverse = _swept(inverse, stuck)
            step = -(inverse @ gradient[..., None])[..., 0]
            return step, (step * gradient).sum(axis=1)

        step, slope = direction(x, gradient, inverse)
        length = np.ones(m)
        earlier = np.full(m, np.inf)
        for turn in range(evaluations):
            done = ~(-slope > tolerance * cost) | (length < 1e-9)
            if turn % _PATIENCE == 0:
                # Between the kinks of a small delta the slope stays steep while nothing is gained any more.
                done |= earlier - cost <= tolerance * cost
                earlier = cost.copy()
            if done.any():
                ended = open_[done]
                result[ended], costs[ended] = x[done], cost[done]
                kept = ~done
                goal = goal[kept] if goal.ndim == 2 else goal
                open_ = open_[kept]
                if not len(open_):
                    return result, costs
                w, x, cost, gradient, inverse = w[kept], x[kept], cost[kept], gradient[kept], inverse[kept]
                step, slope, length, earlier = step[kept], slope[kept], length[kept], earlier[kept]
            # No parameter of ours is a logarithm or an exponent that should change by more than this at once.
            reach = np.abs(step).max(axis=1) * length
            length = np.where(reach > 3.0, 3.0 / np.maximum(reach, 1e-300) * length, length)
            tried = (
                np.clip(x + length[:, None] * step, low, high)
                if fixed is None
                else np.where(fixed, x, np.clip(x + length[:, None] * step, low, high))
            )
            tried_cost, tried_gradient, _, _ = evaluated(tried, w, goal)
            moved = tried - x
            predicted = (moved * gradient).sum(axis=1)
            good = tried_cost <= cost + 1e-4 * np.minimum(predicted, 0.0)
            bad = ~good
            if bad.any():
                first = length[bad] * slope[bad]
                curvature = tried_cost[bad] - cost[bad] - first
                guess = np.where(np.isfinite(curvature) & (curvature > 0), -first / (2 * curvature), 0.1)
                length[bad] *= np.clip(guess, 0.1, 0.5)
            if good.any():
                s, y = moved[good], tried_gradient[good] - gradient[good]
                inverse[good] = _updated(inverse[good], s, y)
                x[good], cost[good], gradient[good] = tried[good], tried_cost[good], tried_gradient[good]
                new_step, new_slope = direction(x[good], gradient[good], inverse[good])
                step[good], slope[good], length[good] = new_step, new_slope, 1.0
        result[open_], costs[open_] = x, cost
    return result, costs


def _updated(inverse: np.ndarray, s: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Give inverse Hessians after one more step s, with gradients that differ by y; unchanged where curvature is not
    positive.
    """
    sy = (s * y).sum(axis=1)
    usable = sy > 1e-10 * np.sqrt((s * s).sum(axis=1) * (y * y).sum(axis=1))
    rho = np.where(usable, 1 / np.where(usable, sy, 1.0), 0.0)[:, None, None]
    hy = (inverse @ y[..., None])[..., 0]
    yhy = (y * hy).sum(axis=1)[:, None, None]
    cross = hy[:, :, None] * s[:, None, :]
    return np.asarray(
        inverse + rho * ((1 + rho * yhy) * (s[:, :, None] * s[:, None, :]) - cross - np.swapaxes(cross, 1, 2))
    )


def _swept(inverse: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Give the inverses of the submatrices of what is not held, with rows and columns of 0 for what is.

    The part of an inverse is not the inverse of the part: where a held parameter goes with another, steps along the part would
    be far too long.

    Parameters
    ----------
    inverse : ndarray, shape (m, p, p)
    held : ndarray of bool, shape (m, p)
    """
    inverse = inverse.copy()
    for place in np.flatnonzero(held.any(axis=0)):
        rows = held[:, place]
        own = inverse[rows]
        pivot = np.where(own[:, place, place] == 0, 1.0, own[:, place, place])
        own -= own[:, :, place : place + 1] * own[:, place : place + 1, :] / pivot[:, None, None]
        own[:, place, :] = own[:, :, place] = 0.0
        inverse[rows] = own
    return inverse


def _inverse(jacobian: np.ndarray, weights: np.ndarray, residual: np.ndarray, delta: float) -> np.ndarray:
    """Give the inverse of the matrix of iteratively reweighted least squares, which bounds the loss from above."""
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.minimum(1.0, delta / np.maximum(np.abs(residual), 1e-300)) * weights
    scaled = np.nan_to_num(np.sqrt(own))[..., None] * np.nan_to_num(jacobian)
    matrix = np.swapaxes(scaled, 1, 2) @ scaled
    diagonal = np.einsum("mii->mi", matrix)
    scale = 1 / np.sqrt(np.maximum(diagonal, 1e-12 * diagonal.max(axis=1, keepdims=True) + 1e-300))
    normed = matrix * scale[:, :, None] * scale[:, None, :] + 1e-9 * np.eye(matrix.shape[1])
    return np.asarray(np.linalg.inv(normed) * scale[:, :, None] * scale[:, None, :])


@dataclass(frozen=True, slots=True)
class Fit:
    """An optimum, and what speaks for and against it.

    Attributes
    ----------
    names : tuple of str
        Parameters.
    theta : ndarray, shape (p,)
        Their values inside the form (centred levels for `Powers`).
    objective : float
        The objective at the optimum, named by `minimised`.
    minimised : Objective
    residuals : ndarray, shape (n,)
        f - target.
    agreeing, started : int
        Starts that reached the optimum to a ten-thousandth of the objective, and all.
    bounds : tuple of str
        Parameters on a bound.
    fixed : ndarray of bool, shape (p,)
        Parameters that were given.
    low, high : ndarray, shape (p,)
        Bounds.
    jacobian : ndarray, shape (n, p)
        d f / d theta at the optimum.
    """

    names: tuple[str, ...]
    theta: np.ndarray
    objective: float
    minimised: Objective
    residuals: np.ndarray
    agreeing: int
    started: int
    bounds: tuple[str, ...]
    fixed: np.ndarray = field(repr=False)
    low: np.ndarray = field(repr=False)
    high: np.ndarray = field(repr=False)
    jacobian: np.ndarray = field(repr=False)

    @property
    def spread(self) -> float:
        """Mean absolute residual."""
        return float(np.abs(self.residuals).mean())

    @property
    def rmse(self) -> float:
        """Root mean square of the residuals."""
        return float(np.sqrt(np.mean(self.residuals**2)))

    @property
    def parameters(self) -> int:
        """How many parameters were fitted."""
        return int(np.count_nonzero(~self.fixed))

    @property
    def aicc(self) -> float:
        """Akaike's criterion for few points (Hurvich and Tsai 1989) of Gaussian residuals, whose variance counts as a
        parameter; infinite where there are too few. Only differences on the same points count.
        """
        n, k = len(self.residuals), self.parameters + 1
        if n <= k + 1:
            return math.inf
        return n * math.log(max(self.rmse**2, 1e-300)) + 2 * k + 2 * k * (k + 1) / (n - k - 1)


def fit(
    form: Form,
    target: np.ndarray,
    *,
    objective: Objective,
    starts: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    weights: np.ndarray | None = None,
    fixed: np.ndarray | None = None,
) -> Fit:
    """Fit a form from many starts and polish the best.

    Parameters
    ----------
    target : ndarray, shape (n,)
    starts : ndarray, shape (starts, p)
    low, high : ndarray, shape (p,)
    weights : ndarray, shape (n,), optional
    fixed : ndarray of bool, shape (p,), optional
        Parameters kept at the value of their start.
    """
    weights = np.ones(len(target)) if weights is None else np.asarray(weights, float)
    fixed = np.zeros(starts.shape[1], dtype=bool) if fixed is None else fixed
    value, _ = form.value(starts)
    with np.errstate(invalid="ignore"):
        spreads = np.abs(value - target).mean(axis=1)
    spread = float(np.nanmin(np.where(np.isfinite(spreads), spreads, np.nan)))
    theta, costs = starts, np.zeros(len(starts))
    solve = partial(minimise, form, target, weights, low=low, high=high, fixed=fixed)
    for number, delta in enumerate(objective.deltas(spread)):
        theta, costs = solve(theta, delta=delta, tolerance=1e-7 if number == 0 else 1e-10)
    # Only the best deserve the last digits; a fresh matrix tells an optimum from where a search got stuck.
    for most in (3, 1):
        near = np.argsort(costs, kind="stable")[:most]
        theta[near], costs[near] = solve(theta[near], delta=delta, tolerance=1e-13)
    best = int(costs.argmin())
    if objective.name == "likelihood":
        final = delta
        for _ in range(3):
            final /= 10
            sharper, _ = solve(theta[best : best + 1], delta=final, tolerance=1e-11)
            if (
                _absolute(form, sharper, target, weights)[0]
                < _absolute(form, theta[best : best + 1], target, weights)[0]
            ):
                theta[best] = sharper[0]
    value, state = form.value(theta[best : best + 1])
    residuals = value[0] - target
    agreeing = int(np.count_nonzero(costs <= costs.min() * (1 + 1e-4) + 1e-300))
    edge = 1e-6 * np.maximum(high - low, 1e-9)
    on_bound = tuple(
        name
        for name, at, a, b, e, given in zip(form.names, theta[best], low, high, edge, fixed, strict=True)
        if not given and (at <= a + e or at >= b - e)
    )
    return Fit(
        form.names, theta[best].copy(), objective.at(residuals, weights), objective, residuals, agreeing, len(starts),
        on_bound, fixed, low, high, form.jacobian(state)[0],
    )  # fmt: skip


def _absolute(form: Form, theta: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.asarray(np.abs(form.value(theta)[0] - target) @ weights)


def fit_powers(
    form: Powers, y: np.ndarray, *, objective: Objective, weights: np.ndarray | None = None,
    least: float = 1e-3, most: float = 2.0,
) -> Fit:  # fmt: skip
    """Fit a sum of powers to y > 0, shape (n,), on logarithms, with exponents between `least` and `most`."""
    low, high = form.bounds(y, least, most)
    own = np.ones(len(y)) if weights is None else np.asarray(weights, float)
    delta = {"squares": math.inf, "log-huber": objective.delta, "likelihood": 1e-3}[objective.name]
    starts = form.starts(y, own, delta, low, high)
    return fit(form, np.log(y), objective=objective, starts=starts, low=low, high=high, weights=weights)


def refits(form: Form, target: np.ndarray, fitted: Fit, counts: np.ndarray) -> np.ndarray:
    """Refit resamples from the optimum, shape (k, p); NaN where fewer points were drawn than there are parameters.

    Parameters
    ----------
    counts : ndarray, shape (k, n)
        How often each point was drawn (or weights).
    """
    weights = np.asarray(counts, float)
    theta = np.repeat(fitted.theta[None], len(weights), axis=0)
    for delta in fitted.minimised.deltas(fitted.spread)[:2]:
        theta, _ = minimise(
            form, target, weights, theta, delta=delta, low=fitted.low, high=fitted.high, fixed=fitted.fixed,
            tolerance=1e-8, evaluations=150,
        )  # fmt: skip
    theta[np.count_nonzero(weights, axis=1) <= fitted.parameters] = np.nan
    return theta


@dataclass(frozen=True, slots=True)
class Draws:
    """Sets of parameters the data could have given.

    Attributes
    ----------
    theta : ndarray, shape (draws, p)
        NaN rows where a resample could not be fitted.
    how : str
        In words, with the unit that was resampled.
    """

    theta: np.ndarray
    how: str
    n: int = 0
    """Units that were resampled; 0 where they were not."""
    p: int = 0
    """Parameters that were fitted to each resample."""

    def percentiles(self, level: float) -> float:
        """Give the level at which percentiles of these draws are to be taken to cover `level`: wider for a bootstrap of few
        units (`resampling.expanded_level`).
        """
        return expanded_level(level, self.n, self.p) if self.n else level


def draws_of(
    form: Form, target: np.ndarray, fitted: Fit, *, draws: int = DRAWS, seed: int = 0, unit: str = "run",
    strata: np.ndarray | None = None, clusters: np.ndarray | None = None, engine: Engine = LOCAL, progress: Progress = quiet,
) -> Draws:  # fmt: skip
    """Give sets of parameters from a bootstrap over points, each resample refitted; below ten points from refits to
    the law with new Gaussian residuals, whose variance is drawn too, as behind Student's t.

    Parameters
    ----------
    strata : ndarray, shape (n,), optional
        Points are drawn within their stratum.
    clusters : ndarray of int, shape (n,), optional
        Points of one cluster (those along the curve of a run) are drawn together. Below ten clusters each is left out once,
        and the covariance of those refits (the jackknife, Efron and Stein 1981) stands behind draws of Student's t.
    """
    n, p = len(target), fitted.parameters
    if clusters is not None:
        _, place = np.unique(clusters, return_inverse=True)
        return _draws_of_clusters(form, target, fitted, place, draws, seed, unit, engine, progress)
    if n >= FEW:
        function = partial(refits, form, target, fitted)
        theta = bootstrap(
            function, n, draws=draws, seed=seed, strata=strata, engine=engine, progress=progress, block_size=200
        )
        return Draws(theta, f"bootstrap over {unit}s", n, p)
    if n <= p:
        return Draws(np.full((1, len(fitted.theta)), np.nan), f"no spare {unit}s")
    spare = n - p
    generator = np.random.default_rng(seed)
    scale = np.sqrt(float(fitted.residuals @ fitted.residuals) / generator.chisquare(spare, size=(draws, 1)))
    noisy = target + fitted.residuals + scale * generator.standard_normal((draws, n))
    theta = np.repeat(fitted.theta[None], draws, axis=0)
    for delta in fitted.minimised.deltas(fitted.spread)[:2]:
        theta, _ = minimise(
            form, noisy, np.ones(n), theta, delta=delta, low=fitted.low, high=fitted.high, fixed=fitted.fixed,
            tolerance=1e-8, evaluations=200,
        )  # fmt: skip
    return Draws(theta, f"parametric bootstrap, t with {spare} degrees of freedom")


def _cluster_refits(form: Form, target: np.ndarray, fitted: Fit, place: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return refits(form, target, fitted, counts[:, place])


def _draws_of_clusters(
    form: Form, target: np.ndarray, fitted: Fit, place: np.ndarray, draws: int, seed: int, unit: str, engine: Engine,
    progress: Progress,
) -> Draws:  # fmt: skip
    groups = int(place.max()) + 1
    function = partial(_cluster_refits, form, target, fitted, place)
    if groups >= FEW:
        theta = bootstrap(function, groups, draws=draws, seed=seed, engine=engine, progress=progress, block_size=100)
        return Draws(theta, f"bootstrap over {unit}s", groups, fitted.parameters)
    if groups < 3:
        return Draws(np.full((1, len(fitted.theta)), np.nan), f"no spare {unit}s")
    left_out = function(np.ones((groups, groups)) - np.eye(groups))
    gaps = left_out - left_out.mean(axis=0)
    # The square root of the covariance: every cluster's own direction, which keeps parameters that trade off together.
    root = math.sqrt((groups - 1) / groups) * gaps
    generator = np.random.default_rng(seed)
    normal = generator.standard_normal((draws, groups)) @ root
    scale = np.sqrt((groups - 1) / generator.chisquare(groups - 1, size=(draws, 1)))
    theta = np.clip(fitted.theta + np.where(fitted.fixed, 0.0, normal * scale), fitted.low, fitted.high)
    return Draws(theta, f"jackknife over {unit}s, t with {groups - 1} degrees of freedom")


@dataclass(frozen=True, slots=True)
class Identification:
    """What the design can tell apart.

    Attributes
    ----------
    spectrum : ndarray, shape (p,)
        Singular values of the Fisher information of the logarithms of the parameters, for residuals of unit variance, the
        largest first.
    condition : float
        Ratio of the largest to the smallest.
    correlations : ndarray, shape (p, p)
        Between estimates of the logarithms.
    """

    spectrum: np.ndarray
    condition: float
    correlations: np.ndarray


def identification(jacobian: np.ndarray) -> Identification:
    """Give what a Jacobian d f / d log theta, shape (n, p), can tell apart."""
    left, values, right = np.linalg.svd(jacobian, full_matrices=False)
    del left
    spectrum = values**2
    condition = float(spectrum[0] / spectrum[-1]) if spectrum[-1] > 0 else math.inf
    with np.errstate(divide="ignore", invalid="ignore"):
        covariance = (right.T / np.maximum(values, values[0] * 1e-12) ** 2) @ right
        sd = np.sqrt(np.diag(covariance))
        correlations = covariance / np.outer(sd, sd)
    return Identification(spectrum, condition, correlations)


def profile(form: Form, target: np.ndarray, fitted: Fit, name: str, values: np.ndarray) -> np.ndarray:
    """Give the least objective at given values of one parameter, the others free, shape (k,).

    Solved outwards from the optimum as two chains would be, but in one batch: each value starts from the optimum and along the
    tangent of the profile, and, where those two disagree, again from the solution of its neighbour towards the optimum.
    """
    place = fitted.names.index(name)
    fixed = fitted.fixed.copy()
    fixed[place] = True
    weights = np.ones(len(target))

    def solved(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        for delta in fitted.minimised.deltas(fitted.spread):
            theta, _ = minimise(
                form, target, weights, theta, delta=delta, low=fitted.low, high=fitted.high, fixed=fixed,
                tolerance=_SEEN / 10, evaluations=150,
            )  # fmt: skip
        return theta, np.array([fitted.minimised.at(own) for own in form.value(theta)[0] - target])

    away = np.abs(values - fitted.theta[place])
    towards = np.arange(len(values))
    for number in range(len(values)):
        nearer = [other for other in (number - 1, number + 1) if 0 <= other < len(values)]
        towards[number] = min(nearer, key=lambda other: away[other], default=number)
    from_optimum = np.repeat(fitted.theta[None], len(values), axis=0)
    from_optimum[:, place] = values
    # The tangent is the better start where other parameters go with this one.
    theta, costs = solved(np.concatenate([from_optimum, _along_tangent(form, fitted, place, values)]))
    theta, costs = theta.reshape(2, len(values), -1), costs.reshape(2, -1)
    least = costs.argmin(axis=0)
    doubt = np.abs(costs[0] - costs[1]) > 1e3 * _SEEN * np.abs(costs.min(axis=0))
    theta, costs = theta[least, np.arange(len(values))], costs.min(axis=0)
    for _ in range(4):
        again = np.flatnonzero(doubt)
        if not len(again):
            break
        begun = theta[towards[again]]
        begun[:, place] = values[again]
        found, new = solved(begun)
        better = new < costs[again] - _SEEN * np.abs(costs[again])
        theta[again[better]], costs[again[better]] = found[better], new[better]
        # What lies beyond a value that got better may get better too.
        improved = np.zeros(len(values), dtype=bool)
        improved[again[better]] = True
        doubt = improved[towards]
    return np.asarray(costs)


def profile_statistic(fitted: Fit, costs: np.ndarray) -> np.ndarray:
    """Give twice the log likelihood ratio of objectives against that of the optimum, as comparable with chi-square.

    The scale is profiled out: n log(cost / least) is it for squares, and twice that for absolute deviations, which Huber's loss
    of a small delta is.
    """
    if fitted.minimised.name == "likelihood":
        return np.asarray(np.maximum(2 * (costs - fitted.objective), 0.0))
    power = 1.0 if fitted.minimised.name == "squares" else 2.0
    least = max(fitted.objective, 1e-300)
    return np.asarray(np.maximum(power * len(fitted.residuals) * np.log(np.maximum(costs, least) / least), 0.0))


def where_passed(x: np.ndarray, statistic: np.ndarray, threshold: float) -> tuple[float, float]:
    """Give where a profile passes a threshold on each side of its least value; both NaN where it does not on one of them."""
    at = int(statistic.argmin())
    below, above = np.flatnonzero(statistic[: at + 1] > threshold), np.flatnonzero(statistic[at:] > threshold)
    if not len(below) or not len(above):
        return math.nan, math.nan
    i, j = int(below[-1]), at + int(above[0])
    left = float(np.interp(threshold, [statistic[i + 1], statistic[i]], [x[i + 1], x[i]]))
    return left, float(np.interp(threshold, [statistic[j - 1], statistic[j]], [x[j - 1], x[j]]))


def profile_interval(
    form: Form, target: np.ndarray, fitted: Fit, name: str, level: float = 0.95
) -> tuple[float, float]:
    """Give the profile likelihood interval of one parameter of a form (Venzon and Moolgavkar 1988); NaN where its profile does
    not pass the chi-square quantile on both sides.
    """
    from scipy.special import chdtri

    place = fitted.names.index(name)
    if fitted.fixed[place]:
        return math.nan, math.nan
    sd = _standard_errors(fitted)[place]
    centre, low, high = float(fitted.theta[place]), float(fitted.low[place]), float(fitted.high[place])
    reach = min(sd, high - low) if math.isfinite(sd) and sd > 0 else high - low
    # Even steps near the optimum, and a few far out for profiles that are no parabola.
    steps = np.array([0.7, 1.2, 1.6, 2.0, 2.4, 2.9, 3.6, 5.0, 8.0, 16.0, 50.0]) * reach
    values = np.unique(np.clip(np.concatenate([centre - steps, [centre], centre + steps]), low + 1e-9, high - 1e-9))
    statistic = profile_statistic(fitted, profile(form, target, fitted, name, values))
    return where_passed(values, statistic, float(chdtri(1, 1 - level)))


def _standard_errors(fitted: Fit) -> np.ndarray:
    """Give standard errors from the Jacobian and the spread of the residuals, infinite for what is not determined."""
    free = ~fitted.fixed
    _, values, right = np.linalg.svd(fitted.jacobian[:, free], full_matrices=False)
    spare = max(len(fitted.residuals) - int(free.sum()), 1)
    # A median, so that a few far runs do not decide where the profile of a robust loss is looked at.
    scale = max(1.4826 * float(np.median(np.abs(fitted.residuals))), 1e-12) * math.sqrt(len(fitted.residuals) / spare)
    with np.errstate(divide="ignore", over="ignore"):
        variance = ((right.T / np.maximum(values, values[0] * 1e-15)) ** 2).sum(axis=1)
    errors = np.full(len(fitted.theta), np.inf)
    errors[free] = scale * np.sqrt(variance)
    return errors


def _along_tangent(form: Form, fitted: Fit, place: int, values: np.ndarray) -> np.ndarray:
    """Give parameters with one at given values and the others where iteratively reweighted least squares expects them."""
    others = np.arange(len(fitted.theta)) != place
    delta = fitted.minimised.deltas(fitted.spread)[-1]
    root = np.sqrt(np.minimum(1.0, delta / np.maximum(np.abs(fitted.residuals), 1e-300)))[:, None]
    jacobian = root * form.jacobian(form.value(fitted.theta[None])[1])[0]
    slope = -np.linalg.lstsq(jacobian[:, others], jacobian[:, place], rcond=None)[0]
    theta = np.repeat(fitted.theta[None], len(values), axis=0)
    theta[:, others] += np.where(fitted.fixed[others], 0.0, np.outer(values - fitted.theta[place], slope))
    theta[:, place] = values
    return np.asarray(theta)
