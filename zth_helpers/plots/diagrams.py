"""Diagrams: where in the course one is, and what shape a tensor has at each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zth_helpers.plots.figure import COLOURS, INK, Figure

LESSONS = (
    ("01 micrograd", "slopes, graphs,\nbackprop"),
    ("02 bigram", "counts = a net,\nlikelihood"),
    ("03 MLP", "embeddings,\nsplits"),
    ("04 batch norm", "seeing inside,\ninitialisation"),
    ("05 backprop ninja", "every gradient\nby hand"),
    ("06 WaveNet", "depth,\na tree of letters"),
)


def you_are_here(lesson: int) -> Figure:
    """The six lessons in a row, with this one (1 to 6) filled. Raises ValueError for another number."""
    if lesson not in range(1, len(LESSONS) + 1):
        raise ValueError(f"there are lessons 1 to {len(LESSONS)}, got {lesson!r}")
    fig = Figure(
        10, 1.1, lambda fig: f"You are here: {LESSONS[lesson - 1][0]}, lesson {lesson} of {len(LESSONS)}"
    )
    ax = fig.add_subplot()
    for i, (name, about) in enumerate(LESSONS, 1):
        here = i == lesson
        face, ink = (COLOURS[0], "white") if here else ("#eef1f4", INK)
        box = dict(boxstyle="round,pad=0.35,rounding_size=0.1", facecolor=face, edgecolor=COLOURS[0])
        words = dict(ha="center", va="center", fontsize=9, color=ink, linespacing=1.25)
        ax.text(i, 0, f"{name}\n{about}", bbox=box, weight="bold" if here else "normal", **words)
    ax.set(xlim=(0.4, len(LESSONS) + 0.6), ylim=(-1, 1))
    ax.set_axis_off()
    return fig


def shape_flow(tensors: Mapping[str, Any]) -> Figure:
    """The shape of each tensor on its way through a network, as boxes and arrows.

    tensors: {"X": X, "emb = C[X]": emb, …} in the order of the computation; values are tensors (anything with
    a .shape) or tuples of ints. Raises ValueError when there are none, and when they have no names.
    """
    if not (hasattr(tensors, "items") and tensors):
        raise ValueError('no tensors with names: give {"X": X, "emb = C[X]": emb, …}')
    shapes: list[tuple] = [tuple(getattr(t, "shape", t)) for t in tensors.values()]

    def reader(fig: Figure) -> str:
        return " → ".join(text.get_text().replace("\n", " ") for text in fig.axes[0].texts if text.get_text())

    across = min(len(shapes), 6)
    down = -(-len(shapes) // across)
    fig = Figure(10, 0.35 + 0.75 * down, reader)
    ax = fig.add_subplot()
    for i, (name, shape) in enumerate(zip(tensors, shapes)):
        x, y = i % across, -(i // across)
        box = dict(boxstyle="round,pad=0.4,rounding_size=0.1", facecolor="#dcebf9", edgecolor=COLOURS[0])
        words = f"{name}\n({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
        ax.text(x, y, words, ha="center", va="center", fontsize=9, color=INK, family="monospace", bbox=box)
        if i + 1 < len(shapes) and (i + 1) % across:
            arrow = dict(arrowstyle="-|>", color=INK, lw=1.2, shrinkA=0, shrinkB=0)
            ax.annotate("", (x + 0.62, y), (x + 0.4, y), arrowprops=arrow)
    ax.set(xlim=(-0.55, across - 0.45), ylim=(0.55 - down, 0.5))
    ax.set_axis_off()
    return fig
