"""Lecture 3: what a network expects after the letters that one types, and the embedding of the letters."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from zth_helpers.exercises.draws import entropy
from zth_helpers.interact.distributions import bars
from zth_helpers.interact.explorer import Explorer, slider, text, typed
from zth_helpers.names import Vocabulary
from zth_helpers.plots.figure import COLOURS, GRID, PAPER, Figure


def next_character(predict: Callable, vocab: Vocabulary, block_size: int, start: str = "mar") -> Explorer:
    """Type the beginning of a name, see what a trained network expects next.

    predict(X int64 (1, block_size)) -> logits (1, V).
    """

    def draw(so_far: str) -> Figure:
        so_far = typed(so_far, vocab, 20, "the beginning of a name, or dots,")
        window = ("." * block_size + so_far)[-block_size:]
        with torch.no_grad():
            p = F.softmax(predict(torch.tensor([[vocab.stoi[c] for c in window]])), dim=1)[0]
        nats = f"{entropy(p.tolist()):.2f} of at most {math.log(len(p)):.2f} nats"
        title = f"The network sees “{window}”; entropy {nats}"
        fig = Figure(9, 3.4)
        bars(fig.add_subplot(), p, vocab, title)
        return fig

    return Explorer(draw, so_far=text("name so far", start))


def embedding(C: torch.Tensor, vocab: Vocabulary) -> Explorer:
    """Any two of the embedding's dimensions, and a letter's nearest neighbours in all of them; C (V, D)."""
    C = C.detach().double().cpu()
    D = C.shape[1]

    def draw(letter: str, across: int, up: int) -> Figure:
        letter = typed(letter, vocab, 1, "one letter")
        i = vocab.stoi[letter]
        distance = (C - C[i]).norm(dim=1)
        order = distance.argsort(stable=True)[1:].tolist()
        fig = Figure(10, 4.8)
        left, right = fig.add_gridspec(1, 2, width_ratios=(1.4, 1))
        ax = fig.add_subplot(left)
        for j in order[:3]:
            ax.plot(*C[[i, j]][:, [across, up]].T.tolist(), color=COLOURS[3], lw=1.5)
        for j in range(len(vocab)):
            kind = 3 if j == i else 1 if vocab.itos[j] in "aeiou" else 7 if j == 0 else 0
            box = dict(boxstyle="circle,pad=0.25", facecolor=COLOURS[kind], edgecolor=PAPER)
            ax.text(
                *C[j, [across, up]].tolist(), vocab.itos[j], color=PAPER, ha="center", va="center", bbox=box
            )
        ax.update_datalim(C[:, [across, up]].numpy())
        ax.margins(0.08)
        ax.autoscale_view()
        title = f"“{letter}” (gold) and its three nearest in all {D} dimensions; vowels red"
        ax.set(title=title, xlabel=f"C[:, {across}]", ylabel=f"C[:, {up}]")
        ax = fig.add_subplot(right)
        nearest = order[:10]
        away = distance[nearest].tolist()
        ax.hlines(range(len(nearest)), 0, away, color=GRID, zorder=1)
        ax.plot(away, range(len(nearest)), "o", color=COLOURS[0], label="distance")
        ax.set_xlim(0.9 * min(away), 1.05 * max(away) + 1e-9)  # dots, so the axis need not begin at 0
        ax.set_yticks(range(len(nearest)), [vocab.itos[j] for j in nearest])
        ax.invert_yaxis()
        ax.set(
            title=f"distance from “{letter}”, all {D} dimensions",
            xlabel="Euclidean distance",
            ylabel="letter",
        )
        return fig

    return Explorer(
        draw,
        letter=text("letter", "a" if "a" in vocab.stoi else vocab.itos[1]),
        across=slider("dimension across", 0, D - 1, 0),
        up=slider("dimension up", 0, D - 1, 1),
    )
