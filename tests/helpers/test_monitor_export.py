"""What a Monitor has recorded, taken away: as a pickle, plain Python, JSON, a page or a writer's scalars."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers.loops import deep_net, found, train
from zth_helpers import Monitor, diagnose, plots
from zth_helpers.monitor import tensorboard, to_dict, to_json_lines, write_to


@pytest.fixture
def mon():
    model = deep_net()
    return train(model, torch.optim.SGD(model.parameters(), 0.1), steps=12)


READ = """every histograms_every interval steps calls units grad_data moved losses loss_steps weight_steps
update_data update_steps update_rates layer_names layer_kinds without_gradients output_layers networks
parameter_names parameter_shapes parameter_dtypes trainable nonfinite_first classes skipped
optimizer_steps not_in_optimizer learning_rates""".split()
STATISTICS = "outputs gradients parameter_grads".split()


def test_a_copy_reads_in_all_as_the_original():
    body, head = deep_net(), nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    both = nn.ModuleDict({"body": body, "head": head})
    optimizer = torch.optim.SGD([*body.parameters(), head[0].weight], 0.1)
    mon = Monitor(both, optimizer=optimizer, every=2, histograms_every=4)
    for _ in range(12):
        with torch.no_grad():
            body(torch.randn(3, 6))
        loss = nn.functional.cross_entropy(head(body(torch.randn(8, 6))), torch.arange(8) % 4)
        both.zero_grad(), loss.backward(), optimizer.step(), mon.step(loss)
    assert mon.not_in_optimizer == ["head.0.bias"] and mon.output_layers == ["head.1"]
    copied = pickle.loads(pickle.dumps(mon))
    public = {name for name, value in vars(Monitor).items() if isinstance(value, property)}
    assert {name for name in public if not name.startswith("_")} <= {*READ, *STATISTICS}
    for name in READ:
        np.testing.assert_equal(getattr(copied, name), getattr(mon, name), err_msg=name)
    for name in STATISTICS:
        for field in (*mon.outputs.names, "hist", "edges"):
            values = (getattr(getattr(m, name), field) for m in (copied, mon))
            np.testing.assert_array_equal(*values, err_msg=f"{name}.{field}")
    assert copied.closed and not mon.closed and copied.after_sample == []


def test_a_copy_is_shown_and_diagnosed_as_the_original(mon):
    copied = pickle.loads(pickle.dumps(mon))
    assert repr(copied) == repr(mon) and str(diagnose(copied, None)) == str(diagnose(mon, None))
    assert str(plots.dashboard(copied)) == str(plots.dashboard(mon))
    assert pickle.loads(pickle.dumps(diagnose(mon, None))) == diagnose(mon, None)
    with pytest.raises(RuntimeError, match="closed"):
        copied.step(1.0)
    copied.close()


def same(plain, values: np.ndarray) -> bool:
    """Are these lists the numbers of the array, with None for what is not finite?"""
    got = np.array(plain, dtype=float)
    return got.shape == values.shape and np.array_equal(
        got, np.where(np.isfinite(values), values, np.nan), equal_nan=True
    )


def test_as_plain_python(mon):
    mon._losses["loss"][3], mon.grad_data[1, 2], mon.nonfinite_first = np.inf, -np.inf, (3, "2")
    data = json.loads(json.dumps(to_dict(mon), allow_nan=False))
    assert data["layers"] == mon.layer_names and data["kinds"] == mon.layer_kinds
    assert data["parameters"] == mon.parameter_names and data["skipped"] == {}
    assert data["steps"] == data["update_steps"] == [0, 5, 10] and data["loss_steps"] == list(range(12))
    assert same(data["grad_data"], mon.grad_data) and same(data["update_data"], mon.update_data)
    assert same(data["losses"], mon.losses) and data["losses"][3] is None
    assert data["nonfinite_first"] == [3, "2"] and data["grad_data"][1][2] is None
    for key, seen in (("outputs", mon.outputs), ("gradients", mon.gradients)):
        assert list(data[key]) == ["mean", "std", "saturated", "dead", "nonfinite", "lo", "hi"]
        assert all(same(data[key][name], getattr(seen, name)) for name in data[key])


def test_as_lines_of_json(tmp_path):
    """A line a sample; an update ratio and a loss where there is one of that step; no nan, no inf."""
    model = torch.nn.ModuleDict({"é": deep_net()})
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    mon = Monitor(model, optimizer=optimizer, every=2)
    for i in range(7):
        loss = model["é"](torch.randn(8, 6)).square().mean()
        optimizer.zero_grad(), loss.backward()
        if i != 2:  # its update comes a step later
            optimizer.step()
        mon.step(loss)
    updates = dict(zip(mon.update_steps.tolist(), mon.update_data))
    assert list(updates) == [0, 3, 4, 6]
    mon._losses["loss"][4] = np.nan
    to_json_lines(mon, tmp_path / "run.jsonl")
    text = (tmp_path / "run.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert "é.0" in text and text.endswith("\n") and [line["step"] for line in lines] == [0, 2, 4, 6]
    assert [line.get("loss") for line in lines] == [*mon.losses[[0, 2]].tolist(), None, mon.losses[6]]
    for row, line in enumerate(lines):
        expected = {"step": row * 2} | ({"loss": float(mon.losses[row * 2])} if row != 2 else {})
        for key, seen in (("outputs", mon.outputs), ("gradients", mon.gradients)):
            for name in seen.names:
                values = getattr(seen, name)[row]
                expected |= {f"{key}.{name}/{n}": float(v) for n, v in zip(mon.layer_names, values)}
        expected |= {f"grad_data/{n}": float(v) for n, v in zip(mon.parameter_names, mon.grad_data[row])}
        ratios = updates.get(row * 2, [])
        expected |= {f"update_data/{n}": float(v) for n, v in zip(mon.parameter_names, ratios)}
        assert line == {tag: value for tag, value in expected.items() if np.isfinite(value)}


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
    mon, calls = Monitor(model, optimizer=optimizer, every=2), []

    def train(steps):
        for _ in range(steps):
            loss = model(torch.randn(8, 6)).square().mean()
            optimizer.zero_grad(), loss.backward(), optimizer.step(), mon.step(loss)

    write_to(mon, tensorboard(writer))
    train(3)
    values = {(tag, step): value for tag, value, step in writer.rows}
    assert {step for _, step in values} == {0, 2} and len(values) == len(writer.rows)
    write_to(mon, lambda values, step: calls.append((step, values)))  # from now on
    train(3)
    assert [step for step, _ in calls] == [4] and calls[0][1]["loss"] == pytest.approx(mon.losses[4])
    assert {step for _, _, step in writer.rows} == {0, 2, 4}
    assert values["gradients.std/2", 2] == pytest.approx(mon.gradients.std[1, 2])
