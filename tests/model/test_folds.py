"""The trainings of a trial in lockstep: their means, their checkpoint, and what each of them may see."""

import math
from dataclasses import replace
from itertools import islice
from statistics import fmean

import numpy as np
import pytest

from model import checkpoint
from model.adam import Adam
from model.averaging import WeightAverage
from model.batches import FoldBatches
from model.checkpoint import CheckpointError
from model.class_weights import weigh
from model.data import datasets
from model.data.arrays import Arrays, Column
from model.data.cache import replace_folder
from model.epoch_selection import EpochSelection
from model.evaluation import evaluate, predict
from model.folds import Folds, cut, memory_of
from model.hyperparameters import Hyperparameters
from model.metrics import METRICS
from model.training import ORDER, Diverged, TrainingState, memory_needed, train

SETTINGS = Hyperparameters(
    hidden_sizes=(8,),
    learning_rate=0.02,
    batch_size=16,
    epochs=5,
    dropout=0.2,
    averaging=0.33,
    class_weights="balanced",
)
SELECTION = EpochSelection("validation_loss", "best")


def table(folder, change=lambda raw: None):
    """A prepared table of 90 rows with a gap, a category and three classes; `change` alters its inputs."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [45, 25, 20])
    raw = np.stack([rng.normal(labels, 1.0), rng.integers(0, 3, 90), rng.normal(size=90)], axis=1)
    raw[::9, 2] = np.nan
    test, columns = raw[:12].copy(), (Column("a"), Column("town", ("Bonn", "Kiel", "Ulm")), Column("c"))
    change(raw)
    replace_folder(folder, "made", Arrays(raw, labels, test, labels[:12], ("x", "y", "z"), (3,), columns))
    return folder


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The table as three folds split it."""
    return datasets.load_folds(table(tmp_path_factory.mktemp("table") / "made"), 5, 3)


def fresh(parts, settings=SETTINGS):
    return Folds.of(settings, parts, [5, 2], SELECTION)


def numbers(epochs):
    return [{**epoch.row(), "seconds": None} for epoch in epochs]


def thetas(folds):
    state = folds.state
    return state.network.theta.tobytes(), state.averaged.theta.tobytes(), state.selected_theta.tobytes()


def networks_of(folds):
    """Of each fold: the weights that are evaluated."""
    return [network.theta.tobytes() for network in folds.state.evaluated.networks]


def test_one_fold_gives_the_bits_of_a_single_training(blobs, tmp_path):
    folds, state = fresh([blobs]), TrainingState.of(SETTINGS, blobs, [5, 2], SELECTION)
    ours, theirs = list(folds.train()), list(train(state, blobs.train, blobs.validation))

    assert numbers(ours) == numbers(theirs)
    assert folds.selected == ours[state.selected.index]
    assert folds.classifier().network.theta.tobytes() == state.selected_network().theta.tobytes()
    assert folds.confusion().tolist() == predict(state.selected_network(), blobs.validation).confusion.tolist()
    checkpoint.save(folds.state, tmp_path / "checkpoint.npz")
    checkpoint.restore(again := TrainingState.of(SETTINGS, blobs, [5, 2], SELECTION), tmp_path / "checkpoint.npz")
    assert again.network.theta.tobytes() == state.network.theta.tobytes()


def test_the_numbers_are_the_means_of_separate_trainings(parts):
    """One network after the other, with the weights and the orders of the examples with which the stack begins."""
    settings = replace(SETTINGS, dropout=0.0, label_smoothing=0.1, activation="gelu", weight_decay=0.1)
    folds = fresh(parts, settings)
    networks = [network.with_weights(network.theta) for network in folds.state.network.networks]
    orders = [order_of(folds, epoch) for epoch in range(settings.epochs)]
    ours = list(folds.train())
    alone = [separate(settings, *each) for each in zip(networks, parts, zip(*orders, strict=True), strict=True)]

    for epoch, *others in zip(ours, *alone, strict=True):
        assert epoch.validation == pytest.approx(
            {name: fmean(other[name] for other in others) for name in METRICS}, rel=1e-4
        )
    for ours_, theirs in zip(folds.state.network.networks, networks, strict=True):
        np.testing.assert_allclose(ours_.theta, theirs.theta, rtol=1e-3, atol=1e-5)


def order_of(folds, epoch):
    """The rows (folds, n) in the order of an epoch."""
    stream = np.random.default_rng(np.random.SeedSequence([*folds.state.seed, epoch, ORDER]))
    return FoldBatches([part.train for part in folds.data], 16).shuffled(stream)


def separate(settings, network, data, orders):
    """The metrics after each epoch of one fold's training, written out; `network` is trained."""
    optimizer = Adam(network.theta, settings.beta1, settings.beta2, settings.epsilon, settings.weight_decay)
    averaged = network.with_weights(network.theta)
    average = WeightAverage(averaged.theta, settings.averaging)
    factors, found = weigh("balanced", data.train, None), []
    for order in orders:
        for start in range(0, len(order), settings.batch_size):
            rows = order[start : start + settings.batch_size]
            network.feed(data.train.inputs[rows])
            network.backpropagate(len(rows), data.train.labels[rows], 0.1, None, factors[rows])
            optimizer.step(network.theta, network.gradient, settings.learning_rate)
            if average.is_due(optimizer.t):
                average.update(network.theta, optimizer.t)
        average.update(network.theta, optimizer.t)
        found.append(evaluate(averaged, data.validation))
    return found


def test_the_training_loss_is_the_mean_over_all_folds(parts):
    """Of the first epoch of a network that hardly learns."""
    folds = fresh(parts, replace(SETTINGS, learning_rate=1e-7, dropout=0.0, class_weights="none"))
    losses = [
        evaluate(network.with_weights(network.theta), part.train)["loss"]
        for network, part in zip(folds.state.network.networks, parts, strict=True)
    ]

    assert next(folds.train()).train_loss == pytest.approx(fmean(losses), rel=1e-3)


def test_all_folds_keep_the_weights_of_the_epoch_selected_by_the_means(parts):
    folds = fresh(parts)
    after = [networks_of(folds) for _ in folds.train()]
    best = int(np.argmin([epoch.validation["loss"] for epoch in folds.epochs]))

    assert folds.selected.index == best
    assert folds.state.selected_theta.tobytes() == b"".join(after[best])
    assert folds.classifier().network.theta.tobytes() == after[best][0]
    assert folds.classifier().preprocessing == parts[0].preprocessing


def test_every_row_is_validated_once_in_the_confusion_matrix(parts):
    folds = fresh(parts)
    list(folds.train())

    assert folds.confusion().sum(axis=1).tolist() == [45, 25, 20]


def test_as_many_mistakes_in_other_folds_give_the_same_accuracy(parts):
    """Three of 29 in one fold, or one in each of three folds: unrounded, the means differ in the last bit."""
    rows = parts[0].validation.rows[:29]

    def accuracy(*mistakes):
        networks = fresh([parts[0]] * 5).state.network
        right = [
            predict(network, replace(parts[0].validation, rows=rows)).logits.argmax(1) for network in networks.networks
        ]
        labels = [np.zeros(len(parts[0].train.labels), np.int64) for _ in mistakes]
        for own, classes, wrong in zip(labels, right, mistakes, strict=True):
            own[rows] = classes
            own[rows[:wrong]] = (classes[:wrong] + 1) % 3
        examples = [replace(parts[0].validation, rows=rows, labels=own) for own in labels]
        return evaluate(networks, examples)["accuracy"]

    assert accuracy(3, 0, 0, 0, 0) == accuracy(0, 1, 1, 1, 0) == pytest.approx(142 / 145, rel=1e-11)


def test_a_metric_that_a_fold_lacks_is_missing(parts):
    """Of a validation part with one class, which no partition of these data has, there is no roc_auc."""
    folds = fresh(parts)
    one_class = replace(parts[0].validation, rows=parts[0].validation.rows[:1])
    found = evaluate(folds.state.network, [one_class, *(part.validation for part in parts[1:])])

    assert math.isnan(found["roc_auc"])
    assert math.isfinite(found["loss"])


@pytest.mark.parametrize("after", [1, 3])
def test_a_checkpoint_continues_to_the_same_bits(parts, tmp_path, after):
    whole, broken, continued = fresh(parts), fresh(parts), fresh(parts)
    list(whole.train())
    for _ in islice(broken.train(), after):
        checkpoint.save(broken.state, tmp_path / "checkpoint.npz")
    checkpoint.restore(continued.state, tmp_path / "checkpoint.npz")

    assert len(continued.epochs) == after
    list(continued.train())
    assert numbers(continued.epochs) == numbers(whole.epochs)
    assert thetas(continued) == thetas(whole)
    assert continued.selected.index == whole.selected.index
    assert continued.state.optimizer.t == whole.state.optimizer.t


def test_a_checkpoint_of_other_folds_or_a_damaged_one_is_refused(parts, tmp_path):
    """A damaged part of the last fold leaves the first one as it is, too."""
    folds, path = fresh(parts), tmp_path / "checkpoint.npz"
    next(folds.train())
    checkpoint.save(folds.state, path)
    for other in (fresh(parts[:2]), fresh(parts[:1]), fresh([*parts, parts[0]])):
        before = thetas(other)
        with pytest.raises(CheckpointError):
            checkpoint.restore(other.state, path)
        assert thetas(other) == before
    content = bytearray(path.read_bytes())
    at = content.rindex(folds.state.network.networks[-1].theta.tobytes()) + 3
    content[at] ^= 1
    path.write_bytes(bytes(content))
    untouched = fresh(parts)
    before = thetas(untouched)

    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoint.restore(untouched.state, path)
    assert thetas(untouched) == before
    assert untouched.epochs == []


def test_a_fold_that_diverges_ends_all(parts):
    folds = fresh(parts)
    next(folds.train())
    folds.state.network.networks[1].theta[:] = np.inf

    with pytest.raises(Diverged, match="epoch 2, step 1"):
        list(folds.train())
    assert len(folds.epochs) == 1


def test_validation_rows_of_a_fold_change_nothing_that_is_fitted_in_it(parts, tmp_path):
    """Neither its preprocessing nor its weights, but those of the other folds, which train on them."""
    fold, rows = 1, parts[1].validation.rows

    def change(raw):
        raw[rows] = [1e6, 2, -1e6]

    others = datasets.load_folds(table(tmp_path / "other", change), 5, 3)
    assert others[fold].validation.rows.tolist() == rows.tolist()
    assert [one.preprocessing == other.preprocessing for one, other in zip(parts, others, strict=True)] == [
        False,
        True,
        False,
    ]
    weights = []
    for data in (parts, others):
        folds = fresh(data)
        list(folds.train())
        weights.append(networks_of(folds)[fold])
    assert weights[0] == weights[1]


def test_folds_may_have_different_inputs(tmp_path):
    """A value that only one row has is no input where that row does not train; the checkpoint holds all the same."""

    def change(raw):
        raw[:, 2] = 0.0
        raw[7, 2] = 5.0  # a constant column in the fold that validates this row

    parts = datasets.load_folds(table(tmp_path / "made", change), 5, 3)
    folds, again = fresh(parts), fresh(parts)
    list(folds.train(2))
    checkpoint.save(folds.state, tmp_path / "checkpoint.npz")
    checkpoint.restore(again.state, tmp_path / "checkpoint.npz")

    assert len({part.features for part in parts}) == 2
    assert thetas(again) == thetas(folds)
    for data, network in zip(folds.data, folds.state.evaluated.networks, strict=True):
        kept = cut(network, data.features)
        inputs = data.validation.inputs[data.validation.rows]
        assert kept.sizes[0] == data.features
        np.testing.assert_allclose(kept.predict(inputs[:, : data.features]), network.predict(inputs), rtol=1e-5)


def test_memory_is_needed_for_all_folds(parts):
    assert memory_of(SETTINGS, parts) == sum(memory_needed(SETTINGS, part.features, 3) for part in parts)


def test_a_whole_dataset_has_no_validation(tmp_path):
    """As for final models."""
    folds = fresh(datasets.load_folds(table(tmp_path / "made"), None, 1))
    list(folds.train())

    assert all(epoch.validation == {} for epoch in folds.epochs)
    assert folds.selected.index == 0
