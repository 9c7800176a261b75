"""Adam against an independent transcription of the papers, and its known properties."""

import math

import numpy as np
import pytest

from model.adam import CHUNK_SIZE, Adam


def paper_adamw(theta, gradients, rate, beta1, beta2, epsilon, decay):
    """Kingma & Ba 2015, algorithm 1, one scalar at a time; decay as in Loshchilov & Hutter 2019, algorithm 2."""
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        theta = theta - rate * decay * theta
        theta = theta - rate * m_hat / (math.sqrt(v_hat) + epsilon)
    return theta


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(("beta1", "beta2", "epsilon"), [(0.9, 0.999, 1e-8), (0.0, 0.5, 1e-3), (0.95, 0.0, 1e-8)])
def test_it_equals_a_transcription_of_the_papers(beta1, beta2, epsilon, decay):
    """Fifty steps agree to 1e-11 with the scalar transcription."""
    rng = np.random.default_rng(3)
    start, gradients = rng.normal(size=5), rng.normal(size=(50, 5))
    theta = start.copy()
    adam = Adam(theta, beta1, beta2, epsilon, decay)
    for gradient in gradients:
        adam.step(theta, gradient, 0.01)

    expected = [paper_adamw(s, g, 0.01, beta1, beta2, epsilon, decay) for s, g in zip(start, gradients.T, strict=True)]
    np.testing.assert_allclose(theta, expected, rtol=1e-11)


def test_the_first_step_has_the_size_of_the_learning_rate():
    """Kingma & Ba, section 2.1: the step is bounded by, and at first about, the learning rate."""
    theta = np.zeros(4)
    Adam(theta, 0.9, 0.999, 1e-12).step(theta, np.array([5.0, -0.001, 1e3, -7.0]), 0.01)

    np.testing.assert_allclose(theta, [-0.01, 0.01, -0.01, 0.01], rtol=1e-6)


def test_it_converges_on_a_quadratic():
    """Converges on a quadratic whose curvatures differ by 10,000."""
    scale = np.array([1.0, 100.0, 1e4])
    theta = np.array([1.0, -2.0, 3.0])
    adam = Adam(theta, 0.9, 0.999, 1e-8)
    for step in range(3000):
        adam.step(theta, scale * theta, 0.02 * (1 - step / 3000))

    assert np.abs(theta).max() < 1e-3


def test_chunks_do_not_change_the_result():
    """Updates are elementwise."""
    rng = np.random.default_rng(4)
    gradients = rng.normal(size=(3, CHUNK_SIZE + 7)).astype(np.float32)
    whole, last = np.zeros(CHUNK_SIZE + 7, np.float32), np.zeros(7, np.float32)
    one, other = Adam(whole, 0.9, 0.999, 1e-8), Adam(last, 0.9, 0.999, 1e-8)
    for gradient in gradients:
        one.step(whole, gradient, 0.1)
        other.step(last, gradient[CHUNK_SIZE:], 0.1)

    np.testing.assert_array_equal(whole[CHUNK_SIZE:], last)
