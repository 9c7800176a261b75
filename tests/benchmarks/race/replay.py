"""Race schedulers on the recorded learning curves of curves.npz, in a few seconds.

    PYTHONPATH=tests/benchmarks/race .venv/bin/python tests/benchmarks/race/replay.py

One worker takes the settings in random order; after every epoch a scheduler decides whether the trial goes on. Time is
counted in recorded processor seconds, as a share of what 200 complete trainings of average settings take. The result is
the mean over random orders of the validation error of the best epoch so far.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from model.cost import CostModel
from model.hyperparameters import Hyperparameters
from studies.definition import Confirm
from studies.rungs import rung_epochs
from sweep.search import halving, pruners
from sweep.search.standings import Standings

TABLE = Path(__file__).with_name("curves.npz")
SHARES = (0.025, 0.05, 0.1, 0.2)
"""Of the budget, at which the error of the best so far is read."""
ORDERS = 200
TRAININGS = 200
EPOCHS = 12
RUNGS = rung_epochs(EPOCHS, EPOCHS)
TRAINING_IMAGES, PIXELS, CLASSES = 15_000, 784, 10
Decision = Literal["continue", "pause", "stop"]


class Scheduler(Protocol):
    """What a race asks of a scheduler."""

    def judge(self, number: int, epoch: int, accuracy: float) -> Decision:
        """Decide on a trial after an epoch, counted from 0, with its validation accuracy."""

    def promote(self, *, closing: bool) -> int | None:
        """The number of the paused trial that continues, if any; `closing` says that no new one can begin instead."""


class Complete:
    """Every trial is trained for all epochs."""

    def judge(self, number: int, epoch: int, accuracy: float) -> Decision:
        del number, epoch, accuracy
        return "continue"

    def promote(self, *, closing: bool) -> int | None:
        del closing


class Median:
    """The product's median pruner."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._pruner = pruners.Median(EPOCHS)
        self._trials: dict[int, FrozenTrial] = {}

    def judge(self, number: int, epoch: int, accuracy: float) -> Decision:
        trial = self._trials.get(number) or self._trials.setdefault(number, _running(number))
        trial.intermediate_values[epoch] = accuracy
        if epoch + 1 == EPOCHS:
            trial.state = TrialState.COMPLETE
            self._pruner.learn(self._study, trial)
            return "stop"
        return "stop" if self._pruner.prune(self._study, trial) else "continue"

    def promote(self, *, closing: bool) -> int | None:
        del closing


class Halving:
    """The product's asynchronous halving; the cheapest promotion goes first, as in `sweep.search.search`.

    Args:
        costs: of an epoch of each setting.
    """

    def __init__(self, costs: Sequence[float]) -> None:
        self._costs = costs
        self._standings = Standings(len(RUNGS))
        self._halving = halving.Halving(self._standings, None, Confirm().top)
        self._best: dict[int, float] = {}

    def judge(self, number: int, epoch: int, accuracy: float) -> Decision:
        best = self._best[number] = max(accuracy, self._best.get(number, 0.0))
        if epoch + 1 not in RUNGS:
            return "continue"
        rung = RUNGS.index(epoch + 1)
        self._standings.add(number, rung, 1 - best, 0.0)  # settings with equal accuracies are in order of their numbers
        if epoch + 1 == EPOCHS:
            return "stop"
        self._halving.paused[number] = rung
        for hopeless in self._halving.out_of_reach(len(self._best)):
            del self._halving.paused[hopeless]
        return "pause"

    def promote(self, *, closing: bool) -> int | None:
        found = self._halving.promotable(closing=closing)
        number = min(found, key=self._cost_of_next_leg, default=None)
        if number is not None:
            del self._halving.paused[number]
        return number

    def _cost_of_next_leg(self, number: int) -> float:
        rung = self._halving.paused[number]
        return (RUNGS[rung + 1] - RUNGS[rung]) * self._costs[number]


def _running(number: int) -> FrozenTrial:
    return FrozenTrial(number, TrialState.RUNNING, None, None, None, {}, {}, {}, {}, {}, number)


@dataclass(frozen=True)
class Curves:
    """Recorded trainings.

    Attributes:
        accuracy: of each setting after each of its epochs, of the validation images; it ends where a training diverged.
        seconds: of an epoch, of each setting.
        budget: seconds of 200 complete trainings of average settings.
    """

    accuracy: list[list[float]]
    seconds: list[float]
    budget: float


def curves(training: str, table: Mapping[str, NDArray[np.floating]]) -> Curves:
    """The curves of a training of curves.npz: `averaged`, `latest` or `cosine`.

    An epoch of a setting takes the same in all of them, for other work on the machine changed the recorded seconds by
    far more than averaging, which costs about 1 %.
    """
    recorded = table[f"{training}_accuracy"].astype(np.float64).tolist()
    accuracy = [[value for value in curve if not math.isnan(value)] for curve in recorded]
    seconds = np.fmin(table["averaged_seconds"], table["cosine_seconds"]).astype(np.float64)
    return Curves(accuracy, seconds.tolist(), TRAININGS * EPOCHS * float(seconds.mean()))


def run(curves: Curves, scheduler: Scheduler, order: Sequence[int], seconds: float) -> Iterator[tuple[float, float]]:
    """Yield after each epoch, until the seconds are over, the seconds so far and the accuracy."""
    new = list(reversed(order))
    remaining = {number: enumerate(curves.accuracy[number]) for number in order}
    spent = 0.0
    while (number := _next(scheduler, new)) is not None:
        for epoch, accuracy in remaining[number]:
            spent += curves.seconds[number]
            if spent > seconds:
                return
            yield spent, accuracy
            if scheduler.judge(number, epoch, accuracy) != "continue":
                break


def _next(scheduler: Scheduler, new: list[int]) -> int | None:
    """The trial that is trained next; takes a new one from the end of the list."""
    promoted = scheduler.promote(closing=not new)
    return promoted if promoted is not None or not new else new.pop()


def errors(curves: Curves, make: Callable[[], Scheduler], shares: Sequence[float] = SHARES) -> NDArray[np.float64]:
    """Validation error in percent of the best so far at shares of the budget, (orders, shares); 100 before an epoch."""
    found = np.empty((ORDERS, len(shares)))
    limits = np.array(shares) * curves.budget
    for seed, row in enumerate(found):
        order = np.random.default_rng(seed).permutation(len(curves.accuracy)).tolist()
        events = chain([(0.0, 0.0)], run(curves, make(), order, limits[-1]))
        times, accuracies = np.fromiter(chain.from_iterable(events), float).reshape(-1, 2).T
        best = np.maximum.accumulate(accuracies)
        row[:] = 100 * (1 - best[np.searchsorted(times, limits, side="right") - 1])
    return found


def epoch_costs(table: Mapping[str, NDArray[np.floating]]) -> list[float]:
    """What an epoch of each setting costs, as the product estimates it."""
    model = CostModel(PIXELS, CLASSES, TRAINING_IMAGES)
    rows = zip(table["hidden_sizes"].tolist(), table["batch_size"].tolist(), strict=True)
    return [model.epoch(Hyperparameters([size for size in sizes if size], batch_size=batch)) for sizes, batch in rows]


def contestants(table: Mapping[str, NDArray[np.floating]]) -> dict[str, tuple[Curves, Callable[[], Scheduler]]]:
    """What is compared: by name, the curves, and what makes the scheduler of a race."""
    cosine, averaged = curves("cosine", table), curves("averaged", table)
    study, costs = optuna.create_study(direction="maximize"), epoch_costs(table)
    return {
        "cosine, all epochs": (cosine, Complete),
        "cosine, median": (cosine, partial(Median, study)),
        "averaged, all epochs": (averaged, Complete),
        "averaged, median": (averaged, partial(Median, study)),
        "averaged, halving": (averaged, partial(Halving, costs)),
    }


def main() -> None:
    """Print a table for README.md."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = {name: errors(*column).mean(axis=0) for name, column in contestants(np.load(TABLE)).items()}
    print(f"| budget | {' | '.join(found)} |\n|---|{'---|' * len(found)}")
    for place, share in enumerate(SHARES):
        print(f"| {100 * share:g} % | {' | '.join(f'{each[place]:.2f}' for each in found.values())} |")


if __name__ == "__main__":
    main()
