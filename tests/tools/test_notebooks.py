"""tools/notebooks.py: what is kept of a run."""

from __future__ import annotations

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.notebooks import KERNELSPEC, normalise


def test_streams_are_joined_and_counts_begin_at_one():
    cell = new_code_cell(
        "print()", execution_count=7, metadata={"tags": ["x"], "execution": {"iopub": "now"}}
    )
    picture = {"image/png": "…", "text/plain": "t", "application/vnd.jupyter.widget-view+json": {}}
    size = {"image/png": {"width": 800, "height": 9}, "other": 1}
    cell.outputs = [
        new_output("stream", name="stdout", text="a\n"),
        new_output("stream", name="stdout", text="b\n"),
        new_output("stream", name="stderr", text="c\n"),
        new_output("stream", name="stdout", text="d\n"),
        new_output("execute_result", data=picture, metadata=size, execution_count=7),
    ]
    notebook = normalise(new_notebook(cells=[new_markdown_cell("# x"), cell, new_code_cell("1")]))
    first, second = notebook.cells[1:]
    assert [o.text for o in first.outputs[:3]] == ["a\nb\n", "c\n", "d\n"]
    assert (first.execution_count, second.execution_count, first.outputs[3].execution_count) == (1, 2, 1)
    assert set(first.outputs[3].data) == {"image/png", "text/plain"}
    assert first.outputs[3].metadata == {"image/png": {"width": 800}}
    assert dict(first.metadata) == {"tags": ["x"]} and notebook.metadata.kernelspec == KERNELSPEC
