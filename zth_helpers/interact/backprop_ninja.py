"""Lecture 5: any tensor of the network, its formula, and its gradient by hand beside autograd's."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from zth_helpers.interact.explorer import Explorer, choice
from zth_helpers.plots.figure import INK, Figure

NOISE = 1e-7  # of float32: a smaller gradient is a zero in the eyes of this figure


def gradients(
    tensors: Mapping[str, torch.Tensor], by_hand: Mapping[str, torch.Tensor], formulas: str, start: str
) -> Explorer:
    """Pick a tensor: shape, forward and backward formula, gradient by hand and by autograd.

    `tensors` hold autograd's answer in .grad; `formulas` has a line "name | forward | backward" for each.
    Raises ValueError for a name that has no gradient or no formula.
    """
    lines = [[part.strip() for part in line.split("|")] for line in formulas.strip().splitlines()]
    if any(len(line) != 3 for line in lines):
        bad = next(line for line in lines if len(line) != 3)
        raise ValueError(f"a line of formulas reads “name | forward | backward”, not {' | '.join(bad)!r}")
    known = {name: (forward, backward) for name, forward, backward in lines}
    for name in known:
        if name not in tensors or name not in by_hand or tensors[name].grad is None:
            raise ValueError(f"{name}: there must be a tensor with .grad and a gradient by hand")

    def draw(name: str) -> Figure:
        forward, backward = known[name]
        tensor, mine = tensors[name], by_hand[name].detach()
        theirs = tensor.grad
        peak, difference = theirs.abs().max().item(), (mine - theirs).abs().max().item()
        size = f"largest {peak:.2e}" if peak > NOISE else "all < 1e-7, which is to say 0"
        equal = (
            "the same up to rounding" if difference < NOISE + 1e-5 * peak else f"differ by {difference:.1e}"
        )
        shape = tuple(tensor.shape)
        fig = Figure(9, 4.2)
        bound = peak if peak > NOISE else 1.0
        panels = {"by hand": mine, "by autograd": theirs}
        for place, (title, values) in enumerate(panels.items(), 1):
            ax = fig.add_subplot(1, 2, place)
            flat = values.detach().reshape(-1, values.shape[-1]).numpy()
            image = ax.imshow(
                flat, cmap="RdBu_r", vmin=-bound, vmax=bound, aspect="auto", interpolation="nearest"
            )
            ax.set_title(title)
            ax.set(
                xlabel=f"last axis, {flat.shape[1]}",
                ylabel=f"other axes, {flat.shape[0]}" if place == 1 else "",
            )
            ax.spines[:].set_visible(True)
        bar = fig.colorbar(image, ax=fig.axes, shrink=0.9, label="gradient of the loss")
        bar.ax.tick_params(labelsize=8, colors=INK)
        fig.suptitle(
            f"{name} {shape}: {size}; {equal}\nforward: {forward}\nbackward: {backward}",
            fontsize=10, color=INK, family="monospace", ha="left", x=0.02,
        )  # fmt: skip
        return fig

    return Explorer(draw, name=choice("tensor", list(known), start))
