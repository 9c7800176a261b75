"""Training: it learns, is reproducible, resumes bit-identically, and reports divergence."""

import itertools
import pickle
import tracemalloc
from dataclasses import asdict, fields, replace
from itertools import islice

import numpy as np
import pytest

from model import checkpoint
from model.checkpoint import CheckpointError
from model.data.datasets import Examples
from model.epoch import Epoch
from model.epoch_selection import EpochSelection
from model.hyperparameters import Hyperparameters
from model.training import Diverged, TrainingState, learning_rate, memory_needed, train

SMALL = Hyperparameters(hidden_sizes=(16, 8), batch_size=32, learning_rate=0.01, epochs=6)


def fresh(data, settings=SMALL, seed=(1, 2), selection=None):
    return TrainingState.of(settings, data, seed, selection)


def run(state, data, **options):
    return list(train(state, data.train, data.validation, **options))


def numbers(epochs):
    return [{key: value for key, value in asdict(epoch).items() if key != "seconds"} for epoch in epochs]


def test_it_starts_at_chance_and_learns(digits):
    """The first loss is about ln 10; after six epochs on digits the accuracy is above 90 %."""
    epochs = run(fresh(digits), digits)

    assert 1.0 < epochs[0].train_loss < 2.6
    assert epochs[-1].validation["accuracy"] > 0.9
    assert [epoch.index for epoch in epochs] == list(range(6))


def test_a_batch_can_be_overfitted(blobs):
    """A large enough network reaches a training loss of nearly 0."""
    settings = replace(SMALL, hidden_sizes=(64,), epochs=150, learning_rate=0.02)

    assert run(fresh(blobs, settings), blobs)[-1].train_loss < 0.02


@pytest.mark.parametrize("settings", [SMALL, replace(SMALL, dropout=0.3, input_dropout=0.1, schedule="cosine")])
def test_the_same_seed_gives_the_same_bits(blobs, settings):
    """Equal seeds give equal metrics and weights; another seed gives others."""
    one, two, other = fresh(blobs, settings), fresh(blobs, settings), fresh(blobs, settings, seed=(1, 3))

    assert numbers(run(one, blobs)) == numbers(run(two, blobs))
    np.testing.assert_array_equal(one.network.theta, two.network.theta)
    run(other, blobs)
    assert not np.array_equal(one.network.theta, other.network.theta)


OTHER = {
    "hidden_sizes": (17, 8),
    "learning_rate": 0.02,
    "batch_size": 16,
    "beta1": 0.8,
    "beta2": 0.99,
    "epsilon": 1e-3,
    "weight_decay": 0.1,
    "dropout": 0.2,
    "input_dropout": 0.2,
    "label_smoothing": 0.1,
    "averaging": 0.5,
    "class_weights": "balanced",
    "activation": "gelu",
    "schedule": "cosine",
    "epochs": 7,
}
"""Another value of every field than that of SMALL."""


@pytest.fixture(scope="module")
def trained(blobs):
    """The weights that SMALL, with one field changed, gives after its epochs."""

    def train_with(changes):
        state = fresh(blobs, replace(SMALL, **changes))
        run(state, blobs)
        return state.evaluated.theta

    return train_with


@pytest.mark.parametrize("name", [field.name for field in fields(Hyperparameters)])
def test_every_hyperparameter_changes_the_trained_weights(trained, name):
    """Otherwise an unused field could be searched and confirmed as better."""
    assert not np.array_equal(trained({}), trained({name: OTHER[name]}))


@pytest.mark.parametrize(("after", "averaging"), [(1, 0.0), (1, 0.4), (3, 0.4), (5, 0.0)])
def test_a_checkpoint_continues_to_the_same_bits(blobs, tmp_path, after, averaging):
    """Interrupted after any epoch, all later epochs and the selected weights equal those of an uninterrupted run."""
    settings = replace(SMALL, dropout=0.2, weight_decay=0.1, schedule="cosine", averaging=averaging)
    whole = fresh(blobs, settings)
    expected = numbers(run(whole, blobs))
    broken = fresh(blobs, settings)
    for _ in islice(train(broken, blobs.train, blobs.validation), after):
        checkpoint.save(broken, tmp_path / "checkpoint.npz")

    continued = fresh(blobs, settings)
    checkpoint.restore(continued, tmp_path / "checkpoint.npz")

    assert numbers(continued.epochs) == expected[:after]
    assert numbers(run(continued, blobs)) == expected[after:]
    np.testing.assert_array_equal(continued.network.theta, whole.network.theta)
    np.testing.assert_array_equal(continued.selected_theta, whole.selected_theta)


def test_a_damaged_checkpoint_is_refused(blobs, tmp_path):
    """Every flipped byte or truncation is detected, and the state is unchanged."""
    state = fresh(blobs)
    next(train(state, blobs.train, blobs.validation))
    path = tmp_path / "checkpoint.npz"
    checkpoint.save(state, path)
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    for damaged in [b"", good[: len(good) // 2], *(_flipped(good, at) for at in rng.integers(0, len(good), 40))]:
        path.write_bytes(damaged)
        untouched = fresh(blobs)
        before = untouched.network.theta.copy()
        try:
            checkpoint.restore(untouched, path)
        except CheckpointError:
            np.testing.assert_array_equal(untouched.network.theta, before)
        else:  # a byte that zip does not use, such as its time stamp
            np.testing.assert_array_equal(untouched.network.theta, state.network.theta)


def _flipped(data, at):
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def test_a_checkpoint_of_another_training_is_refused(blobs, tmp_path):
    """Settings and seed are part of its identity."""
    state = fresh(blobs)
    next(train(state, blobs.train, blobs.validation))
    checkpoint.save(state, tmp_path / "checkpoint.npz")
    other = fresh(blobs, seed=(1, 3))

    with pytest.raises(CheckpointError, match="another training"):
        checkpoint.restore(other, tmp_path / "checkpoint.npz")


@pytest.mark.filterwarnings("error")
def test_divergence_names_epoch_and_step(blobs):
    """Eight wide layers with a learning rate of 10 overflow; no warning, one clear exception."""
    state = fresh(blobs, replace(SMALL, learning_rate=10.0, hidden_sizes=(512,) * 8, beta1=0.0, beta2=0.0))
    with pytest.raises(Diverged) as caught:
        run(state, blobs)

    assert f"epoch {caught.value.epoch + 1}, step {caught.value.step + 1}" in str(caught.value)
    assert len(state.epochs) == caught.value.epoch


@pytest.mark.parametrize("step", [1, 3, 6])
def test_an_overflow_is_reported_at_its_batch(blobs, monkeypatch, step):
    """An overflow in step k is detected in step k + 1, or after the last step by the validation loss."""
    state = fresh(blobs)
    real, calls = state.optimizer.step, itertools.count(1)

    def breaking(theta, gradient, rate):
        real(theta, gradient, rate)
        if next(calls) == 7 * 2 + step + 1:
            theta *= 1e30

    monkeypatch.setattr(state.optimizer, "step", breaking)
    with pytest.raises(Diverged) as caught:
        run(state, blobs)

    assert (caught.value.epoch, caught.value.step) == (2, min(step + 1, 6))
    assert len(state.epochs) == 2
    copied = pickle.loads(pickle.dumps(caught.value))
    assert (str(copied), copied.step) == (str(caught.value), caught.value.step)


@pytest.mark.parametrize(
    "settings",
    [
        replace(SMALL, hidden_sizes=(900, 700)),
        replace(SMALL, batch_size=2048),
        replace(SMALL, hidden_sizes=(200, 100), batch_size=1024, activation="gelu"),
    ],
)
def test_the_memory_estimate_is_close(digits, tmp_path, settings):
    """The peak of arrays and checkpoint, by tracemalloc, is within a third of the estimate."""
    settings = replace(settings, epochs=1, hidden_sizes=settings.hidden_sizes[:2])
    tracemalloc.start()
    try:
        state = fresh(digits, settings)
        run(state, digits)
        checkpoint.save(state, tmp_path / "checkpoint.npz")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak == pytest.approx(memory_needed(settings, 64, 10), rel=0.34)


def test_epochs_are_selected_by_the_objective_or_as_the_last(blobs):
    """Best by the objective, ties to the lower loss and then to the earlier epoch; or the last."""
    losses, accuracies = [0.5, 0.4, 0.6, 0.4], [0.8, 0.9, 0.9, 0.9]
    epochs = [
        Epoch(i, 0.1, 0.0, 0.0, {"loss": loss, "accuracy": accuracy}, 0.0)
        for i, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True))
    ]

    for selection, expected in [
        (EpochSelection("validation_accuracy", "best"), 1),
        (EpochSelection("validation_loss", "best"), 1),
        (EpochSelection("validation_accuracy", "last"), 3),
    ]:
        state = fresh(blobs, selection=selection)
        for epoch in epochs:
            state.record(epoch)
        assert state.selected.index == expected


def test_a_stop_does_not_shorten_the_schedule(blobs):
    """`stop_after` runs fewer epochs with the learning rates of the whole schedule."""
    settings = replace(SMALL, schedule="cosine")
    whole, part = run(fresh(blobs, settings), blobs), run(fresh(blobs, settings), blobs, stop_after=2)

    assert numbers(part) == numbers(whole[:2])


def test_without_validation_its_metrics_are_missing(blobs):
    """As for the final models: the last epoch is selected."""
    state = fresh(blobs, selection=EpochSelection(epoch="last"))
    epochs = list(train(state, blobs.train, None))

    assert all(epoch.validation == {} for epoch in epochs)
    assert all(epoch.row()["validation_loss"] is None for epoch in epochs)
    np.testing.assert_array_equal(state.selected_theta, state.network.theta)


@pytest.fixture(scope="module")
def rare():
    """Two overlapping clouds: 3800 examples of class 0 and 200 of class 1; three quarters are for training.

    The best possible balanced accuracy is that of the line between two normal distributions sqrt(2) apart, 0.76.
    """
    rng = np.random.default_rng(8)
    labels = np.repeat([0, 1], [3800, 200])
    inputs = (rng.normal(0, 1, (4000, 2)) + labels[:, np.newaxis]).astype(np.float32)
    return [Examples(inputs, labels, rows) for rows in (np.flatnonzero(np.arange(4000) % 4), np.arange(0, 4000, 4))]


def final_epoch(examples, validation, **changes):
    settings = replace(SMALL, **{"epochs": 20, **changes})
    state = TrainingState.fresh(settings, examples.inputs.shape[1], 2, (1, 2))
    return list(train(state, examples, validation))[-1]


def test_balanced_classes_find_the_rare_class(rare):
    """Balanced accuracy rises from nearly that of always guessing the majority, 0.5, to nearly the best possible."""
    plain, balanced = (final_epoch(*rare, class_weights=words) for words in ("none", "balanced"))

    assert plain.validation["balanced_accuracy"] < 0.55
    assert balanced.validation["balanced_accuracy"] > 0.7
    assert balanced.validation["accuracy"] < plain.validation["accuracy"]


def test_balanced_classes_of_equal_size_change_no_bit(rare):
    """Every weight is then exactly 1, also for three classes of seven examples."""
    labels = np.repeat([0, 1, 2], 7)
    examples = Examples(rare[0].inputs[:21], labels, np.arange(21))
    states = [TrainingState.fresh(replace(SMALL, class_weights=words), 2, 3, (1,)) for words in ("none", "balanced")]
    plain, balanced = (numbers(train(state, examples, None)) for state in states)

    assert plain == balanced
    np.testing.assert_array_equal(states[0].network.theta, states[1].network.theta)


def test_the_training_loss_is_the_weighted_mean(rare):
    """With balanced classes it is the mean over classes of their mean loss, here by batches and by hand."""
    examples, _ = rare
    settings = replace(SMALL, learning_rate=1e-12, class_weights="balanced", epochs=1)
    state = TrainingState.fresh(settings, 2, 2, (1, 2))
    epoch = next(train(state, examples, None))

    network = state.network.with_weights(state.network.theta, np.float64)
    losses = -np.log(network.predict(examples.inputs)[np.arange(4000), examples.labels])
    by_class = [losses[examples.rows][examples.labels[examples.rows] == label].mean() for label in (0, 1)]
    assert epoch.train_loss == pytest.approx(np.mean(by_class), rel=1e-5)


def test_classes_are_balanced_by_the_training_rows_alone(rare):
    """Labels of other rows, a class that only they have included, change no weight."""
    examples, validation = rare
    labels = examples.labels.copy()
    labels[validation.rows] = 2
    states = [TrainingState.fresh(replace(SMALL, class_weights="balanced"), 2, 3, (1, 2)) for _ in range(2)]
    for state, kept in zip(states, (examples, replace(examples, labels=labels)), strict=True):
        run_epochs = list(train(state, kept, None))
        assert np.isfinite(run_epochs[-1].train_loss)

    np.testing.assert_array_equal(states[0].network.theta, states[1].network.theta)


@pytest.mark.parametrize("changes", [{}, {"class_weights": "balanced", "activation": "gelu"}])
def test_training_raises_no_floating_point_error(blobs, changes):
    """Underflow in Adam and in probabilities is no error, even when NumPy is told to raise one."""
    settings = replace(SMALL, learning_rate=0.05, beta1=0.5, epochs=40, **changes)
    plain, strict = fresh(blobs, settings), fresh(blobs, settings)
    run(plain, blobs)
    with np.errstate(all="raise"):
        run(strict, blobs)

    np.testing.assert_array_equal(strict.network.theta, plain.network.theta)


def test_divergence_is_the_same_when_numpy_raises_errors(blobs):
    """An overflow ends as `Diverged`, not as a FloatingPointError."""
    state = fresh(blobs, replace(SMALL, learning_rate=10.0, hidden_sizes=(512,) * 8, beta1=0.0, beta2=0.0))
    with np.errstate(all="raise"), pytest.raises(Diverged):
        run(state, blobs)


def test_the_cosine_schedule_ends_at_zero():
    """Half of the learning rate in the middle."""
    settings = replace(SMALL, schedule="cosine", learning_rate=0.4)

    assert learning_rate(settings, 0, 100) == pytest.approx(0.4)
    assert learning_rate(settings, 50, 100) == pytest.approx(0.2)
    assert learning_rate(settings, 100, 100) == pytest.approx(0.0)


def test_a_short_last_batch_is_weighted_by_its_size(blobs):
    """The epoch's loss is the mean over examples, not over batches: batches of 200 and of 7 agree at the start."""
    frozen = replace(SMALL, learning_rate=1e-12, epochs=1)
    one = run(fresh(blobs, replace(frozen, batch_size=200)), blobs)[0]
    many = run(fresh(blobs, replace(frozen, batch_size=7)), blobs)[0]

    assert many.train_loss == pytest.approx(one.train_loss, rel=1e-5)


@pytest.mark.mnist
@pytest.mark.slow
def test_accuracy_on_mnist_after_three_epochs(tmp_path):
    """128-64 units reach 96.5 % on the validation images in three epochs, on average of three seeds."""
    from model.data import datasets

    data = datasets.load(datasets.prepare("mnist", tmp_path, download=False), 0)
    settings = Hyperparameters(epochs=3)
    found = [run(fresh(data, settings, seed=(seed,)), data)[-1].validation["accuracy"] for seed in range(3)]

    assert np.mean(found) > 0.965
