"""The cost of an epoch: only ratios count, and they follow the measured ones."""

import itertools

import pytest

from model.cost import CostModel
from model.hyperparameters import Hyperparameters

MNIST = CostModel(features=784, classes=10, examples=50_000)
SIZES = [(1,), (32,), (64,), (64, 64), (128, 64), (128, 128), (512, 256), (512, 512, 512)]


def cost(sizes, batch, model=MNIST):
    return model.epoch(Hyperparameters(hidden_sizes=sizes, batch_size=batch))


@pytest.mark.parametrize("batch", [1, 32, 128, 512])
def test_a_wider_or_deeper_network_costs_more(batch):
    costs = [cost(sizes, batch) for sizes in SIZES]

    assert all(less < more for less, more in itertools.pairwise(costs))


@pytest.mark.parametrize("sizes", SIZES)
def test_a_larger_batch_costs_less(sizes):
    """It takes fewer steps; one that is larger than the data is the data."""
    costs = [cost(sizes, batch) for batch in (1, 2, 16, 32, 128, 1024, 50_000)]

    assert all(less < more for more, less in itertools.pairwise(costs))
    assert cost(sizes, 60_000) == cost(sizes, 50_000)


def test_five_folds_cost_more_than_one_training_and_less_than_five():
    """A step of the stack has the work of all of them, but only its own calls."""
    one, five = (CostModel(features=64, classes=10, examples=1_000, folds=folds) for folds in (1, 5))

    assert 1.5 * cost((16,), 16, one) > cost((16,), 16, five) > cost((16,), 16, one)
    assert 5 * cost((512,), 512, one) > cost((512,), 512, five) > 4.5 * cost((512,), 512, one)


def test_more_examples_cost_more_in_proportion():
    double = CostModel(features=784, classes=10, examples=100_000)

    assert cost((64,), 100, double) == pytest.approx(2 * cost((64,), 100))


def test_three_layers_of_512_cost_about_18_times_32_units():
    """As measured on 15,000 images with batches of 32 to 256: the mean of these ratios."""
    measured = CostModel(features=784, classes=10, examples=15_000)
    ratios = [cost((512,) * 3, batch, measured) / cost((32,), batch, measured) for batch in (32, 64, 128, 256)]

    assert 12 < sum(ratios) / len(ratios) < 25


def test_the_cost_of_a_dataset_is_that_of_its_features_and_training_examples(digits):
    model = CostModel.of(digits)

    assert (model.features, model.classes, model.examples) == (64, 10, len(digits.train))
