"""The lessons' models in torch.nn, each with the recipe that its lesson trains it with.

Two kinds of input. A *window* model reads the `block` characters before a place and predicts one: (N, block)
-> (N, vocabulary). A *row* model is causal: it reads a whole name and predicts the next character at each of
its places at once, (N, T) -> (N, T, vocabulary).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Tree(nn.Module):
    """Lecture 6: join two neighbours, linear, batch norm, tanh, until one vector has seen all `block`
    characters.

    A convolution of width 2 and stride 2 is `FlattenConsecutive(2)` and a linear layer in one. Raises
    ValueError unless block is a power of two.
    """

    def __init__(self, vocab_size: int, embedding: int, hidden: int, block: int):
        super().__init__()
        levels = block.bit_length() - 1
        if levels < 1 or block != 2**levels:
            raise ValueError(f"block={block}: the tree joins its characters in pairs, give 2, 4, 8 or 16")
        self.embedding = nn.Embedding(vocab_size, embedding)
        layers: list[nn.Module] = []
        for width in [embedding, *[hidden] * (levels - 1)]:
            layers += [nn.Conv1d(width, hidden, 2, stride=2, bias=False), nn.BatchNorm1d(hidden), nn.Tanh()]
        self.levels, self.out = nn.Sequential(*layers), _calm(nn.Linear(hidden, vocab_size))

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(self.levels(self.embedding(ids).transpose(1, 2)).squeeze(2))


class Gated(nn.Module):
    """The sequel to lesson 06: gated causal convolutions at distances 1, 2, 4, … with residuals and skips."""

    def __init__(self, vocab_size: int, hidden: int, layers: int, dropout: float):
        super().__init__()
        self.embedding, self.dropout = nn.Embedding(vocab_size, hidden), nn.Dropout(dropout)
        self.convs = nn.ModuleList([nn.Conv1d(hidden, 2 * hidden, 2, dilation=2**i) for i in range(layers)])
        self.mixes = nn.ModuleList([nn.Conv1d(hidden, 2 * hidden, 1) for _ in range(layers)])
        self.hidden, self.out = nn.Linear(hidden, hidden), nn.Linear(hidden, vocab_size)

    def forward(self, ids: Tensor) -> Tensor:
        x, skips = self.dropout(self.embedding(ids)).transpose(1, 2), torch.zeros(())
        for conv, mix in zip(self.convs, self.mixes):
            value, gate = conv(F.pad(x, (conv.dilation[0], 0))).chunk(2, dim=1)
            residual, skip = mix(torch.tanh(value) * torch.sigmoid(gate)).chunk(2, dim=1)
            x, skips = x + residual, skip + skips.to(x.device)
        return self.out(self.dropout(torch.relu(self.hidden(torch.relu(skips).transpose(1, 2)))))


class Recurrent(nn.Module):
    """The sequel to lesson 06: a GRU (Cho and others 2014), with dropout around and between its layers."""

    def __init__(self, vocab_size: int, embedding: int, hidden: int, layers: int, dropout: float):
        super().__init__()
        self.embedding, self.dropout = nn.Embedding(vocab_size, embedding), nn.Dropout(dropout)
        self.gru = nn.GRU(embedding, hidden, layers, dropout=dropout if layers > 1 else 0.0)
        self.out = nn.Linear(hidden, vocab_size)

    def forward(self, ids: Tensor) -> Tensor:
        states, _ = self.gru(self.dropout(self.embedding(ids.T)))  # nn.GRU wants time first: (T, N, …)
        return self.out(self.dropout(states)).transpose(0, 1)


def _calm(last: nn.Linear) -> nn.Linear:
    """Lecture 4: the last layer scaled down, so that the first predictions are close to uniform."""
    with torch.no_grad():
        last.weight.mul_(0.1)
        last.bias.zero_()
    return last


def _mlp(V: int, embedding: int, hidden: int, block: int) -> nn.Module:
    """Lecture 3: embeddings side by side, one tanh layer."""
    out = _calm(nn.Linear(hidden, V))
    return nn.Sequential(
        nn.Embedding(V, embedding), nn.Flatten(), nn.Linear(block * embedding, hidden), nn.Tanh(), out
    )


def _batchnorm(V: int, embedding: int, hidden: int, block: int) -> nn.Module:
    """Lecture 4: the same with batch norm before the tanh."""
    out = _calm(nn.Linear(hidden, V))
    hidden_layer = [nn.Linear(block * embedding, hidden, bias=False), nn.BatchNorm1d(hidden), nn.Tanh()]
    return nn.Sequential(nn.Embedding(V, embedding), nn.Flatten(), *hidden_layer, out)


LECTURE = {"batch": 32, "optimizer": "sgd", "lr": 0.1, "weight_decay": 0.0, "schedule": "drop"}
OURS = {"batch": 1024, "optimizer": "adamw", "lr": 0.012, "weight_decay": 0.05, "schedule": "cycle"}
# name -> how it is built, and the values that its lesson takes; a `block` makes it a window model.
MODELS: dict[str, tuple[Callable[..., nn.Module], dict[str, Any]]] = {
    "mlp": (_mlp, {"embedding": 10, "hidden": 200, "block": 3, **LECTURE}),
    "batchnorm": (_batchnorm, {"embedding": 10, "hidden": 200, "block": 3, **LECTURE}),
    "wavenet": (Tree, {"embedding": 24, "hidden": 128, "block": 8, **LECTURE}),
    "gated": (Gated, {"hidden": 48, "layers": 4, "dropout": 0.0, **OURS}),
    "gru": (Recurrent, {"embedding": 32, "hidden": 128, "layers": 1, "dropout": 0.0, **OURS}),
}
SIZES = ("embedding", "hidden", "block", "layers", "dropout")


def build(config: dict[str, Any], vocab_size: int) -> nn.Module:
    """The model that a run's values describe, freshly initialised from torch's global generator."""
    builder, _ = MODELS[config["model"]]
    return builder(vocab_size, **{name: config[name] for name in SIZES if name in config})
