"""The exercise notebooks are the solution notebooks with the solutions cut out, and nothing else."""

from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools import exercises as maker

MASTERS = sorted(maker.MASTERS.glob("*.ipynb"))


def bare(notebook: nbformat.NotebookNode) -> list:
    return [(c.cell_type, c.id, c.source, dict(c.metadata)) for c in notebook.cells]


@pytest.mark.parametrize("path", MASTERS, ids=lambda p: p.name)
def test_regenerating_changes_nothing(path):
    made = maker.make(nbformat.read(path, as_version=4), path.name)
    kept = nbformat.read(maker.EXERCISES / path.name, as_version=4)
    assert bare(made) == bare(kept), f"run `make exercises`: {path.name} is not what its master gives"
    assert not any("SOLUTION" in cell.source for cell in kept.cells)


def test_every_lecture_has_both():
    lectures = {p.name for p in maker.ROOT.glob("notebooks/*.ipynb")}
    assert {p.name for p in MASTERS} == lectures == {p.name for p in maker.EXERCISES.glob("*.ipynb")}


def test_an_untouched_exercise_says_not_tried_yet_and_the_master_is_right():
    for path in MASTERS:
        for folder, state in ((maker.MASTERS, ": right"), (maker.EXERCISES, ": not tried yet")):
            for cell in nbformat.read(folder / path.name, as_version=4).cells:
                if cell.cell_type == "code" and ".check(" in cell.source:
                    text = cell.outputs[-1].data["text/plain"]
                    assert state in text.splitlines()[0], f"{folder.name}/{path.name}: {text}"


def test_cut():
    before, after = "def f(x):\n    # Doc\n", "\n\nf"
    source = before + "    ### BEGIN SOLUTION\n    y = x\n    return y\n    ### END SOLUTION" + after
    assert maker.cut(source, "here") == before + "    " + maker.STUB + after


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    ### BEGIN SOLUTION\n    pass",
        "def f():\n    pass\n    ### END SOLUTION",
        "def f():\n    ### BEGIN SOLUTION\n    ### BEGIN SOLUTION\n    ### END SOLUTION",
        "### BEGIN SOLUTION\nx = 1\n### END SOLUTION",
        "def f():\n    ## BEGIN SOLUTION\n    pass\n    ### END SOLUTION",
        "def f():\n    ###BEGIN SOLUTION\n    pass\n    ### END SOLUTION",
    ],
)
def test_malformed_markers_name_the_cell(source):
    master = new_notebook(cells=[new_markdown_cell("# t"), new_code_cell("1"), new_code_cell(source)])
    with pytest.raises(ValueError, match=r"09_x\.ipynb, code cell 2"):
        maker.make(master, "09_x.ipynb")
