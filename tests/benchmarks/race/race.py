"""Race this program against others: equal seconds on two cores, one space, one split; see README.md.

    make race           needs `.venv/bin/pip install -e .[bench]`
    .venv/bin/python tests/benchmarks/race/race.py --seconds 180 --seeds 5 --data mnist --contenders ours ray_asha
    .venv/bin/python tests/benchmarks/race/race.py --summary

One contender runs at a time. Its log, build/race/<data>-<seconds>/<contender>-<seed>.jsonl, has a line for each
improvement; `contest.settle` describes it. A race whose log exists is not run again, so that the script can be
interrupted and continued. `--summary` writes a picture for each folder of logs, and prints tables.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from contest import Contest, settle  # noqa: E402
from peer_tables import generated  # noqa: E402
from summary import summarise  # noqa: E402

from model.data import datasets  # noqa: E402
from model.data.datasets import Source  # noqa: E402
from sweep.workers.local import ONE_THREAD  # noqa: E402

CONTENDERS = ("ours", "optuna_median", "ray_asha", "optuna_hyperband", "sklearn_halving", "flaml_automl")
TABLES_ONLY = frozenset({"flaml_automl"})
MANY_THREADS = frozenset({"flaml_automl"})
"""Contenders with one process of two threads, instead of two processes of one."""
OUT = HERE.parents[2] / "build" / "race"
SELF_STOP_S, TERMINATE_S = 10.0, 20.0
"""How long a contender may take to end by itself after the race, and then after SIGTERM."""
COMPETE, SETTLE = "--compete", "--settle"
"""First arguments of the process of a contender."""


def run(contender: str, contest: Contest, log: Path) -> None:
    """Run one contender and write its log."""
    contest.write()
    with (contest.path / "output.txt").open("w") as output:
        process = subprocess.Popen(
            _command(COMPETE, contender, contest.folder),
            env=_environment(contender),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            code = _wait(process, contest.remaining() + SELF_STOP_S)
        finally:
            _end(process)
    subprocess.run(_command(SETTLE, contender, contest.folder, str(log)), check=True, env=_environment(contender))
    if code or not log.stat().st_size:
        log.unlink()
        fault = f"failed with exit code {code}" if code else "found no model in time"
        raise SystemExit(f"{contender} {fault}\nits output is in {contest.path / 'output.txt'}\nrun again to continue")
    shutil.rmtree(contest.path)
    print(f"{log.parent.name} {log.stem}: {log.read_text().splitlines()[-1]}", flush=True)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int:
    """The exit code; 0 if it is still running."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return 0


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(TERMINATE_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "ignore", __file__, *arguments]


def _environment(contender: str) -> dict[str, str]:
    threads = {} if contender in MANY_THREADS else ONE_THREAD
    path = os.pathsep.join([str(HERE), str(HERE.parent)])
    return {**os.environ, **threads, "PYTHONPATH": path}  # processes that a contender starts import its module


def prepare(data: str) -> tuple[str, Path]:
    """The source of a dataset, and the folder in which it is prepared."""
    folder = OUT / "datasets" / data
    folder.mkdir(parents=True, exist_ok=True)
    if data == "mnist":
        return data, datasets.prepare(data, folder)
    source = folder.parent / f"{data}.csv"
    if not source.exists():
        generated().frame.to_csv(source, index=False)
    return str(source), datasets.prepare(Source(str(source), "target"), folder)


def race(data: str, seconds: float, seeds: int, contenders: Sequence[str]) -> None:
    """Run what has no log yet, seed by seed, so that a slow hour of the machine affects all contenders."""
    source, prepared = prepare(data)
    logs = OUT / f"{data}-{seconds:g}"
    for seed in range(seeds):
        for contender in contenders:
            log, folder = logs / f"{contender}-{seed}.jsonl", logs / f"{contender}-{seed}"
            if log.exists() or (data == "mnist" and contender in TABLES_ONLY):
                continue
            shutil.rmtree(folder, ignore_errors=True)
            run(contender, Contest(data, source, str(prepared), str(folder), seed, seconds, time.time()), log)


def main() -> None:
    """Race, or summarise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=("mnist", "generated"), default=["mnist", "generated"])
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--summary", action="store_true", help="summarise the logs instead")
    arguments = parser.parse_args()
    if not arguments.summary:
        for data in arguments.data:
            race(data, arguments.seconds, arguments.seeds, arguments.contenders)
    for folder in sorted(path for path in OUT.glob("*-*") if path.is_dir()):
        summarise(folder)


def contend(action: str, contender: str, folder: Path, log: Path | None) -> None:
    """Take part in a race, or write the log after it."""
    module, contest = importlib.import_module(contender), Contest.read(folder)
    if action == COMPETE:
        module.compete(contest)
        return
    if hasattr(module, "finish"):
        module.finish(contest)
    assert log is not None
    settle(contest, log)


if __name__ == "__main__":
    if sys.argv[1:2] in ([COMPETE], [SETTLE]):
        contend(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]) if len(sys.argv) > 4 else None)
    else:
        main()
