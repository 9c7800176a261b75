"""The paired interval, and what the whole protocol says of studies whose truth is known."""

import numpy as np
import pytest
from scipy.stats import t

from model.metrics import METRICS
from sweep.search.verdict import paired_comparison

OVERLAP = 1 / 9
"""A tenth of the examples for validation, the rest for training."""
STUDIES = 4000


def test_the_interval_is_that_of_nadeau_and_bengio():
    """Differences 1, 2, 3: mean 2, standard deviation 1, half-width t(0.975, 2) sqrt(1 / 3 + overlap)."""
    found = paired_comparison([2.0, 4.0, 6.0], [1.0, 2.0, 3.0], METRICS["accuracy"], OVERLAP)

    assert found["difference"] == pytest.approx(2.0)
    assert found["high"] - found["difference"] == pytest.approx(4.302653 * np.sqrt(1 / 3 + OVERLAP), rel=1e-6)
    assert not found["better"]
    assert paired_comparison([0.1, 0.11, 0.09], [0.5, 0.52, 0.48], METRICS["loss"], OVERLAP)["better"]
    assert paired_comparison([0.5, 0.52, 0.48], [0.1, 0.11, 0.09], METRICS["loss"], OVERLAP)["difference"] < 0


def simulate(rng, truth, repeats, split):
    """Run the protocol on made-up studies; returns each one's difference and half-width, and the true difference.

    The value of a candidate on a split and seed is its truth, plus an effect of the split that all share, plus one of
    split and candidate that is as large, plus the seed's, of standard deviation 1. Candidate 0 is the baseline. The
    effects of splits are correlated, because their training examples overlap: correlation OVERLAP / (1 + OVERLAP), the
    value that Nadeau & Bengio's estimate assumes.
    """
    candidates, shared = len(truth), np.sqrt(OVERLAP / (1 + OVERLAP))

    def effects(shape):
        common = rng.normal(size=(*shape[:-1], 1))
        return split * (shared * common + np.sqrt(1 - shared**2) * rng.normal(size=shape))

    values = (
        np.asarray(truth)[None, :, None]
        + effects((STUDIES, 1, repeats + 1))
        + effects((STUDIES, candidates, repeats + 1))
        + rng.normal(size=(STUDIES, candidates, repeats + 1))
    )
    champion = values[:, 1:, 0].argmax(axis=1) + 1
    differences = (np.take_along_axis(values, champion[:, None, None], axis=1)[:, 0] - values[:, 0])[:, 1:]
    half = t.ppf(0.975, repeats - 1) * differences.std(axis=1, ddof=1) * np.sqrt(1 / repeats + OVERLAP)
    return differences.mean(axis=1), half, np.asarray(truth)[champion] - truth[0]


def bound(share):
    """Three standard errors above a share."""
    return share + 3 * np.sqrt(share * (1 - share) / STUDIES)


@pytest.mark.parametrize("split", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("repeats", [2, 3, 5, 10])
@pytest.mark.parametrize("candidates", [1, 3, 10])
def test_equal_settings_are_called_better_in_at_most_2_5_percent(split, repeats, candidates):
    """And at least 95 % of the intervals contain the truth, which is 0."""
    mean, half, _ = simulate(np.random.default_rng(12), [0.0] * (candidates + 1), repeats, split)

    assert (mean - half > 0).mean() <= bound(0.025)
    assert (np.abs(mean) <= half).mean() >= 0.95 - (bound(0.05) - 0.05)


def test_a_gap_of_three_standard_deviations_is_found_in_80_percent():
    """Five repeats, as by default, three candidates of which one is better by three standard deviations of a seed."""
    mean, half, _ = simulate(np.random.default_rng(5), [0.0, 0.0, 3.0, 0.0], 5, 0.0)

    assert (mean - half > 0).mean() >= 0.8


@pytest.mark.parametrize("split", [0.0, 1.0, 2.0])
def test_intervals_of_unequal_settings_contain_the_truth(split):
    mean, half, true = simulate(np.random.default_rng(9), [0.0, 0.5, 1.0, 2.0], 5, split)

    assert (np.abs(mean - true) <= half).mean() >= 0.95 - (bound(0.05) - 0.05)


def test_the_simulation_uses_the_products_interval():
    """The half-widths of the simulation are those of `paired_comparison`."""
    rng = np.random.default_rng(3)
    one, other = rng.normal(size=(2, 5))
    found = paired_comparison(one, other, METRICS["accuracy"], OVERLAP)
    half = t.ppf(0.975, 4) * (one - other).std(ddof=1) * np.sqrt(1 / 5 + OVERLAP)

    assert found["difference"] == pytest.approx((one - other).mean())
    assert found["difference"] - found["low"] == pytest.approx(half)
