"""Softmax cross-entropy against slow, independent arithmetic."""

import math

import numpy as np
import pytest

from model.loss import cross_entropy, softmax

WEIGHTS = np.array([0.0, 0.5, 1, 2, 3.5, 1e-3, 1])
ONES = np.ones(7)


def slow_loss(logits, labels, smoothing, weights):
    """The definition, one scalar at a time, with math.fsum."""
    losses = []
    for row, label, weight in zip(logits.tolist(), labels.tolist(), weights.tolist(), strict=True):
        log_total = max(row) + math.log(math.fsum(math.exp(z - max(row)) for z in row))
        classes = len(row)
        targets = [smoothing / classes + (1 - smoothing) * (k == label) for k in range(classes)]
        losses.append(-weight * math.fsum(t * (z - log_total) for t, z in zip(targets, row, strict=True)))
    return math.fsum(losses) / len(losses)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_the_loss_equals_its_definition(smoothing, weights):
    """Equal to the scalar transcription to 12 digits."""
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(0, 5, (7, 4)), rng.integers(0, 4, 7)

    loss, hits = cross_entropy(logits.copy(), labels, smoothing, weights)

    assert loss == pytest.approx(slow_loss(logits, labels, smoothing, ONES if weights is None else weights), rel=1e-12)
    assert hits == int((logits.argmax(axis=1) == labels).sum())


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_gradient_equals_central_differences(smoothing, weights):
    """Central differences of every logit."""
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(0, 2, (7, 5)), rng.integers(0, 5, 7)
    gradient = logits.copy()
    cross_entropy(gradient, labels, smoothing, weights)
    weights = ONES if weights is None else weights

    slopes = np.empty_like(logits)
    for at in np.ndindex(logits.shape):
        step = np.zeros_like(logits)
        step[at] = 1e-6
        up, down = (slow_loss(logits + move, labels, smoothing, weights) for move in (step, -step))
        slopes[at] = (up - down) / 2e-6

    np.testing.assert_allclose(gradient, slopes, atol=1e-9)


@pytest.mark.parametrize("size", [1e4, -1e4, 3e38])
def test_extreme_logits_stay_finite(size):
    """No overflow, no NaN, and no warning (which would be an error here)."""
    logits = np.zeros((2, 3), np.float32)
    logits[0, 1] = size
    loss, _ = cross_entropy(logits.copy(), np.array([1, 1]))

    assert math.isfinite(loss)
    np.testing.assert_allclose(softmax(logits.copy()).sum(axis=1), 1, rtol=1e-6)
