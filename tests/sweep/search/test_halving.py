"""Successive halving: who is promoted, who is given up, and that the best trial gets to its end."""

import random

import pytest

from sweep.search.halving import Halving, reduction
from sweep.search.standings import Standings


def paused_at(rung, costs, *, trials=None, rungs=3, finalists=2):
    """Trials 0, 1, ... that wait at a rung, and the halving that decides about them."""
    standings = Standings(rungs)
    halving = Halving(standings, trials, finalists)
    for number, cost in enumerate(costs):
        for reached in range(rung + 1):
            standings.add(number, reached, cost, 0.0)
        halving.paused[number] = rung
    return standings, halving


@pytest.mark.parametrize(
    ("trials", "rungs", "finalists", "expected"),
    [
        (None, 4, 3, 4.0),  # any number of trials: the strictest
        (60, 1, 3, 4.0),  # nothing is promoted
        (10**6, 3, 3, 4.0),
        (4, 3, 3, 2.0),
        (36, 3, 3, 3.0),  # 36 trials, 12 at the second rung, 4 at the last
    ],
)
def test_the_reduction_leads_about_as_many_trials_to_the_end_as_are_confirmed(trials, rungs, finalists, expected):
    """Within two to four."""
    assert reduction(trials, rungs, finalists) == pytest.approx(expected)


def test_the_best_quarter_of_a_rung_is_promoted():
    """Algorithm 2 of Li et al. 2020: the best floor(n / 4) of all that reached the rung, if they wait there."""
    for count in range(13):
        _, halving = paused_at(0, range(count))

        assert halving.quota(0, closing=False) == count // 4
        assert halving.promotable(closing=False) == list(range(count // 4))


def test_a_promoted_trial_keeps_its_place_at_the_rung_that_it_left():
    """Of eight, the best two are promoted once; a ninth that is worse promotes nobody else."""
    standings, halving = paused_at(0, range(8))
    for number in halving.promotable(closing=False):
        del halving.paused[number]
    standings.add(8, 0, 99, 0.0)
    halving.paused[8] = 0

    assert halving.promotable(closing=False) == []
    standings.add(9, 0, -1.0, 0.0)  # better than all
    halving.paused[9] = 0
    assert halving.promotable(closing=False) == [9]


def test_a_trial_paused_early_is_promoted_when_enough_others_are_worse():
    """What sets it apart from halving that stops: no decision is final."""
    standings, halving = paused_at(0, [1, 0])
    assert halving.promotable(closing=False) == []
    for number in range(2, 8):
        standings.add(number, 0, number, 0.0)
        halving.paused[number] = 0

    assert halving.promotable(closing=False) == [0, 1]


def test_each_rung_is_decided_among_the_trials_that_reached_it():
    standings, halving = paused_at(0, range(8))
    for number in (4, 5, 6, 7):  # the worst of the first rung were at the second one
        standings.add(number, 1, -number, 0.0)
        halving.paused[number] = 1

    assert halving.promotable(closing=False) == [0, 1, 7]


def test_the_exempt_are_always_promoted():
    _, halving = paused_at(0, range(8))

    assert halving.promotable(closing=False, always=[6]) == [0, 1, 6]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
def test_at_the_end_at_least_the_finalists_are_promoted(count):
    """Two of each rung, however few trials there are, and a quarter of many."""
    _, halving = paused_at(0, range(count))

    assert halving.promotable(closing=True) == list(range(min(count, max(2, count // 4))))


def test_the_place_of_a_paused_trial_is_given_in_words():
    standings, halving = paused_at(0, [3, 1, 2])
    standings.add(9, 0, 0.0, 0.0)

    assert halving.place(1) == "place 2 of 4"
    assert halving.place(9) == ""


@pytest.mark.parametrize("trials", [8, 40, 200])
def test_a_trial_given_up_could_not_have_been_promoted(trials):
    """Not even if all the trials that are still to come were worse."""
    standings, halving = paused_at(0, range(trials // 2), trials=trials)
    given_up = halving.out_of_reach(trials // 2)
    for number in range(trials // 2, trials):
        standings.add(number, 0, number, 0.0)

    assert set(given_up).isdisjoint(halving.promotable(closing=True))
    assert set(given_up) | set(halving.promotable(closing=True)) == set(range(trials // 2))


def test_without_a_number_of_trials_as_many_again_are_expected():
    """But at least 32: then one of the best eight may still be promoted."""
    assert paused_at(0, range(10))[1].out_of_reach(10) == [8, 9]
    assert paused_at(0, range(40))[1].out_of_reach(40) == list(range(20, 40))


class Simulation:
    """A search with made-up trials on so many workers, each leg as long as its epochs.

    Trials differ in their `quality`; what is seen at a rung is the quality and noise that vanishes at the end.
    """

    EPOCHS = (1, 4, 12)

    def __init__(self, trials, workers, seed, noise=0.1, finalists=3, known=True):
        self.dice = random.Random(seed)
        self.trials, self.workers, self.noise = trials, workers, noise
        self.standings = Standings(len(self.EPOCHS))
        self.halving = Halving(self.standings, trials if known else None, finalists)
        self.quality = [self.dice.random() for _ in range(trials)]
        self.finished, self.given_up, self.most_paused, self.begun, self.spent = [], [], 0, 0, 0
        self.running = []  # (end, number, rung)
        self.now = 0.0

    def run(self):
        while True:
            while len(self.running) < self.workers and (leg := self.next_leg()):
                self.running.append(leg)
            if not self.running:
                return self
            self.running.sort()
            self.now, number, rung = self.running.pop(0)
            self.end_leg(number, rung)

    def next_leg(self):
        promotable = self.halving.promotable(closing=self.begun == self.trials)
        if promotable:
            number = promotable[0]
            rung = self.halving.paused.pop(number) + 1
        elif self.begun < self.trials:
            number, rung = self.begun, 0
            self.begun += 1
        else:
            return None
        cost = self.EPOCHS[rung] - (self.EPOCHS[rung - 1] if rung else 0)
        self.spent += cost
        return self.now + cost * self.dice.uniform(0.5, 2), number, rung

    def end_leg(self, number, rung):
        left = 1 - self.EPOCHS[rung] / self.EPOCHS[-1]
        self.standings.add(number, rung, self.quality[number] + left * self.dice.gauss(0, self.noise), 0.0)
        if rung == len(self.EPOCHS) - 1:
            self.finished.append(number)
        else:
            self.halving.paused[number] = rung
        for hopeless in self.halving.out_of_reach(self.begun):
            del self.halving.paused[hopeless]
            self.given_up.append(hopeless)
        self.most_paused = max(self.most_paused, len(self.halving.paused))


@pytest.mark.parametrize("workers", [1, 4, 32])
@pytest.mark.parametrize("known", [True, False])
def test_the_best_of_two_hundred_trials_is_promoted_to_the_end(workers, known):
    """With exact marks always, for any number of workers, whenever it was proposed."""
    for seed in range(8):
        run = Simulation(200, workers, seed, noise=0, known=known).run()
        best = sorted(range(200), key=run.quality.__getitem__)

        assert set(best[:3]) <= set(run.finished)
        assert run.spent < 0.35 * 200 * 12


@pytest.mark.slow
def test_noisy_marks_rarely_lose_the_best():
    """A trial among the best three is found in nearly all of 50 searches whose first mark is off by a tenth."""
    found = 0
    for seed in range(50):
        run = Simulation(200, 4, seed, noise=0.1).run()
        best = sorted(range(200), key=run.quality.__getitem__)
        found += bool(set(best[:3]) & set(run.finished))

    assert found >= 47


@pytest.mark.parametrize("workers", [1, 4, 32])
@pytest.mark.parametrize(("known", "most"), [(True, 200 / 3), (False, 200 / 2)])
def test_the_number_of_paused_checkpoints_is_bounded(workers, known, most):
    """By the number of trials that may still be promoted, at most half of all where the total is unknown."""
    for seed in range(5):
        run = Simulation(200, workers, seed, known=known).run()

        assert run.most_paused <= most
        assert sorted([*run.finished, *run.given_up, *run.halving.paused]) == list(range(200))
