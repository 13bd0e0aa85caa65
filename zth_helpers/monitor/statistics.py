"""What Monitor keeps: a few numbers and a histogram of each tensor, in bounded tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

BINS = 50
FIELDS = ("mean", "std", "saturated", "dead", "nonfinite", "lo", "hi")
MEAN, STD, SATURATED, DEAD, NONFINITE, LO, HI = range(len(FIELDS))

# Where an activation is flat, so that next to no gradient passes. 0.97 is lecture 4's line for tanh, whose
# slope there is 0.06; sigmoid(2x) = (tanh(x) + 1) / 2 puts the same share of the slope at 0.985.
FLAT = {
    "Tanh": lambda t: np.abs(t) > 0.97,
    "Sigmoid": lambda t: np.abs(t - 0.5) > 0.485,
    "ReLU": lambda t: t <= 0,
}


def summarise(tensors: Sequence[Tensor | None], kinds: Sequence[str] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Reduces each of n tensors to its FIELDS, float32 (n, 7), and to counts in BINS bins, int32 (n, BINS).

    The bins are equal parts of lo..hi, the smallest and largest finite value. Non-finite values are counted
    apart and left out of all else. `kinds` names the layers of the first tensors: `saturated` is the share
    of values in the flat part of a tanh or sigmoid, and the share of dead units of a ReLU; `dead` is the
    share of units that are flat for every example. What does not apply is nan, all of it for None and for
    an empty tensor.

    Tensors of one shape are reduced together, and by numpy: at a batch of 32 the time goes into the number
    of calls, and one of numpy's costs a fifth of one of torch's.
    """
    numbers = np.full((len(tensors), len(FIELDS)), np.nan, np.float32)
    counts = np.zeros((len(tensors), BINS), np.int32)
    groups: dict[tuple, list[int]] = {}
    for i, t in enumerate(tensors):
        if t is not None and t.numel():
            groups.setdefault((t.shape, t.dtype), []).append(i)
    for (shape, _), rows in groups.items():
        flat = np.concatenate([_array(tensors[i]) for i in rows]).reshape(len(rows), -1)
        block = np.full((len(rows), len(FIELDS)), np.nan, np.float32)
        for kind in FLAT.keys() & {kinds[j] for j in rows if j < len(kinds)}:
            chosen = [i for i, j in enumerate(rows) if j < len(kinds) and kinds[j] == kind]
            block[chosen, SATURATED : DEAD + 1] = _flat_shares(flat[chosen].reshape(-1, *shape), kind)
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
        flat -= (lo - mean)[:, None]
        flat *= ((BINS - 1e-4) / np.maximum(hi - lo, 1e-30)).astype(flat.dtype)[:, None]  # hi: the last bin
        index = flat.astype(np.int32)
        index += np.arange(0, len(rows) * BINS, BINS, dtype=np.int32)[:, None]
        counts[rows] = np.bincount(index.ravel(), minlength=len(rows) * BINS).reshape(-1, BINS)
        block[:, MEAN], block[:, LO], block[:, HI], block[:, NONFINITE] = mean, lo, hi, 0
        if flat.shape[1] > 1:
            block[:, STD] = np.sqrt(square / (flat.shape[1] - 1))
        numbers[rows] = block
        for i in odd:
            numbers[rows[i]], counts[rows[i]] = _carefully(tensors[rows[i]], block[i])
    return numbers, counts


def _array(t: Tensor) -> np.ndarray:
    t = t.detach()
    return (t.float() if t.element_size() < 4 else t).cpu().numpy().reshape(-1)  # numpy has no bfloat16


def _flat_shares(x: np.ndarray, kind: str) -> np.ndarray:
    """(saturated, dead) of n tensors; their units lie on axis 1 of images (N, C, H, W), else on the last."""
    flat = FLAT[kind](x)
    units = 2 if x.ndim > 4 else x.ndim - 1
    examples = tuple(a for a in range(1, x.ndim) if a != units)
    dead = flat.all(examples).mean(1) if examples else np.full(len(x), np.nan)
    saturated = [np.count_nonzero(one) / one.size for one in flat]
    return np.stack([dead if kind == "ReLU" else saturated, dead], 1)


def _carefully(t: Tensor, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One tensor with non-finite, huge or tiny values: in double, scaled to its largest, then summarised."""
    finite = t.detach().double()
    finite = finite[finite.isfinite()]
    counts = np.zeros(BINS, np.int32)
    numbers[[MEAN, STD, LO, HI]] = np.nan
    if finite.numel():
        peak = finite.abs().max()
        rescaled, counts = (a[0] for a in summarise([finite / peak]))
        with np.errstate(over="ignore"):
            numbers[[MEAN, STD, LO, HI]] = rescaled[[MEAN, STD, LO, HI]] * peak.item()
    numbers[NONFINITE] = t.numel() - finite.numel()
    return numbers, counts


class Statistics:
    """The FIELDS of L tensors at S steps, each an array (S, L), with .hist (S, L, BINS) and .edges."""

    def __init__(self, numbers: np.ndarray, hist: np.ndarray):
        for field, values in zip(FIELDS, np.moveaxis(numbers, -1, 0)):
            setattr(self, field, values)
        self.hist = hist

    @property
    def edges(self) -> np.ndarray:
        """(S, L, BINS + 1): the borders of the bins."""
        return np.linspace(self.lo, self.hi, BINS + 1, axis=-1)


class Rows:
    """A preallocated table of at most `capacity` rows and `memory` bytes, one row every `interval` steps.

    When it is full, every second row goes and the interval doubles, so that a run of any length fits. The
    state is swapped in one assignment: Ctrl-C at any moment leaves whole rows.
    """

    def __init__(self, capacity: int, memory: int, interval: int, **columns: np.ndarray):
        columns["step"] = np.int64(0)
        capacity = min(capacity, memory // sum(row.nbytes for row in columns.values()))
        self.capacity = max(2, capacity // 2 * 2)  # even, so that the step after a full table is kept
        arrays = {k: np.empty((self.capacity, *row.shape), row.dtype) for k, row in columns.items()}
        self._state = (arrays, 0, interval)

    interval = property(lambda self: self._state[2])
    nbytes = property(lambda self: sum(a.nbytes for a in self._state[0].values()))

    def __len__(self) -> int:
        return self._state[1]

    def __getitem__(self, column: str) -> np.ndarray:
        arrays, n, _ = self._state
        return arrays[column][:n]

    def append(self, **values) -> None:
        arrays, n, interval = self._state
        if n == self.capacity:
            n, interval = n // 2, interval * 2
            thinned = {k: np.empty_like(a) for k, a in arrays.items()}
            for k, a in arrays.items():
                thinned[k][:n] = a[::2]
            arrays = thinned
        for k, value in values.items():
            arrays[k][n] = value
        self._state = (arrays, n + 1, interval)

    def widen(self, axis: int, width: int, *columns: str) -> None:
        """`width` more places on `axis` of the columns; old rows get nan there, or counts of 0."""
        arrays, n, interval = self._state
        arrays = dict(arrays)
        for k in columns:
            pad = [(0, width if i == axis else 0) for i in range(arrays[k].ndim)]
            fill = np.nan if arrays[k].dtype.kind == "f" else 0
            arrays[k] = np.pad(arrays[k], pad, constant_values=fill)
        self._state = (arrays, n, interval)
