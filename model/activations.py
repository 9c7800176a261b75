"""The activation `gelu`, z Phi(z) with the standard normal distribution function Phi, and its derivative.

Hendrycks & Gimpel 2016 (arXiv 1606.08415), the exact form, not the approximation by tanh. ReLU needs no file: it is a
maximum in `model/network.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from model.loss import Floats

_ALPHA = (
    -2.72614225801306e-10,
    2.77068142495902e-08,
    -2.10102402082508e-06,
    -5.69250639462346e-05,
    -7.34990630326855e-04,
    -2.95459980854025e-03,
    -1.60960333262415e-02,
)
_BETA = (
    -1.45660718464996e-05,
    -2.13374055278905e-04,
    -1.68282697438203e-03,
    -7.37332916720468e-03,
    -1.42647390514189e-02,
)
"""Coefficients of erf(x) = x A(x^2) / B(x^2) on [-4, 4], highest power first, as in Eigen and XLA (`ErfImpl32`)."""


def erf(x: Floats) -> Floats:
    """The error function of each element, to the precision of its dtype.

    float32 takes the rational approximation (at most 4e-7 from erf). float64, which only gradient checks and the
    estimator's probabilities use, takes the C library's function, 70 ns an element.
    """
    if x.dtype == np.float64:
        return np.fromiter(map(math.erf, x.ravel().tolist()), np.float64, x.size).reshape(x.shape)
    x = np.clip(x, -4, 4)
    square = x * x
    return x * _polynomial(_ALPHA, square) / _polynomial(_BETA, square)


def gelu(z: Floats, slope: Floats | None = None) -> None:
    """Replace sums z (n, units) by z Phi(z), in place.

    Args:
        z: the sums of a layer.
        slope: of the same shape; set to the derivative Phi(z) + z phi(z), if given.
    """
    below = 0.5 * (1 + erf(z / math.sqrt(2)))
    if slope is not None:
        np.exp(-0.5 * z * z, out=slope)
        slope *= z / math.sqrt(2 * math.pi)
        slope += below
    z *= below


def _polynomial(coefficients: Sequence[float], x: Floats) -> Floats:
    """Horner's scheme, highest power first."""
    total = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total *= x
        total += coefficient
    return total
