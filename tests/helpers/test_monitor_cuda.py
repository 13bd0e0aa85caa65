"""On a GPU a Monitor records what it records on the CPU; these tests wait for a machine that has one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zth_helpers import Monitor, diagnose

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")


def trained(device: str, steps: int = 30) -> Monitor:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32), nn.Tanh(), nn.Linear(32, 32), nn.ReLU())
    net = nn.Sequential(*net, nn.Linear(32, 4)).double().to(device)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    with Monitor(net, optimizer=optimizer, every=1) as mon:
        for _ in range(steps):
            x = torch.randn(64, 6, dtype=torch.float64)  # drawn on the CPU: the same on both
            loss = F.cross_entropy(net(x.to(device)), x[:, :4].argmax(1).to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            mon.step(loss)
    return mon


def test_the_numbers_are_those_of_the_cpu():
    here, there = trained("cpu"), trained("cuda")
    assert here.layer_names == there.layer_names and here.skipped == there.skipped == {}
    for what in ("outputs", "gradients"):
        for name in ("mean", "std", "saturated", "dead", "lo", "hi"):
            ours, theirs = (getattr(getattr(m, what), name) for m in (here, there))
            np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-7, err_msg=f"{what} {name}")
        assert (getattr(there, what).hist.sum(-1) == getattr(here, what).hist.sum(-1)).all()
    for what in ("grad_data", "update_data"):  # batch norm leaves rounding noise of the bias before it
        np.testing.assert_allclose(getattr(there, what), getattr(here, what), rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(there.losses, here.losses, rtol=1e-5)
    assert there.moved.all() and [str(f) for f in diagnose(there)] == [str(f) for f in diagnose(here)]


def test_a_real_grad_scaler_and_half_precision():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 4)).cuda()
    optimizer, scaler = torch.optim.SGD(net.parameters(), 0.1), torch.amp.GradScaler("cuda")
    grads: list[torch.Tensor] = []
    with Monitor(net, optimizer=optimizer, every=1, scaler=scaler) as mon:
        for i in range(6):
            x = torch.randn(256, 8, device="cuda")
            with torch.autocast("cuda", torch.float16):
                out = net(x)
                loss = F.cross_entropy(out.float(), x[:, :4].argmax(1))
            out.retain_grad()
            optimizer.zero_grad()
            scaler.scale(loss if i != 3 else loss * float("inf")).backward()  # the scaler skips this step
            scale = scaler.get_scale()
            grads.append(out.grad.float() / scale)
            before = net[0].weight.detach().clone()
            scaler.step(optimizer)
            scaler.update()
            mon.step(loss)
            ratio = float((net[0].weight.detach() - before).norm() / before.norm())
            assert mon.update_data[-1][0] == pytest.approx(ratio, rel=1e-3), i
    last = mon.layer_names.index("2")
    for i in (0, 1, 2, 4, 5):
        assert mon.gradients.std[i, last] == pytest.approx(float(grads[i].std()), rel=2e-2), i
    assert mon.update_data[3].tolist() == [0.0] * 4 and mon.nonfinite_first is None
