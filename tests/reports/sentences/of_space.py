"""The next study, the importance of hyperparameters, and the search space.

Importance and interactions are estimates that are not repeated here: a checker compares the named axes and counts with
the study file and the record.
"""

from __future__ import annotations

import math
import re
from typing import Any

from sentences.catalogue import says
from sentences.facts import Facts, count, lasts, listing
from sentences.of_checks import LIMIT, freedom
from sentences.of_curve_checks import tried


def axes(space: dict[str, Any]) -> list[str]:
    """The names of the searched axes, in the order of the study file."""
    found: list[str] = []
    for key, dimension in space.items():
        if dimension["kind"] == "layers":
            found += ["number of layers", *(f"width of layer {n}" for n in range(1, dimension["layers"][1] + 1))]
        else:
            found.append(key.replace("_", " "))
    return found


def varied(space: dict[str, Any]) -> list[str]:
    """The axes that have more than one value, which alone can matter."""
    several = {key: one for key, one in space.items() if len(one.get("choices", "12")) > 1}
    return axes({key: one for key, one in several.items() if one.get("low") != one.get("high", 1)})


# --- the next study


@says("Proposed next study: {n:change?} to the study file")
def _(facts: Facts, n: str) -> bool:
    return count(n) == len(facts.proposal.changes)


@says("Next study: the file {name}.toml is in this study's folder.")
def _(facts: Facts, name: str) -> bool:
    return name == facts.proposal.name


def _keys(facts: Facts) -> list[str]:
    return [change.key for change in facts.proposal.changes]


@says("Question, data and baseline are unchanged.")
def _(facts: Facts) -> bool:
    return not any(key.startswith(("baseline", "question", "dataset")) for key in _keys(facts))


@says("Question and data are unchanged, and the baseline but for its epochs.")
def _(facts: Facts) -> bool:
    return "baseline.epochs" in _keys(facts) and not any(key in ("question", "dataset") for key in _keys(facts))


@says("Every report overwrites the file: copy it before you edit it.")
def _(facts: Facts) -> bool:
    return facts.proposal is not None


@says(
    "Gains: of longer trainings by the curves of the best trials, 10 to 90\u00a0% of them; of more trials at most what"
    " the second half of these was worth; of a wider range at most, for each fifth, what the last fifth was worth."
)
def _(facts: Facts) -> bool:
    return facts.proposal is not None


@says("A range is not widened for less than {limit}.")
def _(facts: Facts, limit: str) -> bool:
    return bool(re.fullmatch(LIMIT, limit)) and ("noise" not in limit or freedom(facts) >= 4)


CHANGES = {
    "trials": "more trials still improved the best value",
    "pruner": "of the control trials that it would have stopped, some are good",
    "confirm.repeats": "too few to distinguish",
    "baseline.epochs": "",
    "space": "",
}


@says("{why}; {new}, was {old}; {gain}", "{why}; {new}, was {old}", under="change")
def _(facts: Facts, why: str, new: str, old: str, gain: str = "") -> bool:
    """The old value is the recorded one, the new one is another."""
    known = [change for change in facts.proposal.changes if why.startswith(change.why[:20])]
    if not known or old == new:
        return False
    section, _, key = known[0].key.rpartition(".")
    recorded = (facts.study[section] if section else facts.study)[key]
    reasons = CHANGES.get(known[0].key, "")
    numbers = [str(recorded)] if isinstance(recorded, int | str) else []
    return why.startswith(reasons) and all(number in old for number in numbers) and ("gain" in gain or gain == "")


@says("{n:more change?} in the file.")
def _(facts: Facts, n: str) -> bool:
    return count(n) == len(facts.proposal.changes) - 10


@says(
    "It takes about {new:time} of training, {times:ratio} times this study's {old:time}, if its settings take as long"
    " per epoch."
)
def _(facts: Facts, new: str, times: str, old: str) -> bool:
    total = sum(run.seconds for run in (*facts.record.trials, *facts.record.confirm))
    return lasts(old, total) and float(times) > 0


@says("Not covered by the proposal: {remedies}.")
def _(facts: Facts, remedies: str) -> bool:
    names = ("overfitting", "validation and test", "validation rows", "late epochs", "infeasible share")
    late = re.search(r"late epochs \(try (.+?)\)", remedies)
    return remedies.startswith(names) and (late is None or tried(facts, late[1]))


@says("Run and compare")
def _(facts: Facts) -> bool:
    return facts.proposal is not None


@says("No next study is proposed; what to do about {n:check?}")
def _(facts: Facts, n: str) -> bool:
    return facts.proposal is None and facts.over and count(n) <= 5


@says("Next study: none is written where no other range or number in the study file addresses a check.")
def _(facts: Facts) -> bool:
    return facts.proposal is None and facts.over


@says(
    "search a regulariser as well (weight decay, dropout, label smoothing), or a smaller network",
    "look for drift, sorted rows and duplicates in the data",
    "rank by the loss, or validate on more rows",
    "the failed trials are not in an outer part of one range; see their reasons",
    under="advice",
)
def _(facts: Facts) -> bool:
    return facts.over


@says("try {what}", under="advice")
def _(facts: Facts, what: str) -> bool:
    return tried(facts, what)


# --- the importance of hyperparameters


def _stopped(facts: Facts) -> int:
    """Trials that completed or that their settings ended."""
    return int(facts.trials["state"].isin(("complete", "pruned")).sum())


@says("No hyperparameter matters beyond chance in {n:trial?}")
def _(facts: Facts, n: str) -> bool:
    return count(n) == _stopped(facts) >= 20


def _named(facts: Facts, *found: str) -> bool:
    known = axes(facts.study["space"])
    return len(set(found)) == len(found) and all(one in known or one[:1].lower() + one[1:] in known for one in found)


@says("{name} matters; of no other hyperparameter can it be told")
def _(facts: Facts, name: str) -> bool:
    return _named(facts, name) and len(varied(facts.study["space"])) > 1


@says("{name} matters beyond chance")
def _(facts: Facts, name: str) -> bool:
    return varied(facts.study["space"]) == [name[:1].lower() + name[1:]]


@says("{name} matters most, then {others}")
def _(facts: Facts, name: str, others: str) -> bool:
    return _named(facts, name, *listing(others))


@says("{found} matter beyond chance")
def _(facts: Facts, found: str) -> bool:
    return _named(facts, *listing(found))


@says("Importance: n = {n:int} trials that completed or were stopped.")
def _(facts: Facts, n: str) -> bool:
    return int(n) == _stopped(facts) >= 20


@says(
    "Results: the logarithm of the validation {what}; pruned trials are compared with others after as many"
    " epochs; those"
    " that diverged, or ran out of memory or time, count as the worst."
)
def _(facts: Facts, what: str) -> bool:
    label = facts.metric.removeprefix("validation ")
    return what == (f"1 − {label}" if facts.maximize else label)


@says("Chance: the level that the highest bar stays below in 95\u00a0% of 999 permutations of the results.")
def _(facts: Facts) -> bool:
    return _stopped(facts) >= 20


@says(
    "Left: functional analysis of variance of a random forest, averaged over the whole search space and multiplied by"
    " what the forest explains of trials that it has not seen.",
    "Intervals: 1.96 standard errors of the delete-half jackknife.",
    "Right: the test against chance, of each hyperparameter on what the clearer ones left.",
    "optuna-dashboard may order the hyperparameters differently: it uses completed trials only, and has no"
    " chance level.",
)
def _(facts: Facts) -> bool:
    """What the method is."""
    return _stopped(facts) >= 20


@says("Interaction above the chance level: {pairs}")
def _(facts: Facts, pairs: str) -> bool:
    found = [tuple(pair.split(" with ")) for pair in listing(pairs)]
    return _stopped(facts) >= 40 and all(_named(facts, *pair) and len(pair) == 2 for pair in found)


@says("Too few trials to test interactions (40 are needed)")
def _(facts: Facts) -> bool:
    return _stopped(facts) < 40


@says("No interaction of the most important hyperparameters is above the chance level")
def _(facts: Facts) -> bool:
    return _stopped(facts) >= 40


@says("Interactions: n = {n:ranked trial?}; {pairs:pair?} of the most important axes.")
def _(facts: Facts, n: str, pairs: str) -> bool:
    return count(n) == _stopped(facts) and count(pairs) == (1 if len(varied(facts.study["space"])) == 2 else 3)


@says(
    "In each title: fraction of the variance of ranks that three by three cells explain beyond the sum of both axes.",
    "It is above the chance level if it exceeds 10\u00a0% and the highest value in 19 permutations of the residuals.",
)
def _(facts: Facts) -> bool:
    return _stopped(facts) >= 40


# --- the search space


@says("A trial without such a layer is not in that panel.")
def _(facts: Facts) -> bool:
    return len(facts.trials) > 0


@says("The trials in the search space; none completed")
def _(facts: Facts) -> bool:
    return not len(facts.done)


def _bounds(facts: Facts) -> dict[str, str]:
    """The bounds that the winner is within 5 % of, by axis, of ranges with more than eight whole numbers."""
    found: dict[str, str] = {}
    settings = facts.trials.loc[facts.winner, "hyperparameters"]
    for key, dimension in facts.study["space"].items():
        if dimension["kind"] == "layers":
            for layer, units in enumerate(settings[key], 1):
                end = _end(
                    units, {**dimension, "low": dimension["units"][0], "high": dimension["units"][1]}, whole=True
                )
                if end:
                    found[f"width of layer {layer}"] = end
        elif dimension["kind"] != "choice" and (
            end := _end(settings[key], dimension, whole=dimension["kind"] == "int")
        ):
            found[key.replace("_", " ")] = end
    return found


def _end(value: float, dimension: dict[str, Any], *, whole: bool) -> str | None:
    low, high, log = float(dimension["low"]), float(dimension["high"]), dimension.get("log")
    if low == high or (whole and not log and high - low < 8):
        return None
    if log == "complement":
        low, high, value = (
            math.log(float(f"{1 - x:.10g}")) if x != value else math.log(1 - x) for x in (low, high, value)
        )
    elif log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    place = (value - low) / (high - low)
    if place <= 0.05 + 1e-12:
        return None if low == 0 and not log and dimension["kind"] != "layers" else "lower"
    return "upper" if place >= 0.95 - 1e-12 else None


def _best_word(facts: Facts) -> str:
    return "champion" if facts.verdict else "best trial"


def _leads(facts: Facts, rest: str) -> bool:
    """What may follow: an axis that matters, and that another page continues."""
    found = re.fullmatch(r"(?:; (.+?) matters(?: most)?)?( \(continued\))?", rest)
    return found is not None and (found[1] is None or _named(facts, found[1]))


@says("The {what} is not at a bound of a searched range", "The {what} is not at a bound of a searched range{rest}")
def _(facts: Facts, what: str, rest: str = "") -> bool:
    return what == _best_word(facts) and not _bounds(facts) and _leads(facts, rest)


@says("The {what} is within 5\u00a0% of {ends}")
def _(facts: Facts, what: str, ends: str) -> bool:
    ends, _, rest = ends.removesuffix(" (continued)").partition("; ")
    true = _bounds(facts)
    shown = [f"the {end} bound of {name}" for name, end in true.items()]
    more = f" and {len(shown) - 2} more" if len(shown) > 2 else ""
    return what == _best_word(facts) and ends == " and ".join(shown[:2]) + more and _leads(facts, rest and f"; {rest}")


@says("Search space: n = {n}; {left:int} unfinished not drawn.", "Search space: n = {n}.")
def _(facts: Facts, n: str, left: str = "0") -> bool:
    counts = facts.trials["outcome"].value_counts()
    true = {name: int(k) for name, k in counts.items() if name not in ("running", "paused", "interrupted")}
    said = (
        {}
        if n == "no finished trial"
        else {part.split(" ", 1)[1]: int(part.split(" ", 1)[0]) for part in n.split(", ")}
    )
    return said == true and int(left) == facts.open


@says(
    "At a bound: within 5\u00a0% of it; choices, few whole numbers and a lower end that nothing can be below"
    " have none.",
    "Equal values are spread sideways.",
    "Dotted lines are the ends of the searched range.",
    "Lines: the best over all other settings in each fifth of the range or each choice, as expected of as many"
    " completed"
    " trials as the smallest part with 3 trials has, since the best of many is better than the best of few.",
)
def _(facts: Facts) -> bool:
    """How the panels are drawn."""
    return len(facts.trials) > 0


@says("A pruned trial is drawn at its {which:word} value, or in the shaded strip if that is outside the axis.")
def _(facts: Facts, which: str) -> bool:
    """Of the recorded values of the pruned trials."""
    for number in facts.trials.index[facts.trials["outcome"] == "pruned"]:
        if number not in facts.curves:
            continue
        curve = facts.curves[number][facts.objective]
        if facts.value(number) != (curve.iloc[-1] if which == "last" else (curve * facts.sign).max() * facts.sign):
            return False
    return which == facts.study.get("epoch", "best")


@says("{n:further axe?} not drawn.", "1 further axis not drawn.")
def _(facts: Facts, n: str = "1") -> bool:
    return count(n) == len(axes(facts.study["space"])) - 16


@says("Importance is not ranked: no searched hyperparameter has more than one value.")
def _(facts: Facts) -> bool:
    return not varied(facts.study["space"]) and _stopped(facts) >= 20


@says("Importance is not ranked: {n:trial?} can be compared, and 20 are needed.")
def _(facts: Facts, n: str) -> bool:
    return count(n) == _stopped(facts) < 20
