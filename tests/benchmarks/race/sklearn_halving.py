"""scikit-learn's HalvingRandomSearchCV with its MLPClassifier, again and again until the end of the race.

Its network has no schedule, and its halving trains a candidate again from the beginning in every round: 3.47 times as
many epochs make rounds of 1, 3 and 12.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from contest import CORES, Contest, Offers
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 (makes the next import possible)
from sklearn.model_selection import HalvingRandomSearchCV, PredefinedSplit
from sklearn.neural_network import MLPClassifier

from studies.dimensions import Dimension

NAMES = {
    "hidden_sizes": "hidden_layer_sizes",
    "learning_rate": "learning_rate_init",
    "batch_size": "batch_size",
    "beta1": "beta_1",
    "beta2": "beta_2",
}
CANDIDATES, FACTOR = 24, 3.47


@dataclass(frozen=True)
class Drawn:
    """A dimension of the study as a distribution of SciPy."""

    name: str
    dimension: Dimension

    def rvs(self, random_state: np.random.RandomState) -> Any:
        """Draw a value."""
        return self.dimension.suggest(_Random(random_state), self.name)


@dataclass(frozen=True)
class _Random:
    state: np.random.RandomState

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return float(np.exp(self.state.uniform(np.log(low), np.log(high))) if log else self.state.uniform(low, high))

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        return round(self.suggest_float(name, low, high, log=log)) if log else int(self.state.randint(low, high + 1))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return choices[self.state.randint(len(choices))]


@dataclass(frozen=True)
class Scorer:
    """Validation accuracy; keeps the models that improve it."""

    contest: Contest

    def __call__(self, network: MLPClassifier, inputs: Any, labels: Any) -> float:
        """Score a fitted network."""
        accuracy = float(network.score(inputs, labels))
        Offers(self.contest).add(1 - accuracy, network)
        return accuracy


def compete(contest: Contest) -> None:
    """Search until the end of the race."""
    warnings.simplefilter("ignore")  # a round with few epochs has not converged
    training, validation = contest.training, contest.validation
    inputs = np.concatenate([training.inputs, validation.inputs])
    labels = np.concatenate([training.labels, validation.labels])
    split = PredefinedSplit(np.repeat([-1, 0], [len(training.labels), len(validation.labels)]))
    space = {NAMES[key]: Drawn(key, dimension) for key, dimension in contest.study.space.items()}
    seed = 1000 * contest.seed
    while contest.remaining():
        HalvingRandomSearchCV(
            MLPClassifier(random_state=seed),
            space,
            n_candidates=CANDIDATES,
            factor=FACTOR,
            resource="max_iter",
            min_resources=1,
            max_resources=contest.study.baseline.epochs,
            scoring=Scorer(contest),
            cv=split,
            refit=False,
            n_jobs=CORES,
            random_state=seed,
        ).fit(inputs, labels)
        seed += 1
