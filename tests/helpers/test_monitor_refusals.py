"""What a Monitor cannot read it names and leaves alone; what cannot work is refused with what to do."""

from __future__ import annotations

import gc
import inspect
import math
import pickle
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.helpers.loops import assert_pair, at, net, pair
from zth_helpers import Monitor, diagnose, live, plots
from zth_helpers.monitor import Finding, stop_on, tensorboard, write_to


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


def all_hooks(model):
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()
    ) + sum(len(p._backward_hooks or ()) for p in model.parameters())


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


SGD = torch.optim.SGD


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda m: Monitor(m, SGD(m.parameters(), 0.1)),
            TypeError,
            r"an optimizer: call .*optimizer=optimizer",
        ),
        (lambda m: Monitor(m, m[0].weight), TypeError, "got one Parameter: give a list of tensors"),
        (lambda m: Monitor(m, 100), TypeError, r"got one int: .*model\.named_parameters\(\)"),
        (lambda m: Monitor(m, m), TypeError, "a list with a Linear in it"),
        (lambda m: Monitor(m, {"a": 1.0}), TypeError, "a list with a float in it"),
        (lambda m: Monitor(m, []), ValueError, "no parameters to follow"),
        (lambda m: Monitor(m, only=5), TypeError, "only=5: give the pattern of a name, or a list"),
        (lambda m: Monitor(m, only=["0", 1]), TypeError, "only="),
        (lambda m: Monitor(m, only="1"), ValueError, "only=1 leaves no parameters"),
        (lambda m: Monitor(m, only="9"), ValueError, "no layer is named like 9"),
        (lambda m: Monitor(m, scaler=True), TypeError, r"scaler is a bool: give the torch\.amp\.GradScaler"),
        (lambda m: Monitor(m, optimizer=SGD), TypeError, "register_step_pre_hook"),
        (lambda m: Monitor([m, 3]), TypeError, "layer 1 is a int"),
    ],
)
def test_a_monitor_that_cannot_be_made_leaves_nothing_behind(make, error, message):
    model = net()
    with pytest.raises(error, match=message) as caught:
        make(model)
    assert all_hooks(model) == 0 and caught.tb is not None  # although its frames are still alive


def test_parameters_come_as_tensors_or_with_their_names():
    model = net()
    named = dict(model.named_parameters())
    for given in (named, named.items(), model.named_parameters(), list(named.items())):
        assert Monitor(model, given).parameter_names == list(named)
    assert Monitor(model, [model[2].bias]).parameter_names == ["2.bias"]
    outside = torch.ones(2, requires_grad=True)
    mon = Monitor(model, iter([outside, model[2].bias, outside]))
    assert mon.parameter_names == ["parameter 0", "2.bias"]  # each once


@pytest.mark.parametrize("lr", [[0.1], "fast"])
def test_a_learning_rate_that_is_no_number(lr):
    model = net()
    mon = Monitor(model, every=1)
    loss = model(torch.randn(8, 4)).square().mean()
    loss.backward()
    with pytest.raises(ValueError, match=r"lr=.*: give one number, .*get_last_lr\(\)\[0\]"):
        mon.step(loss, lr=lr)
    mon.step(loss, lr=torch.tensor(0.1))  # the step has not been counted
    assert mon.loss_steps.tolist() == [0] and np.isfinite(mon.update_data).all()


def some_steps(every: int = 1, act=nn.Tanh) -> Monitor:
    model = net(act)
    mon = Monitor(model, every=every)
    for _ in range(3):
        loss = model(torch.randn(8, 4)).square().mean()
        loss.backward()
        mon.step(loss, lr=1e-3)
    return mon


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"vocab_size": "27"}, ValueError, "vocab_size='27': give the number of classes"),
        ({"vocab_size": 1}, ValueError, "vocab_size=1"),
        (
            {"thresholds": {"saturatd": 0.5}},
            TypeError,
            "no threshold 'saturatd': there are first_loss",
        ),
        (
            {"thresholds": {"update": 0.5}},
            ValueError,
            r"update=0\.5: give something like \(0\.0001, 0\.05",
        ),
        ({"thresholds": {"update": (1, 2, 3)}}, ValueError, "threshold update"),
        ({"thresholds": {"saturated": "much"}}, ValueError, "threshold saturated='much'"),
        ({"thresholds": {"dead": 0.5}}, ValueError, r"threshold dead=0\.5: give something like {'Tanh'"),
        ({"thresholds": {"dead": {"Relu": 0.5}}}, ValueError, "threshold dead"),
        ({"rules": lambda mon: []}, TypeError, r"rules=\[my_rule\]"),
        ({"rules": [lambda mon: ["bad"]]}, TypeError, "a rule gave a str: it gives a list of Findings"),
        (
            {"rules": [lambda mon: [Finding("fatal", "", "a", "b", "c", "d")]]},
            ValueError,
            "severity='fatal': give one of error, warning, note",
        ),
    ],
)
def test_what_diagnose_cannot_take(options, error, message):
    with pytest.raises(error, match=message):
        diagnose(some_steps(), **options)


def test_of_the_thresholds_for_dead_units_one_kind_can_be_changed():
    mon = some_steps(act=nn.ReLU)
    mon.outputs.dead[:, 1], limits = 0.4, {"dead": {"ReLU": 0.0}, "dead_spread": 0}
    assert not [f for f in diagnose(mon) if "dead" in f.what]
    assert [f.expected for f in diagnose(mon, thresholds=limits) if "dead" in f.what] == ["at most 0%"]
    tanh = some_steps()
    tanh.outputs.dead[:, 1] = 0.2  # the limit of the other kinds stays
    assert [f.expected for f in diagnose(tanh, thresholds=limits) if "dead" in f.what] == ["at most 10%"]


def test_a_rule_that_finds_nothing_may_return_nothing():
    assert diagnose(some_steps(), None, rules=[lambda mon: None]) == diagnose(some_steps(), None)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda mon: diagnose(net()), "diagnose reads a Monitor, not a Sequential"),
        (lambda mon: stop_on(mon, action="stop"), "action= got a str"),
        (lambda mon: stop_on(mon, vocab=27), "vocab"),
        (lambda mon: stop_on(mon, thresholds={"sat": 1}), "no threshold 'sat'"),
        (lambda mon: write_to(mon, SimpleNamespace()), r"write_to got a SimpleNamespace: .*tensorboard"),
        (lambda mon: tensorboard("runs"), "a str has no add_scalar: give a SummaryWriter"),
        (lambda mon: plots.dashboard(net()), "give a Monitor, or the list .* got a Sequential"),
        (lambda mon: plots.dashboard([[1.0, 2.0]]), "got a list"),
        (lambda mon: next(live({"loss": 1.0}, 3)), "got a dict"),
        (lambda mon: next(live(net(), 3)), "got a Sequential"),
    ],
)
def test_what_reads_a_monitor_refuses_anything_else(call, message):
    with pytest.raises(TypeError, match=message):
        call(some_steps())


def test_losses_that_still_have_their_graph_are_drawn():
    losses: list = []
    for i in live(losses, 4):
        losses.append(torch.tensor(float(i), requires_grad=True) * 2)
    line = plots.dashboard([*losses, 8.0]).axes[0].lines[0]
    assert line.get_ydata().tolist() == [0, 2, 4, 6, 8]


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
