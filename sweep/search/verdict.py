"""The verdict: which candidate is the champion, and whether it is better than the baseline.

The champion is the candidate with the best mean over the fresh seeds, and its interval allows for that choice.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from optuna.trial import FrozenTrial

from model.hyperparameters import Hyperparameters
from model.metrics import Metric
from studies.definition import Study
from studies.record.reader import SweepRecord
from sweep.search.confirmation import candidates


def candidate_results(study: Study, record: SweepRecord) -> list[dict[str, Any]]:
    """Each candidate whose confirm runs all completed: its value on every seed, their mean, its best epochs."""
    found = []
    for trial in candidates(study, record):
        runs = {
            run.seed_index: run
            for run in record.confirm
            if (run.role, run.candidate, run.state) == ("confirm", trial.number, "complete")
        }
        values = [runs[seed].value for seed in range(study.confirm.seeds) if seed in runs]
        if len(values) < study.confirm.seeds:
            continue
        epochs = [(runs[seed].selected_epoch or 0) + 1 for seed in range(study.confirm.seeds)]
        mean = math.fsum(value for value in values if value is not None) / len(values)
        losses = [runs[seed].validation_loss or 0.0 for seed in range(study.confirm.seeds)]
        found.append(
            {
                "trial": trial.number,
                "search_value": trial.value,
                "values": values,
                "best_epochs": epochs,
                "mean": mean,
                "mean_validation_loss": math.fsum(losses) / len(losses),
            }
        )
    return found


def choose_champion(study: Study, results: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The candidate with the best mean; ties go to the lower mean validation loss, then to the lower trial number."""
    return min(results, key=lambda one: (study.metric.cost(one["mean"]), one["mean_validation_loss"], one["trial"]))


def paired_comparison(
    champion: Sequence[float], baseline: Sequence[float], metric: Metric, among: int
) -> dict[str, Any]:
    """Mean of the paired differences with its 95 % interval by Student's t, made wider for the choice.

    The champion is the best of `among` candidates on these very seeds. Each of their intervals is one of
    1 - 0.05 / among (Bonferroni), so that all of them hold together in 95 % of studies: without any true difference a
    champion is called better in at most 2.5 %, where Student's own interval would say so in up to 2.5 % times `among`.

    Args:
        champion: its values on the fresh seeds.
        baseline: the baseline's values on the same seeds.
        metric: of the values; a positive difference says that the champion is better.
        among: number of candidates, the baseline excepted.
    """
    from scipy.special import stdtrit  # a second to import, once a sweep

    differences = [metric.cost(other - one) for one, other in zip(champion, baseline, strict=True)]
    mean = statistics.fmean(differences)
    quantile = float(stdtrit(len(differences) - 1, 1 - 0.025 / among))
    half = quantile * statistics.stdev(differences) / math.sqrt(len(differences))
    return {
        "difference": mean,
        "low": mean - half,
        "high": mean + half,
        "n": len(differences),
        "among": among,
        "better": mean - half > 0,
    }


def verdict_of(
    study: Study,
    record: SweepRecord,
    results: Sequence[Mapping[str, Any]],
    champion: Mapping[str, Any],
    finals: Sequence[FrozenTrial],
) -> dict[str, Any]:
    """The verdict as it is recorded, but for the test set's part."""
    baseline = next((one for one in results if one["trial"] == 0), None)
    comparison = None
    if baseline is not None and baseline is not champion:
        comparison = paired_comparison(champion["values"], baseline["values"], study.metric, len(results) - 1)
    return {
        "champion": champion["trial"],
        "hyperparameters": Hyperparameters(**record.trials[champion["trial"]].hyperparameters).as_dict(),
        "baseline": 0,
        "candidates": [dict(one) for one in results],
        "paired": comparison,
        "search_value": champion["search_value"],
        "confirm_mean": champion["mean"],
        "epochs": finals[0].user_attrs["stop_after"],
        "final_trials": [run.number for run in finals],
        "weights_sha256": finals[0].user_attrs["result"]["weights_sha256"],
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
