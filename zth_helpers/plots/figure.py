"""The figure that all plots return: a matplotlib Figure that also reads as text, and the course's look."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib.figure
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.container import BarContainer
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch

from zth_helpers.text import table

INK, PAPER, GRID, MUTED = "#22262b", "#fcfcfa", "#d9dcd6", "#63696f"
# Six categories at most, told apart with red-green blindness too; whoever needs more uses markers and dashes.
COLOURS = ("#136fd7", "#ae2d35", "#23686c", "#be8800", "#2e1986", "#489da2")
DEPTH = LinearSegmentedColormap.from_list("depth", ["#1a1148", "#1f5a86", "#2f8f7a", "#c8b92f"])  # ordered
DASHES = ("-", (0, (5, 2)), (0, (2, 1.5)), "-.", ":", (0, (7, 2, 1.5, 2, 1.5, 2)))
DPI = 100  # of the picture as it is shown; its file has twice as many
MOST_TEXTS = 80  # labels of one plot that are read out; more of them say nothing


class Figure(matplotlib.figure.Figure):
    """A Figure outside of pyplot that shows as a picture and reads as text.

    `str(fig)` is made from what is drawn: titles, axes, lines, bars, images, points and labels. `print(fig)`
    shows it, a screen reader and a text console get it, and nbval, which never compares pixels, compares it.
    `reader` replaces it where a figure reads better in a form of its own; it gets the figure, so that it too
    can say only what is drawn.
    The background is opaque, so the ink stays readable in JupyterLab's light and dark themes.
    """

    def __init__(
        self, width: float = 8.0, height: float = 3.2, reader: Callable[[Figure], str] | None = None
    ):
        super().__init__(figsize=(width, height), facecolor=PAPER, layout="constrained", dpi=DPI)
        FigureCanvasAgg(self)
        self.reader = reader or read_aloud

    def add_subplot(self, *args, **kwargs) -> Axes:
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
        ax.set_prop_cycle(cycler(linestyle=["-", "--", ":"]) * cycler(color=COLOURS))  # the seventh is dashed
        return ax

    def png(self, scale: int = 2) -> bytes:
        """The picture as PNG bytes, the same bytes for the same figure; at 2 it is sharp on every screen."""
        buffer = io.BytesIO()
        self.set_dpi(DPI * scale)
        if isinstance(self.get_layout_engine(), ConstrainedLayoutEngine):
            self.draw_without_rendering()  # the layout settles at the second drawing
        self.canvas.print_png(buffer, metadata={"Software": None})  # savefig would draw once more
        self.set_layout_engine("none")
        self.set_dpi(DPI)
        return buffer.getvalue()

    def __str__(self) -> str:
        return self.reader(self)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> tuple[dict, dict]:
        """What a notebook shows, and how wide: half of the picture's own pixels."""
        twin = str(self)
        data = {"image/png": self.png(), "text/plain": twin}
        return data, {"image/png": {"width": round(self.get_figwidth() * DPI), "alt": alternative(twin)}}


def alternative(twin: str) -> str:
    """The alternative text of a picture: the first line of its twin, or two where that is a mere word."""
    lines = [line.strip() for line in twin.splitlines() if line.strip()] or ["figure"]
    first = lines[0] if len(lines[0]) > 5 else "; ".join(lines[:2])
    return first if len(first) <= 200 else f"{first[:199]}…"


def ramp(i: int, n: int) -> str:
    """The colour of the i-th of n layers: ordered, from dark to light, as depth is."""
    return to_hex(DEPTH(i / max(n - 1, 1)))


def read_aloud(fig: matplotlib.figure.Figure) -> str:
    """The figure as text, from its artists: for each plot its titles, then what stands in it."""
    parts = [title.get_text()] if (title := fig._suptitle) is not None else []
    for ax in fig.axes:
        if not hasattr(ax, "_colorbar"):  # the scale of colours beside an image
            parts.extend(_read_axes(ax))
    return "\n".join(parts)


def _read_axes(ax: Axes) -> Iterator[str]:
    if title := ax.get_title():
        yield title
    if ax.axison and (ax.get_xlabel() or ax.get_ylabel()):
        yield f"x: {ax.get_xlabel() or '–'}; y: {ax.get_ylabel() or '–'}"
    lines = [line for line in ax.lines if _says_something(line)]
    if lines and ax.get_ylabel() == "density":
        yield table(
            ("line", "points", "from", "centre", "spread", "to"), [_density_row(line) for line in lines]
        )
    elif lines:
        header = ("line", "points", "first", "middle", "last", "lowest", "highest")
        yield table(header, [_line_row(line) for line in lines])
    for container in ax.containers:
        if isinstance(container, BarContainer):
            yield _read_bars(ax, container)
    for patch in ax.patches:
        if isinstance(patch, StepPatch):
            values, edges, _ = patch.get_data()
            low, centre, spread, high = _distribution(edges, (edges[1:] + edges[:-1]) / 2, values)
            reach = f"{len(values)} bins from {low:.3g} to {high:.3g}"
            yield f"{_named(patch, 'histogram')}: {reach}, centre {centre:.3g}, spread {spread:.3g}"
    for image in ax.images:
        values = _floats(image.get_array())
        size = "×".join(map(str, values.shape[:2]))
        if np.isfinite(values).any():
            low, mean, high = np.nanmin(values), np.nanmean(values), np.nanmax(values)
            yield f"image of {size}: lowest {low:.5g}, mean {mean:.5g}, highest {high:.5g}"
    for points in ax.collections:
        offsets = _floats(points.get_offsets())
        if (points.get_paths() and len(offsets) > 1) or (len(offsets) and np.any(offsets)):
            places = ", ".join(f"({x:.4g}, {y:.4g})" for x, y in _evenly(offsets + 0.0, 6))
            yield f"{_named(points, 'points')}: {len(offsets)} points, {places}"
    texts = [text for text in ax.texts if text.get_text().strip()]
    for text in texts[:MOST_TEXTS]:
        x, y = (v if isinstance(v, str) else f"{float(v) + 0.0:.3g}" for v in text.get_position())
        yield f"{' '.join(text.get_text().split())} at ({x}, {y})"
    if len(texts) > MOST_TEXTS:
        yield f"… and {len(texts) - MOST_TEXTS} labels more"
    legend = ax.get_legend()
    drawn = {artist.get_label() for artist in (*ax.lines, *ax.collections, *ax.containers, *ax.patches)}
    for entry in legend.get_texts() if legend else ():
        if entry.get_text() not in drawn:  # a legend in a place of its own, as below the histograms
            yield f"- {entry.get_text()}"


def _says_something(line: Line2D) -> bool:
    """Not so a line for reference, such as an axis."""
    y = _floats(line.get_ydata(orig=False))
    return bool(np.isfinite(y).any()) and not (str(line.get_label()).startswith("_") and len(y) < 3)


def _line_row(line: Line2D) -> list:
    y = _floats(line.get_ydata(orig=False))
    finite = y[np.isfinite(y)]
    ends = [float(y[i]) for i in (0, len(y) // 2, -1)]
    return [_named(line, ""), len(y), *ends, float(finite.min()), float(finite.max())]


def _density_row(line: Line2D) -> list:
    x = _floats(line.get_xdata(orig=False))
    low, centre, spread, high = _distribution(x, x, _floats(line.get_ydata(orig=False)))
    return [_named(line, ""), len(x), *(float(f"{v:.3g}") for v in (low, centre, spread, high))]


def _distribution(ends: np.ndarray, x: np.ndarray, weights: np.ndarray) -> tuple[float, float, float, float]:
    """From, mean, deviation and to, of what is drawn. A value at the border of two bins falls into either, by
    the last bit of a rounding: that can be seen in the height of a bin, and not in these."""
    share = weights / weights.sum()
    mean = float(share @ x)
    std = float(share @ (x - mean) ** 2) ** 0.5
    if std > 0:  # a mean near 0 is the rest of a difference: it has no three digits
        mean = round(mean, 2 - math.floor(math.log10(std)))
    return float(ends[0]), mean + 0.0, std, float(ends[-1])


def _read_bars(ax: Axes, bars: BarContainer) -> str:
    across = bars.orientation == "horizontal"
    axis = ax.yaxis if across else ax.xaxis
    at = [bar.get_y() + bar.get_height() / 2 if across else bar.get_x() + bar.get_width() / 2 for bar in bars]
    labels = dict(zip(axis.get_ticklocs(), (label.get_text() for label in axis.get_ticklabels())))
    sizes = [bar.get_width() if across else bar.get_height() for bar in bars]
    shown = [f"{labels.get(round(x, 6)) or f'{x:.4g}'} {size:.4g}" for x, size in zip(at, sizes)]
    return f"{_named(bars, 'bars')}: {', '.join(shown)}"


def _named(artist: Any, otherwise: str) -> str:
    label = str(artist.get_label() or "")
    return otherwise if not label or label.startswith("_") else label


def _floats(values: Any) -> np.ndarray:
    """As floats, with nan where they are masked."""
    return np.ma.filled(np.ma.asarray(values, dtype=float), np.nan)


def _evenly(values: np.ndarray, most: int) -> np.ndarray:
    """At most that many of them, spread evenly, the first and the last among them."""
    return values[np.unique(np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int))]
