"""Small networks, loops that train them, and ways to read a Monitor, for several files of tests."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zth_helpers import Monitor, diagnose


def net(act=nn.Tanh):
    return nn.Sequential(nn.Linear(4, 8), act(), nn.Linear(8, 3))


def deep_net():
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4))


def one_step(model, optimizer, *more):
    """Forward, backward, and an update if there is an optimizer; returns the loss."""
    x = torch.randn(32, 6)
    loss = F.cross_entropy(model(x, *more), x[:, :4].argmax(1))
    model.zero_grad()
    loss.backward()
    if optimizer is not None:
        optimizer.step()
    return loss


def scaled_step(loss, optimizer, scaler, mon):
    """Backward and update as torch's recipe for mixed precision has them."""
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    mon.step(loss)


def train(model, optimizer, steps=30, every=5, step=True, lr=None):
    mon = Monitor(model, optimizer=optimizer, every=every)
    for _ in range(steps):
        mon.step(one_step(model, optimizer if step else None), lr=lr)
    return mon


def found(mon, **options):
    return [(f.severity, f.layer, f.what) for f in diagnose(mon, None, **options).causes]


def run(model, mon, *inputs, steps=1, loss_of=None):
    """Trains; `loss_of` turns the output into the loss."""
    for _ in range(steps):
        out = model(*inputs)
        loss = loss_of(out) if loss_of else out.square().mean()
        model.zero_grad()
        loss.backward()
        mon.step(loss, lr=0.1)
    return out


def hooks_of(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def all_hooks(model):
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()
    ) + sum(len(p._backward_hooks or ()) for p in model.parameters())


def at(mon, layer: str, row: int = -1) -> dict[str, float]:
    i = mon.layer_names.index(layer)
    return {
        "mean": float(mon.outputs.mean[row, i]),
        "std": float(mon.outputs.std[row, i]),
        "grad": float(mon.gradients.std[row, i]),
        "grad_mean": float(mon.gradients.mean[row, i]),
    }


def pair(model, x, loss_of) -> tuple[torch.Tensor, torch.Tensor]:
    """The first layer's output and its gradient, without a Monitor."""
    twin = copy.deepcopy(model)
    twin.zero_grad()
    h = twin[0](x)
    h.retain_grad()
    out = h
    for layer in twin[1:]:
        out = layer(out)
    loss_of(out).backward()
    return h.detach(), h.grad


def assert_pair(mon, layer, h, g):
    shown = at(mon, layer)
    assert shown["std"] == pytest.approx(h.std().item(), rel=1e-5)
    assert shown["grad"] == pytest.approx(g.std().item(), rel=1e-5)


class Attention(nn.Module):
    def __init__(self, d=32, heads=4):
        super().__init__()
        self.qkv, self.proj, self.heads = nn.Linear(d, 3 * d), nn.Linear(d, d), heads

    def forward(self, x):
        B, T, d = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(out.transpose(1, 2).reshape(B, T, d))


class Block(nn.Module):
    def __init__(self, d=32):
        super().__init__()
        self.ln1, self.attention, self.ln2 = nn.LayerNorm(d), Attention(d), nn.LayerNorm(d)
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))

    def forward(self, x):
        x = x + self.attention(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class GPT(nn.Module):
    def __init__(self, vocab=27, d=32, T=8, tied=False):
        super().__init__()
        self.tok, self.pos = nn.Embedding(vocab, d), nn.Embedding(T, d)
        self.blocks = nn.Sequential(*(Block(d) for _ in range(3)))
        self.ln, self.head = nn.LayerNorm(d), nn.Linear(d, vocab, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        if tied:
            self.head.weight = self.tok.weight

    def forward(self, ix):
        x = self.tok(ix) + self.pos(torch.arange(ix.shape[1]))
        return self.head(self.ln(self.blocks(x)))
