"""The page that alone answers the study's question."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from reports import analysis, plots, wording
from reports.analysis import BASELINE, BROKEN
from reports.dimensions import EDGE, at_bounds
from reports.layout import BODY, MUTED, SMALL, TINY, Cell, Page
from reports.pages.progress import glance
from reports.pages.report import Report, capital, epoch, interval, name
from reports.records import SweepRecord, TrialRecord
from reports.wording import counted, listed, setting

FEWEST_FOR_ADVICE = 10  # completed trials before the report suggests another search
BELOW_THE_GLANCE = 1.75  # inches for the command and the small print of the first page


def verdict(report: Report) -> list[Page]:
    """The page that alone answers the study's question."""
    page = Page(headline(report))
    page.paragraph(f"Question: {report.record.study['question']}", BODY + 0.6, colour=MUTED, most=4)
    page.space(0.14)
    if report.standing.best:
        page.figures(_key_figures(report))
        page.space(0.08)
    page.paragraph(" ".join(_answer(report)), BODY, most=8)
    _settings(page, report)
    _endings(page, report)
    _next_steps(page, report)
    glance(page, report, page.room - BELOW_THE_GLANCE)
    page.heading("Repeat it")
    page.boxed(str(report.record.provenance.get("command", f"sweep run {report.record.name}")))
    page.space(0.1)
    for line in _provenance(report.record):
        page.paragraph(line, TINY, colour=MUTED, leading=1.36, most=3)
    return [page]


def headline(report: Report) -> str:
    """The answer in one sentence."""
    best, paired = analysis.winner(report.record), analysis.paired(report.record)
    if best is None:
        return _no_answer(report)
    if report.record.verdict:
        return _confirmed_headline(report, best, paired)
    prefix = "" if report.standing.over else "So far: "
    value = f"{name(best.number)} reaches {report.metric.text(best.value)} {report.metric.name}"
    if best.number == BASELINE:
        other = "no other trial has completed" if report.standing.complete == 1 else "no other trial did better"
        return capital(
            f"{prefix}the baseline leads with {report.metric.text(best.value)} {report.metric.name}; {other}"
        )
    if report.standing.baseline is None:
        return capital(f"{prefix}{value}; the baseline has not completed")
    compared = report.metric.compared(best.value or 0.0, report.standing.baseline.value or 0.0)
    return capital(f"{prefix}{value}, {compared} the baseline")


def _confirmed_headline(report: Report, best: TrialRecord, paired: analysis.Paired | None) -> str:
    if paired is None:
        return "The baseline stands: on fresh seeds no candidate did better"
    who, metric = name(best.number), report.metric
    if paired.finding == "better":
        difference = metric.gain(paired.difference)
        side = "more" if metric.maximize else "less"
        return f"{who} beats the baseline: {difference} {side} {metric.name} on fresh seeds"
    if paired.finding == "worse":
        return f"{who} won the search but is worse than the baseline on fresh seeds"
    return f"{who} leads, but on {paired.n} fresh seeds it is not distinguishable from the baseline"


def _no_answer(report: Report) -> str:
    trials = report.record.trials
    if not trials:
        return "No trial has run yet"
    if report.standing.finished == 0:
        return f"No answer yet: {counted(len(trials), 'trial')} under way, none finished"
    return f"No answer: none of {counted(report.standing.finished, 'finished trial')} completed ({report.endings()})"


def _key_figures(report: Report) -> list[tuple[str, str]]:
    return [_value_figure(report), _gain_figure(report), _test_figure(report)]


def _value_figure(report: Report) -> tuple[str, str]:
    record, metric = report.record, report.metric
    best = analysis.winner(record)
    assert best is not None
    if record.verdict:
        seeds = max((len(row.values) for row in analysis.confirmation(record) if row.trial == best.number), default=0)
        mean, searched = record.verdict["confirm_mean"], metric.text(record.verdict["search_value"])
        return (
            metric.text(mean),
            f"{metric.name} of {name(best.number).lower()}, mean of {counted(seeds, 'fresh seed')} (in the"
            f" search: {searched})",
        )
    return metric.text(
        best.value
    ), f"{metric.name} of {name(best.number).lower()} in the search, one seed, epoch {epoch(best)}"


def _gain_figure(report: Report) -> tuple[str, str]:
    metric, paired = report.metric, analysis.paired(report.record)
    if paired:
        return metric.oriented(paired.difference), f"against the baseline on the same seeds; {interval(metric, paired)}"
    if report.standing.gain is None:
        return "–", "against the baseline: it has not completed"
    if report.standing.best and report.standing.best.number == BASELINE:
        return "none", "over the baseline, which is itself the best trial"
    return metric.oriented(
        report.standing.gain
    ), "against the baseline in the search, one seed each; not confirmed on fresh seeds"


def _test_figure(report: Report) -> tuple[str, str]:
    test = analysis.tested(report.record)
    if test is None:
        return "not opened", f"test set: {report.why_closed()}"
    metric = wording.accuracy(test.examples)
    models = counted(len(test.accuracies), "final model")
    ends = f"{metric.text(test.low)} to {metric.text(test.high)}"
    return metric.text(test.mean), f"mean test accuracy of {models}; 95\u00a0% interval over examples {ends}"


def _answer(report: Report) -> list[str]:
    """The verdict in sentences."""
    record, standing, metric = report.record, report.standing, report.metric
    found = [
        f"{counted(standing.finished, 'trial')} of {standing.planned} finished"
        + (f", {standing.unfinished} not yet." if standing.unfinished else ".")
    ]
    best = analysis.winner(record)
    if best is None:
        return [*found, "Without a completed trial there is nothing to compare.", *_causes(record)]
    found += _comparison(report)
    found += _tested(record)
    n = int(record.dataset["validation"])
    se = math.sqrt(max((a := best.validation_accuracy or 0.0) * (1 - a), 0.0) / n)
    if metric.maximize and se > 0:
        found.append(
            f"One accuracy on {counted(n, 'validation example')} has a standard error of {wording.percent(se, 2)}."
        )
    return found


def _comparison(report: Report) -> list[str]:
    metric, paired = report.metric, analysis.paired(report.record)
    if report.record.verdict and paired is None:
        return ["The baseline has the best mean on fresh seeds; it is the champion."]
    if paired is None:
        return (
            [
                "The difference to the baseline comes from one seed each and from choosing the best of many: it"
                " is optimistic."
            ]
            if report.standing.gain
            else []
        )
    words = {
        "better": "is better than the baseline",
        "worse": "is worse than the baseline",
        "not distinguishable": "is not distinguishable from the baseline: the interval contains 0",
    }
    return [
        f"On {counted(paired.n, 'fresh seed')}, paired with the baseline, the champion {words[paired.finding]}"
        f" ({metric.oriented(paired.difference)}; {interval(metric, paired)})."
    ]


def _tested(record: SweepRecord) -> list[str]:
    test = analysis.tested(record)
    if test is None:
        return []
    metric = wording.accuracy(test.examples)
    several = [metric.text(1 - value) for value in test.accuracies]
    opening = test.opening
    times = (
        "once"
        if opening == 1
        else f"{opening} times, this one included; every opening makes its numbers a little less fresh"
    )
    epochs = counted(test.epochs, "epoch")
    return [
        f"The {counted(len(several), 'final model')}, trained on train and validation data for {epochs}, have a mean"
        f" test error of {metric.text(1 - test.mean)} (95\u00a0% Wilson interval over test examples"
        f" {metric.text(1 - test.high)} to {metric.text(1 - test.low)}; one by one {listed(several)}). The test set of"
        f" {record.dataset['name']} had been opened {times}."
    ]


def _causes(record: SweepRecord) -> list[str]:
    most = list(analysis.causes(record).items())[:3]
    return [f"Causes on record: {'; '.join(f'{reason} ({number})' for reason, number in most)}."] if most else []


def _settings(page: Page, report: Report) -> None:
    """The winner's settings beside the baseline's, searched ones first; what was fixed, in one line."""
    record, best = report.record, analysis.winner(report.record)
    baseline = {
        key: tuple(value) if isinstance(value, list) else value for key, value in record.study["baseline"].items()
    }
    shown = dict(best.hyperparameters) if best else baseline
    page.heading("Settings" if best else "Settings of the baseline, and what is searched")
    same = best is None or best.number == BASELINE
    head = ["hyperparameter", *([] if same else [name(best.number) if best else ""]), "baseline", "searched"]
    rows = [
        _setting_row(key, shown, baseline, dimension, same)
        for key, dimension in list(record.study["space"].items())[:14]
    ]
    page.table(head, rows)
    fixed = [f"{key} {setting(value)}" for key, value in baseline.items() if key not in record.study["space"]]
    page.space(0.05)
    page.paragraph(
        f"Not searched: {', '.join(fixed)}." if fixed else "Every hyperparameter was searched.",
        SMALL,
        colour=MUTED,
        most=3,
    )


def _setting_row(
    key: str, shown: Mapping[str, Any], baseline: Mapping[str, Any], dimension: Mapping[str, Any], same: bool
) -> list[Cell]:
    mine, base = setting(shown.get(key, "–")), setting(baseline.get(key, "–"))
    winner = [] if same else [Cell(mine, bold=mine != base)]
    return [Cell(key), *winner, Cell(base), Cell(wording.searched(dimension), colour=MUTED)]


def _endings(page: Page, report: Report) -> None:
    counts = report.record.counts()
    if not counts:
        return
    ordered = {name: counts[name] for name in (*wording.OUTCOMES, *counts) if name in counts}
    page.heading(f"{counted(len(report.record.trials), 'trial')}: {wording.outcomes(counts)}")
    page.space(0.03)
    plots.outcomes(
        page.strip(0.2), {k: float(v) for k, v in ordered.items()}, {k: f"{v} {k}" for k, v in ordered.items()}
    )


def _next_steps(page: Page, report: Report) -> None:
    steps = advice(report)
    if not steps or page.room < 2.2:
        return
    page.heading("What to look at next")
    for step in steps[:4]:
        page.paragraph(f"–  {step}", BODY, most=2)


def advice(report: Report) -> list[str]:
    """What the findings suggest doing next, the most telling first."""
    record, best, found = report.record, analysis.winner(report.record), []
    paired = analysis.paired(record)
    if paired and paired.finding == "not distinguishable":
        found.append("Confirm on more seeds: the interval of the difference contains 0.")
    enough = report.standing.complete >= FEWEST_FOR_ADVICE
    for axis, end in (at_bounds(record, best) if best and enough else {}).items():
        found.append(f"Widen {axis} beyond its {end} bound: the winner lies within {wording.percent(EDGE)} of it.")
    time = analysis.budget(record)
    if time.late > 0.5 and time.annealed <= 0.5 and enough:
        found.append(
            f"Train longer: {wording.percent(time.late)} of the completed trials were at their best in the"
            " last quarter of their epochs."
        )
    broken = sum(count for name, count in record.counts().items() if name in BROKEN)
    if broken > 0.1 * max(1, report.standing.finished):
        found.append(f"Look at the {counted(broken, 'trial')} that broke: {next(iter(analysis.causes(record)))}.")
    if record.provenance.get("git_dirty"):
        found.append("Commit the code and repeat: it had uncommitted changes when this study was made.")
    return found


def _provenance(record: SweepRecord) -> list[str]:
    data, study, origin = record.dataset, record.study, record.provenance
    sizes = ", ".join(f"{int(data[part]):,} {part}".replace(",", "\u202f") for part in ("train", "validation", "test"))
    end = analysis.last_finish(record)
    commit = str(origin.get("git_commit") or "none recorded")[:12]
    dirty = " with uncommitted changes" if origin.get("git_dirty") else ""
    until = f"; last finish {wording.moment(end)}" if end else ""
    audit = f"audit {wording.percent(float(study.get('audit') or 0))}"
    return [
        f"Data: {data['name']} ({sizes}), SHA-256 {str(data['digest'])[:32]}",
        f"Search: {study['objective']} ({study['direction']}) at the {study['epoch']} epoch, seed"
        f" {study['seed']}, sampler {study['sampler']}, pruner {study['pruner']}, {audit}",
        f"Code: commit {commit}{dirty}; {_flat(origin.get('versions', {}))}",
        f"Machine: {_flat(origin.get('machine', 'not recorded'))}; study made {wording.moment(record.created)}{until}",
    ]


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    return ", ".join(str(part) for part in value) if isinstance(value, (list, tuple)) else str(value)
