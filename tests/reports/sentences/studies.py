"""Made-up studies for the catalogue: each is described by a few choices, and every number follows from them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
from conftest import BASELINE, START, make_record

from studies.record.outcome import SEARCH_OVER
from studies.record.reader import SweepRecord, TrialRecord
from studies.record.schema import EPOCH, EPOCH_COLUMNS
from sweep.search.verdict import paired_comparison

RATE = {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True}
EVERY = {key: {"kind": "choice", "choices": [value]} for key, value in {**BASELINE, "averaging": 0.0}.items()}
SPACES: dict[str, Mapping[str, Any]] = {
    "one": {"learning_rate": RATE},
    "point": {"learning_rate": {"kind": "float", "low": 0.001, "high": 0.001, "log": False}},
    "two": {"learning_rate": RATE, "dropout": {"kind": "float", "low": 0.0, "high": 0.5, "log": False}},
    "many": {
        "hidden_sizes": {"kind": "layers", "layers": [1, 3], "units": [64, 512], "log": True},
        "learning_rate": RATE,
        "batch_size": {"kind": "choice", "choices": [32, 64, 128, 256]},
        "beta2": {"kind": "float", "low": 0.9, "high": 0.9999, "log": "complement"},
    },
    "all": {**EVERY, "learning_rate": RATE},
    "wide": {f"axis_{k}": {"kind": "float", "low": 0.0, "high": 1.0, "log": False} for k in range(17)},
    "wider": {f"axis_{k}": {"kind": "float", "low": 0.0, "high": 1.0, "log": False} for k in range(28)},
}
HOSTILE = "$\\frac{1$ <b>x</b>. Why? \u202eevil \U0001f600 %s {x}\nnew line " + "w" * 90


@dataclass(frozen=True)
class Sketch:
    """A study in a few choices.

    Attributes:
        outcomes: of the trials, in turn; the baseline's first.
        trials: how many.
        planned: of the study; None for as many as there are.
        objective: a metric of the validation rows.
        epoch: which epoch is selected.
        epochs: of each training.
        shape: of the curves: falling, flat, rising, improving, annealed, noisy, early, cosine (flat and annealed),
            mixed, upset (the last epoch is by chance).
        effect: how far the learning rate changes the result; 0 for ties everywhere, 1e-15 for gains of rounding.
        at: where the best learning rate lies in its range, 0 to 1.
        noise: of a result.
        space, sampler, pruner, generation, minutes, folds: of the study.
        confirm: none, running, better, unsure, worse, lost (no time), diverged, kept (the baseline is the champion),
            passed_over (although another did better), alone (without any repeat), tied, even (tied, running),
            screened (the second best is the champion), same (as good as in the search).
        test: how much better the champion is on the test rows.
        protocol: of the verdict.
        classes: how many; 2 are very unequal.
        clock: right, back (set back), or still.
        hostile: texts of markup, bidirectional marks and line breaks, and long names.
        scale: seconds of an epoch.
        controls: every so many trials is an unpruned control; 0 for none.
        seed: of the random numbers.
        repeats: of each confirmed trial.
        floor: an error that all trials make.
        second, crossed: effect of the dropout, and of learning rate and dropout together.
        jump: how much better the last trial is.
    """

    outcomes: tuple[str, ...] = ("complete",)
    trials: int = 6
    planned: int | None = 6
    objective: str = "validation_accuracy"
    epoch: str = "best"
    epochs: int = 6
    shape: str = "falling"
    effect: float = 0.02
    at: float = 0.6
    noise: float = 0.002
    space: str = "two"
    sampler: str = "tpe"
    pruner: str = "median"
    generation: int | None = None
    minutes: float | None = None
    folds: int = 1
    confirm: str = "none"
    test: float = 0.0
    protocol: int = 2
    classes: int = 10
    clock: str = "right"
    hostile: bool = False
    scale: float = 3.0
    controls: int = 0
    seed: int = 1
    repeats: int = 3
    floor: float = 0.0
    second: float = 0.0
    crossed: float = 0.0
    jump: float = 0.0


def made(sketch: Sketch) -> SweepRecord:
    """The record of a sketch."""
    rng = np.random.default_rng(sketch.seed)
    base = make_record(0, space=SPACES[sketch.space], objective=sketch.objective, epochs=sketch.epochs)
    data = {**base.dataset, "classes": sketch.classes, "train": 1290, "validation": 144, "test": 360}
    data["class_names"] = [_class(k, sketch.hostile) for k in range(sketch.classes)]
    data["notes"] = [f"column {k} is constant and not used" for k in range(12)] if sketch.hostile else []
    data["name"] = "mnist" if not sketch.hostile else "../" + "d" * 40
    study = {
        **base.study,
        "direction": "minimize" if sketch.objective == "validation_loss" else "maximize",
        "question": HOSTILE if sketch.hostile else base.study["question"],
        "name": "a" * 70 if sketch.hostile else "study",
        "trials": sketch.planned,
        "epoch": sketch.epoch,
        "sampler": sketch.sampler,
        "pruner": sketch.pruner,
        "generation": sketch.generation,
        "minutes": sketch.minutes,
        "folds": sketch.folds,
        "baseline": {**BASELINE, "epochs": sketch.epochs, **_whole(sketch)},
        "start": [{"learning_rate": 0.002}] if sketch.hostile else [],
        "confirm": None if sketch.confirm == "no" else {"top": 3, "repeats": sketch.repeats},
        "space": _space(sketch),
    }
    record = replace(base, study=study, dataset=data, provenance={**base.provenance, "git_dirty": sketch.hostile})
    trials = tuple(_trial(record, sketch, number, rng) for number in range(sketch.trials))
    record = replace(record, trials=trials)
    return _confirmed(record, sketch, rng)


def _space(sketch: Sketch) -> Mapping[str, Any]:
    space = SPACES[sketch.space]
    return {**space, "epochs": {"kind": "choice", "choices": [sketch.epochs]}} if "epochs" in space else space


def _whole(sketch: Sketch) -> dict[str, Any]:
    """The baseline of a space of other keys; with averaged weights where the last epoch is selected."""
    found: dict[str, Any] = {key: 0.5 for key in SPACES[sketch.space] if key.startswith("axis")}
    return {**found, "averaging": 0.33 if sketch.epoch == "last" else 0.0}


def _class(k: int, hostile: bool) -> str:
    return f"class {k}. of {'long ' * 8}$name{k}" if hostile else str(k)


def _settings(record: SweepRecord, number: int, rng: np.random.Generator) -> dict[str, Any]:
    found = {key: tuple(value) if isinstance(value, list) else value for key, value in record.study["baseline"].items()}
    if not number:
        return found
    for key, dimension in record.study["space"].items():
        if dimension["kind"] == "layers":
            found[key] = tuple(int(n) for n in rng.integers(64, 513, int(rng.integers(1, 4))))
        elif dimension["kind"] == "choice":
            choice = dimension["choices"][int(rng.integers(len(dimension["choices"])))]
            found[key] = tuple(choice) if isinstance(choice, list) else choice
        elif dimension["log"] == "complement":
            found[key] = 1 - float(np.exp(rng.uniform(np.log(1e-4), np.log(0.1))))
        else:
            low, high = (np.log(dimension[end]) if dimension["log"] else dimension[end] for end in ("low", "high"))
            value = rng.uniform(low, high)
            found[key] = float(np.exp(value) if dimension["log"] else value)
    return found


def _error(settings: Mapping[str, Any], sketch: Sketch) -> float:
    """The share of wrong rows without noise: a valley over the learning rate, or over the first axis."""
    key = "axis_0" if sketch.space.startswith("wid") else "learning_rate"
    place = settings[key] if key == "axis_0" else (np.log10(settings[key]) + 4) / 2
    dropout = settings.get("dropout", 0.0)
    crossed = sketch.crossed if (place > 0.5) != (dropout > 0.25) else 0.0
    return float(sketch.floor + sketch.effect * abs(place - sketch.at) + sketch.second * dropout + crossed)


def _curve(sketch: Sketch, error: float, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Epochs whose selected one has this error, or about it; the shape says how they come to it."""
    n, t = sketch.epochs, np.arange(1, sketch.epochs + 1)
    shapes = {
        "falling": 1 + np.exp(-t),
        "flat": np.ones(n),
        "rising": 1 + np.exp(-t) + 0.08 * np.maximum(0, t - n / 3),
        "improving": 3.0 / t**0.8,
        "annealed": 3.0 / t**0.8,
        "noisy": 1 + np.exp(-t) + rng.normal(0, 0.25, n).clip(-0.6, 0.6),
        "early": 1 + 0.03 * t,
        "cosine": np.ones(n),
        "mixed": 1 + np.exp(-t),
        "upset": np.append(np.ones(n - 1), rng.uniform(1, 3)),
    }
    factor = shapes[sketch.shape] / (1.0 if sketch.shape == "noisy" else shapes[sketch.shape].min())
    epochs = np.zeros(n, EPOCH)
    epochs["validation_loss"] = 3 * (error + 0.001) * factor
    for column in EPOCH_COLUMNS:
        if column.startswith("validation_") and column != "validation_loss":
            epochs[column] = np.round((1 - (error * factor)).clip(0, 1), 15)
    epochs["train_loss"] = epochs["validation_loss"][0] * np.exp(-t / 3)
    epochs["train_accuracy"] = 0.999
    epochs["learning_rate"] = 0.001 * (
        np.linspace(1, 0.001, n) if sketch.shape in ("annealed", "cosine") else np.ones(n)
    )
    epochs["seconds"] = sketch.scale
    return epochs


def _selected(record: SweepRecord, epochs: np.ndarray[Any, Any]) -> int:
    if record.study["epoch"] == "last":
        return len(epochs) - 1
    cost = record.metric.cost(1.0) * epochs[record.objective]
    return int(np.lexsort((epochs["validation_loss"], cost))[0])


def _trial(record: SweepRecord, sketch: Sketch, number: int, rng: np.random.Generator) -> TrialRecord:
    outcome = sketch.outcomes[number % len(sketch.outcomes)]
    settings = _settings(record, number, rng)
    error = _error(settings, sketch) + abs(float(rng.normal(0, sketch.noise)))
    control = bool(sketch.controls and number and number % sketch.controls == 0)
    given_up = control and number % (2 * sketch.controls) == 0
    error += (0.2 if given_up and sketch.pruner == "hyperband" else 0.0) - sketch.jump * (number == sketch.trials - 1)
    whole = _curve(replace(sketch, shape="early") if sketch.shape == "mixed" and number % 2 else sketch, error, rng)
    ran = {"complete": len(whole), "failed": 0, "diverged": 1}.get(outcome, max(1, len(whole) // 2))
    epochs = whole[:ran].copy()
    if number % 3 == 1:
        epochs["seconds"] *= 0.5
    if outcome == "diverged":
        epochs["validation_loss"] = np.nan
    states = {
        "complete": "complete",
        "running": "running",
        "paused": "running",
        "interrupted": "running",
        "failed": "failed",
    }
    valued = outcome in ("complete", "pruned", "timeout", "paused") and ran > 0
    at = _selected(record, epochs) if valued else None
    begun = START + timedelta(
        seconds=20 * number * (-1 if sketch.clock == "back" else 0 if sketch.clock == "still" else 1)
    )
    seconds = float(epochs["seconds"].sum())
    reasons = {
        "diverged": f"loss became nan in epoch {ran}, step {number}",
        "failed": HOSTILE if sketch.hostile else f"the worker died of {chr(97 + number % 12)}",
        "timeout": "no end after 60 s",
        "out of memory": "8 GB were not enough",
        "pruned": SEARCH_OVER if sketch.minutes and number % 5 == 2 else "below the median",
    }
    open_ = outcome in ("running", "paused", "interrupted")
    finish = begun - timedelta(seconds=30) if sketch.clock == "back" else begun + timedelta(seconds=seconds)
    return TrialRecord(
        number=number,
        state=states.get(outcome, "pruned"),
        outcome=outcome,
        reason=reasons.get(outcome),
        hyperparameters=settings,
        epochs=epochs,
        value=None if at is None else float(epochs[record.objective][at]),
        selected_epoch=at,
        validation_loss=None if at is None else float(epochs["validation_loss"][at]),
        validation_accuracy=None if at is None else float(epochs["validation_accuracy"][at]),
        seconds=seconds,
        started=begun,
        finished=None if open_ else begun if sketch.clock == "still" else finish,
        sequence=None if open_ else (number * 7) % 11 if sketch.clock == "back" else number,
        attempt=1 + (number % 5 == 4),
        worker=number % 2,
        weights_sha256=None,
        confusion=_matrix(sketch, record.validated, error, rng) if outcome == "complete" else None,
        control={"would_prune_at": 1 if given_up else None} if control else None,
    )


def _matrix(sketch: Sketch, rows: int, error: float, rng: np.random.Generator) -> tuple[tuple[int, ...], ...]:
    """Counts of so many rows, of which this share is wrong; of two classes one has a tenth of the rows."""
    k = sketch.classes
    sizes = np.array([rows - rows // 10, rows // 10]) if k == 2 else np.bincount(np.arange(rows) % k, minlength=k)
    counts = np.diag(sizes)
    labels = np.repeat(np.arange(k), sizes)
    order = labels[::-1] if k == 2 and sketch.floor else rng.permutation(labels)  # all of the rare class first
    for true in order[: round(rows * error)]:
        counts[true, true] -= 1
        counts[true, (true + 1) % k] += 1
    return tuple(map(tuple, counts.tolist()))


LEVELS = {"better": 0.01, "unsure": 0.0, "worse": -0.01, "kept": -0.01, "passed_over": 0.01, "tied": 0.0}


def _confirmed(record: SweepRecord, sketch: Sketch, rng: np.random.Generator) -> SweepRecord:
    if sketch.confirm in ("none", "no"):
        return record
    ranked = record.ranked()
    others = [t for t in ranked if t.number]
    if not others:
        return record
    first = others[min(1, len(others) - 1) if sketch.confirm == "screened" else 0]
    base = record.trials[0]
    if sketch.confirm == "alone" and base not in ranked:
        return record
    other = next((t for t in ranked if t.number not in (0, first.number)), None)
    pairs = sketch.repeats
    shift = 0.0 if sketch.confirm in ("tied", "even") else LEVELS.get(sketch.confirm, 0.01)
    spread = 0.0 if sketch.confirm in ("tied", "even") else 0.02 if sketch.confirm == "unsure" else 0.001
    center = float(base.value or 0.0)
    sign = record.metric.cost(-1.0)

    def drawn(level: float) -> list[float]:
        return [float(max(1e-4, center - sign * 0.02 + sign * level + spread * rng.normal())) for _ in range(pairs)]

    values = {first.number: drawn(shift), 0: drawn(0.0)}
    if sketch.confirm == "same":
        values[first.number] = [float(first.value or 0.0)] * pairs
    if other is not None and sketch.confirm == "same" and sketch.seed % 2:
        values[other.number] = [float(other.value or 0.0)] * pairs
    elif other is not None and sketch.confirm not in ("tied", "same"):
        values[other.number] = drawn(shift - 0.002)
    runs = [
        _repeat(record, number, index, value) for number, found in values.items() for index, value in enumerate(found)
    ]
    if sketch.confirm in ("running", "even"):
        return replace(record, confirm=tuple(runs[:-1]))
    champion = 0 if sketch.confirm in ("kept", "passed_over", "alone") else first.number
    if sketch.confirm in ("lost", "alone"):
        values, runs = {}, []
    if sketch.confirm == "diverged":
        runs = [
            replace(run, outcome="diverged", state="pruned", value=None) if run.candidate == 0 else run for run in runs
        ]
        del values[0]
    verdict = _verdict(record, sketch, champion, values, rng)
    return replace(record, confirm=tuple(runs), verdict=verdict)


def _repeat(record: SweepRecord, number: int, index: int, value: float) -> TrialRecord:
    one = record.trials[number]
    accuracy = value if record.objective != "validation_loss" else 1 - value / 3
    role = {"role": "confirm", "candidate": number, "seed_index": index, "split": 2 + index}
    ended = {"state": "complete", "outcome": "complete", "epochs": record.ranked()[0].epochs, "control": None}
    return replace(one, value=value, validation_accuracy=accuracy, **ended, **role)


def _verdict(
    record: SweepRecord, sketch: Sketch, champion: int, values: Mapping[int, Sequence[float]], rng: np.random.Generator
) -> dict[str, Any]:
    overlap = record.dataset["validation"] / record.dataset["train"] if sketch.protocol > 1 else 0.0
    candidates = [
        {"trial": n, "search_value": record.trials[n].value, "values": list(found), "mean": float(np.mean(found))}
        for n, found in values.items()
    ]

    def against(number: int | None) -> dict[str, Any] | None:
        if number is None or number == champion or number not in values or champion not in values:
            return None
        if sketch.repeats > 1:
            found = paired_comparison(values[champion], values[number], record.metric, overlap)
        else:
            difference = record.metric.cost(values[number][0] - values[champion][0])
            found = {"difference": difference, "low": None, "high": None, "n": 1}
        return {"trial": number, **found, **({} if sketch.protocol > 1 else {"among": len(values)})}

    runner_up = next((n for n in values if n not in (0, champion)), None) if sketch.protocol > 1 else None
    error = 0.03 if sketch.test <= 0.02 else 0.001
    matrix = _matrix(sketch, 360, error, rng)
    accuracy = sum(matrix[k][k] for k in range(sketch.classes)) / 360
    accuracies = [accuracy] * (1 if sketch.repeats == 1 else 3)
    names = ("accuracy", "balanced_accuracy", "macro_f1")
    test: dict[str, Any] = {
        "examples": 360,
        "accuracies": accuracies,
        "metrics": [dict.fromkeys(names, one) for one in accuracies],
        "confusion": matrix,
        "opening": 1 + (sketch.seed % 2),
        "mistakes": _mistakes(sketch),
        "calibration": [{"n": n, "confidence": 0.9 + 0.1 * sketch.test, "accuracy": 0.9} for n in (120, 240)],
    }
    if champion:
        theirs = [accuracy - sketch.test] * len(accuracies)
        ends = {"mean": accuracy - theirs[0], "low": sketch.test - 0.004, "high": sketch.test + 0.004}
        test |= {"baseline": {"accuracies": theirs, "metrics": [dict.fromkeys(names, one) for one in theirs]}}
        test |= {"difference": {"accuracy": ends}} if sketch.protocol > 1 or sketch.confirm != "lost" else {}
    return {
        "protocol": sketch.protocol,
        "champion": champion,
        "baseline": 0,
        "candidates": candidates,
        "paired": against(0),
        "runner_up": against(runner_up),
        "search_value": record.trials[champion].value,
        "confirm_mean": float(np.mean(values[champion])) if champion in values else None,
        "epochs": sketch.epochs,
        "test": test,
    }


def _mistakes(sketch: Sketch) -> list[dict[str, Any]]:
    picture = {"image": base64.b64encode(bytes(28 * 28)).decode(), "dtype": "uint8"} if sketch.seed % 2 else {}
    one = {"label": 0, "predicted": 1, **picture}
    return [{"index": k, "probability": 0.9 - 0.1 * k, **one} for k in range(1 + sketch.seed % 3)]
