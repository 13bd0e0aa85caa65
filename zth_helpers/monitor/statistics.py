"""What Monitor keeps of a tensor: a few numbers and a histogram. A statistic of your own is one function:

    @statistic
    def zeros(values: np.ndarray) -> float:
        "The share of exact zeros."
        return (values == 0).mean()

and from then on each new Monitor has `mon.outputs.zeros` and `mon.gradients.zeros`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

BINS = 50
FIELDS = ("mean", "std", "saturated", "dead", "nonfinite", "lo", "hi")
MEAN, STD, SATURATED, DEAD, NONFINITE, LO, HI = range(len(FIELDS))

# Where an activation is flat, so that next to no gradient passes. 0.97 is lecture 4's line for tanh, whose
# slope there is 0.06; sigmoid(2x) = (tanh(x) + 1) / 2 puts the same share of the slope at 0.985.
FLAT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Tanh": lambda t: np.abs(t) > 0.97,
    "Sigmoid": lambda t: np.abs(t - 0.5) > 0.485,
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

    Tensors of one shape are reduced together, and by numpy: at a batch of 32 the time goes into the number
    of calls, and one of numpy's costs a fifth of one of torch's.
    """
    numbers = np.full((len(tensors), len(FIELDS) + len(extra)), np.nan, np.float32)
    counts = np.zeros((len(tensors), BINS), np.int32)
    groups: dict[tuple, list[int]] = {}
    for i, t in enumerate(tensors):
        if t is not None and t.numel():
            groups.setdefault((t.shape, t.dtype), []).append(i)
    for (shape, _), rows in groups.items():
        flat = np.concatenate([_array(tensors[i]) for i in rows]).reshape(len(rows), -1)
        block = np.full((len(rows), numbers.shape[1]), np.nan, np.float32)
        for j, function in enumerate(extra, len(FIELDS)):
            block[:, j] = [function(one.astype(np.float32)) for one in flat]
        if kinds:
            wanted = [(kinds[j], axes[j] if axes else None) if j < len(kinds) else ("", None) for j in rows]
            for kind, axis in {w for w in wanted if w[0] in FLAT}:
                chosen = [i for i, w in enumerate(wanted) if w == (kind, axis)]
                shares = _flat_shares(flat[chosen].reshape(-1, *shape), kind, axis)
                block[chosen, SATURATED : DEAD + 1] = shares
        lo, hi = np.minimum.reduce(flat, 1), np.maximum.reduce(flat, 1)
        odd = [
            i
            for i, (a, b) in enumerate(zip(lo.tolist(), hi.tolist()))
            if not (1e-12 < b - a < 1e15 or a == b)
        ]
        flat[odd] = lo[odd] = hi[odd] = 0  # nan, inf, or squares beyond float32: below, one by one
        mean = np.add.reduce(flat, 1) / flat.shape[1]
        flat -= mean[:, None]
        square = np.einsum("ij,ij->i", flat, flat)
        if histograms:
            flat -= (lo - mean)[:, None]
            flat *= ((BINS - 1e-4) / np.maximum(hi - lo, 1e-30)).astype(flat.dtype)[:, None]  # hi: last bin
            index = flat.astype(np.int32)
            index += np.arange(0, len(rows) * BINS, BINS, dtype=np.int32)[:, None]
            counts[rows] = np.bincount(index.ravel(), minlength=len(rows) * BINS).reshape(-1, BINS)
        block[:, MEAN], block[:, LO], block[:, HI], block[:, NONFINITE] = mean, lo, hi, 0
        if flat.shape[1] > 1:
            block[:, STD] = np.sqrt(square / (flat.shape[1] - 1))
        numbers[rows] = block
        for i in odd:
            numbers[rows[i]], counts[rows[i]] = _carefully(tensors[rows[i]], block[i], histograms)
    return numbers, counts


def _array(t: Tensor) -> np.ndarray:
    t = t.detach()
    return (t.float() if t.element_size() < 4 else t).cpu().numpy().reshape(-1)  # numpy has no bfloat16


def _flat_shares(x: np.ndarray, kind: str, axis: int | None) -> np.ndarray:
    """(saturated, dead) of n tensors whose units lie on `axis` of each."""
    flat = FLAT[kind](x)
    units = (1 if x.ndim > 4 else x.ndim - 2) if axis is None else axis
    examples = tuple(a for a in range(1, x.ndim) if a != units + 1)
    dead = flat.all(examples).mean(1) if examples else np.full(len(x), np.nan)
    saturated = [np.count_nonzero(one) / one.size for one in flat]
    return np.stack([dead if kind == "ReLU" else saturated, dead], 1)


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
