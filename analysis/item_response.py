"""Item response models: how hard each item is and how able each model, from right and wrong answers alone.

P(right) = c + (1 − c) σ(a (θ − b)): θ is the ability of a model, b the difficulty of an item on the same axis, a how
sharply it separates, c the chance to guess, which is given and never fitted. Abilities have mean 0 and standard deviation 1
over the models.

One side is integrated out as Gaussian and the parameters of the other are fitted, which is only consistent when the side that
is integrated is the longer one. With one slope for all items both sides play the same part, so the longer one is integrated:
few models on many items, which is the usual case, is not a small sample then.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..models.progress import Progress, quiet

PRIOR_INTERCEPT = 2.0
"""Standard deviation of the prior of intercepts."""
PRIOR_LOG_A = 0.5
"""Standard deviation of the prior of log slopes."""
_REACH = 5.0
_MOST_STEPS = 1000
_TOLERANCE = 1e-4
_MOST_COLUMNS = 500


@dataclass(frozen=True, slots=True, eq=False)
class ItemResponseFit:
    """A fitted model.

    Attributes
    ----------
    a, b : ndarray, shape (items,)
        Slopes and difficulties.
    a_error, b_error : ndarray, shape (items,)
        Standard errors; NaN where one is not known.
    theta, theta_error : ndarray, shape (models,)
        Abilities and their standard errors.
    guess : float
        Chance to guess.
    integrated : {'models', 'items'}
        The side taken as Gaussian.
    steps : int
        Steps taken.
    converged : bool
        Whether no parameter moved any more.
    log_likelihood : float
        Marginal, without priors.
    """

    a: np.ndarray
    b: np.ndarray
    a_error: np.ndarray
    b_error: np.ndarray
    theta: np.ndarray
    theta_error: np.ndarray
    guess: float
    integrated: str
    steps: int
    converged: bool
    log_likelihood: float

    def rate(self, theta: np.ndarray) -> np.ndarray:
        """Give P(right) at some abilities, shape (len(theta), items)."""
        return chances(theta, self.a, -self.a * self.b, self.guess)

    def information(self, theta: np.ndarray) -> np.ndarray:
        """Give the Fisher information of each item about ability, shape (len(theta), items): (dP/dθ)² / (P (1 − P)), which is
        a² P (1 − P) without guessing.
        """
        p = np.clip(self.rate(theta), 1e-12, 1 - 1e-12)
        slope = self.a * (p - self.guess) * (1 - p) / (1 - self.guess)
        return np.asarray(slope**2 / (p * (1 - p)))


def chances(x: np.ndarray, a: np.ndarray, d: np.ndarray, guess: float) -> np.ndarray:
    """Give c + (1 − c) σ(a x + d), shape (len(x), len(d))."""
    from scipy.special import expit

    return np.asarray(guess + (1 - guess) * expit(a * np.asarray(x)[:, None] + d))


def fit_item_response(
    answers: np.ndarray, *, slopes: bool, guess: float = 0.0, progress: Progress = quiet
) -> ItemResponseFit:
    """Fit by marginal maximum likelihood with weak priors (Bock and Aitkin 1981; Mislevy 1986).

    Parameters
    ----------
    answers : ndarray, shape (models, items)
        1 right, 0 wrong, NaN not asked.
    slopes : bool
        Whether every item has its own slope (2PL); else one slope holds for all (1PL).

    Notes
    -----
    What is fitted has priors: intercepts N(0, 2²), and with slopes log a ~ N(0, 0.5²). An item that all models get right, or
    wrong, has a finite difficulty through them alone. Standard errors of what is fitted come from the cross-products of
    scores (Mislevy 1984); of what is integrated out, from its posterior.
    """
    swapped = not slopes and answers.shape[1] > answers.shape[0]
    side = _fitted(answers.T if swapped else answers, slopes, guess, progress)
    if swapped:
        # Items were integrated: their easiness is s z, and intercepts are the abilities of models.
        spread = float(side.d.std()) or 1.0
        centre = float(side.d.mean())
        count = answers.shape[1]
        return ItemResponseFit(
            a=np.full(count, spread), b=(-side.a[0] * side.z - centre) / spread, a_error=np.full(count, np.nan),
            b_error=side.a[0] * side.z_error / spread, theta=(side.d - centre) / spread,
            theta_error=side.d_error / spread, guess=guess, integrated="items", steps=side.steps,
            converged=side.converged, log_likelihood=side.log_likelihood,
        )  # fmt: skip
    centre, spread = float(side.z.mean()), math.sqrt(float(side.z.var() + (side.z_error**2).mean())) or 1.0
    return ItemResponseFit(
        a=side.a * spread, b=(-side.d / side.a - centre) / spread, a_error=side.a_error * spread,
        b_error=side.b_error / spread, theta=(side.z - centre) / spread, theta_error=side.z_error / spread, guess=guess,
        integrated="models", steps=side.steps, converged=side.converged, log_likelihood=side.log_likelihood,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """Slopes and intercepts of the columns, and the posterior of the rows."""

    a: np.ndarray
    d: np.ndarray
    a_error: np.ndarray
    d_error: np.ndarray
    b_error: np.ndarray
    z: np.ndarray
    z_error: np.ndarray
    steps: int
    converged: bool
    log_likelihood: float


def _fitted(answers: np.ndarray, slopes: bool, guess: float, progress: Progress) -> _Side:
    """Fit c + (1 − c) σ(a z + d) with z standard Gaussian over the rows by expectation maximisation."""
    asked = (~np.isnan(answers)).astype(float)
    right = np.nan_to_num(answers)
    x, w = _nodes(answers.shape[1])
    rate = (right.sum(axis=0) + 0.5) / (asked.sum(axis=0) + 1)
    rate = np.clip((rate - guess) / (1 - guess), 0.02, 0.98)
    d, log_a = 1.2 * np.log(rate / (1 - rate)), np.zeros(answers.shape[1])
    converged, step = False, 0
    for step in range(1, _MOST_STEPS + 1):
        if step % 10 == 1:
            progress(min(step, 199), 200)
        post, _ = _posterior(right, asked, chances(x, np.exp(log_a), d, guess), w)
        before = d, log_a
        d, log_a = _scored(post.T @ right, post.T @ asked, x, d, log_a, guess, slopes)
        if max(np.abs(d - before[0]).max(), np.abs(log_a - before[1]).max()) < _TOLERANCE:
            converged = True
            break
    a = np.exp(log_a)
    post, likelihood = _posterior(right, asked, chances(x, a, d, guess), w)
    z = post @ x
    z_error = np.sqrt(np.maximum(post @ x**2 - z**2, 0))
    a_error, d_error, b_error = _errors(right, asked, post, x, a, d, guess, slopes)
    return _Side(a, d, a_error, d_error, b_error, z, z_error, step, converged, float(likelihood.sum()))


def _nodes(columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Give places and weights at which a Gaussian is summed.

    They are as close as the posterior of a row is narrow: in steps of its standard deviation a sum over a Gaussian is right to
    eight digits, whereas the few nodes of Gauss and Hermite would fall beside it.
    """
    step = min(0.25, 1 / math.sqrt(1 + columns / 2))
    x = np.linspace(-_REACH, _REACH, 2 * math.ceil(_REACH / step) + 1)
    w = np.exp(-(x**2) / 2)
    return x, w / w.sum()


def _posterior(
    right: np.ndarray, asked: np.ndarray, p: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Give the posterior of each row at the nodes, shape (rows, nodes), and its log marginal likelihood."""
    p = np.clip(p, 1e-12, 1 - 1e-12)
    logs = right @ np.log(p).T + (asked - right) @ np.log1p(-p).T + np.log(weight)
    top = logs.max(axis=1, keepdims=True)
    each = np.exp(logs - top)
    total = each.sum(axis=1, keepdims=True)
    return each / total, (np.log(total) + top)[:, 0]


def _slopes_of(x: np.ndarray, a: np.ndarray, d: np.ndarray, guess: float) -> tuple[np.ndarray, np.ndarray]:
    """Give P and (dP/dη) / (P (1 − P)) at the nodes, each shape (nodes, columns), with η = a x + d."""
    p = np.clip(chances(x, a, d, guess), 1e-9, 1 - 1e-9)
    return p, (p - guess) / ((1 - guess) * p)


def _scored(
    r: np.ndarray, n: np.ndarray, x: np.ndarray, d: np.ndarray, log_a: np.ndarray, guess: float, slopes: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Take one step of Fisher scoring on intercepts and log slopes."""
    a = np.exp(log_a)
    p, factor = _slopes_of(x, a, d, guess)
    residual = (r - n * p) * factor
    weight = n * factor**2 * p * (1 - p)
    gradient_d, gradient_a = residual.sum(axis=0) - d / PRIOR_INTERCEPT**2, a * (x @ residual)
    dd, aa, ad = weight.sum(axis=0) + 1 / PRIOR_INTERCEPT**2, a**2 * (x**2 @ weight), a * (x @ weight)
    if not slopes:
        # One slope and all intercepts: the matrix is an arrow, solved by elimination.
        gradient, curvature = gradient_a - ad / dd * gradient_d, aa - ad**2 / dd
        step = float(gradient.sum() / max(curvature.sum(), 1e-9))
        step = min(max(step, -0.25), 0.25)
        return d + np.clip((gradient_d - ad * step) / dd, -0.5, 0.5), log_a + step
    gradient_a, aa = gradient_a - log_a / PRIOR_LOG_A**2, aa + 1 / PRIOR_LOG_A**2
    determinant = np.maximum(aa * dd - ad**2, 1e-9)
    step_d, step_a = aa * gradient_d - ad * gradient_a, dd * gradient_a - ad * gradient_d
    return d + np.clip(step_d / determinant, -0.5, 0.5), log_a + np.clip(step_a / determinant, -0.25, 0.25)


def _errors(
    right: np.ndarray, asked: np.ndarray, post: np.ndarray, x: np.ndarray, a: np.ndarray, d: np.ndarray, guess: float,
    slopes: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Give standard errors of slopes, of intercepts less their mean, and of b = −d / a."""
    p, factor = _slopes_of(x, a, d, guess)
    # The score of a row is its mean over the posterior; what depends on the node is linear in the answer.
    score_d = right * (post @ factor) - asked * (post @ (factor * p))
    score_a = right * (post @ (factor * x[:, None])) - asked * (post @ (factor * p * x[:, None]))
    count = len(d)
    if slopes or count > _MOST_COLUMNS or count * 5 > len(right):
        aa, dd, ad = (score_a**2).sum(axis=0), (score_d**2).sum(axis=0), (score_a * score_d).sum(axis=0)
        dd = dd + 1 / PRIOR_INTERCEPT**2
        aa = aa + 1 / (a * PRIOR_LOG_A) ** 2 if slopes else np.full(count, math.inf)
        ad = ad if slopes else np.zeros(count)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = 1 - ad**2 / (aa * dd)
            var_a, var_d, covariance = 1 / (aa * share), 1 / (dd * share), -ad / (aa * dd * share)
    else:
        scores = np.column_stack([score_d, score_a.sum(axis=1)])
        matrix = scores.T @ scores
        matrix[np.arange(count), np.arange(count)] += 1 / PRIOR_INTERCEPT**2
        inverse = np.linalg.pinv(matrix)
        own = inverse[:count, :count]
        # What moves all intercepts together only moves the origin.
        centred = own - own.mean(axis=0) - own.mean(axis=1, keepdims=True) + own.mean()
        var_a, var_d, covariance = np.full(count, inverse[count, count]), np.diag(centred), inverse[count, :count]
        covariance = covariance - covariance.mean()
    var_b = (var_d + (d / a) ** 2 * var_a - 2 * (d / a) * covariance) / a**2
    a_error = np.sqrt(var_a) if slopes or np.all(var_a > 0) else np.full(count, np.nan)
    return a_error, np.sqrt(np.maximum(var_d, 0)), np.sqrt(np.maximum(var_b, 0))
