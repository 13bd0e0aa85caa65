"""Lectures 2, 3 and 6: distributions over the next character, and what is sampled from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from zth_helpers.interact.explorer import Explorer, slider, stops, text, typed
from zth_helpers.plots.figure import COLOURS, GRID, INK, PAPER, Figure, table

WARMTHS = (0.2, 0.3, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0)


def bigram(N: torch.Tensor, vocab, smoothed: Callable, sample_names: Callable) -> Explorer:
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
        fig.twin = f"{title}\n{most_likely(p, vocab)}\nnames: {', '.join(names)}"
        return fig

    return Explorer(
        draw,
        letter=text("letter", "a"),
        k=stops("added to each count", (0, 1, 3, 10, 30, 100, 300, 1000, 10_000), 0),
        temperature=stops("temperature", WARMTHS, 1.0),
    )


def next_character(predict: Callable, vocab, block_size: int, start: str = "mar") -> Explorer:
    """Type the beginning of a name, see what a trained network expects next.

    predict(X int64 (1, block_size)) -> logits (1, V).
    """

    def draw(so_far: str) -> Figure:
        so_far = typed(so_far, vocab, 20, "the beginning of a name, or dots,")
        window = ("." * block_size + so_far)[-block_size:]
        with torch.no_grad():
            p = F.softmax(predict(torch.tensor([[vocab.stoi[c] for c in window]])), dim=1)[0]
        title = (
            f"The network sees “{window}”; entropy {entropy(p):.2f} of at most {math.log(len(p)):.2f} nats"
        )
        fig = Figure(9, 3.4)
        bars(fig.add_subplot(), p, vocab, title)
        fig.twin = f"{title}\n{most_likely(p, vocab)}"
        return fig

    return Explorer(draw, so_far=text("name so far", start))


def embedding(C: torch.Tensor, vocab) -> Explorer:
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
        ax.barh(range(len(nearest)), distance[nearest].tolist(), color=COLOURS[0])
        ax.set_yticks(range(len(nearest)), [vocab.itos[j] for j in nearest])
        ax.invert_yaxis()
        ax.set(
            title=f"distance from “{letter}”, all {D} dimensions",
            xlabel="Euclidean distance",
            ylabel="letter",
        )
        rows = [
            [vocab.itos[j], f"{distance[j]:.3f}", *(f"{v:z.2f}" for v in C[j, [across, up]].tolist())]
            for j in nearest
        ]
        head = ["nearest", "distance", f"C[:, {across}]", f"C[:, {up}]"]
        fig.twin = f"{title}\n" + table(head, rows)
        return fig

    return Explorer(
        draw,
        letter=text("letter", "a"),
        across=slider("dimension across", 0, D - 1, 0),
        up=slider("dimension up", 0, D - 1, 1),
    )


def temperature(first_logits: torch.Tensor, sample: Callable, vocab, known: Sequence[str]) -> Explorer:
    """What a temperature does to the first letter's distribution and to whole names.

    first_logits (V,) at the empty name; sample(count, temperature) -> names; `known` are marked with ✓.
    """
    known = set(known)

    def draw(temperature: float) -> Figure:
        p = warmed(F.softmax(first_logits.detach().double(), 0), temperature)
        names = sample(12, temperature)
        copied = sum(name in known for name in names)
        title = f"First letter at temperature {temperature:g}: entropy {entropy(p):.2f} nats"
        fig = Figure(10, 3.6)
        left, right = fig.add_gridspec(1, 2, width_ratios=(3.2, 1))
        bars(fig.add_subplot(left), p, vocab, title)
        marked = [f"{name} ✓" if name in known else name for name in names]
        listing(fig.add_subplot(right), marked, f"names, {copied} known ✓")
        fig.twin = f"{title}\n{most_likely(p, vocab)}\nnames: {', '.join(marked)}"
        return fig

    return Explorer(draw, temperature=stops("temperature", WARMTHS, 1.0))


def warmed(P: torch.Tensor, temperature: float) -> torch.Tensor:
    """Probabilities (…, V) with their logarithms divided by the temperature; at 1 the very same numbers."""
    return P if temperature == 1 else F.softmax(P.log() / temperature, dim=-1)


def entropy(p: torch.Tensor) -> float:
    return -torch.xlogy(p, p).sum().item()


def most_likely(p: torch.Tensor, vocab, count: int = 8) -> str:
    best = p.argsort(descending=True, stable=True)[:count].tolist()
    return table(["next", "probability"], [[vocab.itos[i], f"{p[i]:.4f}"] for i in best])


def bars(ax, p: torch.Tensor, vocab, title: str, also: tuple[torch.Tensor, str] | None = None) -> None:
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


def listing(ax, lines: Sequence[str], title: str) -> None:
    """Text in the place of a plot."""
    shown = [line if len(line) <= 20 else line[:19] + "…" for line in lines]
    ax.text(0.05, 0.98, "\n".join(shown), va="top", fontsize=10, family="monospace", color=INK)
    ax.set_title(title)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_color(GRID)
