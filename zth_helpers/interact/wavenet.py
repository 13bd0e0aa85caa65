"""Lecture 6: a name under the tree that fuses its letters, what is expected next, and the temperature."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes

from zth_helpers.exercises.draws import entropy
from zth_helpers.interact.distributions import TEMPERATURES, bars, listing, warmed
from zth_helpers.interact.explorer import Explorer, slider, stops, text, typed
from zth_helpers.names import Vocabulary
from zth_helpers.plots.data import BLUES
from zth_helpers.plots.figure import COLOURS, INK, Figure

LONGEST = 15


def name_tree(predict: Callable, vocab: Vocabulary, block_size: int = 8, start: str = "maria") -> Explorer:
    """Type a name; pull the slider through its positions, and see the window, its tree, and the expectations.

    predict(X int64 (n, block_size)) -> logits (n, V), in evaluation mode; block_size is a power of two.
    """

    def draw(name: str, position: int) -> Figure:
        name = typed(name, vocab, LONGEST).strip(".")
        if not name or "." in name:
            raise ValueError("A dot ends a name: type letters only.")
        position = min(position, len(name))
        padded = "." * block_size + name
        X = torch.tensor([[vocab.stoi[c] for c in padded[i : i + block_size]] for i in range(len(name) + 1)])
        with torch.no_grad():
            P = F.softmax(predict(X), dim=1)
        fig = Figure(10, 7.2)
        upper, lower = fig.add_gridspec(2, 1, height_ratios=(1, 1.7))
        _draw_tree(fig.add_subplot(upper), padded, position, block_size, P[position], vocab)
        _draw_expected(fig.add_subplot(lower), name, position, P, vocab)
        return fig

    return Explorer(draw, name=text("name", start), position=slider("position", 0, LONGEST, 4))


def temperature(
    first_logits: torch.Tensor, sample: Callable, vocab: Vocabulary, known: Sequence[str]
) -> Explorer:
    """What a temperature does to the first letter's distribution and to whole names.

    first_logits (V,) at the empty name; sample(count, temperature) -> names; `known` are marked with ✓.
    """
    copied_from = set(known)

    def draw(temperature: float) -> Figure:
        p = warmed(F.softmax(first_logits.detach().double(), 0), temperature)
        names = sample(12, temperature)
        copied = sum(name in copied_from for name in names)
        title = f"First letter at temperature {temperature:g}: entropy {entropy(p.tolist()):.2f} nats"
        fig = Figure(10, 3.6)
        left, right = fig.add_gridspec(1, 2, width_ratios=(3.2, 1))
        bars(fig.add_subplot(left), p, vocab, title)
        marked = [f"{name} ✓" if name in copied_from else name for name in names]
        listing(fig.add_subplot(right), marked, f"names, {copied} known ✓")
        return fig

    return Explorer(draw, temperature=stops("temperature", TEMPERATURES, 1.0))


def _draw_tree(
    ax: Axes, padded: str, position: int, block_size: int, p: torch.Tensor, vocab: Vocabulary
) -> None:
    """The tree over the window at `position`, each node over the middle of the letters that it has seen."""
    top = block_size.bit_length() - 1
    for i, c in enumerate(padded):
        inside = position <= i < position + block_size
        ax.text(
            i,
            0,
            c,
            ha="center",
            va="center",
            family="monospace",
            fontsize=14,
            color=INK if inside else "#b9bfc6",
        )
    for level in range(1, top + 1):
        size = 2**level
        for k in range(block_size // size):
            at = position + k * size + (size - 1) / 2
            for side in (-1, 1):
                below = at + side * size / 4 if level > 1 else at + side / 2
                ax.plot(
                    [at, below], [level, level - 1 + (0.3 if level == 1 else 0)], color=COLOURS[0], lw=1.3
                )
            letters = padded[position + k * size : position + (k + 1) * size]
            box = dict(boxstyle="round,pad=0.3", facecolor="#dcebf9", edgecolor=COLOURS[0])
            ax.text(
                at,
                level,
                letters,
                ha="center",
                va="center",
                family="monospace",
                fontsize=9,
                color=INK,
                bbox=box,
            )
    best = p.argmax().item()
    word = f"next: “{vocab.itos[best]}”, {p[best]:.0%}"
    ax.text(
        position + (block_size - 1) / 2 + block_size / 4,
        top,
        word,
        va="center",
        fontsize=10,
        color=COLOURS[1],
    )
    ax.set_title(f"The {block_size} characters before position {position}, joined two by two ({top} levels)")
    ax.set(xlim=(-0.8, max(len(padded), 16) + 1.5), ylim=(-0.5, top + 0.5), xticks=[])
    ax.set_yticks(range(top + 1), ["letters", *(f"level {i}: {2**i} letters" for i in range(1, top + 1))])
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def _draw_expected(ax: Axes, name: str, position: int, P: torch.Tensor, vocab: Vocabulary) -> None:
    """The next-character distribution at each position, a row each; a ring marks what really comes."""
    image = ax.imshow(P.numpy(), cmap=BLUES, vmin=0, vmax=1, aspect="auto")
    real = [vocab.stoi[c] for c in name + "."]
    ax.scatter(real, range(len(real)), s=90, facecolor="none", edgecolor=COLOURS[1], label="what comes")
    ax.axhspan(position - 0.5, position + 0.5, facecolor="none", edgecolor=INK, lw=1.5)
    ax.set_xticks(range(len(vocab)), [vocab.itos[i] for i in range(len(vocab))])
    ax.set_yticks(range(len(real)), [f"{i}: …{name[:i][-4:] or '.'}" for i in range(len(real))])
    ax.set(
        title="What the network expects at each position (ring: what comes)",
        xlabel="next character",
        ylabel="position",
    )
    bar = ax.figure.colorbar(image, ax=ax, pad=0.01, label="probability")
    bar.ax.tick_params(labelsize=8, colors=INK)
