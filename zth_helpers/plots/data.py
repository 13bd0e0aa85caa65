"""Figures of plain data: counts, activations, losses, embeddings (what a Monitor saw is in `training.py`).

All of them take tensors, arrays or lists, and raise ValueError on input that cannot be drawn: empty, not
finite, of the wrong shape, or of another vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator
from numpy.typing import ArrayLike

from zth_helpers.names import Vocabulary, check_vocabulary
from zth_helpers.plots.figure import COLOURS, GRID, INK, PAPER, Figure
from zth_helpers.text import table

BLUES = LinearSegmentedColormap.from_list("paper to ink", [PAPER, "#a3c5ef", COLOURS[0], "#0b3566"])
VOWELS = "aeiou"


def array(x: Any, name: str, axes: tuple[str, ...]) -> np.ndarray:
    """`x`, which may be a list of tensors, with or without a graph, as an array with a dimension for each of
    `axes`, or a ValueError that says why not."""
    if isinstance(x, torch.Tensor):
        x = x.detach().cpu()
        x = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    elif isinstance(x, list | tuple):
        x = [v.item() if isinstance(v, torch.Tensor) and v.numel() == 1 else v for v in x]
    wanted = f"{name} must be numbers of shape ({', '.join(axes)}{',' * (len(axes) == 1)})"
    try:
        x = np.asarray(x)
    except ValueError:
        raise ValueError(f"{wanted}, got lists of several lengths") from None
    if x.dtype.kind not in "biuf":
        raise ValueError(f"{wanted}, got {x.dtype} values")
    if x.ndim != len(axes):
        raise ValueError(f"{wanted}, got shape {x.shape}")
    return x


def _numbers(x: Any, name: str, axes: tuple[str, ...]) -> np.ndarray:
    """The same, but not empty and all finite."""
    x = array(x, name, axes)
    if x.size == 0:
        raise ValueError(f"{name}: empty, of shape {x.shape}, so there is nothing to draw")
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        where = ", ".join(f"{axis[:-1] if axis.endswith('s') else axis} {i}" for axis, i in zip(axes, bad[0]))
        raise ValueError(
            f"{name}: {len(bad)} of {x.size} values are nan or infinite, the first at {where}; "
            f"draw the part before it, and look there for the cause"
        )
    return x


def _symbols(vocab: Vocabulary, rows: int, name: str) -> list[str]:
    """The characters of `vocab` in order, one for each of the `rows` of the table `name`."""
    check_vocabulary(vocab)
    letters = [vocab.itos[i] for i in range(len(vocab.itos))]
    if len(letters) != rows:
        raise ValueError(
            f"{name} has {rows} rows, but the vocabulary has {len(letters)} characters: "
            f"pass the vocabulary that {name} was made with"
        )
    return letters


def bigram_heatmap(N: ArrayLike, vocab: Vocabulary) -> Figure:
    """The counts N (V, V), row: first character, column: the next one; each cell shows its pair and count.

    The colour goes with the square root of the count, so that rare pairs are seen too.
    """
    N = _numbers(N, "N", ("first characters", "next characters"))
    letters = _symbols(vocab, N.shape[0], "N")
    if N.shape[0] != N.shape[1]:
        raise ValueError(f"N must be square, a row and a column for each character, got shape {N.shape}")
    if (N < 0).any() or (N != np.round(N)).any():
        raise ValueError(
            "N must hold counts: whole numbers, none negative (for probabilities, draw the counts)"
        )
    N = N.astype(np.int64)
    V, total = len(letters), int(N.sum())
    title = f"{total:,} bigrams, {np.count_nonzero(N):,} of {V * V:,} pairs occur"
    fig = Figure(min(max(0.35 * V, 4), 9.4), min(max(0.25 * V + 0.5, 4), 6.8), _read_heatmap)  # fits a screen
    ax = fig.add_subplot()
    norm = PowerNorm(0.5, vmin=0, vmax=max(N.max(), 1))
    ax.imshow(N, cmap=BLUES, norm=norm, aspect="auto")
    large, small = (7, 5.5) if V > 12 else (11, 10)
    small = small if N.max() < 10_000 else 0.8 * small
    for i, j in np.ndindex(V, V) if V <= 64 else ():  # beyond that nobody reads cells
        dark, zero = norm(N[i, j]) > 0.55, N[i, j] == 0
        colour = PAPER if dark else "#a5aaa2" if zero else INK
        pair = letters[i] + letters[j]
        for text, y, points, va in (
            (pair, i + 0.02, large, "bottom"),
            (f"{N[i, j]}", i + 0.06, small, "top"),
        ):
            label = ax.text(j, y, text, ha="center", va=va, fontsize=points, color=colour)
            label.set_in_layout(False)  # the layout would measure all of them, slowly, for nothing
    ax.set_xticks(range(V), letters, fontsize=10)
    ax.set_yticks(range(V), letters, fontsize=10)
    ax.set_xticks(np.arange(V + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(V + 1) - 0.5, minor=True)
    ax.grid(which="minor", color=GRID, linewidth=0.6)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(f"{title} (colour: √count)", fontsize=12)
    ax.set_xlabel("next character")
    ax.set_ylabel("first character")
    return fig


def _read_heatmap(fig: Figure) -> str:
    """The picture's counts, a line for each row: how many, and what follows most often."""
    ax = fig.axes[0]
    letters = [label.get_text() for label in ax.get_yticklabels()]
    rows = []
    for letter, counts in zip(letters, np.asarray(ax.images[0].get_array()).astype(int)):
        best = [i for i in np.argsort(-counts, kind="stable")[:5] if counts[i]]
        rows.append([letter, int(counts.sum()), ", ".join(f"{letters[i]} {counts[i]}" for i in best)])
    return f"{ax.get_title()}\n" + table(["first", "count", "most frequent next"], rows)


def activation_functions() -> Figure:
    """Six activation functions and their derivatives, which torch computes by autograd."""
    F = torch.nn.functional
    functions = {
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "ReLU": F.relu,
        "leaky ReLU (slope .1)": lambda x: F.leaky_relu(x, 0.1),
        "ELU": F.elu,
        "GELU": F.gelu,
    }

    def curve(f: Callable, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        x = x.clone().requires_grad_()
        y = f(x)
        (slope,) = torch.autograd.grad(y.sum(), x)
        return y.detach().numpy(), slope.numpy()

    x = torch.linspace(-4, 4, 800, dtype=torch.float64)  # an even number of points leaves out the kink at 0
    fig = Figure(9, 5.2)
    fig.suptitle("Six activation functions and their slopes", color=INK, fontsize=11)
    for place, (name, f) in enumerate(functions.items(), 1):
        ax = fig.add_subplot(2, 3, place)
        ax.axhline(0, color=GRID, linewidth=0.8)
        ax.axvline(0, color=GRID, linewidth=0.8)
        y, slope = curve(f, x)
        ax.plot(x, y, color=COLOURS[0], linewidth=2, label="f(x)")
        ax.plot(x, slope, color=COLOURS[1], linewidth=1.5, linestyle="--", label="slope f′(x)")
        ax.set(title=name, xlabel="x", ylim=(-1.25, 2.25), xlim=(-4, 4))
    fig.axes[0].legend(fontsize=8, loc="upper left", frameon=False, labelcolor=INK)
    return fig


def saturation_image(h: ArrayLike, threshold: float = 0.99) -> Figure:
    """Where |h| > threshold, white, for activations h (examples, neurons).

    A column that is white for all examples is marked with a red triangle: none of *these* examples sends a
    gradient through that neuron. It is dead only if that holds for all examples there are.
    """
    h = _numbers(h, "h", ("examples", "neurons"))
    if not threshold > 0:
        raise ValueError(f"threshold must be positive, got {threshold}")
    white = np.abs(h) > threshold
    dead = np.flatnonzero(white.all(axis=0))
    examples, neurons = white.shape
    share = f"{white.mean():.1%}"
    fig = Figure(10, min(max(10 * examples / neurons, 1.2), 6) + 1)
    ax = fig.add_subplot()
    ax.imshow(white, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    ax.spines[:].set_visible(True)
    if len(dead):
        ax.plot(
            dead,
            np.full(len(dead), -0.5),
            "v",
            color=COLOURS[1],
            markersize=6,
            clip_on=False,
            label="white columns",
        )
    ax.set_title(
        f"{share} of the outputs are saturated (white: |h| > {threshold:g}); "
        f"{len(dead)} of {neurons} columns are white" + (" (▼)" if len(dead) else ""),
        pad=10,
    )
    ax.set(xlabel="neuron", ylabel="example")
    return fig


def loss_curve(losses: ArrayLike, window: int = 1000) -> Figure:
    """The loss of each step, faint, and its mean over blocks of `window` steps (not a partial last one)."""
    losses = _numbers(losses, "losses", ("steps",)).astype(np.float64)
    blocks = len(losses) // window if isinstance(window, int) and window >= 1 else 0
    if blocks == 0:
        raise ValueError(
            f"window must be a whole number from 1 to the {len(losses)} losses given, got {window}; "
            f"try window={max(len(losses) // 20, 1)}"
        )
    parts = losses[: blocks * window].reshape(blocks, window)
    means, ends = parts.mean(axis=1), window * np.arange(1, blocks + 1)
    fig = Figure(8, 3.4)
    ax = fig.add_subplot()
    ax.plot(losses, color=COLOURS[0], alpha=0.25, linewidth=0.6, label="each step")
    ax.plot(
        ends - (window + 1) / 2,
        means,
        color=COLOURS[1],
        linewidth=1.8,
        marker="o" if blocks < 40 else None,
        markersize=3,
        label=f"mean of {window:,} steps",
    )
    scale = ""
    if 0 < 3 * np.median(losses) < losses.max() and losses.min() > 0:  # a bad start would press the rest flat
        scale = ", log scale"
        ax.set_yscale("log")
        wide = losses.max() / losses.min()
        subs = (1, 1.5, 2, 2.5, 3, 4, 5, 7) if wide < 30 else (1, 2, 5) if wide < 1000 else (1,)
        ax.yaxis.set_major_locator(LogLocator(subs=subs))  # as many ticks as there is room for
        ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        ax.yaxis.set_minor_locator(NullLocator())
    ax.grid(color=GRID, linewidth=0.6)
    ax.set(
        title=f"Loss over {len(losses):,} steps: {means[0]:.3f} → {means[-1]:.3f}",
        xlabel="training step",
        ylabel=f"loss (nats{scale})",
    )
    ax.legend(fontsize=9, frameon=False, labelcolor=INK)
    return fig


def learning_rate_finder(lrs: ArrayLike, losses: ArrayLike, constant: ArrayLike | None = None) -> Figure:
    """The loss at each learning rate of a run that raises it step by step; a running mean, its valley marked.

    `constant`: the losses of a second run over the same steps at one rate, to tell what the *rate* does from
    what training for longer does.
    """
    lrs = _numbers(lrs, "lrs", ("steps",)).astype(np.float64)
    losses = _numbers(losses, "losses", ("steps",)).astype(np.float64)
    runs = {"rising rate": losses}
    if constant is not None:
        runs["constant rate"] = _numbers(constant, "constant", ("steps",)).astype(np.float64)
    for name, run in runs.items():
        if len(run) != len(lrs):
            raise ValueError(f"one loss for each rate: got {len(lrs)} rates and {len(run)} losses ({name})")
    if (lrs <= 0).any() or (np.diff(lrs) <= 0).any():
        raise ValueError("lrs must be positive and rising, like 10 ** torch.linspace(-3, 0, 1000)")
    window = max(len(lrs) // 20, 1)
    centres = np.exp(np.convolve(np.log(lrs), np.ones(window) / window, "valid"))
    means = {name: np.convolve(run, np.ones(window) / window, "valid") for name, run in runs.items()}
    valley = centres[means["rising rate"].argmin()]
    fig = Figure(8, 3.6)
    ax = fig.add_subplot()
    for (name, run), colour in zip(runs.items(), (COLOURS[0], COLOURS[3])):
        ax.plot(lrs, run, color=colour, alpha=0.25, linewidth=0.6)
        ax.plot(centres, means[name], color=colour, linewidth=2, label=f"{name}, mean of {window} steps")
    ax.axvline(valley, color=COLOURS[1], linestyle="--", linewidth=1.2, label=f"valley near {valley:.1g}")
    ax.set_xscale("log")
    top = max(np.percentile(run, 99) for run in runs.values())
    low = min(run.min() for run in runs.values())
    ax.set_ylim(low - 0.05 * (top - low) - 1e-3, top + 0.1 * (top - low) + 1e-3)
    ax.grid(color=GRID, linewidth=0.6)
    ax.set(title="Learning-rate finder", xlabel="learning rate (log scale)", ylabel="loss (nats)")
    ax.legend(fontsize=9, frameon=False, labelcolor=INK)
    return fig


def embedding_scatter(C: ArrayLike, vocab: Vocabulary) -> Figure:
    """The rows of a 2-D embedding C (V, 2), each drawn as its letter; vowels and '.' have own colours.

    A letter far outside of the crowd is drawn at the edge, with its coordinates beside it.
    """
    C = _numbers(C, "C", ("characters", "dimensions")).astype(np.float64)
    letters = _symbols(vocab, C.shape[0], "C")
    if C.shape[1] != 2:
        raise ValueError(
            f"embedding_scatter draws 2 dimensions, C has shape {C.shape}: pass two columns or a projection"
        )
    fig = Figure(6.4, 6.4)
    ax = fig.add_subplot()
    centre = np.median(C, axis=0)
    reach = 2.5 * np.percentile(np.abs(C - centre), 80, axis=0) + 1e-9
    shown = np.clip(C, centre - reach, centre + reach)  # one letter far out must not squeeze all the others
    if (shown != C).any(axis=1).sum() > len(C) // 5:
        shown = C  # so many are no strays: the crowd itself is wide
    kinds = ["vowels" if c in VOWELS else "end '.'" if c == "." else "other letters" for c in letters]
    for kind, colour in zip(("vowels", "other letters", "end '.'"), (COLOURS[1], COLOURS[0], INK)):
        here = shown[[k == kind for k in kinds]]
        if len(here):
            ax.scatter(here[:, 0], here[:, 1], s=160, color=colour, label=kind, edgecolors=PAPER, zorder=2)
    for letter, (x, y), at in zip(letters, C, shown):
        ax.annotate(letter, at, ha="center", va="center_baseline", color=PAPER, fontsize=10, zorder=3)
        if (at != (x, y)).any():
            side = "left" if at[0] < centre[0] else "right"
            note = f"beyond: ({x:.2f}, {y:.2f})"
            ax.annotate(
                note, at, (0, -12), textcoords="offset points", ha=side, va="top", fontsize=8, color=INK
            )
    ax.margins(0.08)
    ax.grid(color=GRID, linewidth=0.6, zorder=0)
    ax.set(title="The embedding of each character", xlabel="C[:, 0]", ylabel="C[:, 1]")
    ax.legend(fontsize=9, markerscale=0.6, labelcolor=INK, facecolor=PAPER, edgecolor=GRID)
    return fig
