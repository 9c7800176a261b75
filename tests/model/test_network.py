"""The network: a step worked by hand, and gradients proved in one random direction."""

import numpy as np
import pytest

from model.dropout import Dropout
from model.network import MLP, parameters


def set_layer(network, index, weights, biases):
    network.layers[index].weights[...] = weights
    network.layers[index].biases[...] = biases


def test_a_step_worked_by_hand():
    """A 2-2-2 network on one example.

    x = (1, 2); hidden z = (1*1 + 2*0 + 0, 1*(-1) + 2*(-1) + 1) = (1, -2), so a = (1, 0).
    Logits: (1*0 + 0, 1*0 + 0) = (0, 0), so p = (1/2, 1/2) and, for label 0, loss = ln 2.
    Their gradient is d = p - one_hot = (-1/2, 1/2).
    Output weights: a^T d = [[-1/2, 1/2], [0, 0]]; biases: d.
    Back to a with W2 = [[0, 0], [3, 5]]: d W2^T = (0, -3/2 + 5/2) = (0, 1), but the second unit is off, so (0, 0).
    """
    network = MLP((2, 2, 2), np.float64)
    set_layer(network, 0, [[1, -1], [0, -1]], [0, 1])
    set_layer(network, 1, [[0, 0], [3, 5]], [0, 0])
    network.feed(np.array([[1, 2]]))

    loss, _ = network.backpropagate(1, np.array([0]))

    assert loss == pytest.approx(np.log(2))
    np.testing.assert_allclose(network.gradient, [0, 0, 0, 0, 0, 0, -0.5, 0.5, 0, 0, -0.5, 0.5])


def test_a_gradient_through_a_hidden_unit_worked_by_hand():
    """A 1-1-2 network: x = 3, z = 2*3 - 1 = 5 = a, logits (5*1, 5*(-1)) = (5, -5), label 1.

    p1 = 1 / (1 + e^10); d = (1 - p1, -(1 - p1)) = q (1, -1). To a: q (1*1 + (-1)(-1)) = 2q; to w: 3 * 2q; to b: 2q.
    """
    network = MLP((1, 1, 2), np.float64)
    set_layer(network, 0, [[2]], [-1])
    set_layer(network, 1, [[1, -1]], [0, 0])
    network.feed(np.array([[3]]))

    network.backpropagate(1, np.array([1]))

    q = 1 - 1 / (1 + np.exp(10))
    np.testing.assert_allclose(network.gradient, [6 * q, 2 * q, 5 * q, -5 * q, q, -q], rtol=1e-12)


@pytest.mark.parametrize(
    ("sizes", "n", "smoothing", "inputs", "hidden"),
    [
        ((5, 4, 3), 7, 0.0, 0.0, 0.0),
        ((9, 8, 7, 6, 2), 3, 0.1, 0.0, 0.5),
        ((6, 10, 4), 5, 0.3, 0.2, 0.3),
        ((3, 4, 4, 4, 4, 4, 4, 4, 4, 5), 6, 0.0, 0.0, 0.0),
    ],
)
def test_the_gradient_is_the_slope_in_a_random_direction(sizes, n, smoothing, inputs, hidden):
    """Central difference in float64 along one random direction; dropout masks are those of an equal generator."""
    rng = np.random.default_rng(5)
    network = MLP(sizes, np.float64)
    network.initialise(rng)
    for layer in network.layers:
        layer.biases[...] = rng.normal(0, 0.5, layer.biases.shape)  # with zero biases dead layers sit on ReLU's kink
    batch, labels = rng.normal(size=(n, sizes[0])), rng.integers(0, sizes[-1], n)

    def loss():
        network.feed(batch)
        dropout = Dropout(inputs, hidden, np.random.default_rng(6)) if inputs or hidden else None
        return network.backpropagate(n, labels, smoothing, dropout)[0]

    loss()
    gradient, theta = network.gradient.copy(), network.theta.copy()
    direction = rng.normal(size=theta.size)
    network.theta[...] = theta + 1e-6 * direction
    up = loss()
    network.theta[...] = theta - 1e-6 * direction
    slope, analytic = (up - loss()) / 2e-6, float(gradient @ direction)

    assert analytic == pytest.approx(slope, rel=1e-6), f"backpropagation says {analytic}, the difference {slope}"


def test_a_network_that_knows_nothing_is_at_chance():
    """He's weights on scaled noise give a loss near ln(classes)."""
    rng = np.random.default_rng(7)
    network = MLP((50, 64, 10))
    network.initialise(rng)
    network.feed(rng.normal(0, 0.1, (500, 50)))
    loss, _ = network.backpropagate(500, rng.integers(0, 10, 500))

    assert loss == pytest.approx(np.log(10), abs=0.1)


def test_he_initialisation_has_its_variance():
    """Var(w) = 2 / fan in (He et al. 2015), biases 0."""
    network = MLP((400, 300, 10))
    network.initialise(np.random.default_rng(8))

    assert network.layers[0].weights.var() == pytest.approx(2 / 400, rel=0.02)
    assert not network.layers[0].biases.any()


def test_permuting_the_samples_changes_nothing():
    """Loss and gradient are means over the batch."""
    rng = np.random.default_rng(10)
    network = MLP((6, 5, 3), np.float64)
    network.initialise(rng)
    batch, labels, order = rng.normal(size=(8, 6)), rng.integers(0, 3, 8), rng.permutation(8)
    network.feed(batch)
    loss, hits = network.backpropagate(8, labels)
    gradient = network.gradient.copy()
    network.feed(batch[order])

    assert network.backpropagate(8, labels[order]) == (pytest.approx(loss, rel=1e-12), hits)
    np.testing.assert_allclose(network.gradient, gradient, rtol=1e-10, atol=1e-15)


def test_parameters_counts_weights_and_biases():
    """784-128-64-10 has 109,386."""
    assert parameters((784, 128, 64, 10)) == 784 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10
