"""Find recorded studies by name: in the home folder, and in the database of SWEEP_STORAGE."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from studies.record import reader
from studies.record.database import study_names
from studies.record.folder import Home, StudyFolder
from studies.record.location import last_written, locate
from studies.record.reader import SweepRecord
from studies.record.server import environment_url
from studies.study_file import names
from sweep.storage.database import is_active

NOTHING = "nothing is recorded in {home}; start a sweep with: sweep run"


def elsewhere(home: Path) -> dict[str, str]:
    """Studies in the database of SWEEP_STORAGE without a folder here: name -> where it is recorded."""
    url = environment_url()
    here = {folder.name for folder in Home(home).recorded()}
    found = [name for name in study_names(url) if name not in here] if url else []
    return {name: str(locate(home / name)) for name in found}


def study_folder(home: Path, study: str, *, here: bool = False) -> Path:
    """Folder of a recorded study, given its name or the path of its study file.

    Args:
        home: the home folder.
        study: name, or path of a .toml file.
        here: whether the folder must exist in `home`; else the study may be recorded on a database server only.

    Raises:
        click.UsageError: no study of that name is recorded.
    """
    name = Path(study).stem if study.endswith(".toml") else study
    known = [folder.name for folder in Home(home).recorded()]
    if name not in known and (here or name not in elsewhere(home)):
        hint = f"recorded: {', '.join(known)}" if known else "nothing is recorded yet"
        if name in names() or (study.endswith(".toml") and Path(study).is_file()):
            hint += f"; start it with: sweep run {shlex.quote(study)}"
        elif not known:
            hint += "; start a sweep with: sweep run"
        raise click.UsageError(f"no study named {name!r} is recorded in {home}; {hint}")
    return home / name


def study_folders(home: Path, study: str | None) -> list[Path]:
    """Folder of the study, or of every study recorded in the home folder.

    Raises:
        click.UsageError: nothing is recorded.
    """
    folders = [study_folder(home, study, here=True)] if study else [folder.path for folder in Home(home).recorded()]
    if not folders:
        raise click.UsageError(NOTHING.format(home=home))
    return folders


def latest_folder(home: Path) -> Path:
    """Folder of the study that was recorded last.

    Raises:
        click.UsageError: nothing is recorded.
    """
    return max(study_folders(home, None), key=last_written)


def champion_of(home: Path, study: str | None) -> Path:
    """The champion.npz of a study, or the one that was written last.

    Raises:
        click.UsageError: no such study is recorded, or no study has a champion.
    """
    if study:
        return StudyFolder(study_folder(home, study)).champion
    found = Home(home).champions()
    if not found:
        study_folders(home, None)
        raise click.UsageError(f"no study in {home} has a champion yet; start a sweep with: sweep run")
    return max((folder.champion for folder in found), key=lambda champion: champion.stat().st_mtime)


def read_record(home: Path, study: str | None) -> SweepRecord:
    """The record of a study, or of the study that was recorded last.

    Raises:
        click.UsageError: no such study is recorded.
        RecordError: its database cannot be read.
    """
    folder = study_folder(home, study) if study else latest_folder(home)
    return reader.read(folder, active=is_active(folder))
