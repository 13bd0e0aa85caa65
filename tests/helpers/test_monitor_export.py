"""What a Monitor has recorded, taken away: as a pickle, plain Python, JSON, a page or a writer's scalars."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
import torch

from tests.helpers.loops import deep_net, found, train
from zth_helpers import Monitor, diagnose, plots
from zth_helpers.monitor import tensorboard, to_dict, to_json_lines, write_to


@pytest.fixture
def mon():
    model = deep_net()
    return train(model, torch.optim.SGD(model.parameters(), 0.1), steps=12)


def test_a_monitor_can_be_pickled_and_reads_as_before(mon):
    copied = pickle.loads(pickle.dumps(mon))
    for field in ("mean", "std", "saturated", "hist", "edges"):
        np.testing.assert_array_equal(getattr(copied.outputs, field), getattr(mon.outputs, field))
    np.testing.assert_array_equal(copied.update_data, mon.update_data)
    assert copied.layer_names == mon.layer_names and copied.parameter_names == mon.parameter_names
    assert repr(copied) == repr(mon) and str(diagnose(copied, None)) == str(diagnose(mon, None))
    assert str(plots.dashboard(copied)) == str(plots.dashboard(mon))
    assert pickle.loads(pickle.dumps(diagnose(mon, None))) == diagnose(mon, None)
    with pytest.raises(RuntimeError, match="closed"):
        copied.step(1.0)
    copied.close()


def test_as_plain_python_and_as_lines_of_json(mon, tmp_path):
    data = json.loads(json.dumps(to_dict(mon), allow_nan=False))
    assert data["steps"] == [0, 5, 10] and data["layers"] == mon.layer_names
    assert data["outputs"]["std"][1][0] == pytest.approx(mon.outputs.std[1, 0])
    assert data["outputs"]["saturated"][0][0] is None  # no such thing for a Linear
    to_json_lines(mon, tmp_path / "run.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 5, 10]
    assert lines[2]["outputs.std/1"] == pytest.approx(mon.outputs.std[2, 1])
    assert lines[2]["update_data/0.weight"] == pytest.approx(mon.update_data[2, 0])
    assert lines[0]["loss"] == pytest.approx(mon.losses[0])


def test_a_monitor_that_an_older_version_has_saved():
    """1.0 knew one optimizer, and neither classes, networks, units nor the learning rate of an update."""
    model = deep_net()
    mon = train(model, torch.optim.SGD(model.parameters(), 0.1))
    state = mon.__getstate__()
    state["columns"] = state["columns"][:3]
    state["parameters"]["stepped"], state["has_optimizer"] = 30, True
    for name in ("classes", "networks"):
        del state[name]
    arrays, n, interval = state["_updates"]._state
    state["_updates"]._state = ({k: a for k, a in arrays.items() if k != "rate"}, n, interval)
    old = Monitor.__new__(Monitor)
    old.__setstate__(copy.deepcopy(state))
    assert old.optimizer_steps == 30 and old.networks == [""] and not old.units.any()
    assert np.isnan(old.update_rates).all() and len(old.update_rates) == len(old.update_steps)
    assert not found(old) and not found(pickle.loads(pickle.dumps(old)))


def test_a_report_is_one_page(mon, tmp_path):
    plots.save_report(mon, tmp_path / "run.html", title="My <run>")
    page = (tmp_path / "run.html").read_text()
    assert "My &lt;run&gt;" in page and page.count("data:image/png;base64,") == 2 and "no findings" in page
    assert page.count('alt="') == 2 and "http" not in page


def test_samples_go_to_a_writer_as_they_come():
    class Writer:
        rows: list = []  # noqa: RUF012

        def add_scalar(self, tag, value, step):
            self.rows.append((tag, value, step))

    model, writer = deep_net(), Writer()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    mon = Monitor(model, optimizer=optimizer, every=2)
    write_to(mon, tensorboard(writer))
    for _ in range(3):
        loss = model(torch.randn(8, 6)).square().mean()
        optimizer.zero_grad(), loss.backward(), optimizer.step(), mon.step(loss)
    values = {(tag, step): value for tag, value, step in writer.rows}
    assert {step for _, step in values} == {0, 2} and len(values) == len(writer.rows)
    assert values["gradients.std/2", 2] == pytest.approx(mon.gradients.std[1, 2])
