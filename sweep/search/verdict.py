"""The verdict: whether the champion is better than the baseline and than the runner-up, on fresh splits and seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from optuna.trial import FrozenTrial

from model.hyperparameters import Hyperparameters
from model.metrics import Metric
from reports.analysis.statistics import corrected_half_width
from studies.definition import Study
from studies.record.reader import SweepRecord
from sweep.search.confirmation import epochs_to_ship, finalists, screening_values

PROTOCOL = 2
"""1, in older records: the champion was the best of all candidates on fresh seeds, all on the search's split."""


def candidate_results(study: Study, record: SweepRecord) -> list[dict[str, Any]]:
    """The finalists whose confirm runs all completed, the champion first: their value on every split, and the mean."""
    found: list[dict[str, Any]] = []
    if not study.confirm.repeats:
        return found
    screened = screening_values(record)
    for trial in finalists(study, record):
        runs = {
            run.seed_index: run
            for run in record.confirm
            if (run.role, run.candidate, run.state) == ("confirm", trial.number, "complete") and run.split
        }
        chosen = [runs[index] for index in range(study.confirm.repeats) if index in runs]
        values = [run.value for run in chosen if run.value is not None]
        if len(values) < study.confirm.repeats:
            continue
        screening = next((r.value for r in record.confirm if r.role == "screen" and r.candidate == trial.number), None)
        found.append(
            {
                "trial": trial.number,
                "search_value": trial.value,
                "screening_value": screening if trial.number in screened else None,
                "values": values,
                "epochs": epochs_to_ship(study, record, trial),
                "mean": math.fsum(values) / len(values),
                "mean_validation_loss": math.fsum(run.validation_loss or 0.0 for run in chosen) / len(chosen),
            }
        )
    return found


def paired_comparison(one: Sequence[float], other: Sequence[float], metric: Metric, overlap: float) -> dict[str, Any]:
    """Mean of the paired differences with its 95 % interval, see `corrected_half_width`.

    Args:
        one: the objective on each split.
        other: that of another trial on the same splits and seeds.
        metric: of the values; a positive difference says that `one` is better.
        overlap: number of validation examples divided by that of training examples.
    """
    differences = [metric.cost(theirs - ours) for ours, theirs in zip(one, other, strict=True)]
    n, mean = len(differences), statistics.fmean(differences)
    half = corrected_half_width(statistics.stdev(differences), n, overlap)
    return {"difference": mean, "low": mean - half, "high": mean + half, "n": n, "better": mean - half > 0}


def compare(record: SweepRecord, results: Sequence[Mapping[str, Any]], one: int, other: int) -> dict[str, Any] | None:
    """The paired comparison of two trials; None if one of them has no results, or they are the same."""
    values = {result["trial"]: result["values"] for result in results}
    if one == other or one not in values or other not in values:
        return None
    overlap = record.dataset["validation"] / record.dataset["train"]
    return {"trial": other, **paired_comparison(values[one], values[other], record.metric, overlap)}


def choose_champion(study: Study, record: SweepRecord, results: Sequence[Mapping[str, Any]]) -> int:
    """The best trial of the screening, unless the baseline is better on the further splits."""
    first = int(results[0]["trial"]) if results else finalists(study, record)[0].number
    against = compare(record, results, first, 0)
    return 0 if against is not None and against["high"] < 0 else first


def verdict_of(
    record: SweepRecord, results: Sequence[Mapping[str, Any]], champion: int, finals: Sequence[FrozenTrial]
) -> dict[str, Any]:
    """The verdict as it is recorded, but for the test set's part.

    Args:
        record: of the study.
        results: as returned by `candidate_results`; empty if there was no time for a confirmation.
        champion: number of the trial.
        finals: the champion's final models.
    """
    own = next((one for one in results if one["trial"] == champion), None)
    screened = screening_values(record)
    runner_up = next((one["trial"] for one in results if one["trial"] not in (champion, 0)), None)
    return {
        "protocol": PROTOCOL,
        "searched": len(record.trials),
        "champion": champion,
        "hyperparameters": Hyperparameters(**record.trials[champion].hyperparameters).as_dict(),
        "baseline": 0,
        "screened": sorted(screened, key=lambda number: screened[number]),
        "candidates": [dict(one) for one in results],
        "paired": compare(record, results, champion, 0),
        "runner_up": None if runner_up is None else compare(record, results, champion, runner_up),
        "search_value": record.trials[champion].value,
        "confirm_mean": own["mean"] if own else None,
        "epochs": finals[0].user_attrs["stop_after"],
        "final_trials": [run.number for run in finals],
        "weights_sha256": finals[0].user_attrs["result"]["weights_sha256"],
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
