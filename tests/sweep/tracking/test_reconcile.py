"""A study and a tracker in memory, which may fail at any call: afterwards the tracker equals the record."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import shutil
from collections import Counter
from pathlib import Path

import pytest
from memory_tracker import LOSE, REFUSE, MemoryTracker
from recorded import STUDY, Recorded, expected_runs, finished, growth, write_weights
from recorded import grown as make_grown

from studies.record.folder import StudyFolder
from studies.record.reader import SweepRecord, read
from sweep.tracking import trial_run as trial_runs
from sweep.tracking.follow import follow
from sweep.tracking.reconcile import Mirror, MirrorError, sync
from sweep.tracking.study_run import STUDY_KEY
from sweep.tracking.tracker import TrackerError
from sweep.tracking.views import view_key

pytestmark = pytest.mark.usefixtures("without_pictures")


def assert_equal(tracker: MemoryTracker, record: SweepRecord) -> int:
    """Every run of the record exists once and holds what it should; returns how many points there are.

    The single numbers of the study's own run change with it: of those only the last value counts.
    """
    runs = {run.key: run for run in expected_runs(record)}
    identity = f"{record.uid}/{record.folder.name}"
    found = [r for r in tracker.runs.values() if r.tags["sweep.study"] == identity and not r.is_deleted]
    assert Counter(run.tags["sweep.key"] for run in found) == Counter(list(runs))
    for stored in found:
        run = runs[stored.tags["sweep.key"]]
        of_study = run.key == STUDY_KEY
        points = [point for point in stored.points if not of_study or point.key == "best_so_far"]
        assert Counter(map(repr, points)) == Counter(map(repr, (*run.curves, *(() if of_study else run.scalars))))
        last = {point.key: point.value for point in sorted(stored.points, key=lambda point: point.time)}
        assert last.items() >= {p.key: p.value for p in run.scalars if not math.isnan(p.value)}.items()
        assert (stored.name, stored.status, stored.ended) == (run.name, run.status, run.ended)
        assert stored.params == run.params
        with_links = "mlflow.note.content"
        assert stored.tags.items() >= {key: tag for key, tag in run.tags.items() if key != with_links}.items()
        kept = {name: content for name, content in stored.files.items() if "/" not in name}
        assert kept == {
            name: content if isinstance(content, bytes) else content.read_bytes() for name, content in run.files.items()
        }
        assert stored.dataset == record.dataset
        if not of_study:
            assert stored.tags["mlflow.parentRunId"] == tracker.run_id(STUDY_KEY)
    return sum(len(run.points) for run in found)


MODEL_CALLS = {"find_model_names", "find_model"}
"""Calls that look for the registered champion."""


def champions(tracker: MemoryTracker, folder: Path) -> list[bool]:
    """Of each registered version, whether it has the champion's weights and the alias."""
    model = tracker.models.get(f"sweep-{folder.name}")
    digest = hashlib.sha256((folder / "champion.npz").read_bytes()).hexdigest()
    return [
        digest == hashlib.sha256(tracker.runs[run_id].files[f"champion-{weights[:12]}/champion.npz"]).hexdigest()
        and model.champion == version
        for version, (run_id, weights) in enumerate(model.versions if model else [])
    ]


# --- a tracker that works


def test_a_second_sync_sends_nothing(tracker: MemoryTracker, tmp_path: Path) -> None:
    folder = finished(tmp_path / "digits").close()
    first = sync(folder, tracker, active=False)
    before = len(tracker.calls)

    second = sync(folder, tracker, active=False)

    assert first.runs_created == len(tracker.runs) == 1 + 12 + 5
    assert first.metrics == assert_equal(tracker, read(folder))
    assert first.models == 1
    assert not second
    assert set(tracker.calls[before:]) == {"read_experiment", "find_runs"} | MODEL_CALLS


def test_a_running_trial_grows_in_its_run(tracker: MemoryTracker, tmp_path: Path) -> None:
    recorded = Recorded(tmp_path / "digits")
    recorded.add("running", 3)
    mirror = Mirror(recorded.folder, tracker)
    mirror.sync(active=True)
    running = tracker.run_id("search/0"), tracker.run("search/0").status
    recorded.continue_last(10)

    mirror.sync(active=False)

    recorded.close()
    assert running == (tracker.run_id("search/0"), "RUNNING")
    assert tracker.run("search/0").status == "FINISHED"
    assert assert_equal(tracker, read(recorded.folder)) > 60


def test_an_interrupted_trial_continues_in_its_own_run(tracker: MemoryTracker, tmp_path: Path) -> None:
    recorded = Recorded(tmp_path / "digits")
    recorded.add("running", 3)
    seen = []
    for active in (True, False):
        sync(recorded.folder, tracker, active=active)
        seen.append((tracker.run_id("search/0"), tracker.run("search/0").status, tracker.run("study").tags["state"]))
    recorded.continue_last(10)

    sync(recorded.close(), tracker, active=False)

    assert [status for _, status, _ in seen] == ["RUNNING", "SCHEDULED"]
    assert [state for _, _, state in seen] == ["running", "interrupted"]
    assert {run_id for run_id, _, _ in seen} == {tracker.run_id("search/0")}
    assert_equal(tracker, read(recorded.folder))


def test_a_restarted_study_keeps_the_runs_of_the_old_one(tracker: MemoryTracker, tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    for uid in ("old", "new"):
        recorded = Recorded(folder, uid=uid)
        recorded.add("complete", 2)
        sync(recorded.close(), tracker, active=False)
        shutil.rmtree(folder)

    studies = sorted(run.tags["sweep.study"] for run in tracker.runs.values())
    assert studies == ["new/digits", "new/digits", "old/digits", "old/digits"]
    assert list(tracker.experiments) == ["digits"]


def test_another_champion_is_registered_as_a_new_version(tracker: MemoryTracker, tmp_path: Path) -> None:
    recorded = Recorded(tmp_path / "digits")
    recorded.add("complete", 2)
    recorded.judge(champion=0)
    folder = recorded.close()
    sync(folder, tracker, active=False)
    assert champions(tracker, folder) == [True]

    write_weights(folder / "champion.npz", seed=100)
    sync(folder, tracker, active=False)

    assert champions(tracker, folder) == [False, True]


def test_a_second_process_finds_what_the_first_one_sent(tracker: MemoryTracker, tmp_path: Path) -> None:
    recorded = Recorded(tmp_path / "digits")
    recorded.add("complete", 2)
    first, second = (Mirror(recorded.folder, tracker) for _ in range(2))
    for mirror in (first, second, first):
        mirror.sync(active=True)
        recorded.add("complete", 2)
    first.sync(active=False)

    assert_equal(tracker, read(recorded.close()))


def test_the_addresses_for_the_ui_are_written(tracker: MemoryTracker, tmp_path: Path) -> None:
    folder = finished(tmp_path / "digits").close()

    sync(folder, tracker, active=False)

    assert json.loads(StudyFolder(folder).mlflow.read_text()) == {
        "experiment_id": "0",
        "run_id": tracker.run_id("study"),
        "winner_run_id": tracker.run_id("search/10"),
        "study": "5eed/digits",
        "view": view_key("5eed/digits"),
    }


# --- a tracker that fails


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small study at its end."""
    return make_grown(tmp_path_factory.mktemp("grown") / "digits")


def fail_call(tracker: MemoryTracker, number: int, mode: str) -> None:
    """Let the call with this number, counted from now, fail."""
    number += len(tracker.calls)
    tracker.fails = lambda name: mode if len(tracker.calls) == number else None


@pytest.mark.slow
@pytest.mark.parametrize("mode", [REFUSE, LOSE])
def test_any_kind_of_call_may_fail(tracker: MemoryTracker, grown: Path, mode: str) -> None:
    """For the first or the last time that it is called; one more sync then makes the two equal."""
    record = read(grown)
    sync(grown, tracker, active=False)
    calls, points = list(tracker.calls), assert_equal(tracker, record)
    assert points >= 1000
    first = {calls.index(name) for name in calls}
    last = {len(calls) - 1 - calls[::-1].index(name) for name in calls}
    for number in sorted(first | last):
        tracker = MemoryTracker()
        fail_call(tracker, number, mode)
        mirror = Mirror(grown, tracker)
        with pytest.raises(MirrorError, match=r"(?s)runs \(\d+ metric values\) unsent.*sweep sync digits"):
            mirror.sync(active=False)
        mirror.sync(active=False)

        assert assert_equal(tracker, record) == points
        assert champions(tracker, grown) == [True]
        assert not mirror.sync(active=False)


@pytest.mark.parametrize("mode", [REFUSE, pytest.param(LOSE, marks=pytest.mark.slow)])
def test_every_call_may_fail_once(tracker: MemoryTracker, grown: Path, mode: str) -> None:
    """One after the other, in the same tracker: no failure undoes what was sent before."""
    failures = 0
    for number in range(100):
        fail_call(tracker, number, mode)
        with contextlib.suppress(MirrorError):
            sync(grown, tracker, active=False)
            break
        failures += 1
    tracker.fails = lambda name: None
    sync(grown, tracker, active=False)

    assert failures > 6
    assert_equal(tracker, read(grown))
    assert champions(tracker, grown) == [True]


class Sweep:
    """Grows the study whenever it is asked whether it is running, and lets the tracker fail at a given step."""

    def __init__(self, folder: Path, tracker: MemoryTracker, mode: str, step: int, answered: int) -> None:
        self.growing, self.tracker = Recorded(folder, STUDY | {"trials": 3}), tracker
        self.left, self.mode, self.step, self.answered = growth(self.growing), mode, step, answered
        self.failed = 0

    def is_active(self) -> bool:
        """Until the study is complete and the tracker failed three times."""
        if len(self.left) == self.step:
            begin = len(self.tracker.calls) + self.answered
            self.tracker.fails = lambda name: self._fail() if len(self.tracker.calls) >= begin else None
            self.step = -1
        if self.left:
            self.left.pop(0)()
            return True
        return self.step == -1 and self.failed < 3

    def _fail(self) -> str | None:
        self.failed += 1
        return self.mode if self.failed <= 3 else None


@pytest.mark.parametrize(
    ("mode", "step", "answered"),
    [
        (REFUSE, 5, 4),
        (LOSE, 2, 1),
        (REFUSE, 1, 0),
        *(pytest.param(LOSE, step, answered, marks=pytest.mark.slow) for step in range(1, 6) for answered in (0, 4)),
    ],
)
def test_an_outage_during_a_sweep_loses_and_doubles_nothing(
    tracker: MemoryTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, step: int, answered: int
) -> None:
    monkeypatch.setattr("sweep.tracking.follow.POLL_S", 0.001)
    monkeypatch.setattr("sweep.tracking.follow.RETRY_S", 0.001)
    sweep = Sweep(tmp_path / "digits", tracker, mode, step, answered)

    with contextlib.suppress(MirrorError):  # an outage at the end is reported; the sync below ends it
        follow(sweep.growing.folder, tracker, sweep.is_active)
    folder = sweep.growing.close()
    tracker.fails = lambda name: None
    sync(folder, tracker, active=False)

    assert sweep.failed >= 3
    assert assert_equal(tracker, read(folder)) >= 1000
    assert champions(tracker, folder) == [True]
    assert not sync(folder, tracker, active=False)


def test_unsent_values_are_counted_without_drawing(
    tracker: MemoryTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tracker that fails is tried again every few seconds, beside the training: the count must cost nothing."""
    recorded = Recorded(tmp_path / "digits")
    recorded.add("complete", 3)
    mirror = Mirror(recorded.folder, tracker)
    mirror.sync(active=True)
    recorded.add("complete", 4)
    tracker.fails = lambda name: REFUSE
    drawn = []
    monkeypatch.setattr(trial_runs, "confusion_png", lambda *drawing: drawn.append(drawing))

    for _ in range(2):
        drawn.clear()
        with pytest.raises(MirrorError, match=r"1 runs \(33 metric values\) unsent"):
            mirror.sync(active=True)

    recorded.close()
    assert drawn == []


def test_a_param_that_was_changed_by_hand_is_reported(tracker: MemoryTracker, tmp_path: Path) -> None:
    recorded = Recorded(tmp_path / "digits")
    recorded.add("running", 3)
    sync(recorded.folder, tracker, active=True)
    tracker.run("search/0").params["beta1"] = "0.5"
    recorded.continue_last(10)

    with pytest.raises(MirrorError, match=r"has another param beta1 than the record; `sweep doctor --fix`"):
        sync(recorded.close(), tracker, active=False)


def test_what_helps_is_said_instead_of_the_advice_to_wait(tracker: MemoryTracker, grown: Path) -> None:
    """In the error and in the result for `sweep run`."""

    def fail(name: str) -> None:
        raise TrackerError("the server requires a login", "set MLFLOW_TRACKING_TOKEN")

    tracker.fails = fail
    with pytest.raises(MirrorError) as failure:
        sync(grown, tracker, active=False)

    first, _, last = str(failure.value).splitlines()
    assert first == "Could not sync digits to memory: the server requires a login"
    assert last == "set MLFLOW_TRACKING_TOKEN; then run `sweep sync digits`"
    assert failure.value.result.fix == "set MLFLOW_TRACKING_TOKEN"
