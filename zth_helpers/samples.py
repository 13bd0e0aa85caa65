"""What Monitor keeps: a few numbers and a histogram of each tensor, in tables that never outgrow their memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

BINS = 50
FIELDS = ("mean", "std", "saturated", "dead", "nonfinite", "lo", "hi")

# Where an activation is flat, so that next to no gradient passes. 0.97 is lecture 4's line for tanh, whose
# slope is 0.06 there; sigmoid(2x) = (tanh(x) + 1) / 2 puts the same slope share at 0.985.
FLAT = {
    "Tanh": lambda t: t.abs() > 0.97,
    "Sigmoid": lambda t: (t - 0.5).abs() > 0.485,
    "ReLU": lambda t: t <= 0,
}


@torch.no_grad()
def summarise(
    tensors: Sequence[Tensor | None], kinds: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Reduces each tensor to its FIELDS, float32 (n, 7), and to counts in BINS equal bins, int32 (n, BINS).

    The bins span lo..hi, the smallest and largest finite value. Non-finite values are counted apart and
    left out of the rest. `saturated` is the share of values in the flat region of a tanh or sigmoid, and
    the share of dead units of a ReLU; `dead` is the share of units that are flat for every example. None
    and empty tensors give nan. Tensors of one shape are reduced together: at a batch of 32 the cost lies in
    the number of torch calls, not in the arithmetic.
    """
    numbers = np.full((len(tensors), len(FIELDS)), np.nan, np.float32)
    counts = np.zeros((len(tensors), BINS), np.int32)
    groups: dict[tuple, list[int]] = {}
    for i, t in enumerate(tensors):
        if t is not None and t.numel():
            groups.setdefault((t.shape, t.dtype, t.device), []).append(i)
    for rows in groups.values():
        x = torch.stack([tensors[i] for i in rows])
        x = x.float() if x.element_size() < 4 else x  # bfloat16 stops counting at 256
        flat = x.view(len(rows), -1)
        mean, lo, hi = flat.mean(1), flat.amin(1), flat.amax(1)
        span = hi - lo
        work = flat - mean[:, None]
        std = torch.linalg.vector_norm(work, dim=1) / (flat.shape[1] - 1) ** 0.5  # one value: 0/0 = nan
        scale = BINS / torch.where(span > 0, span, 1.0)
        index = torch.sub(flat, lo[:, None], out=work).mul_(scale[:, None]).to(torch.int32)
        index = index.clamp_(0, BINS - 1).add_(_starts(len(rows), x.device))
        histogram = torch.bincount(index.view(-1), minlength=len(rows) * BINS)
        counts[rows] = histogram.view(len(rows), BINS).cpu().numpy()
        mean, std, lo, hi, span = torch.stack([mean, std, lo, hi, span]).cpu().numpy()
        for column, values in ((0, mean), (1, std), (4, 0), (5, lo), (6, hi)):
            numbers[rows, column] = values
        for i, j in enumerate(rows):
            if not (1e-12 < span[i] < 1e15 or span[i] == 0):  # nan, inf, or squares beyond float32
                numbers[j], counts[j] = _carefully(flat[i])
        for kind in FLAT.keys() & {kinds[j] for j in rows} if kinds is not None else ():
            chosen = [i for i, j in enumerate(rows) if kinds[j] == kind]
            numbers[[rows[i] for i in chosen], 2:4] = _flat_shares(x[chosen], kind)
    return numbers, counts


class Statistics:
    """The FIELDS of tensors over time, each an array (S, L), with .hist (S, L, BINS) and .edges."""

    def __init__(self, numbers: np.ndarray, hist: np.ndarray):
        self.mean, self.std, self.saturated, self.dead, self.nonfinite, self.lo, self.hi = np.moveaxis(
            numbers, -1, 0
        )
        self.hist = hist

    @property
    def edges(self) -> np.ndarray:
        """(S, L, BINS + 1): the bins' borders."""
        return np.linspace(self.lo, self.hi, BINS + 1, axis=-1)


def _starts(n: int, device: torch.device) -> Tensor:
    return torch.arange(0, n * BINS, BINS, dtype=torch.int32, device=device)[:, None]


def _flat_shares(x: Tensor, kind: str) -> np.ndarray:
    """(saturated, dead) of each of n tensors; units lie on axis 1 of images (N, C, H, W), else on the last."""
    flat = FLAT[kind](x)
    axes = [a for a in range(1, x.ndim) if a != (2 if x.ndim > 4 else x.ndim - 1)]
    saturated = flat.flatten(1).sum(1) / flat[0].numel()
    dead = flat.all(dim=axes).float().mean(1) if axes else torch.full_like(saturated, torch.nan)
    return torch.stack([dead if kind == "ReLU" else saturated, dead], 1).cpu().numpy()


def _carefully(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """One tensor of any finite size, with non-finite values: scaled to its largest value, then summarised."""
    finite = x[x.isfinite()].double()
    if not finite.numel():
        numbers, counts = np.full(len(FIELDS), np.nan, np.float32), np.zeros(BINS, np.int32)
    else:
        peak = finite.abs().max()
        numbers, counts = (a[0] for a in summarise([finite / peak]))
        with np.errstate(over="ignore"):
            numbers[[0, 1, 5, 6]] *= peak.item()
    numbers[4] = x.numel() - finite.numel()
    return numbers, counts


class Rows:
    """A preallocated table of at most `capacity` rows, one every `interval` steps.

    When it is full, every second row goes and the interval doubles, so a run of any length fits. The state
    is swapped in one assignment: Ctrl-C at any moment leaves whole rows.
    """

    def __init__(self, capacity: int, interval: int, **columns: np.ndarray):
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
        """Makes room for `width` more layers on `axis` of the columns: nan, or 0 counts, in the old rows."""
        arrays, n, interval = self._state
        arrays = dict(arrays)
        for k in columns:
            a = arrays[k]
            pad = [(0, width if i == axis else 0) for i in range(a.ndim)]
            fill = np.nan if a.dtype.kind == "f" else 0
            arrays[k] = np.pad(a, pad, constant_values=fill)
        self._state = (arrays, n, interval)
