"""`sweep report` and `sweep export` on a real, small study."""

import json
from pathlib import Path

from click.testing import CliRunner

from sweep.cli import sweep


def run(home, *arguments):
    result = CliRunner().invoke(sweep, [*arguments, "--home", str(home)])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_report_and_its_checks_as_json(tiny, opened, searched, tmp_path):
    """The checks are those of the record; the file is where it says."""
    searched(tiny(), opened(tiny()))
    home = tmp_path / "runs"

    told = json.loads(run(home, "report", "tiny", "--json"))
    assert told["study"] == "tiny"
    assert Path(told["report"]).read_bytes().startswith(b"%PDF-")
    assert {check["status"] for check in told["checks"]} <= {"pass", "warn", "not enough evidence"}
    assert "boundary" in [check["name"] for check in told["checks"]]
