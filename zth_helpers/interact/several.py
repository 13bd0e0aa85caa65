"""What more than one lesson shows: logits to loss, broadcasting, the rate; and bars for the stills."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes

from zth_helpers.interact.explorable import Explorable, letters, rounded
from zth_helpers.names import Vocabulary
from zth_helpers.plots.figure import COLOURS, INK, MUTED, Figure


def logits_to_loss(
    logits: torch.Tensor, target: int | torch.Tensor, vocab: Vocabulary | Mapping[int, str]
) -> Explorable:
    """Drag one example's logits (V,); see softmax, the loss of `target` (a character's number), and p − y.

    Lectures 2 (1:18:46) and 5 (1:26:31).
    """
    z, y, names = logits.detach().double(), int(target), letters(vocab)
    if z.shape != (len(names),) or not 0 <= y < len(names):
        raise ValueError(
            f"give one example's logits ({len(names)},) and a target below that; got {tuple(z.shape)}, {y}"
        )
    p = F.softmax(z, 0)
    fig = Figure(8.6, 4.2)
    upper, lower = fig.add_subplot(2, 1, 1), fig.add_subplot(2, 1, 2)
    colours = [COLOURS[3] if i == y else COLOURS[0] for i in range(len(names))]
    upper.bar(range(len(names)), z.tolist(), color=colours, label="logits")
    upper.axhline(0, color=INK, lw=0.8)
    loss = -math.log(p[y])
    upper.set(title=f"Logits; the right answer is “{names[y]}” (gold): loss {loss:.3f}", ylabel="logit")
    bars(lower, p, vocab, "softmax(logits)")
    lower.patches[y].set_facecolor(COLOURS[3])
    upper.set_xticks(range(len(names)), names)
    upper.set_xlim(-0.8, len(names) - 0.2)
    return Explorable("softmax", {"letters": names, "logits": rounded(z), "target": y}, fig)


def broadcasting(a: Sequence[int] = (3, 4), b: Sequence[int] = (3, 1)) -> Explorable:
    """Two shapes, what PyTorch makes of them, what is repeated forward and therefore summed backward.

    At most three axes of at most 6. Lectures 2 (36:17) and 5 (rule 2).
    """
    a, b = tuple(a), tuple(b)
    result = tuple(torch.broadcast_shapes(a, b))  # raises RuntimeError where they do not go together
    if max((len(a), len(b), *a, *b)) > 6 or len(result) > 3:
        raise ValueError(f"at most three axes of at most 6 can be drawn, got {a} and {b}")
    x = np.arange(1, math.prod(a) + 1).reshape(a)
    y = 10 * np.arange(1, math.prod(b) + 1).reshape(b)
    fig = Figure(8.6, 2.6)
    for place, (name, values, own) in enumerate(
        ((f"a {a}", x, a), (f"b {b}", y, b), (f"a + b {result}", x + y, result)), 1
    ):
        ax = fig.add_subplot(1, 3, place)
        grid = np.broadcast_to(values, result).reshape(-1, result[-1] if result else 1)
        ax.imshow(np.zeros(grid.shape), cmap="Greys", vmin=0, vmax=1, aspect="auto")
        first = np.zeros(result, dtype=bool)
        first[
            tuple(
                slice(None) if i >= len(result) - len(own) and own[i - len(result) + len(own)] > 1 else 0
                for i in range(len(result))
            )
        ] = True
        for (i, j), number in np.ndenumerate(grid):
            real = first.reshape(grid.shape)[i, j] or place == 3
            ax.text(
                j,
                i,
                str(number),
                ha="center",
                va="center",
                color=INK if real else MUTED,
                alpha=1 if real else 0.6,
            )
        ax.set_title(name)
        ax.set(xticks=np.arange(grid.shape[1] + 1) - 0.5, yticks=np.arange(grid.shape[0] + 1) - 0.5)
        ax.set(xticklabels=[], yticklabels=[])
        ax.grid(color=MUTED, lw=0.6)
    fig.suptitle("Grey numbers are repeated, without being copied", fontsize=10, color=INK)
    return Explorable("broadcast", {"a": list(a), "b": list(b)}, fig)


def rate_on_a_surface(
    start: tuple[float, float] = (-3.5, 1.5), curvatures: tuple[float, float] = (1.0, 10.0), steps: int = 60
) -> Explorable:
    """Gradient descent on a valley ½(a·u² + b·v²): crawl, converge, oscillate, diverge; update:data too.

    The loss surface of lectures 3 (45:40) and 4 (1:39:55) in its simplest case.
    """
    a, b = curvatures
    fig = Figure(8.6, 3.2)
    plane, curve = fig.add_subplot(1, 2, 1), fig.add_subplot(1, 2, 2)
    u, v = np.meshgrid(np.linspace(-4.2, 4.2, 80), np.linspace(-2.6, 2.6, 60))
    plane.contour(
        u, v, 0.5 * (a * u**2 + b * v**2), levels=[0.5, 2, 5, 10, 20, 30], colors=[MUTED], linewidths=0.6
    )
    for i, rate in enumerate((0.01, 0.1, 0.19, 0.205)):
        path, style = [np.array(start)], dict(color=COLOURS[i], ls=("-", "--", "-.", ":")[i])
        for _ in range(steps):
            path.append(path[-1] * (1 - rate * np.array(curvatures)))
        points = np.array(path)
        plane.plot(*points.T, marker="os^D"[i], ms=3, lw=1.1, **style)
        curve.plot(0.5 * (points**2 @ np.array(curvatures)), label=f"rate {rate:g}", **style)
    plane.set(title="Four rates on one surface", xlabel="parameter u (flat direction)", ylabel="parameter v")
    plane.set(xlim=(-4.2, 4.2), ylim=(-2.6, 2.6))
    curve.set(title="Their losses", xlabel="step", ylabel="loss", yscale="log")
    curve.legend(frameon=False, fontsize=8, labelcolor=INK)
    return Explorable("rate", {"start": list(start), "curvatures": list(curvatures), "steps": steps}, fig)


def bars(ax: Axes, p: torch.Tensor, vocab: Vocabulary | Mapping[int, str], title: str) -> None:
    """Probabilities p (V,) as bars over their letters."""
    V = len(p)
    ax.bar(range(V), p.tolist(), color=COLOURS[0], label="probability")
    ax.axhline(1 / V, color=MUTED, ls=":", label=f"uniform, 1/{V}")
    ax.set_xticks(range(V), letters(vocab))
    ax.set(title=title, xlabel="next character", ylabel="probability", xlim=(-0.8, V - 0.2))
