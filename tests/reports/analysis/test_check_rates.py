"""How often each check warns of made-up studies without a fault, and of studies that have the fault it looks for.

The studies are drawn by the shipped sampler (TPE) and pruner (halving). The rates of more of them are in
`reports/analysis/checks`.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from drawn import EPOCHS, averaged, confirmed, drawn_study

from reports.analysis.checks import checks
from reports.analysis.checks.finding import WARN
from studies.record.reader import SweepRecord

T = np.arange(1, EPOCHS + 1)


def place(settings):
    """Where the learning rate lies in its range, 0 to 1."""
    return (math.log10(settings["learning_rate"]) + 4) / 2


def valley(settings):
    """Best inside the range, and better than the baseline by more than three standard deviations of a training."""
    return -2.0 + 4 * (place(settings) - 0.8) ** 2


def flat(settings):
    """Nothing matters."""
    return -2.0


def uphill(settings):
    """The best lies beyond the upper bound."""
    return -1.0 - 2.0 * place(settings)


def rugged(settings):
    """Five axes matter alike: TPE is far from done after 30 trials."""
    units = (math.log(settings["hidden_sizes"][0] / 32) / math.log(16)) - 0.7
    beta2 = -math.log10(1 - settings["beta2"]) / 3 - 0.8
    rest = [units, beta2, settings["dropout"] * 2 - 0.3, (settings["beta1"] - 0.8) / 0.19 - 0.6, place(settings) - 0.6]
    return -2.0 + 3 * sum(abs(part) for part in rest)


def saturating(settings):
    """All good settings make an error or none on 144 rows."""
    return -5.0 + 4 * (place(settings) - 0.5) ** 2


def rising(end, noise, rng):
    """The loss is lowest in the fourth epoch and then rises by a quarter."""
    return averaged(end, noise, rng) * (1 + 0.04 * np.maximum(0, T - 5))


def falling(end, noise, rng):
    """A power of the epoch: half as many epochs more bring 22 %."""
    return np.exp(end + rng.normal(0, noise) + 0.6 * np.log(EPOCHS / T) + rng.normal(0, noise / 10, EPOCHS))


def early(end, noise, rng):
    """Best after the first epoch, and hardly worse later."""
    return np.exp(end + rng.normal(0, noise) + 0.02 * T + rng.normal(0, 0.003, EPOCHS))


def jumping(end, noise, rng):
    """Every epoch is 40 % off."""
    return averaged(end, noise, rng) * np.exp(rng.normal(0, 0.4, EPOCHS))


def crossing(end, noise, rng):
    """A training that ends better starts worse, so that the pruner stops what would have been best."""
    luck = rng.normal(0, 3 * noise)
    return np.exp(end + luck + (8 - 6 * luck) * np.exp(-T / 4.0) + rng.normal(0, noise / 10, EPOCHS))


@dataclass(frozen=True)
class World:
    """What is true of a kind of study.

    Attributes:
        truth: what settings are worth.
        drawn: further arguments of `drawn_study`.
        confirmed: further arguments of `confirmed`; None without a confirmation.
    """

    truth: Callable[[Mapping[str, Any]], float] = valley
    drawn: Mapping[str, Any] = field(default_factory=dict)
    confirmed: Mapping[str, Any] | None = field(default_factory=dict)

    def study(self, base: SweepRecord, seed: int) -> SweepRecord:
        """One study of this kind."""
        options = {"control": 0.1, **self.drawn}
        record = drawn_study(base, self.truth, seed=seed, **options)
        shared = {key: options[key] for key in ("noise", "curve") if key in options}
        if self.confirmed is None:
            return record
        return confirmed(record, self.truth, seed=seed, **shared, **self.confirmed)


SOUND = {
    "of the loss": World(),
    "of the accuracy, unconfirmed": World(drawn={"rows": 6000}, confirmed=None),
}
"""Kinds of study without a fault."""
FAULTS = {
    "validation and test": World(confirmed={"test_error": 3.0}),
    "noise": World(flat),
    "validation rows": World(saturating, {"rows": 144}, None),
    "boundary": World(uphill),
    "infeasible share": World(drawn={"breaks": lambda settings: settings["learning_rate"] > 1e-3}),
    "overfitting": World(drawn={"curve": rising}),
    "still improving": World(drawn={"curve": falling}),
    "best epoch": World(drawn={"curve": early}),
    "late epochs": World(drawn={"curve": jumping}),
    "enough trials": World(rugged, {"trials": 30, "noise": 0.03}),
    "pruning": World(flat, {"curve": crossing, "control": 0.3}),
}
"""A kind of study that has a fault, by the name of the check that looks for it."""


@pytest.fixture(scope="module")
def base(made_up):
    return made_up(1, objective="validation_loss", epochs=EPOCHS, outcome="complete")


def warnings(world, base, seeds):
    """How many of the studies each check warns of."""
    return Counter(check.name for seed in seeds for check in checks(world.study(base, seed)) if check.status == WARN)


@pytest.mark.slow
def test_two_studies_without_a_fault_have_no_warning(base):
    assert not warnings(SOUND["of the loss"], base, range(2))


@pytest.mark.slow
@pytest.mark.parametrize("kind", SOUND)
def test_of_studies_without_a_fault_each_check_warns_of_few(base, kind):
    """At most 1 in 20 of hundreds; of 24, which take half a minute, 5 have a probability of 0.6 % (binomial)."""
    found = warnings(SOUND[kind], base, range(24))

    assert max(found.values(), default=0) <= 4, found


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_clear_fault_is_found_in_most_studies(base, name):
    """In at least four of five of hundreds; of 6, fewer than 3 have a probability of 1.7 % (binomial)."""
    assert warnings(FAULTS[name], base, range(6))[name] >= 3
