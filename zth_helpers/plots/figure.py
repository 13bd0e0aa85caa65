"""The figure that all plots return: a matplotlib Figure with a text twin, and the course's look."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib.figure
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.layout_engine import ConstrainedLayoutEngine

INK, PAPER, GRID = "#22262b", "#fcfcfa", "#d9dcd6"
COLOURS = ("#2a6fbb", "#d1495b", "#3a8f5c", "#c98a1b", "#7a5ba8", "#3d9aa8", "#8a6552", "#6b7280")


class Figure(matplotlib.figure.Figure):
    """A Figure outside of pyplot that shows as a picture and reads as a table.

    `twin` holds the numbers that the picture shows, as aligned text: `print(fig)` shows it, a screen reader
    and a text console get it, and nbval, which never compares pixels, compares it.
    The background is opaque, so the ink stays readable in JupyterLab's light and dark themes.
    """

    def __init__(self, width: float = 8.0, height: float = 3.2, twin: str = ""):
        super().__init__(figsize=(width, height), facecolor=PAPER, layout="constrained", dpi=100)
        FigureCanvasAgg(self)
        self.twin = twin

    def add_subplot(self, *args, **kwargs):
        ax = super().add_subplot(*args, **kwargs)
        ax.set_facecolor(PAPER)
        ax.tick_params(colors=INK, labelsize=9)
        ax.title.set(color=INK, fontsize=10)
        ax.xaxis.label.set(color=INK, fontsize=9)
        ax.yaxis.label.set(color=INK, fontsize=9)
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
        for side in ("bottom", "left"):
            ax.spines[side].set_color(INK)
        ax.set_prop_cycle(color=COLOURS)
        return ax

    def png(self) -> bytes:
        """The picture as PNG bytes, the same bytes for the same figure."""
        buffer = io.BytesIO()
        if isinstance(self.get_layout_engine(), ConstrainedLayoutEngine):
            self.draw_without_rendering()  # it settles at the second drawing, and then creeps on by hairs
        self.canvas.print_png(buffer, metadata={"Software": None})  # savefig would draw once more
        self.set_layout_engine("none")
        return buffer.getvalue()

    def __str__(self) -> str:
        return self.twin

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        return {"image/png": self.png(), "text/plain": self.twin}


def table(header: Sequence[str], rows: Sequence[Sequence], digits: int = 5) -> str:
    """Aligned text: floats with `digits` significant digits, None as a dash, numbers to the right."""

    def cell(value) -> str:
        if value is None or value != value:
            return "–"
        return f"{value + 0.0:.{digits}g}" if isinstance(value, float) else str(value)  # no -0

    body = [[cell(value) for value in row] for row in rows]
    columns = list(zip(*[list(header), *body])) if body else [(h,) for h in header]
    widths = [max(map(len, column)) for column in columns]
    right = [
        bool(rows) and all(row[i] is None or isinstance(row[i], int | float) for row in rows)
        for i in range(len(widths))
    ]
    return "\n".join(
        "  ".join(v.rjust(w) if r else v.ljust(w) for v, w, r in zip(line, widths, right)).rstrip()
        for line in [list(header), *body]
    )
