"""The figures of lesson 05."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from zth_helpers.names import Vocabulary
from zth_helpers.plots.figure import COLOURS, GRID, INK, Figure


def bessel(sizes: Sequence[int], estimates: Sequence[tuple[float, float]]) -> Figure:
    """The average estimate of a variance of 1 at each batch size: dividing by n, and by n − 1."""
    fig = Figure(7, 3)
    ax = fig.add_subplot()
    ax.plot(sizes, [u for _, u in estimates], "s", color=COLOURS[0], label="divided by n − 1")
    ax.plot(sizes, [b for b, _ in estimates], "o", color=COLOURS[1], label="divided by n")
    ax.plot(sizes, [(n - 1) / n for n in sizes], ":", color=COLOURS[1], lw=1, label="(n − 1)/n")
    ax.axhline(1, color=INK, lw=0.8, ls="--")
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, sizes)
    ax.minorticks_off()
    ax.grid(color=GRID, linewidth=0.6)
    ax.set(title="The average estimate of a variance of 1", xlabel="batch size n", ylabel="average estimate")
    ax.legend(frameon=False, fontsize=9, loc="lower right", labelcolor=INK)
    return fig


def logit_pushes(row: Tensor, context: Tensor, right: Tensor, vocab: Vocabulary) -> Figure:
    """What gradient descent asks of one example's logits: −n · dlogits, row (K,) being n · dlogits."""
    pushes, right = (-row.detach()).tolist(), int(right)
    letters = [vocab.itos[j] for j in range(len(pushes))]
    fig = Figure(8.5, 3)
    ax = fig.add_subplot()
    for up, colour, marker, label in (
        (True, COLOURS[0], "^", "right character"),
        (False, COLOURS[1], "v", "wrong characters"),
    ):
        at = [j for j in range(len(pushes)) if (j == right) == up]
        ax.vlines(at, 0, [pushes[j] for j in at], color=colour, lw=3)
        ax.plot(at, [pushes[j] for j in at], marker, color=colour, ms=6, ls="", label=label)
    ax.axhline(0, color=INK, lw=0.8)
    ax.set_xticks(range(len(letters)), letters)
    ax.set_ylim(min(-0.25, 1.1 * min(pushes)), 1.1)
    ax.set(
        title=f"“{vocab.decode(context)}” is followed by “{letters[right]}”: what the loss asks for",
        xlabel="character",
        ylabel="− n · gradient at the logit",
    )
    ax.legend(frameon=False, fontsize=9, labelcolor=INK)
    return fig


def dlogits_image(dlogits: Tensor, X: Tensor, Y: Tensor, vocab: Vocabulary) -> Figure:
    """The gradient at the logits (n, K) in grey, a row for each example: dark is pulled up, light down."""
    n, letters = len(dlogits), [vocab.itos[j] for j in range(dlogits.shape[1])]
    fig = Figure(7.5, 1.2 + 0.15 * n)
    ax = fig.add_subplot()
    image = ax.imshow((dlogits.detach() * n).numpy(), cmap="gray", vmin=-1, vmax=0.25, aspect="auto")
    ax.set_xticks(range(len(letters)), letters, fontsize=8)
    ax.set_yticks(range(n), [f"{vocab.decode(x)} → {vocab.decode([y])}" for x, y in zip(X, Y)], fontsize=7)
    ax.set(
        title=f"n · dlogits: {n} examples × {len(letters)} characters",
        xlabel="character",
        ylabel="example: context → right character",
    )
    bar = fig.colorbar(image, ax=ax, shrink=0.7, label="n · gradient of the loss at the logit")
    bar.ax.tick_params(labelsize=8, colors=INK)
    return fig
