"""Faults that a person meets: two starts at once, a file-size limit, damaged files."""

import os
import re
import resource
import subprocess
import sys

import pytest

from reports import records
from sweep import storage

STUDY = """\
question = "Two at once?"
dataset = "digits"
objective = "validation_loss"
seed = 3
trials = 3

[baseline]
hidden_sizes = [16]
learning_rate = 0.003
batch_size = 32
epochs = 3

[space]
learning_rate = { low = 1e-3, high = 3e-2, log = true }
"""


@pytest.fixture
def started(tmp_path):
    """Starts the sweep without confirmation and MLflow; returns the process."""
    study = tmp_path / "tiny.toml"
    study.write_text(STUDY)

    def start(home="home", **options):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SWEEP_")}
        argv = [sys.executable, "-P", "-m", "sweep", "run", str(study), "--no-confirm", "--tracking", "none"]
        argv += ["--workers", "1", "--home", str(tmp_path / home)]
        return subprocess.Popen(
            argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )

    return start


@pytest.mark.parametrize("round_", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 10))])
def test_of_four_simultaneous_starts_one_runs(started, tmp_path, round_):
    """On a fresh home folder: the others say who runs and since when, or find it done; exactly three trials."""
    processes = [started(f"home{round_}") for _ in range(4)]
    said = [process.communicate(timeout=120) for process in processes]
    codes = [process.returncode for process in processes]

    assert set(codes) <= {0, 2}
    assert 0 in codes
    for code, (_, errors) in zip(codes, said, strict=True):
        assert (code == 0) == (errors == "")
        if code == 2:
            assert re.search(r"tiny is already running \(pid \d+, since [\d: -]+ UTC\)", errors)
    record = records.read(tmp_path / f"home{round_}" / "tiny")
    assert [trial.number for trial in record.trials] == [0, 1, 2]
    assert record.counts() == {"complete": 3}
    assert not storage.is_active(record.folder)


@pytest.mark.parametrize("kib", [4, 64, pytest.param(250, marks=pytest.mark.slow)])
def test_a_file_that_may_not_grow_is_said_and_survived(started, tmp_path, kib):
    """With `ulimit -f`: exit 3, at most three lines that name the need, no traceback; without it the sweep goes on."""

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (kib << 10, kib << 10))

    process = started(preexec_fn=limited)
    output, errors = process.communicate(timeout=120)

    assert process.returncode == 3, output + errors
    assert 1 <= len(errors.strip().splitlines()) <= 3
    assert errors.startswith("sweep: ")
    assert "Traceback" not in errors
    process = started()
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    assert records.read(tmp_path / "home" / "tiny").counts() == {"complete": 3}
    assert not [path for path in (tmp_path / "home").rglob("*") if path.name.endswith(".part")]
