"""What two pages of one report say of the same thing must be the same, and a name in a plot must be a known one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sentences.facts import Facts, names, reads, signed, trial
from sentences.of_checks import NAMES
from sentences.of_space import axes
from sentences.texts import Printed

LEGEND = {
    "Baseline", "completed trial", "best so far", "pruned", "pruned, at its best value", "pruned, at its last value",
    "diverged or failed", "other trials", "matters beyond chance", "does not", "95 % interval",
    "reached by chance in 5\u00a0% of sweeps", "best trial", "median", "worst", "expected best of a random subset",
    "expected best of the part, at equal numbers", "10 % to 90 % of the subsets",
    "best so far, in the order of the search",
}  # fmt: skip
PLOTS = {
    "Train loss", "Validation loss", "Train accuracy", "Validation accuracy", "epoch", "loss", "accuracy (%)",
    "Best so far, by trial", "Best so far, by training time", "trials, in the order of their end", "number of trials",
    "training time of the trial (seconds)", "predicted class", "true class", "mean confidence of a group (%)",
    "accuracy of the group (%)", "completed trials", "best epoch, in % of the trial's epochs", "Explained by itself",
    "Explained by parts of its range", "share of the variance of results", "share of the variance of results, adjusted",
    "rank correlation with final value",
}  # fmt: skip
FORMS = (
    r"training time, summed \((seconds|minutes|hours)\)",
    r"Interaction: \d+\u00a0%",
    r".+ → .+, \d+\u00a0%",
    r"[\d·]+",
    r"[\d.]+\u00a0(s|min|h|d)",
    r"[a-z ]+ [\d.]+\u00a0(s|min|h|d)",
    r"\d+ [a-z ]+",
)
TITLES = {
    "enough trials": {
        "passed": "No sign that more trials of this search would help",
        "attention": "More trials would probably help",
        "cannot tell": "Too few trials to tell whether they were enough",
    },
    "pruning": {"attention": "Pruning stops good trials", "passed": "", "cannot tell": ""},
}
"""How a title begins by the result of its check."""


def disagreements(facts: Facts, said: Sequence[Printed]) -> Iterator[str]:
    """Each disagreement of two pages in words."""
    items: dict[str, set[tuple[str, str]]] = {}
    for one in said:
        if one.kind == "item" and one.under in NAMES:
            items.setdefault(one.under or "", set()).add((one.mark, one.text))
    yield from (f"two results of the check {name}" for name, found in items.items() if len(found) > 1)
    marks = {name: next(iter(found))[0] for name, found in items.items()}
    titles = [one.text for one in said if one.kind in ("title", "section")]
    summaries = {one.text for one in said if re.match(r"\d+ checks? passed", one.text)}
    if len(summaries) != 1:
        yield f"{len(summaries)} summaries of the checks"
    attention = {name for name, mark in marks.items() if mark == "attention"}
    if attention != set(re.findall("|".join(NAMES), next(iter(summaries)))):
        yield "the summary names other checks than those that ask for attention"
    for name, begins in TITLES.items():
        shown = [title for title in titles if any(text and title.startswith(text) for text in begins.values())]
        if any(not title.startswith(begins[marks[name]]) for title in shown) and marks[name] in begins:
            yield f"the title {shown} against the check {name}, {marks[name]}"
    closed = {one.text.partition("test set: ")[2] for one in said if one.text.startswith("not evaluated")}
    notes = {one.text.partition("has not been opened: ")[2].rstrip(".") for one in said if one.kind == "note"} - {""}
    if len(closed | notes) > 1:
        yield f"two reasons why the test set is closed: {closed | notes}"
    leads = {found[1].lower() for title in titles if (found := re.search(r"(?:; |^)([\w ]+?) matters", title))}
    if len(leads) > 1:
        yield f"two hyperparameters matter most: {leads}"


def unknown(facts: Facts, said: Sequence[Printed]) -> Iterator[str]:
    """Each text of a legend or an axis that is not a known one."""
    searched = axes(facts.study["space"])
    quantities = {*searched, *(f"1 − {name}" for name in searched), facts.metric, f"{facts.metric} (%)"}
    for one in said:
        if one.kind == "legend" and one.text not in LEGEND and not re.fullmatch(r"Trial \d+", one.text):
            yield one.text
        if one.kind == "axis" and one.text not in PLOTS | quantities:
            at_bound = re.fullmatch(r"(.+): (champion|best trial) at (lower|upper) bound", one.text)
            pair = one.text.split(", ")
            minus = one.text.startswith(f"{facts.metric}: champion minus baseline")
            form = any(re.fullmatch(form, one.text, re.DOTALL) for form in FORMS)
            last = one.text.removesuffix("…").split(":")[0].split(", ")[-1].rstrip()
            cut = one.text.endswith("…") and any(name.startswith(last) for name in searched)
            if not (form or minus or cut or (at_bound and at_bound[1] in searched) or set(pair) <= set(searched)):
                yield one.text


def wrong_cells(facts: Facts, said: Sequence[Printed]) -> Iterator[str]:
    """Each row of the tables of trials that does not say what the record does."""
    for one in said:
        if one.kind != "table":
            continue
        for row in one.rows:
            if one.text.startswith(" | trial | "):
                number = int(row[1].split(" ")[0])
                if facts.done["number"].tolist()[int(row[0]) - 1] != number or not reads(row[2], _value(facts, number)):
                    yield f"best trials: {row}"
            elif one.text.startswith("trial | search | mean"):
                yield from _confirmed(facts, row)
            elif one.text.startswith("outcome | trials"):
                if facts.number_of(row[0]) != int(row[1]):
                    yield f"outcomes: {row}"
            elif one.text.startswith("trial | outcome") and facts.trials.loc[int(row[0]), "outcome"] != row[1]:
                yield f"failures: {row}"
            elif one.text.startswith("trial | curve"):
                yield from _curve(facts, row)
            elif one.text.startswith("rung (epochs)"):
                yield from _rung(facts, row)
            elif one.text.startswith("trial | would be pruned"):
                if facts.done["number"].tolist()[int(row[3]) - 1] != int(row[0]) or not reads(
                    row[2], _value(facts, int(row[0]))
                ):
                    yield f"controls: {row}"
            elif one.text.startswith("class | examples | recall"):
                yield from _recall(facts, row)
            elif one.text.startswith("hyperparameter | "):
                yield from _setting(facts, one.text, row)


def _curve(facts: Facts, row: Sequence[str]) -> Iterator[str]:
    """The epoch, and what was measured after it: losses, then accuracies, then their difference."""
    number, (at, of) = trial(row[0]), row[2].split(" of ")
    curve, selected = facts.curves[number], facts.trials.loc[number, "selected_epoch"]
    epoch = curve.iloc[int(at) - 1]
    losses = [epoch["train_loss"], epoch["validation_loss"]]
    accuracies = [100 * epoch["train_accuracy"], 100 * epoch["validation_accuracy"]]
    true = all(reads(text, value) for text, value in zip(row[3:7], [*losses, *accuracies], strict=True))
    if not (
        true and int(at) == selected + 1 and int(of) == len(curve) and signed(row[7], accuracies[0] - accuracies[1])
    ):
        yield f"curves: {row}"


def _rung(facts: Facts, row: Sequence[str]) -> Iterator[str]:
    """How many trials reached it and ran on; all of these studies have trials of one length."""
    lengths = [len(curve) for curve in facts.curves.values()]
    on = sum(length > int(row[0]) for length in lengths)
    if int(row[1]) != sum(length >= int(row[0]) for length in lengths) or row[2] not in ("", str(on)):
        yield f"rungs: {row}"


def _recall(facts: Facts, row: Sequence[str]) -> Iterator[str]:
    counts, _ = facts.confusion
    known = [k for k, name in enumerate(facts.classes) if names([name], 28, row[0])]
    sizes = counts.sum(axis=1)
    if not any(sizes[k] == int(row[1]) and reads(row[2], 100 * counts[k, k] / sizes[k]) for k in known):
        yield f"recall: {row}"


def _setting(facts: Facts, head: str, row: Sequence[str]) -> Iterator[str]:
    """The winner's and the baseline's value of a searched hyperparameter."""
    key = next(key for key in facts.study["space"] if key.replace("_", " ") == row[0])
    mine = facts.trials.loc[facts.winner, "hyperparameters"] if facts.winner is not None else facts.study["baseline"]
    both = [mine, facts.study["baseline"]] if len(row) == 4 else [facts.study["baseline"]]
    for text, settings in zip(row[1:-1], both, strict=True):
        value = settings[key]
        whole = "-".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
        if text != whole and not (isinstance(value, float) and reads(text, value)):
            yield f"settings, {head}: {row}"


def _value(facts: Facts, number: int) -> float:
    return facts.value(number) * facts.scale


def _confirmed(facts: Facts, row: Sequence[str]) -> Iterator[str]:
    number = trial(row[0])
    mean, known = facts.mean(number) * facts.scale, facts.trials["value"].get(number)
    values = facts.repeats[number]
    true = reads(row[2], mean) and all(
        reads(text, value * facts.scale) for text, value in zip(row[3].split(", "), values, strict=True)
    )
    if not facts.verdict and facts.trials["outcome"].get(number) != "complete":
        true = true and row[1] == row[4] == "–"
    elif known is not None and known == known:
        true = true and reads(row[1], known * facts.scale) and signed(row[4], known * facts.scale - mean)
    if not true:
        yield f"confirmation: {row}"
