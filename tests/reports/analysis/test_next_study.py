"""The proposed next study is a valid study file and addresses the checks."""

import math
from dataclasses import replace

import matplotlib
import numpy as np
import pytest

from reports import pages
from reports.analysis.next_study import propose
from reports.drawing.layout import settings
from studies.definition import from_record
from studies.record.schema import EPOCH
from studies.study_file import load
from sweep.commands.report import _allowed

SPACE = {
    "learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "beta1": {"kind": "float", "low": 0.8, "high": 0.99, "log": False},
    "beta2": {"kind": "float", "low": 0.9, "high": 0.9999, "log": "complement"},
}
RATE = {"learning_rate": SPACE["learning_rate"]}


def place(settings):
    return (math.log10(settings["learning_rate"]) + 4) / 2


def uphill(settings):
    return 0.8 + 0.1 * place(settings)


@pytest.fixture
def proposed(tmp_path):
    """The next study of a record, its changes by key, and the file as `sweep run` reads it."""

    def read(record):
        found = propose(record, _allowed)
        path = tmp_path / f"{found.name}.toml"
        path.write_text(found.text)
        return {change.key: change for change in found.changes}, load(str(path))

    return read


def same_curves(record, loss, rate=0.001):
    epochs = np.zeros(len(loss), EPOCH)
    epochs["validation_loss"], epochs["train_loss"] = loss, np.linspace(1, 0.1, len(loss))
    epochs["learning_rate"] = rate
    counted = int(np.argmin(loss))

    def curve(trial):
        own = epochs.copy()
        own["validation_accuracy"] = (trial.value or 0.0) + (loss[counted] - loss) / 10
        return replace(trial, epochs=own, selected_epoch=counted)

    return replace(record, trials=tuple(map(curve, record.trials)))


def test_a_range_is_widened_at_the_bound_of_the_best_trials(proposed, known):
    changes, study = proposed(known(60, uphill, space=RATE, seed=2))

    assert changes["space.learning_rate"].why == "the best trials are at the upper bound of learning rate"
    assert study.space["learning_rate"].low == 1e-4
    assert study.space["learning_rate"].high == pytest.approx(0.1)
    assert study.space["learning_rate"].log is True


def test_no_range_is_widened_beyond_what_the_model_allows(proposed, known):
    """Dropout must stay below 1, also if the best trials are at the bound."""
    space = {"dropout": {"kind": "float", "low": 0.0, "high": 0.9, "log": False}}
    changes, study = proposed(known(60, lambda settings: 0.8 + 0.1 * settings["dropout"], space=space, seed=7))

    assert "space.dropout" in changes
    assert 0.9 < study.space["dropout"].high < 1


def test_a_complement_scale_and_layers_are_widened_too(proposed, known):
    space = {
        "beta2": SPACE["beta2"],
        "hidden_sizes": {"kind": "layers", "layers": [1, 2], "units": [64, 512], "log": True},
    }

    def score(settings):
        return 0.9 - 0.005 * math.log10(1 - settings["beta2"]) + 0.02 * (len(settings["hidden_sizes"]) - 1)

    changes, study = proposed(known(80, score, space=space, noise=0.0))
    assert study.space["hidden_sizes"].layers == (1, 3)
    if "space.beta2" in changes:
        assert study.space["beta2"].high > 0.9999


def test_a_network_that_overfits_is_not_made_larger(known):
    """The best trials have two layers, the most that are searched, and all of them overfit."""
    space = {"hidden_sizes": {"kind": "layers", "layers": [1, 2], "units": [64, 512], "log": True}}
    fits = known(80, lambda settings: 0.8 + 0.1 * (len(settings["hidden_sizes"]) - 1), space=space)
    overfits = same_curves(fits, np.concatenate([np.linspace(1, 0.3, 10), np.linspace(0.3, 0.9, 20)]))
    proposal = propose(overfits, _allowed)
    changes = proposal.changes if proposal else ()

    assert "space.hidden_sizes" in {change.key for change in propose(fits, _allowed).changes}
    assert "space.hidden_sizes" not in {change.key for change in changes}


def test_a_warning_without_a_proposal_has_its_remedy_in_the_report(known):
    space = {"dropout": {"kind": "float", "low": 0.0, "high": 0.5, "log": False}}
    fits = known(40, lambda settings: 0.9 - settings["dropout"] ** 2 / 10, space=space)
    overfits = same_curves(fits, np.concatenate([np.linspace(1, 0.3, 10), np.linspace(0.3, 0.9, 20)]))
    title = "No next study is proposed; what to do about 1 check"

    def titles(record):
        with matplotlib.rc_context(settings()):
            return [title for sheet in pages.pages(record) for title in sheet.findings]

    assert title in titles(overfits)
    assert title not in titles(replace(overfits, study={**overfits.study, "trials": 99}))  # it is not over


def test_epochs_are_raised_if_the_best_improve_and_halved_if_best_epochs_are_early(proposed, known):
    base = known(20, lambda settings: 0.9, space=RATE)
    longer, study = proposed(same_curves(base, np.exp(-np.arange(30) / 15)))
    assert (longer["baseline.epochs"].old, study.baseline.epochs) == (12, 18)

    shorter, study = proposed(same_curves(base, 0.1 + 0.9 * np.exp(-np.arange(30) / 0.1) + 1e-5 * np.arange(30)))
    assert (shorter["baseline.epochs"].new, study.baseline.epochs) == (6, 6)


def test_a_part_in_which_trials_fail_is_cut_off(proposed, known):
    record = known(80, lambda settings: 0.9, space=RATE, broken=lambda settings: settings["learning_rate"] > 2e-3)
    changes, study = proposed(record)

    assert "failed or diverged" in changes["space.learning_rate"].why
    assert study.space["learning_rate"].low == 1e-4
    assert study.space["learning_rate"].high == pytest.approx(2e-3, rel=0.2)


def test_a_range_is_narrowed_to_the_best_trials_and_the_baseline(proposed, known):
    """The best rate is 5e-3 and the baseline's 1e-3: the range may not end above that."""

    def score(settings):
        return 0.95 - 0.2 * (place(settings) - 0.85) ** 2

    record = known(120, score, space={**RATE, "beta1": SPACE["beta1"]}, noise=0.001, confirm=3)
    record = same_curves(record, np.exp(-np.arange(30) / 15))  # something else has to warn
    changes, study = proposed(record)

    assert study.space["learning_rate"].low > 2e-4
    assert study.space["learning_rate"].low <= 1e-3
    assert changes["space.learning_rate"].why == ("the best trials are in this range, and it matters beyond chance")


def test_more_trials_more_seeds_or_no_pruner_are_proposed(proposed, known):
    noisy, study = proposed(known(30, lambda settings: 0.9, noise=0.004, space=RATE, confirm=3, seed=3))
    assert study.confirm.repeats > 3

    record = known(
        120, uphill, space=RATE, pruned=lambda settings, number: place(settings) > 0.66, controls=lambda n: n % 6 == 5
    )
    changes, study = proposed(record)
    assert changes["pruner"].old == "median"
    assert study.pruner == "none"
    assert "confirm.repeats" in noisy


def test_a_relative_data_file_is_found_from_the_study_folder(tmp_path, monkeypatch, known):
    """The file is written there, and the sweep may be started in any folder."""
    record = same_curves(known(60, uphill, seed=1, confirm=3), np.exp(-np.arange(30) / 15))
    record = replace(record, study={**record.study, "dataset": "mine.npz"}, data_file="../../given/mine.npz")
    (tmp_path / "given").mkdir()
    (tmp_path / "given/mine.npz").touch()
    (tmp_path / "runs/mine").mkdir(parents=True)
    found = propose(record, _allowed)
    (tmp_path / "runs/mine/mine-2.toml").write_text(found.text)
    monkeypatch.chdir("/")

    assert "data_file" not in found.text
    study = load(str(tmp_path / "runs/mine/mine-2.toml"))
    assert study.dataset == f"{tmp_path}/runs/mine/../../given/mine.npz"


def test_known_good_settings_are_kept_unless_their_range_is_narrowed(proposed, known):
    """Those that are left out are named in the file."""
    record = known(80, lambda settings: 0.9, space=RATE, broken=lambda settings: settings["learning_rate"] > 2e-3)
    start = [{"learning_rate": 5e-4}, {"learning_rate": 8e-3}, {}]
    record = replace(record, study={**record.study, "start": start})
    changes, study = proposed(record)

    assert changes["space.learning_rate"].new["high"] < 8e-3
    assert [settings.learning_rate for settings in study.start] == [5e-4, study.baseline.learning_rate]
    assert "# start 2 is left out: learning_rate = 0.008 is outside its range\n" in propose(record, _allowed).text


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
def test_every_proposal_is_a_valid_study_file(proposed, seed, known):
    """Unchanged keys equal the record; every change has a comment in the file."""
    record = same_curves(known(60, uphill, seed=seed, confirm=3, noise=0.02), np.exp(-np.arange(30) / 15))
    changes, study = proposed(record)
    old = from_record(record.study).as_dict()
    new = study.as_dict()
    for key in old:
        if key not in ("name", "space", "confirm", "baseline"):
            assert key in changes or new[key] == old[key]
    assert {key for key in new["space"] if new["space"][key] != old["space"][key]} == {
        key.removeprefix("space.") for key in changes if key.startswith("space.")
    }
    text = propose(record, _allowed).text
    assert text.count("  # was ") == len(changes)
    assert study.name == "mnist-2"


def test_names_are_numbered_and_sanitised(proposed, known):
    record = known(60, uphill, space=RATE, seed=2)
    for name, following in (("digits-2", "digits-3"), ("a b/\u4f60$", "a-b----2"), ("x" * 64, "x" * 56 + "-2")):
        hostile = {**record.study, "name": name, "question": f'{name} "quoted" \\ \x07\n\x7f'}
        _, study = proposed(replace(record, study=hostile))
        assert study.name == following
        assert study.question == hostile["question"]


@pytest.mark.parametrize("trials", [0, 1, 3])
def test_nothing_is_proposed_if_checks_are_inconclusive(trials, known):
    assert propose(known(trials, uphill, space=RATE)) is None


def test_nothing_is_proposed_for_a_running_study_or_without_warnings(known, made_up):
    assert propose(made_up(60, planned=80, running=2)) is None
    calm = known(60, lambda s: 0.95 - 0.2 * (place(s) - 0.55) ** 2, space=RATE, noise=0.0001)
    assert propose(same_curves(calm, 0.1 + np.exp(-np.arange(30) / 2) + 1e-4 * np.arange(30))) is None


@pytest.mark.slow
def test_the_proposal_follows_the_checks(proposed, known):
    """Its changes and the command that runs it are on the page of the checks."""
    record = known(60, uphill, space=RATE, seed=2)
    with matplotlib.rc_context(settings()):
        sheets = pages.pages(record, propose(record, _allowed))
    (page,) = [page for page in sheets if any(title.startswith("Proposed next study: ") for title in page.findings)]
    text = " ".join(line.get_text() for line in page.figure.texts)

    assert "checks passed" in page.finding or "attention" in page.finding
    assert "the best trials are at the upper bound of learning rate; { low = 0.0001, high = 0.1, log = true }" in text
    assert "sweep run mnist-2" in text
