"""What a Monitor cannot read it names and leaves alone; what cannot work is refused with what to do."""

from __future__ import annotations

import gc
import inspect
import math
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.helpers.loops import all_hooks, assert_pair, at, net, pair
from zth_helpers import Monitor, diagnose


def test_complex_parameters_have_torchs_norms():
    class Phase(nn.Module):
        def __init__(self):
            super().__init__()
            self.W = nn.Parameter(torch.randn(4, 3, dtype=torch.cfloat))
            self.b = nn.Parameter(torch.randn(3, dtype=torch.cfloat))

        def forward(self, x):
            return (x.to(torch.cfloat) @ self.W + self.b).abs()

    model = nn.Sequential(Phase(), nn.Linear(3, 2))
    mon = Monitor(model, every=1)
    loss = model(torch.randn(8, 4)).square().mean()
    loss.backward()
    mon.step(loss, lr=0.1)
    for i, p in enumerate(model.parameters()):
        assert mon.grad_data[0, i] == pytest.approx((p.grad.norm() / p.norm()).item(), rel=1e-5)


def test_a_complex_output_is_skipped_and_named_once():
    class Fourier(nn.Module):
        def forward(self, x):
            return torch.fft.fft(x)

    class Size(nn.Module):
        def forward(self, x):
            return x.abs()

    model = nn.Sequential(nn.Linear(4, 4), Fourier(), Size(), nn.Linear(4, 2))
    mon = Monitor(model, every=1)
    for _ in range(2):
        loss = model(torch.randn(8, 4)).square().mean()
        loss.backward()
        mon.step(loss)
    assert mon.skipped == {"1": "complex numbers"} and np.isfinite(at(mon, "0")["grad"])


def test_nested_tensors_are_skipped():
    class Nest(nn.Module):
        def forward(self, x):
            return torch.nested.nested_tensor([x[0], x[1, :2]])

    class Back(nn.Module):
        def forward(self, x):
            return torch.nested.to_padded_tensor(x, 0.0)

    model = nn.Sequential(nn.Linear(4, 4), Nest(), Back(), nn.Linear(4, 2))
    mon = Monitor(model, every=1)
    loss = model(torch.randn(2, 3, 4)).square().mean()
    loss.backward()
    mon.step(loss)
    assert "nested" in mon.skipped["1"] and np.isfinite(at(mon, "3")["mean"])


def test_vmap_grad_and_functional_call_over_a_watched_model():
    model, x = net(), torch.randn(8, 4)
    mon = Monitor(model, every=1)
    parameters = {k: v.detach() for k, v in model.named_parameters()}

    def loss_of(parameters, x):
        return torch.func.functional_call(model, parameters, (x,)).square().mean()

    torch.func.vmap(torch.func.grad(loss_of), in_dims=(None, 0))(parameters, x)
    loss = model(x).square().mean()
    loss.backward()
    mon.step(loss)
    h, g = pair(model, x, lambda out: out.square().mean())
    assert_pair(mon, "0", h, g)


@dataclass
class Output:
    logits: torch.Tensor
    hidden: tuple
    loss: torch.Tensor | None = None


def test_outputs_in_a_dataclass_are_seen():
    class Model(nn.Module):
        def forward(self, x):
            return Output(x * 2, (x, [x + 1]))

    model = nn.Sequential(nn.Linear(3, 3), Model())
    mon = Monitor(model, every=1)
    out = model(torch.ones(2, 3))
    out.logits.sum().backward()
    mon.step(out.logits.sum())
    assert mon.layer_names == ["0", "1[0]", "1[1]", "1[2]"]
    assert at(mon, "1[0]")["mean"] == pytest.approx(out.logits.mean().item())


def test_whatever_a_hook_meets_never_reaches_the_users_call(monkeypatch):
    model, x = net(), torch.randn(8, 4)
    mon = Monitor(model, every=1)
    monkeypatch.setattr(mon._modules, "_axis", lambda *_: 1 / 0)
    loss = model(x).square().mean()
    loss.backward()
    mon.step(loss)
    assert mon.skipped["0"] == "ZeroDivisionError: division by zero"
    assert len(mon.steps) == 0 and mon.losses.tolist() == [loss.item()]  # nothing was seen, and no error


# Older compilers neither say that they want a full graph nor let a hook give its reason for breaking one.
NAMES_A_REASON = "reason" in inspect.signature(torch.compiler.disable).parameters
says_why = pytest.mark.skipif(not NAMES_A_REASON, reason="this torch's compiler shows no reason of ours")


@says_why
def test_a_model_compiled_with_fullgraph_is_refused_at_once():
    compiled = torch.compile(net(), backend="eager", fullgraph=True)
    with pytest.raises(ValueError, match="without fullgraph=True"):
        Monitor(compiled)


@says_why
def test_compiling_a_watched_model_with_fullgraph_names_the_monitor():
    torch._dynamo.reset()
    model = net()
    mon = Monitor(model, every=1)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with pytest.raises(Exception, match=r"Monitor|disable"):
        compiled(torch.randn(2, 4))
    mon.close()
    torch._dynamo.reset()
    assert torch.compile(model, backend="eager", fullgraph=True)(torch.randn(2, 4)).shape == (2, 3)


def test_a_module_that_returns_its_own_parameter_gets_no_hook_that_stays():
    class Position(nn.Module):
        def __init__(self):
            super().__init__()
            self.pos, self.same, self.head = nn.Parameter(torch.randn(4)), nn.Identity(), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(x + self.same(self.pos))

    model = Position()
    mon = Monitor(model, every=1)
    for _ in range(5):
        loss = model(torch.randn(8, 4)).square().mean()
        loss.backward()
        mon.step(loss)
        assert len(model.pos._backward_hooks or ()) == 0
    mon.close()
    assert all_hooks(model) == 0


def test_uninitialised_modules_ask_for_a_batch_first():
    model = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(2))
    with pytest.raises(ValueError, match=r"0\.weight has no shape yet: run one batch first"):
        Monitor(model)
    model(torch.randn(2, 3))
    assert Monitor(model).parameter_shapes[0] == (4, 3)


def test_parameters_that_were_replaced_are_said_to_be_gone():
    model, x = net(), torch.randn(8, 4)
    mon = Monitor(model, every=1)
    model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True)
    gc.collect()
    loss = model(x).square().mean()
    loss.backward()
    with pytest.raises(RuntimeError, match=r"load_state_dict\(assign=True\)"):
        mon.step(loss)


def test_an_optimizer_without_the_hook_is_named():
    class Wrapped:
        param_groups = ()

    class Accelerated(torch.optim.Optimizer):
        """As accelerate's: an Optimizer by class, that was never made one."""

        def __init__(self, optimizer):
            self.optimizer = optimizer

    model = net()
    with pytest.raises(TypeError, match="Wrapped has no register_step_pre_hook"):
        Monitor(model, optimizer=Wrapped())
    inside = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(TypeError, match=r"give the torch\.optim\.Optimizer inside of it"):
        Monitor(model, optimizer=[inside, Accelerated(inside)])
    assert not inside._optimizer_step_pre_hooks  # nothing is left of the attempt


def test_several_optimizers_share_a_model():
    """Weights in one and biases in another, that steps at every second step only (as Muon beside AdamW)."""
    model = net()
    weights = torch.optim.SGD([p for p in model.parameters() if p.ndim > 1], 0.1, momentum=0.9)
    biases = torch.optim.Adam([p for p in model.parameters() if p.ndim < 2], 0.01)
    mon = Monitor(model, optimizer=[weights, biases], every=1)
    expected = []
    for i in range(40):
        x = torch.randn(8, 4)
        loss = model(x).square().mean()
        model.zero_grad()
        loss.backward()
        before = [p.detach().clone() for p in model.parameters()]
        if i % 2:
            biases.step()
        weights.step()
        ratios = [((p - b).norm() / p.norm()).item() for p, b in zip(model.parameters(), before)]
        expected.append([r if p.ndim > 1 or i % 2 else math.nan for p, r in zip(model.parameters(), ratios)])
        mon.step(loss)
    np.testing.assert_allclose(mon.update_data, expected, rtol=1e-5)
    assert mon.optimizer_steps == 20 and mon.learning_rates == [0.1, 0.01] and not mon.not_in_optimizer
    saved = pickle.loads(pickle.dumps(mon))
    assert saved.optimizer_steps == 20 and saved.learning_rates == [0.1, 0.01]
    assert not [f for f in diagnose(saved, None) if "optimizer" in f.what or "learn" in f.what]
    mon.close()
    assert not (weights._optimizer_step_pre_hooks or biases._optimizer_step_pre_hooks)


def test_a_parameter_that_none_of_several_optimizers_has():
    first, _, last = model = net()
    optimizers = [torch.optim.SGD([p], 0.1) for p in (first.weight, first.bias, last.weight)]
    assert Monitor(model, optimizer=optimizers).not_in_optimizer == ["2.bias"]


def test_plain_layers_without_out_are_named():
    class Silent:
        def __init__(self):
            self.w = torch.randn(3, 3, requires_grad=True)

        def __call__(self, x):
            return x @ self.w

        def parameters(self):
            return [self.w]

    layer = Silent()
    mon = Monitor([layer], every=1)
    loss = layer(torch.randn(2, 3)).sum()
    loss.backward()
    with pytest.raises(RuntimeError, match=r"keep no \.out: 0 Silent has none"):
        mon.step(loss)


def test_a_linear_with_a_dropout_inside_is_a_layer():
    class Dropped(nn.Linear):
        def __init__(self):
            super().__init__(4, 8)
            self.drop = nn.Dropout(0.0)

        def forward(self, x):
            return self.drop(F.linear(x, self.weight, self.bias)) * 2

    model = nn.Sequential(Dropped(), nn.Linear(8, 2))
    mon = Monitor(model, every=1)
    x = torch.randn(8, 4)
    loss = model(x).square().mean()
    loss.backward()
    mon.step(loss)
    assert mon.layer_names == ["0.drop", "0", "1"]
    assert at(mon, "0")["mean"] == pytest.approx(model[0](x).mean().item(), rel=1e-5)


def test_a_container_with_a_parameter_that_passes_its_last_output_on_is_no_layer_of_its_own():
    class Net(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(4, 8), nn.Linear(8, 2))
            self.scale = nn.Parameter(torch.ones(4))

        def forward(self, x):
            return super().forward(x * self.scale)

    model = Net()
    mon = Monitor(model, every=1)
    loss = model(torch.randn(8, 4)).square().mean()
    loss.backward()
    mon.step(loss)
    assert mon.layer_names == ["0", "1"]
