"""Made-up records: seeded, realistic in size and shape, and with every kind of ending."""

import base64
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model.metrics import METRICS
from studies.record.reader import SweepRecord, TrialRecord
from studies.record.schema import EPOCH
from sweep.search.verdict import paired_comparison

START = datetime(2025, 3, 1, 9, 0, tzinfo=UTC)

BASELINE = {
    "hidden_sizes": [128, 64],
    "learning_rate": 0.001,
    "batch_size": 128,
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-08,
    "weight_decay": 0.0,
    "dropout": 0.0,
    "input_dropout": 0.0,
    "label_smoothing": 0.0,
    "schedule": "constant",
    "epochs": 12,
}
SPACE = {
    "hidden_sizes": {"kind": "layers", "layers": [1, 3], "units": [64, 512], "log": True},
    "learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "batch_size": {"kind": "choice", "choices": [32, 64, 128, 256]},
    "beta1": {"kind": "float", "low": 0.8, "high": 0.99, "log": False},
    "beta2": {"kind": "float", "low": 0.9, "high": 0.9999, "log": "complement"},
}
DATASETS = {
    "mnist": {"name": "mnist", "classes": 10, "shape": [28, 28], "train": 54000, "validation": 6000, "test": 10000},
    "digits": {"name": "digits", "classes": 10, "shape": [8, 8], "train": 1258, "validation": 180, "test": 359},
}


def _drawn(space: Mapping[str, Any], rng: np.random.Generator, fixed: Mapping[str, Any]) -> dict[str, Any]:
    return {**fixed, **{key: _draw(dimension, rng) for key, dimension in space.items()}}


def _draw(dimension: Mapping[str, Any], rng: np.random.Generator) -> Any:
    if dimension["kind"] == "choice":
        return dimension["choices"][int(rng.integers(len(dimension["choices"])))]
    if dimension["kind"] == "layers":
        units = {"kind": "int", "low": dimension["units"][0], "high": dimension["units"][1], "log": dimension["log"]}
        low, high = dimension["layers"]
        return tuple(_draw(units, rng) for _ in range(int(rng.integers(low, high + 1))))
    low, high = dimension["low"], dimension["high"]
    if dimension["log"] == "complement":
        return 1 - float(np.exp(rng.uniform(np.log(1 - high), np.log(1 - low))))
    value = float(np.exp(rng.uniform(np.log(low), np.log(high)))) if dimension["log"] else float(rng.uniform(low, high))
    return round(value) if dimension["kind"] == "int" else value


def _curves(quality: float, epochs: int, rng: np.random.Generator, examples: int) -> NDArray[np.void]:
    """Learning curves that fall towards `quality` (a validation loss) and then overfit a little."""
    t = np.arange(1, epochs + 1)
    noise = rng.normal(0, quality * 0.03, epochs)
    validation = quality * (1 + 2.2 * np.exp(-t / 2.2) + 0.004 * np.maximum(0, t - 9) ** 1.5) + noise
    train = quality * (0.25 + 3.2 * np.exp(-t / 2.6))
    accuracy = np.round((1 - 0.29 * validation) * examples) / examples
    curves = np.zeros(epochs, EPOCH)
    curves["learning_rate"] = 0.001
    curves["train_loss"], curves["train_accuracy"] = train, 1 - 0.27 * train
    curves["validation_loss"], curves["validation_accuracy"] = validation, accuracy
    curves["seconds"] = rng.uniform(2.0, 6.0)
    return curves


def _matrix(rng: np.random.Generator, examples: int, accuracy: float) -> list[list[int]]:
    wrong = round(examples * (1 - accuracy))
    counts = np.diag(np.full(10, (examples - wrong) // 10))
    counts[0, 0] += examples - wrong - counts.sum()
    true = rng.integers(0, 10, wrong)
    other = (true + rng.integers(1, 10, wrong)) % 10
    common = rng.random(wrong) < 0.15
    np.add.at(counts, (np.where(common, 4, true), np.where(common, 9, other)), 1)
    return counts.tolist()


def _trial(
    number: int, outcome: str, hyperparameters: Mapping[str, Any], epochs: NDArray[np.void], objective: str, **more: Any
) -> TrialRecord:
    maximize = objective == "validation_accuracy"
    column = epochs[objective]
    counted = (
        None
        if not len(epochs) or outcome in ("diverged", "failed")
        else int(column.argmax() if maximize else column.argmin())
    )
    states = {"complete": "complete", "running": "running", "interrupted": "running", "failed": "failed"}
    seconds = float(epochs["seconds"].sum())
    begun = START + timedelta(seconds=25 * number)
    running = outcome in ("running", "interrupted")
    fields: dict[str, Any] = {
        "number": number,
        "state": states.get(outcome, "pruned"),
        "outcome": outcome,
        "reason": {
            "diverged": f"loss became nan in epoch {len(epochs) + 1}, step 211",
            "failed": "the worker died 3 times (signal 9)",
            "pruned": "below the median at this epoch",
        }.get(outcome),
        "hyperparameters": {k: tuple(v) if isinstance(v, list) else v for k, v in hyperparameters.items()},
        "epochs": epochs,
        "value": None if counted is None or running else float(column[counted]),
        "selected_epoch": None if running else counted,
        "validation_loss": None if counted is None or running else float(epochs["validation_loss"][counted]),
        "validation_accuracy": None if counted is None or running else float(epochs["validation_accuracy"][counted]),
        "seconds": seconds,
        "started": begun,
        "finished": None if running else begun + timedelta(seconds=seconds),
        "attempt": 1,
        "worker": number % 2,
        "weights_sha256": f"{number:064x}" if outcome == "complete" else None,
        "confusion": None,
    }
    return TrialRecord(**{**fields, **more})


def _quality(hyperparameters: Mapping[str, Any]) -> float:
    """A validation loss with a valley: learning rate matters most, then width."""
    rate = math.log10(hyperparameters["learning_rate"]) + 2.6
    width = math.log(sum(hyperparameters["hidden_sizes"]) / 900)
    return 0.055 + 0.03 * rate**2 + 0.006 * width**2 + 0.0008 * math.log2(hyperparameters["batch_size"] / 64) ** 2


def _ending(quality: float, hyperparameters: Mapping[str, Any], number: int, rng: np.random.Generator) -> str:
    if hyperparameters["learning_rate"] > 0.0075:
        return "diverged"
    if number and number % 23 == 0:
        return "failed"
    return "pruned" if number > 5 and quality > 0.075 and rng.random() < 0.75 else "complete"


def make_record(
    trials: int = 60,
    *,
    dataset: str = "mnist",
    objective: str = "validation_accuracy",
    planned: int | None = None,
    epochs: int = 12,
    outcome: str | None = None,
    confirmed: bool = False,
    running: int = 0,
    seed: int = 7,
    name: str | None = None,
    question: str = "Which width, learning rate, batch size and Adam betas give the best accuracy in 12 epochs?",
    space: Mapping[str, Any] | None = None,
) -> SweepRecord:
    """A study of so many trials; every trial ends in `outcome` if one is given, else as its settings deserve."""
    rng = np.random.default_rng(seed)
    space = SPACE if space is None else space
    data = {
        **DATASETS[dataset],
        "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "scale": 255.0,
    }
    made = [
        _made(n, space, rng, data, objective, epochs, outcome, running if n >= trials - running else 0)
        for n in range(trials)
    ]
    record = SweepRecord(
        folder=Path("runs") / dataset,
        uid="5f3c",
        created=START,
        study={
            "name": name or dataset,
            "question": question,
            "dataset": dataset,
            "objective": objective,
            "direction": "maximize" if objective == "validation_accuracy" else "minimize",
            "epoch": "best",
            "seed": seed,
            "trials": trials if planned is None else planned,
            "sampler": "tpe",
            "pruner": "median",
            "control": 0.05,
            "baseline": {**BASELINE, "epochs": epochs},
            "space": space,
            "confirm": {"top": 3, "repeats": 3},
        },
        dataset=data,
        provenance={
            "versions": {
                "python": "3.11.7",
                "numpy": "2.4.1",
                "optuna": "5.0.0",
                "matplotlib": "3.11.2",
                "numpy-sweep": "0.1.0",
            },
            "git_commit": "3f2a91c0b7d84e55a1d2c3b4e5f60718293a4b5c",
            "git_dirty": False,
            "machine": "Linux x86_64, 2 cores, 8 GB",
            "command": f"sweep run {name or dataset}",
        },
        trials=tuple(made),
        confirm=(),
        verdict=None,
    )
    return _confirmed(record, rng) if confirmed else record


def _made(
    number: int,
    space: Mapping[str, Any],
    rng: np.random.Generator,
    data: Mapping[str, Any],
    objective: str,
    epochs: int,
    outcome: str | None,
    running: int,
) -> TrialRecord:
    settings = {**BASELINE, "epochs": epochs} if number == 0 else _drawn(space, rng, {**BASELINE, "epochs": epochs})
    quality = _quality(settings) * float(np.exp(rng.normal(0, 0.02))) * (1.0 if data["name"] == "mnist" else 1.6)
    ended = "running" if running else outcome or _ending(quality, settings, number, rng)
    ran = {
        "diverged": int(rng.integers(0, 3)),
        "failed": int(rng.integers(0, 4)),
        "pruned": int(rng.integers(2, 7)),
        "running": 4,
    }.get(ended, epochs)
    curves = _curves(quality, epochs, rng, data["validation"])[:ran]
    trial = _trial(number, ended, settings, curves, objective)
    if ended != "complete":
        return trial
    matrix = _matrix(rng, data["validation"], trial.validation_accuracy or 0.9)
    control = {"would_prune_at": 3 if quality > 0.08 else None} if number % 20 == 7 else None
    return _trial(
        number, ended, settings, curves, objective, confusion=tuple(tuple(row) for row in matrix), control=control
    )


def _confirmed(record: SweepRecord, rng: np.random.Generator) -> SweepRecord:
    ranked = record.ranked()
    chosen = [*ranked[:3], *(trial for trial in ranked[3:] if trial.number == 0)]
    noise = 0.0008 if record.maximize else 0.002
    sign = 1 if record.maximize else -1
    candidates = []
    for trial in chosen:
        values = [float((trial.value or 0) - sign * noise + rng.normal(0, noise)) for _ in range(3)]
        candidates.append(
            {
                "trial": trial.number,
                "search_value": trial.value,
                "values": values,
                "best_epochs": [8, 9, 9],
                "mean": float(np.mean(values)),
            }
        )
    champion = max(candidates, key=lambda c: sign * c["mean"])
    base = next(c for c in candidates if c["trial"] == 0)
    comparison = paired_comparison(champion["values"], base["values"], record.metric, 1 / 9)
    n = record.dataset["test"]
    accuracy = 0.9806 if n > 5000 else 0.9694
    repeats = [
        _trial(
            i,
            "complete",
            chosen[i // 3].hyperparameters,
            chosen[i // 3].epochs,
            record.objective,
            role="confirm",
            candidate=chosen[i // 3].number,
            seed_index=i % 3,
            split=2 + i % 3,
        )
        for i in range(3 * len(chosen))
    ]
    runner_up = next((c for c in candidates if c["trial"] not in (0, champion["trial"])), None)
    verdict = {
        "protocol": 2,
        "runner_up": runner_up
        and {
            "trial": runner_up["trial"],
            **paired_comparison(champion["values"], runner_up["values"], record.metric, 1 / 9),
        },
        "champion": champion["trial"],
        "hyperparameters": {},
        "baseline": 0,
        "candidates": candidates,
        "paired": None if champion["trial"] == 0 else comparison,
        "search_value": champion["search_value"],
        "confirm_mean": champion["mean"],
        "epochs": 9,
        "final_trials": [12, 13, 14],
        "test": {
            "examples": n,
            "accuracies": [accuracy, accuracy + 0.0007, accuracy - 0.0004],
            "losses": [0.066, 0.064, 0.067],
            "baseline": {"accuracies": [accuracy - 0.01] * 3, "losses": [0.09] * 3},
            "difference": {"accuracy": {"mean": 0.0101, "low": 0.006, "high": 0.0142}},
            "confusion": _matrix(rng, n, accuracy),
            "mistakes": [_mistake(record.dataset["shape"], rng) for _ in range(24)],
            "opening": 2,
        },
        "weights_sha256": "ab" * 32,
        "time": "2025-03-01T10:02:00+00:00",
    }
    return SweepRecord(
        **{
            **{f: getattr(record, f) for f in record.__dataclass_fields__},
            "verdict": verdict,
            "confirm": tuple(repeats),
        }
    )


def _mistake(shape: list[int], rng: np.random.Generator) -> dict[str, Any]:
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]] / shape[0]
    blob = np.exp(-((np.hypot(x - 0.5, y - 0.5) - rng.uniform(0.2, 0.35)) ** 2) / 0.006) * 255
    label, predicted = (int(k) for k in rng.choice(10, 2, replace=False))
    image = base64.b64encode(blob.astype(np.uint8).tobytes()).decode()
    return {
        "index": int(rng.integers(1000)),
        "label": label,
        "predicted": predicted,
        "probability": float(rng.uniform(0.6, 1)),
        "image": image,
        "dtype": "uint8",
    }


@pytest.fixture(scope="session")
def made_up() -> Callable[..., SweepRecord]:
    """The builder of made-up records; see `make_record` for what can be asked of it."""
    return make_record


Score = Callable[[Mapping[str, Any]], float]


def make_study(
    trials: int,
    score: Score,
    *,
    noise: float = 0.001,
    space: Mapping[str, Any] | None = None,
    broken: Callable[[Mapping[str, Any]], bool] = lambda settings: False,
    pruned: Callable[[Mapping[str, Any], int], bool] = lambda settings, number: False,
    controls: Callable[[int], bool] = lambda number: False,
    confirm: int = 0,
    top: int = 3,
    sampler: str = "random",
    seed: int = 1,
) -> SweepRecord:
    """A study whose truth is known: the accuracy of settings is `score(settings)` plus noise of one seed.

    Args:
        trials: how many, drawn at random from the space; trial 0 is the baseline.
        score: the true mean accuracy of settings.
        noise: standard deviation of one training.
        space: what is searched; the usual one by default.
        broken: which settings diverge.
        pruned: which are given up by the pruner, by settings and number; the controls then run on all the same.
        controls: which trials are unpruned controls.
        confirm: number of fresh seeds for the verdict; none by default.
        top: how many trials are confirmed beside the baseline.
        sampler: what the record says drew them.
        seed: of all that is random.
    """
    record = make_record(trials, outcome="complete", space=space, seed=seed)
    rng = np.random.default_rng([seed, 99])
    found = [_scored(trial, score, noise, broken, pruned, controls, rng) for trial in record.trials]
    study = {**record.study, "sampler": sampler, "confirm": {"top": top, "repeats": confirm or 3}}
    record = replace(record, trials=tuple(found), study=study)
    return _judged(record, score, noise, confirm, top, rng) if confirm else record


def _scored(
    trial: TrialRecord, score: Score, noise: float, broken: Any, pruned: Any, controls: Any, rng: np.random.Generator
) -> TrialRecord:
    settings, number = trial.hyperparameters, trial.number
    value = score(settings) + float(rng.normal(0, noise))
    epochs = trial.epochs.copy()
    epochs["validation_accuracy"] += value - (trial.validation_accuracy or 0.0)
    epochs["validation_loss"] += 1 - value - (trial.validation_loss or 0.0)
    trial = replace(trial, value=value, validation_accuracy=value, validation_loss=1 - value, epochs=epochs)
    given_up = bool(number) and pruned(settings, number)
    if broken(settings):
        return replace(trial, state="pruned", outcome="diverged", reason="loss became nan in epoch 1", value=None)
    if controls(number):
        return replace(trial, control={"would_prune_at": 3 if given_up else None})
    return replace(trial, state="pruned", outcome="pruned", epochs=trial.epochs[:4]) if given_up else trial


def _judged(
    record: SweepRecord, score: Score, noise: float, seeds: int, top: int, rng: np.random.Generator
) -> SweepRecord:
    """The verdict that `sweep` would come to: the best of a screening against the baseline on further repeats."""
    ranked = record.ranked()
    chosen = [*ranked[:top], *(trial for trial in ranked[top:] if trial.number == 0)]
    candidates = []
    for trial in chosen:
        values = [score(trial.hyperparameters) + float(rng.normal(0, noise)) for _ in range(seeds)]
        mean = float(np.mean(values))
        candidates.append({"trial": trial.number, "search_value": trial.value, "values": values, "mean": mean})
    screened = [score(trial.hyperparameters) + float(rng.normal(0, noise)) for trial in chosen[:top]]
    champion = candidates[int(np.argmax(screened))]
    base = next(one for one in candidates if one["trial"] == 0)
    comparison = paired_comparison(champion["values"], base["values"], METRICS["accuracy"], 1 / 9)
    made = _verdict()
    verdict = {
        **made,
        "champion": champion["trial"],
        "candidates": candidates,
        "paired": None if champion is base else comparison,
        "runner_up": None,
        "search_value": champion["search_value"],
        "confirm_mean": champion["mean"],
    }
    return replace(record, verdict=verdict)


@functools.cache
def _verdict() -> Mapping[str, Any]:
    return make_record(30, confirmed=True).verdict or {}


@pytest.fixture(scope="session")
def known() -> Callable[..., SweepRecord]:
    """The builder of studies with known truth; see `make_study`."""
    return make_study
