"""Lecture 2: the table of counts, a row of it, and a walk through it that spells a name."""

from __future__ import annotations

import numpy as np
import torch

from zth_helpers.interact.explorable import Explorable, letters
from zth_helpers.interact.several import bars
from zth_helpers.names import Vocabulary
from zth_helpers.plots.data import BLUES
from zth_helpers.plots.figure import COLOURS, Figure


def counts_and_rows(N: torch.Tensor, vocab: Vocabulary, letter: str | None = None) -> Explorable:
    """Choose a row of the counts N (V, V), smooth it, warm it, and draw a name through the table.

    Lecture 2, 18:19 to 36:17, and smoothing at 1:00:50.
    """
    counts, names = N.long().tolist(), letters(vocab)
    if tuple(N.shape) != (len(vocab), len(vocab)):
        raise ValueError(
            f"N must be ({len(vocab)}, {len(vocab)}), a row for each character; got {tuple(N.shape)}"
        )
    i = vocab.stoi[letter or names[min(1, len(names) - 1)]]
    row = N[i].double()
    fig = Figure(8.8, 4.2)
    left, right = fig.add_gridspec(1, 2, width_ratios=(1, 1.25))
    ax = fig.add_subplot(left)
    ax.imshow(np.sqrt(N.double().numpy()), cmap=BLUES)
    ax.axhspan(i - 0.5, i + 0.5, facecolor="none", edgecolor=COLOURS[3], lw=2)
    ax.set_xticks(range(len(names)), names, fontsize=7)
    ax.set_yticks(range(len(names)), names, fontsize=7)
    ax.set(title="√ of the counts", xlabel="next letter", ylabel="first letter")
    bars(fig.add_subplot(right), row / row.sum().clamp(min=1), vocab, f"What follows “{names[i]}”")
    return Explorable("counts", {"letters": names, "counts": counts}, fig)
