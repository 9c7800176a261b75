"""The program `sweep`, whose reports are empty files: to draw one takes longer than the small sweeps of tests.

python -P empty_report.py run ...
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from model.files import write_atomic
from studies.record.folder import StudyFolder
from studies.record.reader import SweepRecord
from sweep.__main__ import main

PROGRAM = [sys.executable, "-P", __file__]


def write(record: SweepRecord, out: Path) -> None:
    """Write a PDF without pages, atomically as a report is."""
    write_atomic(out, b"%PDF-1.4\n%%EOF\n")


def draw_none(patch: Any) -> None:
    """Let the sweeps of this process write empty reports; `patch` is pytest's, whose import would slow the program."""
    patch.setattr("sweep.commands.run._write_report", lambda record: write(record, StudyFolder(record.folder).report))


if __name__ == "__main__":
    report = ModuleType("sweep.commands.report")
    report.write = write
    sys.modules[report.__name__] = report
    main()
