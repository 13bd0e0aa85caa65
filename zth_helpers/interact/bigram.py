"""Lecture 2: a row of the bigram table, smoothed and tempered, and the names that such a table gives."""

from __future__ import annotations

from collections.abc import Callable

import torch

from zth_helpers.interact.distributions import TEMPERATURES, bars, listing, warmed
from zth_helpers.interact.explorer import Explorer, stops, text, typed
from zth_helpers.names import Vocabulary
from zth_helpers.plots.figure import Figure


def bigram(N: torch.Tensor, vocab: Vocabulary, smoothed: Callable, sample_names: Callable) -> Explorer:
    """One row of the bigram table, with smoothing and temperature, and the names that such a table gives.

    N (V, V) counts; smoothed(N, k) -> P (V, V); sample_names(P, n, generator) -> n names.
    """

    def draw(letter: str, k: int, temperature: float) -> Figure:
        letter = typed(letter, vocab, 1, "one letter, or . for the start")
        P = warmed(smoothed(N, k), temperature)
        names = sample_names(P, 12, torch.Generator().manual_seed(2147483647))
        p = P[vocab.stoi[letter]]
        title = f"What follows “{letter}”, counts + {k}, temperature {temperature:g}"
        fig = Figure(10, 3.6)
        left, right = fig.add_gridspec(1, 2, width_ratios=(3.2, 1))
        bars(fig.add_subplot(left), p, vocab, title, also=(smoothed(N, 0)[vocab.stoi[letter]], "as counted"))
        listing(fig.add_subplot(right), names, "names of such a table")
        return fig

    return Explorer(
        draw,
        letter=text("letter", "a" if "a" in vocab.stoi else vocab.itos[1]),
        k=stops("added to each count", (0, 1, 3, 10, 30, 100, 300, 1000, 10_000), 0),
        temperature=stops("temperature", TEMPERATURES, 1.0),
    )
