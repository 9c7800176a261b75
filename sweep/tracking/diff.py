"""What a run in MLflow lacks of what the record says: the one comparison behind `sweep sync` and `sweep doctor`.

`sync` compares with the last point of each curve, which is all that MLflow tells of many runs at once; `doctor` with
every point and every file. No MLflow in sight: both sides are plain values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sweep.tracking.expected_runs import Point, Run, file_digests


@dataclass
class Held:
    """A run as MLflow holds it.

    Attributes:
        run_id: MLflow's own.
        name, status, ended: as MLflow shows them; `ended` in Unix milliseconds, or None.
        params, tags: all of them, ours and others'.
        points: of each metric, in order of steps; only the last of each, unless `whole`.
        files: SHA-256 of each file that was sent; of each that is there, if `whole`.
        has_dataset: whether it names its data.
        whole: whether every point and every file was looked at.
    """

    run_id: str
    name: str
    status: str
    ended: int | None
    params: dict[str, str]
    tags: dict[str, str]
    points: dict[str, list[Point]]
    files: dict[str, str]
    has_dataset: bool
    whole: bool = False


@dataclass(frozen=True)
class Lack:
    """What has to be sent to make a run equal to the record; of files the SHA-256 by name."""

    points: list[Point]
    params: dict[str, str]
    tags: dict[str, str]
    files: dict[str, str]
    dataset: bool
    name: bool
    state: bool


@dataclass(frozen=True)
class Difference:
    """One place where MLflow, or a file, is not what the record says.

    Attributes:
        where: key of the run, or what else it concerns.
        kind: missing, wrong, extra or doubled.
        what: the metric and step, the param, the tag, the file.
        final: no sending can mend it, for MLflow never takes a param or a point back: the run is written anew.
    """

    where: str
    kind: str
    what: str
    final: bool = False


def lack(run: Run, held: Held) -> Lack:
    """What of the run is to be sent."""
    return Lack(
        points=lacking_points(run.curves, run.scalars, held),
        params={key: value for key, value in run.params.items() if key not in held.params},
        tags={key: value for key, value in run.tags.items() if held.tags.get(key) != value},
        files={name: digest for name, digest in file_digests(run.files).items() if held.files.get(name) != digest},
        dataset=not held.has_dataset,
        name=held.name != run.name,
        state=held.status != run.status or (run.ended is not None and held.whole and held.ended != run.ended),
    )


def differences(run: Run, held: Held) -> list[Difference]:
    """Every difference, both ways; the run must be held whole. What others added to a run, a note say, is none."""
    lacking = lack(run, held)
    found = [
        Difference(run.key, "missing", f"metric {p.key}, step {p.step}") for p in lacking.points if _is_new(p, held)
    ]
    found += [Difference(run.key, "wrong", f"metric {p.key}") for p in lacking.points if not _is_new(p, held)]
    found += [Difference(run.key, "missing", f"param {key}") for key in lacking.params]
    found += [Difference(run.key, _kind(key in held.tags), f"tag {key}") for key in lacking.tags]
    found += [Difference(run.key, _kind(name in held.files), f"file {name}") for name in lacking.files]
    found += [Difference(run.key, "missing", "dataset")] if lacking.dataset else []
    found += [Difference(run.key, "wrong", f"name {held.name!r}")] if lacking.name else []
    found += [Difference(run.key, "wrong", f"state {held.status}")] if lacking.state else []
    return found + list(beyond_sending(run, held))


def beyond_sending(run: Run, held: Held) -> Iterator[Difference]:
    """What MLflow holds and should not: params of another value, points that are wrong, doubled or too many."""
    for key, value in run.params.items():
        if held.params.get(key, value) != value:
            yield Difference(run.key, "wrong", f"param {key}", final=True)
    curves = _by_step(run)
    for key in curves if held.whole else ():
        seen: set[int] = set()
        for point in held.points.get(key, []):
            wanted = curves[key].get(point.step)
            what = f"metric {key}, step {point.step}"
            if point.step in seen:
                yield Difference(run.key, "doubled", what, final=True)
            elif wanted is None:
                yield Difference(run.key, "extra", what, final=True)
            elif not _same(wanted, point.value):
                yield Difference(run.key, "wrong", what, final=True)
            seen.add(point.step)


def lacking_points(curves: Sequence[Point], scalars: Sequence[Point], held: Held | None) -> list[Point]:
    """Points of curves that are not there; scalars whose last value is another, dated after it so that it wins."""
    if held is None:
        return [*curves, *scalars]
    if held.whole:
        there = {key: {point.step for point in points} for key, points in held.points.items()}
        lacking = [point for point in curves if point.step not in there.get(point.key, ())]
    else:
        last = {key: points[-1].step for key, points in held.points.items()}
        lacking = [point for point in curves if point.step > last.get(point.key, -1)]
    for point in scalars:
        found = held.points.get(point.key)
        if not found:
            lacking.append(point)
        elif not _same((newest := max(found, key=lambda p: p.time)).value, point.value):
            lacking.append(Point(point.key, point.value, max(point.time, newest.time + 1), point.step))
    return lacking


def _is_new(point: Point, held: Held) -> bool:
    return all(there.step != point.step for there in held.points.get(point.key, []))


def _kind(there: bool) -> str:
    return "wrong" if there else "missing"


def _by_step(run: Run) -> Mapping[str, dict[int, float]]:
    curves: dict[str, dict[int, float]] = {}
    for point in run.curves:
        curves.setdefault(point.key, {})[point.step] = point.value
    return curves


def _same(one: float, other: float) -> bool:
    """Equal, or both not a number."""
    return one == other or (math.isnan(one) and math.isnan(other))
