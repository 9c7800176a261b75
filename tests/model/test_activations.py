"""erf against the C library's, gelu and its slope against their definitions."""

import math

import numpy as np
import pytest

from model.network import erf, gelu

POINTS = np.linspace(-8, 8, 20_001)


def test_erf_equals_the_c_librarys_to_the_precision_of_the_dtype():
    expected = np.array([math.erf(x) for x in POINTS.tolist()])

    np.testing.assert_array_equal(erf(POINTS), expected)
    np.testing.assert_allclose(erf(POINTS.astype(np.float32)), expected, atol=4e-7)


def test_gelu_and_its_slope():
    """Against z Phi(z) and its central differences in float64."""
    z, slope = POINTS.copy(), np.empty_like(POINTS)
    gelu(z, slope)
    up, down = POINTS + 1e-6, POINTS - 1e-6
    gelu(up)
    gelu(down)

    np.testing.assert_allclose(z, [x * 0.5 * math.erfc(-x / math.sqrt(2)) for x in POINTS.tolist()], atol=1e-14)
    np.testing.assert_allclose(slope, (up - down) / 2e-6, atol=1e-8)


@pytest.mark.parametrize("value", [0.0, 30.0, -30.0])
def test_gelu_of_extreme_values(value):
    z, slope = np.array([[value]], np.float32), np.empty((1, 1), np.float32)
    gelu(z, slope)

    assert z[0, 0] == max(value, 0)
    assert slope[0, 0] == {0.0: 0.5, 30.0: 1.0, -30.0: 0.0}[value]
