"""What MLflow is told of a study, where no MLflow is needed to see it."""

from datetime import UTC, datetime
from pathlib import Path

from studies.record.reader import SweepRecord
from sweep.tracking.study_run import study_run


def test_the_run_of_a_study_has_its_checks_as_a_tag():
    """One tag, readable in MLflow's list; of a study without trials the evidence is thin."""
    record = SweepRecord(
        folder=Path("nowhere"),
        uid="5eed",
        created=datetime(2026, 3, 1, tzinfo=UTC),
        study={"name": "tiny", "direction": "minimize", "objective": "validation_loss", "sampler": "tpe", "trials": 3}
        | {"space": {}, "epoch": "best", "seed": 1},
        dataset={"name": "digits", "digest": "ab", "train": 90, "validation": 10, "test": 20},
        provenance={},
        trials=(),
        confirm=(),
        verdict=None,
    )
    found = study_run(record, active=True, links={}).tags["checks"]

    assert found.startswith("winner against baseline: not enough evidence; noise: not enough evidence; boundary: ")
    assert len(found) < 500
