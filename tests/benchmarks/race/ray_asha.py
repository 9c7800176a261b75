"""Ray Tune with asynchronous halving (ASHA), Optuna's TPE as its search algorithm, and PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import optuna
import ray
import torch
from contest import CORES, Contest, Offers, Part
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch
from torch_network import epochs

from studies.definition import Study


@dataclass(frozen=True)
class Space:
    """The space of a study, for Optuna; a class, because Ray pickles it."""

    study: Study

    def __call__(self, trial: optuna.Trial) -> None:
        """Draw all parameters, from which Ray makes the trial's settings."""
        self.study.draw(trial)


def compete(contest: Contest) -> None:
    """Search with a trial per core."""
    study = contest.study
    ray.init(num_cpus=CORES, include_dashboard=False, log_to_driver=False)
    search = OptunaSearch(
        Space(study),
        metric="error",
        mode="min",
        points_to_evaluate=[study.encode(study.baseline)],
        seed=contest.seed,
    )
    scheduler = ASHAScheduler(max_t=study.baseline.epochs, grace_period=1, reduction_factor=4)
    trainable = tune.with_parameters(
        train,
        contest=contest,
        training=contest.training,
        validation=contest.validation,
        classes=contest.dataset.classes,
    )
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=search,
            scheduler=scheduler,
            metric="error",
            mode="min",
            num_samples=-1,
            time_budget_s=contest.remaining(),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=str(contest.path / "ray"), verbose=0),
    ).fit()


def train(config: dict[str, Any], contest: Contest, training: Part, validation: Part, classes: int) -> None:
    """Train one trial; its seed is drawn from the race's and its settings."""
    torch.manual_seed(hash((contest.seed, *sorted(config.items()))))
    offers = Offers(contest)
    h = contest.study.draw(optuna.trial.FixedTrial(config))
    for error, layers in epochs(h, training, validation, classes):
        offers.add(error, layers)
        tune.report({"error": error})
