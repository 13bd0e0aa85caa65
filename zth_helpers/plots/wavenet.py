"""The figures of lesson 06."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zth_helpers.plots.figure import COLOURS, DASHES, GRID, INK, Figure
from zth_helpers.text import table

FAINT = "#b9bfc6"


def trees(word: str, starts: Sequence[int], block_size: int = 8) -> Figure:
    """The trees over the windows of a word that begin at `starts`, the last of them in blue.

    A window at 0 holds dots alone, one at 1 ends with the first letter. Each node stands below the last
    character that it has seen.
    """
    text, top = "." * block_size + word, block_size.bit_length() - 1
    fig = Figure(8.5, 0.9 + 0.6 * (top + 1))
    ax = fig.add_subplot()
    for last, some in ((False, starts[:-1]), (True, starts[-1:])):
        colour, order = (COLOURS[0], 3) if last else (FAINT, 1)
        for level, at in sorted({node for start in some for node in _nodes(start, block_size)}):
            for child in (at, at - 2 ** (level - 1)) if level else ():
                ax.plot([child, at], [1 - level, -level], "-", color=colour, lw=1.4, zorder=order)
            ax.plot(at, -level, "o", ms=9, color=colour, zorder=order + 1)
    for i in range(starts[0], starts[-1] + block_size):
        ax.text(i, 0.35, text[i], ha="center", family="monospace", fontsize=12, color=INK)
    ax.set(yticks=range(-top, 1), xticks=[], ylim=(-top - 0.5, 0.9), xlabel="position in the text →")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set_yticklabels([f"level {level}" for level in range(top, 0, -1)] + ["characters"], color=INK)
    computed = [node for start in starts for node in _nodes(start, block_size) if node[0]]
    many = f"{len(starts)} windows, {len(computed)} nodes computed, {len(set(computed))} of them distinct"
    ax.set_title(many if len(starts) > 1 else f"One window: {len(computed)} nodes on {top} levels")
    return fig


def _nodes(start: int, block_size: int) -> list[tuple[int, int]]:
    """The nodes (level, last position) of the tree over one window, level 0 being the characters."""
    return [
        (level, start + k * 2**level + 2**level - 1)
        for level in range(block_size.bit_length())
        for k in range(block_size // 2**level)
    ]


def losses_and_floors(log: Mapping[str, Mapping], floors: Mapping[int, float], table_dev: float) -> Figure:
    """Train and dev loss of each network of the log, the floor of what it sees, and the dev of a count table.

    A row of the log holds "train", "dev" and "characters", of which `floors` has the floor.
    """
    fig = Figure(8.5, 1.5 + 0.42 * max(1, len(log)), reader=_read_losses)
    ax, places = fig.add_subplot(), range(len(log))
    train, dev = ([row[split] for row in log.values()] for split in ("train", "dev"))
    ax.hlines(places, train, dev, color=FAINT, lw=2)
    ax.plot(train, places, "o", color=COLOURS[0], label="train")
    ax.plot(dev, places, "s", color=COLOURS[1], label="dev")
    lowest = [floors[row["characters"]] for row in log.values()]
    ax.plot(lowest, places, "|", color=INK, ms=16, mew=2, label="floor of train")
    ax.axvline(table_dev, color=COLOURS[2], ls="--", lw=1.2, label="table of counts, dev")
    ax.set(yticks=places, ylim=(len(log) - 0.5, -0.5), xlabel="loss (nats per character)")
    ax.set_yticklabels(list(log), color=INK)
    ax.grid(axis="x", color=GRID, linewidth=0.6)
    ax.set_title("Each network, and how far it is above the floor of what it can see")
    fig.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9, labelcolor=INK)
    return fig


def _read_losses(fig: Figure) -> str:
    """A row for each network: what stands in the plot, from left to right by its legend."""
    (ax,) = fig.axes
    *points, line = ax.lines
    columns = [points_of.get_xdata(orig=False) for points_of in points]
    rows = [[label.get_text(), *map(float, values)] for label, *values in zip(ax.get_yticklabels(), *columns)]
    text = table(["network", *(artist.get_label() for artist in points)], rows)
    return f"{ax.get_title()}\n{text}\n{line.get_label()}: {line.get_xdata()[0]:.5g}"


def recipes(curves: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """The dev loss of several recipes over their seconds of training; a curve holds (seconds, dev)."""
    fig = Figure(8.5, 3.6)
    ax = fig.add_subplot()
    for i, (name, curve) in enumerate(curves.items()):
        seconds, dev = zip(*curve)
        style = dict(color=COLOURS[i % 6], marker="osv^Dxp*"[i % 8], ls=DASHES[i // 6 % 6])
        ax.plot(seconds, dev, ms=4, lw=1.2, label=name, **style)
    ax.grid(color=GRID, linewidth=0.6)
    ax.set(title="What training time buys", xlabel="seconds of training", ylabel="dev loss (nats)")
    ax.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return fig
