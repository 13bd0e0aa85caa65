"""Lecture 5: any tensor of the network, its gradient by hand beside autograd's, and what a mistake does."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from zth_helpers.interact.explorable import Explorable, pack
from zth_helpers.plots.figure import INK, Figure


def gradients(
    tensors: Mapping[str, torch.Tensor],
    by_hand: Mapping[str, torch.Tensor],
    formulas: str,
    start: str,
    mistakes: Mapping[str, Mapping[str, torch.Tensor]] | None = None,
) -> Explorable:
    """Pick a tensor, and a mistake: its formulas, the gradient by hand, by autograd, and their difference.

    `tensors` hold autograd's answer in .grad; `formulas` has a line "name | forward | backward" for each;
    `mistakes`: tensor -> what was done wrong -> the gradient that comes of it, of whatever shape.
    Raises ValueError for a name that has no gradient or no formula.
    """
    lines = [[part.strip() for part in line.split("|")] for line in formulas.strip().splitlines()]
    if any(len(line) != 3 for line in lines):
        bad = next(line for line in lines if len(line) != 3)
        raise ValueError(f"a line of formulas reads “name | forward | backward”, not {' | '.join(bad)!r}")
    data: dict[str, dict] = {}
    for name, forward, backward in lines:
        if name not in tensors or name not in by_hand or tensors[name].grad is None:
            raise ValueError(f"{name}: there must be a tensor with .grad and a gradient by hand")
        data[name] = {
            "forward": forward,
            "backward": backward,
            "autograd": pack(tensors[name].grad),
            "by_hand": pack(by_hand[name].detach()),
            "mistakes": {},
        }
    for name, wrong in (mistakes or {}).items():
        if name not in data:
            raise ValueError(f"{name}: a mistake, but no formula")
        data[name]["mistakes"] = {what: pack(values.detach()) for what, values in wrong.items()}
    theirs, mine = tensors[start].grad, by_hand[start].detach()
    assert theirs is not None
    panels = {"by autograd": theirs, "by hand": mine}
    wrong = dict((mistakes or {}).get(start, {}))
    if wrong:
        what, values = next(iter(wrong.items()))
        panels[f"by hand: {what}"] = values.detach()
    fig = Figure(8.8, 3.6)
    bound = theirs.abs().max().item() or 1.0
    for place, (title, values) in enumerate(panels.items(), 1):
        ax = fig.add_subplot(1, len(panels), place)
        flat = values.reshape(-1, values.shape[-1]).numpy()
        ax.imshow(flat, cmap="RdBu_r", vmin=-bound, vmax=bound, aspect="auto", interpolation="nearest")
        ax.set(
            title=title,
            xlabel=f"last axis, {flat.shape[1]}",
            ylabel=f"other axes, {flat.shape[0]}" if place == 1 else "",
        )
        ax.spines[:].set_visible(True)
    forward, backward = data[start]["forward"], data[start]["backward"]
    words = f"{start} {tuple(theirs.shape)}: largest {bound:.2e}\nforward: {forward}\nbackward: {backward}"
    fig.suptitle(words, fontsize=10, color=INK, family="monospace", ha="left", x=0.02)
    return Explorable("gradients", {"tensors": data, "start": start}, fig)
