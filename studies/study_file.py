"""Read a study from its TOML file. Errors have the line and, for unknown names, the most similar known one."""

from __future__ import annotations

import copy
import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from model.data import datasets
from studies.definition import NAME, NAME_RULE, Confirm, Study, file_table
from studies.messages import reason
from studies.record.folder import RESERVED

FOLDER = Path(__file__).parent
MAX_BYTES = 1 << 20
"""Maximal size of a study file."""


class StudyError(Exception):
    """A study file cannot be used; the message has the fault, its location and advice."""


def load(study: str, changes: Sequence[str] = ()) -> Study:
    """Read a study by its name or by the path of its file.

    Args:
        study: the name of a built-in study, such as `mnist`, or a path ending in .toml.
        changes: `key=value` with dotted keys, such as `baseline.epochs=5`; values are TOML, or otherwise strings.

    Raises:
        StudyError: there is no such study, or it is invalid.
    """
    path = _find(study)
    if not NAME.fullmatch(path.stem):
        raise StudyError(f"{path.name}: rename the file; a study is named by its file, and {NAME_RULE}")
    if path.stem in RESERVED:
        raise StudyError(f"{path.name}: rename the file; {path.stem!r} is what the home folder's own file is called")
    text = _text(path)
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{path.name} is not valid TOML: {_toml_reason(error, text)}") from error
    checked = _changed(table, path, text, changes)
    return _with_data(checked, path, _source(["dataset"], path, text, changes))


def load_recorded(table: Mapping[str, Any], changes: Sequence[str] = ()) -> Study:
    """The study of a record, with changes as those of a study file.

    Args:
        table: the recorded study, with the keys of this version (`studies.record.schema.upgraded_study`).
        changes: as for `load`; a path in them is relative to the current folder.

    Raises:
        StudyError: a change is invalid.
    """
    keys = copy.deepcopy(file_table(table))
    path = Path(keys.pop("name"))
    study = _changed(keys, path, "", changes)
    given = [change for change in changes if _keys(change) == ["dataset"]]
    return _with_data(study, path, f"--set {given[-1]}") if given else study


def _changed(table: dict[str, Any], path: Path, text: str, changes: Sequence[str]) -> Study:
    """The study of the keys of a file, with changes."""
    written = copy.deepcopy(table)
    for change in changes:
        _apply(table, change)
    if "name" in table:
        source = _source(["name"], path, text, changes)
        raise StudyError(f"{source}: a study is named by its file; remove the key 'name'")
    try:
        return Study(name=path.stem, **table)
    except ValidationError as error:
        where, said = _reason(error)
        source = _source(where, path, text, changes)
        if changes and not source.startswith("--set") and _is_valid({"name": path.stem, **written}):
            source = " ".join(f"--set {change}" for change in changes)
        raise StudyError(f"{source}: {said}") from error


def names() -> list[str]:
    """Names of the built-in studies."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def _find(study: str) -> Path:
    if study.endswith(".toml"):
        path = Path(study)
        if path.is_dir():
            raise StudyError(f"{study} is a folder, not a study file")
        if path.exists() and not path.is_file():
            raise StudyError(f"{study} is a pipe or a device, not a study file")
        if not path.exists():
            raise StudyError(
                f"there is no study file {study}\ngive the path of a .toml file, or one of: {', '.join(names())}"
            )
        return path
    if study not in names():
        if Path(f"{study}.toml").is_file():
            raise StudyError(f"there is no study named {study!r}; did you mean the file {study}.toml?")
        if Path(study).is_file():
            raise StudyError(
                f"{study} is neither a study file (.toml) nor data ({', '.join(datasets.READERS)})\n"
                "save data as one of these, or rename the study file"
            )
        near = difflib.get_close_matches(study, names(), n=1)
        hint = (
            f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names())}; or give the path of a .toml file"
        )
        raise StudyError(f"there is no study named {study!r}; {hint}")
    return FOLDER / f"{study}.toml"


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise StudyError(f"{path.name} is larger than 1 MiB, so it is not a study file")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise StudyError(f"{path.name}, line {line}: not UTF-8 text; save the file as UTF-8") from error
    except OSError as error:
        raise StudyError(f"{path.name} cannot be read: {error.strerror}") from error


def _toml_reason(error: Exception, text: str) -> str:
    """The message of tomllib, with the key or a hint on missing quotes."""
    if not isinstance(error, tomllib.TOMLDecodeError):
        return "it is nested too deeply" if isinstance(error, RecursionError) else "a number in it is too long"
    said = str(error)
    place = re.search(r"\(at line (\d+), column (\d+)\)", said)
    lines = text.split("\n")  # TOML's lines; `splitlines` also divides at characters that a comment may have
    line = lines[int(place[1]) - 1] if place and int(place[1]) <= len(lines) else ""
    if place and said.startswith("Cannot overwrite a value") and "=" in line:
        return f"the key {line.partition('=')[0].strip()!r} is given twice, the second time in line {place[1]}"
    if place and said.startswith("Cannot declare") and line.strip().startswith("["):
        return f"the table {line.strip()} is given twice, the second time in line {place[1]}"
    if place and said.startswith("Invalid value") and (word := re.match(r"[\w./~-]+", line[int(place[2]) - 1 :])):
        return f'{said}; text needs quotes: "{word[0]}"'
    return said


def _apply(table: dict[str, Any], change: str) -> None:
    """Set one dotted key, as in `--set space.learning_rate.high=0.1`."""
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise StudyError(f"--set expects KEY=VALUE, for example baseline.epochs=5, but got {change!r}")
    if "\n" in change or "\r" in change:
        raise StudyError(f"--set takes one value in one line, but got {change!r}; use --set once for each key")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text
    *parents, last = key.strip().split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise StudyError(f"--set {change}: {parent!r} is not a table")
    table[last] = value


def _with_data(study: Study, path: Path, source: str) -> Study:
    """The study with a dataset that can be opened: relative to the study file, or else to the current folder.

    Raises:
        StudyError: there is no such dataset; `source` is where it was given.
    """
    name = study.dataset
    if name not in datasets.BUILT_IN:
        here, beside = Path.cwd() / name, path.parent.absolute() / name
        places = [here] if source.startswith("--set") else [beside, here]
        found_at = next((place for place in places if place.exists()), None)
        if found_at or Path(name).suffix.lower() in datasets.READERS:
            name = str(found_at or places[0])
    try:
        datasets.check_name(name)
    except datasets.DatasetInvalid as error:
        raise StudyError(f"{source}: {error}") from error
    if name == study.dataset:
        return study
    found = study.model_copy(update={"dataset": name})
    found._written = study.dataset
    return found


def _source(where: Sequence[str], path: Path, text: str, changes: Sequence[str]) -> str:
    """The source of a wrong key: the `--set` that gave it, or else the file, with the line if there is one."""
    given = [change for change in changes if _overlap(_keys(change), where)]
    if given:
        return " ".join(f"--set {change}" for change in given)
    line = _line(text, where)
    return f"{path.name}, line {line}" if line else path.name


def _keys(change: str) -> list[str]:
    return change.partition("=")[0].strip().split(".")


def _overlap(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether one path of keys is a prefix of the other."""
    return all(a == b for a, b in zip(one, other, strict=False))


def _is_valid(table: dict[str, Any]) -> bool:
    try:
        Study(**table)
    except ValidationError:
        return False
    return True


def _line(text: str, where: Sequence[str]) -> int | None:
    """Line number of a key, or else of the table it should be in; None if neither is in the text.

    The path of a key in the second table `[[start]]` is `start`, `2`, key.
    """
    table: list[str] = []
    counts: Counter[str] = Counter()
    best, depth = None, 0
    for number, line in enumerate(text.split("\n"), start=1):
        if header := re.match(r"\s*\[\[\s*([^\[\]]+?)\s*\]\]", line):
            counts[header[1]] += 1
            here = table = [header[1], str(counts[header[1]])]
        elif header := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line):
            here = table = [part.strip() for part in header[1].split(".")]
        elif entry := re.match(r"\s*([A-Za-z0-9_.\"'-]+)\s*=", line):
            here = [*table, *entry[1].strip("\"'").split(".")]
        else:
            continue
        shared = here[: len(where)]
        if len(shared) > depth and shared == list(where)[: len(shared)]:
            best, depth = number, len(shared)
    return best


def _reason(error: ValidationError) -> tuple[list[str], str]:
    """The path of keys of the first of pydantic's errors, and its message."""
    first = error.errors()[0]
    of_study = [key for key in Study.model_fields if key != "name"]
    return reason(first, [*Confirm.model_fields] if first["loc"][:1] == ("confirm",) else of_study)
