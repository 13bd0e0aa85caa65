"""What several figures show: probabilities as bars, names as a list, and the temperature."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes

from zth_helpers.names import Vocabulary
from zth_helpers.plots.figure import COLOURS, GRID, INK

TEMPERATURES = (0.2, 0.3, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0)


def warmed(P: torch.Tensor, temperature: float) -> torch.Tensor:
    """Probabilities (…, V) with their logarithms divided by the temperature; at 1 the very same numbers."""
    return P if temperature == 1 else F.softmax(P.log() / temperature, dim=-1)


def bars(
    ax: Axes, p: torch.Tensor, vocab: Vocabulary, title: str, also: tuple[torch.Tensor, str] | None = None
) -> None:
    """Probabilities p (V,) as bars under their letters; `also` (values, name) as outlines beside them."""
    V = len(p)
    ax.bar(range(V), p.tolist(), color=COLOURS[0], label="probability")
    if also:
        ax.bar(range(V), also[0].tolist(), 0.95, facecolor="none", edgecolor=COLOURS[1], label=also[1])
    ax.axhline(1 / V, color=COLOURS[7], ls=":", label=f"uniform, 1/{V}")
    ax.set_xticks(range(V), [vocab.itos[i] for i in range(V)])
    ax.set(title=title, xlabel="next character", ylabel="probability")
    ax.set_xlim(-0.8, V - 0.2)
    ax.margins(y=0.18)  # room for the legend above the bars
    ax.legend(frameon=False, fontsize=8, labelcolor=INK, ncols=3, loc="upper right")


def listing(ax: Axes, lines: Sequence[str], title: str) -> None:
    """Text in the place of a plot."""
    shown = [line if len(line) <= 20 else line[:19] + "…" for line in lines]
    ax.text(0.05, 0.98, "\n".join(shown), va="top", fontsize=10, family="monospace", color=INK)
    ax.set_title(title)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_color(GRID)
