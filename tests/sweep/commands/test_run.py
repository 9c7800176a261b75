"""`sweep run` in this process: how many trials it adds, and which study a name means."""

import io

import pytest
from rich.console import Console

from studies.record import reader as records
from sweep.commands.preparation import Options
from sweep.commands.run import run_study
from sweep.coordination import coordinator

QUICK = ("baseline.epochs=1", "space.hidden_sizes={layers=[1,1], units=[8,16]}", "sampler=random")


@pytest.fixture
def ran(tmp_path, study_file):
    """Runs a study without confirmation and MLflow; returns the exit code and what was printed."""

    def run(*, study=study_file, changes=QUICK, trials=None, more=None, timeout=None, home=tmp_path / "runs"):
        output = io.StringIO()
        numbers = [f"{option}={value}" for option, value in (("--trials", trials), ("--more", more)) if value]
        arguments = ["run", str(study), *numbers]
        options = Options(
            home=home,
            tracking="none",
            study=str(study),
            trials=trials,
            more=more,
            workers=2,
            cluster=None,
            changes=changes,
            timeout=timeout,
            minutes=None,
            confirm=False,
            arguments=arguments,
        )
        return run_study(options, Console(file=output, width=200)), output.getvalue()

    return run


def recorded(tmp_path, name="tiny"):
    record = records.read(tmp_path / "runs" / name)
    return len(record.trials), record.study["trials"]


def test_more_adds_to_the_recorded_trials(ran, tmp_path):
    """Also the first time, when nothing is recorded."""
    assert ran(more=2)[0] == 0
    assert recorded(tmp_path) == (2, 2)
    assert records.read(tmp_path / "runs" / "tiny").provenance["command"].startswith("sweep run tiny.toml --trials 2 ")

    code, printed = ran(more=3)
    assert code == 0
    assert recorded(tmp_path) == (5, 5)
    assert "none is added" not in printed


@pytest.mark.parametrize("trials", [1, 2])
def test_a_total_that_is_already_recorded_says_how_to_add(ran, tmp_path, trials):
    ran(trials=2)
    code, printed = ran(trials=trials)

    assert code == 0
    assert recorded(tmp_path) == (2, 2)
    assert "2 trials are recorded, none is added; for 20 more: " in printed
    assert f"--more 20 --home {tmp_path / 'runs'}\n" in printed
    assert "--trials" not in printed


def test_the_command_that_resumes_does_not_add_again(ran, tmp_path, monkeypatch):
    """After `--more 3` it has the total that was asked for."""
    monkeypatch.setattr(coordinator, "STOP_TIMEOUT_S", 0.0)
    ran(trials=2)
    code, printed = ran(more=3, timeout=1e-9)

    assert code == 0
    assert recorded(tmp_path) == (2, 5)
    assert f"--trials 5 --home {tmp_path / 'runs'}\n" in printed
    assert "--more" not in printed
