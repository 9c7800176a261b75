"""The checks and the next study.

The statistics behind a check, such as an extrapolated gain, are not computed a second time: a checker compares the
counts with the record, and the printed numbers with the words between them.
"""

from __future__ import annotations

import math
import re

from sentences.catalogue import says
from sentences.facts import BROKEN, Facts, count, listing, reads, signed
from sentences.of_result import unpaired

NAMES = (
    "champion against baseline", "validation and test", "noise", "validation rows", "boundary", "infeasible share",
    "overfitting", "still improving", "best epoch", "late epochs", "enough trials", "pruning",
)  # fmt: skip
LIMIT = (
    r"(the noise of a training|the noise of a mean of \d+ folds|a tenth of the best trial's lead on the median one"
    r"|the least difference that counts)"
)


def size(text: str) -> float:
    """The number of a difference in words."""
    return float(re.search(r"-?[\d.]+(?:e[+-]\d+)?", text)[0])  # type: ignore[index]


@says("{n:check?} passed{more}")
def _(facts: Facts, n: str, more: str = "") -> bool:
    found = re.fullmatch(r"(?:, (\d+) needs? attention \((.+?)\))?(?:, (\d+) cannot tell yet)?", more)
    if found is None:
        return False
    warned = re.findall("|".join(NAMES), found[2] or "")
    known = sum(map(len, warned)) <= len(found[2] or "") and int(found[1] or 0) == len(warned)
    return known and count(n) + len(warned) + int(found[3] or 0) == len(NAMES)


@says("Checks: of made-up studies without a fault, each asks for attention in at most 5\u00a0%.")
def _(facts: Facts) -> bool:
    """Held by tests/reports/analysis/test_check_rates.py."""
    return True


# --- champion against baseline

CHAMPION = "champion against baseline"


@says("No champion has been confirmed: 5 repeats would tell.", under=CHAMPION)
def _(facts: Facts) -> bool:
    return not facts.verdict


@says(
    "The baseline is the champion after {n}; trial {other:int}, with a better mean there, was not the first of the"
    " screening.",
    under=CHAMPION,
)
def _(facts: Facts, n: str, other: str) -> bool:
    better = facts.sign * (facts.mean(int(other)) - facts.mean(0)) > 0
    return facts.winner == 0 and better and count(n) == max(map(len, facts.repeats.values()))


@says(
    "The baseline is the champion after {n:fresh split?}.",
    "The baseline is the champion after {n:fresh seed?}.",
    under=CHAMPION,
)
def _(facts: Facts, n: str) -> bool:
    kept = all(facts.sign * (facts.mean(one) - facts.mean(0)) <= 0 for one in facts.repeats)
    return facts.winner == 0 and kept and count(n) == max(map(len, facts.repeats.values())) and facts.word in n


@says("No comparison on {word}s because {why}: 5 repeats would tell.", under=CHAMPION)
def _(facts: Facts, word: str, why: str) -> bool:
    return facts.verdict["paired"] is None and word == facts.word and unpaired(facts, why)


def _on(facts: Facts, gap: str, n: str) -> bool:
    more = facts.mean(facts.winner or 0) - facts.mean(0)
    return signed(gap, more * facts.scale) and count(n) == facts.verdict["paired"]["n"] and facts.word in n


@says("{gap:signed} on {n}: better.", "{gap:signed} on {n}: worse.", under=CHAMPION)
def _(facts: Facts, gap: str, n: str) -> bool:
    paired = facts.verdict["paired"]
    return _on(facts, gap, n) and (paired["low"] > 0 or paired["high"] < 0)


@says("{gap:signed} on {n}: not distinguishable; so many would tell a difference that matters.", under=CHAMPION)
def _(facts: Facts, gap: str, n: str) -> bool:
    paired = facts.verdict["paired"]
    return _on(facts, gap, n) and paired["low"] <= 0 <= paired["high"] and paired["n"] >= 20


@says(
    "{gap:signed} on {n}: not distinguishable; about {more:int} would tell.",
    "{gap:signed} on {n}: not distinguishable; 20 would not tell either.",
    under=CHAMPION,
)
def _(facts: Facts, gap: str, n: str, more: str = "21") -> bool:
    paired = facts.verdict["paired"]
    unsure = paired["low"] is None or paired["low"] <= 0 <= paired["high"]
    return _on(facts, gap, n) and unsure and int(more) > paired["n"]


# --- validation and test


@says("The test and 3 repeats on fresh splits would tell.", under="validation and test")
def _(facts: Facts) -> bool:
    return not facts.verdict or len(_accuracies(facts)) < 3 or not facts.splits


def _accuracies(facts: Facts) -> list[float]:
    champion = facts.verdict.get("champion")
    runs = [run for run in facts.record.confirm if run.role == "confirm" and run.candidate == champion]
    return [run.validation_accuracy for run in runs if run.state == "complete" and run.validation_accuracy is not None]


def _both(facts: Facts, mean: str, test: str) -> bool:
    values, tested = _accuracies(facts), facts.verdict["test"]["accuracies"]
    return reads(mean, 100 * sum(values) / len(values)) and reads(test, 100 * sum(tested) / len(tested))


@says(
    "Accuracy {mean:value} on fresh splits and {test:value} on the test rows, no more apart than chance explains.",
    "Accuracy {mean:value} on fresh splits and {test:value} on the test rows, more apart than chance explains: the test"
    " rows are of another kind (look for drift, sorted rows, duplicates).",
    under="validation and test",
)
def _(facts: Facts, mean: str, test: str) -> bool:
    return _both(facts, mean, test)


@says(
    "Accuracy {mean:value} on fresh splits and {test:value} on the test rows: a difference below {gap:gain} cannot be"
    " seen; about {n:test row?} would tell.",
    under="validation and test",
)
def _(facts: Facts, mean: str, test: str, gap: str, n: str) -> bool:
    apart = abs(size(mean) - size(test)) <= size(gap) + 0.1
    return _both(facts, mean, test) and apart and size(gap) >= 5 and count(n) > facts.verdict["test"]["examples"]


# --- noise


@says("The noise of a training is not known: 5 repeats on fresh splits would tell.", under="noise")
def _(facts: Facts) -> bool:
    """Fewer than four degrees of freedom: of trials by splits, less one each."""
    return freedom(facts) < 4


def freedom(facts: Facts) -> int:
    rows = [len(values) for values in facts.repeats.values() if len(values) > 1]
    return (max(2, len(rows)) - 1) * (min(rows) - 1) if rows else 0


@says("Repeating a training changes the {rest}", under="noise")
def _(facts: Facts, rest: str) -> bool:
    pattern = r"(.+?)( of means of \d+ folds)? by (.+?), other settings by (.+?)( at the first rung)?"
    ends = r"(\.|: the order of the trials is mostly random\.|: \d+ repeats would tell\.)"
    found = re.fullmatch(pattern + ends, rest)
    if found is None or found[1] != facts.metric or bool(found[2]) != (facts.folds > 1):
        return False
    if "less than" in found[3]:
        return True  # the ratio is not printed
    noise, spread = (_height(facts, text) for text in (found[3], found[4]))
    if found[6] == ".":
        return spread >= 3 * noise * 0.8
    return spread <= 3 * noise * 1.2 + 1 and (not found[5] or facts.study["pruner"] == "halving")


def _height(facts: Facts, text: str) -> float:
    """The number of a difference; of a loss, the difference of logarithms in per cent."""
    return size(text) if not facts.is_loss else -100 * math.log(max(1e-9, 1 - size(text) / 100))


# --- validation rows


def _errors(facts: Facts, text: str) -> bool:
    """Whether the numbers of errors are among those of completed trials."""
    accuracies = facts.done["validation_accuracy"].astype(float)
    every = {round((1 - one) * facts.rows) for one in accuracies}
    said = [0, 0] if text == "no error" else [int(n) for n in re.findall(r"[\d\u202f]+", text.replace("\u202f", ""))]
    return set(said) <= every and (" to " not in text or said[0] < said[1])


@says(
    "The best trials make {errors} on {n:validation row?}; {rest}.",
    under="validation rows",
)
def _(facts: Facts, errors: str, n: str, rest: str) -> bool:
    values = facts.done["value"].tolist()
    tied = values.count(values[0])
    known = {
        "the best of them does not tie": not facts.is_loss and _near(facts, values),
        "the lowest loss is that of one trial": tied == 1 and facts.is_loss,
    }
    if rest.startswith("only"):
        true = rest == f"only {tied} of them tie for the best value" and tied > 1
    elif " trials tie at " in rest:
        true = facts.is_loss and _tie(facts, rest)
    else:
        true = known.get(rest, False)
    return _errors(facts, errors) and count(n) == facts.rows and true


def _near(facts: Facts, values: list[float]) -> bool:
    """Whether one trial is the best, or several are so within half a row, of which the best group may hold one."""
    close = [value for value in values if value != values[0] and abs(value - values[0]) <= 0.5 / facts.rows]
    return values.count(values[0]) == 1 or bool(close)


def _tie(facts: Facts, text: str) -> bool:
    found = re.fullmatch(r"(\d+) of the best (\d+) trials tie at (.+)", text)
    values = facts.done["value"].tolist()
    if found is None:
        return False
    return 2 <= int(found[1]) <= min(int(found[2]), values.count(values[0])) and reads(
        found[3], values[0] * facts.scale
    )


@says("{tie} on {n:validation row?}, too few to rank them.", under="validation rows")
def _(facts: Facts, tie: str, n: str) -> bool:
    return _tie(facts, tie) and count(n) == facts.rows and not facts.is_loss


@says(
    'Try objective = "validation_loss", folds = 5 or more rows.',
    'Try objective = "validation_loss" or more rows.',
    under="validation rows",
)
def _(facts: Facts) -> bool:
    return not facts.is_loss


# --- boundary and infeasible share


@says("The best trials do not cluster at a bound of a range that matters.", under="boundary")
def _(facts: Facts) -> bool:
    return len(facts.done) > 0


@says("The best trials are at {ends}: better settings may lie beyond {it:word}.", under="boundary")
def _(facts: Facts, ends: str, it: str) -> bool:
    parts = listing(ends)
    keys = [key.replace("_", " ") for key in facts.study["space"]]
    named = all(any(key in part for key in keys) or "layer" in part for part in parts)
    return named and it == ("it" if len(parts) == 1 else "them")


def _too_few(facts: Facts, there: str, n: str, more: str | None) -> bool:
    """Fewer than needed; and as many more trials as the present ones have of them."""
    have, needed = count(there), int(n)
    return (
        have < needed
        and (have > 0) == (more is not None)
        and (more is None or abs(count(more) - facts.finished * needed / have) <= 1)
    )


OF_CURVES = ("validation rows", "overfitting", "still improving", "best epoch", "late epochs")
LACKING = (
    ("boundary", "compared trial"),
    ("noise", "comparable trial"),
    ("enough trials", "finished trial"),
    ("enough trials", "completed trial"),
    *((name, what) for name in OF_CURVES for what in ("compared trial", "completed trial")),
)
"""What a check may have too few of."""
NEVER = (("best epoch", "completed trial"), ("enough trials", "completed trial"))
"""Checks that lack these trials only where there is none of them."""

for under, what in LACKING:
    none = f"{{there:{what}?}}, {{n:int}} needed."
    some = f"{none[:-1]}: about {{more:trial?}} would tell."

    @says(*((none,) if (under, what) in NEVER else (some, none)), under=under)
    def _(facts: Facts, there: str, n: str, more: str | None = None) -> bool:
        return _too_few(facts, there, n, more)


def _broken(facts: Facts, n: str, of: str) -> bool:
    return int(n) == facts.number_of(*BROKEN) and count(of) == facts.finished


@says(
    "{n:int} of {of:finished trial?} failed or diverged.",
    "{n:int} of {of:finished trial?} failed or diverged: about {more:trial?} would tell.",
    under="infeasible share",
)
def _(facts: Facts, n: str, of: str, more: str | None = None) -> bool:
    return _broken(facts, n, of) and (more is None or count(more) > facts.finished)


@says(
    "{n:int} of {of:finished trial?} failed or diverged ({p:percent}); most frequent cause: {cause} ({times:int}).",
    "{n:int} of {of:finished trial?} failed or diverged ({p:percent}); one of the most frequent causes: {cause}"
    " ({times:int}).",
    under="infeasible share",
)
def _(facts: Facts, n: str, of: str, p: str, cause: str, times: str) -> bool:
    return _broken(facts, n, of) and reads(p, 100 * int(n) / count(of)) and caused(facts, cause, int(times))


def caused(facts: Facts, cause: str, times: int) -> bool:
    """Whether so many trials failed for a reason, numbers aside, and none for a reason more frequent."""
    broken = facts.trials[facts.trials["outcome"].isin(BROKEN)]
    kinds = broken["reason"].fillna(broken["outcome"]).str.replace(r"\d+", "#", regex=True).value_counts()
    return kinds.get(re.sub(r"\d+", "#", cause)) == times == kinds.max()
