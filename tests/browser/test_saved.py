"""What a learner finds who has run a notebook, saved it, and opens it again without a kernel."""

from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.browser import explorables as ex
from tests.browser import jupyterlab as jl
from tools.notebooks import KERNELSPEC

pytestmark = pytest.mark.browser

FIGURE = """\
import torch
from zth_helpers import interact

interact.batch_norm(torch.tensor([1.0, 2.0, -3.0, 4.0, -1.5]))"""


@pytest.fixture
def notebook(course):
    path = course / "notebooks" / "saved.ipynb"
    cells = [
        new_code_cell(FIGURE),
        *(new_code_cell(f"{i}\n" * 30) for i in range(20)),
        new_code_cell("1 / 0"),
        new_markdown_cell('<div class="alert alert-warning" style="color:#3a2000">Trap</div>'),
    ]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNELSPEC}), path)
    yield path
    path.unlink()


def test_reopened_without_a_kernel_it_shows_the_picture(lab, page, notebook):
    jl.open_notebook(page, lab, "notebooks/saved.ipynb")
    jl.run_all(page)
    box = page.locator(".jp-RenderedMarkdown .alert")
    assert box.evaluate("box => getComputedStyle(box).color") == "rgb(58, 32, 0)"  # the sanitizer keeps it
    assert not page.get_by_text("Jupyter news").count(), "a question lies over the notebook"
    root = jl.explorables(page, 1)[0]
    assert ex.changes(root, lambda: root.locator("input[type=range]").first.press("ArrowRight"))
    saved = jl.save(page, notebook)
    assert jl.errors(saved) == ["ZeroDivisionError: division by zero"]  # far below what is on the screen
    assert "image/png" in saved.cells[0].outputs[-1].data

    jl.menu(page, "Kernel", "Shut Down Kernel")
    page.wait_for_timeout(1000)
    page.reload()
    page.locator(".jp-Notebook").wait_for(timeout=60_000)
    image = page.locator(".jp-CodeCell").first.locator(".jp-OutputArea-output img")
    image.wait_for(timeout=20_000)
    assert image.evaluate("i => i.naturalWidth") > 300
    assert "rror" not in page.locator(".jp-CodeCell").first.inner_text()
