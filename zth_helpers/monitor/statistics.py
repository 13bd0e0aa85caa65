"""What Monitor keeps of a tensor: a few numbers and a histogram. A statistic of your own is one function:

    @statistic
    def zeros(values: np.ndarray) -> float:
        "The share of exact zeros."
        return (values == 0).mean()

and from then on each new Monitor has `mon.outputs.zeros` and `mon.gradients.zeros`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zth_helpers.monitor import on_device

BINS = 50
LARGE = 2**20  # values: such a tensor is reduced by itself
FIELDS = ("mean", "std", "saturated", "dead", "nonfinite", "lo", "hi")
MEAN, STD, SATURATED, DEAD, NONFINITE, LO, HI = range(len(FIELDS))

# Where an activation is flat, so that next to no gradient passes. 0.97 is lecture 4's line for tanh, whose
# slope there is 0.06; sigmoid(2x) = (tanh(x) + 1) / 2 puts the same share of the slope at 0.985.
FLAT: dict[str, Callable[[Any], Any]] = {  # of an array or a tensor
    "Tanh": lambda t: abs(t) > 0.97,
    "Sigmoid": lambda t: abs(t - 0.5) > 0.485,
    "ReLU": lambda t: t <= 0,
}
EXTRA: dict[str, Callable[[np.ndarray], float]] = {}


def statistic(function: Callable[[np.ndarray], float]) -> Callable[[np.ndarray], float]:
    """Adds a statistic under the name of the function, which gets the values of one tensor, float32 and flat.

    Raises ValueError for a name that is taken.
    """
    if function.__name__ in (*FIELDS, *EXTRA, "hist", "edges"):
        raise ValueError(f"there is a statistic {function.__name__} already: give the function another name")
    EXTRA[function.__name__] = function
    return function


@torch.no_grad()
@np.errstate(invalid="ignore", over="ignore")
def summarise(
    tensors: Sequence[Tensor | None],
    kinds: Sequence[str] = (),
    axes: Sequence[int | None] = (),
    extra: Sequence[Callable[[np.ndarray], float]] = (),
    histograms: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Reduces each of n tensors to FIELDS and `extra`, float32 (n, 7 + e), and to counts, int32 (n, BINS).

    The bins are equal parts of lo..hi, the smallest and largest finite value. Non-finite values are counted
    apart and left out of all else. `kinds` names the layers of the first tensors: `saturated` is the share
    of values in the flat part of a tanh or sigmoid, and the share of dead units of a ReLU; `dead` is the
    share of units that are flat for every example. `axes` says on which axis the units lie; where it does
    not, that is axis 1 of images and volumes (N, C, H, W …), else the last. What does not apply is nan, all
    of it for None and for an empty tensor. Without `histograms` all counts are 0.

    Tensors of one shape are reduced together, on the CPU mostly by numpy: at a batch of 32 the time goes into
    the number of calls, and one of numpy's costs a fifth of one of torch's.
    """
    n, end = len(tensors), 0
    there = {i: t for i, t in enumerate(tensors) if t is not None and t.numel()}
    groups: dict[tuple, list[int]] = {}
    for i, t in there.items():
        large = i if t.numel() > LARGE else -1
        groups.setdefault((t.shape, t.dtype, t.device, large), []).append(i)
    order = [i for rows in groups.values() for i in rows]  # tensors of one shape lie side by side
    table = np.full((len(FIELDS) + len(extra), len(order)), np.nan)
    sizes, square, usual = np.zeros(len(order)), np.zeros(len(order)), np.zeros(len(order), bool)
    blocks: list[tuple[slice, np.ndarray | Tensor]] = []
    for (shape, *_), rows in groups.items():
        here = slice(end, end := end + len(rows))
        block = _as_block([there[i] for i in rows])
        blocks.append((here, block))
        sizes[here] = block.shape[1]
        if isinstance(block, Tensor):
            (table[LO, here], table[HI, here], table[MEAN, here], square[here]), usual[here] = (
                on_device.moments(block)
            )
        else:
            table[LO, here], table[HI, here] = np.minimum.reduce(block, 1), np.maximum.reduce(block, 1)
            table[MEAN, here] = np.add.reduce(block, 1) / block.shape[1]
        _look_at_units(table[:, here], block, shape, rows, kinds, axes)
        for j, function in enumerate(extra, len(FIELDS)):
            table[j, here] = [function(_host(one).astype(np.float32)) for one in block]
    table[NONFINITE] = 0
    # Not finite, or squares beyond float32: these are replaced by zeros here, and looked at one by one below.
    lo, hi, mean = table[LO], table[HI], table[MEAN]
    spread = hi - lo
    usual |= np.isfinite(mean) & ((spread == 0) | (spread > 1e-12) & (spread < 1e15))
    odd = np.flatnonzero(~usual).tolist()
    lo[odd] = hi[odd] = mean[odd] = spread[odd] = 0
    scale = np.float32(BINS - 1e-4) / np.maximum(spread, 1e-30).astype(np.float32)  # largest: in the last bin
    counts = np.zeros((len(order), BINS), np.int32)
    for here, block in blocks:
        if isinstance(block, Tensor):
            at = np.arange(len(order))[here][usual[here]]
            if histograms and len(at):
                block = block if len(at) == len(block) else block[torch.from_numpy(usual[here])]
                counts[at] = on_device.counts(block, lo[at], scale[at], BINS)
            continue
        if odd:
            block[~usual[here]] = 0
        centre = mean[here, None].astype(block.dtype)
        block -= centre
        square[here] = np.matmul(block[:, None], block[:, :, None]).ravel()  # each row's dot product
        if histograms:
            block -= lo[here, None].astype(block.dtype) - centre
            block *= scale[here, None]
            counts[here] = _count(block.astype(np.int32))
    table[STD] = np.sqrt(square / np.where(sizes > 1, sizes - 1, np.nan))
    numbers, histogram = np.full((n, len(table)), np.nan, np.float32), np.zeros((n, BINS), np.int32)
    numbers[order], histogram[order] = table.T, counts
    for k in odd:
        i = order[k]
        numbers[i], histogram[i] = _carefully(there[i], numbers[i], histograms)
    return numbers, histogram


def _count(bins: np.ndarray) -> np.ndarray:
    """How often each of the BINS bins comes in each row, all rows in one go; the bins are changed."""
    bins += np.arange(0, bins.shape[0] * BINS, BINS, dtype=np.int32)[:, None]
    counted = torch.bincount(torch.from_numpy(bins).view(-1), minlength=len(bins) * BINS)
    return counted.numpy().reshape(-1, BINS)


def _look_at_units(
    table: np.ndarray,
    block: np.ndarray | Tensor,
    shape: tuple[int, ...],
    rows: list[int],
    kinds: Sequence[str],
    axes: Sequence[int | None],
) -> None:
    """SATURATED and DEAD of those rows of a block that are of a kind with a flat part."""
    alike: dict[tuple[str, int | None], list[int]] = {}
    for k, i in enumerate(rows):
        if i < len(kinds) and kinds[i] in FLAT:
            alike.setdefault((kinds[i], axes[i] if axes else None), []).append(k)
    for (kind, axis), chosen in alike.items():
        flat = FLAT[kind](block[chosen].reshape(-1, *shape))
        units = usual_axis(len(shape)) if axis is None else axis
        examples = tuple(a for a in range(1, flat.ndim) if a != units + 1)
        dead = _share(flat.all(examples)) if examples else np.nan
        table[DEAD, chosen] = dead
        table[SATURATED, chosen] = dead if kind == "ReLU" else _share(flat)


def usual_axis(axes: int) -> int:
    """Where the units lie as far as the number of axes tells: images and volumes have channels on axis 1."""
    return 1 if axes > 3 else max(axes - 1, 0)


def _share(true: np.ndarray | Tensor) -> np.ndarray:
    """Of the values of each row, how many are True; counted where they are."""
    rows = true.reshape(len(true), -1)
    count = rows.sum(1) if isinstance(rows, Tensor) else np.array([np.count_nonzero(row) for row in rows])
    return _host(count) / rows.shape[1]


def _as_block(alike: list[Tensor]) -> np.ndarray | Tensor:
    """Tensors of one shape as rows; a new array, or a tensor where they are on another device."""
    rows = (torch.stack(alike) if len(alike) > 1 else alike[0].detach()).reshape(len(alike), -1)
    rows = rows.float() if rows.element_size() < 4 else rows  # numpy has no bfloat16
    if rows.device.type != "cpu":
        return rows
    return rows.numpy() if len(alike) > 1 else rows.numpy().copy()


def _host(values: np.ndarray | Tensor) -> np.ndarray:
    return values.cpu().numpy() if isinstance(values, Tensor) else values


def _carefully(t: Tensor, numbers: np.ndarray, histograms: bool) -> tuple[np.ndarray, np.ndarray]:
    """One tensor with non-finite, huge or tiny values: in double, scaled to its largest, then summarised."""
    finite = t.detach().double()
    finite = finite[finite.isfinite()]
    counts = np.zeros(BINS, np.int32)
    numbers[[MEAN, STD, LO, HI]] = np.nan
    if finite.numel():
        peak = finite.abs().max()
        rescaled, counts = (a[0] for a in summarise([finite / peak], histograms=histograms))
        with np.errstate(over="ignore"):
            numbers[[MEAN, STD, LO, HI]] = rescaled[[MEAN, STD, LO, HI]] * peak.item()
    numbers[NONFINITE] = t.numel() - finite.numel()
    return numbers, counts


class Statistics:
    """Numbers of L tensors at S steps, each an array (S, L) under its name, with .hist (S, L, BINS), .edges.

    Names: FIELDS, and those of your own statistics. Raises AttributeError for another.
    """

    def __init__(self, names: Sequence[str], numbers: np.ndarray, hist: np.ndarray):
        self._values = dict(zip(names, np.moveaxis(numbers, -1, 0)))
        self.hist = hist

    def __getattr__(self, name: str) -> np.ndarray:
        values = self.__dict__.get("_values", {})
        if name not in values:
            raise AttributeError(f"there is no statistic {name!r}: there are {', '.join(values)}")
        return values[name]

    def __dir__(self) -> list[str]:
        return [*self._values, "edges", "hist"]

    @property
    def names(self) -> list[str]:
        return list(self._values)

    @property
    def edges(self) -> np.ndarray:
        """(S, L, BINS + 1): the borders of the bins."""
        return np.linspace(self.lo, self.hi, BINS + 1, axis=-1)
