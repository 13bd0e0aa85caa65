"""Lesson 1's figures: tangents, tanh, training curves, two moons and the boundary between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from zth_helpers import moons
from zth_helpers.plots.figure import COLOURS, INK, Figure

DASHES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D")


def tangents(f: Callable, slopes: Mapping[float, float]) -> Figure:
    """The curve of f and, at each x of `slopes`, a straight line with that slope."""
    fig = Figure(7, 3.2)
    ax = fig.add_subplot()
    at = list(slopes)
    x = np.linspace(min(at) - 2, max(at) + 2, 200)
    ax.plot(x, f(x), color=COLOURS[0], label="f(x)")
    for (x0, slope), colour in zip(slopes.items(), COLOURS[1:]):
        near = np.array([x0 - 1.2, x0, x0 + 1.2])
        line = f(x0) + slope * (near - x0)
        ax.plot(near, line, "--", color=colour, label=f"slope {slope:+.1f} at x = {x0:.2f}")
        ax.plot(x0, f(x0), "o", color=colour)
    ax.set(title="A derivative is the slope of the tangent", xlabel="x", ylabel="f(x)")
    ax.legend(frameon=False)
    return fig


def tanh_and_slope() -> Figure:
    """tanh and its derivative, from -4 to 4."""
    n = np.linspace(-4, 4, 201)
    fig = Figure(6.5, 2.8)
    ax = fig.add_subplot()
    ax.plot(n, np.tanh(n), label="tanh n")
    ax.plot(n, 1 - np.tanh(n) ** 2, "--", label="its slope, 1 − tanh² n")
    ax.set(title="tanh and its slope", xlabel="n", ylabel="value and slope")
    ax.legend(frameon=False)
    return fig


def training_curves(curves: Mapping[str, Sequence[float]], title: str, ylabel: str = "loss") -> Figure:
    """The losses of several runs, by name, step by step. More than four share dashes and markers."""
    fig = Figure(7.5, 3.2)
    ax = fig.add_subplot()
    for i, (name, losses) in enumerate(curves.items()):
        style = dict(linestyle=DASHES[i % 4], marker=MARKERS[i % 4], markersize=3)
        ax.plot(losses, color=COLOURS[i % 6], label=name, **style)
    ax.set(title=title, xlabel="step", ylabel=ylabel)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return fig


def two_moons(X: ArrayLike, y: ArrayLike) -> Figure:
    """The points X (n, 2), with a colour and a marker for each class of y (n,), -1 and +1."""
    fig, X, y = Figure(6.5, 3.6), np.asarray(X), np.asarray(y)
    ax = fig.add_subplot()
    draw_points(ax, X, y)
    ax.set_title(f"{len(y)} points, two classes")
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return fig


def decision_boundary(
    parameters: Sequence[float], sizes: Sequence[int], X: ArrayLike, y: ArrayLike
) -> Figure:
    """Where the scores of lesson 1's network change their sign, around the points X (n, 2) of y (n,).

    `parameters` and `sizes` as in `moons.scores`.
    """
    X, y = np.asarray(X), np.asarray(y)
    u, v, Z = score_grid(parameters, sizes, X)
    fig = Figure(7.6, 4.2, lambda fig: f"{fig.axes[0].get_title()}\n{_signs(u, v, Z)}")
    ax = fig.add_subplot()
    draw_scores(ax, u, v, Z)
    draw_points(ax, X, y)
    ax.set_title("Score of the network: 0 on the line, −1 and +1 on the dashed ones")
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return fig


def score_grid(
    parameters: Sequence[float], sizes: Sequence[int], X: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """u (across,), v (up,) around the points X (n, 2), and the scores (up, across) of the network there."""
    u, v = (np.linspace(low - 0.7, high + 0.7, 100) for low, high in zip(X.min(0), X.max(0)))
    grid = np.stack([axis.ravel() for axis in np.meshgrid(u, v)], axis=1)
    return u, v, moons.scores(parameters, sizes, grid).reshape(len(v), len(u))


def draw_scores(ax: Axes, u: np.ndarray, v: np.ndarray, Z: np.ndarray) -> None:
    levels = [min(Z.min(), -2) - 1, -2, -1, 0, 1, 2, max(Z.max(), 2) + 1]
    shades = ["#a9c8ea", "#c9dcf1", "#e6eef8", "#fbe9eb", "#f3c6cc", "#e79aa5"]
    ax.contourf(u, v, Z, levels=levels, colors=shades)
    for level, width, style in ((0, 1.6, "solid"), (-1, 0.7, "dashed"), (1, 0.7, "dashed")):
        if Z.min() < level < Z.max():
            ax.contour(u, v, Z, levels=[level], colors=[INK], linewidths=width, linestyles=style)


def draw_points(ax: Axes, X: np.ndarray, y: np.ndarray) -> None:
    for label, colour, marker in ((-1, COLOURS[0], "o"), (1, COLOURS[1], "s")):
        here = X[y == label].T
        ax.scatter(*here, s=22, color=colour, marker=marker, edgecolor=INK, label=f"y = {label:+d}")
    ax.set(xlabel="x₁", ylabel="x₂", aspect="equal")


def _signs(u: np.ndarray, v: np.ndarray, Z: np.ndarray) -> str:
    rows = [f"{b:5.1f}  {''.join('-+'[int(s > 0)] for s in row[::3])}" for b, row in zip(v[::-10], Z[::-10])]
    return "\n".join([f"x₂     sign of the score, x₁ from {u[0]:.1f} to {u[-1]:.1f}", *rows])
