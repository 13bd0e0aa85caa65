"""Lecture 4: what the scale of the weights does through depth, and what batch norm does to five numbers."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from zth_helpers.interact.explorable import Explorable, rounded
from zth_helpers.plots.figure import COLOURS, DASHES, INK, MUTED, Figure, ramp

FLAT = 0.97  # lecture 4's line for deep nets
START = {"gain": 1.65, "output_scale": 0.1}  # where the page's sliders stand first


def scale_through_depth(
    X: torch.Tensor, Y: torch.Tensor, classes: int, embedding: int = 10, width: int = 100, hidden: int = 5
) -> Explorable:
    """An untrained network: gain, activation and batch norm against the std of outputs and of gradients.

    X (n, context) and Y (n,) int64, one minibatch. The page draws the weights, standard normal over √fan_in,
    and computes a pass forward and back at each position of a slider. Lecture 4, 1:26:51 to 1:46:04.
    """
    if X.ndim != 2 or Y.shape != X.shape[:1]:
        raise ValueError(f"X (n, context) and Y (n,), got {tuple(X.shape)} and {tuple(Y.shape)}")
    g = torch.Generator().manual_seed(1)
    x = torch.randn((classes, embedding), generator=g)[X].flatten(1)
    outs: list[torch.Tensor] = []
    for _ in range(hidden):
        W = torch.randn((x.shape[1], width), generator=g) * START["gain"] / x.shape[1] ** 0.5
        x = torch.tanh(x @ W.requires_grad_())
        x.retain_grad()
        outs.append(x)
    W = torch.randn((width, classes), generator=g) * START["output_scale"] / width**0.5
    loss = F.cross_entropy(x @ W, Y)
    loss.backward()
    fig = Figure(8.8, 3.2)
    left, middle, right = fig.add_gridspec(1, 3, width_ratios=(1.5, 1, 1))
    ax = fig.add_subplot(left)
    for i, out in enumerate(outs):
        flat = (out.abs() > FLAT).float().mean().item()
        density, edges = np.histogram(out.detach().numpy(), bins=48, range=(-1, 1), density=True)
        ax.plot(
            (edges[1:] + edges[:-1]) / 2,
            density,
            color=ramp(i, hidden),
            ls=DASHES[i % 6],
            label=f"layer {i + 1}: {flat:.0%} saturated",
        )
    ax.set(
        title=f"Gain {START['gain']}: first loss {loss:.2f}, expected {math.log(classes):.2f}",
        xlabel="output",
        ylabel="density",
        ylim=(0, 4),
    )
    ax.legend(frameon=False, fontsize=7, labelcolor=INK)
    gradients = [out.grad for out in outs if out.grad is not None]
    for place, title, tensors, limits in (
        (middle, "std of the outputs", outs, (1e-3, 1e2)),  # the page's own limits
        (right, "std of the gradients", gradients, (1e-7, 1e1)),
    ):
        ax = fig.add_subplot(place)
        ax.plot(range(1, hidden + 1), [t.std().item() for t in tensors], "o-", color=COLOURS[0], label=title)
        ax.set(title=title, xlabel="layer", yscale="log", ylim=limits)
    data = {
        "contexts": X.tolist(),
        "targets": Y.tolist(),
        "classes": classes,
        "embedding": embedding,
        "width": width,
        "hidden": hidden,
    }
    return Explorable("depth", data, fig)


def batch_norm(x: torch.Tensor) -> Explorable:
    """One neuron's values x (n,) over a small batch: move one before batch norm, and all move after it.

    Standard deviation over n − 1, as in the lecture (4, 40:40).
    """
    x = x.detach().double()
    if x.ndim != 1 or len(x) < 2:
        raise ValueError(
            f"batch_norm takes one neuron's values over a batch, shape (n,), n > 1; got {tuple(x.shape)}"
        )
    mean, std = x.mean().item(), x.std().item()
    if not std > 0:
        raise ValueError(
            "all values are equal: their standard deviation is 0, and nothing can be divided by it"
        )
    out = (x - mean) / std
    fig = Figure(8.6, 2.8)
    ax = fig.add_subplot()
    for i, (a, b) in enumerate(zip(x.tolist(), out.tolist())):
        ax.plot([a, b], [1, 0], color=COLOURS[1] if i == 0 else MUTED, lw=1.6 if i == 0 else 0.8, zorder=1)
        ax.text(a, 1.18, str(i), ha="center", fontsize=8, color=INK)
    ax.scatter(
        x.tolist(),
        [1] * len(x),
        s=60,
        color=COLOURS[0],
        label=f"before: mean {mean:.2f}, std {std:.2f}",
        zorder=2,
    )
    ax.scatter(
        out.tolist(), [0] * len(x), s=60, color=COLOURS[2], marker="s", label="after: mean 0, std 1", zorder=2
    )
    ax.set(
        title="Five examples of one neuron" if len(x) == 5 else f"{len(x)} examples of one neuron",
        xlabel="value of the neuron",
        ylim=(-0.4, 1.7),
    )
    ax.set_yticks([0, 1], ["after", "before"])
    ax.set_ylabel("batch norm")
    ax.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper left", ncols=2)
    return Explorable("batchnorm", {"values": rounded(x)}, fig)
