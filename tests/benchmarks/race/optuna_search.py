"""Optuna's TPE with PyTorch, as its users write it: a process per core, which share a study in an SQLite file."""

from __future__ import annotations

import contextlib
import math
from multiprocessing import get_context
from multiprocessing.context import ForkProcess

import mlflow
import optuna
import torch
from contest import CORES, Contest, Offers
from optuna.pruners import BasePruner
from torch_network import epochs


def search(contest: Contest, pruner: BasePruner, *, tracked: bool) -> None:
    """Search until the end of the race; `tracked` sends every epoch to MLflow."""
    _ = contest.training, contest.validation  # shared by the processes, like what is imported
    _run_all([get_context("fork").Process(target=_begin, args=(contest, tracked))])  # an SQLite connection is not
    arguments = [(contest, pruner, tracked, CORES * contest.seed + number) for number in range(CORES)]
    _run_all([get_context("fork").Process(target=_optimise, args=each) for each in arguments])


def _begin(contest: Contest, tracked: bool) -> None:
    study = optuna.create_study(storage=_storage(contest), study_name="race")
    study.enqueue_trial(contest.study.encode(contest.study.baseline))
    if tracked:
        _begin_tracking(contest)


def _run_all(processes: list[ForkProcess]) -> None:
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0


def _optimise(contest: Contest, pruner: BasePruner, tracked: bool, seed: int) -> None:
    torch.manual_seed(seed)
    offers = Offers(contest)
    if tracked:
        _begin_tracking(contest)

    def objective(trial: optuna.Trial) -> float:
        h, best = contest.study.draw(trial), math.inf
        with mlflow.start_run(run_name=str(trial.number)) if tracked else contextlib.nullcontext() as run:
            if run:
                mlflow.log_params(trial.params)
            trained = epochs(h, contest.training, contest.validation, contest.dataset.classes)
            for epoch, (error, layers) in enumerate(trained):
                offers.add(error, layers)
                if run:
                    mlflow.log_metric("validation_error", error, step=epoch)
                best = min(best, error)
                trial.report(error, epoch)
                if trial.should_prune():
                    raise optuna.TrialPruned
        return best

    sampler = optuna.samplers.TPESampler(seed=seed)
    study = optuna.load_study(storage=_storage(contest), study_name="race", sampler=sampler, pruner=pruner)
    study.optimize(objective, timeout=contest.remaining())


def _storage(contest: Contest) -> str:
    return f"sqlite:///{contest.path / 'optuna.db'}"


def _begin_tracking(contest: Contest) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{contest.path / 'mlflow.db'}")
    mlflow.set_experiment("race")
