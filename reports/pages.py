"""One function a page: each takes the findings of one question to a sheet whose title is the answer.

The order of `pages` is the order of reading. Nothing is computed here beyond choosing words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from reports import analysis, plots, wording
from reports.analysis import BASELINE, BROKEN, Standing
from reports.dimensions import EDGE, Axis, at_bounds, axes, values
from reports.importance import FEWEST, SHUFFLES, Importance, importance
from reports.layout import BODY, INK, MUTED, SMALL, TINY, Cell, Key, Page, shorten
from reports.records import SweepRecord, TrialRecord
from reports.wording import Metric, counted, listed, setting

AXES_A_PAGE = 8
MOST_AXES = 24
TOP_ROWS = 20
MOST_FAILURES = 40
FEW_FAILURES = 15  # so many fit under the best trials
IMAGES = 18
FEWEST_FOR_ADVICE = 10  # completed trials before the report suggests another search
BELOW_THE_GLANCE = 1.75  # inches for the command and the small print of the first page
OVERFIT = 0.05  # a rise of the validation loss beyond its own scatter from epoch to epoch


@dataclass(frozen=True)
class Report:
    """What every page needs: the record, its objective in words, and the looks of the trials."""

    record: SweepRecord
    metric: Metric
    standing: Standing
    looks: Mapping[int, plots.Look]
    importance: Importance


def report(record: SweepRecord) -> Report:
    """Everything that more than one page needs."""
    looks = plots.looks(analysis.notable(record), BASELINE)
    return Report(record, wording.objective(record), analysis.standing(record), looks, importance(record))


def pages(record: SweepRecord) -> list[Page]:
    """All pages of a report, in reading order."""
    found = report(record)
    questions: Sequence[Callable[[Report], list[Page]]] = (
        verdict, progress, curves, hyperparameters, ranking, confirmation, mistakes, budget, table, failures
    )  # fmt: skip
    return [page for question in questions for page in question(found)]


# --- the verdict


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
    _at_a_glance(page, report)
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
    value = f"{_name(best.number)} reaches {report.metric.text(best.value)} {report.metric.name}"
    if best.number == BASELINE:
        other = "no other trial has completed" if report.standing.complete == 1 else "no other trial did better"
        return _capital(
            f"{prefix}the baseline leads with {report.metric.text(best.value)} {report.metric.name}; {other}"
        )
    if report.standing.baseline is None:
        return _capital(f"{prefix}{value}; the baseline has not completed")
    compared = report.metric.compared(best.value or 0.0, report.standing.baseline.value or 0.0)
    return _capital(f"{prefix}{value}, {compared} the baseline")


def _confirmed_headline(report: Report, best: TrialRecord, paired: analysis.Paired | None) -> str:
    if paired is None:
        return "The baseline stands: on fresh seeds no candidate did better"
    name, metric = _name(best.number), report.metric
    if paired.finding == "better":
        difference = metric.gain(paired.difference)
        side = "more" if metric.maximize else "less"
        return f"{name} beats the baseline: {difference} {side} {metric.name} on fresh seeds".replace(
            "\u00a0points more", "\u00a0points more"
        )
    if paired.finding == "worse":
        return f"{name} won the search but is worse than the baseline on fresh seeds"
    return f"{name} leads, but on {paired.n} fresh seeds it is not distinguishable from the baseline"


def _no_answer(report: Report) -> str:
    trials = report.record.trials
    if not trials:
        return "No trial has run yet"
    if report.standing.finished == 0:
        return f"No answer yet: {counted(len(trials), 'trial')} under way, none finished"
    return (
        f"No answer: none of {counted(report.standing.finished, 'finished trial')} completed ({_common_ending(report)})"
    )


def _common_ending(report: Report) -> str:
    return wording.outcomes({k: v for k, v in report.record.counts().items() if k not in analysis.UNFINISHED})


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
            f"{metric.name} of {_name(best.number).lower()}, mean of {counted(seeds, 'fresh seed')} (in the"
            f" search: {searched})",
        )
    return metric.text(
        best.value
    ), f"{metric.name} of {_name(best.number).lower()} in the search, one seed, epoch {_epoch(best)}"


def _gain_figure(report: Report) -> tuple[str, str]:
    metric, paired = report.metric, analysis.paired(report.record)
    if paired:
        return metric.signed(
            _raw(metric, paired.difference)
        ), f"against the baseline on the same seeds; {_interval(metric, paired)}"
    if report.standing.gain is None:
        return "–", "against the baseline: it has not completed"
    if report.standing.best and report.standing.best.number == BASELINE:
        return "none", "over the baseline, which is itself the best trial"
    return metric.signed(
        _raw(metric, report.standing.gain)
    ), "against the baseline in the search, one seed each; not confirmed on fresh seeds"


def _interval(metric: Metric, paired: analysis.Paired) -> str:
    if not math.isfinite(paired.low):
        return f"{counted(paired.n, 'pair')}, which gives no interval: not distinguishable"
    ends = sorted(_raw(metric, end) for end in (paired.low, paired.high))
    return f"95\u00a0% interval {metric.signed(ends[0])} to {metric.signed(ends[1])}: {paired.finding}"


def _test_figure(report: Report) -> tuple[str, str]:
    test = analysis.tested(report.record)
    if test is None:
        return "not opened", f"test set: {_why_closed(report)}"
    metric = wording.accuracy(test.examples)
    models = counted(len(test.accuracies), "final model")
    ends = f"{metric.text(test.low)} to {metric.text(test.high)}"
    return metric.text(test.mean), f"mean test accuracy of {models}; 95\u00a0% interval over examples {ends}"


def _why_closed(report: Report) -> str:
    if not report.standing.over:
        return "it is opened once, after the search has ended and its winner is confirmed"
    if not report.record.study.get("confirm"):
        return "this study asks for no confirmation, and only a confirmed winner is tested"
    if report.record.confirm:
        return "the confirmation on fresh seeds has not ended"
    return "it is opened once, after the winner is confirmed on fresh seeds"


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
        f" ({metric.signed(_raw(metric, paired.difference))}; {_interval(metric, paired)})."
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
    head = ["hyperparameter", *([] if same else [_name(best.number) if best else ""]), "baseline", "searched"]
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
    for name, end in (at_bounds(record, best) if best and enough else {}).items():
        found.append(f"Widen {name} beyond its {end} bound: the winner lies within {wording.percent(EDGE)} of it.")
    time = analysis.budget(record)
    if time.late > 0.5 and enough:
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


def _at_a_glance(page: Page, report: Report) -> None:
    """The search in one small plot, where the page has room for it."""
    shown = analysis.progress(report.record)
    height = min(page.room - BELOW_THE_GLANCE, 2.5)
    if height < 1.5 or not np.isfinite(shown.value).any():
        return
    page.heading("The search: best so far, trial by trial")
    page.space(-0.16)
    _progress_panel(
        page.grid(1, 1, height, left=0.5)[0],
        report,
        shown,
        np.arange(1.0, len(shown.number) + 1),
        "trials in the order in which they finished",
    )


def _progress_panel(
    ax: Axes, report: Report, shown: analysis.Progress, x: analysis.Floats, label: str, title: str = ""
) -> None:
    ends, maximize = _ends(report, shown.value), report.metric.maximize
    plots.frame(ax, title=title, x=label, y=report.metric.axis)
    plots.objective_window(ax, ends, maximize=maximize)
    ax.set_xlim(0, float(x[-1]) * 1.02 or 1.0)
    plots.whole_numbers(ax, up_to=float(x[-1]))
    plots.best_so_far(ax, x, shown, report.metric.scale, ends, report.looks)
    plots.unvalued(ax, x, shown.outcome, maximize=maximize)
    if report.standing.baseline:
        value = (report.standing.baseline.value or 0.0) * report.metric.scale
        plots.level(ax, value, f"baseline {report.metric.text(report.standing.baseline.value)}", above=not maximize)


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


# --- the course of the search


def progress(report: Report) -> list[Page]:
    """Best so far against trials and against training time."""
    shown = analysis.progress(report.record)
    if not np.isfinite(shown.value).any():
        return []
    page = Page(_progress_finding(report, shown), _progress_note(shown))
    page.keys(_keys(report, [n for n in report.looks if n in shown.number], ("complete", "best", "pruned", "broken")))
    places = (
        ("Best so far, by trial", "trials in the order in which they finished", np.arange(1.0, len(shown.number) + 1)),
        ("Best so far, by training time", *_time_axis(shown.seconds)),
    )
    for ax, (title, label, x) in zip(page.grid(2, 1, min(8.0, page.room)), places, strict=True):
        _progress_panel(ax, report, shown, x, label, title)
    return [page]


def _progress_finding(report: Report, shown: analysis.Progress) -> str:
    best = report.standing.best
    assert best is not None
    # Of several with the best value, the first to reach it: what came after it brought no gain.
    place = int(np.flatnonzero(shown.value == best.value)[0]) + 1
    after = len(shown.number) - place
    name = _name(int(shown.number[place - 1]))
    if len(shown.number) == 1:
        return f"{name} is the only finished trial so far"
    if after <= 0.1 * len(shown.number):
        return (
            f"The search was still improving: its best, {name.lower()}, was the {wording.ordinal(place)} of"
            f" {len(shown.number)} to finish"
        )
    return (
        f"{name}, the {wording.ordinal(place)} of {len(shown.number)} to finish, is the best;"
        f" {counted(after, 'later trial')} brought no gain"
    )


def _progress_note(shown: analysis.Progress) -> str:
    n = int(np.isfinite(shown.value).sum())
    left = " Those without are marked in the shaded strip." if n < len(shown.number) else ""
    return (
        f"n = {counted(len(shown.number), 'finished trial')}, {n} with a final value.{left}"
        " Trials far worse than the rest are drawn at its end, so that they do not flatten the axis."
        f" Training time in all: {wording.duration(float(shown.seconds[-1]))}, summed over the workers."
    )


def _time_axis(seconds: analysis.Floats) -> tuple[str, analysis.Floats]:
    for size, unit in ((3_600.0, "hours"), (60.0, "minutes")):
        if seconds[-1] >= 2 * size:
            return f"training time of all trials together ({unit})", seconds / size
    return "training time of all trials together (seconds)", seconds


def curves(report: Report) -> list[Page]:
    """Learning curves of the best trials against the rest."""
    record = report.record
    if not any(len(trial.epochs) for trial in record.trials):
        return []
    by_number = {trial.number: trial for trial in record.trials}
    named = [n for n in report.looks if n in by_number and len(by_number[n].epochs)]
    others = analysis.band(record, "validation_loss", named)
    page = Page(_curves_finding(report), _curves_note(others))
    page.keys(_keys(report, named, ("band",) if others.trials else ()))
    grid = page.grid(2, 2, min(6.5, page.room), left=0.5)
    for row, kind in enumerate(("loss", "accuracy")):
        scale = 1.0 if kind == "loss" else 100.0
        for ax, split in zip(grid[2 * row :], ("train", "validation"), strict=False):
            column = f"{split}_{kind}"
            plots.frame(
                ax, title=f"{split} {kind}".capitalize(), x="epoch", y=f"{kind}" if kind == "loss" else "accuracy (%)"
            )
            plots.rest(ax, analysis.band(record, column, named), scale)
            for number in reversed(named):
                trial = by_number[number]
                plots.curve(
                    ax,
                    trial.epochs[column] * scale,
                    trial.counted_epoch,
                    report.looks[number],
                )
        shared = [by_number[n].epochs[f"{split}_{kind}"] * scale for n in named for split in ("train", "validation")]
        plots.same_window(grid[2 * row : 2 * row + 2], shared, log=kind == "loss")
    _curves_table(page, report, [by_number[n] for n in named if by_number[n].counted_epoch is not None])
    return [page]


def _curves_table(page: Page, report: Report, trials: Sequence[TrialRecord]) -> None:
    """The named trials at the epoch that counts."""
    if not trials:
        return
    losses, accuracies = wording.loss(), wording.accuracy(int(report.record.dataset["validation"]))
    page.heading("At the epoch that counts")
    rows: list[list[str]] = []
    for trial in trials:
        row, seen = trial.epochs[trial.counted_epoch or 0], analysis.course(trial)
        gap = accuracies.signed(seen.gap) if seen else "–"
        losses_shown = [losses.text(float(row[f"{split}_loss"])) for split in ("train", "validation")]
        accuracies_shown = [accuracies.text(float(row[f"{split}_accuracy"])) for split in ("train", "validation")]
        rows.append(
            [_name(trial.number), f"{_epoch(trial)} of {len(trial.epochs)}", *losses_shown, *accuracies_shown, gap]
        )
    head = [
        "trial",
        "epoch",
        "train_loss",
        "validation_loss",
        "train_accuracy",
        "validation_accuracy",
        "train minus_validation",
    ]
    page.table(head, rows[:6], right=range(1, 7))


def _curves_finding(report: Report) -> str:
    best = analysis.winner(report.record)
    seen = analysis.course(best) if best else None
    if best is None or seen is None:
        return "Learning curves of trials that have not completed"
    name = _name(best.number)
    if seen.improving:
        return f"{name} was still improving in its last epoch, {seen.epochs}: more epochs may help"
    if seen.overfit > OVERFIT:
        rise = wording.percent(seen.overfit)
        return (
            f"{name} is best at epoch {seen.counted} of {seen.epochs} and then overfits: its validation loss"
            f" rises by {rise}"
        )
    return f"{name} has converged: it is best at epoch {seen.counted} of {seen.epochs} and stays level"


def _curves_note(others: analysis.Band) -> str:
    drawn = (
        "as thin lines"
        if others.lines
        else "as a band from the 10 % to the 90 % quantile of those still running at that epoch"
    )
    rest = (
        f" The other {counted(others.trials, 'trial')} with at least one epoch are drawn {drawn}."
        if others.trials
        else ""
    )
    return (
        f"A mark stands on the epoch that counts; epochs are numbered from 1.{rest} Training numbers are"
        " means over the epoch, each batch before its update and with the regularisation on; validation"
        " is measured after the epoch."
    )


# --- the hyperparameters


def hyperparameters(report: Report) -> list[Page]:
    """Every searched hyperparameter against the objective."""
    if not report.record.trials:
        return []
    shown = axes(report.record.study["space"])
    chosen, left = shown[:MOST_AXES], len(shown) - MOST_AXES
    sheets = [chosen[start : start + AXES_A_PAGE] for start in range(0, len(chosen), AXES_A_PAGE)]
    found = []
    for number, sheet in enumerate(sheets):
        page = Page(_axes_finding(report, continued=number > 0), _axes_note(report, left))
        _axes_page(page, report, sheet)
        found.append(page)
    return found


def _axes_page(page: Page, report: Report, sheet: Sequence[Axis]) -> None:
    trials = report.record.trials
    top = [t.number for t in report.record.ranked()[:3]]
    known = {trial.number for trial in trials}
    starred = [n for n in report.looks if n in known and (n in top or n == BASELINE)]
    page.keys(_keys(report, starred, ("complete", "pruned value", "broken")))
    rows = math.ceil(len(sheet) / 2)
    objective = np.array([t.value if t.value is not None else math.nan for t in trials], dtype=np.float64)
    outcome = [t.outcome for t in trials]
    complete = np.where([t.state == "complete" for t in trials], objective, math.nan)
    ends = _ends(report, complete)
    grid = page.grid(rows, 2, min(rows * 2.35, page.room), left=0.5)
    for ax, axis in zip(grid, sheet, strict=False):
        plots.frame(ax, title=_axis_title(report, axis), x=axis.label, y=report.metric.axis)
        plots.axis_scale(ax, axis)
        x = plots.spread(axis, values(axis, trials), [t.number for t in trials])
        plots.objective_window(ax, ends, maximize=report.metric.maximize)
        plots.scatter(ax, x, objective * report.metric.scale, outcome, ends, maximize=report.metric.maximize)
        for number in reversed(starred):  # the winner last, on top
            _star(ax, report, number, x, complete, ends)
    for ax in grid[len(sheet) :]:
        ax.remove()


def _star(
    ax: Axes, report: Report, number: int, x: analysis.Floats, value: analysis.Floats, ends: tuple[float, float]
) -> None:
    """Mark one trial, where it has both a place on the axis and a final value."""
    at = next(index for index, trial in enumerate(report.record.trials) if trial.number == number)
    if math.isfinite(x[at]) and math.isfinite(value[at]):
        height = float(np.clip(value[at] * report.metric.scale, *ends))
        plots.star(ax, float(x[at]), height, report.looks[number])


def _axis_title(report: Report, axis: Axis) -> str:
    best = analysis.winner(report.record)
    bound = axis.bound(float(values(axis, [best])[0])) if best else None
    text = f"{axis.name}: winner at {bound} bound" if bound else axis.name
    return shorten(text, 2.75, SMALL + 0.6, bold=True)


def _axes_finding(report: Report, *, continued: bool) -> str:
    best = analysis.winner(report.record)
    if best is None:
        return "Where the trials lay in the search space; none completed"
    bounds = at_bounds(report.record, best)
    lead = report.importance.clear()[:1]
    last = f"; {lead[0]} matters most" if lead else ""
    if not bounds:
        text = f"The winner lies inside every searched range{last}"
    else:
        ends = listed(f"the {end} bound of {name}" for name, end in list(bounds.items())[:2])
        more = f" and {len(bounds) - 2} more" if len(bounds) > 2 else ""
        text = f"The winner lies within {wording.percent(EDGE)} of {ends}{more}{last}"
    return text + (" (continued)" if continued else "")


def _axes_note(report: Report, left: int) -> str:
    more = f" {counted(left, 'further axis').replace('axiss', 'axes')} not drawn." if left > 0 else ""
    unfinished = f"; {report.standing.unfinished} unfinished left out" if report.standing.unfinished else ""
    return (
        "n ="
        f" {_common_ending(report) or 'no finished trial'}{unfinished}."
        " Dotted lines are the ends of the searched range. A pruned trial stands at its best value before"
        " it was stopped,"
        " or in the shaded strip where that is beyond the axis. A trial without such a layer is not in"
        f" that panel.{more}{_no_ranking(report.importance)}"
    )


def ranking(report: Report) -> list[Page]:
    """Which hyperparameters separate the best trials from the rest."""
    found = report.importance
    if not found.names:
        return []  # the page of the axes says why
    page = Page(_ranking_finding(found), _ranking_note(found))
    page.keys(
        [
            Key("above chance", plots.PALETTE[0], "s"),
            Key("not above chance", plots.GREY, "s", hollow=True),
            Key("reached by chance in 1 of 20 sweeps", plots.FAILURE, "|"),
        ]
    )
    ax = page.grid(1, 1, min(0.9 + 0.34 * len(found.names), page.room - 1.5), left=1.6)[0]
    plots.frame(ax, x="PED-ANOVA: divergence of the best trials from all judged trials along this axis")
    plots.importance(ax, found)
    page.space(0.1)
    page.paragraph(
        "How to read it. A long bar says that the best trials gather in one part of that axis while all"
        " trials together do"
        " not. It does not say how much of the objective's variance the axis explains, nor that the axis"
        " acts alone; and"
        " because the sampler itself moves towards good regions, a region it soon left counts little. Pruned and"
        " diverged trials have no final value; they count as judged, and as not among the best.",
        SMALL + 0.6, colour=MUTED,
    )  # fmt: skip
    return [page]


def _no_ranking(found: Importance) -> str:
    """Why there is no page on importance, where there is none."""
    if found.names:
        return ""
    return (
        f" Importance is not ranked: of {counted(found.judged, 'judged trial')} too few completed;"
        f" {FEWEST} judged and {found.top} completed ones are needed."
    )


def _ranking_finding(found: Importance) -> str:
    clear = found.clear()
    if not clear:
        return f"No hyperparameter stands out from chance among {found.judged} judged trials"
    rest = len(found.names) - len(clear)
    others = f"; {counted(rest, 'other')} not above chance" if rest else ""
    more = f", then {listed(clear[1:3])}" if len(clear) > 1 else ""
    return f"The best trials stand apart most in {clear[0]}{more}{others}"


def _ranking_note(found: Importance) -> str:
    return (
        f"n = {found.judged} completed, pruned and diverged trials; the best {found.top} of them against all."
        f" Chance level: the highest of {SHUFFLES} shuffles of the objective among the trials."
    )


# --- the winner


def confirmation(report: Report) -> list[Page]:
    """The best trials and the baseline on fresh seeds."""
    rows = analysis.confirmation(report.record)
    if not rows:
        return []
    paired, metric = analysis.paired(report.record), report.metric
    seeds = max(len(row.values) for row in rows)
    page = Page(
        _confirmation_finding(report, rows, paired),
        f"n = {counted(len(rows), 'trial')} on up to {counted(seeds, 'fresh seed')}, the same seeds for"
        " each. Dot: one seed. Bar: mean. Hollow diamond: the value that the search had measured.",
    )
    names = [_name(row.trial) for row in rows]
    ax = page.grid(1, 1, min(1.1 + 0.55 * len(rows), 4.6), left=0.8)[0]
    plots.frame(ax, x=metric.axis)
    plots.confirmation(ax, rows, metric.scale, report.looks, names)
    if paired:
        _paired(page, report, paired)
    page.heading("In numbers")
    _confirmation_table(page, report, rows)
    page.space(0.12)
    page.paragraph(_optimism(report, rows), BODY)
    return [page]


def _confirmation_finding(report: Report, rows: Sequence[analysis.Confirmed], paired: analysis.Paired | None) -> str:
    metric = report.metric
    if not report.record.verdict:
        return (
            f"Confirmation is under way: {_name(rows[0].trial).lower()} leads with a mean of"
            f" {metric.text(rows[0].mean)}"
        )
    if paired is None:
        return "On fresh seeds the baseline has the best mean"
    name = _name(report.record.verdict["champion"])
    ends = {
        "better": "stays ahead of the baseline",
        "worse": "falls behind the baseline",
        "not distinguishable": "is not distinguishable from the baseline",
    }
    return (
        f"{name} {ends[paired.finding]} on fresh seeds: {metric.signed(_raw(metric, paired.difference))} {metric.name}"
    )


def _paired(page: Page, report: Report, paired: analysis.Paired) -> None:
    metric = report.metric
    assert report.record.verdict is not None
    look = report.looks[report.record.verdict["champion"]]
    page.heading("Paired difference to the baseline, seed by seed")
    page.space(-0.16)
    ax = page.grid(1, 1, 1.25, left=0.8)[0]
    sign = metric.scale if metric.maximize else -metric.scale
    plots.frame(
        ax, x=f"{metric.name}: champion minus baseline{' (points)' if metric.scale != 1 else ''}, with 95 % interval"
    )
    plots.interval(ax, paired.difference * sign, paired.low * sign, paired.high * sign, look)
    page.space(0.04)
    page.paragraph(_interval(metric, paired).capitalize() + f" ({counted(paired.n, 'pair')}).", BODY)


def _confirmation_table(page: Page, report: Report, rows: Sequence[analysis.Confirmed]) -> None:
    metric = report.metric
    body: list[list[Cell | str]] = [
        [
            _name(row.trial),
            metric.text(row.search_value),
            Cell(metric.text(row.mean), bold=True),
            ", ".join(metric.text(v) for v in row.values),
            metric.signed(row.search_value - row.mean),
        ]
        for row in rows
    ]
    page.table(["trial", "search", "mean", "each seed", "search minus mean"], body, right=(1, 2, 4))


def _optimism(report: Report, rows: Sequence[analysis.Confirmed]) -> str:
    tops = [row for row in rows if row.trial != BASELINE and math.isfinite(row.search_value)]
    if not tops:
        return ""
    lost = float(np.mean([row.search_value - row.mean for row in tops]))
    better = lost > 0 if report.metric.maximize else lost < 0
    word = "optimistic" if better else "pessimistic"
    return (
        f"The search's own values of these {len(tops)} trials were {word} by {report.metric.gain(lost)} on"
        " average: the best of many is chosen partly for its luck. The comparison on fresh seeds is free"
        " of that choice."
    )


def mistakes(report: Report) -> list[Page]:
    """Who was taken for whom, and the most confident mistakes."""
    found = analysis.confusion(report.record)
    if found is None:
        return []
    page = Page(_confusion_finding(found), _confusion_note(report, found))
    side = 4.3
    ax = page.grid(1, 1, side + 0.55, left=1.25)[0]
    ax.set_anchor("W")
    plots.frame(ax, x="taken for", y="true class")
    plots.confusion(ax, found)
    page.space(0.02)
    page.paragraph(_recalls(found), SMALL + 0.6, most=4)
    shown = analysis.mistakes(report.record)[:IMAGES]
    if shown and page.room > 1.6:
        _images(page, shown, found)
    return [page]


def _confusion_finding(found: analysis.Confusion) -> str:
    who = "The first final model" if found.split == "test" else _name(found.trial)
    pairs = found.worst_pairs(1)
    most = f", most often {pairs[0][0]} as {pairs[0][1]} ({pairs[0][2]}\u00d7)" if pairs else ""
    return f"{who} misreads {found.errors} of {counted(found.examples, f'{found.split} example')}{most}"


def _confusion_note(report: Report, found: analysis.Confusion) -> str:
    closed = "" if found.split == "test" else f" The test set has not been opened: {_why_closed(report)}."
    return (
        f"n = {counted(found.examples, f'{found.split} example')}, all of them. Rows are true classes;"
        f" only mistakes are coloured.{closed}"
    )


def _recalls(found: analysis.Confusion) -> str:
    recall = found.recall()
    order = [int(index) for index in np.argsort(recall) if math.isfinite(recall[index])][:3]
    worst = listed(f"{found.names[index]} ({wording.percent(float(recall[index]), 1)})" for index in order)
    pairs = [f"{true} as {taken} ({number}\u00d7)" for true, taken, number in found.worst_pairs(4)]
    return f"Least often recognised: {worst}. Most frequent mistakes: {listed(pairs)}."


def _images(page: Page, shown: Sequence[analysis.Mistake], found: analysis.Confusion) -> None:
    page.heading(f"The {len(shown)} most confident mistakes on the test set")
    columns = 6
    rows = min(math.ceil(len(shown) / columns), int(page.room / 1.05))
    for ax, mistake in zip(page.tiles(min(len(shown), rows * columns), columns, 1.05), shown, strict=False):
        plots.image(ax, mistake, found.names)


# --- cost, and every trial


def budget(report: Report) -> list[Page]:
    """Whether the epochs, the pruning and the time were well spent."""
    if report.standing.finished == 0:
        return []
    found = analysis.budget(report.record)
    page = Page(
        _budget_finding(report, found),
        f"n = {counted(report.standing.complete, 'completed trial')} and"
        f" {counted(len(report.record.trials) - report.standing.complete, 'other')}; time is training"
        " time, summed over the workers.",
    )
    page.heading("Training time by outcome")
    total = sum(found.seconds.values())
    ordered = {k: found.seconds[k] for k in wording.OUTCOMES if found.seconds.get(k)}
    words = {k: f"{k} {wording.duration(v)}" for k, v in ordered.items()}
    plots.outcomes(page.strip(0.24), ordered, words)
    page.space(0.06)
    page.paragraph(
        f"{wording.duration(total)} in all: {listed(words.values())}." if ordered else "No time was recorded.", BODY
    )
    if found.counted.size:
        page.heading("When completed trials were at their best")
        page.space(-0.16)
        ax = page.grid(1, 1, 2.6)[0]
        plots.frame(ax, x="best epoch, as a share of the trial's epochs (%)", y="completed trials")
        plots.shares(ax, found.counted)
        page.paragraph(_epochs_text(found), BODY)
    page.heading("Was pruning right?")
    page.paragraph(_pruning_text(report, found), BODY)
    if causes := list(analysis.causes(report.record).items())[:8]:
        page.heading("Why trials broke")
        page.table(["cause", "trials"], [[reason, str(number)] for reason, number in causes], right=(1,))
    return [page]


def _budget_finding(report: Report, found: analysis.Budget) -> str:
    total = sum(found.seconds.values()) or 1.0
    spent = wording.percent(found.seconds.get("complete", 0.0) / total)
    first = f"Completed trials took {spent} of {wording.duration(total)} training time"
    if found.late > 0.5:
        return f"{first}; most were best near their last epoch, so more epochs may help"
    if found.early > 0.5:
        return f"{first}; most were best in the first tenth of their epochs, so fewer epochs would do"
    return first


def _epochs_text(found: analysis.Budget) -> str:
    return (
        f"Shaded: the first tenth ({wording.percent(found.early)} of the completed trials; many there mean"
        f" that the epochs were too many) and the last quarter ({wording.percent(found.late)}; many there"
        " mean that they were too few)."
    )


def _pruning_text(report: Report, found: analysis.Budget) -> str:
    pruned = report.record.counts().get("pruned", 0)
    if not pruned and not found.audited:
        return "No trial was pruned."
    saved = (
        f"{counted(pruned, 'trial')} pruned, which spared {counted(found.spared, 'epoch')} against the"
        " longest completed trial."
    )
    if not found.audited:
        return f"{saved} No trial was kept for audit, so whether a pruned one would have won is not known."
    verdict = (
        f"{counted(found.audited, 'trial')} were judged but never stopped: {found.would_prune} would have"
        f" been pruned, {found.misjudged} of these ended in the best quarter."
    )
    return f"{saved} {verdict}"


def table(report: Report) -> list[Page]:
    """The best trials with all their settings."""
    ranked = report.record.ranked()
    if not ranked:
        return []
    shown = ranked[:TOP_ROWS]
    left = len(ranked) - len(shown)
    more = f" {left} more are in trials.csv." if left else ""
    spread = report.metric.gain((shown[-1].value or 0.0) - (shown[0].value or 0.0))
    page = Page(
        f"The best {len(shown)} trials lie within {spread}" if len(shown) > 1 else "One trial has completed",
        f"n = {len(ranked)} completed trials, by {report.metric.name}; ties go to the lower validation"
        f" loss, then to the lower number.{more} The baseline is trial 0.",
    )
    baseline = report.standing.baseline
    below = [] if baseline is None or baseline in shown else [(ranked.index(baseline) + 1, baseline)]
    keys = list(report.record.study["space"])[:9]
    head = [
        "",
        "trial",
        report.metric.name.replace("validation ", "validation_"),
        *_other(report)[0],
        "epoch",
        "time",
        *keys,
    ]
    page.table(
        head,
        [_row(report, rank, trial, keys) for rank, trial in [*enumerate(shown, 1), *below]],
        right=(0, 1, 2, 3, 4, 5),
        size=TINY,
    )
    if (broken := _broken(report)) and len(broken) <= FEW_FAILURES:
        page.space(0.2)
        page.heading(_failures_finding(report))
        _failures_table(page, report, broken)
    return [page]


def _other(report: Report) -> tuple[list[str], Callable[[TrialRecord], str]]:
    """The metric that does not rank the trials, for the table."""
    if report.metric.maximize:
        return ["validation_loss"], lambda trial: wording.loss().text(trial.validation_loss)
    metric = wording.accuracy(int(report.record.dataset["validation"]))
    return ["validation_accuracy"], lambda trial: metric.text(trial.validation_accuracy)


def _row(report: Report, rank: int, trial: TrialRecord, keys: Sequence[str]) -> list[Cell]:
    look = report.looks.get(trial.number)
    named = Cell(str(trial.number), bold=look is not None, colour=look.colour if look else INK)
    value = Cell(report.metric.text(trial.value), bold=True)
    epoch = f"{_epoch(trial)} of {len(trial.epochs)}"
    settings = [Cell(setting(trial.hyperparameters.get(key, "–"))) for key in keys]
    return [
        Cell(str(rank), colour=MUTED),
        named,
        value,
        Cell(_other(report)[1](trial)),
        Cell(epoch),
        Cell(wording.duration(trial.seconds)),
        *settings,
    ]


def failures(report: Report) -> list[Page]:
    """Every trial that broke, with its reason."""
    broken = _broken(report)
    if not broken or (len(broken) <= FEW_FAILURES and report.standing.complete):
        return []  # the page of the best trials has room for a few
    cause, number = next(iter(analysis.causes(report.record).items()))
    note = f"n = {len(broken)}, in order of number; most frequent cause: {cause} ({number})."
    page = Page(_failures_finding(report), note)
    _failures_table(page, report, broken)
    return [page]


def _broken(report: Report) -> list[TrialRecord]:
    return [trial for trial in report.record.trials if trial.outcome in BROKEN]


def _failures_finding(report: Report) -> str:
    counts = {name: count for name, count in report.record.counts().items() if name in BROKEN}
    return f"{counted(sum(counts.values()), 'trial')} broke: {wording.outcomes(counts)}"


def _failures_table(page: Page, report: Report, broken: Sequence[TrialRecord]) -> None:
    keys = list(report.record.study["space"])[:6]
    rows = [_failure(trial, keys) for trial in broken[:MOST_FAILURES]]
    page.table(["trial", "outcome", "epochs", *keys, "reason"], rows, right=(0, 2), size=TINY)
    if len(broken) > MOST_FAILURES:
        page.space(0.08)
        page.paragraph(f"{len(broken) - MOST_FAILURES} more are in trials.csv.", SMALL, colour=MUTED)


def _failure(trial: TrialRecord, keys: Sequence[str]) -> list[str]:
    settings = [setting(trial.hyperparameters.get(key, "–")) for key in keys]
    return [str(trial.number), trial.outcome, str(len(trial.epochs)), *settings, trial.reason or "–"]


# --- words that several pages share


def _name(number: int) -> str:
    return "The baseline" if number == BASELINE else f"Trial {number}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _raw(metric: Metric, oriented: float) -> float:
    """An oriented difference as the difference of the metric itself."""
    return oriented if metric.maximize else -oriented


def _epoch(trial: TrialRecord) -> str:
    return "–" if trial.counted_epoch is None else str(trial.counted_epoch + 1)


def _ends(report: Report, objective: analysis.Floats) -> tuple[float, float]:
    baseline = report.standing.baseline
    keep = [baseline.value] if baseline and baseline.value is not None else []
    low, high = analysis.window(objective, keep, maximize=report.metric.maximize)
    return low * report.metric.scale, high * report.metric.scale


def _keys(report: Report, trials: Sequence[int], states: Sequence[str]) -> list[Key]:
    every = {
        "complete": Key("completed trial", plots.GREY, "o"),
        "best": Key("best so far", INK, line="-"),
        "pruned": Key("pruned", plots.PRUNED, "v", hollow=True),
        "pruned value": Key("pruned, at its best so far", plots.PRUNED, "v", hollow=True),
        "broken": Key("diverged or failed", plots.FAILURE, "x"),
        "band": Key("other trials", plots.GREY, "s"),
    }
    lines = "band" in states or "complete" not in states
    found = []
    for number in trials:
        look = report.looks[number]
        found.append(
            Key(_name(number).removeprefix("The ").capitalize(), look.colour, look.marker, look.line if lines else None)
        )
    return [*found, *(every[state] for state in states)]
