"""Progress output: a table on a terminal, lines elsewhere."""

import io

import pytest
from rich.console import Console

from model.hyperparameters import Hyperparameters
from model.metrics import METRICS
from sweep.commands.console import make_console
from sweep.coordination.progress import Progress, duration, reading
from sweep.workers.pool import Job


def job(number=3, epochs=10):
    settings = Hyperparameters(hidden_sizes=(128, 64), learning_rate=0.00123456, epochs=epochs).as_dict()
    return Job(f"search/{number}", "", "", 0, settings, [0, number], "validation_accuracy", "best")


def shown(console):
    """A progress with one running trial after two epochs, and one that ended."""
    progress = Progress(console, ["hidden_sizes", "learning_rate"], METRICS["accuracy"])
    progress.begin("search", 5, {"complete": 1, "pruned": 1}, (0.97, 0))
    progress.started(job(2), 2, 0, 0)
    progress.started(job(3), 3, 1, 0)
    progress.epoch(job(3), 1, 0.9612)
    progress.finished(job(2), 2, "complete", "all epochs run", 0.981, 5)
    return progress


@pytest.mark.parametrize("terminal", ["none", "dumb", "unknown"])
def test_without_a_capable_terminal_each_trial_is_one_line(monkeypatch, terminal):
    """Earlier counts are printed; a finished trial is printed with outcome, value, epochs and settings."""
    output = io.StringIO()
    monkeypatch.setenv("TERM", terminal)
    with shown(Console(file=output, width=80, force_terminal=terminal != "none", color_system=None)):
        pass

    assert output.getvalue().splitlines() == [
        "search: 5 trainings, 2 of them done",
        "trial 2: complete 98.10 % after 5 epochs; hidden_sizes 128-64, learning_rate 0.001235",
    ]


def test_a_file_gets_plain_lines_whatever_the_environment_forces(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    with shown(make_console()):
        pass
    out = capsys.readouterr().out

    assert out.splitlines()[0] == "search: 5 trainings, 2 of them done"
    assert "\x1b" not in out


@pytest.mark.parametrize("width", [40, 60, 80, 150])
def test_on_a_terminal_progress_is_a_table(width):
    """Running trials with their epochs, the best, the counts, the time left; no line wider than the screen."""
    output = io.StringIO()
    console = Console(file=output, width=width, height=30, force_terminal=True, color_system=None)
    progress = shown(console)
    picture = Console(width=width, record=True, file=io.StringIO())
    picture.print(progress._picture())
    text = picture.export_text()

    assert "2/10" in text
    assert "96.12 %" in text
    assert "best 98.10 % (trial 2)" in " ".join(text.split())
    assert "3 of 5" in text
    assert "left" in text
    assert all(len(line) <= width for line in text.splitlines())


def test_trials_that_do_not_fit_are_counted():
    """Of a thousand running trials, as many as fit are shown, and the number of others."""
    console = Console(file=io.StringIO(), width=150, height=24, force_terminal=True, color_system=None)
    progress = Progress(console, ["learning_rate"], METRICS["accuracy"])
    progress.begin("search", 2_000, {}, None)
    for number in range(1_000):
        progress.started(job(number), number, number, 0)
    picture = Console(width=150, record=True, file=io.StringIO())
    picture.print(progress._picture())
    lines = picture.export_text().splitlines()

    assert len(lines) < 24
    assert lines[1].split()[:2] == ["0", "0/10"]
    assert lines[-2] == "and 980 more running"
    assert "0 of 2000" in lines[-1]


def test_a_failure_is_printed_with_its_reason():
    """Also if nothing was measured."""
    output = io.StringIO()
    progress = Progress(Console(file=output, width=80), [], METRICS["loss"])
    progress.begin("search", 5, {}, None)
    progress.started(job(), 3, 0, 0)
    progress.finished(job(), 3, "diverged", "diverged at epoch 1, step 2", None, 0)

    assert "trial 3: diverged after 0 epochs (diverged at epoch 1, step 2)" in output.getvalue()


def test_a_trial_that_an_earlier_start_paused_ends_with_its_epochs():
    """It was given to no worker of this start."""
    output = io.StringIO()
    progress = Progress(Console(file=output, width=80), [], METRICS["loss"])
    progress.begin("search", 5, {}, None)
    progress.finished(job(), 3, "pruned", "paused after epoch 3 of 9: place 7 of 9 there", 0.5, 3)

    assert "trial 3: pruned 0.5000 after 3 epochs" in output.getvalue()


def test_numbers_are_formatted():
    """Percentages with two decimals, losses with four, settings with four significant digits."""
    assert METRICS["accuracy"].format(0.98123) == "98.12 %"
    assert METRICS["loss"].format(0.061239) == "0.0612"
    assert METRICS["loss"].format(0.0000412) == "4.1e-05"
    assert [reading(value) for value in ([128, 64], 0.00123456, 32, "cosine")] == ["128-64", "0.001235", "32", "cosine"]
    assert [duration(seconds) for seconds in (3, 89, 91, 3600, 5400, 6000)] == [
        "3 s",
        "89 s",
        "2 min",
        "60 min",
        "1 h 30 min",
        "1 h 40 min",
    ]
