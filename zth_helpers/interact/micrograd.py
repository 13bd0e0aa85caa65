"""Lecture 1: the backward pass, one node after the other; a decision boundary while it is learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from zth_helpers.graph import below, label, operation, show
from zth_helpers.interact.explorer import Explorer, choice, slider
from zth_helpers.plots.figure import COLOURS, GRID, INK, Figure


def backward_pass(graphs: Mapping[str, object], topological_order: Callable) -> Explorer:
    """Which node fires, and what it adds where: `graphs` by name, each the root of Values as in notebook 01.

    `topological_order(root)` lists the values, children first; `value._backward(g)` adds to its children's
    grad. The gradients that the values hold are left as they were.
    """
    runs = {name: run_backward(root, topological_order) for name, root in graphs.items()}
    longest = max(len(fired) for _, fired in runs.values())

    def draw(graph: str, step: int) -> Figure:
        values, fired = runs[graph]
        return _draw_backward(values, fired[: step + 1], len(fired) - 1)

    return Explorer(draw, graph=choice("expression", list(runs)), step=slider("step", 0, longest - 1, 1))


def run_backward(root: Any, topological_order: Callable) -> tuple[dict, list]:
    """The values with their names, and for each step (value that fires, {child: added}, all gradients)."""
    order = topological_order(root)
    kept = [value.grad for value in order]
    numbers = {id(v): i for i, v in enumerate(below(root))}
    names = {v: label(v) or (f"{v.data:g}" if not v._prev else f"#{numbers[id(v)]}") for v in order}
    for value in order:
        value.grad = 0.0
    root.grad = 1.0
    steps: list[tuple] = [(None, {}, {v: v.grad for v in order})]
    for value in reversed(order):
        if value._prev:
            before = {child: child.grad for child in value._prev}
            value._backward(value.grad)
            added = {child: child.grad - old for child, old in before.items()}
            steps.append((value, added, {v: v.grad for v in order}))
    for value, grad in zip(order, kept):
        value.grad = grad
    return names, steps


def places(names: dict) -> dict:
    """(x, y) of each value: x by its longest way from an input, y amid its children."""
    x: dict[Any, int] = {}
    y: dict[Any, float] = {}
    column: dict[int, list[float]] = {}
    for value in names:  # children first
        x[value] = 1 + max((x[child] for child in value._prev), default=-1)
    last = max(x.values())
    for value in reversed(names):  # an input stands right before its first use
        users = [x[v] for v in names if value in v._prev]
        x[value] = last if not users else x[value] if value._prev else min(users) - 1
    free = 0
    for value in names:
        children = [y[child] for child in value._prev]
        y[value] = sum(children) / len(children) if children else free
        free += not children
        taken = column.setdefault(x[value], [])
        while any(abs(y[value] - other) < 0.9 for other in taken):
            y[value] += 0.45
        taken.append(y[value])
    return {value: (x[value], -y[value]) for value in names}


def _draw_backward(names: dict, steps: list, last: int) -> Figure:
    fires, added, grads = steps[-1]
    at, done = places(names), {value for value, _, _ in steps}
    (left, right), (low, high) = ((min(c), max(c)) for c in zip(*at.values()))
    fig = Figure(10, 1.3 + 0.75 * (high - low + 1))
    ax = fig.add_subplot()
    for value, (x, y) in at.items():
        for child in value._prev:
            active = value is fires
            style = dict(arrowstyle="<|-" if active else "-|>", color=COLOURS[1] if active else "#9aa0a6")
            size = dict(lw=2.2 if active else 1, shrinkA=30, shrinkB=30)
            ax.annotate("", (x, y), at[child], arrowprops=style | size)
        face = "#f6d6da" if value is fires else "#dcebf9" if value in added else "white"
        box = dict(boxstyle="round,pad=0.35", facecolor=face, edgecolor=INK if value in done else GRID)
        head = names[value] + (f"  = {operation(value)}" if value._prev else "")
        words = f"{head}\ndata {show(value.data)}\ngrad {show(grads[value])}"
        ax.text(x, y, words, ha="center", va="center", fontsize=9, color=INK, bbox=box)
    what = "the result's gradient is 1, all others 0"
    if fires is not None:
        parts = ", ".join(f"{show(by)} to {names[child]}" for child, by in added.items())
        what = f"{names[fires]} fires and adds {parts}"
    title = f"step {len(steps) - 1} of {last}: {what}"
    ax.set_title(title, fontsize=11)
    ax.set(xlim=(left - 0.5, right + 0.5), ylim=(low - 0.6, high + 0.6))
    ax.axis("off")
    return fig


def decision_boundary(
    snapshots: Sequence, scores: Callable, X: ArrayLike, y: ArrayLike, history: Sequence[tuple[float, float]]
) -> Explorer:
    """The boundary after each step: `scores(snapshot, points (n, 2))` -> (n,), from the lesson's own network.

    X (n, 2) and y (n,) of -1 and +1 are the training points, `history` the (loss, accuracy) at each snapshot.
    """
    X, y = np.asarray(X), np.asarray(y)
    u, v = (np.linspace(low - 0.7, high + 0.7, 70) for low, high in zip(X.min(0), X.max(0)))
    grid = np.stack([a.ravel() for a in np.meshgrid(u, v)], axis=1)

    def draw(step: int) -> Figure:
        Z = np.asarray(scores(snapshots[step], grid)).reshape(len(v), len(u))
        loss, accuracy = history[step]
        wrong = np.sign(scores(snapshots[step], X)) != y
        fig = Figure(7.2, 4.4)
        ax = fig.add_subplot()
        ax.contourf(
            u, v, Z, levels=[-1e9, -1, 0, 1, 1e9], colors=["#a9c8ea", "#dde9f6", "#fae3e6", "#e79aa5"]
        )
        for levels, width, style in (([0], 1.5, "solid"), ([-1, 1], 0.6, "dashed")):
            if Z.min() < levels[0] < Z.max():
                ax.contour(u, v, Z, levels=levels, colors=[INK], linewidths=width, linestyles=style)
        for sign, colour, marker in ((-1, COLOURS[0], "o"), (1, COLOURS[1], "s")):
            ax.scatter(
                *X[y == sign].T, s=22, color=colour, marker=marker, edgecolor=INK, label=f"y = {sign:+d}"
            )
        if wrong.any():
            ring = dict(s=110, facecolor="none", edgecolor=INK, linewidth=1.2)
            ax.scatter(*X[wrong].T, label="wrong", **ring)
        ax.set(xlabel="x₁", ylabel="x₂", aspect="equal")
        title = f"before step {step}: loss {loss:.4f}, {100 * accuracy:.0f}% right"
        ax.set_title(f"{title}; dashed: score −1 and +1")
        ax.legend(loc="upper right", fontsize=8)
        return fig

    last = len(snapshots) - 1
    return Explorer(draw, step=slider("step", 0, last, last))
