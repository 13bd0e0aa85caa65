"""Figures of lesson 03 and its sequel: the network of Bengio et al. 2003, and what counting can reach."""

from __future__ import annotations

from collections.abc import Sequence

from zth_helpers.plots.figure import COLOURS, GRID, INK, MUTED, Figure


def mlp_network(context: Sequence[str], V: int, n_embd: int, n_hidden: int) -> Figure:
    """The network of Bengio et al. 2003, read from the bottom, with the number of parameters at each step.

    `context` holds the words (or letters) that go in, V how many there are to choose from.
    """
    k = len(context)
    fig = Figure(7.5, 4.2)
    ax = fig.add_subplot()
    middle = (k - 1) / 2
    boxes: list[tuple] = [(x, 0, word, COLOURS[0]) for x, word in enumerate(context)]
    boxes += [(x, 1, f"its row of C\n{n_embd} numbers", COLOURS[0]) for x in range(k)]
    boxes += [
        (middle, 2, f"side by side: {k * n_embd} numbers", COLOURS[2]),
        (middle, 3, f"hidden layer: tanh of {n_hidden} numbers", COLOURS[1]),
        (middle, 4, f"softmax: {V:,} probabilities of what comes next", COLOURS[3]),
    ]
    arrows: list[tuple] = [((x, 0), (x, 1)) for x in range(k)] + [((x, 1), (middle, 2)) for x in range(k)]
    for start, end in [*arrows, ((middle, 2), (middle, 3)), ((middle, 3), (middle, 4))]:
        style = {"arrowstyle": "->", "color": MUTED, "shrinkA": 15, "shrinkB": 15}
        ax.annotate("", end, start, arrowprops=style)
    for x, y, text, colour in boxes:
        frame = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": colour, "linewidth": 1.6}
        ax.text(x, y, text, ha="center", va="center", fontsize=9, color=INK, bbox=frame)
    labels: tuple[tuple, ...] = (
        (k - 1, 0.5, "C", f"{V:,} × {n_embd}", V * n_embd),
        (middle, 2.5, "W1, b1", f"{k * n_embd} × {n_hidden}, {n_hidden}", (k * n_embd + 1) * n_hidden),
        (middle, 3.5, "W2, b2", f"{n_hidden} × {V:,}, {V:,}", (n_hidden + 1) * V),
    )
    for x, y, name, shape, count in labels:
        ax.text(x + 0.07, y, f"{name}: {shape} ({count:,} parameters)", va="center", fontsize=8, color=INK)
    ax.set(xlim=(-0.5, k + 0.1), ylim=(-0.4, 4.4))
    ax.set_axis_off()
    return fig


def counting_curve(
    floors: Sequence[float],
    tables: Sequence[tuple[float, float]],
    networks: dict[str, tuple[int, float, float]],
) -> Figure:
    """Loss against letters of context: smoothed counts on train and dev, and the exact minimum on train.

    floors[k]: the least possible training loss with k letters; tables[k]: (train, dev) of the counts;
    networks: name -> (letters of context, train, dev), at most three.
    """
    fig = Figure(8, 4)
    ax = fig.add_subplot()
    letters = range(len(floors))
    ax.plot(letters, [dev for _, dev in tables], "o-", color=COLOURS[1], label="counts, dev")
    ax.plot(
        letters, [train for train, _ in tables], "o--", color=COLOURS[1], alpha=0.6, label="counts, train"
    )
    ax.plot(letters, floors, "s-", color=COLOURS[0], label="minimum of the training loss")
    for (name, (k, train, dev)), mark in zip(networks.items(), "D^v"):
        ax.plot([k], [dev], mark, color=COLOURS[2], markersize=8, label=f"{name}, dev")
        hollow = {"markerfacecolor": "none", "markersize": 8}
        ax.plot([k], [train], mark, color=COLOURS[2], label=f"{name}, train", **hollow)
    ax.grid(color=GRID, linewidth=0.6)
    ax.set(xlabel="letters of context", ylabel="loss (nats per letter)")
    ax.set(title="What counting reaches, and the minimum of the training loss")
    ax.legend(fontsize=9, frameon=False, labelcolor=INK, loc="upper left", bbox_to_anchor=(1, 1))
    return fig
