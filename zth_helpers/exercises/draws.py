"""What the judges draw and weigh: seeded random tensors, and the entropy of a distribution."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(seed: int) -> Callable[..., Tensor]:
    """Draws float64 tensors of standard normals, of any shape, from one seeded generator."""
    g = seeded(seed)
    return lambda *shape: torch.randn(shape, dtype=torch.float64, generator=g)


def entropy(weights: Iterable[float]) -> float:
    """In nats, of the distribution with these weights: counts or probabilities, none negative, not all 0."""
    seen = [float(w) for w in weights if w > 0]
    total = math.fsum(seen)
    return -math.fsum(w / total * math.log(w / total) for w in seen)
