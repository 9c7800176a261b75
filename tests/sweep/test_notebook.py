"""The notebook of the documentation runs from top to bottom."""

from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "example.ipynb"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning")
def test_the_example_goes_from_a_dataframe_to_predictions(tmp_path, monkeypatch):
    monkeypatch.setenv("SWEEP_TRACKING", "none")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, 4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    _, fitted, trials, score, counts, report = code

    assert "text/html" in trials.outputs[0].data
    assert float(score.outputs[0].data["text/plain"]) > 0.9
    assert all(name in counts.outputs[0].data["text/plain"] for name in ("class_0", "class_1", "class_2"))
    assert "application/pdf" in report.outputs[0].data
    assert not [output for output in fitted.outputs if output.output_type == "error"]
