"""The messages of a worker about its job.

A message crosses a pipe, or a Dask cluster, as a JSON object; `Message.as_dict` and `Message.from_dict` are the only
conversions. Worker processes import this module: standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from studies.record.outcome import Outcome


class MessageKind(StrEnum):
    """Kinds of messages, with their content in braces."""

    BEGAN = "began"
    """A Dask worker took the job from its queue."""
    EPOCH = "epoch"
    """{epoch}: a row of the record, with None for numbers that do not exist; those of the checkpoint come first."""
    HEARTBEAT = "heartbeat"
    """{step}: optimizer steps so far; distinguishes a hanging training run from one with long epochs."""
    NOTE = "note"
    """{text}: a line for the user."""

    DONE = "done"
    """{weights_sha256, confusion}: all epochs were run and weights.npz is written. Ends the job, as all that follow."""
    PAUSED = "paused"
    """All epochs up to the job's pause were run, and the checkpoint is written."""
    STOPPED = "stopped"
    """Stopped as requested, with a checkpoint."""
    FAILED = "failed"
    """{outcome, reason}: diverged, out of memory, or an error in the code."""
    ENVIRONMENT_FAILURE = "environment failure"
    """{reason}: the worker could not read or write its files. The trial has no outcome."""
    DIED = "died"
    """{reason}: the worker exited. Its pool reports this."""
    LOST = "lost"
    """{reason}: the worker is unreachable or was closed, which is not counted against the trial. From the Dask pool."""

    @property
    def ends_job(self) -> bool:
        """Whether no other message about the job follows."""
        return self not in (MessageKind.BEGAN, MessageKind.EPOCH, MessageKind.HEARTBEAT, MessageKind.NOTE)


@dataclass(frozen=True)
class Message:
    """A report about a job.

    Attributes:
        kind: what happened.
        content: values by name, as listed for the kind.
    """

    kind: MessageKind
    content: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: {"kind": ..., and the content}."""
        plain = {key: value.value if isinstance(value, Outcome) else value for key, value in self.content.items()}
        return {"kind": self.kind.value, **plain}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Message:
        """The message of `as_dict`.

        Raises:
            KeyError, ValueError: it is not one.
        """
        content = dict(plain)
        kind = MessageKind(content.pop("kind"))
        if kind is MessageKind.FAILED:
            content["outcome"] = Outcome(content["outcome"])
        return cls(kind, content)
