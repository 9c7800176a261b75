"""The first page: the result in sentences."""

from __future__ import annotations

import math

from sentences.catalogue import says
from sentences.facts import BROKEN, Facts, count, gains, listing, reads, signed, trial
from sentences.of_answer import is_interval, measured, wilson


@says("{n:trial?} of {planned:int} finished.", "{n:trial?} of {planned:int} finished, {left:int} unfinished.")
def _(facts: Facts, n: str, planned: str, left: str | None = None) -> bool:
    return (count(n), count(planned), int(left or 0)) == (facts.finished, facts.planned, facts.open)


@says("Without a completed trial there is nothing to compare.")
def _(facts: Facts) -> bool:
    return not len(facts.done)


@says("Recorded causes: {causes}).")
def _(facts: Facts, causes: str) -> bool:
    broken = facts.trials[facts.trials["outcome"].isin(BROKEN)]
    reasons = set(broken["reason"].fillna(broken["outcome"]))
    parts = [part.rpartition(" (") for part in causes.split("; ")]
    known = all(any(cause in reason for reason in reasons) for cause, _, _ in parts)
    return known and sum(int(number.rstrip(")")) for _, _, number in parts) <= len(broken)


@says("The difference to the baseline is measured on {on} each, for the best of {n:trial?}: it is optimistic.")
def _(facts: Facts, on: str, n: str) -> bool:
    return measured(facts, on) and count(n) == len(facts.done) > 1 and facts.value(facts.best or 0) != facts.base


@says(
    "It was not compared with the baseline on {word}s because {why}, so only the test set says how it compares.",
    "It was not compared with the baseline on {word}s because {why}.",
)
def _(facts: Facts, word: str, why: str) -> bool:
    return facts.verdict["paired"] is None and facts.winner != 0 and word == facts.word and unpaired(facts, why)


def unpaired(facts: Facts, why: str) -> bool:
    diverged = len(facts.confirm) > 0 and facts.confirm["outcome"].isin(("diverged", "failed", "out of memory")).any()
    return why == ("a training of the confirmation failed or diverged" if diverged else "there was no time for it")


@says("No candidate was compared with it on {word}s because {why}.")
def _(facts: Facts, word: str, why: str) -> bool:
    return facts.winner == 0 and not facts.repeats and word == facts.word and unpaired(facts, why)


@says("No candidate was better on {word}s, so the baseline is the champion.")
def _(facts: Facts, word: str) -> bool:
    return facts.winner == 0 and all(facts.sign * (facts.mean(n) - facts.mean(0)) <= 0 for n in facts.repeats)


@says("{who:who} was better on average on the {word}s, but the champion is chosen before them, by the screening.")
def _(facts: Facts, who: str, word: str) -> bool:
    return facts.winner == 0 and facts.sign * (facts.mean(trial(who)) - facts.mean(0)) > 0 and word == facts.word


@says(
    "On {n}, paired with the baseline, the champion is {found}baseline ({gap:signed}; {interval}, Bonferroni-corrected"
    " for {among:int} candidates).",
    "On {n}, paired with the baseline, the champion is {found}baseline ({gap:signed}; {interval}).",
    "On {n}, paired with the baseline, the champion is {found}baseline: the interval contains 0 ({gap:signed};"
    " {interval}).",
    "On {n}, paired with the baseline, the champion is {found}baseline: the interval contains 0 ({gap:signed};"
    " {interval}, Bonferroni-corrected for {among:int} candidates).",
)
def _(facts: Facts, n: str, found: str, gap: str, interval: str, among: str | None = None) -> bool:
    paired = facts.verdict["paired"]
    true = {"better": "better than the ", "worse": "worse than the "}
    more = facts.mean(facts.verdict["champion"]) - facts.mean(0)
    return (
        count(n) == paired["n"]
        and found == true.get(interval.rpartition(": ")[2], "not distinguishable from the ")
        and signed(gap, more * facts.scale)
        and is_interval(facts, paired, interval)
        and int(among or 1) == paired.get("among", 1)
    )


@says("It is {side:word} than the runner-up, {low:low}.")
def _(facts: Facts, side: str, low: str) -> bool:
    found = facts.verdict["runner_up"]
    return found["trial"] == trial(low) and side == (
        "better" if found["low"] > 0 else "worse" if found["high"] < 0 else ""
    )


@says(
    "It is not distinguishable from the runner-up, {low:low}; an epoch of {cheap:low} is the cheaper one.",
    "It is not distinguishable from the runner-up, {low:low}.",
)
def _(facts: Facts, low: str, cheap: str | None = None) -> bool:
    found, rows = facts.verdict["runner_up"], facts.trials
    costs = {n: rows.loc[n, "seconds"] / len(facts.curves[n]) for n in (facts.winner, trial(low))}
    cheaper = min(costs, key=lambda n: costs[n]) if len(set(costs.values())) > 1 else None
    unsure = found["low"] is None or found["low"] <= 0 <= found["high"]
    return found["trial"] == trial(low) and unsure and (trial(cheap) if cheap else None) == cheaper


@says(
    "The {n:final model?}, trained on train and validation data for {e:epoch?}, {have} test error of {x:value}"
    " (95\u00a0%"
    " Wilson interval over test examples {low:value} to {high:value}; per model {each}).",
    "The {n:final model?}, trained on train and validation data for {e:epoch?}, {have} test error of {x:value}"
    " (95\u00a0%"
    " Wilson interval over test examples {low:value} to {high:value}).",
)
def _(facts: Facts, n: str, e: str, have: str, x: str, low: str, high: str, each: str | None = None) -> bool:
    test = facts.verdict["test"]
    errors = [1 - one for one in test["accuracies"]]
    mean = sum(errors) / len(errors)
    ends = wilson(mean, test["examples"])
    models = listing(each) if each else []
    return (
        count(n) == len(errors)
        and count(e) == facts.verdict["epochs"]
        and have == ("has a" if len(errors) == 1 else "have a mean")
        and reads(x, 100 * mean)
        and reads(low, 100 * ends[0])
        and reads(high, 100 * ends[1])
        and (len(errors) == 1 or all(reads(one, 100 * error) for one, error in zip(models, errors, strict=True)))
    )


@says("The test set of {name} has been opened once.")
def _(facts: Facts, name: str) -> bool:
    return name == facts.dataset["name"] and facts.verdict["test"]["opening"] == 1


@says(
    "The test set of {name} has been opened {n:int} times, including this one; repeated use makes its results"
    " optimistic."
)
def _(facts: Facts, name: str, n: str) -> bool:
    return name == facts.dataset["name"] and facts.verdict["test"]["opening"] == int(n) > 1


def _tested(facts: Facts, base: str, low: str, high: str) -> bool:
    test = facts.verdict["test"]
    theirs, ends = test["baseline"]["accuracies"], test["difference"]["accuracy"]
    mean = 100 * sum(theirs) / len(theirs)
    return reads(base, mean) and signed(low, 100 * ends["low"]) and signed(high, 100 * ends["high"])


@says(
    "That is an accuracy {gap:gain} {side:word} than that of the baseline's final models ({base:value}; 95\u00a0%"
    " interval of the difference, paired over test examples, {low:signed} to {high:signed})."
)
def _(facts: Facts, gap: str, side: str, base: str, low: str, high: str) -> bool:
    test = facts.verdict["test"]
    ours, theirs = test["accuracies"], test["baseline"]["accuracies"]
    more = sum(ours) / len(ours) - sum(theirs) / len(theirs)
    return gains(gap, 100 * more) and side == ("higher" if more > 0 else "lower") and _tested(facts, base, low, high)


@says(
    "The baseline's final models have the same accuracy on average ({base:value}; 95\u00a0% interval of the difference,"
    " paired over test examples, {low:signed} to {high:signed})."
)
def _(facts: Facts, base: str, low: str, high: str) -> bool:
    test = facts.verdict["test"]
    ours, theirs = test["accuracies"], test["baseline"]["accuracies"]
    return math.isclose(sum(ours) / len(ours), sum(theirs) / len(theirs)) and _tested(facts, base, low, high)


@says("One accuracy on {n:validation example?} has a standard error of {p:percent}.")
def _(facts: Facts, n: str, p: str) -> bool:
    share = float(facts.trials.loc[facts.winner, "validation_accuracy"])
    if facts.objective != "validation_accuracy":
        return False
    return count(n) == facts.rows and reads(p, 100 * math.sqrt(share * (1 - share) / facts.rows))
