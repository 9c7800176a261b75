"""Dropout: fraction, scale and the column of ones."""

import numpy as np
import pytest

from model.dropout import BLOCK_SIZE, Dropout


def ones(rows=64, units=999):
    return np.ones((rows, units + 1), np.float32)


def test_kept_units_are_scaled():
    """The expected activation does not change; over four blocks of random bits."""
    seen = ones()
    dropout = Dropout(0.3, 0.0, np.random.default_rng(9))
    dropout.drop(seen, dropout.inputs)

    assert seen.size > 3 * BLOCK_SIZE
    assert dropout.inputs == pytest.approx(0.3, abs=1 / 65536)
    assert np.unique(seen[:, :-1]).tolist() == pytest.approx([0, 1 / (1 - dropout.inputs)], rel=1e-6)
    assert seen.mean() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("share", [0.001, 0.2, 0.5, 0.9])
def test_the_dropped_fraction_is_the_requested_one(share):
    """Within four standard deviations of a binomial."""
    seen = ones()
    dropout = Dropout(0.0, share, np.random.default_rng(10))
    dropout.drop(seen, dropout.hidden)
    n = seen.size - len(seen)

    assert (seen[:, :-1] == 0).sum() == pytest.approx(n * share, abs=4 * np.sqrt(n * share * (1 - share)))


def test_the_column_of_ones_is_never_dropped():
    """It multiplies the biases."""
    seen = ones()
    dropout = Dropout(0.9, 0.0, np.random.default_rng(11))
    dropout.drop(seen, dropout.inputs)

    np.testing.assert_array_equal(seen[:, -1], 1)


def test_units_and_blocks_are_independent():
    """Masks of rows, blocks and neighbouring units are uncorrelated."""
    seen = ones(256, 511)
    Dropout(0.5, 0.5, np.random.default_rng(12)).drop(seen, 0.5)
    kept = (seen[:, :-1] > 0).astype(float) - 0.5

    assert abs((kept[:, 1:] * kept[:, :-1]).mean()) < 0.005
    assert abs((kept[1:] * kept[:-1]).mean()) < 0.005
    for rows in (32, 64, 96, 128):  # 32 rows of 512 are a block
        assert abs((kept[rows:] * kept[:-rows]).mean()) < 0.01


def test_a_probability_close_to_one_gives_finite_values():
    """Probabilities are rounded to multiples of 1 / 65,536 below 1."""
    dropout = Dropout(1 - 1e-9, 0.0, np.random.default_rng(13))
    seen = ones()
    dropout.drop(seen, dropout.inputs)

    assert np.isfinite(seen).all()
    assert dropout.inputs == 65535 / 65536
