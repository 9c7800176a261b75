"""The first page: the answer to the study's question, the checks and the settings."""

from __future__ import annotations

import math

from reports.analysis import wording
from reports.analysis.checks import summary
from reports.analysis.checks.finding import WARN
from reports.analysis.confirmation import (
    PairedDifference,
    better_than_champion,
    confirmed_trials,
    paired_difference,
    repeat_word,
    runner_up_difference,
    why_unpaired,
)
from reports.analysis.failures import failure_causes
from reports.analysis.final_models import TESTED_BY_ACCURACY, final_accuracy, final_difference, final_objective
from reports.analysis.imbalance import imbalance
from reports.analysis.standing import BASELINE, oriented, winner
from reports.analysis.trial_budget import ADAPTIVE
from reports.analysis.wording import counted, listed
from reports.drawing.layout import (
    BODY,
    HEADING_HEIGHT,
    INNER,
    MUTED,
    SMALL,
    boxed_height,
    lines_height,
)
from reports.drawing.sheets import Sheets
from reports.pages.checks import show
from reports.pages.confirmation import dots
from reports.pages.context import Report, capital, epoch, interval, name
from reports.pages.settings import settings
from studies.record.reader import SweepRecord, TrialRecord


def answer(report: Report, sheets: Sheets) -> None:
    """The first page: the answer to the study's question, the confirmation, the checks and the settings."""
    page = sheets.section(headline(report))
    page.paragraph(f"Question: {report.record.study['question']}", BODY + 0.6, colour=MUTED, most=4)
    page.space(0.14)
    if report.standing.best:
        page.figures(_key_figures(report))
        page.space(0.08)
    page.paragraph(" ".join(_answer(report)), BODY, most=10)
    if advice := _advice(report):
        page.space(0.08)
        page.paragraph(advice, BODY, bold=True, most=2)
    if uneven := imbalance(report.record):
        page.space(0.08)
        page.paragraph(" ".join(uneven.sentences()), BODY, bold=True, most=4)
    if rows := confirmed_trials(report.record):
        page.heading(f"The best on {repeat_word(report.record)}s")
        page.space(-0.2)
        dots(page, report, rows, 0.22)
    page.heading(capital(summary(report.checks)))
    show(page, report, (WARN,), most=3)
    command = str(report.record.provenance.get("command", f"sweep run {report.record.name}"))
    repeated = _repeated(report.record, command)
    needed = HEADING_HEIGHT + boxed_height(command) + 0.05 + lines_height(repeated, INNER, SMALL, most=2)
    settings(page, report, needed)
    if page.room > needed:
        page.heading("Command")
        page.boxed(command)
        page.space(0.05)
        page.paragraph(repeated, SMALL, colour=MUTED, most=2)


def _repeated(record: SweepRecord, command: str) -> str:
    """What the command of the study repeats."""
    is_timed = bool(record.study.get("minutes")) or "--minutes" in command
    is_adaptive, stops = record.study["sampler"] in ADAPTIVE, record.study["pruner"] != "none"
    if not is_timed and (record.study.get("generation") or not (is_adaptive or stops)):
        return "It repeats every number for any number of workers, on such a processor and with the same versions."
    time = " and on the time" if is_timed else ""
    if is_adaptive:
        text = f"It may draw other settings, because they depend on the order in which trials end{time}."
    elif stops:
        text = f"It draws the same settings, but which are stopped depends on the order in which trials end{time}."
    else:
        text = "It draws the same settings, as many of them as there is time for."
    best = winner(record)
    if best is None:
        return text
    return f"{text} {name(best.number)} alone is repeated to the last bit by: sweep replay {record.name} {best.number}"


def headline(report: Report) -> str:
    """The answer in one sentence."""
    best, paired = winner(report.record), paired_difference(report.record)
    if best is None:
        return _no_answer(report)
    if report.record.verdict:
        return _confirmed_headline(report, best, paired)
    prefix = "" if report.standing.over else "So far: "
    value = f"{name(best.number)} reaches {report.metric.text(best.value)} {report.metric.name}"
    if best.number == BASELINE:
        other = "no other trial has completed" if report.standing.complete == 1 else "no other trial did better"
        return capital(
            f"{prefix}the baseline has the best value, {report.metric.text(best.value)} {report.metric.name}; {other}"
        )
    if report.standing.baseline is None:
        return capital(f"{prefix}{value}; the baseline has not completed")
    compared = report.metric.compared(best.value or 0.0, report.standing.baseline.value or 0.0)
    return capital(f"{prefix}{value}, {compared} the baseline")


def _confirmed_headline(report: Report, best: TrialRecord, paired: PairedDifference | None) -> str:
    word = repeat_word(report.record)
    if best.number == BASELINE:
        return _baseline_headline(report)
    who, metric = name(best.number), report.metric
    test, tested = final_accuracy(report.record), final_difference(report.record)
    if paired is None and not (tested and tested.low > 0):
        return f"{who} {_led(report, best)}; it was not compared with the baseline on {word}s"
    if (paired is None or paired.finding == "better") and test and tested and tested.low > 0:
        shown = wording.accuracy(test.examples)
        return f"Tuning raises test accuracy from {shown.text(tested.baseline)} to {shown.text(test.mean)}"
    assert paired is not None
    if paired.finding == "better":
        difference = metric.gain(paired.difference)
        side = "more" if metric.maximize else "less"
        return f"{who} beats the baseline: {difference} {side} {metric.name} on {word}s"
    if paired.finding == "worse":
        return f"{who} {_led(report, best)} but is worse than the baseline on {word}s"
    return f"{who} {_led(report, best)}; on {counted(paired.n, word)} it is not distinguishable from the baseline"


def _led(report: Report, best: TrialRecord) -> str:
    """Why a trial is the champion: it was the best of the search, or of the screening."""
    first = report.standing.best
    return "led the search" if first and first.number == best.number else "was the best of the screening"


def _baseline_headline(report: Report) -> str:
    """That the baseline is the champion, and whether another candidate had a better mean."""
    word = repeat_word(report.record)
    if not confirmed_trials(report.record):
        return f"The baseline remains the best; nothing was compared with it on {word}s"
    if (other := better_than_champion(report.record)) is not None:
        return f"The baseline is the champion by the screening, although {name(other).lower()} did better on {word}s"
    return f"The baseline remains the best: no candidate did better on {word}s"


def _no_answer(report: Report) -> str:
    trials = report.record.trials
    if not trials:
        return "No trial has run yet"
    if report.standing.finished == 0:
        return f"No answer yet: {counted(len(trials), 'trial')} running, none finished"
    return f"No answer: none of {counted(report.standing.finished, 'finished trial')} completed ({report.endings()})"


def _key_figures(report: Report) -> list[tuple[str, str]]:
    return [_value_figure(report), _gain_figure(report), _test_figure(report)]


def _value_figure(report: Report) -> tuple[str, str]:
    record, metric = report.record, report.metric
    best = winner(record)
    assert best is not None
    if record.verdict and record.verdict["confirm_mean"] is not None:
        seeds = max((len(row.values) for row in confirmed_trials(record) if row.trial == best.number), default=0)
        mean, searched = record.verdict["confirm_mean"], metric.text(record.verdict["search_value"])
        return (
            metric.text(mean),
            f"{metric.name} of {name(best.number).lower()}, mean of {counted(seeds, repeat_word(record))} (in the"
            f" search: {searched}, {wording.measured_on(record)})",
        )
    return metric.text(
        best.value
    ), f"{metric.name} of {name(best.number).lower()} in the search, {wording.measured_on(record)}, epoch {epoch(best)}"


def _gain_figure(report: Report) -> tuple[str, str]:
    metric, paired = report.metric, paired_difference(report.record)
    if paired:
        what = "" if metric.maximize else f"{metric.name} (lower is better) "
        text = f"{what}against the baseline on the same splits and seeds; {interval(metric, paired)}"
        return metric.oriented(paired.difference), text
    best, on = winner(report.record), wording.measured_on(report.record)
    if best and best.number == BASELINE:
        return "none", f"over the baseline, which is itself the {report.best_word}"
    gain = oriented(report.record, best, report.standing.baseline)
    if gain is None:
        return "–", "against the baseline: it has not completed"
    return metric.oriented(gain), f"against the baseline in the search, {on} each; not confirmed"


def _test_figure(report: Report) -> tuple[str, str]:
    test = final_accuracy(report.record)
    if test is None:
        return "not evaluated", f"test set: {report.why_closed()}"
    metric = wording.accuracy(test.examples)
    models = counted(len(test.accuracies), "final model")
    if objective := final_objective(report.record):
        own = metric if report.record.metric.percent else report.metric
        low, high = (own.text(end(objective.values)) for end in (min, max))
        name = f"mean test {report.record.metric.label}"
        than = "" if objective.baseline is None else f", the baseline's {own.text(objective.baseline)}"
        return (
            own.text(objective.mean),
            f"{name} of {models} (each {low} to {high}){than}; mean test accuracy {metric.text(test.mean)}",
        )
    ends = f"{metric.text(test.low)} to {metric.text(test.high)}"
    return metric.text(test.mean), f"mean test accuracy of {models}; 95\u00a0% interval over examples {ends}"


def _answer(report: Report) -> list[str]:
    """The result in sentences."""
    record, standing = report.record, report.standing
    found = [
        f"{counted(standing.finished, 'trial')} of {standing.planned} finished"
        + (f", {standing.unfinished} unfinished." if standing.unfinished else ".")
    ]
    best = winner(record)
    if best is None:
        return [*found, "Without a completed trial there is nothing to compare.", *_causes(record)]
    found += _comparison(report)
    found += [*_tested(record), *_tested_against_baseline(record)]
    n = record.validated
    se = math.sqrt(max((a := best.validation_accuracy or 0.0) * (1 - a), 0.0) / n)
    if record.objective == "validation_accuracy" and se > 0:
        found.append(
            f"One accuracy on {counted(n, 'validation example')} has a standard error of {wording.percent(se, 2)}."
        )
    return found


def _advice(report: Report) -> str:
    """What to do with the result, in a sentence; nothing while the study has not ended."""
    best, paired = winner(report.record), paired_difference(report.record)
    if best is None or not report.standing.over:
        return ""
    use = f"sweep predict FILE --study {report.record.name}"
    if not report.record.verdict:
        if not report.standing.gain:
            return ""
        return "Do not rely on the difference yet: it was not confirmed on fresh splits."
    if best.number == BASELINE:
        return f"Keep the baseline's settings, with which the champion was trained: {use}"
    found = paired.finding if paired else None
    if found == "worse":
        return "Keep the baseline's settings: the champion is worse."
    metric, tested = report.record.metric.name, final_difference(report.record)
    if metric not in TESTED_BY_ACCURACY:
        tested = None
    if tested and tested.high < 0 and (found != "better" or metric == "accuracy"):
        return "Keep the baseline's settings: the champion is less accurate on the test set."
    if found == "better":
        return f"Use the champion: {use}"
    if tested and tested.low > 0:
        return f"Use the champion, which is more accurate on the test set: {use}"
    return f"Use the champion ({use}) or the baseline's settings: these results do not tell them apart."


def _comparison(report: Report) -> list[str]:
    metric, paired = report.metric, paired_difference(report.record)
    if report.record.verdict and paired is None and (best := winner(report.record)) and best.number != BASELINE:
        only = ", so only the test set says how it compares" if final_difference(report.record) else ""
        why = why_unpaired(report.record)
        return [f"It was not compared with the baseline on {repeat_word(report.record)}s because {why}{only}."]
    if report.record.verdict and paired is None:
        return _baseline_kept(report.record)
    if paired is None:
        return (
            [
                f"The difference to the baseline is measured on {wording.measured_on(report.record)} each, for the"
                f" best of {counted(report.standing.complete, 'trial')}: it is optimistic."
            ]
            if report.standing.gain
            else []
        )
    words = {
        "better": "is better than the baseline",
        "worse": "is worse than the baseline",
        "not distinguishable": "is not distinguishable from the baseline",
    }
    if math.isfinite(paired.low):
        words["not distinguishable"] += ": the interval contains 0"
    return [
        f"On {counted(paired.n, repeat_word(report.record))}, paired with the baseline, the champion"
        f" {words[paired.finding]} ({metric.oriented(paired.difference)}; {interval(metric, paired)}"
        + (f", Bonferroni-corrected for {paired.among} candidates)." if paired.among > 1 else ")."),
        *_against_runner_up(report),
    ]


def _baseline_kept(record: SweepRecord) -> list[str]:
    """Why the baseline is the champion."""
    word = repeat_word(record)
    if not confirmed_trials(record):
        return [f"No candidate was compared with it on {word}s because {why_unpaired(record)}."]
    if (other := better_than_champion(record)) is None:
        return [f"No candidate was better on {word}s, so the baseline is the champion."]
    return [
        f"{name(other)} was better on average on the {word}s, but the champion is chosen before them, by the screening."
    ]


def _against_runner_up(report: Report) -> list[str]:
    """The champion against the runner-up; if they cannot be told apart, which of them is cheaper."""
    found, best = runner_up_difference(report.record), winner(report.record)
    if found is None or best is None:
        return []
    other = report.record.trials[found.trial]
    if found.finding != "not distinguishable":
        return [f"It is {found.finding} than the runner-up, {name(other.number).lower()}."]
    words = f"It is not distinguishable from the runner-up, {name(other.number).lower()}"
    costs = [trial.seconds / max(1, len(trial.epochs)) for trial in (best, other)]
    if costs[0] == costs[1]:
        return [f"{words}."]
    cheaper = best if costs[0] < costs[1] else other
    return [f"{words}; an epoch of {name(cheaper.number).lower()} is the cheaper one."]


def _tested(record: SweepRecord) -> list[str]:
    test = final_accuracy(record)
    if test is None:
        return []
    metric = wording.accuracy(test.examples)
    several = [metric.text(1 - value) for value in test.accuracies]
    opening = test.opening
    times = (
        "once" if opening == 1 else f"{opening} times, including this one; repeated use makes its results optimistic"
    )
    epochs = counted(test.epochs, "epoch")
    one = len(several) == 1
    each = "" if one else f"; per model {listed(several)}"
    return [
        f"The {counted(len(several), 'final model')}, trained on train and validation data for {epochs},"
        f" {'has a' if one else 'have a mean'} test error of {metric.text(1 - test.mean)} (95\u00a0% Wilson interval"
        f" over test examples {metric.text(1 - test.high)} to {metric.text(1 - test.low)}{each}). The test set of"
        f" {record.dataset['name']} has been opened {times}."
    ]


def _tested_against_baseline(record: SweepRecord) -> list[str]:
    test, found = final_accuracy(record), final_difference(record)
    if test is None or found is None:
        return []
    metric = wording.accuracy(test.examples)
    ends = (
        f"({metric.text(found.baseline)}; 95\u00a0% interval of the difference, paired over test examples,"
        f" {metric.signed(found.low)} to {metric.signed(found.high)})."
    )
    if found.mean == 0:
        return [f"The baseline's final models have the same accuracy on average {ends}"]
    side = f"{metric.gain(found.mean)} {'higher' if found.mean > 0 else 'lower'}"
    return [f"That is an accuracy {side} than that of the baseline's final models {ends}"]


def _causes(record: SweepRecord) -> list[str]:
    most = list(failure_causes(record).items())[:3]
    return [f"Recorded causes: {'; '.join(f'{reason} ({number})' for reason, number in most)}."] if most else []
