"""What the run of a trial shows of its place among the others: its colour, and whether it is the champion."""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, field

from studies.record.reader import SweepRecord, TrialRecord
from sweep.tracking import expected_runs

COLOUR_TAG = "mlflow.runColor"
"""The tag by which MLflow's page colours a run; without it a colour is drawn from the run's id, and colours repeat."""
COLOURS = (
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#d62728",
    "#9467bd",
    "#8c564b",
    "#e377c2",
    "#17becf",
    "#bcbd22",
    "#393b79",
)
"""Of the ten best trials, whose curves MLflow shows at first."""
CHAMPION_TAG = "champion"
STUDY_LINK, MODEL_LINK = "study", "model"
"""Keys of the links that a description of a run may hold."""


@dataclass(frozen=True)
class Marks:
    """Tags of the runs of one study's trials that depend on its other trials.

    Attributes:
        study: the study's name.
        champion: number of the trial that the verdict names; None before there is one.
        repeated: trials that were trained again after the search: the former champions are among them.
        confirmed: those of them that were trained on fresh splits.
        shipped: number of the final model in the registry, a trial of `confirm`.
        colours: of trials of the search, by number.
        links: addresses in the tracker's page, as many as are known.
    """

    study: str
    champion: int | None
    repeated: frozenset[int | None]
    confirmed: frozenset[int | None]
    shipped: int | None
    colours: Mapping[int, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, record: SweepRecord, links: Mapping[str, str]) -> Marks:
        """The marks of a study's trials.

        Args:
            record: the study.
            links: of its own run and of its registered model, by STUDY_LINK and MODEL_LINK.
        """
        verdict = record.verdict or {}
        shipped = verdict.get("final_trials") or [None]
        repeated = frozenset(run.candidate for run in record.confirm)
        confirmed = frozenset(run.candidate for run in record.confirm if run.role == "confirm")
        kept = {key: links[key] for key in (STUDY_LINK, MODEL_LINK) if key in links}
        champion = verdict.get("champion")
        return cls(record.name, champion, repeated, confirmed, shipped[0], colours(record), kept)

    def tags(self, study: str, trial: TrialRecord) -> dict[str, object]:
        """The marks of one trial's run.

        Of the trials that were trained again, one says that it is the champion and the others that they are not: when
        another becomes the champion, the mark moves.

        Args:
            study: `search` or `confirm`.
            trial: the trial.
        """
        if self.champion is None:
            return {COLOUR_TAG: self.colours.get(trial.number)} if study == "search" else {}
        if study == "confirm":
            return {"mlflow.note.content": self._of_shipped()} if trial.number == self.shipped else {}
        is_champion, note = trial.number == self.champion, None
        if is_champion or trial.number in self.repeated:
            note = self._of_champion() if is_champion else f"The champion is trial {self.champion}."
        champion = None if note is None else "yes" if is_champion else "no"
        return {
            COLOUR_TAG: self.colours.get(trial.number),
            CHAMPION_TAG: champion,
            "mlflow.note.content": note,
        }

    def _of_champion(self) -> str:
        study, model = self._study(), linked("registered model", self.links, MODEL_LINK)
        confirmed = "confirmed" if self.champion in self.confirmed else "not confirmed"
        return (
            f"**The champion of {study}**, {confirmed} on fresh splits. With its settings the {model} was trained "
            "anew, on the training and validation examples together."
        )

    def _of_shipped(self) -> str:
        study, model = self._study(), linked("registered model", self.links, MODEL_LINK)
        return f"**The {model}.** Its weights were trained here, with the settings of trial {self.champion} of {study}."

    def _study(self) -> str:
        return linked(f"study {self.study}", self.links, STUDY_LINK)


def linked(text: str, links: Mapping[str, str], key: str) -> str:
    """The text as a link in Markdown, or the bare text where the address is not known."""
    return f"[{text}]({links[key]})" if key in links else text


NONE = Marks("", None, frozenset(), frozenset(), None)
"""Before anything is known."""


def colours(record: SweepRecord) -> dict[int, str]:
    """A colour of every trial of the search that was among the ten best when it ended.

    It is one that none of the other nine has, and is never changed: a trial that falls behind the ten does not return.
    Of equally good trials MLflow lists the one first that was started last.
    """
    best: list[tuple[float, int, int]] = []
    found: dict[int, str] = {}
    for trial in record.in_order():
        if trial.value is None:
            continue
        started = expected_runs.milliseconds(trial.started or record.created)
        rank = record.metric.cost(trial.value), -started, trial.number
        if len(best) == len(COLOURS) and rank > best[-1]:
            continue
        insort(best, rank)
        del best[len(COLOURS) :]
        used = {found[number] for *_, number in best if number in found}
        found[trial.number] = next(colour for colour in COLOURS if colour not in used)
    return found
