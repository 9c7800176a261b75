"""Invalid addresses of a study database, which are refused without a server."""

import pytest

from sweep.entry import main

PASSWORD = "canary-canary"
REFUSED = {
    f"mysql://me:{PASSWORD}@host/sweeps": (2, "begins with postgresql+psycopg://", "--storage or SWEEP_STORAGE"),
    f"postgresql://me:{PASSWORD}@host": (2, "HOST/DATABASE", "--storage or SWEEP_STORAGE"),
    f"postgresql://me@host/sweeps?password={PASSWORD}": (2, "before the @", "--storage or SWEEP_STORAGE"),
    f"postgresql://me:{PASSWORD}@127.0.0.1:1/sweeps": (3, "onnection refused", "is the server running?"),
}


@pytest.mark.parametrize("address", REFUSED)
def test_a_wrong_address_is_reported(address, tmp_path, capfd, monkeypatch):
    """In at most three lines, with the right exit code, and without the password."""
    pytest.importorskip("psycopg")
    monkeypatch.setenv("SWEEP_STORAGE", address)
    with pytest.raises(SystemExit) as end:
        main(["status", "tiny", "--home", str(tmp_path)])
    errors = capfd.readouterr().err

    code, *told = REFUSED[address]
    assert end.value.code == code
    assert all(word in errors for word in told), errors
    assert errors.count("\n") <= 3
    assert PASSWORD not in errors
