"""The paths of all files below `runs/` and `runs/<study>/`.

Imports the standard library only, because worker processes import this module and must start fast.

| path | content |
|---|---|
| `runs/data/` | prepared datasets |
| `runs/mlflow.db`, `runs/mlartifacts/` | MLflow's own store |
| `runs/test-set-openings.jsonl` | one line for each time a test set was opened |
| `runs/default-study` | name of the study that `sweep run` runs without a name |
| `runs/<study>/study.db` | the record, if it is a file |
| `runs/<study>/database.json` | the address of the record, if it is on a server |
| `runs/<study>/lock` | locked while a process runs the study |
| `runs/<study>/trials/0007/`, `confirm/0003/` | checkpoint and weights of a trial: `TrialFolder` |
| `runs/<study>/champion.npz`, `champion.json` | the winning network and its metadata |
| `runs/<study>/report.pdf`, `<study>-2.toml` | the report, and the proposed next study |
| `runs/<study>/mirror.lock`, `mirror.log`, `mirror.part/` | lock, log and artifacts of the MLflow mirror |
| `runs/<study>/mlflow.json` | the addresses of the study's runs in MLflow |
| `runs/<study>/worker-0.log` | stderr of worker 0 |
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DATABASE = "study.db"
SERVER = "database.json"
CHECKPOINT = "checkpoint.npz"
WEIGHTS = "weights.npz"
CHAMPION = "champion.npz"
CARD = "champion.json"
REPORT = "report.pdf"
"""File names; MLflow artifacts and files on a cluster's workers have the same names."""
ARTIFACTS = "mlartifacts"


MLFLOW = "mlflow.db"
RESERVED = frozenset(
    {
        "data",
        *(MLFLOW + end for end in ("", "-wal", "-shm", "-journal", ".lock", ".users")),
        ARTIFACTS,
        "test-set-openings.jsonl",
        "default-study",
    }
)
"""Names in the home folder that no study may have."""


@dataclass(frozen=True)
class TrialFolder:
    """The folder of one trial: its checkpoint while it runs, its weights once it is complete."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        """State of the training after its latest saved epoch."""
        return self.path / CHECKPOINT

    @property
    def damaged_checkpoint(self) -> Path:
        """A damaged checkpoint, renamed."""
        return self.checkpoint.with_suffix(".damaged")

    @property
    def weights(self) -> Path:
        """Weights of the selected epoch."""
        return self.path / WEIGHTS


@dataclass(frozen=True)
class StudyFolder:
    """The folder of one study; its name is the study's."""

    path: Path

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.path.name

    @property
    def home(self) -> Home:
        """The folder that holds this study and others."""
        return Home(self.path.parent)

    @property
    def database(self) -> Path:
        """The record, if it is a file."""
        return self.path / DATABASE

    @property
    def server(self) -> Path:
        """Address and schema of the record, if it is on a server."""
        return self.path / SERVER

    @property
    def lock(self) -> Path:
        """Locked while a process runs the study; contains its process id."""
        return self.path / "lock"

    def trials(self, study: str) -> Path:
        """The folder of all trials of an Optuna study, `search` or `confirm`."""
        return self.path / {"search": "trials", "confirm": "confirm"}[study]

    def trial(self, study: str, number: int) -> TrialFolder:
        """The folder of a trial of the Optuna study `search` or `confirm`."""
        return TrialFolder(self.trials(study) / f"{number:04d}")

    @property
    def champion(self) -> Path:
        """Weights of the confirmed winner."""
        return self.path / CHAMPION

    @property
    def has_champion(self) -> bool:
        """Whether both files of the champion are there."""
        return self.champion.is_file() and self.card.is_file()

    @property
    def card(self) -> Path:
        """Metadata of `champion`, as JSON: its data and results."""
        return self.path / CARD

    @property
    def report(self) -> Path:
        """The report on this study."""
        return self.path / REPORT

    def proposal(self, name: str) -> Path:
        """The proposed next study file."""
        return self.path / f"{name}.toml"

    @property
    def mirror_lock(self) -> Path:
        """Locked while a process updates MLflow."""
        return self.path / "mirror.lock"

    @property
    def mirror_log(self) -> Path:
        """Output of the process that updates MLflow during a sweep."""
        return self.path / "mirror.log"

    @property
    def mirror_part(self) -> Path:
        """Folder of the artifacts that are being sent to MLflow."""
        return self.path / "mirror.part"

    @property
    def mlflow(self) -> Path:
        """Addresses of the study's runs in MLflow, as JSON."""
        return self.path / "mlflow.json"

    def worker_log(self, number: int) -> Path:
        """The stderr of a worker process."""
        return self.path / f"worker-{number}.log"


@dataclass(frozen=True)
class Home:
    """The folder for everything that the program writes: `runs/`, `--home` or `SWEEP_HOME`."""

    path: Path

    def study(self, name: str) -> StudyFolder:
        """The folder of a study."""
        return StudyFolder(self.path / name)

    def recorded(self) -> list[StudyFolder]:
        """Studies with a record, in a file or on a server, by name."""
        found = {path.parent for name in (DATABASE, SERVER) for path in self.path.glob(f"*/{name}")}
        return [StudyFolder(path) for path in sorted(found)]

    def proposals(self, name: str) -> list[Path]:
        """Files of the study `name` that reports of recorded studies proposed; `name` is a study's name."""
        return sorted(self.path.glob(f"*/{name}.toml"))

    def champions(self) -> list[StudyFolder]:
        """Studies with a confirmed winner, by name."""
        return [StudyFolder(path.parent) for path in sorted(self.path.glob(f"*/{CHAMPION}"))]

    @property
    def data(self) -> Path:
        """Prepared datasets."""
        return self.path / "data"

    @property
    def mlflow(self) -> Path:
        """MLflow's database."""
        return self.path / MLFLOW

    @property
    def artifacts(self) -> Path:
        """MLflow's artifacts."""
        return self.path / ARTIFACTS

    @property
    def openings(self) -> Path:
        """One line for each time a test set was opened, of all studies here."""
        return self.path / "test-set-openings.jsonl"

    @property
    def default_study(self) -> Path:
        """Name of the study that `sweep run` runs without a name."""
        return self.path / "default-study"
