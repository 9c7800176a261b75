"""`sweep doctor` with a tracker in memory: every kind of damage is found by name, and `--fix` repairs it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from memory_tracker import MemoryTracker, StoredRun
from recorded import Recorded

from sweep.tracking.diff import Difference
from sweep.tracking.doctor import examine, in_words
from sweep.tracking.reconcile import sync
from sweep.tracking.tracker import Point

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture(scope="module")
def recorded_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recorded = Recorded(tmp_path_factory.mktemp("doctor") / "digits")
    for epochs in (3, 4):
        recorded.add("complete", epochs)
    recorded.judge(champion=0)
    folder = recorded.close()
    (folder / "report.pdf").write_bytes(b"%PDF-1.4 a report")
    return folder


@dataclass
class Tracked:
    """A study, and a tracker that is equal to it until it is damaged."""

    folder: Path
    tracker: MemoryTracker

    def examine(self, *, fix: bool = False) -> tuple[list[str], list[str]]:
        """What differs, and what is left, in words."""
        found, left = examine(self.folder, self.tracker, active=False, fix=fix)
        return [f"{one.where} {one.kind} {one.what}" for one in found], [str(one) for one in left]

    @property
    def one(self) -> StoredRun:
        """The run of trial 1."""
        return self.tracker.run("search/1")

    @property
    def study(self) -> StoredRun:
        """The run of the study."""
        return self.tracker.run("study")

    def change_point(self, key: str, step: int, change: Callable[[Point], list[Point]]) -> None:
        """Replace one point of trial 1."""
        (at,) = (i for i, point in enumerate(self.one.points) if (point.key, point.step) == (key, step))
        self.one.points[at : at + 1] = change(self.one.points[at])

    def model_file(self) -> str:
        """Name of the champion's weights among the artifacts of the study's run."""
        (name,) = (name for name in self.study.files if name.startswith("champion-"))
        return name


@pytest.fixture
def tracked(recorded_once: Path, tracker: MemoryTracker, tmp_path: Path) -> Tracked:
    shutil.copytree(recorded_once, tmp_path / "digits")
    sync(tmp_path / "digits", tracker, active=False)
    return Tracked(tmp_path / "digits", tracker)


def flip(content: bytes) -> bytes:
    """Change a byte of the weights."""
    at = len(content) // 3
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def _unregister(tracked: Tracked) -> None:
    tracked.tracker.models.clear()


def _drop_alias(tracked: Tracked) -> None:
    tracked.tracker.models["sweep-digits"].champion = None


def _delete_experiment(tracked: Tracked) -> None:
    tracked.tracker.experiments["digits"].is_deleted = True


def _add_run(tracked: Tracked, key: str) -> None:
    tags = tracked.one.tags | {"sweep.key": key}
    tracked.tracker.create_run(tracked.one.experiment_id, tracked.one.name, tracked.one.started + 1, tags)


def _set(run: StoredRun, **changes: object) -> None:
    for name, value in changes.items():
        setattr(run, name, value)


DAMAGES: dict[str, tuple[Callable[[Tracked], object], str]] = {
    "run deleted": (lambda t: _set(t.one, is_deleted=True), "search/1 missing run"),
    "run of the study deleted": (lambda t: _set(t.study, is_deleted=True), "study missing run"),
    "experiment deleted": (_delete_experiment, "experiment missing digits"),
    "run doubled": (lambda t: _add_run(t, "search/1"), "search/1 doubled run"),
    "run of no trial": (lambda t: _add_run(t, "search/99"), "search/99 extra run"),
    "other state": (lambda t: _set(t.one, status="RUNNING"), "search/1 wrong state RUNNING"),
    "other end": (lambda t: _set(t.one, ended=5), "search/1 wrong end time"),
    "param lost": (lambda t: t.one.params.pop("beta1"), "search/1 missing param beta1"),
    "param changed": (lambda t: t.one.params.update(beta1="0.5"), "search/1 wrong param beta1"),
    "tag lost": (lambda t: t.one.tags.pop("outcome"), "search/1 missing tag outcome"),
    "run moved below another": (
        lambda t: t.one.tags.update({"mlflow.parentRunId": "x"}),
        "search/1 wrong tag mlflow.parentRunId",
    ),
    "scalar lost": (
        lambda t: t.change_point("objective", 0, lambda point: []),
        "search/1 missing metric objective, step 0",
    ),
    "scalar changed": (
        lambda t: t.change_point("objective", 0, lambda point: [replace(point, value=0.0)]),
        "search/1 wrong metric objective",
    ),
    "point lost": (
        lambda t: t.change_point("validation_loss", 1, lambda point: []),
        "search/1 missing metric validation_loss, step 1",
    ),
    "point changed": (
        lambda t: t.change_point("validation_loss", 1, lambda point: [replace(point, value=0.5)]),
        "search/1 wrong metric validation_loss, step 1",
    ),
    "point lost its value": (
        lambda t: t.change_point("validation_loss", 1, lambda point: [replace(point, value=math.nan)]),
        "search/1 wrong metric validation_loss, step 1",
    ),
    "point doubled": (
        lambda t: t.change_point("validation_loss", 1, lambda point: [point, replace(point, time=point.time + 1)]),
        "search/1 doubled metric validation_loss, step 1",
    ),
    "point of no epoch": (
        lambda t: t.change_point("validation_loss", 1, lambda point: [point, replace(point, step=40)]),
        "search/1 extra metric validation_loss, step 40",
    ),
    "file lost": (lambda t: t.one.files.pop("epochs.csv"), "search/1 missing file epochs.csv"),
    "file changed": (
        lambda t: t.one.files.update({"confusion.png": b"a picture"}),
        "search/1 wrong file confusion.png",
    ),
    "report lost": (lambda t: t.study.files.pop("report.pdf"), "study missing file report.pdf"),
    "dataset lost": (lambda t: _set(t.one, dataset=None), "search/1 missing dataset"),
    "champion unregistered": (_unregister, "model missing version of sweep-digits"),
    "alias lost": (_drop_alias, "model wrong alias champion of sweep-digits"),
    "model file lost": (lambda t: t.study.files.pop(t.model_file()), "model missing file champion.npz"),
    "model weights changed": (
        lambda t: t.study.files.update({t.model_file(): flip(t.study.files[t.model_file()])}),
        "model missing file champion.npz",
    ),
    "weights lost": (
        lambda t: (t.folder / "trials/0001/weights.npz").unlink(),
        "folder missing trials/0001/weights.npz",
    ),
    "weights changed": (
        lambda t: (t.folder / "trials/0001/weights.npz").write_bytes(b"damaged"),
        "folder wrong trials/0001/weights.npz",
    ),
    "champion changed": (
        lambda t: (t.folder / "champion.npz").write_bytes(flip((t.folder / "champion.npz").read_bytes())),
        "folder wrong champion.npz",
    ),
}


def test_an_equal_tracker_has_no_differences(tracked: Tracked) -> None:
    assert tracked.examine(fix=True) == ([], [])


@pytest.mark.parametrize(
    "damage", [pytest.param(name, marks=pytest.mark.slow if i % 3 else ()) for i, name in enumerate(DAMAGES)]
)
def test_damage_is_found_and_repaired(tracked: Tracked, damage: str) -> None:
    """Without --fix nothing is changed; with it nothing is left, and another sync sends nothing."""
    apply, expected = DAMAGES[damage]
    apply(tracked)
    found, left = tracked.examine()
    assert any(line.startswith(expected) for line in found), found
    assert len(left) == len(found)

    found_again, left = tracked.examine(fix=True)

    assert found_again == found
    assert left == []
    assert not sync(tracked.folder, tracked.tracker, active=False)


@pytest.mark.parametrize(
    ("difference", "sentence"),
    [
        (("experiment", "missing", "tiny"), "MLflow has no experiment tiny"),
        (("search/1", "missing", "run"), "MLflow has no run search/1"),
        (("search/99", "extra", "run"), "MLflow has run search/99, which is not in the record"),
        (("search/1", "doubled", "run 8f3a"), "MLflow has run search/1 twice, again as 8f3a"),
        (("search/1", "missing", "metric objective, step 0"), "run search/1 in MLflow has no metric objective, step 0"),
        (("search/1", "doubled", "metric loss, step 1"), "run search/1 in MLflow has metric loss, step 1 twice"),
        (("model", "missing", "version of sweep-tiny"), "MLflow's model registry has no version of sweep-tiny"),
        (("model", "wrong", "alias champion of x"), "MLflow's model registry has a wrong alias champion of x"),
        (("folder", "missing", "champion.npz"), "the study's folder has no champion.npz"),
        (("search/1", "yours", "name 'best'"), "run search/1 in MLflow has your name 'best'"),
    ],
)
def test_a_difference_is_printed_as_a_sentence(difference: tuple[str, str, str], sentence: str) -> None:
    assert in_words(Difference(*difference)) == sentence
