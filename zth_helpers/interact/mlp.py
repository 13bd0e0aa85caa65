"""Lecture 3: the embedding of the letters, and what the network expects after those that one types."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from zth_helpers.interact.explorable import Explorable, letters, pack
from zth_helpers.interact.several import bars
from zth_helpers.names import Vocabulary
from zth_helpers.plots.figure import COLOURS, PAPER, Figure


def letters_and_next(
    net: Sequence[torch.Tensor], vocab: Vocabulary, block_size: int, start: str = "mar"
) -> Explorable:
    """The map of the letters with each one's nearest, and the next letter after a context that one types.

    net: C (V, D), W1 (block_size·D, H), b1 (H,), W2 (H, V), b2 (V,): tanh(C[X] @ W1 + b1) @ W2 + b2. The page
    gets these arrays once and computes the rest. Lecture 3, 1:05:27 and 1:13:24.
    """
    C, W1, b1, W2, b2 = (tensor.detach().double().cpu() for tensor in net)
    V, D = C.shape
    if len(vocab) != V or W1.shape[0] != block_size * D or W2.shape[1] != V:
        shapes = ", ".join(f"{name} {tuple(a.shape)}" for name, a in (("C", C), ("W1", W1), ("W2", W2)))
        raise ValueError(f"{shapes} do not fit {V} characters and a context of {block_size}")
    start = "".join(c for c in start.lower() if c in vocab.stoi)[:20]
    window = ("." * block_size + start)[-block_size:]
    x = C[[vocab.stoi[c] for c in window]].view(1, -1)
    p = F.softmax(torch.tanh(x @ W1 + b1) @ W2 + b2, dim=1)[0]
    entropy = -(p * p.clamp(min=1e-300).log()).sum().item()
    i = vocab.stoi.get("a", 1)
    distance = (C - C[i]).norm(dim=1)
    near = distance.argsort(stable=True)[1:4].tolist()
    fig = Figure(8.8, 4)
    left, right = fig.add_gridspec(1, 2, width_ratios=(1, 1.25))
    ax, up = fig.add_subplot(left), min(1, D - 1)
    for j in near:
        ax.plot(C[[i, j], 0].tolist(), C[[i, j], up].tolist(), color=COLOURS[3], lw=2)
    for j, c in enumerate(letters(vocab)):
        style = "square" if c in "aeiou" else "circle"
        box = dict(boxstyle=f"{style},pad=0.2", facecolor=COLOURS[1 if c in "aeiou" else 0], edgecolor=PAPER)
        ax.text(
            C[j, 0].item(), C[j, up].item(), c, color=PAPER, ha="center", va="center", fontsize=8, bbox=box
        )
    ax.update_datalim(C[:, [0, up]].numpy())
    ax.margins(0.08)
    ax.autoscale_view()
    ax.set(
        title=f"“{vocab.itos[i]}” and its three nearest in all {D}", xlabel="C[:, 0]", ylabel=f"C[:, {up}]"
    )
    bars(
        fig.add_subplot(right),
        p,
        vocab,
        f"After “{window}”: entropy {entropy:.2f} of at most {math.log(V):.2f} nats",
    )
    arrays = {name: pack(a) for name, a in zip(("C", "W1", "b1", "W2", "b2"), (C, W1, b1, W2, b2))}
    return Explorable(
        "letters", {"letters": letters(vocab), "block": block_size, "start": start} | arrays, fig
    )
