"""Where everything lies that a study writes: the one owner of the paths below `runs/` and `runs/<study>/`.

It imports nothing but the standard library: a worker process imports it too, and must start fast.

| path | content |
|---|---|
| `runs/data/` | prepared datasets |
| `runs/mlflow.db`, `runs/mlartifacts/` | MLflow's own store |
| `runs/test-set-openings.jsonl` | one line for each time a test set was opened |
| `runs/default-study` | name of the study that `sweep run` continues when none is named |
| `runs/<study>/study.db` | the record, if it is a file |
| `runs/<study>/database.json` | the address of the record, if it is on a server |
| `runs/<study>/lock` | locked while a process works on the study |
| `runs/<study>/trials/0007/`, `confirm/0003/` | checkpoint and weights of a trial: `TrialFolder` |
| `runs/<study>/champion.npz`, `champion.json` | the winning network and its card |
| `runs/<study>/report.pdf`, `<study>-2.toml` | the report, and the next study that it proposes |
| `runs/<study>/mirror.lock`, `mirror.log`, `mirror.part/` | of the process that updates MLflow |
| `runs/<study>/mlflow.json` | the addresses of the study's runs in MLflow |
| `runs/<study>/worker-0.log` | what worker 0 wrote to stderr |
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
"""Names of files; as MLflow artifacts and on a cluster's workers they have the same names."""
ARTIFACTS = "mlartifacts"


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
        """A checkpoint that could not be read, set aside."""
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
        """Locked while a process works on the study; names that process."""
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
    def card(self) -> Path:
        """What `champion` was trained on and how well it does, as JSON."""
        return self.path / CARD

    @property
    def report(self) -> Path:
        """The report on this study."""
        return self.path / REPORT

    def proposal(self, name: str) -> Path:
        """The study file that the report proposes next."""
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
        """What a worker process wrote to stderr."""
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
        return self.path / "mlflow.db"

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
        """Name of the study that `sweep run` continues when none is named."""
        return self.path / "default-study"
