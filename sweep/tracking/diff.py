"""The difference between a recorded and a tracked run: the one comparison behind `sweep sync` and `sweep doctor`.

`sync` compares with the last point of each curve, which is all that MLflow returns for many runs at once; `doctor`
with every point and every file. Both sides are plain values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sweep.tracking.expected_runs import Run, file_digests
from sweep.tracking.tracker import Point, RemoteRun
from sweep.tracking.user_edits import edits_of, left_over

YOURS = "yours"
"""The kind of what the user changed or added, which is no damage."""


@dataclass(frozen=True)
class Diff:
    """What has to be sent to make a tracked run equal to the record; of files the SHA-256 by name."""

    points: list[Point]
    params: dict[str, str]
    tags: dict[str, str]
    files: dict[str, str]
    dataset: bool
    name: bool
    state: bool


@dataclass(frozen=True)
class Difference:
    """One place where the tracker, or a file, differs from the record.

    Attributes:
        where: key of the run, or what else it concerns.
        kind: missing, wrong, extra, doubled or yours.
        what: the metric and step, the param, the tag, the file.
        needs_rewrite: no update can correct it, because MLflow never changes a param or a point: the run has to be
            deleted and rewritten.
    """

    where: str
    kind: str
    what: str
    needs_rewrite: bool = False


def diff(run: Run, remote: RemoteRun, *, force: bool = False) -> Diff:
    """What of the run has to be sent; with `force` also in place of what a user changed."""
    edits = edits_of(remote)
    kept = {} if force else edits.tags
    return Diff(
        points=missing_points(run.curves, run.scalars, remote),
        params={key: value for key, value in run.params.items() if key not in remote.params},
        tags=left_over(run, remote)
        | {key: value for key, value in run.tags.items() if remote.tags.get(key) != value and key not in kept},
        files={name: digest for name, digest in file_digests(run.files).items() if remote.files.get(name) != digest},
        dataset=not remote.has_dataset,
        name=remote.name != run.name and (force or edits.name is None),
        state=remote.status != run.status or (run.ended is not None and remote.ended != run.ended),
    )


def differences(run: Run, remote: RemoteRun) -> list[Difference]:
    """Every difference, in both directions, and what is the user's; `remote` must be complete."""
    found, edits = diff(run, remote), edits_of(remote)
    points = [(f"metric {point.key}", point, _has_step(remote, point)) for point in found.points]
    return [
        *(Difference(run.key, "missing", f"{metric}, step {p.step}") for metric, p, is_there in points if not is_there),
        *(Difference(run.key, "wrong", metric) for metric, _, is_there in points if is_there),
        *(Difference(run.key, "missing", f"param {key}") for key in found.params),
        *(Difference(run.key, _kind(key in remote.tags), f"tag {key}") for key in found.tags),
        *(Difference(run.key, _kind(name in remote.files), f"file {name}") for name in found.files),
        *([Difference(run.key, "missing", "dataset")] if found.dataset else []),
        *([Difference(run.key, "wrong", f"name {remote.name!r}")] if found.name else []),
        *([Difference(run.key, "wrong", _state(run, remote))] if found.state else []),
        *permanent_differences(run, remote),
        *(Difference(run.key, YOURS, edit) for edit in edits.in_words()),
    ]


def permanent_differences(run: Run, remote: RemoteRun) -> Iterator[Difference]:
    """Params of another value, and points that are wrong, doubled or too many: MLflow changes neither."""
    for key, value in run.params.items():
        if remote.params.get(key, value) != value:
            yield Difference(run.key, "wrong", f"param {key}", needs_rewrite=True)
    curves = _by_step(run)
    for key in curves if remote.complete else ():
        seen: set[int] = set()
        for point in remote.points.get(key, []):
            expected = curves[key].get(point.step)
            what = f"metric {key}, step {point.step}"
            if point.step in seen:
                yield Difference(run.key, "doubled", what, needs_rewrite=True)
            elif expected is None:
                yield Difference(run.key, "extra", what, needs_rewrite=True)
            elif not _equal(expected, point.value):
                yield Difference(run.key, "wrong", what, needs_rewrite=True)
            seen.add(point.step)


def missing_points(curves: Sequence[Point], scalars: Sequence[Point], remote: RemoteRun | None) -> list[Point]:
    """Points of curves that are not there; scalars whose last value differs, dated after it so that they count."""
    if remote is None:
        return [*curves, *scalars]
    if remote.complete:
        steps = {key: {point.step for point in points} for key, points in remote.points.items()}
        missing = [point for point in curves if point.step not in steps.get(point.key, ())]
    else:
        last = {key: points[-1].step for key, points in remote.points.items()}
        missing = [point for point in curves if point.step > last.get(point.key, -1)]
    for point in scalars:
        found = remote.points.get(point.key)
        if not found:
            missing.append(point)
        elif not _equal((newest := max(found, key=lambda p: p.time)).value, point.value):
            missing.append(Point(point.key, point.value, max(point.time, newest.time + 1), point.step))
    return missing


def _state(run: Run, remote: RemoteRun) -> str:
    return f"state {remote.status}" if remote.status != run.status else "end time"


def _has_step(remote: RemoteRun, point: Point) -> bool:
    return any(found.step == point.step for found in remote.points.get(point.key, []))


def _kind(is_there: bool) -> str:
    return "wrong" if is_there else "missing"


def _by_step(run: Run) -> Mapping[str, dict[int, float]]:
    curves: dict[str, dict[int, float]] = {}
    for point in run.curves:
        curves.setdefault(point.key, {})[point.step] = point.value
    return curves


def _equal(one: float, other: float) -> bool:
    """Equal, or both not a number."""
    return one == other or (math.isnan(one) and math.isnan(other))
