"""The colours of the ten best trials, and the mark of the champion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from memory_tracker import MemoryTracker
from recorded import STUDY, Recorded, finished

from studies.record.reader import SweepRecord, read
from sweep.tracking.marks import CHAMPION_TAG, COLOUR_TAG, COLOURS, MODEL_LINK, STUDY_LINK, Marks, colours
from sweep.tracking.reconcile import sync

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> SweepRecord:
    """Sixty completed trials, whose values come in an order that has nothing to do with their quality."""
    recorded = Recorded(tmp_path_factory.mktemp("many") / "digits")
    for _ in range(60):
        recorded.add("complete", 1)
    record = read(recorded.close())
    return replace(record, trials=tuple(replace(t, value=(37 * t.number) % 61 / 61) for t in record.trials))


@pytest.mark.parametrize("ended", [1, 9, 10, 11, 30, 60])
def test_the_ten_best_have_different_colours_at_any_time(many: SweepRecord, ended: int) -> None:
    record = replace(many, trials=many.trials[:ended])
    best = [trial.number for trial in record.ranked()[:10]]

    found = colours(record)

    assert len({found[number] for number in best}) == len(best)


def test_a_colour_once_given_stays(many: SweepRecord) -> None:
    """A run is then never sent again for its colour."""
    last = colours(many)

    for ended in range(60):
        assert colours(replace(many, trials=many.trials[:ended])).items() <= last.items()


def test_of_equally_good_trials_the_ten_that_were_started_last_count(many: SweepRecord) -> None:
    """As MLflow lists them; many trials have the same accuracy."""
    record = replace(many, trials=tuple(replace(trial, value=0.5) for trial in many.trials))

    found = colours(record)

    assert len({found[number] for number in range(50, 60)}) == 10


def test_the_colours_are_distinct() -> None:
    assert len(set(COLOURS)) == 10


def test_a_trial_that_was_stopped_counts_by_what_it_reached(many: SweepRecord) -> None:
    """MLflow lists it by its objective too."""
    best = many.ranked()[0]
    stopped = replace(best, state="pruned", outcome="pruned")
    trials = tuple(stopped if trial is best else trial for trial in many.trials)

    assert best.number in colours(replace(many, trials=trials))


def test_the_champion_links_to_the_study_and_its_model(tmp_path: Path) -> None:
    record = read(finished(tmp_path / "digits").close())
    marks = Marks.of(record, {STUDY_LINK: "#/one", MODEL_LINK: "#/two", "charts": "#/three"})

    tags = [marks.tags("search", trial) for trial in record.trials]
    (final,) = [marks.tags("confirm", run) for run in record.confirm if marks.tags("confirm", run)]

    assert [tag.get(CHAMPION_TAG) for tag in tags] == ["no", *[None] * 9, "yes", None]
    note = tags[10]["mlflow.note.content"]
    assert "**The champion of [study digits](#/one)**, confirmed on fresh splits." in note
    assert "[registered model](#/two)" in note
    assert tags[0]["mlflow.note.content"] == "The champion is trial 10."
    assert "[registered model](#/two)" in final["mlflow.note.content"]
    assert COLOUR_TAG not in final


def test_a_champion_that_was_not_confirmed_says_so(tmp_path: Path) -> None:
    record = read(finished(tmp_path / "digits").close())
    finals = tuple(run for run in record.confirm if run.role == "final")

    note = Marks.of(replace(record, confirm=finals), {}).tags("search", record.trials[10])["mlflow.note.content"]

    assert "**The champion of study digits**, not confirmed on fresh splits." in note


def test_the_mark_moves_to_another_champion(tmp_path: Path) -> None:
    """In the tracker the former one says no; the new one's run, the study's and the model's link to one another."""
    recorded, tracker = Recorded(tmp_path / "digits", STUDY | {"trials": 3}), MemoryTracker()
    for _ in range(3):
        recorded.add("complete", 3)
    recorded.judge(champion=1)
    sync(recorded.folder, tracker, active=False)
    before = [tracker.run(f"search/{number}").tags.get(CHAMPION_TAG) for number in range(3)]
    recorded.judge(champion=2)

    sync(recorded.close(), tracker, active=False)

    after = [tracker.run(f"search/{number}").tags.get(CHAMPION_TAG) for number in range(3)]
    assert (before, after) == (["no", "yes", None], ["no", "no", "yes"])
    champion, study = tracker.run_id("search/2"), tracker.run_id("study")
    assert f"runs/{study})" in tracker.runs[champion].tags["mlflow.note.content"]
    assert "(#/models/sweep-digits)" in tracker.runs[champion].tags["mlflow.note.content"]
    assert "(#/models/sweep-digits)" in tracker.runs[study].tags["mlflow.note.content"]
    assert f"runs/{champion})" in tracker.models["sweep-digits"].descriptions[-1]
    assert not sync(recorded.folder, tracker, active=False)
