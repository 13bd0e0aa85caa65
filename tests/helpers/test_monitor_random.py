"""Random networks in random loops: what Monitor records of a step, against autograd on a plain twin.

The twin has neither in-place operations nor checkpoints; each of its outputs retains its own gradient.
"""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from zth_helpers import Monitor
from zth_helpers.monitor.columns import tensors
from zth_helpers.monitor.modules import layers_of

D = 4


class Around(nn.Module):
    """A network around another, in one of the ways that make hooks go wrong; `plain` in the twin."""

    def __init__(self, how: str, inner: nn.Module):
        super().__init__()
        self.how, self.inner, self.plain = how, inner, False
        if how == "with a parameter of its own":
            self.scale = nn.Parameter(torch.ones(D))

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "residual":
            return x + self.inner(x)
        if self.how == "twice":
            return self.inner(torch.tanh(self.inner(x)))
        if self.how == "left out at times" and x.sum() > 0:
            return x
        if self.how == "beside a teacher":
            with torch.no_grad():
                target = self.inner(x)
            return self.inner(x) - 0.1 * target
        if self.how in ("reentrant", "checkpointed") and not self.plain and torch.is_grad_enabled():
            return checkpoint(self.inner, x, use_reentrant=self.how == "reentrant")
        if self.how == "changed in place":
            out = self.inner(x)
            return out * 2 + 1 if self.plain else out.mul_(2).add_(1)
        if self.how == "with a parameter of its own":
            return self.inner(x) * self.scale
        return self.inner(x)


class Dictionary(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(D, D), nn.LSTM(D, D, batch_first=True)

    def forward(self, x: Tensor) -> dict:
        return {"h": self.a(x), "more": [self.b(x[:, None]), None]}


class Unpacked(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside = Dictionary()

    def forward(self, x: Tensor) -> Tensor:
        out = self.inside(x)
        return out["h"] * torch.sigmoid(out["more"][0][0][:, 0])


WAYS = ["residual", "twice", "left out at times", "beside a teacher", "reentrant", "checkpointed"]
WAYS += ["changed in place", "with a parameter of its own"]


def network(draw: random.Random, depth: int = 0) -> nn.Module:
    linear = nn.Linear(D, D)
    simple = [linear, nn.Tanh(), nn.ReLU(), nn.LayerNorm(D), nn.BatchNorm1d(D), nn.Dropout(0.0), nn.PReLU()]
    simple += [
        nn.Sequential(linear, nn.ReLU(inplace=True)),
        Unpacked(),
        linear.requires_grad_(draw.random() < 0.9),
    ]
    if depth == 2 or draw.random() < 0.4:
        return draw.choice(simple)
    how, parts = draw.choice(WAYS), [nn.Linear(D, D), network(draw, depth + 1)]
    if how == "changed in place":  # autograd allows that of a Linear's output, not of a Tanh's
        parts.reverse()
    return Around(how, nn.Sequential(*parts))


def retained(twin: nn.Module) -> dict[tuple[str, int], list[Tensor]]:
    """{(layer, turn): its outputs} of each layer's calls in its last pass that had gradients."""
    seen: dict[tuple[str, int], list[Tensor]] = {}
    of: dict[str, int] = {}

    def hook(name: str):
        def keep(module: nn.Module, args: object, output: object) -> None:
            if not (torch.is_grad_enabled() and twin.watched):
                return
            if of.get(name) != twin.watched:  # a new pass: what was seen of this layer is over
                of[name] = twin.watched
                for key in [key for key in seen if key[0] == name]:
                    del seen[key]
            outs = [t for t in tensors(output) if t.requires_grad]
            for t in outs:
                t.retain_grad()
            seen[name, 1 + sum(key[0] == name for key in seen)] = outs

        return keep

    for name, module, _ in layers_of(twin):
        module.register_forward_hook(hook(name))
    return seen


def step(model: nn.Module, batches: list[Tensor], between: str) -> Tensor:
    """Gradients of some batches add up; between forward and backward something else may run."""
    for number, batch in enumerate(batches, 1):
        x = batch.clone().requires_grad_()
        model.watched = number
        out = model(x)
        loss = out.square().mean()
        model.watched = 0
        if between == "evaluation":
            model.eval(), model(3 * x), model.train()
        elif between in ("metric", "no_grad"):
            with torch.set_grad_enabled(between == "metric"):
                model(3 * x)
        elif between == "a gradient aside":
            torch.autograd.grad(100 * loss, out, retain_graph=True)
        loss.backward()
    return loss


def in_the_twin(module: nn.Module) -> None:
    """Neither checkpoints nor in-place operations."""
    if isinstance(module, nn.ReLU):
        module.inplace = False
    if isinstance(module, Around):
        module.plain = True


def assert_shows(mon: Monitor, name: str, t: Tensor, message: str) -> None:
    """The output and its gradient, if there is one, in the last sample."""
    assert name in mon.layer_names, message
    j = mon.layer_names.index(name)
    for shown, values in ((mon.outputs, t.detach()), (mon.gradients, t.grad)):
        if values is not None:
            got = [getattr(shown, field)[-1, j] for field in ("mean", "std", "lo", "hi")]
            want = [values.mean(), values.std(), values.min(), values.max()]
            rounding = 1e-4 * float(values.abs().max())
            np.testing.assert_allclose(got, want, rtol=1e-3, atol=rounding, err_msg=message)


@pytest.mark.parametrize("hundred", range(2))
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_random_networks_in_random_loops(hundred):
    for seed in range(100 * hundred, 100 * hundred + 100):
        torch.manual_seed(seed)
        draw = random.Random(seed)
        model = nn.Sequential(*(network(draw) for _ in range(draw.randint(1, 4))), nn.Linear(D, 2))
        twin = copy.deepcopy(model).apply(in_the_twin)
        expected, mon = retained(twin), Monitor(model, every=1)
        between = draw.choice(["nothing", "evaluation", "metric", "no_grad", "a gradient aside"])
        several = draw.randint(1, 3)
        for _ in range(2):
            batches = [torch.randn(6, D) for _ in range(several)]
            model.zero_grad(), twin.zero_grad(), expected.clear()
            mon.step(step(model, batches, between))
            step(twin, batches, between.removeprefix("a gradient "))  # retained gradients would see it
            for (layer, turn), outs in expected.items():
                column = layer if turn == 1 else f"{layer}#{turn}"
                for i, t in enumerate(outs):
                    name = column if len(outs) == 1 else f"{column}[{i}]"
                    assert_shows(mon, name, t, f"network {seed}, {name}, {between}")
        assert not mon.skipped, seed
