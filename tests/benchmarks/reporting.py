"""What a report costs: `sweep report` of 1,000 trials of 20 epochs on one core, from the database to the PDF.

make bench          runs this too; half a minute

The whole program is timed, as a person starts it: imports, reading, checks, the next study, drawing.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from aims import as_json, show
from mirroring import EPOCHS, TRIALS, record

REPEATS = 3


def report(home: Path) -> float:
    """Seconds of one `sweep report`."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-P", "-m", "sweep", "report", "cost", "--home", str(home)],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    return time.perf_counter() - started


def main() -> None:
    """Measure, print the table and the JSON line."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        record(Path(name))
        seconds = statistics.median(report(Path(name)) for _ in range(REPEATS))
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    judged = [
        (f"seconds to report on {TRIALS:,} trials of {EPOCHS} epochs, less than 20", seconds, seconds < 20),
        ("MiB of memory at most, less than 600", peak, peak < 600),
    ]
    show(judged)
    print(as_json(judged))


if __name__ == "__main__":
    main()
