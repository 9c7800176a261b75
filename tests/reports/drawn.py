"""Made-up studies with known truth, drawn by the shipped sampler and paused by the shipped pruner."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from optuna.trial import TrialState

from model.cost import CostModel
from model.hyperparameters import Hyperparameters
from studies.definition import Study
from studies.record.reader import SweepRecord, TrialRecord
from studies.record.schema import EPOCH
from studies.rungs import rung_epochs
from sweep.search.halving import Halving
from sweep.search.proposals import Proposals
from sweep.search.standings import Standings

EPOCHS = 12
SPACE = {
    "hidden_sizes": {"layers": [1, 2], "units": [32, 512], "log": True},
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "batch_size": {"choices": [32, 64, 128, 256]},
    "beta1": {"low": 0.8, "high": 0.99},
    "beta2": {"low": 0.9, "high": 0.9999, "log": "complement"},
    "dropout": {"low": 0.0, "high": 0.5},
}
"""Seven axes: the layers have a number and a width each."""
Truth = Callable[[Mapping[str, Any]], float]
"""The expected logarithm of the validation loss at the end, by settings."""


def drawn_study(
    base: SweepRecord, truth: Truth, *, trials: int = 60, seed: int = 0, noise: float = 0.1, sampler: str = "tpe"
) -> SweepRecord:
    """A search of one worker on made-up learning curves.

    Args:
        base: a record of no trials, for all else that a record has.
        truth: what the settings are worth.
        trials: of the search.
        seed: of sampler and curves.
        noise: standard deviation of the logarithm of the final loss between seeds; after one epoch it is twice that.
        sampler: of the study.
    """
    study = Study(
        name="made-up",
        question="Which one?",
        dataset="mnist",
        objective="validation_loss",
        seed=seed,
        trials=trials,
        sampler=sampler,
        baseline={"hidden_sizes": [128], "epochs": EPOCHS, "dropout": 0.1},
        space=SPACE,
    )
    rng = np.random.default_rng([seed, 7])
    rungs, standings = rung_epochs(EPOCHS, EPOCHS), Standings(3)
    halving = Halving(standings, trials, study.confirm.top)
    proposals = Proposals(study, standings, CostModel(784, 10, 54_000))
    settings: list[Hyperparameters] = []
    curves: list[np.ndarray] = []
    reached: dict[int, int] = {}
    while True:
        closing = len(settings) == trials
        if promotable := halving.promotable(closing=closing, always={0}):
            number, rung = promotable[0], halving.paused.pop(promotable[0]) + 1
        elif not closing:
            number, rung = len(settings), 0
            template = proposals.propose(number, None if number else study.baseline)
            settings.append(Hyperparameters(**template.user_attrs["hyperparameters"]))
            curves.append(_curve(truth(settings[number].as_dict()), noise, rng))
        else:
            break
        reached[number] = rungs[rung]
        loss = float(curves[number][: rungs[rung]].min())
        standings.add(number, rung, loss, loss)
        is_last = rungs[rung] == EPOCHS
        proposals.end(number, TrialState.COMPLETE if is_last else TrialState.PRUNED, loss)
        if not is_last:
            halving.paused[number] = rung
    found = [_trial(base, n, one, curves[n][: reached[n]]) for n, one in enumerate(settings)]
    return replace(base, study=study.as_dict(), trials=tuple(found))


def _curve(end: float, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Validation losses, (epochs,): they fall towards the end; early epochs rank settings less well."""
    t = np.arange(EPOCHS)
    early = np.exp(-t / 2.0)
    lasting, passing = rng.normal(0, noise, 2)
    return np.exp(end + early + lasting + 1.7 * passing * early + rng.normal(0, noise / 10, EPOCHS))


def _trial(base: SweepRecord, number: int, settings: Hyperparameters, losses: np.ndarray) -> TrialRecord:
    epochs = np.zeros(len(losses), EPOCH)
    epochs["validation_loss"], epochs["seconds"] = losses, 1.0
    epochs["validation_accuracy"] = 1 - losses / 10
    best, whole = int(losses.argmin()), len(losses) == EPOCHS
    kept = base.trials[0]
    return replace(
        kept,
        number=number,
        state="complete" if whole else "pruned",
        outcome="complete" if whole else "pruned",
        reason=None if whole else "paused",
        hyperparameters=settings.as_dict() | {"hidden_sizes": tuple(settings.hidden_sizes)},
        epochs=epochs,
        value=float(losses[best]),
        selected_epoch=best,
        validation_loss=float(losses[best]),
        validation_accuracy=float(epochs["validation_accuracy"][best]),
        weights_sha256=f"{number:064x}" if whole else None,
    )
