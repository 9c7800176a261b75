"""The command line: errors take at most three lines and have the documented exit code."""

import json
import os
import re
import sqlite3
import subprocess
import sys

import pytest
from click.testing import CliRunner

from sweep import errors
from sweep.cli import sweep
from sweep.entry import main
from sweep.storage import database as storage


def commands(group=sweep, words=()):
    """Every command and group as a list of words."""
    for name, command in group.commands.items():
        yield [*words, name]
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))


def refused(capsys, code, *arguments):
    """Run in this process; the exit code must be `code`, and stderr at most three lines without a traceback."""
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    told = capsys.readouterr().err
    assert caught.value.code == code, told
    lines = [line for line in told.strip().splitlines() if not line.startswith(("Usage:", "Try "))]
    assert 1 <= len([line for line in lines if line]) <= 3, told
    assert "Traceback" not in told
    return told


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def test_help_of_every_command_has_an_example():
    runner = CliRunner()
    for words in commands():
        shown = runner.invoke(sweep, [*words, "--help"])
        assert shown.exit_code == 0
        assert f"sweep {' '.join(words)}" in shown.output.partition("Example")[2], words
    assert "sweep run mnist --trials 20" in runner.invoke(sweep, ["--help"]).output


def test_the_table_of_exit_codes_names_real_classes():
    """Each name is an exception class; the nearest base class determines the code."""
    assert all(issubclass(cls, BaseException) for cls in errors.classes())
    assert errors.exit_code(FileNotFoundError()) == 3
    assert errors.exit_code(ZeroDivisionError()) is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "mnsit"], "did you mean 'mnist'"),
        (["run", "nowhere.toml"], "there is no study file nowhere.toml"),
        (["run", "../../etc"], "there is no study named"),
        (["run", "$(touch canary)"], "there is no study named"),
        (["run", "digits", "--set", "sede=1"], "did you mean 'seed'"),
        (["run", "digits", "--trials", "0"], "0 is not in the range"),
        (["run", "digits", "--trials", "9", "--more", "3"], "--more is added to what is recorded; give one of them"),
        (["run", "digits", "--workers", "many"], "is not a valid integer"),
        (["run", "digits", "--trails", "5"], "Did you mean one of: '--tracking', '--trials'"),
        (["run", "digits", "--timeout", "-1"], "is not in the range"),
        (["rnu"], "No such command 'rnu'"),
        (["status", "digits"], "nothing is recorded yet"),
        (["ui"], "home; start a sweep with: sweep run"),
        (["status", "digits"], "nothing is recorded yet; start it with: sweep run digits"),
        (["status", "mine"], "nothing is recorded yet; start a sweep with: sweep run\n"),
        (["status"], "nothing is recorded in "),
        (["sync"], "home; start a sweep with: sweep run"),
        (["doctor"], "home; start a sweep with: sweep run"),
        (["report", "digits"], "no study named 'digits' is recorded"),
        (["sync", "digits"], "no study named 'digits' is recorded"),
        (["ui", "digits"], "no study named 'digits' is recorded"),
        (["dashboard", "digits"], "no study named 'digits' is recorded"),
        (["dashboard"], "start a sweep with: sweep run"),
        (["export", "digits", "--out", "x.csv"], "no study named 'digits' is recorded"),
        (["predict", "image.png"], "nothing is recorded in"),
        (["run", "digits", "--timeout", "nan"], "nan is not a finite number of seconds"),
        (["run", "digits", "--timeout", "inf"], "inf is not a finite number of seconds"),
        (["data", "fetch", "mnits"], "mnist"),
    ],
)
def test_bad_input_has_exit_code_2(capsys, home, tmp_path, monkeypatch, arguments, told):
    """And no file is written."""
    monkeypatch.chdir(tmp_path)
    assert told in refused(capsys, 2, *arguments, *([] if arguments == ["rnu"] else ["--home", home]))
    assert sorted(tmp_path.rglob("*")) == []


def test_a_wrong_study_file_has_exit_code_2_and_names_the_line(capsys, home, study_file):
    """And no study is created."""
    study_file.write_text(study_file.read_text().replace("low = 1e-3", "low = 1"))

    assert "tiny.toml, line 17: space.learning_rate: low must be less than high" in refused(
        capsys, 2, "run", study_file, "--home", home
    )
    assert not list(home.glob("*/study.db"))


def test_a_wrong_sweep_data_has_exit_code_3_without_a_study_name(capsys, home, monkeypatch, tmp_path):
    """The default study is not replaced by digits if the user says where MNIST is."""
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path / "nowhere"))
    told = refused(capsys, 3, "run", "--home", home)

    assert "nowhere is not a folder" in told
    assert not list(home.glob("*/study.db"))


def test_a_missing_dataset_has_exit_code_3_and_advice(capsys, home, monkeypatch, tmp_path):
    """A study given by name is not replaced by digits."""
    import functools

    from model.data import datasets

    offline = functools.partial(datasets.prepare, download=False)
    monkeypatch.setattr(datasets, "prepare", offline)
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path))
    told = refused(capsys, 3, "run", "mnist", "--home", home)

    assert "SWEEP_DATA" in told
    assert "sweep data fetch mnist" in told
    assert not list(home.glob("*/study.db"))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_damaged_data_has_exit_code_5(capsys, home, monkeypatch, tmp_path, damage):
    """Checked before it is decoded; the message has the file."""
    import gzip

    whole = gzip.compress(b"\0" * 5000)
    content = {"truncated": whole[:-9], "flipped": bytes([whole[0] ^ 1]) + whole[1:], "empty": b""}[damage]
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / f"{name}-ubyte.gz").write_bytes(content)
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path))

    assert "train-images-idx3-ubyte.gz" in refused(capsys, 5, "run", "mnist", "--home", home)


def test_a_read_only_home_has_exit_code_3(capsys, tmp_path, study_file):
    """A file in place of the folder (root ignores permission bits)."""
    (tmp_path / "file").write_text("")

    told = refused(capsys, 3, "run", study_file, "--home", tmp_path / "file" / "home")
    assert "cannot be written" in told
    assert "--home" in told


@pytest.fixture
def champion(home):
    """A champion that knows nothing, and its card."""

    from model import weights
    from model.classifier import Classifier
    from model.network import MLP

    folder = home / "tiny"
    folder.mkdir(parents=True)
    digest = weights.save(folder / "champion.npz", Classifier.of(MLP((64, 10), scale=1 / 16)))
    (folder / "champion.json").write_text(
        json.dumps({"shape": [8, 8], "classes": 10, "scale": 1 / 16, "weights_sha256": digest, "dataset": "digits"})
    )


@pytest.mark.usefixtures("champion")
def test_a_file_that_is_not_an_image_has_exit_code_2(capsys, home, tmp_path):
    """The message has the file and its type."""
    (tmp_path / "note.png").write_text("this is no image")

    assert "note.png" in refused(capsys, 2, "predict", tmp_path / "note.png", "--home", home)


@pytest.mark.usefixtures("champion")
def test_bad_images_do_not_prevent_other_predictions(capsys, home, tmp_path, monkeypatch):
    """Predictions are on stdout, each bad image is one line on stderr."""
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    image = Image.new("L", (8, 8))
    image.putpixel((3, 3), 255)
    for name in ("a.png", "b.png"):
        image.save(name)
    (tmp_path / "folder").mkdir()
    image.save("film.gif", save_all=True, append_images=[Image.new("L", (8, 8), 255)])
    with pytest.raises(SystemExit) as caught:
        main(["predict", "a.png", "gone.png", "folder", "film.gif", "b.png", "--home", str(home)])
    told = capsys.readouterr()

    assert caught.value.code == 2
    assert told.out == "a.png: 0 (10.0 %)\nb.png: 0 (10.0 %)\n"
    assert told.err == (
        "sweep: gone.png: there is no such file\n"
        "sweep: folder: is a folder, not an image\n"
        "sweep: film.gif (GIF, 8 x 8, mode P) is animated or has several pages; Save one of them as PNG.\n"
    )


def test_a_second_sweep_of_the_same_study_has_exit_code_2(capsys, home, study_file):
    """The message has the process and its start; nothing is changed."""
    (home / "tiny").mkdir(parents=True)
    with storage.study_lock(home / "tiny"):
        told = refused(capsys, 2, "run", study_file, "--home", home)

    assert re.search(rf"tiny is already running \(pid {os.getpid()}, since 20\d\d-", told)
    assert not (home / "tiny" / "study.db").exists()


def test_an_unknown_database_has_exit_code_5(capsys, home):
    """It is not opened as a study."""
    (home / "digits").mkdir(parents=True)
    with sqlite3.connect(home / "digits" / "study.db") as connection:
        connection.execute("CREATE TABLE other (x)")
    connection.close()

    assert "study.db" in refused(capsys, 5, "status", "digits", "--home", home)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "MLflow is already up to date"),
        ({"runs_created": 7, "metrics": 13821, "params": 1}, "created 7 runs; sent 13,821 metrics, 1 param"),
        ({"runs_updated": 1, "models": 1}, "updated 1 run; sent 1 model"),
        ({"tags": 2}, "sent 2 tags"),
    ],
)
def test_a_sync_is_summarised_in_one_line(changes, said):
    """With formatted numbers and correct plurals."""
    from sweep.commands.mirror_lines import sent
    from sweep.tracking.sync_result import Changes

    assert sent(Changes(**changes)) == said


@pytest.mark.parametrize(
    ("verb", "said"), [("run", "; nothing is lost, run the same command to resume"), ("studies", "")]
)
def test_an_interruption_prints_one_line(capsys, monkeypatch, verb, said):
    """Only resumable commands print how to resume."""

    def interrupted(*_words, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "main", interrupted)
    with pytest.raises(SystemExit) as caught:
        main([verb])

    assert caught.value.code == 130
    assert capsys.readouterr().err == f"sweep: interrupted{said}\n"


def test_an_interruption_during_imports_prints_one_line():
    """During the first tenths of a second."""
    program = """if True:
        import sys
        class Interrupted:
            def find_spec(self, name, path=None, target=None):
                if name == "click":
                    raise KeyboardInterrupt
        sys.meta_path.insert(0, Interrupted())
        from sweep.__main__ import main
        main()
    """
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stderr) == (130, "sweep: interrupted\n")


def test_a_closed_pipe_is_not_an_error():
    """As in `sweep studies | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-P", "-m", "sweep", "studies"]
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)

    assert (ended.returncode, ended.stderr) == (141, "")


def test_a_dataset_can_be_fetched_and_verified(home):
    """digits need no network; verify changes nothing and fails if the dataset is missing."""
    runner = CliRunner()
    fetched = runner.invoke(sweep, ["data", "fetch", "digits", "--home", str(home)])
    verified = runner.invoke(sweep, ["data", "verify", "digits", "--home", str(home)])

    assert fetched.exit_code == verified.exit_code == 0
    assert "1,438 examples and 359 for testing" in verified.output
