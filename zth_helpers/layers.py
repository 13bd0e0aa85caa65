"""The layers that notebooks 04 and 06 build by hand (lectures 4 and 6), to import in later notebooks.

Plain objects, as in the lectures: calling one stores its result in `.out`; `parameters()` lists its
tensors; `BatchNorm1d.training` is switched by hand. All tensors are float32 unless the input is not.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Linear:
    """x @ W + b over the last axis: (..., fan_in) -> (..., fan_out), W ~ N(0, 1/fan_in), b = 0."""

    def __init__(
        self, fan_in: int, fan_out: int, bias: bool = True, generator: torch.Generator | None = None
    ):
        self.weight = torch.randn((fan_in, fan_out), generator=generator) / fan_in**0.5
        self.bias = torch.zeros(fan_out) if bias else None

    def __call__(self, x: Tensor) -> Tensor:
        self.out = x @ self.weight
        if self.bias is not None:
            self.out = self.out + self.bias  # not in place: the product keeps its own gradient
        return self.out

    def parameters(self) -> list[Tensor]:
        return [self.weight] + ([] if self.bias is None else [self.bias])


class BatchNorm1d:
    """Batch normalisation (Ioffe & Szegedy 2015) over all axes but the last: (N, C) or (N, L, C).

    As in lecture 4 it normalises with the *unbiased* variance; torch.nn.BatchNorm1d normalises with the
    biased one and wants (N, C, L). Raises ValueError for a training batch with one value per channel,
    whose variance does not exist and would turn the running statistics into nan for good.
    """

    def __init__(self, dim: int, eps: float = 1e-5, momentum: float = 0.1):
        self.eps = eps
        self.momentum = momentum
        self.training = True
        self.gamma = torch.ones(dim)
        self.beta = torch.zeros(dim)
        self.running_mean = torch.zeros(dim)
        self.running_var = torch.ones(dim)

    def __call__(self, x: Tensor) -> Tensor:
        if self.training:
            axes = tuple(range(x.ndim - 1))
            if x[..., 0].numel() < 2:
                raise ValueError(
                    f"BatchNorm1d in training needs at least 2 values per channel, got a batch of shape "
                    f"{tuple(x.shape)}: use a larger batch, or set layer.training = False"
                )
            mean, var = x.mean(axes), x.var(axes)
            with torch.no_grad():
                self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mean
                self.running_var = (1 - self.momentum) * self.running_var + self.momentum * var
        else:
            mean, var = self.running_mean, self.running_var
        self.out = self.gamma * (x - mean) / torch.sqrt(var + self.eps) + self.beta
        return self.out

    def parameters(self) -> list[Tensor]:
        return [self.gamma, self.beta]


class Tanh:
    """tanh, element by element; any shape."""

    def __call__(self, x: Tensor) -> Tensor:
        self.out = torch.tanh(x)
        return self.out

    def parameters(self) -> list[Tensor]:
        return []


class Embedding:
    """A table of vectors: int64 indices (...) -> (..., dim), entries ~ N(0, 1)."""

    def __init__(self, num: int, dim: int, generator: torch.Generator | None = None):
        self.weight = torch.randn((num, dim), generator=generator)

    def __call__(self, ix: Tensor) -> Tensor:
        self.out = self.weight[ix]
        return self.out

    def parameters(self) -> list[Tensor]:
        return [self.weight]


class FlattenConsecutive:
    """Joins each n neighbours of the middle axis: (B, T, C) -> (B, T//n, C*n), or (B, C*n) when T == n.

    Raises ValueError when n does not divide T.
    """

    def __init__(self, n: int):
        self.n = n

    def __call__(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        if T % self.n:
            raise ValueError(
                f"FlattenConsecutive({self.n}) cannot split a length of {T} into groups of {self.n}"
            )
        x = x.view(B, T // self.n, C * self.n)
        self.out = x.squeeze(1) if x.shape[1] == 1 else x
        return self.out

    def parameters(self) -> list[Tensor]:
        return []


class Sequential:
    """Layers called one after another; `train()` and `eval()` switch every batch norm inside."""

    def __init__(self, layers: list):
        self.layers = layers

    def __call__(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        self.out = x
        return self.out

    def parameters(self) -> list[Tensor]:
        return [p for layer in self.layers for p in layer.parameters()]

    def train(self, mode: bool = True) -> Sequential:
        for layer in self.layers:
            if hasattr(layer, "train"):
                layer.train(mode)
            elif hasattr(layer, "training"):
                layer.training = mode
        return self

    def eval(self) -> Sequential:
        return self.train(False)
