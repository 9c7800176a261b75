"""The network: a step calculated by hand, and gradients checked in one random direction."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier

from model.adam import Adam
from model.dropout import Dropout
from model.network import MLP, parameters


def set_layer(network, index, weights, biases):
    network.layers[index].weights[...] = weights
    network.layers[index].biases[...] = biases


def test_a_step_calculated_by_hand():
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


def test_a_gradient_through_a_hidden_unit_calculated_by_hand():
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


SHARES = st.sampled_from([0.0, 0.2, 0.5])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=2, max_size=7),
    n=st.integers(1, 9),
    smoothing=st.sampled_from([0.0, 0.1, 0.9]),
    inputs=SHARES,
    hidden=SHARES,
    activation=st.sampled_from(["relu", "gelu"]),
    seed=st.integers(0, 2**32 - 1),
)
@example(sizes=[3, 4, 4, 4, 4, 4, 4, 4, 4, 5], n=6, smoothing=0.0, inputs=0.0, hidden=0.0, activation="relu", seed=5)
@example(sizes=[3, 4, 4, 4, 5], n=6, smoothing=0.1, inputs=0.2, hidden=0.5, activation="gelu", seed=5)
def test_the_gradient_equals_the_difference_in_a_random_direction(
    sizes, n, smoothing, inputs, hidden, activation, seed
):
    """Central difference in float64 along one random direction; dropout masks are those of an equal generator."""
    rng = np.random.default_rng(seed)
    network = MLP(sizes, np.float64, activation=activation)
    network.initialise(rng)
    for layer in network.layers:
        layer.biases[...] = rng.normal(0, 0.5, layer.biases.shape)  # with zero biases dead layers sit on ReLU's kink
    batch, labels = rng.normal(size=(n, sizes[0])), rng.integers(0, sizes[-1], n)

    def loss():
        network.feed(batch)
        dropout = Dropout(inputs, hidden, np.random.default_rng(6)) if inputs or hidden else None
        return network.backpropagate(n, labels, smoothing, dropout)[0]

    def active():
        return np.concatenate([a.ravel() > 0 for a in network._buffers[n].activations])

    loss()
    gradient, theta = network.gradient.copy(), network.theta.copy()
    direction = rng.normal(size=theta.size)
    network.theta[...] = theta + 1e-6 * direction
    up, units = loss(), active()
    network.theta[...] = theta - 1e-6 * direction
    down = loss()
    assume(activation == "gelu" or (active() == units).all())  # a step across ReLU's kink has no slope

    analytic, slope = float(gradient @ direction), (up - down) / 2e-6
    assert analytic == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_the_loss_equals_scikit_learns():
    """The same weights, the same data: the log loss of its probabilities, and the loss that its training reports."""
    rng = np.random.default_rng(11)
    images, labels = rng.normal(size=(40, 6)), np.arange(40) % 4
    # One step of plain descent, too small to change a weight: what it reports is the loss at these weights.
    theirs = MLPClassifier((7, 5), solver="sgd", alpha=0, batch_size=40, max_iter=1, learning_rate_init=1e-200)
    with pytest.warns(ConvergenceWarning):
        theirs.fit(images, labels)
    network = MLP((6, 7, 5, 4), np.float64)
    for layer, weights, biases in zip(network.layers, theirs.coefs_, theirs.intercepts_, strict=True):
        layer.weights[...], layer.biases[...] = weights, biases
    network.feed(images)
    loss, hits = network.backpropagate(40, labels)

    assert loss == pytest.approx(theirs.loss_, rel=1e-12)
    assert loss == pytest.approx(log_loss(labels, theirs.predict_proba(images)), rel=1e-12)
    assert hits == round(40 * theirs.score(images, labels))
    np.testing.assert_allclose(network.predict(images), theirs.predict_proba(images), rtol=1e-10)


def test_permuting_the_classes_permutes_their_columns():
    """Labels and the last layer's columns permuted alike: same loss, same hits, the same gradients elsewhere."""
    rng = np.random.default_rng(12)
    network, other = MLP((6, 5, 4), np.float64), MLP((6, 5, 4), np.float64)
    network.initialise(rng)
    batch, labels, order = rng.normal(size=(8, 6)), rng.integers(0, 4, 8), rng.permutation(4)
    other.theta[...] = network.theta
    other.layers[-1].matrix[...] = network.layers[-1].matrix[:, order]
    network.feed(batch)
    other.feed(batch)

    loss, hits = network.backpropagate(8, labels, 0.1)
    assert other.backpropagate(8, np.argsort(order)[labels], 0.1) == (pytest.approx(loss, rel=1e-12), hits)
    # the hidden layer's part of the gradient comes first: 7 x 5 numbers
    np.testing.assert_allclose(other.gradient[:35], network.gradient[:35], rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(
        other.gradient[35:].reshape(6, 4), network.gradient[35:].reshape(6, 4)[:, order], rtol=1e-10, atol=1e-15
    )


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_a_step_allocates_no_large_arrays(dropout):
    """Over 10 steps never more than 100 KiB at once; one activation of the first layer would be 256 KiB."""
    rng = np.random.default_rng(13)
    network = MLP((784, 512, 256, 10), scale=1 / 255)
    network.initialise(rng)
    adam = Adam(network.theta, 0.9, 0.999, 1e-8, 0.01)
    images, labels = rng.integers(0, 256, (128, 784), dtype=np.uint8), rng.integers(0, 10, 128)
    drop = Dropout(dropout, dropout, rng) if dropout else None

    def step():
        network.feed(images)
        network.backpropagate(128, labels, 0.1, drop)
        adam.step(network.theta, network.gradient, 1e-3)

    step()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(10):
            step()
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak - before < 100 * 1024
    assert now - before < 10 * 1024


def plain_logits(network, inputs):
    """Layer by layer, weights and biases apart."""
    for layer in network.layers[:-1]:
        inputs = np.maximum(inputs @ layer.weights + layer.biases, 0)
    return inputs @ network.layers[-1].weights + network.layers[-1].biases


def test_bytes_are_scaled_and_biases_are_not():
    """Fed twice, which would show a scaled column of ones; and once after dropout."""
    rng = np.random.default_rng(15)
    network = MLP((6, 5, 4), np.float64, scale=1 / 255)
    network.theta[...] = rng.normal(size=network.theta.shape)
    images = rng.integers(0, 256, (8, 6), dtype=np.uint8)
    expected = plain_logits(network, images / 255)
    for _ in range(2):
        network.feed(images)
        np.testing.assert_allclose(network.logits(8), expected, rtol=1e-12)
    network.feed(images)
    network.backpropagate(8, rng.integers(0, 4, 8), 0.0, Dropout(0.5, 0.5, rng))
    network.feed(images)
    np.testing.assert_allclose(network.logits(8), expected, rtol=1e-12)


def test_batches_of_different_sizes_are_independent():
    """More sizes than kept buffers, with evaluation between two training batches of one size."""
    rng = np.random.default_rng(16)
    network = MLP((6, 5, 4), np.float64)
    network.theta[...] = rng.normal(size=network.theta.shape)
    inputs, labels = rng.normal(size=(9, 6)), rng.integers(0, 4, 9)
    for n in (9, 3, 5, 1, 7, 9, 2, 9):
        network.feed(inputs[:n])
        np.testing.assert_allclose(network.logits(n), plain_logits(network, inputs[:n]), rtol=1e-12)
    network.feed(inputs)
    network.backpropagate(9, labels)
    first = network.gradient.copy()
    network.feed(inputs[::-1])
    network.logits(9)
    network.feed(inputs)
    network.backpropagate(9, labels)

    np.testing.assert_array_equal(network.gradient, first)


def test_a_copy_is_independent():
    """After pickling or copying, the layers are views into the copy's weights."""
    network = MLP((3, 4, 2))
    network.initialise(np.random.default_rng(14))
    for copied in (pickle.loads(pickle.dumps(network)), copy.deepcopy(network)):
        np.testing.assert_array_equal(copied.theta, network.theta)
        copied.theta[...] = 1
        assert (copied.layers[0].weights == 1).all()
        assert not (network.theta == 1).all()


def test_an_untrained_network_is_at_chance():
    """He's weights on scaled noise give a loss near ln(classes)."""
    rng = np.random.default_rng(7)
    network = MLP((50, 64, 10))
    network.initialise(rng)
    network.feed(rng.normal(0, 0.1, (500, 50)))
    loss, _ = network.backpropagate(500, rng.integers(0, 10, 500))

    assert loss == pytest.approx(np.log(10), abs=0.1)


def test_he_initialisation_has_the_expected_variance():
    """Var(w) = 2 / fan in (He et al. 2015), biases 0."""
    network = MLP((400, 300, 10))
    network.initialise(np.random.default_rng(8))

    assert network.layers[0].weights.var() == pytest.approx(2 / 400, rel=0.02)
    assert not network.layers[0].biases.any()


def test_permuting_the_samples_does_not_change_the_gradient():
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
