"""Monitor on modules: each way in which hooks can go wrong, and real networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.multiprocessing
import torch.nn.functional as F
from torch import nn

from tests.helpers.loops import GPT, net, run
from zth_helpers.layers import Linear, Tanh
from zth_helpers.monitor import Monitor


def columns(mon, *fields):
    """{layer: values of its last sample}."""
    at = dict(outputs=mon.outputs, gradients=mon.gradients)
    get = [getattr(at[f.split(".")[0]], f.split(".")[1])[-1] for f in fields]
    return {name: [float(values[i]) for values in get] for i, name in enumerate(mon.layer_names)}


def test_a_module_shows_the_same_numbers_as_plain_layers():
    model = net()
    layers = [Linear(4, 8), Tanh(), Linear(8, 3)]
    for plain, module in ((layers[0], model[0]), (layers[2], model[2])):
        plain.weight, plain.bias = module.weight.detach().T.contiguous(), module.bias.detach().clone()
        plain.weight.requires_grad = plain.bias.requires_grad = True
    x = torch.randn(16, 4)
    watched, plain = Monitor(model, every=1), Monitor(layers, every=1)
    run(model, watched, x)
    h = x
    for layer in layers:
        h = layer(h)
    plain.retain_grads()
    h.square().mean().backward()
    plain.step(h.square().mean(), lr=0.1)
    for field in ("mean", "std", "saturated", "hist"):
        for a, b in ((watched.outputs, plain.outputs), (watched.gradients, plain.gradients)):
            np.testing.assert_allclose(getattr(a, field), getattr(b, field), rtol=1e-4, atol=2)
    np.testing.assert_allclose(watched.outputs.std, plain.outputs.std, rtol=1e-5)
    np.testing.assert_allclose(watched.gradients.std, plain.gradients.std, rtol=1e-5)
    np.testing.assert_allclose(watched.grad_data, plain.grad_data, rtol=1e-5)
    assert watched.layer_names == ["0", "1", "2"] and watched.layer_kinds == ["Linear", "Tanh", "Linear"]
    assert watched.parameter_names == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_watching_changes_nothing():
    results = []
    for watch in (False, True):
        torch.manual_seed(3)
        model, x = net(), torch.randn(8, 4)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        mon = Monitor(model, optimizer=optimizer, every=2) if watch else None
        for _ in range(5):
            loss = model(x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if mon:
                mon.step(loss)
        results.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results))


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.act = nn.Linear(4, 4), nn.Tanh()

    def forward(self, x):
        return self.act(self.inner(self.act(self.inner(x)) + 1))


def test_a_shared_module_is_recorded_once_for_each_call():
    model, x = Shared(), torch.randn(8, 4)
    mon = Monitor(model, every=1)
    run(model, mon, x, steps=2)
    assert mon.layer_names == ["inner", "act", "inner#2", "act#2"] and mon.calls.tolist() == [4, 4, 4, 4]
    first = model.inner(x)  # outside of the model's pass: no new column
    assert len(mon.layer_names) == mon.outputs.mean.shape[1] == 4
    shown = columns(mon, "outputs.mean", "gradients.std")
    assert shown["inner"][0] == pytest.approx(first.mean().item(), rel=1e-5)
    assert shown["inner"] != shown["inner#2"] and all(np.isfinite(v).all() for v in shown.values())


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(11, 6), nn.Linear(6, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ix):
        return self.head(self.embed(ix))


def test_a_tied_parameter_is_followed_once():
    model = Tied()
    mon = Monitor(model, every=1)
    run(model, mon, torch.arange(5))
    assert mon.parameter_names == ["embed.weight"] and mon.layer_names == ["embed", "head"]


class Nested(nn.Module):
    def forward(self, x):
        return {"pair": (x, [x * 2]), "index": torch.arange(3), "nothing": None}


def test_tuple_and_dict_outputs_are_flattened():
    model = nn.Sequential(nn.Linear(3, 3), Nested())
    mon = Monitor(model, every=1)
    run(model, mon, torch.ones(2, 3), loss_of=lambda out: (out["pair"][0] + out["pair"][1][0]).sum())
    assert mon.layer_names == ["0", "1[0]", "1[1]"] and mon.layer_kinds[1:] == ["Nested"] * 2
    assert mon.outputs.mean[0, 2] == pytest.approx(2 * mon.outputs.mean[0, 1])


def test_lstm():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = nn.LSTM(4, 6, num_layers=2, batch_first=True), nn.Linear(6, 2)

        def forward(self, x):
            return self.head(self.lstm(x)[0])

    model = Net()
    mon = Monitor(model, every=1)
    run(model, mon, torch.randn(3, 5, 4), steps=2)
    assert mon.layer_names == ["lstm[0]", "lstm[1]", "lstm[2]", "head"]  # output, h, c
    assert np.isfinite(columns(mon, "gradients.std")["lstm[0]"]).all()
    assert np.isnan(columns(mon, "gradients.std")["lstm[1]"]).all()  # not used, so no gradient comes


def test_in_place_operations_neither_break_nor_falsify():
    model = nn.Sequential(nn.Linear(4, 50), nn.ReLU(inplace=True), nn.Linear(50, 2))
    mon = Monitor(model, every=1)
    x = torch.randn(16, 4)
    run(model, mon, x)
    before = F.linear(x, model[0].weight, model[0].bias)
    shown = columns(mon, "outputs.mean", "outputs.lo", "gradients.std")
    assert shown["0"][:2] == pytest.approx([before.mean().item(), before.min().item()], rel=1e-5)
    assert shown["1"][1] == 0 and np.isfinite([shown["0"][2], shown["1"][2]]).all()


def test_no_grad_and_eval_passes_are_not_recorded():
    model = net()
    mon = Monitor(model, every=1)
    x = torch.randn(8, 4)
    out = model(x)
    with torch.no_grad():
        model(100 * x)
    model.eval()
    model(100 * x)
    model.train()
    out.sum().backward()
    mon.step(out.sum())
    assert mon.calls.tolist() == [1, 1, 1] and mon.outputs.std[0, 0] < 10
    assert np.isfinite(mon.gradients.mean).all()
    model.eval()
    out = model(x)
    out.sum().backward()
    with pytest.raises(RuntimeError, match="training mode"):
        mon.step(out.sum())


def test_plain_layers_under_no_grad():
    layers = [Linear(3, 3), Tanh()]
    layers[0].weight.requires_grad = True
    mon = Monitor(layers, every=1)
    with torch.no_grad():
        for layer in layers:
            layer(torch.ones(2, 3))
        mon.retain_grads()  # nothing to retain, no error


def test_of_several_passes_before_a_step_the_last_counts():
    """Gradient accumulation; also a pass that was interrupted."""
    model, x = Shared(), torch.randn(8, 4)
    mon = Monitor(model, every=1)
    handle = model.act.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(x)
    handle.remove()
    for scale in (1, 2, 3):
        model(scale * x).sum().backward()
    mon.step(1.0)
    assert mon.layer_names == ["inner", "act", "inner#2", "act#2"]
    assert columns(mon, "outputs.mean")["inner"][0] == pytest.approx(
        model.inner(3 * x).mean().item(), rel=1e-5
    )


def test_a_module_called_in_a_long_loop_gets_a_few_columns():
    class Unrolled(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.RNNCell(4, 4)

        def forward(self, x):
            h = torch.zeros(2, 4)
            for _ in range(50):
                h = self.cell(x, h)
            return h

    model = Unrolled()
    mon = Monitor(model, every=1)
    run(model, mon, torch.ones(2, 4))
    assert mon.layer_names == ["cell"] + [f"cell#{i}" for i in range(2, 9)] and mon.calls[0] == 50


def test_a_layer_that_first_runs_late_gets_its_column():
    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.late = nn.Linear(3, 3), nn.Linear(3, 3), False

        def forward(self, x):
            return self.b(self.b(self.a(x))) if self.late else self.a(x)

    model = Late()
    mon = Monitor(model, every=1)
    run(model, mon, torch.ones(2, 3), steps=2)
    assert mon.layer_names == ["a", "b"] and mon.calls.tolist() == [2, 0]
    model.late = True
    run(model, mon, torch.ones(2, 3), steps=2)
    assert mon.layer_names == ["a", "b", "b#2"] and mon.outputs.hist.shape[:2] == (4, 3)
    assert np.isnan(mon.outputs.mean[:2, 1:]).all() and np.isfinite(mon.outputs.mean[2:]).all()
    assert (mon.outputs.hist[:2, 2] == 0).all()


# -- real modules -----------------------------------------------------------------------------------------


def test_transformer():
    model = nn.Transformer(16, 2, 2, 2, 32, dropout=0.1, batch_first=True)
    mon = Monitor(model, every=1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(2):
        loss = (model(torch.randn(3, 5, 16), torch.randn(3, 4, 16)) ** 3).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mon.step(loss, lr=0.1)
    never = [name for name, calls in zip(mon.layer_names, mon.calls) if not calls]
    assert never == [] and "encoder.layers.0.self_attn" in mon.layer_names  # one layer, not its out_proj
    assert np.isfinite(mon.outputs.mean[1]).all() and np.isfinite(mon.grad_data).all()
    assert mon.layer_names[0].startswith("encoder.layers.0") and len(mon.parameter_names) == len(
        list(model.parameters())
    )


def test_conv_net():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    mon = Monitor(model, optimizer=optimizer, every=1)
    for _ in range(3):
        loss = F.cross_entropy(model(torch.randn(4, 3, 12, 12)), torch.arange(4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mon.step(loss)
    assert mon.layer_kinds == [type(m).__name__ for m in model] and np.isfinite(mon.gradients.std).all()
    assert np.isfinite(mon.outputs.saturated[:, [2, 5]]).all() and np.isfinite(mon.update_data).all()


def test_gpt_with_tied_embeddings():
    model = GPT(tied=True)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    mon = Monitor(model, optimizer=optimizer, every=2)
    for _ in range(5):
        ix = torch.randint(0, 27, (4, 8))
        loss = F.cross_entropy(model(ix).flatten(0, 1), ix.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mon.step(loss)
    assert mon.parameter_names.count("tok.weight") == 1 and "head.weight" not in mon.parameter_names
    assert mon.layer_names[0] == "tok" and mon.layer_names[-1] == "head" and "blocks" not in mon.layer_names
    assert (
        (mon.calls == 3).all() and np.isfinite(mon.outputs.std).all() and np.isfinite(mon.update_data).all()
    )


def test_weight_norm_and_other_parametrizations():
    model = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.Tanh())
    mon = Monitor(model, every=1)
    run(model, mon, torch.randn(8, 4))
    assert mon.layer_names == ["0", "1"] and (mon.calls == 1).all()


@pytest.mark.parametrize("to_script", [torch.jit.script, lambda m: torch.jit.trace(m, torch.ones(2, 4))])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused_by_its_name_and_skipped_inside_of_a_model(to_script):
    scripted = to_script(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)))
    with pytest.raises(ValueError, match="TorchScript"):
        Monitor(scripted)
    model = nn.Sequential(nn.Linear(4, 4), scripted, nn.Linear(3, 2))
    mon = Monitor(model, every=1)
    loss = model(torch.randn(6, 4)).square().mean()
    loss.backward()
    mon.step(loss, lr=0.1)
    assert mon.layer_names == ["0", "2"] and mon.skipped == {"1": "a TorchScript module"}
    assert len(mon.parameter_names) == 8 and np.isfinite(mon.gradients.std).all()
