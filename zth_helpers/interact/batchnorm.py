"""Lecture 4: what the scale of the weights does to five layers, and what batch norm does to five numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from zth_helpers.interact.explorer import Explorer, slider, switch
from zth_helpers.plots.figure import COLOURS, GRID, INK, Figure

FLAT = 0.97  # lecture 4's line for deep nets


def init_gain(first_pass: Callable, classes: int) -> Explorer:
    """One untrained forward pass for each position of the sliders, through as many tanh layers as it has.

    first_pass(gain, output_scale, batchnorm) -> (outputs of the tanh layers, each (examples, neurons), loss):
    `gain` scales the hidden layers' weights, `output_scale` those of the last. `classes` gives the expected
    first loss, log(classes).
    """

    def draw(gain: float, output_scale: float, batchnorm: bool) -> Figure:
        outs, loss = first_pass(gain, output_scale, batchnorm)
        outs = [out.detach() for out in outs]
        title = f"gain {gain:.2f}, output × {output_scale:.2f}{', batch norm' * batchnorm}"
        verdict = f"first loss {loss:.2f}, expected ln {classes} = {math.log(classes):.2f}"
        fig = Figure(10, 5.4)
        grid = fig.add_gridspec(2, len(outs), height_ratios=(1.6, 1))
        top = fig.add_subplot(grid[0, :])
        for i, out in enumerate(outs):
            flat = out.abs() > FLAT
            share = flat.float().mean().item()
            hist, edges = np.histogram(out.numpy(), bins=60, range=(-1, 1), density=True)
            colour = COLOURS[i % len(COLOURS)]
            name = f"tanh {i + 1}: std {out.std():.2f}, saturated {share:.1%}"
            top.plot((edges[1:] + edges[:-1]) / 2, hist, color=colour, label=name)
            ax = fig.add_subplot(grid[1, i])
            ax.imshow(flat.numpy(), cmap="gray", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
            ax.spines[:].set_visible(True)
            ax.set_title(f"tanh {i + 1}: {share:.0%} white", fontsize=9)
            ax.set(xlabel="neuron", ylabel="example" if i == 0 else "")
        top.set(title=f"{title}: {verdict}", xlabel="output of the layer", ylabel="density", xlim=(-1, 1))
        top.set_ylim(0, min(top.get_ylim()[1], 6))
        top.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper left", bbox_to_anchor=(1, 1))
        return fig

    return Explorer(
        draw,
        gain=slider("gain of the hidden layers", 0.1, 5.0, 1.7, 0.1),
        output_scale=slider("scale of the output layer", 0.0, 2.0, 0.1, 0.1),
        batchnorm=switch("batch norm behind each linear layer"),
    )


def batch_norm(x: torch.Tensor) -> Explorer:
    """One neuron's values over a small batch, before and after batch norm; the slider moves the first.

    x (n,). The figure of the lecture: all outputs move with one example. Standard deviation over n - 1.
    """
    x = x.detach().double()
    if x.ndim != 1 or len(x) < 2:
        raise ValueError(
            f"batch_norm takes one neuron's values over a batch, shape (n,), n > 1; got {tuple(x.shape)}"
        )

    def bell(at: np.ndarray, mean: float, std: float) -> np.ndarray:
        return np.exp(-((at - mean) ** 2) / (2 * std**2)) / (std * math.sqrt(2 * math.pi))

    def draw(first: float) -> Figure:
        moved = x.clone()
        moved[0] = first
        mean, std = moved.mean().item(), moved.std().item()
        if std < 1e-6:
            raise ValueError(
                "All values are equal: their standard deviation is 0, and nothing can be divided by it."
            )
        out = (moved - mean) / std
        reach = max(6.0, 1.1 * moved.abs().max().item())
        at = np.linspace(-reach, reach, 400)
        fig = Figure(9, 3.8)
        ax = fig.add_subplot()
        for i, (a, b) in enumerate(zip(moved.tolist(), out.tolist())):
            ax.plot([a, b], [1, 0], color=INK if i == 0 else "#9aa0a6", lw=1.6 if i == 0 else 0.8, zorder=1)
        names = "before: mean {:.2f}, std {:.2f}", "after: mean 0, std 1"
        for level, values, colour, name, m, s in (
            (1, moved, COLOURS[0], names[0].format(mean, std), mean, std),
            (0, out, COLOURS[1], names[1], 0.0, 1.0),
        ):
            ax.axhline(level, color=GRID, lw=0.8, zorder=0)
            ax.plot(at, level + 1.6 * bell(at, m, s), color=colour, lw=1.2)
            ax.scatter(values.tolist(), [level] * len(values), s=70, color=colour, label=name, zorder=2)
        ax.scatter(
            [first, out[0]], [1, 0], s=160, facecolor="none", edgecolor=INK, label="the one that you move"
        )
        title = f"Example 0 at {first:.1f}: batch mean {mean:.2f}, std {std:.2f}"
        ax.set(title=title, xlabel="value of the neuron", xlim=(-reach, reach), ylim=(-0.25, 2.4))
        ax.set_yticks([0, 1], ["after", "before"])
        ax.set_ylabel("batch norm")
        ax.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper left", ncols=3)
        return fig

    return Explorer(draw, first=slider("example 0", -30.0, 30.0, round(x[0].item(), 1), 0.5))
