"""The law of over-training, L(C, M) = E + (a M^eta + b M^-eta) C^-eta, with M = D / N tokens a parameter.

Gadre et al. (2024), *Language models scale reliably with over-training and on downstream tasks*. It is the law of Hoffmann et
al. with one exponent, alpha = beta = 2 eta, A = a 6^-eta and B = b 6^-eta: M C = 6 D^2 and C / M = 6 N^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..models.engine import LOCAL, Engine
from ..models.errors import TooLittleData
from ..models.progress import Progress, quiet
from .power_fit import Draws, Fit, Form, InUnits, Objective, Powers, Term, draws_of, fit, fit_powers

PARAMETERS = ("E", "a", "b", "eta")
_ETA = (1e-3, 1.0)


@dataclass(frozen=True, slots=True)
class OvertrainingLaw:
    """One law, or many at once (an array a parameter)."""

    E: Any
    a: Any
    b: Any
    eta: Any

    def loss(self, C: np.ndarray | float, M: np.ndarray | float) -> np.ndarray:
        """Give the loss at compute C and M tokens a parameter."""
        C, M = np.asarray(C, float), np.asarray(M, float)
        with np.errstate(over="ignore"):
            return np.asarray(self.E + (self.a * M**self.eta + self.b * M**-self.eta) * C**-self.eta)

    @property
    def best_ratio(self) -> Any:
        """The M of least loss at any compute, (b / a)^(1 / (2 eta))."""
        with np.errstate(over="ignore"):
            return np.exp((np.log(self.b) - np.log(self.a)) / (2 * self.eta))

    def column(self) -> OvertrainingLaw:
        """Give many laws as columns, to broadcast against places."""
        return OvertrainingLaw(*(np.asarray(getattr(self, name))[..., None] for name in PARAMETERS))


@dataclass(frozen=True)
class OvertrainingFit:
    """A fitted law.

    Attributes
    ----------
    C, M, L : ndarray, shape (n,)
    fit : Fit
    powers : Powers
    plain : bool
        Whether residuals are those of the loss itself, not of its logarithm.
    draws : Draws or None
    """

    C: np.ndarray
    M: np.ndarray
    L: np.ndarray
    fit: Fit
    powers: Powers
    plain: bool
    draws: Draws | None = None

    def law_of(self, theta: np.ndarray) -> OvertrainingLaw:
        """Give laws from parameters of the form, shape (..., 4)."""
        out = np.moveaxis(self.powers.outward(theta), -1, 0)
        values = dict(zip(self.powers.names, out, strict=True))
        with np.errstate(over="ignore"):
            return OvertrainingLaw(np.exp(values["E"]), np.exp(values["a"]), np.exp(values["b"]), values["eta"])

    @cached_property
    def law(self) -> OvertrainingLaw:
        """The law at the optimum, in floats."""
        law = self.law_of(self.fit.theta)
        return OvertrainingLaw(*(float(getattr(law, name)) for name in PARAMETERS))

    @cached_property
    def drawn(self) -> OvertrainingLaw:
        """The laws of the draws that could be fitted."""
        assert self.draws is not None
        return self.law_of(self.draws.theta[~np.isnan(self.draws.theta).any(axis=1)])

    @cached_property
    def relative_residuals(self) -> np.ndarray:
        """Loss over law, minus 1, shape (n,)."""
        return np.asarray(self.L / self.law.loss(self.C, self.M) - 1)


def fit_overtraining(
    C: np.ndarray, M: np.ndarray, L: np.ndarray, *, objective: Objective | None = None, plain: bool = False, draws: int = 0,
    seed: int = 0, engine: Engine = LOCAL, progress: Progress = quiet,
) -> OvertrainingFit:  # fmt: skip
    """Fit the law of over-training.

    Parameters
    ----------
    C, M, L : ndarray, shape (n,)
        Compute, tokens a parameter and loss, all above 0.
    objective : Objective, optional
        Of log residuals; the sum of Huber's loss at 1e-3 if None.
    plain : bool
        Whether to minimise the squares of the residuals of the loss itself instead, as Gadre et al. do.

    Raises
    ------
    TooLittleData
        With fewer than five runs, or one M only.
    """
    if len(L) < 5:
        raise TooLittleData(needs="at least 5 runs for 4 parameters", found=str(len(L)))
    if M.max() < 1.5 * M.min():
        raise TooLittleData(
            needs="runs of at least 2 numbers of tokens a parameter",
            found="one",
            remedy="Add runs that are trained longer.",
        )
    logC, logM = np.log(C), np.log(M)
    terms = [Term("a", (("eta", logM - logC),)), Term("b", (("eta", -logM - logC),)), Term("E")]
    powers = Powers(terms, len(L))
    form: Form = powers
    found = fit_powers(powers, L, objective=objective or Objective(), least=_ETA[0], most=_ETA[1])
    if plain:
        form = InUnits(powers)
        low, high = powers.bounds(L, *_ETA)
        starts = np.concatenate([powers.starts(L, np.ones(len(L)), np.inf, low, high), found.theta[None]])
        found = fit(form, L, objective=Objective("squares"), starts=starts, low=low, high=high)
    drawn = None
    if draws:
        target = L if plain else np.log(L)
        drawn = draws_of(form, target, found, draws=draws, seed=seed, engine=engine, progress=progress)
    return OvertrainingFit(C, M, L, found, powers, plain, drawn)
