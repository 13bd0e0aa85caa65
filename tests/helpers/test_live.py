"""`live` in a loop: what it shows, when, and what stays (the browser sees it in tests/browser)."""

from __future__ import annotations

import re

import IPython.display
import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from zth_helpers import live
from zth_helpers import screen as room
from zth_helpers.layers import Linear, Tanh
from zth_helpers.monitor import Monitor
from zth_helpers.plots import Figure
from zth_helpers.plots.dashboard import dashboard as picture

DRAWING, STEP = 0.1, 0.01  # seconds on the clock of the tests


class Training:
    """A small network and its Monitor; `step` trains once."""

    def __init__(self, every: int = 10):
        g = torch.Generator().manual_seed(1)
        self.layers = [Linear(4, 8, generator=g), Tanh(), Linear(8, 8, generator=g), Tanh()]
        self.parameters = [p.requires_grad_() for layer in self.layers for p in layer.parameters()]
        self.X = torch.randn(16, 4, generator=g)
        self.mon = Monitor(self.layers, self.parameters, every=every)

    def step(self, retain: bool = True, lr: float | None = 0.1) -> None:
        x = self.X
        for layer in self.layers:
            x = layer(x)
        loss = ((x - 0.5) ** 2).mean()
        if retain:
            self.mon.retain_grads()
        for p in self.parameters:
            p.grad = None
        loss.backward()
        for p in self.parameters:
            p.data -= 0.1 * p.grad
        self.mon.step(loss, lr=lr)


class Notebook:
    """Stands in for the notebook: remembers what was displayed, and has a clock that only moves when told."""

    def __init__(self, monkeypatch, quiet: bool = False):
        self.now, self.shown, self.times, self.drawn = 0.0, [], [], 0
        monkeypatch.setattr(room, "in_notebook", lambda: True)
        monkeypatch.setenv("ZTH_QUIET", "1" if quiet else "0")
        monkeypatch.setattr(room.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(Figure, "png", lambda figure, scale=2: self.draw())
        monkeypatch.setattr(IPython.display, "DisplayHandle", lambda: self)
        monkeypatch.setattr(IPython.display, "display", self.keep)

    def draw(self) -> bytes:
        self.now += DRAWING
        self.drawn += 1
        return b"png"

    def keep(self, shown, raw: bool = False) -> None:
        self.shown.append(shown)
        self.times.append(self.now)

    display = update = keep


def last_step(figure) -> int:
    """How many steps the loss panel of a figure has seen."""
    found = re.match(r"Loss after ([\d,]+) steps", figure.axes[2].get_title())
    return int(found[1].replace(",", "")) if found else 0


@pytest.fixture
def notebook(monkeypatch):
    return Notebook(monkeypatch)


def test_redraws_in_place_seldom_enough(notebook):
    training = Training()
    steps = []
    for i in live(training.mon, 1000):
        steps.append(i)
        training.step()
        notebook.now += STEP
    assert steps == list(range(1000))
    assert notebook.drawn > 3 and len(notebook.shown) == notebook.drawn + 1
    assert np.diff(notebook.times[:-1]).min() >= 0.5
    assert notebook.drawn * DRAWING < 0.1 * 1000 * STEP
    assert last_step(notebook.shown[-1]) == 1000  # in the end the whole figure, with its numbers


def test_quick_drawings_come_at_most_twice_a_second(notebook, monkeypatch):
    monkeypatch.setattr(Figure, "png", lambda figure, scale=2: b"png")  # takes no time at all
    training = Training()
    for _ in live(training.mon, 500):
        training.step()
        notebook.now += STEP
    assert 8 <= len(notebook.shown) <= 2 + 500 * STEP / 0.5


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_interrupted_it_keeps_figure_and_data(notebook, stop):
    training = Training()
    with pytest.raises(stop):
        for i in live(training.mon, 1000):
            training.step()
            if i == 42:
                raise stop
    assert last_step(notebook.shown[-1]) == 43
    assert len(training.mon.losses) == 43 and training.mon.steps.tolist() == [0, 10, 20, 30, 40]
    again = Training()  # the cell is run again
    for _ in live(again.mon, 7):
        again.step()
    assert last_step(notebook.shown[-1]) == 7


def test_quiet_shows_the_last_picture_alone(monkeypatch, capsys):
    notebook, training = Notebook(monkeypatch, quiet=True), Training()
    for _ in live(training.mon, 30):
        training.step()
        notebook.now += 1
    assert [last_step(figure) for figure in notebook.shown] == [30]
    assert capsys.readouterr().out == ""


def test_a_script_has_the_bar_alone(monkeypatch, capsys):
    monkeypatch.setattr(IPython.display, "display", lambda *a, **k: pytest.fail("there is no notebook"))
    monkeypatch.setenv("ZTH_QUIET", "0")
    training = Training()
    for _ in live(training.mon, range(5), "short run"):
        training.step()
    printed = capsys.readouterr().out
    assert "short run" in printed and len(training.mon.losses) == 5


def test_the_picture_draws_the_monitors_numbers():
    training = Training()
    for _ in range(31):
        training.step()
    fig, mon = picture(training.mon), training.mon
    outputs, gradients, loss, updates = fig.axes
    for ax, seen in ((outputs, mon.outputs), (gradients, mon.gradients)):
        assert [line.get_label().split(":")[0] for line in ax.lines] == ["1 Tanh", "3 Tanh"]
        for line, i in zip(ax.lines, (1, 3)):
            width = seen.edges[-1, i, 1] - seen.edges[-1, i, 0]
            np.testing.assert_allclose(
                line.get_ydata(), seen.hist[-1, i] / seen.hist[-1, i].sum() / width, rtol=1e-4
            )
    np.testing.assert_allclose(loss.lines[0].get_ydata(), mon.losses)
    assert loss.get_title() == f"Loss after 31 steps: {mon.losses.mean():.4f} (mean of the last 31)"
    weights = [line for line in updates.lines if "weight" in line.get_label()]
    assert [line.get_label() for line in weights] == ["0 Linear weight 4×8", "2 Linear weight 8×8"]
    np.testing.assert_allclose(weights[1].get_ydata(), np.log10(mon.update_data[:, 2]), rtol=1e-6)
    assert list(updates.lines[-1].get_ydata()) == [-3, -3]
    for ax in fig.axes:
        assert ax.get_title() and ax.get_xlabel() and ax.get_ylabel()


def words(fig) -> str:
    return " ".join(text.get_text() for ax in fig.axes for text in ax.texts)


def test_before_the_first_step_and_with_less_to_show():
    training = Training()
    assert "no step yet" in words(picture(training.mon)) and "no step yet" in str(picture(training.mon))
    training.step(retain=False, lr=None)
    fig = picture(training.mon)
    assert "mon.retain_grads()" in words(fig) and "lr=lr" in words(fig)
    assert fig.png()


def test_a_loss_that_is_nan_does_not_stop_the_picture():
    training = Training(every=1)
    for _ in range(3):
        training.step()
    training.parameters[0].data[:] = float("nan")
    training.step()
    assert picture(training.mon).png() and "steps: nan" in str(picture(training.mon))


def test_a_saved_run_holds_one_picture(tmp_path, monkeypatch):
    """In a real kernel, without ZTH_QUIET: bar gone, one output, the last state, with its numbers."""
    monkeypatch.setenv("ZTH_QUIET", "0")
    code = (
        "import time\nfrom tests.helpers.test_live import Training\nfrom zth_helpers import live\n"
        "training = Training()\nfor _ in live(training.mon, 60):\n    training.step()\n    time.sleep(0.02)"
    )
    saved = new_notebook(cells=[new_code_cell(code)])
    root = str(room.__file__).rsplit("zth_helpers", 1)[0]
    NotebookClient(
        saved, timeout=120, kernel_name="python3", resources={"metadata": {"path": root}}
    ).execute()
    nbformat.validate(saved)
    pictures = [o for o in saved.cells[0].outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 1 and "mean of the last 50" in pictures[0].data["text/plain"]
