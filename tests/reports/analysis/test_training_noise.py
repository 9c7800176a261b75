"""The noise of a training from repeats of known scatter."""

from dataclasses import replace

import numpy as np
import pytest

from reports.analysis.training_noise import difference_words, heights, least_difference, training_noise


@pytest.fixture
def repeated(made_up):
    """A study of the loss with these values (trials, splits) on fresh splits."""
    record = made_up(30, objective="validation_loss", confirmed=True)

    def change(values):
        rows = [{"trial": n, "search_value": 0.1, "values": list(row)} for n, row in enumerate(values)]
        return replace(record, verdict={**record.verdict, "candidates": rows})

    return change


def test_what_is_common_to_a_split_is_no_noise(repeated):
    """Losses scatter by 10 %, and splits differ by a factor of e: 400 studies of three trials on five splits."""
    rng = np.random.default_rng(1)
    drawn = np.exp(rng.normal(0, 0.1, (400, 3, 5)) + rng.normal(0, 1, (400, 1, 5)) + rng.normal(0, 1, (400, 3, 1)))
    found = [training_noise(repeated(values)) for values in drawn]

    assert np.mean([one.deviation**2 for one in found]) == pytest.approx(0.01, rel=0.1)
    assert {one.freedom for one in found} == {8}


def test_one_trial_has_the_scatter_between_its_splits(repeated):
    found = training_noise(repeated(np.exp([[0.0, 0.1, 0.2, 0.3, 0.4]])))

    assert (found.deviation, found.freedom) == (pytest.approx(np.std([0, 0.1, 0.2, 0.3, 0.4], ddof=1)), 4)


def test_fewer_than_four_degrees_of_freedom_say_nothing(repeated):
    values = np.exp(np.random.default_rng(1).normal(0, 0.1, (2, 4)))

    assert training_noise(repeated(values)) is None
    assert least_difference(repeated(values))[1] is False


def test_a_loss_is_compared_as_a_logarithm_and_a_fraction_as_it_is(made_up):
    loss, accuracy = made_up(1, objective="validation_loss"), made_up(1)

    np.testing.assert_allclose(np.diff(heights(loss, [0.2, 0.1])), -np.log(2))
    np.testing.assert_allclose(heights(accuracy, [0.9, 0.8]), [-0.9, -0.8])
    assert difference_words(loss, np.log(2)) == "50\u00a0%"
    assert difference_words(accuracy, 0.01) == "1.00\u00a0points"
