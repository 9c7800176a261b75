"""`sweep run` in this process: how many trials it adds, and which study a name means."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console
from sklearn.datasets import load_digits

from model.data.errors import DatasetUnavailable
from studies.record import reader as records
from studies.record.folder import StudyFolder
from sweep.commands.console import line_printer
from sweep.commands.preparation import Options
from sweep.commands.printed_command import command_here
from sweep.commands.run import _mirror_lines, run_study
from sweep.coordination import coordinator
from sweep.tracking.sync_result import SyncResult

pytestmark = pytest.mark.usefixtures("undrawn")
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
            changes=changes,
            timeout=timeout,
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


@pytest.mark.slow
def test_settings_that_exceeded_a_lower_limit_are_tried_again(ran, tmp_path):
    """Said at the start, and not that nothing is added."""
    slow = ("baseline.epochs=2000", "sampler=random")
    assert ran(changes=(*slow, "trial_seconds=0.2"), trials=2)[0] == 0
    code, printed = ran(changes=(*slow, "trial_seconds=0.3"), trials=2)

    assert code == 0
    assert "2 settings that exceeded the former limit of trial_seconds are tried again\nsearch: 4 trainings" in printed
    assert "none is added" not in printed
    assert recorded(tmp_path)[0] == 4


@pytest.fixture
def own_data(tmp_path, study_file):
    """The study in a folder with its own data file, which it names by a relative path."""
    folder = tmp_path / "given"
    folder.mkdir()
    digits = load_digits()
    np.savez(folder / "mine.npz", x_train=digits.images.astype(np.uint8), y_train=digits.target)
    path = folder / "own.toml"
    path.write_text(study_file.read_text().replace('"digits"', '"mine.npz"'))
    return path


@pytest.mark.slow
def test_a_recorded_study_continues_by_name_without_its_files(ran, own_data, tmp_path, monkeypatch):
    """From any folder; the prepared copy of the data is found by its digest."""
    assert ran(study=own_data, trials=1)[0] == 0
    assert records.read(tmp_path / "runs/own").data_file == "../../given/mine.npz"
    own_data.unlink()
    data = own_data.with_name("mine.npz")
    content = data.read_bytes()
    data.unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/own.toml").write_text("not read")

    code, printed = ran(study="own", changes=(), more=1)
    assert code == 0
    assert recorded(tmp_path, "own") == (2, 2)
    assert f"own is run as recorded in {tmp_path / 'runs/own'}; to run the file own.toml of this folder" in printed

    for prepared in (tmp_path / "runs/data").glob("npz-*/*"):
        prepared.unlink()
    with pytest.raises(DatasetUnavailable, match=r"there is neither a prepared copy in .*/data nor .*mine.npz\n"):
        ran(study="own", changes=(), more=1)
    data.write_bytes(content)
    assert ran(study="own", changes=("confirm.top=3",), more=1)[0] == 0
    assert recorded(tmp_path, "own") == (3, 3)


@pytest.mark.slow
def test_the_same_data_may_be_named_by_another_path(ran, own_data, tmp_path, monkeypatch):
    """A path on the command line is relative to the current folder, and the data are compared by their content."""
    monkeypatch.chdir(tmp_path)
    ran(study=own_data, changes=(*QUICK, "dataset=given/mine.npz"), trials=1)
    monkeypatch.chdir(own_data.parent)
    code, _ = ran(study=own_data, changes=(*QUICK, "dataset=mine.npz"), trials=2)

    assert code == 0
    assert recorded(tmp_path, "own") == (2, 2)


def test_a_proposed_study_is_run_by_name(ran, study_file, tmp_path, monkeypatch):
    """The file that the report wrote into the folder of the reported study."""
    (tmp_path / "runs/tiny").mkdir(parents=True)
    study_file.rename(tmp_path / "runs/tiny/tiny-2.toml")
    monkeypatch.chdir(tmp_path)

    assert ran(study="tiny-2", trials=1)[0] == 0
    assert recorded(tmp_path, "tiny-2") == (1, 1)


def test_a_printed_command_names_the_home_folder_unless_it_is_the_default(monkeypatch, tmp_path):
    """Also the default folder, if SWEEP_HOME would be used instead."""
    monkeypatch.delenv("SWEEP_HOME", raising=False)
    monkeypatch.setattr("sys.argv", ["sweep"])
    monkeypatch.delenv("SWEEP_TRACKING", raising=False)
    default = type(tmp_path)("runs")

    assert command_here(default, None, "sync", "x").endswith("sync x")
    assert command_here(tmp_path, None, "sync", "x").endswith(f"sync x --home {tmp_path}")
    monkeypatch.setenv("SWEEP_HOME", "/other")
    assert command_here(default, None, "sync", "x").endswith("sync x --home runs")


class Ended:
    """A mirror process that failed."""

    def wait(self, timeout):
        return 3


@pytest.mark.parametrize("fix", [None, "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or a token"])
def test_the_reason_of_an_outage_is_whole_in_a_narrow_terminal(tmp_path, fix):
    """Nothing is cut or wrapped at its 80 columns; the last line has the command that sends the rest."""
    record = SimpleNamespace(name="tiny", folder=tmp_path)
    reason = f"the host {'mlflow.' * 20}example was not found (Name or service not known)"
    log = StudyFolder(record.folder).mirror_log
    log.write_text(SyncResult("tiny", reason, None, 3, 75, fix).line() + "\n")
    options = Options(home=tmp_path, tracking="http://mlflow.example", study="tiny", workers=1, arguments=[])
    output = io.StringIO()
    notify = line_printer(Console(file=output, width=80))

    for line in _mirror_lines(Ended(), record, options):
        notify(line)

    first, second = output.getvalue().splitlines()
    assert first == f"Could not sync tiny: {reason}"
    again = f"{fix}; then try again with: " if fix else "try again with: "
    assert second.startswith(f"3 runs (75 metric values) unsent ({log}); {again}sweep sync tiny")
