"""Optuna's Parzen estimator with the same densities to the last bit, computed on whole arrays.

Optuna calls the error function once for each kernel and candidate in a Python loop: after 1,000 trials that is most of
a draw. `TPESampler` takes a subclass of its estimator, so nothing of Optuna's is replaced. What is imported from its
private modules is fixed by the range of versions in pyproject.toml, and tests compare every bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.samplers._tpe import _truncnorm
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.samplers._tpe.probability_distributions import _BatchedCategoricalDistributions, _unique_inverse_2d

_ROOT = 2**0.5
Floats = NDArray[np.float64]


class ParzenEstimator(_ParzenEstimator):
    """Optuna's estimator with another `log_pdf`; it follows `_MixtureOfProductDistribution.log_pdf` step by step.

    Terms are added in Optuna's order: categorical and integer parameters one by one, the continuous ones as one sum.
    """

    def log_pdf(self, samples_dict: dict[str, NDArray[Any]]) -> Floats:
        """Logarithm of the density: (candidates,) float64.

        Args:
            samples_dict: (candidates,) values of each parameter, in Optuna's internal representation.
        """
        samples, mixture = self._transform(samples_dict), self._mixture_distribution
        total = np.zeros((len(samples), len(mixture.weights)))
        continuous = []
        for values, kernels in zip(samples.T, mixture.distributions, strict=True):
            if isinstance(kernels, _BatchedCategoricalDistributions):
                total += np.log(kernels.weights)[:, values.astype(np.int64)].T
            elif kernels.step:
                total += _integer(values, kernels)
                total -= _integer_range(kernels)
            else:
                continuous.append((np.log(values) if kernels.is_log else values, kernels))
        if continuous:
            total += _continuous(*zip(*continuous, strict=True))
        total += np.log(mixture.weights[np.newaxis])
        peak = total.max(axis=1)
        peak[np.isneginf(peak)] = 0
        with np.errstate(divide="ignore"):
            density: Floats = np.log(np.exp(total - peak[:, None]).sum(axis=1)) + peak
        return density


def _integer(values: Floats, kernels: Any) -> Floats:
    """Log-probability of integer parameters, (candidates, kernels): the mass of half a step to either side."""
    found, of_value = np.unique(values, return_inverse=True)
    mu, sigma, of_kernel = _unique_inverse_2d(kernels.mu, kernels.sigma)
    left, right = found - kernels.step / 2, found + kernels.step / 2
    if kernels.is_log:
        left, right = np.log(left), np.log(right)
    low, high = (left[:, np.newaxis] - mu) / sigma, (right[:, np.newaxis] - mu) / sigma
    low_once, high_once, of_pair = _unique_inverse_2d(low.ravel(), high.ravel())
    mass = log_gauss_mass(low_once, high_once)[of_pair].reshape(low.shape)
    result: Floats = mass[np.ix_(of_value, of_kernel)]
    return result


def _integer_range(kernels: Any) -> Floats:
    """Log-mass of each kernel inside the range of the parameter, (kernels,)."""
    mu, sigma, of_kernel = _unique_inverse_2d(kernels.mu, kernels.sigma)
    mass = log_gauss_mass((kernels.adapted_low - mu) / sigma, (kernels.adapted_high - mu) / sigma)
    result: Floats = mass[of_kernel]
    return result


def _continuous(values: tuple[Floats, ...], kernels: tuple[Any, ...]) -> Floats:
    """Log-density of all continuous parameters together, (candidates, kernels)."""
    mu, sigma = np.asarray([one.mu for one in kernels]).T, np.asarray([one.sigma for one in kernels]).T
    low = (np.asarray([one.adapted_low for one in kernels]) - mu) / sigma
    high = (np.asarray([one.adapted_high for one in kernels]) - mu) / sigma
    x = (np.asarray(values).T[:, np.newaxis, :] - mu) / sigma
    density = _truncnorm._norm_logpdf(x) - log_gauss_mass(low, high) - np.log(sigma)
    summed: Floats = np.where((x < low) | (x > high), -np.inf, density).sum(axis=-1)
    return summed


def log_gauss_mass(a: Floats, b: Floats) -> Floats:
    """Logarithm of the standard normal mass between `a` and `b`, elementwise, as Optuna computes it.

    Right of zero by symmetry, because the left tail is the accurate one.
    """
    mass = np.empty_like(a)
    left, right = b <= 0, a > 0
    central = ~(left | right)
    mass[left] = _truncnorm._log_diff(log_ndtr(b[left]), log_ndtr(a[left]))
    mass[right] = _truncnorm._log_diff(log_ndtr(-a[right]), log_ndtr(-b[right]))
    mass[central] = np.log1p(-_truncnorm._ndtr(a[central]) - _truncnorm._ndtr(-b[central]))
    return mass


def log_ndtr(a: Floats) -> Floats:
    """Logarithm of the standard normal distribution function, elementwise, to the bits of Optuna's own.

    Optuna loops over the elements in Python. The functions of the C library are used here too: those of NumPy and
    SciPy round some numbers differently.
    """
    x, found = a / _ROOT, np.empty_like(a)
    left, middle, far = x < -1 / _ROOT, x < 1 / _ROOT, a > 6
    deep = ~(a > -20)
    mass = np.empty_like(a)
    mass[left] = 0.5 * _each(math.erfc, -x[left])
    mass[~left & middle] = 0.5 + 0.5 * _each(math.erf, x[~left & middle])
    mass[~middle] = 1.0 - 0.5 * _each(math.erfc, x[~middle])
    near = ~(deep | far)
    found[near] = _each(math.log, mass[near])
    found[far] = -(0.5 * _each(math.erfc, x[far]))
    found[deep] = _log_tail(a[deep])
    return found


def _log_tail(a: Floats) -> Floats:
    """`log_ndtr` below -20, by the asymptotic series; each element gets as many terms as it would alone."""
    square = np.fromiter(map(pow, a.tolist(), repeat(2)), np.float64, a.size)  # C's pow need not be NumPy's product
    head = -0.5 * square - _each(math.log, -a) - 0.5 * math.log(2 * math.pi)
    total, before, factor, numerator = np.ones_like(a), np.zeros_like(a), np.ones_like(a), 1.0
    term = 0
    while (open_ := np.abs(before - total) > np.finfo(np.float64).eps).any():
        term += 1
        before = np.where(open_, total, before)
        factor *= 1 / square
        numerator *= 2 * term - 1
        total = np.where(open_, total + (-1) ** term * numerator * factor, total)
    return head + _each(math.log, total)


def _each(function: Callable[[float], float], numbers: Floats) -> Floats:
    return np.fromiter(map(function, numbers.tolist()), np.float64, numbers.size)
