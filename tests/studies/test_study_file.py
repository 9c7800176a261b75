"""Study files: parsing and error messages."""

import json
import os
import re
from dataclasses import fields
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data import datasets
from model.hyperparameters import Hyperparameters
from studies.definition import Study, from_record
from studies.dimensions import Choice, Float, Int, Layers
from studies.record.folder import RESERVED, Home
from studies.record.schema import upgraded_study
from studies.study_file import StudyError, load, names

TEXT = """\
question = "Which?"
dataset = "digits"
objective = "validation_loss"
seed = 7
trials = 5
sampler = "random"

[baseline]
hidden_sizes = [32]
learning_rate = 0.001
epochs = 3

[space]
hidden_sizes = { layers = [1, 2], units = [16, 64], log = true }
learning_rate = { low = 1e-4, high = 1e-2, log = true }
batch_size = { choices = [32, 128] }
beta2 = { low = 0.9, high = 0.9999, log = "complement" }

[confirm]
top = 2
repeats = 3
"""


@pytest.fixture
def written(tmp_path):
    """Writes a study file, with one piece of the text replaced."""

    def write(old="", new="", name="mine"):
        assert old in TEXT
        path = tmp_path / f"{name}.toml"
        path.write_text(TEXT.replace(old, new, 1) if old else TEXT)
        return str(path)

    return write


@pytest.mark.parametrize("name", names())
def test_the_built_in_studies_load_and_are_restored_from_the_record(name):
    """A study that is recorded as JSON is read back equal."""
    study = load(name)

    assert from_record(json.loads(json.dumps(study.as_dict()))) == study


def test_a_study_file_is_parsed(written):
    """Name from the file, baseline over the defaults, kinds of ranges from keys and field types."""
    study = load(written())

    assert study.name == "mine"
    assert study.direction == "minimize"
    assert study.baseline == Hyperparameters(hidden_sizes=(32,), learning_rate=0.001, epochs=3)
    assert [type(dimension) for dimension in study.space.values()] == [Layers, Float, Choice, Float]


def test_the_baseline_is_a_point_of_the_space(written):
    """Drawing its encoded parameters gives the baseline, so trial 0 can be enqueued."""
    for study in [load(written()), *(load(name) for name in names())]:
        assert study.draw(optuna.trial.FixedTrial(study.encode(study.baseline))) == study.baseline


def test_drawing_stays_inside_the_ranges(written):
    """A hundred random trials: every value within its range, one_minus_beta2 on Optuna's side."""
    study, asked = load(written()), optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(100):
        trial = asked.ask()
        drawn = study.draw(trial)
        assert 1 <= len(drawn.hidden_sizes) <= 2
        assert all(16 <= size <= 64 for size in drawn.hidden_sizes)
        assert 1e-4 <= drawn.learning_rate <= 1e-2
        assert 0.9 <= drawn.beta2 <= 0.9999 + 1e-12
        assert drawn.batch_size in (32, 128)
        assert drawn.epochs == 3
        assert set(trial.params) == {
            "hidden_sizes.layers",
            "hidden_sizes.1",
            "hidden_sizes.2",
            "learning_rate",
            "batch_size",
            "one_minus_beta2",
        }


@given(st.floats(0.9, 0.9999))
def test_the_complement_scale_is_invertible(value):
    """beta2 -> one_minus_beta2 -> beta2, to the last bits of a float."""
    dimension = Float(low=0.9, high=0.9999, log="complement")
    params = dimension.encode("beta2", value)

    assert dimension.suggest(optuna.trial.FixedTrial(params), "beta2") == pytest.approx(value, abs=1e-15)


def test_every_field_can_be_searched(written):
    """A hyperparameter needs only a line in a study file: no other package contains the names."""
    ranges = {"hidden_sizes": "{ choices = [[32], [64, 32]] }"}
    for field in fields(Hyperparameters):
        if words := field.metadata.get("words"):
            ranges[field.name] = f"{{ choices = {list(words)} }}"
        default = getattr(Hyperparameters(), field.name)
        low, high = (1, 300) if isinstance(default, int) else (1e-9, 0.9995)
        line = f"{field.name} = {ranges.get(field.name, f'{{ low = {low}, high = {high} }}')}"
        old = TEXT[TEXT.index("[space]") : TEXT.index("[confirm]")]
        new = f"[space]\n{line}\n\n"
        if default == 0.0:  # the baseline must lie inside the space
            new = new.replace("1e-09", "0.0")
        study = load(written(old, new))
        sampled = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=2))
        drawn = {getattr(study.draw(sampled.ask()), field.name) for _ in range(10)}
        assert drawn - {getattr(study.baseline, field.name)}


WRONG = [
    ("sampler =", "smapler =", "line 6: unknown key 'smapler'; did you mean 'sampler'?"),
    ('"random"', '"rnadom"', "line 6: sampler must be 'tpe', 'random' or 'qmc', but got 'rnadom'"),
    ("trials = 5", 'trials = "5"', "line 5: trials must be a whole number, but got '5'"),
    ("trials = 5", "trials = 0", "line 5: trials must be greater than or equal to 1, but got 0"),
    ("trials = 5", "trials = 2.5", "line 5: trials must be"),
    ("trials = 5", "trials = true", "line 5: trials must be"),
    ("trials = 5", "trials = 5 5", "not valid TOML: .*line 5"),
    ("seed = 7", "seed = 7\nseed = 8", "not valid TOML: the key 'seed' is given twice, the second time in line 5"),
    ("[space]", "[baseline]", r"the table \[baseline\] is given twice, the second time in line 13"),
    ("seed = 7", "seed = true", "line 4: seed must be a whole number, but got true"),
    ('"digits"', "digits", r'not valid TOML: Invalid value \(at line 2, .*\); text needs quotes: "digits"'),
    ("epochs = 3", "epochs = true", "line 11: epochs must be a whole number in .*, but got true"),
    (", high = 1e-2", "", "line 15: the key 'space.learning_rate.high' is missing"),
    ('"complement"', '"complemnt"', 'line 17: space.beta2.log must be true, false or "complement", but got'),
    ("units = [16, 64], log = true", "units = [16, 64], log = 3", "hidden_sizes.log must be true or false, but got 3"),
    ('"Which?"', '""', "line 1: question must not be empty"),
    ('"Which?"', f'"{"x" * 501}"', "line 1: question must have at most 500 characters"),
    ("top = 2", "top = [1]", r"confirm.top must be a whole number, but got \[1\]"),
    ("seed = 7", f"seed = {'9' * 5000}", "not valid TOML: a number in it is too long"),
    ("seed = 7", f"seed = {'[' * 100000}", "not valid TOML: it is nested too deeply"),
    ("seed = 7", "seed = -1", "line 4: seed must be"),
    ('question = "Which?"', "", "the key 'question' is missing"),
    ("low = 1e-4, high = 1e-2", "low = 1e-2, high = 1e-4", "line 15: space.learning_rate: low must be less than high"),
    ("low = 1e-4, high = 1e-2", "low = 1e-2, high = 1e-2", "line 15: space.learning_rate: low must be less than high"),
    ("low = 1e-4", "low = 0.0", "line 15: space.learning_rate: a log scale needs low above 0"),
    ("low = 1e-4", "low = nan", "line 15: space.learning_rate: range ends must be finite"),
    ("high = 1e-2", "high = 1e400", "line 15: space.learning_rate: range ends must be finite"),
    ("low = 1e-4", "low = true", "line 15: space.learning_rate.low must be"),
    ("low = 1e-4", 'low = "1e-4"', "line 15: space.learning_rate.low must be"),
    ("low = 1e-4", "lo = 1e-4", "line 15: space.learning_rate: unknown key 'lo'; did you mean 'low'?"),
    (
        "learning_rate = { low",
        "learning_rte = { low",
        "line 15: unknown key 'learning_rte'; did you mean 'learning_rate'",
    ),
    ("{ low = 1e-4, high = 1e-2, log = true }", "0.1", "line 15: space.learning_rate must be a table"),
    ("high = 1e-2", "high = 100.0", r"line 15: learning_rate must be a number in \(0, 10\], but got 100.0"),
    (
        "learning_rate = 0.001",
        "learning_rate = 0.1",
        "line 10: baseline.learning_rate is outside space.learning_rate",
    ),
    (
        "learning_rate = 0.001",
        "learning_rat = 0.001",
        "line 10: unknown key 'learning_rat'; did you mean 'learning_rate'",
    ),
    ("epochs = 3", "epochs = 0", "line 11: epochs must be a whole number"),
    ("hidden_sizes = [32]", "hidden_sizes = [8]", "line 9: baseline.hidden_sizes is outside .* 8 units"),
    ("hidden_sizes = [32]", "hidden_sizes = [32, 32, 32]", "line 9: baseline.hidden_sizes is outside .* 3 layers"),
    ("layers = [1, 2]", "layers = [2, 1]", "line 14: space.hidden_sizes"),
    ("layers = [1, 2]", "layers = 2", "line 14: space.hidden_sizes.layers: expected"),
    ("units = [16, 64]", "units = [16, 64000000]", "line 14: hidden_sizes must be"),
    ("choices = [32, 128]", "choices = []", "line 16: space.batch_size.choices must not be empty"),
    ("choices = [32, 128]", "choices = 3", "line 16: space.batch_size.choices must be a list, but got 3"),
    ("choices = [32, 128]", "choices = [128, 128]", "line 16: space.batch_size.choices: each choice must occur once"),
    ("choices = [32, 128]", "choices = [32, 0]", "line 16: batch_size must be"),
    ("choices = [32, 128]", "choices = [32]", "baseline.batch_size is outside space.batch_size: 128 is not among"),
    ('log = "complement"', 'log = "complemnt"', "line 17: space.beta2.log"),
    ("high = 0.9999", "high = 1.0", "line 17: space.beta2: .*below 1"),
    ("top = 2", "tpo = 2", "line 20: unknown key 'tpo'; did you mean 'top'?"),
    ("repeats = 3", "repeats = 1", "line 21: confirm.repeats must be greater than or equal to 2"),
    ('question = "Which?"', 'name = "other"\nquestion = "Which?"', "a study is named by its file"),
    ('objective = "validation_loss"', 'objective = "os:system"', "line 3: unknown metric 'os:system'; known: loss"),
    ('objective = "validation_loss"', "generation = 0", "line 3: generation must be greater than or equal to 1"),
    (
        'objective = "validation_loss"',
        'pruner = "hyperband"\ngeneration = 4',
        "line 4: generation cannot be combined with pruner = 'hyperband', which compares trials that run at the same",
    ),
]


START = "[[start]]\nlearning_rate = 0.005\n\n[[start]]\nhidden_sizes = [64, 16]\nbeta2 = 0.99\n\n"


def test_known_good_settings_are_completed_with_the_baseline(written):
    """They are points of the space, and are recorded by what differs from the baseline."""
    study = load(written("[space]", f"{START}[space]"))

    assert study.start == (
        Hyperparameters(hidden_sizes=(32,), learning_rate=0.005, epochs=3),
        Hyperparameters(hidden_sizes=(64, 16), learning_rate=0.001, beta2=0.99, epochs=3),
    )
    assert [study.given(number) for number in range(4)] == [study.baseline, *study.start, None]
    for settings in study.start:
        assert study.draw(optuna.trial.FixedTrial(study.encode(settings))) == settings
    assert study.as_dict()["start"] == [{"learning_rate": 0.005}, {"hidden_sizes": [64, 16], "beta2": 0.99}]
    assert from_record(json.loads(json.dumps(study.as_dict()))) == study


def test_a_record_without_start_settings_has_none(written):
    """An older version did not know them."""
    study = load(written()).as_dict()
    recorded = {key: value for key, value in study.items() if key != "start"}

    assert upgraded_study(recorded) == study
    assert from_record(recorded).start == ()


WRONG_STARTS = [
    ("learning_rate = 0.005", "learning_rat = 0.005", "line 14: unknown key 'learning_rat'; did you mean"),
    (
        "learning_rate = 0.005",
        "learning_rate = 0.5",
        r"line 14: start.1.learning_rate is outside space.learning_rate: 0.5 is not in \[0.0001, 0.01\]",
    ),
    ("beta2 = 0.99", "beta2 = 2", r"line 18: beta2 must be a number in \[0, 1\), but got 2"),
    (
        "beta2 = 0.99",
        "batch_size = 64",
        "line 18: start.2.batch_size is outside .* 64 is not among the choices 32, 128",
    ),
    ("[64, 16]", "[64, 8]", "line 17: start.2.hidden_sizes is outside space.hidden_sizes: 8 units is not in"),
    ("beta2 = 0.99", "epochs = 4", r"line 18: start.2.epochs is 4, but epochs is not in \[space\], so .* baseline's 3"),
    (START, "[start]\nlearning_rate = 0.005\n\n", r"line 13: start: expected tables \[\[start\]\]"),
    (START, "[[strat]]\nlearning_rate = 0.005\n\n", "line 13: unknown key 'strat'; did you mean 'start'?"),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG_STARTS, ids=[message for _, _, message in WRONG_STARTS])
def test_errors_of_start_settings_have_the_line(written, old, new, message):
    """The line in the right one of several tables, also if other tables have the same key."""
    assert old in START
    with pytest.raises(StudyError, match=rf"^mine\.toml, {message}"):
        load(written("[space]", f"{START.replace(old, new)}[space]"))
    moved = START.replace(old, new).replace("[[start]]", "[[ start ]]")
    if "start]]" in moved and "strat" not in moved:
        with pytest.raises(StudyError, match=message.partition(": ")[2]):
            load(written("[confirm]", f"{moved}[confirm]"))


def test_start_settings_can_be_given_on_the_command_line(written):
    """As one value; a wrong one is reported as such."""
    assert load(written(), ["start=[{ learning_rate = 0.005 }]"]).start[0].learning_rate == 0.005
    with pytest.raises(StudyError, match=r"^--set start=\[\{ epochs = 0 \}\]: epochs must be"):
        load(written(), ["start=[{ epochs = 0 }]"])
    with pytest.raises(
        StudyError, match=r"^--set start=\[3\]: start.1: expected a table of hyperparameters, but got 3"
    ):
        load(written(), ["start=[3]"])


@pytest.mark.parametrize(("old", "new", "message"), WRONG, ids=[message for _, _, message in WRONG])
def test_errors_have_the_line(written, old, new, message):
    """One line with the file, the line and advice."""
    with pytest.raises(StudyError, match=message) as caught:
        load(written(old, new))

    assert str(caught.value).startswith("mine.toml")
    assert str(caught.value).count("\n") == 0
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfeq\x00", "line 1: not UTF-8 text; save the file as UTF-8"),
        (b'seed = 7\r\nquestion = "na\xefve"', "line 2: not UTF-8"),
        (b"a\x00b = 1", "not valid TOML"),
        (b"#" * (2 << 20), "larger than 1 MiB"),
        (b"", "the key 'question' is missing|is missing"),
    ],
)
def test_files_that_are_not_study_files(tmp_path, content, message):
    """UTF-16, NUL bytes, a huge file, an empty one."""
    path = tmp_path / "mine.toml"
    path.write_bytes(content)

    with pytest.raises(StudyError, match=message):
        load(str(path))


def test_a_byte_order_mark_is_accepted(tmp_path):
    """Editors on Windows write one; tomllib does not accept it."""
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())

    assert load(str(path)).trials == 5


def test_an_unknown_study_suggests_the_most_similar():
    """Or the list of all names if none is similar."""
    with pytest.raises(StudyError, match="did you mean 'mnist'"):
        load("mnsit")
    with pytest.raises(StudyError, match="known: digits, mnist"):
        load("zzz")
    with pytest.raises(StudyError, match=r"no study file nowhere\.toml"):
        load("nowhere.toml")


@pytest.mark.parametrize("name", ["a b", "..", "-x", "x" * 65, "a$b"])
def test_names_have_only_allowed_characters(written, name):
    """The name is used as a folder name."""
    with pytest.raises(StudyError, match=r"\.toml: rename the file; .*letters, digits"):
        load(written(name=name))


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_names_of_files_in_the_home_folder_are_refused(written, name):
    """The study's folder would be in their place."""
    with pytest.raises(StudyError, match=rf"^{re.escape(name)}\.toml: rename the file; '{re.escape(name)}' is what"):
        load(written(name=name))


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85"])
def test_line_numbers_count_the_lines_of_toml(tmp_path, mark):
    """Of the separators of lines that Unicode knows, TOML has one."""
    path = tmp_path / "marked.toml"
    text = f'question = "?"  # a {mark} b\ndataset = "digits"\nseed = "x"\n[baseline]\nlearning_rate = 0.1\n'
    path.write_text(text, encoding="utf-8")

    with pytest.raises(StudyError, match=r"^marked\.toml, line 3: seed must be"):
        load(str(path))


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85"])
def test_a_mistake_in_toml_is_found_behind_such_a_character(tmp_path, mark):
    """The message quotes what stands in the line that tomllib counted."""
    path = tmp_path / "marked.toml"
    path.write_text(f'question = "?"  # a {mark} b\ndataset = digits\nseed = 1\n', encoding="utf-8")

    with pytest.raises(StudyError, match=r'at line 2, column 11\); text needs quotes: "digits"$'):
        load(str(path))


def test_the_names_in_the_home_folder_are_all_reserved():
    """A property of `Home` that is a path in it."""
    home = Home(Path("home"))
    paths = {getattr(home, name) for name, kind in vars(Home).items() if isinstance(kind, property)}

    assert {path.name for path in paths if path.parent == home.path} <= RESERVED


def test_other_files_are_reported_by_their_type(tmp_path):
    """A folder, a pipe, and a file with another extension; none is read."""
    (tmp_path / "folder.toml").mkdir()
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "mine.txt").write_text(TEXT)

    for name, said in [
        ("folder.toml", "is a folder"),
        ("pipe.toml", "is a pipe"),
        ("mine.txt", "is neither a study file"),
    ]:
        with pytest.raises(StudyError, match=rf"{name} .*{said}"):
            load(str(tmp_path / name))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["seed=x"], "--set seed=x: seed must be a whole number, but got 'x'"),
        (["confirm=3"], "--set confirm=3: confirm must be a table, but got 3"),
        (["trials=9", "seed=true"], "--set seed=true: seed must be a whole number, but got true"),
        (["space.learning_rate.low=5e-3"], "--set space.learning_rate.low=5e-3: baseline.learning_rate is outside"),
        (["seed=3\ntrials=4"], "--set takes one value in one line, but got 'seed=3\\ntrials=4'"),
        (["name=mine"], "--set name=mine: a study is named by its file"),
    ],
)
def test_a_wrong_change_is_reported_as_such(written, changes, said):
    """The file is valid, the `--set` option is not."""
    with pytest.raises(StudyError) as caught:
        load(written(), changes)

    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("ending", datasets.READERS)
def test_a_dataset_path_is_relative_to_the_study_file(written, tmp_path, monkeypatch, ending):
    """Then to the current folder; the record keeps the path as written, so that both can be moved."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    file = written('"digits"', f'"good{ending}"')
    for place in (tmp_path / "here" / f"good{ending}", tmp_path / f"good{ending}"):
        place.touch()
        study = load(file)
        assert study.dataset == str(place)
        assert study.as_dict()["dataset"] == f"good{ending}"
    assert load(written(), [f"dataset=good{ending}"]).dataset == str(tmp_path / "here" / f"good{ending}")
    assert study.model_copy(update={"trials": 3}).as_dict()["dataset"] == f"good{ending}"


def test_a_missing_dataset_is_reported_with_its_line(written, tmp_path):
    """The message has the path that was tried."""
    (tmp_path / "dir.npz").mkdir()
    for name, said in [
        ("digit", "mine.toml, line 2: unknown dataset 'digit', known are digits, mnist"),
        ("good.npz", f"mine.toml, line 2: {tmp_path}/good.npz: there is no such file"),
        ("/x/good.npz", "mine.toml, line 2: /x/good.npz: there is no such file"),
        ("dir.npz", f"mine.toml, line 2: {tmp_path}/dir.npz: has no IDX files"),
    ]:
        with pytest.raises(StudyError) as caught:
            load(written('"digits"', f'"{name}"'), ["seed=8"])
        assert str(caught.value).startswith(said)
    with pytest.raises(StudyError, match=r"^--set dataset=digit: unknown dataset"):
        load(written(), ["dataset=digit"])


def test_a_wrong_file_is_reported_as_such(written):
    """The changes set other keys."""
    with pytest.raises(StudyError, match=r"^mine\.toml, line 5: trials must be"):
        load(written("trials = 5", "trials = 0"), ["seed=8"])


def test_keys_can_be_overridden(written):
    """Keys are dotted, values are TOML or otherwise strings."""
    study = load(written(), ["seed=8", "baseline.epochs=4", "sampler=qmc", "space.beta2.high=0.999"])

    assert (study.seed, study.baseline.epochs, study.sampler) == (8, 4, "qmc")
    assert study.space["beta2"] == Float(low=0.9, high=0.999, log="complement")
    for wrong in ("seed", "=8", "seed.x=1"):
        with pytest.raises(StudyError, match="--set"):
            load(written(), [wrong])
    with pytest.raises(StudyError, match="unknown key 'sede'; did you mean 'seed'"):
        load(written(), ["sede=8"])


def test_integers_are_drawn_as_integers():
    """Also on a log scale."""
    dimension = Int(low=1, high=100, log=True)
    drawn = dimension.suggest(optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3)).ask(), "epochs")

    assert type(drawn) is int
    assert dimension.encode("epochs", 5) == {"epochs": 5}


def test_a_study_is_a_frozen_value(written):
    """It cannot be changed."""
    study = load(written())

    with pytest.raises(ValueError, match="frozen"):
        study.seed = 9
    assert isinstance(study, Study)


def test_the_control_share_may_have_its_former_name(written):
    """`audit` in a study file, and in a recorded study, means `control`."""
    former, current = (load(written("seed = 7", f"seed = 7\n{key} = 0.25")) for key in ("audit", "control"))
    recorded = {("audit" if key == "control" else key): value for key, value in current.as_dict().items()}

    assert former == current
    assert former.control == 0.25
    assert former.as_dict()["control"] == 0.25
    assert upgraded_study(recorded) == current.as_dict()
    with pytest.raises(StudyError, match="line 5: audit must be less than or equal to 1"):
        load(written("seed = 7", "seed = 7\naudit = 2.0"))


WHOLE = """\
question = "Is 0 the same as 0.0?"
dataset = "digits"
trials = 6
[baseline]
learning_rate = 1
[space]
dropout = { choices = [0, 0.2, 0.5] }
learning_rate = { choices = [0.01, 0.1, 1] }
batch_size = { choices = [32.0, 64.0, 128] }
epochs = { choices = [12.0, 24] }
hidden_sizes = { choices = [[64.0, 32], [128, 64.0]] }
"""


def test_a_whole_number_may_be_written_with_or_without_a_point(tmp_path):
    """Choices are compared as numbers; a label is what is written, so that recorded studies keep their labels."""
    path = tmp_path / "whole.toml"
    path.write_text(WHOLE)
    study = load(str(path))

    assert study.encode(study.baseline) == {
        "dropout": "0",
        "learning_rate": "1",
        "batch_size": "128",
        "epochs": "12.0",
        "hidden_sizes": "128-64.0",
    }
    assert study.draw(optuna.trial.FixedTrial(study.encode(study.baseline))) == study.baseline
    assert from_record(json.loads(json.dumps(study.as_dict()))).space == study.space


@pytest.mark.parametrize("choices", ["[0, 0.2, 0.0]", "[0.2, 0.20]"])
def test_a_choice_that_is_written_in_two_ways_occurs_twice(tmp_path, choices):
    """0 and 0.0 are one value."""
    path = tmp_path / "whole.toml"
    path.write_text(WHOLE.replace("[0, 0.2, 0.5]", choices))

    with pytest.raises(StudyError, match=r"line 7: space\.dropout\.choices: each choice must occur once"):
        load(str(path))


def test_class_weights_can_be_searched(written):
    """As choices of words; the baseline's default is `none`."""
    choices = 'class_weights = { choices = ["none", "balanced"] }'
    study = load(written("batch_size = { choices = [32, 128] }", choices))
    drawn = study.draw(optuna.trial.FixedTrial({**study.encode(study.baseline), "class_weights": "balanced"}))

    assert study.encode(study.baseline)["class_weights"] == "none"
    assert drawn.class_weights == "balanced"
