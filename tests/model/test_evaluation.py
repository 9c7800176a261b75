"""Calibration, calculated by hand."""

import numpy as np

from model.evaluation import calibration


def test_examples_are_grouped_by_confidence_in_equal_numbers():
    """Of 0.5 and 0.6 one is correct; of 0.8 and 1.0 both are."""
    hits = np.array([True, False, True, True])
    confidence = np.array([1.0, 0.5, 0.6, 0.8], dtype=np.float32)
    found = calibration(hits, confidence, groups=2)

    assert [group["n"] for group in found] == [2, 2]
    np.testing.assert_allclose([group["confidence"] for group in found], [0.55, 0.9], rtol=1e-6)
    assert [group["accuracy"] for group in found] == [0.5, 1.0]


def test_fewer_examples_than_groups_give_fewer_groups():
    assert [group["n"] for group in calibration(np.array([True]), np.array([0.7], dtype=np.float32))] == [1]
