"""Asynchronous successive halving that pauses and promotes (Li et al. 2020, arXiv 1810.05934, algorithm 2).

Every trial pauses at each rung with a checkpoint. It is promoted, which means continued to the next rung, once it is
among the best 1 / `reduction` of all trials that reached its rung. Optuna's pruners can only stop a trial for good, and
so must decide when few others are known; here a trial that was paused early may still be promoted much later.

Two things differ from the paper. Of the trials that may be promoted, the one with the cheapest next leg goes first, not
the one at the highest rung: all of them will be trained, and the cheap ones tell soonest (`search.py` puts them in this
order). And when no new trial will be proposed, at least the `finalists` best of every rung are promoted, however few
trials there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from sweep.search.standings import Standings

LEAST_REDUCTION, MOST_REDUCTION = 2.0, 4.0
"""A trial in two to four is promoted."""
FEWEST_EXPECTED = 32
"""Trials to expect where their number is unknown, if fewer than half as many have begun."""


def reduction(trials: int | None, rungs: int, finalists: int) -> float:
    """One trial in this many is promoted at each rung, so that about `finalists` of all trials run to their end.

    Args:
        trials: of the study; None where only the time is limited.
        rungs: the last one included.
        finalists: trials that are confirmed.
    """
    if trials is None or rungs < 2:
        return MOST_REDUCTION
    found = math.exp(math.log(trials / (finalists + 1)) / (rungs - 1))
    return min(max(found, LEAST_REDUCTION), MOST_REDUCTION)


class Halving:
    """Decides which paused trials are promoted and which are given up.

    Args:
        standings: of all trials; changed by the search.
        trials: of the study; None where only the time is limited.
        finalists: trials that are confirmed.

    Attributes:
        paused: rung of every paused trial, by number.
    """

    def __init__(self, standings: Standings, trials: int | None, finalists: int) -> None:
        self._standings = standings
        self._trials = trials
        self._finalists = finalists
        self._reduction = reduction(trials, len(standings.reached), finalists)
        self.paused: dict[int, int] = {}

    def promotable(self, *, closing: bool, always: Iterable[int] = ()) -> list[int]:
        """Numbers of the paused trials that may be continued, by rung and number.

        Args:
            closing: whether no new trial will be proposed.
            always: numbers of trials that are never stopped.
        """
        exempt = set(always)
        quotas = [self.quota(rung, closing=closing) for rung in range(len(self._standings.reached))]
        found = [
            (rung, number)
            for number, rung in self.paused.items()
            if number in exempt or self._standings.rank(number, rung) <= quotas[rung]
        ]
        return [number for _, number in sorted(found)]

    def place(self, number: int) -> str:
        """The place of a paused trial at its rung, in words; empty if it is not compared yet."""
        if (rung := self.paused.get(number)) is None:
            return ""
        return f"place {self._standings.rank(number, rung)} of {len(self._standings.reached[rung])}"

    def quota(self, rung: int, *, closing: bool) -> int:
        """How many of the trials that reached a rung are promoted."""
        share = int(len(self._standings.reached[rung]) / self._reduction)
        return max(share, self._finalists) if closing else share

    def out_of_reach(self, begun: int) -> list[int]:
        """Numbers of the paused trials that are too far behind to be promoted among the trials that are expected.

        Ending them at once bounds the number of checkpoints on the disk.

        Args:
            begun: number of trials proposed so far.
        """
        expected = self._trials if self._trials is not None else max(2 * begun, FEWEST_EXPECTED)
        most = [self._most_promoted(rung, expected) for rung in range(len(self._standings.reached))]
        return sorted(number for number, rung in self.paused.items() if self._standings.rank(number, rung) > most[rung])

    def _most_promoted(self, rung: int, expected: int) -> int:
        reaching = max(len(self._standings.reached[rung]), math.ceil(expected / self._reduction**rung))
        return max(int(reaching / self._reduction), self._finalists)
