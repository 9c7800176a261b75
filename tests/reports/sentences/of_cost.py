"""The time of the search, and its pruning."""

from __future__ import annotations

import math
import re

from sentences.catalogue import says
from sentences.facts import BROKEN, Facts, count, gains, lasts, listing, reads, trial
from sentences.of_answer import measured, wilson

from studies.record.outcome import SEARCH_OVER


def _spent(facts: Facts, *outcomes: str) -> float:
    rows = facts.trials
    return float(rows[rows["outcome"].isin(outcomes)]["seconds"].sum() if outcomes else rows["seconds"].sum())


@says("No training time was recorded")
def _(facts: Facts) -> bool:
    return _spent(facts) == 0


@says(
    "{p:percent} of {t:time} was spent on completed trials",
    "{p:percent} of {t:time} was spent on completed trials, {others} ones",
)
def _(facts: Facts, p: str, t: str, others: str = "") -> bool:
    total = _spent(facts)
    true = {"pruned": _spent(facts, "pruned"), "failed": _spent(facts, *BROKEN)}
    said = dict(part.split(" on ")[::-1] for part in listing(others)) if others else {}
    shown = set(said) == {what for what in true if true[what]} and all(
        reads(said[w], 100 * true[w] / total) for w in said
    )
    return lasts(t, total) and reads(p, 100 * _spent(facts, "complete") / total) and shown


@says("Time: training time of the search without the confirmation, summed over the workers.")
def _(facts: Facts) -> bool:
    return facts.finished > 0


@says("{t:time} in total: {parts}.")
def _(facts: Facts, t: str, parts: str) -> bool:
    said = [re.fullmatch(r"([a-z ]+) ([\d.]+\u00a0\w+)", part) for part in listing(parts)]
    sums = facts.trials.groupby("outcome")["seconds"].sum()
    whole = all(one and lasts(one[2], sums[one[1]]) for one in said)
    return lasts(t, _spent(facts)) and whole and len(said) == (sums > 0).sum()


@says("Confirmation and final models took {t:time} more.")
def _(facts: Facts, t: str) -> bool:
    return lasts(t, float(facts.confirm["seconds"].sum()))


@says("Objective against training time")
def _(facts: Facts) -> bool:
    return len(facts.done) > 1


@says("Line: the Pareto front, trials that no other trial beats in both time and objective.")
def _(facts: Facts) -> bool:
    return len(facts.done) > 1


@says("{who:who} took {t:time} instead of {best:time} and is {gap:gain} from the best of the search, {on} each.")
def _(facts: Facts, who: str, t: str, best: str, gap: str, on: str) -> bool:
    apart = facts.value(trial(who)) - facts.value(facts.best or 0)
    return gains(gap, apart * facts.scale) and _faster(facts, who, t, best, on)


@says("{who:who} took {t:time} instead of {best:time} and has the best value of the search, {on} each.")
def _(facts: Facts, who: str, t: str, best: str, on: str) -> bool:
    return facts.value(trial(who)) == facts.value(facts.best or 0) and _faster(facts, who, t, best, on)


def _faster(facts: Facts, who: str, t: str, best: str, on: str) -> bool:
    ours, theirs = (float(facts.trials.loc[n, "seconds"]) for n in (trial(who), facts.best))
    return ours < theirs and lasts(t, ours) and lasts(best, theirs) and measured(facts, on)


@says(
    "{n:worker?} trained the finished trials in {p:percent} of the time between their first start and their last"
    " finish, {t:time}; pauses of the whole sweep count as idle."
)
def _(facts: Facts, n: str, p: str, t: str) -> bool:
    ended = [one for one in facts.record.trials if one.started and one.finished and one.worker is not None]
    wall = (max(one.finished for one in ended) - min(one.started for one in ended)).total_seconds()  # type: ignore[type-var,operator]
    workers = len({one.worker for one in ended})
    share = sum(one.seconds for one in ended) / (workers * wall)
    return count(n) == workers and lasts(t, wall) and reads(p, min(100.0, 100 * share)) and 0 <= share < 1.02


# --- pruning


def _given_up(facts: Facts) -> list[int]:
    """Controls that a pruner which stops would have stopped, as recorded."""
    return [
        one.number
        for one in facts.record.trials
        if one.outcome == "complete" and (one.control or {}).get("would_prune_at") is not None
    ]


@says("Pruning stops good trials: {n:int} of {of:int} control trials that it would have stopped were good")
def _(facts: Facts, n: str, of: str) -> bool:
    return int(n) > 0.05 * int(of) and facts.number_of("pruned") > 0


@says("Pruning was right: {n:int} of {of:int} control trials that it would have stopped were good")
def _(facts: Facts, n: str, of: str) -> bool:
    return int(n) < 0.3 * int(of) and facts.number_of("pruned") > 0


EARLY = (
    "From epoch {e:int} on the trials are nearly in their final order (rank correlation at least 0.9)",
    "Too few completed trials or epochs to tell which epoch predicts their order",
    "No epoch predicts the final order well (rank correlation at least 0.9)",
    "The order of the trials changes until the end (rank correlation below 0.9 at last)",
)
LATE = ("; no trial was pruned", "; too few unpruned control trials to say what pruning cost")


def correlations(facts: Facts) -> list[float]:
    """Spearman's correlation of each epoch with the final value, of the longest completed trials; none if too few."""
    whole = {n: facts.curves[n][facts.objective] for n in facts.done["number"]}
    whole = {n: curve for n, curve in whole.items() if curve.map(math.isfinite).all()}
    length = max(map(len, whole.values()), default=0)
    rows = [n for n, curve in whole.items() if len(curve) == length]
    if len(rows) < 8 or length < 2:
        return []
    import pandas as pd

    table = pd.DataFrame([whole[n].tolist() for n in rows])
    end = pd.Series([facts.value(n) for n in rows])
    flat = end.nunique() == 1
    return [0.0 if flat or table[e].nunique() == 1 else float(table[e].rank().corr(end.rank())) for e in table]


@says(*(early + late for early in EARLY for late in LATE))
def _(facts: Facts, e: str = "") -> bool:
    """Which of the endings is printed is checked by `pruned`; here what is said of the epochs."""
    found = correlations(facts)
    if e:
        return all(one >= 0.9 - 1e-9 for one in found[int(e) - 1 :]) and (e == "1" or found[int(e) - 2] < 0.9 + 1e-9)
    return not found or len(facts.done) < 10 or found[-1] < 0.9


@says(
    "Rungs: every trial pauses at a rung, and the best there are continued to the next.",
    "The correlation compares the ranking at a rung with that at the next one, over the trials that reached both"
    " (95\u00a0% interval).",
)
def _(facts: Facts) -> bool:
    return facts.study["pruner"] == "halving"


@says(
    "Pruning: n = {n:completed trial?}; a rank correlation needs 8 of the same number of epochs, at least two.",
)
def _(facts: Facts, n: str) -> bool:
    return count(n) == len(facts.done) and not correlations(facts)


@says("Pruning: n = {n:completed trial?}.")
def _(facts: Facts, n: str) -> bool:
    return 8 <= count(n) <= len(facts.done)


@says(
    "Spearman's rank correlation of {metric} at each epoch with the final value; band: its 95\u00a0% interval"
    " over trials"
    " (Bonett and Wright).",
)
def _(facts: Facts, metric: str) -> bool:
    return metric == facts.metric


@says(
    "Pruned trials are not included.",
    "The remaining trials are more similar, so the correlation is lower than among all trials.",
)
def _(facts: Facts) -> bool:
    return len(facts.done) >= 8


@says(
    "{n:trial?} pruned, {late:int} of them because the time for the search was over: {e:epoch?} not run. At each"
    " trial's own epoch time they would have taken {t:time}, {p:percent} of the total time without pruning.",
    "{n:trial?} pruned: {e:epoch?} not run. At each trial's own epoch time they would have taken {t:time},"
    " {p:percent} of"
    " the total time without pruning.",
)
def _(facts: Facts, n: str, e: str, t: str, p: str, late: str = "0") -> bool:
    rows = facts.trials[facts.trials["outcome"] == "pruned"]
    if int(late) != sum(str(reason).endswith(SEARCH_OVER) for reason in rows["reason"]):
        return False
    left, seconds = 0, 0.0
    for one in rows.itertuples():
        ran = len(facts.curves.get(one.number, ()))
        missing = max(0, int(one.hyperparameters["epochs"]) - ran)
        left += missing
        seconds += missing * one.seconds / ran if ran else 0.0
    share = 100 * seconds / (seconds + _spent(facts)) if seconds else 0.0
    return count(n) == len(rows) and count(e) == left and lasts(t, seconds) and reads(p, share)


@says("No trial was pruned.")
def _(facts: Facts) -> bool:
    return facts.number_of("pruned") == 0


@says(
    "No unpruned control trial has completed, so whether a pruned one would have won is not known.",
    "`control` in the study file sets the share of trials that are judged but never pruned.",
)
def _(facts: Facts) -> bool:
    controls = [one for one in facts.record.trials if one.outcome == "complete" and one.control is not None]
    return not controls and facts.number_of("pruned") > 0


@says("{n:completed trial?}, chosen by number alone, {be:word} judged but never pruned.")
def _(facts: Facts, n: str, be: str) -> bool:
    controls = sum(one.outcome == "complete" and one.control is not None for one in facts.record.trials)
    return count(n) == controls and be == ("was" if controls == 1 else "were")


def _stopped(facts: Facts, n: int) -> bool:
    return facts.study["pruner"] == "halving" or n == len(_given_up(facts))


@says("The pruner would have stopped none of them.")
def _(facts: Facts) -> bool:
    return _stopped(facts, 0)


@says("The pruner would have stopped {n:int} of them; it let no other trial finish to compare them with.")
def _(facts: Facts, n: str) -> bool:
    others = [one for one in facts.record.trials if one.outcome == "complete" and one.number and one.control is None]
    return _stopped(facts, int(n)) and not others


@says(
    "The pruner would have stopped {n:int} of them; {good:int} of these ended among the better half of those"
    " that it let"
    " finish (95\u00a0% Wilson interval of the share: {low:percent} to {high:percent})."
)
def _(facts: Facts, n: str, good: str, low: str, high: str) -> bool:
    ends = wilson(int(good) / int(n), int(n))
    others = [
        one.number for one in facts.record.trials if one.outcome == "complete" and one.number and one.control is None
    ]
    ranked = [number for number in facts.done["number"] if number in others]
    middle = facts.value(ranked[(len(ranked) - 1) // 2])
    better = sum(facts.sign * (facts.value(one) - middle) > 0 for one in _given_up(facts))
    true = facts.study["pruner"] == "halving" or int(good) == better
    return _stopped(facts, int(n)) and true and reads(low, 100 * ends[0]) and reads(high, 100 * ends[1])
