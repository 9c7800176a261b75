"""The comparison of studies; its facts are those of each study, in the order of the sides."""

from __future__ import annotations

from collections.abc import Sequence

from sentences.catalogue import says
from sentences.facts import Facts, gains, listing, reads, signed

REPEATED = ("name", "question", "seed")


class Together:
    """Several studies: `sides` are lists of those that differ in name, question and seed only."""

    def __init__(self, records: Sequence[object]) -> None:
        self.every = [Facts(record) for record in records]  # type: ignore[arg-type]
        groups: dict[str, list[Facts]] = {}
        for one in self.every:
            key = repr({key: value for key, value in one.study.items() if key not in REPEATED})
            groups.setdefault(key, []).append(one)
        self.sides = list(groups.values())
        self.names = [side[0].name for side in self.sides]

    @property
    def first(self) -> Facts:
        """The first study."""
        return self.every[0]

    def side(self, name: str) -> list[Facts]:
        """The studies of a side by its name."""
        return self.sides[self.names.index(name)]

    def mean(self, name: str) -> float:
        """The mean of a side's champions over studies, each the mean of its repeats on splits that both sides have."""
        means = [one.mean(one.winner or 0) for one in self.side(name)]
        return sum(means) / len(means)


@says("{names} cannot be compared yet: not every champion is confirmed", under="comparison")
def _(facts: Together, names: str) -> bool:
    return listing(names) == facts.names and not all(one.winner in one.repeats and one.verdict for one in facts.every)


def _couples(facts: Together) -> int:
    return len(facts.sides) * (len(facts.sides) - 1) // 2


@says("{parts}", under="comparison finding")
def _(facts: Together, parts: str) -> bool:
    """The finding of each couple: who is better by the means, unless they are not distinguishable."""
    said = parts.split("; ")
    for text in said:
        body = text.removeprefix("The champion of ").removeprefix("the champion of ")
        if " is not distinguishable from that of " in body:
            other, one = body.split(" is not distinguishable from that of ")
            if other not in facts.names or one not in facts.names:
                return False
            continue
        ahead, rest = body.split(" is better than that of ")
        behind, gap = rest.rsplit(" by ", 1)
        more = facts.mean(ahead) - facts.mean(behind)
        if more * facts.first.sign <= 0 or not gains(gap, more * facts.first.scale):
            return False
    return len(said) == _couples(facts)


@says("{n:int} studies of {name} (SHA-256 {digest}), by {objective}.", under="comparison")
def _(facts: Together, n: str, name: str, digest: str, objective: str) -> bool:
    data = facts.first.dataset
    return (
        int(n) == len(facts.every)
        and name == data["name"]
        and str(data["digest"]).startswith(digest)
        and objective == facts.first.objective
    )


@says("Studies that differ only in their seed are repeats of one side.", under="comparison")
def _(facts: Together) -> bool:
    return any(len(side) > 1 for side in facts.sides)


@says("Results", "What differs in the study files", under="comparison")
def _(facts: Together) -> bool:
    return True


@says("The champions on {word}s", "{word}s: mean of the champion's repeats.", under="comparison")
def _(facts: Together, word: str) -> bool:
    words = {one.word for one in facts.every}
    return word.lower() == (words.pop() if len(words) == 1 else "repeat")


@says(
    "Test accuracy: mean of the final models, with the 95\u00a0% Wilson interval over test examples.",
    "All use the same test set; choosing between them by it would bias it.",
    under="comparison",
)
def _(facts: Together) -> bool:
    return len({one.dataset["digest"] for one in facts.every}) == 1


@says("{other} against {one}: not every champion is confirmed.", under="comparison")
def _(facts: Together, other: str, one: str) -> bool:
    both = [*facts.side(one), *facts.side(other)]
    return not all(study.verdict and study.winner in study.repeats for study in both)


OVER = "{other} against {one}: {gap:signed}; {interval}, over "


@says(
    OVER + "other seeds of both sweeps.",
    OVER + "other fresh {noun:word}; those of the two studies differ.",
    OVER + "other fresh {noun:word}, {a:word} by {b:word}, of the {k:int} that both have.",
    OVER + "other fresh {noun:word}, {a:word} by {b:word}.",
    under="comparison",
)
def _(
    facts: Together,
    other: str,
    one: str,
    gap: str,
    interval: str,
    noun: str = "",
    a: str = "",
    b: str = "",
    k: str = "0",
) -> bool:
    ours, theirs = facts.side(other), facts.side(one)
    more = facts.mean(other) - facts.mean(one)
    if a:
        pairs = [side[0].repeats[side[0].winner or 0] for side in (theirs, ours)]
        both = min(map(len, pairs))
        more = sum(y - x for x, y in zip(*pairs, strict=False)) / both
        if (int(k) or both) != both or (int(k) > 0) != (len(pairs[0]) != len(pairs[1])) or a != b or noun != f"{a}s":
            return False
        if ours[0].study["seed"] != theirs[0].study["seed"]:
            return False
    elif noun and ours[0].study["seed"] == theirs[0].study["seed"] and ours[0].splits == theirs[0].splits:
        return False
    low_high = interval.removeprefix("95\u00a0% interval ").split(": ")[0].split(" to ")
    inside = len(low_high) < 2 or _between(gap, *low_high)
    return signed(gap, more * facts.first.scale) and inside


def _between(gap: str, low: str, high: str) -> bool:
    a, b, c = (float(text.split("\u00a0")[0].replace("−", "-")) for text in (low, gap, high))
    return a <= b <= c


@says("{n:int} more are not shown.", under="comparison")
def _(facts: Together, n: str) -> bool:
    return int(n) > 0


def _best(side: list[Facts], trials: int) -> float | None:
    """The median over a side's studies of the best of the first so many trials to finish, of two the mean."""
    found = []
    for one in side:
        rows = [row for row in one.record.trials if row.outcome not in ("running", "paused", "interrupted")]
        rows.sort(key=lambda row: (row.sequence or 0, row.number))
        values = [row.value for row in rows[:trials] if row.outcome == "complete" and row.value is not None]
        if not values:
            return None
        found.append(max(values) if one.maximize else min(values))
    found.sort()
    middle = len(found) // 2
    return found[middle] if len(found) % 2 else (found[middle - 1] + found[middle]) / 2


@says("After {n:int} trials each, {trials}; after {t:time} each, {times}", under="comparison")
def _(facts: Together, n: str, trials: str, t: str, times: str) -> bool:
    """The leader after so many trials by the record; by time only the names and the order of the printed numbers."""
    known = {name: _best(side, int(n)) for name, side in zip(facts.names, facts.sides, strict=True)}
    whole = min(one.finished for one in facts.every) == int(n)
    return whole and _leads(facts, trials, known) and _ordered(facts, times)


def _leads(facts: Together, text: str, known: dict[str, float | None]) -> bool:
    scale = facts.first.scale
    values = [value for value in known.values() if value is not None]
    if text == "they are equal":
        return len(values) == len(known) and max(values) - min(values) < 0.011 * (1 if scale == 1 else 0.1) * 10
    if not values:
        return text == "no trial has completed"
    best = max(values) if facts.first.maximize else min(values)
    ahead, _, rest = text.partition(" lead")
    shown = rest.removeprefix("s").removeprefix(" with ").split(" against ")[0]
    named = all((value := known[name]) is not None and reads(shown, value * scale) for name in listing(ahead))
    return named and reads(shown, best * scale) and ("none" in text) == (len(values) < len(known))


def _ordered(facts: Together, text: str) -> bool:
    if " lead" not in text:
        return text in ("they are equal", "no trial has completed")
    ahead, _, rest = text.partition(" lead")
    first, others = rest.removeprefix("s").removeprefix(" with ").split(" against ")
    numbers = [float(part.split("\u00a0")[0]) for part in (first, *listing(others)) if part != "none"]
    order = sorted(numbers, reverse=facts.first.maximize)
    return numbers == order and all(name in facts.names for name in listing(ahead))


@says(
    "Best objective in the search so far, {on} per trial; the best of more trials is better by chance alone.",
    under="comparison",
)
def _(facts: Together, on: str) -> bool:
    measured = ["one seed" if one.folds == 1 else f"mean of {one.folds} folds" for one in facts.every]
    return listing(on) == list(dict.fromkeys(measured))


@says("Dotted: the budget that all have used.", under="comparison")
def _(facts: Together) -> bool:
    return True


@says("Line: median of the repeats; band: from the worst to the best of them.", under="comparison")
def _(facts: Together) -> bool:
    return any(len(side) > 1 for side in facts.sides)


@says("A single search per study is one random sample: without repeats there is no interval.", under="comparison")
def _(facts: Together) -> bool:
    return True


@says("The completed trials of all sweeps in the search space", under="comparison")
def _(facts: Together) -> bool:
    return any(len(one.done) for one in facts.every)


@says("n = {n}.", under="comparison")
def _(facts: Together, n: str) -> bool:
    said = [part.split(" of ")[0] for part in listing(n)]
    return [int(one) for one in said] == [sum(len(one.done) for one in side) for side in facts.sides]


@says(
    "Each axis spans the ranges of all sweeps that search it; pruned and failed trials are in the report of each"
    " study.",
    under="comparison",
)
def _(facts: Together) -> bool:
    return True


@says("{n:int} axes are not drawn.", under="comparison")
def _(facts: Together, n: str) -> bool:
    return int(n) > 0
