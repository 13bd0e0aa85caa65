"""`draw_dot`: the graph of a `Value` as a picture, on any machine (lecture 1 draws with a system `dot`).

Rendered by pygraphviz, whose wheels bring Graphviz along; else by a `dot` on PATH; else shown as a text tree.
"""

from __future__ import annotations

import html
import os
import re
import sys
import warnings
from collections.abc import Iterator
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
    """What `draw_dot` saw, frozen: shows as a picture, prints as a text tree, and nbval compares the tree."""

    source: str  # in the DOT language; "" when there are too many nodes to draw
    twin: str

    @cached_property
    def svg(self) -> str | None:
        """The picture, or None where nothing can draw it."""
        drawn = _render(self.source, "svg")[1] if self.source else None
        if drawn is None:
            return None
        text = drawn.decode("utf-8")  # as wide as the page at most, wherever it is shown
        alt = html.escape(f"graph of {self.twin.partition(chr(10))[0]}")
        fit = f'<svg role="img" aria-label="{alt}" style="max-width:100%;height:auto"'
        return text[text.index("<svg") :].replace("<svg", fit, 1)

    @cached_property
    def png(self) -> bytes | None:
        """The same for a notebook that is not trusted yet, in which JupyterLab shows no stored SVG."""
        return _render(self.source, "png")[1] if self.source else None

    def __str__(self) -> str:
        return self.twin

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> tuple[dict, dict]:
        data: dict[str, Any] = {"text/plain": self.twin}
        if not (self.svg and self.png):
            return data, {}
        wide = int.from_bytes(self.png[16:20], "big")  # where a PNG says its width, here for a sharp screen
        picture = {"width": wide // 2, "alt": f"graph of {self.twin.partition(chr(10))[0]}"}
        return data | {"image/svg+xml": self.svg, "image/png": self.png}, {"image/png": picture}


def draw_dot(root: Any, direction: str = "LR") -> Graph:
    """The graph below `root`: a box of label, data and gradient for each value, a circle for each step.

    `root` is any object with `data`, `grad` and `_prev` (its children); `_op` and `label` are used if there.
    Values are told apart by identity, whatever they call equal. `direction` is the way the graph reads: "LR"
    (left to right), "RL", "TB" or "BT". A graph of more than 1500 values is shown as text only. Raises
    TypeError or ValueError for another root or direction; drawing itself never raises.
    Source: lecture 1, 19:09.
    """
    if not all(hasattr(root, name) for name in ("data", "grad", "_prev")):
        raise TypeError(
            f"draw_dot draws a Value (an object with data, grad and _prev), got a {type(root).__name__}"
        )
    if direction not in DIRECTIONS:
        raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}, got {direction!r}")
    nodes = below(root)
    if len(nodes) > MOST_NODES:
        note = f"{len(nodes):,} values, too many for a picture (at most {MOST_NODES:,})\n"
        return Graph("", note + _text_tree(nodes))
    return Graph(_dot_source(nodes, direction), _text_tree(nodes))


def below(root: Any) -> list:
    """Each value below root once, the root first; the place in this list is its number."""
    nodes, seen, stack = [], set(), [root]
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen.add(id(node))
            nodes.append(node)
            stack.extend(reversed(children(node)))
    return nodes


def children(node: Any) -> tuple:
    """The values that a value was made from; () for what has none."""
    try:
        return tuple(node._prev)
    except (AttributeError, TypeError):
        return ()


def _dot_source(nodes: list, direction: str) -> str:
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
    numbers = {id(node): i for i, node in enumerate(nodes)}
    for i, node in enumerate(nodes):
        fields = [_escape(label(node)), f"data {_field(node, 'data')}", f"grad {_field(node, 'grad')}"]
        text, made = " | ".join(field for field in fields if field), children(node)
        dot.node(f"n{i}", text, shape="record", fillcolor="white" if made else "#e8f0fa")
        if made:
            dot.node(f"n{i}op", graphviz.escape(operation(node).replace("&", "&amp;")), shape="oval", **oval)
            dot.edge(f"n{i}op", f"n{i}")
            for child in made:
                dot.edge(f"n{numbers[id(child)]}", f"n{i}op")
    return dot.source


def _text_tree(nodes: list) -> str:
    """The values below root, each under what it flows into; one that comes again is not unfolded again."""
    numbers = {id(node): i for i, node in enumerate(nodes)}
    lines: list[str] = []
    seen, stack = set(), [(nodes[0], 0)]
    while stack and len(lines) < MOST_LINES:
        node, depth = stack.pop()
        name = label(node) or f"#{numbers[id(node)]}"
        by = f"  = {operation(node)}" if children(node) else ""
        again = "  (as above)" if id(node) in seen else ""
        values = f"data {_field(node, 'data')}, grad {_field(node, 'grad')}"
        lines.append(f"{'  ' * depth}{name}: {values}{by}{again}")
        if id(node) not in seen:
            stack.extend((child, depth + 1) for child in reversed(children(node)))
        seen.add(id(node))
    return "\n".join(lines + ["…"] * bool(stack))


def label(node: Any) -> str:
    return str(getattr(node, "label", ""))


def operation(node: Any) -> str:
    return str(getattr(node, "_op", "")) or "?"


def _field(node: Any, name: str) -> str:
    """What a box says of its value's data or gradient; a child that is no value is its own data."""
    return show(getattr(node, name, node if name == "data" else "–"))


def show(x: Any) -> str:
    """Four decimals, or an exponent where those would hide the number."""
    try:
        x = float(x) + 0.0  # -0.0 becomes 0.0
    except Exception:  # not a number, or one with ideas of its own
        return _escape(str(x))
    return f"{x:.3e}" if 0 < abs(x) < 1e-3 or 1e6 <= abs(x) < float("inf") else f"{x:.4f}"


def _escape(text: str) -> str:
    """Text in which no character means anything to a record of DOT."""
    return re.sub(r"([\\|{}<>])", r"\\\1", text.replace("&", "&amp;").replace("\n", " "))


def find_renderer() -> str:
    """What draws the graphs here: "pygraphviz", "dot" (the program), or "text" when neither works."""
    return _render("digraph { a -> b }", "svg")[0]


def _render(source: str, form: str) -> tuple[str, bytes | None]:
    """The name of the first renderer that works, and its picture; ("text", None) when none does."""
    if form == "png":  # twice the resolution of the screen
        source = source.replace("{", "{ dpi=192;", 1)
    for name, renderer in (("pygraphviz", by_pygraphviz), ("dot", by_dot)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Graphviz warns of fonts that it replaces
                return name, renderer(source, form)
        except Exception:  # not installed, no library, no program, a broken one: the next may work
            continue
    return "text", None


def by_pygraphviz(source: str, form: str) -> bytes:
    import pygraphviz

    with _silent_file_descriptor_2():
        return pygraphviz.AGraph(string=source).draw(format=form, prog="dot")


@contextmanager
def _silent_file_descriptor_2() -> Iterator[None]:
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


def by_dot(source: str, form: str) -> bytes:
    import graphviz

    return graphviz.Source(source).pipe(format=form, quiet=True)
