"""The checks of the curves, of the number of trials and of pruning."""

from __future__ import annotations

import re

from sentences.catalogue import says
from sentences.facts import Facts, count
from sentences.of_checks import LIMIT, freedom, size

# --- the curves


@says("{n:int} of the best {of:completed trial?} overfit.", under="overfitting")
def _(facts: Facts, n: str, of: str) -> bool:
    return int(n) <= count(of) / 2 and count(of) <= len(facts.done)


@says(
    "{n:int} of the best {of:completed trial?} overfit: their validation loss ends {p:percent} above its lowest level"
    " (median).",
    under="overfitting",
)
def _(facts: Facts, n: str, of: str, p: str) -> bool:
    return count(of) / 2 < int(n) <= count(of) <= len(facts.done)


for under in ("overfitting", "still improving", "late epochs"):

    @says(
        "{there:int} of the best {of:int} completed trials {have:word} a curve of at least 8 finite epochs, 3 needed: a"
        " study of longer trainings would tell.",
        under=under,
    )
    def _(facts: Facts, there: str, of: str, have: str) -> bool:
        return int(there) < 3 <= int(of) <= len(facts.done) and have == ("has" if there == "1" else "have")


GAIN = "With 1.5 times the epochs the best trials would gain {gain:estimate}, "


def _limit(facts: Facts, text: str) -> float | None:
    """The limit after its name, if that is a true one: the noise is known of confirmed studies only."""
    found = re.fullmatch(LIMIT + ", (.+)", text)
    if (
        found is None
        or ("noise" in found[1] and freedom(facts) < 4)
        or ("folds" in found[1]) != (facts.folds > 1 and "noise" in found[1])
    ):
        return None
    return size(found[2])


@says(
    GAIN
    + "more than {limit}; the schedule of {n:int} of {of:int} ended at 0, so more epochs require a new, longer one.",
    GAIN + "more than {limit}.",
    under="still improving",
)
def _(facts: Facts, gain: str, limit: str, n: str = "0", of: str = "0") -> bool:
    worth = _limit(facts, limit)
    return worth is not None and size(gain) >= worth and int(n) <= int(of) <= len(facts.done)


@says(GAIN + "no more than {limit}.", under="still improving")
def _(facts: Facts, gain: str, limit: str) -> bool:
    worth = _limit(facts, limit)
    return worth is not None and (size(gain) <= worth or "less than" in gain)


@says(GAIN + "but only {n:int} of {of:int} would gain more than {limit}.", under="still improving")
def _(facts: Facts, gain: str, n: str, of: str, limit: str) -> bool:
    worth = _limit(facts, limit)
    return worth is not None and size(gain) >= worth and int(n) < 0.75 * int(of)


@says(
    "The schedule reduced the learning rate to 0, which flattens any curve: a longer study would tell.",
    under="still improving",
)
def _(facts: Facts) -> bool:
    rates = [facts.curves[n]["learning_rate"] for n in facts.done["number"]]
    return any(rate.iloc[-1] < 0.05 * rate.max() for rate in rates)


def _early(facts: Facts, n: str, of: str) -> bool:
    return int(n) == sum(one <= 0.1 for one in best_shares(facts)) and count(of) == len(best_shares(facts))


def best_shares(facts: Facts) -> list[float]:
    """The best epoch of each completed trial, from 1, as a share of its epochs: by the objective, then by the loss."""
    found = []
    for number in facts.done["number"]:
        curve = facts.curves[number]
        cost = (-facts.sign * curve[facts.objective]).tolist()
        keys = list(zip(cost, curve["validation_loss"], strict=True))
        selected = facts.trials.loc[number, "selected_epoch"]
        at = keys.index(min(keys)) if facts.study.get("epoch") == "last" else int(selected)
        found.append((at + 1) / len(curve))
    return found


EARLY = "{n:int} of {of:completed trial?} had their best epoch in the first tenth"


@says(EARLY + ".", EARLY + ": about {more:completed trial?} would tell.", under="best epoch")
def _(facts: Facts, n: str, of: str, more: str | None = None) -> bool:
    return _early(facts, n, of) and (more is None or count(more) > count(of))


@says(EARLY + ": fewer epochs would do.", under="best epoch")
def _(facts: Facts, n: str, of: str) -> bool:
    return _early(facts, n, of) and int(n) > count(of) / 4


@says("Late epochs of a trial scatter by {a:change}; the best {of:trial?} differ by {b:change}.", under="late epochs")
def _(facts: Facts, a: str, of: str, b: str) -> bool:
    least = 2.5 if facts.is_loss else 100 / facts.rows + 0.1
    return size(a) <= max(2 * size(b) + 1, least) and 3 <= count(of) <= len(facts.done)


@says(
    "Late epochs of a trial scatter by {a:change}, but the best {of:trial?} differ by {b:change}: {why}.",
    under="late epochs",
)
def _(facts: Facts, a: str, of: str, b: str, why: str) -> bool:
    last = facts.study.get("epoch") == "last"
    true = "their order is by chance" if last else "the selected epoch is a lucky one"
    return size(a) >= 2 * size(b) - 1 and why == true and 3 <= count(of) <= len(facts.done)


@says("Try {what}.", under="late epochs")
def _(facts: Facts, what: str) -> bool:
    return tried(facts, what)


def tried(facts: Facts, what: str) -> bool:
    """Whether the advice against unsteady epochs leaves out what the study does already."""
    last = facts.study.get("epoch") == "last"
    return ('epoch = "last"' in what) != last and ("averaging" in what) != bool(
        facts.study["baseline"].get("averaging")
    )


# --- trials and pruning


@says(
    "The second half of the trials is worth {gain:change}, more than {limit}.",
    "The search gained {gain:change} in its last tenth, more than {limit}.",
    under="enough trials",
)
def _(facts: Facts, gain: str, limit: str) -> bool:
    worth = _limit(facts, limit)
    return worth is not None and size(gain) >= worth and facts.finished >= 20


@says("The second half of the trials is worth {gain:change}, no more than {limit}.", under="enough trials")
def _(facts: Facts, gain: str, limit: str) -> bool:
    worth = _limit(facts, limit)
    return worth is not None and (size(gain) <= worth or "less than" in gain) and facts.finished >= 20


@says("No trial was pruned.", under="pruning")
def _(facts: Facts) -> bool:
    return facts.number_of("pruned") == 0


CONTROLS = (
    "{n:int} of {of:unpruned control trial?} that the pruner would have stopped ended among the better half of those it"
    " let finish"
)


@says(
    CONTROLS + ".",
    CONTROLS + ": {more:int} would tell, from about {trials:trial?} or a larger `control`.",
    under="pruning",
)
def _(facts: Facts, n: str, of: str, more: str | None = None, trials: str = "") -> bool:
    controls = sum(one.control is not None and one.outcome == "complete" for one in facts.record.trials)
    return int(n) <= count(of) <= controls and (more is None or int(more) > count(of))


@says(
    "The pruner would have stopped no control trial: {n:int} would tell; `control` sets their share.", under="pruning"
)
def _(facts: Facts, n: str) -> bool:
    if facts.study["pruner"] == "halving":
        return True
    return not any(
        (one.control or {}).get("would_prune_at") is not None
        for one in facts.record.trials
        if one.outcome == "complete"
    )


@says(
    "The pruner has let no other trial finish, to compare with the controls that it would have stopped.",
    under="pruning",
)
def _(facts: Facts) -> bool:
    return not any(one.outcome == "complete" and one.number and one.control is None for one in facts.record.trials)
