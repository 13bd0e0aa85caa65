"""`live` in a loop: what it shows, when, and what stays (the browser sees it in tests/browser)."""

from __future__ import annotations

import json
import re
import sys

import IPython.display
import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from zth_helpers import live
from zth_helpers import screen as room
from zth_helpers.interact import explorable
from zth_helpers.layers import Linear, Tanh
from zth_helpers.monitor import Monitor
from zth_helpers.plots.dashboard import dashboard as picture
from zth_helpers.plots.dashboard import dashboard_data

SENDING, STEP = 0.004, 0.01  # seconds on the clock of the tests


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

    def __init__(self, monkeypatch, quiet: bool = False, sending: float = SENDING):
        self.now, self.shown, self.times, self.sending = 0.0, [], [], sending
        notebook = self

        class Widget:
            def __init__(self, module: str, data: dict):
                assert module == "live"
                self.data = data

            def __setattr__(self, name: str, value: object):
                notebook.now += notebook.sending
                notebook.keep(value)
                super().__setattr__(name, value)

            def _repr_mimebundle_(self):
                return {}, {}

            def close(self):
                notebook.closed = True

        monkeypatch.setattr(room, "in_notebook", lambda: True)
        monkeypatch.setenv("ZTH_QUIET", "1" if quiet else "0")
        monkeypatch.setattr(room.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(explorable, "Explorable", Widget)
        monkeypatch.setattr(IPython.display, "DisplayHandle", lambda: self)
        monkeypatch.setattr(IPython.display, "display", self.keep)

    def keep(self, shown) -> None:
        self.shown.append(shown)
        self.times.append(self.now)

    def display(self, shown, raw: bool = False) -> None:
        assert raw and shown == {"text/plain": ""}
        self.place_taken = True

    def update(self, shown, raw: bool = False) -> None:
        if raw:
            assert self.place_taken and shown["text/plain"] == "still training"
        else:
            self.keep(shown)


def last_step(figure) -> int:
    """How many steps the loss panel of a figure has seen."""
    if isinstance(figure, dict):
        return figure["step"]
    found = re.match(r"Loss after ([\d,]+) steps", figure.axes[2].get_title())
    return int(found[1].replace(",", "")) if found else 0


@pytest.fixture
def notebook(monkeypatch):
    return Notebook(monkeypatch)


@pytest.mark.parametrize("seconds", [1.5, 10, 120])
def test_soon_and_then_once_a_second_whatever_the_length(notebook, seconds):
    training, steps = Training(), []
    for i in live(training.mon, int(seconds / STEP)):
        steps.append(i)
        if i < 50:  # more would only make the test slow
            training.step()
        notebook.now += STEP
    assert steps == list(range(int(seconds / STEP)))
    times = notebook.times[:-1]
    assert times[0] < 1, "a first picture within a second"
    assert all(0.95 < later - earlier < 1.3 for earlier, later in zip(times, times[1:]))
    assert len(times) == pytest.approx(seconds, abs=2)
    assert len(times) * SENDING < 0.1 * seconds
    assert last_step(notebook.shown[-1]) == min(50, len(steps))  # in the end the whole figure
    assert notebook.closed


def test_what_takes_long_to_send_is_sent_seldom(monkeypatch):
    notebook, training = Notebook(monkeypatch, sending=0.5), Training()
    for _ in live(training.mon, 4000):
        if len(training.mon.losses) < 30:
            training.step()
        notebook.now += STEP
    assert (len(notebook.times) - 1) * 0.5 < 0.1 * 40


def test_a_run_of_less_than_half_a_second_shows_the_end_alone(notebook):
    training = Training()
    for _ in live(training.mon, 20):
        training.step()
        notebook.now += STEP
    assert [last_step(figure) for figure in notebook.shown] == [20]


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf")])
def test_a_list_of_losses_shows_the_loss_alone(notebook, bad):
    losses = []
    for i in live(losses, 300, "by hand"):
        losses.append(3 / (i + 1) if bad is None or i < 250 else bad)
        notebook.now += STEP
    *sent, last = notebook.shown
    assert [set(data) for data in sent] == [{"step", "words", "loss", "missing"}] * len(sent) and len(
        sent
    ) >= 2
    assert json.dumps(sent, allow_nan=False)
    assert sent[0]["loss"]["mean"][0] == pytest.approx(3.0)
    assert ("300 steps" in str(last)) and len(last.axes) == 1


def test_the_figures_place_is_taken_before_the_bar_begins(notebook, monkeypatch):
    """Text that follows a figure begins a new output: half a bar would stay above it."""

    def bar(steps, label):
        assert notebook.place_taken
        return range(steps)

    monkeypatch.setattr(room.settings, "progress", bar)
    assert list(live([1.0], 3)) == [0, 1, 2]


def test_a_loop_without_a_loss_shows_nothing(notebook):
    for _ in live([], 3):
        pass
    assert notebook.shown == []


def test_the_light_install_has_the_picture_at_the_end(notebook, monkeypatch):
    monkeypatch.setitem(sys.modules, "zth_helpers.interact.explorable", None)
    training = Training()
    for _ in live(training.mon, 200):
        training.step()
        notebook.now += STEP
    assert [last_step(figure) for figure in notebook.shown] == [200]


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
    assert loss.get_title() == f"Loss after 31 steps: {mon.losses.mean():.4f}"
    assert "the mean of the last 31" in loss.get_xlabel()
    weights = [line for line in updates.lines if "weight" in line.get_label()]
    assert [line.get_label() for line in weights] == ["0 Linear weight 4×8", "2 Linear weight 8×8"]
    np.testing.assert_allclose(weights[1].get_ydata(), np.log10(mon.update_data[:, 2]), rtol=1e-6)
    assert list(updates.lines[-1].get_ydata()) == [-3, -3]
    for ax in fig.axes:
        assert ax.get_title() and ax.get_xlabel() and ax.get_ylabel()


def test_the_page_gets_the_pictures_numbers():
    training = Training()
    for _ in range(301):
        training.step()
    fig, data, mon = picture(training.mon), dashboard_data(training.mon), training.mon
    assert json.loads(json.dumps(data)) == data and len(json.dumps(data)) < 20_000
    for what, ax in zip(("outputs", "gradients"), fig.axes):
        for line, drawn in zip(data[what], ax.lines):
            width = (line["to"] - line["from"]) / len(line["density"])
            assert sum(line["density"]) * width == pytest.approx(1, rel=1e-3)
            x, y = drawn.get_data()
            assert sum(line["density"]) / len(line["density"]) == pytest.approx(
                float(y.sum() / len(y) * (x[-1] - x[0] + x[1] - x[0]) / (line["to"] - line["from"])), rel=1e-2
            )
            assert line["name"].startswith(drawn.get_label().split(":")[0])
    size = 3  # 301 losses in at most 120 points
    assert data["loss"]["mean"] == pytest.approx(
        mon.losses[:300].reshape(-1, size).mean(1).tolist(), rel=1e-5
    )
    assert data["loss"]["last"] == f"{mon.losses[-50:].mean():.4f}" and data["step"] == 301
    assert data["updates"][1]["values"] == pytest.approx(np.log10(mon.update_data[:, 2]).tolist(), rel=1e-4)
    assert data["updateSteps"] == mon.update_steps.tolist()


def test_the_page_is_told_what_is_missing():
    training = Training()
    empty = dashboard_data(training.mon)
    assert empty["outputs"] == [] and set(empty["missing"].values()) == {"no step yet"}
    training.step(retain=False, lr=None)
    missing = dashboard_data(training.mon)["missing"]
    assert "retain_grads" in missing["gradients"] and "optimizer=" in missing["updates"]
    training.parameters[0].data[:] = float("nan")
    training.step()
    data = dashboard_data(training.mon)
    assert data["loss"]["mean"][-1] is None and json.dumps(data, allow_nan=False)


def words(fig) -> str:
    return " ".join(text.get_text() for ax in fig.axes for text in ax.texts)


def test_before_the_first_step_and_with_less_to_show():
    training = Training()
    assert "no step yet" in words(picture(training.mon)) and "no step yet" in str(picture(training.mon))
    training.step(retain=False, lr=None)
    fig = picture(training.mon)
    assert "mon.retain_grads()" in words(fig) and "lr=lr" in words(fig) and "optimizer=" in words(fig)
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
    assert len(pictures) == 1 and "the mean of the last 50" in pictures[0].data["text/plain"]
