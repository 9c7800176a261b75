"""The progress of the search, its curves, its time, and its pruning."""

from __future__ import annotations

import math
import re

from sentences.catalogue import says
from sentences.facts import OPEN, Facts, count, gains, lasts, reads, trial
from sentences.of_checks import LIMIT, freedom
from sentences.of_curve_checks import best_shares


def _ended(facts: Facts) -> list[int]:
    """Numbers of the finished trials, in the order of their end."""
    ended = [one for one in facts.record.trials if one.outcome not in OPEN]
    return [one.number for one in sorted(ended, key=lambda one: (one.sequence or 0, one.number))]


def _ordinal(text: str) -> int:
    number = int(text[:-2])
    ends = {1: "st", 2: "nd", 3: "rd"}
    true = "th" if 10 <= number % 100 <= 20 else ends.get(number % 10, "th")
    return number if text[-2:] == true else -1


@says("{who:who} is the only finished trial")
def _(facts: Facts, who: str) -> bool:
    return _ended(facts) == [trial(who)]


def _ahead(facts: Facts) -> bool:
    """Whether a trial that was stopped has a better value than all that completed, or the same and a lower loss."""
    best = facts.trials.loc[facts.best]
    stopped = facts.trials[
        facts.trials["outcome"].isin(("pruned", "paused", "timeout")) & facts.trials["value"].notna()
    ]
    key = (-facts.sign * best["value"], best["validation_loss"], best["number"])
    return any((-facts.sign * one.value, one.validation_loss, one.number) < key for one in stopped.itertuples())


@says("The best completed trial came late: {low:low} was the {place} of {n:int} to finish")
def _(facts: Facts, low: str, place: str, n: str) -> bool:
    return _ahead(facts) and _late(facts, low, place, n)


@says("The best trial came late: {low:low} was the {place} of {n:int} to finish")
def _(facts: Facts, low: str, place: str, n: str) -> bool:
    return not _ahead(facts) and _late(facts, low, place, n)


def _late(facts: Facts, low: str, place: str, n: str) -> bool:
    order = _ended(facts)
    at = order.index(trial(low)) + 1
    alone = (facts.done["value"] == facts.value(trial(low))).sum() == 1
    return (
        trial(low) == facts.best and at == _ordinal(place) and len(order) == int(n) and at >= 0.9 * len(order) and alone
    )


BEST = "{who:who}, the {place} of {n:int} to finish, is the best completed trial"


@says(
    BEST + "; the last {k:int} did not improve the best value",
    BEST + ", with the same value as {others:other?}; the last {k:int} did not improve the best value",
)
def _(facts: Facts, who: str, place: str, n: str, k: str, others: str = "0 others") -> bool:
    return _ahead(facts) and _is_best(facts, who, place, n, k, others)


@says(
    "{who:who}, the {place} of {n:int} to finish, is the best; the last {k:int} did not improve the best value",
    "{who:who}, the {place} of {n:int} to finish, is the best, with the same value as {others:other?}; the last {k:int}"
    " did not improve the best value",
)
def _(facts: Facts, who: str, place: str, n: str, k: str, others: str = "0 others") -> bool:
    return not _ahead(facts) and _is_best(facts, who, place, n, k, others)


def _is_best(facts: Facts, who: str, place: str, n: str, k: str, others: str) -> bool:
    order, best = _ended(facts), facts.value(trial(who))
    same = [
        at for at, number in enumerate(order) if facts.value(number) == best and number in set(facts.done["number"])
    ]
    return (
        trial(who) == facts.best
        and order.index(trial(who)) + 1 == _ordinal(place)
        and int(n) == len(order)
        and int(k) == len(order) - 1 - same[0]
        and count(others) == len(same) - 1
    )


@says("Best so far: n = {n:finished trial?}, {k:int} with a final value.")
def _(facts: Facts, n: str, k: str) -> bool:
    return count(n) == facts.finished and int(k) == len(facts.done)


@says("Trials without one are marked in the shaded strip.")
def _(facts: Facts) -> bool:
    return len(facts.done) < facts.finished


@says(
    "Ties are decided by the lower validation loss, then by the lower number.",
    "Trials far worse than the rest are drawn at the end of the axis.",
)
def _(facts: Facts) -> bool:
    return facts.best is not None


@says("Training time of these trials: {t:time}, summed over the workers.")
def _(facts: Facts, t: str) -> bool:
    return lasts(t, float(facts.trials.loc[_ended(facts), "seconds"].sum()))


# --- the number of trials


@says("No sign that more trials of this search would help", "More trials would probably help")
def _(facts: Facts) -> bool:
    return facts.finished >= 20


@says("Too few trials to tell whether they were enough ({n:int} finished)")
def _(facts: Facts, n: str) -> bool:
    return int(n) == facts.finished < 20


@says("Number of trials: n = {n:finished trial?}.")
def _(facts: Facts, n: str) -> bool:
    return count(n) == facts.finished


@says("{n:trial?} without a final value count as the worst.")
def _(facts: Facts, n: str) -> bool:
    return count(n) == facts.finished - len(facts.done)


@says("Blue: the mean over all subsets of that size, drawn without replacement, in closed form.")
def _(facts: Facts) -> bool:
    return len(facts.done) >= 10


def _expected(values: list[float], m: int) -> float:
    """The expected best of m of these values, the best first: the i-th is the best of C(n - i, m - 1) subsets."""
    n = len(values)
    return sum(value * math.comb(n - i, m - 1) for i, value in enumerate(values, 1)) / math.comb(n, m)


@says("The best of all {n:int} trials is {gap} the expected best of half of them; the last tenth of the trials {late}.")
def _(facts: Facts, n: str, gap: str, late: str) -> bool:
    values = facts.done["value"].astype(float).tolist()
    every = [*values, *[values[-1]] * (facts.finished - len(values))]
    more = abs(values[0] - _expected(every, max(1, len(every) // 2)))
    first = len(facts.trials) - max(1, round(0.1 * len(facts.trials)))
    before = facts.done[facts.done["number"] < first]["value"]
    step = abs(values[0] - (before.iloc[0] if len(before) else values[-1]))
    true = more < 1e-12 if gap == "as good as" else gains(gap.removesuffix(" better than"), more * facts.scale)
    if late == "did not improve the best value":
        return true and step == 0 and int(n) == facts.finished
    return (
        true
        and gains(late.removeprefix("improved the best value by "), step * facts.scale)
        and int(n) == facts.finished
    )


@says(
    "The sampler ({name}) is adaptive: its good trials tend to come late, and a random subset is then better than the"
    " first trials of the search were.",
)
def _(facts: Facts, name: str) -> bool:
    return name == facts.study["sampler"] == "tpe"


@says("The curve is only a guide, and the gain may be underestimated; the dashed line is the actual search.")
def _(facts: Facts) -> bool:
    return facts.study["sampler"] == "tpe"


@says("The sampler ({name}) does not learn from the trials, so all orders are alike.")
def _(facts: Facts, name: str) -> bool:
    return name == facts.study["sampler"] != "tpe"


@says("This does not extrapolate beyond the number of trials that were run.")
def _(facts: Facts) -> bool:
    return True


# --- learning curves


@says("Learning curves of trials that have not completed")
def _(facts: Facts) -> bool:
    return facts.winner is None


@says("{who:who} did not complete in the search")
def _(facts: Facts, who: str) -> bool:
    return trial(who) == facts.winner and facts.trials.loc[trial(who), "outcome"] != "complete"


def _at(facts: Facts, who: str, n: str, of: str) -> bool:
    """The selected epoch, from 1, and that no other one has a better objective where it is called the best."""
    number = trial(who)
    curve = facts.curves[number]
    return number == facts.winner and int(n) == facts.trials.loc[number, "selected_epoch"] + 1 and int(of) == len(curve)


def _best_at(facts: Facts, who: str, n: str) -> bool:
    curve = facts.sign * facts.curves[trial(who)][facts.objective]
    return bool(curve.iloc[int(n) - 1] == curve.max())


ENDS = (
    "",
    "; its validation loss scatters by {p:percent} between epochs",
    " and its loss is flat at the end",
    " and its loss is flat at the end, where its schedule ends at 0",
)


@says(*("{who:who} is best at epoch {n:int} of {of:int}" + end for end in ENDS))
def _(facts: Facts, who: str, n: str, of: str, p: str = "") -> bool:
    return _at(facts, who, n, of) and _best_at(facts, who, n)


@says(*("{who:who} is judged by its last epoch, {n:int} of {of:int}" + end for end in ENDS))
def _(facts: Facts, who: str, n: str, of: str, p: str = "") -> bool:
    return _at(facts, who, n, of) and n == of and facts.study["epoch"] == "last"


OVER = "{who:who} overfits: its validation loss ends {p:percent} above its lowest level; it "


@says(OVER + "is best at epoch {n:int} of {of:int}", OVER + "is judged by its last epoch, {n:int} of {of:int}")
def _(facts: Facts, who: str, p: str, n: str, of: str) -> bool:
    loss = facts.curves[trial(who)]["validation_loss"]
    best = facts.study.get("epoch") == "last" or _best_at(facts, who, n)
    return _at(facts, who, n, of) and loss.iloc[-1] > loss.min() and best


def _anneals(facts: Facts, number: int) -> bool:
    rate = facts.curves[number]["learning_rate"]
    return bool(rate.iloc[-1] < 0.05 * rate.max())


@says("{who:who} improved until its schedule ended; only a longer schedule can show whether it would improve further")
def _(facts: Facts, who: str) -> bool:
    loss = facts.curves[trial(who)]["validation_loss"]
    return trial(who) == facts.winner and _anneals(facts, trial(who)) and loss.iloc[-1] < loss.iloc[len(loss) // 2]


@says("{who:who} was still improving when it ended, at epoch {n:int}")
def _(facts: Facts, who: str, n: str) -> bool:
    loss = facts.curves[trial(who)]["validation_loss"]
    fifth = max(3, len(loss) // 5)
    falls = loss.iloc[-fifth:].median() < loss.iloc[-2 * fifth : -fifth].median()
    return trial(who) == facts.winner and int(n) == len(loss) and falls


@says("Learning curves: a mark shows the selected epoch; epochs are numbered from 1.")
def _(facts: Facts) -> bool:
    return bool(facts.curves)


@says(
    "The other {n:trial?} with at least one epoch are drawn as thin lines.",
    "The other {n:trial?} with at least one epoch is drawn as a thin line.",
    "The other {n:trial?} with at least one epoch are drawn as a band from the 10 % to the 90 % quantile of those that"
    " ran that epoch.",
)
def _(facts: Facts, n: str) -> bool:
    return 0 < count(n) < len(facts.curves) + 1


@says(
    "Training values are means over the epoch, each batch before its update and with regularisation; validation values"
    " are measured after the epoch.",
    "Curves are classified by medians of several epochs relative to the scatter of the curve; the gap is training minus"
    " validation accuracy.",
)
def _(facts: Facts) -> bool:
    return bool(facts.curves)


@says("At the selected epoch")
def _(facts: Facts) -> bool:
    return any(one.selected_epoch is not None for one in facts.record.trials)


# --- epochs


@says("Too many epochs: {p:percent} of {n:int} trials had their best epoch in the first tenth")
def _(facts: Facts, p: str, n: str) -> bool:
    shares = best_shares(facts)
    return reads(p, 100 * sum(one <= 0.1 for one in shares) / len(shares)) and int(n) == len(shares)


@says(
    "Too few epochs: longer trainings would gain more than {limit}",
    "Enough epochs: few of the best trials would gain more than {limit} in longer trainings",
    "Enough epochs: longer trainings would gain no more than {limit}",
)
def _(facts: Facts, limit: str) -> bool:
    return bool(re.fullmatch(LIMIT, limit)) and ("noise" not in limit or freedom(facts) >= 4)


@says("Cannot tell whether {e:int} epochs were enough (n = {n:int})")
def _(facts: Facts, e: str, n: str) -> bool:
    return int(e) == facts.study["baseline"]["epochs"] and int(n) == len(facts.done)


@says("Best epochs: n = {n:completed trial?}; shown also if the study selects the last epoch.")
def _(facts: Facts, n: str) -> bool:
    return count(n) == len(facts.done)


@says(
    "Shaded: the first tenth ({early:percent} of the completed trials; many here suggest too many epochs) and the last"
    " quarter ({late:percent}; expected with averaged weights and with schedules that end at 0)."
)
def _(facts: Facts, early: str, late: str) -> bool:
    shares = best_shares(facts)
    first, last = (100 * sum(found) / len(shares) for found in ([s <= 0.1 for s in shares], [s > 0.75 for s in shares]))
    return reads(early, first) and reads(late, last)


@says("{p:percent} of the trials ended with a learning rate near 0.")
def _(facts: Facts, p: str) -> bool:
    return reads(p, 100 * sum(_anneals(facts, n) for n in facts.done["number"]) / len(facts.done))


@says(
    "With such a schedule the best epoch is late by design, so this does not show whether more epochs would help; only"
    " training with a longer schedule would."
)
def _(facts: Facts) -> bool:
    return any(_anneals(facts, n) for n in facts.done["number"])


@says("Learning curves of the trials: {classes}.")
def _(facts: Facts, classes: str) -> bool:
    ended = [n for n in facts.curves if facts.trials.loc[n, "outcome"] in ("complete", "diverged")]
    said = [int(n) for n in re.findall(r"(?:^|, | and )(\d+) [a-z]", classes)]
    short = sum(
        len(facts.curves[n]) < 8
        and bool(facts.curves[n]["validation_loss"].map(math.isfinite).all())
        and facts.trials.loc[n, "outcome"] != "diverged"
        for n in ended
    )
    found = re.search(r"(\d+) too short to judge \(fewer than 8 epochs\)", classes)
    return sum(said) == len(ended) and int(found[1] if found else 0) == short
