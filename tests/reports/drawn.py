"""Made-up studies with known truth, drawn by the shipped sampler and paused by the shipped pruner."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import NormalDist
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
from sweep.search.legs import is_control
from sweep.search.proposals import Proposals
from sweep.search.standings import Standings
from sweep.search.verdict import paired_comparison

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
Curve = Callable[[float, float, np.random.Generator], np.ndarray]
"""Validation losses, (epochs,), of one training: by the logarithm of the last one, the noise and a generator."""
ROWS = {"train": 1_250, "validation": 144, "test": 360}
LOSS_PER_ERROR = 3.0
"""Validation loss of a network, divided by its share of wrong rows."""


def averaged(end: float, noise: float, rng: np.random.Generator) -> np.ndarray:
    """The losses of averaged weights fall towards the end; early epochs rank settings less well."""
    t = np.arange(EPOCHS)
    early = np.exp(-t / 2.0)
    lasting, passing = rng.normal(0, noise, 2)
    return np.exp(end + early + lasting + 1.7 * passing * early + rng.normal(0, noise / 10, EPOCHS))


def drawn_study(
    base: SweepRecord,
    truth: Truth,
    *,
    trials: int = 60,
    seed: int = 0,
    noise: float = 0.1,
    sampler: str = "tpe",
    curve: Curve = averaged,
    control: float = 0.0,
    rows: int = 0,
    breaks: Callable[[Mapping[str, Any]], bool] = lambda settings: False,
) -> SweepRecord:
    """A search of one worker on made-up learning curves.

    Args:
        base: a record of no trials, for all else that a record has.
        truth: what the settings are worth.
        trials: of the search.
        seed: of sampler and curves.
        noise: standard deviation of the logarithm of the final loss between seeds; after one epoch it is twice that.
        sampler: of the study.
        curve: the losses of one training.
        control: share of trials that are never stopped.
        rows: validation rows of a study of the accuracy, whose error is a third of the loss; 0 for one of the loss.
        breaks: which settings diverge in their first epoch.
    """
    study = Study(
        name="made-up",
        question="Which one?",
        dataset="mnist",
        objective="validation_accuracy" if rows else "validation_loss",
        seed=seed,
        trials=trials,
        sampler=sampler,
        control=control,
        baseline={"hidden_sizes": [128], "epochs": EPOCHS, "dropout": 0.1},
        space=SPACE,
    )
    rng = np.random.default_rng([seed, 7])
    rungs, standings = rung_epochs(EPOCHS, EPOCHS), Standings(3)
    halving = Halving(standings, trials, study.confirm.top)
    proposals = Proposals(study, standings, CostModel(784, 10, 54_000))
    never = {0, *(number for number in range(trials) if is_control(study, number))}
    made: list[TrialRecord] = []
    reached: dict[int, int] = {}
    while True:
        closing = len(made) == trials
        if promotable := halving.promotable(closing=closing, always=never):
            number, rung = promotable[0], halving.paused.pop(promotable[0]) + 1
        elif not closing:
            number, rung = len(made), 0
            template = proposals.propose(number, None if number else study.baseline)
            settings = Hyperparameters(**template.user_attrs["hyperparameters"])
            losses = curve(truth(settings.as_dict()), noise, rng)
            made.append(_trial(base, number, settings, losses, study.objective, rows, [seed, number]))
            if breaks(settings.as_dict()):
                made[number] = _diverged(made[number])
                standings.add_worst(number)
                proposals.end(number, TrialState.PRUNED, None)
                continue
        else:
            break
        reached[number] = rungs[rung]
        so_far = made[number].epochs[: rungs[rung]]
        cost = float((-so_far[study.objective] if rows else so_far[study.objective]).min())
        standings.add(number, rung, cost, float(so_far["validation_loss"].min()))
        is_last = rungs[rung] == EPOCHS
        proposals.end(number, TrialState.COMPLETE if is_last else TrialState.PRUNED, abs(cost))
        if not is_last:
            halving.paused[number] = rung
    found = [_ended(one, reached.get(one.number, 0), study.objective, one.number in never) for one in made]
    data = {**base.dataset, "validation": rows} if rows else base.dataset
    return replace(base, study=study.as_dict(), dataset=data, trials=tuple(found))


def _trial(
    base: SweepRecord,
    number: int,
    settings: Hyperparameters,
    losses: np.ndarray,
    objective: str,
    rows: int,
    seed: list[int],
) -> TrialRecord:
    """A completed trial with these losses."""
    epochs = np.zeros(len(losses), EPOCH)
    epochs["validation_loss"], epochs["seconds"] = losses, 1.0
    epochs["train_loss"] = np.linspace(1.0, 0.1, len(losses))
    epochs["learning_rate"] = settings.learning_rate
    epochs["validation_accuracy"] = _accuracies(losses, rows, seed) if rows else 1 - losses / LOSS_PER_ERROR
    kept = replace(base.trials[0], number=number, epochs=epochs, state="complete", outcome="complete", reason=None)
    shown = settings.as_dict() | {"hidden_sizes": tuple(settings.hidden_sizes)}
    return _ended(replace(kept, hyperparameters=shown), len(losses), objective, False)


def _accuracies(losses: np.ndarray, rows: int, seed: list[int]) -> np.ndarray:
    """An accuracy on the same rows after each epoch: most of what is hard about a row is so for every training."""
    study, trial = np.random.default_rng(seed[:1]), np.random.default_rng([*seed, 3])
    hard = math.sqrt(0.8) * study.normal(size=rows) + math.sqrt(0.19) * trial.normal(size=rows)
    hard = hard + 0.1 * trial.normal(size=(len(losses), rows))
    return np.array(
        [np.mean(row < _normal_point(1 - loss / LOSS_PER_ERROR)) for row, loss in zip(hard, losses, strict=True)]
    )


def _normal_point(probability: float) -> float:
    return NormalDist().inv_cdf(min(max(probability, 1e-9), 1 - 1e-9))


def _diverged(trial: TrialRecord) -> TrialRecord:
    return replace(trial, state="pruned", outcome="diverged", reason="loss became nan in epoch 1", value=None)


def _ended(trial: TrialRecord, epochs: int, objective: str, is_control: bool) -> TrialRecord:
    """The trial after so many epochs."""
    if trial.outcome == "diverged":
        return trial
    rows, whole = trial.epochs[:epochs], epochs == EPOCHS
    cost = -rows[objective] if objective == "validation_accuracy" else rows[objective]
    best = int(np.lexsort((rows["validation_loss"], cost))[0])
    return replace(
        trial,
        state="complete" if whole else "pruned",
        outcome="complete" if whole else "pruned",
        reason=None if whole else "paused",
        epochs=rows,
        value=float(rows[objective][best]),
        selected_epoch=best,
        validation_loss=float(rows["validation_loss"][best]),
        validation_accuracy=float(rows["validation_accuracy"][best]),
        weights_sha256=f"{trial.number:064x}" if whole else None,
        control={"would_prune_at": None} if is_control and trial.number else None,
    )


def confirmed(
    record: SweepRecord,
    truth: Truth,
    *,
    seed: int = 0,
    noise: float = 0.1,
    splits: float = 0.2,
    curve: Curve = averaged,
    repeats: int = 5,
    test_error: float = 1.0,
) -> SweepRecord:
    """The study with the best two of its trials and its baseline trained on fresh splits, and tested.

    Args:
        record: as drawn.
        truth, noise, curve: as of the search.
        seed: of the repeats.
        splits: standard deviation of the logarithm of the loss between splits, the same for all trials on a split.
        repeats: number of splits.
        test_error: errors on the test rows, as a multiple of those on the validation rows.
    """
    rng = np.random.default_rng([seed, 11])
    shift = rng.normal(0, splits, repeats)
    chosen = {trial.number: trial for trial in [*record.ranked()[:2], record.trials[0]]}.values()
    runs = [
        _repeat(record, trial, index, curve(truth(trial.hyperparameters) + shift[index], noise, rng), truth, rng)
        for trial in chosen
        for index in range(repeats)
    ]
    values = {t.number: [float(run.value or 0.0) for run in runs if run.candidate == t.number] for t in chosen}
    champion = next(iter(values))
    paired = paired_comparison(values[champion], values[0], record.metric, ROWS["validation"] / ROWS["train"])
    wrong = _wrong(record.trials[champion], truth, ROWS["test"], test_error, rng)
    models = np.clip(wrong + rng.normal(0, math.sqrt(wrong / 4), 3).round(), 0, None)
    verdict = {
        "protocol": 2,
        "champion": champion,
        "candidates": [{"trial": n, "search_value": record.trials[n].value, "values": v} for n, v in values.items()],
        "paired": None if champion == 0 else paired,
        "search_value": record.trials[champion].value,
        "confirm_mean": float(np.mean(values[champion])),
        "epochs": EPOCHS,
        "test": {"examples": ROWS["test"], "accuracies": list(1 - models / ROWS["test"]), "opening": 1},
    }
    return replace(record, dataset={**record.dataset, **ROWS}, confirm=tuple(runs), verdict=verdict)


def _repeat(
    record: SweepRecord, trial: TrialRecord, index: int, losses: np.ndarray, truth: Truth, rng: np.random.Generator
) -> TrialRecord:
    """A training of the same settings on another split; of its rows as many are wrong as the truth says, by chance."""
    made = _trial(record, trial.number, Hyperparameters(**trial.hyperparameters), losses, record.objective, 0, [])
    wrong = _wrong(trial, truth, ROWS["validation"], 1.0, rng)
    accuracy = 1 - wrong / ROWS["validation"]
    run = {"role": "confirm", "candidate": trial.number, "seed_index": index, "split": 2 + index}
    return replace(made, validation_accuracy=accuracy, **run)


def _wrong(trial: TrialRecord, truth: Truth, rows: int, factor: float, rng: np.random.Generator) -> int:
    return int(rng.binomial(rows, min(1.0, factor * math.exp(truth(trial.hyperparameters)) / LOSS_PER_ERROR)))
