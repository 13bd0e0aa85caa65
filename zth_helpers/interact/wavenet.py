"""Lecture 6: a name under the tree that fuses its letters, what is expected next, and the temperature."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes

from zth_helpers.interact.explorable import Explorable, letters, pack, rounded
from zth_helpers.interact.several import bars
from zth_helpers.names import Vocabulary
from zth_helpers.plots.data import BLUES
from zth_helpers.plots.figure import COLOURS, GRID, INK, Figure

LONGEST = 15
TEMPERATURES = (0.2, 0.3, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0)


def name_tree(model: Any, vocab: Vocabulary, block_size: int = 8, start: str = "maria") -> Explorable:
    """Type a name, point at a node of its tree: what it has seen, which positions share it, what comes next.

    model: a Sequential (`.layers`) of Embedding, FlattenConsecutive, Linear, BatchNorm1d and Tanh, in
    evaluation mode; the page gets its weights once. Lecture 6, 21:36 and 47:44.
    Raises ValueError for a layer that the page does not know.
    """
    start = "".join(c for c in start.lower() if c in vocab.stoi and c != ".")[:LONGEST] or vocab.itos[1]
    padded = "." * block_size + start
    X = torch.tensor([[vocab.stoi[c] for c in padded[i : i + block_size]] for i in range(len(start) + 1)])
    with torch.no_grad():
        P = F.softmax(model(X), dim=1)
    table, layers, joins = _layers(model)
    if math.prod(joins) != block_size:
        raise ValueError(
            f"the model joins {' × '.join(map(str, joins)) or 'no'} characters, not {block_size}"
        )
    position = min(4, len(start))
    fig = Figure(8.8, 5.6)
    upper, lower = fig.add_gridspec(2, 1, height_ratios=(1, 1.7))
    _draw_tree(fig.add_subplot(upper), padded, position, joins)
    ax = fig.add_subplot(lower)
    ax.imshow(P.sqrt().numpy(), cmap=BLUES, vmin=0, vmax=1, aspect="auto")
    real = [vocab.stoi[c] for c in start + "."]
    ax.scatter(real, range(len(real)), s=80, facecolor="none", edgecolor=COLOURS[1], label="what comes")
    ax.axhspan(position - 0.5, position + 0.5, facecolor="none", edgecolor=COLOURS[3], lw=1.5)
    ax.set_xticks(range(len(vocab)), letters(vocab))
    ax.set_yticks(range(len(real)), [f"{i}: {padded[i : i + block_size][-5:]}" for i in range(len(real))])
    ax.set(
        title="√ of what the network expects at each position (ring: what comes)",
        xlabel="next character",
        ylabel="position",
    )
    data = {
        "letters": letters(vocab),
        "block": block_size,
        "start": start,
        "embedding": pack(table),
        "layers": layers,
        "joins": joins,
    }
    return Explorable("tree", data, fig)


def _layers(model: Any) -> tuple[torch.Tensor, list[dict], list[int]]:
    """The embedding's table, the other layers for the page, and how many neighbours each level joins."""
    first, *rest = model.layers
    found: list[dict] = []
    joins: list[int] = []
    for layer in rest:
        if hasattr(layer, "running_mean"):
            factor = layer.gamma / torch.sqrt(layer.running_var + layer.eps)
            shift = layer.beta - layer.running_mean * factor
            found.append({"kind": "affine", "scale": pack(factor.detach()), "shift": pack(shift.detach())})
        elif hasattr(layer, "weight"):
            bias = None if layer.bias is None else pack(layer.bias.detach())
            found.append({"kind": "linear", "weight": pack(layer.weight.detach()), "bias": bias})
        elif hasattr(layer, "n"):
            joins.append(layer.n)
            found.append({"kind": "join", "n": layer.n})
        elif type(layer).__name__ == "Tanh":
            found.append({"kind": "tanh"})
        else:
            raise ValueError(f"the page does not know a layer {type(layer).__name__}")
    return first.weight.detach(), found, joins


def _draw_tree(ax: Axes, padded: str, position: int, joins: Sequence[int]) -> None:
    """The tree over the window at `position`, each node over the middle of the letters that it has seen."""
    size = math.prod(joins)
    for i, c in enumerate(padded):
        inside = position <= i < position + size
        ax.text(
            i,
            0,
            c,
            ha="center",
            va="center",
            family="monospace",
            fontsize=13,
            color=INK if inside else "#b9bfc6",
        )
    size = 1
    for level, n in enumerate(joins, 1):
        size *= n
        for first in range(position, position + math.prod(joins), size):
            at = first + (size - 1) / 2
            for k in range(n):
                below = first + k * (size // n) + (size // n - 1) / 2
                ax.plot(
                    [at, below], [level, level - 1 + (0.3 if level == 1 else 0)], color=COLOURS[0], lw=1.2
                )
            ax.plot(at, level, "o", color=COLOURS[0], ms=8)
    ax.set_title(
        f"Position {position}: “{padded[position : position + size]}” in a tree of {len(joins)} levels"
    )
    ax.set(xlim=(-0.8, len(padded)), ylim=(-0.5, len(joins) + 0.5), xticks=[])
    ax.set_yticks(range(len(joins) + 1), ["letters", *(f"level {i}" for i in range(1, len(joins) + 1))])
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def temperature(
    first_logits: torch.Tensor, sample: Callable, vocab: Vocabulary, known: Sequence[str]
) -> Explorable:
    """What a temperature does to the first letter's distribution and to whole names.

    first_logits (V,) at the empty name; sample(count, temperature) -> names, asked once for each temperature;
    `known` are marked with ✓.
    """
    names, copied_from = [list(sample(12, t)) for t in TEMPERATURES], set(known)
    p = F.softmax(first_logits.detach().double(), 0)
    shown = names[TEMPERATURES.index(1.0)]
    fig = Figure(8.8, 3)
    left, right = fig.add_gridspec(1, 2, width_ratios=(3, 1))
    bars(fig.add_subplot(left), p, vocab, "First letter at temperature 1")
    ax = fig.add_subplot(right)
    listed = "\n".join(f"{name[:18]} ✓" if name in copied_from else name[:18] for name in shown)
    ax.text(0.05, 0.98, listed, va="top", fontsize=9, family="monospace", color=INK)
    ax.set_title(f"names, {sum(name in copied_from for name in shown)} known ✓")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_color(GRID)
    data = {
        "letters": letters(vocab),
        "logits": rounded(first_logits.detach()),
        "temperatures": list(TEMPERATURES),
        "names": names,
        "known": sorted({name for some in names for name in some} & copied_from),
    }
    return Explorable("temperature", data, fig)
