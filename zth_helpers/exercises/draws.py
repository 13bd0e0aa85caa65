"""What the judges draw and weigh: seeded random tensors, and the entropy of a distribution."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

_shift = 0


@contextlib.contextmanager
def other_inputs(key: int) -> Iterator[None]:
    """Checks in this context draw other inputs than usual: what knows the usual ones by heart is found out.

    A class's hidden tests run under a key that only the teacher knows.
    """
    global _shift
    before, _shift = _shift, 7919 * key
    try:
        yield
    finally:
        _shift = before


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed + _shift)


def dice(seed: int) -> random.Random:
    return random.Random(seed + _shift)


def normal(seed: int) -> Callable[..., Tensor]:
    """Draws float64 tensors of standard normals, of any shape, from one seeded generator."""
    g = seeded(seed)
    return lambda *shape: torch.randn(shape, dtype=torch.float64, generator=g)


def entropy(weights: Iterable[float]) -> float:
    """In nats, of the distribution with these weights: counts or probabilities, none negative, not all 0."""
    seen = [float(w) for w in weights if w > 0]
    total = math.fsum(seen)
    return -math.fsum(w / total * math.log(w / total) for w in seen)
