"""FLAML's search over tree ensembles and linear models, with its own space."""

from __future__ import annotations

from typing import Any

from contest import CORES, Contest, Offers
from flaml import AutoML


def compete(contest: Contest) -> None:
    """Search until the end of the race."""
    offers = Offers(contest)
    training, validation = contest.training, contest.validation

    def error(x_val: Any, y_val: Any, estimator: Any, *rest: Any, **named: Any) -> tuple[float, dict[str, float]]:
        value = validation.error(estimator.predict(validation.inputs))
        offers.add(value, estimator)
        return value, {"error": value}

    AutoML().fit(
        training.inputs,
        training.labels,
        X_val=validation.inputs,
        y_val=validation.labels,
        task="classification",
        metric=error,
        eval_method="holdout",
        time_budget=contest.remaining(),
        retrain_full=False,
        n_jobs=CORES,
        seed=contest.seed,
        verbose=0,
    )
