"""The mistakes, the best trials, the failures, and the provenance."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray
from sentences.catalogue import says
from sentences.facts import BROKEN, Facts, count, gains, names, reads, trial
from sentences.of_answer import outcomes
from sentences.of_checks import caused


def _wrong(facts: Facts) -> dict[tuple[int, int], int]:
    """The number of mistakes by true and predicted class."""
    counts = facts.confusion[0]
    return {(int(a), int(b)): int(counts[a, b]) for a, b in zip(*counts.nonzero(), strict=True) if a != b}


@says(
    *(
        f"{{who}} misclassifies {{n:int}} of {{of:{part} example?}}{more}"
        for part in ("test", "validation")
        for more in ("", ", most often {true} as {said} ({k:int}×)")
    )
)
def _(facts: Facts, who: str, n: str, of: str, true: str = "", said: str = "", k: str = "") -> bool:
    counts, part = facts.confusion
    wrong = _wrong(facts)
    subject = who == "The first final model" if part == "test" else trial(who) == facts.best
    most = [pair for pair in wrong if wrong[pair] == max(wrong.values())]
    if part not in of or not subject or int(n) != sum(wrong.values()) or count(of) != int(counts.sum()):
        return False
    if not k:
        return len(most) != 1
    a, b = most[0]
    return len(most) == 1 and int(k) == wrong[a, b] and _is(facts, a, true) and _is(facts, b, said)


def _is(facts: Facts, index: int, text: str) -> bool:
    return names([facts.classes[index]], 28, text)


@says("n = {n:test example?}, the whole set.", "n = {n:validation example?}, the whole set.")
def _(facts: Facts, n: str) -> bool:
    counts, part = facts.confusion
    return count(n) == int(counts.sum()) and part in n


@says("Rows are true classes; only mistakes are coloured.")
def _(facts: Facts) -> bool:
    return len(facts.classes) <= 20


@says(
    "The test set has not been opened: it is opened once, after the search has ended and the champion is confirmed.",
    "The test set has not been opened: this study has no confirmation, and only a confirmed champion is tested.",
    "The test set has not been opened: the confirmation has not ended.",
    "The test set has not been opened: it is opened once, after the champion is confirmed.",
)
def _(facts: Facts) -> bool:
    """The reason is compared with the large figure of the first page by the test."""
    return not facts.verdict


@says("Every example was classified correctly.")
def _(facts: Facts) -> bool:
    return not _wrong(facts)


def _recalls(counts: NDArray[np.int64]) -> list[float]:
    """Of the classes that occur, the lowest first."""
    sizes = counts.sum(axis=1)
    return sorted((counts.diagonal()[sizes > 0] / sizes[sizes > 0]).tolist())


@says("Lowest recall: {worst}).", "Lowest recall: {worst} more.")
def _(facts: Facts, worst: str) -> bool:
    counts = facts.confusion[0]
    recall = _recalls(counts)
    bad = [one for one in recall if one < 1]
    said = re.findall(r"\((\d+\.\d\u00a0%)(?:\)|$)", worst)
    more = re.search(r"and (\d+)$", worst)
    left = len(bad) - len(said)
    return all(reads(a, 100 * b) for a, b in zip(said, bad, strict=False)) and left == int(more[1] if more else 0)


@says("Most frequent mistakes: {pairs}).", "Most frequent mistakes: {pairs} more.")
def _(facts: Facts, pairs: str) -> bool:
    true = sorted(_wrong(facts).values(), reverse=True)
    said = [int(n) for n in re.findall(r"\((\d+)×", pairs)]
    more = re.search(r"and (\d+)$", pairs)
    return said == true[: len(said)] and len(true) - len(said) == int(more[1] if more else 0)


@says("The {n:most frequent mistake?}")
def _(facts: Facts, n: str) -> bool:
    return count(n) == min(15, len(_wrong(facts)))


@says("The {n:int} classes of the lowest recall", "{n:int} of the {all:int} classes of the lowest recall")
def _(facts: Facts, n: str, all: str | None = None) -> bool:
    counts = facts.confusion[0]
    recall = _recalls(counts)
    return sum(one <= recall[int(n) - 1] for one in recall) == int(all or n)


@says(
    "The {n:most confident mistake?} on the test set: true → predicted class, probability",
    "The {n:most confident mistake?} on the test set, whose rows are counted from 0",
)
def _(facts: Facts, n: str) -> bool:
    return count(n) <= len(facts.verdict["test"]["mistakes"])


def _groups(facts: Facts) -> list[dict]:
    return facts.verdict["test"]["calibration"]


@says("Expected calibration error: {gap:gain}")
def _(facts: Facts, gap: str) -> bool:
    total = sum(one["n"] for one in _groups(facts))
    error = sum(one["n"] * abs(one["confidence"] - one["accuracy"]) for one in _groups(facts)) / total
    return gains(gap, 100 * error)


@says("{n:test example?} in {k:group?} of about equal size by confidence.")
def _(facts: Facts, n: str, k: str) -> bool:
    sizes = [one["n"] for one in _groups(facts)]
    return count(n) == sum(sizes) and count(k) == len(sizes)


@says("On the dotted line the accuracy equals the confidence; bars are 95\u00a0% Wilson intervals over test examples.")
def _(facts: Facts) -> bool:
    return bool(_groups(facts))


@says("Averaged over the examples, the model is {side:word} by {gap:gain}.")
def _(facts: Facts, side: str, gap: str) -> bool:
    total = sum(one["n"] for one in _groups(facts))
    more = sum(one["n"] * (one["confidence"] - one["accuracy"]) for one in _groups(facts)) / total
    return gains(gap, 100 * more) and side == ("overconfident" if more > 0 else "underconfident")


@says("Averaged over the examples, the model is as confident as it is accurate.")
def _(facts: Facts) -> bool:
    return abs(sum(one["n"] * (one["confidence"] - one["accuracy"]) for one in _groups(facts))) < 1e-12


# --- the best trials and the failures


@says("One trial has completed")
def _(facts: Facts) -> bool:
    return len(facts.done) == 1


@says("The best {n:int} trials are within {gap:gain}", "The best {n:int} trials have the same value")
def _(facts: Facts, n: str, gap: str = "0") -> bool:
    values = facts.done["value"].astype(float).tolist()[:15]
    return int(n) == len(values) and gains(gap, (values[-1] - values[0]) * facts.scale)


@says(
    "Best trials: n = {n:int} completed, by {metric}; ties are decided by the lower validation loss, then by the lower"
    " number."
)
def _(facts: Facts, n: str, metric: str) -> bool:
    return int(n) == len(facts.done) and metric == facts.metric


@says("{n:int} more: sweep export {name} --out trials.csv.")
def _(facts: Facts, n: str, name: str) -> bool:
    return name == facts.name and int(n) in (len(facts.done) - 15, facts.number_of(*BROKEN) - 40)


@says("{n:trial?} failed or diverged: {how}")
def _(facts: Facts, n: str, how: str) -> bool:
    said = {part.split(" ", 1)[1]: int(part.split(" ", 1)[0]) for part in how.split(", ")}
    return count(n) == sum(said.values()) and said == {
        one: facts.number_of(one) for one in BROKEN if facts.number_of(one)
    }


@says(
    "Failed trials: n = {n:int}, in order of number; most frequent cause: {cause} ({times:int}).",
    "Failed trials: n = {n:int}, in order of number; one of the most frequent causes: {cause} ({times:int}).",
)
def _(facts: Facts, n: str, cause: str, times: str) -> bool:
    return int(n) == facts.number_of(*BROKEN) and caused(facts, cause, int(times))


# --- the provenance


@says("No trial has finished")
def _(facts: Facts) -> bool:
    return facts.finished == 0


@says("{n:int} of {of:finished trial?} completed", "{n:int} of {of:finished trial?} completed{rest}")
def _(facts: Facts, n: str, of: str, rest: str = "") -> bool:
    how, _, left = rest.partition("; ")
    whole = f"{n} complete{how}" if int(n) else how.removeprefix(", ")
    ended = outcomes(facts, whole) if whole else True
    return count(of) == facts.finished and ended and left == (f"{facts.open} not finished" if facts.open else "")


@says("Outcomes: all started trials.", "Time is training time.")
def _(facts: Facts) -> bool:
    return True


def _twice(facts: Facts) -> int:
    return len(facts.trials) - len({repr(sorted(one.items())) for one in facts.trials["hyperparameters"]})


@says("{n:trial?} had the settings of an earlier one.")
def _(facts: Facts, n: str) -> bool:
    return count(n) == _twice(facts) > 0


@says("All settings were different.")
def _(facts: Facts) -> bool:
    return _twice(facts) == 0


@says("Started more than once: {n:trial?}.")
def _(facts: Facts, n: str) -> bool:
    return count(n) == sum(one.attempt > 1 for one in facts.record.trials)


@says("Causes of failed trials")
def _(facts: Facts) -> bool:
    return facts.number_of(*BROKEN) > 0


@says("{n:rarer cause?} not shown.")
def _(facts: Facts, n: str) -> bool:
    broken = facts.trials[facts.trials["outcome"].isin(BROKEN)]
    kinds = broken["reason"].fillna(broken["outcome"]).str.replace(r"\d+", "#", regex=True).nunique()
    return count(n) == kinds - 8


@says("Provenance")
def _(facts: Facts) -> bool:
    return True


@says(
    "With fewer than 10 completed trials there are too few data on parts of the ranges and on the number of"
    " epochs and of"
    " trials: those sections are omitted."
)
def _(facts: Facts) -> bool:
    return len(facts.done) < 10


@says("{name}: {sizes} examples", under="data")
def _(facts: Facts, name: str, sizes: str) -> bool:
    data = facts.dataset
    parts = {"train": data["train"], "validation": data["validation"], "test": data["test"]}
    if facts.folds > 1:
        parts = {"train and validation": data["train"] + data["validation"], "test": data["test"]}
    true = (
        ", ".join(f"{n:,} {part}" for part, n in parts.items())
        .replace(", ", "; ")
        .replace(",", "\u202f")
        .replace("; ", ", ")
    )
    return name == data["name"] and sizes == true


@says("{note}", under="preparation")
def _(facts: Facts, note: str) -> bool:
    notes = facts.dataset["notes"]
    return note in notes or note == f"and {len(notes) - 10} more, listed by sweep data describe"


@says("{digest}", under="data's SHA-256")
def _(facts: Facts, digest: str) -> bool:
    return digest == facts.dataset["digest"]


@says(
    "{key} ({direction:word}) at the {epoch:word} epoch{folds}",
    "{key} ({direction:word}) at the {epoch:word} epoch",
    under="objective",
)
def _(facts: Facts, key: str, direction: str, epoch: str, folds: str = "") -> bool:
    mean = f", mean of {facts.folds} folds" if facts.folds > 1 else ""
    return (key, direction, epoch, folds) == (facts.objective, facts.study["direction"], facts.study["epoch"], mean)


@says("{name}, seed {seed:int}{more}", "{name}, seed {seed:int}", under="sampler")
def _(facts: Facts, name: str, seed: str, more: str = "") -> bool:
    start = len(facts.study.get("start") or ())
    true = f", generations of {facts.study['generation']}" if facts.study.get("generation") else ""
    true += f", after {start} given setting{'' if start == 1 else 's'}" if start else ""
    return name == facts.study["sampler"] and int(seed) == facts.study["seed"] and more == true


@says("{name:word}, {p:percent} of the trials judged but never pruned", "none", under="pruner")
def _(facts: Facts, name: str = "none", p: str = "") -> bool:
    return name == facts.study["pruner"] and (not p or reads(p, 100 * float(facts.study.get("control") or 0)))


@says("commit {commit}, with uncommitted changes: not reproducible from the commit", "commit {commit}", under="code")
def _(facts: Facts, commit: str) -> bool:
    known = facts.record.provenance.get("git_commit")
    return commit == "none recorded" if not known else known.startswith(commit)


@says("{text}", under="versions")
@says("{text}", under="machine")
def _(facts: Facts, text: str) -> bool:
    origin = facts.record.provenance
    versions = ", ".join(f"{key} {value}" for key, value in origin.get("versions", {}).items())
    return text in (versions, origin.get("machine", "not recorded"))


@says("{begun} UTC, last finish {end} UTC", "{begun} UTC", under="created")
def _(facts: Facts, begun: str, end: str | None = None) -> bool:
    every = [one.finished for one in (*facts.record.trials, *facts.record.confirm) if one.finished]
    last = f"{max(every):%Y-%m-%d %H:%M}" if every else None
    return begun == f"{facts.record.created:%Y-%m-%d %H:%M}" and end == last


@says("{name}, uid {uid}", under="study")
def _(facts: Facts, name: str, uid: str) -> bool:
    return (name, uid) == (facts.name, facts.record.uid)
