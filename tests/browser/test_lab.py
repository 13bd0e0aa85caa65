"""Every notebook, opened and run in JupyterLab by a browser, as a learner does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import jupyterlab as jl

LESSONS = sorted(p.name for p in (Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
pytestmark = pytest.mark.browser


@pytest.mark.parametrize("name", LESSONS)
def test_run_all(lab, page, name):
    jl.open_notebook(page, lab, f"notebooks/{name}")
    jl.run_all(page)
    assert jl.errors(page) == []
    assert jl.our_console_errors(page) == []
