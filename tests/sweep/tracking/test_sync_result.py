"""The line of JSON between `sweep sync` and `sweep run`."""

from sweep.tracking.sync_result import SyncResult, last_result


def test_the_last_result_is_found_among_other_lines(tmp_path):
    first = SyncResult("tiny", "connection refused", None, 3, 75)
    last = SyncResult("tiny", "a login is required", None, 3, 75, "set a token")
    log = tmp_path / "mirror.log"
    log.write_text(f"a warning\n{first.line()}\nsweep: Could not sync tiny\n{last.line()}\n{{'not': 'ours'}}\n")

    assert last_result(log) == last
    assert first.unsent == "3 runs (75 metric values) unsent"


def test_a_log_without_a_result_has_none(tmp_path):
    (tmp_path / "mirror.log").write_bytes(b"\xff killed\n")

    assert last_result(tmp_path / "mirror.log") is None
