"""Optuna's TPE and hyperband pruner with PyTorch, without a tracker."""

import optuna
from contest import Contest
from optuna_search import search


def compete(contest: Contest) -> None:
    """Search until the end of the race."""
    epochs = contest.study.baseline.epochs
    search(contest, optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs), tracked=False)
