"""The first page: the answer, the large figures, the advice, the settings and the command."""

from __future__ import annotations

import math

from sentences.catalogue import says
from sentences.facts import Facts, count, gains, reads, signed, trial


@says("No trial has run yet")
def _(facts: Facts) -> bool:
    return len(facts.trials) == 0


@says("No answer yet: {n:trial?} running, none finished")
def _(facts: Facts, n: str) -> bool:
    return count(n) == facts.open and facts.finished == 0


@says("No answer: none of {n:finished trial?} completed ({how})")
def _(facts: Facts, n: str, how: str) -> bool:
    return count(n) == facts.finished and not len(facts.done) and outcomes(facts, how)


def outcomes(facts: Facts, text: str) -> bool:
    """Whether `3 failed, 1 timeout` names every outcome of the ended trials but `complete`."""
    said = {part.split(" ", 1)[1]: int(part.split(" ", 1)[0]) for part in text.split(", ")}
    counts = facts.trials["outcome"].value_counts()
    true = {name: int(n) for name, n in counts.items() if name not in ("running", "paused", "interrupted")}
    return said == true


@says(
    "{who:who} reaches {x:value} {metric}, {gap:gain} {side:word} the baseline",
    "So far: {who:who} reaches {x:value} {metric}, {gap:gain} {side:word} the baseline",
)
def _(facts: Facts, who: str, x: str, metric: str, gap: str, side: str) -> bool:
    number = trial(who)
    assert facts.base is not None
    more = facts.value(number) - facts.base
    return (
        number == facts.best
        and metric == facts.metric
        and reads(x, facts.value(number) * facts.scale)
        and gains(gap, more * facts.scale)
        and side == ("above" if more > 0 else "below")
        and more * facts.sign > 0
    )


@says(
    "{who:who} reaches {x:value} {metric}, equal to the baseline",
    "So far: {who:who} reaches {x:value} {metric}, equal to the baseline",
)
def _(facts: Facts, who: str, x: str, metric: str) -> bool:
    return trial(who) == facts.best and facts.value(trial(who)) == facts.base and reads(x, facts.base * facts.scale)


@says(
    "{who:who} reaches {x:value} {metric}; the baseline has not completed",
    "So far: {who:who} reaches {x:value} {metric}; the baseline has not completed",
)
def _(facts: Facts, who: str, x: str, metric: str) -> bool:
    number = trial(who)
    return number == facts.best and facts.base is None and reads(x, facts.value(number) * facts.scale)


@says(
    "The baseline has the best value, {x:value} {metric}; no other trial {rest}",
    "So far: the baseline has the best value, {x:value} {metric}; no other trial {rest}",
)
def _(facts: Facts, x: str, metric: str, rest: str) -> bool:
    best = facts.done["value"].max() if facts.maximize else facts.done["value"].min()
    alone = len(facts.done) == 1
    return best == facts.base and rest == ("has completed" if alone else "did better") and reads(x, best * facts.scale)


@says("Tuning raises test accuracy from {low:value} to {high:value}")
def _(facts: Facts, low: str, high: str) -> bool:
    test = facts.verdict["test"]
    ours, theirs = test["accuracies"], test["baseline"]["accuracies"]
    paired = facts.verdict["paired"]
    return (
        reads(high, 100 * sum(ours) / len(ours))
        and reads(low, 100 * sum(theirs) / len(theirs))
        and test["difference"]["accuracy"]["low"] > 0
        and (paired is None or paired["low"] > 0)
        and facts.verdict["champion"] != 0
    )


def _led(facts: Facts, who: str, by: str) -> bool:
    return trial(who) == facts.winner and (by == "led the search") == (facts.winner == facts.best)


@says(
    "{who:who} led the search; it was not compared with the baseline on {word}s",
    "{who:who} was the best of the screening; it was not compared with the baseline on {word}s",
)
def _(facts: Facts, who: str, word: str) -> bool:
    return trial(who) == facts.winner != 0 and facts.verdict["paired"] is None and word == facts.word


@says("{who:who} {by} but is worse than the baseline on {word}s")
def _(facts: Facts, who: str, by: str, word: str) -> bool:
    worse = facts.sign * (facts.mean(trial(who)) - facts.mean(0)) < 0
    return _led(facts, who, by) and worse and facts.verdict["paired"]["high"] < 0 and word == facts.word


@says("{who:who} {by}; on {n} it is not distinguishable from the baseline")
def _(facts: Facts, who: str, by: str, n: str) -> bool:
    paired = facts.verdict["paired"]
    unsure = paired["low"] is None or paired["low"] <= 0 <= paired["high"]
    return _led(facts, who, by) and unsure and count(n) == paired["n"] == len(facts.repeats[trial(who)])


@says("{who:who} beats the baseline: {gap:gain} {side:word} {metric} on {word}s")
def _(facts: Facts, who: str, gap: str, side: str, metric: str, word: str) -> bool:
    more = facts.mean(trial(who)) - facts.mean(0)
    shown = gains(gap, more * facts.scale) and side == ("more" if more > 0 else "less") and metric == facts.metric
    return shown and facts.verdict["paired"]["low"] > 0 and more * facts.sign > 0 and word == facts.word


@says("The baseline remains the best: no candidate did better on {word}s")
def _(facts: Facts, word: str) -> bool:
    means = [facts.sign * facts.mean(number) for number in facts.repeats]
    return facts.verdict["champion"] == 0 and max(means) <= facts.sign * facts.mean(0) and word == facts.word


@says("The baseline remains the best; nothing was compared with it on {word}s")
def _(facts: Facts, word: str) -> bool:
    return facts.verdict["champion"] == 0 and not facts.repeats


@says("The baseline is the champion by the screening, although {low:low} did better on {word}s")
def _(facts: Facts, low: str, word: str) -> bool:
    better = facts.sign * (facts.mean(trial(low)) - facts.mean(0)) > 0
    return facts.verdict["champion"] == 0 and better and word == facts.word


@says("Question: {question}", whole=True)
def _(facts: Facts, question: str) -> bool:
    return question == facts.study["question"]


def measured(facts: Facts, text: str) -> bool:
    return text == ("one seed" if facts.folds == 1 else f"mean of {facts.folds} folds")


@says("{x:value}: {metric} of {low:low}, mean of {n} (in the search: {searched:value}, {on})")
def _(facts: Facts, x: str, metric: str, low: str, n: str, searched: str, on: str) -> bool:
    number = trial(low)
    return (
        number == facts.verdict["champion"]
        and metric == facts.metric
        and reads(x, facts.mean(number) * facts.scale)
        and reads(searched, facts.value(number) * facts.scale)
        and count(n) == len(facts.repeats[number])
        and facts.word in n
        and measured(facts, on)
    )


@says("{x:value}: {metric} of {low:low} in the search, {on}, epoch {epoch:int}")
def _(facts: Facts, x: str, metric: str, low: str, on: str, epoch: str) -> bool:
    number = trial(low)
    row = facts.curves[number].iloc[int(epoch) - 1]
    true = reads(x, facts.value(number) * facts.scale) and math.isclose(row[facts.objective], facts.value(number))
    return number == facts.winner and metric == facts.metric and true and measured(facts, on)


def is_interval(facts: Facts, paired: dict, text: str) -> bool:
    """Whether `95 % interval +0.1 points to +0.3 points: better` is the recorded interval, turned for a loss."""
    if paired["low"] is None:
        return text.startswith(f"{paired['n']} pair") and text.endswith("too few for an interval: not distinguishable")
    low, rest = text.removeprefix("95\u00a0% interval ").split(" to ")
    high, found = rest.split(": ")
    ends = sorted(facts.sign * paired[end] * facts.scale for end in ("low", "high"))
    true = "better" if paired["low"] > 0 else "worse" if paired["high"] < 0 else "not distinguishable"
    return found == true and signed(low, ends[0]) and signed(high, ends[1])


@says("{gap:signed}: {lower}against the baseline on the same splits and seeds; {interval}")
def _(facts: Facts, gap: str, lower: str, interval: str) -> bool:
    more = facts.mean(facts.verdict["champion"]) - facts.mean(0)
    return signed(gap, more * facts.scale) and is_interval(facts, facts.verdict["paired"], interval) and facts.is_loss


@says("{gap:signed}: against the baseline on the same splits and seeds; {interval}")
def _(facts: Facts, gap: str, interval: str) -> bool:
    more = facts.mean(facts.verdict["champion"]) - facts.mean(0)
    return signed(gap, more * facts.scale) and is_interval(facts, facts.verdict["paired"], interval) and facts.maximize


@says("–: against the baseline: it has not completed")
def _(facts: Facts) -> bool:
    return facts.base is None


@says("none: over the baseline, which is itself the {what}")
def _(facts: Facts, what: str) -> bool:
    return facts.winner == 0 and what == ("champion" if facts.verdict else "best trial")


@says("{gap:signed}: against the baseline in the search, {on} each; not confirmed")
def _(facts: Facts, gap: str, on: str) -> bool:
    assert facts.winner is not None
    assert facts.base is not None
    more = (facts.value(facts.winner) - facts.base) * facts.scale
    return signed(gap, more) and measured(facts, on) and not facts.verdict.get("paired")


@says("not evaluated: test set: it is opened once, after the search has ended and the champion is confirmed")
def _(facts: Facts) -> bool:
    return not facts.over and not facts.verdict


@says("not evaluated: test set: this study has no confirmation, and only a confirmed champion is tested")
def _(facts: Facts) -> bool:
    return facts.over and not facts.study.get("confirm") and not facts.verdict


@says("not evaluated: test set: the confirmation has not ended")
def _(facts: Facts) -> bool:
    return facts.over and len(facts.confirm) > 0 and not facts.verdict


@says("not evaluated: test set: it is opened once, after the champion is confirmed")
def _(facts: Facts) -> bool:
    return facts.over and len(facts.confirm) == 0 and not facts.verdict


def wilson(share: float, n: int) -> tuple[float, float]:
    """Ends of the 95 % interval: the shares at which the observed one is 1.96 standard errors away."""
    z2 = 1.959963984540054**2
    a, b, c = 1 + z2 / n, -(2 * share + z2 / n), share**2
    root = math.sqrt(max(b * b - 4 * a * c, 0.0))
    return max(0.0, (-b - root) / (2 * a)), min(1.0, (-b + root) / (2 * a))


@says("{x:value}: mean test accuracy of {n:final model?}; 95\u00a0% interval over examples {low:value} to {high:value}")
def _(facts: Facts, x: str, n: str, low: str, high: str) -> bool:
    test = facts.verdict["test"]
    mean = sum(test["accuracies"]) / len(test["accuracies"])
    ends = wilson(mean, test["examples"])
    return (
        count(n) == len(test["accuracies"])
        and reads(x, 100 * mean)
        and reads(low, 100 * ends[0])
        and reads(high, 100 * ends[1])
    )


@says(
    "{x:value}: mean test {metric} of {n:final model?} (each {low:value} to {high:value}), the baseline's {base:value};"
    " mean test accuracy {acc:value}",
    "{x:value}: mean test {metric} of {n:final model?} (each {low:value} to {high:value}); mean test accuracy"
    " {acc:value}",
)
def _(facts: Facts, x: str, metric: str, n: str, low: str, high: str, acc: str, base: str | None = None) -> bool:
    test, key = facts.verdict["test"], facts.objective.removeprefix("validation_")
    values = [one[key] for one in test["metrics"]]
    theirs = [one[key] for one in (test.get("baseline") or {}).get("metrics", [])]
    ours = (
        reads(x, 100 * sum(values) / len(values)) and reads(low, 100 * min(values)) and reads(high, 100 * max(values))
    )
    against = base is None if not theirs else base is not None and reads(base, 100 * sum(theirs) / len(theirs))
    mean = sum(test["accuracies"]) / len(test["accuracies"])
    return ours and against and reads(acc, 100 * mean) and metric == key.replace("_", " ") and count(n) == len(values)
