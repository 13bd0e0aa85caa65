"""Lecture 1: an expression to pull, backward one node after the other; two moons, learned in the page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from zth_helpers import moons
from zth_helpers.graph import below, label, operation, show
from zth_helpers.interact.explorable import Explorable, rounded
from zth_helpers.plots.figure import COLOURS, GRID, INK, Figure
from zth_helpers.plots.micrograd import draw_points, draw_scores, score_grid

FUNCTIONS = ("tanh", "exp", "log", "sin", "relu")


def expression(graphs: Mapping[str, Any]) -> Explorable:
    """Pull an expression's leaves, run backward node by node: `graphs` by name, each the root of Values.

    A value has data, `_prev`, `_op` ("+", "*", "**2", "tanh", "exp", "relu" …) and perhaps a label. The page
    gets the expression as text and the leaves' values, and computes the rest. Lecture 1, 32:10 to 1:27:05.
    """
    expressions = []
    for name, root in graphs.items():
        text, values = as_text(root)
        expressions.append({"name": name, "text": text, "values": values})
    names, fired = run_backward(next(iter(graphs.values())))
    still = _draw_backward(names, fired[:2], len(fired) - 1)
    return Explorable("expression", {"expressions": expressions}, still)


def as_text(root: Any) -> tuple[str, dict[str, float]]:
    """A graph as "n = x*w + b; tanh(n)", which the page can read, and the data of its named leaves."""
    order = _children_first(root)
    uses = {
        v: sum(u._prev.count(v) if isinstance(u._prev, tuple) else v in u._prev for u in order) for v in order
    }
    words: dict[Any, str] = {}
    values: dict[str, float] = {}
    taken: set[str] = set()
    statements = []

    def name_for(value: Any, otherwise: str) -> str:
        name = re.sub(r"\W", "_", label(value))
        name = name if re.fullmatch(r"[A-Za-z_]\w*", name) and name not in FUNCTIONS else otherwise
        while name in taken:
            name += "_"
        taken.add(name)
        return name

    for value in order:
        children = [words[child] for child in value._prev]
        op = operation(value)
        if not children:
            if label(value):
                name = name_for(value, f"x{len(taken)}")
                values[name] = float(value.data)
                words[value] = name
            else:
                words[value] = f"({float(value.data)!r})" if value.data < 0 else f"{float(value.data)!r}"
            continue
        if op.startswith("**"):
            text = f"({children[0]}**({op[2:]}))"
        elif op.lower() in FUNCTIONS:
            text = f"{op.lower()}({children[0]})"
        elif op in "+-*/" and len(children) in (1, 2):
            text = f"({children[0]} {op} {children[-1]})"
        else:
            raise ValueError(f"the page does not know the operation {op!r}")
        plain = re.fullmatch(r"[A-Za-z_]\w*", label(value))
        if value is not root and (plain or uses[value] > 1):
            name = name_for(value, f"v{len(taken)}")
            statements.append(f"{name} = {_outer(text)}")
            text = name
        words[value] = text
    end = _outer(words[root])
    if re.fullmatch(r"[A-Za-z_]\w*", label(root)) and label(root) not in taken:
        end = f"{label(root)} = {end}"
    return "; ".join([*statements, end]), values


def _outer(text: str) -> str:
    """Without the parentheses around all of it."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    deep = 0
    for i, c in enumerate(text):
        deep += (c == "(") - (c == ")")
        if deep == 0 and i < len(text) - 1:
            return text
    return text[1:-1]


def moons_playground(
    snapshots: Sequence[Sequence[float]],
    sizes: Sequence[int],
    X: ArrayLike,
    y: ArrayLike,
    history: Sequence[tuple[float, float]],
    alpha: float = 1e-4,
) -> Explorable:
    """Train the lesson's network in the page, from its first parameters, or another one.

    The parameters before each step as in `moons.scores`, `sizes` of equal hidden layers; X (n, 2) and y (n,)
    of -1 and +1 are the points, `history` the (loss, accuracy) at each snapshot. The still shows the last.
    Raises ValueError for other sizes and for no snapshots.
    """
    X, y = np.asarray(X, dtype=float), np.asarray(y)
    if not (snapshots and history):
        raise ValueError("there is no training step to show: run the training cell first")
    if len(set(sizes[1:-1])) != 1 or sizes[0] != 2 or sizes[-1] != 1:
        raise ValueError(f"sizes must be [2, n, …, n, 1] with hidden layers of one size, got {list(sizes)}")
    u, v, Z = score_grid(snapshots[-1], sizes, X)
    loss, accuracy = history[-1]
    wrong = np.sign(moons.scores(snapshots[-1], sizes, X)) != y
    fig = Figure(7.6, 4.2)
    ax = fig.add_subplot()
    draw_scores(ax, u, v, Z)
    draw_points(ax, X, y)
    if wrong.any():
        ax.scatter(*X[wrong].T, label="wrong", s=110, facecolor="none", edgecolor=INK, linewidth=1.2)
    ax.set_title(f"Before step {len(snapshots) - 1}: loss {loss:.4f}, {100 * accuracy:.0f}% right")
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    data = {
        "X": rounded(X, 17),
        "y": y.tolist(),
        "sizes": list(sizes),
        "parameters": list(map(float, snapshots[0])),
        "alpha": alpha,
    }
    return Explorable("moons", data, fig)


def _children_first(root: Any) -> list:
    """All values below root, each after its children."""
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        value, done = stack.pop()
        if done:
            order.append(value)
        elif value not in seen:
            seen.add(value)
            stack.append((value, True))
            stack.extend((child, False) for child in value._prev)
    return order


def run_backward(root: Any) -> tuple[dict, list]:
    """The values with their names, and for each step (value that fires, {child: added}, all gradients)."""
    order = _children_first(root)
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
            value._backward()
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
    fig = Figure(8.8, 1.3 + 0.75 * (high - low + 1))
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
        what = f"{names[fires]} adds {parts}"
    title = f"step {len(steps) - 1} of {last}: {what}"
    ax.set_title(title, fontsize=11)
    ax.set(xlim=(left - 0.5, right + 0.5), ylim=(low - 0.6, high + 0.6))
    ax.axis("off")
    return fig
