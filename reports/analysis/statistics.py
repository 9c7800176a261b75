"""Intervals, ranks and quantiles that several analyses share."""

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
    """The point of Student's distribution that a probability above 1/2 lies below, to six digits.

    With t = sqrt(degrees) tan(angle), the density in the angle is cos(angle)^(degrees - 1), summed numerically.
    """
    angle = np.linspace(0, math.pi / 2, 200_001)
    density = np.cos(angle) ** (degrees - 1)
    cumulative = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    place = float(np.interp((2 * probability - 1) * cumulative[-1], cumulative, angle))
    return float(math.sqrt(degrees) * math.tan(place))
