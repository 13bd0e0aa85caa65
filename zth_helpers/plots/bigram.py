"""Lesson 2's figures: counts, one-hot inputs, a loss beside fixed levels, rows of probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from zth_helpers.plots.figure import COLOURS, INK, Figure

DASHES = ("--", ":", "-.")
MARKERS = ("o", "D", "s", "^")


def counts_image(N: torch.Tensor, stoi: Mapping[str, int]) -> Figure:
    """The counts N (V, V) as shades, the darker the more; `stoi` gives each character its number."""
    fig = Figure(6.6, 5.6)
    ax = fig.add_subplot()
    letters = sorted(stoi, key=lambda ch: stoi[ch])
    image = ax.imshow(np.sqrt(np.asarray(N, dtype=float)), cmap="Blues")
    for set_ticks in (ax.set_xticks, ax.set_yticks):
        set_ticks(range(len(letters)), letters, fontsize=7)
    ax.set(title=f"Counts {tuple(N.shape)}", xlabel="next character", ylabel="first character")
    fig.colorbar(image, ax=ax, shrink=0.7, label="√ count")
    return fig


def one_hot_image(xenc: torch.Tensor, xs: torch.Tensor, itos: Mapping[int, str]) -> Figure:
    """One-hot inputs xenc (n, V) of the characters xs (n,): a dark cell where the 1 stands."""
    fig = Figure(8, 0.9 + 0.28 * len(xs))
    ax = fig.add_subplot()
    ax.imshow(np.asarray(xenc), cmap="Blues", aspect="auto", vmin=0, vmax=1.3)
    ax.set_xticks(range(xenc.shape[1]), [itos[i] for i in range(xenc.shape[1])])
    ax.set_yticks(range(len(xs)), [itos[int(x)] for x in xs])
    for i in range(1, len(xs)):
        ax.axhline(i - 0.5, color="white", lw=1)
    ax.set(title=f"One-hot inputs {tuple(xenc.shape)}", xlabel="column of the character", ylabel="example")
    return fig


def loss_and_levels(losses: Sequence[float], levels: Mapping[str, float]) -> Figure:
    """The loss of each step, and named horizontal lines to compare it with."""
    fig = Figure(7.5, 3.2)
    ax = fig.add_subplot()
    ax.plot(losses, color=COLOURS[0], label="the net")
    steps = [0, (len(losses) - 1) / 2, len(losses) - 1]
    for i, (name, level) in enumerate(levels.items()):
        style = dict(linestyle=DASHES[i % 3], color=COLOURS[(i + 1) % 6])
        ax.plot(steps, [level] * 3, label=f"{name} {level:.4f}", **style)
    ax.set(title="The loss of the net, step by step", xlabel="step", ylabel="NLL per character (nats)")
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return fig


def row_bars(rows: Mapping[str, torch.Tensor], itos: Mapping[int, str], title: str) -> Figure:
    """Up to four distributions over the next character, by name: the first as bars, the others as marks."""
    fig = Figure(8.6, 3.2)
    ax = fig.add_subplot()
    for i, (name, p) in enumerate(rows.items()):
        values = np.asarray(p, dtype=float)
        if i == 0:
            ax.bar(range(len(values)), values, color="#b9d2ee", label=name)
        else:
            marks = dict(linestyle="none", marker=MARKERS[i % 4], markersize=5)
            ax.plot(values, color=COLOURS[i % 6], label=name, **marks)
    ax.axhline(1 / len(itos), color=INK, linestyle=":", linewidth=1, label="equally likely")
    ax.set_xticks(range(len(itos)), [itos[i] for i in range(len(itos))])
    ax.set(title=title, xlabel="next character", ylabel="probability")
    ax.set_xlim(-0.7, len(itos) - 0.3)
    ax.legend(frameon=False)
    return fig


def between_two_points(t: Sequence[float], losses: Sequence[float]) -> Figure:
    """The losses on the straight way from one point to another, and the chord between its ends."""
    fig = Figure(7.5, 3.2)
    ax = fig.add_subplot()
    x, y = np.asarray(t, dtype=float), np.asarray(losses, dtype=float)
    ax.plot(x, y, color=COLOURS[0], label="the loss on the way")
    ax.plot(x, (1 - x) * y[0] + x * y[-1], "--", color=COLOURS[1], label="chord between the ends")
    ax.set(title="From one W to another", xlabel="t, in (1 − t)·A + t·B", ylabel="NLL per character (nats)")
    ax.legend(frameon=False)
    return fig


def staircase(p: torch.Tensor, itos: Mapping[int, str], u: Sequence[float], hits: Sequence[int]) -> Figure:
    """The cumulative sum of p (V,), and where each height u meets it: at the character `hits`."""
    fig = Figure(8, 3.4)
    ax = fig.add_subplot()
    cdf = np.cumsum(np.asarray(p, dtype=float))
    ax.step(range(len(cdf)), cdf, where="mid", color=COLOURS[0], label="cumulative probability")
    for i, (height, hit) in enumerate(zip(u, hits)):
        way = dict(linestyle="--", color=COLOURS[1], label="u → character" if i == 0 else None)
        ax.plot([-0.5, hit, hit], [height, height, 0], **way)
    ax.set_xticks(range(len(cdf)), [itos[i] for i in range(len(cdf))])
    ax.set(title="Drawing a character with the inverse CDF", xlabel="character", ylabel="u, probability")
    ax.set(xlim=(-0.5, len(cdf) - 0.5), ylim=(0, 1.02))
    ax.legend(loc="lower right", frameon=False)
    return fig
