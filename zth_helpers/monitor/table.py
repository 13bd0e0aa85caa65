"""Bounded tables of samples: a run of any length fits, and an interruption leaves whole rows."""

from __future__ import annotations

from typing import Any

import numpy as np


class Rows:
    """A preallocated table of at most `capacity` rows and `memory` bytes, one row every `interval` steps.

    When it is full, every second row goes and the interval doubles, so that a run of any length fits. The
    state is swapped in one assignment: Ctrl-C at any moment leaves whole rows. A second row of the same step
    takes the place of the first, so that a step which was interrupted and taken again is not there twice.
    """

    def __init__(self, capacity: int, memory: int, interval: int, **columns: np.ndarray):
        columns["step"] = np.array(0)
        capacity = min(capacity, memory // sum(row.nbytes for row in columns.values()))
        self.capacity = max(2, capacity // 2 * 2)  # even, so that the step after a full table is kept
        arrays = {k: np.empty((self.capacity, *row.shape), row.dtype) for k, row in columns.items()}
        self._state = (arrays, 0, interval)

    @property
    def interval(self) -> int:
        return self._state[2]

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for a in self._state[0].values())

    def __len__(self) -> int:
        return self._state[1]

    def __getitem__(self, column: str) -> np.ndarray:
        arrays, n, _ = self._state
        return arrays[column][:n]

    def append(self, step: int, **values: Any) -> None:
        arrays, n, interval = self._state
        if n and arrays["step"][n - 1] == step:
            n -= 1
        if n == self.capacity:
            n, interval = n // 2, interval * 2
            thinned = {k: np.empty_like(a) for k, a in arrays.items()}
            for k, a in arrays.items():
                thinned[k][:n] = a[::2]
            arrays = thinned
        for k, value in values.items():
            arrays[k][n] = value
        arrays["step"][n] = step
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

    def __getstate__(self) -> dict[str, Any]:
        """Pickled without its empty rows."""
        arrays, n, interval = self._state
        return {"_state": ({k: a[:n].copy() for k, a in arrays.items()}, n, interval), "capacity": n or 2}
