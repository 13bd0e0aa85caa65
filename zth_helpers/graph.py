"""`draw_dot`: the graph of a `Value` as a picture, on any machine (lecture 1 draws with a system `dot`).

Rendered by pygraphviz, whose wheels bring Graphviz along; else by a `dot` on PATH; else shown as a text tree.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from zth_helpers.plots.figure import INK, PAPER

MOST_NODES = 1500  # a layout of more takes Graphviz minutes, and nobody can read it
MOST_LINES = 60  # of the text tree
DIRECTIONS = ("LR", "RL", "TB", "BT")


@dataclass(frozen=True)
class Graph:
    """What `draw_dot` saw, frozen: shows as SVG, prints as a text tree, and nbval compares the tree."""

    source: str  # in the DOT language; "" when there are too many nodes to draw
    twin: str

    @cached_property
    def svg(self) -> str | None:
        """The picture, or None where nothing can draw it."""
        return _render(self.source)[1] if self.source else None

    def __str__(self) -> str:
        return self.twin

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict:
        return {"text/plain": self.twin} | ({"image/svg+xml": self.svg} if self.svg else {})


def draw_dot(root: Any, direction: str = "LR") -> Graph:
    """The graph below `root`: a box of label, data and gradient for each value, a circle for each step.

    `root` is any object with `data`, `grad` and `_prev` (its children); `_op` and `label` are used if there.
    `direction` is the way the graph reads: "LR" (left to right), "RL", "TB" or "BT". A graph of more than
    1500 values is shown as text only. Raises TypeError or ValueError for another root or direction; drawing
    itself never raises.
    """
    if not all(hasattr(root, name) for name in ("data", "grad", "_prev")):
        raise TypeError(
            f"draw_dot draws a Value (an object with data, grad and _prev), got a {type(root).__name__}"
        )
    if direction not in DIRECTIONS:
        raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}, got {direction!r}")
    numbers = number(root)
    if len(numbers) > MOST_NODES:
        note = f"{len(numbers):,} values, too many for a picture (at most {MOST_NODES:,})\n"
        return Graph("", note + _text_tree(root, numbers))
    return Graph(_dot_source(numbers, direction), _text_tree(root, numbers))


def number(root: Any) -> dict[Any, int]:
    """Every value below root and its number, the root's 0: ids differ from run to run, counts do not."""
    numbers: dict[Any, int] = {}
    stack = [root]
    while stack:
        node = stack.pop()
        if node not in numbers:
            numbers[node] = len(numbers)
            stack.extend(reversed(tuple(node._prev)))
    return numbers


def _dot_source(numbers: dict, direction: str) -> str:
    """The graph in the DOT language; "" when the package graphviz is not there."""
    try:
        import graphviz
    except ImportError:
        return ""
    font = {"fontname": "Courier", "fontsize": "10", "fontcolor": INK, "color": INK}
    oval = {"fillcolor": "#f6e9cf", "width": "0.3", "margin": "0.05,0.02"}
    dot = graphviz.Digraph(
        graph_attr={"rankdir": direction, "bgcolor": PAPER, "ranksep": "0.2", "nodesep": "0.15"},
        node_attr=font | {"style": "filled", "fillcolor": "white", "height": "0.3"},
        edge_attr={"color": INK, "arrowsize": "0.6"},
    )
    for node, i in numbers.items():
        fields = [_escape(label(node)), f"data {show(node.data)}", f"grad {show(node.grad)}"]
        text = " | ".join(field for field in fields if field)
        dot.node(f"n{i}", text, shape="record", fillcolor="white" if node._prev else "#e8f0fa")
        if node._prev:
            dot.node(f"n{i}op", graphviz.escape(operation(node).replace("&", "&amp;")), shape="oval", **oval)
            dot.edge(f"n{i}op", f"n{i}")
            for child in node._prev:
                dot.edge(f"n{numbers[child]}", f"n{i}op")
    return dot.source


def _text_tree(root: Any, numbers: dict) -> str:
    """The values below root, each under what it flows into; one that comes again is not unfolded again."""
    lines: list[str] = []
    seen, stack = set(), [(root, 0)]
    while stack and len(lines) < MOST_LINES:
        node, depth = stack.pop()
        name = label(node) or f"#{numbers[node]}"
        by = f"  = {operation(node)}" if node._prev else ""
        again = "  (as above)" if node in seen else ""
        lines.append(f"{'  ' * depth}{name}: data {show(node.data)}, grad {show(node.grad)}{by}{again}")
        if node not in seen:
            stack.extend((child, depth + 1) for child in reversed(tuple(node._prev)))
        seen.add(node)
    return "\n".join(lines + ["…"] * bool(stack))


def label(node: Any) -> str:
    return str(getattr(node, "label", ""))


def operation(node: Any) -> str:
    return str(getattr(node, "_op", "")) or "?"


def show(x: Any) -> str:
    """Four decimals, or an exponent where those would hide the number."""
    try:
        x = float(x) + 0.0  # -0.0 becomes 0.0
    except (TypeError, ValueError):
        return _escape(str(x))
    return f"{x:.3e}" if 0 < abs(x) < 1e-3 or 1e6 <= abs(x) < float("inf") else f"{x:.4f}"


def _escape(text: str) -> str:
    """Text in which no character means anything to a record of DOT."""
    return re.sub(r"([\\|{}<>])", r"\\\1", text.replace("&", "&amp;"))


def find_renderer() -> str:
    """What draws the graphs here: "pygraphviz", "dot" (the program), or "text" when neither works."""
    return _render("digraph { a -> b }")[0]


def _render(source: str) -> tuple[str, str | None]:
    """The name of the first renderer that works, and its SVG; ("text", None) when none does."""
    for name, renderer in (("pygraphviz", by_pygraphviz), ("dot", _by_dot)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Graphviz warns of fonts that it replaces
                svg = renderer(source)
            # as wide as the page at most, wherever it is shown
            return name, svg[svg.index("<svg") :].replace(
                "<svg", '<svg style="max-width:100%;height:auto"', 1
            )
        except Exception:  # not installed, no library, no program, a broken one: the next may work
            continue
    return "text", None


def by_pygraphviz(source: str) -> str:
    import pygraphviz

    with _silent_file_descriptor_2():
        return pygraphviz.AGraph(string=source).draw(format="svg", prog="dot").decode("utf-8")


@contextmanager
def _silent_file_descriptor_2():
    """The C libraries below pygraphviz complain of fonts there, where Python cannot catch it."""
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def _by_dot(source: str) -> str:
    import graphviz

    return graphviz.Source(source).pipe(format="svg", encoding="utf-8", quiet=True)
