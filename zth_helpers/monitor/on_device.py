"""Statistics of tensors on a GPU, computed there: only a few numbers and the counts come to the CPU.

The outputs of a large layer are millions of values. To copy them takes longer than many training steps.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

PIECE = 2**22  # values that are counted at a time: the copies that this takes stay small beside the network


def moments(block: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Lowest, highest, mean and sum of squares about the mean of each row, float64 (4, rows); and which rows
    are usual: all finite, with squares that fit into float32."""
    lo, hi = block.aminmax(dim=1)
    mean = block.mean(1)
    spread = hi - lo
    usual = mean.isfinite() & ((spread == 0) | (spread > 1e-12) & (spread < 1e15))
    square = torch.zeros_like(mean)
    for piece in block.split(max(1, PIECE // len(block)), 1):
        square += (piece - mean[:, None]).square().sum(1)
    found = torch.stack([lo, hi, mean, square, usual.to(mean.dtype)]).double().cpu().numpy()
    return found[:4], found[4] > 0


def counts(block: Tensor, lo: np.ndarray, scale: np.ndarray, bins: int) -> np.ndarray:
    """How many values of each row fall into each of its bins, (rows, bins): bin (value − lo) · scale.

    The rows must be usual ones: a GPU stops for good at an index that is none.
    """
    n = len(block)
    low, factor, first = (
        torch.as_tensor(a, dtype=block.dtype, device=block.device)[:, None]
        for a in (lo, scale, np.arange(0, n * bins, bins))
    )
    total = torch.zeros(n * bins, dtype=torch.int64, device=block.device)
    for piece in block.split(max(1, PIECE // n), 1):
        index = ((piece - low) * factor).clamp_(0, bins - 1).int() + first.int()
        total += torch.bincount(index.view(-1), minlength=n * bins)
    return total.view(n, bins).cpu().numpy()
