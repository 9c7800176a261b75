"""The documentation covers all commands, options and keys, and names only existing files."""

import re
from pathlib import Path

import click
import pytest

from model.hyperparameters import FIELDS
from model.metrics import METRICS
from studies.definition import Study
from sweep.cli import sweep

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = (ROOT / "docs" / "commands.md").read_text()


def leaves(group, prefix="sweep"):
    """Every command with its full name."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_files_that_a_page_names_exist(page):
    """A path with a word in capitals is a placeholder."""
    text = page.read_text()
    paths = re.findall(r"`((?:model|studies|reports|sweep|tests|docs)/[\w./]*)`", text)
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]

    assert not [path for path in paths if not re.search(r"[A-Z]{3}", path) and not (ROOT / path).exists()]
    assert not [link for link in links if not (page.parent / link).exists()]


def test_every_command_is_in_the_reference():
    assert not [name for name, _ in leaves(sweep) if name not in COMMANDS]


def test_every_option_is_in_the_reference():
    options = {max(option.opts, key=len) for _, command in leaves(sweep) for option in command.params}

    assert not [
        name
        for name in options
        if name.startswith("--")
        and name not in (*COMMANDS.split(), "--study")
        and not re.search(rf"{re.escape(name)}(?![\w-])", COMMANDS)
    ]


def test_every_key_of_a_study_file_is_in_the_reference():
    keys = {*Study.model_fields, *FIELDS, *METRICS} - {"name"}

    assert not [key for key in keys if not any(f"`{form}`" in COMMANDS for form in (key, f"[{key}]", f"[[{key}]]"))]


def test_every_make_target_is_in_the_reference():
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert len(targets) > 10
    assert not [target for target in targets if f"make {target}" not in COMMANDS]
