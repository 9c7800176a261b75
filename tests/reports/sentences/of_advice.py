"""The first page below its answer: the advice, the classes, the settings and the command; and the confirmation."""

from __future__ import annotations

import math

from sentences.catalogue import says
from sentences.facts import Facts, count, gains, names, reads, signed, trial
from sentences.of_answer import is_interval, wilson
from sentences.of_result import unpaired

FILE = "sweep predict FILE --study "


@says("Do not rely on the difference yet: it was not confirmed on fresh splits.")
def _(facts: Facts) -> bool:
    assert facts.best is not None
    return facts.over and not facts.verdict and facts.base not in (None, facts.value(facts.best))


@says("Keep the baseline's settings, with which the champion was trained: {use}")
def _(facts: Facts, use: str) -> bool:
    return facts.verdict["champion"] == 0 and use == FILE + facts.name


@says("Keep the baseline's settings: the champion is worse.")
def _(facts: Facts) -> bool:
    return facts.verdict["paired"]["high"] < 0


def _tested(facts: Facts) -> tuple[float, float]:
    """The interval of the difference on the test set where it says which model is better, else one around 0."""
    found = (facts.verdict["test"].get("difference") or {}).get("accuracy")
    if not found or facts.objective not in ("validation_accuracy", "validation_loss"):
        return -1.0, 1.0
    return found["low"], found["high"]


@says("Keep the baseline's settings: the champion is less accurate on the test set.")
def _(facts: Facts) -> bool:
    return _tested(facts)[1] < 0


@says("Use the champion: {use}")
def _(facts: Facts, use: str) -> bool:
    paired = facts.verdict["paired"]
    return paired is not None and paired["low"] > 0 and use == FILE + facts.name


@says("Use the champion, which is more accurate on the test set: {use}")
def _(facts: Facts, use: str) -> bool:
    paired = facts.verdict["paired"]
    return (
        _tested(facts)[0] > 0
        and (paired is None or not paired["low"] or paired["low"] <= 0)
        and use.endswith(facts.name)
    )


@says("Use the champion ({use}) or the baseline's settings: these results do not tell them apart.")
def _(facts: Facts, use: str) -> bool:
    paired = facts.verdict["paired"]
    low, high = _tested(facts)
    unsure = paired is None or paired["low"] is None or paired["low"] <= 0 <= paired["high"]
    return unsure and low <= 0 <= high and use == FILE + facts.name


@says(
    '{share:percent} of the {part:word} examples are of class "{name}": always predicting it has an accuracy of'
    " {acc:percent} and a balanced accuracy of {bal:percent}."
)
def _(facts: Facts, share: str, part: str, name: str, acc: str, bal: str) -> bool:
    counts, true = facts.confusion
    sizes = counts.sum(axis=1)
    most = 100 * sizes.max() / sizes.sum()
    largest = [facts.classes[k] for k in range(len(sizes)) if sizes[k] == sizes.max()]
    balanced = 100 / (sizes > 0).sum()
    return (
        part == true and reads(share, most) and reads(acc, most) and reads(bal, balanced) and names(largest, 28, name)
    )


@says(
    'The lowest recall is that of class "{name}": {p:percent} of its {n:example?} (95\u00a0% interval {low:percent} to'
    " {high:percent}).",
    'The lowest recall is that of class "{name}", and of {more:int} more: {p:percent} of its {n:example?} (95\u00a0%'
    " interval {low:percent} to {high:percent}).",
)
def _(facts: Facts, name: str, p: str, n: str, low: str, high: str, more: str = "0") -> bool:
    counts, _ = facts.confusion
    sizes = counts.sum(axis=1)
    recall = {k: counts[k, k] / sizes[k] for k in range(len(sizes)) if sizes[k]}
    worst = [k for k in recall if recall[k] == min(recall.values())]
    ends = wilson(min(recall.values()), int(sizes[worst[0]]))
    shown = reads(p, 100 * min(recall.values())) and reads(low, 100 * ends[0]) and reads(high, 100 * ends[1])
    named = names([facts.classes[worst[0]]], 28, name)
    return named and shown and count(n) == sizes[worst[0]] and int(more) == len(worst) - 1


@says('No example was predicted to be of class "{name}".')
def _(facts: Facts, name: str) -> bool:
    return _predicted(facts, name) == (0, 0)


@says('Of {n:example?} that were predicted to be of class "{name}", {k:int} {be:word} (precision {p:percent}).')
def _(facts: Facts, n: str, name: str, k: str, be: str, p: str) -> bool:
    true = _predicted(facts, name)
    return true == (count(n), int(k)) and reads(p, 100 * true[1] / true[0]) and be == ("is" if k == "1" else "are")


def _predicted(facts: Facts, name: str) -> tuple[int, int] | None:
    """How many examples were predicted to be of the class of the lowest recall, and how many of these are of it."""
    counts, _ = facts.confusion
    sizes = counts.sum(axis=1)
    worst = min((k for k in range(len(sizes)) if sizes[k]), key=lambda k: counts[k, k] / sizes[k])
    known = names([facts.classes[worst]], 28, name)
    return (int(counts[:, worst].sum()), int(counts[worst, worst])) if known else None


@says("The best on {word}s")
def _(facts: Facts, word: str) -> bool:
    return word == facts.word and bool(facts.repeats)


@says("Dot: one {word}. Bar: mean. Hollow diamond: the value in the search.")
def _(facts: Facts, word: str) -> bool:
    return word == facts.word and bool(facts.repeats)


@says("Settings")
def _(facts: Facts) -> bool:
    return facts.winner is not None


@says("Settings of the baseline, and what is searched")
def _(facts: Facts) -> bool:
    return facts.winner is None


def _fixed(facts: Facts) -> dict[str, object]:
    return {key: value for key, value in facts.study["baseline"].items() if key not in facts.study["space"]}


@says("Not searched: {fixed}.")
def _(facts: Facts, fixed: str) -> bool:
    true = _fixed(facts)
    parts = fixed.split(", ")
    if len(parts) != len(true):
        return False
    return all(part.startswith(key.replace("_", " ") + " ") for part, key in zip(parts, true, strict=True))


@says("Every hyperparameter was searched.")
def _(facts: Facts) -> bool:
    return not _fixed(facts)


@says("{n:more searched hyperparameter?}.")
def _(facts: Facts, n: str) -> bool:
    return count(n) < len(facts.study["space"])


@says("Command")
def _(facts: Facts) -> bool:
    return True


@says("sweep {rest}")
def _(facts: Facts, rest: str) -> bool:
    """A command to copy: that of the study, or of the next one."""
    known = [str(facts.record.provenance.get("command", f"sweep run {facts.name}"))]
    if facts.proposal:
        known += [f"sweep run {facts.proposal.name}", f"sweep report {facts.record.folder.name} {facts.proposal.name}"]
    return f"sweep {rest}" in known


def _timed(facts: Facts) -> bool:
    return bool(facts.study.get("minutes")) or "--minutes" in str(facts.record.provenance.get("command", ""))


@says("It repeats every number for any number of workers, on such a processor and with the same versions.")
def _(facts: Facts) -> bool:
    fixed = facts.study["sampler"] in ("random", "qmc") and facts.study["pruner"] == "none"
    return not _timed(facts) and (bool(facts.study.get("generation")) or fixed)


@says(
    "It may draw other settings, because they depend on the order in which trials end.",
    "It may draw other settings, because they depend on the order in which trials end and on the time.",
)
def _(facts: Facts) -> bool:
    return facts.study["sampler"] == "tpe" and (_timed(facts) or not facts.study.get("generation"))


@says(
    "It draws the same settings, but which are stopped depends on the order in which trials end.",
    "It draws the same settings, but which are stopped depends on the order in which trials end and on the time.",
    "It draws the same settings, as many of them as there is time for.",
)
def _(facts: Facts) -> bool:
    return facts.study["sampler"] in ("random", "qmc") and (_timed(facts) or facts.study["pruner"] != "none")


@says("{who:who} alone is repeated to the last bit by: sweep replay {name} {n:int}")
def _(facts: Facts, who: str, name: str, n: str) -> bool:
    return trial(who) == facts.winner == int(n) and name == facts.name


# --- the confirmation


@says("Confirmation has not ended: the best mean so far is {x:value}, of {low:low}")
def _(facts: Facts, x: str, low: str) -> bool:
    means = {n: facts.sign * facts.mean(n) for n in facts.repeats}
    first = [n for n in means if means[n] == max(means.values())]
    return not facts.verdict and first == [trial(low)] and reads(x, facts.mean(first[0]) * facts.scale)


@says("Confirmation has not ended: the best mean so far is {x:value}")
def _(facts: Facts, x: str) -> bool:
    best = max(facts.sign * facts.mean(n) for n in facts.repeats)
    tied = sum(facts.sign * facts.mean(n) == best for n in facts.repeats) > 1
    return not facts.verdict and tied and reads(x, abs(best) * facts.scale)


@says("{who:who} was not compared with the baseline on {word}s because {why}")
def _(facts: Facts, who: str, word: str, why: str) -> bool:
    return trial(who) == facts.winner != 0 and 0 not in facts.repeats and word == facts.word and unpaired(facts, why)


@says("On {word}s no candidate is better than the baseline")
def _(facts: Facts, word: str) -> bool:
    return facts.winner == 0 and all(facts.sign * (facts.mean(n) - facts.mean(0)) <= 0 for n in facts.repeats)


@says("{who:who} is {found} on {word}s: {gap:gain} {side:word} {metric}")
def _(facts: Facts, who: str, found: str, word: str, gap: str, side: str, metric: str) -> bool:
    paired = facts.verdict["paired"]
    more = facts.mean(trial(who)) - facts.mean(0)
    low, high = paired["low"], paired["high"]
    true = "not distinguishable from" if low is None or low <= 0 <= high else "better than" if low > 0 else "worse than"
    return (
        trial(who) == facts.winner
        and found == f"{true} the baseline"
        and word == facts.word
        and gains(gap, more * facts.scale)
        and (side == "more") == (more > 0 or (more == 0 and not facts.maximize))
        and metric == facts.metric
    )


@says("{who:who} is {found} on {word}s: equal means")
def _(facts: Facts, who: str, found: str, word: str) -> bool:
    return (
        facts.mean(trial(who)) == facts.mean(0)
        and found == "not distinguishable from the baseline"
        and word == facts.word
    )


@says("Repeats: n = {n:trial?} on up to {most}, the same for each.")
def _(facts: Facts, n: str, most: str) -> bool:
    return (
        count(n) == len(facts.repeats) and count(most) == max(map(len, facts.repeats.values())) and facts.word in most
    )


@says("An older protocol: all repeats have the split of the search, so that the interval is of this split only.")
def _(facts: Facts) -> bool:
    return facts.verdict.get("protocol", 1) == 1


@says("Paired difference to the baseline")
def _(facts: Facts) -> bool:
    return facts.verdict["paired"] is not None


@says("95\u00a0% interval {low:signed} to {high:signed}: {found} ({n:pair?}).")
def _(facts: Facts, low: str, high: str, found: str, n: str) -> bool:
    paired = facts.verdict["paired"]
    return count(n) == paired["n"] and is_interval(facts, paired, f"95\u00a0% interval {low} to {high}: {found}")


@says("{n:pair?}, too few for an interval: not distinguishable.")
def _(facts: Facts, n: str) -> bool:
    return count(n) == facts.verdict["paired"]["n"] and facts.verdict["paired"]["low"] is None


@says(
    "The champion is the best of {n:int} candidates on these same seeds, so each of their intervals has a level of"
    " {p:percent}, and their joint level is at least 95\u00a0% (Bonferroni)."
)
def _(facts: Facts, n: str, p: str) -> bool:
    among = facts.verdict["paired"]["among"]
    return int(n) == among > 1 and not facts.splits and reads(p, 100 * (1 - 0.05 / among))


@says(
    "The interval allows for the training examples that the splits share (Nadeau and Bengio 2003); the champion was"
    " chosen before, on another split."
)
def _(facts: Facts) -> bool:
    return facts.splits and facts.verdict["paired"]["low"] is not None


@says("Against the runner-up, {low:low}: {gap:signed} ({interval}).")
def _(facts: Facts, low: str, gap: str, interval: str) -> bool:
    found = facts.verdict["runner_up"]
    more = facts.mean(facts.winner or 0) - facts.mean(found["trial"])
    return trial(low) == found["trial"] and signed(gap, more * facts.scale) and is_interval(facts, found, interval)


@says("Values")
def _(facts: Facts) -> bool:
    return bool(facts.repeats)


def _lost(facts: Facts, of: str) -> float | None:
    """How much better the confirmed trials were in the search, on average; None if the text names others."""
    known = facts.trials["value"]
    tops = [n for n in facts.repeats if n and not math.isnan(known.get(n, math.nan))]
    if of != (f"s of these {len(tops)} trials were" if len(tops) > 1 else f" of trial {tops[0]} was"):
        return None
    return sum(facts.value(n) - facts.mean(n) for n in tops) / len(tops)


@says(
    "The search's own value{of} optimistic by {gap:gain}: the best of many is selected partly by chance.",
    "The search's own value{of} optimistic by {gap:gain} on average: the best of many is selected partly by chance.",
    "The search's own value{of} pessimistic by {gap:gain}.",
    "The search's own value{of} pessimistic by {gap:gain} on average.",
)
def _(facts: Facts, of: str, gap: str, sign: float = 0.0) -> bool:
    lost = _lost(facts, of)
    return lost is not None and gains(gap, lost * facts.scale)


@says(
    "The search's own value{of} the same as the mean of the repeats.",
    "The search's own value{of} the same as the mean of the repeats on average.",
)
def _(facts: Facts, of: str) -> bool:
    return _lost(facts, of) == 0


@says(
    "The repeats do not have this selection bias.",
    "The repeats do not have this selection bias, except that the champion is again the best of several.",
    "The repeats have less of this selection bias: they divide the rows anew, which the search has all used.",
)
def _(facts: Facts) -> bool:
    tops = [n for n in facts.repeats if n]
    return facts.sign * sum(facts.value(n) - facts.mean(n) for n in tops) > 0


@says("The baseline, which was not selected, changed by {gap:signed} between the search and the repeats.")
def _(facts: Facts, gap: str) -> bool:
    return signed(gap, (facts.mean(0) - facts.value(0)) * facts.scale)
