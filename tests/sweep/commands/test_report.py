"""`sweep report` and `sweep export` on a real, small study."""

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from reports.analysis.next_study import HEADER, Proposal
from studies.record import reader
from sweep.cli import sweep
from sweep.commands import report


@pytest.fixture(scope="module")
def recorded():
    """The home folder that each test gets a copy of, once it is made."""
    return []


@pytest.fixture
def home(recorded, tiny, opened, searched, tmp_path, tmp_path_factory):
    """A home folder with a study of two trials."""
    if not recorded:
        recorded.append(tmp_path_factory.mktemp("recorded") / "runs")
        database = opened(tiny("trials=2"))
        searched(tiny("trials=2"), database, workers=1)
        database.close()
        (tmp_path / "runs").rename(recorded[0])
    shutil.copytree(recorded[0], tmp_path / "runs")
    return tmp_path / "runs"


def run(home, *arguments):
    result = CliRunner().invoke(sweep, [*arguments, "--home", str(home)])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
def test_a_report_and_its_checks_as_json(home, tmp_path):
    """The checks equal those of the record, and the printed paths exist."""
    told = json.loads(run(home, "report", "tiny", "--json"))
    assert told["study"] == "tiny"
    assert Path(told["report"]).read_bytes().startswith(b"%PDF-")
    assert {check["status"] for check in told["checks"]} <= {"pass", "warn", "cannot tell yet"}
    assert "boundary" in [check["name"] for check in told["checks"]]


def test_a_report_is_html_by_option_or_by_the_name_of_its_file(home, tmp_path):
    """--short gives two pages; a contradiction is refused."""
    kept, named = home / "tiny" / "report.html", tmp_path / "named.html"

    assert run(home, "report", "tiny", "--html").split()[0] == str(kept)
    assert run(home, "report", "tiny", "--short", "--out", str(named)).split()[0] == str(named)
    assert kept.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert 1 <= named.read_text("utf-8").count("<h2") <= 2 < kept.read_text("utf-8").count("<h2")
    assert not (home / "tiny" / "report.pdf").exists()

    result = CliRunner().invoke(sweep, ["report", "tiny", "--html", "--out", "x.pdf", "--home", str(home)])
    assert (result.exit_code, "give one of them" in result.output) == (2, True), result.output
    assert not Path("x.pdf").exists()


def test_an_export_has_one_row_per_trial_or_epoch(home, tmp_path):
    """The two tables share `number`, and the selected epoch is the trial's."""
    out = tmp_path / "out.csv"

    run(home, "export", "tiny", "--out", str(out))
    trials = pd.read_csv(out)
    assert "2 trials in" in run(home, "export", "tiny", "--epochs", "--out", str(out))
    epochs = pd.read_csv(out)

    assert list(trials["number"]) == [0, 1]
    assert list(epochs["number"]) == [0] * 4 + [1] * 4
    assert list(epochs["epoch"]) == [1, 2, 3, 4] * 2
    counted = epochs[epochs["selected"]].set_index("number")
    assert list(counted["epoch"]) == list(trials["selected_epoch"])
    assert list(counted["validation_loss"]) == list(trials["validation_loss"])


def test_only_regular_files_are_written(home, tmp_path):
    """To the target of a link or to standard output; not to a device or into a missing folder."""
    target, link = tmp_path / "target.csv", tmp_path / "link.csv"
    link.symlink_to(target)
    os.mkfifo(tmp_path / "pipe")

    run(home, "export", "tiny", "--out", str(link))
    assert link.is_symlink()
    assert run(home, "export", "tiny", "--out", "-") == target.read_text()
    for verb, out, told in (
        ("export", tmp_path / "pipe", "pipe is not a regular file"),
        ("report", Path("/dev/null"), "/dev/null is not a regular file"),
        ("report", tmp_path / "none/x.pdf", f"there is no folder {tmp_path / 'none'}"),
    ):
        result = CliRunner().invoke(sweep, [verb, "tiny", "--out", str(out), "--home", str(home)])
        assert (result.exit_code, told in result.output) == (2, True), result.output
    assert (tmp_path / "pipe").is_fifo()
    assert Path("/dev/null").is_char_device()


def test_a_study_is_not_compared_with_itself(home, tmp_path):
    """Bad input, reported in one line; a copy of the folder contains the same study."""
    shutil.copytree(home / "tiny", home / "copy")
    result = CliRunner().invoke(sweep, ["report", "tiny", "copy", "--home", str(home)])

    assert result.exit_code == 2
    assert "1 different studies were given; compare 2 or 3" in result.output
    assert not list(home.glob("*.pdf"))


def test_the_report_is_written_after_the_next_study(home, tmp_path, monkeypatch):
    """If the process is killed in between, there is no report that refers to a study which does not exist."""
    folder = home / "tiny"
    (folder / "old.toml").write_text(HEADER)
    (folder / ".old.toml.0123.part").touch()
    found = []

    def killed(*arguments, **options):
        found.extend(path.name for path in folder.iterdir() if "toml" in path.name)
        raise KeyboardInterrupt

    monkeypatch.setattr("sweep.commands.report.propose", lambda *arguments: Proposal("tiny-2", (), HEADER))
    monkeypatch.setattr("sweep.commands.report.pdf.write", killed)
    with pytest.raises(KeyboardInterrupt):
        report.write(reader.read(folder), folder / "report.pdf")

    assert found == ["tiny-2.toml"]
