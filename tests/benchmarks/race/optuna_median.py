"""Optuna's TPE and median pruner with PyTorch and MLflow."""

import optuna
from contest import Contest
from optuna_search import search


def compete(contest: Contest) -> None:
    """Search until the end of the race; prunes from the third epoch on, as the median pruner of this program."""
    search(contest, optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2), tracked=True)
