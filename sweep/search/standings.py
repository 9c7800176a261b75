"""The standings of the trials of a search at each rung."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Sequence

LEAST_MODELLED = 10
"""Trials that a rung needs before the sampler uses it; Optuna's TPE draws as many at random first."""

Key = tuple[float, float, int]
"""How trials are ordered: cost (lower is better), validation loss, number."""


class Standings:
    """Where the trials of a search stand at each rung.

    Attributes:
        reached: for each rung the keys of the trials that reached it, best first.
        worst: numbers of the trials that diverged, ran out of memory or of time: worse than all others.
    """

    def __init__(self, rungs: int) -> None:
        self.reached: list[list[Key]] = [[] for _ in range(rungs)]
        self.worst: list[int] = []
        self._keys: list[dict[int, Key]] = [{} for _ in range(rungs)]
        self._highest: dict[int, int] = {}
        self._by_highest: list[Key] = []

    def add(self, number: int, rung: int, cost: float, loss: float) -> None:
        """Note that a trial reached a rung; a second time changes nothing.

        Args:
            number: of the trial.
            rung: from 0.
            cost: the objective at the selected epoch so far, such that less is better; NaN is the worst.
            loss: the validation loss there.
        """
        if number not in self._keys[rung]:
            key = (math.inf if math.isnan(cost) else cost, math.inf if math.isnan(loss) else loss, number)
            self._keys[rung][number] = key
            insort(self.reached[rung], key)
            if rung >= self._highest.get(number, 0):
                self._leave_out(number)
                self._highest[number] = rung
                insort(self._by_highest, key)

    def add_worst(self, number: int) -> None:
        """Note that the settings of a trial led to no result."""
        self.worst.append(number)
        self._leave_out(number)

    def _leave_out(self, number: int) -> None:
        """Take a trial out of the order by the highest rung of each."""
        rung = self._highest.pop(number, None)
        if rung is not None:
            del self._by_highest[bisect_left(self._by_highest, self._keys[rung][number])]

    def has(self, number: int, rung: int) -> bool:
        """Whether a trial reached a rung."""
        return number in self._keys[rung]

    def rank(self, number: int, rung: int) -> int:
        """The place of a trial among all that reached the rung, from 1."""
        return bisect_left(self.reached[rung], self._keys[rung][number]) + 1

    def best_and_rest(self, known: int, best: int) -> tuple[Sequence[int], Sequence[int]] | None:
        """Numbers of the best trials and of the others, at the highest rung that enough trials reached.

        As in BOHB (Falkner et al. 2018, arXiv 1807.01774, section 3.2) trials are compared only where all of them were
        measured; those that were stopped before say nothing about that rung. Those without a result are the worst.

        Args:
            known: number of trials that reached a rung or are among the worst.
            best: how many of `known` trials count as the best; a rung needs twice as many trials.

        Returns:
            None with too few trials.
        """
        if known < LEAST_MODELLED:
            return None
        enough = (r for r in reversed(self.reached) if len(r) >= max(LEAST_MODELLED, 2 * best))
        worst = set(self.worst)
        order = [number for _, _, number in next(enough, self.reached[0]) if number not in worst]
        return order[:best], [*order[best:], *self.worst]

    def ahead(self, count: int) -> list[int]:
        """Numbers of the best `count` trials with a result, by what each had at its highest rung."""
        return [number for _, _, number in self._by_highest[:count]]

    @property
    def known(self) -> int:
        """Number of trials that reached a rung or are among the worst."""
        return len(self.reached[0]) + len(set(self.worst) - self._keys[0].keys())
