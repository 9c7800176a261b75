"""Intervals, ranks and quantiles that several analyses, and the verdict of a sweep, share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NORMAL_975 = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


def ranks(values: NDArray[Any]) -> Floats:
    """Ranks from 1 of values (n,); ties get their mean rank."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((count.cumsum() - (count - 1) / 2)[place], dtype=np.float64)


def spearman(x: Floats, y: Floats) -> float:
    """Spearman's rank correlation, ties with their mean rank; 0 if one of them is constant."""
    a, b = (rank - rank.mean() for rank in map(ranks, (x, y)))
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / norm if norm else 0.0


def spearman_interval(correlation: Floats, n: int) -> tuple[Floats, Floats]:
    """95 % interval of Spearman's rank correlations of n pairs (Bonett and Wright 2000, doi 10.1007/BF02294183)."""
    z = np.arctanh(np.clip(correlation, -0.999999, 0.999999))
    width = NORMAL_975 * np.sqrt((1 + correlation**2 / 2) / (n - 3))
    return np.tanh(z - width), np.tanh(z + width)


def wilson(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927): also good near 100 %, where the normal interval leaves [0, 1]."""
    z2 = NORMAL_975**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_975 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, middle - half), min(1.0, middle + half)  # rounding can exceed the limits by a last bit


def t_quantile(degrees: float, probability: float) -> float:
    """The point of Student's distribution that a probability lies below."""
    from scipy.special import stdtrit  # 0.2 s to import, for confirmed studies only

    return float(stdtrit(degrees, probability))


def corrected_half_width(deviation: float, n: int, overlap: float) -> float:
    """Half of the 95 % interval of a mean of n values on splits, by the corrected resampled t test.

    The training examples of any two splits overlap, so that the values on them are correlated. The variance of the mean
    is therefore estimated as s^2 (1 / n + overlap) instead of s^2 / n (Nadeau & Bengio 2003, Machine Learning 52,
    equation 8).

    Args:
        deviation: standard deviation of the values.
        n: their number, at least 2.
        overlap: number of validation examples divided by that of training examples; 0 for values on one split.
    """
    return t_quantile(n - 1, 0.975) * deviation * math.sqrt(1 / n + overlap)
