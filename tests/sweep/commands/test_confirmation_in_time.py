"""A confirmation whose time runs out: what is named then."""

import io
import time
from collections import Counter

import pytest
from rich.console import Console

from studies.record import reader as records
from sweep.commands.confirmation import Confirmation
from sweep.coordination.coordinator import Coordinator, Stop
from sweep.coordination.progress import Progress
from sweep.search.budget import Budget
from sweep.search.confirmation import OUT_OF_TIME


@pytest.fixture
def confirmed(tiny, opened, searched, digits_folder, shared_pools):
    """Searches and confirms a small study in ten minutes; returns its record and what was printed."""

    def run(*changes):
        study, stop, output = tiny("trials=3", *changes), Stop(), io.StringIO()
        database, pool = opened(study), shared_pools[2]
        searched(study, database)
        progress = Progress(Console(file=output, width=200), list(study.space), study.metric)
        budget = Budget(time.monotonic(), 600.0, pool, study.confirm)
        with progress:
            coordinator = Coordinator(pool, progress, stop)
            Confirmation(study, database, digits_folder, coordinator, progress, stop, budget).run()
        return records.read(database.folder), output.getvalue()

    return run


@pytest.mark.parametrize("top", [1, 2])
def test_final_models_are_compared_if_the_confirmation_takes_too_long(confirmed, monkeypatch, top):
    """Also if it ended during the screening: then the best trial of the search is the champion."""
    monkeypatch.setattr(Budget, "confirm_until", lambda self, trainings: 0.0)
    record, printed = confirmed(f"confirm.top={top}")
    outcomes = Counter((run.role, run.outcome) for run in record.confirm)

    assert "there was no time for a confirmation" in printed
    assert record.verdict["confirm_mean"] is None
    assert record.verdict["champion"] == record.contenders()[0].number
    assert len(record.verdict["test"]["accuracies"]) == 1
    assert outcomes.keys() <= {("screen", "timeout"), ("confirm", "timeout"), ("final", "complete")}
    assert all(run.reason == OUT_OF_TIME for run in record.confirm if run.outcome == "timeout")
    assert outcomes["final", "complete"] == (1 if record.verdict["champion"] == 0 else 2)


def test_with_enough_time_all_is_confirmed(confirmed):
    record, printed = confirmed()

    assert "no time" not in printed
    assert record.verdict["confirm_mean"] is not None
