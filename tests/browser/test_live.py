"""`live` in JupyterLab: redrawn while it trains, interrupted, run again."""

from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.browser import explorables as ex
from tests.browser import jupyterlab as jl
from tools.notebooks import KERNELSPEC

pytestmark = pytest.mark.browser

SETUP = """\
import torch
from zth_helpers.layers import Linear, Tanh
from zth_helpers import Monitor, live

torch.set_num_threads(1)
X = torch.randn(32, 10)"""
TRAIN = """\
layers = [Linear(10, 50), Tanh(), Linear(50, 50), Tanh()]
parameters = [p.requires_grad_() for layer in layers for p in layer.parameters()]
mon = Monitor(layers, parameters, every=20)
for i in live(mon, 10**7):
    x = X
    for layer in layers:
        x = layer(x)
    loss = (x - 0.5).square().mean()
    mon.retain_grads()
    for p in parameters:
        p.grad = None
    loss.backward()
    for p in parameters:
        p.data -= 0.01 * p.grad
    mon.step(loss, lr=0.01)"""
# the height of the place where the figure stands, in every frame that the browser draws
WATCH = """() => {
    window.heights = [];
    const look = () => {
        const shown = document.querySelector('.jp-OutputArea-output .zth, .jp-OutputArea-output img');
        window.heights.push(shown ? shown.getBoundingClientRect().height : 0);
        requestAnimationFrame(look);
    };
    look();
}"""


@pytest.fixture
def training(course):
    path = course / "notebooks" / "live.ipynb"
    cells = [
        new_code_cell(source) for source in (SETUP, TRAIN, "print(len(mon.losses) > 50, len(mon.steps) > 2)")
    ]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNELSPEC}), path)
    yield path
    path.unlink()


def figure_changes(page, times: int) -> None:
    root = page.locator(".jp-OutputArea-output .zth")
    root.wait_for(timeout=60_000)
    for _ in range(times):
        assert ex.changes(root, lambda: None, seconds=30)


def test_redraws_in_place_and_survives_an_interruption(lab, page, training):
    jl.open_notebook(page, lab, "notebooks/live.ipynb")
    jl.menu(page, "Run", "Run All Cells")
    page.locator(".jp-OutputArea-output .zth").wait_for(timeout=60_000)
    page.evaluate(WATCH)
    figure_changes(page, 3)
    assert "the loss is" in ex.words(page.locator(".zth"))
    bar = page.locator(".jp-OutputArea-output", has_text="training:")
    jl.expect(bar).to_have_count(1)  # below the figure; above it there is none that stands still
    jl.expect(bar).to_contain_text("it/s")

    jl.menu(page, "Kernel", "Interrupt Kernel")
    page.wait_for_function(jl.IDLE, timeout=60_000)
    saved = jl.save(page, training)
    assert [o.ename for o in saved.cells[1].outputs if o.output_type == "error"] == ["KeyboardInterrupt"]
    pictures = [o.data for o in saved.cells[1].outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 1 and "Loss after" in pictures[0]["text/plain"]
    image = page.locator(".jp-OutputArea-output img")
    jl.expect(image).to_be_visible()
    heights = page.evaluate("window.heights")
    assert len(heights) > 20 and min(heights) > 200, "the figure vanishes while it is redrawn"
    assert max(heights) - min(heights) < 12, "the page jumps"

    page.locator(".jp-CodeCell").nth(2).click()
    page.keyboard.press("Control+Enter")  # the data are still there
    jl.expect(page.locator(".jp-CodeCell").nth(2).locator(".jp-OutputArea-output")).to_have_text("True True")

    page.locator(".jp-CodeCell").nth(1).locator(".jp-InputArea-editor").click()
    page.keyboard.press("Control+Enter")  # again, from the start
    page.locator(".jp-CodeCell").nth(1).locator("text=[*]").wait_for(timeout=30_000)
    figure_changes(page, 1)
    jl.expect(page.locator(".jp-OutputArea-output .zth")).to_have_count(1)
    jl.expect(image).to_have_count(0)
    jl.menu(page, "Kernel", "Interrupt Kernel")
    page.wait_for_function(jl.IDLE, timeout=60_000)
    assert jl.our_console_errors(page) == []
