"""What of a run is its user's: a name, notes, tags, params and metrics that the mirror did not send.

The tag `SENT_TAG` of a run says what was sent: a name or tag of another value is an edit, a key that it lacks is an
addition. It is written in the same request as the tags that it describes.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sweep.tracking.expected_runs import UNCHANGEABLE, Run
from sweep.tracking.tracker import RemoteRun

SENT_TAG = "sweep.sent"
_OURS = ("sweep.", "mlflow.")
"""Prefixes of tags that are never the user's: the mirror's own, and MLflow's except those of `_EDITABLE`."""
_FIELDS = ("format", "names", "tags", "params", "metrics", "created")
_EDITABLE = {"mlflow.note.content": "description", "mlflow.runColor": "colour"}
"""MLflow's tags that its page lets a user change, and its words for them."""
_FORMER_METRICS = ("learning_rate",)
"""Metrics that older versions sent under another name."""


@dataclass(frozen=True)
class Edits:
    """What a user changed in a run or added to it.

    Attributes:
        name: if it was changed.
        tags: with other values than were sent, and added ones.
        params: added ones.
        metrics: names of added ones.
    """

    name: str | None
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.name is not None or bool(self.tags or self.params or self.metrics)

    def in_words(self) -> Iterator[str]:
        """Each in words: `name 'mine'`, `description`, `tag seen`, `metric f1`."""
        if self.name is not None:
            yield f"name {self.name!r}"
        for kind, keys in (("tag", self.tags), ("param", self.params), ("metric", self.metrics)):
            yield from (_EDITABLE.get(key, f"{kind} {key}") for key in sorted(keys))


def edits_of(remote: RemoteRun) -> Edits:
    """What the user changed in a run; nothing is known of one that an older version created."""
    if not (sent := _sent(remote)):
        return Edits(None, {}, {}, ())
    tags = {
        key: value
        for key, value in remote.tags.items()
        if _is_visible(key) and _short(value) != sent["tags"].get(key, _short(""))
    }
    params = {key: value for key, value in remote.params.items() if key not in sent["params"]}
    metrics = tuple(key for key in remote.points if key not in sent["metrics"])
    return Edits(remote.name if _short(remote.name) not in sent["names"] else None, tags, params, metrics)


def additions(run: Run, remote: RemoteRun) -> Edits:
    """What the user added to a run of an older version, which did not note what it sent.

    Args:
        run: what it should be; what else it has is an addition.
        remote: the run.
    """
    tags = {key: value for key, value in remote.tags.items() if key not in run.tags and _is_visible(key)}
    params = {key: value for key, value in remote.params.items() if key not in run.params}
    ours = {*(point.key for point in (*run.curves, *run.scalars)), *_FORMER_METRICS}
    return Edits(None, tags, params, tuple(key for key in remote.points if key not in ours))


def left_over(run: Run, remote: RemoteRun) -> dict[str, str]:
    """Tags that were sent and not changed, which the run should not have any more; emptied, as they should be."""
    sent = _sent(remote).get("tags", {})
    return {key: "" for key in sent if key not in run.tags and _short(remote.tags.get(key, "")) == sent[key]}


def is_outdated(remote: RemoteRun) -> bool:
    """Whether an older version created the run, with other params or curves: MLflow never changes one."""
    return _sent(remote).get("format") != UNCHANGEABLE


def says_what_was_sent(remote: RemoteRun) -> bool:
    """Whether it is known what of a run is its user's."""
    return bool(_sent(remote))


def created(remote: RemoteRun) -> int:
    """When a run was created, in nanoseconds; 0 if an older version did."""
    return int(_sent(remote).get("created", 0))


def _sent(remote: RemoteRun) -> dict[str, Any]:
    """What was sent to a run: `names` and `tags` as hashes, keys of `params` and `metrics`, and when it was created.

    Empty if an older version created it, or if the tag was damaged.
    """
    try:
        found = json.loads(remote.tags.get(SENT_TAG, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) and found.keys() == set(_FIELDS) else {}


def sent_tag(run: Run, remote: RemoteRun | None) -> str:
    """The value of `SENT_TAG` of a run that is sent.

    Args:
        run: what is sent.
        remote: what was sent before, None for a new run. Names and metrics may be sent in later requests, so those of
            before count as ours too.
    """
    before = (_sent(remote) if remote else {}) or {"names": [], "metrics": [], "created": time.time_ns()}
    metrics = dict.fromkeys([*before["metrics"], *(point.key for point in (*run.curves, *run.scalars))])
    values = {
        "format": UNCHANGEABLE,
        "names": list(dict.fromkeys([*before["names"], _short(run.name)])),
        "tags": {key: _short(value) for key, value in run.tags.items() if _is_visible(key)},
        "params": list(run.params),
        "metrics": list(metrics),
        "created": before["created"],
    }
    assert values.keys() == set(_FIELDS)
    return json.dumps(values, separators=(",", ":"))


def _short(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:8]


def _is_visible(tag: str) -> bool:
    """Whether a user may mean something by a tag."""
    return tag in _EDITABLE or not tag.startswith(_OURS)
