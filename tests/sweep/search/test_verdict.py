"""The paired interval: Student's, and widened for the choice among candidates."""

import numpy as np
import pytest

from model.metrics import METRICS
from sweep.search.verdict import paired_comparison


def test_the_paired_interval_is_students():
    """Differences 1, 2, 3: mean 2, half-width t(0.975, 2) / sqrt(3) = 4.303 / 1.732; not better than nothing."""
    found = paired_comparison([2.0, 4.0, 6.0], [1.0, 2.0, 3.0], METRICS["accuracy"], among=1)

    assert found["difference"] == pytest.approx(2.0)
    assert found["high"] - found["difference"] == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)
    assert not found["better"]
    assert paired_comparison([0.1, 0.11, 0.09], [0.5, 0.52, 0.48], METRICS["loss"], among=3)["better"]
    assert paired_comparison([0.5, 0.52, 0.48], [0.1, 0.11, 0.09], METRICS["loss"], among=3)["difference"] < 0


@pytest.mark.parametrize(("seeds", "candidates"), [(3, 3), (5, 3), (5, 10)])
def test_a_champion_that_is_no_better_is_called_better_in_at_most_2_5_percent(seeds, candidates):
    """Of 4,000 studies in which all are equal in truth; Student's own interval would say so in more than 5 %.

    The bound is three standard errors above 2.5 %.
    """
    rng = np.random.default_rng(12)
    called = {"widened": 0, "plain": 0}
    for scores in rng.normal(size=(4000, candidates + 1, seeds)):
        if champion := np.argmax(scores.mean(axis=1)):
            called["widened"] += paired_comparison(scores[champion], scores[0], METRICS["accuracy"], among=candidates)[
                "better"
            ]
            called["plain"] += paired_comparison(scores[champion], scores[0], METRICS["accuracy"], among=1)["better"]

    assert called["widened"] / 4000 <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / 4000)
    assert called["plain"] / 4000 > 0.05
